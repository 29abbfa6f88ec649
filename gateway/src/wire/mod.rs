//! Messages of the bus for WebSocket clients, as they subscribe to them by subject.
//!
//! A message is matched once against each distinct pattern, made JSON once, and handed to the queue of every client that wants
//! it. Nobody waits for anybody: a client whose queue is full ([`QUEUE_MAX`] messages or [`QUEUE_BYTES_MAX`] bytes) is
//! disconnected with close code 1013. While nobody is subscribed, nothing is read for anybody.

pub(crate) mod client;
pub(crate) mod follow;
pub mod frames;
pub mod pattern;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::ws::{Message, Utf8Bytes};
use spark_bus_schema::subject;
use tokio::sync::{Notify, mpsc, watch};

use frames::Carried;
use pattern::Family;

/// Messages that may wait for one client.
pub const QUEUE_MAX: usize = 1_024;
/// Bytes that may wait for one client.
pub const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Patterns of one client.
pub const PATTERNS_MAX: usize = 64;

/// Who wants what.
pub struct Wire {
    state: Mutex<State>,
    wanted: watch::Sender<BTreeSet<Family>>,
    clients: AtomicUsize,
    left: Notify,
    sent: AtomicU64,
}

#[derive(Default)]
struct State {
    /// By the first word of the pattern; wildcards among them.
    patterns: HashMap<String, BTreeMap<String, Vec<Arc<Outlet>>>>,
    /// How many patterns want something of a family.
    families: BTreeMap<Family, usize>,
}

/// The way to one client.
pub(crate) struct Outlet {
    id: u64,
    queue: mpsc::Sender<Message>,
    bytes: AtomicUsize,
    /// It was too slow: it gets no more.
    slow: AtomicBool,
    ended: Notify,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            wanted: watch::Sender::default(),
            clients: AtomicUsize::new(0),
            left: Notify::new(),
            sent: AtomicU64::new(0),
        }
    }
}

impl Outlet {
    pub fn new(id: u64) -> (Arc<Self>, mpsc::Receiver<Message>) {
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        let outlet = Self { id, queue, bytes: AtomicUsize::new(0), slow: AtomicBool::new(false), ended: Notify::new() };
        (Arc::new(outlet), receiver)
    }

    /// Puts a text into the queue; a full one ends the client.
    pub fn put(&self, text: Utf8Bytes) {
        if self.slow.load(Ordering::Relaxed) {
            return;
        }
        let size = text.len();
        let waiting = self.bytes.fetch_add(size, Ordering::AcqRel) + size;
        // The first message may be as large as it likes.
        let full = waiting > QUEUE_BYTES_MAX && waiting > size;
        if full || matches!(self.queue.try_send(Message::Text(text)), Err(mpsc::error::TrySendError::Full(_))) {
            self.slow.store(true, Ordering::Release);
            self.ended.notify_one();
        }
    }

    /// Asks the client whether it is there. Whoever's queue is full is about to end anyway.
    pub fn ping(&self) {
        let _ = self.queue.try_send(Message::Ping(axum::body::Bytes::new()));
    }

    /// A message has left the queue.
    pub fn taken(&self, message: &Message) {
        if let Message::Text(text) = message {
            self.bytes.fetch_sub(text.len(), Ordering::AcqRel);
        }
    }

    /// Waits until the client has been too slow.
    pub async fn too_slow(&self) {
        while !self.slow.load(Ordering::Acquire) {
            self.ended.notified().await;
        }
    }
}

impl Wire {
    /// Clients now.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Acquire)
    }

    /// Messages handed to clients' queues since the start.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until no client is left.
    pub(crate) async fn ended(&self) {
        loop {
            let left = self.left.notified();
            if self.clients() == 0 {
                return;
            }
            left.await;
        }
    }

    fn enter(&self) {
        self.clients.fetch_add(1, Ordering::AcqRel);
    }

    fn leave(&self) {
        self.clients.fetch_sub(1, Ordering::AcqRel);
        self.left.notify_waiters();
    }

    fn subscribe(&self, pattern: &str, outlet: &Arc<Outlet>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let subscribers = state.patterns.entry(first(pattern).to_owned()).or_default().entry(pattern.to_owned()).or_default();
        let new = subscribers.is_empty();
        subscribers.push(Arc::clone(outlet));
        if new {
            for family in pattern::families(pattern) {
                *state.families.entry(family).or_default() += 1;
            }
            self.tell(&state);
        }
    }

    fn unsubscribe(&self, pattern: &str, outlet: &Arc<Outlet>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(patterns) = state.patterns.get_mut(first(pattern)) else { return };
        let Some(subscribers) = patterns.get_mut(pattern) else { return };
        subscribers.retain(|other| other.id != outlet.id);
        if !subscribers.is_empty() {
            return;
        }
        patterns.remove(pattern);
        if patterns.is_empty() {
            state.patterns.remove(first(pattern));
        }
        for family in pattern::families(pattern) {
            if let Some(count) = state.families.get_mut(&family) {
                *count -= 1;
                if *count == 0 {
                    state.families.remove(&family);
                }
            }
        }
        self.tell(&state);
    }

    /// Tells whoever reads the bus what is wanted now.
    fn tell(&self, state: &State) {
        self.wanted.send_if_modified(|wanted| {
            let now: BTreeSet<Family> = state.families.keys().copied().collect();
            let other = *wanted != now;
            *wanted = now;
            other
        });
    }

    /// Hands a message to everybody who wants it. `wanting` is room that is used again.
    fn hand(&self, message: &Carried<'_>, wanting: &mut Vec<Arc<Outlet>>) {
        wanting.clear();
        let mut matched = 0;
        {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            for word in [first(message.subject), "*", ">"] {
                for (pattern, subscribers) in state.patterns.get(word).into_iter().flatten() {
                    if subject::matches(pattern, message.subject) {
                        wanting.extend(subscribers.iter().cloned());
                        matched += 1;
                    }
                }
            }
        }
        if wanting.is_empty() {
            return;
        }
        if matched > 1 {
            // Once each, however many of its patterns match.
            wanting.sort_unstable_by_key(|outlet| outlet.id);
            wanting.dedup_by_key(|outlet| outlet.id);
        }
        let text = message.text(false);
        for outlet in wanting.iter() {
            outlet.put(text.clone());
        }
        self.sent.fetch_add(wanting.len() as u64, Ordering::Relaxed);
        wanting.clear();
    }
}

fn first(pattern: &str) -> &str {
    pattern.split('.').next().unwrap_or(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spark_bus_schema::Timestamp;

    fn carried(on: &str) -> Carried<'_> {
        Carried { stream: "FEED", sequence: Some(7), subject: on, at: Timestamp::ZERO, kind: None, payload: b"" }
    }

    fn texts(queue: &mut mpsc::Receiver<Message>) -> Vec<String> {
        let mut all = Vec::new();
        while let Ok(message) = queue.try_recv() {
            let value: serde_json::Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
            all.push(value["subject"].as_str().unwrap().to_owned());
        }
        all
    }

    #[test]
    fn everybody_gets_what_it_subscribed_to_once() {
        let wire = Wire::default();
        let (one, mut first) = Outlet::new(1);
        let (other, mut second) = Outlet::new(2);
        wire.subscribe("market.ticks.>", &one);
        wire.subscribe("market.*.binance.*", &one);
        wire.subscribe(">", &other);
        for on in ["market.ticks.binance.BTCUSDT", "market.quotes.binance.BTCUSDT", "market.quotes.btcturk.BTCTRY", "risk.epoch"]
        {
            wire.hand(&carried(on), &mut Vec::new());
        }
        assert_eq!(texts(&mut first), ["market.ticks.binance.BTCUSDT", "market.quotes.binance.BTCUSDT"]);
        assert_eq!(texts(&mut second).len(), 4);
        wire.unsubscribe("market.ticks.>", &one);
        wire.unsubscribe("market.*.binance.*", &one);
        wire.hand(&carried("market.ticks.binance.BTCUSDT"), &mut Vec::new());
        assert_eq!(texts(&mut first), Vec::<String>::new());
        assert_eq!(texts(&mut second).len(), 1);
    }

    #[test]
    fn the_bus_is_read_for_what_is_wanted_and_for_nothing_else() {
        let wire = Wire::default();
        let wanted = wire.wanted.subscribe();
        let told = || wanted.borrow().iter().map(|family| family.subjects).collect::<Vec<_>>();
        let ((one, _keep), (other, _keep_too)) = (Outlet::new(1), Outlet::new(2));
        assert!(told().is_empty());
        wire.subscribe("market.ticks.binance.BTCUSDT", &one);
        wire.subscribe("market.ticks.>", &other);
        assert_eq!(told(), [subject::TICKS]);
        wire.subscribe("control.kill_switch", &one);
        assert_eq!(told(), [subject::TICKS, subject::KILL_SWITCH]);
        wire.unsubscribe("market.ticks.binance.BTCUSDT", &one);
        assert_eq!(told().len(), 2, "somebody else still wants it");
        wire.unsubscribe("market.ticks.>", &other);
        wire.unsubscribe("control.kill_switch", &one);
        wire.unsubscribe("control.kill_switch", &one);
        assert!(told().is_empty() && wire.state.lock().unwrap().patterns.is_empty());
    }

    #[test]
    fn a_full_queue_ends_its_client_and_nobody_else() {
        let wire = Wire::default();
        let (stuck, _never_read) = Outlet::new(1);
        let (quick, mut queue) = Outlet::new(2);
        for outlet in [&stuck, &quick] {
            wire.subscribe("risk.>", outlet);
        }
        for _ in 0..=QUEUE_MAX {
            wire.hand(&carried("risk.epoch"), &mut Vec::new());
            assert_eq!(texts(&mut queue).len(), 1);
        }
        assert!(stuck.slow.load(Ordering::Relaxed) && !quick.slow.load(Ordering::Relaxed));
    }

    #[test]
    fn a_queue_is_bounded_by_bytes_too() {
        let (outlet, mut queue) = Outlet::new(1);
        let large = Utf8Bytes::from("x".repeat(QUEUE_BYTES_MAX + 1));
        outlet.put(large.clone());
        assert!(!outlet.slow.load(Ordering::Relaxed), "one message is let through whatever its size");
        let message = queue.try_recv().unwrap();
        outlet.taken(&message);
        outlet.put(large.clone());
        outlet.put("x".into());
        assert!(outlet.slow.load(Ordering::Relaxed));
    }
}
