//! Candles of one symbol and one length: the open interval, and the closed ones that can still be corrected.

use std::collections::VecDeque;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::candles::{Candle, CandleHistory, CandleSource, TimeFrame};
use spark_bus_schema::session::Calendar;
use spark_bus_schema::{Fixed, Timestamp, Venue};

use super::ids::Ids;
use super::interval;
use super::piece::{Piece, Scales, Sum, decimal, power};

/// Closed intervals of each length that a late trade, or the exchange's own candle, can still correct.
pub const KEPT: usize = 16;
/// Flat candles told in a row; after that nothing is told of the symbol until it trades again.
pub const FLATS_MAX: u32 = 120;

/// What all candles of a symbol share.
pub(super) struct Context<'a> {
    pub venue: Venue,
    pub symbol: &'a str,
    pub scales: Scales,
    pub ids: &'a Ids,
    pub calendar: &'a Calendar,
    /// The connection broke, and no trade has come since.
    pub is_cut: bool,
    /// Between these times trades may have been lost for good.
    pub lost: Option<(Timestamp, Timestamp)>,
    /// Time of the newest trade.
    pub newest: Timestamp,
    /// Stored time of what is being taken in.
    pub at: Timestamp,
}

/// Where a trade belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Current,
    /// A closed interval, which was corrected.
    Closed,
    /// An interval of which nothing is kept, or the exchange's own figures.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Interval {
    open: Timestamp,
    close: Timestamp,
    trades: Option<Piece>,
    /// Trades are missing for good.
    is_partial: bool,
}

impl Interval {
    fn touches(&self, (from, to): (Timestamp, Timestamp)) -> bool {
        from < self.close && self.open <= to
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Closed {
    interval: Interval,
    /// The close before it: the price of an interval without trades.
    before: i128,
    is_exchanges: bool,
    closed_at: Timestamp,
    revision: u64,
    /// As told last.
    is_complete: bool,
    /// Not told as it is now.
    is_changed: bool,
}

impl Closed {
    fn price(&self) -> i128 {
        self.interval.trades.map_or(self.before, |trades| trades.close)
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Frame {
    pub length: TimeFrame,
    current: Option<Interval>,
    closed: VecDeque<Closed>,
    /// Price of the last closed interval.
    price: i128,
    flats: u32,
    is_changed: bool,
    /// A closed interval was told as incomplete and may become complete.
    is_doubtful: bool,
}

impl Frame {
    pub fn new(length: TimeFrame) -> Self {
        Self {
            length,
            current: None,
            closed: VecDeque::with_capacity(KEPT + 1),
            price: 0,
            flats: 0,
            is_changed: false,
            is_doubtful: false,
        }
    }

    /// The open interval, ns.
    pub fn span(&self) -> Option<(i64, i64)> {
        self.current.as_ref().map(|current| (current.open.as_nanos(), current.close.as_nanos()))
    }

    /// Adds trades that lie within [`span`](Self::span).
    pub fn extend(&mut self, piece: &Piece, scales: Scales) {
        if let Some(current) = &mut self.current {
            merge(&mut current.trades, piece, scales);
        }
    }

    /// Adds one trade of any time; closes what it closes.
    pub fn add(&mut self, time: Timestamp, piece: &Piece, context: &Context<'_>, told: &mut Vec<Candle>) -> Place {
        self.close_until(time, context, told);
        match &mut self.current {
            Some(current) if current.open <= time => {
                merge(&mut current.trades, piece, context.scales);
                Place::Current
            }
            None if self.closed.back().is_none_or(|last| last.interval.close <= time) => {
                self.open(time, piece, context);
                Place::Current
            }
            _ => self.correct(time, piece, context.scales),
        }
    }

    fn open(&mut self, time: Timestamp, piece: &Piece, context: &Context<'_>) {
        let (open, close) = interval::containing(context.venue, self.length, time);
        let is_first = self.closed.is_empty();
        let mut current = Interval { open, close, trades: Some(*piece), is_partial: is_first && open < time };
        current.is_partial |= context.lost.is_some_and(|lost| current.touches(lost));
        self.current = Some(current);
        self.flats = 0;
    }

    fn correct(&mut self, time: Timestamp, piece: &Piece, scales: Scales) -> Place {
        let holds = |closed: &Closed| closed.interval.open <= time && time < closed.interval.close;
        let Some(index) = self.closed.iter().rposition(holds) else { return Place::Gone };
        let closed = &mut self.closed[index];
        if closed.is_exchanges {
            return Place::Gone;
        }
        merge(&mut closed.interval.trades, piece, scales);
        closed.is_changed = true;
        self.carry_price(index);
        Place::Closed
    }

    /// Flat candles after a corrected one stand at its new close.
    fn carry_price(&mut self, index: usize) {
        self.is_changed = true;
        let mut price = self.closed[index].price();
        for closed in self.closed.iter_mut().skip(index + 1) {
            if closed.is_exchanges || closed.interval.trades.is_some() {
                return;
            }
            closed.is_changed |= closed.before != price;
            closed.before = price;
            price = closed.price();
        }
        self.price = price;
    }

    /// Closes every interval that ends at or before `until`.
    pub fn close_until(&mut self, until: Timestamp, context: &Context<'_>, told: &mut Vec<Candle>) {
        while self.current.as_ref().is_some_and(|current| current.close <= until) {
            let Some(current) = self.current.take() else { return };
            let (open, close) = interval::containing(context.venue, self.length, current.close);
            let is_flat = current.trades.is_none();
            let is_told = !is_flat || interval::is_open(context.venue, current.open, current.close, context.calendar);
            self.flats = if is_flat { self.flats + u32::from(is_told) } else { 0 };
            if self.flats > FLATS_MAX {
                return;
            }
            let mut next = Interval { open, close, trades: None, is_partial: false };
            next.is_partial = context.lost.is_some_and(|lost| next.touches(lost));
            self.current = Some(next);
            if is_told {
                // Corrections of earlier candles go first.
                self.tell(context, told);
                self.keep(current, context.at);
                self.tell(context, told);
            }
        }
    }

    fn keep(&mut self, interval: Interval, closed_at: Timestamp) {
        let closed = Closed {
            interval,
            before: self.price,
            is_exchanges: false,
            closed_at,
            revision: 0,
            is_complete: false,
            is_changed: true,
        };
        self.price = closed.price();
        self.closed.push_back(closed);
        if self.closed.len() > KEPT {
            self.closed.pop_front();
        }
        self.is_changed = true;
    }

    /// Between these times trades are missing for good.
    pub fn lose(&mut self, lost: (Timestamp, Timestamp)) {
        let closed = self.closed.iter_mut().filter(|closed| !closed.is_exchanges).map(|closed| &mut closed.interval);
        for interval in closed.chain(&mut self.current) {
            interval.is_partial |= interval.touches(lost);
        }
    }

    /// Looks again at what is complete.
    pub fn review(&mut self, context: &Context<'_>) {
        for closed in self.closed.iter_mut().filter(|closed| !closed.is_exchanges) {
            if is_complete(&closed.interval, context) != closed.is_complete {
                closed.is_changed = true;
                self.is_changed = true;
            }
        }
    }

    pub fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// The exchange's own figures in place of incomplete ones. `scales` hold every digit of them.
    pub fn replace(&mut self, history: &CandleHistory, scales: Scales) {
        for index in 0..self.closed.len() {
            let closed = &mut self.closed[index];
            if closed.is_exchanges || closed.is_complete || closed.revision == 0 {
                continue;
            }
            let Some(row) = Row::find(history, closed.interval.open, scales) else { continue };
            let known = closed.interval.trades.take();
            closed.before = row.close;
            closed.interval.trades = row.piece(closed.interval.open, known, scales);
            closed.is_exchanges = true;
            closed.is_changed = true;
            self.carry_price(index);
        }
    }

    /// Tells what changed, oldest first.
    pub fn tell(&mut self, context: &Context<'_>, told: &mut Vec<Candle>) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        self.is_doubtful = false;
        for closed in &mut self.closed {
            if closed.is_changed {
                closed.is_changed = false;
                closed.revision += 1;
                closed.is_complete = closed.is_exchanges || is_complete(&closed.interval, context);
                told.push(candle(self.length, closed, context));
            }
            self.is_doubtful |= !closed.is_complete && !closed.interval.is_partial;
        }
    }

    pub fn widen(&mut self, from: Scales, to: Scales) {
        let factor = power(to.price - from.price);
        self.price = self.price.saturating_mul(factor);
        for closed in &mut self.closed {
            closed.before = closed.before.saturating_mul(factor);
        }
        let closed = self.closed.iter_mut().map(|closed| &mut closed.interval);
        for piece in closed.chain(&mut self.current).filter_map(|interval| interval.trades.as_mut()) {
            *piece = piece.widened(from, to);
        }
    }
}

fn merge(trades: &mut Option<Piece>, piece: &Piece, scales: Scales) {
    match trades {
        Some(trades) => trades.merge(piece, scales),
        None => *trades = Some(*piece),
    }
}

fn is_complete(interval: &Interval, context: &Context<'_>) -> bool {
    let is_unsure = context.is_cut && context.newest < interval.close;
    !interval.is_partial && !is_unsure && !context.ids.misses(interval.open, interval.close)
}

fn candle(length: TimeFrame, closed: &Closed, context: &Context<'_>) -> Candle {
    let scales = context.scales;
    let price = |mantissa| decimal(mantissa, u32::from(scales.price));
    let trades = closed.interval.trades.as_ref();
    let flat = price(closed.before);
    Candle {
        venue: context.venue,
        symbol: context.symbol.to_owned(),
        timeframe: length,
        open_time: closed.interval.open,
        close_time: closed.interval.close,
        open: trades.map_or(flat, |trades| price(trades.open)),
        high: trades.map_or(flat, |trades| price(trades.high)),
        low: trades.map_or(flat, |trades| price(trades.low)),
        close: trades.map_or(flat, |trades| price(trades.close)),
        volume: trades.map_or(Decimal::ZERO, |trades| trades.volume.decimal(u32::from(scales.quantity))),
        quote_volume: trades.map_or(Decimal::ZERO, |trades| trades.amount.decimal(scales.amount())),
        trades: trades.map_or(0, |trades| trades.trades),
        revision: closed.revision,
        source: if closed.is_exchanges { CandleSource::Exchange } else { CandleSource::Ticks },
        gap: trades.is_none(),
        complete: closed.is_complete,
        closed_at: closed.closed_at,
    }
}

/// One candle as the exchange tells it, at the symbol's scales.
struct Row {
    open: i128,
    high: i128,
    low: i128,
    close: i128,
    volume: i128,
}

impl Row {
    fn find(history: &CandleHistory, open_time: Timestamp, scales: Scales) -> Option<Self> {
        let row = history.open_time.binary_search(&open_time).ok()?;
        let at = |value: Option<Fixed>, scale: u8| {
            let value = value?;
            i128::from(value.mantissa).checked_mul(power(scale.checked_sub(value.scale)?))
        };
        Some(Self {
            open: at(history.open.get(row), scales.price)?,
            high: at(history.high.get(row), scales.price)?,
            low: at(history.low.get(row), scales.price)?,
            close: at(history.close.get(row), scales.price)?,
            volume: at(history.volume.get(row), scales.quantity)?,
        })
    }

    /// None where nothing was traded. The history tells no amount and no number of trades: what is known here stays, and the
    /// volume that was missing counts at the close.
    fn piece(&self, open_time: Timestamp, known: Option<Piece>, scales: Scales) -> Option<Piece> {
        if self.volume == 0 {
            return None;
        }
        let (mut amount, mut missing) = (Sum::ZERO, self.volume);
        if let Some(known) = &known {
            amount = known.amount;
            if let Sum::Exact(volume) = known.volume {
                missing = (self.volume - volume).max(0);
            }
        }
        let rest = missing.checked_mul(self.close).map_or_else(
            || {
                let volume = decimal(missing, u32::from(scales.quantity));
                Sum::Rounded(volume.saturating_mul(decimal(self.close, u32::from(scales.price))))
            },
            Sum::Exact,
        );
        amount.add(rest, scales.amount());
        let at = (open_time.as_nanos(), 0);
        Some(Piece {
            first: known.map_or(at, |known| known.first),
            last: known.map_or(at, |known| known.last),
            open: self.open,
            high: self.high,
            low: self.low,
            close: self.close,
            volume: Sum::Exact(self.volume),
            amount,
            trades: known.map_or(1, |known| known.trades),
        })
    }
}
