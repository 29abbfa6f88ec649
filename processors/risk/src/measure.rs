//! What the guards calculate, as functions of values: the machine puts sentences around them, the backtest asks them as
//! they are. Neither can come to another answer than the other.

use rust_decimal::Decimal;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{Filters, OrderType};
use spark_bus_schema::risk::{Guard, LimitSet};
use spark_ledger::money::{Rounding, add, is_multiple, mul, mul_rounded, sub};
use spark_ledger::{Inexact, Reserved};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Buy or sell.
    pub side: Side,
    /// Limit or market.
    pub order_type: OrderType,
    /// Base currency.
    pub quantity: Decimal,
    /// Quote per base; limit orders only.
    pub limit_price: Option<Decimal>,
}

/// A mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Market {
    /// Best bid.
    pub bid: Decimal,
    /// Best ask.
    pub ask: Decimal,
    /// The mark, quote per base.
    pub price: Decimal,
    /// USD per unit of the quote currency.
    pub quote_usd: Decimal,
}

/// What is held and what is on its way, base currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// With sign.
    pub position: Decimal,
    /// Approved, not final.
    pub reserved: Reserved,
}

/// Equity of whoever is asked about, USD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Equity {
    /// What it began with.
    pub start: Decimal,
    /// Profit now, with sign.
    pub profit: Decimal,
    /// The highest profit of 24 hours; at least `profit`.
    pub highest: Decimal,
}

/// A figure beside its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The figure.
    pub value: Decimal,
    /// Whether the order may pass.
    pub passed: bool,
}

/// A filter that the order does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Market orders are not taken.
    Market,
    /// Not a multiple of the quantity step.
    Step,
    /// Below the smallest quantity.
    Small,
    /// Above the largest quantity.
    Large,
    /// The limit price is not a multiple of the tick.
    Tick,
    /// Worth less than the smallest order: what it is worth, quote currency.
    Notional(Decimal),
}

/// The order can only bring the symbol's position nearer to zero, whatever else that is open on its side trades first.
///
/// # Errors
/// [`Inexact`].
pub fn reduces(order: &Order, holding: &Holding) -> Result<bool, Inexact> {
    let (held, open) = match order.side {
        Side::Sell => (holding.position, holding.reserved.sell),
        Side::Buy => (-holding.position, holding.reserved.buy),
    };
    Ok(held > Decimal::ZERO && held >= add(order.quantity, open)?)
}

/// The worst price that the order may trade at for its size in money: the higher of limit and mark; what the book shows for
/// a market order.
#[must_use]
pub fn worst_price(order: &Order, market: &Market) -> Decimal {
    match (order.limit_price, order.side) {
        (Some(limit), _) => limit.max(market.price),
        (None, Side::Buy) => market.ask,
        (None, Side::Sell) => market.bid,
    }
}

/// The first filter that does not let the order pass.
///
/// # Errors
/// [`Inexact`].
pub fn misfit(order: &Order, filters: &Filters, market: &Market) -> Result<Option<Misfit>, Inexact> {
    if order.order_type == OrderType::Market && !filters.market_orders {
        return Ok(Some(Misfit::Market));
    }
    if !is_multiple(order.quantity, filters.step_size)? {
        return Ok(Some(Misfit::Step));
    }
    if order.quantity < filters.quantity_min {
        return Ok(Some(Misfit::Small));
    }
    if filters.quantity_max > Decimal::ZERO && order.quantity > filters.quantity_max {
        return Ok(Some(Misfit::Large));
    }
    if let Some(price) = order.limit_price
        && !is_multiple(price, filters.tick_size)?
    {
        return Ok(Some(Misfit::Tick));
    }
    let price = order.limit_price.unwrap_or_else(|| worst_price(order, market));
    let notional = mul(order.quantity, price)?;
    Ok((notional < filters.notional_min).then_some(Misfit::Notional(notional)))
}

/// What the order is worth, USD.
///
/// # Errors
/// [`Inexact`].
pub fn notional(order: &Order, market: &Market, limits: &LimitSet) -> Result<Measured, Inexact> {
    let quote = mul_rounded(order.quantity, worst_price(order, market), Rounding::Up)?;
    let value = mul_rounded(quote, market.quote_usd, Rounding::Up)?;
    Ok(Measured { value, passed: value <= limits.notional_usd_max })
}

/// The position in the worst case of all that is open, USD; what [`reduces`] may pass whatever it is.
///
/// # Errors
/// [`Inexact`].
pub fn exposure(order: &Order, holding: &Holding, market: &Market, limits: &LimitSet) -> Result<Measured, Inexact> {
    let quantity = |side: Side| if order.side == side { order.quantity } else { Decimal::ZERO };
    let long = add(holding.position, add(holding.reserved.buy, quantity(Side::Buy))?)?;
    let short = sub(holding.position, add(holding.reserved.sell, quantity(Side::Sell))?)?;
    let worst = long.abs().max(short.abs());
    let quote = mul_rounded(worst, market.price, Rounding::Up)?;
    let value = mul_rounded(quote, market.quote_usd, Rounding::Up)?;
    Ok(Measured { value, passed: value <= limits.exposure_usd_max })
}

/// How far equity is below its highest of 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fall {
    /// Equity now, USD.
    pub equity: Decimal,
    /// The highest, USD, above zero.
    pub highest: Decimal,
    /// Their distance times 100.
    pub fallen: Decimal,
    /// Whether it is within the limit: exactly, not the rounded percentage.
    pub within: bool,
}

/// None when there is no equity to fall from.
///
/// # Errors
/// [`Inexact`].
pub fn fall(equity: &Equity, limit_pct: Decimal) -> Result<Option<Fall>, Inexact> {
    let (now, highest) = (add(equity.start, equity.profit)?, add(equity.start, equity.highest)?);
    if highest <= Decimal::ZERO {
        return Ok(None);
    }
    let fallen = mul(sub(highest, now)?, Decimal::ONE_HUNDRED)?;
    let within = fallen <= mul(limit_pct, highest)?;
    Ok(Some(Fall { equity: now, highest, fallen, within }))
}

/// How far the price is on the losing side of the mark, in hundredths of the quote currency, and whether that is allowed.
///
/// # Errors
/// [`Inexact`].
pub fn collar(order: &Order, market: &Market, limits: &LimitSet) -> Result<Measured, Inexact> {
    let price = order.limit_price.unwrap_or_else(|| worst_price(order, market));
    let worse = match order.side {
        Side::Buy => sub(price, market.price)?,
        Side::Sell => sub(market.price, price)?,
    };
    let value = mul(worse, Decimal::ONE_HUNDRED)?;
    Ok(Measured { value, passed: value <= mul(limits.collar_pct_max, market.price)? })
}

/// Whether so many orders within a minute, this one included, are allowed.
#[must_use]
pub const fn rate(recent: u32, limits: &LimitSet, reduces: bool) -> bool {
    recent <= limits.orders_per_minute_max || reduces
}

/// What is known when an order is asked for in a backtest: the mark is that of the moment, one strategy trades one symbol,
/// and nobody stops or halts anything.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The limits in force.
    pub limits: &'a LimitSet,
    /// What the venue allows.
    pub filters: &'a Filters,
    /// The mark.
    pub market: Market,
    /// How old it is, ms.
    pub mark_age_ms: u64,
    /// What is held.
    pub holding: Holding,
    /// What it is worth; that of the only strategy is that of the account.
    pub equity: Equity,
    /// Orders within a minute, this one included.
    pub recent: u32,
}

/// Asks every guard that numbers can answer, in the machine's order; the first refusal.
#[must_use]
pub fn refusal(order: &Order, moment: &Moment<'_>) -> Option<Guard> {
    ask(order, moment).unwrap_or(Some(Guard::Arithmetic))
}

fn ask(order: &Order, moment: &Moment<'_>) -> Result<Option<Guard>, Inexact> {
    let Moment { limits, filters, market, holding, .. } = moment;
    if moment.mark_age_ms > limits.mark_age_ms_max {
        return Ok(Some(Guard::StalePrice));
    }
    if misfit(order, filters, market)?.is_some() {
        return Ok(Some(Guard::Filters));
    }
    if !notional(order, market, limits)?.passed {
        return Ok(Some(Guard::Notional));
    }
    let exposure = exposure(order, holding, market, limits)?;
    let reduces = reduces(order, holding)?;
    if !exposure.passed && !reduces {
        return Ok(Some(Guard::Exposure));
    }
    if !reduces && !fall(&moment.equity, limits.drawdown_pct_max)?.is_some_and(|fall| fall.within) {
        return Ok(Some(Guard::Drawdown));
    }
    if !collar(order, market, limits)?.passed {
        return Ok(Some(Guard::Collar));
    }
    Ok((!rate(moment.recent, limits, reduces)).then_some(Guard::Rate))
}
