//! Bars in columns: integers of one scale, so that ten million of them are read as fast as memory gives them.

use std::sync::OnceLock;
use std::time::Duration;

use sha2::{Digest, Sha256};
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::decimal::SCALE_MAX;
use spark_bus_schema::market::Quote;
use spark_bus_schema::{Fixed, Timestamp};
use spark_strategy::rule::Bar;

/// Bars of one backtest: about a gigabyte.
pub const BARS_MAX: usize = 20_000_000;
/// Prices above this are no prices, as of every amount on the bus.
const PRICE_MAX: i64 = 1_000_000_000_000;

/// The top of the book at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The quote.
    pub quote: Quote,
    /// Rises whenever price or quantity of the bid changes: what was taken of a level is not offered again.
    pub bid_level: u64,
    /// The same of the ask.
    pub ask_level: u64,
}

impl Offered {
    /// After the next quote.
    #[must_use]
    pub fn after(before: Option<&Self>, quote: Quote) -> Self {
        let Some(Self { quote: last, bid_level, ask_level }) = before else { return Self { quote, bid_level: 0, ask_level: 0 } };
        let bid = (last.bid_price, last.bid_quantity) != (quote.bid_price, quote.bid_quantity);
        let ask = (last.ask_price, last.ask_quantity) != (quote.ask_price, quote.ask_quantity);
        // Equal numbers may have unequal scales: then a level too many is counted, and its quantity is offered again.
        Self { quote, bid_level: bid_level + u64::from(bid), ask_level: ask_level + u64::from(ask) }
    }
}

/// A candle of the record, as those saw it who could decide on it.
#[derive(Clone, Copy, Debug)]
pub struct RecordedBar {
    /// Its figures when it was told first.
    pub bar: Bar,
    /// When it was over for them.
    pub closed_at: Timestamp,
    /// The quote that an order after it meets.
    pub offered: Option<Offered>,
    /// Trades of it are missing, as far as was known then: the model sees it and does not trade on it.
    pub in_doubt: bool,
}

/// Prices, volumes and times of one symbol, oldest first. Row `i` is the `i`-th entry of each column; prices share one
/// scale, volumes another. 48 bytes a bar.
#[derive(Clone, Debug, Default)]
pub struct Bars {
    price_scale: u8,
    volume_scale: u8,
    span_ns: i64,
    open_time: Vec<i64>,
    open: Vec<i64>,
    high: Vec<i64>,
    low: Vec<i64>,
    close: Vec<i64>,
    volume: Vec<i64>,
    /// Of recorded data: when each bar was over for whoever listened. Empty for bars alone: at their end.
    closed_at: Vec<i64>,
    /// Of recorded data: the quote in force when an order that follows from the bar arrives. Empty for bars alone.
    offered: Vec<Option<Offered>>,
    /// Of recorded data: trades of the bar are missing, as far as was known when it was over.
    in_doubt: Vec<bool>,
    latency: Duration,
    hash: OnceLock<String>,
}

impl Bars {
    /// No bars of this length.
    #[must_use]
    pub fn new(timeframe: TimeFrame) -> Self {
        Self::of_span(i64::try_from(timeframe.duration().as_nanos()).expect("a day in nanoseconds fits 63 bits"))
    }

    /// No bars of this length, with room for so many.
    #[must_use]
    pub fn with_capacity(timeframe: TimeFrame, count: usize) -> Self {
        let mut bars = Self::new(timeframe);
        for column in [&mut bars.open_time, &mut bars.open, &mut bars.high, &mut bars.low, &mut bars.close, &mut bars.volume] {
            column.reserve_exact(count.min(BARS_MAX));
        }
        bars
    }

    /// No bars of this length, ns.
    #[must_use]
    pub fn of_span(span_ns: i64) -> Self {
        Self { span_ns, ..Self::default() }
    }

    /// No bars of recorded data; orders take `latency` from their candle's end to the venue.
    #[must_use]
    pub fn recorded(timeframe: TimeFrame, latency: Duration) -> Self {
        Self { latency, ..Self::new(timeframe) }
    }

    /// Another length; no bar changes.
    pub(super) fn set_span(&mut self, span_ns: i64) {
        self.span_ns = span_ns;
    }

    /// Appends a bar.
    ///
    /// # Errors
    /// What is wrong with it: times that do not rise, a price that is zero, negative or outside of low and high, a negative
    /// volume, more digits than the columns hold. The columns are unchanged then.
    pub fn push(&mut self, bar: &Bar) -> Result<(), String> {
        self.check(bar)?;
        self.hash.take();
        let price_scale =
            [bar.open, bar.high, bar.low, bar.close].iter().fold(self.price_scale, |scale, price| scale.max(price.scale));
        self.widen(price_scale, bar.volume.scale.max(self.volume_scale))?;
        let price = |value: Fixed| rescaled(value, self.price_scale).ok_or_else(|| too_far(value));
        let [open, high, low, close] = [price(bar.open)?, price(bar.high)?, price(bar.low)?, price(bar.close)?];
        let volume = rescaled(bar.volume, self.volume_scale).ok_or_else(|| too_far(bar.volume))?;
        self.open_time.push(bar.open_time.as_nanos());
        for (column, value) in [
            (&mut self.open, open),
            (&mut self.high, high),
            (&mut self.low, low),
            (&mut self.close, close),
            (&mut self.volume, volume),
        ] {
            column.push(value);
        }
        Ok(())
    }

    /// Appends a bar of recorded data. Such rows and others must not be mixed.
    ///
    /// # Errors
    /// As [`Bars::push`].
    pub fn push_recorded(&mut self, recorded: &RecordedBar) -> Result<(), String> {
        self.push(&recorded.bar)?;
        self.closed_at.push(recorded.closed_at.as_nanos());
        self.offered.push(recorded.offered);
        self.in_doubt.push(recorded.in_doubt);
        Ok(())
    }

    fn check(&self, bar: &Bar) -> Result<(), String> {
        if self.len() >= BARS_MAX {
            return Err(format!("more than {BARS_MAX} bars; give a shorter range or a longer time frame"));
        }
        for (name, value) in [("open", bar.open), ("high", bar.high), ("low", bar.low), ("close", bar.close)] {
            if value.mantissa <= 0 || value.scale > SCALE_MAX || above_max(value) {
                return Err(format!("{name}: {value} is no price; prices are above 0 and at most {PRICE_MAX}"));
            }
        }
        if bar.volume.mantissa < 0 || bar.volume.scale > SCALE_MAX {
            return Err(format!("volume: {} is below 0", bar.volume));
        }
        let inside = |value: Fixed| at_most(bar.low, value) && at_most(value, bar.high);
        if !inside(bar.open) || !inside(bar.close) {
            return Err(format!("low {} ≤ open {}, close {} ≤ high {} does not hold", bar.low, bar.open, bar.close, bar.high));
        }
        let time = bar.open_time.as_nanos();
        match self.open_time.last() {
            Some(&last) if last == time => Err(format!("open time {} is there twice", bar.open_time)),
            Some(&last) if last > time => Err(format!(
                "open time {} comes after {}; sort the bars, oldest first",
                bar.open_time,
                Timestamp::from_nanos(last)
            )),
            _ => Ok(()),
        }
    }

    fn widen(&mut self, price_scale: u8, volume_scale: u8) -> Result<(), String> {
        let no_room = || "prices or volumes are too far apart for 63 bits; leave out decimals that mean nothing".to_owned();
        let power = |by: u8| 10_i64.checked_pow(u32::from(by)).ok_or_else(no_room);
        let (price, volume) = (power(price_scale - self.price_scale)?, power(volume_scale - self.volume_scale)?);
        let fits = |column: &[i64], factor: i64| factor == 1 || column.iter().all(|value| value.checked_mul(factor).is_some());
        let columns = [&self.open, &self.high, &self.low, &self.close];
        if !columns.iter().all(|column| fits(column, price)) || !fits(&self.volume, volume) {
            return Err(no_room());
        }
        let scale = |column: &mut Vec<i64>, factor: i64| column.iter_mut().for_each(|value| *value *= factor);
        if price != 1 {
            for column in [&mut self.open, &mut self.high, &mut self.low, &mut self.close] {
                scale(column, price);
            }
        }
        if volume != 1 {
            scale(&mut self.volume, volume);
        }
        (self.price_scale, self.volume_scale) = (price_scale, volume_scale);
        Ok(())
    }

    /// Gives back the memory that growing left over.
    pub(super) fn shrink(&mut self) {
        for column in [&mut self.open_time, &mut self.open, &mut self.high, &mut self.low, &mut self.close, &mut self.volume] {
            column.shrink_to_fit();
        }
    }

    /// Number of bars.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open_time.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open_time.is_empty()
    }

    /// Length of each.
    #[must_use]
    pub fn span_ns(&self) -> i64 {
        self.span_ns
    }

    /// Digits after the point of prices.
    #[must_use]
    pub fn price_scale(&self) -> u8 {
        self.price_scale
    }

    /// Whether they were made of what the bus recorded: orders are filled at recorded quotes.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        !self.closed_at.is_empty()
    }

    /// When an order that follows from bar `row` of recorded data arrives at the venue.
    #[must_use]
    pub fn arrival(&self, row: usize) -> Timestamp {
        self.closed_at(row) + self.latency
    }

    /// Closes, mantissas of [`Bars::price_scale`].
    #[must_use]
    pub fn closes(&self) -> &[i64] {
        &self.close
    }

    /// Opens, mantissas of [`Bars::price_scale`].
    #[must_use]
    pub fn opens(&self) -> &[i64] {
        &self.open
    }

    /// First moments, ns.
    #[must_use]
    pub fn open_times(&self) -> &[i64] {
        &self.open_time
    }

    /// When bar `row` was over: time of the decision that follows from it. Of bars alone, their end.
    ///
    /// # Panics
    /// There is no such row.
    #[inline]
    #[must_use]
    pub fn closed_at(&self, row: usize) -> Timestamp {
        let end = || self.open_time[row].saturating_add(self.span_ns);
        Timestamp::from_nanos(self.closed_at.get(row).copied().unwrap_or_else(end))
    }

    /// Whether an interval is missing before bar `row`.
    #[must_use]
    pub fn is_hole_before(&self, row: usize) -> bool {
        let before = row.checked_sub(1).and_then(|before| self.open_time.get(before));
        before.zip(self.open_time.get(row)).is_some_and(|(before, this)| this.saturating_sub(*before) != self.span_ns)
    }

    /// The quote that an order after bar `row` meets; none for bars alone, and where nobody quoted.
    #[must_use]
    pub fn offered(&self, row: usize) -> Option<&Offered> {
        self.offered.get(row)?.as_ref()
    }

    /// Whether trades of bar `row` are missing, as far as was known when it was over; never of bars alone.
    #[must_use]
    pub fn is_in_doubt(&self, row: usize) -> bool {
        self.in_doubt.get(row).copied().unwrap_or(false)
    }

    /// Bar `row`.
    ///
    /// # Panics
    /// There is no such row.
    #[inline]
    #[must_use]
    pub fn bar(&self, row: usize) -> Bar {
        let price = |column: &[i64]| Fixed { mantissa: column[row], scale: self.price_scale };
        Bar {
            open_time: Timestamp::from_nanos(self.open_time[row]),
            open: price(&self.open),
            high: price(&self.high),
            low: price(&self.low),
            close: price(&self.close),
            volume: Fixed { mantissa: self.volume[row], scale: self.volume_scale },
        }
    }

    /// Bytes that the columns take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let words = [&self.open_time, &self.closed_at, &self.open, &self.high, &self.low, &self.close, &self.volume];
        words.iter().map(|column| column.capacity() * size_of::<i64>()).sum::<usize>()
            + self.offered.capacity() * size_of::<Option<Offered>>()
            + self.in_doubt.capacity()
    }

    /// SHA-256 of what was read, lower-case hex: for each bar its times, prices, volume, quote and doubts as little-endian
    /// integers at the shared scales. The same data in another spelling of the file has the same hash.
    /// Calculated once.
    #[must_use]
    pub fn hash(&self) -> &str {
        self.hash.get_or_init(|| self.digest())
    }

    fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update([self.price_scale, self.volume_scale]);
        hash.update(self.span_ns.to_le_bytes());
        let mut line = Vec::with_capacity(128);
        for row in 0..self.len() {
            line.clear();
            for column in [&self.open_time, &self.open, &self.high, &self.low, &self.close, &self.volume] {
                line.extend_from_slice(&column[row].to_le_bytes());
            }
            line.extend_from_slice(&self.closed_at(row).as_nanos().to_le_bytes());
            if let Some(Offered { quote, .. }) = self.offered(row) {
                for value in [quote.bid_price, quote.bid_quantity, quote.ask_price, quote.ask_quantity] {
                    line.extend_from_slice(&value.mantissa.to_le_bytes());
                    line.push(value.scale);
                }
                line.extend_from_slice(&quote.received_at.as_nanos().to_le_bytes());
            }
            line.extend(self.is_in_doubt(row).then_some(1));
            hash.update(&line);
        }
        hex::encode(hash.finalize())
    }
}

fn rescaled(value: Fixed, scale: u8) -> Option<i64> {
    value.mantissa.checked_mul(10_i64.checked_pow(u32::from(scale.checked_sub(value.scale)?))?)
}

fn above_max(value: Fixed) -> bool {
    i128::from(value.mantissa) > i128::from(PRICE_MAX) * 10_i128.pow(u32::from(value.scale))
}

fn at_most(left: Fixed, right: Fixed) -> bool {
    let at = |value: Fixed, other: u8| i128::from(value.mantissa) * 10_i128.pow(u32::from(other.saturating_sub(value.scale)));
    at(left, right.scale) <= at(right, left.scale)
}

fn too_far(value: Fixed) -> String {
    format!("{value} has too many digits beside the others of its column (63 bits)")
}
