//! The process: configuration, metrics, and the run loop of `spark-nats` around the decision.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::alerts::Severity;
use spark_bus_schema::{DecodeError, Timestamp};
use spark_nats::{Delivery, Effects, Input, Machine, Reject, Service, Status, run_machine};

use crate::action::config::Span;
use crate::action::{self, Actions, Policy};
use crate::machine::{Event, Guardrail};
use crate::rule::{Problem, Rules};

mod past;

/// Largest rule file that is read.
const RULES_BYTES_MAX: u64 = 1024 * 1024;

/// Section `[guardrail]` of `spark.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// File with the rules, in place of the built-in ones (`processors/guardrail/guardrail.toml`).
    pub rules: Option<PathBuf>,
    /// Everything that would be done about criticals is told, and nothing is asked of anybody.
    pub dry_run: bool,
    /// How long no critical may fire before an episode is over.
    pub calm: Span,
    /// Restarts of single processes.
    pub restart: action::config::Restart,
    /// The way back when restarts do not help.
    pub rollback: action::config::Rollback,
    /// What it does by itself against a model or an exchange that does badly; what is not written is as it ships.
    pub counter_moves: action::moves::CounterMoves,
}

impl Default for Config {
    fn default() -> Self {
        let Policy { dry_run, calm, restart, rollback, counter_moves } = Policy::default();
        Self { rules: None, dry_run, calm: Span(calm), restart, rollback, counter_moves }
    }
}

impl Config {
    /// Every mistake, each as "key = value: what is wrong; what would be right" with the file and line where it is.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut problems = self.validate_actions();
        problems.extend(self.load().err().unwrap_or_default().iter().map(ToString::to_string));
        problems
    }

    /// Every mistake in what is to be done about criticals, each as `key = value: what is wrong; what would be right`.
    #[must_use]
    pub fn validate_actions(&self) -> Vec<String> {
        let mut problems = self.policy().problems();
        if let Ok(rules) = self.load() {
            let known: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
            problems.extend(action::moves::problems(&self.counter_moves, &known));
        }
        problems
    }

    /// What may be done about criticals.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            dry_run: self.dry_run,
            calm: self.calm.0,
            restart: self.restart.clone(),
            rollback: self.rollback.clone(),
            counter_moves: self.counter_moves.clone(),
        }
    }

    /// Reads the rules.
    ///
    /// # Errors
    /// Every mistake in them, or why the file cannot be read.
    pub fn load(&self) -> Result<Rules, Vec<Problem>> {
        let Some(path) = &self.rules else { return Ok(Rules::builtin()) };
        let unreadable = |what: String| {
            vec![Problem {
                file: "spark.toml".to_owned(),
                line: None,
                key: "guardrail.rules".to_owned(),
                value: format!("{:?}", path.display().to_string()),
                what,
                fix: "name a readable TOML file, or remove the key to use the built-in rules".to_owned(),
            }]
        };
        let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if size > RULES_BYTES_MAX {
            return Err(unreadable(format!("{size} bytes, above the limit of {RULES_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Rules::from_toml(&text, &path.display().to_string())
    }
}

/// Why the guardrail stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules are not usable.
    #[error("rules:\n{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Rules {
        /// Every mistake.
        problems: Vec<Problem>,
    },
    /// What is to be done about criticals makes no sense.
    #[error("[guardrail]:\n{}", problems.join("\n"))]
    Actions {
        /// Every mistake.
        problems: Vec<String>,
    },
    /// The broker or the checkpoint failed.
    #[error("run the guardrail")]
    Bus(#[source] spark_nats::Error),
}

/// Runs the guardrail until the service is told to stop.
///
/// # Errors
/// [`Error`]; a broker that is away is waited for and is none.
pub fn run(service: Service, config: Config) -> spark_nats::BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        let rules = config.load().map_err(|problems| Error::Rules { problems })?;
        tracing::info!(rules = rules.len(), "guardrail watches");
        let problems = config.validate_actions();
        if !problems.is_empty() {
            return Err(Error::Actions { problems });
        }
        let mut guardrail = Guardrail::new(&rules).acting(config.policy());
        let Some(past) = past::read(&service).await else { return Ok(()) };
        guardrail.seed_actions(spark_nats::now(), &past.told, past.actions);
        if service.data_dir.join("checkpoint.sqlite").exists() {
            guardrail.compare_with(past.alerts);
        } else {
            guardrail.seed(past.alerts);
            let Some(commands) = past::thresholds(&service).await else { return Ok(()) };
            guardrail.seed_thresholds(commands);
            tell_thresholds(&guardrail);
        }
        let observed = Observed::new(guardrail, &service.status);
        run_machine(&service, observed).await.map_err(Error::Bus)
    })
}

/// The decision with its metrics: what it counts is shown, and nothing flows back.
struct Observed {
    inner: Guardrail,
    trades: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    clamped: Arc<AtomicU64>,
    restarts: Arc<AtomicU64>,
    rollbacks: Arc<AtomicU64>,
    shown_at_s: i64,
}

impl Observed {
    fn new(inner: Guardrail, status: &Status) -> Self {
        let counter = |name| status.counter(name);
        Self {
            inner,
            trades: counter("spark_guardrail_trades_total"),
            refused: counter("spark_guardrail_refused_total"),
            clamped: counter("spark_guardrail_clamped_total"),
            restarts: counter("spark_guardrail_restarts_total"),
            rollbacks: counter("spark_guardrail_rollbacks_total"),
            shown_at_s: i64::MIN,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus gauges are floats")]
    fn show(&mut self, at: Timestamp) {
        let second = at.as_millis().div_euclid(1_000);
        if second == self.shown_at_s {
            return;
        }
        self.shown_at_s = second;
        let total = self.inner.trades_counted();
        for (name, cell, value) in [
            ("spark_guardrail_trades_total", &self.trades, total),
            ("spark_guardrail_refused_total", &self.refused, self.inner.refused()),
            ("spark_guardrail_clamped_total", &self.clamped, self.inner.clamped()),
            ("spark_guardrail_restarts_total", &self.restarts, self.inner.actions().map_or(0, Actions::restarts)),
            ("spark_guardrail_rollbacks_total", &self.rollbacks, self.inner.actions().map_or(0, Actions::rollbacks)),
        ] {
            cell.store(value, Ordering::Relaxed);
            metrics::counter!(name).absolute(value);
        }
        for (venue, symbol, seconds) in self.inner.staleness(at) {
            metrics::gauge!("spark_ws_staleness_seconds", "venue" => venue.as_str(), "symbol" => symbol.to_owned()).set(seconds);
        }
        for ((alert, severity), count) in self.inner.firing() {
            let severity = if severity == Severity::Critical { "critical" } else { "warning" };
            metrics::gauge!("spark_alerts_firing", "alertname" => alert.to_owned(), "severity" => severity).set(count as f64);
        }
    }
}

impl Machine for Observed {
    type Event = Event;
    const INPUTS: &'static [Input] = Guardrail::INPUTS;
    const STEP: Duration = Guardrail::STEP;

    fn decode(delivery: &Delivery) -> Result<Event, DecodeError> {
        Guardrail::decode(delivery)
    }

    fn apply(&mut self, at: Timestamp, event: Event, effects: &mut Effects) -> Result<(), Reject> {
        self.inner.apply(at, event, effects)
    }

    fn tick(&mut self, at: Timestamp, effects: &mut Effects) {
        self.inner.tick(at, effects);
        self.show(at);
    }

    fn save(&self) -> Vec<u8> {
        self.inner.save()
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.inner.load(bytes)?;
        tell_thresholds(&self.inner);
        Ok(())
    }
}

/// Thresholds changed at run time stay when the rule file changes: whoever changed the file must see why it shows nothing.
fn tell_thresholds(guardrail: &Guardrail) {
    for threshold in guardrail.thresholds_told() {
        tracing::info!(threshold, "a threshold was changed at run time");
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use spark_bus_schema::market::TickBatch;
    use spark_bus_schema::{Message, codec::decode_payload};

    use super::*;

    #[test]
    fn staleness_trades_and_firing_alerts_are_shown_to_prometheus_and_in_heartbeats() {
        let status = Status::default();
        let mut observed = Observed::new(Guardrail::with_default_rules(), &status);
        let sample = spark_bus_schema::catalogue::find(&TickBatch::KIND.to_string()).unwrap().sample;
        let batch: TickBatch = decode_payload(&sample()).unwrap();
        let at = |seconds: u64| Timestamp::from_millis(1_700_000_000_000) + Duration::from_secs(seconds);
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let mut effects = Effects::default();
            observed.apply(at(0), Event::Ticks(batch), &mut effects).unwrap();
            for second in 1..=31 {
                // Without its own heartbeat nothing could be judged.
                observed.apply(at(second), Event::Heartbeat(status.heartbeat("guardrail", at(second))), &mut effects).unwrap();
                observed.tick(at(second), &mut effects);
            }
        });
        let text = recorder.handle().render();
        for line in [
            "spark_ws_staleness_seconds{venue=\"binance\",symbol=\"BTCUSDT\"} 31",
            "spark_guardrail_trades_total 2",
            "spark_guardrail_restarts_total 0",
            "spark_guardrail_rollbacks_total 0",
            "spark_alerts_firing{alertname=\"WSStaleness\",severity=\"warning\"} 2",
            "spark_alerts_firing{alertname=\"SparkUpMissing\",severity=\"critical\"} 12",
            "spark_alerts_firing{alertname=\"ExchangeDown\",severity=\"critical\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert_eq!(status.heartbeat("guardrail", at(31)).counters["spark_guardrail_trades_total"], 2);
    }
}
