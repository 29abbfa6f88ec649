//! `POST /api/audit/list` and `spark audit list`: the record for people, read from the audit database.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use spark_bus_schema::Timestamp;

use crate::chain;
use crate::entry;
use crate::error::Error;
use crate::store::{Store, Stored};

/// Entries that are listed when nobody says how many.
pub const LIMIT_DEFAULT: usize = 100;
/// Entries that are listed at most.
pub const LIMIT_MAX: usize = 1_000;

/// What to list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// How many entries at most; above [`LIMIT_MAX`] as many as that.
    pub limit: usize,
    /// Only this action (`order.intent`), or everything below it (`order`).
    pub action: Option<String>,
    /// Begin here, oldest first. Without it: the newest entries, newest first.
    pub from: Option<ListFrom>,
}

impl Default for Query {
    fn default() -> Self {
        Self { limit: LIMIT_DEFAULT, action: None, from: None }
    }
}

/// Where a list begins: `"from": 1234`, `"from": "1234"` or `"from": "2026-11-21T09:30:00Z"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ListFrom {
    /// A stream sequence.
    Sequence(u64),
    /// A time; on the wire RFC 3339.
    #[serde(serialize_with = "as_text")]
    At(Timestamp),
}

fn as_text<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

impl FromStr for ListFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(sequence) = text.parse() {
            return Ok(Self::Sequence(sequence));
        }
        let at = Timestamp::parse(text);
        at.map(Self::At).map_err(|_| format!("`{text}` is neither a sequence (1234) nor a time (2026-11-21T09:30:00Z)"))
    }
}

impl fmt::Display for ListFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence(sequence) => sequence.fmt(f),
            Self::At(at) => at.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for ListFrom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(sequence) => Ok(Self::Sequence(sequence)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// One entry as people see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// What was done: `order.intent`, `risk.verdict`, `alert` …
    pub action: String,
    /// Who did it.
    pub actor: String,
    /// The message; one that cannot be read is described instead.
    pub payload: Value,
    /// The chain's hash there, 64 hexadecimal digits.
    pub hash: String,
    /// When the broker stored it, RFC 3339.
    pub timestamp: String,
    /// LEDGER sequence.
    pub sequence: u64,
    /// Era of the chain; a sequence can come again in a later one.
    pub era: u64,
    /// Subject.
    pub subject: String,
}

/// Lists entries. Opens the file for reading only; it may be in use by the auditor.
///
/// # Errors
/// [`Error::NotThere`]; the file cannot be opened or read.
pub fn list(path: &Path, query: &Query) -> Result<Vec<Item>, Error> {
    let store = Store::open_existing(path)?;
    let limit = query.limit.min(LIMIT_MAX);
    let from = match query.from {
        None => None,
        Some(ListFrom::Sequence(sequence)) => Some(position_of_sequence(&store, sequence)?),
        Some(ListFrom::At(at)) => Some(position_of_time(&store, at)?),
    };
    let positions = positions(&store, query.action.as_deref(), from, limit)?;
    let mut items = Vec::with_capacity(positions.len());
    for position in positions {
        items.extend(store.entries(position, 1)?.into_iter().filter(|entry| entry.place.position == position).map(item));
    }
    Ok(items)
}

/// The chain's hash of each of these LEDGER sequences, hex; what is not chained yet is left out. A sequence that came again in
/// a later era has that era's hash. Opens the file for reading only.
///
/// # Errors
/// As [`list`].
pub fn hashes(path: &Path, sequences: &[u64]) -> Result<BTreeMap<u64, String>, Error> {
    let store = Store::open_existing(path)?;
    let wrap = |source| store.wrap("read hashes", source);
    let mut statement = store
        .database
        .prepare("SELECT hash FROM entry WHERE sequence = ?1 AND era = (SELECT MAX(era) FROM entry WHERE sequence = ?1)")
        .map_err(wrap)?;
    let mut found = BTreeMap::new();
    for &sequence in sequences {
        let Ok(key) = i64::try_from(sequence) else { continue };
        let hash: Option<Vec<u8>> = statement.query_row(params![key], |row| row.get(0)).optional().map_err(wrap)?;
        found.extend(hash.map(|hash| (sequence, hex::encode(hash))));
    }
    Ok(found)
}

fn item(entry: Stored) -> Item {
    let headers = chain::parse_headers(&entry.headers).unwrap_or_default();
    Item {
        payload: entry::payload_json(entry::kind_of(&headers), &entry.payload),
        action: entry.action,
        actor: entry.actor,
        hash: hex::encode(entry.place.hash),
        timestamp: entry.place.stored_at.to_string(),
        sequence: entry.place.sequence,
        era: entry.era,
        subject: entry.subject,
    }
}

/// Positions to show, in the order in which they are shown.
fn positions(store: &Store, action: Option<&str>, from: Option<u64>, limit: usize) -> Result<Vec<u64>, Error> {
    let (order, bound) = if from.is_some() { ("ASC", "position >= ?1") } else { ("DESC", "position >= ?1") };
    let from = from.unwrap_or(0).cast_signed();
    let limit_sql = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found: Vec<i64> = Vec::new();
    let mut read = |sql: &str, action: Option<&str>| -> Result<(), rusqlite::Error> {
        let mut statement = store.database.prepare_cached(sql)?;
        let rows = match action {
            None => statement.query_map(params![from, limit_sql], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?,
            Some(action) => {
                statement.query_map(params![from, limit_sql, action], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?
            }
        };
        found.extend(rows);
        Ok(())
    };
    let wrap = |source| store.wrap("list", source);
    match action {
        None => {
            read(&format!("SELECT position FROM entry WHERE {bound} ORDER BY position {order} LIMIT ?2"), None).map_err(wrap)?
        }
        Some(wanted) => {
            let sql = format!("SELECT position FROM entry WHERE {bound} AND action = ?3 ORDER BY position {order} LIMIT ?2");
            for action in actions(store)?.iter().filter(|action| is_within(action, wanted)) {
                read(&sql, Some(action)).map_err(wrap)?;
            }
        }
    }
    found.sort_unstable();
    if order == "DESC" {
        found.reverse();
    }
    found.truncate(limit);
    Ok(found.into_iter().map(i64::cast_unsigned).collect())
}

fn is_within(action: &str, wanted: &str) -> bool {
    action.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Every action there is: some dozens, found by skipping through the index.
fn actions(store: &Store) -> Result<Vec<String>, Error> {
    let sql = "WITH RECURSIVE known(action) AS (
                   SELECT min(action) FROM entry
                   UNION ALL
                   SELECT (SELECT min(action) FROM entry WHERE action > known.action) FROM known WHERE known.action IS NOT NULL
               ) SELECT action FROM known WHERE action IS NOT NULL";
    let rows = store.database.prepare_cached(sql).and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect());
    rows.map_err(|source| store.wrap("list", source))
}

/// The newest era decides: its entries are what the stream says now.
fn position_of_sequence(store: &Store, sequence: u64) -> Result<u64, Error> {
    let wanted = sequence.min(i64::MAX.cast_unsigned());
    let mut below = u64::MAX;
    for era in store.eras()?.iter().rev() {
        if era.first_sequence <= wanted || era.era == 1 {
            let found = store.places(era.era, wanted, below, 1)?;
            return match found.first() {
                Some(place) => Ok(place.position),
                None => Ok(store.eras()?.get(usize::try_from(era.era).unwrap_or(usize::MAX)).map_or(u64::MAX >> 1, |next| {
                    // Nothing left in this era: on with the next one's first entry.
                    next.entries_before + 1
                })),
            };
        }
        below = below.min(era.first_sequence);
    }
    Ok(1)
}

/// Stored times rise with the position, but for what was put back by hand; a halving search is near enough for people.
fn position_of_time(store: &Store, at: Timestamp) -> Result<u64, Error> {
    let (mut low, mut high) = (1, store.head()?.position + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let stored_at = store.entries(middle, 1)?.first().map(|entry| entry.place.stored_at);
        if stored_at.is_some_and(|stored_at| stored_at < at) { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}
