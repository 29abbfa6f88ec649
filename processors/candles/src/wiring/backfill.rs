//! The exchanges' own candles: what was before Spark listened, and in place of those of which trades are missing.
//!
//! Asked for when a symbol is first seen after a start, and when an incomplete candle was told. Each answer is one
//! `market.history.…` message on FEED; what follows from it is decided there, in [`crate::bars`]. One task for each venue:
//! one that fails holds nobody up. Borsa Istanbul has no history provider.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use spark_bus_schema::candles::{Candle, CandleHistory, CandleSource, TimeFrame};
use spark_bus_schema::decimal::DecimalColumn;
use spark_bus_schema::telemetry::Call;
use spark_bus_schema::{Decimal, Fixed, Message, Timestamp, Venue, subject};
use spark_exchanges::{Binance, BtcTurk, ErrorType, Observer};
use spark_nats::{Bus, Meta, Service, now};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// Wishes that wait for a venue's task; beyond it they are dropped: the next incomplete candle wishes again.
const WISHES_MAX: usize = 4_096;
/// After a candle's end the exchange needs a moment, and several wishes of one kind become one call.
const SETTLE: Duration = Duration::from_millis(1_500);
/// Before the next try after a failure, or after an answer that does not hold the candle yet.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Tries for one wish. Each is retried by the client as well.
const TRIES_MAX: u32 = 5;
/// What Binance gives in one answer, the unfinished one included.
const ROWS_MAX: u16 = 1_000;
/// Reports of calls that wait for the broker; beyond it they are dropped and counted.
const REPORTS_MAX: usize = 1_024;

/// Candles of one symbol and length that somebody needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    symbol: String,
    timeframe: TimeFrame,
}

/// Until which candle, at least; none when any will do.
type Wish = (Series, Option<Timestamp>);

/// Says what is needed; the tasks end with the service.
pub(crate) struct Backfill {
    timeframes: Vec<TimeFrame>,
    venues: BTreeMap<Venue, mpsc::Sender<Wish>>,
    /// Symbols whose past was asked for.
    seen: BTreeMap<Venue, std::collections::BTreeSet<String>>,
}

impl Backfill {
    /// Starts a task for each exchange that has a history; none when it is switched off.
    ///
    /// # Errors
    /// TLS or the HTTP client cannot be set up.
    pub fn start(service: &Service, config: &Config) -> Result<Self, spark_exchanges::Error> {
        let mut venues = BTreeMap::new();
        if config.backfill {
            // Another part of the process may have chosen it already; it is the same one.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let observer = call_reports(service.bus.clone(), service.name, service.shutdown.clone());
            for venue in [Venue::Binance, Venue::Btcturk] {
                let rest = config.rest(venue);
                let exchange = match venue {
                    Venue::Btcturk => Exchange::Btcturk(Box::new(BtcTurk::new(&rest, None, Arc::clone(&observer))?)),
                    Venue::Binance | Venue::Bist => {
                        Exchange::Binance(Box::new(Binance::new(&rest, None, Arc::clone(&observer))?))
                    }
                };
                let (sender, wishes) = mpsc::channel(WISHES_MAX);
                venues.insert(venue, sender);
                let task = Task { exchange, bus: service.bus.clone(), rows: config.backfill_candles, open: BTreeMap::new() };
                let shutdown = service.shutdown.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = task.run(wishes) => {}
                    }
                });
            }
        }
        Ok(Self { timeframes: config.timeframes.clone(), venues, seen: BTreeMap::new() })
    }

    /// A symbol is traded: its past is fetched once a start.
    pub fn symbol(&mut self, venue: Venue, symbol: &str) {
        let seen = self.seen.entry(venue).or_default();
        if seen.contains(symbol) {
            return;
        }
        seen.insert(symbol.to_owned());
        if venue == Venue::Bist && seen.len() == 1 {
            tracing::info!("Borsa Istanbul has no history provider: indicators of its shares warm up by what is traded");
        }
        for timeframe in self.timeframes.clone() {
            self.wish(venue, symbol, timeframe, None);
        }
    }

    /// A candle was told.
    pub fn candle(&mut self, candle: &Candle) {
        self.symbol(candle.venue, &candle.symbol);
        if !candle.complete && candle.source == CandleSource::Ticks {
            self.wish(candle.venue, &candle.symbol, candle.timeframe, Some(candle.open_time));
        }
    }

    fn wish(&self, venue: Venue, symbol: &str, timeframe: TimeFrame, until: Option<Timestamp>) {
        let Some(wishes) = self.venues.get(&venue) else { return };
        if venue == Venue::Btcturk && resolution(timeframe).is_none() {
            return;
        }
        if wishes.try_send((Series { symbol: symbol.to_owned(), timeframe }, until)).is_err() {
            metrics::counter!("spark_candles_backfill_total", "exchange" => venue.as_str(), "outcome" => "dropped").increment(1);
        }
    }
}

/// One venue's wishes.
struct Task {
    exchange: Exchange,
    bus: Bus,
    rows: u16,
    open: BTreeMap<Series, Open>,
}

/// A wish that is not fulfilled.
struct Open {
    until: Option<Timestamp>,
    due: Instant,
    tries: u32,
}

impl Task {
    async fn run(mut self, mut wishes: mpsc::Receiver<Wish>) {
        loop {
            let next = self.open.iter().min_by_key(|(_, open)| open.due).map(|(series, open)| (series.clone(), open.due));
            let wish = tokio::select! {
                biased;
                wish = wishes.recv() => Some(wish),
                () = until(next.as_ref().map(|(_, due)| *due)) => None,
            };
            match wish {
                Some(Some((series, until))) => self.take(series, until),
                Some(None) => return,
                None => {
                    if let Some((series, _)) = next {
                        self.fulfil(series).await;
                    }
                }
            }
        }
    }

    fn take(&mut self, series: Series, until: Option<Timestamp>) {
        let due = if until.is_some() { Instant::now() + SETTLE } else { Instant::now() };
        let open = self.open.entry(series).or_insert(Open { until, due, tries: 0 });
        open.until = open.until.max(until);
    }

    async fn fulfil(&mut self, series: Series) {
        let Some(open) = self.open.get(&series).map(|open| (open.until, open.tries + 1)) else { return };
        let (wanted, tries) = open;
        let venue = self.exchange.venue();
        let outcome = self.exchange.fetch(&series, self.rows).await;
        let is_there = match outcome {
            Ok(history) => {
                let is_there = wanted.is_none_or(|wanted| history.open_time.last().is_some_and(|last| *last >= wanted));
                self.publish(&history).await;
                is_there
            }
            Err(error) => {
                tracing::warn!(%error, symbol = series.symbol, timeframe = %series.timeframe, tries, "fetch candles");
                false
            }
        };
        let outcome = match (is_there, tries >= TRIES_MAX) {
            (true, _) => "fetched",
            (false, false) => "again",
            (false, true) => "given_up",
        };
        metrics::counter!("spark_candles_backfill_total", "exchange" => venue.as_str(), "outcome" => outcome).increment(1);
        if outcome == "again" {
            if let Some(open) = self.open.get_mut(&series) {
                (open.due, open.tries) = (Instant::now() + RETRY_PAUSE, tries);
            }
        } else {
            self.open.remove(&series);
        }
    }

    async fn publish(&self, history: &CandleHistory) {
        if history.open_time.is_empty() {
            return;
        }
        let subject = subject::history(history.venue, &history.symbol, history.timeframe);
        if let Err(error) = self.bus.publish(&subject, history, Meta::default()).await {
            tracing::error!(%error, subject, "publish candles of the past");
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// An exchange that tells its candles.
enum Exchange {
    Binance(Box<Binance>),
    Btcturk(Box<BtcTurk>),
}

/// Open time, then open, high, low, close, volume.
type Row = (Timestamp, [Decimal; 5]);

impl Exchange {
    fn venue(&self) -> Venue {
        match self {
            Self::Binance(_) => Venue::Binance,
            Self::Btcturk(_) => Venue::Btcturk,
        }
    }

    /// The newest candles that are over. The newest one that an exchange tells is taken as unfinished: whether it is over is
    /// the exchange's clock's to say, and the next answer shows it.
    async fn fetch(&self, series: &Series, rows: u16) -> Result<CandleHistory, spark_exchanges::Error> {
        let (symbol, timeframe) = (series.symbol.as_str(), series.timeframe);
        let mut candles: Vec<Row> = match self {
            Self::Binance(client) => {
                let klines = client.klines(symbol, timeframe.as_str(), None, None, rows.saturating_add(1).min(ROWS_MAX)).await?;
                let row = |kline: &spark_exchanges::binance::Kline| {
                    (Timestamp::from_millis(kline.open_time), [kline.open, kline.high, kline.low, kline.close, kline.volume])
                };
                klines.iter().map(row).collect()
            }
            Self::Btcturk(client) => {
                let resolution = resolution(timeframe).unwrap_or("1");
                let length = i64::try_from(timeframe.duration().as_secs()).unwrap_or(i64::MAX);
                let to = (now().as_millis() / 1_000).saturating_add(length);
                let from = to.saturating_sub(length.saturating_mul(i64::from(rows) + 2));
                let candles = client.klines(symbol, resolution, from, to).await?;
                let row = |candle: &spark_exchanges::btcturk::Candle| {
                    let prices = [candle.open, candle.high, candle.low, candle.close, candle.volume];
                    (Timestamp::from_millis(candle.time.saturating_mul(1_000)), prices)
                };
                candles.iter().map(row).collect()
            }
        };
        candles.sort_by_key(|(open_time, _)| *open_time);
        candles.dedup_by_key(|(open_time, _)| *open_time);
        candles.pop();
        let first = candles.len().saturating_sub(usize::from(rows));
        history(self.venue(), series, &candles[first..])
    }
}

fn history(venue: Venue, series: &Series, rows: &[Row]) -> Result<CandleHistory, spark_exchanges::Error> {
    let unreadable = |what: String| spark_exchanges::Error::new(venue, "klines", ErrorType::Parse, what);
    let mut columns = [(); 5].map(|()| DecimalColumn::with_capacity(rows.len()));
    for (open_time, values) in rows {
        for (column, value) in columns.iter_mut().zip(values) {
            let fixed = Fixed::try_from(*value).map_err(|error| unreadable(format!("{open_time}: {value}: {error}")))?;
            column.push(fixed).map_err(|error| unreadable(format!("{open_time}: {value}: {error}")))?;
        }
    }
    let [open, high, low, close, volume] = columns;
    let open_time = rows.iter().map(|(open_time, _)| *open_time).collect();
    let (symbol, timeframe) = (series.symbol.clone(), series.timeframe);
    let history = CandleHistory { venue, symbol, timeframe, open_time, open, high, low, close, volume, fetched_at: now() };
    history.validate().map_err(unreadable)?;
    Ok(history)
}

/// BtcTurk's name of a length; none where it has no such candles.
fn resolution(timeframe: TimeFrame) -> Option<&'static str> {
    match timeframe {
        TimeFrame::S1 => None,
        TimeFrame::M1 => Some("1"),
        TimeFrame::M5 => Some("5"),
        TimeFrame::M15 => Some("15"),
        TimeFrame::H1 => Some("60"),
        TimeFrame::H4 => Some("240"),
        TimeFrame::D1 => Some("1D"),
    }
}

/// An observer that tells the bus about every call, from a task that ends with `shutdown`.
fn call_reports(bus: Bus, service: &'static str, shutdown: CancellationToken) -> Observer {
    let (sender, mut receiver) = mpsc::channel::<Call>(REPORTS_MAX);
    let tell = async move {
        while let Some(call) = receiver.recv().await {
            if let Err(error) = bus.publish(&subject::calls(call.exchange), &call, Meta::default()).await {
                tracing::error!(%error, "report a call");
            }
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tell => {}
        }
    });
    Arc::new(move |report| {
        if sender.try_send(report.told_by(service)).is_err() {
            metrics::counter!("spark_candles_call_reports_dropped_total").increment(1);
        }
    })
}
