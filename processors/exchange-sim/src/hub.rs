//! Who listens to what: clients' queues and the streams they joined.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::ws::Message;
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Venue;

/// Frames of the seeded market that wait for one client; a client that lets them pile up is dropped, as the exchanges do.
const LIVE_QUEUE: usize = 8_192;
/// Replayed frames that wait for one client; the replay waits when they are full.
const REPLAY_QUEUE: usize = 1_024;
/// Answers and pongs that wait for one client.
const CONTROL_QUEUE: usize = 256;

/// One text frame, shared by all who get it.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Stream it belongs to.
    pub topic: Arc<str>,
    /// The whole: at Binance the combined form.
    pub text: Bytes,
    /// Where the raw form lies in it.
    pub raw: (usize, usize),
    /// When it was made.
    pub at: Instant,
}

impl Frame {
    /// A frame that is the same for everybody.
    pub(crate) fn whole(topic: &Arc<str>, text: String) -> Self {
        let raw = (0, text.len());
        Self { topic: topic.clone(), text: Bytes::from(text), raw, at: Instant::now() }
    }

    /// Wraps `data` in Binance's combined envelope.
    pub(crate) fn combined(topic: &Arc<str>, data: &str) -> Self {
        let text = format!("{{\"stream\":\"{topic}\",\"data\":{data}}}");
        let end = text.len() - 1;
        Self { topic: topic.clone(), raw: (end - data.len(), end), text: Bytes::from(text), at: Instant::now() }
    }

    /// What a client in this mode gets.
    pub(crate) fn form(&self, combined: bool) -> Bytes {
        if combined { self.text.clone() } else { self.text.slice(self.raw.0..self.raw.1) }
    }
}

/// One connected socket.
#[derive(Debug)]
pub(crate) struct Client {
    /// Unique in a run.
    pub id: u64,
    /// Which exchange it is connected to.
    pub venue: Venue,
    /// Breaks the connection without a closing frame.
    pub hangup: CancellationToken,
    /// Binance: frames in the combined envelope.
    pub combined: AtomicBool,
    /// Binance: the account's subscription on this connection.
    subscription: AtomicU64,
    live: mpsc::Sender<Frame>,
    replay: mpsc::Sender<Frame>,
    control: mpsc::Sender<Message>,
    topics: Mutex<Vec<String>>,
}

/// The receiving ends of a client's queues.
#[derive(Debug)]
pub(crate) struct Queues {
    pub live: mpsc::Receiver<Frame>,
    pub replay: mpsc::Receiver<Frame>,
    pub control: mpsc::Receiver<Message>,
}

impl Client {
    /// Number of the account's subscription on this connection.
    pub(crate) fn subscription(&self) -> u64 {
        self.subscription.load(Ordering::Relaxed)
    }

    /// Gives the account's subscription a number.
    pub(crate) fn set_subscription(&self, id: u64) {
        self.subscription.store(id, Ordering::Relaxed);
    }

    /// Gives a frame of the seeded market; drops the client when its queue is full.
    pub(crate) fn offer(&self, frame: Frame) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.live.try_send(frame) {
            tracing::warn!(client = self.id, exchange = %self.venue, queue = LIVE_QUEUE, "client reads too slowly and is disconnected");
            metrics::counter!("spark_sim_slow_clients_total", "exchange" => self.venue.to_string()).increment(1);
            self.hangup.cancel();
        }
    }

    /// Gives a replayed frame, waiting for room.
    pub(crate) async fn replayed(&self, frame: Frame) {
        tokio::select! {
            // A send fails only when the socket is gone: its client asks for what it missed over REST.
            _ = self.replay.send(frame) => {}
            () = self.hangup.cancelled() => {}
        }
    }

    /// Queues an answer. A client that does not take its answers is dropped.
    pub(crate) fn answer(&self, message: Message) {
        if self.control.try_send(message).is_err() {
            self.hangup.cancel();
        }
    }

    pub(crate) fn topics(&self) -> Vec<String> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All clients of one exchange.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    topics: Mutex<HashMap<String, Vec<Arc<Client>>>>,
    clients: Mutex<BTreeMap<u64, Arc<Client>>>,
    next: AtomicU64,
    /// Wakes whoever waits for a subscriber.
    pub joined: Notify,
}

impl Hub {
    /// Registers a socket.
    pub(crate) fn connect(&self, venue: Venue, hangup: CancellationToken, combined: bool) -> (Arc<Client>, Queues) {
        let (live, live_queue) = mpsc::channel(LIVE_QUEUE);
        let (replay, replay_queue) = mpsc::channel(REPLAY_QUEUE);
        let (control, control_queue) = mpsc::channel(CONTROL_QUEUE);
        let client = Arc::new(Client {
            id: self.next.fetch_add(1, Ordering::Relaxed) + 1,
            venue,
            hangup,
            combined: AtomicBool::new(combined),
            subscription: AtomicU64::new(0),
            live,
            replay,
            control,
            topics: Mutex::new(Vec::new()),
        });
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).insert(client.id, client.clone());
        (client, Queues { live: live_queue, replay: replay_queue, control: control_queue })
    }

    /// Forgets a socket.
    pub(crate) fn disconnect(&self, client: &Client) {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&client.id);
        for topic in client.topics() {
            self.leave(client, &topic);
        }
    }

    /// Subscribes. False when it was already.
    pub(crate) fn join(&self, client: &Arc<Client>, topic: &str) -> bool {
        let mut mine = client.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if mine.iter().any(|each| each == topic) {
            return false;
        }
        mine.push(topic.to_owned());
        drop(mine);
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).entry(topic.to_owned()).or_default().push(client.clone());
        self.joined.notify_waiters();
        true
    }

    /// Unsubscribes. False when it was not subscribed.
    pub(crate) fn leave(&self, client: &Client, topic: &str) -> bool {
        let mut mine = client.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mine.len();
        mine.retain(|each| each != topic);
        let was = mine.len() < before;
        drop(mine);
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clients) = topics.get_mut(topic) {
            clients.retain(|each| each.id != client.id);
            if clients.is_empty() {
                topics.remove(topic);
            }
        }
        was
    }

    /// Who listens to a stream.
    pub(crate) fn listeners(&self, topic: &str) -> Vec<Arc<Client>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).get(topic).cloned().unwrap_or_default()
    }

    /// Streams that somebody listens to and that fit.
    pub(crate) fn wanted(&self, fits: impl Fn(&str) -> bool) -> Vec<String> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).keys().filter(|topic| fits(topic)).cloned().collect()
    }

    /// Sends to all who listen; the frame is made only when somebody does.
    pub(crate) fn publish(&self, topic: &str, make: impl FnOnce() -> Frame) {
        let clients = self.listeners(topic);
        if clients.is_empty() {
            return;
        }
        let frame = make();
        for client in clients {
            client.offer(frame.clone());
        }
    }

    /// All connected sockets.
    pub(crate) fn clients(&self) -> Vec<Arc<Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(topic: &str) -> Frame {
        Frame::combined(&Arc::from(topic), r#"{"a":1}"#)
    }

    #[test]
    fn a_frame_has_a_raw_and_a_combined_form() {
        let frame = frame("x@trade");
        assert_eq!(frame.form(true), r#"{"stream":"x@trade","data":{"a":1}}"#.as_bytes());
        assert_eq!(frame.form(false), r#"{"a":1}"#.as_bytes());
    }

    #[test]
    fn only_listeners_get_frames_and_a_client_that_lets_them_pile_up_is_dropped() {
        let hub = Hub::default();
        let (slow, mut queues) = hub.connect(Venue::Binance, CancellationToken::new(), true);
        let (idle, mut nothing) = hub.connect(Venue::Binance, CancellationToken::new(), true);
        assert!(hub.join(&slow, "x@trade") && !hub.join(&slow, "x@trade"));
        for _ in 0..LIVE_QUEUE {
            hub.publish("x@trade", || frame("x@trade"));
        }
        assert!(!slow.hangup.is_cancelled());
        hub.publish("x@trade", || frame("x@trade"));
        assert!(slow.hangup.is_cancelled() && !idle.hangup.is_cancelled());
        assert!(queues.live.try_recv().is_ok() && nothing.live.try_recv().is_err());
        hub.disconnect(&slow);
        assert!(hub.listeners("x@trade").is_empty() && hub.clients().len() == 1);
        hub.publish("x@trade", || panic!("nobody listens: no frame is made"));
    }
}
