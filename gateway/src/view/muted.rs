//! Alerts with their labels, and whether anybody is told about them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use spark_alerting::{Labels, fingerprint, inhibited_by, is_firing, labels_of};
use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::Alert;

use super::View;

/// An alert, and what keeps it from being told.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ActiveAlert")]
pub struct AlertRow<'a> {
    /// The alert.
    #[serde(flatten)]
    pub alert: &'a Alert,
    /// Its labels.
    pub labels: Labels,
    /// 16 hexadecimal digits that follow from the labels.
    pub fingerprint: String,
    /// Ids of the silences that match it now.
    pub silenced_by: Vec<String>,
    /// Fingerprints of firing alerts that it only follows from, by the rules that always hold.
    pub inhibited_by: Vec<String>,
}

impl AlertRow<'_> {
    /// Whether nobody is told about it.
    #[must_use]
    pub fn is_suppressed(&self) -> bool {
        !self.silenced_by.is_empty() || !self.inhibited_by.is_empty()
    }
}

impl View {
    /// Rows of these alerts at `now`, in their order.
    #[must_use]
    pub fn alert_rows<'a>(&'a self, alerts: impl IntoIterator<Item = &'a Alert>, now: Timestamp) -> Vec<AlertRow<'a>> {
        let firing: BTreeMap<String, Labels> = self
            .alerts
            .current()
            .filter(|alert| is_firing(alert))
            .map(labels_of)
            .map(|labels| (fingerprint(&labels), labels))
            .collect();
        let row = |alert: &'a Alert| {
            let labels = labels_of(alert);
            let fires = is_firing(alert);
            let others = firing.iter().map(|(print, labels)| (print.as_str(), labels));
            let inhibited = if fires { inhibited_by(&self.inhibitions, others, &labels) } else { Vec::new() };
            AlertRow {
                alert,
                fingerprint: fingerprint(&labels),
                silenced_by: self.people.silences.silenced_by(&labels, now).into_iter().map(str::to_owned).collect(),
                inhibited_by: inhibited.into_iter().map(str::to_owned).collect(),
                labels,
            }
        };
        alerts.into_iter().map(row).collect()
    }

    /// Every alert that fires, by fingerprint.
    #[must_use]
    pub fn firing_rows(&self, now: Timestamp) -> Vec<AlertRow<'_>> {
        let mut rows = self.alert_rows(self.alerts.current().filter(|alert| is_firing(alert)), now);
        rows.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
        rows
    }
}
