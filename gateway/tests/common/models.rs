//! What signal, rollout, backtest and feed would say.

use std::collections::BTreeMap;
use std::future::Future;

use serde_json::Value;
use spark_bus_schema::backtests::{BacktestDone, BacktestMetrics, JobProgress, JobState};
use spark_bus_schema::candles::{MarketSnapshot, TimeFrame};
use spark_bus_schema::market::Side;
use spark_bus_schema::rollout::{Gate, GateState, Phase, PreviewOf, RolloutChanged, Stage};
use spark_bus_schema::signals::{BUCKETS, Calibration, ModelId, ModelInForce, Reliability, Score, ScoreAnswer, ScoreRequest};
use spark_bus_schema::strategies::StrategyKind;
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Decimal, Message, Timestamp, Venue};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Follower, Meta, Start};
use tokio::task::JoinHandle;

use super::running::{Running, TOKEN};
use super::{Answer, bounded, send};

impl Running {
    /// With the operator's token.
    pub async fn post(&self, path: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {TOKEN}");
        send(self.address, &format!("POST {path}"), &[("Authorization", &bearer)], body).await
    }

    /// As [`post`](Self::post), under a key.
    pub async fn post_as(&self, path: &str, key: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {TOKEN}");
        send(self.address, &format!("POST {path}"), &[("Authorization", &bearer), ("X-Idempotency-Key", key)], body).await
    }
}

/// A process of this test; it ends with it.
pub struct Acting(JoinHandle<()>);

impl Acting {
    pub fn spawn(doing: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(doing))
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub async fn publish<T: Message>(bus: &Bus, on: &str, message: &T) -> u64 {
    bounded("publish", bus.publish(on, message, Meta::default())).await.unwrap()
}

pub fn model() -> ModelId {
    ModelId { feature_version: "v2.0".into(), model_version: "ml-fusion-1.2".into(), hash: "ab".repeat(32) }
}

pub fn in_force() -> ModelInForce {
    ModelInForce {
        model: model(),
        weights: BTreeMap::from([("rsi".into(), 0.5), ("macd".into(), 0.25), ("trend".into(), 0.25)]),
        confid_floor: 0.55,
        horizon: 4,
        at: spark_nats::now(),
    }
}

pub fn score(symbol: &str, minute: i64, confid: f64) -> Score {
    let open_time = Timestamp::from_millis(1_700_000_040_000 + minute * 60_000);
    let bucket = BUCKETS[(((confid - 0.5) * 10.0) as usize).min(4)];
    Score {
        model: model(),
        venue: Venue::Binance,
        symbol: symbol.into(),
        timeframe: TimeFrame::M1,
        open_time,
        close: "61840.5".parse().unwrap(),
        score: Some(0.375),
        confid: Some(confid),
        ml_bucket: Some(bucket.into()),
        ml_signal_parts: BTreeMap::from([("rsi".into(), 0.5), ("macd".into(), 0.25), ("trend".into(), 0.375)]),
        side: Some(Side::Buy),
        advisory: false,
        reason: None,
        confid_floor: 0.55,
        assigned: true,
        decided_at: open_time,
        absence: None,
    }
}

/// Answers every request: closed when a feature is missing, or, when it is reckless, with a score whatever is asked.
pub async fn signal(broker: &TestBroker, reckless: bool) -> Acting {
    let bus = broker.bus("signal").await;
    let subjects = vec![subject::SCORE_REQUESTS.to_owned()];
    let mut requests = Follower::start(bus.clone(), "signal", LEDGER, subjects, Start::Beginning);
    Acting(tokio::spawn(async move {
        while let Some(batch) = requests.next().await {
            for delivery in batch {
                let request: ScoreRequest = delivery.decode().unwrap();
                let mut score = Score { open_time: request.open_time, ..score(&request.symbol, 0, 0.75) };
                if !reckless && request.features.values().any(Option::is_none) {
                    (score.score, score.confid, score.ml_bucket, score.side) = (None, None, None, None);
                    (score.advisory, score.reason) = (true, Some("a feature is no number".into()));
                }
                publish(&bus, &subject::score_answer(&request.id), &ScoreAnswer { id: request.id.clone(), score }).await;
            }
        }
    }))
}

pub fn calibration(symbol: &str, samples: u64, brier: f64) -> Calibration {
    let each = samples / 5;
    let row = |bucket: &&str| Reliability { ml_bucket: (*bucket).into(), count: each, hits: each / 2, mean_confid: 0.75 };
    Calibration {
        model: model(),
        venue: Venue::Binance,
        symbol: symbol.into(),
        timeframe: TimeFrame::M1,
        samples,
        reliability: BUCKETS.iter().map(row).collect(),
        brier: Some(brier),
        correlation: BTreeMap::from([("rsi".into(), 0.125)]),
        drift_psi: Some(0.0625),
        confid_median: Some(0.625),
        low_confidence_since: None,
        at: spark_nats::now(),
    }
}

pub fn changed(revision: u64, stage: Stage, phase: Phase) -> RolloutChanged {
    RolloutChanged {
        revision,
        model: model(),
        stage,
        phase,
        stage_since: Timestamp::from_millis(1_700_000_000_000),
        held_ms: 600_000,
        hold_ms: 3_600_000,
        preview: PreviewOf { venue: Venue::Binance, symbol: "BTCUSDT".into(), timeframe: TimeFrame::M15 },
        gates: vec![Gate {
            name: "hit_rate".into(),
            state: GateState::Inconclusive,
            value: Some(0.625),
            baseline: Some(0.5),
            threshold: 0.45,
            samples: 8,
            samples_min: 30,
        }],
        last_good: Stage::Off,
        summary: format!("{stage}: as told"),
        actor: "rollout".into(),
        command: None,
        refusal: None,
        at: spark_nats::now(),
    }
}

pub fn progress(id: &str, done: u64) -> JobProgress {
    JobProgress {
        id: id.into(),
        state: JobState::Running,
        done,
        total: 1_000,
        attempt: 1,
        worker: "4711-1".into(),
        at: spark_nats::now(),
    }
}

pub fn ended(id: &str, strategy: Option<&str>, state: JobState) -> BacktestDone {
    let done = state == JobState::Done;
    let metrics = BacktestMetrics {
        total_return_pct: 12.5,
        sharpe: Some(1.25),
        max_drawdown_pct: 4.5,
        win_rate_pct: None,
        profit_factor: None,
        trades: 42,
        refused: 0,
        bars: 1_000,
        final_equity: "11250.5".parse().unwrap(),
    };
    BacktestDone {
        id: id.into(),
        state,
        strategy: strategy.map(Into::into),
        kind: StrategyKind::SmaCross,
        params: BTreeMap::from([("fast".into(), "10".into()), ("slow".into(), "30".into())]),
        metrics: done.then_some(metrics),
        trades_hash: done.then(|| "ab".repeat(32)),
        data_hash: done.then(|| "cd".repeat(32)),
        error: (state == JobState::Failed).then(|| "the file has no rows".into()),
        attempts: 1,
        at: spark_nats::now(),
    }
}

pub fn share(symbol: &str, last: &str, delay_minutes: u32) -> MarketSnapshot {
    let now = spark_nats::now();
    MarketSnapshot {
        venue: Venue::Bist,
        symbol: symbol.into(),
        last: last.parse().unwrap(),
        bid: Some(last.parse().unwrap()),
        ask: None,
        open: None,
        high: None,
        low: None,
        prev_close: Some("305".parse().unwrap()),
        volume: Decimal::from(1_250_000),
        turnover: None,
        status: "continuous".into(),
        occurred_at: now - std::time::Duration::from_secs(60 * u64::from(delay_minutes)),
        received_at: now,
        delay_minutes,
        provider: "sim".into(),
    }
}

/// Bytes that are no message, by whoever may publish there.
pub async fn garbage(broker: &TestBroker, on: &str) {
    let users = [
        ("market.snapshots", "feed"),
        ("telemetry.jobs", "backtest"),
        ("signals.", "signal"),
        ("rollout.", "rollout"),
        ("audit.backtest", "backtest"),
        ("control.", "operator"),
    ];
    let user = users.into_iter().find(|(beginning, _)| on.starts_with(beginning)).map(|(_, user)| user).unwrap();
    let client = broker.bus(user).await.raw_client().clone();
    client.publish(on.to_owned(), vec![0xc1; 64].into()).await.unwrap();
    client.flush().await.unwrap();
}

/// Where an answer says that it was wrong, and that it says what would be right.
pub fn check_problem(answer: &Answer, status: u16, place: Option<&str>) -> Value {
    let problem = answer.json();
    assert_eq!((answer.status, problem["where"].as_str()), (status, place), "{problem}");
    assert!(problem["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{problem}");
    problem
}
