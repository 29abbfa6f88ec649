//! One `spark.toml` for everything: a section a process, the environment on top, every mistake named at once.

mod problem;
mod secrets;
mod section;
mod sources;
pub mod template;

use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::value::{Dict, Value};
use serde::{Deserialize, Serialize};
use spark_bus_schema::telemetry::PROCESSES;
use spark_bus_schema::{Instrument, InstrumentTable};
use spark_nats::topology::Settings;

pub use problem::{Place, Problem, is_secret, nearest, unknown};
pub use section::extract;
pub use sources::{DEFAULT_FILE, Sources};

use crate::exit::Failure;

/// The sections of the file: one a process, and two more.
fn sections() -> Vec<&'static str> {
    PROCESSES.into_iter().chain(["nats", "supervisor"]).collect()
}

/// The list of further symbols.
const INSTRUMENT: &str = "instrument";

/// `[nats]`: which broker, for processes that were not started by `spark up`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nats {
    /// `nats://host:port`, several separated by commas. `NATS_URL` and `--url` win.
    pub url: Option<String>,
    /// File with an nkey seed. `SPARK_NKEY_SEED_FILE` wins.
    pub seed_file: Option<PathBuf>,
    /// `.creds` file. `NATS_CREDS` wins.
    pub creds_file: Option<PathBuf>,
    /// How long the broker remembers message ids, ms, where `spark up` makes the streams (default 120000, 100 to 3600000).
    /// Nothing depends on it: effects have natural keys.
    pub duplicate_window_ms: Option<u64>,
    /// Copies of each message (default 1, 1 to 5; a cluster of three nodes has 3).
    pub replicas: Option<u8>,
}

impl Nats {
    /// How the streams are set up.
    #[must_use]
    pub fn topology(&self) -> Settings {
        let default = Settings::default();
        let window = self.duplicate_window_ms.map_or(default.duplicate_window, Duration::from_millis);
        Settings { replicas: self.replicas.map_or(default.replicas, usize::from), duplicate_window: window }
    }

    fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for url in self.url.iter().flat_map(|urls| urls.split(',')) {
            if !["nats://", "tls://", "ws://", "wss://"].iter().any(|scheme| url.trim().starts_with(scheme)) {
                wrong.push(format!("url = \"{url}\": not the address of a broker; write it like \"nats://127.0.0.1:4222\""));
            }
        }
        if let Some(window) = self.duplicate_window_ms.filter(|window| !(100..=3_600_000).contains(window)) {
            wrong.push(format!("duplicate_window_ms = {window}: must be 100 to 3600000, e.g. 120000"));
        }
        if let Some(replicas) = self.replicas.filter(|replicas| !(1..=5).contains(replicas)) {
            wrong.push(format!("replicas = {replicas}: must be 1 to 5, e.g. 3 in a cluster of three nodes"));
        }
        for (key, path) in [("seed_file", &self.seed_file), ("creds_file", &self.creds_file)] {
            if let Some(path) = path.as_ref().filter(|path| !path.is_file()) {
                wrong.push(format!("{key} = \"{}\": no such file; name an existing one or remove the key", path.display()));
            }
        }
        wrong
    }
}

/// `[supervisor]`: how `spark up` restarts and stops processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Supervisor {
    /// First pause before a process that died is started again, ms. It doubles with each death.
    pub restart_pause_ms: u64,
    /// Longest pause, ms.
    pub restart_pause_max_ms: u64,
    /// A process that ran this long starts again with the first pause, ms.
    pub stable_after_ms: u64,
    /// How long a process may take to stop before it is killed, ms.
    pub stop_limit_ms: u64,
    /// Size at which a process's log is rotated, bytes.
    pub log_bytes_max: u64,
    /// Rotated logs kept for each process.
    pub logs_kept: u32,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self {
            restart_pause_ms: 100,
            restart_pause_max_ms: 10_000,
            stable_after_ms: 30_000,
            stop_limit_ms: 10_000,
            log_bytes_max: 8 * 1024 * 1024,
            logs_kept: 3,
        }
    }
}

impl Supervisor {
    fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, value) in [("restart_pause_ms", self.restart_pause_ms), ("stop_limit_ms", self.stop_limit_ms)] {
            if value == 0 {
                wrong.push(format!("{key} = 0: would never wait; write at least 1"));
            }
        }
        if self.restart_pause_max_ms < self.restart_pause_ms {
            wrong.push(format!(
                "restart_pause_max_ms = {}: below restart_pause_ms = {}; write the same or more",
                self.restart_pause_max_ms, self.restart_pause_ms
            ));
        }
        if self.log_bytes_max < 64 * 1024 {
            wrong.push(format!("log_bytes_max = {}: too small to be of use; write at least 65536", self.log_bytes_max));
        }
        wrong
    }
}

/// Everything, checked.
pub struct Config {
    /// The file it came from.
    pub file: Option<PathBuf>,
    /// Which broker.
    pub nats: Nats,
    /// Restarts and stops.
    pub supervisor: Supervisor,
    /// `[[instrument]]`: symbols beyond the built-in ones.
    pub instruments: InstrumentTable,
    /// `[feed]`.
    pub feed: spark_feed::Config,
    /// `[portfolio]`.
    pub portfolio: spark_portfolio::Config,
    /// `[guardrail]`.
    pub guardrail: spark_guardrail::Config,
    /// `[auditor]`.
    pub auditor: spark_auditor::Config,
    /// `[risk]`.
    pub risk: spark_risk::Config,
    /// `[executor]`.
    pub executor: spark_executor::Config,
    /// `[notifier]`.
    pub notifier: spark_notifier::Config,
    /// `[reporter]`.
    pub reporter: spark_reporter::Config,
    /// `[signal]`.
    pub signal: spark_signal::Config,
    /// `[rollout]`.
    pub rollout: spark_rollout::Config,
    /// `[backtest]`.
    pub backtest: spark_backtest::Config,
    /// `[candles]`.
    pub candles: spark_candles::Config,
    /// `[strategy]`.
    pub strategy: spark_strategy::Config,
    /// `[gateway]`.
    pub gateway: spark_gateway::Config,
    /// `[exchange-sim]`.
    pub exchange_sim: spark_exchange_sim::Config,
    given: Dict,
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// Exit 64 with every problem found, one a line.
    pub fn load(file: Option<&Path>) -> Result<Self, Failure> {
        Self::from_parts(file, environment()).map_err(|problems| report(&problems))
    }

    /// As [`Config::load`], with the environment as a parameter.
    ///
    /// # Errors
    /// Every problem found.
    pub fn from_parts(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<Problem>> {
        let sources = Sources::read(file, environment).map_err(|problem| vec![problem])?;
        let (config, problems) = Self::checked(sources);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// Everything that was given, and what is wrong with it: what is wrong has its default.
    fn checked(sources: Sources) -> (Self, Vec<Problem>) {
        let mut check = Check { sources: &sources, problems: Vec::new() };
        check.sections();
        let instruments = check.instruments();
        let config = Self {
            file: sources.path().map(Path::to_owned),
            nats: check.section("nats", Nats::validate),
            supervisor: check.section("supervisor", Supervisor::validate),
            feed: check.section("feed", |feed: &spark_feed::Config| feed.validate_with(&instruments)),
            portfolio: check.section("portfolio", spark_portfolio::Config::validate),
            guardrail: check.section("guardrail", spark_guardrail::Config::validate_actions),
            auditor: check.section("auditor", spark_auditor::Config::validate),
            risk: check.section("risk", spark_risk::Config::validate),
            executor: check.section("executor", spark_executor::Config::validate),
            notifier: check.section("notifier", spark_notifier::Config::validate),
            reporter: check.section("reporter", spark_reporter::Config::validate),
            signal: check.section("signal", spark_signal::Config::validate),
            rollout: check.section("rollout", spark_rollout::Config::validate),
            backtest: check.section("backtest", spark_backtest::Config::validate),
            candles: check.section("candles", spark_candles::Config::validate),
            strategy: check.section("strategy", spark_strategy::Config::validate),
            gateway: check.section("gateway", spark_gateway::Config::validate),
            exchange_sim: check.section("exchange-sim", simulator_problems),
            instruments,
            given: sources.values().clone(),
        };
        check.rules(&config.guardrail);
        (config, check.problems)
    }

    /// Whether somebody wrote this key, rather than leaving it to its default.
    #[must_use]
    pub fn is_given(&self, keys: &[&str]) -> bool {
        let Some((section, inner)) = keys.split_first() else { return false };
        let inner: Vec<String> = inner.iter().map(ToString::to_string).collect();
        self.given.get(*section).is_some_and(|section| section::peek(section, &inner).is_some())
    }
}

impl Config {
    /// What is in effect, defaults included, secrets left out.
    #[must_use]
    pub fn effective(&self) -> serde_json::Value {
        let shown = self.sections().into_iter().map(|(name, section)| {
            let section = without_secrets(&name, section);
            (name, section)
        });
        serde_json::Value::Object(shown.collect())
    }

    /// Every section, with null for what is not set.
    fn sections(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut document = serde_json::Map::new();
        let mut add = |name: &str, section: Result<serde_json::Value, serde_json::Error>| {
            document.insert(name.to_owned(), section.unwrap_or_default());
        };
        add("feed", serde_json::to_value(&self.feed));
        add("portfolio", serde_json::to_value(&self.portfolio));
        add("guardrail", serde_json::to_value(&self.guardrail));
        add("auditor", serde_json::to_value(&self.auditor));
        add("risk", serde_json::to_value(&self.risk));
        add("executor", serde_json::to_value(&self.executor));
        add("notifier", serde_json::to_value(&self.notifier));
        add("reporter", serde_json::to_value(&self.reporter));
        add("signal", serde_json::to_value(&self.signal));
        add("rollout", serde_json::to_value(&self.rollout));
        add("backtest", serde_json::to_value(&self.backtest));
        add("candles", serde_json::to_value(&self.candles));
        add("strategy", serde_json::to_value(&self.strategy));
        add("gateway", serde_json::to_value(&self.gateway));
        // The simulator's section holds keys, so only what was written is shown, not its defaults.
        let written =
            self.given.get("exchange-sim").filter(|section| !matches!(section, Value::Dict(_, keys) if keys.is_empty()));
        add("exchange-sim", serde_json::to_value(written));
        add("nats", serde_json::to_value(&self.nats));
        add("supervisor", serde_json::to_value(&self.supervisor));
        document.retain(|_, section| !section.is_null());
        document
    }
}

/// Drops what is not set and hides what must not be shown.
fn without_secrets(key: &str, value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| {
                    let value = without_secrets(&name, value);
                    (name, value)
                })
                .collect(),
        ),
        Value::Array(items) => items.into_iter().map(|item| without_secrets(key, item)).collect(),
        Value::String(_) if is_secret(key) => Value::from("(hidden)"),
        Value::String(text) => Value::from(secrets::without_password(&text)),
        other => other,
    }
}

/// Variables that are not UTF-8 cannot be ours: their names would not match, and paths have flags.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The simulator tells one problem at a time.
fn simulator_problems(section: &spark_exchange_sim::Config) -> Vec<String> {
    let told = |error: spark_exchange_sim::Error| match error {
        spark_exchange_sim::Error::Config { field, reason } => format!("{field}: {reason}"),
        other => other.to_string(),
    };
    section.validate().map_err(told).err().into_iter().collect()
}

/// All problems as one failure, exit 64.
#[must_use]
pub fn report(problems: &[Problem]) -> Failure {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    Failure::usage(lines.join("\n"))
}

struct Check<'a> {
    sources: &'a Sources,
    problems: Vec<Problem>,
}

impl Check<'_> {
    /// Top-level names that are no section.
    fn sections(&mut self) {
        let known = sections();
        for (name, value) in self.sources.values() {
            let keys = [name.clone()];
            if name == INSTRUMENT {
                continue;
            }
            if !known.contains(&name.as_str()) {
                self.problems.push(Problem {
                    place: self.sources.place(&keys),
                    key: Some(name.clone()),
                    value: None,
                    what: problem::unknown("section", name, &known),
                });
            } else if !matches!(value, Value::Dict(..)) {
                self.problems.push(Problem {
                    place: self.sources.place(&keys),
                    key: Some(name.clone()),
                    value: Some(section::show(name, value)),
                    what: format!("is a section; write [{name}] and its keys below"),
                });
            }
        }
    }

    fn section<T: serde::de::DeserializeOwned + Default>(&mut self, name: &str, validate: impl Fn(&T) -> Vec<String>) -> T {
        if self.sources.values().get(name).is_some_and(|value| !matches!(value, Value::Dict(..))) {
            // Reported already.
            return T::default();
        }
        let before = self.problems.len();
        let section: T = extract(self.sources, name, &mut self.problems).unwrap_or_default();
        // Values that could not be read are defaults by now; judging those would only confuse.
        if self.problems.len() == before {
            let wrong = validate(&section);
            let judged: Vec<Problem> = wrong.iter().map(|text| self.judged(name, text)).collect();
            self.problems.extend(judged);
        }
        section
    }

    /// `[[instrument]]`.
    fn instruments(&mut self) -> InstrumentTable {
        let mut table = InstrumentTable::builtin();
        if !self.sources.values().contains_key(INSTRUMENT) {
            return table;
        }
        let rows: Vec<Instrument> = extract(self.sources, INSTRUMENT, &mut self.problems).unwrap_or_default();
        for (index, row) in rows.into_iter().enumerate() {
            if let Err(text) = table.insert(row) {
                let text = text.replacen(INSTRUMENT, &format!("{INSTRUMENT}.{index}"), 1);
                self.problems.push(self.judged(INSTRUMENT, &text));
            }
        }
        table
    }

    /// The guardrail's own file of rules, whose problems know their places.
    fn rules(&mut self, guardrail: &spark_guardrail::Config) {
        for found in guardrail.load().err().unwrap_or_default() {
            let keys: Vec<String> = found.key.split('.').map(ToOwned::to_owned).collect();
            let place = match (found.line, guardrail.rules.as_ref()) {
                (Some(line), _) => Place::Line(found.file.into(), line),
                (None, Some(rules)) if rules.display().to_string() == found.file => Place::File(found.file.into()),
                (None, _) => self.sources.place(&keys),
            };
            let value = Some(found.value).filter(|value| !value.is_empty());
            self.problems.push(Problem { place, key: Some(found.key), value, what: format!("{}; {}", found.what, found.fix) });
        }
    }

    /// `key = value: what is wrong; what would be right` from a section's own check, with its place.
    fn judged(&self, section: &str, text: &str) -> Problem {
        let Some((head, what)) = text.split_once(": ") else {
            let place = self.sources.place(&[section.to_owned()]);
            return Problem { place, key: Some(section.to_owned()), value: None, what: text.to_owned() };
        };
        let (key, value) = head.split_once(" = ").map_or((head, None), |(key, value)| (key, Some(value)));
        let inner =
            key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')).unwrap_or(key).replace("[", ".").replace(']', "");
        let keys: Vec<String> = std::iter::once(section).chain(inner.split('.')).map(ToOwned::to_owned).collect();
        let full = keys.join(".");
        let value = value.map(|value| if is_secret(&full) { "(hidden)".to_owned() } else { value.to_owned() });
        Problem { place: self.sources.place(&keys), key: Some(full), value, what: what.to_owned() }
    }
}
