//! The live stream: events rendered once, in one ring that every client reads at its own pace.
//!
//! An event's id is `<run>-<n>`: the run is another one after each start, `n` counts up. A client that comes back with the id
//! of the last event it has gets exactly what it missed, as long as the ring still has it: [`ring::EVENTS_MAX`] events and
//! [`ring::BYTES_MAX`] bytes at most, and nothing that happened when nobody had been there for [`RETAIN`]. Otherwise it gets a
//! `resync` event with the whole picture.
//!
//! The rule for slow clients: a client that falls more than [`BACKLOG_MAX`] events or [`BACKLOG_BYTES_MAX`] bytes behind
//! loses them and gets a `resync` instead; nobody else waits for it. One whose socket takes nothing at all for a while is
//! disconnected (see `http::server`).

pub(crate) mod client;
pub mod ring;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use bytes::{BufMut, BytesMut};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::auth::random;
use crate::render::{PricesAnswer, Signals, Snapshot, System};
use crate::view::trading::Changed;
use ring::Ring;

/// Events that a connected client may be behind.
pub const BACKLOG_MAX: u64 = 256;
/// Bytes that a connected client may be behind.
pub const BACKLOG_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Events are kept for so long after the last client left: it may come back.
pub const RETAIN: Duration = Duration::from_secs(60);
/// Prices leave at most this often, each symbol once. A snapshot for newcomers is rendered at most this often, too.
pub const BEAT: Duration = Duration::from_millis(100);
/// Windows and processes leave on every tenth beat: once a second.
const BEATS_A_SECOND: u64 = 10;
/// Positions and what may trade leave on every fifth beat; the kill switch leaves at once (see [`crate::app`]).
const BEATS_HALF_A_SECOND: u64 = 5;
/// Bytes of randomness in the name of a run.
const RUN_BYTES: usize = 4;
/// A rendered event is expected to have so many bytes; it grows when it has more.
const EVENT_BYTES: usize = 1_024;

/// Every kind of event but the whole picture (`snapshot` and `resync`), which always comes.
pub const EVENTS: [&str; 11] =
    ["prices", "portfolio", "windows", "signals", "processes", "order", "position", "guard", "kill_switch", "alert", "alerts"];

/// The bit of a kind of event; one bit for all that are not in the list.
#[must_use]
pub(crate) fn kind(event: &str) -> u32 {
    1 << EVENTS.iter().position(|known| *known == event).unwrap_or(EVENTS.len())
}

/// What wakes clients.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    /// Counts up with each flush.
    turn: u64,
    /// Counts the seconds, so that everybody looks up now and then.
    second: u64,
    /// The gateway stops.
    closed: bool,
}

/// The whole picture, rendered not long ago.
struct Kept {
    at: Instant,
    /// Every event up to this one is in it.
    last: u64,
    data: Bytes,
}

/// The ring, and who reads it.
pub struct Hub {
    /// Name of this run.
    run: String,
    ring: Mutex<Ring>,
    news: watch::Sender<News>,
    /// Something is in the ring that nobody was woken for.
    unsaid: AtomicBool,
    clients: AtomicUsize,
    begun: Instant,
    /// When the last client left, ms after `begun`; 0: there was none yet.
    left_ms: AtomicU64,
    snapshot: Mutex<Option<Kept>>,
    resumed: AtomicU64,
    resyncs: AtomicU64,
    portfolio: AtomicBool,
    windows: AtomicBool,
    signals: AtomicBool,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            run: random::hex(RUN_BYTES),
            ring: Mutex::default(),
            news: watch::Sender::default(),
            unsaid: AtomicBool::new(false),
            clients: AtomicUsize::new(0),
            begun: Instant::now(),
            left_ms: AtomicU64::new(0),
            snapshot: Mutex::default(),
            resumed: AtomicU64::new(0),
            resyncs: AtomicU64::new(0),
            portfolio: AtomicBool::new(false),
            windows: AtomicBool::new(false),
            signals: AtomicBool::new(false),
        }
    }
}

impl Hub {
    /// Adds an event for all clients, who learn of it with the next [`flush`](Self::flush); costs nothing without clients.
    pub fn send(&self, event: &'static str, data: &impl Serialize) {
        if !self.is_wanted() {
            return;
        }
        let mut bytes = BytesMut::with_capacity(EVENT_BYTES).writer();
        // The id comes last: it is known only when the event is added, and rendering shall not keep readers waiting.
        let written = write!(bytes, "event: {event}\ndata: ")
            .map_err(serde_json::Error::io)
            .and_then(|()| serde_json::to_writer(&mut bytes, data));
        if let Err(error) = written {
            tracing::error!(event, %error, "render an event");
            return;
        }
        self.ring().push(kind(event), |id| {
            let mut bytes = bytes.into_inner();
            bytes.put_slice(b"\nid: ");
            bytes.put_slice(self.id(id).as_bytes());
            bytes.put_slice(b"\n\n");
            bytes.freeze()
        });
        self.unsaid.store(true, Ordering::Release);
    }

    /// Wakes every client when there is something new.
    pub fn flush(&self) {
        if self.unsaid.swap(false, Ordering::AcqRel) {
            self.news.send_modify(|news| news.turn += 1);
        }
    }

    /// Clients now.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Acquire)
    }

    /// Whether events are written down: somebody is there, or has been not long ago.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        if self.clients() > 0 {
            return true;
        }
        let left = self.left_ms.load(Ordering::Acquire);
        left > 0 && self.begun.elapsed().saturating_sub(Duration::from_millis(left)) < RETAIN
    }

    /// Clients that went on where they had been, and clients that fell too far behind.
    #[must_use]
    pub fn resumed_and_resyncs(&self) -> (u64, u64) {
        (self.resumed.load(Ordering::Relaxed), self.resyncs.load(Ordering::Relaxed))
    }

    fn enter(&self) {
        let mut ring = self.ring();
        if !self.is_wanted() {
            ring.gap();
        }
        self.clients.fetch_add(1, Ordering::AcqRel);
    }

    fn leave(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.left_ms.store(now.max(1), Ordering::Release);
        self.clients.fetch_sub(1, Ordering::AcqRel);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    /// The number in an event's id, if it is one of this run.
    fn position(&self, id: &str) -> Option<u64> {
        let (run, number) = id.split_once('-')?;
        if run == self.run { number.parse().ok() } else { None }
    }

    fn is_too_far(ring: &Ring, seen: u64) -> bool {
        let (events, bytes) = ring.behind(seen);
        events > BACKLOG_MAX || bytes > BACKLOG_BYTES_MAX
    }

    fn count_resumed(&self) {
        self.resumed.fetch_add(1, Ordering::Relaxed);
    }

    fn count_resync(&self) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn mark_portfolio(&self) {
        self.portfolio.store(true, Ordering::Release);
    }

    pub(crate) fn mark_signals(&self) {
        self.signals.store(true, Ordering::Release);
    }

    pub(crate) fn mark_windows(&self) {
        self.windows.store(true, Ordering::Release);
    }
}

/// Sends what has changed, on every beat, until told to stop.
pub async fn pulse(app: Arc<App>, shutdown: CancellationToken) {
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut beat = 0_u64;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => {
                app.hub.news.send_modify(|news| news.closed = true);
                return;
            }
            _ = beats.tick() => {}
        }
        beat += 1;
        let second = beat.is_multiple_of(BEATS_A_SECOND);
        send_changes(&app, second);
        send_trading(&app, beat.is_multiple_of(BEATS_HALF_A_SECOND));
        if second {
            app.hub.unsaid.store(false, Ordering::Release);
            app.hub.news.send_modify(|news| news.second += 1);
        }
        app.hub.flush();
    }
}

fn send_changes(app: &App, second: bool) {
    let now = spark_nats::now();
    let prices = app.view_mut().prices.take_changed(now);
    if !app.hub.is_wanted() {
        return;
    }
    if !prices.is_empty() {
        app.hub.send("prices", &PricesAnswer { status: None, now_ms: now.as_millis(), prices });
    }
    let view = app.view();
    if app.hub.portfolio.swap(false, Ordering::AcqRel) {
        app.hub.send("portfolio", &view.portfolio.answer(now, view.status(now).status));
    }
    if second {
        if app.hub.windows.swap(false, Ordering::AcqRel)
            && let Some(windows) = view.windows.latest()
        {
            app.hub.send("windows", windows);
        }
        if app.hub.signals.swap(false, Ordering::AcqRel) {
            app.hub.send("signals", &Signals::new(&view, now));
        }
        app.hub.send("processes", &System::new(&view, now));
    }
}

fn send_trading(app: &App, half_second: bool) {
    let (orders, changed) = {
        let mut view = app.view_mut();
        let changed = if half_second { view.trading.take_changed() } else { Changed::default() };
        (view.trading.take_orders(), changed)
    };
    if !app.hub.is_wanted() {
        return;
    }
    let view = app.view();
    if !orders.is_empty() {
        app.hub.send("order", &view.trading.told(&orders));
    }
    if changed.positions {
        app.hub.send("position", &view.trading.positions(spark_nats::now()));
    }
    if changed.guard {
        app.hub.send("guard", &view.trading.guard());
    }
}

/// The whole picture as an event, in parts, and the id of the last event that is in it. Rendered at most once a [`BEAT`].
fn whole(app: &App, event: &'static str) -> (u64, [Bytes; 3]) {
    let hub = &app.hub;
    let mut kept = hub.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.as_ref().is_none_or(|kept| kept.at.elapsed() >= BEAT) {
        // Before the view is looked at: an event may repeat what the picture holds, but none is missed.
        let last = hub.ring().last();
        let data = serde_json::to_vec(&Snapshot::new(&app.view(), spark_nats::now()));
        let data = data.map_or_else(
            |error| {
                tracing::error!(%error, "render the snapshot");
                Bytes::from_static(b"null")
            },
            Bytes::from,
        );
        *kept = Some(Kept { at: Instant::now(), last, data });
    }
    let Some(Kept { last, data, .. }) = &*kept else { return (0, Default::default()) };
    let head = format!("event: {event}\nid: {}\ndata: ", hub.id(*last));
    (*last, [head.into(), data.clone(), Bytes::from_static(b"\n\n")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_of_this_run_say_where_somebody_was() {
        let hub = Hub::default();
        assert_eq!(hub.position(&hub.id(7)), Some(7));
        for other in ["7", "", "-7", "00000000-7", "x-y-z"] {
            assert_eq!(hub.position(other), None, "{other}");
        }
        assert_eq!(hub.position(&format!("{}-x", hub.run)), None);
    }

    #[test]
    fn what_happens_while_nobody_is_there_is_not_written_down_and_nobody_goes_on_over_it() {
        let hub = Hub::default();
        hub.send("prices", &1);
        assert_eq!(hub.ring().last(), 0, "nobody was ever there");
        hub.enter();
        hub.send("prices", &1);
        let seen = hub.ring().last();
        hub.leave();
        hub.send("prices", &2);
        assert_eq!(hub.ring().last(), seen + 1, "it may come back");
        hub.left_ms.store(0, Ordering::Release);
        hub.send("prices", &3);
        hub.enter();
        assert!(hub.ring().after(seen).is_none());
    }

    #[test]
    fn kinds_of_events_have_a_bit_each() {
        let all = EVENTS.iter().fold(0, |all, event| all | kind(event));
        assert_eq!(all.count_ones() as usize, EVENTS.len());
        assert_eq!(kind("test") & all, 0);
    }

    #[test]
    fn somebody_too_far_behind_is_noticed_by_events_and_by_bytes() {
        let hub = Hub::default();
        hub.enter();
        for _ in 0..BACKLOG_MAX {
            hub.send("prices", &0);
        }
        assert!(!Hub::is_too_far(&hub.ring(), 1) && !Hub::is_too_far(&hub.ring(), 2));
        hub.send("prices", &0);
        assert!(Hub::is_too_far(&hub.ring(), 1));
        hub.send("prices", &"x".repeat(usize::try_from(BACKLOG_BYTES_MAX).unwrap()));
        let last = hub.ring().last();
        assert!(Hub::is_too_far(&hub.ring(), last - 1) && !Hub::is_too_far(&hub.ring(), last));
    }
}
