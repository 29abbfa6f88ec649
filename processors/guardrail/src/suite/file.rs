//! From TOML to tests, with every mistake named as in rule files.

use std::ops::Range;
use std::time::Duration;

use spark_bus_schema::alerts::{AlertState, Severity};
use toml_edit::{ImDocument, TableLike};

use super::notation::{self, Step};
use super::{Expect, Series, Suite, Test, When};
use crate::rule::problem::{Problem, suggestion};
use crate::rule::reader::{Reader, Source, Tables};
use crate::rule::{METRICS, Metric, MetricKind, Rules};

/// Tests in one file.
const TESTS_MAX: usize = 1_000;
/// Boundaries of one test: at 100 ms almost 28 hours.
const BOUNDARIES_MAX: u128 = 1_000_000;
const STEP: Duration = Duration::from_millis(100);
const STATES: &[&str] = &["inactive", "pending", "firing", "resolved", "no_data"];

/// Reads a test file. `rules_of` gives the rules for the file that it names (none: the built-in ones).
///
/// # Errors
/// Every mistake in it, in the order of lines; or those that `rules_of` found in the rule file.
pub fn parse(
    text: &str,
    file: &str,
    rules_of: impl FnOnce(Option<&str>) -> Result<Rules, Vec<Problem>>,
) -> Result<(Suite, Rules), Vec<Problem>> {
    let mut source = Source { text, file, problems: Vec::new() };
    let document = match ImDocument::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let what = format!("not TOML: {}", error.message().lines().collect::<Vec<_>>().join(", "));
            source.problem(error.span(), "file", "", what, "see https://toml.io for how values are written");
            return Err(source.problems);
        }
    };
    let mut root = Reader::new(&mut source, document.as_table(), String::new(), None);
    root.reject_unknown(&["rules", "test"]);
    let named = if root.has("rules") { root.text("rules") } else { None };
    let tables = root.tables("test").unwrap_or_default();
    if tables.is_empty() {
        root.wrong("test", "there is no test", "add at least one [[test]]");
    } else if tables.len() > TESTS_MAX {
        root.wrong("test", "too many tests", format!("keep to {TESTS_MAX} in one file"));
    }
    let rules = rules_of(named.as_deref())?;
    let tests: Vec<Test> = tables
        .into_iter()
        .take(TESTS_MAX)
        .enumerate()
        .filter_map(|(index, (table, span))| test(&mut source, table, span, index, &rules))
        .collect();
    if source.problems.is_empty() {
        return Ok((Suite { rules: named, tests }, rules));
    }
    source.problems.sort_by_key(|problem| problem.line);
    Err(source.problems)
}

fn test(source: &mut Source<'_>, table: &dyn TableLike, span: Option<Range<usize>>, index: usize, rules: &Rules) -> Option<Test> {
    let before = source.problems.len();
    let line = source.line(span.clone()).unwrap_or_default();
    let mut read = Reader::new(source, table, format!("test.{}", index + 1), span);
    read.reject_unknown(&["name", "step", "input", "expect"]);
    let name = read.required_text("name", "\"a slow exchange is critical\"");
    let step = if read.has("step") { read.duration("step") } else { Some(STEP) };
    if step.is_some_and(|step| step < STEP) {
        read.wrong("step", "shorter than 100ms, which is how often the guardrail judges", "write at least \"100ms\"");
    }
    let inputs = read.tables("input").unwrap_or_default();
    let expects = read.tables("expect").unwrap_or_default();
    if expects.is_empty() {
        read.wrong("expect", "nothing is expected: it would always pass", "add at least one [[test.expect]]");
    }
    let path = read.path.clone();
    let inputs: Vec<Series> = each(source, &path, "input", inputs, input);
    let expects: Vec<Expect> = each(source, &path, "expect", expects, |read, line| expect(read, line, rules));
    let end = expects.iter().map(|expect| expect.when.end()).max().unwrap_or_default();
    if let Some(step) = step
        && end.as_nanos() / step.as_nanos().max(1) > BOUNDARIES_MAX
    {
        let fix = format!("write for example step = \"10s\"; at most {BOUNDARIES_MAX} steps are made");
        source.problem(None, &path, "", "too long a time in too short steps", fix);
    }
    (source.problems.len() == before).then_some(Test { name: name?, line, step: step?, inputs, expects })
}

fn each<T>(
    source: &mut Source<'_>,
    path: &str,
    key: &str,
    tables: Tables<'_>,
    mut one: impl FnMut(&mut Reader<'_, '_, '_>, usize) -> Option<T>,
) -> Vec<T> {
    let numbered = tables.into_iter().enumerate();
    numbered
        .filter_map(|(index, (table, span))| {
            let line = source.line(span.clone()).unwrap_or_default();
            one(&mut Reader::new(&mut *source, table, format!("{path}.{key}.{}", index + 1), span), line)
        })
        .collect()
}

fn input(read: &mut Reader<'_, '_, '_>, _line: usize) -> Option<Series> {
    read.reject_unknown(&["metric", "labels", "from", "every", "values"]);
    let name = read.required_text("metric", "\"call_latency_ms\"")?;
    let Some(metric) = Metric::find(&name) else {
        let known: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        read.wrong("metric", "unknown metric", suggestion(&name, &known));
        return None;
    };
    let labels = if read.has("labels") { read.labels("labels")? } else { std::collections::BTreeMap::new() };
    let mut known = Vec::new();
    for (label, value) in labels {
        match metric.labels.iter().find(|known| **known == label) {
            Some(name) => known.push((*name, value)),
            None => {
                read.wrong("labels", format!("metric {} has no label `{label}`", metric.name), suggestion(&label, metric.labels));
            }
        }
    }
    let from = if read.has("from") { read.duration("from")? } else { Duration::ZERO };
    let every = if read.has("every") { read.duration("every")? } else { Duration::from_secs(1) };
    if every < Duration::from_millis(1) {
        read.wrong("every", "shorter than a millisecond", "write for example \"1s\"");
    }
    let text = read.required_text("values", "\"100x60 4000x10\"")?;
    let steps = match notation::parse(&text) {
        Ok(steps) => steps,
        Err((token, what, fix)) => {
            read.wrong("values", format!("`{token}`: {what}"), fix);
            return None;
        }
    };
    if let Some((what, fix)) = steps.iter().find_map(|step| unfit(metric, *step)) {
        read.wrong("values", what, fix);
    }
    Some(Series { metric, labels: known, from, every, steps })
}

/// Why a sample cannot be one of the metric's.
fn unfit(metric: Metric, step: Step) -> Option<(String, String)> {
    let whole = |value: f64| value >= 0.0 && value.fract() == 0.0;
    let (fits, fix) = match (metric.kind, step) {
        (_, Step::Nothing) | (MetricKind::Outcomes, Step::Failed(..)) => return None,
        (MetricKind::Values | MetricKind::Shares | MetricKind::Level | MetricKind::Age, Step::Value(_)) => return None,
        (MetricKind::Values, _) => (false, "write each in ms, such as 4000"),
        (MetricKind::Shares, _) => (false, "write each as a share, such as 0.6"),
        (MetricKind::Level | MetricKind::Age, _) => (false, "write each level as a number"),
        (MetricKind::Outcomes, Step::Value(value)) => (whole(value), "write failed/all, such as 3/100"),
        (MetricKind::Events, Step::Value(value)) => (whole(value), "write how many happen as a whole number"),
        (MetricKind::Signs, Step::Value(value)) => {
            (whole(value), "write how many signs come as a whole number; 0 is a promise that they will")
        }
        (MetricKind::Events, _) => (false, "write how many happen as a whole number"),
        (MetricKind::Signs, _) => (false, "write how many signs come as a whole number"),
    };
    (!fits).then(|| (format!("not a sample of {}", metric.name), fix.to_owned()))
}

fn expect(read: &mut Reader<'_, '_, '_>, line: usize, rules: &Rules) -> Option<Expect> {
    read.reject_unknown(&["at", "between", "during", "alert", "scope", "state", "severity", "value"]);
    let when = when(read);
    let alert = read.required_text("alert", "\"WSStaleness\"")?;
    let scope = if read.has("scope") { read.labels("scope")? } else { std::collections::BTreeMap::new() };
    let named: Vec<_> = rules.iter().filter(|rule| rule.alert == alert).collect();
    if named.is_empty() {
        let known: Vec<&str> = rules.iter().map(|rule| rule.alert.as_str()).collect();
        read.wrong("alert", "no rule raises this alert", suggestion(&alert, &known));
    } else if !named.iter().any(|rule| scope.keys().eq(rule.scope.iter())) {
        let labels: Vec<String> = named.iter().map(|rule| format!("[{}]", rule.scope.join(", "))).collect();
        read.wrong("scope", "its labels are no rule's", format!("{alert} has the scope labels {}", labels.join(" or ")));
    }
    if !read.has("state") {
        read.wrong("state", "missing", "write for example state = \"firing\"");
    }
    let state = match read.word("state", STATES)? {
        "inactive" => AlertState::Inactive,
        "pending" => AlertState::Pending,
        "firing" => AlertState::Firing,
        "resolved" => AlertState::Resolved,
        _ => AlertState::NoData,
    };
    let severity = match if read.has("severity") { Some(read.word("severity", &["warning", "critical"])?) } else { None } {
        Some("warning") => Some(Severity::Warning),
        Some(_) => Some(Severity::Critical),
        None => None,
    };
    if severity.is_some() && matches!(state, AlertState::Inactive | AlertState::Resolved) {
        read.wrong("severity", "an alert that is over has none", "remove it");
    }
    let value = if read.has("value") { Some(read.number("value")?) } else { None };
    Some(Expect { line, when: when?, alert, scope, state, severity, value })
}

fn when(read: &mut Reader<'_, '_, '_>) -> Option<When> {
    let given: Vec<&str> = ["at", "between", "during"].into_iter().filter(|key| read.has(key)).collect();
    let [key] = given.as_slice() else {
        let what = if given.is_empty() { "no time" } else { "more than one time" };
        let key = given.last().copied().unwrap_or("at");
        read.wrong(key, what, "write one of at = \"5m\", between = [\"2m\", \"3m\"], during = [\"2m\", \"3m\"]");
        return None;
    };
    if *key == "at" {
        return read.duration("at").map(When::At);
    }
    let texts = read.texts(key)?;
    let mut moments = Vec::new();
    for text in &texts {
        match crate::rule::duration::parse(text) {
            Ok(moment) => moments.push(moment),
            Err((what, fix)) => read.wrong(key, format!("\"{text}\": {what}"), fix),
        }
    }
    match (moments.as_slice(), *key) {
        ([from, to], _) if from > to => read.wrong(key, "ends before it begins", "swap them"),
        ([from, to], "between") => return Some(When::Between(*from, *to)),
        ([from, to], _) => return Some(When::During(*from, *to)),
        _ if moments.len() == texts.len() => {
            read.wrong(key, "not two moments", format!("write for example {key} = [\"2m\", \"3m\"]"))
        }
        _ => {}
    }
    None
}
