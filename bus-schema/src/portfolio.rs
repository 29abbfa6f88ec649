//! Balances and their value, and prices that were held back.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::{Kind, Message};
use crate::instrument::Venue;
use crate::time::Timestamp;

/// One asset of one account. Amounts are exact and travel as decimal strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssetBalance {
    /// `BTC`, `USDT`, `TRY` …
    pub asset: String,
    /// Free to use.
    #[schemars(with = "String")]
    pub free: Decimal,
    /// In open orders and pending withdrawals.
    #[schemars(with = "String")]
    pub locked: Decimal,
    /// `free + locked`.
    #[schemars(with = "String")]
    pub total: Decimal,
    /// USD per unit; none when no price is known.
    #[schemars(with = "Option<String>")]
    pub usd_price: Option<Decimal>,
    /// `total × usd_price`.
    #[schemars(with = "Option<String>")]
    pub usd_value: Option<Decimal>,
    /// Whether `usd_price` is the last good one because the newest reading was held back.
    pub price_held: bool,
}

/// Why a poll failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PollError {
    /// `auth ratelimit timeout network server parse clock`.
    pub error_type: String,
    /// What happened, without secrets.
    pub message: String,
}

/// The result of one poll of one exchange. A failed poll carries the last good balances, marked stale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Balances {
    /// The exchange.
    pub exchange: Venue,
    /// What totals are in: `USD`.
    pub currency: String,
    /// When this poll ended.
    pub polled_at: Timestamp,
    /// When the balances shown were read; none when there never was a good poll.
    pub updated_at: Option<Timestamp>,
    /// Whether the balances are older than this poll.
    pub stale: bool,
    /// Why the poll failed, if it did.
    pub error: Option<PollError>,
    /// Non-zero balances, largest value first, then by name.
    pub balances: Vec<AssetBalance>,
    /// Sum of the known values.
    #[schemars(with = "String")]
    pub total_usd: Decimal,
    /// Assets without a price: they are not in `total_usd`.
    pub unpriced: Vec<String>,
    /// How long the poll took, µs.
    pub refresh_us: u64,
}

impl Message for Balances {
    const KIND: Kind = Kind { name: "balances", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        let mut known = Some(Decimal::ZERO);
        for row in &self.balances {
            if row.free < Decimal::ZERO || row.locked < Decimal::ZERO {
                return Err(format!("balances.{:.64}: free {} or locked {} is negative", row.asset, row.free, row.locked));
            }
            if row.free.checked_add(row.locked) != Some(row.total) {
                return Err(format!(
                    "balances.{:.64}: free {} + locked {} is not total {}",
                    row.asset, row.free, row.locked, row.total
                ));
            }
            if row.usd_price.is_some_and(|price| price.is_sign_negative()) {
                return Err(format!("balances.{:.64}: usd_price is negative", row.asset));
            }
            let value = row.usd_value.unwrap_or_default();
            known = known.and_then(|known| known.checked_add(value)).filter(|_| value >= Decimal::ZERO);
            if known.is_none() {
                return Err(format!("balances.{:.64}: usd_value {value} is negative, or the sum is too large", row.asset));
            }
        }
        Ok(())
    }
}

/// What became of a price that moved too far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyState {
    /// Held back; the last good price stays in use.
    Held,
    /// A second source or reading agreed; the new price is in use.
    Confirmed,
    /// The next reading was back near the last good price.
    Dismissed,
}

/// A price that moved more than the allowed step against the last good one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PriceAnomaly {
    /// Where the price came from.
    pub exchange: Venue,
    /// The asset.
    pub asset: String,
    /// Last good USD price.
    #[schemars(with = "String")]
    pub last_good: Decimal,
    /// The reading that was too far away.
    #[schemars(with = "String")]
    pub seen: Decimal,
    /// Signed change, percent, rounded to two digits.
    #[schemars(with = "String")]
    pub change_pct: Decimal,
    /// What became of it.
    pub state: AnomalyState,
    /// When.
    pub at: Timestamp,
}

impl Message for PriceAnomaly {
    const KIND: Kind = Kind { name: "price_anomaly", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        if self.asset.is_empty() {
            return Err("asset: empty".to_owned());
        }
        for (field, price) in [("last_good", self.last_good), ("seen", self.seen)] {
            if price < Decimal::ZERO {
                return Err(format!("{field}: {price} is negative"));
            }
        }
        Ok(())
    }
}
