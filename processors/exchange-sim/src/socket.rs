//! One WebSocket connection: what is the same at both exchanges. The exchange's own words are a [`Session`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, MissedTickBehavior};

use crate::config::Venue;
use crate::fault::Place;
use crate::garbage;
use crate::hub::{Client, Frame, Queues};
use crate::world::World;

/// Frames written before the connection is flushed.
const BATCH: usize = 128;
/// How often a frozen socket looks whether it still is.
const THAW_CHECK: Duration = Duration::from_millis(20);
/// Closing frames get this long to leave.
const CLOSE_GRACE: Duration = Duration::from_millis(250);

/// What an exchange says on a socket.
pub(crate) trait Session: Send {
    /// Called once, when the socket is open.
    fn open(&mut self);
    /// A text from the client. Answers go through the client's queue.
    fn text(&mut self, text: &str);
    /// Something came in, of any kind. A closing code and reason ends the connection.
    fn inbound(&mut self) -> Option<(u16, &'static str)>;
    /// The end of the connection's life is near.
    fn ending(&mut self);
}

/// How long a socket lives and how it is kept alive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// Time between pings.
    pub ping: Duration,
    /// An unanswered ping closes the socket after this time.
    pub pong: Duration,
    /// Closing code then; none breaks the connection.
    pub close_code: u16,
    /// Notice of the end, and the end.
    pub life: Option<(Duration, Duration)>,
}

#[derive(Debug, Default)]
struct Pings {
    unanswered_since: Option<Instant>,
    payload: Vec<u8>,
}

/// Serves a socket until it ends.
pub(crate) async fn serve(
    socket: WebSocket,
    world: Arc<World>,
    client: Arc<Client>,
    queues: Queues,
    mut session: impl Session,
    manners: Manners,
) {
    let exchange = world.exchange(client.venue);
    let (sink, stream) = socket.split();
    let pings = Arc::new(Mutex::new(Pings::default()));
    let writer = Writer { sink, client: client.clone(), world: world.clone(), pings: pings.clone() };
    // A fault that cuts sockets for a while also cuts those that come.
    let writing = tokio::spawn(writer.run(queues, manners.ping));
    session.open();
    let close = read(stream, &world, &client, &pings, &mut session, manners).await;
    if let Some((code, reason)) = close
        && !client.hangup.is_cancelled()
    {
        client.answer(Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from(reason) })));
        tokio::time::sleep(CLOSE_GRACE).await;
    }
    client.hangup.cancel();
    exchange.hub.disconnect(&client);
    if let Err(error) = writing.await {
        tracing::error!(client = client.id, %error, "socket writer failed");
    }
    tracing::debug!(client = client.id, exchange = %client.venue, "socket ended");
}

/// Reads until the end. Returns how to close.
async fn read(
    mut stream: SplitStream<WebSocket>,
    world: &World,
    client: &Client,
    pings: &Mutex<Pings>,
    session: &mut impl Session,
    manners: Manners,
) -> Option<(u16, &'static str)> {
    let begin = Instant::now();
    let far = Duration::from_secs(365 * 86_400);
    let (notice, end) = manners.life.unwrap_or((far, far));
    let mut noticed = false;
    let mut faults = world.faults.watch();
    let mut check = tokio::time::interval((manners.pong / 10).clamp(Duration::from_millis(10), Duration::from_secs(1)));
    loop {
        if world.faults.cuts(client.venue, &client.topics()) {
            client.hangup.cancel();
        }
        let frozen = world.faults.frozen(client.venue);
        tokio::select! {
            biased;
            () = client.hangup.cancelled() => return None,
            changed = faults.changed() => {
                if changed.is_err() { return None }
            }
            () = tokio::time::sleep_until(begin + end) => return Some((1001, "connection lived for its whole time")),
            () = tokio::time::sleep_until(begin + notice), if !noticed => {
                noticed = true;
                session.ending();
            }
            () = tokio::time::sleep(THAW_CHECK), if frozen => {}
            _ = check.tick(), if !frozen => {
                let since = pings.lock().unwrap_or_else(PoisonError::into_inner).unanswered_since;
                if since.is_some_and(|since| since.elapsed() >= manners.pong) {
                    return Some((manners.close_code, "no pong"));
                }
            }
            message = stream.next(), if !frozen => {
                let Some(Ok(message)) = message else { return None };
                if let Some(close) = session.inbound() {
                    return Some(close);
                }
                match message {
                    Message::Text(text) => session.text(text.as_str()),
                    Message::Pong(payload) => {
                        let mut pings = pings.lock().unwrap_or_else(PoisonError::into_inner);
                        if pings.payload == payload[..] {
                            pings.unanswered_since = None;
                        }
                    }
                    // The answer to a client's ping and closing frame leaves with the next flush.
                    Message::Ping(_) => client.answer(Message::Pong(bytes::Bytes::new())),
                    Message::Close(_) => return Some((1000, "")),
                    Message::Binary(_) => session.text("\u{0}"),
                }
            }
        }
    }
}

struct Writer {
    sink: SplitSink<WebSocket, Message>,
    client: Arc<Client>,
    world: Arc<World>,
    pings: Arc<Mutex<Pings>>,
}

impl Writer {
    async fn run(mut self, mut queues: Queues, every: Duration) {
        let hangup = self.client.hangup.clone();
        tokio::select! {
            () = hangup.cancelled() => {}
            result = self.write(&mut queues, every) => {
                if let Err(error) = result {
                    tracing::debug!(client = self.client.id, %error, "socket cannot be written");
                }
                hangup.cancel();
            }
        }
    }

    async fn write(&mut self, queues: &mut Queues, every: Duration) -> Result<(), axum::Error> {
        let mut ping = tokio::time::interval_at(Instant::now() + every, every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Live frames before replayed ones: a replay waits, a market does not.
            tokio::select! {
                biased;
                Some(message) = queues.control.recv() => self.control(message).await?,
                _ = ping.tick() => self.ping().await?,
                Some(frame) = queues.live.recv() => self.frame(frame).await?,
                Some(frame) = queues.replay.recv() => self.frame(frame).await?,
                else => return Ok(()),
            }
            for _ in 0..BATCH {
                let Ok(frame) = queues.live.try_recv().or_else(|_| queues.replay.try_recv()) else { break };
                self.frame(frame).await?;
            }
            self.sink.flush().await?;
        }
    }

    async fn control(&mut self, message: Message) -> Result<(), axum::Error> {
        if self.world.faults.frozen(self.client.venue) {
            return Ok(());
        }
        // An empty pong only asks for a flush of the one that the protocol layer queued.
        if matches!(&message, Message::Pong(payload) if payload.is_empty()) {
            return Ok(());
        }
        self.sink.feed(message).await
    }

    async fn ping(&mut self) -> Result<(), axum::Error> {
        if self.world.faults.frozen(self.client.venue) {
            return Ok(());
        }
        let payload = self.world.now_ms(self.client.venue).to_string().into_bytes();
        {
            let mut pings = self.pings.lock().unwrap_or_else(PoisonError::into_inner);
            pings.payload.clone_from(&payload);
            pings.unanswered_since.get_or_insert_with(Instant::now);
        }
        self.sink.feed(Message::Ping(payload.into())).await
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), axum::Error> {
        let venue = self.client.venue;
        let faults = self.world.faults.frame(venue, &frame.topic);
        if faults.skip {
            return Ok(());
        }
        if !faults.delay.is_zero() {
            self.sink.flush().await?;
            tokio::time::sleep_until(frame.at + faults.delay).await;
        }
        let combined = venue == Venue::Btcturk || self.client.combined.load(Ordering::Relaxed);
        let bytes = frame.form(combined);
        if let Some((variant, place)) = faults.garbage {
            let good = String::from_utf8_lossy(&bytes);
            self.sink.feed(Message::Text(garbage::broken(&good, variant).into())).await?;
            if place == Place::Instead {
                return Ok(());
            }
        }
        match Utf8Bytes::try_from(bytes) {
            Ok(text) => {
                if faults.twice {
                    self.sink.feed(Message::Text(text.clone())).await?;
                }
                self.sink.feed(Message::Text(text)).await
            }
            // Frames are made from text; a recording was checked when it was opened.
            Err(_) => Ok(()),
        }
    }
}
