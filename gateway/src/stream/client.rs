//! One client of the live stream: what it has, what it gets next, and when it has to go.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::watch;

use super::{Hub, News, whole};
use crate::app::App;
use crate::auth::Identity;
use crate::http::limit::Place;

/// A comment goes out on a silent stream this often, so that nothing on the way closes it.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Events taken out of the ring at once.
const TAKEN_MAX: usize = 16;

/// What a client asks for.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// `Last-Event-ID`: it has seen everything up to this event.
    pub seen: Option<String>,
    /// Kinds of events, a bit each; all when none is named.
    pub kinds: Option<u32>,
}

struct Client {
    app: Arc<App>,
    news: watch::Receiver<News>,
    /// Id of the newest event that it has, or that waits in `ready`.
    seen: u64,
    /// Not sent yet.
    ready: VecDeque<Bytes>,
    kinds: u32,
    identity: Option<Identity>,
    second: u64,
    sent: Instant,
    // Given back last.
    _entered: Entered,
    _place: Option<Place>,
}

/// Counted as long as it lives.
pub(super) struct Entered(Arc<App>);

impl Entered {
    fn new(app: &Arc<App>) -> Self {
        app.hub.enter();
        Self(Arc::clone(app))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.hub.leave();
    }
}

/// The events of one client: what it missed, or the whole picture; then what changes. Ends when the gateway stops, and within a
/// second when the token that let it in holds no longer.
pub(crate) fn events(
    app: Arc<App>,
    wish: &Wish,
    identity: Option<Identity>,
    place: Option<Place>,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
    let entered = Entered::new(&app);
    let news = app.hub.news.subscribe();
    let mut client = Client {
        news,
        seen: 0,
        ready: VecDeque::new(),
        kinds: wish.kinds.unwrap_or(u32::MAX),
        identity,
        second: 0,
        sent: Instant::now(),
        _entered: entered,
        _place: place,
        app,
    };
    match wish.seen.as_deref() {
        None => client.begin("snapshot"),
        Some(seen) if client.resume(seen) => client.app.hub.count_resumed(),
        Some(_) => client.begin("resync"),
    }
    stream::unfold(client, |mut client| async move {
        let bytes = client.next().await?;
        Some((Ok(bytes), client))
    })
}

impl Client {
    /// The whole picture, and from there on.
    fn begin(&mut self, event: &'static str) {
        self.ready.clear();
        let (last, parts) = whole(&self.app, event);
        self.seen = last;
        self.ready.extend(parts);
    }

    /// Goes on after an event, if everything since is still there.
    fn resume(&mut self, seen: &str) -> bool {
        let hub = &self.app.hub;
        let Some(seen) = hub.position(seen) else { return false };
        let ring = hub.ring();
        let Some(missed) = ring.after(seen) else { return false };
        self.ready.extend(missed.filter(|frame| frame.kind & self.kinds != 0).map(|frame| frame.bytes.clone()));
        self.seen = ring.last();
        // Whoever goes on is told so at once, even when it missed nothing.
        self.ready.push_front(Bytes::from_static(b": resumed\n\n"));
        true
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            // Seen before the ring is looked at: what comes in between wakes this client again.
            let News { second, closed, .. } = *self.news.borrow_and_update();
            if closed {
                return None;
            }
            if second != self.second {
                self.second = second;
                let holds = |identity| self.app.authority.still_holds(identity, spark_nats::now());
                if !self.identity.as_ref().is_none_or(holds) {
                    return None;
                }
            }
            if !self.take() {
                self.app.hub.count_resync();
                self.begin("resync");
            }
            if !self.ready.is_empty() {
                self.sent = Instant::now();
                continue;
            }
            if self.sent.elapsed() >= KEEP_ALIVE {
                self.sent = Instant::now();
                return Some(Bytes::from_static(b": nothing new\n\n"));
            }
            // The hub lives as long as the app.
            self.news.changed().await.ok()?;
        }
    }

    /// Takes the next events; false when it has fallen too far behind.
    fn take(&mut self) -> bool {
        let hub = &self.app.hub;
        let ring = hub.ring();
        if Hub::is_too_far(&ring, self.seen) {
            return false;
        }
        let Some(next) = ring.after(self.seen) else { return false };
        for frame in next {
            self.seen += 1;
            if frame.kind & self.kinds != 0 {
                self.ready.push_back(frame.bytes.clone());
                if self.ready.len() == TAKEN_MAX {
                    break;
                }
            }
        }
        true
    }
}
