//! Limits, and what the guards said about an order.

use std::collections::BTreeMap;
use std::fmt;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::{Kind, Message};
use crate::instrument::Venue;
use crate::orders::{AMOUNT_MAX, OrderId, OrderIntent, strategy_name};
use crate::time::Timestamp;

/// The limits of one strategy on one symbol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSet {
    /// Price × quantity of one order, USD.
    #[schemars(with = "String")]
    pub notional_usd_max: Decimal,
    /// Worst case of position and open orders of one symbol, USD, either sign.
    #[schemars(with = "String")]
    pub exposure_usd_max: Decimal,
    /// Loss from the high-water mark of equity over 24 h, percent.
    #[schemars(with = "String")]
    pub drawdown_pct_max: Decimal,
    /// Distance of a limit price from the mark on the losing side (buying above, selling below), percent.
    #[schemars(with = "String")]
    pub collar_pct_max: Decimal,
    /// Orders of one strategy within 60 s.
    pub orders_per_minute_max: u32,
    /// Age of the mark when the order arrives, ms.
    pub mark_age_ms_max: u64,
    /// Equity that drawdown starts from, USD; without it the account's value.
    #[schemars(with = "Option<String>")]
    pub capital_usd: Option<Decimal>,
}

impl Default for LimitSet {
    fn default() -> Self {
        Self {
            notional_usd_max: Decimal::from(10_000),
            exposure_usd_max: Decimal::from(50_000),
            drawdown_pct_max: Decimal::from(15),
            collar_pct_max: Decimal::from(5),
            orders_per_minute_max: 120,
            mark_age_ms_max: 5_000,
            capital_usd: None,
        }
    }
}

/// Limits that differ for one strategy or symbol; what is not given is the default's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitOverride {
    /// See [`LimitSet`].
    #[schemars(with = "Option<String>")]
    pub notional_usd_max: Option<Decimal>,
    /// See [`LimitSet`].
    #[schemars(with = "Option<String>")]
    pub exposure_usd_max: Option<Decimal>,
    /// See [`LimitSet`].
    #[schemars(with = "Option<String>")]
    pub drawdown_pct_max: Option<Decimal>,
    /// See [`LimitSet`].
    #[schemars(with = "Option<String>")]
    pub collar_pct_max: Option<Decimal>,
    /// See [`LimitSet`].
    pub orders_per_minute_max: Option<u32>,
    /// See [`LimitSet`].
    pub mark_age_ms_max: Option<u64>,
    /// See [`LimitSet`].
    #[schemars(with = "Option<String>")]
    pub capital_usd: Option<Decimal>,
}

/// Every limit in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// For everything that is not named below.
    pub default: LimitSet,
    /// By strategy.
    pub strategy: BTreeMap<String, LimitOverride>,
    /// By `<venue>.<symbol>`, e.g. `binance.BTCUSDT`. Where both name a limit, the stricter one holds.
    pub symbol: BTreeMap<String, LimitOverride>,
}

impl Limits {
    /// Whether every number makes sense.
    ///
    /// # Errors
    /// The first one that does not: key, value and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let amount = |key: &str, name: &str, value: Option<Decimal>, max: Decimal| match value {
            Some(value) if value <= Decimal::ZERO || value > max => {
                Err(format!("{key}.{name} = \"{value}\": must be above 0 and at most {max}"))
            }
            _ => Ok(()),
        };
        let hundred = Decimal::ONE_HUNDRED;
        let check = |key: &str, set: &LimitOverride| {
            amount(key, "notional_usd_max", set.notional_usd_max, AMOUNT_MAX)?;
            amount(key, "exposure_usd_max", set.exposure_usd_max, AMOUNT_MAX)?;
            amount(key, "drawdown_pct_max", set.drawdown_pct_max, hundred)?;
            amount(key, "collar_pct_max", set.collar_pct_max, hundred)?;
            amount(key, "capital_usd", set.capital_usd, AMOUNT_MAX)?;
            if set.orders_per_minute_max == Some(0) || set.mark_age_ms_max == Some(0) {
                return Err(format!(
                    "{key}: orders_per_minute_max and mark_age_ms_max must be above 0; to stop everything use the kill switch"
                ));
            }
            Ok(())
        };
        check("default", &LimitOverride::from(&self.default))?;
        for (strategy, set) in &self.strategy {
            strategy_name(strategy)?;
            check(&format!("strategy.{strategy}"), set)?;
        }
        for (symbol, set) in &self.symbol {
            let known = symbol.split_once('.').is_some_and(|(venue, _)| venue.parse::<Venue>().is_ok());
            if !known {
                return Err(format!("symbol.\"{symbol}\": write it as <venue>.<symbol>, e.g. \"binance.BTCUSDT\""));
            }
            check(&format!("symbol.\"{symbol}\""), set)?;
        }
        Ok(())
    }

    /// The limits of one strategy on one symbol: the default, and where strategy or symbol name one, the stricter of them.
    #[must_use]
    pub fn of(&self, strategy: &str, venue: Venue, symbol: &str) -> LimitSet {
        fn strictest<T: Ord + Clone>(default: &T, named: [Option<&T>; 2]) -> T {
            named.into_iter().flatten().min().unwrap_or(default).clone()
        }
        let (default, none) = (&self.default, LimitOverride::default());
        let a = self.strategy.get(strategy).unwrap_or(&none);
        let b = self.symbol.get(&format!("{venue}.{symbol}")).unwrap_or(&none);
        LimitSet {
            notional_usd_max: strictest(&default.notional_usd_max, [a.notional_usd_max.as_ref(), b.notional_usd_max.as_ref()]),
            exposure_usd_max: strictest(&default.exposure_usd_max, [a.exposure_usd_max.as_ref(), b.exposure_usd_max.as_ref()]),
            drawdown_pct_max: strictest(&default.drawdown_pct_max, [a.drawdown_pct_max.as_ref(), b.drawdown_pct_max.as_ref()]),
            collar_pct_max: strictest(&default.collar_pct_max, [a.collar_pct_max.as_ref(), b.collar_pct_max.as_ref()]),
            orders_per_minute_max: strictest(
                &default.orders_per_minute_max,
                [a.orders_per_minute_max.as_ref(), b.orders_per_minute_max.as_ref()],
            ),
            mark_age_ms_max: strictest(&default.mark_age_ms_max, [a.mark_age_ms_max.as_ref(), b.mark_age_ms_max.as_ref()]),
            capital_usd: a.capital_usd.or(default.capital_usd),
        }
    }
}

impl From<&LimitSet> for LimitOverride {
    fn from(set: &LimitSet) -> Self {
        Self {
            notional_usd_max: Some(set.notional_usd_max),
            exposure_usd_max: Some(set.exposure_usd_max),
            drawdown_pct_max: Some(set.drawdown_pct_max),
            collar_pct_max: Some(set.collar_pct_max),
            orders_per_minute_max: Some(set.orders_per_minute_max),
            mark_age_ms_max: Some(set.mark_age_ms_max),
            capital_usd: set.capital_usd,
        }
    }
}

/// What can refuse an order, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    /// The ledger is damaged or trading on the exchange is halted until an operator resumes it.
    Halt,
    /// No usable mark: none, too old, or it did not come in time.
    StalePrice,
    /// Tick size, lot size, smallest and largest order, or the filters are not known.
    Filters,
    /// Price × quantity of this order.
    Notional,
    /// Position and everything approved and not final, of this symbol.
    Exposure,
    /// Loss from the high-water mark.
    Drawdown,
    /// Somebody stopped everything.
    KillSwitch,
    /// The limit price is too far from the mark.
    Collar,
    /// Too many orders of this strategy.
    Rate,
    /// The strategy was stopped.
    Strategy,
    /// Something in the calculation has no answer: an overflow, a missing balance. Refused.
    Arithmetic,
}

impl Guard {
    /// As on the wire; the label `reason` of `spark_risk_block_total`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Halt => "halt",
            Self::StalePrice => "stale_price",
            Self::Filters => "filters",
            Self::Notional => "notional",
            Self::Exposure => "exposure",
            Self::Drawdown => "drawdown",
            Self::KillSwitch => "kill_switch",
            Self::Collar => "collar",
            Self::Rate => "rate",
            Self::Strategy => "strategy",
            Self::Arithmetic => "arithmetic",
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one guard said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Which.
    pub guard: Guard,
    /// Whether it lets the order pass.
    pub passed: bool,
    /// What it measured; none where there is no number.
    #[schemars(with = "Option<String>")]
    pub value: Option<Decimal>,
    /// What it allows.
    #[schemars(with = "Option<String>")]
    pub limit: Option<Decimal>,
    /// `usd`, `pct`, `ms`, `orders`, `quote` or empty.
    pub unit: String,
    /// One sentence for people.
    pub detail: String,
}

/// The mark that a verdict used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MarkUsed {
    /// Ledger sequence of the mark.
    pub sequence: u64,
    /// Quote per base.
    #[schemars(with = "String")]
    pub bid: Decimal,
    /// Quote per base.
    #[schemars(with = "String")]
    pub ask: Decimal,
    /// Quote per base.
    #[schemars(with = "String")]
    pub price: Decimal,
    /// USD per quote.
    #[schemars(with = "String")]
    pub quote_usd: Decimal,
    /// How old it was, ms.
    pub age_ms: i64,
}

/// Yes or no, once and for ever. Subject `risk.verdict.<order>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// The order.
    pub order: OrderId,
    /// Yes or no.
    pub approved: bool,
    /// The guard that refused.
    pub guard: Option<Guard>,
    /// One sentence for people.
    pub reason: String,
    /// What was asked for: the executor acts on this alone.
    pub intent: OrderIntent,
    /// Ledger sequence of the intent.
    pub intent_sequence: u64,
    /// Ledger sequence of the message that made the decision possible: the intent itself, a mark, or a timeout.
    pub decided_on: u64,
    /// When that was stored.
    pub decided_at: Timestamp,
    /// Not to be sent after this.
    pub expires_at: Timestamp,
    /// Every guard asked, in order; the last one may be the one that refused.
    pub checks: Vec<Check>,
    /// The mark used.
    pub mark: Option<MarkUsed>,
    /// Ledger sequence of the limits in force; 0 for the built-in defaults.
    pub limits_sequence: u64,
    /// The symbol's position before this order, base currency, with sign.
    #[schemars(with = "String")]
    pub position: Decimal,
    /// Approved and not final before this order: buys, base currency.
    #[schemars(with = "String")]
    pub reserved_buy: Decimal,
    /// Approved and not final before this order: sells, base currency.
    #[schemars(with = "String")]
    pub reserved_sell: Decimal,
}

impl Message for Verdict {
    const KIND: Kind = Kind { name: "verdict", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        if self.order != self.intent.order {
            return Err(format!("order: {} is not the intent's {}", self.order, self.intent.order));
        }
        if self.approved == self.guard.is_some() {
            return Err("guard: an approval has none and a refusal has one".to_owned());
        }
        self.intent.validate().map_err(|what| format!("intent.{what}"))
    }
}

/// An intent has waited long enough for a mark. Subject `risk.timeout.<order>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Timeout {
    /// The order.
    pub order: OrderId,
    /// By risk's clock.
    pub at: Timestamp,
}

impl Message for Timeout {
    const KIND: Kind = Kind { name: "timeout", version: 1 };
    crate::codec::bytes_here!();
}
