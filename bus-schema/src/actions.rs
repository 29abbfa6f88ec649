//! What the guardrail does about criticals: restarts, rollbacks, and the story of both with its evidence.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::alerts::Severity;
use crate::codec::{Kind, Message};
use crate::control::reasoned;
use crate::risk::Limits;
use crate::time::Timestamp;

/// Alerts that one message names as its reason; more are counted only.
pub const EVIDENCE_MAX: usize = 64;

/// An alert that was a reason to act.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// The alert's name.
    pub alert: String,
    /// Where.
    pub scope: BTreeMap<String, String>,
    /// How bad.
    pub severity: Severity,
    /// The value when this was written; none on no data.
    pub value: Option<f64>,
    /// The threshold that it was held against.
    pub threshold: Option<f64>,
    /// Unit of both.
    pub unit: String,
    /// Since when it fires as a critical.
    pub since: Timestamp,
    /// The alert's revision, to find the message `alerts.changed.<name>.<scope>` that said so.
    pub revision: u64,
}

/// One process shall be stopped and started again. Subject `control.restart.<service>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RestartCommand {
    /// The process.
    pub service: String,
    /// The guardrail's episode; none from a person.
    pub episode: Option<String>,
    /// 1 for the first restart of this process in the episode.
    pub attempt: u32,
    /// Who asked.
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// What the guardrail saw.
    pub evidence: Vec<Evidence>,
    /// When.
    pub at: Timestamp,
}

impl Message for RestartCommand {
    const KIND: Kind = Kind { name: "restart_command", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        service_name(&self.service)?;
        reasoned(&self.actor, &self.reason)
    }
}

/// What became of a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestartOutcome {
    /// It stopped and runs again.
    Restarted,
    /// Nothing was done: there is no such process here, or it was restarted a moment ago.
    Refused,
    /// It stopped and did not come back in time.
    Failed,
}

/// Why a restart was refused, where whoever asked goes on differently for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestartRefusal {
    /// It is being restarted already, or was started again a moment ago: what was asked for has just been done.
    JustRestarted,
}

/// The supervisor's answer to a [`RestartCommand`]. Subject `control.restarted.<service>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestartDone {
    /// The process.
    pub service: String,
    /// The command's sequence in LEDGER.
    pub command: u64,
    /// The command's episode.
    pub episode: Option<String>,
    /// What became of it.
    pub outcome: RestartOutcome,
    /// Why it was refused or failed.
    pub detail: Option<String>,
    /// The new run's process id.
    pub pid: Option<u32>,
    /// From the command's arrival to the new run's start, ms.
    pub took_ms: u64,
    /// When.
    pub at: Timestamp,
    /// Why it was refused, as a word; `detail` says it to people. Messages of older builds have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RestartRefusal>,
}

impl Message for RestartDone {
    const KIND: Kind = Kind { name: "restart_done", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        service_name(&self.service)
    }
}

/// One part of a rollback. Each is carried out by a command of its own, which names the rollback as its cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RollbackStep {
    /// These strategies are stopped.
    FeaturesOff {
        /// Their names.
        strategies: Vec<String>,
    },
    /// The rollout goes back to its last good stage.
    RolloutBack,
    /// The limits that were in force when everything was last well are in force again.
    ConfigurationBack {
        /// The LEDGER sequence of the command that set them; none when they came with the ledger's beginning.
        revision: Option<u64>,
        /// All of them.
        limits: Box<Limits>,
    },
    /// Nothing new is sent.
    KillSwitch {
        /// Open orders are cancelled too.
        cancel_open: bool,
    },
}

/// Back to what was known to be good. Subject `control.rollback`; one an episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RollbackCommand {
    /// The episode of the criticals that led to it.
    pub episode: String,
    /// What is done, in order.
    pub steps: Vec<RollbackStep>,
    /// Who.
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// What the guardrail saw.
    pub evidence: Vec<Evidence>,
    /// When.
    pub at: Timestamp,
}

impl Message for RollbackCommand {
    const KIND: Kind = Kind { name: "rollback_command", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        if self.episode.is_empty() {
            return Err("episode: empty".to_owned());
        }
        reasoned(&self.actor, &self.reason)
    }
}

/// How far an episode has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionStage {
    /// The first critical fires.
    Began,
    /// A restart was asked for.
    RestartAsked,
    /// The criticals that it was for are gone.
    RestartHelped,
    /// They are not, or the process did not come back.
    RestartFailed,
    /// A rollback was asked for.
    RollbackAsked,
    /// Everything that it changed was seen to be changed, and every process is heard of.
    RollbackVerified,
    /// Something of that is missing; `checks` says what.
    RollbackUnverified,
    /// No critical fires any more.
    Ended,
}

/// One thing that was looked at, and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthCheck {
    /// What was looked at.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

/// One step of an episode of criticals. Subject `alerts.action.<episode>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    /// The episode: from the first critical until none is left.
    pub episode: String,
    /// Rises by one with each step of the episode; starts at 1.
    pub revision: u64,
    /// What happened.
    pub stage: ActionStage,
    /// Only told: nothing was asked of anybody.
    pub dry_run: bool,
    /// The process that it is about.
    pub service: Option<String>,
    /// One sentence.
    pub summary: String,
    /// The criticals of this moment, [`EVIDENCE_MAX`] at most.
    pub evidence: Vec<Evidence>,
    /// What was looked at afterwards.
    pub checks: Vec<HealthCheck>,
    /// When.
    pub at: Timestamp,
}

impl Message for Action {
    const KIND: Kind = Kind { name: "action", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        if self.episode.is_empty() {
            return Err("episode: empty".to_owned());
        }
        if self.revision == 0 {
            return Err("revision: starts at 1".to_owned());
        }
        Ok(())
    }
}

/// One threshold that shall be another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThresholdChange {
    /// The rule's id.
    pub rule: String,
    /// Only in this scope, e.g. `{"exchange": "binance"}`; empty: in every scope that has none of its own.
    pub scope: BTreeMap<String, String>,
    /// Warning threshold; none leaves it.
    pub warning: Option<f64>,
    /// Critical threshold; none leaves it.
    pub critical: Option<f64>,
}

/// Changes thresholds of the guardrail at run time. Of each rule and scope the latest decides. Subject `control.thresholds`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThresholdsCommand {
    /// The changes; they are taken all or none.
    pub changes: Vec<ThresholdChange>,
    /// Everything that earlier commands changed is taken back first.
    pub reset: bool,
    /// Who.
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Message for ThresholdsCommand {
    const KIND: Kind = Kind { name: "thresholds_command", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        if self.changes.is_empty() && !self.reset {
            return Err("changes: empty; name at least one rule, or reset".to_owned());
        }
        for change in &self.changes {
            for (field, value) in [("warning", change.warning), ("critical", change.critical)] {
                if value.is_some_and(|value| !value.is_finite() || value < 0.0) {
                    return Err(format!("changes.{:.64}.{field}: not a number from 0", change.rule));
                }
            }
        }
        reasoned(&self.actor, &self.reason)
    }
}

fn service_name(service: &str) -> Result<(), String> {
    let plain = !service.is_empty() && service.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    if plain { Ok(()) } else { Err(format!("service: {service:.64?} is not a process name")) }
}
