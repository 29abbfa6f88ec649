//! Enums of the bus as they are written in messages, for labels and lines.

use spark_alerting::Labels;
use spark_bus_schema::actions::{ActionStage, RestartOutcome};
use spark_bus_schema::backtests::JobState;
use spark_bus_schema::notify::{DeliveryOutcome, NotifyReason};
use spark_bus_schema::rollout::{GateState, Phase, RolloutVerb};

/// Characters of a text that came with a message and is held.
pub const TEXT_CHARS_MAX: usize = 1_000;
/// Labels of a group that are held.
pub const LABELS_MAX: usize = 32;

/// The beginning of a text.
#[must_use]
pub fn short(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// The first labels, as far as they are short.
#[must_use]
pub fn short_labels(labels: &Labels) -> Labels {
    labels.iter().take(LABELS_MAX).map(|(name, value)| (short(name), short(value))).collect()
}

/// Every stage of an episode, in order.
pub const STAGES: [ActionStage; 8] = [
    ActionStage::Began,
    ActionStage::RestartAsked,
    ActionStage::RestartHelped,
    ActionStage::RestartFailed,
    ActionStage::RollbackAsked,
    ActionStage::RollbackVerified,
    ActionStage::RollbackUnverified,
    ActionStage::Ended,
];
/// Everything that can become of a notification.
pub const OUTCOMES: [DeliveryOutcome; 3] = [DeliveryOutcome::Delivered, DeliveryOutcome::Retrying, DeliveryOutcome::Parked];

/// `began` …
#[must_use]
pub const fn stage(stage: ActionStage) -> &'static str {
    spark_alerting::labels::stage_name(stage)
}

/// `delivered`, `retrying`, `parked`.
#[must_use]
pub const fn outcome(outcome: DeliveryOutcome) -> &'static str {
    match outcome {
        DeliveryOutcome::Delivered => "delivered",
        DeliveryOutcome::Retrying => "retrying",
        DeliveryOutcome::Parked => "parked",
    }
}

/// `new` …
#[must_use]
pub const fn reason(reason: NotifyReason) -> &'static str {
    match reason {
        NotifyReason::New => "new",
        NotifyReason::Changed => "changed",
        NotifyReason::Repeat => "repeat",
        NotifyReason::Resolved => "resolved",
    }
}

/// `restarted`, `refused`, `failed`.
#[must_use]
pub const fn restart(outcome: RestartOutcome) -> &'static str {
    match outcome {
        RestartOutcome::Restarted => "restarted",
        RestartOutcome::Refused => "refused",
        RestartOutcome::Failed => "failed",
    }
}

/// `start` …
#[must_use]
pub const fn verb(verb: RolloutVerb) -> &'static str {
    match verb {
        RolloutVerb::Start => "start",
        RolloutVerb::Promote => "promote",
        RolloutVerb::Pause => "pause",
        RolloutVerb::Resume => "resume",
        RolloutVerb::Abort => "abort",
    }
}

/// `idle` …
#[must_use]
pub const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Running => "running",
        Phase::Paused => "paused",
        Phase::Promoted => "promoted",
        Phase::RolledBack => "rolled_back",
    }
}

/// `passed` …
#[must_use]
pub const fn gate(state: GateState) -> &'static str {
    match state {
        GateState::Passed => "passed",
        GateState::Inconclusive => "inconclusive",
        GateState::Failed => "failed",
    }
}

/// `queued` …
#[must_use]
pub const fn job(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Done => "done",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    }
}
