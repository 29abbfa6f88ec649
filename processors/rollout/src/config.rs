//! `[rollout]` of `spark.toml`: stages, their times and what their gates are held against.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Venue;
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::rollout::{PreviewOf, Stage};

use crate::span::Span;

/// Gates are never looked at more often than this, however small the scale makes the time between.
const STEP_MIN: Duration = Duration::from_millis(100);
/// Nobody reads more reports than this, however small the scale makes the time between.
const REPORT_MIN: Duration = Duration::from_secs(1);
/// A silence of the whole LEDGER that may be a busy machine.
const UNWATCHED_MIN: Duration = Duration::from_secs(10);
/// Samples that a gate may ask for: no more are kept.
pub const SAMPLES_MAX: u64 = 20_000;

/// What the process is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// All times below are divided by this: 1 in production, more for demonstrations.
    pub scale: f64,
    /// How long the gates of each stage must hold.
    pub preview: Span,
    /// At 10 %.
    pub tenth: Span,
    /// At 50 %.
    pub half: Span,
    /// At 100 %.
    pub full: Span,
    /// The only symbol that the preview is about, `<venue>.<symbol>`.
    pub preview_symbol: String,
    /// The rollout's time frame, in every stage: orders follow from it, and its scores are judged.
    pub preview_timeframe: TimeFrame,
    /// Gates look at what was scored within this time, and never further back than the stage.
    pub window: Span,
    /// How often the gates are looked at.
    pub step: Span,
    /// How often it is told where the rollout stands when nothing changes.
    pub report: Span,
    /// Nobody watched for longer than this (everything was down): that time counts for nothing.
    pub unwatched: Span,
    /// `[rollout.gates]`.
    pub gates: Gates,
}

/// `[rollout.gates]`: thresholds and how many samples each needs before it says anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gates {
    /// Scores that a gate about scores needs.
    pub scores_min: u64,
    /// Outcomes that a gate about outcomes needs; as many on the side of the baseline.
    pub outcomes_min: u64,
    /// Standard deviations that a proportion or a mean must lie beyond its threshold to be a breach; less is inconclusive.
    pub significance_z: f64,
    /// Candles without a score, as a share.
    pub error_ratio_max: f64,
    /// From the candle's end to the stored score, 95th percentile, ms. Not scaled.
    pub latency_p95_ms_max: f64,
    /// Outcomes where the price moved as scored, as a share.
    pub hit_rate_min: f64,
    /// How much lower than that of the baseline it may be.
    pub hit_rate_margin: f64,
    /// Median confidence.
    pub confid_median_min: f64,
    /// Mean move to the side that was scored, basis points.
    pub move_bps_min: f64,
    /// How much lower than that of the baseline it may be, basis points.
    pub move_bps_margin: f64,
    /// Time since the last score, beyond twice the time frame. Not scaled.
    pub staleness: Span,
    /// Critical alerts that may fire.
    pub critical_alerts_max: u64,
    /// Alerts that do not count, by name.
    pub ignored_alerts: Vec<String>,
    /// Whether the part that is not assigned is compared with.
    pub baseline: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scale: 1.0,
            preview: Span::from_secs(4 * 3_600),
            tenth: Span::from_secs(60 * 60),
            half: Span::from_secs(120 * 60),
            full: Span::from_secs(24 * 3_600),
            preview_symbol: "binance.BTCUSDT".to_owned(),
            preview_timeframe: TimeFrame::M1,
            window: Span::from_secs(60 * 60),
            step: Span::from_secs(5),
            report: Span::from_secs(60),
            unwatched: Span::from_secs(120),
            gates: Gates::default(),
        }
    }
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            scores_min: 20,
            outcomes_min: 30,
            significance_z: 3.0,
            error_ratio_max: 0.02,
            latency_p95_ms_max: 1_500.0,
            hit_rate_min: 0.5,
            hit_rate_margin: 0.05,
            confid_median_min: 0.52,
            move_bps_min: 0.0,
            move_bps_margin: 1.0,
            staleness: Span::from_secs(60),
            critical_alerts_max: 0,
            ignored_alerts: Vec::new(),
            baseline: true,
        }
    }
}

impl Config {
    /// Every mistake, as "key = value: what is wrong; what would be right".
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if !(0.01..=1_000_000.0).contains(&self.scale) {
            wrong.push(format!("scale = {}: must be 0.01 to 1000000, e.g. 1.0", self.scale));
        }
        if self.preview_of().is_none() {
            wrong.push(format!(
                "preview_symbol = \"{}\": not a symbol of a venue; write it as <venue>.<symbol>, e.g. \"binance.BTCUSDT\"",
                self.preview_symbol
            ));
        }
        let times = [
            ("preview", self.preview),
            ("tenth", self.tenth),
            ("half", self.half),
            ("full", self.full),
            ("window", self.window),
            ("step", self.step),
            ("report", self.report),
            ("unwatched", self.unwatched),
        ];
        for (key, span) in times {
            if !(1..=366 * 86_400_000).contains(&span.as_millis()) {
                wrong.push(format!("{key} = \"{span}\": out of range; write 1ms to 366d"));
            }
        }
        if self.unwatched < self.step {
            wrong.push(format!("unwatched = \"{}\": shorter than step = \"{}\"; write more", self.unwatched, self.step));
        }
        wrong.extend(self.gates.validate());
        wrong
    }

    /// The preview's symbol and time frame; none when the symbol is not one.
    #[must_use]
    pub fn preview_of(&self) -> Option<PreviewOf> {
        let (venue, symbol) = self.preview_symbol.split_once('.')?;
        let venue: Venue = venue.parse().ok()?;
        let plain = !symbol.is_empty() && symbol.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        plain.then(|| PreviewOf { venue, symbol: symbol.to_owned(), timeframe: self.preview_timeframe })
    }

    /// How long the gates of a stage must hold, scaled.
    #[must_use]
    pub fn hold(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Off => Duration::ZERO,
            Stage::Preview => self.scaled(self.preview),
            Stage::Tenth => self.scaled(self.tenth),
            Stage::Half => self.scaled(self.half),
            Stage::Full => self.scaled(self.full),
        }
    }

    /// A time divided by the scale.
    #[must_use]
    pub fn scaled(&self, span: Span) -> Duration {
        span.duration().div_f64(self.scale.clamp(0.01, 1_000_000.0))
    }

    /// Time between two looks at the gates, whole milliseconds.
    #[must_use]
    pub fn step(&self) -> Duration {
        let scaled = self.scaled(self.step).max(STEP_MIN);
        Duration::from_millis(u64::try_from(scaled.as_millis()).unwrap_or(u64::MAX))
    }

    /// Time between two reports without a change.
    #[must_use]
    pub fn report(&self) -> Duration {
        self.scaled(self.report).max(REPORT_MIN)
    }

    /// Beyond this, nobody watched. However small the scale makes it, a busy machine is not taken for an absent one.
    #[must_use]
    pub fn unwatched(&self) -> Duration {
        self.scaled(self.unwatched).max(self.step() * 4).max(UNWATCHED_MIN)
    }
}

impl Gates {
    fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, value) in [("scores_min", self.scores_min), ("outcomes_min", self.outcomes_min)] {
            if !(1..=SAMPLES_MAX).contains(&value) {
                wrong.push(format!("gates.{key} = {value}: must be 1 to {SAMPLES_MAX}, e.g. 30"));
            }
        }
        let ranges = [
            ("significance_z", self.significance_z, 0.0, 10.0),
            ("error_ratio_max", self.error_ratio_max, 0.0, 1.0),
            ("latency_p95_ms_max", self.latency_p95_ms_max, 1.0, 3_600_000.0),
            ("hit_rate_min", self.hit_rate_min, 0.0, 1.0),
            ("hit_rate_margin", self.hit_rate_margin, 0.0, 1.0),
            ("confid_median_min", self.confid_median_min, 0.5, 1.0),
            ("move_bps_min", self.move_bps_min, -10_000.0, 10_000.0),
            ("move_bps_margin", self.move_bps_margin, 0.0, 10_000.0),
        ];
        for (key, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                wrong.push(format!("gates.{key} = {value}: must be {low} to {high}"));
            }
        }
        if !(1..=366 * 86_400_000).contains(&self.staleness.as_millis()) {
            wrong.push(format!("gates.staleness = \"{}\": out of range; write 1ms to 366d", self.staleness));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_contract_and_each_mistake_is_named() {
        let config = Config::default();
        assert_eq!(config.validate(), Vec::<String>::new());
        let hours = Stage::ALL.map(|stage| config.hold(stage).as_secs() / 60);
        assert_eq!(hours, [0, 240, 60, 120, 1_440]);
        let check = |change: fn(&mut Config), want: &str| {
            let mut config = Config::default();
            change(&mut config);
            let problems = config.validate();
            assert!(problems.len() == 1 && problems[0].contains(want), "{problems:?}");
        };
        check(|config| config.scale = 0.0, "scale = 0");
        check(|config| config.scale = f64::NAN, "scale = NaN");
        check(|config| config.preview_symbol = "BTCUSDT".into(), "preview_symbol = \"BTCUSDT\"");
        check(|config| config.tenth = Span::default(), "tenth = \"0s\"");
        check(|config| config.unwatched = Span::from_millis(1), "unwatched = \"1ms\"");
        check(|config| config.gates.scores_min = 0, "gates.scores_min = 0");
        check(|config| config.gates.hit_rate_min = f64::NAN, "gates.hit_rate_min = NaN");
        check(|config| config.gates.staleness = Span::default(), "gates.staleness");
    }

    #[test]
    fn the_scale_divides_every_time_and_the_step_stays_sane() {
        let config = Config { scale: 720.0, ..Config::default() };
        assert_eq!(config.hold(Stage::Preview), Duration::from_secs(20));
        assert_eq!(config.step(), STEP_MIN);
        assert!(config.unwatched() >= config.step() * 4);
    }
}
