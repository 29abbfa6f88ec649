//! Thirty shares: one common factor, one of each share, on the price grid and within the day's limits. Pure: time is passed in.

use super::clock::{Calendar, Phase, day_of, midnight};
use crate::market::Rng;

/// Shortest step of time, ms.
const STEP_MS: i64 = 1_000;
/// Steps made at once: a longer time is made of longer steps.
const STEPS_MAX: i64 = 600;
/// Seconds of trading in a year.
const YEAR_S: f64 = 252.0 * 8.0 * 3_600.0;
const COMMON_VOLATILITY: f64 = 0.28;
/// Largest move of one step, either way.
const MOVE_MAX: f64 = 0.02;
/// How likely a share trades in a second.
const TRADES_A_SECOND: f64 = 0.8;

/// Code, lira in summer 2026, share of the common factor's move, own volatility of a year, shares a day in millions.
const SHARES: [(&str, f64, f64, f64, f64); 30] = [
    ("AEFES", 21.04, 0.8, 0.25, 43.0),
    ("AKBNK", 77.0, 1.3, 0.22, 108.0),
    ("ASELS", 345.0, 1.0, 0.30, 45.0),
    ("ASTOR", 276.5, 1.1, 0.38, 20.0),
    ("BIMAS", 365.25, 0.6, 0.20, 14.0),
    ("DSTKF", 612.0, 0.9, 0.45, 2.0),
    ("EKGYO", 20.68, 1.2, 0.30, 77.0),
    ("ENKAI", 90.5, 0.8, 0.25, 17.0),
    ("EREGL", 40.48, 1.0, 0.25, 178.0),
    ("FROTO", 84.55, 0.9, 0.25, 24.0),
    ("GARAN", 138.0, 1.3, 0.22, 26.0),
    ("GUBRF", 442.75, 0.9, 0.38, 5.0),
    ("ISCTR", 14.81, 1.35, 0.22, 422.0),
    ("KCHOL", 193.5, 1.1, 0.20, 21.0),
    ("KRDMD", 39.8, 1.1, 0.30, 68.0),
    ("MGROS", 669.5, 0.7, 0.25, 3.0),
    ("PETKM", 19.11, 1.0, 0.28, 76.0),
    ("PGSUS", 175.1, 1.1, 0.30, 10.0),
    ("SAHOL", 97.5, 1.1, 0.20, 30.0),
    ("SASA", 2.45, 1.1, 0.38, 900.0),
    ("SISE", 44.3, 1.0, 0.22, 50.0),
    ("TAVHL", 280.25, 0.9, 0.28, 4.0),
    ("TCELL", 108.2, 0.8, 0.22, 30.0),
    ("THYAO", 326.0, 1.1, 0.25, 47.0),
    ("TOASO", 308.0, 0.9, 0.28, 5.0),
    ("TRALT", 46.5, 0.7, 0.40, 60.0),
    ("TTKOM", 61.4, 0.9, 0.28, 36.0),
    ("TUPRS", 227.5, 0.8, 0.25, 29.0),
    ("ULKER", 99.3, 0.7, 0.28, 7.0),
    ("YKBNK", 40.14, 1.35, 0.22, 154.0),
];

/// One share. Prices in kuruş, the hundredth of a lira.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub code: String,
    pub last: i64,
    /// None at the lower limit, where nobody buys.
    pub bid: Option<i64>,
    /// None at the upper limit, where nobody sells.
    pub ask: Option<i64>,
    pub bid_size: u64,
    pub ask_size: u64,
    /// None before the day's first trade, as `high` and `low`.
    pub open: Option<i64>,
    pub high: Option<i64>,
    pub low: Option<i64>,
    pub prev_close: i64,
    pub volume: u64,
    pub turnover: u64,
    /// When any of this changed last, ms since 1970.
    pub changed_ms: i64,
    limits: (i64, i64),
    fair: f64,
    start: f64,
    beta: f64,
    volatility: f64,
    daily: f64,
    rng: Rng,
}

/// Price step at a price, both in kuruş.
pub(crate) fn tick(price: i64) -> i64 {
    match price {
        ..2_000 => 1,
        2_000..5_000 => 2,
        5_000..10_000 => 5,
        10_000..25_000 => 10,
        25_000..50_000 => 25,
        50_000..100_000 => 50,
        100_000..250_000 => 100,
        _ => 250,
    }
}

fn down(price: i64) -> i64 {
    price - price.rem_euclid(tick(price))
}

fn up(price: i64) -> i64 {
    if down(price) == price { price } else { down(price) + tick(price) }
}

/// Lowest and highest price of a day: ±10 %, rounded inward.
pub(crate) fn limits(base: i64) -> (i64, i64) {
    let ceil = (base * 9).div_euclid(10) + i64::from((base * 9).rem_euclid(10) != 0);
    (up(ceil), down((base * 11).div_euclid(10)))
}

#[expect(clippy::cast_possible_truncation, reason = "a share costs less than 10^7 lira")]
fn nearest(price: f64) -> i64 {
    let price = price.round().clamp(1.0, 1e9) as i64;
    if price - down(price) < up(price) - price { down(price) } else { up(price) }
}

impl Share {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    fn new(seed: u64, (code, lira, beta, volatility, millions): (&str, f64, f64, f64, f64)) -> Self {
        let base = nearest(lira * 100.0);
        Self {
            code: code.to_owned(),
            last: base,
            bid: None,
            ask: None,
            bid_size: 0,
            ask_size: 0,
            open: None,
            high: None,
            low: None,
            prev_close: base,
            volume: 0,
            turnover: 0,
            changed_ms: 0,
            limits: limits(base),
            fair: base as f64,
            start: base as f64,
            beta,
            volatility,
            daily: millions * 1e6,
            rng: Rng::new(seed, &format!("share {code}")),
        }
    }

    fn new_day(&mut self) {
        self.prev_close = self.last;
        self.limits = limits(self.last);
        (self.open, self.high, self.low) = (None, None, None);
        (self.volume, self.turnover) = (0, 0);
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
    fn step(&mut self, at_ms: i64, seconds: f64, elapsed: f64, (common, scale): (f64, f64)) {
        // Back to where it began within about ten days of trading: a simulator that runs for months stays in range.
        let pull = (self.start - self.fair) / self.start * (seconds / (10.0 * 8.0 * 3_600.0)).min(1.0);
        let own = self.rng.bell() * self.volatility * scale;
        self.fair *= 1.0 + (self.beta * common + own + pull).clamp(-MOVE_MAX, MOVE_MAX);
        let (low, high) = self.limits;
        self.fair = self.fair.clamp(low as f64, high as f64);
        if !self.rng.chance((TRADES_A_SECOND * seconds).min(1.0)) {
            return;
        }
        self.last = nearest(self.fair).clamp(low, high);
        // A day's volume follows from the time of day, so that a simulator that starts anew goes on where the one before was.
        let rate = self.daily / (8.0 * 3_600.0);
        let volume = (rate * (elapsed + self.rng.unit())) as u64;
        let shares = volume.saturating_sub(self.volume).max(1);
        self.volume += shares;
        self.turnover += shares * self.last.unsigned_abs();
        self.open.get_or_insert(self.last);
        self.high = Some(self.high.map_or(self.last, |high| high.max(self.last)));
        self.low = Some(self.low.map_or(self.last, |low| low.min(self.last)));
        let buyer = self.rng.chance(0.5);
        let below = down(self.last - 1);
        let above = self.last + tick(self.last);
        let (bid, ask) = if buyer { (below, self.last) } else { (self.last, above) };
        self.bid = (bid >= low).then_some(bid);
        self.ask = (ask <= high).then_some(ask);
        self.bid_size = 1 + (self.daily / 10_000.0 * self.rng.unit()) as u64;
        self.ask_size = 1 + (self.daily / 10_000.0 * self.rng.unit()) as u64;
        self.changed_ms = at_ms;
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Market {
    pub shares: Vec<Share>,
    common: Rng,
    /// Up to when time has passed, ms; none before the first question.
    at_ms: Option<i64>,
    /// Continuous trading of the day so far, s.
    elapsed: f64,
}

impl Market {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            shares: SHARES.map(|share| Share::new(seed, share)).to_vec(),
            common: Rng::new(seed, "shares"),
            at_ms: None,
            elapsed: 0.0,
        }
    }

    /// Lets time pass up to a moment; time never goes back. Prices move in continuous trading alone.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(crate) fn advance(&mut self, to_ms: i64, calendar: &Calendar) {
        let from = *self.at_ms.get_or_insert_with(|| {
            // The day so far, so that it has an open, a high and a low.
            let begin = midnight(day_of(to_ms));
            self.shares.iter_mut().for_each(|share| share.changed_ms = begin);
            begin
        });
        let step = ((to_ms - from) / STEPS_MAX).max(STEP_MS);
        let mut at = from;
        while at + step <= to_ms {
            let next = at + step;
            if day_of(next) != day_of(at) && calendar.phase(midnight(day_of(next)) + 12 * 3_600_000) == Phase::Continuous {
                self.shares.iter_mut().for_each(Share::new_day);
                self.elapsed = 0.0;
            }
            at = next;
            if calendar.phase(at) == Phase::Continuous {
                let seconds = step as f64 / 1_000.0;
                self.elapsed += seconds;
                let (scale, elapsed) = ((seconds / YEAR_S).sqrt(), self.elapsed);
                let common = self.common.bell() * COMMON_VOLATILITY * scale;
                self.shares.iter_mut().for_each(|share| share.step(at, seconds, elapsed, (common, scale)));
            }
        }
        self.at_ms = Some(at);
    }

    /// A share by its code of now.
    pub(crate) fn share(&self, code: &str) -> Option<&Share> {
        self.shares.iter().find(|share| share.code == code)
    }

    /// Gives a share another code; false when there is none of the old one, or one of the new.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> bool {
        if self.share(to).is_some() {
            return false;
        }
        let share = self.shares.iter_mut().find(|share| share.code == from);
        share.is_some_and(|share| {
            to.clone_into(&mut share.code);
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::{CalendarKind, day};
    use super::*;

    #[test]
    fn every_price_of_a_week_is_on_the_grid_and_within_its_days_limits_and_nights_change_nothing() {
        let calendar = Calendar::new(CalendarKind::Exchange, &[], &[]);
        let mut market = Market::new(7);
        let monday = midnight(day("2026-11-16").unwrap());
        let mut moved = 0;
        for minutes in (0..7 * 24 * 60).step_by(10) {
            let before: Vec<(i64, u64)> = market.shares.iter().map(|share| (share.last, share.volume)).collect();
            let at = monday + minutes * 60_000;
            market.advance(at, &calendar);
            for (share, before) in market.shares.iter().zip(before) {
                let (low, high) = limits(share.prev_close);
                for price in [Some(share.last), share.bid, share.ask, share.open, share.high, share.low].into_iter().flatten() {
                    assert!(price > 0 && price % tick(price) == 0 && (low..=high).contains(&price), "{share:?}");
                }
                assert!(share.bid.zip(share.ask).is_none_or(|(bid, ask)| bid < ask), "{share:?}");
                // What a night or a weekend brings is a new day's count, nothing else.
                if calendar.phase(at) == Phase::Closed && calendar.phase(at - 600_000) == Phase::Closed {
                    assert!(share.last == before.0 && (share.volume == before.1 || share.volume == 0), "{share:?} {at}");
                }
                moved += usize::from(share.last != before.0);
            }
        }
        assert!(moved > 3_000, "{moved}");
    }

    #[test]
    fn limits_are_inward_and_a_renamed_share_goes_on() {
        assert_eq!((limits(29_675), limits(1_998), limits(1_000)), ((26_725, 32_625), (1_799, 2_196), (900, 1_100)));
        let mut market = Market::new(1);
        assert!(market.rename("TRALT", "KOZAL") && !market.rename("TRALT", "X") && !market.rename("THYAO", "KOZAL"));
        assert!(market.share("KOZAL").is_some() && market.share("TRALT").is_none());
    }
}
