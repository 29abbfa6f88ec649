//! Changes of alerts to stretches of firing.

use std::collections::BTreeMap;

use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::{Alert, AlertState};

use super::figures::word;
use super::{AlertCount, AlertLine, Alerts, BREACHES_TOP, Breach, LINES_MAX};
use crate::history::{Error, Fact, History, Window};

type Instance = (String, BTreeMap<String, String>);

pub(super) fn of(history: &History, window: Window) -> Result<Alerts, Error> {
    let changes = history.alerts(window)?;
    let breaches = breaches(&history.alerts_at(window.from)?, &changes, window);
    let skipped = changes.len().saturating_sub(LINES_MAX);
    Ok(Alerts {
        changes: changes.len() as u64,
        breaches: breaches.len() as u64,
        top: breaches.iter().take(BREACHES_TOP).cloned().collect(),
        firing: breaches.iter().filter(|breach| breach.open).cloned().collect(),
        by_alert: by_alert(&breaches),
        history: changes.into_iter().skip(skipped).map(line).collect(),
    })
}

/// Every stretch in which an instance (rule and scope) fired, worst first: critical before warning, then the longest, then the
/// earliest. It begins with a change to `firing` (or the window, when it fired then) and ends with a change to another state.
pub(crate) fn breaches(before: &[Fact<Alert>], changes: &[Fact<Alert>], window: Window) -> Vec<Breach> {
    let mut open: BTreeMap<Instance, Breach> = BTreeMap::new();
    let mut done = Vec::new();
    for fact in before {
        take(&fact.message, window.from, &mut open, &mut done);
    }
    for fact in changes {
        take(&fact.message, fact.at, &mut open, &mut done);
    }
    for (_, breach) in open {
        done.push(ended(breach, window.to, true));
    }
    // Firing that ended at the very beginning was not in the window.
    done.retain(|breach| breach.open || breach.to > breach.from);
    done.sort_by(|a, b| {
        let longest = || b.seconds.total_cmp(&a.seconds);
        b.severity
            .cmp(&a.severity)
            .then_with(longest)
            .then_with(|| (a.from, &a.alert, &a.scope).cmp(&(b.from, &b.alert, &b.scope)))
    });
    done
}

fn take(alert: &Alert, at: Timestamp, open: &mut BTreeMap<Instance, Breach>, done: &mut Vec<Breach>) {
    let instance = (alert.rule.clone(), alert.scope.clone());
    let severity = alert.severity.filter(|_| alert.state == AlertState::Firing);
    match (severity, open.remove(&instance)) {
        (Some(severity), found) => {
            let mut breach = found.unwrap_or_else(|| begun(alert, at, severity));
            breach.severity = breach.severity.max(severity);
            if is_worse(alert, breach.worst) {
                (breach.worst, breach.threshold) = (alert.value, alert.threshold);
                breach.summary.clone_from(&alert.summary);
            }
            open.insert(instance, breach);
        }
        (None, Some(breach)) => done.push(ended(breach, at, false)),
        (None, None) => {}
    }
}

fn is_worse(alert: &Alert, worst: Option<f64>) -> bool {
    match (alert.value, worst) {
        (Some(value), Some(worst)) if alert.direction == "below" => value < worst,
        (Some(value), Some(worst)) => value > worst,
        (value, None) => value.is_some(),
        (None, Some(_)) => false,
    }
}

fn begun(alert: &Alert, at: Timestamp, severity: spark_bus_schema::alerts::Severity) -> Breach {
    Breach {
        alert: alert.name.clone(),
        rule: alert.rule.clone(),
        scope: alert.scope.clone(),
        severity,
        from: at,
        to: at,
        seconds: 0.0,
        open: false,
        worst: alert.value,
        threshold: alert.threshold,
        unit: alert.unit.clone(),
        summary: alert.summary.clone(),
        cause: alert.cause.clone(),
        first_action: alert.first_action.clone(),
        permanent_fix: alert.permanent_fix.clone(),
    }
}

fn ended(breach: Breach, to: Timestamp, open: bool) -> Breach {
    Breach { to, seconds: Window { from: breach.from, to }.seconds(), open, ..breach }
}

fn by_alert(breaches: &[Breach]) -> Vec<AlertCount> {
    let mut counts: BTreeMap<&str, AlertCount> = BTreeMap::new();
    for breach in breaches {
        let count = counts.entry(&breach.alert).or_insert_with(|| AlertCount {
            alert: breach.alert.clone(),
            breaches: 0,
            seconds: 0.0,
            severity: breach.severity,
        });
        count.breaches += 1;
        count.seconds += breach.seconds;
        count.severity = count.severity.max(breach.severity);
    }
    let mut counts: Vec<AlertCount> = counts.into_values().collect();
    counts.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then_with(|| a.alert.cmp(&b.alert)));
    counts
}

fn line(fact: Fact<Alert>) -> AlertLine {
    let alert = fact.message;
    AlertLine {
        at: fact.at,
        alert: alert.name,
        scope: alert.scope,
        state: word(&alert.state),
        severity: alert.severity,
        summary: alert.summary,
    }
}
