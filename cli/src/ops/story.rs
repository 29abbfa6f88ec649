//! An order's story for people.

use spark_bus_schema::orders::{OrderType, Step};
use spark_bus_schema::risk::{Check, Limits, Verdict};
use spark_bus_schema::{Timestamp, header};

use super::explain::{Again, Stored, Story, totals};
use crate::exit::Failure;
use crate::output::{self, Style, paint, visible};

/// Tells it, in the order in which it happened.
///
/// # Errors
/// stdout cannot be written.
pub fn tell(story: &Story) -> Result<(), Failure> {
    asked(story)?;
    match &story.verdict {
        Some(verdict) => decided(story, verdict)?,
        None => line("verdict", &paint("none is recorded", Style::Yellow))?,
    }
    again(&story.again)?;
    became(story)
}

/// A line with its head in a column.
fn line(head: &str, text: &str) -> Result<(), Failure> {
    output::line(&format!("{} {text}", paint(&format!("{head:>11}"), Style::Bold)))
}

/// `10:15:03.123`, the day is told once.
fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(11..23).unwrap_or(&text).trim_end_matches('Z').to_owned()
}

fn word(value: impl std::fmt::Debug) -> String {
    let mut out = String::new();
    for c in format!("{value:?}").chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(c.to_lowercase());
    }
    out
}

fn asked(story: &Story) -> Result<(), Failure> {
    let (intent, delivery) = (&story.intent.message, &story.intent.delivery);
    line("order", &format!("{}  ({} at the exchange)", story.order, story.order.client_id()))?;
    let price = match (intent.order_type, intent.limit_price) {
        (OrderType::Limit, Some(price)) => format!("at {price} or better"),
        _ => "at the market".to_owned(),
    };
    let (side, tif) = (word(intent.side), word(intent.time_in_force));
    line("what", &format!("{side} {} {} {price} on {}, {tif}", intent.quantity, intent.symbol, intent.exchange))?;
    let by = format!("{} for strategy {}, key {}", visible(&intent.actor), intent.strategy, visible(&intent.key));
    line("asked", &format!("{} by {by}  LEDGER:{}", delivery.stored_at, delivery.sequence))?;
    if let Some(reason) = &intent.reason {
        line("why", &visible(reason))?;
    }
    Ok(())
}

fn decided(story: &Story, stored: &Stored<Verdict>) -> Result<(), Failure> {
    let verdict = &stored.message;
    if let Some(on) = &story.decided_on {
        let wait = verdict.decided_at.since_ms(story.intent.delivery.stored_at);
        line("waited", &format!("{wait} ms for {}  LEDGER:{}", visible(&on.subject), on.sequence))?;
    }
    match (&verdict.mark, &story.mark) {
        (None, _) => line("mark", "none was used")?,
        (Some(used), stored) => {
            let from = stored.as_ref().map_or("", |_| "");
            let text = format!(
                "{} (bid {}, ask {}), {} ms old, 1 quote = {} USD",
                used.price, used.bid, used.ask, used.age_ms, used.quote_usd
            );
            line("mark", &format!("{text}{from}  LEDGER:{}", used.sequence))?;
        }
    }
    let reserved = format!("reserved for open orders: {} to buy, {} to sell", verdict.reserved_buy, verdict.reserved_sell);
    line("position", &format!("{} {} before it; {reserved}", verdict.position, verdict.intent.symbol))?;
    limits(story, verdict)?;
    for check in &verdict.checks {
        self::check(check)?;
    }
    let (said, style) = if verdict.approved { ("approved", Style::Green) } else { ("refused", Style::Red) };
    let by = verdict.guard.map(|guard| format!(" by {guard}")).unwrap_or_default();
    let text = format!("{}{by}: {}", paint(said, style), visible(&verdict.reason));
    line("verdict", &format!("{} {text}  LEDGER:{}", clock(stored.delivery.stored_at), stored.delivery.sequence))
}

fn limits(story: &Story, verdict: &Verdict) -> Result<(), Failure> {
    let intent = &verdict.intent;
    let told = story.limits.as_ref();
    let limits = told.map_or_else(Limits::default, |told| told.message.limits.clone());
    let of = limits.of(&intent.strategy, intent.exchange, &intent.symbol);
    let from = told.map_or_else(
        || "built in".to_owned(),
        |told| {
            let (actor, why) = (visible(&told.message.actor), visible(&told.message.reason));
            format!("set by {actor}: {why}  LEDGER:{}", told.delivery.sequence)
        },
    );
    let text = format!(
        "order {} USD, symbol {} USD, drawdown {} %, collar {} %, {} orders a minute, mark {} ms",
        of.notional_usd_max,
        of.exposure_usd_max,
        of.drawdown_pct_max,
        of.collar_pct_max,
        of.orders_per_minute_max,
        of.mark_age_ms_max
    );
    line("limits", &format!("{text}; {from}"))
}

fn check(check: &Check) -> Result<(), Failure> {
    let (mark, style) = if check.passed { ("passes", Style::Green) } else { ("refuses", Style::Red) };
    let measured = match (check.value, check.limit) {
        (Some(value), Some(limit)) => format!("{} of {} {}", value.normalize(), limit.normalize(), check.unit),
        (Some(value), None) => format!("{} {}", value.normalize(), check.unit),
        _ => String::new(),
    };
    let guard = format!("{:12}", check.guard.as_str());
    let text = format!("{guard} {} {}", paint(&format!("{mark:7}"), style), measured.trim());
    let detail = visible(&check.detail);
    line("guard", &if detail.is_empty() { text } else { format!("{text}  {}", paint(&detail, Style::Dim)) })
}

fn again(again: &Again) -> Result<(), Failure> {
    let text = match again {
        Again::Identical { bytes } => {
            paint(&format!("the LEDGER up to there gives the same verdict, byte for byte ({bytes} bytes)"), Style::Green)
        }
        Again::Different { members } => {
            let told = members.iter().map(|(name, recorded, made)| format!("{name}: recorded {recorded}, recomputed {made}"));
            paint(&format!("ANOTHER verdict: {}", visible(&told.collect::<Vec<_>>().join("; "))), Style::Red)
        }
        Again::Nothing { waits_for_mark: true } => "it waits for a mark".to_owned(),
        Again::Nothing { waits_for_mark: false } => "nothing is decided".to_owned(),
        Again::Missing { verdict } => {
            let said = if verdict.approved { "approved" } else { "refused" };
            format!("it would be {said}: {}; is the process risk running?", visible(&verdict.reason))
        }
    };
    line("recomputed", &text)
}

fn became(story: &Story) -> Result<(), Failure> {
    let mut happened: Vec<(u64, String, String)> = Vec::new();
    for event in &story.events {
        let (sequence, stored_at) = (event.delivery.sequence, event.delivery.stored_at);
        let cause =
            event.delivery.header(header::CAUSE).map(|cause| format!("  because of {}", visible(cause))).unwrap_or_default();
        for (index, step) in event.message.steps.iter().enumerate() {
            let place = if index == 0 { format!("{cause}  LEDGER:{sequence}") } else { String::new() };
            happened.push((sequence, "became".to_owned(), format!("{} {}{place}", clock(stored_at), self::step(step))));
        }
    }
    for cancel in &story.cancels {
        let (actor, why) = (visible(&cancel.message.actor), visible(&cancel.message.reason));
        let text = format!("{} {actor}: {why}  LEDGER:{}", clock(cancel.delivery.stored_at), cancel.delivery.sequence);
        happened.push((cancel.delivery.sequence, "cancel".to_owned(), text));
    }
    happened.sort_by_key(|(sequence, _, _)| *sequence);
    for (_, head, text) in &happened {
        line(head, text)?;
    }
    if story.events.is_empty() {
        return Ok(());
    }
    let (filled, average, fees) = totals(story);
    let at = average.map(|price| format!(" at {price} on average")).unwrap_or_default();
    let fees: Vec<String> = fees.iter().map(|(asset, fee)| format!("{fee} {asset}")).collect();
    let fees = if fees.is_empty() { "no fees".to_owned() } else { format!("fees {}", fees.join(", ")) };
    line("in all", &format!("{filled} of {} filled{at}, {fees}", story.intent.message.quantity))
}

fn step(step: &Step) -> String {
    let style = match step.state.as_str() {
        "filled" | "settled" => Style::Green,
        "rejected" | "unknown" => Style::Red,
        _ => Style::Cyan,
    };
    let fill = step.fill.as_ref().map(|fill| {
        let side = if fill.is_maker { "maker" } else { "taker" };
        format!(
            ", {} at {} ({side}, fee {} {}, trade {})",
            fill.quantity,
            fill.price,
            fill.fee,
            visible(&fill.fee_asset),
            visible(&fill.trade_id)
        )
    });
    let reason = step.reason.as_ref().map(|reason| format!(": {}", visible(reason))).unwrap_or_default();
    let state = paint(&step.state.as_str().replace('_', " "), style);
    format!("{state} by {}{}{reason}", word(step.evidence), fill.unwrap_or_default())
}
