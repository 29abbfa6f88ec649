//! Orders that name the moment they were decided at, and strategies that are not live.

use spark_bus_schema::catalogue::find;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::strategies::{StrategyRegistered, StrategyStatus};

use super::*;
use crate::machine::send::RECORD_WAIT_MAX;

/// A market order for 2, decided at a moment of FEED's record.
fn decided(key: &str, moment: Timestamp) -> Verdict {
    let mut verdict = verdict(key, Side::Buy, OrderType::Market, TimeInForce::Ioc, None);
    verdict.intent.decided_at = Some(moment);
    verdict
}

fn read_to(stage: &mut Stage, at: Timestamp) {
    let mut out = Vec::new();
    stage.core.feed_read(at, stage.now, &mut out);
    stage.act(out);
}

fn fill(stage: &Stage, order: &OrderId) -> (String, Timestamp) {
    let fills = stage.stored[order].iter().flat_map(|event| &event.steps).filter_map(|step| step.fill.as_ref());
    let fills: Vec<_> = fills.map(|fill| (fill.price.to_string(), fill.at)).collect();
    assert_eq!(fills.len(), 1);
    fills[0].clone()
}

#[test]
fn a_decided_order_is_filled_against_the_book_of_its_moment_however_late_it_comes() {
    let mut stage = Stage::new(TradingMode::Paper);
    for (at, ask) in [(10, "100"), (20, "105"), (30, "110")] {
        stage.now = ms(at);
        stage.quote("99", ask, "5");
    }
    stage.now = ms(5_000);
    read_to(&mut stage, ms(4_000));
    for (key, moment, ask) in [("a", 10, "100"), ("b", 19, "100"), ("c", 20, "105"), ("d", 31, "110")] {
        let order = stage.approve(&decided(key, ms(moment)));
        assert_eq!(stage.history(&order), "pending submitted filled+2", "{key}");
        assert_eq!(fill(&stage, &order), (ask.to_owned(), ms(moment)), "{key}");
    }
    // 5 were offered at 100: 2 + 2 are gone.
    let rest = stage.approve(&decided("e", ms(15)));
    assert_eq!(stage.history(&rest), "pending submitted partially_filled+1 expired");
    let before = stage.approve(&decided("f", ms(9)));
    assert_eq!(stage.history(&before), "pending rejected");
    let reason = stage.stored[&before].last().unwrap().steps.last().unwrap().reason.clone().unwrap();
    assert!(reason.contains("the record of quotes of BTCUSDT begins at"), "{reason}");
}

#[test]
fn it_waits_until_feed_has_been_read_past_its_moment_but_not_for_ever() {
    let mut stage = Stage::new(TradingMode::Paper);
    stage.quote("99", "100", "5");
    stage.now = ms(100);
    let order = stage.approve(&decided("a", ms(100)));
    let never = stage.approve(&decided("b", ms(60_000)));
    assert_eq!((stage.history(&order).as_str(), stage.history(&never).as_str()), ("pending", "pending"));
    // A quote of this very moment still counts; something stored after it ends the wait.
    stage.quote("99", "101", "5");
    assert_eq!(stage.history(&order), "pending");
    read_to(&mut stage, ms(101));
    assert_eq!(stage.history(&order), "pending submitted filled+2");
    assert_eq!(fill(&stage, &order).0, "101");
    stage.wait(u64::try_from(RECORD_WAIT_MAX.as_millis()).unwrap());
    assert_eq!(stage.history(&never), "pending expired");
    assert_eq!(stage.last_evidence(&never), Evidence::NeverSent);
}

#[test]
fn a_claim_of_an_earlier_life_is_filled_at_its_own_moment_and_what_was_taken_stays_taken() {
    let mut stage = Stage::new(TradingMode::Paper);
    stage.now = ms(10);
    stage.quote("99", "100", "3");
    read_to(&mut stage, ms(15));
    let first = stage.approve(&decided("a", ms(12)));
    assert_eq!(stage.history(&first), "pending submitted filled+2");
    let order = stage.approve(&decided("b", ms(50)));
    assert_eq!(stage.history(&order), "pending");
    let ledger: Ledger = rmp_serde::from_slice(&rmp_serde::to_vec_named(stage.core.ledger()).unwrap()).unwrap();
    let (stored, sequence) = (std::mem::take(&mut stage.stored), stage.sequence);
    let mut stage = Stage { stored, sequence, ..Stage::with_ledger(TradingMode::Paper, ledger) };
    stage.now = ms(10);
    stage.quote("99", "100", "3");
    stage.now = ms(60);
    stage.quote("99", "200", "3");
    assert_eq!(stage.history(&order), "pending");
    read_to(&mut stage, ms(61));
    assert_eq!(stage.history(&order), "pending submitted partially_filled+1 expired");
    assert_eq!(fill(&stage, &order), ("100".to_owned(), ms(50)));
}

#[test]
fn a_registered_strategy_that_is_not_live_never_trades_on_a_live_exchange() {
    let register = |stage: &mut Stage, status| {
        let entry = find(&StrategyRegistered::KIND.to_string()).unwrap();
        let mut strategy: StrategyRegistered = decode_payload(&(entry.sample)()).unwrap();
        strategy.name = verdict("x", Side::Buy, OrderType::Market, TimeInForce::Ioc, None).intent.strategy;
        strategy.status = status;
        stage.event(Event::Registered(Box::new(strategy)));
    };
    use StrategyStatus::{Backtested, Draft, Live, Paper, Stopped};
    for status in [Draft, Backtested, Paper, Stopped] {
        let mut stage = Stage::new(TradingMode::Live);
        register(&mut stage, status);
        let order = stage.approve(&limit("a"));
        assert_eq!(stage.history(&order), "pending rejected", "{status}");
        assert_eq!(stage.last_evidence(&order), Evidence::NeverSent);
        assert!(stage.take().is_empty(), "{status}");
        register(&mut stage, Live);
        stage.approve(&limit("b"));
        assert_eq!(stage.take(), ["send"], "{status}");
    }
    let mut stage = Stage::new(TradingMode::Paper);
    stage.quote("99", "100", "5");
    register(&mut stage, Paper);
    let order = stage.approve(&verdict("a", Side::Buy, OrderType::Market, TimeInForce::Ioc, None));
    assert_eq!(stage.history(&order), "pending submitted filled+2");
}
