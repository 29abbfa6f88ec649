//! The list of trades, and its hash: by it a backtest and a paper run of the same past are compared.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use spark_bus_schema::Timestamp;
use spark_bus_schema::market::Side;

/// One fill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trade {
    /// Bought or sold.
    pub side: Side,
    /// Base currency.
    pub quantity: Decimal,
    /// Quote per base.
    pub price: Decimal,
    /// Not negative.
    pub fee: Decimal,
    /// Whether the fee is of what was bought (base currency); otherwise quote currency.
    pub fee_in_base: bool,
    /// When the decision was: the candle's `closed_at`.
    pub decided_at: Timestamp,
    /// Profit of what it closed, quote currency, its fees and those of the opening taken off; none when it closed nothing.
    pub profit: Option<Decimal>,
}

/// SHA-256 over the trades of one symbol, lower-case hex. Each is one line
///
/// ```text
/// BTCUSDT buy 0.01618 61837.63 0.00001618 1723161300000000000⏎
/// ```
///
/// symbol, side (`buy` or `sell`), quantity, price, fee (decimals without trailing zeros), `decided_at` in nanoseconds (the
/// candle's `closed_at`, which the intent carries), in the order of the fills. Neither the kind of strategy nor ids are in
/// it, so a backtest's and a paper run's are equal when the same was traded. No trades: the hash of nothing.
#[must_use]
pub fn trades_hash<'a>(symbol: &str, trades: impl IntoIterator<Item = &'a Trade>) -> String {
    let mut hash = Sha256::new();
    let mut text = String::with_capacity(128);
    for trade in trades {
        text.clear();
        write(&mut text, symbol, trade.side, [trade.quantity, trade.price, trade.fee], trade.decided_at);
        hash.update(&text);
    }
    hex::encode(hash.finalize())
}

/// One line of [`trades_hash`], for whoever has fills of the LEDGER instead of [`Trade`]s.
#[must_use]
pub fn line(symbol: &str, side: Side, quantity: Decimal, price: Decimal, fee: Decimal, decided_at: Timestamp) -> String {
    let mut text = String::new();
    write(&mut text, symbol, side, [quantity, price, fee], decided_at);
    text
}

fn write(text: &mut String, symbol: &str, side: Side, figures: [Decimal; 3], decided_at: Timestamp) {
    text.push_str(symbol);
    text.push_str(match side {
        Side::Buy => " buy ",
        Side::Sell => " sell ",
    });
    for figure in figures {
        plain(text, figure);
        text.push(' ');
    }
    let mut digits = [0; 40];
    text.push_str(integer(&mut digits, u128::from(decided_at.as_nanos().unsigned_abs())));
    text.push('\n');
}

/// A decimal that is not negative, without trailing zeros in its fraction: `normalize().to_string()`, which takes longer than
/// the trade itself.
fn plain(text: &mut String, figure: Decimal) {
    let (mut mantissa, mut scale) = (figure.mantissa().unsigned_abs(), figure.scale() as usize);
    if let Ok(mut small) = u64::try_from(mantissa) {
        while scale > 0 && small % 10 == 0 {
            small /= 10;
            scale -= 1;
        }
        mantissa = u128::from(small);
    }
    while scale > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    let mut digits = [0; 40];
    let all = integer(&mut digits, mantissa);
    let whole = all.len().saturating_sub(scale);
    text.push_str(if whole == 0 { "0" } else { &all[..whole] });
    if scale > 0 {
        text.push('.');
        (all.len()..scale).for_each(|_| text.push('0'));
        text.push_str(&all[whole..]);
    }
}

/// The digits of an integer; at least one.
fn integer(digits: &mut [u8; 40], value: u128) -> &str {
    let mut at = digits.len();
    let mut push = |digit: u8| {
        at -= 1;
        digits[at] = b'0' + digit;
    };
    let mut rest = value;
    while rest > u128::from(u64::MAX) {
        push((rest % 10) as u8);
        rest /= 10;
    }
    let mut rest = rest as u64;
    loop {
        push((rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[at..]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn figures_are_written_as_decimals_write_themselves(low in any::<u32>(), middle in any::<u32>(), high in any::<u32>(), size in 0..3, scale in 0_u32..=28) {
            let figure = match size {
                0 => Decimal::from_parts(low, 0, 0, false, scale),
                1 => Decimal::from_parts(low, middle, 0, false, scale),
                _ => Decimal::from_parts(low, middle, high, false, scale),
            };
            let mut text = String::new();
            plain(&mut text, figure);
            prop_assert_eq!(text, figure.normalize().to_string());
        }
    }

    #[test]
    fn a_line_holds_what_was_traded_and_when_it_was_decided() {
        let d = |text: &str| text.parse::<Decimal>().unwrap();
        let at = Timestamp::from_nanos(1_723_161_300_000_000_000);
        let got = line("BTCUSDT", Side::Buy, d("0.01618000"), d("61837.630"), d("0"), at);
        assert_eq!(got, "BTCUSDT buy 0.01618 61837.63 0 1723161300000000000\n");
        let got = line("THYAO", Side::Sell, d("120"), d("0.00000001"), d("1000"), at);
        assert_eq!(got, "THYAO sell 120 0.00000001 1000 1723161300000000000\n");
    }
}
