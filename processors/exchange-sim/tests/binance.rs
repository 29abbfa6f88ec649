//! Binance's REST and streams as connectors meet them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use spark_exchange_sim::{ApiKey, Config, DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET};
use support::*;

#[tokio::test]
async fn market_data_has_the_recorded_shapes() {
    let sim = start(config()).await;
    let at = sim.binance_addr;
    assert_eq!(get(at, "/api/v3/ping").await.text, "{}");
    let time = get(at, "/api/v3/time").await;
    assert!((time.json()["serverTime"].as_i64().unwrap() - now_ms()).abs() < 5_000);
    assert_eq!(time.header("x-mbx-used-weight-1m"), Some("2"));

    let info = get(at, "/api/v3/exchangeInfo?symbol=BTCUSDT").await.json();
    let recorded: Value = serde_json::from_str(
        &std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/data/binance/rest_gct/exchangeInfo_BTCUSDT_ETHUSDT_trimmed.json"
        ))
        .unwrap(),
    )
    .unwrap();
    for (name, value) in recorded["symbols"][0].as_object().unwrap() {
        let ours = &info["symbols"][0][name];
        assert_eq!(std::mem::discriminant(ours), std::mem::discriminant(value), "{name}: {ours} instead of {value}");
    }
    let kinds = |info: &Value| {
        info["symbols"][0]["filters"].as_array().unwrap().iter().map(|filter| filter["filterType"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&info), kinds(&recorded));
    assert_eq!(info["symbols"][0]["filters"][0]["tickSize"], "0.01000000");
    assert_eq!(info["symbols"][0]["filters"][1]["stepSize"], "0.00001000");
    assert_eq!(get(at, "/api/v3/exchangeInfo").await.json()["symbols"].as_array().unwrap().len(), 7);
    let two = get(at, "/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D").await.json();
    assert_eq!(two["symbols"].as_array().unwrap().len(), 2);

    let depth = get(at, "/api/v3/depth?symbol=BTCUSDT&limit=5").await.json();
    let price = |side: &str, index: usize| depth[side][index][0].as_str().unwrap().parse::<f64>().unwrap();
    assert_eq!((depth["bids"].as_array().unwrap().len(), depth["asks"].as_array().unwrap().len()), (5, 5));
    assert!(price("bids", 1) < price("bids", 0) && price("bids", 0) < price("asks", 0) && price("asks", 0) < price("asks", 1));
    assert!(depth["lastUpdateId"].is_u64());

    let one = get(at, "/api/v3/ticker/bookTicker?symbol=ETHUSDT").await.json();
    assert!(one["bidPrice"].as_str().unwrap().len() > 9 && one["symbol"] == "ETHUSDT");
    assert_eq!(get(at, "/api/v3/ticker/price").await.json().as_array().unwrap().len(), 7);
    let day = get(at, "/api/v3/ticker/24hr?symbol=BTCUSDT").await.json();
    for field in ["priceChange", "weightedAvgPrice", "lastPrice", "bidPrice", "openPrice", "volume", "quoteVolume"] {
        assert!(day[field].is_string(), "{field} in {day}");
    }
    assert_eq!(get(at, "/api/v3/avgPrice?symbol=BTCUSDT").await.json()["mins"], 5);
    sim.stop().await;
}

#[tokio::test]
async fn trades_continue_by_id_and_klines_reach_back() {
    let sim = start(config()).await;
    let at = sim.binance_addr;
    let trades = get(at, "/api/v3/trades?symbol=BTCUSDT&limit=50").await.json();
    let rows = trades.as_array().unwrap();
    let ids: Vec<u64> = rows.iter().map(|row| row["id"].as_u64().unwrap()).collect();
    assert!(ids.len() == 50 && ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
    assert!(rows[0]["quoteQty"].is_string() && rows[0]["isBuyerMaker"].is_boolean() && rows[0]["isBestMatch"] == true);
    let from = get(at, &format!("/api/v3/historicalTrades?symbol=BTCUSDT&fromId={}&limit=10", ids[20])).await.json();
    assert_eq!(from.as_array().unwrap(), &rows[20..30]);

    let aggregates = get(at, "/api/v3/aggTrades?symbol=BTCUSDT&limit=20").await.json();
    let list = aggregates.as_array().unwrap();
    assert!(list.windows(2).all(|pair| pair[1]["f"].as_u64().unwrap() == pair[0]["l"].as_u64().unwrap() + 1), "{aggregates}");
    let again = get(at, &format!("/api/v3/aggTrades?symbol=BTCUSDT&fromId={}&limit=5", list[10]["a"])).await.json();
    assert_eq!(again.as_array().unwrap(), &list[10..15]);

    let klines = get(at, "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=100").await.json();
    let rows = klines.as_array().unwrap();
    assert_eq!(rows.len(), 100);
    for pair in rows.windows(2) {
        assert_eq!(pair[1][0].as_i64().unwrap(), pair[0][0].as_i64().unwrap() + 60_000);
        assert_eq!(pair[0][6].as_i64().unwrap(), pair[1][0].as_i64().unwrap() - 1);
    }
    let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    for row in rows {
        assert!(
            row.as_array().unwrap().len() == 12
                && number(&row[3]) <= number(&row[1])
                && number(&row[4]) <= number(&row[2])
                && number(&row[3]) > 0.0,
            "{row}"
        );
    }
    let micro = client().get(format!("http://{at}/api/v3/time")).header("X-MBX-TIME-UNIT", "MICROSECOND");
    assert!(send(micro).await.json()["serverTime"].as_i64().unwrap() > 1_000_000_000_000_000);
    sim.stop().await;
}

#[tokio::test]
async fn mistakes_get_the_documented_codes() {
    let sim = start(config()).await;
    let now = now_ms();
    let key = DEMO_BINANCE_KEY;
    let unknown = "x".repeat(64);
    let account = |query: &str| format!("/api/v3/account?{query}");
    let good = signed(&format!("timestamp={now}"));
    let cases: Vec<(String, Option<&str>, u16, i64)> = vec![
        ("/api/v3/depth".into(), None, 400, -1102),
        ("/api/v3/depth?symbol=".into(), None, 400, -1105),
        ("/api/v3/depth?symbol=btcusdt".into(), None, 400, -1100),
        ("/api/v3/depth?symbol=NOPEUSDT".into(), None, 400, -1121),
        ("/api/v3/depth?symbol=BTCUSDT&limit=x".into(), None, 400, -1100),
        ("/api/v3/depth?symbol=BTCUSDT&limit=0".into(), None, 400, -1130),
        ("/api/v3/klines?symbol=BTCUSDT&interval=7m".into(), None, 400, -1120),
        ("/api/v3/klines?symbol=BTCUSDT".into(), None, 400, -1102),
        ("/api/v3/time?x=1".into(), None, 400, -1101),
        ("/api/v3/depth?symbol=BTCUSDT&x=1".into(), None, 400, -1104),
        ("/api/v3/ticker/price?symbol=BTCUSDT&symbols=%5B%22BTCUSDT%22%5D".into(), None, 400, -1128),
        (account(&good), None, 401, -2014),
        (account(&good), Some("short"), 401, -2014),
        (account(&good), Some(&unknown), 401, -2015),
        (account(&signed("recvWindow=5000")), Some(key), 400, -1102),
        (account(&format!("timestamp={now}")), Some(key), 400, -1102),
        (account(&signed(&format!("timestamp={}", now - 6_000))), Some(key), 400, -1021),
        (account(&signed(&format!("timestamp={}", now + 60_000))), Some(key), 400, -1021),
        (account(&signed(&format!("recvWindow=60001&timestamp={now}"))), Some(key), 400, -1131),
        (account(&format!("timestamp={now}&signature={}", "0".repeat(64))), Some(key), 400, -1022),
        (account(&good.replace("timestamp", "omitZeroBalances=true&timestamp")), Some(key), 400, -1022),
        ("/api/v3/userDataStream".into(), Some(key), 410, -1020),
    ];
    for (path, key, status, code) in cases {
        let mut request = client().get(format!("http://{}{path}", sim.binance_addr));
        if let Some(key) = key {
            request = request.header("X-MBX-APIKEY", key);
        }
        let answer = send(request).await;
        assert_eq!((answer.status, answer.json()["code"].as_i64()), (status, Some(code)), "{path}: {}", answer.text);
        assert!(answer.json()["msg"].is_string() && answer.header("x-mbx-used-weight-1m").is_some());
    }
    let late = binance_signed(&sim, "/api/v3/account", &format!("timestamp={}", now_ms() - 6_000)).await;
    assert_eq!(late.json()["msg"], "Timestamp for this request is outside of the recvWindow.");
    let early = binance_signed(&sim, "/api/v3/account", &format!("timestamp={}", now_ms() + 60_000)).await;
    assert_eq!(early.json()["msg"], "Timestamp for this request was 1000ms ahead of the server's time.");
    let order = send(
        client()
            .post(format!("http://{}/api/v3/order?{}", sim.binance_addr, signed(&format!("timestamp={}", now_ms()))))
            .header("X-MBX-APIKEY", key),
    )
    .await;
    assert_eq!((order.status, order.json()["code"].as_i64()), (401, Some(-2015)), "a read-only key must not trade");
    let missing = get(sim.binance_addr, "/api/v3/nothing").await;
    assert_eq!((missing.status, missing.text.as_str()), (404, ""));
    sim.stop().await;
}

#[tokio::test]
async fn the_account_shows_balances_and_what_the_key_may_do() {
    let mut config = config();
    config.binance_account.keys.push(ApiKey { key: "trader".into(), secret: DEMO_BINANCE_SECRET.into(), can_trade: true });
    let sim = start(config).await;
    let account = binance_account(&sim).await;
    let body = account.json();
    assert_eq!((account.status, &body["canTrade"], &body["accountType"]), (200, &json!(false), &json!("SPOT")), "{body}");
    let bitcoin = body["balances"].as_array().unwrap().iter().find(|row| row["asset"] == "BTC").unwrap().clone();
    assert_eq!(bitcoin, json!({ "asset": "BTC", "free": "0.42183500", "locked": "0.01500000" }));
    let path =
        format!("http://{}/api/v3/account?{}", sim.binance_addr, signed(&format!("recvWindow=1000.5&timestamp={}", now_ms())));
    let trader = send(client().get(path).header("X-MBX-APIKEY", "trader")).await;
    assert_eq!(trader.json()["canTrade"], true);
    let restrictions =
        binance_signed(&sim, "/sapi/v1/account/apiRestrictions", &format!("timestamp={}", now_ms() * 1_000)).await.json();
    assert_eq!((&restrictions["enableReading"], &restrictions["enableSpotAndMarginTrading"]), (&json!(true), &json!(false)));
    sim.stop().await;
}

#[tokio::test]
async fn too_much_weight_is_429_and_ignoring_it_is_418() {
    let sim = start(Config { binance_weight_per_min: 60, ..config() }).await;
    let mut seen = Vec::new();
    for _ in 0..40 {
        let answer = get(sim.binance_addr, "/api/v3/exchangeInfo?symbol=BTCUSDT").await;
        if answer.status != 200 {
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!(answer.json()["code"] == -1003 && wait >= 1, "{}", answer.text);
        }
        seen.push(answer.status);
        if answer.status == 418 {
            assert!(answer.json()["msg"].as_str().unwrap().contains("IP banned until"));
            break;
        }
    }
    assert!(seen.starts_with(&[200]) && seen.contains(&429) && seen.ends_with(&[418]), "{seen:?}");
    sim.stop().await;
}

#[tokio::test]
async fn streams_come_raw_and_combined_and_agree_with_rest() {
    let sim = start(config()).await;
    let mut raw = connect(sim.binance_addr, "/ws/btcusdt@trade").await;
    let first = raw.json("a trade").await;
    assert!(first["e"] == "trade" && first["s"] == "BTCUSDT" && first["p"].is_string() && first["M"] == true, "{first}");
    let mut last = first["t"].as_u64().unwrap();
    for _ in 0..20 {
        let trade = raw.json("a trade").await;
        assert_eq!(trade["t"].as_u64().unwrap(), last + 1);
        last += 1;
    }
    let row = get(sim.binance_addr, &format!("/api/v3/historicalTrades?symbol=BTCUSDT&fromId={last}&limit=1")).await.json();
    assert_eq!(row[0]["id"].as_u64(), Some(last));

    let mut combined =
        connect(sim.binance_addr, "/stream?streams=btcusdt@bookTicker/ethusdt@aggTrade/btcusdt@kline_1m/btcusdt@depth@100ms")
            .await;
    let top = combined.find("a book ticker", |frame| frame["stream"] == "btcusdt@bookTicker").await["data"].clone();
    assert!(
        top.get("e").is_none()
            && top["u"].is_u64()
            && top["b"].as_str().unwrap().parse::<f64>().unwrap() < top["a"].as_str().unwrap().parse().unwrap()
    );
    let aggregate = combined.find("an aggregate", |frame| frame["stream"] == "ethusdt@aggTrade").await["data"].clone();
    assert!(aggregate["e"] == "aggTrade" && aggregate["f"].as_u64() <= aggregate["l"].as_u64());
    let kline = combined.find("a candle", |frame| frame["stream"] == "btcusdt@kline_1m").await["data"].clone();
    assert!(kline["e"] == "kline" && kline["k"]["i"] == "1m" && kline["k"]["x"].is_boolean());
    let depth = combined.find("a depth update", |frame| frame["stream"] == "btcusdt@depth@100ms").await["data"].clone();
    let next = combined.find("the next depth update", |frame| frame["stream"] == "btcusdt@depth@100ms").await["data"].clone();
    assert_eq!(next["U"].as_u64().unwrap(), depth["u"].as_u64().unwrap() + 1);
    sim.stop().await;
}

#[tokio::test]
async fn commands_are_answered_and_mistakes_named() {
    let sim = start(config()).await;
    let mut socket = connect(sim.binance_addr, "/ws").await;
    let cases = [
        (json!({"method": "SUBSCRIBE", "params": ["nopeusdt@trade"], "id": 1}).to_string(), json!({"result": null, "id": 1})),
        (json!({"method": "LIST_SUBSCRIPTIONS", "id": "a-1"}).to_string(), json!({"result": ["nopeusdt@trade"], "id": "a-1"})),
        (json!({"method": "GET_PROPERTY", "params": ["combined"], "id": 2}).to_string(), json!({"result": false, "id": 2})),
        (
            json!({"method": "UNSUBSCRIBE", "params": ["nopeusdt@trade"], "id": null}).to_string(),
            json!({"result": null, "id": null}),
        ),
    ];
    for (said, answer) in cases {
        socket.say(said).await;
        assert_eq!(socket.json("an answer").await, answer);
    }
    // A fresh socket: five messages a second is all that one may send.
    let mut socket = connect(sim.binance_addr, "/ws").await;
    for (said, code) in [
        ("nonsense", 3),
        (r#"{"method":"FLY","id":1}"#, 2),
        (r#"{"method":"SET_PROPERTY","params":["colour",1],"id":1}"#, 0),
        (r#"{"method":"SET_PROPERTY","params":["combined",1],"id":1}"#, 1),
    ] {
        socket.say(said).await;
        let answer = socket.json("an error").await;
        assert_eq!(answer["code"], code, "{answer}");
    }
    let mut socket = connect(sim.binance_addr, "/ws").await;
    socket.say(r#"{"method":"SET_PROPERTY","params":["combined",true],"id":1}"#).await;
    socket.say(r#"{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":2}"#).await;
    socket.find("a combined trade", |frame| frame["stream"] == "btcusdt@trade").await;
    let many: Vec<String> = (0..1_024).map(|index| format!("s{index}@trade")).collect();
    socket.say(json!({"method": "SUBSCRIBE", "params": many, "id": 3})).await;
    assert_eq!(socket.find("a refusal", |frame| frame["id"] == 3).await["code"], 2);
    sim.stop().await;
}

#[tokio::test]
async fn a_client_that_talks_too_much_is_closed() {
    let sim = start(config()).await;
    let mut socket = connect(sim.binance_addr, "/ws").await;
    for id in 0..6 {
        socket.say(json!({"method": "LIST_SUBSCRIPTIONS", "id": id})).await;
    }
    loop {
        match socket.next("a close").await {
            Came::Closed(code) => break assert_eq!(code, Some(1008)),
            Came::Broken(why) => panic!("broken without a closing frame: {why}"),
            _ => {}
        }
    }
    sim.stop().await;
}

#[tokio::test]
async fn sockets_live_for_a_day_with_notice_and_are_pinged() {
    // A day in three seconds, its last ten minutes in 21 ms.
    let sim = start(Config { time_scale: 28_800.0, binance_ping_ms: 400, ..config() }).await;
    let mut socket = connect(sim.binance_addr, "/stream?streams=nopeusdt@trade").await;
    let (mut pings, mut notice) = (0, false);
    loop {
        match socket.next("the end").await {
            Came::Ping => pings += 1,
            Came::Text(text) => notice = text.contains("!serverShutdown"),
            Came::Closed(_) | Came::Broken(_) => break,
        }
    }
    assert!(pings >= 3 && notice, "{pings} pings, notice: {notice}");
    sim.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_pings_unanswered_is_closed() {
    let sim = start(Config { binance_ping_ms: 50, binance_pong_ms: 300, ..config() }).await;
    assert_eq!(closing_code_without_pongs(sim.binance_addr, "/ws/nopeusdt@trade").await, 1008);
    sim.stop().await;
}
