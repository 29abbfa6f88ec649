//! Which candles wait for their score: the model is late from a candle's end until it has said something about it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::candles::{Candle, TimeFrame};
use spark_bus_schema::signals::Score;
use spark_bus_schema::{Timestamp, Venue};

/// Symbols with a time frame that are remembered.
const KEYS_MAX: usize = 1_024;

type Key = (Venue, String, TimeFrame);

/// Scores seen, and those that are due.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scores {
    /// What has been scored before is scored again: a candle of it makes a score due.
    scored: BTreeSet<Key>,
    due: BTreeMap<Key, Timestamp>,
}

impl Scores {
    /// A candle is over. Later revisions of it are not scored.
    pub fn candle(&mut self, at: Timestamp, candle: &Candle) {
        let key = (candle.venue, candle.symbol.clone(), candle.timeframe);
        if candle.revision == 1 && self.scored.contains(&key) {
            self.due.entry(key).or_insert(at);
        }
    }

    /// The model said something.
    pub fn score(&mut self, score: &Score) {
        let key = (score.venue, score.symbol.clone(), score.timeframe);
        self.due.remove(&key);
        if self.scored.len() < KEYS_MAX {
            self.scored.insert(key);
        }
    }

    /// For how long the oldest score is due; none when nothing was ever scored.
    #[must_use]
    pub fn overdue(&self, at: Timestamp) -> Option<Duration> {
        if self.scored.is_empty() {
            return None;
        }
        Some(self.due.values().map(|since| at.saturating_since(*since)).max().unwrap_or_default())
    }

    /// After a time during which the whole system was off: nobody could have scored anything.
    pub fn resume(&mut self, at: Timestamp) {
        for since in self.due.values_mut() {
            *since = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use spark_bus_schema::catalogue::find;
    use spark_bus_schema::codec::decode_payload;

    use super::*;

    #[test]
    fn a_score_is_late_from_the_end_of_its_candle_and_only_where_scores_came_before() {
        let candle: Candle = decode_payload(&(find("candle.v1").unwrap().sample)()).unwrap();
        let score: Score = decode_payload(&(find("score.v1").unwrap().sample)()).unwrap();
        let score = Score { timeframe: candle.timeframe, ..score };
        let at = Timestamp::from_millis;
        let mut scores = Scores::default();
        scores.candle(at(0), &candle);
        assert_eq!(scores.overdue(at(90_000)), None);
        scores.score(&score);
        assert_eq!(scores.overdue(at(90_000)), Some(Duration::ZERO));
        scores.candle(at(100_000), &candle);
        scores.candle(at(160_000), &candle);
        assert_eq!(scores.overdue(at(170_000)), Some(Duration::from_secs(70)));
        scores.resume(at(170_000));
        assert_eq!(scores.overdue(at(180_000)), Some(Duration::from_secs(10)));
        scores.score(&score);
        assert_eq!(scores.overdue(at(999_000)), Some(Duration::ZERO));
        // A correction is not scored, so nobody waits for it.
        scores.candle(at(999_000), &Candle { revision: 2, ..candle });
        assert_eq!(scores.overdue(at(1_999_000)), Some(Duration::ZERO));
    }
}
