use std::collections::BTreeMap;

use rust_decimal::Decimal;
use spark_bus_schema::backtests::{BacktestJob, BacktestMetrics, DataSource, FillAt, JobState};
use spark_bus_schema::market::Side;
use spark_bus_schema::strategies::StrategyKind;
use spark_bus_schema::{Timestamp, Venue};

use super::*;
use crate::store::{EquityPoint, SweepRow, TradeRow, WindowRow};

const NASTY: &str = "</script><script>alert(1)</script>\"'&";

fn metrics(total_return_pct: f64) -> BacktestMetrics {
    BacktestMetrics {
        total_return_pct,
        sharpe: None,
        max_drawdown_pct: 12.5,
        win_rate_pct: Some(50.0),
        profit_factor: Some(1.25),
        trades: 2,
        refused: 0,
        bars: 100,
        final_equity: Decimal::from(9_900),
    }
}

fn detail() -> Detail {
    let at = |n: i64| Timestamp::from_millis(1_700_000_000_000 + n * 60_000);
    let job = BacktestJob {
        id: "a".to_owned(),
        strategy: None,
        kind: StrategyKind::SmaCross,
        params: BTreeMap::from([("fast".to_owned(), "10".to_owned())]),
        sweep: BTreeMap::from(["fast", "slow"].map(|key| (key.to_owned(), vec!["9".to_owned(), "10".to_owned()]))),
        walk_forward: None,
        venue: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: None,
        data: DataSource::Csv { path: format!("/{NASTY}.csv") },
        cash: Decimal::from(10_000),
        commission_pct: Decimal::new(1, 1),
        fill_at: FillAt::Close,
        limits: None,
        actor: NASTY.to_owned(),
        reason: NASTY.to_owned(),
        at: at(0),
    };
    let summary = Summary {
        job,
        state: JobState::Done,
        started_at: at(0),
        finished_at: Some(at(1)),
        attempts: 1,
        worker: NASTY.to_owned(),
        params: BTreeMap::from([("fast".to_owned(), NASTY.to_owned())]),
        metrics: Some(metrics(-1.0)),
        trades_hash: Some("aa".to_owned()),
        data_hash: Some("bb".to_owned()),
        error: Some(NASTY.to_owned()),
        range: Some((at(0), at(100))),
        took_ms: Some(1.5),
        combinations: 4,
        walk_return_pct: Some(3.0),
    };
    let point = |n: i64, equity: f64| EquityPoint { at: at(n), equity, drawdown_pct: 1.0, close: 100.0 };
    let trade = |number, side| TradeRow {
        number,
        at: at(3),
        side,
        quantity: Decimal::ONE,
        price: Decimal::ONE_HUNDRED,
        fee: Decimal::new(1, 1),
        fee_in_base: side == Side::Buy,
        profit: (side == Side::Sell).then_some(Decimal::from(-5)),
    };
    let row = |fast: &str, slow: &str, total| SweepRow {
        params: BTreeMap::from([("fast".to_owned(), fast.to_owned()), ("slow".to_owned(), slow.to_owned())]),
        metrics: Some(metrics(total)),
        error: None,
    };
    Detail {
        summary,
        equity: vec![point(0, 10_000.0), point(50, 10_500.0), point(100, 9_900.0)],
        trades: vec![trade(1, Side::Buy), trade(2, Side::Sell)],
        sweep: vec![
            row("9", "10", 2.0),
            row("10", "10", -4.0),
            SweepRow {
                params: BTreeMap::from([("fast".to_owned(), "x".to_owned())]),
                metrics: None,
                error: Some(NASTY.to_owned()),
            },
        ],
        walk: vec![WindowRow {
            train_from: at(0),
            test_from: at(50),
            test_to: at(100),
            params: BTreeMap::new(),
            train: metrics(5.0),
            test: metrics(3.0),
        }],
    }
}

#[test]
fn the_page_holds_everything_and_asks_for_nothing() {
    let page = html(&detail());
    for part in
        ["-1.00 %", "12.50 %", "Walk-forward", "Drawdown", "class=\"mark buy\"", "class=\"mark sell\"", "data-low", "+3.00 %"]
    {
        assert!(page.contains(part), "{part} is missing:\n{page}");
    }
    for outside in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "the page asks for {outside}");
    }
    let values = page.split("id=\"values\">").nth(1).and_then(|rest| rest.split("</script>").next()).unwrap();
    let values: serde_json::Value = serde_json::from_str(values).unwrap();
    assert_eq!(values["points"].as_array().unwrap().len(), 3);
}

#[test]
fn nothing_from_outside_becomes_markup() {
    let page = html(&detail());
    assert_eq!(page.matches("<script").count(), 2, "{page}");
    assert!(!page.contains("alert(1)</script>") && page.contains("&lt;/script&gt;"), "{page}");
}

#[test]
fn the_field_is_in_the_order_of_numbers_and_a_refused_combination_says_why() {
    let page = html(&detail());
    let field = page.split("class=\"field\"").nth(1).unwrap();
    assert!(field.find("<th>9</th>").unwrap() < field.find("<th>10</th>").unwrap());
    assert!(field.contains("heat down") && field.contains("heat up"));
    assert!(page.contains("colspan=\"4\">&lt;/script"));
}

#[test]
fn a_job_without_a_result_is_a_page_too() {
    let whole = detail();
    let summary = Summary { metrics: None, state: JobState::Failed, ..whole.summary };
    let page = html(&Detail { summary, equity: Vec::new(), trades: Vec::new(), sweep: Vec::new(), walk: Vec::new() });
    assert!(page.contains("failed by") && !page.contains("<svg"));
}
