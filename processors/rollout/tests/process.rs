//! The process on the real broker: killed and restarted in each stage, two of them and one that acts, silence noticed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::time::Duration;

use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::orders::Epoch;
use spark_bus_schema::rollout::{Phase, RolloutChanged, RolloutVerb, Stage};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Message, Venue};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Effects, Follower, Machine, Meta, Start};
use spark_rollout::config::{Config, Gates};
use spark_rollout::span::Span;
use spark_rollout::{Error, Rollout};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use world::{command, good, in_force, outcome, rollback, score};

const LIMIT: Duration = Duration::from_secs(30);

/// Stages of 300 ms, gates ten times a second; a gap is no gap here: the tests are what sleeps.
fn config() -> Config {
    let hold = Span::from_millis(300);
    Config {
        preview: hold,
        tenth: hold,
        half: hold,
        full: hold,
        preview_timeframe: TimeFrame::S1,
        window: Span::from_secs(60),
        step: Span::from_millis(100),
        report: Span::from_secs(3_600),
        gates: Gates { scores_min: 1, outcomes_min: 2, latency_p95_ms_max: 3_600_000.0, ..Gates::default() },
        ..Config::default()
    }
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    async fn start(broker: &TestBroker, folder: &str) -> Self {
        Self::with(broker, folder, config()).await
    }

    async fn with(broker: &TestBroker, folder: &str, config: Config) -> Self {
        let service = broker.service_in("rollout", folder).await;
        Self { stop: service.shutdown.clone(), task: tokio::spawn(spark_rollout::run(service, config)) }
    }

    /// As kill -9: nothing is saved, nothing released.
    async fn kill(self) {
        self.task.abort();
        let _aborted = self.task.await;
        self.stop.cancel();
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap().unwrap();
    }
}

async fn put<T: Message>(bus: &Bus, subject: &str, message: &T) -> u64 {
    bus.publish(subject, message, Meta::default()).await.unwrap()
}

/// A score and two outcomes of both parts, now.
async fn scored(bus: &Bus, hit: bool) {
    let now = spark_nats::now();
    for (symbol, assigned) in [("BTCUSDT", true), ("ETHUSDT", false)] {
        put(bus, &subject::score(Venue::Binance, symbol, TimeFrame::S1), &score(&good(), symbol, assigned, now, 0)).await;
        let became = outcome(&good(), symbol, assigned, now, hit || !assigned);
        put(bus, &subject::outcome(Venue::Binance, symbol, TimeFrame::S1), &became).await;
    }
}

async fn ledger(bus: &Bus, patterns: &[&str]) -> Vec<spark_nats::Delivery> {
    let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    let mut follower = Follower::start(bus.clone(), "test", LEDGER, patterns, Start::Beginning);
    let mut all = Vec::new();
    let began = std::time::Instant::now();
    while !follower.is_caught_up() || all.is_empty() {
        // The last one may have been taken in already: then nothing more comes.
        tokio::select! {
            batch = follower.next() => all.extend(batch.unwrap()),
            () = tokio::time::sleep(Duration::from_millis(10)) => assert!(began.elapsed() < LIMIT, "{} read", all.len()),
        }
    }
    all
}

/// Feeds good scores until what was told last is what is wanted.
async fn until(bus: &Bus, feeds: Option<bool>, wanted: impl Fn(&RolloutChanged) -> bool) -> RolloutChanged {
    let subject = subject::rollout_changed(&good().model_version);
    let mut last = None;
    let waited = tokio::time::timeout(LIMIT, async {
        loop {
            if let Ok(Some(end)) = bus.last(LEDGER, &subject).await {
                let told: RolloutChanged = end.decode().unwrap();
                if wanted(&told) {
                    return told;
                }
                last = Some(told);
            }
            match feeds {
                Some(hit) => scored(bus, hit).await,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    waited.await.unwrap_or_else(|_| panic!("last told: {last:#?}"))
}

/// Everything told has the next revision, and follows again from the LEDGER alone.
async fn check_record(bus: &Bus) -> Vec<RolloutChanged> {
    let log = ledger(bus, Rollout::INPUTS[0].subjects).await;
    let mut machine = Rollout::new(config());
    let mut decided = Vec::new();
    let mut told = Vec::new();
    for delivery in &log {
        if delivery.subject.starts_with("rollout.changed") {
            told.push(delivery.payload.to_vec());
        }
        let mut effects = Effects::default();
        machine.apply(delivery.stored_at, Rollout::decode(delivery).unwrap(), &mut effects).unwrap();
        decided.extend(effects.drain().map(|effect| effect.payload));
    }
    assert!(decided == told, "{} decided, {} recorded", decided.len(), told.len());
    let told: Vec<RolloutChanged> =
        told.iter().map(|payload| spark_bus_schema::codec::decode_payload(payload).unwrap()).collect();
    let revisions: Vec<u64> = told.iter().map(|told| told.revision).collect();
    assert_eq!(revisions, (1..=told.len() as u64).collect::<Vec<_>>());
    told
}

#[tokio::test]
async fn killed_and_restarted_in_each_stage_it_goes_on_where_it_was() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("signal").await;
    let operator = broker.bus("operator").await;
    let mut running = Running::start(&broker, "one").await;
    put(&bus, subject::MODEL, &in_force(&good())).await;
    put(&operator, subject::ROLLOUT, &command(RolloutVerb::Start)).await;
    for stage in [Stage::Preview, Stage::Tenth, Stage::Half, Stage::Full] {
        until(&bus, Some(true), |told| told.stage >= stage).await;
        running.kill().await;
        running = Running::start(&broker, "one").await;
    }
    until(&bus, Some(true), |told| told.phase == Phase::Promoted).await;
    running.kill().await;
    running = Running::start(&broker, "one").await;
    // Promoted, restarted, and watched all the same.
    let back = until(&bus, Some(false), |told| told.phase == Phase::RolledBack).await;
    assert_eq!((back.stage, back.actor.as_str()), (Stage::Half, "rollout"));
    running.stop().await;
    let told = check_record(&operator).await;
    let stages: Vec<Stage> = told.iter().map(|told| told.stage).collect();
    assert_eq!(stages, [Stage::Preview, Stage::Tenth, Stage::Half, Stage::Full, Stage::Full, Stage::Half]);
}

#[tokio::test]
async fn of_two_controllers_one_acts_and_the_other_takes_over() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("signal").await;
    let operator = broker.bus("operator").await;
    let first = Running::start(&broker, "one").await;
    put(&bus, subject::MODEL, &in_force(&good())).await;
    put(&operator, subject::ROLLOUT, &command(RolloutVerb::Start)).await;
    until(&bus, None, |told| told.stage == Stage::Preview).await;
    let second = Running::start(&broker, "two").await;
    until(&bus, Some(true), |told| told.stage == Stage::Half).await;
    first.kill().await;
    until(&bus, Some(true), |told| told.phase == Phase::Promoted).await;
    second.stop().await;
    let told = check_record(&operator).await;
    assert_eq!(told.len(), 5, "{told:?}");
    let epochs = ledger(&operator, &[subject::ROLLOUT_EPOCH]).await;
    let holders: std::collections::BTreeSet<String> =
        epochs.iter().map(|delivery| delivery.decode::<Epoch>().unwrap().holder).collect();
    assert_eq!(holders.len(), 2, "both have decided, one after the other");
}

#[tokio::test]
async fn a_model_that_goes_silent_is_noticed_without_any_other_message() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("signal").await;
    let operator = broker.bus("operator").await;
    let mut config = config();
    config.gates.staleness = Span::from_millis(200);
    config.tenth = Span::from_secs(3_600);
    let running = Running::with(&broker, "one", config).await;
    put(&bus, subject::MODEL, &in_force(&good())).await;
    put(&operator, subject::ROLLOUT, &command(RolloutVerb::Start)).await;
    until(&bus, Some(true), |told| told.stage == Stage::Tenth).await;
    scored(&bus, true).await;
    let back = until(&bus, None, |told| told.phase == Phase::RolledBack).await;
    assert!(back.summary.contains("staleness_s"), "{}", back.summary);
    running.stop().await;
}

#[tokio::test]
async fn the_guardrails_rollback_is_followed_on_the_bus() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("signal").await;
    let operator = broker.bus("operator").await;
    let guardrail = broker.bus("guardrail").await;
    let running = Running::start(&broker, "one").await;
    put(&bus, subject::MODEL, &in_force(&good())).await;
    put(&operator, subject::ROLLOUT, &command(RolloutVerb::Start)).await;
    until(&bus, Some(true), |told| told.stage == Stage::Tenth).await;
    let sequence = put(&guardrail, subject::ROLLBACK, &rollback()).await;
    let back = until(&bus, None, |told| told.command == Some(sequence)).await;
    assert_eq!((back.phase, back.actor.as_str()), (Phase::RolledBack, "guardrail"));
    running.stop().await;
}
