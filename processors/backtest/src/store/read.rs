//! Reading results.

use rusqlite::{OptionalExtension, Row, params};
use serde::de::DeserializeOwned;
use spark_bus_schema::Timestamp;
use spark_bus_schema::backtests::JobState;
use spark_bus_schema::market::Side;

use super::rows::{Detail, EquityPoint, Listing, PAGE_MAX, Page, Summary, SweepRow, TradeRow, WindowRow};
use super::{Error, Store};

const COLUMNS: &str = "document, state, started_at, finished_at, attempts, worker, params, metrics, trades_hash, data_hash, error, \
first_bar, last_bar, took_ns, combinations, id, walk_return_pct";

/// A row of table `job` as SQLite gives it.
struct Raw {
    document: String,
    state: String,
    started_at: i64,
    finished_at: Option<i64>,
    attempts: u32,
    worker: String,
    params: String,
    metrics: Option<String>,
    trades_hash: Option<String>,
    data_hash: Option<String>,
    error: Option<String>,
    first_bar: Option<i64>,
    last_bar: Option<i64>,
    took_ns: Option<i64>,
    combinations: i64,
    id: String,
    walk_return_pct: Option<f64>,
}

impl Raw {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            document: row.get(0)?,
            state: row.get(1)?,
            started_at: row.get(2)?,
            finished_at: row.get(3)?,
            attempts: row.get(4)?,
            worker: row.get(5)?,
            params: row.get(6)?,
            metrics: row.get(7)?,
            trades_hash: row.get(8)?,
            data_hash: row.get(9)?,
            error: row.get(10)?,
            first_bar: row.get(11)?,
            last_bar: row.get(12)?,
            took_ns: row.get(13)?,
            combinations: row.get(14)?,
            id: row.get(15)?,
            walk_return_pct: row.get(16)?,
        })
    }
}

impl Store {
    /// Jobs, newest first.
    ///
    /// # Errors
    /// The file cannot be read. A page that goes on behind a job that is not there is empty.
    pub fn list(&self, page: &Page) -> Result<Listing, Error> {
        let limit = page.limit.clamp(1, PAGE_MAX);
        let raw = self.rows(
            "list jobs",
            &format!(
                "SELECT {COLUMNS} FROM job WHERE ?1 IS NULL OR (submitted_at, id) < (SELECT submitted_at, id FROM job WHERE id = ?1) \
                 ORDER BY submitted_at DESC, id DESC LIMIT ?2"
            ),
            params![page.after, i64::try_from(limit + 1).unwrap_or(i64::MAX)],
            Raw::read,
        )?;
        let next = (raw.len() > limit).then(|| raw[limit - 1].id.clone());
        let jobs = raw.into_iter().take(limit).map(|raw| self.summary(raw)).collect::<Result<_, _>>()?;
        Ok(Listing { jobs, next })
    }

    /// One job as a list shows it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn summary_of(&self, id: &str) -> Result<Option<Summary>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM job WHERE id = ?1");
        let raw =
            self.database.query_row(&sql, [id], Raw::read).optional().map_err(|source| self.wrap("read a job in", source))?;
        raw.map(|raw| self.summary(raw)).transpose()
    }

    /// One job with everything that is kept of it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<Detail>, Error> {
        let Some(summary) = self.summary_of(id)? else { return Ok(None) };
        let equity = self.rows(
            "read equity in",
            "SELECT at, equity, drawdown_pct, close FROM equity WHERE job = ?1 ORDER BY at",
            [id],
            |row| {
                let at = Timestamp::from_nanos(row.get(0)?);
                Ok(EquityPoint { at, equity: row.get(1)?, drawdown_pct: row.get(2)?, close: row.get(3)? })
            },
        )?;
        Ok(Some(Detail { summary, equity, trades: self.trades(id)?, sweep: self.sweep(id)?, walk: self.walk(id)? }))
    }

    fn trades(&self, id: &str) -> Result<Vec<TradeRow>, Error> {
        type RawTrade = (i64, i64, String, [String; 3], bool, Option<String>);
        let sql = "SELECT number, at, side, quantity, price, fee, fee_in_base, profit FROM trade WHERE job = ?1 ORDER BY number";
        let raw: Vec<RawTrade> = self.rows("read trades in", sql, [id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, [row.get(3)?, row.get(4)?, row.get(5)?], row.get(6)?, row.get(7)?))
        })?;
        let decimal = |text: &str| text.parse().map_err(|error| self.row("trade", &error));
        let rows = raw.into_iter().map(|(number, at, side, [quantity, price, fee], fee_in_base, profit)| {
            let side = match side.as_str() {
                "buy" => Side::Buy,
                "sell" => Side::Sell,
                other => return Err(self.row("trade", &format!("side {other}"))),
            };
            Ok(TradeRow {
                number: u64::try_from(number).unwrap_or(0),
                at: Timestamp::from_nanos(at),
                side,
                quantity: decimal(&quantity)?,
                price: decimal(&price)?,
                fee: decimal(&fee)?,
                fee_in_base,
                profit: profit.as_deref().map(decimal).transpose()?,
            })
        });
        rows.collect()
    }

    fn sweep(&self, id: &str) -> Result<Vec<SweepRow>, Error> {
        type RawRow = (String, Option<String>, Option<String>);
        let sql = "SELECT params, metrics, error FROM combination WHERE job = ?1 ORDER BY place";
        let raw: Vec<RawRow> = self.rows("read a sweep in", sql, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let row = |(params, metrics, error): RawRow| {
            let metrics = metrics.map(|metrics| self.json("combination", &metrics)).transpose()?;
            Ok(SweepRow { params: self.json("combination", &params)?, metrics, error })
        };
        raw.into_iter().map(row).collect()
    }

    fn walk(&self, id: &str) -> Result<Vec<WindowRow>, Error> {
        let sql = "SELECT document FROM walk WHERE job = ?1 ORDER BY number";
        let raw: Vec<String> = self.rows("read a walk-forward split in", sql, [id], |row| row.get(0))?;
        raw.iter().map(|document| self.json("walk", document)).collect()
    }

    fn summary(&self, raw: Raw) -> Result<Summary, Error> {
        let nanos = Timestamp::from_nanos;
        Ok(Summary {
            job: self.json("job", &raw.document)?,
            state: state_of(&raw.state).ok_or_else(|| self.row("job", &format!("state {}", raw.state)))?,
            started_at: nanos(raw.started_at),
            finished_at: raw.finished_at.map(nanos),
            attempts: raw.attempts,
            worker: raw.worker,
            params: self.json("job", &raw.params)?,
            metrics: raw.metrics.map(|metrics| self.json("job", &metrics)).transpose()?,
            trades_hash: raw.trades_hash,
            data_hash: raw.data_hash,
            error: raw.error,
            range: raw.first_bar.zip(raw.last_bar).map(|(first, last)| (nanos(first), nanos(last))),
            took_ms: raw.took_ns.map(milliseconds),
            combinations: u64::try_from(raw.combinations).unwrap_or(0),
            walk_return_pct: raw.walk_return_pct,
        })
    }

    fn rows<T, P: rusqlite::Params>(
        &self,
        action: &'static str,
        sql: &str,
        values: P,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.database.prepare_cached(sql).map_err(|source| self.wrap(action, source))?;
        let rows = statement.query_map(values, read).and_then(Iterator::collect);
        rows.map_err(|source| self.wrap(action, source))
    }

    fn json<T: DeserializeOwned>(&self, table: &'static str, text: &str) -> Result<T, Error> {
        serde_json::from_str(text).map_err(|error| self.row(table, &error))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a time for a person")]
fn milliseconds(nanos: i64) -> f64 {
    nanos as f64 / 1e6
}

fn state_of(text: &str) -> Option<JobState> {
    serde_json::from_value(serde_json::Value::String(text.to_owned())).ok()
}
