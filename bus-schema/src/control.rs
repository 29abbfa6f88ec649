//! Commands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::{Kind, Message};
use crate::instrument::Venue;
use crate::orders::{OrderId, name, strategy_name};
use crate::risk::Limits;
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
    crate::codec::bytes_here!();
}

/// Everything new stops, or may go on. The latest one decides. Subject `control.kill_switch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KillSwitch {
    /// On: no new order anywhere.
    pub on: bool,
    /// Switching on: also cancel every open order.
    pub cancel_open: bool,
    /// Who.
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// When, by the sender's clock.
    pub at: Timestamp,
}

impl Message for KillSwitch {
    const KIND: Kind = Kind { name: "kill_switch", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        reasoned(&self.actor, &self.reason)
    }
}

/// Where limits come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitsSource {
    /// The configuration file, told by `risk` at its start when it differs from the last one told.
    Config,
    /// Somebody, at run time.
    Command,
}

/// Replaces every limit. The latest one decides. Subject `control.limits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitsCommand {
    /// All of them.
    pub limits: Limits,
    /// From where.
    pub source: LimitsSource,
    /// Who.
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// When, by the sender's clock.
    pub at: Timestamp,
}

impl Message for LimitsCommand {
    const KIND: Kind = Kind { name: "limits_command", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        reasoned(&self.actor, &self.reason)?;
        self.limits.check()
    }
}

/// Takes one order back. Subject `control.cancel.<order>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelCommand {
    /// The order.
    pub order: OrderId,
    /// Who.
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// When, by the sender's clock.
    pub at: Timestamp,
}

impl Message for CancelCommand {
    const KIND: Kind = Kind { name: "cancel_command", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        reasoned(&self.actor, &self.reason)
    }
}

/// Starts or stops a strategy; one that nobody stopped may trade. Subject `control.strategy.<strategy>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StrategyCommand {
    /// Its name.
    pub strategy: String,
    /// Start or stop.
    pub run: bool,
    /// What it trades, `<venue>.<symbol>`: marks of these are kept fresh while it runs.
    pub symbols: Vec<String>,
    /// Who.
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// When, by the sender's clock.
    pub at: Timestamp,
}

impl Message for StrategyCommand {
    const KIND: Kind = Kind { name: "strategy_command", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        strategy_name(&self.strategy)?;
        reasoned(&self.actor, &self.reason)
    }
}

/// What a halt stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HaltScope {
    /// Everything: the ledger is damaged.
    Ledger,
    /// One exchange: it and the ledger disagree.
    Exchange(Venue),
}

/// Lifts a halt. Only a person does that. For an exchange its present balances become the new baseline.
/// Subject `control.resume`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResumeCommand {
    /// Which halt.
    pub scope: HaltScope,
    /// Who.
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// When, by the sender's clock.
    pub at: Timestamp,
}

impl Message for ResumeCommand {
    const KIND: Kind = Kind { name: "resume_command", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        reasoned(&self.actor, &self.reason)
    }
}

pub(crate) fn reasoned(actor: &str, reason: &str) -> Result<(), String> {
    name("actor", actor)?;
    if reason.trim().is_empty() {
        return Err("reason: empty; say why".to_owned());
    }
    Ok(())
}
