//! `GET /api/v2/alerts` and `/api/v2/alerts/groups`: what fires now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use spark_alerting::{Labels, Matchers, annotations_of};
use spark_bus_schema::Timestamp;

use super::super::problem::Problem;
use super::super::query::Params;
use super::super::{Context, json};
use super::{NOBODY, Receiver, filter, names_match, receiver};
use crate::view::View;
use crate::view::muted::AlertRow;

/// A firing alert ends at an unknown time; Alertmanager tells when it would give it up without another word.
const ENDS_AFTER: Duration = Duration::from_secs(300);
const KNOWN: &[&str] = &["active", "silenced", "inhibited", "unprocessed", "muted", "filter", "receiver"];

/// An alert as Alertmanager tells it.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "GettableAlert")]
pub struct Gettable {
    annotations: Labels,
    ends_at: String,
    fingerprint: String,
    receivers: Vec<Receiver>,
    starts_at: String,
    status: Status,
    updated_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    labels: Labels,
}

#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AlertStatus")]
struct Status {
    inhibited_by: Vec<String>,
    /// Muting times are no part of Spark.
    muted_by: Vec<String>,
    silenced_by: Vec<String>,
    state: &'static str,
}

/// Which alerts a request wants.
struct Wanted {
    active: bool,
    silenced: bool,
    inhibited: bool,
    labels: Matchers,
    receiver: Matchers,
}

impl Wanted {
    fn of(params: &Params) -> Result<Self, Problem> {
        // Neither is there anything unprocessed: an alert is judged when it is asked for.
        for none in ["unprocessed", "muted"] {
            params.flag(none)?;
        }
        Ok(Self {
            active: params.flag("active")?.unwrap_or(true),
            silenced: params.flag("silenced")?.unwrap_or(true),
            inhibited: params.flag("inhibited")?.unwrap_or(true),
            labels: filter(params)?,
            receiver: receiver(params)?,
        })
    }

    fn takes(&self, row: &AlertRow<'_>) -> bool {
        (self.active || row.is_suppressed())
            && (self.silenced || row.silenced_by.is_empty())
            && (self.inhibited || row.inhibited_by.is_empty())
            && self.labels.matches(&row.labels)
    }
}

/// `GET /api/v2/alerts`.
pub async fn alerts(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only_repeating(KNOWN, &["filter"])?;
    let (wanted, now) = (Wanted::of(&params)?, spark_nats::now());
    let view = context.app.view();
    let told = told(&view);
    let rows = view.firing_rows(now).into_iter().filter(|row| wanted.takes(row));
    let all: Vec<Gettable> = rows
        .map(|row| gettable(&context, &row, receivers_of(&told, &row), now))
        .filter(|alert| alert.receivers.iter().any(|receiver| names_match(&wanted.receiver, &receiver.name)))
        .collect();
    Ok(json(&all))
}

/// Alerts that a receiver is told of together.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AlertGroup")]
pub struct GroupRow {
    alerts: Vec<Gettable>,
    labels: Labels,
    receiver: Receiver,
}

/// `GET /api/v2/alerts/groups`: the groups that receivers were told of; what nobody was told of yet by its name.
pub async fn groups(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    let params = params.only_repeating(KNOWN, &["filter"])?;
    let (wanted, now) = (Wanted::of(&params)?, spark_nats::now());
    let view = context.app.view();
    let told = told(&view);
    let rows: Vec<AlertRow<'_>> = view.firing_rows(now).into_iter().filter(|row| wanted.takes(row)).collect();
    let gettable = |row: &AlertRow<'_>| gettable(&context, row, receivers_of(&told, row), now);
    let mut groups: BTreeMap<(String, Labels), Vec<Gettable>> = BTreeMap::new();
    for (receiver, group) in view.people.groups() {
        let held: Vec<Gettable> = rows.iter().filter(|row| group.fingerprints.contains(&row.fingerprint)).map(gettable).collect();
        if !held.is_empty() {
            groups.insert((receiver.to_owned(), group.labels.clone()), held);
        }
    }
    for row in rows.iter().filter(|row| !told.contains_key(&row.fingerprint)) {
        let labels = Labels::from([("alertname".to_owned(), row.alert.name.clone())]);
        groups.entry((NOBODY.to_owned(), labels)).or_default().push(gettable(row));
    }
    let rows = groups.into_iter().filter(|((receiver, _), _)| names_match(&wanted.receiver, receiver));
    let all: Vec<GroupRow> =
        rows.map(|((name, labels), alerts)| GroupRow { alerts, labels, receiver: Receiver { name } }).collect();
    Ok(json(&all))
}

/// Receivers that were told of an alert, by its fingerprint.
fn told(view: &View) -> BTreeMap<String, BTreeSet<String>> {
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (receiver, group) in view.people.groups() {
        for fingerprint in &group.fingerprints {
            told.entry(fingerprint.clone()).or_default().insert(receiver.to_owned());
        }
    }
    told
}

fn receivers_of(told: &BTreeMap<String, BTreeSet<String>>, row: &AlertRow<'_>) -> Vec<Receiver> {
    match told.get(&row.fingerprint) {
        Some(names) => names.iter().map(|name| Receiver { name: name.clone() }).collect(),
        None => vec![Receiver { name: NOBODY.to_owned() }],
    }
}

fn gettable(context: &Context, row: &AlertRow<'_>, receivers: Vec<Receiver>, now: Timestamp) -> Gettable {
    let alert = row.alert;
    Gettable {
        annotations: annotations_of(alert),
        ends_at: (now + ENDS_AFTER).to_string(),
        fingerprint: row.fingerprint.clone(),
        receivers,
        starts_at: alert.at.to_string(),
        status: Status {
            inhibited_by: row.inhibited_by.clone(),
            muted_by: Vec::new(),
            silenced_by: row.silenced_by.clone(),
            state: if row.is_suppressed() { "suppressed" } else { "active" },
        },
        updated_at: alert.at.to_string(),
        generator_url: format!("http://{}/api/chart?rule={}", context.app.config.listen, alert.rule),
        labels: row.labels.clone(),
    }
}
