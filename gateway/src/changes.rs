//! What would change between two sets of limits, limit by limit.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use spark_bus_schema::Decimal;
use spark_bus_schema::risk::Limits;

/// One limit that would be another.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "LimitChange")]
pub struct Change {
    /// Its key, as in the configuration file.
    pub key: String,
    /// What it is; null: not set.
    pub from: Option<Value>,
    /// What it would be; null: not set.
    pub to: Option<Value>,
}

/// Every limit that differs, by its path.
#[must_use]
pub fn between(from: &Limits, to: &Limits) -> Vec<Change> {
    let leaves = |limits: &Limits| {
        let mut found = BTreeMap::new();
        collect("", &json!(limits), &mut found);
        found
    };
    let (from, to) = (leaves(from), leaves(to));
    let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    keys.into_iter()
        .filter(|key| from.get(*key) != to.get(*key))
        .map(|key| Change { key: key.clone(), from: from.get(key).cloned(), to: to.get(key).cloned() })
        .collect()
}

fn collect(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                // A symbol's name has a dot in it: quoted, as in the configuration file.
                let name = if name.contains('.') { format!("\"{name}\"") } else { name.clone() };
                collect(&if path.is_empty() { name } else { format!("{path}.{name}") }, member, found);
            }
        }
        Value::Null => {}
        leaf => _ = found.insert(path.to_owned(), plain(leaf)),
    }
}

/// `5` and `5.00` are one limit.
fn plain(leaf: &Value) -> Value {
    let number = leaf.as_str().and_then(|text| text.parse::<Decimal>().ok());
    number.map_or_else(|| leaf.clone(), |number| number.normalize().to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_is_told_by_its_key() {
        let before = Limits::default();
        let text = r#"{"default":{"notional_usd_max":"5000.0","collar_pct_max":"5.00"},"symbol":{"binance.BTCUSDT":{"exposure_usd_max":"1"}}}"#;
        let after: Limits = serde_json::from_str(text).unwrap();
        let told: Vec<_> = between(&before, &after).into_iter().map(|change| json!(change).to_string()).collect();
        assert_eq!(
            told,
            [
                r#"{"from":"10000","key":"default.notional_usd_max","to":"5000"}"#,
                r#"{"from":null,"key":"symbol.\"binance.BTCUSDT\".exposure_usd_max","to":"1"}"#,
            ]
        );
        assert!(between(&after, &after).is_empty());
    }
}
