//! Every try of every call, published for the guardrail: a bounded queue between the clients and the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spark_bus_schema::telemetry::Call;
use spark_bus_schema::{Message as _, subject};
use spark_exchanges::{CallReport, Observer};
use spark_nats::bus::Meta;
use spark_nats::{PublishError, Service};
use tokio::sync::mpsc;

use crate::Error;

/// Calls that may wait while the broker is away: some minutes' worth. Then new ones are dropped and counted.
const QUEUE_CALLS: usize = 4_096;
/// What is queued when the process is told to stop gets this long to leave.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// Where calls are put.
#[derive(Clone, Debug)]
pub struct CallQueue {
    service: &'static str,
    sender: mpsc::Sender<Call>,
    published_or_queued: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
}

/// The queue and its end.
#[must_use]
pub fn channel(service: &Service) -> (CallQueue, mpsc::Receiver<Call>) {
    let (sender, receiver) = mpsc::channel(QUEUE_CALLS);
    let queue = CallQueue {
        service: service.name,
        sender,
        published_or_queued: service.status.counter("spark_portfolio_calls_total"),
        dropped: service.status.counter("spark_portfolio_calls_dropped_total"),
    };
    (queue, receiver)
}

impl CallQueue {
    /// Never waits: a client must not be slowed down by its telemetry.
    pub fn put(&self, call: Call) {
        match self.sender.try_send(call) {
            Ok(()) => _ = self.published_or_queued.fetch_add(1, Ordering::Relaxed),
            Err(_) => {
                if self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!("telemetry queue is full; calls are dropped and counted");
                }
            }
        }
    }

    /// What a client calls after every try; also counts the tries in `tries`.
    #[must_use]
    pub fn observer(&self, tries: Arc<AtomicU64>) -> Observer {
        let queue = self.clone();
        Arc::new(move |report: &CallReport| {
            tries.fetch_add(1, Ordering::Relaxed);
            queue.put(report.told_by(queue.service));
        })
    }
}

/// Publishes until the service is told to stop, then what is left, for a moment.
pub(crate) async fn publish(service: Arc<Service>, mut calls: mpsc::Receiver<Call>) -> Result<(), Error> {
    loop {
        let call = tokio::select! {
            () = service.shutdown.cancelled() => break,
            call = calls.recv() => call,
        };
        let Some(call) = call else { return Ok(()) };
        tokio::select! {
            () = service.shutdown.cancelled() => break,
            stored = send(&service, &call) => stored?,
        }
    }
    let flush = async {
        while let Ok(call) = calls.try_recv() {
            send(&service, &call).await?;
        }
        Ok(())
    };
    // The broker may be gone too; telemetry is not worth waiting for then.
    tokio::time::timeout(FLUSH_TIME, flush).await.unwrap_or(Ok(()))
}

async fn send(service: &Service, call: &Call) -> Result<(), Error> {
    if let Err(problem) = call.validate() {
        tracing::error!(problem, "a call report that nobody could read was left out");
        return Ok(());
    }
    let target = subject::calls(call.exchange);
    match service.bus.publish(&target, call, Meta::default()).await {
        Ok(_) => Ok(()),
        Err(source @ PublishError::Denied) => Err(Error::Publish { subject: target, source }),
        Err(error) => {
            tracing::warn!(%error, subject = target, "telemetry was not stored");
            Ok(())
        }
    }
}
