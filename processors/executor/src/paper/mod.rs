//! The paper exchange: orders are filled against the live top of book. Pure: quotes and time are passed in.
//!
//! What it refuses to be: a model of the market. Only the best bid and ask are known, so an order takes at most what is
//! offered there; what was taken is gone until the quote changes. Resting orders fill at their own price when the other side
//! reaches it. Its account is what it started with and what the LEDGER's order events say, nothing else.
//!
//! An order that names the moment it was decided at is filled against the book of that moment ([`Desk::submit_at`]), so that a
//! backtest of the record gives the same trades: it feeds the same desk.

mod account;
mod book;
pub mod market;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::market::{Quote, QuoteBatch, Side};
use spark_bus_schema::orders::{Fill, OrderId, OrderType, TimeInForce};
use spark_bus_schema::{Instrument, Timestamp, Venue};
use spark_ledger::{Position, money};

pub use account::{Account, FeeTerms, move_fill};

use self::book::Resting;
use self::market::{Market, Moment, Offer};
use crate::machine::facts::{Facts, Terms};
use crate::machine::report::{Report, Stand};

/// The paper exchange of one venue.
#[derive(Clone, Debug)]
pub struct Desk {
    fees: FeeTerms,
    quote_age_max: Duration,
    account: Account,
    market: Market,
    resting: HashMap<String, Resting>,
    /// Where each resting order rests.
    symbols: HashMap<OrderId, String>,
    instruments: HashMap<String, Arc<Instrument>>,
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
        let instruments =
            instruments.into_iter().filter(|row| row.venue == venue).map(|row| (row.symbol.clone(), Arc::new(row))).collect();
        Self {
            fees,
            quote_age_max,
            account,
            market: Market::default(),
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

    /// Goes on with books that were read before there was a desk.
    pub fn set_market(&mut self, market: Market) {
        self.market = market;
    }

    /// The books.
    #[must_use]
    pub fn market(&self) -> &Market {
        &self.market
    }

    /// The books, to be told what was read and what was taken.
    pub fn market_mut(&mut self) -> &mut Market {
        &mut self.market
    }

    /// Takes an order: fills what it can at once, against the newest quote, then lets it rest or ends it.
    pub fn submit(&mut self, terms: &Arc<Terms>, at: Timestamp) -> Report {
        let offer = self.market.fresh(&terms.symbol, terms.side, at, self.quote_age_max);
        self.trade(terms, offer, at)
    }

    /// As [`submit`](Self::submit), against the book as FEED had it at a moment: the last quote stored at or before it. None
    /// while FEED has not been read past the moment ([`Market::read_to`]). What the record does not hold is not filled.
    pub fn submit_at(&mut self, terms: &Arc<Terms>, moment: Timestamp) -> Option<Report> {
        let offer = match self.market.at(&terms.symbol, terms.side, moment, self.quote_age_max) {
            Moment::NotRead => return None,
            Moment::Offer(offer) => Some(offer),
            Moment::NoQuote => None,
            Moment::NotKept(from) => {
                let record = from.map_or_else(
                    || format!("there is no record of quotes of {}", terms.symbol),
                    |from| format!("the record of quotes of {} begins at {from}", terms.symbol),
                );
                return Some(Report::rejected(format!("paper: decided on the book of {moment}, and {record}")));
            }
        };
        Some(self.trade(terms, offer, moment))
    }

    fn trade(&mut self, terms: &Arc<Terms>, offer: Option<Offer>, at: Timestamp) -> Report {
        let Some(instrument) = self.instruments.get(&terms.symbol).cloned() else {
            return Report::rejected(format!("paper: {} is not known at {}", terms.symbol, terms.exchange));
        };
        let mut live = Live { terms: Arc::clone(terms), filled: Decimal::ZERO, fills: 0 };
        if terms.order_type == OrderType::Market && offer.is_none() {
            return Report::rejected("paper: nobody quotes the symbol, or the last quote is too old");
        }
        let reach = terms.limit_price.or(offer.map(|offer| offer.price));
        if let Some(reach) = reach
            && let Err(missing) = self.account.can_pay(&instrument, self.fees, terms.side, terms.quantity, reach)
        {
            return Report::rejected(format!("paper: insufficient balance: {missing}"));
        }
        let crossing = offer.filter(|offer| within(terms, offer.price));
        let takes = crossing.map_or(Decimal::ZERO, |offer| offer.left.min(terms.quantity));
        let all_or_nothing = terms.time_in_force == TimeInForce::Fok;
        let mut report = Report { exchange_order_id: Some(format!("paper-{}", terms.order)), ..Report::default() };
        if let Some(offer) = crossing
            && takes > Decimal::ZERO
            && (!all_or_nothing || takes == terms.quantity)
            && let Some(fill) = self.fill(&instrument, &mut live, offer.price, takes, false, at)
        {
            self.market.take(&terms.symbol, terms.side, offer, takes);
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

    /// A whole message of FEED, stored at `stored_at`: every row may fill resting orders, at `at`, and the last row is the book
    /// from then on. A message that is older than what is known changes nothing.
    pub fn quotes(&mut self, batch: &QuoteBatch, stored_at: Timestamp, at: Timestamp) -> Vec<(OrderId, Report)> {
        let mut reports = Vec::new();
        for row in 0..batch.len() {
            if let Some(quote) = quote_of(batch, row) {
                reports.extend(self.quote(&batch.symbol, &quote, stored_at, at));
            }
        }
        self.market.message(&batch.symbol);
        self.market.read_to(stored_at);
        reports
    }

    /// One row of a message: what was taken from the old top of book is offered again where it changed, and resting orders
    /// that it reaches are filled, best price first.
    fn quote(&mut self, symbol: &str, quote: &Quote, stored_at: Timestamp, at: Timestamp) -> Vec<(OrderId, Report)> {
        if self.market.row(symbol, quote, stored_at) { self.match_resting(symbol, at) } else { Vec::new() }
    }

    /// Fills every resting order that the top of its book reaches.
    pub fn match_all(&mut self, at: Timestamp) -> Vec<(OrderId, Report)> {
        let mut symbols: Vec<String> = self.resting.keys().cloned().collect();
        symbols.sort_unstable();
        symbols.iter().flat_map(|symbol| self.match_resting(symbol, at)).collect()
    }

    /// Fills the resting orders of a symbol that its top of book reaches.
    fn match_resting(&mut self, symbol: &str, at: Timestamp) -> Vec<(OrderId, Report)> {
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
        let offer = self.market.now(symbol, side)?;
        let (order, price) = self.resting.get(symbol)?.best(side)?;
        let reached = match side {
            Side::Buy => offer.price <= price,
            Side::Sell => offer.price >= price,
        };
        if !reached || offer.left <= Decimal::ZERO {
            return None;
        }
        let instrument = self.instruments.get(symbol)?.clone();
        let mut live = self.resting.get_mut(symbol)?.remove(&order)?;
        self.symbols.remove(&order);
        self.release(&live);
        let quantity = offer.left.min(live.terms.quantity.checked_sub(live.filled)?);
        // It rested first, so it trades at its own price.
        let fill = self.fill(&instrument, &mut live, price, quantity, true, at)?;
        self.market.take(symbol, side, offer, quantity);
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

/// One row of a message.
pub(crate) fn quote_of(batch: &QuoteBatch, row: usize) -> Option<Quote> {
    Some(Quote {
        update_id: *batch.update_id.get(row)?,
        received_at: *batch.received_at.get(row)?,
        bid_price: batch.bid_price.get(row)?,
        bid_quantity: batch.bid_quantity.get(row)?,
        ask_price: batch.ask_price.get(row)?,
        ask_quantity: batch.ask_quantity.get(row)?,
    })
}

fn within(terms: &Terms, price: Decimal) -> bool {
    terms.limit_price.is_none_or(|limit| match terms.side {
        Side::Buy => price <= limit,
        Side::Sell => price >= limit,
    })
}
