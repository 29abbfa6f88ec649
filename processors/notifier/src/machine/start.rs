//! The state of a first start, of a lost checkpoint and of changed routes: made from the newest message on each subject.

use std::collections::BTreeMap;

use spark_bus_schema::Timestamp;
use spark_bus_schema::notify::Notification;
use spark_bus_schema::subject;
use spark_nats::Delivery;

use super::{Event, Notifier, event, identity};
use crate::plan::{Plan, group_id};

impl Notifier {
    /// From the newest alert, action, silence and notification of each subject, in the LEDGER's order. What fires and was
    /// not told yet is told at the first boundary; what was told is not told again.
    #[must_use]
    pub fn begin(plan: Plan, newest: &[Delivery], at: Timestamp) -> Self {
        let mut notifier = Self::new(plan);
        let mut told = BTreeMap::new();
        for delivery in newest {
            if subject::matches(subject::NOTIFICATIONS, &delivery.subject) {
                if let Ok(notification) = delivery.decode::<Notification>() {
                    told.insert(delivery.subject.clone(), notification);
                }
                continue;
            }
            // What cannot be read was parked when it came.
            if let Ok(event) = event::decode(delivery) {
                notifier.learn(event);
            }
        }
        for (name, notification) in told {
            notifier.believe(&name, notification);
        }
        let firing: Vec<(String, _)> = notifier.state.book.firing().collect();
        for (id, labels) in firing {
            notifier.join(at, &id, Some(&labels));
        }
        notifier.state.sweep = true;
        notifier
    }

    fn learn(&mut self, event: Event) {
        let change = match event {
            Event::Alert(alert) => Some(super::book::of_alert(&alert)),
            Event::Action(action) => super::book::of_action(&action),
            Event::Silence(silence) => {
                let _ = self.silences.insert(silence);
                None
            }
            Event::RestartAsked { .. } | Event::RestartDone { .. } => None,
        };
        if let Some(change) = change.filter(|change| change.firing) {
            let id = identity(&change.labels);
            self.state.book.set(&id, &change, &self.plan.inhibitions);
        }
    }

    /// A receiver was told this; its group is made again if there still is one by the routes of today.
    fn believe(&mut self, name: &str, notification: Notification) {
        self.state.revisions.set(name, notification.revision);
        for alert in notification.alerts.into_iter().filter(|alert| alert.firing) {
            for place in self.plan.places(&alert.labels) {
                let takes = self.plan.routes[place.route].receivers.contains(&notification.receiver);
                if takes && subject::notification(&notification.receiver, &group_id(&place.key)) == name {
                    let made = || super::Group::new(&place, &notification.receiver, notification.at);
                    let group = self.state.groups.entry(name.to_owned()).or_insert_with(made);
                    group.believes(identity(&alert.labels), alert.clone(), notification.at);
                }
            }
        }
    }
}
