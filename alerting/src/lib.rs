//! What an alert looks like to people and to tools that speak Alertmanager's language: labels, annotations,
//! fingerprints, matchers, silences, inhibition. Pure: no clock, no I/O, no bus; it refuses to know who is told.
//!
//! Read in this order: [`labels`] (what an alert is called), [`matcher`] (conditions on labels), [`silence`], [`inhibit`].

pub mod inhibit;
pub mod labels;
pub mod matcher;
pub mod silence;

pub use inhibit::{InhibitRule, builtin_inhibitions, inhibited_by};
pub use labels::{Labels, action_annotations_of, action_labels_of, annotations_of, fingerprint, is_firing, labels_of};
pub use matcher::{Error, Matchers};
pub use silence::{SilenceState, Silences};
