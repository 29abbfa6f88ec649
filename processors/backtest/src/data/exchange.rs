//! The exchange's own candles: asked for page by page within its limits, and kept in files.

use std::path::Path;
use std::sync::Arc;

use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::{Decimal, Fixed, Timestamp, Venue};
use spark_exchanges::{ApiConfig, Binance, BtcTurk};
use spark_strategy::rule::Bar;

use super::bars::{BARS_MAX, Bars};
use super::cache::{Cache, PAGE_BARS, Page};
use crate::engine::Error;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose candles.
    pub venue: Venue,
    /// Spark's spelling.
    pub symbol: String,
    /// Their length.
    pub timeframe: TimeFrame,
    /// Candles that open here or later.
    pub from: Timestamp,
    /// Candles that open before this.
    pub to: Timestamp,
}

/// Reads closed candles of an exchange; what was read before comes from files under `cache`
/// (`<venue>/<symbol>/<time frame>/…`), without a call when everything is there. Candles that are not closed by the
/// exchange's clock are left out. Outages of an exchange leave holes, as they do in its own answers.
///
/// # Errors
/// [`Error::Job`] for a range or time frame that cannot be had, [`Error::Exchange`], [`Error::File`], [`Error::Data`] when the
/// exchange tells candles that are none.
pub async fn read(api: &ApiConfig, cache: &Path, wanted: &Wanted) -> Result<Bars, Error> {
    let span_ms = i64::try_from(wanted.timeframe.duration().as_millis()).expect("a day in ms fits 63 bits");
    let (from, to) = (wanted.from.as_millis(), wanted.to.as_millis());
    if from >= to || from < 0 {
        return Err(Error::Job(format!(
            "from = {}: not before to = {}; give a range with candles in it",
            wanted.from, wanted.to
        )));
    }
    if (to - from) / span_ms > BARS_MAX as i64 {
        return Err(Error::Job(format!("from, to: more than {BARS_MAX} bars of {}; give a shorter range", wanted.timeframe)));
    }
    let exchange = Exchange::new(api, wanted)?;
    let files = Cache::new(cache, wanted.venue, &wanted.symbol, wanted.timeframe);
    let page_ms = span_ms * PAGE_BARS;
    let mut bars = Bars::new(wanted.timeframe);
    let mut now = None;
    let mut start = from.div_euclid(page_ms) * page_ms;
    while start < to {
        let end = to.min(start + page_ms);
        let known = files.load(start).unwrap_or_default();
        let page = if known.known_to >= end {
            known
        } else {
            let now = match now {
                Some(now) => now,
                None => *now.insert(exchange.now_ms().await?),
            };
            exchange.complete(&files, known, start, start + page_ms, now).await?
        };
        for bar in page.bars.iter().filter(|bar| (from..to).contains(&bar.open_time.as_millis())) {
            bars.push(bar)
                .map_err(|wrong| Error::Data(format!("{} {} {}: {wrong}", wanted.venue, wanted.symbol, wanted.timeframe)))?;
        }
        start += page_ms;
    }
    if bars.is_empty() {
        return Err(Error::Data(format!(
            "{} has no closed {} candle of {} between {} and {}",
            wanted.venue, wanted.timeframe, wanted.symbol, wanted.from, wanted.to
        )));
    }
    bars.shrink();
    Ok(bars)
}

enum Client {
    Binance(Binance),
    Btcturk(BtcTurk),
}

struct Exchange<'a> {
    client: Client,
    wanted: &'a Wanted,
    span_ms: i64,
}

impl<'a> Exchange<'a> {
    fn new(api: &ApiConfig, wanted: &'a Wanted) -> Result<Self, Error> {
        let failed = |error| Self::failed(wanted.venue, error);
        let observer = Arc::new(|_: &_| {});
        let client = match wanted.venue {
            Venue::Binance => Client::Binance(Binance::new(api, None, observer).map_err(failed)?),
            Venue::Btcturk if resolution(wanted.timeframe).is_none() => {
                return Err(Error::Job(format!(
                    "timeframe = {}: BTCTurk has no such candles; known are 1m, 5m, 15m, 1h, 4h, 1d",
                    wanted.timeframe
                )));
            }
            Venue::Btcturk => Client::Btcturk(BtcTurk::new(api, None, observer).map_err(failed)?),
            Venue::Bist => {
                return Err(Error::Job("data = exchange: Borsa Istanbul's provider tells no past; give a CSV file".to_owned()));
            }
        };
        let span_ms = i64::try_from(wanted.timeframe.duration().as_millis()).expect("a day in ms fits 63 bits");
        Ok(Self { client, wanted, span_ms })
    }

    fn failed(venue: Venue, error: spark_exchanges::Error) -> Error {
        Error::Exchange { venue, source: Box::new(error) }
    }

    /// The exchange's clock: a local one that runs ahead would take an open candle for a closed one, for ever.
    async fn now_ms(&self) -> Result<i64, Error> {
        let now = match &self.client {
            Client::Binance(client) => client.time().await,
            Client::Btcturk(client) => client.server_time().await,
        };
        now.map_err(|error| Self::failed(self.wanted.venue, error))
    }

    /// Adds what is closed by now to a page, and keeps it.
    async fn complete(&self, files: &Cache, mut page: Page, start: i64, end: i64, now: i64) -> Result<Page, Error> {
        let known_to = end.min(now.div_euclid(self.span_ms) * self.span_ms);
        let from = page.known_to.max(start);
        if known_to <= from {
            return Ok(page);
        }
        let new = self.fetch(from, known_to).await?;
        page.bars.extend(new.into_iter().filter(|bar| {
            let open = bar.open_time.as_millis();
            open >= from && open + self.span_ms <= known_to
        }));
        page.known_to = known_to;
        files.save(start, &page)?;
        Ok(page)
    }

    /// Candles that open in `from..to`, ms: at most [`PAGE_BARS`].
    async fn fetch(&self, from: i64, to: i64) -> Result<Vec<Bar>, Error> {
        let failed = |error| Self::failed(self.wanted.venue, error);
        let (symbol, timeframe) = (self.wanted.symbol.as_str(), self.wanted.timeframe);
        let limit = u16::try_from(PAGE_BARS).expect("a page has a thousand bars");
        match &self.client {
            Client::Binance(client) => {
                let rows = client.klines(symbol, timeframe.as_str(), Some(from), Some(to - 1), limit).await.map_err(failed)?;
                let bars = rows.iter().map(|row| self.bar(row.open_time, [row.open, row.high, row.low, row.close, row.volume]));
                bars.collect()
            }
            Client::Btcturk(client) => {
                let resolution = resolution(timeframe).unwrap_or_default();
                let rows = client.klines(symbol, resolution, from / 1_000, (to - 1) / 1_000).await.map_err(failed)?;
                let bars = rows
                    .iter()
                    .map(|row| self.bar(row.time.saturating_mul(1_000), [row.open, row.high, row.low, row.close, row.volume]));
                bars.collect()
            }
        }
    }

    fn bar(&self, open_ms: i64, values: [Decimal; 5]) -> Result<Bar, Error> {
        let fixed = |value: Decimal| {
            Fixed::try_from(value).map_err(|error| {
                let Wanted { venue, symbol, timeframe, .. } = self.wanted;
                Error::Data(format!("{venue} {symbol} {timeframe}, open time {open_ms}: {value}: {error}"))
            })
        };
        let [open, high, low, close, volume] = values;
        Ok(Bar {
            open_time: Timestamp::from_millis(open_ms),
            open: fixed(open)?,
            high: fixed(high)?,
            low: fixed(low)?,
            close: fixed(close)?,
            volume: fixed(volume)?,
        })
    }
}

/// BTCTurk's spelling.
const fn resolution(timeframe: TimeFrame) -> Option<&'static str> {
    Some(match timeframe {
        TimeFrame::S1 => return None,
        TimeFrame::M1 => "1",
        TimeFrame::M5 => "5",
        TimeFrame::M15 => "15",
        TimeFrame::H1 => "60",
        TimeFrame::H4 => "240",
        TimeFrame::D1 => "1D",
    })
}
