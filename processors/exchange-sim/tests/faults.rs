//! Each kind of fault, as a client meets it.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::*;

/// Waits, bounded, until the answer to `path` fits.
async fn until(sim: &spark_exchange_sim::Sim, fits: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    loop {
        let state = get(sim.admin_addr, "/sim/state").await.json();
        if fits(&state) {
            return state;
        }
        assert!(begin.elapsed() < SOON, "last state {state}");
    }
}

#[tokio::test]
async fn a_delay_holds_its_path_and_nothing_else() {
    let sim = start(config()).await;
    let id = fault(&sim, json!({"exchange": "binance", "kind": "delay", "ms": 400, "path": "/api/v3/account"})).await;
    let begin = Instant::now();
    assert_eq!(binance_account(&sim).await.status, 200);
    assert!(begin.elapsed() >= Duration::from_millis(400));
    get(sim.binance_addr, "/api/v3/time").await;
    btcturk_balances(&sim, now_ms()).await;
    assert_eq!(hits(&sim, id).await, 1);
    let removed = send(client().delete(format!("http://{}/sim/faults/{id}", sim.admin_addr))).await;
    assert_eq!(removed.status, 204);
    assert_eq!(get(sim.admin_addr, "/sim/faults").await.json(), json!([]));
    let again = send(client().delete(format!("http://{}/sim/faults/{id}", sim.admin_addr))).await;
    assert_eq!(again.status, 404);
    sim.stop().await;
}

#[tokio::test]
async fn a_status_is_answered_with_the_exchanges_body_or_the_given_one() {
    let sim = start(config()).await;
    fault(&sim, json!({"exchange": "binance", "kind": "status", "code": 429, "retry_after": 7, "n": 1})).await;
    let busy = get(sim.binance_addr, "/api/v3/time").await;
    assert_eq!((busy.status, busy.header("retry-after"), busy.json()["code"].as_i64()), (429, Some("7"), Some(-1003)));
    assert_eq!(get(sim.binance_addr, "/api/v3/time").await.status, 200, "n = 1 strikes once");
    fault(&sim, json!({"exchange": "btcturk", "kind": "status", "code": 503, "body": "<html>down</html>", "symbol": "BTCTRY"}))
        .await;
    let down = get(sim.btcturk_addr, "/api/v2/orderbook?pairSymbol=BTC_TRY").await;
    assert_eq!((down.status, down.text.as_str()), (503, "<html>down</html>"));
    assert_eq!(get(sim.btcturk_addr, "/api/v2/orderbook?pairSymbol=ETHTRY").await.status, 200);
    sim.stop().await;
}

#[tokio::test]
async fn a_dropped_request_has_no_answer() {
    let sim = start(config()).await;
    fault(&sim, json!({"exchange": "binance", "kind": "drop", "path": "/api/v3/time"})).await;
    let error = client().get(format!("http://{}/api/v3/time", sim.binance_addr)).send().await.unwrap_err();
    assert!(!error.is_timeout() && error.is_request(), "{error:?}");
    assert_eq!(get(sim.binance_addr, "/api/v3/ping").await.status, 200);
    sim.stop().await;
}

#[tokio::test]
async fn a_cut_breaks_the_sockets_of_its_moment() {
    let sim = start(config()).await;
    let mut trades = connect(sim.binance_addr, "/ws/btcusdt@trade").await;
    let mut tops = connect(sim.binance_addr, "/ws/ethusdt@bookTicker").await;
    trades.json("a trade").await;
    tops.json("a top").await;
    let id = fault(&sim, json!({"exchange": "binance", "kind": "cut", "stream": "trade"})).await;
    while !matches!(trades.next("a break").await, Came::Broken(_)) {}
    tops.json("a top after the cut").await;
    assert_eq!(hits(&sim, id).await, 1);
    let mut again = connect(sim.binance_addr, "/ws/btcusdt@trade").await;
    again.json("a trade after the cut").await;
    // A cut that lasts also breaks those that come.
    fault(&sim, json!({"exchange": "binance", "kind": "cut", "for_ms": 60_000})).await;
    while !matches!(again.next("a break").await, Came::Broken(_)) {}
    if let Ok(mut socket) = try_connect(sim.binance_addr, "/ws/btcusdt@trade").await {
        while !matches!(socket.next("a break").await, Came::Broken(_)) {}
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_frozen_socket_stays_open_and_silent_until_it_thaws() {
    let mut config = config();
    (config.binance_ping_ms, config.binance_pong_ms) = (50, 600_000);
    let sim = start(config).await;
    let mut socket = connect(sim.binance_addr, "/ws/btcusdt@trade").await;
    socket.json("a trade").await;
    let id = fault(&sim, json!({"exchange": "binance", "kind": "freeze"})).await;
    // What was on its way still comes; then nothing, not even the pings that are due every 50 ms.
    let silent = Duration::from_millis(700);
    let begin = Instant::now();
    loop {
        match tokio::time::timeout(silent, socket.next("silence")).await {
            Err(_) => break,
            Ok(Came::Broken(why)) => panic!("not open: {why}"),
            Ok(_) => assert!(begin.elapsed() < SOON, "not silent"),
        }
    }
    assert_eq!(until(&sim, |_| true).await["exchanges"]["binance"]["sockets"], 1);
    assert!(hits(&sim, id).await > 0, "frames that are held back are counted");
    clear_faults(&sim).await;
    socket.json("a trade after the thaw").await;
    sim.stop().await;
}

#[tokio::test]
async fn a_frozen_stream_leaves_the_others_alone() {
    let sim = start(config()).await;
    fault(&sim, json!({"exchange": "btcturk", "kind": "freeze", "symbol": "BTCTRY"})).await;
    let mut socket = connect(sim.btcturk_addr, "/").await;
    for pair in ["BTCTRY", "USDTTRY"] {
        socket.say(json!([151, {"type": 151, "channel": "ticker", "event": pair, "join": true}])).await;
    }
    for _ in 0..3 {
        let ticker = socket.find("a ticker", |frame| frame[0] == 402).await;
        assert_eq!(ticker[1]["PS"], "USDTTRY");
    }
    sim.stop().await;
}

#[tokio::test]
async fn skipped_frames_leave_holes_in_the_ids_that_rest_can_fill() {
    let sim = start(config()).await;
    let mut socket = connect(sim.binance_addr, "/ws/btcusdt@trade").await;
    let mut last = socket.json("a trade").await["t"].as_u64().unwrap();
    let id = fault(&sim, json!({"exchange": "binance", "kind": "skip", "stream": "btcusdt@trade", "n": 3})).await;
    let hole = loop {
        let next = socket.json("a trade").await["t"].as_u64().unwrap();
        if next != last + 1 {
            break (last + 1, next);
        }
        last = next;
    };
    assert_eq!((hole.1 - hole.0, hits(&sim, id).await), (3, 3));
    let rows = get(sim.binance_addr, &format!("/api/v3/historicalTrades?symbol=BTCUSDT&fromId={}&limit=3", hole.0)).await.json();
    assert_eq!(
        rows.as_array().unwrap().iter().map(|row| row["id"].as_u64().unwrap()).collect::<Vec<_>>(),
        (hole.0..hole.1).collect::<Vec<_>>()
    );
    sim.stop().await;
}

#[tokio::test]
async fn a_delayed_stream_lags_and_loses_nothing() {
    let sim = start(config()).await;
    fault(&sim, json!({"exchange": "binance", "kind": "delay", "ms": 500, "stream": "trade"})).await;
    let mut socket = connect(sim.binance_addr, "/ws/btcusdt@trade").await;
    let mut last = None;
    for _ in 0..20 {
        let trade = socket.json("a trade").await;
        assert!(now_ms() - trade["T"].as_i64().unwrap() >= 499, "{trade}");
        let id = trade["t"].as_u64().unwrap();
        assert!(last.is_none_or(|last| id == last + 1));
        last = Some(id);
    }
    sim.stop().await;
}

#[tokio::test]
async fn garbage_comes_in_every_variant_on_sockets_and_in_answers() {
    let sim = start(config()).await;
    let mut socket = connect(sim.binance_addr, "/ws/btcusdt@trade").await;
    let good = |text: &str| {
        serde_json::from_str::<Value>(text)
            .ok()
            .filter(|frame| frame["p"].as_str().is_some_and(|price| price.parse::<f64>().is_ok_and(|price| price > 0.0)))
    };
    for variant in ["bad_json", "truncated", "nan", "negative", "missing_field", "huge"] {
        let id = fault(
            &sim,
            json!({"exchange": "binance", "kind": "garbage", "variant": variant, "place": "between", "n": 1, "stream": "trade"}),
        )
        .await;
        let bad = loop {
            let text = socket.text("garbage").await;
            if good(&text).is_none() {
                break text;
            }
        };
        let frame = serde_json::from_str::<Value>(&bad).ok();
        let fits = match variant {
            "bad_json" | "truncated" => frame.is_none(),
            "nan" => frame.unwrap()["p"] == "NaN",
            "negative" => frame.unwrap()["p"].as_str().unwrap().starts_with('-'),
            "missing_field" => frame.is_some_and(|frame| frame.get("p").is_none() && frame["t"].is_u64()),
            _ => bad.len() > 10_000_000,
        };
        assert!(fits, "{variant}: {}", &bad[..bad.len().min(200)]);
        assert_eq!(hits(&sim, id).await, 1);
        fault(
            &sim,
            json!({"exchange": "binance", "kind": "garbage", "variant": variant, "n": 1, "path": "/api/v3/ticker/price"}),
        )
        .await;
        let answer = get(sim.binance_addr, "/api/v3/ticker/price?symbol=BTCUSDT").await;
        let price = serde_json::from_str::<Value>(&answer.text).ok().and_then(|body| body["price"].as_str().map(str::to_owned));
        assert!(answer.status == 200 && price.is_none_or(|price| price == "NaN" || price.starts_with('-')), "{variant}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn garbage_in_place_of_a_frame_loses_it() {
    let sim = start(config()).await;
    let mut socket = connect(sim.binance_addr, "/ws/btcusdt@trade").await;
    let mut last = socket.json("a trade").await["t"].as_u64().unwrap();
    fault(&sim, json!({"exchange": "binance", "kind": "garbage", "variant": "bad_json", "n": 1})).await;
    loop {
        match serde_json::from_str::<Value>(&socket.text("a trade or garbage").await) {
            Ok(trade) => last = trade["t"].as_u64().unwrap(),
            Err(_) => break assert_eq!(socket.json("the next trade").await["t"].as_u64(), Some(last + 2)),
        }
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_skewed_clock_shows_everywhere_and_refuses_honest_timestamps() {
    let sim = start(config()).await;
    fault(&sim, json!({"exchange": "binance", "kind": "clock_skew", "ms": -10_000})).await;
    fault(&sim, json!({"exchange": "btcturk", "kind": "clock_skew", "ms": 10_000})).await;
    let time = get(sim.binance_addr, "/api/v3/time").await.json()["serverTime"].as_i64().unwrap();
    assert!((time - now_ms() + 10_000).abs() < 3_000);
    assert_eq!(binance_account(&sim).await.json()["code"], -1021);
    let corrected = binance_signed(&sim, "/api/v3/account", &format!("timestamp={}", now_ms() - 10_000)).await;
    assert_eq!(corrected.status, 200, "{}", corrected.text);
    assert_eq!(btcturk_balances(&sim, now_ms()).await.json()["message"], "Invalid Nonce");
    assert_eq!(btcturk_balances(&sim, now_ms() + 10_000).await.status, 200);
    let mut socket = connect(sim.binance_addr, "/ws/btcusdt@trade").await;
    let trade = socket.json("a trade").await;
    assert!(trade["T"].as_i64().unwrap() < now_ms() - 7_000);
    sim.stop().await;
}

#[tokio::test]
async fn a_revoked_key_is_unknown_and_the_other_exchange_is_not_touched() {
    let sim = start(config()).await;
    fault(&sim, json!({"exchange": "binance", "kind": "revoke_key"})).await;
    let refused = binance_account(&sim).await;
    assert_eq!((refused.status, refused.json()["code"].as_i64()), (401, Some(-2015)));
    assert_eq!(btcturk_balances(&sim, now_ms()).await.status, 200);
    clear_faults(&sim).await;
    assert_eq!(binance_account(&sim).await.status, 200);
    fault(&sim, json!({"exchange": "btcturk", "kind": "revoke_key", "key": spark_exchange_sim::DEMO_BTCTURK_KEY})).await;
    assert_eq!(btcturk_balances(&sim, now_ms()).await.status, 401);
    sim.stop().await;
}

#[tokio::test]
async fn a_fault_ends_by_itself_and_mistakes_are_named() {
    let sim = start(config()).await;
    fault(&sim, json!({"exchange": "binance", "kind": "status", "code": 500, "for_ms": 300})).await;
    let begin = Instant::now();
    assert_eq!(get(sim.binance_addr, "/api/v3/time").await.status, 500);
    while get(sim.binance_addr, "/api/v3/time").await.status == 500 {
        assert!(begin.elapsed() < SOON);
    }
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert_eq!(get(sim.admin_addr, "/sim/faults").await.json()[0]["active"], false);
    let answer =
        send(client().post(format!("http://{}/sim/faults", sim.admin_addr)).body(r#"{"exchange":"binance","kind":"explode"}"#))
            .await;
    assert_eq!((answer.status, answer.json()["field"].as_str()), (400, Some("kind")));
    assert!(answer.text.contains("clock_skew"), "{}", answer.text);
    assert_eq!(get(sim.admin_addr, "/sim/replay").await.status, 404);
    sim.stop().await;
}

#[tokio::test]
async fn the_state_counts_and_a_stopped_simulator_is_gone() {
    let sim = start(config()).await;
    let mut socket = connect(sim.binance_addr, "/stream?streams=btcusdt@trade/ethusdt@trade").await;
    socket.json("a trade").await;
    get(sim.binance_addr, "/api/v3/depth").await;
    let state = until(&sim, |state| state["exchanges"]["binance"]["sockets"] == 1).await;
    let binance = &state["exchanges"]["binance"];
    assert_eq!(
        (&binance["requests"]["400"], &binance["socket_list"][0]["streams"], &binance["markets"][0]["symbol"]),
        (&json!(1), &json!(2), &json!("BTCUSDT"))
    );
    assert!(binance["markets"][0]["last_trade_id"].is_u64() && state["uptime_ms"].is_u64() && state["speed"].is_null());
    let address = sim.binance_addr;
    sim.stop().await;
    while !matches!(socket.next("the end").await, Came::Broken(_) | Came::Closed(_)) {}
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
