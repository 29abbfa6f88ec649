//! Results for a person.

use spark_backtest::report::{self, data_text, iso, limits_text, metric_rows, number, params_text, percent};
use spark_backtest::store::{Detail, Listing, Store, Summary};
use spark_bus_schema::backtests::JobState;

use crate::exit::Failure;
use crate::output::{self, Style, paint, visible};

/// Combinations of a sweep that are printed.
const SWEEP_SHOWN: usize = 10;

/// A table of jobs.
pub fn list(listing: &Listing) -> Result<(), Failure> {
    if listing.jobs.is_empty() {
        return output::line("no backtests");
    }
    let heading = ["ID", "STATE", "STRATEGY", "SYMBOL", "PARAMETERS", "RETURN", "SHARPE", "DRAWDOWN", "TRADES", "BARS"];
    let mut rows = vec![heading.map(ToOwned::to_owned).to_vec()];
    rows.extend(listing.jobs.iter().map(|summary| {
        let metrics = summary.metrics.as_ref();
        let figure = |shown: Option<String>| shown.unwrap_or_else(|| "–".to_owned());
        vec![
            visible(&summary.job.id),
            state(summary.state).to_owned(),
            summary.job.kind.to_string(),
            format!("{}.{}", summary.job.venue, visible(&summary.job.symbol)),
            visible(&params_text(&summary.params)),
            figure(metrics.map(|metrics| percent(metrics.total_return_pct))),
            figure(metrics.and_then(|metrics| metrics.sharpe).map(number)),
            figure(metrics.map(|metrics| format!("{:.2} %", metrics.max_drawdown_pct))),
            figure(metrics.map(|metrics| metrics.trades.to_string())),
            figure(metrics.map(|metrics| metrics.bars.to_string())),
        ]
    }));
    output::table(&rows).iter().try_for_each(|line| output::line(line))?;
    if let Some(next) = &listing.next {
        output::line(&paint(&format!("more with --after {}", visible(next)), Style::Dim))?;
    }
    Ok(())
}

/// One job: figures, setting, where the rest is.
pub fn one(summary: &Summary, store: &Store) -> Result<(), Failure> {
    let job = &summary.job;
    let title = format!("{} · {} {} {}", job.id, job.kind, job.venue, job.symbol);
    output::line(&paint(&visible(&title), Style::Bold))?;
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(error) = &summary.error {
        rows.push((state(summary.state), visible(error)));
    }
    if let Some(metrics) = &summary.metrics {
        rows.extend(metric_rows(metrics));
    }
    if let Some(total) = summary.walk_return_pct {
        rows.push(("walk-forward", format!("{} over the bars that parameters were not chosen on", percent(total))));
    }
    rows.push(("parameters", params_text(&summary.params)));
    if summary.combinations > 1 {
        rows.push(("combinations", summary.combinations.to_string()));
    }
    rows.push(("data", data_text(&job.data)));
    if let Some((first, last)) = summary.range {
        rows.push(("range", format!("{} to {}", iso(first), iso(last))));
    }
    rows.push(("limits", limits_text(job.limits.as_deref())));
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".to_owned());
    rows.push(("data hash", text(&summary.data_hash)));
    rows.push(("trades hash", text(&summary.trades_hash)));
    if let (Some(took), Some(metrics)) = (summary.took_ms, &summary.metrics) {
        rows.push(("took", speed(took, metrics.bars.saturating_mul(summary.combinations))));
    }
    let report = store.report_path(&job.id);
    if report.is_file() {
        rows.push(("report", report.display().to_string()));
    }
    rows.push(("results", store.path().display().to_string()));
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), visible(&value)]).collect();
    output::table(&rows).iter().try_for_each(|line| output::line(line))
}

#[expect(clippy::cast_precision_loss, reason = "a speed for a person")]
fn speed(took_ms: f64, bars: u64) -> String {
    let per_second = bars as f64 / (took_ms / 1_000.0).max(1e-9) / 1e6;
    format!("{} ms, {per_second:.2} million bars a second", number(took_ms))
}

/// The best combinations, and the windows of a walk-forward split.
pub fn sweep(detail: &Detail) -> Result<(), Failure> {
    if !detail.sweep.is_empty() {
        output::line("")?;
        let mut rows = vec![["BEST", "RETURN", "SHARPE", "DRAWDOWN", "TRADES"].map(ToOwned::to_owned).to_vec()];
        for row in detail.sweep.iter().take(SWEEP_SHOWN) {
            let Some(metrics) = &row.metrics else { continue };
            rows.push(vec![
                visible(&params_text(&row.params)),
                percent(metrics.total_return_pct),
                metrics.sharpe.map_or_else(|| "–".to_owned(), number),
                format!("{:.2} %", metrics.max_drawdown_pct),
                metrics.trades.to_string(),
            ]);
        }
        output::table(&rows).iter().try_for_each(|line| output::line(line))?;
    }
    if !detail.walk.is_empty() {
        output::line("")?;
        let mut rows = vec![["TRIED ON", "PARAMETERS", "IN TRAINING", "AFTER IT"].map(ToOwned::to_owned).to_vec()];
        rows.extend(detail.walk.iter().map(|window| {
            vec![
                format!("{} to {}", iso(window.test_from), iso(window.test_to)),
                visible(&params_text(&window.params)),
                percent(window.train.total_return_pct),
                percent(window.test.total_return_pct),
            ]
        }));
        output::table(&rows).iter().try_for_each(|line| output::line(line))?;
    }
    Ok(())
}

/// Results in columns.
pub fn side_by_side(all: &[Summary]) -> Result<(), Failure> {
    let line = |name: &str, value: &dyn Fn(&Summary) -> String| {
        std::iter::once(name.to_owned()).chain(all.iter().map(|summary| visible(&value(summary)))).collect::<Vec<_>>()
    };
    let mut rows = vec![line("", &|summary| summary.job.id.clone())];
    rows.push(line("state", &|summary| state(summary.state).to_owned()));
    rows.push(line("strategy", &|summary| format!("{} {}.{}", summary.job.kind, summary.job.venue, summary.job.symbol)));
    rows.push(line("parameters", &|summary| params_text(&summary.params)));
    let names = all.iter().find_map(|summary| summary.metrics.as_ref()).map(metric_rows).unwrap_or_default();
    for (index, (name, _)) in names.iter().enumerate() {
        let cell = |summary: &Summary| summary.metrics.as_ref().and_then(|metrics| metric_rows(metrics).into_iter().nth(index));
        rows.push(line(name, &|summary| cell(summary).map_or_else(|| "–".to_owned(), |(_, value)| value)));
    }
    let short = |hash: &Option<String>| hash.as_deref().map_or_else(|| "–".to_owned(), |hash| hash.chars().take(12).collect());
    rows.push(line("data hash", &|summary| short(&summary.data_hash)));
    rows.push(line("trades hash", &|summary| short(&summary.trades_hash)));
    output::table(&rows).iter().try_for_each(|line| output::line(line))?;
    let same =
        |of: fn(&Summary) -> &Option<String>| all.iter().all(|summary| of(summary).is_some() && of(summary) == of(&all[0]));
    if !same(|summary| &summary.data_hash) {
        output::note("they ran over different data: their figures say little about each other");
    } else if same(|summary| &summary.trades_hash) {
        output::line("the same trades on the same data")?;
    }
    Ok(())
}

/// A state in one word.
pub fn state(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Done => "done",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    }
}

/// `[#####.....]  48 %  12.3 of 25.6 million bars`.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bar for a person")]
pub fn progress_bar(done: u64, total: u64) -> String {
    const WIDTH: usize = 30;
    let part = if total == 0 { 0.0 } else { (done as f64 / total as f64).clamp(0.0, 1.0) };
    let full = (part * WIDTH as f64) as usize;
    let million = |bars: u64| report::number(bars as f64 / 1e6);
    format!(
        "[{}{}] {:3.0} %  {} of {} million bars",
        "#".repeat(full),
        ".".repeat(WIDTH - full),
        part * 100.0,
        million(done),
        million(total)
    )
}
