//! `aggregation = "burn_rate"`: how fast the error budget of an objective is used up.

use std::time::Duration;

use spark_bus_schema::alerts::Severity;

use super::limits::{YEAR, impossible};
use super::metric;
use super::reader::Reader;
use crate::alert::{Direction, Limit, Limits, NoData};
use crate::window::{Aggregation, Burn, BurnPair};

const EXAMPLE: &str = "write for example burn = [{ long = \"1h\", short = \"5m\", factor = 14.4, severity = \"critical\" }]";
/// Longest window.
const WINDOW_MAX: Duration = Duration::from_secs(31 * 86_400);

/// Keys that only a burn rate has.
pub fn without(read: &mut Reader<'_, '_, '_>) -> Option<(Burn, Limits)> {
    for key in ["objective", "burn"] {
        if read.has(key) {
            read.wrong(key, "only a burn rate has this", "write aggregation = \"burn_rate\", or remove it");
        }
    }
    None
}

/// `objective` and `burn`; none after a mistake in them.
pub fn burn(read: &mut Reader<'_, '_, '_>) -> Option<(Burn, Limits)> {
    let before = read.source.problems.len();
    for key in ["warning", "critical", "window", "direction", "quantile"] {
        if read.has(key) {
            read.wrong(key, "a burn rate has its windows and factors in `burn`", "remove it");
        }
    }
    let objective = objective(read);
    let pairs = read.tables("burn");
    if pairs.as_ref().is_none_or(Vec::is_empty) {
        read.wrong("burn", "no windows to judge", EXAMPLE);
    }
    let mut burn = Burn { objective: objective.unwrap_or(0.5), warning: None, critical: None };
    let mut limits =
        Limits { direction: Direction::Above, warning: None, critical: None, keep_firing: Duration::ZERO, no_data: NoData::Ok };
    let path = read.key("burn");
    for (table, span) in pairs.unwrap_or_default() {
        let mut inner = Reader::new(&mut *read.source, table, path.clone(), span);
        let Some((severity, pair, limit)) = one(&mut inner, objective) else { continue };
        let (place, threshold) = match severity {
            Severity::Warning => (&mut burn.warning, &mut limits.warning),
            Severity::Critical => (&mut burn.critical, &mut limits.critical),
        };
        if place.is_some() {
            inner.wrong(
                "severity",
                "a pair of windows has this severity already",
                "make it a rule with an alert name of its own",
            );
        }
        (*place, *threshold) = (Some(pair), Some(limit));
    }
    if let Some((what, fix)) = super::limits::reversed(&limits) {
        read.wrong("burn", format!("the critical factor is {what}"), fix);
    }
    (read.source.problems.len() == before).then_some((burn, limits))
}

fn objective(read: &mut Reader<'_, '_, '_>) -> Option<f64> {
    if !read.has("objective") {
        read.wrong("objective", "missing", "say which share must succeed, such as objective = 0.99");
    }
    let objective = read.number("objective")?;
    if objective > 0.0 && objective < 1.0 {
        return Some(objective);
    }
    let fix = if (1.0..100.0).contains(&objective) && objective > 1.0 {
        format!("for {objective} % write objective = {}", objective / 100.0)
    } else {
        "write for example objective = 0.99; an objective of 1 has no budget to burn".to_owned()
    };
    read.wrong("objective", "not between 0 and 1", fix);
    None
}

fn one(read: &mut Reader<'_, '_, '_>, objective: Option<f64>) -> Option<(Severity, BurnPair, Limit)> {
    read.reject_unknown(&["long", "short", "factor", "severity", "for"]);
    for key in ["long", "short", "factor", "severity"] {
        if !read.has(key) {
            read.wrong(key, "missing", EXAMPLE);
        }
    }
    let long = length(read, "long");
    let short = length(read, "short");
    if let (Some(long), Some(short)) = (long, short)
        && short >= long
    {
        read.wrong("short", "not shorter than the long window", "swap them; a twelfth of the long window is usual");
    }
    let severity = match read.word("severity", &["warning", "critical"]) {
        Some("critical") => Some(Severity::Critical),
        Some(_) => Some(Severity::Warning),
        None => None,
    };
    let factor = read.number("factor");
    if factor.is_some_and(|factor| factor <= 0.0) {
        read.wrong("factor", "not above 0", "write how much faster than allowed is too fast, such as 14.4");
    }
    if let (Some(factor), Some(objective)) = (factor, objective) {
        let burn = Burn { objective, warning: None, critical: None };
        let found = impossible(factor, &metric::CALLS, Aggregation::BurnRate(burn), Direction::Above);
        if let Some((what, fix)) = found.filter(|_| factor > 0.0) {
            read.wrong("factor", what, fix);
        }
    }
    let hold = if read.has("for") { read.duration("for")? } else { Duration::ZERO };
    if hold > YEAR {
        read.wrong("for", "longer than a year: it would never fire", "write for example for = \"2m\"");
    }
    Some((severity?, BurnPair { long: long?, short: short? }, Limit { threshold: factor?, hold }))
}

fn length(read: &mut Reader<'_, '_, '_>, key: &str) -> Option<Duration> {
    let length = read.duration(key)?;
    if (Duration::from_secs(1)..=WINDOW_MAX).contains(&length) {
        return Some(length);
    }
    read.wrong(key, "not between a second and 31 days", "write for example \"1h\"");
    None
}
