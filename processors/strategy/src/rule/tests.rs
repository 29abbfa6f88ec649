use proptest::prelude::*;

use super::*;

fn bar(close: Fixed) -> Bar {
    Bar { open_time: Timestamp::ZERO, open: close, high: close, low: close, close, volume: Fixed::ZERO }
}

fn fixed(text: &str) -> Fixed {
    Fixed::parse(text).unwrap()
}

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn params(pairs: &[(&str, &str)]) -> Params {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn it_is_silent_until_the_slow_mean_is_there_then_long_above_it_and_flat_otherwise() {
    use Want::{Flat, Long};
    let check = |fast: u32, slow: u32, closes: &[&str], want: &[Option<Want>]| {
        let mut rule = SmaCross::new(fast, slow).unwrap();
        let got: Vec<_> = closes.iter().map(|close| rule.on_bar(&bar(fixed(close)))).collect();
        assert_eq!(got, want, "{fast}/{slow} {closes:?}");
    };
    check(1, 2, &["1", "2", "2", "1"], &[None, Some(Long), Some(Flat), Some(Flat)]);
    check(1, 3, &["3", "2", "1", "2", "3"], &[None, None, Some(Flat), Some(Long), Some(Long)]);
    // Equal means are flat.
    check(2, 4, &["5", "5", "5", "5"], &[None, None, None, Some(Flat)]);
    // More decimals in the middle: the sums widen and lose nothing.
    check(1, 2, &["0.1", "0.10000001", "0.1"], &[None, Some(Long), Some(Flat)]);
    // What is no price makes it begin again.
    check(1, 2, &["1", "2", "0", "3", "4"], &[None, Some(Long), None, None, Some(Long)]);
    check(1, 2, &["1", "1000000000001", "2", "3"], &[None, None, None, Some(Long)]);
}

#[test]
fn each_mistake_in_the_parameters_is_named_with_what_would_be_right() {
    let check = |pairs: &[(&str, &str)], want: &str| {
        let problem = SmaCross::from_params(&params(pairs)).unwrap_err();
        assert!(problem.contains(want), "{problem}");
    };
    assert_eq!(SmaCross::from_params(&params(&[("fast", "10"), ("slow", "30")])).unwrap().warm_after(), 30);
    check(&[("slow", "30")], "fast: is missing");
    check(&[("fast", "10")], "slow: is missing");
    check(&[("fast", "ten"), ("slow", "30")], "fast = ten: not a whole number");
    check(&[("fast", "-1"), ("slow", "30")], "fast = -1: not a whole number");
    check(&[("fast", "10"), ("slow", "30"), ("medium", "20")], "medium: sma_cross has no such parameter");
    check(&[("fast", "30"), ("slow", "30")], "fast = 30: not below slow = 30");
    check(&[("fast", "0"), ("slow", "30")], "out of range");
    check(&[("fast", "10"), ("slow", "10001")], "out of range");
}

#[test]
fn an_order_leads_from_what_is_held_to_what_is_wanted() {
    let quantity = |text| Sizing::Quantity(dec(text));
    let cash = |text| Sizing::Cash(dec(text));
    let check = |want, held: &str, sizing, step: &str, expected: Option<(Side, &str)>| {
        let got = order(want, dec(held), sizing, dec("100"), dec("0.001"), dec(step));
        assert_eq!(got, expected.map(|(side, quantity)| (side, dec(quantity))), "{want:?} {held} {sizing:?} {step}");
    };
    check(Want::Long, "0", quantity("0.5"), "0.01", Some((Side::Buy, "0.5")));
    check(Want::Long, "0", quantity("0.515"), "0.01", Some((Side::Buy, "0.51")));
    check(Want::Long, "0.5", quantity("0.5"), "0.01", None);
    check(Want::Flat, "0.5", quantity("0.5"), "0.01", Some((Side::Sell, "0.5")));
    check(Want::Flat, "0", quantity("0.5"), "0.01", None);
    // cash / (price × (1 + commission)): 1001 / 100.1 = 10.
    check(Want::Long, "0", cash("1001"), "0", Some((Side::Buy, "10")));
    check(Want::Long, "0", cash("1000"), "0.01", Some((Side::Buy, "9.99")));
    check(Want::Long, "0", cash("0.5"), "0.01", None);
    check(Want::Long, "0", cash("-5"), "0.01", None);
    // A fee taken of what was bought: what can be sold is sold, the rest counts as nothing.
    check(Want::Flat, "0.4995", quantity("0.5"), "0.01", Some((Side::Sell, "0.49")));
    check(Want::Flat, "0.0095", quantity("0.5"), "0.01", None);
    check(Want::Long, "0.0095", quantity("0.5"), "0.01", Some((Side::Buy, "0.5")));
    check(Want::Flat, "-1", quantity("0.5"), "0.01", None);
    assert_eq!(order(Want::Long, Decimal::ZERO, cash("1"), Decimal::ZERO, dec("0.001"), dec("0.01")), None);
    assert_eq!(order(Want::Long, Decimal::ZERO, cash("1"), Decimal::MAX, Decimal::MAX, dec("0.01")), None);
}

proptest! {
    #[test]
    fn it_equals_the_means_computed_naively_and_forgets_everything_but_the_last_slow_bars(
        // Few different prices make equal means, many make every other case.
        closes in proptest::collection::vec(prop_oneof![(1_i64..4, Just(0_u8)), (1_i64..2_000_000_000, 0_u8..=9)], 1..120),
        alike in any::<bool>(),
        fast in 1_u32..8,
        wider in 1_u32..8,
    ) {
        let slow = fast + wider;
        let (fast_bars, slow_bars) = (fast as usize, slow as usize);
        let price = |(mantissa, scale)| if alike { Fixed { mantissa: mantissa % 3 + 1, scale: 0 } } else { Fixed { mantissa, scale } };
        let closes: Vec<Fixed> = closes.into_iter().map(price).collect();
        let mut rule = SmaCross::new(fast, slow).unwrap();
        for end in 1..=closes.len() {
            let got = rule.on_bar(&bar(closes[end - 1]));
            let naive = (end >= slow_bars).then(|| {
                let sum = |bars: usize| closes[end - bars..end].iter().map(|close| close.to_decimal()).sum::<Decimal>();
                let is_above = sum(fast_bars) * Decimal::from(slow) > sum(slow_bars) * Decimal::from(fast);
                if is_above { Want::Long } else { Want::Flat }
            });
            prop_assert_eq!(got, naive);
            if end >= slow_bars {
                let mut young = SmaCross::new(fast, slow).unwrap();
                let last = closes[end - slow_bars..end].iter().filter_map(|close| young.on_bar(&bar(*close))).last();
                prop_assert_eq!(last, got);
            }
        }
    }
}
