//! What a restarted gateway goes on from: everything in the view that follows from the LEDGER's past, as bytes.
//!
//! A copy of it is taken while the view is only read, and costs little: what is large (orders, actions, finished orders of the
//! book, groups) is shared with the view and copied when it changes. Bytes are made of it later, on another thread.
//!
//! The layout carries the version of the program. What the view shows is what this program makes of the LEDGER; another
//! version may make something else of the same messages, so it reads them again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use spark_bus_schema::{OrderId, Timestamp};

use super::View;
use super::backtests::Ends;
use super::day::Day;
use super::doings::Doings;
use super::people::People;
use super::registry::Registry;
use super::rollouts::Rollouts;
use super::trading::Trading;

/// The beginning of the bytes. The number rises when the same program version makes other bytes or another view of the same
/// messages.
const LAYOUT: &str = concat!("gateway view 2, spark ", env!("CARGO_PKG_VERSION"), "\n");

/// A word of this program: messages and checkpoints bring it, and it is the same few again and again.
pub(crate) type Word = &'static str;

/// Everything that follows from the LEDGER's past.
#[derive(Clone, Serialize, Deserialize)]
pub struct Saved {
    people: People,
    doings: Doings,
    day: Day,
    trading: Trading,
    rollouts: Rollouts,
    registry: Registry,
    backtests: Ends,
    /// Messages of the LEDGER that could not be read, by reason.
    #[serde(deserialize_with = "word::counts")]
    unreadable: BTreeMap<Word, u64>,
    overflow: u64,
}

/// Why saved bytes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Another program wrote them.
    #[error("its layout is not {:?}", LAYOUT.trim_end())]
    Layout,
    /// They are damaged.
    #[error(transparent)]
    Damaged(#[from] rmp_serde::decode::Error),
}

impl Saved {
    /// As bytes: the layout in a line, then MessagePack.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = LAYOUT.as_bytes().to_vec();
        let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
        self.serialize(&mut serializer).expect("maps, texts and numbers always serialise into memory");
        bytes
    }

    /// What [`Saved::encode`] made.
    ///
    /// # Errors
    /// [`Unusable`]; no bytes whatsoever make it panic.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unusable> {
        let bytes = bytes.strip_prefix(LAYOUT.as_bytes()).ok_or(Unusable::Layout)?;
        Ok(spark_bus_schema::codec::from_saved(bytes)?)
    }

    /// Messages of the LEDGER that could not be read, by reason.
    #[must_use]
    pub fn unreadable(&self) -> &BTreeMap<&'static str, u64> {
        &self.unreadable
    }

    /// The orders in it.
    pub fn orders(&self) -> impl Iterator<Item = &OrderId> {
        self.trading.orders.ids()
    }
}

impl View {
    /// A copy of everything that follows from the LEDGER's past. `unreadable` is what its reader could not read so far.
    #[must_use]
    pub fn to_save(&self, unreadable: BTreeMap<&'static str, u64>) -> Saved {
        Saved {
            people: self.people.clone(),
            doings: self.doings.clone(),
            day: self.day.clone(),
            trading: self.trading.clone(),
            rollouts: self.rollouts.clone(),
            registry: self.registry.clone(),
            backtests: self.backtests.to_save(),
            unreadable,
            overflow: self.ledger_overflow,
        }
    }

    /// Goes on from what was saved, before anything of the LEDGER's past is taken in. `newest` is when the last message was
    /// stored that it follows from.
    pub fn restore(&mut self, saved: Saved, newest: Timestamp) {
        let Saved { people, doings, day, trading, rollouts, registry, backtests, unreadable, overflow } = saved;
        self.revision += 1;
        self.changed_whole();
        self.newest = self.newest.max(newest);
        (self.people, self.doings, self.day) = (people, doings, day);
        self.people.begin_to_count();
        self.trading.restore(trading);
        (self.rollouts, self.registry) = (rollouts, registry);
        self.backtests.restore(backtests);
        for (reason, count) in unreadable {
            *self.unreadable.entry(reason).or_default() += count;
        }
        self.overflow += overflow;
        self.ledger_overflow += overflow;
    }
}

/// RFC 3339 for people, nanoseconds in a checkpoint.
pub(crate) fn moment<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() { serializer.collect_str(at) } else { at.serialize(serializer) }
}

/// Words of a checkpoint, as the program's own ones live.
pub(crate) mod word {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::{Mutex, PoisonError};

    use serde::de::Error;
    use serde::{Deserialize, Deserializer};

    use super::Word;

    /// Different words of all checkpoints that one process loads; the program has fewer than a hundred.
    const WORDS_MAX: usize = 512;
    /// Bytes of a word.
    const WORD_BYTES_MAX: usize = 64;

    /// A word.
    pub fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
        kept(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    /// A word, if there is one.
    pub fn option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Word>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(kept).transpose().map_err(D::Error::custom)
    }

    /// Counts by word.
    pub fn counts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Word, u64>, D::Error> {
        let counts = BTreeMap::<String, u64>::deserialize(deserializer)?;
        let count = |(word, count)| Ok((kept(word)?, count));
        counts.into_iter().map(count).collect::<Result<_, &str>>().map_err(D::Error::custom)
    }

    /// The one word that is kept for all that are equal to it.
    fn kept(word: String) -> Result<Word, &'static str> {
        static WORDS: Mutex<BTreeSet<Word>> = Mutex::new(BTreeSet::new());
        let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = words.get(word.as_str()) {
            return Ok(known);
        }
        if words.len() >= WORDS_MAX || word.len() > WORD_BYTES_MAX {
            return Err("a word that is none of this program's");
        }
        // Bounded by the two constants, for the life of the process.
        let word: Word = word.leak();
        words.insert(word);
        Ok(word)
    }
}

/// Bytes as bytes, not as a list of numbers.
pub(crate) mod raw {
    use bytes::Bytes;
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Raw;
        impl Visitor<'_> for Raw {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes::copy_from_slice(bytes))
            }
        }
        deserializer.deserialize_bytes(Raw)
    }
}

/// Silences as a list; what they match is made of it again.
pub(crate) mod silences {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use spark_alerting::Silences;
    use spark_bus_schema::notify::Silence;

    pub fn serialize<S: Serializer>(silences: &Silences, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(silences.iter().collect::<Vec<_>>())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Silences, D::Error> {
        let mut silences = Silences::default();
        for silence in Vec::<Silence>::deserialize(deserializer)? {
            silences.insert(silence).map_err(D::Error::custom)?;
        }
        Ok(silences)
    }
}
