//! What was scored in a stage and what became of it: the judged part beside the baseline.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::rollout::{PreviewOf, Stage};
use spark_bus_schema::signals::{Outcome, Score};
use spark_bus_schema::{Timestamp, Venue};

use crate::config::SAMPLES_MAX;

/// One score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// When it was stored.
    pub at: Timestamp,
    /// From the candle's end to there, ms.
    pub latency_ms: u64,
    /// Confidence; none when there was no score.
    pub confid: Option<f64>,
}

/// What became of one score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameTrue {
    /// When it was stored.
    pub at: Timestamp,
    /// The price moved as scored.
    pub hit: bool,
    /// Move to the side that was scored, basis points.
    pub move_bps: f64,
}

/// Scores and outcomes of one part, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Scores.
    pub scores: VecDeque<Scored>,
    /// Outcomes.
    pub outcomes: VecDeque<CameTrue>,
    /// When the last score was stored, of venues that never close.
    pub last_score: Option<Timestamp>,
}

impl Part {
    fn score(&mut self, at: Timestamp, score: &Score) {
        let latency_ms = u64::try_from(at.since_ms(score.decided_at)).unwrap_or(0);
        // What cannot have a score yet is neither a good one nor an error.
        if score.absence.is_none() {
            push(&mut self.scores, Scored { at, latency_ms, confid: score.score.and(score.confid) });
        }
        // Borsa Istanbul closes at night: silence there says nothing.
        if score.venue != Venue::Bist {
            self.last_score = Some(at);
        }
    }

    fn outcome(&mut self, at: Timestamp, outcome: &Outcome) {
        let direction = if outcome.score < 0.0 { -1.0 } else { 1.0 };
        push(&mut self.outcomes, CameTrue { at, hit: outcome.hit, move_bps: outcome.move_bps * direction });
    }

    fn forget_before(&mut self, at: Timestamp) {
        while self.scores.front().is_some_and(|oldest| oldest.at < at) {
            self.scores.pop_front();
        }
        while self.outcomes.front().is_some_and(|oldest| oldest.at < at) {
            self.outcomes.pop_front();
        }
    }
}

fn push<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() as u64 >= SAMPLES_MAX {
        list.pop_front();
    }
    list.push_back(item);
}

/// Both parts of a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    /// What the stage is about: in the preview its symbol, later what is assigned. The rollout's time frame only.
    pub judged: Part,
    /// The concurrent rest.
    pub baseline: Part,
}

impl Samples {
    /// Takes in a score that was stored at `at`; one of a candle from before the stage does not belong to it.
    pub fn score(&mut self, at: Timestamp, score: &Score, stage: Stage, since: Timestamp, preview: &PreviewOf) {
        if score.decided_at < since {
            return;
        }
        let place = (score.venue, score.symbol.as_str(), score.timeframe);
        if let Some(part) = self.part(stage, place, score.assigned, preview) {
            part.score(at, score);
        }
    }

    /// Takes in an outcome that was stored at `at`; one of a candle that was over before the stage does not belong to it.
    pub fn outcome(&mut self, at: Timestamp, outcome: &Outcome, stage: Stage, since: Timestamp, preview: &PreviewOf) {
        if outcome.open_time + outcome.timeframe.duration() < since {
            return;
        }
        let place = (outcome.venue, outcome.symbol.as_str(), outcome.timeframe);
        if let Some(part) = self.part(stage, place, outcome.assigned, preview) {
            part.outcome(at, outcome);
        }
    }

    /// Drops what is older than the window.
    pub fn forget_before(&mut self, at: Timestamp) {
        self.judged.forget_before(at);
        self.baseline.forget_before(at);
    }

    /// Nobody watched for `gap`: silence in it says nothing.
    pub fn skip(&mut self, gap: Duration) {
        for part in [&mut self.judged, &mut self.baseline] {
            part.last_score = part.last_score.map(|last| last + gap);
        }
    }

    fn part(
        &mut self,
        stage: Stage,
        (venue, symbol, timeframe): (Venue, &str, TimeFrame),
        is_assigned: bool,
        preview: &PreviewOf,
    ) -> Option<&mut Part> {
        match stage {
            Stage::Off => None,
            // Orders follow from this time frame only, and moves of another one are not to be compared.
            _ if timeframe != preview.timeframe => None,
            Stage::Preview if venue == preview.venue && symbol == preview.symbol => Some(&mut self.judged),
            Stage::Preview => Some(&mut self.baseline),
            Stage::Tenth | Stage::Half | Stage::Full if is_assigned => Some(&mut self.judged),
            Stage::Tenth | Stage::Half | Stage::Full => Some(&mut self.baseline),
        }
    }
}
