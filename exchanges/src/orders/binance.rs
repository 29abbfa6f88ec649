//! Orders over Binance's REST interface.

use std::time::Duration;

use super::{
    AccountFill, AssetBalance, CancelOutcome, FillsOf, Filters, Lookup, Moment, NewOrder, OrderRef, OrderReport, SubmitOutcome,
    TradingKey,
};
use crate::Binance;
use crate::error::{Error, ErrorType};

fn pending() -> Error {
    Error::new(spark_bus_schema::Venue::Binance, "orders", ErrorType::Server, "this build cannot send orders yet")
}

impl Binance {
    pub(super) async fn submit(&self, _order: &NewOrder, _at: Moment, _lasts: Duration) -> SubmitOutcome {
        SubmitOutcome::NotSent { error: pending(), retry_after: None }
    }
    pub(super) fn conclusive_after(&self, lasts: Option<Duration>) -> Duration {
        lasts.unwrap_or(Duration::from_secs(5))
    }
    pub(super) async fn cancel(&self, _order: &OrderRef) -> CancelOutcome {
        CancelOutcome::NotSent { error: pending(), retry_after: None }
    }
    pub(super) async fn lookup(&self, _order: &OrderRef) -> Lookup {
        Lookup::Unknown(pending())
    }
    pub(super) async fn open_orders(&self, _symbol: Option<&str>) -> Result<Vec<OrderReport>, Error> {
        Err(pending())
    }
    pub(super) async fn fills(&self, _symbol: &str, _of: FillsOf<'_>) -> Result<Vec<AccountFill>, Error> {
        Err(pending())
    }
    pub(super) async fn trading_balances(&self) -> Result<Vec<AssetBalance>, Error> {
        Err(pending())
    }
    pub(super) async fn filters(&self, _symbol: &str) -> Result<Filters, Error> {
        Err(pending())
    }
    pub(super) async fn check_key(&self) -> Result<TradingKey, Error> {
        Err(pending())
    }
    pub(super) async fn keep_clock(&self) -> Result<(), Error> {
        Err(pending())
    }
}
