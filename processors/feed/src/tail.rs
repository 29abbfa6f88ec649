//! The newest readable batch on a subject, even when somebody wrote garbage behind it.

use spark_bus_schema::Message;
use spark_nats::{Bus, Delivery, Error};

/// Stored messages that are looked at behind an unreadable one.
const LOOK_BACK_MAX: u64 = 20_000;

/// Decodes `end`, or looks further back in its stream for a message of the same subject that can be read.
///
/// # Errors
/// The broker is away or refuses.
pub(crate) async fn newest<T: Message>(bus: &Bus, end: Option<Delivery>) -> Result<Option<T>, Error> {
    let Some(end) = end else { return Ok(None) };
    match end.decode() {
        Ok(batch) => return Ok(Some(batch)),
        Err(error) => tracing::warn!(subject = end.subject, sequence = end.sequence, %error, "not written by the feed"),
    }
    let oldest = bus.bounds(end.stream).await?.0.max(end.sequence.saturating_sub(LOOK_BACK_MAX)).max(1);
    for sequence in (oldest..end.sequence).rev() {
        if let Some(delivery) = bus.get(end.stream, sequence).await?
            && delivery.subject == end.subject
            && let Ok(batch) = delivery.decode()
        {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}
