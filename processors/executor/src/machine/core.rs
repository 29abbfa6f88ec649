//! The core: all orders in hand, all exchanges, and what each event makes of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use spark_bus_schema::control::HaltScope;
use spark_bus_schema::orders::{Evidence, OrderEvent, OrderId, OrderState, TradingMode};
use spark_bus_schema::{Instrument, InstrumentTable, Timestamp, Venue};

use super::facts::{Facts, Illegal, Key};
use super::ledger::Ledger;
use super::report::Report;
use super::work::{Sent, Work};
use super::{Action, Event, Pauses, VenueRules};
use crate::paper::Desk;
use crate::paper::market::Market;
use crate::reconcile::Ours;

/// One exchange in hand.
#[derive(Debug)]
pub(super) struct Place {
    pub rules: VenueRules,
    /// Orders may be sent: the comparison since the last start, reconnect or resume found nothing wrong.
    pub ready: bool,
    /// Why it cannot be traded on at all, e.g. a key without permission.
    pub unusable: Option<String>,
    pub user_data: bool,
    pub desk: Option<Desk>,
    /// Books that were read before there was a desk.
    pub early: Market,
    /// Orders that wait until it is ready.
    pub waiting: VecDeque<OrderId>,
    /// Orders that wait until FEED has been read past their moment, in the order of the moments.
    pub reading: BTreeMap<(Timestamp, u64), OrderId>,
}

/// Everything in hand.
#[derive(Debug)]
pub struct Core {
    pub(super) pauses: Pauses,
    pub(super) places: BTreeMap<Venue, Place>,
    pub(super) works: HashMap<OrderId, Work>,
    /// Orders of each key of which nobody knows whether the exchange has them.
    pub(super) unresolved: HashMap<Key, usize>,
    /// Orders that wait for those.
    pub(super) blocked: HashMap<Key, VecDeque<OrderId>>,
    pub(super) ledger: Ledger,
    instruments: HashMap<(Venue, String), Instrument>,
    timers: BinaryHeap<Reverse<(Timestamp, u64, OrderId)>>,
    timer_number: u64,
    in_flight: usize,
    pub(super) started: bool,
}

impl Core {
    /// A core that goes on from what the LEDGER said. Desks are those of paper exchanges.
    #[must_use]
    pub fn new(
        pauses: Pauses,
        venues: impl IntoIterator<Item = (Venue, VenueRules)>,
        ledger: Ledger,
        instruments: &InstrumentTable,
    ) -> Self {
        let place = |rules| Place {
            rules,
            ready: false,
            unusable: None,
            user_data: false,
            desk: None,
            early: Market::default(),
            waiting: VecDeque::new(),
            reading: BTreeMap::new(),
        };
        let all = Venue::ALL.into_iter().flat_map(|venue| instruments.at(venue));
        Self {
            pauses,
            places: venues.into_iter().map(|(venue, rules)| (venue, place(rules))).collect(),
            works: HashMap::new(),
            unresolved: HashMap::new(),
            blocked: HashMap::new(),
            ledger,
            instruments: all.map(|row| ((row.venue, row.symbol.clone()), row.clone())).collect(),
            timers: BinaryHeap::new(),
            timer_number: 0,
            in_flight: 0,
            started: false,
        }
    }

    /// What the LEDGER says.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Orders in hand.
    pub fn works(&self) -> impl Iterator<Item = &Work> {
        self.works.values()
    }

    /// One order in hand.
    #[must_use]
    pub fn work(&self, order: &OrderId) -> Option<&Work> {
        self.works.get(order)
    }

    /// Events on their way to the LEDGER.
    #[must_use]
    pub fn appends_in_flight(&self) -> usize {
        self.in_flight
    }

    /// Why nothing may be sent to an exchange, if so.
    #[must_use]
    pub fn stopped(&self, venue: Venue) -> Option<String> {
        let halt = self.ledger.halt.as_ref().map(|reason| format!("trading is halted: {reason}"));
        let halts = || self.ledger.halts.get(&venue).map(|reason| format!("trading on {venue} is halted: {reason}"));
        let unusable = || self.places.get(&venue).and_then(|place| place.unusable.clone());
        self.ledger.kill.as_ref().map(|kill| kill.words.clone()).or(halt).or_else(halts).or_else(unusable)
    }

    /// Whether trading on an exchange is halted until a person resumes it.
    #[must_use]
    pub fn is_halted(&self, venue: Venue) -> bool {
        self.ledger.halt.is_some() || self.ledger.halts.contains_key(&venue)
    }

    /// Whether nothing may be sent to an exchange.
    #[must_use]
    pub fn is_stopped(&self, venue: Venue) -> bool {
        self.ledger.kill.is_some()
            || self.ledger.halt.is_some()
            || self.ledger.halts.contains_key(&venue)
            || self.places.get(&venue).is_none_or(|place| place.unusable.is_some())
    }

    /// The order that an exchange knows by this id. Looks at every order in hand: for the rare frame that does not tell
    /// the client id.
    #[must_use]
    pub fn by_exchange_id(&self, venue: Venue, exchange_order_id: &str) -> Option<OrderId> {
        let found = self.works.iter().find(|(_, work)| {
            work.terms().exchange == venue && work.facts.exchange_order_id.as_deref() == Some(exchange_order_id)
        });
        found.map(|(order, _)| order.clone())
    }

    /// What the LEDGER and the orders in hand say about an exchange, to be compared with what it says itself.
    #[must_use]
    pub fn ours(&self, venue: Venue) -> Ours {
        let mode = self.places.get(&venue).map_or(TradingMode::Paper, |place| place.rules.mode);
        let moved = self.ledger.account(venue, mode).cloned().unwrap_or_default();
        let positions = self.ledger.book.totals_in(venue, mode);
        let mut ours = Ours {
            changes: moved.changes,
            fills: moved.fills,
            baseline: moved.baseline,
            positions: positions.map(|(symbol, position)| (symbol.to_owned(), position.clone())).collect(),
            ..Ours::default()
        };
        for work in self.works.values().filter(|work| work.terms().exchange == venue && work.facts.mode == Some(mode)) {
            let id = work.terms().order.client_id();
            if work.lost {
                ours.lost.insert(id);
            } else if !work.facts.is_final() && (matches!(work.sent, Sent::InFlight | Sent::Maybe) || work.given_up.is_some()) {
                ours.uncertain.insert(id);
            } else if work.sent == Sent::Yes && !work.facts.is_final() {
                ours.asked += usize::from(work.asking);
                ours.open.insert(id);
            }
        }
        ours
    }

    /// When [`Event::Tick`] is due next.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.timers.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Takes in one event; what to do is appended to `out`.
    pub fn apply(&mut self, at: Timestamp, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Verdict { sequence, verdict } => match self.ledger.verdict(sequence, &verdict) {
                Ok(true) if self.started => self.take_on(&verdict.order, at, out),
                Ok(_) => {}
                Err(illegal) => out.push(Action::Illegal(verdict.order.clone(), format!("verdict {sequence}: {illegal}"))),
            },
            Event::ReadBack { sequence, stored_at, event } => self.read_back(sequence, stored_at, &event, at, out),
            Event::Stored { order, revision, sequence } => self.stored(&order, revision, sequence, at, out),
            Event::Conflict { order, end } => self.conflict(&order, end, at, out),
            Event::Cancel { order, words } => self.cancel(&order, &words, at, out),
            Event::Kill { sequence, command } => self.kill(sequence, &command, at, out),
            Event::Halt { scope, reason } => self.halt(&scope, reason, at, out),
            Event::Resume(command) => self.resume(&command, at, out),
            Event::Registered(strategy) => self.ledger.registered(&strategy),
            Event::Reconciled(reconciliation) => {
                self.ledger.reconciled(&reconciliation);
                if reconciliation.halted.is_some() {
                    self.advance_all(Some(reconciliation.exchange), at, out);
                }
            }
            Event::Start => self.start(at, out),
            Event::Ready(venue) => self.ready(venue, at, out),
            Event::Unusable(venue, reason) => {
                if let Some(place) = self.places.get_mut(&venue) {
                    place.unusable = reason;
                }
                self.advance_all(Some(venue), at, out);
            }
            Event::Submitted(order, outcome) => {
                self.with(&order, at, out, |core, work, out| core.submitted(work, outcome, at, out));
            }
            Event::Cancelled(order, outcome) => {
                self.with(&order, at, out, |core, work, out| core.cancelled(work, outcome, at, out));
            }
            Event::Looked(order, outcome) => {
                self.with(&order, at, out, |core, work, out| core.looked(work, outcome, at, out));
            }
            Event::Told(order, report) => {
                self.with(&order, at, out, |core, work, out| {
                    core.told(work, &report, Evidence::UserData, at, out);
                });
            }
            Event::UserData(venue, up) => self.user_data(venue, up, at, out),
            Event::Doubt(order) => self.with(&order, at, out, |core, work, _| {
                if matches!(work.sent, Sent::Yes | Sent::Maybe) && work.facts.mode == Some(TradingMode::Live) {
                    core.plan_ask(work, at, Duration::ZERO);
                }
            }),
            Event::Hold(venue) => {
                if let Some(place) = self.places.get_mut(&venue) {
                    place.ready = false;
                }
            }
            Event::Settled(order) => self.with(&order, at, out, |_, work, out| {
                if work.facts.state == Some(OrderState::Filled) {
                    let evidence = if work.facts.mode == Some(TradingMode::Paper) { Evidence::Paper } else { Evidence::Query };
                    decide(work, OrderState::Settled, evidence, None, at, out);
                }
            }),
            Event::Tick => self.tick(at, out),
        }
    }

    /// Runs `act` on one order, then whatever follows from it.
    pub(super) fn with(
        &mut self,
        order: &OrderId,
        at: Timestamp,
        out: &mut Vec<Action>,
        act: impl FnOnce(&mut Self, &mut Work, &mut Vec<Action>),
    ) {
        let Some(mut work) = self.works.remove(order) else { return };
        act(self, &mut work, out);
        if work.adopting.is_none() {
            self.advance(&mut work, at, out);
        }
        self.flush(&mut work, out);
        let unresolved = work.is_unresolved();
        let key = (unresolved != work.counted_unresolved).then(|| work.terms().key());
        work.counted_unresolved = unresolved;
        // Kept until everything is stored; a filled order until it is settled.
        let keep = !work.is_stored()
            || work.adopting.is_some()
            || !work.facts.is_final()
            || (work.facts.state == Some(OrderState::Filled) && self.ledger.last_sequence(order).is_some());
        if keep {
            self.works.insert(order.clone(), work);
        }
        if let Some(key) = key {
            self.count_unresolved(key, unresolved, at, out);
        }
    }

    fn count_unresolved(&mut self, key: Key, unresolved: bool, at: Timestamp, out: &mut Vec<Action>) {
        let count = self.unresolved.entry(key.clone()).or_default();
        *count = if unresolved { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.unresolved.remove(&key);
            for order in self.blocked.remove(&key).unwrap_or_default() {
                self.wake(&order, at, out);
            }
        }
    }

    /// What follows from an order as it is now.
    fn advance(&mut self, work: &mut Work, at: Timestamp, out: &mut Vec<Action>) {
        if work.facts.is_final() {
            return;
        }
        match work.sent {
            Sent::No => self.before_send(work, at, out),
            Sent::InFlight => {}
            Sent::Maybe => self.ask_when_due(work, at, out),
            Sent::Yes => {
                self.cancel_when_due(work, at, out);
                // Nobody tells what happens to it: ask now and then.
                let is_live = work.facts.mode == Some(TradingMode::Live);
                if is_live && !work.asking && work.ask_at.is_none() && !self.is_told(work.terms().exchange) {
                    self.plan_ask(work, at, self.pauses.poll);
                }
                self.ask_when_due(work, at, out);
            }
        }
    }

    pub(super) fn flush(&mut self, work: &mut Work, out: &mut Vec<Action>) {
        if work.adopting.is_some() {
            return;
        }
        if let Some((last, event)) = work.next_event() {
            self.in_flight += 1;
            out.push(Action::Append { last, event: Box::new(event) });
        }
    }

    /// Sets a timer for an order.
    pub(super) fn at(&mut self, when: Timestamp, order: &OrderId) {
        self.timer_number += 1;
        self.timers.push(Reverse((when, self.timer_number, order.clone())));
    }

    pub(super) fn wake(&mut self, order: &OrderId, at: Timestamp, out: &mut Vec<Action>) {
        self.with(order, at, out, |_, work, _| work.waiting = false);
    }

    fn tick(&mut self, at: Timestamp, out: &mut Vec<Action>) {
        while let Some(Reverse((due, _, _))) = self.timers.peek() {
            if *due > at {
                return;
            }
            let Some(Reverse((_, _, order))) = self.timers.pop() else { return };
            self.with(&order, at, out, |_, _, _| {});
        }
    }

    /// An approval read after the start.
    fn take_on(&mut self, order: &OrderId, at: Timestamp, out: &mut Vec<Action>) {
        let Some(facts) = self.ledger.facts(order) else { return };
        let work = self.resumed(facts, at);
        self.works.insert(order.clone(), work);
        self.with(order, at, out, |_, _, _| {});
    }

    /// Everything stored has been read: orders that may be at an exchange are asked about first.
    fn start(&mut self, at: Timestamp, out: &mut Vec<Action>) {
        self.started = true;
        let mut orders: Vec<Facts> = self.ledger.book.open().map(Facts::of).collect();
        orders.extend(self.ledger.unsettled.values().cloned());
        orders.sort_by_key(|facts| facts.terms.verdict_sequence);
        let ids: Vec<OrderId> = orders.iter().map(|facts| facts.terms.order.clone()).collect();
        for facts in orders {
            let work = self.resumed(facts, at);
            self.works.insert(work.terms().order.clone(), work);
        }
        // Counted before anything moves, so that an approval does not slip past an unknown order of its key.
        for order in &ids {
            if let Some(work) = self.works.get_mut(order)
                && work.is_unresolved()
            {
                work.counted_unresolved = true;
                *self.unresolved.entry(work.terms().key()).or_default() += 1;
            }
        }
        for order in &ids {
            self.with(order, at, out, |_, _, _| {});
        }
        let venues: Vec<Venue> = self.places.keys().copied().collect();
        for venue in venues {
            out.push(Action::Reconcile(venue, "start"));
            // Orders that rested before meet quotes that were read before there was a desk.
            let desk = self.places.get_mut(&venue).and_then(|place| place.desk.as_mut());
            for (order, report) in desk.map(|desk| desk.match_all(at)).unwrap_or_default() {
                self.with(&order, at, out, |core, work, out| core.told(work, &report, Evidence::Paper, at, out));
            }
        }
    }

    /// An order as a new holder finds it.
    fn resumed(&mut self, facts: Facts, at: Timestamp) -> Work {
        let words = self.ledger.cancels.get(&facts.terms.order).cloned();
        let is_paper = facts.mode == Some(TradingMode::Paper);
        let sent = match facts.state {
            None => Sent::No,
            // Paper orders exist in the LEDGER alone: a claim without more was never traded.
            Some(OrderState::Pending) if is_paper => Sent::No,
            _ if is_paper => Sent::Yes,
            Some(OrderState::Filled) => Sent::Yes,
            Some(_) => Sent::Maybe,
        };
        if is_paper
            && sent == Sent::Yes
            && !facts.is_final()
            && let Some(desk) = self.places.get_mut(&facts.terms.exchange).and_then(|place| place.desk.as_mut())
        {
            desk.restore(&facts);
        }
        let mut work = Work::new(facts, sent);
        work.cancel = words;
        if sent == Sent::Maybe {
            work.ask_at = Some(at);
        }
        work
    }

    fn read_back(&mut self, sequence: u64, stored_at: Timestamp, event: &OrderEvent, at: Timestamp, out: &mut Vec<Action>) {
        let instrument = self.instruments.get(&(event.exchange, event.symbol.clone()));
        match self.ledger.event(sequence, stored_at, event, instrument) {
            Ok(None) => {}
            // Looked at again, it goes: nothing keeps it any more.
            Ok(Some(given_up)) => self.with(&given_up, at, out, |_, _, _| {}),
            Err(illegal) => {
                out.push(Action::Illegal(event.order.clone(), format!("stored event {sequence}: {illegal}")));
            }
        }
        if !self.started {
            return;
        }
        let Some(work) = self.works.get_mut(&event.order) else { return };
        match work.adopting {
            // Not ours: another holder has been here.
            None if event.revision > work.facts.revision => work.adopting = Some(sequence),
            Some(end) if sequence >= end => {}
            Some(_) => return,
            None => {
                if work.facts.is_final() {
                    self.with(&event.order, at, out, |_, _, _| {});
                }
                return;
            }
        }
        self.adopt(&event.order, at, out);
    }

    fn stored(&mut self, order: &OrderId, revision: u64, sequence: u64, at: Timestamp, out: &mut Vec<Action>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.with(order, at, out, |_, work, _| {
            work.stored(revision, sequence, at);
        });
    }

    fn conflict(&mut self, order: &OrderId, end: u64, at: Timestamp, out: &mut Vec<Action>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(work) = self.works.get_mut(order) else { return };
        if end < work.facts.sequence {
            let reason = format!("the LEDGER has lost its end: {order} ends at {end} instead of {}", work.facts.sequence);
            self.halt(&HaltScope::Ledger, reason, at, out);
            return;
        }
        work.adopting = Some(end);
        let read = self.ledger.last_sequence(order).unwrap_or(u64::MAX);
        if read >= end {
            self.adopt(order, at, out);
        }
    }

    /// Another writer's events have been read: what was decided here is void, and the exchange is asked.
    fn adopt(&mut self, order: &OrderId, at: Timestamp, out: &mut Vec<Action>) {
        let Some(old) = self.works.remove(order) else { return };
        if old.counted_unresolved {
            self.count_unresolved(old.terms().key(), false, at, out);
        }
        let Some(facts) = self.ledger.facts(order) else { return };
        let mut work = self.resumed(facts, at);
        work.cancel = work.cancel.take().or(old.cancel);
        self.works.insert(order.clone(), work);
        self.with(order, at, out, |_, _, _| {});
    }

    pub(super) fn advance_all(&mut self, venue: Option<Venue>, at: Timestamp, out: &mut Vec<Action>) {
        if !self.started {
            return;
        }
        let orders: Vec<OrderId> = self
            .works
            .iter()
            .filter(|(_, work)| venue.is_none_or(|venue| work.terms().exchange == venue))
            .map(|(order, _)| order.clone())
            .collect();
        for order in orders {
            self.with(&order, at, out, |_, _, _| {});
        }
    }

    /// Whether the user data stream tells what happens at an exchange.
    pub(super) fn is_told(&self, venue: Venue) -> bool {
        self.places.get(&venue).is_some_and(|place| place.user_data)
    }

    /// Merges a report; what cannot be is refused, reported and followed by a comparison with the exchange.
    pub(super) fn told(&mut self, work: &mut Work, report: &Report, evidence: Evidence, at: Timestamp, out: &mut Vec<Action>) {
        if work.adopting.is_some() {
            return;
        }
        let known = work.facts.exchange_order_id.as_ref().zip(report.exchange_order_id.as_ref());
        if let Some((ours, theirs)) = known.filter(|(ours, theirs)| ours != theirs) {
            let what = format!("told about exchange order {theirs}, but {ours} is this order: its client id was used again");
            out.push(Action::Illegal(work.terms().order.clone(), what));
            out.push(Action::Reconcile(work.terms().exchange, "orphan"));
            return;
        }
        match work.merge(report, evidence, at) {
            Ok(missing) => {
                if !work.facts.is_final() && (report.stand.is_some() || !report.fills.is_empty()) {
                    work.sent = Sent::Yes;
                    work.lost = false;
                }
                if missing {
                    self.plan_ask(work, at, Duration::ZERO);
                }
            }
            Err(illegal) => {
                refuse(work, &illegal, out);
                if evidence != Evidence::Paper {
                    out.push(Action::Reconcile(work.terms().exchange, "illegal"));
                }
            }
        }
    }

    /// Asks no later than after this pause.
    pub(super) fn plan_ask(&mut self, work: &mut Work, at: Timestamp, pause: Duration) {
        let when = at + pause;
        if work.ask_at.is_none_or(|planned| planned > when) {
            work.ask_at = Some(when);
            self.at(when, &work.terms().order.clone());
        }
    }

    fn ask_when_due(&mut self, work: &mut Work, at: Timestamp, out: &mut Vec<Action>) {
        if work.asking || work.facts.mode != Some(TradingMode::Live) || work.ask_at.is_none_or(|due| due > at) {
            return;
        }
        work.ask_at = None;
        work.asking = true;
        out.push(Action::Ask(Arc::clone(work.terms()), work.facts.exchange_order_id.clone()));
    }
}

pub(super) fn refuse(work: &Work, illegal: &Illegal, out: &mut Vec<Action>) {
    out.push(Action::Illegal(work.terms().order.clone(), illegal.to_string()));
}

/// Decides one step; one that is refused is reported.
pub(super) fn decide(
    work: &mut Work,
    state: OrderState,
    evidence: Evidence,
    reason: Option<String>,
    at: Timestamp,
    out: &mut Vec<Action>,
) {
    if let Err(illegal) = work.push(state, evidence, reason, at, None) {
        refuse(work, &illegal, out);
    }
}
