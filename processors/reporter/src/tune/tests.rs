use super::{MINUTES_MIN, Outcome, Subject, Thresholds, nearest_rank, propose};

fn both(warning: f64, critical: f64) -> Thresholds {
    Thresholds { warning: Some(warning), critical: Some(critical) }
}

fn above(specified: Thresholds, allow_looser: bool) -> Subject {
    Subject { above: true, counts: false, specified, allow_looser }
}

fn thresholds(subject: &Subject, values: Vec<f64>) -> (Thresholds, bool) {
    match propose(subject, values) {
        Outcome::Proposed { thresholds, held_back, .. } => (thresholds, held_back),
        other => panic!("{other:?}"),
    }
}

/// 1, 2, … 1000, in an order that is none.
fn thousand() -> Vec<f64> {
    (0..1_000).map(|index| f64::from(index * 7 % 1_000 + 1)).collect()
}

#[test]
fn thresholds_are_percentiles_with_a_margin() {
    // p99 = 990, p99.9 = 999.
    assert_eq!(thresholds(&above(both(1_500.0, 3_000.0), true), thousand()), (both(1_240.0, 1_500.0), false));
}

#[test]
fn a_quiet_week_does_not_make_them_tighter_than_the_floor() {
    assert_eq!(thresholds(&above(both(1_500.0, 3_000.0), true), vec![0.0; 500]), (both(375.0, 750.0), false));
    let counts = Subject { counts: true, ..above(both(2.0, 5.0), true) };
    assert_eq!(thresholds(&counts, vec![0.0; 500]), (both(1.0, 1.25), false));
}

#[test]
fn a_bound_holds_the_critical_back_and_the_warning_stays_below_it() {
    let values: Vec<f64> = thousand().into_iter().map(|value| value * 10.0).collect();
    assert_eq!(thresholds(&above(both(1_500.0, 3_000.0), false), values.clone()), (both(2_400.0, 3_000.0), true));
    assert_eq!(thresholds(&above(both(1_500.0, 3_000.0), true), values.clone()), (both(12_400.0, 15_000.0), false));
    let warning = Thresholds { warning: Some(200.0), critical: None };
    assert_eq!(thresholds(&above(warning, false), values), (warning, true), "the only threshold is bound itself");
}

#[test]
fn below_is_the_mirror_image() {
    let subject = Subject { above: false, counts: false, specified: both(100.0, 50.0), allow_looser: false };
    // Of 101 … 1100 the bad end: p1 = 111 (10 of 1000 are below it), p0.1 = 102.
    let values: Vec<f64> = thousand().into_iter().map(|value| value + 100.0).collect();
    assert_eq!(thresholds(&subject, values), (both(88.8, 68.0), false));
    assert_eq!(thresholds(&subject, vec![10.0; 500]), (both(62.5, 50.0), true));
}

#[test]
fn too_few_minutes_give_no_proposal() {
    let subject = above(both(1.0, 2.0), true);
    assert_eq!(propose(&subject, vec![1.0; MINUTES_MIN - 1]), Outcome::TooFew { minutes: MINUTES_MIN - 1 });
    assert!(matches!(propose(&subject, vec![1.0; MINUTES_MIN]), Outcome::Proposed { .. }));
    let mut values = vec![1.0; MINUTES_MIN - 1];
    values.push(f64::NAN);
    assert!(matches!(propose(&subject, values), Outcome::TooFew { .. }), "what is no number is no observation");
}

#[test]
fn ranks_are_counted_from_one() {
    assert_eq!(nearest_rank(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.0);
    assert_eq!(nearest_rank(&[1.0, 2.0, 3.0, 4.0], 0.51), 3.0);
    assert_eq!(nearest_rank(&[1.0], 0.999), 1.0);
}
