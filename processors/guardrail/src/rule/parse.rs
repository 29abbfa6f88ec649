//! From TOML to rules, with every mistake named: file, line, key, value, and what would be right.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use toml_edit::{ImDocument, TableLike};

use super::metric::{METRICS, Metric, MetricKind};
use super::problem::{Problem, suggestion};
use super::reader::{Reader, Source};
use super::text::{PLACEHOLDERS, Text, placeholders};
use super::{PROCESSES, Rule, text::figure};
use crate::alert::{Direction, Limit, Limits, NoData};
use crate::window::Aggregation;
use crate::window::cells::VALUE_MAX;

const YEAR: Duration = Duration::from_secs(366 * 86_400);
/// Rules in one file.
const RULES_MAX: usize = 500;
const KEYS: &[&str] = &[
    "id",
    "alert",
    "metric",
    "scope",
    "where",
    "window",
    "aggregation",
    "quantile",
    "direction",
    "warning",
    "critical",
    "keep_firing_for",
    "min_samples",
    "no_data",
    "unit",
    "expect",
    "summary",
    "cause",
    "first_action",
    "permanent_fix",
    "runbook",
    "restart",
];

pub fn rules(text: &str, file: &str) -> Result<Vec<Rule>, Vec<Problem>> {
    let mut source = Source { text, file, problems: Vec::new() };
    let document = match ImDocument::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let what = format!("not TOML: {}", error.message().lines().collect::<Vec<_>>().join(", "));
            source.problem(error.span(), "file", "", what, "see https://toml.io for how values are written");
            return Err(source.problems);
        }
    };
    let root = document.as_table();
    Reader::new(&mut source, root, String::new(), None).reject_unknown(&["rule"]);
    let mut rules = Vec::new();
    match root.get("rule").map(|item| (item.as_array_of_tables(), item.span())) {
        Some((Some(tables), _)) => {
            for (index, table) in tables.iter().enumerate().take(RULES_MAX) {
                rules.extend(rule(&mut source, table, index, table.span()));
            }
            if tables.len() > RULES_MAX {
                source.problem(None, "rule", &tables.len().to_string(), "too many rules", format!("keep to {RULES_MAX}"));
            }
        }
        Some((None, span)) => source.problem(span, "rule", "", "not a list of tables", "begin each rule with a line [[rule]]"),
        None => source.problem(None, "rule", "", "there is no rule", "add at least one [[rule]]"),
    }
    reject_twins(&mut source, &rules);
    if source.problems.is_empty() {
        return Ok(rules.into_iter().map(|(rule, _)| rule).collect());
    }
    source.problems.sort_by_key(|problem| problem.line);
    Err(source.problems)
}

/// Two rules with one id, or with one alert name and the same scope labels: their alerts could not be told apart.
fn reject_twins(source: &mut Source<'_>, rules: &[(Rule, Option<std::ops::Range<usize>>)]) {
    let mut ids = BTreeMap::new();
    let mut alerts = BTreeMap::new();
    for (rule, span) in rules {
        let line = source.line(span.clone()).unwrap_or_default();
        let quoted = format!("\"{}\"", rule.id);
        if let Some(first) = ids.insert(rule.id.clone(), line) {
            let key = format!("rule.{}.id", rule.id);
            source.problem(
                span.clone(),
                &key,
                &quoted,
                format!("the rule in line {first} has this id already"),
                "give each rule an id of its own",
            );
        } else if let Some((first, _)) = alerts.insert((rule.alert.clone(), rule.scope.clone()), (rule.id.clone(), line)) {
            let key = format!("rule.{}.alert", rule.id);
            let what = format!("rule `{first}` raises this alert for the same scope labels already");
            source.problem(
                span.clone(),
                &key,
                &format!("\"{}\"", rule.alert),
                what,
                "use another alert name or other scope labels",
            );
        }
    }
}

type Spanned = (Rule, Option<std::ops::Range<usize>>);

fn rule(source: &mut Source<'_>, table: &dyn TableLike, index: usize, span: Option<std::ops::Range<usize>>) -> Option<Spanned> {
    let name = table.get("id").and_then(|item| item.as_str()).map_or_else(|| (index + 1).to_string(), str::to_owned);
    let before = source.problems.len();
    let mut read = Reader::new(source, table, format!("rule.{name}"), span.clone());
    read.reject_unknown(KEYS);
    let id = identifier(&mut read);
    let alert = alert_name(&mut read);
    let metric = metric(&mut read);
    let aggregation = metric.and_then(|metric| aggregation(&mut read, &metric));
    let scope = metric.and_then(|metric| scope(&mut read, &metric));
    let filter = metric.map(|metric| filter(&mut read, &metric));
    let window = aggregation.and_then(|aggregation| window(&mut read, aggregation));
    let unit = metric.zip(aggregation).and_then(|(metric, aggregation)| unit(&mut read, &metric, aggregation));
    let limits = metric.zip(aggregation).and_then(|(metric, aggregation)| limits(&mut read, &metric, aggregation));
    let expect = expect(&mut read, scope.as_deref());
    let text = text(&mut read, scope.as_deref());
    let restart = restart(&mut read, scope.as_deref());
    let min_samples = read.count("min_samples").unwrap_or(0);
    if min_samples > 1 && matches!(aggregation, Some(Aggregation::Staleness | Aggregation::Gauge)) {
        read.wrong("min_samples", "a momentary value has at most one sample", "remove min_samples");
    }
    if source.problems.len() > before {
        return None;
    }
    let rule = Rule {
        id: id?,
        alert: alert?,
        metric: metric?,
        scope: scope?,
        filter: filter?,
        window: window?,
        aggregation: aggregation?,
        unit: unit?,
        limits: limits?,
        min_samples,
        expect,
        text,
        restart,
    };
    Some((rule, span))
}

fn identifier(read: &mut Reader<'_, '_, '_>) -> Option<String> {
    let id = read.required_text("id", "\"ws_staleness\"")?;
    if id.len() > 64 || !id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        read.wrong("id", "not an id", "use at most 64 of a-z, 0-9 and _");
    }
    Some(id)
}

fn alert_name(read: &mut Reader<'_, '_, '_>) -> Option<String> {
    let alert = read.required_text("alert", "\"WSStaleness\"")?;
    if alert.len() > 64 || !alert.bytes().all(|b| b.is_ascii_alphanumeric()) {
        read.wrong("alert", "not an alert name", "use at most 64 of A-Z, a-z and 0-9, such as \"WSStaleness\"");
    }
    Some(alert)
}

fn metric(read: &mut Reader<'_, '_, '_>) -> Option<Metric> {
    let name = read.required_text("metric", "\"call_latency_ms\"")?;
    let found = Metric::find(&name);
    if found.is_none() {
        let known: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        read.wrong("metric", "unknown metric", suggestion(&name, &known));
    }
    found
}

fn aggregation(read: &mut Reader<'_, '_, '_>, metric: &Metric) -> Option<Aggregation> {
    let known = metric.aggregations();
    if !read.has("aggregation") {
        read.wrong("aggregation", "missing", format!("for metric {} write one of {}", metric.name, known.join(", ")));
        return None;
    }
    let word = read.text("aggregation")?;
    if !known.contains(&word.as_str()) {
        read.wrong("aggregation", format!("metric {} has no such aggregation", metric.name), suggestion(&word, known));
        return None;
    }
    Some(match word.as_str() {
        // With a wrong quantile the rule is refused, but its other keys are still judged.
        "quantile" => Aggregation::Quantile(quantile(read).unwrap_or(0.5)),
        "median" => Aggregation::Quantile(0.5),
        "count" => Aggregation::Count,
        "rate" => Aggregation::Rate,
        "ratio" => Aggregation::Ratio,
        "staleness" => Aggregation::Staleness,
        _ => Aggregation::Gauge,
    })
}

fn quantile(read: &mut Reader<'_, '_, '_>) -> Option<f64> {
    if !read.has("quantile") {
        read.wrong("quantile", "missing", "write for example quantile = 0.95");
    }
    let quantile = read.number("quantile")?;
    if quantile > 0.0 && quantile < 1.0 {
        return Some(quantile);
    }
    let fix = if (1.0..100.0).contains(&quantile) {
        format!("for p{quantile} write quantile = {}", quantile / 100.0)
    } else {
        "write for example quantile = 0.95".to_owned()
    };
    read.wrong("quantile", "not between 0 and 1", fix);
    None
}

/// None after a mistake: what depends on the labels is then not judged.
fn scope(read: &mut Reader<'_, '_, '_>, metric: &Metric) -> Option<Vec<String>> {
    let before = read.source.problems.len();
    let mut scope = read.texts("scope").unwrap_or_default();
    for label in &scope {
        if !metric.labels.contains(&label.as_str()) {
            read.wrong("scope", format!("metric {} has no label `{label}`", metric.name), suggestion(label, metric.labels));
        }
    }
    let count = scope.len();
    scope.sort();
    scope.dedup();
    if scope.len() < count {
        read.wrong("scope", "a label is named twice", "name each label once");
    }
    (read.source.problems.len() == before).then_some(scope)
}

fn filter(read: &mut Reader<'_, '_, '_>, metric: &Metric) -> BTreeMap<String, String> {
    let filter = if read.has("where") { read.labels("where").unwrap_or_default() } else { BTreeMap::new() };
    for label in filter.keys() {
        if !metric.labels.contains(&label.as_str()) {
            read.wrong("where", format!("metric {} has no label `{label}`", metric.name), suggestion(label, metric.labels));
        }
    }
    filter
}

fn window(read: &mut Reader<'_, '_, '_>, aggregation: Aggregation) -> Option<Duration> {
    let momentary = matches!(aggregation, Aggregation::Staleness | Aggregation::Gauge);
    if !read.has("window") {
        if momentary {
            return Some(Duration::ZERO);
        }
        read.wrong("window", "missing", "write for example window = \"5m\"");
        return None;
    }
    let window = read.duration("window")?;
    match aggregation {
        Aggregation::Staleness => read.wrong("window", "staleness has no window: it counts from the last event", "remove it"),
        _ if window.is_zero() => read.wrong("window", "a window without length", "write for example window = \"5m\""),
        _ if window < Duration::from_secs(1) => read.wrong("window", "shorter than a second", "write at least \"1s\""),
        _ if window > Duration::from_secs(7 * 86_400) => read.wrong("window", "longer than a week", "write at most \"7d\""),
        _ => return Some(window),
    }
    None
}

fn unit(read: &mut Reader<'_, '_, '_>, metric: &Metric, aggregation: Aggregation) -> Option<&'static str> {
    let allowed: &[&'static str] = match aggregation {
        Aggregation::Quantile(_) => &["ms"],
        Aggregation::Count | Aggregation::Gauge => &["count"],
        Aggregation::Rate => &["1/s", "1/min"],
        Aggregation::Ratio => &["ratio"],
        Aggregation::Staleness => &["s"],
    };
    if !read.has("unit") {
        return allowed.first().copied();
    }
    let text = read.text("unit")?;
    let found = allowed.iter().find(|unit| **unit == text).copied();
    if found.is_none() {
        let list = allowed.iter().map(|unit| format!("\"{unit}\"")).collect::<Vec<_>>().join(" or ");
        read.wrong(
            "unit",
            format!("wrong unit for this aggregation of {}", metric.name),
            format!("write {list}, with thresholds to match"),
        );
    }
    found
}

fn limits(read: &mut Reader<'_, '_, '_>, metric: &Metric, aggregation: Aggregation) -> Option<Limits> {
    let direction = if read.has("direction") { read.word("direction", &["above", "below"])? } else { "above" };
    let direction = if direction == "above" { Direction::Above } else { Direction::Below };
    let warning = limit(read, "warning", metric, aggregation, direction);
    let critical = limit(read, "critical", metric, aggregation, direction);
    if let (Some(warning), Some(critical)) = (warning, critical) {
        let (reversed, word) = match direction {
            Direction::Above => (critical.threshold < warning.threshold, "at or above"),
            Direction::Below => (critical.threshold > warning.threshold, "at or below"),
        };
        if reversed {
            let fix = format!("swap them, or set critical {word} {}", figure(warning.threshold));
            read.wrong("critical", format!("reached before the warning of {}", figure(warning.threshold)), fix);
        }
    }
    let keep_firing = read.duration("keep_firing_for").unwrap_or_default();
    if keep_firing > YEAR {
        read.wrong("keep_firing_for", "longer than a year", "write for example \"5m\"");
    }
    let no_data = match if read.has("no_data") { read.word("no_data", &["ok", "alert", "keep"])? } else { "ok" } {
        "alert" => NoData::Alert,
        "keep" => NoData::Keep,
        _ => NoData::Ok,
    };
    Some(Limits { direction, warning, critical, keep_firing, no_data })
}

/// `1500`, or `{ threshold = 1500, for = "30s" }`.
fn limit(
    read: &mut Reader<'_, '_, '_>,
    key: &str,
    metric: &Metric,
    aggregation: Aggregation,
    direction: Direction,
) -> Option<Limit> {
    if !read.has(key) {
        return None;
    }
    let Some((table, span)) = read.table(key) else {
        let threshold = read.number(key)?;
        possible(read, key, threshold, metric, aggregation, direction)?;
        return Some(Limit { threshold, hold: Duration::ZERO });
    };
    let path = read.key(key);
    let mut inner = Reader::new(&mut *read.source, table, path, span);
    inner.reject_unknown(&["threshold", "for"]);
    if !inner.has("threshold") {
        inner.wrong("threshold", "missing", format!("write for example {key} = {{ threshold = 1500, for = \"30s\" }}"));
    }
    let hold = if inner.has("for") { inner.duration("for") } else { Some(Duration::ZERO) };
    if hold.is_some_and(|hold| hold > YEAR) {
        inner.wrong("for", "longer than a year: it would never fire", "write for example for = \"15m\"");
    }
    let threshold = inner.number("threshold")?;
    possible(&mut inner, "threshold", threshold, metric, aggregation, direction)?;
    Some(Limit { threshold, hold: hold? })
}

/// A threshold that can never be crossed, or always is, protects nobody.
fn possible(
    read: &mut Reader<'_, '_, '_>,
    key: &str,
    threshold: f64,
    metric: &Metric,
    aggregation: Aggregation,
    direction: Direction,
) -> Option<()> {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let top = match (aggregation, metric.kind) {
        (Aggregation::Ratio, _) => Some((1.0, "a ratio is between 0 and 1: write 0.05 for 5 %".to_owned())),
        (Aggregation::Quantile(_), MetricKind::Values) => {
            let top = VALUE_MAX as f64 / metric.raw_per_unit();
            Some((top, format!("longer latencies than {} ms are not told apart", figure(top.floor()))))
        }
        _ => None,
    };
    if threshold < 0.0 {
        read.wrong(key, "impossible: nothing measured here is negative", "write a threshold from 0");
        return None;
    }
    if let Some((top, fix)) = top
        && (threshold > top || (direction == Direction::Above && threshold >= top))
    {
        read.wrong(key, "impossible: it can never be crossed", fix);
        return None;
    }
    if direction == Direction::Below && threshold == 0.0 {
        read.wrong(key, "impossible: nothing is below 0", "write a threshold above 0, or direction = \"above\"");
        return None;
    }
    Some(())
}

fn expect(read: &mut Reader<'_, '_, '_>, scope: Option<&[String]>) -> Vec<BTreeMap<String, String>> {
    let list = if read.has("expect") { read.label_list("expect").unwrap_or_default() } else { Vec::new() };
    let Some(scope) = scope else { return list };
    for labels in &list {
        if !labels.keys().eq(scope.iter()) {
            let example = scope.iter().map(|label| format!("{label} = \"…\"")).collect::<Vec<_>>().join(", ");
            read.wrong("expect", "labels differ from scope", format!("write each as {{ {example} }}"));
            break;
        }
    }
    list
}

fn text(read: &mut Reader<'_, '_, '_>, scope: Option<&[String]>) -> Text {
    let labels = scope.unwrap_or_default().iter().map(String::as_str);
    let known: BTreeSet<&str> = PLACEHOLDERS.iter().copied().chain(labels).collect();
    let known: Vec<&str> = known.into_iter().collect();
    let decides = read.has("warning") || read.has("critical");
    let mut one = |key: &str, required: bool| {
        if required && decides && !read.has(key) {
            read.wrong(key, "missing", format!("say it in a sentence: {key} = \"…\""));
        }
        let text = read.text(key).unwrap_or_default();
        if let Some(unknown) = placeholders(&text).find(|name| scope.is_some() && !known.contains(name)) {
            read.wrong(key, format!("unknown placeholder {{{unknown}}}"), suggestion(unknown, &known));
        }
        text
    };
    Text {
        summary: one("summary", true),
        cause: one("cause", true),
        first_action: one("first_action", true),
        permanent_fix: one("permanent_fix", false),
        runbook: one("runbook", false),
    }
}

/// `"feed"`, or `"{service}"` with a scope label of the rule.
fn restart(read: &mut Reader<'_, '_, '_>, scope: Option<&[String]>) -> Option<String> {
    if !read.has("restart") {
        return None;
    }
    let restart = read.text("restart")?;
    if restart.contains(['{', '}']) {
        let label = restart.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).filter(|label| !label.contains(['{', '}']));
        let Some(label) = label else {
            read.wrong(
                "restart",
                "a name and a placeholder",
                "write a process name such as \"feed\", or one label such as \"{service}\"",
            );
            return None;
        };
        if let Some(scope) = scope
            && !scope.iter().any(|known| known == label)
        {
            let known: Vec<&str> = scope.iter().map(String::as_str).collect();
            let fix = if known.is_empty() {
                "the rule has no scope labels; write a process name".to_owned()
            } else {
                suggestion(label, &known)
            };
            read.wrong("restart", format!("unknown placeholder {{{label}}}"), fix);
        }
    } else if !PROCESSES.contains(&restart.as_str()) {
        read.wrong("restart", "not a process that can be restarted", suggestion(&restart, PROCESSES));
    }
    if !read.has("critical") && !read.has("burn") {
        read.wrong("restart", "without a critical threshold nothing is ever restarted", "add critical, or remove restart");
    }
    Some(restart)
}
