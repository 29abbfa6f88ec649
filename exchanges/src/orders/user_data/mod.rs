//! What the exchange tells by itself: one bounded channel of events, reconnected for ever.

mod binance;
mod btcturk;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use spark_bus_schema::Venue;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{AccountFill, OrderReport, Trading};
use crate::retry::random_unit;

/// A pause that an exchange asks for is not taken to be longer.
const PAUSE_MAX: Duration = crate::limiter::BLOCK_MAX;

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
    /// An order came, changed or went. What it is now, [`Trading::lookup`] tells. From BTCTurk, whose frames are not documented
    /// well enough to be evidence; from Binance when a frame could not be read. With neither id: any order may be meant.
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

impl UserDataConfig {
    /// The default settings with another address.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), ..Self::default() }
    }

    /// Where `venue` is reached.
    #[must_use]
    pub fn url(&self, venue: Venue) -> &str {
        self.url.as_deref().unwrap_or(match venue {
            Venue::Btcturk => "wss://ws-feed-pro.btcturk.com",
            Venue::Binance | Venue::Bist => "wss://ws-api.binance.com:443/ws-api/v3",
        })
    }

    /// What is wrong with it, one sentence a key that names key, value and fix; `prefix` is the section's path.
    #[must_use]
    pub fn problems(&self, prefix: &str) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(url) = &self.url {
            problems.extend(socket::url_problem(url).map(|problem| format!("{prefix}.url: {problem}")));
        }
        crate::config::range(&mut problems, prefix, "connect_ms", self.connect_ms, 10, 120_000, 10_000);
        crate::config::range(&mut problems, prefix, "idle_ms", self.idle_ms, 50, 600_000, 65_000);
        crate::config::range(&mut problems, prefix, "pause_ms", self.pause_ms, 1, 60_000, 500);
        crate::config::range(&mut problems, prefix, "pause_ms_max", self.pause_ms_max, self.pause_ms.max(1), 600_000, 30_000);
        crate::config::range(&mut problems, prefix, "age_ms_max", self.age_ms_max, 100, 86_400_000, 85_800_000);
        problems
    }

    /// The pause after so many failures in a row (from 1): between half and all of the doubled one, so that it is never none.
    fn pause(&self, failures: u32, unit: f64) -> Duration {
        let doubled = self.pause_ms.saturating_mul(1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX));
        Duration::from_millis(doubled.min(self.pause_ms_max)).mul_f64(0.5 + 0.5 * unit.clamp(0.0, 1.0))
    }
}

/// Why a connection is over.
#[derive(Debug)]
struct End {
    reason: String,
    /// Not a failure: a new connection is made at once.
    planned: bool,
    /// The exchange asked to stay away for so long.
    pause: Option<Duration>,
}

impl End {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), planned: false, pause: None }
    }

    fn planned(reason: impl Into<String>) -> Self {
        Self { planned: true, ..Self::new(reason) }
    }
}

/// Where events go; remembers whether the stream is up.
struct Outlet {
    venue: Venue,
    sender: mpsc::Sender<UserEvent>,
    up: bool,
    down_told: bool,
}

impl Outlet {
    /// Waits for room. An error: nobody listens any more.
    async fn tell(&mut self, event: UserEvent) -> Result<(), End> {
        self.sender.send(event).await.map_err(|_| End::new("nobody listens"))
    }

    async fn connected(&mut self) -> Result<(), End> {
        (self.up, self.down_told) = (true, false);
        metrics::gauge!("spark_exchange_user_data_up", "exchange" => self.venue.as_str()).set(1.0);
        tracing::info!(exchange = %self.venue, "user data stream is up");
        self.tell(UserEvent::Connected).await
    }

    /// A frame that should have been understood was not: what it was about has to be asked for.
    async fn unreadable(&mut self, what: &str) -> Result<(), End> {
        metrics::counter!("spark_exchange_user_data_unreadable_total", "exchange" => self.venue.as_str()).increment(1);
        tracing::warn!(exchange = %self.venue, what = %crate::error::shorten(what), "unreadable frame on the user data stream");
        self.tell(UserEvent::Changed { exchange_order_id: None, client_order_id: None }).await
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
        let outlet = Outlet { venue: trading.venue(), sender, up: false, down_told: false };
        let task = tokio::spawn(run(trading, config, outlet));
        Self { events, task }
    }

    /// The next event. Cancel-safe. None: the stream's task is gone, which happens only when the runtime stops.
    pub async fn next(&mut self) -> Option<UserEvent> {
        self.events.recv().await
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connects again and again, until nobody listens.
async fn run(trading: Arc<Trading>, config: UserDataConfig, mut outlet: Outlet) {
    let mut failures = 0_u32;
    while !outlet.sender.is_closed() {
        let end = match &*trading {
            Trading::Binance(client) => binance::session(client, &config, &mut outlet).await,
            Trading::Btcturk(client) => btcturk::session(client, &config, &mut outlet).await,
        };
        metrics::gauge!("spark_exchange_user_data_up", "exchange" => outlet.venue.as_str()).set(0.0);
        let was_up = std::mem::replace(&mut outlet.up, false);
        failures = if was_up { 0 } else { failures.saturating_add(1) };
        let pause = match end.pause {
            _ if end.planned && was_up => Duration::ZERO,
            Some(pause) => pause.min(PAUSE_MAX),
            None => config.pause(failures.max(1), random_unit()),
        };
        tracing::warn!(exchange = %outlet.venue, reason = %end.reason, pause_ms = pause.as_millis() as u64, "user data stream is down");
        if !outlet.down_told {
            outlet.down_told = true;
            if outlet.tell(UserEvent::Disconnected { reason: end.reason }).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = outlet.sender.closed() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_never_none() {
        let config = UserDataConfig { pause_ms: 100, pause_ms_max: 1_000, ..UserDataConfig::default() };
        let check = |failures: u32, unit: f64, want: u64| {
            assert_eq!(config.pause(failures, unit), Duration::from_millis(want), "{failures} at {unit}");
        };
        check(1, 0.0, 50);
        check(1, 1.0, 100);
        check(3, 1.0, 400);
        check(90, 1.0, 1_000);
        check(90, 0.0, 500);
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_key() {
        assert_eq!(UserDataConfig::default().problems("x"), Vec::<String>::new());
        assert_eq!(UserDataConfig::at("ws://127.0.0.1:9/ws-api/v3").problems("x"), Vec::<String>::new());
        for url in ["ws://ws-api.binance.com", "https://a.example", "wss://u:p@a.example", "nonsense"] {
            let problems = UserDataConfig::at(url).problems("executor.binance.user_data");
            assert!(problems.len() == 1 && problems[0].starts_with("executor.binance.user_data.url: "), "{url}: {problems:?}");
            assert!(!problems[0].contains("u:p"), "{problems:?}");
        }
        let config = UserDataConfig { idle_ms: 1, ..UserDataConfig::default() };
        assert!(config.problems("x")[0].starts_with("x.idle_ms = 1"));
    }
}
