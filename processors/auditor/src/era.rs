//! Findings, and what an operator makes of them: accepted damage begins a new era of the chain.
//!
//! An era speaks of the stream from its first sequence on, up to where a later era takes over. Entries of earlier eras
//! stay in the database as evidence and as a copy of what was lost; they are no longer held against the stream.

use std::path::Path;

use rusqlite::{OptionalExtension, Row, Transaction, TransactionBehavior, params};
use spark_bus_schema::Timestamp;
use spark_bus_schema::audit::DamageKind;

use crate::chain::{self, Hash};
use crate::error::Error;
use crate::store::{Era, Store, unsigned};

/// Longest actor and reason that are kept, bytes.
const TEXT_BYTES_MAX: usize = 1_024;

/// Where and how the stream differs from the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// First stream sequence that is not what the chain says.
    pub first_bad: u64,
    /// How it differs.
    pub kind: DamageKind,
    /// What was expected and what is there.
    pub detail: String,
}

impl Damage {
    /// What a person should do.
    #[must_use]
    pub fn advice(&self) -> String {
        let look = match self.kind {
            DamageKind::Truncated | DamageKind::RolledBack | DamageKind::Wiped => {
                "Stop everything, put back the newest copy of the broker's store if there is one, and start again"
            }
            DamageKind::Changed | DamageKind::Missing => {
                "Stop everything, check the disk, put back a copy of the broker's store from before the damage, and start again"
            }
        };
        format!(
            "Trading stays halted. {look}. The audit database still holds the lost messages (`spark audit list --from {}`): compare \
             with the exchanges. To go on with what is left: `spark audit accept --reason \"…\"`. See docs/runbooks/ledger-damage.md",
            self.first_bad
        )
    }
}

/// A recorded finding that is neither accepted nor gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its row.
    pub id: i64,
    /// The era that found it.
    pub era: u64,
    /// What.
    pub damage: Damage,
    /// When.
    pub found_at: Timestamp,
    /// Whether the LEDGER has it.
    pub published: bool,
}

/// What [`accept`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The new era.
    pub era: u64,
    /// First stream sequence that it speaks of.
    pub first_sequence: u64,
    /// What its first entry follows; it covers actor, reason and finding.
    pub link: Hash,
    /// What was accepted.
    pub damage: Damage,
}

/// Accepts the open finding: the stream as it is now is taken as the truth from the first bad sequence on, in a new era that
/// is linked to the head of the old one. Works while the auditor runs (it notices within a second) and while it does not.
///
/// Trading does not resume by this: that takes `control.resume`.
///
/// # Errors
/// [`Error::NothingToAccept`], [`Error::Empty`], or the database cannot be opened or written.
pub fn accept(path: &Path, reason: &str, actor: &str) -> Result<Accepted, Error> {
    let (reason, actor) = (bounded("reason", reason)?, bounded("actor", actor)?);
    let store = Store::open_to_accept(path)?;
    let wrap = |source| store.wrap("accept the finding in", source);
    let transaction = Transaction::new_unchecked(&store.database, TransactionBehavior::Immediate).map_err(wrap)?;
    let finding = store.open_finding()?.ok_or_else(|| Error::NothingToAccept { path: path.to_owned() })?;
    let head = store.head()?;
    let era = Era {
        era: head.era + 1,
        first_sequence: finding.damage.first_bad,
        entries_before: head.position,
        link: chain::GENESIS,
        begun_at: spark_nats::now(),
        actor: actor.to_owned(),
        reason: reason.to_owned(),
        found: format!("{}: {}", finding.damage.kind, finding.damage.detail),
        adopted_through: None,
    };
    let link = link_of(&era, &head.hash);
    let begin = || {
        transaction.execute(
            "INSERT INTO era VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL)",
            params![
                era.era.cast_signed(),
                era.first_sequence.cast_signed(),
                era.entries_before.cast_signed(),
                link.as_slice(),
                era.begun_at.as_nanos(),
                era.actor,
                era.reason,
                era.found,
            ],
        )?;
        transaction.execute(
            "UPDATE head SET era = ?1, sequence = ?2, hash = ?3 WHERE id = 1",
            params![era.era.cast_signed(), era.first_sequence.cast_signed() - 1, link.as_slice()],
        )?;
        transaction.execute("UPDATE finding SET closed = 'accepted' WHERE closed IS NULL", [])
    };
    begin().map_err(wrap)?;
    transaction.commit().map_err(wrap)?;
    Ok(Accepted { era: era.era, first_sequence: era.first_sequence, link, damage: finding.damage })
}

/// What the first entry of a later era follows, given the hash before it.
#[must_use]
pub fn link_of(era: &Era, previous: &Hash) -> Hash {
    chain::era_link(&chain::Link {
        previous,
        entries: era.entries_before,
        era: era.era,
        first_sequence: era.first_sequence,
        begun_at: era.begun_at,
        actor: &era.actor,
        reason: &era.reason,
        found: &era.found,
    })
}

fn bounded<'a>(what: &'static str, text: &'a str) -> Result<&'a str, Error> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::Empty(what));
    }
    Ok(&text[..text.floor_char_boundary(TEXT_BYTES_MAX)])
}

impl Store {
    /// The open finding with the lowest sequence.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open_finding(&self) -> Result<Option<Finding>, Error> {
        let sql = "SELECT id, era, first_bad, kind, detail, found_at, published FROM finding WHERE closed IS NULL ORDER BY first_bad LIMIT 1";
        let found = self.database.query_row(sql, [], finding).optional();
        found.map_err(|source| self.wrap("read the findings of", source))
    }

    /// Keeps a finding; one at the same place that is open already stays as it was first seen.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record(&mut self, era: u64, damage: &Damage, found_at: Timestamp) -> Result<(), Error> {
        // The same place found bad again after it had been well: news.
        let sql = "INSERT INTO finding (era, first_bad, kind, detail, found_at, published) VALUES (?1, ?2, ?3, ?4, ?5, 0)
                   ON CONFLICT (era, first_bad) DO UPDATE SET kind = excluded.kind, detail = excluded.detail,
                   found_at = excluded.found_at, published = 0, closed = NULL WHERE closed IS NOT NULL";
        let values =
            params![era.cast_signed(), damage.first_bad.cast_signed(), damage.kind.as_str(), damage.detail, found_at.as_nanos()];
        self.database.execute(sql, values).map(|_| ()).map_err(|source| self.wrap("record a finding in", source))
    }

    /// The LEDGER has it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn published(&mut self, finding: &Finding) -> Result<(), Error> {
        let done = self.database.execute("UPDATE finding SET published = 1 WHERE id = ?1", params![finding.id]);
        done.map(|_| ()).map_err(|source| self.wrap("write to", source))
    }

    /// Below a sequence the stream is what the chain says again: somebody put the right store back. Returns how many findings
    /// that closed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn repaired(&mut self, below: u64) -> Result<usize, Error> {
        let sql = "UPDATE finding SET closed = 'repaired' WHERE closed IS NULL AND first_bad < ?1";
        let done = self.database.execute(sql, params![i64::try_from(below).unwrap_or(i64::MAX)]);
        done.map_err(|source| self.wrap("write to", source))
    }
}

fn finding(row: &Row<'_>) -> Result<Finding, rusqlite::Error> {
    let kind: String = row.get(3)?;
    let kinds = [DamageKind::Truncated, DamageKind::Missing, DamageKind::Wiped, DamageKind::RolledBack];
    let kind = kinds.into_iter().find(|known| known.as_str() == kind).unwrap_or(DamageKind::Changed);
    Ok(Finding {
        id: row.get(0)?,
        era: unsigned(row, 1)?,
        damage: Damage { first_bad: unsigned(row, 2)?, kind, detail: row.get(4)? },
        found_at: Timestamp::from_nanos(row.get(5)?),
        published: row.get(6)?,
    })
}
