//! Amounts and ids as exchanges want them written.

use rust_decimal::Decimal;

use super::{NewOrder, OrderKind};

/// Longest client id that Binance takes.
const CLIENT_ID_CHARS_MAX: usize = 36;

/// A decimal in full: no exponent, no zeros behind the last digit, nothing rounded.
pub(super) fn plain(value: Decimal) -> String {
    value.normalize().to_string()
}

/// Why no exchange can be sent this; checked before anything is sent.
pub(super) fn problem(order: &NewOrder) -> Option<String> {
    let id = &order.client_order_id;
    if id.is_empty()
        || id.len() > CLIENT_ID_CHARS_MAX
        || !id.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
    {
        return Some("client_order_id: 1 to 36 of A-Z, a-z, 0-9, `-` and `_` are allowed".to_owned());
    }
    if order.symbol.is_empty() || !order.symbol.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) {
        return Some(format!("symbol: `{:.64}` may hold only A-Z and 0-9, e.g. BTCUSDT", order.symbol));
    }
    let amounts = match order.kind {
        OrderKind::Limit { price, .. } => [("quantity", Some(order.quantity)), ("price", Some(price))],
        OrderKind::Market { quote_budget } => [("quantity", Some(order.quantity)), ("quote_budget", quote_budget)],
    };
    amounts.into_iter().find_map(|(field, value)| {
        let value = value.filter(|value| *value <= Decimal::ZERO)?;
        Some(format!("{field}: {value} is not above 0"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spark_bus_schema::market::Side;
    use spark_bus_schema::orders::TimeInForce;

    use super::*;

    #[test]
    fn amounts_are_written_in_full_and_exactly() {
        let check = |text: &str, want: &str| assert_eq!(plain(text.parse().unwrap()), want, "{text}");
        check("0.00000001", "0.00000001");

        check("1000000000000", "1000000000000");
        check("1000000000000.00000000", "1000000000000");
        check("999999999999.99999999", "999999999999.99999999");
        check("52000.00", "52000");
        check("100", "100");
        check("0.10", "0.1");
        assert_eq!(plain(Decimal::from_scientific("1e-8").unwrap()), "0.00000001");
        assert_eq!(plain(Decimal::from_scientific("1e12").unwrap()), "1000000000000");
        assert_eq!(plain(Decimal::new(1, 18)), "0.000000000000000001");
    }

    #[test]
    fn what_no_exchange_takes_is_named() {
        let good = NewOrder {
            symbol: "BTCUSDT".into(),
            side: Side::Buy,
            kind: OrderKind::Limit { price: Decimal::ONE, time_in_force: TimeInForce::Gtc },
            quantity: Decimal::ONE,
            client_order_id: "spark-abcdefghijklmnopqrstuvwxyz".into(),
        };
        let check = |change: &dyn Fn(&mut NewOrder), want: Option<&str>| {
            let mut order = good.clone();
            change(&mut order);
            let got = problem(&order);
            assert_eq!(got.as_deref().map(|text| text.split(':').next().unwrap()), want, "{got:?}");
        };
        check(&|_| {}, None);
        check(&|order| order.quantity = Decimal::ZERO, Some("quantity"));
        check(&|order| order.quantity = -Decimal::ONE, Some("quantity"));
        check(&|order| order.kind = OrderKind::Limit { price: Decimal::ZERO, time_in_force: TimeInForce::Gtc }, Some("price"));
        check(&|order| order.kind = OrderKind::Market { quote_budget: Some(Decimal::ZERO) }, Some("quote_budget"));
        check(&|order| order.kind = OrderKind::Market { quote_budget: None }, None);
        check(&|order| order.client_order_id = String::new(), Some("client_order_id"));
        check(&|order| order.client_order_id = "a b".into(), Some("client_order_id"));
        check(&|order| order.client_order_id = "x".repeat(37), Some("client_order_id"));
        check(&|order| order.symbol = "BTC&USDT".into(), Some("symbol"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_was_meant(mantissa in 1_i64.., scale in 0_u32..=18) {
            let value = Decimal::new(mantissa, scale);
            let text = plain(value);
            prop_assert_eq!(text.parse::<Decimal>().unwrap(), value);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
            prop_assert!(!text.contains('.') || !text.ends_with('0'));
        }
    }
}
