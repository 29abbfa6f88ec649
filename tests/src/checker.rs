//! Proves from two records that were kept apart, the LEDGER and the exchange's own log, that every order happened once and as
//! recorded. It trusts neither: whatever does not fit is told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use spark_bus_schema::orders::{OrderEvent, OrderId, OrderIntent, OrderState};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::{Decimal, Venue, subject};
use spark_nats::Delivery;

/// Everything that the LEDGER says about one order.
#[derive(Debug, Default)]
pub struct Story {
    /// The first intent.
    pub intent: Option<OrderIntent>,
    /// Further intents on the same subject.
    pub intents_more: usize,
    /// Every verdict.
    pub verdicts: Vec<Verdict>,
    /// Every event, in order.
    pub events: Vec<OrderEvent>,
}

impl Story {
    /// Where it stands; none before the executor claimed it.
    #[must_use]
    pub fn state(&self) -> Option<OrderState> {
        self.events.last().map(OrderEvent::state)
    }

    /// Refused, or final.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.verdicts.first() {
            None => false,
            Some(verdict) => !verdict.approved || self.state().is_some_and(OrderState::is_final),
        }
    }

    /// Filled after the last event.
    #[must_use]
    pub fn filled(&self) -> Decimal {
        self.events.last().map_or(Decimal::ZERO, |event| event.filled)
    }

    fn fills(&self) -> BTreeMap<String, Decimal> {
        let steps = self.events.iter().flat_map(|event| &event.steps);
        steps.filter_map(|step| step.fill.as_ref()).map(|fill| (fill.trade_id.clone(), fill.quantity)).collect()
    }
}

/// Sorts the LEDGER by order. What cannot be decoded is left out: garbage tests look after it.
#[must_use]
pub fn stories(record: &[Delivery]) -> BTreeMap<OrderId, Story> {
    let mut all: BTreeMap<OrderId, Story> = BTreeMap::new();
    for delivery in record {
        if subject::matches(subject::INTENTS, &delivery.subject)
            && let Ok(intent) = delivery.decode::<OrderIntent>()
        {
            let story = all.entry(intent.order.clone()).or_default();
            if story.intent.is_some() { story.intents_more += 1 } else { story.intent = Some(intent) }
        } else if subject::matches(subject::VERDICTS, &delivery.subject)
            && let Ok(verdict) = delivery.decode::<Verdict>()
        {
            all.entry(verdict.order.clone()).or_default().verdicts.push(verdict);
        } else if subject::matches(subject::ORDER_EVENTS, &delivery.subject)
            && let Ok(event) = delivery.decode::<OrderEvent>()
        {
            all.entry(event.order.clone()).or_default().events.push(event);
        }
    }
    all
}

/// Everything in the LEDGER that cannot be, whatever the exchange says.
#[must_use]
pub fn ledger_problems(stories: &BTreeMap<OrderId, Story>) -> Vec<String> {
    let mut problems = Vec::new();
    for (order, story) in stories {
        let mut tell = |what: String| problems.push(format!("{order}: {what}"));
        match &story.intent {
            None => tell("decided or sent without an intent".to_owned()),
            Some(_) if story.intents_more > 0 => tell(format!("{} further intents", story.intents_more)),
            Some(_) => {}
        }
        if story.verdicts.len() > 1 {
            tell(format!("{} verdicts", story.verdicts.len()));
        }
        if !story.events.is_empty() && story.verdicts.first().is_none_or(|verdict| !verdict.approved) {
            tell("events without an approval".to_owned());
        }
        let mut state = None;
        let mut filled = Decimal::ZERO;
        for (index, event) in story.events.iter().enumerate() {
            if event.revision != u64::try_from(index).unwrap_or(u64::MAX) + 1 {
                tell(format!("event {} has revision {}", index + 1, event.revision));
            }
            for step in &event.steps {
                if !step.state.may_follow(state) {
                    tell(format!("{} cannot follow {}", step.state, state.map_or("nothing", OrderState::as_str)));
                }
                state = Some(step.state);
                filled += step.fill.as_ref().map_or(Decimal::ZERO, |fill| fill.quantity);
            }
            if event.filled != filled {
                tell(format!("revision {} says {} filled, its steps say {filled}", event.revision, event.filled));
            }
        }
        if filled > story.intent.as_ref().map_or(Decimal::ZERO, |intent| intent.quantity) {
            tell(format!("{filled} filled, more than was ordered"));
        }
        let steps = story.events.iter().flat_map(|event| &event.steps).filter(|step| step.fill.is_some()).count();
        if steps != story.fills().len() {
            tell("a trade id counts twice".to_owned());
        }
    }
    problems
}

/// Everything in which the exchange's log (`GET /sim/orders?exchange=…`) and the LEDGER differ.
#[must_use]
pub fn exchange_problems(stories: &BTreeMap<OrderId, Story>, venue: Venue, log: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    if log["dropped"].as_u64() != Some(0) {
        problems.push(format!("{venue}: its log is not whole"));
    }
    let empty = serde_json::Map::new();
    for (client_id, row) in log["clients"].as_object().unwrap_or(&empty) {
        let Some(order) = OrderId::from_client_id(client_id) else { continue };
        // What the exchange did not look at (too many requests, a wrong clock) may be sent again.
        let seen: u64 = ["accepted", "rejected", "duplicate"].iter().filter_map(|key| row[key].as_u64()).sum();
        if seen > 1 {
            problems.push(format!("{venue} saw {client_id} {seen} times: {row}"));
        }
        let approved = stories.get(&order).and_then(|story| story.verdicts.first()).is_some_and(|verdict| verdict.approved);
        if !approved {
            problems.push(format!("{venue} was sent {client_id}, which nobody approved"));
        }
    }
    let mut traded: BTreeMap<OrderId, BTreeMap<String, Decimal>> = BTreeMap::new();
    for fill in log["fills"].as_array().into_iter().flatten() {
        let Some(order) = fill["client_id"].as_str().and_then(OrderId::from_client_id) else { continue };
        let quantity = fill["quantity"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
        traded.entry(order).or_default().insert(fill["trade_id"].to_string().replace('"', ""), quantity);
    }
    let here = |story: &Story| story.intent.as_ref().is_some_and(|intent| intent.exchange == venue);
    let known: BTreeSet<&OrderId> = stories.iter().filter(|(_, story)| here(story)).map(|(order, _)| order).collect();
    for order in known.into_iter().chain(traded.keys()).collect::<BTreeSet<_>>() {
        let recorded = stories.get(order).map(Story::fills).unwrap_or_default();
        let real = traded.get(order).cloned().unwrap_or_default();
        if recorded != real {
            problems.push(format!("{order}: the ledger has the fills {recorded:?}, {venue} made {real:?}"));
        }
    }
    problems
}

/// Orders whose story has not come to an end, for a wait that tells what it waits for.
#[must_use]
pub fn unfinished(stories: &BTreeMap<OrderId, Story>) -> Vec<String> {
    let open = stories.iter().filter(|(_, story)| !story.is_over());
    open.map(|(order, story)| format!("{order}: {:?}, {} verdicts", story.state(), story.verdicts.len())).collect()
}
