//! Orders that have been decided and are over, remembered for ever in 13 bytes each: the same order must not begin again.
//!
//! An order is kept as 64 bits of its id, 32 bits of what was asked for and its last state. One million orders are about
//! 25 MiB in memory and 13 MB in a checkpoint. Two orders with the same 64 bits are expected once in four thousand
//! million orders; the second one is then taken for a repetition and not traded, which is the safe side.

use std::collections::BTreeMap;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use spark_bus_schema::OrderId;
use spark_bus_schema::orders::{OrderIntent, OrderState};

const ENTRY_BYTES: usize = 13;

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// [`request_tag`] of its intent.
    pub tag: u32,
    /// Its last state; none when it was refused.
    pub state: Option<OrderState>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    orders: BTreeMap<u64, (u32, u8)>,
}

impl Finished {
    /// Remembers an order, or its newer state.
    pub fn insert(&mut self, order: &OrderId, ended: Ended) {
        let state = ended.state.map_or(0, |state| code(state) + 1);
        self.orders.insert(short(order), (ended.tag, state));
    }

    /// What is known of an order.
    #[must_use]
    pub fn get(&self, order: &OrderId) -> Option<Ended> {
        let (tag, state) = *self.orders.get(&short(order))?;
        let state = state.checked_sub(1).and_then(|code| OrderState::ALL.get(usize::from(code)).copied());
        Some(Ended { tag, state })
    }

    /// Forgets an order. False when it was not known.
    pub(crate) fn remove(&mut self, order: &OrderId) -> bool {
        self.orders.remove(&short(order)).is_some()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.orders.len()
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }
}

/// 32 bits of what an intent asks for: the same for two intents of which one may repeat the other
/// ([`OrderIntent::same_request`]), and nearly always different otherwise.
#[must_use]
pub fn request_tag(intent: &OrderIntent) -> u32 {
    let mut hash = Fnv(0x811c_9dc5);
    hash.text(&intent.strategy);
    hash.text(&intent.key);
    hash.text(intent.exchange.as_str());
    hash.text(&intent.symbol);
    hash.bytes(&[intent.side as u8, intent.order_type as u8, intent.time_in_force as u8]);
    for value in [Some(intent.quantity), intent.limit_price] {
        hash.bytes(&value.map_or([0; 16], |value| value.normalize().serialize()));
    }
    hash.0
}

struct Fnv(u32);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
        self.bytes(&[0xff]);
    }
}

/// The first 12 characters (60 bits) and 4 bits of the next.
fn short(order: &OrderId) -> u64 {
    let digit = |byte: u8| u64::from(if byte.is_ascii_digit() { byte - b'2' + 26 } else { byte.wrapping_sub(b'a') } & 31);
    let digits = order.as_str().bytes().map(digit);
    let sixty = digits.clone().take(12).fold(0, |sum, digit| sum << 5 | digit);
    sixty << 4 | digits.clone().nth(12).unwrap_or(0) >> 1
}

fn code(state: OrderState) -> u8 {
    OrderState::ALL.iter().position(|&known| known == state).and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}

impl Serialize for Finished {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.orders.len() * ENTRY_BYTES);
        for (order, (tag, state)) in &self.orders {
            bytes.extend_from_slice(&order.to_be_bytes());
            bytes.extend_from_slice(&tag.to_be_bytes());
            bytes.push(*state);
        }
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Finished {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Finished;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("13 bytes for each finished order")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Finished, E> {
                let (entries, []) = bytes.as_chunks::<ENTRY_BYTES>() else {
                    return Err(E::invalid_length(bytes.len(), &self));
                };
                let entry = |entry: &[u8; ENTRY_BYTES]| {
                    let [order @ .., a, b, c, d, state] = entry;
                    (u64::from_be_bytes(*order), (u32::from_be_bytes([*a, *b, *c, *d]), *state))
                };
                Ok(Finished { orders: entries.iter().map(entry).collect() })
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_remembered_through_a_checkpoint() {
        let mut finished = Finished::default();
        let id = |n: u32| OrderId::derive("s", &n.to_string());
        for n in 0..1_000_u32 {
            let state = if n % 10 == 9 { None } else { Some(OrderState::ALL[(n % 9) as usize]) };
            finished.insert(&id(n), Ended { tag: n, state });
        }
        let bytes = rmp_serde::to_vec_named(&finished).unwrap();
        assert!(bytes.len() < 1_000 * ENTRY_BYTES + 8);
        let loaded: Finished = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(loaded, finished);
        assert_eq!(loaded.get(&id(9)), Some(Ended { tag: 9, state: None }));
        assert_eq!(loaded.get(&id(13)), Some(Ended { tag: 13, state: Some(OrderState::ALL[4]) }));
        assert_eq!(loaded.get(&id(1_000)), None);
        assert!(rmp_serde::from_slice::<Finished>(&bytes[..bytes.len() - 1]).is_err());
    }
}
