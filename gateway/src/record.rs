//! What the view reads from the LEDGER about orders: each message with its place, in the ledger's own order.

use bytes::Bytes;
use spark_bus_schema::actions::{Action, RestartCommand, RestartDone, RollbackCommand, ThresholdsCommand};
use spark_bus_schema::alerts::Alert;
use spark_bus_schema::audit::{AuditAnchor, AuditDamage, AuditVerified};
use spark_bus_schema::backtests::{BacktestDone, JobCancel};
use spark_bus_schema::control::{BreakerCommand, CancelCommand, KillSwitch, LimitsCommand, ResumeCommand, StrategyCommand};
use spark_bus_schema::notify::{Delivery, Notification, Silence};
use spark_bus_schema::orders::{Epoch, OrderEvent, OrderIntent, Reconciliation};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::rollout::{CounterMove, RolloutChanged, RolloutCommand};
use spark_bus_schema::smoke::Smoke;
use spark_bus_schema::strategies::StrategyRegistered;
use spark_bus_schema::{decode, subject};

use crate::event::Unreadable;

/// Subjects that a [`Record`] comes from.
pub const SUBJECTS: [&str; 32] = [
    subject::INTENTS,
    subject::VERDICTS,
    subject::ORDER_EVENTS,
    subject::KILL_SWITCH,
    subject::LIMITS,
    subject::CANCELS,
    subject::STRATEGIES,
    subject::RESUME,
    subject::BREAKER,
    subject::RECONCILIATIONS,
    subject::RISK_EPOCH,
    subject::ORDERS_EPOCH,
    subject::ALERTS,
    subject::AUDIT_ANCHOR,
    subject::AUDIT_VERIFIED,
    subject::AUDIT_DAMAGE,
    subject::ACTIONS,
    subject::NOTIFICATIONS,
    subject::DELIVERIES,
    subject::RESTARTS,
    subject::RESTARTED,
    subject::ROLLBACK,
    subject::THRESHOLDS,
    subject::SILENCES,
    subject::SMOKE,
    subject::ROLLOUT,
    subject::ROLLOUT_CHANGED,
    subject::ROLLOUT_EPOCH,
    subject::COUNTER_MOVES,
    subject::REGISTRY,
    subject::JOB_CANCELS,
    subject::BACKTESTS_DONE,
];

/// One message of the LEDGER.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its place.
    pub sequence: u64,
    /// `Spark-Kind`.
    pub kind: String,
    /// Its bytes, as stored.
    pub payload: Bytes,
    /// What it says.
    pub record: Record,
}

/// What a message of the LEDGER says.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Somebody wants an order.
    Intent(OrderIntent),
    /// Yes or no.
    Verdict(Verdict),
    /// What became of it.
    Order(OrderEvent),
    /// Everything new stops, or may go on.
    KillSwitch(KillSwitch),
    /// New limits.
    Limits(LimitsCommand),
    /// An order is to be taken back.
    Cancel(CancelCommand),
    /// A strategy starts or stops.
    Strategy(StrategyCommand),
    /// A halt is lifted.
    Resume(ResumeCommand),
    /// A circuit breaker by hand.
    Breaker(BreakerCommand),
    /// Ledger and exchange were compared.
    Reconciliation(Reconciliation),
    /// A new holder of risk or executor.
    Epoch(Epoch),
    /// An alert changed.
    Alert(Alert),
    /// A place of the hash chain.
    Anchor(AuditAnchor),
    /// The chain holds.
    Verified(AuditVerified),
    /// The chain does not hold.
    Damage(AuditDamage),
    /// What the guardrail did about criticals.
    Action(Action),
    /// Somebody is to be told.
    Notification(Notification),
    /// What became of that.
    Delivery(Delivery),
    /// A process is to be restarted.
    Restart(RestartCommand),
    /// What became of that.
    Restarted(RestartDone),
    /// Back to what was known to be good.
    Rollback(RollbackCommand),
    /// Thresholds changed at run time.
    Thresholds(ThresholdsCommand),
    /// Nobody is told about some alerts for a time.
    Silence(Silence),
    /// The smoke check's outcome.
    Smoke(Smoke),
    /// A person's word about the rollout.
    Rollout(RolloutCommand),
    /// Where a rollout stands.
    RolloutChanged(Box<RolloutChanged>),
    /// What the guardrail does against a model that does badly.
    CounterMove(CounterMove),
    /// A strategy as it is now.
    Registered(Box<StrategyRegistered>),
    /// A backtest is taken back.
    JobCancel(JobCancel),
    /// A backtest came to an end.
    BacktestDone(Box<BacktestDone>),
}

impl Record {
    /// Whether it is about models, strategies or backtests.
    #[must_use]
    pub fn is_of_models(&self) -> bool {
        matches!(
            self,
            Self::Rollout(_)
                | Self::RolloutChanged(_)
                | Self::CounterMove(_)
                | Self::Registered(_)
                | Self::JobCancel(_)
                | Self::BacktestDone(_)
        )
    }

    /// Decodes what was stored on `on`; none for subjects that are not in [`SUBJECTS`].
    ///
    /// # Errors
    /// [`Unreadable`]; no bytes whatsoever make it panic.
    pub fn decode(on: &str, kind: Option<&str>, payload: &[u8]) -> Result<Option<Self>, Unreadable> {
        let Some(pattern) = SUBJECTS.into_iter().find(|pattern| subject::matches(pattern, on)) else { return Ok(None) };
        let (belongs, record) = match pattern {
            subject::INTENTS => {
                let intent: OrderIntent = decode(kind, payload)?;
                (subject::intent(&intent.order), Self::Intent(intent))
            }
            subject::VERDICTS => {
                let verdict: Verdict = decode(kind, payload)?;
                (subject::verdict(&verdict.order), Self::Verdict(verdict))
            }
            subject::ORDER_EVENTS => {
                let event: OrderEvent = decode(kind, payload)?;
                (subject::order_event(&event.order), Self::Order(event))
            }
            subject::CANCELS => {
                let command: CancelCommand = decode(kind, payload)?;
                (subject::cancel(&command.order), Self::Cancel(command))
            }
            subject::STRATEGIES => {
                let command: StrategyCommand = decode(kind, payload)?;
                (subject::strategy(&command.strategy), Self::Strategy(command))
            }
            subject::BREAKER => {
                let command: BreakerCommand = decode(kind, payload)?;
                (subject::breaker(command.exchange), Self::Breaker(command))
            }
            subject::RECONCILIATIONS => {
                let compared: Reconciliation = decode(kind, payload)?;
                (subject::reconciliation(compared.exchange), Self::Reconciliation(compared))
            }
            subject::ALERTS => {
                let alert: Alert = decode(kind, payload)?;
                (subject::alert(&alert.name, &alert.scope), Self::Alert(alert))
            }
            subject::ACTIONS => {
                let action: Action = decode(kind, payload)?;
                (subject::action(&action.episode), Self::Action(action))
            }
            subject::NOTIFICATIONS => {
                let told: Notification = decode(kind, payload)?;
                (of_receiver(on, &told.receiver, subject::notification), Self::Notification(told))
            }
            subject::DELIVERIES => {
                let told: Delivery = decode(kind, payload)?;
                (of_receiver(on, &told.receiver, subject::delivery), Self::Delivery(told))
            }
            subject::RESTARTS => {
                let command: RestartCommand = decode(kind, payload)?;
                (subject::restart(&command.service), Self::Restart(command))
            }
            subject::RESTARTED => {
                let done: RestartDone = decode(kind, payload)?;
                (subject::restarted(&done.service), Self::Restarted(done))
            }
            subject::SILENCES => {
                let silence: Silence = decode(kind, payload)?;
                (subject::silence(&silence.id), Self::Silence(silence))
            }
            subject::ROLLOUT_CHANGED => {
                let changed: RolloutChanged = decode(kind, payload)?;
                (subject::rollout_changed(&changed.model.model_version), Self::RolloutChanged(Box::new(changed)))
            }
            subject::COUNTER_MOVES => {
                let command: CounterMove = decode(kind, payload)?;
                (subject::counter_move(command.kind), Self::CounterMove(command))
            }
            subject::REGISTRY => {
                let strategy: StrategyRegistered = decode(kind, payload)?;
                (subject::registry(&strategy.name), Self::Registered(Box::new(strategy)))
            }
            subject::JOB_CANCELS => {
                let command: JobCancel = decode(kind, payload)?;
                (subject::job_cancel(&command.id), Self::JobCancel(command))
            }
            subject::BACKTESTS_DONE => {
                let done: BacktestDone = decode(kind, payload)?;
                (subject::backtest_done(&done.id), Self::BacktestDone(Box::new(done)))
            }
            // The others have one subject each: content cannot be in the wrong place.
            subject::KILL_SWITCH => (on.to_owned(), Self::KillSwitch(decode(kind, payload)?)),
            subject::LIMITS => (on.to_owned(), Self::Limits(decode(kind, payload)?)),
            subject::RESUME => (on.to_owned(), Self::Resume(decode(kind, payload)?)),
            subject::AUDIT_ANCHOR => (on.to_owned(), Self::Anchor(decode(kind, payload)?)),
            subject::AUDIT_VERIFIED => (on.to_owned(), Self::Verified(decode(kind, payload)?)),
            subject::AUDIT_DAMAGE => (on.to_owned(), Self::Damage(decode(kind, payload)?)),
            subject::ROLLBACK => (on.to_owned(), Self::Rollback(decode(kind, payload)?)),
            subject::THRESHOLDS => (on.to_owned(), Self::Thresholds(decode(kind, payload)?)),
            subject::SMOKE => (on.to_owned(), Self::Smoke(decode(kind, payload)?)),
            subject::ROLLOUT => (on.to_owned(), Self::Rollout(decode(kind, payload)?)),
            _ => (on.to_owned(), Self::Epoch(decode(kind, payload)?)),
        };
        if belongs == on { Ok(Some(record)) } else { Err(Unreadable::Misplaced { belongs }) }
    }
}

/// The subject of a receiver's message. The group's id is the notifier's own: it stays what it is.
fn of_receiver(on: &str, receiver: &str, of: fn(&str, &str) -> String) -> String {
    let group = on.rsplit('.').next().unwrap_or_default();
    of(receiver, group)
}

#[cfg(test)]
mod tests {
    use spark_bus_schema::catalogue;

    use super::*;

    #[test]
    fn every_kind_is_read_from_its_own_subject_and_from_no_other() {
        let mut read = 0;
        for entry in catalogue::entries() {
            if !SUBJECTS.contains(&entry.subject) {
                continue;
            }
            let (kind, sample) = (entry.kind.to_string(), (entry.sample)());
            let elsewhere = entry.subject.replace('>', "x.y");
            if elsewhere == entry.subject {
                assert!(Record::decode(&elsewhere, Some(&kind), &sample).unwrap().is_some(), "{elsewhere}");
            } else {
                assert_eq!(Record::decode(&elsewhere, Some(&kind), &sample).unwrap_err().reason(), "misplaced", "{elsewhere}");
            }
            assert_eq!(Record::decode(&elsewhere, Some(&kind), b"\xc1").unwrap_err().reason(), "malformed", "{elsewhere}");
            assert_eq!(Record::decode(&elsewhere, None, &sample).unwrap_err().reason(), "missing_kind", "{elsewhere}");
            read += 1;
        }
        assert!(read >= SUBJECTS.len() - 1, "{read} kinds");
        assert!(Record::decode("portfolio.balances.binance", None, b"").unwrap().is_none());
    }
}
