//! Orders that have been decided and are over, remembered for ever in 13 bytes each: the same order must not begin again.
//!
//! An order is kept as 64 bits of its id, 32 bits of what was asked for and its last state. One million orders are
//! 13 MB, in memory and in a checkpoint. Two orders with the same 64 bits are expected once in four thousand
//! million orders; the second one is then taken for a repetition and not traded, which is the safe side.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use spark_bus_schema::OrderId;
use spark_bus_schema::orders::{OrderIntent, OrderState};

const ENTRY_BYTES: usize = 13;
/// Orders that are not packed yet, at most.
const RECENT_MAX: usize = 8_192;

/// How an order ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// [`request_tag`] of its intent.
    pub tag: u32,
    /// Its last state; none when it was refused.
    pub state: Option<OrderState>,
}

/// All of them: the newest in a map, the others packed, so that a checkpoint is a copy and not a walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Sorted: the first eight bytes are the order. Shared with copies, so that a copy for a checkpoint costs next to nothing.
    packed: Arc<Vec<[u8; ENTRY_BYTES]>>,
    recent: BTreeMap<u64, (u32, u8)>,
}

impl Finished {
    /// Remembers an order, or its newer state.
    pub fn insert(&mut self, order: &OrderId, ended: Ended) {
        let (order, state) = (short(order), ended.state.map_or(0, |state| code(state) + 1));
        if let Ok(at) = self.find(order) {
            Arc::make_mut(&mut self.packed)[at] = pack(order, ended.tag, state);
            return;
        }
        self.recent.insert(order, (ended.tag, state));
        if self.recent.len() >= RECENT_MAX {
            // Both are sorted, which the sort notices: it merges them.
            let packed = Arc::make_mut(&mut self.packed);
            packed.extend(self.recent.iter().map(|(&order, &(tag, state))| pack(order, tag, state)));
            packed.sort();
            self.recent.clear();
        }
    }

    /// What is known of an order.
    #[must_use]
    pub fn get(&self, order: &OrderId) -> Option<Ended> {
        let order = short(order);
        let (tag, state) = match self.recent.get(&order) {
            Some(&entry) => entry,
            None => unpack(&self.packed[self.find(order).ok()?]),
        };
        let state = state.checked_sub(1).and_then(|code| OrderState::ALL.get(usize::from(code)).copied());
        Some(Ended { tag, state })
    }

    /// Forgets an order. False when it was not known.
    pub(crate) fn remove(&mut self, order: &OrderId) -> bool {
        let order = short(order);
        if self.recent.remove(&order).is_some() {
            return true;
        }
        self.find(order).map(|at| Arc::make_mut(&mut self.packed).remove(at)).is_ok()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packed.len() + self.recent.len()
    }

    /// None at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn find(&self, order: u64) -> Result<usize, usize> {
        let order = order.to_be_bytes();
        self.packed.binary_search_by(|entry| entry[..8].cmp(&order))
    }
}

fn pack(order: u64, tag: u32, state: u8) -> [u8; ENTRY_BYTES] {
    let mut entry = [state; ENTRY_BYTES];
    entry[..8].copy_from_slice(&order.to_be_bytes());
    entry[8..12].copy_from_slice(&tag.to_be_bytes());
    entry
}

fn unpack(entry: &[u8; ENTRY_BYTES]) -> (u32, u8) {
    let [_, _, _, _, _, _, _, _, a, b, c, d, state] = *entry;
    (u32::from_be_bytes([a, b, c, d]), state)
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

/// As stored: packed and recent ones, the latter in a map of its own.
impl Serialize for Finished {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Packed(self.packed.as_flattened()), &self.recent).serialize(serializer)
    }
}

struct Packed<'a>(&'a [u8]);

impl Serialize for Packed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de> Deserialize<'de> for Finished {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (Unpacked(packed), recent) = Deserialize::deserialize(deserializer)?;
        Ok(Self { packed: Arc::new(packed), recent })
    }
}

struct Unpacked(Vec<[u8; ENTRY_BYTES]>);

impl<'de> Deserialize<'de> for Unpacked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Unpacked;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("13 bytes for each finished order, sorted")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Unpacked, E> {
                match bytes.as_chunks::<ENTRY_BYTES>() {
                    (entries, []) if entries.is_sorted() => Ok(Unpacked(entries.to_vec())),
                    _ => Err(E::invalid_length(bytes.len(), &self)),
                }
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
        const COUNT: u32 = 2 * RECENT_MAX as u32 + 1_000;
        let mut finished = Finished::default();
        let id = |n: u32| OrderId::derive("s", &n.to_string());
        for n in 0..COUNT {
            let state = if n % 10 == 9 { None } else { Some(OrderState::ALL[(n % 9) as usize]) };
            finished.insert(&id(n), Ended { tag: n, state });
        }
        let bytes = rmp_serde::to_vec_named(&finished).unwrap();
        assert_eq!((finished.len(), finished.packed.len(), finished.recent.len()), (COUNT as usize, 2 * RECENT_MAX, 1_000));
        let loaded: Finished = rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(loaded, finished);
        assert_eq!(loaded.get(&id(9)), Some(Ended { tag: 9, state: None }));
        assert_eq!(loaded.get(&id(13)), Some(Ended { tag: 13, state: Some(OrderState::ALL[4]) }));
        assert_eq!(loaded.get(&id(COUNT)), None);
        assert_eq!(rmp_serde::to_vec_named(&loaded).unwrap(), bytes);
        assert!(rmp_serde::from_slice::<Finished>(&bytes[..bytes.len() - 1]).is_err());
        // One of the packed, one of the others.
        for n in [13, COUNT - 1] {
            finished.insert(&id(n), Ended { tag: n, state: Some(OrderState::Settled) });
            assert_eq!(finished.get(&id(n)).unwrap().state, Some(OrderState::Settled));
            assert!(finished.remove(&id(n)) && !finished.remove(&id(n)));
            assert_eq!(finished.get(&id(n)), None);
        }
        assert_eq!(finished.len(), COUNT as usize - 2);
    }
}
