//! Publishing a stored message again, as it was: for an operator who has removed what kept it from being handled.

use async_nats::HeaderMap;
use futures_util::future::BoxFuture;
use spark_bus_schema::header;

use crate::bus::{Bus, PublishError};
use crate::delivery::Delivery;

impl Bus {
    /// Publishes a message again on its own subject with its own headers and bytes, marked [`header::REPLAY_OF`]
    /// `<stream>:<sequence>`. Headers that speak to the broker (`Nats-…`) are left out: they were about the first time.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub fn publish_again<'a>(&'a self, original: &'a Delivery) -> BoxFuture<'a, Result<u64, PublishError>> {
        Box::pin(async move {
            let mut headers = HeaderMap::new();
            for (name, value) in
                original.headers.iter().filter(|(name, _)| !name.starts_with("Nats-") && name != header::REPLAY_OF)
            {
                headers.append(name.as_str(), value.as_str());
            }
            headers.insert(header::REPLAY_OF, format!("{}:{}", original.stream, original.sequence));
            self.store(&original.subject, headers, original.payload.clone()).await
        })
    }
}
