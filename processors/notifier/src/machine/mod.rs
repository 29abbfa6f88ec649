//! Who is told what, and when. A pure decision over the LEDGER: alerts, the guardrail's actions, silences, restarts in;
//! notifications out.
//!
//! Every alert has an *identity* (its labels without severity and stage) and belongs to the groups that the routes put it
//! into. A group remembers what its receiver was told; whenever an alert, a silence or the time changes, [`group`] compares
//! the two and says what, if anything, is told now. So nothing is told twice, whatever restarts in between, and the state
//! of a lost checkpoint can be made again from the newest alerts and the newest notifications ([`begin`](Notifier::begin)).

mod book;
mod event;
mod group;
mod start;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_alerting::{Labels, Silences};
use spark_bus_schema::notify::Silence;
use spark_bus_schema::{DecodeError, Timestamp, subject};
use spark_nats::{Delivery, Effects, Input, Machine, Reject};

use crate::plan::Plan;
pub use book::{Book, Instance, identity};
pub use event::Event;
pub(crate) use event::own;
use group::{Group, Revisions};

/// Timers fire at multiples of this.
pub const STEP: Duration = Duration::from_millis(100);
/// Alerts that fire or that somebody was told of; more are parked.
pub const ALERTS_MAX: usize = 20_000;
/// Alerts in one notification; more are counted.
pub const ALERTS_TOLD_MAX: usize = 100;
/// Silences that are remembered; more are parked.
pub const SILENCES_MAX: usize = 2_000;
/// A silence is forgotten this long after its end.
const SILENCE_KEPT: Duration = Duration::from_secs(3_600);
/// A process that shall restart is not missed for this long at most.
pub const RESTART_MUTE: Duration = Duration::from_secs(60);
/// And for this long after it is back: its first heartbeats are on their way.
const RESTART_SETTLES: Duration = Duration::from_secs(10);
const STATE_VERSION: u32 = 1;

/// Decides who is told what, and when.
pub struct Notifier {
    plan: Plan,
    state: State,
    silences: Silences,
    /// Nothing happens by itself before.
    wake: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    /// Of the plan that it follows from.
    signature: String,
    book: Book,
    groups: std::collections::BTreeMap<String, Group>,
    revisions: Revisions,
    silences: Vec<Silence>,
    /// Something that hides others has changed: every group is looked at at the next boundary.
    sweep: bool,
}

impl Notifier {
    /// With no alert and nobody told.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let state = State { signature: plan.signature.clone(), ..State::default() };
        Self { plan, state, silences: Silences::default(), wake: None }
    }

    fn take(&mut self, at: Timestamp, event: Event, effects: &mut Effects) -> Result<(), Reject> {
        match event {
            Event::Alert(alert) => self.changed(at, &book::of_alert(&alert), effects),
            Event::Action(action) => match book::of_action(&action) {
                Some(change) => self.changed(at, &change, effects),
                None => Ok(()),
            },
            Event::Silence(silence) => self.silence(at, silence),
            Event::RestartAsked { service } => {
                self.state.book.mute_restart(service, at + RESTART_MUTE);
                self.look_at(at + RESTART_MUTE);
                Ok(())
            }
            Event::RestartDone { service } => {
                self.state.book.mute_restart(service, at + RESTART_SETTLES);
                self.look_at(at + RESTART_SETTLES);
                Ok(())
            }
        }
    }

    fn silence(&mut self, at: Timestamp, silence: Silence) -> Result<(), Reject> {
        self.silences.forget_ended(at - SILENCE_KEPT);
        if self.silences.len() >= SILENCES_MAX && self.silences.get(&silence.id).is_none() {
            return Err(Reject { reason: "too_many_silences", detail: format!("{SILENCES_MAX} silences; expire some") });
        }
        self.silences.insert(silence).map_err(|error| Reject { reason: "bad_matcher", detail: error.to_string() })?;
        self.state.sweep = true;
        Ok(())
    }

    /// An alert is other than before: its groups are looked at at once, the others at the next boundary if it hides some.
    fn changed(&mut self, at: Timestamp, change: &book::Change, effects: &mut Effects) -> Result<(), Reject> {
        let id = identity(&change.labels);
        let was = self.state.book.get(&id).filter(|instance| instance.firing).map(|instance| instance.labels.clone());
        if was.is_none() && !change.firing && self.state.book.get(&id).is_none() {
            return Ok(());
        }
        if self.state.book.count() >= ALERTS_MAX && self.state.book.get(&id).is_none() {
            return Err(Reject { reason: "too_many_alerts", detail: format!("{ALERTS_MAX} alerts fire already") });
        }
        let labels = self.state.book.set(&id, change, &self.plan.inhibitions);
        let mut places = self.join(at, &id, change.firing.then_some(&labels));
        for labels in was.iter().chain(Some(&labels)) {
            self.state.sweep |= self.plan.inhibitions.iter().any(|rule| rule.is_source(labels));
        }
        places.extend(self.state.groups.iter().filter(|(_, group)| group.holds(&id)).map(|(name, _)| name.clone()));
        places.sort();
        places.dedup();
        for name in places {
            self.evaluate(&name, at, effects);
        }
        self.tidy(&id);
        Ok(())
    }

    /// Puts an alert into the groups that it belongs to now; their names.
    fn join(&mut self, at: Timestamp, id: &str, labels: Option<&Labels>) -> Vec<String> {
        let mut names = Vec::new();
        for place in labels.map(|labels| self.plan.places(labels)).unwrap_or_default() {
            for receiver in &self.plan.routes[place.route].receivers {
                let name = subject::notification(receiver, &crate::plan::group_id(&place.key));
                let group = self.state.groups.entry(name.clone()).or_insert_with(|| Group::new(&place, receiver, at));
                group.join(id);
                names.push(name);
            }
        }
        for (_, group) in self.state.groups.iter_mut().filter(|(name, _)| !names.contains(name)) {
            group.leave(id);
        }
        names
    }

    fn evaluate(&mut self, name: &str, at: Timestamp, effects: &mut Effects) {
        let Some(mut group) = self.state.groups.remove(name) else { return };
        let world = group::World { plan: &self.plan, book: &self.state.book, silences: &self.silences, at };
        let next = group.decide(&world, &mut self.state.revisions, name, effects);
        if let Some(next) = next {
            self.look_at(next);
        }
        if !group.is_empty() {
            self.state.groups.insert(name.to_owned(), group);
        }
    }

    /// Forgets an alert that is over and that nobody waits to hear about.
    fn tidy(&mut self, id: &str) {
        let over = self.state.book.get(id).is_some_and(|instance| !instance.firing);
        if over && !self.state.groups.values().any(|group| group.holds(id)) {
            self.state.book.remove(id);
        }
    }

    fn look_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn sweep(&mut self, at: Timestamp, effects: &mut Effects) {
        self.state.sweep = false;
        self.wake = [self.silences.next_change(at), self.state.book.next_change(at)].into_iter().flatten().min();
        let names: Vec<String> = self.state.groups.keys().cloned().collect();
        for name in names {
            self.evaluate(&name, at, effects);
        }
        let over: Vec<String> = self.state.book.over().map(ToOwned::to_owned).collect();
        for id in over {
            self.tidy(&id);
        }
    }
}

impl Machine for Notifier {
    type Event = Event;
    const INPUTS: &'static [Input] = &[Input { stream: subject::LEDGER, subjects: event::SUBJECTS }];
    const STEP: Duration = STEP;

    fn decode(delivery: &Delivery) -> Result<Event, DecodeError> {
        event::decode(delivery)
    }

    fn apply(&mut self, at: Timestamp, event: Event, effects: &mut Effects) -> Result<(), Reject> {
        self.take(at, event, effects)
    }

    fn tick(&mut self, at: Timestamp, effects: &mut Effects) {
        if self.state.sweep || self.wake.is_some_and(|wake| wake <= at) {
            self.sweep(at, effects);
        }
    }

    fn save(&self) -> Vec<u8> {
        let state = State { silences: self.silences.iter().cloned().collect(), ..self.state.clone() };
        rmp_serde::to_vec_named(&(STATE_VERSION, state)).expect("writing to memory cannot fail")
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (version, state): (u32, State) = spark_bus_schema::codec::from_saved(bytes).map_err(|error| error.to_string())?;
        if version != STATE_VERSION {
            return Err(format!("layout {version}, this build reads {STATE_VERSION}"));
        }
        if state.signature != self.plan.signature {
            return Err("the routes have changed".to_owned());
        }
        let mut silences = Silences::default();
        for silence in &state.silences {
            silences.insert(silence.clone()).map_err(|error| error.to_string())?;
        }
        self.state = state;
        self.state.book.index(&self.plan.inhibitions);
        self.state.silences.clear();
        self.silences = silences;
        // Looks at everything at the next boundary; what is not due stays as it is.
        self.wake = Some(Timestamp::ZERO);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
