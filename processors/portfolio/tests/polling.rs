//! The process as a whole: real sockets to the exchanges, a real broker behind.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::time::Duration;

use spark_bus_schema::control::{BreakerCommand, BreakerMode};
use spark_bus_schema::parked::Parked;
use spark_bus_schema::portfolio::{AnomalyState, Balances, PriceAnomaly};
use spark_bus_schema::telemetry::{Call, Heartbeat, ProcessState};
use spark_bus_schema::{Decimal, Kind, Venue, subject};
use spark_nats::bus::Meta;
use support::{Stage, failed_with};

fn is_good(balances: &Balances) -> bool {
    !balances.stale && balances.error.is_none()
}

#[tokio::test]
async fn both_exchanges_are_valued_in_usd_and_every_call_is_told() {
    let mut stage = Stage::set().await;
    let mut binance = stage.balances(Venue::Binance).await;
    let mut btcturk = stage.balances(Venue::Btcturk).await;
    let mut calls = stage.watch(subject::FEED, &subject::calls(Venue::Binance)).await;
    stage.start().await;

    let account: Balances = binance.until("Binance's balances", is_good).await;
    let rows: Vec<(&str, Decimal)> = account.balances.iter().map(|row| (row.asset.as_str(), row.usd_value.unwrap())).collect();
    assert_eq!(rows, [("BTC", Decimal::from(45_000)), ("USDT", Decimal::from(100))]);
    assert_eq!((account.total_usd, account.currency.as_str()), (Decimal::from(45_100), "USD"));

    let account: Balances = btcturk.until("BTCTurk's balances", is_good).await;
    assert_eq!(account.total_usd, Decimal::from(60_100), "1 BTC over BTCTRY and USDTTRY, and 4000 TRY: {account:?}");

    for operation in ["time", "api_restrictions", "account", "ticker_price", "refresh"] {
        let call: Call = calls.until(operation, |call: &Call| call.operation == operation || call.operation == "refresh").await;
        assert!(call.ok && call.service == "portfolio" && call.latency_us > 0, "{call:?}");
    }
    stage.stop().await;
    let sent = stage.binance.requests();
    assert!(sent.iter().all(|path| !path.contains("order")), "nothing that could trade is ever asked: {sent:?}");
}

#[tokio::test]
async fn a_revoked_key_is_auth_while_the_other_exchange_is_served_and_recovers() {
    let mut stage = Stage::set().await;
    let mut binance = stage.balances(Venue::Binance).await;
    let mut btcturk = stage.balances(Venue::Btcturk).await;
    stage.start().await;
    let good: Balances = binance.until("a good poll", is_good).await;

    stage.binance.change(|exchange| exchange.revoked = true);
    let failed: Balances = binance.until("auth", |balances| failed_with(balances, "auth")).await;
    assert_eq!(
        (failed.balances.len(), failed.total_usd),
        (good.balances.len(), good.total_usd),
        "the last good snapshot is kept"
    );
    assert!(failed.updated_at.unwrap() < failed.polled_at);
    let message = failed.error.unwrap().message;
    assert!(message.contains("-2015") && !message.contains("test-key"), "{message}");

    let since = failed.polled_at;
    btcturk
        .until("the other exchange, served meanwhile", |balances: &Balances| is_good(balances) && balances.polled_at > since)
        .await;

    stage.binance.change(|exchange| exchange.revoked = false);
    binance.until("recovery", |balances: &Balances| is_good(balances) && balances.polled_at > since).await;
    stage.stop().await;
}

#[tokio::test]
async fn a_slow_exchange_is_slow_alone_and_beyond_its_time_limit_it_is_a_timeout() {
    let mut stage = Stage::set().await;
    stage.config.btcturk.timeout_ms = 400;
    let mut slow = stage.watch(subject::FEED, &subject::calls(Venue::Btcturk)).await;
    let mut quick = stage.balances(Venue::Binance).await;
    let mut btcturk = stage.balances(Venue::Btcturk).await;
    stage.start().await;
    btcturk.until("a good poll", is_good).await;

    stage.btcturk.change(|exchange| exchange.delay = Duration::from_millis(250));
    let refresh: Call =
        slow.until("a slow refresh", |call: &Call| call.operation == "refresh" && call.ok && call.latency_us > 250_000).await;
    stage.btcturk.change(|exchange| exchange.delay = Duration::from_secs(5));
    btcturk.until("a timeout", |balances| failed_with(balances, "timeout")).await;
    let served: Balances =
        quick.until("the other one", |balances: &Balances| is_good(balances) && balances.polled_at > refresh.started_at).await;
    assert!(served.refresh_us < 2_000_000, "{}", served.refresh_us);
    stage.stop().await;
}

#[tokio::test]
async fn a_price_that_jumps_is_held_back_until_a_second_reading_confirms_it() {
    let mut stage = Stage::set().await;
    // The other exchange would confirm or deny at once; here the readings are alone.
    stage.config.btcturk.enabled = false;
    // Slow enough for the price to change between two readings.
    stage.config.binance.poll_interval_ms = 500;
    let mut balances = stage.balances(Venue::Binance).await;
    let mut anomalies = stage.watch(subject::LEDGER, &subject::anomaly(Venue::Binance)).await;
    stage.start().await;
    balances.until("a good poll", is_good).await;

    stage.binance.change(|exchange| _ = exchange.prices.insert("BTCUSDT", "6000".to_owned()));
    let held: PriceAnomaly = anomalies.until("an anomaly", |_: &PriceAnomaly| true).await;
    assert_eq!((held.state, held.change_pct), (AnomalyState::Held, Decimal::from(-90)));
    let kept: Balances = balances.until("a held price", |balances: &Balances| balances.balances[0].price_held).await;
    assert_eq!(kept.total_usd, Decimal::from(45_100));
    let confirmed: PriceAnomaly = anomalies.until("a confirmation", |_: &PriceAnomaly| true).await;
    assert_eq!(confirmed.state, AnomalyState::Confirmed);
    let taken: Balances = balances.until("the new price", |balances: &Balances| !balances.balances[0].price_held).await;
    assert_eq!(taken.total_usd, Decimal::from(4_600));
    stage.stop().await;
}

#[tokio::test]
async fn a_key_that_may_trade_is_refused_by_its_permission_and_never_used() {
    let mut stage = Stage::set().await;
    stage.binance.change(|exchange| exchange.trading_key = true);
    let mut binance = stage.balances(Venue::Binance).await;
    let mut btcturk = stage.balances(Venue::Btcturk).await;
    stage.start().await;
    let refused: Balances = binance.until("a refusal", |balances| failed_with(balances, "auth")).await;
    let message = refused.error.unwrap().message;
    assert!(message.contains("enableSpotAndMarginTrading") && message.contains("only read"), "{message}");
    assert_eq!((refused.updated_at, refused.balances.len()), (None, 0));
    btcturk.until("the other exchange", is_good).await;
    assert!(!stage.binance.requests().iter().any(|path| path.contains("/account") && path.contains("v3")));

    stage.binance.change(|exchange| exchange.trading_key = false);
    binance.until("service once the permission is gone", is_good).await;
    stage.stop().await;
}

#[tokio::test]
async fn the_breaker_obeys_commands_also_after_a_restart_and_nonsense_is_parked() {
    let mut stage = Stage::set().await;
    let operator = stage.broker.bus("operator").await;
    let command = |mode| BreakerCommand {
        exchange: Venue::Binance,
        mode,
        actor: "operator".to_owned(),
        reason: "test".to_owned(),
        at: spark_nats::now(),
    };
    let target = subject::breaker(Venue::Binance);
    let mut balances = stage.balances(Venue::Binance).await;
    let mut parked = stage.watch(subject::PARKED, subject::PARKED_ALL).await;
    stage.start().await;
    balances.until("a good poll", is_good).await;

    operator.publish(&target, &command(BreakerMode::Open), Meta::default()).await.unwrap();
    let open: Balances = balances.until("the open breaker", |balances| failed_with(balances, "server")).await;
    assert!(open.error.unwrap().message.contains("held open by hand"));

    // Garbage behind the command does not take it back.
    let unreadable = Kind { name: "breaker_command", version: 9 };
    operator.store_kind(&target, unreadable, "?".into(), Meta::default()).await.unwrap();
    parked.until("the garbage parked", |parked: &Parked| parked.reason == "unknown_version").await;
    stage.stop().await;
    let (again, asked) = (spark_nats::now(), stage.binance.requests().len());
    stage.start().await;
    let open: Balances = balances
        .until("the open breaker after a restart", |balances: &Balances| {
            balances.polled_at > again && failed_with(balances, "server")
        })
        .await;
    assert_eq!(open.total_usd, Decimal::from(45_100), "with the snapshot of the earlier run");
    assert_eq!(stage.binance.requests().len(), asked, "not one call goes out before the command is remembered");

    operator.publish(&subject::breaker(Venue::Btcturk), &command(BreakerMode::Open), Meta::default()).await.unwrap();
    let nonsense: Parked = parked.until("a parked command", |parked: &Parked| parked.reason != "unknown_version").await;
    assert_eq!((nonsense.process.as_str(), nonsense.reason.as_str()), ("portfolio", "wrong_subject"));

    operator.publish(&target, &command(BreakerMode::Auto), Meta::default()).await.unwrap();
    balances.until("service", |balances: &Balances| is_good(balances) && balances.polled_at > open.polled_at).await;
    stage.stop().await;
}

#[tokio::test]
async fn an_exchange_that_is_down_at_the_start_is_shown_with_the_snapshot_of_the_run_before() {
    let mut stage = Stage::set().await;
    let mut balances = stage.balances(Venue::Btcturk).await;
    stage.start().await;
    let good: Balances = balances.until("a good poll", is_good).await;
    stage.stop().await;

    stage.btcturk.change(|exchange| exchange.down = true);
    stage.start().await;
    let shown: Balances = balances.until("a failed poll", |balances| failed_with(balances, "server")).await;
    assert_eq!(shown.balances, good.balances);
    assert!(shown.updated_at.is_some_and(|updated_at| updated_at >= good.polled_at && updated_at < shown.polled_at));
    stage.stop().await;
}

#[tokio::test]
async fn balances_that_make_no_sense_are_parse_errors_and_the_last_good_ones_stay() {
    let mut stage = Stage::set().await;
    let mut binance = stage.balances(Venue::Binance).await;
    stage.start().await;
    let mut good: Balances = binance.until("a good poll", is_good).await;
    for garbage in [
        "{",
        "null",
        r#"[{"asset":"BTC","free":"NaN","locked":"0"}]"#,
        r#"[{"asset":"BTC","free":"-1","locked":"0"}]"#,
        r#"[{"asset":"BTC","free":"1"}]"#,
        r#"[{"asset":"BTC","free":"1","locked":"0"},{"asset":"BTC","free":"2","locked":"0"}]"#,
        r#"[{"asset":"BTC","free":"79228162514264337593543950335","locked":"1"}]"#,
    ] {
        let sane = r#"[{"asset":"USDT","free":"7","locked":"0"}]"#;
        stage.binance.change(|exchange| exchange.balances = garbage);
        let after = good.polled_at;
        let failed: Balances =
            binance.until(garbage, |balances: &Balances| balances.polled_at > after && failed_with(balances, "parse")).await;
        assert_eq!(failed.balances, good.balances, "{garbage}");
        stage.binance.change(|exchange| exchange.balances = sane);
        good = binance.until("recovery", |balances: &Balances| is_good(balances) && balances.total_usd == Decimal::from(7)).await;
    }
    stage.stop().await;
}

#[tokio::test]
async fn without_keys_the_process_starts_says_so_and_asks_nothing() {
    let mut stage = Stage::set().await;
    for section in [&mut stage.config.binance, &mut stage.config.btcturk] {
        (section.api_key_file, section.api_secret_file) = (None, None);
        section.api_key_env = Some("SPARK_TEST_NO_SUCH_KEY".to_owned());
        section.api_secret_env = Some("SPARK_TEST_NO_SUCH_SECRET".to_owned());
    }
    let mut heartbeats = stage.watch(subject::FEED, &subject::heartbeat("portfolio")).await;
    stage.start().await;
    let beat: Heartbeat = heartbeats.until("a heartbeat", |beat: &Heartbeat| beat.state == ProcessState::Degraded).await;
    assert_eq!(beat.detail.as_deref(), Some("no exchange has an API key"));
    stage.stop().await;
    assert_eq!(stage.binance.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn the_process_lives_through_a_broker_that_dies() {
    let mut stage = Stage::set().await;
    let mut balances = stage.balances(Venue::Binance).await;
    stage.start().await;
    let before: Balances = balances.until("a good poll", is_good).await;
    stage.broker.kill();
    stage.broker.restart().await;
    let restarted = spark_nats::now();
    balances.until("a poll after the restart", |balances: &Balances| is_good(balances) && balances.polled_at > restarted).await;
    assert!(before.polled_at < restarted);
    stage.stop().await;
}
