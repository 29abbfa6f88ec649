//! A job with its gaps filled.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::backtests::{BacktestJob, FillAt};
use spark_bus_schema::orders::Filters;
use spark_bus_schema::risk::LimitSet;
use spark_bus_schema::strategies::{Params, StrategyKind};
use spark_bus_schema::{Instrument, InstrumentTable, Message, Venue};
use spark_ledger::position::quote_of;
use spark_signal::model::Model;

use super::Error;

/// Currencies that are worth a dollar here, as in the portfolio.
const DOLLARS: &[&str] = &["USD", "USDT", "USDC", "FDUSD", "TUSD"];
/// Parameter of every kind that goes in and out: base currency of each order; without it all of the cash.
const QUANTITY: &str = "quantity";
/// Orders are not filled against recorded quotes that are older; the default of the executor.
const QUOTE_AGE_MAX: Duration = Duration::from_secs(60);

/// What one run needs to know beside the bars. Fields may be changed between [`Settings::of`] and the run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name that orders carry: the registered strategy, or the kind.
    pub strategy: String,
    /// How it decides.
    pub kind: StrategyKind,
    /// With which parameters.
    pub params: Params,
    /// What is traded.
    pub instrument: Instrument,
    /// What the venue allows; by default steps of 10⁻⁸ (shares: whole ones), any tick and size.
    pub filters: Filters,
    /// Cash to begin with, quote currency.
    pub cash: Decimal,
    /// Of what is traded, a fraction.
    pub commission: Decimal,
    /// When orders are filled, of bars alone.
    pub fill_at: FillAt,
    /// What risk holds orders to.
    pub limits: LimitSet,
    /// USD per unit of the quote currency.
    pub quote_usd: Decimal,
    /// The model of `ml_fusion`; the built-in one where nothing else is said.
    pub model: Arc<Model>,
    /// Recorded quotes older than this are not traded against.
    pub quote_age_max: Duration,
}

impl Settings {
    /// # Errors
    /// [`Error::Job`]: what in the job is wrong, and what would be right. Parameters are checked with the rule they are of.
    pub fn of(job: &BacktestJob) -> Result<Self, Error> {
        job.validate().map_err(Error::Job)?;
        let instrument = instrument(job.venue, &job.symbol);
        let is_dollar = DOLLARS.contains(&instrument.quote.as_str());
        let strategy = job.strategy.clone().unwrap_or_else(|| job.kind.as_str().to_owned());
        let limits = match &job.limits {
            None => unbounded(),
            Some(_) if !is_dollar => {
                return Err(Error::Job(format!(
                    "limits: they are in USD, and the past of {} does not say what {} was worth; leave them out",
                    job.symbol, instrument.quote
                )));
            }
            Some(limits) => limits.of(&strategy, job.venue, &job.symbol),
        };
        let commission = job.commission_pct.checked_div(Decimal::ONE_HUNDRED).unwrap_or_default();
        Ok(Self {
            strategy,
            kind: job.kind,
            params: job.params.clone(),
            filters: any(job.venue),
            instrument,
            cash: job.cash,
            commission,
            fill_at: job.fill_at,
            limits,
            quote_usd: Decimal::ONE,
            model: Arc::new(Model::built_in()),
            quote_age_max: QUOTE_AGE_MAX,
        })
    }

    /// The parameters of the rule, and the quantity of each order where it is given.
    pub(super) fn rule_params(&self) -> Result<(Params, Option<Decimal>), Error> {
        let mut params = self.params.clone();
        let Some(text) = params.remove(QUANTITY) else { return Ok((params, None)) };
        let quantity = text.parse::<Decimal>().ok().filter(|quantity| *quantity > Decimal::ZERO);
        let wrong =
            || Error::Job(format!("quantity = {text:.64}: not an amount above 0, e.g. 0.01; without it all cash is used"));
        quantity.ok_or_else(wrong).map(|quantity| (params, Some(quantity)))
    }
}

/// The table's row, or what the spelling says: bars of any symbol can be tested.
fn instrument(venue: Venue, symbol: &str) -> Instrument {
    if let Ok(known) = InstrumentTable::builtin().resolve(venue, symbol) {
        return known.clone();
    }
    let quote = if venue == Venue::Bist { "TRY" } else { quote_of(symbol) };
    let base = symbol.strip_suffix(quote).filter(|base| !base.is_empty()).unwrap_or(symbol);
    Instrument { venue, symbol: symbol.to_owned(), base: base.to_owned(), quote: quote.to_owned() }
}

fn any(venue: Venue) -> Filters {
    Filters {
        tick_size: Decimal::ZERO,
        step_size: if venue == Venue::Bist { Decimal::ONE } else { Decimal::new(1, 8) },
        quantity_min: Decimal::ZERO,
        quantity_max: Decimal::ZERO,
        notional_min: Decimal::ZERO,
        market_orders: true,
    }
}

/// Limits that nothing reaches: the guards are asked all the same.
#[must_use]
pub fn unbounded() -> LimitSet {
    let most = Decimal::from(1_000_000_000_000_000_000_i64);
    LimitSet {
        notional_usd_max: most,
        exposure_usd_max: most,
        drawdown_pct_max: Decimal::from(1_000_000),
        collar_pct_max: Decimal::from(1_000_000),
        orders_per_minute_max: u32::MAX,
        mark_age_ms_max: u64::MAX,
        capital_usd: None,
    }
}
