//! The order side of both connectors against the simulated exchanges: real protocols, real matching, faults on demand, and the
//! exchange's own log as proof of what happened.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use secrecy::SecretString;
use serde_json::{Value, json};
use spark_bus_schema::Timestamp;
use spark_exchange_sim::{
    DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET, DEMO_BINANCE_TRADE_KEY, DEMO_BINANCE_TRADE_SECRET, DEMO_BTCTURK_TRADE_KEY,
    DEMO_BTCTURK_TRADE_SECRET, Sim,
};
use spark_exchanges::orders::{
    CancelOutcome, FillsOf, Lookup, Moment, NewOrder, OrderKind, OrderRef, OrderReport, ReportState, Side, SubmitOutcome,
    TimeInForce, Trading, UserData, UserDataConfig, UserEvent,
};
use spark_exchanges::{ApiConfig, ApiKey, Binance, BtcTurk, RetryConfig};

/// Nothing here takes longer than this.
const SOON: Duration = Duration::from_secs(10);

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn key(key: &str, secret: &str) -> ApiKey {
    ApiKey::new(&SecretString::from(key), &SecretString::from(secret)).unwrap()
}

fn quick(address: std::net::SocketAddr) -> ApiConfig {
    ApiConfig {
        per_minute: Some(1_000_000),
        retry: RetryConfig { attempts_max: 3, base_ms: 1, pause_ms_max: 5, total_ms: 10_000 },
        ..ApiConfig::at(format!("http://{address}"))
    }
}

fn binance(sim: &Sim) -> Trading {
    let key = key(DEMO_BINANCE_TRADE_KEY, DEMO_BINANCE_TRADE_SECRET);
    Trading::Binance(Binance::new(&quick(sim.binance_addr), Some(key), Arc::new(|_| {})).unwrap())
}

fn btcturk(sim: &Sim) -> Trading {
    let key = key(DEMO_BTCTURK_TRADE_KEY, DEMO_BTCTURK_TRADE_SECRET);
    Trading::Btcturk(BtcTurk::new(&quick(sim.btcturk_addr), Some(key), Arc::new(|_| {})).unwrap())
}

fn http() -> reqwest::Client {
    // Fails when another test of this process was first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(SOON).build().unwrap()
}

async fn admin(sim: &Sim, path: &str, body: Value) -> Value {
    let client = http();
    let answer = client.post(format!("http://{}{path}", sim.admin_addr)).body(body.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert!((200..300).contains(&status), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

async fn log(sim: &Sim, exchange: &str) -> Value {
    let client = http();
    let url = format!("http://{}/sim/orders?exchange={exchange}", sim.admin_addr);
    serde_json::from_str(&client.get(url).send().await.unwrap().text().await.unwrap()).unwrap()
}

/// What became of all submits of one client id, by the exchange's own log: how many arrived, how many became orders.
async fn submits(sim: &Sim, exchange: &str, client_id: &str) -> (u64, u64) {
    let row = log(sim, exchange).await["clients"][client_id].clone();
    (row["submits"].as_u64().unwrap_or(0), row["accepted"].as_u64().unwrap_or(0))
}

/// Both exchanges with markets that stand still. Binance BTCUSDT: bid 60000 × 1, asks 60001 × 0.5 and 60010 × 1. BTCTurk
/// BTCTRY: bid 2000000 × 1, asks 2000100 × 0.01 and 2000200 × 1.
async fn held() -> Sim {
    let config = spark_exchange_sim::Config { history_hours: 2, ..spark_exchange_sim::Config::default() };
    let sim = spark_exchange_sim::start(config).await.unwrap();
    book(&sim, "binance", "BTCUSDT", json!([["60000", "1"]]), json!([["60001", "0.5"], ["60010", "1"]])).await;
    book(&sim, "btcturk", "BTCTRY", json!([["2000000", "1"]]), json!([["2000100", "0.01"], ["2000200", "1"]])).await;
    sim
}

async fn book(sim: &Sim, exchange: &str, symbol: &str, bids: Value, asks: Value) {
    admin(sim, "/sim/market", json!({"exchange": exchange, "symbol": symbol, "bids": bids, "asks": asks})).await;
}

fn limit(symbol: &str, side: Side, price: &str, quantity: &str, id: &str) -> NewOrder {
    timed(symbol, side, price, quantity, TimeInForce::Gtc, id)
}

fn timed(symbol: &str, side: Side, price: &str, quantity: &str, time_in_force: TimeInForce, id: &str) -> NewOrder {
    NewOrder {
        symbol: symbol.to_owned(),
        side,
        kind: OrderKind::Limit { price: dec(price), time_in_force },
        quantity: dec(quantity),
        client_order_id: id.to_owned(),
    }
}

fn market(symbol: &str, side: Side, quantity: &str, quote_budget: Option<&str>, id: &str) -> NewOrder {
    NewOrder { kind: OrderKind::Market { quote_budget: quote_budget.map(dec) }, ..limit(symbol, side, "1", quantity, id) }
}

async fn submit(trading: &Trading, order: &NewOrder) -> SubmitOutcome {
    trading.submit(order, Moment::now(), Duration::from_secs(5)).await
}

async fn accepted(trading: &Trading, order: &NewOrder) -> OrderReport {
    match submit(trading, order).await {
        SubmitOutcome::Accepted(report) => report,
        other => panic!("{order:?}: {other:?}"),
    }
}

fn named(symbol: &str, client_id: &str, id: Option<&str>) -> OrderRef {
    OrderRef {
        symbol: symbol.to_owned(),
        client_order_id: client_id.to_owned(),
        exchange_order_id: id.map(str::to_owned),
        placed_at: Moment::now().timestamp(),
    }
}

async fn found(trading: &Trading, order: &OrderRef) -> OrderReport {
    match trading.lookup(order).await {
        Lookup::Found(report) => *report,
        other => panic!("{order:?}: {other:?}"),
    }
}

/// Asks until the order is as wanted.
async fn becomes(trading: &Trading, order: &OrderRef, state: ReportState) -> OrderReport {
    let give_up = tokio::time::Instant::now() + SOON;
    loop {
        let report = found(trading, order).await;
        if report.state == state {
            return report;
        }
        assert!(tokio::time::Instant::now() < give_up, "still {report:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_order_at_binance_trades_rests_is_found_and_is_taken_back() {
    let sim = held().await;
    admin(&sim, "/sim/balances", json!({"exchange": "binance", "asset": "USDT", "amount": "100000"})).await;
    let trading = binance(&sim);
    let report = accepted(&trading, &limit("BTCUSDT", Side::Buy, "60005", "0.6", "spark-a")).await;
    assert_eq!((report.state, report.executed, report.fills_complete), (ReportState::PartiallyFilled, dec("0.5"), true));
    assert_eq!((report.fills.len(), report.fills[0].price, report.fills[0].is_maker), (1, dec("60001"), Some(false)));
    assert_eq!((report.fills[0].fee, report.fills[0].fee_asset.as_str()), (dec("0.0005"), "BTC"));
    assert_eq!(report.quote_executed, Some(dec("30000.5")));

    for reference in [named("BTCUSDT", "spark-a", None), named("BTCUSDT", "spark-a", Some(&report.exchange_order_id))] {
        let seen = found(&trading, &reference).await;
        assert_eq!((seen.state, seen.executed, seen.quantity), (ReportState::PartiallyFilled, dec("0.5"), dec("0.6")));
        let (told, listed) = (&report.fills[0], &seen.fills[0]);
        assert_eq!((&told.trade_id, told.quantity, told.fee), (&listed.trade_id, listed.quantity, listed.fee));
    }
    let open = trading.open_orders(Some("BTCUSDT")).await.unwrap();
    assert_eq!(open.iter().map(|row| row.client_order_id.as_str()).collect::<Vec<_>>(), ["spark-a"]);
    assert_eq!(trading.open_orders(None).await.unwrap(), open);

    let reference = named("BTCUSDT", "spark-a", None);
    let CancelOutcome::Done(cancelled) = trading.cancel(&reference).await else { panic!() };
    assert_eq!((cancelled.client_order_id.as_str(), cancelled.state), ("spark-a", ReportState::Cancelled));
    assert!(!cancelled.fills_complete, "the answer to a cancel has no trades");
    let last = found(&trading, &reference).await;
    assert_eq!((last.state, last.fills.len(), last.client_order_id.as_str()), (ReportState::Cancelled, 1, "spark-a"));
    assert_eq!(trading.cancel(&reference).await, CancelOutcome::NotOpen);
    assert_eq!(trading.cancel(&named("BTCUSDT", "spark-never", None)).await, CancelOutcome::NotOpen);
    assert_eq!(trading.lookup(&named("BTCUSDT", "spark-never", None)).await, Lookup::NotFound);

    let all = trading.fills("BTCUSDT", FillsOf::Since(Timestamp::ZERO)).await.unwrap();
    assert_eq!((all.len(), &all[0].fill, all[0].side), (1, &last.fills[0], Side::Buy));
    let balances = trading.balances().await.unwrap();
    assert!(balances.iter().any(|row| row.asset == "USDT" && row.locked == dec("925.5")), "{balances:?}");
    sim.stop().await;
}

#[tokio::test]
async fn at_binance_what_cannot_be_filled_expires_and_keeps_its_trades() {
    let sim = held().await;
    admin(&sim, "/sim/balances", json!({"exchange": "binance", "asset": "USDT", "amount": "1000000"})).await;
    let trading = binance(&sim);
    let check = async |order: NewOrder, state: ReportState, executed: &str| {
        let report = accepted(&trading, &order).await;
        assert_eq!((report.state, report.executed), (state, dec(executed)), "{report:?}");
        let seen = found(&trading, &named("BTCUSDT", &order.client_order_id, None)).await;
        assert_eq!((seen.state, seen.executed, seen.fills.len()), (state, dec(executed), report.fills.len()));
        report
    };
    let fok = check(timed("BTCUSDT", Side::Buy, "60001", "0.6", TimeInForce::Fok, "spark-f"), ReportState::Expired, "0").await;
    assert_eq!(fok.reason.as_deref(), Some("UNFILLED_FOK_ORDER_EXPIRED"));
    check(timed("BTCUSDT", Side::Buy, "60001", "0.6", TimeInForce::Ioc, "spark-i"), ReportState::Expired, "0.5").await;
    check(market("BTCUSDT", Side::Buy, "1.5", None, "spark-m"), ReportState::Expired, "1").await;
    check(market("BTCUSDT", Side::Sell, "0.1", None, "spark-s"), ReportState::Filled, "0.1").await;
    sim.stop().await;
}

#[tokio::test]
async fn an_order_at_btcturk_tells_nothing_at_first_and_its_cancel_takes_effect_later() {
    let sim = held().await;
    let trading = btcturk(&sim);
    let report = accepted(&trading, &limit("BTCTRY", Side::Buy, "2000100", "0.02", "spark-b")).await;
    assert_eq!((report.state, report.executed, report.fills_complete), (ReportState::Open, Decimal::ZERO, false));
    for reference in [named("BTCTRY", "spark-b", None), named("BTCTRY", "spark-b", Some(&report.exchange_order_id))] {
        let seen = found(&trading, &reference).await;
        assert_eq!((seen.state, seen.executed, seen.fills.len()), (ReportState::PartiallyFilled, dec("0.01"), 1));
        assert_eq!((seen.fills[0].fee, seen.fills[0].fee_asset.as_str()), (dec("48.0024"), "TRY"));
        assert_eq!(seen.quote_executed, Some(dec("20001")));
    }
    let open = trading.open_orders(Some("BTCTRY")).await.unwrap();
    assert_eq!((open.len(), open[0].client_order_id.as_str()), (1, "spark-b"));

    let reference = named("BTCTRY", "spark-b", None);
    assert_eq!(trading.cancel(&reference).await, CancelOutcome::Requested);
    let last = becomes(&trading, &reference, ReportState::Cancelled).await;
    assert_eq!((last.executed, last.fills.len()), (dec("0.01"), 1));
    assert_eq!(trading.cancel(&reference).await, CancelOutcome::NotOpen);
    assert_eq!(trading.cancel(&named("BTCTRY", "spark-b", Some(&report.exchange_order_id))).await, CancelOutcome::NotOpen);
    assert_eq!(trading.cancel(&named("BTCTRY", "spark-b", Some("99999999999"))).await, CancelOutcome::NotOpen);
    assert_eq!(trading.lookup(&named("BTCTRY", "spark-never", None)).await, Lookup::NotFound);
    assert_eq!(trading.lookup(&named("BTCTRY", "spark-never", Some("99999999999"))).await, Lookup::NotFound);
    let all = trading.fills("BTCTRY", FillsOf::Since(Timestamp::ZERO)).await.unwrap();
    assert_eq!((all.len(), all[0].client_order_id.as_deref()), (1, Some("spark-b")));
    assert_eq!(trading.fills("BTCUSDT", FillsOf::Since(Timestamp::ZERO)).await.unwrap(), []);
    sim.stop().await;
}

#[tokio::test]
async fn market_orders_at_btcturk_buy_for_an_amount_and_sell_a_quantity() {
    let sim = held().await;
    let trading = btcturk(&sim);
    let check = async |order: NewOrder, executed: &str, paid: &str| {
        let report = accepted(&trading, &order).await;
        for id in [None, Some(report.exchange_order_id.as_str())] {
            let seen = found(&trading, &named("BTCTRY", &order.client_order_id, id)).await;
            assert_eq!(
                (seen.state, seen.executed, seen.quantity),
                (ReportState::Filled, dec(executed), dec(executed)),
                "{seen:?}"
            );
            assert_eq!((seen.quote_executed, seen.fills_complete), (Some(dec(paid)), true));
        }
    };
    check(market("BTCTRY", Side::Buy, "0.005", Some("10000.5"), "spark-mb"), "0.005", "10000.5").await;
    check(market("BTCTRY", Side::Sell, "0.003", None, "spark-ms"), "0.003", "6000").await;
    // A step of this market costs a good part of the amount, so that most of it stays unspent.
    book(&sim, "btcturk", "USDTTRY", json!([["20000", "10"]]), json!([["20000.1", "10"]])).await;
    let outcome = submit(&trading, &market("USDTTRY", Side::Buy, "0.01", Some("350"), "spark-coarse")).await;
    assert!(matches!(outcome, SubmitOutcome::Accepted(_)), "{outcome:?}");
    let seen = found(&trading, &named("USDTTRY", "spark-coarse", None)).await;
    assert_eq!((seen.state, seen.executed), (ReportState::Filled, dec("0.01")), "{seen:?}");
    sim.stop().await;
}

#[tokio::test]
async fn after_a_lost_answer_the_order_is_found_if_it_exists_and_is_sent_once() {
    let sim = held().await;
    let venues = [("binance", binance(&sim), "BTCUSDT", "59000"), ("btcturk", btcturk(&sim), "BTCTRY", "1900000")];
    for (exchange, trading, symbol, price) in &venues {
        let check = async |fault: &str, exists: bool, id: &str| {
            sim.set_fault(&format!(r#"{{"exchange":"{exchange}","n":1,{fault}}}"#)).unwrap();
            let outcome = submit(trading, &limit(symbol, Side::Buy, price, "0.01", id)).await;
            assert!(matches!(outcome, SubmitOutcome::Unknown { .. }), "{exchange} {fault}: {outcome:?}");
            sim.clear_faults();
            let lookup = trading.lookup(&named(symbol, id, None)).await;
            match (&lookup, exists) {
                (Lookup::Found(report), true) => assert_eq!(report.state, ReportState::Open),
                (Lookup::NotFound, false) => {}
                _ => panic!("{exchange} {fault}: {lookup:?}"),
            }
            assert_eq!(submits(&sim, exchange, id).await.1, u64::from(exists), "{exchange} {fault}");
        };
        check(r#""kind":"lost_after""#, true, "spark-1").await;
        check(r#""kind":"lost_after","code":503"#, true, "spark-2").await;
        check(r#""kind":"lost_before""#, false, "spark-3").await;
        check(r#""kind":"lost_before","code":502"#, false, "spark-4").await;
        check(r#""kind":"garbage","variant":"truncated","method":"POST""#, true, "spark-5").await;
    }
    // The same client id again while it rests: an answer that says "duplicate" is no rejection.
    let outcome = submit(&venues[0].1, &limit("BTCUSDT", Side::Buy, "59000", "0.01", "spark-1")).await;
    assert!(matches!(outcome, SubmitOutcome::Unknown { .. }), "{outcome:?}");
    sim.stop().await;
}

#[tokio::test]
async fn a_lost_answer_to_a_cancel_is_unknown_and_may_be_repeated() {
    let sim = held().await;
    for (exchange, trading, symbol, price) in
        [("binance", binance(&sim), "BTCUSDT", "59000"), ("btcturk", btcturk(&sim), "BTCTRY", "1900000")]
    {
        accepted(&trading, &limit(symbol, Side::Buy, price, "0.01", "spark-c")).await;
        let reference = named(symbol, "spark-c", None);
        sim.set_fault(&format!(r#"{{"exchange":"{exchange}","kind":"lost_before","method":"DELETE","n":1}}"#)).unwrap();
        let outcome = trading.cancel(&reference).await;
        assert!(matches!(outcome, CancelOutcome::Unknown { .. }), "{outcome:?}");
        assert_eq!(found(&trading, &reference).await.state, ReportState::Open);
        let outcome = trading.cancel(&reference).await;
        assert!(matches!(outcome, CancelOutcome::Done(_) | CancelOutcome::Requested), "{outcome:?}");
        becomes(&trading, &reference, ReportState::Cancelled).await;
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_clock_that_jumps_keeps_the_order_back_and_the_next_one_goes_through() {
    let sim = held().await;
    for (exchange, trading, symbol, price) in
        [("binance", binance(&sim), "BTCUSDT", "59000"), ("btcturk", btcturk(&sim), "BTCTRY", "1900000")]
    {
        trading.keep_clock().await.unwrap();
        sim.set_fault(&format!(r#"{{"exchange":"{exchange}","kind":"clock_skew","ms":90000}}"#)).unwrap();
        let order = limit(symbol, Side::Buy, price, "0.01", "spark-late");
        let outcome = submit(&trading, &order).await;
        assert!(matches!(outcome, SubmitOutcome::NotSent { .. }), "{exchange}: {outcome:?}");
        accepted(&trading, &order).await;
        assert_eq!(submits(&sim, exchange, "spark-late").await.1, 1);
        sim.clear_faults();
    }
    sim.stop().await;
}

#[tokio::test]
async fn refusals_carry_the_exchanges_words_and_a_reading_key_cannot_trade() {
    let sim = held().await;
    let check = async |trading: &Trading, order: NewOrder, want: i64| match submit(trading, &order).await {
        SubmitOutcome::Rejected { code, sent: true, reason } => assert_eq!(code, Some(want), "{reason}"),
        other => panic!("{other:?}"),
    };
    let one = binance(&sim);
    check(&one, limit("BTCUSDT", Side::Buy, "60000", "90", "spark-rich"), -2010).await;
    check(&one, limit("BTCUSDT", Side::Buy, "60000.001", "0.1", "spark-tick"), -1013).await;
    check(&one, limit("BTCUSDT", Side::Buy, "60000", "0.00001", "spark-small"), -1013).await;
    check(&one, limit("NONEUSDT", Side::Buy, "60000", "0.1", "spark-none"), -1121).await;
    let other = btcturk(&sim);
    check(&other, limit("BTCTRY", Side::Buy, "2000000", "90", "spark-rich"), 1122).await;
    check(&other, limit("BTCTRY", Side::Buy, "2000000.5", "0.01", "spark-tick"), 1126).await;
    check(&other, limit("BTCTRY", Side::Buy, "2000000", "0.00001", "spark-small"), 1123).await;
    check(&other, limit("NONETRY", Side::Buy, "2000000", "0.1", "spark-none"), 1037).await;

    let may = one.check_key().await.unwrap();
    assert_eq!(may.may_trade, Some(true), "{may:?}");
    one.set_key(Some(key(DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET)));
    assert_eq!(one.check_key().await.unwrap().may_trade, Some(false));
    check(&one, limit("BTCUSDT", Side::Buy, "59000", "0.1", "spark-reader"), -2015).await;
    assert_eq!(other.check_key().await.unwrap().may_trade, None);
    sim.stop().await;
}

#[tokio::test]
async fn the_rules_of_a_symbol_are_read() {
    let sim = held().await;
    let rules = binance(&sim).filters("BTCUSDT").await.unwrap();
    assert_eq!((rules.base.as_str(), rules.quote.as_str(), rules.trading, rules.market_orders), ("BTC", "USDT", true, true));
    assert_eq!((rules.tick, rules.step, rules.min_quantity), (Some(dec("0.01")), Some(dec("0.00001")), Some(dec("0.00001"))));
    assert!(rules.min_notional.is_some_and(|least| least >= Decimal::ONE), "{rules:?}");
    let rules = btcturk(&sim).filters("BTCTRY").await.unwrap();
    assert_eq!((rules.base.as_str(), rules.quote.as_str(), rules.trading), ("BTC", "TRY", true));
    assert_eq!((rules.tick, rules.step, rules.min_notional), (Some(dec("1")), Some(dec("0.00000001")), Some(dec("99.91"))));
    assert!(btcturk(&sim).filters("NONETRY").await.is_err());
    assert!(binance(&sim).filters("NONEUSDT").await.is_err());
    sim.stop().await;
}

/// The next event that `wanted` takes; the others are shown when none comes.
async fn heard<T>(stream: &mut UserData, wanted: impl Fn(&UserEvent) -> Option<T>) -> T {
    let mut others = Vec::new();
    let give_up = tokio::time::Instant::now() + SOON;
    loop {
        let event = tokio::time::timeout_at(give_up, stream.next()).await;
        let event = event.unwrap_or_else(|_| panic!("only {others:#?}")).unwrap();
        if let Some(value) = wanted(&event) {
            return value;
        }
        others.push(event);
    }
}

fn up(event: &UserEvent) -> Option<()> {
    matches!(event, UserEvent::Connected).then_some(())
}

fn down(event: &UserEvent) -> Option<String> {
    if let UserEvent::Disconnected { reason } = event { Some(reason.clone()) } else { None }
}

fn patient() -> UserDataConfig {
    UserDataConfig { pause_ms: 10, pause_ms_max: 50, ..UserDataConfig::default() }
}

fn streaming(sim: &Sim, trading: Trading, config: UserDataConfig) -> (Arc<Trading>, UserData) {
    let url = match &trading {
        Trading::Binance(_) => format!("ws://{}/ws-api/v3", sim.binance_addr),
        Trading::Btcturk(_) => format!("ws://{}/", sim.btcturk_addr),
    };
    let trading = Arc::new(trading);
    (Arc::clone(&trading), UserData::start(trading, UserDataConfig { url: Some(url), ..config }))
}

#[tokio::test]
async fn binance_tells_each_step_of_an_order_and_after_a_cut_comes_back() {
    let sim = held().await;
    let (trading, mut stream) = streaming(&sim, binance(&sim), patient());
    heard(&mut stream, up).await;
    let order = |event: &UserEvent| if let UserEvent::Order(report) = event { Some(report.clone()) } else { None };
    accepted(&trading, &limit("BTCUSDT", Side::Buy, "60001", "0.2", "spark-u")).await;
    let new = heard(&mut stream, order).await;
    assert_eq!((new.client_order_id.as_str(), new.state, new.fills.len()), ("spark-u", ReportState::Open, 0));
    let filled = heard(&mut stream, order).await;
    assert_eq!((filled.state, filled.executed, filled.fills[0].price), (ReportState::Filled, dec("0.2"), dec("60001")));
    let assets =
        heard(&mut stream, |event| if let UserEvent::BalanceChanged { assets } = event { Some(assets.clone()) } else { None });
    assert!(assets.await.contains(&"BTC".to_owned()));

    accepted(&trading, &limit("BTCUSDT", Side::Buy, "59000", "0.1", "spark-v")).await;
    trading.cancel(&named("BTCUSDT", "spark-v", None)).await;
    let cancelled = heard(&mut stream, |event| order(event).filter(|report| report.state == ReportState::Cancelled)).await;
    assert_eq!(cancelled.client_order_id, "spark-v", "not the id of the cancel");

    sim.set_fault(r#"{"exchange":"binance","kind":"cut"}"#).unwrap();
    heard(&mut stream, down).await;
    heard(&mut stream, up).await;
    sim.clear_faults();
    accepted(&trading, &limit("BTCUSDT", Side::Buy, "59000", "0.1", "spark-w")).await;
    let again = heard(&mut stream, order).await;
    assert_eq!(again.client_order_id, "spark-w");
    sim.stop().await;
}

#[tokio::test]
async fn a_stream_is_replaced_before_it_is_too_old_and_given_up_when_it_falls_silent() {
    let sim = held().await;
    for (trading, exchange) in [(binance(&sim), "binance"), (btcturk(&sim), "btcturk")] {
        let (_kept, mut stream) = streaming(&sim, trading, UserDataConfig { age_ms_max: 300, ..patient() });
        heard(&mut stream, up).await;
        assert!(heard(&mut stream, down).await.contains("age"));
        heard(&mut stream, up).await;
        drop(stream);

        let (_kept, mut stream) = streaming(
            &sim,
            if exchange == "binance" { binance(&sim) } else { btcturk(&sim) },
            UserDataConfig { idle_ms: 500, ..patient() },
        );
        heard(&mut stream, up).await;
        sim.set_fault(&format!(r#"{{"exchange":"{exchange}","kind":"freeze"}}"#)).unwrap();
        assert!(heard(&mut stream, down).await.contains("neither a frame nor a ping"));
        sim.clear_faults();
        heard(&mut stream, up).await;
    }
    sim.stop().await;
}

#[tokio::test]
async fn btcturk_tells_trades_after_the_login_and_hints_for_the_rest() {
    let sim = held().await;
    let (trading, mut stream) = streaming(&sim, btcturk(&sim), patient());
    heard(&mut stream, up).await;
    let report = accepted(&trading, &limit("BTCTRY", Side::Buy, "2000100", "0.02", "spark-u")).await;
    let hint = |event: &UserEvent| match event {
        UserEvent::Changed { exchange_order_id, client_order_id } => Some((exchange_order_id.clone(), client_order_id.clone())),
        _ => None,
    };
    assert_eq!(heard(&mut stream, hint).await, (Some(report.exchange_order_id.clone()), Some("spark-u".to_owned())));
    let fill = heard(&mut stream, |event| if let UserEvent::Fill(fill) = event { Some(fill.clone()) } else { None }).await;
    let listed = trading.fills("BTCTRY", FillsOf::Order(&report.exchange_order_id)).await.unwrap();
    assert_eq!(listed, [fill], "what is told is what the list says");

    trading.set_key(Some(key(DEMO_BTCTURK_TRADE_KEY, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")));
    sim.set_fault(r#"{"exchange":"btcturk","kind":"cut"}"#).unwrap();
    let reason = heard(&mut stream, down).await;
    assert!(!reason.contains(DEMO_BTCTURK_TRADE_KEY), "{reason}");
    sim.stop().await;
}

#[tokio::test]
async fn a_refused_subscription_says_why_and_is_tried_again() {
    let sim = held().await;
    let stranger = binance(&sim);
    stranger.set_key(Some(key(DEMO_BINANCE_KEY, "of-somebody-else")));
    let (trading, mut stream) = streaming(&sim, stranger, patient());
    let reason = heard(&mut stream, down).await;
    assert!(reason.contains("-1022") && !reason.contains(DEMO_BINANCE_KEY), "{reason}");
    trading.set_key(Some(key(DEMO_BINANCE_TRADE_KEY, DEMO_BINANCE_TRADE_SECRET)));
    heard(&mut stream, up).await;
    // A clock that jumped: refused once, read anew, accepted.
    drop(stream);
    sim.set_fault(r#"{"exchange":"binance","kind":"clock_skew","ms":-90000}"#).unwrap();
    let url = format!("ws://{}/ws-api/v3", sim.binance_addr);
    let mut stream = UserData::start(Arc::clone(&trading), UserDataConfig { url: Some(url), ..patient() });
    assert!(heard(&mut stream, down).await.contains("-1021"));
    heard(&mut stream, up).await;
    sim.stop().await;
}
