//! Labels and annotations of alerts.

use std::collections::BTreeMap;

use spark_bus_schema::actions::{Action, ActionStage};
use spark_bus_schema::alerts::{Alert, AlertState, Severity};

/// Label name → value, in order of the names.
pub type Labels = BTreeMap<String, String>;

/// `alertname` of the guardrail's own doings.
pub const GUARDRAIL_ACTION: &str = "GuardrailAction";
/// Label: the alert's name.
pub const ALERTNAME: &str = "alertname";
/// Label: `warning` or `critical`.
pub const SEVERITY: &str = "severity";
/// Label: the rule's id.
pub const RULE: &str = "rule";

/// `warning` or `critical`.
#[must_use]
pub const fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// Whether this state is one that people are told about: firing, or without data where that itself is an alert.
#[must_use]
pub fn is_firing(alert: &Alert) -> bool {
    match alert.state {
        AlertState::Firing => true,
        AlertState::NoData => alert.severity.is_some(),
        AlertState::Inactive | AlertState::Pending | AlertState::Resolved => false,
    }
}

/// `alertname`, `rule`, `severity` while there is one, and the scope's labels. A scope cannot overrule the first three.
#[must_use]
pub fn labels_of(alert: &Alert) -> Labels {
    let mut labels = alert.scope.clone();
    labels.insert(ALERTNAME.to_owned(), alert.name.clone());
    labels.insert(RULE.to_owned(), alert.rule.clone());
    if let Some(severity) = alert.severity {
        labels.insert(SEVERITY.to_owned(), severity_name(severity).to_owned());
    }
    labels
}

/// `summary`, `cause`, `first_action`, `permanent_fix`, `runbook`, `value`, `threshold`, `unit`, `window`, `samples`;
/// what is empty or unknown is left out.
#[must_use]
pub fn annotations_of(alert: &Alert) -> Labels {
    let window = (alert.window_ms > 0).then(|| window_text(alert.window_ms));
    let samples = (alert.window_ms > 0).then(|| alert.samples.to_string());
    let all = [
        ("summary", Some(alert.summary.clone())),
        ("cause", Some(alert.cause.clone())),
        ("first_action", Some(alert.first_action.clone())),
        ("permanent_fix", Some(alert.permanent_fix.clone())),
        ("runbook", Some(alert.runbook.clone())),
        ("value", alert.value.map(number)),
        ("threshold", alert.threshold.map(number)),
        ("unit", Some(alert.unit.clone())),
        ("window", window),
        ("samples", samples),
    ];
    told(all)
}

/// Labels of what the guardrail did: `alertname` is [`GUARDRAIL_ACTION`].
#[must_use]
pub fn action_labels_of(action: &Action) -> Labels {
    let severity = if action.dry_run { Severity::Warning } else { Severity::Critical };
    let mut labels = Labels::from([
        (ALERTNAME.to_owned(), GUARDRAIL_ACTION.to_owned()),
        (RULE.to_owned(), "guardrail_action".to_owned()),
        (SEVERITY.to_owned(), severity_name(severity).to_owned()),
        ("episode".to_owned(), action.episode.clone()),
        ("stage".to_owned(), stage_name(action.stage).to_owned()),
    ]);
    if let Some(service) = &action.service {
        labels.insert("service".to_owned(), service.clone());
    }
    if action.dry_run {
        labels.insert("dry_run".to_owned(), "true".to_owned());
    }
    labels
}

/// `summary`, `evidence` (the criticals, one a line), `checks` (what was not as it should be), `first_action`.
#[must_use]
pub fn action_annotations_of(action: &Action) -> Labels {
    let evidence = action.evidence.iter().map(|one| {
        let scope: Vec<&str> = one.scope.values().map(String::as_str).collect();
        format!("{} {}", one.alert, scope.join(" ")).trim_end().to_owned()
    });
    let failed = action.checks.iter().filter(|check| !check.ok).map(|check| format!("{}: {}", check.name, check.detail));
    told([
        ("summary", Some(action.summary.clone())),
        ("evidence", Some(evidence.collect::<Vec<_>>().join("\n"))),
        ("checks", Some(failed.collect::<Vec<_>>().join("\n"))),
        ("first_action", Some("spark status; spark tail 'alerts.action.>' --since 1h".to_owned())),
    ])
}

/// The stage's name as it is written in messages.
#[must_use]
pub const fn stage_name(stage: ActionStage) -> &'static str {
    match stage {
        ActionStage::Began => "began",
        ActionStage::RestartAsked => "restart_asked",
        ActionStage::RestartHelped => "restart_helped",
        ActionStage::RestartFailed => "restart_failed",
        ActionStage::RollbackAsked => "rollback_asked",
        ActionStage::RollbackVerified => "rollback_verified",
        ActionStage::RollbackUnverified => "rollback_unverified",
        ActionStage::Ended => "ended",
    }
}

/// 16 hexadecimal digits that follow from the labels: FNV-1a over names and values in order, as Prometheus and
/// Alertmanager compute it, so that the same labels have the same fingerprint there.
#[must_use]
pub fn fingerprint(labels: &Labels) -> String {
    const OFFSET: u64 = 14_695_981_039_346_656_037;
    const PRIME: u64 = 1_099_511_628_211;
    const SEPARATOR: u8 = 255;
    let mut hash = OFFSET;
    for (name, value) in labels {
        for byte in name.bytes().chain([SEPARATOR]).chain(value.bytes()).chain([SEPARATOR]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }
    format!("{hash:016x}")
}

fn told<const N: usize>(all: [(&str, Option<String>); N]) -> Labels {
    let given = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    given.filter(|(_, value)| !value.is_empty()).collect()
}

/// At most four digits after the point, none of them for nothing.
fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn window_text(milliseconds: u64) -> String {
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if milliseconds.is_multiple_of(length) {
            return format!("{}{unit}", milliseconds / length);
        }
    }
    format!("{milliseconds}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_one_that_alertmanager_computes() {
        // FNV-1a's own constant for nothing; the second one is computed by hand over `a 255 b 255`.
        assert_eq!(fingerprint(&Labels::new()), "cbf29ce484222325");
        let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
        let by_hand = [b'a', 255, b'b', 255]
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        assert_eq!(fingerprint(&labels), format!("{by_hand:016x}"));
    }

    #[test]
    fn numbers_and_windows_read_as_a_person_writes_them() {
        assert_eq!([number(30.0), number(0.01), number(1234.56789), number(-0.5)], ["30", "0.01", "1234.5679", "-0.5"]);
        assert_eq!(
            [window_text(300_000), window_text(90_000), window_text(3_600_000), window_text(1_500)],
            ["5m", "90s", "1h", "1500ms"]
        );
    }
}
