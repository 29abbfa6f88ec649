//! What the broker holds of what was commanded and done: the last message of each subject.

use std::time::Duration;

use spark_bus_schema::actions::Action;
use spark_bus_schema::subject;
use spark_nats::{Delivery, Follower, Machine, Service, Start};

use crate::action::Told;
use crate::machine::{Event, Guardrail};

/// How often it is looked whether everything has been read.
const POLL: Duration = Duration::from_millis(20);
/// What is looked at. Orders are not: there are too many, and an hour of them is read anyway.
const SUBJECTS: [&str; 6] =
    [subject::ACTIONS, subject::RESTARTS, subject::ROLLBACK, subject::LIMITS, subject::KILL_SWITCH, subject::STRATEGIES];

/// The last command of each subject, and the last step of each episode. None when told to stop.
pub async fn acted(service: &Service) -> Option<(Vec<Told>, Vec<Action>)> {
    let subjects = SUBJECTS.map(str::to_owned).to_vec();
    let mut follower = Follower::start(service.bus.clone(), service.name, subject::LEDGER, subjects, Start::LastPerSubject);
    let (mut last, mut actions) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            () = service.shutdown.cancelled() => return None,
            batch = follower.next() => for delivery in batch? {
                keep(&delivery, &mut last, &mut actions);
            },
            () = tokio::time::sleep(POLL), if follower.is_caught_up() => return Some((last, actions)),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

fn keep(delivery: &Delivery, last: &mut Vec<Told>, actions: &mut Vec<Action>) {
    let read = if subject::matches(subject::ACTIONS, &delivery.subject) {
        delivery.decode().map(|action| actions.push(action))
    } else {
        Guardrail::decode(delivery).map(|event| {
            if let Event::Told(told) = event {
                last.push(*told);
            }
        })
    };
    if let Err(error) = read {
        tracing::warn!(subject = delivery.subject, %error, "what was stored before is unreadable");
    }
}
