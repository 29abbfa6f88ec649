//! A real broker, an auditor on it, and ways to damage the broker's store.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a helper that cannot do its work has failed the test")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use spark_auditor::{Config, Error, Verification};
use spark_bus_schema::audit::{AuditDamage, AuditVerified};
use spark_bus_schema::{Kind, Message, catalogue, subject};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Follower, Meta, Start, Status};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const LIMIT: Duration = Duration::from_secs(30);

pub struct Auditor {
    pub status: Status,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Auditor {
    pub async fn start(broker: &TestBroker, config: Config) -> Self {
        let service = broker.service("auditor").await;
        let (status, shutdown) = (service.status.clone(), service.shutdown.clone());
        let task = tokio::spawn(spark_auditor::run(service, config));
        Self { status, shutdown, task }
    }

    pub fn detail(&self) -> String {
        self.status.heartbeat("auditor", spark_nats::now()).detail.unwrap_or_default()
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.status.heartbeat("auditor", spark_nats::now()).counters.get(name).copied().unwrap_or_default()
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap().unwrap();
    }

    /// Ends it in the middle of whatever it does, as far as that is possible within one process.
    pub async fn kill(self) {
        self.task.abort();
        self.shutdown.cancel();
        let _ = self.task.await;
    }
}

pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = tokio::time::Instant::now();
    loop {
        let state = match look().await {
            Ok(found) => return found,
            Err(state) => state,
        };
        assert!(begun.elapsed() < LIMIT, "{what} did not happen; last seen: {state}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Stores alerts in the LEDGER, one after the other.
pub async fn publish(bus: &Bus, count: u64) -> u64 {
    let entry = catalogue::find("alert.v1").unwrap();
    let payload = Bytes::from((entry.sample)());
    let mut last = 0;
    for number in 0..count {
        let name = format!("alerts.changed.Test.{}", number % 7);
        let kind = Kind { name: "alert", version: 1 };
        let meta = Meta { msg_id: None, cause: Some(format!("test:{number}")) };
        last = bus.store_kind(&name, kind, payload.clone(), meta).await.unwrap();
    }
    last
}

/// Everything stored on a subject.
pub async fn stored<T: Message>(broker: &TestBroker, subject_name: &str) -> Vec<T> {
    let bus = broker.bus("operator").await;
    let mut follower =
        Follower::start(bus.clone(), "operator-test", subject::LEDGER, vec![subject_name.to_owned()], Start::Beginning);
    let mut found = Vec::new();
    until(&format!("the end of {subject_name}"), async || {
        while let Ok(batch) = tokio::time::timeout(Duration::from_millis(50), follower.next()).await {
            found.extend(batch.unwrap().iter().map(|message| message.decode::<T>().unwrap()));
        }
        if follower.is_caught_up() { Ok(()) } else { Err("more to come".to_owned()) }
    })
    .await;
    found
}

pub async fn verified(broker: &TestBroker, through: u64) -> AuditVerified {
    let bus = broker.bus("operator").await;
    until(&format!("verified through {through}"), async || {
        let last = bus.last(subject::LEDGER, subject::AUDIT_VERIFIED).await.map_err(|error| error.to_string())?;
        let last: AuditVerified = last.ok_or("nothing verified yet")?.decode().unwrap();
        if last.through >= through { Ok(last) } else { Err(format!("{last:?}")) }
    })
    .await
}

pub async fn damage(broker: &TestBroker, auditor: &Auditor, fits: impl Fn(&AuditDamage) -> bool) -> AuditDamage {
    let bus = broker.bus("operator").await;
    until("damage", async || {
        let last = bus.last(subject::LEDGER, subject::AUDIT_DAMAGE).await.map_err(|error| error.to_string())?;
        let last: AuditDamage =
            last.ok_or_else(|| format!("no damage told; the auditor says: {}", auditor.detail()))?.decode().unwrap();
        if fits(&last) { Ok(last) } else { Err(format!("{last:?}")) }
    })
    .await
}

/// Waits until the chain has taken in a sequence.
pub async fn chained(auditor: &Auditor, sequence: u64) {
    until(&format!("the chain reaches {sequence}"), async || {
        let head = auditor.counter("spark_audit_head_sequence");
        if head >= sequence { Ok(()) } else { Err(format!("{head}: {}", auditor.detail())) }
    })
    .await;
}

pub fn database(broker: &TestBroker) -> PathBuf {
    broker.dir().join("data/auditor").join(spark_auditor::DATABASE)
}

pub async fn verify(broker: &TestBroker) -> Verification {
    let bus = broker.bus("operator").await;
    spark_auditor::verify(&database(broker), &bus, "operator-audit").await.unwrap()
}

pub fn store(broker: &TestBroker) -> PathBuf {
    broker.dir().join("nats/store")
}

/// The LEDGER's block files, in order.
pub fn blocks(broker: &TestBroker) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![store(broker)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "blk") && path.to_str().unwrap().contains("/LEDGER/")
            {
                found.push(path);
            }
        }
    }
    found.sort_by_key(|path| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap());
    found
}

pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
