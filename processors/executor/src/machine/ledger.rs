//! What the LEDGER says, and nothing else: orders, accounts, the switches. The same messages make the same value, so it is
//! what is saved and what a restart begins with.

use std::collections::{BTreeMap, VecDeque};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::control::{HaltScope, KillSwitch, ResumeCommand};
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{OrderEvent, OrderId, OrderState, Reconciliation, TradingMode};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::strategies::{StrategyRegistered, StrategyStatus};
use spark_bus_schema::{Instrument, Timestamp, Venue};
use spark_ledger::{Book, Known};

use super::facts::Facts;
use crate::paper::move_fill;

/// Filled orders that wait for the exchange's own record of their trades; the oldest is left as it is when there are more.
pub const UNSETTLED_MAX: usize = 2_000;
/// Cancel commands that came before their order's verdict and are remembered; then the oldest is forgotten.
pub const EARLY_CANCELS_MAX: usize = 1_000;

/// Paper fills of one symbol and side that are remembered, to know after a restart what of the quote is gone.
const TAKEN_MAX: usize = 64;

/// The last kill switch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// LEDGER sequence of the command.
    pub sequence: u64,
    /// Cancel what is open.
    pub cancel_open: bool,
    /// Who and why, for people.
    pub words: String,
}

/// One account: what order events moved, by asset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Asset → change.
    pub changes: BTreeMap<String, Decimal>,
    /// Fills so far.
    pub fills: u64,
    /// What the account held before the first order, as the last reconciliation recorded it; none: to be taken.
    pub baseline: Option<BTreeMap<String, Decimal>>,
}

/// Everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Orders and positions.
    pub book: Book,
    /// Filled orders that are not settled.
    pub unsettled: BTreeMap<OrderId, Facts>,
    filled: VecDeque<OrderId>,
    accounts: BTreeMap<String, Moved>,
    taken: BTreeMap<String, VecDeque<(Timestamp, Decimal)>>,
    /// Set while the kill switch is on.
    pub kill: Option<Kill>,
    /// The LEDGER is damaged.
    pub halt: Option<String>,
    /// Trading on an exchange is halted.
    pub halts: BTreeMap<Venue, String>,
    /// When somebody last lifted a halt of an exchange.
    resumed: BTreeMap<Venue, Timestamp>,
    /// Orders that somebody wants taken back, and why.
    pub cancels: BTreeMap<OrderId, String>,
    /// How far each registered strategy has come. People register them, so there are few.
    #[serde(default)]
    registered: BTreeMap<String, StrategyStatus>,
    early_cancels: VecDeque<OrderId>,
}

fn account_key(venue: Venue, mode: TradingMode) -> String {
    format!("{venue}.{}", if mode == TradingMode::Live { "live" } else { "paper" })
}

fn taken_key(venue: Venue, symbol: &str, side: Side) -> String {
    format!("{venue}.{symbol}.{}", if side == Side::Buy { "buy" } else { "sell" })
}

impl Ledger {
    /// What paper orders of a venue have taken, as far as it is remembered: symbol, side, when, base currency.
    pub fn taken(&self, venue: Venue) -> impl Iterator<Item = (&str, Side, Timestamp, Decimal)> {
        let of_venue = self.taken.iter().filter_map(move |(key, taken)| {
            let (symbol, side) = key.strip_prefix(venue.as_str())?.strip_prefix('.')?.rsplit_once('.')?;
            Some((symbol, if side == "buy" { Side::Buy } else { Side::Sell }, taken))
        });
        of_venue.flat_map(|(symbol, side, taken)| taken.iter().map(move |(at, quantity)| (symbol, side, *at, *quantity)))
    }

    /// A verdict. True when it approves.
    ///
    /// # Errors
    /// It contradicts what is known; nothing has changed.
    pub fn verdict(&mut self, sequence: u64, verdict: &Verdict) -> Result<bool, spark_ledger::Illegal> {
        self.book.apply_verdict(sequence, verdict)?;
        if !verdict.approved {
            self.cancels.remove(&verdict.order);
        }
        Ok(verdict.approved)
    }

    /// What is known of an order that is not over: open, or filled and not settled.
    #[must_use]
    pub fn facts(&self, order: &OrderId) -> Option<Facts> {
        match self.book.order(order) {
            Some(order) if !order.is_final() => Some(Facts::of(order)),
            _ => self.unsettled.get(order).cloned(),
        }
    }

    /// LEDGER sequence of an order's last event; none when the order is over or was never approved.
    #[must_use]
    pub fn last_sequence(&self, order: &OrderId) -> Option<u64> {
        let open = self.book.order(order).filter(|order| !order.is_final()).map(|order| order.last_sequence);
        open.or_else(|| self.unsettled.get(order).map(|facts| facts.sequence))
    }

    /// An order's event. Returns the filled order that is no longer waited with for its settlement, if one had to go.
    ///
    /// # Errors
    /// It cannot be; nothing has changed.
    pub fn event(
        &mut self,
        sequence: u64,
        stored_at: Timestamp,
        event: &OrderEvent,
        instrument: Option<&Instrument>,
    ) -> Result<Option<OrderId>, spark_ledger::Illegal> {
        let filled = (event.state() == OrderState::Filled).then(|| self.book.order(&event.order).map(Facts::of)).flatten();
        let applied = self.book.apply_event(sequence, stored_at, event)?;
        if let Some(instrument) = instrument.filter(|_| applied.fills > 0) {
            let account = self.accounts.entry(account_key(event.exchange, event.mode)).or_default();
            for fill in event.steps.iter().filter_map(|step| step.fill.as_ref()) {
                account.fills += 1;
                if move_fill(&mut account.changes, instrument, event.side, fill).is_none() {
                    tracing::error!(order = %event.order, "a fill is too large to be added to the account");
                }
            }
        }
        if event.mode == TradingMode::Paper && applied.fills > 0 {
            let taken = self.taken.entry(taken_key(event.exchange, &event.symbol, event.side)).or_default();
            taken.extend(event.steps.iter().filter_map(|step| step.fill.as_ref()).map(|fill| (fill.at, fill.quantity)));
            taken.drain(..taken.len().saturating_sub(TAKEN_MAX));
        }
        let mut given_up = None;
        if let Some(mut facts) = filled
            && facts.take(sequence, stored_at, event).is_ok()
        {
            self.unsettled.insert(event.order.clone(), facts);
            self.filled.push_back(event.order.clone());
            // One came, so at most one goes.
            if self.filled.len() > UNSETTLED_MAX {
                given_up = self.filled.pop_front();
            }
            if let Some(oldest) = &given_up {
                self.unsettled.remove(oldest);
            }
        }
        if event.state() == OrderState::Settled {
            self.unsettled.remove(&event.order);
        }
        if applied.finished {
            self.cancels.remove(&event.order);
        }
        Ok(given_up)
    }

    /// Somebody wants an order taken back. True when it is not over.
    pub fn cancel(&mut self, order: &OrderId, words: &str) -> bool {
        match self.book.known(order) {
            Some(Known::Ended(_)) => return false,
            Some(Known::Open(_)) => {}
            None => {
                self.early_cancels.push_back(order.clone());
                while self.early_cancels.len() > EARLY_CANCELS_MAX {
                    let Some(oldest) = self.early_cancels.pop_front() else { break };
                    if self.book.known(&oldest).is_none() {
                        self.cancels.remove(&oldest);
                    }
                }
            }
        }
        self.cancels.entry(order.clone()).or_insert_with(|| words.to_owned());
        true
    }

    /// The kill switch: the latest command decides.
    pub fn kill(&mut self, sequence: u64, command: &KillSwitch) {
        self.kill = command.on.then(|| Kill {
            sequence,
            cancel_open: command.cancel_open,
            words: format!("kill switch on: {} ({})", command.reason, command.actor),
        });
    }

    /// A halt is lifted; of an exchange, a new baseline is taken with the next reconciliation.
    pub fn resume(&mut self, command: &ResumeCommand) {
        match &command.scope {
            HaltScope::Ledger => self.halt = None,
            HaltScope::Exchange(venue) => {
                self.halts.remove(venue);
                self.resumed.insert(*venue, command.at);
                for mode in [TradingMode::Live, TradingMode::Paper] {
                    if let Some(account) = self.accounts.get_mut(&account_key(*venue, mode)) {
                        account.baseline = None;
                    }
                }
            }
        }
    }

    /// A strategy has come so far; the newest word decides.
    pub fn registered(&mut self, strategy: &StrategyRegistered) {
        self.registered.insert(strategy.name.clone(), strategy.status);
    }

    /// Why a strategy may not trade on a live exchange, if so: it is registered and not live.
    #[must_use]
    pub fn not_live(&self, strategy: &str) -> Option<String> {
        let status = self.registered.get(strategy).filter(|status| **status != StrategyStatus::Live)?;
        Some(format!(
            "strategy {strategy} is `{status}`: on a live exchange only live ones trade; spark strategy promote {strategy}"
        ))
    }

    /// A comparison with the exchange: its baseline and whether it halts.
    pub fn reconciled(&mut self, reconciliation: &Reconciliation) {
        if self.resumed.get(&reconciliation.exchange).is_some_and(|resumed| reconciliation.at <= *resumed) {
            // It was on its way when somebody resumed: what it says is what that person has seen.
            return;
        }
        let account = self.accounts.entry(account_key(reconciliation.exchange, reconciliation.mode)).or_default();
        if !reconciliation.baseline.is_empty() {
            account.baseline = Some(reconciliation.baseline.clone());
        }
        // Only `control.resume` lifts a halt, never a comparison that finds nothing.
        if let Some(reason) = &reconciliation.halted {
            self.halts.insert(reconciliation.exchange, reason.clone());
        }
    }

    /// What order events moved at an exchange.
    #[must_use]
    pub fn account(&self, venue: Venue, mode: TradingMode) -> Option<&Moved> {
        self.accounts.get(&account_key(venue, mode))
    }
}
