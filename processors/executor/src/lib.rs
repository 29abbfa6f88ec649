//! The only process that calls exchanges with orders and the only writer of `orders.event.>`.
//!
//! It acts on approvals alone and refuses to know why an order is wanted or whether it should be: that is decided in the
//! LEDGER before. What an exchange says is merged, never believed against the order's own history.
//!
//! Read in this order: [`machine`] (every decision, pure), [`paper`] (the paper exchange, pure).

pub mod machine;
pub mod paper;
