//! The window into the system: one in-memory view of everything on the bus, over HTTP and as a live stream, with the
//! page that shows it; and the one way in for commands from outside.
//!
//! It refuses to decide anything: an order that comes in here is an intent like any other, and risk says yes or no. It knows
//! no exchange. What it shows follows from the streams; of the LEDGER's past it keeps a checkpoint, only to start sooner. Reading works, and says `DEGRADED`, with any process or the broker down.
//!
//! Read in this order: [`event`] and [`record`] (what comes in), [`view`] (the picture, pure), [`render`] (the picture as JSON),
//! [`stream`] (live events), [`wire`] (messages of the bus over WebSockets), [`latency`] (from the socket to here), [`requests`] (what was answered), [`http`] (routes and limits), [`desk`] (an order's
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
pub mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

pub use auth::AdminToken;
pub use config::{Config, Reading};
pub use error::Error;
use spark_nats::Service;
use tokio::net::{TcpListener, TcpSocket};

pub use crate::app::{BacktestDetails, BacktestReport, ChainHashes, Files};

use crate::app::App;

/// Connections that may wait until they are accepted.
const WAITING_MAX: u32 = 4_096;
/// Bytes that the system keeps for one client, about; it keeps twice as much for its own bookkeeping.
const SEND_BUFFER_BYTES: u32 = 256 * 1024;

/// Runs the gateway until `service.shutdown` is cancelled. HTTP is served from the first moment, broker or not.
///
/// # Errors
/// The configuration cannot work, the token cannot be read, or the address cannot be had.
pub async fn run(service: Service, config: Config, files: Files) -> Result<(), Error> {
    let address = config.listen;
    let listener = listen(address).map_err(|source| Error::Bind { address, source })?;
    serve_with(listener, service, config, files).await
}

/// A socket for clients. What it sets, the clients' sockets have from it: what a client that reads nothing can make the system
/// keep for it is bounded.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(WAITING_MAX)
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
    let tls = http::tls::Tls::load(&config)?;
    let (app, receiver) = App::new(config, admin, spark_nats::now());
    let app = Arc::new(app);
    let (bus, shutdown) = (service.bus.clone(), service.shutdown.clone());
    app.connect(bus.clone());
    app.read_with(files);
    if let Ok(address) = listener.local_addr() {
        let reach = if address.ip().is_loopback() { "this machine only" } else { "every machine that reaches the address" };
        let reading = if app.config.reading_is_open() { "open" } else { "by token" };
        tracing::info!(%address, tls = tls.is_some(), reach, reading, "the gateway listens");
    }
    let router = http::router(Arc::clone(&app), shutdown.clone());
    tokio::join!(
        http::server::serve_with(listener, router, tls, shutdown.clone()),
        wire::follow::feed(Arc::clone(&app), bus.clone(), shutdown.clone()),
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
