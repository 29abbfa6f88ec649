//! The hash chain, byte by byte. It must never change: old databases and the anchors in the LEDGER are held against it.
//!
//! All integers are big-endian; a length is the number of bytes that follow. One entry's hash is SHA-256 over
//!
//! | bytes | what |
//! |---|---|
//! | 32 | hash of the entry before it; for the first entry of an era, the era's link |
//! | 8 | stream sequence, unsigned |
//! | 8 | when the broker stored it, ns since 1970, signed |
//! | 4 + n | length, subject (UTF-8) |
//! | 4 + n | length, canonical headers |
//! | 4 + n | length, payload |
//!
//! Canonical headers are a count (4 bytes), then for each header its name and its value, each as length (4) and UTF-8
//! bytes. They are sorted by the bytes of the name; several values of one name keep the order in which they were stored.
//!
//! The link of era 1 is 32 zero bytes. The link of a later era is SHA-256 over
//!
//! | bytes | what |
//! |---|---|
//! | 18 | the ASCII text `spark-audit-era-v1` |
//! | 32 | hash of the last entry of the era before it (its link, if it has no entry) |
//! | 8 | number of entries in the database up to there, unsigned |
//! | 8 | the new era, unsigned |
//! | 8 | first stream sequence that the new era speaks of, unsigned |
//! | 8 | when it was accepted, ns since 1970, signed |
//! | 4 + n | length, actor |
//! | 4 + n | length, reason |
//! | 4 + n | length, what was found (`<kind>: <detail>`) |

use sha2::{Digest, Sha256};
use spark_bus_schema::Timestamp;

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// What the first entry ever follows.
pub const GENESIS: Hash = [0; 32];

const ERA_TAG: &[u8; 18] = b"spark-audit-era-v1";

/// What an entry's hash covers, besides the entry before it.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Stream sequence.
    pub sequence: u64,
    /// When the broker stored it.
    pub stored_at: Timestamp,
    /// Subject.
    pub subject: &'a str,
    /// [`canonical_headers`].
    pub headers: &'a [u8],
    /// The message's bytes.
    pub payload: &'a [u8],
}

/// What the link of an era covers.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    /// Hash of the last entry before it.
    pub previous: &'a Hash,
    /// Entries before it.
    pub entries: u64,
    /// The new era.
    pub era: u64,
    /// First stream sequence that it speaks of.
    pub first_sequence: u64,
    /// When it was accepted.
    pub begun_at: Timestamp,
    /// Who accepted.
    pub actor: &'a str,
    /// Why.
    pub reason: &'a str,
    /// `<kind>: <detail>` of the finding.
    pub found: &'a str,
}

/// The hash of an entry.
#[must_use]
pub fn entry_hash(previous: &Hash, content: &Content<'_>) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(content.sequence.to_be_bytes());
    hasher.update(content.stored_at.as_nanos().to_be_bytes());
    for part in [content.subject.as_bytes(), content.headers, content.payload] {
        prefixed(&mut hasher, part);
    }
    hasher.finalize().into()
}

/// What the first entry of a later era follows.
#[must_use]
pub fn era_link(link: &Link<'_>) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(ERA_TAG);
    hasher.update(link.previous);
    for number in [link.entries, link.era, link.first_sequence] {
        hasher.update(number.to_be_bytes());
    }
    hasher.update(link.begun_at.as_nanos().to_be_bytes());
    for part in [link.actor, link.reason, link.found] {
        prefixed(&mut hasher, part.as_bytes());
    }
    hasher.finalize().into()
}

/// Headers as one run of bytes that does not depend on the order in which a client hands them over.
#[must_use]
pub fn canonical_headers(headers: &[(String, String)]) -> Vec<u8> {
    let mut sorted: Vec<&(String, String)> = headers.iter().collect();
    // Stable: values of one name stay in their order.
    sorted.sort_by(|left, right| left.0.as_bytes().cmp(right.0.as_bytes()));
    let bytes = 4 + headers.iter().map(|(name, value)| 8 + name.len() + value.len()).sum::<usize>();
    let mut buffer = Vec::with_capacity(bytes);
    buffer.extend_from_slice(&length(headers.len()));
    for (name, value) in sorted {
        for part in [name, value] {
            buffer.extend_from_slice(&length(part.len()));
            buffer.extend_from_slice(part.as_bytes());
        }
    }
    buffer
}

/// The headers that [`canonical_headers`] wrote, or none when the bytes are not its own.
#[must_use]
pub fn parse_headers(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let (count, mut rest) = number(bytes)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let (name, after) = text(rest)?;
        let (value, after) = text(after)?;
        headers.push((name, value));
        rest = after;
    }
    rest.is_empty().then_some(headers)
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_be_bytes(*head)).ok()?, rest))
}

fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (size, rest) = number(bytes)?;
    let (text, rest) = rest.split_at_checked(size)?;
    Some((String::from_utf8(text.to_vec()).ok()?, rest))
}

fn prefixed(hasher: &mut Sha256, part: &[u8]) {
    hasher.update(length(part.len()));
    hasher.update(part);
}

fn length(size: usize) -> [u8; 4] {
    // The broker takes 1 MB at most, headers included; texts that people write are bounded by the command line.
    u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    struct Message {
        sequence: u64,
        stored_at: i64,
        subject: String,
        headers: Vec<(String, String)>,
        payload: Vec<u8>,
    }

    fn chain(messages: &[Message]) -> Hash {
        messages.iter().fold(GENESIS, |previous, message| {
            let headers = canonical_headers(&message.headers);
            let content = Content {
                sequence: message.sequence,
                stored_at: Timestamp::from_nanos(message.stored_at),
                subject: &message.subject,
                headers: &headers,
                payload: &message.payload,
            };
            entry_hash(&previous, &content)
        })
    }

    fn message() -> impl Strategy<Value = Message> {
        let headers = proptest::collection::vec(("[A-Za-z-]{1,8}", "[ -~]{0,8}"), 0..4);
        let payload = proptest::collection::vec(any::<u8>(), 0..40);
        (any::<u64>(), any::<i64>(), "[a-z.]{1,12}", headers, payload).prop_map(
            |(sequence, stored_at, subject, headers, payload)| Message { sequence, stored_at, subject, headers, payload },
        )
    }

    #[test]
    fn the_bytes_are_the_documented_ones() {
        let headers = canonical_headers(&[("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
        assert_eq!(headers, b"\0\0\0\x02\0\0\0\x01a\0\0\0\x011\0\0\0\x01b\0\0\0\x012");
        let content =
            Content { sequence: 258, stored_at: Timestamp::from_nanos(-2), subject: "s", headers: b"\0\0\0\0", payload: b"pp" };
        let mut bytes = vec![0; 32];
        bytes.extend_from_slice(b"\0\0\0\0\0\0\x01\x02\xff\xff\xff\xff\xff\xff\xff\xfe");
        bytes.extend_from_slice(b"\0\0\0\x01s\0\0\0\x04\0\0\0\0\0\0\0\x02pp");
        assert_eq!(entry_hash(&GENESIS, &content), <Hash>::from(Sha256::digest(&bytes)));
        let link = Link {
            previous: &[7; 32],
            entries: 3,
            era: 2,
            first_sequence: 5,
            begun_at: Timestamp::from_nanos(9),
            actor: "a",
            reason: "",
            found: "xy",
        };
        let mut bytes = b"spark-audit-era-v1".to_vec();
        bytes.extend_from_slice(&[7; 32]);
        for number in [3_u64, 2, 5, 9] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(b"\0\0\0\x01a\0\0\0\0\0\0\0\x02xy");
        assert_eq!(era_link(&link), <Hash>::from(Sha256::digest(&bytes)));
    }

    proptest! {
        #[test]
        fn any_change_anywhere_changes_the_head(
            messages in proptest::collection::vec(message(), 1..8),
            place in any::<prop::sample::Index>(),
            field in 0..7_u8,
            other in message(),
        ) {
            let head = chain(&messages);
            let mut changed = messages.clone();
            let index = place.index(changed.len());
            match field {
                0 => changed[index].sequence ^= 1,
                1 => changed[index].stored_at ^= 1,
                2 => changed[index].subject.push('x'),
                3 => changed[index].headers.push(("Extra".to_owned(), String::new())),
                4 => changed[index].payload.push(0),
                5 => drop(changed.remove(index)),
                _ => changed.insert(index, other),
            }
            prop_assert_ne!(chain(&changed), head);
        }

        #[test]
        fn bytes_cannot_wander_between_fields(mut message in message(), at in any::<prop::sample::Index>()) {
            let head = chain(std::slice::from_ref(&message));
            let cut = at.index(message.subject.len());
            let moved = message.subject.split_off(cut);
            message.payload.splice(0..0, moved.bytes());
            prop_assert_ne!(chain(std::slice::from_ref(&message)), head);
        }

        #[test]
        fn the_order_of_names_does_not_matter_and_headers_survive(message in message(), turn in any::<prop::sample::Index>()) {
            let mut turned = message.headers.clone();
            turned.sort();
            turned.dedup_by(|left, right| left.0 == right.0);
            let canonical = canonical_headers(&turned);
            if !turned.is_empty() {
                let by = turn.index(turned.len());
                turned.rotate_left(by);
            }
            prop_assert_eq!(canonical_headers(&turned), canonical.clone());
            let mut parsed = parse_headers(&canonical).unwrap();
            turned.sort();
            parsed.sort();
            prop_assert_eq!(parsed, turned);
            prop_assert!(parse_headers(&canonical[..canonical.len() - 1]).is_none());
        }
    }
}
