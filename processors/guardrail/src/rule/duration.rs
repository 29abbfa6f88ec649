//! Durations as people write them: a number is nothing without its unit.

use std::time::Duration;

const UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// `250ms`, `30s`, `5m`, `3h`, `1d`, and sums such as `1h30m`.
///
/// # Errors
/// `(what is wrong, what would be right)`.
pub fn parse(text: &str) -> Result<Duration, (String, String)> {
    let example = || "write a whole number and one of ms, s, m, h, d, such as \"250ms\", \"30s\", \"5m\" or \"1h30m\"".to_owned();
    if let Ok(number) = text.parse::<f64>() {
        let fix = if number.fract() == 0.0 && number >= 0.0 {
            format!("write \"{text}s\" for seconds or \"{text}ms\" for milliseconds")
        } else {
            example()
        };
        return Err(("a duration without a unit".to_owned(), fix));
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| ("not a duration".to_owned(), example()))?;
        let Some((_, millis)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err((format!("`{unit}` is not a unit of time"), example()));
        };
        total = number
            .checked_mul(*millis)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| ("longer than any time".to_owned(), example()))?;
        rest = tail;
    }
    if text.is_empty() { Err(("empty".to_owned(), example())) } else { Ok(Duration::from_millis(total)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        let good = |text: &str, millis: u64| assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        good("250ms", 250);
        good("30s", 30_000);
        good("5m", 300_000);
        good("3h", 10_800_000);
        good("1h30m", 5_400_000);
        good("0s", 0);
        let bad = |text: &str, part: &str| {
            let (what, fix) = parse(text).unwrap_err();
            assert!(format!("{what}: {fix}").contains(part), "{text}: {what}: {fix}");
        };
        bad("300", "\"300s\"");
        bad("5 minutes", "not a unit");
        bad("5min", "`min` is not a unit");
        bad("1.5h", "whole number");
        bad("-5s", "not a duration");
        bad("", "empty");
        bad("s", "not a duration");
        bad("99999999999999999999d", "not a duration");
        bad("9999999999999999d", "longer than");
    }
}
