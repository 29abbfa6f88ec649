//! Forgetting, a little at a time: no pass deletes more than [`ROWS_PER_PASS`] rows of a table, and none copies the file.

use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use spark_bus_schema::Timestamp;

use crate::config::Config;

/// Rows of one table that one pass deletes, at most: some ten milliseconds of work.
pub const ROWS_PER_PASS: i64 = 5_000;
/// Calls that are kept, however young: about half a gigabyte.
const CALLS_MAX: i64 = 4_000_000;
/// Facts, alerts and API seconds that are kept, of each, however young.
const FACTS_MAX: i64 = 1_000_000;
/// Pages that one pass gives back to the file system, at most: 2 MiB.
const PAGES_PER_PASS: i64 = 512;

/// How long what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Everything that is one row a minute, and facts.
    pub history: Duration,
    /// Single calls and API latencies.
    pub calls: Duration,
}

impl Keep {
    /// As configured.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self { history: config.keep(), calls: config.keep_calls() }
    }
}

/// One pass. True: a table has more to delete.
pub(super) fn pass(database: &Connection, now: Timestamp, keep: &Keep) -> Result<bool, rusqlite::Error> {
    let (old, old_calls) = ((now - keep.history).as_millis(), (now - keep.calls).as_millis());
    let transaction = Transaction::new_unchecked(database, TransactionBehavior::Immediate)?;
    let mut more = false;
    {
        let mut delete = |sql: &str, before: i64| {
            let deleted = transaction.prepare_cached(sql)?.execute(params![before, ROWS_PER_PASS])?;
            more |= i64::try_from(deleted).unwrap_or(i64::MAX) >= ROWS_PER_PASS;
            Ok::<_, rusqlite::Error>(())
        };
        for (table, before) in [("call", old_calls), ("api", old_calls), ("alert", old), ("event", old)] {
            let aged = format!("DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE at < ?1 LIMIT ?2)");
            delete(&aged, before)?;
            let newest: i64 =
                transaction.query_row(&format!("SELECT coalesce(max(rowid), 0) FROM {table}"), [], |row| row.get(0))?;
            let most = if table == "call" { CALLS_MAX } else { FACTS_MAX };
            let many = format!("DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE rowid <= ?1 LIMIT ?2)");
            delete(&many, newest - most)?;
        }
        let keyed = [
            ("presence", "service, minute", "minute"),
            ("run", "service, started_at", "started_at"),
            ("feed", "venue, since, state", "since"),
            ("total", "exchange, minute", "minute"),
            ("verdict", "minute, guard", "minute"),
            ("order_state", "minute, exchange, state", "minute"),
            ("score", "minute, venue, symbol, timeframe, bucket", "minute"),
            ("calibration", "hour, venue, symbol, timeframe", "hour"),
        ];
        for (table, key, time) in keyed {
            let sql = format!("DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {time} < ?1 LIMIT ?2)");
            delete(&sql, old)?;
        }
        // By series: the table is in that order, and a look through all of it would be slow.
        let series: Vec<i64> =
            transaction.prepare_cached("SELECT id FROM series")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for id in series {
            let sql = format!(
                "DELETE FROM minute WHERE series = {id} AND minute IN \
                 (SELECT minute FROM minute WHERE series = {id} AND minute < ?1 ORDER BY minute LIMIT ?2)"
            );
            let deleted = transaction.execute(&sql, params![old, ROWS_PER_PASS])?;
            more |= i64::try_from(deleted).unwrap_or(i64::MAX) >= ROWS_PER_PASS;
        }
    }
    transaction.commit()?;
    database.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES_PER_PASS})"))?;
    Ok(more)
}
