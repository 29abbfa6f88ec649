//! An order is stored in LEDGER → its row is in the document of a real Chromium. Real broker, every real process, the page
//! as it is served; the time of storage is the broker's, the time of the row the browser's, on one machine with one clock.
//! Baseline, in the same run and for the same orders: a bare client of the live stream, `GET /api/stream` read line by line.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use spark_bus_schema::orders::OrderIntent;
use spark_bus_schema::{Timestamp, subject};
use spark_nats::{Follower, Start, now};
use spark_tests::bench::{Latencies, is_quick, machine};
use spark_tests::browser::{Browser, Look, Page};
use spark_tests::orders::{Desk, market};
use spark_tests::system::System;
use spark_tests::wait::until;
use tokio::sync::mpsc;

/// A row that is not there after this is lost.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest line of the live stream that is kept: a snapshot is the longest.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Nobody but the bench trades, and its orders are not too many.
const CONFIG: &str = "[gateway]\nrate_per_second = 1000\nrate_burst = 1000\n[strategy]\nenabled = false\n";
/// Notes when a row first has the key of an order, ms since the epoch.
const WATCH: &str = "(() => {
    const seen = spark_test.rows = {};
    const look = () => { for (const row of document.querySelectorAll('table[data-table=orders] tbody tr')) seen[row.dataset.key] ??= performance.timeOrigin + performance.now(); };
    new MutationObserver(look).observe(document.querySelector('#orders'), { subtree: true, childList: true, characterData: true, attributes: true });
    look(); })()";

/// When something of an order was first seen, by order.
type Seen = Arc<Mutex<HashMap<String, Timestamp>>>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(run());
}

async fn run() {
    let count = if is_quick() { 20 } else { 300 };
    println!("order stored in LEDGER -> row in the browser's document, {}", machine());
    let (mut system, browser) =
        tokio::join!(System::start(env!("CARGO_BIN_EXE_spark-under-test"), CONFIG, &[]), Browser::start());
    until("all is well", LIMIT, async || {
        let metrics = system.json("/api/public/metrics").await?;
        if metrics["status"] == "DEMO" { Ok(()) } else { Err(metrics.to_string()) }
    })
    .await;
    let page = browser.page(Look::DESK).await;
    page.go(&system.address()).await;
    page.until("the live stream is heard", "document.body.dataset.link === 'live' || document.body.dataset.link").await;
    page.evaluate(WATCH).await;
    let mut stored = intents(&system).await;
    let heard = stream(system.address()).await;

    let desk = Desk::of(&system);
    let mut pauses = Pauses(0x9e37_79b9_7f4a_7c15);
    let mut in_document = Latencies::default();
    let mut in_stream = Latencies::default();
    for number in 0..count {
        tokio::time::sleep(pauses.next()).await;
        let side = if number % 2 == 0 { "buy" } else { "sell" };
        let answer =
            desk.order(&format!("bench-{number}"), &market("binance", "BTCUSDT", side, "0.001")).await.expect("an answer");
        // Whatever the verdict is: the order is in the LEDGER and among the rows.
        let next = tokio::time::timeout(LIMIT, stored.recv()).await;
        let (order, stored_at) = next.unwrap_or_else(|_| panic!("no order was stored: {answer:?}")).expect("open");
        let heard_at = first(&heard, &order).await;
        in_stream.push(heard_at.saturating_since(stored_at));
        in_document.push(shown(&page, &order).await.saturating_since(stored_at));
    }
    println!("  LEDGER -> row in the document                {}", in_document.row());
    println!("  LEDGER -> bare client of /api/stream (base)  {}", in_stream.row());
    println!(
        "  ratio p50 {:.2}x, p99 {:.2}x; target: 2 s",
        in_document.quantile_ms(0.5) / in_stream.quantile_ms(0.5),
        in_document.quantile_ms(0.99) / in_stream.quantile_ms(0.99)
    );
    let complaints = page.complaints();
    assert!(complaints.is_empty(), "the console is not empty: {complaints:?}");
    drop(browser);
    system.stop().await;
}

/// When the row of an order came.
async fn shown(page: &Page, order: &str) -> Timestamp {
    let at = format!("spark_test.rows[{}]", Value::from(order));
    page.until_within(LIMIT, &format!("the row of {order}"), &format!("Boolean({at}) || Object.keys(spark_test.rows).length"))
        .await;
    let ms = page.evaluate(&at).await.as_f64().expect("a time");
    #[expect(clippy::cast_possible_truncation, reason = "nanoseconds of today")]
    Timestamp::from_nanos((ms * 1e6) as i64)
}

/// Follows the orders in the LEDGER: which, and when it was stored.
async fn intents(system: &System) -> mpsc::UnboundedReceiver<(String, Timestamp)> {
    let bus = system.bus("operator").await;
    let mut follower =
        Follower::start(bus, "operator-page-bench", subject::LEDGER, vec![subject::INTENTS.to_owned()], Start::New);
    until("the ledger is followed", LIMIT, async || if follower.is_caught_up() { Ok(()) } else { Err("not yet") }).await;
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(batch) = follower.next().await {
            for delivery in batch {
                let intent: OrderIntent = delivery.decode().expect("an intent");
                if sender.send((intent.order.to_string(), delivery.stored_at)).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

/// Reads the live stream: when each order was first in an event.
async fn stream(address: String) -> Seen {
    let client = reqwest::Client::builder().build().expect("client");
    let mut response = client.get(format!("{address}/api/stream")).send().await.expect("the live stream");
    assert_eq!(response.status(), 200, "/api/stream");
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut held = Vec::new();
        let mut is_order = false;
        while let Ok(Some(chunk)) = response.chunk().await {
            let at = now();
            held.extend_from_slice(&chunk);
            assert!(held.len() < LINE_BYTES_MAX, "a line of the live stream has no end");
            while let Some(end) = held.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = held.drain(..=end).collect();
                if line.starts_with(b"event:") {
                    is_order = line.trim_ascii_end().ends_with(b"order");
                } else if is_order && let Some(data) = line.strip_prefix(b"data:") {
                    let data: Value = serde_json::from_slice(data).expect("JSON");
                    for row in data["orders"].as_array().into_iter().flatten() {
                        note(&noted, row["order"].as_str().unwrap_or_default(), at);
                    }
                }
            }
        }
    });
    seen
}

fn note(seen: &Seen, order: &str, at: Timestamp) {
    seen.lock().unwrap_or_else(PoisonError::into_inner).entry(order.to_owned()).or_insert(at);
}

async fn first(seen: &Seen, order: &str) -> Timestamp {
    until(&format!("order {order}"), LIMIT, async || {
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(order).copied().ok_or_else(|| format!("{} others", seen.len()))
    })
    .await
}

/// Pauses between 20 and 220 ms, so that orders meet every phase of the gateway's and the browser's ticks.
struct Pauses(u64);

impl Pauses {
    fn next(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_micros(20_000 + self.0 % 200_000)
    }
}
