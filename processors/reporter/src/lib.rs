//! Keeps the history of what the guardrail measured, and makes reports, evidence and tuned thresholds of it.

pub mod background;
pub mod chart;
pub mod config;
pub mod evidence;
pub mod history;
pub mod record;
pub mod report;
pub mod runbook;
pub mod smoke;
pub mod tune;
pub mod weekly;
pub mod wiring;

pub use config::Config;
pub use history::{History, Window};
pub use wiring::{Error, run};
