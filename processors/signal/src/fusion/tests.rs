use proptest::prelude::*;

use super::*;

/// A fusion that has seen `count` candles of a price that goes up and down.
fn fed(count: u32) -> Fusion {
    let mut fusion = Fusion::new(&Model::built_in());
    (0..count).for_each(|n| {
        next(&mut fusion, n);
    });
    fusion
}

fn next(fusion: &mut Fusion, n: u32) -> Verdict {
    let close = 100.0 + f64::from(n * 7 % 23) / 10.0;
    fusion.on_bar(close, close + 1.0, close - 1.0, close, 5.0)
}

#[test]
fn what_cannot_be_believed_gives_no_score_names_the_field_and_changes_nothing() {
    let check = |bar: [f64; 5], want: &str| {
        for seen in [0, 50] {
            let mut fusion = fed(seen);
            let before = fusion.clone();
            let verdict = fusion.on_bar(bar[0], bar[1], bar[2], bar[3], bar[4]);
            assert_eq!((verdict.score, verdict.confid, verdict.parts, verdict.side), (None, None, None, None), "{bar:?}");
            let said = verdict.reason.expect("a reason").to_string();
            assert!(said.contains(want), "{bar:?}: {said}");
            assert_eq!(fusion, before, "{bar:?}");
        }
    };
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    check([nan, 101.0, 99.0, 100.0, 1.0], "o: null, NaN or infinite");
    check([100.0, inf, 99.0, 100.0, 1.0], "h: null, NaN or infinite");
    check([100.0, 101.0, -inf, 100.0, 1.0], "l: null, NaN or infinite");
    check([100.0, 101.0, 99.0, nan, 1.0], "c: null, NaN or infinite");
    check([100.0, 101.0, 99.0, 100.0, nan], "v: null, NaN or infinite");
    check([0.0, 101.0, 99.0, 100.0, 1.0], "o: 0 is not above 0");
    check([100.0, 101.0, -99.0, 100.0, 1.0], "l: -99 is not above 0");
    check([100.0, 101.0, 99.0, 1e13, 1.0], "c: 10000000000000 is not above 0 and at most");
    check([100.0, 101.0, 99.0, 100.0, -1.0], "v: -1 is not within 0");
    check([100.0, 99.0, 99.0, 100.0, 1.0], "h: l ≤ o, c ≤ h does not hold");
    check([100.0, 101.0, 100.5, 100.0, 1.0], "l: l ≤ o, c ≤ h does not hold");
}

#[test]
fn one_candle_is_not_enough_and_it_says_how_many_are() {
    let mut fusion = fed(0);
    assert_eq!(next(&mut fusion, 0).reason, Some(Reason::Warming { seen: 1, needed: 34 }));
    let mut fusion = fed(32);
    assert_eq!(next(&mut fusion, 32).reason.unwrap().to_string(), "history: 33 of 34 candles that the indicators need");
    assert!(next(&mut fusion, 33).score.is_some());
}

#[test]
fn without_volume_there_is_no_score_but_the_price_counts() {
    let mut fusion = fed(50);
    let verdict = fusion.on_bar(100.0, 100.0, 100.0, 100.0, 0.0);
    assert_eq!((verdict.score, verdict.reason), (None, Some(Reason::NoVolume)));
    let mut other = fed(50);
    other.on_bar(100.0, 100.0, 100.0, 100.0, 3.0);
    assert_eq!(fusion, other);
}

#[test]
fn parts_say_what_their_reading_says() {
    let rising = |text: &str| {
        let mut fusion = Fusion::new(&Model::parse(text).unwrap());
        (0..60u32).fold(None, |_, n| {
            // Faster and faster, so that the histogram is above 0.
            let close = 100.0 + f64::from(n * n) / 100.0;
            Some(fusion.on_bar(close, close, close, close, 1.0))
        })
    };
    let verdict = rising(crate::model::BUILT_IN).unwrap();
    let parts = verdict.parts.unwrap();
    assert!(parts.rsi < -0.5 && parts.macd > 0.0 && parts.trend > 0.5, "{parts:?}");
    let turned = rising(&crate::model::BUILT_IN.replace("\"momentum\"", "\"reversal\"")).unwrap().parts.unwrap();
    assert_eq!(turned, Parts { rsi: parts.rsi, macd: -parts.macd, trend: -parts.trend });
    let score = (parts.rsi + parts.macd + parts.trend) / 3.0;
    assert!((verdict.score.unwrap() - score).abs() < 1e-12);
    assert_eq!(verdict.confid.unwrap(), 0.5 + verdict.score.unwrap().abs() / 2.0);
}

#[test]
fn a_side_follows_from_the_floor_on() {
    let check = |part: f64, floor: f64, want: Option<Side>| {
        let verdict = fuse(Parts::each(part), &Blend { weights: Parts { rsi: 0.5, macd: 0.25, trend: 0.25 }, floor });
        assert_eq!(verdict.side, want, "{part} {floor}");
    };
    check(0.5, 0.75, Some(Side::Buy));
    check(-0.5, 0.75, Some(Side::Sell));
    check(0.5, 0.76, None);
    check(0.0, 0.5, None);
    check(1.0, 1.0, Some(Side::Buy));
}

#[test]
fn buckets_hold_their_lower_bound_and_the_last_one_holds_1() {
    let check = |confid: f64, want: &str| assert_eq!(bucket(confid), want, "{confid}");
    check(0.5, "0.5-0.6");
    check(0.599, "0.5-0.6");
    check(0.6, "0.6-0.7");
    check(0.75, "0.7-0.8");
    check(0.9, "0.9-1.0");
    check(1.0, "0.9-1.0");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_comes_scores_are_within_their_bounds(
        bars in proptest::collection::vec(proptest::array::uniform5(prop_oneof![
            8 => 0.5f64..200.0, 1 => Just(f64::NAN), 1 => Just(0.0), 1 => Just(f64::MAX), 1 => -5.0f64..1.0,
        ]), 1..200),
    ) {
        let mut fusion = Fusion::new(&Model::built_in());
        for [open, high, low, close, volume] in bars {
            // Half of them made consistent, else most would be refused.
            let (high, low) = if volume > 100.0 { (high, low) } else { (open.max(close), open.min(close)) };
            let verdict = fusion.on_bar(open, high, low, close, volume);
            prop_assert_eq!(verdict.score.is_none(), verdict.reason.is_some());
            if let (Some(score), Some(confid), Some(parts)) = (verdict.score, verdict.confid, verdict.parts) {
                prop_assert!((-1.0..=1.0).contains(&score) && (0.5..=1.0).contains(&confid));
                prop_assert!(parts.named().iter().all(|(_, part)| (-1.0..=1.0).contains(part)), "{parts:?}");
            }
        }
    }
}
