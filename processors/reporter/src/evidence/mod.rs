//! Evidence: one ZIP of everything that shows what happened, with a manifest of hashes, and without any secret.
//!
//! The file is sealed: the archive's comment holds the SHA-256 of every byte before it, so that any changed byte is found,
//! also one that no entry covers. Neither seal nor manifest is a signature: whoever rewrites the whole file can make both
//! anew. What they cannot make is the head of the LEDGER's hash chain, which the manifest names and the auditor keeps.
//!
//! Read in this order: [`Bundle`] (what goes in), [`Secrets`] (what must not), [`verify()`].

mod manifest;
mod seal;
mod secrets;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

pub use manifest::{About, Entry, FORMAT, LedgerHead, Manifest, Missing};
pub use seal::hash;
pub use secrets::{SECRET_BYTES_MIN, Secrets};
pub use verify::{Verification, Wrong, verify};

/// The entry that names all others; the last one of the archive.
pub const MANIFEST: &str = "manifest.json";
/// Entries of one file.
pub const ENTRIES_MAX: usize = 1_000;
/// Bytes of all entries together before compression: a file is built in memory.
pub const BYTES_MAX: usize = 512 * 1024 * 1024;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An entry's name would not be the same file everywhere.
    #[error("entry {name:?}: use relative paths of a-z, A-Z, 0-9, `-`, `_`, `.` and `/`")]
    Name {
        /// The name.
        name: String,
    },
    /// Too many entries or bytes.
    #[error("{what}; a shorter --window or fewer --messages makes it smaller")]
    TooLarge {
        /// What is too large.
        what: String,
    },
    /// A secret is in an entry. Nothing was written.
    #[error("{entry} holds the secret {secret} at byte {at}: nothing was written; remove it where it comes from")]
    Secret {
        /// The entry.
        entry: String,
        /// The secret's name, e.g. `environment SPARK_BINANCE_API_KEY`; never its value.
        secret: String,
        /// Where.
        at: usize,
    },
    /// The archive could not be made.
    #[error("make the archive")]
    Zip(#[source] zip::result::ZipError),
    /// An entry could not be written.
    #[error("make the archive")]
    Write(#[source] std::io::Error),
    /// The manifest could not be written.
    #[error("write the manifest")]
    Json(#[source] serde_json::Error),
    /// It is not such a file.
    #[error("not an evidence file: {what}")]
    NotEvidence {
        /// What it lacks.
        what: String,
    },
}

/// What a file will hold. Entries are ordered by name, whatever the order in which they came.
#[derive(Default)]
pub struct Bundle {
    entries: BTreeMap<String, Vec<u8>>,
    missing: BTreeMap<String, String>,
}

/// A file, ready to be stored.
pub struct Sealed {
    /// The ZIP.
    pub bytes: Vec<u8>,
    /// What its manifest says.
    pub manifest: Manifest,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

impl Bundle {
    /// Puts an entry in; a second one of the same name replaces the first.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::TooLarge`].
    pub fn add(&mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Result<(), Error> {
        let plain = |part: &str| {
            !part.is_empty()
                && part != ".."
                && part != "."
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if name == MANIFEST || !name.split('/').all(plain) {
            return Err(Error::Name { name: name.to_owned() });
        }
        self.entries.insert(name.to_owned(), bytes.into());
        if self.entries.len() > ENTRIES_MAX {
            return Err(Error::TooLarge { what: format!("more than {ENTRIES_MAX} entries") });
        }
        let bytes: usize = self.entries.values().map(Vec::len).sum();
        if bytes > BYTES_MAX {
            return Err(Error::TooLarge { what: format!("{bytes} bytes, at most {BYTES_MAX}") });
        }
        Ok(())
    }

    /// Says that something is not in the file, and why.
    pub fn missing(&mut self, name: &str, why: impl Into<String>) {
        self.missing.insert(name.to_owned(), why.into());
    }

    /// What is in it so far: name and bytes, in order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }

    /// Makes the file. The same entries, words and time give the same bytes.
    ///
    /// # Errors
    /// [`Error::Secret`] when any entry, or the manifest, holds one of `secrets`; or the archive cannot be made.
    pub fn seal(self, about: About, secrets: &Secrets) -> Result<Sealed, Error> {
        let manifest = Manifest::new(about, &self.entries, self.missing);
        let mut text = serde_json::to_vec_pretty(&manifest).map_err(Error::Json)?;
        text.push(b'\n');
        let all = self.entries.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        let all: Vec<(&str, &[u8])> = all.chain([(MANIFEST, text.as_slice())]).collect();
        for (entry, bytes) in &all {
            if let Some((secret, at)) = secrets.find(bytes) {
                return Err(Error::Secret { entry: (*entry).to_owned(), secret: secret.to_owned(), at });
            }
        }
        let bytes = seal::close(archive(&all)?);
        let sha256 = hash(&bytes);
        Ok(Sealed { bytes, manifest, sha256 })
    }
}

fn archive(entries: &[(&str, &[u8])]) -> Result<Vec<u8>, Error> {
    // No time and no user: the same content gives the same bytes.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, options).map_err(Error::Zip)?;
        zip.write_all(bytes).map_err(Error::Write)?;
    }
    zip.set_raw_comment(seal::open().into()).map_err(Error::Zip)?;
    Ok(zip.finish().map_err(Error::Zip)?.into_inner())
}
