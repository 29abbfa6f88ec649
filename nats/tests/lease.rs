//! One decider at a time, and each decision once, on a real nats-server.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use spark_bus_schema::control::{BreakerCommand, BreakerMode, KillSwitch};
use spark_bus_schema::orders::Epoch;
use spark_bus_schema::risk::Timeout;
use spark_bus_schema::subject::{self, LEDGER, RISK_EPOCH};
use spark_bus_schema::{DecodeError, Message, OrderId, Timestamp, Venue, encode, header};
use spark_nats::testing::TestBroker;
use spark_nats::{
    Bus, Delivery, Effects, Error, Follower, Input, Lease, Machine, Meta, Reject, Service, Start, SubjectWriter, run_decider,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

/// Answers every command with one decision; its bytes follow from everything read so far.
#[derive(Default)]
struct Echo {
    seen: u64,
}

enum Event {
    Command(String),
    Recorded,
}

impl Machine for Echo {
    type Event = Event;
    const INPUTS: &'static [Input] =
        &[Input { stream: LEDGER, subjects: &["control.breaker.>", subject::RISK_TIMEOUTS, subject::RISK_EPOCH] }];
    const STEP: Duration = Duration::from_secs(3600);

    fn decode(delivery: &Delivery) -> Result<Event, DecodeError> {
        if delivery.subject.starts_with("control.") {
            return Ok(Event::Command(delivery.decode::<BreakerCommand>()?.reason));
        }
        Ok(Event::Recorded)
    }

    fn apply(&mut self, _at: Timestamp, event: Event, effects: &mut Effects) -> Result<(), Reject> {
        if let Event::Command(key) = event {
            self.seen += 1;
            let order = OrderId::derive("echo", &key);
            let decision = Timeout { order: order.clone(), at: Timestamp::from_millis(i64::try_from(self.seen).unwrap()) };
            effects.publish_revision(subject::risk_timeout(&order), &decision, 1);
        }
        Ok(())
    }

    fn tick(&mut self, _at: Timestamp, _effects: &mut Effects) {}

    fn save(&self) -> Vec<u8> {
        self.seen.to_be_bytes().to_vec()
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.seen = u64::from_be_bytes(bytes.try_into().map_err(|_| "eight bytes".to_owned())?);
        Ok(())
    }
}

async fn ask(bus: &Bus, key: &str) {
    let command = BreakerCommand {
        exchange: Venue::Binance,
        mode: BreakerMode::Auto,
        actor: "test".into(),
        reason: key.into(),
        at: Timestamp::from_millis(1),
    };
    bus.publish(&subject::breaker(Venue::Binance), &command, Meta::default()).await.unwrap();
}

fn decide(service: Service) -> JoinHandle<Result<(), Error>> {
    tokio::spawn(async move {
        let lease = Lease::acquire(&service, RISK_EPOCH).await?;
        run_decider(&service, Echo::default(), lease).await
    })
}

/// Every decision stored so far, by subject; each must be there once.
async fn decisions(bus: &Bus, count: usize) -> BTreeMap<String, Bytes> {
    let mut follower =
        Follower::start(bus.clone(), "operator-read", LEDGER, vec![subject::RISK_TIMEOUTS.to_owned()], Start::Beginning);
    let mut all = BTreeMap::new();
    while all.len() < count {
        let batch = timeout(LIMIT, follower.next()).await.unwrap_or_else(|_| panic!("{} of {count}", all.len())).unwrap();
        for delivery in batch {
            assert!(all.insert(delivery.subject.clone(), delivery.payload).is_none(), "{} twice", delivery.subject);
        }
    }
    assert!(follower.is_caught_up(), "more than {count} decisions");
    all
}

#[tokio::test]
async fn a_decider_that_is_killed_again_and_again_decides_everything_once_and_always_the_same() {
    let mut broker = TestBroker::start().await;
    let operator = broker.bus("operator").await;
    for round in 0..6 {
        for index in 0..20 {
            ask(&operator, &format!("{round}/{index}")).await;
        }
        let task = decide(broker.service("risk").await);
        if round == 3 {
            broker.kill();
            broker.restart().await;
            operator.wait_connected().await;
        }
        // Wherever it happens to be.
        let _ = timeout(Duration::from_millis(37 * round), async { std::future::pending::<()>().await }).await;
        task.abort();
        let _ = task.await;
    }
    let task = decide(broker.service("risk").await);
    let stored = decisions(&operator, 120).await;
    for round in 0..6 {
        for index in 0..20 {
            let order = OrderId::derive("echo", &format!("{round}/{index}"));
            let decision = Timeout { order: order.clone(), at: Timestamp::from_millis(round * 20 + index + 1) };
            assert_eq!(stored[&subject::risk_timeout(&order)], encode(&decision), "{round}/{index}");
        }
    }
    task.abort();
}

#[tokio::test]
async fn a_standby_takes_over_when_the_holder_stops_and_the_old_holder_is_refused_by_the_broker() {
    let broker = TestBroker::start().await;
    let operator = broker.bus("operator").await;
    let old = broker.service("risk").await;
    let lease = Lease::acquire(&old, RISK_EPOCH).await.unwrap();
    assert!(lease.is_valid());
    let first = lease.epoch();
    let decider = tokio::spawn(async move { run_decider(&old, Echo::default(), lease).await });
    ask(&operator, "before").await;
    decisions(&operator, 1).await;

    // A new holder appends its epoch while the old one knows nothing of it, as after a pause of the whole process.
    let (mut epochs, end) = SubjectWriter::open(broker.bus("risk").await, LEDGER, RISK_EPOCH.to_owned()).await.unwrap();
    assert_eq!(end.unwrap().sequence, first);
    let epoch = Epoch { process: "risk".into(), holder: "new".into(), at: Timestamp::from_millis(1) };
    epochs.append(Epoch::KIND, Bytes::from(encode(&epoch)), "new-epoch").await.unwrap();
    ask(&operator, "after").await;
    let outcome = timeout(LIMIT, decider).await.expect("the old holder ends").unwrap();
    assert!(matches!(outcome, Err(Error::Fenced { .. })), "{outcome:?}");
    decisions(&operator, 1).await;

    let standby = decide(broker.service_in("risk", "risk-2").await);
    decisions(&operator, 2).await;
    standby.abort();
}

#[tokio::test]
async fn one_waits_while_another_holds_and_a_released_lease_is_taken_at_once() {
    let broker = TestBroker::start().await;
    let first = broker.service("risk").await;
    let second = broker.service_in("risk", "risk-2").await;
    let lease = Lease::acquire(&first, RISK_EPOCH).await.unwrap();
    let waiting = tokio::spawn(async move { Lease::acquire(&second, RISK_EPOCH).await });
    // Longer than a lease lives without renewal.
    let early = timeout(Duration::from_secs(6), async { lease.lost().await }).await;
    assert!(early.is_err() && lease.is_valid() && !waiting.is_finished());
    lease.release().await;
    let second = timeout(LIMIT, waiting).await.expect("the standby takes over").unwrap().unwrap();
    assert!(second.is_valid());
}

#[tokio::test]
async fn a_stored_message_keeps_the_expectation_it_was_stored_under() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let mut writer = SubjectWriter::at(bus.clone(), LEDGER, subject::KILL_SWITCH.to_owned(), 0);
    let command = KillSwitch { on: true, cancel_open: false, actor: "t".into(), reason: "t".into(), at: Timestamp::ZERO };
    writer.append(KillSwitch::KIND, Bytes::from(encode(&command)), "one").await.unwrap();
    let stored = bus.last(LEDGER, subject::KILL_SWITCH).await.unwrap().unwrap();
    assert_eq!(stored.header(header::EXPECTED_LAST_SUBJECT_SEQUENCE), Some("0"));
}
