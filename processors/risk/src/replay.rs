//! The recorded LEDGER through the same decision again: for `spark explain`, `spark whatif` and tests.

use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::risk::{Limits, Verdict};
use spark_nats::{Delivery, Effects, Machine};

use crate::machine::Risk;

/// Every verdict that follows from the LEDGER, in the order of the decisions.
///
/// Without `limits` these are the recorded ones, byte for byte. With `limits` every order is judged under them, whatever
/// the recorded limits were, in the world that would follow: an order that is refused now has no fills, and one that is
/// approved now but was not then has none either, for nobody knows them.
///
/// Deliveries are those of [`Risk::INPUTS`] from the beginning, in order; others are passed over, as are messages that
/// cannot be used.
pub fn replay<'a>(deliveries: impl Iterator<Item = &'a Delivery>, limits: Option<Limits>) -> Vec<Verdict> {
    let mut risk = limits.map_or_else(Risk::default, Risk::under);
    let mut effects = Effects::default();
    let mut verdicts = Vec::new();
    for delivery in deliveries {
        let Ok(event) = Risk::decode(delivery) else { continue };
        if let Err(refused) = risk.apply(delivery.stored_at, event, &mut effects) {
            tracing::debug!(sequence = delivery.sequence, reason = refused.reason, "passed over");
        }
        for effect in effects.drain() {
            verdicts.push(decode_payload(&effect.payload).expect("what was just encoded can be decoded"));
        }
    }
    verdicts
}
