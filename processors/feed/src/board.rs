//! What is known about the connection to one venue: counted by many tasks, told to the bus by one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spark_bus_schema::telemetry::{FeedState, FeedStatus};
use spark_bus_schema::{Timestamp, Venue, subject};
use spark_nats::{Bus, Meta, Status, now};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::bist::shares::Flaw;
use crate::frame::{FrameError, cut};

/// A status is told at least this often.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(60);
/// Changes closer together than this are told as one.
const CHANGES_PAUSE: Duration = Duration::from_millis(100);
/// Changes of the connection's state that wait to be told; beyond it the oldest are left out.
const TRANSITIONS_MAX: usize = 64;
/// Rejected frames that are written to the log, per venue and run; all of them are counted.
const REJECTIONS_LOGGED_MAX: u64 = 10;

/// The state of one venue, shared by its tasks.
pub struct Board {
    venue: Venue,
    reconnects: Count,
    missing: Count,
    filled: Count,
    rejected: Count,
    ticks: Count,
    quotes: Count,
    inner: Mutex<Inner>,
    changed: Notify,
}

/// One total: in heartbeats over all venues, in metrics by venue, in the status for this venue.
struct Count {
    here: AtomicU64,
    all: Arc<AtomicU64>,
    metric: metrics::Counter,
}

impl Count {
    fn new(venue: Venue, status: &Status, name: &'static str) -> Self {
        let metric = metrics::counter!(name, "exchange" => venue.as_str());
        Self { here: AtomicU64::new(0), all: status.counter(name), metric }
    }

    fn add(&self, count: u64) -> u64 {
        self.all.fetch_add(count, Ordering::Relaxed);
        self.metric.increment(count);
        self.here.fetch_add(count, Ordering::Relaxed)
    }

    fn get(&self) -> u64 {
        self.here.load(Ordering::Relaxed)
    }
}

struct Inner {
    symbols: Vec<String>,
    connection: FeedState,
    since: Timestamp,
    why: Option<String>,
    /// Symbols whose missing trades are being fetched, and how many ids are known to be missing.
    filling: BTreeMap<String, u64>,
    /// What else is wrong, by symbol: a permanent gap, a silent subscription, a broker that refuses.
    notes: BTreeMap<(String, &'static str), String>,
    /// Changes of the connection's state, each of which is told, however fast they come.
    transitions: VecDeque<FeedStatus>,
}

impl Board {
    /// A board that says "connecting".
    #[must_use]
    pub fn new(venue: Venue, symbols: &[String], status: &Status) -> Arc<Self> {
        Arc::new(Self {
            venue,
            reconnects: Count::new(venue, status, "spark_feed_reconnects_total"),
            missing: Count::new(venue, status, "spark_feed_trades_missing_total"),
            filled: Count::new(venue, status, "spark_feed_trades_filled_total"),
            rejected: Count::new(venue, status, "spark_feed_frames_rejected_total"),
            ticks: Count::new(venue, status, "spark_feed_ticks_total"),
            quotes: Count::new(venue, status, "spark_feed_quotes_total"),
            inner: Mutex::new(Inner {
                symbols: symbols.to_vec(),
                connection: FeedState::Connecting,
                since: now(),
                why: Some("connecting".to_owned()),
                filling: BTreeMap::new(),
                notes: BTreeMap::new(),
                transitions: VecDeque::new(),
            }),
            changed: Notify::new(),
        })
    }

    /// The venue.
    #[must_use]
    pub fn venue(&self) -> Venue {
        self.venue
    }

    /// The connection changed its state.
    pub fn connection(&self, state: FeedState, why: Option<String>) {
        self.change(|inner| {
            let changed = inner.connection != state;
            if changed {
                inner.connection = state;
                inner.since = now();
            }
            let why_changed = inner.why != why;
            inner.why = why;
            if changed {
                let status = self.compose(inner);
                if inner.transitions.len() >= TRANSITIONS_MAX {
                    inner.transitions.pop_front();
                }
                inner.transitions.push_back(status);
            }
            changed || why_changed
        });
    }

    /// The connection was lost and will be made again.
    pub fn reconnecting(&self, why: String) {
        self.reconnects.add(1);
        self.connection(FeedState::Reconnecting, Some(why));
    }

    /// `missing` ids of a symbol are known to be missing; 0 when none is any more.
    pub fn filling(&self, symbol: &str, missing: u64) {
        self.change(|inner| {
            let was = inner.filling.is_empty();
            let before =
                if missing == 0 { inner.filling.remove(symbol) } else { inner.filling.insert(symbol.to_owned(), missing) };
            if was != inner.filling.is_empty() {
                inner.since = now();
            }
            before.unwrap_or(0) != missing
        });
    }

    /// Says, or (none) takes back, that something is wrong with a symbol.
    pub fn note(&self, symbol: &str, topic: &'static str, text: Option<String>) {
        self.change(|inner| {
            let key = (symbol.to_owned(), topic);
            match text {
                Some(text) => inner.notes.insert(key, text.clone()).is_none_or(|before| before != text),
                None => inner.notes.remove(&key).is_some(),
            }
        });
    }

    /// Data of these symbols is promised from now on, and of no others.
    pub fn promise(&self, symbols: &[String]) {
        self.change(|inner| {
            let different = inner.symbols != symbols;
            if different {
                inner.symbols = symbols.to_vec();
            }
            different
        });
    }

    /// A row of a vendor's answer was refused.
    pub fn rejected_row(&self, symbol: Option<&str>, flaw: &Flaw) {
        metrics::counter!("spark_feed_rejections_total", "exchange" => self.venue.as_str(), "reason" => flaw.reason())
            .increment(1);
        if self.rejected.add(1) < REJECTIONS_LOGGED_MAX {
            tracing::warn!(venue = %self.venue, symbol, %flaw, "row rejected");
        }
        self.note(symbol.unwrap_or("answer"), "row", Some(cut(&flaw.to_string())));
        self.changed.notify_one();
    }

    /// Trade ids were found missing.
    pub fn missing(&self, count: u64) {
        self.missing.add(count);
    }

    /// Missing trades were fetched.
    pub fn filled(&self, count: u64) {
        self.filled.add(count);
    }

    /// Trades were acknowledged by the broker.
    pub fn ticks(&self, count: u64) {
        self.ticks.add(count);
    }

    /// Quotes were acknowledged by the broker.
    pub fn quotes(&self, count: u64) {
        self.quotes.add(count);
    }

    /// A frame, or an entry of one, was refused.
    pub fn rejected(&self, error: &FrameError, frame: &[u8]) {
        metrics::counter!("spark_feed_rejections_total", "exchange" => self.venue.as_str(), "reason" => error.reason())
            .increment(1);
        let before = self.rejected.add(1);
        if before < REJECTIONS_LOGGED_MAX {
            let start = cut(&String::from_utf8_lossy(&frame[..frame.len().min(256)]));
            tracing::warn!(venue = %self.venue, %error, frame = start, "frame rejected");
        } else if before == REJECTIONS_LOGGED_MAX {
            tracing::warn!(venue = %self.venue, "more frames are rejected; they are counted but no longer logged");
        }
        self.changed.notify_one();
    }

    /// What is told.
    #[must_use]
    pub fn status(&self) -> FeedStatus {
        self.compose(&self.lock())
    }

    /// What is to be told next: each change of the connection's state, then what is.
    fn next_status(&self) -> (FeedStatus, bool) {
        let mut inner = self.lock();
        match inner.transitions.pop_front() {
            Some(status) => (status, true),
            None => (self.compose(&inner), false),
        }
    }

    fn compose(&self, inner: &Inner) -> FeedStatus {
        let filling = inner.connection == FeedState::Live && !inner.filling.is_empty();
        let mut detail: Vec<String> = inner.why.iter().cloned().collect();
        detail.extend(inner.filling.iter().map(|(symbol, missing)| format!("{symbol}: fetching {missing} missing trades")));
        detail.extend(inner.notes.iter().map(|((symbol, _), text)| format!("{symbol}: {text}")));
        FeedStatus {
            venue: self.venue,
            state: if filling { FeedState::Filling } else { inner.connection },
            since: inner.since,
            symbols: inner.symbols.clone(),
            reconnects: self.reconnects.get(),
            trades_missing: self.missing.get(),
            trades_filled: self.filled.get(),
            frames_rejected: self.rejected.get(),
            detail: (!detail.is_empty()).then(|| detail.join("; ")),
        }
    }

    /// Wakes the reporter when `apply` says that something is different now: most batches change nothing.
    fn change(&self, apply: impl FnOnce(&mut Inner) -> bool) {
        let different = apply(&mut self.lock());
        if different {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the bus every change, and the state once a minute. `after` is called with what was told.
pub(crate) async fn report(board: Arc<Board>, bus: Bus, shutdown: CancellationToken, after: impl Fn(&FeedStatus)) {
    let target = subject::feed_status(board.venue);
    loop {
        let (status, more) = board.next_status();
        after(&status);
        let told = tokio::select! {
            () = shutdown.cancelled() => return,
            told = bus.publish(&target, &status, Meta::default()) => told,
        };
        if let Err(error) = told {
            tracing::error!(venue = %board.venue, %error, "tell the feed's state");
        }
        if more {
            continue;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = board.changed.notified() => tokio::time::sleep(CHANGES_PAUSE).await,
            () = tokio::time::sleep(STATUS_INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn what_changes_nothing_wakes_nobody() {
        let board = Board::new(Venue::Binance, &["BTCUSDT".to_owned()], &Status::default());
        let told = |what: &str, want: bool| assert_eq!(board.changed.notified().now_or_never().is_some(), want, "{what}");
        board.connection(FeedState::Live, None);
        told("a new state", true);
        board.connection(FeedState::Live, None);
        told("the same state", false);
        board.filling("BTCUSDT", 0);
        board.note("BTCUSDT", "gap", None);
        told("nothing is missing, as before", false);
        board.filling("BTCUSDT", 3);
        told("a hole", true);
        board.filling("BTCUSDT", 3);
        told("the same hole", false);
        board.filling("BTCUSDT", 0);
        told("the hole is filled", true);
    }
}
