//! Whatever comes, in whatever order, twice or not at all: no illegal step is stored, nothing is filled twice, and once the
//! exchange has answered every question, the LEDGER says what the exchange says.

use proptest::prelude::*;
use spark_bus_schema::orders::{OrderState, TradingMode};

use super::*;

#[derive(Clone, Debug)]
enum Happens {
    Answer,
    Unknown,
    NotSent,
    /// The exchange tells its trade of this number.
    Trade(usize),
    /// The exchange tells how it stands, with its trades or without.
    State(bool),
    /// A query is answered.
    Look(bool),
    CancelWanted,
    Wait(u64),
    UserData(bool),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        Just(Happens::Answer),
        Just(Happens::Unknown),
        Just(Happens::NotSent),
        (0..4_usize).prop_map(Happens::Trade),
        any::<bool>().prop_map(Happens::State),
        any::<bool>().prop_map(Happens::Look),
        Just(Happens::CancelWanted),
        (1..3_000_u64).prop_map(Happens::Wait),
        any::<bool>().prop_map(Happens::UserData),
    ]
}

/// What the exchange did with the order: its trades, and how it ends.
fn exchange() -> impl Strategy<Value = (Vec<u32>, Stand)> {
    (prop::collection::vec(1..8_u32, 0..4), prop_oneof![Just(Stand::Open), Just(Stand::Cancelled), Just(Stand::Expired)])
}

fn is_send(action: &Action) -> bool {
    matches!(action, Action::Send(_))
}

proptest! {
    #[test]
    fn any_interleaving_ends_where_the_exchange_is((trades, end) in exchange(), happenings in prop::collection::vec(happens(), 1..40)) {
        let quarter = |quarters: u32| Decimal::from(quarters) / Decimal::from(4);
        let mut left = 8;
        let trades: Vec<Fill> = trades.iter().enumerate().map_while(|(index, quarters)| {
            let quarters = (*quarters).min(left);
            left -= quarters;
            (quarters > 0).then(|| Fill { quantity: quarter(quarters), ..fill(&index.to_string(), "100", "1") })
        }).collect();
        let total: Decimal = trades.iter().map(|fill| fill.quantity).sum();
        let end = if left == 0 { Stand::Filled } else { end };
        let whole = || Report {
            exchange_order_id: Some("77".into()), stand: Some(end), executed: Some(total), fills: trades.clone(), ..Report::default()
        };
        let mut stage = Stage::new(TradingMode::Live);
        let order = stage.approve(&limit("a"));
        // Whether the exchange has it: from the moment that a send did not certainly fail.
        let mut arrived = false;
        for happening in happenings {
            let sent = stage.done.iter().any(|action| matches!(action, Action::Send(_)));
            let asked = stage.done.iter().any(|action| matches!(action, Action::Ask(..)));
            match happening {
                Happens::Answer if sent => { arrived = true; stage.answered(is_send); stage.event(Event::Submitted(order.clone(), Submitted::Told(whole()))); }
                Happens::Unknown if sent => { arrived = true; stage.answered(is_send); stage.event(Event::Submitted(order.clone(), Submitted::Unknown("cut".into()))); }
                Happens::NotSent if sent && !arrived => { stage.answered(is_send); stage.event(Event::Submitted(order.clone(), Submitted::NotSent("breaker".into(), None))); }
                Happens::Trade(index) if arrived || sent => if let Some(trade) = trades.get(index) {
                    arrived = true;
                    stage.event(Event::Told(order.clone(), Report { fills: vec![trade.clone()], ..Report::default() }));
                },
                Happens::State(with_trades) if arrived || sent => {
                    arrived = true;
                    let fills = if with_trades { trades.clone() } else { Vec::new() };
                    stage.event(Event::Told(order.clone(), Report { fills, ..whole() }));
                }
                Happens::Look(answered) if asked && arrived => {
                    stage.answered(|action| matches!(action, Action::Ask(..)));
                    let answer = if answered { Lookup::Found(whole()) } else { Lookup::Failed("away".into(), None) };
                    stage.event(Event::Looked(order.clone(), answer));
                }
                Happens::CancelWanted => stage.event(Event::Cancel { order: order.clone(), words: "me".into() }),
                Happens::Wait(millis) => stage.wait(millis),
                Happens::UserData(up) => stage.event(Event::UserData(Venue::Binance, up)),
                _ => {}
            }
            prop_assert!(!stage.done.iter().any(|action| matches!(action, Action::Illegal(..))), "{:?}", stage.done);
            if let Some(work) = stage.core.work(&order) {
                prop_assert!(work.facts.filled <= total);
            }
        }
        // In the end every question is answered, and what was missed is asked for.
        stage.event(Event::UserData(Venue::Binance, false));
        for _ in 0..50 {
            let actions: Vec<Action> = stage.done.drain(..).collect();
            for action in actions {
                match action {
                    Action::Send(_) => { arrived = true; stage.event(Event::Submitted(order.clone(), Submitted::Unknown("cut".into()))); }
                    Action::Ask(..) => stage.event(Event::Looked(order.clone(), Lookup::Found(whole()))),
                    Action::Cancel(..) => stage.event(Event::Cancelled(order.clone(), Cancelled::Ask("requested".into()))),
                    Action::Illegal(_, what) => prop_assert!(false, "{what}"),
                    _ => {}
                }
            }
            stage.wait(1_000);
        }
        let history = stage.history(&order);
        let last = stage.stored[&order].last().unwrap();
        if arrived {
            prop_assert_eq!(last.filled, total.normalize(), "{}", history);
            let state = last.state();
            let want = match end {
                Stand::Filled => matches!(state, OrderState::Filled),
                Stand::Cancelled => matches!(state, OrderState::Cancelled),
                Stand::Expired => matches!(state, OrderState::Expired),
                _ => matches!(state, OrderState::Submitted | OrderState::PartiallyFilled),
            };
            prop_assert!(want, "{:?}: {}", end, history);
        } else {
            prop_assert!(matches!(last.state(), OrderState::Cancelled | OrderState::Expired), "{}", history);
        }
    }
}
