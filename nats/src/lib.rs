//! The only crate that knows the broker: connection, topology, permissions, publishing, following, the run loop,
//! checkpoints, parking and the server's launcher. It refuses to know what a message means.
//!
//! Read in this order: [`delivery`], [`bus`], [`writer`], [`follower`], [`queue`], [`pages`] (how messages come and go), [`machine`] (what a
//! decision is), [`run`] (the one loop), [`lease`] and `decider` (the loop of the only decider), [`service`] (what every process gets), then [`server`], [`identities`] and
//! [`topology`] (how the broker itself is set up), [`watch`] (what it says about itself).

pub mod bus;
pub mod checkpoint;
mod decider;
pub mod delivery;
mod error;
pub mod follower;
pub mod identities;
pub mod lease;
pub mod listen;
pub mod machine;
mod newest;
pub mod pages;
pub mod park;
pub mod permissions;
pub mod queue;
mod replay;
pub mod resume;
pub mod run;
pub mod server;
pub mod service;
pub mod testing;
pub mod topology;
pub mod watch;
pub mod writer;

pub use bus::{Bus, ConnectOptions, Credentials, Meta, PublishError, Tls, text};
pub use decider::run_decider;
pub use delivery::{Cursor, Delivery};
pub use error::Error;
pub use follower::{Follower, Start};
/// What a process's `run` and most of what is awaited here return. The body of an `async fn` is compiled again in every crate
/// that awaits it, with all that it awaits; that of a boxed future only here.
pub use futures_util::future::BoxFuture;
pub use lease::Lease;
pub use listen::{Heard, Listener};
pub use machine::{Effects, Input, Machine, Reject};
pub use pages::From;
pub use park::park;
pub use queue::{Queue, Task};
pub use resume::Resume;
pub use run::run_machine;
pub use service::{Service, Status};
pub use watch::{ConsumerFigures, StreamFigures};
pub use writer::{AppendError, SubjectWriter};

use spark_bus_schema::Timestamp;

/// Now, by this machine's clock. Decisions never call it: their time is the message's.
#[must_use]
pub fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
}
