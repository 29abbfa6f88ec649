//! Reads from the bus what WebSocket clients want, and nothing while nobody wants anything.
//!
//! These readers are not those of the view: the view begins in the past and reads parts of a stream several times, whereas a
//! subscription gets each message once, from the moment it was made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use spark_bus_schema::{Timestamp, subject};
use spark_nats::{Bus, Cursor, Delivery, Error, Follower, Heard, Listener, Start};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::frames::Carried;
use super::pattern::{self, Family, Refused};
use super::{Outlet, Wire};
use crate::app::App;

/// The readers' name on the broker, as in `permissions.toml`.
const NAME: &str = "gateway-wire";
/// Streams that are followed. Of the work queue nobody may take anything: its subjects are heard as they pass by.
const STREAMS: [&str; 3] = [subject::FEED, subject::LEDGER, subject::PARKED];
/// A reader that is made anew looks so far back for what was on its way; nothing is handed over twice.
const OVERLAP: Duration = Duration::from_secs(2);
/// Subjects whose newest message one subscription gets.
const NEWEST_MAX: usize = 256;
/// Subscriptions whose newest messages are looked up at once.
const LOOK_UPS_MAX: usize = 4;
/// How long that may take.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(5);

static LOOK_UPS: Semaphore = Semaphore::const_new(LOOK_UPS_MAX);

/// One stream.
struct Reading {
    stream: &'static str,
    follower: Option<Follower>,
    /// What is read, and since when somebody wants it.
    families: BTreeMap<&'static str, Timestamp>,
    newest: Option<Cursor>,
}

impl Reading {
    fn new(stream: &'static str) -> Self {
        Self { stream, follower: None, families: BTreeMap::new(), newest: None }
    }

    /// Reads exactly these families from now on.
    fn change(&mut self, bus: &Bus, wanted: &BTreeSet<Family>, now: Timestamp) {
        let of_stream = wanted.iter().filter(|family| family.stream == self.stream);
        let families: BTreeMap<_, _> =
            of_stream.map(|family| (family.subjects, self.families.get(family.subjects).copied().unwrap_or(now))).collect();
        if families.keys().eq(self.families.keys()) {
            return;
        }
        let start = self.start(now);
        self.families = families;
        // Ends the one before.
        self.follower = None;
        if self.families.is_empty() {
            self.newest = None;
            return;
        }
        let subjects = self.families.keys().map(|&subject| subject.to_owned()).collect();
        self.follower = Some(Follower::start(bus.clone(), NAME, self.stream, subjects, start));
    }

    fn start(&self, now: Timestamp) -> Start {
        match (&self.follower, self.newest) {
            (Some(follower), Some(newest)) if !follower.is_caught_up() => Start::After(newest),
            (Some(_), _) => Start::Since(now - OVERLAP),
            (None, _) => Start::Since(now),
        }
    }

    /// Cancel-safe; waits for ever while nothing is read.
    async fn next(&mut self) -> Vec<Delivery> {
        let Some(follower) = &mut self.follower else { return std::future::pending().await };
        match follower.next().await {
            Some(batch) => batch,
            // A follower ends only when it is dropped.
            None => std::future::pending().await,
        }
    }

    /// Whether a message is new, and stored since somebody wanted it.
    fn is_news(&mut self, delivery: &Delivery) -> bool {
        let again =
            self.newest.is_some_and(|newest| delivery.stored_at <= newest.stored_at && delivery.sequence <= newest.sequence);
        if again {
            return false;
        }
        self.newest = Some(delivery.cursor());
        let family = self.families.iter().find(|(subjects, _)| subject::matches(subjects, &delivery.subject));
        family.is_some_and(|(_, since)| delivery.stored_at >= *since)
    }
}

/// Feeds all WebSocket clients until told to stop.
pub(crate) async fn feed(app: Arc<App>, bus: Bus, shutdown: CancellationToken) {
    let mut wanted = app.wire.wanted.subscribe();
    let [mut market, mut ledger, mut parked] = STREAMS.map(Reading::new);
    let mut jobs: Option<Listener> = None;
    let mut room = Vec::new();
    loop {
        let (reading, batch) = tokio::select! {
            () = shutdown.cancelled() => return,
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let now_wanted = wanted.borrow_and_update().clone();
                let now = spark_nats::now();
                for reading in [&mut market, &mut ledger, &mut parked] {
                    reading.change(&bus, &now_wanted, now);
                }
                listen(&bus, &now_wanted, &mut jobs).await;
                continue;
            }
            heard = next_heard(&mut jobs) => {
                hand_heard(&app.wire, &heard, &mut room);
                continue;
            }
            batch = market.next() => (&mut market, batch),
            batch = ledger.next() => (&mut ledger, batch),
            batch = parked.next() => (&mut parked, batch),
        };
        for delivery in &batch {
            if reading.is_news(delivery) {
                app.wire.hand(&carried(delivery), &mut room);
            }
        }
        // Many at once are a burst: the clients' tasks get their turn in between.
        tokio::task::yield_now().await;
    }
}

fn carried(delivery: &Delivery) -> Carried<'_> {
    Carried {
        stream: delivery.stream,
        sequence: Some(delivery.sequence),
        subject: &delivery.subject,
        at: delivery.stored_at,
        kind: delivery.kind.as_deref(),
        payload: &delivery.payload,
    }
}

async fn listen(bus: &Bus, wanted: &BTreeSet<Family>, jobs: &mut Option<Listener>) {
    let wants = wanted.iter().any(|family| family.stream == subject::JOBS);
    if !wants {
        *jobs = None;
    } else if jobs.is_none() {
        match bus.listen(subject::BACKTESTS).await {
            Ok(listener) => *jobs = Some(listener),
            Err(error) => tracing::warn!(%error, "listen to jobs"),
        }
    }
}

async fn next_heard(jobs: &mut Option<Listener>) -> Heard {
    if let Some(listener) = jobs
        && let Some(heard) = listener.next().await
    {
        return heard;
    }
    std::future::pending().await
}

fn hand_heard(wire: &Wire, heard: &Heard, room: &mut Vec<Arc<Outlet>>) {
    let message = Carried {
        stream: subject::JOBS,
        sequence: None,
        subject: &heard.subject,
        at: spark_nats::now(),
        kind: heard.kind.as_deref(),
        payload: &heard.payload,
    };
    wire.hand(&message, room);
}

/// Looks up the newest message of each subject that matches and puts it into the client's queue, in the background.
///
/// # Errors
/// Too many others do the same, or there is no broker.
pub(crate) fn newest(app: &Arc<App>, pattern: &str, outlet: &Arc<Outlet>) -> Result<(), Refused> {
    let refused = |code, detail: &str| Refused {
        code,
        detail: detail.to_owned(),
        fix: "try again in a second, or subscribe without `last`".to_owned(),
    };
    let Some(bus) = app.bus().filter(|bus| bus.is_connected()).cloned() else {
        return Err(refused("broker", "the broker cannot be reached, so the newest messages cannot be looked up"));
    };
    let Ok(permit) = LOOK_UPS.try_acquire() else {
        return Err(refused("busy", "too many clients ask for newest messages at once"));
    };
    let (pattern, outlet) = (pattern.to_owned(), Arc::clone(outlet));
    tokio::spawn(async move {
        let _permit = permit;
        match tokio::time::timeout(LOOK_UP_LIMIT, look_up(&bus, &pattern, &outlet)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = spark_nats::text(&error), "look up newest messages"),
            Err(_) => tracing::warn!(pattern, "looking up newest messages took too long"),
        }
    });
    Ok(())
}

async fn look_up(bus: &Bus, pattern: &str, outlet: &Outlet) -> Result<(), Error> {
    let streams: BTreeSet<&'static str> = pattern::families(pattern).map(|family| family.stream).collect();
    let mut left = NEWEST_MAX;
    for stream in streams {
        for on in bus.subject_counts(stream, pattern).await?.into_keys() {
            if left == 0 {
                return Ok(());
            }
            left -= 1;
            if let Some(delivery) = bus.last(stream, &on).await? {
                outlet.put(carried(&delivery).text(true));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn each_message_is_news_once_and_only_since_somebody_wants_it() {
        let at = Timestamp::from_millis;
        let mut reading = Reading::new(subject::FEED);
        reading.families = BTreeMap::from([(subject::TICKS, at(10)), (subject::QUOTES, at(20))]);
        let mut check = |on: &str, sequence: u64, stored_at: i64, want: bool| {
            let delivery = Delivery {
                stream: subject::FEED,
                sequence,
                stored_at: at(stored_at),
                subject: on.to_owned(),
                kind: None,
                headers: Vec::new(),
                payload: Bytes::new(),
                pending: 0,
            };
            assert_eq!(reading.is_news(&delivery), want, "{on} {sequence} {stored_at}");
        };
        check("market.ticks.binance.BTCUSDT", 1, 5, false);
        check("market.ticks.binance.BTCUSDT", 2, 15, true);
        check("market.ticks.binance.BTCUSDT", 2, 15, false);
        check("market.quotes.binance.BTCUSDT", 3, 16, false);
        check("market.quotes.binance.BTCUSDT", 4, 25, true);
        check("market.ticks.binance.BTCUSDT", 3, 26, true);
        check("market.candles.binance.BTCUSDT.1m", 9, 30, false);
    }
}
