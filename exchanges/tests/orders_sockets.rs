//! What is certain after a submit, a cancel and a look-up, over real sockets, against answers that no working exchange gives:
//! connections that close, answers that never come, pages of proxies. Every test also counts what arrived: an order is never
//! sent twice.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rust_decimal::Decimal;
use secrecy::SecretString;
use spark_bus_schema::Timestamp;
use spark_exchanges::orders::{
    CancelOutcome, FillsOf, Lookup, Moment, NewOrder, OrderKind, OrderRef, ReportState, Side, SubmitOutcome, TimeInForce, Trading,
};
use spark_exchanges::{ApiConfig, ApiKey, Binance, BreakerMode, BtcTurk, RetryConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const KEY: &str = "11111111-2222-3333-4444-555555555555";
const SOON: Duration = Duration::from_secs(5);

/// A request as it arrived.
#[derive(Clone, Debug)]
struct Arrived {
    method: String,
    target: String,
    head: String,
    body: String,
}

/// What is done with it.
#[derive(Clone, Debug)]
enum React {
    Say(u16, &'static str, String),
    /// Closes without a byte.
    Close,
    /// Says nothing, ever.
    Hang,
    /// Promises more than it sends, then closes.
    BreakOff(u16, &'static str),
}

fn say(status: u16, body: &str) -> React {
    React::Say(status, "X-None: 0", body.to_owned())
}

type Seen = Arc<Mutex<Vec<Arrived>>>;

/// An exchange of which both clocks are right, and the rest is `react`.
async fn exchange(react: impl Fn(&Arrived) -> React + Send + Sync + 'static) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let (log, react) = (Arc::clone(&seen), Arc::new(react));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, Arc::clone(&log), Arc::clone(&react)));
        }
    });
    (url, seen)
}

async fn converse(mut stream: TcpStream, log: Seen, react: Arc<impl Fn(&Arrived) -> React + Send + Sync + 'static>) {
    let mut buffer = Vec::new();
    while let Some(arrived) = receive(&mut stream, &mut buffer).await {
        let time = arrived.target.ends_with("/time");
        let reaction = if time {
            let body = format!(r#"{{"serverTime":{}}}"#, Timestamp::as_millis(Moment::now().timestamp()));
            React::Say(200, "X-None: 0", body)
        } else {
            log.lock().unwrap().push(arrived.clone());
            react(&arrived)
        };
        let answer = match reaction {
            React::Say(status, header, body) => {
                format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{header}\r\n\r\n{body}", body.len())
            }
            React::BreakOff(status, body) => format!("HTTP/1.1 {status} X\r\nContent-Length: 9999\r\n\r\n{body}"),
            React::Hang => std::future::pending().await,
            React::Close => return,
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        if answer.contains("Content-Length: 9999") {
            return;
        }
    }
}

async fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Arrived> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let whole = end + 4 + length.unwrap_or(0);
            if buffer.len() >= whole {
                let body = String::from_utf8(buffer[end + 4..whole].to_vec()).unwrap();
                buffer.drain(..whole);
                let mut first = head.split_whitespace();
                let (method, target) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
                return Some(Arrived { method, target, head, body });
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn key() -> Option<ApiKey> {
    Some(ApiKey::new(&SecretString::from(KEY), &SecretString::from(SECRET)).unwrap())
}

fn config(url: &str) -> ApiConfig {
    ApiConfig {
        timeout_ms: 400,
        body_bytes_max: 4_096,
        // Retries are allowed as far as the configuration goes; for orders there are none all the same.
        retry: RetryConfig { attempts_max: 3, base_ms: 1, pause_ms_max: 5, total_ms: 5_000 },
        ..ApiConfig::at(url)
    }
}

fn binance(url: &str) -> Trading {
    Trading::Binance(Binance::new(&config(url), key(), Arc::new(|_| {})).unwrap())
}

fn btcturk(url: &str) -> Trading {
    Trading::Btcturk(BtcTurk::new(&config(url), key(), Arc::new(|_| {})).unwrap())
}

fn order(symbol: &str) -> NewOrder {
    NewOrder {
        symbol: symbol.to_owned(),
        side: Side::Buy,
        kind: OrderKind::Limit { price: "52000.00".parse().unwrap(), time_in_force: TimeInForce::Gtc },
        quantity: "0.00000001".parse().unwrap(),
        client_order_id: "spark-abcdefghijklmnopqrstuvwxyz".to_owned(),
    }
}

fn reference(symbol: &str, id: Option<&str>) -> OrderRef {
    OrderRef {
        symbol: symbol.to_owned(),
        client_order_id: "spark-abcdefghijklmnopqrstuvwxyz".to_owned(),
        exchange_order_id: id.map(str::to_owned),
        placed_at: Moment::now().timestamp(),
    }
}

fn word(outcome: &SubmitOutcome) -> &'static str {
    match outcome {
        SubmitOutcome::Accepted(_) => "accepted",
        SubmitOutcome::Rejected { .. } => "rejected",
        SubmitOutcome::Unknown { .. } => "unknown",
        SubmitOutcome::NotSent { .. } => "not sent",
    }
}

fn hides_the_key(outcome: &impl std::fmt::Debug) {
    let shown = format!("{outcome:?}");
    for hidden in [KEY, SECRET, "signature=", "X-Signature"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}

#[tokio::test]
async fn whatever_becomes_of_a_submit_it_is_sent_once_and_what_is_certain_is_said() {
    let check = async |reaction: React, want: [&str; 2]| {
        for (venue, want) in ["binance", "btcturk"].into_iter().zip(want) {
            let given = reaction.clone();
            let (url, seen) = exchange(move |_| given.clone()).await;
            let (trading, symbol) = if venue == "binance" { (binance(&url), "BTCUSDT") } else { (btcturk(&url), "BTCTRY") };
            let outcome = trading.submit(&order(symbol), Moment::now(), SOON).await;
            assert_eq!(word(&outcome), want, "{venue} {reaction:?}: {outcome:?}");
            assert_eq!(seen.lock().unwrap().len(), 1, "{venue} {reaction:?}");
            hides_the_key(&outcome);
        }
    };
    let unknown = ["unknown", "unknown"];
    check(React::Close, unknown).await;
    check(React::Hang, unknown).await;
    check(React::BreakOff(200, "{\"symbol\":"), unknown).await;
    check(React::BreakOff(400, "{\"code\":-2010"), unknown).await;
    check(say(200, "<html>"), unknown).await;
    check(say(200, "{}"), unknown).await;
    check(say(200, &"x".repeat(5_000)), unknown).await;
    check(say(302, ""), unknown).await;
    check(say(400, "<html>bad request</html>"), unknown).await;
    check(say(404, ""), unknown).await;
    check(say(408, ""), unknown).await;
    for status in [500, 502, 503, 504] {
        check(say(status, "<html>"), unknown).await;
        check(say(status, r#"{"code":-1000,"msg":"x","message":"x","success":false}"#), unknown).await;
    }
    check(React::Say(429, "Retry-After: 7", String::new()), ["not sent", "not sent"]).await;
    check(say(403, "<html>"), ["not sent", "not sent"]).await;
    check(say(401, ""), ["rejected", "rejected"]).await;
    check(say(400, r#"{"code":-1007,"msg":"Timeout"}"#), ["unknown", "unknown"]).await;
    check(say(400, r#"{"code":-1021,"msg":"Timestamp"}"#), ["not sent", "unknown"]).await;
    check(say(400, r#"{"code":-2010,"msg":"Duplicate order sent."}"#), ["unknown", "unknown"]).await;
    check(say(400, r#"{"code":-2010,"msg":"Account has insufficient balance"}"#), ["rejected", "unknown"]).await;
    check(say(200, r#"{"success":false,"code":1122,"message":"FAILED_ORDER_WITH_OPEN_ORDERS"}"#), ["unknown", "rejected"]).await;
    let yes_and_no = r#"{"success":true,"code":1122,"message":"x","data":{"id":1,"datetime":1}}"#;
    check(say(200, yes_and_no), unknown).await;
}

#[tokio::test]
async fn nothing_leaves_when_nobody_listens_no_key_is_there_the_breaker_is_open_or_the_window_is_over() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = format!("http://{gone}");
    for trading in [binance(&gone), btcturk(&gone)] {
        let outcome = trading.submit(&order("BTCUSDT"), Moment::now(), SOON).await;
        assert_eq!(word(&outcome), "not sent", "{outcome:?}");
        let outcome = trading.cancel(&reference("BTCUSDT", Some("1"))).await;
        assert!(matches!(outcome, CancelOutcome::NotSent { .. }), "{outcome:?}");
        assert!(matches!(trading.lookup(&reference("BTCUSDT", Some("1"))).await, Lookup::Unknown(_)));
    }
    let (url, seen) = exchange(|_| say(500, "")).await;
    for trading in [binance(&url), btcturk(&url)] {
        let check = async |at: Moment, lasts: Duration, part: &str| {
            let outcome = trading.submit(&order("BTCUSDT"), at, lasts).await;
            match &outcome {
                SubmitOutcome::NotSent { error, .. } => assert!(error.message.contains(part), "{error}"),
                other => panic!("{other:?}"),
            }
        };
        trading.keep_clock().await.unwrap();
        check(Moment::now(), Duration::ZERO, "time allowed").await;
        let earlier = Moment::now();
        // Passes in real time: the process was paused between its moment and the submit.
        tokio::time::sleep(Duration::from_millis(30)).await;
        check(earlier, Duration::from_millis(20), "time allowed").await;
        trading.set_breaker(BreakerMode::ForcedOpen);
        check(Moment::now(), SOON, "by hand").await;
        trading.set_breaker(BreakerMode::Auto);
        trading.set_key(None);
        check(Moment::now(), SOON, "no API key").await;
    }
    assert_eq!(seen.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn what_an_exchange_has_not_is_refused_before_anything_is_sent() {
    let (url, seen) = exchange(|_| say(500, "")).await;
    let check = async |trading: &Trading, change: &dyn Fn(&mut NewOrder), part: &str| {
        let mut order = order("BTCTRY");
        change(&mut order);
        match trading.submit(&order, Moment::now(), SOON).await {
            SubmitOutcome::Rejected { sent: false, code: None, reason } => assert!(reason.contains(part), "{reason}"),
            other => panic!("{other:?}"),
        }
    };
    let (one, other) = (binance(&url), btcturk(&url));
    let price = Decimal::ONE;
    for time_in_force in [TimeInForce::Ioc, TimeInForce::Fok] {
        check(&other, &|order| order.kind = OrderKind::Limit { price, time_in_force }, "gtc").await;
    }
    check(&other, &|order| order.kind = OrderKind::Market { quote_budget: None }, "quote_budget").await;
    for trading in [&one, &other] {
        check(trading, &|order| order.quantity = Decimal::ZERO, "quantity").await;
        check(trading, &|order| order.client_order_id = "not plain".into(), "client_order_id").await;
        check(trading, &|order| order.symbol = "btc/try".into(), "symbol").await;
    }
    assert_eq!(seen.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn binance_gets_the_order_in_the_body_signed_with_the_callers_moment_for_as_long_as_the_lease_holds() {
    let answer = r#"{"symbol":"BTCUSDT","orderId":28,"clientOrderId":"spark-abcdefghijklmnopqrstuvwxyz","transactTime":5,
        "origQty":"0.00000001","executedQty":"0.00000000","cummulativeQuoteQty":"0.00","status":"NEW","side":"BUY","fills":[]}"#;
    let (url, seen) = exchange(move |_| say(200, answer)).await;
    let trading = binance(&url);
    let check = async |order: NewOrder, lasts: Duration, want: &str| {
        trading.keep_clock().await.unwrap();
        let at = Moment::now();
        let outcome = trading.submit(&order, at, lasts).await;
        assert_eq!(word(&outcome), "accepted", "{outcome:?}");
        let arrived = seen.lock().unwrap().pop().unwrap();
        let timestamp = at.timestamp().as_millis() + trading.clock_offset_ms();
        let (payload, signature) = arrived.body.split_once("&signature=").unwrap();
        assert_eq!(payload, format!("{want}&timestamp={timestamp}"));
        assert_eq!(signature, key().unwrap().sign_binance(payload));
        assert_eq!((arrived.method.as_str(), arrived.target.as_str()), ("POST", "/api/v3/order"));
        assert!(arrived.head.to_ascii_lowercase().contains("x-mbx-apikey"), "{}", arrived.head);
    };
    let rest = "newClientOrderId=spark-abcdefghijklmnopqrstuvwxyz&newOrderRespType=FULL&recvWindow";
    check(
        order("BTCUSDT"),
        Duration::from_secs(60),
        &format!("symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.00000001&price=52000&{rest}=5000"),
    )
    .await;
    let large = NewOrder {
        kind: OrderKind::Limit { price: "999999999999.99999999".parse().unwrap(), time_in_force: TimeInForce::Fok },
        quantity: "1000000000000.00".parse().unwrap(),
        ..order("BTCUSDT")
    };
    check(
        large,
        Duration::from_millis(1_234),
        &format!(
            "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=FOK&quantity=1000000000000&price=999999999999.99999999&{rest}=1234"
        ),
    )
    .await;
    let market = NewOrder { side: Side::Sell, kind: OrderKind::Market { quote_budget: None }, ..order("BTCUSDT") };
    check(market, SOON, &format!("symbol=BTCUSDT&side=SELL&type=MARKET&quantity=0.00000001&{rest}=5000")).await;
}

#[tokio::test]
async fn btcturk_gets_the_order_as_json_with_a_stamp_that_ends_with_the_lease() {
    let answer = r#"{"success":true,"code":0,"message":"SUCCESS","data":{"id":9932534,"datetime":1543996112263,"type":"buy",
        "method":"limit","price":"52000","stopPrice":null,"quantity":"0.00000001","pairSymbol":"BTCTRY","newOrderClientId":"x"}}"#;
    let (url, seen) = exchange(move |_| say(200, answer)).await;
    let trading = btcturk(&url);
    let check = async |order: NewOrder, lasts: Duration, set_back: i64, want: &str| {
        trading.keep_clock().await.unwrap();
        let at = Moment::now();
        let SubmitOutcome::Accepted(report) = trading.submit(&order, at, lasts).await else { panic!() };
        assert_eq!((report.state, report.fills_complete), (ReportState::Open, false), "neither state nor trades are told");
        assert_eq!(report.exchange_order_id, "9932534");
        let arrived = seen.lock().unwrap().pop().unwrap();
        assert_eq!(arrived.body, want);
        let stamp = at.timestamp().as_millis() + trading.clock_offset_ms() - set_back;
        let head = arrived.head.to_ascii_lowercase();
        assert!(head.contains(&format!("x-stamp: {stamp}\r\n")), "{head}, wanted {stamp}");
        assert!(arrived.head.contains(&key().unwrap().sign_btcturk(stamp).unwrap()));
    };
    let body = |method: &str, side: &str, quantity: &str, price: &str| {
        format!(
            r#"{{"quantity":"{quantity}","price":"{price}","stopPrice":"0","newOrderClientId":"spark-abcdefghijklmnopqrstuvwxyz","orderMethod":"{method}","orderType":"{side}","pairSymbol":"BTCTRY"}}"#
        )
    };
    check(order("BTCTRY"), Duration::from_secs(60), 0, &body("limit", "buy", "0.00000001", "52000")).await;
    let sell = NewOrder { side: Side::Sell, kind: OrderKind::Market { quote_budget: None }, ..order("BTCTRY") };
    check(sell, Duration::from_secs(2), 3_000, &body("market", "sell", "0.00000001", "0")).await;
    let budget = Some("1000000000000.10".parse().unwrap());
    let buy = NewOrder { kind: OrderKind::Market { quote_budget: budget }, ..order("BTCTRY") };
    check(buy, Duration::from_secs(2), 3_000, &body("market", "buy", "1000000000000.1", "0")).await;
}

#[tokio::test]
async fn too_many_orders_keep_new_ones_back_for_as_long_as_told_but_not_questions() {
    let (url, seen) = exchange(|arrived| match arrived.method.as_str() {
        "POST" => React::Say(429, "Retry-After: 9", r#"{"code":-1015,"msg":"Too many new orders"}"#.to_owned()),
        _ => say(400, r#"{"code":-2013,"msg":"Order does not exist."}"#),
    })
    .await;
    let trading = binance(&url);
    let SubmitOutcome::NotSent { retry_after, .. } = trading.submit(&order("BTCUSDT"), Moment::now(), SOON).await else {
        panic!()
    };
    assert_eq!(retry_after, Some(Duration::from_secs(9)));
    assert_eq!(trading.lookup(&reference("BTCUSDT", None)).await, Lookup::NotFound);

    let (url, others) =
        exchange(|_| React::Say(429, "Retry-After: 9", r#"{"code":-1003,"msg":"Too much weight"}"#.to_owned())).await;
    let trading = binance(&url);
    for _ in 0..2 {
        let SubmitOutcome::NotSent { retry_after, .. } = trading.submit(&order("BTCUSDT"), Moment::now(), SOON).await else {
            panic!()
        };
        assert!(retry_after.is_some_and(|wait| wait > Duration::from_secs(8)), "{retry_after:?}");
    }
    assert_eq!(others.lock().unwrap().len(), 1, "the second was kept back here");
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn not_found_needs_an_exchange_that_says_so() {
    let check = async |venue: &str, reaction: React, want: &str| {
        let given = reaction.clone();
        let (url, _) = exchange(move |_| given.clone()).await;
        let trading = if venue == "binance" { binance(&url) } else { btcturk(&url) };
        let lookup = trading.lookup(&reference("BTCTRY", (venue == "btcturk").then_some("17"))).await;
        assert!(format!("{lookup:?}").starts_with(want), "{venue} {reaction:?}: {lookup:?}");
    };
    check("binance", say(400, r#"{"code":-2013,"msg":"Order does not exist."}"#), "NotFound").await;
    check("binance", say(400, r#"{"code":-2026,"msg":"Order was archived"}"#), "Unknown").await;
    check("binance", say(404, ""), "Unknown").await;
    check("binance", say(503, r#"{"code":-2013,"msg":"Order does not exist."}"#), "Unknown").await;
    check("binance", say(200, "{}"), "Unknown").await;
    check("binance", say(200, "null"), "Unknown").await;
    check("binance", React::Close, "Unknown").await;
    check("btcturk", say(400, r#"{"success":false,"code":1152,"message":"Order not found"}"#), "NotFound").await;
    check("btcturk", say(200, r#"{"success":false,"code":1152,"message":"Order not found"}"#), "NotFound").await;
    check("btcturk", say(404, ""), "Unknown").await;
    check("btcturk", say(500, ""), "Unknown").await;
    check("btcturk", say(200, r#"{"success":true,"code":0,"data":null}"#), "Unknown").await;
}

const ROW: &str = r#"{"id":ID,"price":"52000","amount":"2","quantity":"2","stopPrice":"0","pairSymbol":"BTCTRY","type":"Buy",
    "method":"limit","orderClientId":"spark-abcdefghijklmnopqrstuvwxyz","time":1,"updateTime":2,"status":"STATUS","leftAmount":"LEFT"}"#;

fn row(id: &str, status: &str, left: &str) -> String {
    ROW.replace("ID", id).replace("STATUS", status).replace("LEFT", left)
}

const PAIRS: &str = r#"{"success":true,"code":0,"data":{"symbols":[{"id":1,"name":"BTCTRY","status":"TRADING","numerator":"BTC",
    "denominator":"TRY","numeratorScale":8,"denominatorScale":0,"filters":[]}]}}"#;

/// BTCTurk with these lists of open and of all orders, and of trades.
async fn lists(open: &str, all: &str, trades: &str) -> (Trading, Seen) {
    let answer = |data: String| format!(r#"{{"success":true,"code":0,"message":"SUCCESS","data":{data}}}"#);
    let open = answer(format!(r#"{{"asks":[],"bids":[{open}]}}"#));
    let (all, trades) = (answer(format!("[{all}]")), answer(format!("[{trades}]")));
    let (url, seen) = exchange(move |arrived| {
        let path = arrived.target.as_str();
        say(
            200,
            match path {
                _ if path.contains("openOrders") => &open,
                _ if path.contains("allOrders") => &all,
                _ if path.contains("exchangeinfo") => PAIRS,
                _ => &trades,
            },
        )
    })
    .await;
    (btcturk(&url), seen)
}

#[tokio::test]
async fn btcturk_orders_are_found_by_client_id_in_lists_with_their_trades() {
    let (trading, seen) = lists("", "", "").await;
    assert_eq!(trading.lookup(&reference("BTCTRY", None)).await, Lookup::NotFound);
    assert!(seen.lock().unwrap()[0].target.contains("openOrders"), "the open ones first, so that one that ends is not missed");

    let other = row("1", "Untouched", "2").replace("spark-", "web-");
    let (trading, _) = lists(&format!("{other},{}", row("7", "Untouched", "2")), &row("7", "Untouched", "2"), "").await;
    let Lookup::Found(report) = trading.lookup(&reference("BTCTRY", None)).await else { panic!() };
    assert_eq!((report.exchange_order_id.as_str(), report.state), ("7", ReportState::Open));

    // In the list of all orders it has ended meanwhile: that is the later answer.
    let trade = r#"{"price":"52000","numeratorSymbol":"BTC","denominatorSymbol":"TRY","orderType":"buy","orderId":7,
        "orderClientId":"x","id":70,"timestamp":5,"amount":"2","fee":"-249.6","tax":"-1"}"#;
    let (trading, _) = lists(&row("7", "Untouched", "2"), &row("7", "Closed", "0"), trade).await;
    let Lookup::Found(report) = trading.lookup(&reference("BTCTRY", None)).await else { panic!() };
    assert_eq!((report.state, report.executed, report.fills_complete), (ReportState::Filled, Decimal::TWO, true));
    assert_eq!((report.fills[0].fee.to_string().as_str(), report.fills[0].fee_asset.as_str()), ("250.6", "TRY"));
    assert_eq!(report.quote_executed, Some(Decimal::from(104_000)));
}

fn parameter(target: &str, name: &str) -> Option<i64> {
    let (_, query) = target.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

#[tokio::test]
async fn trades_are_read_to_the_end_whatever_the_length_of_a_page() {
    const TRADES: i64 = 2_345;
    let asked = |id: i64, venue: &str| match venue {
        "binance" => format!(
            r#"{{"symbol":"BTCTRY","id":{id},"orderId":7,"price":"1","qty":"1","commission":"0","commissionAsset":"TRY","time":{id},"isBuyer":true,"isMaker":true}}"#
        ),
        // Three trades to the millisecond, so that the ends of pages fall between them.
        _ => format!(
            r#"{{"price":1,"numeratorSymbol":"BTC","denominatorSymbol":"TRY","orderType":"buy","orderId":7,"id":{id},"timestamp":{},"amount":1,"fee":0,"tax":0}}"#,
            id / 3
        ),
    };
    let check = async |venue: &'static str, of: FillsOf<'_>| {
        let (url, _) = exchange(move |arrived| {
            let target = arrived.target.as_str();
            let rows: Vec<String> = if venue == "binance" {
                let from = parameter(target, "fromId").unwrap_or(1);
                (from..=TRADES).take(1_000).map(|id| asked(id, venue)).collect()
            } else {
                let end = parameter(target, "endDate").unwrap_or(i64::MAX);
                (1..=TRADES).rev().filter(|id| id / 3 <= end).take(1_000).map(|id| asked(id, venue)).collect()
            };
            let rows = format!("[{}]", rows.join(","));
            match (venue, target.contains("exchangeinfo")) {
                ("binance", _) => say(200, &rows),
                (_, true) => say(200, PAIRS),
                _ => say(200, &format!(r#"{{"success":true,"code":0,"data":{rows}}}"#)),
            }
        })
        .await;
        let large = ApiConfig { body_bytes_max: 1 << 20, timeout_ms: 5_000, ..config(&url) };
        let trading = match venue {
            "binance" => Trading::Binance(Binance::new(&large, key(), Arc::new(|_| {})).unwrap()),
            _ => Trading::Btcturk(BtcTurk::new(&large, key(), Arc::new(|_| {})).unwrap()),
        };
        let fills = trading.fills("BTCTRY", of).await.unwrap();
        let ids: Vec<i64> = fills.iter().map(|fill| fill.fill.trade_id.parse().unwrap()).collect();
        assert_eq!(ids, (1..=TRADES).collect::<Vec<_>>(), "{venue}");
    };
    for venue in ["binance", "btcturk"] {
        check(venue, FillsOf::Since(Timestamp::ZERO)).await;
        check(venue, FillsOf::Order("7")).await;
    }
}

#[tokio::test]
async fn contradicting_answers_are_unknown_never_a_guess() {
    let check = async |open: &str, all: &str, trades: &str, part: &str| {
        let (trading, _) = lists(open, all, trades).await;
        match trading.lookup(&reference("BTCTRY", None)).await {
            Lookup::Unknown(error) => assert!(error.message.contains(part), "{error}"),
            other => panic!("{other:?}"),
        }
    };
    check("", &format!("{},{}", row("7", "Closed", "0"), row("8", "Closed", "0")), "", "2 orders have one client id").await;
    check("", &row("7", "Closed", "0"), "", "2 were executed, but its trades make 0").await;
    check("", &row("7", "Frozen", "2"), "", "unknown status").await;
}
