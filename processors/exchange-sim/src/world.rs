//! What all parts of one simulator share.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::bist::Vendor;
use crate::config::{AccountConfig, Config, Venue};
use crate::fault::Fault;
use crate::faults::Faults;
use crate::hub::Hub;
use crate::limits::{Bans, OrderCounts, Quotas};
use crate::live::Symbol;
use crate::replay::ReplayState;

/// Shown opening minutes of candles beyond the configured history: what a long run may add.
const EXTRA_MINUTES: usize = 24 * 60;

/// One simulated exchange.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Its symbols in the order of the configuration.
    pub symbols: Vec<Arc<Symbol>>,
    by_name: HashMap<String, Arc<Symbol>>,
    /// Its sockets.
    pub hub: Hub,
    /// Its account.
    pub account: Account,
    /// Requests answered, by HTTP status.
    pub answered: Mutex<BTreeMap<u16, u64>>,
    /// WebSocket connections opened.
    pub connected: AtomicU64,
}

impl Exchange {
    /// A symbol by its exact name.
    pub(crate) fn symbol(&self, name: &str) -> Option<&Arc<Symbol>> {
        self.by_name.get(name)
    }

    pub(crate) fn count(&self, venue: Venue, status: u16) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_insert(0) += 1;
        metrics::counter!("spark_sim_requests_total", "exchange" => venue.to_string(), "code" => status.to_string()).increment(1);
    }
}

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    pub config: Config,
    pub binance: Exchange,
    pub btcturk: Exchange,
    /// The vendor's requests are counted here; it has neither sockets nor markets in this sense.
    pub shares: Exchange,
    pub bist: Vendor,
    pub faults: Faults,
    pub weights: Bans,
    pub order_counts: OrderCounts,
    pub binance_connects: Quotas,
    pub btcturk_quotas: Quotas,
    pub replay: Option<ReplayState>,
    pub started: Instant,
    pub shutdown: CancellationToken,
}

impl World {
    pub(crate) fn new(config: Config, replay: Option<ReplayState>, shutdown: CancellationToken) -> Self {
        let minutes = usize::try_from(config.history_hours).unwrap_or(48) * 60 + EXTRA_MINUTES;
        let exchange = |venue: Venue| {
            let of_replay =
                |symbol: &str| venue == Venue::Binance && replay.as_ref().is_some_and(|replay| replay.symbols().contains(symbol));
            let symbols: Vec<Arc<Symbol>> = config
                .markets
                .iter()
                .filter(|market| market.venue == venue)
                .map(|market| Arc::new(Symbol::new(market.clone(), of_replay(&market.symbol), config.trades_kept, minutes)))
                .collect();
            let no_account = AccountConfig { keys: Vec::new(), balances: BTreeMap::new() };
            let account = match venue {
                Venue::Binance => &config.binance_account,
                Venue::Btcturk => &config.btcturk_account,
                Venue::Bist => &no_account,
            };
            Exchange {
                by_name: symbols.iter().map(|symbol| (symbol.config.symbol.clone(), symbol.clone())).collect(),
                symbols,
                hub: Hub::default(),
                account: Account::new(account, venue),
                answered: Mutex::new(BTreeMap::new()),
                connected: AtomicU64::new(0),
            }
        };
        Self {
            binance: exchange(Venue::Binance),
            btcturk: exchange(Venue::Btcturk),
            shares: exchange(Venue::Bist),
            bist: Vendor::new(&config.bist_vendor, config.seed),
            faults: Faults::new(config.seed),
            weights: Bans::new(config.binance_weight_per_min),
            order_counts: OrderCounts::new(config.binance_orders_per_10_s, config.binance_orders_per_day),
            binance_connects: Quotas::default(),
            btcturk_quotas: Quotas::default(),
            replay,
            started: Instant::now(),
            shutdown,
            config,
        }
    }

    pub(crate) fn exchange(&self, venue: Venue) -> &Exchange {
        match venue {
            Venue::Binance => &self.binance,
            Venue::Btcturk => &self.btcturk,
            Venue::Bist => &self.shares,
        }
    }

    /// Sets a fault; one that cuts does so at once. Returns its id.
    pub(crate) fn set_fault(&self, fault: Fault) -> u64 {
        let exchange = self.exchange(fault.exchange);
        let id = self.faults.add(fault);
        let clients = exchange.hub.clients();
        self.faults.cut_now(id, clients.iter().map(|client| (client.topics(), &client.hangup)));
        id
    }

    /// The exchange's clock, ms since 1970: the machine's, plus the skew that faults add.
    pub(crate) fn now_ms(&self, venue: Venue) -> i64 {
        clock_ms() + self.faults.skew_ms(venue)
    }

    pub(crate) fn opened(&self, venue: Venue) {
        self.exchange(venue).connected.fetch_add(1, Ordering::Relaxed);
    }
}

/// The machine's clock, ms since 1970.
pub(crate) fn clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
