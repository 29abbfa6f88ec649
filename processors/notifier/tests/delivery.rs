//! The notifier as a process on a real broker, with receivers on real sockets that are slow, away, busy or refuse.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test names its failure by panicking")]

mod support;

use std::time::Duration;

use spark_bus_schema::notify::{DeliveryOutcome, NotifyReason};
use spark_bus_schema::parked::Parked;
use spark_bus_schema::subject::PARKED;
use spark_notifier::config::{Config, Receiver};
use spark_notifier::run;
use support::{Got, Hook, World, eventually, webhook};

fn words(got: &[Got]) -> Vec<String> {
    got.iter().map(Got::words).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_reaches_a_webhook_and_what_became_of_it_is_in_the_ledger() {
    let hook = Hook::start().await;
    let mut world = World::start(vec![webhook("pager", hook.url("/hook"))]).await;
    world.fires("ExchangeDown", "btcturk").await;
    let got = hook.wait_for(1).await;
    assert_eq!((got[0].path.as_str(), got[0].words().as_str()), ("/hook", "ExchangeDown firing"));
    assert_eq!((&got[0].body["version"], &got[0].body["receiver"]), (&"4".into(), &"pager".into()));
    let outcomes = world.settled(1).await;
    let notification = &world.notifications().await[0];
    assert_eq!((notification.reason, notification.revision), (NotifyReason::New, 1));
    assert_eq!(outcomes.len(), 1);
    assert_eq!((outcomes[0].outcome, outcomes[0].attempts, outcomes[0].http_status), (DeliveryOutcome::Delivered, 1, Some(200)));
    assert_eq!(outcomes[0].group_key, notification.group_key);
    world.resolves("ExchangeDown", "btcturk").await;
    assert_eq!(words(&hook.wait_for(2).await), ["ExchangeDown firing", "ExchangeDown resolved"]);
    world.stop_notifier().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_away_misses_nothing_and_holds_nobody_up() {
    let (mut away, prompt) = (Hook::start().await, Hook::start().await);
    away.down().await;
    let mut world = World::start(vec![webhook("away", away.url("/a")), webhook("prompt", prompt.url("/b"))]).await;
    // An hour at a longest pause of a minute is sixty tries; here, at 100 ms, six seconds would be.
    let mut want = Vec::new();
    for round in 0..10 {
        let name = format!("Alert{round}");
        world.fires(&name, "binance").await;
        prompt.wait_for(want.len() + 1).await;
        want.push(format!("{name} firing"));
        world.resolves(&name, "binance").await;
        prompt.wait_for(want.len() + 1).await;
        want.push(format!("{name} resolved"));
    }
    assert_eq!(words(&prompt.got()), want);
    assert_eq!(away.got().len(), 0);
    let before = world.settled(20).await;
    let told: Vec<_> = before.iter().filter(|outcome| outcome.receiver == "away").collect();
    assert_eq!(told.len(), 1, "one word when it begins: {told:#?}");
    assert_eq!(told[0].outcome, DeliveryOutcome::Retrying);
    assert!(told[0].detail.as_ref().unwrap().contains("127.0.0.1"), "{told:?}");
    away.up().await;
    assert_eq!(words(&away.wait_for(20).await), want);
    let after = world.settled(40).await;
    assert!(after.iter().all(|outcome| outcome.outcome != DeliveryOutcome::Parked));
    world.stop_notifier().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_receiver_is_asked_again_when_it_says_so_and_can_tell_that_it_is_the_same() {
    let hook = Hook::start().await;
    hook.answers(429, vec![("retry-after", "1".to_owned())], "slow down");
    hook.answers(503, Vec::new(), "");
    let mut world = World::start(vec![webhook("busy", hook.url("/"))]).await;
    world.fires("ExchangeDown", "btcturk").await;
    let got = hook.wait_for(3).await;
    assert!(got[1].at - got[0].at >= Duration::from_secs(1), "asked again after {:?}", got[1].at - got[0].at);
    let keys: Vec<&str> = got.iter().map(|got| got.header("idempotency-key")).collect();
    assert!(!keys[0].is_empty() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    let outcomes = world.settled(1).await;
    let told: Vec<_> = outcomes.iter().map(|outcome| (outcome.outcome, outcome.attempts, outcome.http_status)).collect();
    assert_eq!(told, [(DeliveryOutcome::Retrying, 1, Some(429)), (DeliveryOutcome::Delivered, 3, Some(200))]);
    assert_eq!(outcomes[0].detail.as_deref(), Some("127.0.0.1 answers 429: slow down"));
    world.stop_notifier().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_refuses_is_parked_with_its_reason_and_the_next_goes_on() {
    let hook = Hook::start().await;
    hook.answers(400, Vec::new(), "no such channel");
    let mut world = World::start(vec![webhook("chat", hook.url("/"))]).await;
    world.fires("ExchangeDown", "btcturk").await;
    world.fires("ExchangeDown", "binance").await;
    let outcomes = world.settled(2).await;
    let told: Vec<_> = outcomes.iter().map(|outcome| (outcome.outcome, outcome.http_status)).collect();
    assert_eq!(told, [(DeliveryOutcome::Parked, Some(400)), (DeliveryOutcome::Delivered, Some(200))]);
    let parked = world.stored(PARKED, "parked.notifier.>").await;
    let parked: Parked = parked[0].decode().unwrap();
    assert_eq!((parked.reason.as_str(), parked.sequence), ("refused_by_receiver", outcomes[0].notification));
    assert!(parked.detail.contains("chat") && parked.detail.contains("400: no such channel"), "{}", parked.detail);
    world.stop_notifier().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_taken_in_time_is_parked_and_the_queue_goes_on() {
    let mut hook = Hook::start().await;
    hook.down().await;
    let mut config = World::start(vec![webhook("late", hook.url("/"))]).await.config.clone();
    config.retry_for = "300ms".to_owned();
    let mut world = World::with(config).await;
    world.fires("ExchangeDown", "btcturk").await;
    let outcomes = world.settled(1).await;
    assert_eq!(outcomes.last().unwrap().outcome, DeliveryOutcome::Parked);
    assert!(outcomes.last().unwrap().attempts > 1, "{outcomes:?}");
    hook.up().await;
    world.fires("ExchangeDown", "binance").await;
    assert_eq!(words(&hook.wait_for(1).await), ["ExchangeDown firing"]);
    world.stop_notifier().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_decision_and_delivery_it_delivers_and_decides_nothing_twice() {
    let mut hook = Hook::start().await;
    hook.down().await;
    let mut world = World::start(vec![webhook("pager", hook.url("/"))]).await;
    world.fires("ExchangeDown", "btcturk").await;
    let deadline = tokio::time::Instant::now() + support::LIMIT;
    while world.notifications().await.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "it is decided");
    }
    world.kill_notifier().await;
    world.fires("ExchangeDown", "binance").await;
    hook.up().await;
    world.start_notifier().await;
    let got = hook.wait_for(2).await;
    let mut places: Vec<&str> = got.iter().map(|got| got.body["groupLabels"]["exchange"].as_str().unwrap()).collect();
    places.sort_unstable();
    assert_eq!(places, ["binance", "btcturk"]);
    world.settled(2).await;
    for _ in 0..3 {
        world.kill_notifier().await;
        world.start_notifier().await;
    }
    world.fires("Last", "binance").await;
    hook.wait_for(3).await;
    assert_eq!(world.notifications().await.len(), 3);
    world.stop_notifier().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_and_a_lost_disk_tell_nobody_a_second_time() {
    let hook = Hook::start().await;
    let mut world = World::start(vec![webhook("pager", hook.url("/"))]).await;
    world.fires("ExchangeDown", "btcturk").await;
    world.settled(1).await;
    world.stop_notifier().await;
    world.start_notifier().await;
    world.fires("ExchangeDown", "binance").await;
    world.settled(2).await;
    world.stop_notifier().await;
    world.forget_everything();
    world.fires("ExchangeDown", "bist").await;
    world.start_notifier().await;
    world.settled(3).await;
    world.resolves("ExchangeDown", "btcturk").await;
    world.settled(4).await;
    let told: Vec<String> = hook
        .got()
        .iter()
        .map(|got| format!("{} {}", got.body["groupLabels"]["exchange"].as_str().unwrap(), got.body["status"].as_str().unwrap()))
        .collect();
    assert_eq!(told, ["btcturk firing", "binance firing", "bist firing", "btcturk resolved"]);
    let revisions: Vec<u64> = world.notifications().await.iter().map(|notification| notification.revision).collect();
    assert_eq!(revisions, [1, 1, 1, 2]);
    world.stop_notifier().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_and_comes_back_costs_no_notification() {
    let hook = Hook::start().await;
    let mut world = World::start(vec![webhook("pager", hook.url("/"))]).await;
    world.fires("ExchangeDown", "btcturk").await;
    hook.wait_for(1).await;
    world.broker.kill();
    world.broker.restart().await;
    world.fires("ExchangeDown", "binance").await;
    hook.wait_for(2).await;
    world.settled(2).await;
    assert_eq!(world.notifications().await.len(), 2);
    world.stop_notifier().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanager_is_reminded_of_what_fires_until_it_is_over() {
    let hook = Hook::start().await;
    let receiver =
        Receiver { kind: "alertmanager".to_owned(), resolve_timeout: "600ms".to_owned(), ..webhook("am", hook.url("/prefix")) };
    let mut world = World::start(vec![receiver]).await;
    world.fires("ExchangeDown", "btcturk").await;
    let got = hook.wait_for(4).await;
    assert!(got.iter().all(|got| got.path == "/prefix/api/v2/alerts" && got.body.as_array().unwrap().len() == 1));
    let ends: Vec<String> = got.iter().map(|got| got.body[0]["endsAt"].as_str().unwrap().to_owned()).collect();
    assert!(ends.windows(2).all(|pair| pair[0] < pair[1]), "{ends:?}");
    assert_eq!(world.notifications().await.len(), 1);
    world.resolves("ExchangeDown", "btcturk").await;
    world.settled(2).await;
    let count = hook.got().len();
    assert!(hook.got()[count - 1].body[0]["endsAt"].as_str().unwrap() <= spark_nats::now().to_string().as_str());
    // Whatever is told of another alert comes alone: of the first one nothing is repeated.
    world.fires("ExchangeDown", "binance").await;
    let got = hook.wait_for(count + 3).await;
    assert!(got[count..].iter().all(|got| got.body[0]["labels"]["exchange"] == "binance"));
    world.stop_notifier().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_configuration_a_file_has_every_notification() {
    let mut world = World::with(Config::default()).await;
    world.fires("ExchangeDown", "btcturk").await;
    world.settled(1).await;
    let path = world.broker.dir().join("data").join("notifier").join("notifications.jsonl");
    let text = eventually("a line", || std::fs::read_to_string(&path).map_err(|error| error.to_string())).await;
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&line["status"], &line["receiver"], &line["revision"]), (&"firing".into(), &"file".into(), &1.into()));
    world.stop_notifier().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_receiver_that_is_gone_is_parked() {
    let mut hook = Hook::start().await;
    let other = Hook::start().await;
    hook.down().await;
    let mut world = World::start(vec![webhook("old", hook.url("/"))]).await;
    world.fires("ExchangeDown", "btcturk").await;
    let deadline = tokio::time::Instant::now() + support::LIMIT;
    while world.settled(0).await.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "it is tried");
    }
    world.stop_notifier().await;
    world.config.receiver = vec![webhook("new", other.url("/"))];
    world.start_notifier().await;
    let outcomes = world.settled(2).await;
    let old = outcomes.iter().rfind(|outcome| outcome.receiver == "old").unwrap();
    assert_eq!((old.outcome, old.detail.as_deref()), (DeliveryOutcome::Parked, Some("no receiver is called old")));
    assert_eq!(words(&other.wait_for(1).await), ["ExchangeDown firing"]);
    world.stop_notifier().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_start_with_a_configuration_that_cannot_work() {
    let broker = spark_nats::testing::TestBroker::start().await;
    let check = |change: fn(&mut Receiver), part: &'static str| {
        let mut receiver = Receiver { name: "pager".into(), kind: "webhook".into(), ..Receiver::default() };
        change(&mut receiver);
        let config = Config { receiver: vec![receiver], ..Config::default() };
        let broker = &broker;
        async move {
            let error = run(broker.service("notifier").await, config).await.unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("notifier"), "{error}");
        }
    };
    check(|receiver| receiver.url_env = Some("SPARK_TEST_NOT_SET".into()), "SPARK_TEST_NOT_SET").await;
    check(|receiver| receiver.url_file = Some("/nowhere/at/all".into()), "/nowhere/at/all").await;
    check(|receiver| receiver.url = Some(spark_notifier::config::Hidden::new("nonsense")), "receiver[0].url").await;
    check(|_| {}, "url_file").await;
}
