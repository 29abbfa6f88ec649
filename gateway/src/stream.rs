//! The live stream: one bounded broadcast that every client reads at its own pace.
//!
//! The rule for slow clients: a client that falls more than [`BACKLOG_MAX`] events behind loses them and gets a `resync`
//! event with the whole picture instead; nobody else waits for it. One whose socket takes nothing at all for a while is
//! disconnected (see `http::server`).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::response::sse;
use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::render::{PricesAnswer, Signals, Snapshot, System};
use crate::view::trading::Changed;

/// Events that a client may be behind.
pub const BACKLOG_MAX: usize = 256;
/// Clients of the live stream at once.
pub const CLIENTS_MAX: usize = 128;
/// Prices leave at most this often, each symbol once.
pub const BEAT: Duration = Duration::from_millis(100);
/// Windows and processes leave on every tenth beat: once a second.
const BEATS_A_SECOND: u64 = 10;
/// Positions and what may trade leave on every fifth beat; the kill switch leaves at once (see [`crate::app`]).
const BEATS_HALF_A_SECOND: u64 = 5;

/// An event, rendered once for all clients.
#[derive(Debug)]
struct Frame {
    id: u64,
    event: &'static str,
    data: String,
}

/// The broadcast.
pub struct Hub {
    sender: broadcast::Sender<Arc<Frame>>,
    last_id: AtomicU64,
    portfolio: AtomicBool,
    windows: AtomicBool,
    signals: AtomicBool,
}

impl Default for Hub {
    fn default() -> Self {
        let (sender, _) = broadcast::channel(BACKLOG_MAX);
        Self {
            sender,
            last_id: AtomicU64::new(0),
            portfolio: AtomicBool::new(false),
            windows: AtomicBool::new(false),
            signals: AtomicBool::new(false),
        }
    }
}

impl Hub {
    /// Sends an event to all clients; costs nothing without clients.
    pub fn send(&self, event: &'static str, data: &impl Serialize) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        match serde_json::to_string(data) {
            Ok(data) => {
                let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
                // Fails only without clients.
                let _ = self.sender.send(Arc::new(Frame { id, event, data }));
            }
            Err(error) => tracing::error!(event, %error, "render an event"),
        }
    }

    /// Clients now.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.sender.receiver_count()
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
            () = shutdown.cancelled() => return,
            _ = beats.tick() => {}
        }
        beat += 1;
        send_changes(&app, beat.is_multiple_of(BEATS_A_SECOND));
        send_trading(&app, beat.is_multiple_of(BEATS_HALF_A_SECOND));
    }
}

fn send_changes(app: &App, second: bool) {
    let now = spark_nats::now();
    let prices = app.view_mut().prices.take_changed(now);
    if app.hub.clients() == 0 {
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
    if app.hub.clients() == 0 {
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

/// The events of one client: a snapshot, then what changes. A client that comes back gets a snapshot again, so
/// `Last-Event-ID` has nothing to add. Ends with `shutdown`.
pub fn events(app: Arc<App>, shutdown: CancellationToken) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send {
    // Subscribed before the snapshot is taken: an event may repeat what the snapshot holds, but none is missed.
    let receiver = app.hub.sender.subscribe();
    let first = whole(&app, "snapshot");
    let rest = stream::unfold((receiver, app, shutdown), |(mut receiver, app, shutdown)| async move {
        let received = tokio::select! {
            () = shutdown.cancelled() => return None,
            received = receiver.recv() => received,
        };
        let event = match received {
            Ok(frame) => sse::Event::default().id(frame.id.to_string()).event(frame.event).data(&frame.data),
            Err(RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "a client of the live stream fell behind");
                // What is still queued is older than the picture that follows.
                receiver = receiver.resubscribe();
                whole(&app, "resync")
            }
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), (receiver, app, shutdown)))
    });
    futures_util::StreamExt::chain(stream::once(std::future::ready(Ok(first))), rest)
}

fn whole(app: &App, event: &'static str) -> sse::Event {
    let id = app.hub.last_id.load(Ordering::Relaxed);
    let data = serde_json::to_string(&Snapshot::new(&app.view(), spark_nats::now()));
    match data {
        Ok(data) => sse::Event::default().id(id.to_string()).event(event).data(data),
        Err(error) => {
            tracing::error!(%error, "render the snapshot");
            sse::Event::default().comment("the snapshot could not be rendered")
        }
    }
}
