//! Reads a stretch of a stream once, without a consumer: any number of readers under one name do not get in each other's way.
//!
//! It uses the broker's batched direct get (ADR-31): one request, up to [`MESSAGES_MAX`] answers.

use std::time::Duration;

use async_nats::{HeaderMap, StatusCode};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use spark_bus_schema::Timestamp;
use time::format_description::well_known::Rfc3339;

use crate::bus::{Bus, RETRY_PAUSE};
use crate::delivery::{Delivery, date_time};
use crate::error::Error;

/// Messages of one answer, at most: the broker's own bound is 1 000.
pub const MESSAGES_MAX: usize = 512;
/// Bytes of one answer, about.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest silence within one answer.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
/// Attempts for one page before the reading fails.
const ATTEMPTS_MAX: u32 = 10;

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At this sequence, or the first one behind it.
    Sequence(u64),
    /// At the first message that was stored at this time or later.
    Time(Timestamp),
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    next_by_subj: &'a str,
    batch: usize,
    max_bytes: usize,
}

impl Bus {
    /// The next messages on `subject` (wildcards allowed) in order, at most [`MESSAGES_MAX`]; none at the stream's end.
    /// Waits while the broker is away.
    ///
    /// # Errors
    /// The broker refuses, or did not answer whole several times.
    pub fn page<'a>(&'a self, stream: &'static str, subject: &'a str, from: From) -> BoxFuture<'a, Result<Vec<Delivery>, Error>> {
        Box::pin(async move {
            let mut pause = RETRY_PAUSE.0;
            let mut attempts = 0;
            loop {
                self.wait_connected().await;
                match self.page_once(stream, subject, from).await {
                    Ok(page) => return Ok(page),
                    Err(reason) => {
                        tracing::debug!(stream, subject, reason, "read the page again");
                        attempts += 1;
                        if attempts >= ATTEMPTS_MAX {
                            return Err(Error::broker(format!("read {subject} in {stream}"), reason));
                        }
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(RETRY_PAUSE.1);
                    }
                }
            }
        })
    }

    async fn page_once(&self, stream: &'static str, subject: &str, from: From) -> Result<Vec<Delivery>, String> {
        let (seq, start_time) = match from {
            From::Sequence(sequence) => (Some(sequence.max(1)), None),
            From::Time(at) => (None, Some(date_time(at).format(&Rfc3339).map_err(|error| error.to_string())?)),
        };
        let request = Request { seq, start_time, next_by_subj: subject, batch: MESSAGES_MAX, max_bytes: BYTES_MAX };
        let request = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        let client = self.raw_client();
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
        let sent = client.publish_with_reply(format!("$JS.API.DIRECT.GET.{stream}"), inbox, request.into()).await;
        sent.map_err(|error| error.to_string())?;
        let mut page = Vec::new();
        loop {
            let answer = tokio::time::timeout(SILENCE_LIMIT, answers.next()).await;
            let answer = answer.map_err(|_| "no answer".to_owned())?.ok_or("the connection was closed")?;
            match answer.status {
                None | Some(StatusCode::OK) => {}
                // The end of the batch; nothing (more) there.
                Some(status) if status == StatusCode::from_u16(204).unwrap_or_default() => {
                    return Ok(page);
                }
                Some(StatusCode::NOT_FOUND) => return Ok(page),
                Some(status) => {
                    return Err(format!("{status} {}", answer.description.unwrap_or_default()));
                }
            }
            let headers = answer.headers.unwrap_or_default();
            let found = delivery(stream, headers, answer.payload)?;
            page.push(found);
        }
    }
}

fn delivery(stream: &'static str, headers: HeaderMap, payload: bytes::Bytes) -> Result<Delivery, String> {
    let value = |name: &str| headers.get(name).map(|value| value.as_str().to_owned()).ok_or(format!("an answer without {name}"));
    let sequence = value("Nats-Sequence")?.parse().map_err(|error| format!("Nats-Sequence: {error}"))?;
    let stored_at = time::OffsetDateTime::parse(&value("Nats-Time-Stamp")?, &Rfc3339).map_err(|error| error.to_string())?;
    let subject = value("Nats-Subject")?;
    Ok(Delivery::new(stream, sequence, stored_at, subject, Some(&headers), payload))
}
