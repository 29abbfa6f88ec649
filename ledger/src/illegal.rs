//! Why a message was not taken in.

use spark_bus_schema::OrderId;
use spark_bus_schema::orders::OrderState;

use crate::money::Inexact;

/// A message that contradicts what the book knows. The book is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// An event for an order that was never approved.
    #[error("order {order}: an event without an approval before it")]
    NotApproved {
        /// Which.
        order: OrderId,
    },
    /// A verdict for an order that has one already.
    #[error("order {order}: a second verdict")]
    Decided {
        /// Which.
        order: OrderId,
    },
    /// Events are missing, or one came twice.
    #[error("order {order}: revision {got} where {want} is due")]
    Revision {
        /// Which.
        order: OrderId,
        /// What the event says.
        got: u64,
        /// What would be right.
        want: u64,
    },
    /// The table of transitions forbids it.
    #[error("order {order}: {to} cannot follow {}", from.map_or("nothing", OrderState::as_str))]
    Transition {
        /// Which.
        order: OrderId,
        /// Where it stands; none before the first event.
        from: Option<OrderState>,
        /// Where it shall go.
        to: OrderState,
    },
    /// The event tells of another order than the one approved.
    #[error("order {order}: the event's {field} is not the approved one")]
    Mismatch {
        /// Which.
        order: OrderId,
        /// Which field.
        field: &'static str,
    },
    /// The event's totals are not the sums of the fills.
    #[error("order {order}: {field} {got} is not the sum of its fills, {want}")]
    Totals {
        /// Which.
        order: OrderId,
        /// `filled` or `filled_quote`.
        field: &'static str,
        /// What the event says.
        got: String,
        /// The sum.
        want: String,
    },
    /// `filled` although something is left; what is left must be `expired` or `cancelled`.
    #[error("order {order}: filled, but {left} of it is left")]
    Incomplete {
        /// Which.
        order: OrderId,
        /// How much, base currency.
        left: String,
    },
    /// A sum has more digits than a decimal holds.
    #[error("order {order}: {source}")]
    Inexact {
        /// Which.
        order: OrderId,
        /// What could not be calculated.
        #[source]
        source: Inexact,
    },
}

impl Illegal {
    /// A short, stable word for metrics and parked messages.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotApproved { .. } => "order_not_approved",
            Self::Decided { .. } => "order_decided_twice",
            Self::Revision { .. } => "order_revision",
            Self::Transition { .. } => "order_transition",
            Self::Mismatch { .. } => "order_mismatch",
            Self::Totals { .. } => "order_totals",
            Self::Incomplete { .. } => "order_incomplete",
            Self::Inexact { .. } => "inexact",
        }
    }
}
