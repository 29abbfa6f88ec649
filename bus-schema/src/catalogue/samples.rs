//! One representative message of each kind. The golden files hold their bytes, so none of them may change.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::actions::{
    Action, ActionStage, Evidence as Reason, HealthCheck, RestartCommand, RestartDone, RestartOutcome, RollbackCommand,
    RollbackStep, ThresholdChange, ThresholdsCommand,
};
use crate::alerts::{Alert, AlertState, Severity};
use crate::audit::{AuditAnchor, AuditDamage, AuditVerified, DamageKind};
use crate::backtests::{
    BacktestDone, BacktestJob, BacktestMetrics, DataSource, FillAt, JobCancel, JobProgress, JobState, WalkForward,
};
use crate::candles::{Candle, CandleHistory, CandleSource, MarketSnapshot, TimeFrame};
use crate::control::{
    BreakerCommand, BreakerMode, CancelCommand, HaltScope, KillSwitch, LimitsCommand, LimitsSource, ResumeCommand,
    StrategyCommand,
};
use crate::decimal::Fixed;
use crate::instrument::Venue;
use crate::market::{Quote, QuoteBatch, Side, TickBatch, Trade};
use crate::marks::Mark;
use crate::notify::{Delivery, DeliveryOutcome, Matcher, Notification, NotifiedAlert, NotifyReason, Silence};
use crate::orders::{
    Epoch, Evidence, Fill, Filters, InstrumentFilters, Invariant, OrderEvent, OrderId, OrderIntent, OrderState, OrderType,
    Reconciliation, Step, TimeInForce, TradingMode,
};
use crate::parked::Parked;
use crate::portfolio::{AnomalyState, AssetBalance, Balances, PollError, PriceAnomaly};
use crate::risk::{Check, Guard, LimitOverride, Limits, MarkUsed, Timeout, Verdict};
use crate::rollout::{
    CounterMove, CounterMoveKind, Gate, GateState, Phase, PreviewOf, RolloutChanged, RolloutCommand, RolloutVerb, Stage,
};
use crate::signals::{Calibration, ModelId, ModelInForce, Outcome, Reliability, Score, ScoreAnswer, ScoreRequest};
use crate::smoke::{Smoke, SmokeCheck};
use crate::strategies::{StrategyKind, StrategyRegistered, StrategyStatus};
use crate::telemetry::{ApiRequests, Call, FeedState, FeedStatus, Heartbeat, ProcessState, WindowValue, Windows};
use crate::time::Timestamp;

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

pub(super) fn tick_batch() -> TickBatch {
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

pub(super) fn quote_batch() -> QuoteBatch {
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

pub(super) fn feed_status() -> FeedStatus {
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

pub(super) fn call() -> Call {
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

pub(super) fn heartbeat() -> Heartbeat {
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

pub(super) fn windows() -> Windows {
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

pub(super) fn balances() -> Balances {
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

pub(super) fn price_anomaly() -> PriceAnomaly {
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

pub(super) fn alert() -> Alert {
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

pub(super) fn breaker_command() -> BreakerCommand {
    BreakerCommand {
        exchange: Venue::Btcturk,
        mode: BreakerMode::Open,
        actor: "operator".into(),
        reason: "maintenance announced".into(),
        at: at(0),
    }
}

pub(super) fn audit_anchor() -> AuditAnchor {
    AuditAnchor { era: 1, sequence: 1_234, hash: "0a".repeat(32), count: 1_234 }
}

pub(super) fn audit_verified() -> AuditVerified {
    AuditVerified {
        era: 2,
        through: 1_300,
        head: "f0".repeat(32),
        count: 1_420,
        checked_at: at(0),
        full: true,
        adopted: false,
        anchors_unknown: 0,
    }
}

pub(super) fn audit_damage() -> AuditDamage {
    AuditDamage {
        era: 1,
        first_bad_sequence: 1_181,
        kind: DamageKind::Truncated,
        detail: "the stream ends at 1180, its chain goes on to 1300".into(),
        advice: "put back a copy of the store that is not older, or accept the damage".into(),
        found_at: at(0),
    }
}

pub(super) fn parked() -> Parked {
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

pub(super) fn mark() -> Mark {
    Mark {
        venue: Venue::Binance,
        symbol: "BTCUSDT".into(),
        bid: decimal("61837.62"),
        ask: decimal("61837.63"),
        price: decimal("61837.625"),
        quote_usd: decimal("1"),
        received_at: at(-20),
        feed_sequence: 90_211,
    }
}

pub(super) fn order_intent() -> OrderIntent {
    OrderIntent {
        order: OrderId::derive("sma-cross", "2024-08-08T23:54:15Z/1"),
        key: "2024-08-08T23:54:15Z/1".into(),
        strategy: "sma-cross".into(),
        actor: "strategy".into(),
        exchange: Venue::Binance,
        symbol: "BTCUSDT".into(),
        side: Side::Buy,
        order_type: OrderType::Limit,
        time_in_force: TimeInForce::Gtc,
        quantity: decimal("0.05"),
        limit_price: Some(decimal("61840.00")),
        requested_at: at(0),
        reason: Some("fast average crossed above the slow one".into()),
        decided_at: None,
    }
}

pub(super) fn verdict() -> Verdict {
    let intent = order_intent();
    Verdict {
        order: intent.order.clone(),
        approved: false,
        guard: Some(Guard::Exposure),
        reason: "exposure of binance.BTCUSDT would be 52564.00 usd, above 50000 usd".into(),
        intent,
        intent_sequence: 8_812,
        decided_on: 8_812,
        decided_at: at(1),
        expires_at: at(30_001),
        checks: vec![Check {
            guard: Guard::Exposure,
            passed: false,
            value: Some(decimal("52564.00")),
            limit: Some(decimal("50000")),
            unit: "usd".into(),
            detail: "position 0.7, reserved buys 0.1, this order 0.05 at 61840.00".into(),
        }],
        mark: Some(MarkUsed {
            sequence: 8_801,
            bid: decimal("61837.62"),
            ask: decimal("61837.63"),
            price: decimal("61837.625"),
            quote_usd: decimal("1"),
            age_ms: 412,
        }),
        limits_sequence: 17,
        position: decimal("0.7"),
        reserved_buy: decimal("0.1"),
        reserved_sell: decimal("0"),
    }
}

pub(super) fn timeout() -> Timeout {
    Timeout { order: order_intent().order, at: at(2_000) }
}

pub(super) fn order_event() -> OrderEvent {
    let intent = order_intent();
    let step = |state, evidence, fill| Step { state, evidence, reason: None, at: at(3), fill };
    let fill = Fill {
        trade_id: "3735683259".into(),
        price: decimal("61837.63"),
        quantity: decimal("0.05"),
        fee: decimal("0.00005"),
        fee_asset: "BTC".into(),
        is_maker: false,
        at: at(2),
    };
    OrderEvent {
        client_order_id: intent.order.client_id(),
        order: intent.order,
        revision: 1,
        verdict_sequence: 8_813,
        mode: TradingMode::Paper,
        exchange: intent.exchange,
        symbol: intent.symbol,
        strategy: intent.strategy,
        side: intent.side,
        quantity: intent.quantity,
        exchange_order_id: Some("28".into()),
        steps: vec![
            step(OrderState::Pending, Evidence::Approval, None),
            step(OrderState::Submitted, Evidence::Paper, None),
            step(OrderState::Filled, Evidence::Paper, Some(fill)),
        ],
        filled: decimal("0.05"),
        filled_quote: decimal("3091.8815"),
    }
}

pub(super) fn instrument_filters() -> InstrumentFilters {
    let filters = Filters {
        tick_size: decimal("0.01"),
        step_size: decimal("0.00001"),
        quantity_min: decimal("0.00001"),
        quantity_max: decimal("9000"),
        notional_min: decimal("5"),
        market_orders: true,
    };
    InstrumentFilters { exchange: Venue::Binance, at: at(0), symbols: BTreeMap::from([("BTCUSDT".to_owned(), filters)]) }
}

pub(super) fn reconciliation() -> Reconciliation {
    let invariant = |name: &str, holds, detail: &str| Invariant { name: name.into(), holds, detail: detail.into() };
    Reconciliation {
        exchange: Venue::Binance,
        mode: TradingMode::Live,
        at: at(0),
        occasion: "periodic".into(),
        invariants: vec![
            invariant("positions", false, "BTC: the ledger says 1.05, binance says 1.00"),
            invariant("open_orders", true, "2 of 2"),
            invariant("average_price", true, "within 0.01 %"),
            invariant("profit_and_loss", true, "sums to the balance change"),
        ],
        orphans: vec!["web_8231".into()],
        baseline: BTreeMap::from([("BTC".to_owned(), decimal("1"))]),
        halted: Some("positions differ".into()),
    }
}

pub(super) fn epoch() -> Epoch {
    Epoch { process: "risk".into(), holder: "host-1/4711".into(), at: at(0) }
}

pub(super) fn kill_switch() -> KillSwitch {
    KillSwitch { on: true, cancel_open: true, actor: "operator".into(), reason: "model misbehaves".into(), at: at(0) }
}

pub(super) fn limits_command() -> LimitsCommand {
    let limits = Limits {
        strategy: BTreeMap::from([(
            "sma-cross".to_owned(),
            LimitOverride { notional_usd_max: Some(decimal("2500")), ..LimitOverride::default() },
        )]),
        ..Limits::default()
    };
    LimitsCommand {
        limits,
        source: LimitsSource::Command,
        actor: "operator".into(),
        reason: "smaller while we watch".into(),
        at: at(0),
    }
}

pub(super) fn cancel_command() -> CancelCommand {
    CancelCommand { order: order_intent().order, actor: "operator".into(), reason: "no longer wanted".into(), at: at(0) }
}

pub(super) fn strategy_command() -> StrategyCommand {
    StrategyCommand {
        strategy: "sma-cross".into(),
        run: true,
        symbols: vec!["binance.BTCUSDT".into()],
        actor: "operator".into(),
        reason: "first day on paper".into(),
        at: at(0),
    }
}

pub(super) fn resume_command() -> ResumeCommand {
    ResumeCommand {
        scope: HaltScope::Exchange(Venue::Binance),
        actor: "operator".into(),
        reason: "the missing 0.05 BTC was withdrawn by hand".into(),
        at: at(0),
    }
}

fn reason() -> Reason {
    Reason {
        alert: "WSStaleness".to_owned(),
        scope: scope("venue", "btcturk"),
        severity: Severity::Critical,
        value: Some(121.5),
        threshold: Some(120.0),
        unit: "s".to_owned(),
        since: at(-60_000),
        revision: 7,
    }
}

pub(super) fn restart_command() -> RestartCommand {
    RestartCommand {
        service: "feed".to_owned(),
        episode: Some("1723161195342".to_owned()),
        attempt: 1,
        actor: "guardrail".to_owned(),
        reason: "WSStaleness venue=btcturk is critical for 30 s".to_owned(),
        evidence: vec![reason()],
        at: at(0),
    }
}

pub(super) fn restart_done() -> RestartDone {
    RestartDone {
        service: "feed".to_owned(),
        command: 4_711,
        episode: Some("1723161195342".to_owned()),
        outcome: RestartOutcome::Restarted,
        detail: None,
        pid: Some(4_242),
        took_ms: 310,
        at: at(310),
        refusal: None,
    }
}

pub(super) fn rollback_command() -> RollbackCommand {
    RollbackCommand {
        episode: "1723161195342".to_owned(),
        steps: vec![
            RollbackStep::FeaturesOff { strategies: vec!["demo-cross".to_owned()] },
            RollbackStep::RolloutBack,
            RollbackStep::ConfigurationBack { revision: Some(4_000), limits: Box::new(limits_command().limits) },
            RollbackStep::KillSwitch { cancel_open: true },
        ],
        actor: "guardrail".to_owned(),
        reason: "2 criticals for 15 min, and a restart of executor did not help".to_owned(),
        evidence: vec![reason()],
        at: at(0),
    }
}

pub(super) fn action() -> Action {
    Action {
        episode: "1723161195342".to_owned(),
        revision: 3,
        stage: ActionStage::RollbackUnverified,
        dry_run: false,
        service: Some("executor".to_owned()),
        summary: "the rollback is not complete: executor is not heard of".to_owned(),
        evidence: vec![reason()],
        checks: vec![HealthCheck {
            name: "processes".to_owned(),
            ok: false,
            detail: "executor: last heartbeat 12 s ago".to_owned(),
        }],
        at: at(90_000),
    }
}

pub(super) fn thresholds_command() -> ThresholdsCommand {
    ThresholdsCommand {
        changes: vec![ThresholdChange {
            rule: "portfolio_refresh_p95".to_owned(),
            scope: scope("exchange", "binance"),
            warning: Some(900.0),
            critical: None,
        }],
        reset: false,
        actor: "operator".to_owned(),
        reason: "tuned on seven days".to_owned(),
        at: at(0),
    }
}

pub(super) fn silence() -> Silence {
    Silence {
        id: "0191f3a2-7c5e-7b1a-9f3e-2d4c6b8a0e11".to_owned(),
        matchers: vec![Matcher { name: "alertname".to_owned(), value: "WS.*".to_owned(), is_regex: true, is_equal: true }],
        starts_at: at(0),
        ends_at: at(3_600_000),
        created_by: "operator".to_owned(),
        comment: "maintenance of the exchange".to_owned(),
        at: at(0),
    }
}

pub(super) fn notification() -> Notification {
    Notification {
        receiver: "desk".to_owned(),
        group_key: "{}:{alertname=\"WSStaleness\"}".to_owned(),
        group_labels: scope("alertname", "WSStaleness"),
        revision: 2,
        reason: NotifyReason::Changed,
        alerts: vec![NotifiedAlert {
            labels: scope("alertname", "WSStaleness"),
            annotations: scope("summary", "no market data at all from btcturk for 121 s"),
            firing: true,
            starts_at: at(-90_000),
            ends_at: None,
            fingerprint: "90f3c1d2a4b5e6f7".to_owned(),
        }],
        truncated: 0,
        at: at(0),
    }
}

pub(super) fn delivery() -> Delivery {
    Delivery {
        receiver: "desk".to_owned(),
        group_key: "{}:{alertname=\"WSStaleness\"}".to_owned(),
        revision: 2,
        notification: 4_712,
        outcome: DeliveryOutcome::Retrying,
        attempts: 1,
        http_status: Some(503),
        detail: Some("the receiver answers 503".to_owned()),
        took_ms: 12,
        at: at(12),
    }
}

pub(super) fn api_requests() -> ApiRequests {
    ApiRequests { service: "gateway".to_owned(), latencies_us: vec![180, 240], statuses: BTreeMap::from([(200, 2)]), at: at(0) }
}

pub(super) fn smoke() -> Smoke {
    let check = |name: &str, ok: bool| SmokeCheck {
        name: name.to_owned(),
        ok,
        value: Some(1.0),
        limit: Some(2.0),
        detail: "1 of 2".to_owned(),
    };
    Smoke {
        checks: vec![check("accounts", true), check("p95", false)],
        passed: 1,
        pass: false,
        text: "SMOKE FAIL 1/2".to_owned(),
        uptime: Some(0.999),
        actor: "operator".to_owned(),
        at: at(0),
    }
}

pub(super) fn candle() -> Candle {
    Candle {
        venue: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: TimeFrame::M1,
        open_time: Timestamp::from_millis(1_723_161_240_000),
        close_time: Timestamp::from_millis(1_723_161_300_000),
        open: decimal("61837.63"),
        high: decimal("61860.8"),
        low: decimal("61830"),
        close: decimal("61852.01"),
        volume: decimal("12.40713"),
        quote_volume: decimal("767301.5512"),
        trades: 812,
        revision: 1,
        source: CandleSource::Ticks,
        gap: false,
        complete: true,
        closed_at: at(44_700),
    }
}

fn column(values: &[&str]) -> crate::decimal::DecimalColumn {
    let mut column = crate::decimal::DecimalColumn::default();
    for value in values {
        column.push(fixed(value)).expect("samples fit one scale");
    }
    column
}

pub(super) fn candle_history() -> CandleHistory {
    CandleHistory {
        venue: Venue::Btcturk,
        symbol: "BTCTRY".to_owned(),
        timeframe: TimeFrame::H1,
        open_time: vec![Timestamp::from_millis(1_723_154_400_000), Timestamp::from_millis(1_723_158_000_000)],
        open: column(&["2051000", "2054100"]),
        high: column(&["2055500", "2060000"]),
        low: column(&["2049999", "2053000"]),
        close: column(&["2054100", "2058333"]),
        volume: column(&["3.21", "0"]),
        fetched_at: at(0),
    }
}

pub(super) fn market_snapshot() -> MarketSnapshot {
    MarketSnapshot {
        venue: Venue::Bist,
        symbol: "THYAO".to_owned(),
        last: decimal("291.25"),
        bid: Some(decimal("291.25")),
        ask: Some(decimal("291.5")),
        open: Some(decimal("288")),
        high: Some(decimal("292")),
        low: Some(decimal("287.5")),
        prev_close: Some(decimal("287.75")),
        volume: decimal("18230411"),
        turnover: Some(decimal("5290012345.25")),
        status: "continuous".to_owned(),
        occurred_at: at(-900_000),
        received_at: at(0),
        delay_minutes: 15,
        provider: "demo".to_owned(),
    }
}

fn model() -> ModelId {
    ModelId {
        feature_version: "v2.0".to_owned(),
        model_version: "ml-fusion-1.2".to_owned(),
        hash: "4f9f10b304cfe9b2b11fcb1387f694e18f08ea358c7e9f567434d3ad6cbd5443".to_owned(),
    }
}

fn parts() -> BTreeMap<String, f64> {
    BTreeMap::from([("macd".to_owned(), 0.5), ("rsi".to_owned(), -0.125), ("trend".to_owned(), 0.75)])
}

pub(super) fn model_in_force() -> ModelInForce {
    ModelInForce { model: model(), weights: parts(), confid_floor: 0.55, horizon: 4, at: at(0) }
}

pub(super) fn score() -> Score {
    Score {
        model: model(),
        venue: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: TimeFrame::M15,
        open_time: Timestamp::from_millis(1_723_161_600_000),
        close: decimal("61852.01"),
        score: Some(0.375),
        confid: Some(0.6875),
        ml_bucket: Some("0.6-0.7".to_owned()),
        ml_signal_parts: parts(),
        side: Some(Side::Buy),
        advisory: true,
        reason: Some("the rollout is at its preview".to_owned()),
        confid_floor: 0.55,
        assigned: false,
        decided_at: at(44_700),
        absence: None,
    }
}

pub(super) fn score_request() -> ScoreRequest {
    ScoreRequest {
        id: "7f3a".to_owned(),
        venue: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: TimeFrame::M15,
        open_time: Timestamp::from_millis(1_723_161_600_000),
        features: BTreeMap::from([("c".to_owned(), Some(61_852.0)), ("v".to_owned(), None)]),
        actor: "desk".to_owned(),
        at: at(0),
    }
}

pub(super) fn score_answer() -> ScoreAnswer {
    ScoreAnswer { id: "7f3a".to_owned(), score: score() }
}

pub(super) fn outcome() -> Outcome {
    Outcome {
        model: model(),
        venue: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: TimeFrame::M15,
        open_time: Timestamp::from_millis(1_723_161_600_000),
        score: 0.375,
        confid: 0.6875,
        ml_signal_parts: parts(),
        assigned: true,
        horizon: 4,
        move_bps: 12.5,
        hit: true,
        at: at(3_600_000),
    }
}

pub(super) fn calibration() -> Calibration {
    let reliability = |bucket: &&str| Reliability { ml_bucket: (*bucket).to_owned(), count: 10, hits: 6, mean_confid: 0.5625 };
    Calibration {
        model: model(),
        venue: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: TimeFrame::M15,
        samples: 50,
        reliability: crate::signals::BUCKETS.iter().map(reliability).collect(),
        brier: Some(0.21875),
        correlation: BTreeMap::from([("rsi".to_owned(), 0.125)]),
        drift_psi: Some(0.0625),
        confid_median: Some(0.625),
        low_confidence_since: None,
        at: at(0),
    }
}

pub(super) fn rollout_command() -> RolloutCommand {
    RolloutCommand {
        verb: RolloutVerb::Start,
        model: Some(model()),
        revision: Some(3),
        actor: "operator".to_owned(),
        reason: "two weeks of good calibration".to_owned(),
        at: at(0),
    }
}

pub(super) fn rollout_changed() -> RolloutChanged {
    RolloutChanged {
        revision: 4,
        model: model(),
        stage: Stage::Tenth,
        phase: Phase::Running,
        stage_since: at(-600_000),
        held_ms: 600_000,
        hold_ms: 3_600_000,
        preview: PreviewOf { venue: Venue::Binance, symbol: "BTCUSDT".to_owned(), timeframe: TimeFrame::M15 },
        gates: vec![Gate {
            name: "hit_rate".to_owned(),
            state: GateState::Inconclusive,
            value: Some(0.625),
            baseline: Some(0.5),
            threshold: 0.45,
            samples: 8,
            samples_min: 30,
        }],
        last_good: Stage::Preview,
        summary: "10 %: 1 of 5 gates has too few samples".to_owned(),
        actor: "rollout".to_owned(),
        command: Some(4_711),
        refusal: None,
        at: at(0),
    }
}

pub(super) fn counter_move() -> CounterMove {
    CounterMove {
        kind: CounterMoveKind::ConfidenceFloor,
        on: true,
        revision: 1,
        actor: "guardrail".to_owned(),
        reason: "the median confidence is 0.44".to_owned(),
        evidence: Vec::new(),
        at: at(0),
    }
}

pub(super) fn strategy_registered() -> StrategyRegistered {
    StrategyRegistered {
        name: "cross".to_owned(),
        revision: 2,
        kind: StrategyKind::SmaCross,
        params: BTreeMap::from([("fast".to_owned(), "10".to_owned()), ("slow".to_owned(), "30".to_owned())]),
        exchange: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: Some(TimeFrame::M1),
        quantity: Some(decimal("0.001")),
        cash: None,
        status: StrategyStatus::Backtested,
        backtest: Some("bt-7f3a".to_owned()),
        actor: "operator".to_owned(),
        reason: "a first try".to_owned(),
        at: at(0),
    }
}

pub(super) fn backtest_job() -> BacktestJob {
    BacktestJob {
        id: "bt-7f3a".to_owned(),
        strategy: Some("cross".to_owned()),
        kind: StrategyKind::SmaCross,
        params: BTreeMap::from([("fast".to_owned(), "10".to_owned())]),
        sweep: BTreeMap::from([("slow".to_owned(), vec!["20".to_owned(), "30".to_owned()])]),
        walk_forward: Some(WalkForward { train_bars: 500, test_bars: 100 }),
        venue: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: Some(TimeFrame::H1),
        data: DataSource::Feed { from: None, to: Some(at(0)) },
        cash: decimal("10000"),
        commission_pct: decimal("0.1"),
        fill_at: FillAt::Close,
        limits: None,
        actor: "operator".to_owned(),
        reason: "is it any good".to_owned(),
        at: at(0),
    }
}

pub(super) fn job_progress() -> JobProgress {
    JobProgress {
        id: "bt-7f3a".to_owned(),
        state: JobState::Running,
        done: 1_000,
        total: 2_936,
        attempt: 1,
        worker: "4711-1".to_owned(),
        at: at(250),
    }
}

pub(super) fn job_cancel() -> JobCancel {
    JobCancel { id: "bt-7f3a".to_owned(), actor: "operator".to_owned(), reason: "wrong file".to_owned(), at: at(300) }
}

pub(super) fn backtest_done() -> BacktestDone {
    BacktestDone {
        id: "bt-7f3a".to_owned(),
        state: JobState::Done,
        strategy: Some("cross".to_owned()),
        kind: StrategyKind::SmaCross,
        params: BTreeMap::from([("fast".to_owned(), "10".to_owned()), ("slow".to_owned(), "30".to_owned())]),
        metrics: Some(BacktestMetrics {
            total_return_pct: 3.25,
            sharpe: Some(1.125),
            max_drawdown_pct: 4.5,
            win_rate_pct: Some(50.0),
            profit_factor: Some(1.5),
            trades: 40,
            refused: 0,
            bars: 1_468,
            final_equity: decimal("10325"),
        }),
        trades_hash: Some("4f9f10b304cfe9b2b11fcb1387f694e18f08ea358c7e9f567434d3ad6cbd5443".to_owned()),
        data_hash: None,
        error: None,
        attempts: 1,
        at: at(900),
    }
}
