use proptest::prelude::*;

use super::*;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

#[test]
fn each_band_has_its_step_from_its_first_to_its_last_price() {
    let check = |first: &str, last: &str, step: &str| {
        for price in [first, last] {
            assert_eq!(tick_size(d(price)), d(step), "{price}");
            assert!(is_on_tick(d(price)), "{price}");
        }
        assert!(!is_on_tick(d(first) + d(step) / Decimal::TWO), "{first} and a half step");
    };
    check("0.01", "19.99", "0.01");
    check("20", "49.98", "0.02");
    check("50", "99.95", "0.05");
    check("100", "249.90", "0.10");
    check("250", "499.75", "0.25");
    check("500", "999.50", "0.50");
    check("1000", "2499", "1.00");
    check("2500", "1000000", "2.50");
    assert!(!is_on_tick(Decimal::ZERO) && !is_on_tick(d("-1")));
}

#[test]
fn limits_are_rounded_inward() {
    let check = |base: &str, low: &str, high: &str| assert_eq!(limits(d(base)), Some((d(low), d(high))), "{base}");
    // 296.75 ± 10 %: 267.075 and 326.425.
    check("296.75", "267.25", "326.25");
    // The lower limit falls into a finer band: 17.982 and 21.978.
    check("19.98", "17.99", "21.96");
    // The upper one into a coarser: 228.6 … 279.4.
    check("254", "228.60", "279.25");
    check("10", "9", "11");
    assert_eq!(limits(Decimal::ZERO), None);
    assert_eq!(limits(Decimal::MAX), None, "no overflow");
}

#[test]
fn a_code_that_changed_is_known_by_its_day() {
    let day = |text: &str| text.parse::<Day>().unwrap();
    assert_eq!((renamed("KOZAL"), renamed("THYAO")), (Some("TRALT"), None));
    for code in ["KOZAL", "TRALT"] {
        assert_eq!(code_on(code, day("2025-11-23")), "KOZAL");
        assert_eq!(code_on(code, day("2025-11-24")), "TRALT");
    }
    assert_eq!(code_on("THYAO", day("2020-01-02")), "THYAO");
    assert!(RENAMED.iter().all(|(old, _, (year, month, day))| !BIST_30.contains(old) && Day::new(*year, *month, *day).is_some()));
}

proptest! {
    #[test]
    fn rounding_lands_on_the_grid_and_next_to_the_price(hundredths in 1i64..100_000_000, thousandths in 0i64..10) {
        let price = Decimal::new(hundredths * 10 + thousandths, 3);
        let (down, up) = (tick_down(price), tick_up(price));
        prop_assert!(down <= price && price <= up, "{down} {price} {up}");
        prop_assert!(is_on_tick(up) && (down.is_zero() || is_on_tick(down)), "{down} {up}");
        prop_assert!(up - down <= tick_size(price));
        prop_assert_eq!(is_on_tick(price), up == down);
        let nearest = tick_nearest(price);
        prop_assert!(nearest == up || nearest == down);
    }

    #[test]
    fn limits_lie_within_ten_percent_and_hold_the_base_price(hundredths in 100i64..100_000_000) {
        let base = tick_nearest(Decimal::new(hundredths, 2));
        let (low, high) = limits(base).unwrap();
        prop_assert!(low <= base && base <= high, "{low} {base} {high}");
        prop_assert!(low >= base * d("0.9") && high <= base * d("1.1"));
        prop_assert!(is_on_tick(low) && is_on_tick(high));
        // Inward, and by less than a step.
        prop_assert!(low - tick_size(low) < base * d("0.9") && high + tick_size(high) > base * d("1.1"));
    }
}
