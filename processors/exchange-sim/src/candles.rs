//! One-minute candles of a symbol, and every longer interval made from them.

use std::collections::VecDeque;

use crate::live::TradeRow;
use crate::units;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;
/// 1970-01-01 was a Thursday; weeks open on Monday.
const FIRST_MONDAY_MS: i64 = 4 * DAY_MS;

/// One candle. Prices and quantities in units of 10⁻⁸, times in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candle {
    /// When it opens.
    pub open_ms: i64,
    /// First price.
    pub open: i64,
    /// Highest price.
    pub high: i64,
    /// Lowest price.
    pub low: i64,
    /// Last price.
    pub close: i64,
    /// Traded quantity, base.
    pub volume: i64,
    /// Traded amount, quote.
    pub amount: i64,
    /// Base that buyers took.
    pub taker_volume: i64,
    /// Quote that buyers paid.
    pub taker_amount: i64,
    /// How many trades.
    pub trades: u64,
    /// Ids of the first and the last trade; 0 when not known or none.
    pub ids: (u64, u64),
}

impl Candle {
    /// A candle in which nothing traded.
    #[must_use]
    pub fn flat(open_ms: i64, price: i64) -> Self {
        Self {
            open_ms,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: 0,
            amount: 0,
            taker_volume: 0,
            taker_amount: 0,
            trades: 0,
            ids: (0, 0),
        }
    }

    fn add(&mut self, trade: &TradeRow) {
        if self.trades == 0 && self.volume == 0 {
            // A flat candle opens at its first trade.
            (self.open, self.high, self.low) = (trade.price, trade.price, trade.price);
            self.ids.0 = trade.id;
        }
        self.high = self.high.max(trade.price);
        self.low = self.low.min(trade.price);
        self.close = trade.price;
        let amount = trade.amount();
        self.volume = self.volume.saturating_add(trade.quantity);
        self.amount = self.amount.saturating_add(amount);
        if !trade.buyer_is_maker() {
            self.taker_volume = self.taker_volume.saturating_add(trade.quantity);
            self.taker_amount = self.taker_amount.saturating_add(amount);
        }
        self.trades += 1;
        self.ids.1 = trade.id;
        if self.ids.0 == 0 {
            self.ids.0 = trade.id;
        }
    }

    /// Adds the candle that follows this one.
    pub fn extend(&mut self, next: &Self) {
        self.high = self.high.max(next.high);
        self.low = self.low.min(next.low);
        self.close = next.close;
        self.volume = self.volume.saturating_add(next.volume);
        self.amount = self.amount.saturating_add(next.amount);
        self.taker_volume = self.taker_volume.saturating_add(next.taker_volume);
        self.taker_amount = self.taker_amount.saturating_add(next.taker_amount);
        self.trades += next.trades;
        if self.ids.0 == 0 {
            self.ids.0 = next.ids.0;
        }
        if next.ids.1 != 0 {
            self.ids.1 = next.ids.1;
        }
    }
}

/// Length of a candle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// A fixed number of ms.
    Fixed(i64),
    /// Seven days from Monday.
    Week,
    /// A calendar month.
    Month,
}

impl Interval {
    /// Binance's names: `1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M`. The case matters.
    #[must_use]
    pub fn binance(name: &str) -> Option<Self> {
        let minutes = |count: i64| Some(Self::Fixed(count * MINUTE_MS));
        match name {
            "1s" => Some(Self::Fixed(1_000)),
            "1m" => minutes(1),
            "3m" => minutes(3),
            "5m" => minutes(5),
            "15m" => minutes(15),
            "30m" => minutes(30),
            "1h" => minutes(60),
            "2h" => minutes(120),
            "4h" => minutes(240),
            "6h" => minutes(360),
            "8h" => minutes(480),
            "12h" => minutes(720),
            "1d" => minutes(1_440),
            "3d" => minutes(3 * 1_440),
            "1w" => Some(Self::Week),
            "1M" => Some(Self::Month),
            _ => None,
        }
    }

    /// BTCTurk's: minutes, or `1D 1W 1M`, in some places spelled `1 day`.
    #[must_use]
    pub fn btcturk(name: &str) -> Option<Self> {
        match name {
            "1" | "5" | "15" | "30" | "60" | "240" => name.parse().ok().map(|minutes: i64| Self::Fixed(minutes * MINUTE_MS)),
            "1D" | "D" | "1d" | "1 day" => Some(Self::Fixed(DAY_MS)),
            "1W" | "W" | "1w" | "1 week" => Some(Self::Week),
            "1M" | "M" | "1 month" => Some(Self::Month),
            _ => None,
        }
    }

    /// When the candle that holds `at_ms` opens.
    #[must_use]
    pub fn open(self, at_ms: i64) -> i64 {
        match self {
            Self::Fixed(length) => at_ms - at_ms.rem_euclid(length),
            Self::Week => {
                let since = at_ms - FIRST_MONDAY_MS;
                at_ms - since.rem_euclid(7 * DAY_MS)
            }
            Self::Month => month_start(at_ms.div_euclid(DAY_MS)) * DAY_MS,
        }
    }

    /// When the one after the candle that opens at `open_ms` opens.
    #[must_use]
    pub fn next(self, open_ms: i64) -> i64 {
        match self {
            Self::Fixed(length) => open_ms + length,
            Self::Week => open_ms + 7 * DAY_MS,
            // No month is longer than 31 days, and the 32nd day after a first lies in the next month.
            Self::Month => self.open(open_ms + 31 * DAY_MS),
        }
    }
}

/// Day number of the first of the month that holds day number `day` (days since 1970-01-01, Gregorian).
fn month_start(day: i64) -> i64 {
    // Civil-from-days over 400-year eras beginning on 1 March.
    let shifted = day + 719_468;
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    day - (day_of_year - (153 * month + 2) / 5)
}

/// Minute candles, oldest first, bounded.
#[derive(Clone, Debug)]
pub struct Candles {
    minutes: VecDeque<Candle>,
    kept: usize,
}

impl Candles {
    /// Keeps this many minutes.
    #[must_use]
    pub fn new(kept: usize) -> Self {
        Self { minutes: VecDeque::new(), kept }
    }

    /// Appends a minute that is over.
    pub fn push(&mut self, candle: Candle) {
        self.minutes.push_back(candle);
        while self.minutes.len() > self.kept {
            self.minutes.pop_front();
        }
    }

    /// Counts a trade. One that is older than the newest minute goes into the newest.
    pub fn trade(&mut self, trade: &TradeRow) {
        let open = trade.time_ms() - trade.time_ms().rem_euclid(MINUTE_MS);
        if self.minutes.back().is_none_or(|last| last.open_ms < open) {
            self.push(Candle::flat(open, trade.price));
        }
        if let Some(last) = self.minutes.back_mut() {
            last.add(trade);
        }
    }

    /// Opens flat minutes up to now: a market that is open has a candle for each.
    pub fn advance(&mut self, now_ms: i64) {
        let now = now_ms - now_ms.rem_euclid(MINUTE_MS);
        while let Some(last) = self.minutes.back().copied() {
            if last.open_ms >= now || now - last.open_ms > DAY_MS {
                break;
            }
            self.push(Candle::flat(last.open_ms + MINUTE_MS, last.close));
        }
    }

    /// Candles of `interval` that open within `from..=to` (ms), oldest first.
    #[must_use]
    pub fn list(&self, interval: Interval, from: i64, to: i64) -> Vec<Candle> {
        let mut list: Vec<Candle> = Vec::new();
        let begin = self.minutes.partition_point(|candle| candle.open_ms < from);
        for minute in self.minutes.range(begin..) {
            let open = interval.open(minute.open_ms);
            if open < from {
                continue;
            }
            if open > to {
                break;
            }
            match list.last_mut() {
                Some(last) if last.open_ms == open => last.extend(minute),
                _ => list.push(Candle { open_ms: open, ..*minute }),
            }
        }
        list
    }

    /// One-second candles out of kept trades, with a flat one for each second without.
    #[must_use]
    pub fn seconds(trades: &VecDeque<TradeRow>, from: i64, to: i64) -> Vec<Candle> {
        let mut list: Vec<Candle> = Vec::new();
        let begin = trades.partition_point(|trade| trade.time_ms() < from);
        for trade in trades.range(begin..) {
            let open = Interval::Fixed(1_000).open(trade.time_ms());
            if open > to {
                break;
            }
            while let Some(last) = list.last().copied().filter(|last| last.open_ms + 1_000 < open) {
                list.push(Candle::flat(last.open_ms + 1_000, last.close));
            }
            if list.last().is_none_or(|last| last.open_ms < open) {
                list.push(Candle::flat(open, trade.price));
            }
            if let Some(last) = list.last_mut() {
                last.add(trade);
            }
        }
        list
    }

    /// The newest minute's opening time.
    #[must_use]
    pub fn newest_ms(&self) -> Option<i64> {
        self.minutes.back().map(|candle| candle.open_ms)
    }

    /// The last 24 hours as one candle.
    #[must_use]
    pub fn day(&self) -> Option<Candle> {
        let newest = self.newest_ms()?;
        let begin = self.minutes.partition_point(|candle| candle.open_ms <= newest - DAY_MS);
        let mut minutes = self.minutes.range(begin..);
        let mut day = *minutes.next()?;
        minutes.for_each(|minute| day.extend(minute));
        Some(day)
    }

    /// Average price weighted by quantity over the last five minutes.
    #[must_use]
    pub fn average_5m(&self) -> Option<i64> {
        let (mut volume, mut amount) = (0_i64, 0_i64);
        for minute in self.minutes.iter().rev().take(5) {
            volume = volume.saturating_add(minute.volume);
            amount = amount.saturating_add(minute.amount);
        }
        if volume == 0 { self.minutes.back().map(|last| last.close) } else { Some(units::quotient(amount, volume)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_open_where_the_exchange_opens_them() {
        // 2024-08-08T23:59:12Z, a Thursday.
        let at = 1_723_161_552_000;
        let check = |name: &str, open: i64| assert_eq!(Interval::binance(name).unwrap().open(at), open, "{name}");
        check("1m", 1_723_161_540_000);
        check("1h", 1_723_158_000_000);
        check("1d", 1_723_075_200_000);
        check("1w", 1_722_816_000_000);
        check("1M", 1_722_470_400_000);
        assert_eq!(Interval::Month.next(1_722_470_400_000), 1_725_148_800_000);
        assert_eq!(Interval::binance("1H"), None);
        assert_eq!(Interval::btcturk("60"), Some(Interval::Fixed(3_600_000)));
    }

    #[test]
    fn longer_candles_are_the_sum_of_their_minutes() {
        let mut candles = Candles::new(100);
        for (index, price) in [10, 14, 9, 12, 11, 20].into_iter().enumerate() {
            let time = i64::try_from(index).unwrap() * 60_000;
            let id = u64::try_from(index).unwrap() + 1;
            candles.trade(&TradeRow::new(id, price * units::ONE, 2 * units::ONE, time, index % 2 == 0));
        }
        let fives = candles.list(Interval::Fixed(300_000), 0, i64::MAX);
        assert_eq!(fives.len(), 2);
        let first = fives[0];
        assert_eq!(
            (first.open, first.high, first.low, first.close, first.volume, first.trades, first.ids),
            (10 * units::ONE, 14 * units::ONE, 9 * units::ONE, 11 * units::ONE, 10 * units::ONE, 5, (1, 5))
        );
        assert_eq!(first.taker_volume, 4 * units::ONE);
        assert_eq!(candles.day().unwrap().volume, 12 * units::ONE);
        candles.advance(8 * 60_000 + 5);
        assert_eq!(candles.newest_ms(), Some(8 * 60_000));
        assert_eq!(candles.list(Interval::Fixed(60_000), 7 * 60_000, 7 * 60_000), [Candle::flat(7 * 60_000, 20 * units::ONE)]);
    }
}
