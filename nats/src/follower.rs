//! Reads a stream in order, for ever.
//!
//! A follower survives what ends an ordinary subscription: the broker restarts, the consumer is deleted, a delivery is
//! lost on the way (consumer sequences are contiguous, so that shows), and the stream loses its end (FEED is written
//! asynchronously). In the last case sequence numbers come again with other messages, so the follower does not trust
//! a bare number: it goes on only if the message at its cursor still has the time it had, otherwise it goes on by time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, Message};
use futures_util::{FutureExt, StreamExt};
use spark_bus_schema::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::bus::{Bus, text};
use crate::delivery::{Cursor, Delivery, date_time, timestamp};

/// Messages handed over at once, at most.
pub const BATCH_MAX: usize = 512;
/// Batches that may wait for the reader; then the broker has to wait.
const QUEUE_BATCHES: usize = 4;
/// The broker says this often that it is there while nothing arrives.
const IDLE_HEARTBEAT: Duration = Duration::from_secs(2);
/// A pull request lives this long.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// The broker forgets a consumer that nobody reads for this long.
const CONSUMER_IDLE: Duration = Duration::from_secs(60);
/// Pause before a consumer is made again.
const RESTART_PAUSE: Duration = Duration::from_millis(100);
/// `pending` before the broker has said how much there is.
const UNKNOWN: u64 = u64::MAX;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest message.
    Beginning,
    /// The one after this.
    After(Cursor),
    /// The newest message of each subject, then everything new.
    LastPerSubject,
    /// The first one stored at or after this time.
    Since(Timestamp),
    /// Only what is stored from now on.
    New,
}

/// Hands over a stream's messages in order. Dropping it ends it.
pub struct Follower {
    batches: mpsc::Receiver<Vec<Delivery>>,
    pending: Arc<AtomicU64>,
    /// Batches put into the queue, and taken out of it: what is in between counts as not handed over.
    sent: Arc<AtomicU64>,
    taken: u64,
    task: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    /// Starts to read. `name` is the consumer's name: `<process>` or `<process>-<purpose>`, as in `permissions.toml`.
    #[must_use]
    pub fn start(bus: Bus, name: &str, stream: &'static str, subjects: Vec<String>, start: Start) -> Self {
        let (sender, batches) = mpsc::channel(QUEUE_BATCHES);
        let pending = Arc::new(AtomicU64::new(UNKNOWN));
        let sent = Arc::new(AtomicU64::new(0));
        let (name, shared) = (name.to_owned(), (Arc::clone(&pending), Arc::clone(&sent)));
        let reader = Reader { bus, name, stream, subjects, start, sender, pending: shared.0, sent: shared.1 };
        Self { batches, pending, sent, taken: 0, task: tokio::spawn(reader.run()) }
    }

    /// Whatever has arrived: at least one message, at most [`BATCH_MAX`]. Safe to cancel.
    pub async fn next(&mut self) -> Option<Vec<Delivery>> {
        let batch = self.batches.recv().await?;
        self.taken += 1;
        Some(batch)
    }

    /// Whether everything stored so far has been handed over. False while the broker is away.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.pending.load(Ordering::Acquire) == 0 && self.sent.load(Ordering::Acquire) == self.taken
    }
}

struct Reader {
    bus: Bus,
    name: String,
    stream: &'static str,
    subjects: Vec<String>,
    start: Start,
    sender: mpsc::Sender<Vec<Delivery>>,
    pending: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
}

/// Why one consumer ended.
enum End {
    /// Make another one.
    Again(String),
    /// Nobody reads any more.
    Closed,
}

impl Reader {
    async fn run(mut self) {
        loop {
            self.bus.wait_connected().await;
            let end = match self.consumer().await {
                Ok(messages) => self.pump(messages).await,
                Err(reason) => End::Again(reason),
            };
            self.pending.store(UNKNOWN, Ordering::Release);
            match end {
                End::Closed => return,
                End::Again(reason) => tracing::debug!(stream = self.stream, consumer = self.name, reason, "read again"),
            }
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    }

    async fn consumer(&mut self) -> Result<pull::Stream, String> {
        let jetstream = self.bus.jetstream().clone();
        let deliver_policy = self.deliver_policy(&jetstream).await?;
        // A consumer's start cannot be changed, so the one of an earlier run goes first; usually there is none.
        let _ = jetstream.delete_consumer_from_stream(&self.name, self.stream).await;
        let config = pull::Config { deliver_policy, filter_subjects: self.subjects.clone(), ..self.config() };
        let asked_at = crate::now();
        let consumer = jetstream.create_consumer_on_stream(config, self.stream).await.map_err(|error| text(&error))?;
        if self.start == Start::New {
            // Another consumer after a broken connection goes on from here, not from the moment it is made.
            self.start = Start::Since(asked_at);
        }
        self.pending.store(consumer.cached_info().num_pending, Ordering::Release);
        consumer
            .stream()
            .max_messages_per_batch(BATCH_MAX)
            .heartbeat(IDLE_HEARTBEAT)
            .expires(PULL_EXPIRES)
            .messages()
            .await
            .map_err(|error| text(&error))
    }

    async fn deliver_policy(&self, jetstream: &jetstream::Context) -> Result<DeliverPolicy, String> {
        let cursor = match self.start {
            Start::Beginning => return Ok(DeliverPolicy::All),
            Start::LastPerSubject => return Ok(DeliverPolicy::LastPerSubject),
            Start::New => return Ok(DeliverPolicy::New),
            Start::Since(at) => return self.since(jetstream, at).await,
            Start::After(cursor) => cursor,
        };
        let state = jetstream.get_stream(self.stream).await.map_err(|error| text(&error))?.cached_info().state.clone();
        let next = DeliverPolicy::ByStartSequence { start_sequence: cursor.sequence + 1 };
        if cursor.sequence < state.first_sequence {
            if cursor.sequence + 1 < state.first_sequence {
                tracing::warn!(
                    stream = self.stream,
                    reader = self.name,
                    from = cursor.sequence + 1,
                    to = state.first_sequence - 1,
                    "messages were dropped by age before they were read"
                );
            }
            return Ok(DeliverPolicy::ByStartSequence { start_sequence: state.first_sequence });
        }
        if cursor.sequence <= state.last_sequence {
            let found = self.bus.get(self.stream, cursor.sequence).await.map_err(|error| text(&error))?;
            if found.is_none_or(|found| found.stored_at == cursor.stored_at) {
                return Ok(next);
            }
        }
        tracing::warn!(
            stream = self.stream,
            reader = self.name,
            cursor = cursor.sequence,
            last = state.last_sequence,
            "the stream has lost its end; going on by time"
        );
        self.since(jetstream, cursor.stored_at + Duration::from_nanos(1)).await
    }

    /// Begins with the first message stored at or after `at`. With several subjects nats-server (2.15.1 still) begins where one
    /// of them comes up for the first time after `at`, and passes over what the others have before that. So the sequence is
    /// asked for with a consumer of everything, from which nothing is read.
    async fn since(&self, jetstream: &jetstream::Context, at: Timestamp) -> Result<DeliverPolicy, String> {
        let by_time = DeliverPolicy::ByStartTime { start_time: date_time(at) };
        if self.subjects.len() < 2 {
            return Ok(by_time);
        }
        let _ = jetstream.delete_consumer_from_stream(&self.name, self.stream).await;
        let everything = pull::Config { deliver_policy: by_time, ..self.config() };
        let consumer = jetstream.create_consumer_on_stream(everything, self.stream).await.map_err(|error| text(&error))?;
        Ok(DeliverPolicy::ByStartSequence { start_sequence: consumer.cached_info().delivered.stream_sequence + 1 })
    }

    /// A consumer without subjects and start.
    fn config(&self) -> pull::Config {
        pull::Config {
            name: Some(self.name.clone()),
            // The reader's checkpoint is the acknowledgement: see docs/adr/0003.
            ack_policy: AckPolicy::None,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: CONSUMER_IDLE,
            ..Default::default()
        }
    }

    /// Hands over until something breaks the order.
    async fn pump(&mut self, mut messages: pull::Stream) -> End {
        let mut connection = self.bus.connection();
        let mut expected = 1;
        loop {
            let first = tokio::select! {
                () = self.sender.closed() => return End::Closed,
                _ = connection.wait_for(|connected| !*connected) => return End::Again("the broker is away".to_owned()),
                message = messages.next() => message,
            };
            let mut batch = Vec::with_capacity(16);
            let mut broken = self.take(first, &mut expected, &mut batch).err();
            while broken.is_none() && batch.len() < BATCH_MAX {
                let Some(message) = messages.next().now_or_never() else {
                    break;
                };
                broken = self.take(message, &mut expected, &mut batch).err();
            }
            if let Some(last) = batch.last() {
                self.start = Start::After(last.cursor());
                // Both before the batch can be taken: whoever has the last one knows that it is the last.
                self.sent.fetch_add(1, Ordering::Release);
                self.pending.store(last.pending, Ordering::Release);
                if self.sender.send(batch).await.is_err() {
                    return End::Closed;
                }
            }
            if let Some(reason) = broken {
                return End::Again(reason);
            }
        }
    }

    fn take(
        &self,
        message: Option<Result<Message, pull::MessagesError>>,
        expected: &mut u64,
        batch: &mut Vec<Delivery>,
    ) -> Result<(), String> {
        let message = message.ok_or("the subscription ended")?.map_err(|error| text(&error))?;
        let info = message.info().map_err(|error| error.to_string())?;
        if info.consumer_sequence != *expected {
            return Err(format!("delivery {} instead of {expected}", info.consumer_sequence));
        }
        *expected += 1;
        let (sequence, published, pending) = (info.stream_sequence, info.published, info.pending);
        let (message, _) = message.split();
        let mut delivery = Delivery::new(
            self.stream,
            sequence,
            published,
            message.subject.to_string(),
            message.headers.as_ref(),
            message.payload,
        );
        debug_assert_eq!(delivery.stored_at, timestamp(published));
        delivery.pending = pending;
        batch.push(delivery);
        Ok(())
    }
}
