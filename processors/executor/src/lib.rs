//! The only process that calls exchanges with orders and the only writer of `orders.event.>`.
//!
//! It acts on approvals alone and refuses to know why an order is wanted or whether it should be: that is decided in the
//! LEDGER before. What an exchange says is merged, never believed against the order's own history.
//!
//! Read in this order: [`machine`] (every decision, pure), [`paper`] (the paper exchange, pure), [`reconcile`] (ledger
//! against exchange, pure), then the wiring: [`config`](Config), `live` (an exchange over its protocols), `engine` (the loop).

mod config;
mod engine;
mod keys;
mod live;
pub mod machine;
pub mod paper;
pub mod reconcile;
mod telemetry;

pub use config::{Config, EXCHANGES, ExchangeConfig};
pub use keys::KeySource;

use spark_bus_schema::{InstrumentTable, Venue, subject};
use spark_nats::{Lease, PublishError, Service};

/// Why the process ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error("configuration: {}", .0.join("; "))]
    Config(Vec<String>),
    /// A client cannot be set up.
    #[error("set up the client of {exchange}")]
    Client {
        /// Whose.
        exchange: Venue,
        /// Why.
        #[source]
        source: spark_exchanges::Error,
    },
    /// The broker refuses what this process publishes, for good.
    #[error("publish on {subject}")]
    Publish {
        /// Where to.
        subject: String,
        /// Why.
        #[source]
        source: PublishError,
    },
    /// The state cannot be written down.
    #[error("save the state: {0}")]
    State(String),
    /// The broker, the lease or the checkpoint.
    #[error(transparent)]
    Bus(#[from] spark_nats::Error),
    /// A part that never ends has ended.
    #[error("{0} ended")]
    Ended(&'static str),
}

/// Runs with the built-in instruments; see [`run_with`].
///
/// # Errors
/// [`Error`].
pub fn run(service: Service, config: Config) -> spark_nats::BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move { run_with(service, config, &InstrumentTable::builtin()).await })
}

/// Waits for the lease, then runs until the service is told to stop or another holder takes over.
///
/// # Errors
/// [`Error`]; trouble with an exchange is not one of them. [`spark_nats::Error::Fenced`]: another holder took over.
pub fn run_with(service: Service, config: Config, instruments: &InstrumentTable) -> spark_nats::BoxFuture<'_, Result<(), Error>> {
    Box::pin(async move {
        let problems = config.validate();
        if !problems.is_empty() {
            return Err(Error::Config(problems));
        }
        let lease = tokio::select! {
            () = service.shutdown.cancelled() => {
                service.stopped().await;
                return Ok(());
            }
            lease = Lease::acquire(&service, subject::ORDERS_EPOCH) => lease?,
        };
        let outcome = engine::run(&service, &config, instruments, lease).await;
        service.stopped().await;
        outcome
    })
}
