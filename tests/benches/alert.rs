//! A threshold is crossed → the alert is stored in LEDGER and delivered to a subscriber. Real broker, real guardrail process.
//! Measured from the publish of the call that crosses the limit to the arrival of the firing alert, no `for`.
//! Baseline, in the same run and between the crossings: one message of the alert's size published to LEDGER (synced to
//! disk) and delivered, without any process in between.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use spark_bus_schema::alerts::{Alert, AlertState};
use spark_bus_schema::market::{Side, TickBatch, Trade};
use spark_bus_schema::subject::{self, FEED, LEDGER};
use spark_bus_schema::telemetry::Call;
use spark_bus_schema::{Fixed, Message, Timestamp, Venue, encode};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Delivery, Follower, Meta, Start, now};
use spark_tests::bench::{Latencies, is_quick, machine};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// An alert that has not come after this is lost.
const LIMIT: Duration = Duration::from_secs(20);
/// Operations judged apart; each crosses once a round.
const SCOPES: usize = 40;
/// Size of one batch of the trades that run beside in the second part, and pause between two: 20 000 trades a second.
const BESIDE_ROWS: u64 = 20;
const BESIDE_PAUSE: Duration = Duration::from_millis(1);
const BASELINE: &str = "control.bench";

const RULES: &str = r#"
[[rule]]
id = "call_p95"
alert = "HighLatency"
metric = "call_latency_ms"
scope = ["exchange", "operation"]
aggregation = "quantile"
quantile = 0.95
window = "1s"
warning = 1000
unit = "ms"
summary = "p95 of {operation} at {exchange} is {value} ms over {window} (limit {threshold} ms, {samples} calls)"
cause = "the exchange or the network answers slowly, or too many calls run at once"
first_action = "lengthen the refresh interval from 60 s to 120 s and let the back-off work"

[[rule]]
id = "trade_delay_p95"
alert = "HighLatency"
metric = "trade_delay_ms"
scope = ["venue", "symbol"]
aggregation = "quantile"
quantile = 0.95
window = "1m"
summary = "{value}"
cause = "measured alone"
first_action = "none"
"#;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(run());
}

async fn run() {
    let rounds = if is_quick() { 1 } else { 8 };
    println!("threshold crossed -> alert in LEDGER and delivered, {}", machine());
    let broker = TestBroker::start().await;
    let guardrail = Guardrail::start(&broker);
    let mut bench = Bench::new(broker.bus("operator").await).await;

    println!(" alone:");
    bench.measure(rounds).await.print();
    let sent = Arc::new(AtomicU64::new(0));
    let beside = tokio::spawn(trades(broker.bus("feed").await, Arc::clone(&sent)));
    let start = Instant::now();
    let found = bench.measure(rounds).await;
    println!(" beside {:.0} trades/s:", sent.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64());
    found.print();
    beside.abort();
    drop(guardrail);
}

/// The guardrail as its own process on the broker of the bench.
struct Guardrail(Child);

impl Guardrail {
    fn start(broker: &TestBroker) -> Self {
        let dir = broker.dir().join("guardrail");
        std::fs::create_dir_all(&dir).expect("folder");
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).expect("file");
            path
        };
        let rules = write("rules.toml", RULES);
        let config = write("spark.toml", &format!("[guardrail]\nrules = {rules:?}\n"));
        let log = std::fs::File::create(dir.join("guardrail.log")).expect("log file");
        let child = Command::new(Path::new(env!("CARGO_BIN_EXE_spark-under-test")))
            .arg("guardrail")
            .env("NATS_URL", broker.url())
            .env("SPARK_NKEY_SEED_FILE", broker.seed_file("guardrail"))
            .env("SPARK_CONFIG", config)
            .env("SPARK_DATA", &dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log file"))
            .stderr(log)
            .spawn()
            .expect("the guardrail starts");
        Self(child)
    }
}

impl Drop for Guardrail {
    fn drop(&mut self) {
        // It may have ended by itself; both calls are then harmless.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What one measurement found.
#[derive(Default)]
struct Found {
    /// The first alert of a subject: its end is looked up before it is published.
    first: Latencies,
    again: Latencies,
    all: Latencies,
    /// From the call being stored to the alert being stored, by the broker's clock.
    stored: Latencies,
    baseline: Latencies,
}

impl Found {
    fn print(mut self) {
        println!("  publish of the call -> alert delivered      {}", self.all.row());
        let parts = [
            ("    first alert of its subject                ", &mut self.first),
            ("    further alerts of a subject               ", &mut self.again),
        ];
        if parts.iter().all(|(_, latencies)| !latencies.is_empty()) {
            for (what, latencies) in parts {
                println!("{what}{}", latencies.row());
            }
        }
        println!("    of it: call stored -> alert stored        {}", self.stored.row());
        println!("  LEDGER publish -> deliver (baseline)        {}", self.baseline.row());
        let ratio =
            |quantile: f64, all: &mut Latencies, base: &mut Latencies| all.quantile_ms(quantile) / base.quantile_ms(quantile);
        println!(
            "  ratio p50 {:.2}x, p99 {:.2}x; target p99 < 100 ms",
            ratio(0.5, &mut self.all, &mut self.baseline),
            ratio(0.99, &mut self.all, &mut self.baseline)
        );
    }
}

struct Bench {
    bus: Bus,
    alerts: mpsc::UnboundedReceiver<(Instant, Delivery)>,
    bare: mpsc::UnboundedReceiver<(Instant, Delivery)>,
    /// Bytes of an alert, for the baseline.
    alert: Bytes,
    /// Operations that have had an alert before.
    known: usize,
}

impl Bench {
    /// Waits until the guardrail answers.
    async fn new(bus: Bus) -> Self {
        let alerts = arrivals(bus.clone(), "operator-alerts", subject::ALERTS);
        let bare = arrivals(bus.clone(), "operator-bare", BASELINE);
        let mut bench = Self { bus, alerts, bare, alert: Bytes::new(), known: 0 };
        bench.cross("warm-up").await;
        let (_, delivery) = bench.firing("warm-up").await;
        bench.alert = delivery.payload;
        bench.baseline().await;
        bench.resolved(1).await;
        bench
    }

    async fn measure(&mut self, rounds: usize) -> Found {
        let mut found = Found::default();
        let mut pauses = Pauses(0x9e37_79b9_7f4a_7c15);
        for _ in 0..rounds {
            for scope in 0..SCOPES {
                let operation = format!("operation-{scope}");
                tokio::time::sleep(pauses.next()).await;
                let start = Instant::now();
                let call_stored = self.cross(&operation).await;
                let (arrived, delivery) = self.firing(&operation).await;
                let latency = arrived.saturating_duration_since(start);
                found.all.push(latency);
                if scope < self.known { &mut found.again } else { &mut found.first }.push(latency);
                found.stored.push(delivery.stored_at.saturating_since(call_stored));
                tokio::time::sleep(pauses.next()).await;
                found.baseline.push(self.baseline().await);
            }
            self.known = SCOPES;
            // Every window must be empty again, or the next round crosses nothing.
            self.resolved(SCOPES).await;
        }
        found
    }

    /// A call far above the limit; returns when it was stored.
    async fn cross(&self, operation: &str) -> Timestamp {
        let call = Call {
            exchange: Venue::Binance,
            service: "bench".into(),
            operation: operation.into(),
            started_at: now(),
            latency_us: 5_000_000,
            ok: true,
            error_type: None,
            http_status: None,
            attempt: 1,
        };
        let sequence = self.bus.publish(&subject::calls(Venue::Binance), &call, Meta::default()).await.expect("stored");
        self.bus.get(FEED, sequence).await.expect("the broker is there").expect("it was just stored").stored_at
    }

    /// The next alert, which must be the firing one of this operation.
    async fn firing(&mut self, operation: &str) -> (Instant, Delivery) {
        let next = timeout(LIMIT, self.alerts.recv()).await;
        let (arrived, delivery) = next.unwrap_or_else(|_| panic!("no alert for {operation} within {LIMIT:?}")).expect("open");
        let alert: Alert = delivery.decode().expect("an alert");
        let of = alert.scope.get("operation").map_or("", String::as_str);
        assert!(of == operation && alert.state == AlertState::Firing, "{alert:?} instead of the firing one of {operation}");
        (arrived, delivery)
    }

    async fn resolved(&mut self, count: usize) {
        let mut states: BTreeMap<String, AlertState> = BTreeMap::new();
        while states.values().filter(|state| **state == AlertState::Resolved).count() < count {
            let next = timeout(LIMIT, self.alerts.recv()).await;
            let (_, delivery) =
                next.unwrap_or_else(|_| panic!("{count} to resolve within {LIMIT:?}, got {states:?}")).expect("open");
            let alert: Alert = delivery.decode().expect("an alert");
            states.insert(delivery.subject, alert.state);
        }
    }

    async fn baseline(&mut self) -> Duration {
        let start = Instant::now();
        self.bus.store_kind(BASELINE, Alert::KIND, self.alert.clone(), Meta::default()).await.expect("stored");
        let (arrived, _) = timeout(LIMIT, self.bare.recv()).await.expect("delivered in time").expect("open");
        arrived.saturating_duration_since(start)
    }
}

/// Messages of a LEDGER subject with the moment at which they came.
fn arrivals(bus: Bus, name: &str, subject: &str) -> mpsc::UnboundedReceiver<(Instant, Delivery)> {
    let mut follower = Follower::start(bus, name, LEDGER, vec![subject.to_owned()], Start::Beginning);
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(batch) = follower.next().await {
            let at = Instant::now();
            for delivery in batch {
                if sender.send((at, delivery)).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

/// Pauses between 2 and 14 ms, so that crossings meet every phase of ticks and checkpoints.
struct Pauses(u64);

impl Pauses {
    fn next(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_micros(2_000 + self.0 % 12_000)
    }
}

/// Trades beside the crossings, until aborted.
async fn trades(feed: Bus, sent: Arc<AtomicU64>) {
    let target = subject::ticks(Venue::Binance, "BTCUSDT");
    let one = Fixed::parse("61837.63").expect("a price");
    let mut trade_id = 0;
    let mut ticks = tokio::time::interval(BESIDE_PAUSE);
    loop {
        ticks.tick().await;
        let mut batch = TickBatch::new(Venue::Binance, "BTCUSDT");
        for _ in 0..BESIDE_ROWS {
            trade_id += 1;
            let at = now();
            let trade = Trade { trade_id, occurred_at: at, received_at: at, price: one, quantity: one, side: Side::Buy };
            batch.push(&trade).expect("it fits");
        }
        feed.store_kind(&target, TickBatch::KIND, Bytes::from(encode(&batch)), Meta::default()).await.expect("stored");
        sent.fetch_add(BESIDE_ROWS, Ordering::Relaxed);
    }
}
