//! The paper exchange: orders are filled against the live top of book. Pure: quotes and time are passed in.
//!
//! What it refuses to be: a model of the market. Only the best bid and ask are known, so an order takes at most what is
//! offered there; what was taken is gone until the quote changes. Resting orders fill at their own price when the other side
//! reaches it. Its account is what it started with and what the LEDGER's order events say, nothing else.

mod account;
mod book;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::market::{Quote, Side};
use spark_bus_schema::orders::{Fill, OrderId, OrderType, TimeInForce};
use spark_bus_schema::{Instrument, Timestamp, Venue};
use spark_ledger::{Position, money};

pub use account::{Account, FeeTerms, move_fill};

use self::book::{Resting, Top};
use crate::machine::facts::{Facts, Terms};
use crate::machine::report::{Report, Stand};

/// The paper exchange of one venue.
#[derive(Clone, Debug)]
pub struct Desk {
    fees: FeeTerms,
    quote_age_max: Duration,
    account: Account,
    tops: HashMap<String, Top>,
    resting: HashMap<String, Resting>,
    /// Where each resting order rests.
    symbols: HashMap<OrderId, String>,
    instruments: HashMap<String, Instrument>,
    positions: BTreeMap<String, Position>,
}

/// An order at the desk.
#[derive(Clone, Debug)]
struct Live {
    terms: Arc<Terms>,
    filled: Decimal,
    /// Fills so far; the next one's number.
    fills: usize,
}

impl Desk {
    /// A desk with an account. Quotes older than `quote_age_max` are not traded against.
    #[must_use]
    pub fn new(
        venue: Venue,
        fees: FeeTerms,
        quote_age_max: Duration,
        account: Account,
        positions: BTreeMap<String, Position>,
        instruments: impl IntoIterator<Item = Instrument>,
    ) -> Self {
        let instruments = instruments.into_iter().filter(|row| row.venue == venue).map(|row| (row.symbol.clone(), row)).collect();
        Self {
            fees,
            quote_age_max,
            account,
            tops: HashMap::new(),
            resting: HashMap::new(),
            symbols: HashMap::new(),
            instruments,
            positions,
        }
    }

    /// Positions that follow from its own trades.
    #[must_use]
    pub fn positions(&self) -> &BTreeMap<String, Position> {
        &self.positions
    }

    /// What it holds, by asset, what resting orders hold back included.
    #[must_use]
    pub fn balances(&self) -> &BTreeMap<String, Decimal> {
        self.account.totals()
    }

    /// Orders that rest.
    pub fn open(&self) -> impl Iterator<Item = &OrderId> {
        self.symbols.keys()
    }

    /// Puts an order back that rested before a restart.
    pub fn restore(&mut self, facts: &Facts) {
        let Some(price) = facts.terms.limit_price else { return };
        let live = Live { terms: Arc::clone(&facts.terms), filled: facts.filled, fills: facts.trades.len() };
        self.rest(price, live);
    }

    /// Takes an order: fills what it can at once, then lets it rest or ends it.
    pub fn submit(&mut self, terms: &Arc<Terms>, at: Timestamp) -> Report {
        let Some(instrument) = self.instruments.get(&terms.symbol).cloned() else {
            return Report::rejected(format!("paper: {} is not known at {}", terms.symbol, terms.exchange));
        };
        let mut live = Live { terms: Arc::clone(terms), filled: Decimal::ZERO, fills: 0 };
        let quote = self.tops.get(&terms.symbol).filter(|top| top.is_fresh(at, self.quote_age_max));
        let offer = quote.and_then(|top| top.offer(terms.side));
        if terms.order_type == OrderType::Market && offer.is_none() {
            return Report::rejected("paper: nobody quotes the symbol, or the last quote is too old");
        }
        let reach = terms.limit_price.or(offer.map(|(price, _)| price));
        if let Some(reach) = reach
            && let Err(missing) = self.account.can_pay(&instrument, self.fees, terms.side, terms.quantity, reach)
        {
            return Report::rejected(format!("paper: insufficient balance: {missing}"));
        }
        let crossing = offer.filter(|(price, _)| within(terms, *price));
        let takes = crossing.map_or(Decimal::ZERO, |(_, size)| size.min(terms.quantity));
        let all_or_nothing = terms.time_in_force == TimeInForce::Fok;
        let mut report = Report { exchange_order_id: Some(format!("paper-{}", terms.order)), ..Report::default() };
        if let Some((price, _)) = crossing
            && takes > Decimal::ZERO
            && (!all_or_nothing || takes == terms.quantity)
            && let Some(fill) = self.fill(&instrument, &mut live, price, takes, false, at)
        {
            if let Some(top) = self.tops.get_mut(&terms.symbol) {
                top.take(terms.side, takes);
            }
            report.fills.push(fill);
        }
        report.executed = Some(live.filled);
        report.stand = Some(if live.filled == terms.quantity {
            Stand::Filled
        } else if let (TimeInForce::Gtc, Some(price)) = (terms.time_in_force, terms.limit_price) {
            self.rest(price, live);
            Stand::Open
        } else {
            report.reason = Some(if all_or_nothing {
                "paper: not all of it is offered at the top of the book".to_owned()
            } else {
                "paper: no more is offered at the top of the book".to_owned()
            });
            Stand::Expired
        });
        report
    }

    /// Takes an order back; none when it does not rest here.
    pub fn cancel(&mut self, order: &OrderId) -> Option<Report> {
        let symbol = self.symbols.remove(order)?;
        let live = self.resting.get_mut(&symbol)?.remove(order)?;
        self.release(&live);
        Some(Report { stand: Some(Stand::Cancelled), executed: Some(live.filled), ..Report::default() })
    }

    /// What the desk knows of an order that rests.
    #[must_use]
    pub fn knows(&self, order: &OrderId) -> bool {
        self.symbols.contains_key(order)
    }

    /// Whether a quote of the symbol has been seen.
    #[must_use]
    pub fn has_quote(&self, symbol: &str) -> bool {
        self.tops.contains_key(symbol)
    }

    /// The first quote after a restart: so much of it was taken before.
    pub fn quote_again(&mut self, symbol: &str, quote: &Quote, bought: Decimal, sold: Decimal) {
        let mut top = Top::new(quote);
        top.take(Side::Buy, bought);
        top.take(Side::Sell, sold);
        self.tops.insert(symbol.to_owned(), top);
    }

    /// A new top of book: what was taken from the old one is offered again where it changed, and resting orders that it
    /// reaches are filled, best price first.
    pub fn quote(&mut self, symbol: &str, quote: &Quote, at: Timestamp) -> Vec<(OrderId, Report)> {
        match self.tops.get_mut(symbol) {
            Some(top) => top.update(quote),
            None => {
                self.tops.insert(symbol.to_owned(), Top::new(quote));
            }
        }
        let mut reports = Vec::new();
        if !self.resting.contains_key(symbol) {
            return reports;
        }
        for side in [Side::Buy, Side::Sell] {
            while let Some((order, report)) = self.fill_resting(symbol, side, at) {
                reports.push((order, report));
            }
        }
        reports
    }

    /// Fills the best resting order of one side, if the other side of the market reaches it.
    fn fill_resting(&mut self, symbol: &str, side: Side, at: Timestamp) -> Option<(OrderId, Report)> {
        let (offered, size) = self.tops.get(symbol)?.offer(side)?;
        let (order, price) = self.resting.get(symbol)?.best(side)?;
        let reached = match side {
            Side::Buy => offered <= price,
            Side::Sell => offered >= price,
        };
        if !reached || size <= Decimal::ZERO {
            return None;
        }
        let instrument = self.instruments.get(symbol)?.clone();
        let mut live = self.resting.get_mut(symbol)?.remove(&order)?;
        self.symbols.remove(&order);
        self.release(&live);
        let quantity = size.min(live.terms.quantity.checked_sub(live.filled)?);
        // It rested first, so it trades at its own price.
        let fill = self.fill(&instrument, &mut live, price, quantity, true, at)?;
        self.tops.get_mut(symbol)?.take(side, quantity);
        let done = live.filled == live.terms.quantity;
        let report = Report {
            stand: Some(if done { Stand::Filled } else { Stand::Open }),
            executed: Some(live.filled),
            fills: vec![fill],
            ..Report::default()
        };
        if !done {
            self.rest(price, live);
        }
        Some((order, report))
    }

    fn fill(
        &mut self,
        instrument: &Instrument,
        live: &mut Live,
        price: Decimal,
        quantity: Decimal,
        is_maker: bool,
        at: Timestamp,
    ) -> Option<Fill> {
        let amount = money::mul(price, quantity).ok()?;
        let (fee, fee_asset) = self.fees.fee(instrument, live.terms.side, quantity, amount, is_maker)?;
        live.filled = live.filled.checked_add(quantity)?;
        live.fills += 1;
        let trade_id = format!("{}-{}", live.terms.order, live.fills);
        let fill = Fill { trade_id, price, quantity, fee, fee_asset, is_maker, at };
        self.account.fill(instrument, live.terms.side, &fill)?;
        let position = self.positions.entry(live.terms.symbol.clone()).or_default();
        let mut next = position.clone();
        next.fill(&live.terms.symbol, live.terms.side, &fill).ok()?;
        *position = next;
        Some(fill)
    }

    fn rest(&mut self, price: Decimal, live: Live) {
        let (order, symbol) = (live.terms.order.clone(), live.terms.symbol.clone());
        if let Some((asset, amount)) = self.held_back(&live) {
            self.account.hold(&asset, amount);
        }
        self.resting.entry(symbol.clone()).or_default().insert(price, live);
        self.symbols.insert(order, symbol);
    }

    fn release(&mut self, live: &Live) {
        if let Some((asset, amount)) = self.held_back(live) {
            self.account.release(&asset, amount);
        }
    }

    /// What a resting order keeps from being spent twice.
    fn held_back(&self, live: &Live) -> Option<(String, Decimal)> {
        let instrument = self.instruments.get(&live.terms.symbol)?;
        let left = live.terms.quantity.checked_sub(live.filled)?;
        self.fees.cost(instrument, live.terms.side, left, live.terms.limit_price?)
    }
}

fn within(terms: &Terms, price: Decimal) -> bool {
    terms.limit_price.is_none_or(|limit| match terms.side {
        Side::Buy => price <= limit,
        Side::Sell => price >= limit,
    })
}
