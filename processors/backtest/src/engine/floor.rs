//! An order from wish to fill: sized, judged, filled. Decimals are met here and nowhere else in the loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use spark_bus_schema::market::{Quote, Side};
use spark_bus_schema::orders::{OrderType, TimeInForce};
use spark_bus_schema::{Fixed, OrderId, Timestamp, Venue};
use spark_executor::machine::facts::Terms;
use spark_executor::paper::{Account, Desk, FeeTerms};
use spark_ledger::Reserved;
use spark_ledger::money::{DIVISION_DECIMALS, Rounding, add, mul, mul_rounded};
use spark_risk::equity::Curve;
use spark_risk::measure::{self, Equity, Holding, Market, Moment};
use spark_risk::rate::Rate;
use spark_strategy::rule::{self, Sizing, Want};

use super::rules::Ask;
use super::{Settings, Trade};
use crate::data::{Bars, Offered};

/// What is offered at the price of a bar: more than anybody can buy.
const UNLIMITED: Fixed = Fixed { mantissa: i64::MAX, scale: 0 };

/// Profits before this say nothing about a fall of 24 hours (whose cells are five minutes long).
const PROFITS_KEPT: Duration = Duration::from_secs(25 * 3_600);

/// Orders after which the desk forgets what was taken of old quotes.
const FORGET_EVERY: u64 = 16;

/// Where orders go, and what came of them.
pub(super) struct Floor<'a> {
    settings: &'a Settings,
    bars: &'a Bars,
    sizing: Option<Decimal>,
    desk: Desk,
    terms: Arc<Terms>,
    /// Of the quote that the desk knows.
    levels: (u64, u64),
    /// Sent to the desk.
    orders: u64,
    rate: Rate,
    /// Profits of the last day.
    profits: Curve,
    /// Rows of [`Self::see_until`]: kept for its memory.
    tops: Vec<usize>,
    /// The first bar whose profit is not in `profits` yet.
    unseen: usize,
    cash: Decimal,
    held: Decimal,
    /// Cash less that at the beginning.
    gained: Decimal,
    /// Profit of what was closed so far, before fees, as the desk's position has it.
    realized: Decimal,
    /// Fees of what opened the position, quote currency.
    open_fees: Decimal,
    pub is_long: bool,
    /// For the curve of equity.
    pub cash_f64: f64,
    pub held_f64: f64,
    pub refused: u64,
    pub rejected: u64,
    pub fills: u64,
    pub won: u64,
    pub closed: u64,
    pub profit: f64,
    pub loss: f64,
    /// None: they are not kept.
    pub trades: Option<Vec<Trade>>,
}

/// The market that an order meets.
struct Meeting {
    offered: Offered,
    at: Timestamp,
    decided_at: Timestamp,
}

impl<'a> Floor<'a> {
    pub fn new(settings: &'a Settings, bars: &'a Bars, sizing: Option<Decimal>, from: usize, keeps_trades: bool) -> Self {
        let instrument = &settings.instrument;
        let mut fees = FeeTerms::new(instrument.venue, settings.commission, settings.commission);
        // Of bars, commission is a cost in the quote currency: what every reference calculates.
        fees.of_received &= bars.is_recorded();
        let account =
            Account::new(BTreeMap::from([(instrument.quote.clone(), settings.cash), (instrument.base.clone(), Decimal::ZERO)]));
        let age_max = if bars.is_recorded() { settings.quote_age_max } else { Duration::MAX };
        let desk = Desk::new(instrument.venue, fees, age_max, account, BTreeMap::new(), [instrument.clone()]);
        let terms = Terms {
            order: OrderId::derive(&settings.strategy, "backtest"),
            verdict_sequence: 0,
            strategy: settings.strategy.clone(),
            exchange: instrument.venue,
            symbol: instrument.symbol.clone(),
            side: Side::Buy,
            order_type: OrderType::Market,
            time_in_force: TimeInForce::Ioc,
            quantity: Decimal::ZERO,
            limit_price: None,
            decided_at: Timestamp::ZERO,
            expires_at: Timestamp::from_nanos(i64::MAX),
            book_at: None,
        };
        let mut floor = Self {
            settings,
            bars,
            sizing,
            desk,
            terms: Arc::new(terms),
            levels: (0, 0),
            orders: 0,
            rate: Rate::default(),
            profits: Curve::default(),
            tops: Vec::new(),
            unseen: from,
            cash: settings.cash,
            held: Decimal::ZERO,
            gained: Decimal::ZERO,
            realized: Decimal::ZERO,
            open_fees: Decimal::ZERO,
            is_long: false,
            cash_f64: 0.0,
            held_f64: 0.0,
            refused: 0,
            rejected: 0,
            fills: 0,
            won: 0,
            closed: 0,
            profit: 0.0,
            loss: 0.0,
            trades: keeps_trades.then(Vec::new),
        };
        floor.settle();
        floor
    }

    pub fn venue(&self) -> Venue {
        self.settings.instrument.venue
    }

    /// Cash to begin with.
    pub fn start(&self) -> Decimal {
        self.settings.cash
    }

    #[inline]
    pub fn held(&self) -> Decimal {
        self.held
    }

    /// What there is at a price, quote currency.
    pub fn equity(&self, price: Decimal) -> Decimal {
        let exact = mul(self.held, price).and_then(|value| add(self.cash, value));
        exact.unwrap_or_else(|_| self.held.saturating_mul(price).saturating_add(self.cash))
    }

    /// Whether the wish is something else than what is held.
    #[inline]
    pub fn differs(&self, ask: Ask) -> bool {
        match ask {
            Ask::Want(want) => (want == Want::Long) != self.is_long,
            Ask::Trade(..) => true,
        }
    }

    /// An order after the bar `row`, filled at its close or at the recorded quote.
    #[cold]
    pub fn at_close(&mut self, ask: Ask, row: usize) {
        let decided_at = self.bars.closed_at(row);
        let close = Fixed { mantissa: self.bars.closes()[row], scale: self.bars.price_scale() };
        let offered = if self.bars.is_recorded() { self.bars.offered(row).copied() } else { Some(everything(close, decided_at)) };
        self.see_until(row + 1);
        let Some(offered) = offered else {
            self.rejected += 1;
            return;
        };
        let at = self.bars.arrival(row);
        self.order(ask, close.to_decimal(), &Meeting { offered, at, decided_at });
    }

    /// An order after the bar before `row`, filled at the open of `row`.
    #[cold]
    pub fn at_open(&mut self, ask: Ask, row: usize) {
        let decided_at = self.bars.closed_at(row - 1);
        let open = Fixed { mantissa: self.bars.opens()[row], scale: self.bars.price_scale() };
        let at = Timestamp::from_nanos(self.bars.open_times()[row]);
        self.see_until(row);
        self.order(ask, open.to_decimal(), &Meeting { offered: everything(open, at), at, decided_at });
    }

    fn order(&mut self, ask: Ask, price: Decimal, meeting: &Meeting) {
        let sized = match ask {
            Ask::Trade(side, quantity) => Some((side, quantity)),
            Ask::Want(want) => {
                let sizing = self.sizing.map_or(Sizing::Cash(self.cash), Sizing::Quantity);
                rule::order(want, self.held, sizing, price, self.settings.commission, self.settings.filters.step_size)
            }
        };
        let Some((side, quantity)) = sized else { return };
        let order = measure::Order { side, order_type: OrderType::Market, quantity, limit_price: None };
        if !self.may(&order, meeting) {
            self.refused += 1;
            return;
        }
        self.submit(side, quantity, meeting);
    }

    fn may(&mut self, order: &measure::Order, meeting: &Meeting) -> bool {
        let quote = &meeting.offered.quote;
        let (bid, ask) = (quote.bid_price.to_decimal(), quote.ask_price.to_decimal());
        let price = if quote.bid_price == quote.ask_price { bid } else { middle(bid, ask) };
        let recent = self.rate.count(meeting.decided_at);
        let Ok(profit) = self.profit_at(price) else { return false };
        let start = self.settings.limits.capital_usd.unwrap_or(self.settings.cash);
        let highest = self.profits.highest(meeting.decided_at).unwrap_or(profit).max(profit);
        let moment = Moment {
            limits: &self.settings.limits,
            filters: &self.settings.filters,
            market: Market { bid, ask, price, quote_usd: self.settings.quote_usd },
            mark_age_ms: u64::try_from(meeting.at.since_ms(quote.received_at)).unwrap_or(0),
            holding: Holding { position: self.held, reserved: Reserved::default() },
            equity: Equity { start, profit, highest },
            recent,
        };
        measure::refusal(order, &moment).is_none()
    }

    /// Realised and unrealised profit less fees, USD: `risk`'s sum for one symbol, whose cash is known here.
    fn profit_at(&self, price: Decimal) -> Result<Decimal, spark_ledger::Inexact> {
        let quote = add(self.gained, mul(self.held, price)?)?;
        if self.settings.quote_usd == Decimal::ONE && quote.scale() <= DIVISION_DECIMALS {
            return Ok(quote);
        }
        mul_rounded(quote, self.settings.quote_usd, Rounding::Floor)
    }

    /// Takes in the profits at the closes of bars before `until`. The position did not change in them, so of a rise that was
    /// topped later nothing remains in the curve: only the closes that no later one tops are calculated.
    fn see_until(&mut self, until: usize) {
        let (from, closes) = (self.unseen, self.bars.closes());
        self.unseen = until;
        if from >= until {
            return;
        }
        let oldest = self.bars.closed_at(until - 1) - PROFITS_KEPT;
        self.tops.clear();
        let (mut best, falls) = (i64::MIN, self.held < Decimal::ZERO);
        for row in (from..until).rev() {
            let close = if falls { -closes[row] } else { closes[row] };
            if close > best {
                best = close;
                self.tops.push(row);
            }
            if self.held.is_zero() || self.bars.closed_at(row) < oldest {
                break;
            }
        }
        for at in (0..self.tops.len()).rev() {
            let row = self.tops[at];
            let price = Decimal::new(closes[row], u32::from(self.bars.price_scale()));
            if let Ok(profit) = self.profit_at(price) {
                self.profits.see(self.bars.closed_at(row), profit);
            }
        }
    }

    fn submit(&mut self, side: Side, quantity: Decimal, meeting: &Meeting) {
        let (symbol, market) = (&self.settings.instrument.symbol, self.desk.market_mut());
        let Offered { quote, bid_level, ask_level } = meeting.offered;
        if (bid_level, ask_level) != self.levels {
            // It was another quote in between, whatever it is now: what was taken of the old one is no matter.
            let other = |changed: bool, size: Fixed| if changed { Fixed::ZERO } else { size };
            let bid_quantity = other(bid_level != self.levels.0, quote.bid_quantity);
            let ask_quantity = other(ask_level != self.levels.1, quote.ask_quantity);
            market.row(symbol, &Quote { bid_quantity, ask_quantity, ..quote }, meeting.at);
            self.levels = (bid_level, ask_level);
        }
        market.row(symbol, &quote, meeting.at);
        // A message is what lets the market forget: one that nobody needs to look back at may wait for others.
        self.orders += 1;
        if self.orders.is_multiple_of(FORGET_EVERY) {
            market.message(symbol);
        }
        let terms = Arc::make_mut(&mut self.terms);
        (terms.side, terms.quantity, terms.decided_at) = (side, quantity, meeting.decided_at);
        let report = self.desk.submit(&self.terms, meeting.at);
        if report.fills.is_empty() {
            self.rejected += 1;
            return;
        }
        for fill in report.fills {
            let fee_in_base = fill.fee_asset == self.settings.instrument.base;
            let profit = self.closed(side, fill.quantity, if fee_in_base { Decimal::ZERO } else { fill.fee });
            self.fills += 1;
            if let Some(trades) = &mut self.trades {
                let (quantity, price, fee, decided_at) = (fill.quantity, fill.price, fill.fee, meeting.decided_at);
                trades.push(Trade { side, quantity, price, fee, fee_in_base, decided_at, profit });
            }
        }
        self.settle();
    }

    /// Counts what a fill closed; its profit.
    fn closed(&mut self, side: Side, quantity: Decimal, fee: Decimal) -> Option<Decimal> {
        let held = self.held;
        let closes = !held.is_zero() && (held > Decimal::ZERO) == (side == Side::Sell);
        if !closes {
            self.open_fees = self.open_fees.saturating_add(fee);
            return None;
        }
        let position = self.desk.positions().get(&self.settings.instrument.symbol)?;
        let realized = position.realized.checked_sub(std::mem::replace(&mut self.realized, position.realized))?;
        let share = if quantity >= held.abs() || position.is_flat() {
            self.open_fees
        } else {
            self.open_fees.checked_mul(quantity)?.checked_div(held.abs())?
        };
        self.open_fees = self.open_fees.checked_sub(share)?;
        let profit = realized.checked_sub(share)?.checked_sub(fee)?;
        self.count(profit);
        Some(profit.normalize())
    }

    fn count(&mut self, profit: Decimal) {
        let value = profit.to_f64().unwrap_or(0.0);
        self.closed += 1;
        if value > 0.0 {
            self.won += 1;
            self.profit += value;
        } else {
            self.loss -= value;
        }
    }

    /// Reads from the desk what there is now.
    fn settle(&mut self) {
        let of = |asset: &str| self.desk.balances().get(asset).copied().unwrap_or_default();
        let instrument = &self.settings.instrument;
        (self.cash, self.held) = (of(&instrument.quote), of(&instrument.base));
        self.gained = self.cash.saturating_sub(self.settings.cash);
        let step = self.settings.filters.step_size;
        self.is_long = if step > Decimal::ZERO { self.held >= step } else { self.held > Decimal::ZERO };
        self.cash_f64 = self.cash.to_f64().unwrap_or(f64::NAN);
        self.held_f64 = self.held.to_f64().unwrap_or(f64::NAN);
    }
}

fn middle(bid: Decimal, ask: Decimal) -> Decimal {
    bid.checked_add(ask).and_then(|sum| sum.checked_div(Decimal::TWO)).unwrap_or(ask)
}

/// A quote of a bar's price: as much as anybody wants, on both sides.
fn everything(price: Fixed, at: Timestamp) -> Offered {
    let quote = Quote {
        update_id: 0,
        received_at: at,
        bid_price: price,
        bid_quantity: UNLIMITED,
        ask_price: price,
        ask_quantity: UNLIMITED,
    };
    Offered { quote, bid_level: 0, ask_level: 0 }
}
