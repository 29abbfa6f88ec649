//! Which receivers are away, for the heartbeat.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use spark_bus_schema::telemetry::ProcessState;
use spark_nats::Status;

/// Which receivers are away.
pub struct Health {
    status: Status,
    away: Mutex<BTreeMap<String, String>>,
}

impl Health {
    /// All are there.
    #[must_use]
    pub fn new(status: Status) -> Self {
        Self { status, away: Mutex::default() }
    }

    /// How one of them is; logged when that changes.
    pub fn set(&self, receiver: &str, trouble: Option<String>) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = match trouble {
            Some(trouble) => {
                let before = away.insert(receiver.to_owned(), trouble.clone());
                if before.is_none() {
                    tracing::warn!(receiver, trouble, "does not take notifications; trying again");
                }
                before.as_ref() != Some(&trouble)
            }
            None => {
                let before = away.remove(receiver);
                if before.is_some() {
                    tracing::info!(receiver, "takes notifications again");
                }
                before.is_some()
            }
        };
        if !changed {
            return;
        }
        if away.is_empty() {
            self.status.set(ProcessState::Running, None);
        } else {
            let all: Vec<String> = away.iter().map(|(receiver, trouble)| format!("{receiver} ({trouble})")).collect();
            self.status.set(ProcessState::Degraded, Some(format!("not taking notifications: {}", all.join(", "))));
        }
    }
}
