//! The exchange's own log: what it was asked and what it did, for those who must prove that an order happened once. It survives
//! everything, also a reset of the exchange's state.

use std::collections::VecDeque;

use rust_decimal::Decimal;
use serde::Serialize;

use super::{Fill, Origin, Side};

/// Entries kept of each kind; older ones are dropped and counted.
const ENTRIES_MAX: usize = 250_000;

/// What became of a submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is an order.
    Accepted,
    /// The exchange refused it: filters, balance, price.
    Rejected,
    /// Refused because its client id belongs to an open order.
    Duplicate,
    /// It was not looked at: key, signature, time, rate limit, malformed.
    Refused,
}

/// A submit that arrived.
#[derive(Clone, Debug, Serialize)]
pub struct SubmitEntry {
    /// Order of all entries of this exchange.
    pub seq: u64,
    /// When by the machine's clock, ms since 1970.
    pub at_ms: i64,
    /// The client's id; empty when none came.
    pub client_id: String,
    /// Market as it was written.
    pub symbol: String,
    /// Way.
    pub side: Option<Side>,
    /// Kind as it was written.
    pub kind: String,
    /// Quantity as it was written.
    pub quantity: String,
    /// Price as it was written.
    pub price: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The order, when it became one.
    pub order_id: Option<u64>,
    /// The error code, when it did not.
    pub code: Option<i32>,
    /// The error text.
    pub message: Option<String>,
    /// Who.
    pub origin: Origin,
}

/// A fill.
#[derive(Clone, Debug, Serialize)]
pub struct FillEntry {
    /// Order of all entries of this exchange.
    pub seq: u64,
    /// When by the exchange's clock, ms since 1970.
    pub at_ms: i64,
    /// Its order.
    pub order_id: u64,
    /// The client's id of it.
    pub client_id: String,
    /// Market.
    pub symbol: String,
    /// Its id.
    pub trade_id: u64,
    /// Way.
    pub side: Side,
    /// Price.
    pub price: Decimal,
    /// Base quantity.
    pub quantity: Decimal,
    /// What the exchange took.
    pub commission: Decimal,
    /// Of which asset.
    pub commission_asset: String,
    /// The order rested.
    pub maker: bool,
}

/// A request to cancel.
#[derive(Clone, Debug, Serialize)]
pub struct CancelEntry {
    /// Order of all entries of this exchange.
    pub seq: u64,
    /// When by the machine's clock, ms since 1970.
    pub at_ms: i64,
    /// The order, when it was found.
    pub order_id: Option<u64>,
    /// The client's id of the order, or what was asked for.
    pub client_id: String,
    /// `accepted` (asked for, takes effect later), `canceled`, `refused`, `too_late` (filled before it took effect).
    pub outcome: &'static str,
    /// Filled by then.
    pub filled: Option<Decimal>,
    /// The error code of a refusal.
    pub code: Option<i32>,
}

/// Everything written down.
#[derive(Clone, Debug, Default)]
pub struct Log {
    seq: u64,
    /// Submits, oldest first.
    pub submits: VecDeque<SubmitEntry>,
    /// Fills, oldest first.
    pub fills: VecDeque<FillEntry>,
    /// Cancels, oldest first.
    pub cancels: VecDeque<CancelEntry>,
    /// Entries that no longer are here.
    pub dropped: u64,
}

fn keep<T>(list: &mut VecDeque<T>, entry: T, dropped: &mut u64) {
    list.push_back(entry);
    while list.len() > ENTRIES_MAX {
        list.pop_front();
        *dropped += 1;
    }
}

impl Log {
    fn next(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// Writes down a submit; its `seq` is set here.
    pub fn submit(&mut self, mut entry: SubmitEntry) {
        entry.seq = self.next();
        keep(&mut self.submits, entry, &mut self.dropped);
    }

    /// Writes down a request to cancel; its `seq` is set here.
    pub fn cancel(&mut self, mut entry: CancelEntry) {
        entry.seq = self.next();
        keep(&mut self.cancels, entry, &mut self.dropped);
    }

    pub(super) fn fill(&mut self, fill: &Fill) {
        let entry = FillEntry {
            seq: self.next(),
            at_ms: fill.at_ms,
            order_id: fill.order_id,
            client_id: fill.client_id.clone(),
            symbol: fill.symbol.to_string(),
            trade_id: fill.trade_id,
            side: fill.side,
            price: fill.price.normalize(),
            quantity: fill.quantity.normalize(),
            commission: fill.commission.normalize(),
            commission_asset: fill.commission_asset.clone(),
            maker: fill.maker,
        };
        keep(&mut self.fills, entry, &mut self.dropped);
    }
}
