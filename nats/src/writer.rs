//! The only writer of one subject.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spark_bus_schema::{Kind, header};

use crate::bus::{Bus, Meta, PublishError, RETRY_PAUSE, headers};
use crate::delivery::Delivery;
use crate::error::Error;

/// A connected broker that refuses this often in a row is not merely starting.
const REFUSALS_MAX: u32 = 30;

/// Why a message was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The end of the subject is not what this writer left there: another writer, or the broker lost its end.
    /// Open the subject again, look at its last message and go on from there.
    #[error("the end of the subject has changed")]
    Conflict,
    /// It cannot be stored at all.
    #[error("not storable")]
    Refused(#[source] PublishError),
}

/// Appends to one subject by compare-and-set on its last sequence, one publish at a time.
///
/// A lost acknowledgement is resolved by asking: the broker's last message on the subject either carries the id of the
/// one in doubt (it was stored) or is still the one before (it was not).
pub struct SubjectWriter {
    bus: Bus,
    stream: &'static str,
    subject: String,
    last: u64,
}

impl SubjectWriter {
    /// A writer that knows the end already: the sequence of the last message, 0 when nothing is stored there yet.
    #[must_use]
    pub fn at(bus: Bus, stream: &'static str, subject: String, last: u64) -> Self {
        Self { bus, stream, subject, last }
    }

    /// Sequence of the last message, as this writer knows it.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Finds the end of the subject; waits while the broker is away.
    ///
    /// # Errors
    /// The broker is there and refuses.
    pub fn open(bus: Bus, stream: &'static str, subject: String) -> BoxFuture<'static, Result<(Self, Option<Delivery>), Error>> {
        Box::pin(async move {
            let end = end_of(&bus, stream, &subject).await?;
            let last = end.as_ref().map_or(0, |delivery| delivery.sequence);
            Ok((Self { bus, stream, subject, last }, end))
        })
    }

    /// Looks at the end of the subject again; see [`AppendError::Conflict`].
    ///
    /// # Errors
    /// The broker is there and refuses.
    pub fn reopen(&mut self) -> BoxFuture<'_, Result<Option<Delivery>, Error>> {
        Box::pin(async move {
            let end = end_of(&self.bus, self.stream, &self.subject).await?;
            self.last = end.as_ref().map_or(0, |delivery| delivery.sequence);
            Ok(end)
        })
    }

    /// The subject.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Stores one message after the last one; waits while the broker is away.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append<'a>(&'a mut self, kind: Kind, payload: Bytes, msg_id: &'a str) -> BoxFuture<'a, Result<u64, AppendError>> {
        Box::pin(
            async move { self.append_with(kind, payload, &Meta { msg_id: Some(msg_id.to_owned()), cause: None }, &[]).await },
        )
    }

    /// As [`append`](Self::append), with a cause and extra headers.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn append_with<'a>(
        &'a mut self,
        kind: Kind,
        payload: Bytes,
        meta: &'a Meta,
        extra: &'a [(&'static str, String)],
    ) -> BoxFuture<'a, Result<u64, AppendError>> {
        Box::pin(async move {
            let mut headers = headers(kind, meta);
            headers.insert(header::EXPECTED_LAST_SUBJECT_SEQUENCE, self.last.to_string());
            for (name, value) in extra {
                headers.insert(*name, value.as_str());
            }
            let mut pause = RETRY_PAUSE.0;
            loop {
                match self.bus.publish_once(&self.subject, headers.clone(), payload.clone()).await {
                    Ok(sequence) => {
                        self.last = sequence;
                        return Ok(sequence);
                    }
                    Err(error) if error.is_transient() => pause = self.wait(pause).await,
                    Err(PublishError::WrongLastSequence) => {
                        return self.settle(meta.msg_id.as_deref()).await;
                    }
                    Err(error) => return Err(AppendError::Refused(error)),
                }
            }
        })
    }

    /// The compare-and-set failed: was it our own message, stored by an attempt whose acknowledgement got lost?
    async fn settle(&mut self, msg_id: Option<&str>) -> Result<u64, AppendError> {
        match end_of(&self.bus, self.stream, &self.subject).await {
            Ok(Some(end)) if msg_id.is_some() && end.header(header::MSG_ID) == msg_id => {
                self.last = end.sequence;
                Ok(end.sequence)
            }
            _ => Err(AppendError::Conflict),
        }
    }

    async fn wait(&self, pause: Duration) -> Duration {
        tokio::time::sleep(pause).await;
        self.bus.wait_connected().await;
        (pause * 2).min(RETRY_PAUSE.1)
    }
}

/// Reads the end of a subject, again and again while the broker is away or still starting.
async fn end_of(bus: &Bus, stream: &'static str, subject: &str) -> Result<Option<Delivery>, Error> {
    let mut pause = RETRY_PAUSE.0;
    let mut refusals = 0;
    loop {
        bus.wait_connected().await;
        match bus.last(stream, subject).await {
            Ok(end) => return Ok(end),
            Err(error) => {
                tracing::debug!(%error, "read the end of a subject again");
                refusals = if bus.is_connected() { refusals + 1 } else { 0 };
                if refusals >= REFUSALS_MAX {
                    return Err(error);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_PAUSE.1);
            }
        }
    }
}
