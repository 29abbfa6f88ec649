//! Restart of a process with a million messages of the LEDGER behind it, its checkpoint there: from the start of the OS
//! process to the first thing that it exists for.
//! - risk: an order that was asked for meanwhile has its verdict, which waits for the auditor's answer to the start; the
//!   auditor runs beside it;
//! - executor: an order that was approved meanwhile is filled on paper, after such an answer as well;
//! - auditor: the whole LEDGER has been compared with the chain again, message by message;
//! - gateway: it answers that what it shows of orders is complete. How long it takes to read all of them, at its first start
//!   on this LEDGER, is told beside it.
//!
//! The LEDGER is made by risk itself: the bench asks for orders and writes the executor's events, 3 messages an order. While
//! it is filled the broker does not sync to disk, which only makes it quicker; it runs with its real configuration before
//! anything is measured. Risk and executor are killed (`kill -9`) before each restart.
//! Baseline, in the same run: the same measured on an empty LEDGER.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use serde_json::Value;
use spark_bus_schema::market::{Quote, QuoteBatch, Side};
use spark_bus_schema::marks::Mark;
use spark_bus_schema::orders::{
    Evidence, Fill, Filters, InstrumentFilters, OrderEvent, OrderIntent, OrderState, OrderType, Step, TimeInForce, TradingMode,
};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Decimal, Fixed, Message, OrderId, Timestamp, Venue, encode};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Follower, Meta, Start, now};
use spark_tests::bench::{Latencies, is_quick, machine};
use spark_tests::system::{processor_time, resident_bytes};
use spark_tests::wait::until;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Orders asked for and not over, at most, while the LEDGER is filled.
const OPEN_MAX: usize = 1_024;
/// Publishes on their way at once.
const IN_FLIGHT: usize = 512;
const LIMIT: Duration = Duration::from_secs(120);
/// Longer than a checkpoint may wait.
const SETTLE: Duration = Duration::from_millis(1_500);
const MIB: f64 = 1_048_576.0;
const PRICE: &str = "60010.00";
const QUANTITY: &str = "0.001";

/// Limits that stop nothing, marks that stay good, and an exchange that is traded on paper and cannot be asked for filters.
const CONFIG: &str = r#"
[risk.default]
capital_usd = "100000000"
exposure_usd_max = "100000000"
orders_per_minute_max = 100000000
mark_age_ms_max = 600000
[executor.binance]
base_url = "http://127.0.0.1:9"
balances = { USDT = "100000000", BTC = "100000" }
[executor.btcturk]
enabled = false
"#;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(run());
}

async fn run() {
    let (orders, rounds) = if is_quick() { (20_000, 2) } else { (333_400, 7) };
    println!("restart with {} messages of the LEDGER behind, {}", orders * 3, machine());
    let mut bench = Bench::new().await;
    println!(" {:<24} {:>12} {:>12} {:>12}", "", "empty", "full", "ratio");
    let mut empty = bench.measure(rounds).await;
    bench.fill(orders).await;
    let full = bench.measure(rounds).await;
    let messages = bench.operator.message_count(LEDGER).await.expect("the broker is there");
    for ((name, mut before), (_, mut after)) in empty.drain(..).zip(full) {
        let (before, longest) = (before.quantile_ms(0.5), after.quantile_ms(1.0));
        let after = after.quantile_ms(0.5);
        println!(
            " {name:<24} {before:>9.0} ms {after:>9.0} ms {:>11.2}x  longest {longest:.0} ms: {}",
            after / before,
            if longest < 2_000.0 { "< 2 s" } else { "NOT < 2 s" }
        );
    }
    println!(" {messages} messages at the end; medians of {rounds} restarts, auditor of one");
}

struct Bench {
    broker: TestBroker,
    dir: PathBuf,
    operator: Bus,
    strategy: Bus,
    executor: Bus,
    candles: Bus,
    feed: Bus,
    /// Orders asked for so far.
    count: usize,
}

/// One of the processes, running.
struct Process(Child);

impl Process {
    fn start(broker: &TestBroker, dir: &Path, name: &str, more: &[(&str, String)]) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join(format!("{name}.log"))).expect("log file");
        let child = Command::new(env!("CARGO_BIN_EXE_spark-under-test"))
            .arg(name)
            .env("NATS_URL", broker.url())
            .env("SPARK_NKEY_SEED_FILE", broker.seed_file(name))
            .env("SPARK_CONFIG", dir.join("spark.toml"))
            .env("SPARK_DATA", dir)
            .envs(more.iter().map(|(key, value)| (*key, value.as_str())))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log file"))
            .stderr(log)
            .spawn();
        Self(child.expect("the process starts"))
    }
}

/// kill -9.
impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; both calls are then harmless.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn decimal(text: &str) -> Decimal {
    text.parse().expect("a plain number")
}

impl Bench {
    async fn new() -> Self {
        let broker = TestBroker::start().await;
        let dir = broker.dir().join("restart");
        std::fs::create_dir_all(&dir).expect("folder");
        std::fs::write(dir.join("spark.toml"), CONFIG).expect("configuration");
        let bench = Self {
            operator: broker.bus("operator").await,
            strategy: broker.bus("strategy").await,
            executor: broker.bus("executor").await,
            candles: broker.bus("candles").await,
            feed: broker.bus("feed").await,
            broker,
            dir,
            count: 0,
        };
        let filters = Filters {
            tick_size: decimal("0.01"),
            step_size: decimal("0.00001"),
            quantity_min: decimal("0.00001"),
            quantity_max: decimal("9000"),
            notional_min: decimal("5"),
            market_orders: true,
        };
        let symbols = [("BTCUSDT".to_owned(), filters)].into();
        let filters = InstrumentFilters { exchange: Venue::Binance, at: now(), symbols };
        bench.executor.publish(&subject::instruments(Venue::Binance), &filters, Meta::default()).await.expect("stored");
        bench
    }

    fn start(&self, name: &str) -> Process {
        Process::start(&self.broker, &self.dir, name, &[])
    }

    async fn mark(&self) {
        let mark = Mark {
            venue: Venue::Binance,
            symbol: "BTCUSDT".to_owned(),
            bid: decimal("60000"),
            ask: decimal("60010"),
            price: decimal("60005"),
            quote_usd: decimal("1"),
            received_at: now(),
            feed_sequence: 1,
        };
        self.candles.publish(&subject::mark(Venue::Binance, "BTCUSDT"), &mark, Meta::default()).await.expect("stored");
    }

    async fn quote(&self) {
        let fixed = |text: &str| Fixed::parse(text).expect("a number");
        let mut batch = QuoteBatch::new(Venue::Binance, "BTCUSDT");
        let quote = Quote {
            update_id: 0,
            received_at: now(),
            bid_price: fixed("60000.00"),
            bid_quantity: fixed("1000000"),
            ask_price: fixed(PRICE),
            ask_quantity: fixed("1000000"),
        };
        batch.push(&quote).expect("it fits");
        self.feed.publish(&subject::quotes(Venue::Binance, "BTCUSDT"), &batch, Meta::default()).await.expect("stored");
    }

    fn next_intent(&mut self) -> OrderIntent {
        self.count += 1;
        intent(self.count)
    }

    /// Every process in turn: what it takes it to be of use again.
    async fn measure(&mut self, rounds: usize) -> Vec<(&'static str, Latencies)> {
        // Risk approves, and the executor sends, once the auditor has answered their start.
        let running = self.start("auditor");
        let risk = self.risk(rounds).await;
        let executor = self.executor(rounds).await;
        drop(running);
        let auditor = self.auditor().await;
        let gateway = self.gateway(rounds).await;
        vec![
            ("risk: verdict", risk),
            ("executor: fill", executor),
            ("auditor: verified", auditor),
            ("gateway: complete", gateway),
        ]
    }

    async fn risk(&mut self, rounds: usize) -> Latencies {
        let mut process = self.start("risk");
        let mut verdicts = self.follow(subject::VERDICTS).await;
        until("risk has told its limits", LIMIT, async || {
            self.operator
                .last(LEDGER, subject::LIMITS)
                .await
                .map_err(|error| error.to_string())?
                .map(|_| ())
                .ok_or_else(String::new)
        })
        .await;
        self.mark().await;
        let mut latencies = Latencies::default();
        for round in 0..=rounds {
            let intent = self.next_intent();
            if round > 0 {
                tokio::time::sleep(SETTLE).await;
                drop(process);
                ask(&self.strategy, &intent).await;
                process = self.start("risk");
            } else {
                ask(&self.strategy, &intent).await;
            }
            // The child was forked just before; what is measured includes its whole start.
            let began = Instant::now();
            let verdict: Verdict = next(&mut verdicts, &subject::verdict(&intent.order)).await;
            assert!(verdict.approved, "{}", verdict.reason);
            if round > 0 {
                latencies.push(began.elapsed());
            }
            self.executor
                .publish(&subject::order_event(&intent.order), &filled(&verdict, 0), Meta::default())
                .await
                .expect("stored");
        }
        self.tell("risk", &process);
        latencies
    }

    async fn executor(&mut self, rounds: usize) -> Latencies {
        let risk = self.start("risk");
        let mut process = None;
        let mut verdicts = self.follow(subject::VERDICTS).await;
        let mut events = self.follow(subject::ORDER_EVENTS).await;
        let mut latencies = Latencies::default();
        for round in 0..=rounds {
            self.mark().await;
            self.quote().await;
            let intent = self.next_intent();
            if round > 0 {
                tokio::time::sleep(SETTLE).await;
            }
            drop(process.take());
            ask(&self.strategy, &intent).await;
            let verdict: Verdict = next(&mut verdicts, &subject::verdict(&intent.order)).await;
            assert!(verdict.approved, "{}", verdict.reason);
            process = Some(self.start("executor"));
            let began = Instant::now();
            let event: OrderEvent = next(&mut events, &subject::order_event(&intent.order)).await;
            assert_eq!(event.state(), OrderState::Filled, "{event:?}");
            if round > 0 {
                latencies.push(began.elapsed());
            }
        }
        self.tell("executor", process.as_ref().expect("at least one round"));
        drop(risk);
        latencies
    }

    async fn auditor(&mut self) -> Latencies {
        let mut verified = self.follow(subject::AUDIT_VERIFIED).await;
        let mut latencies = Latencies::default();
        for round in 0..2 {
            let process = self.start("auditor");
            let began = Instant::now();
            timeout(LIMIT, verified.next()).await.expect("it is verified in time").expect("a follower does not end");
            if round > 0 {
                latencies.push(began.elapsed());
                self.tell("auditor", &process);
            } else {
                tokio::time::sleep(SETTLE).await;
            }
        }
        latencies
    }

    async fn gateway(&mut self, rounds: usize) -> Latencies {
        // The client wants a provider even for plain HTTP; a second installation in one process is refused, harmlessly.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::new();
        let mut latencies = Latencies::default();
        for round in 0..=rounds {
            let port = spark_nats::server::free_port().expect("a free port");
            let listen = ("SPARK_GATEWAY__LISTEN", format!("127.0.0.1:{port}"));
            let process = Process::start(&self.broker, &self.dir, "gateway", &[listen]);
            let began = Instant::now();
            until("the gateway has read the LEDGER", LIMIT, async || {
                let url = format!("http://127.0.0.1:{port}/api/exec/orders?limit=1");
                let answer = http.get(url).send().await.map_err(|error| error.to_string())?;
                let text = answer.text().await.map_err(|error| error.to_string())?;
                let body: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
                if body["complete"] == true { Ok(()) } else { Err(text) }
            })
            .await;
            if round > 0 {
                latencies.push(began.elapsed());
            } else {
                println!(
                    "   gateway: {:.0} ms to read all that is not in its checkpoint yet",
                    began.elapsed().as_secs_f64() * 1e3
                );
                // It saves as soon as it has read everything.
                tokio::time::sleep(SETTLE).await;
            }
            if round == 0 || round == rounds {
                self.tell("gateway", &process);
            }
        }
        latencies
    }

    fn tell(&self, name: &str, process: &Process) {
        let pid = process.0.id();
        let bytes: u64 = std::fs::read_dir(self.dir.join(name))
            .map(|files| files.flatten().filter_map(|file| Some(file.metadata().ok()?.len())).sum())
            .unwrap_or_default();
        println!(
            "   {name}: {:.1} MiB resident, {:.2} s of processor time since its start, {:.1} MiB of files",
            resident_bytes(pid) as f64 / MIB,
            processor_time(pid).as_secs_f64(),
            bytes as f64 / MIB
        );
    }

    async fn follow(&self, subject: &str) -> Follower {
        let name = format!("operator-{}", subject.replace(['.', '>', '*'], "-"));
        let mut follower = Follower::start(self.operator.clone(), &name, LEDGER, vec![subject.to_owned()], Start::New);
        until("the follower is there", LIMIT, async || {
            // Nothing arrives: what is waited for is that it has been made.
            match timeout(Duration::from_millis(5), follower.next()).await {
                Err(_) if follower.is_caught_up() => Ok(()),
                _ => Err("not yet"),
            }
        })
        .await;
        follower
    }

    /// Orders from intent to fill, as fast as risk decides.
    async fn fill(&mut self, orders: usize) {
        self.broker.restart_unsynced().await;
        for bus in [&self.operator, &self.strategy, &self.executor, &self.candles, &self.feed] {
            timeout(LIMIT, bus.wait_connected()).await.expect("connected again");
        }
        let (auditor, risk) = (self.start("auditor"), self.start("risk"));
        self.mark().await;
        let began = Instant::now();
        let mut verdicts = self.follow(subject::VERDICTS).await;
        let room = Arc::new(Semaphore::new(OPEN_MAX));
        let (bus, asking, first) = (self.strategy.clone(), Arc::clone(&room), self.count + 1);
        self.count += orders;
        let asked = tokio::spawn(async move {
            let intents = stream::iter(first..first + orders);
            intents
                .for_each_concurrent(IN_FLIGHT, |number| {
                    let (bus, room) = (&bus, &asking);
                    async move {
                        room.acquire().await.expect("never closed").forget();
                        ask(bus, &intent(number)).await;
                    }
                })
                .await;
        });
        let mut done = 0;
        while done < orders {
            let batch = timeout(LIMIT, verdicts.next()).await.expect("verdicts come").expect("a follower does not end");
            let count = batch.len();
            let bus = &self.executor;
            stream::iter(batch)
                .for_each_concurrent(IN_FLIGHT, |delivery| async move {
                    let verdict: Verdict = delivery.decode().expect("a verdict");
                    assert!(verdict.approved, "{}", verdict.reason);
                    let event = filled(&verdict, delivery.sequence);
                    bus.publish(&subject::order_event(&verdict.order), &event, Meta::default()).await.expect("stored");
                })
                .await;
            room.add_permits(count);
            done += count;
        }
        asked.await.expect("no panic");
        tokio::time::sleep(SETTLE).await;
        println!(" filled with {orders} orders in {:.0} s", began.elapsed().as_secs_f64());
        drop((risk, auditor));
        self.broker.restart().await;
        for bus in [&self.operator, &self.strategy, &self.executor, &self.candles, &self.feed] {
            timeout(LIMIT, bus.wait_connected()).await.expect("connected again");
        }
    }
}

fn intent(number: usize) -> OrderIntent {
    let key = format!("k{number}");
    let strategy = format!("s{}", number % 8);
    OrderIntent {
        order: OrderId::derive(&strategy, &key),
        key,
        strategy,
        actor: "bench".to_owned(),
        exchange: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        // Each strategy buys and sells in turn.
        side: if (number / 8).is_multiple_of(2) { Side::Buy } else { Side::Sell },
        order_type: OrderType::Market,
        time_in_force: TimeInForce::Ioc,
        quantity: decimal(QUANTITY),
        limit_price: None,
        requested_at: now(),
        reason: None,
        decided_at: None,
    }
}

async fn ask(bus: &Bus, intent: &OrderIntent) {
    let payload = Bytes::from(encode(intent));
    bus.store_kind(&subject::intent(&intent.order), OrderIntent::KIND, payload, Meta::default()).await.expect("stored");
}

/// What the executor writes of an order that it fills on paper.
fn filled(verdict: &Verdict, verdict_sequence: u64) -> OrderEvent {
    let intent = &verdict.intent;
    let (price, at): (Decimal, Timestamp) = (decimal(PRICE), now());
    let amount = price * intent.quantity;
    let fill = Fill {
        trade_id: format!("{}-1", intent.order),
        price,
        quantity: intent.quantity,
        fee: amount / decimal("1000"),
        fee_asset: "USDT".to_owned(),
        is_maker: false,
        at,
    };
    let step = |state, evidence, fill| Step { state, evidence, reason: None, at, fill };
    OrderEvent {
        order: intent.order.clone(),
        revision: 1,
        verdict_sequence,
        mode: TradingMode::Paper,
        exchange: intent.exchange,
        symbol: intent.symbol.clone(),
        strategy: intent.strategy.clone(),
        side: intent.side,
        quantity: intent.quantity,
        client_order_id: intent.order.client_id(),
        exchange_order_id: Some(format!("paper-{}", intent.order)),
        steps: vec![
            step(OrderState::Pending, Evidence::Approval, None),
            step(OrderState::Submitted, Evidence::Paper, None),
            step(OrderState::Filled, Evidence::Paper, Some(fill)),
        ],
        filled: intent.quantity,
        filled_quote: amount,
    }
}

/// The next message on a subject; others are passed over.
async fn next<T: Message>(follower: &mut Follower, subject: &str) -> T {
    loop {
        let batch = timeout(LIMIT, follower.next()).await.unwrap_or_else(|_| panic!("nothing on {subject} within {LIMIT:?}"));
        let batch = batch.expect("a follower does not end");
        if let Some(delivery) = batch.iter().find(|delivery| delivery.subject == subject) {
            return delivery.decode().expect("readable");
        }
    }
}
