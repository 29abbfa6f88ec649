//! What the process shows of itself: its state, metrics, and how far a long comparison is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spark_bus_schema::telemetry::ProcessState;
use spark_nats::Status;
use tokio::time::Instant;

use crate::store::Head;

/// A comparison that takes longer than this shows how far it is.
const PROGRESS_AFTER: Duration = Duration::from_secs(2);

/// What the process shows of itself.
#[derive(Clone)]
pub struct Shown {
    status: Status,
    entries: Arc<AtomicU64>,
    head: Arc<AtomicU64>,
    damage: Arc<AtomicU64>,
}

impl Shown {
    /// Over a process's status.
    #[must_use]
    pub fn new(status: &Status) -> Self {
        Self {
            entries: status.counter("spark_audit_entries_total"),
            head: status.counter("spark_audit_head_sequence"),
            damage: status.counter("spark_audit_damage"),
            status: status.clone(),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus gauges are floats")]
    pub(crate) fn head(&self, head: &Head) {
        self.entries.store(head.position, Ordering::Relaxed);
        self.head.store(head.sequence, Ordering::Relaxed);
        metrics::counter!("spark_audit_entries_total").absolute(head.position);
        metrics::gauge!("spark_audit_head_sequence").set(head.sequence as f64);
    }

    pub(crate) fn damage(&self, is_damaged: bool) {
        self.damage.store(u64::from(is_damaged), Ordering::Relaxed);
        metrics::gauge!("spark_audit_damage").set(if is_damaged { 1.0 } else { 0.0 });
    }

    pub(crate) fn set(&self, state: ProcessState, detail: Option<String>) {
        self.status.set(state, detail);
    }

    /// Shows what is in the way; a finding stays in sight.
    pub(crate) fn trouble(&self, state: ProcessState, detail: String) {
        if self.damage.load(Ordering::Relaxed) == 0 {
            self.set(state, Some(detail));
        }
    }
}

/// Says how far a long comparison is.
pub(crate) struct Progress {
    begun: Instant,
    shown: Option<Instant>,
    total: u64,
    passed: u64,
}

impl Progress {
    pub(crate) fn new(total: u64) -> Self {
        Self { begun: Instant::now(), shown: None, total, passed: 0 }
    }

    pub(crate) fn passed(&mut self, messages: usize, shown: &Shown) {
        self.passed += u64::try_from(messages).unwrap_or(u64::MAX);
        let since = self.shown.unwrap_or(self.begun);
        if since.elapsed() < PROGRESS_AFTER {
            return;
        }
        self.shown = Some(Instant::now());
        let text = format!("comparing the LEDGER with its chain: {} of {} messages", self.passed, self.total);
        tracing::info!("{text}");
        shown.trouble(ProcessState::Starting, text);
    }
}
