//! Takes a model live in stages, and back: one pure step from status and observation to status and actions.
//!
//! Read in this order: [`status`] (where it stands, what can happen), [`step`] (the step itself), [`samples`] and [`gates`]
//! (what is measured), [`machine`] (all of it fed by the LEDGER), [`wiring`]. It refuses to know how a score is made, and
//! it orders nothing: whoever trades on scores obeys what it tells.

pub mod config;
mod event;
pub mod gates;
pub mod machine;
pub mod samples;
pub mod span;
pub mod status;
pub mod step;
pub mod wiring;

pub use config::Config;
pub use machine::Rollout;
pub use status::{Action, Observation, Status};
pub use step::next;
pub use wiring::{Error, run};
