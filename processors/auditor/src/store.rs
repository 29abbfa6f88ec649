//! The audit database: every message of the LEDGER with its hash, in one SQLite file outside the broker.
//!
//! It is also a copy of the LEDGER: subject, headers and payload of every message can be read back from it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use spark_bus_schema::Timestamp;
use spark_nats::Delivery;

use crate::chain::{self, Content, GENESIS, Hash};
use crate::entry;
use crate::error::Error;

/// Layout of the tables, and of what `action` and `actor` are derived to: another number means another build's file.
const LAYOUT: i64 = 1;
/// How long a statement waits for the other process that has the file open (`spark audit accept`).
const BUSY_LIMIT: Duration = Duration::from_secs(5);

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS entry (
        position INTEGER PRIMARY KEY, era INTEGER NOT NULL, sequence INTEGER NOT NULL, stored_at INTEGER NOT NULL,
        hash BLOB NOT NULL, action TEXT NOT NULL, actor TEXT NOT NULL, subject TEXT NOT NULL, headers BLOB NOT NULL,
        payload BLOB NOT NULL
    );
    CREATE UNIQUE INDEX IF NOT EXISTS entry_place ON entry (era, sequence);
    CREATE INDEX IF NOT EXISTS entry_action ON entry (action, position);
    CREATE TABLE IF NOT EXISTS head (
        id INTEGER PRIMARY KEY CHECK (id = 1), position INTEGER NOT NULL, era INTEGER NOT NULL, sequence INTEGER NOT NULL,
        stored_at INTEGER NOT NULL, hash BLOB NOT NULL, unanchored INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS era (
        era INTEGER PRIMARY KEY, first_sequence INTEGER NOT NULL, entries_before INTEGER NOT NULL, link BLOB NOT NULL,
        begun_at INTEGER NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL, found TEXT NOT NULL, adopted_through INTEGER
    );
    CREATE TABLE IF NOT EXISTS finding (
        id INTEGER PRIMARY KEY, era INTEGER NOT NULL, first_bad INTEGER NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL,
        found_at INTEGER NOT NULL, published INTEGER NOT NULL, closed TEXT, UNIQUE (era, first_bad)
    );";

/// The end of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Entries in the database.
    pub position: u64,
    /// The era.
    pub era: u64,
    /// Stream sequence of the last entry; of a new era without entries, the one before its first.
    pub sequence: u64,
    /// When the broker stored the last entry.
    pub stored_at: Timestamp,
    /// The chain's hash; of a new era without entries, its link.
    pub hash: Hash,
    /// Messages of others since the last anchor.
    pub unanchored: u64,
}

/// A stretch of the chain, from its beginning or from accepted damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Era {
    /// Its number, from 1.
    pub era: u64,
    /// First stream sequence that it speaks of.
    pub first_sequence: u64,
    /// Entries in the database before it.
    pub entries_before: u64,
    /// What its first entry follows.
    pub link: Hash,
    /// When it began.
    pub begun_at: Timestamp,
    /// Who accepted the damage before it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// `<kind>: <detail>` of what was accepted.
    pub found: String,
    /// Up to here messages were taken as they were found; none while that is under way.
    pub adopted_through: Option<u64>,
}

/// An entry's place and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Position in the database.
    pub position: u64,
    /// Stream sequence.
    pub sequence: u64,
    /// When the broker stored it.
    pub stored_at: Timestamp,
    /// The chain's hash there.
    pub hash: Hash,
}

/// A whole entry.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its place.
    pub place: Place,
    /// Its era.
    pub era: u64,
    /// What it did.
    pub action: String,
    /// Who.
    pub actor: String,
    /// Subject.
    pub subject: String,
    /// Canonical headers.
    pub headers: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Stored {
    /// What its hash covers.
    #[must_use]
    pub fn content(&self) -> Content<'_> {
        Content {
            sequence: self.place.sequence,
            stored_at: self.place.stored_at,
            subject: &self.subject,
            headers: &self.headers,
            payload: &self.payload,
        }
    }
}

/// The open file.
pub struct Store {
    path: PathBuf,
    pub(crate) database: Connection,
}

impl Store {
    /// Opens the file, and makes it when it is not there: era 1, nothing in it.
    ///
    /// # Errors
    /// It cannot be opened or is not an audit database of this layout.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let store = Self::connect(path, OpenFlags::default())?;
        let prepare = |database: &Connection| {
            // WAL with synchronous=FULL: what was committed survives a power failure, and readers never wait.
            database.pragma_update(None, "journal_mode", "WAL")?;
            database.pragma_update(None, "synchronous", "FULL")?;
            let transaction = rusqlite::Transaction::new_unchecked(database, rusqlite::TransactionBehavior::Immediate)?;
            transaction.execute_batch(TABLES)?;
            transaction.execute(
                "INSERT OR IGNORE INTO era VALUES (1, 1, 0, ?1, ?2, '', '', '', NULL)",
                params![GENESIS.as_slice(), spark_nats::now().as_nanos()],
            )?;
            transaction.execute("INSERT OR IGNORE INTO head VALUES (1, 0, 1, 0, 0, ?1, 0)", params![GENESIS.as_slice()])?;
            transaction.pragma_update(None, "user_version", LAYOUT)?;
            transaction.commit()
        };
        store.check_layout(&[0, LAYOUT])?;
        prepare(&store.database).map_err(|source| store.wrap("prepare", source))?;
        Ok(store)
    }

    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// [`Error::NotThere`]; it cannot be opened or is not an audit database of this layout.
    pub fn open_existing(path: &Path) -> Result<Self, Error> {
        if !path.is_file() {
            return Err(Error::NotThere { path: path.to_owned() });
        }
        let store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        store.check_layout(&[LAYOUT])?;
        Ok(store)
    }

    /// Opens an existing file for an operator's acceptance.
    pub(crate) fn open_to_accept(path: &Path) -> Result<Self, Error> {
        Self::open_existing(path)?;
        let store = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        store.database.pragma_update(None, "synchronous", "FULL").map_err(|source| store.wrap("prepare", source))?;
        Ok(store)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, Error> {
        let wrap = |source| Error::Database { action: "open", path: path.to_owned(), source };
        let database = Connection::open_with_flags(path, flags).map_err(wrap)?;
        database.busy_timeout(BUSY_LIMIT).map_err(wrap)?;
        Ok(Self { path: path.to_owned(), database })
    }

    fn check_layout(&self, expected: &[i64]) -> Result<(), Error> {
        let found = self.database.pragma_query_value(None, "user_version", |row| row.get(0));
        let found: i64 = found.map_err(|source| self.wrap("open", source))?;
        if expected.contains(&found) {
            return Ok(());
        }
        Err(Error::Layout { path: self.path.clone(), found, expected: LAYOUT })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The end of the chain.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn head(&self) -> Result<Head, Error> {
        let sql = "SELECT position, era, sequence, stored_at, hash, unanchored FROM head WHERE id = 1";
        let read = |row: &Row<'_>| {
            Ok(Head {
                position: unsigned(row, 0)?,
                era: unsigned(row, 1)?,
                sequence: unsigned(row, 2)?,
                stored_at: Timestamp::from_nanos(row.get(3)?),
                hash: row.get(4)?,
                unanchored: unsigned(row, 5)?,
            })
        };
        self.database.query_row(sql, [], read).map_err(|source| self.wrap("read the head of", source))
    }

    /// Every era, oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn eras(&self) -> Result<Vec<Era>, Error> {
        let sql = "SELECT era, first_sequence, entries_before, link, begun_at, actor, reason, found, adopted_through FROM era ORDER BY era";
        let read = |row: &Row<'_>| {
            let adopted: Option<i64> = row.get(8)?;
            Ok(Era {
                era: unsigned(row, 0)?,
                first_sequence: unsigned(row, 1)?,
                entries_before: unsigned(row, 2)?,
                link: row.get(3)?,
                begun_at: Timestamp::from_nanos(row.get(4)?),
                actor: row.get(5)?,
                reason: row.get(6)?,
                found: row.get(7)?,
                adopted_through: adopted.map(i64::cast_unsigned),
            })
        };
        let rows = self.database.prepare_cached(sql).and_then(|mut statement| statement.query_map([], read)?.collect());
        rows.map_err(|source| self.wrap("read the eras of", source))
    }

    /// Appends messages after the head, all in one synced transaction, and returns the new head. The caller has checked
    /// that they follow.
    ///
    /// # Errors
    /// The disk is full or the file is gone; nothing was appended.
    pub fn append(&mut self, head: &Head, messages: &[Delivery]) -> Result<Head, Error> {
        append(&self.database, head, messages).map_err(|source| self.wrap("append to", source))
    }

    /// Ends the adoption of an era.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn adopted(&mut self, era: u64, through: u64) -> Result<(), Error> {
        let sql = "UPDATE era SET adopted_through = ?2 WHERE era = ?1";
        let done = self.database.execute(sql, params![era.cast_signed(), through.cast_signed()]);
        done.map(|_| ()).map_err(|source| self.wrap("write to", source))
    }

    /// Places of an era with a sequence from `from` to below `below`, at most `limit`, in order.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn places(&self, era: u64, from: u64, below: u64, limit: usize) -> Result<Vec<Place>, Error> {
        let sql = "SELECT position, sequence, stored_at, hash FROM entry WHERE era = ?1 AND sequence >= ?2 AND sequence < ?3 \
                   ORDER BY sequence LIMIT ?4";
        let below = i64::try_from(below).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = params![era.cast_signed(), from.cast_signed(), below, limit];
        let rows = self.database.prepare_cached(sql).and_then(|mut statement| statement.query_map(values, place)?.collect());
        rows.map_err(|source| self.wrap("read", source))
    }

    /// The last place of an era with a sequence from `from` to `through`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn last_place(&self, era: u64, from: u64, through: u64) -> Result<Option<Place>, Error> {
        let sql = "SELECT position, sequence, stored_at, hash FROM entry WHERE era = ?1 AND sequence >= ?2 AND sequence <= ?3 \
                   ORDER BY sequence DESC LIMIT 1";
        let values = params![era.cast_signed(), from.cast_signed(), i64::try_from(through).unwrap_or(i64::MAX)];
        let found = self.database.prepare_cached(sql).and_then(|mut statement| statement.query_row(values, place).optional());
        found.map_err(|source| self.wrap("read", source))
    }

    /// Whole entries from a position on, at most `limit`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn entries(&self, from: u64, limit: usize) -> Result<Vec<Stored>, Error> {
        self.entries_from(i64::try_from(from).unwrap_or(i64::MAX), limit)
    }

    /// As [`Store::entries`], also for positions that no entry should have.
    pub(crate) fn entries_from(&self, from: i64, limit: usize) -> Result<Vec<Stored>, Error> {
        let sql = "SELECT position, sequence, stored_at, hash, era, action, actor, subject, headers, payload FROM entry \
                   WHERE position >= ?1 ORDER BY position LIMIT ?2";
        let read = |row: &Row<'_>| {
            Ok(Stored {
                place: place(row)?,
                era: unsigned(row, 4)?,
                action: row.get(5)?,
                actor: row.get(6)?,
                subject: row.get(7)?,
                headers: row.get(8)?,
                payload: row.get(9)?,
            })
        };
        let values = params![from, i64::try_from(limit).unwrap_or(i64::MAX)];
        let rows = self.database.prepare_cached(sql).and_then(|mut statement| statement.query_map(values, read)?.collect());
        rows.map_err(|source| self.wrap("read", source))
    }

    pub(crate) fn wrap(&self, action: &'static str, source: rusqlite::Error) -> Error {
        Error::Database { action, path: self.path.clone(), source }
    }
}

fn append(database: &Connection, head: &Head, messages: &[Delivery]) -> Result<Head, rusqlite::Error> {
    let transaction = rusqlite::Transaction::new_unchecked(database, rusqlite::TransactionBehavior::Immediate)?;
    let mut end = head.clone();
    {
        let mut insert = transaction.prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
        for message in messages {
            let headers = chain::canonical_headers(&message.headers);
            end.hash = chain::entry_hash(&end.hash, &content(message, &headers));
            end.position += 1;
            end.sequence = message.sequence;
            end.stored_at = message.stored_at;
            end.unanchored = match message.subject.as_str() {
                spark_bus_schema::subject::AUDIT_ANCHOR => 0,
                own if entry::is_own(own) => end.unanchored,
                _ => end.unanchored + 1,
            };
            insert.execute(params![
                end.position.cast_signed(),
                end.era.cast_signed(),
                end.sequence.cast_signed(),
                end.stored_at.as_nanos(),
                end.hash.as_slice(),
                entry::action(&message.subject),
                entry::actor(&message.subject, message.kind.as_deref(), &message.payload),
                message.subject,
                headers,
                message.payload.as_ref(),
            ])?;
        }
    }
    transaction.execute(
        "UPDATE head SET position = ?1, era = ?2, sequence = ?3, stored_at = ?4, hash = ?5, unanchored = ?6 WHERE id = 1",
        params![
            end.position.cast_signed(),
            end.era.cast_signed(),
            end.sequence.cast_signed(),
            end.stored_at.as_nanos(),
            end.hash.as_slice(),
            end.unanchored.cast_signed(),
        ],
    )?;
    transaction.commit()?;
    Ok(end)
}

/// What a message's hash covers.
#[must_use]
pub fn content<'a>(message: &'a Delivery, headers: &'a [u8]) -> Content<'a> {
    Content {
        sequence: message.sequence,
        stored_at: message.stored_at,
        subject: &message.subject,
        headers,
        payload: &message.payload,
    }
}

fn place(row: &Row<'_>) -> Result<Place, rusqlite::Error> {
    Ok(Place {
        position: unsigned(row, 0)?,
        sequence: unsigned(row, 1)?,
        stored_at: Timestamp::from_nanos(row.get(2)?),
        hash: row.get(3)?,
    })
}

pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64, rusqlite::Error> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}
