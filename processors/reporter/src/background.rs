//! What runs beside the recording: smoke checks, and a report for each day and each week that is over.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use spark_bus_schema::{Timestamp, subject};
use spark_nats::{Bus, Meta, Service};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::history::{DATABASE, History, Window};
use crate::report::{self, Format};
use crate::smoke;

/// The first smoke check after the start: the other processes have had time to begin.
const FIRST_SMOKE: Duration = Duration::from_secs(30);
/// A whole smoke check may take so long.
const SMOKE_LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether a report is due.
const REPORT_LOOK: Duration = Duration::from_secs(300);
/// A day is reported this long after its end: by then its messages are in the history.
const REPORT_GRACE: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(86_400);
/// Who asks.
const ACTOR: &str = "reporter";

/// Both tasks; dropping it ends them.
pub(crate) struct Background(JoinHandle<()>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts both.
pub(crate) fn start(service: &Service, config: &Config) -> Background {
    let smokes = smokes(service.bus.clone(), service.data_dir.join(DATABASE), config.clone());
    let reports = reports(service.data_dir.join(DATABASE), crate::wiring::reports_dir(service), config.reports_kept);
    Background(tokio::spawn(async move {
        tokio::join!(smokes, reports);
    }))
}

async fn smokes(bus: Bus, history: PathBuf, config: Config) {
    let mut pause = FIRST_SMOKE.min(config.smoke_every());
    loop {
        tokio::time::sleep(pause).await;
        pause = config.smoke_every();
        // Made anew each time: token and certificate may be others by now.
        let client = match client(&config) {
            Ok(client) => client,
            Err(why) => {
                tracing::error!(why, "no smoke check");
                continue;
            }
        };
        let at = spark_nats::now();
        let uptime = uptime(history.clone(), at).await;
        match smoke::check(&client, &config.gateway_url, uptime, ACTOR, at).await {
            Err(error) => tracing::warn!(error = spark_nats::text(&error), "no smoke check"),
            Ok(outcome) => {
                if let Err(error) = bus.publish(subject::SMOKE, &outcome, Meta::default()).await {
                    tracing::warn!(error = spark_nats::text(&error), "the smoke check's outcome was not stored");
                }
            }
        }
    }
}

/// Who asks the gateway: with the token and the certificate authority that are configured.
fn client(config: &Config) -> Result<reqwest::Client, String> {
    let read = |key: &str, path: &Path| std::fs::read(path).map_err(|error| format!("read {key} {}: {error}", path.display()));
    let mut client = reqwest::Client::builder().timeout(SMOKE_LIMIT);
    if let Some(path) = &config.gateway_token_file {
        let token = String::from_utf8_lossy(&read("gateway_token_file", path)?).trim().to_owned();
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| format!("gateway_token_file {}: not a token", path.display()))?;
        value.set_sensitive(true);
        client = client.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
    }
    if let Some(path) = &config.gateway_ca_file {
        let pem = read("gateway_ca_file", path)?;
        let authority =
            reqwest::Certificate::from_pem(&pem).map_err(|error| format!("gateway_ca_file {}: {error}", path.display()))?;
        client = client.add_root_certificate(authority);
    }
    client.build().map_err(|error| format!("make the HTTP client: {}", spark_nats::text(&error)))
}

async fn uptime(history: PathBuf, at: Timestamp) -> Option<f64> {
    let window = Window::ending(at, DAY);
    let read = move || History::open_read_only(&history).ok()?.presence(window).ok();
    let presence = tokio::task::spawn_blocking(read).await.ok().flatten()?;
    smoke::uptime(&presence, window)
}

async fn reports(history: PathBuf, folder: PathBuf, kept: usize) {
    loop {
        let (history, folder) = (history.clone(), folder.clone());
        let wrote = tokio::task::spawn_blocking(move || write_due(&history, &folder, spark_nats::now(), kept)).await;
        match wrote {
            Ok(Ok(names)) if !names.is_empty() => tracing::info!(?names, "reports written"),
            Ok(Err(error)) => tracing::error!(error = spark_nats::text(&error), "no report was written"),
            _ => {}
        }
        tokio::time::sleep(REPORT_LOOK).await;
    }
}

/// A report that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// `daily-2026-11-20` or `weekly-2026-11-16` (its Monday).
    pub name: String,
    /// What it covers, whole UTC days.
    pub window: Window,
    /// Seven days, from Monday.
    pub weekly: bool,
}

/// The last whole UTC day, and the last whole week from Monday to Monday.
#[must_use]
pub fn due(now: Timestamp) -> [Due; 2] {
    let day_ms = 86_400_000;
    let today = (now - REPORT_GRACE).as_millis().div_euclid(day_ms);
    // Day 0, 1970-01-01, was a Thursday.
    let monday = today - (today + 3).rem_euclid(7);
    let make = |kind: &str, first: i64, end: i64, weekly| {
        let window = Window { from: Timestamp::from_millis(first * day_ms), to: Timestamp::from_millis(end * day_ms) };
        Due { name: format!("{kind}-{:.10}", window.from.to_string()), window, weekly }
    };
    [make("daily", today - 1, today, false), make("weekly", monday - 7, monday, true)]
}

/// Writes what is due and not there yet (Markdown and HTML), and removes the oldest beyond `kept` of each kind.
///
/// # Errors
/// The history cannot be read or a file cannot be written.
pub fn write_due(history: &Path, folder: &Path, now: Timestamp, kept: usize) -> Result<Vec<String>, report::Error> {
    let mut names = Vec::new();
    let history = History::open_read_only(history)?;
    for due in due(now) {
        let is_there = folder.join(format!("{}.html", due.name)).is_file();
        let is_known = history.bounds()?.is_some_and(|(first, last)| first < due.window.to && last >= due.window.from);
        if is_there || !is_known {
            continue;
        }
        let formats = [Format::Markdown, Format::Html];
        if due.weekly {
            crate::weekly::write(&crate::weekly::build(&history, due.window, now)?, folder, &due.name, &formats)?;
        } else {
            report::write(&report::build(&history, due.window, now)?, folder, &due.name, &formats)?;
        }
        names.push(due.name);
    }
    for kind in ["daily-", "weekly-"] {
        prune(folder, kind, kept)?;
    }
    Ok(names)
}

fn prune(folder: &Path, kind: &str, kept: usize) -> Result<(), report::Error> {
    if !folder.is_dir() {
        return Ok(());
    }
    let wrap = |path: &Path| {
        let path = path.to_owned();
        move |source| report::Error::File { path, source }
    };
    let listed: Result<Vec<PathBuf>, std::io::Error> =
        std::fs::read_dir(folder).map_err(wrap(folder))?.map(|entry| entry.map(|entry| entry.path())).collect();
    let paths = listed.map_err(wrap(folder))?;
    for suffix in [".md", ".html"] {
        for path in entries_of(&paths, kind, suffix).iter().rev().skip(kept) {
            std::fs::remove_file(path).map_err(wrap(path))?;
        }
    }
    Ok(())
}

/// Files of one kind, oldest first: their names sort by date.
fn entries_of(paths: &[PathBuf], kind: &str, suffix: &str) -> Vec<PathBuf> {
    let name = |path: &&PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(kind) && name.ends_with(suffix))
    };
    let mut found: Vec<PathBuf> = paths.iter().filter(name).cloned().collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_and_the_week_before_are_due_some_minutes_after_their_end() {
        let check = |now: &str, daily: &str, weekly: &str| {
            let [day, week] = due(Timestamp::parse(now).unwrap());
            assert_eq!((day.name.as_str(), week.name.as_str()), (daily, weekly), "{now}");
            assert_eq!((day.window.seconds(), week.window.seconds()), (86_400.0, 7.0 * 86_400.0));
        };
        // 2026-11-23 is a Monday.
        check("2026-11-22T23:00:00Z", "daily-2026-11-21", "weekly-2026-11-09");
        check("2026-11-23T00:05:00Z", "daily-2026-11-21", "weekly-2026-11-09");
        check("2026-11-23T00:10:00Z", "daily-2026-11-22", "weekly-2026-11-16");
        check("2026-11-29T12:00:00Z", "daily-2026-11-28", "weekly-2026-11-16");
    }
}
