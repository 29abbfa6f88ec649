//! What goes wrong with orders, each as a connector meets it and as the exchange's own log proves it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use spark_exchange_sim::Sim;
use support::*;

const ORDER: &str = "/api/v3/order";

async fn held() -> Sim {
    let sim = start(config()).await;
    let binance =
        json!({"exchange": "binance", "symbol": "BTCUSDT", "bid": "60000", "bid_size": "1", "ask": "60001", "ask_size": "1"});
    let btcturk =
        json!({"exchange": "btcturk", "symbol": "BTCTRY", "bid": "2000000", "bid_size": "1", "ask": "2000100", "ask_size": "1"});
    admin(&sim, "/sim/market", binance).await;
    admin(&sim, "/sim/market", btcturk).await;
    sim
}

fn limit(client: &str, price: &str) -> String {
    format!("symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.1&price={price}&newClientOrderId={client}")
}

async fn place(sim: &Sim, client: &str, price: &str) -> Answer {
    binance_trade(sim, "POST", ORDER, &limit(client, price)).await
}

async fn shown(sim: &Sim, client: &str) -> Value {
    binance_trade(sim, "GET", ORDER, &format!("symbol=BTCUSDT&origClientOrderId={client}")).await.json()
}

async fn counted(sim: &Sim, exchange: &str, client: &str) -> Value {
    orders_log(sim, exchange).await["clients"][client]["accepted"].clone()
}

#[tokio::test]
async fn an_answer_is_lost_after_the_order_was_executed() {
    let sim = held().await;
    let id = fault(&sim, json!({"exchange": "binance", "kind": "lost_after", "n": 1})).await;
    let lost = binance_request(&sim, "POST", ORDER, &limit("cut", "59000")).send().await;
    assert!(lost.is_err(), "no answer");
    assert_eq!((shown(&sim, "cut").await["status"].clone(), counted(&sim, "binance", "cut").await), (json!("NEW"), json!(1)));
    assert_eq!(hits(&sim, id).await, 1);
    // Sent again it is a duplicate: the exchange says so, and has one order.
    assert_eq!(place(&sim, "cut", "59000").await.json()["msg"], "Duplicate order sent.");

    fault(&sim, json!({"exchange": "binance", "kind": "lost_after", "code": 504, "symbol": "BTCUSDT", "n": 1})).await;
    let timeout = place(&sim, "timeout", "60001").await;
    assert_eq!((timeout.status, timeout.json()["code"].as_i64()), (504, Some(-1007)));
    assert_eq!(shown(&sim, "timeout").await["status"], "FILLED");
    // Cancels only when the fault says so.
    fault(&sim, json!({"exchange": "binance", "kind": "lost_after", "method": "DELETE", "code": 503, "n": 1})).await;
    let cancel = binance_trade(&sim, "DELETE", ORDER, "symbol=BTCUSDT&origClientOrderId=cut").await;
    assert_eq!((cancel.status, shown(&sim, "cut").await["status"].clone()), (503, json!("CANCELED")));
    sim.stop().await;
}

#[tokio::test]
async fn an_answer_is_lost_before_the_order_was_executed() {
    let sim = held().await;
    fault(&sim, json!({"exchange": "binance", "kind": "lost_before", "n": 1})).await;
    assert!(binance_request(&sim, "POST", ORDER, &limit("never", "59000")).send().await.is_err());
    fault(&sim, json!({"exchange": "binance", "kind": "lost_before", "code": 502, "n": 1})).await;
    assert_eq!(place(&sim, "never", "59000").await.status, 502);
    assert_eq!(
        (shown(&sim, "never").await["code"].clone(), counted(&sim, "binance", "never").await),
        (json!(-2013), Value::Null)
    );
    assert_eq!(place(&sim, "never", "59000").await.status, 200);
    sim.stop().await;
}

#[tokio::test]
async fn btcturk_answers_are_lost_too_and_a_second_submit_is_a_second_order() {
    let sim = held().await;
    let body = json!({"quantity": "0.01", "price": "1900000", "newOrderClientId": "t-1", "orderMethod": "limit", "orderType": "buy", "pairSymbol": "BTCTRY"});
    let post = async || btcturk_request(&sim, "POST", "/api/v1/order", BTCTURK_TRADER).json(&body).send().await;
    fault(&sim, json!({"exchange": "btcturk", "kind": "lost_after", "symbol": "BTCTRY", "n": 1})).await;
    assert!(post().await.is_err());
    assert_eq!(counted(&sim, "btcturk", "t-1").await, 1);
    assert_eq!(post().await.unwrap().status().as_u16(), 200);
    assert_eq!(counted(&sim, "btcturk", "t-1").await, 2);
    fault(
        &sim,
        json!({"exchange": "btcturk", "kind": "reject", "body": {"code": 1123, "message": "FAILED_MIN_TOTAL_AMOUNT"}, "n": 1}),
    )
    .await;
    let refused = post().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.json::<Value>().await.unwrap()["code"].as_i64()), (400, Some(1123)));
    sim.stop().await;
}

#[tokio::test]
async fn events_come_twice_late_or_never() {
    let sim = held().await;
    let mut events = binance_events(&sim).await;
    fault(&sim, json!({"exchange": "binance", "kind": "duplicate", "stream": "executionReport", "n": 1})).await;
    place(&sim, "twice", "59000").await;
    let (first, second) = (events.json("a report").await, events.json("the same again").await);
    assert_eq!((&first, &first["event"]["c"]), (&second, &json!("twice")));
    assert_eq!(events.json("balances").await["event"]["e"], "outboundAccountPosition");

    fault(&sim, json!({"exchange": "binance", "kind": "skip", "stream": "executionReport", "n": 1})).await;
    place(&sim, "missed", "59000").await;
    assert_eq!(events.json("balances only").await["event"]["e"], "outboundAccountPosition");
    assert_eq!(shown(&sim, "missed").await["status"], "NEW");

    fault(&sim, json!({"exchange": "binance", "kind": "delay", "ms": 300, "stream": "userData", "n": 1})).await;
    let begin = std::time::Instant::now();
    place(&sim, "late", "59000").await;
    assert_eq!(events.json("the late report").await["event"]["c"], "late");
    assert!(begin.elapsed().as_millis() >= 300);
    sim.stop().await;
}

#[tokio::test]
async fn sockets_of_the_account_are_cut_and_market_data_goes_on() {
    let sim = held().await;
    let mut events = binance_events(&sim).await;
    let mut private = btcturk_events(&sim).await;
    let mut market = connect(sim.binance_addr, "/ws/ethusdt@trade").await;
    for exchange in ["binance", "btcturk"] {
        fault(&sim, json!({"exchange": exchange, "kind": "cut", "stream": "userData"})).await;
    }
    for socket in [&mut events, &mut private] {
        while !matches!(socket.next("the cut").await, Came::Broken(_)) {}
    }
    market.json("a trade after the cut").await;
    // What happened meanwhile is not told again.
    place(&sim, "unheard", "59000").await;
    let mut again = binance_events(&sim).await;
    place(&sim, "heard", "59000").await;
    assert_eq!(again.json("the first report").await["event"]["c"], "heard");
    sim.stop().await;
}

#[tokio::test]
async fn the_next_order_is_refused_at_once_or_after_its_acceptance() {
    let sim = held().await;
    fault(&sim, json!({"exchange": "binance", "kind": "reject", "n": 1})).await;
    let refused = place(&sim, "no", "59000").await;
    assert_eq!((refused.status, refused.json()["code"].as_i64()), (400, Some(-2010)));
    assert_eq!(orders_log(&sim, "binance").await["clients"]["no"]["rejected"], 1);
    fault(
        &sim,
        json!({"exchange": "binance", "kind": "reject", "body": {"code": -1013, "msg": "Filter failure: LOT_SIZE"}, "n": 1}),
    )
    .await;
    assert_eq!(place(&sim, "no", "59000").await.json(), json!({"code": -1013, "msg": "Filter failure: LOT_SIZE"}));
    let mut events = binance_events(&sim).await;
    fault(&sim, json!({"exchange": "binance", "kind": "reject", "late": true, "symbol": "BTCUSDT", "n": 1})).await;
    assert_eq!(place(&sim, "later", "59000").await.json()["status"], "REJECTED");
    let is = |status: &'static str| move |frame: &Value| frame["event"]["x"] == status;
    events.find("NEW", is("NEW")).await;
    let rejected = events.find("REJECTED", is("REJECTED")).await;
    assert_eq!((&rejected["event"]["c"], &rejected["event"]["X"]), (&json!("later"), &json!("REJECTED")));
    assert_eq!(place(&sim, "yes", "59000").await.json()["status"], "NEW");
    sim.stop().await;
}

#[tokio::test]
async fn an_order_is_filled_in_part_and_expires() {
    let sim = held().await;
    fault(&sim, json!({"exchange": "binance", "kind": "part_expire", "share": "0.25", "n": 1})).await;
    let part = place(&sim, "part", "59000").await.json();
    assert_eq!(
        (&part["status"], &part["executedQty"], &part["fills"][0]["price"]),
        (&json!("EXPIRED"), &json!("0.02500000"), &json!("59000.00000000"))
    );
    fault(&sim, json!({"exchange": "binance", "kind": "part_expire", "n": 1})).await;
    let market = binance_trade(&sim, "POST", ORDER, "symbol=BTCUSDT&side=BUY&type=MARKET&quoteOrderQty=6000.1").await.json();
    assert_eq!((&market["status"], &market["executedQty"]), (&json!("EXPIRED"), &json!("0.05000000")));
    sim.stop().await;
}

#[tokio::test]
async fn a_fill_comes_before_the_cancel() {
    let sim = held().await;
    let cancel = async |client: &str| {
        binance_trade(&sim, "DELETE", ORDER, &format!("symbol=BTCUSDT&origClientOrderId={client}")).await.json()
    };
    place(&sim, "whole", "59000").await;
    place(&sim, "half", "59000").await;
    fault(&sim, json!({"exchange": "binance", "kind": "cancel_race", "n": 1})).await;
    assert_eq!(cancel("whole").await["code"], -2011);
    assert_eq!(shown(&sim, "whole").await["status"], "FILLED");
    fault(&sim, json!({"exchange": "binance", "kind": "cancel_race", "share": "0.5", "n": 1})).await;
    let half = cancel("half").await;
    assert_eq!((&half["status"], &half["executedQty"]), (&json!("CANCELED"), &json!("0.05000000")));
    sim.stop().await;
}

#[tokio::test]
async fn the_exchange_restarts_with_another_state_and_its_log_stays() {
    let sim = held().await;
    let mut events = binance_events(&sim).await;
    place(&sim, "forgotten", "59000").await;
    let reset = json!({"exchange": "binance", "balances": {"USDT": {"free": "77", "locked": "0"}}});
    let state = admin(&sim, "/sim/state/reset", reset).await;
    assert_eq!(state["balances"]["USDT"], json!({"free": "77", "locked": "0"}));
    while !matches!(events.next("the restart").await, Came::Broken(_)) {}
    assert_eq!(shown(&sim, "forgotten").await["code"], -2013);
    let account = binance_trade(&sim, "GET", "/api/v3/account", "").await.json();
    let usdt = account["balances"].as_array().unwrap().iter().find(|row| row["asset"] == "USDT").unwrap().clone();
    assert_eq!(usdt["free"], "77.00000000");
    assert_eq!(counted(&sim, "binance", "forgotten").await, 1, "what it wrote down is not forgotten");
    // Only sockets, or only orders, can be chosen.
    admin(
        &sim,
        "/sim/state/reset",
        json!({"exchange": "binance", "orders": false, "configured_balances": true, "sockets": false}),
    )
    .await;
    let log = orders_log(&sim, "binance").await;
    assert_eq!(log["balances"]["USDT"]["free"], "18452.77");
    sim.stop().await;
}

#[tokio::test]
async fn orders_from_outside_look_like_the_accounts_own() {
    let sim = held().await;
    let mut events = binance_events(&sim).await;
    let orphan = json!({"exchange": "binance", "symbol": "BTCUSDT", "side": "buy", "quantity": "0.1", "price": "59000", "client_id": "web_1"});
    let order = admin(&sim, "/sim/orders", orphan.clone()).await;
    assert_eq!((&order["status"], &order["origin"]), (&json!("new"), &json!("outside")));
    assert_eq!(events.json("a report").await["event"]["c"], "web_1");
    let open = binance_trade(&sim, "GET", "/api/v3/openOrders", "symbol=BTCUSDT").await.json();
    assert_eq!((open.as_array().unwrap().len(), &open[0]["clientOrderId"]), (1, &json!("web_1")));
    let twice = send(client().post(format!("http://{}/sim/orders", sim.admin_addr)).body(orphan.to_string())).await;
    assert_eq!((twice.status, &twice.json()["field"]), (400, &json!("client_id")));

    let part = admin(&sim, "/sim/orders/fill", json!({"exchange": "binance", "client_id": "web_1", "quantity": "0.04"})).await;
    assert_eq!((&part["status"], &part["filled"]), (&json!("partially_filled"), &json!("0.04")));
    let ended = admin(&sim, "/sim/orders/expire", json!({"exchange": "binance", "client_id": "web_1"})).await;
    assert_eq!(ended["status"], "expired");
    let other = json!({"exchange": "btcturk", "symbol": "BTCTRY", "side": "sell", "quantity": "0.01", "price": "2100000"});
    let other = admin(&sim, "/sim/orders", other).await;
    let ended = admin(&sim, "/sim/orders/cancel", json!({"exchange": "btcturk", "order_id": other["id"]})).await;
    assert_eq!(ended["status"], "canceled");
    sim.stop().await;
}

#[tokio::test]
async fn a_held_market_stands_still_says_its_price_and_goes_on() {
    let sim = held().await;
    let top = async || get(sim.binance_addr, "/api/v3/ticker/bookTicker?symbol=BTCUSDT").await.json();
    let held = top().await;
    assert_eq!((&held["bidPrice"], &held["askQty"]), (&json!("60000.00000000"), &json!("1.00000000")));
    // Once a second it says its price with a new id, and a trade.
    let mut tops = connect(sim.binance_addr, "/ws/btcusdt@bookTicker/btcusdt@trade").await;
    let is_top = |frame: &Value| frame.get("u").is_some();
    let (first, second) = (tops.find("the price", is_top).await, tops.find("the price again", is_top).await);
    assert!(first["u"].as_u64() < second["u"].as_u64() && first["b"] == second["b"], "{first} {second}");
    tops.find("a trade", |frame| frame["e"] == "trade").await;
    // A trade by hand goes through what rests.
    place(&sim, "resting", "60000").await;
    let trade = json!({"price": "60000", "quantity": "0.06", "side": "sell"});
    admin(&sim, "/sim/market", json!({"exchange": "binance", "symbol": "BTCUSDT", "trade": trade})).await;
    assert_eq!(shown(&sim, "resting").await["executedQty"], "0.06000000");
    let crossed = json!({"exchange": "binance", "symbol": "BTCUSDT", "bid": "70000"}).to_string();
    let crossed = send(client().post(format!("http://{}/sim/market", sim.admin_addr)).body(crossed)).await;
    assert_eq!((crossed.status, &crossed.json()["field"]), (400, &json!("bid")));
    binance_trade(&sim, "DELETE", "/api/v3/openOrders", "symbol=BTCUSDT").await;
    admin(&sim, "/sim/market", json!({"exchange": "binance", "symbol": "BTCUSDT", "frozen": false})).await;
    let begin = std::time::Instant::now();
    while top().await["bidPrice"] == held["bidPrice"] {
        assert!(begin.elapsed() < SOON, "the market does not go on");
    }
    sim.stop().await;
}
