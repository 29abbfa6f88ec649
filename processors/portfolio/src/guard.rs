//! Holds back a price that moved too far, until a second source or a second reading agrees. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::Timestamp;
use spark_bus_schema::portfolio::AnomalyState;

/// How long the last good price stands in for one that is missing from the exchange's list.
pub const MISSING_MAX: Duration = Duration::from_secs(600);

/// The price to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// USD per unit.
    pub price: Decimal,
    /// Whether it is the last good one because the newest reading was held back or is missing.
    pub held: bool,
}

/// Something to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What became of the price.
    pub state: AnomalyState,
    /// Last good price.
    pub last_good: Decimal,
    /// The price that moved too far.
    pub seen: Decimal,
}

impl Finding {
    /// Signed change against the last good price, percent, two digits. Saturates at a billion.
    #[must_use]
    pub fn change_pct(&self) -> Decimal {
        let change = (self.seen - self.last_good).checked_div(self.last_good);
        let percent = change.and_then(|change| change.checked_mul(Decimal::ONE_HUNDRED)).unwrap_or(Decimal::MAX);
        percent.min(Decimal::from(1_000_000_000)).round_dp(2)
    }
}

#[derive(Clone, Debug)]
struct Seen {
    good: Decimal,
    good_at: Timestamp,
    /// The reading that was judged last; the same one again is no second reading.
    judged_at: Timestamp,
    held: Option<Decimal>,
}

/// The last good price of each asset of one exchange.
#[derive(Clone, Debug)]
pub struct PriceGuard {
    /// 0.20 for ±20 %.
    step_max: Decimal,
    assets: BTreeMap<String, Seen>,
}

impl PriceGuard {
    /// Knows no price yet; `step_max` is a fraction.
    #[must_use]
    pub fn new(step_max: Decimal) -> Self {
        Self { step_max, assets: BTreeMap::new() }
    }

    /// Takes a price as good without judging it, as from a snapshot of an earlier run.
    pub fn seed(&mut self, asset: &str, price: Decimal, at: Timestamp) {
        if price > Decimal::ZERO {
            let seen = Seen { good: price, good_at: at, judged_at: at, held: None };
            self.assets.insert(asset.to_owned(), seen);
        }
    }

    /// Judges the price `seen` of the reading made at `read_at`; `second` is what another exchange says, if it is recent.
    /// The first price of an asset is taken as it is: there is nothing to hold it against.
    pub fn judge(
        &mut self,
        asset: &str,
        seen: Decimal,
        read_at: Timestamp,
        second: Option<Decimal>,
    ) -> (Verdict, Option<Finding>) {
        let limit = self.step_max;
        let Some(entry) = self.assets.get_mut(asset) else {
            self.seed(asset, seen, read_at);
            return (Verdict { price: seen, held: false }, None);
        };
        let last_good = entry.good;
        let is_new = read_at > entry.judged_at;
        entry.judged_at = entry.judged_at.max(read_at);
        let confirmed = second.is_some_and(|second| is_near(second, seen, limit))
            || (is_new && entry.held.is_some_and(|held| is_near(seen, held, limit)));
        let state = if is_near(seen, last_good, limit) {
            entry.held.map(|held| (AnomalyState::Dismissed, held))
        } else if confirmed {
            Some((AnomalyState::Confirmed, seen))
        } else {
            let known = entry.held.replace(seen);
            let finding = Finding { state: AnomalyState::Held, last_good, seen };
            return (Verdict { price: last_good, held: true }, (known != Some(seen)).then_some(finding));
        };
        (entry.good, entry.good_at, entry.held) = (seen, read_at, None);
        (Verdict { price: seen, held: false }, state.map(|(state, seen)| Finding { state, last_good, seen }))
    }

    /// The last good price of an asset that the exchange's list lacks, while it is not older than [`MISSING_MAX`].
    #[must_use]
    pub fn missing(&self, asset: &str, now: Timestamp) -> Option<Verdict> {
        let entry = self.assets.get(asset)?;
        (now.saturating_since(entry.good_at) <= MISSING_MAX).then_some(Verdict { price: entry.good, held: true })
    }
}

/// Whether `price` lies within `limit` (a fraction) of `reference`. What overflows is far away.
fn is_near(price: Decimal, reference: Decimal, limit: Decimal) -> bool {
    match (price.checked_sub(reference), reference.checked_mul(limit)) {
        (Some(change), Some(most)) => change.abs() <= most,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Decimal = Decimal::from_parts(20, 0, 0, false, 2);

    /// Rows: read at (s), price seen, second source, price used, held, finding.
    type Row<'a> = (i64, &'a str, Option<&'a str>, &'a str, bool, Option<(AnomalyState, &'a str)>);

    fn check(name: &str, rows: &[Row<'_>]) {
        let mut guard = PriceGuard::new(LIMIT);
        let number = |text: &str| text.parse::<Decimal>().unwrap();
        for (index, (at, seen, second, used, held, finding)) in rows.iter().enumerate() {
            let (verdict, found) = guard.judge("BTC", number(seen), Timestamp::from_millis(at * 1_000), second.map(number));
            assert_eq!((verdict.price, verdict.held), (number(used), *held), "{name}, row {index}");
            let found = found.map(|found| (found.state, found.seen));
            assert_eq!(found, finding.map(|(state, seen)| (state, number(seen))), "{name}, row {index}");
        }
    }

    #[test]
    fn a_jump_waits_for_a_second_opinion() {
        use AnomalyState::{Confirmed, Dismissed, Held};
        check(
            "steps up to the limit pass, both ways",
            &[(1, "100", None, "100", false, None), (2, "120", None, "120", false, None), (3, "96", None, "96", false, None)],
        );
        check(
            "a second reading confirms",
            &[
                (1, "100", None, "100", false, None),
                (2, "50", None, "100", true, Some((Held, "50"))),
                (3, "52", None, "52", false, Some((Confirmed, "52"))),
            ],
        );
        check(
            "a return dismisses",
            &[
                (1, "100", None, "100", false, None),
                (2, "10", None, "100", true, Some((Held, "10"))),
                (3, "101", None, "101", false, Some((Dismissed, "10"))),
            ],
        );
        check(
            "a second source confirms at once",
            &[(1, "100", None, "100", false, None), (2, "70", Some("71"), "70", false, Some((Confirmed, "70")))],
        );
        check(
            "a second source that disagrees does not",
            &[(1, "100", None, "100", false, None), (2, "70", Some("100"), "100", true, Some((Held, "70")))],
        );
        check(
            "the same reading again is no second reading, but a second source may have come meanwhile",
            &[
                (1, "100", None, "100", false, None),
                (2, "50", None, "100", true, Some((Held, "50"))),
                (2, "50", None, "100", true, None),
                (2, "50", Some("51"), "50", false, Some((Confirmed, "50"))),
                (2, "50", None, "50", false, None),
            ],
        );
        check(
            "wild readings are each reported and none is used",
            &[
                (1, "100", None, "100", false, None),
                (2, "10", None, "100", true, Some((Held, "10"))),
                (3, "900", None, "100", true, Some((Held, "900"))),
                (4, "5", None, "100", true, Some((Held, "5"))),
            ],
        );
        check(
            "just beyond the limit",
            &[(1, "100", None, "100", false, None), (2, "120.01", None, "100", true, Some((Held, "120.01")))],
        );
    }

    #[test]
    fn a_missing_price_is_stood_in_for_only_for_a_while() {
        let mut guard = PriceGuard::new(LIMIT);
        assert_eq!(guard.missing("BTC", Timestamp::ZERO), None);
        guard.seed("BTC", Decimal::ONE_HUNDRED, Timestamp::ZERO);
        let held = Some(Verdict { price: Decimal::ONE_HUNDRED, held: true });
        assert_eq!(guard.missing("BTC", Timestamp::ZERO + MISSING_MAX), held);
        assert_eq!(guard.missing("BTC", Timestamp::ZERO + MISSING_MAX + Duration::from_secs(1)), None);
    }

    #[test]
    fn changes_are_signed_percentages() {
        let check = |last_good: &str, seen: &str, want: &str| {
            let finding =
                Finding { state: AnomalyState::Held, last_good: last_good.parse().unwrap(), seen: seen.parse().unwrap() };
            assert_eq!(finding.change_pct().to_string(), want);
        };
        check("100", "50", "-50.00");
        check("61837.63", "6183.76", "-90.00");
        check("0.0000000000000000000000000001", "79228162514264337593543950335", "1000000000");
    }

    proptest! {
        #[test]
        fn a_single_reading_never_moves_the_price_by_more_than_the_limit(prices in prop::collection::vec(1_i64..1_000_000, 2..40)) {
            let mut guard = PriceGuard::new(LIMIT);
            let mut readings: Vec<Decimal> = Vec::new();
            let mut used: Option<Decimal> = None;
            for (index, price) in prices.into_iter().enumerate() {
                let seen = Decimal::from(price);
                let (verdict, _) = guard.judge("X", seen, Timestamp::from_millis(i64::try_from(index).unwrap() + 1), None);
                if let Some(before) = used {
                    let second_reading = readings.last().is_some_and(|last| is_near(seen, *last, LIMIT));
                    prop_assert!(verdict.price == before || is_near(verdict.price, before, LIMIT) || second_reading);
                }
                used = Some(verdict.price);
                readings.push(seen);
            }
        }

        #[test]
        fn two_equal_readings_are_always_believed(first in 1_i64.., jump in 1_i64..) {
            let mut guard = PriceGuard::new(LIMIT);
            guard.judge("X", Decimal::from(first), Timestamp::from_millis(1), None);
            guard.judge("X", Decimal::from(jump), Timestamp::from_millis(2), None);
            let (verdict, _) = guard.judge("X", Decimal::from(jump), Timestamp::from_millis(3), None);
            prop_assert_eq!(verdict, Verdict { price: Decimal::from(jump), held: false });
        }
    }
}
