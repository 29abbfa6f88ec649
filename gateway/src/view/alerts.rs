//! The newest state of every alert and the last transitions.

use std::collections::{BTreeMap, VecDeque};

use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::subject;

/// Alert instances (a rule in a scope) held.
pub const ALERTS_MAX: usize = 512;
/// Transitions held.
pub const TRANSITIONS_MAX: usize = 200;

/// An alert instance: its subject, which is made of name and scope.
pub type Key = String;

/// There is no room for another instance.
#[derive(Debug)]
pub struct Full;

/// Alerts.
#[derive(Default)]
pub struct Alerts {
    current: BTreeMap<Key, Alert>,
    /// Oldest first.
    recent: VecDeque<Alert>,
}

impl Alerts {
    /// Takes in a transition. History and the newest states are read side by side, so the same transition comes twice
    /// and an older one may come after a newer one: the revision decides. None when nothing is new.
    ///
    /// # Errors
    /// [`Full`].
    pub fn apply(&mut self, alert: Alert) -> Result<Option<Key>, Full> {
        let key = subject::alert(&alert.name, &alert.scope);
        self.remember(&alert);
        match self.current.get(&key) {
            Some(held) if held.revision > alert.revision || *held == alert => return Ok(None),
            None if self.current.len() >= ALERTS_MAX => return Err(Full),
            _ => {}
        }
        self.current.insert(key.clone(), alert);
        Ok(Some(key))
    }

    /// Whether a transition is not held yet, as it is.
    #[must_use]
    pub fn is_news(&self, alert: &Alert) -> bool {
        self.get(&subject::alert(&alert.name, &alert.scope)) != Some(alert) && !self.recent.contains(alert)
    }

    fn remember(&mut self, alert: &Alert) {
        let same = |held: &Alert| held.revision == alert.revision && held.name == alert.name && held.scope == alert.scope;
        if let Some(held) = self.recent.iter_mut().find(|held| same(held)) {
            *held = alert.clone();
            return;
        }
        let place = self.recent.partition_point(|held| held.at <= alert.at);
        self.recent.insert(place, alert.clone());
        if self.recent.len() > TRANSITIONS_MAX {
            self.recent.pop_front();
        }
    }

    /// The newest state of one instance.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Alert> {
        self.current.get(key)
    }

    /// Every instance's newest state.
    pub fn current(&self) -> impl Iterator<Item = &Alert> {
        self.current.values()
    }

    /// Firing and pending ones, worst first, then newest first.
    #[must_use]
    pub fn active(&self) -> Vec<&Alert> {
        let mut active: Vec<&Alert> =
            self.current.values().filter(|alert| matches!(alert.state, AlertState::Firing | AlertState::Pending)).collect();
        active.sort_by_key(|alert| {
            (alert.state != AlertState::Firing, std::cmp::Reverse(alert.severity), std::cmp::Reverse(alert.at))
        });
        active
    }

    /// Number of firing ones of that severity.
    #[must_use]
    pub fn firing(&self, severity: Severity) -> usize {
        let firing = |alert: &&Alert| alert.state == AlertState::Firing && alert.severity == Some(severity);
        self.current.values().filter(firing).count()
    }

    /// Transitions, newest first.
    pub fn recent(&self) -> impl Iterator<Item = &Alert> {
        self.recent.iter().rev()
    }
}
