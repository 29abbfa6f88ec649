//! The core by tables: what happens, what is decided, what is done.

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::control::{HaltScope, KillSwitch, ResumeCommand};
use spark_bus_schema::market::{Quote, QuoteBatch, Side};
use spark_bus_schema::orders::{Evidence, Fill, OrderEvent, OrderId, OrderIntent, OrderType, TimeInForce, TradingMode};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::{Fixed, InstrumentTable, Message, Timestamp, Venue};

use super::ledger::Ledger;
use super::report::{Cancelled, Lookup, Report, Stand, Submitted};
use super::{Action, Core, Event, Pauses, VenueRules};
use crate::paper::{Account, Desk, FeeTerms};

pub(super) fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub(super) fn ms(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

pub(super) const PAUSES: Pauses = Pauses {
    retry: (Duration::from_millis(100), Duration::from_millis(400)),
    ask: (Duration::from_millis(100), Duration::from_millis(800)),
    window: Duration::from_secs(2),
    poll: Duration::from_secs(1),
};

pub(super) fn verdict(key: &str, side: Side, order_type: OrderType, tif: TimeInForce, price: Option<&str>) -> Verdict {
    let order = OrderId::derive("test", key);
    let intent = OrderIntent {
        order: order.clone(),
        key: key.to_owned(),
        strategy: "test".to_owned(),
        actor: "tests".to_owned(),
        exchange: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        side,
        order_type,
        time_in_force: tif,
        quantity: d("2"),
        limit_price: price.map(d),
        requested_at: ms(0),
        reason: None,
        decided_at: None,
    };
    Verdict {
        order,
        approved: true,
        guard: None,
        reason: "approved".to_owned(),
        intent,
        intent_sequence: 1,
        decided_on: 1,
        decided_at: ms(0),
        expires_at: ms(5_000),
        checks: Vec::new(),
        mark: None,
        limits_sequence: 0,
        position: Decimal::ZERO,
        reserved_buy: Decimal::ZERO,
        reserved_sell: Decimal::ZERO,
    }
}

pub(super) fn limit(key: &str) -> Verdict {
    verdict(key, Side::Buy, OrderType::Limit, TimeInForce::Gtc, Some("100"))
}

pub(super) fn fill(id: &str, price: &str, quantity: &str) -> Fill {
    Fill {
        trade_id: id.to_owned(),
        price: d(price),
        quantity: d(quantity),
        fee: Decimal::ZERO,
        fee_asset: "USDT".to_owned(),
        is_maker: false,
        at: ms(0),
    }
}

pub(super) fn report(stand: Stand, executed: &str, fills: &[(&str, &str)]) -> Report {
    Report {
        exchange_order_id: Some("77".to_owned()),
        stand: Some(stand),
        executed: Some(d(executed)),
        fills: fills.iter().map(|(id, quantity)| fill(id, "100", quantity)).collect(),
        ..Report::default()
    }
}

/// A core with a LEDGER that stores at once, in order, and reads back.
pub(super) struct Stage {
    pub core: Core,
    pub now: Timestamp,
    pub sequence: u64,
    pub stored: BTreeMap<OrderId, Vec<OrderEvent>>,
    pub done: Vec<Action>,
}

impl Stage {
    pub fn new(mode: TradingMode) -> Self {
        Self::with_ledger(mode, Ledger::default())
    }

    pub fn with_ledger(mode: TradingMode, ledger: Ledger) -> Self {
        let table = InstrumentTable::builtin();
        let rules = VenueRules { mode, latency: Duration::ZERO };
        let mut core = Core::new(PAUSES, [(Venue::Binance, rules)], ledger, &table);
        if mode == TradingMode::Paper {
            let account = Account::new(BTreeMap::from([("USDT".to_owned(), d("10000")), ("BTC".to_owned(), d("10"))]));
            let fees = FeeTerms::new(Venue::Binance, d("0.001"), d("0.001"));
            let rows: Vec<_> = table.at(Venue::Binance).cloned().collect();
            core.set_desk(
                Venue::Binance,
                Desk::new(Venue::Binance, fees, Duration::from_secs(60), account, BTreeMap::new(), rows),
            );
        }
        let mut stage = Self { core, now: ms(0), sequence: 100, stored: BTreeMap::new(), done: Vec::new() };
        stage.event(Event::Start);
        stage.event(Event::Ready(Venue::Binance));
        stage.done.clear();
        stage
    }

    pub fn event(&mut self, event: Event) {
        let mut out = Vec::new();
        self.core.apply(self.now, event, &mut out);
        self.act(out);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            let Action::Append { last, event } = action else {
                self.done.push(action);
                continue;
            };
            event.validate().unwrap_or_else(|what| panic!("{what}: {event:?}"));
            let known = self.stored.entry(event.order.clone()).or_default();
            assert_eq!(event.revision, known.len() as u64 + 1);
            assert_eq!(last == 0, known.is_empty());
            known.push((*event).clone());
            self.sequence += 1;
            let (order, revision, sequence) = (event.order.clone(), event.revision, self.sequence);
            self.event(Event::ReadBack { sequence, stored_at: self.now, event });
            self.event(Event::Stored { order, revision, sequence });
        }
    }

    pub fn approve(&mut self, verdict: &Verdict) -> OrderId {
        self.sequence += 1;
        self.event(Event::Verdict { sequence: self.sequence, verdict: Box::new(verdict.clone()) });
        verdict.order.clone()
    }

    pub fn wait(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        while let Some(due) = self.core.next_timer().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.event(Event::Tick);
        }
        self.now = until;
    }

    pub fn quote(&mut self, bid: &str, ask: &str, size: &str) {
        let fixed = |text: &str| Fixed::parse(text).unwrap();
        let quote = Quote {
            update_id: 0,
            received_at: self.now,
            bid_price: fixed(bid),
            bid_quantity: fixed(size),
            ask_price: fixed(ask),
            ask_quantity: fixed(size),
        };
        let mut batch = QuoteBatch::new(Venue::Binance, "BTCUSDT");
        batch.push(&quote).unwrap();
        let mut out = Vec::new();
        self.core.quotes(&batch, self.now, self.now, &mut out);
        self.act(out);
    }

    /// `pending submitted+1 filled+1`: states and, behind a plus, what was filled.
    pub fn history(&self, order: &OrderId) -> String {
        let steps = self.stored.get(order).into_iter().flatten().flat_map(|event| &event.steps);
        let words: Vec<String> = steps
            .map(|step| match &step.fill {
                Some(fill) => format!("{}+{}", step.state, fill.quantity.normalize()),
                None => step.state.to_string(),
            })
            .collect();
        words.join(" ")
    }

    pub fn last_evidence(&self, order: &OrderId) -> Evidence {
        self.stored[order].last().unwrap().steps.last().unwrap().evidence
    }

    /// Forgets the sends, or the queries, that have been answered.
    pub fn answered(&mut self, kind: fn(&Action) -> bool) {
        self.done.retain(|action| !kind(action));
    }

    pub fn take(&mut self) -> Vec<&'static str> {
        self.done
            .drain(..)
            .map(|action| match action {
                Action::Append { .. } => "append",
                Action::Send(_) => "send",
                Action::Cancel(..) => "cancel",
                Action::Ask(..) => "ask",
                Action::Reconcile(..) => "reconcile",
                Action::Illegal(..) => "illegal",
            })
            .collect()
    }
}

fn kill(on: bool, cancel_open: bool) -> Event {
    let command = KillSwitch { on, cancel_open, actor: "me".into(), reason: "test".into(), at: ms(0) };
    Event::Kill { sequence: 7, command: Box::new(command) }
}

#[test]
fn an_order_is_claimed_before_it_is_sent_and_its_answer_is_merged() {
    let mut stage = Stage::new(TradingMode::Live);
    let order = stage.approve(&limit("a"));
    assert_eq!(stage.history(&order), "pending");
    assert_eq!(stage.take(), ["send"]);
    stage.event(Event::Submitted(order.clone(), Submitted::Told(report(Stand::Open, "0.5", &[("1", "0.5")]))));
    assert_eq!(stage.history(&order), "pending submitted partially_filled+0.5");
    stage.event(Event::Told(order.clone(), report(Stand::Filled, "2", &[("1", "0.5"), ("2", "1.5")])));
    assert_eq!(stage.history(&order), "pending submitted partially_filled+0.5 filled+1.5");
    // The same again, and something older: nothing.
    stage.event(Event::Told(order.clone(), report(Stand::Open, "0.5", &[("1", "0.5")])));
    stage.event(Event::Settled(order.clone()));
    assert_eq!(stage.history(&order), "pending submitted partially_filled+0.5 filled+1.5 settled");
    assert!(stage.core.works().next().is_none());
}

#[test]
fn a_lost_answer_is_asked_about_until_the_exchange_answers_and_never_sent_again() {
    let check = |answer: Lookup, after_ms: u64, want: &str| {
        let mut stage = Stage::new(TradingMode::Live);
        let order = stage.approve(&limit("a"));
        stage.take();
        stage.event(Event::Submitted(order.clone(), Submitted::Unknown("cut".into())));
        for _ in 0..4 {
            stage.wait(1_000);
            let asked = stage.take();
            assert!(!asked.contains(&"send"), "{asked:?}");
            if asked.contains(&"ask") {
                stage.event(Event::Looked(order.clone(), Lookup::Failed("away".into(), None)));
                stage.take();
            }
        }
        stage.wait(1_000);
        assert_eq!(stage.take(), ["ask"]);
        stage.wait(after_ms);
        stage.event(Event::Looked(order.clone(), answer));
        stage.wait(10_000);
        assert_eq!(stage.history(&order), want);
        assert!(!stage.take().contains(&"send"));
    };
    check(Lookup::NotFound, 0, "pending unknown rejected");
    check(Lookup::Found(report(Stand::Open, "0", &[])), 0, "pending unknown submitted");
    check(Lookup::Found(report(Stand::Filled, "2", &[("1", "2")])), 0, "pending unknown submitted filled+2");
    check(
        Lookup::Found(report(Stand::Cancelled, "1", &[("1", "1")])),
        0,
        "pending unknown submitted partially_filled+1 cancelled",
    );
}

#[test]
fn not_found_is_no_evidence_while_the_request_may_still_arrive() {
    let mut stage = Stage::new(TradingMode::Live);
    let order = stage.approve(&limit("a"));
    stage.event(Event::Submitted(order.clone(), Submitted::Unknown("cut".into())));
    stage.wait(200);
    stage.event(Event::Looked(order.clone(), Lookup::NotFound));
    assert_eq!(stage.history(&order), "pending unknown");
    stage.take();
    stage.wait(1_700);
    assert_eq!(stage.take(), Vec::<&str>::new());
    stage.wait(200);
    assert_eq!(stage.take(), ["ask"]);
    stage.event(Event::Looked(order.clone(), Lookup::NotFound));
    assert_eq!((stage.history(&order).as_str(), stage.last_evidence(&order)), ("pending unknown rejected", Evidence::Query));
}

#[test]
fn orders_of_a_key_wait_while_one_of_it_is_unknown_and_others_do_not() {
    let mut stage = Stage::new(TradingMode::Live);
    let first = stage.approve(&limit("a"));
    stage.event(Event::Submitted(first.clone(), Submitted::Unknown("cut".into())));
    stage.take();
    let second = stage.approve(&limit("b"));
    let mut other = limit("c");
    other.intent.symbol = "ETHUSDT".to_owned();
    stage.approve(&other);
    assert_eq!((stage.history(&second).as_str(), stage.take()), ("", vec!["send"]));
    stage.event(Event::Looked(first, Lookup::Found(report(Stand::Open, "0", &[]))));
    assert_eq!((stage.history(&second).as_str(), stage.take()), ("pending", vec!["send"]));
}

#[test]
fn what_waits_too_long_expires_unsent() {
    let mut stage = Stage::new(TradingMode::Live);
    let first = stage.approve(&limit("a"));
    stage.event(Event::Submitted(first, Submitted::Unknown("cut".into())));
    let second = stage.approve(&limit("b"));
    stage.wait(6_000);
    assert_eq!((stage.history(&second).as_str(), stage.last_evidence(&second)), ("pending expired", Evidence::NeverSent));
    // Never sent, however often it is tried.
    let mut stage = Stage::new(TradingMode::Live);
    let order = stage.approve(&limit("c"));
    let mut sends = 0;
    for _ in 0..60 {
        if stage.take().contains(&"send") {
            sends += 1;
            stage.event(Event::Submitted(order.clone(), Submitted::NotSent("breaker".into(), None)));
        }
        stage.wait(100);
    }
    assert!(sends > 5, "{sends}");
    assert_eq!((stage.history(&order).as_str(), stage.last_evidence(&order)), ("pending expired", Evidence::NeverSent));
}

#[test]
fn nothing_is_sent_after_the_kill_switch_and_open_orders_are_cancelled_when_asked() {
    let mut stage = Stage::new(TradingMode::Live);
    let open = stage.approve(&limit("a"));
    stage.event(Event::Submitted(open.clone(), Submitted::Told(report(Stand::Open, "0", &[]))));
    let retrying = stage.approve(&limit("b"));
    stage.event(Event::Submitted(retrying.clone(), Submitted::NotSent("breaker".into(), None)));
    stage.take();
    stage.event(kill(true, true));
    assert_eq!(stage.take(), ["cancel"]);
    assert_eq!((stage.history(&retrying).as_str(), stage.last_evidence(&retrying)), ("pending cancelled", Evidence::NeverSent));
    let late = stage.approve(&limit("c"));
    assert_eq!((stage.history(&late).as_str(), stage.take()), ("pending cancelled", vec![]));
    stage.event(Event::Cancelled(open.clone(), Cancelled::Told(report(Stand::Cancelled, "0", &[]))));
    assert_eq!(stage.history(&open), "pending submitted cancelled");
    stage.event(kill(false, false));
    let again = stage.approve(&limit("d"));
    assert_eq!((stage.history(&again).as_str(), stage.take()), ("pending", vec!["send"]));
}

#[test]
fn a_cancel_is_repeated_until_the_order_is_final_and_a_fill_in_between_counts() {
    let mut stage = Stage::new(TradingMode::Live);
    let order = stage.approve(&limit("a"));
    stage.event(Event::Submitted(order.clone(), Submitted::Told(report(Stand::Open, "0", &[]))));
    stage.event(Event::UserData(Venue::Binance, true));
    stage.event(Event::Looked(order.clone(), Lookup::Found(report(Stand::Open, "0", &[]))));
    stage.take();
    stage.event(Event::Cancel { order: order.clone(), words: "me".into() });
    assert_eq!(stage.take(), ["cancel"]);
    stage.event(Event::Cancelled(order.clone(), Cancelled::Ask("requested".into())));
    stage.wait(150);
    assert!(stage.take().contains(&"ask"));
    stage.event(Event::Looked(order.clone(), Lookup::Found(report(Stand::Open, "0.5", &[("1", "0.5")]))));
    stage.wait(3_000);
    let done = stage.take();
    assert!(done.contains(&"cancel") && done.contains(&"ask"), "{done:?}");
    stage.event(Event::Told(order.clone(), report(Stand::Cancelled, "0.5", &[])));
    assert_eq!(stage.history(&order), "pending submitted partially_filled+0.5 cancelled");
    // Before it is sent, nothing is sent.
    let early = OrderId::derive("test", "early");
    stage.event(Event::Cancel { order: early.clone(), words: "me".into() });
    stage.take();
    stage.approve(&limit("early"));
    assert_eq!((stage.history(&early).as_str(), stage.take()), ("pending cancelled", vec![]));
}

#[test]
fn an_end_is_not_written_down_before_every_trade_of_it_is_known() {
    let mut stage = Stage::new(TradingMode::Live);
    let order = stage.approve(&limit("a"));
    stage.event(Event::Submitted(order.clone(), Submitted::Told(report(Stand::Open, "0", &[]))));
    stage.event(Event::UserData(Venue::Binance, true));
    stage.wait(100);
    stage.take();
    stage.event(Event::Looked(order.clone(), Lookup::Found(report(Stand::Open, "0", &[]))));
    // The event of trade 1 was missed.
    stage.event(Event::Told(order.clone(), report(Stand::Cancelled, "1.5", &[("2", "0.5")])));
    assert_eq!((stage.history(&order).as_str(), stage.take()), ("pending submitted partially_filled+0.5", vec!["ask"]));
    let all = report(Stand::Cancelled, "1.5", &[("1", "1"), ("2", "0.5")]);
    stage.event(Event::Looked(order.clone(), Lookup::Found(all)));
    assert_eq!(stage.history(&order), "pending submitted partially_filled+0.5 partially_filled+1 cancelled");
}

#[test]
fn an_order_that_the_exchange_lost_stays_unknown_until_a_person_resumes() {
    let mut stage = Stage::new(TradingMode::Live);
    let order = stage.approve(&limit("a"));
    stage.event(Event::Submitted(order.clone(), Submitted::Told(report(Stand::Open, "0", &[]))));
    stage.wait(4_000);
    stage.take();
    stage.event(Event::Looked(order.clone(), Lookup::NotFound));
    assert_eq!((stage.history(&order).as_str(), stage.take()), ("pending submitted unknown", vec!["reconcile"]));
    stage.wait(2_000);
    stage.event(Event::Looked(order.clone(), Lookup::NotFound));
    assert_eq!(stage.history(&order), "pending submitted unknown");
    let scope = HaltScope::Exchange(Venue::Binance);
    let command = ResumeCommand { scope, actor: "me".into(), reason: "seen".into(), at: ms(0) };
    stage.event(Event::Resume(Box::new(command)));
    stage.wait(2_000);
    stage.event(Event::Looked(order.clone(), Lookup::NotFound));
    assert_eq!(stage.history(&order), "pending submitted unknown cancelled");
}

#[test]
fn a_client_id_used_again_by_another_exchange_order_is_an_orphan_and_not_ours() {
    let mut stage = Stage::new(TradingMode::Live);
    let order = stage.approve(&limit("a"));
    stage.event(Event::Submitted(order.clone(), Submitted::Told(report(Stand::Open, "0", &[]))));
    stage.take();
    let other = Report { exchange_order_id: Some("78".into()), ..report(Stand::Filled, "2", &[("9", "2")]) };
    stage.event(Event::Told(order.clone(), other));
    assert_eq!((stage.history(&order).as_str(), stage.take()), ("pending submitted", vec!["illegal", "reconcile"]));
}

#[test]
fn a_restart_asks_about_everything_claimed_before_it_sends_anything() {
    let mut stage = Stage::new(TradingMode::Live);
    let claimed = stage.approve(&limit("a"));
    let open = stage.approve(&limit("b"));
    stage.event(Event::Submitted(open.clone(), Submitted::Told(report(Stand::Open, "0", &[]))));
    let bytes = rmp_serde::to_vec_named(stage.core.ledger()).unwrap();
    let ledger: Ledger = rmp_serde::from_slice(&bytes).unwrap();
    let rules = VenueRules { mode: TradingMode::Live, latency: Duration::ZERO };
    let core = Core::new(PAUSES, [(Venue::Binance, rules)], ledger, &InstrumentTable::builtin());
    let mut stage = Stage { core, now: ms(1_000), sequence: 1_000, stored: stage.stored, done: Vec::new() };
    stage.event(Event::Start);
    assert_eq!(stage.take(), ["ask", "ask", "reconcile"]);
    stage.event(Event::Ready(Venue::Binance));
    let fresh = stage.approve(&limit("c"));
    assert_eq!((stage.history(&fresh).as_str(), stage.take()), ("", vec![]));
    stage.event(Event::Looked(open, Lookup::Found(report(Stand::Open, "0", &[]))));
    stage.event(Event::Looked(claimed.clone(), Lookup::NotFound));
    assert_eq!(stage.history(&claimed), "pending", "the former holder's request may still arrive");
    stage.take();
    stage.wait(1_000);
    stage.event(Event::Looked(claimed.clone(), Lookup::NotFound));
    assert_eq!((stage.history(&claimed).as_str(), stage.history(&fresh).as_str()), ("pending rejected", "pending"));
    assert!(stage.take().contains(&"send"));
}

#[test]
fn another_writers_events_are_adopted_and_the_exchange_is_asked() {
    let mut stage = Stage::new(TradingMode::Live);
    let order = limit("a").order;
    // Our claim is on its way when another holder's has been stored.
    let mut out = Vec::new();
    stage.core.apply(stage.now, Event::Verdict { sequence: 101, verdict: Box::new(limit("a")) }, &mut out);
    let Some(Action::Append { event, .. }) = out.pop() else { panic!("{out:?}") };
    stage.event(Event::Conflict { order: order.clone(), end: 120 });
    assert_eq!(stage.take(), Vec::<&str>::new());
    stage.event(Event::ReadBack { sequence: 120, stored_at: stage.now, event });
    assert_eq!(stage.take(), ["ask"]);
    assert_eq!(stage.core.appends_in_flight(), 0);
}

#[test]
fn a_paper_order_is_one_event() {
    let mut stage = Stage::new(TradingMode::Paper);
    stage.quote("99", "100", "5");
    let order = stage.approve(&verdict("a", Side::Buy, OrderType::Market, TimeInForce::Ioc, None));
    assert_eq!((stage.history(&order).as_str(), stage.stored[&order].len()), ("pending submitted filled+2", 1));
    // 5 were offered, 2 are gone: 2 + 1 are left for two more.
    stage.approve(&verdict("b", Side::Buy, OrderType::Market, TimeInForce::Ioc, None));
    let short = stage.approve(&verdict("c", Side::Buy, OrderType::Market, TimeInForce::Ioc, None));
    assert_eq!(stage.history(&short), "pending submitted partially_filled+1 expired");
    let killed = stage.approve(&verdict("d", Side::Buy, OrderType::Market, TimeInForce::Fok, None));
    assert_eq!(stage.history(&killed), "pending submitted expired");
}

#[test]
fn resting_paper_orders_fill_as_quotes_cross_and_survive_a_restart() {
    let mut stage = Stage::new(TradingMode::Paper);
    stage.quote("99", "101", "1");
    let order = stage.approve(&limit("a"));
    assert_eq!(stage.history(&order), "pending submitted");
    stage.quote("99", "100", "0.5");
    let ledger: Ledger = rmp_serde::from_slice(&rmp_serde::to_vec_named(stage.core.ledger()).unwrap()).unwrap();
    let (stored, sequence) = (std::mem::take(&mut stage.stored), stage.sequence);
    let mut stage = Stage { stored, sequence, ..Stage::with_ledger(TradingMode::Paper, ledger) };
    stage.quote("99", "100", "0.5");
    assert_eq!(stage.core.work(&order).unwrap().facts.filled, d("0.5"), "what was taken stays taken");
    stage.now = ms(1);
    stage.quote("98", "99", "0.5");
    stage.quote("98", "99", "0.5");
    stage.quote("98", "99", "0.7");
    stage.event(Event::Cancel { order: order.clone(), words: "me".into() });
    assert_eq!(
        stage.history(&order),
        "pending submitted partially_filled+0.5 partially_filled+0.5 partially_filled+0.7 cancelled"
    );
    let ids: Vec<&str> = stage.stored[&order]
        .iter()
        .flat_map(|event| &event.steps)
        .filter_map(|step| Some(step.fill.as_ref()?.trade_id.as_str()))
        .collect();
    assert_eq!(ids.iter().map(|id| id.rsplit_once('-').unwrap().1).collect::<Vec<_>>(), ["1", "2", "3"]);
}

mod random;

#[test]
fn filled_orders_that_are_never_settled_are_let_go() {
    use super::ledger::UNSETTLED_MAX;
    let mut stage = Stage::new(TradingMode::Live);
    for number in 0..UNSETTLED_MAX + 5 {
        let order = stage.approve(&limit(&format!("k{number}")));
        let fills = [(format!("t{number}"), "2")];
        let fills = fills.each_ref().map(|(id, quantity)| (id.as_str(), *quantity));
        stage.event(Event::Submitted(order.clone(), Submitted::Told(report(Stand::Filled, "2", &fills))));
        assert!(stage.history(&order).ends_with("filled+2"), "{}", stage.history(&order));
    }
    assert_eq!(stage.core.works().count(), UNSETTLED_MAX);
    assert_eq!(stage.core.ledger().unsettled.len(), UNSETTLED_MAX);
}

mod record;
