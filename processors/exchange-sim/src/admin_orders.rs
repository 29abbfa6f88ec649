//! Orders, balances and markets over the simulator's own interface: what tests look at to prove something, and where they take a
//! hand as nobody could at a real exchange.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::binance;
use crate::config::{Holding, Venue};
use crate::live::Symbol;
use crate::orders::{Amount, Desk, Kind, New, Order, Origin, Outcome, Reject, Side, TimeInForce};
use crate::world::{World, clock_ms};

/// Largest amount that a transfer or a balance may have.
const AMOUNT_MAX: i64 = 1_000_000_000_000;

/// Everything under `/sim` that concerns orders.
pub(crate) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/sim/orders", get(listed).post(place))
        .route("/sim/orders/cancel", post(cancel))
        .route("/sim/orders/fill", post(fill))
        .route("/sim/orders/expire", post(expire))
        .route("/sim/balances", post(transfer))
        .route("/sim/state/reset", post(reset))
}

/// A request that cannot be done: field and reason, HTTP 400.
pub(crate) struct Wrong(pub(crate) &'static str, pub(crate) String);

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({ "field": self.0, "error": self.1 }))).into_response()
    }
}

pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Wrong> {
    serde_json::from_slice(body).map_err(|error| Wrong("body", error.to_string()))
}

pub(crate) fn symbol<'a>(world: &'a World, venue: Venue, name: &str) -> Result<&'a Arc<Symbol>, Wrong> {
    world
        .exchange(venue)
        .symbol(name)
        .ok_or_else(|| Wrong("symbol", format!("{name} is no market of {venue}; GET /sim/state lists them")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    exchange: Option<Venue>,
    client_id: Option<String>,
}

/// `GET /sim/orders[?exchange=…][&client_id=…]`.
async fn listed(State(world): State<Arc<World>>, Query(wanted): Query<Wanted>) -> Response {
    let of = |venue: Venue| describe(&world.exchange(venue).account.desk(), wanted.client_id.as_deref());
    match wanted.exchange {
        Some(venue) => Json(of(venue)).into_response(),
        None => Json(json!({ "binance": of(Venue::Binance), "btcturk": of(Venue::Btcturk) })).into_response(),
    }
}

#[derive(Default)]
struct PerClient {
    submits: u64,
    accepted: u64,
    rejected: u64,
    duplicate: u64,
    refused: u64,
    orders: Vec<u64>,
}

fn describe(desk: &Desk, client: Option<&str>) -> Value {
    let log = &desk.log;
    let here = |id: &str| client.is_none_or(|client| client == id);
    let mut clients: BTreeMap<&str, PerClient> = BTreeMap::new();
    for submit in log.submits.iter().filter(|submit| here(&submit.client_id)) {
        let row = clients.entry(&submit.client_id).or_default();
        row.submits += 1;
        *match submit.outcome {
            Outcome::Accepted => &mut row.accepted,
            Outcome::Rejected => &mut row.rejected,
            Outcome::Duplicate => &mut row.duplicate,
            Outcome::Refused => &mut row.refused,
        } += 1;
        row.orders.extend(submit.order_id);
    }
    let clients: serde_json::Map<String, Value> = clients
        .into_iter()
        .map(|(id, row)| {
            let counts = json!({
                "submits": row.submits, "accepted": row.accepted, "rejected": row.rejected, "duplicate": row.duplicate,
                "refused": row.refused, "order_ids": row.orders,
            });
            (id.to_owned(), counts)
        })
        .collect();
    json!({
        "submits": log.submits.iter().filter(|each| here(&each.client_id)).collect::<Vec<_>>(),
        "fills": log.fills.iter().filter(|each| here(&each.client_id)).collect::<Vec<_>>(),
        "cancels": log.cancels.iter().filter(|each| here(&each.client_id)).collect::<Vec<_>>(),
        "dropped": log.dropped,
        "clients": clients,
        "orders": desk.orders().values().filter(|each| here(&each.client_id)).map(shown).collect::<Vec<_>>(),
        "balances": balances(desk),
    })
}

fn shown(order: &Order) -> Value {
    let mut order = order.clone();
    for amount in [
        &mut order.price,
        &mut order.quantity,
        &mut order.quote_quantity,
        &mut order.filled,
        &mut order.quote_filled,
        &mut order.first_price,
        &mut order.locked,
    ] {
        *amount = amount.normalize();
    }
    json!(order)
}

fn balances(desk: &Desk) -> Value {
    let row = |(asset, held): (&String, &Holding)| {
        (asset.clone(), json!({ "free": held.free.normalize(), "locked": held.locked.normalize() }))
    };
    Value::Object(desk.balances().iter().map(row).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outside {
    exchange: Venue,
    symbol: String,
    side: Side,
    #[serde(rename = "type", default = "limit")]
    kind: Kind,
    time_in_force: Option<TimeInForce>,
    quantity: Option<Decimal>,
    quote_quantity: Option<Decimal>,
    price: Option<Decimal>,
    client_id: Option<String>,
}

fn limit() -> Kind {
    Kind::Limit
}

/// `POST /sim/orders`: an order that no client of this account sent.
async fn place(State(world): State<Arc<World>>, body: Bytes) -> Result<Response, Wrong> {
    let wanted: Outside = read(&body)?;
    let symbol = symbol(&world, wanted.exchange, &wanted.symbol)?;
    let positive = |name, amount: Option<Decimal>| match amount {
        Some(amount) if amount <= Decimal::ZERO || amount > Decimal::from(AMOUNT_MAX) => {
            Err(Wrong(name, format!("{amount} must be above 0 and at most {AMOUNT_MAX}")))
        }
        amount => Ok(amount),
    };
    let amount = match (positive("quantity", wanted.quantity)?, positive("quote_quantity", wanted.quote_quantity)?) {
        (Some(quantity), None) => Amount::Base(quantity),
        (None, Some(amount)) if wanted.kind == Kind::Market => Amount::Quote(amount),
        _ => return Err(Wrong("quantity", "give `quantity`, or for a market order `quote_quantity`".into())),
    };
    let price = match (wanted.kind, positive("price", wanted.price)?) {
        (Kind::Market, None) => Decimal::ZERO,
        (Kind::Market, Some(_)) => return Err(Wrong("price", "a market order has none; leave it out".into())),
        (_, Some(price)) => price,
        (_, None) => return Err(Wrong("price", "missing for a limit order".into())),
    };
    let client_id = wanted.client_id.unwrap_or_else(|| format!("outside-{}", clock_ms()));
    let time_in_force = wanted.time_in_force.unwrap_or(TimeInForce::Gtc);
    let new = New { client_id, side: wanted.side, kind: wanted.kind, time_in_force, amount, price, origin: Origin::Outside };
    let executions = world.place(symbol, new).map_err(|reject| match reject {
        Reject::Insufficient => Wrong("quantity", "more than the account has free; POST /sim/balances adds some".into()),
        Reject::Duplicate => Wrong("client_id", "belongs to an open order; choose another".into()),
        Reject::WouldTake => Wrong("price", "a maker-only order would take; choose a worse price".into()),
    })?;
    let order = executions.last().map(|step| shown(&step.order));
    Ok((StatusCode::CREATED, Json(order)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    exchange: Venue,
    order_id: Option<u64>,
    client_id: Option<String>,
    /// Of a fill: how much; default all that is left.
    quantity: Option<Decimal>,
}

/// The open order that is meant.
fn which(world: &World, wanted: &Which) -> Result<(Arc<Symbol>, u64), Wrong> {
    let exchange = world.exchange(wanted.exchange);
    let desk = exchange.account.desk();
    let order = match (wanted.order_id, &wanted.client_id) {
        (Some(id), None) => desk.order(id),
        (None, Some(client)) => desk.by_client(client),
        _ => return Err(Wrong("order_id", "give `order_id` or `client_id`".into())),
    };
    let order = order.filter(|order| order.status.is_open());
    let order = order.ok_or_else(|| Wrong("order_id", "no such open order; GET /sim/orders lists them".into()))?;
    let symbol = exchange.symbol(&order.symbol).ok_or_else(|| Wrong("order_id", "its market is gone".into()))?;
    Ok((symbol.clone(), order.id))
}

/// `POST /sim/orders/cancel`: taken back by nobody the client knows.
async fn cancel(State(world): State<Arc<World>>, body: Bytes) -> Result<Response, Wrong> {
    let wanted: Which = read(&body)?;
    let (symbol, id) = which(&world, &wanted)?;
    world.cancel(&symbol, id, None);
    Ok(Json(world.exchange(wanted.exchange).account.desk().order(id).map(shown)).into_response())
}

/// `POST /sim/orders/fill`: filled at its price, whatever the market says.
async fn fill(State(world): State<Arc<World>>, body: Bytes) -> Result<Response, Wrong> {
    let wanted: Which = read(&body)?;
    let (symbol, id) = which(&world, &wanted)?;
    let at_ms = world.now_ms(wanted.exchange);
    let mut desk = world.exchange(wanted.exchange).account.desk();
    let quantity = wanted.quantity.or_else(|| desk.order(id).map(Order::left)).unwrap_or_default();
    let done = desk.force(&symbol.terms, id, quantity, at_ms);
    world.tell(wanted.exchange, done.as_slice());
    done.map(|done| Json(shown(&done.order)).into_response())
        .ok_or_else(|| Wrong("quantity", format!("{quantity} must be above 0, of an open order")))
}

/// `POST /sim/orders/expire`: ended by the exchange.
async fn expire(State(world): State<Arc<World>>, body: Bytes) -> Result<Response, Wrong> {
    let wanted: Which = read(&body)?;
    let (symbol, id) = which(&world, &wanted)?;
    let at_ms = world.now_ms(wanted.exchange);
    let mut desk = world.exchange(wanted.exchange).account.desk();
    let done = desk.expire(&symbol.terms, id, at_ms);
    world.tell(wanted.exchange, done.as_slice());
    Ok(Json(desk.order(id).map(shown)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    exchange: Venue,
    asset: String,
    /// Below zero: a withdrawal.
    amount: Decimal,
}

/// `POST /sim/balances`: a deposit, or below zero a withdrawal.
async fn transfer(State(world): State<Arc<World>>, body: Bytes) -> Result<Response, Wrong> {
    let wanted: Transfer = read(&body)?;
    if wanted.amount.is_zero() || wanted.amount.abs() > Decimal::from(AMOUNT_MAX) {
        return Err(Wrong("amount", format!("{} must not be 0 and at most {AMOUNT_MAX} either way", wanted.amount)));
    }
    let mut desk = world.exchange(wanted.exchange).account.desk();
    if !desk.transfer(&wanted.asset, wanted.amount) {
        return Err(Wrong("amount", format!("{} is not free", wanted.asset)));
    }
    if wanted.exchange == Venue::Binance {
        binance::tell_transfer(&world, &wanted.asset, wanted.amount, desk.holding(&wanted.asset));
    }
    Ok(Json(balances(&desk)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    exchange: Venue,
    /// Forget orders and fills. Default: yes.
    #[serde(default = "yes")]
    orders: bool,
    /// Set these balances; assets that are not named stay.
    #[serde(default)]
    balances: BTreeMap<String, Holding>,
    /// Go back to the configured balances first.
    #[serde(default)]
    configured_balances: bool,
    /// Break all sockets, as a restart does. Default: yes.
    #[serde(default = "yes")]
    sockets: bool,
}

pub(crate) fn yes() -> bool {
    true
}

/// `POST /sim/state/reset`: the exchange restarts with another state. Its log goes on.
async fn reset(State(world): State<Arc<World>>, body: Bytes) -> Result<Response, Wrong> {
    let wanted: Reset = read(&body)?;
    let limit = Decimal::from(AMOUNT_MAX);
    let bad = |held: &Holding| [held.free, held.locked].iter().any(|amount| *amount < Decimal::ZERO || *amount > limit);
    if let Some((asset, _)) = wanted.balances.iter().find(|(_, held)| bad(held)) {
        return Err(Wrong("balances", format!("{asset} must be from 0 to {AMOUNT_MAX}")));
    }
    let exchange = world.exchange(wanted.exchange);
    let shown = {
        let mut desk = exchange.account.desk();
        if wanted.orders {
            let asset = |order: &Order| {
                exchange.symbol(&order.symbol).map_or_else(String::new, |symbol| symbol.terms.locked_asset(order.side).to_owned())
            };
            desk.forget_orders(asset);
        }
        if wanted.configured_balances {
            let configured = match wanted.exchange {
                Venue::Binance => &world.config.binance_account,
                Venue::Btcturk => &world.config.btcturk_account,
                Venue::Bist => return Err(Wrong("exchange", "bist tells prices and has no account".to_owned())),
            };
            desk.set_balances(configured.balances.clone());
        }
        for (asset, holding) in wanted.balances {
            desk.set_holding(&asset, holding);
        }
        balances(&desk)
    };
    if wanted.sockets {
        for client in exchange.hub.clients() {
            client.hangup.cancel();
        }
    }
    Ok(Json(json!({ "balances": shown })).into_response())
}
