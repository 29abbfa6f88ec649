//! What the model holds and has asked for, as the LEDGER tells it, and the order that follows from a side. Long or flat:
//! it sells what it bought, nothing else.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::Venue;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{AMOUNT_SCALE_MAX, Filters, InstrumentFilters, OrderEvent, OrderId};
use spark_bus_schema::risk::Verdict;

use crate::config::Config;

/// Whose orders these are.
pub const STRATEGY: &str = "ml-fusion";

/// One symbol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    /// Base currency, with sign.
    position: Decimal,
    /// Asked and not final.
    open: BTreeSet<OrderId>,
}

/// All symbols.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Holdings {
    held: BTreeMap<String, Held>,
    filters: BTreeMap<String, Filters>,
}

/// The key of a symbol: `<venue>.<symbol>`.
#[must_use]
pub fn name(venue: Venue, symbol: &str) -> String {
    format!("{venue}.{symbol}")
}

impl Holdings {
    /// It asked, in this life or an earlier one.
    pub fn asked(&mut self, name: &str, order: &OrderId) {
        self.held.entry(name.to_owned()).or_default().open.insert(order.clone());
    }

    /// It did not ask after all.
    pub fn given_up(&mut self, order: &OrderId) {
        self.held.values_mut().for_each(|held| {
            held.open.remove(order);
        });
    }

    /// It may, or may not.
    pub fn verdict(&mut self, verdict: &Verdict) {
        if !verdict.approved {
            self.given_up(&verdict.order);
        }
    }

    /// What became of an order.
    pub fn order(&mut self, event: &OrderEvent) {
        let held = self.held.entry(name(event.exchange, &event.symbol)).or_default();
        for fill in event.steps.iter().filter_map(|step| step.fill.as_ref()) {
            let signed = if event.side == Side::Buy { fill.quantity } else { -fill.quantity };
            // Amounts are bounded, so this holds for longer than anybody trades; were it not so, the bound stops buying.
            held.position = held.position.checked_add(signed).unwrap_or(Decimal::MAX);
        }
        if event.state().is_final() {
            held.open.remove(&event.order);
        }
    }

    /// What an exchange takes.
    pub fn filters(&mut self, filters: InstrumentFilters) {
        for (symbol, limits) in filters.symbols {
            self.filters.insert(name(filters.exchange, &symbol), limits);
        }
    }

    /// Base currency, with sign.
    #[must_use]
    pub fn position(&self, name: &str) -> Decimal {
        self.held.get(name).map(|held| held.position).unwrap_or_default()
    }

    /// Quantity of the order that follows from a side at a price; none when it holds already what it should.
    ///
    /// # Errors
    /// Why there is no order although one would follow.
    pub fn quantity(&self, config: &Config, name: &str, side: Side, price: Decimal) -> Result<Option<Decimal>, String> {
        let position = self.position(name);
        // What is too little to be sold is nothing.
        let least = self.filters.get(name).map_or(Decimal::ZERO, |filters| filters.step_size.max(filters.quantity_min));
        let is_flat = position <= Decimal::ZERO || position < least;
        let follows = (side == Side::Buy) == is_flat;
        if !follows {
            return Ok(None);
        }
        if self.held.get(name).is_some_and(|held| !held.open.is_empty()) {
            return Err("an order of it is open".to_owned());
        }
        let wanted = match (side, config.quantity.get(name)) {
            (Side::Sell, _) => position,
            (Side::Buy, Some(quantity)) => *quantity,
            (Side::Buy, None) => config.notional.checked_div(price).ok_or("notional: no number of this price")?,
        };
        let Some(filters) = self.filters.get(name) else {
            // Without the exchange's own step only what a person wrote, or what was bought, is known to be taken.
            let is_given = side == Side::Sell || config.quantity.contains_key(name);
            return if is_given { Ok(Some(wanted)) } else { Err("the exchange's step of quantity is not known yet".to_owned()) };
        };
        let quantity = floor_to(wanted, filters.step_size).min(floor_to(filters.quantity_max, filters.step_size));
        let is_taken = quantity > Decimal::ZERO && quantity >= filters.quantity_min;
        if is_taken { Ok(Some(quantity)) } else { Err(format!("{wanted} is less than the exchange takes")) }
    }
}

/// The greatest multiple of `step` that is not above `value`, with as many decimals as an order may have.
fn floor_to(value: Decimal, step: Decimal) -> Decimal {
    let down = |value: Decimal| value.trunc_with_scale(AMOUNT_SCALE_MAX);
    if step <= Decimal::ZERO {
        return down(value).normalize();
    }
    let steps = value.checked_div(step).map(|steps| steps.floor());
    steps.and_then(|steps| steps.checked_mul(step)).map_or(Decimal::ZERO, |value| down(value).normalize())
}

#[cfg(test)]
mod tests;
