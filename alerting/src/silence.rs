//! Silences: while one is active, nobody is told about the alerts that it matches.

use std::collections::BTreeMap;

use spark_bus_schema::Timestamp;
use spark_bus_schema::notify::Silence;

use crate::labels::Labels;
use crate::matcher::{Error, Matchers};

/// Where a silence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SilenceState {
    /// In force.
    Active,
    /// Begins later.
    Pending,
    /// Over, or taken back.
    Expired,
}

impl SilenceState {
    /// Alertmanager's word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Expired => "expired",
        }
    }
}

/// From `starts_at` on, and before `ends_at`.
#[must_use]
pub fn state(silence: &Silence, at: Timestamp) -> SilenceState {
    if at >= silence.ends_at {
        SilenceState::Expired
    } else if at >= silence.starts_at {
        SilenceState::Active
    } else {
        SilenceState::Pending
    }
}

/// The latest word on each silence.
#[derive(Clone, Debug, Default)]
pub struct Silences {
    all: BTreeMap<String, (Silence, Matchers)>,
}

impl Silences {
    /// The latest one with an id decides.
    ///
    /// # Errors
    /// A matcher cannot be used; what was known of the silence stays.
    pub fn insert(&mut self, silence: Silence) -> Result<(), Error> {
        let matchers = Matchers::new(&silence.matchers)?;
        self.all.insert(silence.id.clone(), (silence, matchers));
        Ok(())
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Silence> {
        self.all.get(id).map(|(silence, _)| silence)
    }

    /// All, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Silence> {
        self.all.values().map(|(silence, _)| silence)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Ids of the silences that mute these labels at this time.
    #[must_use]
    pub fn silenced_by(&self, labels: &Labels, at: Timestamp) -> Vec<&str> {
        let active = self.all.values().filter(|(silence, _)| state(silence, at) == SilenceState::Active);
        active.filter(|(_, matchers)| matchers.matches(labels)).map(|(silence, _)| silence.id.as_str()).collect()
    }

    /// Whether any does.
    #[must_use]
    pub fn is_silenced(&self, labels: &Labels, at: Timestamp) -> bool {
        self.all.values().any(|(silence, matchers)| state(silence, at) == SilenceState::Active && matchers.matches(labels))
    }

    /// The first time after `at` at which one begins or ends.
    #[must_use]
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        self.iter().flat_map(|silence| [silence.starts_at, silence.ends_at]).filter(|time| *time > at).min()
    }

    /// Forgets those that ended before `before`.
    pub fn forget_ended(&mut self, before: Timestamp) {
        self.all.retain(|_, (silence, _)| silence.ends_at >= before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence(id: &str, matchers: &str, from: i64, to: i64) -> Silence {
        Silence {
            id: id.to_owned(),
            matchers: crate::matcher::parse(matchers).unwrap(),
            starts_at: Timestamp::from_millis(from),
            ends_at: Timestamp::from_millis(to),
            created_by: "ayse".to_owned(),
            comment: "maintenance".to_owned(),
            at: Timestamp::from_millis(from),
        }
    }

    #[test]
    fn a_silence_holds_from_its_start_until_before_its_end_and_its_latest_word_decides() {
        let mut silences = Silences::default();
        silences.insert(silence("a", "venue=btcturk", 10, 20)).unwrap();
        let labels = Labels::from([("venue".to_owned(), "btcturk".to_owned())]);
        let told = |silences: &Silences, at: i64| silences.silenced_by(&labels, Timestamp::from_millis(at)).join(",");
        assert_eq!([9, 10, 19, 20].map(|at| told(&silences, at)), ["", "a", "a", ""]);
        assert_eq!(silences.next_change(Timestamp::from_millis(10)), Some(Timestamp::from_millis(20)));
        silences.insert(silence("a", "venue=btcturk", 10, 12)).unwrap();
        assert_eq!([11, 12].map(|at| told(&silences, at)), ["a", ""]);
        silences.forget_ended(Timestamp::from_millis(13));
        assert!(silences.is_empty());
    }
}
