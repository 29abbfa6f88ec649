//! The feed on a real broker and real sockets.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod harness;
mod scripted;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use harness::{Feed, read};
use scripted::btcturk::{BtcTurk, ID};
use scripted::{Exchange, Row, later};
use spark_bus_schema::market::{Quote, QuoteBatch, Side, TickBatch, Trade};
use spark_bus_schema::subject::{self, FEED};
use spark_bus_schema::telemetry::{FeedState, FeedStatus};
use spark_bus_schema::{Fixed, Venue};
use spark_feed::{Config, VenueConfig};
use spark_nats::Bus;
use spark_nats::testing::TestBroker;

fn config(exchange: &Exchange) -> Config {
    let binance = VenueConfig {
        ws_url: format!("ws://127.0.0.1:{}", exchange.port),
        rest_url: format!("http://127.0.0.1:{}", exchange.port),
        symbols: vec!["BTCUSDT".to_owned()],
        reconnect_pause_ms_min: 20,
        reconnect_pause_ms_max: 100,
        rest_per_minute: Some(100_000),
        ..VenueConfig::default()
    };
    Config { binance, btcturk: VenueConfig { enabled: false, ..VenueConfig::btcturk() }, ..Config::default() }
}

async fn ticks_until(bus: &Bus, last: u64) -> Vec<Trade> {
    let target = subject::ticks(Venue::Binance, "BTCUSDT");
    let enough = |batches: &[TickBatch]| batches.last().is_some_and(|batch| batch.trade_id.last() >= Some(&last));
    read::<TickBatch>(bus, target, enough).await.iter().flat_map(|batch| batch.rows().collect::<Vec<_>>()).collect()
}

async fn expect_ids(bus: &Bus, ids: std::ops::RangeInclusive<u64>) {
    let trades = ticks_until(bus, *ids.end()).await;
    let got: Vec<u64> = trades.iter().map(|trade| trade.trade_id).collect();
    assert_eq!(got, ids.collect::<Vec<_>>());
    for trade in &trades {
        let row = Row::plain(trade.trade_id);
        let want = (row.price.to_decimal(), row.quantity.to_decimal(), row.millis);
        assert_eq!((trade.price.to_decimal(), trade.quantity.to_decimal(), trade.occurred_at.as_millis()), want);
    }
}

async fn status_until(bus: &Bus, enough: impl FnMut(&FeedStatus) -> bool) -> FeedStatus {
    harness::status_until(bus, Venue::Binance, enough).await
}

#[tokio::test]
async fn trades_that_no_frame_brought_are_fetched_before_the_newer_ones() {
    let broker = TestBroker::start().await;
    let mut exchange = Exchange::start().await;
    let feed = Feed::start(&broker, config(&exchange)).await;
    let bus = broker.bus("operator").await;
    exchange.connected(1).await;
    (1..=10).for_each(|id| exchange.trade(Row::plain(id)));
    (11..=2_500).for_each(|id| exchange.happen(Row::plain(id)));
    exchange.trade(Row::plain(2_501));
    exchange.send(Row::plain(7).frame());
    exchange.send(Row::plain(2_501).frame());
    exchange.trade(Row::plain(2_502));
    expect_ids(&bus, 1..=2_502).await;
    let status = status_until(&bus, |status| status.trades_filled >= 2_490 && status.state == FeedState::Live).await;
    assert_eq!((status.trades_missing, status.trades_filled, status.frames_rejected), (2_490, 2_490, 0), "{status:?}");
    feed.stop().await;
}

#[tokio::test]
async fn nothing_newer_is_published_while_missing_trades_cannot_be_fetched() {
    let broker = TestBroker::start().await;
    let mut exchange = Exchange::start().await;
    let feed = Feed::start(&broker, config(&exchange)).await;
    let bus = broker.bus("operator").await;
    exchange.connected(1).await;
    exchange.trade(Row::plain(1));
    expect_ids(&bus, 1..=1).await;
    exchange.rest_fails(true);
    exchange.happen(Row::plain(2));
    (3..=20).for_each(|id| exchange.trade(Row::plain(id)));
    let filling = |status: &FeedStatus| {
        status.state == FeedState::Filling && status.detail.as_ref().is_some_and(|text| text.contains("told to fail"))
    };
    status_until(&bus, filling).await;
    expect_ids(&bus, 1..=1).await;
    exchange.rest_fails(false);
    expect_ids(&bus, 1..=20).await;
    feed.stop().await;
}

#[tokio::test]
async fn garbage_is_counted_and_its_neighbours_are_published() {
    let broker = TestBroker::start().await;
    let mut exchange = Exchange::start().await;
    let feed = Feed::start(&broker, config(&exchange)).await;
    let bus = broker.bus("operator").await;
    exchange.connected(1).await;
    let garbage = [
        "nonsense".to_owned(),
        "{\"stream\":\"btcusdt@trade\"".to_owned(),
        Row::plain(2).frame().replace("\"p\":\"2\"", "\"p\":\"NaN\""),
        Row::plain(3).frame().replace("\"p\":\"3\"", "\"p\":\"-3\""),
        Row::plain(4).frame().replace("\"q\":\"0.25\",", ""),
        Row::plain(5).frame().replace("BTCUSDT", "ETHUSDT"),
    ];
    for (id, garbage) in (1..).zip(&garbage) {
        exchange.trade(Row::plain(id));
        exchange.send(garbage.clone());
    }
    expect_ids(&bus, 1..=6).await;
    let status = status_until(&bus, |status| status.frames_rejected >= 6).await;
    assert_eq!((status.frames_rejected, status.reconnects), (6, 0), "{status:?}");
    // A frame of 10 MB ends the connection, and nothing else.
    exchange.send("x".repeat(10_000_000));
    exchange.connected(2).await;
    (7..=9).for_each(|id| exchange.trade(Row::plain(id)));
    expect_ids(&bus, 1..=9).await;
    status_until(&bus, |status| status.frames_rejected == 7 && status.reconnects == 1).await;
    feed.stop().await;
}

#[tokio::test]
async fn an_impossible_trade_id_does_not_stop_the_others() {
    let broker = TestBroker::start().await;
    let mut exchange = Exchange::start().await;
    let feed = Feed::start(&broker, config(&exchange)).await;
    let bus = broker.bus("operator").await;
    exchange.connected(1).await;
    exchange.trade(Row::plain(1));
    exchange.send(Row::plain(1).frame().replace("\"t\":1,", "\"t\":9000000000000000000,"));
    exchange.send(Row::plain(1).frame().replace("\"t\":1,", "\"t\":500000,"));
    (2..=5).for_each(|id| exchange.trade(Row::plain(id)));
    expect_ids(&bus, 1..=5).await;
    status_until(&bus, |status| status.state == FeedState::Live).await;
    (6..=8).for_each(|id| exchange.trade(Row::plain(id)));
    expect_ids(&bus, 1..=8).await;
    feed.stop().await;
}

#[tokio::test]
async fn what_happened_while_the_socket_was_cut_or_the_feed_was_down_comes_even_if_the_market_is_quiet() {
    let broker = TestBroker::start().await;
    let mut exchange = Exchange::start().await;
    let feed = Feed::start(&broker, config(&exchange)).await;
    let bus = broker.bus("operator").await;
    exchange.connected(1).await;
    (1..=5).for_each(|id| exchange.trade(Row::plain(id)));
    expect_ids(&bus, 1..=5).await;
    exchange.cut();
    (6..=1_300).for_each(|id| exchange.happen(Row::plain(id)));
    exchange.connected(2).await;
    expect_ids(&bus, 1..=1_300).await;

    // Killed: no farewell, no drain.
    feed.task.abort();
    feed.shutdown.cancel();
    (1_301..=1_400).for_each(|id| exchange.happen(Row::plain(id)));
    let feed = Feed::start(&broker, config(&exchange)).await;
    expect_ids(&bus, 1..=1_400).await;
    feed.stop().await;
}

#[tokio::test]
async fn the_broker_may_die_and_lose_its_end() {
    let mut broker = TestBroker::start().await;
    let mut exchange = Exchange::start().await;
    let feed = Feed::start(&broker, config(&exchange)).await;
    let bus = broker.bus("operator").await;
    exchange.connected(1).await;
    (1..=100).for_each(|id| exchange.trade(Row::plain(id)));
    expect_ids(&bus, 1..=100).await;
    broker.kill();
    (101..=200).for_each(|id| exchange.trade(Row::plain(id)));
    broker.restart().await;
    expect_ids(&bus, 1..=200).await;

    // Acknowledged batches vanish with the broker's cache: here they are deleted, and the connection is lost and made again.
    let (first, last) = bus.bounds(FEED).await.unwrap();
    let ticks = subject::ticks(Venue::Binance, "BTCUSDT");
    for sequence in (first..=last).rev() {
        let Some(delivery) = bus.get(FEED, sequence).await.unwrap() else { continue };
        if delivery.subject == ticks && delivery.decode::<TickBatch>().unwrap().trade_id[0] > 3 {
            bus.delete(FEED, sequence).await.unwrap();
        }
    }
    broker.restart().await;
    expect_ids(&bus, 1..=200).await;
    feed.stop().await;
}

#[tokio::test]
async fn another_writer_or_garbage_on_the_subject_is_survived() {
    let broker = TestBroker::start().await;
    let mut exchange = Exchange::start().await;
    let feed = Feed::start(&broker, config(&exchange)).await;
    let bus = broker.bus("operator").await;
    exchange.connected(1).await;
    (1..=5).for_each(|id| exchange.trade(Row::plain(id)));
    expect_ids(&bus, 1..=5).await;
    let ticks = subject::ticks(Venue::Binance, "BTCUSDT");
    for garbage in [&b"\xff\x00garbage"[..], b"", b"more"] {
        bus.raw_client().publish(ticks.clone(), garbage.to_vec().into()).await.unwrap();
    }
    bus.raw_client().flush().await.unwrap();
    (6..=9).for_each(|id| exchange.trade(Row::plain(id)));
    expect_ids(&bus, 1..=9).await;
    feed.stop().await;
    // A start behind garbage finds the last good batch.
    bus.raw_client().publish(ticks, "garbage".into()).await.unwrap();
    bus.raw_client().flush().await.unwrap();
    (10..=12).for_each(|id| exchange.happen(Row::plain(id)));
    let feed = Feed::start(&broker, config(&exchange)).await;
    expect_ids(&bus, 1..=12).await;
    feed.stop().await;
}

#[tokio::test]
async fn an_exchange_that_counts_anew_is_followed() {
    let broker = TestBroker::start().await;
    let mut exchange = Exchange::start().await;
    let feed = Feed::start(&broker, config(&exchange)).await;
    let bus = broker.bus("operator").await;
    exchange.connected(1).await;
    (1_001..=1_005).for_each(|id| exchange.trade(Row::plain(id)));
    expect_ids(&bus, 1_001..=1_005).await;
    let mut anew = Exchange::start().await;
    feed.stop().await;
    let feed = Feed::start(&broker, config(&anew)).await;
    anew.connected(1).await;
    (1..=5).for_each(|id| anew.trade(later(Row::plain(id), 1_000_000)));
    let target = subject::ticks(Venue::Binance, "BTCUSDT");
    let ids = |batches: &[TickBatch]| batches.iter().flat_map(|batch| batch.trade_id.clone()).collect::<Vec<_>>();
    let batches = read::<TickBatch>(&bus, target, |batches| ids(batches).len() >= 10).await;
    assert_eq!(ids(&batches), [1_001, 1_002, 1_003, 1_004, 1_005, 1, 2, 3, 4, 5]);
    feed.stop().await;
}

#[tokio::test]
async fn the_first_quote_comes_from_rest_and_a_silent_connection_is_given_up() {
    let broker = TestBroker::start().await;
    let mut exchange = Exchange::start().await;
    let mut config = config(&exchange);
    config.binance.first_data_timeout_ms = 500;
    config.binance.idle_timeout_ms = 1_000;
    let feed = Feed::start(&broker, config).await;
    let bus = broker.bus("operator").await;
    exchange.connected(1).await;
    let target = subject::quotes(Venue::Binance, "BTCUSDT");
    let batches = read::<QuoteBatch>(&bus, target, |batches| !batches.is_empty()).await;
    let fixed = |text: &str| Fixed::parse(text).unwrap();
    let Quote { update_id, bid_price, bid_quantity, ask_price, ask_quantity, .. } = batches[0].last().unwrap();
    assert_eq!((update_id, bid_price, bid_quantity), (0, fixed("1.5"), fixed("2")));
    assert_eq!((ask_price, ask_quantity), (fixed("1.6"), fixed("3")));
    // No data at all: connected again.
    exchange.connected(2).await;
    exchange.connected(3).await;
    // Data, then silence: half open.
    exchange.trade(Row::plain(1));
    exchange.connected(4).await;
    let why = |text: &'static str| move |status: &FeedStatus| status.detail.as_ref().is_some_and(|detail| detail.contains(text));
    status_until(&bus, why("no data within")).await;
    let calls = exchange.rest_calls();
    assert!(calls > 0, "the first quote was asked for");
    feed.stop().await;
}

#[tokio::test]
async fn btcturk_trades_come_once_in_order_over_a_cut_and_its_book_is_mended() {
    let broker = TestBroker::start().await;
    let exchange = BtcTurk::start().await;
    let btcturk = VenueConfig {
        ws_url: format!("ws://127.0.0.1:{}", exchange.port),
        rest_url: format!("http://127.0.0.1:{}", exchange.port),
        symbols: vec!["BTC_TRY".to_owned()],
        reconnect_pause_ms_min: 20,
        reconnect_pause_ms_max: 100,
        ..VenueConfig::btcturk()
    };
    let config = Config { binance: VenueConfig { enabled: false, ..VenueConfig::default() }, btcturk, ..Config::default() };
    (1..=5).for_each(|id| exchange.happen(id));
    let feed = Feed::start(&broker, config).await;
    let bus = broker.bus("operator").await;
    let quotes = |bid: &'static str| {
        let bus = bus.clone();
        async move {
            let want = Fixed::parse(bid).unwrap().to_decimal();
            let last = |batches: &[QuoteBatch]| batches.last().and_then(QuoteBatch::last).map(|last| last.bid_price.to_decimal());
            read::<QuoteBatch>(&bus, subject::quotes(Venue::Btcturk, "BTCTRY"), |batches| last(batches) == Some(want)).await
        }
    };
    quotes("100").await;
    exchange.trade(6);
    exchange.bid(11, "101");
    quotes("101").await;
    // A change is missing: the book comes anew.
    exchange.bid(13, "150");
    quotes("100").await;
    assert_eq!(exchange.joins("obdiff"), 2);
    // More happens behind a cut than the list on joining holds.
    exchange.cut();
    (7..=200).for_each(|id| exchange.happen(id));
    let target = subject::ticks(Venue::Btcturk, "BTCTRY");
    let newest = |batches: &[TickBatch]| batches.last().and_then(|batch| batch.trade_id.last().copied());
    let batches = read::<TickBatch>(&bus, target, |batches| newest(batches) == Some(ID + 200 * 7)).await;
    let ids: Vec<u64> = batches.iter().flat_map(|batch| batch.trade_id.iter().map(|id| (id - ID) / 7)).collect();
    assert_eq!(ids, (1..=200).collect::<Vec<_>>());
    for trade in batches.iter().flat_map(TickBatch::rows) {
        let id = (trade.trade_id - ID) / 7;
        let side = if id.is_multiple_of(2) { Side::Buy } else { Side::Sell };
        assert_eq!((trade.price.to_string(), trade.side), ((1_000 + id).to_string(), side));
    }
    feed.stop().await;
}

/// Recorded frames lie beside the project, not in it.
fn recordings() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    assert!(folder.join("binance/ws_raw").is_dir(), "no recordings in {}", folder.display());
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_day_change_at_full_speed_is_held_once_and_exactly() {
    let folder = recordings();
    let broker = TestBroker::start().await;
    let mut exchange = Exchange::start().await;
    let feed = Feed::start(&broker, config(&exchange)).await;
    let bus = broker.bus("operator").await;
    exchange.connected(1).await;
    let mut last_quote = String::new();
    for file in ["btcusdt_20240808.gz", "btcusdt_20240809.gz"] {
        let file = std::fs::File::open(folder.join("binance/ws_raw").join(file)).unwrap();
        for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
            let line = line.unwrap();
            let (_, frame) = line.split_once(' ').unwrap();
            if frame.contains("@bookTicker") {
                last_quote = frame.to_owned();
            }
            exchange.send(frame);
        }
    }
    let trades = ticks_until(&bus, 3_735_703_162).await;
    let csv = std::fs::read_to_string(folder.join("binance/trades/BTCUSDT_trades_2024-08-08_09.csv")).unwrap();
    let mut rows = 0;
    for (trade, line) in trades.iter().zip(csv.lines().skip(1)) {
        let cells: Vec<&str> = line.split(',').collect();
        let fixed = |text: &str| Fixed::parse(text).unwrap().to_decimal();
        assert_eq!(trade.trade_id.to_string(), cells[0]);
        assert_eq!((trade.price.to_decimal(), trade.quantity.to_decimal()), (fixed(cells[1]), fixed(cells[2])), "{line}");
        rows += 1;
    }
    assert_eq!((rows, trades.len()), (19_904, 19_904));
    let target = subject::quotes(Venue::Binance, "BTCUSDT");
    let count = |batches: &[QuoteBatch]| batches.iter().flat_map(|batch| &batch.update_id).filter(|&&id| id != 0).count();
    let quotes = read::<QuoteBatch>(&bus, target, |batches| count(batches) >= 73_174).await;
    assert_eq!(count(&quotes), 73_174);
    let last = quotes.last().unwrap().last().unwrap();
    for part in [format!("\"u\":{}", last.update_id), format!("\"b\":\"{:.8}\"", last.bid_price.to_decimal())] {
        assert!(last_quote.contains(&part), "{last_quote} lacks {part}");
    }
    feed.stop().await;
}
