//! A job from its words to its result: reads the past, runs the engine, makes of it what is kept.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spark_bus_schema::backtests::{BacktestJob, DataSource};
use spark_bus_schema::orders::Filters;
use spark_exchanges::ApiConfig;
use spark_nats::Bus;
use spark_signal::model::Model;

use crate::config::Config;
use crate::data::{Bars, csv, exchange, feed};
use crate::engine::{self, Error, Outcome, Progress, Settings};
use crate::live::{self, Live};
use crate::store::{self, EquityPoint, SweepRow, TradeRow, WindowRow};
use crate::{sweep, walk};

/// Bytes of one CSV file.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Folder of the exchange's candles, beside the results.
const CANDLES: &str = "candles";

/// What a job is run over, and what it has to know of the processes that would have traded it.
#[derive(Clone, Debug)]
pub struct Past {
    /// The bars.
    pub bars: Bars,
    /// Of recorded data: what the executor knew that the venue allows. None: it has not read any, or the data is not recorded.
    filters: Option<Filters>,
    quote_age_max: Duration,
    model: Arc<Model>,
}

impl Past {
    fn settings(&self, job: &BacktestJob) -> Result<Settings, Error> {
        let mut settings = Settings::of(job)?;
        settings.quote_age_max = self.quote_age_max;
        settings.model = Arc::clone(&self.model);
        if let Some(filters) = &self.filters {
            settings.filters = filters.clone();
        }
        Ok(settings)
    }
}

/// Reads the past of a job. `bus` is for what FEED recorded; `live` is what the processes are told; `results` is the
/// database, beside which candles are kept.
///
/// # Errors
/// As the readers' own; [`Error::Job`] where there is no broker for recorded data, and for a file that may not be read.
pub async fn load(job: &BacktestJob, bus: Option<&Bus>, config: &Config, live: &Live, results: &Path) -> Result<Past, Error> {
    let bars = bars(job, bus, config, live, results).await?;
    let filters = match bus.filter(|_| bars.is_recorded()) {
        Some(bus) => live::filters(bus, job.venue, &job.symbol).await?,
        None => None,
    };
    Ok(Past { bars, filters, quote_age_max: live.quote_age_max, model: Arc::clone(&live.model) })
}

/// Reads the past of a job.
async fn bars(job: &BacktestJob, bus: Option<&Bus>, config: &Config, live: &Live, results: &Path) -> Result<Bars, Error> {
    match &job.data {
        DataSource::Csv { path } => {
            let (path, timeframe, config) = (path.clone(), job.timeframe, config.clone());
            let read = tokio::task::spawn_blocking(move || {
                let path = readable(&path, &config)?;
                csv::read(&path, timeframe)
            });
            read.await.map_err(|error| Error::Data(format!("the reading ended without an answer: {error}")))?
        }
        DataSource::Exchange { from, to } => {
            let timeframe = job.timeframe.ok_or_else(|| {
                Error::Job("timeframe: the exchange wants to know how long candles shall be, e.g. 1h".to_owned())
            })?;
            let wanted = exchange::Wanted { venue: job.venue, symbol: job.symbol.clone(), timeframe, from: *from, to: *to };
            let api = config.url_of(job.venue).map_or_else(ApiConfig::default, ApiConfig::at);
            exchange::read(&api, &results.with_file_name(CANDLES), &wanted).await
        }
        DataSource::Feed { from, to } => {
            let bus =
                bus.ok_or_else(|| Error::Job("data = feed: what was recorded is at the broker, and there is none".to_owned()))?;
            let timeframe = job.timeframe.ok_or_else(|| {
                Error::Job("timeframe: recorded trades become candles of some length; say which, e.g. 1m".to_owned())
            })?;
            let wanted = feed::Recorded { from: *from, to: *to, ..live.recorded(job.venue, &job.symbol, timeframe) };
            feed::read(bus, &wanted).await
        }
    }
}

/// The file behind a path, links resolved: a regular one, not too large, in a folder that is allowed.
fn readable(text: &str, config: &Config) -> Result<std::path::PathBuf, Error> {
    let given = Path::new(text);
    if !given.is_absolute() {
        return Err(Error::Job(format!("data = {text:.200}: give the absolute path on the worker's machine")));
    }
    let file = |source| Error::File { action: "open", path: text.to_owned(), source };
    let path = given.canonicalize().map_err(file)?;
    if !config.allows(&path) {
        return Err(Error::Job(format!("data = {text:.200}: not in a folder of [backtest] csv_folders")));
    }
    let metadata = path.metadata().map_err(file)?;
    if !metadata.is_file() {
        return Err(Error::Data(format!("{text:.200}: not a regular file; give a file of bars")));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(Error::Data(format!(
            "{text:.200}: {} bytes, more than {FILE_BYTES_MAX}; give a shorter range",
            metadata.len()
        )));
    }
    Ok(path)
}

/// Runs a job over its bars: once, or every combination and then the best one whole, and window by window where it says so.
///
/// # Errors
/// [`Error::Job`], [`Error::Cancelled`].
pub fn execute(job: &BacktestJob, past: &Past, progress: &dyn Progress) -> Result<store::Result, Error> {
    let (mut settings, bars) = (past.settings(job)?, &past.bars);
    let begun = Instant::now();
    let walked = job.walk_forward.map(|split| walk::run(&settings, &job.sweep, split, bars, progress)).transpose()?;
    let tried = if job.sweep.is_empty() { Vec::new() } else { sweep::run(&settings, &job.sweep, bars, progress)? };
    if let Some(best) = tried.first() {
        settings.params.clone_from(&best.params);
    }
    let outcome = engine::run(&settings, bars, progress)?;
    let took = begun.elapsed();
    let combinations = tried.len().max(1) as u64;
    #[expect(clippy::cast_precision_loss, reason = "a speed for a person")]
    metrics::gauge!("spark_backtest_bars_per_second")
        .set(bars.len() as f64 * combinations as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE));
    let walk_return_pct = walked.as_ref().map(|walked| walked.total_return_pct);
    let rows = walked.map(|walked| walked.windows.into_iter().map(window).collect()).unwrap_or_default();
    Ok(store::Result {
        params: settings.params,
        took_ns: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        combinations,
        equity: equity(&outcome),
        trades: trades(&outcome),
        trades_hash: Some(outcome.trades_hash),
        data_hash: Some(outcome.data_hash),
        range: outcome.range,
        metrics: Some(outcome.metrics),
        sweep: tried.into_iter().map(|one| SweepRow { params: one.params, metrics: one.metrics, error: one.error }).collect(),
        walk: rows,
        walk_return_pct,
    })
}

fn window(window: walk::Window) -> WindowRow {
    WindowRow {
        train_from: window.train_from,
        test_from: window.test_from,
        test_to: window.test_to,
        params: window.params,
        train: window.train,
        test: window.test,
    }
}

fn equity(outcome: &Outcome) -> Vec<EquityPoint> {
    let mut peak = f64::NEG_INFINITY;
    let points = outcome.equity.iter().map(|point| {
        peak = peak.max(point.equity);
        let drawdown_pct = if peak > 0.0 { (1.0 - point.equity / peak) * 100.0 } else { 0.0 };
        EquityPoint { at: point.at, equity: point.equity, drawdown_pct, close: point.close }
    });
    points.collect()
}

fn trades(outcome: &Outcome) -> Vec<TradeRow> {
    let rows = (1..).zip(&outcome.trades).map(|(number, trade)| TradeRow {
        number,
        at: trade.decided_at,
        side: trade.side,
        quantity: trade.quantity,
        price: trade.price,
        fee: trade.fee,
        fee_in_base: trade.fee_in_base,
        profit: trade.profit,
    });
    rows.collect()
}
