//! Sentences with figures in them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Placeholders that every rule may use, besides its own scope labels.
pub const PLACEHOLDERS: &[&str] = &["value", "threshold", "unit", "window", "samples", "severity", "scope"];

/// What an alert says to people. All may contain placeholders such as `{value}` or `{exchange}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// One sentence with the figures.
    pub summary: String,
    /// Probable cause.
    pub cause: String,
    /// What to do first.
    pub first_action: String,
    /// What keeps it from coming back.
    pub permanent_fix: String,
    /// Link to the runbook.
    pub runbook: String,
}

/// Replaces `{name}` by its value. What is not known stays as it is.
#[must_use]
pub fn render(template: &str, values: &BTreeMap<&str, String>) -> String {
    let mut text = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let (before, tail) = rest.split_at(start);
        text.push_str(before);
        match tail.find('}').and_then(|end| Some((end, values.get(&tail[1..end])?))) {
            Some((end, value)) => {
                text.push_str(value);
                rest = &tail[end + 1..];
            }
            None => {
                text.push('{');
                rest = &tail[1..];
            }
        }
    }
    text.push_str(rest);
    text
}

/// Names in braces.
pub fn placeholders(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|part| part.split_once('}').map(|(name, _)| name))
}

/// A figure as people write it: whole above 100, else at most three decimals.
#[must_use]
pub fn figure(value: f64) -> String {
    let text = if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A duration in its largest whole unit.
#[must_use]
pub fn span(duration: std::time::Duration) -> String {
    let millis = duration.as_millis();
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis >= size && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_and_nothing_else() {
        let values = BTreeMap::from([("value", "4012".to_owned()), ("exchange", "{value}".to_owned())]);
        assert_eq!(render("{exchange}: {value} ms {other} {", &values), "{value}: 4012 ms {other} {");
        assert_eq!(placeholders("{a} b} {c}{").collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn figures_are_short() {
        let check = |value, want: &str| assert_eq!(figure(value), want);
        check(4_012.4, "4012");
        check(100.0, "100");
        check(0.016_666, "0.017");
        check(30.0, "30");
        check(0.5, "0.5");
        check(0.0, "0");
        assert_eq!(span(std::time::Duration::from_secs(300)), "5m");
        assert_eq!(span(std::time::Duration::from_millis(1_500)), "1500ms");
    }
}
