//! The whole call path over real sockets, against answers that no well-behaved exchange (and no simulator) gives.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use secrecy::SecretString;
use spark_exchanges::{
    ApiConfig, ApiKey, Binance, BreakerConfig, BreakerMode, BreakerState, BtcTurk, CallReport, ErrorType, Observer, Outcome,
    RetryConfig,
};

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const KEY: &str = "11111111-2222-3333-4444-555555555555";

type Reports = Arc<Mutex<Vec<CallReport>>>;

/// A server whose every answer is what `answer` gives for the path and the count of requests before.
async fn serve(answer: impl Fn(&Request, usize) -> Response<Body> + Send + Sync + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let answer = Arc::new(answer);
    let app = Router::new().fallback(move |request: Request| {
        let count = {
            let mut log = log.lock().unwrap();
            log.push(request.uri().to_string());
            log.len() - 1
        };
        let reply = answer(&request, count);
        async move { reply }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, seen)
}

fn reply(status: u16, body: &str) -> Response<Body> {
    with_header(status, "X-None", "0", body)
}

fn with_header(status: u16, name: &str, value: &str, body: &str) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap();
    Response::builder().status(status).header(name, value).body(Body::from(body.to_owned())).unwrap()
}

fn quick(url: &str) -> ApiConfig {
    ApiConfig {
        timeout_ms: 2_000,
        retry: RetryConfig { attempts_max: 3, base_ms: 1, pause_ms_max: 5, total_ms: 5_000 },
        ..ApiConfig::at(url)
    }
}

fn key() -> Option<ApiKey> {
    Some(ApiKey::new(&SecretString::from(KEY), &SecretString::from(SECRET)).unwrap())
}

fn recording() -> (Observer, Reports) {
    let reports = Reports::default();
    let sink = Arc::clone(&reports);
    (Arc::new(move |report: &CallReport| sink.lock().unwrap().push(report.clone())), reports)
}

fn binance(config: &ApiConfig) -> (Binance, Reports) {
    let (observer, reports) = recording();
    (Binance::new(config, key(), observer).unwrap(), reports)
}

fn btcturk(config: &ApiConfig) -> (BtcTurk, Reports) {
    let (observer, reports) = recording();
    (BtcTurk::new(config, key(), observer).unwrap(), reports)
}

fn outcomes(reports: &Reports) -> Vec<(&'static str, u32, Outcome, Option<u16>)> {
    reports.lock().unwrap().iter().map(|report| (report.operation, report.attempt, report.outcome, report.http_status)).collect()
}

fn now_ms() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

const PRICES: &str = r#"[{"symbol":"BTCUSDT","price":"61837.63000000"}]"#;

#[tokio::test]
async fn every_try_is_reported_and_an_outage_is_retried_until_it_passes() {
    let (url, _) = serve(|_, count| if count < 2 { reply(503, "<html>busy</html>") } else { reply(200, PRICES) }).await;
    let (client, reports) = binance(&quick(&url));
    let prices = client.ticker_price(None).await.unwrap();
    assert_eq!(prices[0].price.to_string(), "61837.63");
    let server = Outcome::Err(ErrorType::Server);
    assert_eq!(
        outcomes(&reports),
        [
            ("ticker_price", 1, server, Some(503)),
            ("ticker_price", 2, server, Some(503)),
            ("ticker_price", 3, Outcome::Ok, Some(200))
        ]
    );
}

#[tokio::test]
async fn tries_are_bounded_and_a_refusal_is_not_tried_again() {
    let check = async |status: u16, body: &'static str, error_type: ErrorType, tries: usize, code: Option<i64>| {
        let (url, seen) = serve(move |_, _| reply(status, body)).await;
        let (client, _) = binance(&quick(&url));
        let error = client.book_ticker("NOPE").await.unwrap_err();
        assert_eq!((error.error_type, error.http_status, error.venue_code), (error_type, Some(status), code), "{error}");
        assert_eq!(seen.lock().unwrap().len(), tries, "{error}");
    };
    check(500, "", ErrorType::Server, 3, None).await;
    check(400, r#"{"code":-1121,"msg":"Invalid symbol."}"#, ErrorType::Server, 1, Some(-1121)).await;
    check(200, r#"{"code":-1121,"msg":"Invalid symbol."}"#, ErrorType::Server, 1, Some(-1121)).await;
    check(401, r#"{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}"#, ErrorType::Auth, 1, Some(-2015))
        .await;
    check(200, r#"{"symbol":"NOPE","bidPrice":"NaN","bidQty":"1","askPrice":"1","askQty":"1"}"#, ErrorType::Parse, 1, None).await;
    check(200, r#"{"symbol":"NOPE","bidPrice":"-1","bidQty":"1","askPrice":"1","askQty":"1"}"#, ErrorType::Parse, 1, None).await;
    check(200, "{", ErrorType::Parse, 1, None).await;
    check(302, "", ErrorType::Server, 1, None).await;
}

#[tokio::test]
async fn a_key_that_the_exchange_says_back_is_left_out() {
    for said in [KEY, &KEY[..KEY.len() - 1], &KEY[..8]] {
        let body = format!(r#"{{"code":-2014,"msg":"no such key: {said}"}}"#);
        let (url, _) = serve(move |_, _| reply(401, &body)).await;
        let error = binance(&quick(&url)).0.account().await.unwrap_err();
        assert!(error.message.ends_with("no such key: (our key)"), "{error}");
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_by_the_call_and_by_the_next_ones() {
    let (url, seen) = serve(|_, count| match count {
        0 => with_header(429, "Retry-After", "1", r#"{"code":-1003,"msg":"Too much request weight used"}"#),
        1 => reply(200, PRICES),
        _ => with_header(418, "Retry-After", "3600", r#"{"code":-1003,"msg":"banned"}"#),
    })
    .await;
    let (client, reports) = binance(&quick(&url));
    let started = std::time::Instant::now();
    client.ticker_price(None).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(outcomes(&reports)[0], ("ticker_price", 1, Outcome::Err(ErrorType::RateLimit), Some(429)));

    let banned = client.ticker_price(None).await.unwrap_err();
    assert_eq!((banned.error_type, banned.retry_after), (ErrorType::RateLimit, Some(Duration::from_secs(3_600))));
    let kept_back = client.book_ticker("BTCUSDT").await.unwrap_err();
    assert_eq!((kept_back.error_type, kept_back.http_status), (ErrorType::RateLimit, None), "{kept_back}");
    assert_eq!(seen.lock().unwrap().len(), 3, "nothing goes out during a ban");
}

#[tokio::test]
async fn weight_that_others_used_holds_our_calls_back() {
    let (url, seen) = serve(|_, _| with_header(200, "X-MBX-USED-WEIGHT-1M", "6000", PRICES)).await;
    let (client, _) = binance(&quick(&url));
    client.ticker_price(None).await.unwrap();
    let error = client.trades("BTCUSDT", 10).await.unwrap_err();
    assert_eq!(error.error_type, ErrorType::RateLimit, "the debt takes a minute to pay off: {error}");
    assert!(error.to_string().contains("1200 a minute"), "{error}");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn one_unreadable_price_does_not_hide_the_others() {
    let body = r#"[{"symbol":"BTCUSDT","price":"61837.63"},{"symbol":"BAD","price":"NaN"},{"price":"1"},7,{"symbol":"ETHBTC","price":0.05}]"#;
    let (url, _) = serve(move |_, count| if count == 0 { reply(200, body) } else { reply(200, r#"[{"a":1}]"#) }).await;
    let (client, _) = binance(&quick(&url));
    let symbols: Vec<String> = client.ticker_price(None).await.unwrap().into_iter().map(|row| row.symbol).collect();
    assert_eq!(symbols, ["BTCUSDT", "ETHBTC"]);
    assert_eq!(client.ticker_price(None).await.unwrap_err().error_type, ErrorType::Parse);
}

#[tokio::test]
async fn an_answer_that_is_too_long_or_cut_off_is_an_error_of_its_own() {
    let (url, _) = serve(|_, _| reply(200, &"[".repeat(20_000))).await;
    let config = ApiConfig { body_bytes_max: 10_000, ..quick(&url) };
    let error = binance(&config).0.ticker_price(None).await.unwrap_err();
    assert_eq!(error.error_type, ErrorType::Parse);
    assert!(error.to_string().contains("longer than 10000 bytes"), "{error}");

    let (url, _) = serve(|_, _| with_header(200, "Content-Length", "500", "[1,2")).await;
    let error = binance(&quick(&url)).0.ticker_price(None).await.unwrap_err();
    assert_eq!(error.error_type, ErrorType::Network, "{error}");
}

#[tokio::test]
async fn silence_is_a_timeout_and_a_closed_port_is_network() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ApiConfig { timeout_ms: 50, ..quick(&format!("http://{}", silent.local_addr().unwrap())) };
    let (client, reports) = binance(&config);
    let error = client.book_ticker("BTCUSDT").await.unwrap_err();
    assert_eq!(error.error_type, ErrorType::Timeout);
    assert_eq!(error.to_string(), "binance book_ticker: no answer within 50 ms");
    assert_eq!(reports.lock().unwrap().len(), 3);

    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = binance(&quick(&format!("http://{closed}"))).0.account().await.unwrap_err();
    assert_eq!(error.error_type, ErrorType::Network);
    let shown = format!("{error} {error:?}");
    for secret in [KEY, SECRET, "signature", "timestamp=", "recvWindow"] {
        assert!(!shown.contains(secret), "{secret} is shown in {shown}");
    }
}

#[tokio::test]
async fn a_refused_timestamp_is_corrected_from_the_exchanges_clock_and_sent_once_more() {
    const AHEAD_MS: i64 = 90_000;
    let (url, seen) = serve(|request, count| {
        let server_ms = now_ms() + if count == 0 { 0 } else { AHEAD_MS };
        if request.uri().path() == "/api/v3/time" {
            return reply(200, &format!(r#"{{"serverTime":{server_ms}}}"#));
        }
        let query = request.uri().query().unwrap().to_owned();
        let stamp = query.split('&').find_map(|pair| pair.strip_prefix("timestamp=")).unwrap();
        if (stamp.parse::<i64>().unwrap() - server_ms).abs() > 1_000 {
            return reply(400, r#"{"code":-1021,"msg":"Timestamp for this request is outside of the recvWindow."}"#);
        }
        reply(200, r#"{"canTrade":false,"balances":[{"asset":"BTC","free":"1","locked":"0"}]}"#)
    })
    .await;
    let (client, _) = binance(&quick(&url));
    let account = client.account().await.unwrap();
    assert_eq!(account.balances.len(), 1);
    assert!((client.clock_offset_ms() - AHEAD_MS).abs() < 1_000, "{}", client.clock_offset_ms());
    let paths: Vec<String> = seen.lock().unwrap().iter().map(|uri| uri.split('?').next().unwrap().to_owned()).collect();
    assert_eq!(paths, ["/api/v3/time", "/api/v3/account", "/api/v3/time", "/api/v3/account"]);
}

#[tokio::test]
async fn a_clock_that_stays_refused_is_reported_as_clock_after_one_more_try() {
    let (url, seen) = serve(|request, _| match request.uri().path() {
        "/api/v3/time" => reply(200, &format!(r#"{{"serverTime":{}}}"#, now_ms())),
        _ => reply(400, r#"{"code":-1021,"msg":"Timestamp for this request was 1000ms ahead of the server's time."}"#),
    })
    .await;
    let error = binance(&quick(&url)).0.account().await.unwrap_err();
    assert_eq!(error.error_type, ErrorType::Clock);
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn btcturk_401_is_the_key_unless_the_clock_explains_it() {
    let balances = r#"{"data":[{"asset":"TRY","balance":"10","locked":"0","free":"10"}],"success":true,"message":null,"code":0}"#;
    let refused = r#"{"success":false,"message":"Unauthorized","code":1}"#;
    let server = move |jump_ms: i64| {
        serve(move |request, count| {
            let server_ms = now_ms() + if count == 0 { 0 } else { jump_ms };
            if request.uri().path().ends_with("/time") {
                return reply(200, &format!(r#"{{"serverTime":{server_ms},"serverTime2":"x"}}"#));
            }
            let stamp: i64 = request.headers()["x-stamp"].to_str().unwrap().parse().unwrap();
            let in_time = (stamp - server_ms).abs() < 5_000;
            if in_time && jump_ms != 0 { reply(200, balances) } else { reply(401, refused) }
        })
    };
    let (url, _) = server(-60_000).await;
    let (client, _) = btcturk(&quick(&url));
    assert_eq!(client.balances().await.unwrap()[0].asset, "TRY");

    let (url, seen) = server(0).await;
    let error = btcturk(&quick(&url)).0.balances().await.unwrap_err();
    assert_eq!((error.error_type, error.http_status), (ErrorType::Auth, Some(401)), "{error}");
    assert_eq!(seen.lock().unwrap().iter().filter(|uri| uri.contains("balances")).count(), 1, "a wrong key is not tried again");
}

#[tokio::test]
async fn btcturk_says_no_with_http_200_too() {
    let check = async |body: &'static str, error_type: ErrorType, code: Option<i64>| {
        let (url, _) = serve(move |_, _| reply(200, body)).await;
        let error = btcturk(&quick(&url)).0.trades("BTCTRY", 10).await.unwrap_err();
        assert_eq!((error.error_type, error.venue_code), (error_type, code), "{error}");
    };
    check(r#"{"success":false,"message":"Pair X does not exists.","code":1037}"#, ErrorType::Server, Some(1_037)).await;
    check(r#"{"data":[],"success":true,"message":"TOO_MANY_REQUESTS","code":429}"#, ErrorType::RateLimit, Some(429)).await;
    check(r#"{"data":[]}"#, ErrorType::Parse, None).await;
    check(r#"{"success":true,"code":0}"#, ErrorType::Parse, None).await;
}

#[tokio::test]
async fn the_breaker_opens_after_outages_probes_and_can_be_set_by_hand() {
    let healthy = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let state = Arc::clone(&healthy);
    let (url, seen) =
        serve(move |_, _| if state.load(std::sync::atomic::Ordering::Relaxed) { reply(200, PRICES) } else { reply(500, "") })
            .await;
    let mut config = quick(&url);
    config.retry.attempts_max = 1;
    config.breaker = BreakerConfig { failures_to_open: 2, open_ms: 200, successes_to_close: 2 };
    let (client, reports) = binance(&config);
    for _ in 0..2 {
        assert_eq!(client.ticker_price(None).await.unwrap_err().http_status, Some(500));
    }
    let refused = client.ticker_price(None).await.unwrap_err();
    assert_eq!((refused.error_type, refused.http_status), (ErrorType::Server, None));
    assert!(refused.to_string().contains("breaker is open") && refused.retry_after.is_some(), "{refused}");
    assert_eq!((seen.lock().unwrap().len(), reports.lock().unwrap().len()), (2, 2), "a call that is not made is not reported");

    healthy.store(true, std::sync::atomic::Ordering::Relaxed);
    client.set_breaker(BreakerMode::ForcedOpen);
    assert!(client.ticker_price(None).await.unwrap_err().to_string().contains("by hand"));
    client.set_breaker(BreakerMode::ForcedClosed);
    client.ticker_price(None).await.unwrap();

    healthy.store(false, std::sync::atomic::Ordering::Relaxed);
    client.set_breaker(BreakerMode::Auto);
    for _ in 0..2 {
        client.ticker_price(None).await.unwrap_err();
    }
    healthy.store(true, std::sync::atomic::Ordering::Relaxed);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while client.breaker().1 == BreakerState::Open {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", client.breaker());
        tokio::task::yield_now().await;
    }
    let (first, second) = tokio::join!(client.ticker_price(None), client.book_ticker("BTCUSDT"));
    first.unwrap();
    assert_eq!(second.unwrap_err().error_type, ErrorType::Parse, "the second call waited for the probe instead of failing");
    client.ticker_price(None).await.unwrap_err();
}

#[tokio::test]
async fn without_a_key_nothing_is_sent() {
    let (url, seen) = serve(|_, _| reply(500, "")).await;
    let (observer, _) = recording();
    let client = Binance::new(&quick(&url), None, Arc::clone(&observer)).unwrap();
    assert_eq!(client.account().await.unwrap_err().error_type, ErrorType::Auth);
    let client = BtcTurk::new(&quick(&url), None, observer).unwrap();
    assert_eq!(client.balances().await.unwrap_err().error_type, ErrorType::Auth);
    assert_eq!(seen.lock().unwrap().len(), 0);
}
