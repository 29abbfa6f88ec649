//! Requests that wait for the LEDGER to say something about their order. Nobody polls: the reader of the ledger wakes them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use spark_bus_schema::orders::OrderId;
use tokio::sync::Notify;

/// Orders that are waited for at once. More requests do not wait: they get the answer that there is.
pub const ORDERS_MAX: usize = 4_096;

/// Who waits for what.
#[derive(Default)]
pub struct Waiters {
    by_order: Mutex<HashMap<OrderId, Seat>>,
}

struct Seat {
    notify: Arc<Notify>,
    waiting: usize,
}

/// A place among the waiting; given back when it is dropped.
pub struct Waiting<'a> {
    waiters: &'a Waiters,
    order: OrderId,
    notify: Arc<Notify>,
}

impl Waiters {
    /// Waits for an order from now on; none when too many orders are waited for.
    pub fn join(&self, order: &OrderId) -> Option<Waiting<'_>> {
        let mut by_order = self.by_order.lock().unwrap_or_else(PoisonError::into_inner);
        if by_order.len() >= ORDERS_MAX && !by_order.contains_key(order) {
            return None;
        }
        let seat = by_order.entry(order.clone()).or_insert_with(|| Seat { notify: Arc::new(Notify::new()), waiting: 0 });
        seat.waiting += 1;
        Some(Waiting { waiters: self, order: order.clone(), notify: Arc::clone(&seat.notify) })
    }

    /// Something was said about these orders, and the view shows it.
    pub fn wake<'a>(&self, orders: impl IntoIterator<Item = &'a OrderId>) {
        let by_order = self.by_order.lock().unwrap_or_else(PoisonError::into_inner);
        if by_order.is_empty() {
            return;
        }
        for order in orders {
            if let Some(seat) = by_order.get(order) {
                seat.notify.notify_waiters();
            }
        }
    }
}

impl Waiting<'_> {
    /// Resolves at the next word about the order. Enable it before looking at the view, so that no word is missed.
    pub fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut by_order = self.waiters.by_order.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = by_order.get_mut(&self.order) {
            seat.waiting -= 1;
            if seat.waiting == 0 {
                by_order.remove(&self.order);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back_and_bounded() {
        let waiters = Waiters::default();
        let order = |number: usize| OrderId::derive("manual", &number.to_string());
        let (first, again) = (waiters.join(&order(0)), waiters.join(&order(0)));
        let len = || waiters.by_order.lock().unwrap().len();
        assert_eq!(len(), 1);
        let more: Vec<_> = (1..ORDERS_MAX).map(|number| waiters.join(&order(number))).collect();
        assert!(waiters.join(&order(ORDERS_MAX)).is_none());
        assert!(waiters.join(&order(0)).is_some(), "an order that is waited for already has room for more");
        drop((first, more));
        assert_eq!(len(), 1);
        drop(again);
        assert_eq!(len(), 0);
    }
}
