//! The guardrail as a process on a real broker: alerts by exchange, staleness, garbage, kill -9, a lost state.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test names its failure by panicking")]

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::market::{Side, TickBatch, Trade};
use spark_bus_schema::parked::Parked;
use spark_bus_schema::subject::{self, FEED, LEDGER, PARKED};
use spark_bus_schema::telemetry::{Call, REFRESH, Windows};
use spark_bus_schema::{Fixed, Kind, Message, Timestamp, Venue};
use spark_guardrail::{Config, Error, run};
use spark_nats::testing::{DUPLICATE_WINDOW, TestBroker};
use spark_nats::{Bus, Follower, Meta, Start, now};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);

const RULES: &str = r#"
[[rule]]
id = "portfolio_refresh_p95"
alert = "PortfolioRefreshLatencyHighP95"
metric = "refresh_latency_ms"
scope = ["exchange"]
aggregation = "quantile"
quantile = 0.95
window = "1s"
warning = 1500
critical = 3000
summary = "{exchange} {value}"
cause = "slow"
first_action = "wait"

[[rule]]
id = "ws_staleness"
alert = "WSStaleness"
metric = "market_data"
scope = ["venue", "symbol"]
aggregation = "staleness"
warning = 1
summary = "{symbol} {value}"
cause = "frozen"
first_action = "restart"
"#;

/// A broker, the guardrail on it, and a hand that publishes.
struct World {
    broker: TestBroker,
    operator: Bus,
    rules: PathBuf,
    running: Option<(JoinHandle<Result<(), Error>>, CancellationToken)>,
}

impl World {
    async fn start() -> Self {
        let broker = TestBroker::start().await;
        let operator = broker.bus("operator").await;
        let rules = broker.dir().join("rules.toml");
        std::fs::write(&rules, RULES).unwrap();
        let mut world = Self { broker, operator, rules, running: None };
        world.start_guardrail().await;
        world
    }

    async fn start_guardrail(&mut self) {
        let service = self.broker.service("guardrail").await;
        let shutdown = service.shutdown.clone();
        let config = Config { rules: Some(self.rules.clone()), ..Config::default() };
        self.running = Some((tokio::spawn(run(service, config)), shutdown));
    }

    /// Ends it in the middle of whatever it does: no last checkpoint, as after kill -9.
    async fn kill_guardrail(&mut self) {
        let (task, shutdown) = self.running.take().unwrap();
        task.abort();
        let ended = task.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()), "it ended by itself");
        shutdown.cancel();
    }

    async fn stop_guardrail(&mut self) {
        let (task, shutdown) = self.running.take().unwrap();
        shutdown.cancel();
        timeout(LIMIT, task).await.expect("stops").unwrap().unwrap();
    }

    async fn refresh(&self, exchange: Venue, latency_ms: u64) -> u64 {
        let call = Call {
            exchange,
            service: "portfolio".into(),
            operation: REFRESH.into(),
            started_at: now(),
            latency_us: latency_ms * 1_000,
            ok: true,
            error_type: None,
            http_status: None,
            attempt: 1,
        };
        self.operator.publish(&subject::calls(exchange), &call, Meta::default()).await.unwrap()
    }

    async fn trades(&self, ids: &[u64]) -> u64 {
        let mut batch = TickBatch::new(Venue::Binance, "BTCUSDT");
        for id in ids {
            let one = Fixed::parse("1").unwrap();
            let at = now();
            let trade = Trade { trade_id: *id, occurred_at: at, received_at: at, price: one, quantity: one, side: Side::Buy };
            batch.push(&trade).unwrap();
        }
        self.operator.publish(&subject::ticks(Venue::Binance, "BTCUSDT"), &batch, Meta::default()).await.unwrap()
    }

    async fn garbage(&self, subject: &str, kind: Kind, payload: &[u8]) -> u64 {
        self.operator.store_kind(subject, kind, Bytes::copy_from_slice(payload), Meta::default()).await.unwrap()
    }

    fn alerts(&self) -> Reader {
        Reader::new(&self.operator, "operator-alerts", LEDGER, subject::ALERTS)
    }

    /// Waits until the guardrail's own time is past a moment.
    async fn passed(&self, moment: Timestamp) {
        let mut windows = Reader::new(&self.operator, "operator-windows", FEED, subject::WINDOWS);
        while windows.next::<Windows>().await.1.at < moment {}
    }

    /// Waits until the windows say that so many trades were counted.
    async fn counted(&self, want: u64) {
        let mut last = None;
        let found = timeout(LIMIT, async {
            let mut windows = Reader::new(&self.operator, "operator-windows", FEED, subject::WINDOWS);
            loop {
                let seen: Windows = windows.next().await.1;
                let count = seen.trades_counted.get("binance.BTCUSDT").copied().unwrap_or(0);
                last = Some(seen);
                if count == want {
                    return;
                }
                assert!(count < want, "{count} trades counted, {want} exist");
            }
        });
        let done = found.await.is_ok();
        assert!(done, "{want} trades not counted within {LIMIT:?}; last {last:?}");
    }
}

/// Messages of one subject, one by one.
struct Reader {
    follower: Follower,
    waiting: std::collections::VecDeque<spark_nats::Delivery>,
}

impl Reader {
    fn new(bus: &Bus, name: &str, stream: &'static str, subject: &str) -> Self {
        let follower = Follower::start(bus.clone(), name, stream, vec![subject.to_owned()], Start::Beginning);
        Self { follower, waiting: std::collections::VecDeque::new() }
    }

    async fn next<T: Message>(&mut self) -> (Timestamp, T) {
        while self.waiting.is_empty() {
            let batch = timeout(LIMIT, self.follower.next()).await;
            self.waiting.extend(batch.unwrap_or_else(|_| panic!("no {} within {LIMIT:?}", T::KIND)).expect("open"));
        }
        let delivery = self.waiting.pop_front().unwrap();
        (delivery.stored_at, delivery.decode().unwrap())
    }

    /// The next alert of a name.
    async fn alert(&mut self, name: &str) -> Alert {
        loop {
            let (_, alert): (_, Alert) = self.next().await;
            if alert.name == name {
                return alert;
            }
        }
    }
}

const LATENCY: &str = "PortfolioRefreshLatencyHighP95";

fn told(alert: &Alert) -> (&str, AlertState, Option<Severity>, u64) {
    let scope = alert.scope.values().next().map_or("", String::as_str);
    (scope, alert.state, alert.severity, alert.revision)
}

#[tokio::test]
async fn a_slow_exchange_raises_its_own_alert_and_recovers() {
    let mut world = World::start().await;
    let mut alerts = world.alerts();
    world.refresh(Venue::Btcturk, 100).await;
    world.refresh(Venue::Binance, 4_000).await;
    let fired = alerts.alert(LATENCY).await;
    assert_eq!(told(&fired), ("binance", AlertState::Firing, Some(Severity::Critical), 1));
    // The slow refresh leaves its window by itself; without data there is nothing to complain about.
    let resolved = alerts.alert(LATENCY).await;
    assert_eq!(told(&resolved), ("binance", AlertState::Resolved, None, 2));
    let left = resolved.at.saturating_since(fired.at);
    assert!(left >= Duration::from_secs(1) && left < Duration::from_millis(1_300), "resolved {left:?} after it fired");
    world.stop_guardrail().await;
}

#[tokio::test]
async fn silence_is_told_within_half_a_second_of_the_threshold_although_nothing_arrives() {
    let mut world = World::start().await;
    let mut alerts = world.alerts();
    let sequence = world.trades(&[1]).await;
    let stored_at = world.operator.get(FEED, sequence).await.unwrap().unwrap().stored_at;
    let stale = alerts.alert("WSStaleness").await;
    let after = stale.at.saturating_since(stored_at);
    assert!(after > Duration::from_secs(1) && after <= Duration::from_millis(1_500), "told {after:?} after the last trade");
    assert_eq!(stale.summary, format!("BTCUSDT {}", (after.as_secs_f64() * 1_000.0).round() / 1_000.0));
    world.trades(&[2]).await;
    assert_eq!(alerts.alert("WSStaleness").await.state, AlertState::Resolved);
    world.stop_guardrail().await;
}

#[tokio::test]
async fn garbage_is_parked_alone_and_its_neighbours_are_counted() {
    let mut world = World::start().await;
    let target = subject::ticks(Venue::Binance, "BTCUSDT");
    world.trades(&[1, 2]).await;
    let call = subject::calls(Venue::Binance);
    let cases = [
        (world.garbage(&target, TickBatch::KIND, &[0xc1, 0x00, 0xff]).await, "malformed"),
        (world.garbage(&target, Call::KIND, &[0x80]).await, "wrong_kind"),
        (world.garbage(&target, Kind { version: 99, ..TickBatch::KIND }, &[0x80]).await, "unknown_version"),
        (world.garbage(&subject::ticks(Venue::Btcturk, "BTCTRY"), TickBatch::KIND, &other_market()).await, "invalid"),
        (world.garbage(&call, Call::KIND, &long_label()).await, "rejected"),
    ];
    world.trades(&[3]).await;
    world.counted(3).await;
    let mut parked = Reader::new(&world.operator, "operator-parked", PARKED, subject::PARKED_ALL);
    for (sequence, reason) in cases {
        let (_, message): (_, Parked) = parked.next().await;
        assert_eq!((message.process.as_str(), message.sequence, message.reason.as_str()), ("guardrail", sequence, reason));
    }
    world.stop_guardrail().await;
}

/// A good batch of another market than the subject names.
fn other_market() -> Vec<u8> {
    let entry = spark_bus_schema::catalogue::find(&TickBatch::KIND.to_string()).unwrap();
    (entry.sample)()
}

fn long_label() -> Vec<u8> {
    let entry = spark_bus_schema::catalogue::find(&Call::KIND.to_string()).unwrap();
    let mut call: Call = spark_bus_schema::codec::decode_payload(&(entry.sample)()).unwrap();
    call.operation = "x".repeat(10_000);
    spark_bus_schema::encode(&call)
}

#[tokio::test]
async fn killed_several_times_it_counts_each_trade_once_and_says_each_thing_once() {
    let mut world = World::start().await;
    let mut alerts = world.alerts();
    for round in 0..4 {
        let first = round * 10 + 1;
        // Each batch comes twice, as after a publish whose answer was lost.
        world.trades(&[first, first + 1, first + 2]).await;
        world.trades(&[first, first + 1, first + 2]).await;
        world.refresh(Venue::Btcturk, 4_000).await;
        world.kill_guardrail().await;
        world.refresh(Venue::Btcturk, 4_000).await;
        world.trades(&[first + 5]).await;
        world.start_guardrail().await;
    }
    world.counted(16).await;
    // Whatever was decided twice was stored once: revisions rise by one.
    let mut revision = 0;
    loop {
        let alert = alerts.alert(LATENCY).await;
        assert_eq!(alert.revision, revision + 1, "{alert:?}");
        revision = alert.revision;
        if alert.state == AlertState::Resolved && world.bus_is_quiet(revision).await {
            break;
        }
    }
    world.stop_guardrail().await;
}

impl World {
    /// Whether this revision of the latency alert is the last one stored.
    async fn bus_is_quiet(&self, revision: u64) -> bool {
        let target = format!("alerts.changed.{LATENCY}.btcturk");
        let last: Alert = self.operator.last(LEDGER, &target).await.unwrap().unwrap().decode().unwrap();
        last.revision == revision
    }
}

#[tokio::test]
async fn without_its_state_it_goes_on_after_the_alerts_that_are_stored() {
    let mut world = World::start().await;
    let mut alerts = world.alerts();
    world.trades(&[1]).await;
    let fired = alerts.alert("WSStaleness").await;
    assert_eq!((fired.state, fired.revision), (AlertState::Firing, 1));
    // The same input decides something else now, under the same message id: let the broker's duplicate window pass.
    world.passed(fired.at + DUPLICATE_WINDOW * 2).await;
    world.kill_guardrail().await;
    std::fs::remove_dir_all(world.broker.dir().join("data").join("guardrail")).unwrap();
    world.start_guardrail().await;
    let closed = alerts.alert("WSStaleness").await;
    assert_eq!((closed.state, closed.revision), (AlertState::Resolved, 2));
    let again = alerts.alert("WSStaleness").await;
    assert_eq!((again.state, again.revision), (AlertState::Firing, 3));
    world.stop_guardrail().await;
}

#[tokio::test]
async fn it_outlives_the_broker() {
    let mut world = World::start().await;
    world.trades(&[1]).await;
    world.counted(1).await;
    world.broker.kill();
    world.broker.restart().await;
    timeout(LIMIT, world.operator.wait_connected()).await.expect("operator is back");
    world.trades(&[2, 3]).await;
    // FEED may lose its tail with the broker: the feed publishes it again, so does this test.
    world.trades(&[1, 2, 3]).await;
    world.counted(3).await;
    world.stop_guardrail().await;
}

#[test]
fn a_rule_file_that_cannot_be_used_is_named_with_its_key() {
    let check = |config: Config, parts: &[&str]| {
        let problems = config.validate();
        assert_eq!(problems.len(), 1, "{problems:?}");
        for part in parts {
            assert!(problems[0].contains(part), "{} lacks {part}", problems[0]);
        }
    };
    assert_eq!(Config::default().validate(), Vec::<String>::new());
    check(
        Config { rules: Some("/nowhere/rules.toml".into()), ..Config::default() },
        &["guardrail.rules = \"/nowhere/rules.toml\"", "No such file", "remove the key"],
    );
    let file = std::env::temp_dir().join(format!("spark-guardrail-{}.toml", std::process::id()));
    std::fs::write(&file, RULES.replace("window = \"1s\"", "window = 1")).unwrap();
    let problems = Config { rules: Some(file.clone()), ..Config::default() }.validate();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains(".toml:9: rule.portfolio_refresh_p95.window = 1: a duration without a unit"), "{problems:?}");
}
