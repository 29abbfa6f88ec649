//! What goes into an evidence file, and where each part comes from.

use std::collections::{BTreeMap, VecDeque};

use spark_bus_schema::audit::{AuditAnchor, AuditVerified};
use spark_bus_schema::subject;
use spark_nats::{Bus, Start};
use spark_reporter::evidence::{About, Bundle, Error, LedgerHead};
use spark_reporter::{History, Window, chart, report};

use crate::args::Global;
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::ops::gateway::Gateway;
use crate::ops::orders::actor;
use crate::ops::{dashboards, filters, history, tail};
use crate::system;

/// Bytes of the LEDGER's extract at most, the newest messages, whatever --messages says.
const EXTRACT_BYTES_MAX: usize = 256 * 1024 * 1024;
const METRICS: &str = "metrics.prom";
const EXTRACT: &str = "ledger/extract.jsonl";
const REPORT: &str = "report";
const CHARTS: &str = "charts";

/// Gathers everything that can be had.
///
/// # Errors
/// Exit 70: a name or size that cannot be. What cannot be reached is no error; the bundle says what and why.
pub fn everything(config: &Config, global: &Global, window: Window, messages: u64) -> Result<(Bundle, About), Failure> {
    let mut bundle = Bundle::default();
    let mut about = About {
        created_at: window.to,
        created_by: actor(),
        window,
        versions: BTreeMap::from([("spark".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]),
        build_sha: config.gateway.build_sha().to_owned(),
        ledger: None,
    };
    let gathered = system::block_on(async {
        static_parts(&mut bundle, config)?;
        metrics(&mut bundle, config, global).await?;
        match system::operator(global, config).await {
            Ok(bus) => {
                if let Some(version) = bus.server_version() {
                    about.versions.insert("nats-server".to_owned(), version);
                }
                from_broker(&mut bundle, &mut about, &bus, window, messages).await?;
                bus.close().await;
            }
            Err(failure) => {
                for name in [EXTRACT, "rules/thresholds.json", "rules/limits.json"] {
                    bundle.missing(name, format!("the broker does not answer: {failure}"));
                }
            }
        }
        Ok(from_history(&mut bundle, global, window))
    })?;
    gathered.map_err(|error| Failure::internal(chain(&error)))?;
    Ok((bundle, about))
}

fn internal(error: Error) -> Failure {
    Failure::internal(chain(&error))
}

/// Configuration, rules and dashboards: they need nothing that runs.
fn static_parts(bundle: &mut Bundle, config: &Config) -> Result<(), Failure> {
    let effective = toml_edit::ser::to_string_pretty(&config.effective());
    let effective = effective.map_err(|error| Failure::internal(format!("write the configuration as TOML: {error}")))?;
    bundle.add("config/effective.toml", effective).map_err(internal)?;
    match &config.guardrail.rules {
        None => bundle.add("rules/guardrail.toml", spark_guardrail::rule::BUILTIN).map_err(internal)?,
        Some(path) => match std::fs::read(path) {
            Ok(text) => bundle.add("rules/guardrail.toml", text).map_err(internal)?,
            Err(error) => bundle.missing("rules/guardrail.toml", format!("read {}: {error}", path.display())),
        },
    }
    for (name, text) in dashboards::FILES {
        bundle.add(name, *text).map_err(internal)?;
    }
    Ok(())
}

async fn metrics(bundle: &mut Bundle, config: &Config, global: &Global) -> Result<(), Failure> {
    match Gateway::find(global, config)?.get("/metrics", &[]).await {
        Ok(answer) => bundle.add(METRICS, answer.text).map_err(internal),
        Err(failure) => {
            bundle.missing(METRICS, failure.to_string());
            Ok(())
        }
    }
}

async fn from_broker(bundle: &mut Bundle, about: &mut About, bus: &Bus, window: Window, messages: u64) -> Result<(), Failure> {
    let (first, last) = bus.bounds(subject::LEDGER).await?;
    let head = chain_head(bus).await?;
    about.ledger = Some(LedgerHead {
        first_sequence: first,
        last_sequence: last,
        era: head.as_ref().map(|head| head.0),
        chain_sequence: head.as_ref().map(|head| head.1),
        chain_hash: head.map(|head| head.2),
    });
    said(bundle, bus, "rules/thresholds.json", subject::THRESHOLDS).await?;
    said(bundle, bus, "rules/limits.json", subject::LIMITS).await?;
    extract(bundle, bus, window, last, messages).await
}

/// Era, sequence and hash of the newest place of the chain that the auditor has told.
async fn chain_head(bus: &Bus) -> Result<Option<(u64, u64, String)>, Failure> {
    let anchor = bus.last(subject::LEDGER, subject::AUDIT_ANCHOR).await?.and_then(|found| found.decode::<AuditAnchor>().ok());
    let verified =
        bus.last(subject::LEDGER, subject::AUDIT_VERIFIED).await?.and_then(|found| found.decode::<AuditVerified>().ok());
    let anchor = anchor.map(|anchor| (anchor.era, anchor.sequence, anchor.hash));
    let verified =
        verified.filter(|verified| verified.through > 0).map(|verified| (verified.era, verified.through, verified.head));
    Ok(anchor.max(verified))
}

/// The last word on a subject.
async fn said(bundle: &mut Bundle, bus: &Bus, name: &str, on: &str) -> Result<(), Failure> {
    match bus.last(subject::LEDGER, on).await? {
        None => bundle.missing(name, format!("nothing was ever said on {on}: what is built in or configured is in force")),
        Some(found) => {
            let text = format!("{:#}\n", tail::document(&found));
            bundle.add(name, text).map_err(internal)?;
        }
    }
    Ok(())
}

/// The LEDGER's messages of the window, decoded, one a line.
async fn extract(bundle: &mut Bundle, bus: &Bus, window: Window, last: u64, messages: u64) -> Result<(), Failure> {
    let newest = if last == 0 { None } else { bus.get(subject::LEDGER, last).await? };
    let (mut lines, mut bytes, mut dropped) = (VecDeque::new(), 0, 0_u64);
    if newest.is_some_and(|newest| newest.stored_at >= window.from) {
        let subjects = filters(">", Some(subject::LEDGER)).into_iter().flat_map(|(_, subjects)| subjects).collect();
        let limit = if messages == 0 { usize::MAX } else { usize::try_from(messages).unwrap_or(usize::MAX) };
        history::read_from(bus, "evidence", subjects, Start::Since(window.from), last, |delivery| {
            let line = tail::document(&delivery).to_string();
            bytes += line.len() + 1;
            lines.push_back(line);
            while lines.len() > limit || bytes > EXTRACT_BYTES_MAX {
                bytes -= lines.pop_front().map_or(0, |line| line.len() + 1);
                dropped += 1;
            }
        })
        .await?;
    }
    if dropped > 0 {
        bundle.missing(
            EXTRACT,
            format!(
                "{dropped} older messages of the window are left out; --messages 0 takes all, {EXTRACT_BYTES_MAX} bytes at most"
            ),
        );
    }
    let mut text = String::with_capacity(bytes);
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    bundle.add(EXTRACT, text).map_err(internal)
}

/// The report and its charts.
fn from_history(bundle: &mut Bundle, global: &Global, window: Window) -> Result<(), Error> {
    let history = match History::open_read_only(&spark_reporter::history::path_in(&global.data)) {
        Ok(history) => history,
        Err(error) => {
            for name in [REPORT, CHARTS] {
                bundle.missing(name, chain(&error));
            }
            return Ok(());
        }
    };
    let report = match report::build(&history, window, window.to) {
        Ok(report) => report,
        Err(error) => {
            for name in [REPORT, CHARTS] {
                bundle.missing(name, chain(&error));
            }
            return Ok(());
        }
    };
    bundle.add("report/report.md", report::markdown(&report))?;
    bundle.add("report/report.html", report::html(&report))?;
    let mut document = serde_json::to_vec_pretty(&report).map_err(Error::Json)?;
    document.push(b'\n');
    bundle.add("report/report.json", document)?;
    if report.charts.is_empty() {
        bundle.missing(CHARTS, "the history has nothing to draw in this window");
    }
    for chart in &report.charts {
        bundle.add(&format!("{CHARTS}/{}.svg", chart.id), chart::svg_file(chart))?;
    }
    Ok(())
}
