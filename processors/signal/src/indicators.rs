//! RSI, EMA, MACD and trend, one close at a time. Each value costs the same whatever came before.
//!
//! Values are those of TA-Lib (Python package 0.8.2, default compatibility, unstable period 0) from the first one on, where a docstring does
//! not say otherwise. A close that is not a finite number is refused and changes nothing.

use serde::{Deserialize, Serialize};

/// The close is NaN or infinite; the indicator is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a finite number")]
pub struct NotFinite;

fn finite(close: f64) -> Result<f64, NotFinite> {
    if close.is_finite() { Ok(close) } else { Err(NotFinite) }
}

/// Relative strength index with Wilder's smoothing.
///
/// The first value comes with close `period + 1`: average gain and loss begin as plain means of the first `period` changes
/// and go on as `(average × (period − 1) + change) / period`; the value is `100 × gain / (gain + loss)`, 0 to 100. Where
/// nothing has moved at all it is 50 (neither bought nor sold); TA-Lib says 0 there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rsi {
    period: u32,
    last: Option<f64>,
    changes: u32,
    gain: f64,
    loss: f64,
}

impl Rsi {
    /// `period` is at least 1.
    #[must_use]
    pub fn new(period: u32) -> Self {
        Self { period: period.max(1), last: None, changes: 0, gain: 0.0, loss: 0.0 }
    }

    /// Closes until the first value.
    #[must_use]
    pub fn warm_up(&self) -> u32 {
        self.period + 1
    }

    /// Takes in a close; none while it is not warm.
    ///
    /// # Errors
    /// [`NotFinite`].
    pub fn update(&mut self, close: f64) -> Result<Option<f64>, NotFinite> {
        let close = finite(close)?;
        let Some(last) = self.last.replace(close) else { return Ok(None) };
        let change = close - last;
        let (gain, loss) = (change.max(0.0), (-change).max(0.0));
        let period = f64::from(self.period);
        if self.changes < self.period {
            self.changes += 1;
            self.gain += gain;
            self.loss += loss;
            if self.changes < self.period {
                return Ok(None);
            }
            self.gain /= period;
            self.loss /= period;
        } else {
            self.gain = (self.gain * (period - 1.0) + gain) / period;
            self.loss = (self.loss * (period - 1.0) + loss) / period;
        }
        let moved = self.gain + self.loss;
        Ok(Some(if moved > 0.0 { 100.0 * (self.gain / moved) } else { 50.0 }))
    }
}

/// Exponential moving average, `k = 2 / (period + 1)`, begun as the plain mean of the first `period` values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ema {
    period: u32,
    count: u32,
    value: f64,
}

impl Ema {
    /// `period` is at least 1.
    #[must_use]
    pub fn new(period: u32) -> Self {
        Self { period: period.max(1), count: 0, value: 0.0 }
    }

    /// Takes in a value; none for the first `period − 1`.
    ///
    /// # Errors
    /// [`NotFinite`].
    pub fn update(&mut self, value: f64) -> Result<Option<f64>, NotFinite> {
        let value = finite(value)?;
        let period = f64::from(self.period);
        if self.count < self.period {
            self.count += 1;
            self.value += value;
            if self.count < self.period {
                return Ok(None);
            }
            self.value /= period;
        } else {
            self.value += (value - self.value) * (2.0 / (period + 1.0));
        }
        Ok(Some(self.value))
    }
}

/// What [`Macd`] says about one close, in the unit of the price.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MacdValue {
    /// Fast average − slow average.
    pub macd: f64,
    /// Average of `macd`.
    pub signal: f64,
    /// `macd − signal`.
    pub histogram: f64,
}

/// Moving average convergence/divergence.
///
/// Seeded as TA-Lib does it: both averages have their first value at close `slow`, so the fast one begins as the mean of
/// closes `slow − fast + 1` to `slow`, not of the first `fast` ones; the signal begins as the mean of the first `signal`
/// differences. The first value comes with close `slow + signal − 1`. (pandas' `ewm(adjust=False)` begins with the first
/// close instead and agrees only later.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Macd {
    skip: u32,
    warm_up: u32,
    fast: Ema,
    slow: Ema,
    signal: Ema,
}

impl Macd {
    /// Periods of at least 1, `fast` below `slow` ([`Model`](crate::model::Model) sees to it).
    #[must_use]
    pub fn new(fast: u32, slow: u32, signal: u32) -> Self {
        let (fast, slow, signal) = (fast.max(1), slow.max(1), signal.max(1));
        Self {
            skip: slow.saturating_sub(fast),
            warm_up: slow + signal - 1,
            fast: Ema::new(fast),
            slow: Ema::new(slow),
            signal: Ema::new(signal),
        }
    }

    /// Closes until the first value.
    #[must_use]
    pub fn warm_up(&self) -> u32 {
        self.warm_up
    }

    /// Takes in a close; none while it is not warm.
    ///
    /// # Errors
    /// [`NotFinite`].
    pub fn update(&mut self, close: f64) -> Result<Option<MacdValue>, NotFinite> {
        let slow = self.slow.update(close)?;
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(None);
        }
        let (Some(fast), Some(slow)) = (self.fast.update(close)?, slow) else { return Ok(None) };
        let macd = fast - slow;
        let signal = self.signal.update(macd)?;
        Ok(signal.map(|signal| MacdValue { macd, signal, histogram: macd - signal }))
    }
}

/// Slope of the least-squares line through the newest `period` closes, as a share of their mean, per candle: 0.001 is a
/// price that rises by a thousandth with each candle. Equal to TA-Lib's `LINEARREG_SLOPE / SMA`.
///
/// Two sums are kept up per close. They are of differences from one of the closes in the window, and made anew once a
/// window, so that neither the price's size nor the number of closes costs digits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    period: u32,
    /// The newest closes; `at` is the place of the oldest one once it is full.
    window: Vec<f64>,
    at: usize,
    base: f64,
    /// Σ (close − base).
    sum: f64,
    /// Σ place × (close − base), the oldest at place 0.
    weighted: f64,
}

impl Trend {
    /// `period` is at least 2.
    #[must_use]
    pub fn new(period: u32) -> Self {
        let period = period.max(2);
        Self { period, window: Vec::with_capacity(period as usize), at: 0, base: 0.0, sum: 0.0, weighted: 0.0 }
    }

    /// Closes until the first value.
    #[must_use]
    pub fn warm_up(&self) -> u32 {
        self.period
    }

    /// Takes in a close; none while it is not warm, and where the mean is not above 0.
    ///
    /// # Errors
    /// [`NotFinite`].
    pub fn update(&mut self, close: f64) -> Result<Option<f64>, NotFinite> {
        let close = finite(close)?;
        let n = f64::from(self.period);
        if self.window.len() < self.period as usize {
            self.window.push(close);
            if self.window.len() < self.period as usize {
                return Ok(None);
            }
            self.anew();
        } else {
            let oldest = std::mem::replace(&mut self.window[self.at], close) - self.base;
            let newest = close - self.base;
            self.weighted += (n - 1.0) * newest - (self.sum - oldest);
            self.sum += newest - oldest;
            self.at += 1;
            if self.at == self.window.len() {
                self.at = 0;
                self.anew();
            }
        }
        let mean = self.base + self.sum / n;
        // Σ(x − x̄)² of 0 … n−1 is n(n² − 1)/12.
        let slope = (self.weighted - self.sum * (n - 1.0) / 2.0) * 12.0 / (n * (n * n - 1.0));
        Ok((mean > 0.0).then(|| slope / mean))
    }

    /// Makes the sums from the window, whose oldest close is at its beginning.
    fn anew(&mut self) {
        self.base = self.window[0];
        (self.sum, self.weighted) = (0.0, 0.0);
        let mut place = 0.0;
        for close in &self.window {
            self.sum += close - self.base;
            self.weighted += place * (close - self.base);
            place += 1.0;
        }
    }
}

#[cfg(test)]
mod tests;
