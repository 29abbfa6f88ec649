//! What the gateway answered: totals for `/metrics`, and the last second for the bus. No lock is taken and nothing is
//! allocated when a request is counted, so no request waits for another one's bookkeeping.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use spark_bus_schema::telemetry::{API_LATENCIES_MAX, ApiRequests};
use spark_bus_schema::{Timestamp, subject};
use spark_nats::{Bus, Meta};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::view::calls::Histogram;

/// Upper bounds of the request duration's buckets, s; the service level (200 ms) is among them.
pub const BUCKETS_S: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0];
/// Statuses that `/metrics` tells from the beginning: a rate needs a zero to begin from.
pub const STATUSES_TOLD: [u16; 8] = [200, 400, 401, 404, 429, 500, 503, 504];
/// HTTP statuses are 100 to 599.
const STATUSES: usize = 500;
const STATUS_FIRST: u16 = 100;
/// The bus is told this often.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the bus may take to store it: what comes later is of no use to a window of minutes.
const STORE_LIMIT: Duration = Duration::from_secs(2);
/// Who answered.
const SERVICE: &str = "gateway";

/// Counts of everything that was answered since the start, and of the last second.
pub struct Requests {
    statuses: Box<[AtomicU64]>,
    /// One more than [`BUCKETS_S`], for what is above the last bound.
    buckets: [AtomicU64; BUCKETS_S.len() + 1],
    sum_us: AtomicU64,
    /// One is written to while the other one is read.
    seconds: [Second; 2],
    written: AtomicUsize,
}

/// Requests of one second.
struct Second {
    next: AtomicUsize,
    /// µs + 1; 0: nothing written yet.
    latencies: Box<[AtomicU32]>,
    statuses: Box<[AtomicU32]>,
}

impl Default for Second {
    fn default() -> Self {
        let zeros = |count: usize| (0..count).map(|_| AtomicU32::new(0)).collect();
        Self { next: AtomicUsize::new(0), latencies: zeros(API_LATENCIES_MAX), statuses: zeros(STATUSES) }
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            statuses: (0..STATUSES).map(|_| AtomicU64::new(0)).collect(),
            buckets: Default::default(),
            sum_us: AtomicU64::new(0),
            seconds: [Second::default(), Second::default()],
            written: AtomicUsize::new(0),
        }
    }
}

impl Requests {
    /// Counts an answer. `api`: the bus is told of it.
    pub fn observe(&self, status: u16, took: Duration, api: bool) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let index = usize::from(status.saturating_sub(STATUS_FIRST)).min(STATUSES - 1);
        let seconds = took.as_secs_f64();
        let bucket = BUCKETS_S.partition_point(|bound| *bound < seconds);
        self.statuses[index].fetch_add(1, Ordering::Relaxed);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(micros, Ordering::Relaxed);
        if !api {
            return;
        }
        let second = &self.seconds[self.written.load(Ordering::Acquire) & 1];
        second.statuses[index].fetch_add(1, Ordering::Relaxed);
        let slot = second.next.fetch_add(1, Ordering::Relaxed);
        if let Some(slot) = second.latencies.get(slot) {
            slot.store(u32::try_from(micros).unwrap_or(u32::MAX).saturating_add(1), Ordering::Release);
        }
    }

    /// Answers by status since the start: those of [`STATUSES_TOLD`], and every other one that was ever given.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<u16, u64> {
        let all = (STATUS_FIRST..).zip(self.statuses.iter()).map(|(status, count)| (status, count.load(Ordering::Relaxed)));
        all.filter(|(status, count)| *count > 0 || STATUSES_TOLD.contains(status)).collect()
    }

    /// Time to the head of the answer since the start, s.
    #[must_use]
    pub fn durations(&self) -> Histogram {
        let counts: Vec<u64> = self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total = counts.iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "statistics")]
        let sum = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        Histogram::of(&BUCKETS_S, counts[..BUCKETS_S.len()].to_vec(), sum, total)
    }

    /// What was answered on the API since the last call; none when nothing was. One caller at a time.
    ///
    /// A request that is being counted at this very moment may be in neither second's latencies; its status is.
    pub fn take(&self, at: Timestamp) -> Option<ApiRequests> {
        let second = &self.seconds[self.written.fetch_add(1, Ordering::AcqRel) & 1];
        let count = second.next.swap(0, Ordering::AcqRel).min(API_LATENCIES_MAX);
        let latencies = second.latencies[..count].iter().map(|slot| slot.swap(0, Ordering::AcqRel));
        let latencies_us = latencies.filter_map(|written| written.checked_sub(1)).collect();
        let statuses: BTreeMap<u16, u64> = (STATUS_FIRST..)
            .zip(second.statuses.iter())
            .map(|(status, count)| (status, u64::from(count.swap(0, Ordering::Relaxed))))
            .filter(|(_, count)| *count > 0)
            .collect();
        (!statuses.is_empty()).then(|| ApiRequests { service: SERVICE.to_owned(), latencies_us, statuses, at })
    }
}

/// Tells the bus once a second what was answered, when something was. While the broker is away nothing is kept.
pub(crate) async fn publish(app: Arc<App>, bus: Bus, shutdown: CancellationToken) {
    let on = subject::api_requests(SERVICE);
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Some(answered) = app.http.take(spark_nats::now()) else { continue };
        if !bus.is_connected() {
            continue;
        }
        match tokio::time::timeout(STORE_LIMIT, bus.publish(&on, &answered, Meta::default())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "tell what was answered"),
            Err(_) => tracing::debug!("what was answered was not stored in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_told_once_and_what_does_not_fit_is_counted_all_the_same() {
        let requests = Requests::default();
        let at = Timestamp::from_millis(1_000);
        assert_eq!(requests.take(at), None, "nothing was answered");
        requests.observe(200, Duration::from_micros(0), true);
        requests.observe(503, Duration::from_micros(1_500), true);
        requests.observe(200, Duration::from_secs(9_999), false);
        let told = requests.take(at).unwrap();
        assert_eq!((told.latencies_us, told.statuses), (vec![0, 1_500], BTreeMap::from([(200, 1), (503, 1)])));
        assert_eq!(requests.take(at), None, "told once");
        for _ in 0..=API_LATENCIES_MAX {
            requests.observe(200, Duration::from_micros(7), true);
        }
        let told = requests.take(at).unwrap();
        assert_eq!((told.latencies_us.len(), told.statuses[&200]), (API_LATENCIES_MAX, API_LATENCIES_MAX as u64 + 1));
        assert!(told.latencies_us.iter().all(|&latency| latency == 7));
        let durations = requests.durations();
        assert_eq!(durations.count(), API_LATENCIES_MAX as u64 + 4);
        assert_eq!(durations.cumulative().last().unwrap().1, durations.count() - 1, "one took hours");
        assert_eq!(requests.statuses()[&500], 0, "a rate needs a zero to begin from");
    }

    #[test]
    fn requests_of_many_threads_are_all_there() {
        let requests = Requests::default();
        let (threads, each) = (4, 20_000);
        let mut told = 0;
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..each).for_each(|_| requests.observe(200, Duration::from_micros(1), true)));
            }
            for _ in 0..50 {
                told += requests.take(Timestamp::ZERO).map_or(0, |told| told.statuses[&200]);
                std::thread::yield_now();
            }
        });
        told += (0..2).filter_map(|_| requests.take(Timestamp::ZERO)).map(|told| told.statuses[&200]).sum::<u64>();
        assert_eq!(told, threads * each);
        assert_eq!(requests.statuses()[&200], threads * each);
    }
}
