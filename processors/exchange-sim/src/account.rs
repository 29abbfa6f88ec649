//! An exchange's account: the keys that open it, and its desk with balances and orders.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::config::{AccountConfig, ApiKey, Holding, Venue};
use crate::orders::{Desk, Opening};

/// Ids of fills lie far above those of public trades: an own fill is in no list of trades.
const FIRST_TRADE: u64 = 7_000_000_000_000;

/// One account.
#[derive(Debug)]
pub(crate) struct Account {
    keys: Vec<ApiKey>,
    desk: Mutex<Desk>,
}

impl Account {
    pub(crate) fn new(config: &AccountConfig, venue: Venue) -> Self {
        let order = match venue {
            Venue::Binance => 28_000_000_000,
            Venue::Btcturk | Venue::Bist => 9_932_534,
        };
        let desk = Desk::new(config.balances.clone(), Opening { order, trade: FIRST_TRADE });
        Self { keys: config.keys.clone(), desk: Mutex::new(desk) }
    }

    /// The key of this name.
    pub(crate) fn key(&self, key: &str) -> Option<&ApiKey> {
        self.keys.iter().find(|each| each.key == key)
    }

    /// What it holds, by asset.
    pub(crate) fn balances(&self) -> BTreeMap<String, Holding> {
        self.desk().balances().clone()
    }

    /// The desk, locked. Never held across an await; taken after a symbol's lock, never before.
    pub(crate) fn desk(&self) -> MutexGuard<'_, Desk> {
        // A panic while the lock was held leaves at worst an order half-told: the simulator goes on.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
