//! Readable lines about orders: what was asked for, what the guards said, what became of it.

use spark_bus_schema::audit::{AuditAnchor, AuditDamage, AuditVerified};
use spark_bus_schema::control::{CancelCommand, HaltScope, KillSwitch, LimitsCommand, ResumeCommand, StrategyCommand};
use spark_bus_schema::market::Side;
use spark_bus_schema::marks::Mark;
use spark_bus_schema::orders::{
    Epoch, InstrumentFilters, OrderEvent, OrderIntent, OrderState, OrderType, Reconciliation, Step, TradingMode,
};
use spark_bus_schema::risk::{Timeout, Verdict};

use crate::output::Style;

pub fn mark(mark: &Mark) -> String {
    format!("{} {} mark {} (bid {} ask {})", mark.venue, mark.symbol, mark.price, mark.bid, mark.ask)
}

pub fn intent(intent: &OrderIntent) -> String {
    let side = side(intent.side);
    let price = match (intent.order_type, intent.limit_price) {
        (OrderType::Limit, Some(price)) => format!("at {price} {:?}", intent.time_in_force).to_lowercase(),
        _ => "at the market".to_owned(),
    };
    let reason = intent.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{} wants to {side} {} {} on {} {price}{reason}", intent.strategy, intent.quantity, intent.symbol, intent.exchange)
}

pub fn verdict(verdict: &Verdict) -> String {
    match verdict.guard {
        None => format!("approved: {}", verdict.reason),
        Some(guard) => format!("refused by {guard}: {}", verdict.reason),
    }
}

pub fn verdict_style(verdict: &Verdict) -> Style {
    if verdict.approved { Style::Green } else { Style::Yellow }
}

pub fn event(event: &OrderEvent) -> String {
    let steps: Vec<String> = event.steps.iter().map(step).collect();
    let paper = if event.mode == TradingMode::Paper { " on paper" } else { "" };
    format!(
        "{} {} {} {}: {}{paper}, {} of {} filled",
        event.strategy,
        side(event.side),
        event.quantity,
        event.symbol,
        steps.join(" → "),
        event.filled,
        event.quantity
    )
}

pub fn event_style(event: &OrderEvent) -> Option<Style> {
    match event.state() {
        OrderState::Filled | OrderState::Settled => Some(Style::Green),
        OrderState::Unknown => Some(Style::Red),
        OrderState::Rejected | OrderState::Expired => Some(Style::Yellow),
        _ => None,
    }
}

fn step(step: &Step) -> String {
    match (&step.fill, &step.reason) {
        (Some(fill), _) => format!("{} {} × {}", step.state, fill.quantity, fill.price),
        (None, Some(reason)) => format!("{} ({reason})", step.state),
        (None, None) => step.state.to_string(),
    }
}

pub fn filters(all: &InstrumentFilters) -> String {
    format!("{} has filters for {} symbols", all.exchange, all.symbols.len())
}

pub fn reconciliation(result: &Reconciliation) -> String {
    let broken: Vec<String> =
        result.invariants.iter().filter(|one| !one.holds).map(|one| format!("{}: {}", one.name, one.detail)).collect();
    let outcome = match (&result.halted, broken.is_empty()) {
        (Some(reason), _) => format!("trading halted: {reason}"),
        (None, true) => format!("{} invariants hold", result.invariants.len()),
        (None, false) => "not all invariants hold".to_owned(),
    };
    let details = if broken.is_empty() { String::new() } else { format!(" ({})", broken.join("; ")) };
    format!("{} compared with the ledger: {outcome}{details}", result.exchange)
}

pub fn reconciliation_style(result: &Reconciliation) -> Style {
    if result.halted.is_some() { Style::Red } else { Style::Dim }
}

pub fn epoch(epoch: &Epoch) -> String {
    format!("{} is led by {} from here on", epoch.process, epoch.holder)
}

pub fn timeout(timeout: &Timeout) -> String {
    format!("{} waited long enough for a mark", timeout.order)
}

pub fn kill_switch(command: &KillSwitch) -> String {
    let what = match (command.on, command.cancel_open) {
        (true, true) => "on, open orders are cancelled",
        (true, false) => "on",
        (false, _) => "off",
    };
    format!("kill switch {what}, by {}: {}", command.actor, command.reason)
}

pub fn limits(command: &LimitsCommand) -> String {
    format!(
        "limits set by {} ({:?}): {}; default notional {} USD, exposure {} USD, drawdown {} %",
        command.actor,
        command.source,
        command.reason,
        command.limits.default.notional_usd_max,
        command.limits.default.exposure_usd_max,
        command.limits.default.drawdown_pct_max
    )
}

pub fn cancel(command: &CancelCommand) -> String {
    format!("{} shall be cancelled, by {}: {}", command.order, command.actor, command.reason)
}

pub fn strategy(command: &StrategyCommand) -> String {
    let what = if command.run { "started" } else { "stopped" };
    format!("strategy {} {what} by {}: {}", command.strategy, command.actor, command.reason)
}

pub fn resume(command: &ResumeCommand) -> String {
    let scope = match command.scope {
        HaltScope::Ledger => "everything".to_owned(),
        HaltScope::Exchange(venue) => venue.to_string(),
    };
    format!("trading resumed on {scope} by {}: {}", command.actor, command.reason)
}

pub fn anchor(anchor: &AuditAnchor) -> String {
    format!("{} entries up to {} have the hash {:.16}…", anchor.count, anchor.sequence, anchor.hash)
}

pub fn verified(verified: &AuditVerified) -> String {
    format!("the ledger is whole: {} entries up to {} fit the auditor's chain", verified.count, verified.through)
}

pub fn damage(damage: &AuditDamage) -> String {
    format!("the ledger is damaged from {} on: {}; {}", damage.first_bad_sequence, damage.detail, damage.advice)
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}
