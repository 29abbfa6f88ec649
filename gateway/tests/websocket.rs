//! Messages of the bus over a WebSocket, on the real broker with the rights that the gateway has in production.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::net::SocketAddr;

use common::running::{TOKEN, begin};
use common::{bounded, get, request, roomy, until};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use spark_bus_schema::control::KillSwitch;
use spark_bus_schema::{Venue, catalogue, subject};
use spark_gateway::Config;
use spark_gateway::auth::{Role, tokens};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Meta};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

struct Client(WebSocketStream<TcpStream>);

impl Client {
    async fn open(address: SocketAddr, headers: &[(&'static str, &str)]) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("ws://{address}/api/ws").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let (socket, _) = bounded("a handshake", tokio_tungstenite::client_async(request, stream)).await?;
        Ok(Self(socket))
    }

    async fn say(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        loop {
            match bounded("a frame", self.0.next()).await.unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn ask(&mut self, frame: Value) -> Value {
        self.say(frame).await;
        self.hear().await
    }

    async fn subscribe(&mut self, pattern: &str) {
        let answer = self.ask(json!({"op": "subscribe", "pattern": pattern})).await;
        assert_eq!(answer, json!({"op": "subscribed", "pattern": pattern}));
    }

    async fn closed(mut self) -> (CloseCode, String) {
        loop {
            match bounded("the end", self.0.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => return (frame.code, frame.reason.to_string()),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn status(result: Result<Client, Error>) -> u16 {
    match result {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => 101,
    }
}

/// Publishes the catalogue's own example of a kind.
async fn publish_example(bus: &Bus, pattern: &str, on: &str) {
    let entry = catalogue::entries().into_iter().find(|entry| entry.subject == pattern).unwrap();
    bus.store_kind(on, entry.kind, (entry.sample)().into(), Meta::default()).await.unwrap();
}

#[tokio::test]
async fn subscriptions_get_each_message_once_as_json_and_only_what_the_role_may_see() {
    let broker = TestBroker::start().await;
    let (feed, operator) = (broker.bus("feed").await, broker.bus("operator").await);
    let file = broker.dir().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let list = broker.dir().join("tokens.json");
    let gateway = begin(&broker, Config { admin_token_file: Some(file), tokens_file: Some(list.clone()), ..roomy() }).await;

    let mut viewer = Client::open(gateway.address, &[]).await.unwrap();
    let ticks = subject::ticks(Venue::Binance, "BTCUSDT");
    viewer.subscribe("market.ticks.>").await;
    viewer.subscribe("market.*.binance.*").await;
    publish_example(&feed, subject::TICKS, &ticks).await;
    let told = viewer.hear().await;
    assert_eq!((&told["op"], &told["subject"], &told["stream"]), (&json!("message"), &json!(ticks), &json!("FEED")));
    assert!(told["sequence"].is_u64() && told["at"].is_i64() && told["data"].is_object(), "{told}");
    assert_eq!(told["kind"], "tick_batch.v1");
    assert_eq!(viewer.ask(json!({"op": "ping"})).await, json!({"op": "pong"}), "once, though two patterns match");

    let refused = viewer.ask(json!({"op": "subscribe", "pattern": "control.>"})).await;
    assert_eq!((&refused["op"], &refused["code"], &refused["pattern"]), (&json!("error"), &json!("role"), &json!("control.>")));
    assert_eq!(viewer.ask(json!({"op": "fly"})).await["code"], "bad-frame");
    assert_eq!(viewer.ask(json!({"op": "unsubscribe", "pattern": "risk.>"})).await["code"], "not-subscribed");

    // What was stored before is there for whoever asks, marked as such.
    let mut late = Client::open(gateway.address, &[]).await.unwrap();
    let answer = late.ask(json!({"op": "subscribe", "pattern": "market.ticks.>", "last": true})).await;
    assert_eq!(answer["op"], "subscribed");
    let last = late.hear().await;
    assert_eq!((&last["last"], &last["sequence"]), (&json!(true), &told["sequence"]));

    let bearer = format!("Bearer {TOKEN}");
    let mut admin = Client::open(gateway.address, &[("authorization", &bearer)]).await.unwrap();
    for pattern in ["control.>", "jobs.>", "parked.>"] {
        admin.subscribe(pattern).await;
    }
    let switch = KillSwitch { on: true, cancel_open: false, actor: "test".into(), reason: "r".into(), at: spark_nats::now() };
    operator.publish(subject::KILL_SWITCH, &switch, Meta::default()).await.unwrap();
    let told = admin.hear().await;
    assert_eq!(
        (&told["subject"], &told["data"]["on"], &told["stream"]),
        (&json!("control.kill_switch"), &json!(true), &json!("LEDGER"))
    );
    publish_example(&operator, subject::BACKTESTS, "jobs.backtest.a").await;
    let told = admin.hear().await;
    assert_eq!(
        (&told["stream"], &told["sequence"]),
        (&json!("JOBS"), &Value::Null),
        "heard as it passed by, and taken from nobody"
    );
    let guardrail = broker.bus("guardrail").await;
    publish_example(&guardrail, subject::PARKED_ALL, "parked.guardrail.FEED.7").await;
    assert_eq!(admin.hear().await["subject"], "parked.guardrail.FEED.7");
    gateway.stop().await;
}

#[tokio::test]
async fn the_door_is_open_to_own_pages_and_right_tokens_and_shut_when_a_token_is_revoked() {
    let broker = TestBroker::start().await;
    let list = broker.dir().join("tokens.json");
    let reading = Some(spark_gateway::Reading::Token);
    let gateway = begin(&broker, Config { tokens_file: Some(list.clone()), reading, ..roomy() }).await;
    let (token, secret) = tokens::create(&list, "alice", Role::Operator, None, spark_nats::now()).unwrap();
    let secret = secrecy::ExposeSecret::expose_secret(&secret).to_owned();
    assert_eq!(status(Client::open(gateway.address, &[]).await), 401);
    let protocols = format!("spark.v1, bearer.{secret}");
    let only_bearer = format!("bearer.{secret}");
    assert_eq!(status(Client::open(gateway.address, &[("sec-websocket-protocol", &only_bearer)]).await), 400);
    let foreign = [("sec-websocket-protocol", protocols.as_str()), ("origin", "https://evil.example")];
    assert_eq!(status(Client::open(gateway.address, &foreign).await), 403);
    let own = format!("http://{}", gateway.address);
    let mut client = Client::open(gateway.address, &[("sec-websocket-protocol", &protocols), ("origin", &own)]).await.unwrap();
    client.subscribe("control.>").await;
    assert_eq!(client.ask(json!({"op": "subscribe", "pattern": "parked.>"})).await["code"], "role");
    let bearer = format!("Bearer {secret}");
    let plain = request(gateway.address, "GET /api/ws", &[("Authorization", &bearer)]).await;
    assert_eq!((plain.status, plain.header("upgrade")), (426, Some("websocket")), "{}", plain.body);
    tokens::revoke(&list, &token.id).unwrap();
    let (code, reason) = client.closed().await;
    assert_eq!(code, CloseCode::Policy);
    assert!(reason.contains("revoked"), "{reason}");
    gateway.stop().await;
}

#[tokio::test]
async fn frames_that_are_too_large_and_a_gateway_that_stops_close_with_a_reason() {
    let broker = TestBroker::start().await;
    let gateway = begin(&broker, roomy()).await;
    let mut large = Client::open(gateway.address, &[]).await.unwrap();
    large.0.send(Message::text("x".repeat(5_000))).await.unwrap();
    assert_eq!(large.closed().await.0, CloseCode::Size);
    let mut busy = Client::open(gateway.address, &[]).await.unwrap();
    for _ in 0..60 {
        busy.say(json!({"op": "ping"})).await;
    }
    assert_eq!(busy.closed().await.0, CloseCode::Policy);
    let stays = Client::open(gateway.address, &[]).await.unwrap();
    until("three have come and two have gone", async || {
        let metrics = get(gateway.address, "/metrics").await.body;
        let one = metrics.lines().any(|line| line.starts_with("spark_gateway_websocket_clients") && line.ends_with(" 1"));
        if one { Ok(()) } else { Err(metrics) }
    })
    .await;
    gateway.stop.cancel();
    assert_eq!(stays.closed().await.0, CloseCode::Away);
    gateway.stop().await;
}
