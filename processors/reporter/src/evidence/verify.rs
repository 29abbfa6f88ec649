//! Is a file what it was when it was written.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{Cursor, Read as _};

use serde::Serialize;
use zip::ZipArchive;

use super::{BYTES_MAX, ENTRIES_MAX, Error, FORMAT, MANIFEST, Manifest, hash, seal};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "what", content = "name")]
pub enum Wrong {
    /// A byte of the file is another one than when it was sealed.
    Seal,
    /// The archive cannot be read any more.
    Archive,
    /// An entry's bytes are not those of the manifest.
    Changed(String),
    /// An entry of the manifest is gone.
    Gone(String),
    /// An entry that the manifest does not know.
    Added(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seal => f.write_str("the file's bytes are not those that were sealed"),
            Self::Archive => f.write_str("the archive cannot be read"),
            Self::Changed(name) => write!(f, "{name}: changed"),
            Self::Gone(name) => write!(f, "{name}: gone"),
            Self::Added(name) => write!(f, "{name}: not in the manifest"),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// SHA-256 of the file.
    pub sha256: String,
    /// The manifest, where it can be read.
    pub manifest: Option<Manifest>,
    /// Entries that are as written.
    pub good: usize,
    /// Every difference; empty: the file is as it was written.
    pub wrong: Vec<Wrong>,
}

/// Compares every entry with the manifest, and the whole file with its seal.
///
/// # Errors
/// [`Error::NotEvidence`]: it has no seal and no manifest that could be read.
pub fn verify(file: &[u8]) -> Result<Verification, Error> {
    let mut found = Verification { sha256: hash(file), manifest: None, good: 0, wrong: Vec::new() };
    let sealed = seal::holds(file);
    if sealed != Some(true) {
        found.wrong.push(Wrong::Seal);
    }
    match entries(file) {
        Ok((manifest, rows)) => compare(&mut found, manifest, &rows),
        // It was one once: its seal says so.
        Err(_) if sealed.is_some() => found.wrong.push(Wrong::Archive),
        Err(what) => return Err(Error::NotEvidence { what }),
    }
    Ok(found)
}

/// An entry: its name, and its bytes where they can be read.
type Row = (String, Option<Vec<u8>>);

fn entries(file: &[u8]) -> Result<(Manifest, Vec<Row>), String> {
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(|error| format!("no ZIP: {error}"))?;
    if archive.len() > ENTRIES_MAX + 1 {
        return Err(format!("{} entries, at most {}", archive.len(), ENTRIES_MAX + 1));
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut left = BYTES_MAX as u64;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| format!("entry {index}: {error}"))?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let mut bytes = Vec::new();
        // What a few bytes unpack to is bounded too.
        let read = entry.by_ref().take(left + 1).read_to_end(&mut bytes);
        left = left.checked_sub(bytes.len() as u64).ok_or_else(|| format!("more than {BYTES_MAX} bytes"))?;
        rows.push((name, read.is_ok().then_some(bytes)));
    }
    let text = rows.iter().find(|(name, _)| name == MANIFEST).and_then(|(_, bytes)| bytes.as_deref());
    let text = text.ok_or_else(|| format!("no {MANIFEST}"))?;
    let manifest: Manifest = serde_json::from_slice(text).map_err(|error| format!("{MANIFEST}: {error}"))?;
    if manifest.format != FORMAT {
        return Err(format!("{MANIFEST} has format {}, this build reads {FORMAT}", manifest.format));
    }
    Ok((manifest, rows))
}

fn compare(found: &mut Verification, manifest: Manifest, rows: &[Row]) {
    let mut seen = BTreeSet::new();
    for (name, bytes) in rows.iter().filter(|(name, _)| name != MANIFEST) {
        let told = manifest.entries.iter().find(|entry| entry.name == *name);
        // Of two entries with one name another program may take the other one.
        let Some(told) = told.filter(|_| seen.insert(name.clone())) else {
            found.wrong.push(Wrong::Added(name.clone()));
            continue;
        };
        let same = |bytes: &Vec<u8>| bytes.len() as u64 == told.bytes && hash(bytes) == told.sha256;
        if bytes.as_ref().is_some_and(same) {
            found.good += 1;
        } else {
            found.wrong.push(Wrong::Changed(name.clone()));
        }
    }
    let gone = manifest.entries.iter().filter(|entry| !seen.contains(&entry.name));
    found.wrong.extend(gone.map(|entry| Wrong::Gone(entry.name.clone())));
    found.manifest = Some(manifest);
}
