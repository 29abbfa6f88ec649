use proptest::prelude::*;
use spark_bus_schema::DecimalColumn;

use super::*;
use crate::calibration::OUTCOMES;

const QUARTER: i64 = 900;

fn at(n: i64) -> Timestamp {
    Timestamp::from_nanos((1_699_999_200 + n * QUARTER) * 1_000_000_000)
}

fn close(n: i64) -> f64 {
    100.0 + (n * 7 % 23) as f64 - (n * 5 % 11) as f64
}

fn bar(n: i64) -> Bar {
    Bar { open_time: at(n), values: [close(n), close(n) + 1.0, close(n) - 1.0, close(n), 3.0] }
}

fn history(rows: impl Iterator<Item = i64>) -> CandleHistory {
    let rows: Vec<i64> = rows.collect();
    let column = |value: &dyn Fn(i64) -> f64| {
        let mut column = DecimalColumn { scale: 0, ..DecimalColumn::default() };
        rows.iter().for_each(|n| column.push(spark_bus_schema::Fixed::parse(&value(*n).to_string()).unwrap()).unwrap());
        column
    };
    CandleHistory {
        venue: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: TimeFrame::M15,
        open_time: rows.iter().map(|n| at(*n)).collect(),
        open: column(&close),
        high: column(&|n| close(n) + 1.0),
        low: column(&|n| close(n) - 1.0),
        close: column(&close),
        volume: column(&|_| 3.0),
        fetched_at: at(0),
    }
}

struct World {
    model: Model,
    series: Series,
    seen: Vec<Seen>,
}

impl World {
    fn of(venue: Venue) -> Self {
        let model = Model::built_in();
        let series = Series::new(&model, venue, TimeFrame::M15);
        Self { model, series, seen: Vec::new() }
    }

    fn live(&mut self, n: i64) -> Option<Verdict> {
        let verdict = self.series.live(&self.model, bar(n), &mut self.seen);
        if let Some(verdict) = &verdict {
            self.series.told(at(n), verdict, false);
        }
        verdict
    }

    fn history(&mut self, rows: impl Iterator<Item = i64>) {
        self.series.history(&self.model, &history(rows), &mut self.seen);
    }
}

#[test]
fn history_first_and_candles_first_lead_to_the_same_indicators() {
    let (mut first, mut late) = (World::of(Venue::Binance), World::of(Venue::Binance));
    first.history(0..100);
    (100..103).for_each(|n| assert!(first.live(n).unwrap().score.is_some(), "warm from the first candle on"));
    (100..103).for_each(|n| assert!(late.live(n).unwrap().score.is_none(), "not warm yet"));
    late.history(0..100);
    assert_eq!((&first.series.fusion, &first.series.before), (&late.series.fusion, &late.series.before));
    assert_eq!(first.live(103).unwrap(), late.live(103).unwrap());
}

#[test]
fn history_that_holds_the_live_candles_too_changes_nothing_about_them() {
    let (mut first, mut late) = (World::of(Venue::Binance), World::of(Venue::Binance));
    first.history(0..103);
    (100..102).for_each(|n| {
        late.live(n);
    });
    late.history(0..103);
    assert_eq!(first.series.fusion, late.series.fusion);
    let verdict = first.live(102);
    assert!(verdict.unwrap().score.is_some(), "its score is told once its live candle comes");
    assert_eq!(first.live(102), None, "and only once");
    assert_eq!(verdict, late.live(102));
}

#[test]
fn a_candle_counts_once_and_older_ones_not_at_all() {
    let mut world = World::of(Venue::Binance);
    (0..40).for_each(|n| {
        world.live(n);
    });
    let before = world.series.clone();
    for n in [39, 39, 38, 0, -5] {
        assert_eq!(world.live(n), None, "{n}");
    }
    world.history(0..40);
    assert_eq!(world.series.fusion, before.fusion);
}

#[test]
fn a_hole_begins_anew_where_the_venue_never_closes_and_history_may_fill_it() {
    let mut world = World::of(Venue::Binance);
    (0..40).for_each(|n| {
        world.live(n);
    });
    assert!(world.live(42).unwrap().score.is_none(), "41 is missing");
    assert!(world.series.pending.is_empty(), "nobody knows how many candles went by");
    world.history(0..42);
    assert!(world.live(43).unwrap().score.is_some());
    let mut without_hole = World::of(Venue::Binance);
    without_hole.history(0..44);
    assert_eq!(world.series.fusion, without_hole.series.fusion);
    let mut short = World::of(Venue::Binance);
    (42..44).for_each(|n| {
        short.live(n);
    });
    short.history(0..41);
    assert!(short.live(44).unwrap().score.is_none(), "history ends before the hole does");
    let mut bist = World::of(Venue::Bist);
    (0..40).for_each(|n| {
        bist.live(n);
    });
    assert!(bist.live(90).unwrap().score.is_some(), "the session was over");
}

#[test]
fn history_in_rows_that_continue_the_live_candles_is_taken_in() {
    let (mut world, mut whole) = (World::of(Venue::Binance), World::of(Venue::Binance));
    (0..40).for_each(|n| {
        world.live(n);
    });
    world.history(30..50);
    (0..50).for_each(|n| {
        whole.live(n);
    });
    assert_eq!(world.series.fusion, whole.series.fusion);
}

#[test]
fn outcomes_are_seen_at_the_horizon() {
    let mut world = World::of(Venue::Binance);
    world.history(0..40);
    world.live(40);
    (41..44).for_each(|n| {
        world.live(n);
    });
    assert!(world.seen.is_empty());
    world.live(44);
    let [seen] = world.seen[..] else { panic!("{:?}", world.seen) };
    let move_bps = (close(44) / close(40) - 1.0) * 10_000.0;
    assert_eq!((seen.of.open_time, seen.move_bps), (at(40), move_bps));
    assert_eq!(seen.hit, move_bps * seen.of.score > 0.0);
}

#[test]
fn asking_changes_nothing_and_equals_what_comes() {
    let mut world = World::of(Venue::Binance);
    world.history(0..60);
    let blend = Blend::of(&world.model);
    let before = world.series.clone();
    let next = world.series.ask(&bar(60), &blend).unwrap();
    let newest = world.series.ask(&bar(59), &blend).unwrap();
    let within = Bar { open_time: at(60) + std::time::Duration::from_secs(77), ..bar(60) };
    assert_eq!(world.series.ask(&within, &blend), Ok(next), "a moment of it will do");
    assert!(world.series.ask(&bar(58), &blend).unwrap_err().contains("is before the newest candle"));
    assert!(world.series.ask(&bar(62), &blend).unwrap_err().contains("are not known"));
    assert_eq!(world.series, before);
    assert_eq!(world.live(60).unwrap(), next);
    assert_eq!(world.live(59), None);
    let mut shorter = World::of(Venue::Binance);
    shorter.history(0..59);
    assert_eq!(shorter.live(59).unwrap(), newest);
}

#[test]
fn what_is_kept_is_bounded() {
    let mut world = World::of(Venue::Binance);
    (0..2_000).for_each(|n| {
        world.live(n);
    });
    assert!(world.series.run.is_empty() && world.series.pending.len() <= 4);
    for seen in std::mem::take(&mut world.seen) {
        let Seen { of, move_bps, hit } = seen;
        world.series.windows.seen(crate::calibration::Sample { confid: of.confid, parts: of.parts, move_bps, hit });
    }
    assert_eq!(world.series.windows.figures().samples, OUTCOMES as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_comes_in_whatever_order_the_indicators_are_those_of_the_sorted_candles(
        late in 0usize..30, repeats in proptest::collection::vec(0i64..40, 0..10),
    ) {
        // Live candles 100 …, history of 0 … 99 after `late` of them, duplicates in between.
        let (mut world, mut sorted) = (World::of(Venue::Binance), World::of(Venue::Binance));
        for n in 0..40 {
            if n == late {
                world.history(0..100);
            }
            world.live(100 + n as i64);
            repeats.iter().filter(|repeat| **repeat <= n as i64).for_each(|repeat| {
                world.live(100 + repeat);
            });
        }
        sorted.history(0..140);
        prop_assert_eq!(world.series.fusion, sorted.series.fusion);
    }
}
