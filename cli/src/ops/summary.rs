//! One readable line for each kind of message.

mod acting;
mod orders;
mod signals;

use spark_bus_schema::actions::{Action, RestartCommand, RestartDone, RollbackCommand, ThresholdsCommand};
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::audit::{AuditAnchor, AuditDamage, AuditVerified};
use spark_bus_schema::control::{BreakerCommand, CancelCommand, KillSwitch, LimitsCommand, ResumeCommand, StrategyCommand};
use spark_bus_schema::market::{QuoteBatch, TickBatch};
use spark_bus_schema::marks::Mark;
use spark_bus_schema::notify::{self, Notification, Silence};
use spark_bus_schema::orders::{Epoch, InstrumentFilters, OrderEvent, OrderIntent, Reconciliation};
use spark_bus_schema::parked::Parked;
use spark_bus_schema::portfolio::{Balances, PriceAnomaly};
use spark_bus_schema::risk::{Timeout, Verdict};
use spark_bus_schema::smoke::Smoke;
use spark_bus_schema::telemetry::{ApiRequests, Call, FeedStatus, Heartbeat, Windows};
use spark_bus_schema::{DecodeError, Kind, Message, catalogue};
use spark_nats::Delivery;

use crate::exit::chain;
use crate::output::Style;

/// A message for a person: what it says, and how it should look.
pub fn summary(delivery: &Delivery) -> (String, Option<Style>) {
    match known(delivery) {
        Some(Ok(told)) => told,
        Some(Err(error)) => (undecodable(delivery, &chain(&error)), Some(Style::Red)),
        None => (undecodable(delivery, &missing(delivery)), Some(Style::Red)),
    }
}

fn missing(delivery: &Delivery) -> String {
    match &delivery.kind {
        Some(kind) => format!("kind {kind:?} is not known to this build"),
        None => "no Spark-Kind header".to_owned(),
    }
}

fn undecodable(delivery: &Delivery, why: &str) -> String {
    format!("cannot be decoded ({} bytes): {why}", delivery.payload.len())
}

/// The decoded message as JSON, or why not.
pub fn json(delivery: &Delivery) -> Result<serde_json::Value, String> {
    let entry = delivery.kind.as_deref().and_then(catalogue::find).ok_or_else(|| missing(delivery))?;
    (entry.to_json)(&delivery.payload).map_err(|error| chain(&error))
}

type Told = (String, Option<Style>);

fn known(delivery: &Delivery) -> Option<Result<Told, DecodeError>> {
    let kind = delivery.kind.as_deref()?;
    let kind = catalogue::find(kind)?.kind;
    Some(match kind {
        TickBatch::KIND => delivery.decode().map(|batch| (ticks(&batch), None)),
        QuoteBatch::KIND => delivery.decode().map(|batch| (quotes(&batch), None)),
        FeedStatus::KIND => delivery.decode().map(|status| (feed(&status), Some(Style::Cyan))),
        Call::KIND => delivery.decode().map(|call: Call| (self::call(&call), (!call.ok).then_some(Style::Yellow))),
        Heartbeat::KIND => delivery.decode().map(|beat| (heartbeat(&beat), Some(Style::Dim))),
        Windows::KIND => delivery.decode().map(|all| (windows(&all), Some(Style::Dim))),
        Balances::KIND => delivery.decode().map(|all: Balances| (balances(&all), all.error.is_some().then_some(Style::Yellow))),
        PriceAnomaly::KIND => delivery.decode().map(|seen| (anomaly(&seen), Some(Style::Yellow))),
        Alert::KIND => delivery.decode().map(|alert: Alert| (self::alert(&alert), Some(alert_style(&alert)))),
        BreakerCommand::KIND => delivery.decode().map(|command| (breaker(&command), Some(Style::Cyan))),
        Mark::KIND => delivery.decode().map(|mark| (orders::mark(&mark), Some(Style::Dim))),
        OrderIntent::KIND => delivery.decode().map(|intent| (orders::intent(&intent), None)),
        Verdict::KIND => delivery.decode().map(|verdict| (orders::verdict(&verdict), Some(orders::verdict_style(&verdict)))),
        OrderEvent::KIND => delivery.decode().map(|event| (orders::event(&event), orders::event_style(&event))),
        InstrumentFilters::KIND => delivery.decode().map(|all| (orders::filters(&all), Some(Style::Dim))),
        Reconciliation::KIND => {
            delivery.decode().map(|result| (orders::reconciliation(&result), Some(orders::reconciliation_style(&result))))
        }
        Epoch::KIND => delivery.decode().map(|epoch| (orders::epoch(&epoch), Some(Style::Cyan))),
        Timeout::KIND => delivery.decode().map(|timeout| (orders::timeout(&timeout), None)),
        KillSwitch::KIND => delivery.decode().map(|command| (orders::kill_switch(&command), Some(Style::Red))),
        LimitsCommand::KIND => delivery.decode().map(|command| (orders::limits(&command), Some(Style::Cyan))),
        CancelCommand::KIND => delivery.decode().map(|command| (orders::cancel(&command), Some(Style::Cyan))),
        StrategyCommand::KIND => delivery.decode().map(|command| (orders::strategy(&command), Some(Style::Cyan))),
        ResumeCommand::KIND => delivery.decode().map(|command| (orders::resume(&command), Some(Style::Cyan))),
        AuditAnchor::KIND => delivery.decode().map(|anchor| (orders::anchor(&anchor), Some(Style::Dim))),
        AuditVerified::KIND => delivery.decode().map(|verified| (orders::verified(&verified), Some(Style::Green))),
        AuditDamage::KIND => delivery.decode().map(|damage| (orders::damage(&damage), Some(Style::Red))),
        Parked::KIND => delivery.decode().map(|parked| (self::parked(&parked), Some(Style::Yellow))),
        _ => return acting(delivery, kind),
    })
}

/// What the guardrail does about criticals, and how people are told.
fn acting(delivery: &Delivery, kind: Kind) -> Option<Result<Told, DecodeError>> {
    Some(match kind {
        ApiRequests::KIND => delivery.decode().map(|requests| (acting::api_requests(&requests), Some(Style::Dim))),
        RestartCommand::KIND => delivery.decode().map(|command| (acting::restart(&command), Some(Style::Yellow))),
        RestartDone::KIND => delivery.decode().map(|done| (acting::restarted(&done), Some(acting::restarted_style(&done)))),
        RollbackCommand::KIND => delivery.decode().map(|command| (acting::rollback(&command), Some(Style::Red))),
        Action::KIND => delivery.decode().map(|action| (acting::action(&action), Some(acting::action_style(&action)))),
        ThresholdsCommand::KIND => delivery.decode().map(|command| (acting::thresholds(&command), Some(Style::Cyan))),
        Silence::KIND => delivery.decode().map(|silence| (acting::silence(&silence), Some(Style::Cyan))),
        Notification::KIND => delivery.decode().map(|told| (acting::notification(&told), None)),
        notify::Delivery::KIND => delivery.decode().map(|told| (acting::delivery(&told), Some(acting::delivery_style(&told)))),
        Smoke::KIND => {
            let style = |smoke: &Smoke| Some(if smoke.pass { Style::Green } else { Style::Red });
            delivery.decode().map(|smoke| (acting::smoke(&smoke), style(&smoke)))
        }
        _ => return signals::known(delivery, kind),
    })
}

fn ticks(batch: &TickBatch) -> String {
    let rows: Vec<_> = batch.rows().collect();
    match (rows.first(), rows.last()) {
        (Some(first), Some(last)) => format!(
            "{} trades {}..{}, last {} × {} {}",
            rows.len(),
            first.trade_id,
            last.trade_id,
            last.price,
            last.quantity,
            if batch.side.ends_with('B') { "buy" } else { "sell" }
        ),
        _ => "no trades".to_owned(),
    }
}

fn quotes(batch: &QuoteBatch) -> String {
    batch.last().map_or_else(
        || "no quotes".to_owned(),
        |last| {
            let (bid, ask) = (last.bid_price, last.ask_price);
            format!("{} quotes, last bid {bid} × {} ask {ask} × {}", batch.len(), last.bid_quantity, last.ask_quantity)
        },
    )
}

fn feed(status: &FeedStatus) -> String {
    let detail = status.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!(
        "{} {:?}{detail} ({} symbols, {} reconnects, {} of {} missing trades filled, {} frames rejected)",
        status.venue,
        status.state,
        status.symbols.len(),
        status.reconnects,
        status.trades_filled,
        status.trades_missing,
        status.frames_rejected
    )
}

fn call(call: &Call) -> String {
    let milliseconds = std::time::Duration::from_micros(call.latency_us).as_secs_f64() * 1_000.0;
    let outcome = match (&call.error_type, call.http_status) {
        (None, _) => "ok".to_owned(),
        (Some(error), Some(status)) => format!("{error} (HTTP {status})"),
        (Some(error), None) => error.clone(),
    };
    let attempt = if call.attempt > 1 { format!(", try {}", call.attempt) } else { String::new() };
    format!("{} {} {milliseconds:.1} ms {outcome}{attempt}", call.service, call.operation)
}

fn heartbeat(beat: &Heartbeat) -> String {
    let detail = beat.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let counters: Vec<String> = beat.counters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{} pid {} {:?}{detail} {} MiB {}", beat.service, beat.pid, beat.state, beat.resident_bytes >> 20, counters.join(" "))
}

fn windows(all: &Windows) -> String {
    let beyond: Vec<String> = all
        .values
        .iter()
        .filter(|window| !matches!(window.state, AlertState::Inactive | AlertState::NoData))
        .map(|window| format!("{} {:?}", window.rule, window.state))
        .collect();
    let trades: u64 = all.trades_counted.values().sum();
    format!(
        "{} windows, {trades} trades counted, beyond limits: {}",
        all.values.len(),
        if beyond.is_empty() { "none".to_owned() } else { beyond.join(", ") }
    )
}

fn balances(all: &Balances) -> String {
    let state = match (&all.error, all.stale) {
        (Some(error), _) => format!(" {}: {}", error.error_type, error.message),
        (None, true) => " stale".to_owned(),
        (None, false) => String::new(),
    };
    format!("{} USD in {} assets{state}", all.total_usd.round_dp(2), all.balances.len())
}

fn anomaly(seen: &PriceAnomaly) -> String {
    format!("{} {} USD after {} ({} %): {:?}", seen.asset, seen.seen, seen.last_good, seen.change_pct, seen.state)
}

fn alert_style(alert: &Alert) -> Style {
    match (alert.state, alert.severity) {
        (AlertState::Firing, Some(Severity::Critical)) => Style::Red,
        (AlertState::Firing | AlertState::Pending, _) => Style::Yellow,
        (AlertState::Resolved, _) => Style::Green,
        _ => Style::Dim,
    }
}

fn alert(alert: &Alert) -> String {
    let severity = alert.severity.map(|severity| format!(" {severity:?}")).unwrap_or_default();
    let scope: Vec<&str> = alert.scope.values().map(String::as_str).collect();
    format!("{} [{}] {:?}{severity}: {}; first: {}", alert.name, scope.join(" "), alert.state, alert.summary, alert.first_action)
}

fn breaker(command: &BreakerCommand) -> String {
    format!("breaker of {} set to {:?} by {}: {}", command.exchange, command.mode, command.actor, command.reason)
}

fn parked(parked: &Parked) -> String {
    format!("{} could not handle {}:{} on {}: {}", parked.process, parked.stream, parked.sequence, parked.subject, parked.detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_catalogue_has_a_readable_line_and_json() {
        for entry in catalogue::entries() {
            let delivery = Delivery {
                stream: entry.stream,
                sequence: 1,
                stored_at: spark_bus_schema::Timestamp::ZERO,
                subject: entry.subject.replace('>', "x"),
                kind: Some(entry.kind.to_string()),
                headers: Vec::new(),
                payload: (entry.sample)().into(),
                pending: 0,
            };
            let (text, _) = summary(&delivery);
            assert!(!text.contains("cannot be decoded") && !text.is_empty(), "{}: {text}", entry.kind);
            assert!(json(&delivery).is_ok());
            let broken = Delivery { payload: delivery.payload.slice(..delivery.payload.len() / 2), ..delivery.clone() };
            assert!(summary(&broken).0.contains("cannot be decoded"), "{}", entry.kind);
            let strange = Delivery { kind: Some("other.v9".to_owned()), ..delivery };
            assert!(summary(&strange).0.contains("other.v9"));
        }
    }
}
