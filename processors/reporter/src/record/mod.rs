//! Messages into the history: each counts exactly once, because the place in the stream is written in the same transaction.
//!
//! The time of a row is the message's own (when it happened), but never later than when the broker stored it: a sender
//! whose clock runs ahead cannot write into the future.

mod entry;
mod retention;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rusqlite::{Transaction, TransactionBehavior, params};
use spark_bus_schema::Timestamp;
use spark_nats::{Cursor, Delivery};

pub(crate) use entry::json;
pub use entry::{Entry, decode};
pub use retention::{Keep, ROWS_PER_PASS};

use crate::history::{Error, History};

/// Series that are kept; what comes beyond is counted only. A mistake in a rule's scope must not fill the disk.
pub const SERIES_MAX: usize = 20_000;

/// The only writer of the history.
pub struct Recorder {
    history: History,
    cursors: BTreeMap<String, Cursor>,
    /// The last boundary of `telemetry.windows` that was taken in, ms.
    windows_at: i64,
    series: HashMap<String, i64>,
    series_refused: u64,
}

impl Recorder {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// It cannot be used, or another build wrote it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let history = History::open(path)?;
        let read = || {
            let mut statement = history.database.prepare("SELECT stream, sequence, stored_at_ns FROM cursor")?;
            let cursors: Result<BTreeMap<String, Cursor>, rusqlite::Error> = statement
                .query_map([], |row| {
                    let sequence = row.get::<_, i64>(1)?.cast_unsigned();
                    Ok((row.get(0)?, Cursor { sequence, stored_at: Timestamp::from_nanos(row.get(2)?) }))
                })?
                .collect();
            let windows_at: Option<i64> =
                history.database.query_row("SELECT max(value) FROM note WHERE key = 'windows_at'", [], |row| row.get(0))?;
            let mut statement = history.database.prepare("SELECT rule, metric, scope, unit, id FROM series")?;
            let series: Result<HashMap<String, i64>, rusqlite::Error> = statement
                .query_map([], |row| {
                    let name = |column| row.get::<_, String>(column);
                    Ok((series_key(&name(0)?, &name(1)?, &name(2)?, &name(3)?), row.get(4)?))
                })?
                .collect();
            Ok((cursors?, windows_at.unwrap_or(i64::MIN), series?))
        };
        let (cursors, windows_at, series) = read().map_err(|source| history.wrap("read", source))?;
        Ok(Self { history, cursors, windows_at, series, series_refused: 0 })
    }

    /// The last message of a stream that the history holds.
    #[must_use]
    pub fn cursor(&self, stream: &str) -> Option<Cursor> {
        self.cursors.get(stream).copied()
    }

    /// Series that found no room since the start.
    #[must_use]
    pub fn series_refused(&self) -> u64 {
        self.series_refused
    }

    /// Takes in messages in the order in which they came, all or none. Those without an entry only move the place in the
    /// stream; those that are in the history already do nothing.
    ///
    /// # Errors
    /// The disk is full or the file is gone; nothing was taken in.
    pub fn record(&mut self, batch: &[(Delivery, Option<Entry>)]) -> Result<u64, Error> {
        let taken = self.write(batch);
        if taken.is_err() {
            // The transaction was rolled back: series that it made are not there, and boundaries were not taken in.
            *self = Self::open(&self.history.path.clone())?;
        }
        taken.map_err(|source| self.history.wrap("write to", source))
    }

    fn write(&mut self, batch: &[(Delivery, Option<Entry>)]) -> Result<u64, rusqlite::Error> {
        let transaction = Transaction::new_unchecked(&self.history.database, TransactionBehavior::Immediate)?;
        let mut cursors = self.cursors.clone();
        let mut taken = 0;
        for (delivery, entry) in batch {
            if cursors.get(delivery.stream).is_some_and(|&cursor| is_behind(delivery, cursor)) {
                continue;
            }
            cursors.insert(delivery.stream.to_owned(), delivery.cursor());
            taken += 1;
            if let Some(entry) = entry {
                let mut writer = write::Writer {
                    transaction: &transaction,
                    windows_at: &mut self.windows_at,
                    series: &mut self.series,
                    series_refused: &mut self.series_refused,
                };
                writer.entry(delivery, entry)?;
            }
        }
        {
            let sql = "INSERT OR REPLACE INTO cursor VALUES (?1, ?2, ?3)";
            let mut statement = transaction.prepare_cached(sql)?;
            for (stream, cursor) in &cursors {
                statement.execute(params![stream, cursor.sequence.cast_signed(), cursor.stored_at.as_nanos()])?;
            }
            let sql = "INSERT OR REPLACE INTO note VALUES ('windows_at', ?1)";
            transaction.prepare_cached(sql)?.execute(params![self.windows_at])?;
        }
        transaction.commit()?;
        self.cursors = cursors;
        Ok(taken)
    }

    /// Deletes some of what is older than it is to be kept; see [`Keep`]. True: there is more.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn forget(&mut self, now: Timestamp, keep: &Keep) -> Result<bool, Error> {
        retention::pass(&self.history.database, now, keep).map_err(|source| self.history.wrap("delete from", source))
    }

    /// The history, for reading.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }
}

/// Whether the history holds this message already. A smaller number that was stored later is another message: the stream
/// had lost its end.
fn is_behind(delivery: &Delivery, cursor: Cursor) -> bool {
    delivery.sequence <= cursor.sequence && delivery.stored_at <= cursor.stored_at
}

fn series_key(rule: &str, metric: &str, scope: &str, unit: &str) -> String {
    // None of them holds a line break: names are checked where rules are read, and JSON escapes it.
    [rule, metric, scope, unit].join("\n")
}
