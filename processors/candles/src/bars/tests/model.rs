//! The same candles in the plainest way: decimals, a map, every trade looked at once.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use super::*;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Naive {
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub close: Decimal,
    pub volume: Decimal,
    pub quote_volume: Decimal,
    pub trades: u64,
}

/// Candles with trades, by length and open time (ms).
pub(super) fn candles(trades: &[Trade], lengths: &[TimeFrame]) -> BTreeMap<(TimeFrame, i64), Naive> {
    let mut sorted: Vec<&Trade> = trades.iter().collect();
    sorted.sort_by_key(|trade| (trade.occurred_at, trade.trade_id));
    let mut seen = BTreeSet::new();
    let mut candles: BTreeMap<(TimeFrame, i64), Naive> = BTreeMap::new();
    for trade in sorted.into_iter().filter(|trade| seen.insert(trade.trade_id)) {
        let (price, quantity) = (trade.price.to_decimal(), trade.quantity.to_decimal());
        for length in lengths {
            let ms = i64::try_from(length.duration().as_millis()).unwrap();
            let open = trade.occurred_at.as_millis().div_euclid(ms) * ms;
            let candle = candles.entry((*length, open)).or_insert(Naive {
                open: price,
                high: price,
                low: price,
                close: price,
                volume: Decimal::ZERO,
                quote_volume: Decimal::ZERO,
                trades: 0,
            });
            candle.high = candle.high.max(price);
            candle.low = candle.low.min(price);
            candle.close = price;
            candle.volume += quantity;
            candle.quote_volume += price * quantity;
            candle.trades += 1;
        }
    }
    candles
}

/// The last revision of each candle with trades.
pub(super) fn last_told(told: &[Candle]) -> BTreeMap<(TimeFrame, i64), Naive> {
    let mut last: BTreeMap<(TimeFrame, i64), (u64, Naive)> = BTreeMap::new();
    for candle in told.iter().filter(|candle| !candle.gap) {
        let before = last.insert(
            (candle.timeframe, candle.open_time.as_millis()),
            (
                candle.revision,
                Naive {
                    open: candle.open,
                    high: candle.high,
                    low: candle.low,
                    close: candle.close,
                    volume: candle.volume,
                    quote_volume: candle.quote_volume,
                    trades: candle.trades,
                },
            ),
        );
        assert!(before.is_none_or(|(revision, _)| revision < candle.revision), "{candle:?}");
    }
    last.into_iter().map(|(key, (_, candle))| (key, candle)).collect()
}
