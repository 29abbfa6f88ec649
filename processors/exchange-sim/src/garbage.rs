//! Breaks a good answer or frame in a chosen way.

use serde_json::Value;

use crate::fault::Variant;

/// Size of a huge frame or answer, bytes.
pub(crate) const HUGE_BYTES: usize = 10 * 1024 * 1024;

/// Fields that hold prices, quantities and balances in both exchanges' payloads.
const NUMBERS: [&str; 33] = [
    "p",
    "q",
    "b",
    "B",
    "a",
    "A",
    "P",
    "o",
    "h",
    "l",
    "c",
    "v",
    "price",
    "qty",
    "quoteQty",
    "bidPrice",
    "bidQty",
    "askPrice",
    "askQty",
    "lastPrice",
    "free",
    "locked",
    "balance",
    "bid",
    "ask",
    "last",
    "amount",
    "BA",
    "AA",
    "LA",
    "H",
    "L",
    "O",
];

/// The broken form of `good`.
pub(crate) fn broken(good: &str, variant: Variant) -> String {
    match variant {
        Variant::BadJson => "{\"oops\": [1, 2,, }".to_owned(),
        Variant::Truncated => {
            let half = (0..=good.len() / 2).rev().find(|index| good.is_char_boundary(*index)).unwrap_or(0);
            good[..half].to_owned()
        }
        Variant::Huge => {
            let mut huge = String::with_capacity(HUGE_BYTES + 32);
            huge.push_str("{\"padding\":\"");
            huge.extend(std::iter::repeat_n('x', HUGE_BYTES));
            huge.push_str("\"}");
            huge
        }
        Variant::Nan | Variant::Negative | Variant::MissingField => match serde_json::from_str::<Value>(good) {
            Ok(mut value) => {
                change(&mut value, variant);
                value.to_string()
            }
            Err(_) => good.to_owned(),
        },
    }
}

fn change(value: &mut Value, variant: Variant) {
    match value {
        Value::Object(fields) => {
            if variant == Variant::MissingField {
                fields.retain(|name, value| !(NUMBERS.contains(&name.as_str()) && numeric(value)));
            }
            for (name, value) in fields.iter_mut() {
                if NUMBERS.contains(&name.as_str()) && numeric(value) {
                    spoil(value, variant);
                } else {
                    change(value, variant);
                }
            }
        }
        Value::Array(items) => {
            // Levels of a book: ["price","quantity"].
            let level = items.len() == 2 && items.iter().all(|item| item.is_string() && numeric(item));
            if level && variant == Variant::MissingField {
                items.pop();
            } else {
                items.iter_mut().for_each(|item| if level { spoil(item, variant) } else { change(item, variant) });
            }
        }
        _ => {}
    }
}

fn numeric(value: &Value) -> bool {
    match value {
        Value::String(text) => crate::units::parse(text).is_some(),
        Value::Number(_) => true,
        _ => false,
    }
}

fn spoil(value: &mut Value, variant: Variant) {
    *value = match (variant, &*value) {
        (Variant::Nan, _) => Value::from("NaN"),
        (_, Value::String(text)) => Value::from(format!("-{}", text.trim_start_matches('-'))),
        (_, Value::Number(number)) => Value::from(-number.as_f64().unwrap_or(1.0).abs()),
        (_, other) => other.clone(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variant_breaks_in_its_own_way() {
        let trade = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":7,"p":"61685.99","q":"0.5","T":1,"m":true}}"#;
        let check = |variant, good: &str, part: &str, absent: &str| {
            let bad = broken(good, variant);
            assert!(bad.contains(part) && (absent.is_empty() || !bad.contains(absent)), "{bad}");
        };
        check(Variant::Nan, trade, r#""p":"NaN""#, "61685");
        check(Variant::Negative, trade, r#""p":"-61685.99""#, "");
        check(Variant::MissingField, trade, r#""t":7"#, r#""p":"#);
        check(Variant::Negative, r#"{"bids":[["1.5","2"]]}"#, r#"["-1.5","-2"]"#, "");
        assert!(serde_json::from_str::<Value>(&broken(trade, Variant::Truncated)).is_err());
        assert!(serde_json::from_str::<Value>(&broken(trade, Variant::BadJson)).is_err());
        assert!(broken(trade, Variant::Huge).len() > HUGE_BYTES);
        assert!(broken("ü", Variant::Truncated).is_empty());
    }
}
