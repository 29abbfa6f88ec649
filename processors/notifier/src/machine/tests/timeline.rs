//! The hand that drives a timeline: time passes in the machine's own steps, what is told is kept until it is expected.

use std::collections::BTreeMap;

use spark_bus_schema::Timestamp;
use spark_bus_schema::actions::{Action, ActionStage};
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::notify::{Notification, NotifyReason, Silence};
use spark_nats::{Effects, Machine};

use super::super::*;
use crate::config::Config;

pub const BEGIN: i64 = 1_700_000_000_000;

pub fn moment(seconds: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "test moments are small")]
    let millis = (seconds * 1_000.0).round() as i64;
    Timestamp::from_millis(BEGIN + millis)
}

pub struct Timeline {
    pub plan: Plan,
    pub machine: Notifier,
    pub boundary: Timestamp,
    pub now: Timestamp,
    pub told: Vec<(Timestamp, String, Notification)>,
    pub seen: usize,
    pub revisions: BTreeMap<String, u64>,
    pub alerts: BTreeMap<String, u64>,
    pub restarts: bool,
}

pub struct Between<'a> {
    pub timeline: &'a mut Timeline,
    pub from: f64,
    pub to: f64,
}

pub fn config(text: &str) -> Config {
    // The configuration's own reader lives in the CLI; TOML by way of JSON is the same for these types.
    let mut config = Config::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (key, value) = line.split_once('=').unwrap();
        let value = value.trim().to_owned();
        match key.trim() {
            "group_wait" => config.group_wait = value,
            "group_interval" => config.group_interval = value,
            "repeat_interval" => config.repeat_interval = value,
            "group_by" => config.group_by = value.split(',').map(str::to_owned).collect(),
            "send_resolved" => config.receiver[0].send_resolved = value == "true",
            "no_routes" => config.route = Some(Vec::new()),
            other => panic!("{other}"),
        }
    }
    config
}

impl Timeline {
    /// Everything goes to the receiver `file`: after 5 s, at once when critical; 30 s between two words, 4 h until it is said again.
    pub fn new() -> Self {
        Self::with("")
    }

    pub fn with(text: &str) -> Self {
        Self::of(&config(text))
    }

    pub fn of(config: &Config) -> Self {
        let plan = Plan::new(config).unwrap();
        Self {
            machine: Notifier::new(plan.clone()),
            plan,
            boundary: moment(0.0),
            now: moment(0.0),
            told: Vec::new(),
            seen: 0,
            revisions: BTreeMap::new(),
            alerts: BTreeMap::new(),
            restarts: false,
        }
    }

    pub fn advance(&mut self, to: Timestamp) {
        loop {
            let next = self.boundary.next_boundary(STEP);
            if next > to {
                break;
            }
            (self.boundary, self.now) = (next, next);
            let mut effects = Effects::default();
            self.machine.tick(next, &mut effects);
            self.store(effects);
        }
        self.now = self.now.max(to);
    }

    /// As the bus does: of each subject, each revision once.
    pub fn store(&mut self, mut effects: Effects) {
        for effect in effects.drain() {
            let notification: Notification = decode_payload(&effect.payload).unwrap();
            let stored = self.revisions.entry(effect.subject.clone()).or_default();
            assert_eq!(effect.revision, Some(notification.revision));
            if notification.revision > *stored {
                assert_eq!(notification.revision, *stored + 1, "{}", effect.subject);
                *stored = notification.revision;
                self.told.push((self.now, effect.subject, notification));
            }
        }
    }

    pub fn at(&mut self, seconds: f64) -> &mut Self {
        self.advance(moment(seconds));
        self
    }

    pub fn happens(&mut self, event: Event) -> &mut Self {
        let mut effects = Effects::default();
        self.machine.apply(self.now, event, &mut effects).unwrap();
        self.store(effects);
        if self.restarts {
            self.restart();
        }
        self
    }

    pub fn alert(&mut self, name: &str, place: &str, state: AlertState, severity: Option<Severity>) -> &mut Self {
        let alert = self.made(name, place, state, severity);
        self.happens(Event::Alert(Box::new(alert)))
    }

    pub fn made(&mut self, name: &str, place: &str, state: AlertState, severity: Option<Severity>) -> Alert {
        let revision = self.alerts.entry(format!("{name} {place}")).or_default();
        *revision += 1;
        alert(name, place, state, severity, *revision, self.now)
    }

    pub fn warns(&mut self, name: &str, place: &str) -> &mut Self {
        self.alert(name, place, AlertState::Firing, Some(Severity::Warning))
    }

    pub fn critical(&mut self, name: &str, place: &str) -> &mut Self {
        self.alert(name, place, AlertState::Firing, Some(Severity::Critical))
    }

    pub fn resolves(&mut self, name: &str, place: &str) -> &mut Self {
        self.alert(name, place, AlertState::Resolved, None)
    }

    pub fn silence(&mut self, id: &str, matchers: &str, from: f64, to: f64) -> &mut Self {
        let silence = Silence {
            id: id.to_owned(),
            matchers: spark_alerting::matcher::parse(matchers).unwrap(),
            starts_at: moment(from),
            ends_at: moment(to),
            created_by: "ayse".to_owned(),
            comment: "maintenance".to_owned(),
            at: self.now,
        };
        self.happens(Event::Silence(silence))
    }

    pub fn action(&mut self, stage: ActionStage) -> &mut Self {
        let action = Action {
            episode: "e1".to_owned(),
            revision: 1,
            stage,
            dry_run: false,
            service: None,
            summary: "what happened".to_owned(),
            evidence: Vec::new(),
            checks: Vec::new(),
            at: self.now,
        };
        self.happens(Event::Action(Box::new(action)))
    }

    pub fn restart(&mut self) -> &mut Self {
        let saved = self.machine.save();
        self.machine = Notifier::new(self.plan.clone());
        self.machine.load(&saved).unwrap();
        assert_eq!(self.machine.save(), saved);
        self
    }

    pub fn between(&mut self, from: f64, to: f64) -> Between<'_> {
        Between { timeline: self, from, to }
    }

    /// Nobody is told anything more until then.
    pub fn quiet_until(&mut self, seconds: f64) -> &mut Self {
        self.advance(moment(seconds));
        let unexpected: Vec<String> = self.told[self.seen..].iter().map(shown).collect();
        assert!(unexpected.is_empty(), "told until {seconds} s: {unexpected:#?}");
        self
    }
}

impl Between<'_> {
    pub fn expect(self, want: &str) {
        let timeline = self.timeline;
        timeline.advance(moment(self.to));
        let Some(first) = timeline.told.get(timeline.seen) else {
            panic!("nothing was told between {} s and {} s; wanted {want}", self.from, self.to);
        };
        // Of what is told at the same moment any may be wanted first.
        let same = timeline.told[timeline.seen..].iter().take_while(|told| told.0 == first.0);
        let found = same.enumerate().find(|(_, told)| words(&told.2) == want).map_or(0, |(offset, _)| offset);
        timeline.told.swap(timeline.seen, timeline.seen + found);
        let told = &timeline.told[timeline.seen];
        assert_eq!(words(&told.2), want, "at {} ms", told.0.since_ms(moment(0.0)));
        assert!(told.0 >= moment(self.from), "told at {} ms: {want}", told.0.since_ms(moment(0.0)));
        timeline.seen += 1;
    }
}

pub fn shown((at, _, notification): &(Timestamp, String, Notification)) -> String {
    format!("{} ms: {}", at.since_ms(moment(0.0)), words(notification))
}

/// `new: +WSStaleness btcturk warning, -…`: `+` fires, `-` is over.
pub fn words(notification: &Notification) -> String {
    let reason = match notification.reason {
        NotifyReason::New => "new",
        NotifyReason::Changed => "changed",
        NotifyReason::Repeat => "repeat",
        NotifyReason::Resolved => "resolved",
    };
    let alerts = notification.alerts.iter().map(|alert| {
        let of = |name: &str| alert.labels.get(name).map_or("", String::as_str);
        let place: Vec<&str> =
            ["exchange", "service", "stage", "symbol", "venue"].into_iter().map(of).filter(|v| !v.is_empty()).collect();
        let sign = if alert.firing { '+' } else { '-' };
        format!("{sign}{} {} {}", of("alertname"), place.join(" "), of("severity"))
    });
    let mut alerts: Vec<String> = alerts.collect();
    alerts.sort();
    format!("{reason}: {}", alerts.join(", "))
}

pub fn alert(name: &str, place: &str, state: AlertState, severity: Option<Severity>, revision: u64, at: Timestamp) -> Alert {
    let scope = place.split(' ').filter_map(|pair| pair.split_once('='));
    Alert {
        name: name.to_owned(),
        rule: name.to_lowercase(),
        revision,
        scope: scope.map(|(label, value)| (label.to_owned(), value.to_owned())).collect(),
        state,
        severity,
        value: Some(31.0),
        threshold: Some(30.0),
        direction: "above".to_owned(),
        unit: "s".to_owned(),
        window_ms: 0,
        samples: 0,
        at,
        since: Some(at),
        summary: format!("{name} {place}"),
        cause: String::new(),
        first_action: String::new(),
        permanent_fix: String::new(),
        runbook: String::new(),
    }
}

impl Timeline {
    /// So many words are told until then, whatever they are.
    pub fn quiet_words(&mut self, seconds: f64, count: usize) {
        self.advance(moment(seconds));
        assert_eq!(self.told.len() - self.seen, count, "{:#?}", self.told[self.seen..].iter().map(shown).collect::<Vec<_>>());
        self.seen += count;
    }
}
