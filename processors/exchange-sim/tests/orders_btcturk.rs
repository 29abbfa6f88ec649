//! BTCTurk's order side as a connector meets it: a submit that says little, a cancel that comes later, frames after a login.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use spark_exchange_sim::{Config, Sim};
use support::*;

const ORDER: &str = "/api/v1/order";

/// A market that stands still: bid 2000000 × 1, asks 2000100 × 0.01 and 2000200 × 1.
async fn held(config: Config) -> Sim {
    let sim = start(config).await;
    admin(&sim, "/sim/market", book("2000000", json!([["2000100", "0.01"], ["2000200", "1"]]))).await;
    sim
}

fn book(bid: &str, asks: Value) -> Value {
    json!({"exchange": "btcturk", "symbol": "BTCTRY", "bids": [[bid, "1"]], "asks": asks})
}

async fn submit(sim: &Sim, body: Value) -> Answer {
    send(btcturk_request(sim, "POST", ORDER, BTCTURK_TRADER).json(&body)).await
}

async fn read(sim: &Sim, path: &str) -> Value {
    let answer = send(btcturk_request(sim, "GET", path, BTCTURK_READER)).await;
    assert_eq!(answer.status, 200, "{path} {}", answer.text);
    answer.json()["data"].clone()
}

fn order(side: &str, method: &str, quantity: &str, price: &str, client: &str) -> Value {
    json!({
        "quantity": quantity, "price": price, "stopPrice": 0, "newOrderClientId": client, "orderMethod": method,
        "orderType": side, "pairSymbol": "BTCTRY",
    })
}

async fn free(sim: &Sim, asset: &str) -> String {
    let list = read(sim, "/api/v1/users/balances").await;
    list.as_array().unwrap().iter().find(|row| row["asset"] == asset).unwrap()["free"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_submit_says_no_state_and_the_order_shows_it() {
    let sim = held(config()).await;
    assert_eq!(free(&sim, "TRY").await, "84215.77");
    let placed = submit(&sim, order("buy", "limit", "0.02", "2000100", "b-1")).await.json();
    let data = &placed["data"];
    assert_eq!((&placed["success"], &placed["code"]), (&json!(true), &json!(0)));
    assert_eq!(
        (&data["quantity"], &data["price"], &data["type"], data.get("status")),
        (&json!("0.02"), &json!("2000100"), &json!("buy"), None)
    );
    assert_eq!((&data["newOrderClientId"], &data["pairSymbolNormalized"]), (&json!("b-1"), &json!("BTC_TRY")));
    let id = data["id"].as_u64().unwrap();
    let shown = read(&sim, &format!("{ORDER}/{id}")).await;
    assert_eq!((&shown["status"], &shown["leftAmount"], &shown["amount"]), (&json!("Partial"), &json!("0.01"), &json!("0.02")));
    assert_eq!((&shown["orderClientId"], &shown["type"]), (&json!("b-1"), &json!("buy")));
    // Half is bought for 20001 and 0.24 %; as much and the fee on top is locked for the other half.
    assert_eq!(free(&sim, "TRY").await, "44117.7652");
    assert_eq!(free(&sim, "BTC").await, "0.1602240011", "nothing is taken of what was bought");
    let open = read(&sim, "/api/v1/openOrders?pairSymbol=BTC_TRY").await;
    assert_eq!((open["asks"].as_array().unwrap().len(), &open["bids"][0]["id"]), (0, &json!(id)));
    let fills =
        read(&sim, &format!("/api/v1/users/transactions/trade?type=buy&type=sell&symbol=btc&symbol=try&orderId={id}")).await;
    assert_eq!((fills.as_array().unwrap().len(), &fills[0]["fee"], &fills[0]["amount"]), (1, &json!("-48.0024"), &json!("0.01")));

    // The rest is filled as the market comes, at its own price and as a maker.
    admin(&sim, "/sim/market", book("1999000", json!([["2000050", "5"]]))).await;
    let shown = read(&sim, &format!("{ORDER}/{id}")).await;
    assert_eq!((&shown["status"], &shown["leftAmount"]), (&json!("Closed"), &json!("0")));
    assert_eq!(free(&sim, "TRY").await, "44141.7664", "0.12 % instead of 0.24 %");
    let all = read(&sim, "/api/v1/allOrders?pairSymbol=BTCTRY").await;
    assert_eq!((&all[0]["id"], &all[0]["type"], &all[0]["status"]), (&json!(id), &json!("Buy"), &json!("Closed")));
    sim.stop().await;
}

#[tokio::test]
async fn a_market_buy_spends_an_amount_and_stays_within_five_percent() {
    let sim = held(config()).await;
    let bought = submit(&sim, order("buy", "market", "30000", "1", "m-1")).await.json();
    let id = bought["data"]["id"].as_u64().unwrap();
    let shown = read(&sim, &format!("{ORDER}/{id}")).await;
    assert_eq!((&shown["status"], &shown["amount"], &shown["leftAmount"]), (&json!("Closed"), &json!("30000"), &json!("0")));
    let fills = read(&sim, &format!("/api/v1/users/transactions/trade?orderId={id}")).await;
    // 20001 for 0.01, then 9999 at 2000200.
    assert_eq!((&fills[1]["amount"], &fills[0]["amount"]), (&json!("0.01"), &json!("0.004999")), "{fills}");
    // The next level is a tenth away: what the first one cannot give is not bought.
    admin(&sim, "/sim/market", book("2000000", json!([["2000100", "0.01"], ["2200000", "1"]]))).await;
    let id = submit(&sim, order("buy", "market", "30000", "", "m-2")).await.json()["data"]["id"].as_u64().unwrap();
    let shown = read(&sim, &format!("{ORDER}/{id}")).await;
    assert_eq!(
        (&shown["status"], &shown["leftAmount"], &shown["price"]),
        (&json!("Canceled"), &json!("9999"), &json!("2000100"))
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_cancel_is_accepted_first_and_happens_later() {
    let sim = held(Config { btcturk_cancel_ms: 150, ..config() }).await;
    let mut events = btcturk_events(&sim).await;
    let placed = submit(&sim, order("sell", "limit", "0.01", "2100000", "c-1")).await.json();
    let id = placed["data"]["id"].as_u64().unwrap();
    let insert = events.json("451").await;
    assert_eq!((&insert[0], &insert[1]["id"], &insert[1]["newOrderClientId"]), (&json!(451), &json!(id), &json!("c-1")));
    assert_eq!(
        (&insert[1]["orderType"], &insert[1]["orderMethod"], &insert[1]["numLeft"]),
        (&json!(1), &json!(0), &json!("0.01"))
    );
    let path = format!("{ORDER}?id={id}");
    let accepted = send(btcturk_request(&sim, "DELETE", &path, BTCTURK_TRADER)).await;
    assert_eq!((accepted.status, accepted.json()), (200, json!({"success": true, "message": "SUCCESS", "code": 0})));
    assert_eq!(read(&sim, &format!("{ORDER}/{id}")).await["status"], "Untouched", "accepted is not done");
    let delete = events.json("452").await;
    assert_eq!((&delete[0], &delete[1]["id"], &delete[1]["numLeft"]), (&json!(452), &json!(id), &json!("0.01")));
    assert_eq!(read(&sim, &format!("{ORDER}/{id}")).await["status"], "Canceled");
    let again = send(btcturk_request(&sim, "DELETE", &path, BTCTURK_TRADER)).await;
    assert_eq!((again.status, &again.json()["message"]), (400, &json!("ORDER_COULD_NOT_BE_CANCELED")));
    let unknown = send(btcturk_request(&sim, "DELETE", &format!("{ORDER}?id=1"), BTCTURK_TRADER)).await;
    assert_eq!((unknown.status, &unknown.json()["message"]), (400, &json!("NO_ORDER_MATCHES_YOUR_REQUEST")));
    let log = orders_log(&sim, "btcturk").await;
    let outcomes: Vec<_> = log["cancels"].as_array().unwrap().iter().map(|row| row["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["accepted", "canceled", "refused", "refused"]);
    sim.stop().await;
}

#[tokio::test]
async fn an_order_may_be_filled_between_the_cancels_answer_and_its_effect() {
    let sim = held(Config { btcturk_cancel_ms: 60_000, ..config() }).await;
    let mut events = btcturk_events(&sim).await;
    let placed = submit(&sim, order("buy", "limit", "0.01", "1990000", "r-1")).await.json();
    let id = placed["data"]["id"].as_u64().unwrap();
    let accepted = send(btcturk_request(&sim, "DELETE", &format!("{ORDER}?id={id}"), BTCTURK_TRADER)).await;
    assert_eq!(accepted.status, 200);
    admin(&sim, "/sim/market", book("1980000", json!([["1989000", "1"]]))).await;
    let kinds = [events.json("451").await, events.json("441").await, events.json("423").await, events.json("452").await];
    assert_eq!(kinds.each_ref().map(|frame| frame[0].as_u64().unwrap()), [451, 441, 423, 452]);
    assert_eq!(
        (&kinds[2][1]["price"], &kinds[2][1]["amount"], &kinds[2][1]["fee"]),
        (&json!("1990000"), &json!("0.01"), &json!("-23.88"))
    );
    assert_eq!((&kinds[2][1]["orderId"], &kinds[3][1]["numLeft"]), (&json!(id), &json!("0")));
    assert_eq!(read(&sim, &format!("{ORDER}/{id}")).await["status"], "Closed");
    sim.stop().await;
}

#[tokio::test]
async fn mistakes_get_the_documented_codes() {
    let sim = held(Config { btcturk_orders_per_s: 100, ..config() }).await;
    let with = |name: &str, value: Value| {
        let mut body = order("buy", "limit", "0.01", "2000000", "x");
        body[name] = value;
        body
    };
    let cases = [
        (with("pairSymbol", json!("NOPETRY")), 1037, "does not exists"),
        (with("orderMethod", json!("stopLimit")), 1134, "METHOD"),
        (with("orderType", json!("hold")), 1193, "TYPE"),
        (with("price", json!("2000000.5")), 1126, "PRICE_SCALE"),
        (with("quantity", json!("0.000000001")), 1127, "QUANTITY_SCALE"),
        (with("quantity", json!("0.00001")), 1123, "MIN_TOTAL"),
        (with("quantity", json!("1")), 1122, "OPEN_ORDERS"),
        (with("quantity", json!("x")), 1037, "INVALID_REQUEST"),
        (with("price", json!("30000000")), 1226, "MAXPRICE"),
        (with("price", json!("100000")), 1227, "MINPRICE"),
    ];
    for (body, code, text) in cases {
        let answer = submit(&sim, body.clone()).await;
        let said = answer.json();
        assert_eq!((answer.status, said["code"].as_i64(), &said["success"]), (400, Some(code), &json!(false)), "{body} → {said}");
        assert!(said["message"].as_str().unwrap().contains(text), "{body} → {said}");
    }
    let unknown = send(btcturk_request(&sim, "GET", &format!("{ORDER}/77"), BTCTURK_READER)).await;
    assert_eq!((unknown.status, unknown.json()["code"].as_i64()), (400, Some(1152)));
    let numbers = with("quantity", json!(0.001));
    assert_eq!(submit(&sim, numbers).await.status, 200, "numbers are as good as texts");
    // The whole balance is not enough: the fee comes on top.
    let all = submit(&sim, order("buy", "market", &free(&sim, "TRY").await, "", "all")).await;
    assert_eq!(all.json()["code"], 1122);
    sim.stop().await;
}

#[tokio::test]
async fn client_ids_may_repeat_and_reading_keys_may_not_trade() {
    let sim = held(config()).await;
    for _ in 0..2 {
        assert_eq!(submit(&sim, order("buy", "limit", "0.001", "1900000", "same")).await.status, 200);
    }
    let log = orders_log(&sim, "btcturk").await;
    assert_eq!(log["clients"]["same"]["accepted"], 2);
    let body = order("buy", "limit", "0.001", "1900000", "reader");
    let refused = send(btcturk_request(&sim, "POST", ORDER, BTCTURK_READER).json(&body)).await;
    assert_eq!((refused.status, &refused.json()["success"]), (401, &json!(false)));
    assert_eq!(orders_log(&sim, "btcturk").await["clients"]["reader"]["refused"], 1);
    sim.stop().await;
}

#[tokio::test]
async fn ten_submits_a_second_are_the_most() {
    let sim = held(config()).await;
    let clients: Vec<String> = (0..40).map(|index| format!("q{index}")).collect();
    let all = clients.iter().map(|client| submit(&sim, order("buy", "limit", "0.001", "1900000", client)));
    let refused = futures_util::future::join_all(all).await.into_iter().find(|answer| answer.status == 429);
    let refused = refused.expect("forty at once are too many");
    assert_eq!((refused.header("retry-after"), &refused.json()["message"]), (Some("1"), &json!("TOO_MANY_REQUESTS")));
    sim.stop().await;
}

#[tokio::test]
async fn a_login_signs_key_and_nonce() {
    let sim = held(config()).await;
    let mut socket = connect(sim.btcturk_addr, "/").await;
    let mut wrong = btcturk_login(BTCTURK_READER, 3000);
    wrong[1]["nonce"] = json!(3001);
    socket.say(&wrong).await;
    assert_eq!(socket.find("the answer", |frame| frame[0] == 114).await[1]["ok"], false);
    socket.say(btcturk_login(("unknown", BTCTURK_READER.1), 3000)).await;
    assert_eq!(socket.find("the answer", |frame| frame[0] == 114).await[1]["ok"], false);
    socket.say(btcturk_login(BTCTURK_TRADER, 15_000)).await;
    assert_eq!(socket.find("the answer", |frame| frame[0] == 114).await[1]["ok"], true);
    submit(&sim, order("sell", "market", "0.001", "", "after")).await;
    let frames = [socket.json("451").await, socket.json("441").await, socket.json("423").await];
    assert_eq!(
        (&frames[2][0], &frames[2][1]["amount"], &frames[2][1]["orderClientId"]),
        (&json!(423), &json!("-0.001"), &json!("after"))
    );
    sim.stop().await;
}
