//! `spark report`, `spark health weekly`: from the reporter's history alone, whether anything runs or not.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use spark_bus_schema::Timestamp;
use spark_reporter::config::parse_time;
use spark_reporter::history::{self, History, Window};
use spark_reporter::report::{self, Error, Format, Verdict};
use spark_reporter::weekly;

use crate::args::Global;
use crate::args::report::{HealthCommand, ReportArgs, ReportOutput, WeeklyArgs};
use crate::exit::{Failure, chain};
use crate::output::{self, Style, paint, visible};

const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// More would be more than the history keeps by default.
const WINDOW_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Writes a report of a window.
///
/// # Errors
/// Exit 1: the verdict is RED. Exit 64: a time that cannot be read. Exit 69: no history, or none of that time.
pub fn run(arguments: &ReportArgs, global: &Global) -> Result<(), Failure> {
    let length = parse_time(&arguments.window).map_err(|error| Failure::usage(format!("--window {error}")))?;
    if length > WINDOW_MAX {
        return Err(Failure::usage(format!("--window {}: at most 366d", arguments.window)));
    }
    let (window, now) = window(arguments.to.as_deref(), length)?;
    let report = report::build(&open(global)?, window, now).map_err(|error| failed(&error))?;
    let store = |folder: &PathBuf, formats: &[Format]| report::write(&report, folder, &name("report", window), formats);
    let judgement = &report.judgement;
    tell(&report, &arguments.output, global, store, (judgement.verdict, &judgement.rule, &judgement.actions))
}

/// Runs `spark health …`.
///
/// # Errors
/// As [`run`].
pub fn health(command: &HealthCommand, global: &Global) -> Result<(), Failure> {
    match command {
        HealthCommand::Weekly(arguments) => week(arguments, global),
    }
}

fn week(arguments: &WeeklyArgs, global: &Global) -> Result<(), Failure> {
    let (window, now) = window(arguments.to.as_deref(), WEEK)?;
    let weekly = weekly::build(&open(global)?, window, now).map_err(|error| failed(&error))?;
    let store = |folder: &PathBuf, formats: &[Format]| weekly::write(&weekly, folder, &name("week", window), formats);
    tell(&weekly, &arguments.output, global, store, (weekly.verdict, &weekly.rule, &weekly.work))
}

fn open(global: &Global) -> Result<History, Failure> {
    History::open_read_only(&history::path_in(&global.data)).map_err(|error| Failure::unavailable(chain(&error)))
}

fn failed(error: &Error) -> Failure {
    match error {
        Error::File { .. } => Failure::temporary(chain(error)),
        Error::History(_) | Error::Nothing { .. } => Failure::unavailable(chain(error)),
    }
}

fn window(to: Option<&str>, length: Duration) -> Result<(Window, Timestamp), Failure> {
    let now = spark_nats::now();
    let to = to
        .map(Timestamp::parse)
        .transpose()
        .map_err(|error| Failure::usage(format!("--to {error}, e.g. 2026-11-21T00:00:00Z")))?;
    Ok((Window::ending(to.unwrap_or(now), length), now))
}

/// `report-20261121T093000Z`, by the window's end.
fn name(kind: &str, window: Window) -> String {
    let end = spark_reporter::chart::iso(window.to).replace(['-', ':'], "");
    format!("{kind}-{end}")
}

fn tell<T: Serialize>(
    document: &T,
    arguments: &ReportOutput,
    global: &Global,
    store: impl Fn(&PathBuf, &[Format]) -> Result<Vec<PathBuf>, Error>,
    (verdict, rule, actions): (Verdict, &str, &[String]),
) -> Result<(), Failure> {
    let formats: &[Format] = match (arguments.html_only, arguments.md_only) {
        (true, _) => &[Format::Html],
        (_, true) => &[Format::Markdown],
        _ => &[Format::Markdown, Format::Html],
    };
    let default = global.data.join("reports");
    let folder = arguments.out.as_ref().or_else(|| Some(&default).filter(|_| !global.json));
    let written = folder.map_or(Ok(Vec::new()), |folder| store(folder, formats)).map_err(|error| failed(&error))?;
    if global.json {
        let text = serde_json::to_string(document).map_err(|error| Failure::internal(error.to_string()))?;
        output::line(&text)?;
    } else {
        let style = match verdict {
            Verdict::Green => Style::Green,
            Verdict::Yellow => Style::Yellow,
            Verdict::Red => Style::Red,
        };
        output::line(&format!("{}  {}", paint(verdict.as_str(), style), visible(rule)))?;
        actions.iter().try_for_each(|action| output::line(&format!("  {}", visible(action))))?;
        written.iter().try_for_each(|path| output::line(&path.display().to_string()))?;
    }
    if verdict == Verdict::Red { Err(Failure::no("")) } else { Ok(()) }
}
