//! The process on the real broker: limits are told, orders are judged once, a missing mark times out, a standby takes over.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod world;

use std::time::Duration;

use bytes::Bytes;
use spark_bus_schema::control::{LimitsCommand, LimitsSource};
use spark_bus_schema::marks::Mark;
use spark_bus_schema::orders::{InstrumentFilters, OrderIntent};
use spark_bus_schema::risk::{Guard, Timeout, Verdict};
use spark_bus_schema::{Message, Venue, encode, subject};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Delivery, Meta, SubjectWriter};
use spark_risk::{Config, replay};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use world::{World, d};

const LIMIT: Duration = Duration::from_secs(30);

async fn put<T: Message>(bus: &Bus, subject: String, message: &T) {
    let (mut writer, _) = SubjectWriter::open(bus.clone(), subject::LEDGER, subject.clone()).await.unwrap();
    let msg_id = format!("{subject}:{}", writer.last());
    writer.append(T::KIND, Bytes::from(encode(message)), &msg_id).await.unwrap();
}

/// The newest message of a subject, once it is what is wanted.
async fn wait_for<T: Message>(bus: &Bus, subject: String, wanted: impl Fn(&T) -> bool) -> T {
    let mut last = String::new();
    let outcome = tokio::time::timeout(LIMIT, async {
        loop {
            if let Ok(Some(end)) = bus.last(subject::LEDGER, &subject).await {
                let message: T = end.decode().unwrap();
                if wanted(&message) {
                    return message;
                }
                last = format!("{} at {}", end.subject, end.sequence);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    outcome.await.unwrap_or_else(|_| panic!("{subject}: last seen {last:?}"))
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), spark_risk::Error>>,
}

impl Running {
    async fn start(broker: &TestBroker, folder: &str, config: Config) -> Self {
        let service = broker.service_in("risk", folder).await;
        let stop = service.shutdown.clone();
        tokio::spawn(all_is_well(broker.bus("auditor").await, stop.clone()));
        Self { stop, task: tokio::spawn(spark_risk::run(service, config)) }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.task).await.unwrap().unwrap().unwrap();
    }
}

/// Plays the auditor of an undamaged LEDGER: answers every takeover.
async fn all_is_well(bus: Bus, stop: CancellationToken) {
    let mut answered = 0;
    while !stop.is_cancelled() {
        if let Ok(Some(epoch)) = bus.last(subject::LEDGER, subject::RISK_EPOCH).await
            && epoch.sequence > answered
        {
            answered = epoch.sequence;
            bus.publish(subject::AUDIT_VERIFIED, &world::verified(answered), Meta::default()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn mark(symbol: &str) -> Mark {
    let price = d("100");
    let (venue, symbol) = (Venue::Binance, symbol.to_owned());
    Mark { venue, symbol, bid: price, ask: price, price, quote_usd: d("1"), received_at: spark_nats::now(), feed_sequence: 1 }
}

/// Filters as the executor would tell them.
fn filters() -> InstrumentFilters {
    let mut world = World::empty();
    world.filters();
    world.log[0].decode().unwrap()
}

async fn ask(bus: &Bus, world: &mut World, words: &str) -> OrderIntent {
    let intent = world.wish("s", words);
    put(bus, subject::intent(&intent.order), &intent).await;
    intent
}

async fn ledger(bus: &Bus) -> Vec<Delivery> {
    let (first, last) = bus.bounds(subject::LEDGER).await.unwrap();
    let mut log = Vec::new();
    for sequence in first.max(1)..=last {
        log.extend(bus.get(subject::LEDGER, sequence).await.unwrap());
    }
    log
}

fn approved(verdict: &Verdict) -> bool {
    verdict.approved
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_judged_once_whoever_judges_and_the_ledger_explains_every_verdict() {
    let broker = TestBroker::start().await;
    let (gateway, candles, executor) = (broker.bus("gateway").await, broker.bus("candles").await, broker.bus("executor").await);
    let mut world = World::empty();
    let first = Running::start(&broker, "risk", Config::default()).await;
    let told: LimitsCommand = wait_for(&gateway, subject::LIMITS.to_owned(), |_| true).await;
    assert_eq!((told.source, &told.limits), (LimitsSource::Config, &Config::default().limits()));
    put(&executor, subject::instruments(Venue::Binance), &filters()).await;

    // No mark: a mark decides, or two seconds.
    let marked = ask(&gateway, &mut world, "buy 1 @ 100").await;
    put(&candles, subject::mark(Venue::Binance, "BTCUSDT"), &mark("BTCUSDT")).await;
    wait_for(&gateway, subject::verdict(&marked.order), approved).await;
    let alone = ask(&gateway, &mut world, "buy 1 @ 100 ETHUSDT").await;
    let late: Verdict = wait_for(&gateway, subject::verdict(&alone.order), |_| true).await;
    assert_eq!(late.guard, Some(Guard::StalePrice));
    wait_for::<Timeout>(&gateway, subject::risk_timeout(&alone.order), |_| true).await;

    // Limits by command hold through restarts with the same configuration.
    let mut limits = told.limits.clone();
    limits.default.notional_usd_max = d("50");
    let at = spark_nats::now();
    let (source, actor, reason) = (LimitsSource::Command, "operator".to_owned(), "careful".to_owned());
    put(&gateway, subject::LIMITS.to_owned(), &LimitsCommand { limits, source, actor, reason, at }).await;

    // A standby takes over; what was asked while nobody was there is judged, what was judged is not judged again.
    let second = Running::start(&broker, "risk-2", Config::default()).await;
    first.stop().await;
    put(&candles, subject::mark(Venue::Binance, "BTCUSDT"), &mark("BTCUSDT")).await;
    let large = ask(&gateway, &mut world, "buy 1 @ 100").await;
    put(&candles, subject::mark(Venue::Binance, "BTCUSDT"), &mark("BTCUSDT")).await;
    let refused: Verdict = wait_for(&gateway, subject::verdict(&large.order), |_| true).await;
    assert_eq!(refused.guard, Some(Guard::Notional), "{}", refused.reason);
    second.stop().await;

    // Another configuration is told, and replaces what was commanded.
    let mut config = Config::default();
    config.default.notional_usd_max = d("5000");
    let third = Running::start(&broker, "risk", config).await;
    wait_for::<LimitsCommand>(&gateway, subject::LIMITS.to_owned(), |told| {
        told.source == LimitsSource::Config && told.limits.default.notional_usd_max == d("5000")
    })
    .await;
    put(&candles, subject::mark(Venue::Binance, "BTCUSDT"), &mark("BTCUSDT")).await;
    let last = ask(&gateway, &mut world, "buy 1 @ 100").await;
    put(&candles, subject::mark(Venue::Binance, "BTCUSDT"), &mark("BTCUSDT")).await;
    wait_for(&gateway, subject::verdict(&last.order), approved).await;
    third.stop().await;

    let log = ledger(&gateway).await;
    let recorded: Vec<Vec<u8>> = log
        .iter()
        .filter(|message| subject::matches(subject::VERDICTS, &message.subject))
        .map(|message| message.payload.to_vec())
        .collect();
    let again: Vec<Vec<u8>> = replay(log.iter(), None).iter().map(encode).collect();
    assert_eq!(recorded.len(), 4);
    assert_eq!(again, recorded);
}
