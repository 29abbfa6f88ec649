//! What the bus recorded: candles by the code of the process `candles`, and the quote that an order after each meets.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use spark_backtest::data::Bars;
use spark_backtest::data::feed::{Recorded, Tape, read};
use spark_backtest::engine::{Outcome, Settings, run};
use spark_bus_schema::backtests::BacktestJob;
use spark_bus_schema::candles::{Candle, TimeFrame};
use spark_bus_schema::market::{Quote, QuoteBatch, Side, TickBatch, Trade};
use spark_bus_schema::session::Calendar;
use spark_bus_schema::{Fixed, Timestamp, Venue, subject};
use spark_candles::bars::BarsConfig;
use spark_nats::Meta;
use spark_nats::testing::TestBroker;
use spark_signal::model::Model;
use spark_signal::series::{self as signal, Series};

/// A whole minute.
const START_MS: i64 = 1_723_161_300_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(START_MS + ms)
}

fn fixed(text: &str) -> Fixed {
    Fixed::parse(text).unwrap()
}

fn ticks(first_id: u64, rows: &[(i64, &str)]) -> TickBatch {
    let mut batch = TickBatch::new(Venue::Binance, "BTCUSDT");
    for (trade_id, (ms, price)) in (first_id..).zip(rows) {
        let (occurred_at, received_at) = (at(*ms), at(*ms));
        let (price, quantity, side) = (fixed(price), fixed("0.5"), Side::Buy);
        batch.push(&Trade { trade_id, occurred_at, received_at, price, quantity, side }).unwrap();
    }
    batch
}

fn quotes(rows: &[(i64, &str, &str, &str)]) -> QuoteBatch {
    let mut batch = QuoteBatch::new(Venue::Binance, "BTCUSDT");
    for (ms, bid, ask, size) in rows {
        let (bid_quantity, ask_quantity) = (fixed(size), fixed(size));
        let (bid_price, ask_price, received_at) = (fixed(bid), fixed(ask), at(*ms));
        batch.push(&Quote { update_id: 0, received_at, bid_price, bid_quantity, ask_price, ask_quantity }).unwrap();
    }
    batch
}

fn recorded(latency_ms: u64) -> Recorded {
    Recorded { latency: Duration::from_millis(latency_ms), ..Recorded::new(Venue::Binance, "BTCUSDT", TimeFrame::S1) }
}

fn outcome(bars: &Bars, quantity: &str) -> Outcome {
    let job: BacktestJob = serde_json::from_value(serde_json::json!({
        "id": "feed", "strategy": null, "kind": "sma_cross", "params": {"fast": "1", "slow": "2", "quantity": quantity},
        "sweep": {}, "walk_forward": null, "venue": "binance", "symbol": "BTCUSDT", "timeframe": "1s",
        "data": {"feed": {"from": null, "to": null}}, "cash": "10000", "commission_pct": "0.1", "fill_at": "close",
        "limits": null, "actor": "test", "reason": "test", "at": 0
    }))
    .unwrap();
    run(&Settings::of(&job).unwrap(), bars, &()).unwrap()
}

/// Seconds that rise and fall, each closed by the first trade of the next.
fn tape(latency_ms: u64) -> Bars {
    let mut tape = Tape::new(&recorded(latency_ms));
    tape.quotes(at(5), &quotes(&[(0, "99", "101", "1")])).unwrap();
    tape.trades(at(10), &ticks(1, &[(0, "100"), (500, "100")])).unwrap();
    tape.trades(at(1_010), &ticks(3, &[(1_000, "110")])).unwrap();
    tape.quotes(at(1_500), &quotes(&[(1_490, "111", "113", "1"), (1_495, "109", "111", "0.4")])).unwrap();
    // Closes the second of 110: wants to buy.
    tape.trades(at(2_020), &ticks(4, &[(2_000, "90")])).unwrap();
    tape.quotes(at(2_050), &quotes(&[(2_040, "89", "91", "2")])).unwrap();
    // Closes the second of 90: wants to sell.
    tape.trades(at(3_020), &ticks(5, &[(3_000, "90")])).unwrap();
    tape.quotes(at(3_050), &quotes(&[(3_040, "88", "92", "2")])).unwrap();
    tape.end(at(3_100)).unwrap()
}

#[test]
fn an_order_meets_the_last_quote_stored_at_or_before_its_arrival() {
    let check = |latency_ms: u64, quantity: &str, want: &[(Side, &str, &str)]| {
        let got: Vec<_> = outcome(&tape(latency_ms), quantity).trades;
        let shown: Vec<_> =
            got.iter().map(|trade| (trade.side, trade.price.to_string(), trade.quantity.normalize().to_string())).collect();
        let want: Vec<_> =
            want.iter().map(|(side, price, quantity)| (*side, (*price).to_owned(), (*quantity).to_owned())).collect();
        assert_eq!(shown, want, "{latency_ms} ms");
        assert!(got.iter().all(|trade| trade.decided_at == at(2_020) || trade.decided_at == at(3_020)), "{got:?}");
    };
    // Bought at the last row of the message before, sold what is left after the fee in BTC.
    check(0, "0.25", &[(Side::Buy, "111", "0.25"), (Side::Sell, "89", "0.24975")]);
    check(29, "0.25", &[(Side::Buy, "111", "0.25"), (Side::Sell, "89", "0.24975")]);
    // Stored in the very moment of the arrival: it is there.
    check(30, "0.25", &[(Side::Buy, "91", "0.25"), (Side::Sell, "88", "0.24975")]);
    // No more than is offered at the top of the book.
    check(0, "0.7", &[(Side::Buy, "111", "0.4"), (Side::Sell, "89", "0.3996")]);
}

/// Seconds of long waves; trades of some are missing, and for a while the connection is.
fn waves(tape: &mut Tape, mut live: Option<(&mut spark_candles::bars::Bars, &mut Vec<Candle>)>) {
    tape.quotes(at(1), &quotes(&[(0, "99", "101", "1000")])).unwrap();
    let mut trade_id = 0;
    for second in 0_i64..600 {
        let price = 10_000 + (second % 120 - 60).abs() * 30 + second % 7 * 20;
        let price = format!("{}.{:02}", price / 100, price % 100);
        // One trade in eleven is never told.
        trade_id += if second % 11 == 10 { 2 } else { 1 };
        let (stored, batch) = (at(second * 1_000 + 20), ticks(trade_id, &[(second * 1_000, &price)]));
        if second % 150 == 0 {
            tape.connection(stored, second % 300 != 0).unwrap();
        }
        tape.trades(stored, &batch).unwrap();
        if let Some((bars, closed)) = &mut live {
            // No boundary of time closes anything here: the next trade is always there before the grace is over.
            if second % 150 == 0 && second % 300 == 0 {
                bars.cut(stored, Venue::Binance, closed);
            }
            bars.apply(stored, &batch, closed);
        }
    }
}

#[test]
fn the_model_takes_in_candles_in_doubt_and_does_not_trade_on_them_as_live() {
    let config = BarsConfig { timeframes: vec![TimeFrame::S1], ..BarsConfig::default() };
    let (mut live, mut closed) = (spark_candles::bars::Bars::new(&config), Vec::new());
    let mut tape = Tape::new(&recorded(0));
    waves(&mut tape, Some((&mut live, &mut closed)));
    // The last second is still open.
    let bars = tape.end(at(599_100)).unwrap();

    let model = Model::built_in();
    let decide = |heeds: bool| {
        let (mut series, mut seen) = (Series::new(&model, Venue::Binance, TimeFrame::S1), Vec::new());
        let (mut is_long, mut decisions) = (false, Vec::new());
        for candle in closed.iter().filter(|candle| candle.revision == 1) {
            let verdict = series.live(&model, signal::Bar::of(candle), &mut seen);
            let side = verdict.and_then(|verdict| verdict.side).filter(|_| candle.complete || !heeds);
            if let Some(side) = side.filter(|side| (*side == Side::Buy) != is_long) {
                is_long = side == Side::Buy;
                decisions.push((candle.closed_at, side));
            }
        }
        decisions
    };
    let job: BacktestJob = serde_json::from_value(serde_json::json!({
        "id": "feed", "strategy": null, "kind": "ml_fusion", "params": {"quantity": "0.25"},
        "sweep": {}, "walk_forward": null, "venue": "binance", "symbol": "BTCUSDT", "timeframe": "1s",
        "data": {"feed": {"from": null, "to": null}}, "cash": "10000", "commission_pct": "0.1", "fill_at": "close",
        "limits": null, "actor": "test", "reason": "test", "at": 0
    }))
    .unwrap();
    let mut settings = Settings::of(&job).unwrap();
    settings.quote_age_max = Duration::from_secs(3_600);
    // What is left after the fee in BTC is sold whole.
    settings.filters.step_size = "0.00000001".parse().unwrap();
    let got: Vec<_> = run(&settings, &bars, &()).unwrap().trades.iter().map(|it| (it.decided_at, it.side)).collect();
    assert_eq!(got, decide(true));
    assert!(got.len() >= 5 && got != decide(false), "doubts made no difference: {got:?}");
}

#[test]
fn shares_have_flat_candles_only_while_their_exchange_is_open_as_configured() {
    let night = |calendar: Calendar| {
        let (venue, symbol) = (Venue::Bist, "THYAO".to_owned());
        let mut tape = Tape::new(&Recorded { venue, symbol, calendar, ..recorded(0) });
        for (trade_id, ms) in [(1, 0), (2, 3_000), (3, 4_000)] {
            let batch = TickBatch { venue, symbol: "THYAO".to_owned(), ..ticks(trade_id, &[(ms, "100")]) };
            tape.trades(at(ms + 10), &batch).unwrap();
        }
        tape.end(at(4_100)).unwrap().len()
    };
    // At three in the morning.
    assert_eq!((night(Calendar::always_open()), night(Calendar::default())), (4, 2));
}

#[test]
fn nothing_recorded_and_no_closed_candle_are_errors_that_say_so() {
    let error = Tape::new(&recorded(0)).end(at(0)).unwrap_err().to_string();
    assert!(error.contains("0 messages of binance BTCUSDT") && error.contains("1s"), "{error}");
    let mut tape = Tape::new(&recorded(0));
    tape.trades(at(10), &ticks(1, &[(0, "100")])).unwrap();
    let error = tape.end(at(20)).unwrap_err().to_string();
    assert!(error.contains("1 messages") && error.contains("shorter time frame"), "{error}");
}

#[test]
fn without_a_quote_an_order_is_not_filled() {
    let mut tape = Tape::new(&recorded(0));
    tape.trades(at(10), &ticks(1, &[(0, "100")])).unwrap();
    tape.trades(at(1_010), &ticks(2, &[(1_000, "110")])).unwrap();
    tape.trades(at(2_010), &ticks(3, &[(2_000, "120")])).unwrap();
    let got = outcome(&tape.end(at(2_020)).unwrap(), "1");
    assert_eq!((got.metrics.trades, got.rejected), (0, 1));
}

#[tokio::test]
async fn the_record_is_read_from_feed_in_the_order_in_which_it_was_stored() {
    let broker = TestBroker::start().await;
    let feed = broker.bus("feed").await;
    let (quotes_to, ticks_to) = (subject::quotes(Venue::Binance, "BTCUSDT"), subject::ticks(Venue::Binance, "BTCUSDT"));
    feed.publish(&quotes_to, &quotes(&[(0, "99", "101", "1")]), Meta::default()).await.unwrap();
    let second_ms = (spark_nats::now().as_millis() - START_MS).div_euclid(1_000) * 1_000;
    for (id, price) in [(1, "100"), (2, "110"), (3, "90"), (4, "95")] {
        // By the venue's clock: each trade closes the candle before it.
        let ms = second_ms + i64::try_from(id).unwrap() * 1_000 - 8_000;
        feed.publish(&ticks_to, &ticks(id, &[(ms, price)]), Meta::default()).await.unwrap();
        feed.publish(&quotes_to, &quotes(&[(second_ms, price, price, "5")]), Meta::default()).await.unwrap();
    }
    let other = TickBatch { symbol: "ETHUSDT".to_owned(), ..ticks(1, &[(0, "1")]) };
    feed.publish(&subject::ticks(Venue::Binance, "ETHUSDT"), &other, Meta::default()).await.unwrap();

    let bus = broker.bus("backtest").await;
    let bars = read(&bus, &recorded(0)).await.unwrap();
    let closes: Vec<String> = (0..3).map(|row| bars.bar(row).close.to_string()).collect();
    assert_eq!(closes, ["100", "110", "90"]);
    // The trade that closed a candle was stored before its own quote.
    let asks: Vec<_> = (0..3).map(|row| bars.offered(row).unwrap().quote.ask_price.to_string()).collect();
    assert_eq!(asks, ["100", "110", "90"]);
    let error = read(&bus, &Recorded { symbol: "SOLUSDT".into(), ..recorded(0) }).await.unwrap_err().to_string();
    assert!(error.contains("0 messages of binance SOLUSDT"), "{error}");
}
