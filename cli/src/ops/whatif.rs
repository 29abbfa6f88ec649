//! `spark whatif`: the recorded LEDGER under other limits, and which orders would have had another answer.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::{OrderId, Timestamp, subject};

use super::commands::read_limits;
use super::duration;
use super::history::{self, Replay};
use crate::args::Global;
use crate::args::trading::WhatifArgs;
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::output::{self, Style, paint, visible};
use crate::system;

/// What one of the two worlds says about an order.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    approved: bool,
    guard: Option<&'static str>,
    reason: String,
}

/// One order in both worlds.
struct Both {
    at: Timestamp,
    what: String,
    strategy: String,
    recorded: Option<Said>,
    supposed: Option<Said>,
}

/// Replays, and lists the orders whose answer would differ.
///
/// # Errors
/// Exit 64: a file or a time that cannot be; 69: no broker.
pub fn run(arguments: &WhatifArgs, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let limits = read_limits(&arguments.limits)?;
    let from = moment("--from", arguments.from.as_deref())?.unwrap_or(Timestamp::ZERO);
    let to = moment("--to", arguments.to.as_deref())?;
    let mut orders: BTreeMap<OrderId, Both> = BTreeMap::new();
    let mut unreadable = 0_u64;
    system::block_on(async {
        let bus = system::operator(global, &config).await?;
        let (_, end) = bus.bounds(subject::LEDGER).await?;
        let mut replay = Replay::new(Some(limits));
        history::read(&bus, "whatif", history::inputs(), end, |delivery| {
            if subject::matches(subject::VERDICTS, &delivery.subject) {
                match delivery.decode::<Verdict>() {
                    Ok(verdict) => note(&mut orders, &verdict, |both, said| both.recorded = Some(said)),
                    Err(error) => {
                        tracing::debug!(sequence = delivery.sequence, error = chain(&error), "passed over");
                        unreadable += 1;
                    }
                }
            }
            for decision in replay.take(&delivery) {
                note(&mut orders, &decision.verdict, |both, said| both.supposed = Some(said));
            }
        })
        .await
    })?;
    orders.retain(|_, both| both.at >= from && to.is_none_or(|to| both.at < to));
    if unreadable > 0 {
        output::note(&format!("{unreadable} recorded verdicts cannot be read and are left out"));
    }
    tell(&orders, global)
}

fn note(orders: &mut BTreeMap<OrderId, Both>, verdict: &Verdict, put: impl FnOnce(&mut Both, Said)) {
    let intent = &verdict.intent;
    let both = orders.entry(verdict.order.clone()).or_insert_with(|| Both {
        at: verdict.decided_at,
        what: format!("{} {} {}", format!("{:?}", intent.side).to_lowercase(), intent.quantity, intent.symbol),
        strategy: intent.strategy.clone(),
        recorded: None,
        supposed: None,
    });
    let guard = verdict.guard.map(spark_bus_schema::risk::Guard::as_str);
    // Of approvals only that they are ones: a record of years must fit.
    let reason = if verdict.approved { String::new() } else { verdict.reason.clone() };
    put(both, Said { approved: verdict.approved, guard, reason });
}

/// `2026-11-21T09:30:00Z`, or `2h` for two hours ago.
pub(super) fn moment(flag: &str, text: Option<&str>) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let parsed = Timestamp::parse(text).or_else(|_| duration(text).map(|ago| spark_nats::now() - ago));
    let fix = "write 2026-11-21T09:30:00Z, or 2h for two hours ago";
    parsed.map(Some).map_err(|_| Failure::usage(format!("{flag} `{text}` is not a time; {fix}")))
}

/// Whether the answer would differ: another yes or no, or another guard.
fn differs(both: &Both) -> bool {
    match (&both.recorded, &both.supposed) {
        (Some(recorded), Some(supposed)) => (recorded.approved, recorded.guard) != (supposed.approved, supposed.guard),
        // Decided in one world only: the other one is not at its end.
        _ => false,
    }
}

fn tell(orders: &BTreeMap<OrderId, Both>, global: &Global) -> Result<(), Failure> {
    let compared = orders.values().filter(|both| both.recorded.is_some() && both.supposed.is_some()).count();
    let mut changed: Vec<(&OrderId, &Both)> = orders.iter().filter(|(_, both)| differs(both)).collect();
    changed.sort_by_key(|(_, both)| both.at);
    let is = |both: &Both, approved: bool| both.supposed.as_ref().is_some_and(|said| said.approved == approved);
    let was = |both: &Both, approved: bool| both.recorded.as_ref().is_some_and(|said| said.approved == approved);
    let refused_now = changed.iter().filter(|(_, both)| was(both, true) && is(both, false)).count();
    let approved_now = changed.iter().filter(|(_, both)| was(both, false) && is(both, true)).count();
    if global.json {
        let said = |said: &Option<Said>| -> Value {
            said.as_ref()
                .map_or(Value::Null, |said| json!({"approved": said.approved, "guard": said.guard, "reason": said.reason}))
        };
        let rows: Vec<Value> = changed
            .iter()
            .map(|(order, both)| {
                json!({"order": order, "at": both.at.to_string(), "strategy": both.strategy, "what": both.what,
                    "recorded": said(&both.recorded), "supposed": said(&both.supposed)})
            })
            .collect();
        let document = json!({"compared": compared, "refused_now": refused_now, "approved_now": approved_now, "orders": rows});
        return output::line(&document.to_string());
    }
    if !changed.is_empty() {
        let heads = ["TIME", "ORDER", "STRATEGY", "WHAT", "WAS", "WOULD BE"];
        let mut rows = vec![heads.map(ToOwned::to_owned).to_vec()];
        rows.extend(changed.iter().map(|(order, both)| {
            let time = both.at.to_string();
            let time = time.get(..19).unwrap_or(&time).to_owned();
            let supposed = word(both.supposed.as_ref());
            let style = if is(both, true) { Style::Green } else { Style::Red };
            let (strategy, what) = (visible(&both.strategy), visible(&both.what));
            vec![time, order.to_string(), strategy, what, word(both.recorded.as_ref()), paint(&supposed, style)]
        }));
        output::table(&rows).iter().try_for_each(|line| output::line(line))?;
    }
    let other = changed.len() - refused_now - approved_now;
    output::line(&format!(
        "{compared} orders compared: {refused_now} would be refused, {approved_now} would be approved, {other} refused for another reason"
    ))?;
    output::line(&paint("an order that is approved only here has no fills here: nobody knows them", Style::Dim))
}

fn word(said: Option<&Said>) -> String {
    match said {
        None => "–".to_owned(),
        Some(said) if said.approved => "approved".to_owned(),
        Some(said) => format!("refused by {}: {}", said.guard.unwrap_or("?"), visible(&said.reason)),
    }
}
