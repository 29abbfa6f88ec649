//! Binance's order side as a connector meets it: REST, then the account's events over the WebSocket API.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use serde_json::{Value, json};
use spark_exchange_sim::{Config, Replay, Sim, Speed};
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
    assert!(log["submits"][2]["seq"].as_u64() < fill["seq"].as_u64(), "first the order, then its fill");
    sim.stop().await;
}

#[tokio::test]
async fn time_in_force_decides_about_what_is_not_there() {
    let sim = held(config()).await;
    let place = async |rest: &str| {
        let answer = binance_trade(&sim, "POST", ORDER, &format!("symbol=BTCUSDT&{rest}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    };
    admin(&sim, "/sim/balances", json!({"exchange": "binance", "asset": "USDT", "amount": "1000000"})).await;
    let fok = place("side=BUY&type=LIMIT&timeInForce=FOK&quantity=0.6&price=60001").await;
    assert_eq!((&fok["status"], &fok["executedQty"], &fok["fills"]), (&json!("EXPIRED"), &json!("0.00000000"), &json!([])));
    let ioc = place("side=BUY&type=LIMIT&timeInForce=IOC&quantity=0.2&price=60005").await;
    assert_eq!((&ioc["status"], &ioc["fills"][0]["price"]), (&json!("FILLED"), &json!("60001.00000000")));
    assert_eq!((&ioc["fills"][0]["commission"], &ioc["fills"][0]["commissionAsset"]), (&json!("0.00020000"), &json!("BTC")));
    // 0.2 of the 0.5 is gone: what was taken is not offered again.
    let depth = get(sim.binance_addr, "/api/v3/depth?symbol=BTCUSDT").await.json();
    assert_eq!(depth["asks"][0], json!(["60001.00000000", "0.30000000"]));
    let rest = place("side=BUY&type=LIMIT&timeInForce=IOC&quantity=0.5&price=60005").await;
    assert_eq!((&rest["status"], &rest["executedQty"]), (&json!("EXPIRED"), &json!("0.30000000")));
    let market = place("side=BUY&type=MARKET&quantity=1.5").await;
    assert_eq!(
        (&market["status"], &market["executedQty"], &market["price"]),
        (&json!("EXPIRED"), &json!("1.00000000"), &json!("0.00000000"))
    );
    assert_eq!((&market["timeInForce"], &market["cummulativeQuoteQty"]), (&json!("GTC"), &json!("60010.00000000")));
    let amount = place("side=SELL&type=MARKET&quoteOrderQty=1000&newOrderRespType=RESULT").await;
    assert_eq!((&amount["status"], &amount["executedQty"]), (&json!("FILLED"), &json!("0.01666000")));
    assert_eq!(
        (&amount["cummulativeQuoteQty"], &amount["origQuoteOrderQty"], amount.get("fills")),
        (&json!("999.60000000"), &json!("1000.00000000"), None)
    );
    let ack = place("side=SELL&type=LIMIT_MAKER&quantity=0.01&price=60500").await;
    assert_eq!(ack.as_object().unwrap().len(), 5, "{ack}");
    let maker = binance_trade(&sim, "POST", ORDER, "symbol=BTCUSDT&side=SELL&type=LIMIT_MAKER&quantity=0.01&price=59000").await;
    assert_eq!(maker.json(), json!({"code": -2010, "msg": "Order would immediately match and take."}));
    sim.stop().await;
}

#[tokio::test]
async fn mistakes_get_the_documented_codes_and_cost_weight() {
    let sim = held(config()).await;
    let post = |rest: &str| format!("symbol=BTCUSDT&side=BUY&{rest}");
    let cases = [
        ("POST", post("type=LIMIT&timeInForce=GTC&quantity=0.1"), -1102, "'price'"),
        ("POST", post("type=LIMIT&quantity=0.1&price=60000"), -1102, "'timeInForce'"),
        ("POST", post("type=MARKET&timeInForce=GTC&quantity=0.1"), -1114, "TimeInForce"),
        ("POST", post("type=MARKET&price=1&quantity=0.1"), -1106, "'price'"),
        ("POST", post("type=LIMIT&timeInForce=GTX&quantity=0.1&price=60000"), -1115, "timeInForce"),
        ("POST", post("type=ICEBERG&quantity=0.1"), -1116, "orderType"),
        ("POST", "symbol=BTCUSDT&side=LONG&type=MARKET&quantity=1".into(), -1117, "side"),
        ("POST", post("type=MARKET&quantity=abc"), -1100, "quantity"),
        ("POST", post("type=MARKET&quantity=0.123456789"), -1111, "quantity"),
        ("POST", post("type=MARKET&quantity=0.1&quoteOrderQty=5"), -1128, "Combination"),
        ("POST", post("type=MARKET&quantity=0"), -1013, "Invalid quantity"),
        ("POST", post("type=LIMIT&timeInForce=GTC&quantity=0.1&price=60000.005"), -1013, "PRICE_FILTER"),
        ("POST", post("type=LIMIT&timeInForce=GTC&quantity=0.000001&price=60000"), -1013, "LOT_SIZE"),
        ("POST", post("type=LIMIT&timeInForce=GTC&quantity=0.00001&price=60000"), -1013, "NOTIONAL"),
        ("POST", post("type=LIMIT&timeInForce=GTC&quantity=1&price=6000"), -1013, "PERCENT_PRICE_BY_SIDE"),
        ("POST", post("type=LIMIT&timeInForce=GTC&quantity=1&price=60000&newClientOrderId=a%20b"), -1100, "newClientOrderId"),
        ("POST", post("type=LIMIT&timeInForce=GTC&quantity=1&price=50000"), -2010, "insufficient balance"),
        ("POST", post("type=STOP_LOSS&quantity=1&stopPrice=50000"), -2010, "not supported"),
        ("POST", post("type=MARKET&quantity=0.001&x=1"), -1104, "Not all sent"),
        ("POST", "symbol=NOPE&side=BUY&type=MARKET&quantity=1".into(), -1121, "symbol"),
        ("DELETE", "symbol=BTCUSDT".into(), -1102, "orderId"),
        ("DELETE", "symbol=BTCUSDT&orderId=5".into(), -2011, "Unknown order"),
        ("GET", "symbol=BTCUSDT&origClientOrderId=5".into(), -2013, "does not exist"),
    ];
    let mut weight = 0;
    for (method, query, code, text) in cases {
        let answer = binance_trade(&sim, method, ORDER, &query).await;
        let body = answer.json();
        assert_eq!((answer.status, body["code"].as_i64()), (400, Some(code)), "{method} {query} → {body}");
        assert!(body["msg"].as_str().unwrap().contains(text), "{query} → {body}");
        weight += if method == "GET" { 4 } else { 1 };
        assert_eq!(answer.header("x-mbx-used-weight-1m").unwrap().parse::<u32>().unwrap() % 6_000, weight, "{query}");
        assert_eq!(answer.header("x-mbx-order-count-10s"), None);
    }
    let none = binance_trade(&sim, "DELETE", "/api/v3/openOrders", "symbol=BTCUSDT").await;
    assert_eq!(none.json()["code"], -2011);
    let gone = send(client().post(format!("http://{}/api/v3/userDataStream", sim.binance_addr))).await;
    assert_eq!(gone.status, 410);
    let test = binance_trade(&sim, "POST", "/api/v3/order/test", &limit("BUY", "1", "60000", "t")).await;
    assert_eq!((test.status, test.text.as_str()), (200, "{}"));
    let log = orders_log(&sim, "binance").await;
    assert_eq!((&log["orders"], &log["clients"]["t"]), (&json!([]), &Value::Null));
    sim.stop().await;
}

#[tokio::test]
async fn a_key_that_only_reads_cannot_trade_and_sees_all() {
    let sim = held(config()).await;
    binance_trade(&sim, "POST", ORDER, &limit("BUY", "0.01", "59000", "mine")).await;
    let now = now_ms();
    let url =
        |path: &str, query: &str| format!("http://{}{path}?{}", sim.binance_addr, signed(&format!("{query}&timestamp={now}")));
    let with_key = |request: reqwest::RequestBuilder| request.header("X-MBX-APIKEY", BINANCE_READER.0);
    let order = url(ORDER, &limit("BUY", "0.01", "59000", "theirs"));
    for request in [client().post(order), client().delete(url(ORDER, "symbol=BTCUSDT&origClientOrderId=mine"))] {
        let refused = send(with_key(request)).await;
        assert_eq!((refused.status, refused.json()["code"].as_i64()), (401, Some(-2015)));
    }
    let open = send(with_key(client().get(url("/api/v3/openOrders", "symbol=BTCUSDT")))).await.json();
    assert_eq!((open.as_array().unwrap().len(), &open[0]["clientOrderId"]), (1, &json!("mine")));
    let account = send(with_key(client().get(url("/api/v3/account", "omitZeroBalances=true")))).await.json();
    assert_eq!(account["canTrade"], false);
    assert_eq!(orders_log(&sim, "binance").await["clients"]["theirs"]["refused"], 1);
    sim.stop().await;
}

#[tokio::test]
async fn the_signature_covers_query_and_body() {
    let sim = held(config()).await;
    let (query, body) = (limit("BUY", "0.01", "59000", "split"), format!("timestamp={}", now_ms()));
    let signature = hex::encode(hmac(BINANCE_TRADER.1.as_bytes(), &format!("{query}{body}")));
    let send_with = async |signature: &str| {
        let request =
            client().post(format!("http://{}{ORDER}?{query}", sim.binance_addr)).header("X-MBX-APIKEY", BINANCE_TRADER.0);
        send(request.header("Content-Type", "application/x-www-form-urlencoded").body(format!("{body}&signature={signature}")))
            .await
    };
    assert_eq!(send_with(&"0".repeat(64)).await.json()["code"], -1022);
    assert_eq!(send_with(&signature).await.status, 200);
    sim.stop().await;
}

#[tokio::test]
async fn too_many_unfilled_orders_are_refused_and_fills_do_not_count() {
    let sim = held(Config { binance_orders_per_10_s: 1_000, binance_orders_per_day: 3, ..config() }).await;
    for index in 0..5 {
        let filled = binance_trade(&sim, "POST", ORDER, &limit("BUY", "0.001", "60001", &format!("f{index}"))).await;
        assert_eq!(
            (filled.status, filled.header("x-mbx-order-count-1d")),
            (200, Some("0")),
            "a fill takes its order's count back"
        );
    }
    for index in 0..3 {
        assert_eq!(binance_trade(&sim, "POST", ORDER, &limit("BUY", "0.001", "59000", &format!("r{index}"))).await.status, 200);
    }
    let over = binance_trade(&sim, "POST", ORDER, &limit("BUY", "0.001", "59000", "r3")).await;
    assert_eq!((over.status, over.json()["code"].as_i64(), over.header("x-mbx-order-count-1d")), (429, Some(-1015), Some("3")));
    assert!(over.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    let limits = binance_trade(&sim, "GET", "/api/v3/rateLimit/order", "").await.json();
    assert_eq!((&limits[1]["limit"], &limits[1]["count"]), (&json!(3), &json!(3)));
    admin(&sim, "/sim/orders/fill", json!({"exchange": "binance", "client_id": "r1"})).await;
    let limits = binance_trade(&sim, "GET", "/api/v3/rateLimit/order", "").await.json();
    assert_eq!(limits[1]["count"], 0, "a fill of what rested takes back more");
    sim.stop().await;
}

#[tokio::test]
async fn lists_go_on_by_id_and_end_at_their_limit() {
    let sim = held(config()).await;
    for index in 0..6 {
        binance_trade(&sim, "POST", ORDER, &limit("BUY", "0.001", "60001", &format!("n{index}"))).await;
    }
    let all = binance_trade(&sim, "GET", "/api/v3/allOrders", "symbol=BTCUSDT&limit=2").await.json();
    let clients = |list: &Value| {
        list.as_array().unwrap().iter().map(|row| row["clientOrderId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(clients(&all), ["n4", "n5"], "the newest, oldest first");
    let from =
        binance_trade(&sim, "GET", "/api/v3/allOrders", &format!("symbol=BTCUSDT&orderId={}", all[0]["orderId"])).await.json();
    assert_eq!(clients(&from), ["n4", "n5"]);
    let trades = binance_trade(&sim, "GET", "/api/v3/myTrades", "symbol=BTCUSDT").await.json();
    let row = &trades[5];
    assert_eq!((trades.as_array().unwrap().len(), &row["orderId"], &row["isBuyer"]), (6, &all[1]["orderId"], &json!(true)));
    assert_eq!(
        (&row["commission"], &row["quoteQty"], &row["isMaker"]),
        (&json!("0.00000100"), &json!("60.00100000"), &json!(false))
    );
    let one = binance_trade(&sim, "GET", "/api/v3/myTrades", &format!("symbol=BTCUSDT&orderId={}", all[0]["orderId"])).await;
    assert_eq!((one.json().as_array().unwrap().len(), one.json()[0]["id"].as_u64()), (1, trades[4]["id"].as_u64()));
    let after =
        binance_trade(&sim, "GET", "/api/v3/myTrades", &format!("symbol=BTCUSDT&fromId={}", trades[3]["id"])).await.json();
    assert_eq!(after.as_array().unwrap(), &trades.as_array().unwrap()[3..]);
    let long = binance_trade(&sim, "GET", "/api/v3/myTrades", "symbol=BTCUSDT&startTime=1&endTime=90000000").await;
    assert_eq!(long.json()["code"], -1127);
    sim.stop().await;
}

#[tokio::test]
async fn the_account_is_told_each_step_with_its_balances() {
    let sim = held(config()).await;
    let mut events = binance_events(&sim).await;
    let id = binance_trade(&sim, "POST", ORDER, &limit("BUY", "0.6", "60001", "e-1")).await.json();
    assert_eq!(id["code"], -2010, "36000 USDT are not there: nothing is told of it");
    binance_trade(&sim, "POST", ORDER, &limit("BUY", "0.1", "60000", "e-2")).await;
    admin(&sim, "/sim/market", book(json!([["59990", "1"]]), json!([["60000", "0.04"], ["60100", "1"]]))).await;
    binance_trade(&sim, "DELETE", ORDER, "symbol=BTCUSDT&origClientOrderId=e-2&newClientOrderId=e-3").await;
    binance_trade(&sim, "POST", ORDER, "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=IOC&quantity=0.1&price=60000").await;
    let mut reports = Vec::new();
    for _ in 0..5 {
        let report = events.json("a report").await;
        let position = events.json("the balances after it").await;
        assert_eq!((&report["subscriptionId"], &position["event"]["e"]), (&json!(0), &json!("outboundAccountPosition")));
        reports.push((report["event"].clone(), position["event"]["B"].clone()));
    }
    let check = |index: usize, x: &str, status: &str, client: &str, original: &str| {
        let (report, _) = &reports[index];
        let had = ["e", "x", "X", "c", "C"].map(|name| report[name].as_str().unwrap().to_owned());
        assert_eq!(had, ["executionReport", x, status, client, original], "{report}");
    };
    check(0, "NEW", "NEW", "e-2", "");
    check(1, "TRADE", "PARTIALLY_FILLED", "e-2", "");
    check(2, "CANCELED", "CANCELED", "e-3", "e-2");
    assert_eq!(
        (&reports[3].0["x"], &reports[4].0["x"], &reports[4].0["eR"]),
        (&json!("NEW"), &json!("EXPIRED"), &json!("UNFILLED_IOC_QUANTITY_EXPIRED"))
    );
    let trade = &reports[1].0;
    let fields =
        ["l", "z", "L", "n", "N", "Z", "Y", "q", "p", "S", "o", "f"].map(|name| trade[name].as_str().unwrap().to_owned());
    let want = [
        "0.04000000",
        "0.04000000",
        "60000.00000000",
        "0.00004000",
        "BTC",
        "2400.00000000",
        "2400.00000000",
        "0.10000000",
        "60000.00000000",
        "BUY",
        "LIMIT",
        "GTC",
    ];
    assert_eq!(fields, want);
    assert!(trade["t"].as_u64().unwrap() > 0 && reports[0].0["t"] == -1 && trade["m"] == true && trade["w"] == true);
    assert_eq!(reports[0].1[1], json!({"a": "USDT", "f": "12452.77000000", "l": "6925.50000000"}));
    assert_eq!(reports[2].1[1], json!({"a": "USDT", "f": "16052.77000000", "l": "925.50000000"}));
    // Money that comes in is told with its delta.
    admin(&sim, "/sim/balances", json!({"exchange": "binance", "asset": "USDT", "amount": "-50"})).await;
    events.json("the balance").await;
    let update = events.json("the transfer").await;
    assert_eq!((&update["event"]["e"], &update["event"]["d"]), (&json!("balanceUpdate"), &json!("-50.00000000")));
    sim.stop().await;
}

#[tokio::test]
async fn the_websocket_api_places_asks_and_cancels_as_rest_does() {
    let sim = held(config()).await;
    let mut socket = binance_events(&sim).await;
    let mut ask = async |id: u64, method: &str, params: &[(&str, &str)], key| {
        socket.say(ws_request(id, method, params, key)).await;
        socket.find("the answer", |frame| frame["id"] == id).await
    };
    let order = [
        ("symbol", "BTCUSDT"),
        ("side", "BUY"),
        ("type", "LIMIT"),
        ("timeInForce", "GTC"),
        ("quantity", "0.01"),
        ("price", "59000"),
        ("newClientOrderId", "w-1"),
    ];
    let refused = ask(2, "order.place", &order, BINANCE_READER).await;
    assert_eq!((&refused["status"], &refused["error"]["code"]), (&json!(401), &json!(-2015)));
    let placed = ask(3, "order.place", &order, BINANCE_TRADER).await;
    assert_eq!((&placed["status"], &placed["result"]["status"]), (&json!(200), &json!("NEW")), "{placed}");
    assert_eq!(placed["rateLimits"][0]["rateLimitType"], "REQUEST_WEIGHT");
    let named = [("symbol", "BTCUSDT"), ("origClientOrderId", "w-1")];
    assert_eq!(ask(4, "order.status", &named, BINANCE_READER).await["result"]["clientOrderId"], "w-1");
    assert_eq!(ask(5, "order.cancel", &named, BINANCE_TRADER).await["result"]["status"], "CANCELED");
    assert_eq!(ask(6, "order.cancel", &named, BINANCE_TRADER).await["error"]["code"], -2011);
    let again = ask(7, "userDataStream.subscribe.signature", &[], BINANCE_READER).await;
    assert_eq!((&again["status"], &again["error"]["code"]), (&json!(400), &json!(-2035)));
    assert_eq!(ask(8, "userDataStream.start", &[], BINANCE_READER).await["status"], 410);
    assert_eq!(ask(9, "userDataStream.subscribe.signature", &[], (BINANCE_READER.0, "wrong")).await["error"]["code"], -1022);
    socket.say(json!({"id": 10, "method": "time"})).await;
    assert!(socket.find("the time", |frame| frame["id"] == 10).await["result"]["serverTime"].is_i64());
    socket.say(json!({"id": 11, "method": "userDataStream.unsubscribe"})).await;
    let end = socket.find("the end", |frame| frame["event"]["e"] == "eventStreamTerminated").await;
    assert_eq!(end["subscriptionId"], 0);
    sim.stop().await;
}

#[tokio::test]
async fn a_connection_is_told_before_it_ends() {
    // 24 h become 1.728 s, and the notice ten minutes before 12 ms.
    let sim = held(Config { time_scale: 50_000.0, ..config() }).await;
    let mut socket = binance_events(&sim).await;
    let notice = socket.json("the notice").await;
    assert_eq!((&notice["event"]["e"], notice.get("subscriptionId")), (&json!("serverShutdown"), None));
    while !matches!(socket.next("the end").await, Came::Closed(_) | Came::Broken(_)) {}
    sim.stop().await;
}

#[tokio::test]
async fn the_moving_market_fills_what_rests_at_its_touch() {
    let sim = start(config()).await;
    let top = get(sim.binance_addr, "/api/v3/ticker/bookTicker?symbol=BTCUSDT").await.json();
    let mut events = binance_events(&sim).await;
    // Wherever it goes, it goes through one of them.
    for (side, price) in [("BUY", &top["bidPrice"]), ("SELL", &top["askPrice"])] {
        let placed = binance_trade(&sim, "POST", ORDER, &limit(side, "0.001", price.as_str().unwrap(), side)).await;
        assert_eq!(placed.status, 200, "{}", placed.text);
    }
    let fill = events.find("a fill", |frame| frame["event"]["x"] == "TRADE").await;
    assert_eq!(fill["event"]["L"], fill["event"]["p"]);
    sim.stop().await;
}

#[tokio::test]
async fn a_recorded_market_fills_orders_at_its_cursor() {
    let sim = start(Config { replay: Replay { files: recordings(), speed: Speed::Max }, ..config() }).await;
    let top = async || get(sim.binance_addr, "/api/v3/ticker/bookTicker?symbol=BTCUSDT").await.json();
    let before = top().await;
    let ask = before["askPrice"].as_str().unwrap();
    let order = format!("symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=IOC&quantity=0.001&price={ask}");
    let filled = binance_trade(&sim, "POST", ORDER, &order).await.json();
    assert_eq!((&filled["status"], &filled["fills"][0]["price"]), (&json!("FILLED"), &before["askPrice"]), "{filled} {before}");
    let quantity = |top: &Value| top["askQty"].as_str().unwrap().parse::<f64>().unwrap();
    assert!((quantity(&before) - quantity(&top().await) - 0.001).abs() < 1e-9, "what was taken is gone");
    // Nothing moves before somebody listens; then the recording goes through one of the two.
    let mut events = binance_events(&sim).await;
    for (side, price) in [("BUY", &before["bidPrice"]), ("SELL", &before["askPrice"])] {
        binance_trade(&sim, "POST", ORDER, &limit(side, "0.001", price.as_str().unwrap(), side)).await;
    }
    let mut market = connect(sim.binance_addr, "/ws/btcusdt@bookTicker").await;
    let draining = tokio::spawn(async move { while matches!(market.next("the recording").await, Came::Text(_) | Came::Ping) {} });
    let fill = events.find("a fill", |frame| frame["event"]["x"] == "TRADE").await;
    assert_eq!((&fill["event"]["m"], &fill["event"]["L"]), (&json!(true), &fill["event"]["p"]));
    draining.abort();
    sim.stop().await;
}
