//! Tells people and tools about alerts: who, grouped how, how often, and until it has arrived. It refuses to know why an
//! alert fires.
//!
//! Two halves on the bus. [`machine`] decides: alerts in, `alerts.notification.<receiver>.<group id>` out, each revision
//! once for ever. [`delivery`] follows those, speaks to the receivers, tries again, and says what became of each. A
//! receiver that is slow or away holds up nobody but itself, and never the decision.

pub mod config;
pub mod delivery;
pub mod duration;
pub mod machine;
pub mod payload;
pub mod plan;
pub mod wiring;

pub use config::Config;
pub use wiring::{Error, run};
