use proptest::prelude::*;

use super::*;

fn close_to(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-9 * scale.max(a.abs())
}

/// A line of 60 closes that rises by 1 %.
fn closes(count: usize) -> Vec<f64> {
    (0..count)
        .map(|n| 100.0 + f64::from(u32::try_from(n * 7 % 23).unwrap()) - f64::from(u32::try_from(n * 5 % 11).unwrap()))
        .collect()
}

#[test]
fn first_values_come_when_the_warm_up_is_over() {
    let (mut rsi, mut macd, mut trend) = (Rsi::new(14), Macd::new(12, 26, 9), Trend::new(20));
    let mut first = [None; 3];
    for (n, close) in (1u32..).zip(closes(60)) {
        let values =
            [rsi.update(close).unwrap().is_some(), macd.update(close).unwrap().is_some(), trend.update(close).unwrap().is_some()];
        for (first, is_there) in first.iter_mut().zip(values) {
            *first = first.or(is_there.then_some(n));
        }
    }
    assert_eq!(first, [Some(15), Some(34), Some(20)]);
    assert_eq!([rsi.warm_up(), macd.warm_up(), trend.warm_up()], [15, 34, 20]);
}

#[test]
fn a_close_that_is_no_number_changes_nothing() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for fed in [0, 5, 40] {
            let (mut rsi, mut macd, mut trend) = (Rsi::new(14), Macd::new(12, 26, 9), Trend::new(20));
            for close in closes(fed) {
                let _ = (rsi.update(close), macd.update(close), trend.update(close));
            }
            let before = (rsi.clone(), macd.clone(), trend.clone());
            assert_eq!(rsi.update(bad), Err(NotFinite));
            assert_eq!(macd.update(bad), Err(NotFinite));
            assert_eq!(trend.update(bad), Err(NotFinite));
            assert_eq!((rsi, macd, trend), before, "{bad} after {fed}");
        }
    }
}

#[test]
fn known_lines_have_known_values() {
    let (mut rsi, mut macd, mut trend) = (Rsi::new(14), Macd::new(12, 26, 9), Trend::new(20));
    let mut last = (None, None, None);
    for n in 0..200u32 {
        let close = 100.0 + f64::from(n);
        last = (rsi.update(close).unwrap(), macd.update(close).unwrap(), trend.update(close).unwrap());
    }
    // Only gains; averages of a line lag by (period − 1)/2: 12.5 − 5.5 = 7; the mean of the last 20 of 100 … 299 is 289.5.
    assert_eq!(last.0, Some(100.0));
    let macd = last.1.unwrap();
    assert!(close_to(macd.macd, 7.0, 1.0) && close_to(macd.histogram, 0.0, 1.0), "{macd:?}");
    assert!(close_to(last.2.unwrap(), 1.0 / 289.5, 1e-3), "{:?}", last.2);
}

#[test]
fn a_price_that_never_moves_is_in_the_middle() {
    let (mut rsi, mut trend) = (Rsi::new(14), Trend::new(20));
    let last = (0..50).map(|_| (rsi.update(5.0).unwrap(), trend.update(5.0).unwrap())).last();
    assert_eq!(last, Some((Some(50.0), Some(0.0))));
}

/// The line through the newest `n` closes as the textbook has it.
fn naive_trend(closes: &[f64], n: usize) -> f64 {
    let window = &closes[closes.len() - n..];
    let places: Vec<f64> = (0..u32::try_from(n).unwrap()).map(f64::from).collect();
    let count = f64::from(u32::try_from(n).unwrap());
    let (x_mean, y_mean) = (places.iter().sum::<f64>() / count, window.iter().sum::<f64>() / count);
    let over: f64 = places.iter().zip(window).map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let under: f64 = places.iter().map(|x| (x - x_mean).powi(2)).sum();
    over / under / y_mean
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_trend_is_the_textbooks_whatever_came_before(
        closes in proptest::collection::vec(0.01f64..100_000.0, 30..300), period in 2u32..30,
    ) {
        let mut trend = Trend::new(period);
        for n in 1..=closes.len() {
            let value = trend.update(closes[n - 1]).unwrap();
            if n >= period as usize {
                let want = naive_trend(&closes[..n], period as usize);
                prop_assert!(close_to(value.unwrap(), want, 1.0), "{value:?} {want}");
            }
        }
    }

    #[test]
    fn the_rsi_stays_within_its_bounds(closes in proptest::collection::vec(1e-8f64..1e12, 20..200)) {
        let mut rsi = Rsi::new(14);
        for close in closes {
            if let Some(value) = rsi.update(close).unwrap() {
                prop_assert!((0.0..=100.0).contains(&value), "{value}");
            }
        }
    }
}
