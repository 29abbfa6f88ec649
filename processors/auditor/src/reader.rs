//! Reads the LEDGER from its beginning, and notices its end and a broker that cannot read its own store.

use std::time::Duration;

use spark_bus_schema::subject;
use spark_nats::{Bus, Delivery, Follower, Start};
use tokio::time::Instant;

use crate::error::Error;

/// How often the end of the stream is looked for while nothing arrives.
const END_POLL: Duration = Duration::from_millis(50);
/// A broker that says there is more and gives out nothing for this long cannot read its store.
pub const STALL_LIMIT: Duration = Duration::from_secs(5);

/// What [`Reader::next`] found.
pub enum Step {
    /// Messages, in order.
    Batch(Vec<Delivery>),
    /// Everything that was stored at the beginning has been read.
    End,
    /// The broker says that there is more, and gives out nothing.
    Stalled,
}

/// Reads the LEDGER from its beginning to where it ended when reading began, and on if asked.
pub struct Reader {
    /// The messages beyond the target.
    pub(crate) follower: Follower,
    target: u64,
    seen: u64,
}

impl Reader {
    /// `name` is the consumer's; `target` the stream's last sequence.
    #[must_use]
    pub fn start(bus: &Bus, name: &str, target: u64) -> Self {
        let follower = Follower::start(bus.clone(), name, subject::LEDGER, vec![">".to_owned()], Start::Beginning);
        Self { follower, target, seen: 0 }
    }

    /// The next messages up to the target.
    ///
    /// # Errors
    /// The follower ended.
    pub async fn next(&mut self) -> Result<Step, Error> {
        if self.seen >= self.target {
            return Ok(Step::End);
        }
        let begun = Instant::now();
        loop {
            tokio::select! {
                biased;
                batch = self.follower.next() => {
                    let batch = batch.ok_or_else(|| Error::Unreadable("the reader ended".to_owned()))?;
                    self.seen = batch.last().map_or(self.seen, |last| last.sequence);
                    return Ok(Step::Batch(batch));
                }
                () = tokio::time::sleep(END_POLL) => {
                    if self.follower.is_caught_up() {
                        return Ok(Step::End);
                    }
                    if begun.elapsed() > STALL_LIMIT {
                        return Ok(Step::Stalled);
                    }
                }
            }
        }
    }
}
