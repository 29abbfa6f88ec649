//! The registry of strategies: what they are called, how they decide, how far they have come.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::candles::TimeFrame;
use crate::codec::{Kind, Message};
use crate::control::reasoned;
use crate::instrument::Venue;
use crate::orders::{amount, name, strategy_name, symbol};
use crate::time::Timestamp;

/// Parameters of a strategy by name, as text: `fast = "10"`.
pub type Params = BTreeMap<String, String>;

/// Parameters of one strategy.
const PARAMS_MAX: usize = 32;

/// How a strategy decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyKind {
    /// Sells above the mean of the last prices, buys below it.
    #[default]
    MeanReversion,
    /// Holds while the mean of the last `fast` closes is above that of the last `slow`.
    SmaCross,
    /// Holds while the model's score says so (`spark rollout`).
    MlFusion,
    /// A process of one's own on the bus.
    External,
}

impl StrategyKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::MeanReversion, Self::SmaCross, Self::MlFusion, Self::External];

    /// The spelling everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MeanReversion => "mean_reversion",
            Self::SmaCross => "sma_cross",
            Self::MlFusion => "ml_fusion",
            Self::External => "external",
        }
    }
}

impl fmt::Display for StrategyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StrategyKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("unknown kind of strategy `{text:.64}`; known are {}", known()))
    }
}

/// How far a strategy has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyStatus {
    /// Registered.
    #[default]
    Draft,
    /// A backtest with these parameters is done.
    Backtested,
    /// It trades on paper.
    Paper,
    /// It trades.
    Live,
    /// Somebody stopped it.
    Stopped,
}

impl StrategyStatus {
    /// The spelling everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Backtested => "backtested",
            Self::Paper => "paper",
            Self::Live => "live",
            Self::Stopped => "stopped",
        }
    }

    /// Whether a strategy may go from here to there.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Draft, Self::Backtested)
                | (Self::Backtested | Self::Stopped, Self::Paper)
                | (Self::Paper, Self::Live)
                | (Self::Paper | Self::Live, Self::Stopped)
                // Other parameters are another strategy: it begins again.
                | (_, Self::Draft)
        )
    }
}

impl fmt::Display for StrategyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One strategy as it is now. Subject `control.registry.<strategy>`; each revision once, the newest decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StrategyRegistered {
    /// Its name: letters, digits, `-`, `_`.
    pub name: String,
    /// Rises by one with each change; starts at 1.
    pub revision: u64,
    /// How it decides.
    pub kind: StrategyKind,
    /// With which parameters.
    pub params: Params,
    /// Where it trades.
    pub exchange: Venue,
    /// What it trades.
    pub symbol: String,
    /// Of the candles; none for kinds that look at quotes.
    pub timeframe: Option<TimeFrame>,
    /// Of each order, base currency; none: all of `cash`.
    #[schemars(with = "Option<String>")]
    pub quantity: Option<Decimal>,
    /// What it trades with, quote currency, where `quantity` is none.
    #[schemars(with = "Option<String>")]
    pub cash: Option<Decimal>,
    /// How far it has come.
    pub status: StrategyStatus,
    /// The backtest that it was last promoted on.
    pub backtest: Option<String>,
    /// Who.
    pub actor: String,
    /// Why; not empty.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

impl Message for StrategyRegistered {
    const KIND: Kind = Kind { name: "strategy_registered", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        strategy_name(&self.name)?;
        symbol(&self.symbol)?;
        check_params(&self.params)?;
        if self.revision == 0 {
            return Err("revision: starts at 1".to_owned());
        }
        for (field, value) in [("quantity", self.quantity), ("cash", self.cash)] {
            value.map_or(Ok(()), |value| amount(field, value))?;
        }
        reasoned(&self.actor, &self.reason)
    }
}

pub(crate) fn check_params(params: &Params) -> Result<(), String> {
    if params.len() > PARAMS_MAX {
        return Err(format!("params: {} of them, {PARAMS_MAX} are allowed", params.len()));
    }
    params.iter().try_for_each(|(key, value)| name(&format!("params.{key:.64}"), value).and_then(|()| name("params", key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_goes_through_its_life_in_order_and_begins_again_with_other_parameters() {
        use StrategyStatus::{Backtested, Draft, Live, Paper, Stopped};
        let check = |from: StrategyStatus, to: &[StrategyStatus]| {
            for next in [Draft, Backtested, Paper, Live, Stopped] {
                assert_eq!(from.may_become(next), to.contains(&next), "{from} → {next}");
            }
        };
        check(Draft, &[Draft, Backtested]);
        check(Backtested, &[Draft, Paper]);
        check(Paper, &[Draft, Live, Stopped]);
        check(Live, &[Draft, Stopped]);
        check(Stopped, &[Draft, Paper]);
    }
}
