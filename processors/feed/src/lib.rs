//! The feed: exchange sockets in, trades and best bids/asks out, in order, each trade once, every publish acknowledged.
//!
//! It refuses to know what a price means: no window, no threshold, no order. It judges no staleness either; what stops
//! arriving on the bus is seen there.
//!
//! Read in this order: [`config`], [`frame`] (what a frame turns into), [`binance`] and [`btcturk`] (parsers and protocols), [`bist`] (polling),
//! [`sequence`] (holes and repetitions, pure), [`batch`] (columns), then `connection` (one socket), `venue` (its life),
//! `ticks` and `quotes` (one symbol's way to the broker), `history` (REST) and [`board`] (what is told about all that).
//!
//! ```text
//! socket → venue (parse) ─┬→ ticks of a symbol: sequence → batch → SubjectWriter      back-pressure runs the other way
//!                         └→ quotes of a symbol:           batch → SubjectWriter
//! ```

mod backoff;
pub mod batch;
pub mod binance;
pub mod bist;
pub mod board;
pub mod btcturk;
pub mod config;
mod connection;
mod error;
pub mod frame;
mod history;
mod quotes;
pub mod sequence;
mod ticks;
mod venue;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spark_bus_schema::telemetry::{FeedState, FeedStatus, ProcessState};
use spark_bus_schema::{InstrumentTable, Venue};
use spark_exchanges::Observer;
use spark_nats::{Service, Status};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub use batch::{Encoded, QuoteBatcher, TickBatcher};
pub use config::{Config, QuoteSource, VenueConfig};
pub use error::Error;

use bist::BistConfig;
use board::Board;
use history::History;

/// A venue's task that died starts again after this.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Runs the feed until `service.shutdown`, with the built-in instruments.
///
/// # Errors
/// [`Error`]: the configuration cannot be used.
pub fn run(service: Service, config: Config) -> spark_nats::BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move { run_with(service, config, &InstrumentTable::builtin()).await })
}

/// As [`run`], with the instruments that the configuration names.
///
/// # Errors
/// [`Error`].
pub fn run_with(service: Service, config: Config, instruments: &InstrumentTable) -> spark_nats::BoxFuture<'_, Result<(), Error>> {
    Box::pin(async move {
        let problems = config.validate_with(instruments);
        if !problems.is_empty() {
            return Err(Error::Config(problems));
        }
        // Another part of the process may have chosen it already; it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let observer = history::call_reports(service.bus.clone(), service.name, service.shutdown.clone());
        let overview = Arc::new(Overview { status: service.status.clone(), venues: Mutex::default() });
        let mut venues = JoinSet::new();
        for (venue, config) in config.venues() {
            if !config.enabled {
                continue;
            }
            let symbols = config.resolved(venue, instruments);
            let history =
                History::new(venue, &config.rest(), Arc::clone(&observer)).map_err(|source| Error::Rest { venue, source })?;
            let board = Board::new(venue, &symbols, &service.status);
            let overview = Arc::clone(&overview);
            let after = move |status: &FeedStatus| overview.told(status);
            tokio::spawn(board::report(Arc::clone(&board), service.bus.clone(), service.shutdown.clone(), after));
            let (bus, shutdown, config) = (service.bus.clone(), service.shutdown.clone(), config.clone());
            venues.spawn(keep(move || venue::Setup {
                bus: bus.clone(),
                venue,
                config: config.clone(),
                symbols: symbols.clone(),
                history: history.clone(),
                board: Arc::clone(&board),
                shutdown: shutdown.clone(),
            }));
        }
        match config.bist.missing() {
            Some(what) => tracing::info!(what, "BIST is not polled"),
            None => poll_shares(&service, &config.bist, instruments, &overview, (observer, &mut venues)),
        }
        while venues.join_next().await.is_some() {}
        Ok(())
    })
}

fn poll_shares(
    service: &Service,
    config: &BistConfig,
    instruments: &InstrumentTable,
    overview: &Arc<Overview>,
    (observer, venues): (Observer, &mut JoinSet<()>),
) {
    let board = Board::new(Venue::Bist, &[], &service.status);
    let overview = Arc::clone(overview);
    let after = move |status: &FeedStatus| overview.told(status);
    tokio::spawn(board::report(Arc::clone(&board), service.bus.clone(), service.shutdown.clone(), after));
    let (bus, shutdown) = (service.bus.clone(), service.shutdown.clone());
    let (config, instruments) = (config.clone(), instruments.clone());
    venues.spawn(restarted(shutdown.clone(), move || {
        tokio::spawn(bist::run(bist::Setup {
            bus: bus.clone(),
            config: config.clone(),
            instruments: instruments.clone(),
            observer: Arc::clone(&observer),
            board: Arc::clone(&board),
            shutdown: shutdown.clone(),
        }))
    }));
}

/// Starts a task anew when it dies.
async fn restarted(shutdown: CancellationToken, start: impl Fn() -> JoinHandle<()>) {
    loop {
        if let Err(error) = start().await {
            tracing::error!(%error, "a venue's task died");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RESTART_PAUSE) => {}
        }
    }
}

/// Keeps one venue running: a defect in one of its tasks starts it anew and never touches the other venues.
async fn keep(setup: impl Fn() -> venue::Setup) {
    let shutdown = setup().shutdown;
    restarted(shutdown, || {
        let setup = setup();
        let (ws, symbols, source) = (setup.config.ws_url.clone(), setup.symbols.clone(), setup.config.quote_source);
        match setup.venue {
            Venue::Btcturk => tokio::spawn(venue::run(setup, btcturk::Feed::new(&ws, &symbols, source))),
            Venue::Binance | Venue::Bist => tokio::spawn(venue::run(setup, binance::Streams::new(&ws, &symbols))),
        }
    })
    .await;
}

/// The process is running when every venue is live.
struct Overview {
    status: Status,
    venues: Mutex<BTreeMap<Venue, FeedStatus>>,
}

impl Overview {
    fn told(&self, status: &FeedStatus) {
        let mut venues = self.venues.lock().unwrap_or_else(PoisonError::into_inner);
        venues.insert(status.venue, status.clone());
        let troubled = |status: &&FeedStatus| status.state != FeedState::Live || status.detail.is_some();
        let what = |status: &FeedStatus| {
            let state = match status.state {
                FeedState::Connecting => "connecting",
                FeedState::Live => "live",
                FeedState::Reconnecting => "reconnecting",
                FeedState::Filling => "filling",
            };
            format!("{} {state}: {}", status.venue, status.detail.as_deref().unwrap_or("-"))
        };
        let detail: Vec<String> = venues.values().filter(troubled).map(what).collect();
        let degraded = venues.values().any(|status| matches!(status.state, FeedState::Connecting | FeedState::Reconnecting));
        let state = if degraded { ProcessState::Degraded } else { ProcessState::Running };
        self.status.set(state, (!detail.is_empty()).then(|| detail.join("; ")));
    }
}
