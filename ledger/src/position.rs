//! What is held of one symbol, what it cost, and what came of it.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::Fill;

use crate::money::{Inexact, add, div_rounded, mul, sub};

/// Quote currencies of symbols that are written base before quote.
const QUOTES: &[&str] = &["USDT", "USDC", "FDUSD", "TUSD", "USD", "TRY", "EUR", "GBP", "BTC", "ETH", "BNB"];

/// A signed position by average cost.
///
/// Always exact, whatever rounding the average needs: `realized - cost` is what sells brought in less what buys cost,
/// and `quantity` is what was bought less what was sold less what was paid as a fee in the base asset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Held, base currency; negative when more was sold than bought.
    pub quantity: Decimal,
    /// What the open quantity cost, quote currency, with the quantity's sign.
    pub cost: Decimal,
    /// Profit of what was closed, quote currency, before fees.
    pub realized: Decimal,
    /// Fees by asset. A fee in the base asset also reduces `quantity`: its price is in the average already.
    pub fees: BTreeMap<String, Decimal>,
    /// Bought in all, base currency.
    pub bought: Decimal,
    /// Sold in all, base currency.
    pub sold: Decimal,
    /// Paid for what was bought, quote currency.
    pub bought_quote: Decimal,
    /// Got for what was sold, quote currency.
    pub sold_quote: Decimal,
}

impl Position {
    /// Takes in one trade. Through zero the old side is closed and the new one opened at the trade's price.
    ///
    /// # Errors
    /// [`Inexact`]; `self` must then be thrown away.
    pub fn fill(&mut self, symbol: &str, side: Side, fill: &Fill) -> Result<(), Inexact> {
        let value = mul(fill.price, fill.quantity)?;
        let (quantity, value) = match side {
            Side::Buy => {
                self.bought = add(self.bought, fill.quantity)?;
                self.bought_quote = add(self.bought_quote, value)?;
                (fill.quantity, value)
            }
            Side::Sell => {
                self.sold = add(self.sold, fill.quantity)?;
                self.sold_quote = add(self.sold_quote, value)?;
                (-fill.quantity, -value)
            }
        };
        self.trade(quantity, value, fill.price)?;
        if !fill.fee.is_zero() {
            let known = self.fees.get(&fill.fee_asset).copied().unwrap_or_default();
            self.fees.insert(fill.fee_asset.clone(), add(known, fill.fee)?);
            if is_base(symbol, &fill.fee_asset) {
                self.lose(fill.fee)?;
            }
        }
        Ok(())
    }

    /// Average price of the open quantity, quote per base; none when nothing is open. Rounded to 12 decimals.
    #[must_use]
    pub fn average_price(&self) -> Option<Decimal> {
        if self.quantity.is_zero() { None } else { div_rounded(self.cost, self.quantity).ok() }
    }

    /// Profit of the open quantity at a price, quote currency, with sign.
    ///
    /// # Errors
    /// [`Inexact`].
    pub fn unrealized(&self, mark: Decimal) -> Result<Decimal, Inexact> {
        sub(mul(self.quantity, mark)?, self.cost)
    }

    /// Nothing is open.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.quantity.is_zero()
    }

    fn trade(&mut self, quantity: Decimal, value: Decimal, price: Decimal) -> Result<(), Inexact> {
        let opens = self.quantity.is_zero() || self.quantity.is_sign_negative() == quantity.is_sign_negative();
        if opens {
            self.cost = add(self.cost, value)?;
        } else if quantity.abs() < self.quantity.abs() {
            // The share of the cost is rounded; what is left of the cost takes the rest, so the sum stays exact.
            let share = div_rounded(self.cost, self.quantity).and_then(|average| mul(average, -quantity))?;
            let share = share.round_dp(CENT_DECIMALS);
            self.realized = add(self.realized, sub(-value, share)?)?;
            self.cost = sub(self.cost, share)?;
        } else {
            let through = add(self.quantity, quantity)?;
            let opened = mul(through, price)?;
            self.realized = add(self.realized, sub(sub(opened, value)?, self.cost)?)?;
            self.cost = opened;
        }
        self.quantity = add(self.quantity, quantity)?.normalize();
        Ok(())
    }

    /// A fee in the base asset: less is held for the same cost. When nothing or less is left, the cost is a loss.
    fn lose(&mut self, fee: Decimal) -> Result<(), Inexact> {
        let was_long = self.quantity > Decimal::ZERO;
        self.quantity = sub(self.quantity, fee)?.normalize();
        if was_long && self.quantity <= Decimal::ZERO {
            self.realized = sub(self.realized, self.cost)?;
            self.cost = Decimal::ZERO;
        }
        Ok(())
    }
}

/// Decimals of the cost that a closing trade takes away, at most.
const CENT_DECIMALS: u32 = 12;

/// Whether `asset` is what `symbol` trades: `BTC` of `BTCUSDT`. By the spelling, so that it follows from the ledger alone.
#[must_use]
pub fn is_base(symbol: &str, asset: &str) -> bool {
    symbol.strip_prefix(asset).is_some_and(|quote| QUOTES.contains(&quote))
}

/// The quote currency of a symbol by its spelling: the whole rest after the longest known quote is the base. A symbol
/// without one (a share) is priced in lira.
#[must_use]
pub fn quote_of(symbol: &str) -> &'static str {
    QUOTES.iter().find(|quote| symbol.len() > quote.len() && symbol.ends_with(**quote)).copied().unwrap_or("TRY")
}

#[cfg(test)]
mod tests {
    use spark_bus_schema::Timestamp;

    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    /// `trades`: `b 1 @ 100` or `s 1 @ 100 fee 0.1 BTC`; wants quantity, average price, realized, unrealized at 100.
    fn check(trades: &[&str], want: [&str; 4]) {
        let mut position = Position::default();
        for (index, trade) in trades.iter().enumerate() {
            let words: Vec<&str> = trade.split(' ').collect();
            let fill = Fill {
                trade_id: index.to_string(),
                price: d(words[3]),
                quantity: d(words[1]),
                fee: words.get(5).map_or(Decimal::ZERO, |fee| d(fee)),
                fee_asset: (*words.get(6).unwrap_or(&"USDT")).to_owned(),
                is_maker: false,
                at: Timestamp::ZERO,
            };
            let side = if words[0] == "b" { Side::Buy } else { Side::Sell };
            position.fill("BTCUSDT", side, &fill).unwrap();
        }
        let got = [
            position.quantity,
            position.average_price().unwrap_or_default(),
            position.realized,
            position.unrealized(d("100")).unwrap(),
        ];
        assert_eq!(got.map(|value| value.normalize().to_string()), want.map(str::to_owned), "{trades:?}");
        let cash = sub(position.sold_quote, position.bought_quote).unwrap();
        assert_eq!(sub(position.realized, position.cost).unwrap(), cash, "{trades:?}");
    }

    #[test]
    fn average_cost_and_profit_follow_from_the_trades() {
        check(&["b 1 @ 100"], ["1", "100", "0", "0"]);
        check(&["b 1 @ 100", "b 3 @ 120"], ["4", "115", "0", "-60"]);
        check(&["b 1 @ 100", "b 3 @ 120", "s 2 @ 130"], ["2", "115", "30", "-30"]);
        check(&["b 2 @ 90", "s 2 @ 95"], ["0", "0", "10", "0"]);
        // Through zero: what is left is opened at the trade's price.
        check(&["b 2 @ 90", "s 5 @ 95"], ["-3", "95", "10", "-15"]);
        check(&["s 5 @ 95", "b 6 @ 90"], ["1", "90", "25", "10"]);
        check(&["s 1 @ 110", "s 1 @ 130"], ["-2", "120", "0", "40"]);
        // A third has no exact average; closing all leaves nothing behind.
        check(&["b 1 @ 100", "b 2 @ 100.01", "s 1 @ 100", "s 2 @ 100"], ["0", "0", "-0.02", "0"]);
    }

    #[test]
    fn a_fee_in_the_base_asset_reduces_the_position() {
        check(&["b 1 @ 100 fee 0.5 BTC"], ["0.5", "200", "0", "-50"]);
        check(&["b 1 @ 100 fee 0.1 USDT"], ["1", "100", "0", "0"]);
        check(&["b 1 @ 100 fee 0.1 BNB"], ["1", "100", "0", "0"]);
        // Sold all, and the fee on top: a little is owed.
        check(&["b 1 @ 100", "s 1 @ 100 fee 0.1 BTC"], ["-0.1", "0", "0", "-10"]);
        check(&["b 1 @ 100 fee 1 BTC"], ["0", "0", "-100", "0"]);
    }

    #[test]
    fn the_base_is_what_stands_before_a_quote() {
        let check = |symbol: &str, asset: &str, want: bool| assert_eq!(is_base(symbol, asset), want, "{symbol} {asset}");
        check("BTCUSDT", "BTC", true);
        check("BTCUSDT", "USDT", false);
        check("BNBUSDT", "BNB", true);
        check("BTCSTUSDT", "BTC", false);
        check("USDTTRY", "USDT", true);
        check("THYAO", "TRY", false);
        for (symbol, quote) in [("BTCUSDT", "USDT"), ("USDTTRY", "TRY"), ("ETHBTC", "BTC"), ("THYAO", "TRY"), ("BTCTRY", "TRY")] {
            assert_eq!(quote_of(symbol), quote, "{symbol}");
        }
    }
}
