//! Publishing a stored message again, as it was: for an operator who has removed what kept it from being handled.

use async_nats::HeaderMap;
use spark_bus_schema::header;

use crate::bus::{Bus, PublishError};
use crate::delivery::Delivery;

impl Bus {
    /// Publishes a message again on its own subject with its own headers and bytes, marked [`header::REPLAY_OF`]
    /// `<stream>:<sequence>`. Headers that speak to the broker (`Nats-…`) are left out: they were about the first time.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_again(&self, original: &Delivery) -> Result<u64, PublishError> {
        let mut headers = HeaderMap::new();
        for (name, value) in original.headers.iter().filter(|(name, _)| !name.starts_with("Nats-") && name != header::REPLAY_OF) {
            headers.append(name.as_str(), value.as_str());
        }
        headers.insert(header::REPLAY_OF, format!("{}:{}", original.stream, original.sequence));
        self.store(&original.subject, headers, original.payload.clone()).await
    }
}
