//! What one unit of an asset is worth in USD, from one exchange's prices. Pure.

use std::collections::HashMap;
use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::Timestamp;

/// One USD each: prices are quoted in them, so there is nothing to measure them with.
const ANCHORS: [&str; 2] = ["USDT", "USD"];
/// Dollars too, but with a market price against an anchor; 1 only where that is missing.
const PEGGED: [&str; 7] = ["USDC", "FDUSD", "TUSD", "USDP", "BUSD", "DAI", "USD1"];
/// Quotes that a direct price is looked for in, best market first.
const DOLLAR_QUOTES: [&str; 4] = ["USDT", "USDC", "FDUSD", "USD"];
/// Digits kept of a price that was divided or multiplied.
const DERIVED_DIGITS: u32 = 14;

/// Prices of one exchange at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    /// When they were read.
    pub read_at: Timestamp,
    /// By base and quote, joined: `BTCUSDT`.
    prices: HashMap<String, Decimal>,
}

impl Rates {
    /// From pairs such as (`BTCUSDT`, 61837.63). A price that is not above zero is no price.
    #[must_use]
    pub fn new(read_at: Timestamp, pairs: impl IntoIterator<Item = (String, Decimal)>) -> Self {
        let prices = pairs.into_iter().filter(|(_, price)| *price > Decimal::ZERO).collect();
        Self { read_at, prices }
    }

    /// Whether they are younger than `ttl` at `now`. A reading from the future is not: the clock jumped.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp, ttl: Duration) -> bool {
        self.read_at <= now && now.saturating_since(self.read_at) < ttl
    }

    /// USD for one unit; none when no chain of prices leads there. In order: an anchor is 1; a price in dollars; a price
    /// of the dollar in it (as of TRY: `USDTTRY`); a price in TRY; a price in BTC; a pegged coin without a market is 1.
    #[must_use]
    pub fn usd(&self, asset: &str) -> Option<Decimal> {
        if ANCHORS.contains(&asset) {
            return Some(Decimal::ONE);
        }
        self.dollars(asset)
            .or_else(|| self.through(asset, "TRY"))
            .or_else(|| self.through(asset, "BTC"))
            .or_else(|| PEGGED.contains(&asset).then_some(Decimal::ONE))
    }

    fn dollars(&self, asset: &str) -> Option<Decimal> {
        DOLLAR_QUOTES
            .iter()
            .filter(|quote| **quote != asset)
            .find_map(|quote| self.price(asset, quote))
            .or_else(|| Decimal::ONE.checked_div(self.price("USDT", asset)?).and_then(rounded))
    }

    fn through(&self, asset: &str, quote: &str) -> Option<Decimal> {
        if asset == quote {
            return None;
        }
        // Multiplying by the rounded reciprocal of USDTTRY would lose digits that dividing keeps.
        let price = self.price(asset, quote)?;
        match self.price("USDT", quote) {
            Some(dollar) => price.checked_div(dollar),
            None => price.checked_mul(self.dollars(quote)?),
        }
        .and_then(rounded)
    }

    fn price(&self, base: &str, quote: &str) -> Option<Decimal> {
        self.prices.get(&format!("{base}{quote}")).copied()
    }
}

/// None when nothing is left: a price that rounds to zero is no price.
fn rounded(price: Decimal) -> Option<Decimal> {
    price.round_sf(DERIVED_DIGITS).map(|price| price.normalize()).filter(|price| !price.is_zero())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rates(pairs: &[(&str, &str)]) -> Rates {
        Rates::new(Timestamp::from_millis(1_000), pairs.iter().map(|(pair, price)| ((*pair).to_owned(), price.parse().unwrap())))
    }

    #[test]
    fn an_asset_is_valued_over_the_best_chain_of_prices() {
        let check = |pairs: &[(&str, &str)], asset: &str, want: Option<&str>| {
            let got = rates(pairs).usd(asset).map(|price| price.to_string());
            assert_eq!(got.as_deref(), want, "{asset} with {pairs:?}");
        };
        check(&[], "USDT", Some("1"));
        check(&[], "USD", Some("1"));
        check(&[("USDTTRY", "40")], "USDT", Some("1"));
        check(&[("BTCUSDT", "61837.63")], "BTC", Some("61837.63"));
        check(&[("BTCUSDC", "61800"), ("BTCUSDT", "61837.63")], "BTC", Some("61837.63"));
        check(&[("BTCUSDC", "61800")], "BTC", Some("61800"));
        check(&[("USDTTRY", "40")], "TRY", Some("0.025"));
        check(&[("USDTTRY", "41.523")], "TRY", Some("0.024083038316114"));
        check(&[("USDTTRY", "40"), ("BTCTRY", "2400000")], "BTC", Some("60000"));
        check(&[("BTCTRY", "2400000")], "BTC", None);
        check(&[("XMRBTC", "0.005"), ("BTCUSDT", "60000")], "XMR", Some("300"));
        check(&[("XMRBTC", "0.005")], "XMR", None);
        check(&[("XMRTRY", "12000"), ("USDTTRY", "40"), ("XMRBTC", "9"), ("BTCUSDT", "60000")], "XMR", Some("300"));
        check(&[("USDCUSDT", "0.9998")], "USDC", Some("0.9998"));
        check(&[], "USDC", Some("1"));
        check(&[("BTCUSDT", "0")], "BTC", None);
        check(&[("BTCUSDT", "-1")], "BTC", None);
        check(&[("BTCUSDT", "1")], "NOPE", None);
        check(&[], "BTC", None);
        check(&[], "TRY", None);
        check(&[], "", None);
    }

    #[test]
    fn prices_are_fresh_until_their_time_is_over() {
        let check = |now_ms: i64, want: bool| {
            let fresh = rates(&[]).is_fresh(Timestamp::from_millis(now_ms), Duration::from_secs(30));
            assert_eq!(fresh, want, "read at 1000 ms, looked at {now_ms} ms");
        };
        check(1_000, true);
        check(30_999, true);
        check(31_000, false);
        check(999, false);
    }

    proptest! {
        #[test]
        fn no_prices_panic_and_no_value_is_zero_or_less(
            pairs in prop::collection::vec(("(BTC|TRY|USDT|XMR|USDC){2}", any::<i64>(), 0_u32..28), 0..20),
            asset in "(BTC|TRY|USDT|XMR|USDC)",
        ) {
            let rates = Rates::new(Timestamp::ZERO, pairs.into_iter().map(|(pair, mantissa, scale)| (pair, Decimal::new(mantissa, scale))));
            if let Some(price) = rates.usd(&asset) {
                prop_assert!(price > Decimal::ZERO, "{price}");
            }
        }
    }
}
