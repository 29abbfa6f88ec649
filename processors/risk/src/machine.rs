//! Facts to verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::control::{HaltScope, KillSwitch, ResumeCommand, StrategyCommand};
use spark_bus_schema::marks::Mark;
use spark_bus_schema::orders::{Filters, OrderEvent, OrderIntent, Reconciliation, TradingMode};
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::risk::{Limits, Verdict};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{DecodeError, OrderId, Timestamp, Venue};
use spark_ledger::finished::request_tag;
use spark_ledger::{Book, Illegal, Known};
use spark_nats::{Delivery, Effects, Input, Machine, Reject};

use crate::equity::{Curve, Marked, Prices, profit};
use crate::event::{Event, Fact};
use crate::guards;
use crate::rate::Rate;

/// An approval may be sent this long.
pub const APPROVAL_VALIDITY: Duration = Duration::from_secs(30);
/// Intents that may wait for a mark at once; the next one is refused.
pub const WAITING_MAX: usize = 4_096;
/// Strategies that may trade; one more is refused.
pub const STRATEGIES_MAX: usize = 1_000;
/// Orders that may be approved and not final at once; the next one is refused.
pub const OPEN_MAX: usize = 20_000;
/// Layout of the saved state.
const STATE_VERSION: u32 = 1;

/// The decision about every order.
#[derive(Clone, Debug, Default)]
pub struct Risk {
    pub(crate) state: State,
    /// `whatif`: these limits hold, and recorded verdicts do not.
    supposed: Option<Limits>,
}

/// Everything that follows from the LEDGER so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) limits: Limits,
    pub(crate) limits_sequence: u64,
    pub(crate) book: Book,
    pub(crate) prices: Prices,
    pub(crate) filters: BTreeMap<Venue, BTreeMap<String, Filters>>,
    pub(crate) accounts: BTreeMap<Venue, AccountValue>,
    pub(crate) kill: Option<Stop>,
    pub(crate) ledger_halt: Option<Stop>,
    /// LEDGER sequence of an epoch that the auditor has not answered yet: whether the ledger is whole is not known.
    #[serde(default)]
    pub(crate) unaudited: Option<u64>,
    pub(crate) exchange_halts: BTreeMap<Venue, Stop>,
    /// When trading on an exchange was last resumed, by the clock of whoever did it.
    #[serde(default)]
    resumed: BTreeMap<Venue, Timestamp>,
    pub(crate) stopped: BTreeMap<String, Stop>,
    pub(crate) strategies: BTreeMap<String, StrategyState>,
    /// Profit of everything.
    pub(crate) curve: Curve,
    /// By ledger sequence of the intent.
    waiting: BTreeMap<u64, Waiting>,
    waiting_orders: BTreeMap<OrderId, u64>,
    /// Decided, and not yet seen in the LEDGER.
    unstored: BTreeMap<OrderId, Verdict>,
    duplicates: u64,
    diverged: u64,
}

/// Something was stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stop {
    /// Ledger sequence of the message that did it.
    pub(crate) sequence: u64,
    /// Who, and why.
    pub(crate) reason: String,
}

/// What an account was worth, USD.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AccountValue {
    /// Of the first poll in which every asset had a price; until there is one, the newest.
    pub(crate) first: Decimal,
    pub(crate) newest: Decimal,
    pub(crate) is_complete: bool,
}

/// What is known of a strategy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StrategyState {
    /// What all accounts were worth together when it was first seen and that was known, USD.
    pub(crate) first: Option<Decimal>,
    pub(crate) curve: Curve,
    rate: Rate,
}

/// An intent on its way to a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) sequence: u64,
    pub(crate) intent: OrderIntent,
    /// Orders of its strategy within the last minute when it came, itself included; none when there are too many
    /// strategies to count.
    pub(crate) recent: Option<u32>,
}

/// What makes a decision possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    /// Ledger sequence.
    pub(crate) sequence: u64,
    /// When it was stored.
    pub(crate) at: Timestamp,
    /// It is a timeout.
    pub(crate) is_timeout: bool,
}

impl Risk {
    /// A machine that judges every order under these limits and lets no recorded verdict stand against its own.
    #[must_use]
    pub fn under(limits: Limits) -> Self {
        Self { state: State { limits: limits.clone(), ..State::default() }, supposed: Some(limits) }
    }

    /// Orders that wait for a mark.
    #[must_use]
    pub fn waiting(&self) -> BTreeSet<OrderId> {
        self.state.waiting_orders.keys().cloned().collect()
    }

    /// How many wait for a mark.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.state.waiting.len()
    }

    /// Whether the kill switch is on.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.state.kill.is_some()
    }

    /// Whether orders wait until the auditor has said that the ledger is whole.
    #[must_use]
    pub fn waits_for_auditor(&self) -> bool {
        self.state.unaudited.is_some()
    }

    /// Repetitions of intents that were left out.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.state.duplicates
    }

    /// Recorded verdicts that were not what this machine had decided.
    #[must_use]
    pub fn diverged(&self) -> u64 {
        self.state.diverged
    }

    /// Open orders, positions and reservations.
    #[must_use]
    pub fn book(&self) -> &Book {
        &self.state.book
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.state.limits
    }

    fn intent(&mut self, sequence: u64, at: Timestamp, intent: OrderIntent, effects: &mut Effects) -> Result<(), Reject> {
        if let Some(same) = self.repeats(&intent) {
            if same {
                self.state.duplicates += 1;
                return Ok(());
            }
            return Err(Reject {
                reason: "order_id_reused",
                detail: format!("order {} exists already and asks for something else", intent.order),
            });
        }
        let recent = self.state.strategy(&intent.strategy, at);
        let waiting = Waiting { sequence, intent, recent };
        let state = &self.state;
        let is_halted = guards::halted(state, waiting.intent.exchange).is_some();
        let must_wait = state.unaudited.is_some() || !guards::has_fresh_mark(state, &waiting.intent, at);
        if !is_halted && must_wait && state.waiting.len() < WAITING_MAX {
            self.state.waiting_orders.insert(waiting.intent.order.clone(), sequence);
            self.state.waiting.insert(sequence, waiting);
            return Ok(());
        }
        self.decide(Cause { sequence, at, is_timeout: false }, &waiting, effects);
        Ok(())
    }

    /// Whether an intent of this id was there before, and then whether it asked for the same.
    fn repeats(&self, intent: &OrderIntent) -> Option<bool> {
        let state = &self.state;
        if let Some(sequence) = state.waiting_orders.get(&intent.order) {
            return Some(state.waiting.get(sequence).is_some_and(|waiting| waiting.intent.same_request(intent)));
        }
        Some(match state.book.known(&intent.order)? {
            Known::Open(order) => order.intent.same_request(intent),
            Known::Ended(ended) => ended.tag == request_tag(intent),
        })
    }

    fn decide(&mut self, cause: Cause, waiting: &Waiting, effects: &mut Effects) {
        let mut verdict = guards::judge(&self.state, waiting, cause);
        if let Err(illegal) = self.state.book.apply_verdict(0, &verdict) {
            // The sums were calculated exactly before, so this cannot happen; if it does, nothing is traded.
            guards::refuse_arithmetic(&mut verdict, illegal.to_string());
            self.state.book.apply_verdict(0, &verdict).unwrap_or_else(|error| tracing::error!(%error, "a refusal is not noted"));
        }
        effects.publish_revision(subject::verdict(&verdict.order), &verdict, 1);
        self.state.unstored.insert(verdict.order.clone(), verdict);
    }

    /// Takes an intent out of those that wait and decides it.
    fn decide_waiting(&mut self, cause: Cause, sequence: u64, effects: &mut Effects) {
        let Some(waiting) = self.state.stop_waiting(sequence) else { return };
        self.decide(cause, &waiting, effects);
    }

    /// The record is the truth: what was decided here gives way to it.
    fn verdict(&mut self, cause: Cause, verdict: &Verdict, effects: &mut Effects) -> Result<(), Reject> {
        if self.supposed.is_some() {
            self.recorded(cause, verdict, effects);
            return Ok(());
        }
        let own = self.state.unstored.remove(&verdict.order);
        if own.as_ref() == Some(verdict) {
            self.state.book.confirm(&verdict.order, cause.sequence);
            return Ok(());
        }
        if own.is_some() {
            self.state.book.retract(&verdict.order);
        } else if let Some(&waiting) = self.state.waiting_orders.get(&verdict.order) {
            self.state.stop_waiting(waiting);
        }
        self.state.book.apply_verdict(cause.sequence, verdict).map_err(reject)?;
        self.state.diverged += 1;
        Ok(())
    }

    /// What was decided in fact, where other limits are supposed: it only says what would have become of the order.
    fn recorded(&mut self, cause: Cause, verdict: &Verdict, effects: &mut Effects) {
        if let Some(&waiting) = self.state.waiting_orders.get(&verdict.order) {
            // There was a mark that these limits find too old.
            self.decide_waiting(Cause { is_timeout: true, ..cause }, waiting, effects);
        }
        let own = self.state.unstored.remove(&verdict.order);
        if own.is_some_and(|own| own.approved && !verdict.approved) {
            // Nobody knows what would have become of it: it is as if it had been cancelled at once.
            self.state.book.retract(&verdict.order);
        }
    }

    fn order(&mut self, sequence: u64, at: Timestamp, event: &OrderEvent) -> Result<(), Reject> {
        let before = self.state.book.mode(event.exchange);
        let applied = match self.state.book.apply_event(sequence, at, event) {
            Ok(applied) => applied,
            // What would not have been sent would have had no events.
            Err(_) if self.supposed.is_some() => return Ok(()),
            Err(illegal) => return Err(reject(illegal)),
        };
        self.state.mode_changed(before, event.exchange);
        if applied.fills > 0 {
            self.state.see(at, Some(&event.strategy));
        }
        Ok(())
    }

    fn mark(&mut self, sequence: u64, at: Timestamp, mark: Mark, effects: &mut Effects) {
        let (venue, symbol) = (mark.venue, mark.symbol.clone());
        self.state.prices.mark(Marked { sequence, stored_at: at, mark });
        self.state.see_all(at, venue, &symbol);
        if self.state.unaudited.is_none() {
            let same = |waiting: &Waiting| waiting.intent.exchange == venue && waiting.intent.symbol == symbol;
            self.decide_those(Cause { sequence, at, is_timeout: false }, same, effects);
        }
    }

    /// The auditor has spoken: what waited for that is decided, unless it waits for a mark as well.
    fn audited(&mut self, sequence: u64, at: Timestamp, effects: &mut Effects) {
        if self.state.unaudited.take().is_none() {
            return;
        }
        let state = &self.state;
        let is_ready = |waiting: &Waiting| {
            guards::halted(state, waiting.intent.exchange).is_some() || guards::has_fresh_mark(state, &waiting.intent, at)
        };
        let ready: BTreeSet<u64> =
            state.waiting.iter().filter(|(_, waiting)| is_ready(waiting)).map(|(&sequence, _)| sequence).collect();
        self.decide_those(Cause { sequence, at, is_timeout: false }, |waiting| ready.contains(&waiting.sequence), effects);
    }

    fn decide_those(&mut self, cause: Cause, is_due: impl Fn(&Waiting) -> bool, effects: &mut Effects) {
        let due: Vec<u64> =
            self.state.waiting.iter().filter(|(_, waiting)| is_due(waiting)).map(|(&sequence, _)| sequence).collect();
        for intent in due {
            self.decide_waiting(cause, intent, effects);
        }
    }
}

impl State {
    /// Counts an order of a strategy; how many there were within a minute, or none when there are too many strategies.
    fn strategy(&mut self, name: &str, at: Timestamp) -> Option<u32> {
        let is_new = !self.strategies.contains_key(name);
        if is_new && self.strategies.len() >= STRATEGIES_MAX {
            return None;
        }
        let value = self.account_value();
        let strategy = self.strategies.entry(name.to_owned()).or_default();
        strategy.first = strategy.first.or(value);
        if is_new {
            strategy.curve.see(at, Decimal::ZERO);
        }
        if self.curve.highest(at).is_none() && self.book.totals().next().is_none() {
            self.curve.see(at, Decimal::ZERO);
        }
        Some(strategy.rate.count(at))
    }

    /// What all accounts are worth now, USD; none when nothing is known, or they are empty (paper trading needs none).
    fn account_value(&self) -> Option<Decimal> {
        sum(self.accounts.values().map(|account| account.newest)).filter(|value| *value > Decimal::ZERO)
    }

    /// What all accounts were worth when they were first seen, USD; none as above.
    pub(crate) fn account_start(&self) -> Option<Decimal> {
        sum(self.accounts.values().map(|account| account.first)).filter(|value| *value > Decimal::ZERO)
    }

    fn stop_waiting(&mut self, sequence: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&sequence)?;
        self.waiting_orders.remove(&waiting.intent.order);
        Some(waiting)
    }

    /// Other positions are looked at now: earlier profits say nothing about them.
    fn mode_changed(&mut self, before: Option<TradingMode>, venue: Venue) {
        if before.is_some() && before != self.book.mode(venue) {
            self.curve.clear();
            for strategy in self.strategies.values_mut() {
                strategy.curve.clear();
            }
        }
    }

    /// Notes the profit of everything, and of one strategy.
    fn see(&mut self, at: Timestamp, strategy: Option<&str>) {
        if let Ok(profit) = profit(self.book.totals(), &self.prices, at) {
            self.curve.see(at, profit);
        }
        if let Some(name) = strategy
            && let Some(strategy) = self.strategies.get_mut(name)
            && let Ok(profit) = profit(self.book.positions_of(name), &self.prices, at)
        {
            strategy.curve.see(at, profit);
        }
    }

    /// A price has moved: notes the profit of everyone who holds the symbol.
    fn see_all(&mut self, at: Timestamp, venue: Venue, symbol: &str) {
        if self.book.total(venue, symbol).is_none() {
            return;
        }
        self.see(at, None);
        for (name, strategy) in &mut self.strategies {
            if self.book.own(name, venue, symbol).is_some_and(|own| !own.is_flat())
                && let Ok(profit) = profit(self.book.positions_of(name), &self.prices, at)
            {
                strategy.curve.see(at, profit);
            }
        }
    }

    fn balances(&mut self, balances: Balances) {
        if balances.stale || balances.updated_at.is_none() {
            return;
        }
        let (newest, is_complete) = (balances.total_usd, balances.unpriced.is_empty());
        let known = self.accounts.get(&balances.exchange).filter(|known| known.is_complete);
        let account = match known {
            Some(known) => AccountValue { newest, ..*known },
            None => AccountValue { first: newest, newest, is_complete },
        };
        self.accounts.insert(balances.exchange, account);
        let assets = balances.balances.into_iter().filter_map(|row| Some((row.asset, row.usd_price?))).collect();
        self.prices.assets(balances.exchange, assets);
    }

    fn reconciliation(&mut self, sequence: u64, reconciliation: Reconciliation) {
        let before = self.book.mode(reconciliation.exchange);
        self.book.set_mode(reconciliation.exchange, reconciliation.mode);
        self.mode_changed(before, reconciliation.exchange);
        // What was compared before a person resumed is what that person has seen: it may come late, and halts nothing.
        let is_old = self.resumed.get(&reconciliation.exchange).is_some_and(|resumed| reconciliation.at <= *resumed);
        if let Some(reason) = reconciliation.halted
            && !is_old
        {
            self.exchange_halts.insert(reconciliation.exchange, Stop { sequence, reason });
        }
    }

    fn resume(&mut self, command: &ResumeCommand) {
        match command.scope {
            HaltScope::Ledger => self.ledger_halt = None,
            HaltScope::Exchange(venue) => {
                self.exchange_halts.remove(&venue);
                let resumed = self.resumed.entry(venue).or_default();
                *resumed = command.at.max(*resumed);
            }
        }
    }

    fn kill_switch(&mut self, sequence: u64, command: &KillSwitch) {
        self.kill = command.on.then(|| Stop { sequence, reason: format!("{}: {}", command.actor, command.reason) });
    }

    fn run_strategy(&mut self, sequence: u64, command: StrategyCommand) -> Result<(), Reject> {
        if command.run {
            self.stopped.remove(&command.strategy);
            return Ok(());
        }
        if self.stopped.len() >= STRATEGIES_MAX && !self.stopped.contains_key(&command.strategy) {
            let detail = format!("{STRATEGIES_MAX} strategies are stopped already");
            return Err(Reject { reason: "too_many_strategies", detail });
        }
        let reason = format!("{}: {}", command.actor, command.reason);
        self.stopped.insert(command.strategy, Stop { sequence, reason });
        Ok(())
    }
}

fn sum(values: impl Iterator<Item = Decimal>) -> Option<Decimal> {
    values.map(Some).reduce(|sum, value| spark_ledger::money::add(sum?, value?).ok()).flatten()
}

fn reject(illegal: Illegal) -> Reject {
    Reject { reason: illegal.reason(), detail: illegal.to_string() }
}

impl Machine for Risk {
    type Event = Event;
    const INPUTS: &'static [Input] = &[Input {
        stream: LEDGER,
        subjects: &[
            subject::INTENTS,
            subject::VERDICTS,
            subject::RISK_TIMEOUTS,
            subject::RISK_EPOCH,
            subject::ORDER_EVENTS,
            subject::INSTRUMENTS,
            subject::RECONCILIATIONS,
            subject::MARKS,
            subject::BALANCES,
            subject::KILL_SWITCH,
            subject::LIMITS,
            subject::STRATEGIES,
            subject::RESUME,
            subject::AUDIT_VERIFIED,
            subject::AUDIT_DAMAGE,
        ],
    }];
    /// No timer: time is a message.
    const STEP: Duration = Duration::from_secs(3_600);

    fn decode(delivery: &Delivery) -> Result<Event, DecodeError> {
        Event::decode(delivery)
    }

    fn apply(&mut self, at: Timestamp, event: Event, effects: &mut Effects) -> Result<(), Reject> {
        let sequence = event.sequence;
        match event.fact {
            Fact::Intent(intent) => self.intent(sequence, at, *intent, effects)?,
            Fact::Verdict(verdict) => self.verdict(Cause { sequence, at, is_timeout: false }, &verdict, effects)?,
            Fact::Order(event) => self.order(sequence, at, &event)?,
            Fact::Mark(mark) => self.mark(sequence, at, *mark, effects),
            Fact::Timeout(timeout) => {
                if let Some(&waiting) = self.state.waiting_orders.get(&timeout.order) {
                    self.decide_waiting(Cause { sequence, at, is_timeout: true }, waiting, effects);
                }
            }
            Fact::Filters(filters) => drop(self.state.filters.insert(filters.exchange, filters.symbols)),
            Fact::Reconciliation(reconciliation) => self.state.reconciliation(sequence, *reconciliation),
            Fact::Balances(balances) => self.state.balances(*balances),
            Fact::KillSwitch(command) => self.state.kill_switch(sequence, &command),
            Fact::Limits(command) if self.supposed.is_none() => {
                self.state.limits = command.limits;
                self.state.limits_sequence = sequence;
            }
            Fact::Strategy(command) => self.state.run_strategy(sequence, command)?,
            Fact::Resume(command) => self.state.resume(&command),
            // Whoever takes over may stand before a ledger that was damaged while nobody looked: nothing is approved before
            // the auditor has answered.
            Fact::Epoch => self.state.unaudited = Some(sequence),
            Fact::Verified => self.audited(sequence, at, effects),
            Fact::Damage(reason) => {
                self.state.ledger_halt = Some(Stop { sequence, reason });
                self.audited(sequence, at, effects);
            }
            Fact::Limits(_) | Fact::Nothing => {}
            Fact::Misplaced { subject, belongs } => {
                let detail = format!("a message of {belongs} on {subject}");
                return Err(Reject { reason: "wrong_subject", detail });
            }
        }
        Ok(())
    }

    fn tick(&mut self, _: Timestamp, _: &mut Effects) {}

    /// What was asked while nobody decided was decided without the auditor's word: it leaves after it, so that whoever sends
    /// knows of damage before.
    fn holds_back(&self) -> bool {
        self.state.unaudited.is_some()
    }

    fn save(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(&(STATE_VERSION, &self.state)).expect("writing to memory cannot fail")
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (version, state): (u32, State) = spark_bus_schema::codec::from_saved(bytes).map_err(|error| error.to_string())?;
        if version != STATE_VERSION {
            return Err(format!("layout {version}, this build reads {STATE_VERSION}"));
        }
        self.state = state;
        Ok(())
    }
}
