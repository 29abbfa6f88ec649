//! An order was sent and nobody knows what became of it.

use std::time::Duration;

use serde_json::json;
use spark_bus_schema::orders::{Evidence, OrderState};
use spark_bus_schema::{OrderId, Venue};
use spark_tests::checker::Story;

use crate::stage::{RELYING, Stage, VENUES, WATCHFUL, path, question, resting, selling, steps, told};

/// No request that was signed before is accepted by an exchange after so long; until then "no such order" proves nothing.
const WINDOW: Duration = Duration::from_secs(15);

/// An order of another strategy than people's: it does not wait for theirs.
async fn place_as(stage: &Stage, strategy: &str, key: &str, mut order: serde_json::Value) -> OrderId {
    order["strategy"] = json!(strategy);
    let answer = stage.ask(key, &order).await;
    assert_eq!(answer.json()["approved"], true, "{answer:?}");
    OrderId::derive(strategy, key)
}

fn was_unknown(story: &Story) -> bool {
    steps(story).iter().any(|step| step.state == OrderState::Unknown && step.evidence == Evidence::AnswerLost)
}

/// A lost answer is neither a rejection nor a fill: the order stays unknown, however often the exchange cannot be asked or
/// does not know it yet, and later orders of the same strategy and market wait. Only an answer that proves something ends it.
#[tokio::test]
async fn unknown_never_rejected_without_evidence() {
    let stage = Stage::start(WATCHFUL).await;
    let mut orders = Vec::new();
    for venue in VENUES {
        stage.fault(venue, json!({ "kind": "skip", "stream": "userData" })).await;
        let silent = stage.fault(venue, json!({ "kind": "status", "code": 503, "method": "GET", "path": question(venue) })).await;
        stage.fault(venue, json!({ "kind": "lost_after", "n": 1 })).await;
        let executed = stage.place(&format!("executed-{venue}"), &selling(venue, "0.001")).await;
        stage.until_state(&executed, OrderState::Unknown).await;
        stage.fault(venue, json!({ "kind": "lost_before", "code": 503, "n": 1 })).await;
        let lost = place_as(&stage, "other", &format!("lost-{venue}"), selling(venue, "0.002")).await;
        stage.until_state(&lost, OrderState::Unknown).await;
        let waits = stage.place(&format!("waits-{venue}"), &selling(venue, "0.003")).await;
        orders.push((venue, silent, executed, lost, waits));
    }
    for (venue, silent, executed, lost, waits) in &orders {
        // Asked again and again, in vain.
        stage.until_hit("the exchange is asked", *silent, stage.hits(*silent).await + 6).await;
        for order in [executed, lost] {
            let story = stage.story(order).await;
            assert_eq!(story.state(), Some(OrderState::Unknown), "{venue}: {}", told(&story));
        }
        assert_eq!(stage.submits(*venue, waits).await, 0, "{venue}: an order went past an unknown one of its key");
        assert_eq!(stage.story(waits).await.events.len(), 0);

        // Now it answers: of one that it filled it, of the other that it has no such order.
        let asked = stage.count_questions(*venue).await;
        stage.heal(*silent).await;
        let story = stage.until_filled(executed).await;
        assert!(steps(&story).iter().skip(2).all(|step| step.evidence == Evidence::Query), "{venue}: {}", told(&story));
        stage.until_filled(waits).await;
        let story = stage.story(lost).await;
        let since = steps(&story)[0].at;
        stage.until_hit("both are asked about", asked, 2).await;
        if spark_nats::now().saturating_since(since) < WINDOW {
            assert_eq!(story.state(), Some(OrderState::Unknown), "{venue}: given up too early: {}", told(&story));
        }
    }
    for (venue, _, executed, lost, waits) in &orders {
        let story = stage.until_state(lost, OrderState::Rejected).await;
        let (first, last) = (*steps(&story).first().unwrap(), *steps(&story).last().unwrap());
        assert_eq!(last.evidence, Evidence::Query, "{venue}: {}", told(&story));
        assert!(last.at.saturating_since(first.at) >= WINDOW, "{venue}: given up too early: {}", told(&story));
        for (order, arrived) in [(executed, 1), (lost, 0), (waits, 1)] {
            assert_eq!(stage.submits(*venue, order).await, arrived, "{venue}: {order}");
        }
    }
    for story in stage.prove().await.values() {
        let guessed = |step: &&&spark_bus_schema::orders::Step| {
            step.state.is_final() && matches!(step.evidence, Evidence::AnswerLost | Evidence::Approval)
        };
        assert_eq!(steps(story).iter().find(guessed), None, "{}", told(story));
    }
}

/// However the answer to a submit is lost, the exchange is asked about the order and it is not sent a second time. What was
/// certainly not looked at by the exchange is sent again, under the same client id.
#[tokio::test]
async fn ambiguous_submit_is_asked_before_resend() {
    let stage = Stage::start(RELYING).await;
    for venue in VENUES {
        stage.fault(venue, json!({ "kind": "skip", "stream": "userData" })).await;
        let place = if venue == Venue::Btcturk { "/api/v1/order" } else { "/api/v3/order" };
        let ambiguous = [
            ("cut", json!({ "kind": "lost_after", "n": 1 })),
            ("503", json!({ "kind": "lost_after", "code": 503, "n": 1 })),
            ("504", json!({ "kind": "lost_after", "code": 504, "n": 1 })),
            ("garbage", json!({ "kind": "garbage", "variant": "truncated", "method": "POST", "path": place, "n": 1 })),
        ];
        for (name, fault) in ambiguous {
            for (form, order) in [("market", selling(venue, "0.001")), ("limit", resting(venue, "0.001"))] {
                let fault = stage.fault(venue, fault.clone()).await;
                let asked = stage.count_questions(venue).await;
                let order = stage.place(&format!("{venue}-{name}-{form}"), &order).await;
                stage.until_hit("the answer is lost", fault, 1).await;
                let story = if form == "market" {
                    stage.until_filled(&order).await
                } else {
                    stage.until_state(&order, OrderState::Submitted).await
                };
                assert!(was_unknown(&story), "{venue}, {name}: {}", told(&story));
                let after = path(&story)[2];
                assert_eq!(after, (OrderState::Submitted, Evidence::Query), "{venue}, {name}: {}", told(&story));
                assert!(stage.hits(asked).await > 0, "{venue}, {name}: known without a question");
                assert_eq!(stage.submits(venue, &order).await, 1, "{venue}, {name}");
                stage.heal(asked).await;
            }
        }
        // Turned away at the door: nothing is in doubt, nobody is asked, and it is sent again.
        let door = stage
            .fault(venue, json!({ "kind": "status", "code": 429, "retry_after": 0, "method": "POST", "path": place, "n": 2 }))
            .await;
        let order = stage.place(&format!("{venue}-door"), &selling(venue, "0.001")).await;
        let story = stage.until_filled(&order).await;
        assert_eq!(stage.hits(door).await, 2, "{venue}");
        assert!(!was_unknown(&story), "{venue}: {}", told(&story));
        assert_eq!(stage.submits(venue, &order).await, 1, "{venue}");
    }
    stage.desk.kill_switch(true, true).await;
    stage.prove().await;
}

/// The exchange goes away in the middle of a submit, with its user data stream and everything that could be asked, and an
/// executor dies meanwhile. The order is tracked all the time and known exactly when the exchange is back; so is what
/// happened to an order that rested there.
#[tokio::test]
async fn outage_during_submit_keeps_tracking() {
    let stage = Stage::start(WATCHFUL).await;
    let mut orders = Vec::new();
    for venue in VENUES {
        let rests = stage.place(&format!("rests-{venue}"), &resting(venue, "0.002")).await;
        stage.until_state(&rests, OrderState::Submitted).await;
        let api = if venue == Venue::Btcturk { "/api/v1" } else { "/api/v3" };
        let mut outage = Vec::new();
        for fault in [
            json!({ "kind": "drop", "method": "GET", "path": api }),
            json!({ "kind": "cut", "stream": "userData", "for_ms": 600_000 }),
            json!({ "kind": "lost_after", "n": 1 }),
        ] {
            outage.push(stage.fault(venue, fault).await);
        }
        let sent = stage.place(&format!("sent-{venue}"), &selling(venue, "0.001")).await;
        stage.until_arrived(venue, &sent).await;
        stage.fill(venue, &rests, "0.002").await;
        orders.push((venue, outage, rests, sent));
    }
    for (_, _, _, sent) in &orders {
        stage.until_state(sent, OrderState::Unknown).await;
    }
    stage.system.kill("executor").await;
    for (venue, outage, rests, sent) in &orders {
        stage.until_hit("the new executor asks", outage[0], stage.hits(outage[0]).await + 4).await;
        // Nothing is known, and nothing is forgotten.
        for (order, state) in [(rests, OrderState::Submitted), (sent, OrderState::Unknown)] {
            let story = stage.story(order).await;
            assert_eq!(story.state(), Some(state), "{venue}: {}", told(&story));
            let row = stage.system.json(&format!("/api/exec/orders/{order}")).await.expect("the gateway answers");
            assert_eq!((&row["open"], &row["state"]), (&json!(true), &json!(state.as_str())), "{row}");
        }
    }
    for (venue, outage, ..) in &orders {
        for fault in outage.iter().take(2) {
            stage.heal(*fault).await;
        }
        // What the market is now says nothing about what was traded; a new order goes through when all is known again.
        let after = stage.place(&format!("after-{venue}"), &selling(*venue, "0.001")).await;
        stage.until_filled(&after).await;
    }
    for (venue, _, rests, sent) in &orders {
        for (order, quantity) in [(rests, "0.002"), (sent, "0.001")] {
            let story = stage.until_filled(order).await;
            assert_eq!(story.filled().to_string(), quantity, "{venue}: {}", told(&story));
            assert_eq!(stage.submits(*venue, order).await, 1, "{venue}: {order}");
        }
    }
    stage.prove().await;
}
