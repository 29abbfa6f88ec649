//! The way of an order into the LEDGER and of its answer out of it.
//!
//! The intent's subject is the claim: it is stored only if nothing is stored there yet, so of any number of requests with
//! one key exactly one makes the order, on any number of gateways. Whoever comes second reads what is stored and waits
//! for the same verdict. Nothing here is remembered: after a restart the LEDGER answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use spark_bus_schema::orders::{OrderEvent, OrderId, OrderIntent};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Message, encode};
use spark_nats::{AppendError, Bus, Delivery, Meta, SubjectWriter};
use tokio::time::Instant;

use crate::app::App;
use crate::view::trading::orders::{Asked, Order, Standing};

/// How long storing an intent may take, a broker that comes back included.
pub const STORE_LIMIT: Duration = Duration::from_secs(3);
/// How long one look into the LEDGER may take.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// An order that is in the LEDGER.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Ledger sequence of the intent.
    pub sequence: u64,
    /// What is stored.
    pub intent: Arc<OrderIntent>,
    /// Somebody placed it before.
    pub earlier: bool,
}

/// Why an order is not known to be in the LEDGER.
#[derive(Debug, thiserror::Error)]
pub enum NotPlaced {
    /// Nothing was sent.
    #[error("the broker is not connected; nothing was sent")]
    Away,
    /// It may be stored or not.
    #[error("{0}; the order may have been stored")]
    Unconfirmed(String),
    /// The key is another order's.
    #[error("the key belongs to an order with another {field}")]
    Different {
        /// The first field that differs, as in the request.
        field: &'static str,
        /// What the earlier order says.
        stored: String,
        /// What this request says.
        asked: String,
    },
    /// The LEDGER holds something else there, or refuses for good.
    #[error("{0}")]
    Refused(String),
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The exchange has it, or it is over.
    Accepted,
    /// It is over.
    Final,
}

impl Goal {
    /// Whether an order is there.
    #[must_use]
    pub fn is_reached(self, standing: Standing) -> bool {
        use spark_bus_schema::orders::OrderState::{Pending, Unknown};
        match (self, standing) {
            (_, standing) if !standing.is_open() => true,
            (Self::Accepted, Standing::Order(state)) => !matches!(state, Pending | Unknown),
            _ => false,
        }
    }
}

/// Puts an intent into the LEDGER, or finds the one that is there under its key.
///
/// # Errors
/// [`NotPlaced`].
pub async fn place(app: &App, intent: OrderIntent) -> Result<Placed, NotPlaced> {
    let known = app.view().trading.orders.get(&intent.order).map(|order| (order.sequence, Arc::clone(&order.intent)));
    if let Some((sequence, stored)) = known {
        return same(sequence, stored, &intent);
    }
    let bus = app.bus().filter(|bus| bus.is_connected()).ok_or(NotPlaced::Away)?;
    match tokio::time::timeout(STORE_LIMIT, store(bus, intent)).await {
        Ok(done) => done,
        Err(_) => Err(NotPlaced::Unconfirmed(format!("the broker did not acknowledge within {} s", STORE_LIMIT.as_secs()))),
    }
}

async fn store(bus: &Bus, intent: OrderIntent) -> Result<Placed, NotPlaced> {
    let on = subject::intent(&intent.order);
    // Of this attempt alone: with one id for all of them the broker would take a second request, whatever it says, for a
    // repetition of the first.
    let meta = Meta { msg_id: Some(attempt_id(&intent.order)), cause: None };
    let mut writer = SubjectWriter::at(bus.clone(), LEDGER, on.clone(), 0);
    match writer.append_with(OrderIntent::KIND, Bytes::from(encode(&intent)), &meta, &[]).await {
        Ok(sequence) => Ok(Placed { sequence, intent: Arc::new(intent), earlier: false }),
        Err(AppendError::Conflict) => {
            let found = bus.last(LEDGER, &on).await.map_err(|error| NotPlaced::Unconfirmed(error.to_string()))?;
            let found = found.ok_or_else(|| NotPlaced::Unconfirmed("the ledger has lost its end".to_owned()))?;
            let stored = found
                .decode::<OrderIntent>()
                .map_err(|error| NotPlaced::Refused(format!("LEDGER:{} on {on} cannot be read: {error}", found.sequence)))?;
            same(found.sequence, Arc::new(stored), &intent)
        }
        Err(AppendError::Refused(error)) => {
            tracing::error!(subject = on, %error, "store an intent");
            Err(NotPlaced::Refused(error.to_string()))
        }
    }
}

fn attempt_id(order: &OrderId) -> String {
    static ATTEMPTS: AtomicU64 = AtomicU64::new(0);
    let (number, at) = (ATTEMPTS.fetch_add(1, Ordering::Relaxed), spark_nats::now().as_nanos());
    format!("gateway:{order}:{}:{at}:{number}", std::process::id())
}

fn same(sequence: u64, stored: Arc<OrderIntent>, asked: &OrderIntent) -> Result<Placed, NotPlaced> {
    if stored.same_request(asked) {
        return Ok(Placed { sequence, intent: stored, earlier: true });
    }
    let price = |intent: &OrderIntent| intent.limit_price.map_or_else(|| "none".to_owned(), |price| price.to_string());
    let word = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
    let fields: [(&'static str, String, String); 7] = [
        ("exchange", stored.exchange.to_string(), asked.exchange.to_string()),
        ("symbol", stored.symbol.clone(), asked.symbol.clone()),
        ("side", word(&stored.side), word(&asked.side)),
        ("type", word(&stored.order_type), word(&asked.order_type)),
        ("quantity", stored.quantity.normalize().to_string(), asked.quantity.normalize().to_string()),
        ("price", price(&stored), price(asked)),
        ("timeInForce", word(&stored.time_in_force), word(&asked.time_in_force)),
    ];
    let differs = fields.into_iter().find(|(_, stored, asked)| stored != asked);
    let (field, stored, asked) = differs.unwrap_or(("strategy", stored.strategy.clone(), asked.strategy.clone()));
    Err(NotPlaced::Different { field, stored, asked })
}

/// Waits for the verdict on an order; none when none came within `limit`.
pub async fn verdict(app: &App, placed: &Placed, limit: Duration) -> Option<Arc<Verdict>> {
    let order = &placed.intent.order;
    let deadline = Instant::now() + limit;
    let held = |app: &App| app.view().trading.verdict_of(order);
    let Some(waiting) = app.waiters.join(order) else { return held(app) };
    // Of an old order the view may hold nothing any more, or nothing yet after a restart.
    let mut look = placed.earlier;
    loop {
        let notified = waiting.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if let Some(verdict) = held(app) {
            return Some(verdict);
        }
        if std::mem::take(&mut look)
            && let Some(verdict) = stored_verdict(app, order).await
        {
            return Some(verdict);
        }
        tokio::select! {
            () = notified => {}
            // Whatever kept the reader of the ledger, the ledger itself has the last word.
            () = tokio::time::sleep_until(deadline) => return stored_verdict(app, order).await,
        }
    }
}

/// Waits until an order is where it shall be; how it stands when it is, or when `limit` is over. None: nothing is known
/// of it but its intent.
pub async fn standing(app: &App, order: &OrderId, goal: Goal, limit: Duration) -> Option<Order> {
    let deadline = Instant::now() + limit;
    let held = |app: &App| app.view().trading.orders.get(order).cloned();
    let Some(waiting) = app.waiters.join(order) else { return held(app) };
    let mut look = true;
    loop {
        let notified = waiting.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        match held(app) {
            Some(order) if goal.is_reached(order.standing()) => return Some(order),
            None if std::mem::take(&mut look) => match stored_order(app, order).await {
                Some(order) if goal.is_reached(order.standing()) => return Some(order),
                _ => {}
            },
            _ => {}
        }
        tokio::select! {
            () = notified => {}
            () = tokio::time::sleep_until(deadline) => return held(app),
        }
    }
}

/// An order as the LEDGER tells it: of any age, without its earlier steps.
pub async fn stored_order(app: &App, id: &OrderId) -> Option<Order> {
    let intent = last(app, &subject::intent(id)).await?;
    let (sequence, at) = (intent.sequence, intent.stored_at);
    let mut order = Order::new(sequence, at, Arc::new(intent.decode().ok()?));
    order.verdict = stored_verdict(app, id).await;
    if order.standing() == Standing::Asked(Asked::Approved)
        && let Some(found) = last(app, &subject::order_event(id)).await
        && let Ok(event) = found.decode::<OrderEvent>()
    {
        order.take(found.sequence, found.stored_at, &event);
    }
    Some(order)
}

async fn stored_verdict(app: &App, order: &OrderId) -> Option<Arc<Verdict>> {
    let found = last(app, &subject::verdict(order)).await?;
    match found.decode::<Verdict>() {
        Ok(verdict) if verdict.order == *order => Some(Arc::new(verdict)),
        Ok(_) => None,
        Err(error) => {
            tracing::error!(sequence = found.sequence, %error, "read a verdict");
            None
        }
    }
}

async fn last(app: &App, on: &str) -> Option<Delivery> {
    let bus = app.bus().filter(|bus| bus.is_connected())?;
    match tokio::time::timeout(LOOK_LIMIT, bus.last(LEDGER, on)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            tracing::debug!(subject = on, %error, "look into the ledger");
            None
        }
        Err(_) => None,
    }
}
