//! Orders through the gateway on the real broker: each key once, whatever happens in between. Risk is a few lines of this
//! file: it reads intents and publishes verdicts, with the rights that the process has.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::running::{Running, TOKEN, ready};
use common::{Answer, Live, bounded, request, send, until};
use futures_util::future::join_all;
use spark_bus_schema::control::{CancelCommand, KillSwitch, LimitsCommand, ResumeCommand, StrategyCommand};
use spark_bus_schema::marks::Mark;
use spark_bus_schema::orders::{
    Evidence, Fill, Invariant, OrderEvent, OrderIntent, OrderState, Reconciliation, Step, TradingMode,
};
use spark_bus_schema::risk::{Guard, Verdict};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Decimal, Message, OrderId, Timestamp, Venue, encode};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Follower, Meta, Start, SubjectWriter};
use tokio::task::JoinHandle;

const BODY: &str = r#"{"exchange":"binance","symbol":"BTCUSDT","side":"buy","type":"limit","quantity":"0.010","price":61837.62}"#;

async fn start(broker: &TestBroker) -> Running {
    ready(broker, Vec::new()).await
}

impl Running {
    async fn order(&self, key: &str, query: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("Authorization", bearer.as_str()), ("X-Idempotency-Key", key)];
        send(self.address, &format!("POST /api/exec/order{query}"), &headers, body).await
    }

    async fn command(&self, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {TOKEN}");
        send(self.address, &format!("POST {path}"), &[("Authorization", &bearer)], body).await
    }
}

/// Approves what is below 1 BTC, refuses the rest.
struct Risk(JoinHandle<()>);

impl Drop for Risk {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn risk(broker: &TestBroker) -> Risk {
    let bus = broker.bus("risk").await;
    let mut intents = Follower::start(bus.clone(), "risk", LEDGER, vec![subject::INTENTS.to_owned()], Start::Beginning);
    Risk(tokio::spawn(async move {
        while let Some(batch) = intents.next().await {
            for delivery in batch {
                let verdict = verdict(delivery.decode().unwrap(), delivery.sequence, delivery.stored_at);
                publish_verdict(&bus, &verdict).await;
            }
        }
    }))
}

fn verdict(intent: OrderIntent, sequence: u64, at: Timestamp) -> Verdict {
    let approved = intent.quantity < Decimal::ONE;
    Verdict {
        order: intent.order.clone(),
        approved,
        guard: (!approved).then_some(Guard::Notional),
        reason: if approved { "within every limit".into() } else { "61837.62 USD is more than 10000 USD".into() },
        intent_sequence: sequence,
        decided_on: sequence,
        decided_at: at,
        expires_at: at + Duration::from_secs(10),
        checks: Vec::new(),
        mark: None,
        limits_sequence: 0,
        position: Decimal::ZERO,
        reserved_buy: Decimal::ZERO,
        reserved_sell: Decimal::ZERO,
        intent,
    }
}

async fn publish_verdict(bus: &Bus, verdict: &Verdict) {
    let mut writer = SubjectWriter::at(bus.clone(), LEDGER, subject::verdict(&verdict.order), 0);
    // A second one is refused by the broker: there is one already, which is right.
    let _ = writer.append(Verdict::KIND, encode(verdict).into(), verdict.order.as_str()).await;
}

async fn count(bus: &Bus, pattern: &str) -> usize {
    let mut follower = Follower::start(bus.clone(), "operator", LEDGER, vec![pattern.to_owned()], Start::Beginning);
    let mut found = 0;
    while !follower.is_caught_up() {
        if let Ok(Some(batch)) = tokio::time::timeout(Duration::from_millis(50), follower.next()).await {
            found += batch.len();
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_identical_requests_place_one_order_and_get_one_answer_also_after_a_restart() {
    let broker = TestBroker::start().await;
    let (gateway, other) = (start(&broker).await, broker.bus("operator").await);
    let _risk = risk(&broker).await;
    let answers = join_all((0..200).map(|_| gateway.order("key-1", "", BODY))).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (200, &answers[0].body));
    }
    let answer = answers[0].json();
    let order = OrderId::derive("manual", "key-1");
    assert_eq!((answer["order"].as_str(), answer["approved"].as_bool()), (Some(order.as_str()), Some(true)));
    assert_eq!(answer["clientOrderId"], order.client_id());
    assert_eq!((answer["quantity"].to_string(), answer["price"].to_string()), ("0.01".into(), "61837.62".into()));
    assert_eq!(answer["verdict"]["intent"]["actor"], "operator");
    assert_eq!(count(&other, subject::INTENTS).await, 1);

    let refused = gateway.order("key-2", "", &BODY.replace("0.010", "1.5")).await;
    assert_eq!((refused.status, refused.json()["guard"].as_str()), (200, Some("notional")), "{}", refused.body);
    let blocked = "spark_risk_block_total{environment=\"demo\",service=\"risk\",reason=\"notional\"} 1\n";
    gateway.see("/metrics", |answer| answer.body.contains(blocked)).await;
    gateway.stop().await;

    // Nothing is remembered: the ledger answers, in the same bytes.
    let again = start(&broker).await;
    let repeated = join_all((0..20).map(|_| again.order("key-1", "", BODY))).await;
    for answer in &repeated {
        assert_eq!((answer.status, &answer.body), (200, &answers[0].body), "after a restart");
    }
    assert_eq!(again.order("key-2", "", &BODY.replace("0.010", "1.50")).await.body, refused.body, "1.5 and 1.50 are one number");
    assert_eq!(count(&other, subject::INTENTS).await, 2);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_request_under_a_used_key_is_a_422_that_names_the_difference() {
    let broker = TestBroker::start().await;
    let gateway = start(&broker).await;
    let _risk = risk(&broker).await;
    // At the same moment: one wins, the others are told.
    let bodies: Vec<String> = (1..=20).map(|number| BODY.replace("0.010", &format!("0.0{number:02}"))).collect();
    let answers = join_all(bodies.iter().map(|body| gateway.order("contended", "", body))).await;
    let placed: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(placed.len(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!((answer.status, answer.json()["where"].as_str()), (422, Some("body: quantity")), "{}", answer.body);
    }
    assert_eq!(gateway.order("key-1", "", BODY).await.status, 200);
    let check = async |from: &str, to: &str, field: &str| {
        assert!(BODY.contains(from));
        let answer = gateway.order("key-1", "", &BODY.replace(from, to)).await;
        assert_eq!(answer.status, 422, "{}", answer.body);
        let problem = answer.json();
        assert_eq!(problem["type"], "urn:spark:problem:key-used");
        assert_eq!(problem["where"], format!("body: {field}"), "{problem}");
    };
    check("BTCUSDT", "ETHUSDT", "symbol").await;
    check("binance", "btcturk", "exchange").await;
    check("buy", "sell", "side").await;
    check("0.010", "0.011", "quantity").await;
    check("61837.62", "61837.63", "price").await;
    check("\"price\"", "\"timeInForce\":\"ioc\",\"price\"", "timeInForce").await;
    gateway.stop().await;
}

#[tokio::test]
async fn an_order_that_cannot_be_is_a_400_that_says_what_would_be_right() {
    let broker = TestBroker::start().await;
    let gateway = start(&broker).await;
    let bearer = format!("Bearer {TOKEN}");
    let path = "POST /api/exec/order";
    for headers in [
        &[("Authorization", bearer.as_str())][..],
        &[("Authorization", bearer.as_str()), ("X-Idempotency-Key", " ")],
        &[("Authorization", bearer.as_str()), ("X-Idempotency-Key", &"k".repeat(129))],
        &[("Authorization", bearer.as_str()), ("X-Idempotency-Key", "a"), ("X-Idempotency-Key", "b")],
    ] {
        let answer = send(gateway.address, path, headers, BODY).await;
        let problem = answer.json();
        assert_eq!((answer.status, problem["type"].as_str()), (400, Some("urn:spark:problem:idempotency-key")), "{problem}");
        assert!(problem["fix"].as_str().unwrap().contains("UUID"), "{problem}");
    }
    assert_eq!(send(gateway.address, path, &[("X-Idempotency-Key", "a")], BODY).await.status, 401, "the token comes first");
    let check = async |from: &str, to: &str, place: &str| {
        assert!(BODY.contains(from));
        let answer = gateway.order("key", "", &BODY.replace(from, to)).await;
        let problem = answer.json();
        assert_eq!((answer.status, problem["where"].as_str()), (400, Some(place)), "{from} → {to}: {problem}");
        assert!(problem["fix"].as_str().is_some_and(|fix| fix.contains("binance")), "{problem}");
    };
    check("BTCUSDT", "btcusdt", "body: symbol").await;
    check("\"0.010\"", "0", "body: quantity").await;
    check("\"0.010\"", "-1", "body: quantity").await;
    check("\"0.010\"", "\"NaN\"", "body").await;
    check("\"0.010\"", "1e-2", "body").await;
    check("\"0.010\"", "1000000000001", "body: quantity").await;
    check(",\"price\":61837.62", "", "body: price").await;
    check("limit", "market", "body: price").await;
    check("limit", "stop", "body").await;
    check("\"buy\"", "\"BUY\"", "body").await;
    check("binance", "kraken", "body").await;
    check("binance", "bist", "body: exchange").await;
    check("\"price\"", "\"strategy\":\"a b\",\"price\"", "body: strategy").await;
    check("\"price\"", "\"prize\"", "body").await;
    check("{", "", "body").await;
    let answer = gateway.order("key", "?wait=long", BODY).await;
    assert_eq!((answer.status, answer.json()["where"].as_str()), (400, Some("query: wait")));
    assert_eq!(count(&broker.bus("operator").await, subject::INTENTS).await, 0);
    gateway.stop().await;
}

#[tokio::test]
async fn without_risk_the_order_is_stored_and_the_answer_says_where_to_look_and_then_it_is_there() {
    let broker = TestBroker::start().await;
    let gateway = start(&broker).await;
    let (first, second) = tokio::join!(gateway.order("key", "", BODY), gateway.order("key", "", BODY));
    assert_eq!((first.status, &first.body), (202, &second.body), "{}", first.body);
    let path = first.json()["where"].as_str().unwrap().to_owned();
    gateway.see(&path, |answer| answer.json()["state"] == "waiting").await;
    let _risk = risk(&broker).await;
    gateway.see(&path, |answer| answer.json()["state"] == "approved").await;
    assert_eq!(gateway.order("key", "", BODY).await.json()["approved"], true);
    gateway.stop().await;
}

#[tokio::test]
async fn with_the_broker_away_nothing_is_stored_and_the_same_key_works_when_it_is_back() {
    let mut broker = TestBroker::start().await;
    let gateway = start(&broker).await;
    let _risk = risk(&broker).await;
    assert_eq!(gateway.order("before", "", BODY).await.status, 200);
    broker.kill();
    gateway.see("/api/processes", |answer| answer.json()["broker_connected"] == false).await;
    let away = gateway.order("key", "", BODY).await;
    assert_eq!((away.status, away.json()["type"].as_str()), (503, Some("urn:spark:problem:not-stored")), "{}", away.body);
    assert!(away.json()["fix"].as_str().unwrap().contains("same X-Idempotency-Key"));
    assert_eq!(gateway.order("before", "", BODY).await.status, 200, "what is known is answered");
    assert_eq!(gateway.command("/api/exec/kill-switch", r#"{"on":true,"reason":"x"}"#).await.status, 503);
    broker.restart().await;
    gateway.see("/api/processes", |answer| answer.json()["broker_connected"] == true).await;
    let back = gateway.order("key", "", BODY).await;
    assert_eq!((back.status, back.json()["approved"].as_bool()), (200, Some(true)), "{}", back.body);
    assert_eq!(count(&broker.bus("operator").await, subject::INTENTS).await, 2);
    gateway.stop().await;
}

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// The event of a paper order that was filled at once.
fn filled(intent: &OrderIntent, price: &str) -> OrderEvent {
    let at = spark_nats::now();
    let step = |state, fill| Step { state, evidence: Evidence::Paper, reason: None, at, fill };
    let fill = Fill {
        trade_id: format!("t-{}", intent.order),
        price: decimal(price),
        quantity: intent.quantity,
        fee: decimal("0.1"),
        fee_asset: "USDT".into(),
        is_maker: false,
        at,
    };
    OrderEvent {
        order: intent.order.clone(),
        revision: 1,
        verdict_sequence: 1,
        mode: TradingMode::Paper,
        exchange: intent.exchange,
        symbol: intent.symbol.clone(),
        strategy: intent.strategy.clone(),
        side: intent.side,
        quantity: intent.quantity,
        client_order_id: intent.order.client_id(),
        exchange_order_id: Some("paper-1".into()),
        filled: intent.quantity,
        filled_quote: fill.price * intent.quantity,
        steps: vec![step(OrderState::Pending, None), step(OrderState::Submitted, None), step(OrderState::Filled, Some(fill))],
    }
}

async fn publish<T: Message>(bus: &Bus, on: &str, message: &T) -> u64 {
    bounded("publish", bus.publish(on, message, Meta::default())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_may_wait_until_the_order_is_over_and_positions_orders_and_live_events_follow() {
    let broker = TestBroker::start().await;
    let gateway = start(&broker).await;
    let (_risk, executor, candles) = (risk(&broker).await, broker.bus("executor").await, broker.bus("candles").await);
    let mut live = Live::connect(gateway.address, None).await;
    let snapshot = live.next().await.unwrap();
    assert_eq!((snapshot.event.as_str(), snapshot.data["orders"]["openCount"].as_u64()), ("snapshot", Some(0)));
    let mark = Mark {
        venue: Venue::Binance,
        symbol: "BTCUSDT".into(),
        bid: decimal("62000"),
        ask: decimal("62002"),
        price: decimal("62001"),
        quote_usd: Decimal::ONE,
        received_at: spark_nats::now(),
        feed_sequence: 1,
    };
    publish(&candles, &subject::mark(mark.venue, &mark.symbol), &mark).await;
    let execute = async {
        let intent = until("the intent", async || {
            let found = executor.last(LEDGER, &subject::verdict(&OrderId::derive("manual", "key"))).await.unwrap();
            found.ok_or_else(String::new).map(|found| found.decode::<Verdict>().unwrap().intent)
        })
        .await;
        publish(&executor, &subject::order_event(&intent.order), &filled(&intent, "61800.5")).await;
    };
    let (answer, ()) = tokio::join!(gateway.order("key", "?wait=final", BODY), execute);
    let told = answer.json();
    assert_eq!((answer.status, told["state"].as_str(), told["reached"].as_bool()), (200, Some("filled"), Some(true)), "{told}");
    assert_eq!((told["filled"].to_string(), told["averagePrice"].to_string()), ("0.01".into(), "61800.5".into()));
    assert_eq!(live.next_of("order").await.data["orders"][0]["symbol"], "BTCUSDT");

    let seen = gateway.see("/api/exec/positions", |answer| answer.json()["positions"][0]["unrealized"].is_number()).await.json();
    let position = &seen["positions"][0];
    assert_eq!((position["strategy"].as_str(), position["quantity"].to_string()), (Some("manual"), "0.01".into()));
    assert_eq!((position["unrealized"].to_string(), position["averagePrice"].to_string()), ("2.005".into(), "61800.5".into()));
    assert_eq!((seen["exposureUsd"].to_string(), position["fees"]["USDT"].to_string()), ("620.01".into(), "0.1".into()));
    assert!(live.next_of("position").await.data["positions"].is_array());

    // An order that waits for more than comes: the answer says how it stands.
    let waiting = gateway.order("other", "?wait=final", &BODY.replace("buy", "sell")).await;
    assert_eq!((waiting.status, waiting.json()["state"].as_str()), (202, Some("approved")), "{}", waiting.body);
    let list = async |query: &str| {
        let answer = request(gateway.address, &format!("GET /api/exec/orders{query}"), &[]).await;
        let list = answer.json();
        let ids: Vec<String> =
            list["orders"].as_array().unwrap().iter().map(|row| row["side"].as_str().unwrap().to_owned()).collect();
        (ids, list["openCount"].as_u64())
    };
    assert_eq!(list("").await, (vec!["sell".into(), "buy".into()], Some(1)));
    assert_eq!(list("?state=open").await.0, ["sell"]);
    assert_eq!(list("?state=filled&symbol=BTCUSDT&strategy=manual&exchange=binance").await.0, ["buy"]);
    assert_eq!(list("?limit=1").await.0, ["sell"]);
    assert_eq!(list("?strategy=nobody").await.0, Vec::<String>::new());
    for wrong in ["?limit=0", "?limit=x", "?state=done", "?side=buy"] {
        assert_eq!(request(gateway.address, &format!("GET /api/exec/orders{wrong}"), &[]).await.status, 400, "{wrong}");
    }
    let order = told["order"].as_str().unwrap().to_owned();
    let one = request(gateway.address, &format!("GET /api/exec/orders/{order}"), &[]).await.json();
    let states: Vec<&str> = one["steps"].as_array().unwrap().iter().map(|step| step["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["pending", "submitted", "filled"]);
    gateway.stop().await;

    // The same from the ledger, after a restart.
    let again = start(&broker).await;
    let restarted = again.order("key", "?wait=final", BODY).await;
    assert_eq!(restarted.json()["state"], "filled");
    assert_eq!(again.see("/api/exec/positions", |_| true).await.json()["positions"][0]["quantity"].to_string(), "0.01");
    let cancel = again.command(&format!("/api/exec/orders/{order}/cancel"), r#"{"reason":"too late"}"#).await;
    assert_eq!((cancel.status, cancel.json()["type"].as_str()), (409, Some("urn:spark:problem:order-over")));
    again.stop().await;
}

async fn stored<T: Message>(broker: &TestBroker, on: &str) -> T {
    broker.bus("operator").await.last(LEDGER, on).await.unwrap().expect("stored").decode().unwrap()
}

#[tokio::test]
async fn the_kill_switch_is_stored_shown_and_told_and_the_latest_word_decides() {
    let broker = TestBroker::start().await;
    let gateway = start(&broker).await;
    let mut live = Live::connect(gateway.address, None).await;
    let active = |value: u8| format!("spark_risk_killswitch_active{{environment=\"demo\",service=\"risk\"}} {value}\n");
    gateway.see("/metrics", |answer| answer.body.contains(&active(0))).await;
    let on = r#"{"on":true,"cancelOpen":true,"reason":"prices look wrong"}"#;
    assert_eq!(send(gateway.address, "POST /api/exec/kill-switch", &[], on).await.status, 401);
    let answer = gateway.command("/api/exec/kill-switch", on).await;
    assert_eq!((answer.status, answer.json()["on"].as_bool()), (200, Some(true)), "{}", answer.body);
    let command: KillSwitch = stored(&broker, subject::KILL_SWITCH).await;
    assert_eq!((command.on, command.cancel_open, command.reason.as_str()), (true, true, "prices look wrong"));
    assert_eq!(live.next_of("kill_switch").await.data["killSwitch"]["on"], true);
    gateway.see("/metrics", |answer| answer.body.contains(&active(1))).await;
    gateway.see("/api/exec/kill-switch", |answer| answer.json()["last"]["reason"] == "prices look wrong").await;
    for wrong in [
        r#"{"on":true}"#,
        r#"{"on":true,"reason":" "}"#,
        r#"{"on":"yes","reason":"x"}"#,
        "",
        r#"{"on":false,"cancelOpen":true,"reason":"x"}"#,
    ] {
        assert_eq!(gateway.command("/api/exec/kill-switch", wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(gateway.command("/api/exec/kill-switch", r#"{"on":false,"reason":"all well"}"#).await.status, 200);
    assert_eq!(live.next_of("kill_switch").await.data["killSwitch"]["on"], false);
    gateway.see("/metrics", |answer| answer.body.contains(&active(0))).await;
    let list = gateway.see("/api/exec/kill-switch", |answer| answer.json()["on"] == false).await;
    assert_eq!(list.json()["complete"], true);
    let audit = send(gateway.address, "POST /api/audit/list", &[], r#"{"limit":1,"action":"control.kill_switch"}"#).await.json();
    let item = &audit["items"][0];
    assert_eq!((item["actor"].as_str(), item["payload"]["on"].as_bool()), (Some("operator"), Some(false)), "{audit}");
    assert_eq!((item["digest"].as_str().unwrap().len(), audit["items"].as_array().unwrap().len()), (64, 1));
    for wrong in [r#"{"limit":0}"#, r#"{"action":"nothing"}"#, r#"{"from":"yesterday"}"#, r#"{"page":2}"#] {
        assert_eq!(send(gateway.address, "POST /api/audit/list", &[], wrong).await.status, 400, "{wrong}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn limits_change_only_when_confirmed_and_the_change_is_shown_first() {
    let broker = TestBroker::start().await;
    let gateway = start(&broker).await;
    let change = |more: &str| format!(r#"{{"limits":{{"default":{{"notional_usd_max":"5000"}}}},"reason":"overnight"{more}}}"#);
    let asked = gateway.command("/api/exec/limits", &change("")).await;
    let problem = asked.json();
    assert_eq!((asked.status, problem["type"].as_str()), (428, Some("urn:spark:problem:confirmation-required")), "{problem}");
    assert_eq!(problem["changes"].to_string(), r#"[{"from":"10000","key":"default.notional_usd_max","to":"5000"}]"#);
    assert!(broker.bus("operator").await.last(LEDGER, subject::LIMITS).await.unwrap().is_none(), "nothing was sent");
    let done = gateway.command("/api/exec/limits", &change(",\"confirm\":true,\"sequence\":0")).await;
    assert_eq!((done.status, done.json()["status"].as_str()), (200, Some("accepted")), "{}", done.body);
    let command: LimitsCommand = stored(&broker, subject::LIMITS).await;
    assert_eq!((command.limits.default.notional_usd_max, command.reason.as_str()), (decimal("5000"), "overnight"));
    let shown = gateway.see("/api/exec/limits", |answer| answer.json()["source"] == "command").await.json();
    assert_eq!(shown["limits"]["default"]["notional_usd_max"], "5000");
    assert_eq!(gateway.command("/api/exec/limits", &change(",\"confirm\":true")).await.json()["status"], "unchanged");
    let late = gateway.command("/api/exec/limits", r#"{"limits":{},"reason":"back","confirm":true,"sequence":0}"#).await;
    assert_eq!((late.status, late.json()["type"].as_str()), (409, Some("urn:spark:problem:limits-changed")));
    for wrong in [
        r#"{"limits":{"default":{"notional_usd_max":"0"}},"reason":"x","confirm":true}"#,
        r#"{"limits":{"default":{"notional":"1"}},"reason":"x","confirm":true}"#,
        r#"{"limits":{"symbol":{"BTCUSDT":{}}},"reason":"x","confirm":true}"#,
        r#"{"limits":{},"confirm":true}"#,
    ] {
        assert_eq!(gateway.command("/api/exec/limits", wrong).await.status, 400, "{wrong}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn cancels_strategies_and_halts_are_commands_in_the_ledger() {
    let broker = TestBroker::start().await;
    let gateway = start(&broker).await;
    let _risk = risk(&broker).await;
    let order = gateway.order("key", "", BODY).await.json()["order"].as_str().unwrap().to_owned();
    let cancel = gateway.command(&format!("/api/exec/orders/{order}/cancel"), r#"{"reason":"changed my mind"}"#).await;
    assert_eq!(cancel.status, 200, "{}", cancel.body);
    let id = OrderId::parse(&order).unwrap();
    let command: CancelCommand = stored(&broker, &subject::cancel(&id)).await;
    assert_eq!((command.order, command.reason.as_str()), (id, "changed my mind"));
    let nobody = OrderId::derive("manual", "never");
    assert_eq!(gateway.command(&format!("/api/exec/orders/{nobody}/cancel"), r#"{"reason":"x"}"#).await.status, 404);
    assert_eq!(gateway.command("/api/exec/orders/x/cancel", r#"{"reason":"x"}"#).await.status, 400);

    let start = r#"{"strategy":"sma-cross","reason":"go","symbols":["binance.BTCUSDT"]}"#;
    assert_eq!(gateway.command("/api/exec/start", start).await.status, 200);
    gateway.see("/api/exec/strategies", |answer| answer.json()["strategies"][0]["run"] == true).await;
    let stop = gateway.command("/api/exec/stop", r#"{"strategy":"sma-cross","reason":"enough"}"#).await;
    assert_eq!(stop.json()["symbols"][0], "binance.BTCUSDT", "what it trades is remembered: {}", stop.body);
    let command: StrategyCommand = stored(&broker, &subject::strategy("sma-cross")).await;
    assert_eq!((command.run, command.symbols), (false, vec!["binance.BTCUSDT".to_owned()]));
    for wrong in
        [r#"{"strategy":"a b","reason":"x"}"#, r#"{"strategy":"a","reason":"x","symbols":["BTC"]}"#, r#"{"strategy":"a"}"#]
    {
        assert_eq!(gateway.command("/api/exec/start", wrong).await.status, 400, "{wrong}");
    }

    let compared = Reconciliation {
        exchange: Venue::Binance,
        mode: TradingMode::Live,
        at: spark_nats::now(),
        occasion: "start".into(),
        invariants: vec![Invariant { name: "positions".into(), holds: false, detail: "ledger 1 BTC, exchange 0.9 BTC".into() }],
        orphans: vec!["spark-x".into()],
        baseline: BTreeMap::from([("BTC".into(), decimal("0.5"))]),
        halted: Some("positions differ".into()),
    };
    let executor = broker.bus("executor").await;
    publish(&executor, &subject::reconciliation(Venue::Binance), &compared).await;
    let seen = gateway.see("/api/exec/reconciliation", |answer| answer.body.contains("positions differ")).await.json();
    assert_eq!((seen["halts"][0]["scope"].as_str(), seen["exchanges"][0]["holds"].as_bool()), (Some("binance"), Some(false)));
    assert_eq!(seen["missing"].to_string(), "[\"btcturk\"]");
    gateway
        .see("/metrics", |answer| {
            answer.body.contains("spark_trading_halted{environment=\"demo\",service=\"executor\",scope=\"binance\"} 1")
        })
        .await;
    let asked = gateway.command("/api/exec/resume", r#"{"scope":"binance","reason":"explained"}"#).await;
    assert_eq!((asked.status, asked.json()["halt"]["reason"].as_str()), (428, Some("positions differ")), "{}", asked.body);
    let done = gateway.command("/api/exec/resume", r#"{"scope":"binance","reason":"explained","confirm":true}"#).await;
    assert_eq!(done.status, 200, "{}", done.body);
    let _: ResumeCommand = stored(&broker, subject::RESUME).await;
    gateway.see("/api/exec/reconciliation", |answer| answer.json()["halts"].as_array().unwrap().is_empty()).await;
    assert_eq!(gateway.command("/api/exec/resume", r#"{"scope":"kraken","reason":"x"}"#).await.status, 400);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_place_one_order_for_one_key() {
    let broker = TestBroker::start().await;
    let first = start(&broker).await;
    let second = start(&broker).await;
    let _risk = risk(&broker).await;
    let answers = join_all((0..40).map(|number| {
        let gateway = if number % 2 == 0 { &first } else { &second };
        gateway.order("shared", "", BODY)
    }))
    .await;
    let bodies: BTreeSet<&str> = answers.iter().map(|answer| answer.body.as_str()).collect();
    assert_eq!((bodies.len(), answers.iter().all(|answer| answer.status == 200)), (1, true), "{bodies:?}");
    assert_eq!(count(&broker.bus("operator").await, subject::INTENTS).await, 1);
    first.stop().await;
    second.stop().await;
}
