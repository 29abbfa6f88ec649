//! The order path as users meet it: real processes, a real broker, simulated exchanges, and the record in the LEDGER as the
//! only witness.

#[path = "orders/kills.rs"]
mod kills;
#[path = "orders/limits.rs"]
mod limits;
#[path = "orders/once.rs"]
mod once;
#[path = "orders/setting.rs"]
mod setting;
