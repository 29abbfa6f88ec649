//! What is done about alerts, and who is told.

use spark_alerting::SilenceState;
use spark_alerting::silence;
use spark_bus_schema::Timestamp;

use super::text::Text;
use crate::view::{View, words};

pub(super) fn write(text: &mut Text, view: &View, configured: &[String], now: Timestamp) {
    const NOTIFIER: (&str, &str) = ("service", "notifier");
    const GUARDRAIL: (&str, &str) = ("service", "guardrail");
    text.family("spark_notifications_total", "counter", "Notifications, by receiver and by what became of them.");
    let mut receivers = view.people.receivers();
    receivers.extend(configured.iter().map(String::as_str));
    for receiver in receivers {
        for (outcome, count) in words::OUTCOMES.into_iter().zip(view.people.outcomes(receiver)) {
            text.sample("", &[NOTIFIER, ("receiver", receiver), ("outcome", words::outcome(outcome))], count as f64);
        }
    }
    text.family("spark_guardrail_actions_total", "counter", "Steps of the guardrail about criticals, by stage.");
    for (stage, count) in words::STAGES.into_iter().zip(view.doings.stages()) {
        text.sample("", &[GUARDRAIL, ("stage", words::stage(stage))], count as f64);
    }
    text.family("spark_silences_active", "gauge", "Silences in force.");
    let active = view.people.silences.iter().filter(|held| silence::state(held, now) == SilenceState::Active).count();
    text.sample("", &[NOTIFIER], active as f64);
    let (mut silenced, mut inhibited) = (0, 0);
    for row in view.firing_rows(now) {
        silenced += usize::from(!row.silenced_by.is_empty());
        inhibited += usize::from(!row.inhibited_by.is_empty());
    }
    text.family("spark_alerts_suppressed", "gauge", "Firing alerts that nobody is told about, by what keeps them back.");
    text.sample("", &[NOTIFIER, ("by", "silence")], silenced as f64);
    text.sample("", &[NOTIFIER, ("by", "inhibition")], inhibited as f64);
}
