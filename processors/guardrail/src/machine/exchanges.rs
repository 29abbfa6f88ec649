//! What is remembered of each exchange: whether its paths work, and which prices are held back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use spark_bus_schema::Venue;
use spark_bus_schema::portfolio::{AnomalyState, Balances, PriceAnomaly};
use spark_bus_schema::telemetry::{Call, FeedState};

/// Failed calls in a row after which REST counts as down.
const FAILURES_IN_A_ROW: u32 = 3;
/// Held prices that are remembered by exchange.
const HELD_MAX: usize = 256;

/// One exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    feed_down: bool,
    failures_in_a_row: u32,
    held: BTreeSet<String>,
}

/// All exchanges.
pub type Exchanges = BTreeMap<Venue, Exchange>;

impl Exchange {
    /// Takes in a call. Only what looks like an outage counts: a refused key or a rate limit is an answer, so the exchange is there.
    pub fn called(&mut self, call: &Call) {
        let outage = matches!(call.error_type.as_deref(), Some("timeout" | "network" | "server"));
        self.failures_in_a_row = if outage { self.failures_in_a_row.saturating_add(1) } else { 0 };
    }

    /// Takes in the state of the market-data connection.
    pub fn connection(&mut self, state: FeedState) {
        self.feed_down = matches!(state, FeedState::Connecting | FeedState::Reconnecting);
    }

    /// How many of market data and REST do not work.
    pub fn paths_down(&self) -> f64 {
        f64::from(u8::from(self.feed_down) + u8::from(self.failures_in_a_row >= FAILURES_IN_A_ROW))
    }

    /// Takes in what became of a price.
    pub fn price(&mut self, anomaly: &PriceAnomaly) {
        if anomaly.state != AnomalyState::Held {
            self.held.remove(&anomaly.asset);
        } else if self.held.len() < HELD_MAX {
            self.held.insert(anomaly.asset.clone());
        }
    }

    /// A fresh poll says itself which prices are held: a portfolio process that was restarted forgets what it held, and
    /// would never tell.
    pub fn polled(&mut self, balances: &Balances) {
        self.held.retain(|asset| balances.balances.iter().any(|row| row.asset == *asset && row.price_held));
    }

    /// Prices held back.
    pub fn prices_held(&self) -> f64 {
        u32::try_from(self.held.len()).map_or(f64::MAX, f64::from)
    }
}
