//! How long a trade takes from the feed's socket into the view.

use std::sync::{Mutex, PoisonError};

use spark_bus_schema::Timestamp;
use spark_bus_schema::market::TickBatch;

use crate::view::calls::Histogram;

/// Upper bounds of the buckets, s: fine where the path normally is, so that a p99 of a few milliseconds can be read.
#[rustfmt::skip]
pub const BUCKETS_S: [f64; 33] = [
    0.000_1, 0.000_2, 0.000_3, 0.000_4, 0.000_5, 0.000_6, 0.000_7, 0.000_8, 0.000_9, 0.001, 0.001_2, 0.001_4, 0.001_6, 0.001_8,
    0.002, 0.002_5, 0.003, 0.004, 0.005, 0.007_5, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
];

/// Time from a batch's newest trade being read from the socket (its `received_at`) to the batch being visible in the view.
///
/// Both times come from wall clocks: the feed's and the gateway's. On one machine that is one clock; between machines it is
/// as good as their synchronisation. A negative time is taken as zero and counted.
pub struct TickLatency {
    /// Batches stored before this are history that is read at start, not on its way.
    since: Timestamp,
    inner: Mutex<Totals>,
}

/// What was seen so far.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Latencies, s.
    pub seconds: Histogram,
    /// How many were negative.
    pub negative: u64,
}

impl TickLatency {
    /// Nothing seen yet; batches stored before `since` do not count.
    #[must_use]
    pub fn new(since: Timestamp) -> Self {
        Self { since, inner: Mutex::new(Totals { seconds: Histogram::new(&BUCKETS_S), negative: 0 }) }
    }

    /// When the newest trade of a batch was received; none for a batch that was stored before this began.
    #[must_use]
    pub fn received(&self, stored_at: Timestamp, batch: &TickBatch) -> Option<Timestamp> {
        batch.received_at.last().copied().filter(|_| stored_at >= self.since)
    }

    /// Counts batches, by when the newest trade of each was received, that are in the view `now`.
    pub fn observe(&self, received: &[Timestamp], now: Timestamp) {
        if received.is_empty() {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for at in received {
            inner.negative += u64::from(*at > now);
            inner.seconds.observe(now.saturating_since(*at).as_secs_f64());
        }
    }

    /// What was seen so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use spark_bus_schema::market::{Side, Trade};
    use spark_bus_schema::{Fixed, Venue};

    use super::*;

    fn batch(received: &[Timestamp]) -> TickBatch {
        let mut batch = TickBatch::new(Venue::Binance, "BTCUSDT");
        let one = Fixed::parse("1").unwrap();
        for (id, &at) in received.iter().enumerate() {
            let trade_id = id as u64 + 1;
            batch
                .push(&Trade { trade_id, occurred_at: at, received_at: at, price: one, quantity: one, side: Side::Buy })
                .unwrap();
        }
        batch
    }

    #[test]
    fn a_batch_counts_once_by_its_newest_trade_and_history_not_at_all() {
        let start = Timestamp::from_millis(1_700_000_000_000);
        let latency = TickLatency::new(start);
        let check = |stored_at: Timestamp, received: &[Timestamp], want: Option<Timestamp>| {
            assert_eq!(latency.received(stored_at, &batch(received)), want, "{stored_at} {received:?}");
        };
        let at = |ms: u64| start + Duration::from_millis(ms);
        check(at(0), &[at(5), at(9)], Some(at(9)));
        check(start - Duration::from_nanos(1), &[at(5)], None);
        check(at(10), &[], None);
    }

    #[test]
    fn a_clock_that_is_ahead_gives_zero_and_is_counted() {
        let start = Timestamp::from_millis(1_700_000_000_000);
        let latency = TickLatency::new(start);
        latency.observe(&[start, start + Duration::from_millis(3)], start + Duration::from_millis(2));
        let totals = latency.totals();
        assert_eq!((totals.seconds.count(), totals.negative), (2, 1));
        assert!((totals.seconds.sum() - 0.002).abs() < 1e-12, "{}", totals.seconds.sum());
        let below = |bound: f64| totals.seconds.cumulative().find(|(le, _)| *le == bound).map(|(_, count)| count);
        assert_eq!((below(0.000_1), below(0.001_8), below(0.002)), (Some(1), Some(1), Some(2)));
    }
}
