//! The stage of every scenario: a whole system that trades live on the simulated exchanges, the LEDGER as a witness, and the
//! exchanges' own logs as the other one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use spark_bus_schema::orders::{Evidence, InstrumentFilters, OrderState, Reconciliation, Step};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{OrderId, Venue};
use spark_nats::{Bus, Delivery, Follower, Start};
use spark_tests::checker::{Story, exchange_problems, ledger_problems, stories, unfinished};
use spark_tests::orders::{Answer, Desk, limit, market, record};
use spark_tests::system::System;
use spark_tests::wait::until;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::setting::{LIMIT, LIVE, desk, pin, system};

/// Both exchanges that take orders.
pub const VENUES: [Venue; 2] = [Venue::Binance, Venue::Btcturk];

/// The market that is traded on an exchange, and the bid and ask at which it is held.
pub fn market_of(venue: Venue) -> (&'static str, &'static str, &'static str) {
    match venue {
        Venue::Btcturk => ("BTCTRY", "2000000", "2000300"),
        Venue::Binance | Venue::Bist => ("BTCUSDT", "60000", "60010"),
    }
}

/// How long a delayed submit is on its way: less than a lease and a receive window last.
const SUBMIT_DELAY: Duration = Duration::from_millis(1_500);

/// How often the market that stands still says so.
const PULSE: Duration = Duration::from_millis(300);

/// Short pauses, so that what takes a minute at a real exchange takes a moment here; no bound of an exchange in the way.
const QUICK: &str = r#"
[nats]
duplicate_window_ms = 1000
[supervisor]
restart_pause_ms = 20
restart_pause_max_ms = 60
[risk.default]
capital_usd = "1000000"
orders_per_minute_max = 1000000
exposure_usd_max = "1000000"
[executor.binance.breaker]
failures_to_open = 1000
[executor.btcturk.breaker]
failures_to_open = 1000
[executor.binance.user_data]
pause_ms = 50
pause_ms_max = 100
[executor.btcturk.user_data]
pause_ms = 50
pause_ms_max = 100
"#;

/// How the executor looks after its orders: asks soon, and compares with the exchange every two seconds.
pub const WATCHFUL: &str = r"
[executor]
ask_ms = 50
ask_ms_max = 200
retry_ms = 50
retry_ms_max = 200
poll_ms = 200
reconcile_ms = 2000
second_look_ms = 200
";

/// As [`WATCHFUL`], but without anything that happens by the clock: no poll and no comparison comes to help.
pub const RELYING: &str = r"
[executor]
ask_ms = 50
ask_ms_max = 200
retry_ms = 50
retry_ms_max = 200
poll_ms = 600000
reconcile_ms = 3600000
second_look_ms = 200
";

/// Reads the LEDGER for as long as the scenario lasts.
struct Witness {
    follower: Follower,
    stored: Vec<Delivery>,
}

/// A running system on which a scenario is played.
pub struct Stage {
    pub system: System,
    pub desk: Desk,
    bus: Bus,
    witness: Mutex<Witness>,
    pulse: JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.pulse.abort();
    }
}

/// BTCTurk tells of its book only when it has changed: a market that stands still gets a stale price. So its size changes.
async fn pulse(simulator: String) {
    let http = reqwest::Client::new();
    let (symbol, bid, ask) = market_of(Venue::Btcturk);
    for size in [1_000_001, 1_000_000].into_iter().cycle() {
        tokio::time::sleep(PULSE).await;
        let size = size.to_string();
        let body = json!({ "exchange": "btcturk", "symbol": symbol, "bid": bid, "bid_size": size, "ask": ask, "ask_size": size });
        // The next one comes in a moment.
        let _ = http.post(format!("{simulator}/sim/market")).body(body.to_string()).send().await;
    }
}

impl Stage {
    /// A system in mode `live` with one market of each exchange held still. `config` is one of [`WATCHFUL`] and [`RELYING`], and
    /// whatever else is wanted.
    pub async fn start(config: &str) -> Self {
        let live = LIVE.replace("\"live\"", "\"live\"\nper_minute = 6000\nretry = { base_ms = 20, pause_ms_max = 50 }");
        let system = system(&format!("{live}{QUICK}{config}")).await;
        for venue in VENUES {
            let (symbol, bid, ask) = market_of(venue);
            pin(&system, venue.as_str(), symbol, bid, ask).await;
            until("the market stands still", LIMIT, async || {
                let prices = system.json("/api/prices").await?;
                let mut rows = prices["prices"].as_array().into_iter().flatten();
                let held = rows.any(|row| row["venue"] == venue.as_str() && row["bid"].as_u64() == bid.parse().ok());
                if held { Ok(()) } else { Err(prices.to_string()) }
            })
            .await;
        }
        let (desk, bus) = (desk(&system), system.bus("operator").await);
        let subjects = ["orders.>", "risk.>", "control.>"].map(ToOwned::to_owned).to_vec();
        let follower = Follower::start(bus.clone(), "operator-scenario", LEDGER, subjects, Start::Beginning);
        let pulse = tokio::spawn(pulse(system.run()["simulator"].as_str().unwrap_or_default().to_owned()));
        let stage = Self { system, desk, bus, witness: Mutex::new(Witness { follower, stored: Vec::new() }), pulse };
        until("what the exchanges allow is known", LIMIT, async || {
            let record = stage.read().await;
            let known = |venue: &Venue| {
                let told = record.iter().filter(|each| each.subject == subject::instruments(*venue));
                told.filter_map(|each| each.decode::<InstrumentFilters>().ok())
                    .any(|told| told.symbols.contains_key(market_of(*venue).0))
            };
            if VENUES.iter().all(known) { Ok(()) } else { Err(format!("{} messages", record.len())) }
        })
        .await;
        stage
    }

    /// Places an order until it is answered, and returns its id. It must be approved.
    pub async fn place(&self, key: &str, order: &Value) -> OrderId {
        let answer = self.ask(key, order).await;
        assert_eq!(answer.json()["approved"], true, "{key}: {answer:?}");
        OrderId::derive("manual", key)
    }

    /// Places an order until there is a verdict.
    pub async fn ask(&self, key: &str, order: &Value) -> Answer {
        until("the order is decided", LIMIT, async || {
            let answer = self.desk.order(key, order).await?;
            if answer.status == 200 { Ok(answer) } else { Err(format!("{answer:?}")) }
        })
        .await
    }

    /// Everything that the LEDGER holds by now about orders.
    pub async fn stories(&self) -> BTreeMap<OrderId, Story> {
        stories(&self.read().await)
    }

    async fn read(&self) -> Vec<Delivery> {
        let mut witness = self.witness.lock().await;
        while let Ok(batch) = tokio::time::timeout(Duration::from_millis(1), witness.follower.next()).await {
            witness.stored.extend(batch.expect("a follower does not end by itself"));
        }
        witness.stored.clone()
    }

    /// Waits until an order's story is as wanted.
    pub async fn until(&self, what: &str, order: &OrderId, is_so: impl Fn(&Story) -> bool) -> Story {
        until(&format!("{order}: {what}"), LIMIT, async || {
            let story = self.stories().await.remove(order).unwrap_or_default();
            if is_so(&story) { Ok(story) } else { Err(told(&story)) }
        })
        .await
    }

    /// Waits until an order is in this state.
    pub async fn until_state(&self, order: &OrderId, state: OrderState) -> Story {
        self.until(state.as_str(), order, |story| story.state() == Some(state)).await
    }

    /// Waits until an order is filled; whether it is settled already does not matter.
    pub async fn until_filled(&self, order: &OrderId) -> Story {
        self.until("filled", order, |story| matches!(story.state(), Some(OrderState::Filled | OrderState::Settled))).await
    }

    /// How an order stands in the LEDGER right now.
    pub async fn story(&self, order: &OrderId) -> Story {
        self.stories().await.remove(order).unwrap_or_default()
    }

    /// Waits for the first comparison with an exchange, from this ledger sequence on, that is as wanted.
    pub async fn until_compared(
        &self,
        what: &str,
        venue: Venue,
        after: u64,
        is_so: impl Fn(&Reconciliation) -> bool,
    ) -> Reconciliation {
        until(&format!("{venue}: {what}"), LIMIT, async || {
            let record = self.read().await;
            let later = record.iter().filter(|each| each.sequence > after && each.subject == subject::reconciliation(venue));
            let mut all: Vec<Reconciliation> = later.filter_map(|each| each.decode().ok()).collect();
            match all.iter().position(&is_so) {
                Some(at) => Ok(all.swap_remove(at)),
                None => Err(format!("{:?}", all.last())),
            }
        })
        .await
    }

    /// The LEDGER's end as far as it concerns orders.
    pub async fn sequence(&self) -> u64 {
        self.read().await.last().map_or(0, |last| last.sequence)
    }

    /// The exchange's own log.
    pub async fn log(&self, venue: Venue) -> Value {
        self.system.simulator(Method::GET, &format!("/sim/orders?exchange={venue}"), None).await
    }

    /// What the exchange's log says about one order.
    pub async fn log_of(&self, venue: Venue, order: &OrderId) -> Value {
        self.system.simulator(Method::GET, &format!("/sim/orders?exchange={venue}&client_id={}", order.client_id()), None).await
    }

    /// How often an order arrived at the exchange, whatever became of it.
    pub async fn submits(&self, venue: Venue, order: &OrderId) -> usize {
        self.log_of(venue, order).await["submits"].as_array().map_or(0, Vec::len)
    }

    /// Waits until the exchange has an order.
    pub async fn until_arrived(&self, venue: Venue, order: &OrderId) {
        until(&format!("{venue} has {order}"), LIMIT, async || {
            let log = self.log_of(venue, order).await;
            if log["orders"].as_array().is_some_and(|orders| !orders.is_empty()) { Ok(()) } else { Err(log.to_string()) }
        })
        .await;
    }

    /// Somebody takes this much of a resting order.
    pub async fn fill(&self, venue: Venue, order: &OrderId, quantity: &str) {
        let body = json!({ "exchange": venue, "client_id": order.client_id(), "quantity": quantity });
        self.system.simulator(Method::POST, "/sim/orders/fill", Some(body)).await;
    }

    /// Sets a fault at an exchange.
    pub async fn fault(&self, venue: Venue, mut fault: Value) -> u64 {
        fault["exchange"] = json!(venue);
        let answer = self.system.fault(fault).await;
        answer["id"].as_u64().unwrap_or_else(|| panic!("a fault has an id: {answer}"))
    }

    /// Counts questions about single orders from now on: a fault that does nothing worth mentioning.
    pub async fn count_questions(&self, venue: Venue) -> u64 {
        self.fault(venue, json!({ "kind": "delay", "ms": 1, "method": "GET", "path": question(venue) })).await
    }

    /// The next submit is on its way for a while before the exchange looks at it.
    pub async fn delay_submit(&self, venue: Venue) {
        let path = if venue == Venue::Btcturk { "/api/v1/order" } else { "/api/v3/order" };
        let fault = json!({ "kind": "delay", "ms": SUBMIT_DELAY.as_millis(), "method": "POST", "path": path, "n": 1 });
        self.fault(venue, fault).await;
    }

    /// How often a fault has struck.
    pub async fn hits(&self, fault: u64) -> u64 {
        let all = self.system.simulator(Method::GET, "/sim/faults", None).await;
        let mut rows = all.as_array().into_iter().flatten();
        rows.find(|row| row["id"] == fault).and_then(|row| row["hits"].as_u64()).unwrap_or_default()
    }

    /// Takes one fault away.
    pub async fn heal(&self, fault: u64) {
        self.system.simulator(Method::DELETE, &format!("/sim/faults/{fault}"), None).await;
    }

    /// Waits until a fault has struck so often.
    pub async fn until_hit(&self, what: &str, fault: u64, times: u64) {
        until(what, LIMIT, async || match self.hits(fault).await {
            hits if hits >= times => Ok(()),
            hits => Err(format!("{hits} of {times}")),
        })
        .await;
    }

    /// Lifts the halt of an exchange as an operator does.
    pub async fn resume(&self, venue: Venue, reason: &str) {
        let body = json!({ "scope": venue, "reason": reason, "confirm": true });
        let answer = self.desk.post("/api/exec/resume", None, &body).await.expect("the gateway answers");
        assert!((200..300).contains(&answer.status), "{answer:?}");
    }

    /// Takes an order back as an operator does.
    pub async fn cancel(&self, order: &OrderId) {
        let path = format!("/api/exec/orders/{order}/cancel");
        let answer = self.desk.post(&path, None, &json!({ "reason": "test" })).await.expect("the gateway answers");
        assert!((200..300).contains(&answer.status), "{answer:?}");
    }

    /// Where a process keeps what it knows.
    pub fn folder(&self, process: &str) -> PathBuf {
        self.system.data().join(process)
    }

    /// The end of every scenario: each order has come to an end, and both records tell the same story.
    pub async fn prove(&self) -> BTreeMap<OrderId, Story> {
        let record = until("every order has come to an end", LIMIT, async || {
            let record = record(&self.bus).await;
            let open = unfinished(&stories(&record));
            if open.is_empty() { Ok(record) } else { Err(open.join("; ")) }
        })
        .await;
        let stories = stories(&record);
        assert_eq!(self.problems(&stories).await, Vec::<String>::new());
        stories
    }

    /// Everything in which the two records differ, or that cannot be.
    pub async fn problems(&self, stories: &BTreeMap<OrderId, Story>) -> Vec<String> {
        let mut problems = ledger_problems(stories);
        for venue in VENUES {
            problems.extend(exchange_problems(stories, venue, &self.log(venue).await));
        }
        problems
    }
}

/// Where questions about single orders go.
pub fn question(venue: Venue) -> &'static str {
    match venue {
        // By client id; `/api/v1/order/<id>` once the id is known.
        Venue::Btcturk => "/api/v1/allOrders",
        Venue::Binance | Venue::Bist => "/api/v3/order",
    }
}

/// A buy that rests in the book.
pub fn resting(venue: Venue, quantity: &str) -> Value {
    let price = if venue == Venue::Btcturk { "1950000" } else { "59000" };
    limit(venue.as_str(), market_of(venue).0, "buy", quantity, price, "gtc")
}

/// A sell that is filled at once.
pub fn selling(venue: Venue, quantity: &str) -> Value {
    market(venue.as_str(), market_of(venue).0, "sell", quantity)
}

/// All steps of an order.
pub fn steps(story: &Story) -> Vec<&Step> {
    story.events.iter().flat_map(|event| &event.steps).collect()
}

/// All states that an order went through, with how each is known.
pub fn path(story: &Story) -> Vec<(OrderState, Evidence)> {
    steps(story).into_iter().map(|step| (step.state, step.evidence)).collect()
}

/// A story in short, for a wait that tells what it saw.
pub fn told(story: &Story) -> String {
    let steps: Vec<String> = steps(story)
        .into_iter()
        .map(|step| format!("{} by {:?} ({})", step.state, step.evidence, step.reason.as_deref().unwrap_or("-")))
        .collect();
    format!("{} verdicts; {}", story.verdicts.len(), steps.join(", "))
}
