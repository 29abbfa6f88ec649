//! Keeps the history of what the guardrail measured, and makes reports, evidence and tuned thresholds of it.

pub mod config;
pub mod evidence;
pub mod history;
pub mod record;
pub mod runbook;
pub mod smoke;
pub mod wiring;

pub use config::Config;
pub use history::{History, Window};
pub use wiring::{Error, run};
