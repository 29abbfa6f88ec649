//! Requests that wait for the LEDGER to say something about what they asked for: an order, a score, a rollout. Nobody polls: the reader of the ledger wakes them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Things that are waited for at once. More requests do not wait: they get the answer that there is.
pub const KEYS_MAX: usize = 4_096;

/// Who waits for what.
pub struct Waiters<K> {
    by_key: Mutex<HashMap<K, Seat>>,
}

impl<K> Default for Waiters<K> {
    fn default() -> Self {
        Self { by_key: Mutex::default() }
    }
}

struct Seat {
    notify: Arc<Notify>,
    waiting: usize,
}

/// A place among the waiting; given back when it is dropped.
pub struct Waiting<'a, K: Eq + Hash> {
    waiters: &'a Waiters<K>,
    key: K,
    notify: Arc<Notify>,
}

impl<K: Eq + Hash + Clone> Waiters<K> {
    /// Waits for something from now on; none when too much is waited for.
    pub fn join(&self, key: &K) -> Option<Waiting<'_, K>> {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if by_key.len() >= KEYS_MAX && !by_key.contains_key(key) {
            return None;
        }
        let seat = by_key.entry(key.clone()).or_insert_with(|| Seat { notify: Arc::new(Notify::new()), waiting: 0 });
        seat.waiting += 1;
        Some(Waiting { waiters: self, key: key.clone(), notify: Arc::clone(&seat.notify) })
    }

    /// Something was said about these, and the view shows it.
    pub fn wake<'a>(&self, keys: impl IntoIterator<Item = &'a K>)
    where
        K: 'a,
    {
        let by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if by_key.is_empty() {
            return;
        }
        for key in keys {
            if let Some(seat) = by_key.get(key) {
                seat.notify.notify_waiters();
            }
        }
    }
}

impl<K: Eq + Hash> Waiting<'_, K> {
    /// Resolves at the next word about it. Enable it before looking at the view, so that no word is missed.
    pub fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl<K: Eq + Hash> Drop for Waiting<'_, K> {
    fn drop(&mut self) {
        let mut by_key = self.waiters.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seat) = by_key.get_mut(&self.key) {
            seat.waiting -= 1;
            if seat.waiting == 0 {
                by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use spark_bus_schema::orders::OrderId;

    use super::*;

    #[test]
    fn places_are_given_back_and_bounded() {
        let waiters = Waiters::default();
        let order = |number: usize| OrderId::derive("manual", &number.to_string());
        let (first, again) = (waiters.join(&order(0)), waiters.join(&order(0)));
        let len = || waiters.by_key.lock().unwrap().len();
        assert_eq!(len(), 1);
        let more: Vec<_> = (1..KEYS_MAX).map(|number| waiters.join(&order(number))).collect();
        assert!(waiters.join(&order(KEYS_MAX)).is_none());
        assert!(waiters.join(&order(0)).is_some(), "an order that is waited for already has room for more");
        drop((first, more));
        assert_eq!(len(), 1);
        drop(again);
        assert_eq!(len(), 0);
    }
}
