//! What can happen.

use spark_bus_schema::actions::{Action, RestartCommand, RestartDone};
use spark_bus_schema::alerts::Alert;
use spark_bus_schema::notify::Silence;
use spark_bus_schema::{DecodeError, subject};
use spark_nats::Delivery;

/// What is read of the LEDGER.
pub const SUBJECTS: &[&str] = &[subject::ALERTS, subject::ACTIONS, subject::SILENCES, subject::RESTARTS, subject::RESTARTED];

/// What can happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// An alert changed.
    Alert(Box<Alert>),
    /// The guardrail did something.
    Action(Box<Action>),
    /// A silence was set, changed or taken back.
    Silence(Silence),
    /// A process is about to restart.
    RestartAsked {
        /// Which.
        service: String,
    },
    /// That is over, one way or the other.
    RestartDone {
        /// Which.
        service: String,
    },
}

/// Bytes to event.
///
/// # Errors
/// The message is not what its subject says.
pub fn decode(delivery: &Delivery) -> Result<Event, DecodeError> {
    let is = |pattern: &str| subject::matches(pattern, &delivery.subject);
    if is(subject::ALERTS) {
        delivery.decode::<Alert>().map(|alert| Event::Alert(Box::new(alert)))
    } else if is(subject::ACTIONS) {
        delivery.decode::<Action>().map(|action| Event::Action(Box::new(action)))
    } else if is(subject::SILENCES) {
        delivery.decode::<Silence>().map(Event::Silence)
    } else if is(subject::RESTARTS) {
        delivery.decode::<RestartCommand>().map(|command| Event::RestartAsked { service: command.service })
    } else {
        delivery.decode::<RestartDone>().map(|done| Event::RestartDone { service: done.service })
    }
}
