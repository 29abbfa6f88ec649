//! The user data stream does not tell everything.

use serde_json::json;
use spark_bus_schema::orders::{Evidence, OrderState};
use spark_bus_schema::{OrderId, Venue};

use crate::stage::{RELYING, Stage, VENUES, WATCHFUL, resting, steps, told};

async fn rest(stage: &Stage, venue: Venue, key: &str, quantity: &str) -> OrderId {
    let order = stage.place(key, &resting(venue, quantity)).await;
    stage.until_state(&order, OrderState::Submitted).await;
    order
}

/// Trades whose messages were lost on a stream that stayed up are found and counted once: by the next message about the
/// order when one comes, and by the comparison with the account when none does. Nothing halts for that.
#[tokio::test]
async fn ws_gap_fill_recovered() {
    by_the_next_message().await;
    by_comparison().await;
}

async fn by_the_next_message() {
    let stage = Stage::start(RELYING).await;
    for venue in VENUES {
        let order = rest(&stage, venue, &format!("gap-{venue}"), "0.003").await;
        let gap = stage.fault(venue, json!({ "kind": "skip", "stream": "userData" })).await;
        stage.fill(venue, &order, "0.001").await;
        stage.fill(venue, &order, "0.0005").await;
        stage.until_hit("the messages are lost", gap, 2).await;
        let story = stage.story(&order).await;
        assert_eq!(story.state(), Some(OrderState::Submitted), "{venue}: {}", told(&story));
        stage.heal(gap).await;
        stage.fill(venue, &order, "0.0005").await;
        let story = stage.until("all three trades", &order, |story| story.filled().to_string() == "0.002").await;
        let fills = steps(&story).iter().filter(|step| step.fill.is_some()).count();
        assert_eq!(fills, 3, "{venue}: {}", told(&story));
        // The last one comes twice.
        stage.fault(venue, json!({ "kind": "duplicate", "stream": "userData" })).await;
        stage.fill(venue, &order, "0.001").await;
        stage.until_filled(&order).await;
    }
    stage.prove().await;
}

async fn by_comparison() {
    let stage = Stage::start(WATCHFUL).await;
    for venue in VENUES {
        let whole = rest(&stage, venue, &format!("whole-{venue}"), "0.001").await;
        let part = rest(&stage, venue, &format!("part-{venue}"), "0.002").await;
        let gap = stage.fault(venue, json!({ "kind": "skip", "stream": "userData" })).await;
        stage.fill(venue, &whole, "0.001").await;
        stage.until_filled(&whole).await;
        stage.fill(venue, &part, "0.001").await;
        let story = stage.until("its trade", &part, |story| story.filled().to_string() == "0.001").await;
        let last = steps(&story).last().map(|step| step.evidence);
        assert_eq!(last, Some(Evidence::Query), "{venue}: {}", told(&story));
        let from = stage.sequence().await;
        let compared = stage.until_compared("a comparison", venue, from, |_| true).await;
        assert_eq!(compared.halted, None, "{venue}: a lost message is not a difference: {compared:?}");
        stage.heal(gap).await;
        stage.cancel(&part).await;
        stage.until_state(&part, OrderState::Cancelled).await;
    }
    stage.prove().await;
}

/// What happened while the stream was away is asked for when it is back, without waiting for anything else: no poll and no
/// periodic comparison runs here.
#[tokio::test]
async fn reconnect_pulls_executions() {
    let stage = Stage::start(RELYING).await;
    for venue in VENUES {
        let part = rest(&stage, venue, &format!("part-{venue}"), "0.002").await;
        let whole = rest(&stage, venue, &format!("whole-{venue}"), "0.003").await;
        let gone = rest(&stage, venue, &format!("gone-{venue}"), "0.004").await;
        // When the stream breaks the executor asks once; what happens after that nobody tells.
        let from = stage.sequence().await;
        let asked = stage
            .fault(venue, json!({ "kind": "delay", "ms": 1, "method": "GET", "path": if venue == Venue::Btcturk { "/api/v1/order/" } else { "/api/v3/order" } }))
            .await;
        let cut = stage.fault(venue, json!({ "kind": "cut", "stream": "userData", "for_ms": 600_000 })).await;
        stage.until_hit("the executor asks once about all three", asked, 3).await;
        stage.fill(venue, &part, "0.001").await;
        stage.fill(venue, &whole, "0.001").await;
        stage.fill(venue, &whole, "0.002").await;
        let body = json!({ "exchange": venue, "client_id": gone.client_id() });
        stage.system.simulator(reqwest::Method::POST, "/sim/orders/cancel", Some(body)).await;
        for order in [&part, &whole, &gone] {
            // Nobody told: at most it was found by asking, where the executor asked about one of them twice.
            let story = stage.story(order).await;
            let news = steps(&story).into_iter().filter(|step| step.fill.is_some() || step.state == OrderState::Cancelled);
            assert!(news.into_iter().all(|step| step.evidence == Evidence::Query), "{venue}: {}", told(&story));
        }
        stage.heal(cut).await;
        let story = stage.until_filled(&whole).await;
        let trades: Vec<_> = steps(&story).into_iter().filter(|step| step.fill.is_some()).collect();
        assert!(trades.len() == 2 && trades.iter().all(|step| step.evidence == Evidence::Query), "{venue}: {}", told(&story));
        stage.until_state(&gone, OrderState::Cancelled).await;
        stage.until("its trade", &part, |story| story.filled().to_string() == "0.001").await;
        let compared = stage.until_compared("compared", venue, from, |compared| compared.occasion == "reconnect").await;
        assert_eq!(compared.halted, None, "{venue}: {compared:?}");
        stage.heal(asked).await;
        stage.fill(venue, &part, "0.001").await;
        let story = stage.until_filled(&part).await;
        let last = steps(&story).iter().rev().find(|step| step.fill.is_some()).map(|step| step.evidence);
        assert_eq!(last, Some(Evidence::UserData), "{venue}: the stream is back: {}", told(&story));
    }
    stage.prove().await;
}
