//! The read part of Alertmanager's API v2, and silences, so that `amtool` and Grafana work against the gateway.
//!
//! The shapes are those of Alertmanager's OpenAPI document. What has no equal here is said so: there is no cluster, and
//! routing is the notifier's, whose groups are shown as receivers were last told of them.

pub mod alerts;
pub mod silences;

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use spark_alerting::{Labels, Matchers};
use spark_bus_schema::notify::Matcher;

use super::problem::Problem;
use super::query::Params;
use super::{Context, json as answer};
use crate::view::View;

/// The name of the receiver of alerts that nobody was told about yet.
pub const NOBODY: &str = "spark";
/// Values of `filter` in one request.
const FILTERS_MAX: usize = 16;

/// Who is told.
#[derive(Clone, Serialize, JsonSchema)]
pub struct Receiver {
    name: String,
}

/// What Alertmanager tells of itself.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AlertmanagerStatus")]
pub struct AmStatus<'a> {
    cluster: Cluster,
    config: AmConfig,
    /// Since when.
    uptime: String,
    version_info: VersionInfo<'a>,
}

/// There is none.
#[derive(Serialize, JsonSchema)]
struct Cluster {
    status: &'static str,
    peers: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AlertmanagerConfig")]
struct AmConfig {
    original: String,
}

/// What Spark has no word for is empty.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct VersionInfo<'a> {
    branch: &'static str,
    build_date: &'static str,
    build_user: &'static str,
    go_version: &'static str,
    revision: &'a str,
    version: &'static str,
}

/// `GET /api/v2/status`.
pub async fn status(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let view = context.app.view();
    let config: String = receivers_of(&view).iter().fold(
        format!("# Routing is the notifier's: [notifier] of spark.toml.\nroute:\n  receiver: {NOBODY}\nreceivers:\n"),
        // JSON is YAML: whatever is in a name, it stays one text.
        |config, name| format!("{config}- name: {}\n", Value::from(name.as_str())),
    );
    Ok(answer(&AmStatus {
        cluster: Cluster { status: "disabled", peers: Vec::new() },
        config: AmConfig { original: config },
        uptime: view.started_at().to_string(),
        version_info: VersionInfo {
            branch: "spark",
            revision: context.app.config.build_sha(),
            version: env!("CARGO_PKG_VERSION"),
            ..VersionInfo::default()
        },
    }))
}

/// `GET /api/v2/receivers`.
pub async fn receivers(State(context): State<Context>, params: Params) -> Result<Response, Problem> {
    params.only(&[])?;
    let all: Vec<Receiver> = receivers_of(&context.app.view()).into_iter().map(|name| Receiver { name }).collect();
    Ok(answer(&all))
}

/// Who was ever told something; [`NOBODY`] stands for those of an alert that nobody was told about yet.
fn receivers_of(view: &View) -> Vec<String> {
    let told = view.people.receivers().into_iter().filter(|name| *name != NOBODY);
    std::iter::once(NOBODY).chain(told).map(str::to_owned).collect()
}

/// The conditions of every `filter=`.
fn filter(params: &Params) -> Result<Matchers, Problem> {
    let texts: Vec<&str> = params.all("filter").collect();
    let fix = r#"filter=alertname="WSStaleness", filter=severity=~"warning|critical", percent-encoded"#.to_owned();
    if texts.len() > FILTERS_MAX {
        return Err(Problem::bad_value("query: filter", format!("{} of them", texts.len()), format!("at most {FILTERS_MAX}")));
    }
    Matchers::parse_all(&texts).map_err(|error| Problem::bad_value("query: filter", error.to_string(), fix))
}

/// The condition of `receiver=`, a regular expression that the whole name must match.
fn receiver(params: &Params) -> Result<Matchers, Problem> {
    let Some(pattern) = params.get("receiver") else { return Ok(Matchers::default()) };
    let matcher = Matcher { name: "receiver".to_owned(), value: pattern.to_owned(), is_regex: true, is_equal: true };
    Matchers::new(&[matcher]).map_err(|error| {
        Problem::bad_value("query: receiver", error.to_string(), "receiver=slack|pager would be right".to_owned())
    })
}

fn names_match(receiver: &Matchers, name: &str) -> bool {
    receiver.matches(&Labels::from([("receiver".to_owned(), name.to_owned())]))
}
