//! What the auditor says about the LEDGER: anchors of its hash chain, that the chain holds, or where it does not.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::{Kind, Message};
use crate::time::Timestamp;

/// Characters of a hash: SHA-256 in lower-case hexadecimal.
const HASH_CHARS: usize = 64;

/// A place of the hash chain, written into the stream that it covers: whoever later changes a message before it must also
/// change this one, and everything after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditAnchor {
    /// Chains are numbered from 1; an operator's acceptance of damage begins the next.
    pub era: u64,
    /// LEDGER sequence of the last message that the hash covers.
    pub sequence: u64,
    /// The chain's hash there, 64 lower-case hexadecimal digits.
    pub hash: String,
    /// Entries of the audit database up to there, those of earlier eras included.
    pub count: u64,
}

impl Message for AuditAnchor {
    const KIND: Kind = Kind { name: "audit_anchor", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        place(self.era, &self.hash)
    }
}

/// The whole LEDGER was read and is what the chain says: published at every start and after every reconnect to the broker,
/// and again whenever risk or the executor has taken over, for they approve and send nothing before the auditor's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditVerified {
    /// The era of the head.
    pub era: u64,
    /// LEDGER sequence of the last message that was compared or taken in; 0 when the LEDGER was empty.
    pub through: u64,
    /// The chain's hash there, 64 lower-case hexadecimal digits.
    pub head: String,
    /// Entries of the audit database up to there, those of earlier eras included.
    pub count: u64,
    /// When the comparison ended, by the auditor's clock.
    pub checked_at: Timestamp,
    /// Every message was compared just now; otherwise that was done when this connection to the broker began, and every
    /// message since was taken into the chain as it came.
    pub full: bool,
    /// Messages were taken into the chain as they were found, because there was no earlier record of them: the first start
    /// on a LEDGER that was not empty, a lost audit database, or accepted damage.
    pub adopted: bool,
    /// Anchors in the LEDGER that belong to an era of which no record is left, and so prove nothing.
    pub anchors_unknown: u64,
}

impl Message for AuditVerified {
    const KIND: Kind = Kind { name: "audit_verified", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        place(self.era, &self.head)
    }
}

/// How the LEDGER differs from its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DamageKind {
    /// The stream ends before the chain does: its end was cut off, or an older copy of the store was put back.
    Truncated,
    /// A message is not the one that the chain holds.
    Changed,
    /// Sequences are missing between others.
    Missing,
    /// The stream is empty, or was made anew.
    Wiped,
    /// The stream lost its end and has gone on since: sequences were given to other messages.
    RolledBack,
}

impl DamageKind {
    /// As on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Wiped => "wiped",
            Self::RolledBack => "rolled_back",
        }
    }
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The LEDGER is not what it was. Trading stops until a person has looked and has said `control.resume`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditDamage {
    /// The era that found it.
    pub era: u64,
    /// First LEDGER sequence that is not what the chain says.
    pub first_bad_sequence: u64,
    /// How it differs.
    pub kind: DamageKind,
    /// What was expected and what is there.
    pub detail: String,
    /// What to do.
    pub advice: String,
    /// When it was found, by the auditor's clock.
    pub found_at: Timestamp,
}

impl Message for AuditDamage {
    const KIND: Kind = Kind { name: "audit_damage", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        if self.era == 0 || self.first_bad_sequence == 0 {
            return Err(format!("era {}, first_bad_sequence {}: both count from 1", self.era, self.first_bad_sequence));
        }
        Ok(())
    }
}

fn place(era: u64, hash: &str) -> Result<(), String> {
    if era == 0 {
        return Err("era: 0; eras count from 1".to_owned());
    }
    if hash.len() != HASH_CHARS || !hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(format!("hash: {} characters that are not 64 lower-case hexadecimal digits", hash.len()));
    }
    Ok(())
}
