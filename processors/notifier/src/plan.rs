//! What the configuration means: receivers, the tree of routes, inhibitions; checked once, before anything is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spark_alerting::labels::{Labels, fingerprint};
use spark_alerting::matcher;
use spark_alerting::{InhibitRule, Matchers, builtin_inhibitions};
use spark_bus_schema::notify::Matcher;

use crate::config::{Config, Receiver, Route as Written};
use crate::duration;

/// Routes in all.
pub const ROUTES_MAX: usize = 500;
/// Receivers in all.
pub const RECEIVERS_MAX: usize = 50;
const DEPTH_MAX: usize = 8;
const NAME_BYTES_MAX: usize = 64;

/// How a receiver is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverKind {
    /// Alertmanager's webhook payload, version 4.
    Webhook,
    /// An incoming webhook of Slack's shape.
    Slack,
    /// `POST /api/v2/alerts`.
    Alertmanager,
    /// A line on stdout.
    Stdout,
    /// A line in a file.
    File,
}

impl ReceiverKind {
    const ALL: [(&'static str, Self); 5] = [
        ("webhook", Self::Webhook),
        ("slack", Self::Slack),
        ("alertmanager", Self::Alertmanager),
        ("stdout", Self::Stdout),
        ("file", Self::File),
    ];

    /// Whether it has an address.
    #[must_use]
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Webhook | Self::Slack | Self::Alertmanager)
    }
}

/// One receiver.
#[derive(Clone, Debug)]
pub struct Target {
    /// As written.
    pub written: Receiver,
    /// How it is spoken to.
    pub kind: ReceiverKind,
    /// For `alertmanager`.
    pub resolve_timeout: Duration,
}

/// One route with everything that it inherits.
#[derive(Clone, Debug)]
pub struct Route {
    /// Matchers on the way from the root, e.g. `{}/{severity="critical"}`; no two routes have the same.
    pub path: String,
    matchers: Matchers,
    /// Who is told.
    pub receivers: Vec<String>,
    /// Labels that make a group.
    pub group_by: Vec<String>,
    /// See [`Config`].
    pub group_wait: Duration,
    /// See [`Config`].
    pub group_interval: Duration,
    /// See [`Config`].
    pub repeat_interval: Duration,
    goes_on: bool,
    children: Vec<usize>,
}

/// The whole.
#[derive(Clone, Debug)]
pub struct Plan {
    /// By name.
    pub receivers: BTreeMap<String, Target>,
    /// The root is the first.
    pub routes: Vec<Route>,
    /// What hides what.
    pub inhibitions: Vec<InhibitRule>,
    /// Links begin with it; without a slash at its end.
    pub external_url: String,
    /// See [`Config`].
    pub retry_for: Duration,
    /// See [`Config`].
    pub retry_pause: (Duration, Duration),
    /// See [`Config`].
    pub timeout: Duration,
    /// Changes with anything that decides who is told what.
    pub signature: String,
}

/// A route and the group of an alert in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the route.
    pub route: usize,
    /// Names route and labels.
    pub key: String,
    /// The labels that make the group.
    pub labels: Labels,
}

impl Plan {
    /// Checks everything.
    ///
    /// # Errors
    /// Every mistake, each as "key = value: what is wrong; what would be right".
    pub fn new(config: &Config) -> Result<Self, Vec<String>> {
        let mut check = Check { config, wrong: Vec::new(), routes: Vec::new(), paths: BTreeSet::new() };
        let receivers = check.receivers();
        check.root(&receivers);
        let inhibitions = check.inhibitions();
        let retry_pause =
            (check.time("retry_pause", &config.retry_pause, 1), check.time("retry_pause_max", &config.retry_pause_max, 1));
        let (retry_for, timeout) = (check.time("retry_for", &config.retry_for, 0), check.time("timeout", &config.timeout, 1));
        if retry_pause.1 < retry_pause.0 {
            check.say("retry_pause_max", &config.retry_pause_max, "shorter than retry_pause; write the same or more");
        }
        let external_url = config.external_url.trim_end_matches('/').to_owned();
        if !is_address(&external_url) {
            check.say("external_url", &config.external_url, "not an address of the web; write it like \"http://127.0.0.1:4001\"");
        }
        if !check.wrong.is_empty() {
            return Err(check.wrong);
        }
        let routes = check.routes;
        let signature = signature(config);
        Ok(Self { receivers, routes, inhibitions, external_url, retry_for, retry_pause, timeout, signature })
    }

    /// Where an alert with these labels is told: the deepest matching routes.
    #[must_use]
    pub fn places(&self, labels: &Labels) -> Vec<Place> {
        let mut found = Vec::new();
        self.descend(0, labels, &mut found);
        found.into_iter().map(|route| self.place(route, labels)).collect()
    }

    fn descend(&self, index: usize, labels: &Labels, found: &mut Vec<usize>) {
        let before = found.len();
        for &child in &self.routes[index].children {
            if self.routes[child].matchers.matches(labels) {
                self.descend(child, labels, found);
                if !self.routes[child].goes_on {
                    break;
                }
            }
        }
        if found.len() == before {
            found.push(index);
        }
    }

    fn place(&self, index: usize, labels: &Labels) -> Place {
        let route = &self.routes[index];
        let by = |name: &String| Some((name.clone(), labels.get(name)?.clone()));
        let labels: Labels = match route.group_by.as_slice() {
            [all] if all == "..." => labels.clone(),
            names => names.iter().filter_map(by).collect(),
        };
        let shown: Vec<String> = labels.iter().map(|(name, value)| equal(name, value)).collect();
        Place { route: index, key: format!("{}:{{{}}}", route.path, shown.join(",")), labels }
    }
}

/// Short text that follows from a group's key; it is a token of the subject.
#[must_use]
pub fn group_id(key: &str) -> String {
    fingerprint(&Labels::from([("group".to_owned(), key.to_owned())]))
}

fn equal(name: &str, value: &str) -> String {
    matcher::show(&Matcher { name: name.to_owned(), value: value.to_owned(), is_regex: false, is_equal: true })
}

/// Addresses, files and tokens may change without anybody being told twice.
fn signature(config: &Config) -> String {
    let decides = (
        (&config.group_by, &config.group_wait, &config.group_interval, &config.repeat_interval, &config.receivers),
        (&config.route, &config.inhibit, config.builtin_inhibitions),
        config.receiver.iter().map(|receiver| (&receiver.name, receiver.send_resolved)).collect::<Vec<_>>(),
    );
    let text = serde_json::to_string(&decides).expect("text and lists always serialise");
    group_id(&text)
}

/// `http://host…` or `https://host…`.
pub fn is_address(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

struct Check<'a> {
    config: &'a Config,
    wrong: Vec<String>,
    routes: Vec<Route>,
    paths: BTreeSet<String>,
}

impl Check<'_> {
    fn say(&mut self, key: &str, value: &str, what: &str) {
        self.wrong.push(format!("{key} = {value:?}: {what}"));
    }

    fn time(&mut self, key: &str, text: &str, min_ms: u128) -> Duration {
        match duration::parse(text) {
            Ok(time) if time.as_millis() >= min_ms => return time,
            Ok(_) => self.say(key, text, "too short; write at least \"1ms\""),
            Err(what) => self.say(key, text, &what),
        }
        Duration::ZERO
    }

    fn receivers(&mut self) -> BTreeMap<String, Target> {
        let mut receivers = BTreeMap::new();
        if self.config.receiver.is_empty() || self.config.receiver.len() > RECEIVERS_MAX {
            let count = self.config.receiver.len();
            self.wrong.push(format!("receiver: {count} receivers; write 1 to {RECEIVERS_MAX} of [[notifier.receiver]]"));
        }
        for (index, written) in self.config.receiver.iter().enumerate() {
            let key = |name: &str| format!("receiver[{index}].{name}");
            let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if written.name.is_empty() || written.name.len() > NAME_BYTES_MAX || !written.name.chars().all(is_token) {
                self.say(&key("name"), &written.name, "must be 1 to 64 letters, digits, - and _, e.g. \"pager\"");
            }
            let kind = ReceiverKind::ALL.into_iter().find(|(name, _)| *name == written.kind).map(|(_, kind)| kind);
            match kind {
                Some(kind) => self.address(index, written, kind),
                None => self.say(&key("type"), &written.kind, "unknown; write webhook, slack, alertmanager, stdout or file"),
            }
            // One mistake is enough: routes to it are not another one.
            let kind = kind.unwrap_or(ReceiverKind::Stdout);
            let resolve_timeout = self.time(&key("resolve_timeout"), &written.resolve_timeout, 1);
            let target = Target { written: written.clone(), kind, resolve_timeout };
            if receivers.insert(written.name.clone(), target).is_some() {
                self.say(&key("name"), &written.name, "two receivers have this name; give each its own");
            }
        }
        receivers
    }

    fn address(&mut self, index: usize, written: &Receiver, kind: ReceiverKind) {
        let key = format!("receiver[{index}]");
        let addresses = [written.url.is_some(), written.url_file.is_some(), written.url_env.is_some()];
        let given = addresses.iter().filter(|given| **given).count();
        if kind.is_http() && given != 1 {
            self.wrong.push(format!("{key}.url: {given} addresses; write one of url, url_file, url_env"));
        }
        if !kind.is_http() && given > 0 {
            self.wrong.push(format!("{key}.url: a receiver of type {} has no address; remove it", written.kind));
        }
        if kind == ReceiverKind::File && written.path.is_none() {
            self.wrong.push(format!("{key}.path: missing; write e.g. \"notifications.jsonl\""));
        }
        if written.url.as_ref().is_some_and(|url| !is_address(url.expose())) {
            self.wrong
                .push(format!("{key}.url = (hidden): not an address of the web; write it like \"https://hooks.example.com/…\""));
        }
        if written.bearer_file.is_some() && written.bearer_env.is_some() {
            self.wrong.push(format!("{key}.bearer_file: bearer_env is there too; keep one of both"));
        }
    }

    fn root(&mut self, receivers: &BTreeMap<String, Target>) {
        let config = self.config;
        let root = Route {
            path: "{}".to_owned(),
            matchers: Matchers::default(),
            receivers: if config.receivers.is_empty() { receivers.keys().cloned().collect() } else { config.receivers.clone() },
            group_by: config.group_by.clone(),
            group_wait: self.time("group_wait", &config.group_wait, 0),
            group_interval: self.time("group_interval", &config.group_interval, 1),
            repeat_interval: self.time("repeat_interval", &config.repeat_interval, 1),
            goes_on: false,
            children: Vec::new(),
        };
        self.known("receivers", &config.receivers, receivers);
        self.labels("group_by", &config.group_by);
        self.paths.insert(root.path.clone());
        self.routes.push(root);
        let default = default_routes();
        let (written, prefix) = (config.route.as_ref().unwrap_or(&default), "route");
        self.children(0, written, prefix, 1, receivers);
    }

    fn children(&mut self, parent: usize, written: &[Written], prefix: &str, depth: usize, receivers: &BTreeMap<String, Target>) {
        // Matchers of the routes before that keep what they match.
        let mut earlier: Vec<(usize, BTreeSet<Matcher>)> = Vec::new();
        for (index, one) in written.iter().enumerate() {
            let key = format!("{prefix}[{index}]");
            if depth > DEPTH_MAX || self.routes.len() >= ROUTES_MAX {
                self.wrong.push(format!("{key}: too many routes; at most {ROUTES_MAX}, {DEPTH_MAX} within each other"));
                return;
            }
            let Some(matchers) = self.matchers(&key, one) else { continue };
            let set: BTreeSet<Matcher> = matchers.iter().cloned().collect();
            if let Some((taker, _)) = earlier.iter().find(|(_, before)| before.is_subset(&set)) {
                self.wrong.push(format!(
                    "{key}: never reached, {prefix}[{taker}] takes all that it matches; put it first, or write continue = true there"
                ));
            }
            if !one.goes_on {
                earlier.push((index, set));
            }
            let route = self.route(parent, &key, one, matchers, receivers);
            let at = self.routes.len();
            self.routes.push(route);
            self.routes[parent].children.push(at);
            self.children(at, &one.route, &format!("{key}.route"), depth + 1, receivers);
        }
    }

    fn matchers(&mut self, key: &str, one: &Written) -> Option<Matchers> {
        let mut texts = one.matchers.clone();
        texts.extend(one.equal.iter().map(|(name, value)| equal(name, value)));
        match Matchers::parse_all(&texts) {
            Ok(matchers) => Some(matchers),
            Err(error) => {
                self.say(&format!("{key}.matchers"), &texts.join(", "), &error.to_string());
                None
            }
        }
    }

    fn route(
        &mut self,
        parent: usize,
        key: &str,
        one: &Written,
        matchers: Matchers,
        receivers: &BTreeMap<String, Target>,
    ) -> Route {
        let above = self.routes[parent].clone();
        let mut named: Vec<String> = one.receiver.iter().chain(&one.receivers).cloned().collect();
        self.known(&format!("{key}.receiver"), &named, receivers);
        let mut seen = BTreeSet::new();
        named.retain(|name| seen.insert(name.clone()));
        let mut time = |name: &str, text: &Option<String>, min: u128, inherited: Duration| {
            text.as_ref().map_or(inherited, |text| self.time(&format!("{key}.{name}"), text, min))
        };
        let group_wait = time("group_wait", &one.group_wait, 0, above.group_wait);
        let group_interval = time("group_interval", &one.group_interval, 1, above.group_interval);
        let repeat_interval = time("repeat_interval", &one.repeat_interval, 1, above.repeat_interval);
        if let Some(names) = &one.group_by {
            self.labels(&format!("{key}.group_by"), names);
        }
        let mut path = format!("{}/{matchers}", above.path);
        while !self.paths.insert(path.clone()) {
            path.push('+');
        }
        Route {
            path,
            matchers,
            receivers: if named.is_empty() { above.receivers } else { named },
            group_by: one.group_by.clone().unwrap_or(above.group_by),
            group_wait,
            group_interval,
            repeat_interval,
            goes_on: one.goes_on,
            children: Vec::new(),
        }
    }

    fn known(&mut self, key: &str, names: &[String], receivers: &BTreeMap<String, Target>) {
        for name in names.iter().filter(|name| !receivers.contains_key(*name)) {
            let known: Vec<&str> = receivers.keys().map(String::as_str).collect();
            self.say(key, name, &format!("no such receiver; known are {}", known.join(", ")));
        }
    }

    fn labels(&mut self, key: &str, names: &[String]) {
        let is_label = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        for name in names.iter().filter(|name| !is_label(name) && (names.len() > 1 || *name != "...")) {
            self.say(key, name, "not a label; write e.g. \"alertname\", or [\"...\"] alone for each alert by itself");
        }
    }

    fn inhibitions(&mut self) -> Vec<InhibitRule> {
        let mut rules = if self.config.builtin_inhibitions { builtin_inhibitions() } else { Vec::new() };
        for (index, one) in self.config.inhibit.iter().enumerate() {
            if one.source.is_empty() || one.target.is_empty() {
                self.wrong
                    .push(format!("inhibit[{index}]: source or target is empty; it would hide everything, name labels in both"));
                continue;
            }
            match InhibitRule::new(&one.source, &one.target, &one.equal) {
                Ok(rule) => rules.push(rule),
                Err(error) => self.wrong.push(format!("inhibit[{index}]: {error}")),
            }
        }
        rules
    }
}

/// Without routes of one's own: what a broader alert may explain waits for that one, criticals wait for nothing.
fn default_routes() -> Vec<Written> {
    let route = |matcher: &str, wait: &str| Written {
        matchers: vec![matcher.to_owned()],
        group_wait: Some(wait.to_owned()),
        ..Written::default()
    };
    vec![route("alertname=\"WSStaleness\",symbol!=\"\"", "5s"), route("severity=\"critical\"", "0s")]
}

#[cfg(test)]
mod tests;
