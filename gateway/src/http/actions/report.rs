//! `/fusion/risk.report.daily`: the day's risk, for programs and for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::AlertState;

use super::super::metrics::GUARDS;
use crate::number::Number;
use crate::view::View;
use crate::view::day::{HOURS_MAX, Sums};
use crate::view::doings::Step;
use crate::view::muted::AlertRow;
use crate::view::status::Status;
use crate::view::trading::positions::Positions;
use crate::view::trading::rows::{Guard, KillRow};

/// Steps of the guardrail and commands that are told.
const STEPS_SHOWN: usize = 50;

/// The day's risk. Null: not known.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DailyRisk")]
pub struct Report<'a> {
    at: String,
    #[serde(flatten)]
    status: Status,
    /// The hours that sums are over, with the one that has begun.
    window_hours: usize,
    /// Whether the ledger was read to its end since the gateway's start: until then sums are too small.
    complete: bool,
    kill_switch: Option<KillRow<'a>>,
    positions: Positions<'a>,
    open_orders: usize,
    approved: u64,
    /// By guard, every one.
    refused: BTreeMap<&'static str, u64>,
    drawdown: Option<Drawdown>,
    alerts: Alerts<'a>,
    /// What the guardrail did, newest first.
    actions: Vec<&'a Step>,
    /// What trades, and what was commanded last.
    guard: Guard<'a>,
    #[serde(skip)]
    now: Timestamp,
}

/// What the drawdown guard measured last.
#[derive(Serialize, JsonSchema)]
struct Drawdown {
    value: Option<Number>,
    limit: Option<Number>,
    unit: String,
    at: String,
}

/// Alerts of the day.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DailyAlerts")]
struct Alerts<'a> {
    active: Vec<AlertRow<'a>>,
    /// How often each began to fire, or got worse or better while it did.
    fired: BTreeMap<String, u64>,
}

impl<'a> Report<'a> {
    /// The day at `now`.
    pub fn new(view: &'a View, now: Timestamp) -> Self {
        let Sums { refused, approved, fired } = view.day.sums(now);
        let since = now - std::time::Duration::from_secs(24 * 3_600);
        let drawdown = view.day.drawdown().map(|(at, check)| Drawdown {
            value: check.value.map(Number),
            limit: check.limit.map(Number),
            unit: check.unit.clone(),
            at: at.to_string(),
        });
        Self {
            at: now.to_string(),
            status: view.status(now),
            window_hours: HOURS_MAX,
            complete: view.trading.is_complete(),
            kill_switch: view.trading.kill_switch().map(KillRow::from),
            positions: view.trading.positions(now),
            open_orders: view.trading.open_count(),
            approved,
            refused: GUARDS.map(|guard| (guard.as_str(), refused.get(guard.as_str()).copied().unwrap_or(0))).into(),
            drawdown,
            alerts: Alerts { active: view.alert_rows(view.alerts.active(), now), fired },
            actions: view.doings.steps().filter(|step| step.at >= since).take(STEPS_SHOWN).collect(),
            guard: view.trading.guard(),
            now,
        }
    }

    /// The same for people.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(out, "# Risk of the day, {}\n", self.at);
        let _ = writeln!(
            out,
            "Status **{}**{}",
            self.status.status.as_str(),
            if self.complete { "" } else { " (the ledger is still being read)" }
        );
        for reason in &self.status.reasons {
            let _ = writeln!(out, "- {}", cell(reason));
        }
        self.trading(&mut out);
        self.verdicts(&mut out);
        self.guarding(&mut out);
        out
    }

    fn trading(&self, out: &mut String) {
        let killed = self.kill_switch.as_ref().filter(|switch| switch.on);
        let switch =
            killed.map_or_else(|| "off".to_owned(), |switch| format!("**ON** since {}: {}", switch.at, cell(switch.reason)));
        let _ = writeln!(out, "\n## Trading\n\n- kill switch: {switch}");
        for halt in &self.guard.halts {
            let _ = writeln!(out, "- **halted**: {} since {}: {}", halt.scope, halt.since, cell(&halt.reason));
        }
        let _ = writeln!(out, "- open orders: {}", self.open_orders);
        let _ = writeln!(out, "- exposure: {} USD", shown(self.positions.exposure_usd));
        let _ = writeln!(out, "- unrealized: {} USD", shown(self.positions.unrealized_usd));
        if let Some(drawdown) = &self.drawdown {
            let (value, limit) = (shown(drawdown.value), shown(drawdown.limit));
            let _ = writeln!(out, "- drawdown: {value} of {limit} {} at {}", drawdown.unit, drawdown.at);
        } else {
            let _ = writeln!(out, "- drawdown: not measured yet");
        }
        let _ = writeln!(
            out,
            "\n| strategy | exchange | symbol | quantity | average | mark | unrealized USD |\n|---|---|---|---:|---:|---:|---:|"
        );
        for row in &self.positions.positions {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} |",
                cell(row.strategy),
                row.exchange,
                row.symbol,
                row.quantity.0.normalize(),
                shown(row.average_price),
                shown(row.mark),
                shown(row.unrealized_usd)
            );
        }
        if self.positions.positions.is_empty() {
            let _ = writeln!(out, "| none | | | | | | |");
        }
    }

    fn verdicts(&self, out: &mut String) {
        let refused: u64 = self.refused.values().sum();
        let _ =
            writeln!(out, "\n## Orders judged in {} h\n\n- approved: {}\n- refused: {refused}", self.window_hours, self.approved);
        for (guard, count) in self.refused.iter().filter(|(_, count)| **count > 0) {
            let _ = writeln!(out, "  - {guard}: {count}");
        }
    }

    fn guarding(&self, out: &mut String) {
        let _ = writeln!(out, "\n## Alerts\n");
        for row in &self.alerts.active {
            let state = if row.alert.state == AlertState::Firing { "firing" } else { "pending" };
            let muted = match (row.silenced_by.is_empty(), row.inhibited_by.is_empty()) {
                (false, _) => ", silenced",
                (true, false) => ", inhibited",
                (true, true) => "",
            };
            let minutes = self.now.since_ms(row.alert.at).max(0) / 60_000;
            let _ = writeln!(out, "- **{}** {state} for {minutes} min{muted}: {}", row.alert.name, cell(&row.alert.summary));
        }
        if self.alerts.active.is_empty() {
            let _ = writeln!(out, "- none is active");
        }
        for (name, count) in &self.alerts.fired {
            let _ = writeln!(out, "- {name} fired {count} times in {} h", self.window_hours);
        }
        let _ = writeln!(out, "\n## What was done\n");
        for step in &self.actions {
            let (stage, dry) = (step.stage.unwrap_or("asked"), if step.dry_run { " (dry run)" } else { "" });
            let _ = writeln!(out, "- {} {} {stage}{dry} by {}: {}", step.at, step.what, cell(&step.actor), cell(&step.summary));
        }
        if self.actions.is_empty() {
            let _ = writeln!(out, "- nothing");
        }
    }
}

fn shown(number: Option<Number>) -> String {
    number.map_or_else(|| "unknown".to_owned(), |number| number.0.normalize().to_string())
}

/// A text in one line that cannot break out of it: names and reasons come from outside.
fn cell(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('<', "&lt;")
}
