//! Messages that could not be handled, kept for a person.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::{Kind, Message};
use crate::time::Timestamp;

/// At most this much of the original payload is kept here; the original itself stays in its stream.
pub const EXCERPT_BYTES_MAX: usize = 64 * 1024;

/// A message that a process could not handle. The neighbours of such a message are handled as usual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Parked {
    /// Who could not handle it.
    pub process: String,
    /// `malformed unknown_version wrong_kind missing_kind too_large trailing_bytes invalid rejected`.
    pub reason: String,
    /// The whole error.
    pub detail: String,
    /// Stream of the original.
    pub stream: String,
    /// Sequence of the original.
    pub sequence: u64,
    /// Subject of the original.
    pub subject: String,
    /// `Spark-Kind` of the original.
    pub kind: Option<String>,
    /// Headers of the original.
    pub headers: Vec<(String, String)>,
    /// Beginning of the payload, at most [`EXCERPT_BYTES_MAX`] bytes.
    #[serde(with = "bytes_field")]
    #[schemars(with = "Vec<u8>")]
    pub payload: Vec<u8>,
    /// Size of the whole payload.
    pub payload_bytes: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was parked.
    pub parked_at: Timestamp,
}

impl Message for Parked {
    const KIND: Kind = Kind { name: "parked", version: 1 };
    crate::codec::bytes_here!();
}

/// MessagePack `bin` instead of an array of numbers.
mod bytes_field {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}
