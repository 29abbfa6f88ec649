//! Which candles wait for their score: the model is late from a candle's end until it has said something about it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::candles::{Candle, TimeFrame};
use spark_bus_schema::signals::Score;
use spark_bus_schema::{Timestamp, Venue};

/// Symbols with a time frame that are remembered.
const KEYS_MAX: usize = 1_024;

type Key = (Venue, String, TimeFrame);

/// Scores seen, and those that are due. Candles and scores come by two streams, in either order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scores {
    /// The newest candle that was scored. What has been scored before is scored again: a later candle makes a score due.
    scored: BTreeMap<Key, Timestamp>,
    /// The oldest candle that waits, and since when.
    due: BTreeMap<Key, (Timestamp, Timestamp)>,
}

impl Scores {
    /// A candle is over. Later revisions of it are not scored.
    pub fn candle(&mut self, at: Timestamp, candle: &Candle) {
        let key = (candle.venue, candle.symbol.clone(), candle.timeframe);
        if candle.revision == 1 && self.scored.get(&key).is_some_and(|last| *last < candle.open_time) {
            self.due.entry(key).or_insert((candle.open_time, at));
        }
    }

    /// The model said something.
    pub fn score(&mut self, score: &Score) {
        let key = (score.venue, score.symbol.clone(), score.timeframe);
        if self.due.get(&key).is_some_and(|(candle, _)| *candle <= score.open_time) {
            self.due.remove(&key);
        }
        if let Some(last) = self.scored.get_mut(&key) {
            *last = score.open_time.max(*last);
        } else if self.scored.len() < KEYS_MAX {
            self.scored.insert(key, score.open_time);
        }
    }

    /// For how long the oldest score is due; none when nothing was ever scored.
    #[must_use]
    pub fn overdue(&self, at: Timestamp) -> Option<Duration> {
        if self.scored.is_empty() {
            return None;
        }
        Some(self.due.values().map(|(_, since)| at.saturating_since(*since)).max().unwrap_or_default())
    }

    /// After a time during which the whole system was off: nobody could have scored anything.
    pub fn resume(&mut self, at: Timestamp) {
        for (_, since) in self.due.values_mut() {
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
        let sample: Candle = decode_payload(&(find("candle.v1").unwrap().sample)()).unwrap();
        let told: Score = decode_payload(&(find("score.v1").unwrap().sample)()).unwrap();
        let at = Timestamp::from_millis;
        let minute = |number: i64| at(number * 60_000);
        let candle = |number, revision| Candle { open_time: minute(number), revision, ..sample.clone() };
        let score = |number| Score { timeframe: sample.timeframe, open_time: minute(number), ..told.clone() };
        let mut scores = Scores::default();
        scores.candle(at(0), &candle(1, 1));
        assert_eq!(scores.overdue(at(90_000)), None);
        scores.score(&score(1));
        assert_eq!(scores.overdue(at(90_000)), Some(Duration::ZERO));
        scores.candle(at(100_000), &candle(2, 1));
        scores.candle(at(160_000), &candle(3, 1));
        assert_eq!(scores.overdue(at(170_000)), Some(Duration::from_secs(70)));
        // A score of an earlier candle than the one that waits is none of it.
        scores.score(&score(1));
        assert_eq!(scores.overdue(at(170_000)), Some(Duration::from_secs(70)));
        scores.resume(at(170_000));
        assert_eq!(scores.overdue(at(180_000)), Some(Duration::from_secs(10)));
        scores.score(&score(3));
        assert_eq!(scores.overdue(at(999_000)), Some(Duration::ZERO));
        // The score was faster than its candle: they come by different streams.
        scores.score(&score(4));
        scores.candle(at(999_000), &candle(4, 1));
        assert_eq!(scores.overdue(at(1_999_000)), Some(Duration::ZERO));
        // A correction is not scored, so nobody waits for it.
        scores.candle(at(1_999_000), &candle(5, 2));
        assert_eq!(scores.overdue(at(2_999_000)), Some(Duration::ZERO));
    }
}
