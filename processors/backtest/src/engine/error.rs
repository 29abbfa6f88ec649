//! Why a backtest has no result.

/// Why a backtest has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The job cannot be run: key, value, what would be right.
    #[error("{0}")]
    Job(String),
    /// The data cannot be used: where, what, what would be right.
    #[error("{0}")]
    Data(String),
    /// A file.
    #[error("{action} {path}")]
    File {
        /// What was tried, e.g. `read`.
        action: &'static str,
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The exchange.
    #[error("ask {venue} for candles")]
    Exchange {
        /// Which.
        venue: spark_bus_schema::Venue,
        /// Why.
        #[source]
        source: Box<spark_exchanges::Error>,
    },
    /// The broker.
    #[error("read what FEED recorded")]
    Bus(#[source] spark_nats::Error),
    /// The callback said so.
    #[error("cancelled")]
    Cancelled,
}
