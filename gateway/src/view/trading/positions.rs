//! Positions and what they are worth at the newest marks.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::marks::Mark;
use spark_bus_schema::orders::TradingMode;
use spark_bus_schema::{Decimal, Timestamp, Venue};
use spark_ledger::money::{add, mul};
use spark_ledger::{Book, Inexact, Position};

use crate::number::Number;

/// Symbols whose mark is held.
pub const MARKS_MAX: usize = 512;

/// The newest mark of each symbol.
#[derive(Clone, Default)]
pub struct Marks(BTreeMap<(Venue, String), (Timestamp, Mark)>);

impl Marks {
    /// Takes in a mark, stored at `at`; false when there is no room for another symbol.
    pub fn apply(&mut self, at: Timestamp, mark: Mark) -> bool {
        let key = (mark.venue, mark.symbol.clone());
        if self.0.len() >= MARKS_MAX && !self.0.contains_key(&key) {
            return false;
        }
        self.0.insert(key, (at, mark));
        true
    }

    fn get(&self, venue: Venue, symbol: &str) -> Option<&(Timestamp, Mark)> {
        self.0.get(&(venue, symbol.to_owned()))
    }
}

/// `GET /api/exec/positions`. Null: not known, for want of a mark or of digits.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Positions<'a> {
    /// By strategy and symbol.
    pub(crate) positions: Vec<PositionRow<'a>>,
    /// By symbol, all strategies together: what limits are held against.
    exposures: Vec<ExposureRow<'a>>,
    /// Sum over all symbols.
    pub(crate) exposure_usd: Option<Number>,
    /// Sum over all positions.
    pub(crate) unrealized_usd: Option<Number>,
    /// Whether the end of the ledger was reached since the gateway's start.
    complete: bool,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PositionRow<'a> {
    pub strategy: &'a str,
    pub exchange: Venue,
    pub symbol: &'a str,
    mode: Option<TradingMode>,
    pub quantity: Number,
    pub average_price: Option<Number>,
    pub mark: Option<Number>,
    mark_age_ms: Option<i64>,
    unrealized: Option<Number>,
    pub unrealized_usd: Option<Number>,
    realized: Number,
    fees: BTreeMap<&'a str, Number>,
    value_usd: Option<Number>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ExposureRow<'a> {
    exchange: Venue,
    symbol: &'a str,
    quantity: Number,
    reserved_buy: Number,
    reserved_sell: Number,
    /// The worst of: every open buy fills, every open sell fills.
    exposure_usd: Option<Number>,
}

impl<'a> Positions<'a> {
    /// Everything at `now`. Positions that were closed without a trace of profit or fees are left out.
    #[must_use]
    pub fn new(book: &'a Book, marks: &'a Marks, complete: bool, now: Timestamp) -> Self {
        let positions: Vec<_> = book
            .positions()
            .filter(|(_, _, _, position)| !position.is_flat() || !position.realized.is_zero() || !position.fees.is_empty())
            .map(|(strategy, venue, symbol, position)| row(book, marks, now, strategy, venue, symbol, position))
            .collect();
        let exposures = exposures(book, marks);
        Self {
            exposure_usd: total(exposures.iter().map(|row| row.exposure_usd)),
            unrealized_usd: total(positions.iter().map(|row| row.unrealized_usd)),
            positions,
            exposures,
            complete,
        }
    }
}

fn row<'a>(
    book: &Book,
    marks: &Marks,
    now: Timestamp,
    strategy: &'a str,
    exchange: Venue,
    symbol: &'a str,
    position: &'a Position,
) -> PositionRow<'a> {
    let mark = marks.get(exchange, symbol);
    let at_mark = |value: fn(&Position, &Mark) -> Result<Decimal, Inexact>| {
        // What is not held is worth nothing, whatever the mark.
        if position.is_flat() { Some(Decimal::ZERO) } else { mark.and_then(|(_, mark)| value(position, mark).ok()) }
    };
    PositionRow {
        strategy,
        exchange,
        symbol,
        mode: book.mode(exchange),
        quantity: Number(position.quantity),
        average_price: position.average_price().map(Number),
        mark: mark.map(|(_, mark)| Number(mark.price)),
        mark_age_ms: mark.map(|(at, _)| now.since_ms(*at).max(0)),
        unrealized: at_mark(|position, mark| position.unrealized(mark.price)).map(Number),
        unrealized_usd: at_mark(|position, mark| mul(position.unrealized(mark.price)?, mark.quote_usd)).map(Number),
        realized: Number(position.realized),
        fees: position.fees.iter().map(|(asset, fee)| (asset.as_str(), Number(*fee))).collect(),
        value_usd: at_mark(|position, mark| mul(mul(position.quantity, mark.price)?, mark.quote_usd)).map(Number),
    }
}

fn exposures<'a>(book: &'a Book, marks: &Marks) -> Vec<ExposureRow<'a>> {
    // A symbol may be held, or only reserved.
    let mut symbols: BTreeMap<(Venue, &str), ()> = BTreeMap::new();
    symbols.extend(book.totals().filter(|(_, _, position)| !position.is_flat()).map(|(venue, symbol, _)| ((venue, symbol), ())));
    symbols.extend(book.reservations().map(|(venue, symbol, _)| ((venue, symbol), ())));
    let row = |(exchange, symbol): (Venue, &'a str)| {
        let quantity = book.total(exchange, symbol).map_or(Decimal::ZERO, |position| position.quantity);
        let reserved = book.reserved(exchange, symbol);
        let worst = || -> Option<Decimal> {
            let mark = &marks.get(exchange, symbol)?.1;
            let (long, short) = (add(quantity, reserved.buy).ok()?, add(quantity, -reserved.sell).ok()?);
            mul(mul(long.abs().max(short.abs()), mark.price).ok()?, mark.quote_usd).ok()
        };
        ExposureRow {
            exchange,
            symbol,
            quantity: Number(quantity),
            reserved_buy: Number(reserved.buy),
            reserved_sell: Number(reserved.sell),
            exposure_usd: worst().map(Number),
        }
    };
    symbols.into_keys().map(row).collect()
}

/// The sum, if every part of it is known.
fn total(mut parts: impl Iterator<Item = Option<Number>>) -> Option<Number> {
    parts.try_fold(Decimal::ZERO, |sum, part| add(sum, part?.0).ok()).map(Number)
}
