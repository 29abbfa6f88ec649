//! What the broker itself says about streams and their readers: for dashboards, not for decisions.

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::bus::{Bus, text};
use crate::error::Error;

/// Consumers of one stream that are told; there are as many as processes.
pub const CONSUMERS_MAX: usize = 256;
/// Subjects that are counted at once.
pub const SUBJECTS_MAX: usize = 10_000;

/// Totals over the publishes of one connection. They travel in heartbeats.
#[derive(Clone, Debug, Default)]
pub struct Publishes {
    /// Acknowledged by a stream: `spark_bus_publishes_total`.
    pub acknowledged: Arc<AtomicU64>,
    /// Time until the acknowledgement, all of them together, µs: `spark_bus_publish_ack_us_total`.
    pub waited_us: Arc<AtomicU64>,
    /// Attempts that ended otherwise: `spark_bus_publish_failures_total`.
    pub failed: Arc<AtomicU64>,
}

impl Publishes {
    pub(crate) fn count(&self, took: Duration, acknowledged: bool) {
        if acknowledged {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
            self.waited_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        } else {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One stream, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFigures {
    /// Messages in it.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The newest one's sequence.
    pub last_sequence: u64,
}

/// One reader of a stream, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerFigures {
    /// Its name.
    pub name: String,
    /// Messages that it has not been given yet.
    pub pending: u64,
    /// Messages given to it and not acknowledged. Readers that keep a checkpoint acknowledge nothing and have none.
    pub unacknowledged: u64,
    /// Of those, given more than once.
    pub redelivered: u64,
    /// Sequence of the newest message given to it.
    pub delivered: u64,
}

impl Bus {
    /// Totals over this connection's publishes.
    #[must_use]
    pub fn publishes(&self) -> &Publishes {
        &self.publishes
    }

    /// How full a stream is. Needs the right to read it.
    ///
    /// # Errors
    /// The broker is away, refuses, or there is no such stream.
    pub fn stream_figures<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamFigures, Error>> {
        Box::pin(async move {
            let handle = self.jetstream().get_stream(stream).await;
            let handle = handle.map_err(|error| Error::broker(format!("look at stream {stream}"), text(&error)))?;
            let state = &handle.cached_info().state;
            Ok(StreamFigures { messages: state.messages, bytes: state.bytes, last_sequence: state.last_sequence })
        })
    }

    /// Every reader of a stream, [`CONSUMERS_MAX`] at most, by name. Needs the right to watch it.
    ///
    /// # Errors
    /// The broker is away or refuses.
    pub fn consumers<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Vec<ConsumerFigures>, Error>> {
        Box::pin(async move {
            let action = || format!("list the consumers of {stream}");
            let handle = self.jetstream().get_stream_no_info(stream).await.map_err(|error| Error::broker(action(), error))?;
            let mut found = Vec::new();
            let mut consumers = handle.consumers();
            while let Some(info) = consumers.next().await {
                let info = info.map_err(|error| Error::broker(action(), text(&error)))?;
                found.push(ConsumerFigures {
                    pending: info.num_pending,
                    unacknowledged: u64::try_from(info.num_ack_pending).unwrap_or(u64::MAX),
                    redelivered: u64::try_from(info.num_redelivered).unwrap_or(u64::MAX),
                    delivered: info.delivered.stream_sequence,
                    name: info.name,
                });
                if found.len() == CONSUMERS_MAX {
                    break;
                }
            }
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        })
    }

    /// Messages by subject, of those that match `pattern`, [`SUBJECTS_MAX`] subjects at most. Needs the right to read the
    /// stream. It costs the broker a look at each subject: not for streams with very many.
    ///
    /// # Errors
    /// The broker is away or refuses.
    pub fn subject_counts<'a>(
        &'a self,
        stream: &'a str,
        pattern: &'a str,
    ) -> BoxFuture<'a, Result<BTreeMap<String, u64>, Error>> {
        Box::pin(async move {
            let action = || format!("count the subjects of {stream}");
            let handle = self.jetstream().get_stream_no_info(stream).await.map_err(|error| Error::broker(action(), error))?;
            let told = handle.info_with_subjects(pattern).await.map_err(|error| Error::broker(action(), text(&error)))?;
            let mut counts = BTreeMap::new();
            let mut told = std::pin::pin!(told);
            while let Some(row) = told.next().await {
                let (subject, count) = row.map_err(|error| Error::broker(action(), text(&error)))?;
                counts.insert(subject, u64::try_from(count).unwrap_or(u64::MAX));
                if counts.len() == SUBJECTS_MAX {
                    break;
                }
            }
            Ok(counts)
        })
    }
}
