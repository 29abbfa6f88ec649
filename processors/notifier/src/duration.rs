//! Durations as people write them: a number is nothing without its unit.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// Longer than anybody means.
const MILLISECONDS_MAX: u64 = 366 * 86_400_000;

/// `250ms`, `30s`, `5m`, `4h`, `1d`.
///
/// # Errors
/// What is wrong and what would be right.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = |what: &str| format!("{what}; write a whole number and one of ms, s, m, h, d, e.g. \"30s\"");
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(|| wrong("a duration without a unit"))?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| wrong("not a duration"))?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| wrong("not a unit of time"))?;
    let milliseconds = number.checked_mul(*factor).filter(|total| *total <= MILLISECONDS_MAX);
    milliseconds.map(Duration::from_millis).ok_or_else(|| wrong("longer than a year"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_number_and_a_unit() {
        let check = |text: &str, want: Option<u64>| assert_eq!(parse(text).ok(), want.map(Duration::from_millis), "{text}");
        check("250ms", Some(250));
        check("0s", Some(0));
        check("4h", Some(14_400_000));
        for text in ["", "5", "s", "5 s", "-5s", "1.5h", "5w", "400d", "99999999999999999999d"] {
            assert!(parse(text).is_err_and(|said| said.contains("e.g.")), "{text}");
        }
    }
}
