//! One group of alerts and one receiver: what it was told, and what it has to hear.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use spark_alerting::labels::SEVERITY;
use spark_alerting::{Labels, Silences, fingerprint};
use spark_bus_schema::Timestamp;
use spark_bus_schema::notify::{Notification, NotifiedAlert, NotifyReason};
use spark_nats::Effects;

use super::ALERTS_TOLD_MAX;
use super::book::{Book, Instance};
use crate::plan::{Place, Plan};

/// Groups whose last revision is remembered one by one.
const REVISIONS_MAX: usize = 50_000;

/// The last revision of every group, also of those that are over: a group that comes again goes on counting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revisions {
    last: BTreeMap<String, u64>,
    /// The highest one of those that were forgotten: nobody counts below it.
    floor: u64,
}

impl Revisions {
    fn next(&mut self, name: &str) -> u64 {
        let next = self.last.get(name).copied().unwrap_or(self.floor) + 1;
        self.set(name, next);
        next
    }

    /// What the LEDGER says.
    pub fn set(&mut self, name: &str, revision: u64) {
        if self.last.len() >= REVISIONS_MAX && !self.last.contains_key(name) {
            self.floor = self.last.values().copied().max().unwrap_or(0).max(self.floor);
            self.last.clear();
        }
        self.last.insert(name.to_owned(), revision);
    }
}

/// What a decision looks at.
pub struct World<'a> {
    pub plan: &'a Plan,
    pub book: &'a Book,
    pub silences: &'a Silences,
    pub at: Timestamp,
}

/// One group of alerts and one receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    route: usize,
    key: String,
    labels: Labels,
    receiver: String,
    /// When its first alert came.
    since: Timestamp,
    /// When the receiver was told last; none: never in this life of the group.
    told_at: Option<Timestamp>,
    /// Alerts that belong here now.
    members: BTreeSet<String>,
    /// Alerts that the receiver believes to fire, as it was told.
    told: BTreeMap<String, NotifiedAlert>,
}

/// What an alert of the group is to the receiver now.
enum Standing {
    /// Fires; told as it is.
    Known,
    /// Fires; not told, or told otherwise.
    News,
    /// Was told, and is over.
    Over,
    /// Was told, and is neither over nor to be told of.
    Kept,
    /// Hidden, or never told and over.
    Nothing,
}

impl Group {
    /// Empty.
    pub fn new(place: &Place, receiver: &str, since: Timestamp) -> Self {
        Self {
            route: place.route,
            key: place.key.clone(),
            labels: place.labels.clone(),
            receiver: receiver.to_owned(),
            since,
            told_at: None,
            members: BTreeSet::new(),
            told: BTreeMap::new(),
        }
    }

    /// The alert belongs here.
    pub fn join(&mut self, id: &str) {
        self.members.insert(id.to_owned());
    }

    /// It does not any more.
    pub fn leave(&mut self, id: &str) {
        self.members.remove(id);
    }

    /// The receiver was told this, once: it is in the LEDGER.
    pub fn believes(&mut self, id: String, alert: NotifiedAlert, told_at: Timestamp) {
        self.told_at = Some(self.told_at.map_or(told_at, |before| before.max(told_at)));
        self.told.insert(id, alert);
    }

    /// Whether the alert is of any interest here.
    pub fn holds(&self, id: &str) -> bool {
        self.members.contains(id) || self.told.contains_key(id)
    }

    /// Whether there is nothing left to tell.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.told.is_empty()
    }

    /// Tells what is due; when to look again, if nothing else happens.
    pub fn decide(
        &mut self,
        world: &World<'_>,
        revisions: &mut Revisions,
        name: &str,
        effects: &mut Effects,
    ) -> Option<Timestamp> {
        let route = &world.plan.routes[self.route];
        // However many alerts join in a burst: before anything can be due, none of them is looked at.
        let soonest = self
            .told_at
            .map_or(self.since + route.group_wait, |told_at| told_at + route.group_interval.min(route.repeat_interval));
        if soonest > world.at {
            return Some(soonest);
        }
        let sends_resolved = world.plan.receivers.get(&self.receiver).is_some_and(|target| target.written.send_resolved);
        let (mut firing, mut over, mut news) = (Vec::new(), Vec::new(), false);
        let ids: Vec<String> =
            self.members.iter().chain(self.told.keys()).cloned().collect::<BTreeSet<_>>().into_iter().collect();
        for id in ids {
            match self.standing(&id, world) {
                Standing::Known => firing.push(id),
                Standing::News => {
                    news = true;
                    firing.push(id);
                }
                Standing::Over if sends_resolved => {
                    news = true;
                    over.push(id);
                }
                Standing::Over => {
                    self.told.remove(&id);
                }
                Standing::Kept | Standing::Nothing => {}
            }
        }
        let due = match (news, self.told_at) {
            (true, None) => self.since + route.group_wait,
            (true, Some(told_at)) => told_at + route.group_interval,
            (false, Some(told_at)) if !firing.is_empty() => told_at + route.repeat_interval,
            (false, _) => return None,
        };
        if due > world.at {
            return Some(due);
        }
        let reason = match (news, self.told_at, firing.is_empty()) {
            (_, _, true) => NotifyReason::Resolved,
            (true, None, _) => NotifyReason::New,
            (true, Some(_), _) => NotifyReason::Changed,
            (false, _, _) => NotifyReason::Repeat,
        };
        self.tell(world, reason, &firing, &over, revisions.next(name), name, effects);
        (!firing.is_empty()).then(|| world.at + route.repeat_interval)
    }

    fn standing(&self, id: &str, world: &World<'_>) -> Standing {
        let (instance, told) = (world.book.get(id), self.told.get(id));
        let here = instance.filter(|instance| instance.firing && self.members.contains(id));
        match (here, told) {
            (Some(instance), told) => {
                if is_muted(&instance.labels, world) {
                    return if told.is_some() { Standing::Kept } else { Standing::Nothing };
                }
                if told.is_some_and(|told| told.labels == instance.labels) { Standing::Known } else { Standing::News }
            }
            (None, Some(told)) => {
                // What got worse and is told elsewhere is not over.
                let is_worse = instance.is_some_and(|now| now.firing && rank(&now.labels) > rank(&told.labels));
                if is_worse || is_muted(&told.labels, world) { Standing::Kept } else { Standing::Over }
            }
            (None, None) => Standing::Nothing,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call, of what was decided a line before")]
    fn tell(
        &mut self,
        world: &World<'_>,
        reason: NotifyReason,
        firing: &[String],
        over: &[String],
        revision: u64,
        name: &str,
        effects: &mut Effects,
    ) {
        let mut alerts = Vec::with_capacity(firing.len() + over.len());
        for id in firing {
            if let Some(instance) = world.book.get(id) {
                let told = told_of(instance);
                self.told.insert(id.clone(), told.clone());
                alerts.push(told);
            }
        }
        for id in over {
            let Some(told) = self.told.remove(id) else { continue };
            let now = world.book.get(id).filter(|instance| !instance.firing);
            let annotations = now.map_or_else(|| told.annotations.clone(), |instance| instance.annotations.clone());
            let ends_at = now.and_then(|instance| instance.ends_at).or(Some(world.at));
            alerts.push(NotifiedAlert { firing: false, ends_at, annotations, ..told });
        }
        let truncated = alerts.len().saturating_sub(ALERTS_TOLD_MAX);
        alerts.truncate(ALERTS_TOLD_MAX);
        let notification = Notification {
            receiver: self.receiver.clone(),
            group_key: self.key.clone(),
            group_labels: self.labels.clone(),
            revision,
            reason,
            alerts,
            truncated: truncated as u64,
            at: world.at,
        };
        effects.publish_revision(name.to_owned(), &notification, revision);
        self.told_at = Some(world.at);
    }
}

fn is_muted(labels: &Labels, world: &World<'_>) -> bool {
    world.silences.is_silenced(labels, world.at)
        || world.book.is_restart(labels, world.at)
        || world.book.is_inhibited(&world.plan.inhibitions, labels)
}

fn rank(labels: &Labels) -> u8 {
    u8::from(labels.get(SEVERITY).is_some_and(|severity| severity == "critical"))
}

fn told_of(instance: &Instance) -> NotifiedAlert {
    NotifiedAlert {
        labels: instance.labels.clone(),
        annotations: instance.annotations.clone(),
        firing: true,
        starts_at: instance.starts_at,
        ends_at: None,
        fingerprint: fingerprint(&instance.labels),
    }
}
