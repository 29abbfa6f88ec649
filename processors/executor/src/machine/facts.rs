//! What is true of one order: its terms, which never change, and what its events say. Every change is one [`Step`] that the
//! table of transitions and the order's quantity allow.

use std::collections::BTreeSet;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{OrderEvent, OrderId, OrderState, OrderType, Step, TimeInForce, TradingMode};
use spark_bus_schema::{Timestamp, Venue};
use spark_ledger::money;

/// What was approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The order.
    pub order: OrderId,
    /// LEDGER sequence of the verdict.
    pub verdict_sequence: u64,
    /// Whose.
    pub strategy: String,
    /// Where.
    pub exchange: Venue,
    /// Spark's spelling.
    pub symbol: String,
    /// Buy or sell.
    pub side: Side,
    /// Limit or market.
    pub order_type: OrderType,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// In base currency.
    pub quantity: Decimal,
    /// Quote per base; limit orders only.
    pub limit_price: Option<Decimal>,
    /// Decided; it was not sent before this.
    pub decided_at: Timestamp,
    /// Not to be sent after this.
    pub expires_at: Timestamp,
    /// The moment of FEED's record that led to it: on paper it is filled against the book of that moment.
    #[serde(default)]
    pub book_at: Option<Timestamp>,
}

/// Orders that wait for each other while one of them is unknown: strategy, exchange, symbol.
pub type Key = (String, Venue, String);

impl Terms {
    /// The terms of an approved order.
    #[must_use]
    pub fn of(order: &spark_ledger::Order) -> Self {
        let intent = &order.intent;
        Self {
            order: intent.order.clone(),
            verdict_sequence: order.verdict_sequence,
            strategy: intent.strategy.clone(),
            exchange: intent.exchange,
            symbol: intent.symbol.clone(),
            side: intent.side,
            order_type: intent.order_type,
            time_in_force: intent.time_in_force,
            quantity: intent.quantity,
            limit_price: intent.limit_price,
            decided_at: order.decided_at,
            expires_at: order.expires_at,
            book_at: intent.decided_at,
        }
    }

    /// See [`Key`].
    #[must_use]
    pub fn key(&self) -> Key {
        (self.strategy.clone(), self.exchange, self.symbol.clone())
    }
}

/// Why a step is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The table does not have it.
    #[error("{to} cannot follow {}", from.map_or("nothing", OrderState::as_str))]
    Transition {
        /// The state before.
        from: Option<OrderState>,
        /// The state asked for.
        to: OrderState,
    },
    /// A trade that was counted before.
    #[error("trade {0} was counted before")]
    Repeated(String),
    /// A state that does not fit the fills: `filled` with something left, `partially_filled` with nothing left.
    #[error("{state} with {filled} of {quantity} filled")]
    Unfit {
        /// The state asked for.
        state: OrderState,
        /// With the new fill.
        filled: Decimal,
        /// Ordered.
        quantity: Decimal,
    },
    /// Numbers beyond what can be held exactly.
    #[error("price × quantity cannot be held exactly")]
    Inexact,
    /// An event that does not continue the order's events.
    #[error("revision {got} after {have}")]
    Revision {
        /// The last one.
        have: u64,
        /// This one.
        got: u64,
    },
}

/// What is known of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// What was approved.
    pub terms: Arc<Terms>,
    /// Paper or live, as claimed; none before the claim.
    pub mode: Option<TradingMode>,
    /// None: approved, nothing else.
    pub state: Option<OrderState>,
    /// Of the newest event.
    pub revision: u64,
    /// LEDGER sequence of the newest event, 0 without one.
    pub sequence: u64,
    /// Base quantity filled.
    pub filled: Decimal,
    /// Price × quantity of the fills.
    pub filled_quote: Decimal,
    /// Trades counted.
    pub trades: BTreeSet<String>,
    /// The exchange's own id.
    pub exchange_order_id: Option<String>,
    /// When the claim was stored, or something after it.
    pub claimed_at: Option<Timestamp>,
}

impl Facts {
    /// What the LEDGER says of an order.
    #[must_use]
    pub fn of(order: &spark_ledger::Order) -> Self {
        Self {
            terms: Arc::new(Terms::of(order)),
            mode: order.mode,
            state: order.state,
            revision: order.revision,
            sequence: order.last_sequence,
            filled: order.filled,
            filled_quote: order.filled_quote,
            trades: order.trades.clone(),
            exchange_order_id: order.exchange_order_id.clone(),
            claimed_at: order.state.map(|_| order.updated_at),
        }
    }

    /// No further fill is possible.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.state.is_some_and(OrderState::is_final)
    }

    /// Base quantity that can still be filled.
    #[must_use]
    pub fn left(&self) -> Decimal {
        self.terms.quantity.checked_sub(self.filled).unwrap_or_default()
    }

    /// The state after one more fill of this quantity.
    #[must_use]
    pub fn state_after(&self, quantity: Decimal) -> OrderState {
        if self.left() <= quantity { OrderState::Filled } else { OrderState::PartiallyFilled }
    }

    /// Takes one step. More filled than ordered is the exchange's word and holds (a BTCTurk market buy is ordered in quote
    /// currency); less than ordered is never `filled`.
    ///
    /// # Errors
    /// [`Illegal`]; nothing has changed.
    pub fn step(&mut self, step: &Step) -> Result<(), Illegal> {
        if !step.state.may_follow(self.state) {
            return Err(Illegal::Transition { from: self.state, to: step.state });
        }
        if let Some(fill) = &step.fill {
            if self.trades.contains(&fill.trade_id) {
                return Err(Illegal::Repeated(fill.trade_id.clone()));
            }
            let quantity = self.terms.quantity;
            let filled = money::add(self.filled, fill.quantity).map_err(|_| Illegal::Inexact)?;
            if (filled >= quantity) != (step.state == OrderState::Filled) {
                return Err(Illegal::Unfit { state: step.state, filled, quantity });
            }
            let amount = money::mul(fill.price, fill.quantity).map_err(|_| Illegal::Inexact)?;
            self.filled_quote = money::add(self.filled_quote, amount).map_err(|_| Illegal::Inexact)?;
            self.filled = filled;
            self.trades.insert(fill.trade_id.clone());
        }
        self.state = Some(step.state);
        Ok(())
    }

    /// Takes in a stored event.
    ///
    /// # Errors
    /// [`Illegal`]; nothing has changed.
    pub fn take(&mut self, sequence: u64, stored_at: Timestamp, event: &OrderEvent) -> Result<(), Illegal> {
        if event.revision != self.revision + 1 {
            return Err(Illegal::Revision { have: self.revision, got: event.revision });
        }
        let mut next = self.clone();
        for step in &event.steps {
            next.step(step)?;
        }
        next.mode = Some(event.mode);
        next.claimed_at = next.claimed_at.or(Some(stored_at));
        if event.exchange_order_id.is_some() {
            next.exchange_order_id.clone_from(&event.exchange_order_id);
        }
        (next.revision, next.sequence) = (event.revision, sequence);
        *self = next;
        Ok(())
    }
}
