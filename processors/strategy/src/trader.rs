//! One strategy with its orders and its position, as the LEDGER tells them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::control::StrategyCommand;
use spark_bus_schema::market::{QuoteBatch, Side};
use spark_bus_schema::orders::{OrderEvent, OrderId, OrderIntent, OrderType, TimeInForce};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::{DecodeError, Timestamp, subject};
use spark_nats::Delivery;

use crate::config::{Kind, Spec};
use crate::mean_reversion::MeanReversion;

/// A quote older than this is no price to decide on.
pub const QUOTE_AGE_MAX: Duration = Duration::from_secs(5);
/// Longest pause after refusals.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Who asks, in the intents.
const ACTOR: &str = "strategy";

/// What the LEDGER says about a strategy.
#[derive(Clone, Debug)]
pub enum Event {
    /// It asked, in this life or an earlier one.
    Intent(OrderIntent),
    /// It may, or may not.
    Verdict(Box<Verdict>),
    /// What became of it.
    Order(OrderEvent),
    /// Somebody starts or stops it.
    Command(StrategyCommand),
}

impl Event {
    /// Subjects of the LEDGER that are read.
    pub const SUBJECTS: &'static [&'static str] =
        &[subject::INTENTS, subject::VERDICTS, subject::ORDER_EVENTS, subject::STRATEGIES];

    /// Reads the message of a subject.
    ///
    /// # Errors
    /// It is not what the subject carries.
    pub fn decode(delivery: &Delivery) -> Result<Self, DecodeError> {
        let is = |pattern| subject::matches(pattern, &delivery.subject);
        if is(subject::INTENTS) {
            delivery.decode().map(Self::Intent)
        } else if is(subject::VERDICTS) {
            delivery.decode().map(|verdict| Self::Verdict(Box::new(verdict)))
        } else if is(subject::ORDER_EVENTS) {
            delivery.decode().map(Self::Order)
        } else {
            delivery.decode().map(Self::Command)
        }
    }

    /// Whose.
    #[must_use]
    pub fn strategy(&self) -> &str {
        match self {
            Self::Intent(intent) => &intent.strategy,
            Self::Verdict(verdict) => &verdict.intent.strategy,
            Self::Order(event) => &event.strategy,
            Self::Command(command) => &command.strategy,
        }
    }
}

/// What follows from the LEDGER alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Base currency, with sign.
    position: Decimal,
    /// Asked and not final.
    open: BTreeSet<OrderId>,
    /// Somebody stopped it.
    is_stopped: bool,
    /// Refusals in a row.
    refusals: u32,
    /// When the last refusal was stored.
    refused_at: Timestamp,
}

/// One strategy.
#[derive(Clone, Debug)]
pub struct Trader {
    spec: Spec,
    rule: MeanReversion,
    mid: Option<(Decimal, Timestamp)>,
    kept: Kept,
    /// On its way to the broker, not seen in the LEDGER yet.
    asking: Option<OrderId>,
}

impl Trader {
    /// Knows nothing but what it is to do.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        Self { spec, rule: MeanReversion::default(), mid: None, kept: Kept::default(), asking: None }
    }

    /// What it is to do.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Takes in quotes of its symbol; the newest counts.
    pub fn quotes(&mut self, batch: &QuoteBatch) {
        let Some(quote) = batch.last().filter(|_| batch.venue == self.spec.exchange && batch.symbol == self.spec.symbol) else {
            return;
        };
        let sum = quote.bid_price.to_decimal().checked_add(quote.ask_price.to_decimal());
        let mid = sum.and_then(|sum| sum.checked_mul(Decimal::new(5, 1)));
        self.mid = mid.map(|mid| (mid, quote.received_at));
    }

    /// Takes in what the LEDGER says about this strategy, stored at `at`.
    pub fn apply(&mut self, at: Timestamp, event: Event) {
        match event {
            Event::Intent(intent) => {
                self.settled(&intent.order);
                self.kept.open.insert(intent.order);
            }
            Event::Verdict(verdict) if verdict.approved => self.kept.refusals = 0,
            Event::Verdict(verdict) => {
                self.kept.open.remove(&verdict.order);
                self.kept.refusals = self.kept.refusals.saturating_add(1);
                self.kept.refused_at = at;
            }
            Event::Order(event) => self.order(&event),
            Event::Command(command) => self.kept.is_stopped = !command.run,
        }
    }

    fn order(&mut self, event: &OrderEvent) {
        for fill in event.steps.iter().filter_map(|step| step.fill.as_ref()) {
            let signed = if event.side == Side::Buy { fill.quantity } else { -fill.quantity };
            // Amounts are bounded, so this holds for longer than anybody trades; were it not so, the bound stops the strategy.
            self.kept.position = self.kept.position.checked_add(signed).unwrap_or(Decimal::MAX);
        }
        if event.state().is_final() {
            self.kept.open.remove(&event.order);
        }
    }

    /// Decides at a boundary. The order that it may return counts as asked for until the LEDGER shows it or
    /// [`settled`](Self::settled) is called.
    pub fn decide(&mut self, boundary: Timestamp) -> Option<OrderIntent> {
        let (mid, received_at) = self.mid?;
        if boundary.saturating_since(received_at) > QUOTE_AGE_MAX {
            return None;
        }
        let wish = match self.spec.kind {
            Kind::MeanReversion => self.rule.next(&self.spec, mid, self.kept.position)?,
        };
        let is_busy = self.asking.is_some() || !self.kept.open.is_empty();
        if self.kept.is_stopped || is_busy || boundary < self.pause_ends() {
            return None;
        }
        let key = format!("{}/{}", self.spec.name, boundary.as_millis());
        let intent = OrderIntent {
            order: OrderId::derive(&self.spec.name, &key),
            key,
            strategy: self.spec.name.clone(),
            actor: ACTOR.to_owned(),
            exchange: self.spec.exchange,
            symbol: self.spec.symbol.clone(),
            side: wish.side,
            order_type: OrderType::Market,
            time_in_force: TimeInForce::Ioc,
            quantity: self.spec.quantity,
            limit_price: None,
            requested_at: boundary,
            reason: Some(wish.reason),
            decided_at: None,
        };
        self.asking = Some(intent.order.clone());
        Some(intent)
    }

    /// An order is no longer on its way: the LEDGER has it, or will not have it.
    pub fn settled(&mut self, order: &OrderId) {
        self.asking.take_if(|asking| asking == order);
    }

    /// Refused again and again (the kill switch, a limit), it asks less and less often.
    fn pause_ends(&self) -> Timestamp {
        let interval = Duration::from_millis(self.spec.interval_ms);
        match self.kept.refusals {
            0 => Timestamp::ZERO,
            refusals => self.kept.refused_at + interval.saturating_mul(1 << refusals.min(16)).min(PAUSE_MAX.max(interval)),
        }
    }

    /// Its position, base currency, with sign.
    #[must_use]
    pub fn position(&self) -> Decimal {
        self.kept.position
    }
}

/// What follows from the LEDGER, of every strategy by name.
#[must_use]
pub fn save(traders: &[Trader]) -> Vec<u8> {
    let kept: BTreeMap<&str, &Kept> = traders.iter().map(|trader| (trader.spec.name.as_str(), &trader.kept)).collect();
    rmp_serde::to_vec_named(&kept).expect("writing to memory cannot fail and every key is text")
}

/// Takes over what was saved. False when a strategy is not in it: the LEDGER must be read from its beginning.
///
/// # Errors
/// What makes it unusable.
pub fn load(traders: &mut [Trader], bytes: &[u8]) -> Result<bool, String> {
    let mut kept: BTreeMap<String, Kept> = rmp_serde::from_slice(bytes).map_err(|error| error.to_string())?;
    let is_complete = traders.iter().all(|trader| kept.contains_key(&trader.spec.name));
    for trader in traders.iter_mut().filter(|_| is_complete) {
        trader.kept = kept.remove(&trader.spec.name).unwrap_or_default();
    }
    Ok(is_complete)
}

#[cfg(test)]
mod tests;
