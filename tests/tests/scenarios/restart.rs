//! What survives a restart.

use serde_json::json;
use spark_bus_schema::OrderId;
use spark_bus_schema::orders::{Evidence, OrderState};
use spark_tests::system::signal;

use crate::stage::{RELYING, Stage, VENUES, path, question, resting, selling, steps, told};

/// Orders that rest at an exchange are kept through kill -9 of everything that decides about them: not cancelled, not sent
/// again, and what happens to them afterwards is recorded.
#[tokio::test]
async fn restart_keeps_working_orders() {
    let stage = Stage::start(RELYING).await;
    let mut orders = Vec::new();
    for venue in VENUES {
        let (filled, cancelled) = (format!("keep-{venue}-fill"), format!("keep-{venue}-cancel"));
        orders.push((
            venue,
            stage.place(&filled, &resting(venue, "0.002")).await,
            stage.place(&cancelled, &resting(venue, "0.003")).await,
        ));
    }
    for (venue, filled, cancelled) in &orders {
        stage.until_state(filled, OrderState::Submitted).await;
        stage.until_state(cancelled, OrderState::Submitted).await;
        stage.fill(*venue, filled, "0.0005").await;
        stage.until_state(filled, OrderState::PartiallyFilled).await;
    }
    for process in ["executor", "risk", "gateway", "nats-server", "executor"] {
        stage.system.kill(process).await;
    }
    for (venue, filled, cancelled) in &orders {
        // While nobody was there, and after it.
        stage.fill(*venue, filled, "0.0005").await;
        let story = stage.until("its second trade", filled, |story| story.filled().to_string() == "0.001").await;
        assert_eq!(story.state(), Some(OrderState::PartiallyFilled));
        stage.fill(*venue, filled, "0.001").await;
        stage.until_filled(filled).await;

        let story = stage.story(cancelled).await;
        assert_eq!(story.state(), Some(OrderState::Submitted), "{}", told(&story));
        stage.cancel(cancelled).await;
        let story = stage.until_state(cancelled, OrderState::Cancelled).await;
        assert!(steps(&story).iter().all(|step| step.evidence != Evidence::NeverSent), "{}", told(&story));
        for order in [filled, cancelled] {
            assert_eq!(stage.submits(*venue, order).await, 1, "{venue}: {order}");
        }
    }
    let stories = stage.prove().await;
    assert_eq!(stories.len(), 4);
}

/// Orders of which nobody knows whether the exchange has them survive everything being killed: one whose answer was lost and
/// that could not be asked about, and one that had just been claimed, so that the LEDGER does not even say that it was sent.
#[tokio::test]
async fn lost_orders_survive_restart() {
    let stage = Stage::start(RELYING).await;
    let mut orders = Vec::new();
    for venue in VENUES {
        // Nobody tells and nobody answers, before and after the restart.
        stage.fault(venue, json!({ "kind": "skip", "stream": "userData" })).await;
        let silent = stage.fault(venue, json!({ "kind": "status", "code": 503, "method": "GET", "path": question(venue) })).await;
        stage.fault(venue, json!({ "kind": "lost_after", "n": 1 })).await;
        let lost = stage.place(&format!("lost-{venue}"), &resting(venue, "0.001")).await;
        stage.until_state(&lost, OrderState::Unknown).await;
        orders.push((venue, silent, lost, OrderId::derive("other", &format!("claimed-{venue}"))));
        // On its way while its sender dies.
        stage.delay_submit(venue).await;
    }
    for venue in VENUES.into_iter().rev() {
        // It waits for no other: it is of another strategy.
        let mut order = selling(venue, "0.002");
        order["strategy"] = json!("other");
        assert_eq!(stage.ask(&format!("claimed-{venue}"), &order).await.json()["approved"], true);
    }
    for (_, _, _, claimed) in &orders {
        stage.until_state(claimed, OrderState::Pending).await;
    }
    let executor = stage.system.pid("executor").await;
    // Still, not dead: the requests that it has made arrive.
    signal(executor, "STOP");
    for (venue, _, _, claimed) in &orders {
        stage.until_arrived(*venue, claimed).await;
        assert_eq!(stage.story(claimed).await.state(), Some(OrderState::Pending), "{venue}: it was stopped too late");
    }
    for process in ["executor", "nats-server", "risk", "executor"] {
        stage.system.kill(process).await;
    }
    for (venue, silent, lost, claimed) in &orders {
        stage.until_hit("the new executor asks", *silent, stage.hits(*silent).await + 4).await;
        for (order, state) in [(lost, OrderState::Unknown), (claimed, OrderState::Pending)] {
            let story = stage.story(order).await;
            assert_eq!(story.state(), Some(state), "{venue}: {}", told(&story));
        }
        stage.heal(*silent).await;
        let story = stage.until_filled(claimed).await;
        assert_eq!(path(&story)[1], (OrderState::Submitted, Evidence::Query), "{venue}: {}", told(&story));
        stage.until_state(lost, OrderState::Submitted).await;
    }
    stage.desk.kill_switch(true, true).await;
    stage.prove().await;
    for (venue, _, lost, claimed) in &orders {
        for order in [lost, claimed] {
            assert_eq!(stage.submits(*venue, order).await, 1, "{venue}: {order}");
        }
    }
}
