//! A token bucket per exchange, corrected by what the exchange says was used, and closed while it says "wait".
//!
//! Written here rather than taken from `governor`: a reading such as `X-MBX-USED-WEIGHT-1M` must be able to push the level
//! below zero (other processes share the address's allowance), and the bucket must run on tokio's clock, which tests pause.

use std::time::Duration;

use tokio::time::Instant;

/// The window that allowances are given for.
const WINDOW: Duration = Duration::from_secs(60);

/// The longest wait an exchange may ask for: Binance's longest ban.
pub const BLOCK_MAX: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// A token bucket: full at the start, refilled evenly over a minute. Time is passed in.
#[derive(Clone, Debug)]
pub struct Bucket {
    per_minute: f64,
    level: f64,
    refilled_at: Instant,
    blocked_until: Option<Instant>,
}

impl Bucket {
    /// A full bucket of `per_minute` units (at least 1).
    #[must_use]
    pub fn new(per_minute: u32, now: Instant) -> Self {
        let per_minute = f64::from(per_minute.max(1));
        Self { per_minute, level: per_minute, refilled_at: now, blocked_until: None }
    }

    /// Takes `weight` units. More than the whole allowance is taken as the whole.
    ///
    /// # Errors
    /// How long to wait before trying again; nothing was taken.
    pub fn take(&mut self, weight: u32, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        if let Some(until) = self.blocked_until {
            if until > now {
                return Err(until - now);
            }
            self.blocked_until = None;
        }
        let weight = f64::from(weight).min(self.per_minute);
        // Refilling adds fractions, so a bucket that is full up to rounding counts as full.
        if self.level + 1e-6 < weight {
            let missing = (weight - self.level) / self.per_minute;
            return Err(WINDOW.mul_f64(missing).max(Duration::from_millis(1)));
        }
        self.level -= weight;
        Ok(())
    }

    /// The exchange says that `used` units of its current minute are gone, ours and everybody else's at this address: no
    /// more than the rest is left to take. At worst that is a debt of one whole allowance.
    pub fn observe_used(&mut self, used: u32, now: Instant) {
        self.refill(now);
        self.level = self.level.min(self.per_minute - f64::from(used)).max(-self.per_minute);
    }

    /// Nothing goes out for `wait`, as a `Retry-After` demands. A shorter demand never lifts a longer one.
    pub fn block(&mut self, wait: Duration, now: Instant) {
        let until = now + wait.min(BLOCK_MAX);
        self.blocked_until = Some(self.blocked_until.map_or(until, |known| known.max(until)));
    }

    /// Units that could be taken at once.
    #[must_use]
    pub fn level(&mut self, now: Instant) -> f64 {
        self.refill(now);
        self.level
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled_at);
        let refill = elapsed.as_secs_f64() / WINDOW.as_secs_f64() * self.per_minute;
        self.level = (self.level + refill).min(self.per_minute);
        self.refilled_at = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(count: f64) -> Duration {
        Duration::from_secs_f64(count)
    }

    #[test]
    fn the_bucket_empties_and_refills_evenly() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1_200, start);
        for _ in 0..60 {
            assert_eq!(bucket.take(20, start), Ok(()));
        }
        let wait = bucket.take(20, start).unwrap_err();
        assert!((wait.as_secs_f64() - 1.0).abs() < 1e-6, "20 of 1200 a minute are one second: {wait:?}");
        assert!(bucket.take(20, start + seconds(0.9)).is_err());
        assert_eq!(bucket.take(20, start + seconds(1.0)), Ok(()));
        assert!(bucket.level(start + seconds(3_600.0)) <= 1_200.0, "never above the allowance");
    }

    #[test]
    fn weight_used_by_others_at_the_same_address_is_taken_out() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1_200, start);
        bucket.take(20, start).unwrap();
        bucket.observe_used(20, start);
        assert!((bucket.level(start) - 1_180.0).abs() < 1e-6, "our own use is not counted twice");
        bucket.observe_used(1_190, start);
        assert!(bucket.take(20, start).is_err(), "only 10 are left there");
        bucket.observe_used(6_000, start);
        let wait = bucket.take(1, start).unwrap_err();
        assert!(wait > seconds(55.0) && wait <= seconds(61.0), "{wait:?}");
    }

    #[test]
    fn retry_after_blocks_until_it_is_over_and_the_longest_demand_wins() {
        let start = Instant::now();
        let mut bucket = Bucket::new(600, start);
        bucket.block(seconds(5.0), start);
        bucket.block(seconds(1.0), start);
        assert_eq!(bucket.take(1, start + seconds(2.0)), Err(seconds(3.0)));
        assert_eq!(bucket.take(1, start + seconds(5.0)), Ok(()));
        bucket.block(Duration::MAX, start);
        assert_eq!(bucket.take(1, start), Err(BLOCK_MAX));
    }

    #[test]
    fn a_call_heavier_than_the_allowance_still_goes_out_once_the_bucket_is_full() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        assert_eq!(bucket.take(80, start), Ok(()));
        assert!(bucket.take(1, start).is_err());
    }

    proptest! {
        #[test]
        fn never_more_than_two_allowances_leave_within_one_minute(steps in prop::collection::vec((0_u64..3_000, 1_u32..100), 1..200)) {
            let start = Instant::now();
            let (mut bucket, mut now, mut taken) = (Bucket::new(600, start), start, Vec::new());
            for (millis, weight) in steps {
                now += Duration::from_millis(millis);
                if bucket.take(weight, now).is_ok() {
                    taken.push((now, weight));
                }
                let recent: u32 = taken.iter().filter(|(at, _)| now - *at < WINDOW).map(|(_, weight)| weight).sum();
                prop_assert!(recent <= 1_200);
            }
        }

        #[test]
        fn waiting_as_long_as_told_is_enough(weight in 1_u32..600, used in 0_u32..2_000) {
            let start = Instant::now();
            let mut bucket = Bucket::new(600, start);
            bucket.observe_used(used, start);
            if let Err(wait) = bucket.take(weight, start) {
                prop_assert_eq!(bucket.take(weight, start + wait + Duration::from_millis(1)), Ok(()));
            }
        }
    }
}
