//! Why the feed cannot run at all. What happens on the way (a lost connection, an unreadable frame) is not an error: it is
//! counted, told and cured.

/// A failure that a retry does not cure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is not usable.
    #[error("{}", .0.join("\n"))]
    Config(Vec<String>),
    /// The REST client of a venue cannot be made.
    #[error("REST client of {venue}")]
    Rest {
        /// The venue.
        venue: spark_bus_schema::Venue,
        /// Why.
        #[source]
        source: spark_exchanges::Error,
    },
}
