//! `[guardrail]`'s keys about acting: what is done, after how long, how often at most.

use std::fmt;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::moves::CounterMoves;
use crate::rule::text::span;
use crate::rule::{PROCESSES, duration};

/// A rollback is complete within 2 minutes; so much is left for its verdict to be stored.
const VERIFY_MAX: Duration = Duration::from_secs(110);
/// Longer waits than this are a slip.
const WAIT_MAX: Duration = Duration::from_secs(86_400);
/// Restarts of one process within an hour: more would be a storm.
const RESTARTS_PER_HOUR_MAX: u32 = 20;

/// A duration as people write it: `"30s"`, `"15m"`, `"1h30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&span(self.0))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        duration::parse(&text).map(Self).map_err(|(what, fix)| D::Error::custom(format!("{what}; {fix}")))
    }
}

/// `[guardrail.restart]`: a process whose critical goes on firing is restarted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Restart {
    /// Off: rules never restart anything. The rollback rule's own try is not meant by this.
    pub enabled: bool,
    /// How long a critical of a rule with `restart` fires before its process is restarted.
    pub after: Span,
    /// How long after that the criticals have time to go away.
    pub watch: Span,
    /// Restarts of one process within an hour, whoever asked for them. One more is kept for the rollback rule.
    pub max_per_hour: u32,
}

impl Default for Restart {
    fn default() -> Self {
        Self { enabled: true, after: Span::secs(30), watch: Span::secs(60), max_per_hour: 3 }
    }
}

/// `[guardrail.rollback]`: criticals that a restart does not cure end in what was last known to be good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rollback {
    /// Off: nothing is rolled back.
    pub enabled: bool,
    /// Independent criticals at once: those with the same alert name and the same `exchange`, `venue` or `service` label (the
    /// first of these that the alert has) count once, so each stale symbol of a venue and the venue itself are one. Different
    /// alerts about one venue (`WSStaleness`, `ExchangeDown`) are two.
    pub criticals: u32,
    /// For how long without a break.
    #[serde(rename = "for")]
    pub hold: Span,
    /// The process whose restart must have been tried.
    pub restart: String,
    /// How long after that restart the criticals have time to go away.
    pub watch: Span,
    /// How long the rollback has time to be seen in force.
    pub verify: Span,
    /// Also switch the kill switch on.
    pub kill_switch: bool,
    /// With it, also cancel open orders.
    pub cancel_open: bool,
    /// Limits that were in force for so long without any critical are known to be good.
    pub known_good_after: Span,
}

impl Default for Rollback {
    fn default() -> Self {
        Self {
            enabled: true,
            criticals: 2,
            hold: Span::secs(15 * 60),
            restart: "executor".to_owned(),
            watch: Span::secs(60),
            verify: Span::secs(60),
            kill_switch: false,
            cancel_open: false,
            known_good_after: Span::secs(15 * 60),
        }
    }
}

/// What the guardrail may do about criticals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Everything is told and nothing is asked.
    pub dry_run: bool,
    /// How long no critical may fire before an episode is over.
    pub calm: Duration,
    /// Restarts.
    pub restart: Restart,
    /// Rollbacks.
    pub rollback: Rollback,
    /// Counter-moves, as far as they are not as they ship.
    pub counter_moves: CounterMoves,
}

/// Until no critical has fired for so long it is the same episode: a value that flaps does not earn a second rollback.
pub const CALM: Span = Span::secs(5 * 60);

impl Default for Policy {
    fn default() -> Self {
        Self {
            dry_run: false,
            calm: CALM.0,
            restart: Restart::default(),
            rollback: Rollback::default(),
            counter_moves: CounterMoves::new(),
        }
    }
}

impl Policy {
    /// Every mistake, each as `key = value: what is wrong; what would be right`, keys below `[guardrail]`.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut wait = |key: &str, value: Span, least: Duration, most: Duration| {
            let (least, most) = (Span(least), Span(most));
            if value < least {
                problems.push(format!("{key} = \"{value}\": too short; write at least \"{least}\""));
            } else if value > most {
                problems.push(format!("{key} = \"{value}\": too long; write at most \"{most}\""));
            }
        };
        let second = Duration::from_secs(1);
        let (restart, rollback) = (&self.restart, &self.rollback);
        wait("calm", Span(self.calm), second, WAIT_MAX);
        wait("restart.after", restart.after, Duration::ZERO, WAIT_MAX);
        wait("restart.watch", restart.watch, second, WAIT_MAX);
        wait("rollback.for", rollback.hold, Duration::ZERO, WAIT_MAX);
        wait("rollback.watch", rollback.watch, second, WAIT_MAX);
        wait("rollback.verify", rollback.verify, second, VERIFY_MAX);
        wait("rollback.known_good_after", rollback.known_good_after, Duration::ZERO, WAIT_MAX);
        if !(1..=RESTARTS_PER_HOUR_MAX).contains(&restart.max_per_hour) {
            problems.push(format!(
                "restart.max_per_hour = {}: must be 1 to {RESTARTS_PER_HOUR_MAX}; for none write enabled = false",
                restart.max_per_hour
            ));
        }
        if rollback.criticals == 0 {
            problems.push(
                "rollback.criticals = 0: would roll back without any critical; write 2, or enabled = false for no rollback"
                    .to_owned(),
            );
        }
        if !PROCESSES.contains(&rollback.restart.as_str()) {
            let known = PROCESSES.join(", ");
            problems
                .push(format!("rollback.restart = {:?}: no process that can be restarted; known are {known}", rollback.restart));
        }
        if rollback.cancel_open && !rollback.kill_switch {
            problems
                .push("rollback.cancel_open = true: goes with the kill switch; add kill_switch = true, or remove it".to_owned());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(change: impl FnOnce(&mut Policy)) -> Vec<String> {
        let mut policy = Policy::default();
        change(&mut policy);
        policy.problems()
    }

    #[test]
    fn what_ships_is_usable_and_longer_watches_than_the_rule_are_too() {
        assert_eq!(problems(|_| {}), Vec::<String>::new());
        assert_eq!(problems(|policy| policy.rollback.hold = Span::secs(10)), Vec::<String>::new());
    }

    #[test]
    fn each_mistake_is_named_with_its_key_value_and_cure() {
        let check = |change: fn(&mut Policy), parts: &[&str]| {
            let found = problems(change);
            assert_eq!(found.len(), 1, "{found:?}");
            for part in parts {
                assert!(found[0].contains(part), "{} lacks {part}", found[0]);
            }
        };
        check(|policy| policy.rollback.criticals = 0, &["rollback.criticals = 0: ", "write 2"]);
        check(
            |policy| policy.rollback.restart = "exekutor".into(),
            &["rollback.restart = \"exekutor\"", "known are auditor", "executor"],
        );
        check(|policy| policy.rollback.restart = "nats-server".into(), &["no process that can be restarted"]);
        check(|policy| policy.rollback.verify = Span::secs(120), &["rollback.verify = \"2m\"", "at most \"110s\""]);
        check(|policy| policy.rollback.watch = Span::secs(0), &["rollback.watch = \"0ms\"", "at least \"1s\""]);
        check(|policy| policy.rollback.cancel_open = true, &["rollback.cancel_open = true", "kill_switch = true"]);
        check(|policy| policy.restart.max_per_hour = 0, &["restart.max_per_hour = 0", "enabled = false"]);
        check(|policy| policy.calm = Duration::ZERO, &["calm = \"0ms\""]);
    }
}
