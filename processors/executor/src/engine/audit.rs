//! When the exchanges are looked at and what follows: comparisons, second looks, halts, settlements, filters, keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use spark_bus_schema::control::{HaltScope, ResumeCommand};
use spark_bus_schema::orders::{AMOUNT_MAX, Filters, InstrumentFilters, OrderId, OrderState, Reconciliation, TradingMode};
use spark_bus_schema::{Venue, subject};
use spark_exchanges::ErrorType;
use spark_exchanges::orders::Trading;
use spark_nats::now;
use tokio::sync::mpsc;

use super::Engine;
use crate::live::{Heard, OVERLAP, Snapshot};
use crate::machine::Event;
use crate::machine::facts::Facts;
use crate::reconcile::{Findings, Ours, Tape, Theirs, compare, traded_symbols};

/// Looks that each find another difference before nothing new is sent until there is none.
const LOOKS_MOVING_MAX: u32 = 3;
/// A difference counts only when nobody is still being asked about; after this many looks it counts all the same.
const LOOKS_UNCERTAIN_MAX: u32 = 30;
/// While somebody is being asked about, the pauses between looks grow up to this many times the usual one.
const UNCERTAIN_PAUSES_MAX: u32 = 10;
/// A paper exchange is looked at again after this: nothing is on its way there.
const PAPER_PAUSE: Duration = Duration::from_millis(20);
/// An exchange that could not be asked is asked again after this.
const FAILED_PAUSE: Duration = Duration::from_secs(2);
/// Filled orders looked up in the exchange's record after one comparison.
const SETTLE_LIVE_MAX: usize = 20;
const SETTLE_PAPER_MAX: usize = 500;
/// Settlements of paper orders on their way to the LEDGER at once; the next ones follow when the house is kept again.
const SETTLE_AT_ONCE: usize = 2;
/// A key that could not be checked is checked again after this.
const KEY_PAUSE: Duration = Duration::from_secs(5);

/// The looks at one exchange.
pub(super) struct Watch {
    mode: TradingMode,
    /// What the running or next comparison is for; none until the next periodic one.
    occasion: Option<&'static str>,
    due: Option<Instant>,
    is_looking: bool,
    looks: u32,
    uncertain: u32,
    last: Option<String>,
    periodic: Option<Instant>,
    filters_due: Option<Instant>,
    /// A clean comparison since the start or the resume.
    is_ready: bool,
    /// Nothing new is sent until a comparison finds nothing.
    held: bool,
    /// The key has been found fit to trade; always, on paper.
    is_key_fit: bool,
}

impl Watch {
    pub fn new(mode: TradingMode) -> Self {
        Self {
            mode,
            occasion: None,
            due: None,
            is_looking: false,
            looks: 0,
            uncertain: 0,
            last: None,
            periodic: None,
            filters_due: None,
            is_ready: false,
            held: false,
            is_key_fit: mode == TradingMode::Paper,
        }
    }

    /// Asks for a comparison, soon.
    pub fn ask(&mut self, occasion: &'static str) {
        if occasion == "start" || occasion == "command" {
            self.is_ready = false;
        }
        if self.occasion.is_none() || occasion == "command" {
            self.occasion = Some(occasion);
            (self.looks, self.uncertain, self.last) = (0, 0, None);
        }
        self.due = Some(self.due.map_or_else(Instant::now, |due| due.min(Instant::now())));
    }

    fn is_due(&self, at: Instant) -> bool {
        !self.is_looking && self.due.is_some_and(|due| due <= at)
    }

    fn again(&mut self, pause: Duration) {
        self.due = Some(Instant::now() + pause);
    }
}

impl Engine<'_> {
    /// Begins whatever is due.
    pub(super) fn look_after(&mut self) {
        let at = Instant::now();
        let (every, filters_every) =
            (Duration::from_millis(self.config.reconcile_ms), Duration::from_millis(self.config.filters_ms));
        let quotes_read = self.are_quotes_read();
        let mut looks = Vec::new();
        for (venue, watch) in &mut self.watches {
            if watch.filters_due.is_none_or(|due| due <= at) {
                watch.filters_due = Some(at + filters_every);
                if let Some(live) = self.lives.get(venue) {
                    live.read_filters(self.instruments.at(*venue).map(|row| row.symbol.clone()).collect());
                }
            }
            if watch.periodic.is_none_or(|due| due <= at) {
                watch.periodic = Some(at + every);
                watch.ask("periodic");
            }
            if watch.is_due(at) && (quotes_read || watch.mode == TradingMode::Live) {
                watch.is_looking = true;
                watch.due = None;
                looks.push(*venue);
            }
        }
        for venue in looks {
            self.look(venue);
        }
    }

    fn look(&mut self, venue: Venue) {
        let mode = self.config.exchange(venue).mode;
        if mode == TradingMode::Paper {
            let Some(desk) = self.core.desk(venue) else { return };
            let theirs = Theirs {
                balances: desk.balances().clone(),
                open: desk.open().map(OrderId::client_id).collect(),
                positions: Some(desk.positions().clone()),
            };
            let mut ours = self.core.ours(venue);
            // A paper account begins with what the configuration says.
            ours.baseline = Some(self.config.exchange(venue).balances.clone());
            let findings = compare(&ours, &theirs);
            return self.judge(venue, &ours, findings);
        }
        let ours = self.core.ours(venue);
        let since = self.saved.tapes.get(&venue).map_or_else(|| now() - OVERLAP, Tape::since);
        if let Some(live) = self.lives.get(&venue) {
            live.look(traded_symbols(&ours, self.instruments, venue), since);
        }
    }

    /// What a live exchange says has come.
    pub(super) fn compare(&mut self, venue: Venue, snapshot: Result<Snapshot, String>) {
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(problem) => {
                tracing::warn!(exchange = %venue, problem, "the exchange could not be compared with");
                if let Some(watch) = self.watches.get_mut(&venue) {
                    watch.is_looking = false;
                    watch.again(FAILED_PAUSE);
                }
                return;
            }
        };
        let ours = self.core.ours(venue);
        let until = snapshot.begun_at - OVERLAP;
        let mut tape = self.saved.tapes.get(&venue).cloned();
        if let Some(tape) = &mut tape {
            tape.extend(&snapshot.trades, until);
        }
        let theirs = Theirs {
            balances: snapshot.balances,
            open: snapshot.open,
            positions: tape.as_ref().map(|tape| tape.positions().clone()),
        };
        let findings = compare(&ours, &theirs);
        match tape {
            Some(tape) => _ = self.saved.tapes.insert(venue, tape),
            // From a moment at which everything is equal, the exchange's own list is followed.
            None if findings.violation().is_none() => {
                self.saved.tapes.insert(venue, Tape::begin(ours.positions.clone(), until, &snapshot.trades));
            }
            None => {}
        }
        self.judge(venue, &ours, findings);
    }

    fn judge(&mut self, venue: Venue, ours: &Ours, findings: Findings) {
        let violation = findings.violation();
        let is_new = violation.is_some() && self.watches.get(&venue).is_some_and(|watch| watch.last != violation);
        // A message can be lost on a stream that stays up: any order in the book may have traded without our knowing.
        let in_book = ours.open.iter().filter(|_| is_new).filter_map(|id| OrderId::from_client_id(id));
        for order in findings.doubtful.iter().cloned().chain(in_book).collect::<BTreeSet<_>>() {
            self.apply(Event::Doubt(order));
        }
        // What is decided and not read back yet is in the account and not in the ledger's sums.
        let is_quiet = self.is_quiet();
        let second_look = Duration::from_millis(self.config.second_look_ms);
        let Some(watch) = self.watches.get_mut(&venue) else { return };
        watch.is_looking = false;
        let pause = if watch.mode == TradingMode::Paper { PAPER_PAUSE } else { second_look };
        let Some(violation) = violation else {
            let was_ready = std::mem::replace(&mut watch.is_ready, true) && !std::mem::replace(&mut watch.held, false);
            self.conclude(venue, findings, None);
            let is_key_fit = self.watches.get(&venue).is_some_and(|watch| watch.is_key_fit);
            if !was_ready && is_key_fit {
                self.apply(Event::Ready(venue));
            }
            return self.settle(venue);
        };
        watch.looks += 1;
        let is_same = is_quiet && watch.last.as_ref() == Some(&violation);
        watch.last = is_quiet.then(|| violation.clone());
        // Somebody is being asked about: what is missing may be there.
        let is_asking = !ours.uncertain.is_empty() || ours.asked > 0;
        if is_asking && watch.uncertain < LOOKS_UNCERTAIN_MAX {
            watch.uncertain += 1;
            // Looks cost allowance that the questions need.
            return watch.again(pause * watch.uncertain.min(UNCERTAIN_PAUSES_MAX));
        }
        if !is_same {
            let moves = watch.looks >= LOOKS_MOVING_MAX || watch.mode == TradingMode::Paper;
            watch.again(pause);
            if moves && !std::mem::replace(&mut watch.held, true) {
                // It differs every time because something happens all the time: let it come to rest.
                self.apply(Event::Hold(venue));
            }
            return;
        }
        let halted = self.core.ledger().halts.get(&venue).cloned();
        let reason = halted.clone().unwrap_or(violation);
        if halted.is_none() {
            tracing::error!(exchange = %venue, reason, "the ledger and the exchange differ; trading is halted until control.resume");
            self.apply(Event::Halt { scope: HaltScope::Exchange(venue), reason: reason.clone() });
            self.set_stops();
        }
        self.conclude(venue, findings, Some(reason));
    }

    /// A comparison is over: publish it.
    fn conclude(&mut self, venue: Venue, findings: Findings, halted: Option<String>) {
        let Some(watch) = self.watches.get_mut(&venue) else { return };
        let occasion = watch.occasion.take().unwrap_or("periodic");
        watch.due = None;
        (watch.looks, watch.uncertain, watch.last) = (0, 0, None);
        let at = now();
        let halted = halted.or_else(|| self.core.ledger().halts.get(&venue).cloned());
        let mode = self.config.exchange(venue).mode;
        let reconciliation = Reconciliation {
            exchange: venue,
            mode,
            at,
            occasion: occasion.to_owned(),
            invariants: findings.invariants,
            orphans: findings.orphans,
            baseline: findings.baseline,
            halted,
        };
        let id = format!("executor:reconciliation:{venue}:{}:{}", self.lease.epoch(), at.as_nanos());
        self.publish(subject::reconciliation(venue), reconciliation, id);
    }

    /// Whether the key may trade is known. Until then nothing is sent, whatever comparisons find.
    pub(super) fn key_checked(&mut self, venue: Venue, problem: Option<String>) {
        let Some(watch) = self.watches.get_mut(&venue) else { return };
        watch.is_key_fit = problem.is_none();
        let is_ready = watch.is_ready && watch.is_key_fit;
        self.apply(Event::Unusable(venue, problem));
        if is_ready {
            self.apply(Event::Ready(venue));
        }
        self.set_stops();
    }

    /// A person has looked: what is there now is the beginning.
    pub(super) fn resumed(&mut self, command: &ResumeCommand) {
        if let HaltScope::Exchange(venue) = &command.scope {
            self.saved.tapes.remove(venue);
        }
    }

    fn settle(&mut self, venue: Venue) {
        let mode = self.config.exchange(venue).mode;
        let limit = if mode == TradingMode::Paper { SETTLE_PAPER_MAX } else { SETTLE_LIVE_MAX };
        let orders: Vec<Facts> = self
            .core
            .works()
            .filter(|work| work.facts.state == Some(OrderState::Filled) && work.is_stored())
            .filter(|work| work.terms().exchange == venue && work.facts.mode == Some(mode))
            .take(limit)
            .map(|work| work.facts.clone())
            .collect();
        match mode {
            // The desk's own record is where its fills come from.
            TradingMode::Paper if self.settling.len() < SETTLE_PAPER_MAX => {
                self.settling.extend(orders.into_iter().map(|facts| facts.terms.order.clone()));
            }
            // Still busy with those of the last time.
            TradingMode::Paper => {}
            TradingMode::Live => {
                if let Some(live) = self.lives.get(&venue).filter(|_| !orders.is_empty()) {
                    live.settle(orders);
                }
            }
        }
    }

    /// Settles some of those that wait for it, a few at a time: each is written to disk, and orders come first.
    pub(super) fn settle_some(&mut self) {
        for _ in 0..SETTLE_AT_ONCE {
            if self.core.appends_in_flight() >= SETTLE_AT_ONCE {
                return;
            }
            let Some(order) = self.settling.pop_front() else { return };
            self.apply(Event::Settled(order));
        }
    }

    /// Filters were read: published when they changed; what could not be read stays as it was known.
    pub(super) fn filters(&mut self, venue: Venue, read: BTreeMap<String, spark_exchanges::orders::Filters>) {
        let expected = self.instruments.at(venue).count();
        if read.len() < expected
            && let Some(watch) = self.watches.get_mut(&venue)
        {
            // Not all of them: again, sooner than usual.
            watch.filters_due = Some(Instant::now() + FAILED_PAUSE * 5);
        }
        let mut symbols = self.saved.filters.get(&venue).cloned().unwrap_or_default();
        for (symbol, filters) in &read {
            if filters.trading {
                symbols.insert(symbol.clone(), on_the_bus(filters));
            } else {
                symbols.remove(symbol);
            }
        }
        if let Some(live) = self.lives.get_mut(&venue) {
            live.filters.extend(read);
        }
        if symbols.is_empty() || self.saved.filters.get(&venue) == Some(&symbols) {
            return;
        }
        let at = now();
        self.saved.filters.insert(venue, symbols.clone());
        let id = format!("executor:instruments:{venue}:{}", at.as_nanos());
        self.publish(subject::instruments(venue), InstrumentFilters { exchange: venue, at, symbols }, id);
    }
}

fn on_the_bus(filters: &spark_exchanges::orders::Filters) -> Filters {
    let or_zero = |value: Option<Decimal>| value.unwrap_or_default();
    Filters {
        tick_size: or_zero(filters.tick),
        step_size: or_zero(filters.step),
        quantity_min: or_zero(filters.min_quantity),
        quantity_max: filters.max_quantity.filter(|most| *most > Decimal::ZERO).unwrap_or(AMOUNT_MAX),
        notional_min: or_zero(filters.min_notional),
        market_orders: filters.market_orders,
    }
}

/// Refuses a key that may not trade; says what it may do too much.
pub(super) async fn check_key(venue: Venue, trading: Arc<Trading>, events: mpsc::Sender<Heard>) {
    loop {
        let problem = match trading.check_key().await {
            Ok(key) => {
                if !key.beyond_trading.is_empty() {
                    tracing::warn!(exchange = %venue, permissions = key.beyond_trading.join(", "), "the trading key may do more than trade; give it less");
                }
                (key.may_trade == Some(false)).then(|| {
                    format!("the key of {venue} may not trade: give it the permission for spot trading, or set mode = \"paper\"")
                })
            }
            Err(error) if error.error_type == ErrorType::Auth => Some(format!("the trading key of {venue} is refused: {error}")),
            Err(error) => {
                tracing::warn!(exchange = %venue, %error, "the trading key could not be checked; trying again");
                tokio::select! {
                    () = events.closed() => return,
                    () = tokio::time::sleep(KEY_PAUSE) => continue,
                }
            }
        };
        if let Some(problem) = &problem {
            tracing::error!(exchange = %venue, problem, "the exchange is live and cannot be traded on");
        }
        let is_usable = problem.is_none();
        let _ = events.send(Heard::Core(Event::Unusable(venue, problem))).await;
        if is_usable || events.is_closed() {
            return;
        }
        tokio::select! {
            () = events.closed() => return,
            () = tokio::time::sleep(KEY_PAUSE) => {}
        }
    }
}
