//! The engine against a naive model of the same rules, and what must hold whatever the bars are.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use rust_decimal::{Decimal, RoundingStrategy};
use spark_backtest::data::Bars;
use spark_backtest::engine::{EQUITY_POINTS_MAX, Error, Outcome, Settings, Trade, run, trades_hash};
use spark_backtest::{sweep, walk};
use spark_bus_schema::backtests::{BacktestJob, DataSource, FillAt, WalkForward};
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::market::Side;
use spark_bus_schema::risk::{LimitSet, Limits};
use spark_bus_schema::strategies::StrategyKind;
use spark_bus_schema::{Fixed, Timestamp, Venue};
use spark_strategy::rule::Bar;

const START: i64 = 1_700_000_000_000_000_000;
const MINUTE: i64 = 60_000_000_000;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn job(fast: u32, slow: u32) -> BacktestJob {
    BacktestJob {
        id: "test".into(),
        strategy: None,
        kind: StrategyKind::SmaCross,
        params: BTreeMap::from([("fast".into(), fast.to_string()), ("slow".into(), slow.to_string())]),
        sweep: BTreeMap::new(),
        walk_forward: None,
        venue: Venue::Binance,
        symbol: "BTCUSDT".into(),
        timeframe: Some(TimeFrame::M1),
        data: DataSource::Csv { path: "/bars.csv".into() },
        cash: d("10000"),
        commission_pct: d("0.1"),
        fill_at: FillAt::Close,
        limits: None,
        actor: "test".into(),
        reason: "test".into(),
        at: Timestamp::ZERO,
    }
}

/// Prices in cents: open and close of each bar.
fn bars(prices: &[(i64, i64)]) -> Bars {
    let mut bars = Bars::new(TimeFrame::M1);
    for (index, &(open, close)) in prices.iter().enumerate() {
        let price = |mantissa| Fixed { mantissa, scale: 2 };
        let bar = Bar {
            open_time: Timestamp::from_nanos(START + MINUTE * i64::try_from(index).unwrap()),
            open: price(open),
            high: price(open.max(close)),
            low: price(open.min(close)),
            close: price(close),
            volume: Fixed { mantissa: 1, scale: 0 },
        };
        bars.push(&bar).unwrap();
    }
    bars
}

fn closes(closes: &[i64]) -> Bars {
    bars(&closes.iter().map(|&close| (close, close)).collect::<Vec<_>>())
}

fn outcome(job: &BacktestJob, bars: &Bars) -> Outcome {
    run(&Settings::of(job).unwrap(), bars, &()).unwrap()
}

/// The same in the plainest words: every mean anew, every amount as written down.
fn naive(prices: &[(i64, i64)], job: &BacktestJob, fast: usize, slow: usize) -> (Vec<Trade>, Decimal) {
    let cents = |value: i64| Decimal::new(value, 2);
    let rate = job.commission_pct / Decimal::ONE_HUNDRED;
    let (mut cash, mut held, mut paid) = (job.cash, Decimal::ZERO, Decimal::ZERO);
    let mut trades = Vec::new();
    let mut decided: Option<(bool, usize)> = None;
    let down = |value: Decimal| value.round_dp_with_strategy(8, RoundingStrategy::ToZero);
    for row in 0..prices.len() {
        let mut trade = |wants: bool, price: Decimal, row: usize| {
            let decided_at = Timestamp::from_nanos(START + MINUTE * i64::try_from(row + 1).unwrap());
            if wants && held.is_zero() {
                let quantity = down(cash / (price * (Decimal::ONE + rate)));
                if quantity.is_zero() {
                    return;
                }
                let fee = down(price * quantity * rate);
                paid = price * quantity + fee;
                cash -= paid;
                held = quantity;
                trades.push(Trade { side: Side::Buy, quantity, price, fee, fee_in_base: false, decided_at, profit: None });
            } else if !wants && !held.is_zero() {
                let fee = down(price * held * rate);
                let got = price * held - fee;
                cash += got;
                let profit = Some(got - paid);
                trades.push(Trade { side: Side::Sell, quantity: held, price, fee, fee_in_base: false, decided_at, profit });
                held = Decimal::ZERO;
            }
        };
        if let Some((wants, decided_in)) = decided.take() {
            trade(wants, cents(prices[row].0), decided_in);
        }
        if row + 1 < slow {
            continue;
        }
        let sum = |count: usize| prices[row + 1 - count..=row].iter().map(|(_, close)| i128::from(*close)).sum::<i128>();
        let wants = sum(fast) * slow as i128 > sum(slow) * fast as i128;
        match job.fill_at {
            FillAt::Close => trade(wants, cents(prices[row].1), row),
            FillAt::NextOpen => decided = Some((wants, row)),
        }
    }
    let last = prices.last().map_or(Decimal::ZERO, |(_, close)| cents(*close));
    (trades, cash + held * last)
}

fn plain(trades: &[Trade]) -> Vec<Trade> {
    let each = |trade: &Trade| Trade {
        quantity: trade.quantity.normalize(),
        price: trade.price.normalize(),
        fee: trade.fee.normalize(),
        profit: trade.profit.map(|profit| profit.normalize()),
        ..trade.clone()
    };
    trades.iter().map(each).collect()
}

fn walks() -> impl Strategy<Value = Vec<(i64, i64)>> {
    proptest::collection::vec((-300_i64..300, -300_i64..300), 1..250).prop_map(|steps| {
        let mut price = 10_000_i64;
        let mut prices = Vec::new();
        for (gap, step) in steps {
            let open = (price + gap / 4).max(1);
            price = (open + step).max(1);
            prices.push((open, price));
        }
        prices
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn trades_and_equity_are_those_of_the_naive_model(
        prices in walks(),
        fast in 1_u32..6,
        more in 1_u32..20,
        commission in 0_i64..200,
        next_open in any::<bool>(),
    ) {
        let slow = fast + more;
        let job = BacktestJob {
            commission_pct: Decimal::new(commission, 2),
            fill_at: if next_open { FillAt::NextOpen } else { FillAt::Close },
            ..job(fast, slow)
        };
        let got = outcome(&job, &bars(&prices));
        let (want, equity) = naive(&prices, &job, fast as usize, slow as usize);
        prop_assert_eq!(plain(&got.trades), plain(&want));
        prop_assert_eq!(got.metrics.final_equity, equity.normalize());
        prop_assert_eq!(got.metrics.trades, want.len() as u64);
        prop_assert_eq!((got.metrics.refused, got.rejected), (0, 0));
        prop_assert_eq!(&got.trades_hash, &trades_hash("BTCUSDT", &want));
        // Cash never goes below zero, and nothing is sold that is not held.
        let (mut cash, mut held) = (job.cash, Decimal::ZERO);
        for trade in &got.trades {
            let sign = if trade.side == Side::Buy { Decimal::ONE } else { -Decimal::ONE };
            cash -= sign * trade.price * trade.quantity + trade.fee;
            held += sign * trade.quantity;
            prop_assert!(cash >= Decimal::ZERO && held >= Decimal::ZERO, "{cash} {held} after {trade:?}");
        }
        prop_assert!(got.metrics.max_drawdown_pct >= 0.0 && got.metrics.max_drawdown_pct <= 100.0);
        prop_assert!(got.equity.len() <= EQUITY_POINTS_MAX);
    }

    #[test]
    fn no_decision_looks_ahead(prices in walks(), other in walks(), cut in 0_usize..250, next_open in any::<bool>()) {
        let cut = cut.min(prices.len());
        let changed: Vec<_> = prices[..cut].iter().chain(&other).copied().collect();
        let job = BacktestJob { fill_at: if next_open { FillAt::NextOpen } else { FillAt::Close }, ..job(3, 8) };
        // What is decided on the last bars before the cut may be filled at an open behind it.
        let known = Timestamp::from_nanos(START + MINUTE * i64::try_from(cut).unwrap());
        let past = |prices: &[(i64, i64)]| {
            let all = outcome(&job, &bars(prices)).trades;
            all.into_iter().filter(|trade| trade.decided_at < known).collect::<Vec<_>>()
        };
        prop_assert_eq!(past(&prices), past(&changed));
    }
}

#[test]
fn no_bars_one_bar_and_fewer_than_the_rule_needs_trade_nothing() {
    for count in [0, 1, 2, 29] {
        let got = outcome(&job(10, 30), &closes(&vec![100; count]));
        let figures = (got.metrics.trades, got.metrics.bars, got.metrics.total_return_pct, got.metrics.sharpe);
        assert_eq!(figures, (0, count as u64, 0.0, None));
        assert_eq!(got.metrics.final_equity, d("10000"));
        assert_eq!((got.metrics.win_rate_pct, got.metrics.profit_factor), (None, None));
        assert_eq!(got.trades_hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}

#[test]
fn figures_follow_their_formulas() {
    // Flat, up: buys at 110 with 0.1 %, holds to 121, sells at 100.
    let got = outcome(&job(1, 2), &closes(&[10_000, 11_000, 12_100, 10_000, 10_000]));
    let (buy, sell) = (&got.trades[0], &got.trades[1]);
    // 10 000 / (110 × 1.001), rounded down to 10⁻⁸; fees too.
    assert_eq!((buy.quantity, buy.price, buy.fee), (d("90.81827263"), d("110"), d("9.99000998")));
    assert_eq!((sell.quantity, sell.price, sell.fee), (d("90.81827263"), d("100"), d("9.08182726")));
    let cash = d("10000") - d("9990.0099893") - d("9.99000998");
    let end = cash + d("9081.827263") - d("9.08182726");
    assert_eq!(got.metrics.final_equity, end.normalize());
    let close = |got: f64, want: f64| assert!((got - want).abs() < 1e-9 * want.abs().max(1.0), "{got} {want}");
    let end: f64 = end.to_string().parse().unwrap();
    close(got.metrics.total_return_pct, (end / 1e4 - 1.0) * 100.0);
    let cash: f64 = cash.to_string().parse().unwrap();
    let equity = [1e4, 1e4 - 9.990_009_98, 90.818_272_63_f64.mul_add(121.0, cash), end, end];
    close(got.metrics.max_drawdown_pct, (1.0 - end / equity[2]) * 100.0);
    let returns: Vec<f64> = std::iter::once(1e4).chain(equity).zip(equity).map(|(before, after)| after / before - 1.0).collect();
    let mean = returns.iter().sum::<f64>() / 5.0;
    let variance = returns.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 4.0;
    close(got.metrics.sharpe.unwrap(), mean / variance.sqrt() * (365.0 * 1_440.0_f64).sqrt());
    assert_eq!((got.metrics.win_rate_pct, got.metrics.profit_factor), (Some(0.0), Some(0.0)));
    assert_eq!(sell.profit, Some(d("9081.827263") - d("9.08182726") - d("9990.0099893") - d("9.99000998")));
}

#[test]
fn risk_refuses_what_its_limits_do_not_allow_and_sells_what_only_reduces() {
    let set = |set: LimitSet| Some(Box::new(Limits { default: set, ..Limits::default() }));
    let prices = closes(&[10_000, 11_000, 12_100, 13_000, 10_000, 9_000]);
    let figures = |limits: LimitSet| {
        let got = outcome(&BacktestJob { limits: set(limits), ..job(1, 2) }, &prices).metrics;
        (got.trades, got.refused)
    };
    let wide = LimitSet { notional_usd_max: d("100000"), exposure_usd_max: d("100000"), ..LimitSet::default() };
    assert_eq!(figures(wide.clone()), (2, 0));
    // Asked again at each bar, as live.
    assert_eq!(figures(LimitSet { notional_usd_max: d("5000"), ..wide.clone() }), (0, 3));
    assert_eq!(figures(LimitSet { exposure_usd_max: d("5000"), ..wide.clone() }), (0, 3));
    // The sale after the fall reduces: no limit of loss stands against it. Buying anew after it does.
    let prices = closes(&[10_000, 11_000, 9_000, 9_000, 9_500, 9_500]);
    let job = BacktestJob { limits: set(LimitSet { drawdown_pct_max: d("10"), ..wide }), ..job(1, 2) };
    let got = outcome(&job, &prices).metrics;
    assert_eq!((got.trades, got.refused), (2, 1));
}

#[test]
fn a_job_that_cannot_be_run_says_what_would_be_right() {
    let check = |job: BacktestJob, words: &[&str]| {
        let result = Settings::of(&job).and_then(|settings| run(&settings, &closes(&[100, 101]), &()).map(drop));
        let error = result.unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "{error}: no `{word}`");
        }
    };
    check(job(30, 10), &["fast = 30", "not below slow"]);
    check(BacktestJob { params: BTreeMap::new(), ..job(1, 2) }, &["fast", "missing"]);
    let params = |key: &str, value: &str| {
        let mut params = job(1, 2).params;
        params.insert(key.into(), value.into());
        params
    };
    check(BacktestJob { params: params("speed", "1"), ..job(1, 2) }, &["speed", "no such parameter"]);
    check(BacktestJob { params: params("quantity", "-1"), ..job(1, 2) }, &["quantity = -1", "above 0"]);
    check(BacktestJob { cash: d("0"), ..job(1, 2) }, &["cash"]);
    check(BacktestJob { kind: StrategyKind::External, ..job(1, 2) }, &["external"]);
    let limits = Some(Box::new(Limits::default()));
    check(BacktestJob { limits, symbol: "BTCTRY".into(), ..job(1, 2) }, &["limits", "TRY"]);
}

#[test]
fn whoever_watches_sees_all_bars_and_may_end_the_run() {
    let prices = closes(&vec![100; 200_000]);
    let (seen, calls) = (AtomicU64::new(0), AtomicU64::new(0));
    let watch = |done: u64, total: u64| {
        assert_eq!(total, 200_000);
        seen.store(done, Ordering::Relaxed);
        calls.fetch_add(1, Ordering::Relaxed);
        ControlFlow::Continue(())
    };
    run(&Settings::of(&job(10, 30)).unwrap(), &prices, &watch).unwrap();
    assert_eq!((seen.into_inner(), calls.into_inner()), (200_000, 4));
    let stop = |done: u64, _: u64| if done > 100_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let got = run(&Settings::of(&job(10, 30)).unwrap(), &prices, &stop);
    assert!(matches!(got, Err(Error::Cancelled)), "{got:?}");
    let swept = sweep::run(&Settings::of(&job(10, 30)).unwrap(), &grid(), &prices, &stop);
    assert!(matches!(swept, Err(Error::Cancelled)), "{swept:?}");
}

fn grid() -> sweep::Sweep {
    BTreeMap::from([
        ("fast".into(), ["2", "3", "5", "8", "20"].map(str::to_owned).to_vec()),
        ("slow".into(), ["6", "9", "15"].map(str::to_owned).to_vec()),
    ])
}

fn wave(count: i64) -> Bars {
    let price = |at: i64| 10_000 + (at % 97 - 48).abs() * 40 + (at % 13) * 25;
    closes(&(0..count).map(price).collect::<Vec<_>>())
}

#[test]
fn a_sweep_gives_each_combination_the_figures_of_its_own_run_ranked_by_sharpe() {
    let (prices, job) = (wave(3_000), job(10, 30));
    let settings = Settings::of(&job).unwrap();
    let all = sweep::run(&settings, &grid(), &prices, &()).unwrap();
    assert_eq!(all.len(), 15);
    for tried in &all {
        let own = run(&Settings { params: tried.params.clone(), ..settings.clone() }, &prices, &());
        match own {
            Ok(own) => assert_eq!(tried.metrics.as_ref(), Some(&own.metrics)),
            Err(error) => assert_eq!(tried.error, Some(error.to_string())),
        }
    }
    let refused = all.iter().filter(|tried| tried.metrics.is_none()).count();
    assert_eq!(refused, 4, "20 is above every slow one, 8 above 6");
    assert!(all[11..].iter().all(|tried| tried.error.is_some()));
    let sharpe: Vec<f64> = all[..11].iter().map(|tried| tried.metrics.as_ref().unwrap().sharpe.unwrap()).collect();
    assert!(sharpe.windows(2).all(|pair| pair[0] >= pair[1]), "{sharpe:?}");
    assert_eq!(sweep::run(&settings, &grid(), &prices, &()).unwrap(), all, "whoever worked on what");
    let none = BTreeMap::from([("fast".into(), vec!["40".into(), "50".into()])]);
    assert!(sweep::run(&settings, &none, &prices, &()).unwrap_err().to_string().contains("not below slow"));
}

#[test]
fn a_walk_chooses_on_the_training_part_and_tries_on_the_part_after_it() {
    let (prices, job) = (wave(1_000), job(10, 30));
    let settings = Settings::of(&job).unwrap();
    let split = WalkForward { train_bars: 400, test_bars: 250 };
    let walked = walk::run(&settings, &grid(), split, &prices, &()).unwrap();
    let minute = |bar: i64| Timestamp::from_nanos(START + MINUTE * bar);
    let parts: Vec<_> = walked.windows.iter().map(|window| (window.train_from, window.test_from, window.test_to)).collect();
    assert_eq!(
        parts,
        [
            (minute(0), minute(400), minute(650)),
            (minute(250), minute(650), minute(900)),
            (minute(500), minute(900), minute(1_000)),
        ]
    );
    assert_eq!(walked.windows.iter().map(|window| window.test.bars).collect::<Vec<_>>(), [250, 250, 100]);
    // Changing what comes later changes no earlier choice.
    let mut changed: Vec<i64> = (0..1_000).map(|row| prices.closes()[row]).collect();
    changed[650..].iter_mut().for_each(|close| *close = 20_000 - *close / 2);
    let other = walk::run(&settings, &grid(), split, &closes(&changed), &()).unwrap();
    assert_eq!(other.windows[0], walked.windows[0]);
    let error = walk::run(&settings, &grid(), WalkForward { train_bars: 1_000, test_bars: 1 }, &prices, &()).unwrap_err();
    assert!(error.to_string().contains("train_bars = 1000: there are 1000 bars"), "{error}");
}

#[test]
fn the_hash_of_trades_is_that_of_their_lines() {
    let at = Timestamp::from_nanos(1_723_161_300_000_000_000);
    let line = spark_backtest::engine::line("BTCUSDT", Side::Buy, d("0.01618000"), d("61837.630"), d("0.00001618"), at);
    assert_eq!(line, "BTCUSDT buy 0.01618 61837.63 0.00001618 1723161300000000000\n");
}
