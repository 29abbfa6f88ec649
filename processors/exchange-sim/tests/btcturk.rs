//! BTCTurk's REST and feed as connectors meet them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use spark_exchange_sim::Config;
use support::*;

/// Field names and JSON types, in any order.
fn shape(value: &Value) -> Vec<(String, &'static str)> {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    let mut shape: Vec<_> = value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), kind(value))).collect();
    shape.sort();
    shape
}

fn recorded(kind: u64, channel: Option<&str>) -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/btcturk/ws/frames.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let frames = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["frame"].clone());
    frames.into_iter().find(|frame| frame[0] == kind && channel.is_none_or(|channel| frame[1]["channel"] == channel)).unwrap()
}

#[tokio::test]
async fn rest_has_the_mixed_types_of_the_real_one() {
    let sim = start(config()).await;
    let at = sim.btcturk_addr;
    let ticker = get(at, "/api/v2/ticker?pairSymbol=BTC_TRY").await.json();
    let row = &ticker["data"][0];
    for field in ["last", "high", "low", "bid", "ask", "open", "volume", "average", "daily", "dailyPercent", "timestamp", "order"]
    {
        assert!(row[field].is_number(), "{field} in {row}");
    }
    assert!(
        row["pair"] == "BTCTRY"
            && row["pairNormalized"] == "BTC_TRY"
            && ticker["success"] == true
            && ticker["code"] == 0
            && ticker["message"].is_null()
    );
    assert_eq!(get(at, "/api/v2/ticker").await.json()["data"].as_array().unwrap().len(), 4);
    assert_eq!(get(at, "/api/v2/ticker/currency?symbol=usdt").await.json()["data"].as_array().unwrap().len(), 2);
    let book = get(at, "/api/v2/orderbook?pairSymbol=USDTTRY&limit=500").await.json()["data"].clone();
    assert!(book["bids"].as_array().unwrap().len() == 100 && book["bids"][0][0].is_string() && book["timestamp"].is_i64());
    let trades = get(at, "/api/v2/trades?pairSymbol=BTCTRY").await.json()["data"].clone();
    let rows = trades.as_array().unwrap();
    assert!(!rows.is_empty() && rows.len() <= 50);
    for row in rows {
        let ticks: i64 = row["tid"].as_str().unwrap().parse().unwrap();
        assert!(((ticks - 621_355_968_000_000_000) / 10_000 - row["date"].as_i64().unwrap()).abs() < 1_000);
        assert!(row["price"].is_string() && row["amount"].is_string() && (row["side"] == "buy" || row["side"] == "sell"));
    }
    assert!(rows.windows(2).all(|pair| pair[0]["tid"].as_str() > pair[1]["tid"].as_str()), "newest first");
    let info = get(at, "/api/v2/server/exchangeinfo").await.json()["data"].clone();
    assert!(
        info["symbols"][0]["filters"][0]["tickSize"] == "1"
            && info["symbols"][0]["numeratorScale"] == 8
            && info["symbols"][0]["status"] == "TRADING"
    );
    let time = get(at, "/api/v2/server/time").await.json();
    assert!(
        time["serverTime"].is_i64() && time["serverTime2"].as_str().unwrap().ends_with("+00:00") && time.get("data").is_none()
    );
    assert_eq!(get(at, "/api/v2/server/ping").await.json(), json!({ "pong": true }));
    let from = now_ms() / 1_000 - 3_600;
    let chart =
        get(at, &format!("/v1/klines/history?symbol=BTCTRY&resolution=5&from={from}&to={}", now_ms() / 1_000)).await.json();
    let columns = ["t", "o", "h", "l", "c", "v"].map(|name| chart[name].as_array().unwrap().len());
    assert!(chart["s"] == "ok" && columns[0] >= 11 && columns.iter().all(|length| *length == columns[0]), "{chart}");
    assert!(!get(at, "/v1/ohlcs?pair=BTCTRY").await.json().as_array().unwrap().is_empty());
    assert!(!get(at, "/api/v2/ohlc?pairSymbol=BTCTRY").await.json()["data"].as_array().unwrap().is_empty());
    sim.stop().await;
}

#[tokio::test]
async fn mistakes_get_the_recorded_bodies() {
    let sim = start(config()).await;
    let bodies: Value = serde_json::from_str(
        &std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/btcturk/rest/error_bodies.json"))
            .unwrap(),
    )
    .unwrap();
    for case in &bodies.as_array().unwrap()[..3] {
        let path = case["request"].as_str().unwrap().trim_start_matches("GET ");
        let answer = get(sim.btcturk_addr, path).await;
        assert_eq!((u64::from(answer.status), answer.json()), (case["status"].as_u64().unwrap(), case["body"].clone()), "{path}");
    }
    let missing = get(sim.btcturk_addr, "/api/v2/nothing").await;
    assert_eq!((missing.status, missing.text.as_str()), (404, ""));
    assert_eq!(get(sim.btcturk_addr, "/").await.status, 404);

    let mut last = get(sim.btcturk_addr, "/api/v2/trades?pairSymbol=BTCTRY").await;
    for _ in 0..90 {
        last = get(sim.btcturk_addr, "/api/v2/trades?pairSymbol=BTCTRY").await;
    }
    let expected = json!({"message": "TOO_MANY_REQUESTS", "success": false, "code": 429, "details": "Quota exceeded. Maximum allowed: 90 per 1m.", "limit": "90", "period": "1m", "policy": "ip"});
    assert_eq!((last.status, last.json()), (429, expected));
    assert!(last.header("retry-after").unwrap().parse::<u64>().unwrap() <= 60);
    sim.stop().await;
}

#[tokio::test]
async fn balances_need_a_fresh_signature() {
    let sim = start(config()).await;
    let balances = btcturk_balances(&sim, now_ms()).await;
    assert_eq!(balances.status, 200, "{}", balances.text);
    let lira = balances.json()["data"].as_array().unwrap().iter().find(|row| row["asset"] == "TRY").unwrap().clone();
    assert_eq!(
        (&lira["free"], &lira["locked"], &lira["balance"], &lira["assetname"], &lira["precision"]),
        (&json!("84215.77"), &json!("12500"), &json!("96715.77"), &json!("Türk Lirası"), &json!(2))
    );
    for stamp in [now_ms() - 6_000, now_ms() + 6_000] {
        let stale = btcturk_balances(&sim, stamp).await;
        assert_eq!((stale.status, &stale.json()["message"]), (401, &json!("Invalid Nonce")));
    }
    let url = format!("http://{}/api/v1/users/balances", sim.btcturk_addr);
    let stamp = now_ms().to_string();
    let with = |key: &str, signature: &str| {
        client().get(&url).header("X-PCK", key).header("X-Stamp", &stamp).header("X-Signature", signature)
    };
    let message = |request| async { send(request).await.json()["message"].as_str().unwrap().to_owned() };
    assert_eq!(message(client().get(&url)).await, "Headers are missing");
    assert_eq!(message(with("nobody", "AAAA")).await, "Invalid Public Key");
    assert_eq!(message(with(spark_exchange_sim::DEMO_BTCTURK_KEY, "AAAA")).await, "Invalid Signature");
    sim.stop().await;
}

fn join(channel: &str, event: &str, join: bool) -> Value {
    json!([151, {"type": 151, "channel": channel, "event": event, "join": join}])
}

#[tokio::test]
async fn the_feed_greets_acknowledges_and_has_the_recorded_frames() {
    let sim = start(config()).await;
    let mut socket = connect(sim.btcturk_addr, "/").await;
    assert_eq!(socket.json("a greeting").await, recorded(991, None));
    socket.say(join("obdiff", "BTCUSDT", true)).await;
    assert_eq!(socket.json("an acknowledgement").await, recorded(100, None));
    let snapshot = socket.json("a snapshot").await;
    assert_eq!(snapshot[0], 431);
    assert_eq!(shape(&snapshot[1]), shape(&recorded(431, Some("obdiff"))[1]));
    socket.say(join("obdiff", "BTCUSDT", true)).await;
    let twice = socket.find("a refusal", |frame| frame[0] == 100).await;
    assert_eq!(twice, json!([100, {"type": 100, "ok": false, "message": "join|obdiff:BTCUSDT"}]));

    socket.say(join("ticker", "BTCUSDT", true)).await;
    let ticker = socket.find("a ticker", |frame| frame[0] == 402).await;
    assert_eq!(shape(&ticker[1]), shape(&recorded(402, None)[1]));
    socket.say(join("ticker", "all", true)).await;
    assert_eq!(socket.find("all tickers", |frame| frame[0] == 401).await[1]["items"].as_array().unwrap().len(), 4);
    socket.say(join("orderbook", "BTCTRY", true)).await;
    let book = socket.find("a book", |frame| frame[0] == 431 && frame[1]["channel"] == "orderbook").await;
    assert_eq!((shape(&book[1]), book[1]["AO"].as_array().unwrap().len()), (shape(&recorded(431, Some("orderbook"))[1]), 100));
    socket.say(join("trade", "BTCTRY", true)).await;
    let list = socket.find("the last trades", |frame| frame[0] == 421).await;
    assert!(list[1]["items"].as_array().unwrap().len() <= 50 && list[1]["items"][0]["D"].is_string());
    let trade = socket.find("a trade", |frame| frame[0] == 422).await[1].clone();
    assert!(
        trade["I"].is_string() && (trade["S"] == 0 || trade["S"] == 1) && trade["PS"] == "BTCTRY" && trade["type"] == 422,
        "{trade}"
    );
    socket.say(json!([101, {"type": 101, "code": 421, "channel": "trade", "event": "BTCTRY"}])).await;
    socket.find("the list again", |frame| frame[0] == 421).await;
    sim.stop().await;
}

#[tokio::test]
async fn nonsense_is_acknowledged_and_silent_or_not_answered() {
    let sim = start(config()).await;
    let mut socket = connect(sim.btcturk_addr, "/").await;
    socket.json("a greeting").await;
    for said in ["hello", "{}", "[151]", r#"[151,{"channel":"trade","event":["BTCTRY"],"join":true}]"#, r#"[7,{"type":7}]"#] {
        socket.say(said).await;
    }
    for (channel, event) in [("trade", "NOPETRY"), ("trade", "btctry"), ("telepathy", "BTCTRY")] {
        socket.say(join(channel, event, true)).await;
        assert_eq!(
            socket.json("only an acknowledgement").await,
            json!([100, {"type": 100, "ok": true, "message": format!("join|{channel}:{event}")}])
        );
    }
    socket.say(join("trade", "NOPETRY", false)).await;
    assert_eq!(socket.json("a leave").await[1]["message"], "leave|trade:NOPETRY");
    sim.stop().await;
}

#[tokio::test]
async fn differences_rebuild_the_book() {
    let sim = start(config()).await;
    let mut socket = connect(sim.btcturk_addr, "/").await;
    socket.say(join("obdiff", "BTCTRY", true)).await;
    socket.say(join("orderbook", "BTCTRY", true)).await;
    let snapshot = socket.find("a snapshot", |frame| frame[0] == 431 && frame[1]["channel"] == "obdiff").await;
    let mut sequence = snapshot[1]["CS"].as_u64().unwrap();
    let levels = |frame: &Value, side: &str| -> std::collections::BTreeMap<String, String> {
        frame[1][side]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["P"].as_str().unwrap().to_owned(), row["A"].as_str().unwrap().to_owned()))
            .collect()
    };
    let mut asks = levels(&snapshot, "AO");
    let (mut differences, mut compared, mut full) = (0, 0, None);
    while compared < 2 {
        let frame = socket.json("a book frame").await;
        if frame[0] == 432 {
            sequence += 1;
            differences += 1;
            assert_eq!(frame[1]["CS"].as_u64(), Some(sequence));
            for row in frame[1]["AO"].as_array().unwrap() {
                let (price, amount) = (row["P"].as_str().unwrap().to_owned(), row["A"].as_str().unwrap().to_owned());
                match row["CP"].as_u64() {
                    Some(3) => assert!(asks.remove(&price).is_some(), "{price} was not there"),
                    Some(1) => assert!(asks.insert(price, amount).is_none()),
                    Some(0) => assert!(asks.insert(price, amount).is_some()),
                    other => panic!("{other:?}"),
                }
            }
            // The full book of the same moment came just before.
            if let Some(full) = full.take() {
                assert_eq!(asks, full);
                compared += 1;
            }
        } else if frame[0] == 431 && differences > 0 {
            full = Some(levels(&frame, "AO"));
        }
    }
    sim.stop().await;
}

#[tokio::test]
async fn connections_are_limited_and_silent_clients_closed_with_1000() {
    let sim = start(Config { btcturk_connects_per_min: 2, btcturk_ping_ms: 50, btcturk_pong_ms: 300, ..config() }).await;
    let _first = connect(sim.btcturk_addr, "/").await;
    assert_eq!(closing_code_without_pongs(sim.btcturk_addr, "/").await, 1000);
    let refused = try_connect(sim.btcturk_addr, "/").await.unwrap_err().to_string();
    assert!(refused.contains("429"), "{refused}");
    sim.stop().await;
}
