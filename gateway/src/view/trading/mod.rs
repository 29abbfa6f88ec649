//! Everything about orders: who asked for what, what risk said, where each order stands, what may trade at all.
//!
//! It follows from the LEDGER alone, from its beginning or from a checkpoint (see [`crate::view::saved`]). Until the end was
//! reached once, [`Trading::is_complete`] is false and answers say so.

pub mod actions;
pub mod orders;
pub mod positions;
pub mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spark_bus_schema::control::{HaltScope, KillSwitch, LimitsCommand, StrategyCommand};
use spark_bus_schema::marks::Mark;
use spark_bus_schema::orders::{OrderId, Reconciliation};
use spark_bus_schema::risk::{Limits, Verdict};
use spark_bus_schema::{Timestamp, Venue};
use spark_ledger::{Book, Illegal};

use crate::record::{Entry, Record};
use crate::view::saved::{Word, word};
use actions::Actions;
use orders::{OrderRow, Orders};
use positions::{Marks, Positions};
use rows::{Guard, KillRow, LimitsAnswer, ReconciliationRow, StrategyRow};

/// Strategies whose last command is held.
pub const STRATEGIES_MAX: usize = 256;
/// Rows of orders in a live event and in the snapshot.
pub const ORDERS_SHOWN: usize = 60;
/// Actions in a live event and in the snapshot.
pub const ACTIONS_SHOWN: usize = 30;

/// A message with its place in the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct At<T> {
    /// LEDGER sequence.
    pub sequence: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// What it says.
    pub value: T,
}

/// The part of the picture that is about money. In a checkpoint without what does not follow from the LEDGER's past: marks,
/// counters that begin with the process, what clients were told.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Trading {
    /// The newest orders.
    pub orders: Orders,
    /// The newest actions.
    pub actions: Actions,
    book: Book,
    #[serde(skip)]
    marks: Marks,
    #[serde(deserialize_with = "word::counts")]
    illegal: BTreeMap<Word, u64>,
    kill_switch: Option<At<KillSwitch>>,
    limits: Option<At<LimitsCommand>>,
    strategies: BTreeMap<String, At<StrategyCommand>>,
    reconciliations: BTreeMap<Venue, At<Reconciliation>>,
    halts: BTreeMap<String, Halt>,
    #[serde(skip)]
    blocks: BTreeMap<Word, u64>,
    #[serde(skip)]
    transitions: BTreeMap<Word, u64>,
    #[serde(skip)]
    approved: u64,
    #[serde(skip)]
    complete: bool,
    #[serde(skip)]
    changed: Changed,
}

/// What clients have not been told yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changed {
    /// Positions.
    pub positions: bool,
    /// Kill switch, limits, strategies, halts, reconciliations.
    pub guard: bool,
}

/// Trading that has stopped until a person resumes it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Halt {
    /// `ledger`, or the exchange.
    pub scope: String,
    /// LEDGER sequence of what halted it.
    pub sequence: u64,
    /// Since when, RFC 3339.
    pub since: String,
    /// Why.
    pub reason: String,
    /// What to do.
    pub advice: String,
}

impl Trading {
    /// Takes in one message of the ledger, stored at `at`. `live`: stored since the gateway runs, so that it counts.
    /// False when there was no room for it.
    pub fn apply(&mut self, at: Timestamp, entry: &Entry, live: bool) -> bool {
        let sequence = entry.sequence;
        self.actions.apply(at, entry);
        match &entry.record {
            Record::Intent(intent) => {
                self.orders.intent(sequence, at, intent);
            }
            Record::Verdict(verdict) => self.verdict(sequence, at, verdict, live),
            Record::Order(event) => {
                self.orders.event(sequence, at, event);
                let applied = self.book.apply_event(sequence, at, event).map(|_| ());
                self.count(applied, sequence);
                if live {
                    *self.transitions.entry(event.state().as_str()).or_default() += 1;
                }
                self.changed.positions = true;
            }
            Record::KillSwitch(command) => newer(&mut self.kill_switch, sequence, at, command),
            Record::Limits(command) => newer(&mut self.limits, sequence, at, command),
            Record::Strategy(command) => {
                if self.strategies.len() >= STRATEGIES_MAX && !self.strategies.contains_key(&command.strategy) {
                    return false;
                }
                self.strategies.insert(command.strategy.clone(), At { sequence, at, value: command.clone() });
            }
            Record::Reconciliation(compared) => self.reconciliation(sequence, at, compared),
            Record::Resume(command) => {
                self.halts.remove(&scope_name(&command.scope));
            }
            Record::Damage(damage) => {
                let reason = format!("{} at sequence {}: {}", damage.kind, damage.first_bad_sequence, damage.detail);
                self.halt(&HaltScope::Ledger, sequence, at, reason, damage.advice.clone());
            }
            Record::Cancel(_)
            | Record::Breaker(_)
            | Record::Epoch(_)
            | Record::Alert(_)
            | Record::Anchor(_)
            | Record::Verified(_)
            | Record::Action(_)
            | Record::Notification(_)
            | Record::Delivery(_)
            | Record::Restart(_)
            | Record::Restarted(_)
            | Record::Rollback(_)
            | Record::Thresholds(_)
            | Record::Silence(_)
            | Record::Smoke(_)
            | Record::Rollout(_)
            | Record::RolloutChanged(_)
            | Record::CounterMove(_)
            | Record::Registered(_)
            | Record::JobCancel(_)
            | Record::BacktestDone(_) => {}
        }
        // Every one of them is among the actions.
        self.changed.guard = true;
        true
    }

    /// What the book refuses is counted: the order's row then shows what was stored, the positions leave it out.
    fn count(&mut self, applied: Result<(), Illegal>, sequence: u64) {
        if let Err(illegal) = applied {
            tracing::warn!(sequence, %illegal, "the ledger's book refuses a message");
            *self.illegal.entry(illegal.reason()).or_default() += 1;
        }
    }

    /// Takes in a mark; false when there is no room for another symbol.
    pub fn mark(&mut self, at: Timestamp, mark: Mark) -> bool {
        self.changed.positions = true;
        self.marks.apply(at, mark)
    }

    fn verdict(&mut self, sequence: u64, at: Timestamp, verdict: &Verdict, live: bool) {
        self.orders.verdict(at, verdict);
        let applied = self.book.apply_verdict(sequence, verdict);
        self.count(applied, sequence);
        self.changed.positions = true;
        match verdict.guard {
            _ if !live => {}
            Some(guard) => *self.blocks.entry(guard.as_str()).or_default() += 1,
            None => self.approved += 1,
        }
    }

    fn reconciliation(&mut self, sequence: u64, at: Timestamp, compared: &Reconciliation) {
        if let Some(reason) = &compared.halted {
            let exchange = compared.exchange;
            let advice = format!(
                "Compare the differences with the account at {exchange}; when they are explained: spark resume {exchange} --reason …"
            );
            self.halt(&HaltScope::Exchange(exchange), sequence, at, reason.clone(), advice);
        }
        self.book.set_mode(compared.exchange, compared.mode);
        self.changed.positions = true;
        self.reconciliations.insert(compared.exchange, At { sequence, at, value: compared.clone() });
    }

    /// A halt begins with the first word about it; the words that follow may tell another reason.
    fn halt(&mut self, scope: &HaltScope, sequence: u64, at: Timestamp, reason: String, advice: String) {
        let scope = scope_name(scope);
        let halt = self.halts.entry(scope.clone()).or_insert_with(|| Halt {
            scope,
            sequence,
            since: at.to_string(),
            reason: String::new(),
            advice: String::new(),
        });
        (halt.reason, halt.advice) = (reason, advice);
    }

    /// Goes on from what was saved; marks are of today.
    pub(super) fn restore(&mut self, saved: Self) {
        let marks = std::mem::take(&mut self.marks);
        *self = Self { marks, changed: Changed { positions: true, guard: true }, ..saved };
        self.orders.change_all();
    }

    /// Says that the end of the ledger was reached once.
    pub fn set_complete(&mut self) {
        self.complete = true;
    }

    /// Whether the end of the ledger was reached once.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The verdict on an order, if the view holds it.
    #[must_use]
    pub fn verdict_of(&self, order: &OrderId) -> Option<Arc<Verdict>> {
        self.orders.get(order)?.verdict.clone()
    }

    /// The last word about the kill switch.
    #[must_use]
    pub fn kill_switch(&self) -> Option<&At<KillSwitch>> {
        self.kill_switch.as_ref()
    }

    /// Whether nothing new may be sent.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.kill_switch.as_ref().is_some_and(|switch| switch.value.on)
    }

    /// The last word about limits.
    #[must_use]
    pub fn limits(&self) -> Option<&At<LimitsCommand>> {
        self.limits.as_ref()
    }

    /// The limits in force: the built-in ones before the first command.
    #[must_use]
    pub fn limits_in_force(&self) -> Limits {
        self.limits.as_ref().map(|command| command.value.limits.clone()).unwrap_or_default()
    }

    /// Halts by scope.
    pub fn halts(&self) -> impl Iterator<Item = &Halt> {
        self.halts.values()
    }

    /// Refusals by guard since the gateway started.
    #[must_use]
    pub fn blocks(&self) -> &BTreeMap<&'static str, u64> {
        &self.blocks
    }

    /// Approvals since the gateway started.
    #[must_use]
    pub fn approved(&self) -> u64 {
        self.approved
    }

    /// Order events by the state that they led to, since the gateway started.
    #[must_use]
    pub fn transitions(&self) -> &BTreeMap<&'static str, u64> {
        &self.transitions
    }

    /// The orders that changed since the last call.
    pub fn take_orders(&mut self) -> BTreeSet<OrderId> {
        self.orders.take_changed()
    }

    /// Whether positions, and whether anything else but orders, changed since the last call.
    pub fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.changed)
    }

    /// Positions with their worth at `now`.
    #[must_use]
    pub fn positions(&self, now: Timestamp) -> Positions<'_> {
        Positions::new(&self.book, &self.marks, self.complete, now)
    }

    /// Orders approved and not final, by the book: every one, however many are shown.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.book.open_count()
    }

    /// Messages that the book refused, by reason, since the gateway's start.
    #[must_use]
    pub fn illegal(&self) -> &BTreeMap<&'static str, u64> {
        &self.illegal
    }

    /// Kill switch, limits, strategies, halts, reconciliations, the newest actions.
    #[must_use]
    pub fn guard(&self) -> Guard<'_> {
        Guard {
            kill_switch: self.kill_switch.as_ref().map(KillRow::from),
            halts: self.halts.values().collect(),
            reconciliations: self.reconciliations(),
            strategies: self.strategies(),
            limits: LimitsAnswer::new(self.limits.as_ref()),
            actions: self.actions.notable().take(ACTIONS_SHOWN).map(actions::Action::row).collect(),
            complete: self.complete,
        }
    }

    /// Whether ledger and exchange were ever compared.
    #[must_use]
    pub fn is_compared(&self, venue: Venue) -> bool {
        self.reconciliations.contains_key(&venue)
    }

    /// What a strategy was last told to trade.
    #[must_use]
    pub fn symbols_of(&self, strategy: &str) -> Vec<String> {
        self.strategies.get(strategy).map(|told| told.value.symbols.clone()).unwrap_or_default()
    }

    /// The newest comparison with each exchange.
    #[must_use]
    pub fn reconciliations(&self) -> Vec<ReconciliationRow<'_>> {
        self.reconciliations.values().map(ReconciliationRow::from).collect()
    }

    /// What strategies were told last.
    #[must_use]
    pub fn strategies(&self) -> Vec<StrategyRow<'_>> {
        self.strategies.values().map(StrategyRow::from).collect()
    }

    /// The newest orders, for the snapshot.
    #[must_use]
    pub fn newest_orders(&self) -> OrdersTold<'_> {
        let orders = self.orders.newest().take(ORDERS_SHOWN).map(orders::Order::row).collect();
        OrdersTold { orders, open_count: self.open_count() }
    }

    /// These orders, the newest of them if they are many, for a live event.
    #[must_use]
    pub fn told(&self, changed: &BTreeSet<OrderId>) -> OrdersTold<'_> {
        let mut orders: Vec<&orders::Order> = changed.iter().filter_map(|id| self.orders.get(id)).collect();
        orders.sort_by_key(|order| std::cmp::Reverse(order.sequence));
        let orders = orders.into_iter().take(ORDERS_SHOWN).map(orders::Order::row).collect();
        OrdersTold { orders, open_count: self.open_count() }
    }
}

/// Rows of a live event.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrdersTold<'a> {
    orders: Vec<OrderRow<'a>>,
    /// Open ones in the whole ledger, whatever is told.
    open_count: usize,
}

/// Replaces what is held by what is newer.
fn newer<T: Clone>(held: &mut Option<At<T>>, sequence: u64, at: Timestamp, value: &T) {
    *held = Some(At { sequence, at, value: value.clone() });
}

/// `ledger`, or the exchange.
#[must_use]
pub fn scope_name(scope: &HaltScope) -> String {
    match scope {
        HaltScope::Ledger => "ledger".to_owned(),
        HaltScope::Exchange(venue) => venue.to_string(),
    }
}

#[cfg(test)]
mod tests;
