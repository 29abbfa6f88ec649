//! Commands for the person at the keyboard: looking and acting.

pub mod audit;
pub mod backtest;
pub mod breaker;
pub mod commands;
pub mod config;
mod dashboards;
pub mod demo;
pub mod doctor;
pub mod evidence;
pub mod explain;
pub mod fault;
pub mod gateway;
pub mod history;
pub mod manual;
pub mod notify;
pub mod orders;
pub mod parked;
pub mod report;
pub mod restart;
pub mod rollout;
pub mod rules;
pub mod runbook;
pub mod schema;
pub mod setup;
pub mod silence;
pub mod smoke;
pub mod status;
mod story;
pub mod strategy;
mod summary;
pub mod tail;
pub mod token;
pub mod top;
pub mod topology;
pub mod tune;
pub mod whatif;

use std::time::Duration;

use spark_bus_schema::subject;

/// The streams that can be looked through.
pub const STREAMS: [&str; 3] = [subject::FEED, subject::LEDGER, subject::PARKED];

/// `30s`, `5m`, `2h`, `1d`.
///
/// # Errors
/// What would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time; write a number and s, m, h or d, e.g. 5m");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

/// An age for a person: `3 s`, `12 min`, `4 h`, `9 d`.
#[must_use]
pub fn age(milliseconds: i64) -> String {
    const LIMITS: [(i64, i64, &str); 3] = [(120_000, 1_000, "s"), (7_200_000, 60_000, "min"), (172_800_000, 3_600_000, "h")];
    if milliseconds < 10_000 {
        return format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100);
    }
    let unit = LIMITS.into_iter().find(|(below, _, _)| milliseconds < *below);
    let (_, divisor, unit) = unit.unwrap_or((0, 86_400_000, "d"));
    format!("{} {unit}", milliseconds / divisor)
}

/// Subjects of each stream that a pattern can match. A pattern that begins with a wildcard is spelt out a stream at a
/// time: the broker refuses filters outside a stream.
#[must_use]
pub fn filters(pattern: &str, only: Option<&str>) -> Vec<(&'static str, Vec<String>)> {
    const ROOTS: [&str; 12] = [
        "market",
        "telemetry",
        "portfolio",
        "marks",
        "orders",
        "risk",
        "signals",
        "alerts",
        "rollout",
        "control",
        "audit",
        "parked",
    ];
    let (first, rest) = pattern.split_once('.').map_or((pattern, None), |(first, rest)| (first, Some(rest)));
    let spelt = |root: &str| match (first, rest) {
        (">", _) => Some(format!("{root}.>")),
        ("*", Some(rest)) => Some(format!("{root}.{rest}")),
        (literal, Some(_)) if literal == root => Some(pattern.to_owned()),
        _ => None,
    };
    STREAMS
        .into_iter()
        .filter(|stream| only.is_none_or(|only| only == *stream))
        .filter_map(|stream| {
            let inside = |root: &&&str| spark_nats::topology::stream_of(&format!("{root}.x")) == Some(stream);
            let subjects: Vec<String> = ROOTS.iter().filter(inside).filter_map(|root| spelt(root)).collect();
            (!subjects.is_empty()).then_some((stream, subjects))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_mistakes_named() {
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1d"), Ok(Duration::from_secs(86_400)));
        for wrong in ["", "5", "m", "5 m", "5w", "-1s", "99999999999999999999d"] {
            assert!(duration(wrong).is_err_and(|text| text.contains("5m")), "{wrong}");
        }
    }

    #[test]
    fn ages_are_told_in_a_unit_that_fits() {
        let check = |milliseconds: i64, want: &str| assert_eq!(age(milliseconds), want);
        check(0, "0.0 s");
        check(2_340, "2.3 s");
        check(65_000, "65 s");
        check(600_000, "10 min");
        check(10_800_000, "3 h");
        check(864_000_000, "10 d");
    }

    #[test]
    fn patterns_are_spelt_out_for_each_stream() {
        let check = |pattern: &str, only: Option<&str>, want: &[(&str, usize)]| {
            let got: Vec<(&str, usize)> =
                filters(pattern, only).iter().map(|(stream, subjects)| (*stream, subjects.len())).collect();
            assert_eq!(got, want, "{pattern}");
        };
        check(">", None, &[("FEED", 2), ("LEDGER", 9), ("PARKED", 1)]);
        check(">", Some("PARKED"), &[("PARKED", 1)]);
        check("alerts.>", None, &[("LEDGER", 1)]);
        check("market.ticks.binance.BTCUSDT", None, &[("FEED", 1)]);
        check("alerts.>", Some("FEED"), &[]);
        check("nothing.here", None, &[]);
        assert_eq!(filters("*.ticks.>", Some("FEED"))[0].1, ["market.ticks.>", "telemetry.ticks.>"]);
    }
}
