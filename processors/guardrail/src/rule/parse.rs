//! From TOML to rules, with every mistake named: file, line, key, value, and what would be right.

use std::collections::BTreeMap;
use std::time::Duration;

use toml_edit::{ImDocument, TableLike};

use super::metric::{METRICS, Metric, MetricKind};
use super::problem::{Problem, suggestion};
use super::reader::{Reader, Source};
use super::said::{restart, text};
use super::{Rule, burn, limits};
use crate::window::{Aggregation, Burn};

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
    "objective",
    "burn",
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
    let burns = read.has("aggregation") && read.says("aggregation", "burn_rate");
    // Where a burn rate is judged, windows and thresholds come with it.
    let burn = if burns { burn::burn(&mut read) } else { burn::without(&mut read) };
    let aggregation = metric.and_then(|metric| aggregation(&mut read, &metric, burn.map(|(burn, _)| burn)));
    let scope = metric.and_then(|metric| scope(&mut read, &metric));
    let filter = metric.map(|metric| filter(&mut read, &metric));
    let window = aggregation.and_then(|aggregation| window(&mut read, aggregation));
    let unit = metric.zip(aggregation).and_then(|(metric, aggregation)| unit(&mut read, &metric, aggregation));
    let limits = match burn {
        Some((_, limits)) => limits::delays(&mut read, limits),
        None => metric.zip(aggregation).and_then(|(metric, aggregation)| limits::limits(&mut read, &metric, aggregation)),
    };
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

fn aggregation(read: &mut Reader<'_, '_, '_>, metric: &Metric, burn: Option<Burn>) -> Option<Aggregation> {
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
        "burn_rate" => Aggregation::BurnRate(burn?),
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
    if let Aggregation::BurnRate(burn) = aggregation {
        return Some(burn.longest());
    }
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
        Aggregation::Quantile(_) if metric.kind == MetricKind::Shares => &["ratio"],
        Aggregation::Quantile(_) => &["ms"],
        Aggregation::Gauge if metric.kind == MetricKind::Age => &["s"],
        Aggregation::Count | Aggregation::Gauge => &["count"],
        Aggregation::Rate => &["1/s", "1/min"],
        Aggregation::Ratio => &["ratio"],
        Aggregation::Staleness => &["s"],
        Aggregation::BurnRate(_) => &["x"],
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
