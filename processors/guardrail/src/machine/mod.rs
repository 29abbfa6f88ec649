//! The guardrail's decision: events and time in, alerts and windows out. No I/O, no clock, no randomness.

use std::collections::BTreeMap;
use std::time::Duration;

use spark_bus_schema::actions::Action;
use spark_bus_schema::alerts::{Alert, Severity};
use spark_bus_schema::telemetry::Windows;
use spark_bus_schema::{DecodeError, Timestamp, Venue, header, subject};
use spark_nats::{Delivery, Effects, Input, Machine, Reject};

use crate::action::{Actions, Firing, Policy, Told};
use crate::rule::{Rules, metric};
use crate::window::Sample;

#[cfg(test)]
mod acting_tests;
mod book;
mod event;
mod exchanges;
mod intake;
mod judge;
mod markets;
mod scores;
#[cfg(test)]
mod shares_tests;
mod state;
#[cfg(test)]
mod tests;
pub mod thresholds;
mod tracker;

pub use event::Event;
pub use markets::Market;

use book::Book;
use exchanges::Exchanges;
use markets::Markets;
use scores::Scores;
use thresholds::Thresholds;
use tracker::Tracker;

/// `telemetry.windows` goes out at multiples of this.
const WINDOWS_EVERY_NS: i64 = 1_000_000_000;
/// After so long without any message, not even this process's own heartbeat, the whole system or the broker was off:
/// nothing is judged or told until a message comes, and silence counts from there.
const QUIET_AFTER: Duration = Duration::from_secs(10);
/// Scopes of one rule. Samples of further ones are refused and counted.
pub const SCOPES_MAX: usize = 256;
/// Values in one `telemetry.windows`, so that it stays below the broker's limit on payloads.
pub const WINDOW_VALUES_MAX: usize = 2_000;

/// A well-formed message that cannot be true: field, value, limit.
fn refusal(detail: String) -> Reject {
    Reject { reason: "rejected", detail }
}

/// The guardrail.
pub struct Guardrail {
    trackers: Vec<Tracker>,
    markets: Markets,
    exchanges: Exchanges,
    thresholds: Thresholds,
    scores: Scores,
    book: Book,
    now: Timestamp,
    /// When the last message came.
    heard_at: Timestamp,
    /// Whether expected scopes exist and orphaned alerts are closed; done at the first event of a run.
    begun: bool,
    refused: u64,
    /// None: it only watches.
    actions: Option<Box<Actions>>,
    /// Alerts told when it was last decided what is done.
    acted_on: u64,
}

impl Guardrail {
    /// A guardrail that has seen nothing yet.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        Self {
            trackers: rules.iter().cloned().map(Tracker::new).collect(),
            markets: Markets::default(),
            exchanges: Exchanges::default(),
            thresholds: Thresholds::default(),
            scores: Scores::default(),
            book: Book::default(),
            now: Timestamp::ZERO,
            heard_at: Timestamp::ZERO,
            begun: false,
            refused: 0,
            actions: None,
            acted_on: 0,
        }
    }

    /// It acts on criticals, too. Without this it only watches and tells.
    #[must_use]
    pub fn acting(mut self, policy: Policy) -> Self {
        self.actions = Some(Box::new(Actions::new(policy)));
        self
    }

    /// What it does about criticals, where it does anything.
    #[must_use]
    pub fn actions(&self) -> Option<&Actions> {
        self.actions.as_deref()
    }

    /// Tells what the broker holds as the last message of each subject that concerns acting, and that nothing may be asked
    /// for before `now`. A state that is loaded afterwards replaces what was learnt from it.
    pub fn seed_actions(&mut self, now: Timestamp, last: &[Told], told: impl IntoIterator<Item = Action>) {
        if let Some(actions) = &mut self.actions {
            actions.seed(now, last, told);
            actions.act_from(now);
        }
    }

    /// Decides what is done, when anything may have changed that.
    fn act(&mut self, at: Timestamp, effects: &mut Effects) {
        let Some(actions) = &mut self.actions else { return };
        let firing: Vec<Firing> = self.trackers.iter_mut().flat_map(|tracker| tracker.firing(at, &self.book)).collect();
        actions.step(at, firing.iter().filter_map(Firing::critical).collect(), effects);
        actions.counter(at, &firing, effects);
        self.acted_on = self.book.told;
    }

    /// A guardrail with the built-in rules.
    #[must_use]
    pub fn with_default_rules() -> Self {
        Self::new(&Rules::builtin())
    }

    /// Goes on after alerts that are stored already, when the own state is lost: revisions continue, and what was open
    /// is closed or raised again. A state that is loaded afterwards replaces this.
    pub fn seed(&mut self, alerts: impl IntoIterator<Item = Alert>) {
        self.book.seed(alerts);
    }

    /// Tells what the broker holds as the last alert of each subject, before a saved state is continued. What was stored
    /// after the state was saved and is not decided again gets corrected.
    pub fn compare_with(&mut self, alerts: impl IntoIterator<Item = Alert>) {
        self.book.compare_with(alerts);
    }

    /// Trades counted since the state began, over all symbols; each id once.
    #[must_use]
    pub fn trades_counted(&self) -> u64 {
        self.markets.iter().map(|(_, _, market)| market.trades).sum()
    }

    /// Every window now.
    pub fn windows(&mut self, at: Timestamp) -> Windows {
        let values = self.trackers.iter_mut().flat_map(|tracker| tracker.values(at)).take(WINDOW_VALUES_MAX).collect();
        let trades_counted = self
            .markets
            .iter()
            .filter(|(_, _, market)| market.trades > 0)
            .map(|(venue, symbol, market)| (format!("{venue}.{symbol}"), market.trades))
            .collect();
        Windows { at, values, trades_counted }
    }

    /// Every symbol that is remembered.
    pub fn markets(&self) -> impl Iterator<Item = (Venue, &str, &Market)> {
        self.markets.iter()
    }

    /// Seconds without data at a moment, by symbol.
    pub fn staleness(&self, at: Timestamp) -> impl Iterator<Item = (Venue, &str, f64)> {
        self.markets.staleness(at)
    }

    /// How many alerts fire, by name and severity; every rule with thresholds is named, also with zero.
    #[must_use]
    pub fn firing(&self) -> BTreeMap<(&str, Severity), u64> {
        let mut firing = BTreeMap::new();
        for tracker in &self.trackers {
            for severity in [Severity::Warning, Severity::Critical] {
                if tracker.rule.limits.of(severity).is_some() {
                    firing.entry((tracker.rule.alert.as_str(), severity)).or_insert(0);
                }
            }
            for instance in tracker.instances.values() {
                if let Some(severity) = tracker::fires(&instance.status) {
                    *firing.entry((tracker.rule.alert.as_str(), severity)).or_insert(0) += 1;
                }
            }
        }
        firing
    }

    /// Samples and alerts that found no room: too many scopes, symbols or subjects.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused + self.book.refused
    }

    /// Samples outside of what a window can hold; they were clamped. Counted since the windows' state began.
    #[must_use]
    pub fn clamped(&self) -> u64 {
        self.trackers.iter().flat_map(|tracker| tracker.instances.values()).map(|instance| instance.window.clamped()).sum()
    }

    fn advance(&mut self, at: Timestamp, effects: &mut Effects) -> Timestamp {
        self.now = self.now.max(at);
        if !self.begun {
            self.begun = true;
            self.begin(effects);
        }
        self.now
    }

    /// Whether nothing at all has been stored lately, not even this process's own heartbeat: nothing can be judged.
    fn is_quiet(&self, at: Timestamp) -> bool {
        at.saturating_since(self.heard_at) > QUIET_AFTER
    }

    fn begin(&mut self, effects: &mut Effects) {
        for tracker in &mut self.trackers {
            tracker.expect(self.now);
        }
        let trackers = &self.trackers;
        let backed = |alert: &Alert| {
            trackers.iter().filter(|tracker| tracker.rule.alert == alert.name).any(|tracker| {
                tracker.instances.values().any(|known| known.scope == alert.scope && known.status.state == alert.state)
            })
        };
        self.book.close_orphans(self.now, backed, effects);
    }
}

impl Machine for Guardrail {
    type Event = Event;
    const INPUTS: &'static [Input] = &[
        Input {
            stream: subject::FEED,
            subjects: &[
                subject::TICKS,
                subject::QUOTES,
                subject::SNAPSHOTS,
                subject::CALLS,
                subject::HEARTBEATS,
                subject::FEED_STATUS,
                subject::API_REQUESTS,
                subject::CANDLES,
            ],
        },
        Input {
            stream: subject::LEDGER,
            subjects: &[
                subject::BALANCES,
                subject::ANOMALIES,
                subject::THRESHOLDS,
                subject::INTENTS,
                subject::RESTARTS,
                subject::RESTARTED,
                subject::ROLLBACK,
                subject::LIMITS,
                subject::KILL_SWITCH,
                subject::STRATEGIES,
                subject::SCORES,
                subject::ROLLOUT_CHANGED,
            ],
        },
        Input { stream: subject::PARKED, subjects: &[subject::PARKED_ALL] },
    ];
    const STEP: Duration = Duration::from_millis(100);
    // Nearly every built-in window and `for` is an hour or less; the few longer ones begin with an hour of what there is.
    // Every 100 ms of older history would be judged for them alone.
    const HISTORY: Option<Duration> = Some(Duration::from_secs(3600));

    fn decode(delivery: &Delivery) -> Result<Event, DecodeError> {
        let event = Event::decode(&delivery.subject, delivery.sequence, delivery.kind.as_deref(), &delivery.payload)?;
        Ok(event.revised(delivery.header(header::REVISION).and_then(|text| text.parse().ok())))
    }

    fn apply(&mut self, at: Timestamp, event: Event, effects: &mut Effects) -> Result<(), Reject> {
        let at = self.advance(at, effects);
        if self.is_quiet(at) {
            // The whole system was off, or the broker was: that silence says nothing about the exchanges.
            let instances = self.trackers.iter_mut().flat_map(|tracker| tracker.instances.values_mut());
            instances.for_each(|instance| instance.window.resume(at));
            self.scores.resume(at);
            if let Some(actions) = &mut self.actions {
                actions.resume(at);
            }
        }
        self.heard_at = at;
        self.take_in(at, event, effects)?;
        if self.acted_on != self.book.told {
            self.act(at, effects);
        }
        Ok(())
    }

    fn tick(&mut self, at: Timestamp, effects: &mut Effects) {
        let boundary = at;
        let at = self.advance(at, effects);
        if self.is_quiet(at) {
            return;
        }
        if let Some(overdue) = self.scores.overdue(at) {
            self.one(at, metric::SCORE_OVERDUE, &[], Sample::Level(overdue.as_secs_f64()), effects);
        }
        for tracker in &mut self.trackers {
            tracker.judge_all(at, &mut self.book, effects);
        }
        let trackers = &self.trackers;
        let current = |alert: &Alert| {
            let same_name = trackers.iter().filter(|tracker| tracker.rule.alert == alert.name);
            let mut instances = same_name.flat_map(|tracker| tracker.instances.values());
            instances
                .find(|instance| instance.scope == alert.scope)
                .map(|instance| (instance.status.state, instance.status.severity))
        };
        self.book.settle(at, current, effects);
        self.act(at, effects);
        if boundary.as_nanos().rem_euclid(WINDOWS_EVERY_NS) == 0 {
            effects.publish(subject::WINDOWS.to_owned(), &self.windows(at));
        }
    }

    fn save(&self) -> Vec<u8> {
        self.to_bytes()
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.take_over(bytes)
    }
}
