//! What the processes that trade are told, as far as a backtest over what they recorded has to know it too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::orders::{Filters, InstrumentFilters};
use spark_bus_schema::session::Calendar;
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Decimal, Venue};
use spark_nats::Bus;
use spark_signal::model::Model;

use crate::data::feed::Recorded;
use crate::engine::Error;

/// Commission where nobody trades on paper, percent.
const COMMISSION_PCT: Decimal = Decimal::from_parts(1, 0, 0, false, 1);

/// `[executor]`, `[candles]` and `[signal]`, in part.
#[derive(Clone, Debug)]
pub struct Live {
    paper: BTreeMap<Venue, Paper>,
    /// Paper orders are not filled against an older quote.
    pub quote_age_max: Duration,
    /// How long a candle waits for late trades.
    pub grace: Duration,
    /// When Borsa Istanbul is open.
    pub calendar: Calendar,
    /// Of `ml_fusion`, whatever the data.
    pub model: Arc<Model>,
}

#[derive(Clone, Copy, Debug)]
struct Paper {
    latency: Duration,
    commission_pct: Decimal,
}

impl Live {
    /// Of the configuration that all processes share.
    ///
    /// # Errors
    /// The model's file cannot be used: every mistake.
    pub fn of(
        executor: &spark_executor::Config,
        candles: &spark_candles::Config,
        signal: &spark_signal::Config,
    ) -> Result<Self, Vec<String>> {
        let paper = |venue: Venue| {
            let exchange = executor.exchange(venue);
            (venue, Paper { latency: Duration::from_millis(exchange.latency_ms), commission_pct: exchange.taker_fee_pct })
        };
        Ok(Self {
            paper: spark_executor::EXCHANGES.into_iter().map(paper).collect(),
            quote_age_max: Duration::from_millis(executor.quote_age_ms_max),
            grace: Duration::from_millis(candles.grace_ms),
            calendar: candles.calendar(),
            model: Arc::new(signal.load_model()?),
        })
    }

    /// What a paper order that takes costs, percent: the commission where a job's author names none.
    #[must_use]
    pub fn commission_pct(&self, venue: Venue) -> Decimal {
        self.paper.get(&venue).map_or(COMMISSION_PCT, |paper| paper.commission_pct)
    }

    /// Everything that is recorded of a symbol, read as the processes read it.
    #[must_use]
    pub fn recorded(&self, venue: Venue, symbol: &str, timeframe: TimeFrame) -> Recorded {
        let latency = self.paper.get(&venue).map_or(Duration::ZERO, |paper| paper.latency);
        Recorded { latency, grace: self.grace, calendar: self.calendar.clone(), ..Recorded::new(venue, symbol, timeframe) }
    }
}

impl Default for Live {
    fn default() -> Self {
        let (executor, candles) = (spark_executor::Config::default(), spark_candles::Config::default());
        Self::of(&executor, &candles, &spark_signal::Config::default()).expect("the built-in model needs no file")
    }
}

/// What a venue allows for a symbol, as the executor read it last; none when it has not.
///
/// # Errors
/// [`Error::Bus`], [`Error::Data`] for a message that cannot be read.
pub async fn filters(bus: &Bus, venue: Venue, symbol: &str) -> Result<Option<Filters>, Error> {
    let target = subject::instruments(venue);
    let Some(found) = bus.last(LEDGER, &target).await.map_err(Error::Bus)? else { return Ok(None) };
    let mut known: InstrumentFilters =
        found.decode().map_err(|error| Error::Data(format!("LEDGER, {target}: {}", spark_nats::text(&error))))?;
    Ok(known.symbols.remove(symbol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtest_waits_and_pays_as_the_configured_processes_do() {
        let mut executor = spark_executor::Config { quote_age_ms_max: 7_000, ..Default::default() };
        executor.btcturk.latency_ms = 40;
        executor.btcturk.taker_fee_pct = Decimal::new(2, 1);
        let candles = spark_candles::Config { grace_ms: 300, bist_always_open: true, ..Default::default() };
        let live = Live::of(&executor, &candles, &spark_signal::Config::default()).unwrap();
        let ms = Duration::from_millis;
        for (venue, latency, commission) in [(Venue::Binance, 0, "0.1"), (Venue::Btcturk, 40, "0.2"), (Venue::Bist, 0, "0.1")] {
            let recorded = live.recorded(venue, "X", TimeFrame::M1);
            assert_eq!((recorded.latency, recorded.grace), (ms(latency), ms(300)), "{venue}");
            assert_eq!(recorded.calendar, Calendar::always_open());
            assert_eq!(live.commission_pct(venue).to_string(), commission, "{venue}");
        }
        assert_eq!((live.quote_age_max, Live::default().grace), (ms(7_000), ms(1_000)));
    }
}
