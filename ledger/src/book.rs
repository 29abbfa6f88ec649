//! Every order, position and reservation that follows from the verdicts and order events so far.

use std::collections::{BTreeMap, VecDeque};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{Fill, OrderEvent, OrderState, TradingMode};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::{OrderId, Timestamp, Venue};

use crate::finished::{Ended, Finished, request_tag};
use crate::illegal::Illegal;
use crate::money::{Inexact, add, mul, sub};
use crate::order::Order;
use crate::position::Position;

/// What is approved and not final of one symbol, base currency, in the worst case: nothing of what is left was filled
/// yet, and all of it may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// Buys.
    pub buy: Decimal,
    /// Sells.
    pub sell: Decimal,
}

impl Reserved {
    /// One side.
    #[must_use]
    pub const fn on(&self, side: Side) -> Decimal {
        match side {
            Side::Buy => self.buy,
            Side::Sell => self.sell,
        }
    }
}

/// What an event did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The state before it.
    pub from: Option<OrderState>,
    /// The state after it.
    pub to: OrderState,
    /// Fills counted.
    pub fills: usize,
    /// Fills left out because their trade id was counted before.
    pub duplicates: usize,
    /// The order became final with this event.
    pub finished: bool,
    /// More was filled than was ordered: the exchange's word holds.
    pub overfilled: bool,
}

/// What is known of an order id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// Approved and not final.
    Open(&'a Order),
    /// Over: refused, or final.
    Ended(Ended),
}

/// Positions of one exchange in one mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Holdings {
    /// By symbol, all strategies together: average cost of the whole.
    total: BTreeMap<String, Position>,
    /// By strategy and symbol.
    strategy: BTreeMap<String, BTreeMap<String, Position>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    /// The mode of the newest event; none before the first one.
    mode: Option<TradingMode>,
    paper: Holdings,
    live: Holdings,
    reserved: BTreeMap<String, Reserved>,
}

impl Account {
    const fn holdings(&self, mode: TradingMode) -> &Holdings {
        match mode {
            TradingMode::Paper => &self.paper,
            TradingMode::Live => &self.live,
        }
    }

    fn current(&self) -> &Holdings {
        self.holdings(self.mode.unwrap_or(TradingMode::Paper))
    }
}

/// All of it. Positions of paper and live trading are kept apart: those of an exchange's present mode are shown, the
/// others wait until the mode comes back.
///
/// Open orders are held whole, finished ones in 13 bytes (see [`crate::finished`]), the newest of them whole as well if
/// the owner wants to look at them ([`Book::keeping`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    open: BTreeMap<OrderId, Order>,
    finished: Finished,
    recent: BTreeMap<OrderId, Order>,
    recent_order: VecDeque<OrderId>,
    recent_max: usize,
    accounts: BTreeMap<Venue, Account>,
}

impl Book {
    /// An empty book that forgets all but the fact that an order is finished.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty book that keeps the newest `recent_max` finished orders whole.
    #[must_use]
    pub fn keeping(recent_max: usize) -> Self {
        Self { recent_max, ..Self::default() }
    }

    /// Takes in a verdict: an approval opens the order and reserves its quantity, a refusal ends it.
    ///
    /// # Errors
    /// [`Illegal`]: the order has one already, or the reservation has too many digits. Nothing has changed then.
    pub fn apply_verdict(&mut self, sequence: u64, verdict: &Verdict) -> Result<(), Illegal> {
        let order = &verdict.order;
        if self.known(order).is_some() {
            return Err(Illegal::Decided { order: order.clone() });
        }
        if !verdict.approved {
            self.finished.insert(order, Ended { tag: request_tag(&verdict.intent), state: None });
            return Ok(());
        }
        let intent = &verdict.intent;
        self.reserve(intent.exchange, &intent.symbol, intent.side, intent.quantity)
            .map_err(|source| Illegal::Inexact { order: order.clone(), source })?;
        self.open.insert(order.clone(), Order::approved(sequence, verdict));
        Ok(())
    }

    /// Says where the verdict of an approved order stands in the ledger, when it was taken in before it was stored.
    pub fn confirm(&mut self, order: &OrderId, verdict_sequence: u64) {
        if let Some(order) = self.open.get_mut(order) {
            order.verdict_sequence = verdict_sequence;
        }
    }

    /// Forgets a verdict that was taken in before it was stored, and is not the one that was stored. False when there is
    /// none, or the order has gone on since.
    pub fn retract(&mut self, order: &OrderId) -> bool {
        if let Some(open) = self.open.get(order) {
            if open.state.is_some() {
                return false;
            }
            let intent = open.intent.clone();
            self.release(intent.exchange, &intent.symbol, intent.side, intent.quantity);
            self.open.remove(order);
            return true;
        }
        matches!(self.finished.get(order), Some(Ended { state: None, .. })) && self.finished.remove(order)
    }

    /// Takes in what became of an order. `at` is when it was stored.
    ///
    /// # Errors
    /// [`Illegal`]; nothing has changed then.
    pub fn apply_event(&mut self, sequence: u64, at: Timestamp, event: &OrderEvent) -> Result<Applied, Illegal> {
        let Some(order) = self.open.get(&event.order) else { return self.settle(sequence, at, event) };
        order.expects(event)?;
        let staged = Staged::run(order, self.accounts.get(&event.exchange), event)?;
        let (from, before) = (order.state, order.remaining());
        let order = self.open.get_mut(&event.order).expect("it was there above");
        order.state = Some(staged.state);
        order.revision = event.revision;
        order.last_sequence = sequence;
        order.updated_at = at;
        order.mode = Some(event.mode);
        order.filled = staged.filled;
        order.filled_quote = staged.filled_quote;
        if event.exchange_order_id.is_some() {
            order.exchange_order_id.clone_from(&event.exchange_order_id);
        }
        let (fills, duplicates) = (staged.trades.len(), staged.duplicates);
        order.trades.extend(staged.trades);
        let overfilled = order.filled > order.intent.quantity;
        let (finished, after) = (order.is_final(), order.remaining());
        self.set_mode(event.exchange, event.mode);
        let account = self.accounts.entry(event.exchange).or_default();
        if let Some((total, own)) = staged.positions {
            let holdings = match event.mode {
                TradingMode::Paper => &mut account.paper,
                TradingMode::Live => &mut account.live,
            };
            holdings.total.insert(event.symbol.clone(), total);
            holdings.strategy.entry(event.strategy.clone()).or_default().insert(event.symbol.clone(), own);
        }
        // Less than what is reserved is taken away, so no digit can be missing.
        let released = before.checked_sub(after).unwrap_or_default();
        self.release(event.exchange, &event.symbol, event.side, released);
        if finished {
            self.finish(&event.order);
        }
        Ok(Applied { from, to: staged.state, fills, duplicates, finished, overfilled })
    }

    /// The present mode of an exchange, when something else than an order event tells it.
    pub fn set_mode(&mut self, venue: Venue, mode: TradingMode) {
        self.accounts.entry(venue).or_default().mode = Some(mode);
    }

    /// The present mode of an exchange; none before anything happened there.
    #[must_use]
    pub fn mode(&self, venue: Venue) -> Option<TradingMode> {
        self.accounts.get(&venue)?.mode
    }

    /// An order that is open, or finished and still kept whole.
    #[must_use]
    pub fn order(&self, order: &OrderId) -> Option<&Order> {
        self.open.get(order).or_else(|| self.recent.get(order))
    }

    /// Whether and how an order was decided, however long ago.
    #[must_use]
    pub fn known(&self, order: &OrderId) -> Option<Known<'_>> {
        self.open.get(order).map(Known::Open).or_else(|| self.finished.get(order).map(Known::Ended))
    }

    /// Approved and not final, by id.
    pub fn open(&self) -> impl Iterator<Item = &Order> {
        self.open.values()
    }

    /// How many are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// How many are over, refused ones included.
    #[must_use]
    pub fn finished_count(&self) -> usize {
        self.finished.len()
    }

    /// The position of all strategies together, in the exchange's present mode; by average cost of the whole.
    #[must_use]
    pub fn position(&self, venue: Venue, symbol: &str) -> Position {
        self.total(venue, symbol).cloned().unwrap_or_default()
    }

    /// As [`Book::position`]; none where nothing was ever traded.
    #[must_use]
    pub fn total(&self, venue: Venue, symbol: &str) -> Option<&Position> {
        self.accounts.get(&venue)?.current().total.get(symbol)
    }

    /// The position of one strategy, in the exchange's present mode.
    #[must_use]
    pub fn position_of(&self, strategy: &str, venue: Venue, symbol: &str) -> Position {
        self.own(strategy, venue, symbol).cloned().unwrap_or_default()
    }

    /// As [`Book::position_of`]; none where the strategy never traded.
    #[must_use]
    pub fn own(&self, strategy: &str, venue: Venue, symbol: &str) -> Option<&Position> {
        self.accounts.get(&venue)?.current().strategy.get(strategy)?.get(symbol)
    }

    /// Every position `(strategy, venue, symbol, position)` in the present mode of each exchange, flat ones included.
    pub fn positions(&self) -> impl Iterator<Item = (&str, Venue, &str, &Position)> {
        self.accounts.iter().flat_map(|(&venue, account)| {
            account.current().strategy.iter().flat_map(move |(strategy, symbols)| {
                symbols.iter().map(move |(symbol, position)| (strategy.as_str(), venue, symbol.as_str(), position))
            })
        })
    }

    /// Positions of one strategy, as [`Book::positions`].
    pub fn positions_of(&self, strategy: &str) -> impl Iterator<Item = (Venue, &str, &Position)> {
        self.accounts.iter().flat_map(move |(&venue, account)| {
            let symbols = account.current().strategy.get(strategy);
            symbols.into_iter().flatten().map(move |(symbol, position)| (venue, symbol.as_str(), position))
        })
    }

    /// Positions of all strategies together, by exchange and symbol, in the present mode of each exchange.
    pub fn totals(&self) -> impl Iterator<Item = (Venue, &str, &Position)> {
        self.accounts.iter().flat_map(|(&venue, account)| {
            account.current().total.iter().map(move |(symbol, position)| (venue, symbol.as_str(), position))
        })
    }

    /// Positions of all strategies together at one exchange in one mode, whatever its present mode is.
    pub fn totals_in(&self, venue: Venue, mode: TradingMode) -> impl Iterator<Item = (&str, &Position)> {
        let account = self.accounts.get(&venue);
        let totals = account.map(|account| &account.holdings(mode).total);
        totals.into_iter().flatten().map(|(symbol, position)| (symbol.as_str(), position))
    }

    /// What is reserved for orders that are approved and not final, unknown ones included.
    #[must_use]
    pub fn reserved(&self, venue: Venue, symbol: &str) -> Reserved {
        self.accounts.get(&venue).and_then(|account| account.reserved.get(symbol)).copied().unwrap_or_default()
    }

    /// Every symbol with something reserved.
    pub fn reservations(&self) -> impl Iterator<Item = (Venue, &str, Reserved)> {
        self.accounts.iter().flat_map(|(&venue, account)| {
            account.reserved.iter().map(move |(symbol, reserved)| (venue, symbol.as_str(), *reserved))
        })
    }

    fn reserve(&mut self, venue: Venue, symbol: &str, side: Side, quantity: Decimal) -> Result<(), Inexact> {
        let mut reserved = self.reserved(venue, symbol);
        match side {
            Side::Buy => reserved.buy = add(reserved.buy, quantity)?,
            Side::Sell => reserved.sell = add(reserved.sell, quantity)?,
        }
        self.accounts.entry(venue).or_default().reserved.insert(symbol.to_owned(), reserved);
        Ok(())
    }

    fn release(&mut self, venue: Venue, symbol: &str, side: Side, quantity: Decimal) {
        let Some(account) = self.accounts.get_mut(&venue) else { return };
        let Some(reserved) = account.reserved.get_mut(symbol) else { return };
        let cell = match side {
            Side::Buy => &mut reserved.buy,
            Side::Sell => &mut reserved.sell,
        };
        *cell = cell.checked_sub(quantity).unwrap_or_default().max(Decimal::ZERO);
        if reserved.buy.is_zero() && reserved.sell.is_zero() {
            account.reserved.remove(symbol);
        }
    }

    /// Moves a final order out of the open ones.
    fn finish(&mut self, id: &OrderId) {
        let Some(mut order) = self.open.remove(id) else { return };
        self.finished.insert(id, Ended { tag: request_tag(&order.intent), state: order.state });
        if self.recent_max == 0 {
            return;
        }
        order.trades.clear();
        self.recent.insert(id.clone(), order);
        self.recent_order.push_back(id.clone());
        while self.recent_order.len() > self.recent_max {
            if let Some(oldest) = self.recent_order.pop_front() {
                self.recent.remove(&oldest);
            }
        }
    }

    /// An event of an order that is not open: only `settled` after `filled` is possible.
    fn settle(&mut self, sequence: u64, at: Timestamp, event: &OrderEvent) -> Result<Applied, Illegal> {
        let order = || event.order.clone();
        let Some(ended) = self.finished.get(&event.order) else { return Err(Illegal::NotApproved { order: order() }) };
        let Some(from) = ended.state else { return Err(Illegal::NotApproved { order: order() }) };
        if let Some(recent) = self.recent.get(&event.order) {
            recent.expects(event)?;
        }
        let mut state = from;
        for step in &event.steps {
            if !step.state.may_follow(Some(state)) {
                return Err(Illegal::Transition { order: order(), from: Some(state), to: step.state });
            }
            state = step.state;
        }
        self.finished.insert(&event.order, Ended { state: Some(state), ..ended });
        if let Some(recent) = self.recent.get_mut(&event.order) {
            recent.state = Some(state);
            recent.revision = event.revision;
            recent.last_sequence = sequence;
            recent.updated_at = at;
        }
        Ok(Applied { from: Some(from), to: state, fills: 0, duplicates: 0, finished: false, overfilled: false })
    }
}

/// What an event would change, before anything is changed.
struct Staged {
    state: OrderState,
    filled: Decimal,
    filled_quote: Decimal,
    trades: Vec<String>,
    duplicates: usize,
    /// Of all strategies and of the order's own; none when there is no new fill.
    positions: Option<(Position, Position)>,
}

impl Staged {
    fn run(order: &Order, account: Option<&Account>, event: &OrderEvent) -> Result<Self, Illegal> {
        let mut state = order.state;
        let mut fills: Vec<&Fill> = Vec::new();
        let mut duplicates = 0;
        for step in &event.steps {
            if !step.state.may_follow(state) {
                return Err(Illegal::Transition { order: event.order.clone(), from: state, to: step.state });
            }
            state = Some(step.state);
            if let Some(fill) = &step.fill {
                let again = order.trades.contains(&fill.trade_id) || fills.iter().any(|known| known.trade_id == fill.trade_id);
                if again { duplicates += 1 } else { fills.push(fill) }
            }
        }
        let Some(state) = state else {
            return Err(Illegal::Transition { order: event.order.clone(), from: None, to: event.state() });
        };
        let inexact = |source| Illegal::Inexact { order: event.order.clone(), source };
        let mut staged = Self {
            state,
            filled: order.filled,
            filled_quote: order.filled_quote,
            trades: fills.iter().map(|fill| fill.trade_id.clone()).collect(),
            duplicates,
            positions: None,
        };
        staged.count(account, event, &fills).map_err(inexact)?;
        staged.check(order, event)?;
        Ok(staged)
    }

    fn count(&mut self, account: Option<&Account>, event: &OrderEvent, fills: &[&Fill]) -> Result<(), Inexact> {
        if fills.is_empty() {
            return Ok(());
        }
        let holdings = account.map(|account| account.holdings(event.mode));
        let mut total = holdings.and_then(|holdings| holdings.total.get(&event.symbol)).cloned().unwrap_or_default();
        let own = holdings.and_then(|holdings| holdings.strategy.get(&event.strategy)?.get(&event.symbol));
        let mut own = own.cloned().unwrap_or_default();
        for fill in fills {
            self.filled = add(self.filled, fill.quantity)?;
            self.filled_quote = add(self.filled_quote, mul(fill.price, fill.quantity)?)?;
            total.fill(&event.symbol, event.side, fill)?;
            own.fill(&event.symbol, event.side, fill)?;
        }
        // The rest of the order has to be exact as well: it stays reserved.
        sub(event.quantity, self.filled)?;
        self.positions = Some((total, own));
        Ok(())
    }

    fn check(&self, order: &Order, event: &OrderEvent) -> Result<(), Illegal> {
        let sums = [("filled", event.filled, self.filled), ("filled_quote", event.filled_quote, self.filled_quote)];
        if let Some((field, got, want)) = sums.into_iter().find(|(_, got, want)| got != want) {
            let (got, want) = (got.to_string(), want.to_string());
            return Err(Illegal::Totals { order: event.order.clone(), field, got, want });
        }
        if matches!(self.state, OrderState::Filled | OrderState::Settled) && self.filled < order.intent.quantity {
            let left = order.intent.quantity.checked_sub(self.filled).unwrap_or_default().to_string();
            return Err(Illegal::Incomplete { order: event.order.clone(), left });
        }
        Ok(())
    }
}
