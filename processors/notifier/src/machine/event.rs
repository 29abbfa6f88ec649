//! What can happen.

use spark_bus_schema::actions::{Action, RestartCommand, RestartDone};
use spark_bus_schema::alerts::Alert;
use spark_bus_schema::notify::Silence;
use spark_bus_schema::{DecodeError, Message, subject};
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
/// The message is not what its subject says, or speaks of something else than its subject names.
pub fn decode(delivery: &Delivery) -> Result<Event, DecodeError> {
    let is = |pattern: &str| subject::matches(pattern, &delivery.subject);
    if is(subject::ALERTS) {
        let alert = own(delivery, |alert: &Alert| subject::alert(&alert.name, &alert.scope))?;
        Ok(Event::Alert(Box::new(alert)))
    } else if is(subject::ACTIONS) {
        let action = own(delivery, |action: &Action| subject::action(&action.episode))?;
        Ok(Event::Action(Box::new(action)))
    } else if is(subject::SILENCES) {
        own(delivery, |silence: &Silence| subject::silence(&silence.id)).map(Event::Silence)
    } else if is(subject::RESTARTS) {
        let command = own(delivery, |command: &RestartCommand| subject::restart(&command.service))?;
        Ok(Event::RestartAsked { service: command.service })
    } else {
        let done = own(delivery, |done: &RestartDone| subject::restarted(&done.service))?;
        Ok(Event::RestartDone { service: done.service })
    }
}

/// Decodes a message that is on its own subject. Of each subject the newest is what is known after a restart: what is said
/// on another one would be obeyed until then and forgotten, and the gateway does not show it at all.
pub fn own<T: Message>(delivery: &Delivery, belongs: impl FnOnce(&T) -> String) -> Result<T, DecodeError> {
    let message: T = delivery.decode()?;
    let (came, own) = (&delivery.subject, belongs(&message));
    if *came == own {
        Ok(message)
    } else {
        Err(DecodeError::Invalid { kind: T::KIND, what: format!("came on {came}, belongs on {own}") })
    }
}
