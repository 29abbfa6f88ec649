//! What backtests are told of the other processes, and what they left on this machine for the gateway: read only, beside
//! its own folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use spark_backtest::Live;
use spark_backtest::store::{Detail, Store, path_in, report_path};
use spark_gateway::{BacktestDetails, BacktestReport};
use spark_nats::Service;

use crate::config::Config;
use crate::exit::Failure;

/// What a backtest over the record has to know of the processes that made it.
///
/// # Errors
/// Exit 64: the model's file.
pub fn live(config: &Config) -> Result<Live, Failure> {
    let live = Live::of(&config.executor, &config.candles, &config.signal);
    live.map_err(|mistakes| Failure::usage(format!("[signal] {}", mistakes.join("; "))))
}

/// Where the results are: `<data>/backtest/`.
fn path(service: &Service) -> PathBuf {
    path_in(service.data_dir.parent().unwrap_or(&service.data_dir))
}

/// Equity curve, trades, sweep and windows of a job.
pub fn details(service: &Service) -> BacktestDetails {
    let path = path(service);
    Arc::new(move |id| read(&path, id))
}

/// The report on a job.
pub fn report(service: &Service) -> BacktestReport {
    let path = path(service);
    Arc::new(move |id| std::fs::read_to_string(report_path(&path, id)).ok())
}

fn read(path: &Path, id: &str) -> Option<Value> {
    match Store::open_read_only(path).and_then(|store| store.get(id)) {
        Ok(found) => found.map(|detail| told(&detail)),
        Err(error) => {
            tracing::debug!(error = spark_nats::text(&error), "the results of backtests cannot be read");
            None
        }
    }
}

/// Times in ms since the epoch; prices and quantities exact, as text.
fn told(detail: &Detail) -> Value {
    let point =
        |point: &spark_backtest::store::EquityPoint| json!([point.at.as_millis(), point.equity, point.drawdown_pct, point.close]);
    let trade = |trade: &spark_backtest::store::TradeRow| {
        json!({
            "number": trade.number, "atMs": trade.at.as_millis(), "side": trade.side, "quantity": trade.quantity,
            "price": trade.price, "fee": trade.fee, "feeInBase": trade.fee_in_base, "profit": trade.profit,
        })
    };
    let summary = &detail.summary;
    json!({
        "equityColumns": ["atMs", "equity", "drawdownPct", "close"],
        "equity": detail.equity.iter().map(point).collect::<Vec<_>>(),
        "trades": detail.trades.iter().map(trade).collect::<Vec<_>>(),
        "sweep": detail.sweep.iter().map(|row| json!({"params": row.params, "metrics": row.metrics, "error": row.error})).collect::<Vec<_>>(),
        "walk": detail.walk.iter().map(|row| json!({
            "trainFromMs": row.train_from.as_millis(), "testFromMs": row.test_from.as_millis(), "testToMs": row.test_to.as_millis(),
            "params": row.params, "train": row.train, "test": row.test,
        })).collect::<Vec<_>>(),
        "fromMs": summary.range.map(|(from, _)| from.as_millis()),
        "toMs": summary.range.map(|(_, to)| to.as_millis()),
        "tookMs": summary.took_ms,
        "combinations": summary.combinations,
        "walkReturnPct": summary.walk_return_pct,
    })
}
