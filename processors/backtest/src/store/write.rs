//! Writing results. Each call is one transaction and may be repeated.

use std::time::Duration;

use rusqlite::{Transaction, TransactionBehavior, params};
use serde::Serialize;
use spark_bus_schema::Timestamp;
use spark_bus_schema::backtests::{BacktestDone, BacktestJob, JobState};
use spark_bus_schema::market::Side;

use super::rows::{EQUITY_POINTS_MAX, SWEEP_ROWS_MAX, TRADES_MAX, WINDOWS_MAX};
use super::{Error, Result as Outcome, Store};

/// Jobs that are forgotten in one pass.
const FORGET_MAX: i64 = 100;
/// Pages that are given back to the file system in one pass.
const PAGES_MAX: i64 = 2_000;

impl Store {
    /// A job that no worker of this file has begun with is written down; one that is there stays as it is.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(&mut self, job: &BacktestJob, worker: &str, at: Timestamp) -> Result<(), Error> {
        let (document, params) = (json(job), json(&job.params));
        self.transaction("note a job in", |transaction| {
            transaction.execute(
                "INSERT OR IGNORE INTO job (id, state, submitted_at, started_at, attempts, worker, document, params)
                 VALUES (?1, 'queued', ?2, ?3, 0, ?4, ?5, ?6)",
                params![job.id, job.at.as_nanos(), at.as_nanos(), worker, document, params],
            )?;
            Ok(())
        })
    }

    /// A worker begins with a job.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn begin(&mut self, job: &BacktestJob, attempt: u32, worker: &str, at: Timestamp) -> Result<(), Error> {
        let (document, params) = (json(job), json(&job.params));
        self.transaction("begin a job in", |transaction| {
            transaction.execute(
                "INSERT INTO job (id, state, submitted_at, started_at, attempts, worker, document, params)
                 VALUES (?1, 'running', ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (id) DO UPDATE SET state = 'running', started_at = ?3, attempts = ?4, worker = ?5, document = ?6,
                    params = ?7, finished_at = NULL, metrics = NULL, trades_hash = NULL, data_hash = NULL, error = NULL",
                params![job.id, job.at.as_nanos(), at.as_nanos(), attempt, worker, document, params],
            )?;
            Ok(())
        })
    }

    /// Keeps everything about a job that has a result; its end is told by [`Store::settle`].
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&mut self, id: &str, result: &Outcome) -> Result<(), Error> {
        self.transaction("keep a result in", |transaction| {
            clear(transaction, id)?;
            write_figures(transaction, id, result)?;
            let mut insert = transaction.prepare("INSERT OR REPLACE INTO equity VALUES (?1, ?2, ?3, ?4, ?5)")?;
            for point in result.equity.iter().take(EQUITY_POINTS_MAX) {
                insert.execute(params![id, point.at.as_nanos(), point.equity, point.drawdown_pct, point.close])?;
            }
            let mut insert = transaction.prepare("INSERT OR REPLACE INTO trade VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
            for trade in &result.trades[result.trades.len().saturating_sub(TRADES_MAX)..] {
                let side = if trade.side == Side::Buy { "buy" } else { "sell" };
                insert.execute(params![
                    id,
                    i64::try_from(trade.number).unwrap_or(i64::MAX),
                    trade.at.as_nanos(),
                    side,
                    trade.quantity.normalize().to_string(),
                    trade.price.normalize().to_string(),
                    trade.fee.normalize().to_string(),
                    trade.fee_in_base,
                    trade.profit.map(|profit| profit.normalize().to_string())
                ])?;
            }
            let mut insert = transaction.prepare("INSERT INTO combination VALUES (?1, ?2, ?3, ?4, ?5)")?;
            for (place, row) in (1_i64..).zip(result.sweep.iter().take(SWEEP_ROWS_MAX)) {
                insert.execute(params![id, place, json(&row.params), row.metrics.as_ref().map(json), row.error])?;
            }
            let mut insert = transaction.prepare("INSERT INTO walk VALUES (?1, ?2, ?3)")?;
            for (number, window) in (1_i64..).zip(result.walk.iter().take(WINDOWS_MAX)) {
                insert.execute(params![id, number, json(window)])?;
            }
            Ok(())
        })
    }

    /// A job came to its end, as the LEDGER has it: what was kept of a result that does not count is taken away.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn settle(&mut self, done: &BacktestDone) -> Result<(), Error> {
        self.transaction("end a job in", |transaction| {
            if done.state != JobState::Done {
                clear(transaction, &done.id)?;
            }
            transaction.execute(
                "UPDATE job SET state = ?2, finished_at = ?3, attempts = ?4, params = ?5, metrics = ?6, trades_hash = ?7,
                    data_hash = ?8, error = ?9 WHERE id = ?1",
                params![
                    done.id,
                    state_text(done.state),
                    done.at.as_nanos(),
                    done.attempts,
                    json(&done.params),
                    done.metrics.as_ref().map(json),
                    done.trades_hash,
                    done.data_hash,
                    done.error
                ],
            )?;
            Ok(())
        })
    }

    /// Forgets jobs that were asked for longer than `keep` before `now`, and all but the newest `kept` of those that do not run;
    /// their ids, for whoever removes their reports. At most a hundred in one pass.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn forget(&mut self, now: Timestamp, keep: Duration, kept: usize) -> Result<Vec<String>, Error> {
        let before = now.as_nanos().saturating_sub(i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX));
        let ids = self.transaction("forget jobs in", |transaction| {
            let mut choose = transaction.prepare(
                "SELECT id FROM job WHERE submitted_at < ?1 OR (state <> 'running' AND id IN
                    (SELECT id FROM job ORDER BY submitted_at DESC, id DESC LIMIT -1 OFFSET ?2)) ORDER BY submitted_at LIMIT ?3",
            )?;
            let ids: Vec<String> = choose
                .query_map(params![before, i64::try_from(kept).unwrap_or(i64::MAX), FORGET_MAX], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for id in &ids {
                transaction.execute("DELETE FROM job WHERE id = ?1", [id])?;
            }
            Ok(ids)
        })?;
        if !ids.is_empty() {
            let freed = self.database.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES_MAX})"));
            freed.map_err(|source| self.wrap("shrink", source))?;
        }
        Ok(ids)
    }

    fn transaction<T>(
        &mut self,
        action: &'static str,
        write: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let path = self.path.clone();
        // Immediate: another worker is waited for here, not refused in the middle.
        let begun = self.database.transaction_with_behavior(TransactionBehavior::Immediate);
        let written = begun.and_then(|transaction| {
            let value = write(&transaction)?;
            transaction.commit()?;
            Ok(value)
        });
        written.map_err(|source| Error::Database { action, path, source })
    }
}

fn write_figures(transaction: &Transaction<'_>, id: &str, result: &Outcome) -> rusqlite::Result<()> {
    let (first, last) = result.range.unzip();
    transaction.execute(
        "UPDATE job SET params = ?2, metrics = ?3, trades_hash = ?4, data_hash = ?5, first_bar = ?6, last_bar = ?7, took_ns = ?8,
            combinations = ?9, walk_return_pct = ?10 WHERE id = ?1",
        params![
            id,
            json(&result.params),
            result.metrics.as_ref().map(json),
            result.trades_hash,
            result.data_hash,
            first.map(Timestamp::as_nanos),
            last.map(Timestamp::as_nanos),
            i64::try_from(result.took_ns).unwrap_or(i64::MAX),
            i64::try_from(result.combinations).unwrap_or(i64::MAX),
            result.walk_return_pct
        ],
    )?;
    Ok(())
}

fn clear(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    for table in ["equity", "trade", "combination", "walk"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE job = ?1"), [id])?;
    }
    Ok(())
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("these types have no map with other keys than text")
}

fn state_text(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Done => "done",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    }
}
