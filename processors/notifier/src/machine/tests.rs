//! Timelines: `at` a moment something happens, `between` two moments somebody is told, and nobody is told anything else.

use std::time::Duration;

use proptest::prelude::*;
use spark_bus_schema::actions::ActionStage;
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::notify::Silence;
use spark_bus_schema::{Message, encode, subject};
use spark_nats::{Delivery, Effects, Machine};

use super::*;
use crate::config::Config;

mod timeline;

use timeline::{Timeline, alert, config, moment};

#[test]
fn a_warning_waits_for_company_a_critical_does_not() {
    let mut t = Timeline::new();
    t.at(1.0).warns("HighLatency", "exchange=binance");
    t.between(6.0, 6.0).expect("new: +HighLatency binance warning");
    t.at(10.0).critical("ExchangeDown", "exchange=btcturk");
    t.between(10.0, 10.0).expect("new: +ExchangeDown btcturk critical");
    t.quiet_until(600.0);
}

#[test]
fn alerts_of_one_group_are_told_together_and_those_of_another_apart() {
    let mut t = Timeline::with("group_by = alertname,venue");
    t.at(1.0).warns("WSStaleness", "venue=btcturk symbol=BTCTRY").warns("WSStaleness", "venue=binance symbol=BTCUSDT");
    t.at(3.0).warns("WSStaleness", "venue=btcturk symbol=ETHTRY");
    t.between(6.0, 6.0).expect("new: +WSStaleness BTCUSDT binance warning");
    t.between(6.0, 6.0).expect("new: +WSStaleness BTCTRY btcturk warning, +WSStaleness ETHTRY btcturk warning");
    t.quiet_until(600.0);
}

#[test]
fn what_joins_or_leaves_a_group_is_told_once_an_interval() {
    let mut t = Timeline::with("group_by = alertname");
    t.at(0.0).warns("HighLatency", "exchange=a");
    t.between(5.0, 5.0).expect("new: +HighLatency a warning");
    t.at(6.0).warns("HighLatency", "exchange=b");
    t.at(20.0).warns("HighLatency", "exchange=c").resolves("HighLatency", "exchange=a");
    t.between(35.0, 35.0).expect("changed: +HighLatency b warning, +HighLatency c warning, -HighLatency a warning");
    t.at(100.0).resolves("HighLatency", "exchange=b");
    t.between(100.0, 100.0).expect("changed: +HighLatency c warning, -HighLatency b warning");
    t.at(101.0).resolves("HighLatency", "exchange=c");
    t.between(130.0, 130.0).expect("resolved: -HighLatency c warning");
    t.quiet_until(20_000.0);
}

#[test]
fn what_fires_on_is_repeated_and_what_is_over_is_not() {
    let mut t = Timeline::with("repeat_interval = 10m\ngroup_wait = 0s");
    t.at(1.0).warns("HighLatency", "exchange=a");
    t.between(1.0, 1.0).expect("new: +HighLatency a warning");
    t.between(601.0, 601.0).expect("repeat: +HighLatency a warning");
    t.between(1_201.0, 1_201.0).expect("repeat: +HighLatency a warning");
    t.at(1_300.0).resolves("HighLatency", "exchange=a");
    t.between(1_300.0, 1_300.0).expect("resolved: -HighLatency a warning");
    t.quiet_until(5_000.0);
}

#[test]
fn a_warning_that_becomes_critical_is_told_at_once_and_its_end_once_to_each_group() {
    let mut t = Timeline::new();
    t.at(1.0).warns("PortfolioDataStale", "exchange=a");
    t.between(6.0, 6.0).expect("new: +PortfolioDataStale a warning");
    t.at(9.0).critical("PortfolioDataStale", "exchange=a");
    t.between(9.0, 9.0).expect("new: +PortfolioDataStale a critical");
    t.quiet_until(50.0);
    t.at(50.0).resolves("PortfolioDataStale", "exchange=a");
    t.between(50.0, 50.0).expect("resolved: -PortfolioDataStale a critical");
    t.between(50.0, 50.0).expect("resolved: -PortfolioDataStale a warning");
    t.quiet_until(20_000.0);
}

#[test]
fn a_critical_that_falls_back_to_a_warning_is_over_as_a_critical() {
    let mut t = Timeline::new();
    t.at(1.0).critical("PortfolioDataStale", "exchange=a");
    t.between(1.0, 1.0).expect("new: +PortfolioDataStale a critical");
    t.at(40.0).warns("PortfolioDataStale", "exchange=a");
    t.between(40.0, 40.0).expect("resolved: -PortfolioDataStale a critical");
    t.between(45.0, 45.0).expect("new: +PortfolioDataStale a warning");
    t.quiet_until(600.0);
}

#[test]
fn within_one_group_a_change_of_severity_is_a_change() {
    let mut t = Timeline::with("no_routes = 1");
    t.at(1.0).warns("PortfolioDataStale", "exchange=a");
    t.between(6.0, 6.0).expect("new: +PortfolioDataStale a warning");
    t.at(60.0).critical("PortfolioDataStale", "exchange=a");
    t.between(60.0, 60.0).expect("changed: +PortfolioDataStale a critical");
    t.at(120.0).resolves("PortfolioDataStale", "exchange=a");
    t.between(120.0, 120.0).expect("resolved: -PortfolioDataStale a critical");
    t.quiet_until(600.0);
}

#[test]
fn the_same_state_twice_is_told_once_and_pending_is_not_told() {
    let mut t = Timeline::new();
    t.at(0.5).alert("HighLatency", "exchange=a", AlertState::Pending, Some(Severity::Critical));
    t.quiet_until(10.0);
    t.at(10.0).critical("HighLatency", "exchange=a").critical("HighLatency", "exchange=a");
    t.between(10.0, 10.0).expect("new: +HighLatency a critical");
    t.at(70.0).critical("HighLatency", "exchange=a");
    t.quiet_until(600.0);
    t.at(600.0).resolves("HighLatency", "exchange=a").resolves("HighLatency", "exchange=a");
    t.between(600.0, 600.0).expect("resolved: -HighLatency a critical");
    t.at(700.0).resolves("HighLatency", "exchange=a");
    t.quiet_until(1_000.0);
}

#[test]
fn no_data_that_is_an_alert_is_told() {
    let mut t = Timeline::new();
    t.at(1.0).alert("HighLatency", "exchange=a", AlertState::NoData, Some(Severity::Warning));
    t.between(6.0, 6.0).expect("new: +HighLatency a warning");
    t.at(40.0).resolves("HighLatency", "exchange=a");
    t.between(40.0, 40.0).expect("resolved: -HighLatency a warning");
    t.quiet_until(600.0);
}

#[test]
fn an_alert_that_comes_and_goes_is_told_at_most_twice_an_interval() {
    let mut t = Timeline::new();
    t.at(1.0).warns("HighLatency", "exchange=a");
    t.at(3.0).resolves("HighLatency", "exchange=a");
    t.quiet_until(30.0);
    for second in 0..30 {
        t.at(30.0 + f64::from(second)).critical("HighLatency", "exchange=a");
        t.at(30.5 + f64::from(second)).resolves("HighLatency", "exchange=a");
    }
    t.between(30.0, 30.0).expect("new: +HighLatency a critical");
    t.between(60.0, 60.0).expect("resolved: -HighLatency a critical");
    t.quiet_until(600.0);
}

#[test]
fn receivers_that_want_no_end_hear_none() {
    let mut t = Timeline::with("send_resolved = false");
    t.at(1.0).critical("HighLatency", "exchange=a");
    t.between(1.0, 1.0).expect("new: +HighLatency a critical");
    t.at(60.0).resolves("HighLatency", "exchange=a");
    t.quiet_until(100.0);
    t.at(100.0).critical("HighLatency", "exchange=a");
    t.between(100.0, 100.0).expect("new: +HighLatency a critical");
    t.quiet_until(600.0);
}

#[test]
fn a_silence_hides_while_it_is_active_and_no_longer() {
    let mut t = Timeline::new();
    t.at(1.0).silence("s", "exchange=a", 1.0, 100.0);
    t.at(2.0).critical("HighLatency", "exchange=a").critical("HighLatency", "exchange=b");
    t.between(2.0, 2.0).expect("new: +HighLatency b critical");
    t.quiet_until(99.9);
    t.between(100.0, 100.0).expect("new: +HighLatency a critical");
    t.quiet_until(600.0);
}

#[test]
fn what_began_and_ended_in_silence_was_never_heard_of() {
    let mut t = Timeline::new();
    t.at(1.0).silence("s", "exchange=a", 1.0, 100.0);
    t.at(2.0).critical("HighLatency", "exchange=a");
    t.at(50.0).resolves("HighLatency", "exchange=a");
    t.quiet_until(600.0);
}

#[test]
fn what_was_told_and_ends_in_silence_is_told_to_be_over_afterwards() {
    let mut t = Timeline::new();
    t.at(1.0).critical("HighLatency", "exchange=a");
    t.between(1.0, 1.0).expect("new: +HighLatency a critical");
    t.at(2.0).silence("s", "exchange=a", 2.0, 100.0);
    t.at(50.0).resolves("HighLatency", "exchange=a");
    t.quiet_until(99.9);
    t.between(100.0, 100.0).expect("resolved: -HighLatency a critical");
    t.quiet_until(600.0);
}

#[test]
fn a_silence_of_the_future_of_the_past_and_one_taken_back_hide_nothing() {
    let mut t = Timeline::new();
    t.at(10.0).silence("past", "exchange=a", 1.0, 5.0).silence("future", "exchange=a", 100.0, 200.0);
    t.at(11.0).critical("HighLatency", "exchange=a");
    t.between(11.0, 11.0).expect("new: +HighLatency a critical");
    t.at(50.0).resolves("HighLatency", "exchange=a");
    t.between(50.0, 50.0).expect("resolved: -HighLatency a critical");
    t.at(120.0).critical("HighLatency", "exchange=a");
    t.quiet_until(150.0);
    t.at(150.0).silence("future", "exchange=a", 100.0, 150.0);
    t.between(150.1, 150.1).expect("new: +HighLatency a critical");
    t.quiet_until(600.0);
}

#[test]
fn the_repetition_of_what_fires_is_silenced_too() {
    let mut t = Timeline::with("repeat_interval = 10m");
    t.at(1.0).critical("HighLatency", "exchange=a");
    t.between(1.0, 1.0).expect("new: +HighLatency a critical");
    t.at(2.0).silence("s", "alertname=HighLatency", 2.0, 1_000.0);
    t.quiet_until(999.9);
    t.between(1_000.0, 1_000.0).expect("repeat: +HighLatency a critical");
    t.quiet_until(1_500.0);
}

#[test]
fn a_critical_hides_the_warning_of_the_same_place() {
    let mut t = Timeline::new();
    let warning = |t: &mut Timeline| {
        let mut other = t.made("HighLatency", "exchange=a", AlertState::Firing, Some(Severity::Warning));
        "of_another_rule".clone_into(&mut other.rule);
        other
    };
    t.at(1.0).critical("HighLatency", "exchange=a");
    t.between(1.0, 1.0).expect("new: +HighLatency a critical");
    let hidden = warning(&mut t);
    t.at(2.0).happens(Event::Alert(Box::new(hidden)));
    t.quiet_until(60.0);
    t.at(60.0).resolves("HighLatency", "exchange=a");
    t.between(60.0, 60.0).expect("resolved: -HighLatency a critical");
    t.between(60.1, 60.1).expect("new: +HighLatency a warning");
    t.quiet_until(600.0);
}

#[test]
fn a_dead_feed_hides_the_staleness_of_its_symbols_in_whatever_order_they_come() {
    let check = |source: (&str, &str), hidden: bool| {
        let mut t = Timeline::new();
        t.at(1.0).critical("WSStaleness", "symbol=BTCTRY venue=btcturk");
        t.at(1.1).critical(source.0, source.1);
        t.quiet_words(1.1, 1);
        if hidden {
            t.quiet_until(60.0);
        } else {
            t.between(6.0, 6.0).expect("new: +WSStaleness BTCTRY btcturk critical");
        }
        t.at(60.0).resolves(source.0, source.1);
        t.quiet_words(60.0, 1);
        if hidden {
            t.between(60.1, 60.1).expect("new: +WSStaleness BTCTRY btcturk critical");
        }
        t.quiet_until(600.0);
    };
    check(("WSStaleness", "venue=btcturk"), true);
    check(("WSStaleness", "venue=binance"), false);
    check(("ExchangeDown", "exchange=btcturk"), true);
    check(("ExchangeDown", "exchange=binance"), false);
    check(("SparkUpMissing", "service=feed"), true);
    check(("SparkUpMissing", "service=risk"), false);
}

#[test]
fn a_process_that_restarts_on_purpose_is_not_missed_at_once() {
    let mut t = Timeline::with("group_wait = 0s");
    t.at(1.0).happens(Event::RestartAsked { service: "risk".to_owned() });
    t.at(2.0).warns("SparkUpMissing", "service=risk").warns("SparkUpMissing", "service=feed");
    t.between(2.0, 2.0).expect("new: +SparkUpMissing feed warning");
    t.at(8.0).happens(Event::RestartDone { service: "risk".to_owned() });
    t.quiet_until(17.9);
    t.between(18.0, 18.0).expect("new: +SparkUpMissing risk warning");
    t.quiet_until(600.0);
}

#[test]
fn failed_restarts_and_rollbacks_are_told_and_the_rest_of_an_episode_is_not() {
    let mut t = Timeline::new();
    t.at(1.0).action(ActionStage::Began).action(ActionStage::RestartAsked);
    t.quiet_until(10.0);
    t.at(10.0).action(ActionStage::RestartFailed);
    t.between(10.0, 10.0).expect("new: +GuardrailAction restart_failed critical");
    t.at(11.0).action(ActionStage::RollbackAsked);
    t.at(20.0).action(ActionStage::RollbackVerified);
    t.between(40.0, 40.0).expect("changed: +GuardrailAction rollback_verified critical");
    t.at(90.0).action(ActionStage::Ended);
    t.between(90.0, 90.0).expect("resolved: -GuardrailAction rollback_verified critical");
    t.quiet_until(600.0);
}

#[test]
fn a_restart_tells_nothing_twice_and_forgets_nothing() {
    let mut t = Timeline::with("repeat_interval = 10m");
    t.at(1.0).critical("ExchangeDown", "exchange=a");
    t.between(1.0, 1.0).expect("new: +ExchangeDown a critical");
    t.restart().at(2.0).warns("HighLatency", "exchange=a").restart();
    t.at(4.0).restart();
    t.between(7.0, 7.0).expect("new: +HighLatency a warning");
    t.at(8.0).resolves("ExchangeDown", "exchange=a").restart();
    t.between(31.0, 31.0).expect("resolved: -ExchangeDown a critical");
    t.restart();
    t.between(607.0, 607.0).expect("repeat: +HighLatency a warning");
    t.restart().quiet_until(900.0);
}

#[test]
fn a_lost_checkpoint_is_made_again_from_the_ledger_and_nothing_is_told_twice() {
    let mut t = Timeline::with("group_by = alertname");
    t.at(1.0).critical("HighLatency", "exchange=a").critical("ExchangeDown", "exchange=gone");
    t.between(1.0, 1.0).expect("new: +HighLatency a critical");
    t.between(1.0, 1.0).expect("new: +ExchangeDown gone critical");
    // Down from here on; what happens meanwhile is in the LEDGER only.
    let at = moment(50.0);
    let fires = |name, place| alert(name, place, AlertState::Firing, Some(Severity::Critical), 1, at);
    let resolved = |name, place| alert(name, place, AlertState::Resolved, None, 2, at);
    let mut newest = vec![
        stored(&fires("HighLatency", "exchange=a")),
        stored(&resolved("ExchangeDown", "exchange=gone")),
        stored(&fires("HighErrorRate", "exchange=b")),
        stored(&resolved("WSStaleness", "venue=a")),
    ];
    newest.extend(t.told.iter().map(|(_, subject, notification)| delivery(subject, notification)));
    t.machine = Notifier::begin(t.plan.clone(), &newest, at);
    t.restart();
    (t.boundary, t.now) = (at, at);
    t.between(50.1, 50.1).expect("resolved: -ExchangeDown gone critical");
    t.between(50.1, 50.1).expect("new: +HighErrorRate b critical");
    t.quiet_until(600.0);
    t.at(600.0).resolves("HighLatency", "exchange=a");
    t.between(600.0, 600.0).expect("resolved: -HighLatency a critical");
    t.quiet_until(1_000.0);
}

#[test]
fn other_routes_are_another_state_and_a_damaged_one_is_refused() {
    let mut t = Timeline::new();
    t.at(1.0).critical("HighLatency", "exchange=a");
    let saved = t.machine.save();
    let other = Plan::new(&config("group_wait = 7s")).unwrap();
    assert!(Notifier::new(other).load(&saved).unwrap_err().contains("routes"));
    assert!(Notifier::new(t.plan.clone()).load(&saved[..saved.len() / 2]).is_err());
}

#[test]
fn a_thousand_alerts_are_one_notification_that_counts_what_it_leaves_out() {
    let mut t = Timeline::with("group_by = alertname");
    t.at(1.0);
    for number in 0..1_000 {
        t.warns("WSStaleness", &format!("symbol=S{number} venue=v"));
    }
    t.at(6.0);
    let (_, _, notification) = &t.told[0];
    assert_eq!((t.told.len(), notification.alerts.len(), notification.truncated), (1, 100, 900));
}

#[test]
fn a_silence_that_cannot_be_used_is_refused_and_changes_nothing() {
    let mut machine = Notifier::new(Plan::new(&Config::default()).unwrap());
    let before = machine.save();
    let silence = Silence {
        id: "s".to_owned(),
        matchers: vec![spark_bus_schema::notify::Matcher {
            name: "a".to_owned(),
            value: "[".to_owned(),
            is_regex: true,
            is_equal: true,
        }],
        starts_at: moment(0.0),
        ends_at: moment(1.0),
        created_by: "x".to_owned(),
        comment: "x".to_owned(),
        at: moment(0.0),
    };
    let refused = machine.apply(moment(0.0), Event::Silence(silence), &mut Effects::default()).unwrap_err();
    assert_eq!(refused.reason, "bad_matcher");
    assert_eq!(machine.save(), before);
}

fn stored(alert: &Alert) -> Delivery {
    delivery(&subject::alert(&alert.name, &alert.scope), alert)
}

fn delivery<T: Message>(subject: &str, message: &T) -> Delivery {
    Delivery {
        stream: subject::LEDGER,
        sequence: 1,
        stored_at: moment(0.0),
        subject: subject.to_owned(),
        kind: Some(T::KIND.to_string()),
        headers: Vec::new(),
        payload: encode(message).into(),
        pending: 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn restarts_change_nothing_whatever_happens(
        steps in proptest::collection::vec((0_u64..40_000, 0_u8..9, 0_u8..4), 1..40),
    ) {
        let run = |restarts: bool| {
            let mut t = Timeline::with("repeat_interval = 5m");
            t.restarts = restarts;
            let mut seconds = 0.0;
            for (pause, kind, place) in &steps {
                #[expect(clippy::cast_precision_loss, reason = "small")]
                let pause = *pause as f64 / 1_000.0;
                seconds += pause;
                let exchange = format!("exchange=e{place}");
                let symbol = format!("symbol=s{place} venue=v");
                t.at(seconds);
                match kind {
                    0 => t.warns("HighLatency", &exchange),
                    1 => t.critical("HighLatency", &exchange),
                    2 | 3 => t.resolves("HighLatency", &exchange),
                    4 => t.critical("WSStaleness", &symbol),
                    5 => t.resolves("WSStaleness", &symbol),
                    6 => t.critical("WSStaleness", "venue=v"),
                    7 => t.resolves("WSStaleness", "venue=v"),
                    _ => t.silence(&format!("s{place}"), &exchange, seconds, seconds + 20.0),
                };
            }
            t.advance(t.now + Duration::from_secs(700));
            t.told.iter().map(|(at, subject, told)| (*at, subject.clone(), told.clone())).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(false), run(true));
    }
}
