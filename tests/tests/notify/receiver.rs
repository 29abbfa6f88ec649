//! A webhook's far end: a real HTTP server on loopback that keeps what it is sent.

#![allow(dead_code, reason = "the tests and the bench use their parts")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use spark_bus_schema::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Longest request that is taken.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;
const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// One notification.
#[derive(Clone, Debug)]
pub struct Taken {
    /// When all of it had come, by this machine's clock.
    pub at: Timestamp,
    /// Where it was sent.
    pub path: String,
    /// What was sent; null when it was no JSON.
    pub body: Value,
}

/// The server. Dropping it closes everything.
pub struct Receiver {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<Taken>>>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Listens on a free port.
    pub async fn start() -> Self {
        Self::on(SocketAddr::from((Ipv4Addr::LOCALHOST, spark_nats::server::free_port().expect("a free port")))).await
    }

    /// Listens here.
    pub async fn on(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let taken = Arc::default();
        let task = tokio::spawn(serve(listener, Arc::clone(&taken)));
        Self { address, taken, task }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything so far, in order.
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what came.
    pub fn clear(&self) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Goes away, connections included; returns where it listened.
    pub async fn stop(mut self) -> SocketAddr {
        self.task.abort();
        // Cancelled is what it shall be.
        let _ = (&mut self.task).await;
        self.address
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, taken: Arc<Mutex<Vec<Taken>>>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(converse(socket, Arc::clone(&taken)));
    }
}

/// Requests of one connection, one after the other, until the client is gone.
async fn converse(mut socket: TcpStream, taken: Arc<Mutex<Vec<Taken>>>) {
    let mut buffer = Vec::new();
    loop {
        let Some((head, body, used)) = request(&buffer) else {
            if buffer.len() > REQUEST_BYTES_MAX || !matches!(socket.read_buf(&mut buffer).await, Ok(1..)) {
                return;
            }
            continue;
        };
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        taken.lock().unwrap_or_else(PoisonError::into_inner).push(Taken { at: spark_nats::now(), path, body });
        buffer.drain(..used);
        if socket.write_all(TAKEN).await.is_err() {
            return;
        }
    }
}

/// The first whole request in the buffer: head, body, bytes of both.
fn request(buffer: &[u8]) -> Option<(String, Vec<u8>, usize)> {
    let end = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let used = end + length.unwrap_or(0);
    (buffer.len() >= used).then(|| (head, buffer[end..used].to_vec(), used))
}
