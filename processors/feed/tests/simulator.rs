//! The feed on the simulated exchanges: markets of several symbols that move by themselves, with what goes wrong on their
//! sockets. Single frames, and what no exchange sends, are in `feed.rs`.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod harness;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use harness::{Feed, LIMIT, read, status_until};
use spark_bus_schema::market::{QuoteBatch, Side, TickBatch, Trade};
use spark_bus_schema::subject::{self, FEED};
use spark_bus_schema::telemetry::FeedState;
use spark_bus_schema::{Decimal, Venue};
use spark_exchange_sim::Sim;
use spark_exchanges::{ApiConfig, Binance, BtcTurk};
use spark_feed::{Config, VenueConfig};
use spark_nats::Bus;
use spark_nats::testing::TestBroker;

/// How often an exchange is asked for its best bid and ask.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Trades of each symbol before anything goes wrong.
const BEFORE: usize = 20;

async fn simulator() -> Sim {
    let config = spark_exchange_sim::Config {
        activity: 4.0,
        history_hours: 1,
        // A silent connection is one without pings, too.
        binance_ping_ms: 200,
        btcturk_ping_ms: 200,
        // Connections are made more often here than in a day elsewhere.
        btcturk_connects_per_min: 0,
        binance_weight_per_min: 1_000_000,
        ..spark_exchange_sim::Config::default()
    };
    spark_exchange_sim::start(config).await.unwrap()
}

fn venue(address: SocketAddr, defaults: VenueConfig) -> VenueConfig {
    VenueConfig {
        ws_url: format!("ws://{address}"),
        rest_url: format!("http://{address}"),
        reconnect_pause_ms_min: 20,
        reconnect_pause_ms_max: 100,
        first_data_timeout_ms: 2_000,
        idle_timeout_ms: 1_500,
        rest_per_minute: Some(100_000),
        ..defaults
    }
}

fn off(defaults: VenueConfig) -> VenueConfig {
    VenueConfig { enabled: false, ..defaults }
}

/// The exchange's own account of its trades: id, price, quantity, time in ms, side.
type Told = (u64, Decimal, Decimal, i64, Side);

fn told(trade: &Trade) -> Told {
    (trade.trade_id, trade.price.to_decimal(), trade.quantity.to_decimal(), trade.occurred_at.as_millis(), trade.side)
}

/// Everything of a symbol in FEED, once `enough`.
async fn trades(bus: &Bus, venue: Venue, symbol: &str, mut enough: impl FnMut(&[Told]) -> bool) -> Vec<Told> {
    let rows = |batches: &[TickBatch]| -> Vec<Told> {
        batches.iter().flat_map(|batch| batch.rows().collect::<Vec<_>>()).map(|trade| told(&trade)).collect()
    };
    let batches = read::<TickBatch>(bus, subject::ticks(venue, symbol), |batches| enough(&rows(batches))).await;
    rows(&batches)
}

async fn trades_through(bus: &Bus, venue: Venue, symbol: &str, last: u64) -> Vec<Told> {
    let mut trades = trades(bus, venue, symbol, |trades| trades.last().is_some_and(|trade| trade.0 >= last)).await;
    trades.retain(|trade| trade.0 <= last);
    trades
}

/// Best bid and ask, price and quantity.
type Top = [(Decimal, Decimal); 2];

/// Waits until the newest quote in FEED is what the exchange says at the same moment; the market moves meanwhile.
async fn top_fits(bus: &Bus, venue: Venue, symbol: &str, ask: impl AsyncFn() -> Top) {
    let mut seen = None;
    let wait = async {
        loop {
            let newest = bus.last(FEED, &subject::quotes(venue, symbol)).await.unwrap();
            let quote = newest.and_then(|delivery| delivery.decode::<QuoteBatch>().unwrap().last());
            let got = quote.map(|quote| {
                [(quote.bid_price, quote.bid_quantity), (quote.ask_price, quote.ask_quantity)]
                    .map(|(price, quantity)| (price.to_decimal(), quantity.to_decimal()))
            });
            let want = ask().await;
            if got == Some(want) {
                return;
            }
            seen = Some((got, want));
            // BTCTurk's quota for its book is 180 a minute.
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    let waited = tokio::time::timeout(LIMIT, wait).await;
    assert!(waited.is_ok(), "{venue} {symbol}: the quote never fitted the exchange's; last {seen:?}");
}

/// The last quote of every batch so far is one: bid below ask.
async fn quotes_are_sane(bus: &Bus, venue: Venue, symbol: &str) {
    let batches = read::<QuoteBatch>(bus, subject::quotes(venue, symbol), |batches| !batches.is_empty()).await;
    for quote in batches.iter().filter_map(QuoteBatch::last) {
        assert!(quote.bid_price.to_decimal() < quote.ask_price.to_decimal(), "{venue} {symbol}: {quote:?}");
    }
}

/// The connection is given up when it is silent, and again as long as that lasts.
async fn freeze(bus: &Bus, sim: &Sim, venue: Venue) {
    let before = status_until(bus, venue, |_| true).await.reconnects;
    sim.set_fault(&format!(r#"{{"exchange":"{venue}","kind":"freeze"}}"#)).unwrap();
    status_until(bus, venue, |status| status.state == FeedState::Reconnecting && status.reconnects >= before + 2).await;
    sim.clear_faults();
    status_until(bus, venue, |status| status.state == FeedState::Live && status.reconnects >= before + 2).await;
}

async fn cut(bus: &Bus, sim: &Sim, venue: Venue) {
    let before = status_until(bus, venue, |_| true).await.reconnects;
    sim.set_fault(&format!(r#"{{"exchange":"{venue}","kind":"cut"}}"#)).unwrap();
    status_until(bus, venue, |status| status.state == FeedState::Live && status.reconnects > before).await;
}

#[tokio::test]
async fn binances_market_arrives_whole_over_skipped_frames_a_cut_and_a_freeze() {
    const SKIPPED: u64 = 10;
    let (broker, sim) = (TestBroker::start().await, simulator().await);
    let binance = venue(sim.binance_addr, VenueConfig::default());
    let symbols = binance.symbols.clone();
    let feed = Feed::start(&broker, Config { binance, btcturk: off(VenueConfig::btcturk()), ..Config::default() }).await;
    let bus = broker.bus("operator").await;
    for symbol in &symbols {
        trades(&bus, Venue::Binance, symbol, |trades| trades.len() >= BEFORE).await;
    }

    let skip = format!(r#"{{"exchange":"binance","kind":"skip","stream":"btcusdt@trade","n":{SKIPPED}}}"#);
    sim.set_fault(&skip).unwrap();
    let filled = status_until(&bus, Venue::Binance, |status| status.trades_filled >= SKIPPED).await;
    assert_eq!((filled.trades_missing, filled.frames_rejected, filled.reconnects), (filled.trades_filled, 0, 0), "{filled:?}");
    cut(&bus, &sim, Venue::Binance).await;
    freeze(&bus, &sim, Venue::Binance).await;

    let rest = ApiConfig { per_minute: Some(1_000_000), ..ApiConfig::at(format!("http://{}", sim.binance_addr)) };
    let exchange = Binance::new(&rest, None, Arc::new(|_| {})).unwrap();
    for symbol in &symbols {
        let newest = exchange.trades(symbol, 1).await.unwrap()[0].id;
        let got = trades_through(&bus, Venue::Binance, symbol, newest).await;
        let mut want = Vec::new();
        while want.last().is_none_or(|last: &Told| last.0 < newest) {
            let from = want.last().map_or(got[0].0, |last| last.0 + 1);
            let page = exchange.historical_trades(symbol, Some(from), 1_000).await.unwrap();
            let side = |sold: bool| if sold { Side::Sell } else { Side::Buy };
            want.extend(page.iter().map(|row| (row.id, row.price, row.qty, row.time, side(row.is_buyer_maker))));
        }
        want.retain(|trade| trade.0 <= newest);
        assert_eq!(got, want, "{symbol}: each trade once, in order, as the exchange has it");
        top_fits(&bus, Venue::Binance, symbol, async || {
            let top = exchange.book_ticker(symbol).await.unwrap();
            [(top.bid_price, top.bid_qty), (top.ask_price, top.ask_qty)]
        })
        .await;
        quotes_are_sane(&bus, Venue::Binance, symbol).await;
    }
    feed.stop().await;
    sim.stop().await;
}

#[tokio::test]
async fn btcturks_market_arrives_whole_over_a_broken_book_a_cut_and_a_freeze() {
    let (broker, sim) = (TestBroker::start().await, simulator().await);
    let btcturk = venue(sim.btcturk_addr, VenueConfig::btcturk());
    let symbols = btcturk.symbols.clone();
    let feed = Feed::start(&broker, Config { binance: off(VenueConfig::default()), btcturk, ..Config::default() }).await;
    let bus = broker.bus("operator").await;
    for symbol in &symbols {
        trades(&bus, Venue::Btcturk, symbol, |trades| trades.len() >= BEFORE).await;
    }
    let rest = ApiConfig { per_minute: Some(1_000_000), ..ApiConfig::at(format!("http://{}", sim.btcturk_addr)) };
    let exchange = BtcTurk::new(&rest, None, Arc::new(|_| {})).unwrap();
    let top = async |symbol: &str| {
        let book = exchange.orderbook(symbol, 1).await.unwrap();
        [book.bids[0], book.asks[0]]
    };

    // BTCTurk's trade ids jump by themselves, so a skipped trade cannot be noticed. A skipped change of the book can.
    let broken = sim.set_fault(r#"{"exchange":"btcturk","kind":"skip","stream":"obdiff","symbol":"BTCTRY","n":3}"#).unwrap();
    let struck = || sim.faults().iter().any(|fault| fault.id == broken && !fault.active);
    let begun = tokio::time::Instant::now();
    while !struck() {
        assert!(begun.elapsed() < LIMIT, "no change of the book to skip: {:?}", sim.faults());
        tokio::task::yield_now().await;
    }
    top_fits(&bus, Venue::Btcturk, "BTCTRY", async || top("BTCTRY").await).await;
    cut(&bus, &sim, Venue::Btcturk).await;
    freeze(&bus, &sim, Venue::Btcturk).await;

    for symbol in &symbols {
        let newest = u64::try_from(exchange.trades(symbol, 1).await.unwrap()[0].tid).unwrap();
        let got = trades_through(&bus, Venue::Btcturk, symbol, newest).await;
        let rows = exchange.trades(symbol, 1_000).await.unwrap();
        let side = |side: &str| if side.eq_ignore_ascii_case("buy") { Side::Buy } else { Side::Sell };
        let row = |row: &spark_exchanges::btcturk::Trade| {
            (u64::try_from(row.tid).unwrap(), row.price, row.amount, row.date, side(&row.side))
        };
        let mut want: Vec<Told> = rows.iter().map(row).filter(|trade| (got[0].0..=newest).contains(&trade.0)).collect();
        want.reverse();
        assert_eq!(got, want, "{symbol}: each trade once, in order, as the exchange has it");
        top_fits(&bus, Venue::Btcturk, symbol, async || top(symbol).await).await;
        quotes_are_sane(&bus, Venue::Btcturk, symbol).await;
    }
    feed.stop().await;
    sim.stop().await;
}
