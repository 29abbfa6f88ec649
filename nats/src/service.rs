//! What every process gets: its bus, its folder, its stop signal, and a heartbeat that tells the others how it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use spark_bus_schema::telemetry::{Heartbeat, ProcessState};
use spark_bus_schema::{Message, Timestamp, encode, subject};
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, Meta, headers};
use crate::error::Error;
use crate::now;

/// Heartbeats leave this often.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);

/// What every process gets.
pub struct Service {
    /// The process: subcommand, NATS user, consumer, `service` label.
    pub name: &'static str,
    /// The broker.
    pub bus: Bus,
    /// The process's own folder; exists.
    pub data_dir: PathBuf,
    /// Cancelled when the process shall stop.
    pub shutdown: CancellationToken,
    /// What the process says about itself.
    pub status: Status,
}

impl Service {
    /// Makes the folder and starts the heartbeat, which ends with `shutdown`.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn start(name: &'static str, bus: Bus, data_dir: PathBuf, shutdown: CancellationToken) -> Result<Self, Error> {
        std::fs::create_dir_all(&data_dir).map_err(|source| Error::File {
            action: "create folder",
            path: data_dir.clone(),
            source,
        })?;
        let status = Status::default();
        let publishes = bus.publishes();
        for (name, total) in [
            ("spark_bus_publishes_total", &publishes.acknowledged),
            ("spark_bus_publish_ack_us_total", &publishes.waited_us),
            ("spark_bus_publish_failures_total", &publishes.failed),
        ] {
            status.share(name, Arc::clone(total));
        }
        tokio::spawn(heartbeats(name, bus.clone(), status.clone(), shutdown.clone()));
        Ok(Self { name, bus, data_dir, shutdown, status })
    }

    /// Says goodbye: the others see a process that stopped on purpose, not one that vanished.
    pub async fn stopped(&self) {
        self.status.set(ProcessState::Stopping, None);
        let beat = self.status.heartbeat(self.name, now());
        let headers = headers(Heartbeat::KIND, &Meta::default());
        let sent = self.bus.publish_once(&subject::heartbeat(self.name), headers, Bytes::from(encode(&beat))).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "last heartbeat");
        }
    }
}

/// What a process says about itself; shared by its tasks.
#[derive(Clone)]
pub struct Status {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    started_at: Timestamp,
    state: ProcessState,
    detail: Option<String>,
    counters: BTreeMap<&'static str, Arc<AtomicU64>>,
}

impl Default for Status {
    fn default() -> Self {
        let inner = Inner { started_at: now(), state: ProcessState::Starting, detail: None, counters: BTreeMap::new() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }
}

impl Status {
    /// Sets the state; `detail` says what is missing when it is not simply running.
    pub fn set(&self, state: ProcessState, detail: Option<String>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.state = state;
        inner.detail = detail;
    }

    /// A total that travels in heartbeats. Keep the handle: looking it up takes a lock.
    #[must_use]
    pub fn counter(&self, name: &'static str) -> Arc<AtomicU64> {
        Arc::clone(self.inner.lock().unwrap_or_else(PoisonError::into_inner).counters.entry(name).or_default())
    }

    /// As [`counter`](Self::counter), for a total that is counted elsewhere.
    pub fn share(&self, name: &'static str, total: Arc<AtomicU64>) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).counters.insert(name, total);
    }

    /// The heartbeat of this moment.
    #[must_use]
    pub fn heartbeat(&self, service: &str, sent_at: Timestamp) -> Heartbeat {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Heartbeat {
            service: service.to_owned(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: inner.started_at,
            sent_at,
            state: inner.state,
            detail: inner.detail.clone(),
            resident_bytes: resident_bytes(),
            counters: inner.counters.iter().map(|(&name, value)| (name.to_owned(), value.load(Ordering::Relaxed))).collect(),
        }
    }
}

async fn heartbeats(name: &'static str, bus: Bus, status: Status, shutdown: CancellationToken) {
    let target = subject::heartbeat(name);
    let mut ticks = tokio::time::interval(HEARTBEAT_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let beat = status.heartbeat(name, now());
        // One attempt: a heartbeat that comes late says nothing.
        let headers = headers(Heartbeat::KIND, &Meta::default());
        if let Err(error) = bus.publish_once(&target, headers, Bytes::from(encode(&beat))).await {
            tracing::debug!(%error, "heartbeat");
        }
    }
}

/// Resident memory by Linux' own account; 0 elsewhere.
#[must_use]
pub fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
        .map_or(0, |pages| pages * PAGE_BYTES)
}
