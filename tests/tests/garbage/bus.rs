//! Garbage on every subject of the catalogue, between valid messages.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;
use serde_json::Value;
use spark_bus_schema::alerts::Alert;
use spark_bus_schema::control::{BreakerCommand, BreakerMode};
use spark_bus_schema::market::{Quote, QuoteBatch, Side, TickBatch, Trade};
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::telemetry::{Call, Heartbeat, REFRESH, Windows};
use spark_bus_schema::{Decimal, Fixed, Message, Timestamp, Venue, encode, header, subject};
use spark_nats::{Bus, Follower, Start};
use spark_tests::system::System;
use spark_tests::wait::until;

use crate::again::check_who_reads_it_again;
use crate::messages::{self, Garbage, changed};

const BINARY: &str = env!("CARGO_BIN_EXE_spark-under-test");
pub const LIMIT: Duration = Duration::from_secs(60);
/// The symbol of the valid trades between the garbage.
const NEIGHBOUR: &str = "NEIGHBOUR";
/// One symbol a venue, quick polls, an API that a test may poll, and one receiver of notifications. Nothing is restarted: the
/// valid neighbours speak of an exchange and of a process that are not there, so alerts about both are right.
const CONFIG: &str = "[feed.binance]\nsymbols = [\"BTCUSDT\"]\n[feed.btcturk]\nsymbols = [\"BTCTRY\"]\n\
    [portfolio.binance]\npoll_interval_ms = 500\n[portfolio.btcturk]\npoll_interval_ms = 500\n\
    [gateway]\nrate_per_second = 1000\nrate_burst = 1000\n\
    [guardrail.restart]\nenabled = false\n\
    [[notifier.receiver]]\nname = \"desk\"\ntype = \"file\"\npath = \"desk.jsonl\"\n";

/// Publishes with acknowledgement whatever it is given.
pub struct Vandal {
    streams: BTreeMap<&'static str, jetstream::Context>,
    published: u64,
}

impl Vandal {
    pub async fn of(system: &System) -> Self {
        let mut streams = BTreeMap::new();
        for &user in messages::PUBLISHERS {
            streams.insert(user, jetstream::new(system.bus(user).await.raw_client().clone()));
        }
        Self { streams, published: 0 }
    }

    /// The sequence it got.
    async fn publish(&mut self, user: &str, on: &str, kind: Option<&str>, payload: Vec<u8>) -> u64 {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(header::KIND, kind);
        }
        self.published += 1;
        let sent = self.streams[user].publish_with_headers(on.to_owned(), headers, payload.into()).await;
        let acknowledged = sent.unwrap_or_else(|error| panic!("{on}: {error}")).await;
        acknowledged.unwrap_or_else(|error| panic!("{on}: {error}")).sequence
    }

    async fn say<T: Message>(&mut self, on: &str, message: &T) -> u64 {
        self.publish("operator", on, Some(&T::KIND.to_string()), encode(message)).await
    }
}

/// `process stream:sequence reason`.
pub type ParkedKey = String;

fn key(process: &str, stream: &str, sequence: u64, reason: &str) -> ParkedKey {
    format!("{process} {stream}:{sequence} {reason}")
}

pub fn stream_of(on: &str) -> &'static str {
    match on.split('.').next() {
        Some("market" | "telemetry") => subject::FEED,
        Some("parked") => subject::PARKED,
        Some("jobs") => subject::JOBS,
        _ => subject::LEDGER,
    }
}

/// Runs the binary as an operator would.
fn spark(system: &System, arguments: &[&str]) -> String {
    let output = Command::new(BINARY).args(arguments).arg("--data").arg(system.data()).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{said}", output.status);
    String::from_utf8(output.stdout).expect("what is printed is text")
}

/// `spark parked ls --json`, one document a line.
pub fn parked_ls(system: &System) -> Vec<Value> {
    let printed = spark(system, &["parked", "ls", "--json"]);
    printed.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:.200}"))).collect()
}

pub fn key_of(document: &Value) -> Option<ParkedKey> {
    let parked = document.get("message").filter(|message| !message.is_null())?;
    let text = |name: &str| parked[name].as_str().unwrap_or_default();
    Some(key(text("process"), text("stream"), parked["sequence"].as_u64()?, text("reason")))
}

/// The counters of one family by one label's value.
async fn counters(system: &System, family: &str, label: &str) -> BTreeMap<String, u64> {
    let text = system.get("/metrics").await.expect("the gateway answers");
    let lines = text.lines().filter_map(|line| line.strip_prefix(family)?.strip_prefix('{'));
    lines
        .filter_map(|line| {
            let (labels, value) = line.rsplit_once("} ")?;
            let (_, rest) = labels.split_once(&format!("{label}=\""))?;
            Some((rest.split('"').next()?.to_owned(), value.parse().ok()?))
        })
        .collect()
}

async fn wait_until_everybody_reads(system: &System) {
    until("every reader has its first messages", LIMIT, async || {
        let prices = system.json("/api/prices").await?;
        let portfolio = system.json("/api/portfolio").await?;
        let series = system.json("/api/tools/metrics/timeseries?window=5m").await?;
        let fresh =
            portfolio["accounts"].as_array().is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["stale"] == false));
        let seen = prices["prices"].as_array().is_some_and(|rows| rows.len() >= 2);
        let charted = series["data"].as_array().is_some_and(|rows| !rows.is_empty());
        if fresh && seen && charted { Ok(()) } else { Err(format!("{prices} {portfolio} {series}")) }
    })
    .await;
}

fn fixed(text: &str) -> Fixed {
    Fixed::parse(text).expect("a plain decimal")
}

fn trades(symbol: &str, first_id: u64, count: u64) -> TickBatch {
    let mut batch = TickBatch::new(Venue::Binance, symbol);
    for trade_id in first_id..first_id + count {
        let at = spark_nats::now();
        let (price, quantity) = (fixed("10.25"), fixed("0.5"));
        batch.push(&Trade { trade_id, occurred_at: at, received_at: at, price, quantity, side: Side::Buy }).expect("it fits");
    }
    batch
}

fn slow_refresh() -> Call {
    Call {
        exchange: Venue::Bist,
        service: "portfolio".to_owned(),
        operation: REFRESH.to_owned(),
        started_at: spark_nats::now(),
        latency_us: 9_000_000,
        ok: true,
        error_type: None,
        http_status: Some(200),
        attempt: 1,
    }
}

/// One valid trade and one valid call after every piece of garbage. What is to be parked by the processes that run, and
/// what the gateway is to count.
pub async fn publish_between_neighbours(
    vandal: &mut Vandal,
    garbage: Vec<Garbage>,
    runs: impl Fn(&str) -> bool,
) -> (BTreeSet<ParkedKey>, BTreeMap<String, u64>) {
    let mut parked = BTreeSet::new();
    let mut unreadable = BTreeMap::new();
    for (number, piece) in garbage.into_iter().enumerate() {
        let kind = piece.kind.clone();
        let sequence = vandal.publish(piece.publisher(), &piece.subject, kind.as_deref(), piece.payload).await;
        for (process, reason) in piece.parked.into_iter().filter(|(process, _)| runs(process)) {
            let known = parked.insert(key(process, stream_of(&piece.subject), sequence, reason));
            assert!(known, "{} has a sequence of its own", piece.what);
        }
        if let Some(reason) = piece.gateway {
            *unreadable.entry(reason.to_owned()).or_insert(0) += 1;
        }
        let on = subject::ticks(Venue::Binance, NEIGHBOUR);
        vandal.say(&on, &trades(NEIGHBOUR, 1 + 2 * number as u64, 2)).await;
        vandal.say(&subject::calls(Venue::Bist), &slow_refresh()).await;
    }
    (parked, unreadable)
}

/// Values at the ends of their ranges, which are possible and must be taken.
async fn publish_extremes(vandal: &mut Vandal) {
    let mut batch = TickBatch::new(Venue::Bist, "EXTREME");
    let ends = [i64::MIN, i64::MAX].map(Timestamp::from_nanos);
    for (trade_id, at) in [(0, ends[0]), (u64::MAX, ends[1])] {
        let most = Fixed { mantissa: i64::MAX, scale: 0 };
        let trade = Trade { trade_id, occurred_at: at, received_at: at, price: most, quantity: most, side: Side::Sell };
        batch.push(&trade).expect("it fits");
    }
    batch.quantity.scale = 18;
    vandal.say(&subject::ticks(Venue::Bist, "EXTREME"), &batch).await;
    let mut quotes = QuoteBatch::new(Venue::Bist, "EXTREME");
    let most = Fixed { mantissa: i64::MAX, scale: 18 };
    let quote = Quote {
        update_id: u64::MAX,
        received_at: ends[0],
        bid_price: most,
        bid_quantity: Fixed::ZERO,
        ask_price: most,
        ask_quantity: most,
    };
    quotes.push(&quote).expect("it fits");
    vandal.say(&subject::quotes(Venue::Bist, "EXTREME"), &quotes).await;
    let call =
        Call { latency_us: u64::MAX, operation: "extreme".to_owned(), attempt: u32::MAX, started_at: ends[1], ..slow_refresh() };
    vandal.say(&subject::calls(Venue::Bist), &call).await;
    let beat = changed::<Heartbeat>(|beat| {
        beat.service = "extreme".to_owned();
        beat.resident_bytes = u64::MAX;
        (beat.started_at, beat.sent_at) = (ends[0], ends[1]);
        beat.counters = (0..10_000).map(|number| (format!("spark_extreme_{number}_total"), u64::MAX)).collect();
    });
    vandal.publish("operator", "telemetry.heartbeat.extreme", Some("heartbeat.v1"), beat).await;
    let balances = changed::<Balances>(|balances| {
        balances.exchange = Venue::Bist;
        (balances.polled_at, balances.updated_at, balances.refresh_us) = (ends[1], Some(ends[0]), u64::MAX);
        let row = &mut balances.balances[0];
        (row.free, row.locked, row.total) = (Decimal::MAX, Decimal::ZERO, Decimal::MAX);
        (row.usd_price, row.usd_value) = (Some(Decimal::new(1, 28)), Some(Decimal::MAX));
        balances.total_usd = Decimal::MAX;
    });
    vandal.publish("operator", &subject::balances(Venue::Bist), Some("balances.v1"), balances).await;
}

/// Valid messages of the other kinds, which must be seen at the end.
async fn publish_neighbours(vandal: &mut Vandal) {
    let balances = changed::<Balances>(|balances| {
        balances.exchange = Venue::Bist;
        (balances.stale, balances.error) = (false, None);
        balances.updated_at = Some(balances.polled_at);
    });
    vandal.publish("operator", &subject::balances(Venue::Bist), Some("balances.v1"), balances).await;
    let alert = changed::<Alert>(|alert| alert.name = "NeighbourAlert".to_owned());
    vandal.publish("operator", "alerts.changed.NeighbourAlert.binance", Some("alert.v1"), alert).await;
    let command = BreakerCommand {
        exchange: Venue::Btcturk,
        mode: BreakerMode::Open,
        actor: "operator".to_owned(),
        reason: "a valid neighbour".to_owned(),
        at: spark_nats::now(),
    };
    vandal.say(&subject::breaker(Venue::Btcturk), &command).await;
}

async fn counted(bus: &Bus, name: &str) -> u64 {
    let last = bus.last(subject::FEED, subject::WINDOWS).await.ok().flatten();
    let windows = last.and_then(|delivery| delivery.decode::<Windows>().ok());
    windows.and_then(|windows| windows.trades_counted.get(name).copied()).unwrap_or(0)
}

/// Ids of the trades that the feed stored of a symbol, in the stream's order; garbage between them is passed over.
async fn stored_ids(bus: &Bus, on: String) -> Vec<u64> {
    let mut follower = Follower::start(bus.clone(), "garbage-test", subject::FEED, vec![on], Start::Beginning);
    let mut ids = Vec::new();
    while !follower.is_caught_up() || ids.is_empty() {
        let batch = tokio::time::timeout(LIMIT, follower.next()).await.expect("FEED can be read").expect("open");
        for delivery in batch {
            if let Ok(ticks) = delivery.decode::<TickBatch>() {
                ids.extend(ticks.trade_id);
            }
        }
    }
    ids
}

/// Nobody died of what it read: every process is the one that was started first. Whoever writes on the subject of an epoch
/// moves the fence, with garbage too: then the holder of the lease stops by itself, and starts again with a new epoch.
pub fn assert_no_restarts(system: &System) {
    assert_no_restarts_since(system, 0);
}

/// The same for a system that was started again when it had printed so many bytes.
pub fn assert_no_restarts_since(system: &System, begin: usize) {
    let (run, printed) = (system.run(), system.printed().split_off(begin));
    for (name, process) in run["processes"].as_object().expect("processes") {
        let died = format!("{name} | died");
        let fenced = printed.lines().filter(|line| line.contains(&died) && line.contains("another process holds the lease"));
        assert_eq!(process["restarts"], fenced.count(), "{name}: {process}\n{printed}");
    }
}

#[tokio::test]
async fn garbage_on_every_subject_is_parked_alone_counted_and_visible() {
    let mut system = System::start(BINARY, CONFIG, &[]).await;
    wait_until_everybody_reads(&system).await;
    let bus = system.bus("operator").await;
    let before = stored_ids(&bus, subject::ticks(Venue::Binance, "BTCUSDT")).await.len();

    let mut garbage = messages::of_any_kind();
    garbage.extend(messages::impossible());
    let neighbours = 2 * garbage.len() as u64;
    let in_parked = garbage.iter().filter(|piece| piece.publisher() == "portfolio").count();
    let mut vandal = Vandal::of(&system).await;
    publish_extremes(&mut vandal).await;
    let run = system.run();
    let runs = |process: &str| run["processes"].get(process).is_some();
    let (want, unreadable) = publish_between_neighbours(&mut vandal, garbage, runs).await;
    publish_neighbours(&mut vandal).await;

    until("every valid trade between the garbage is counted", LIMIT, async || {
        let got = counted(&bus, &format!("binance.{NEIGHBOUR}")).await;
        if got == neighbours { Ok(()) } else { Err(format!("{got} of {neighbours}\n{}", system.printed())) }
    })
    .await;
    let total = want.len() + in_parked;
    let start = std::time::Instant::now();
    until("everything is parked", LIMIT, async || match bus.message_count(subject::PARKED).await {
        Ok(count) if count >= total as u64 => Ok(()),
        other if start.elapsed() < LIMIT * 3 / 4 => Err(format!("{other:?} of {total}")),
        // The list takes long, so it is looked at only when the test is about to fail.
        other => Err(format!("{other:?} of {total}; missing: {:?}", missing(&system, &want))),
    })
    .await;
    check_parked(&system, &want, total);
    check_counts(&system, &unreadable, total).await;
    check_neighbours(&system, &bus, before).await;
    let replayed = check_show_and_replay(&system, &bus, &want).await;
    assert_no_restarts(&system);
    drop((vandal, bus));
    check_who_reads_it_again(&mut system, replayed).await;
}

fn missing(system: &System, want: &BTreeSet<ParkedKey>) -> Vec<ParkedKey> {
    let got: BTreeSet<ParkedKey> = parked_ls(system).iter().filter_map(key_of).collect();
    want.difference(&got).cloned().collect()
}

/// `spark parked ls` shows every piece once, and nothing else.
fn check_parked(system: &System, want: &BTreeSet<ParkedKey>, total: usize) {
    let listed = parked_ls(system);
    let keys: Vec<ParkedKey> = listed.iter().filter_map(key_of).collect();
    let got: BTreeSet<ParkedKey> = keys.iter().cloned().collect();
    let missing: Vec<_> = want.difference(&got).collect();
    // The garbage in PARKED itself is listed too, as what cannot be read or with the sample's own figures.
    let surplus: Vec<_> = got.difference(want).filter(|key| !key.contains(" FEED:1234 ")).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing: {missing:?}, not expected: {surplus:?}");
    let twice = keys.iter().filter(|key| want.contains(*key)).count() - want.len();
    assert_eq!((twice, listed.len()), (0, total), "parked more than once, listed");
    for document in listed.iter().filter(|document| key_of(document).is_some_and(|key| want.contains(&key))) {
        let parked = &document["message"];
        let home = format!(
            "parked.{}.{}.{}",
            parked["process"].as_str().unwrap_or_default(),
            parked["stream"].as_str().unwrap_or_default(),
            parked["sequence"]
        );
        assert_eq!(document["subject"], home);
        assert!(parked["detail"].as_str().is_some_and(|detail| !detail.is_empty() && detail.len() < 1_000), "{parked:.300}");
    }
}

async fn check_counts(system: &System, unreadable: &BTreeMap<String, u64>, total: usize) {
    until("the gateway counts what it cannot read", LIMIT, async || {
        let got = counters(system, "spark_gateway_unreadable_total", "reason").await;
        if got == *unreadable { Ok(()) } else { Err(format!("{got:?} instead of {unreadable:?}")) }
    })
    .await;
    until("the parked messages are counted", LIMIT, async || {
        let public = system.json("/api/public/metrics").await?;
        let page = system.json("/api/processes").await?;
        let metric = counters(system, "spark_dlq_size", "service").await;
        let right = public["parked"] == total && page["parked"]["count"] == total && metric["guardrail"] == total as u64;
        if right { Ok(()) } else { Err(format!("{} {} {metric:?} instead of {total}", public["parked"], page["parked"])) }
    })
    .await;
    let beside = system.get("/metrics").await.expect("the gateway answers");
    assert!(!beside.contains("NaN"), "{beside}");
}

async fn check_neighbours(system: &System, bus: &Bus, before: usize) {
    until("the alerts that follow from the valid neighbours are decided", LIMIT, async || {
        let alerts = system.json("/api/alerts").await?;
        let fires = |name: &str, severity: &str| {
            let mut active = alerts["active"].as_array().into_iter().flatten();
            active.any(|alert| alert["name"] == name && alert["state"] == "firing" && alert["severity"] == severity)
        };
        let right = fires("PortfolioRefreshLatencyHighP95", "critical")
            && fires("ParkedMessages", "warning")
            && fires("NeighbourAlert", "critical");
        if right { Ok(()) } else { Err(alerts.to_string()) }
    })
    .await;
    until("the receiver is told of the valid neighbours, past the garbage in its queue", LIMIT, async || {
        let told = std::fs::read_to_string(system.data().join("notifier").join("desk.jsonl")).unwrap_or_default();
        let about = |name: &str| told.contains(&format!("\"alertname\":\"{name}\""));
        if about("NeighbourAlert") && about("PortfolioRefreshLatencyHighP95") { Ok(()) } else { Err(told) }
    })
    .await;
    until("the valid balances and the breaker command are obeyed", LIMIT, async || {
        let portfolio = system.json("/api/portfolio").await?;
        let of = |exchange: &str| {
            portfolio["accounts"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|one| one["exchange"] == exchange)
                .cloned()
                .unwrap_or_default()
        };
        // The digits as they were written: a float would have lost some.
        let digits = of("bist")["totals"]["totalUsd"].to_string();
        let right = digits == "30918.8156183763"
            && of("binance")["stale"] == false
            && of("btcturk")["error"]["message"].as_str().is_some_and(|why| why.contains("breaker"));
        if right { Ok(()) } else { Err(portfolio.to_string()) }
    })
    .await;
    // The windows of a far future, among the garbage, must not hide the ones that follow them.
    let asked_at = spark_nats::now().as_millis();
    until("windows go on to be charted", LIMIT, async || {
        let series = system.json("/api/tools/metrics/timeseries?window=5m&exchange=binance").await?;
        let points = series["data"].as_array().into_iter().flatten();
        let newest = points.filter(|row| row["p95_ms"].is_number()).filter_map(|row| row["ts"].as_i64()).max();
        let counted = counters(system, "spark_trades_counted_total", "symbol").await;
        let right = newest.is_some_and(|newest| newest > asked_at) && counted.contains_key(NEIGHBOUR);
        if right { Ok(()) } else { Err(format!("{counted:?} {series}")) }
    })
    .await;
    until("the feed goes on on the subject with the garbage", LIMIT, async || {
        let ids = stored_ids(bus, subject::ticks(Venue::Binance, "BTCUSDT")).await;
        let hole = ids.windows(2).find(|pair| pair[0] + 1 != pair[1]);
        assert!(hole.is_none(), "{hole:?} in {} trades", ids.len());
        if ids.len() > before + 20 { Ok(()) } else { Err(format!("{} trades after {before}", ids.len())) }
    })
    .await;
}

/// What an operator looks at is the original; what is published again is the original, and garbage again. The key of what
/// is parked no more.
async fn check_show_and_replay(system: &System, bus: &Bus, want: &BTreeSet<ParkedKey>) -> ParkedKey {
    let listed = parked_ls(system);
    let wanted = |document: &&Value| {
        let parked = &document["message"];
        parked["reason"] == "trailing_bytes" && parked["subject"] == "market.ticks.binance.BTCUSDT"
    };
    let document = listed.iter().find(wanted).expect("trailing bytes were parked");
    assert!(key_of(document).is_some_and(|key| want.contains(&key)));
    let (id, original) = (document["sequence"].to_string(), document["message"]["sequence"].as_u64().expect("a sequence"));
    let shown: Value = serde_json::from_str(&spark(system, &["parked", "show", &id, "--json"])).expect("JSON");
    assert_eq!(shown["original"]["sequence"], original);
    let for_people = spark(system, &["parked", "show", &id]);
    for part in ["trailing_bytes", "market.ticks.binance.BTCUSDT", "still there", "tick_batch.v1"] {
        assert!(for_people.contains(part), "{for_people} lacks {part}");
    }

    let said = spark(system, &["parked", "replay", &id]);
    let sequence: u64 = said
        .split("is now FEED:")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{said}"));
    let (old, new) =
        (bus.get(subject::FEED, original).await.expect("read"), bus.get(subject::FEED, sequence).await.expect("read"));
    let (old, new) = (old.expect("the original stays"), new.expect("it is there again"));
    assert_eq!((&old.subject, &old.kind, &old.payload), (&new.subject, &new.kind, &new.payload));
    assert_eq!(new.header(header::REPLAY_OF), Some(format!("FEED:{original}").as_str()));
    let [first, again] = [original, sequence].map(|sequence| key("guardrail", subject::FEED, sequence, "trailing_bytes"));
    until("it is parked again, in the place of the first", LIMIT, async || {
        let keys: Vec<ParkedKey> = parked_ls(system).iter().filter_map(key_of).collect();
        let gone = !keys.contains(&first);
        if gone && keys.contains(&again) { Ok(()) } else { Err(format!("gone: {gone}, {} parked", keys.len())) }
    })
    .await;
    first
}
