//! One wish, one order: who an order is follows from who wants it, and from nothing else.

use serde_json::{Value, json};
use spark_bus_schema::OrderId;

use crate::stage::{RELYING, Stage, VENUES, market_of, resting, selling, steps, told};

/// `spark-` and the first 26 characters of the base32 of SHA-256("6:manual,5:det-1"), and so on: calculated by another
/// program. They must never change: an order that was sent yesterday is asked for by them.
const KNOWN: [(&str, &str, &str); 3] = [
    ("manual", "det-1", "spark-ipipnjgr2egkayjnway7nbyips"),
    ("manual", "same", "spark-76m3476uohniop746l4vceq4ir"),
    ("twin", "same", "spark-cy6rshysbokup6yjoavdgean2o"),
];

fn wanted_by(strategy: &str, mut order: Value) -> Value {
    order["strategy"] = json!(strategy);
    order
}

/// What an exchange knows an order by follows from strategy and key alone: not from the process, the time or a counter, and
/// not from what is stored anywhere.
#[tokio::test]
async fn client_ids_are_deterministic() {
    // Two systems that know nothing of each other.
    for _ in 0..2 {
        let stage = Stage::start(RELYING).await;
        for (number, (strategy, key, client_id)) in KNOWN.iter().enumerate() {
            let venue = VENUES[number % 2];
            let order = wanted_by(strategy, selling(venue, "0.001"));
            let answer = stage.ask(key, &order).await;
            assert_eq!(answer.json()["clientOrderId"], *client_id, "{answer:?}");
            let id = OrderId::from_client_id(client_id).unwrap();
            stage.until_filled(&id).await;
            assert_eq!(stage.log(venue).await["clients"][client_id]["accepted"], 1);
            for process in ["gateway", "risk", "executor"] {
                stage.system.kill(process).await;
            }
            assert_eq!(stage.ask(key, &order).await, answer);
        }
        let stories = stage.prove().await;
        assert_eq!(stories.len(), KNOWN.len());
    }
}

/// The exchanges take a client id again, Binance once the first order is filled, BTCTurk at any time: they do not make an
/// order happen once. The LEDGER does, also for an executor that has lost all it knew.
#[tokio::test]
async fn client_id_reuse_after_fill_does_not_trade_twice() {
    let stage = Stage::start(RELYING).await;
    for venue in VENUES {
        let (filled, open) = (format!("filled-{venue}"), format!("open-{venue}"));
        let order = stage.place(&filled, &selling(venue, "0.001")).await;
        stage.until_filled(&order).await;
        let rests = stage.place(&open, &resting(venue, "0.001")).await;
        stage.until_state(&rests, spark_bus_schema::orders::OrderState::Submitted).await;
        let first = (stage.ask(&filled, &selling(venue, "0.001")).await, stage.ask(&open, &resting(venue, "0.001")).await);
        for process in ["executor", "risk"] {
            // What it knew is gone; the LEDGER is read from its beginning.
            for file in ["checkpoint.sqlite", "checkpoint.sqlite-wal", "checkpoint.sqlite-shm"] {
                let _ = std::fs::remove_file(stage.folder(process).join(file));
            }
            stage.system.kill(process).await;
        }
        stage.system.kill("gateway").await;
        for _ in 0..3 {
            let again = (stage.ask(&filled, &selling(venue, "0.001")).await, stage.ask(&open, &resting(venue, "0.001")).await);
            assert_eq!(again, first, "{venue}");
        }
        // Something that is decided and traded after all that: whatever would have been sent again has been.
        let after = stage.place(&format!("after-{venue}"), &selling(venue, "0.001")).await;
        stage.until_filled(&after).await;
        stage.cancel(&rests).await;
        stage.until("over", &rests, spark_tests::checker::Story::is_over).await;
        for id in [&order, &rests, &after] {
            assert_eq!(stage.submits(venue, id).await, 1, "{venue}: {id}");
        }
        let story = stage.story(&order).await;
        let fills = steps(&story).iter().filter(|step| step.fill.is_some()).count();
        assert_eq!((fills, story.filled().to_string().as_str()), (1, "0.001"), "{venue}: {}", told(&story));
    }
    let stories = stage.prove().await;
    assert_eq!(stories.len(), 6);
    // The exchange would have: it takes the id of a filled order without a word.
    for venue in VENUES {
        let (symbol, ..) = market_of(venue);
        let id = OrderId::derive("manual", &format!("filled-{venue}"));
        let body = json!({
            "exchange": venue, "symbol": symbol, "side": "sell", "type": "market", "quantity": "0.001", "client_id": id.client_id(),
        });
        stage.system.simulator(reqwest::Method::POST, "/sim/orders", Some(body)).await;
        let again = stage.story(&id).await;
        assert_eq!(again.filled().to_string(), "0.001", "{venue}: somebody else's trade was counted");
        let problems = stage.problems(&stories).await;
        assert!(problems.iter().any(|problem| problem.contains(id.as_str())), "{venue}: {problems:?}");
    }
}
