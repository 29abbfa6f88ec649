//! What the tests of the simulator share: a simulator on free ports, plain HTTP, sockets with bounded waits.
#![allow(dead_code, missing_docs)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use futures_util::{SinkExt, StreamExt};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use spark_exchange_sim::{
    Config, DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET, DEMO_BINANCE_TRADE_KEY, DEMO_BINANCE_TRADE_SECRET, DEMO_BTCTURK_KEY,
    DEMO_BTCTURK_SECRET, DEMO_BTCTURK_TRADE_KEY, DEMO_BTCTURK_TRADE_SECRET, Sim,
};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, protocol::WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Nothing here takes longer than this.
pub const SOON: Duration = Duration::from_secs(20);

pub fn config() -> Config {
    Config { history_hours: 2, activity: 3.0, ..Config::default() }
}

pub async fn start(config: Config) -> Sim {
    spark_exchange_sim::start(config).await.unwrap()
}

pub fn recordings() -> Vec<PathBuf> {
    let data = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/binance/ws_raw"));
    ["btcusdt_20240808.gz", "btcusdt_20240809.gz"].map(|name| data.join(name)).to_vec()
}

pub fn client() -> reqwest::Client {
    // Fails when another test of this process was first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(SOON).no_proxy().build().unwrap()
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    send(client().get(format!("http://{address}{path}"))).await
}

pub async fn fault(sim: &Sim, body: Value) -> u64 {
    let answer = send(client().post(format!("http://{}/sim/faults", sim.admin_addr)).body(body.to_string())).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()["id"].as_u64().unwrap()
}

pub async fn clear_faults(sim: &Sim) {
    let answer = send(client().delete(format!("http://{}/sim/faults", sim.admin_addr))).await;
    assert_eq!(answer.status, 204);
}

/// How often a fault struck.
pub async fn hits(sim: &Sim, id: u64) -> u64 {
    let list = get(sim.admin_addr, "/sim/faults").await.json();
    list.as_array().unwrap().iter().find(|fault| fault["id"] == id).unwrap()["hits"].as_u64().unwrap()
}

pub fn now_ms() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

pub fn hmac(secret: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// `query` with its signature.
pub fn signed(query: &str) -> String {
    format!("{query}&signature={}", hex::encode(hmac(DEMO_BINANCE_SECRET.as_bytes(), query)))
}

pub async fn binance_signed(sim: &Sim, path: &str, query: &str) -> Answer {
    send(client().get(format!("http://{}{path}?{}", sim.binance_addr, signed(query))).header("X-MBX-APIKEY", DEMO_BINANCE_KEY))
        .await
}

pub async fn binance_account(sim: &Sim) -> Answer {
    binance_signed(sim, "/api/v3/account", &format!("timestamp={}", now_ms())).await
}

pub async fn btcturk_balances(sim: &Sim, stamp: i64) -> Answer {
    let secret = base64::engine::general_purpose::STANDARD.decode(DEMO_BTCTURK_SECRET).unwrap();
    let signature = base64::engine::general_purpose::STANDARD.encode(hmac(&secret, &format!("{DEMO_BTCTURK_KEY}{stamp}")));
    let request = client()
        .get(format!("http://{}/api/v1/users/balances", sim.btcturk_addr))
        .header("X-PCK", DEMO_BTCTURK_KEY)
        .header("X-Stamp", stamp.to_string())
        .header("X-Signature", signature);
    send(request).await
}

/// A request of Binance's WebSocket API, signed with this key: sorted, not encoded.
pub fn ws_request(id: u64, method: &str, params: &[(&str, &str)], key: (&str, &str)) -> Value {
    let now = now_ms().to_string();
    let mut all: Vec<(&str, &str)> = params.iter().copied().chain([("apiKey", key.0), ("timestamp", &now)]).collect();
    all.sort_unstable();
    let payload: Vec<String> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let signature = hex::encode(hmac(key.1.as_bytes(), &payload.join("&")));
    let mut body: serde_json::Map<String, Value> = all.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    body.insert("timestamp".into(), now.parse::<i64>().unwrap().into());
    body.insert("signature".into(), signature.into());
    serde_json::json!({"id": id, "method": method, "params": body})
}

pub const BINANCE_TRADER: (&str, &str) = (DEMO_BINANCE_TRADE_KEY, DEMO_BINANCE_TRADE_SECRET);
pub const BINANCE_READER: (&str, &str) = (DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET);

/// A socket that hears of the account at Binance.
pub async fn binance_events(sim: &Sim) -> Socket {
    let mut socket = connect(sim.binance_addr, "/ws-api/v3").await;
    socket.say(ws_request(1, "userDataStream.subscribe.signature", &[], BINANCE_READER)).await;
    let answer = socket.json("the subscription").await;
    assert_eq!((&answer["status"], &answer["result"]["subscriptionId"]), (&200.into(), &0.into()), "{answer}");
    socket
}

/// A socket that logged in at BTCTurk.
pub async fn btcturk_events(sim: &Sim) -> Socket {
    let mut socket = connect(sim.btcturk_addr, "/").await;
    socket.say(btcturk_login(BTCTURK_READER, 3000)).await;
    let answer = socket.find("the login", |frame| frame[0] == 114).await;
    assert_eq!(answer[1]["ok"], true, "{answer}");
    socket
}

pub fn btcturk_login(key: (&str, &str), nonce: u64) -> Value {
    let engine = base64::engine::general_purpose::STANDARD;
    let signature = engine.encode(hmac(&engine.decode(key.1).unwrap(), &format!("{}{nonce}", key.0)));
    serde_json::json!([114, {"type": 114, "publicKey": key.0, "timestamp": now_ms(), "nonce": nonce, "signature": signature}])
}

/// A signed call at Binance with the key that may trade.
pub fn binance_request(sim: &Sim, method: &str, path: &str, query: &str) -> reqwest::RequestBuilder {
    let query = format!("{query}{}timestamp={}", if query.is_empty() { "" } else { "&" }, now_ms());
    let signature = hex::encode(hmac(DEMO_BINANCE_TRADE_SECRET.as_bytes(), &query));
    let url = format!("http://{}{path}?{query}&signature={signature}", sim.binance_addr);
    client().request(method.parse().unwrap(), url).header("X-MBX-APIKEY", DEMO_BINANCE_TRADE_KEY)
}

pub async fn binance_trade(sim: &Sim, method: &str, path: &str, query: &str) -> Answer {
    send(binance_request(sim, method, path, query)).await
}

/// A call at BTCTurk with the headers of this key.
pub fn btcturk_request(sim: &Sim, method: &str, path: &str, key: (&str, &str)) -> reqwest::RequestBuilder {
    let stamp = now_ms();
    let secret = base64::engine::general_purpose::STANDARD.decode(key.1).unwrap();
    let signature = base64::engine::general_purpose::STANDARD.encode(hmac(&secret, &format!("{}{stamp}", key.0)));
    client()
        .request(method.parse().unwrap(), format!("http://{}{path}", sim.btcturk_addr))
        .header("X-PCK", key.0)
        .header("X-Stamp", stamp.to_string())
        .header("X-Signature", signature)
}

pub const BTCTURK_TRADER: (&str, &str) = (DEMO_BTCTURK_TRADE_KEY, DEMO_BTCTURK_TRADE_SECRET);
pub const BTCTURK_READER: (&str, &str) = (DEMO_BTCTURK_KEY, DEMO_BTCTURK_SECRET);

/// A call of the simulator's own interface that must succeed.
pub async fn admin(sim: &Sim, path: &str, body: Value) -> Value {
    let answer = send(client().post(format!("http://{}{path}", sim.admin_addr)).body(body.to_string())).await;
    assert!((200..300).contains(&answer.status), "{path} {body} → {} {}", answer.status, answer.text);
    answer.json()
}

/// The exchange's own log.
pub async fn orders_log(sim: &Sim, exchange: &str) -> Value {
    get(sim.admin_addr, &format!("/sim/orders?exchange={exchange}")).await.json()
}

/// A connected client socket.
#[derive(Debug)]
pub struct Socket(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

/// What came out of a socket.
#[derive(Debug)]
pub enum Came {
    Text(String),
    Ping,
    Closed(Option<u16>),
    Broken(String),
}

pub async fn connect(address: SocketAddr, path: &str) -> Socket {
    try_connect(address, path).await.unwrap()
}

pub async fn try_connect(address: SocketAddr, path: &str) -> Result<Socket, WsError> {
    let config = WebSocketConfig::default().max_message_size(Some(64 << 20)).max_frame_size(Some(64 << 20));
    let (socket, _) = tokio_tungstenite::connect_async_with_config(format!("ws://{address}{path}"), Some(config), true).await?;
    Ok(Socket(socket))
}

impl Socket {
    pub async fn say(&mut self, text: impl ToString) {
        self.0.send(Message::Text(text.to_string().into())).await.unwrap();
    }

    /// The next thing, or a failure that names what was awaited.
    pub async fn next(&mut self, awaited: &str) -> Came {
        match tokio::time::timeout(SOON, self.0.next()).await {
            Err(_) => panic!("no {awaited} within {SOON:?}"),
            Ok(None) => Came::Broken("end".to_owned()),
            Ok(Some(Err(error))) => Came::Broken(error.to_string()),
            Ok(Some(Ok(Message::Text(text)))) => Came::Text(text.to_string()),
            Ok(Some(Ok(Message::Close(frame)))) => Came::Closed(frame.map(|frame| frame.code.into())),
            Ok(Some(Ok(_))) => Came::Ping,
        }
    }

    pub async fn text(&mut self, awaited: &str) -> String {
        loop {
            match self.next(awaited).await {
                Came::Text(text) => return text,
                Came::Ping => {}
                other => panic!("{other:?} instead of {awaited}"),
            }
        }
    }

    pub async fn json(&mut self, awaited: &str) -> Value {
        let text = self.text(awaited).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The first frame that fits.
    pub async fn find(&mut self, awaited: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let begin = std::time::Instant::now();
        loop {
            let value = self.json(awaited).await;
            if fits(&value) {
                return value;
            }
            assert!(begin.elapsed() < SOON, "no {awaited}; last {value}");
        }
    }
}

/// Opens a socket by hand, answers nothing, and returns the code with which it is closed.
pub async fn closing_code_without_pongs(address: SocketAddr, path: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let read = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        loop {
            // Frames of a server have no mask; those awaited here are short.
            let (kind, length) = (stream.read_u8().await.unwrap(), stream.read_u8().await.unwrap());
            let mut payload = vec![0; usize::from(length)];
            stream.read_exact(&mut payload).await.unwrap();
            if kind == 0x88 {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    };
    tokio::time::timeout(SOON, read).await.expect("closed in time")
}
