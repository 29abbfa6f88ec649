//! Every try of every call, published for the guardrail: a bounded queue between the clients and the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use spark_bus_schema::telemetry::Call;
use spark_bus_schema::{Message as _, subject};
use spark_exchanges::{CallReport, Observer};
use spark_nats::bus::Meta;
use spark_nats::{Bus, Service};
use tokio::sync::mpsc;

/// Calls that may wait while the broker is away. Then new ones are dropped and counted.
const QUEUE_CALLS: usize = 4_096;

/// Where calls are put.
#[derive(Clone, Debug)]
pub(crate) struct CallQueue {
    service: &'static str,
    sender: mpsc::Sender<Call>,
    dropped: Arc<AtomicU64>,
}

impl CallQueue {
    /// The queue and its end.
    pub fn new(service: &Service) -> (Self, mpsc::Receiver<Call>) {
        let (sender, receiver) = mpsc::channel(QUEUE_CALLS);
        let dropped = service.status.counter("spark_executor_calls_dropped_total");
        (Self { service: service.name, sender, dropped }, receiver)
    }

    /// What a client calls after every try. Never waits: an order must not be slowed down by its telemetry.
    pub fn observer(&self) -> Observer {
        let queue = self.clone();
        Arc::new(move |report: &CallReport| {
            if queue.sender.try_send(report.told_by(queue.service)).is_err() {
                queue.dropped.fetch_add(1, Ordering::Relaxed);
            }
        })
    }
}

/// Publishes until every sender is gone.
pub(crate) async fn publish(bus: Bus, mut calls: mpsc::Receiver<Call>) {
    while let Some(call) = calls.recv().await {
        if let Err(problem) = call.validate() {
            tracing::error!(problem, "a call report that nobody could read was left out");
            continue;
        }
        let target = subject::calls(call.exchange);
        if let Err(error) = bus.publish(&target, &call, Meta::default()).await {
            tracing::warn!(%error, subject = target, "telemetry was not stored");
        }
    }
}
