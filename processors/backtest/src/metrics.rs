//! Figures of one run, taken bar by bar. Statistics: floats.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use spark_bus_schema::Venue;

/// Days that crypto trades in a year.
const CRYPTO_DAYS: f64 = 365.0;
/// Sessions of Borsa Istanbul in a year, by the convention of equities.
const SESSIONS: f64 = 252.0;
/// Continuous trading of Borsa Istanbul, 10:00 to 18:00, seconds.
const SESSION_S: f64 = 8.0 * 3_600.0;

/// Bars of this length in a year: crypto trades 365 days of 24 hours, Borsa Istanbul 252 sessions of 8 hours (a day's bar is
/// one session).
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "statistics")]
pub fn bars_per_year(venue: Venue, span_ns: i64) -> f64 {
    let seconds = (span_ns as f64 / 1e9).max(1e-9);
    match venue {
        Venue::Bist if seconds >= SESSION_S => SESSIONS * 86_400.0 / seconds.max(86_400.0),
        Venue::Bist => SESSIONS * SESSION_S / seconds,
        Venue::Binance | Venue::Btcturk => CRYPTO_DAYS * 86_400.0 / seconds,
    }
}

/// `(final equity / starting cash - 1) × 100`, percent. What is held at the end is valued at the last close, without the
/// commission that selling it would cost. Not annualised.
#[must_use]
pub fn total_return_pct(cash: Decimal, final_equity: Decimal) -> f64 {
    match (cash.to_f64(), final_equity.to_f64()) {
        (Some(cash), Some(equity)) if cash > 0.0 => (equity / cash - 1.0) * 100.0,
        _ => 0.0,
    }
}

/// `closed trades with a profit / closed trades × 100`, percent, after fees; none without a closed trade. A closed trade is a
/// fill that makes the position smaller.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a number of trades")]
pub fn win_rate_pct(won: u64, closed: u64) -> Option<f64> {
    (closed > 0).then(|| won as f64 / closed as f64 * 100.0)
}

/// `sum of profits / sum of losses` of closed trades, both positive, after fees; none without a loss.
#[must_use]
pub fn profit_factor(profit: f64, loss: f64) -> Option<f64> {
    (loss > 0.0).then(|| profit / loss)
}

/// What the figures are made of: equity at the close of each bar.
#[derive(Clone, Copy, Debug)]
pub struct Curve {
    previous: f64,
    peak: f64,
    /// 1 / peak.
    per_peak: f64,
    deepest: f64,
    sum: f64,
    squares: f64,
    returns: u64,
}

impl Curve {
    /// A curve that begins with this.
    #[must_use]
    pub fn new(equity: f64) -> Self {
        Self { previous: equity, peak: equity, per_peak: equity.recip(), deepest: 0.0, sum: 0.0, squares: 0.0, returns: 0 }
    }

    /// Equity at the close of the next bar.
    #[inline]
    pub fn see(&mut self, equity: f64) {
        let change = equity / self.previous - 1.0;
        self.sum += change;
        self.squares += change * change;
        self.returns += 1;
        self.previous = equity;
        if equity > self.peak {
            self.peak = equity;
            self.per_peak = equity.recip();
        } else {
            self.deepest = self.deepest.max(1.0 - equity * self.per_peak);
        }
    }

    /// The next bar, in which equity did not change.
    #[inline]
    pub fn still(&mut self) {
        self.returns += 1;
    }

    /// Deepest fall from the highest equity before: `max over t of (1 - equity_t / max(equity_0..t))`, percent, 0 to 100 (more
    /// when equity was below zero).
    #[must_use]
    pub fn max_drawdown_pct(&self) -> f64 {
        self.deepest * 100.0
    }

    /// Annualised Sharpe ratio of the bars' simple returns `r_t = equity_t / equity_(t-1) - 1` without a risk-free rate:
    /// `mean(r) / std(r) × √(bars a year)`, std with `n - 1` in the denominator (pandas' default). The first return is that
    /// of the first bar over the starting cash. None with fewer than two returns, without variance, and where a figure is not
    /// finite.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a number of bars")]
    pub fn sharpe(&self, bars_per_year: f64) -> Option<f64> {
        if self.returns < 2 {
            return None;
        }
        let count = self.returns as f64;
        let mean = self.sum / count;
        let variance = (self.squares - self.sum * mean) / (count - 1.0);
        // Below what summing rounds away there is no variance.
        let noise = self.squares * f64::EPSILON;
        let sharpe = mean / variance.sqrt() * bars_per_year.sqrt();
        (variance > noise && sharpe.is_finite()).then_some(sharpe)
    }
}
