//! What the exchange tells by itself: one bounded channel of events, reconnected for ever.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{AccountFill, OrderReport, Trading};

/// Events that may wait for the executor. When it is full the socket is not read, until the exchange cuts it: then
/// [`UserEvent::Disconnected`] and [`UserEvent::Connected`] say so, and the executor reconciles.
pub const EVENTS_MAX: usize = 1_024;

/// Something that the exchange told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserEvent {
    /// The stream is up: from now on everything is told. Reconcile what happened before by REST.
    Connected,
    /// The stream is down, or could not be brought up; it will be tried again. Said once until the next `Connected`.
    Disconnected {
        /// Why. Never holds a key or a signature.
        reason: String,
    },
    /// Binance: an order changed. `fills` holds none or the one trade that this event is about; `executed` is the total after
    /// it. May come twice.
    Order(OrderReport),
    /// BTCTurk: an order traded. May come twice.
    Fill(AccountFill),
    /// BTCTurk: an order came, changed or went. What it is now, [`Trading::lookup`] tells: these frames are not documented
    /// well enough to be evidence.
    Changed {
        /// The exchange's id, where it was told.
        exchange_order_id: Option<String>,
        /// The client id, where it was told.
        client_order_id: Option<String>,
    },
    /// Balances changed, of these assets (none named: unknown which).
    BalanceChanged {
        /// `BTC` …
        assets: Vec<String>,
    },
}

/// How the stream is reached.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserDataConfig {
    /// `wss://ws-api.binance.com:443/ws-api/v3`, `wss://ws-feed-pro.btcturk.com`, or the simulator's. Default: the exchange's.
    pub url: Option<String>,
    /// Most time for connecting and for each answer to a command, ms. Default 10 000.
    pub connect_ms: u64,
    /// Longest silence, pings included, ms. Default 65 000: Binance pings every 20 s, BTCTurk every 15.
    pub idle_ms: u64,
    /// First pause before connecting again, ms; it doubles. Default 500.
    pub pause_ms: u64,
    /// Longest pause, ms. Default 30 000.
    pub pause_ms_max: u64,
    /// A connection is replaced at this age, ms. Default 23 h 50 min: Binance cuts at 24 h.
    pub age_ms_max: u64,
}

impl Default for UserDataConfig {
    fn default() -> Self {
        Self {
            url: None,
            connect_ms: 10_000,
            idle_ms: 65_000,
            pause_ms: 500,
            pause_ms_max: 30_000,
            age_ms_max: (24 * 60 - 10) * 60 * 1_000,
        }
    }
}

/// A running user data stream; dropping it ends it.
#[derive(Debug)]
pub struct UserData {
    events: mpsc::Receiver<UserEvent>,
    task: JoinHandle<()>,
}

impl UserData {
    /// Starts the stream of the account of `trading`'s key. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(trading: Arc<Trading>, config: UserDataConfig) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let task = tokio::spawn(async move {
            let _kept = (trading, config, sender);
            std::future::pending::<()>().await;
        });
        Self { events, task }
    }

    /// The next event. Cancel-safe. None never comes while the stream runs.
    pub async fn next(&mut self) -> Option<UserEvent> {
        self.events.recv().await
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        self.task.abort();
    }
}
