//! The WebSocket feed.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{auth, board, frames, rest};
use crate::config::Venue;
use crate::faults::USER_DATA;
use crate::hub::Client;
use crate::limits::Quota;
use crate::live::Symbol;
use crate::socket::{self, Manners, Session};
use crate::wire::Peer;
use crate::world::World;

/// Window and block of too many connections.
const CONNECT_PERIOD: Duration = Duration::from_secs(60);
/// Longest message that a client may send, bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// `/` with an upgrade.
pub(crate) async fn open(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else { return StatusCode::NOT_FOUND.into_response() };
    let limit = world.config.btcturk_connects_per_min;
    let quota = Quota { limit, period: CONNECT_PERIOD, block: CONNECT_PERIOD };
    if limit > 0
        && let Err(wait) = world.btcturk_quotas.count(peer.ip, "connect", quota, std::time::Instant::now())
    {
        return rest::too_many(quota, wait);
    }
    let manners = Manners {
        ping: Duration::from_millis(world.config.btcturk_ping_ms),
        pong: Duration::from_millis(world.config.btcturk_pong_ms),
        close_code: 1000,
        life: None,
    };
    upgrade.max_message_size(MESSAGE_BYTES_MAX).on_upgrade(move |socket| async move {
        world.opened(Venue::Btcturk);
        let (client, queues) = world.btcturk.hub.connect(Venue::Btcturk, peer.hangup, true);
        let session = Feed { world: world.clone(), client: client.clone() };
        socket::serve(socket, world, client, queues, session, manners).await;
    })
}

struct Feed {
    world: Arc<World>,
    client: Arc<Client>,
}

impl Session for Feed {
    fn open(&mut self) {
        self.say(&json!([991, { "type": 991, "current": "6.0.0", "min": "2.3.0" }]));
    }

    fn text(&mut self, text: &str) {
        // What is not `[type,{…}]` with the expected fields gets no answer at all, as observed.
        let Ok(Value::Array(parts)) = serde_json::from_str::<Value>(text) else { return };
        let [Value::Number(kind), Value::Object(body)] = parts.as_slice() else { return };
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        match kind.as_u64() {
            Some(151) => {
                if let (Some(channel), Some(event), Some(join)) =
                    (text("channel"), text("event"), body.get("join").and_then(Value::as_bool))
                {
                    self.subscribe(channel, event, join);
                }
            }
            Some(101) => {
                if let (Some("trade"), Some(event), Some(421)) =
                    (text("channel"), text("event"), body.get("code").and_then(Value::as_u64))
                {
                    self.trades(event);
                }
            }
            Some(114) => self.login(body),
            _ => {}
        }
    }

    fn inbound(&mut self) -> Option<(u16, &'static str)> {
        None
    }

    fn ending(&mut self) {}
}

impl Feed {
    fn say(&self, frame: &Value) {
        self.client.answer(Message::Text(frame.to_string().into()));
    }

    /// The account's frames come from here on, without asking for them. The signature covers key and nonce, not the time.
    fn login(&self, body: &serde_json::Map<String, Value>) {
        let world = &self.world;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let (name, signature) = (text("publicKey"), text("signature"));
        let nonce = body.get("nonce").and_then(Value::as_i64);
        let key = world.btcturk.account.key(name).filter(|key| !world.faults.revoked(Venue::Btcturk, &key.key));
        let fine = key.zip(nonce).is_some_and(|(key, nonce)| {
            let secret = auth::decode_secret(&key.secret).unwrap_or_default();
            auth::verify(&secret, &format!("{name}{nonce}"), signature)
        });
        if !fine {
            return self.say(&json!([114, { "type": 114, "ok": false, "message": "Invalid signature" }]));
        }
        // Under this lock no event comes between the answer and the first frame.
        let _told = world.btcturk.account.desk();
        world.btcturk.hub.join(&self.client, USER_DATA);
        self.say(&json!([114, { "type": 114, "ok": true, "message": "" }]));
    }

    fn acknowledge(&self, ok: bool, verb: &str, topic: &str) {
        self.say(&json!([100, { "type": 100, "ok": ok, "message": format!("{verb}|{topic}") }]));
    }

    fn subscribe(&self, channel: &str, event: &str, join: bool) {
        let exchange = &self.world.btcturk;
        let topic = format!("{channel}:{event}");
        let joined = self.client.topics().contains(&topic);
        if !join {
            self.acknowledge(joined, "leave", &topic);
            exchange.hub.leave(&self.client, &topic);
            return;
        }
        if joined {
            self.acknowledge(false, "join", &topic);
            return;
        }
        // First the acknowledgement, then data. What does not exist is acknowledged too, and stays silent.
        self.acknowledge(true, "join", &topic);
        match (channel, exchange.symbol(event)) {
            ("orderbook", Some(symbol)) => board::join_book(exchange, symbol, &self.client),
            ("obdiff", Some(symbol)) => board::join_differences(exchange, symbol, &self.client),
            ("trade", Some(symbol)) => self.join_trades(symbol),
            _ => {
                exchange.hub.join(&self.client, &topic);
            }
        }
    }

    fn join_trades(&self, symbol: &Symbol) {
        // Under the lock no trade falls between the list and the first single one.
        let live = symbol.live();
        self.client.offer(frames::trades(symbol, &live, self.world.faults.skew_ms(Venue::Btcturk)));
        self.world.btcturk.hub.join(&self.client, &symbol.topics.trade);
    }

    fn trades(&self, event: &str) {
        if let Some(symbol) = self.world.btcturk.symbol(event) {
            let live = symbol.live();
            self.client.offer(frames::trades(symbol, &live, self.world.faults.skew_ms(Venue::Btcturk)));
        }
    }
}
