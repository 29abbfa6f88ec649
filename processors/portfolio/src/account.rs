//! One exchange's account as it is published: valued, or its last good snapshot marked stale. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::portfolio::{AssetBalance, Balances, PollError, PriceAnomaly};
use spark_bus_schema::{Timestamp, Venue};

use crate::guard::{PriceGuard, Verdict};
use crate::rates::Rates;

/// More assets than an account has; more is an answer that makes no sense (and would not fit a message).
pub const ASSETS_MAX: usize = 4_000;
/// Longest asset name that is believed.
const ASSET_CHARS_MAX: usize = 32;

/// What the exchange says one holds of one asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// `BTC`
    pub asset: String,
    /// Free to use.
    pub free: Decimal,
    /// In orders and pending withdrawals.
    pub locked: Decimal,
}

/// A poll that succeeded.
#[derive(Clone, Debug)]
pub struct Reading<'a> {
    /// Everything held; zeros are left out.
    pub holdings: Vec<Holding>,
    /// This exchange's prices.
    pub rates: &'a Rates,
    /// Another exchange's prices, if recent.
    pub second: Option<&'a Rates>,
}

/// When a poll ended and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Polled {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub took: Duration,
}

impl Polled {
    fn refresh_us(self) -> u64 {
        u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX)
    }
}

/// The account of one exchange.
#[derive(Clone, Debug)]
pub struct Account {
    exchange: Venue,
    guard: PriceGuard,
    last_good: Option<Balances>,
}

impl Account {
    /// Nothing known yet. A price may move by `step_max` (a fraction) without a second opinion.
    #[must_use]
    pub fn new(exchange: Venue, step_max: Decimal) -> Self {
        Self { exchange, guard: PriceGuard::new(step_max), last_good: None }
    }

    /// Goes on from what an earlier run published: its snapshot is the last good one, its prices are held against.
    pub fn restore(&mut self, published: Balances) {
        let Some(updated_at) = published.updated_at.filter(|_| published.exchange == self.exchange) else { return };
        for row in &published.balances {
            if let Some(price) = row.usd_price {
                self.guard.seed(&row.asset, price, updated_at);
            }
        }
        self.last_good = Some(published);
    }

    /// Values a reading. The prices that were held back, or taken after all, come with it.
    ///
    /// # Errors
    /// The reading makes no sense (an asset twice, a negative amount, too many assets): a sentence. Nothing has changed.
    pub fn read(&mut self, mut reading: Reading<'_>, polled: Polled) -> Result<(Balances, Vec<PriceAnomaly>), String> {
        check(&reading.holdings)?;
        let mut anomalies = Vec::new();
        let mut rows = Vec::new();
        let mut unpriced = Vec::new();
        let mut total_usd = Decimal::ZERO;
        for holding in std::mem::take(&mut reading.holdings) {
            let total = holding.free.checked_add(holding.locked).ok_or_else(|| too_large(&holding.asset))?;
            if total.is_zero() {
                continue;
            }
            let verdict = self.price(&holding.asset, &reading, polled, &mut anomalies);
            let usd_price = verdict.map(|verdict| verdict.price);
            let usd_value = match usd_price {
                Some(price) => Some(total.checked_mul(price).ok_or_else(|| too_large(&holding.asset))?.normalize()),
                None => None,
            };
            match usd_value {
                Some(value) => total_usd = total_usd.checked_add(value).ok_or_else(|| too_large(&holding.asset))?,
                None => unpriced.push(holding.asset.clone()),
            }
            rows.push(AssetBalance {
                asset: holding.asset,
                free: holding.free,
                locked: holding.locked,
                total,
                usd_price,
                usd_value,
                price_held: verdict.is_some_and(|verdict| verdict.held),
            });
        }
        rows.sort_by(|a, b| b.usd_value.cmp(&a.usd_value).then_with(|| a.asset.cmp(&b.asset)));
        unpriced.sort_unstable();
        let balances = Balances {
            exchange: self.exchange,
            currency: "USD".to_owned(),
            polled_at: polled.at,
            updated_at: Some(polled.at),
            stale: false,
            error: None,
            balances: rows,
            total_usd: total_usd.normalize(),
            unpriced,
            refresh_us: polled.refresh_us(),
        };
        self.last_good = Some(balances.clone());
        Ok((balances, anomalies))
    }

    /// A poll that failed: the last good snapshot, marked, with the reason.
    #[must_use]
    pub fn fail(&self, error: PollError, polled: Polled) -> Balances {
        let empty = || Balances {
            exchange: self.exchange,
            currency: "USD".to_owned(),
            polled_at: polled.at,
            updated_at: None,
            stale: true,
            error: None,
            balances: Vec::new(),
            total_usd: Decimal::ZERO,
            unpriced: Vec::new(),
            refresh_us: 0,
        };
        let mut balances = self.last_good.clone().unwrap_or_else(empty);
        balances.polled_at = polled.at;
        balances.refresh_us = polled.refresh_us();
        balances.stale = true;
        balances.error = Some(error);
        balances
    }

    fn price(
        &mut self,
        asset: &str,
        reading: &Reading<'_>,
        polled: Polled,
        anomalies: &mut Vec<PriceAnomaly>,
    ) -> Option<Verdict> {
        let Some(seen) = reading.rates.usd(asset) else { return self.guard.missing(asset, polled.at) };
        let second = reading.second.and_then(|rates| rates.usd(asset));
        let (verdict, finding) = self.guard.judge(asset, seen, reading.rates.read_at, second);
        anomalies.extend(finding.map(|finding| PriceAnomaly {
            exchange: self.exchange,
            asset: asset.to_owned(),
            last_good: finding.last_good,
            seen: finding.seen,
            change_pct: finding.change_pct(),
            state: finding.state,
            at: polled.at,
        }));
        Some(verdict)
    }
}

fn too_large(asset: &str) -> String {
    format!("the amount or value of {asset} is too large to be true")
}

fn check(holdings: &[Holding]) -> Result<(), String> {
    if holdings.len() > ASSETS_MAX {
        return Err(format!("{} assets are more than an account has ({ASSETS_MAX})", holdings.len()));
    }
    let mut seen = BTreeSet::new();
    for holding in holdings {
        let name = &holding.asset;
        if name.is_empty() || name.chars().count() > ASSET_CHARS_MAX || name.chars().any(char::is_control) {
            return Err(format!("{name:.32?} is not the name of an asset"));
        }
        if !seen.insert(name) {
            return Err(format!("{name} is listed twice"));
        }
        if holding.free < Decimal::ZERO || holding.locked < Decimal::ZERO {
            return Err(format!("{name}: a negative amount (free {}, locked {})", holding.free, holding.locked));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spark_bus_schema::Message as _;
    use spark_bus_schema::portfolio::AnomalyState;

    use super::*;

    fn number(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn holdings(rows: &[(&str, &str, &str)]) -> Vec<Holding> {
        rows.iter()
            .map(|(asset, free, locked)| Holding { asset: (*asset).to_owned(), free: number(free), locked: number(locked) })
            .collect()
    }

    fn rates(at: i64, pairs: &[(&str, &str)]) -> Rates {
        Rates::new(Timestamp::from_millis(at), pairs.iter().map(|(pair, price)| ((*pair).to_owned(), number(price))))
    }

    fn polled(at: i64) -> Polled {
        Polled { at: Timestamp::from_millis(at), took: Duration::from_millis(120) }
    }

    fn account() -> Account {
        Account::new(Venue::Binance, number("0.2"))
    }

    fn read(
        account: &mut Account,
        at: i64,
        rows: &[(&str, &str, &str)],
        pairs: &[(&str, &str)],
    ) -> (Balances, Vec<PriceAnomaly>) {
        let rates = rates(at, pairs);
        account.read(Reading { holdings: holdings(rows), rates: &rates, second: None }, polled(at)).unwrap()
    }

    fn timeout() -> PollError {
        PollError { error_type: "timeout".to_owned(), message: "account: no answer within 5000 ms".to_owned() }
    }

    #[test]
    fn a_reading_is_valued_sorted_and_says_what_it_cannot_price() {
        let rows = [("USDT", "10", "0"), ("ZZZ", "5", "0"), ("BTC", "0.5", "0.25"), ("ETH", "0", "0"), ("AAA", "1", "0")];
        let (balances, anomalies) = read(&mut account(), 1_000, &rows, &[("BTCUSDT", "60000")]);
        let order: Vec<&str> = balances.balances.iter().map(|row| row.asset.as_str()).collect();
        assert_eq!(order, ["BTC", "USDT", "AAA", "ZZZ"]);
        assert_eq!(balances.total_usd, number("45010"));
        assert_eq!(balances.unpriced, ["AAA", "ZZZ"]);
        assert_eq!((balances.stale, balances.error, balances.refresh_us), (false, None, 120_000));
        assert_eq!(balances.updated_at, Some(Timestamp::from_millis(1_000)));
        assert!(anomalies.is_empty());
    }

    #[test]
    fn a_failure_shows_the_last_good_snapshot_with_its_age_and_the_reason() {
        let mut account = account();
        let nothing = account.fail(timeout(), polled(500));
        assert_eq!((nothing.updated_at, nothing.stale, nothing.balances.len()), (None, true, 0));

        let (good, _) = read(&mut account, 1_000, &[("USDT", "10", "0")], &[]);
        let failed = account.fail(timeout(), polled(61_000));
        assert_eq!((failed.polled_at, failed.updated_at), (Timestamp::from_millis(61_000), good.updated_at));
        assert_eq!((failed.balances, failed.total_usd), (good.balances, good.total_usd));
        assert_eq!((failed.stale, failed.error), (true, Some(timeout())));

        let (again, _) = read(&mut account, 121_000, &[("USDT", "11", "0")], &[]);
        assert_eq!((again.stale, again.error), (false, None));
    }

    #[test]
    fn a_price_that_jumps_is_held_back_and_reported() {
        let mut account = account();
        read(&mut account, 1_000, &[("BTC", "2", "0")], &[("BTCUSDT", "60000")]);
        let (held, anomalies) = read(&mut account, 2_000, &[("BTC", "2", "0")], &[("BTCUSDT", "6000")]);
        assert_eq!((held.total_usd, held.balances[0].price_held), (number("120000"), true));
        assert_eq!(
            (anomalies[0].state, anomalies[0].change_pct, anomalies[0].asset.as_str()),
            (AnomalyState::Held, number("-90"), "BTC")
        );
        let (taken, anomalies) = read(&mut account, 3_000, &[("BTC", "2", "0")], &[("BTCUSDT", "6100")]);
        assert_eq!((taken.total_usd, anomalies[0].state), (number("12200"), AnomalyState::Confirmed));
    }

    #[test]
    fn a_price_missing_for_a_moment_does_not_drop_the_total() {
        let mut account = account();
        read(&mut account, 1_000, &[("BTC", "2", "0")], &[("BTCUSDT", "60000")]);
        let (balances, _) = read(&mut account, 2_000, &[("BTC", "2", "0")], &[]);
        assert_eq!((balances.total_usd, balances.balances[0].price_held), (number("120000"), true));
        let (balances, _) = read(&mut account, 2_000_000, &[("BTC", "2", "0")], &[]);
        assert_eq!((balances.total_usd, balances.unpriced), (Decimal::ZERO, vec!["BTC".to_owned()]));
    }

    #[test]
    fn an_earlier_runs_snapshot_is_kept_and_its_prices_are_held_against() {
        let (published, _) = read(&mut account(), 1_000, &[("BTC", "2", "0")], &[("BTCUSDT", "60000")]);
        let mut account = account();
        account.restore(published.clone());
        assert_eq!(account.fail(timeout(), polled(5_000)).balances, published.balances);
        let (balances, anomalies) = read(&mut account, 6_000, &[("BTC", "2", "0")], &[("BTCUSDT", "1")]);
        assert_eq!((balances.total_usd, anomalies.len()), (number("120000"), 1));

        let mut other = Account::new(Venue::Btcturk, number("0.2"));
        other.restore(published);
        assert_eq!(other.fail(timeout(), polled(5_000)).updated_at, None, "another exchange's snapshot is not taken");
    }

    #[test]
    fn a_reading_that_makes_no_sense_changes_nothing() {
        let mut account = account();
        let (good, _) = read(&mut account, 1_000, &[("USDT", "10", "0")], &[]);
        let mut check = |rows: &[(&str, &str, &str)], part: &str| {
            let rates = rates(2_000, &[("BTCUSDT", "79228162514264337593543950335")]);
            let error =
                account.read(Reading { holdings: holdings(rows), rates: &rates, second: None }, polled(2_000)).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        check(&[("BTC", "1", "0"), ("BTC", "1", "0")], "BTC is listed twice");
        check(&[("BTC", "-1", "0")], "negative");
        check(&[("", "1", "0")], "not the name");
        check(&[("BTC", "79228162514264337593543950335", "1")], "too large");
        check(&[("BTC", "10", "0")], "too large");
        assert_eq!(account.fail(timeout(), polled(3_000)).balances, good.balances);
    }

    proptest! {
        #[test]
        fn every_reading_gives_a_valid_message_whose_total_is_the_sum_of_its_rows(
            rows in prop::collection::btree_map("[A-Z]{1,5}", (0_i64..1_000_000_000_000, 0_u32..9, 0_i64..1_000_000, 1_i64..10_000_000), 0..30),
        ) {
            let pairs: Vec<(String, Decimal)> = rows.iter().map(|(asset, row)| (format!("{asset}USDT"), Decimal::new(row.3, 3))).collect();
            let rates = Rates::new(Timestamp::ZERO, pairs);
            let holdings = rows.into_iter().map(|(asset, (free, scale, locked, _))| {
                Holding { asset, free: Decimal::new(free, scale), locked: Decimal::new(locked, scale) }
            }).collect();
            let (balances, _) = account().read(Reading { holdings, rates: &rates, second: None }, polled(1)).unwrap();
            prop_assert_eq!(balances.validate(), Ok(()));
            let sum: Decimal = balances.balances.iter().filter_map(|row| row.usd_value).sum();
            prop_assert_eq!(sum, balances.total_usd);
            prop_assert!(balances.balances.is_sorted_by(|a, b| a.usd_value >= b.usd_value));
        }
    }
}
