//! When Borsa Istanbul trades: days, half days and phases, in Istanbul's time, which is UTC+3 all year (no summer time
//! since 2016). Pure: a moment goes in, a phase comes out.
//!
//! Days without trading are those of the law on holidays (2429): 1 January, 23 April, 1 May, 19 May, 15 July, 30 August,
//! 29 October, and the two bayrams, whose days are announced year by year. The table holds them for [`YEARS`] (2024 to June
//! 2026 compared with the recorded daily data); for other years, name them under `[feed.bist] holidays` and `half_days`.
//! The exchange may close on other days too (as in February 2023): the same two lists take them.
//!
//! Half days are 28 October and the days before the bayrams.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use ::time::{Date, Month};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Istanbul is this far ahead of UTC.
pub const OFFSET: Duration = Duration::from_secs(3 * 3_600);

/// Years whose bayrams are in the table.
pub const YEARS: RangeInclusive<i32> = 2024..=2027;

/// Days that are looked through for the next session; the longest closure so far was nine days.
const SEARCH_DAYS: i64 = 40;
const DAY_SECONDS: i64 = 86_400;

/// National holidays, every year: month and day.
const NATIONAL: [(u8, u8); 7] = [(1, 1), (4, 23), (5, 1), (5, 19), (7, 15), (8, 30), (10, 29)];

/// First day of each bayram and how many days it lasts; the day before is a half day.
const BAYRAMS: [(i32, u8, u8, i64); 8] = [
    (2024, 4, 10, 3),
    (2024, 6, 16, 4),
    (2025, 3, 30, 3),
    (2025, 6, 6, 4),
    (2026, 3, 20, 3),
    (2026, 5, 27, 4),
    (2027, 3, 9, 3),
    (2027, 5, 16, 4),
];

/// A day in Istanbul. Text form `2026-10-28`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Day(i32);

impl Day {
    /// The day in Istanbul at a moment.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        let seconds = (at + OFFSET).as_nanos().div_euclid(1_000_000_000);
        // The whole range of timestamps is 213 504 days.
        Self(i32::try_from(seconds.div_euclid(DAY_SECONDS)).unwrap_or_default())
    }

    /// From a year, a month and a day; none where there is no such day.
    #[must_use]
    pub fn new(year: i32, month: u8, day: u8) -> Option<Self> {
        let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
        Some(Self(date.to_julian_day() - epoch()))
    }

    /// Its midnight in Istanbul: 21:00 UTC of the day before.
    #[must_use]
    pub fn midnight(self) -> Timestamp {
        Timestamp::from_millis(i64::from(self.0) * DAY_SECONDS * 1_000) - OFFSET
    }

    /// The year.
    #[must_use]
    pub fn year(self) -> i32 {
        self.date().year()
    }

    /// Saturday or Sunday.
    #[must_use]
    pub const fn is_weekend(self) -> bool {
        // 1970-01-01 was a Thursday.
        matches!(self.0.rem_euclid(7), 2 | 3)
    }

    /// So many days later.
    #[must_use]
    pub fn plus(self, days: i64) -> Self {
        Self(i32::try_from(i64::from(self.0) + days).unwrap_or(self.0))
    }

    fn date(self) -> Date {
        Date::from_julian_day(self.0.saturating_add(epoch())).unwrap_or(Date::MIN)
    }
}

fn epoch() -> i32 {
    ::time::OffsetDateTime::UNIX_EPOCH.date().to_julian_day()
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.date();
        write!(f, "{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
    }
}

impl FromStr for Day {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text:.16}` is not a day such as 2026-10-28");
        let mut parts = text.split('-');
        let (Some(year), Some(month), Some(day), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        if (year.len(), month.len(), day.len()) != (4, 2, 2) {
            return Err(wrong());
        }
        let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
        let small = |text: &str| number(text).and_then(|it| u8::try_from(it).map_err(|_| wrong()));
        Self::new(i32::from(number(year)?), small(month)?, small(day)?).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Day {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

/// What the exchange does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Night, weekend, holiday.
    Closed,
    /// 09:40 to 10:00: orders are collected and matched at one price. No price changes before that.
    OpeningAuction,
    /// 10:00 to 18:00 (12:30 on a half day): shares trade without a break.
    Continuous,
    /// The eight minutes after it: orders are collected and matched at one price, within ±3 % of the last one.
    ClosingAuction,
    /// The two minutes after that: trades at the closing price only.
    TradesAtClose,
}

impl Phase {
    /// The spelling in answers and in `market.snapshots`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::OpeningAuction => "opening_auction",
            Self::Continuous => "continuous",
            Self::ClosingAuction => "closing_auction",
            Self::TradesAtClose => "trades_at_close",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The moments of one trading day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The day.
    pub day: Day,
    /// Trading ends at 12:30.
    pub half: bool,
    /// The opening auction begins: 09:40.
    pub auction: Timestamp,
    /// Continuous trading begins: 10:00. Candles of the session begin here.
    pub open: Timestamp,
    /// Continuous trading ends: 18:00, or 12:30.
    pub close: Timestamp,
    /// Trades at the closing price begin, eight minutes later.
    pub at_close: Timestamp,
    /// The session is over, ten minutes after `close`. Trades of the closing auction lie between the two.
    pub end: Timestamp,
}

impl Session {
    fn of(day: Day, half: bool) -> Self {
        let at = |minutes: u64| day.midnight() + Duration::from_secs(minutes * 60);
        let close = if half { 12 * 60 + 30 } else { 18 * 60 };
        Self {
            day,
            half,
            auction: at(9 * 60 + 40),
            open: at(10 * 60),
            close: at(close),
            at_close: at(close + 8),
            end: at(close + 10),
        }
    }

    fn all_day(day: Day) -> Self {
        let (begin, end) = (day.midnight(), day.plus(1).midnight());
        Self { day, half: false, auction: begin, open: begin, close: end, at_close: end, end }
    }

    fn phase(&self, at: Timestamp) -> Phase {
        let bounds = [
            (self.auction, Phase::Closed),
            (self.open, Phase::OpeningAuction),
            (self.close, Phase::Continuous),
            (self.at_close, Phase::ClosingAuction),
            (self.end, Phase::TradesAtClose),
        ];
        bounds.into_iter().find(|(until, _)| at < *until).map_or(Phase::Closed, |(_, phase)| phase)
    }
}

/// The calendar does not know the bayrams of a year: it takes them for trading days.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Borsa Istanbul's calendar holds the bayrams of {} to {} only, not of {year}: name them under [feed.bist] holidays and half_days",
    YEARS.start(),
    YEARS.end()
)]
pub struct UnknownYear {
    /// The year.
    pub year: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Holiday,
    Half,
}

/// When Borsa Istanbul is open. Build it once; looking something up is a few comparisons and one search in a small map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    days: BTreeMap<Day, Kind>,
    years: BTreeSet<i32>,
    always: bool,
}

impl Default for Calendar {
    fn default() -> Self {
        Self::new(&[], &[])
    }
}

impl Calendar {
    /// The table of [`YEARS`], with what the configuration adds. A day named here wins over the table; a year in which the
    /// configuration names a holiday counts as known.
    #[must_use]
    pub fn new(holidays: &[Day], half_days: &[Day]) -> Self {
        let mut days = BTreeMap::new();
        for (year, month, day, length) in BAYRAMS {
            let Some(first) = Day::new(year, month, day) else { continue };
            days.insert(first.plus(-1), Kind::Half);
            days.extend((0..length).map(|n| (first.plus(n), Kind::Holiday)));
        }
        days.extend(half_days.iter().map(|day| (*day, Kind::Half)));
        days.extend(holidays.iter().map(|day| (*day, Kind::Holiday)));
        let years = YEARS.chain(holidays.iter().map(|day| day.year())).collect();
        Self { days, years, always: false }
    }

    /// The calendar of the demo: every day, around the clock, one session from midnight to midnight in Istanbul.
    #[must_use]
    pub const fn always_open() -> Self {
        Self { days: BTreeMap::new(), years: BTreeSet::new(), always: true }
    }

    /// Whether the bayrams of the moment's year are known.
    ///
    /// # Errors
    /// [`UnknownYear`]: weekends and national holidays still hold, bayrams are taken for trading days.
    pub fn check(&self, at: Timestamp) -> Result<(), UnknownYear> {
        let year = Day::of(at).year();
        if self.always || self.years.contains(&year) { Ok(()) } else { Err(UnknownYear { year }) }
    }

    /// The session of a day; none on weekends and holidays.
    #[must_use]
    pub fn session(&self, day: Day) -> Option<Session> {
        if self.always {
            return Some(Session::all_day(day));
        }
        let date = day.date();
        let month_day = (u8::from(date.month()), date.day());
        if day.is_weekend() {
            return None;
        }
        match self.days.get(&day) {
            Some(Kind::Holiday) => None,
            _ if NATIONAL.contains(&month_day) => None,
            Some(Kind::Half) => Some(Session::of(day, true)),
            None => Some(Session::of(day, month_day == (10, 28))),
        }
    }

    /// The session of the day in Istanbul that a moment lies in, whether it has begun, runs or is over.
    #[must_use]
    pub fn session_of(&self, at: Timestamp) -> Option<Session> {
        self.session(Day::of(at))
    }

    /// What the exchange does at a moment.
    #[must_use]
    pub fn phase_at(&self, at: Timestamp) -> Phase {
        self.session_of(at).map_or(Phase::Closed, |session| session.phase(at))
    }

    /// Continuous trading: the only phase in which a price that does not change can be called late.
    #[must_use]
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.phase_at(at) == Phase::Continuous
    }

    /// The first session whose continuous trading begins after a moment; none when the configuration closes more than a
    /// month in a row.
    #[must_use]
    pub fn next_session(&self, at: Timestamp) -> Option<Session> {
        let today = Day::of(at);
        (0..=SEARCH_DAYS).filter_map(|n| self.session(today.plus(n))).find(|session| session.open > at)
    }

    /// When continuous trading begins next, strictly after a moment.
    #[must_use]
    pub fn next_open(&self, at: Timestamp) -> Option<Timestamp> {
        self.next_session(at).map(|session| session.open)
    }
}

#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
