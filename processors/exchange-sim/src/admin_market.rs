//! Markets that stand still where a test needs them.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::json;

use crate::admin_orders::{Wrong, read, symbol, yes};
use crate::binance;
use crate::btcturk;
use crate::config::Venue;
use crate::live::{Live, Symbol, TradeRow};
use crate::market;
use crate::orders::Side;
use crate::recording::Levels;
use crate::trading::{decimal, in_units};
use crate::units;
use crate::world::{World, clock_ms};

/// Levels that a pinned book may have on a side.
const LEVELS_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    exchange: Venue,
    /// None: all markets of the exchange; only to freeze or to let go.
    symbol: Option<String>,
    /// Stops the seeded market, or lets it go on. Default: yes.
    #[serde(default = "yes")]
    frozen: bool,
    /// While frozen, say the price once a second: the touch again, and a trade of one lot that touches no order. Default: yes.
    #[serde(default = "yes")]
    beat: bool,
    bid: Option<Decimal>,
    bid_size: Option<Decimal>,
    ask: Option<Decimal>,
    ask_size: Option<Decimal>,
    /// Whole sides, price and size, instead of one level each.
    bids: Option<Vec<(Decimal, Decimal)>>,
    asks: Option<Vec<(Decimal, Decimal)>>,
    /// Somebody trades.
    trade: Option<PinnedTrade>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PinnedTrade {
    price: Decimal,
    quantity: Decimal,
    /// Of the one who takes.
    side: Side,
}

/// Levels in units, checked.
fn side_levels(
    name: &'static str,
    one: (Option<Decimal>, Option<Decimal>),
    many: Option<Vec<(Decimal, Decimal)>>,
) -> Result<Option<Levels>, Wrong> {
    let list = match (one, many) {
        ((None, None), None) => return Ok(None),
        ((Some(price), size), None) => vec![(price, size.unwrap_or(Decimal::ONE))],
        ((None, None), Some(list)) => list,
        _ => return Err(Wrong(name, "give a price (and a size), or a list of levels, not both".into())),
    };
    let units = |value: Decimal| Some(in_units(value)).filter(|units| *units > 0 && decimal(*units) == value);
    let level = |(price, size): &(Decimal, Decimal)| {
        units(*price)
            .zip(units(*size))
            .ok_or_else(|| Wrong(name, format!("{price} × {size} must be above 0 with at most 8 decimals")))
    };
    if list.is_empty() || list.len() > LEVELS_MAX {
        return Err(Wrong(name, format!("must have 1 to {LEVELS_MAX} levels")));
    }
    list.iter().map(level).collect::<Result<_, _>>().map(Some)
}

/// `POST /sim/market`: holds a market where a test needs it.
pub(crate) async fn pin(State(world): State<Arc<World>>, body: Bytes) -> Result<Response, Wrong> {
    let wanted: Pin = read(&body)?;
    let bids = side_levels("bid", (wanted.bid, wanted.bid_size), wanted.bids)?;
    let asks = side_levels("ask", (wanted.ask, wanted.ask_size), wanted.asks)?;
    let Some(name) = &wanted.symbol else {
        if bids.is_some() || asks.is_some() || wanted.trade.is_some() {
            return Err(Wrong("symbol", "missing: which market has this price?".into()));
        }
        for symbol in &world.exchange(wanted.exchange).symbols {
            let _live = symbol.live();
            symbol.motion.freeze(wanted.frozen);
            symbol.motion.be_quiet(!wanted.beat);
        }
        return Ok(Json(json!({ "frozen": wanted.frozen })).into_response());
    };
    let symbol = symbol(&world, wanted.exchange, name)?;
    if symbol.replayed {
        return Err(Wrong("symbol", format!("{name} is replayed from a recording and cannot be held")));
    }
    let best = |levels: &Option<Levels>, side: market::Side| match levels {
        Some(levels) if side == market::Side::Bid => levels.iter().map(|(price, _)| *price).max(),
        Some(levels) => levels.iter().map(|(price, _)| *price).min(),
        None => symbol.live().book.best(side).map(|(price, _)| price),
    };
    if best(&bids, market::Side::Bid) >= best(&asks, market::Side::Ask) {
        return Err(Wrong("bid", "must be below the ask; give both when the price moves far".into()));
    }
    if !wanted.frozen && (bids.is_some() || asks.is_some()) {
        return Err(Wrong("frozen", "a price is held only while the market is frozen; leave `frozen` out".into()));
    }
    let trade = match &wanted.trade {
        Some(trade) => Some((side_levels("trade", (Some(trade.price), Some(trade.quantity)), None)?, trade.side)),
        None => None,
    };
    let trade = trade.and_then(|(level, side)| Some((*level?.first()?, side)));
    symbol.motion.be_quiet(!wanted.beat);
    world.hold(symbol, wanted.frozen, [(market::Side::Bid, bids), (market::Side::Ask, asks)], trade);
    let live = symbol.live();
    let price = |top: Option<(i64, i64)>| top.map(|(price, size)| json!([units::trimmed(price), units::trimmed(size)]));
    Ok(Json(json!({
        "symbol": &*symbol.name,
        "frozen": symbol.motion.is_frozen(),
        "bid": price(live.top.map(|top| top.bid)),
        "ask": price(live.top.map(|top| top.ask)),
    }))
    .into_response())
}

impl World {
    /// Freezes a market, sets sides of its book, lets somebody trade; orders in the way are filled.
    fn hold(&self, symbol: &Symbol, frozen: bool, sides: [(market::Side, Option<Levels>); 2], trade: Option<((i64, i64), Side)>) {
        let mut live = symbol.live();
        symbol.motion.freeze(frozen);
        for (side, levels) in sides.into_iter().filter_map(|(side, levels)| Some((side, levels?))) {
            let old: Vec<i64> = live.book.levels(side).map(|(price, _)| price).collect();
            for price in old.into_iter().filter(|price| !levels.iter().any(|(new, _)| new == price)) {
                live.change(side, price, 0);
            }
            for (price, quantity) in levels {
                live.change(side, price, quantity);
            }
        }
        if let Some(((price, quantity), side)) = trade {
            let id = self.print(symbol, &mut live, price, quantity, side);
            let buyer_is_maker = side == Side::Sell;
            let event = market::Event::Trade { id, price, quantity, buyer_is_maker, last_of_order: true };
            self.market_moved(symbol, &mut live, &event);
        }
        self.show_top(symbol, &mut live);
        if let Some(top) = live.top {
            let event = market::Event::Top { bid: top.bid, ask: top.ask, update: top.update };
            self.market_moved(symbol, &mut live, &event);
        }
    }

    /// A public trade that no order is part of. Returns its id.
    fn print(&self, symbol: &Symbol, live: &mut Live, price: i64, quantity: i64, side: Side) -> u64 {
        let (venue, now) = (symbol.config.venue, clock_ms());
        let id = match venue {
            Venue::Binance => live.last.map_or(1, |last| last.id + 1),
            Venue::Btcturk | Venue::Bist => crate::live::ticks(now).max(live.last.map_or(0, |last| last.id + 1)),
        };
        let row = TradeRow::new(id, price, quantity, now, side == Side::Sell);
        live.trade(row);
        let skew = self.faults.skew_ms(venue);
        self.exchange(venue).hub.publish(&symbol.topics.trade, || match venue {
            Venue::Binance => binance::frames::trade(symbol, &row, skew),
            Venue::Btcturk | Venue::Bist => btcturk::trade(symbol, &row, skew),
        });
        id
    }

    /// A market that a test holds says its price: with a new id of the touch, and a trade at the bid.
    pub(crate) fn beat(&self, symbol: &Symbol, live: &mut Live) {
        let Some((price, quantity)) = live.book.best(market::Side::Bid) else { return };
        live.change(market::Side::Bid, price, quantity);
        self.show_top(symbol, live);
        self.print(symbol, live, price, in_units(symbol.terms.lot), Side::Sell);
    }
}
