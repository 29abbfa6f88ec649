//! What the LEDGER says about a strategy, and nothing else: the same messages make the same value, so it is what is saved.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use spark_bus_schema::control::StrategyCommand;
use spark_bus_schema::orders::InstrumentFilters;
use spark_bus_schema::orders::{OrderEvent, OrderId, OrderIntent, Reconciliation, TradingMode};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::strategies::StrategyRegistered;
use spark_bus_schema::{DecodeError, Instrument, Timestamp, subject};
use spark_nats::Delivery;

use crate::holding::Holding;

/// What the LEDGER says.
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
    /// It was registered, or has come further.
    Registered(Box<StrategyRegistered>),
    /// The executor says how an exchange is traded on.
    Reconciled(Box<Reconciliation>),
    /// The executor says what an exchange's quantities are multiples of.
    Filters(Box<InstrumentFilters>),
}

impl Event {
    /// Subjects of the LEDGER that are read.
    pub const SUBJECTS: &'static [&'static str] = &[
        subject::INTENTS,
        subject::VERDICTS,
        subject::ORDER_EVENTS,
        subject::STRATEGIES,
        subject::REGISTRY,
        subject::RECONCILIATIONS,
        subject::INSTRUMENTS,
    ];

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
        } else if is(subject::REGISTRY) {
            delivery.decode().map(|registered| Self::Registered(Box::new(registered)))
        } else if is(subject::RECONCILIATIONS) {
            delivery.decode().map(|reconciliation| Self::Reconciled(Box::new(reconciliation)))
        } else if is(subject::INSTRUMENTS) {
            delivery.decode().map(|filters| Self::Filters(Box::new(filters)))
        } else {
            delivery.decode().map(Self::Command)
        }
    }

    /// Which strategy it is about; none: all of them.
    #[must_use]
    pub fn strategy(&self) -> Option<&str> {
        match self {
            Self::Intent(intent) => Some(&intent.strategy),
            Self::Verdict(verdict) => Some(&verdict.intent.strategy),
            Self::Order(event) => Some(&event.strategy),
            Self::Command(command) => Some(&command.strategy),
            Self::Registered(registered) => Some(&registered.name),
            Self::Reconciled(_) | Self::Filters(_) => None,
        }
    }
}

/// Of one strategy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    paper: Holding,
    live: Holding,
    /// Asked and not final.
    open: BTreeSet<OrderId>,
    /// Somebody stopped it.
    is_stopped: bool,
    /// Refusals in a row.
    refusals: u32,
    /// When the last refusal was stored.
    refused_at: Timestamp,
    /// First moment of the newest candle that it asked for an order on.
    asked_bar: Option<Timestamp>,
}

impl Kept {
    /// Takes in what happened, stored at `at`.
    pub fn apply(&mut self, at: Timestamp, event: &Event, instrument: &Instrument) {
        match event {
            Event::Intent(intent) => {
                self.open.insert(intent.order.clone());
                self.asked_bar = self.asked_bar.max(bar_of(intent));
            }
            Event::Verdict(verdict) if verdict.approved => self.refusals = 0,
            Event::Verdict(verdict) => {
                self.open.remove(&verdict.order);
                self.refusals = self.refusals.saturating_add(1);
                self.refused_at = at;
            }
            Event::Order(event) => {
                let holding = if event.mode == TradingMode::Paper { &mut self.paper } else { &mut self.live };
                // What it held of something else before its registration changed is nothing that it can sell here.
                if event.symbol == instrument.symbol && event.exchange == instrument.venue {
                    event
                        .steps
                        .iter()
                        .filter_map(|step| step.fill.as_ref())
                        .for_each(|fill| holding.fill(instrument, event.side, fill));
                }
                if event.state().is_final() {
                    self.open.remove(&event.order);
                }
            }
            Event::Command(command) => self.is_stopped = !command.run,
            Event::Registered(_) | Event::Reconciled(_) | Event::Filters(_) => {}
        }
    }

    /// Other parameters: cash counts from here. What it holds it goes on holding, unless it is to trade something else.
    pub fn begin_anew(&mut self, same_symbol: bool) {
        for holding in [&mut self.paper, &mut self.live] {
            if same_symbol { holding.quote = rust_decimal::Decimal::ZERO } else { *holding = Holding::default() }
        }
    }

    /// What it holds, on paper or live.
    #[must_use]
    pub fn holding(&self, mode: TradingMode) -> &Holding {
        if mode == TradingMode::Paper { &self.paper } else { &self.live }
    }

    /// Nothing it asked for is on its way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    /// Somebody stopped it.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Refusals in a row, and when the last one was stored.
    #[must_use]
    pub fn refusals(&self) -> (u32, Timestamp) {
        (self.refusals, self.refused_at)
    }

    /// Whether an order was asked for on this candle or a later one.
    #[must_use]
    pub fn has_asked(&self, open_time: Timestamp) -> bool {
        self.asked_bar.is_some_and(|asked| open_time <= asked)
    }
}

/// The candle that an order was decided on: its key ends with the candle's first moment, ms.
fn bar_of(intent: &OrderIntent) -> Option<Timestamp> {
    intent.decided_at?;
    intent.key.rsplit_once('/')?.1.parse().ok().map(Timestamp::from_millis)
}
