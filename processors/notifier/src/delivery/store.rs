//! What still has to arrive, in SQLite: it survives a crash between the decision and the delivery.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use spark_bus_schema::Timestamp;
use spark_bus_schema::notify::Notification;
use spark_bus_schema::subject;
use spark_nats::{Cursor, Delivery};

const SCHEMA_VERSION: i64 = 1;

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("use {path}", path = path.display())]
pub struct StoreError {
    path: PathBuf,
    #[source]
    source: rusqlite::Error,
}

/// The queues of all receivers, and the place in the LEDGER up to which they hold everything.
pub struct Store {
    path: PathBuf,
    database: Connection,
}

/// A notification that has not arrived yet.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// As it is in the LEDGER.
    pub delivery: Delivery,
    /// Tries so far.
    pub attempts: u32,
    /// It arrived with this status (0: not HTTP); only the word about it is missing.
    pub arrived: Option<u16>,
}

impl Store {
    /// Opens or creates the file; whether it is new.
    ///
    /// # Errors
    /// It cannot be opened, or is another program's.
    pub fn open(path: &Path) -> Result<(Self, bool), StoreError> {
        let wrap = |source| StoreError { path: path.to_owned(), source };
        let database = Connection::open(path).map_err(wrap)?;
        // As the checkpoint: what a power failure takes is sent again.
        database.pragma_update(None, "journal_mode", "WAL").map_err(wrap)?;
        database.pragma_update(None, "synchronous", "NORMAL").map_err(wrap)?;
        let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(wrap)?;
        if version != 0 && version != SCHEMA_VERSION {
            return Err(wrap(rusqlite::Error::InvalidParameterName(format!(
                "layout {version}, this build reads {SCHEMA_VERSION}"
            ))));
        }
        database
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS waiting (
                     sequence INTEGER PRIMARY KEY, receiver TEXT NOT NULL, subject TEXT NOT NULL, kind TEXT, headers TEXT NOT NULL,
                     payload BLOB NOT NULL, stored_ns INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, arrived INTEGER
                 );
                 CREATE INDEX IF NOT EXISTS by_receiver ON waiting (receiver, sequence);
                 CREATE TABLE IF NOT EXISTS position (id INTEGER PRIMARY KEY CHECK (id = 1), sequence INTEGER, stored_ns INTEGER);
                 CREATE TABLE IF NOT EXISTS live (
                     receiver TEXT NOT NULL, group_key TEXT NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (receiver, group_key)
                 );",
            )
            .map_err(wrap)?;
        database.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(wrap)?;
        Ok((Self { path: path.to_owned(), database }, version == 0))
    }

    /// Up to where everything is in the queues.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn position(&self) -> Result<Option<Cursor>, StoreError> {
        let row = self.database.query_row("SELECT sequence, stored_ns FROM position WHERE id = 1", [], |row| {
            Ok(Cursor { sequence: row.get::<_, i64>(0)?.unsigned_abs(), stored_at: Timestamp::from_nanos(row.get(1)?) })
        });
        row.optional().map_err(|source| self.wrap(source))
    }

    /// Puts them into the queues of their receivers and moves the position, all or nothing; the receivers.
    ///
    /// # Errors
    /// The disk is full or the file is gone.
    pub fn put(&mut self, deliveries: &[Delivery]) -> Result<Vec<String>, StoreError> {
        let receivers = put(&mut self.database, deliveries);
        receivers.map_err(|source| self.wrap(source))
    }

    /// The position alone: what came before is no longer waited for.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn skip_to(&self, cursor: Cursor) -> Result<(), StoreError> {
        skip_to(&self.database, cursor).map_err(|source| self.wrap(source))
    }

    /// The oldest notification that waits for a receiver.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn oldest(&self, receiver: &str) -> Result<Option<Waiting>, StoreError> {
        let found = self
            .database
            .prepare_cached(
                "SELECT sequence, subject, kind, headers, payload, stored_ns, attempts, arrived FROM waiting \
                 WHERE receiver = ?1 ORDER BY sequence LIMIT 1",
            )
            .and_then(|mut statement| statement.query_row([receiver], waiting).optional());
        found.map_err(|source| self.wrap(source))
    }

    /// Everybody for whom something waits.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn receivers(&self) -> Result<Vec<String>, StoreError> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.database.prepare_cached("SELECT DISTINCT receiver FROM waiting ORDER BY receiver")?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        read().map_err(|source| self.wrap(source))
    }

    /// How many wait for a receiver.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn depth(&self, receiver: &str) -> Result<u64, StoreError> {
        let count = self
            .database
            .prepare_cached("SELECT count(*) FROM waiting WHERE receiver = ?1")
            .and_then(|mut statement| statement.query_row([receiver], |row| row.get::<_, i64>(0)));
        count.map(i64::unsigned_abs).map_err(|source| self.wrap(source))
    }

    /// One more try.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn tried(&self, sequence: u64, attempts: u32, arrived: Option<u16>) -> Result<(), StoreError> {
        self.database
            .prepare_cached("UPDATE waiting SET attempts = ?2, arrived = ?3 WHERE sequence = ?1")
            .and_then(|mut statement| statement.execute(params![signed(sequence), attempts, arrived]))
            .map(|_| ())
            .map_err(|source| self.wrap(source))
    }

    /// It waits no more.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn remove(&self, sequence: u64) -> Result<(), StoreError> {
        self.database
            .prepare_cached("DELETE FROM waiting WHERE sequence = ?1")
            .and_then(|mut statement| statement.execute([signed(sequence)]))
            .map(|_| ())
            .map_err(|source| self.wrap(source))
    }

    /// What the receiver was last told of a group, if something of it fires still.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn live(&self, receiver: &str, group_key: Option<&str>) -> Result<Vec<Notification>, StoreError> {
        let read = || {
            let mut statement = self.database.prepare_cached(
                "SELECT payload FROM live WHERE receiver = ?1 AND (?2 IS NULL OR group_key = ?2) ORDER BY group_key",
            )?;
            let rows = statement.query_map(params![receiver, group_key], |row| row.get::<_, Vec<u8>>(0))?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        let payloads: Vec<Vec<u8>> = read().map_err(|source| self.wrap(source))?;
        Ok(payloads.iter().filter_map(|payload| spark_bus_schema::codec::decode_payload(payload).ok()).collect())
    }

    /// Remembers what fires at a receiver that wants to hear of it again and again.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn set_live(&self, notification: &Notification, fires: bool) -> Result<(), StoreError> {
        let (receiver, group_key) = (&notification.receiver, &notification.group_key);
        let done = if fires {
            let payload = spark_bus_schema::encode(notification);
            self.database.execute("INSERT OR REPLACE INTO live VALUES (?1, ?2, ?3)", params![receiver, group_key, payload])
        } else {
            self.database.execute("DELETE FROM live WHERE receiver = ?1 AND group_key = ?2", params![receiver, group_key])
        };
        done.map(|_| ()).map_err(|source| self.wrap(source))
    }

    fn wrap(&self, source: rusqlite::Error) -> StoreError {
        StoreError { path: self.path.clone(), source }
    }
}

fn put(database: &mut Connection, deliveries: &[Delivery]) -> rusqlite::Result<Vec<String>> {
    let Some(last) = deliveries.last() else { return Ok(Vec::new()) };
    let transaction = database.transaction()?;
    let mut receivers = Vec::new();
    for delivery in deliveries {
        let receiver = receiver_of(delivery);
        let headers = serde_json::to_string(&delivery.headers).expect("pairs of text always serialise");
        transaction
            .prepare_cached(
                "INSERT OR IGNORE INTO waiting (sequence, receiver, subject, kind, headers, payload, stored_ns) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                signed(delivery.sequence),
                receiver,
                delivery.subject,
                delivery.kind,
                headers,
                delivery.payload.as_ref(),
                delivery.stored_at.as_nanos()
            ])?;
        if !receivers.contains(&receiver) {
            receivers.push(receiver);
        }
    }
    skip_to(&transaction, last.cursor())?;
    transaction.commit()?;
    Ok(receivers)
}

fn skip_to(database: &Connection, cursor: Cursor) -> rusqlite::Result<()> {
    database
        .prepare_cached("INSERT OR REPLACE INTO position (id, sequence, stored_ns) VALUES (1, ?1, ?2)")?
        .execute(params![signed(cursor.sequence), cursor.stored_at.as_nanos()])
        .map(|_| ())
}

fn waiting(row: &rusqlite::Row<'_>) -> rusqlite::Result<Waiting> {
    let headers: String = row.get(3)?;
    let delivery = Delivery {
        stream: subject::LEDGER,
        sequence: row.get::<_, i64>(0)?.unsigned_abs(),
        stored_at: Timestamp::from_nanos(row.get(5)?),
        subject: row.get(1)?,
        kind: row.get(2)?,
        headers: serde_json::from_str(&headers).unwrap_or_default(),
        payload: Bytes::from(row.get::<_, Vec<u8>>(4)?),
        pending: 0,
    };
    Ok(Waiting { delivery, attempts: row.get(6)?, arrived: row.get(7)? })
}

/// `alerts.notification.<receiver>.<group id>`
fn receiver_of(delivery: &Delivery) -> String {
    delivery.subject.split('.').nth(2).unwrap_or_default().to_owned()
}

/// Sequences fit: the broker would need 58 million years at 5000 a second.
fn signed(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}
