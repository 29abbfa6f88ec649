//! A stored message as it is read back.

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use spark_bus_schema::{DecodeError, Message, Timestamp, header};

/// A place in a stream. The time makes it an identity: after the broker lost its end, the same sequence number can
/// come again with another message, but not with the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Stream sequence.
    pub sequence: u64,
    /// When the broker stored it.
    pub stored_at: Timestamp,
}

/// A message with its place in the stream.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The stream.
    pub stream: &'static str,
    /// Its sequence there.
    pub sequence: u64,
    /// When the broker stored it: the time that decisions use.
    pub stored_at: Timestamp,
    /// Where it was published.
    pub subject: String,
    /// `Spark-Kind`.
    pub kind: Option<String>,
    /// All headers.
    pub headers: Vec<(String, String)>,
    /// The bytes.
    pub payload: Bytes,
    /// Messages that wait behind this one for the same reader.
    pub pending: u64,
}

impl Delivery {
    /// Decodes the payload as the kind the reader expects here.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode<T: Message>(&self) -> Result<T, DecodeError> {
        spark_bus_schema::decode(self.kind.as_deref(), &self.payload)
    }

    /// Its place.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { sequence: self.sequence, stored_at: self.stored_at }
    }

    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn new(
        stream: &'static str,
        sequence: u64,
        time: time::OffsetDateTime,
        subject: String,
        headers: Option<&HeaderMap>,
        payload: Bytes,
    ) -> Self {
        let headers = headers.map(flatten).unwrap_or_default();
        let kind = headers.iter().find(|(key, _)| key == header::KIND).map(|(_, value)| value.clone());
        Self { stream, sequence, stored_at: timestamp(time), subject, kind, headers, payload, pending: 0 }
    }
}

fn flatten(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.as_str().to_owned())))
        .collect()
}

pub(crate) fn timestamp(time: time::OffsetDateTime) -> Timestamp {
    Timestamp::from_nanos(i64::try_from(time.unix_timestamp_nanos()).unwrap_or(i64::MAX))
}

pub(crate) fn date_time(at: Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.as_nanos())).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}
