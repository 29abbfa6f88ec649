//! When the next poll is. Pure.

use std::time::Duration;

use spark_exchanges::ErrorType;

/// The pace of one exchange's polls.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval: Duration,
    auth_pause_max: Duration,
    refusals: u32,
}

impl Schedule {
    /// Polls every `interval`; while the key is refused ever slower, up to `auth_pause_max` (BTCTurk blocks an address
    /// after fifty refusals in a row).
    #[must_use]
    pub fn new(interval: Duration, auth_pause_max: Duration) -> Self {
        Self { interval, auth_pause_max: auth_pause_max.max(interval), refusals: 0 }
    }

    /// How long after a poll **began** the next one begins, given how it ended and how long it took. A poll that took
    /// longer than the interval is followed by the next one at the interval's next multiple, never by two at once.
    /// `is_slowed`: the guardrail wants polls half as far apart again.
    pub fn next(&mut self, outcome: Option<ErrorType>, took: Duration, is_slowed: bool) -> Duration {
        let interval = if is_slowed { self.interval + self.interval / 2 } else { self.interval };
        if outcome == Some(ErrorType::Auth) {
            let pause = interval.saturating_mul(1_u32.checked_shl(self.refusals).unwrap_or(u32::MAX));
            self.refusals = self.refusals.saturating_add(1).min(31);
            return took + pause.min(self.auth_pause_max);
        }
        self.refusals = 0;
        let late = took.as_nanos() / interval.as_nanos().max(1);
        interval.saturating_mul(u32::try_from(late + 1).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_keep_their_pace_and_a_refused_key_is_tried_ever_more_rarely() {
        let mut schedule = Schedule::new(Duration::from_secs(60), Duration::from_secs(300));
        let mut check = |outcome: Option<ErrorType>, took_s: u64, want_s: u64| {
            assert_eq!(
                schedule.next(outcome, Duration::from_secs(took_s), false),
                Duration::from_secs(want_s),
                "{outcome:?}, {took_s} s"
            );
        };
        check(None, 1, 60);
        check(Some(ErrorType::Timeout), 15, 60);
        check(None, 61, 120);
        check(None, 120, 180);
        check(Some(ErrorType::Auth), 1, 61);
        check(Some(ErrorType::Auth), 1, 121);
        check(Some(ErrorType::Auth), 1, 241);
        for _ in 0..100 {
            check(Some(ErrorType::Auth), 0, 300);
        }
        check(None, 0, 60);
        check(Some(ErrorType::Auth), 0, 60);
    }

    #[test]
    fn the_counter_move_puts_polls_half_as_far_apart_again_while_it_is_in_force() {
        let mut schedule = Schedule::new(Duration::from_secs(60), Duration::from_secs(300));
        let mut next = |took_s: u64, is_slowed| schedule.next(None, Duration::from_secs(took_s), is_slowed).as_secs();
        assert_eq!((next(1, true), next(89, true), next(91, true), next(1, false)), (90, 90, 180, 60));
    }
}
