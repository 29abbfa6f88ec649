//! Which processes are there, by the age of their heartbeats.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::Timestamp;
use spark_bus_schema::telemetry::{Heartbeat, ProcessState};

/// Processes held.
pub const PROCESSES_MAX: usize = 64;
/// Counters taken from one process's heartbeats.
pub const COUNTERS_MAX: usize = 64;
/// A heartbeat older than this is late, ms. They come once a second.
pub const LATE_MS: i64 = 3_000;
/// A heartbeat older than this belongs to a process that is down, ms.
pub const DOWN_MS: i64 = 10_000;

/// Whether a process is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Heard of within [`LATE_MS`].
    Up,
    /// Heard of within [`DOWN_MS`].
    Late,
    /// Not heard of for longer, or said goodbye.
    Down,
    /// Expected and never heard of.
    Missing,
    /// The broker is away, so nothing can be heard.
    Unknown,
}

/// Heartbeats by process.
#[derive(Default)]
pub struct Processes {
    rows: BTreeMap<String, Process>,
}

struct Process {
    beat: Heartbeat,
    stored_at: Timestamp,
    restarts: u64,
}

impl Processes {
    /// Takes in a heartbeat; false when there is no room for another process.
    ///
    /// A new pid counts as a restart only when the old one was heard of after `view_started_at`: what ran yesterday was
    /// another run of the whole system.
    pub fn apply(&mut self, at: Timestamp, view_started_at: Timestamp, mut beat: Heartbeat) -> bool {
        while beat.counters.len() > COUNTERS_MAX {
            beat.counters.pop_last();
        }
        if let Some(held) = self.rows.get_mut(&beat.service) {
            let new_run = (held.beat.pid, held.beat.started_at) != (beat.pid, beat.started_at);
            if new_run && held.stored_at >= view_started_at {
                held.restarts += 1;
            }
            held.beat = beat;
            held.stored_at = at;
            return true;
        }
        if self.rows.len() >= PROCESSES_MAX {
            return false;
        }
        self.rows.insert(beat.service.clone(), Process { beat, stored_at: at, restarts: 0 });
        true
    }

    /// Whether a heartbeat says anything else than the last one, its time and its counters left out.
    #[must_use]
    pub fn is_news(&self, beat: &Heartbeat) -> bool {
        self.rows.get(&beat.service).is_none_or(|Process { beat: held, .. }| {
            (held.pid, held.started_at, held.state, held.resident_bytes)
                != (beat.pid, beat.started_at, beat.state, beat.resident_bytes)
                || (&held.detail, &held.version) != (&beat.detail, &beat.version)
        })
    }

    /// Newest heartbeats.
    pub fn beats(&self) -> impl Iterator<Item = &Heartbeat> {
        self.rows.values().map(|process| &process.beat)
    }

    /// A row per known or expected process: the expected ones first, in their order.
    #[must_use]
    pub fn rows(&self, now: Timestamp, connected: bool, expected: &[String]) -> Vec<ProcessRow> {
        let others = self.rows.keys().filter(|name| !expected.contains(name));
        expected.iter().chain(others).map(|name| self.row(name, now, connected, expected.contains(name))).collect()
    }

    fn row(&self, name: &str, now: Timestamp, connected: bool, expected: bool) -> ProcessRow {
        let Some(process) = self.rows.get(name) else {
            return ProcessRow {
                name: name.to_owned(),
                expected,
                presence: if connected { Presence::Missing } else { Presence::Unknown },
                state: None,
                detail: None,
                pid: None,
                version: None,
                started_at: None,
                age_ms: None,
                resident_bytes: None,
                restarts: 0,
            };
        };
        let age_ms = now.since_ms(process.stored_at).max(0);
        let presence = if process.beat.state == ProcessState::Stopping {
            Presence::Down
        } else if age_ms <= LATE_MS {
            Presence::Up
        } else if !connected {
            Presence::Unknown
        } else if age_ms <= DOWN_MS {
            Presence::Late
        } else {
            Presence::Down
        };
        ProcessRow {
            name: name.to_owned(),
            expected,
            presence,
            state: Some(process.beat.state),
            detail: process.beat.detail.clone(),
            pid: Some(process.beat.pid),
            version: Some(process.beat.version.clone()),
            started_at: Some(process.beat.started_at.to_string()),
            age_ms: Some(age_ms),
            resident_bytes: Some(process.beat.resident_bytes).filter(|&bytes| bytes > 0),
            restarts: process.restarts,
        }
    }
}

/// One process; null where unknown.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ProcessRow {
    /// Its name.
    pub name: String,
    /// Whether it must be up.
    pub expected: bool,
    /// Whether it is there.
    pub presence: Presence,
    /// What it said of itself last.
    pub state: Option<ProcessState>,
    /// Why it is not simply running.
    pub detail: Option<String>,
    /// Its process id.
    pub pid: Option<u32>,
    /// Its version.
    pub version: Option<String>,
    /// When this run began, RFC 3339.
    pub started_at: Option<String>,
    /// Age of its last heartbeat, ms.
    pub age_ms: Option<i64>,
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// New runs seen since the gateway started.
    pub restarts: u64,
}
