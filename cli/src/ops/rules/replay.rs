//! `spark rules replay`: what was recorded, through the guardrail's own decision under other rules.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spark_bus_schema::actions::ThresholdsCommand;
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::{Timestamp, subject};
use spark_guardrail::{Guardrail, Rules};
use spark_nats::{Bus, Delivery, Effects, Machine, Start};

use super::recorded::Recorded;
use super::{read, usage};
use crate::args::Global;
use crate::args::rules::ReplayArgs;
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::ops::duration;
use crate::output::{self, Style, paint, visible};
use crate::system;

/// Changes of alerts that are kept and shown; beyond it the replay ends with an error.
const CHANGES_MAX: usize = 100_000;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// A recorded alert is the same as a replayed one when they are no further apart: while nothing arrives, the running
/// guardrail judges by the wall clock.
const SAME_WITHIN: Duration = Duration::from_secs(2);

/// What is asked.
struct Span {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

/// Replays, and tells when each alert would have changed.
///
/// # Errors
/// Exit 64: a file or a time that cannot be; 69: no broker.
pub fn run(arguments: &ReplayArgs, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let rules = rules(arguments.rules.as_deref(), &config)?;
    let span = Span { from: moment("--from", arguments.from.as_deref())?, to: moment("--to", arguments.to.as_deref())? };
    if let (Some(from), Some(to)) = (span.from, span.to)
        && from >= to
    {
        return Err(Failure::usage(format!("--from {from} is not before --to {to}; swap them")));
    }
    let replayed = system::block_on(async {
        let bus = system::operator(global, &config).await?;
        replay(&bus, &rules, &span, arguments.compare).await
    })?;
    tell(&replayed, arguments.compare, global)
}

fn rules(path: Option<&Path>, config: &Config) -> Result<Rules, Failure> {
    match path {
        Some(path) => {
            let text = read(path).map_err(|problems| usage(&problems))?;
            Rules::from_toml(&text, &path.display().to_string()).map_err(|problems| usage(&problems))
        }
        None => config.guardrail.load().map_err(|problems| usage(&problems)),
    }
}

/// `2026-11-21T09:30:00Z`, or `2h` for two hours ago.
fn moment(flag: &str, text: Option<&str>) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let parsed = Timestamp::parse(text).or_else(|_| duration(text).map(|ago| spark_nats::now() - ago));
    let fix = "write 2026-11-21T09:30:00Z, or 2h for two hours ago";
    parsed.map(Some).map_err(|_| Failure::usage(format!("{flag} `{text}` is not a time; {fix}")))
}

/// Everything that came out.
#[derive(Default)]
struct Replayed {
    messages: u64,
    unreadable: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    supposed: Vec<Alert>,
    recorded: Vec<Alert>,
}

async fn replay(bus: &Bus, rules: &Rules, span: &Span, compare: bool) -> Result<Replayed, Failure> {
    let mut guardrail = Guardrail::new(rules);
    // As the guardrail itself begins without a state: windows are filled by an hour before.
    let begin = span.from.map(|from| from - Guardrail::HISTORY.unwrap_or_default());
    if let Some(begin) = begin {
        guardrail.seed_thresholds(thresholds(bus, begin).await?);
    }
    let mut inputs: Vec<(&'static str, Vec<String>)> = Vec::new();
    for input in Guardrail::INPUTS {
        let mut subjects: Vec<String> = input.subjects.iter().map(|&subject| subject.to_owned()).collect();
        if compare && input.stream == subject::LEDGER {
            subjects.push(subject::ALERTS.to_owned());
        }
        inputs.push((input.stream, subjects));
    }
    let mut recorded = Recorded::open(bus, "rules-replay", &inputs, begin.map_or(Start::Beginning, Start::Since)).await?;
    let mut run = Run { guardrail, out: Effects::default(), boundary: None, now: Timestamp::ZERO, replayed: Replayed::default() };
    let mut told = Instant::now();
    while let Some(delivery) = recorded.next().await? {
        if span.to.is_some_and(|to| delivery.stored_at >= to) {
            break;
        }
        run.take(&delivery, span)?;
        if told.elapsed() > PROGRESS_EVERY && std::io::stderr().is_terminal() {
            told = Instant::now();
            output::note(&format!("{} messages read, at {}", run.replayed.messages, delivery.stored_at));
        }
    }
    Ok(run.replayed)
}

/// Commands that changed thresholds before a moment, oldest first.
async fn thresholds(bus: &Bus, before: Timestamp) -> Result<Vec<(u64, ThresholdsCommand)>, Failure> {
    let inputs = [(subject::LEDGER, vec![subject::THRESHOLDS.to_owned()])];
    let mut recorded = Recorded::open(bus, "rules-thresholds", &inputs, Start::Beginning).await?;
    let mut commands = Vec::new();
    while let Some(delivery) = recorded.next().await?.filter(|delivery| delivery.stored_at < before) {
        if let Ok(command) = delivery.decode::<ThresholdsCommand>() {
            commands.push((delivery.sequence, command));
        }
    }
    Ok(commands)
}

/// The run loop without a broker behind it.
struct Run {
    guardrail: Guardrail,
    out: Effects,
    boundary: Option<Timestamp>,
    now: Timestamp,
    replayed: Replayed,
}

impl Run {
    fn take(&mut self, delivery: &Delivery, span: &Span) -> Result<(), Failure> {
        let at = delivery.stored_at;
        if subject::matches(subject::ALERTS, &delivery.subject) {
            if let Ok(alert) = delivery.decode::<Alert>()
                && span.from.is_none_or(|from| alert.at >= from)
            {
                keep(&mut self.replayed.recorded, alert)?;
            }
            return Ok(());
        }
        let mut boundary = self.boundary.unwrap_or(at);
        loop {
            let next = boundary.next_boundary(Guardrail::STEP);
            if next > at {
                break;
            }
            boundary = next;
            self.now = self.now.max(next);
            self.guardrail.tick(next, &mut self.out);
            self.note(span)?;
        }
        self.boundary = Some(boundary);
        self.now = self.now.max(at);
        self.replayed.messages += 1;
        self.replayed.first.get_or_insert(at);
        self.replayed.last = Some(at);
        match Guardrail::decode(delivery) {
            Ok(event) => {
                if let Err(refused) = self.guardrail.apply(self.now, event, &mut self.out) {
                    tracing::debug!(sequence = delivery.sequence, reason = refused.reason, "passed over");
                    self.replayed.unreadable += 1;
                }
            }
            Err(error) => {
                tracing::debug!(sequence = delivery.sequence, error = chain(&error), "passed over");
                self.replayed.unreadable += 1;
            }
        }
        self.note(span)
    }

    fn note(&mut self, span: &Span) -> Result<(), Failure> {
        for effect in self.out.drain().filter(|effect| subject::matches(subject::ALERTS, &effect.subject)) {
            let Ok(alert) = decode_payload::<Alert>(&effect.payload) else { continue };
            if span.from.is_none_or(|from| alert.at >= from) {
                keep(&mut self.replayed.supposed, alert)?;
            }
        }
        Ok(())
    }
}

/// Only what people are told: an alert that fires, gets worse or milder, or is over.
fn keep(alerts: &mut Vec<Alert>, alert: Alert) -> Result<(), Failure> {
    if matches!(alert.state, AlertState::Pending | AlertState::Inactive) {
        return Ok(());
    }
    if alerts.len() >= CHANGES_MAX {
        return Err(Failure::no(format!(
            "more than {CHANGES_MAX} changes of alerts; ask for a shorter time with --from and --to"
        )));
    }
    alerts.push(alert);
    Ok(())
}

type Key<'a> = (&'a str, &'a BTreeMap<String, String>, AlertState, Option<Severity>);

fn key(alert: &Alert) -> Key<'_> {
    (&alert.name, &alert.scope, alert.state, alert.severity)
}

/// For each replayed change the recorded one that is the same, and the recorded ones that are left.
fn compared(replayed: &Replayed) -> (Vec<Option<&Alert>>, Vec<&Alert>) {
    let mut left: Vec<&Alert> = replayed.recorded.iter().collect();
    let apart = |a: Timestamp, b: Timestamp| a.saturating_since(b).max(b.saturating_since(a));
    let same = replayed.supposed.iter().map(|supposed| {
        let near = |other: &&Alert| key(other) == key(supposed) && apart(other.at, supposed.at) <= SAME_WITHIN;
        left.iter().position(near).map(|index| left.remove(index))
    });
    let same = same.collect();
    (same, left)
}

fn tell(replayed: &Replayed, compare: bool, global: &Global) -> Result<(), Failure> {
    let (same, only_recorded) = if compare { compared(replayed) } else { (vec![None; replayed.supposed.len()], Vec::new()) };
    if global.json {
        let rows = replayed.supposed.iter().zip(&same).map(|(alert, same)| {
            let mut row = document(alert);
            if compare {
                row["recorded_at"] = same.map_or(Value::Null, |alert| alert.at.to_string().into());
            }
            row
        });
        let mut answer = json!({"messages": replayed.messages, "passed_over": replayed.unreadable,
            "first": replayed.first.map(|at| at.to_string()), "last": replayed.last.map(|at| at.to_string()),
            "changes": rows.collect::<Vec<Value>>()});
        if compare {
            answer["only_recorded"] = only_recorded.iter().map(|alert| document(alert)).collect();
        }
        return output::line(&answer.to_string());
    }
    let mut heads = vec!["TIME", "ALERT", "SCOPE", "STATE", "VALUE", "LIMIT"];
    if compare {
        heads.push("RECORDED");
    }
    let mut rows: Vec<Vec<String>> = vec![heads.into_iter().map(str::to_owned).collect()];
    for (alert, same) in replayed.supposed.iter().zip(&same) {
        let mut row = cells(alert);
        if compare {
            row.push(if same.is_some() { "yes".to_owned() } else { paint("no", Style::Yellow) });
        }
        rows.push(row);
    }
    if rows.len() > 1 {
        output::table(&rows).iter().try_for_each(|line| output::line(line))?;
    }
    if !only_recorded.is_empty() {
        output::line("recorded, and would not have come:")?;
        let rows: Vec<Vec<String>> = only_recorded.iter().map(|alert| cells(alert)).collect();
        output::table(&rows).iter().try_for_each(|line| output::line(line))?;
    }
    summary(replayed, compare.then(|| (same.iter().flatten().count(), only_recorded.len())))
}

fn summary(replayed: &Replayed, compared: Option<(usize, usize)>) -> Result<(), Failure> {
    let count = |severity| {
        let fired = replayed.supposed.iter().filter(|alert| alert.state != AlertState::Resolved);
        fired.filter(|alert| alert.severity == Some(severity)).count()
    };
    let span = match (replayed.first, replayed.last) {
        (Some(first), Some(last)) => format!("{} messages from {first} to {last}", replayed.messages),
        _ => "nothing is recorded there".to_owned(),
    };
    let mut text = format!("{span}: {} warnings, {} criticals", count(Severity::Warning), count(Severity::Critical));
    if let Some((same, only)) = compared {
        text.push_str(&format!("; {same} of {} changes were recorded, {only} only there", replayed.supposed.len()));
    }
    output::line(&text)?;
    if replayed.unreadable > 0 {
        output::note(&format!("{} messages cannot be read or taken in, and are left out", replayed.unreadable));
    }
    Ok(())
}

fn cells(alert: &Alert) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), spark_guardrail::rule::text::figure);
    let time = alert.at.to_string();
    let (state, style) = match (alert.state, alert.severity) {
        (AlertState::Resolved, _) => ("resolved", Style::Green),
        (AlertState::NoData, _) => ("no data", Style::Yellow),
        (_, Some(Severity::Critical)) => ("critical", Style::Red),
        _ => ("warning", Style::Yellow),
    };
    let scope = alert.scope.values().map(String::as_str).collect::<Vec<_>>().join(", ");
    vec![
        time.get(..19).unwrap_or(&time).to_owned(),
        alert.name.clone(),
        visible(&scope),
        paint(state, style),
        format!("{} {}", number(alert.value), alert.unit),
        number(alert.threshold),
    ]
}

fn document(alert: &Alert) -> Value {
    json!({"at": alert.at.to_string(), "alert": alert.name, "rule": alert.rule, "scope": alert.scope, "state": alert.state,
        "severity": alert.severity, "value": alert.value, "threshold": alert.threshold, "unit": alert.unit,
        "samples": alert.samples, "since": alert.since.map(|since| since.to_string())})
}
