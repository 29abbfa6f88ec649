//! Polls the balances of each configured exchange with read-only keys, values them in USD and publishes them.
//!
//! It refuses to know orders and strategies, never sends a request that could trade, and never lets one exchange's trouble
//! reach the other: each has its own task, client, breaker, price guard and snapshot.
//!
//! Read in this order: [`rates`] (what an asset is worth), [`guard`] (prices that jump are held back), [`account`] (what
//! is published, snapshots), [`schedule`] (when the next poll is): pure, with time passed in. Then the wiring:
//! [`config`], [`keys`], [`exchange`] (one face for both clients), [`telemetry`], `poller` (the task per exchange).

pub mod account;
pub mod config;
mod control;
pub mod exchange;
pub mod guard;
pub mod keys;
mod poller;
pub mod rates;
pub mod schedule;
pub mod telemetry;

pub use config::{Config, ExchangeConfig};

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use spark_bus_schema::Venue;
use spark_bus_schema::telemetry::ProcessState;
use spark_nats::{PublishError, Service};
use tokio::task::JoinSet;

use crate::control::Commands;
use crate::exchange::Exchange;
use crate::poller::{Poller, Shared};

/// The exchanges that have a portfolio.
pub const EXCHANGES: [Venue; 2] = [Venue::Binance, Venue::Btcturk];

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
    /// A message could not be parked.
    #[error("handle commands")]
    Commands(#[source] spark_nats::Error),
    /// A task panicked.
    #[error("a task ended unexpectedly")]
    Task(#[source] tokio::task::JoinError),
}

/// Runs until the service is told to stop. Exchanges without a key are left out, with one warning each.
///
/// # Errors
/// [`Error`]; trouble with an exchange is not one of them.
pub fn run(service: Service, config: Config) -> spark_nats::BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        let problems = config.validate();
        if !problems.is_empty() {
            return Err(Error::Config(problems));
        }
        let service = Arc::new(service);
        let (queue, calls) = telemetry::channel(&service);
        let mut exchanges = Vec::new();
        for venue in EXCHANGES {
            let settings = config.exchange(venue);
            if !settings.enabled {
                continue;
            }
            if !settings.keys(venue).is_configured() {
                tracing::warn!(exchange = %venue, "no API key is configured: {}; its balances are not polled", settings.keys(venue));
                continue;
            }
            let tries = Arc::new(AtomicU64::new(0));
            let client = Exchange::new(venue, &settings.api(), queue.observer(Arc::clone(&tries)))
                .map_err(|source| Error::Client { exchange: venue, source })?;
            exchanges.push((Arc::new(client), tries));
        }
        if exchanges.is_empty() {
            service.status.set(ProcessState::Degraded, Some("no exchange has an API key".to_owned()));
        }
        let commands = Arc::new(Commands::new(exchanges.iter().map(|(client, _)| Arc::clone(client)).collect()));
        let shared = Arc::new(Shared::new(Arc::clone(&service), queue, Arc::clone(&commands)));
        let mut tasks = JoinSet::new();
        for (client, tries) in exchanges {
            tasks.spawn(Poller::new(client, tries, &config, Arc::clone(&shared)).run());
        }
        tasks.spawn(control::follow(Arc::clone(&service), commands));
        tasks.spawn(telemetry::publish(Arc::clone(&service), calls));
        let mut outcome = Ok(());
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended.map_err(Error::Task).and_then(|ended| ended)
                && outcome.is_ok()
            {
                // One task that cannot go on ends the process: half of it would look alive.
                outcome = Err(error);
                service.shutdown.cancel();
            }
        }
        service.stopped().await;
        outcome
    })
}
