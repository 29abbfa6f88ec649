//! Market streams: raw and combined, and the commands on the socket.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::candles::Interval;
use crate::config::Venue;
use crate::hub::Client;
use crate::limits::Quota;
use crate::socket::{self, Manners, Session};
use crate::wire::Peer;
use crate::world::World;

/// Streams on one connection.
const STREAMS_MAX: usize = 1_024;
/// Messages from the client in any one second.
const INBOUND_PER_S: usize = 5;
/// Life of a connection, and how long before its end a notice may come.
const LIFE: Duration = Duration::from_secs(24 * 3_600);
const NOTICE: Duration = Duration::from_secs(600);
/// Longest message that a client may send, bytes.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
const CONNECT_PERIOD: Duration = Duration::from_secs(300);

/// `/ws` and `/ws/<stream>[/<stream>…]`.
pub(crate) async fn raw(
    world: State<Arc<World>>,
    peer: ConnectInfo<Peer>,
    streams: Option<Path<String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let streams = streams.map(|Path(streams)| streams).unwrap_or_default();
    open(world.0, peer.0, &streams, false, upgrade)
}

/// `/stream?streams=<stream>[/<stream>…]`.
pub(crate) async fn combined(
    world: State<Arc<World>>,
    peer: ConnectInfo<Peer>,
    RawQuery(query): RawQuery,
    upgrade: WebSocketUpgrade,
) -> Response {
    let query = query.unwrap_or_default();
    let streams = query.split('&').find_map(|pair| pair.strip_prefix("streams=")).map(crate::percent::decode).unwrap_or_default();
    open(world.0, peer.0, &streams, true, upgrade)
}

fn open(world: Arc<World>, peer: Peer, streams: &str, combined: bool, upgrade: WebSocketUpgrade) -> Response {
    let limit = world.config.binance_connects_per_5_min;
    let quota = Quota { limit, period: CONNECT_PERIOD, block: CONNECT_PERIOD };
    if limit > 0
        && let Err(wait) = world.binance_connects.count(peer.ip, "connect", quota, std::time::Instant::now())
    {
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, wait.as_secs().max(1).to_string())]).into_response();
    }
    let streams: Vec<String> = streams.split('/').filter(|stream| !stream.is_empty()).map(str::to_owned).collect();
    if streams.len() > STREAMS_MAX {
        return (StatusCode::BAD_REQUEST, "too many streams").into_response();
    }
    let manners = Manners {
        ping: Duration::from_millis(world.config.binance_ping_ms),
        pong: Duration::from_millis(world.config.binance_pong_ms),
        close_code: 1008,
        life: Some(life(&world)),
    };
    upgrade.max_message_size(MESSAGE_BYTES_MAX).on_upgrade(move |socket| async move {
        world.opened(Venue::Binance);
        let (client, queues) = world.binance.hub.connect(Venue::Binance, peer.hangup, combined);
        let session = Streams { world: world.clone(), client: client.clone(), first: streams, inbound: VecDeque::new() };
        socket::serve(socket, world, client, queues, session, manners).await;
    })
}

/// When a connection is told of its end, and when it ends.
pub(crate) fn life(world: &World) -> (Duration, Duration) {
    let life = LIFE.div_f64(world.config.time_scale);
    (life.saturating_sub(NOTICE.div_f64(world.config.time_scale)), life)
}

struct Streams {
    world: Arc<World>,
    client: Arc<Client>,
    first: Vec<String>,
    inbound: VecDeque<Instant>,
}

impl Session for Streams {
    fn open(&mut self) {
        for stream in std::mem::take(&mut self.first) {
            self.world.binance.hub.join(&self.client, &stream);
        }
    }

    fn text(&mut self, text: &str) {
        let answer = self.command(text);
        self.client.answer(Message::Text(answer.to_string().into()));
    }

    fn inbound(&mut self) -> Option<(u16, &'static str)> {
        let now = Instant::now();
        while self.inbound.front().is_some_and(|first| now.duration_since(*first) >= Duration::from_secs(1)) {
            self.inbound.pop_front();
        }
        self.inbound.push_back(now);
        (self.inbound.len() > INBOUND_PER_S).then_some((1008, "Too many requests"))
    }

    fn ending(&mut self) {
        let event = json!({ "e": "serverShutdown", "E": self.world.now_ms(Venue::Binance) });
        let text = if self.client.combined.load(Ordering::Relaxed) {
            json!({ "stream": "!serverShutdown", "data": event })
        } else {
            event
        };
        self.client.answer(Message::Text(text.to_string().into()));
    }
}

impl Streams {
    /// Answers one command.
    fn command(&self, text: &str) -> Value {
        let error = |code: i32, message: String, id: Value| json!({ "code": code, "msg": message, "id": id });
        let Ok(value) = serde_json::from_str::<Value>(text) else {
            return error(3, "Invalid JSON: expected value".to_owned(), Value::Null);
        };
        let id = value.get("id").cloned().unwrap_or(Value::Null);
        let fine_id = match &id {
            Value::Null => value.get("id").is_some(),
            Value::Number(number) => number.is_i64() || number.is_u64(),
            Value::String(text) => text.len() <= 36 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
            _ => false,
        };
        if !fine_id {
            return error(2, "Invalid request: request ID must be an unsigned integer".to_owned(), Value::Null);
        }
        let Some(method) = value.get("method").and_then(Value::as_str) else {
            return error(2, "Invalid request: missing field `method`".to_owned(), id);
        };
        let result = match method {
            "SUBSCRIBE" => self.streams(&value).and_then(|streams| self.subscribe(&streams)),
            "UNSUBSCRIBE" => self.streams(&value).map(|streams| {
                for stream in streams {
                    self.world.binance.hub.leave(&self.client, &stream);
                }
                Value::Null
            }),
            "LIST_SUBSCRIPTIONS" => Ok(json!(self.client.topics())),
            "SET_PROPERTY" => self.set_property(&value),
            "GET_PROPERTY" => self.get_property(&value),
            other => Err((
                2,
                format!(
                    "Invalid request: unknown variant {other}, expected one of SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY"
                ),
            )),
        };
        match result {
            Ok(result) => json!({ "result": result, "id": id }),
            Err((code, message)) => error(code, message, id),
        }
    }

    fn streams(&self, command: &Value) -> Result<Vec<String>, (i32, String)> {
        let invalid = || (2, "Invalid request: `params` must be a list of stream names".to_owned());
        let list = command.get("params").and_then(Value::as_array).ok_or_else(invalid)?;
        if list.is_empty() {
            return Err((2, "Invalid request: `params` must not be empty".to_owned()));
        }
        list.iter().map(|stream| stream.as_str().map(str::to_owned).ok_or_else(invalid)).collect()
    }

    fn subscribe(&self, streams: &[String]) -> Result<Value, (i32, String)> {
        let mine = self.client.topics();
        let new = streams.iter().filter(|stream| !mine.contains(stream)).count();
        if mine.len() + new > STREAMS_MAX {
            return Err((2, format!("Invalid request: at most {STREAMS_MAX} streams per connection")));
        }
        for stream in streams {
            self.world.binance.hub.join(&self.client, stream);
        }
        Ok(Value::Null)
    }

    fn set_property(&self, command: &Value) -> Result<Value, (i32, String)> {
        match command.get("params").and_then(Value::as_array).map(Vec::as_slice) {
            Some([Value::String(name), Value::Bool(on)]) if name == "combined" => {
                self.client.combined.store(*on, Ordering::Relaxed);
                Ok(Value::Null)
            }
            Some([Value::String(name), _]) if name == "combined" => Err((1, "Invalid value type: expected Boolean".to_owned())),
            Some([Value::String(_), _]) => Err((0, "Unknown property".to_owned())),
            _ => Err((2, "Invalid request: `params` must be [name, value]".to_owned())),
        }
    }

    fn get_property(&self, command: &Value) -> Result<Value, (i32, String)> {
        match command.get("params").and_then(Value::as_array).map(Vec::as_slice) {
            Some([Value::String(name)]) if name == "combined" => Ok(self.client.combined.load(Ordering::Relaxed).into()),
            _ => Err((0, "Unknown property".to_owned())),
        }
    }
}

/// Symbol (upper case), interval's name and interval of `btcusdt@kline_1m`.
pub(crate) fn parse_kline_topic(topic: &str) -> Option<(String, &str, Interval)> {
    let (symbol, name) = topic.split_once("@kline_")?;
    Some((symbol.to_ascii_uppercase(), name, Interval::binance(name)?))
}
