//! Circuit breakers set by hand: `control.breaker.<exchange>`. The latest command decides, also after a restart.

use std::sync::Arc;

use spark_bus_schema::control::{BreakerCommand, BreakerMode as Commanded};
use spark_bus_schema::subject;
use spark_exchanges::BreakerMode;
use spark_nats::{Delivery, Follower, Service, Start, park};

use crate::Error;
use crate::exchange::Exchange;

/// Follows commands until the service is told to stop.
pub(crate) async fn follow(service: Arc<Service>, exchanges: Vec<Arc<Exchange>>) -> Result<(), Error> {
    let subjects = vec![subject::BREAKER.to_owned()];
    let mut follower = Follower::start(service.bus.clone(), service.name, subject::LEDGER, subjects, Start::LastPerSubject);
    loop {
        let batch = tokio::select! {
            () = service.shutdown.cancelled() => return Ok(()),
            batch = follower.next() => batch,
        };
        let Some(batch) = batch else { return Ok(()) };
        for delivery in batch {
            if let Err((reason, detail)) = apply(&exchanges, &delivery) {
                tokio::select! {
                    () = service.shutdown.cancelled() => return Ok(()),
                    parked = park(&service.bus, service.name, &delivery, reason, &detail) => parked.map_err(Error::Commands)?,
                }
            }
        }
    }
}

fn apply(exchanges: &[Arc<Exchange>], delivery: &Delivery) -> Result<(), (&'static str, String)> {
    let command: BreakerCommand = delivery.decode().map_err(|error| (error.reason(), error.to_string()))?;
    if delivery.subject != subject::breaker(command.exchange) {
        return Err(("wrong_subject", format!("a command for {} on {}", command.exchange, delivery.subject)));
    }
    let Some(exchange) = exchanges.iter().find(|exchange| exchange.venue() == command.exchange) else {
        tracing::debug!(exchange = %command.exchange, "a breaker command for an exchange that is not polled");
        return Ok(());
    };
    tracing::warn!(exchange = %command.exchange, mode = ?command.mode, actor = command.actor, reason = command.reason,
        "circuit breaker set by hand");
    exchange.set_breaker(match command.mode {
        Commanded::Open => BreakerMode::ForcedOpen,
        Commanded::Closed => BreakerMode::ForcedClosed,
        Commanded::Auto => BreakerMode::Auto,
    });
    Ok(())
}
