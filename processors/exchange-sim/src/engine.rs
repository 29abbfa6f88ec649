//! Drives the seeded market by the wall clock and tells what happens to who listens.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::binance::{self, frames};
use crate::btcturk;
use crate::candles::Candle;
use crate::config::Venue;
use crate::error::Error;
use crate::live::{Symbol, TradeRow};
use crate::market::{Event, Market, PastMinute, STEP_MS, Side, Universe};
use crate::units;
use crate::world::{World, clock_ms};

/// Market time that passes before anybody can look, so that there are books and trades.
const WARM_UP_STEPS: i64 = 1_500;
/// Steps that are made up for at once; beyond that the market just goes on (the machine slept).
const CATCH_UP_STEPS_MAX: u64 = 250;
const STEPS_PER_FAST_DEPTH: u64 = 100 / STEP_MS;
const STEPS_PER_SECOND: u64 = 1_000 / STEP_MS;
/// BTCTurk tells books and tickers this often.
const BTCTURK_STEPS: u64 = 760 / STEP_MS;

/// The seeded market and the symbols that it feeds.
pub(crate) struct Engine {
    universe: Universe,
    symbols: Vec<Arc<Symbol>>,
    klines: HashMap<String, i64>,
}

impl Engine {
    /// Builds the market, its past and its first books.
    pub(crate) fn new(world: &World) -> Result<Self, Error> {
        let config = &world.config;
        let mut universe =
            Universe::new(config.seed, &config.assets, config.common_volatility, &config.markets, config.activity)?
                .with_momentum(config.momentum);
        let symbols: Vec<Arc<Symbol>> =
            (config.markets.iter()).filter_map(|market| world.exchange(market.venue).symbol(&market.symbol).cloned()).collect();
        let step_ms = i64::try_from(STEP_MS).unwrap_or(20);
        let begin = clock_ms() - WARM_UP_STEPS * step_ms;
        let past = universe.past(usize::try_from(config.history_hours).unwrap_or(1) * 60);
        for (symbol, past) in symbols.iter().zip(past).filter(|(symbol, _)| !symbol.replayed) {
            remember(symbol, &past, begin);
        }
        let mut engine = Self { universe, symbols, klines: HashMap::new() };
        for step in 0..WARM_UP_STEPS {
            engine.step(world, begin + step * step_ms, false);
        }
        Ok(engine)
    }

    fn step(&mut self, world: &World, now_ms: i64, tell: bool) {
        let symbols = &self.symbols;
        for (symbol, market) in symbols.iter().zip(self.universe.markets()).filter(|(symbol, _)| symbol.motion.take_stale()) {
            catch_up(world, symbol, market);
        }
        self.universe.step(|index, event| {
            if let Some(symbol) = symbols.get(index).filter(|symbol| !symbol.replayed && !symbol.motion.is_frozen()) {
                happen(world, symbol, event, now_ms, tell);
            }
        });
    }

    /// Runs until the simulator stops.
    pub(crate) async fn run(mut self, world: Arc<World>) {
        let begin = Instant::now();
        let mut done = 0_u64;
        let mut timer = tokio::time::interval(Duration::from_millis(STEP_MS));
        timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = world.shutdown.cancelled() => return,
                _ = timer.tick() => {}
            }
            let due = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX) / STEP_MS;
            if due.saturating_sub(done) > CATCH_UP_STEPS_MAX {
                done = due - CATCH_UP_STEPS_MAX;
            }
            while done < due {
                done += 1;
                self.step(&world, clock_ms(), true);
                self.timers(&world, done);
            }
        }
    }

    fn timers(&mut self, world: &World, step: u64) {
        if step.is_multiple_of(STEPS_PER_FAST_DEPTH) {
            for symbol in world.binance.symbols.iter().filter(|symbol| !symbol.replayed) {
                tell_depth(world, symbol, step.is_multiple_of(STEPS_PER_SECOND));
            }
        }
        if step.is_multiple_of(BTCTURK_STEPS) {
            btcturk::tell(&world.btcturk);
        }
        if step.is_multiple_of(STEPS_PER_SECOND) {
            let now = clock_ms();
            for symbol in self.symbols.iter().filter(|symbol| !symbol.replayed) {
                let mut live = symbol.live();
                live.candles.advance(now);
                if symbol.motion.beats() {
                    world.beat(symbol, &mut live);
                }
            }
            self.tell_klines(world, step.is_multiple_of(2 * STEPS_PER_SECOND));
        }
    }

    /// Sends each candle that closed since the last time, and the open one.
    fn tell_klines(&mut self, world: &World, slow: bool) {
        let hub = &world.binance.hub;
        let wanted = hub.wanted(|topic| topic.contains("@kline_"));
        self.klines.retain(|topic, _| wanted.contains(topic));
        for topic in wanted {
            let Some((name, interval_name, interval)) = binance::parse_kline_topic(&topic) else { continue };
            let Some(symbol) = world.binance.symbol(&name).filter(|_| slow || interval_name == "1s") else { continue };
            let live = symbol.live();
            let Some(newest) = live.last.map(|trade| trade.time_ms()).or_else(|| live.candles.newest_ms()) else { continue };
            let newest = newest.max(live.candles.newest_ms().unwrap_or(newest));
            let from = self.klines.get(&topic).copied().unwrap_or_else(|| interval.open(newest));
            let candles = Symbol::candles(&live, interval, from, i64::MAX);
            drop(live);
            let shared: Arc<str> = Arc::from(topic.as_str());
            for (index, candle) in candles.iter().enumerate() {
                let closed = index + 1 < candles.len();
                hub.publish(&topic, || {
                    frames::kline(symbol, &shared, interval_name, interval, candle, closed, world.now_ms(Venue::Binance))
                });
            }
            if let Some(open) = candles.last() {
                self.klines.insert(topic, open.open_ms);
            }
        }
    }
}

/// After a freeze: the book becomes the market's again.
fn catch_up(world: &World, symbol: &Symbol, market: &Market) {
    let mut live = symbol.live();
    for side in [Side::Bid, Side::Ask] {
        let (old, new): (BTreeMap<i64, i64>, BTreeMap<i64, i64>) =
            (live.book.levels(side).collect(), market.levels(side).collect());
        for price in old.keys().filter(|price| !new.contains_key(price)) {
            live.change(side, *price, 0);
        }
        for (price, quantity) in new.iter().filter(|(price, quantity)| old.get(price) != Some(quantity)) {
            live.change(side, *price, *quantity);
        }
    }
    world.show_top(symbol, &mut live);
}

fn remember(symbol: &Symbol, past: &[PastMinute], end_ms: i64) {
    let end = end_ms - end_ms.rem_euclid(60_000);
    let mut live = symbol.live();
    for (ago, minute) in (1_i64..).zip(past.iter().rev()).collect::<Vec<_>>().into_iter().rev() {
        let [open, high, low, close] = minute.prices;
        let middle = i64::midpoint(high, low);
        live.candles.push(Candle {
            open_ms: end - ago * 60_000,
            open,
            high,
            low,
            close,
            volume: minute.volume,
            amount: units::product(minute.volume, middle),
            taker_volume: minute.taker_volume,
            taker_amount: units::product(minute.taker_volume, middle),
            trades: minute.trades,
            ids: (0, 0),
        });
    }
}

fn happen(world: &World, symbol: &Symbol, event: Event, now_ms: i64, tell: bool) {
    let venue = symbol.config.venue;
    let hub = &world.exchange(venue).hub;
    // Told under the lock: whoever joins under it misses nothing and sees nothing twice.
    let mut live = symbol.live();
    let trade = Symbol::apply(&mut live, venue, event, now_ms);
    if tell && !matches!(event, Event::Level { .. }) {
        world.market_moved(symbol, &mut live, &event);
    }
    match (venue, event) {
        (Venue::Binance, Event::Trade { last_of_order, .. }) => {
            let Some(trade) = trade else { return };
            let mut done: Vec<_> = live.aggregate(&trade).into_iter().collect();
            if last_of_order {
                done.extend(live.close_aggregate());
            }
            if tell {
                tell_trade(world, symbol, &trade);
                for aggregate in done {
                    hub.publish(&symbol.topics.aggregate, || frames::aggregate(symbol, &aggregate, world.now_ms(venue)));
                }
            }
        }
        (Venue::Binance, Event::Top { .. }) if tell => {
            if let Some(top) = live.top {
                hub.publish(&symbol.topics.top, || frames::top(symbol, &top));
            }
        }
        (Venue::Btcturk, Event::Trade { .. }) if tell => {
            if let Some(trade) = trade {
                hub.publish(&symbol.topics.trade, || btcturk::trade(symbol, &trade, world.faults.skew_ms(venue)));
            }
        }
        _ => {}
    }
}

fn tell_trade(world: &World, symbol: &Symbol, trade: &TradeRow) {
    let hub = &world.binance.hub;
    hub.publish(&symbol.topics.trade, || frames::trade(symbol, trade, world.faults.skew_ms(Venue::Binance)));
}

fn tell_depth(world: &World, symbol: &Symbol, slow_too: bool) {
    let hub = &world.binance.hub;
    let mut live = symbol.live();
    let fast = live.take_fast();
    let slow = if slow_too { live.take_slow() } else { None };
    for (changes, topic) in [(fast, &symbol.topics.depth_fast), (slow, &symbol.topics.depth_slow)] {
        if let Some(changes) = changes {
            hub.publish(topic, || frames::depth(symbol, topic, &changes, world.now_ms(Venue::Binance)));
        }
    }
}
