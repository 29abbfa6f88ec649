//! Alerts as timelines: what comes when, and what is said between when and when.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test names its failure by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use spark_bus_schema::actions::{ThresholdChange, ThresholdsCommand};
use spark_bus_schema::alerts::AlertState::{self, Firing, Inactive, NoData, Pending, Resolved};
use spark_bus_schema::alerts::{Alert, Severity};
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::telemetry::{ApiRequests, Call, Heartbeat, ProcessState, REFRESH, WindowValue};
use spark_bus_schema::{Timestamp, Venue};
use spark_guardrail::rule::duration;
use spark_guardrail::{Event, Guardrail, Rules};
use spark_nats::{Effects, Machine};

const ZERO: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const STEP: Duration = Duration::from_millis(100);
const WARNING: Option<Severity> = Some(Severity::Warning);
const CRITICAL: Option<Severity> = Some(Severity::Critical);

/// What happens.
enum Happens {
    Event(Event),
    Parked(Event, &'static str),
    Restart(Option<String>),
}

/// A story of one rule, told in advance; [`Timeline::holds`] plays it.
struct Timeline {
    rules: String,
    happens: Vec<(Duration, Happens)>,
    expected: Vec<(Duration, Duration, String, AlertState, Option<Severity>)>,
    shown: Vec<(Duration, String, Shown)>,
    until: Duration,
}

/// What `telemetry.windows` must show.
struct Shown {
    value: Option<f64>,
    warning: Option<f64>,
    critical: Option<f64>,
}

struct At(Timeline, Duration);
struct Between(Timeline, Duration, Duration);

fn time(text: &str) -> Duration {
    duration::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem:?}"))
}

impl Timeline {
    fn of(rules: &str) -> Self {
        Self { rules: rules.to_owned(), happens: vec![], expected: vec![], shown: vec![], until: Duration::ZERO }
    }

    fn at(self, moment: &str) -> At {
        At(self, time(moment))
    }

    fn between(self, from: &str, to: &str) -> Between {
        Between(self, time(from), time(to))
    }

    /// The same again and again, from a moment on, `count` times.
    fn every(mut self, every: &str, from: &str, count: u32, event: impl Fn() -> Event) -> Self {
        let (mut at, every) = (time(from), time(every));
        for _ in 0..count {
            self.happens.push((at, Happens::Event(event())));
            at += every;
        }
        self
    }

    fn until(mut self, end: &str) -> Self {
        self.until = time(end);
        self
    }

    /// Everything that was expected is said in its time and in this order, and nothing else is.
    fn holds(mut self) {
        let last = self.expected.iter().map(|(_, to, ..)| *to).chain(self.happens.iter().map(|(at, _)| *at)).max();
        let until = self.until.max(last.unwrap_or_default());
        let said = self.play(until);
        let told = |said: &[(Duration, String, AlertState, Option<Severity>)]| {
            said.iter()
                .map(|(at, scope, state, severity)| format!("{at:?} {scope} {state:?} {severity:?}"))
                .collect::<Vec<_>>()
                .join("\n")
        };
        for (number, (from, to, scope, state, severity)) in self.expected.iter().enumerate() {
            let Some(got) = said.get(number) else {
                panic!("nothing said for {scope} {state:?} {severity:?} between {from:?} and {to:?}; said:\n{}", told(&said));
            };
            let fits = got.0 >= *from && got.0 <= *to && (&got.1, got.2, got.3) == (scope, *state, *severity);
            assert!(fits, "expected {scope} {state:?} {severity:?} between {from:?} and {to:?}; said:\n{}", told(&said));
        }
        assert_eq!(said.len(), self.expected.len(), "more was said than expected:\n{}", told(&said));
    }

    fn play(&mut self, until: Duration) -> Vec<(Duration, String, AlertState, Option<Severity>)> {
        let rules = |text: &str| Rules::from_toml(text, "timeline.toml").unwrap_or_else(|problems| panic!("{problems:#?}"));
        let mut guardrail = Guardrail::new(&rules(&self.rules));
        let (mut out, mut said, mut now) = (Effects::default(), Vec::new(), Duration::ZERO);
        self.happens.sort_by_key(|(at, _)| *at);
        let mut happens = std::mem::take(&mut self.happens).into_iter().peekable();
        let mut shown = std::mem::take(&mut self.shown).into_iter().peekable();
        guardrail.apply(ZERO, beat(), &mut out).unwrap();
        loop {
            while let Some((at, what)) = happens.next_if(|(at, _)| *at <= now) {
                match what {
                    Happens::Event(event) => guardrail.apply(ZERO + at, event, &mut out).unwrap(),
                    Happens::Parked(event, reason) => {
                        let refused = guardrail.apply(ZERO + at, event, &mut out).expect_err("it is parked");
                        assert!(refused.detail.contains(reason), "`{reason}` is not in: {}", refused.detail);
                    }
                    Happens::Restart(changed) => {
                        let state = guardrail.save();
                        guardrail = Guardrail::new(&rules(changed.as_deref().unwrap_or(&self.rules)));
                        guardrail.load(&state).unwrap();
                    }
                }
            }
            while let Some((at, scope, want)) = shown.next_if(|(at, ..)| *at <= now) {
                let windows = guardrail.windows(ZERO + at).values;
                let window = windows.iter().find(|window| name(&window.scope) == scope).expect("the scope is shown");
                compare(window, &want, at);
            }
            said.extend(out.drain().filter(|effect| effect.subject.starts_with("alerts.")).map(|effect| {
                let alert: Alert = decode_payload(&effect.payload).unwrap();
                (alert.at.saturating_since(ZERO), name(&alert.scope), alert.state, alert.severity)
            }));
            if now >= until {
                return said;
            }
            now += STEP;
            // As in the run loop: the boundary fires before what comes at it; the own heartbeat keeps it awake.
            if now.as_millis().is_multiple_of(1_000) {
                guardrail.apply(ZERO + now, beat(), &mut out).unwrap();
            }
            guardrail.tick(ZERO + now, &mut out);
        }
    }
}

fn compare(window: &WindowValue, want: &Shown, at: Duration) {
    let near = |got: Option<f64>, want: Option<f64>| match (got, want) {
        (Some(got), Some(want)) => (got - want).abs() <= want.abs() * 0.01,
        (got, want) => got == want,
    };
    let fits = near(window.value, want.value) && window.warning == want.warning && window.critical == want.critical;
    assert!(fits, "at {at:?}: {window:?}");
}

impl At {
    fn comes(mut self, event: Event) -> Timeline {
        self.0.happens.push((self.1, Happens::Event(event)));
        self.0
    }

    fn parks(mut self, event: Event, reason: &'static str) -> Timeline {
        self.0.happens.push((self.1, Happens::Parked(event, reason)));
        self.0
    }

    fn restart(mut self) -> Timeline {
        self.0.happens.push((self.1, Happens::Restart(None)));
        self.0
    }

    fn restart_with(mut self, rules: &str) -> Timeline {
        self.0.happens.push((self.1, Happens::Restart(Some(rules.to_owned()))));
        self.0
    }

    fn shows(mut self, scope: &str, value: Option<f64>, warning: f64, critical: f64) -> Timeline {
        let shown = Shown { value, warning: Some(warning), critical: Some(critical) };
        self.0.shown.push((self.1, scope.to_owned(), shown));
        self.0
    }
}

impl Between {
    fn expect(mut self, scope: &str, state: AlertState, severity: Option<Severity>) -> Timeline {
        self.0.expected.push((self.1, self.2, scope.to_owned(), state, severity));
        self.0
    }
}

fn name(scope: &BTreeMap<String, String>) -> String {
    scope.values().cloned().collect::<Vec<_>>().join("-")
}

fn beat() -> Event {
    Event::Heartbeat(Heartbeat {
        service: "guardrail".into(),
        pid: 1,
        version: "0".into(),
        started_at: ZERO,
        sent_at: ZERO,
        state: ProcessState::Running,
        detail: None,
        resident_bytes: 0,
        counters: BTreeMap::new(),
    })
}

fn call(exchange: Venue, operation: &str, latency_ms: u64, ok: bool) -> Event {
    Event::Call(Call {
        exchange,
        service: "portfolio".into(),
        operation: operation.into(),
        started_at: ZERO,
        latency_us: latency_ms * 1_000,
        ok,
        error_type: (!ok).then(|| "timeout".to_owned()),
        http_status: None,
        attempt: 1,
    })
}

fn refresh(latency_ms: u64) -> Event {
    call(Venue::Binance, REFRESH, latency_ms, true)
}

fn api(latency_us: u32, statuses: &[(u16, u64)]) -> Event {
    let requests: u64 = statuses.iter().map(|(_, count)| count).sum();
    Event::Api(ApiRequests {
        service: "gateway".into(),
        latencies_us: vec![latency_us; usize::try_from(requests).unwrap()],
        statuses: statuses.iter().copied().collect(),
        at: ZERO,
    })
}

fn change(rule: &str, scope: &[(&str, &str)], warning: Option<f64>, critical: Option<f64>) -> ThresholdChange {
    let scope = scope.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
    ThresholdChange { rule: rule.into(), scope, warning, critical }
}

fn thresholds(sequence: u64, changes: &[ThresholdChange], reset: bool) -> Event {
    let command = ThresholdsCommand {
        changes: changes.to_vec(),
        reset,
        actor: "operator".into(),
        reason: "a test".into(),
        at: ZERO + Duration::from_secs(sequence),
    };
    Event::Thresholds(sequence, command)
}

/// p95 of refreshes over ten seconds, per exchange.
const LATENCY: &str = r#"[[rule]]
id = "refresh"
alert = "Slow"
metric = "refresh_latency_ms"
scope = ["exchange"]
aggregation = "quantile"
quantile = 0.95
window = "10s"
warning = { threshold = 1000, for = "5s" }
critical = { threshold = 3000, for = "5s" }
keep_firing_for = "3s"
summary = "s"
cause = "c"
first_action = "f"
"#;

#[test]
fn a_warning_waits_for_its_time_gets_critical_and_resolves() {
    Timeline::of(LATENCY)
        .every("1s", "0s", 20, || refresh(100))
        .every("1s", "20s", 10, || refresh(2_000))
        .every("1s", "30s", 10, || refresh(4_000))
        .every("1s", "40s", 60, || refresh(100))
        .between("20s", "21s")
        .expect("binance", Pending, WARNING)
        .between("25s", "26s")
        .expect("binance", Firing, WARNING)
        .between("35s", "36s")
        .expect("binance", Firing, CRITICAL)
        // The slow ones leave a window of ten seconds (and at most a thirtieth more), then three seconds without.
        .between("52s", "54s")
        .expect("binance", Resolved, None)
        .until("100s")
        .holds();
}

#[test]
fn what_does_not_last_for_its_time_never_fires() {
    let short = LATENCY.replace("window = \"10s\"", "window = \"1s\"");
    Timeline::of(&short)
        .every("1s", "0s", 10, || refresh(100))
        .every("1s", "10s", 4, || refresh(2_000))
        .every("1s", "14s", 20, || refresh(100))
        .between("10s", "11s")
        .expect("binance", Pending, WARNING)
        .between("14s", "16s")
        .expect("binance", Inactive, None)
        .until("30s")
        .holds();
}

#[test]
fn a_flapping_value_raises_one_alert() {
    let level = LATENCY.replace("window = \"10s\"", "window = \"1s\"").replace(", for = \"5s\"", "");
    let mut timeline = Timeline::of(&level);
    for second in 0..40_u32 {
        let slow = (10..30).contains(&second) && second % 3 == 0;
        timeline = timeline.at(&format!("{second}s")).comes(refresh(if slow { 2_000 } else { 100 }));
    }
    // Two seconds in a row are well each time, and it keeps firing for three.
    timeline
        .between("12s", "12100ms")
        .expect("binance", Firing, WARNING)
        .between("30s", "33s")
        .expect("binance", Resolved, None)
        .until("45s")
        .holds();
}

#[test]
fn no_data_is_well_or_an_alert_or_no_news() {
    let rules = |no_data: &str| LATENCY.replace("keep_firing_for = \"3s\"", &format!("no_data = \"{no_data}\""));
    let slow = |timeline: Timeline| {
        timeline
            .every("1s", "0s", 8, || refresh(2_000))
            .between("0s", "0s")
            .expect("binance", Pending, WARNING)
            .between("5s", "5100ms")
            .expect("binance", Firing, WARNING)
    };
    slow(Timeline::of(&rules("ok"))).between("17s", "18s").expect("binance", Resolved, None).until("60s").holds();
    slow(Timeline::of(&rules("keep"))).until("60s").holds();
    // After the `for` of the warning without data, as the lowest severity; data ends it.
    slow(Timeline::of(&rules("alert")))
        .between("22s", "23s")
        .expect("binance", NoData, WARNING)
        .at("40s")
        .comes(refresh(100))
        .between("40s", "40s")
        .expect("binance", Resolved, None)
        .until("45s")
        .holds();
}

/// The budget of API answers: 1 %, a hundred times too fast when everything fails.
const BURN: &str = r#"[[rule]]
id = "budget"
alert = "Burn"
metric = "api_requests"
scope = ["service"]
aggregation = "burn_rate"
objective = 0.99
burn = [
    { long = "60s", short = "5s", factor = 14.4, severity = "critical" },
    { long = "360s", short = "30s", factor = 6, severity = "warning" },
]
min_samples = 100
summary = "s"
cause = "c"
first_action = "f"
"#;

#[test]
fn a_fast_burn_is_critical_within_seconds_and_over_when_the_short_windows_are_clean() {
    Timeline::of(BURN)
        .every("1s", "0s", 60, || api(1_000, &[(200, 10)]))
        .every("1s", "60s", 20, || api(1_000, &[(200, 5), (503, 5)]))
        .every("1s", "80s", 120, || api(1_000, &[(404, 10)]))
        // Half of them fail: of a minute's 600, 87 must have failed for 14.4 %, so 18 s; of the warning's long window,
        // which only holds what there is yet, 6 % sooner.
        .between("66s", "70s")
        .expect("gateway", Firing, WARNING)
        .between("77s", "79s")
        .expect("gateway", Firing, CRITICAL)
        // Of the critical's short window, five seconds, 14.4 % no longer fail.
        .between("83s", "86s")
        .expect("gateway", Firing, WARNING)
        .between("106s", "111s")
        .expect("gateway", Resolved, None)
        .until("200s")
        .holds();
}

#[test]
fn a_slow_burn_is_a_warning_and_never_critical_and_a_burst_alone_is_nothing() {
    Timeline::of(BURN)
        .every("1s", "0s", 600, || api(1_000, &[(200, 92), (500, 8)]))
        .between("0s", "0s")
        .expect("gateway", Firing, WARNING)
        .until("600s")
        .holds();
    // Five seconds of failures: the short windows burn, the long ones do not.
    Timeline::of(BURN)
        .every("1s", "0s", 400, || api(1_000, &[(200, 100)]))
        .every("1s", "400s", 5, || api(1_000, &[(500, 100)]))
        .every("1s", "405s", 100, || api(1_000, &[(200, 100)]))
        .until("500s")
        .holds();
    // One failure of three is no burn: the rule wants a hundred samples.
    Timeline::of(BURN).every("60s", "0s", 5, || api(1_000, &[(200, 2), (500, 1)])).until("300s").holds();
}

#[test]
fn a_burn_shows_the_smaller_one_of_both_windows_against_its_factor() {
    Timeline::of(BURN)
        .every("1s", "0s", 300, || api(1_000, &[(200, 80), (500, 20)]))
        .between("0s", "0s")
        .expect("gateway", Firing, CRITICAL)
        .at("200s")
        .shows("gateway", Some(20.0), 6.0, 14.4)
        .holds();
}

#[test]
fn a_restart_in_the_middle_changes_nothing() {
    // The same story twice, once with restarts in every state.
    let story = |restarts: &[&str]| {
        let mut timeline = Timeline::of(BURN);
        for at in restarts {
            timeline = timeline.at(at).restart();
        }
        let mut timeline = timeline
            .every("1s", "0s", 60, || api(1_000, &[(200, 10)]))
            .every("1s", "60s", 20, || api(1_000, &[(200, 5), (503, 5)]))
            .every("1s", "80s", 60, || api(1_000, &[(200, 10)]));
        timeline.play(Duration::from_secs(140))
    };
    let want = story(&[]);
    assert_eq!(want.len(), 4, "{want:?}");
    assert_eq!(story(&["30s", "61s", "68s", "78s", "82s", "100s", "120s"]), want);
    Timeline::of(LATENCY)
        .every("1s", "0s", 10, || refresh(2_000))
        .between("0s", "0s")
        .expect("binance", Pending, WARNING)
        .at("3s")
        .restart()
        .between("5s", "5100ms")
        .expect("binance", Firing, WARNING)
        .at("7s")
        .restart()
        .between("22s", "24s")
        .expect("binance", Resolved, None)
        .at("30s")
        .restart()
        .until("40s")
        .holds();
}

#[test]
fn a_threshold_changed_midway_is_in_force_at_once_survives_a_restart_and_can_be_taken_back() {
    let wide = |warning, critical| change("refresh", &[], Some(warning), Some(critical));
    let binance = |warning| change("refresh", &[("exchange", "binance")], Some(warning), None);
    let immediate = LATENCY.replace(", for = \"5s\"", "");
    Timeline::of(&immediate)
        .every("1s", "0s", 100, || refresh(2_000))
        .between("0s", "0s")
        .expect("binance", Firing, WARNING)
        .at("10s")
        .comes(thresholds(1, &[wide(2_500.0, 5_000.0)], false))
        .at("11s")
        .shows("binance", Some(2_000.0), 2_500.0, 5_000.0)
        .between("13s", "14s")
        .expect("binance", Resolved, None)
        .at("20s")
        .restart()
        .at("30s")
        .comes(thresholds(2, &[binance(1_500.0)], false))
        .between("30s", "30100ms")
        .expect("binance", Firing, WARNING)
        .at("31s")
        .shows("binance", Some(2_000.0), 1_500.0, 5_000.0)
        // The file changes: what was changed at run time stays above it.
        .at("40s")
        .restart_with(&immediate.replace("threshold = 1000", "threshold = 900"))
        .between("40s", "40100ms")
        .expect("binance", Resolved, None)
        .at("41s")
        .shows("binance", Some(2_000.0), 1_500.0, 5_000.0)
        .between("41s", "41s")
        .expect("binance", Firing, WARNING)
        .at("50s")
        .comes(thresholds(3, &[], true))
        .at("51s")
        .shows("binance", Some(2_000.0), 900.0, 3_000.0)
        .holds();
}

#[test]
fn changed_thresholds_that_cannot_be_are_parked_and_change_nothing() {
    let at = |timeline: Timeline, changes: &[ThresholdChange], reason: &'static str| {
        timeline.at("1s").parks(thresholds(1, changes, false), reason)
    };
    let good = || change("refresh", &[], Some(500.0), None);
    let mut timeline = Timeline::of(LATENCY).at("0s").comes(refresh(100));
    timeline = at(timeline, &[good(), change("refesh", &[], Some(1.0), None)], "unknown rule; did you mean `refresh`?");
    timeline = at(timeline, &[good(), change("refresh", &[], Some(4_000.0), None)], "before the warning of 4000; swap them");
    timeline =
        at(timeline, &[change("refresh", &[("venue", "binance")], Some(500.0), None)], "the rule's scope labels are exchange");
    timeline = at(timeline, &[change("refresh", &[], None, None)], "neither warning nor critical");
    timeline = at(timeline, &[change("refresh", &[], None, Some(1e9))], "it can never be crossed");
    // Nothing of a command with one mistake is taken.
    timeline.at("2s").shows("binance", Some(100.0), 1_000.0, 3_000.0).until("3s").holds();
    // A scope of its own may not be turned around by a change for all either.
    Timeline::of(LATENCY)
        .at("1s")
        .comes(thresholds(1, &[change("refresh", &[("exchange", "binance")], Some(2_900.0), None)], false))
        .at("2s")
        .parks(
            thresholds(2, &[change("refresh", &[], None, Some(2_000.0))], false),
            "critical in exchange=binance reached before",
        )
        .until("3s")
        .holds();
    let warning_only = LATENCY.replace("critical = { threshold = 3000, for = \"5s\" }\n", "");
    Timeline::of(&warning_only)
        .at("1s")
        .parks(thresholds(1, &[change("refresh", &[], None, Some(2_000.0))], false), "the rule has no critical threshold")
        .until("2s")
        .holds();
}

#[test]
fn thresholds_that_no_longer_go_together_with_the_file_wait_and_are_told() {
    let rules = |text: &str| Rules::from_toml(text, "timeline.toml").unwrap();
    let mut guardrail = Guardrail::new(&rules(LATENCY));
    let mut out = Effects::default();
    let commands = [(7, &[change("refresh", &[], Some(2_500.0), None)])].map(|(sequence, changes)| {
        let Event::Thresholds(sequence, command) = thresholds(sequence, changes, false) else { unreachable!("made above") };
        (sequence, command)
    });
    guardrail.seed_thresholds(commands.clone());
    assert_eq!(
        guardrail.thresholds_told(),
        ["refresh in every scope: warning 2500, critical 3000, in place of the file's warning 1000, critical 3000"]
    );
    // Met again in the inputs, after a later one that was seeded as well: it is not taken twice.
    guardrail.seed_thresholds([(
        8,
        ThresholdsCommand { reset: true, changes: vec![], at: ZERO + Duration::from_secs(8), ..commands[0].1.clone() },
    )]);
    guardrail.apply(ZERO, Event::Thresholds(7, commands[0].1.clone()), &mut out).unwrap();
    assert!(guardrail.thresholds_told().is_empty());
    guardrail.apply(ZERO, Event::Thresholds(9, commands[0].1.clone()), &mut out).unwrap();
    let state = guardrail.save();
    let told_under = |text: &str| {
        let mut guardrail = Guardrail::new(&rules(text));
        guardrail.load(&state).unwrap();
        guardrail.thresholds_told().join("\n")
    };
    let told = told_under(&LATENCY.replace("threshold = 3000", "threshold = 2000"));
    assert!(
        told.contains("warning 2500, critical 2000, not in force, it does not go together with the file's warning 1000"),
        "{told}"
    );
    let told = told_under(&LATENCY.replace("\"refresh\"", "\"other\""));
    assert!(told.contains("no rule refresh in the file: warning 2500, critical none wait for it"), "{told}");
}

#[test]
fn slow_and_failing_answers_of_the_api_warn() {
    let builtin = |id: &str| {
        let text = spark_guardrail::rule::BUILTIN;
        let start = text.find(&format!("[[rule]]\nid = \"{id}\"")).unwrap();
        let end = text[start + 8..].find("[[rule]]").map_or(text.len(), |end| start + 8 + end);
        text[start..end].to_owned()
    };
    Timeline::of(&builtin("api_p95"))
        .every("5s", "0s", 100, || api(300_000, &[(200, 10)]))
        .between("5s", "5s")
        .expect("gateway", Pending, WARNING)
        .between("305s", "306s")
        .expect("gateway", Firing, WARNING)
        .holds();
    Timeline::of(&builtin("api_error_ratio"))
        .every("5s", "0s", 130, || api(1_000, &[(200, 97), (404, 1), (503, 2)]))
        .between("0s", "0s")
        .expect("gateway", Pending, WARNING)
        .between("600s", "601s")
        .expect("gateway", Firing, WARNING)
        .holds();
}
