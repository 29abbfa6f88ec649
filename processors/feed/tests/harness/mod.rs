//! What all tests of the feed share: the process on a real broker, and bounded reading of what it published.

use std::time::Duration;

use spark_bus_schema::Venue;
use spark_bus_schema::subject::{self, FEED};
use spark_bus_schema::telemetry::FeedStatus;
use spark_feed::Config;
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Follower, Start};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer than this.
pub const LIMIT: Duration = Duration::from_secs(40);

/// A feed process in this one.
pub struct Feed {
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Feed {
    pub async fn start(broker: &TestBroker, config: Config) -> Self {
        let service = broker.service("feed").await;
        let shutdown = service.shutdown.clone();
        let task = tokio::spawn(async move { spark_feed::run(service, config).await.unwrap() });
        Self { shutdown, task }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(LIMIT, self.task).await.expect("the feed stops").unwrap();
    }
}

/// Everything of one symbol that FEED holds, read from the beginning until `enough`.
pub async fn read<T: spark_bus_schema::Message + std::fmt::Debug>(
    bus: &Bus,
    subject: String,
    mut enough: impl FnMut(&[T]) -> bool,
) -> Vec<T> {
    let mut follower = Follower::start(bus.clone(), "operator", FEED, vec![subject.clone()], Start::Beginning);
    let mut batches = Vec::new();
    let wait = async {
        while !enough(&batches) {
            for delivery in follower.next().await.expect("a follower does not end by itself") {
                batches.extend(delivery.decode::<T>());
            }
        }
    };
    let timed_out = tokio::time::timeout(LIMIT, wait).await.is_err();
    let last = batches.last().map(|last| format!("{last:?}").chars().take(600).collect::<String>());
    assert!(!timed_out, "{subject}: not enough after {LIMIT:?} in {} batches, the last of them {last:?}", batches.len());
    batches
}

/// The newest state of a venue's connection, once one has fitted.
pub async fn status_until(bus: &Bus, venue: Venue, mut enough: impl FnMut(&FeedStatus) -> bool) -> FeedStatus {
    let all = read::<FeedStatus>(bus, subject::feed_status(venue), |all| all.iter().any(&mut enough)).await;
    all.last().unwrap().clone()
}
