//! What the broker keeps of the guardrail's own past, for a run that begins without a state.

use std::time::Duration;

use spark_bus_schema::actions::ThresholdsCommand;
use spark_bus_schema::subject;
use spark_nats::{Follower, Service, Start};

/// How often it is looked whether everything has been read.
const POLL: Duration = Duration::from_millis(20);

/// Every command that changed thresholds, with its sequence in LEDGER: they stand until they are taken back, however old
/// they are. None when told to stop.
pub async fn thresholds(service: &Service) -> Option<Vec<(u64, ThresholdsCommand)>> {
    let subjects = vec![subject::THRESHOLDS.to_owned()];
    let mut follower = Follower::start(service.bus.clone(), service.name, subject::LEDGER, subjects, Start::Beginning);
    let mut commands = Vec::new();
    loop {
        tokio::select! {
            () = service.shutdown.cancelled() => return None,
            batch = follower.next() => {
                for delivery in batch? {
                    match delivery.decode::<ThresholdsCommand>() {
                        Ok(command) => commands.push((delivery.sequence, command)),
                        Err(error) => tracing::warn!(sequence = delivery.sequence, %error, "stored thresholds are unreadable"),
                    }
                }
            }
            () = tokio::time::sleep(POLL), if follower.is_caught_up() => return Some(commands),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}
