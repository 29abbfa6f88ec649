//! What the broker holds of the guardrail's own past and of what it was told, read at the start of a run.

use std::time::Duration;

use spark_bus_schema::actions::{Action, ThresholdsCommand};
use spark_bus_schema::alerts::Alert;
use spark_bus_schema::subject;
use spark_nats::{Delivery, Follower, Machine, Service, Start};

use crate::action::Told;
use crate::machine::{Event, Guardrail};

/// How often it is looked whether everything has been read.
const POLL: Duration = Duration::from_millis(20);
/// Where that is. Orders are not among it: there are too many, and an hour of them is read anyway.
const LAST: [&str; 9] = [
    subject::ALERTS,
    subject::ACTIONS,
    subject::RESTARTS,
    subject::ROLLBACK,
    subject::LIMITS,
    subject::KILL_SWITCH,
    subject::STRATEGIES,
    subject::COUNTER_MOVES,
    subject::ROLLOUT_CHANGED,
];

/// Every command that changed thresholds, with its sequence in LEDGER: they stand until they are taken back, however old
/// they are. None when told to stop.
pub async fn thresholds(service: &Service) -> Option<Vec<(u64, ThresholdsCommand)>> {
    let mut commands = Vec::new();
    each(service, &[subject::THRESHOLDS], Start::Beginning, |delivery| match delivery.decode() {
        Ok(command) => commands.push((delivery.sequence, command)),
        Err(error) => unreadable(delivery, &error),
    })
    .await?;
    Some(commands)
}

/// The last message of each subject.
#[derive(Default)]
pub struct Past {
    /// Alerts: one with a revision that is stored already would be taken for that one, so the guardrail goes on after them.
    pub alerts: Vec<Alert>,
    /// Commands and answers.
    pub told: Vec<Told>,
    /// Steps of episodes.
    pub actions: Vec<Action>,
}

/// What was said, asked and done before. None when told to stop.
pub async fn read(service: &Service) -> Option<Past> {
    let mut past = Past::default();
    each(service, &LAST, Start::LastPerSubject, |delivery| {
        let read = if subject::matches(subject::ALERTS, &delivery.subject) {
            delivery.decode().map(|alert| past.alerts.push(alert))
        } else if subject::matches(subject::ACTIONS, &delivery.subject) {
            delivery.decode().map(|action| past.actions.push(action))
        } else {
            Guardrail::decode(delivery).map(|event| {
                if let Event::Told(told) = event {
                    past.told.push(*told);
                }
            })
        };
        if let Err(error) = read {
            unreadable(delivery, &error);
        }
    })
    .await?;
    Some(past)
}

/// Every message of LEDGER on these subjects that is stored by now. None when told to stop.
async fn each(service: &Service, subjects: &[&str], start: Start, mut take: impl FnMut(&Delivery)) -> Option<()> {
    let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
    let mut follower = Follower::start(service.bus.clone(), service.name, subject::LEDGER, subjects, start);
    loop {
        tokio::select! {
            () = service.shutdown.cancelled() => return None,
            batch = follower.next() => batch?.iter().for_each(&mut take),
            () = tokio::time::sleep(POLL), if follower.is_caught_up() => return Some(()),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

fn unreadable(delivery: &Delivery, error: &spark_bus_schema::DecodeError) {
    tracing::warn!(subject = delivery.subject, sequence = delivery.sequence, %error, "what was stored before is unreadable");
}
