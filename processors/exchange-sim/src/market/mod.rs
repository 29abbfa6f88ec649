//! The seeded market: no clock, no I/O. `step` lets a fixed slice of market time pass and says what happened in it; the same seed
//! gives the same events, step for step.

mod book;
mod core;
mod prices;
mod rng;

pub use book::{Book, Side};
pub use core::Market;
pub use prices::Prices;
pub use rng::Rng;

use crate::config::{AssetConfig, MarketConfig};
use crate::error::Error;

/// Market time that passes in one step, ms.
pub const STEP_MS: u64 = 20;
const STEP_S: f64 = 0.02;
/// Prices are looked at this often while history is made up, seconds.
const HISTORY_STEP_S: f64 = 10.0;

/// Something that happened in one market. Prices and quantities in units of 10⁻⁸.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A price level now has this quantity; 0 means it is gone. `update` rises by one with each.
    Level {
        /// Which side of the book.
        side: Side,
        /// The level.
        price: i64,
        /// What rests there now.
        quantity: i64,
        /// Id of this change.
        update: u64,
    },
    /// The best bid or ask changed.
    Top {
        /// Best bid, price and quantity.
        bid: (i64, i64),
        /// Best ask, price and quantity.
        ask: (i64, i64),
        /// Id of the last change to the book.
        update: u64,
    },
    /// A trade; ids of one market have no holes.
    Trade {
        /// Its id.
        id: u64,
        /// Its price.
        price: i64,
        /// Its quantity.
        quantity: i64,
        /// True when the aggressor sold.
        buyer_is_maker: bool,
        /// True for the last trade of one incoming order.
        last_of_order: bool,
    },
}

/// One minute that was made up before the market began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastMinute {
    /// Open, high, low, close.
    pub prices: [i64; 4],
    /// Traded quantity.
    pub volume: i64,
    /// The part of it that buyers took.
    pub taker_volume: i64,
    /// How many trades.
    pub trades: u64,
}

/// All markets of both venues over one set of prices.
#[derive(Clone, Debug)]
pub struct Universe {
    prices: Prices,
    markets: Vec<Market>,
}

impl Universe {
    /// `activity` multiplies how often orders and trades arrive.
    ///
    /// # Errors
    /// A market whose base or quote has no price, or whose tick or lot does not fit.
    pub fn new(
        seed: u64,
        assets: &[AssetConfig],
        common_volatility: f64,
        markets: &[MarketConfig],
        activity: f64,
    ) -> Result<Self, Error> {
        let prices = Prices::new(seed, assets, common_volatility);
        let mut list = Vec::with_capacity(markets.len());
        for market in markets {
            let fair = prices.cross(&market.base, &market.quote).ok_or_else(|| {
                Error::config(
                    "markets",
                    format!(
                        "{}: {} or {} is not in `assets`; add it there with its price in USD",
                        market.symbol, market.base, market.quote
                    ),
                )
            })?;
            list.push(Market::new(seed, market, fair, activity)?);
        }
        Ok(Self { prices, markets: list })
    }

    /// The same with prices that keep their direction for a while; see [`Prices::with_momentum`].
    #[must_use]
    pub fn with_momentum(self, momentum: f64) -> Self {
        Self { prices: self.prices.with_momentum(momentum), ..self }
    }

    /// Makes up `minutes` of past, oldest first, for every market, in the order of the markets. To be called before the first step:
    /// the market goes on from where this ends.
    pub fn past(&mut self, minutes: usize) -> Vec<Vec<PastMinute>> {
        let mut past = vec![Vec::with_capacity(minutes); self.markets.len()];
        for _ in 0..minutes {
            let mut paths = vec![Vec::with_capacity(8); self.markets.len()];
            let mut steps = 0.0;
            while steps < 60.0 / HISTORY_STEP_S {
                for (market, path) in self.markets.iter_mut().zip(&mut paths) {
                    path.push(market.fair_price(&self.prices));
                }
                self.prices.advance(HISTORY_STEP_S);
                steps += 1.0;
            }
            for ((market, path), past) in self.markets.iter_mut().zip(&mut paths).zip(&mut past) {
                path.push(market.fair_price(&self.prices));
                past.push(market.past_minute(path, self.prices.heat()));
            }
        }
        for market in &mut self.markets {
            market.open(&self.prices);
        }
        past
    }

    /// Lets one step pass. `happened(market, event)` is called for each event in order, with the market's index.
    pub fn step(&mut self, mut happened: impl FnMut(usize, Event)) {
        self.prices.advance(STEP_S);
        for (index, market) in self.markets.iter_mut().enumerate() {
            market.step(&self.prices, STEP_S, &mut |event| happened(index, event));
        }
    }

    /// The markets, in the order in which they were given.
    #[must_use]
    pub fn markets(&self) -> &[Market] {
        &self.markets
    }
}

#[cfg(test)]
mod tests;
