//! What everything is worth: one common factor, a factor of each asset, bursts of volatility.

use super::rng::Rng;
use crate::config::AssetConfig;

/// Seconds in a year of a market that never closes.
const YEAR_S: f64 = 365.25 * 86_400.0;
/// A price pulls back to where it began with this time constant, so that a simulator that runs for months stays in range.
const PULL_S: f64 = 10.0 * 86_400.0;
/// Largest move of one step, either way.
const MOVE_MAX: f64 = 0.01;
/// How often volatility jumps, and how long a jump lasts.
const JUMP_EVERY_S: f64 = 90.0;
const CALM_AFTER_S: f64 = 20.0;
const HEAT_MAX: f64 = 8.0;
/// How long a price keeps its direction in a market with momentum.
const MOMENTUM_S: f64 = 20.0;

#[derive(Clone, Debug)]
struct Asset {
    name: String,
    start: f64,
    price: f64,
    beta: f64,
    volatility: f64,
    rng: Rng,
    /// Direction that it goes on in, deviation 1. Of a market without momentum it stays 0 and draws nothing.
    drift: f64,
    drift_rng: Rng,
}

impl Asset {
    /// Move of `seconds` in the direction that the price keeps, which changes a little.
    fn goes_on(&mut self, seconds: f64, common_volatility: f64) -> f64 {
        let share = (seconds / MOMENTUM_S).min(1.0);
        self.drift += self.drift_rng.bell() * (2.0 * share).sqrt() - self.drift * share;
        let a_second = (self.beta * common_volatility).hypot(self.volatility) / YEAR_S.sqrt();
        self.drift * a_second * seconds
    }
}

/// Prices of all assets in USD.
#[derive(Clone, Debug)]
pub struct Prices {
    assets: Vec<Asset>,
    common: Rng,
    common_volatility: f64,
    heat: f64,
    momentum: f64,
}

impl Prices {
    /// `common_volatility` is a year's, as a fraction.
    #[must_use]
    pub fn new(seed: u64, assets: &[AssetConfig], common_volatility: f64) -> Self {
        let asset = |asset: &AssetConfig| Asset {
            name: asset.asset.clone(),
            start: asset.usd,
            price: asset.usd,
            beta: asset.beta,
            volatility: asset.volatility,
            rng: Rng::new(seed, &format!("asset {}", asset.asset)),
            drift: 0.0,
            drift_rng: Rng::new(seed, &format!("drift of {}", asset.asset)),
        };
        let (assets, common) = (assets.iter().map(asset).collect(), Rng::new(seed, "common"));
        Self { assets, common, common_volatility, heat: 1.0, momentum: 0.0 }
    }

    /// Prices that keep their direction for about [`MOMENTUM_S`]: every second they go on by this many of the deviations that
    /// a second has anyway. 0 is a market without momentum.
    #[must_use]
    pub fn with_momentum(self, momentum: f64) -> Self {
        Self { momentum, ..self }
    }

    /// Lets `seconds` pass.
    pub fn advance(&mut self, seconds: f64) {
        if self.common.chance((seconds / JUMP_EVERY_S).min(1.0)) {
            self.heat = (self.heat * (1.5 + 2.5 * self.common.unit())).min(HEAT_MAX);
        }
        self.heat = 1.0 + (self.heat - 1.0) * (1.0 - (seconds / CALM_AFTER_S).min(1.0));
        let scale = (seconds / YEAR_S).sqrt() * self.heat;
        let common = self.common.bell() * self.common_volatility * scale;
        for asset in &mut self.assets {
            let pull = (asset.start - asset.price) / asset.start * (seconds / PULL_S).min(1.0);
            let own = asset.rng.bell() * asset.volatility * scale;
            let on = if self.momentum > 0.0 { self.momentum * asset.goes_on(seconds, self.common_volatility) } else { 0.0 };
            asset.price *= 1.0 + (asset.beta * common + own + pull + on).clamp(-MOVE_MAX, MOVE_MAX);
        }
    }

    /// 1 in calm times, up to 8 in a burst: how much faster than usual prices move and trades arrive.
    #[must_use]
    pub fn heat(&self) -> f64 {
        self.heat
    }

    /// One `base` in `quote`; `None` for an unknown asset. Crosses agree with each other by construction.
    #[must_use]
    pub fn cross(&self, base: &str, quote: &str) -> Option<f64> {
        let of = |name: &str| self.assets.iter().find(|asset| asset.name == name).map(|asset| asset.price);
        Some(of(base)? / of(quote)?)
    }
}
