use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn sample(confid: f64, said: f64, move_bps: f64) -> Sample {
    Sample { confid, parts: Parts { rsi: said, macd: -said, trend: 0.1 }, move_bps, hit: said * move_bps > 0.0 }
}

#[test]
fn without_samples_nothing_is_said() {
    let figures = Windows::default().figures();
    assert_eq!((figures.samples, figures.brier, figures.drift_psi, figures.confid_median), (0, None, None, None));
    assert!(figures.correlation.is_empty() && figures.reliability.iter().all(|row| row.count == 0 && row.mean_confid == 0.0));
    assert_eq!(figures.reliability.iter().map(|row| row.ml_bucket.as_str()).collect::<Vec<_>>(), BUCKETS);
}

#[test]
fn a_part_that_says_it_always_correlates_and_one_without_variance_does_not() {
    let mut windows = Windows::default();
    for n in 0..20u32 {
        let said = f64::from(n) / 20.0 - 0.4;
        windows.seen(sample(0.7, said, said * 100.0));
    }
    let figures = windows.figures();
    assert!((figures.correlation["rsi"] - 1.0).abs() < 1e-12 && (figures.correlation["macd"] + 1.0).abs() < 1e-12);
    assert!(!figures.correlation.contains_key("trend"), "it always says the same");
}

#[test]
fn drift_is_nothing_for_the_same_scores_and_much_for_others() {
    let drift = |shift: f64| {
        let mut windows = Windows::default();
        for n in 0..DRIFT_WINDOW as u32 {
            windows.told(at(0), f64::from(n % 20) / 20.0 - 0.5, 0.7);
        }
        assert_eq!(windows.figures().drift_psi, None, "the newest scores are the reference itself");
        for n in 0..DRIFT_WINDOW as u32 {
            windows.told(at(0), f64::from(n % 20) / 20.0 - 0.5 + shift, 0.7);
        }
        windows.figures().drift_psi.unwrap()
    };
    assert_eq!(drift(0.0), 0.0);
    assert!(drift(0.5) > 0.25, "{}", drift(0.5));
}

#[test]
fn a_period_of_low_confidence_is_marked_from_its_beginning_to_its_end() {
    let mut windows = Windows::default();
    let told = |windows: &mut Windows, from: i64, confid: f64| {
        (from..from + MEDIAN_WINDOW as i64).for_each(|n| windows.told(at(n), 0.0, confid));
        windows.figures().low_confidence_since
    };
    assert_eq!(told(&mut windows, 0, 0.8), None);
    // Half of the newest fifty are low from the twenty-fifth on; the middle of 0.51 and 0.8 is not, one more is.
    assert_eq!(told(&mut windows, 100, 0.51), Some(at(125)));
    assert_eq!(told(&mut windows, 200, 0.51), Some(at(125)), "the same period");
    assert_eq!(told(&mut windows, 300, 0.8), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn figures_equal_a_recomputation_from_all_samples(
        raw in proptest::collection::vec((0.5f64..=1.0, -1.0f64..1.0, -50.0f64..50.0), 1..300),
    ) {
        let mut windows = Windows::default();
        raw.iter().for_each(|(confid, said, moved)| windows.seen(sample(*confid, *said, *moved)));
        let kept = &raw[raw.len().saturating_sub(OUTCOMES)..];
        let n = kept.len() as f64;
        let figures = windows.figures();
        prop_assert_eq!(figures.samples, kept.len() as u64);
        let hit = |said: f64, moved: f64| said * moved > 0.0;
        let brier = kept.iter().map(|(c, s, m)| if hit(*s, *m) { (1.0 - c) * (1.0 - c) } else { c * c }).sum::<f64>() / n;
        prop_assert!((figures.brier.unwrap() - brier).abs() < 1e-12);
        for (at, row) in figures.reliability.iter().enumerate() {
            let (low, high) = (0.5 + 0.1 * at as f64, 0.6 + 0.1 * at as f64);
            let inside = |c: f64| c >= low - 1e-12 && (c < high - 1e-12 || at == 4);
            let rows: Vec<_> = kept.iter().filter(|(c, ..)| inside(*c)).collect();
            prop_assert_eq!(row.count, rows.len() as u64, "{}", row.ml_bucket);
            prop_assert_eq!(row.hits, rows.iter().filter(|(_, s, m)| hit(*s, *m)).count() as u64);
        }
        if kept.len() >= 3 {
            // The one-pass formula, which is not the one in use.
            let (sx, sy) = (kept.iter().map(|r| r.1).sum::<f64>(), kept.iter().map(|r| r.2).sum::<f64>());
            let sxy = kept.iter().map(|r| r.1 * r.2).sum::<f64>();
            let (sxx, syy) = (kept.iter().map(|r| r.1 * r.1).sum::<f64>(), kept.iter().map(|r| r.2 * r.2).sum::<f64>());
            let want = (n * sxy - sx * sy) / ((n * sxx - sx * sx) * (n * syy - sy * sy)).sqrt();
            prop_assert!((figures.correlation["rsi"] - want).abs() < 1e-6, "{} {want}", figures.correlation["rsi"]);
        }
    }
}
