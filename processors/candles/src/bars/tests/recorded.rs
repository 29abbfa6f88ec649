//! Recorded trades and the exchange's own candles.

use super::model;
use super::*;

fn recording() -> Vec<Trade> {
    let text = std::fs::read_to_string(data("binance/trades/BTCUSDT_trades_2024-08-08_09.csv")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        Trade {
            trade_id: cells[0].parse().unwrap(),
            price: Fixed::parse(cells[1]).unwrap(),
            quantity: Fixed::parse(cells[2]).unwrap(),
            occurred_at: Timestamp::from_millis(cells[3].parse().unwrap()),
            received_at: Timestamp::from_nanos(cells[6].parse().unwrap()),
            side: if cells[5] == "true" { Side::Sell } else { Side::Buy },
        }
    };
    text.lines().skip(1).map(row).collect()
}

/// A trade far enough ahead that everything before it is over.
fn closing(trades: &[Trade]) -> Trade {
    let last = trades.last().unwrap();
    Trade { trade_id: last.trade_id + 1, occurred_at: last.occurred_at + Duration::from_secs(86_400), ..*last }
}

#[test]
fn the_recorded_trades_give_the_candles_that_a_naive_sum_gives_over_the_change_of_the_day() {
    let trades = recording();
    assert_eq!(trades.len(), 19_904);
    let mut world = World::new(Venue::Binance, &TimeFrame::ALL);
    for part in trades.chunks(700) {
        world.trades(part);
    }
    world.trades(&[closing(&trades)]);
    let want = model::candles(&trades, &TimeFrame::ALL);
    let got = model::last_told(&world.told);
    assert_eq!(got, want);
    let days: Vec<&Candle> = world.told.iter().filter(|candle| candle.timeframe == TimeFrame::D1 && !candle.gap).collect();
    let opens: Vec<String> = days.iter().map(|candle| candle.open_time.to_string()).collect();
    assert_eq!(opens, ["2024-08-08T00:00:00Z", "2024-08-09T00:00:00Z"]);
    let change = (days[0].close.to_string(), days[1].open.to_string());
    assert_eq!(change, ("61685.99".to_owned(), "61686".to_owned()));
    assert_eq!((days[0].complete, days[1].complete), (false, true), "Spark began to listen within the first one");
    let minutes: Vec<&Candle> = world.told.iter().filter(|candle| candle.timeframe == TimeFrame::M1).take(11).collect();
    assert_eq!(minutes.iter().filter(|candle| !candle.complete).count(), 1);
    assert_eq!(minutes.iter().map(|candle| candle.trades).sum::<u64>(), 19_904 - trades_after_last_minute(&trades));
    assert!(world.told.iter().all(|candle| candle.revision == 1), "nothing came late");
}

fn trades_after_last_minute(trades: &[Trade]) -> u64 {
    let first = trades[0].occurred_at.as_millis().div_euclid(60_000);
    trades.iter().filter(|trade| trade.occurred_at.as_millis().div_euclid(60_000) >= first + 11).count() as u64
}

#[test]
fn candles_of_any_length_are_those_of_a_shorter_length_merged() {
    let trades = recording();
    let mut world = World::new(Venue::Binance, &TimeFrame::ALL);
    world.trades(&trades[..9_000]).trades(&trades[9_000..]).trades(&[closing(&trades)]);
    let of = |length: TimeFrame| world.told.iter().filter(move |candle| candle.timeframe == length && !candle.gap);
    for pair in TimeFrame::ALL.windows(2) {
        for long in of(pair[1]) {
            let short: Vec<&Candle> =
                of(pair[0]).filter(|short| (long.open_time..long.close_time).contains(&short.open_time)).collect();
            assert_eq!(short[0].open, long.open);
            assert_eq!(short.last().unwrap().close, long.close);
            assert_eq!(short.iter().map(|candle| candle.high).max(), Some(long.high));
            assert_eq!(short.iter().map(|candle| candle.low).min(), Some(long.low));
            assert_eq!(short.iter().map(|candle| candle.volume).sum::<rust_decimal::Decimal>(), long.volume);
            assert_eq!(short.iter().map(|candle| candle.quote_volume).sum::<rust_decimal::Decimal>(), long.quote_volume);
            assert_eq!(short.iter().map(|candle| candle.trades).sum::<u64>(), long.trades);
        }
    }
}

/// The recorded klines are of other days than the recorded trades, and those of different lengths do not overlap: where
/// intervals begin and end, and that four trades at a candle's prices give its prices again, is what they can show.
#[test]
fn intervals_and_prices_are_those_of_the_exchanges_recorded_klines() {
    let mut rows_seen = 0;
    for (file, length) in [("1m", TimeFrame::M1), ("5m", TimeFrame::M5), ("1h", TimeFrame::H1), ("1d", TimeFrame::D1)] {
        let text = std::fs::read_to_string(data(&format!("binance/klines/gct_BTCUSDT_{file}.csv"))).unwrap();
        let mut bars = Bars::new(&config(&[length]));
        let mut told = Vec::new();
        let mut rows = Vec::new();
        for (index, line) in text.lines().skip(1).enumerate() {
            let cells: Vec<&str> = line.split(',').collect();
            let (open_ms, close_ms): (i64, i64) = (cells[0].parse().unwrap(), cells[6].parse().unwrap());
            let mut batch = TickBatch::new(Venue::Binance, "BTCUSDT");
            let times = [open_ms, open_ms + 1, open_ms + 2, close_ms];
            for ((step, ms), cell) in times.into_iter().enumerate().zip([1, 2, 3, 4]) {
                let mut one = trade((index * 4 + step) as u64, 0, cells[cell], "1");
                one.occurred_at = Timestamp::from_millis(ms);
                batch.push(&one).unwrap();
            }
            bars.apply(Timestamp::from_millis(close_ms), &batch, &mut told);
            rows.push((open_ms, close_ms, [1, 2, 3, 4].map(|cell| cells[cell].parse::<rust_decimal::Decimal>().unwrap())));
        }
        told.retain(|candle| !candle.gap);
        for ((open_ms, close_ms, prices), candle) in rows.iter().zip(&told) {
            assert_eq!((candle.open_time.as_millis(), candle.close_time.as_millis() - 1), (*open_ms, *close_ms));
            assert_eq!([candle.open, candle.high, candle.low, candle.close], *prices);
        }
        assert_eq!(told.len() + 1, rows.len(), "all but the last one are closed");
        rows_seen += rows.len();
    }
    assert_eq!(rows_seen, 61 + 48 + 1_468 + 540);
}

/// `cargo test --release -p spark-candles --lib -- --ignored --nocapture throughput`
#[test]
#[ignore = "a measurement"]
fn throughput() {
    const ROUNDS: u64 = 200;
    let trades = recording();
    for (name, rows) in [("batches of 1", 1), ("batches of 100", 100), ("batches of 10000", 10_000)] {
        let parts: Vec<TickBatch> = trades.chunks(rows).map(|part| batch(Venue::Binance, part)).collect();
        let mut bars = Bars::new(&BarsConfig::default());
        let mut told = Vec::new();
        let (mut spent, mut count) = (Duration::ZERO, 0);
        for round in 0..ROUNDS {
            // Every round is ten minutes later, and its ids go on.
            let mut parts = parts.clone();
            for part in &mut parts {
                part.trade_id.iter_mut().for_each(|id| *id += round * 19_904);
                let later = Duration::from_secs(660 * round);
                part.occurred_at.iter_mut().for_each(|at| *at = *at + later);
            }
            let began = std::time::Instant::now();
            for part in &parts {
                let stored = part.occurred_at[part.len() - 1];
                bars.apply(stored, part, &mut told);
            }
            spent += began.elapsed();
            count += 19_904;
            assert!(told.len() >= 10, "{round}");
            told.clear();
        }
        let ns = spent.as_nanos() / count;
        println!("{name}: {ns} ns a tick over {count} ticks in six lengths");
    }
}
