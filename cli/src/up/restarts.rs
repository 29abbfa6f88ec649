//! Restarts that are asked for over the bus: `control.restart.<service>` in, `control.restarted.<service>` out. What may be
//! done is decided here as far as the command alone says it, and by the [`Supervisor`](super::supervisor::Supervisor) as far
//! as it depends on what runs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use spark_bus_schema::actions::{RestartCommand, RestartDone, RestartOutcome, RestartRefusal};
use spark_bus_schema::telemetry::Heartbeat;
use spark_bus_schema::{Timestamp, subject};
use spark_nats::{Bus, Delivery, Follower, Meta, Start};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::plan::BROKER;
use crate::exit::chain;
use crate::output;

/// Restarts that may be under way or waiting at the same time; then the next command has to wait.
pub const RESTARTS_MAX: usize = 16;
/// Consumer of the commands, as `permissions.toml` lets the supervisor have it.
const CONSUMER: &str = "supervisor-restarts";
/// A command that is older when it is read is not carried out: what it was for is over, or has been asked for again.
const COMMAND_AGE_MAX: Duration = Duration::from_secs(60);
/// Commands that are remembered, to know the same one when it comes again.
const REMEMBERED_MAX: usize = 256;
/// How long a process may take from being killed to its new run; the stop limit comes on top.
const START_LIMIT: Duration = Duration::from_secs(15);
/// How long the new run may take to its first heartbeat.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked for.
const HEARTBEAT_POLL: Duration = Duration::from_millis(100);

/// A command on its way to the supervisor.
#[derive(Debug)]
pub struct Ask {
    /// The process that the subject names.
    pub service: String,
    /// The command.
    pub command: RestartCommand,
    /// Its sequence in LEDGER.
    pub sequence: u64,
    /// Why the command alone is reason enough not to do it.
    pub refused: Option<String>,
    /// Where the supervisor says what became of it; dropped when the system stops.
    pub answer: oneshot::Sender<Answer>,
}

/// What the supervisor says.
#[derive(Debug)]
pub enum Answer {
    /// Nothing was done.
    Refused(Refused),
    /// The new run has begun.
    Started {
        /// Its process id.
        pid: u32,
    },
}

/// Why nothing was done.
#[derive(Debug)]
pub struct Refused {
    /// For people.
    pub why: String,
    /// For whoever asked, where it makes a difference.
    pub refusal: Option<RestartRefusal>,
}

impl Refused {
    /// It cannot be done.
    #[must_use]
    pub fn not_possible(why: impl Into<String>) -> Self {
        Self { why: why.into(), refusal: None }
    }

    /// Somebody else did it just now.
    #[must_use]
    pub fn just_restarted(why: impl Into<String>) -> Self {
        Self { why: why.into(), refusal: Some(RestartRefusal::JustRestarted) }
    }
}

/// What is to be done with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Admitted {
    /// It goes to the supervisor.
    Yes,
    /// It is answered with why not.
    No(String),
    /// It is neither carried out nor answered: it was, or it is from before this run.
    Known,
}

/// Decides by the command alone. Pure: times are parameters.
struct Admission {
    began_at: Timestamp,
    seen: VecDeque<(String, u32, String)>,
}

impl Admission {
    fn new(began_at: Timestamp) -> Self {
        Self { began_at, seen: VecDeque::new() }
    }

    /// `service` is the subject's, `stored_at` the broker's time, `now` this machine's.
    fn admit(&mut self, service: &str, command: &RestartCommand, stored_at: Timestamp, now: Timestamp) -> Admitted {
        if stored_at < self.began_at {
            return Admitted::Known;
        }
        if let Some(episode) = &command.episode {
            let key = (episode.clone(), command.attempt, service.to_owned());
            if self.seen.contains(&key) {
                return Admitted::Known;
            }
            self.seen.push_back(key);
            if self.seen.len() > REMEMBERED_MAX {
                self.seen.pop_front();
            }
        }
        if command.service != service {
            return Admitted::No(format!("the command is about {}, its subject about {service}", command.service));
        }
        let age = now.saturating_since(stored_at);
        if age > COMMAND_AGE_MAX {
            return Admitted::No(format!("it was read {} s after it was given", age.as_secs()));
        }
        // Everybody's connection would go with it, the guardrail's own included: that is no remedy for a process.
        if service == BROKER && (command.episode.is_some() || command.actor == "guardrail") {
            return Admitted::No("only a person may ask for a restart of the broker".to_owned());
        }
        Admitted::Yes
    }
}

/// Follows the commands from now on, for as long as somebody takes them. `stop_limit` is how long a process may take to stop.
pub async fn follow(bus: Bus, asks: mpsc::Sender<Ask>, stop_limit: Duration) {
    let began_at = spark_nats::now();
    let mut admission = Admission::new(began_at);
    let subjects = vec![subject::RESTARTS.to_owned()];
    // By time, not "new": what is said before the broker has made the consumer counts too.
    let mut follower = Follower::start(bus.clone(), CONSUMER, subject::LEDGER, subjects, Start::Since(began_at));
    let mut under_way = JoinSet::new();
    while let Some(batch) = follower.next().await {
        for delivery in batch {
            while under_way.try_join_next().is_some() {}
            if under_way.len() >= RESTARTS_MAX {
                under_way.join_next().await;
            }
            let Some((command, service)) = read(&delivery) else { continue };
            let arrival = Arrival { instant: Instant::now(), at: spark_nats::now() };
            let refused = match admission.admit(&service, &command, delivery.stored_at, arrival.at) {
                Admitted::Yes => None,
                Admitted::No(why) => Some(why),
                Admitted::Known => continue,
            };
            let (answer, answered) = oneshot::channel();
            let reply =
                Reply { service: service.clone(), sequence: delivery.sequence, episode: command.episode.clone(), arrival };
            if asks.send(Ask { service, command, sequence: delivery.sequence, refused, answer }).await.is_err() {
                return;
            }
            under_way.spawn(reply.send(bus.clone(), answered, stop_limit + START_LIMIT));
        }
    }
}

/// A command and the process that its subject names. What cannot be read is told and left: there is nobody to answer.
fn read(delivery: &Delivery) -> Option<(RestartCommand, String)> {
    match delivery.decode::<RestartCommand>() {
        Ok(command) => {
            let service = delivery.subject.rsplit('.').next()?.to_owned();
            Some((command, service))
        }
        Err(error) => {
            let text = output::visible(&chain(&error));
            output::note(&format!(
                "LEDGER:{} on {} cannot be read: {text}",
                delivery.sequence,
                output::visible(&delivery.subject)
            ));
            None
        }
    }
}

/// When a command came.
#[derive(Clone, Copy)]
struct Arrival {
    instant: Instant,
    at: Timestamp,
}

/// What is needed to answer a command.
struct Reply {
    service: String,
    sequence: u64,
    episode: Option<String>,
    arrival: Arrival,
}

impl Reply {
    /// Waits for what becomes of the command, a bounded time, and publishes it.
    async fn send(self, bus: Bus, answered: oneshot::Receiver<Answer>, limit: Duration) {
        let failed = |detail: String| (RestartOutcome::Failed, Some(detail), None);
        let mut refusal = None;
        let answer = tokio::time::timeout(limit, answered).await;
        let took = self.arrival.instant.elapsed();
        let (outcome, detail, pid) = match answer {
            Ok(Ok(Answer::Refused(refused))) => {
                refusal = refused.refusal;
                (RestartOutcome::Refused, Some(refused.why), None)
            }
            Ok(Ok(Answer::Started { pid })) => match self.heard(&bus, pid).await {
                Some(pid) => (RestartOutcome::Restarted, None, Some(pid)),
                None => failed(format!("started, but not heard of within {HEARTBEAT_LIMIT:?}; see its log")),
            },
            Ok(Err(_)) => failed("the system stops".to_owned()),
            Err(_) => failed(format!("not started again within {limit:?}; see its log")),
        };
        let done = RestartDone {
            service: self.service,
            command: self.sequence,
            episode: self.episode,
            outcome,
            detail,
            pid,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            at: spark_nats::now(),
            refusal,
        };
        let cause = format!("{}:{}", subject::LEDGER, self.sequence);
        let meta = Meta { msg_id: Some(format!("supervisor:{cause}:0")), cause: Some(cause) };
        if let Err(error) = bus.publish(&subject::restarted(&done.service), &done, meta).await {
            output::note(&format!("tell what became of the restart of {}: {}", output::visible(&done.service), chain(&error)));
        }
    }

    /// The process id of a run that began after the command came, once it is heard of. A start alone proves little: the new run
    /// may end at once, or hang before it reaches the broker.
    async fn heard(&self, bus: &Bus, started: u32) -> Option<u32> {
        if self.service == BROKER {
            // It has no heartbeat; that this answer is stored is the proof.
            return Some(started);
        }
        let target = subject::heartbeat(&self.service);
        let heard = async {
            loop {
                // The broker may be away for a moment; asked again.
                let newest = bus.last(subject::FEED, &target).await.ok().flatten();
                let beat = newest.and_then(|delivery| delivery.decode::<Heartbeat>().ok());
                if let Some(beat) = beat.filter(|beat| beat.started_at >= self.arrival.at) {
                    return beat.pid;
                }
                tokio::time::sleep(HEARTBEAT_POLL).await;
            }
        };
        tokio::time::timeout(HEARTBEAT_LIMIT, heard).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

    fn after(seconds: u64) -> Timestamp {
        BEGAN + Duration::from_secs(seconds)
    }

    fn command(service: &str, episode: Option<&str>, attempt: u32, actor: &str) -> RestartCommand {
        RestartCommand {
            service: service.to_owned(),
            episode: episode.map(ToOwned::to_owned),
            attempt,
            actor: actor.to_owned(),
            reason: "it hangs".to_owned(),
            evidence: Vec::new(),
            at: BEGAN,
        }
    }

    #[test]
    fn the_same_attempt_is_carried_out_once_and_a_person_may_ask_again() {
        let mut admission = Admission::new(BEGAN);
        let mut check = |command: &RestartCommand, want: Admitted| {
            assert_eq!(admission.admit(&command.service, command, after(1), after(1)), want, "{command:?}");
        };
        check(&command("feed", Some("e1"), 1, "guardrail"), Admitted::Yes);
        check(&command("feed", Some("e1"), 1, "guardrail"), Admitted::Known);
        check(&command("feed", Some("e1"), 2, "guardrail"), Admitted::Yes);
        check(&command("risk", Some("e1"), 1, "guardrail"), Admitted::Yes);
        check(&command("feed", Some("e2"), 1, "guardrail"), Admitted::Yes);
        check(&command("feed", None, 1, "operator"), Admitted::Yes);
        check(&command("feed", None, 1, "operator"), Admitted::Yes);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut admission = Admission::new(BEGAN);
        for attempt in 0..1_000 {
            admission.admit("feed", &command("feed", Some("e"), attempt, "guardrail"), after(1), after(1));
        }
        assert_eq!(admission.seen.len(), REMEMBERED_MAX);
    }

    #[test]
    fn commands_of_another_time_or_about_something_else_are_not_carried_out() {
        let check = |service: &str, given: &RestartCommand, stored_at: Timestamp, now: Timestamp, want: Result<(), &str>| {
            let got = Admission::new(BEGAN).admit(service, given, stored_at, now);
            match (&got, want) {
                (Admitted::Yes, Ok(())) | (Admitted::Known, Err("")) => {}
                (Admitted::No(why), Err(part)) if !part.is_empty() && why.contains(part) => {}
                _ => panic!("{got:?} instead of {want:?}"),
            }
        };
        let feed = command("feed", None, 1, "operator");
        check("feed", &feed, after(1), after(61), Ok(()));
        check("feed", &feed, after(1), after(62), Err("61 s after"));
        check("feed", &feed, Timestamp::from_nanos(BEGAN.as_nanos() - 1), after(0), Err(""));
        check("risk", &feed, after(1), after(1), Err("about feed"));
        let broker = |episode, actor| command(BROKER, episode, 1, actor);
        check(BROKER, &broker(None, "operator:ada"), after(1), after(1), Ok(()));
        check(BROKER, &broker(None, "guardrail"), after(1), after(1), Err("person"));
        check(BROKER, &broker(Some("e1"), "operator"), after(1), after(1), Err("person"));
    }
}
