//! Balances per exchange and the answer of `GET /api/portfolio`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::portfolio::{AssetBalance, Balances, PollError};
use spark_bus_schema::{Decimal, Timestamp, Venue};

use super::status::Word;
use crate::number::Number;

/// The newest poll of each exchange.
#[derive(Default)]
pub struct Portfolio {
    accounts: BTreeMap<Venue, Balances>,
}

impl Portfolio {
    /// Takes in a poll.
    pub fn apply(&mut self, balances: Balances) {
        self.accounts.insert(balances.exchange, balances);
    }

    /// Whether a poll says anything else than the last one of its exchange.
    #[must_use]
    pub fn is_news(&self, told: &Balances) -> bool {
        self.accounts.get(&told.exchange).is_none_or(|held| {
            held.balances != told.balances
                || (held.updated_at, held.stale, held.total_usd) != (told.updated_at, told.stale, told.total_usd)
                || (&held.currency, &held.error) != (&told.currency, &told.error)
        })
    }

    /// The newest poll of each exchange.
    pub fn accounts(&self) -> impl Iterator<Item = &Balances> {
        self.accounts.values()
    }

    /// Sum over all exchanges; none when no exchange was ever read, or the sum leaves the range of a decimal.
    #[must_use]
    pub fn total_usd(&self) -> Option<Decimal> {
        let mut known = self.accounts.values().filter(|account| account.updated_at.is_some()).map(|account| account.total_usd);
        let first = known.next()?;
        known.try_fold(first, Decimal::checked_add)
    }

    /// When the oldest of the balances shown were read: the whole is as old as its oldest part.
    #[must_use]
    pub fn updated_at(&self) -> Option<Timestamp> {
        self.accounts.values().filter_map(|account| account.updated_at).min()
    }

    /// The answer.
    #[must_use]
    pub fn answer(&self, now: Timestamp, status: Word) -> Answer<'_> {
        let updated_at = self.updated_at();
        Answer {
            accounts: self.accounts.values().map(Account::from).collect(),
            totals: Totals { total_usd: self.total_usd().map(Number) },
            updated_at: updated_at.map(|at| at.to_string()),
            status,
            age_ms: updated_at.map(|at| now.since_ms(at).max(0)),
        }
    }
}

/// `GET /api/portfolio`.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Portfolio")]
pub struct Answer<'a> {
    accounts: Vec<Account<'a>>,
    totals: Totals,
    #[serde(rename = "updatedAt")]
    updated_at: Option<String>,
    status: Word,
    age_ms: Option<i64>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Account<'a> {
    exchange: Venue,
    currency: &'a str,
    balances: Vec<Row<'a>>,
    totals: Totals,
    updated_at: Option<String>,
    stale: bool,
    error: Option<&'a PollError>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Totals {
    total_usd: Option<Number>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Balance")]
struct Row<'a> {
    asset: &'a str,
    free: Number,
    locked: Number,
    total: Number,
    usd_price: Option<Number>,
    usd_value: Option<Number>,
}

impl<'a> From<&'a Balances> for Account<'a> {
    fn from(account: &'a Balances) -> Self {
        Self {
            exchange: account.exchange,
            currency: &account.currency,
            balances: account.balances.iter().map(Row::from).collect(),
            // A total of an account that was never read would look like an empty one.
            totals: Totals { total_usd: account.updated_at.map(|_| Number(account.total_usd)) },
            updated_at: account.updated_at.map(|at| at.to_string()),
            stale: account.stale,
            error: account.error.as_ref(),
        }
    }
}

impl<'a> From<&'a AssetBalance> for Row<'a> {
    fn from(row: &'a AssetBalance) -> Self {
        Self {
            asset: &row.asset,
            free: Number(row.free),
            locked: Number(row.locked),
            total: Number(row.total),
            usd_price: row.usd_price.map(Number),
            usd_value: row.usd_value.map(Number),
        }
    }
}
