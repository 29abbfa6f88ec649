//! A restart of a process that `spark up` does not supervise (a container, a unit): it ends in good order with exit code 85
//! when `control.restart.<its name>` asks for it, and the restart policy around it starts it again. It publishes nothing about
//! that; its next run's heartbeat, with a later `started_at`, is the proof.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spark_bus_schema::actions::RestartCommand;
use spark_bus_schema::{Timestamp, subject};
use spark_nats::Bus;
use tokio_util::sync::CancellationToken;

use crate::exit::chain;

/// A run younger than this is left alone: the command was given before anybody could see what became of it.
const JUST_STARTED: Duration = Duration::from_secs(5);
/// A command that is older when it is heard is not heeded.
const COMMAND_AGE_MAX: Duration = Duration::from_secs(60);

/// Whether this run ends to be started again.
#[derive(Clone, Debug, Default)]
pub struct Wish(Arc<AtomicBool>);

impl Wish {
    /// Whether a command was heeded.
    pub fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Listens until a command counts, then cancels `shutdown`. What was said while the broker was away is not heard; whoever
    /// asked sees that nothing came of it.
    pub async fn heed(self, name: &'static str, bus: Bus, shutdown: CancellationToken) {
        let began_at = spark_nats::now();
        let mut listener = match bus.listen(&subject::restart(name)).await {
            Ok(listener) => listener,
            Err(error) => return tracing::warn!(error = chain(&error), "restarts cannot be asked for"),
        };
        loop {
            let heard = tokio::select! {
                () = shutdown.cancelled() => return,
                heard = listener.next() => heard,
            };
            let Some(heard) = heard else { return };
            let command = match heard.decode::<RestartCommand>() {
                Ok(command) => command,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "a command to restart cannot be read");
                    continue;
                }
            };
            let RestartCommand { actor, reason, .. } = &command;
            match refusal(&command, name, began_at, spark_nats::now()) {
                Some(why) => tracing::warn!(actor, reason, why, "asked to restart; refused"),
                None => {
                    tracing::warn!(actor, reason, "asked to restart; stopping");
                    self.0.store(true, Ordering::Release);
                    shutdown.cancel();
                    return;
                }
            }
        }
    }
}

/// Why a command is not heeded. The broker hands it on even when the stream drops it as one that it has already, so the same
/// command can be heard again after it was carried out; its time tells.
fn refusal(command: &RestartCommand, name: &str, began_at: Timestamp, now: Timestamp) -> Option<String> {
    if command.service != name {
        return Some(format!("it is about {}", command.service));
    }
    if command.at < began_at {
        return Some("it was given before this run began".to_owned());
    }
    let (age, ran) = (now.saturating_since(command.at), now.saturating_since(began_at));
    if age > COMMAND_AGE_MAX {
        return Some(format!("it was given {} s ago by the sender's clock", age.as_secs()));
    }
    (ran < JUST_STARTED).then(|| format!("this run began {:.1} s ago", ran.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_counts_once_and_only_for_the_run_that_it_was_given_to() {
        let at = |seconds: u64| Timestamp::from_nanos(1_000_000_000_000) + Duration::from_secs(seconds);
        let check = |service: &str, given: u64, heard: u64, want: Option<&str>| {
            let command = RestartCommand {
                service: service.to_owned(),
                episode: Some("e1".to_owned()),
                attempt: 1,
                actor: "guardrail".to_owned(),
                reason: "it hangs".to_owned(),
                evidence: Vec::new(),
                at: at(given),
            };
            let got = refusal(&command, "feed", at(100), at(heard));
            let fits = match (&got, want) {
                (None, None) => true,
                (Some(why), Some(part)) => why.contains(part),
                _ => false,
            };
            assert!(fits, "{got:?} instead of {want:?}");
        };
        check("feed", 106, 106, None);
        check("feed", 106, 166, None);
        check("feed", 106, 167, Some("61 s ago"));
        check("feed", 99, 110, Some("before this run"));
        check("feed", 104, 104, Some("began 4.0 s ago"));
        check("risk", 110, 110, Some("about risk"));
    }
}
