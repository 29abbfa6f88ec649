//! Tables over what the view keeps of orders: what stays, what goes, what counts.

use bytes::Bytes;
use spark_bus_schema::audit::{AuditDamage, DamageKind};
use spark_bus_schema::control::ResumeCommand;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{Evidence, OrderEvent, OrderIntent, OrderState, OrderType, Step, TimeInForce, TradingMode};
use spark_bus_schema::risk::Guard as RiskGuard;
use spark_bus_schema::{Decimal, Message, encode};

use super::*;

fn at(sequence: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + i64::try_from(sequence).unwrap())
}

fn entry<T: Message>(sequence: u64, message: &T, record: Record) -> Entry {
    Entry { sequence, kind: T::KIND.to_string(), payload: Bytes::from(encode(message)), record }
}

fn intent(key: &str) -> OrderIntent {
    OrderIntent {
        order: OrderId::derive("manual", key),
        key: key.into(),
        strategy: "manual".into(),
        actor: "operator".into(),
        exchange: Venue::Binance,
        symbol: "BTCUSDT".into(),
        side: Side::Buy,
        order_type: OrderType::Market,
        time_in_force: TimeInForce::Ioc,
        quantity: Decimal::ONE,
        limit_price: None,
        requested_at: at(0),
        reason: None,
        decided_at: None,
    }
}

fn verdict(intent: &OrderIntent, sequence: u64, guard: Option<RiskGuard>) -> Verdict {
    Verdict {
        order: intent.order.clone(),
        approved: guard.is_none(),
        guard,
        reason: "r".into(),
        intent: intent.clone(),
        intent_sequence: sequence,
        decided_on: sequence,
        decided_at: at(sequence),
        expires_at: at(sequence),
        checks: Vec::new(),
        mark: None,
        limits_sequence: 0,
        position: Decimal::ZERO,
        reserved_buy: Decimal::ZERO,
        reserved_sell: Decimal::ZERO,
    }
}

fn event(intent: &OrderIntent, revision: u64, states: &[OrderState]) -> OrderEvent {
    let step = |state: &OrderState| Step { state: *state, evidence: Evidence::Answer, reason: None, at: at(0), fill: None };
    OrderEvent {
        order: intent.order.clone(),
        revision,
        verdict_sequence: 2,
        mode: TradingMode::Paper,
        exchange: intent.exchange,
        symbol: intent.symbol.clone(),
        strategy: intent.strategy.clone(),
        side: intent.side,
        quantity: intent.quantity,
        client_order_id: intent.order.client_id(),
        exchange_order_id: None,
        steps: states.iter().map(step).collect(),
        filled: Decimal::ZERO,
        filled_quote: Decimal::ZERO,
    }
}

#[test]
fn open_orders_stay_and_of_the_others_the_oldest_goes() {
    let mut trading = Trading::default();
    let mut sequence = 0;
    let mut ask = |trading: &mut Trading, key: &str, guard: Option<RiskGuard>| {
        let intent = intent(key);
        sequence += 2;
        trading.apply(at(sequence), &entry(sequence, &intent, Record::Intent(intent.clone())), true);
        let verdict = verdict(&intent, sequence, guard);
        trading.apply(at(sequence), &entry(sequence + 1, &verdict, Record::Verdict(verdict.clone())), true);
        intent
    };
    let open = ask(&mut trading, "open", None);
    let first = ask(&mut trading, "refused-0", Some(RiskGuard::Notional));
    let refused = u64::try_from(orders::ORDERS_MAX).unwrap() + 10;
    for number in 1..refused {
        ask(&mut trading, &format!("refused-{number}"), Some(RiskGuard::Notional));
    }
    assert_eq!(trading.orders.len(), orders::ORDERS_MAX);
    assert!(trading.orders.get(&open.order).is_some() && trading.orders.get(&first.order).is_none());
    assert_eq!((trading.blocks().get("notional"), trading.approved(), trading.open_count()), (Some(&refused), 1, 1));
    assert!(trading.actions.newest().count() <= actions::ACTIONS_MAX && trading.actions.notable().count() == 0);
    assert!(!trading.actions.reach(|_| false), "what was dropped is missing, and that is known");
}

#[test]
fn an_order_stands_where_its_newest_event_says_however_often_events_are_read() {
    use OrderState::{Cancelled, Pending, Submitted};
    let mut trading = Trading::default();
    let intent = intent("key");
    let standing = |trading: &Trading| trading.orders.get(&intent.order).unwrap().standing().as_str();
    trading.apply(at(1), &entry(1, &intent, Record::Intent(intent.clone())), true);
    assert_eq!(standing(&trading), "waiting");
    let verdict = verdict(&intent, 1, None);
    trading.apply(at(2), &entry(2, &verdict, Record::Verdict(verdict.clone())), true);
    assert_eq!(standing(&trading), "approved");
    let (first, second) = (event(&intent, 1, &[Pending, Submitted]), event(&intent, 2, &[Cancelled]));
    for (sequence, event, want) in [(3, &first, "submitted"), (4, &second, "cancelled"), (5, &first, "cancelled")] {
        trading.apply(at(sequence), &entry(sequence, event, Record::Order(event.clone())), true);
        assert_eq!(standing(&trading), want, "{sequence}");
    }
    assert_eq!(trading.orders.get(&intent.order).unwrap().steps.len(), 3);
    assert_eq!(trading.illegal().values().sum::<u64>(), 1, "the event that came again is counted");
    assert_eq!(trading.open_count(), 0);
}

#[test]
fn damage_halts_everything_until_a_person_resumes() {
    let mut trading = Trading::default();
    let damage = AuditDamage {
        era: 1,
        first_bad_sequence: 7,
        kind: DamageKind::Truncated,
        detail: "d".into(),
        advice: "a".into(),
        found_at: at(0),
    };
    trading.apply(at(8), &entry(8, &damage, Record::Damage(damage.clone())), true);
    let halts: Vec<&str> = trading.halts().map(|halt| halt.scope.as_str()).collect();
    assert_eq!(halts, ["ledger"]);
    let resume = |scope| ResumeCommand { scope, actor: "operator".into(), reason: "r".into(), at: at(0) };
    let other = resume(HaltScope::Exchange(Venue::Binance));
    trading.apply(at(9), &entry(9, &other, Record::Resume(other.clone())), true);
    assert_eq!(trading.halts().count(), 1, "another halt's resumption lifts nothing");
    let right = resume(HaltScope::Ledger);
    trading.apply(at(10), &entry(10, &right, Record::Resume(right.clone())), true);
    assert_eq!(trading.halts().count(), 0);
    assert_eq!(trading.actions.notable().count(), 3);
}
