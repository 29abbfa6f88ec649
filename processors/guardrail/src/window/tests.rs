use std::time::Duration;

use proptest::prelude::*;
use spark_bus_schema::Timestamp;

use super::cells::VALUE_MAX;
use super::quantile::rank;
use super::*;

const LENGTH: Duration = Duration::from_secs(30);

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + ms)
}

/// What a window that keeps every sample would still hold: whole slices, the current one and the `slices` before it.
fn exact(samples: &[(i64, u64)], now: i64, slices: i64) -> Vec<u64> {
    let slice = slice_ns(LENGTH, slices);
    let newest = slice_index(at(now), slice);
    let mut held: Vec<u64> =
        samples.iter().filter(|(ms, _)| slice_index(at(*ms), slice) >= newest - slices).map(|(_, value)| *value).collect();
    held.sort_unstable();
    held
}

fn timeline() -> impl Strategy<Value = Vec<(i64, u64)>> {
    let value = prop_oneof![0_u64..300, 300_u64..100_000, 100_000_u64..=VALUE_MAX];
    prop::collection::vec((0_i64..4_000, value), 1..120).prop_map(|steps| {
        let mut now = 0;
        steps
            .into_iter()
            .map(|(step, value)| {
                now += step;
                (now, value)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "comparison of statistics")]
    fn a_quantile_is_within_one_percent_of_the_sorted_samples(samples in timeline(), q in 0.0_f64..=1.0, idle in 0_i64..40_000) {
        let mut window = QuantileWindow::new(LENGTH);
        for (ms, value) in &samples {
            window.record(at(*ms), i64::try_from(*value).unwrap());
        }
        let now = samples.last().map_or(0, |(ms, _)| *ms) + idle;
        let held = exact(&samples, now, quantile::SLICES);
        let got = window.quantile(at(now), q);
        prop_assert_eq!(window.samples(), held.len() as u64);
        match (got, held.is_empty()) {
            (None, true) => {}
            (Some(got), false) => {
                let want = held[usize::try_from(rank(q, held.len() as u64)).unwrap() - 1] as f64;
                prop_assert!((got - want).abs() <= want * 0.01, "{got} for {want}");
            }
            other => prop_assert!(false, "{other:?} for {held:?}"),
        }
    }

    #[test]
    fn a_restored_quantile_window_goes_on_as_if_nothing_had_happened(samples in timeline(), cut in 0_usize..120) {
        let mut straight = QuantileWindow::new(LENGTH);
        let mut restarted = QuantileWindow::new(LENGTH);
        for (number, (ms, value)) in samples.iter().enumerate() {
            let value = i64::try_from(*value).unwrap();
            straight.record(at(*ms), value);
            restarted.record(at(*ms), value);
            if number == cut {
                let bytes = rmp_serde::to_vec(&restarted.save()).unwrap();
                restarted = QuantileWindow::new(LENGTH);
                restarted.restore(&rmp_serde::from_slice(&bytes).unwrap()).unwrap();
            }
            prop_assert_eq!(straight.quantile(at(*ms), 0.95), restarted.quantile(at(*ms), 0.95));
        }
        prop_assert_eq!(straight.save(), restarted.save());
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "comparison of statistics")]
    fn counts_and_ratios_are_exact_over_whole_slices(samples in timeline(), idle in 0_i64..40_000) {
        let mut window = CountWindow::new(LENGTH);
        for (ms, value) in &samples {
            window.add(at(*ms), 1, u64::from(value % 3 == 0));
        }
        let now = samples.last().map_or(0, |(ms, _)| *ms) + idle;
        let held = exact(&samples, now, count::SLICES);
        let marked = held.iter().filter(|value| *value % 3 == 0).count();
        prop_assert_eq!(window.count(at(now)), held.len() as u64);
        prop_assert_eq!(window.per_second(at(now)), held.len() as f64 / 30.0);
        prop_assert_eq!(window.ratio(at(now)), (!held.is_empty()).then(|| marked as f64 / held.len() as f64));
    }

    #[test]
    fn nothing_within_the_length_is_ever_forgotten_and_nothing_older_than_a_slice_more_is_kept(age in 0_i64..40_000) {
        let mut quantile = QuantileWindow::new(LENGTH);
        let mut count = CountWindow::new(LENGTH);
        quantile.record(at(0), 7);
        count.add(at(0), 1, 0);
        quantile.advance(at(age));
        let (got_quantile, got_count) = (quantile.samples(), count.count(at(age)));
        if age <= 30_000 {
            prop_assert_eq!((got_quantile, got_count), (1, 1));
        }
        if age > 31_000 { prop_assert_eq!(got_quantile, 0); }
        if age > 30_500 { prop_assert_eq!(got_count, 0); }
    }
}

#[test]
fn an_empty_window_has_no_quantile_and_no_ratio_but_counts_zero() {
    let check = |aggregation, want| assert_eq!(Window::new(aggregation, LENGTH).read(at(0)), Reading { value: want, samples: 0 });
    check(Aggregation::Quantile(0.95), None);
    check(Aggregation::Ratio, None);
    check(Aggregation::Count, Some(0.0));
    check(Aggregation::Rate, Some(0.0));
    check(Aggregation::Staleness, None);
    check(Aggregation::Gauge, None);
}

#[test]
fn values_out_of_range_are_clamped_and_counted() {
    let mut window = QuantileWindow::new(LENGTH);
    window.record(at(0), -5);
    assert_eq!(window.quantile(at(0), 1.0), Some(0.0));
    window.record(at(0), i64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "comparison of statistics")]
    let top = VALUE_MAX as f64;
    assert!(window.quantile(at(0), 1.0).is_some_and(|value| (value - top).abs() < top * 0.01));
    assert_eq!((window.samples(), window.clamped()), (2, 2));
}

#[test]
fn time_that_goes_back_counts_as_now_and_a_leap_empties_the_window() {
    let mut window = QuantileWindow::new(LENGTH);
    window.record(at(60_000), 1);
    window.record(at(0), 2);
    assert_eq!((window.samples(), window.quantile(at(0), 1.0)), (2, Some(2.0)));
    window.advance(Timestamp::from_nanos(i64::MAX));
    assert_eq!(window.samples(), 0);
    window.record(Timestamp::from_nanos(i64::MIN), 3);
    assert_eq!(window.samples(), 1);
}

#[test]
fn staleness_counts_from_the_last_event_or_from_the_expectation() {
    let mut window = StalenessWindow::default();
    assert_eq!(window.age(at(0)), None);
    window.expect(at(0));
    window.expect(at(500));
    assert_eq!(window.age(at(1_000)), Some(Duration::from_secs(1)));
    window.saw(at(1_500));
    window.saw(at(1_400));
    assert_eq!(window.age(at(2_000)), Some(Duration::from_millis(500)));
    assert_eq!(window.age(at(0)), Some(Duration::ZERO));
}

#[test]
fn a_gauge_ignores_what_is_no_number_and_forgets_after_its_length() {
    let mut window = GaugeWindow::new(Some(Duration::from_secs(1)));
    window.set(at(0), 3.0);
    window.set(at(100), f64::NAN);
    assert_eq!((window.level(at(1_000)), window.level(at(1_001))), (Some(3.0), None));
}

#[test]
fn the_saved_form_holds_only_cells_that_are_not_zero() {
    let mut window = QuantileWindow::new(Duration::from_secs(300));
    for number in 0..100_000 {
        window.record(at(number * 3), 1_000 + number % 50);
    }
    let bytes = rmp_serde::to_vec(&window.save()).unwrap();
    assert!(bytes.len() < 8 * 1024, "{} bytes", bytes.len());
}

fn burn(long_s: u64, short_s: u64) -> Burn {
    let pair = |long: u64, short: u64| BurnPair { long: Duration::from_secs(long), short: Duration::from_secs(short) };
    Burn { objective: 0.99, warning: Some(pair(long_s * 6, short_s * 6)), critical: Some(pair(long_s, short_s)) }
}

/// All outcomes kept, and the share that failed among those a window of `length` still covers: whole slices.
#[expect(clippy::cast_precision_loss, reason = "comparison of statistics")]
fn share(outcomes: &[(i64, u64, u64)], now: i64, length: Duration) -> Option<(f64, u64)> {
    let slice = slice_ns(length, count::SLICES);
    let newest = slice_index(at(now), slice);
    let held = || outcomes.iter().filter(|(ms, ..)| slice_index(at(*ms), slice) >= newest - count::SLICES);
    let (all, failed) = held().fold((0, 0), |(all, failed), (_, a, f)| (all + a, failed + f));
    (all > 0).then(|| (failed as f64 / all as f64, all))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_burn_rate_is_that_of_all_outcomes_kept(
        steps in prop::collection::vec((0_i64..20_000, 0_u64..50, 0_u64..50), 1..150),
        idle in 0_i64..100_000,
        cut in 0_usize..150,
    ) {
        let burn = burn(60, 5);
        let mut window = BurnWindow::new(burn);
        let mut outcomes = Vec::new();
        let mut now = 0;
        for (number, (step, all, failed)) in steps.into_iter().enumerate() {
            now += step;
            let failed = failed.min(all);
            window.add(at(now), all, failed);
            outcomes.push((now, all, failed));
            if number == cut {
                let bytes = rmp_serde::to_vec(&window.save()).unwrap();
                window = BurnWindow::new(burn);
                window.restore(rmp_serde::from_slice(&bytes).unwrap()).unwrap();
            }
        }
        for now in [now, now + idle] {
            for severity in [Severity::Warning, Severity::Critical] {
                let pair = burn.of(severity).unwrap();
                let got = window.read(at(now), severity);
                let (long, short) = (share(&outcomes, now, pair.long), share(&outcomes, now, pair.short));
                prop_assert_eq!(got.samples, long.map_or(0, |(_, all)| all));
                match (got.value, long.zip(short)) {
                    (None, None) => {}
                    (Some(got), Some(((long, _), (short, _)))) => {
                        let want = long.min(short) / 0.01;
                        prop_assert!((got - want).abs() <= want * 1e-9, "{got} for {want}");
                        // Above a factor exactly when both windows are.
                        let factor = 14.4;
                        if (long / 0.01 - factor).abs() > 1e-6 && (short / 0.01 - factor).abs() > 1e-6 {
                            prop_assert_eq!(got > factor, long / 0.01 > factor && short / 0.01 > factor);
                        }
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }
}

#[test]
fn a_burn_of_everything_failing_is_the_whole_of_the_budget() {
    let mut window = BurnWindow::new(burn(60, 5));
    assert_eq!(window.read(at(0), Severity::Critical), Reading { value: None, samples: 0 });
    window.add(at(0), 10, 10);
    let value = window.read(at(0), Severity::Critical).value.unwrap();
    assert!((value - 100.0).abs() < 1e-9 && (burn(60, 5).fastest() - 100.0).abs() < 1e-9, "{value}");
    assert_eq!(window.read(at(6_000), Severity::Critical).value, None, "the short window is empty");
    assert!(window.restore(vec![]).is_err());
}
