//! An exchange's account: balances and the keys that open it. Orders will lock and move balances here.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::config::{AccountConfig, ApiKey, Holding};

/// One account.
#[derive(Debug)]
pub(crate) struct Account {
    keys: Vec<ApiKey>,
    balances: Mutex<BTreeMap<String, Holding>>,
}

impl Account {
    pub(crate) fn new(config: &AccountConfig) -> Self {
        Self { keys: config.keys.clone(), balances: Mutex::new(config.balances.clone()) }
    }

    /// The key of this name.
    pub(crate) fn key(&self, key: &str) -> Option<&ApiKey> {
        self.keys.iter().find(|each| each.key == key)
    }

    /// What it holds, by asset.
    pub(crate) fn balances(&self) -> BTreeMap<String, Holding> {
        self.balances.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
