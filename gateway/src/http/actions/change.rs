//! What changes something: the command that would be sent, and what it would change.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spark_bus_schema::actions::{RestartCommand, ThresholdChange, ThresholdsCommand};
use spark_bus_schema::control::{KillSwitch, LimitsCommand, LimitsSource};
use spark_bus_schema::risk::Limits;
use spark_bus_schema::telemetry::{ProcessState, WindowValue};
use spark_bus_schema::{Message, Timestamp};

use super::super::problem::Problem;
use crate::app::{App, Outgoing};
use crate::auth::Role;
use crate::changes;
use crate::view::View;
use crate::view::processes::Presence;

/// What changes something. It must be confirmed, whatever the request says.
pub const CHANGING: [&str; 4] = ["/risk/set_limits", "/risk/kill_switch", "/guardrail/set_thresholds", "/guardrail/restart"];

/// What an action would change.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Effect {
    /// Of `/risk/set_limits`.
    Limits {
        /// Limit by limit.
        changes: Vec<changes::Change>,
    },
    /// Of `/risk/kill_switch`.
    #[serde(rename_all = "camelCase")]
    KillSwitch {
        /// What it is, and what it would be.
        kill_switch: Between<bool>,
        /// Open orders that would be cancelled.
        orders_cancelled: usize,
        /// Open orders now.
        open_orders: usize,
    },
    /// Of `/guardrail/set_thresholds`.
    #[serde(rename_all = "camelCase")]
    Thresholds {
        /// Where each rule looks now.
        changes: Vec<ThresholdEffect>,
        /// With `reset`: what commands have made of thresholds, and would be no longer.
        taken_back: Vec<ThresholdChange>,
    },
    /// Of `/guardrail/restart`.
    Restart(RestartEffect),
}

/// What is, and what would be.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Between<T> {
    from: T,
    to: T,
}

/// A threshold in a scope.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ThresholdEffect {
    rule: String,
    scope: BTreeMap<String, String>,
    unit: Option<String>,
    value: Option<f64>,
    warning: Between<Option<f64>>,
    critical: Between<Option<f64>>,
}

/// The process that would be stopped and started again.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RestartEffect {
    restart: String,
    pid: Option<u32>,
    presence: Presence,
    state: Option<ProcessState>,
    restarts: u64,
}

/// What would be done.
pub struct Plan {
    /// None: there is nothing to change.
    pub command: Option<Outgoing>,
    /// What it would change.
    pub effect: Effect,
    /// What the effect was derived from: when it is another one, a confirmation is void.
    pub basis: String,
}

type Planner = fn(&App, &Value, &str, &str, Timestamp) -> Result<Plan, Problem>;

/// The role that an action takes, and who plans it.
pub fn planner(action: &str) -> Option<(Role, Planner)> {
    match action {
        "/risk/set_limits" => Some((Role::Admin, limits)),
        "/risk/kill_switch" => Some((Role::Operator, kill_switch)),
        "/guardrail/set_thresholds" => Some((Role::Admin, thresholds)),
        "/guardrail/restart" => Some((Role::Operator, restart)),
        _ => None,
    }
}

fn read<T: DeserializeOwned>(params: &Value, example: &str) -> Result<T, Problem> {
    T::deserialize(params).map_err(|error| Problem::bad_value("body: params", error.to_string(), format!("e.g. {example}")))
}

/// What was told in the LEDGER is only known when it was read to its end.
fn complete(view: &View) -> Result<(), Problem> {
    if view.trading.is_complete() {
        return Ok(());
    }
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-read", "What is in force is not known yet")
        .detail("the gateway has not read the ledger to its end since its start".to_owned())
        .fix("try again in a moment".to_owned()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsParams {
    limits: Limits,
}

fn limits(app: &App, params: &Value, actor: &str, reason: &str, now: Timestamp) -> Result<Plan, Problem> {
    let asked: LimitsParams = read(params, r#"{"limits":{"default":{"notional_usd_max":"5000"}}}"#)?;
    let wrong = |what| Problem::bad_value("body: params.limits", what, "GET /api/exec/limits shows the ones in force".to_owned());
    asked.limits.check().map_err(wrong)?;
    let view = app.view();
    complete(&view)?;
    let sequence = view.trading.limits().map_or(0, |told| told.sequence);
    let changes = changes::between(&view.trading.limits_in_force(), &asked.limits);
    let news = !changes.is_empty();
    let command = LimitsCommand {
        limits: asked.limits,
        source: LimitsSource::Command,
        actor: actor.to_owned(),
        reason: reason.to_owned(),
        at: now,
    };
    Ok(Plan {
        command: news.then(|| Outgoing::Limits(Box::new(command))),
        effect: Effect::Limits { changes },
        basis: format!("limits {sequence}"),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SwitchParams {
    on: bool,
    #[serde(default)]
    cancel_open: bool,
}

fn kill_switch(app: &App, params: &Value, actor: &str, reason: &str, now: Timestamp) -> Result<Plan, Problem> {
    let asked: SwitchParams = read(params, r#"{"on":true,"cancelOpen":true}"#)?;
    if !asked.on && asked.cancel_open {
        let fix = "\"cancelOpen\" goes with \"on\": true".to_owned();
        return Err(Problem::bad_value("body: params.cancelOpen", "switching off cancels nothing".to_owned(), fix));
    }
    let view = app.view();
    complete(&view)?;
    let (was, open) = (view.trading.is_killed(), view.trading.open_count());
    let sequence = view.trading.kill_switch().map_or(0, |told| told.sequence);
    let command =
        KillSwitch { on: asked.on, cancel_open: asked.cancel_open, actor: actor.to_owned(), reason: reason.to_owned(), at: now };
    let effect = Effect::KillSwitch {
        kill_switch: Between { from: was, to: asked.on },
        orders_cancelled: if asked.cancel_open { open } else { 0 },
        open_orders: open,
    };
    let changes = was != asked.on || asked.cancel_open;
    Ok(Plan {
        command: changes.then_some(Outgoing::KillSwitch(command)),
        effect,
        // Not the number of open orders: in a running market it is another one with each call.
        basis: format!("kill switch {sequence}"),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThresholdsParams {
    #[serde(default)]
    changes: Vec<ChangeParams>,
    #[serde(default)]
    reset: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeParams {
    rule: String,
    #[serde(default)]
    scope: BTreeMap<String, String>,
    warning: Option<f64>,
    critical: Option<f64>,
}

fn thresholds(app: &App, params: &Value, actor: &str, reason: &str, now: Timestamp) -> Result<Plan, Problem> {
    const EXAMPLE: &str =
        r#"{"changes":[{"rule":"portfolio_refresh_p95","scope":{"exchange":"binance"},"warning":1200,"critical":2500}]}"#;
    let asked: ThresholdsParams = read(params, EXAMPLE)?;
    let view = app.view();
    complete(&view)?;
    let rules: BTreeSet<&str> =
        view.windows.latest().map(|windows| windows.values.iter().map(|value| value.rule.as_str()).collect()).unwrap_or_default();
    let mut effect = Vec::new();
    for change in &asked.changes {
        if !rules.is_empty() && !rules.contains(change.rule.as_str()) {
            let known = rules.into_iter().collect::<Vec<_>>().join(", ");
            let place = "body: params.changes.rule";
            return Err(Problem::bad_value(place, format!("unknown rule `{:.64}`", change.rule), format!("known are {known}")));
        }
        if change.warning.is_none() && change.critical.is_none() {
            let detail = format!("{:.64}: neither warning nor critical", change.rule);
            return Err(Problem::bad_value("body: params.changes", detail, format!("e.g. {EXAMPLE}")));
        }
        let places = places(&view, change);
        if let Some(place) = places.iter().find(|place| is_reversed(place)) {
            let detail = format!("{:.64}: warning and critical would be the wrong way round: {}", change.rule, json!(place));
            let fix = "critical is further out than warning, on the same side as now".to_owned();
            return Err(Problem::bad_value("body: params.changes", detail, fix));
        }
        effect.extend(places);
    }
    let changes = asked.changes.into_iter().map(|change| ThresholdChange {
        rule: change.rule,
        scope: change.scope,
        warning: change.warning,
        critical: change.critical,
    });
    let command = ThresholdsCommand {
        changes: changes.collect(),
        reset: asked.reset,
        actor: actor.to_owned(),
        reason: reason.to_owned(),
        at: now,
    };
    command.validate().map_err(|what| Problem::bad_value("body: params", what, format!("e.g. {EXAMPLE}")))?;
    let taken_back = if asked.reset { view.doings.thresholds().values().cloned().collect() } else { Vec::new() };
    Ok(Plan {
        effect: Effect::Thresholds { changes: effect, taken_back },
        basis: format!("thresholds {}", view.doings.thresholds_sequence()),
        command: Some(Outgoing::Thresholds(Box::new(command))),
    })
}

/// What one change means where the rule looks now.
fn places(view: &View, change: &ChangeParams) -> Vec<ThresholdEffect> {
    let row = |scope: &BTreeMap<String, String>, now: Option<&WindowValue>| {
        let between = |is: fn(&WindowValue) -> Option<f64>, to: Option<f64>| {
            let from = now.and_then(is);
            Between { from, to: to.or(from) }
        };
        ThresholdEffect {
            rule: change.rule.clone(),
            scope: scope.clone(),
            unit: now.map(|value| value.unit.clone()),
            value: now.and_then(|value| value.value),
            warning: between(|value| value.warning, change.warning),
            critical: between(|value| value.critical, change.critical),
        }
    };
    let concerned = view.windows.of_rule(&change.rule).filter(|value| change.scope.is_empty() || value.scope == change.scope);
    let rows: Vec<ThresholdEffect> = concerned.map(|value| row(&value.scope, Some(value))).collect();
    if rows.is_empty() { vec![row(&change.scope, None)] } else { rows }
}

/// Whether critical would come before warning: the guardrail would refuse the command. Which side is bad shows in the
/// thresholds of now, if they differ.
fn is_reversed(place: &ThresholdEffect) -> bool {
    let (warning, critical) = (&place.warning, &place.critical);
    match (warning.from.zip(critical.from), warning.to.zip(critical.to)) {
        (Some((warning, critical)), Some((new_warning, new_critical))) if warning < critical => new_warning > new_critical,
        (Some((warning, critical)), Some((new_warning, new_critical))) if warning > critical => new_warning < new_critical,
        _ => false,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RestartParams {
    service: String,
}

/// A restart of one process.
pub fn restart(app: &App, params: &Value, actor: &str, reason: &str, now: Timestamp) -> Result<Plan, Problem> {
    let asked: RestartParams = read(params, r#"{"service":"feed"}"#)?;
    let view = app.view();
    let rows = view.processes.rows(now, view.is_connected(), &view.limits().expected);
    let Some(row) = rows.iter().find(|row| row.name == asked.service) else {
        let known = rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>().join(", ");
        let detail = format!("unknown process `{:.64}`", asked.service);
        return Err(Problem::bad_value("params: service", detail, format!("known are {known}")));
    };
    let command = RestartCommand {
        service: asked.service,
        episode: None,
        attempt: 1,
        actor: actor.to_owned(),
        reason: reason.to_owned(),
        evidence: Vec::new(),
        at: now,
    };
    Ok(Plan {
        effect: Effect::Restart(RestartEffect {
            restart: row.name.clone(),
            pid: row.pid,
            presence: row.presence,
            state: row.state,
            restarts: row.restarts,
        }),
        // Another run of it is another process.
        basis: format!("restart {:?} {:?}", row.pid, row.started_at),
        command: Some(Outgoing::Restart(Box::new(command))),
    })
}
