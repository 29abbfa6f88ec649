//! The bus suite on a real nats-server.

use std::collections::BTreeMap;
use std::time::Duration;

use spark_bus_schema::control::{BreakerCommand, BreakerMode};
use spark_bus_schema::subject::{self, LEDGER, PARKED};
use spark_bus_schema::{DecodeError, Message, Timestamp, Venue, encode};
use spark_nats::testing::TestBroker;
use spark_nats::topology::{self, Change, Settings};
use spark_nats::{
    AppendError, Bus, Delivery, Effects, Follower, Input, Machine, Meta, PublishError, Reject, Start, SubjectWriter, run_machine,
};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

fn command(reason: &str) -> BreakerCommand {
    BreakerCommand {
        exchange: Venue::Binance,
        mode: BreakerMode::Open,
        actor: "test".into(),
        reason: reason.into(),
        at: Timestamp::from_millis(1),
    }
}

/// Reads until `count` messages are there.
async fn collect(follower: &mut Follower, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        let batch = timeout(LIMIT, follower.next()).await.unwrap_or_else(|_| panic!("{} of {count} messages", all.len()));
        all.extend(batch.expect("a follower does not end by itself"));
    }
    all
}

#[tokio::test]
async fn topology_is_made_once_and_drift_is_named() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("supervisor").await;
    let settings = Settings { duplicate_window: spark_nats::testing::DUPLICATE_WINDOW, ..Settings::default() };
    let changes = topology::ensure(&bus, settings).await.unwrap();
    assert!(changes.iter().all(|change| matches!(change, Change::Unchanged(_))), "{changes:?}");

    let other = Settings { duplicate_window: Duration::from_secs(60), ..settings };
    let drift = topology::drift(&bus, other).await.unwrap();
    assert_eq!(drift.len(), topology::stream_names().count(), "{drift:?}");
    assert!(drift[0].points[0].contains("duplicate_window: broker has 1s, declared is 60s"), "{drift:?}");

    let changes = topology::ensure(&bus, other).await.unwrap();
    assert!(changes.iter().all(|change| matches!(change, Change::Updated(..))), "{changes:?}");
    assert_eq!(topology::drift(&bus, other).await.unwrap(), []);
}

#[tokio::test]
async fn each_process_is_refused_what_it_does_not_own() {
    let broker = TestBroker::start().await;
    let feed = broker.bus("feed").await;
    let refused = timeout(LIMIT, feed.publish(&subject::breaker(Venue::Binance), &command("not mine"), Meta::default())).await;
    assert!(matches!(refused, Ok(Err(PublishError::Denied))), "{refused:?}");

    let operator = broker.bus("operator").await;
    operator.publish(&subject::breaker(Venue::Binance), &command("mine"), Meta::default()).await.unwrap();

    let mut stolen = feed.raw_client().subscribe("market.>").await.unwrap();
    operator.raw_client().publish("market.ticks.binance.X", "x".into()).await.unwrap();
    operator.ping().await.unwrap();
    let heard = timeout(Duration::from_secs(1), futures_util::StreamExt::next(&mut stolen)).await;
    assert!(heard.is_err() || heard.is_ok_and(|message| message.is_none()), "feed must not hear other processes directly");
}

#[tokio::test]
async fn a_writer_notices_another_writer_and_goes_on_from_the_new_end() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let target = subject::breaker(Venue::Binance);
    let payload = |reason: &str| bytes::Bytes::from(encode(&command(reason)));
    let (mut first, end) = SubjectWriter::open(bus.clone(), LEDGER, target.clone()).await.unwrap();
    assert!(end.is_none());
    let (mut second, _) = SubjectWriter::open(bus.clone(), LEDGER, target.clone()).await.unwrap();
    first.append(BreakerCommand::KIND, payload("a"), "a").await.unwrap();
    let conflict = second.append(BreakerCommand::KIND, payload("b"), "b").await;
    assert!(matches!(conflict, Err(AppendError::Conflict)), "{conflict:?}");
    let end = second.reopen().await.unwrap().unwrap();
    assert_eq!(end.decode::<BreakerCommand>().unwrap().reason, "a");
    second.append(BreakerCommand::KIND, payload("b"), "b").await.unwrap();
}

#[tokio::test]
async fn the_same_message_again_is_recognised_after_the_duplicate_window() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let target = subject::breaker(Venue::Binance);
    let (mut writer, _) = SubjectWriter::open(bus.clone(), LEDGER, target.clone()).await.unwrap();
    let (mut late, _) = SubjectWriter::open(bus.clone(), LEDGER, target).await.unwrap();
    let payload = bytes::Bytes::from(encode(&command("once")));
    let sequence = writer.append(BreakerCommand::KIND, payload.clone(), "once").await.unwrap();
    // The broker has forgotten the id when another message with a fresh one is no duplicate of it.
    tokio::time::sleep(spark_nats::testing::DUPLICATE_WINDOW * 2).await;
    assert_eq!(late.append(BreakerCommand::KIND, payload, "once").await.unwrap(), sequence);
    assert_eq!(bus.message_count(LEDGER).await.unwrap(), 1);
}

#[tokio::test]
async fn a_follower_reads_on_through_broker_restarts() {
    let mut broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let target = subject::breaker(Venue::Binance);
    let reader = broker.bus("gateway").await;
    let mut follower = Follower::start(reader, "gateway", LEDGER, vec![subject::BREAKER.to_owned()], Start::Beginning);
    for round in 0..4 {
        for index in 0..25 {
            bus.publish(&target, &command(&format!("{round}:{index}")), Meta::default()).await.unwrap();
        }
        let got: Vec<String> =
            collect(&mut follower, 25).await.iter().map(|d| d.decode::<BreakerCommand>().unwrap().reason).collect();
        let want: Vec<String> = (0..25).map(|index| format!("{round}:{index}")).collect();
        assert_eq!(got, want);
        broker.restart().await;
    }
}

#[tokio::test]
async fn a_follower_whose_stream_lost_its_end_reads_the_new_messages_under_the_old_numbers() {
    let mut broker = TestBroker::start().await;
    let operator = broker.bus("operator").await;
    let target = subject::breaker(Venue::Binance);
    let publish = async |bus: &Bus, text: &str| bus.publish(&target, &command(text), Meta::default()).await.unwrap();
    for index in 0..3 {
        publish(&operator, &format!("kept {index}")).await;
    }
    // A copy of the store stands for what had reached the disk when the power went.
    broker.kill();
    let store = broker.dir().join("nats/store");
    let copy = broker.dir().join("copy");
    let copied = std::process::Command::new("cp").arg("-r").args([&store, &copy]).status().unwrap();
    assert!(copied.success());
    broker.restart().await;
    timeout(LIMIT, operator.wait_connected()).await.unwrap();
    let reader = broker.bus("gateway").await;
    let mut follower = Follower::start(reader, "gateway", LEDGER, vec![target.clone()], Start::Beginning);
    for index in 0..5 {
        publish(&operator, &format!("lost {index}")).await;
    }
    assert_eq!(collect(&mut follower, 8).await.last().unwrap().sequence, 8);

    broker.kill();
    std::fs::remove_dir_all(&store).unwrap();
    std::fs::rename(&copy, &store).unwrap();
    broker.restart().await;
    for index in 0..9 {
        publish(&operator, &format!("new {index}")).await;
    }
    let got = collect(&mut follower, 9).await;
    let reasons: Vec<String> = got.iter().map(|d| d.decode::<BreakerCommand>().unwrap().reason).collect();
    assert_eq!(reasons, (0..9).map(|index| format!("new {index}")).collect::<Vec<_>>());
    assert_eq!(got[0].sequence, 4, "numbers 4 to 8 came again");
}

#[tokio::test]
async fn by_time_nothing_is_passed_over_for_a_subject_that_came_later() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("operator").await;
    let (often, later) = (subject::breaker(Venue::Binance), subject::breaker(Venue::Btcturk));
    let publish = async |on: &str, text: &str| bus.publish(on, &command(text), Meta::default()).await.unwrap();
    publish(&often, "before").await;
    let before = bus.last(LEDGER, &often).await.unwrap().unwrap().stored_at;
    for (on, text) in [(&often, "1"), (&often, "2"), (&later, "3"), (&often, "4"), (&often, "5")] {
        publish(on, text).await;
    }
    let reader = broker.bus("gateway").await;
    let since = Start::Since(before + Duration::from_nanos(1));
    let mut follower = Follower::start(reader, "gateway", LEDGER, vec![often.clone(), later.clone()], since);
    let first = timeout(LIMIT, follower.next()).await.unwrap().unwrap();
    assert_eq!(first[0].decode::<BreakerCommand>().unwrap().reason, "1");
    let more = if first.len() < 5 { collect(&mut follower, 5 - first.len()).await } else { Vec::new() };
    let sequences: Vec<u64> = first.iter().chain(&more).map(|delivery| delivery.sequence).collect();
    assert_eq!(sequences, [2, 3, 4, 5, 6]);
}

/// Counts breaker commands and publishes each count as a decision: one alert subject, rising revisions.
#[derive(Default)]
struct Counter {
    count: u64,
}

impl Machine for Counter {
    type Event = BreakerCommand;
    const INPUTS: &'static [Input] = &[Input { stream: LEDGER, subjects: &[subject::BREAKER] }];
    const STEP: Duration = Duration::from_millis(100);

    fn decode(delivery: &Delivery) -> Result<BreakerCommand, DecodeError> {
        delivery.decode()
    }

    fn apply(&mut self, at: Timestamp, event: BreakerCommand, effects: &mut Effects) -> Result<(), Reject> {
        if event.reason == "unacceptable" {
            return Err(Reject { reason: "rejected", detail: "the test said so".into() });
        }
        self.count += 1;
        let alert = spark_bus_schema::alerts::Alert {
            name: "Counted".into(),
            rule: event.reason,
            revision: self.count,
            scope: BTreeMap::new(),
            state: spark_bus_schema::alerts::AlertState::Inactive,
            severity: None,
            value: None,
            threshold: None,
            direction: "above".into(),
            unit: String::new(),
            window_ms: 0,
            samples: 0,
            at,
            since: None,
            summary: String::new(),
            cause: String::new(),
            first_action: String::new(),
            permanent_fix: String::new(),
            runbook: String::new(),
        };
        effects.publish_revision(subject::alert("Counted", &BTreeMap::new()), &alert, self.count);
        Ok(())
    }

    fn tick(&mut self, _at: Timestamp, _effects: &mut Effects) {}

    fn save(&self) -> Vec<u8> {
        self.count.to_be_bytes().to_vec()
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.count = u64::from_be_bytes(bytes.try_into().map_err(|_| "8 bytes expected".to_owned())?);
        Ok(())
    }
}

/// Runs the machine until `count` decisions are stored, then drops it as kill -9 would: without a last checkpoint.
async fn run_until(broker: &TestBroker, observer: &Bus, count: u64) {
    let service = broker.service("guardrail").await;
    let running = run_machine(&service, Counter::default());
    let reached = async {
        loop {
            let target = subject::alert("Counted", &BTreeMap::new());
            let last = observer.last(LEDGER, &target).await.expect("the broker answers");
            if last.and_then(|d| d.header("Spark-Revision")?.parse::<u64>().ok()).unwrap_or(0) >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        ended = running => panic!("the machine ended by itself: {ended:?}"),
        done = timeout(LIMIT, reached) => done.unwrap_or_else(|_| panic!("{count} decisions were not reached")),
    }
    service.shutdown.cancel();
}

#[tokio::test]
async fn a_machine_that_is_cut_off_again_and_again_stores_each_decision_once() {
    let mut broker = TestBroker::start().await;
    let operator = broker.bus("operator").await;
    let target = subject::breaker(Venue::Binance);
    let mut sent = 0_u64;
    for round in 0..6 {
        for _ in 0..20 {
            operator.publish(&target, &command(&sent.to_string()), Meta::default()).await.unwrap();
            sent += 1;
        }
        if round % 2 == 1 {
            broker.restart().await;
            timeout(LIMIT, operator.wait_connected()).await.unwrap();
        }
        run_until(&broker, &operator, sent - 7).await;
    }
    run_until(&broker, &operator, sent).await;
    let mut follower = Follower::start(operator, "checker", LEDGER, vec![subject::ALERTS.to_owned()], Start::Beginning);
    let stored = collect(&mut follower, usize::try_from(sent).unwrap()).await;
    let got: Vec<(u64, String)> = stored
        .iter()
        .map(|delivery| delivery.decode::<spark_bus_schema::alerts::Alert>().unwrap())
        .map(|alert| (alert.revision, alert.rule))
        .collect();
    let want: Vec<(u64, String)> = (0..sent).map(|index| (index + 1, index.to_string())).collect();
    assert_eq!(got, want);
    assert!(follower.is_caught_up(), "nothing is stored twice");
}

#[tokio::test]
async fn what_cannot_be_handled_is_parked_alone_and_once() {
    let broker = TestBroker::start().await;
    let operator = broker.bus("operator").await;
    let target = subject::breaker(Venue::Binance);
    operator.publish(&target, &command("good"), Meta::default()).await.unwrap();
    let raw = operator.raw_client();
    raw.publish(target.clone(), "no header".into()).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Spark-Kind", "breaker_command.v9");
    raw.publish_with_headers(target.clone(), headers, "from the future".into()).await.unwrap();
    operator.ping().await.unwrap();
    operator.publish(&target, &command("unacceptable"), Meta::default()).await.unwrap();
    operator.publish(&target, &command("good"), Meta::default()).await.unwrap();
    run_until(&broker, &operator, 2).await;
    run_until(&broker, &operator, 2).await;

    let mut follower =
        Follower::start(operator.clone(), "checker", PARKED, vec![subject::PARKED_ALL.to_owned()], Start::Beginning);
    let parked: Vec<(String, u64)> = collect(&mut follower, 3)
        .await
        .iter()
        .map(|delivery| delivery.decode::<spark_bus_schema::parked::Parked>().unwrap())
        .map(|parked| (parked.reason, parked.sequence))
        .collect();
    let want = [("missing_kind", 2), ("unknown_version", 3), ("rejected", 4)].map(|(reason, seq)| (reason.to_owned(), seq));
    assert_eq!(parked, want);
    assert_eq!(operator.message_count(PARKED).await.unwrap(), 3);
}
