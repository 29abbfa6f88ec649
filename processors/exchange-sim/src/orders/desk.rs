//! One account's orders and balances.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use rust_decimal::Decimal;

use super::{
    Amount, Event, Execution, Fate, Fill, Kind, Level, Log, New, Order, Reject, Side, Status, SubmitEntry, Terms, TimeInForce,
    matching,
};
use crate::config::Holding;

/// Final orders that can still be asked for; older ones are forgotten.
const FINAL_MAX: usize = 100_000;
/// Fills that can still be asked for.
const FILLS_MAX: usize = 200_000;

/// Ids with which an account begins.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// First order.
    pub order: u64,
    /// First fill.
    pub trade: u64,
}

/// An account.
#[derive(Debug)]
pub struct Desk {
    balances: BTreeMap<String, Holding>,
    orders: BTreeMap<u64, Order>,
    open: HashMap<std::sync::Arc<str>, BTreeSet<u64>>,
    by_client: HashMap<String, Vec<u64>>,
    ended: VecDeque<u64>,
    fills: VecDeque<Fill>,
    next_order: u64,
    next_trade: u64,
    next_execution: u64,
    /// What the exchange wrote down.
    pub log: Log,
}

impl Desk {
    /// An account without orders.
    #[must_use]
    pub fn new(balances: BTreeMap<String, Holding>, opening: Opening) -> Self {
        Self {
            balances,
            orders: BTreeMap::new(),
            open: HashMap::new(),
            by_client: HashMap::new(),
            ended: VecDeque::new(),
            fills: VecDeque::new(),
            next_order: opening.order,
            next_trade: opening.trade,
            next_execution: 1,
            log: Log::default(),
        }
    }

    /// What it holds, by asset.
    #[must_use]
    pub fn balances(&self) -> &BTreeMap<String, Holding> {
        &self.balances
    }

    /// What it holds of one asset.
    #[must_use]
    pub fn holding(&self, asset: &str) -> Holding {
        self.balances.get(asset).copied().unwrap_or_default()
    }

    /// All orders that are not forgotten, by id.
    #[must_use]
    pub fn orders(&self) -> &BTreeMap<u64, Order> {
        &self.orders
    }

    /// An order.
    #[must_use]
    pub fn order(&self, id: u64) -> Option<&Order> {
        self.orders.get(&id)
    }

    /// The newest order of this client id.
    #[must_use]
    pub fn by_client(&self, client_id: &str) -> Option<&Order> {
        self.orders.get(self.by_client.get(client_id)?.last()?)
    }

    /// Open orders of a market, or all, oldest first.
    #[must_use]
    pub fn open_orders(&self, symbol: Option<&str>) -> Vec<&Order> {
        let mut ids: Vec<u64> = match symbol {
            Some(symbol) => self.open.get(symbol).into_iter().flatten().copied().collect(),
            None => self.open.values().flatten().copied().collect(),
        };
        ids.sort_unstable();
        ids.iter().filter_map(|id| self.orders.get(id)).collect()
    }

    /// Whether a market has open orders.
    #[must_use]
    pub fn has_open(&self, symbol: &str) -> bool {
        self.open.get(symbol).is_some_and(|ids| !ids.is_empty())
    }

    /// Fills, oldest first.
    #[must_use]
    pub fn fills(&self) -> &VecDeque<Fill> {
        &self.fills
    }

    /// Takes a new order, and fills what the market gives at once. `levels` is the other side of the book, best first; `entry` is
    /// written down, with the order's id, when it is accepted.
    ///
    /// # Errors
    /// Why it is not accepted; nothing has changed then.
    pub fn place(
        &mut self,
        terms: &Terms,
        new: New,
        levels: &[Level],
        fate: Fate,
        entry: Option<SubmitEntry>,
        at_ms: i64,
    ) -> Result<Vec<Execution>, Reject> {
        if terms.unique_client_ids && self.by_client(&new.client_id).is_some_and(|order| order.status.is_open()) {
            return Err(Reject::Duplicate);
        }
        let limit = (new.kind != Kind::Market).then_some(new.price);
        if new.kind == Kind::LimitMaker && matching::crosses(new.side, new.price, levels) {
            return Err(Reject::WouldTake);
        }
        let (mut plan, mut done) = match fate {
            Fate::Market => matching::take(terms, new.side, new.amount, limit, levels),
            Fate::PartThenExpire(share) => (part(terms, &new, share, levels), false),
            Fate::RejectLate => (Vec::new(), false),
        };
        if fate == Fate::Market && new.time_in_force == TimeInForce::Fok && !done {
            plan.clear();
            done = false;
        }
        let quantity = match new.amount {
            Amount::Base(quantity) => quantity,
            // One lot more than was found keeps it from being filled; `leftover` takes that back.
            Amount::Quote(_) => {
                plan.iter().map(|(_, quantity)| *quantity).sum::<Decimal>() + if done { Decimal::ZERO } else { terms.lot }
            }
        };
        let locked = match (limit, new.side) {
            (Some(price), _) => terms.reserve(new.side, quantity, price),
            (None, Side::Buy) => plan.iter().map(|(price, quantity)| terms.reserve(Side::Buy, *quantity, *price)).sum(),
            (None, Side::Sell) if matches!(new.amount, Amount::Base(_)) => quantity,
            (None, Side::Sell) => plan.iter().map(|(_, quantity)| *quantity).sum(),
        };
        // A market buy by amount needs the whole amount, also what less than one lot of it stays.
        let needed = match (new.amount, new.side) {
            (Amount::Quote(amount), Side::Buy) => locked.max(terms.reserve(Side::Buy, Decimal::ONE, amount)),
            _ => locked,
        };
        if self.holding(terms.locked_asset(new.side)).free < needed {
            return Err(Reject::Insufficient);
        }
        let id = self.open(terms, new, quantity, locked, at_ms);
        if let Some(entry) = entry {
            self.log.submit(SubmitEntry { order_id: Some(id), ..entry });
        }
        let mut executions = vec![self.execution(terms, id, Event::New, None, None, at_ms)];
        for (price, quantity) in plan {
            executions.extend(self.fill(terms, id, price, quantity, false, at_ms));
        }
        executions.extend(self.leftover(terms, id, fate, done, at_ms));
        Ok(executions)
    }

    /// Enters an order that was accepted. Returns its id.
    fn open(&mut self, terms: &Terms, new: New, quantity: Decimal, locked: Decimal, at_ms: i64) -> u64 {
        let id = self.next_order;
        self.next_order += 1;
        let held = self.balances.entry(terms.locked_asset(new.side).to_owned()).or_default();
        held.free -= locked;
        held.locked += locked;
        self.by_client.entry(new.client_id.clone()).or_default().push(id);
        self.open.entry(terms.symbol.clone()).or_default().insert(id);
        let order = Order {
            id,
            client_id: new.client_id,
            symbol: terms.symbol.clone(),
            side: new.side,
            kind: new.kind,
            time_in_force: new.time_in_force,
            price: new.price,
            quantity,
            quote_quantity: if let Amount::Quote(amount) = new.amount { amount } else { Decimal::ZERO },
            filled: Decimal::ZERO,
            quote_filled: Decimal::ZERO,
            first_price: Decimal::ZERO,
            status: Status::New,
            created_ms: at_ms,
            updated_ms: at_ms,
            locked,
            origin: new.origin,
            canceling: false,
        };
        self.orders.insert(id, order);
        id
    }

    /// Ends what must not rest.
    fn leftover(&mut self, terms: &Terms, id: u64, fate: Fate, done: bool, at_ms: i64) -> Option<Execution> {
        let order = self.orders.get_mut(&id).filter(|order| order.status.is_open())?;
        if !order.quote_quantity.is_zero() {
            order.quantity = order.filled;
        }
        let reason = match (fate, order.kind, order.time_in_force) {
            (Fate::RejectLate, ..) => return self.end(terms, id, Event::Rejected, None, at_ms),
            (Fate::PartThenExpire(_), ..) => "EXCHANGE_CANCELED",
            (Fate::Market, Kind::Market, _) if !done => "INSUFFICIENT_LIQUIDITY",
            (Fate::Market, Kind::Limit, TimeInForce::Ioc) => "UNFILLED_IOC_QUANTITY_EXPIRED",
            (Fate::Market, Kind::Limit, TimeInForce::Fok) => "UNFILLED_FOK_ORDER_EXPIRED",
            _ => return None,
        };
        self.end(terms, id, Event::Expired(reason), None, at_ms)
    }

    /// The book changed: orders that it now crosses are filled at their own price, against what is there. Returns what happened and
    /// what was taken: the book's side by the order's, price of the level, quantity.
    pub fn moved(
        &mut self,
        terms: &Terms,
        bids: &mut [Level],
        asks: &mut [Level],
        at_ms: i64,
    ) -> (Vec<Execution>, Vec<(Side, Decimal, Decimal)>) {
        let (mut executions, mut taken) = (Vec::new(), Vec::new());
        for (side, levels) in [(Side::Buy, asks), (Side::Sell, bids)] {
            for (id, price) in self.waiting(&terms.symbol, side) {
                for level in levels.iter_mut() {
                    let left = self.orders.get(&id).map_or(Decimal::ZERO, Order::left);
                    let crossed = match side {
                        Side::Buy => level.price <= price,
                        Side::Sell => level.price >= price,
                    };
                    if !crossed || left.is_zero() {
                        break;
                    }
                    let quantity = left.min(level.quantity);
                    if quantity.is_zero() {
                        continue;
                    }
                    level.quantity -= quantity;
                    taken.push((side, level.price, quantity));
                    executions.extend(self.fill(terms, id, price, quantity, true, at_ms));
                }
            }
        }
        (executions, taken)
    }

    /// Somebody traded: orders at this price or a better one are filled at their own price, out of what was traded.
    pub fn traded(&mut self, terms: &Terms, price: Decimal, quantity: Decimal, aggressor: Side, at_ms: i64) -> Vec<Execution> {
        let resting = match aggressor {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        };
        let (mut executions, mut budget) = (Vec::new(), quantity);
        for (id, own) in self.waiting(&terms.symbol, resting) {
            let through = match resting {
                Side::Buy => price <= own,
                Side::Sell => price >= own,
            };
            if !through || budget.is_zero() {
                break;
            }
            let filled = self.orders.get(&id).map_or(Decimal::ZERO, Order::left).min(budget);
            budget -= filled;
            executions.extend(self.fill(terms, id, own, filled, true, at_ms));
        }
        executions
    }

    /// Fills an open order at its own price, whatever the market says. `None` when it is not open or nothing is to be filled.
    pub fn force(&mut self, terms: &Terms, id: u64, quantity: Decimal, at_ms: i64) -> Option<Execution> {
        let order = self.orders.get(&id).filter(|order| order.status.is_open())?;
        let (price, quantity) = (order.price, quantity.min(order.left()));
        if quantity <= Decimal::ZERO {
            return None;
        }
        self.fill(terms, id, price, quantity, true, at_ms)
    }

    /// Takes an open order back. `None` when there is none, or it is final.
    pub fn cancel(&mut self, terms: &Terms, id: u64, cancel_id: Option<String>, at_ms: i64) -> Option<Execution> {
        self.end(terms, id, Event::Canceled, cancel_id, at_ms)
    }

    /// The exchange ends an open order.
    pub fn expire(&mut self, terms: &Terms, id: u64, at_ms: i64) -> Option<Execution> {
        self.end(terms, id, Event::Expired("EXCHANGE_CANCELED"), None, at_ms)
    }

    /// Notes that a cancel was accepted that takes effect later. False when the order is final or it already was.
    pub fn mark_canceling(&mut self, id: u64) -> bool {
        match self.orders.get_mut(&id) {
            Some(order) if order.status.is_open() && !order.canceling => {
                order.canceling = true;
                true
            }
            _ => false,
        }
    }

    /// Moves money in (or out, below zero). False when there is not so much free.
    pub fn transfer(&mut self, asset: &str, amount: Decimal) -> bool {
        let held = self.balances.entry(asset.to_owned()).or_default();
        if held.free + amount < Decimal::ZERO {
            return false;
        }
        held.free += amount;
        true
    }

    /// Sets what is held of an asset.
    pub fn set_holding(&mut self, asset: &str, holding: Holding) {
        self.balances.insert(asset.to_owned(), holding);
    }

    /// Sets everything that is held.
    pub fn set_balances(&mut self, balances: BTreeMap<String, Holding>) {
        self.balances = balances;
    }

    /// Forgets all orders and fills, as an exchange that starts from another state. What open orders locked is free again. The log
    /// and the ids go on.
    pub fn forget_orders(&mut self, locked_asset: impl Fn(&Order) -> String) {
        for order in self.orders.values().filter(|order| order.status.is_open()) {
            let held = self.balances.entry(locked_asset(order)).or_default();
            held.locked -= order.locked;
            held.free += order.locked;
        }
        self.orders.clear();
        self.open.clear();
        self.by_client.clear();
        self.ended.clear();
        self.fills.clear();
    }

    /// Open orders of one side, best price first, then oldest.
    fn waiting(&self, symbol: &str, side: Side) -> Vec<(u64, Decimal)> {
        let mut list: Vec<(u64, Decimal)> = (self.open.get(symbol).into_iter().flatten())
            .filter_map(|id| self.orders.get(id))
            .filter(|order| order.side == side)
            .map(|order| (order.id, order.price))
            .collect();
        list.sort_by(|(id, price), (other_id, other)| {
            let better = match side {
                Side::Buy => other.cmp(price),
                Side::Sell => price.cmp(other),
            };
            better.then(id.cmp(other_id))
        });
        list
    }

    fn fill(&mut self, terms: &Terms, id: u64, price: Decimal, quantity: Decimal, maker: bool, at_ms: i64) -> Option<Execution> {
        let order = self.orders.get_mut(&id)?;
        let amount = price * quantity;
        let (commission, commission_asset) = terms.commission(order.side, quantity, amount, maker);
        let last = quantity == order.left();
        let at = if order.kind == Kind::Market { price } else { order.price };
        // The last fill releases whatever is left, so that no rounding can stay locked.
        let release = if last { order.locked } else { terms.reserve(order.side, quantity, at).min(order.locked) };
        order.locked -= release;
        order.filled += quantity;
        order.quote_filled += amount;
        order.updated_ms = at_ms;
        order.status = if last { Status::Filled } else { Status::PartiallyFilled };
        if order.first_price.is_zero() {
            order.first_price = price;
        }
        let (spent, received) = match order.side {
            Side::Buy => (amount, quantity),
            Side::Sell => (quantity, amount),
        };
        let (side, client_id) = (order.side, order.client_id.clone());
        let paid = self.balances.entry(terms.locked_asset(side).to_owned()).or_default();
        paid.locked -= release;
        paid.free += release - spent;
        let got = if side == Side::Buy { &terms.base } else { &terms.quote };
        self.balances.entry(got.clone()).or_default().free += received;
        self.balances.entry(commission_asset.to_owned()).or_default().free -= commission;
        let fill = Fill {
            trade_id: self.next_trade,
            order_id: id,
            client_id,
            symbol: terms.symbol.clone(),
            side,
            price,
            quantity,
            amount,
            commission,
            commission_asset: commission_asset.to_owned(),
            maker,
            at_ms,
        };
        self.next_trade += 1;
        self.log.fill(&fill);
        self.fills.push_back(fill.clone());
        while self.fills.len() > FILLS_MAX {
            self.fills.pop_front();
        }
        if last {
            self.ended(&terms.symbol, id);
        }
        Some(self.execution(terms, id, Event::Trade, Some(fill), None, at_ms))
    }

    fn end(&mut self, terms: &Terms, id: u64, event: Event, cancel_id: Option<String>, at_ms: i64) -> Option<Execution> {
        let order = self.orders.get_mut(&id).filter(|order| order.status.is_open())?;
        let released = std::mem::take(&mut order.locked);
        order.updated_ms = at_ms;
        order.status = match event {
            Event::Canceled => Status::Canceled,
            Event::Rejected => Status::Rejected,
            _ => Status::Expired,
        };
        let held = self.balances.entry(terms.locked_asset(order.side).to_owned()).or_default();
        held.locked -= released;
        held.free += released;
        self.ended(&terms.symbol, id);
        Some(self.execution(terms, id, event, None, cancel_id, at_ms))
    }

    fn ended(&mut self, symbol: &str, id: u64) {
        if let Some(open) = self.open.get_mut(symbol) {
            open.remove(&id);
        }
        self.ended.push_back(id);
        while self.ended.len() > FINAL_MAX {
            let Some(oldest) = self.ended.pop_front().and_then(|id| self.orders.remove(&id)) else { continue };
            if let Some(ids) = self.by_client.get_mut(&oldest.client_id) {
                ids.retain(|id| *id != oldest.id);
                if ids.is_empty() {
                    self.by_client.remove(&oldest.client_id);
                }
            }
        }
    }

    fn execution(
        &mut self,
        terms: &Terms,
        id: u64,
        event: Event,
        fill: Option<Fill>,
        cancel_id: Option<String>,
        at_ms: i64,
    ) -> Execution {
        let order = self.orders.get(&id).expect("callers just changed this order").clone();
        let holdings = [&terms.base, &terms.quote].map(|asset| (asset.clone(), self.holding(asset)));
        self.next_execution += 1;
        Execution { id: self.next_execution - 1, event, order, fill, cancel_id, holdings, at_ms }
    }
}

/// The part that is filled of an order that then expires: at its own price, or at the market's best.
fn part(terms: &Terms, new: &New, share: Decimal, levels: &[Level]) -> Vec<(Decimal, Decimal)> {
    let price = match new.kind {
        Kind::Market => levels.first().map(|level| level.price),
        _ => Some(new.price),
    };
    let Some(price) = price.filter(|price| !price.is_zero()) else { return Vec::new() };
    let whole = match new.amount {
        Amount::Base(quantity) => quantity,
        Amount::Quote(amount) => amount / price,
    };
    let quantity = terms.whole_lots(whole * share);
    if quantity.is_zero() { Vec::new() } else { vec![(price, quantity)] }
}
