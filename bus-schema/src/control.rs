//! Commands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::{Kind, Message};
use crate::instrument::Venue;
use crate::time::Timestamp;

/// What a circuit breaker is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerMode {
    /// No calls until told otherwise.
    Open,
    /// Calls go through whatever happens.
    Closed,
    /// The breaker decides by itself.
    Auto,
}

/// Sets the circuit breaker of one exchange by hand. The latest command decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BreakerCommand {
    /// The exchange.
    pub exchange: Venue,
    /// What to do.
    pub mode: BreakerMode,
    /// Who asked.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Message for BreakerCommand {
    const KIND: Kind = Kind { name: "breaker_command", version: 1 };
}
