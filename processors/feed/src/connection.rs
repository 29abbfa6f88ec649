//! One WebSocket: connected within a time limit, read in chunks, given up when nothing, not even a ping, comes any more.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::{SinkExt as _, Stream as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::frame::FRAME_BYTES_MAX;

/// Frames that are read before they are looked at.
pub(crate) const CHUNK_FRAMES: usize = 256;
/// Eagerly allocated per connection.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// A command that cannot be sent within this time means a dead connection.
const SEND_LIMIT: Duration = Duration::from_secs(5);

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("connect to {url}: {reason}")]
    Connect { url: String, reason: String },
    #[error("closed by the exchange{0}")]
    Closed(String),
    #[error("neither a frame nor a ping for {} ms", .0.as_millis())]
    Idle(Duration),
    #[error("a frame of {0} bytes, above the limit of {FRAME_BYTES_MAX}")]
    TooLarge(usize),
    #[error("connection lost: {0}")]
    Failed(String),
    #[error("no data within {} ms of subscribing", .0.as_millis())]
    NoData(Duration),
    #[error("the exchange announced its shutdown")]
    ServerShutdown,
    #[error("the exchange's limit on a connection's age is near")]
    Age,
    #[error("the process stops")]
    Shutdown,
}

/// A connected WebSocket.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    idle: Duration,
    heard_at: Instant,
}

impl Socket {
    /// Connects and upgrades within `limit`; `idle` is the longest silence, pings included.
    pub async fn connect(url: &str, limit: Duration, idle: Duration) -> Result<Self, End> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let failed = |reason: String| End::Connect { url: url.to_owned(), reason };
        match tokio::time::timeout(limit, connect_async_with_config(url, Some(config), true)).await {
            Ok(Ok((stream, _))) => Ok(Self { stream, idle, heard_at: Instant::now() }),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer within {} ms", limit.as_millis()))),
        }
    }

    /// Sends a command.
    pub async fn send(&mut self, text: String) -> Result<(), End> {
        match tokio::time::timeout(SEND_LIMIT, self.stream.send(Message::text(text))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(end(error)),
            Err(_) => Err(End::Failed(format!("a command could not be sent within {} s", SEND_LIMIT.as_secs()))),
        }
    }

    /// Says goodbye; best effort.
    pub async fn close(mut self) {
        let _ = tokio::time::timeout(Duration::from_millis(200), self.stream.close(None)).await;
    }

    /// The reader was busy with something else: silence in that time is not the exchange's.
    pub fn resume(&mut self) {
        self.heard_at = Instant::now();
    }

    /// Appends what has arrived, at least one frame and at most [`CHUNK_FRAMES`], to `frames`. Pings are answered on the way.
    /// Loses nothing when dropped before it is ready. After an [`End`] the frames before it are in `frames`.
    pub async fn read(&mut self, frames: &mut Vec<Utf8Bytes>) -> Result<(), End> {
        loop {
            let deadline = self.heard_at + self.idle;
            let heard = tokio::select! {
                biased;
                read = read_chunk(&mut self.stream, frames) => read?,
                () = tokio::time::sleep_until(deadline) => return Err(End::Idle(self.idle)),
            };
            if heard {
                self.heard_at = Instant::now();
            }
            if !frames.is_empty() {
                return Ok(());
            }
        }
    }
}

/// Takes what is there. Ready as soon as anything was heard, with or without a frame to look at.
async fn read_chunk(stream: &mut WebSocketStream<MaybeTlsStream<TcpStream>>, frames: &mut Vec<Utf8Bytes>) -> Result<bool, End> {
    std::future::poll_fn(|context| {
        let mut heard = false;
        while frames.len() < CHUNK_FRAMES {
            match Pin::new(&mut *stream).poll_next(context) {
                Poll::Ready(Some(Ok(Message::Text(text)))) => frames.push(text),
                Poll::Ready(Some(Ok(Message::Binary(bytes)))) => {
                    // Neither venue sends binary frames; the parser will count it as garbage.
                    frames.push(Utf8Bytes::from(String::from_utf8_lossy(&bytes).into_owned()));
                }
                Poll::Ready(Some(Ok(Message::Close(reason)))) => {
                    let reason = reason.map(|reason| format!(": {} {}", u16::from(reason.code), reason.reason));
                    return Poll::Ready(Err(End::Closed(reason.unwrap_or_default())));
                }
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(end(error))),
                Poll::Ready(None) => return Poll::Ready(Err(End::Closed(String::new()))),
                Poll::Pending if heard => break,
                Poll::Pending => return Poll::Pending,
            }
            heard = true;
        }
        Poll::Ready(Ok(heard))
    })
    .await
}

fn end(error: tungstenite::Error) -> End {
    match error {
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, .. }) => End::TooLarge(size),
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => End::Closed(String::new()),
        error => End::Failed(error.to_string()),
    }
}
