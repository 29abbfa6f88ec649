//! Which symbols a rollout gives to a model: sticky by hash, so that a symbol of the 10 % is one of the 50 % too.

use sha2::{Digest, Sha256};

/// Whether a model may trade a symbol when `percent` of the symbols are given to it.
///
/// The symbol's place, 0 to 99, is the first eight bytes (big-endian) of
/// SHA-256(`<model version> "\n" <venue> "." <symbol>`) modulo 100; assigned are the places below `percent`. So 0 assigns
/// none, 100 and more all, and a rising percentage only adds. The model's version is part of it: two models begin with
/// different tenths, which keeps an unlucky symbol from being everybody's first.
#[must_use]
pub fn is_assigned(model_version: &str, venue: &str, symbol: &str, percent: u8) -> bool {
    place(model_version, venue, symbol) < u64::from(percent)
}

/// 0 to 99.
fn place(model_version: &str, venue: &str, symbol: &str) -> u64 {
    let hash = Sha256::digest(format!("{model_version}\n{venue}.{symbol}"));
    let head: [u8; 8] = std::array::from_fn(|at| hash[at]);
    u64::from_be_bytes(head) % 100
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn none_at_0_all_at_100_about_as_many_between_as_it_says() {
        let count = |percent| (0..1_000).filter(|n| is_assigned("m-1", "binance", &format!("S{n}USDT"), percent)).count();
        assert_eq!((count(0), count(100)), (0, 1_000));
        assert!((70..=130).contains(&count(10)), "{}", count(10));
        assert!((450..=550).contains(&count(50)), "{}", count(50));
    }

    #[test]
    fn places_are_those_of_the_formula_for_ever() {
        // python3: int.from_bytes(hashlib.sha256(b"ml-fusion-1.2\nbinance.BTCUSDT").digest()[:8], "big") % 100
        assert_eq!(place("ml-fusion-1.2", "binance", "BTCUSDT"), 97);
    }

    proptest! {
        #[test]
        fn what_is_assigned_stays_assigned_at_a_higher_percentage(
            version in "[a-z0-9.-]{1,16}", symbol in "[A-Z0-9]{1,12}", low in 0u8..=100, more in 0u8..=100,
        ) {
            let high = low.saturating_add(more).min(100);
            let at = |percent| is_assigned(&version, "binance", &symbol, percent);
            prop_assert!(!at(low) || at(high));
            prop_assert_eq!(at(low), at(low));
        }
    }
}
