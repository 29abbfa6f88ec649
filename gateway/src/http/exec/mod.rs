//! `/api/exec` and `/api/audit`: orders, positions, and what may trade.

pub mod audit;
mod body;
pub mod commands;
pub mod limits;
pub mod look;
pub mod place;
