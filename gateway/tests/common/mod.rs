//! A gateway on a free port and a client that speaks plain HTTP/1.1 over a real socket.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

pub mod guarding;
pub mod history;
pub mod models;
pub mod running;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use spark_gateway::app::{App, Command};
use spark_gateway::{AdminToken, Config, http, stream};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

const LIMIT: Duration = Duration::from_secs(20);

/// Waits for `done`; on time-out the last state that it saw is in the message.
pub async fn until<F: Future<Output = Result<T, String>>, T>(what: &str, mut done: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        match done().await {
            Ok(value) => return value,
            Err(state) if tokio::time::Instant::now() > deadline => panic!("{what}: still {state}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

pub async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("{what}: nothing within {LIMIT:?}"))
}

/// A gateway without a bus: tests put messages into the app themselves.
pub struct Gateway {
    pub address: SocketAddr,
    pub app: Arc<App>,
    pub commands: mpsc::Receiver<Command>,
    _stop: DropGuard,
}

pub async fn gateway(config: Config, token: Option<AdminToken>) -> Gateway {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (app, commands) = App::new(config, token, spark_nats::now());
    let app = Arc::new(app);
    let stop = CancellationToken::new();
    tokio::spawn(stream::pulse(Arc::clone(&app), stop.clone()));
    tokio::spawn(http::server::serve(listener, http::router(Arc::clone(&app), stop.clone()), stop.clone()));
    Gateway { address, app, commands, _stop: stop.drop_guard() }
}

/// Limits that no test reaches by accident.
pub fn roomy() -> Config {
    Config { rate_per_second: 100_000, rate_burst: 100_000, ..Config::default() }
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, &format!("GET {path}"), &[]).await
}

pub async fn request(address: SocketAddr, line: &str, headers: &[(&str, &str)]) -> Answer {
    send(address, line, headers, "").await
}

/// A request with a body; none when it is empty.
pub async fn send(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    bounded(line, async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let text = format!("{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{length}{headers}\r\n{body}");
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    })
    .await
}

/// A client of the live stream.
pub struct Live {
    lines: BufReader<TcpStream>,
    /// What has come and is not read yet.
    body: Vec<u8>,
    pub head: String,
}

#[derive(Debug)]
pub struct LiveEvent {
    /// As it came: `<run>-<n>`.
    pub whole_id: String,
    /// The `n` in it.
    pub id: u64,
    pub event: String,
    pub data: Value,
}

impl Live {
    /// `buffer` is the size of the socket's receive buffer, for clients that shall be slow.
    pub async fn connect(address: SocketAddr, buffer: Option<u32>) -> Self {
        Self::ask(address, buffer, "/api/stream", "").await
    }

    /// Goes on after an event.
    pub async fn resume(address: SocketAddr, id: &str) -> Self {
        Self::ask(address, None, "/api/stream", &format!("Last-Event-ID: {id}\r\n")).await
    }

    /// With a path of one's own, and further lines of the head.
    pub async fn ask(address: SocketAddr, buffer: Option<u32>, path: &str, lines: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(size) = buffer {
            socket.set_recv_buffer_size(size).unwrap();
        }
        let mut socket = socket.connect(address).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{lines}\r\n").as_bytes()).await.unwrap();
        let mut live = Self { lines: BufReader::new(socket), body: Vec::new(), head: String::new() };
        while !live.head.ends_with("\r\n\r\n") {
            assert_ne!(bounded("head", live.lines.read_line(&mut live.head)).await.unwrap(), 0, "{}", live.head);
        }
        live
    }

    /// The next event; comments are skipped. None when the server ended the stream.
    pub async fn next(&mut self) -> Option<LiveEvent> {
        let (mut id, mut event, mut data) = (String::new(), String::new(), String::new());
        loop {
            let line = bounded("next event", self.line()).await?;
            if let Some(value) = line.strip_prefix("id: ") {
                id = value.to_owned();
            } else if let Some(value) = line.strip_prefix("event: ") {
                event = value.to_owned();
            } else if let Some(value) = line.strip_prefix("data: ") {
                data = value.to_owned();
            } else if line.is_empty() && !event.is_empty() {
                let number = id.split_once('-').unwrap().1.parse().unwrap();
                return Some(LiveEvent { whole_id: id, id: number, event, data: serde_json::from_str(&data).unwrap() });
            }
        }
    }

    /// The next event of that name; others are skipped, but not for ever: `processes` comes every second.
    pub async fn next_of(&mut self, event: &str) -> LiveEvent {
        bounded(event, async {
            loop {
                let next = self.next().await.expect("the stream goes on");
                if next.event == event {
                    return next;
                }
            }
        })
        .await
    }

    /// One line of the body.
    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.body.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.body.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap().trim_end_matches('\n').to_owned());
            }
            let mut size = String::new();
            self.lines.read_line(&mut size).await.unwrap();
            let size = usize::from_str_radix(size.trim_end(), 16).ok().filter(|size| *size > 0)?;
            let mut chunk = vec![0; size + 2];
            self.lines.read_exact(&mut chunk).await.unwrap();
            self.body.extend_from_slice(&chunk[..size]);
        }
    }
}
