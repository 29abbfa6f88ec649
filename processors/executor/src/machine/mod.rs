//! Decides everything about orders: one closed enum of what can happen, one of what to do. No I/O, no clock, no randomness.
//!
//! Read in this order: [`facts`] (what is true of an order), [`work`] (one order in hand), [`report`] (what exchanges say),
//! [`ledger`] (what the LEDGER says), then [`Core`].

pub mod facts;
pub mod ledger;
pub mod report;
pub mod work;

mod books;
mod commands;
mod core;
mod send;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use spark_bus_schema::control::{HaltScope, KillSwitch, ResumeCommand};
use spark_bus_schema::orders::{OrderEvent, OrderId, Reconciliation, TradingMode};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::strategies::StrategyRegistered;
use spark_bus_schema::{Timestamp, Venue};

pub use self::core::Core;
use self::facts::Terms;
use self::report::{Cancelled, Lookup, Report, Submitted};

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// First and longest pause before an order that was not sent is tried again.
    pub retry: (Duration, Duration),
    /// First and longest pause before an order is asked about again.
    pub ask: (Duration, Duration),
    /// How long after a claim or a send a request may still arrive: the receive window and a margin.
    pub window: Duration,
    /// How often open orders are asked about while the user data stream is away.
    pub poll: Duration,
}

/// One exchange.
#[derive(Clone, Copy, Debug)]
pub struct VenueRules {
    /// Paper or live.
    pub mode: TradingMode,
    /// Paper alone: time from the claim to the exchange.
    pub latency: Duration,
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A verdict was read.
    Verdict {
        /// Its LEDGER sequence.
        sequence: u64,
        /// What was decided.
        verdict: Box<Verdict>,
    },
    /// An order's event was read, ours or another holder's.
    ReadBack {
        /// Its LEDGER sequence.
        sequence: u64,
        /// When it was stored.
        stored_at: Timestamp,
        /// What it says.
        event: Box<OrderEvent>,
    },
    /// Our event is stored.
    Stored {
        /// The order.
        order: OrderId,
        /// Of the event.
        revision: u64,
        /// LEDGER sequence of the event.
        sequence: u64,
    },
    /// Our event was not stored: the order's subject ends at another sequence than ours.
    Conflict {
        /// The order.
        order: OrderId,
        /// Where the subject ends; 0 when it is empty.
        end: u64,
    },
    /// Somebody wants an order taken back.
    Cancel {
        /// The order.
        order: OrderId,
        /// Who and why.
        words: String,
    },
    /// The kill switch.
    Kill {
        /// LEDGER sequence of the command.
        sequence: u64,
        /// The command.
        command: Box<KillSwitch>,
    },
    /// Trading stops.
    Halt {
        /// Where.
        scope: HaltScope,
        /// Why.
        reason: String,
    },
    /// A halt is lifted.
    Resume(Box<ResumeCommand>),
    /// A strategy was registered, or has come further.
    Registered(Box<StrategyRegistered>),
    /// A comparison with an exchange was read.
    Reconciled(Box<Reconciliation>),
    /// Everything stored has been read and the lease is ours: begin.
    Start,
    /// The first comparison since the start, the reconnect or the resume found nothing wrong.
    Ready(Venue),
    /// The exchange cannot be traded on; none: it can.
    Unusable(Venue, Option<String>),
    /// A submit ended.
    Submitted(OrderId, Submitted),
    /// A cancel ended.
    Cancelled(OrderId, Cancelled),
    /// A query ended.
    Looked(OrderId, Lookup),
    /// The user data stream told something.
    Told(OrderId, Report),
    /// The user data stream came or went.
    UserData(Venue, bool),
    /// An order may have changed without our knowing.
    Doubt(OrderId),
    /// Nothing new is sent until [`Event::Ready`].
    Hold(Venue),
    /// A filled order's trades are in the exchange's own record.
    Settled(OrderId),
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Store an event after this sequence of its subject.
    Append {
        /// Sequence of the order's last event, 0 without one.
        last: u64,
        /// What to store.
        event: Box<OrderEvent>,
    },
    /// Send an order. Whoever does it looks at the lease and the kill switch right before.
    Send(Arc<Terms>),
    /// Take an order back.
    Cancel(Arc<Terms>, Option<String>),
    /// Ask what became of an order.
    Ask(Arc<Terms>, Option<String>),
    /// Compare with the exchange.
    Reconcile(Venue, &'static str),
    /// Something was told that cannot be; it was refused. For the log and the counter.
    Illegal(OrderId, String),
}
