//! `spark explain`: the whole story of one order, from the LEDGER alone.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use spark_bus_schema::control::{CancelCommand, LimitsCommand};
use spark_bus_schema::marks::Mark;
use spark_bus_schema::orders::{OrderEvent, OrderIntent};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Decimal, Message, OrderId, header};
use spark_ledger::money::{add, div_rounded};
use spark_nats::{Bus, Delivery};

use super::history::{self, Replay};
use super::orders::order_id;
use super::story;
use crate::args::Global;
use crate::args::trading::OrderArgs;
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::output;
use crate::system;

/// A message with its place.
pub struct Stored<T> {
    /// As it is stored.
    pub delivery: Delivery,
    /// What it says.
    pub message: T,
}

/// Everything the LEDGER knows about an order.
pub struct Story {
    /// The order.
    pub order: OrderId,
    /// What was asked.
    pub intent: Stored<OrderIntent>,
    /// What risk said.
    pub verdict: Option<Stored<Verdict>>,
    /// The message that made the decision possible, when it is not the intent: a mark or a time-out.
    pub decided_on: Option<Delivery>,
    /// The mark that was used.
    pub mark: Option<Stored<Mark>>,
    /// The limits that were in force; none: the built-in ones.
    pub limits: Option<Stored<LimitsCommand>>,
    /// What became of it.
    pub events: Vec<Stored<OrderEvent>>,
    /// Who wanted to take it back.
    pub cancels: Vec<Stored<CancelCommand>>,
    /// The decision again.
    pub again: Again,
}

/// The recorded LEDGER through the same decision again.
pub enum Again {
    /// The same bytes.
    Identical {
        /// How many.
        bytes: usize,
    },
    /// Other bytes, or none at all.
    Different {
        /// Every member that differs: name, recorded, recomputed.
        members: Vec<(String, Value, Value)>,
    },
    /// There is no verdict, and the replay gives none either.
    Nothing {
        /// It waits for a mark.
        waits_for_mark: bool,
    },
    /// There is no verdict, but the replay gives one: risk is behind, or away.
    Missing {
        /// What it would say.
        verdict: Box<Verdict>,
    },
}

/// Prints the story.
///
/// # Errors
/// Exit 1: there is no such order, or the recomputed verdict is not the recorded one; 69: no broker.
pub fn run(arguments: &OrderArgs, global: &Global) -> Result<(), Failure> {
    let order = order_id(&arguments.order)?;
    let config = Config::load(global.config.as_deref())?;
    let story = system::block_on(async {
        let bus = system::operator(global, &config).await?;
        collect(&bus, order).await
    })?;
    if global.json {
        output::line(&document(&story).to_string())?;
    } else {
        story::tell(&story)?;
    }
    match story.again {
        Again::Different { .. } => {
            Err(Failure::no("the recorded verdict does not follow from the LEDGER: run `spark audit verify`"))
        }
        _ => Ok(()),
    }
}

async fn last<T: Message>(bus: &Bus, on: &str) -> Result<Option<Stored<T>>, Failure> {
    bus.last(LEDGER, on).await?.map(stored).transpose()
}

fn stored<T: Message>(delivery: Delivery) -> Result<Stored<T>, Failure> {
    match delivery.decode() {
        Ok(message) => Ok(Stored { message, delivery }),
        Err(error) => Err(Failure::no(format!("LEDGER:{} cannot be read: {}", delivery.sequence, chain(&error)))),
    }
}

async fn at<T: Message>(bus: &Bus, sequence: u64) -> Result<Option<Stored<T>>, Failure> {
    if sequence == 0 {
        return Ok(None);
    }
    bus.get(LEDGER, sequence).await?.map(stored).transpose()
}

/// Reads everything about an order and decides about it again.
///
/// # Errors
/// Exit 1: there is no such order, or something about it cannot be read; 69: the broker went away.
pub async fn collect(bus: &Bus, order: OrderId) -> Result<Story, Failure> {
    let intent: Option<Stored<OrderIntent>> = last(bus, &subject::intent(&order)).await?;
    let intent =
        intent.ok_or_else(|| Failure::no(format!("the LEDGER holds no order {order}; `spark orders` lists the newest")))?;
    let verdict: Option<Stored<Verdict>> = last(bus, &subject::verdict(&order)).await?;
    let (mut decided_on, mut mark, mut limits) = (None, None, None);
    if let Some(Stored { message, .. }) = &verdict {
        if message.decided_on != message.intent_sequence {
            decided_on = bus.get(LEDGER, message.decided_on).await?;
        }
        mark = at(bus, message.mark.as_ref().map_or(0, |mark| mark.sequence)).await?;
        limits = at(bus, message.limits_sequence).await?;
    }
    let (mut events, mut cancels, mut unreadable) = (Vec::new(), Vec::new(), None);
    let own = vec![subject::order_event(&order), subject::cancel(&order)];
    history::read(bus, "explain-order", own, u64::MAX, |delivery| {
        let taken = if subject::matches(subject::ORDER_EVENTS, &delivery.subject) {
            stored(delivery).map(|event| events.push(event))
        } else {
            stored(delivery).map(|cancel| cancels.push(cancel))
        };
        unreadable = unreadable.take().or(taken.err());
    })
    .await?;
    if let Some(failure) = unreadable {
        return Err(failure);
    }
    let again = again(bus, &order, verdict.as_ref()).await?;
    Ok(Story { order, intent, verdict, decided_on, mark, limits, events, cancels, again })
}

/// Replays up to the recorded verdict; the decision must be there before it.
async fn again(bus: &Bus, order: &OrderId, recorded: Option<&Stored<Verdict>>) -> Result<Again, Failure> {
    let through = recorded.map_or(u64::MAX, |recorded| recorded.delivery.sequence.saturating_sub(1));
    let mut replay = Replay::new(None);
    let mut decision = None;
    history::read(bus, "explain-replay", history::inputs(), through, |delivery| {
        decision = decision.take().or_else(|| replay.take(&delivery).into_iter().find(|made| made.verdict.order == *order));
    })
    .await?;
    Ok(match (recorded, decision) {
        (Some(recorded), Some(decision)) if recorded.delivery.payload == decision.payload => {
            Again::Identical { bytes: decision.payload.len() }
        }
        (Some(recorded), decision) => {
            let made = decision.map_or(Value::Null, |decision| json!(decision.verdict));
            Again::Different { members: differences(&json!(recorded.message), &made) }
        }
        (None, Some(decision)) => Again::Missing { verdict: Box::new(decision.verdict) },
        (None, None) => Again::Nothing { waits_for_mark: replay.is_waiting(order) },
    })
}

fn differences(recorded: &Value, made: &Value) -> Vec<(String, Value, Value)> {
    let (Value::Object(recorded), Value::Object(made)) = (recorded, made) else {
        return vec![("verdict".to_owned(), recorded.clone(), made.clone())];
    };
    recorded
        .iter()
        .filter(|(name, value)| made.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), value.clone(), made.get(name).cloned().unwrap_or_default()))
        .collect()
}

/// Filled, average price, and fees by asset, over all events.
#[must_use]
pub fn totals(story: &Story) -> (Decimal, Option<Decimal>, BTreeMap<String, Decimal>) {
    let mut fees: BTreeMap<String, Decimal> = BTreeMap::new();
    for fill in story.events.iter().flat_map(|event| &event.message.steps).filter_map(|step| step.fill.as_ref()) {
        let sum = fees.entry(fill.fee_asset.clone()).or_default();
        *sum = add(*sum, fill.fee).unwrap_or(*sum);
    }
    let last = story.events.last().map(|event| &event.message);
    let (filled, quote) = last.map_or((Decimal::ZERO, Decimal::ZERO), |event| (event.filled, event.filled_quote));
    (filled, div_rounded(quote, filled).ok(), fees)
}

fn document(story: &Story) -> Value {
    fn placed<T: serde::Serialize>(stored: &Stored<T>) -> Value {
        json!({
            "sequence": stored.delivery.sequence,
            "stored_at": stored.delivery.stored_at.to_string(),
            "cause": stored.delivery.header(header::CAUSE),
            "message": stored.message,
        })
    }
    let (filled, average, fees) = totals(story);
    let again = match &story.again {
        Again::Identical { bytes } => json!({"result": "identical", "bytes": bytes}),
        Again::Different { members } => {
            let member = |(name, recorded, made): &(String, Value, Value)| json!({"member": name, "recorded": recorded, "recomputed": made});
            json!({"result": "different", "differences": members.iter().map(member).collect::<Vec<_>>()})
        }
        Again::Nothing { waits_for_mark } => json!({"result": "none", "waits_for_mark": waits_for_mark}),
        Again::Missing { verdict } => json!({"result": "missing", "verdict": verdict}),
    };
    json!({
        "order": story.order,
        "client_order_id": story.order.client_id(),
        "intent": placed(&story.intent),
        "verdict": story.verdict.as_ref().map(placed),
        "decided_on": story.decided_on.as_ref().map(super::tail::document),
        "mark": story.mark.as_ref().map(placed),
        "limits": story.limits.as_ref().map(placed),
        "events": story.events.iter().map(placed).collect::<Vec<_>>(),
        "cancels": story.cancels.iter().map(placed).collect::<Vec<_>>(),
        "filled": filled,
        "average_price": average,
        "fees": fees,
        "recomputed": again,
    })
}
