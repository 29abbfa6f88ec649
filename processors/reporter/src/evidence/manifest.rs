//! What a file says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;

use super::hash;
use crate::history::Window;

/// Number of this layout.
pub const FORMAT: u32 = 1;

/// Where the LEDGER and its hash chain stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHead {
    /// Sequence of the LEDGER's first message.
    pub first_sequence: u64,
    /// Sequence of the LEDGER's last message.
    pub last_sequence: u64,
    /// Era of the chain, as the auditor's newest anchor or comparison says.
    pub era: Option<u64>,
    /// The last message that the hash covers.
    pub chain_sequence: Option<u64>,
    /// The chain's hash there; none before the auditor has said one.
    pub chain_hash: Option<String>,
}

/// What is told of a file, besides what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// The time that report and extract are about.
    pub window: Window,
    /// Versions by what has them: `spark`, `nats-server`.
    pub versions: BTreeMap<String, String>,
    /// The commit that the binary was built from; `unknown` where the build was not told.
    pub build_sha: String,
    /// The LEDGER; none when the broker did not answer.
    pub ledger: Option<LedgerHead>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name in the archive.
    pub name: String,
    /// Its size before compression.
    pub bytes: u64,
    /// SHA-256 of it, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// Something that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What.
    pub name: String,
    /// Why.
    pub why: String,
}

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// What is told of the file.
    #[serde(flatten)]
    pub about: About,
    /// Every entry but the manifest, ordered by name.
    pub entries: Vec<Entry>,
    /// What is not in the file, and why; ordered by name.
    pub missing: Vec<Missing>,
}

impl Manifest {
    pub(super) fn new(about: About, entries: &BTreeMap<String, Vec<u8>>, missing: BTreeMap<String, String>) -> Self {
        let entry =
            |(name, bytes): (&String, &Vec<u8>)| Entry { name: name.clone(), bytes: bytes.len() as u64, sha256: hash(bytes) };
        Self {
            format: FORMAT,
            about,
            entries: entries.iter().map(entry).collect(),
            missing: missing.into_iter().map(|(name, why)| Missing { name, why }).collect(),
        }
    }
}
