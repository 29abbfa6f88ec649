//! The window into the system: one in-memory view of everything on the bus, over HTTP and as a live stream, with the
//! page that shows it; and the one way in for commands from outside.
//!
//! It refuses to decide anything: an order that comes in here is an intent like any other, and risk says yes or no. It knows
//! no exchange. What it shows follows from the streams; of the LEDGER's past it keeps a checkpoint, only to start sooner. Reading works, and says `DEGRADED`, with any process or the broker down.
//!
//! Read in this order: [`event`] and [`record`] (what comes in), [`view`] (the picture, pure), [`render`] (the picture as JSON),
//! [`stream`] (live events), [`latency`] (from the socket to here), [`requests`] (what was answered), [`http`] (routes and limits), [`desk`] (an order's
//! way into the LEDGER and back), [`app`] (what tasks share),
//! `follow` (the wiring to the bus), `checkpoint` (what a restart goes on from).

pub mod app;
pub mod auth;
pub mod changes;
mod checkpoint;
mod config;
pub mod confirm;
pub mod desk;
mod error;
pub mod event;
mod follow;
pub mod http;
pub mod latency;
pub mod number;
pub mod record;
pub mod render;
pub mod requests;
pub mod stream;
pub mod view;
mod waiters;

use std::sync::Arc;

pub use config::Config;
pub use error::Error;
use spark_nats::Service;
pub use auth::AdminToken;
use tokio::net::TcpListener;

pub use crate::app::{BacktestDetails, BacktestReport, ChainHashes, Files};

use crate::app::App;

/// Runs the gateway until `service.shutdown` is cancelled. HTTP is served from the first moment, broker or not.
///
/// # Errors
/// The configuration cannot work, the token cannot be read, or the address cannot be had.
pub async fn run(service: Service, config: Config, files: Files) -> Result<(), Error> {
    let address = config.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Bind { address, source })?;
    serve_with(listener, service, config, files).await
}

/// As [`run`], on a listener that is already there.
///
/// # Errors
/// As [`run`], without the address.
pub async fn serve(listener: TcpListener, service: Service, config: Config) -> Result<(), Error> {
    serve_with(listener, service, config, Files::default()).await
}

/// As [`serve`], with files of other processes.
///
/// # Errors
/// As [`serve`].
pub async fn serve_with(listener: TcpListener, service: Service, config: Config, files: Files) -> Result<(), Error> {
    let problems = config.validate();
    if !problems.is_empty() {
        return Err(Error::Config(problems));
    }
    let admin = AdminToken::load(&config)?;
    let (app, receiver) = App::new(config, admin, spark_nats::now());
    let app = Arc::new(app);
    let (bus, shutdown) = (service.bus.clone(), service.shutdown.clone());
    app.connect(bus.clone());
    app.read_with(files);
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "the gateway listens");
    }
    let router = http::router(Arc::clone(&app), shutdown.clone());
    tokio::join!(
        http::server::serve(listener, router, shutdown.clone()),
        stream::pulse(Arc::clone(&app), shutdown.clone()),
        follow::follow(Arc::clone(&app), bus.clone(), &service.data_dir, service.status.clone(), shutdown.clone()),
        follow::connection(Arc::clone(&app), bus.clone(), shutdown.clone()),
        follow::parked_count(Arc::clone(&app), bus.clone(), shutdown.clone()),
        follow::watch(Arc::clone(&app), bus.clone(), shutdown.clone()),
        requests::publish(app, bus.clone(), shutdown.clone()),
        follow::commands(receiver, bus, shutdown),
    );
    Ok(())
}
