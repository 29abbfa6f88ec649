//! The ways in which trading programs lose or double orders, each played on real processes, a real broker and simulated
//! exchanges, and judged from two records: the LEDGER and the exchange's own log.

#[path = "scenarios/account.rs"]
mod account;
#[path = "scenarios/holders.rs"]
mod holders;
#[path = "scenarios/identity.rs"]
mod identity;
#[path = "scenarios/restart.rs"]
mod restart;
#[path = "orders/setting.rs"]
mod setting;
#[path = "scenarios/stage.rs"]
mod stage;
#[path = "scenarios/stream.rs"]
mod stream;
#[path = "scenarios/unknown.rs"]
mod unknown;
