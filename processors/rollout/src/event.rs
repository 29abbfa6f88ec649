//! Bytes to facts.

use spark_bus_schema::actions::{RollbackCommand, RollbackStep};
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::orders::Epoch;
use spark_bus_schema::rollout::{RolloutChanged, RolloutCommand};
use spark_bus_schema::signals::{ModelInForce, Outcome, Score};
use spark_bus_schema::{DecodeError, subject};
use spark_nats::Delivery;

/// One message of the LEDGER.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its sequence.
    pub sequence: u64,
    /// What it says.
    pub fact: Fact,
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A person's word.
    Command(Box<RolloutCommand>),
    /// The guardrail goes back to what was good; only where the rollout is part of it.
    RolloutBack {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// One alert.
    Alert {
        /// Its subject: the rule and its scope.
        subject: String,
        /// Its name.
        name: String,
        /// It fires as a critical.
        is_critical: bool,
    },
    /// Who scores.
    Model(Box<ModelInForce>),
    /// A score.
    Score(Box<Score>),
    /// What became of one.
    Outcome(Box<Outcome>),
    /// What this process, or the one before it, told.
    Told(Box<RolloutChanged>),
    /// Only the time.
    Time,
    /// A message on the subject of another one.
    Misplaced {
        /// Where it is.
        subject: String,
        /// Where it belongs.
        belongs: String,
    },
}

impl Event {
    /// Reads one message.
    ///
    /// # Errors
    /// It is not what its subject carries.
    pub fn decode(delivery: &Delivery) -> Result<Self, DecodeError> {
        let (belongs, fact) = fact(delivery)?;
        let fact = match belongs.filter(|belongs| *belongs != delivery.subject) {
            Some(belongs) => Fact::Misplaced { subject: delivery.subject.clone(), belongs },
            None => fact,
        };
        Ok(Self { sequence: delivery.sequence, fact })
    }
}

/// The fact, and the subject it belongs on where that follows from it.
fn fact(delivery: &Delivery) -> Result<(Option<String>, Fact), DecodeError> {
    let on = |pattern: &str| subject::matches(pattern, &delivery.subject);
    Ok(if on(subject::SCORES) {
        let score: Score = delivery.decode()?;
        (Some(subject::score(score.venue, &score.symbol, score.timeframe)), Fact::Score(Box::new(score)))
    } else if on(subject::OUTCOMES) {
        let outcome: Outcome = delivery.decode()?;
        (Some(subject::outcome(outcome.venue, &outcome.symbol, outcome.timeframe)), Fact::Outcome(Box::new(outcome)))
    } else if on(subject::ALERTS) {
        let alert: Alert = delivery.decode()?;
        let is_critical = alert.state == AlertState::Firing && alert.severity == Some(Severity::Critical);
        (
            Some(subject::alert(&alert.name, &alert.scope)),
            Fact::Alert { subject: delivery.subject.clone(), name: alert.name, is_critical },
        )
    } else if on(subject::ROLLOUT_CHANGED) {
        let told: RolloutChanged = delivery.decode()?;
        (Some(subject::rollout_changed(&told.model.model_version)), Fact::Told(Box::new(told)))
    } else if on(subject::ROLLOUT) {
        (None, Fact::Command(Box::new(delivery.decode()?)))
    } else if on(subject::ROLLBACK) {
        (None, rollback(delivery.decode()?))
    } else if on(subject::MODEL) {
        (None, Fact::Model(Box::new(delivery.decode()?)))
    } else {
        delivery.decode::<Epoch>()?;
        (None, Fact::Time)
    })
}

fn rollback(command: RollbackCommand) -> Fact {
    if command.steps.iter().any(|step| matches!(step, RollbackStep::RolloutBack)) {
        Fact::RolloutBack { actor: command.actor, reason: command.reason }
    } else {
        Fact::Time
    }
}
