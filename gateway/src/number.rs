//! Exact decimals as JSON numbers.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use spark_bus_schema::Decimal;

/// A decimal that is written as a JSON number digit for digit; it never passes through binary floating point. In a
/// checkpoint, which nobody reads, it is the decimal itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub Decimal);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return Serialize::serialize(&self.0, serializer);
        }
        RawValue::from_string(self.0.normalize().to_string()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "number",
            "description": "An exact decimal of at most 28 digits, written digit for digit: read it as a decimal, not as a binary float.",
            "examples": [0.015],
        })
    }
}

/// Of a checkpoint.
impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <Decimal as Deserialize>::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_survive_that_binary_floating_point_would_lose() {
        let check = |text: &str, want: &str| {
            assert_eq!(serde_json::to_string(&Number(text.parse().unwrap())).unwrap(), want);
        };
        check("0.1", "0.1");
        check("30918.8156183763", "30918.8156183763");
        check("79228162514264337593543950335", "79228162514264337593543950335");
        check("1.10000000", "1.1");
        check("-0.00000001", "-0.00000001");
        check("100", "100");
        check("0.000", "0");
    }
}
