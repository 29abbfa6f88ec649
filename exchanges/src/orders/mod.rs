//! The order side of the two exchanges: send, take back, ask, and hear.
//!
//! It refuses to know what an order is for, whether it was approved, and what the ledger says. It turns one wish into at most
//! one request and says **what is certain afterwards**: [`SubmitOutcome`] is the heart, and `outcome.rs` holds the one table behind
//! it. Nothing here ever sends an order twice; asking again (and whether to send again) is the executor's decision.
//!
//! How to use it, in order:
//! 1. `let at = Moment::now();` – **before** the lease is looked at;
//! 2. check the lease; `let lasts = lease.remaining();`
//! 3. `trading.submit(&order, at, lasts)`: signed with `at`, valid at the exchange for no longer than `lasts` after it. A
//!    process that was paused in between is refused here by the monotonic clock, and at the exchange by its window;
//! 4. on [`SubmitOutcome::Unknown`], [`Trading::lookup`] – [`Lookup::NotFound`] is evidence that the order does not exist
//!    only when it was asked later than [`Trading::conclusive_after`] from `at`;
//! 5. after each [`UserEvent::Connected`], reconcile by [`Trading::open_orders`] and [`Trading::fills`]: nothing that
//!    happened while the stream was away is repeated.

mod binance;
mod binance_types;
mod btcturk;
mod btcturk_types;
mod filters;
mod outcome;
mod render;
mod user_data;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rust_decimal::Decimal;
use spark_bus_schema::Timestamp;
use spark_bus_schema::Venue;
use tokio::time::Instant;

pub use spark_bus_schema::market::Side;
pub use spark_bus_schema::orders::TimeInForce;

pub use filters::Filters;
pub use user_data::{EVENTS_MAX, UserData, UserDataConfig, UserEvent};

use crate::error::Error;
use crate::{ApiKey, Binance, BreakerMode, BreakerState, BtcTurk};

/// Most pages of one list that are read.
pub const PAGES_MAX: usize = 20;

/// How often an order and its trades are read until they agree.
const LOOKUP_ROUNDS_MAX: usize = 4;

/// Between two of these readings.
const LOOKUP_PAUSE: Duration = Duration::from_millis(250);

/// What was traded in all; none when it cannot be added up exactly.
fn sum(fills: &[FillReport]) -> Option<Decimal> {
    fills.iter().try_fold(Decimal::ZERO, |total, fill| total.checked_add(fill.quantity))
}

/// A point in time by both clocks, taken together: the wall clock is what is signed, the monotonic one what bounds waiting.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub(crate) wall: Timestamp,
    pub(crate) monotonic: Instant,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self { wall: crate::caller::now(), monotonic: Instant::now() }
    }

    /// How long ago it was, by the monotonic clock.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.monotonic.elapsed()
    }

    /// By the wall clock.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.wall
    }
}

/// How the price is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// At `price` or better.
    Limit {
        /// Quote per base; a multiple of [`Filters::tick`].
        price: Decimal,
        /// How long it lives. BTCTurk has `Gtc` alone; the others are refused before anything is sent.
        time_in_force: TimeInForce,
    },
    /// At whatever the book offers.
    Market {
        /// BTCTurk buys only, where it is mandatory: its market buys are for an amount of the **quote** currency. Spend at
        /// most this, fees not included; rounded down to [`Filters::quote_step`] by the caller. What it buys is not exactly
        /// `quantity`: never more than `quote_budget / best ask`. Ignored elsewhere.
        quote_budget: Option<Decimal>,
    },
}

/// An order to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// Spark's spelling, which is both exchanges': `BTCUSDT`.
    pub symbol: String,
    /// Buy or sell.
    pub side: Side,
    /// Limit or market.
    pub kind: OrderKind,
    /// In base currency; a multiple of [`Filters::step`].
    pub quantity: Decimal,
    /// `OrderId::client_id()`: 1 to 36 of `A-Z a-z 0-9 - _`.
    pub client_order_id: String,
}

/// Names an order that was (perhaps) sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRef {
    /// Spark's spelling.
    pub symbol: String,
    /// What it was sent with.
    pub client_order_id: String,
    /// The exchange's id, when an answer told it. BTCTurk cancels and asks by it; without it the order is looked for first.
    pub exchange_order_id: Option<String>,
    /// It was not sent before this (time of the `pending` step). BTCTurk lists are searched from a minute before.
    pub placed_at: Timestamp,
}

/// Where an order stands at the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportState {
    /// In the book, or accepted, nothing traded.
    Open,
    /// In the book, some of it traded.
    PartiallyFilled,
    /// All of it traded.
    Filled,
    /// Taken back; may hold fills.
    Cancelled,
    /// Refused after it had been accepted.
    Rejected,
    /// Its life ended (IOC, FOK, market order without a counterpart, self-trade prevention); may hold fills.
    Expired,
}

impl ReportState {
    /// No further fill is possible.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Open | Self::PartiallyFilled)
    }
}

/// One trade of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FillReport {
    /// The exchange's id, unique per symbol; count it once.
    pub trade_id: String,
    /// Quote per base.
    pub price: Decimal,
    /// In base currency, above zero.
    pub quantity: Decimal,
    /// Not negative. BTCTurk: fee and tax together.
    pub fee: Decimal,
    /// What the fee is paid in; empty when there is none.
    pub fee_asset: String,
    /// Whether the order rested in the book. None where it is not told: BTCTurk, and Binance's answer to a submit (there a
    /// taker, as only what trades at once is in it: told as `Some(false)`).
    pub is_maker: Option<bool>,
    /// By the exchange's clock, ms.
    pub at_ms: i64,
}

/// What the exchange says about an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderReport {
    /// The exchange's id of it.
    pub exchange_order_id: String,
    /// The order's own client id (not the id of a cancel request). Empty when the exchange has none.
    pub client_order_id: String,
    /// Spark's spelling.
    pub symbol: String,
    /// Buy or sell.
    pub side: Side,
    /// State.
    pub state: ReportState,
    /// Ordered, in base currency. Of a BTCTurk market buy, which is ordered in quote currency: what was executed.
    pub quantity: Decimal,
    /// Traded, in base currency.
    pub executed: Decimal,
    /// Traded, in quote currency. None where it is not told.
    pub quote_executed: Option<Decimal>,
    /// Trades that came with this report. In a [`UserEvent::Order`]: none or the one that the event is about.
    pub fills: Vec<FillReport>,
    /// Whether `fills` are all of `executed`. When false, [`Trading::lookup`] before a final state is written down. Always
    /// false in BTCTurk's answer to a submit, which tells neither state nor fills.
    pub fills_complete: bool,
    /// Last change by the exchange's clock, ms.
    pub at_ms: i64,
    /// The exchange's words for a rejection or expiry.
    pub reason: Option<String>,
}

/// What is certain after a submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// The exchange has it, and may already have traded it.
    Accepted(OrderReport),
    /// It does not exist and will not.
    Rejected {
        /// The exchange's code.
        code: Option<i64>,
        /// The exchange's words, or ours.
        reason: String,
        /// False: refused here, as the exchange has no such kind of order; nothing was sent.
        sent: bool,
    },
    /// It was, or may have been, sent, and may or may not exist: the answer was lost, unreadable, a 5xx, -1006, -1007, or
    /// "duplicate client id". Look it up; never send it again before.
    Unknown {
        /// What happened instead of an answer.
        error: Error,
    },
    /// It certainly does not exist: it was kept back here (breaker, allowance, no key, window over), no connection came
    /// about, or the exchange turned the request away at the door (429, 418, 403 of its firewall, clock). It may be sent
    /// later, under the same client id, as long as the approval holds.
    NotSent {
        /// Why.
        error: Error,
        /// Not before this long from now, when that is known.
        retry_after: Option<Duration>,
    },
}

/// What is certain after a cancel. A cancel may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// Cancelled; the report may hold `executed` without its fills.
    Done(Box<OrderReport>),
    /// BTCTurk: the request was taken. The order may still trade before it takes effect; [`UserEvent::Changed`] or
    /// [`Trading::lookup`] tells.
    Requested,
    /// The exchange has no such open order: never existed, or is final already. [`Trading::lookup`] tells which.
    NotOpen,
    /// The exchange refuses (key, permission, maintenance); the order stays.
    Refused {
        /// The exchange's code.
        code: Option<i64>,
        /// Its words.
        reason: String,
    },
    /// The answer was lost: it may or may not be cancelled.
    Unknown {
        /// What happened.
        error: Error,
    },
    /// Nothing was sent, or it was turned away at the door.
    NotSent {
        /// Why.
        error: Error,
        /// Not before this long from now, when that is known.
        retry_after: Option<Duration>,
    },
}

/// What the exchange knows about an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It has it; `fills` are complete and add up to `executed`.
    Found(Box<OrderReport>),
    /// The exchange answered, and has no such order. See [`Trading::conclusive_after`].
    NotFound,
    /// It could not be asked, or the answers contradict each other (two orders with one client id, fills that do not add up).
    Unknown(Error),
}

/// Which trades are asked for.
#[derive(Clone, Copy, Debug)]
pub enum FillsOf<'a> {
    /// All of one order, by the exchange's id.
    Order(&'a str),
    /// All of the symbol since then (exchange's clock), oldest first.
    Since(Timestamp),
}

/// One trade of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFill {
    /// Spark's spelling.
    pub symbol: String,
    /// The exchange's id of its order.
    pub exchange_order_id: String,
    /// The order's client id, where the exchange tells it (BTCTurk).
    pub client_order_id: Option<String>,
    /// Buy or sell.
    pub side: Side,
    /// The trade.
    pub fill: FillReport,
}

/// What the account holds of one asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetBalance {
    /// `BTC`
    pub asset: String,
    /// Free to use.
    pub free: Decimal,
    /// In open orders (BTCTurk: and pending withdrawals).
    pub locked: Decimal,
}

/// What the exchange says about the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TradingKey {
    /// Whether it may trade; none where there is no way to ask without an order (BTCTurk).
    pub may_trade: Option<bool>,
    /// What it may do beyond reading and spot trading, in the exchange's words (`enableWithdrawals` …): should be nothing.
    pub beyond_trading: Vec<&'static str>,
}

/// An exchange that orders can be sent to.
#[derive(Debug)]
pub enum Trading {
    /// Binance spot.
    Binance(Binance),
    /// BTCTurk.
    Btcturk(BtcTurk),
}

impl Trading {
    /// Which exchange.
    #[must_use]
    pub const fn venue(&self) -> Venue {
        match self {
            Self::Binance(_) => Venue::Binance,
            Self::Btcturk(_) => Venue::Btcturk,
        }
    }

    /// Sends an order, at most once, and never after `at + lasts`. Signed with `at`; the exchange refuses it when it arrives
    /// later than `lasts` (at most the configured `recv_window_ms`, at BTCTurk 5 s) after it. Waits for allowance and a half
    /// open breaker no longer than that.
    ///
    /// Dropping the future half way leaves the outcome unknown.
    pub fn submit<'a>(&'a self, order: &'a NewOrder, at: Moment, lasts: Duration) -> BoxFuture<'a, SubmitOutcome> {
        Box::pin(async move {
            match self {
                Self::Binance(client) => client.submit(order, at, lasts).await,
                Self::Btcturk(client) => client.submit(order, at, lasts).await,
            }
        })
    }

    /// How long after the [`Moment`] of a submit a [`Lookup::NotFound`] begins to be evidence: until then the request may
    /// still be on its way and be accepted. `lasts` as given to the submit; the full configured window when it is not known.
    #[must_use]
    pub fn conclusive_after(&self, lasts: Option<Duration>) -> Duration {
        match self {
            Self::Binance(client) => client.conclusive_after(lasts),
            Self::Btcturk(client) => client.conclusive_after(lasts),
        }
    }

    /// Takes an order back: one request (BTCTurk without an exchange id: a look-up before it). May be repeated.
    pub fn cancel<'a>(&'a self, order: &'a OrderRef) -> BoxFuture<'a, CancelOutcome> {
        Box::pin(async move {
            match self {
                Self::Binance(client) => client.cancel(order).await,
                Self::Btcturk(client) => client.cancel(order).await,
            }
        })
    }

    /// Asks for an order and its trades, by the exchange's id where it is known, else by the client id. Retried within the
    /// bounds of the configuration.
    pub fn lookup<'a>(&'a self, order: &'a OrderRef) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            match self {
                Self::Binance(client) => client.lookup(order).await,
                Self::Btcturk(client) => client.lookup(order).await,
            }
        })
    }

    /// Open orders of a symbol or of the account, without their trades. Also orders that are not Spark's: see the prefix of
    /// the client id. Fails when a single row cannot be read: a list with a hole in it proves nothing.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open_orders<'a>(&'a self, symbol: Option<&'a str>) -> BoxFuture<'a, Result<Vec<OrderReport>, Error>> {
        Box::pin(async move {
            match self {
                Self::Binance(client) => client.open_orders(symbol).await,
                Self::Btcturk(client) => client.open_orders(symbol).await,
            }
        })
    }

    /// Trades of the account in one symbol, oldest first, all of them.
    ///
    /// # Errors
    /// [`Error`]; `parse` also when there are more pages than [`PAGES_MAX`].
    pub fn fills<'a>(&'a self, symbol: &'a str, of: FillsOf<'a>) -> BoxFuture<'a, Result<Vec<AccountFill>, Error>> {
        Box::pin(async move {
            match self {
                Self::Binance(client) => client.fills(symbol, of).await,
                Self::Btcturk(client) => client.fills(symbol, of).await,
            }
        })
    }

    /// What the account holds; assets of which there is nothing may be missing.
    ///
    /// # Errors
    /// [`Error`].
    pub fn balances(&self) -> BoxFuture<'_, Result<Vec<AssetBalance>, Error>> {
        Box::pin(async move {
            match self {
                Self::Binance(client) => client.trading_balances().await,
                Self::Btcturk(client) => client.trading_balances().await,
            }
        })
    }

    /// The rules of several symbols in one call, by symbol. BTCTurk leaves out what it does not know.
    ///
    /// # Errors
    /// As [`Trading::filters`]; at Binance one unknown symbol refuses them all.
    pub fn all_filters<'a>(&'a self, symbols: &'a [&'a str]) -> BoxFuture<'a, Result<BTreeMap<String, Filters>, Error>> {
        Box::pin(async move {
            match self {
                Self::Binance(client) => client.all_filters(symbols).await,
                Self::Btcturk(client) => client.all_filters(symbols).await,
            }
        })
    }

    /// The rules of a symbol. They change: read them again every few hours. Weight 20 at Binance; about 355 kB at BTCTurk.
    ///
    /// # Errors
    /// [`Error`]; `server` for an unknown symbol.
    pub fn filters<'a>(&'a self, symbol: &'a str) -> BoxFuture<'a, Result<Filters, Error>> {
        Box::pin(async move {
            match self {
                Self::Binance(client) => client.filters(symbol).await,
                Self::Btcturk(client) => client.filters(symbol).await,
            }
        })
    }

    /// Asks what the key may do.
    ///
    /// # Errors
    /// [`Error`]; `auth` when the key does not even read.
    pub fn check_key(&self) -> BoxFuture<'_, Result<TradingKey, Error>> {
        Box::pin(async move {
            match self {
                Self::Binance(client) => client.check_key().await,
                Self::Btcturk(client) => client.check_key().await,
            }
        })
    }

    /// Sets the circuit breaker by hand, or back to automatic.
    pub fn set_breaker(&self, mode: BreakerMode) {
        match self {
            Self::Binance(client) => client.set_breaker(mode),
            Self::Btcturk(client) => client.set_breaker(mode),
        }
    }

    /// Who decides over the circuit breaker, and what a call would meet now.
    #[must_use]
    pub fn breaker(&self) -> (BreakerMode, BreakerState) {
        match self {
            Self::Binance(client) => client.breaker(),
            Self::Btcturk(client) => client.breaker(),
        }
    }

    /// Replaces the key, as after a rotation. A running user data stream uses it at its next connect.
    pub fn set_key(&self, key: Option<ApiKey>) {
        match self {
            Self::Binance(client) => client.set_key(key),
            Self::Btcturk(client) => client.set_key(key),
        }
    }

    /// The exchange's clock minus ours as last measured, ms.
    #[must_use]
    pub fn clock_offset_ms(&self) -> i64 {
        match self {
            Self::Binance(client) => client.clock_offset_ms(),
            Self::Btcturk(client) => client.clock_offset_ms(),
        }
    }

    /// Reads the exchange's clock, if the last reading is older than [`crate::binance::CLOCK_AGE_MAX`]. Called now and then,
    /// it keeps that round trip out of [`Trading::submit`], which otherwise makes it itself.
    ///
    /// # Errors
    /// [`Error`].
    pub fn keep_clock(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            match self {
                Self::Binance(client) => client.keep_clock().await,
                Self::Btcturk(client) => client.keep_clock().await,
            }
        })
    }
}
