//! What the tests run on: a real broker, an executor on it, and somebody who plays risk, feed and operator.

#![allow(dead_code, clippy::unwrap_used, reason = "not every test file needs every part; a test that cannot go on has failed")]

pub mod sim;

use std::collections::BTreeMap;
use std::time::Duration;

use spark_bus_schema::audit::AuditVerified;
use spark_bus_schema::control::{CancelCommand, HaltScope, KillSwitch, ResumeCommand};
use spark_bus_schema::market::{Quote, QuoteBatch, Side};
use spark_bus_schema::orders::{OrderEvent, OrderId, OrderIntent, OrderState, OrderType, Reconciliation, TimeInForce};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::{Decimal, Fixed, Message, Venue, subject};
use spark_executor::{Config, Error};
use spark_nats::bus::Meta;
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Follower, Start, now};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const LIMIT: Duration = Duration::from_secs(20);

pub fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// A running executor.
pub struct Process {
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), Error>>,
}

impl Process {
    pub async fn start(broker: &TestBroker, folder: &str, config: &Config) -> Self {
        assert_eq!(config.validate(), Vec::<String>::new());
        let service = broker.service_in("executor", folder).await;
        let stop = service.shutdown.clone();
        tokio::spawn(all_is_well(broker.bus("auditor").await, stop.clone()));
        Self { stop, task: tokio::spawn(spark_executor::run(service, config.clone())) }
    }

    /// Tells it to stop and checks that it ended well.
    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.task).await.expect("the process stops").unwrap().unwrap();
    }

    /// Ends it in the middle of whatever it does, as kill -9 would.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// Plays the auditor of an undamaged LEDGER: answers every takeover.
async fn all_is_well(bus: Bus, stop: CancellationToken) {
    let mut answered = 0;
    while !stop.is_cancelled() {
        if let Ok(Some(epoch)) = bus.last(subject::LEDGER, subject::ORDERS_EPOCH).await
            && epoch.sequence > answered
        {
            answered = epoch.sequence;
            let through = epoch.sequence;
            let head = "0".repeat(64);
            let verified = AuditVerified {
                era: 1,
                through,
                head,
                count: through,
                checked_at: now(),
                full: false,
                adopted: false,
                anchors_unknown: 0,
            };
            bus.publish(subject::AUDIT_VERIFIED, &verified, Meta::default()).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Settings that make tests quick.
pub fn quick() -> Config {
    let mut config = Config {
        reconcile_ms: 300,
        second_look_ms: 50,
        ask_ms: 50,
        ask_ms_max: 400,
        retry_ms: 50,
        retry_ms_max: 200,
        poll_ms: 100,
        ..Config::default()
    };
    // Nobody is there: filters of the real exchanges are nothing that a test may ask for.
    config.binance.base_url = Some("http://127.0.0.1:9".to_owned());
    config.btcturk.base_url = Some("http://127.0.0.1:9".to_owned());
    config
}

/// Everybody else.
pub struct World {
    pub risk: Bus,
    pub feed: Bus,
    pub operator: Bus,
    reader: Follower,
    pub events: BTreeMap<OrderId, Vec<OrderEvent>>,
    pub reconciliations: Vec<Reconciliation>,
    quotes: u64,
}

/// What somebody orders.
#[derive(Clone)]
pub struct Wish {
    pub key: String,
    pub venue: Venue,
    pub symbol: &'static str,
    pub side: Side,
    pub tif: TimeInForce,
    pub quantity: &'static str,
    pub price: Option<&'static str>,
    pub good_for: Duration,
}

pub fn market(key: &str, quantity: &'static str) -> Wish {
    Wish {
        key: key.to_owned(),
        venue: Venue::Binance,
        symbol: "BTCUSDT",
        side: Side::Buy,
        tif: TimeInForce::Ioc,
        quantity,
        price: None,
        good_for: Duration::from_secs(10),
    }
}

pub fn limit(key: &str, quantity: &'static str, price: &'static str) -> Wish {
    Wish { tif: TimeInForce::Gtc, price: Some(price), ..market(key, quantity) }
}

impl Wish {
    pub fn verdict(&self) -> Verdict {
        let order = OrderId::derive("manual", &self.key);
        let at = now();
        let intent = OrderIntent {
            order: order.clone(),
            key: self.key.clone(),
            strategy: "manual".into(),
            actor: "test".into(),
            exchange: self.venue,
            symbol: self.symbol.into(),
            side: self.side,
            order_type: if self.price.is_some() { OrderType::Limit } else { OrderType::Market },
            time_in_force: self.tif,
            quantity: d(self.quantity),
            limit_price: self.price.map(d),
            requested_at: at,
            reason: None,
            decided_at: None,
        };
        Verdict {
            order,
            approved: true,
            guard: None,
            reason: "approved".into(),
            intent,
            intent_sequence: 1,
            decided_on: 1,
            decided_at: at,
            expires_at: at + self.good_for,
            checks: Vec::new(),
            mark: None,
            limits_sequence: 0,
            position: Decimal::ZERO,
            reserved_buy: Decimal::ZERO,
            reserved_sell: Decimal::ZERO,
        }
    }
}

impl World {
    pub async fn new(broker: &TestBroker) -> Self {
        let gateway = broker.bus("gateway").await;
        let subjects = vec![subject::ORDER_EVENTS.to_owned(), subject::RECONCILIATIONS.to_owned()];
        Self {
            risk: broker.bus("risk").await,
            feed: broker.bus("feed").await,
            operator: broker.bus("operator").await,
            reader: Follower::start(gateway, "gateway", subject::LEDGER, subjects, Start::Beginning),
            events: BTreeMap::new(),
            reconciliations: Vec::new(),
            quotes: 0,
        }
    }

    pub async fn approve(&self, wish: &Wish) -> OrderId {
        let verdict = wish.verdict();
        self.risk.publish(&subject::verdict(&verdict.order), &verdict, Meta::default()).await.unwrap();
        verdict.order
    }

    pub async fn quote(&mut self, venue: Venue, symbol: &str, bid: &str, ask: &str, size: &str) {
        self.quotes += 1;
        let fixed = |text: &str| Fixed::parse(text).unwrap();
        let mut batch = QuoteBatch::new(venue, symbol);
        let quote = Quote {
            update_id: self.quotes,
            received_at: now(),
            bid_price: fixed(bid),
            bid_quantity: fixed(size),
            ask_price: fixed(ask),
            ask_quantity: fixed(size),
        };
        batch.push(&quote).unwrap();
        self.feed.publish(&subject::quotes(venue, symbol), &batch, Meta::default()).await.unwrap();
    }

    pub async fn command<T: Message>(&self, target: &str, command: &T) {
        self.operator.publish(target, command, Meta::default()).await.unwrap();
    }

    pub async fn kill_switch(&self, on: bool, cancel_open: bool) {
        let command = KillSwitch { on, cancel_open, actor: "test".into(), reason: "a test".into(), at: now() };
        self.command(subject::KILL_SWITCH, &command).await;
    }

    pub async fn cancel(&self, order: &OrderId) {
        let command = CancelCommand { order: order.clone(), actor: "test".into(), reason: "a test".into(), at: now() };
        self.command(&subject::cancel(order), &command).await;
    }

    pub async fn resume(&self, venue: Venue) {
        let scope = HaltScope::Exchange(venue);
        let command = ResumeCommand { scope, actor: "test".into(), reason: "a test".into(), at: now() };
        self.command(subject::RESUME, &command).await;
    }

    /// Takes in whatever is in the LEDGER until `enough`.
    pub async fn until(&mut self, what: &str, mut enough: impl FnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + LIMIT;
        while !enough(self) {
            let batch = tokio::time::timeout_at(deadline, self.reader.next()).await;
            let Ok(batch) = batch else {
                let reason = |order| self.events.get(order)?.last()?.steps.last()?.reason.clone();
                let orders: Vec<String> =
                    self.events.keys().map(|order| format!("{} {:?}", self.history(order), reason(order))).collect();
                panic!("{what} did not come about; orders: {orders:?}; last reconciliation: {:?}", self.reconciliations.last());
            };
            for delivery in batch.unwrap() {
                if delivery.subject.starts_with("orders.event.") {
                    let event: OrderEvent = delivery.decode().unwrap();
                    self.events.entry(event.order.clone()).or_default().push(event);
                } else {
                    self.reconciliations.push(delivery.decode().unwrap());
                }
            }
        }
    }

    pub async fn until_state(&mut self, order: &OrderId, state: OrderState) {
        let order = order.clone();
        let what = format!("{order} {state}");
        self.until(&what, move |world| world.state(&order) == Some(state)).await;
    }

    pub fn state(&self, order: &OrderId) -> Option<OrderState> {
        Some(self.events.get(order)?.last()?.state())
    }

    /// Everything until settlement: `pending submitted filled+1`.
    pub fn history(&self, order: &OrderId) -> String {
        let steps = self.events.get(order).into_iter().flatten().flat_map(|event| &event.steps);
        let words: Vec<String> = steps
            .filter(|step| step.state != OrderState::Settled)
            .map(|step| match &step.fill {
                Some(fill) => format!("{}+{}", step.state, fill.quantity.normalize()),
                None => step.state.to_string(),
            })
            .collect();
        words.join(" ")
    }
}
