//! Which symbols somebody needs a mark of: a position, an open order, an armed strategy, a fresh intent, or the configuration.
//!
//! Positions and open orders follow from the LEDGER alone, so the state is saved with a place in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::control::StrategyCommand;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{OrderEvent, OrderId, OrderIntent};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::{DecodeError, Timestamp, Venue, subject};

use crate::Symbol;
use crate::config;

/// An intent asks for marks until its verdict, at most this long: `risk` gives up earlier.
pub const INTENT_FRESH: Duration = Duration::from_secs(5);
/// Intents that may ask at once; beyond it the oldest have waited for less than they should, and are dropped.
const ASKED_MAX: usize = 100_000;

/// What the LEDGER says that matters here.
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody wants an order.
    Intent(OrderIntent),
    /// It may, or may not.
    Verdict(Box<Verdict>),
    /// What became of it.
    Order(OrderEvent),
    /// A strategy was started or stopped.
    Strategy(StrategyCommand),
}

impl Event {
    /// Subjects of the LEDGER that are read.
    pub const SUBJECTS: &'static [&'static str] =
        &[subject::INTENTS, subject::VERDICTS, subject::ORDER_EVENTS, subject::STRATEGIES];

    /// Reads the message of a subject.
    ///
    /// # Errors
    /// It is not what the subject carries.
    pub fn decode(delivery: &spark_nats::Delivery) -> Result<Self, DecodeError> {
        let is = |pattern| subject::matches(pattern, &delivery.subject);
        if is(subject::INTENTS) {
            delivery.decode().map(Self::Intent)
        } else if is(subject::VERDICTS) {
            delivery.decode().map(|verdict| Self::Verdict(Box::new(verdict)))
        } else if is(subject::ORDER_EVENTS) {
            delivery.decode().map(Self::Order)
        } else {
            delivery.decode().map(Self::Strategy)
        }
    }
}

/// Who needs marks.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    always: BTreeSet<Symbol>,
    /// Follows from the LEDGER.
    kept: Kept,
    /// Open orders of each symbol, counted from `kept`.
    open: HashMap<Symbol, usize>,
    /// Symbols of running strategies, from `kept`.
    armed: BTreeSet<Symbol>,
    /// Fresh intents without a verdict: until when.
    asked: BTreeMap<OrderId, (Symbol, Timestamp)>,
    asking: HashMap<Symbol, usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// Positions that are not zero, base currency, with sign.
    positions: BTreeMap<Symbol, Decimal>,
    /// Approved and not final.
    open: BTreeMap<OrderId, Symbol>,
    /// Running strategies.
    strategies: BTreeMap<String, Vec<Symbol>>,
}

impl Interest {
    /// Nobody but the configuration.
    #[must_use]
    pub fn new(always: BTreeSet<Symbol>) -> Self {
        Self { always, ..Self::default() }
    }

    /// Takes in one message of the LEDGER, stored at `at`. Returns the symbol that now needs a mark at once.
    pub fn apply(&mut self, at: Timestamp, event: Event, now: Timestamp) -> Option<Symbol> {
        match event {
            Event::Intent(intent) => return self.intent(at, intent, now),
            Event::Verdict(verdict) => self.verdict(*verdict),
            Event::Order(event) => self.order(event),
            Event::Strategy(command) => self.strategy(command),
        }
        None
    }

    fn intent(&mut self, at: Timestamp, intent: OrderIntent, now: Timestamp) -> Option<Symbol> {
        let until = at + INTENT_FRESH;
        if until <= now || self.asked.contains_key(&intent.order) {
            return None;
        }
        if self.asked.len() >= ASKED_MAX
            && let Some(oldest) = self.asked.iter().min_by_key(|(_, (_, until))| *until).map(|(order, _)| order.clone())
        {
            self.answered(&oldest);
        }
        let symbol = (intent.exchange, intent.symbol);
        *self.asking.entry(symbol.clone()).or_default() += 1;
        self.asked.insert(intent.order, (symbol.clone(), until));
        Some(symbol)
    }

    fn verdict(&mut self, verdict: Verdict) {
        self.answered(&verdict.order);
        if verdict.approved && !self.kept.open.contains_key(&verdict.order) {
            let symbol = (verdict.intent.exchange, verdict.intent.symbol);
            *self.open.entry(symbol.clone()).or_default() += 1;
            self.kept.open.insert(verdict.order, symbol);
        }
    }

    fn order(&mut self, event: OrderEvent) {
        let symbol = (event.exchange, event.symbol.clone());
        let fills = event.steps.iter().filter_map(|step| step.fill.as_ref());
        // Amounts are bounded by their type's validation; what does not fit keeps the position from counting as closed.
        let filled = fills.map(|fill| fill.quantity).try_fold(Decimal::ZERO, Decimal::checked_add).unwrap_or(Decimal::MAX);
        let signed = match event.side {
            Side::Buy => filled,
            Side::Sell => -filled,
        };
        let held = self.kept.positions.get(&symbol).copied().unwrap_or_default();
        let held = held.checked_add(signed).unwrap_or(Decimal::MAX);
        if held.is_zero() {
            self.kept.positions.remove(&symbol);
        } else {
            self.kept.positions.insert(symbol, held);
        }
        if event.state().is_final()
            && let Some(symbol) = self.kept.open.remove(&event.order)
        {
            decrease(&mut self.open, &symbol);
        }
    }

    fn strategy(&mut self, command: StrategyCommand) {
        if command.run {
            let symbols = command.symbols.iter().filter_map(|text| config::symbol(text)).collect();
            self.kept.strategies.insert(command.strategy, symbols);
        } else {
            self.kept.strategies.remove(&command.strategy);
        }
        self.armed = self.kept.strategies.values().flatten().cloned().collect();
    }

    fn answered(&mut self, order: &OrderId) {
        if let Some((symbol, _)) = self.asked.remove(order) {
            decrease(&mut self.asking, &symbol);
        }
    }

    /// Forgets intents that nobody answered.
    pub fn expire(&mut self, now: Timestamp) {
        let old: Vec<OrderId> =
            self.asked.iter().filter(|(_, (_, until))| *until <= now).map(|(order, _)| order.clone()).collect();
        old.iter().for_each(|order| self.answered(order));
    }

    /// Whether marks of this symbol are needed at all.
    #[must_use]
    pub fn is_wanted(&self, symbol: &Symbol) -> bool {
        self.is_asked(symbol)
            || self.kept.positions.contains_key(symbol)
            || self.open.contains_key(symbol)
            || self.armed.contains(symbol)
            || self.always.contains(symbol)
    }

    /// Whether an intent waits for a mark of this symbol.
    #[must_use]
    pub fn is_asked(&self, symbol: &Symbol) -> bool {
        self.asking.contains_key(symbol)
    }

    /// What follows from the LEDGER.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(&self.kept).expect("writing to memory cannot fail and every key can be written")
    }

    /// Takes over what was saved.
    ///
    /// # Errors
    /// What makes it unusable.
    pub fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.kept = spark_bus_schema::codec::from_saved(bytes).map_err(|error| error.to_string())?;
        self.open.clear();
        for symbol in self.kept.open.values() {
            *self.open.entry(symbol.clone()).or_default() += 1;
        }
        self.armed = self.kept.strategies.values().flatten().cloned().collect();
        Ok(())
    }

    /// The position in a symbol, for a look.
    #[must_use]
    pub fn position(&self, venue: Venue, symbol: &str) -> Decimal {
        self.kept.positions.get(&(venue, symbol.to_owned())).copied().unwrap_or_default()
    }
}

fn decrease(counts: &mut HashMap<Symbol, usize>, symbol: &Symbol) {
    if let Some(count) = counts.get_mut(symbol) {
        *count -= 1;
        if *count == 0 {
            counts.remove(symbol);
        }
    }
}

#[cfg(test)]
mod tests {
    use spark_bus_schema::catalogue::find;
    use spark_bus_schema::codec::decode_payload;
    use spark_bus_schema::orders::OrderState;
    use spark_bus_schema::{Message, Timestamp};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn sample<T: Message>() -> T {
        decode_payload(&(find(&T::KIND.to_string()).unwrap().sample)()).unwrap()
    }

    fn btcusdt() -> Symbol {
        (Venue::Binance, "BTCUSDT".to_owned())
    }

    /// An order of `quantity`, filled whole or cancelled without a fill.
    fn order(key: &str, side: Side, state: OrderState, quantity: &str) -> (Verdict, OrderEvent) {
        let (mut verdict, mut event): (Verdict, OrderEvent) = (sample(), sample());
        let order = OrderId::derive("test", key);
        verdict.order = order.clone();
        verdict.approved = true;
        event.order = order;
        event.side = side;
        let step = event.steps.last_mut().unwrap();
        step.state = state;
        step.fill = step.fill.take().filter(|_| state == OrderState::Filled);
        if let Some(fill) = &mut step.fill {
            fill.quantity = quantity.parse().unwrap();
        }
        (verdict, event)
    }

    fn apply(interest: &mut Interest, event: Event) {
        interest.apply(NOW, event, NOW);
    }

    #[test]
    fn an_open_order_and_a_position_want_marks_until_they_are_closed() {
        let mut interest = Interest::default();
        let (bought, filled) = order("1", Side::Buy, OrderState::Filled, "0.5");
        apply(&mut interest, Event::Verdict(Box::new(bought)));
        assert!(interest.is_wanted(&btcusdt()), "approved");
        apply(&mut interest, Event::Order(filled));
        assert_eq!(interest.position(Venue::Binance, "BTCUSDT").to_string(), "0.5");
        assert!(interest.is_wanted(&btcusdt()), "a position");
        let (sold, closed) = order("2", Side::Sell, OrderState::Filled, "0.5");
        apply(&mut interest, Event::Verdict(Box::new(sold)));
        let mut resumed = Interest::default();
        resumed.load(&interest.save()).unwrap();
        for interest in [&mut interest, &mut resumed] {
            assert!(interest.is_wanted(&btcusdt()));
            apply(interest, Event::Order(closed.clone()));
            assert!(!interest.is_wanted(&btcusdt()), "flat, nothing open");
        }
        assert!(resumed.load(b"garbage").is_err());
    }

    #[test]
    fn an_order_that_ends_without_a_fill_and_one_that_was_refused_want_nothing() {
        let mut interest = Interest::default();
        let (approved, cancelled) = order("1", Side::Buy, OrderState::Cancelled, "1");
        apply(&mut interest, Event::Verdict(Box::new(approved.clone())));
        let refused = Verdict { approved: false, order: OrderId::derive("test", "2"), ..approved };
        apply(&mut interest, Event::Verdict(Box::new(refused)));
        assert_eq!(interest.kept.open.len(), 1);
        apply(&mut interest, Event::Order(cancelled));
        assert!(!interest.is_wanted(&btcusdt()));
    }

    #[test]
    fn an_armed_strategy_wants_its_symbols_until_it_is_stopped() {
        let mut interest = Interest::default();
        let started = StrategyCommand { run: true, symbols: vec!["binance.BTCUSDT".into(), "junk".into()], ..sample() };
        apply(&mut interest, Event::Strategy(started.clone()));
        assert!(interest.is_wanted(&btcusdt()));
        apply(&mut interest, Event::Strategy(StrategyCommand { run: false, ..started }));
        assert!(!interest.is_wanted(&btcusdt()));
    }

    #[test]
    fn an_intent_asks_until_its_verdict_and_an_old_one_does_not_ask() {
        let mut interest = Interest::default();
        let intent: OrderIntent = sample();
        assert_eq!(interest.apply(NOW - INTENT_FRESH, Event::Intent(intent.clone()), NOW), None);
        assert!(interest.apply(NOW, Event::Intent(intent.clone()), NOW).is_some());
        assert_eq!(interest.apply(NOW, Event::Intent(intent.clone()), NOW), None, "met again");
        assert!(interest.is_asked(&btcusdt()));
        let verdict = Verdict { approved: false, order: intent.order.clone(), intent, ..sample() };
        apply(&mut interest, Event::Verdict(Box::new(verdict)));
        assert!(!interest.is_wanted(&btcusdt()));
    }
}
