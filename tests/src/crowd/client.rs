//! Clients of the live stream and of the WebSocket, over plain sockets: they cost next to nothing, so that what is measured is
//! the gateway.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::feed::SYMBOL;
use super::{Delays, Feed};

/// Clients that share one source address.
const CLIENTS_AN_ADDRESS: u32 = 100;
/// WebSocket clients come from other addresses than the first so many clients of the live stream.
const WEBSOCKETS_FROM: u32 = 10_000;
/// Room for what has arrived and is not understood yet.
const BUFFER_BYTES: usize = 16 * 1024;

/// What all clients of a kind have seen.
#[derive(Default)]
pub struct Seen {
    /// From the publication to the client.
    pub delays: Delays,
    /// Events or messages.
    pub events: AtomicU64,
    /// Events or messages that are missing in between.
    pub gaps: AtomicU64,
    /// Whole pictures that a client got because it was behind.
    pub resyncs: AtomicU64,
}

/// Clients that run until they are dropped.
pub struct Crowd {
    tasks: JoinSet<()>,
    /// The newest number that each one has.
    newest: Vec<Arc<AtomicU64>>,
    /// Sockets that nobody reads.
    stuck: Vec<TcpStream>,
}

impl Crowd {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self { tasks: JoinSet::new(), newest: Vec::new(), stuck: Vec::new() }
    }

    /// Adds clients of the live stream, each from one of several addresses.
    ///
    /// # Panics
    /// The gateway does not let one in.
    pub async fn streams(&mut self, count: u32, port: u16, feed: &Arc<Feed>, seen: &Arc<Seen>) {
        for index in 0..count {
            let mut socket = connect(index, port, None).await;
            ask(&mut socket, port).await;
            let newest = self.add();
            self.tasks.spawn(stream(socket, Arc::clone(feed), Arc::clone(seen), newest));
        }
    }

    /// Adds WebSocket clients that want every quote and every trade.
    ///
    /// # Panics
    /// The gateway does not let one in.
    pub async fn websockets(&mut self, count: u32, port: u16, feed: &Arc<Feed>, seen: &Arc<Seen>) {
        for index in 0..count {
            let mut socket = connect(WEBSOCKETS_FROM + index, port, None).await;
            subscribe(&mut socket, port).await;
            let newest = self.add();
            self.tasks.spawn(websocket(socket, Arc::clone(feed), Arc::clone(seen), newest));
        }
    }

    /// Adds one client of each kind that never reads anything.
    pub async fn stuck(&mut self, port: u16) {
        let mut socket = connect(0, port, Some(4_096)).await;
        ask(&mut socket, port).await;
        self.stuck.push(socket);
        let mut socket = connect(0, port, Some(4_096)).await;
        subscribe(&mut socket, port).await;
        self.stuck.push(socket);
    }

    /// The number that the client has which has least.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.newest.iter().map(|newest| newest.load(Ordering::Acquire)).min().unwrap_or(0)
    }

    /// Clients that are still connected.
    #[must_use]
    pub fn connected(&mut self) -> usize {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.len()
    }

    fn add(&mut self) -> Arc<AtomicU64> {
        let newest = Arc::new(AtomicU64::new(0));
        self.newest.push(Arc::clone(&newest));
        newest
    }
}

impl Default for Crowd {
    fn default() -> Self {
        Self::new()
    }
}

/// A connection from one of the addresses 127.0.1.x.
async fn connect(index: u32, port: u16, buffer: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(size) = buffer {
        socket.set_recv_buffer_size(size).expect("a smaller buffer");
    }
    let last = u8::try_from(index / CLIENTS_AN_ADDRESS + 1).expect("few addresses");
    socket.bind(SocketAddr::from(([127, 0, 1, last], 0))).expect("an address of this machine");
    let stream = socket.connect(SocketAddr::from(([127, 0, 0, 1], port))).await.expect("connected; open files are enough");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

async fn ask(socket: &mut TcpStream, port: u16) {
    let head = format!("GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.expect("asked");
}

async fn subscribe(socket: &mut TcpStream, port: u16) {
    let head = format!(
        "GET /api/ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: spark.v1\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.expect("asked");
    for pattern in ["market.quotes.>", "market.ticks.>"] {
        let text = format!("{{\"op\":\"subscribe\",\"pattern\":\"{pattern}\"}}");
        // A short text frame, masked with zeros.
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).expect("short"), 0, 0, 0, 0];
        frame.extend(text.bytes());
        socket.write_all(&frame).await.expect("subscribed");
    }
}

/// Bytes that arrived, and the part of them that is not understood yet.
struct Arrived {
    socket: TcpStream,
    bytes: Vec<u8>,
}

impl Arrived {
    /// Waits until there is more. False: the other side has closed.
    async fn more(&mut self) -> bool {
        self.socket.read_buf(&mut self.bytes).await.is_ok_and(|count| count > 0)
    }

    /// Takes the first `count` bytes away.
    fn skip(&mut self, count: usize) {
        self.bytes.drain(..count);
    }

    /// The head of the answer, once it is whole; it is taken away.
    async fn head(&mut self, status: &str) {
        loop {
            if let Some(end) = find(&self.bytes, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
                assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
                self.skip(end + 4);
                return;
            }
            assert!(self.more().await, "closed before an answer");
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what)
}

/// The number behind `key`, which is looked for after `place`.
fn number(bytes: &[u8], place: &[u8], key: &[u8]) -> Option<u64> {
    let rest = &bytes[find(bytes, place)? + place.len()..];
    let rest = &rest[find(rest, key)? + key.len()..];
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

async fn stream(socket: TcpStream, feed: Arc<Feed>, seen: Arc<Seen>, newest: Arc<AtomicU64>) {
    let mut arrived = Arrived { socket, bytes: Vec::with_capacity(BUFFER_BYTES) };
    arrived.head("200").await;
    let mark = format!("\"symbol\":\"{SYMBOL}\"");
    let (mut body, mut last_id, mut last) = (Vec::with_capacity(BUFFER_BYTES), 0, 0);
    loop {
        while let Some(line) = find(&arrived.bytes, b"\r\n") {
            let size = std::str::from_utf8(&arrived.bytes[..line]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
            let size = size.expect("a chunk's size");
            if arrived.bytes.len() < line + 2 + size + 2 {
                break;
            }
            body.extend_from_slice(&arrived.bytes[line + 2..line + 2 + size]);
            arrived.skip(line + 2 + size + 2);
        }
        while let Some(end) = find(&body, b"\n\n") {
            let event = &body[..end];
            if let Some(id) = number(event, b"id: ", b"-") {
                seen.events.fetch_add(1, Ordering::Relaxed);
                let whole = event.starts_with(b"event: resync");
                seen.resyncs.fetch_add(u64::from(whole), Ordering::Relaxed);
                if last_id > 0 && !whole && id != last_id + 1 {
                    seen.gaps.fetch_add(1, Ordering::Relaxed);
                }
                last_id = id;
                if let Some(number) = number(event, mark.as_bytes(), b"\"bid\":") {
                    // Numbers of the first picture were published before anybody was there.
                    if last > 0 {
                        feed.seen(last, number, &seen.delays);
                    }
                    last = last.max(number);
                    newest.store(last, Ordering::Release);
                }
            }
            body.drain(..end + 2);
        }
        if !arrived.more().await {
            return;
        }
    }
}

async fn websocket(socket: TcpStream, feed: Arc<Feed>, seen: Arc<Seen>, newest: Arc<AtomicU64>) {
    let mut arrived = Arrived { socket, bytes: Vec::with_capacity(BUFFER_BYTES) };
    arrived.head("101").await;
    let mark = format!("\"subject\":\"market.quotes.binance.{SYMBOL}\"");
    let mut last = 0;
    loop {
        while let Some((from, to)) = frame(&arrived.bytes) {
            let payload = &arrived.bytes[from..to];
            seen.events.fetch_add(1, Ordering::Relaxed);
            if let Some(number) = number(payload, mark.as_bytes(), b"\"update_id\":[") {
                if last > 0 {
                    feed.seen(last, number, &seen.delays);
                    seen.gaps.fetch_add(u64::from(number != last + 1), Ordering::Relaxed);
                }
                last = number;
                newest.store(last, Ordering::Release);
            }
            arrived.skip(to);
        }
        if !arrived.more().await {
            return;
        }
    }
}

/// Where the payload of the first frame begins and ends, once it is whole.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let short = usize::from(*bytes.get(1)?);
    let (from, length) = match short {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        _ => (2, short),
    };
    (bytes.len() >= from + length).then_some((from, from + length))
}
