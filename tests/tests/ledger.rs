//! The LEDGER of a running system: damage is found, every decision can be explained from it, and no secret is in it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "ledger/damage.rs"]
mod damage;
#[path = "ledger/decisions.rs"]
mod decisions;
#[path = "ledger/secrets.rs"]
mod secrets;
#[path = "orders/setting.rs"]
mod setting;
