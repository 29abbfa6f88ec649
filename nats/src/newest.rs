//! The newest usable message on a subject, even when somebody wrote garbage behind it.

use crate::bus::Bus;
use crate::delivery::Delivery;
use crate::error::Error;

/// Stored messages that are looked at behind one that is of no use.
const LOOK_BACK_MAX: u64 = 20_000;

impl Bus {
    /// What `read` makes of `end`, or else of the newest message before it on the same subject that it can use. At most
    /// 20 000 messages of the stream are looked at.
    ///
    /// # Errors
    /// The broker is away or refuses.
    pub async fn newest_usable<T>(
        &self,
        end: Option<Delivery>,
        read: impl Fn(&Delivery) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(end) = end else { return Ok(None) };
        if let Some(message) = read(&end) {
            return Ok(Some(message));
        }
        tracing::warn!(subject = end.subject, sequence = end.sequence, "the last message is of no use; looking further back");
        let oldest = self.bounds(end.stream).await?.0.max(end.sequence.saturating_sub(LOOK_BACK_MAX)).max(1);
        for sequence in (oldest..end.sequence).rev() {
            let found = self.get(end.stream, sequence).await?.filter(|delivery| delivery.subject == end.subject);
            if let Some(message) = found.as_ref().and_then(&read) {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }
}
