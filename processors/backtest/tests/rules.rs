//! The model and mean reversion in the engine, against their live code asked by hand, bar after bar.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use rust_decimal::{Decimal, RoundingStrategy};
use spark_backtest::data::Bars;
use spark_backtest::engine::{Outcome, Settings, run};
use spark_bus_schema::backtests::{BacktestJob, DataSource, FillAt};
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::market::Side;
use spark_bus_schema::strategies::StrategyKind;
use spark_bus_schema::{Fixed, Timestamp, Venue};
use spark_signal::fusion::Fusion;
use spark_signal::model::Model;
use spark_strategy::mean_reversion::{MeanReversion, Rules};
use spark_strategy::rule::Bar;

const START: i64 = 1_700_000_000_000_000_000;
const MINUTE: i64 = 60_000_000_000;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn job(kind: StrategyKind, params: &[(&str, &str)]) -> BacktestJob {
    BacktestJob {
        id: "test".into(),
        strategy: None,
        kind,
        params: params.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
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

/// One bar in cents, and what was traded in it.
#[derive(Clone, Copy, Debug)]
struct Cents {
    open: i64,
    high: i64,
    low: i64,
    close: i64,
    volume: i64,
}

fn outcome(job: &BacktestJob, prices: &[Cents]) -> Outcome {
    let mut bars = Bars::new(TimeFrame::M1);
    for (index, row) in prices.iter().enumerate() {
        let price = |mantissa| Fixed { mantissa, scale: 2 };
        let bar = Bar {
            open_time: Timestamp::from_nanos(START + MINUTE * i64::try_from(index).unwrap()),
            open: price(row.open),
            high: price(row.high),
            low: price(row.low),
            close: price(row.close),
            volume: Fixed { mantissa: row.volume, scale: 0 },
        };
        bars.push(&bar).unwrap();
    }
    run(&Settings::of(job).unwrap(), &bars, &()).unwrap()
}

type Line = (usize, Side, Decimal, Decimal, Decimal);

/// Row of the decision, side, quantity, price, fee.
fn lines(outcome: &Outcome) -> Vec<Line> {
    let row = |at: Timestamp| usize::try_from((at.as_nanos() - START) / MINUTE - 1).unwrap();
    let each = outcome.trades.iter();
    each.map(|it| (row(it.decided_at), it.side, it.quantity.normalize(), it.price.normalize(), it.fee.normalize())).collect()
}

/// A purse whose orders at the close are filled whole or, where it has not enough, not at all.
struct Purse {
    cash: Decimal,
    held: Decimal,
    lines: Vec<Line>,
    rejected: u64,
}

impl Purse {
    fn new() -> Self {
        Self { cash: d("10000"), held: Decimal::ZERO, lines: Vec::new(), rejected: 0 }
    }

    fn trade(&mut self, row: usize, side: Side, quantity: Decimal, price: Decimal) {
        let fee = (price * quantity * d("0.001")).round_dp_with_strategy(8, RoundingStrategy::ToZero);
        let (cash, held) = match side {
            Side::Buy => (self.cash - price * quantity - fee, self.held + quantity),
            Side::Sell => (self.cash + price * quantity - fee, self.held - quantity),
        };
        if cash < Decimal::ZERO || held < Decimal::ZERO {
            self.rejected += 1;
            return;
        }
        (self.cash, self.held) = (cash, held);
        self.lines.push((row, side, quantity.normalize(), price.normalize(), fee.normalize()));
    }
}

fn cents(value: i64) -> Decimal {
    Decimal::new(value, 2)
}

/// All in or out, as the side says that follows from the model's score.
fn by_model(prices: &[Cents], quantity: Option<Decimal>) -> Purse {
    let mut fusion = Fusion::new(&Model::built_in());
    let mut purse = Purse::new();
    for (row, it) in prices.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let value = |cents: i64| cents as f64 / 100.0;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let verdict = fusion.on_bar(value(it.open), value(it.high), value(it.low), value(it.close), it.volume as f64);
        let price = cents(it.close);
        let all = (purse.cash / (price * d("1.001"))).round_dp_with_strategy(8, RoundingStrategy::ToZero);
        match verdict.side {
            Some(Side::Buy) if purse.held.is_zero() => purse.trade(row, Side::Buy, quantity.unwrap_or(all), price),
            Some(Side::Sell) if !purse.held.is_zero() => purse.trade(row, Side::Sell, purse.held, price),
            _ => {}
        }
    }
    purse
}

fn by_mean_reversion(prices: &[Cents], rules: &Rules) -> Purse {
    let mut rule = MeanReversion::default();
    let mut purse = Purse::new();
    for (row, it) in prices.iter().enumerate() {
        if let Some(wish) = rule.next(rules, cents(it.close), purse.held) {
            purse.trade(row, wish.side, rules.quantity, cents(it.close));
        }
    }
    purse
}

fn walks() -> impl Strategy<Value = Vec<Cents>> {
    let step = (-300_i64..300, 0_i64..100, 0_i64..100, 0_i64..20);
    proptest::collection::vec(step, 1..250).prop_map(|steps| {
        let mut price = 10_000_i64;
        let rows = steps.into_iter().map(|(step, up, down, volume)| {
            let open = price;
            price = (open + step).max(200);
            // One in twenty has no volume: the model is silent about it.
            Cents { open, high: open.max(price) + up, low: open.min(price) - down, close: price, volume }
        });
        rows.collect()
    })
}

/// Long ways up and down with a ripple on them.
fn waves() -> Vec<Cents> {
    let price = |at: i64| 10_000 + (at % 160 - 80).abs() * 30 + at % 7 * 20;
    let row = |at: i64| Cents {
        open: price(at - 1),
        high: price(at - 1).max(price(at)) + 5,
        low: price(at - 1).min(price(at)) - 5,
        close: price(at),
        volume: 3,
    };
    (1..=1_000).map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_model_trades_on_the_sides_of_its_live_scores(prices in walks(), is_sized in any::<bool>()) {
        let params: &[_] = if is_sized { &[("quantity", "0.25")] } else { &[] };
        let got = outcome(&job(StrategyKind::MlFusion, params), &prices);
        let want = by_model(&prices, is_sized.then(|| d("0.25")));
        prop_assert_eq!(lines(&got), want.lines);
        prop_assert_eq!(got.rejected, want.rejected);
    }

    #[test]
    fn mean_reversion_trades_what_its_live_rule_wishes(
        prices in walks(),
        window in 2_usize..20,
        threshold in 0_i64..200,
        most in 1_i64..4,
    ) {
        let rules = Rules { quantity: d("0.5"), position_max: Decimal::new(most * 5, 1), window, threshold_pct: cents(threshold) };
        let texts = (rules.position_max.to_string(), window.to_string(), rules.threshold_pct.to_string());
        let params = [("quantity", "0.5"), ("position_max", &texts.0), ("window", &texts.1), ("threshold_pct", &texts.2)];
        let got = outcome(&job(StrategyKind::MeanReversion, &params), &prices);
        let want = by_mean_reversion(&prices, &rules);
        prop_assert_eq!(lines(&got), want.lines);
        prop_assert_eq!(got.rejected, want.rejected);
        let last = prices.last().map_or(Decimal::ZERO, |row| cents(row.close));
        prop_assert_eq!(got.metrics.final_equity, (want.cash + want.held * last).normalize());
    }
}

#[test]
fn on_long_waves_both_trade_often() {
    let prices = waves();
    let got = outcome(&job(StrategyKind::MlFusion, &[]), &prices);
    assert_eq!(lines(&got), by_model(&prices, None).lines);
    assert!(got.trades.len() >= 10, "{:?}", lines(&got));
    let rules = Rules { quantity: d("0.5"), position_max: d("2"), window: 12, threshold_pct: Decimal::ZERO };
    let got = outcome(&job(StrategyKind::MeanReversion, &[("quantity", "0.5"), ("position_max", "2")]), &prices);
    assert_eq!(lines(&got), by_mean_reversion(&prices, &rules).lines, "the window is live's own where none is given");
    assert!(got.trades.len() >= 100, "{}", got.trades.len());
}

#[test]
fn what_they_have_no_parameter_for_and_what_is_missing_is_said() {
    let check = |kind, params: &[(&str, &str)], want: &str| {
        let error = Settings::of(&job(kind, params)).and_then(|settings| run(&settings, &Bars::default(), &())).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    };
    check(StrategyKind::MlFusion, &[("window", "3")], "window: ml_fusion has no such parameter");
    check(StrategyKind::MeanReversion, &[("position_max", "1")], "quantity: is missing");
    check(StrategyKind::MeanReversion, &[("quantity", "1")], "position_max: is missing");
    check(StrategyKind::MeanReversion, &[("quantity", "1"), ("position_max", "1"), ("slow", "3")], "slow: mean_reversion has no");
    check(StrategyKind::MeanReversion, &[("quantity", "2"), ("position_max", "1")], "below quantity");
}
