//! The process as a whole: the simulated exchanges on real sockets, a real broker behind.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;

use spark_bus_schema::control::{BreakerCommand, BreakerMode};
use spark_bus_schema::portfolio::{AnomalyState, Balances, PriceAnomaly};
use spark_bus_schema::telemetry::{Call, Heartbeat, ProcessState};
use spark_bus_schema::{Decimal, Venue, subject};
use spark_exchanges::{ApiConfig, Binance, BtcTurk};
use spark_nats::bus::Meta;
use support::fake::LyingBinance;
use support::{READING_KEY, Stage, TRADING_KEY, failed_with};

fn is_good(balances: &Balances) -> bool {
    !balances.stale && balances.error.is_none()
}

fn rows(balances: &Balances) -> Vec<(&str, Decimal, Decimal)> {
    balances.balances.iter().map(|row| (row.asset.as_str(), row.total, row.usd_value.unwrap())).collect()
}

/// What the exchanges say that BTC costs at Binance, and at BTCTurk, and a dollar in TRY: in dollars, dollars, and TRY.
async fn prices(stage: &Stage) -> (Decimal, Decimal, Decimal) {
    let at = |address| ApiConfig::at(format!("http://{address}"));
    let binance = Binance::new(&at(stage.sim.binance_addr), None, Arc::new(|_| {})).unwrap();
    let btcturk = BtcTurk::new(&at(stage.sim.btcturk_addr), None, Arc::new(|_| {})).unwrap();
    let bitcoin = binance.ticker_price(Some(&["BTCUSDT"])).await.unwrap()[0].price;
    let tickers = btcturk.ticker().await.unwrap();
    let last = |pair: &str| tickers.iter().find(|ticker| ticker.pair == pair).unwrap().last;
    (bitcoin, last("BTCUSDT"), last("USDTTRY"))
}

#[tokio::test]
async fn both_exchanges_are_valued_in_usd_to_the_last_digit_and_every_call_is_told() {
    let mut stage = Stage::set().await;
    let mut binance = stage.balances(Venue::Binance).await;
    let mut btcturk = stage.balances(Venue::Btcturk).await;
    let mut calls = stage.watch(subject::FEED, &subject::calls(Venue::Binance)).await;
    let trading = stage.count("binance", "/api/v3/order");
    let (bitcoin, bitcoin_in_turkey, lira) = prices(&stage).await;
    stage.start().await;

    let account: Balances = binance.until("Binance's balances", is_good).await;
    let amount = |text: &str| text.parse::<Decimal>().unwrap();
    let value = (bitcoin * amount("0.75")).normalize();
    assert_eq!(rows(&account), [("BTC", amount("0.75"), value), ("USDT", amount("100"), amount("100"))]);
    let first = &account.balances[0];
    assert_eq!((first.free, first.locked, first.usd_price), (amount("0.5"), amount("0.25"), Some(bitcoin)));
    assert_eq!((account.total_usd, account.currency.as_str()), (value + amount("100"), "USD"));

    let account: Balances = btcturk.until("BTCTurk's balances", is_good).await;
    let dollar = (Decimal::ONE / lira).round_sf(14).unwrap();
    let value = (amount("4000.55") * dollar).normalize();
    assert_eq!(rows(&account), [("BTC", Decimal::ONE, bitcoin_in_turkey.normalize()), ("TRY", amount("4000.55"), value)]);
    assert_eq!(account.total_usd, bitcoin_in_turkey + value);

    for operation in ["time", "api_restrictions", "account", "ticker_price", "refresh"] {
        let call: Call = calls.until(operation, |call: &Call| call.operation == operation || call.operation == "refresh").await;
        assert!(call.ok && call.service == "portfolio" && call.latency_us > 0, "{call:?}");
    }
    stage.stop().await;
    assert_eq!(stage.struck(trading), 0, "nothing that could trade is ever asked");
}

#[tokio::test]
async fn a_revoked_key_is_auth_while_the_other_exchange_is_served_and_recovers() {
    let mut stage = Stage::set().await;
    let mut binance = stage.balances(Venue::Binance).await;
    let mut btcturk = stage.balances(Venue::Btcturk).await;
    stage.start().await;
    let good: Balances = binance.until("a good poll", is_good).await;

    stage.fault(r#"{"exchange":"binance","kind":"revoke_key"}"#);
    let failed: Balances = binance.until("auth", |balances| failed_with(balances, "auth")).await;
    assert_eq!(rows(&failed), rows(&good), "the last good snapshot is kept");
    assert_eq!(failed.total_usd, good.total_usd);
    assert!(failed.updated_at.unwrap() < failed.polled_at);
    let message = failed.error.unwrap().message;
    assert!(message.contains("-2015") && !message.contains(READING_KEY.0), "{message}");

    let since = failed.polled_at;
    btcturk
        .until("the other exchange, served meanwhile", |balances: &Balances| is_good(balances) && balances.polled_at > since)
        .await;

    stage.sim.clear_faults();
    binance.until("recovery", |balances: &Balances| is_good(balances) && balances.polled_at > since).await;
    stage.stop().await;
}

#[tokio::test]
async fn a_slow_exchange_is_slow_alone_and_beyond_its_time_limit_it_is_a_timeout() {
    let mut stage = Stage::set().await;
    stage.config.btcturk.timeout_ms = 1_000;
    let mut slow = stage.watch(subject::FEED, &subject::calls(Venue::Btcturk)).await;
    let mut quick = stage.balances(Venue::Binance).await;
    let mut btcturk = stage.balances(Venue::Btcturk).await;
    stage.start().await;
    btcturk.until("a good poll", is_good).await;

    stage.fault(r#"{"exchange":"btcturk","kind":"delay","ms":250}"#);
    let refresh: Call =
        slow.until("a slow refresh", |call: &Call| call.operation == "refresh" && call.ok && call.latency_us > 250_000).await;
    stage.sim.clear_faults();
    stage.fault(r#"{"exchange":"btcturk","kind":"delay","ms":60000}"#);
    let timed_out: Balances = btcturk.until("a timeout", |balances| failed_with(balances, "timeout")).await;
    assert!(timed_out.refresh_us >= 1_000_000, "{}", timed_out.refresh_us);
    quick.until("the other one", |balances: &Balances| is_good(balances) && balances.polled_at > refresh.started_at).await;
    stage.stop().await;
}

#[tokio::test]
async fn a_rate_limit_is_told_as_one_and_waited_for() {
    let mut stage = Stage::set().await;
    let mut binance = stage.balances(Venue::Binance).await;
    stage.start().await;
    let good: Balances = binance.until("a good poll", is_good).await;
    stage.fault(r#"{"exchange":"binance","kind":"status","code":429,"retry_after":1,"path":"/api/v3/account","n":1}"#);
    let told: Balances = binance.until("a rate limit", |balances| failed_with(balances, "ratelimit")).await;
    assert_eq!(rows(&told), rows(&good), "the last good snapshot is kept");
    let served: Balances =
        binance.until("service", |balances: &Balances| is_good(balances) && balances.polled_at > told.polled_at).await;
    // From the beginning of the refused poll, and at least: this is the pause that was asked for, no bound on speed.
    let waited_ms = served.polled_at.since_ms(told.polled_at) + i64::try_from(told.refresh_us / 1_000).unwrap();
    assert!(waited_ms >= 1_000, "asked again after {waited_ms} ms");
    stage.stop().await;
}

#[tokio::test]
async fn a_price_that_jumps_is_held_back_until_a_second_reading_confirms_it() {
    let mut stage = Stage::set().await;
    // The other exchange would confirm or deny at once; here the readings are alone.
    stage.config.btcturk.enabled = false;
    let mut balances = stage.balances(Venue::Binance).await;
    let mut anomalies = stage.watch(subject::LEDGER, &subject::anomaly(Venue::Binance)).await;
    stage.start().await;
    let before: Balances = balances.until("a good poll", is_good).await;

    let bitcoin = stage.market.assets.iter_mut().find(|asset| asset.asset == "BTC").unwrap();
    bitcoin.usd /= 10.0;
    let mut stage = stage.restart_exchanges().await;
    let (crashed, ..) = prices(&stage).await;
    let held: PriceAnomaly = anomalies.until("an anomaly", |_: &PriceAnomaly| true).await;
    assert_eq!((held.asset.as_str(), held.state, held.seen), ("BTC", AnomalyState::Held, crashed));
    assert!(held.change_pct > Decimal::from(-92) && held.change_pct < Decimal::from(-88), "{held:?}");
    let kept: Balances =
        balances.until("a held price", |balances: &Balances| is_good(balances) && balances.balances[0].price_held).await;
    assert_eq!(kept.total_usd, before.total_usd);
    let confirmed: PriceAnomaly = anomalies.until("a confirmation", |_: &PriceAnomaly| true).await;
    assert_eq!((confirmed.state, confirmed.seen), (AnomalyState::Confirmed, crashed));
    let taken: Balances = balances
        .until("the new price", |balances: &Balances| {
            is_good(balances) && balances.polled_at > kept.polled_at && !balances.balances[0].price_held
        })
        .await;
    assert_eq!(taken.balances[0].usd_price, Some(crashed));
    stage.stop().await;
}

#[tokio::test]
async fn a_key_that_may_trade_is_refused_by_its_permission_and_never_used() {
    let mut stage = Stage::set().await;
    stage.change_key(TRADING_KEY);
    let mut binance = stage.balances(Venue::Binance).await;
    let mut btcturk = stage.balances(Venue::Btcturk).await;
    let (asked, used) = (stage.count("binance", "/sapi/v1/account/apiRestrictions"), stage.count("binance", "/api/v3/account"));
    stage.start().await;
    let refused: Balances = binance.until("a refusal", |balances| failed_with(balances, "auth")).await;
    let message = refused.error.unwrap().message;
    assert!(message.contains("enableSpotAndMarginTrading") && message.contains("only read"), "{message}");
    assert_eq!((refused.updated_at, refused.balances.len()), (None, 0));
    btcturk.until("the other exchange", is_good).await;
    assert!(stage.struck(asked) > 0, "the exchange is asked what the key may do");
    assert_eq!(stage.struck(used), 0, "the account is not read with it");

    stage.change_key(READING_KEY);
    binance.until("service with a key that may only read", is_good).await;
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
    let good: Balances = balances.until("a good poll", is_good).await;

    operator.publish(&target, &command(BreakerMode::Open), Meta::default()).await.unwrap();
    let open: Balances = balances.until("the open breaker", |balances| failed_with(balances, "server")).await;
    assert!(open.error.unwrap().message.contains("held open by hand"));

    stage.stop().await;
    let (again, asked) = (spark_nats::now(), stage.count("binance", "/"));
    stage.start().await;
    let open: Balances = balances
        .until("the open breaker after a restart", |balances: &Balances| {
            balances.polled_at > again && failed_with(balances, "server")
        })
        .await;
    assert_eq!(open.total_usd, good.total_usd, "with the snapshot of the earlier run");
    assert_eq!(stage.struck(asked), 0, "not one call goes out before the command is remembered");

    operator.publish(&subject::breaker(Venue::Btcturk), &command(BreakerMode::Open), Meta::default()).await.unwrap();
    let nonsense: spark_bus_schema::parked::Parked = parked.until("a parked command", |_| true).await;
    assert_eq!((nonsense.process.as_str(), nonsense.reason.as_str()), ("portfolio", "wrong_subject"));

    operator.publish(&target, &command(BreakerMode::Auto), Meta::default()).await.unwrap();
    balances.until("service", |balances: &Balances| is_good(balances) && balances.polled_at > open.polled_at).await;
    assert!(stage.struck(asked) > 0);
    stage.stop().await;
}

#[tokio::test]
async fn an_exchange_that_is_down_at_the_start_is_shown_with_the_snapshot_of_the_run_before() {
    let mut stage = Stage::set().await;
    let mut balances = stage.balances(Venue::Btcturk).await;
    stage.start().await;
    let good: Balances = balances.until("a good poll", is_good).await;
    stage.stop().await;

    for (fault, error_type) in [(r#""kind":"status","code":503"#, "server"), (r#""kind":"drop""#, "network")] {
        stage.sim.clear_faults();
        stage.fault(&format!(r#"{{"exchange":"btcturk",{fault}}}"#));
        stage.start().await;
        let shown: Balances = balances.until(error_type, |balances| failed_with(balances, error_type)).await;
        assert_eq!(shown.balances, good.balances);
        assert!(shown.updated_at.is_some_and(|updated_at| updated_at >= good.polled_at && updated_at < shown.polled_at));
        stage.stop().await;
    }
}

#[tokio::test]
async fn answers_that_make_no_sense_are_parse_errors_and_the_last_good_balances_stay() {
    let mut stage = Stage::set().await;
    let mut binance = stage.balances(Venue::Binance).await;
    let mut btcturk = stage.balances(Venue::Btcturk).await;
    stage.start().await;
    for (exchange, path, watch) in
        [("binance", "/api/v3/account", &mut binance), ("btcturk", "/api/v1/users/balances", &mut btcturk)]
    {
        let mut good: Balances = watch.until("a good poll", is_good).await;
        for variant in ["bad_json", "truncated", "nan", "negative", "missing_field", "huge"] {
            stage.fault(&format!(r#"{{"exchange":"{exchange}","kind":"garbage","variant":"{variant}","path":"{path}"}}"#));
            let after = good.polled_at;
            let failed: Balances =
                watch.until(variant, |balances: &Balances| balances.polled_at > after && failed_with(balances, "parse")).await;
            assert_eq!(failed.balances, good.balances, "{exchange}: {variant}");
            stage.sim.clear_faults();
            good =
                watch.until("recovery", |balances: &Balances| is_good(balances) && balances.polled_at > failed.polled_at).await;
        }
    }
    stage.stop().await;
}

#[tokio::test]
async fn an_account_that_cannot_be_true_is_a_parse_error_and_the_last_good_one_stays() {
    const SANE: &str = r#"[{"asset":"USDT","free":"7","locked":"0"}]"#;
    let mut stage = Stage::set().await;
    let liar = LyingBinance::start(SANE).await;
    stage.config.binance.base_url = Some(liar.url.clone());
    let mut binance = stage.balances(Venue::Binance).await;
    stage.start().await;
    let mut good: Balances = binance.until("a good poll", is_good).await;
    for lie in [
        "null",
        r#"[{"asset":"BTC","free":"1","locked":"0"},{"asset":"BTC","free":"2","locked":"0"}]"#,
        r#"[{"asset":"BTC","free":"79228162514264337593543950335","locked":"1"}]"#,
        r#"[{"asset":"BTC","free":"79228162514264337593543950335","locked":"0"}]"#,
    ] {
        liar.says(lie);
        let after = good.polled_at;
        let failed: Balances =
            binance.until(lie, |balances: &Balances| balances.polled_at > after && failed_with(balances, "parse")).await;
        assert_eq!(failed.balances, good.balances, "{lie}");
        liar.says(SANE);
        good = binance.until("recovery", |balances: &Balances| is_good(balances) && balances.polled_at > failed.polled_at).await;
        assert_eq!(good.total_usd, Decimal::from(7));
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
    let asked = [stage.count("binance", "/"), stage.count("btcturk", "/")];
    let mut heartbeats = stage.watch(subject::FEED, &subject::heartbeat("portfolio")).await;
    stage.start().await;
    let beat: Heartbeat = heartbeats.until("a heartbeat", |beat: &Heartbeat| beat.state == ProcessState::Degraded).await;
    assert_eq!(beat.detail.as_deref(), Some("no exchange has an API key"));
    stage.stop().await;
    assert_eq!(asked.map(|id| stage.struck(id)), [0, 0]);
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
