//! The account at the exchange is not what the LEDGER says.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use spark_bus_schema::orders::{Evidence, OrderState};
use spark_bus_schema::risk::Guard;
use spark_bus_schema::{Decimal, OrderId, Venue};
use spark_tests::wait::until;

use crate::setting::LIMIT;
use crate::stage::{Stage, VENUES, WATCHFUL, market_of, resting, selling, steps, told};

fn other(venue: Venue) -> Venue {
    if venue == Venue::Binance { Venue::Btcturk } else { Venue::Binance }
}

/// Asks for an order that must be refused because trading is halted there.
async fn refused(stage: &Stage, key: &str, venue: Venue) {
    until("orders are refused", LIMIT, async || {
        // Risk reads of the halt a moment after it was told; a key keeps its answer, so each try has its own.
        let sequence = stage.sequence().await;
        let answer = stage.ask(&format!("{key}-{sequence}"), &selling(venue, "0.001")).await;
        let body = answer.json();
        if body["approved"] == false && body["guard"] == json!(Guard::Halt) { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

/// Waits until the page says that trading is halted there, or not.
async fn until_halted(stage: &Stage, venue: Venue, halted: bool) -> String {
    until(&format!("halted at {venue}: {halted}"), LIMIT, async || {
        let told = stage.system.json("/api/exec/reconciliation").await?;
        let halt = told["halts"].as_array().and_then(|halts| halts.iter().find(|halt| halt["scope"] == venue.as_str()).cloned());
        match (halt, halted) {
            (Some(halt), true) => Ok(halt["reason"].to_string()),
            (None, false) => Ok(String::new()),
            _ => Err(told.to_string()),
        }
    })
    .await
}

/// How often an executor has read the whole LEDGER and begun.
fn begins(stage: &Stage) -> usize {
    let log = std::fs::read_to_string(stage.folder("logs").join("executor.log")).unwrap_or_default();
    log.matches("spark_executor::engine: began").count()
}

/// An order at the exchange that Spark never sent, found by the comparison: trading there halts until a person has looked,
/// nothing is done to the order, and the other exchange goes on. Also when it carries a client id like Spark's own.
#[tokio::test]
async fn orphan_order_found_by_sweep() {
    let stage = Stage::start(WATCHFUL).await;
    let forged = OrderId::derive("nobody", "asked").client_id();
    for venue in VENUES {
        let ours = stage.place(&format!("ours-{venue}"), &resting(venue, "0.001")).await;
        stage.until_state(&ours, OrderState::Submitted).await;
        let (symbol, ..) = market_of(venue);
        let orphan = if venue == Venue::Binance { "web_42".to_owned() } else { forged.clone() };
        let price = if venue == Venue::Binance { "58000" } else { "1900000" };
        let body = json!({ "exchange": venue, "symbol": symbol, "side": "buy", "quantity": "0.002", "price": price, "client_id": orphan });
        let from = stage.sequence().await;
        stage.system.simulator(Method::POST, "/sim/orders", Some(body)).await;
        let compared = stage.until_compared("halted", venue, from, |compared| compared.halted.is_some()).await;
        assert_eq!(compared.orphans, std::slice::from_ref(&orphan), "{venue}");
        assert!(until_halted(&stage, venue, true).await.contains(&orphan), "{venue}: the reason names it");
        let holds: BTreeMap<_, _> = compared.invariants.iter().map(|each| (each.name.as_str(), each.holds)).collect();
        assert!(!holds["open_orders"] && holds["positions"] && holds["profit_and_loss"] && holds["average_price"], "{holds:?}");
        refused(&stage, &format!("refused-{venue}"), venue).await;
        let elsewhere = stage.place(&format!("beside-{venue}"), &selling(other(venue), "0.001")).await;
        stage.until_filled(&elsewhere).await;

        // It is nobody's business here to cancel it, and a restart does not make it forgotten.
        stage.system.kill("executor").await;
        stage.system.kill("risk").await;
        refused(&stage, &format!("still-{venue}"), venue).await;
        let log = stage.log(venue).await;
        let rows = || log["orders"].as_array().into_iter().flatten();
        assert!(rows().any(|order| order["client_id"] == orphan && order["status"] == "new"), "{venue}: {log}");
        assert!(rows().any(|order| order["client_id"] == ours.client_id() && order["status"] == "new"), "{venue}: {log}");
        let taken_back = json!({ "exchange": venue, "client_id": orphan });
        stage.system.simulator(Method::POST, "/sim/orders/cancel", Some(taken_back)).await;
        stage.resume(venue, "it was placed by hand and is gone").await;
        until_halted(&stage, venue, false).await;
        let after = stage.place(&format!("after-{venue}"), &selling(venue, "0.001")).await;
        stage.until_filled(&after).await;
        stage.cancel(&ours).await;
        stage.until_state(&ours, OrderState::Cancelled).await;
    }
    let stories = stage.stories().await;
    assert!(!stories.contains_key(&OrderId::from_client_id(&forged).unwrap()), "an event of an order that is not ours");
    // The checker finds the forged one too, and nothing else.
    let problems = stage.problems(&stories).await;
    assert!(problems.iter().all(|problem| problem.contains(&forged[6..])) && !problems.is_empty(), "{problems:?}");
}

/// The exchange comes back with another state: it has forgotten an order that rested there, and the balances are others.
/// Trading there halts and stays halted; the order is not written off until a person accepts it.
#[tokio::test]
async fn exchange_restarts_with_other_state_halts_trading() {
    let stage = Stage::start(WATCHFUL).await;
    let mut resting_orders = Vec::new();
    for venue in VENUES {
        let sold = stage.place(&format!("sold-{venue}"), &selling(venue, "0.002")).await;
        stage.until_filled(&sold).await;
        let rests = stage.place(&format!("rests-{venue}"), &resting(venue, "0.001")).await;
        stage.until_state(&rests, OrderState::Submitted).await;
        resting_orders.push((venue, rests));
    }
    for (venue, rests) in resting_orders {
        stage.until_compared("all is equal", venue, stage.sequence().await, |compared| compared.halted.is_none()).await;

        let reset = json!({ "exchange": venue, "configured_balances": true });
        stage.system.simulator(Method::POST, "/sim/state/reset", Some(reset)).await;
        until_halted(&stage, venue, true).await;
        refused(&stage, &format!("refused-{venue}"), venue).await;
        let elsewhere = stage.place(&format!("beside-{venue}"), &selling(other(venue), "0.001")).await;
        stage.until_filled(&elsewhere).await;
        let began = begins(&stage);
        stage.system.kill("executor").await;
        until("the new executor has begun", LIMIT, async || {
            let now = begins(&stage);
            if now > began { Ok(()) } else { Err(format!("{now} beginnings")) }
        })
        .await;
        refused(&stage, &format!("still-{venue}"), venue).await;
        let story = stage.until("it is not written off", &rests, |story| story.state() == Some(OrderState::Unknown)).await;
        assert!(!story.is_over(), "{venue}: {}", told(&story));
        assert_eq!(stage.submits(venue, &rests).await, 1, "{venue}: sent again");

        stage.resume(venue, "the exchange told of a rollback").await;
        let story = stage.until_state(&rests, OrderState::Cancelled).await;
        let last = steps(&story).last().copied().cloned().unwrap();
        assert_eq!(last.evidence, Evidence::Query, "{venue}: {}", told(&story));
        assert!(last.reason.unwrap_or_default().contains("the exchange told of a rollback"), "{venue}: {}", told(&story));
        until_halted(&stage, venue, false).await;
        let after = stage.place(&format!("after-{venue}"), &selling(venue, "0.001")).await;
        stage.until_filled(&after).await;
        let from = stage.sequence().await;
        let compared = stage.until_compared("compared", venue, from, |_| true).await;
        assert!(compared.halted.is_none() && compared.invariants.iter().all(|each| each.holds), "{compared:?}");
    }
    stage.prove().await;
}

/// What a venue's account moved by, free and locked together.
fn held(log: &Value) -> BTreeMap<String, Decimal> {
    let amount = |row: &Value, key: &str| row[key].as_str().and_then(|text| text.parse::<Decimal>().ok()).unwrap_or_default();
    let rows = log["balances"].as_object().into_iter().flatten();
    rows.map(|(asset, row)| (asset.clone(), amount(row, "free") + amount(row, "locked"))).collect()
}

/// After orders of every sort and every fault, what is counted in the LEDGER is what the exchange counts: orders by end,
/// trades, quantities, money, fees by asset, and the account's balances to the last digit.
#[tokio::test]
async fn count_audit_matches_exchange() {
    let stage = Stage::start(WATCHFUL).await;
    let mut before = BTreeMap::new();
    let mut cancelled = Vec::new();
    for venue in VENUES {
        before.insert(venue, held(&stage.log(venue).await));
        for number in 0..6 {
            let fault = match number {
                0 => json!({ "kind": "part_expire", "share": "0.5", "n": 1 }),
                1 => json!({ "kind": "reject", "n": 1 }),
                2 => json!({ "kind": "reject", "late": true, "n": 1 }),
                3 => json!({ "kind": "lost_after", "n": 1 }),
                4 => json!({ "kind": "duplicate", "stream": "userData", "for_ms": 1000 }),
                _ => json!({ "kind": "cut", "stream": "userData" }),
            };
            stage.fault(venue, fault).await;
            let order = stage.place(&format!("{venue}-{number}-sell"), &selling(venue, "0.002")).await;
            stage.until("over", &order, spark_tests::checker::Story::is_over).await;
            let rests = stage.place(&format!("{venue}-{number}-rest"), &resting(venue, "0.001")).await;
            stage.until_arrived(venue, &rests).await;
            stage.fill(venue, &rests, if number % 2 == 0 { "0.0004" } else { "0.001" }).await;
            cancelled.push((venue, rests));
        }
        stage.fault(venue, json!({ "kind": "cancel_race", "share": "0.5", "n": 1 })).await;
    }
    stage.desk.kill_switch(true, true).await;
    let stories = stage.prove().await;
    assert_eq!(stories.len(), 24);
    for venue in VENUES {
        let log = stage.log(venue).await;
        let here = || stories.values().filter(|story| story.intent.as_ref().is_some_and(|intent| intent.exchange == venue));
        let sent = log["clients"].as_object().map_or(0, serde_json::Map::len);
        assert_eq!(here().count(), sent, "{venue}: {log}");
        // Orders by end. An order that is refused at once is none at the exchange.
        let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
        for story in here() {
            let end = match story.state().unwrap() {
                OrderState::Filled | OrderState::Settled => "filled",
                OrderState::Cancelled => "canceled",
                OrderState::Expired => "expired",
                OrderState::Rejected if story.events.iter().any(|event| event.exchange_order_id.is_some()) => "rejected",
                OrderState::Rejected => "none",
                open => panic!("{open} is not an end: {}", told(story)),
            };
            // BTCTurk has no other word for what it ended itself.
            let end = if venue == Venue::Btcturk && matches!(end, "expired" | "rejected") { "canceled" } else { end };
            *ends.entry(end).or_default() += 1;
        }
        let mut theirs: BTreeMap<&str, usize> = BTreeMap::new();
        for order in log["orders"].as_array().into_iter().flatten() {
            let status = order["status"].as_str().unwrap_or_default();
            let status = if venue == Venue::Btcturk && matches!(status, "expired" | "rejected") { "canceled" } else { status };
            *theirs.entry(status).or_default() += 1;
        }
        theirs.insert("none", sent - theirs.values().sum::<usize>());
        assert_eq!(ends, theirs, "{venue}");

        // Trades, and all that was moved by them.
        let (mut count, mut moved) = (0, BTreeMap::<String, Decimal>::new());
        let (symbol, ..) = market_of(venue);
        let quote = symbol.strip_prefix("BTC").unwrap();
        for story in here() {
            let intent = story.intent.as_ref().unwrap();
            let sign = if intent.side == spark_bus_schema::market::Side::Buy { Decimal::ONE } else { -Decimal::ONE };
            for fill in steps(story).into_iter().filter_map(|step| step.fill.as_ref()) {
                count += 1;
                *moved.entry("BTC".to_owned()).or_default() += sign * fill.quantity;
                *moved.entry(quote.to_owned()).or_default() -= sign * fill.quantity * fill.price;
                *moved.entry(fill.fee_asset.clone()).or_default() -= fill.fee;
            }
        }
        assert_eq!(count, log["fills"].as_array().map_or(0, Vec::len), "{venue}");
        let after = held(&log);
        for (asset, amount) in &moved {
            assert_eq!(after[asset] - before[&venue][asset], *amount, "{venue}: {asset}");
        }
        let same = |asset: &&String| !moved.contains_key(*asset) && after[*asset] != before[&venue][*asset];
        assert_eq!(after.keys().find(same), None, "{venue}: something else moved");

        // And Spark's own comparison says the same.
        let from = stage.sequence().await;
        let compared = stage.until_compared("compared", venue, from, |_| true).await;
        assert!(compared.halted.is_none() && compared.invariants.iter().all(|each| each.holds), "{venue}: {compared:?}");
        assert_eq!(compared.invariants.len(), 4, "{compared:?}");
    }
    assert_eq!(cancelled.len(), 12);
}
