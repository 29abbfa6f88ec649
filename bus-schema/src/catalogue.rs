//! Every message kind in one list: what tools, documents, permissions' tests and golden files walk over.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use schemars::Schema;
use serde_json::Value;

use crate::alerts::{Alert, AlertState, Severity};
use crate::codec::{DecodeError, Kind, Message, decode_payload, encode};
use crate::control::{BreakerCommand, BreakerMode};
use crate::decimal::Fixed;
use crate::instrument::Venue;
use crate::market::{Quote, QuoteBatch, Side, TickBatch, Trade};
use crate::parked::Parked;
use crate::portfolio::{AnomalyState, AssetBalance, Balances, PollError, PriceAnomaly};
use crate::subject;
use crate::telemetry::{Call, FeedState, FeedStatus, Heartbeat, ProcessState, WindowValue, Windows};
use crate::time::Timestamp;

/// A message kind, where it travels and who says it.
pub struct Entry {
    /// Name and version.
    pub kind: Kind,
    /// The stream that stores it.
    pub stream: &'static str,
    /// Subject pattern.
    pub subject: &'static str,
    /// Subject with named parameters, for documents.
    pub address: &'static str,
    /// The only processes that may publish it; `*` is every process, `operator` the command line.
    pub publishers: &'static [&'static str],
    /// One sentence.
    pub summary: &'static str,
    /// JSON Schema of the decoded value.
    pub schema: fn() -> Schema,
    /// Decodes to JSON, for people.
    pub to_json: fn(&[u8]) -> Result<Value, DecodeError>,
    /// A representative message, encoded. The golden file holds these bytes.
    pub sample: fn() -> Vec<u8>,
}

fn to_json<T: Message>(payload: &[u8]) -> Result<Value, DecodeError> {
    let message: T = decode_payload(payload)?;
    serde_json::to_value(&message).map_err(|error| DecodeError::Invalid { kind: T::KIND, what: error.to_string() })
}

fn schema<T: Message>() -> Schema {
    schemars::schema_for!(T)
}

macro_rules! entry {
    ($message:ty, $stream:expr, $subject:expr, $address:literal, $publishers:expr, $sample:expr, $summary:literal) => {
        Entry {
            kind: <$message as Message>::KIND,
            stream: $stream,
            subject: $subject,
            address: $address,
            publishers: $publishers,
            summary: $summary,
            schema: schema::<$message>,
            to_json: to_json::<$message>,
            sample: || encode::<$message>(&$sample()),
        }
    };
}

/// Every kind, in the order of the pipeline.
#[must_use]
pub fn entries() -> Vec<Entry> {
    use subject::{
        ALERTS, ANOMALIES, BALANCES, BREAKER, CALLS, FEED, FEED_STATUS, HEARTBEATS, LEDGER, PARKED, PARKED_ALL, QUOTES, TICKS,
        WINDOWS,
    };
    vec![
        entry!(
            TickBatch,
            FEED,
            TICKS,
            "market.ticks.{venue}.{symbol}",
            &["feed"],
            tick_batch,
            "Trades of one symbol, in columns."
        ),
        entry!(
            QuoteBatch,
            FEED,
            QUOTES,
            "market.quotes.{venue}.{symbol}",
            &["feed"],
            quote_batch,
            "Best bid and ask of one symbol, in columns."
        ),
        entry!(
            FeedStatus,
            FEED,
            FEED_STATUS,
            "telemetry.feed.{venue}",
            &["feed"],
            feed_status,
            "State of the connection to one venue."
        ),
        entry!(
            Call,
            FEED,
            CALLS,
            "telemetry.calls.{exchange}",
            &["feed", "portfolio"],
            call,
            "One call to an exchange, with latency and outcome."
        ),
        entry!(
            Heartbeat,
            FEED,
            HEARTBEATS,
            "telemetry.heartbeat.{service}",
            &["*"],
            heartbeat,
            "A process says that it is here, once a second."
        ),
        entry!(Windows, FEED, WINDOWS, "telemetry.windows", &["guardrail"], windows, "Every guardrail window, once a second."),
        entry!(
            Balances,
            LEDGER,
            BALANCES,
            "portfolio.balances.{exchange}",
            &["portfolio"],
            balances,
            "One poll of one exchange's balances, valued in USD."
        ),
        entry!(
            PriceAnomaly,
            LEDGER,
            ANOMALIES,
            "portfolio.anomaly.{exchange}",
            &["portfolio"],
            price_anomaly,
            "A price that was held back, and what became of it."
        ),
        entry!(
            Alert,
            LEDGER,
            ALERTS,
            "alerts.changed.{name}.{scope}",
            &["guardrail"],
            alert,
            "A rule changed its state in one scope."
        ),
        entry!(
            BreakerCommand,
            LEDGER,
            BREAKER,
            "control.breaker.{exchange}",
            &["operator", "gateway"],
            breaker_command,
            "Sets a circuit breaker by hand."
        ),
        entry!(
            Parked,
            PARKED,
            PARKED_ALL,
            "parked.{process}.{stream}.{sequence}",
            &["*"],
            parked,
            "A message that could not be handled."
        ),
    ]
}

/// The entry of a `Spark-Kind` header, e.g. `tick_batch.v1`.
#[must_use]
pub fn find(kind_header: &str) -> Option<Entry> {
    entries().into_iter().find(|entry| entry.kind.to_string() == kind_header)
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_723_161_255_342 + millis)
}

fn fixed(text: &str) -> Fixed {
    Fixed::parse(text).expect("samples are written as plain decimals")
}

fn decimal(text: &str) -> Decimal {
    text.parse().expect("samples are written as plain decimals")
}

fn scope(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

fn tick_batch() -> TickBatch {
    let mut batch = TickBatch::new(Venue::Binance, "BTCUSDT");
    for (trade_id, millis, price, quantity, side) in
        [(3_735_683_259, 0, "61837.63", "0.02", Side::Sell), (3_735_683_260, 275, "61837.63", "0.048", Side::Buy)]
    {
        let trade = Trade {
            trade_id,
            occurred_at: at(millis),
            received_at: at(millis - 1_254),
            price: fixed(price),
            quantity: fixed(quantity),
            side,
        };
        batch.push(&trade).expect("samples fit one scale");
    }
    batch
}

fn quote_batch() -> QuoteBatch {
    let mut batch = QuoteBatch::new(Venue::Btcturk, "BTCTRY");
    batch
        .push(&Quote {
            update_id: 50_093_239_212,
            received_at: at(0),
            bid_price: fixed("5168031"),
            bid_quantity: fixed("0.00795068"),
            ask_price: fixed("5171945"),
            ask_quantity: fixed("0.01699937"),
        })
        .expect("samples fit one scale");
    batch
}

fn feed_status() -> FeedStatus {
    FeedStatus {
        venue: Venue::Binance,
        state: FeedState::Reconnecting,
        since: at(0),
        symbols: vec!["BTCUSDT".into(), "ETHUSDT".into()],
        reconnects: 3,
        trades_missing: 17,
        trades_filled: 17,
        frames_rejected: 1,
        detail: Some("connection reset by peer".into()),
    }
}

fn call() -> Call {
    Call {
        exchange: Venue::Binance,
        service: "portfolio".into(),
        operation: "account".into(),
        started_at: at(0),
        latency_us: 41_250,
        ok: false,
        error_type: Some("auth".into()),
        http_status: Some(401),
        attempt: 1,
    }
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        service: "guardrail".into(),
        pid: 4_711,
        version: "0.1.0".into(),
        started_at: at(-60_000),
        sent_at: at(0),
        state: ProcessState::Running,
        detail: None,
        resident_bytes: 12_582_912,
        counters: BTreeMap::from([("spark_guardrail_trades_total".to_owned(), 19_904)]),
    }
}

fn windows() -> Windows {
    Windows {
        at: at(0),
        values: vec![WindowValue {
            rule: "portfolio_refresh_p95".into(),
            metric: "refresh_latency_ms".into(),
            scope: scope("exchange", "binance"),
            value: Some(212.5),
            samples: 60,
            window_ms: 300_000,
            unit: "ms".into(),
            warning: Some(1_500.0),
            critical: Some(3_000.0),
            state: AlertState::Inactive,
        }],
        trades_counted: BTreeMap::from([("binance.BTCUSDT".to_owned(), 19_904)]),
    }
}

fn balances() -> Balances {
    let row = AssetBalance {
        asset: "BTC".into(),
        free: decimal("0.5"),
        locked: decimal("0.00000001"),
        total: decimal("0.50000001"),
        usd_price: Some(decimal("61837.63")),
        usd_value: Some(decimal("30918.8156183763")),
        price_held: false,
    };
    Balances {
        exchange: Venue::Binance,
        currency: "USD".into(),
        polled_at: at(60_000),
        updated_at: Some(at(0)),
        stale: true,
        error: Some(PollError { error_type: "timeout".into(), message: "account: no answer within 5000 ms".into() }),
        total_usd: decimal("30918.8156183763"),
        balances: vec![row],
        unpriced: vec!["XYZ".into()],
        refresh_us: 5_000_123,
    }
}

fn price_anomaly() -> PriceAnomaly {
    PriceAnomaly {
        exchange: Venue::Binance,
        asset: "BTC".into(),
        last_good: decimal("61837.63"),
        seen: decimal("6183.76"),
        change_pct: decimal("-90.00"),
        state: AnomalyState::Held,
        at: at(0),
    }
}

fn alert() -> Alert {
    Alert {
        name: "PortfolioRefreshLatencyHighP95".into(),
        rule: "portfolio_refresh_p95".into(),
        revision: 2,
        scope: scope("exchange", "binance"),
        state: AlertState::Firing,
        severity: Some(Severity::Critical),
        value: Some(4_012.0),
        threshold: Some(3_000.0),
        direction: "above".into(),
        unit: "ms".into(),
        window_ms: 300_000,
        samples: 60,
        at: at(0),
        since: Some(at(-5_000)),
        summary: "refresh p95 of binance is 4012 ms, above 3000 ms".into(),
        cause: "the exchange answers slowly".into(),
        first_action: "lengthen the refresh interval".into(),
        permanent_fix: "back-off and fewer parallel calls".into(),
        runbook: "docs/runbooks/latency.md".into(),
    }
}

fn breaker_command() -> BreakerCommand {
    BreakerCommand {
        exchange: Venue::Btcturk,
        mode: BreakerMode::Open,
        actor: "operator".into(),
        reason: "maintenance announced".into(),
        at: at(0),
    }
}

fn parked() -> Parked {
    Parked {
        process: "guardrail".into(),
        reason: "malformed".into(),
        detail: "malformed tick_batch.v1: unexpected end".into(),
        stream: "FEED".into(),
        sequence: 1_234,
        subject: "market.ticks.binance.BTCUSDT".into(),
        kind: Some("tick_batch.v1".into()),
        headers: vec![("Spark-Kind".into(), "tick_batch.v1".into())],
        payload: vec![0x88, 0xa5, 0x76],
        payload_bytes: 3,
        attempts: 1,
        parked_at: at(0),
    }
}
