//! The WebSocket API: requests with answers, and the account's events.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::answers::Call;
use super::auth::{self, Permission};
use super::errors::ApiError;
use super::params::Params;
use super::streams;
use crate::config::Venue;
use crate::fault;
use crate::faults::USER_DATA;
use crate::hub::Client;
use crate::limits::Weighed;
use crate::socket::{self, Manners, Session};
use crate::wire::Peer;
use crate::world::{World, clock_ms};

/// Weight of connecting.
const CONNECT_WEIGHT: u32 = 2;
/// Longest message that a client may send, bytes.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Longest id of a request.
const ID_MAX: usize = 36;

/// `/ws-api/v3`.
pub(crate) async fn open(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    RawQuery(query): RawQuery,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !matches!(world.weights.weigh(peer.ip, CONNECT_WEIGHT, clock_ms()), Weighed::Fine { .. }) {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    let manners = Manners {
        ping: Duration::from_millis(world.config.binance_ping_ms),
        pong: Duration::from_millis(world.config.binance_pong_ms),
        close_code: 1008,
        life: Some(streams::life(&world)),
    };
    let show_limits = !query.unwrap_or_default().split('&').any(|pair| pair == "returnRateLimits=false");
    upgrade.max_message_size(MESSAGE_BYTES_MAX).on_upgrade(move |socket| async move {
        world.opened(Venue::Binance);
        let (client, queues) = world.binance.hub.connect(Venue::Binance, peer.hangup.clone(), true);
        let session = Api { world: world.clone(), client: client.clone(), peer, show_limits, subscribed: None, next: 0 };
        socket::serve(socket, world, client, queues, session, manners).await;
    })
}

struct Api {
    world: Arc<World>,
    client: Arc<Client>,
    peer: Peer,
    show_limits: bool,
    /// The account's subscription.
    subscribed: Option<u64>,
    next: u64,
}

/// One request, taken apart.
struct Request {
    id: Value,
    method: String,
    params: Params,
    key: String,
    payload: String,
}

impl Session for Api {
    fn open(&mut self) {}

    fn text(&mut self, text: &str) {
        let request = match parse(text) {
            Ok(request) => request,
            Err((id, error)) => return self.say(&failure(&id, &error)),
        };
        let weight = weight(&request);
        let used = match self.world.weights.weigh(self.peer.ip, weight, clock_ms()) {
            Weighed::Fine { used } => used,
            Weighed::Over { retry_after_s, .. } => {
                let error = ApiError::over_weight(self.world.config.binance_weight_per_min, retry_after_s);
                return self.say(&failure(&request.id, &error));
            }
            Weighed::Banned { until_ms, retry_after_s, .. } => {
                return self.say(&failure(&request.id, &ApiError::banned(until_ms, retry_after_s)));
            }
        };
        let path = format!("/ws-api/v3/{}", request.method);
        let method = match request.method.as_str() {
            "order.place" => Some(fault::Method::Post),
            "order.cancel" | "openOrders.cancelAll" => Some(fault::Method::Delete),
            _ => Some(fault::Method::Get),
        };
        let faults = self.world.faults.request(Venue::Binance, method, &path, request.params.get("symbol"));
        if faults.drop {
            return self.client.hangup.cancel();
        }
        // An answer must come before the first event that it makes possible: events are told under this lock too.
        if request.method.starts_with("userDataStream.") {
            let world = self.world.clone();
            let _told = world.binance.account.desk();
            let result = self.stream(&request);
            return self.finish(&request.id, result, used);
        }
        let result = match faults.status {
            Some((code, ..)) => Err(status_error(code)),
            None => self.call(&request),
        };
        match faults.lost_after {
            Some(None) => self.client.hangup.cancel(),
            Some(Some(code)) => self.finish(&request.id, Err(status_error(code)), used),
            None => {
                let free = result.is_ok() && method != Some(fault::Method::Get);
                let used = if free { self.world.weights.refund(self.peer.ip, weight) } else { used };
                self.finish(&request.id, result, used);
            }
        }
    }

    fn inbound(&mut self) -> Option<(u16, &'static str)> {
        None
    }

    fn ending(&mut self) {
        self.say(&json!({ "event": { "e": "serverShutdown", "E": self.world.now_ms(Venue::Binance) } }));
    }
}

impl Api {
    fn say(&self, value: &Value) {
        self.client.answer(Message::Text(value.to_string().into()));
    }

    fn finish(&self, id: &Value, result: Result<Value, ApiError>, used: u32) {
        let mut answer = match result {
            Ok(result) => json!({ "id": id, "status": 200, "result": result }),
            Err(error) => failure(id, &error),
        };
        if self.show_limits {
            let limit = self.world.config.binance_weight_per_min;
            answer["rateLimits"] = json!([
                { "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit, "count": used },
            ]);
        }
        self.say(&answer);
    }

    fn authorize(&self, request: &Request, permission: Permission) -> Result<bool, ApiError> {
        if request.key.is_empty() {
            return Err(ApiError::missing("apiKey"));
        }
        auth::check(&self.world, &request.key, &request.payload, &request.params, permission).map(|key| key.can_trade)
    }

    fn call(&self, request: &Request) -> Result<Value, ApiError> {
        request.params.get("apiKey");
        let call = Call { world: &self.world, params: &request.params, unit: 1 };
        let reading = || self.authorize(request, Permission::UserData);
        let trading = || self.authorize(request, Permission::Trade);
        match request.method.as_str() {
            "ping" => request.params.finish().map(|()| json!({})),
            "time" => request.params.finish().map(|()| json!({ "serverTime": call.time_now() })),
            "exchangeInfo" => call.exchange_info(),
            "ticker.price" => call.ticker_price(),
            "ticker.book" => call.book_ticker(),
            "klines" => call.klines(),
            "trades.recent" => call.trades(false),
            "depth" => call.depth().and_then(|text| serde_json::from_str(&text).map_err(|_| ApiError::bad(-1000, "Not a book."))),
            "order.place" => match trading() {
                Ok(_) => call.place_order(),
                Err(error) => {
                    call.log_refused(&error);
                    Err(error)
                }
            },
            "order.test" => trading().and_then(|_| call.test_order()),
            "order.cancel" => trading().and_then(|_| call.cancel_order()),
            "openOrders.cancelAll" => trading().and_then(|_| call.cancel_open_orders()),
            "order.status" => reading().and_then(|_| call.order()),
            "openOrders.status" => reading().and_then(|_| call.open_orders()),
            "allOrders" => reading().and_then(|_| call.all_orders()),
            "myTrades" => reading().and_then(|_| call.my_trades()),
            "account.status" => reading().and_then(|can_trade| call.account(can_trade)),
            "account.rateLimits.orders" => reading().and_then(|_| call.order_limits()),
            "session.subscriptions" => Ok(self.subscribed.iter().map(|id| json!({ "subscriptionId": id })).collect()),
            "session.status" => Ok(json!({
                "apiKey": null, "authorizedSince": null, "connectedSince": null, "returnRateLimits": self.show_limits,
                "serverTime": call.time_now(), "userDataStream": self.subscribed.is_some(),
            })),
            // Logging in takes an Ed25519 key, and the account here has none.
            "session.logon" => Err(ApiError::bad(-4056, "HMAC_SHA256 API key is not supported.")),
            other => Err(ApiError::bad(-1020, format!("The method `{other}` is not supported."))),
        }
    }

    /// The account's events, and the routes that are gone.
    fn stream(&mut self, request: &Request) -> Result<Value, ApiError> {
        let hub = &self.world.binance.hub;
        match request.method.as_str() {
            "userDataStream.subscribe.signature" => {
                request.params.get("apiKey");
                self.authorize(request, Permission::UserData)?;
                request.params.finish()?;
                if self.subscribed.is_some() {
                    return Err(ApiError::bad(-2035, "User Data Stream subscription is already active."));
                }
                let id = self.next;
                self.next += 1;
                self.subscribed = Some(id);
                self.client.set_subscription(id);
                hub.join(&self.client, USER_DATA);
                Ok(json!({ "subscriptionId": id }))
            }
            "userDataStream.unsubscribe" => {
                let wanted = request.params.number("subscriptionId")?;
                request.params.finish()?;
                let fits = |id: &u64| wanted.is_none_or(|wanted| u64::try_from(wanted) == Ok(*id));
                let Some(id) = self.subscribed.filter(fits) else {
                    return Err(ApiError::bad(-2036, "User Data Stream subscription is not active."));
                };
                self.subscribed = None;
                hub.leave(&self.client, USER_DATA);
                let event = json!({ "e": "eventStreamTerminated", "E": self.world.now_ms(Venue::Binance) });
                self.say(&json!({ "subscriptionId": id, "event": event }));
                Ok(json!({}))
            }
            "userDataStream.subscribe" => Err(ApiError::bad(-1002, "You are not authorized to execute this request.")),
            _ => Err(ApiError::gone()),
        }
    }
}

fn failure(id: &Value, error: &ApiError) -> Value {
    let mut body = json!({ "code": error.code, "msg": error.text });
    if let Some(seconds) = error.retry_after_s {
        // Epoch here, seconds in the header of REST.
        let now = clock_ms();
        body["data"] = json!({ "serverTime": now, "retryAfter": now + seconds * 1_000 });
    }
    json!({ "id": id, "status": error.status.as_u16(), "error": body })
}

/// The error of a fault that answers a status.
fn status_error(code: u16) -> ApiError {
    let body = super::status_body(code);
    let number = body["code"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or(-1000);
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    ApiError { status, ..ApiError::bad(number, body["msg"].as_str().unwrap_or_default()) }
}

fn parse(text: &str) -> Result<Request, (Value, ApiError)> {
    let invalid = |id: Value, what: &str| (id, ApiError::bad(-1135, format!("Invalid JSON request: {what}")));
    let value: Value = serde_json::from_str(text).map_err(|_| invalid(Value::Null, "not JSON"))?;
    let id = value.get("id").cloned().unwrap_or(Value::Null);
    let fine = match &id {
        Value::Null => true,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        Value::String(text) => text.len() <= ID_MAX,
        _ => false,
    };
    if !fine {
        return Err(invalid(Value::Null, "`id` must be a whole number, a text of at most 36 characters or null"));
    }
    let Some(method) = value.get("method").and_then(Value::as_str) else { return Err(invalid(id, "`method` is missing")) };
    let mut pairs = Vec::new();
    match value.get("params") {
        None | Some(Value::Null) => {}
        Some(Value::Object(params)) => {
            for (name, value) in params {
                let text = match value {
                    Value::String(text) => text.clone(),
                    Value::Null => return Err((id, ApiError::bad(-1105, format!("Parameter '{name}' was empty.")))),
                    other => other.to_string(),
                };
                pairs.push((name.clone(), text));
            }
        }
        Some(_) => return Err(invalid(id, "`params` must be an object")),
    }
    // Signed is what was sent, sorted by name, as it is and not percent-encoded.
    pairs.sort();
    let signed: Vec<String> =
        pairs.iter().filter(|(name, _)| name != "signature").map(|(name, value)| format!("{name}={value}")).collect();
    let key = pairs.iter().find(|(name, _)| name == "apiKey").map(|(_, key)| key.clone()).unwrap_or_default();
    let params = Params::of(pairs);
    Ok(Request { id, method: method.to_owned(), params, key, payload: signed.join("&") })
}

fn weight(request: &Request) -> u32 {
    let has = |name: &str| request.params.get(name).is_some();
    match request.method.as_str() {
        "exchangeInfo" | "account.status" | "allOrders" => 20,
        "myTrades" => {
            if has("orderId") {
                5
            } else {
                20
            }
        }
        "openOrders.status" => {
            if has("symbol") {
                6
            } else {
                80
            }
        }
        "order.status" => 4,
        "account.rateLimits.orders" => 40,
        "depth" => 5,
        "trades.recent" => 25,
        "klines" | "session.status" | "session.subscriptions" => 2,
        name if name.starts_with("userDataStream.") || name.starts_with("ticker.") => 2,
        _ => 1,
    }
}
