//! What was done about alerts, by the guardrail and by people: episodes, restarts, rollbacks, thresholds; and the last
//! smoke check.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;
use spark_bus_schema::actions::{Action, ThresholdChange, ThresholdsCommand};
use spark_bus_schema::smoke::Smoke;

use super::saved::{Word, moment, word};
use super::words;
use crate::record::{Entry, Record};

/// Steps of episodes, restarts and rollbacks held.
pub const STEPS_MAX: usize = 200;
/// Bytes of a step's message; of a larger one only the line is held.
pub const STEP_BYTES_MAX: usize = 32 * 1024;
/// Bytes of a message about thresholds; a larger one is not held.
pub const THRESHOLDS_BYTES_MAX: usize = 64 * 1024;
/// Thresholds changed at run time that are held.
pub const THRESHOLDS_MAX: usize = 512;

/// A rule in a scope.
pub type Place = (String, BTreeMap<String, String>);

/// Episodes, restarts, rollbacks, thresholds, the last smoke check.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Doings {
    steps: VecDeque<Arc<Step>>,
    #[serde(skip)]
    stages: [u64; words::STAGES.len()],
    thresholds: BTreeMap<Place, ThresholdChange>,
    thresholds_sequence: u64,
    smoke: Option<(u64, Smoke)>,
}

/// One thing that was done.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// LEDGER sequence.
    pub sequence: u64,
    /// When it was stored; in JSON RFC 3339.
    #[serde(serialize_with = "moment")]
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// `action`, `restart`, `restarted`, `rollback`.
    #[serde(deserialize_with = "word::one")]
    pub what: Word,
    /// The stage of an episode, or the outcome of a restart.
    #[serde(deserialize_with = "word::option")]
    pub stage: Option<Word>,
    /// The guardrail's episode.
    pub episode: Option<String>,
    /// The process.
    pub service: Option<String>,
    /// Who.
    pub actor: String,
    /// Only told: nothing was asked of anybody.
    pub dry_run: bool,
    /// One sentence.
    pub summary: String,
    /// The whole step of an episode, with its evidence.
    pub action: Option<Box<Action>>,
}

impl Doings {
    /// Takes in a message of the ledger, stored at `at`. `live`: stored since the gateway runs, so that it counts. False
    /// when there was no room for it.
    pub fn apply(&mut self, at: Timestamp, entry: &Entry, live: bool) -> bool {
        let step = match &entry.record {
            Record::Thresholds(command) => {
                return entry.payload.len() <= THRESHOLDS_BYTES_MAX && self.change(entry.sequence, command);
            }
            Record::Smoke(smoke) => {
                if self.smoke.as_ref().is_none_or(|(held, _)| *held < entry.sequence) {
                    self.smoke = Some((entry.sequence, smoke.clone()));
                }
                return true;
            }
            record => step(entry.sequence, at, record),
        };
        let Some(mut step) = step else { return true };
        if self.steps.back().is_some_and(|held| held.sequence >= step.sequence) {
            return true;
        }
        if let (true, Some(action)) = (live, &step.action)
            && let Some(place) = words::STAGES.iter().position(|stage| *stage == action.stage)
        {
            self.stages[place] += 1;
        }
        if entry.payload.len() > STEP_BYTES_MAX {
            step.action = None;
        }
        if self.steps.len() == STEPS_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back(Arc::new(step));
        true
    }

    fn change(&mut self, sequence: u64, command: &ThresholdsCommand) -> bool {
        if sequence <= self.thresholds_sequence {
            return true;
        }
        self.thresholds_sequence = sequence;
        if command.reset {
            self.thresholds.clear();
        }
        let mut fits = true;
        for change in &command.changes {
            let place = (change.rule.clone(), change.scope.clone());
            if self.thresholds.len() >= THRESHOLDS_MAX && !self.thresholds.contains_key(&place) {
                fits = false;
                continue;
            }
            let held = self.thresholds.entry(place).or_insert_with(|| change.clone());
            held.warning = change.warning.or(held.warning);
            held.critical = change.critical.or(held.critical);
        }
        fits
    }

    /// Newest first.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().rev().map(Arc::as_ref)
    }

    /// Steps of episodes since the gateway started, in the order of [`words::STAGES`].
    #[must_use]
    pub fn stages(&self) -> [u64; words::STAGES.len()] {
        self.stages
    }

    /// What commands have made of thresholds, by rule and scope.
    #[must_use]
    pub fn thresholds(&self) -> &BTreeMap<Place, ThresholdChange> {
        &self.thresholds
    }

    /// LEDGER sequence of the last command about thresholds; 0 before the first.
    #[must_use]
    pub fn thresholds_sequence(&self) -> u64 {
        self.thresholds_sequence
    }

    /// The last smoke check.
    #[must_use]
    pub fn smoke(&self) -> Option<&Smoke> {
        self.smoke.as_ref().map(|(_, smoke)| smoke)
    }
}

fn step(sequence: u64, at: Timestamp, record: &Record) -> Option<Step> {
    let empty = Step {
        sequence,
        at,
        what: "action",
        stage: None,
        episode: None,
        service: None,
        actor: "guardrail".to_owned(),
        dry_run: false,
        summary: String::new(),
        action: None,
    };
    Some(match record {
        Record::Action(action) => Step {
            stage: Some(words::stage(action.stage)),
            episode: Some(words::short(&action.episode)),
            service: action.service.as_deref().map(words::short),
            dry_run: action.dry_run,
            summary: words::short(&action.summary),
            action: Some(Box::new(action.clone())),
            ..empty
        },
        Record::Restart(command) => Step {
            what: "restart",
            episode: command.episode.as_deref().map(words::short),
            service: Some(command.service.clone()),
            actor: words::short(&command.actor),
            summary: words::short(&command.reason),
            ..empty
        },
        Record::Restarted(done) => Step {
            what: "restarted",
            stage: Some(words::restart(done.outcome)),
            episode: done.episode.as_deref().map(words::short),
            service: Some(done.service.clone()),
            actor: "supervisor".to_owned(),
            summary: done
                .detail
                .as_deref()
                .map(words::short)
                .unwrap_or_else(|| format!("{} in {} ms", words::restart(done.outcome), done.took_ms)),
            ..empty
        },
        Record::Rollback(command) => Step {
            what: "rollback",
            episode: Some(words::short(&command.episode)),
            actor: words::short(&command.actor),
            summary: words::short(&command.reason),
            ..empty
        },
        _ => return None,
    })
}
