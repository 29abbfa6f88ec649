//! The process.

use spark_bus_schema::telemetry::ProcessState;
use spark_nats::Service;

use crate::config::Config;

/// Why the process stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker or the checkpoint failed.
    #[error("run rollout")]
    Bus(#[source] spark_nats::Error),
}

/// Runs until the service is told to stop.
///
/// # Errors
/// [`Error`]; a broker that is away is waited for and is none.
pub async fn run(service: Service, _config: Config) -> Result<(), Error> {
    service.status.set(ProcessState::Running, None);
    service.shutdown.cancelled().await;
    Ok(())
}
