//! Scores, rollout, backtests, shares.

use spark_bus_schema::rollout::Phase;
use spark_bus_schema::{Timestamp, Venue};

use super::text::Text;
use crate::view::View;
use crate::view::rollouts::trades;

pub(super) fn write(text: &mut Text, view: &View, now: Timestamp) {
    const SIGNAL: (&str, &str) = ("service", "signal");
    const ROLLOUT: (&str, &str) = ("service", "rollout");
    text.family(
        "spark_ml_scores_total",
        "counter",
        "Scores by bucket of their confidence, and whether anybody may trade on them.",
    );
    for (advisory, bucket, count) in view.signals.counted() {
        let advisory = if advisory { "true" } else { "false" };
        text.sample("", &[SIGNAL, ("ml_bucket", bucket), ("advisory", advisory)], count as f64);
    }
    let overall = view.signals.overall();
    text.family("spark_ml_outcomes", "gauge", "Scores whose outcome is known, in the calibrations of all series.");
    text.sample("", &[SIGNAL], overall.samples as f64);
    if let Some(brier) = overall.brier {
        text.family("spark_ml_brier_score", "gauge", "Mean squared distance of confidence and outcome, 0 to 1.");
        text.sample("", &[SIGNAL], brier);
    }
    text.family("spark_rollout_stage", "gauge", "Share of the symbols that trade on the model, percent; 0 when it does not.");
    for told in view.rollouts.all() {
        let percent = if trades(told) { told.stage.percent() } else { 0 };
        text.sample("", &[ROLLOUT, ("model", &told.model.model_version), ("stage", told.stage.as_str())], f64::from(percent));
    }
    text.family("spark_rollout_rolled_back", "gauge", "Whether the model's rollout went back.");
    for told in view.rollouts.all() {
        let back = told.phase == Phase::RolledBack;
        text.sample("", &[ROLLOUT, ("model", &told.model.model_version)], f64::from(u8::from(back)));
    }
    text.family("spark_backtests_open", "gauge", "Backtests that have not ended.");
    text.sample("", &[("service", "backtest")], view.backtests.open_count() as f64);
    bist(text, view, now);
}

/// Outside the session the age is not given: nothing is old then, and no alert can fire.
fn bist(text: &mut Text, view: &View, now: Timestamp) {
    let labels = [("service", "feed"), ("exchange", Venue::Bist.as_str())];
    if let Some(at) = view.bist.last_update() {
        text.family("spark_bist_last_update_ts", "gauge", "Of when the newest share's price is, s since the epoch.");
        text.sample("", &labels, at.as_secs_f64());
    }
    if let Some(age_s) = view.bist.staleness_s(&view.limits().calendar, now) {
        text.family(
            "spark_bist_staleness_seconds",
            "gauge",
            "Age of the youngest share beyond the vendor's delay, in the session.",
        );
        text.sample("", &labels, age_s);
    }
    text.family("spark_bist_updates_total", "counter", "Snapshots of shares since the gateway started.");
    text.sample("", &labels, view.bist.updates() as f64);
}
