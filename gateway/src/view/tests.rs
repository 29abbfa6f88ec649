//! Tables over the whole view: events with their times in, what the answers say out.

use std::collections::BTreeMap;

use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::market::{Quote, QuoteBatch, Side, TickBatch, Trade};
use spark_bus_schema::parked::Parked;
use spark_bus_schema::portfolio::{Balances, PollError};
use spark_bus_schema::telemetry::{Call, FeedState, FeedStatus, Heartbeat, ProcessState, REFRESH, WindowValue, Windows};
use spark_bus_schema::{Decimal, Fixed, Timestamp, Venue};

use super::status::Word;
use super::*;

const START_S: i64 = 1_800_000_000;

fn s(seconds: i64) -> Timestamp {
    Timestamp::from_millis((START_S + seconds) * 1_000)
}

fn view(expected: &[&str], demo: bool) -> View {
    let limits = Limits {
        expected: expected.iter().map(|&name| name.to_owned()).collect(),
        demo,
        market_age_ms_max: 30_000,
        portfolio_age_ms_max: 120_000,
        calendar: spark_bus_schema::session::Calendar::default(),
    };
    let mut view = View::new(s(0), limits);
    view.set_connected(true);
    view
}

fn beat(service: &str, pid: u32, state: ProcessState) -> Event {
    Event::Heartbeat(Heartbeat {
        service: service.into(),
        pid,
        version: "0.1.0".into(),
        started_at: s(i64::from(pid)),
        sent_at: s(0),
        state,
        detail: (state == ProcessState::Degraded).then(|| "no key".into()),
        resident_bytes: 1,
        counters: BTreeMap::from([("spark_feed_ticks_total".into(), 7)]),
    })
}

fn feed(state: FeedState) -> Event {
    Event::FeedStatus(FeedStatus {
        venue: Venue::Binance,
        state,
        since: s(0),
        symbols: vec!["BTCUSDT".into()],
        reconnects: 0,
        trades_missing: 0,
        trades_filled: 0,
        frames_rejected: 0,
        detail: None,
    })
}

fn trade(symbol: &str, trade_id: u64, price: &str) -> Event {
    let mut batch = TickBatch::new(Venue::Binance, symbol);
    let price = Fixed::parse(price).unwrap();
    let (occurred_at, received_at) = (s(i64::try_from(trade_id).unwrap()), s(0));
    batch.push(&Trade { trade_id, occurred_at, received_at, price, quantity: price, side: Side::Sell }).unwrap();
    Event::Ticks(batch)
}

fn quote(symbol: &str, bid: &str, ask: &str) -> Event {
    let mut batch = QuoteBatch::new(Venue::Binance, symbol);
    let (bid, ask) = (Fixed::parse(bid).unwrap(), Fixed::parse(ask).unwrap());
    let quote = Quote { update_id: 1, received_at: s(0), bid_price: bid, bid_quantity: bid, ask_price: ask, ask_quantity: ask };
    batch.push(&quote).unwrap();
    Event::Quotes(batch)
}

fn balances(exchange: Venue, updated_at: Option<Timestamp>, total: &str, error: Option<&str>) -> Event {
    Event::Balances(Balances {
        exchange,
        currency: "USD".into(),
        polled_at: s(0),
        updated_at,
        stale: error.is_some(),
        error: error.map(|kind| PollError { error_type: kind.into(), message: "m".into() }),
        balances: Vec::new(),
        total_usd: total.parse().unwrap(),
        unpriced: Vec::new(),
        refresh_us: 1,
    })
}

fn alert(exchange: &str, revision: u64, at: i64, state: AlertState, severity: Severity) -> Event {
    Event::Alert(Box::new(Alert {
        name: "WSStaleness".into(),
        rule: "ws_staleness".into(),
        revision,
        scope: BTreeMap::from([("exchange".into(), exchange.into())]),
        state,
        severity: Some(severity),
        value: Some(1.0),
        threshold: Some(1.0),
        direction: "above".into(),
        unit: "s".into(),
        window_ms: 0,
        samples: 1,
        at: s(at),
        since: None,
        summary: String::new(),
        cause: String::new(),
        first_action: String::new(),
        permanent_fix: String::new(),
        runbook: String::new(),
    }))
}

fn window(rule: &str, exchange: &str, value: Option<f64>) -> WindowValue {
    WindowValue {
        rule: rule.into(),
        metric: rule.into(),
        scope: BTreeMap::from([("exchange".into(), exchange.into())]),
        value,
        samples: 1,
        window_ms: 1_000,
        unit: "ms".into(),
        warning: Some(1.0),
        critical: Some(2.0),
        state: AlertState::Inactive,
    }
}

#[test]
fn the_status_says_what_is_wrong_and_nothing_else_makes_it_degraded() {
    let check = |events: Vec<(i64, Event)>, now: i64, demo: bool, word: Word, reasons: &[&str]| {
        let mut view = view(&["feed"], demo);
        for (at, event) in events {
            view.apply(s(at), event);
        }
        let status = view.status(s(now));
        assert_eq!((status.status, status.reasons), (word, reasons.iter().map(|&r| r.to_owned()).collect()), "at {now}");
    };
    let running = || beat("feed", 1, ProcessState::Running);
    let live = || (0, feed(FeedState::Live));
    let well = || vec![(0, running()), live(), (0, quote("BTCUSDT", "1", "2"))];
    check(vec![], 1, true, Word::Degraded, &["feed: no heartbeat yet", "market data: no venue has reported yet"]);
    check(well(), 1, true, Word::Demo, &[]);
    check(well(), 1, false, Word::Live, &[]);
    check(well(), 9, true, Word::Demo, &[]);
    check(well(), 11, true, Word::Degraded, &["feed: no heartbeat for 11 s"]);
    let with = |extra: (i64, Event)| well().into_iter().chain([extra]).collect::<Vec<_>>();
    check(with((1, beat("feed", 1, ProcessState::Stopping))), 1, true, Word::Degraded, &["feed: stopped"]);
    check(with((1, beat("feed", 1, ProcessState::Degraded))), 1, true, Word::Degraded, &["feed: no key"]);
    check(with((1, beat("other", 1, ProcessState::Degraded))), 2, true, Word::Demo, &[]);
    check(with((1, feed(FeedState::Filling))), 2, true, Word::Demo, &[]);
    check(with((1, feed(FeedState::Reconnecting))), 2, true, Word::Degraded, &["binance: market data is reconnecting"]);
    check(with((40, running())), 41, true, Word::Degraded, &["binance: no market data for 41 s"]);
    check(with((1, balances(Venue::Btcturk, Some(s(1)), "1", None))), 2, true, Word::Demo, &[]);
    let failed = (1, balances(Venue::Btcturk, None, "0", Some("auth")));
    check(with(failed), 2, true, Word::Degraded, &["btcturk: balances cannot be read (auth)"]);
    let old = (1, balances(Venue::Btcturk, Some(s(-130)), "1", None));
    check(with(old), 1, true, Word::Degraded, &["btcturk: balances are 131 s old"]);

    let mut away = view(&["feed"], true);
    away.set_connected(false);
    let reasons = away.status(s(1)).reasons;
    assert_eq!(reasons.len(), 1, "one reason, not its consequences: {reasons:?}");
}

#[test]
fn a_process_is_up_late_or_down_by_the_age_of_its_heartbeat() {
    let check = |now: i64, connected: bool, want: processes::Presence| {
        let mut view = view(&["feed"], true);
        view.apply(s(0), beat("feed", 1, ProcessState::Running));
        let rows = view.processes.rows(s(now), connected, &["feed".to_owned(), "portfolio".to_owned()]);
        assert_eq!(rows[0].presence, want, "{now}");
        assert!(matches!(rows[1].presence, processes::Presence::Missing | processes::Presence::Unknown));
    };
    use processes::Presence::{Down, Late, Unknown, Up};
    check(3, true, Up);
    check(4, true, Late);
    check(10, true, Late);
    check(11, true, Down);
    check(3, false, Up);
    check(11, false, Unknown);
}

#[test]
fn a_new_pid_is_a_restart_unless_the_old_run_was_yesterdays() {
    let check = |beats: &[(i64, u32)], want: u64| {
        let mut view = view(&[], true);
        for &(at, pid) in beats {
            view.apply(s(at), beat("feed", pid, ProcessState::Running));
        }
        assert_eq!(view.processes.rows(s(0), true, &[])[0].restarts, want, "{beats:?}");
    };
    check(&[(1, 10), (2, 10)], 0);
    check(&[(1, 10), (2, 11), (3, 12)], 2);
    check(&[(-5_000, 10), (2, 11)], 0);
}

#[test]
fn prices_keep_the_newest_trade_and_the_last_quote_exactly() {
    let mut view = view(&[], true);
    for (at, event) in
        [(1, trade("BTCUSDT", 10, "61837.63")), (2, quote("BTCUSDT", "61837.62", "0.00000001")), (3, trade("BTCUSDT", 9, "1"))]
    {
        assert_eq!(view.apply(s(at), event), Change::Price);
    }
    let row = |now: i64| serde_json::to_string(&view.prices.rows(s(now))).unwrap();
    let text = row(5);
    for part in ["\"last\":61837.63,", "\"trade_id\":10,", "\"bid\":61837.62,", "\"ask\":0.00000001,", "\"age_ms\":2000"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(row(1).contains("\"age_ms\":0"), "a clock that runs behind makes no negative age");
    assert_eq!(view.prices.take_changed(s(5)).len(), 1, "three changes, one row");
    assert!(view.prices.take_changed(s(5)).is_empty());
}

#[test]
fn the_view_stays_bounded_whatever_arrives() {
    let mut view = view(&[], true);
    for index in 0..2_000_u32 {
        let exchange = format!("e{index}");
        view.apply(s(1), quote(&format!("S{index}"), "1", "2"));
        view.apply(s(1), alert(&exchange, 1, i64::from(index), AlertState::Firing, Severity::Warning));
        let name: String = format!("{index:04}").bytes().map(|b| char::from(b'a' + b - b'0')).collect();
        view.apply(s(1), beat(&name, 1, ProcessState::Running));
        view.apply(
            s(1),
            Event::Windows(Windows {
                at: s(1),
                values: vec![window("r", &exchange, Some(1.0))],
                trades_counted: (0..1_000).map(|symbol| (format!("binance.S{symbol}"), 1)).collect(),
            }),
        );
        view.apply(
            s(1),
            Event::Parked(Box::new(Parked {
                process: exchange,
                reason: "malformed".into(),
                detail: String::new(),
                stream: "FEED".into(),
                sequence: 1,
                subject: String::new(),
                kind: None,
                headers: Vec::new(),
                payload: Vec::new(),
                payload_bytes: 0,
                attempts: 1,
                parked_at: s(1),
            })),
        );
    }
    assert_eq!(view.prices.rows(s(1)).len(), prices::SYMBOLS_MAX);
    assert_eq!(view.alerts.current().count(), alerts::ALERTS_MAX);
    assert_eq!(view.alerts.recent().count(), alerts::TRANSITIONS_MAX);
    assert_eq!(view.processes.rows(s(1), true, &[]).len(), processes::PROCESSES_MAX);
    assert_eq!(view.windows.chart(s(1), 60, "r").series.len(), windows::SERIES_MAX);
    assert_eq!(view.windows.latest().unwrap().trades_counted.len(), windows::COUNTED_MAX);
    assert!(view.overflow() > 5_000, "what was left out is counted: {}", view.overflow());
}

#[test]
fn an_alert_is_its_newest_revision_and_transitions_come_once_however_often_they_are_read() {
    use AlertState::{Firing, Pending, Resolved};
    use Severity::{Critical, Warning};
    let mut view = view(&[], true);
    let firing = || alert("binance", 2, 20, Firing, Critical);
    assert!(matches!(view.apply(s(0), firing()), Change::Alert(_)));
    assert_eq!(view.apply(s(0), firing()), Change::Nothing, "the same once more");
    assert_eq!(view.apply(s(0), alert("binance", 1, 10, Pending, Warning)), Change::Nothing, "history, read later");
    view.apply(s(0), alert("btcturk", 1, 15, Firing, Warning));
    let shown = |alerts: Vec<&Alert>| alerts.iter().map(|a| format!("{}{}", a.scope["exchange"], a.revision)).collect::<Vec<_>>();
    assert_eq!(shown(view.alerts.active()), ["binance2", "btcturk1"], "worst first");
    assert_eq!(shown(view.alerts.recent().collect()), ["binance2", "btcturk1", "binance1"], "newest first");
    assert_eq!((view.alerts.firing(Critical), view.alerts.firing(Warning)), (1, 1));
    view.apply(s(0), alert("binance", 3, 30, Resolved, Critical));
    assert_eq!(shown(view.alerts.active()), ["btcturk1"]);
}

#[test]
fn the_time_series_shows_the_worst_exchange_and_can_be_narrowed_to_one() {
    let mut view = view(&[], true);
    for second in 0..3 {
        let values = vec![
            window(windows::P95_RULE, "binance", Some(100.0)),
            window(windows::P95_RULE, "btcturk", (second == 2).then_some(900.0)),
            window(windows::STALENESS_RULE, "binance", Some(f64::NAN)),
            window(windows::ERROR_RATE_RULE, "btcturk", Some(0.5)),
        ];
        view.apply(s(second), Event::Windows(Windows { at: s(second), values, trades_counted: BTreeMap::new() }));
    }
    let check = |exchange: Option<&str>, want: &str| {
        let got = serde_json::to_string(&view.windows.timeseries(s(2), 60, exchange)).unwrap();
        assert_eq!(got, want.replace('@', "180000000"), "{exchange:?}");
    };
    check(
        None,
        "[{\"ts\":@0000,\"p95_ms\":100.0,\"staleness_s\":null,\"error_rate\":0.5},\
         {\"ts\":@1000,\"p95_ms\":100.0,\"staleness_s\":null,\"error_rate\":0.5},\
         {\"ts\":@2000,\"p95_ms\":900.0,\"staleness_s\":null,\"error_rate\":0.5}]",
    );
    check(Some("btcturk"), &{
        let rows = ["null", "null", "900.0"]
            .iter()
            .enumerate()
            .map(|(index, p95)| format!("{{\"ts\":@{index}000,\"p95_ms\":{p95},\"staleness_s\":null,\"error_rate\":0.5}}"));
        format!("[{}]", rows.collect::<Vec<_>>().join(","))
    });
    assert_eq!(view.windows.worst(windows::P95_RULE, Some("bist")), None);
}

#[test]
fn calls_count_from_this_process_on_and_error_types_are_a_closed_set() {
    let call = |operation: &str, error: Option<&str>| {
        Event::Call(Call {
            exchange: Venue::Binance,
            service: "portfolio".into(),
            operation: operation.into(),
            started_at: s(0),
            latency_us: 250_000,
            ok: error.is_none(),
            error_type: error.map(str::to_owned),
            http_status: None,
            attempt: 1,
        })
    };
    let mut view = view(&[], true);
    view.apply(s(-1), call("account", Some("auth")));
    for error in ["auth", "auth", "x\"y\n"] {
        view.apply(s(1), call("account", Some(error)));
    }
    view.apply(s(1), call(REFRESH, Some("auth")));
    let errors: Vec<_> = view.calls.errors.iter().map(|((_, kind), count)| (*kind, *count)).collect();
    assert_eq!(errors, [("auth", 2), ("other", 1)]);
    let refresh = &view.calls.refresh_ms[&Venue::Binance];
    assert_eq!((refresh.count(), refresh.sum()), (1, 250.0));
    let at: Vec<_> = refresh.cumulative().filter(|(bound, _)| (100.0..=500.0).contains(bound)).collect();
    assert_eq!(at, [(100.0, 0), (250.0, 1), (500.0, 1)], "a bound belongs to its bucket");
}

#[test]
fn a_total_that_no_decimal_can_hold_is_unknown_instead_of_a_panic() {
    let mut view = view(&[], true);
    let max = Decimal::MAX.to_string();
    view.apply(s(0), balances(Venue::Binance, Some(s(0)), &max, None));
    assert_eq!(view.portfolio.total_usd(), Some(Decimal::MAX));
    view.apply(s(0), balances(Venue::Btcturk, Some(s(0)), &max, None));
    assert_eq!(view.portfolio.total_usd(), None);
    assert_eq!(view.portfolio.updated_at(), Some(s(0)));
}
