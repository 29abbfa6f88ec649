//! From an exchange's socket to the gateway's view at 1 000 trades a second, through real processes (`spark up`).
//!
//! The exchange is a WebSocket server in this bench that speaks Binance's combined stream. Every trade is stamped just
//! before its frame is written. Two ends are measured:
//! - a reader in this bench that does what the gateway does (same subjects, same code) stamps each trade once it is in its
//!   view: exact, every trade;
//! - the running gateway's own `spark_tick_to_view_latency_seconds`: from the frame read by the feed to the view, the
//!   newest trade of each batch, from its buckets.
//!
//! Baseline, in the same run: messages of the same size at the same rate through a broker without JetStream, one publish to
//! one subscriber.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use spark_bus_schema::market::TickBatch;
use spark_bus_schema::session::Calendar;
use spark_bus_schema::{Timestamp, subject};
use spark_gateway::event::Event;
use spark_gateway::view::{Limits, View};
use spark_nats::server::{self, Setup, free_port};
use spark_nats::{Bus, ConnectOptions, Credentials, Delivery, Follower, Start, now};
use spark_tests::bench::{Buckets, Latencies, is_quick, machine};
use spark_tests::system::System;
use spark_tests::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;

const METRIC: &str = "spark_tick_to_view_latency_seconds";
const PAUSE: Duration = Duration::from_millis(1);
/// Trades at the beginning that do not count: connections and windows are made.
const WARM_UP: usize = 3_000;
const LIMIT: Duration = Duration::from_secs(30);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(run());
}

async fn run() {
    let trades = WARM_UP + if is_quick() { 5_000 } else { 60_000 };
    println!("exchange socket -> view at 1 000 trades/s ({} counted), {}", trades - WARM_UP, machine());
    let exchange = Exchange::start(trades).await;
    let config = format!(
        "[feed.binance]\nsymbols = [\"BTCUSDT\"]\nws_url = \"ws://127.0.0.1:{port}\"\nrest_url = \"http://127.0.0.1:{port}\"\n\
         [feed.btcturk]\nenabled = false\n",
        port = exchange.port
    );
    // Live: what `up` is told about addresses stays, and no simulator takes part.
    let mut system = System::start(env!("CARGO_BIN_EXE_spark-under-test"), &config, &["--live"]).await;
    exchange.connected().await;

    let operator = system.bus("operator").await;
    let reader = tokio::spawn(read(operator, Arc::clone(&exchange.sent_at)));
    let sending = tokio::spawn(Arc::clone(&exchange).send());
    exchange.reached(WARM_UP).await;
    let before = Buckets::read(&system.get("/metrics").await.expect("metrics"), METRIC);
    sending.await.expect("sent");
    let mut seen = timeout(LIMIT, reader).await.expect("every trade arrives in time").expect("reader");
    let own = until("the gateway has the last trade", LIMIT, async || {
        let rows = system.json("/api/prices").await?;
        if rows.to_string().contains(&format!("\"trade_id\":{trades}")) { Ok(()) } else { Err(rows.to_string()) }
    });
    own.await;
    let gateway = Buckets::read(&system.get("/metrics").await.expect("metrics"), METRIC).since(&before);
    let bare = bare_hop(seen.bytes, if is_quick() { 3_000 } else { 20_000 }).await;
    system.stop().await;
    seen.print(&gateway, bare);
}

/// As much of Binance as the feed needs, on one port: `/stream?streams=…` and the REST calls of a fresh connection.
struct Exchange {
    port: u16,
    /// When the frame of trade `id` was about to be written, ns, at `id - 1`.
    sent_at: Arc<Vec<AtomicI64>>,
    sent: AtomicU64,
    sockets: tokio::sync::Mutex<Vec<Socket>>,
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

impl Exchange {
    async fn start(trades: usize) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let exchange = Arc::new(Self {
            port: listener.local_addr().expect("bound").port(),
            sent_at: Arc::new((0..trades).map(|_| AtomicI64::new(0)).collect()),
            sent: AtomicU64::new(0),
            sockets: tokio::sync::Mutex::default(),
        });
        let accepting = Arc::clone(&exchange);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let exchange = Arc::clone(&accepting);
                tokio::spawn(async move { exchange.serve(stream).await });
            }
        });
        exchange
    }

    async fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).expect("a TCP socket");
        let mut head = [0; 1_024];
        let count = stream.peek(&mut head).await.unwrap_or(0);
        if head[..count].starts_with(b"GET /stream?streams=") {
            let socket = tokio_tungstenite::accept_async(stream).await.expect("a WebSocket");
            self.sockets.lock().await.push(socket);
            return;
        }
        let count = stream.read(&mut head).await.unwrap_or(0);
        let body = if String::from_utf8_lossy(&head[..count]).contains("/ticker/bookTicker") {
            r#"{"symbol":"BTCUSDT","bidPrice":"61837.62","bidQty":"2.0","askPrice":"61837.64","askQty":"3.0"}"#
        } else {
            "[]"
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        // The feed asks again when it did not get it.
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    async fn connected(&self) {
        until("the feed is connected", LIMIT, async || match self.sockets.lock().await.len() {
            0 => Err("no socket"),
            _ => Ok(()),
        })
        .await;
    }

    async fn reached(&self, trades: usize) {
        until("trades are sent", LIMIT, async || match self.sent.load(Ordering::Acquire) {
            sent if sent >= trades as u64 => Ok(()),
            sent => Err(sent),
        })
        .await;
    }

    /// One trade a millisecond, each stamped.
    async fn send(self: Arc<Self>) {
        let mut socket = self.sockets.lock().await.pop().expect("the feed is connected");
        let quote =
            r#"{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"61837.62","B":"2.0","a":"61837.64","A":"3.0"}}"#;
        socket.send(Message::text(quote)).await.expect("sent");
        let mut ticks = interval(PAUSE);
        // After a delay the missed ones follow at once, as they would from an exchange.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for (index, slot) in self.sent_at.iter().enumerate() {
            ticks.tick().await;
            let (id, at) = (index + 1, now());
            let millis = at.as_millis();
            let frame = format!(
                r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{millis},"s":"BTCUSDT","t":{id},"p":"61837.63000000","q":"0.00025000","T":{millis},"m":true,"M":true}}}}"#
            );
            slot.store(now().as_nanos(), Ordering::Release);
            socket.send(Message::text(frame)).await.expect("sent");
            self.sent.fetch_add(1, Ordering::Release);
        }
    }
}

/// Each trade's way, in parts.
#[derive(Default)]
struct Seen {
    all: Latencies,
    to_feed: Latencies,
    to_broker: Latencies,
    to_view: Latencies,
    batches: usize,
    /// Size of a batch's message with its headers.
    bytes: usize,
}

impl Seen {
    fn print(&mut self, gateway: &Buckets, mut bare: Latencies) {
        println!("  frame written -> in a view (each trade)     {}", self.all.row());
        println!("    frame written -> received by the feed     {}", self.to_feed.row());
        println!("    received -> stored in FEED                {}", self.to_broker.row());
        println!("    stored -> in a view                       {}", self.to_view.row());
        println!(
            "  {METRIC} of the gateway's process:\n    frame read by the feed -> in its view     p50 {:>8.3}  p99 {:>8.3} ms, in buckets  ({} batches)",
            gateway.quantile(0.5) * 1_000.0,
            gateway.quantile(0.99) * 1_000.0,
            gateway.count()
        );
        println!("  core NATS publish -> subscriber (baseline)  {}, {} bytes", bare.row(), self.bytes);
        println!(
            "  ratio p50 {:.2}x, p99 {:.2}x; {:.2} trades a batch",
            self.all.quantile_ms(0.5) / bare.quantile_ms(0.5),
            self.all.quantile_ms(0.99) / bare.quantile_ms(0.99),
            self.all.len() as f64 / self.batches as f64
        );
    }
}

/// Follows what the gateway follows, as the gateway does, until the last trade is in the view.
async fn read(bus: Bus, sent_at: Arc<Vec<AtomicI64>>) -> Seen {
    let latest = [subject::QUOTES, subject::TICKS, subject::CALLS, subject::HEARTBEATS, subject::FEED_STATUS];
    let subjects = latest.iter().map(|&subject| subject.to_owned()).collect();
    let mut follower = Follower::start(bus, "operator-view", subject::FEED, subjects, Start::LastPerSubject);
    let limits = Limits {
        expected: Vec::new(),
        demo: false,
        market_age_ms_max: 30_000,
        portfolio_age_ms_max: 60_000,
        calendar: Calendar::default(),
    };
    let mut view = View::new(now(), limits);
    let mut seen = Seen::default();
    let mut next_id = 1;
    while next_id <= sent_at.len() as u64 {
        let deliveries = follower.next().await.expect("open");
        let mut arrived = Vec::new();
        for delivery in &deliveries {
            let event = Event::decode(&delivery.subject, delivery.kind.as_deref(), &delivery.payload).expect("readable");
            let Some(event) = event else { continue };
            if let Event::Ticks(batch) = &event {
                arrived.push((delivery, batch.clone()));
            }
            view.apply(delivery.stored_at, event);
        }
        let at = now();
        for (delivery, batch) in arrived {
            seen.take(delivery, &batch, &sent_at, &mut next_id, at);
        }
    }
    seen
}

impl Seen {
    fn take(&mut self, delivery: &Delivery, batch: &TickBatch, sent_at: &[AtomicI64], next_id: &mut u64, at: Timestamp) {
        let headers = delivery.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
        self.bytes = self.bytes.max(if batch.len() == 1 { delivery.payload.len() + headers } else { 0 });
        let counts = *next_id > WARM_UP as u64;
        self.batches += usize::from(counts);
        for trade in batch.rows() {
            assert_eq!(trade.trade_id, *next_id, "each trade once and in order");
            *next_id += 1;
            if !counts {
                continue;
            }
            let index = usize::try_from(trade.trade_id - 1).expect("a small id");
            let sent = Timestamp::from_nanos(sent_at[index].load(Ordering::Acquire));
            self.all.push(at.saturating_since(sent));
            self.to_feed.push(trade.received_at.saturating_since(sent));
            self.to_broker.push(delivery.stored_at.saturating_since(trade.received_at));
            self.to_view.push(at.saturating_since(delivery.stored_at));
        }
    }
}

/// The same rate and size, one publish to one subscriber, through a broker of its own that stores nothing.
async fn bare_hop(bytes: usize, count: usize) -> Latencies {
    let dir = std::env::temp_dir().join(format!("spark-bench-view-{}", std::process::id()));
    let mut note = |line: &str| eprintln!("{line}");
    let binary = server::obtain(&spark_nats::testing::tools_dir(), &mut note).await.expect("nats-server");
    let (port, monitor_port) = (free_port().expect("a port"), free_port().expect("a port"));
    let setup = Setup { binary, dir: dir.clone(), port, monitor_port };
    setup.write(None).expect("configuration");
    let _broker = Broker(setup.command().spawn().expect("nats-server starts"));
    server::wait_ready(port, LIMIT).await.expect("nats-server is ready");

    let connect = async |name: &str| {
        let options = ConnectOptions { url: setup.url(), name: name.to_owned(), credentials: Credentials::None };
        let bus = Bus::connect(options).await.expect("options");
        timeout(LIMIT, bus.wait_connected()).await.expect("connected");
        bus
    };
    let (publisher, subscriber) = (connect("bench-out").await, connect("bench-in").await);
    let mut messages = subscriber.raw_client().subscribe("bare").await.expect("subscribed");
    subscriber.ping().await.expect("the broker is there");
    let counting = tokio::spawn(async move {
        let mut latencies = Latencies::default();
        while latencies.len() < count {
            let message = messages.next().await.expect("open");
            let stamp: [u8; 8] = message.payload[..8].try_into().expect("a stamp");
            latencies.push(now().saturating_since(Timestamp::from_nanos(i64::from_le_bytes(stamp))));
        }
        latencies
    });
    let mut ticks = interval(PAUSE);
    for _ in 0..count {
        ticks.tick().await;
        let mut payload = vec![0; bytes.max(8)];
        payload[..8].copy_from_slice(&now().as_nanos().to_le_bytes());
        publisher.raw_client().publish("bare", Bytes::from(payload)).await.expect("sent");
    }
    let latencies = timeout(LIMIT, counting).await.expect("all arrive in time").expect("counter");
    // The server is still running; what it leaves behind goes with the temporary folder at the latest.
    let _ = std::fs::remove_dir_all(&dir);
    latencies
}

struct Broker(Child);

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself; both calls are then harmless.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
