//! Pauses between attempts: doubling, with jitter, starting over after a success.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Endless pauses between a shortest and a longest one.
pub(crate) struct Backoff {
    builder: ExponentialBuilder,
    pauses: ExponentialBackoff,
    longest: Duration,
}

impl Backoff {
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        // Jitter adds up to the pause once more, so half the bound goes in.
        let builder = ExponentialBuilder::new()
            .with_min_delay(shortest)
            .with_max_delay((longest / 2).max(shortest))
            .without_max_times()
            .with_jitter();
        Self { builder, pauses: builder.build(), longest: longest.max(shortest) }
    }

    pub fn pause(&mut self) -> Duration {
        self.pauses.next().unwrap_or(self.longest).min(self.longest)
    }

    pub fn reset(&mut self) {
        self.pauses = self.builder.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_stay_within_their_bound_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let pauses: Vec<Duration> = (0..50).map(|_| backoff.pause()).collect();
        assert!(pauses[0] >= Duration::from_millis(100) && pauses[0] <= Duration::from_millis(200), "{pauses:?}");
        assert!(pauses[49] >= Duration::from_secs(5), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(10)), "{pauses:?}");
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(200));
    }
}
