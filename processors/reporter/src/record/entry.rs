//! Bytes to what the history keeps of them.

use spark_bus_schema::actions::Action;
use spark_bus_schema::alerts::Alert;
use spark_bus_schema::backtests::BacktestDone;
use spark_bus_schema::notify::Delivery as Told;
use spark_bus_schema::orders::OrderEvent;
use spark_bus_schema::parked::Parked;
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::rollout::RolloutChanged;
use spark_bus_schema::signals::{Calibration, Score};
use spark_bus_schema::smoke::Smoke;
use spark_bus_schema::telemetry::{ApiRequests, Call, FeedStatus, Heartbeat, Windows};
use spark_bus_schema::{DecodeError, Timestamp, subject};
use spark_nats::Delivery;

use crate::history::ParkedRow;

/// What is kept of one message.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Every window of one boundary.
    Windows(Box<Windows>),
    /// A call to an exchange.
    Call(Box<Call>),
    /// A sign of life.
    Heartbeat(Box<Heartbeat>),
    /// The state of the connection to a venue.
    Feed(Box<FeedStatus>),
    /// What the gateway answered.
    Api(Box<ApiRequests>),
    /// A change of an alert.
    Alert(Box<Alert>),
    /// Balances of an exchange.
    Balances(Box<Balances>),
    /// Yes or no to an order.
    Verdict(Box<Verdict>),
    /// What became of an order.
    Order(Box<OrderEvent>),
    /// What the model said about a candle.
    Score(Box<Score>),
    /// How far scores can be believed.
    Calibration(Box<Calibration>),
    /// A fact that is kept whole: its kind, when, and the JSON.
    Fact(&'static str, Timestamp, String),
}

/// Decodes by subject. None: the history keeps nothing of it.
///
/// # Errors
/// The message is to be parked.
pub fn decode(delivery: &Delivery) -> Result<Option<Entry>, DecodeError> {
    let is = |pattern: &str| subject::matches(pattern, &delivery.subject);
    Ok(Some(if is(subject::WINDOWS) {
        Entry::Windows(Box::new(delivery.decode()?))
    } else if is(subject::CALLS) {
        Entry::Call(Box::new(delivery.decode()?))
    } else if is(subject::HEARTBEATS) {
        Entry::Heartbeat(Box::new(delivery.decode()?))
    } else if is(subject::FEED_STATUS) {
        Entry::Feed(Box::new(delivery.decode()?))
    } else if is(subject::API_REQUESTS) {
        Entry::Api(Box::new(delivery.decode()?))
    } else if is(subject::ALERTS) {
        Entry::Alert(Box::new(delivery.decode()?))
    } else if is(subject::BALANCES) {
        Entry::Balances(Box::new(delivery.decode()?))
    } else if is(subject::VERDICTS) {
        Entry::Verdict(Box::new(delivery.decode()?))
    } else if is(subject::ORDER_EVENTS) {
        Entry::Order(Box::new(delivery.decode()?))
    } else if is(subject::SCORES) {
        Entry::Score(Box::new(delivery.decode()?))
    } else if is(subject::CALIBRATIONS) {
        Entry::Calibration(Box::new(delivery.decode()?))
    } else if is(subject::ROLLOUT_CHANGED) {
        let changed: RolloutChanged = delivery.decode()?;
        fact("rollout", changed.at, &changed)
    } else if is(subject::BACKTESTS_DONE) {
        let done: BacktestDone = delivery.decode()?;
        fact("backtest", done.at, &done)
    } else if is(subject::ACTIONS) {
        let action: Action = delivery.decode()?;
        fact("action", action.at, &action)
    } else if is(subject::DELIVERIES) {
        let told: Told = delivery.decode()?;
        fact("delivery", told.at, &told)
    } else if is(subject::SMOKE) {
        let smoke: Smoke = delivery.decode()?;
        fact("smoke", smoke.at, &smoke)
    } else if is(subject::PARKED_ALL) {
        let parked: Parked = delivery.decode()?;
        let row = ParkedRow {
            process: parked.process,
            reason: parked.reason,
            detail: parked.detail,
            stream: parked.stream,
            sequence: parked.sequence,
            subject: parked.subject,
        };
        fact("parked", parked.parked_at, &row)
    } else if let Some(document) = command(delivery)? {
        Entry::Fact("control", delivery.stored_at, document)
    } else {
        return Ok(None);
    }))
}

/// A command of any kind as JSON, with all its fields.
fn command(delivery: &Delivery) -> Result<Option<String>, DecodeError> {
    use spark_bus_schema::actions::{RestartCommand, RestartDone, RollbackCommand, ThresholdsCommand};
    use spark_bus_schema::backtests::JobCancel;
    use spark_bus_schema::control::{BreakerCommand, CancelCommand, KillSwitch, LimitsCommand, ResumeCommand, StrategyCommand};
    use spark_bus_schema::notify::Silence;
    use spark_bus_schema::rollout::{CounterMove, RolloutCommand};
    use spark_bus_schema::strategies::StrategyRegistered;
    let is = |pattern: &str| subject::matches(pattern, &delivery.subject);
    Ok(Some(if is(subject::RESTARTS) {
        json(&delivery.decode::<RestartCommand>()?)
    } else if is(subject::RESTARTED) {
        json(&delivery.decode::<RestartDone>()?)
    } else if is(subject::ROLLBACK) {
        json(&delivery.decode::<RollbackCommand>()?)
    } else if is(subject::THRESHOLDS) {
        json(&delivery.decode::<ThresholdsCommand>()?)
    } else if is(subject::SILENCES) {
        json(&delivery.decode::<Silence>()?)
    } else if is(subject::BREAKER) {
        json(&delivery.decode::<BreakerCommand>()?)
    } else if is(subject::KILL_SWITCH) {
        json(&delivery.decode::<KillSwitch>()?)
    } else if is(subject::LIMITS) {
        json(&delivery.decode::<LimitsCommand>()?)
    } else if is(subject::RESUME) {
        json(&delivery.decode::<ResumeCommand>()?)
    } else if is(subject::STRATEGIES) {
        json(&delivery.decode::<StrategyCommand>()?)
    } else if is(subject::CANCELS) {
        json(&delivery.decode::<CancelCommand>()?)
    } else if is(subject::ROLLOUT) {
        json(&delivery.decode::<RolloutCommand>()?)
    } else if is(subject::COUNTER_MOVES) {
        json(&delivery.decode::<CounterMove>()?)
    } else if is(subject::REGISTRY) {
        json(&delivery.decode::<StrategyRegistered>()?)
    } else if is(subject::JOB_CANCELS) {
        json(&delivery.decode::<JobCancel>()?)
    } else {
        return Ok(None);
    }))
}

fn fact<T: serde::Serialize>(kind: &'static str, at: Timestamp, message: &T) -> Entry {
    Entry::Fact(kind, at, json(message))
}

/// Messages have text keys and finite numbers only, so this cannot fail; if it does, `null` is read back as a bad row.
pub(crate) fn json<T: serde::Serialize>(message: &T) -> String {
    serde_json::to_string(message).unwrap_or_else(|_| "null".to_owned())
}
