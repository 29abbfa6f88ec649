//! Orders through a whole running system (`spark up`): gateway → risk → executor on paper → the gateway's view, with the
//! LEDGER synced to disk at every message.
//!
//! 1. 200 orders/s, open loop: each is due at its own time whatever became of those before it, and its latency counts from
//!    there. Measured at the client (`POST /api/exec/order`, `?wait=final`: answered from the view) and between the times at
//!    which the broker stored intent, verdict and event. Baseline: a message of an intent's size stored in LEDGER and
//!    acknowledged, at the same rate, on the same broker, before the orders. An order is three of them in a row.
//! 2. As many as it takes, closed loop. All of them are then counted in the LEDGER. Baseline: the same one at a time.
//! 3. Kill switch, again and again while 200 orders/s flow: from its stored time to the last event that says that something
//!    was sent. Baseline: the acknowledged publish of part 1.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use spark_bus_schema::control::KillSwitch;
use spark_bus_schema::orders::{Evidence, OrderEvent, OrderId, OrderIntent, OrderState};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::{Message, Timestamp, subject};
use spark_nats::{Bus, Delivery, Meta};
use spark_tests::bench::{Latencies, is_quick, machine};
use spark_tests::checker::{ledger_problems, stories};
use spark_tests::orders::{Desk, is, market, record};
use spark_tests::system::{System, process_name, processor_time};
use spark_tests::wait::until;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Time from one order to the next: 200 a second.
const PACE: Duration = Duration::from_millis(5);
/// Orders at the beginning of each part that do not count.
const WARM_UP: usize = 200;
/// Clients of the closed loop.
const CLIENTS: usize = 32;
const LIMIT: Duration = Duration::from_secs(60);
/// A subject of the LEDGER that nobody but the auditor reads.
const BASELINE: &str = "control.bench";
/// Bytes of an intent as it is stored.
const INTENT_BYTES: usize = 330;
/// The kill switch stays on this long, and orders flow this long before the next time.
const KILLED: Duration = Duration::from_millis(60);
const FLOWING: Duration = Duration::from_millis(110);

/// One client that is never slowed down, and limits that stop nothing: what is measured is the way, not a refusal.
const CONFIG: &str = r#"
[strategy]
enabled = false
[gateway]
rate_per_second = 100000
rate_burst = 100000
[risk.default]
capital_usd = "100000000"
orders_per_minute_max = 10000000
[executor.binance]
balances = { USDT = "100000000", BTC = "100000", ETH = "100000" }
"#;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(run());
}

async fn run() {
    let (seconds, rounds) = if is_quick() { (3, 10) } else { (20, 200) };
    println!("orders on paper through a running system, LEDGER synced at every message, {}", machine());
    let mut system = System::start(env!("CARGO_BIN_EXE_spark-under-test"), CONFIG, &[]).await;
    let bench = Bench::new(&system).await;

    let mut baseline = bench.baseline(seconds * 200 / 4).await;
    println!(" 200 orders/s, open loop, {seconds} s each:");
    let to_verdict = bench.open_loop("verdict", seconds).await;
    let before = cpu(&system);
    let to_fill = bench.open_loop("final", seconds).await;
    let orders = WARM_UP + seconds * 200;
    let used = cpu(&system).into_iter().map(|(name, took)| {
        let own = took.saturating_sub(before.get(&name).copied().unwrap_or_default());
        format!("{name} {:.2}", own.as_secs_f64() * 1_000.0 / orders as f64)
    });
    let used = used.collect::<Vec<_>>().join(", ");
    print_paced(to_verdict, to_fill, &mut baseline);
    println!("  processor time an order, ms: {used}");

    let (one, single) = bench.closed_loop("one", 1, seconds).await;
    let (many, _) = bench.closed_loop("many", CLIENTS, seconds).await;
    println!(" closed loop, {seconds} s each:");
    println!("  {CLIENTS} clients: {many:.1} orders/s filled");
    println!("  one at a time (baseline): {one:.1} orders/s, {}", { single }.row());
    println!("  ratio {:.2}x; target >= 700 orders/s: {}", many / one, verdict(many >= 700.0));

    bench.kill_switch(rounds, &mut baseline).await;
    bench.nothing_is_lost().await;
    system.stop().await;
}

/// Processor time that each process of the system has used.
fn cpu(system: &System) -> BTreeMap<String, Duration> {
    let rows = system.tree().into_iter().map(|(pid, command)| (process_name(&command), processor_time(pid)));
    let mut all = BTreeMap::new();
    rows.for_each(|(name, took)| *all.entry(name).or_default() += took);
    all
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// A running system with a market that stands still.
struct Bench {
    desk: Desk,
    operator: Bus,
    /// Orders that were answered as wanted, in all parts.
    answered: Arc<AtomicUsize>,
}

/// What one pass at 200 orders/s found.
#[derive(Default)]
struct Paced {
    /// Due → answered.
    client: Latencies,
    to_stored: Latencies,
    to_verdict: Latencies,
    verdict_to_decided: Latencies,
    decided_to_event: Latencies,
    to_event: Latencies,
    event_to_client: Latencies,
}

impl Bench {
    async fn new(system: &System) -> Self {
        for (symbol, bid, ask) in [("BTCUSDT", "60000.00", "60010.00"), ("ETHUSDT", "3000.00", "3000.50")] {
            let pin = json!({
                "exchange": "binance", "symbol": symbol, "bid": bid, "bid_size": "1000000", "ask": ask, "ask_size": "1000000",
            });
            system.simulator(reqwest::Method::POST, "/sim/market", Some(pin)).await;
        }
        let bench = Self { desk: Desk::of(system), operator: system.bus("operator").await, answered: Arc::default() };
        until("an order is filled", LIMIT, async || {
            let number = bench.answered.load(Ordering::Relaxed);
            let key = format!("first-{number}-{}", spark_nats::now().as_nanos());
            bench.desk.post("/api/exec/order?wait=final", Some(&key), &order(0)).await.and_then(|answer| {
                let state = answer.json()["state"].clone();
                if state == "filled" { Ok(()) } else { Err(answer.body) }
            })
        })
        .await;
        bench
    }

    /// The broker alone: one acknowledged message every [`PACE`].
    async fn baseline(&self, count: usize) -> Latencies {
        let payload = Bytes::from(vec![0x80; INTENT_BYTES]);
        let mut latencies = Latencies::default();
        let mut pace = pace(count + WARM_UP);
        while let Some((number, due)) = pace.recv().await {
            let stored = self.operator.store_kind(BASELINE, KillSwitch::KIND, payload.clone(), Meta::default()).await;
            stored.expect("stored");
            if number >= WARM_UP {
                latencies.push(due.elapsed());
            }
        }
        latencies
    }

    /// Orders at 200 a second for so long, each with its own task.
    async fn open_loop(&self, wait: &'static str, seconds: usize) -> Paced {
        let mut tasks = JoinSet::new();
        let mut pace = pace(WARM_UP + seconds * 200);
        while let Some((number, due)) = pace.recv().await {
            let (desk, answered) = (self.desk.clone(), Arc::clone(&self.answered));
            // Late itself, the bench may not make the system look better: the time runs from when the order was due.
            let due_at = spark_nats::now() - due.elapsed();
            tasks.spawn(async move {
                let key = format!("{wait}-{number}");
                let path = format!("/api/exec/order?wait={wait}");
                let answer = desk.post(&path, Some(&key), &order(number)).await.expect("the gateway answers");
                let (took, at) = (due.elapsed(), spark_nats::now());
                check(&answer, wait);
                answered.fetch_add(1, Ordering::Relaxed);
                (number, OrderId::derive("manual", &key), due_at, took, at)
            });
        }
        let mut done = tasks.join_all().await;
        done.retain(|(number, ..)| *number >= WARM_UP);
        let stored = Stored::of(&record(&self.operator).await);
        let mut paced = Paced::default();
        for (_, order, due_at, took, answered_at) in done {
            let times = &stored.0[&order];
            paced.client.push(took);
            paced.to_stored.push(times.intent.saturating_since(due_at));
            paced.to_verdict.push(times.verdict.saturating_since(times.intent));
            paced.verdict_to_decided.push(times.decided.saturating_since(times.verdict));
            paced.decided_to_event.push(times.event.saturating_since(times.decided));
            paced.to_event.push(times.event.saturating_since(times.intent));
            let last = if wait == "final" { times.event } else { times.verdict };
            paced.event_to_client.push(answered_at.saturating_since(last));
        }
        paced
    }

    /// So many clients, each with its next order as soon as the last one is over; orders a second and their latencies.
    async fn closed_loop(&self, name: &'static str, clients: usize, seconds: usize) -> (f64, Latencies) {
        let counting = Arc::new(AtomicBool::new(false));
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let (desk, answered) = (self.desk.clone(), Arc::clone(&self.answered));
            let (counting, stop) = (Arc::clone(&counting), Arc::clone(&stop));
            tasks.spawn(async move {
                let mut took = Vec::new();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let counts = counting.load(Ordering::Relaxed);
                    let began = Instant::now();
                    let key = format!("{name}-{client}-{number}");
                    let answer = desk.post("/api/exec/order?wait=final", Some(&key), &order(number)).await;
                    check(&answer.expect("the gateway answers"), "final");
                    answered.fetch_add(1, Ordering::Relaxed);
                    // Finished in the counted time; one that began before it makes up for one that ends after it.
                    if counts && !stop.load(Ordering::Relaxed) {
                        took.push(began.elapsed());
                    }
                }
                took
            });
        }
        sleep(Duration::from_secs(1)).await;
        counting.store(true, Ordering::Relaxed);
        let began = Instant::now();
        sleep(Duration::from_secs(seconds as u64)).await;
        stop.store(true, Ordering::Relaxed);
        let elapsed = began.elapsed();
        let mut latencies = Latencies::default();
        tasks.join_all().await.into_iter().flatten().for_each(|took| latencies.push(took));
        (latencies.len() as f64 / elapsed.as_secs_f64(), latencies)
    }

    /// Kill switch on and off while orders flow.
    async fn kill_switch(&self, rounds: usize, baseline: &mut Latencies) {
        let from = record(&self.operator).await.last().map_or(0, |last| last.sequence);
        let stop = Arc::new(AtomicBool::new(false));
        let flow = tokio::spawn(flow(self.desk.clone(), Arc::clone(&stop)));
        for _ in 0..rounds {
            sleep(FLOWING).await;
            self.desk.kill_switch(true, false).await;
            sleep(KILLED).await;
            self.desk.kill_switch(false, false).await;
        }
        sleep(FLOWING).await;
        stop.store(true, Ordering::Relaxed);
        let flowed = flow.await.expect("no panic");
        let record = record(&self.operator).await;
        let record: Vec<&Delivery> = record.iter().filter(|delivery| delivery.sequence > from).collect();
        let (mut sent, mut stored, mut nothing, mut sent_in_all) = (Latencies::default(), Latencies::default(), 0, 0_usize);
        let mut killed: Option<(Timestamp, Duration, Duration)> = None;
        for delivery in record {
            if delivery.subject == subject::KILL_SWITCH {
                let command: KillSwitch = delivery.decode().expect("a kill switch");
                if let Some((_, last_sent, last_stored)) = killed.take() {
                    nothing += usize::from(last_stored.is_zero());
                    sent.push(last_sent);
                    stored.push(last_stored);
                }
                killed = command.on.then_some((delivery.stored_at, Duration::ZERO, Duration::ZERO));
            } else if is(delivery, subject::ORDER_EVENTS)
                && let Some(at) = sent_at(&delivery.decode().expect("an event"))
            {
                sent_in_all += 1;
                if let Some((on_at, last_sent, last_stored)) = &mut killed {
                    *last_sent = (*last_sent).max(at.saturating_since(*on_at));
                    *last_stored = (*last_stored).max(delivery.stored_at.saturating_since(*on_at));
                }
            }
        }
        assert_eq!(sent.len(), rounds, "every round is in the LEDGER");
        println!(" kill switch while orders flow: {rounds} rounds, {flowed} orders asked for, {sent_in_all} of them sent");
        println!("  stored -> last send, by the executor's clock {}, none after it in {nothing} rounds", sent.row());
        println!("  stored -> event of the last send stored      {}", stored.row());
        println!(
            "  ratio to one acknowledged publish: p99 {:.2}x; target p99 < 20 ms: {}",
            stored.quantile_ms(0.99) / baseline.quantile_ms(0.99),
            verdict(stored.quantile_ms(0.99) < 20.0)
        );
    }

    /// Counts in the LEDGER what the clients were told.
    async fn nothing_is_lost(&self) {
        let stories = stories(&record(&self.operator).await);
        assert_eq!(ledger_problems(&stories), Vec::<String>::new());
        let measured = stories.values().filter(|story| {
            let key = story.intent.as_ref().map_or("", |intent| intent.key.as_str());
            ["verdict-", "final-", "one-", "many-"].iter().any(|part| key.starts_with(part))
        });
        let (mut orders, mut filled) = (0, 0);
        for story in measured {
            orders += 1;
            filled += usize::from(matches!(story.state(), Some(OrderState::Filled | OrderState::Settled)));
        }
        let answered = self.answered.load(Ordering::Relaxed);
        println!(" LEDGER: {orders} orders measured, {filled} filled, {answered} answered to clients");
        assert!(orders == filled && orders == answered, "an order was lost");
    }
}

/// Numbers from 0 with the moment at which each is due, [`PACE`] apart. A thread of its own: the runtime's timers would add
/// up to a millisecond to every order.
fn pace(count: usize) -> mpsc::UnboundedReceiver<(usize, Instant)> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let begin = Instant::now() + PACE;
        for number in 0..count {
            let due = begin + PACE * u32::try_from(number).expect("a small number");
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if sender.send((number, due)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// 200 orders a second until told to stop; how many.
async fn flow(desk: Desk, stop: Arc<AtomicBool>) -> usize {
    let mut ticks = tokio::time::interval(PACE);
    let mut tasks = JoinSet::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let desk = desk.clone();
        tasks.spawn(async move {
            let answer = desk.order(&format!("flow-{number}"), &order(number)).await.expect("the gateway answers");
            assert_eq!(answer.status, 200, "{answer:?}");
        });
        number += 1;
        while let Some(done) = tasks.try_join_next() {
            done.expect("no panic");
        }
    }
    tasks.join_all().await;
    number
}

/// Buys and sells in turn, of two symbols.
fn order(number: usize) -> Value {
    let side = if number.is_multiple_of(2) { "buy" } else { "sell" };
    let (symbol, quantity) = if number % 4 < 2 { ("BTCUSDT", "0.001") } else { ("ETHUSDT", "0.01") };
    market("binance", symbol, side, quantity)
}

fn check(answer: &spark_tests::orders::Answer, wait: &str) {
    let body = answer.json();
    let right = answer.status == 200 && body["approved"] == true && (wait != "final" || body["state"] == "filled");
    assert!(right, "{} {}", answer.status, answer.body);
}

/// When the order was sent to the paper exchange, if the event tells of it. A settlement, which it may also tell of, sends
/// nothing.
fn sent_at(event: &OrderEvent) -> Option<Timestamp> {
    let sent = event.steps.iter().find(|step| step.state == OrderState::Submitted && step.evidence == Evidence::Paper);
    sent.map(|step| step.at)
}

/// When each order's messages were stored.
struct Stored(HashMap<OrderId, Times>);

struct Times {
    intent: Timestamp,
    verdict: Timestamp,
    /// When the executor took the order in, by its own clock.
    decided: Timestamp,
    event: Timestamp,
}

impl Stored {
    fn of(record: &[Delivery]) -> Self {
        let mut all = HashMap::new();
        let zero = Timestamp::ZERO;
        let fresh = || Times { intent: zero, verdict: zero, decided: zero, event: zero };
        for delivery in record {
            if is(delivery, subject::INTENTS) {
                let intent: OrderIntent = delivery.decode().expect("an intent");
                all.entry(intent.order).or_insert_with(fresh).intent = delivery.stored_at;
            } else if is(delivery, subject::VERDICTS) {
                let verdict: Verdict = delivery.decode().expect("a verdict");
                all.entry(verdict.order).or_insert_with(fresh).verdict = delivery.stored_at;
            } else if is(delivery, subject::ORDER_EVENTS) {
                let event: OrderEvent = delivery.decode().expect("an event");
                let times = all.entry(event.order).or_insert_with(fresh);
                times.decided = event.steps.first().expect("a step").at;
                times.event = delivery.stored_at;
            }
        }
        Self(all)
    }
}

fn print_paced(mut to_verdict: Paced, mut to_fill: Paced, baseline: &mut Latencies) {
    println!("  order due -> fill in the view, answered      {}", to_fill.client.row());
    println!("    due -> intent stored                       {}", to_fill.to_stored.row());
    println!("    intent stored -> verdict stored            {}", to_fill.to_verdict.row());
    println!("    verdict stored -> taken by the executor    {}", to_fill.verdict_to_decided.row());
    println!("    taken -> fill stored                       {}", to_fill.decided_to_event.row());
    println!("    fill stored -> answered                    {}", to_fill.event_to_client.row());
    println!("   intent stored -> fill stored                {}", to_fill.to_event.row());
    println!("  order due -> verdict in the view, answered   {}", to_verdict.client.row());
    println!("    verdict stored -> answered                 {}", to_verdict.event_to_client.row());
    println!("  one acknowledged LEDGER publish (baseline)   {}", baseline.row());
    let ratio = |latencies: &mut Latencies, baseline: &mut Latencies, quantile: f64| {
        latencies.quantile_ms(quantile) / baseline.quantile_ms(quantile)
    };
    let (p50, p99) = (to_fill.client.quantile_ms(0.5), to_fill.client.quantile_ms(0.99));
    println!(
        "  ratio, fill: p50 {:.2}x, p99 {:.2}x; verdict: p50 {:.2}x, p99 {:.2}x; targets, fill: p50 < 3 ms: {}, p99 < 10 ms: {}",
        ratio(&mut to_fill.client, baseline, 0.5),
        ratio(&mut to_fill.client, baseline, 0.99),
        ratio(&mut to_verdict.client, baseline, 0.5),
        ratio(&mut to_verdict.client, baseline, 0.99),
        verdict(p50 < 3.0),
        verdict(p99 < 10.0)
    );
}
