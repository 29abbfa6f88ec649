//! The two files: the guardrail's rules and Prometheus' rules, each complete, with the proposed thresholds.

use std::collections::BTreeMap;

use spark_guardrail::Rules;
use spark_guardrail::machine::thresholds::Scope;
use spark_reporter::tune::Thresholds;
use toml_edit::{DocumentMut, InlineTable, Item, Table, Value, value};

/// Prometheus' rules that the tuned ones are made from.
const PROMETHEUS: &str = include_str!("../../../../dashboards/prometheus/rules/spark-portfolio.rules.yml");

/// Which recorded series stands for a rule: rule, series, what one unit of the rule is in it, the rule's scope label, and
/// that label's name in Prometheus. Rules that are not here have no counterpart with the same window.
const SERIES: [(&str, &str, f64, &str, &str); 5] = [
    ("portfolio_refresh_p95", "job:spark_portfolio_latency_p95:5m", 1.0, "exchange", "exchange"),
    ("portfolio_staleness", "job:spark_portfolio_staleness", 1.0, "exchange", "exchange"),
    ("exchange_error_rate", "job:spark_exchange_api_error_rate:5m", 1.0, "exchange", "exchange"),
    ("ws_staleness_venue", "job:spark_ws_staleness:current", 1.0, "venue", "exchange"),
    ("api_p95", "job:spark_http_latency_p95:5m", 0.001, "service", "service"),
];

/// No rule file has so many tables: places from here on are after all of them.
const PLACES: usize = 1_000_000;

/// What is proposed for one rule.
pub struct Proposal {
    /// The rule.
    pub rule: String,
    /// For every scope without its own.
    pub all: Thresholds,
    /// For single scopes.
    pub scopes: BTreeMap<Scope, Thresholds>,
    /// Whether values above are bad.
    pub above: bool,
}

/// The rule file with the proposals in it. A scope with thresholds of its own becomes a rule of its own, with `where`; the rule for
/// all then has the loosest thresholds, because it sees that scope too.
///
/// # Errors
/// It would not be a rule file; the text says why.
pub fn guardrail(text: &str, proposals: &[Proposal]) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    let tables = document.get_mut("rule").and_then(Item::as_array_of_tables_mut).ok_or("there is no [[rule]]")?;
    let mut added = Vec::new();
    for table in tables.iter_mut() {
        let id = table.get("id").and_then(Item::as_str).unwrap_or_default().to_owned();
        let Some(proposal) = proposals.iter().find(|proposal| proposal.rule == id) else { continue };
        let loosest = proposal.scopes.values().fold(proposal.all, |a, b| loosest(a, *b, proposal.above));
        for (scope, thresholds) in &proposal.scopes {
            added.push(own(table, &id, scope, *thresholds));
        }
        set(table, loosest);
    }
    // To the end of the file, in this order, wherever their models stand.
    for (place, mut table) in (PLACES..).zip(added) {
        table.set_position(place);
        tables.push(table);
    }
    let head = "# Made by `spark tune` from recorded days. `[guardrail] rules = \"guardrail-tuned.toml\"` in spark.toml puts it in force;\n\
        # `spark tune --confirm` puts the same thresholds in force at run time, without a file.\n";
    let text = format!("{head}{document}");
    Rules::from_toml(&text, "guardrail-tuned.toml")
        .map_err(|wrong| wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    Ok(text)
}

fn loosest(a: Thresholds, b: Thresholds, above: bool) -> Thresholds {
    let of = |a: Option<f64>, b: Option<f64>| Some(if above { a?.max(b?) } else { a?.min(b?) });
    Thresholds { warning: of(a.warning, b.warning), critical: of(a.critical, b.critical) }
}

/// Puts thresholds where the old ones were; delays stay.
fn set(table: &mut Table, thresholds: Thresholds) {
    for (key, threshold) in [("warning", thresholds.warning), ("critical", thresholds.critical)] {
        let Some(threshold) = threshold else { continue };
        match table.get_mut(key) {
            Some(Item::Value(Value::InlineTable(inner))) => put(inner, threshold),
            Some(Item::Table(inner)) => inner["threshold"] = number(threshold),
            Some(item) => *item = number(threshold),
            None => {}
        }
    }
}

fn put(inner: &mut InlineTable, threshold: f64) {
    if let (Ok(number), Some(held)) = (number(threshold).into_value(), inner.get_mut("threshold")) {
        *held = number;
    }
}

/// Whole numbers as people write them.
fn number(threshold: f64) -> Item {
    #[expect(clippy::cast_possible_truncation, reason = "whole, and below 2^53")]
    if threshold.fract() == 0.0 && threshold.abs() < 9e15 { value(threshold as i64) } else { value(threshold) }
}

fn own(table: &Table, id: &str, scope: &Scope, thresholds: Thresholds) -> Table {
    let mut table = table.clone();
    table.decor_mut().set_prefix("\n");
    let words: Vec<&str> = scope.values().map(String::as_str).collect();
    let plain = |text: &str| -> String { text.chars().filter(char::is_ascii_alphanumeric).collect() };
    let slug = words.iter().map(|word| plain(word).to_ascii_lowercase()).collect::<Vec<_>>().join("_");
    let camel: String = words.iter().map(|word| upper(&plain(word))).collect();
    let alert = table.get("alert").and_then(Item::as_str).unwrap_or_default().to_owned();
    table["id"] = value(format!("{id}_{slug}"));
    // Two rules with one alert name and the same labels could not be told apart.
    table["alert"] = value(format!("{alert}{camel}"));
    let mut filter = table.get("where").and_then(Item::as_inline_table).cloned().unwrap_or_default();
    scope.iter().for_each(|(label, word)| drop(filter.insert(label, word.as_str().into())));
    table["where"] = value(filter);
    // Other scopes are expected by the rule for all.
    table.remove("expect");
    set(&mut table, thresholds);
    table
}

fn upper(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// Prometheus' rules with the proposals in them. A rule with thresholds for single scopes becomes one expression with `or`.
#[must_use]
pub fn prometheus(proposals: &[Proposal]) -> String {
    let mut text = String::from(
        "# Made by `spark tune` from recorded days: spark-portfolio.rules.yml with other thresholds. It stands in its place, not beside\n\
         # it. Prometheus reads it after SIGHUP, or after a POST to /-/reload when it runs with --web.enable-lifecycle.\n",
    );
    let lines: Vec<&str> = PROMETHEUS.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        // The severity comes a line or two after its expression, and before the next one.
        let severity = lines[index + 1..].iter().take_while(|line| !line.trim_start().starts_with("- ")).find_map(|line| {
            let labels = line.trim_start().strip_prefix("labels:")?;
            ["warning", "critical"].into_iter().find(|word| labels.contains(word))
        });
        let tuned = severity.and_then(|severity| expression(line, severity, proposals));
        text.push_str(&tuned.unwrap_or_else(|| (*line).to_owned()));
        text.push('\n');
    }
    text
}

fn expression(line: &str, severity: &str, proposals: &[Proposal]) -> Option<String> {
    let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
    let (series, _) = rest.strip_prefix("expr: ")?.split_once(" > ")?;
    let (rule, _, unit, label, theirs) = SERIES.into_iter().find(|(_, known, ..)| *known == series)?;
    let proposal = proposals.iter().find(|proposal| proposal.rule == rule)?;
    let of = |thresholds: &Thresholds| if severity == "warning" { thresholds.warning } else { thresholds.critical };
    let shown = |threshold: f64| format!("{}", rounded(threshold * unit));
    let own: Vec<(&str, f64)> = (proposal.scopes.iter())
        .filter_map(|(scope, thresholds)| Some((scope.get(label)?.as_str(), of(thresholds)?)))
        // A value that would act in a regular expression is left to the rule for all.
        .filter(|(word, _)| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'))
        .collect();
    let all = shown(of(&proposal.all)?);
    if own.is_empty() {
        return Some(format!("{indent}expr: {series} > {all}"));
    }
    let mut parts: Vec<String> =
        own.iter().map(|(word, threshold)| format!("{series}{{{theirs}=\"{word}\"}} > {}", shown(*threshold))).collect();
    let words: Vec<&str> = own.iter().map(|(word, _)| *word).collect();
    parts.push(format!("{series}{{{theirs}!~\"{}\"}} > {all}", words.join("|")));
    Some(format!("{indent}expr: >-\n{indent}  {}", parts.join(&format!("\n{indent}  or "))))
}

/// A product of two short decimals is one too, whatever the float says.
fn rounded(value: f64) -> f64 {
    format!("{value:.9}").parse().unwrap_or(value)
}
