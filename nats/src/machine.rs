//! What a decision is: a value that owns its state and turns events into effects. No I/O, no clock, no randomness.

use std::time::Duration;

use spark_bus_schema::{DecodeError, Kind, Message, Timestamp, encode};

use crate::delivery::Delivery;

/// Subjects of one stream that a machine reads.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// The stream.
    pub stream: &'static str,
    /// Subject patterns.
    pub subjects: &'static [&'static str],
}

/// A well-formed event that the machine cannot accept. The message is parked, alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// A short, stable word for metrics.
    pub reason: &'static str,
    /// The whole story.
    pub detail: String,
}

/// Decides. The same value runs live, replayed and in tests.
pub trait Machine: Send + 'static {
    /// What can happen.
    type Event: Send;
    /// Where events come from. The order across streams is the order of arrival.
    const INPUTS: &'static [Input];
    /// Timers fire at multiples of this in stored time.
    const STEP: Duration;
    /// How far back a run without a checkpoint reads; none is from the beginning. Windows need no more than their length,
    /// money needs everything.
    const HISTORY: Option<Duration> = None;

    /// Bytes to event.
    ///
    /// # Errors
    /// The message is parked.
    fn decode(delivery: &Delivery) -> Result<Self::Event, DecodeError>;

    /// Takes in one event. `at` is the time the broker stored it and never goes back.
    ///
    /// # Errors
    /// The message is parked; the state must be as it was.
    fn apply(&mut self, at: Timestamp, event: Self::Event, effects: &mut Effects) -> Result<(), Reject>;

    /// A boundary has passed. Called for every boundary in order, before the first event stored after it.
    fn tick(&mut self, at: Timestamp, effects: &mut Effects);

    /// Whether what earlier holders of the lease left undecided must not be published yet (see [`run_decider`](crate::run_decider)).
    fn holds_back(&self) -> bool {
        false
    }

    /// The state, to be continued later.
    fn save(&self) -> Vec<u8>;

    /// Takes over a saved state; called on a machine fresh from its configuration.
    ///
    /// # Errors
    /// What makes the state unusable.
    fn load(&mut self, bytes: &[u8]) -> Result<(), String>;
}

/// What a decision wants to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Where.
    pub subject: String,
    /// What.
    pub kind: Kind,
    /// The encoded message.
    pub payload: Vec<u8>,
    /// Natural key: of each subject, each revision is stored once, for ever. None: telemetry, at least once.
    pub revision: Option<u64>,
}

/// Collects effects in order. Reused from event to event.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    items: Vec<Effect>,
}

impl Effects {
    /// Telemetry: stored at least once, usually exactly once.
    pub fn publish<T: Message>(&mut self, subject: String, message: &T) {
        self.items.push(Effect { subject, kind: T::KIND, payload: encode(message), revision: None });
    }

    /// A decision: of each subject each revision is stored exactly once, whatever crashes and restarts.
    pub fn publish_revision<T: Message>(&mut self, subject: String, message: &T, revision: u64) {
        self.items.push(Effect { subject, kind: T::KIND, payload: encode(message), revision: Some(revision) });
    }

    /// The effects so far.
    #[must_use]
    pub fn items(&self) -> &[Effect] {
        &self.items
    }

    /// Takes them out.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Effect> {
        self.items.drain(..)
    }
}
