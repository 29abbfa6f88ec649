//! The orders that rest behind one symbol's top of book.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::OrderId;

use super::Live;

/// Resting orders of one symbol: by price, then by arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct Resting {
    arrivals: u64,
    buys: BTreeMap<(Decimal, std::cmp::Reverse<u64>), Live>,
    sells: BTreeMap<(Decimal, u64), Live>,
    places: BTreeMap<OrderId, (Side, Decimal, u64)>,
}

impl Resting {
    pub fn insert(&mut self, price: Decimal, live: Live) {
        self.arrivals += 1;
        let (order, side, number) = (live.terms.order.clone(), live.terms.side, self.arrivals);
        self.places.insert(order, (side, price, number));
        match side {
            Side::Buy => _ = self.buys.insert((price, std::cmp::Reverse(number)), live),
            Side::Sell => _ = self.sells.insert((price, number), live),
        }
    }

    pub fn remove(&mut self, order: &OrderId) -> Option<Live> {
        let (side, price, number) = self.places.remove(order)?;
        match side {
            Side::Buy => self.buys.remove(&(price, std::cmp::Reverse(number))),
            Side::Sell => self.sells.remove(&(price, number)),
        }
    }

    /// The order that trades first: the highest buy, the lowest sell, of these the oldest.
    pub fn best(&self, side: Side) -> Option<(OrderId, Decimal)> {
        let (price, live) = match side {
            Side::Buy => self.buys.last_key_value().map(|((price, _), live)| (*price, live)),
            Side::Sell => self.sells.first_key_value().map(|((price, _), live)| (*price, live)),
        }?;
        Some((live.terms.order.clone(), price))
    }
}
