//! The simulated vendor of Borsa Istanbul's prices: `GET /quotes?symbols=THYAO,AKBNK` with a bearer key. Shares move together around
//! real levels, on the exchange's price grid and within its daily limits, while its session is open; outside of it they stand.
//!
//! [`clock`] (days and phases) and [`market`] (shares) are pure; [`rest`] answers; [`admin`] takes a hand: `POST /sim/bist`.

mod admin;
pub(crate) mod clock;
pub(crate) mod config;
pub(crate) mod market;
mod rest;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::routing::any;
use serde_json::{Map, Value};

use crate::config::Venue;
use crate::doorway;
use crate::limits::Quotas;
use crate::world::World;

pub(crate) use admin::{look, take_a_hand};
pub use clock::CalendarKind;
pub use config::BistConfig;

/// The vendor's state.
#[derive(Debug)]
pub(crate) struct Vendor {
    pub quotas: Quotas,
    state: Mutex<State>,
}

/// What can change while it runs.
#[derive(Debug)]
pub(crate) struct State {
    pub calendar: clock::Calendar,
    pub shift_ms: i64,
    pub delay_minutes: u32,
    pub market: market::Market,
    /// Fields of answers that a test holds, by symbol.
    pub held: BTreeMap<String, Map<String, Value>>,
}

impl Vendor {
    pub(crate) fn new(config: &BistConfig, seed: u64) -> Self {
        Self {
            quotas: Quotas::default(),
            state: Mutex::new(State {
                calendar: clock::Calendar::new(config.calendar, &config.holidays, &config.half_days),
                shift_ms: config.shift_ms,
                delay_minutes: config.delay_minutes,
                market: market::Market::new(seed),
                held: BTreeMap::new(),
            }),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // What a panic can leave half done is a price that is one step behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The vendor's clock: the machine's, shifted, and as far back as its data is delayed.
    pub(crate) fn now_ms(&self, machine_ms: i64) -> i64 {
        machine_ms + self.shift_ms - i64::from(self.delay_minutes) * 60_000
    }
}

/// Everything that the vendor serves.
pub(crate) fn router(world: Arc<World>) -> Router {
    Router::new()
        .fallback(any(rest::serve))
        .layer(axum::middleware::from_fn_with_state((world.clone(), Venue::Bist), doorway::through))
        .with_state(world)
}

/// Default body of a fault that answers a status.
pub(crate) fn status_body(code: u16) -> Value {
    let text = match code {
        401 => "invalid or missing bearer token",
        403 => "your licence does not cover this",
        429 => "too many requests",
        503 => "maintenance",
        _ => "internal error",
    };
    serde_json::json!({ "error": text })
}
