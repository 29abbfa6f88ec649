//! Rules by table, recorded trades, and properties against a naive model.

mod incomplete;
mod model;
mod properties;
mod recorded;
mod rules;

use std::path::{Path, PathBuf};

use spark_bus_schema::market::{Side, Trade};
use spark_bus_schema::{Fixed, Message};

use super::*;

/// 2024-08-08T00:00:00Z, ms.
const DAY_MS: i64 = 1_723_075_200_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(DAY_MS + ms)
}

/// A trade at `ms` of the day.
fn trade(id: u64, ms: i64, price: &str, quantity: &str) -> Trade {
    Trade {
        trade_id: id,
        occurred_at: at(ms),
        received_at: at(ms),
        price: Fixed::parse(price).unwrap(),
        quantity: Fixed::parse(quantity).unwrap(),
        side: Side::Buy,
    }
}

fn batch(venue: Venue, trades: &[Trade]) -> TickBatch {
    let mut batch = TickBatch::new(venue, if venue == Venue::Binance { "BTCUSDT" } else { "BTCTRY" });
    for trade in trades {
        batch.push(trade).unwrap();
    }
    batch
}

fn config(timeframes: &[TimeFrame]) -> BarsConfig {
    BarsConfig { timeframes: timeframes.to_vec(), grace: Duration::from_secs(1) }
}

/// One venue's bars, and what they told.
struct World {
    bars: Bars,
    venue: Venue,
    told: Vec<Candle>,
}

impl World {
    fn new(venue: Venue, timeframes: &[TimeFrame]) -> Self {
        Self { bars: Bars::new(&config(timeframes)), venue, told: Vec::new() }
    }

    fn minutes() -> Self {
        Self::new(Venue::Binance, &[TimeFrame::M1])
    }

    /// Stored at the time of the last one.
    fn trades(&mut self, trades: &[Trade]) -> &mut Self {
        let stored = trades.last().unwrap().occurred_at;
        self.trades_at(stored, trades)
    }

    fn trades_at(&mut self, stored: Timestamp, trades: &[Trade]) -> &mut Self {
        self.bars.apply(stored, &batch(self.venue, trades), &mut self.told);
        self
    }

    fn tick(&mut self, ms: i64) -> &mut Self {
        self.bars.tick(at(ms), &mut self.told);
        self
    }

    /// What was told since the last look, as `minute open/high/low/close volume×trades` with its revision when not the first,
    /// `gap` and `partial`.
    fn told(&mut self) -> Vec<String> {
        for candle in &self.told {
            assert_eq!(candle.validate(), Ok(()), "{candle:?}");
        }
        self.told.drain(..).map(|candle| shown(&candle)).collect()
    }
}

fn shown(candle: &Candle) -> String {
    let minute = candle.open_time.since_ms(at(0)) / 60_000;
    let Candle { open, high, low, close, volume, trades, .. } = candle;
    let mut text = format!("{minute} {open}/{high}/{low}/{close} {volume}×{trades}");
    if candle.revision > 1 {
        text += &format!(" r{}", candle.revision);
    }
    for (holds, word) in [
        (candle.gap, " gap"),
        (!candle.complete, " partial"),
        (candle.source == spark_bus_schema::candles::CandleSource::Exchange, " exchange"),
    ] {
        if holds {
            text += word;
        }
    }
    text
}

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(file)
}
