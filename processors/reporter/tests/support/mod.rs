//! A reporter that can be killed, a seeded run of messages, and naive arithmetic on what the streams hold.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a helper that cannot do its work has failed the test")]

pub mod naive;
pub mod run;

use std::time::Duration;

use spark_bus_schema::{Message, catalogue};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Delivery, Follower, Start, Status};
use spark_reporter::{Config, Error};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Reporter {
    pub status: Status,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Reporter {
    pub async fn start(broker: &TestBroker) -> Self {
        // The first caller wins; the smoke check's client needs one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let service = broker.service("reporter").await;
        let (status, shutdown) = (service.status.clone(), service.shutdown.clone());
        let task = tokio::spawn(spark_reporter::run(service, Config::default()));
        Self { status, shutdown, task }
    }

    pub fn recorded(&self) -> u64 {
        let beat = self.status.heartbeat("reporter", spark_nats::now());
        beat.counters.get("spark_reporter_messages_total").copied().unwrap_or_default()
    }

    /// As it is told to stop.
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

/// Everything that a stream holds on these subjects.
pub async fn stored(bus: &Bus, stream: &'static str, subjects: &[&str]) -> Vec<Delivery> {
    let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
    let mut follower = Follower::start(bus.clone(), "operator-test", stream, subjects, Start::Beginning);
    let mut found = Vec::new();
    until(&format!("the end of {stream}"), async || {
        while let Ok(batch) = tokio::time::timeout(Duration::from_millis(50), follower.next()).await {
            found.extend(batch.unwrap());
        }
        if follower.is_caught_up() { Ok(()) } else { Err(format!("{} so far", found.len())) }
    })
    .await;
    found
}

/// A valid message of a kind, to be changed.
pub fn sample<T: Message>() -> T {
    let kind = format!("{}.v{}", T::KIND.name, T::KIND.version);
    let entry = catalogue::find(&kind).unwrap_or_else(|| panic!("{kind} is not in the catalogue"));
    spark_bus_schema::decode(Some(&kind), &(entry.sample)()).unwrap()
}

/// Seeded numbers: the same run every time.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
