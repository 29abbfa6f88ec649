//! A gateway that goes on from its checkpoint shows what one shows that has read the whole LEDGER; and a checkpoint that does
//! not fit is none.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::history::{History, Told, by_hand};
use common::{bounded, get, roomy, send, until};
use spark_bus_schema::session::Calendar;
use spark_bus_schema::subject::LEDGER;
use spark_bus_schema::{OrderId, Timestamp};
use spark_gateway::Config;
use spark_gateway::view::saved::Saved;
use spark_gateway::view::{Limits, View};
use spark_nats::checkpoint::{Checkpoint, Saved as Row};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Meta};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const BY_HAND: &str =
    r#"{"exchange":"binance","symbol":"BTCUSDT","side":"buy","type":"limit","quantity":"0.010","price":61837.62}"#;

/// Counters begin with the process: what was stored before it does not count.
fn view(started_at: Timestamp) -> View {
    let limits =
        Limits { expected: Vec::new(), demo: true, market_age_ms_max: 1, portfolio_age_ms_max: 1, calendar: Calendar::default() };
    View::new(started_at, limits)
}

#[test]
fn a_view_that_is_saved_and_restored_anywhere_goes_on_as_if_nothing_had_happened() {
    const MESSAGES: u64 = 40_000;
    for seed in [1, 2] {
        let mut history = History::new(seed);
        let (end, mut unreadable) = (Timestamp::from_millis(1_900_000_000_000), BTreeMap::new());
        let (mut whole, mut restarted) = (view(end), view(end));
        let mut restarts = 0;
        while history.sequence() < MESSAGES {
            let told = history.next();
            // Hours go by, and the oldest of them are forgotten.
            let at = Timestamp::from_millis(1_800_000_000_000 + i64::try_from(history.sequence()).unwrap() * 5_000);
            match told.event(history.sequence()) {
                Ok(event) => {
                    whole.apply(at, event.clone());
                    restarted.apply(at, event);
                }
                Err(error) => {
                    whole.count_unreadable(error.reason());
                    restarted.count_unreadable(error.reason());
                    *unreadable.entry(error.reason()).or_default() += 1;
                }
            }
            if history.below(5_000) == 0 || history.sequence() == MESSAGES {
                let bytes = restarted.to_save(unreadable.clone()).encode();
                restarted = view(end);
                restarted.restore(Saved::decode(&bytes).unwrap(), at);
                restarts += 1;
            }
        }
        assert!(restarts > 3, "seed {seed}");
        let state = |view: &View| view.to_save(unreadable.clone()).encode();
        assert!(state(&whole) == state(&restarted), "seed {seed}: other states");
        let seen = |view: &View| {
            let trading = &view.trading;
            let counts = (trading.orders.len(), trading.open_count(), trading.illegal().clone());
            (counts, view.overflow(), view.unreadable().clone(), view.newest(), view.day.sums(view.newest()))
        };
        assert_eq!(seen(&whole), seen(&restarted), "seed {seed}");
        let ((orders, open, illegal), _, unread, ..) = seen(&whole);
        assert!(orders == 2_000 && open > 0 && !illegal.is_empty() && unread["malformed"] > 0, "{orders} {open} {illegal:?}");
        let bytes = state(&whole);
        assert!(Saved::decode(&bytes[..bytes.len() / 2]).is_err() && Saved::decode(&bytes[1..]).is_err());
    }
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), spark_gateway::Error>>,
    file: PathBuf,
}

/// A gateway whose checkpoint is in that folder, from the first moment.
async fn begin(broker: &TestBroker, folder: &str) -> Running {
    let token = broker.dir().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let config = Config { admin_token_file: Some(token), expected: Vec::new(), ..roomy() };
    let service = broker.service_in("gateway", folder).await;
    let (stop, file) = (service.shutdown.clone(), service.data_dir.join("checkpoint.sqlite"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Running { address, stop, file, task: tokio::spawn(spark_gateway::serve(listener, service, config)) }
}

/// As [`begin`], and it has read the LEDGER to its end.
async fn start(broker: &TestBroker, folder: &str) -> Running {
    let running = begin(broker, folder).await;
    until("the LEDGER is read", async || {
        let answer = get(running.address, "/api/exec/orders?limit=1").await;
        if answer.json()["complete"] == true { Ok(()) } else { Err(answer.body) }
    })
    .await;
    running
}

impl Running {
    async fn stop(self) -> PathBuf {
        self.stop.cancel();
        bounded("the gateway stops", self.task).await.unwrap().unwrap();
        self.file
    }

    /// Without a last save.
    async fn kill(self) -> PathBuf {
        self.task.abort();
        let _ = self.task.await;
        self.file
    }

    /// Until everything up to a place is in the file.
    async fn saved(&self, sequence: u64) {
        until("a checkpoint", async || {
            let row = row(&self.file);
            if place(&row) >= sequence { Ok(()) } else { Err(format!("{} of {sequence}", place(&row))) }
        })
        .await;
    }

    /// What it answers to everything that follows from the LEDGER.
    async fn answers(&self, orders: &[OrderId]) -> BTreeMap<String, String> {
        let paths = [
            "/api/exec/orders?limit=500",
            "/api/exec/positions",
            "/api/exec/strategies",
            "/api/exec/kill-switch",
            "/api/exec/limits",
            "/api/exec/reconciliation",
            "/api/actions/log",
            "/api/notifications",
            "/api/alerts",
            "/api/public/smoke-last",
            "/api/v2/alerts",
            "/api/v2/alerts/groups",
            "/api/v2/receivers",
            "/api/v2/silences",
            "/api/rollout",
            "/api/strategies",
            "/api/backtest",
        ];
        let paths = paths.map(str::to_owned).into_iter();
        let mut answers = BTreeMap::new();
        for path in paths.chain(orders.iter().map(|order| format!("/api/exec/orders/{order}"))) {
            let answer = get(self.address, &path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            answers.insert(path, timeless(&answer.body));
        }
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("Authorization", bearer.as_str()), ("X-Idempotency-Key", "by-hand")];
        for (line, body) in [("POST /api/exec/order", BY_HAND), ("POST /api/audit/list", r#"{"limit":500}"#)] {
            let answer = send(self.address, line, &headers, body).await;
            assert_eq!(answer.status, 200, "{line}: {}", answer.body);
            answers.insert(line.to_owned(), answer.body);
        }
        let totals = get(self.address, "/metrics").await.body;
        let totals = totals.lines().filter(|line| !line.starts_with('#') && !VOLATILE.iter().any(|word| line.contains(word)));
        answers.insert("/metrics".to_owned(), totals.collect::<Vec<_>>().join("\n"));
        answers
    }
}

/// Without the moment at which an alert that still fires is taken to end: it is made of the time of the request.
fn timeless(body: &str) -> String {
    let mut parts = body.split("\"endsAt\":\"");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + part.split_once('"').unwrap().1)
}

/// Parts of names in `/metrics` that tell of this process and this moment.
const VOLATILE: [&str; 6] =
    ["spark_stream_", "spark_consumer_", "spark_process_", "spark_bus_publish", "spark_last_update", "http_request"];

fn row(file: &Path) -> Row {
    Checkpoint::open(file).unwrap().load().unwrap().unwrap_or_default()
}

fn place(row: &Row) -> u64 {
    row.cursors.get(LEDGER).map_or(0, |cursor| cursor.sequence)
}

/// Those who write.
struct Writers(BTreeMap<&'static str, Bus>);

impl Writers {
    async fn new(broker: &TestBroker) -> Self {
        let mut buses = BTreeMap::new();
        for user in ["strategy", "risk", "executor", "auditor", "operator", "rollout", "backtest"] {
            buses.insert(user, broker.bus(user).await);
        }
        Self(buses)
    }

    async fn store(&self, told: Told) -> u64 {
        let bus = &self.0[told.user()];
        bounded(&told.subject, bus.store_kind(&told.subject, told.kind, told.payload, Meta::default())).await.unwrap()
    }

    async fn tell(&self, history: &mut History, count: usize) {
        for _ in 0..count {
            self.store(history.next()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kills_a_gateway_answers_as_one_that_has_read_everything() {
    let broker = TestBroker::start().await;
    let (writers, mut history) = (Writers::new(&broker).await, History::new(7));
    let mut newest = 0;
    for told in by_hand("by-hand", 1) {
        newest = writers.store(told).await;
    }
    for round in 0..6 {
        writers.tell(&mut history, 60).await;
        newest = newest.max(writers.0["operator"].bounds(LEDGER).await.unwrap().1);
        let gateway = if round % 3 == 2 { begin(&broker, "gateway").await } else { start(&broker, "gateway").await };
        let count = 1 + history.below(60);
        writers.tell(&mut history, count).await;
        match round % 3 {
            // Killed with a checkpoint behind it and messages after it,
            0 => {
                gateway.saved(newest).await;
                gateway.kill().await;
            }
            // stopped in order,
            1 => {
                let file = gateway.stop().await;
                assert!(place(&row(&file)) > newest, "the last word is saved");
            }
            // killed whatever it does.
            _ => _ = gateway.kill().await,
        }
    }
    let orders: Vec<OrderId> = history.orders().take(40).collect();
    let resumed = start(&broker, "gateway").await;
    let from_checkpoint = resumed.answers(&orders).await;
    let resumed = row(&resumed.stop().await);
    let whole = start(&broker, "whole").await;
    let from_beginning = whole.answers(&orders).await;
    let whole = row(&whole.stop().await);
    for (path, answer) in &from_beginning {
        assert_eq!(from_checkpoint.get(path), Some(answer), "{path}");
    }
    assert!(resumed.cursors == whole.cursors && resumed.state == whole.state, "other states, answers alike");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_does_not_fit_is_dropped_and_everything_is_read() {
    let broker = TestBroker::start().await;
    let (writers, mut history) = (Writers::new(&broker).await, History::new(8));
    writers.tell(&mut history, 40).await;
    let early = row(&start(&broker, "gateway").await.stop().await);
    writers.tell(&mut history, 40).await;
    let file = start(&broker, "gateway").await.stop().await;
    let right = row(&file);
    let cursor = right.cursors[LEDGER];
    let save = |state: Vec<u8>, later: Duration, sequence: u64| {
        let mut row = Row { state, ..right.clone() };
        let place = row.cursors.get_mut(LEDGER).unwrap();
        (place.sequence, place.stored_at) = (sequence, cursor.stored_at + later);
        Checkpoint::open(&file).unwrap().save(&row).unwrap();
    };
    let cut = |state: &[u8]| state[..state.len() - 1].to_vec();
    let (nothing, late) = (Duration::ZERO, Duration::from_nanos(1));
    let cases: [(&str, &dyn Fn()); 5] = [
        ("another message", &|| save(early.state.clone(), late, cursor.sequence)),
        ("a place that is not there", &|| save(early.state.clone(), nothing, cursor.sequence + 1_000)),
        ("bytes are missing", &|| save(cut(&early.state), nothing, cursor.sequence)),
        ("another layout", &|| save(early.state[1..].to_vec(), nothing, cursor.sequence)),
        ("no database", &|| std::fs::write(&file, vec![7; 10_000]).unwrap()),
    ];
    for (case, spoil) in cases {
        spoil();
        let after = row(&start(&broker, "gateway").await.stop().await);
        assert!(
            after == right,
            "{case}: {} of {}, {} and {} bytes",
            place(&after),
            place(&right),
            after.state.len(),
            right.state.len()
        );
    }
    // One that fits is gone on from, whatever is in it: the second half of the LEDGER is not read again.
    save(early.state.clone(), nothing, cursor.sequence);
    let gateway = start(&broker, "gateway").await;
    let headers = [("Authorization", &*format!("Bearer {TOKEN}"))];
    let list = send(gateway.address, "POST /api/audit/list", &headers, r#"{"limit":1}"#).await;
    let newest = list.json()["items"][0]["sequence"].as_u64().unwrap();
    assert!(newest <= place(&early) && place(&early) < cursor.sequence, "{}", list.body);
    gateway.stop().await;
}
