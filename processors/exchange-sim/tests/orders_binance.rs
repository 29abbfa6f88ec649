//! Binance's order side as a connector meets it: REST, then the account's events over the WebSocket API.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use spark_exchange_sim::{Config, Sim};
use support::*;

/// A market that stands still: bid 60000 × 1, asks 60001 × 0.5 and 60010 × 1.
async fn held(config: Config) -> Sim {
    let sim = start(config).await;
    admin(&sim, "/sim/market", book(json!([["60000", "1"]]), json!([["60001", "0.5"], ["60010", "1"]]))).await;
    sim
}

fn book(bids: Value, asks: Value) -> Value {
    json!({"exchange": "binance", "symbol": "BTCUSDT", "bids": bids, "asks": asks})
}

const ORDER: &str = "/api/v3/order";

fn limit(side: &str, quantity: &str, price: &str, client: &str) -> String {
    format!("symbol=BTCUSDT&side={side}&type=LIMIT&timeInForce=GTC&quantity={quantity}&price={price}&newClientOrderId={client}")
}

async fn balance(sim: &Sim, asset: &str) -> (String, String) {
    let account = binance_trade(sim, "GET", "/api/v3/account", "").await.json();
    let row = account["balances"].as_array().unwrap().iter().find(|row| row["asset"] == asset).unwrap().clone();
    (row["free"].as_str().unwrap().to_owned(), row["locked"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_limit_order_takes_what_is_there_rests_and_is_filled_as_the_market_comes() {
    let sim = held(config()).await;
    assert_eq!(balance(&sim, "USDT").await, ("18452.77000000".into(), "925.50000000".into()));
    let placed = binance_trade(&sim, "POST", ORDER, &limit("BUY", "0.1", "60000.50", "a-1")).await;
    let answer = placed.json();
    assert_eq!(placed.status, 200, "{answer}");
    assert_eq!((&answer["status"], &answer["fills"], &answer["executedQty"]), (&json!("NEW"), &json!([]), &json!("0.00000000")));
    assert_eq!((placed.header("x-mbx-order-count-10s"), placed.header("x-mbx-order-count-1d")), (Some("1"), Some("1")));
    assert_eq!(placed.header("x-mbx-used-weight-1m"), Some("20"), "the account's 20 and nothing for the order");
    assert_eq!(balance(&sim, "USDT").await, ("12452.72000000".into(), "6925.55000000".into()));

    admin(&sim, "/sim/market", book(json!([["59990", "1"]]), json!([["60000", "0.04"]]))).await;
    let query = "symbol=BTCUSDT&origClientOrderId=a-1";
    let order = binance_trade(&sim, "GET", ORDER, query).await.json();
    assert_eq!((&order["status"], &order["executedQty"]), (&json!("PARTIALLY_FILLED"), &json!("0.04000000")));
    assert_eq!(order["cummulativeQuoteQty"], "2400.02000000", "at its own price");

    let canceled = binance_trade(&sim, "DELETE", ORDER, &format!("{query}&newClientOrderId=c-1")).await.json();
    assert_eq!((&canceled["status"], &canceled["origClientOrderId"]), (&json!("CANCELED"), &json!("a-1")));
    assert_eq!((&canceled["clientOrderId"], &canceled["executedQty"]), (&json!("c-1"), &json!("0.04000000")));
    // Paid 2400.02, the rest is free again; of 0.04 BTC a thousandth is the commission.
    assert_eq!(balance(&sim, "USDT").await, ("16052.75000000".into(), "925.50000000".into()));
    assert_eq!(balance(&sim, "BTC").await, ("0.46179500".into(), "0.01500000".into()));
    let again = binance_trade(&sim, "DELETE", ORDER, query).await;
    assert_eq!((again.status, again.json()["code"].as_i64()), (400, Some(-2011)));
    sim.stop().await;
}

#[tokio::test]
async fn the_exchange_writes_down_every_submit_fill_and_cancel() {
    let sim = held(config()).await;
    binance_trade(&sim, "POST", ORDER, &limit("BUY", "0.01", "59000", "x")).await;
    let twice = binance_trade(&sim, "POST", ORDER, &limit("BUY", "0.01", "59000", "x")).await;
    assert_eq!(twice.json(), json!({"code": -2010, "msg": "Duplicate order sent."}));
    binance_trade(&sim, "DELETE", ORDER, "symbol=BTCUSDT&origClientOrderId=x").await;
    // The id is free again once its order is final.
    let filled = binance_trade(&sim, "POST", ORDER, &limit("SELL", "0.2", "59990", "x")).await.json();
    assert_eq!((&filled["status"], &filled["fills"][0]["price"]), (&json!("FILLED"), &json!("60000.00000000")), "{filled}");
    assert_eq!(
        (&filled["fills"][0]["commission"], &filled["fills"][0]["commissionAsset"]),
        (&json!("12.00000000"), &json!("USDT"))
    );
    binance_trade(&sim, "POST", ORDER, &limit("BUY", "9", "59000", "rich")).await;
    binance_signed(&sim, "/api/v3/openOrders", &format!("symbol=BTCUSDT&timestamp={}", now_ms())).await;

    let log = orders_log(&sim, "binance").await;
    let outcomes: Vec<_> = log["submits"].as_array().unwrap().iter().map(|row| (&row["client_id"], &row["outcome"])).collect();
    let want = [("x", "accepted"), ("x", "duplicate"), ("x", "accepted"), ("rich", "rejected")];
    assert_eq!(outcomes.len(), want.len(), "{log}");
    for (had, want) in outcomes.iter().zip(want) {
        assert_eq!((had.0.as_str().unwrap(), had.1.as_str().unwrap()), want);
    }
    assert_eq!((&log["clients"]["x"]["accepted"], &log["clients"]["x"]["duplicate"]), (&json!(2), &json!(1)));
    assert_eq!((&log["cancels"][0]["outcome"], &log["cancels"][0]["client_id"]), (&json!("canceled"), &json!("x")));
    let fill = &log["fills"][0];
    assert_eq!((&fill["client_id"], &fill["quantity"], &fill["price"]), (&json!("x"), &json!("0.2"), &json!("60000")));
    assert_eq!(fill["order_id"], log["clients"]["x"]["order_ids"][1]);
    sim.stop().await;
}
