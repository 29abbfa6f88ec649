//! Stream against chain. No broker here: messages come in, the verdict goes out.

use std::collections::VecDeque;

use spark_bus_schema::audit::{AuditAnchor, DamageKind};
use spark_nats::Delivery;

use crate::chain::{self, Hash};
use crate::era::Damage;
use crate::error::Error;
use crate::store::{Era, Head, Place, Store, content};

/// Places read from the database at once: memory stays flat however long the chain is.
const CHUNK: usize = 4_096;

/// What a message of the stream is to the chain.
#[derive(Debug)]
pub enum Seen {
    /// It is the one that the chain holds.
    Same,
    /// The chain ends before it.
    Beyond,
    /// It is not what the chain holds.
    Bad(Damage),
}

/// A run of entries that speaks of the stream: sequences from `from` to below `below`.
struct Segment {
    era: u64,
    link: Hash,
    from: u64,
    below: u64,
}

/// Holds the messages of a stream, in order, against the chain as it was at the beginning of the comparison.
pub struct Comparer {
    segments: VecDeque<Segment>,
    waiting: VecDeque<(Place, Hash)>,
    /// Hash before the next place that is read.
    previous: Hash,
    head: Head,
    compared: u64,
}

impl Comparer {
    /// For a chain with these eras and this end.
    #[must_use]
    pub fn new(eras: &[Era], head: &Head) -> Self {
        let mut segments = VecDeque::new();
        let mut below = u64::MAX;
        for era in eras.iter().rev() {
            let end = if era.era == head.era { head.sequence.saturating_add(1) } else { below };
            if era.first_sequence < below {
                let (era, link, from) = (era.era, era.link, era.first_sequence);
                segments.push_front(Segment { era, link, from, below: end });
                below = from;
            }
        }
        let previous = segments.front().map_or(chain::GENESIS, |segment| segment.link);
        Self { segments, waiting: VecDeque::new(), previous, head: head.clone(), compared: 0 }
    }

    /// Messages that were the same so far.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// Judges the next message of the stream.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn take(&mut self, store: &Store, message: &Delivery) -> Result<Seen, Error> {
        let Some((place, previous)) = self.peek(store)? else { return Ok(Seen::Beyond) };
        if message.sequence < place.sequence {
            return Ok(Seen::Bad(Damage {
                first_bad: message.sequence,
                kind: DamageKind::Changed,
                detail: format!("message {} is in the stream, but the chain goes on with {}", message.sequence, place.sequence),
            }));
        }
        let is_newer = message.stored_at > self.head.stored_at;
        if message.sequence > place.sequence {
            let missing = format!("messages {} to {} are gone from the stream", place.sequence, message.sequence - 1);
            let kind = if is_newer && self.compared == 0 { DamageKind::Wiped } else { DamageKind::Missing };
            return Ok(Seen::Bad(Damage { first_bad: place.sequence, kind, detail: missing }));
        }
        let headers = chain::canonical_headers(&message.headers);
        if chain::entry_hash(&previous, &content(message, &headers)) == place.hash {
            self.waiting.pop_front();
            self.compared += 1;
            return Ok(Seen::Same);
        }
        if is_newer {
            return Ok(Seen::Bad(self.replaced(&place, message)));
        }
        Ok(Seen::Bad(Damage {
            first_bad: place.sequence,
            kind: DamageKind::Changed,
            detail: differing(store, &place, &previous)?,
        }))
    }

    /// The stream has ended, by its own account at `last`: what does the chain still hold?
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn finish(&mut self, store: &Store, last: u64, messages: u64) -> Result<Option<Damage>, Error> {
        let Some((place, _)) = self.peek(store)? else { return Ok(None) };
        let first_bad = place.sequence;
        Ok(Some(if messages == 0 {
            let detail = format!("the stream is empty, its chain goes on to {}", self.head.sequence);
            Damage { first_bad, kind: DamageKind::Wiped, detail }
        } else if last < first_bad {
            let detail = format!("the stream ends at {last}, its chain goes on to {}", self.head.sequence);
            Damage { first_bad, kind: DamageKind::Truncated, detail }
        } else {
            let detail = format!("the broker says that the stream goes on to {last}, but does not give out message {first_bad}");
            Damage { first_bad, kind: DamageKind::Missing, detail }
        }))
    }

    /// The next place that the stream should have.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn expected(&mut self, store: &Store) -> Result<Option<u64>, Error> {
        Ok(self.peek(store)?.map(|(place, _)| place.sequence))
    }

    fn peek(&mut self, store: &Store) -> Result<Option<(Place, Hash)>, Error> {
        while self.waiting.is_empty() {
            let Some(segment) = self.segments.front_mut() else { return Ok(None) };
            let places = store.places(segment.era, segment.from, segment.below, CHUNK)?;
            if let Some(last) = places.last() {
                segment.from = last.sequence + 1;
            } else {
                self.segments.pop_front();
                if let Some(next) = self.segments.front() {
                    self.previous = next.link;
                }
            }
            for place in places {
                self.waiting.push_back((place, self.previous));
                self.previous = place.hash;
            }
        }
        Ok(self.waiting.front().copied())
    }

    fn replaced(&self, place: &Place, message: &Delivery) -> Damage {
        let kind = if self.compared == 0 { DamageKind::Wiped } else { DamageKind::RolledBack };
        let detail = format!(
            "sequence {} was a message stored at {}; now it is one stored at {}, later than everything in the chain, which goes on \
             to {}",
            place.sequence, place.stored_at, message.stored_at, self.head.sequence
        );
        Damage { first_bad: place.sequence, kind, detail }
    }
}

/// Which of the two was changed, as far as that can be told.
fn differing(store: &Store, place: &Place, previous: &Hash) -> Result<String, Error> {
    let own = store.entries(place.position, 1)?;
    let is_sound = own.first().is_some_and(|entry| chain::entry_hash(previous, &entry.content()) == place.hash);
    Ok(if is_sound {
        format!("message {} is not the one that the chain holds", place.sequence)
    } else {
        format!("message {} and its entry in the audit database differ, and the entry contradicts its own hash", place.sequence)
    })
}

/// What an anchor proves.
#[derive(Debug)]
pub enum Anchored {
    /// The chain had that hash there.
    Good,
    /// Nothing: its era is not the one that speaks of this part of the stream, or no record of it is left.
    Unknown,
    /// The chain has another hash there.
    Bad(Damage),
}

/// Anchors in the stream against the chain: they tell when the database was made anew or rewritten.
#[derive(Debug, Default)]
pub struct Anchors {
    /// Those that proved nothing.
    pub unknown: u64,
    /// Those that the chain agrees with.
    pub good: u64,
    last_good: u64,
}

impl Anchors {
    /// Judges a message on `audit.anchor`, once everything before it is in the database.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn take(&mut self, store: &Store, eras: &[Era], message: &Delivery) -> Result<Option<Damage>, Error> {
        match self.judge(store, eras, message)? {
            Anchored::Good => self.good += 1,
            Anchored::Unknown => self.unknown += 1,
            Anchored::Bad(damage) => return Ok(Some(damage)),
        }
        Ok(None)
    }

    fn judge(&mut self, store: &Store, eras: &[Era], message: &Delivery) -> Result<Anchored, Error> {
        let Ok(anchor) = message.decode::<AuditAnchor>() else { return Ok(Anchored::Unknown) };
        let Some(owner) = eras.iter().rev().find(|era| era.first_sequence <= message.sequence) else {
            return Ok(Anchored::Unknown);
        };
        let was_taken_as_found = owner.era > 1 && owner.adopted_through.is_none_or(|through| message.sequence <= through);
        if was_taken_as_found || anchor.era != owner.era {
            return Ok(Anchored::Unknown);
        }
        let Some(place) = store.places(anchor.era, anchor.sequence, anchor.sequence.saturating_add(1), 1)?.pop() else {
            return Ok(Anchored::Unknown);
        };
        if hex::encode(place.hash) == anchor.hash {
            self.last_good = anchor.sequence;
            return Ok(Anchored::Good);
        }
        let first_bad = (self.last_good + 1).max(owner.first_sequence).min(anchor.sequence);
        let detail = format!(
            "the anchor at {} says that the chain's hash at {} was another one: a message from {first_bad} to {} was changed, and \
             the audit database was changed with it or made anew",
            message.sequence, anchor.sequence, anchor.sequence
        );
        Ok(Anchored::Bad(Damage { first_bad, kind: DamageKind::Changed, detail }))
    }
}
