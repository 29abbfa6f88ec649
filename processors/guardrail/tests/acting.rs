//! What the guardrail does about criticals, on a real broker and under its own user: restart, answer, rollback, all steps.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test names its failure by panicking")]

use std::collections::VecDeque;
use std::time::Duration;

use spark_bus_schema::actions::{
    Action, ActionStage, RestartCommand, RestartDone, RestartOutcome, RollbackCommand, RollbackStep,
};
use spark_bus_schema::control::{KillSwitch, LimitsCommand, LimitsSource, StrategyCommand};
use spark_bus_schema::header;
use spark_bus_schema::risk::{LimitSet, Limits};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Message, Venue};
use spark_guardrail::action::config::{Restart, Rollback, Span};
use spark_guardrail::{Config, Error, run};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Delivery, Follower, Meta, Start, now};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);

/// Critical as soon as a refresh was slow, and for as long as no fast one follows: the gauge of paths that are down.
const RULES: &str = r#"
[[rule]]
id = "exchange_down"
alert = "ExchangeDown"
metric = "exchange_paths_down"
scope = ["exchange"]
aggregation = "gauge"
critical = 0
no_data = "keep"
restart = "feed"
summary = "{exchange}"
cause = "c"
first_action = "f"
"#;

fn config(dry_run: bool, rules: std::path::PathBuf) -> Config {
    let span = |millis| Span(Duration::from_millis(millis));
    let restart = Restart { after: span(300), watch: span(60_000), ..Restart::default() };
    let rollback = Rollback {
        hold: span(1_000),
        watch: span(1_000),
        kill_switch: true,
        cancel_open: true,
        known_good_after: span(0),
        ..Rollback::default()
    };
    Config { rules: Some(rules), dry_run, restart, rollback, ..Config::default() }
}

struct World {
    broker: TestBroker,
    operator: Bus,
    supervisor: Bus,
    config: Config,
    running: Option<(JoinHandle<Result<(), Error>>, CancellationToken)>,
}

impl World {
    async fn start(dry_run: bool) -> Self {
        let broker = TestBroker::start().await;
        let (operator, supervisor) = (broker.bus("operator").await, broker.bus("supervisor").await);
        let rules = broker.dir().join("rules.toml");
        std::fs::write(&rules, RULES).unwrap();
        let config = config(dry_run, rules);
        let mut world = Self { broker, operator, supervisor, config, running: None };
        // In force before the guardrail is there: it asks the broker.
        world.limits(10_000).await;
        world.strategy("sma-cross").await;
        world.start_guardrail().await;
        world
    }

    async fn start_guardrail(&mut self) {
        let service = self.broker.service("guardrail").await;
        let shutdown = service.shutdown.clone();
        self.running = Some((tokio::spawn(run(service, self.config.clone())), shutdown));
    }

    async fn kill_guardrail(&mut self) {
        let (task, shutdown) = self.running.take().unwrap();
        task.abort();
        assert!(task.await.is_err_and(|error| error.is_cancelled()), "it ended by itself");
        shutdown.cancel();
    }

    async fn stop(mut self) {
        let (task, shutdown) = self.running.take().unwrap();
        shutdown.cancel();
        timeout(LIMIT, task).await.expect("stops").unwrap().unwrap();
    }

    async fn publish<T: Message>(&self, target: &str, message: &T) -> u64 {
        self.operator.publish(target, message, Meta::default()).await.unwrap()
    }

    async fn limits(&self, notional: i64) -> u64 {
        let limits =
            Limits { default: LimitSet { notional_usd_max: notional.into(), ..LimitSet::default() }, ..Limits::default() };
        let (actor, reason) = ("test".to_owned(), "test".to_owned());
        let command = LimitsCommand { limits, source: LimitsSource::Command, actor, reason, at: now() };
        self.publish(subject::LIMITS, &command).await
    }

    async fn strategy(&self, name: &str) {
        let symbols = vec!["binance.BTCUSDT".to_owned()];
        let (actor, reason) = ("test".to_owned(), "test".to_owned());
        let command = StrategyCommand { strategy: name.to_owned(), run: true, symbols, actor, reason, at: now() };
        self.publish(&subject::strategy(name), &command).await;
    }

    /// The market-data connections of both exchanges are lost.
    async fn down(&self) {
        for venue in [Venue::Binance, Venue::Btcturk] {
            let status = spark_bus_schema::telemetry::FeedStatus {
                venue,
                state: spark_bus_schema::telemetry::FeedState::Reconnecting,
                since: now(),
                symbols: vec![],
                reconnects: 1,
                trades_missing: 0,
                trades_filled: 0,
                frames_rejected: 0,
                detail: None,
            };
            self.publish(&subject::feed_status(venue), &status).await;
        }
    }

    fn read(&self, name: &str, subjects: &str) -> Reader {
        let follower = Follower::start(self.operator.clone(), name, LEDGER, vec![subjects.to_owned()], Start::Beginning);
        Reader { follower, waiting: VecDeque::new() }
    }
}

struct Reader {
    follower: Follower,
    waiting: VecDeque<Delivery>,
}

impl Reader {
    async fn next<T: Message>(&mut self) -> (Delivery, T) {
        while self.waiting.is_empty() {
            let batch = timeout(LIMIT, self.follower.next()).await;
            self.waiting.extend(batch.unwrap_or_else(|_| panic!("no {} within {LIMIT:?}", T::KIND)).expect("open"));
        }
        let delivery = self.waiting.pop_front().unwrap();
        let message = delivery.decode().unwrap();
        (delivery, message)
    }

    /// The next step of this stage.
    async fn stage(&mut self, stage: ActionStage) -> Action {
        loop {
            let (_, action): (_, Action) = self.next().await;
            if action.stage == stage {
                return action;
            }
        }
    }
}

#[tokio::test]
async fn a_restart_is_asked_for_answered_and_followed_by_a_rollback_whose_every_step_is_in_the_ledger() {
    let world = World::start(false).await;
    let mut actions = world.read("operator-actions", subject::ACTIONS);
    world.down().await;
    let began = actions.stage(ActionStage::Began).await;
    assert_eq!((began.episode.as_str(), began.revision), ("episode-1", 1));

    let (stored, restart): (_, RestartCommand) = world.read("operator-restart", "control.restart.executor").next().await;
    assert_eq!((restart.episode.as_deref(), restart.attempt, restart.evidence.len()), (Some("episode-1"), 1, 2));
    let done = RestartDone {
        service: "executor".into(),
        command: stored.sequence,
        episode: restart.episode,
        outcome: RestartOutcome::Restarted,
        detail: None,
        pid: Some(1),
        took_ms: 10,
        at: now(),
        refusal: None,
    };
    world.supervisor.publish(&subject::restarted("executor"), &done, Meta::default()).await.unwrap();
    let failed = actions.stage(ActionStage::RestartFailed).await;
    assert!(failed.summary.contains("it was restarted"), "{}", failed.summary);

    let (rolled_back, rollback): (_, RollbackCommand) = world.read("operator-rollback", subject::ROLLBACK).next().await;
    let off = RollbackStep::FeaturesOff { strategies: vec!["sma-cross".to_owned()] };
    assert_eq!(rollback.steps, [off, RollbackStep::RolloutBack, RollbackStep::KillSwitch { cancel_open: true }]);
    let (killed, kill): (_, KillSwitch) = world.read("operator-kill", subject::KILL_SWITCH).next().await;
    assert!(kill.on && kill.cancel_open);
    let cause = format!("LEDGER:{}", rolled_back.sequence);
    assert_eq!(killed.header(header::CAUSE), Some(cause.as_str()));
    let mut strategies = world.read("operator-strategies", subject::STRATEGIES);
    let (_, _started): (_, StrategyCommand) = strategies.next().await;
    let (stopped, stop): (_, StrategyCommand) = strategies.next().await;
    assert_eq!((stop.run, stop.symbols.len(), stopped.header(header::CAUSE)), (false, 1, Some(cause.as_str())));

    let verified = actions.stage(ActionStage::RollbackVerified).await;
    assert!(verified.checks.iter().any(|check| check.name == "process guardrail" && check.ok), "{:?}", verified.checks);
    let took = verified.at.saturating_since(rollback.at);
    assert!(took < Duration::from_secs(60), "{took:?}");
    world.stop().await;
}

#[tokio::test]
async fn killed_in_the_middle_it_asks_for_nothing_twice() {
    let mut world = World::start(false).await;
    let mut actions = world.read("operator-actions", subject::ACTIONS);
    world.down().await;
    for stage in [ActionStage::Began, ActionStage::RestartAsked, ActionStage::RollbackAsked] {
        actions.stage(stage).await;
        world.kill_guardrail().await;
        world.start_guardrail().await;
    }
    let mut actions = world.read("operator-actions-again", subject::ACTIONS);
    let mut revision = 0;
    let verified = loop {
        let (_, action): (_, Action) = actions.next().await;
        assert_eq!((action.episode.as_str(), action.revision), ("episode-1", revision + 1), "{action:?}");
        revision = action.revision;
        if action.stage == ActionStage::RollbackVerified {
            break action;
        }
    };
    assert!(verified.checks.iter().all(|check| check.ok));
    for target in ["control.restart.executor", "control.restart.feed", subject::ROLLBACK, subject::KILL_SWITCH] {
        let last = world.operator.last(LEDGER, target).await.unwrap().unwrap_or_else(|| panic!("nothing on {target}"));
        assert_eq!(last.header(header::REVISION), Some("1"), "{target}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_dry_run_leaves_the_story_on_the_bus_and_no_command() {
    let world = World::start(true).await;
    world.down().await;
    let told = world.read("operator-actions", subject::ACTIONS).stage(ActionStage::RollbackVerified).await;
    assert!(told.dry_run);
    for target in ["control.restart.executor", "control.restart.feed", subject::ROLLBACK, subject::KILL_SWITCH] {
        assert!(world.operator.last(LEDGER, target).await.unwrap().is_none(), "{target}");
    }
    world.stop().await;
}
