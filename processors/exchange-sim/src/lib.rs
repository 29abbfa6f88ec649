//! Two exchanges and a vendor of share prices on loopback: Binance Spot and BTCTurk as their REST and WebSocket interfaces really
//! behave, over a seeded market or a recording, and Borsa Istanbul's shares as vendors tell them, with faults on demand. Knows nothing of the bus: connectors talk to it as they talk to the real ones.
//!
//! Read in this order: [`market`] (what happens, no clock and no I/O), [`orders`] (an account's orders and balances, as pure),
//! `engine` and `replay` (when it happens), `trading` (orders meet the market), `hub` and `socket` (who is told), `binance` and
//! `btcturk` (in which words), [`fault`] and `faults` (what goes wrong), `admin` (tests look in and take a hand).
//!
//! # What is served
//! Binance: market data under `/api/v3`, streams at `/ws` and `/stream`, `GET account`; `POST|GET|DELETE order`, `POST order/test`,
//! `GET|DELETE openOrders`, `GET allOrders`, `myTrades`, `rateLimit/order`; the WebSocket API at `/ws-api/v3` with the same calls
//! (`order.place` …) and `userDataStream.subscribe.signature`. Limit, limit-maker and market orders, GTC, IOC, FOK; stop, iceberg,
//! amend and list orders are refused and not offered in `exchangeInfo`.
//! BTCTurk: market data under `/api/v2` and `/v1`, the feed at `/`; `POST|DELETE /api/v1/order`, `GET order/{id}`, `openOrders`,
//! `allOrders`, `users/transactions/trade`, `users/balances`; login 114 and the account's frames 423, 441, 451, 452, 453.
//!
//! Each exchange has one account. [`DEMO_BINANCE_KEY`] and [`DEMO_BTCTURK_KEY`] read it, [`DEMO_BINANCE_TRADE_KEY`] and
//! [`DEMO_BTCTURK_TRADE_KEY`] also trade on it.
//!
//! BIST: `GET /quotes?symbols=THYAO,AKBNK` with `Authorization: Bearer` [`DEMO_BIST_TOKEN`], in the exchange's session or, as the
//! demo has it, around the clock; faults delay, status, drop, garbage, freeze, skip (a symbol's row), clock_skew and revoke_key.
//!
//! # How orders are filled
//! An incoming order takes what the book of its moment has, level by level; what it took is gone from the public book until the
//! market puts something there again. A resting order is filled at its own price when the other side's best price reaches it (as
//! much as is there) and when somebody trades at its price or through it (as much as was traded). Fills have ids of their own,
//! far above those of public trades, and are not in the public list of trades. The account's orders never meet each other.
//!
//! # The simulator's own interface (`admin`, no password)
//! | call | body and answer |
//! |---|---|
//! | `POST /sim/faults`, `GET`, `DELETE /sim/faults[/{id}]` | [`fault::Fault`] |
//! | `GET /sim/state`, `GET /sim/replay` | what is going on |
//! | `GET /sim/orders[?exchange=][&client_id=]` | the exchange's own log per exchange: `submits`, `fills`, `cancels`, each with a rising `seq`, `clients` (counts of submits by client id and outcome), and the `orders` and `balances` of now |
//! | `POST /sim/orders` | an order from outside: `{"exchange","symbol","side":"buy","quantity","price"[,"type":"market","quote_quantity","time_in_force","client_id"]}` |
//! | `POST /sim/orders/fill`, `/cancel`, `/expire` | an open order, whatever the market says: `{"exchange","client_id" or "order_id"[,"quantity"]}` |
//! | `POST /sim/balances` | a deposit, or below zero a withdrawal: `{"exchange","asset","amount"}` |
//! | `POST /sim/state/reset` | a restart with another state: `{"exchange"[,"orders":true,"sockets":true,"configured_balances":false,"balances":{"USDT":{"free":"1","locked":"0"}}]}` |
//! | `GET, POST /sim/bist` | the vendor's clock, delay and codes: `{"calendar":"exchange","shift_ms":0,"delay_minutes":15,"rename":{"from","to"},"hold":{"symbol","row":{"last":1.234}},"release":"THYAO"}`, each optional |
//! | `POST /sim/market` | holds a market: `{"exchange","symbol","bid","bid_size","ask","ask_size"}` or `"bids":[["60000","1"],…]`; `"trade":{"price","quantity","side"}` lets somebody trade; `"beat":false` silences it, `"frozen":false` lets it go |

mod account;
mod admin;
mod admin_market;
mod admin_orders;
mod binance;
mod bist;
mod btcturk;
mod candles;
mod config;
mod demo;
mod doorway;
mod engine;
mod error;
pub mod fault;
mod faults;
mod garbage;
mod hub;
mod limits;
mod live;
pub mod market;
pub mod orders;
mod percent;
mod recording;
mod replay;
mod socket;
mod trading;
mod units;
mod wire;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use bist::{BistConfig, CalendarKind};
pub use config::{AccountConfig, ApiKey, AssetConfig, Config, Holding, MarketConfig, Replay, Speed, Venue};
pub use demo::{
    DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET, DEMO_BINANCE_TRADE_KEY, DEMO_BINANCE_TRADE_SECRET, DEMO_BIST_TOKEN, DEMO_BTCTURK_KEY,
    DEMO_BTCTURK_SECRET, DEMO_BTCTURK_TRADE_KEY, DEMO_BTCTURK_TRADE_SECRET,
};
pub use error::Error;
pub use fault::Fault;

use engine::Engine;
use replay::ReplayState;
use wire::{Door, Peer};
use world::World;

/// Connections get this long to end when the simulator stops.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A running simulator. Dropping it stops it; [`Sim::stop`] also waits.
#[derive(Debug)]
pub struct Sim {
    /// Where Binance is: `http://…/api/v3/…`, `ws://…/ws`, `ws://…/stream`.
    pub binance_addr: SocketAddr,
    /// Where BTCTurk is: `http://…/api/v2/…`, `http://…/v1/…`, `ws://…/`.
    pub btcturk_addr: SocketAddr,
    /// Where the vendor of Borsa Istanbul's prices is: `http://…/quotes`.
    pub bist_addr: SocketAddr,
    /// Where faults are set: `http://…/sim/…`.
    pub admin_addr: SocketAddr,
    world: Arc<World>,
    shutdown: CancellationToken,
    _stop: DropGuard,
    tasks: JoinSet<Result<(), Error>>,
}

impl Sim {
    /// Sets a fault, written as for `POST /sim/faults`. Returns its id.
    ///
    /// # Errors
    /// The first field that is wrong, with what is allowed.
    pub fn set_fault(&self, body: &str) -> Result<u64, fault::Invalid> {
        Ok(self.world.set_fault(Fault::parse(body.as_bytes())?))
    }

    /// Every fault that was not removed, also those that are over, with how often it struck.
    #[must_use]
    pub fn faults(&self) -> Vec<fault::Listed> {
        self.world.faults.listed()
    }

    /// Removes every fault.
    pub fn clear_faults(&self) {
        self.world.faults.remove(None);
    }

    /// Closes all sockets and waits until everything has ended, at most five seconds.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_WITHIN, all).await.is_err() {
            tracing::warn!("the simulator's connections did not end in time and are dropped");
        }
    }

    /// Waits until a part ends by itself, which none should.
    async fn ended(&mut self) -> Result<(), Error> {
        while let Some(result) = self.tasks.join_next().await {
            match result {
                // The replay ends when its recording does.
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(Error::Ended("a part of the simulator")),
            }
        }
        Err(Error::Ended("the simulator"))
    }
}

/// Starts a simulator and returns when it can be used.
///
/// # Errors
/// A setting that cannot work, an address that is taken, a recording that cannot be read.
pub async fn start(config: Config) -> Result<Sim, Error> {
    config.validate()?;
    let shutdown = CancellationToken::new();
    // Until the end of this function anything that fails stops what was started.
    let stop = shutdown.clone().drop_guard();
    let (binance, binance_addr) = Door::open("binance", config.binance, shutdown.clone()).await?;
    let (btcturk, btcturk_addr) = Door::open("btcturk", config.btcturk, shutdown.clone()).await?;
    let (bist, bist_addr) = Door::open("bist", config.bist, shutdown.clone()).await?;
    let (admin, admin_addr) = Door::open("admin", config.admin, shutdown.clone()).await?;
    let token = shutdown.clone();
    // Reading a recording once and making up the past takes a moment of pure work.
    let prepared = tokio::task::spawn_blocking(move || prepare(config, token));
    let (world, engine) = prepared.await.map_err(|_| Error::Ended("preparing the market"))??;
    let mut tasks = JoinSet::new();
    for (door, router) in [
        (binance, binance::router(world.clone())),
        (btcturk, btcturk::router(world.clone())),
        (bist, bist::router(world.clone())),
        (admin, admin::router(world.clone())),
    ] {
        let stopped = shutdown.clone().cancelled_owned();
        tasks.spawn(async move {
            let service = router.into_make_service_with_connect_info::<Peer>();
            axum::serve(door, service).with_graceful_shutdown(stopped).await.map_err(|_| Error::Ended("serving"))
        });
    }
    let (for_engine, for_replay) = (world.clone(), world.clone());
    tasks.spawn(async move {
        engine.run(for_engine).await;
        Ok(())
    });
    tasks.spawn(async move {
        let shutdown = for_replay.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            result = replay::run(for_replay) => result,
        }
    });
    tracing::info!(%binance_addr, %btcturk_addr, %bist_addr, %admin_addr, "exchanges simulated");
    Ok(Sim { binance_addr, btcturk_addr, bist_addr, admin_addr, world, shutdown, _stop: stop, tasks })
}

fn prepare(config: Config, shutdown: CancellationToken) -> Result<(Arc<World>, Engine), Error> {
    let replay = match config.replay.files.as_slice() {
        [] => None,
        files => Some(ReplayState::open(files.to_vec(), config.replay.speed)?),
    };
    if let Some(replay) = &replay {
        let known = |name: &String| config.markets.iter().any(|market| market.venue == Venue::Binance && market.symbol == *name);
        if let Some(unknown) = replay.symbols().iter().find(|name| !known(name)) {
            return Err(Error::config(
                "replay.files",
                format!("the recording holds {unknown}, which is not in `markets`; add it there at binance"),
            ));
        }
    }
    let world = Arc::new(World::new(config, replay, shutdown));
    if let Some(replay) = &world.replay {
        replay.prime(&world);
    }
    let engine = Engine::new(&world)?;
    Ok((world, engine))
}

/// Runs a simulator until it is told to stop.
///
/// # Errors
/// As [`start`], and when a part ends by itself.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let mut sim = start(config).await?;
    let result = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        result = sim.ended() => result,
    };
    sim.stop().await;
    result
}
