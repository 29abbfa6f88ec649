//! Candles: what was traded in one interval, told once it is over.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::{Kind, Message};
use crate::decimal::DecimalColumn;
use crate::instrument::Venue;
use crate::orders::{amount, symbol};
use crate::time::Timestamp;

/// Rows of one [`CandleHistory`]: what an exchange gives in one answer.
pub const HISTORY_ROWS_MAX: usize = 1_000;

/// Length of a candle. Intervals begin at multiples of it since 1970-01-01 00:00 UTC; Borsa Istanbul's at its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TimeFrame {
    /// One second: for demonstrations and tests, not built unless asked for.
    #[serde(rename = "1s")]
    S1,
    /// One minute.
    #[serde(rename = "1m")]
    M1,
    /// Five minutes.
    #[serde(rename = "5m")]
    M5,
    /// Fifteen minutes.
    #[serde(rename = "15m")]
    M15,
    /// One hour.
    #[serde(rename = "1h")]
    H1,
    /// Four hours.
    #[serde(rename = "4h")]
    H4,
    /// One day.
    #[serde(rename = "1d")]
    D1,
}

impl TimeFrame {
    /// Every length.
    pub const ALL: [Self; 7] = [Self::S1, Self::M1, Self::M5, Self::M15, Self::H1, Self::H4, Self::D1];

    /// The spelling in subjects, configuration and at Binance.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::S1 => "1s",
            Self::M1 => "1m",
            Self::M5 => "5m",
            Self::M15 => "15m",
            Self::H1 => "1h",
            Self::H4 => "4h",
            Self::D1 => "1d",
        }
    }

    /// How long it is.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::S1 => 1,
            Self::M1 => 60,
            Self::M5 => 300,
            Self::M15 => 900,
            Self::H1 => 3_600,
            Self::H4 => 14_400,
            Self::D1 => 86_400,
        })
    }
}

impl fmt::Display for TimeFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for TimeFrame {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|frame| frame.as_str() == text)
            .ok_or_else(|| format!("unknown time frame `{text:.16}`; known are {}", known()))
    }
}

/// Where a candle's figures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CandleSource {
    /// Trades on the bus.
    Ticks,
    /// The exchange's own candle, over REST: trades of it were missing here.
    Exchange,
}

/// One closed interval. Subject `market.candles.<venue>.<symbol>.<timeframe>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candle {
    /// The venue.
    pub venue: Venue,
    /// Spark's spelling.
    pub symbol: String,
    /// Its length.
    pub timeframe: TimeFrame,
    /// First moment that belongs to it, by the venue's clock.
    pub open_time: Timestamp,
    /// First moment that does not belong to it any more.
    pub close_time: Timestamp,
    /// First price, quote per base.
    #[schemars(with = "String")]
    pub open: Decimal,
    /// Highest price.
    #[schemars(with = "String")]
    pub high: Decimal,
    /// Lowest price.
    #[schemars(with = "String")]
    pub low: Decimal,
    /// Last price.
    #[schemars(with = "String")]
    pub close: Decimal,
    /// Base currency.
    #[schemars(with = "String")]
    pub volume: Decimal,
    /// Quote currency.
    #[schemars(with = "String")]
    pub quote_volume: Decimal,
    /// Trades in it.
    pub trades: u64,
    /// 1 when it is told first; later ones correct it (late trades, the exchange's own figures). Decisions use the first.
    pub revision: u64,
    /// Where its figures come from.
    pub source: CandleSource,
    /// Nothing was traded: the four prices are the close before it.
    pub gap: bool,
    /// Every trade of the interval is in it, as far as is known here.
    pub complete: bool,
    /// When it was over here: FEED's stored time of what closed it. Time of every decision that follows from it.
    pub closed_at: Timestamp,
}

impl Message for Candle {
    const KIND: Kind = Kind { name: "candle", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        symbol(&self.symbol)?;
        for (field, value) in [("open", self.open), ("high", self.high), ("low", self.low), ("close", self.close)] {
            amount(field, value)?;
        }
        let inside = |value: Decimal| self.low <= value && value <= self.high;
        if !inside(self.open) || !inside(self.close) {
            return Err(format!(
                "low {} ≤ open {}, close {} ≤ high {} does not hold",
                self.low, self.open, self.close, self.high
            ));
        }
        if self.volume < Decimal::ZERO || self.quote_volume < Decimal::ZERO {
            return Err("volume: below 0".to_owned());
        }
        if self.gap != (self.trades == 0) {
            return Err(format!("gap: {} with {} trades", self.gap, self.trades));
        }
        if self.revision == 0 {
            return Err("revision: starts at 1".to_owned());
        }
        if self.close_time <= self.open_time {
            return Err(format!("close_time: {} is not after open_time {}", self.close_time, self.open_time));
        }
        Ok(())
    }
}

/// Candles from before Spark listened, as the exchange tells them, oldest first: what makes indicators warm at a start.
/// Row `i` is the `i`-th entry of each column. Subject `market.history.<venue>.<symbol>.<timeframe>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CandleHistory {
    /// The venue.
    pub venue: Venue,
    /// Spark's spelling.
    pub symbol: String,
    /// Their length.
    pub timeframe: TimeFrame,
    /// First moment of each, strictly rising; a missing interval is one that the exchange does not tell either.
    pub open_time: Vec<Timestamp>,
    /// First prices.
    pub open: DecimalColumn,
    /// Highest prices.
    pub high: DecimalColumn,
    /// Lowest prices.
    pub low: DecimalColumn,
    /// Last prices.
    pub close: DecimalColumn,
    /// Base currency; 0 where nothing was traded.
    pub volume: DecimalColumn,
    /// When the exchange told them.
    pub fetched_at: Timestamp,
}

impl Message for CandleHistory {
    const KIND: Kind = Kind { name: "candle_history", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        symbol(&self.symbol)?;
        let rows = self.open_time.len();
        if rows > HISTORY_ROWS_MAX {
            return Err(format!("{rows} rows, above the limit of {HISTORY_ROWS_MAX}"));
        }
        for (name, column) in [("open", &self.open), ("high", &self.high), ("low", &self.low), ("close", &self.close)] {
            column.check(name, rows, false)?;
        }
        self.volume.check("volume", rows, true)?;
        match self.open_time.windows(2).find(|pair| pair[0] >= pair[1]) {
            Some(pair) => Err(format!("open_time: {} is followed by {}", pair[0], pair[1])),
            None => Ok(()),
        }
    }
}

/// What a vendor says about one share at a moment. Subject `market.snapshots.<venue>.<symbol>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MarketSnapshot {
    /// The venue.
    pub venue: Venue,
    /// Spark's spelling, e.g. `THYAO`.
    pub symbol: String,
    /// Last price.
    #[schemars(with = "String")]
    pub last: Decimal,
    /// Best bid; none when nobody bids or the vendor does not tell.
    #[schemars(with = "Option<String>")]
    pub bid: Option<Decimal>,
    /// Best ask.
    #[schemars(with = "Option<String>")]
    pub ask: Option<Decimal>,
    /// First price of the day.
    #[schemars(with = "Option<String>")]
    pub open: Option<Decimal>,
    /// Highest price of the day.
    #[schemars(with = "Option<String>")]
    pub high: Option<Decimal>,
    /// Lowest price of the day.
    #[schemars(with = "Option<String>")]
    pub low: Option<Decimal>,
    /// Last price of the session before.
    #[schemars(with = "Option<String>")]
    pub prev_close: Option<Decimal>,
    /// Shares of the day so far.
    #[schemars(with = "String")]
    pub volume: Decimal,
    /// Quote currency of the day so far.
    #[schemars(with = "Option<String>")]
    pub turnover: Option<Decimal>,
    /// Session phase in the vendor's word, e.g. `continuous`, `closed`.
    pub status: String,
    /// When it was so, as the vendor says.
    pub occurred_at: Timestamp,
    /// When the answer reached this machine.
    pub received_at: Timestamp,
    /// How far behind the vendor is by contract, minutes; 0 is real time.
    pub delay_minutes: u32,
    /// The vendor, as configured.
    pub provider: String,
}

impl Message for MarketSnapshot {
    const KIND: Kind = Kind { name: "market_snapshot", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        symbol(&self.symbol)?;
        amount("last", self.last)?;
        let named = [("bid", self.bid), ("ask", self.ask), ("open", self.open), ("high", self.high), ("low", self.low)];
        for (field, value) in named.into_iter().chain([("prev_close", self.prev_close)]) {
            value.map_or(Ok(()), |value| amount(field, value))?;
        }
        if self.volume < Decimal::ZERO { Err("volume: below 0".to_owned()) } else { Ok(()) }
    }
}
