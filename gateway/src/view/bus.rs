//! The broker's own word on its streams and their readers.

use std::collections::BTreeMap;

use spark_nats::{ConsumerFigures, StreamFigures};

/// Processes whose parked messages are told.
pub const PARKERS_MAX: usize = 64;

/// Streams and readers, as the broker told last.
#[derive(Default)]
pub struct BusView {
    streams: BTreeMap<&'static str, (StreamFigures, Vec<ConsumerFigures>)>,
    parked: BTreeMap<String, u64>,
}

impl BusView {
    /// Replaces what is known of one stream.
    pub fn set(&mut self, stream: &'static str, figures: StreamFigures, consumers: Vec<ConsumerFigures>) {
        self.streams.insert(stream, (figures, consumers));
    }

    /// Replaces what is known of parked messages, by subject `parked.<process>.<stream>.<sequence>`. Processes that had
    /// some keep a zero.
    pub fn set_parked(&mut self, by_subject: &BTreeMap<String, u64>) {
        self.parked.values_mut().for_each(|count| *count = 0);
        for (subject, count) in by_subject {
            let Some(process) = subject.split('.').nth(1) else { continue };
            if self.parked.len() < PARKERS_MAX || self.parked.contains_key(process) {
                *self.parked.entry(process.to_owned()).or_default() += count;
            }
        }
    }

    /// Streams by name.
    pub fn streams(&self) -> impl Iterator<Item = (&'static str, &StreamFigures)> {
        self.streams.iter().map(|(stream, (figures, _))| (*stream, figures))
    }

    /// Readers by stream.
    pub fn consumers(&self) -> impl Iterator<Item = (&'static str, &ConsumerFigures)> {
        self.streams.iter().flat_map(|(stream, (_, consumers))| consumers.iter().map(|consumer| (*stream, consumer)))
    }

    /// Parked messages of a process.
    #[must_use]
    pub fn parked(&self, process: &str) -> u64 {
        self.parked.get(process).copied().unwrap_or(0)
    }

    /// Processes that have, or had, parked messages.
    pub fn parkers(&self) -> impl Iterator<Item = &str> {
        self.parked.keys().map(String::as_str)
    }
}
