//! What of the picture changes by the time alone: the status word, who is up, which silences are in force, the session.

use std::hash::{DefaultHasher, Hash, Hasher};

use spark_alerting::silence;
use spark_bus_schema::Timestamp;

use super::View;
use super::revisions::Part;

impl View {
    /// Rises whenever one of these parts changes.
    #[must_use]
    pub fn revision_of(&self, parts: &[Part]) -> u64 {
        self.revisions.of(parts)
    }

    /// A number that is another one when these parts look otherwise at `now` though nothing was heard. Ages do not count, also
    /// those in reasons: a reader counts them on from what it has.
    #[must_use]
    pub fn moment(&self, parts: &[Part], now: Timestamp) -> u64 {
        let mut hasher = DefaultHasher::new();
        let status = self.status(now);
        status.status.as_str().hash(&mut hasher);
        for part in parts {
            match part {
                Part::Processes => {
                    self.is_connected().hash(&mut hasher);
                    for row in self.processes.rows(now, self.is_connected(), &self.limits().expected) {
                        (row.presence as u8).hash(&mut hasher);
                    }
                    for reason in &status.reasons {
                        reason.bytes().filter(|byte| !byte.is_ascii_digit()).for_each(|byte| byte.hash(&mut hasher));
                    }
                }
                Part::Silences => {
                    for held in self.people.silences.iter() {
                        silence::state(held, now).name().hash(&mut hasher);
                    }
                }
                Part::Bist => self.bist.hash_moment(&self.limits().calendar, now, &mut hasher),
                _ => {}
            }
        }
        hasher.finish()
    }
}
