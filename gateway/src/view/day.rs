//! What the last day was like, by the hour: refusals and approvals of risk, alerts that fired.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::AlertState;
use spark_bus_schema::risk::{Check, Guard};

use super::saved::{Word, word};
use crate::record::Record;

/// Hours held: a day, and the hour that has begun.
pub const HOURS_MAX: usize = 25;
/// Alert names counted in one hour.
const NAMES_MAX: usize = 64;
const HOUR_S: i64 = 3_600;

/// The last day.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Day {
    hours: VecDeque<Hour>,
    drawdown: Option<(Timestamp, Check)>,
}

/// One hour of it.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Hour {
    /// Hours since the epoch.
    number: i64,
    #[serde(deserialize_with = "word::counts")]
    refused: BTreeMap<Word, u64>,
    approved: u64,
    fired: BTreeMap<String, u64>,
}

/// Sums over the last day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Refusals by guard.
    pub refused: BTreeMap<&'static str, u64>,
    /// Approvals.
    pub approved: u64,
    /// How often each alert began to fire, or got worse or better while it did.
    pub fired: BTreeMap<String, u64>,
}

impl Day {
    /// Takes in a message of the ledger, stored at `at`.
    pub fn apply(&mut self, at: Timestamp, record: &Record) {
        match record {
            Record::Verdict(verdict) => {
                if let Some(check) = verdict.checks.iter().find(|check| check.guard == Guard::Drawdown) {
                    self.drawdown = Some((at, check.clone()));
                }
                let Some(hour) = self.hour(at) else { return };
                match verdict.guard {
                    Some(guard) => *hour.refused.entry(guard.as_str()).or_default() += 1,
                    None => hour.approved += 1,
                }
            }
            Record::Alert(alert) if alert.state == AlertState::Firing => {
                let Some(hour) = self.hour(at) else { return };
                if hour.fired.len() < NAMES_MAX || hour.fired.contains_key(&alert.name) {
                    *hour.fired.entry(alert.name.clone()).or_default() += 1;
                }
            }
            _ => {}
        }
    }

    /// The hour of a moment; none when it is older than what is held.
    fn hour(&mut self, at: Timestamp) -> Option<&mut Hour> {
        let number = number(at);
        match self.hours.back() {
            Some(newest) if newest.number == number => {}
            // The ledger's time does not go back; a clock that was set back counts in the hour that is there.
            Some(newest) if newest.number > number => {}
            _ => {
                self.hours.push_back(Hour { number, ..Hour::default() });
                while self.hours.front().is_some_and(|oldest| oldest.number <= number - HOURS_MAX as i64) {
                    self.hours.pop_front();
                }
            }
        }
        self.hours.back_mut()
    }

    /// Sums over the last 24 full hours and the one that has begun.
    #[must_use]
    pub fn sums(&self, now: Timestamp) -> Sums {
        let oldest = number(now) - HOURS_MAX as i64;
        let mut sums = Sums::default();
        for hour in self.hours.iter().filter(|hour| hour.number > oldest) {
            hour.refused.iter().for_each(|(guard, count)| *sums.refused.entry(guard).or_default() += count);
            hour.fired.iter().for_each(|(name, count)| *sums.fired.entry(name.clone()).or_default() += count);
            sums.approved += hour.approved;
        }
        sums
    }

    /// What the drawdown guard measured last, and when.
    #[must_use]
    pub fn drawdown(&self) -> Option<&(Timestamp, Check)> {
        self.drawdown.as_ref()
    }
}

fn number(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1_000 * HOUR_S)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use spark_bus_schema::alerts::{Alert, Severity};

    use super::*;

    fn fired(name: &str) -> Record {
        Record::Alert(Alert {
            name: name.into(),
            rule: "r".into(),
            revision: 1,
            scope: BTreeMap::new(),
            state: AlertState::Firing,
            severity: Some(Severity::Warning),
            value: None,
            threshold: None,
            direction: "above".into(),
            unit: String::new(),
            window_ms: 0,
            samples: 0,
            at: Timestamp::ZERO,
            since: None,
            summary: String::new(),
            cause: String::new(),
            first_action: String::new(),
            permanent_fix: String::new(),
            runbook: String::new(),
        })
    }

    #[test]
    fn what_is_older_than_a_day_is_not_counted_and_not_held() {
        let mut day = Day::default();
        let begin = Timestamp::from_millis(1_800_000_000_000);
        let hour = Duration::from_secs(3_600);
        for hours in 0..100_u32 {
            day.apply(begin + hour * hours, &fired("A"));
        }
        assert_eq!(day.hours.len(), HOURS_MAX);
        let count = |hours: u32| day.sums(begin + hour * hours).fired.get("A").copied().unwrap_or(0);
        assert_eq!((count(99), count(109), count(124)), (25, 15, 0));
    }
}
