//! Parking: a message that cannot be handled is kept for a person, alone; its neighbours go on.

use futures_util::future::BoxFuture;
use spark_bus_schema::parked::{EXCERPT_BYTES_MAX, Parked};
use spark_bus_schema::{Message, encode, header, subject};

use crate::bus::{Bus, Meta, PublishError, RETRY_PAUSE, headers};
use crate::delivery::Delivery;
use crate::error::Error;

/// Parks one message and waits until it is stored. The subject names process, stream and sequence, and is created
/// only if absent, so that a message is parked once however often it is met again.
///
/// # Errors
/// The broker refuses for good.
pub fn park<'a>(
    bus: &'a Bus,
    process: &'a str,
    delivery: &'a Delivery,
    reason: &'a str,
    detail: &'a str,
) -> BoxFuture<'a, Result<(), Error>> {
    Box::pin(async move {
        let parked = Parked {
            process: process.to_owned(),
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            stream: delivery.stream.to_owned(),
            sequence: delivery.sequence,
            subject: delivery.subject.clone(),
            kind: delivery.kind.clone(),
            headers: delivery.headers.clone(),
            payload: delivery.payload[..delivery.payload.len().min(EXCERPT_BYTES_MAX)].to_vec(),
            payload_bytes: delivery.payload.len() as u64,
            attempts: 1,
            parked_at: delivery.stored_at,
        };
        let target = subject::parked(process, delivery.stream, delivery.sequence);
        let mut headers =
            headers(Parked::KIND, &Meta { msg_id: None, cause: Some(format!("{}:{}", delivery.stream, delivery.sequence)) });
        headers.insert(header::EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        tracing::warn!(
            process,
            stream = delivery.stream,
            sequence = delivery.sequence,
            subject = delivery.subject,
            reason,
            detail,
            "parked"
        );
        metrics::counter!("spark_parked_total", "process" => process.to_owned(), "reason" => reason.to_owned()).increment(1);
        let payload = bytes::Bytes::from(encode(&parked));
        let mut pause = RETRY_PAUSE.0;
        loop {
            match bus.publish_once(&target, headers.clone(), payload.clone()).await {
                Ok(_) | Err(PublishError::WrongLastSequence) => return Ok(()),
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_PAUSE.1);
                    bus.wait_connected().await;
                }
                Err(source) => {
                    return Err(Error::Publish { subject: target, source });
                }
            }
        }
    })
}
