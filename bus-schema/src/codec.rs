//! Bytes: MessagePack maps with field names, so that any language reads them and fields can be added.

mod reader;

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Payloads above this are refused before they are decoded. The broker's own limit is the same.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// Payloads nested deeper than this are refused; the deepest message has five levels. What bytes ask for must fit into a
/// worker thread's stack.
pub const NESTING_MAX: u16 = 32;
/// Saved states nested deeper than this are refused.
const SAVED_NESTING_MAX: u16 = 128;
/// Characters of a header that are repeated in an error: it ends up in logs and parked messages.
const SHOWN_CHARS_MAX: usize = 64;

/// A message kind with its version, written `tick_batch.v1` in the `Spark-Kind` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// Snake-case name.
    pub name: &'static str,
    /// Version, from 1. A new version is needed when an old reader would misread the new bytes.
    pub version: u16,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.v{}", self.name, self.version)
    }
}

/// A value that travels on the bus.
pub trait Message: Serialize + DeserializeOwned + JsonSchema {
    /// Name and version for the `Spark-Kind` header.
    const KIND: Kind;

    /// Appends the encoded message. [`bytes_here`] writes it.
    fn write(&self, buffer: &mut Vec<u8>);

    /// Decodes from the front of `payload`, without validation, and leaves the rest. [`bytes_here`] writes it.
    ///
    /// # Errors
    /// What the decoder met.
    fn read(payload: &mut &[u8]) -> Result<Self, rmp_serde::decode::Error>;

    /// What types cannot say: equal column lengths, positive prices, non-empty names.
    ///
    /// # Errors
    /// A sentence that names the field and the value.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The bytes of one message type, compiled here. As generic code every crate that sends or reads the type would compile it
/// again, which was a good part of the build.
macro_rules! bytes_here {
    () => {
        fn write(&self, buffer: &mut Vec<u8>) {
            $crate::codec::write_map(self, buffer);
        }

        fn read(payload: &mut &[u8]) -> Result<Self, rmp_serde::decode::Error> {
            $crate::codec::read_map(payload)
        }
    };
}
pub(crate) use bytes_here;

pub(crate) fn write_map(value: &impl Serialize, buffer: &mut Vec<u8>) {
    value
        .serialize(&mut rmp_serde::Serializer::new(buffer).with_struct_map())
        .expect("writing to memory cannot fail and every message type has string keys");
}

pub(crate) fn read_map<T: DeserializeOwned>(payload: &mut &[u8]) -> Result<T, rmp_serde::decode::Error> {
    // Fields have names on the bus: a list of values would mean something else as soon as a field is added.
    let mut reader = reader::Reader::<false>::new(payload, NESTING_MAX);
    let value = T::deserialize(&mut reader)?;
    *payload = reader.rest();
    Ok(value)
}

/// Reads what `rmp_serde::to_vec` or `to_vec_named` wrote: a saved state, all of `bytes`. Compiles to far less than
/// `rmp_serde::from_slice` does.
///
/// # Errors
/// What the reader met, or bytes after the end of the value.
pub fn from_saved<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut reader = reader::Reader::<true>::new(bytes, SAVED_NESTING_MAX);
    let value = T::deserialize(&mut reader)?;
    match reader.rest().len() {
        0 => Ok(value),
        count => Err(serde::de::Error::custom(format_args!("{count} bytes after the end"))),
    }
}

/// Why bytes are not the message that was expected. Such a message is parked, alone.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No `Spark-Kind` header.
    #[error("no Spark-Kind header; expected {expected}")]
    MissingKind {
        /// What the reader wanted.
        expected: Kind,
    },
    /// Another kind than the subject carries.
    #[error("kind {got:?} on a subject that carries {expected}")]
    WrongKind {
        /// What the reader wanted.
        expected: Kind,
        /// What the header said.
        got: String,
    },
    /// The right kind in a version that this build does not know.
    #[error("{got} is a version that this build does not know; it reads {expected}")]
    UnknownVersion {
        /// What the reader knows.
        expected: Kind,
        /// What the header said.
        got: String,
    },
    /// Larger than [`PAYLOAD_BYTES_MAX`].
    #[error("{size} bytes, above the limit of {PAYLOAD_BYTES_MAX}")]
    TooLarge {
        /// Payload size.
        size: usize,
    },
    /// Not MessagePack, cut short, or with a field of another type.
    #[error("malformed {kind}")]
    Malformed {
        /// What was being read.
        kind: Kind,
        /// What the decoder met.
        #[source]
        source: rmp_serde::decode::Error,
    },
    /// Bytes after the end of the value.
    #[error("{count} bytes after the end of a {kind}")]
    TrailingBytes {
        /// What was being read.
        kind: Kind,
        /// How many.
        count: usize,
    },
    /// Well-formed but impossible.
    #[error("impossible {kind}: {what}")]
    Invalid {
        /// What was being read.
        kind: Kind,
        /// Field and value.
        what: String,
    },
}

impl DecodeError {
    /// A short, stable word for metrics and parked messages.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::MissingKind { .. } => "missing_kind",
            Self::WrongKind { .. } => "wrong_kind",
            Self::UnknownVersion { .. } => "unknown_version",
            Self::TooLarge { .. } => "too_large",
            Self::Malformed { .. } => "malformed",
            Self::TrailingBytes { .. } => "trailing_bytes",
            Self::Invalid { .. } => "invalid",
        }
    }
}

/// Encodes into a fresh buffer.
#[must_use]
pub fn encode<T: Message>(message: &T) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(256);
    encode_into(&mut buffer, message);
    buffer
}

/// Appends the encoded message to `buffer`, for hot paths that reuse it.
pub fn encode_into<T: Message>(buffer: &mut Vec<u8>, message: &T) {
    message.write(buffer);
}

/// Decodes and validates.
///
/// # Errors
/// [`DecodeError`], which says what was wrong; nothing panics on any bytes.
pub fn decode<T: Message>(kind_header: Option<&str>, payload: &[u8]) -> Result<T, DecodeError> {
    check_kind(T::KIND, kind_header)?;
    decode_payload(payload)
}

fn check_kind(expected: Kind, header: Option<&str>) -> Result<(), DecodeError> {
    let Some(got) = header else { return Err(DecodeError::MissingKind { expected }) };
    let (name, version) = got.rsplit_once(".v").unwrap_or((got, ""));
    if name != expected.name {
        return Err(DecodeError::WrongKind { expected, got: shown(got) });
    }
    if version.parse() != Ok(expected.version) {
        return Err(DecodeError::UnknownVersion { expected, got: shown(got) });
    }
    Ok(())
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Decodes and validates a payload whose kind is known by other means.
///
/// # Errors
/// As [`decode`], without the header's part.
pub fn decode_payload<T: Message>(payload: &[u8]) -> Result<T, DecodeError> {
    let kind = T::KIND;
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(DecodeError::TooLarge { size: payload.len() });
    }
    let mut rest = payload;
    let message = T::read(&mut rest).map_err(|source| DecodeError::Malformed { kind, source })?;
    if !rest.is_empty() {
        return Err(DecodeError::TrailingBytes { kind, count: rest.len() });
    }
    message.validate().map_err(|what| DecodeError::Invalid { kind, what })?;
    Ok(message)
}
