//! One market: a book that follows the fair price, and orders that hit it in self-exciting bursts.

use super::{Book, Event, PastMinute, Prices, Rng, Side};
use crate::config::{MarketConfig, Venue};
use crate::error::Error;
use crate::units;

/// Levels a side keeps; BTCTurk shows 100.
const LEVELS_MIN: usize = 105;
const LEVELS_MAX: usize = 150;
/// Levels that one order may eat through.
const SWEEP_LEVELS_MAX: usize = 5;
/// Orders in one step, however hot the market.
const ORDERS_PER_STEP_MAX: u32 = 64;
/// Each order makes this many more per second arrive, as a share of the market's own rate, for about `EXCITED_S`.
const EXCITEMENT: f64 = 0.35;
const EXCITED_S: f64 = 1.5;
const EXCITEMENT_MAX: f64 = 25.0;
/// Quotes placed, changed or cancelled for each order that takes.
const QUOTES_PER_ORDER: f64 = 4.0;
/// How far a venue's price strays from the cross rate, and how fast it comes back.
const BASIS_DEVIATION: f64 = 0.000_15;
const BASIS_RETURN_S: f64 = 30.0;
/// New levels lie within this of the touch, as a share of the price.
const QUOTE_REACH: f64 = 0.003;

/// One market of one venue. Works in whole ticks and lots; events leave in units.
#[derive(Clone, Debug)]
pub struct Market {
    base: String,
    quote: String,
    tick: i64,
    lot: i64,
    spread: f64,
    rate: f64,
    order_quote: f64,
    rng: Rng,
    basis: f64,
    fair: f64,
    excitement: f64,
    last_taker: Side,
    book: Book,
    shown: Option<((i64, i64), (i64, i64))>,
    update: u64,
    trade: u64,
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
impl Market {
    pub(super) fn new(seed: u64, config: &MarketConfig, fair: f64, activity: f64) -> Result<Self, Error> {
        let invalid = |reason: String| Error::config("markets", format!("{}: {reason}", config.symbol));
        let (tick, lot) = (config.tick_units()?, config.lot_units()?);
        if fair / units::float(tick) < 1_000.0 {
            return Err(invalid(format!(
                "tick {} is too coarse for a price near {fair}; it must fit at least 1000 times",
                config.tick
            )));
        }
        let label = format!("{} {}", config.venue, config.symbol);
        let mut ids = Rng::new(seed, &format!("ids of {label}"));
        let (trade, update) = match config.venue {
            Venue::Binance => (100_000_000 + ids.below(3_000_000_000), 1_000_000_000 + ids.below(50_000_000_000)),
            Venue::Btcturk | Venue::Bist => (1, 1),
        };
        Ok(Self {
            base: config.base.clone(),
            quote: config.quote.clone(),
            tick,
            lot,
            spread: config.spread_bps / 10_000.0,
            rate: config.orders_per_s * activity,
            order_quote: config.order_quote,
            rng: Rng::new(seed, &label),
            basis: 0.0,
            fair: fair / units::float(tick),
            excitement: 0.0,
            last_taker: Side::Bid,
            book: Book::default(),
            shown: None,
            update,
            trade,
        })
    }

    /// Id that the next trade will have.
    #[must_use]
    pub fn next_trade_id(&self) -> u64 {
        self.trade
    }

    /// Levels of a side, best first, in units.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.book.levels(side).map(|(price, quantity)| (price * self.tick, quantity * self.lot))
    }

    /// Fair price in units, on the tick.
    pub(super) fn fair_price(&mut self, prices: &Prices) -> i64 {
        self.look(prices);
        (self.fair.round() as i64).max(1) * self.tick
    }

    pub(super) fn past_minute(&mut self, path: &[i64], heat: f64) -> PastMinute {
        let (first, last) = (path.first().copied().unwrap_or(self.tick), path.last().copied().unwrap_or(self.tick));
        let high = path.iter().copied().max().unwrap_or(first);
        let low = path.iter().copied().min().unwrap_or(first);
        let mean = self.rate * 60.0 * heat * (0.6 + 0.8 * self.rng.unit());
        let trades = u64::from(self.rng.count(mean)).max(1);
        let lots = (trades as f64 * self.order_quote / 4.0 / units::float(first) / units::float(self.lot)).max(1.0) as i64;
        let taken = ((lots as f64) * (0.35 + 0.3 * self.rng.unit())) as i64;
        self.trade += trades;
        PastMinute { prices: [first, high, low, last], volume: lots * self.lot, taker_volume: taken * self.lot, trades }
    }

    /// Builds the first book around the fair price. Its levels are told as events by the first step.
    pub(super) fn open(&mut self, prices: &Prices) {
        self.look(prices);
        self.book.clear();
        self.shown = None;
    }

    pub(super) fn step(&mut self, prices: &Prices, seconds: f64, tell: &mut dyn FnMut(Event)) {
        let stray = self.rng.bell() * BASIS_DEVIATION * (2.0 * seconds / BASIS_RETURN_S).sqrt();
        self.basis += stray - self.basis * seconds / BASIS_RETURN_S;
        self.look(prices);
        self.requote(tell);
        self.show(tell);
        self.excitement *= 1.0 - (seconds / EXCITED_S).min(1.0);
        let rate = self.rate * (prices.heat() + self.excitement);
        let orders = self.rng.count(rate * seconds).min(ORDERS_PER_STEP_MAX);
        for _ in 0..orders {
            self.excitement = (self.excitement + EXCITEMENT / self.rate.max(1.0)).min(EXCITEMENT_MAX);
            self.take(tell);
            self.show(tell);
        }
        let quotes = self.rng.count(rate * seconds * QUOTES_PER_ORDER).min(4 * ORDERS_PER_STEP_MAX);
        for _ in 0..quotes {
            self.change_quote(tell);
            self.show(tell);
        }
    }

    fn look(&mut self, prices: &Prices) {
        if let Some(cross) = prices.cross(&self.base, &self.quote) {
            self.fair = (cross * (1.0 + self.basis) / units::float(self.tick)).max(10.0);
        }
    }

    fn spread_ticks(&self) -> i64 {
        ((self.fair * self.spread).round() as i64).max(1)
    }

    /// Moves the touch after the fair price, and keeps both sides deep enough.
    fn requote(&mut self, tell: &mut dyn FnMut(Event)) {
        let spread = self.spread_ticks();
        let middle = match (self.book.best(Side::Bid), self.book.best(Side::Ask)) {
            (Some((bid, _)), Some((ask, _))) => (bid + ask) as f64 / 2.0,
            _ => f64::NEG_INFINITY,
        };
        // A maker does not chase every tick.
        let patience = (spread as f64 * 0.75).max(self.fair * 0.000_02).max(0.75);
        if (self.fair - middle).abs() > patience {
            let bid = ((self.fair - spread as f64 / 2.0).floor() as i64).max(1);
            let ask = bid + spread;
            while let Some((price, _)) = self.book.best(Side::Ask).filter(|(price, _)| *price < ask) {
                self.set(Side::Ask, price, 0, tell);
            }
            while let Some((price, _)) = self.book.best(Side::Bid).filter(|(price, _)| *price > bid) {
                self.set(Side::Bid, price, 0, tell);
            }
            for (side, price) in [(Side::Bid, bid), (Side::Ask, ask)] {
                if self.book.at(side, price) == 0 {
                    let quantity = self.resting_quantity();
                    self.set(side, price, quantity, tell);
                }
            }
        }
        for side in [Side::Bid, Side::Ask] {
            self.fill_up(side, tell);
        }
    }

    /// Levels that were eaten or moved away from are replaced near the touch first, then at the far end.
    fn fill_up(&mut self, side: Side, tell: &mut dyn FnMut(Event)) {
        while self.book.depth(side) < LEVELS_MIN {
            let Some((worst, _)) = self.book.worst(side) else { return };
            let gap = 1 + self.rng.below(((self.fair * 0.000_06) as u64).max(2)) as i64;
            let price = if side == Side::Bid { worst - gap } else { worst + gap };
            if price < 1 {
                return;
            }
            let quantity = self.resting_quantity();
            self.set(side, price, quantity, tell);
        }
        while self.book.depth(side) > LEVELS_MAX {
            let Some((worst, _)) = self.book.worst(side) else { return };
            self.set(side, worst, 0, tell);
        }
    }

    /// One aggressive order.
    fn take(&mut self, tell: &mut dyn FnMut(Event)) {
        let (Some((bid, _)), Some((ask, _))) = (self.book.best(Side::Bid), self.book.best(Side::Ask)) else { return };
        let lean = ((self.fair - (bid + ask) as f64 / 2.0) / (4.0 * self.spread_ticks() as f64)).clamp(-0.3, 0.3);
        let taker = if self.rng.chance(0.25) {
            self.last_taker
        } else if self.rng.chance(0.5 + lean) {
            Side::Bid
        } else {
            Side::Ask
        };
        self.last_taker = taker;
        let eaten = taker.other();
        let mut left = self.taking_quantity();
        let mut fills: [(i64, i64); SWEEP_LEVELS_MAX] = [(0, 0); SWEEP_LEVELS_MAX];
        let mut count = 0;
        while left > 0 && count < SWEEP_LEVELS_MAX && self.book.depth(eaten) > 10 {
            let Some((price, resting)) = self.book.best(eaten) else { break };
            let filled = left.min(resting);
            self.set(eaten, price, resting - filled, tell);
            fills[count] = (price, filled);
            count += 1;
            left -= filled;
        }
        for (index, (price, filled)) in fills[..count].iter().enumerate() {
            tell(Event::Trade {
                id: self.trade,
                price: price * self.tick,
                quantity: filled * self.lot,
                buyer_is_maker: taker == Side::Ask,
                last_of_order: index + 1 == count,
            });
            self.trade += 1;
        }
    }

    /// A maker adds, changes or cancels one level.
    fn change_quote(&mut self, tell: &mut dyn FnMut(Event)) {
        let side = if self.rng.chance(0.5) { Side::Bid } else { Side::Ask };
        let Some((best, resting)) = self.book.best(side) else { return };
        let Some((opposite, _)) = self.book.best(side.other()) else { return };
        let inward = if side == Side::Bid { 1 } else { -1 };
        let gap = (opposite - best).abs();
        let draw = self.rng.unit();
        if draw < 0.30 {
            // The touch breathes.
            let quantity = self.resting_quantity();
            self.set(side, best, (resting / 2 + quantity / 2).max(1), tell);
        } else if draw < 0.45 && gap > 1 && gap > self.spread_ticks() {
            // Somebody improves, up to one tick before the other side.
            let price = best + inward * (1 + self.rng.below((gap - 1) as u64) as i64).min(gap - 1);
            let quantity = self.resting_quantity();
            self.set(side, price, quantity, tell);
        } else if draw < 0.75 {
            let share = self.rng.unit();
            let reach = (self.fair * QUOTE_REACH * share * share) as i64;
            let price = best - inward * reach;
            if price >= 1 {
                let quantity = self.resting_quantity();
                self.set(side, price, quantity, tell);
            }
        } else if self.book.depth(side) > LEVELS_MIN {
            let share = self.rng.unit();
            let nth = (share * share * self.book.depth(side) as f64) as usize;
            let chosen = self.book.levels(side).nth(nth.max(1));
            if let Some((price, _)) = chosen {
                self.set(side, price, 0, tell);
            }
        }
    }

    fn set(&mut self, side: Side, price: i64, quantity: i64, tell: &mut dyn FnMut(Event)) {
        self.book.set(side, price, quantity);
        self.update += 1;
        tell(Event::Level { side, price: price * self.tick, quantity: quantity * self.lot, update: self.update });
    }

    /// Tells the touch when it changed.
    fn show(&mut self, tell: &mut dyn FnMut(Event)) {
        let (Some(bid), Some(ask)) = (self.book.best(Side::Bid), self.book.best(Side::Ask)) else { return };
        if self.shown == Some((bid, ask)) {
            return;
        }
        self.shown = Some((bid, ask));
        let units = |(price, quantity): (i64, i64)| (price * self.tick, quantity * self.lot);
        tell(Event::Top { bid: units(bid), ask: units(ask), update: self.update });
    }

    fn lots(&self, quote: f64) -> i64 {
        let price = self.fair * units::float(self.tick);
        ((quote / price / units::float(self.lot)) as i64).max(1)
    }

    /// Heavy-tailed: most orders are small, one in fifty is twenty times the usual.
    fn taking_quantity(&mut self) -> i64 {
        let quote = self.order_quote * 0.1 / (self.rng.unit() + 0.01);
        self.lots(quote)
    }

    fn resting_quantity(&mut self) -> i64 {
        let quote = self.order_quote * (0.2 + 0.3 / (self.rng.unit() + 0.05));
        self.lots(quote)
    }
}
