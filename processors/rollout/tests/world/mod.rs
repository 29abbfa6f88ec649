//! Messages with the right identity, and a machine that reads them.

#![allow(dead_code, clippy::unwrap_used, reason = "helpers of several test files")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use spark_bus_schema::actions::{RollbackCommand, RollbackStep};
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::orders::Epoch;
use spark_bus_schema::rollout::{RolloutChanged, RolloutCommand, RolloutVerb, Stage};
use spark_bus_schema::signals::{ModelId, ModelInForce, Outcome, Score};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Decimal, Message, Timestamp, Venue, encode};
use spark_nats::{Delivery, Effects, Machine};
use spark_rollout::config::{Config, Gates};
use spark_rollout::span::Span;
use spark_rollout::{Rollout, Status};

/// When every test begins.
pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub fn model(version: &str, digit: char) -> ModelId {
    ModelId { feature_version: "v2.0".into(), model_version: version.into(), hash: std::iter::repeat_n(digit, 64).collect() }
}

pub fn good() -> ModelId {
    model("ml-good", 'a')
}

pub fn bad() -> ModelId {
    model("ml-bad", 'b')
}

/// Stages of 20, 10, 10 and 20 s, gates every second that need five samples.
pub fn config() -> Config {
    Config {
        preview: Span::from_secs(20),
        tenth: Span::from_secs(10),
        half: Span::from_secs(10),
        full: Span::from_secs(20),
        preview_timeframe: TimeFrame::S1,
        window: Span::from_secs(30),
        step: Span::from_secs(1),
        report: Span::from_secs(60),
        unwatched: Span::from_secs(30),
        gates: Gates { scores_min: 5, outcomes_min: 5, staleness: Span::from_secs(5), ..Gates::default() },
        ..Config::default()
    }
}

pub fn command(verb: RolloutVerb) -> RolloutCommand {
    RolloutCommand { verb, model: None, revision: None, actor: "ada".into(), reason: "a test".into(), at: START }
}

pub fn in_force(model: &ModelId) -> ModelInForce {
    ModelInForce { model: model.clone(), weights: BTreeMap::new(), confid_floor: 0.5, horizon: 3, at: START }
}

/// A score of a candle that closed `latency` ms before `at`.
pub fn score(model: &ModelId, symbol: &str, assigned: bool, at: Timestamp, latency: u64) -> Score {
    Score {
        model: model.clone(),
        venue: Venue::Binance,
        symbol: symbol.into(),
        timeframe: TimeFrame::S1,
        open_time: at - Duration::from_secs(1),
        close: Decimal::from(100),
        score: Some(0.5),
        confid: Some(0.75),
        ml_bucket: Some("0.7-0.8".into()),
        ml_signal_parts: BTreeMap::new(),
        side: None,
        advisory: false,
        reason: None,
        confid_floor: 0.5,
        assigned,
        decided_at: at - Duration::from_millis(latency),
        absence: None,
    }
}

pub fn no_score(model: &ModelId, symbol: &str, assigned: bool, at: Timestamp) -> Score {
    Score {
        score: None,
        confid: None,
        ml_bucket: None,
        advisory: true,
        reason: Some("not warm".into()),
        ..score(model, symbol, assigned, at, 1)
    }
}

pub fn outcome(model: &ModelId, symbol: &str, assigned: bool, at: Timestamp, hit: bool) -> Outcome {
    Outcome {
        model: model.clone(),
        venue: Venue::Binance,
        symbol: symbol.into(),
        timeframe: TimeFrame::S1,
        open_time: at - Duration::from_secs(1),
        score: 0.5,
        confid: 0.75,
        ml_signal_parts: BTreeMap::new(),
        assigned,
        horizon: 3,
        move_bps: if hit { 4.0 } else { -4.0 },
        hit,
        at,
    }
}

pub fn alert(name: &str, state: AlertState, severity: Severity) -> Alert {
    Alert {
        name: name.into(),
        rule: name.into(),
        revision: 1,
        scope: BTreeMap::new(),
        state,
        severity: Some(severity),
        value: Some(2.0),
        threshold: Some(1.0),
        direction: "above".into(),
        unit: "s".into(),
        window_ms: 1_000,
        samples: 1,
        at: START,
        since: None,
        summary: "s".into(),
        cause: "c".into(),
        first_action: "f".into(),
        permanent_fix: "p".into(),
        runbook: "r".into(),
    }
}

pub fn rollback() -> RollbackCommand {
    RollbackCommand {
        episode: "e-1".into(),
        steps: vec![RollbackStep::RolloutBack],
        actor: "guardrail".into(),
        reason: "two criticals".into(),
        evidence: vec![],
        at: START,
    }
}

pub fn deliver<T: Message>(sequence: u64, at: Timestamp, subject: &str, message: &T) -> Delivery {
    Delivery {
        stream: LEDGER,
        sequence,
        stored_at: at,
        subject: subject.to_owned(),
        kind: Some(T::KIND.to_string()),
        headers: vec![],
        payload: Bytes::from(encode(message)),
        pending: 0,
    }
}

/// A LEDGER with one reader: what it tells is stored right behind what it follows from, as the decider does it.
pub struct World {
    pub machine: Rollout,
    pub log: Vec<Delivery>,
    pub told: Vec<RolloutChanged>,
    pub now: Timestamp,
}

impl World {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: Config) -> Self {
        Self { machine: Rollout::new(config), log: Vec::new(), told: Vec::new(), now: START }
    }

    pub fn status(&self) -> &Status {
        self.machine.status()
    }

    pub fn last(&self) -> &RolloutChanged {
        self.told.last().expect("nothing was told")
    }

    pub fn put<T: Message>(&mut self, subject: &str, message: &T) {
        let delivery = deliver(self.log.len() as u64 + 1, self.now, subject, message);
        self.take(delivery);
    }

    fn take(&mut self, delivery: Delivery) {
        let mut effects = Effects::default();
        let event = Rollout::decode(&delivery).unwrap();
        let _parked = self.machine.apply(delivery.stored_at, event, &mut effects);
        self.log.push(delivery);
        for effect in effects.drain().collect::<Vec<_>>() {
            let told: RolloutChanged = spark_bus_schema::codec::decode_payload(&effect.payload).unwrap();
            assert_eq!(
                (effect.revision, &effect.subject),
                (Some(told.revision), &subject::rollout_changed(&told.model.model_version))
            );
            let stored = deliver(self.log.len() as u64 + 1, self.now, &effect.subject, &told);
            self.told.push(told);
            self.take(stored);
        }
    }

    pub fn command(&mut self, verb: RolloutVerb) -> &RolloutChanged {
        self.put(subject::ROLLOUT, &command(verb));
        self.last()
    }

    pub fn in_force(&mut self, model: &ModelId) {
        self.put(subject::MODEL, &in_force(model));
    }

    pub fn clock(&mut self) {
        let at = self.now;
        self.put(subject::ROLLOUT_CLOCK, &Epoch { process: "rollout".into(), holder: "h".into(), at });
    }

    pub fn scored(&mut self, score: &Score) {
        self.put(&subject::score(score.venue, &score.symbol, score.timeframe), score);
    }

    pub fn came_true(&mut self, outcome: &Outcome) {
        self.put(&subject::outcome(outcome.venue, &outcome.symbol, outcome.timeframe), outcome);
    }

    pub fn alerted(&mut self, alert: &Alert) {
        self.put(&subject::alert(&alert.name, &alert.scope), alert);
    }

    /// One second with a score and an outcome of the judged symbol and of another one.
    pub fn second(&mut self, model: &ModelId, hit: bool) {
        self.now = self.now + Duration::from_secs(1);
        let assigned = self.status().stage > Stage::Preview;
        for (symbol, assigned, hit) in [("BTCUSDT", assigned, hit), ("ETHUSDT", false, true)] {
            self.scored(&score(model, symbol, assigned, self.now, 5));
            self.came_true(&outcome(model, symbol, assigned, self.now, hit));
        }
    }

    /// Good seconds until the stage is reached.
    pub fn until(&mut self, stage: Stage) {
        for _ in 0..200 {
            if self.status().stage == stage {
                return;
            }
            self.second(&good(), true);
        }
        panic!("{stage} is not reached: {:?}", self.status());
    }

    /// A good model at a stage.
    pub fn at(stage: Stage) -> Self {
        let mut world = Self::new();
        world.in_force(&good());
        world.command(RolloutVerb::Start);
        world.until(stage);
        world
    }
}
