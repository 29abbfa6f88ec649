//! Exponential back-off with full jitter, bounded in attempts and in total time.
//!
//! Written here rather than taken from `backon`: its jitter adds to the delay instead of spreading over all of it, and a
//! `Retry-After` and the caller's deadline have to bound the same loop.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often and how long a call is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Tries in all, the first one included. Default 3.
    pub attempts_max: u32,
    /// Upper end of the first pause, ms; it doubles each time. Default 200.
    pub base_ms: u64,
    /// Upper end of every pause, ms. Default 5 000.
    pub pause_ms_max: u64,
    /// Nothing is sent, and no wait is begun that would end, later than this after the call began, ms. Default 15 000.
    pub total_ms: u64,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { attempts_max: 3, base_ms: 200, pause_ms_max: 5_000, total_ms: 15_000 }
    }
}

impl RetryConfig {
    /// What is wrong with it, one sentence a key; `prefix` is the section's path.
    #[must_use]
    pub fn problems(&self, prefix: &str) -> Vec<String> {
        let mut problems = Vec::new();
        crate::config::range(&mut problems, prefix, "attempts_max", self.attempts_max.into(), 1, 20, 3);
        crate::config::range(&mut problems, prefix, "base_ms", self.base_ms, 1, 60_000, 200);
        crate::config::range(&mut problems, prefix, "pause_ms_max", self.pause_ms_max, self.base_ms.max(1), 600_000, 5_000);
        crate::config::range(&mut problems, prefix, "total_ms", self.total_ms, 1, 600_000, 15_000);
        problems
    }

    /// The pause after the failed try number `attempt` (from 1): between zero and `base × 2^(attempt-1)`, at most
    /// `pause_ms_max`. `unit` in `0..1` is where in that range.
    #[must_use]
    pub fn pause(&self, attempt: u32, unit: f64) -> Duration {
        let doubled = self.base_ms.saturating_mul(1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX));
        Duration::from_millis(doubled.min(self.pause_ms_max)).mul_f64(unit.clamp(0.0, 1.0))
    }
}

/// A number in `0..1` for jitter. Not for secrets: it comes from the seed that the standard library gives each hash map.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "53 bits fit a float exactly")]
pub fn random_unit() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_jitter_covers_the_whole_range() {
        let retry = RetryConfig { base_ms: 100, pause_ms_max: 1_000, ..RetryConfig::default() };
        let check = |attempt: u32, unit: f64, want: u64| {
            assert_eq!(retry.pause(attempt, unit), Duration::from_millis(want), "attempt {attempt} at {unit}");
        };
        check(1, 1.0, 100);
        check(2, 1.0, 200);
        check(3, 0.5, 200);
        check(3, 0.0, 0);
        check(5, 1.0, 1_000);
        check(200, 1.0, 1_000);
    }

    proptest! {
        #[test]
        fn no_pause_exceeds_its_bound(attempt in 0_u32.., unit in 0.0_f64..1.0, base in 1_u64..60_000, most in 1_u64..600_000) {
            let retry = RetryConfig { base_ms: base, pause_ms_max: most, ..RetryConfig::default() };
            prop_assert!(retry.pause(attempt, unit) <= Duration::from_millis(most));
        }

        #[test]
        fn the_random_unit_is_a_unit(_ in 0..100) {
            prop_assert!((0.0..1.0).contains(&random_unit()));
        }
    }
}
