//! What the process counts about itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use spark_nats::{Delivery, Service, now};

use crate::event::Unreadable;
use crate::machine::Act;

/// Totals that travel in heartbeats, beside the metrics of the process.
pub struct Telemetry {
    scores: Arc<AtomicU64>,
    advisory: Arc<AtomicU64>,
    unreadable: Arc<AtomicU64>,
}

impl Telemetry {
    /// Of one process.
    #[must_use]
    pub fn new(service: &Service) -> Self {
        let counter = |name| service.status.counter(name);
        Self {
            scores: counter("spark_signal_scores_total"),
            advisory: counter("spark_signal_advisory_total"),
            unreadable: counter("spark_signal_unreadable_total"),
        }
    }

    /// Something was stored that somebody waits for.
    pub fn stored(&self, act: &Act) {
        match act {
            Act::Score(score) => {
                self.scores.fetch_add(1, Ordering::Relaxed);
                self.advisory.fetch_add(u64::from(score.advisory), Ordering::Relaxed);
                let (timeframe, advisory) = (score.timeframe.as_str(), if score.advisory { "true" } else { "false" });
                metrics::counter!("spark_signal_scores_total", "timeframe" => timeframe, "advisory" => advisory).increment(1);
                metrics::histogram!("spark_signal_latency_seconds")
                    .record(now().saturating_since(score.decided_at).as_secs_f64());
                if let Some(confid) = score.confid {
                    metrics::gauge!("spark_signal_confidence", "timeframe" => timeframe).set(confid);
                }
            }
            Act::Intent(_) => metrics::counter!("spark_signal_intents_total").increment(1),
            Act::Answer(_) => metrics::counter!("spark_signal_answers_total").increment(1),
            Act::Outcome(_) | Act::Calibration(..) => {}
        }
    }

    /// A message is not what its subject carries.
    pub fn unreadable(&self, delivery: &Delivery, unreadable: &Unreadable) {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("spark_signal_unreadable_total", "reason" => unreadable.reason).increment(1);
        tracing::warn!(
            stream = delivery.stream,
            sequence = delivery.sequence,
            subject = delivery.subject,
            reason = unreadable.reason,
            "skipped"
        );
    }
}
