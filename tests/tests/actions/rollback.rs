//! Criticals that a restart does not cure: everything goes back to what was last known to be good, once.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use spark_bus_schema::actions::{ActionStage, RestartCommand, RestartDone, RestartOutcome, RollbackCommand, RollbackStep};
use spark_bus_schema::control::{KillSwitch, StrategyCommand};
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{OrderIntent, OrderType, TimeInForce};
use spark_bus_schema::risk::{Guard, Verdict};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Message, OrderId, Timestamp, Venue, encode, header};
use spark_nats::{Bus, SubjectWriter};
use spark_tests::orders::ledger;
use spark_tests::stored;
use spark_tests::system::System;
use spark_tests::wait::until;

use super::stage::{LIMIT, actions, count, first, rules_file, stage, step, system};

const STRATEGY: &str = "sma-cross";
/// The issue's own bound.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(120);

/// Both exchanges refuse the key: two criticals that no restart of the executor cures.
async fn two_criticals(dry_run: bool) -> (System, Bus) {
    let changes = [("exchange_error_rate", "window", "\"8s\""), ("exchange_error_rate", "keep_firing_for", "\"1s\"")];
    let name = if dry_run { "actions-dry.toml" } else { "actions-rollback.toml" };
    let rules = rules_file(name, &["exchange_error_rate"], &changes);
    let system = system(&format!(
        "[guardrail]\nrules = {rules:?}\ndry_run = {dry_run}\ncalm = \"2s\"\n[guardrail.rollback]\ncriticals = 2\nfor = \"6s\"\n\
         watch = \"3s\"\nverify = \"10s\"\nkill_switch = true\ncancel_open = true\n"
    ))
    .await;
    let (code, printed) = system.spark(&["strategy", "start", STRATEGY, "--reason", "test", "--symbols", "binance.BTCUSDT"]);
    assert_eq!(code, 0, "{printed}");
    let bus = system.bus("operator").await;
    for exchange in ["binance", "btcturk"] {
        system.fault(json!({"exchange": exchange, "kind": "revoke_key"})).await;
    }
    (system, bus)
}

/// Asks for an order as a strategy and waits for what risk says.
async fn verdict(system: &System, strategy: &str, key: &str) -> Verdict {
    let bus = system.bus("strategy").await;
    let intent = OrderIntent {
        order: OrderId::derive(strategy, key),
        key: key.to_owned(),
        strategy: strategy.to_owned(),
        actor: "test".to_owned(),
        exchange: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        side: Side::Buy,
        order_type: OrderType::Market,
        time_in_force: TimeInForce::Ioc,
        quantity: "0.001".parse().expect("a number"),
        limit_price: None,
        requested_at: Timestamp::from_millis(1),
        reason: None,
        decided_at: None,
    };
    let on = subject::intent(&intent.order);
    let mut writer = SubjectWriter::at(bus.clone(), LEDGER, on.clone(), 0);
    writer.append(OrderIntent::KIND, Bytes::from(encode(&intent)), &on).await.expect("stored once");
    let target = subject::verdict(&intent.order);
    until("there is a verdict", LIMIT, async || stored::last::<Verdict>(&bus, LEDGER, &target).await).await
}

/// Waits until orders of a strategy that nobody stopped are approved again.
async fn trades_again(system: &System) {
    let mut number = 0;
    until("another strategy's order is approved", LIMIT, async || {
        number += 1;
        let verdict = verdict(system, "other", &format!("probe-{number}")).await;
        if verdict.approved { Ok(()) } else { Err(format!("{verdict:?}")) }
    })
    .await;
}

#[tokio::test]
async fn two_criticals_that_a_restart_does_not_cure_end_in_one_rollback_and_what_was_stopped_stays_stopped() {
    let (system, bus) = two_criticals(false).await;
    let over = step(&bus, "the rollback is judged", |action| {
        matches!(action.stage, ActionStage::RollbackVerified | ActionStage::RollbackUnverified)
    })
    .await;
    assert_eq!(over.stage, ActionStage::RollbackVerified, "{over:?}");
    assert!(!over.checks.is_empty() && over.checks.iter().all(|check| check.ok), "{over:?}");
    for name in [format!("strategy {STRATEGY}"), "kill switch".to_owned()] {
        assert!(over.checks.iter().any(|check| check.name == name), "{name} in {over:?}");
    }
    assert!(system.json("/api/exec/limits").await.is_ok(), "the gateway answers");

    let all = ledger(&bus).await;
    let (told, restart) = first(&all, &subject::restart("executor"), |_: &RestartCommand| true);
    let (answered, done) = first(&all, &subject::restarted("executor"), |_: &RestartDone| true);
    let (decided, rollback) = first(&all, subject::ROLLBACK, |_: &RollbackCommand| true);
    let (stopped, stop) = first(&all, &subject::strategy(STRATEGY), |command: &StrategyCommand| !command.run);
    let (killed, kill) = first(&all, subject::KILL_SWITCH, |_: &KillSwitch| true);
    let order = [told, answered, decided, stopped, killed].map(|delivery| delivery.sequence);
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!((done.command, done.outcome), (told.sequence, RestartOutcome::Restarted), "{done:?}");
    assert_eq!((restart.evidence.len(), rollback.evidence.len()), (2, 2), "{rollback:?}");
    assert_eq!(restart.episode.as_ref(), Some(&rollback.episode));
    let off = RollbackStep::FeaturesOff { strategies: vec![STRATEGY.to_owned()] };
    assert!(rollback.steps.contains(&off) && rollback.steps.contains(&RollbackStep::KillSwitch { cancel_open: true }));
    assert!(kill.on && kill.cancel_open && stop.symbols == ["binance.BTCUSDT"], "{kill:?} {stop:?}");
    for caused in [stopped, killed] {
        assert_eq!(caused.header(header::CAUSE), Some(format!("LEDGER:{}", decided.sequence).as_str()), "{}", caused.subject);
    }
    assert!(over.at.saturating_since(rollback.at) < ROLLBACK_LIMIT, "{:?}", over.at.saturating_since(rollback.at));

    // It goes on being critical for as long again, and nothing more is done.
    let later = rollback.at + Duration::from_secs(18);
    until("the time of a second rollback has passed", LIMIT, async || {
        let now = spark_nats::now();
        if now > later { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    let all = ledger(&bus).await;
    assert_eq!([subject::ROLLBACK, subject::KILL_SWITCH].map(|on| count(&all, on)), [1, 1]);
    assert_eq!(system.run()["processes"]["executor"]["restarts"], 1, "{}", system.run());

    system.clear_faults().await;
    stage(&bus, ActionStage::Ended).await;
    let refused = verdict(&system, STRATEGY, "1").await;
    assert_eq!(refused.guard, Some(Guard::KillSwitch), "{refused:?}");
    let (code, printed) = system.spark(&["kill", "off", "--reason", "looked at it"]);
    assert_eq!(code, 0, "{printed}");
    trades_again(&system).await;
    let refused = verdict(&system, STRATEGY, "2").await;
    assert_eq!(refused.guard, Some(Guard::Strategy), "{refused:?}");
}

#[tokio::test]
async fn a_dry_run_tells_the_same_story_and_changes_nothing() {
    let (system, bus) = two_criticals(true).await;
    stage(&bus, ActionStage::RollbackVerified).await;
    let told = actions(&bus).await;
    assert!(told.iter().all(|action| action.dry_run), "{told:?}");
    for wanted in [ActionStage::Began, ActionStage::RestartAsked, ActionStage::RestartFailed, ActionStage::RollbackAsked] {
        assert!(told.iter().any(|action| action.stage == wanted), "{wanted:?} in {told:?}");
    }
    let all = ledger(&bus).await;
    for on in [subject::RESTARTS, subject::RESTARTED, subject::ROLLBACK, subject::KILL_SWITCH] {
        assert_eq!(count(&all, on), 0, "{on}");
    }
    // What the test itself said.
    assert_eq!(count(&all, subject::STRATEGIES), 1);
    assert_eq!(system.run()["processes"]["executor"]["restarts"], 0, "{}", system.run());
    system.clear_faults().await;
    stage(&bus, ActionStage::Ended).await;
    trades_again(&system).await;
    let verdict = verdict(&system, STRATEGY, "1").await;
    assert!(verdict.approved, "{verdict:?}");
}
