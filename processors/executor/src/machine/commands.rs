//! What people, the auditor and comparisons tell the core: cancels, the kill switch, halts, resumes, streams that come and go.

use std::time::Duration;

use spark_bus_schema::control::{HaltScope, KillSwitch, ResumeCommand};
use spark_bus_schema::orders::{OrderId, TradingMode};
use spark_bus_schema::{Timestamp, Venue};

use super::Action;
use super::core::Core;
use super::work::Sent;

impl Core {
    pub(super) fn cancel(&mut self, order: &OrderId, words: &str, at: Timestamp, out: &mut Vec<Action>) {
        if !self.ledger.cancel(order, words) {
            return;
        }
        self.with(order, at, out, |_, work, _| {
            work.cancel.get_or_insert_with(|| words.to_owned());
        });
    }

    pub(super) fn kill(&mut self, sequence: u64, command: &KillSwitch, at: Timestamp, out: &mut Vec<Action>) {
        self.ledger.kill(sequence, command);
        if let Some(kill) = self.ledger.kill.clone()
            && kill.cancel_open
        {
            let open: Vec<OrderId> = self.ledger.book.open().map(|order| order.id().clone()).collect();
            for order in open {
                self.cancel(&order, &kill.words, at, out);
            }
        }
        if self.ledger.kill.is_some() {
            self.advance_all(None, at, out);
        }
    }

    pub(super) fn halt(&mut self, scope: &HaltScope, reason: String, at: Timestamp, out: &mut Vec<Action>) {
        match scope {
            HaltScope::Ledger => {
                self.ledger.halt = Some(reason);
                self.advance_all(None, at, out);
            }
            HaltScope::Exchange(venue) => {
                self.ledger.halts.insert(*venue, reason);
                self.advance_all(Some(*venue), at, out);
            }
        }
    }

    pub(super) fn resume(&mut self, command: &ResumeCommand, at: Timestamp, out: &mut Vec<Action>) {
        self.ledger.resume(command);
        if !self.started {
            return;
        }
        let words = format!("{} ({})", command.reason, command.actor);
        let venues: Vec<Venue> = match &command.scope {
            HaltScope::Ledger => self.places.keys().copied().collect(),
            HaltScope::Exchange(venue) => vec![*venue],
        };
        for venue in venues {
            if let Some(place) = self.places.get_mut(&venue) {
                place.ready = false;
                out.push(Action::Reconcile(venue, "command"));
            }
        }
        let HaltScope::Exchange(venue) = command.scope else { return };
        // Whatever the exchange does not know when it is asked now, the person who resumes has accepted as gone.
        let acknowledged: Vec<OrderId> = self
            .works
            .iter()
            .filter(|(_, work)| work.terms().exchange == venue && work.facts.mode == Some(TradingMode::Live))
            .filter(|(_, work)| !work.facts.is_final() && work.facts.exchange_order_id.is_some())
            .map(|(order, _)| order.clone())
            .collect();
        for order in acknowledged {
            self.with(&order, at, out, |core, work, _| {
                work.given_up = Some(words.clone());
                core.plan_ask(work, at, Duration::ZERO);
            });
        }
    }

    pub(super) fn ready(&mut self, venue: Venue, at: Timestamp, out: &mut Vec<Action>) {
        let Some(place) = self.places.get_mut(&venue) else { return };
        place.ready = true;
        for order in std::mem::take(&mut place.waiting) {
            self.wake(&order, at, out);
        }
    }

    pub(super) fn user_data(&mut self, venue: Venue, up: bool, at: Timestamp, out: &mut Vec<Action>) {
        let Some(place) = self.places.get_mut(&venue) else { return };
        if place.user_data == up {
            return;
        }
        place.user_data = up;
        // Whatever was missed while it was away, or will be from now on: ask.
        let orders: Vec<OrderId> = self
            .works
            .iter()
            .filter(|(_, work)| work.terms().exchange == venue && work.sent == Sent::Yes && !work.facts.is_final())
            .filter(|(_, work)| work.facts.mode == Some(TradingMode::Live))
            .map(|(order, _)| order.clone())
            .collect();
        for order in orders {
            self.with(&order, at, out, |core, work, _| core.plan_ask(work, at, Duration::ZERO));
        }
        if up && self.started {
            out.push(Action::Reconcile(venue, "reconnect"));
        }
    }
}
