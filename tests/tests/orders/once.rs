//! One key, one order, one answer.

use serde_json::{Value, json};
use spark_bus_schema::OrderId;
use spark_bus_schema::orders::OrderState;
use spark_tests::checker::{ledger_problems, stories};
use spark_tests::orders::{market, record};
use spark_tests::system::System;
use spark_tests::wait::until;

use crate::setting::{LIMIT, desk, system};

const REQUESTS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_identical_requests_are_one_order_with_two_hundred_equal_answers() {
    let system = system("").await;
    let desk = desk(&system);
    let order = market("binance", "BTCUSDT", "buy", "0.01");

    let requests: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let (desk, order) = (desk.clone(), order.clone());
            tokio::spawn(async move { desk.order("once", &order).await.expect("the gateway answers") })
        })
        .collect();
    let mut answers = Vec::new();
    for request in requests {
        answers.push(request.await.expect("no panic"));
    }
    assert_eq!(answers[0].status, 200, "{:?}", answers[0]);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{:?}", answers.iter().find(|answer| **answer != answers[0]));
    let id = OrderId::derive("manual", "once");
    assert_eq!(answers[0].json()["order"], json!(id));
    assert_eq!(answers[0].json()["approved"], true, "{:?}", answers[0]);

    let bus = system.bus("operator").await;
    until("it is filled", LIMIT, async || {
        let record = stories(&record(&bus).await);
        let state = record.get(&id).and_then(|story| story.state());
        if state.is_some_and(OrderState::is_final) { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await;

    // The same key for something else, and no key at all.
    let other = desk.order("once", &market("binance", "BTCUSDT", "buy", "0.02")).await.unwrap();
    assert_eq!(other.status, 422, "{other:?}");
    assert!(other.body.contains("quantity") && other.body.contains("0.02"), "{other:?}");
    let without = desk.post("/api/exec/order", None, &order).await.unwrap();
    assert_eq!(without.status, 400, "{without:?}");
    assert!(without.body.contains("X-Idempotency-Key"), "{without:?}");

    // The record says who asked, with the hash of the auditor's chain, which `spark audit list` tells too.
    let told = until("the order is in the audit chain", LIMIT, async || {
        let listed = desk.post("/api/audit/list", None, &json!({ "action": "order.intent" })).await?.json();
        if listed["items"][0]["hash"].is_string() { Ok(listed["items"][0].clone()) } else { Err(listed.to_string()) }
    })
    .await;
    assert_eq!((&told["actor"], &told["payload"]["order"]), (&json!("operator"), &json!(id)), "{told}");
    let chained = audit_list(&system);
    let same = chained.iter().find(|item| item["sequence"] == told["sequence"]).map(|item| &item["hash"]);
    assert_eq!(same, Some(&told["hash"]), "{chained:?}");

    // A gateway that has forgotten everything gives the same answer, and nothing more is traded.
    system.kill("gateway").await;
    let again = until("the gateway answers again", LIMIT, async || {
        let answer = desk.order("once", &order).await?;
        // Up, and not yet connected: it says so, and that the key may be sent again.
        if answer.status == 503 { Err(answer.body) } else { Ok(answer) }
    })
    .await;
    assert_eq!(again, answers[0]);
    let stories = stories(&record(&bus).await);
    assert_eq!(stories.len(), 1, "{stories:?}");
    assert_eq!(ledger_problems(&stories), Vec::<String>::new());
    assert_eq!(stories[&id].filled().to_string(), "0.01");
}

/// `spark audit list --json`.
fn audit_list(system: &System) -> Vec<Value> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_spark-under-test"));
    let output = command.arg("--data").arg(system.data()).args(["audit", "list", "--limit", "100", "--json"]).output();
    let text = String::from_utf8(output.expect("the binary starts").stdout).expect("text");
    let all: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    all["items"].as_array().or(all.as_array()).expect("a list").clone()
}
