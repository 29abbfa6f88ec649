//! Days, hours and phases in Istanbul, UTC+3 all year. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const OFFSET_MS: i64 = 3 * HOUR_MS;
/// Month and day of national holidays.
const NATIONAL: [(i64, i64); 7] = [(1, 1), (4, 23), (5, 1), (5, 19), (7, 15), (8, 30), (10, 29)];

/// When the simulated exchange is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CalendarKind {
    /// Around the clock, every day.
    Always,
    /// As Borsa Istanbul.
    Exchange,
}

/// Phases of a day, in the vendor's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Closed,
    OpeningAuction,
    Continuous,
    ClosingAuction,
    TradesAtClose,
}

impl Phase {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::OpeningAuction => "opening_auction",
            Self::Continuous => "continuous",
            Self::ClosingAuction => "closing_auction",
            Self::TradesAtClose => "trades_at_close",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Calendar {
    pub kind: CalendarKind,
    holidays: BTreeSet<i64>,
    half_days: BTreeSet<i64>,
}

impl Calendar {
    pub(crate) fn new(kind: CalendarKind, holidays: &[String], half_days: &[String]) -> Self {
        let days = |texts: &[String]| texts.iter().filter_map(|text| day(text)).collect();
        Self { kind, holidays: days(holidays), half_days: days(half_days) }
    }

    /// What happens at a moment, ms since 1970 UTC.
    pub(crate) fn phase(&self, at_ms: i64) -> Phase {
        if self.kind == CalendarKind::Always {
            return Phase::Continuous;
        }
        let day = day_of(at_ms);
        let (_, month, date) = civil(day);
        // 1970-01-01 was a Thursday.
        let is_weekend = matches!(day.rem_euclid(7), 2 | 3);
        if is_weekend || NATIONAL.contains(&(month, date)) || self.holidays.contains(&day) {
            return Phase::Closed;
        }
        let minute = (at_ms + OFFSET_MS).rem_euclid(DAY_MS) / MINUTE_MS;
        let close = if self.half_days.contains(&day) { 12 * 60 + 30 } else { 18 * 60 };
        match minute {
            minute if minute < 9 * 60 + 40 || minute >= close + 10 => Phase::Closed,
            minute if minute < 10 * 60 => Phase::OpeningAuction,
            minute if minute < close => Phase::Continuous,
            minute if minute < close + 8 => Phase::ClosingAuction,
            _ => Phase::TradesAtClose,
        }
    }
}

/// Days since 1970-01-01 in Istanbul.
pub(crate) const fn day_of(at_ms: i64) -> i64 {
    (at_ms + OFFSET_MS).div_euclid(DAY_MS)
}

/// Istanbul's midnight of a day, ms since 1970 UTC.
pub(crate) const fn midnight(day: i64) -> i64 {
    day * DAY_MS - OFFSET_MS
}

/// Year, month and day: a calendar of 400 years has 146 097 days; years begin in March here, so that the leap day is the last.
fn civil(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, date)
}

/// Reads `2026-10-28`.
pub(crate) fn day(text: &str) -> Option<i64> {
    let mut parts = text.split('-').map(|part| part.parse::<i64>().ok());
    let wanted = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || !(1970..=2200).contains(&wanted.0) || text.len() != 10 {
        return None;
    }
    // Few days lie between the first of January and the one looked for.
    let first = (wanted.0 - 1970) * 365 + (wanted.0 - 1969) / 4 - (wanted.0 - 1901) / 100 + (wanted.0 - 1601) / 400;
    (first..first + 366).find(|day| civil(*day) == wanted)
}

/// `2026-11-20T17:59:58.250+03:00`.
pub(crate) fn text(at_ms: i64) -> String {
    let (year, month, date) = civil(day_of(at_ms));
    let rest = (at_ms + OFFSET_MS).rem_euclid(DAY_MS);
    let (hour, minute) = (rest / HOUR_MS, rest / MINUTE_MS % 60);
    let (second, ms) = (rest / 1_000 % 60, rest % 1_000);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}+03:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day_text: &str, hour: i64, minute: i64) -> i64 {
        midnight(day(day_text).unwrap()) + hour * HOUR_MS + minute * MINUTE_MS
    }

    #[test]
    fn days_are_counted_as_everybody_counts_them() {
        for (text, number) in [("1970-01-01", 0), ("2000-02-29", 11_016), ("2026-11-21", 20_778), ("2100-03-01", 47_541)] {
            assert_eq!(day(text), Some(number), "{text}");
        }
        for wrong in ["2026-02-29", "2026-13-01", "26-01-01", "2026-1-1", "", "2026-01-01-1"] {
            assert_eq!(day(wrong), None, "{wrong}");
        }
        assert_eq!(super::text(at("2026-11-20", 17, 59) + 58_250), "2026-11-20T17:59:58.250+03:00");
    }

    #[test]
    fn phases_of_full_half_and_closed_days() {
        let config = crate::BistConfig::default();
        let calendar = Calendar::new(CalendarKind::Exchange, &config.holidays, &config.half_days);
        let check =
            |day: &str, hour, minute, phase| assert_eq!(calendar.phase(at(day, hour, minute)), phase, "{day} {hour}:{minute}");
        check("2026-11-20", 9, 39, Phase::Closed);
        check("2026-11-20", 9, 40, Phase::OpeningAuction);
        check("2026-11-20", 10, 0, Phase::Continuous);
        check("2026-11-20", 17, 59, Phase::Continuous);
        check("2026-11-20", 18, 0, Phase::ClosingAuction);
        check("2026-11-20", 18, 8, Phase::TradesAtClose);
        check("2026-11-20", 18, 10, Phase::Closed);
        check("2026-11-21", 12, 0, Phase::Closed);
        check("2026-10-28", 12, 29, Phase::Continuous);
        check("2026-10-28", 12, 30, Phase::ClosingAuction);
        check("2026-10-29", 12, 0, Phase::Closed);
        check("2026-05-27", 12, 0, Phase::Closed);
        let always = Calendar::new(CalendarKind::Always, &[], &[]);
        assert_eq!(always.phase(at("2026-11-21", 3, 0)), Phase::Continuous);
    }
}
