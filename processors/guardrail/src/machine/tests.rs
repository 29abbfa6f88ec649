//! Decisions as timelines: seconds and events in, alerts out.

use std::collections::BTreeMap;

use spark_bus_schema::alerts::AlertState::{self, Firing, Inactive, Pending, Resolved};
use spark_bus_schema::market::{Side, Trade};
use spark_bus_schema::parked::Parked;
use spark_bus_schema::portfolio::{AnomalyState, AssetBalance, Balances, PollError, PriceAnomaly};
use spark_bus_schema::telemetry::{Call, FeedState, FeedStatus, Heartbeat, ProcessState, REFRESH};
use spark_bus_schema::{Fixed, market::TickBatch};

use super::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + ms)
}

fn ticks(venue: Venue, symbol: &str, ids: &[u64], occurred: Timestamp, received: Timestamp) -> Event {
    let mut batch = TickBatch::new(venue, symbol);
    for id in ids {
        let one = Fixed::parse("1").unwrap();
        let trade =
            Trade { trade_id: *id, occurred_at: occurred, received_at: received, price: one, quantity: one, side: Side::Buy };
        batch.push(&trade).unwrap();
    }
    Event::Ticks(batch)
}

fn tick(ms: i64, id: u64) -> (i64, Event) {
    (ms, ticks(Venue::Binance, "BTCUSDT", &[id], at(ms), at(ms)))
}

fn call(exchange: Venue, operation: &str, latency_ms: u64, error: Option<&str>) -> Event {
    Event::Call(Call {
        exchange,
        service: "portfolio".into(),
        operation: operation.into(),
        started_at: at(0),
        latency_us: latency_ms * 1_000,
        ok: error.is_none(),
        error_type: error.map(str::to_owned),
        http_status: None,
        attempt: 1,
    })
}

fn beat(service: &str, state: ProcessState) -> Event {
    Event::Heartbeat(Heartbeat {
        service: service.into(),
        pid: 1,
        version: "0".into(),
        started_at: at(0),
        sent_at: at(0),
        state,
        detail: None,
        resident_bytes: 0,
        counters: BTreeMap::new(),
    })
}

fn feed(state: FeedState, symbols: &[&str]) -> Event {
    Event::Feed(FeedStatus {
        venue: Venue::Binance,
        state,
        since: at(0),
        symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
        reconnects: 0,
        trades_missing: 0,
        trades_filled: 0,
        frames_rejected: 0,
        detail: None,
    })
}

fn balances(assets: &[(&str, bool)], updated_at: Option<Timestamp>, error: Option<&str>) -> Event {
    let one = rust_decimal::Decimal::ONE;
    let row = |(asset, held): &(&str, bool)| AssetBalance {
        asset: (*asset).to_owned(),
        free: one,
        locked: rust_decimal::Decimal::ZERO,
        total: one,
        usd_price: None,
        usd_value: None,
        price_held: *held,
    };
    Event::Balances(Balances {
        exchange: Venue::Binance,
        currency: "USD".into(),
        polled_at: at(0),
        updated_at,
        stale: error.is_some(),
        error: error.map(|error_type| PollError { error_type: error_type.into(), message: String::new() }),
        balances: assets.iter().map(row).collect(),
        total_usd: one,
        unpriced: vec![],
        refresh_us: 1,
    })
}

fn anomaly(state: AnomalyState) -> Event {
    let one = rust_decimal::Decimal::ONE;
    Event::Anomaly(PriceAnomaly {
        exchange: Venue::Binance,
        asset: "BTC".into(),
        last_good: one,
        seen: one,
        change_pct: one,
        state,
        at: at(0),
    })
}

fn parked() -> Event {
    Event::Parked(Parked {
        process: "guardrail".into(),
        reason: "malformed".into(),
        detail: String::new(),
        stream: "FEED".into(),
        sequence: 1,
        subject: "x".into(),
        kind: None,
        headers: vec![],
        payload: vec![],
        payload_bytes: 0,
        attempts: 1,
        parked_at: at(0),
    })
}

fn rule(id: &str) -> Rules {
    Rules::from_toml(&text_of(id), "test.toml").unwrap()
}

/// Fires every boundary up to the event, as the run loop does, with the guardrail's own heartbeat once a second.
fn feed_in(guardrail: &mut Guardrail, now: &mut i64, until: i64, out: &mut Effects) {
    while *now + 100 <= until {
        silence(guardrail, now, *now + 100, out);
        if *now % 1_000 == 0 {
            guardrail.apply(at(*now), beat("guardrail", ProcessState::Running), out).unwrap();
        }
    }
}

/// Fires every boundary; nothing at all is stored meanwhile.
fn silence(guardrail: &mut Guardrail, now: &mut i64, until: i64, out: &mut Effects) {
    while *now + 100 <= until {
        *now += 100;
        guardrail.tick(at(*now), out);
    }
}

fn alerts(out: &Effects) -> Vec<Alert> {
    let alerts = out.items().iter().filter(|effect| effect.revision.is_some());
    alerts.map(|effect| spark_bus_schema::decode(Some(&effect.kind.to_string()), &effect.payload).unwrap()).collect()
}

fn said(out: &Effects) -> Vec<(i64, String, AlertState, Option<Severity>)> {
    let scope = |alert: &Alert| alert.scope.values().cloned().collect::<Vec<_>>().join("-");
    alerts(out).iter().map(|alert| (alert.at.since_ms(at(0)), scope(alert), alert.state, alert.severity)).collect()
}

/// Runs one built-in rule over a timeline and compares what it said: ms, scope, state, severity.
fn check(id: &str, timeline: Vec<(i64, Event)>, until: i64, want: &[(i64, &str, AlertState, Option<Severity>)]) {
    let mut guardrail = Guardrail::new(&rule(id));
    let (mut now, mut out) = (0, Effects::default());
    for (ms, event) in timeline {
        feed_in(&mut guardrail, &mut now, ms, &mut out);
        guardrail.apply(at(ms), event, &mut out).unwrap();
    }
    feed_in(&mut guardrail, &mut now, until, &mut out);
    let want: Vec<_> = want.iter().map(|(ms, scope, state, severity)| (*ms, (*scope).to_owned(), *state, *severity)).collect();
    assert_eq!(said(&out), want, "{id}");
}

const WARNING: Option<Severity> = Some(Severity::Warning);
const CRITICAL: Option<Severity> = Some(Severity::Critical);

#[test]
fn slow_refreshes_of_one_exchange_raise_an_alert_for_it_only() {
    let slow = |ms, exchange, latency| (ms, call(exchange, REFRESH, latency, None));
    let mut timeline = vec![slow(10, Venue::Binance, 200), slow(20, Venue::Btcturk, 200), slow(1_000, Venue::Binance, 1_800)];
    timeline.push(slow(2_000, Venue::Binance, 4_000));
    timeline.push(slow(2_001, Venue::Btcturk, 250));
    check(
        "portfolio_refresh_p95",
        timeline,
        320_000,
        &[
            (1_000, "binance", Firing, WARNING),
            (2_000, "binance", Firing, CRITICAL),
            // The slow refreshes leave the window (5 min and at most one slice of it), then keep_firing_for runs.
            (315_000, "binance", Resolved, None),
        ],
    );
}

#[test]
fn silence_of_a_symbol_is_stale_and_new_data_resolves_at_once() {
    let timeline = vec![tick(50, 1), tick(20_000, 2), tick(55_050, 3)];
    check(
        "ws_staleness",
        timeline,
        60_000,
        &[(50_100, "BTCUSDT-binance", Firing, WARNING), (55_050, "BTCUSDT-binance", Resolved, None)],
    );
    let frozen = vec![tick(50, 1)];
    check("ws_staleness_venue", frozen, 130_000, &[(30_100, "binance", Firing, WARNING), (120_100, "binance", Firing, CRITICAL)]);
}

#[test]
fn a_subscribed_symbol_is_expected_and_an_unsubscribed_one_forgotten() {
    let timeline = vec![
        (0, feed(FeedState::Live, &["BTCUSDT", "ETHUSDT"])),
        tick(20_000, 1),
        (40_000, feed(FeedState::Live, &["BTCUSDT"])),
        tick(41_000, 2),
    ];
    check(
        "ws_staleness",
        timeline,
        60_000,
        &[(30_100, "ETHUSDT-binance", Firing, WARNING), (40_000, "ETHUSDT-binance", Resolved, None)],
    );
}

#[test]
fn errors_raise_rate_and_ratio() {
    let calls = |errors: &[i64]| {
        let mut timeline: Vec<(i64, Event)> = Vec::new();
        for second in 0..60 {
            let error = errors.contains(&second).then_some("timeout");
            timeline.push((second * 1_000 + 1, call(Venue::Btcturk, "account", 50, error)));
        }
        timeline
    };
    check("exchange_error_rate", calls(&[0, 1, 2]), 60_000, &[]);
    check("exchange_error_rate", calls(&[0, 1, 2, 3]), 60_000, &[(3_001, "btcturk", Firing, WARNING)]);
    check(
        "exchange_error_ratio",
        calls(&[0]),
        60_000,
        &[(9_001, "btcturk", Pending, WARNING), (19_001, "btcturk", Inactive, None)],
    );
}

#[test]
fn an_exchange_is_down_when_calls_fail_in_a_row_or_the_connection_stays_lost() {
    let failing = |ms| (ms, call(Venue::Binance, "account", 5, Some("network")));
    let refused = |ms| (ms, call(Venue::Binance, "account", 5, Some("auth")));
    check(
        "exchange_down",
        vec![failing(0), failing(10), failing(20)],
        16_000,
        &[(20, "binance", Pending, CRITICAL), (15_100, "binance", Firing, CRITICAL)],
    );
    check("exchange_down", vec![refused(0), refused(10), refused(20), refused(30)], 16_000, &[]);
    check(
        "exchange_down",
        vec![(0, feed(FeedState::Live, &[])), (50, feed(FeedState::Reconnecting, &[])), (20_000, feed(FeedState::Live, &[]))],
        30_000,
        &[(50, "binance", Pending, CRITICAL), (15_100, "binance", Firing, CRITICAL), (25_000, "binance", Resolved, None)],
    );
}

#[test]
fn a_process_is_missed_unless_it_said_goodbye() {
    let mut timeline = vec![
        (0, beat("exchange-sim", ProcessState::Running)),
        (0, beat("feed", ProcessState::Running)),
        (1_000, beat("exchange-sim", ProcessState::Stopping)),
        (1_000, beat("feed", ProcessState::Stopping)),
    ];
    let others = [
        "auditor",
        "backtest",
        "candles",
        "executor",
        "gateway",
        "notifier",
        "portfolio",
        "reporter",
        "risk",
        "rollout",
        "signal",
    ];
    timeline.extend([4_000, 7_000].into_iter().flat_map(|at| others.map(|name| (at, beat(name, ProcessState::Running)))));
    check("process_missing", timeline, 9_000, &[(5_100, "feed", Firing, WARNING)]);
    check("process_missing", vec![(0, beat("feed", ProcessState::Running))], 5_000, &[]);
}

#[test]
fn failed_polls_make_a_portfolio_stale_and_a_good_one_fresh() {
    let good = |ms| (ms, balances(&[("BTC", false)], Some(at(ms)), None));
    let bad = |ms| (ms, balances(&[("BTC", false)], Some(at(0)), Some("timeout")));
    check(
        "portfolio_staleness",
        vec![good(0), bad(30_000), bad(60_000), good(80_000)],
        90_000,
        &[(60_100, "binance", Pending, WARNING), (75_100, "binance", Firing, WARNING), (80_000, "binance", Resolved, None)],
    );
    let never_good = (0, balances(&[], None, Some("auth")));
    check("portfolio_staleness", vec![never_good.clone()], 61_000, &[(60_100, "binance", Pending, WARNING)]);
    check("no_assets", vec![never_good], 11_000, &[(0, "binance", Pending, CRITICAL), (10_000, "binance", Firing, CRITICAL)]);
    check("no_assets", vec![good(0)], 11_000, &[]);
}

#[test]
fn a_held_price_is_an_anomaly_until_it_is_settled() {
    let fresh = |held| balances(&[("BTC", held)], Some(at(0)), None);
    let want = |until| [(100, "binance", Firing, WARNING), (until, "binance", Resolved, None)];
    check(
        "value_anomaly",
        vec![(100, anomaly(AnomalyState::Held)), (200, fresh(true)), (900, anomaly(AnomalyState::Confirmed))],
        1_000,
        &want(900),
    );
    check("value_anomaly", vec![(100, anomaly(AnomalyState::Held)), (700, fresh(false))], 1_000, &want(700));
}

#[test]
fn damage_of_the_ledger_and_halts_are_alerts_for_as_long_as_they_last() {
    let tells = |service: &str, counter: &str, level| {
        let Event::Heartbeat(mut beat) = beat(service, ProcessState::Running) else { unreachable!("it is one") };
        beat.counters.insert(counter.to_owned(), level);
        Event::Heartbeat(beat)
    };
    for (rule, service, counter) in
        [("ledger_damaged", "auditor", "spark_audit_damage"), ("trading_halted", "executor", "spark_trading_halted_exchanges")]
    {
        let timeline = vec![
            (0, tells(service, counter, 0)),
            (1_000, tells(service, counter, 1)),
            // It died meanwhile: nothing is well by that.
            (90_000, tells("gateway", "other", 7)),
            (91_000, tells(service, counter, 0)),
        ];
        check(rule, timeline, 92_000, &[(1_000, "", Firing, CRITICAL), (91_000, "", Resolved, None)]);
    }
}

#[test]
fn parked_messages_are_counted() {
    let timeline = (0..3).map(|number| (number * 10, parked())).collect();
    check("parked_messages", timeline, 1_000, &[(20, "", Firing, WARNING)]);
}

#[test]
fn an_alert_carries_its_figures_and_its_advice() {
    let mut guardrail = Guardrail::new(&rule("portfolio_refresh_p95"));
    let mut out = Effects::default();
    guardrail.apply(at(5), call(Venue::Binance, REFRESH, 4_000, None), &mut out).unwrap();
    let (subject, alert) = (&out.items()[0].subject, &alerts(&out)[0]);
    assert_eq!(subject, "alerts.changed.PortfolioRefreshLatencyHighP95.binance");
    assert_eq!((alert.revision, alert.samples, alert.window_ms, alert.unit.as_str()), (1, 1, 300_000, "ms"));
    assert_eq!((alert.threshold, alert.since), (Some(3_000.0), Some(at(5))));
    assert!(alert.value.is_some_and(|value| (value - 4_000.0).abs() < 40.0), "{:?}", alert.value);
    assert!(alert.summary.starts_with("p95 of the portfolio refresh of binance is 40"), "{}", alert.summary);
    assert!(alert.first_action.contains("120 s") && !alert.cause.contains('{'));
}

#[test]
fn each_trade_id_counts_once_whatever_is_published_again() {
    let mut guardrail = Guardrail::new(&Rules::builtin());
    let mut out = Effects::default();
    let batch = |ids: &[u64]| ticks(Venue::Btcturk, "BTCTRY", ids, at(0), at(0));
    for ids in [&[5, 9, 14][..], &[5, 9, 14], &[9, 14, 20], &[1], &[21, 22]] {
        guardrail.apply(at(0), batch(ids), &mut out).unwrap();
    }
    assert_eq!(guardrail.windows(at(0)).trades_counted, BTreeMap::from([("btcturk.BTCTRY".to_owned(), 6)]));
    let (_, _, market) = guardrail.markets().next().unwrap();
    assert_eq!((market.trades, market.duplicates), (6, 6));
}

#[test]
fn wild_times_break_nothing() {
    let mut guardrail = Guardrail::new(&Rules::builtin());
    let mut out = Effects::default();
    let far = [Timestamp::from_nanos(i64::MAX), Timestamp::from_nanos(i64::MIN), at(0)];
    for (number, occurred) in (1..).zip(far) {
        guardrail.apply(at(0), ticks(Venue::Binance, "BTCUSDT", &[number], occurred, occurred), &mut out).unwrap();
    }
    guardrail.apply(at(-60_000), ticks(Venue::Binance, "BTCUSDT", &[4], at(0), at(0)), &mut out).unwrap();
    guardrail.tick(at(0), &mut out);
    assert_eq!(guardrail.windows(at(0)).trades_counted["binance.BTCUSDT"], 4);
    assert_eq!(guardrail.clamped(), 2);
    assert!(guardrail.staleness(at(1_000)).all(|(_, _, seconds)| (seconds - 1.0).abs() < 1e-9));
}

#[test]
fn scopes_beyond_the_bound_are_counted_and_not_taken() {
    let mut guardrail = Guardrail::new(&rule("ws_staleness"));
    let mut out = Effects::default();
    let beyond = 10;
    for number in 0..SCOPES_MAX + beyond {
        guardrail.apply(at(0), ticks(Venue::Binance, &format!("S{number}"), &[1], at(0), at(0)), &mut out).unwrap();
    }
    assert_eq!((guardrail.windows(at(0)).values.len(), guardrail.refused()), (SCOPES_MAX, beyond as u64));
    guardrail.apply(at(0), beat("feed", ProcessState::Running), &mut out).unwrap();
}

#[test]
fn labels_that_cannot_be_true_are_refused() {
    let mut guardrail = Guardrail::new(&Rules::builtin());
    let mut out = Effects::default();
    let before = guardrail.save();
    assert!(guardrail.apply(at(0), call(Venue::Binance, &"x".repeat(1_000), 1, None), &mut out).is_err());
    assert!(guardrail.apply(at(0), call(Venue::Binance, "a\u{1f}b", 1, None), &mut out).is_err());
    assert!(guardrail.apply(at(0), feed(FeedState::Live, &["btc usdt"]), &mut out).is_err());
    assert_eq!(guardrail.windows(at(0)).trades_counted, BTreeMap::new());
    assert!(guardrail.firing().values().all(|count| *count == 0));
    assert_ne!(before, guardrail.save(), "time went on");
}

#[test]
fn a_changed_rule_starts_afresh_and_closes_what_it_had_open_and_others_go_on() {
    let two = format!("{}\n{}", text_of("ws_staleness"), text_of("portfolio_refresh_p95"));
    let mut guardrail = Guardrail::new(&Rules::from_toml(&two, "a.toml").unwrap());
    let mut out = Effects::default();
    guardrail.apply(at(0), tick(0, 1).1, &mut out).unwrap();
    guardrail.apply(at(0), call(Venue::Binance, REFRESH, 9_000, None), &mut out).unwrap();
    feed_in(&mut guardrail, &mut 0, 31_000, &mut out);
    assert_eq!(alerts(&out).len(), 2);
    let state = guardrail.save();

    let changed = two.replace("warning = 1500", "warning = 1600");
    let mut after = Guardrail::new(&Rules::from_toml(&changed, "a.toml").unwrap());
    after.load(&state).unwrap();
    out.drain();
    after.tick(at(31_100), &mut out);
    let said = alerts(&out);
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((said[0].name.as_str(), said[0].state, said[0].revision), ("PortfolioRefreshLatencyHighP95", Resolved, 2));
    assert_eq!(after.firing()[&("WSStaleness", Severity::Warning)], 1);
    out.drain();
    after.apply(at(31_200), call(Venue::Binance, REFRESH, 9_000, None), &mut out).unwrap();
    assert_eq!(alerts(&out).first().map(|alert| (alert.state, alert.revision, alert.samples)), Some((Firing, 3, 1)));
}

#[test]
fn after_its_state_is_lost_revisions_go_on_where_the_ledger_ends() {
    let mut guardrail = Guardrail::new(&rule("portfolio_refresh_p95"));
    let mut out = Effects::default();
    guardrail.apply(at(0), call(Venue::Binance, REFRESH, 9_000, None), &mut out).unwrap();
    let mut stored = alerts(&out)[0].clone();
    stored.revision = 41;
    let mut fresh = Guardrail::new(&rule("portfolio_refresh_p95"));
    fresh.seed([stored]);
    out.drain();
    fresh.apply(at(100), call(Venue::Binance, REFRESH, 9_000, None), &mut out).unwrap();
    let said: Vec<_> = alerts(&out).iter().map(|alert| (alert.state, alert.revision)).collect();
    assert_eq!(said, [(Resolved, 42), (Firing, 43)]);
}

#[test]
fn a_night_during_which_everything_was_off_says_nothing_about_the_exchanges() {
    let mut guardrail = Guardrail::new(&rule("ws_staleness"));
    let (mut now, mut out) = (0, Effects::default());
    guardrail.apply(at(0), tick(0, 1).1, &mut out).unwrap();
    silence(&mut guardrail, &mut now, 600_000, &mut out);
    let windows = out.items().iter().filter(|effect| effect.subject == subject::WINDOWS).count();
    assert_eq!((windows, alerts(&out).len()), (10, 0));
    out.drain();
    // The guardrail is back first; the exchange gets its usual time from here, and not longer.
    guardrail.apply(at(600_050), beat("guardrail", ProcessState::Running), &mut out).unwrap();
    feed_in(&mut guardrail, &mut now, 630_000, &mut out);
    assert_eq!(said(&out), []);
    feed_in(&mut guardrail, &mut now, 631_000, &mut out);
    assert_eq!(said(&out), [(630_100, "BTCUSDT-binance".to_owned(), Firing, WARNING)]);
}

#[test]
fn what_was_stored_before_a_crash_and_is_decided_otherwise_after_it_is_corrected() {
    let rules = rule("portfolio_refresh_p95");
    let slow = |latency| call(Venue::Binance, REFRESH, latency, None);
    let mut before = Guardrail::new(&rules);
    let mut out = Effects::default();
    before.tick(at(0), &mut out);
    let saved = before.save();
    before.apply(at(100), slow(9_000), &mut out).unwrap();
    let stored = alerts(&out);
    // What happens after the crash, and what is then said: state, severity, revision.
    let check = |name: &str, again: Option<Event>, want: &[(AlertState, Option<Severity>, u64)]| {
        let mut after = Guardrail::new(&rules);
        after.compare_with(stored.clone());
        after.load(&saved).unwrap();
        let mut out = Effects::default();
        if let Some(event) = again {
            after.apply(at(100), event, &mut out).unwrap();
        }
        after.apply(at(150), beat("guardrail", ProcessState::Running), &mut out).unwrap();
        for ms in [200, 1_000, 1_100, 1_200] {
            after.tick(at(ms), &mut out);
        }
        let said: Vec<_> = alerts(&out).iter().map(|alert| (alert.state, alert.severity, alert.revision)).collect();
        assert_eq!(said, want, "{name}");
    };
    check("the same again", Some(slow(9_000)), &[(Firing, CRITICAL, 1)]);
    check("something else", Some(slow(2_000)), &[(Firing, WARNING, 2)]);
    check("nothing", None, &[(Resolved, None, 2)]);
    check("nothing to say", Some(slow(10)), &[(Inactive, None, 2)]);
}

#[test]
fn a_damaged_or_foreign_state_is_named() {
    let mut guardrail = Guardrail::new(&Rules::builtin());
    let check = |guardrail: &mut Guardrail, bytes: &[u8], part: &str| {
        let error = guardrail.load(bytes).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    check(&mut guardrail, &[], "damaged");
    check(&mut guardrail, &[0x97, 99], "layout 99, this build reads");
    let good = guardrail.save();
    check(&mut guardrail, &good[..good.len() / 2], "damaged");
}

fn text_of(id: &str) -> String {
    let blocks = crate::rule::BUILTIN.split("[[rule]]").skip(1);
    format!("[[rule]]{}", blocks.into_iter().find(|block| block.contains(&format!("id = \"{id}\""))).unwrap())
}

/// A little of everything, with silences, bursts and faults, the same each time.
fn recording() -> Vec<(i64, Event)> {
    let mut events = Vec::new();
    let mut random: u64 = 7;
    let mut next = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let (mut ms, mut id) = (0, 1_000);
    for number in 0..140 {
        ms += i64::try_from(if number % 40 == 39 { 33_000 } else { next(700) }).unwrap();
        id += next(3);
        let venue = if next(2) == 0 { Venue::Binance } else { Venue::Btcturk };
        let error = (next(3) == 0).then_some("timeout");
        events.push((
            ms,
            match next(9) {
                0 => call(venue, REFRESH, next(6_000), None),
                1 | 2 => call(venue, "account", next(4_000), error),
                3 => beat(["feed", "gateway", "exchange-sim"][usize::try_from(next(3)).unwrap()], ProcessState::Running),
                4 => feed([FeedState::Live, FeedState::Reconnecting][usize::try_from(next(2)).unwrap()], &["BTCUSDT", "ETHUSDT"]),
                5 => balances(&[("BTC", next(2) == 0)], Some(at(ms)), error),
                6 => anomaly([AnomalyState::Held, AnomalyState::Confirmed][usize::try_from(next(2)).unwrap()]),
                7 => parked(),
                _ => ticks(venue, "BTCUSDT", &[id, id + 1], at(ms), at(ms - 20)),
            },
        ));
    }
    events
}

enum Step {
    Tick(i64),
    Event(i64, Box<Event>),
}

fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    let mut now = 0;
    for (ms, event) in recording() {
        // Silences in the recording are seconds long; a boundary a second is enough to decide in them.
        while now + 500 <= ms {
            now += 500;
            steps.push(Step::Tick(now));
        }
        steps.push(Step::Event(ms, Box::new(event)));
    }
    steps
}

fn run_step(guardrail: &mut Guardrail, step: &Step) -> Effects {
    let mut out = Effects::default();
    match step {
        Step::Tick(ms) => guardrail.tick(at(*ms), &mut out),
        Step::Event(ms, event) => guardrail.apply(at(*ms), (**event).clone(), &mut out).unwrap(),
    }
    out
}

#[test]
fn the_same_deliveries_give_the_same_bytes() {
    let run = || {
        let mut guardrail = Guardrail::new(&Rules::builtin());
        let effects: Vec<_> = steps().iter().flat_map(|step| run_step(&mut guardrail, step).items().to_vec()).collect();
        (effects, guardrail.save())
    };
    let first = run();
    assert_eq!(first, run());
    assert!(first.0.iter().filter(|effect| effect.revision.is_some()).count() > 30, "the recording decides too little");
}

#[test]
fn a_crash_at_every_index_changes_no_effect() {
    let steps = steps();
    let mut straight = Guardrail::new(&Rules::builtin());
    let mut crashing = Guardrail::new(&Rules::builtin());
    for (index, step) in steps.iter().enumerate() {
        let saved = crashing.save();
        crashing = Guardrail::new(&Rules::builtin());
        crashing.load(&saved).unwrap();
        assert_eq!(run_step(&mut straight, step).items(), run_step(&mut crashing, step).items(), "index {index}");
    }
    assert_eq!(straight.save(), crashing.save());
}
