//! What an exchange knows about one symbol now: the book, kept trades, candles. Fed by the seeded market or by a recording.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::candles::{Candle, Candles};
use crate::config::{MarketConfig, Venue};
use crate::market::{Book, Event, Side};
use crate::orders::Terms;
use crate::units;

/// Aggregated trades kept per symbol.
const AGGREGATES_KEPT: usize = 20_000;

/// One kept trade, 32 bytes: a hundred thousand of them are kept per symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TradeRow {
    /// Its id; at BTCTurk the 100 ns ticks since year 1.
    pub id: u64,
    /// Price, units.
    pub price: i64,
    /// Quantity, units.
    pub quantity: i64,
    /// Time in ms × 2, the lowest bit is "buyer is maker".
    stamp: i64,
}

impl TradeRow {
    /// A trade at `time_ms`.
    #[must_use]
    pub fn new(id: u64, price: i64, quantity: i64, time_ms: i64, buyer_is_maker: bool) -> Self {
        Self { id, price, quantity, stamp: (time_ms << 1) | i64::from(buyer_is_maker) }
    }

    /// When, ms since 1970.
    #[must_use]
    pub fn time_ms(&self) -> i64 {
        self.stamp >> 1
    }

    /// True when the aggressor sold.
    #[must_use]
    pub fn buyer_is_maker(&self) -> bool {
        self.stamp & 1 == 1
    }

    /// Price × quantity.
    #[must_use]
    pub fn amount(&self) -> i64 {
        units::product(self.price, self.quantity)
    }
}

/// Trades of one incoming order at one price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// Id of the aggregate.
    pub id: u64,
    /// First trade; its quantity is the sum of all.
    pub trade: TradeRow,
    /// Id of the last trade.
    pub last: u64,
}

/// Changes to the book since they were last told.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// First and last update id.
    pub first: u64,
    /// Last update id.
    pub last: u64,
    /// Bids by price, 0 = gone.
    pub bids: BTreeMap<i64, i64>,
    /// Asks by price, 0 = gone.
    pub asks: BTreeMap<i64, i64>,
}

impl Changes {
    fn add(&mut self, side: Side, price: i64, quantity: i64, update: u64) {
        if self.first == 0 {
            self.first = update;
        }
        self.last = update;
        match side {
            Side::Bid => self.bids.insert(price, quantity),
            Side::Ask => self.asks.insert(price, quantity),
        };
    }
}

/// Best bid and ask as the exchange shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top {
    /// Price and quantity.
    pub bid: (i64, i64),
    /// Price and quantity.
    pub ask: (i64, i64),
    /// Update id.
    pub update: u64,
}

/// State of one symbol.
#[derive(Debug)]
pub struct Live {
    /// The book.
    pub book: Book,
    /// Best bid and ask.
    pub top: Option<Top>,
    /// Newest trade.
    pub last: Option<TradeRow>,
    /// Id of the newest change to the book.
    pub update: u64,
    /// Kept trades, oldest first.
    pub trades: VecDeque<TradeRow>,
    /// Kept aggregates, oldest first.
    pub aggregates: VecDeque<Aggregate>,
    /// Candles.
    pub candles: Candles,
    /// For the stream with changes every 100 ms.
    pub fast: Changes,
    /// For the stream with changes every second.
    pub slow: Changes,
    open: Option<Aggregate>,
    next_aggregate: u64,
    trades_kept: usize,
}

impl Live {
    fn new(trades_kept: usize, minutes_kept: usize, next_aggregate: u64) -> Self {
        Self {
            book: Book::default(),
            top: None,
            last: None,
            update: 0,
            trades: VecDeque::new(),
            aggregates: VecDeque::new(),
            candles: Candles::new(minutes_kept),
            fast: Changes::default(),
            slow: Changes::default(),
            open: None,
            next_aggregate,
            trades_kept,
        }
    }

    /// Applies a change to the book.
    pub fn level(&mut self, side: Side, price: i64, quantity: i64, update: u64) {
        self.book.set(side, price, quantity);
        self.update = update;
        self.fast.add(side, price, quantity, update);
        self.slow.add(side, price, quantity, update);
    }

    /// Changes the book in between the market's own changes.
    pub fn change(&mut self, side: Side, price: i64, quantity: i64) {
        self.level(side, price, quantity, self.update + 1);
    }

    /// Takes a quantity out of a recorded book and its touch, until the recording says otherwise. No update is told.
    pub fn take_replayed(&mut self, side: Side, price: i64, quantity: i64) {
        let left = (self.book.at(side, price) - quantity).max(0);
        self.book.set(side, price, left);
        if let Some(top) = &mut self.top {
            let touch = if side == Side::Bid { &mut top.bid } else { &mut top.ask };
            if touch.0 == price {
                touch.1 = (touch.1 - quantity).max(0);
            }
        }
    }

    /// Keeps a trade.
    pub fn trade(&mut self, trade: TradeRow) {
        self.last = Some(trade);
        self.candles.trade(&trade);
        self.trades.push_back(trade);
        while self.trades.len() > self.trades_kept {
            self.trades.pop_front();
        }
    }

    /// Adds a trade to the aggregate that it belongs to. Returns the aggregate that this completes: the one before when the trade
    /// does not belong to it.
    pub fn aggregate(&mut self, trade: &TradeRow) -> Option<Aggregate> {
        if let Some(open) = &mut self.open
            && open.trade.price == trade.price
            && open.trade.stamp == trade.stamp
        {
            open.trade.quantity += trade.quantity;
            open.last = trade.id;
            return None;
        }
        let done = self.close_aggregate();
        self.open = Some(Aggregate { id: self.next_aggregate, trade: *trade, last: trade.id });
        self.next_aggregate += 1;
        done
    }

    /// Completes the open aggregate.
    pub fn close_aggregate(&mut self) -> Option<Aggregate> {
        let done = self.open.take()?;
        self.aggregates.push_back(done);
        while self.aggregates.len() > AGGREGATES_KEPT {
            self.aggregates.pop_front();
        }
        Some(done)
    }

    /// Takes what changed since the last time; `None` when nothing did.
    pub fn take_fast(&mut self) -> Option<Changes> {
        if self.fast.first == 0 { None } else { Some(std::mem::take(&mut self.fast)) }
    }

    /// The same for the slow stream.
    pub fn take_slow(&mut self) -> Option<Changes> {
        if self.slow.first == 0 { None } else { Some(std::mem::take(&mut self.slow)) }
    }

    /// Last price: of the newest trade, else of the newest candle, else the middle of the book.
    #[must_use]
    pub fn last_price(&self) -> Option<i64> {
        self.last
            .map(|trade| trade.price)
            .or_else(|| self.candles.day().map(|day| day.close))
            .or_else(|| self.top.map(|top| top.bid.0))
    }

    /// Trades from `id` on, at most `limit`, oldest first.
    #[must_use]
    pub fn trades_from(&self, id: u64, limit: usize) -> Vec<TradeRow> {
        let begin = self.trades.partition_point(|trade| trade.id < id);
        self.trades.range(begin..).take(limit).copied().collect()
    }

    /// The newest `limit` trades, oldest first.
    #[must_use]
    pub fn trades_last(&self, limit: usize) -> Vec<TradeRow> {
        self.trades.range(self.trades.len().saturating_sub(limit)..).copied().collect()
    }
}

/// Whether the seeded market moves a symbol. Written and read under the symbol's lock.
#[derive(Debug, Default)]
pub struct Motion {
    frozen: AtomicBool,
    stale: AtomicBool,
    quiet: AtomicBool,
}

impl Motion {
    /// Stops the market, or lets it go on from where it is by then.
    pub fn freeze(&self, frozen: bool) {
        if self.frozen.swap(frozen, Ordering::AcqRel) && !frozen {
            self.stale.store(true, Ordering::Release);
        }
    }

    /// Whether a market that stands still says nothing at all, or its price once a second.
    pub fn be_quiet(&self, quiet: bool) {
        self.quiet.store(quiet, Ordering::Release);
    }

    /// Whether it stands still and says its price all the same.
    #[must_use]
    pub fn beats(&self) -> bool {
        self.is_frozen() && !self.quiet.load(Ordering::Acquire)
    }

    /// Whether it stands still.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// Whether the book must be taken anew from the market; says so once.
    pub fn take_stale(&self) -> bool {
        self.stale.swap(false, Ordering::AcqRel)
    }
}

/// A symbol of an exchange.
#[derive(Debug)]
pub struct Symbol {
    /// Its settings.
    pub config: MarketConfig,
    /// `BTCUSDT`, shared with frames.
    pub name: Arc<str>,
    /// Fed by a recording and not by the seeded market.
    pub replayed: bool,
    /// Ids of streams, made once.
    pub topics: Topics,
    /// What trading in it means.
    pub terms: Terms,
    /// Whether the seeded market moves it.
    pub motion: Motion,
    /// What BTCTurk last told about the book.
    pub(crate) board: Mutex<crate::btcturk::Board>,
    live: Mutex<Live>,
}

/// Names of a symbol's streams at its venue.
#[derive(Debug)]
pub struct Topics {
    /// Trades.
    pub trade: Arc<str>,
    /// Best bid and ask.
    pub top: Arc<str>,
    /// Aggregated trades.
    pub aggregate: Arc<str>,
    /// Book changes every 100 ms.
    pub depth_fast: Arc<str>,
    /// Book changes every second.
    pub depth_slow: Arc<str>,
}

impl Symbol {
    /// An empty symbol.
    #[must_use]
    pub fn new(config: MarketConfig, replayed: bool, trades_kept: usize, minutes_kept: usize) -> Self {
        let name = config.symbol.clone();
        let lower = name.to_ascii_lowercase();
        let topic = |binance: &str, btcturk: &str| -> Arc<str> {
            match config.venue {
                Venue::Binance => format!("{lower}@{binance}").into(),
                Venue::Btcturk | Venue::Bist => format!("{btcturk}:{name}").into(),
            }
        };
        let topics = Topics {
            trade: topic("trade", "trade"),
            top: topic("bookTicker", "ticker"),
            aggregate: topic("aggTrade", "-"),
            depth_fast: topic("depth@100ms", "obdiff"),
            depth_slow: topic("depth", "orderbook"),
        };
        Self {
            name: name.into(),
            replayed,
            topics,
            terms: Terms::new(&config),
            motion: Motion::default(),
            board: Mutex::default(),
            live: Mutex::new(Live::new(trades_kept, minutes_kept, 1)),
            config,
        }
    }

    /// The state, locked. Never held across an await.
    pub fn live(&self) -> MutexGuard<'_, Live> {
        // A panic while the lock was held leaves at worst a half-told trade: the simulator goes on.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies an event of the seeded market at `now_ms`. Returns the trade row when it was a trade.
    pub fn apply(live: &mut Live, venue: Venue, event: Event, now_ms: i64) -> Option<TradeRow> {
        match event {
            // Orders and tests change the book in between: ids go on from the last one, whoever made it.
            Event::Level { side, price, quantity, update } => {
                let update = if live.update == 0 { update } else { live.update + 1 };
                live.level(side, price, quantity, update);
                None
            }
            // What an order took is gone, also when the market has not noticed yet.
            Event::Top { bid, ask, .. } => {
                let bid = live.book.best(Side::Bid).unwrap_or(bid);
                let ask = live.book.best(Side::Ask).unwrap_or(ask);
                live.top = Some(Top { bid, ask, update: live.update });
                None
            }
            Event::Trade { id, price, quantity, buyer_is_maker, .. } => {
                let id = match venue {
                    // No holes, also after a test traded by hand.
                    Venue::Binance => live.last.map_or(id, |last| last.id + 1),
                    Venue::Btcturk | Venue::Bist => ticks(now_ms).max(live.last.map_or(0, |last| last.id + 1)),
                };
                let trade = TradeRow::new(id, price, quantity, now_ms, buyer_is_maker);
                live.trade(trade);
                Some(trade)
            }
        }
    }

    /// Candles of an interval, made from trades when it is shorter than a minute.
    #[must_use]
    pub fn candles(live: &Live, interval: crate::candles::Interval, from: i64, to: i64) -> Vec<Candle> {
        match interval {
            crate::candles::Interval::Fixed(1_000) => Candles::seconds(&live.trades, from, to),
            _ => live.candles.list(interval, from, to),
        }
    }
}

/// A time as BTCTurk's ids show it: 100 ns since year 1.
#[must_use]
pub fn ticks(time_ms: i64) -> u64 {
    u64::try_from(621_355_968_000_000_000 + time_ms * 10_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Live {
        Live::new(1_000, 100, 1)
    }

    #[test]
    fn a_trade_row_is_small_and_keeps_its_side() {
        assert_eq!(std::mem::size_of::<TradeRow>(), 32);
        let trade = TradeRow::new(5, 2 * units::ONE, 3 * units::ONE, 1_723_161_255_342, true);
        assert_eq!((trade.time_ms(), trade.buyer_is_maker(), trade.amount()), (1_723_161_255_342, true, 6 * units::ONE));
    }

    #[test]
    fn aggregates_join_trades_of_one_price_side_and_instant() {
        let mut live = live();
        let one = units::ONE;
        let rows = [(1, 10, 100, false), (2, 10, 100, false), (3, 11, 100, false), (4, 11, 101, false), (5, 11, 101, true)];
        let mut done = Vec::new();
        for (id, price, time, maker) in rows {
            done.extend(live.aggregate(&TradeRow::new(id, price * one, one, time, maker)));
        }
        done.extend(live.close_aggregate());
        let spans: Vec<_> = done.iter().map(|each| (each.id, each.trade.id, each.last, each.trade.quantity / one)).collect();
        assert_eq!(spans, [(1, 1, 2, 2), (2, 3, 3, 1), (3, 4, 4, 1), (4, 5, 5, 1)]);
    }

    #[test]
    fn trades_are_kept_within_the_bound() {
        let mut live = live();
        for id in 0..1_500 {
            live.trade(TradeRow::new(id, units::ONE, units::ONE, 0, false));
        }
        assert_eq!((live.trades.len(), live.trades[0].id), (1_000, 500));
        assert_eq!(live.trades_from(1_498, 10).len(), 2);
        assert_eq!(live.trades_last(3).iter().map(|trade| trade.id).collect::<Vec<_>>(), [1_497, 1_498, 1_499]);
    }

    #[test]
    fn btcturk_ids_are_ticks() {
        // The documented relation, with the recorded trade 637544252214980918 at 1618828421498.
        assert_eq!(ticks(1_618_828_421_498), 637_544_252_214_980_000);
    }
}
