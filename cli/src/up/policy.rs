//! When a process that died is started again. Pure: time is a parameter.

use std::time::Duration;

use crate::exit::Exit;

/// The bounds of [`Restarts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// First pause.
    pub pause: Duration,
    /// Longest pause.
    pub pause_max: Duration,
    /// A run at least this long was a good one: the next pause is the first again.
    pub stable_after: Duration,
}

/// What to do about a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Start again after this pause.
    RestartAfter(Duration),
    /// Starting again cannot help: the process says that its configuration is wrong, and it never ran well.
    GiveUp,
}

/// The history of one process, as far as it decides.
#[derive(Clone, Debug)]
pub struct Restarts {
    policy: Policy,
    deaths_in_a_row: u32,
    was_stable: bool,
}

impl Restarts {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, deaths_in_a_row: 0, was_stable: false }
    }

    /// The process ended after `ran_for` with `code` (none: a signal).
    pub fn died(&mut self, ran_for: Duration, code: Option<i32>) -> Next {
        if ran_for >= self.policy.stable_after {
            self.deaths_in_a_row = 0;
            self.was_stable = true;
        }
        if code == Some(Exit::Usage as i32) && !self.was_stable {
            return Next::GiveUp;
        }
        let doublings = self.deaths_in_a_row.min(31);
        self.deaths_in_a_row = self.deaths_in_a_row.saturating_add(1);
        Next::RestartAfter(self.policy.pause.saturating_mul(1 << doublings).min(self.policy.pause_max))
    }

    /// The process was stopped after `ran_for` because somebody asked for a restart. That is no death, and the pause of the
    /// next death is what it would have been. It also counts as one that ran well: a command must not end in the whole
    /// system going down because the configuration was spoilt meanwhile.
    pub fn asked(&mut self, ran_for: Duration) {
        if ran_for >= self.policy.stable_after {
            self.deaths_in_a_row = 0;
        }
        self.was_stable = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(deaths: &[(u64, Option<i32>)], want: &[Option<u64>]) {
        let policy = Policy {
            pause: Duration::from_millis(100),
            pause_max: Duration::from_millis(1_000),
            stable_after: Duration::from_secs(30),
        };
        let mut restarts = Restarts::new(policy);
        let got: Vec<Option<u64>> = deaths
            .iter()
            .map(|&(ran_ms, code)| match restarts.died(Duration::from_millis(ran_ms), code) {
                Next::RestartAfter(pause) => u64::try_from(pause.as_millis()).ok(),
                Next::GiveUp => None,
            })
            .collect();
        assert_eq!(got, want, "{deaths:?}");
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let crash = (10, None);
        check(&[crash; 6], &[Some(100), Some(200), Some(400), Some(800), Some(1_000), Some(1_000)]);
    }

    #[test]
    fn a_long_good_run_starts_again_with_the_first_pause() {
        check(&[(10, None), (10, None), (30_000, None), (29_999, None)], &[Some(100), Some(200), Some(100), Some(200)]);
    }

    #[test]
    fn a_wrong_configuration_is_not_tried_again_unless_the_process_ran_well_before() {
        check(&[(10, Some(64))], &[None]);
        check(&[(10, Some(70)), (10, Some(64))], &[Some(100), None]);
        check(&[(60_000, Some(0)), (10, Some(64))], &[Some(100), Some(200)]);
    }

    #[test]
    fn a_restart_that_was_asked_for_is_no_death_and_a_later_death_counts_as_ever() {
        let policy = Policy {
            pause: Duration::from_millis(100),
            pause_max: Duration::from_millis(1_000),
            stable_after: Duration::from_secs(30),
        };
        let check = |ran_s: u64, want: u64| {
            let mut restarts = Restarts::new(policy);
            restarts.died(Duration::ZERO, None);
            restarts.asked(Duration::from_secs(ran_s));
            // Not even a spoilt configuration gives up what ran before.
            assert_eq!(restarts.died(Duration::ZERO, Some(64)), Next::RestartAfter(Duration::from_millis(want)), "{ran_s}");
        };
        check(1, 200);
        check(30, 100);
    }

    #[test]
    fn endless_deaths_do_not_overflow() {
        let policy = Policy { pause: Duration::from_secs(1), pause_max: Duration::from_secs(60), stable_after: Duration::MAX };
        let mut restarts = Restarts::new(policy);
        let last = (0..1_000).map(|_| restarts.died(Duration::ZERO, None)).last();
        assert_eq!(last, Some(Next::RestartAfter(Duration::from_secs(60))));
    }
}
