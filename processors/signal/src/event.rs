//! What the process reads: candles of FEED, and what the LEDGER says about the model and its orders.

use spark_bus_schema::candles::{Candle, CandleHistory};
use spark_bus_schema::control::{KillSwitch, StrategyCommand};
use spark_bus_schema::orders::{InstrumentFilters, OrderEvent, OrderIntent};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::rollout::{CounterMove, RolloutChanged};
use spark_bus_schema::signals::ScoreRequest;
use spark_bus_schema::subject;
use spark_nats::Delivery;

use crate::holdings::STRATEGY;

/// Subjects of FEED.
pub const FEED_SUBJECTS: &[&str] = &[subject::CANDLES, subject::HISTORY];
/// Subjects of the LEDGER.
pub const LEDGER_SUBJECTS: &[&str] = &[
    subject::ROLLOUT_CHANGED,
    subject::COUNTER_MOVES,
    subject::SCORE_REQUESTS,
    subject::KILL_SWITCH,
    subject::STRATEGIES,
    subject::INTENTS,
    subject::VERDICTS,
    subject::ORDER_EVENTS,
    subject::INSTRUMENTS,
];
/// Those of them whose unreadable messages are parked here; the others are parked by whoever decides on them.
const PARKED: &[&str] =
    &[subject::CANDLES, subject::HISTORY, subject::ROLLOUT_CHANGED, subject::COUNTER_MOVES, subject::SCORE_REQUESTS];

/// What can happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A candle has closed, or an earlier one was corrected.
    Candle(Box<Candle>),
    /// Candles from before.
    History(Box<CandleHistory>),
    /// A rollout stands elsewhere.
    Rollout(Box<RolloutChanged>),
    /// The guardrail did something.
    CounterMove(CounterMove),
    /// Somebody asks.
    Request(Box<ScoreRequest>),
    /// The kill switch.
    KillSwitch(KillSwitch),
    /// Somebody starts or stops a strategy.
    Command(StrategyCommand),
    /// An order was asked for.
    Intent(Box<OrderIntent>),
    /// It may, or may not.
    Verdict(Box<Verdict>),
    /// What became of it.
    Order(Box<OrderEvent>),
    /// What an exchange takes.
    Filters(InstrumentFilters),
}

/// A message that is not what its subject carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// A short, stable word for metrics.
    pub reason: &'static str,
    /// The whole story.
    pub detail: String,
    /// Whether it is parked here.
    pub park: bool,
}

impl Event {
    /// Reads the message of a subject; none when it is about somebody else's orders.
    ///
    /// # Errors
    /// It is not what the subject carries, or it speaks of something else than its subject.
    pub fn decode(delivery: &Delivery) -> Result<Option<Self>, Unreadable> {
        let is = |pattern: &str| subject::matches(pattern, &delivery.subject);
        let park = PARKED.iter().any(|pattern| is(pattern));
        let read = Self::read(delivery, is).map_err(|error| Unreadable {
            reason: error.reason(),
            detail: spark_nats::text(&error),
            park,
        })?;
        let own = read.subject();
        if own.as_ref().is_some_and(|own| *own != delivery.subject) {
            let detail = format!("the message belongs on {}", own.unwrap_or_default());
            return Err(Unreadable { reason: "wrong_subject", detail, park });
        }
        Ok(read.is_ours().then_some(read))
    }

    fn read(delivery: &Delivery, is: impl Fn(&str) -> bool) -> Result<Self, spark_bus_schema::DecodeError> {
        Ok(if is(subject::CANDLES) {
            Self::Candle(Box::new(delivery.decode()?))
        } else if is(subject::HISTORY) {
            Self::History(Box::new(delivery.decode()?))
        } else if is(subject::ROLLOUT_CHANGED) {
            Self::Rollout(Box::new(delivery.decode()?))
        } else if is(subject::COUNTER_MOVES) {
            Self::CounterMove(delivery.decode()?)
        } else if is(subject::SCORE_REQUESTS) {
            Self::Request(Box::new(delivery.decode()?))
        } else if is(subject::KILL_SWITCH) {
            Self::KillSwitch(delivery.decode()?)
        } else if is(subject::STRATEGIES) {
            Self::Command(delivery.decode()?)
        } else if is(subject::INTENTS) {
            Self::Intent(Box::new(delivery.decode()?))
        } else if is(subject::VERDICTS) {
            Self::Verdict(Box::new(delivery.decode()?))
        } else if is(subject::ORDER_EVENTS) {
            Self::Order(Box::new(delivery.decode()?))
        } else {
            Self::Filters(delivery.decode()?)
        })
    }

    /// Where it belongs, as far as it decides here.
    fn subject(&self) -> Option<String> {
        Some(match self {
            Self::Candle(candle) => subject::candle(candle.venue, &candle.symbol, candle.timeframe),
            Self::History(history) => subject::history(history.venue, &history.symbol, history.timeframe),
            Self::Rollout(changed) => subject::rollout_changed(&changed.model.model_version),
            Self::CounterMove(made) => subject::counter_move(made.kind),
            Self::Request(request) => subject::score_request(&request.id),
            _ => return None,
        })
    }

    fn is_ours(&self) -> bool {
        match self {
            Self::Command(command) => command.strategy == STRATEGY,
            Self::Intent(intent) => intent.strategy == STRATEGY,
            Self::Verdict(verdict) => verdict.intent.strategy == STRATEGY,
            Self::Order(event) => event.strategy == STRATEGY,
            _ => true,
        }
    }
}
