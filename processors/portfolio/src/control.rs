//! Circuit breakers set by hand: `control.breaker.<exchange>`. The latest command decides, also after a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use spark_bus_schema::control::{BreakerCommand, BreakerMode as Commanded};
use spark_bus_schema::{Venue, subject};
use spark_exchanges::BreakerMode;
use spark_nats::{Delivery, Follower, Service, Start, park};

use crate::Error;
use crate::exchange::Exchange;

/// Applies commands in their order in the ledger, whoever read them.
pub(crate) struct Commands {
    exchanges: Vec<Arc<Exchange>>,
    /// Sequence of the newest command applied, by exchange.
    applied: Mutex<BTreeMap<Venue, u64>>,
}

impl Commands {
    pub fn new(exchanges: Vec<Arc<Exchange>>) -> Self {
        Self { exchanges, applied: Mutex::default() }
    }

    /// Obeys one command, unless a newer one was obeyed before.
    pub fn apply(&self, delivery: &Delivery) -> Result<(), (&'static str, String)> {
        let command = Self::read(delivery)?;
        let Some(exchange) = self.exchanges.iter().find(|exchange| exchange.venue() == command.exchange) else {
            tracing::debug!(exchange = %command.exchange, "a breaker command for an exchange that is not polled");
            return Ok(());
        };
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = applied.entry(command.exchange).or_default();
        if delivery.sequence <= *newest {
            return Ok(());
        }
        *newest = delivery.sequence;
        tracing::warn!(exchange = %command.exchange, mode = ?command.mode, actor = command.actor, reason = command.reason,
            "circuit breaker set by hand");
        exchange.set_breaker(match command.mode {
            Commanded::Open => BreakerMode::ForcedOpen,
            Commanded::Closed => BreakerMode::ForcedClosed,
            Commanded::Auto => BreakerMode::Auto,
        });
        Ok(())
    }

    /// The command in a message, or why there is none.
    fn read(delivery: &Delivery) -> Result<BreakerCommand, (&'static str, String)> {
        let command: BreakerCommand = delivery.decode().map_err(|error| (error.reason(), spark_nats::text(&error)))?;
        if delivery.subject != subject::breaker(command.exchange) {
            return Err(("wrong_subject", format!("a command for {} on {}", command.exchange, delivery.subject)));
        }
        Ok(command)
    }
}

/// Follows commands until the service is told to stop.
pub(crate) async fn follow(service: Arc<Service>, commands: Arc<Commands>) -> Result<(), Error> {
    let subjects = vec![subject::BREAKER.to_owned()];
    let mut follower = Follower::start(service.bus.clone(), service.name, subject::LEDGER, subjects, Start::LastPerSubject);
    loop {
        let batch = tokio::select! {
            () = service.shutdown.cancelled() => return Ok(()),
            batch = follower.next() => batch,
        };
        let Some(batch) = batch else { return Ok(()) };
        for delivery in batch {
            if let Err((reason, detail)) = commands.apply(&delivery) {
                tokio::select! {
                    () = service.shutdown.cancelled() => return Ok(()),
                    parked = park(&service.bus, service.name, &delivery, reason, &detail) => parked.map_err(Error::Commands)?,
                }
            }
        }
    }
}
