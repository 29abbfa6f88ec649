//! Every strategy of the process, and what is known about the exchanges. Pure: messages go in, orders come out.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::orders::TradingMode;
use spark_bus_schema::strategies::{StrategyKind, StrategyRegistered};
use spark_bus_schema::{Instrument, InstrumentTable, Timestamp, Venue};

use crate::config::SPECS_MAX;
use crate::kept::{Event, Kept};
use crate::plan::Plan;
use crate::trader::{Place, STEP, Subjects, Trader};

/// Layout of what is saved; another number is another program's, and the LEDGER is read from its beginning.
const LAYOUT: u32 = 2;

/// All strategies.
#[derive(Clone, Debug)]
pub struct Roster<'a> {
    instruments: &'a InstrumentTable,
    traders: BTreeMap<String, Trader>,
    exchanges: Exchanges,
    /// Why each of them asks for nothing, as it was said last.
    told: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Exchanges {
    modes: BTreeMap<Venue, TradingMode>,
    steps: BTreeMap<Venue, BTreeMap<String, Decimal>>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    layout: u32,
    exchanges: Exchanges,
    strategies: BTreeMap<String, (Kept, Option<StrategyRegistered>)>,
}

impl<'a> Roster<'a> {
    /// The strategies of the configuration.
    #[must_use]
    pub fn new(plans: Vec<Plan>, instruments: &'a InstrumentTable) -> Self {
        let trader = |plan: Plan| (plan.name.clone(), Trader::new(plan.clone(), instrument(instruments, &plan), None));
        let traders = plans.into_iter().map(trader).collect();
        Self { instruments, traders, exchanges: Exchanges::default(), told: BTreeMap::new() }
    }

    /// Every strategy by name.
    #[must_use]
    pub fn traders(&self) -> &BTreeMap<String, Trader> {
        &self.traders
    }

    /// One of them, to be told something.
    pub fn trader_mut(&mut self, name: &str) -> Option<&mut Trader> {
        self.traders.get_mut(name)
    }

    /// All of them, to be told something.
    pub fn traders_mut(&mut self) -> impl Iterator<Item = &mut Trader> {
        self.traders.values_mut()
    }

    /// What is known about where a strategy trades.
    #[must_use]
    pub fn place(&self, venue: Venue, symbol: &str) -> Place {
        let step = self.exchanges.steps.get(&venue).and_then(|steps| steps.get(symbol)).copied();
        Place { mode: self.exchanges.modes.get(&venue).copied(), step: step.filter(|step| *step > Decimal::ZERO).unwrap_or(STEP) }
    }

    /// Takes in what the LEDGER says, stored at `at`. True: other subjects of FEED may be needed now.
    pub fn apply(&mut self, at: Timestamp, event: &Event) -> bool {
        match event {
            Event::Registered(registered) => return self.register(registered),
            Event::Reconciled(reconciliation) => {
                self.exchanges.modes.insert(reconciliation.exchange, reconciliation.mode);
            }
            Event::Filters(filters) => {
                let steps = filters.symbols.iter().map(|(symbol, filters)| (symbol.clone(), filters.step_size)).collect();
                self.exchanges.steps.insert(filters.exchange, steps);
            }
            Event::Intent(_) | Event::Verdict(_) | Event::Order(_) | Event::Command(_) => {
                if let Some(trader) = event.strategy().and_then(|name| self.traders.get_mut(name)) {
                    trader.apply(at, event);
                }
            }
        }
        false
    }

    fn register(&mut self, registered: &StrategyRegistered) -> bool {
        let name = &registered.name;
        if matches!(registered.kind, StrategyKind::External | StrategyKind::MlFusion) {
            // Run by somebody else; what was here under this name is over.
            return self.traders.get(name).is_some_and(|trader| trader.registration().is_some())
                && self.traders.remove(name).is_some();
        }
        let plan = match Plan::registered(registered) {
            Ok(plan) => plan,
            Err(problem) => {
                tracing::warn!(strategy = name, problem, "a registered strategy cannot be run");
                return self.traders.get(name).is_some_and(|trader| trader.registration().is_some())
                    && self.traders.remove(name).is_some();
            }
        };
        let instrument = instrument(self.instruments, &plan);
        let is_full = self.traders.len() >= SPECS_MAX;
        match self.traders.get_mut(name) {
            Some(trader) if trader.registration().is_none() => {
                tracing::warn!(strategy = name, "registered and in the configuration: the configuration counts");
                false
            }
            Some(trader) => {
                let before = trader.subjects();
                trader.register(plan, instrument, registered.clone());
                trader.subjects() != before
            }
            None if is_full => {
                tracing::warn!(strategy = name, "not run: {SPECS_MAX} strategies are here already");
                false
            }
            None => {
                self.traders.insert(name.clone(), Trader::new(plan, instrument, Some(registered.clone())));
                true
            }
        }
    }

    /// Subjects of FEED that are needed: quotes, and candles with their history.
    #[must_use]
    pub fn subjects(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut quotes, mut candles) = (BTreeSet::new(), BTreeSet::new());
        for trader in self.traders.values() {
            match trader.subjects() {
                Subjects::Quotes(subject) => _ = quotes.insert(subject),
                Subjects::Candles(both) => candles.extend(both),
            }
        }
        (quotes, candles)
    }

    /// Why strategies ask for nothing, where that is another reason than before: name and reason.
    pub fn news(&mut self) -> Vec<(String, String)> {
        let mut now = BTreeMap::new();
        for (name, trader) in &self.traders {
            let mode = self.exchanges.modes.get(&trader.plan().exchange).copied();
            if let Some(reason) = trader.idle_because(mode) {
                now.insert(name.clone(), reason);
            }
        }
        let is_new = |(name, reason): &(&String, &String)| self.told.get(*name) != Some(*reason);
        let news = now.iter().filter(is_new).map(|(name, reason)| (name.clone(), reason.clone())).collect();
        self.told = now;
        news
    }

    /// What follows from the LEDGER.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let of = |trader: &Trader| (trader.kept().clone(), trader.registration().cloned());
        let strategies = self.traders.iter().map(|(name, trader)| (name.clone(), of(trader))).collect();
        let saved = Saved { layout: LAYOUT, exchanges: self.exchanges.clone(), strategies };
        rmp_serde::to_vec_named(&saved).expect("writing to memory cannot fail and every key is text")
    }

    /// Takes over what was saved. False, and nothing has changed, when it is another program's or a strategy of the
    /// configuration is not in it: the LEDGER must be read from its beginning.
    #[must_use]
    pub fn load(&mut self, bytes: &[u8]) -> bool {
        let Ok(mut saved) = spark_bus_schema::codec::from_saved::<Saved>(bytes) else { return false };
        let is_kept = |name: &String| saved.strategies.get(name).is_some_and(|(_, registered)| registered.is_none());
        if saved.layout != LAYOUT || !self.traders.keys().all(is_kept) {
            return false;
        }
        for (name, trader) in &mut self.traders {
            if let Some((kept, _)) = saved.strategies.remove(name) {
                *trader = trader.clone().with(kept);
            }
        }
        for (name, (kept, registered)) in saved.strategies {
            // One that has left the configuration and is not registered is nobody's.
            let Some(registered) = registered else { continue };
            if let Ok(plan) = Plan::registered(&registered) {
                let instrument = instrument(self.instruments, &plan);
                self.traders.insert(name, Trader::new(plan, instrument, Some(registered)).with(kept));
            }
        }
        self.exchanges = saved.exchanges;
        true
    }
}

/// The table's row; what nobody knows has itself as base and no quote, and risk refuses its orders.
fn instrument(instruments: &InstrumentTable, plan: &Plan) -> Instrument {
    let known = instruments.at(plan.exchange).find(|row| row.symbol == plan.symbol).cloned();
    known.unwrap_or_else(|| Instrument {
        venue: plan.exchange,
        symbol: plan.symbol.clone(),
        base: plan.symbol.clone(),
        quote: String::new(),
    })
}
