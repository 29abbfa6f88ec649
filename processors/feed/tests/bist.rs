//! Borsa Istanbul by polling: the feed, the simulated vendor and a real broker, with everything that goes wrong between them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod harness;

use std::path::{Path, PathBuf};

use harness::{Feed, LIMIT, read, status_until};
use spark_bus_schema::candles::MarketSnapshot;
use spark_bus_schema::market::{QuoteBatch, TickBatch};
use spark_bus_schema::session::Day;
use spark_bus_schema::shares::{is_on_tick, limits};
use spark_bus_schema::subject;
use spark_bus_schema::telemetry::{Call, FeedState, FeedStatus};
use spark_bus_schema::{Timestamp, Venue};
use spark_exchange_sim::{BistConfig as VendorConfig, DEMO_BIST_TOKEN, Sim};
use spark_feed::bist::BistConfig;
use spark_feed::bist::config::CalendarKind;
use spark_feed::{Config, VenueConfig};
use spark_nats::Bus;
use spark_nats::testing::TestBroker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn vendor(bist_vendor: VendorConfig) -> Sim {
    let config = spark_exchange_sim::Config { history_hours: 1, bist_vendor, ..spark_exchange_sim::Config::default() };
    spark_exchange_sim::start(config).await.unwrap()
}

/// A file with the key, in a folder of this test.
fn key_file(name: &str, key: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("spark-bist-{}-{name}", std::process::id()));
    std::fs::write(&path, key).unwrap();
    path
}

fn config(sim: &Sim, key: &Path, change: impl Fn(&mut BistConfig)) -> Config {
    let off = |defaults: VenueConfig| VenueConfig { enabled: false, ..defaults };
    let mut bist = BistConfig {
        base_url: Some(format!("http://{}", sim.bist_addr)),
        api_key_file: Some(key.to_owned()),
        symbols: ["THYAO.IS", "BIST:AKBNK", "GARAN"].map(str::to_owned).to_vec(),
        calendar: CalendarKind::Always,
        poll_interval_ms: 100,
        closed_poll_interval_ms: 100,
        pause_ms_max: 300,
        timeout_ms: 400,
        per_minute: 100_000,
        provider: "simulated".to_owned(),
        ..BistConfig::default()
    };
    change(&mut bist);
    Config { binance: off(VenueConfig::default()), btcturk: off(VenueConfig::btcturk()), bist }
}

fn said(status: &FeedStatus, part: &str) -> bool {
    status.detail.as_deref().is_some_and(|detail| detail.contains(part))
}

/// Takes a hand in the vendor's rows and clock.
async fn hand(sim: &Sim, body: &str) {
    let mut socket = TcpStream::connect(sim.admin_addr).await.unwrap();
    let head = format!("POST /sim/bist HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    socket.write_all((head + body).as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LIMIT, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Once a state that fits was told after this moment.
async fn status_after(bus: &Bus, after: Timestamp, fits: impl Fn(&FeedStatus) -> bool) {
    status_until(bus, Venue::Bist, |status| status.since >= after && fits(status)).await;
}

#[tokio::test]
async fn shares_become_snapshots_trades_and_quotes_and_another_run_goes_on() {
    let (broker, sim) =
        (TestBroker::start().await, vendor(VendorConfig { per_minute: 100_000, ..VendorConfig::default() }).await);
    let key = key_file("flow", DEMO_BIST_TOKEN);
    let bus = broker.bus("operator").await;
    let feed = Feed::start(&broker, config(&sim, &key, |_| {})).await;
    let status = status_until(&bus, Venue::Bist, |status| status.state == FeedState::Live && status.symbols.len() == 3).await;
    assert_eq!(status.symbols, ["THYAO", "AKBNK", "GARAN"], "in the session every share is promised");
    for symbol in ["THYAO", "AKBNK"] {
        let all = read::<MarketSnapshot>(&bus, subject::snapshot(Venue::Bist, symbol), |all| all.len() >= 4).await;
        for one in &all {
            let (low, high) = limits(one.prev_close.unwrap()).unwrap();
            assert!(is_on_tick(one.last) && low <= one.last && one.last <= high, "{one:?}");
            assert_eq!((one.delay_minutes, one.provider.as_str(), one.status.as_str()), (0, "simulated", "continuous"));
        }
        assert!(all.windows(2).all(|pair| pair[0].occurred_at <= pair[1].occurred_at));
    }
    let ids = |batches: &[TickBatch]| -> Vec<u64> { batches.iter().flat_map(|batch| batch.trade_id.clone()).collect() };
    let target = subject::ticks(Venue::Bist, "THYAO");
    let trades = read::<TickBatch>(&bus, target.clone(), |batches| batches.len() >= 3).await;
    let before = ids(&trades);
    let quotes = read::<QuoteBatch>(&bus, subject::quotes(Venue::Bist, "THYAO"), |batches| batches.len() >= 3).await;
    assert!(quotes.iter().filter_map(QuoteBatch::last).all(|quote| quote.bid_price.to_decimal() < quote.ask_price.to_decimal()));
    feed.stop().await;
    let feed = Feed::start(&broker, config(&sim, &key, |_| {})).await;
    let all = ids(&read::<TickBatch>(&bus, target, |batches| batches.len() >= before.len() + 3).await);
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
    // The volume between any two trades is the later one's quantity: nothing is counted twice, over both runs.
    let whole = read::<TickBatch>(&bus, subject::ticks(Venue::Bist, "THYAO"), |batches| batches.len() >= before.len() + 3).await;
    let rows: Vec<_> = whole.iter().flat_map(|batch| batch.rows().collect::<Vec<_>>()).collect();
    for pair in rows.windows(2).filter(|pair| Day::of(pair[0].occurred_at) == Day::of(pair[1].occurred_at)) {
        assert_eq!(pair[1].quantity.to_decimal(), (pair[1].trade_id - pair[0].trade_id).into(), "{pair:?}");
    }
    feed.stop().await;
}

#[tokio::test]
async fn every_fault_is_told_and_ends_by_itself_and_a_bad_row_costs_its_neighbours_nothing() {
    let (broker, sim) =
        (TestBroker::start().await, vendor(VendorConfig { per_minute: 100_000, ..VendorConfig::default() }).await);
    let key = key_file("faults", DEMO_BIST_TOKEN);
    let bus = broker.bus("operator").await;
    let feed = Feed::start(&broker, config(&sim, &key, |_| {})).await;
    let live = |status: &FeedStatus| status.state == FeedState::Live;
    status_until(&bus, Venue::Bist, live).await;
    for (fault, says) in [
        (r#""kind":"delay","ms":1000"#, "no answer within 400 ms"),
        (r#""kind":"status","code":503"#, "HTTP 503"),
        (r#""kind":"status","code":429,"retry_after":1"#, "HTTP 429"),
        (r#""kind":"status","code":401"#, "HTTP 401"),
        (r#""kind":"drop""#, "the connection broke"),
        (r#""kind":"garbage","variant":"truncated""#, "unreadable answer"),
    ] {
        let began = spark_nats::now();
        sim.set_fault(&format!(r#"{{"exchange":"bist",{fault},"n":1}}"#)).unwrap();
        status_after(&bus, began, |status| status.state == FeedState::Reconnecting && said(status, says)).await;
        status_after(&bus, began, live).await;
    }
    for (fields, says) in [
        (r#""last":"77.01""#, "last 77.01 is not a multiple of the price step 0.05"),
        (r#""last":5000"#, "outside of the day's limits"),
        (r#""time":"2036-01-01T00:00:00Z""#, "in the future"),
        (r#""time":1"#, "went back"),
        (r#""last":"NaN""#, "NaN"),
        (r#""symbol":"NOSUCH""#, "NOSUCH, which was not asked for"),
    ] {
        hand(&sim, &format!(r#"{{"hold":{{"symbol":"AKBNK","row":{{{fields}}}}}}}"#)).await;
        let rejected = status_until(&bus, Venue::Bist, |status| said(status, says)).await.frames_rejected;
        assert!(rejected > 0);
        let now = spark_nats::now();
        let neighbour = subject::snapshot(Venue::Bist, "THYAO");
        read::<MarketSnapshot>(&bus, neighbour, |all| all.last().is_some_and(|one| one.received_at > now)).await;
        hand(&sim, r#"{"release":"AKBNK"}"#).await;
        read::<MarketSnapshot>(&bus, subject::snapshot(Venue::Bist, "AKBNK"), |all| {
            all.last().is_some_and(|one| one.received_at > now)
        })
        .await;
    }
    hand(&sim, r#"{"rename":{"from":"GARAN","to":"GRNTI"}}"#).await;
    status_until(&bus, Venue::Bist, |status| said(status, "GARAN: not in the vendor's answer")).await;
    let calls = read::<Call>(&bus, subject::calls(Venue::Bist), |calls| calls.iter().filter(|call| !call.ok).count() >= 6).await;
    let failed: Vec<_> = calls.iter().filter_map(|call| call.error_type.as_deref()).collect();
    assert_eq!(failed[..6], ["timeout", "server", "ratelimit", "auth", "network", "parse"]);
    feed.stop().await;
}

#[tokio::test]
async fn a_refused_key_is_read_again_from_its_file_and_is_never_told() {
    let (broker, sim) = (TestBroker::start().await, vendor(VendorConfig::default()).await);
    let key = key_file("rotation", "an-old-key-that-has-expired");
    let bus = broker.bus("operator").await;
    let feed = Feed::start(&broker, config(&sim, &key, |_| {})).await;
    let refused = status_until(&bus, Venue::Bist, |status| said(status, "HTTP 401")).await;
    assert!(!format!("{refused:?}").contains("an-old-key"), "{refused:?}");
    std::fs::write(&key, DEMO_BIST_TOKEN).unwrap();
    status_until(&bus, Venue::Bist, |status| status.state == FeedState::Live).await;
    feed.stop().await;
}

#[tokio::test]
async fn a_delayed_vendor_is_marked_and_gives_snapshots_alone() {
    let (broker, sim) = (TestBroker::start().await, vendor(VendorConfig { delay_minutes: 15, ..VendorConfig::default() }).await);
    let key = key_file("delayed", DEMO_BIST_TOKEN);
    let bus = broker.bus("operator").await;
    let feed = Feed::start(&broker, config(&sim, &key, |bist| bist.delay_minutes = 15)).await;
    let status = status_until(&bus, Venue::Bist, |status| said(status, "delayed by 15 minutes")).await;
    assert_eq!(status.state, FeedState::Live, "its delay alone is no fault");
    assert!(!said(&status, "behind"), "{status:?}");
    let all = read::<MarketSnapshot>(&bus, subject::snapshot(Venue::Bist, "THYAO"), |all| all.len() >= 3).await;
    for one in all {
        assert_eq!(one.delay_minutes, 15);
        let age_s = one.received_at.since_ms(one.occurred_at) / 1_000;
        assert!((890..960).contains(&age_s), "{age_s} s");
    }
    for target in [subject::ticks(Venue::Bist, "THYAO"), subject::quotes(Venue::Bist, "THYAO")] {
        assert!(bus.last(subject::FEED, &target).await.unwrap().is_none(), "{target}");
    }
    feed.stop().await;
}

#[tokio::test]
async fn outside_the_session_the_vendor_is_asked_and_nothing_is_promised() {
    let (broker, sim) = (TestBroker::start().await, vendor(VendorConfig::default()).await);
    let key = key_file("closed", DEMO_BIST_TOKEN);
    let bus = broker.bus("operator").await;
    // Whatever day this runs on is a holiday.
    let today = Day::of(spark_nats::now());
    let closed = move |bist: &mut BistConfig| {
        bist.calendar = CalendarKind::Exchange;
        bist.holidays = (-1..=1).map(|days| today.plus(days)).collect();
    };
    let feed = Feed::start(&broker, config(&sim, &key, closed)).await;
    let status = status_until(&bus, Venue::Bist, |status| status.state == FeedState::Live).await;
    assert_eq!(status.symbols, Vec::<String>::new());
    let first = read::<MarketSnapshot>(&bus, subject::snapshot(Venue::Bist, "THYAO"), |all| !all.is_empty()).await;
    assert_eq!(first[0].symbol, "THYAO");
    feed.stop().await;
}
