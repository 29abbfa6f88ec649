//! What survives a restart of the guardrail.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;
use spark_bus_schema::actions::RollbackStep;
use spark_bus_schema::risk::Limits;
use spark_bus_schema::rollout::{CounterMoveKind, Phase, Stage};

use super::moves::Standing;

/// Strategies that are remembered; further ones are not switched off by a rollback.
pub const STRATEGIES_MAX: usize = 256;
/// Processes that are remembered.
const SERVICES_MAX: usize = 256;
/// A process that was silent for so long belongs to the past.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(86_400);

/// All of it. New fields go to the end, each with a default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Episodes begun, ever: the number of the last one.
    pub(super) episodes: u64,
    /// The one that is open.
    pub(super) episode: Option<Episode>,
    /// Restarts that were asked for, ever, by process: the revision of the last command.
    pub(super) restarts: BTreeMap<String, u64>,
    /// Rollbacks that were asked for, ever: the revision of the last command.
    pub(super) rollbacks: u64,
    /// Firing criticals, and since when.
    pub(super) criticals: BTreeMap<String, Timestamp>,
    /// Restarts under way, by process.
    pub(super) flights: BTreeMap<String, Flight>,
    /// When restarts were asked for within the last hour, by process, by anybody.
    pub(super) asked: BTreeMap<String, Vec<Timestamp>>,
    /// Since when no critical fires.
    pub(super) well_since: Option<Timestamp>,
    /// Limits in force.
    pub(super) limits: Option<InForce>,
    /// Limits that were in force while everything was well.
    pub(super) good: Option<InForce>,
    /// What was last said about the kill switch.
    pub(super) kill_switch: bool,
    /// Every strategy heard of.
    pub(super) strategies: BTreeMap<String, Strategy>,
    /// When each process was last heard of.
    pub(super) heard: BTreeMap<String, Timestamp>,
    /// Counter-moves, by kind.
    #[serde(default)]
    pub(super) moves: BTreeMap<CounterMoveKind, Standing>,
    /// The rollout, as far as one was heard of.
    #[serde(default)]
    pub(super) rollout: Option<Rollout>,
}

/// Where the rollout was last said to stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// What happens in its stage.
    pub phase: Phase,
    /// How far it is.
    pub stage: Stage,
    /// When that was said.
    pub at: Timestamp,
}

/// From the first critical until none has fired for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// From 1.
    pub number: u64,
    /// Of the last step told.
    pub revision: u64,
    /// When it began.
    pub began_at: Timestamp,
    /// Restarts in it, by process.
    pub attempts: BTreeMap<String, u32>,
    /// Since when nothing is critical.
    pub calm_since: Option<Timestamp>,
    /// Enough criticals at once, without a break until now.
    pub stretch: Option<Stretch>,
    /// At most one.
    pub rollback: Option<Done>,
}

impl Episode {
    /// The `number`th one.
    pub const fn new(number: u64, at: Timestamp) -> Self {
        Self { number, revision: 0, began_at: at, attempts: BTreeMap::new(), calm_since: None, stretch: None, rollback: None }
    }

    /// Its name on the bus.
    pub fn id(&self) -> String {
        format!("{PREFIX}{}", self.number)
    }
}

const PREFIX: &str = "episode-";

/// The number in an episode's name.
pub fn number_of(episode: &str) -> Option<u64> {
    episode.strip_prefix(PREFIX)?.parse().ok()
}

/// As many criticals at once as the rollback rule wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Since when.
    pub since: Timestamp,
    /// When, within it, a restart of the rule's process was asked for.
    pub tried_at: Option<Timestamp>,
}

/// A restart under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flight {
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When it is judged.
    pub until: Timestamp,
    /// Asked for by the rollback rule.
    pub is_last_resort: bool,
    /// Asked for before a crash: what exactly it was for is not known.
    pub is_adopted: bool,
    /// The criticals that it is for.
    pub reasons: Vec<String>,
    /// The command's sequence in LEDGER, once it was seen there.
    pub command: Option<u64>,
    /// The supervisor says that the process runs again.
    pub is_answered: bool,
    /// The supervisor says that it does not, and why.
    pub failed: Option<String>,
    /// Without such an answer: why the process counts as restarted all the same.
    #[serde(default)]
    pub found: Option<Found>,
}

/// How a restart is known of that the supervisor did not make for this command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// A run that began after the command was heard of.
    ByHeartbeat,
    /// It was refused because somebody restarted the process just before.
    JustBefore,
}

/// The episode's rollback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When it is judged at the latest.
    pub until: Timestamp,
    /// What it does.
    pub steps: Vec<RollbackStep>,
    /// Its commands were given: it was seen in the LEDGER.
    pub is_carried_out: bool,
    /// Its outcome was told.
    pub is_judged: bool,
}

/// Limits and where they come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// The command's sequence in LEDGER.
    pub sequence: u64,
    /// Since when.
    pub since: Timestamp,
    /// All of them.
    pub limits: Limits,
}

/// A strategy that trades or may trade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strategy {
    /// Nobody stopped it.
    pub runs: bool,
    /// What it was told to trade.
    pub symbols: Vec<String>,
}

impl State {
    pub(super) fn heard(&mut self, at: Timestamp, service: &str, goes: bool) {
        if goes {
            self.heard.remove(service);
            return;
        }
        if let Some(last) = self.heard.get_mut(service) {
            *last = at;
            return;
        }
        self.heard.retain(|_, last| at.saturating_since(*last) < FORGOTTEN_AFTER);
        if self.heard.len() < SERVICES_MAX {
            self.heard.insert(service.to_owned(), at);
        }
    }

    pub(super) fn strategy(&mut self, name: &str) -> Option<&mut Strategy> {
        if !self.strategies.contains_key(name) {
            if self.strategies.len() >= STRATEGIES_MAX {
                return None;
            }
            self.strategies.insert(name.to_owned(), Strategy { runs: true, symbols: Vec::new() });
        }
        self.strategies.get_mut(name)
    }
}
