//! The seal at the end of the file: `spark-evidence sha256 <64 digits>`, the archive's comment.

use sha2::{Digest, Sha256};

const WORD: &[u8] = b"spark-evidence sha256 ";
const DIGITS: usize = 64;
const LENGTH: usize = WORD.len() + DIGITS;

/// SHA-256, 64 lower-case hexadecimal digits.
#[must_use]
pub fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A seal without its hash: as long as it will be.
pub(super) fn open() -> Vec<u8> {
    [WORD, &[b'0'; DIGITS]].concat()
}

/// Puts the hash into the open seal at the end of an archive.
pub(super) fn close(mut archive: Vec<u8>) -> Vec<u8> {
    let body = archive.len().saturating_sub(LENGTH);
    let digits = hash(&archive[..body]);
    archive.truncate(body + WORD.len());
    archive.extend_from_slice(digits.as_bytes());
    archive
}

/// Whether the seal holds; none when there is none.
pub(super) fn holds(file: &[u8]) -> Option<bool> {
    let (body, seal) = file.split_at_checked(file.len().checked_sub(LENGTH)?)?;
    let digits = seal.strip_prefix(WORD)?;
    Some(hash(body).as_bytes() == digits)
}
