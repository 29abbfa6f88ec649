//! A circuit breaker as a plain state machine: time is passed in, nothing is called.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// When the breaker opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// Outages in a row (no answer, broken answer, 5xx) that open it. Default 5.
    pub failures_to_open: u32,
    /// How long it stays open before one call is let through as a probe, ms. Default 15 000.
    pub open_ms: u64,
    /// Probes in a row that must succeed before it closes. Default 2.
    pub successes_to_close: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { failures_to_open: 5, open_ms: 15_000, successes_to_close: 2 }
    }
}

impl BreakerConfig {
    /// What is wrong with it, one sentence a key; `prefix` is the section's path.
    #[must_use]
    pub fn problems(&self, prefix: &str) -> Vec<String> {
        let mut problems = Vec::new();
        crate::config::range(&mut problems, prefix, "failures_to_open", self.failures_to_open.into(), 1, 1_000, 5);
        crate::config::range(&mut problems, prefix, "open_ms", self.open_ms, 10, 3_600_000, 15_000);
        crate::config::range(&mut problems, prefix, "successes_to_close", self.successes_to_close.into(), 1, 100, 2);
        problems
    }
}

/// Who decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerMode {
    /// The breaker itself.
    #[default]
    Auto,
    /// Held open by hand: no call goes out.
    ForcedOpen,
    /// Held closed by hand: every call goes out.
    ForcedClosed,
}

/// What it does with calls at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Lets them through.
    Closed,
    /// Refuses them.
    Open,
    /// Lets one at a time through to see whether the exchange is back.
    HalfOpen,
}

impl BreakerState {
    /// `closed`, `open`, `half_open`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Why a call was not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Open after too many failures, or a probe is already out; ask again after this.
    For(Duration),
    /// Held open by hand.
    ByHand,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { successes: u32, probe_since: Option<Instant> },
}

/// The breaker of one exchange.
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    mode: BreakerMode,
    phase: Phase,
}

impl Breaker {
    /// Closed, deciding by itself.
    #[must_use]
    pub fn new(config: BreakerConfig) -> Self {
        Self { config, mode: BreakerMode::Auto, phase: Phase::Closed { failures: 0 } }
    }

    /// Asks to make one call; its outcome must be told with [`Breaker::succeeded`] or [`Breaker::failed`]. A probe whose
    /// outcome never comes (the caller was dropped) gives its place up after `open_ms`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn admit(&mut self, now: Instant) -> Result<(), Refusal> {
        match self.mode {
            BreakerMode::ForcedOpen => return Err(Refusal::ByHand),
            BreakerMode::ForcedClosed => return Ok(()),
            BreakerMode::Auto => {}
        }
        match self.phase {
            Phase::Closed { .. } => Ok(()),
            Phase::Open { until } if until > now => Err(Refusal::For(until - now)),
            Phase::Open { .. } => {
                self.phase = Phase::HalfOpen { successes: 0, probe_since: Some(now) };
                Ok(())
            }
            Phase::HalfOpen { successes, probe_since } => {
                let given_up = probe_since.map(|since| since + self.open_time());
                match given_up {
                    Some(at) if at > now => Err(Refusal::For(at - now)),
                    _ => {
                        self.phase = Phase::HalfOpen { successes, probe_since: Some(now) };
                        Ok(())
                    }
                }
            }
        }
    }

    /// The exchange answered.
    pub fn succeeded(&mut self) {
        match &mut self.phase {
            Phase::Closed { failures } => *failures = 0,
            // An answer to a call from before it opened: the open time is waited out all the same.
            Phase::Open { .. } => {}
            Phase::HalfOpen { successes, probe_since } => {
                *successes += 1;
                *probe_since = None;
                if *successes >= self.config.successes_to_close {
                    self.phase = Phase::Closed { failures: 0 };
                }
            }
        }
    }

    /// The exchange did not answer, or could not.
    pub fn failed(&mut self, now: Instant) {
        let until = now + self.open_time();
        match &mut self.phase {
            Phase::Closed { failures } => {
                *failures += 1;
                if *failures >= self.config.failures_to_open {
                    self.phase = Phase::Open { until };
                }
            }
            Phase::Open { .. } => {}
            Phase::HalfOpen { .. } => self.phase = Phase::Open { until },
        }
    }

    /// The call that was let through was not made after all.
    pub fn abandoned(&mut self) {
        if let Phase::HalfOpen { probe_since, .. } = &mut self.phase {
            *probe_since = None;
        }
    }

    /// Sets it by hand. Back to [`BreakerMode::Auto`] it starts closed, with a clean count.
    pub fn set_mode(&mut self, mode: BreakerMode) {
        if mode != self.mode {
            self.phase = Phase::Closed { failures: 0 };
        }
        self.mode = mode;
    }

    /// Who decides.
    #[must_use]
    pub fn mode(&self) -> BreakerMode {
        self.mode
    }

    /// What a call would meet at `now`.
    #[must_use]
    pub fn state(&self, now: Instant) -> BreakerState {
        match (self.mode, self.phase) {
            (BreakerMode::ForcedOpen, _) => BreakerState::Open,
            (BreakerMode::ForcedClosed, _) | (_, Phase::Closed { .. }) => BreakerState::Closed,
            (_, Phase::Open { until }) if until > now => BreakerState::Open,
            (_, Phase::Open { .. } | Phase::HalfOpen { .. }) => BreakerState::HalfOpen,
        }
    }

    fn open_time(&self) -> Duration {
        Duration::from_millis(self.config.open_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: BreakerConfig = BreakerConfig { failures_to_open: 3, open_ms: 1_000, successes_to_close: 2 };

    enum Step {
        Admit(bool),
        Ok,
        Fail,
        Mode(BreakerMode),
        Is(BreakerState),
    }
    use Step::{Admit, Fail, Is, Mode, Ok as Success};

    /// Steps at milliseconds since the start.
    fn check(name: &str, steps: &[(u64, Step)]) {
        let start = Instant::now();
        let mut breaker = Breaker::new(CONFIG);
        for (index, (at, step)) in steps.iter().enumerate() {
            let now = start + Duration::from_millis(*at);
            let place = format!("{name}: step {index} at {at} ms: {breaker:?}");
            match step {
                Admit(want) => assert_eq!(breaker.admit(now).is_ok(), *want, "{place}"),
                Success => breaker.succeeded(),
                Fail => breaker.failed(now),
                Mode(mode) => breaker.set_mode(*mode),
                Is(want) => assert_eq!(breaker.state(now), *want, "{place}"),
            }
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_probes_close_it() {
        check(
            "a success in between starts the count again",
            &[(0, Fail), (0, Fail), (0, Success), (0, Fail), (0, Fail), (0, Admit(true))],
        );
        check("open", &[(0, Fail), (0, Fail), (0, Fail), (0, Is(BreakerState::Open)), (0, Admit(false)), (999, Admit(false))]);
        check(
            "one probe at a time, two close it",
            &[
                (0, Fail),
                (0, Fail),
                (0, Fail),
                (1_000, Is(BreakerState::HalfOpen)),
                (1_000, Admit(true)),
                (1_001, Admit(false)),
                (1_002, Success),
                (1_003, Admit(true)),
                (1_004, Success),
                (1_005, Is(BreakerState::Closed)),
                (1_005, Admit(true)),
                (1_005, Admit(true)),
            ],
        );
        check(
            "a failed probe opens it again for the whole time",
            &[(0, Fail), (0, Fail), (0, Fail), (1_000, Admit(true)), (1_500, Fail), (2_400, Admit(false)), (2_500, Admit(true))],
        );
        check(
            "a probe that never reports gives its place up",
            &[(0, Fail), (0, Fail), (0, Fail), (1_000, Admit(true)), (1_999, Admit(false)), (2_000, Admit(true))],
        );
        check(
            "a late answer does not close it",
            &[(0, Fail), (0, Fail), (0, Fail), (1, Success), (2, Success), (3, Admit(false))],
        );
    }

    #[test]
    fn by_hand_it_stays_as_it_was_put() {
        use BreakerMode::{Auto, ForcedClosed, ForcedOpen};
        check(
            "open",
            &[(0, Mode(ForcedOpen)), (0, Admit(false)), (0, Success), (99_999, Admit(false)), (99_999, Is(BreakerState::Open))],
        );
        check("closed", &[(0, Mode(ForcedClosed)), (0, Fail), (0, Fail), (0, Fail), (0, Fail), (0, Admit(true))]);
        check(
            "automatic again, with a clean count",
            &[
                (0, Mode(ForcedClosed)),
                (0, Fail),
                (0, Fail),
                (0, Fail),
                (1, Mode(Auto)),
                (1, Admit(true)),
                (1, Is(BreakerState::Closed)),
            ],
        );
        check("repeating a mode changes nothing", &[(0, Fail), (0, Fail), (0, Mode(Auto)), (0, Fail), (0, Admit(false))]);
    }

    #[test]
    fn a_refusal_says_for_how_long() {
        let start = Instant::now();
        let mut breaker = Breaker::new(CONFIG);
        (0..3).for_each(|_| breaker.failed(start));
        assert_eq!(breaker.admit(start + Duration::from_millis(400)), Err(Refusal::For(Duration::from_millis(600))));
        breaker.set_mode(BreakerMode::ForcedOpen);
        assert_eq!(breaker.admit(start), Err(Refusal::ByHand));
    }
}
