//! `spark tune`: thresholds from recorded days, what they would have meant, two files, and with --confirm the guardrail and
//! Prometheus. Without --confirm nothing changes but the files.

pub mod files;
pub mod study;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use spark_bus_schema::actions::{ThresholdChange, ThresholdsCommand};
use spark_bus_schema::subject;
use spark_guardrail::Rules;
use spark_guardrail::machine::thresholds::{Scope, Thresholds as Changed};
use spark_guardrail::rule::{BUILTIN, suggestion, text::figure};
use spark_nats::{Bus, Meta};
use spark_reporter::tune::{Outcome, Thresholds};
use spark_reporter::{History, Window};

use super::commands::reason;
use super::history;
use super::orders::actor;
use crate::args::Global;
use crate::args::day::TuneArgs;
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::output::{self, Style, paint, visible};
use crate::system;
use crate::up::run_file::replace;
use files::Proposal;
use study::{Question, Studied};

/// Prometheus' tuned rules.
pub const PROMETHEUS_FILE: &str = "spark-portfolio-tuned.rules.yml";
/// The guardrail's tuned rules.
pub const GUARDRAIL_FILE: &str = "guardrail-tuned.toml";
const DAY: Duration = Duration::from_secs(86_400);

/// Proposes, writes, and with --confirm applies.
///
/// # Errors
/// Exit 64: a rule that is not there, no history, an address that cannot be; 69: --confirm without a broker, or Prometheus
/// does not answer; 75: a file cannot be written.
pub fn run(arguments: &TuneArgs, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let (text, rules) = rules_in_force(&config)?;
    check_names(arguments, &rules)?;
    let why = reason(&arguments.reason)?;
    let path = spark_reporter::history::path_in(&global.data);
    let history = History::open_read_only(&path).map_err(|error| {
        Failure::usage(format!("{}; the reporter writes it while `spark up` runs, --data names another folder", chain(&error)))
    })?;
    system::block_on(async {
        let bus = match system::operator(global, &config).await {
            Ok(bus) => Some(bus),
            Err(failure) if arguments.confirm => return Err(failure),
            Err(_) => {
                output::note("no broker answers: thresholds changed at run time are not known, the rule file's are compared");
                None
            }
        };
        let mut changed = Changed::default();
        if let Some(bus) = &bus {
            said(bus, &rules, &mut changed).await?;
        }
        let window = Window::ending(spark_nats::now(), DAY * arguments.days);
        let question = Question {
            rules: &rules,
            changed: &changed,
            window,
            per_scope: arguments.per_exchange,
            only: &arguments.rule,
            allow_looser: arguments.allow_looser,
        };
        let studied = study::study(&history, &question).map_err(|error| Failure::temporary(chain(&error)))?;
        let proposals = proposals(&studied, arguments.per_exchange);
        let written = write(&arguments.out, &text, &proposals)?;
        let command = command(&proposals, &changed, why);
        let news = is_news(&command, &changed, &rules)?;
        let mut told = Told { studied: &studied, written: &written, command: &command, status: "proposed", sequence: None };
        if !news {
            told.status = "unchanged";
        } else if arguments.confirm {
            let bus = bus.as_ref().ok_or_else(|| Failure::unavailable("the broker went away"))?;
            told.sequence = Some(publish(bus, &command).await?);
            told.status = "applied";
        }
        told.tell(arguments, global)?;
        if arguments.confirm { reload(arguments.prometheus.as_deref()).await } else { Ok(()) }
    })
}

fn rules_in_force(config: &Config) -> Result<(String, Rules), Failure> {
    let text = match &config.guardrail.rules {
        None => BUILTIN.to_owned(),
        Some(path) => {
            std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("read {}: {error}", path.display())))?
        }
    };
    // It was read once already, with every mistake named.
    let rules = config.guardrail.load().map_err(|_| Failure::usage("the guardrail's rules changed just now; try again"))?;
    Ok((text, rules))
}

fn check_names(arguments: &TuneArgs, rules: &Rules) -> Result<(), Failure> {
    let known: Vec<&str> = rules.iter().filter(|rule| study::is_tunable(rule)).map(|rule| rule.id.as_str()).collect();
    match arguments.rule.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Failure::usage(format!(
            "--rule {}: no such rule with thresholds to tune; {}",
            visible(name),
            suggestion(name, &known)
        ))),
    }
}

/// Everything that was changed at run time, in the order in which it was said.
async fn said(bus: &Bus, rules: &Rules, changed: &mut Changed) -> Result<(), Failure> {
    let Some(last) = bus.last(subject::LEDGER, subject::THRESHOLDS).await? else { return Ok(()) };
    let known: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    history::read(bus, "tune", vec![subject::THRESHOLDS.to_owned()], last.sequence, |delivery| {
        let Ok(command) = delivery.decode::<ThresholdsCommand>() else { return };
        // What the guardrail refuses changes nothing here either.
        let _ = changed.command(&command, |id| rules.iter().find(|rule| rule.id == id), &known);
    })
    .await
}

fn proposals(studied: &[Studied], per_scope: bool) -> Vec<Proposal> {
    let mut proposals = Vec::new();
    for one in studied {
        let Some(all) = one.all.usable() else { continue };
        let own = one.scopes.iter().filter(|_| per_scope).filter_map(|row| Some((row.scope.clone(), row.usable()?)));
        proposals.push(Proposal { rule: one.rule.clone(), all, scopes: own.collect(), above: one.direction == "above" });
    }
    proposals
}

/// The command that makes exactly the proposals true: a scope that was changed before and has no proposal of its own now
/// gets that for all.
fn command(proposals: &[Proposal], changed: &Changed, reason: String) -> ThresholdsCommand {
    let change = |rule: &str, scope: Scope, of: Thresholds| ThresholdChange {
        rule: rule.to_owned(),
        scope,
        warning: of.warning,
        critical: of.critical,
    };
    let mut changes = Vec::new();
    for proposal in proposals {
        changes.push(change(&proposal.rule, Scope::new(), proposal.all));
        let earlier = changed.of(&proposal.rule).into_keys().filter(|scope| !scope.is_empty());
        let earlier = earlier.filter(|scope| !proposal.scopes.contains_key(scope)).map(|scope| (scope, proposal.all));
        let own = proposal.scopes.iter().map(|(scope, of)| (scope.clone(), *of));
        let mut scopes: Vec<(Scope, Thresholds)> = earlier.chain(own).collect();
        scopes.sort_by(|a, b| a.0.cmp(&b.0));
        changes.extend(scopes.into_iter().map(|(scope, of)| change(&proposal.rule, scope, of)));
    }
    ThresholdsCommand { changes, reset: false, actor: actor(), reason, at: spark_nats::now() }
}

/// Whether the command changes anything; what the guardrail would not take is found here, before anything is said.
fn is_news(command: &ThresholdsCommand, changed: &Changed, rules: &Rules) -> Result<bool, Failure> {
    if command.changes.is_empty() {
        return Ok(false);
    }
    let known: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    let mut after = changed.clone();
    let taken = after.command(command, |id| rules.iter().find(|rule| rule.id == id), &known);
    taken.map_err(|what| Failure::internal(format!("the proposals cannot be taken: {what}")))?;
    Ok(after != *changed)
}

fn write(folder: &Path, text: &str, proposals: &[Proposal]) -> Result<Vec<PathBuf>, Failure> {
    let guardrail = files::guardrail(text, proposals)
        .map_err(|what| Failure::internal(format!("{GUARDRAIL_FILE} would not be a rule file: {what}")))?;
    let mut written = Vec::new();
    for (name, text) in [(GUARDRAIL_FILE, guardrail), (PROMETHEUS_FILE, files::prometheus(proposals))] {
        let path = folder.join(name);
        replace(&path, text.as_bytes()).map_err(|error| Failure::temporary(format!("write {}: {error}", path.display())))?;
        written.push(path);
    }
    Ok(written)
}

async fn publish(bus: &Bus, command: &ThresholdsCommand) -> Result<u64, Failure> {
    let meta = Meta { msg_id: Some(format!("operator:{}:{}", subject::THRESHOLDS, command.at.as_nanos())), cause: None };
    let sent = tokio::time::timeout(system::CONNECT_LIMIT, bus.publish(subject::THRESHOLDS, command, meta)).await;
    let sent = sent.map_err(|_| Failure::unavailable("the broker went away; nothing is certain, try again"))?;
    sent.map_err(|error| Failure::unavailable(format!("publish {}: {}", subject::THRESHOLDS, chain(&error))))
}

async fn reload(prometheus: Option<&str>) -> Result<(), Failure> {
    let Some(base) = prometheus else {
        output::note(
            "Prometheus was not told: name it with --prometheus URL, or send it SIGHUP, once the file stands in its folder of rules",
        );
        return Ok(());
    };
    let hint = "the guardrail has the thresholds; Prometheus must run with --web.enable-lifecycle, or take SIGHUP";
    let answer = system::http()?.post(format!("{}/-/reload", base.trim_end_matches('/'))).send().await;
    let answer = answer
        .map_err(|error| Failure::unavailable(format!("reload Prometheus at {base}: {}; {hint}", chain(&error.without_url()))))?;
    if answer.status().is_success() {
        output::note(&format!("Prometheus at {base} has read its rules again"));
        return Ok(());
    }
    Err(Failure::unavailable(format!("Prometheus at {base} answers {} to /-/reload; {hint}", answer.status())))
}

struct Told<'a> {
    studied: &'a [Studied],
    written: &'a [PathBuf],
    command: &'a ThresholdsCommand,
    status: &'static str,
    sequence: Option<u64>,
}

impl Told<'_> {
    fn tell(&self, arguments: &TuneArgs, global: &Global) -> Result<(), Failure> {
        if global.json {
            let document = json!({"status": self.status, "days": arguments.days, "rules": self.studied, "files": self.written,
                "changes": self.command.changes, "sequence": self.sequence});
            return output::line(&document.to_string());
        }
        let heads = ["RULE", "SCOPE", "MINUTES", "P50", "P99", "P99.9", "WARNING", "CRITICAL", "ALERTS"];
        let mut rows = vec![heads.map(ToOwned::to_owned).to_vec()];
        for one in self.studied {
            rows.push(row(one, &one.all, true));
            rows.extend(one.scopes.iter().map(|scope| row(one, scope, arguments.per_exchange)));
        }
        output::table(&rows).iter().try_for_each(|line| output::line(&visible(line)))?;
        for path in self.written {
            output::line(&format!("wrote {}", path.display()))?;
        }
        match (self.status, self.sequence) {
            ("applied", Some(sequence)) => output::line(&paint(
                &format!("{} thresholds changed (LEDGER:{sequence})", self.command.changes.len()),
                Style::Green,
            )),
            ("unchanged", _) => output::line("the thresholds in force are these, or nothing could be proposed; nothing changes"),
            _ => output::line("nothing was changed; add --confirm to mean it"),
        }
    }
}

fn row(one: &Studied, row: &study::Row, proposes: bool) -> Vec<String> {
    let scope: Vec<&str> = row.scope.values().map(String::as_str).collect();
    let scope = if scope.is_empty() { "all".to_owned() } else { scope.join(" ") };
    let mut cells = vec![one.rule.clone(), scope];
    match &row.outcome {
        Outcome::TooFew { minutes } => {
            cells.extend([minutes.to_string(), "–".into(), "–".into(), "–".into()]);
            let needed = spark_reporter::tune::MINUTES_MIN;
            cells.extend([format!("no proposal: {needed} minutes are needed"), String::new()]);
        }
        Outcome::Proposed { observed, thresholds, held_back } => {
            cells.push(observed.minutes.to_string());
            cells.extend([observed.p50, observed.p99, observed.p999].map(|value| format!("{} {}", figure(value), one.unit)));
            let change = |old: Option<f64>, new: Option<f64>| match (old, new) {
                (Some(old), Some(new)) if proposes && row.refused.is_none() && old != new => {
                    format!("{} → {}", figure(old), figure(new))
                }
                (Some(old), _) => figure(old),
                _ => "–".to_owned(),
            };
            cells.push(change(row.in_force.warning, thresholds.warning));
            let mut critical = change(row.in_force.critical, thresholds.critical);
            if *held_back && proposes {
                // Writing into a String cannot fail.
                let _ = write!(critical, " (bound)");
            }
            cells.push(critical);
        }
    }
    let raised = |raised: study::Raised| format!("{}+{}", raised.warning, raised.critical);
    cells.push(format!("{} → {}", raised(row.before), raised(row.after)));
    if let Some(why) = &row.refused {
        cells.push(format!("no proposal: {why}"));
    }
    cells
}
