//! The server loop: bounded connections in all and of each client, limits on the time a client may take to send its request
//! head and to leave its socket full, and TLS. `axum::serve` has none of these.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::edge::{Connection, Edge};
use super::limit::{Full, Place, Places, Refusal};
use super::tls::Tls;
use crate::app::App;

/// How long a client may take to send a request's head, counted also between two requests on one connection. Then the
/// connection is closed.
pub const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// How long a client may take for the TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// How long a client may leave its socket full before it is disconnected.
pub const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of a request's head; a larger one is answered with 431.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long open requests may take to end at shutdown.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
/// Pause after accepting failed: usually no file descriptors are left, and trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// To one connection too many. It is not even read.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 5\r\n\
    connection: close\r\ncontent-length: 178\r\n\r\n\
    {\"type\":\"urn:spark:problem:connections\",\"title\":\"Too many connections\",\"status\":503,\
    \"fix\":\"close some; gateway.connections_max and gateway.connections_per_client_max bound them\"}";
/// To whoever speaks plain HTTP where TLS is spoken.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\
    content-length: 119\r\n\r\n\
    {\"type\":\"urn:spark:problem:tls\",\"title\":\"This port speaks TLS\",\"status\":400,\"fix\":\"use https:// instead of http://\"}   ";

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub SocketAddr);

/// Serves until `shutdown`, then lets open requests end.
pub async fn serve(listener: TcpListener, edge: Edge, shutdown: CancellationToken) {
    serve_with(listener, edge, None, shutdown).await;
}

/// As [`serve`], over TLS where there is a certificate.
pub async fn serve_with(listener: TcpListener, edge: Edge, tls: Option<Arc<Tls>>, shutdown: CancellationToken) {
    let places = edge.app.connections.clone();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = place(&edge.app, &places, peer) else {
            turn_away(stream, tls.is_some());
            continue;
        };
        connections.spawn(connection(stream, peer, place, edge.clone(), tls.clone(), shutdown.clone()));
    }
    drop(listener);
    let drained = timeout(DRAIN_LIMIT, async {
        while connections.join_next().await.is_some() {}
        // WebSockets have left their connection's task.
        edge.app.wire.ended().await;
    });
    if drained.await.is_err() {
        tracing::warn!(open = places.taken(), "connections cut at shutdown");
    }
}

fn place(app: &App, places: &Places, peer: SocketAddr) -> Option<Place> {
    let full = match places.take(peer.ip()) {
        Ok(place) => return Some(place),
        Err(full) => full,
    };
    tracing::debug!(%peer, ?full, "no place for a connection");
    app.refusals.count(match full {
        Full::Total(_) => Refusal::Connections,
        Full::Client(_) => Refusal::ClientConnections,
    });
    None
}

/// Says why and closes, without waiting for anything. Over TLS nothing can be said.
fn turn_away(stream: TcpStream, tls: bool) {
    if tls {
        return;
    }
    if let Ok(mut stream) = stream.into_std() {
        // The socket is new, so its buffer is empty; who does not listen learns nothing.
        let _ = io::Write::write(&mut stream, FULL);
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    edge: Edge,
    tls: Option<Arc<Tls>>,
    shutdown: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "set TCP_NODELAY");
    }
    let secure = tls.is_some();
    let stream = match tls {
        None => Io::Plain(stream),
        Some(tls) => match timeout(HANDSHAKE_LIMIT, handshake(stream, &tls)).await {
            Ok(Ok(stream)) => Io::Tls(Box::new(stream)),
            failed => {
                tracing::debug!(%peer, error = ?failed.err(), "no TLS");
                edge.app.refusals.count(Refusal::Tls);
                return;
            }
        },
    };
    let app = Arc::clone(&edge.app);
    let about = Arc::new(Connection {
        peer,
        tls: secure,
        refused: AtomicU32::new(0),
        midway: AtomicBool::new(false),
        stalled: AtomicBool::new(false),
    });
    let io = TokioIo::new(StallGuard { stream, deadline: None, about: Arc::clone(&about), _place: place });
    let served = Arc::new((edge, Arc::clone(&about)));
    let service = service_fn(move |request: Request<Incoming>| {
        let served = Arc::clone(&served);
        async move { Ok::<_, std::convert::Infallible>(served.0.answer(&served.1, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(io, service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "connection ended");
        if error.is_parse_too_large() {
            app.refusals.count(Refusal::HeadBytes);
        } else if error.is_timeout() && about.midway.load(Ordering::Relaxed) {
            app.refusals.count(Refusal::HeadTime);
        } else if about.stalled.load(Ordering::Relaxed) {
            app.refusals.count(Refusal::Stalled);
        }
    }
}

async fn handshake(stream: TcpStream, tls: &Tls) -> io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        return Err(speak_tls(stream).await.err().unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "plain text")));
    }
    tls.acceptor().accept(stream).await
}

/// Says what would be right, to whoever speaks plain HTTP. What it sends is read to its end: otherwise the system would take the
/// answer back with the connection.
async fn speak_tls(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(SPEAK_TLS).await?;
    stream.shutdown().await?;
    let mut unread = [0; 1_024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

/// A client's socket.
enum Io {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

macro_rules! io {
    ($this:expr, $stream:ident => $do:expr) => {
        match $this {
            Io::Plain($stream) => {
                let $stream = Pin::new($stream);
                $do
            }
            Io::Tls($stream) => {
                let $stream = Pin::new($stream.as_mut());
                $do
            }
        }
    };
}

/// A socket whose writes fail when the other side takes nothing for [`STALL_LIMIT`].
struct StallGuard {
    stream: Io,
    /// Runs while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
    about: Arc<Connection>,
    /// Given back with the socket, whoever holds it: a WebSocket outlives its connection's task.
    _place: Place,
}

impl StallGuard {
    fn guard<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.deadline = None;
            return poll;
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + STALL_LIMIT)));
        ready!(deadline.as_mut().poll(context));
        self.about.stalled.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl AsyncRead for StallGuard {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = io!(&mut self.stream, stream => stream.poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.about.midway.store(true, Ordering::Relaxed);
        }
        poll
    }
}

impl AsyncWrite for StallGuard {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = io!(&mut self.stream, stream => stream.poll_write(context, bytes));
        self.guard(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = io!(&mut self.stream, stream => stream.poll_write_vectored(context, slices));
        self.guard(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            // It keeps nothing back: that a flush is done says nothing about a write that waits.
            Io::Plain(stream) => Pin::new(stream).poll_flush(context),
            Io::Tls(stream) => {
                let poll = Pin::new(stream.as_mut()).poll_flush(context);
                self.guard(context, poll)
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        io!(&mut self.stream, stream => stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_answers_have_the_length_that_they_announce() {
        for answer in [FULL, SPEAK_TLS] {
            let text = std::str::from_utf8(answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())), "{} {text}", body.len());
            assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["fix"].is_string());
        }
    }
}
