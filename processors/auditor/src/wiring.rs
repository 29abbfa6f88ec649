//! The process: a session for each connection to the broker.

use std::time::Duration;

use spark_bus_schema::telemetry::ProcessState;
use spark_nats::Service;

use crate::config::Config;
use crate::error::Error;
use crate::session::{Session, Trouble};
use crate::shown::Shown;
use crate::store::Store;

/// Pause before a session that met trouble begins again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Runs the auditor until the service is told to stop.
///
/// # Errors
/// The audit database cannot be opened, read or written. A broker that is away is waited for and is none; damage of the
/// LEDGER is none either.
pub async fn run(service: Service, config: Config) -> Result<(), Error> {
    let path = service.data_dir.join(crate::DATABASE);
    let mut store = Store::open(&path)?;
    let shown = Shown::new(&service.status);
    tokio::select! {
        () = service.shutdown.cancelled() => Ok(()),
        error = sessions(&service, &config, &mut store, &shown) => Err(error),
    }
}

async fn sessions(service: &Service, config: &Config, store: &mut Store, shown: &Shown) -> Error {
    let mut connection = service.bus.connection();
    loop {
        service.bus.wait_connected().await;
        // Whatever happens to the connection from here on ends the session: the stream may have been changed meanwhile.
        connection.borrow_and_update();
        let mut session = Session { bus: &service.bus, name: service.name, config, store, shown };
        let ended = tokio::select! {
            biased;
            _ = connection.changed() => {
                tracing::info!("the connection to the broker changed; everything is compared again");
                continue;
            }
            ended = session.run() => ended,
        };
        match ended {
            Ok(()) => {}
            Err(Trouble::Fatal(error)) => return error,
            Err(Trouble::Retry(why)) => {
                tracing::warn!(why, "the LEDGER cannot be audited; trying again");
                shown.trouble(ProcessState::Degraded, format!("the LEDGER cannot be audited: {why}"));
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}
