//! The gateway's edge, in three parts:
//! - `GET /api/portfolio` of a real gateway process on a real broker: requests a second and p99, beside a bare axum server that
//!   gives a static answer of the same size from a process of its own. The same client, round by round in turn;
//! - the live stream's fan-out to 1 000 clients over sockets: events a second, beside the naive way, in which each client has
//!   a channel and renders every event for itself. Same clients, same events;
//! - the delay from publishing a quote to a client that has it, with 1 000 clients of the live stream and 200 of the WebSocket
//!   while 50 numbered quotes, 50 others and 1 000 trades a second come in.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::stream;
use serde_json::{Value, json};
use spark_bus_schema::portfolio::{AssetBalance, Balances};
use spark_bus_schema::{Decimal, Venue, subject};
use spark_gateway::app::App;
use spark_gateway::{Config, http};
use spark_nats::testing::TestBroker;
use spark_nats::{Meta, now};
use spark_tests::bench::{Latencies, is_quick, machine};
use spark_tests::crowd::{Crowd, Feed, Gateway, Seen, raise_open_files};
use spark_tests::system::{processor_time, resident_bytes};
use spark_tests::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const BINARY: &str = env!("CARGO_BIN_EXE_spark-under-test");
const LIMIT: Duration = Duration::from_secs(60);
/// Keep-alive connections that ask one after the other.
const CONNECTIONS: usize = 8;
const ROUNDS: usize = 5;
/// Assets of each exchange.
const ASSETS: usize = 15;
const CLIENTS: u32 = 1_000;
const WEBSOCKETS: u32 = 200;
/// Events of one burst; every client has all of them before the next one.
const BURST: usize = 50;
/// Names the size of the static answer, when this program is the bare server.
const BARE: &str = "SPARK_BENCH_BARE_BYTES";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    if let Ok(bytes) = std::env::var(BARE) {
        return runtime.block_on(bare(bytes.parse().expect("a size")));
    }
    raise_open_files();
    println!("gateway, {}", machine());
    runtime.block_on(async {
        portfolio().await;
        fan_out().await;
        delay().await;
    });
}

fn balances(exchange: Venue) -> Balances {
    let one: Decimal = "1234.56789".parse().expect("a number");
    let balance = |index: usize| AssetBalance {
        asset: format!("ASSET{index}"),
        free: one,
        locked: one,
        total: one + one,
        usd_price: Some(one),
        usd_value: Some(one),
        price_held: false,
    };
    Balances {
        exchange,
        currency: "USD".into(),
        polled_at: now(),
        updated_at: Some(now()),
        stale: false,
        error: None,
        balances: (0..ASSETS).map(balance).collect(),
        total_usd: one,
        unpriced: Vec::new(),
        refresh_us: 0,
    }
}

/// A static answer of this many bytes, until stdin is closed.
async fn bare(bytes: usize) {
    let body: &'static [u8] = vec![b'x'; bytes].leak();
    let answer = get(move || async move { ([("content-type", "application/json")], body) });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("bound").port());
    axum::serve(listener, Router::new().route("/api/portfolio", answer)).await.expect("serves");
}

struct Bare(Child);

impl Drop for Bare {
    fn drop(&mut self) {
        // It may have ended by itself; both calls are then harmless.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bare {
    fn start(bytes: usize) -> (Self, u16) {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .env(BARE, bytes.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("a line");
        (Self(child), line.trim().parse().expect("a port"))
    }
}

async fn portfolio() {
    let broker = TestBroker::start().await;
    let gateway = Gateway::start(BINARY, &broker, &[("RATE_PER_SECOND", "100000"), ("RATE_BURST", "100000")]).await;
    let bus = broker.bus("portfolio").await;
    for exchange in [Venue::Binance, Venue::Btcturk] {
        bus.publish(&subject::balances(exchange), &balances(exchange), Meta::default()).await.expect("stored");
    }
    let bytes = until("both exchanges are in the answer", LIMIT, async || {
        let body = ask(gateway.port).await;
        if body.matches("ASSET0").count() == 2 { Ok(body.len()) } else { Err(body) }
    })
    .await;
    let (server, port) = Bare::start(bytes);
    let length = Duration::from_secs(if is_quick() { 1 } else { 4 });
    let (mut own, mut base) = (Vec::new(), Vec::new());
    let (mut own_delays, mut base_delays) = (Latencies::default(), Latencies::default());
    for _ in 0..ROUNDS {
        base.push(round(port, length, &mut base_delays).await);
        own.push(round(gateway.port, length, &mut own_delays).await);
    }
    drop(server);
    let middle = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (own, base) = (middle(&mut own), middle(&mut base));
    println!("GET /api/portfolio, {bytes} bytes, {CONNECTIONS} keep-alive connections, median of {ROUNDS} rounds:");
    println!("  gateway      {own:>9.0} requests/s   {}", own_delays.row());
    println!("  bare axum    {base:>9.0} requests/s   {}", base_delays.row());
    println!("  ratio        {:>9.0} %", 100.0 * own / base);
}

const REQUEST: &[u8] = b"GET /api/portfolio HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\r\n";

async fn ask(port: u16) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
    let mut bytes = Vec::new();
    socket.write_all(REQUEST).await.expect("asked");
    let from = answer(&mut socket, &mut bytes).await;
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

/// Reads one answer; where its body begins.
async fn answer(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> usize {
    bytes.clear();
    loop {
        assert!(socket.read_buf(bytes).await.expect("an answer") > 0, "closed");
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&bytes[..end]).expect("text");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().expect("a length"))
        });
        let whole = end + 4 + length.expect("Content-Length");
        while bytes.len() < whole {
            assert!(socket.read_buf(bytes).await.expect("the rest") > 0, "closed");
        }
        return end + 4;
    }
}

async fn round(port: u16, length: Duration, delays: &mut Latencies) -> f64 {
    let begun = Instant::now();
    let asking = (0..CONNECTIONS).map(|_| {
        tokio::spawn(async move {
            let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
            socket.set_nodelay(true).expect("a TCP socket");
            let (mut bytes, mut took) = (Vec::new(), Vec::new());
            while begun.elapsed() < length {
                let asked = Instant::now();
                socket.write_all(REQUEST).await.expect("asked");
                answer(&mut socket, &mut bytes).await;
                took.push(asked.elapsed());
            }
            took
        })
    });
    let mut count = 0;
    for task in asking.collect::<Vec<_>>() {
        let took = task.await.expect("asked");
        count += took.len();
        took.into_iter().for_each(|took| delays.push(took));
    }
    count as f64 / begun.elapsed().as_secs_f64()
}

fn event() -> Value {
    let row = |index: usize| json!({"venue": "binance", "symbol": format!("SYMBOL{index}"), "last": 61837.63, "bid": 61837.62, "ask": 61837.64, "stored_at_ms": 1_763_760_000_000_i64, "age_ms": 12});
    json!({"now_ms": 1_763_760_000_000_i64, "prices": (0..20).map(row).collect::<Vec<_>>()})
}

async fn fan_out() {
    let bursts = if is_quick() { 2 } else { 20 };
    let event = event();
    let size = event.to_string().len();

    let limits = Config {
        streams_per_client_max: CLIENTS + 1,
        connections_per_client_max: CLIENTS + 1,
        rate_per_second: 100_000,
        rate_burst: 100_000,
        ..Config::default()
    };
    let (app, _commands) = App::new(limits, None, now());
    let app = Arc::new(app);
    let stop = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let serving = tokio::spawn(http::server::serve(listener, http::router(Arc::clone(&app), stop.clone()), stop.clone()));
    let readers = Readers::connect(address).await;
    let own = readers
        .time(
            bursts,
            || {
                app.hub.send("prices", &event);
            },
            || app.hub.flush(),
        )
        .await;
    drop(readers);
    stop.cancel();
    serving.await.expect("ends");

    let naive = Naive::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let serving = tokio::spawn(axum::serve(listener, naive.router()).into_future());
    let readers = Readers::connect(address).await;
    let base = readers.time(bursts, || naive.send(&event), || {}).await;
    serving.abort();
    println!("live stream, {CLIENTS} clients over sockets, events of {size} bytes, bursts of {BURST}:");
    println!("  one ring     {own:>9.0} events/s to all clients together");
    println!("  naive        {base:>9.0} events/s: a channel for each client, which renders for itself");
    println!("  ratio        {:>9.2} x", own / base);
}

/// Each client has a channel and renders each event for itself.
#[derive(Clone, Default)]
struct Naive(Arc<Mutex<Vec<mpsc::Sender<Arc<Value>>>>>);

impl Naive {
    fn router(&self) -> Router {
        let this = self.clone();
        Router::new().route("/api/stream", get(move || async move { this.subscribe() }))
    }

    fn subscribe(&self) -> Sse<impl stream::Stream<Item = Result<Event, Infallible>> + use<>> {
        let (sender, receiver) = mpsc::channel(256);
        self.0.lock().expect("no panic").push(sender);
        Sse::new(stream::unfold((receiver, 0_u64), |(mut receiver, id)| async move {
            let value: Arc<Value> = receiver.recv().await?;
            let text = serde_json::to_string(&*value).expect("renders");
            Some((Ok(Event::default().id(id.to_string()).event("prices").data(text)), (receiver, id + 1)))
        }))
    }

    fn send(&self, event: &Value) {
        let event = Arc::new(event.clone());
        for client in self.0.lock().expect("no panic").iter() {
            client.try_send(Arc::clone(&event)).expect("a burst fits");
        }
    }
}

/// Clients that only count events.
struct Readers {
    counts: Vec<Arc<AtomicU64>>,
    tasks: tokio::task::JoinSet<()>,
}

impl Readers {
    async fn connect(address: SocketAddr) -> Self {
        let (mut counts, mut tasks) = (Vec::new(), tokio::task::JoinSet::new());
        for _ in 0..CLIENTS {
            let mut socket = TcpStream::connect(address).await.expect("connected");
            socket.write_all(b"GET /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("asked");
            let mut head = [0; 12];
            socket.read_exact(&mut head).await.expect("an answer");
            assert_eq!(&head, b"HTTP/1.1 200");
            let count = Arc::new(AtomicU64::new(0));
            counts.push(Arc::clone(&count));
            tasks.spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                let mut before = 0;
                while let Ok(read @ 1..) = socket.read(&mut buffer).await {
                    // An event ends with an empty line; one that is cut in two is still counted once.
                    let mut ends = 0;
                    for byte in &buffer[..read] {
                        ends += u64::from(before == b'\n' && *byte == b'\n');
                        before = *byte;
                    }
                    count.fetch_add(ends, Ordering::Release);
                }
            });
        }
        Self { counts, tasks }
    }

    /// Events a second over all clients, until everybody has everything.
    async fn time(&self, bursts: usize, mut send: impl FnMut(), mut flush: impl FnMut()) -> f64 {
        assert_eq!(self.tasks.len(), CLIENTS as usize);
        let least = || self.counts.iter().map(|count| count.load(Ordering::Acquire)).min().unwrap_or(0);
        // Pictures at the beginning, and what else there is, do not count.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let begun = Instant::now();
        for _ in 0..bursts {
            let before: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Acquire)).collect();
            (0..BURST).for_each(|_| send());
            flush();
            until("everybody has the burst", LIMIT, async || {
                let all =
                    self.counts.iter().zip(&before).all(|(count, before)| count.load(Ordering::Acquire) >= before + BURST as u64);
                tokio::task::yield_now().await;
                if all { Ok(()) } else { Err(least()) }
            })
            .await;
        }
        (bursts * BURST) as f64 * f64::from(CLIENTS) / begun.elapsed().as_secs_f64()
    }
}

async fn delay() {
    let broker = TestBroker::start().await;
    let gateway = Gateway::start(BINARY, &broker, &[]).await;
    let (feed, feeding) = Feed::start(broker.bus("feed").await);
    let before = resident_bytes(gateway.pid());
    let (streams, sockets) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
    let mut crowd = Crowd::new();
    crowd.stuck(gateway.port).await;
    crowd.streams(CLIENTS, gateway.port, &feed, &streams).await;
    crowd.websockets(WEBSOCKETS, gateway.port, &feed, &sockets).await;
    let (cpu, begun, events) = (processor_time(gateway.pid()), Instant::now(), count(&streams, &sockets));
    let last = feed.newest() + if is_quick() { 250 } else { 1_500 };
    until("everybody has the last number", LIMIT, async || if crowd.oldest() >= last { Ok(()) } else { Err(crowd.oldest()) })
        .await;
    let (took, sent) = (begun.elapsed().as_secs_f64(), count(&streams, &sockets) - events);
    let cpu = processor_time(gateway.pid()).saturating_sub(cpu).as_secs_f64();
    feed.stop();
    feeding.await.expect("published");
    println!("publish -> client, {CLIENTS} clients of the live stream and {WEBSOCKETS} WebSockets, one of each stuck:");
    println!("  live stream  {}", streams.delays.row());
    println!("  WebSocket    {}", sockets.delays.row());
    println!(
        "  {:.0} events/s in all, {:.0} % of a core in the gateway, resident {} -> {} MiB; gaps {}, resyncs {}",
        sent as f64 / took,
        100.0 * cpu / took,
        before >> 20,
        resident_bytes(gateway.pid()) >> 20,
        streams.gaps.load(Ordering::Relaxed) + sockets.gaps.load(Ordering::Relaxed),
        streams.resyncs.load(Ordering::Relaxed),
    );
}

fn count(streams: &Seen, sockets: &Seen) -> u64 {
    streams.events.load(Ordering::Relaxed) + sockets.events.load(Ordering::Relaxed)
}
