//! The page without the rest of the system: the real server on made-up messages. `cargo run -p spark-gateway --example preview`;
//! `-- --killed` for a system that has stopped, `PREVIEW_LISTEN=127.0.0.1:N` for another port. With `SPARK_ADMIN_TOKEN` commands
//! are taken, and answered as if they were stored: `amtool` can be tried on it.

#[path = "preview/models.rs"]
mod models;
#[path = "preview/trading.rs"]
mod trading;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::market::{Quote, QuoteBatch, Side, TickBatch, Trade};
use spark_bus_schema::portfolio::{AssetBalance, Balances, PollError};
use spark_bus_schema::telemetry::{FeedState, FeedStatus, Heartbeat, ProcessState, WindowValue, Windows};
use spark_bus_schema::{Fixed, Timestamp, Venue};
use spark_gateway::app::App;
use spark_gateway::event::Event;
use spark_gateway::{AdminToken, Config, Files, http, stream};
use tokio_util::sync::CancellationToken;

const MARKETS: [(Venue, &str, f64); 8] = [
    (Venue::Binance, "BTCUSDT", 91_240.12),
    (Venue::Binance, "ETHUSDT", 3_012.44),
    (Venue::Binance, "BNBUSDT", 861.2),
    (Venue::Binance, "SOLUSDT", 141.03),
    (Venue::Binance, "XRPUSDT", 2.0412),
    (Venue::Btcturk, "BTCTRY", 3_861_442.0),
    (Venue::Btcturk, "ETHTRY", 127_511.0),
    (Venue::Btcturk, "USDTTRY", 42.31),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config {
        listen: std::env::var("PREVIEW_LISTEN").ok().and_then(|text| text.parse().ok()).unwrap_or(Config::default().listen),
        ..Config::default()
    };
    let listener = tokio::net::TcpListener::bind(config.listen).await?;
    let token = AdminToken::load(&config)?;
    let (app, mut commands) = App::new(config, token, spark_nats::now());
    tokio::spawn(async move {
        for sequence in 1_000_000.. {
            let Some(command) = commands.recv().await else { return };
            let _ = command.done.send(Ok(sequence));
        }
    });
    let app = Arc::new(app);
    app.view_mut().set_connected(true);
    app.read_with(Files { backtest: Some(Arc::new(models::details)), ..Files::default() });
    app.view_mut().set_parked_count(3);
    let stop = CancellationToken::new();
    let begun = spark_nats::now();
    let now = begun;
    for second in (0..3_600).rev() {
        feed(&app, now - Duration::from_secs(second), vec![Event::Windows(windows(now - Duration::from_secs(second)))]);
    }
    feed(&app, now, vec![alert(now), balances(Venue::Binance, now, None), balances(Venue::Btcturk, now, Some("auth"))]);
    tokio::spawn(stream::pulse(Arc::clone(&app), stop.clone()));
    tokio::spawn(http::server::serve(listener, http::router(Arc::clone(&app), stop.clone()), stop));
    let killed = std::env::args().any(|argument| argument == "--killed");
    let mut orders = trading::Preview::new(killed);
    let earlier = (0..40).flat_map(|step| orders.step(now - Duration::from_secs(80 - 2 * step)));
    feed(&app, now, earlier.collect());
    for (at, events) in models::past(now) {
        feed(&app, at, events);
    }
    app.view_mut().trading.set_complete();
    let mut beats = tokio::time::interval(Duration::from_millis(250));
    for beat in 0_u64.. {
        beats.tick().await;
        let now = spark_nats::now();
        let market = MARKETS[usize::try_from(beat * 5 % 8)?];
        let mut events = vec![quote(market, beat, now), trade(market, beat, now)];
        if beat.is_multiple_of(4) {
            events.push(Event::Windows(windows(now)));
            events.extend(["feed", "portfolio", "guardrail", "exchange-sim"].map(|name| heartbeat(name, begun, now)));
            events.extend([Venue::Binance, Venue::Btcturk].map(|venue| feed_status(venue, now)));
            events.extend(orders.step(now));
            events.extend(models::now(beat, now));
        }
        feed(&app, now, events);
    }
    Ok(())
}

fn feed(app: &App, now: Timestamp, events: Vec<Event>) {
    app.take_in(events.into_iter().map(|event| (now, Ok(event))).collect());
}

fn fixed(value: f64) -> Fixed {
    Fixed::parse(&format!("{value:.4}")).expect("a plain number")
}

fn moved(price: f64, beat: u64) -> f64 {
    price * (1.0 + 0.002 * ((beat as f64) / 37.0).sin())
}

fn quote((venue, symbol, price): (Venue, &str, f64), beat: u64, now: Timestamp) -> Event {
    let price = moved(price, beat);
    let mut batch = QuoteBatch::new(venue, symbol);
    let quote = Quote {
        update_id: beat,
        received_at: now,
        bid_price: fixed(price * 0.9999),
        bid_quantity: fixed(1.5),
        ask_price: fixed(price * 1.0001),
        ask_quantity: fixed(0.7),
    };
    batch.push(&quote).expect("one row fits");
    Event::Quotes(batch)
}

fn trade((venue, symbol, price): (Venue, &str, f64), beat: u64, now: Timestamp) -> Event {
    let mut batch = TickBatch::new(venue, symbol);
    let trade = Trade {
        trade_id: beat + 1,
        occurred_at: now,
        received_at: now,
        price: fixed(moved(price, beat)),
        quantity: fixed(0.25),
        side: Side::Buy,
    };
    batch.push(&trade).expect("one row fits");
    Event::Ticks(batch)
}

fn windows(at: Timestamp) -> Windows {
    let s = at.as_millis() as f64 / 1_000.0;
    let value = |rule: &str, exchange: &str, value: f64, unit: &str, warning: f64, critical: f64| WindowValue {
        rule: rule.into(),
        metric: rule.into(),
        scope: BTreeMap::from([("exchange".into(), exchange.into())]),
        value: Some(value),
        samples: 60,
        window_ms: 300_000,
        unit: unit.into(),
        warning: Some(warning),
        critical: Some(critical),
        state: AlertState::Inactive,
    };
    let slow = |from: f64, wave: f64| 420.0 + from + 180.0 * (s / wave).sin();
    Windows {
        at,
        values: vec![
            value(
                "portfolio_refresh_p95",
                "binance",
                slow(700.0, 190.0) + 500.0 * (s / 700.0).sin().max(0.0),
                "ms",
                1_500.0,
                3_000.0,
            ),
            value("portfolio_refresh_p95", "btcturk", slow(0.0, 90.0), "ms", 1_500.0, 3_000.0),
            value("ws_staleness_venue", "binance", 0.2 + 0.1 * (s / 20.0).sin(), "s", 30.0, 120.0),
            value("ws_staleness_venue", "btcturk", s % 7.0, "s", 30.0, 120.0),
            value("portfolio_staleness", "binance", s % 60.0, "s", 60.0, 300.0),
            value("exchange_error_rate", "btcturk", 0.02, "1/s", 0.01, 0.05),
        ],
        trades_counted: BTreeMap::from([("binance.BTCUSDT".into(), 19_904)]),
    }
}

fn heartbeat(name: &str, begun: Timestamp, now: Timestamp) -> Event {
    Event::Heartbeat(Heartbeat {
        service: name.into(),
        pid: 4_100 + name.len() as u32,
        version: "0.1.0".into(),
        started_at: begun - Duration::from_secs(754),
        sent_at: now,
        state: ProcessState::Running,
        detail: None,
        resident_bytes: 11_000_000 + 900_000 * name.len() as u64,
        counters: BTreeMap::new(),
    })
}

fn feed_status(venue: Venue, now: Timestamp) -> Event {
    Event::FeedStatus(FeedStatus {
        venue,
        state: FeedState::Live,
        since: now - Duration::from_secs(700),
        symbols: vec!["BTCUSDT".into()],
        reconnects: 1,
        trades_missing: 12,
        trades_filled: 12,
        frames_rejected: 0,
        detail: None,
    })
}

fn alert(at: Timestamp) -> Event {
    Event::Alert(Box::new(Alert {
        name: "ExchangeApiErrorRateHigh".into(),
        rule: "exchange_error_rate".into(),
        revision: 2,
        scope: BTreeMap::from([("exchange".into(), "btcturk".into())]),
        state: AlertState::Firing,
        severity: Some(Severity::Critical),
        value: Some(0.083),
        threshold: Some(0.05),
        direction: "above".into(),
        unit: "1/s".into(),
        window_ms: 60_000,
        samples: 60,
        at,
        since: Some(at - Duration::from_secs(95)),
        summary: "5 of 60 calls to btcturk failed in the last minute (auth).".into(),
        cause: "The key was revoked, has another IP list, or the clock is off.".into(),
        first_action: "Check key, permissions and clock.".into(),
        permanent_fix: "Rotate keys every 90 days.".into(),
        runbook: "docs/runbooks/exchange-api-errors.md".into(),
    }))
}

fn balances(exchange: Venue, now: Timestamp, error: Option<&str>) -> Event {
    let row = |asset: &str, total: &str, price: Option<&str>| {
        let (total, price) = (total.parse().expect("a number"), price.map(|price| price.parse().expect("a number")));
        AssetBalance {
            asset: asset.into(),
            free: total,
            locked: "0".parse().expect("a number"),
            total,
            usd_price: price,
            usd_value: price.map(|price: spark_bus_schema::Decimal| price * total),
            price_held: false,
        }
    };
    let rows = vec![
        row("BTC", "0.75120034", Some("91240.12")),
        row("ETH", "6.4", Some("3012.44")),
        row("USDT", "12044.5012", Some("1.0002")),
        row("XYZ", "1000", None),
    ];
    Event::Balances(Balances {
        exchange,
        currency: "USD".into(),
        polled_at: now,
        updated_at: Some(now - Duration::from_secs(if error.is_some() { 74 } else { 3 })),
        stale: error.is_some(),
        error: error
            .map(|kind| PollError { error_type: kind.into(), message: "the exchange refused the key (code 1031)".into() }),
        total_usd: rows.iter().filter_map(|row| row.usd_value).sum(),
        balances: rows,
        unpriced: vec!["XYZ".into()],
        refresh_us: 210_000,
    })
}
