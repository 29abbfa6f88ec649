//! One connection to the broker: publishing with acknowledgement, reading single messages.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::context::{ContextBuilder, PublishErrorKind};
use async_nats::jetstream::stream::{DirectGetErrorKind, LastRawMessageErrorKind};
use async_nats::{Event, HeaderMap, ServerError, jetstream};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use spark_bus_schema::{Kind, Message, encode, header};
use tokio::sync::watch;

use crate::delivery::Delivery;
use crate::error::Error;
use crate::topology;
use crate::watch::Publishes;

/// How long one publish may wait for its acknowledgement before it is asked about or tried again.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a request to the broker may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// First and longest pause before a publish is tried again.
pub const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How long a stream may have no leader before it counts as missing: a cluster elects one within a few seconds.
pub const LEADERLESS_LIMIT: Duration = Duration::from_secs(15);
/// The broker is pinged this often; two missing answers end the connection.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Longest pause between attempts to connect.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_millis(500);

/// Who the process is to the broker.
#[derive(Clone, Debug, Default)]
pub enum Credentials {
    /// Nobody: only for a broker without authorisation.
    #[default]
    None,
    /// File with an nkey seed, mode 0600.
    NkeySeedFile(PathBuf),
    /// `.creds` file (JWT and seed).
    CredsFile(PathBuf),
    /// Name and password, for a broker that knows them.
    UserAndPassword {
        /// The name.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// One token for everybody.
    Token(SecretString),
}

/// How the connection to the broker is kept private, where its address does not say enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificate authorities that are believed besides the public ones, PEM.
    pub ca: Option<PathBuf>,
    /// Certificate and key of this side, PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Encrypted from the first byte, without the broker's greeting before.
    pub first: bool,
}

/// Where and as whom to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// `nats://127.0.0.1:4222`, or several separated by commas.
    pub url: String,
    /// The process: connection name and prefix of its reply subjects.
    pub name: String,
    /// Credentials.
    pub credentials: Credentials,
}

/// Files are looked at here: the client would find out only at each connect, and try for ever.
fn with_tls(mut nats: async_nats::ConnectOptions, tls: &Tls) -> Result<async_nats::ConnectOptions, Error> {
    let certificate = tls.certificate.as_ref().map(|(certificate, key)| [certificate, key]);
    for path in tls.ca.iter().chain(certificate.into_iter().flatten()) {
        std::fs::metadata(path).map_err(|source| Error::Credentials { path: path.clone(), reason: source.to_string() })?;
    }
    if let Some(ca) = &tls.ca {
        nats = nats.add_root_certificates(ca.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = &tls.certificate {
        nats = nats.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
    }
    Ok(if tls.first { nats.tls_first() } else { nats })
}

/// Extra headers of a message.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// `Nats-Msg-Id`: the broker drops a second message with the same id within its duplicate window.
    pub msg_id: Option<String>,
    /// `Spark-Cause`: what this follows from.
    pub cause: Option<String>,
}

/// Why a message is not in its stream.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The subject's last message is not the one the writer expected.
    #[error("the subject has moved on: another writer, or the broker lost its end")]
    WrongLastSequence,
    /// The broker does not let this process publish there.
    #[error("permission denied; see nats/permissions.toml for what this process may publish")]
    Denied,
    /// Larger than the broker takes.
    #[error("{0} bytes are more than the broker takes")]
    TooLarge(usize),
    /// No stream stores this subject.
    #[error("no stream stores this subject; run `spark doctor`")]
    NoStream,
    /// The broker is away or did not answer in time: the message may or may not be stored.
    #[error("no acknowledgement: {0}")]
    Unacknowledged(String),
    /// The broker answered with something else.
    #[error("refused: {0}")]
    Refused(String),
}

impl PublishError {
    /// Whether trying again later can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unacknowledged(_))
    }
}

/// A connection with JetStream. Cloning is cheap. It connects in the background and reconnects for ever.
#[derive(Clone)]
pub struct Bus {
    name: String,
    client: async_nats::Client,
    jetstream: jetstream::Context,
    connected: watch::Receiver<bool>,
    denied: Arc<Mutex<BTreeSet<String>>>,
    pub(crate) publishes: Publishes,
}

impl Bus {
    /// Prepares the connection and returns at once; whether the broker is there shows in [`Bus::connection`].
    ///
    /// # Errors
    /// The URL cannot be parsed or the credentials cannot be read.
    pub fn connect(options: ConnectOptions) -> BoxFuture<'static, Result<Self, Error>> {
        Box::pin(async move { Self::connect_with(options, &Tls::default()).await })
    }

    /// As [`Bus::connect`], with TLS beyond what the address asks for.
    ///
    /// # Errors
    /// As [`Bus::connect`], or a certificate cannot be read.
    pub fn connect_with(options: ConnectOptions, tls: &Tls) -> BoxFuture<'_, Result<Self, Error>> {
        Box::pin(async move {
            let (sender, connected) = watch::channel(false);
            let denied = Arc::new(Mutex::new(BTreeSet::new()));
            let seen = Arc::clone(&denied);
            let name = options.name.clone();
            let nats = async_nats::ConnectOptions::new()
                .name(&options.name)
                .custom_inbox_prefix(inbox_prefix(&options.name))
                .retry_on_initial_connect()
                .max_reconnects(None)
                .ping_interval(PING_INTERVAL)
                .request_timeout(Some(REQUEST_TIMEOUT))
                .ignore_discovered_servers()
                .reconnect_delay_callback(|attempt| {
                    RECONNECT_PAUSE_MAX.min(Duration::from_millis(20 * u64::try_from(attempt).unwrap_or(u64::MAX).min(25)))
                })
                .event_callback(move |event| {
                    note(&event, &sender, &seen, &name);
                    std::future::ready(())
                });
            let nats = match &options.credentials {
                Credentials::None => nats,
                Credentials::NkeySeedFile(path) => {
                    let wrong = |reason: String| Error::Credentials { path: path.clone(), reason };
                    let seed = std::fs::read_to_string(path).map_err(|source| wrong(source.to_string()))?;
                    // The client would find out only at each connect, and try for ever.
                    if nkeys::KeyPair::from_seed(seed.trim()).is_err() {
                        return Err(wrong("not an nkey seed (58 characters that begin with SU)".to_owned()));
                    }
                    nats.nkey(seed.trim().to_owned())
                }
                Credentials::CredsFile(path) => nats
                    .credentials_file(path)
                    .await
                    .map_err(|source| Error::Credentials { path: path.clone(), reason: source.to_string() })?,
                Credentials::UserAndPassword { user, password } => {
                    nats.user_and_password(user.clone(), password.expose_secret().to_owned())
                }
                Credentials::Token(token) => nats.token(token.expose_secret().to_owned()),
            };
            let nats = with_tls(nats, tls)?;
            let servers: Vec<async_nats::ServerAddr> =
                options.url.split(',').map(|url| url.trim().parse()).collect::<Result<_, _>>().map_err(
                    |error: std::io::Error| Error::Connect {
                        url: options.url.clone(),
                        reason: format!("{error}; write it like nats://127.0.0.1:4222"),
                    },
                )?;
            let client = nats
                .connect(servers)
                .await
                .map_err(|error| Error::Connect { url: options.url.clone(), reason: error.to_string() })?;
            let jetstream = ContextBuilder::new().timeout(REQUEST_TIMEOUT).ack_timeout(ACK_TIMEOUT).build(client.clone());
            Ok(Self { name: options.name, client, jetstream, connected, denied, publishes: Publishes::default() })
        })
    }

    /// The name given at [`Bus::connect`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the broker is there right now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// Follows the state of the connection; `true` is connected.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// Waits until the broker is there.
    pub fn wait_connected(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut connected = self.connected.clone();
            // The sender lives in the client's event callback, which outlives this handle.
            let _ = connected.wait_for(|connected| *connected).await;
        })
    }

    /// Publishes and waits until the stream has it; tries again while the broker is away.
    ///
    /// # Errors
    /// Only for good: [`PublishError::Denied`], `TooLarge`, `NoStream`, `Refused`.
    pub async fn publish<T: Message>(&self, subject: &str, message: &T, meta: Meta) -> Result<u64, PublishError> {
        self.store_kind(subject, T::KIND, Bytes::from(encode(message)), meta).await
    }

    /// As [`Bus::publish`], for bytes that are encoded already.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub fn store_kind<'a>(
        &'a self,
        subject: &'a str,
        kind: Kind,
        payload: Bytes,
        meta: Meta,
    ) -> BoxFuture<'a, Result<u64, PublishError>> {
        Box::pin(async move { self.store(subject, headers(kind, &meta), payload).await })
    }

    pub(crate) async fn store(&self, subject: &str, headers: HeaderMap, payload: Bytes) -> Result<u64, PublishError> {
        let mut pause = RETRY_PAUSE.0;
        loop {
            match self.publish_once(subject, headers.clone(), payload.clone()).await {
                Err(error) if error.is_transient() => {
                    tracing::debug!(subject, %error, "publish again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_PAUSE.1);
                    self.wait_connected().await;
                }
                done => return done,
            }
        }
    }

    /// One attempt, where somebody answers: in a cluster nobody does while a stream has no leader, which looks the same as no
    /// stream at all, until [`LEADERLESS_LIMIT`] is over. Nothing was stored then.
    pub(crate) async fn publish_once(&self, subject: &str, headers: HeaderMap, payload: Bytes) -> Result<u64, PublishError> {
        let (begun, mut pause) = (std::time::Instant::now(), RETRY_PAUSE.0);
        loop {
            match self.attempt(subject, headers.clone(), payload.clone()).await {
                Err(PublishError::NoStream) if begun.elapsed() < LEADERLESS_LIMIT && topology::stream_of(subject).is_some() => {
                    tracing::debug!(subject, "no stream answers; publish again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_PAUSE.1);
                }
                done => return done,
            }
        }
    }

    async fn attempt(&self, subject: &str, headers: HeaderMap, payload: Bytes) -> Result<u64, PublishError> {
        if !self.is_connected() {
            // Without this the client would queue the message and send it after a reconnect, behind our back.
            return Err(PublishError::Unacknowledged("not connected".to_owned()));
        }
        let (size, begun) = (payload.len(), std::time::Instant::now());
        let sent = self.jetstream.publish_with_headers(subject.to_owned(), headers, payload).await;
        let acknowledged = match sent {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };
        self.publishes.count(begun.elapsed(), acknowledged.is_ok());
        acknowledged.map(|ack| ack.sequence).map_err(|error| match error.kind() {
            PublishErrorKind::WrongLastSequence => PublishError::WrongLastSequence,
            PublishErrorKind::MaxPayloadExceeded => PublishError::TooLarge(size),
            PublishErrorKind::StreamNotFound if self.is_denied(subject) => PublishError::Denied,
            PublishErrorKind::StreamNotFound if self.is_connected() => PublishError::NoStream,
            PublishErrorKind::TimedOut if self.is_denied(subject) => PublishError::Denied,
            PublishErrorKind::Other | PublishErrorKind::WrongLastMessageId if refused_for_good(&error) => {
                PublishError::Refused(text(&error))
            }
            _ => PublishError::Unacknowledged(text(&error)),
        })
    }

    /// Subjects that the broker has refused to take from this connection.
    #[must_use]
    pub fn denied_subjects(&self) -> BTreeSet<String> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_denied(&self, subject: &str) -> bool {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner).contains(subject)
    }

    /// The newest message on a subject, from the stream's leader.
    ///
    /// # Errors
    /// The broker is away or refuses.
    pub fn last<'a>(&'a self, stream: &'static str, subject: &'a str) -> BoxFuture<'a, Result<Option<Delivery>, Error>> {
        Box::pin(async move {
            let action = || format!("read the last message of {subject} in {stream}");
            let handle = self.jetstream.get_stream_no_info(stream).await.map_err(|error| Error::broker(action(), error))?;
            match handle.get_last_raw_message_by_subject(subject).await {
                Ok(found) => Ok(Some(delivery(stream, found))),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(Error::broker(action(), text(&error))),
            }
        })
    }

    /// One message by its sequence; none when it was never there, or is gone.
    ///
    /// # Errors
    /// The broker is away or refuses.
    pub fn get(&self, stream: &'static str, sequence: u64) -> BoxFuture<'_, Result<Option<Delivery>, Error>> {
        Box::pin(async move {
            let action = || format!("read message {sequence} of {stream}");
            let handle = self.jetstream.get_stream_no_info(stream).await.map_err(|error| Error::broker(action(), error))?;
            match handle.direct_get(sequence).await {
                Ok(found) => Ok(Some(delivery(stream, found))),
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
                Err(error) => Err(Error::broker(action(), text(&error))),
            }
        })
    }

    /// First and last sequence of a stream.
    ///
    /// # Errors
    /// The broker is away, refuses, or there is no such stream.
    pub fn bounds(&self, stream: &'static str) -> BoxFuture<'_, Result<(u64, u64), Error>> {
        Box::pin(async move {
            let state = self.stream_state(stream).await?;
            Ok((state.first_sequence, state.last_sequence))
        })
    }

    /// Number of messages in a stream.
    ///
    /// # Errors
    /// As [`Bus::bounds`].
    pub fn message_count(&self, stream: &'static str) -> BoxFuture<'_, Result<u64, Error>> {
        Box::pin(async move { Ok(self.stream_state(stream).await?.messages) })
    }

    async fn stream_state(&self, stream: &'static str) -> Result<jetstream::stream::State, Error> {
        let handle = self
            .jetstream
            .get_stream(stream)
            .await
            .map_err(|error| Error::broker(format!("look at stream {stream}"), text(&error)))?;
        Ok(handle.cached_info().state.clone())
    }

    /// Deletes one message of a stream that allows it (PARKED).
    ///
    /// # Errors
    /// The broker is away or refuses.
    pub fn delete(&self, stream: &'static str, sequence: u64) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move {
            let action = || format!("delete message {sequence} of {stream}");
            let handle = self.jetstream.get_stream_no_info(stream).await.map_err(|error| Error::broker(action(), error))?;
            handle.delete_message(sequence).await.map_err(|error| Error::broker(action(), text(&error)))
        })
    }

    /// Round trip to the broker.
    ///
    /// # Errors
    /// The broker is away.
    pub fn ping(&self) -> BoxFuture<'_, Result<Duration, Error>> {
        Box::pin(async move {
            let start = std::time::Instant::now();
            self.client.flush().await.map_err(|error| Error::broker("ping the broker", error))?;
            Ok(start.elapsed())
        })
    }

    /// Version that the broker tells, once connected.
    #[must_use]
    pub fn server_version(&self) -> Option<String> {
        self.is_connected().then(|| self.client.server_info().version)
    }

    /// Sends what is buffered and ends the connection. Acknowledged publishes are safe without it.
    pub fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.client.drain().await {
                tracing::debug!(%error, "drain the connection");
            }
        })
    }

    pub(crate) fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// The raw client, for tests that must send what no Spark process would.
    #[must_use]
    pub fn raw_client(&self) -> &async_nats::Client {
        &self.client
    }
}

/// Reply subjects of a process: permissions name this prefix, so that no process can read another one's replies.
pub(crate) fn inbox_prefix(name: &str) -> String {
    format!("_INBOX_{}", spark_bus_schema::subject::token(name))
}

/// Envelope headers.
pub(crate) fn headers(kind: Kind, meta: &Meta) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::KIND, kind.to_string());
    if let Some(msg_id) = &meta.msg_id {
        headers.insert(header::MSG_ID, msg_id.as_str());
    }
    if let Some(cause) = &meta.cause {
        headers.insert(header::CAUSE, cause.as_str());
    }
    headers
}

fn delivery(stream: &'static str, found: jetstream::message::StreamMessage) -> Delivery {
    Delivery::new(stream, found.sequence, found.time, found.subject.to_string(), Some(&found.headers), found.payload)
}

/// An error with its sources, once each.
#[must_use]
pub fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// JetStream API errors that no repetition cures; everything else is a broker that is starting, stopping or away.
fn refused_for_good(error: &dyn std::error::Error) -> bool {
    let text = text(error);
    ["message size exceeds", "sealed", "maximum messages per subject", "invalid", "not permitted"]
        .iter()
        .any(|part| text.contains(part))
}

/// Keeps connection state and denied subjects from the client's events.
fn note(event: &Event, sender: &watch::Sender<bool>, denied: &Mutex<BTreeSet<String>>, name: &str) {
    match event {
        Event::Connected => {
            tracing::info!(name, "connected to the broker");
            sender.send_replace(true);
        }
        Event::Disconnected | Event::Closed => {
            tracing::warn!(name, "the broker is away; reconnecting");
            sender.send_replace(false);
        }
        Event::ServerError(ServerError::Other(message)) => {
            tracing::warn!(name, message, "the broker reports an error");
            if let Some(subject) = denied_publish(message) {
                denied.lock().unwrap_or_else(PoisonError::into_inner).insert(subject);
            }
        }
        Event::SlowConsumer(id) => {
            tracing::warn!(name, id, "messages dropped: this process reads too slowly")
        }
        other => tracing::debug!(name, event = %other, "broker connection"),
    }
}

/// The subject in `Permissions Violation for Publish to "x"`, whatever the case of the words.
fn denied_publish(message: &str) -> Option<String> {
    let lower = message.to_ascii_lowercase();
    let start = lower.find("permissions violation for publish to")?;
    message.get(start..)?.split('"').nth(1).map(ToOwned::to_owned)
}
