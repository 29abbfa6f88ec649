//! One approved order.

use std::collections::BTreeSet;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::orders::{OrderEvent, OrderIntent, OrderState, TradingMode};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::{OrderId, Timestamp};

use crate::illegal::Illegal;

/// An approved order and what became of it so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What was approved.
    pub intent: Arc<OrderIntent>,
    /// Ledger sequence of the verdict.
    pub verdict_sequence: u64,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// Not to be sent after this.
    pub expires_at: Timestamp,
    /// Where it stands; none: approved and not claimed by the executor yet.
    pub state: Option<OrderState>,
    /// Of its newest event; 0 before the first.
    pub revision: u64,
    /// Ledger sequence of its newest event; 0 before the first: what the next event expects as the last of its subject.
    pub last_sequence: u64,
    /// When its newest event was stored; the decision's time before the first.
    pub updated_at: Timestamp,
    /// Whether money moves; none before the first event.
    pub mode: Option<TradingMode>,
    /// Base currency.
    pub filled: Decimal,
    /// Quote currency.
    pub filled_quote: Decimal,
    /// The exchange's own id, once known.
    pub exchange_order_id: Option<String>,
    /// Trades counted so far; empty once the order is final.
    pub trades: BTreeSet<String>,
}

impl Order {
    /// An order that has just been approved.
    #[must_use]
    pub fn approved(sequence: u64, verdict: &Verdict) -> Self {
        Self {
            intent: Arc::new(verdict.intent.clone()),
            verdict_sequence: sequence,
            decided_at: verdict.decided_at,
            expires_at: verdict.expires_at,
            state: None,
            revision: 0,
            last_sequence: 0,
            updated_at: verdict.decided_at,
            mode: None,
            filled: Decimal::ZERO,
            filled_quote: Decimal::ZERO,
            exchange_order_id: None,
            trades: BTreeSet::new(),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &OrderId {
        &self.intent.order
    }

    /// No further fill is possible.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.state.is_some_and(OrderState::is_final)
    }

    /// What may still trade, base currency: all that is not filled while the order is not final.
    #[must_use]
    pub fn remaining(&self) -> Decimal {
        if self.is_final() {
            return Decimal::ZERO;
        }
        // Both have been subtracted exactly when the fills were taken in.
        self.intent.quantity.checked_sub(self.filled).unwrap_or_default().max(Decimal::ZERO)
    }

    /// Average price of its fills, quote per base, rounded to 12 decimals; none without fills.
    #[must_use]
    pub fn average_price(&self) -> Option<Decimal> {
        crate::money::div_rounded(self.filled_quote, self.filled).ok()
    }

    /// Whether the event tells of this order and is the next one.
    pub(crate) fn expects(&self, event: &OrderEvent) -> Result<(), Illegal> {
        let intent = &self.intent;
        let same = [
            ("exchange", event.exchange == intent.exchange),
            ("symbol", event.symbol == intent.symbol),
            ("strategy", event.strategy == intent.strategy),
            ("side", event.side == intent.side),
            ("quantity", event.quantity == intent.quantity),
            ("mode", self.mode.is_none_or(|mode| mode == event.mode)),
        ];
        let order = || self.id().clone();
        if let Some((field, _)) = same.into_iter().find(|(_, same)| !same) {
            return Err(Illegal::Mismatch { order: order(), field });
        }
        if event.revision != self.revision + 1 {
            return Err(Illegal::Revision { order: order(), got: event.revision, want: self.revision + 1 });
        }
        Ok(())
    }
}
