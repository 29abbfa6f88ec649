//! What is said on a subject at this moment, whether or not a stream keeps it. Nothing is asked for again: whoever was away
//! has missed it. For everything that must not be missed there is the [`Follower`](crate::Follower).

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use spark_bus_schema::{DecodeError, Message, header};

use crate::bus::Bus;
use crate::error::Error;

/// A message as it passed by: it has no place in a stream.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Where it was published.
    pub subject: String,
    /// `Spark-Kind`.
    pub kind: Option<String>,
    /// The bytes.
    pub payload: Bytes,
}

impl Heard {
    /// Decodes the payload as the kind the listener expects here.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode<T: Message>(&self) -> Result<T, DecodeError> {
        spark_bus_schema::decode(self.kind.as_deref(), &self.payload)
    }
}

/// Hears what is published on one subject. Dropping it ends it.
pub struct Listener {
    messages: async_nats::Subscriber,
}

impl Listener {
    /// The next message; none when the connection was closed for good. Goes on by itself after the broker was away. Safe to cancel.
    pub async fn next(&mut self) -> Option<Heard> {
        let message = self.messages.next().await?;
        let kind = message.headers.as_ref().and_then(|headers| headers.get(header::KIND)).map(ToString::to_string);
        Some(Heard { subject: message.subject.to_string(), kind, payload: message.payload })
    }
}

impl Bus {
    /// Listens to a subject from now on. A subject that the process may not subscribe to (`subscribe_allow` in
    /// [`permissions`](crate::permissions)) stays silent; the broker's refusal is in the log.
    ///
    /// # Errors
    /// The connection is closed for good.
    pub fn listen<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Result<Listener, Error>> {
        Box::pin(async move {
            let messages = self.raw_client().subscribe(subject.to_owned()).await;
            let messages = messages.map_err(|error| Error::broker(format!("listen to {subject}"), error))?;
            Ok(Listener { messages })
        })
    }
}
