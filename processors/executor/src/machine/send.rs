//! The way of one order to the exchange and back: claim, send, ask, cancel.

use std::sync::Arc;
use std::time::Duration;

use spark_bus_schema::Timestamp;
use spark_bus_schema::orders::{Evidence, OrderState, TradingMode};

use super::Action;
use super::core::{Core, decide};
use super::report::{Cancelled, Lookup, Stand, Submitted};
use super::work::{Sent, Work};

/// Orders of one key that may wait for an unknown one; more are taken back at once.
pub const BLOCKED_MAX: usize = 1_000;
/// A paper order waits this long for FEED to be read past the moment that it was decided at, at most. Something is stored in
/// FEED all the time (each process tells every second that it is there), so this is long.
pub const RECORD_WAIT_MAX: Duration = Duration::from_secs(5);

impl Core {
    /// An order that certainly has not left: end it, let it wait, claim it, or send it.
    pub(super) fn before_send(&mut self, work: &mut Work, at: Timestamp, out: &mut Vec<Action>) {
        let venue = work.terms().exchange;
        let stop = work.cancel.clone().or_else(|| self.stopped(venue));
        if let Some(words) = stop {
            return self.end_unsent(work, OrderState::Cancelled, words, at, out);
        }
        let Some(place) = self.places.get(&venue) else {
            let words = format!("no orders are placed at {venue}");
            return self.end_unsent(work, OrderState::Cancelled, words, at, out);
        };
        if at > work.terms().expires_at {
            let words = format!("the approval was good until {}", work.terms().expires_at);
            return self.end_unsent(work, OrderState::Expired, words, at, out);
        }
        let (mode, latency, ready) = (place.rules.mode, place.rules.latency, place.ready);
        if work.facts.mode.is_some_and(|claimed| claimed != mode) {
            let words = format!("{venue} was switched between paper and live trading");
            return self.end_unsent(work, OrderState::Cancelled, words, at, out);
        }
        if mode == TradingMode::Live
            && let Some(words) = self.ledger.not_live(&work.terms().strategy)
        {
            return self.end_unsent(work, OrderState::Rejected, words, at, out);
        }
        if !ready {
            return self.wait_for_place(work);
        }
        if work.facts.state.is_none() {
            if !self.unresolved.is_empty() && self.unresolved.contains_key(&work.terms().key()) {
                return self.wait_for_key(work, at, out);
            }
            work.facts.mode = Some(mode);
            decide(work, OrderState::Pending, Evidence::Approval, None, at, out);
            if mode == TradingMode::Live {
                return;
            }
            if latency > Duration::ZERO && work.terms().book_at.is_none() {
                work.not_before = at + latency;
                let order = work.terms().order.clone();
                return self.at(at + latency, &order);
            }
        }
        if at < work.not_before {
            return;
        }
        match mode {
            TradingMode::Paper => match work.terms().book_at {
                None => self.send_to_desk(work, at, out),
                Some(decided_at) => self.fill_by_record(work, decided_at + latency, at, out),
            },
            TradingMode::Live if work.is_stored() => {
                work.sent = Sent::InFlight;
                work.sent_at = Some(at);
                out.push(Action::Send(Arc::clone(work.terms())));
            }
            // The claim is stored before anything leaves.
            TradingMode::Live => {}
        }
    }

    fn send_to_desk(&mut self, work: &mut Work, at: Timestamp, out: &mut Vec<Action>) {
        let desk = self.places.get_mut(&work.terms().exchange).and_then(|place| place.desk.as_mut());
        let Some(desk) = desk else { return };
        let report = desk.submit(work.terms(), at);
        work.sent = Sent::Yes;
        self.told(work, &report, Evidence::Paper, at, out);
    }

    /// Fills an order against the book of the moment at which it would have arrived, once FEED has been read past it.
    fn fill_by_record(&mut self, work: &mut Work, moment: Timestamp, at: Timestamp, out: &mut Vec<Action>) {
        let Some(place) = self.places.get_mut(&work.terms().exchange) else { return };
        let Some(desk) = &mut place.desk else { return };
        if let Some(report) = desk.submit_at(work.terms(), moment) {
            work.sent = Sent::Yes;
            return self.told(work, &report, Evidence::Paper, at, out);
        }
        match work.read_until {
            Some(until) if at >= until => {
                let words =
                    format!("paper: decided on the book of {moment}, and FEED was not read past it within {RECORD_WAIT_MAX:?}");
                self.end_unsent(work, OrderState::Expired, words, at, out);
            }
            Some(_) => {}
            None => {
                let until = at + RECORD_WAIT_MAX;
                work.read_until = Some(until);
                let order = work.terms().order.clone();
                place.reading.insert((moment, work.terms().verdict_sequence), order.clone());
                self.at(until, &order);
            }
        }
    }

    fn end_unsent(&mut self, work: &mut Work, state: OrderState, words: String, at: Timestamp, out: &mut Vec<Action>) {
        if work.facts.state.is_none() {
            let mode = self.places.get(&work.terms().exchange).map_or(TradingMode::Paper, |place| place.rules.mode);
            work.facts.mode = Some(mode);
            decide(work, OrderState::Pending, Evidence::Approval, None, at, out);
        }
        decide(work, state, Evidence::NeverSent, Some(words), at, out);
    }

    fn wait_for_place(&mut self, work: &mut Work) {
        if work.waiting {
            return;
        }
        work.waiting = true;
        let (order, expires_at) = (work.terms().order.clone(), work.terms().expires_at);
        if let Some(place) = self.places.get_mut(&work.terms().exchange) {
            place.waiting.push_back(order.clone());
        }
        self.at(expires_at + Duration::from_nanos(1), &order);
    }

    fn wait_for_key(&mut self, work: &mut Work, at: Timestamp, out: &mut Vec<Action>) {
        if work.waiting {
            return;
        }
        let queue = self.blocked.entry(work.terms().key()).or_default();
        if queue.len() >= BLOCKED_MAX {
            let words = format!("{BLOCKED_MAX} orders wait already for an order whose outcome is unknown");
            return self.end_unsent(work, OrderState::Cancelled, words, at, out);
        }
        work.waiting = true;
        let (order, expires_at) = (work.terms().order.clone(), work.terms().expires_at);
        queue.push_back(order.clone());
        self.at(expires_at + Duration::from_nanos(1), &order);
    }

    pub(super) fn submitted(&mut self, work: &mut Work, outcome: Submitted, at: Timestamp, out: &mut Vec<Action>) {
        // The user data stream may have been quicker; then nothing is in doubt any more.
        let in_doubt = work.sent == Sent::InFlight && !work.facts.is_final();
        match outcome {
            Submitted::Told(report) => {
                work.attempts = 0;
                if report.stand != Some(Stand::Rejected) {
                    work.sent = Sent::Yes;
                }
                self.told(work, &report, Evidence::Answer, at, out);
            }
            Submitted::Unknown(words) if in_doubt => {
                work.sent = Sent::Maybe;
                work.attempts = 0;
                decide(work, OrderState::Unknown, Evidence::AnswerLost, Some(words), at, out);
                self.plan_ask(work, at, self.pauses.ask.0);
            }
            Submitted::NotSent(words, after) if in_doubt => {
                work.sent = Sent::No;
                let pause = after.unwrap_or_default().max(self.pause(self.pauses.retry, work));
                tracing::debug!(order = %work.terms().order, words, "not sent");
                work.not_before = at + pause;
                let order = work.terms().order.clone();
                let wake = work.not_before.min(work.terms().expires_at + Duration::from_nanos(1));
                self.at(wake, &order);
            }
            Submitted::Unsupported(words) if in_doubt => {
                work.sent = Sent::No;
                decide(work, OrderState::Rejected, Evidence::NeverSent, Some(words), at, out);
            }
            Submitted::Unknown(_) | Submitted::NotSent(..) | Submitted::Unsupported(_) => {
                self.plan_ask(work, at, Duration::ZERO);
            }
        }
    }

    pub(super) fn looked(&mut self, work: &mut Work, outcome: Lookup, at: Timestamp, out: &mut Vec<Action>) {
        work.asking = false;
        if work.facts.is_final() || work.adopting.is_some() {
            return;
        }
        match outcome {
            Lookup::Found(report) => {
                let was_lost = work.lost;
                work.given_up = None;
                self.told(work, &report, Evidence::Query, at, out);
                if work.facts.is_final() {
                    return;
                }
                if !was_lost {
                    work.attempts = 0;
                }
                if work.cancel.is_some() {
                    let pause = self.pause(self.pauses.ask, work);
                    self.plan_ask(work, at, pause);
                }
            }
            Lookup::NotFound => self.not_found(work, at, out),
            Lookup::Failed(words, after) => {
                tracing::debug!(order = %work.terms().order, words, "could not be asked about");
                let pause = after.unwrap_or_default().max(self.pause(self.pauses.ask, work));
                self.plan_ask(work, at, pause);
            }
        }
    }

    /// The exchange has no such order. That is evidence only when nothing can arrive any more, and only of an order that
    /// the exchange never acknowledged.
    fn not_found(&mut self, work: &mut Work, at: Timestamp, out: &mut Vec<Action>) {
        let began = work.sent_at.max(work.facts.claimed_at).unwrap_or(at);
        let conclusive = began + self.pauses.window;
        if at < conclusive {
            let pause = conclusive.saturating_since(at);
            return self.plan_ask(work, at, pause);
        }
        let was_known = work.facts.exchange_order_id.is_some() || !work.facts.filled.is_zero();
        if !was_known {
            let words = "the exchange does not know it".to_owned();
            return decide(work, OrderState::Rejected, Evidence::Query, Some(words), at, out);
        }
        if let Some(words) = work.given_up.clone() {
            let words = format!("the exchange no longer knows it; accepted on resume: {words}");
            return decide(work, OrderState::Cancelled, Evidence::Query, Some(words), at, out);
        }
        if !work.lost {
            work.lost = true;
            work.sent = Sent::Maybe;
            if work.facts.state != Some(OrderState::Unknown) {
                let words = "the exchange had it and no longer knows it".to_owned();
                decide(work, OrderState::Unknown, Evidence::Query, Some(words), at, out);
            }
            out.push(Action::Reconcile(work.terms().exchange, "lost"));
        }
        let pause = self.pause(self.pauses.ask, work);
        self.plan_ask(work, at, pause);
    }

    pub(super) fn cancel_when_due(&mut self, work: &mut Work, at: Timestamp, out: &mut Vec<Action>) {
        if work.cancel.is_none() || work.cancelling || at < work.cancel_at {
            return;
        }
        if work.facts.mode == Some(TradingMode::Paper) {
            let desk = self.places.get_mut(&work.terms().exchange).and_then(|place| place.desk.as_mut());
            if let Some(mut report) = desk.and_then(|desk| desk.cancel(&work.terms().order)) {
                report.reason.clone_from(&work.cancel);
                self.told(work, &report, Evidence::Paper, at, out);
            }
            return;
        }
        work.cancelling = true;
        out.push(Action::Cancel(Arc::clone(work.terms()), work.facts.exchange_order_id.clone()));
    }

    pub(super) fn cancelled(&mut self, work: &mut Work, outcome: Cancelled, at: Timestamp, out: &mut Vec<Action>) {
        work.cancelling = false;
        // Whatever follows, another cancel is not due at once.
        let pause = self.pause(self.pauses.ask, work);
        work.cancel_at = at + pause * 4;
        let order = work.terms().order.clone();
        self.at(work.cancel_at, &order);
        match outcome {
            Cancelled::Told(mut report) => {
                if report.reason.is_none() {
                    report.reason.clone_from(&work.cancel);
                }
                self.told(work, &report, Evidence::Answer, at, out);
            }
            Cancelled::Ask(words) => {
                tracing::debug!(order = %order, words, "asked about after a cancel");
                self.plan_ask(work, at, pause);
            }
            Cancelled::NotSent(words, after) => {
                tracing::debug!(order = %order, words, "cancel not sent");
                work.cancel_at = at + after.unwrap_or_default().max(pause);
                self.at(work.cancel_at, &order);
            }
        }
    }

    /// The next pause of a back-off: doubles with each failed attempt.
    fn pause(&self, (first, longest): (Duration, Duration), work: &mut Work) -> Duration {
        let pause = first.saturating_mul(1_u32.checked_shl(work.attempts).unwrap_or(u32::MAX)).min(longest);
        work.attempts = work.attempts.saturating_add(1).min(31);
        pause
    }
}
