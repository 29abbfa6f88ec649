//! The newest things that were done: commands, verdicts, transitions, alerts, and the audit's own words.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use spark_bus_schema::audit::AuditAnchor;
use spark_bus_schema::{Timestamp, catalogue};

use crate::record::{Entry, Record};
use crate::view::saved::{Word, raw, word};
use crate::view::words;

/// Actions held.
pub const ACTIONS_MAX: usize = 2_000;
/// Bytes of their payloads held, in all.
pub const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Notable ones held besides: a stream of orders cannot push a command out.
pub const NOTABLE_MAX: usize = 200;
/// Anchors held.
pub const ANCHORS_MAX: usize = 512;

/// Every name of an action, in the spelling of the audit.
pub const NAMES: [&str; 32] = [
    "order.intent",
    "order.event",
    "order.reconciliation",
    "order.epoch",
    "risk.verdict",
    "risk.epoch",
    "control.kill_switch",
    "control.limits",
    "control.cancel",
    "control.strategy",
    "control.resume",
    "control.breaker",
    "alert",
    "audit.anchor",
    "audit.verified",
    "audit.damage",
    "alert.action",
    "alert.notification",
    "alert.delivery",
    "control.restart",
    "control.restarted",
    "control.rollback",
    "control.thresholds",
    "control.silence",
    "audit.smoke",
    "control.rollout",
    "rollout.changed",
    "rollout.epoch",
    "control.countermove",
    "control.registry",
    "control.job",
    "audit.backtest",
];

/// One thing that was done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Action {
    /// LEDGER sequence.
    pub sequence: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// What.
    #[serde(deserialize_with = "word::one")]
    pub action: Word,
    /// Who.
    pub actor: String,
    /// One line for people.
    pub summary: String,
    kind: String,
    #[serde(with = "raw")]
    payload: Bytes,
}

/// The newest actions, oldest first. A copy for a checkpoint shares them with it.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Actions {
    held: VecDeque<Arc<Action>>,
    notable: VecDeque<Arc<Action>>,
    bytes: usize,
    anchors: VecDeque<AuditAnchor>,
    /// Whether older ones have been dropped.
    dropped: bool,
}

impl Actions {
    /// Takes in a message of the ledger.
    pub fn apply(&mut self, at: Timestamp, entry: &Entry) {
        if self.held.back().is_some_and(|held| held.sequence >= entry.sequence) {
            return;
        }
        if let Record::Anchor(anchor) = &entry.record {
            if self.anchors.len() == ANCHORS_MAX {
                self.anchors.pop_front();
            }
            self.anchors.push_back(anchor.clone());
        }
        let (action, actor, summary) = describe(&entry.record);
        self.bytes += entry.payload.len();
        let (kind, payload) = (entry.kind.clone(), entry.payload.clone());
        let action = Arc::new(Action { sequence: entry.sequence, at, action, actor, summary, kind, payload });
        if is_notable(&entry.record) {
            if self.notable.len() == NOTABLE_MAX {
                self.notable.pop_front();
            }
            self.notable.push_back(Arc::clone(&action));
        }
        self.held.push_back(action);
        while self.held.len() > ACTIONS_MAX || self.bytes > BYTES_MAX {
            let Some(gone) = self.held.pop_front() else { break };
            self.bytes -= gone.payload.len();
            self.dropped = true;
        }
    }

    /// Newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Action> {
        self.held.iter().rev().map(Arc::as_ref)
    }

    /// Newest first: commands, alerts, halts, takeovers, what the audit found. Orders have a list of their own.
    pub fn notable(&self) -> impl Iterator<Item = &Action> {
        self.notable.iter().rev().map(Arc::as_ref)
    }

    /// Oldest first.
    pub fn oldest(&self) -> impl Iterator<Item = &Action> {
        self.held.iter().map(Arc::as_ref)
    }

    /// Whether nothing wanted has been dropped: nothing was, or the oldest one held lies before what is wanted.
    #[must_use]
    pub fn reach(&self, before: impl Fn(&Action) -> bool) -> bool {
        !self.dropped || self.held.front().is_some_and(|oldest| before(oldest))
    }

    /// The first anchor that covers a message.
    #[must_use]
    pub fn anchor(&self, sequence: u64) -> Option<&AuditAnchor> {
        self.anchors.iter().find(|anchor| anchor.sequence >= sequence)
    }
}

impl Action {
    /// The message as JSON.
    #[must_use]
    pub fn payload(&self) -> Value {
        catalogue::find(&self.kind).and_then(|entry| (entry.to_json)(&self.payload).ok()).unwrap_or(Value::Null)
    }

    /// SHA-256 of the message's bytes, hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(&self.payload))
    }

    /// For the page.
    #[must_use]
    pub fn row(&self) -> ActionRow<'_> {
        ActionRow {
            sequence: self.sequence,
            at_ms: self.at.as_millis(),
            action: self.action,
            actor: &self.actor,
            summary: &self.summary,
        }
    }
}

/// One line of the page.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionRow<'a> {
    sequence: u64,
    at_ms: i64,
    action: &'static str,
    actor: &'a str,
    summary: &'a str,
}

fn is_notable(record: &Record) -> bool {
    match record {
        Record::Intent(_) | Record::Verdict(_) | Record::Order(_) | Record::Anchor(_) => false,
        // They have lists of their own, and an outage makes many of them.
        Record::Notification(_) | Record::Delivery(_) => false,
        // Said once a minute too, when nothing has happened.
        Record::RolloutChanged(changed) => changed.command.is_some() || changed.actor != "rollout" || changed.held_ms == 0,
        Record::Reconciliation(compared) => compared.halted.is_some(),
        _ => true,
    }
}

fn describe(record: &Record) -> (&'static str, String, String) {
    match record {
        Record::Intent(intent) => {
            let side = side(intent.side);
            ("order.intent", intent.actor.clone(), format!("{} {side} {} {}", intent.strategy, intent.quantity, intent.symbol))
        }
        Record::Verdict(verdict) => ("risk.verdict", "risk".to_owned(), verdict.reason.clone()),
        Record::Order(event) => {
            let summary = format!("{} {} {}: {}", event.strategy, side(event.side), event.symbol, event.state());
            ("order.event", "executor".to_owned(), summary)
        }
        Record::KillSwitch(command) => {
            let also = if command.on && command.cancel_open { ", open orders cancelled" } else { "" };
            let summary = format!("{}{also}: {}", if command.on { "on" } else { "off" }, command.reason);
            ("control.kill_switch", command.actor.clone(), summary)
        }
        Record::Limits(command) => ("control.limits", command.actor.clone(), command.reason.clone()),
        Record::Cancel(command) => ("control.cancel", command.actor.clone(), format!("{}: {}", command.order, command.reason)),
        Record::Strategy(command) => {
            let verb = if command.run { "start" } else { "stop" };
            ("control.strategy", command.actor.clone(), format!("{verb} {}: {}", command.strategy, command.reason))
        }
        Record::Resume(command) => {
            ("control.resume", command.actor.clone(), format!("{}: {}", super::scope_name(&command.scope), command.reason))
        }
        Record::Breaker(command) => {
            let summary = format!("{} {:?}: {}", command.exchange, command.mode, command.reason);
            ("control.breaker", command.actor.clone(), summary.to_lowercase())
        }
        Record::Reconciliation(compared) => {
            let summary = compared.halted.as_ref().map_or_else(
                || format!("{} agrees ({})", compared.exchange, compared.occasion),
                |why| format!("{} halted: {why}", compared.exchange),
            );
            ("order.reconciliation", "executor".to_owned(), summary)
        }
        Record::Epoch(epoch) => {
            let action = match epoch.process.as_str() {
                "risk" => "risk.epoch",
                "rollout" => "rollout.epoch",
                _ => "order.epoch",
            };
            (action, epoch.process.clone(), format!("{} took over", epoch.holder))
        }
        Record::Alert(alert) => ("alert", "guardrail".to_owned(), format!("{} {:?}", alert.name, alert.state)),
        Record::Anchor(anchor) => ("audit.anchor", "auditor".to_owned(), format!("through {}", anchor.sequence)),
        Record::Verified(verified) => ("audit.verified", "auditor".to_owned(), format!("through {}", verified.through)),
        Record::Damage(damage) => {
            ("audit.damage", "auditor".to_owned(), format!("{} at {}: {}", damage.kind, damage.first_bad_sequence, damage.detail))
        }
        Record::Action(_)
        | Record::Notification(_)
        | Record::Delivery(_)
        | Record::Restart(_)
        | Record::Restarted(_)
        | Record::Rollback(_)
        | Record::Thresholds(_)
        | Record::Silence(_)
        | Record::Smoke(_) => describe_guarding(record),
        Record::Rollout(_)
        | Record::RolloutChanged(_)
        | Record::CounterMove(_)
        | Record::Registered(_)
        | Record::JobCancel(_)
        | Record::BacktestDone(_) => describe_models(record),
    }
}

/// What is done about models, strategies and backtests.
fn describe_models(record: &Record) -> (&'static str, String, String) {
    match record {
        Record::Rollout(command) => {
            let summary = format!("{}: {}", words::verb(command.verb), command.reason);
            ("control.rollout", command.actor.clone(), summary)
        }
        Record::RolloutChanged(changed) => {
            let summary = match &changed.refusal {
                Some(why) => format!("refused: {why}"),
                None => format!("{} {}: {}", changed.stage, words::phase(changed.phase), changed.summary),
            };
            ("rollout.changed", changed.actor.clone(), summary)
        }
        Record::CounterMove(command) => {
            let word = if command.on { "on" } else { "taken back" };
            ("control.countermove", command.actor.clone(), format!("{} {word}: {}", command.kind.as_str(), command.reason))
        }
        Record::Registered(strategy) => {
            ("control.registry", strategy.actor.clone(), format!("{} {}: {}", strategy.name, strategy.status, strategy.reason))
        }
        Record::JobCancel(command) => {
            ("control.job", command.actor.clone(), format!("{} cancelled: {}", command.id, command.reason))
        }
        Record::BacktestDone(done) => {
            let why = done.error.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            ("audit.backtest", "backtest".to_owned(), format!("{} {}{why}", done.id, words::job(done.state)))
        }
        // The caller has described everything else.
        _ => ("other", String::new(), String::new()),
    }
}

/// What is done about alerts, and who is told.
fn describe_guarding(record: &Record) -> (&'static str, String, String) {
    match record {
        Record::Action(action) => ("alert.action", "guardrail".to_owned(), action.summary.clone()),
        Record::Notification(told) => {
            let summary = format!("{}: {} alerts ({})", told.receiver, told.alerts.len(), words::reason(told.reason));
            ("alert.notification", "notifier".to_owned(), summary)
        }
        Record::Delivery(told) => {
            let why = told.detail.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            ("alert.delivery", "notifier".to_owned(), format!("{} {}{why}", told.receiver, words::outcome(told.outcome)))
        }
        Record::Restart(command) => {
            ("control.restart", command.actor.clone(), format!("{}: {}", command.service, command.reason))
        }
        Record::Restarted(done) => {
            let why = done.detail.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            ("control.restarted", "supervisor".to_owned(), format!("{} {}{why}", done.service, words::restart(done.outcome)))
        }
        Record::Rollback(command) => ("control.rollback", command.actor.clone(), command.reason.clone()),
        Record::Thresholds(command) => ("control.thresholds", command.actor.clone(), command.reason.clone()),
        Record::Silence(silence) => ("control.silence", silence.created_by.clone(), silence.comment.clone()),
        Record::Smoke(smoke) => {
            let word = if smoke.pass { "passed" } else { "failed" };
            ("audit.smoke", smoke.actor.clone(), format!("{word}: {} of {} are good", smoke.passed, smoke.checks.len()))
        }
        // The caller has described everything else.
        _ => ("other", String::new(), String::new()),
    }
}

fn side(side: spark_bus_schema::market::Side) -> &'static str {
    match side {
        spark_bus_schema::market::Side::Buy => "buy",
        spark_bus_schema::market::Side::Sell => "sell",
    }
}
