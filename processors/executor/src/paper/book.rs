//! The top of one symbol's book as the desk sees it, and the orders that rest behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::Timestamp;
use spark_bus_schema::market::{Quote, Side};
use spark_bus_schema::orders::OrderId;

use super::Live;

/// One side of the quote, less what was taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Half {
    price: Decimal,
    size: Decimal,
    left: Decimal,
}

impl Half {
    fn new(price: Decimal, size: Decimal) -> Self {
        Self { price, size, left: size }
    }

    /// What was taken stays taken while the market says the same.
    fn update(&mut self, price: Decimal, size: Decimal) {
        if (self.price, self.size) != (price, size) {
            *self = Self::new(price, size);
        }
    }
}

/// Best bid and ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Top {
    bid: Half,
    ask: Half,
    received_at: Timestamp,
}

impl Top {
    pub fn new(quote: &Quote) -> Self {
        Self {
            bid: Half::new(quote.bid_price.to_decimal(), quote.bid_quantity.to_decimal()),
            ask: Half::new(quote.ask_price.to_decimal(), quote.ask_quantity.to_decimal()),
            received_at: quote.received_at,
        }
    }

    pub fn update(&mut self, quote: &Quote) {
        self.bid.update(quote.bid_price.to_decimal(), quote.bid_quantity.to_decimal());
        self.ask.update(quote.ask_price.to_decimal(), quote.ask_quantity.to_decimal());
        self.received_at = quote.received_at;
    }

    pub fn is_fresh(&self, at: Timestamp, age_max: Duration) -> bool {
        at.saturating_since(self.received_at) <= age_max
    }

    /// Price and size that an order of `side` meets.
    pub fn offer(&self, side: Side) -> Option<(Decimal, Decimal)> {
        let half = match side {
            Side::Buy => self.ask,
            Side::Sell => self.bid,
        };
        (half.price > Decimal::ZERO).then_some((half.price, half.left))
    }

    pub fn take(&mut self, side: Side, quantity: Decimal) {
        let half = match side {
            Side::Buy => &mut self.ask,
            Side::Sell => &mut self.bid,
        };
        half.left = half.left.checked_sub(quantity).unwrap_or_default().max(Decimal::ZERO);
    }
}

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
