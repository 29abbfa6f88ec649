//! Exact decimals as JSON numbers.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use spark_bus_schema::Decimal;

/// A decimal that is written as a JSON number digit for digit; it never passes through binary floating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub Decimal);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.normalize().to_string()).map_err(serde::ser::Error::custom)?.serialize(serializer)
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
