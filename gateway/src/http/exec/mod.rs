//! `/api/exec` and `/api/audit`: orders, positions, and what may trade.

pub mod audit;
pub mod body;
pub mod commands;
pub mod limits;
pub mod look;
pub mod place;
