//! Queues and pages on a real nats-server.

use std::time::Duration;

use spark_bus_schema::backtests::JobCancel;
use spark_bus_schema::subject::{self, JOBS, LEDGER};
use spark_bus_schema::{Message, Timestamp};
use spark_nats::pages::{From, MESSAGES_MAX};
use spark_nats::queue::Settings;
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Meta, Queue, Task};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);
const SETTINGS: Settings = Settings { ack_wait: Duration::from_secs(1), deliveries_max: 3 };

fn command(id: &str) -> JobCancel {
    JobCancel { id: id.to_owned(), actor: "test".to_owned(), reason: "test".to_owned(), at: Timestamp::from_millis(1) }
}

async fn publish(broker: &TestBroker, ids: &[&str]) {
    let operator = broker.bus("operator").await;
    for id in ids {
        // The queue does not look inside.
        let bytes = spark_bus_schema::encode(&command(id)).into();
        operator.store_kind(&subject::backtest(id), JobCancel::KIND, bytes, Meta::default()).await.expect("published");
    }
}

async fn queue(broker: &TestBroker) -> Queue {
    Queue::new(broker.bus("backtest").await, "backtest", JOBS, subject::BACKTESTS, SETTINGS)
}

async fn take(queue: &mut Queue) -> Task {
    timeout(LIMIT, queue.next()).await.expect("a message comes")
}

async fn left(bus: &Bus) -> u64 {
    bus.message_count(JOBS).await.expect("the stream is there")
}

#[tokio::test]
async fn a_message_is_with_one_worker_until_it_is_done_or_silent() {
    let broker = TestBroker::start().await;
    publish(&broker, &["a", "b"]).await;
    let (mut first, mut second) = (queue(&broker).await, queue(&broker).await);
    let (a, b) = (take(&mut first).await, take(&mut second).await);
    assert_eq!((a.delivery.subject.as_str(), a.attempt), ("jobs.backtest.a", 1));
    assert_eq!((b.delivery.subject.as_str(), b.attempt), ("jobs.backtest.b", 1));
    b.done().await.unwrap();
    assert_eq!(left(&broker.bus("supervisor").await).await, 1, "what is done is gone");

    // Kept alive for longer than the broker would wait: nobody else gets it.
    let mut nobody = Box::pin(second.next());
    for _ in 0..5 {
        a.keep().await.unwrap();
        assert!(timeout(SETTINGS.ack_wait / 2, &mut nobody).await.is_err(), "it is still being worked on");
    }
    // Silent: the other worker gets it, and knows that it is the second one.
    let again = timeout(LIMIT, nobody).await.expect("a silent worker's message comes again");
    assert_eq!((again.delivery.subject.as_str(), again.attempt), ("jobs.backtest.a", 2));
    again.give_back().await.unwrap();
    let last = take(&mut first).await;
    assert_eq!(last.attempt, 3, "given back: at once");
    last.done().await.unwrap();
    assert_eq!(left(&broker.bus("supervisor").await).await, 0);
}

#[tokio::test]
async fn a_queue_outlives_its_broker_and_its_consumer() {
    let mut broker = TestBroker::start().await;
    let mut queue = queue(&broker).await;
    publish(&broker, &["a"]).await;
    let task = take(&mut queue).await;
    broker.restart().await;
    let again = take(&mut queue).await;
    assert_eq!(again.delivery.subject, task.delivery.subject, "what was not done comes again");
    again.done().await.unwrap();
    publish(&broker, &["b"]).await;
    take(&mut queue).await.done().await.unwrap();
}

#[tokio::test]
async fn a_stretch_is_read_in_pages_by_several_readers_of_one_name() {
    let broker = TestBroker::start().await;
    let operator = broker.bus("operator").await;
    let count = MESSAGES_MAX + 10;
    for n in 0..count {
        let id = format!("job-{n}");
        operator.publish(&subject::job_cancel(&id), &command(&id), Meta::default()).await.unwrap();
        if n == 0 {
            operator.publish("control.job.other.place", &command("x"), Meta::default()).await.unwrap();
        }
    }
    let readers = [broker.bus("backtest").await, broker.bus("backtest").await];
    for bus in &readers {
        let first = bus.page(LEDGER, "control.job.*", From::Sequence(0)).await.unwrap();
        assert_eq!(first.len(), MESSAGES_MAX);
        assert_eq!(first[1].decode::<JobCancel>().unwrap().id, "job-1", "other subjects are left out");
        let next = first.last().unwrap().sequence + 1;
        let second = bus.page(LEDGER, "control.job.*", From::Sequence(next)).await.unwrap();
        assert_eq!(second.len(), 10);
        assert_eq!(second[9].subject, format!("control.job.job-{}", count - 1));
        let end = bus.page(LEDGER, "control.job.*", From::Sequence(second[9].sequence + 1)).await.unwrap();
        assert!(end.is_empty(), "{end:?}");
        let late = bus.page(LEDGER, "control.job.*", From::Time(second[9].stored_at)).await.unwrap();
        assert_eq!(late.len(), 1, "from a time on");
        let nothing = bus.page(LEDGER, "control.resume", From::Sequence(1)).await.unwrap();
        assert!(nothing.is_empty());
    }
}
