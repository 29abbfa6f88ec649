//! A made-up rollout, scores, strategies, backtests and shares for the page.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use serde_json::{Value, json};
use spark_bus_schema::backtests::{BacktestDone, BacktestMetrics, JobProgress, JobState};
use spark_bus_schema::candles::{MarketSnapshot, TimeFrame};
use spark_bus_schema::market::Side;
use spark_bus_schema::rollout::{CounterMove, CounterMoveKind, Gate, GateState, Phase, PreviewOf, RolloutChanged, Stage};
use spark_bus_schema::signals::{BUCKETS, Calibration, ModelId, ModelInForce, Reliability, Score};
use spark_bus_schema::strategies::{StrategyKind, StrategyRegistered, StrategyStatus};
use spark_bus_schema::{Decimal, Message, Timestamp, Venue, encode};
use spark_gateway::event::Event;
use spark_gateway::record::{Entry, Record};

const SHARES: [(&str, &str, &str, u32); 5] = [
    ("THYAO", "308.75", "305.00", 0),
    ("AKBNK", "68.15", "68.90", 0),
    ("GARAN", "141.20", "139.80", 15),
    ("ISCTR", "13.42", "13.42", 0),
    ("YKBNK", "31.06", "30.80", 0),
];

/// What was said before the page is opened, with when.
pub fn past(now: Timestamp) -> Vec<(Timestamp, Vec<Event>)> {
    let ago = |minutes: u64| now - Duration::from_secs(60 * minutes);
    let stages = [
        (1, Stage::Preview, 360, "preview began"),
        (2, Stage::Tenth, 118, "all 5 gates held for 4 h"),
        (3, Stage::Half, 41, "all 5 gates held for 60 min"),
    ];
    let mut past: Vec<(Timestamp, Vec<Event>)> = vec![(ago(400), vec![Event::Model(Box::new(in_force(ago(400))))])];
    for (revision, stage, minutes, summary) in stages {
        past.push((ago(minutes), vec![rollout(revision, stage, ago(minutes), summary, 0)]));
    }
    past.push((
        now,
        vec![rollout(4, Stage::Half, now, "50 %: 1 of 5 gates has too few samples", 41 * 60_000), counter_move(ago(12))],
    ));
    let scores = (0..420).map(|number| Event::Score(Box::new(score(number, ago(420 - u64::from(number))))));
    past.push((now, scores.collect()));
    past.push((now, vec![Event::Calibration(Box::new(calibration(now)))]));
    past.push((ago(30), strategies(ago(30))));
    past.push((
        ago(9),
        vec![
            done("bt-7c1f", StrategyKind::SmaCross, 18.4, ago(9), None),
            done("bt-51aa", StrategyKind::MeanReversion, -3.1, ago(9), None),
        ],
    ));
    past.push((
        ago(5),
        vec![done(
            "bt-90e2",
            StrategyKind::SmaCross,
            0.0,
            ago(5),
            Some("/data/ethusdt.csv: row 17: high 2990 is below low 3001"),
        )],
    ));
    past
}

/// What is said all the time.
pub fn now(beat: u64, now: Timestamp) -> Vec<Event> {
    let progress = JobProgress {
        id: "bt-b04d".into(),
        state: JobState::Running,
        done: (beat * 9_000) % 525_600,
        total: 525_600,
        attempt: 1,
        worker: "4711-1".into(),
        at: now,
    };
    let mut events = vec![Event::Progress(progress)];
    if beat.is_multiple_of(20) {
        events.extend(SHARES.iter().map(|share| Event::Snapshot(Box::new(snapshot(share, now)))));
    }
    events
}

/// The curve of a backtest.
pub fn details(id: &str) -> Option<Value> {
    let from = 1_762_000_000_000_i64;
    let equity = |index: i64| {
        let t = index as f64 / 400.0;
        10_000.0 * (1.0 + 0.184 * t + 0.03 * (t * 23.0).sin() * (1.0 - t * 0.4) - 0.05 * (t * 7.0).sin().powi(2))
    };
    let points: Vec<Value> = (0..=400).map(|index| json!([from + index * 3_600_000, equity(index)])).collect();
    (id == "bt-7c1f").then(|| json!({"equity": points, "trades": []}))
}

fn ledger<T: Message>(sequence: u64, message: &T, record: Record) -> Event {
    Event::Ledger(Box::new(Entry { sequence, kind: T::KIND.to_string(), payload: Bytes::from(encode(message)), record }))
}

fn model() -> ModelId {
    ModelId { feature_version: "v2.0".into(), model_version: "ml-fusion-1.2".into(), hash: "5f1c0a".repeat(10) + "abcd" }
}

fn in_force(at: Timestamp) -> ModelInForce {
    let weights = ["rsi", "macd", "trend"].map(|part| (part.to_owned(), 1.0 / 3.0));
    ModelInForce { model: model(), weights: weights.into(), confid_floor: 0.55, horizon: 4, at }
}

fn rollout(revision: u64, stage: Stage, at: Timestamp, summary: &str, held_ms: u64) -> Event {
    let gate = |name: &str, state, value, baseline, threshold, samples| Gate {
        name: name.into(),
        state,
        value: Some(value),
        baseline,
        threshold,
        samples,
        samples_min: 30,
    };
    let told = RolloutChanged {
        revision,
        model: model(),
        stage,
        phase: Phase::Running,
        stage_since: at,
        held_ms,
        hold_ms: 120 * 60_000,
        preview: PreviewOf { venue: Venue::Binance, symbol: "BTCUSDT".into(), timeframe: TimeFrame::M15 },
        gates: vec![
            gate("hit_rate", GateState::Passed, 0.581, Some(0.522), 0.48, 214),
            gate("latency_p95_ms", GateState::Passed, 1.9, Some(1.8), 1_000.0, 820),
            gate("error_ratio", GateState::Passed, 0.0, Some(0.001), 0.01, 820),
            gate("drawdown_pct", GateState::Inconclusive, 0.7, Some(0.9), 3.0, 12),
            gate("critical_alerts", GateState::Passed, 0.0, None, 0.0, 40),
        ],
        last_good: Stage::Tenth,
        summary: summary.into(),
        actor: "rollout".into(),
        command: None,
        refusal: None,
        at,
    };
    ledger(900_000 + revision, &told, Record::RolloutChanged(Box::new(told.clone())))
}

fn counter_move(at: Timestamp) -> Event {
    let told = CounterMove {
        kind: CounterMoveKind::ConfidenceFloor,
        on: true,
        revision: 1,
        actor: "guardrail".into(),
        reason: "the median confidence is 0.53, below 0.55".into(),
        evidence: Vec::new(),
        at,
    };
    ledger(900_100, &told, Record::CounterMove(told.clone()))
}

fn score(number: u32, at: Timestamp) -> Score {
    let wave = (f64::from(number) * 0.7).sin() * 0.5 + (f64::from(number) * 0.13).cos() * 0.5;
    let confid = (0.5 + 0.45 * wave.abs()).clamp(0.5, 1.0);
    let advisory = confid < 0.6;
    Score {
        model: model(),
        venue: Venue::Binance,
        symbol: "BTCUSDT".into(),
        timeframe: TimeFrame::M1,
        open_time: at,
        close: Decimal::from(91_240),
        score: Some(wave.clamp(-1.0, 1.0)),
        confid: Some(confid),
        ml_bucket: Some(BUCKETS[(((confid - 0.5) * 10.0) as usize).min(4)].into()),
        ml_signal_parts: BTreeMap::from([("rsi".into(), 0.25)]),
        side: Some(Side::Buy),
        advisory,
        reason: advisory.then(|| "below the floor".into()),
        confid_floor: 0.55,
        assigned: true,
        decided_at: at,
        absence: None,
    }
}

fn calibration(at: Timestamp) -> Calibration {
    let rows = [(150, 78, 0.55), (120, 71, 0.65), (80, 55, 0.74), (40, 30, 0.84), (14, 12, 0.93)];
    let reliability = BUCKETS.iter().zip(rows).map(|(bucket, (count, hits, mean_confid))| Reliability {
        ml_bucket: (*bucket).into(),
        count,
        hits,
        mean_confid,
    });
    Calibration {
        model: model(),
        venue: Venue::Binance,
        symbol: "BTCUSDT".into(),
        timeframe: TimeFrame::M1,
        samples: 404,
        reliability: reliability.collect(),
        brier: Some(0.231),
        correlation: BTreeMap::from([("rsi".into(), 0.11), ("macd".into(), 0.07), ("trend".into(), 0.19)]),
        drift_psi: Some(0.06),
        confid_median: Some(0.66),
        low_confidence_since: None,
        at,
    }
}

fn strategies(at: Timestamp) -> Vec<Event> {
    let rows = [
        ("cross-btc", StrategyKind::SmaCross, "BTCUSDT", StrategyStatus::Paper),
        ("ml-fusion", StrategyKind::MlFusion, "BTCUSDT", StrategyStatus::Live),
        ("revert-eth", StrategyKind::MeanReversion, "ETHUSDT", StrategyStatus::Stopped),
        ("cross-sol", StrategyKind::SmaCross, "SOLUSDT", StrategyStatus::Draft),
    ];
    let event = |(index, (name, kind, symbol, status)): (usize, (&str, StrategyKind, &str, StrategyStatus))| {
        let crosses = kind == StrategyKind::SmaCross;
        let params =
            if crosses { BTreeMap::from([("fast".into(), "10".into()), ("slow".into(), "30".into())]) } else { BTreeMap::new() };
        let told = StrategyRegistered {
            name: name.into(),
            revision: 3,
            kind,
            params,
            exchange: Venue::Binance,
            symbol: symbol.into(),
            timeframe: crosses.then_some(TimeFrame::M1),
            quantity: None,
            cash: Some(Decimal::from(1_000)),
            status,
            backtest: Some("bt-7c1f".into()),
            actor: "ayse".into(),
            reason: "first week".into(),
            at,
        };
        ledger(900_200 + index as u64, &told, Record::Registered(Box::new(told.clone())))
    };
    rows.into_iter().enumerate().map(event).collect()
}

fn done(id: &str, kind: StrategyKind, total_return_pct: f64, at: Timestamp, error: Option<&str>) -> Event {
    let metrics = BacktestMetrics {
        total_return_pct,
        sharpe: Some(total_return_pct / 11.0),
        max_drawdown_pct: 6.2,
        win_rate_pct: Some(41.2),
        profit_factor: Some(1.31),
        trades: 214,
        refused: 0,
        bars: 525_600,
        final_equity: Decimal::from(11_840),
    };
    let told = BacktestDone {
        id: id.into(),
        state: if error.is_some() { JobState::Failed } else { JobState::Done },
        strategy: None,
        kind,
        params: BTreeMap::from([("fast".into(), "10".into()), ("slow".into(), "30".into())]),
        metrics: error.is_none().then_some(metrics),
        trades_hash: None,
        data_hash: None,
        error: error.map(Into::into),
        attempts: 1,
        at,
    };
    let sequence = 900_300 + u64::from(id.bytes().map(u32::from).sum::<u32>());
    ledger(sequence, &told, Record::BacktestDone(Box::new(told.clone())))
}

fn snapshot((symbol, last, close, delay_minutes): &(&str, &str, &str, u32), now: Timestamp) -> MarketSnapshot {
    let number = |text: &str| text.parse::<Decimal>().expect("a number");
    MarketSnapshot {
        venue: Venue::Bist,
        symbol: (*symbol).into(),
        last: number(last),
        bid: Some(number(last) - Decimal::new(5, 2)),
        ask: Some(number(last) + Decimal::new(5, 2)),
        open: None,
        high: None,
        low: None,
        prev_close: Some(number(close)),
        volume: Decimal::from(12_458_100),
        turnover: None,
        status: "continuous".into(),
        occurred_at: now - Duration::from_secs(60 * u64::from(*delay_minutes)),
        received_at: now,
        delay_minutes: *delay_minutes,
        provider: "sim".into(),
    }
}
