//! One WebSocket: connected within a time limit, given up when nothing, not even a ping, comes any more.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use super::{End, UserDataConfig};

/// Longest frame that is taken.
const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// A connected WebSocket.
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    limit: Duration,
    idle: Duration,
    replaced_at: Instant,
}

impl Socket {
    pub async fn connect(url: &str, config: &UserDataConfig) -> Result<Self, End> {
        let limit = Duration::from_millis(config.connect_ms);
        let tls = crate::http::tls_config().map_err(|error| End::new(format!("TLS cannot be set up: {error}")))?;
        let frames = WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX)).max_frame_size(Some(FRAME_BYTES_MAX));
        let connecting = connect_async_tls_with_config(url, Some(frames), true, Some(Connector::Rustls(Arc::new(tls))));
        match tokio::time::timeout(limit, connecting).await {
            Ok(Ok((stream, _))) => Ok(Self {
                stream,
                limit,
                idle: Duration::from_millis(config.idle_ms),
                replaced_at: Instant::now() + Duration::from_millis(config.age_ms_max),
            }),
            Ok(Err(error)) => Err(End::new(format!("connect: {error}"))),
            Err(_) => Err(End::new(format!("connect: no answer within {} ms", limit.as_millis()))),
        }
    }

    /// Sends a command.
    pub async fn send(&mut self, text: String) -> Result<(), End> {
        match tokio::time::timeout(self.limit, self.stream.send(Message::text(text))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::new(format!("connection lost: {error}"))),
            Err(_) => Err(End::new(format!("a command could not be sent within {} ms", self.limit.as_millis()))),
        }
    }

    /// The next text frame. Pings are answered on the way, and count as a sign of life.
    pub async fn next(&mut self) -> Result<Utf8Bytes, End> {
        loop {
            let idle_at = Instant::now() + self.idle;
            let message = tokio::select! {
                message = self.stream.next() => message,
                () = tokio::time::sleep_until(self.replaced_at) => {
                    return Err(End::planned("the connection is near the exchange's limit of age"));
                }
                () = tokio::time::sleep_until(idle_at) => {
                    return Err(End::new(format!("neither a frame nor a ping for {} ms", self.idle.as_millis())));
                }
            };
            match message {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Close(frame))) => {
                    let why = frame.map(|frame| format!(": {} {}", u16::from(frame.code), frame.reason)).unwrap_or_default();
                    return Err(End::new(format!("closed by the exchange{why}")));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(End::new(format!("connection lost: {error}"))),
                None => return Err(End::new("closed by the exchange")),
            }
        }
    }

    /// The next text frame, of those that come within the time for an answer to a command.
    pub async fn answer(&mut self, by: Instant) -> Result<Utf8Bytes, End> {
        match tokio::time::timeout_at(by, self.next()).await {
            Ok(frame) => frame,
            Err(_) => Err(End::new(format!("no answer to the login within {} ms", self.limit.as_millis()))),
        }
    }

    /// When an answer to a command that is sent now must have come.
    pub fn answer_by(&self) -> Instant {
        Instant::now() + self.limit
    }
}

/// As for REST addresses: a login in clear text could be read on the way.
pub(super) fn url_problem(url: &str) -> Option<&'static str> {
    let Ok(parsed) = reqwest::Url::parse(url) else {
        return Some("not an address; write it like \"wss://ws-api.binance.com:443/ws-api/v3\"");
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Some("must not hold a user name or password; keys go into the environment");
    }
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let near = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
        Err(_) => !host.contains('.'),
    };
    match parsed.scheme() {
        "wss" => None,
        "ws" if near => None,
        "ws" => Some("ws would send the login in clear text; use wss, or a loopback address for the simulator"),
        _ => Some("must begin with wss:// (or ws:// for a loopback address)"),
    }
}
