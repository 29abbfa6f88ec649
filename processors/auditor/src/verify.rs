//! `spark audit verify`: the database against itself, and the stream against the database. Changes nothing.

use std::path::Path;

use serde::Serialize;
use spark_bus_schema::audit::DamageKind;
use spark_bus_schema::subject;
use spark_nats::Bus;

use crate::chain::{self, Hash};
use crate::compare::{Anchors, Comparer, Seen};
use crate::entry;
use crate::era::{self, Damage};
use crate::error::Error;
use crate::reader::{Reader, Step};
use crate::store::{Era, Head, Store, Stored};

/// Entries read from the database at once.
const CHUNK: usize = 256;

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Entries in the database, all of them checked unless something is broken.
    pub entries: u64,
    /// The era of the head.
    pub era: u64,
    /// Stream sequence of the last entry.
    pub head_sequence: u64,
    /// The chain's hash there, 64 hexadecimal digits.
    pub head: String,
    /// Messages of the stream that were compared; none when only the database was looked at.
    pub compared: Option<u64>,
    /// Messages of the stream that the chain does not hold yet: the auditor is not running, or a moment behind.
    pub beyond: u64,
    /// Anchors in the stream that the chain agrees with.
    pub anchors_good: u64,
    /// Anchors in the stream of an era of which there is no record.
    pub anchors_unknown: u64,
    /// Damage that was accepted earlier, oldest first.
    pub accepted: Vec<AcceptedDamage>,
    /// The first thing that is wrong; none when all is well.
    pub broken: Option<Broken>,
}

/// Accepted damage, as the chain keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AcceptedDamage {
    /// The era that it began.
    pub era: u64,
    /// First stream sequence of that era.
    pub first_sequence: u64,
    /// When, RFC 3339.
    pub at: String,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What was found.
    pub found: String,
}

/// Where the record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The audit database contradicts itself.
    Database,
    /// The stream is not what the database says.
    Stream,
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Where.
    pub part: Part,
    /// First stream sequence that is wrong.
    pub first_bad_sequence: u64,
    /// How.
    pub kind: DamageKind,
    /// What was expected and what is there.
    pub detail: String,
    /// What to do.
    pub advice: String,
}

/// Checks every entry of the database against its hash and the entry before it: any entry that was changed, removed or
/// inserted is found.
///
/// # Errors
/// [`Error::NotThere`]; the file cannot be opened or is no audit database.
pub fn verify_offline(path: &Path) -> Result<Verification, Error> {
    let store = snapshot(path)?;
    own(&store)
}

/// As [`verify_offline`], then every message of the LEDGER against the database. `name` is the consumer's, as far as the
/// connection's user may name one.
///
/// # Errors
/// As [`verify_offline`]; the broker is away, refuses, or gives out nothing for five seconds.
pub async fn verify(path: &Path, bus: &Bus, name: &str) -> Result<Verification, Error> {
    let mut store = snapshot(path)?;
    let mut verification = own(&store)?;
    if verification.broken.is_none() {
        stream(&mut store, bus, name, &mut verification).await?;
    }
    Ok(verification)
}

/// The file as it is at one moment, however long the look takes.
fn snapshot(path: &Path) -> Result<Store, Error> {
    let store = Store::open_existing(path)?;
    store.database.execute_batch("BEGIN").map_err(|source| store.wrap("read", source))?;
    Ok(store)
}

fn own(store: &Store) -> Result<Verification, Error> {
    let (eras, head) = (store.eras()?, store.head()?);
    let accepted = eras.iter().skip(1).map(|era| AcceptedDamage {
        era: era.era,
        first_sequence: era.first_sequence,
        at: era.begun_at.to_string(),
        actor: era.actor.clone(),
        reason: era.reason.clone(),
        found: era.found.clone(),
    });
    let mut verification = Verification {
        entries: head.position,
        era: head.era,
        head_sequence: head.sequence,
        head: hex::encode(head.hash),
        compared: None,
        beyond: 0,
        anchors_good: 0,
        anchors_unknown: 0,
        accepted: accepted.collect(),
        broken: None,
    };
    let found = match walk(store, &eras, &head)? {
        Ok(()) => pages(store, &head)?,
        wrong => wrong,
    };
    if let Err(wrong) = found {
        verification.broken = Some(Broken {
            part: Part::Database,
            first_bad_sequence: wrong.sequence,
            kind: wrong.kind,
            detail: wrong.detail,
            advice: "somebody or a failing disk changed the audit database: keep a copy of it, put back the newest one that verifies, \
                     and let the auditor catch up; without one, move it away and let the auditor take the LEDGER as it is. See \
                     docs/runbooks/ledger-damage.md"
                .to_owned(),
        });
    }
    Ok(verification)
}

struct Wrong {
    sequence: u64,
    kind: DamageKind,
    detail: String,
}

/// Walks over all entries in order of their position.
fn walk(store: &Store, eras: &[Era], head: &Head) -> Result<Result<(), Wrong>, Error> {
    let mut walker = Walker { eras, current: 0, previous: chain::GENESIS, position: 0, sequence: 0 };
    if let Err(wrong) = walker.begin() {
        return Ok(Err(wrong));
    }
    let (mut from, mut chunk) = (i64::MIN, CHUNK);
    loop {
        // The first read begins below 1: positions count from there, so nothing may lie before.
        let entries = match store.entries_from(from, chunk) {
            Ok(entries) => entries,
            // Which of them is it?
            Err(error) if is_corrupt(&error) && chunk > 1 => {
                chunk = 1;
                continue;
            }
            Err(error) if is_corrupt(&error) => {
                return Ok(Err(walker.wrong(DamageKind::Changed, format!("unreadable: {}", spark_nats::text(&error)))));
            }
            Err(error) => return Err(error),
        };
        for entry in &entries {
            if let Err(wrong) = walker.take(entry) {
                return Ok(Err(wrong));
            }
        }
        match entries.last() {
            Some(last) => from = last.place.position.cast_signed() + 1,
            None => return Ok(walker.end(head)),
        }
    }
}

/// SQLite's own look at its pages and indexes.
fn pages(store: &Store, head: &Head) -> Result<Result<(), Wrong>, Error> {
    let told = store.database.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
    let detail = match told.map_err(|source| store.wrap("check", source)) {
        Ok(told) if told == "ok" => return Ok(Ok(())),
        Ok(told) => told,
        Err(error) if is_corrupt(&error) => spark_nats::text(&error),
        Err(error) => return Err(error),
    };
    // No entry is wrong, only how they are found: which message that concerns cannot be told.
    Ok(Err(Wrong { sequence: head.sequence, kind: DamageKind::Changed, detail: format!("the file is damaged: {detail}") }))
}

fn is_corrupt(error: &Error) -> bool {
    use rusqlite::ErrorCode;
    let Error::Database { source, .. } = error else { return false };
    match source {
        rusqlite::Error::SqliteFailure(failure, _) => failure.code == ErrorCode::DatabaseCorrupt,
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::Utf8Error(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => true,
        _ => false,
    }
}

struct Walker<'a> {
    eras: &'a [Era],
    current: usize,
    previous: Hash,
    position: u64,
    sequence: u64,
}

impl Walker<'_> {
    fn wrong(&self, kind: DamageKind, detail: String) -> Wrong {
        Wrong { sequence: self.sequence + 1, kind, detail: format!("entry {}: {detail}", self.position + 1) }
    }

    fn begin(&self) -> Result<(), Wrong> {
        let sound = self.eras.first().is_some_and(|era| era.era == 1 && era.link == chain::GENESIS && era.entries_before == 0);
        if sound { Ok(()) } else { Err(self.wrong(DamageKind::Changed, "the first era is not as it was made".to_owned())) }
    }

    /// Eras that begin behind the current position.
    fn turn(&mut self) -> Result<(), Wrong> {
        while let Some(next) = self.eras.get(self.current + 1).filter(|next| next.entries_before <= self.position) {
            let is_next = next.era == self.eras[self.current].era + 1 && next.entries_before == self.position;
            if !is_next || era::link_of(next, &self.previous) != next.link {
                let detail = format!("era {} is not the one that was accepted here", next.era);
                return Err(self.wrong(DamageKind::Changed, detail));
            }
            self.current += 1;
            self.previous = next.link;
            self.sequence = next.first_sequence.saturating_sub(1);
        }
        Ok(())
    }

    fn take(&mut self, entry: &Stored) -> Result<(), Wrong> {
        self.turn()?;
        let place = &entry.place;
        if place.position > self.position + 1 {
            let last = place.position - 1;
            return Err(self.wrong(DamageKind::Missing, format!("removed, up to entry {last}")));
        }
        if place.position != self.position + 1 {
            return Err(self.wrong(DamageKind::Changed, "inserted".to_owned()));
        }
        let was = self.sequence;
        self.sequence = place.sequence.saturating_sub(1);
        let era = &self.eras[self.current];
        if entry.era != era.era || place.sequence <= was || chain::entry_hash(&self.previous, &entry.content()) != place.hash {
            self.sequence = was.min(self.sequence);
            return Err(self.wrong(DamageKind::Changed, "it, or its place in the chain, was changed".to_owned()));
        }
        let headers = chain::parse_headers(&entry.headers).unwrap_or_default();
        let actor = entry::actor(&entry.subject, entry::kind_of(&headers), &entry.payload);
        if entry.action != entry::action(&entry.subject) || entry.actor != actor {
            return Err(self.wrong(DamageKind::Changed, "its action or actor was changed".to_owned()));
        }
        self.position = place.position;
        self.sequence = place.sequence;
        self.previous = place.hash;
        Ok(())
    }

    fn end(&mut self, head: &Head) -> Result<(), Wrong> {
        self.turn()?;
        if self.position < head.position {
            return Err(self.wrong(DamageKind::Missing, format!("removed, with all after it up to entry {}", head.position)));
        }
        let era = &self.eras[self.current];
        let same = (head.position, head.era, head.sequence, head.hash) == (self.position, era.era, self.sequence, self.previous);
        if self.current + 1 == self.eras.len() && same {
            return Ok(());
        }
        let detail = format!("the chain ends here, but the head speaks of entry {}, message {}", head.position, head.sequence);
        Err(self.wrong(DamageKind::Changed, detail))
    }
}

async fn stream(store: &mut Store, bus: &Bus, name: &str, verification: &mut Verification) -> Result<(), Error> {
    let (eras, head) = (store.eras()?, store.head()?);
    let mut comparer = Comparer::new(&eras, &head);
    let mut anchors = Anchors::default();
    let (_, last) = bus.bounds(subject::LEDGER).await?;
    let messages = bus.message_count(subject::LEDGER).await?;
    let mut reader = Reader::start(bus, name, last);
    let mut damage = None;
    while damage.is_none() {
        match reader.next().await? {
            Step::End => {
                damage = comparer.finish(store, last, messages)?;
                break;
            }
            Step::Stalled => {
                let Some(first_bad) = comparer.expected(store)? else { break };
                let detail = format!("the broker does not give out message {first_bad}, nor what is behind it");
                damage = Some(Damage { first_bad, kind: DamageKind::Missing, detail });
            }
            Step::Batch(batch) => {
                for message in batch {
                    damage = match comparer.take(store, &message)? {
                        Seen::Bad(damage) => Some(damage),
                        Seen::Beyond => {
                            verification.beyond += 1;
                            None
                        }
                        Seen::Same if message.subject == subject::AUDIT_ANCHOR => anchors.take(store, &eras, &message)?,
                        Seen::Same => None,
                    };
                    if damage.is_some() {
                        break;
                    }
                }
            }
        }
    }
    verification.compared = Some(comparer.compared());
    verification.anchors_good = anchors.good;
    verification.anchors_unknown = anchors.unknown;
    verification.broken = damage.map(|damage| Broken {
        part: Part::Stream,
        first_bad_sequence: damage.first_bad,
        kind: damage.kind,
        advice: damage.advice(),
        detail: damage.detail,
    });
    Ok(())
}
