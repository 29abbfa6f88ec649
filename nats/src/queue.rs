//! Takes work off a queue, one message at a time, and gives it back unless it was finished.
//!
//! All workers of one name share a durable consumer: a message is with one of them until it is finished, or until that worker
//! has not said for [`Settings::ack_wait`] that it is still at it; then the next one gets it. A worker must therefore be safe to
//! run twice for one message: what it does must have a natural key.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Message};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;

use crate::bus::{Bus, REQUEST_TIMEOUT, text};
use crate::delivery::Delivery;
use crate::error::Error;

/// A request for work lives this long before it is made again.
const PULL_EXPIRES: Duration = Duration::from_secs(10);
/// Pause before the consumer is made again after the broker failed.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// How a queue deals with its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A message of which nothing is heard for this long goes to another worker.
    pub ack_wait: Duration,
    /// The broker hands out one message this often at most; then it stays in the stream and nobody gets it.
    pub deliveries_max: u32,
}

/// Hands out messages of a work-queue stream.
pub struct Queue {
    bus: Bus,
    name: String,
    stream: &'static str,
    subject: String,
    settings: Settings,
    consumer: Option<PullConsumer>,
}

/// One message, as long as this worker has it. Dropping it without [`Task::done`] gives it to another worker after a while.
pub struct Task {
    /// The message.
    pub delivery: Delivery,
    /// 1 when no worker had it before.
    pub attempt: u32,
    acker: Acker,
}

impl Queue {
    /// A queue over `subject` of `stream`; `name` is the durable consumer's, as in `permissions.toml`.
    #[must_use]
    pub fn new(bus: Bus, name: &str, stream: &'static str, subject: &str, settings: Settings) -> Self {
        Self { bus, name: name.to_owned(), stream, subject: subject.to_owned(), settings, consumer: None }
    }

    /// The next message; waits for one, and while the broker is away. When it is dropped at the wrong moment, a message that was
    /// under way comes again after [`Settings::ack_wait`].
    pub async fn next(&mut self) -> Task {
        loop {
            self.bus.wait_connected().await;
            match self.pull().await {
                Ok(Some(task)) => return task,
                Ok(None) => {}
                Err(reason) => {
                    tracing::debug!(stream = self.stream, consumer = self.name, reason, "ask the queue again");
                    self.consumer = None;
                    tokio::time::sleep(RESTART_PAUSE).await;
                }
            }
        }
    }

    async fn pull(&mut self) -> Result<Option<Task>, String> {
        let stream = self.stream;
        let mut connection = self.bus.connection();
        let consumer = match &self.consumer {
            Some(consumer) => consumer,
            None => {
                let made = self.make().await?;
                self.consumer.insert(made)
            }
        };
        // One at a time: what a worker holds in advance, no other one can do.
        let asked = consumer.batch().max_messages(1).expires(PULL_EXPIRES).messages().await;
        let mut messages = asked.map_err(|error| text(&error))?;
        let message = tokio::select! {
            message = messages.next() => message,
            _ = connection.wait_for(|connected| !*connected) => return Err("the broker is away".to_owned()),
        };
        message.map(|message| task(stream, message.map_err(|error| error.to_string())?)).transpose()
    }

    async fn make(&self) -> Result<PullConsumer, String> {
        let config = pull::Config {
            durable_name: Some(self.name.clone()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.settings.ack_wait,
            max_deliver: i64::from(self.settings.deliveries_max),
            filter_subject: self.subject.clone(),
            ..Default::default()
        };
        self.bus.jetstream().create_consumer_on_stream(config, self.stream).await.map_err(|error| text(&error))
    }
}

fn task(stream: &'static str, message: Message) -> Result<Task, String> {
    let info = message.info().map_err(|error| error.to_string())?;
    let (sequence, published, pending) = (info.stream_sequence, info.published, info.pending);
    let attempt = u32::try_from(info.delivered.max(1)).unwrap_or(u32::MAX);
    let (message, acker) = message.split();
    let subject = message.subject.to_string();
    let mut delivery = Delivery::new(stream, sequence, published, subject, message.headers.as_ref(), message.payload);
    delivery.pending = pending;
    Ok(Task { delivery, attempt, acker })
}

impl Task {
    /// Takes the message off the queue for good, and waits until the broker has confirmed it.
    ///
    /// # Errors
    /// The broker is away or refuses: the message comes again.
    pub fn done(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.confirmed("take", AckKind::Ack).await })
    }

    /// Says that this worker is still at it.
    ///
    /// # Errors
    /// The connection is closed for good. A broker that is away does not hear it, and gives the message to another worker.
    pub fn keep(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let sent = self.acker.ack_with(AckKind::Progress).await;
            sent.map_err(|error| Error::broker(format!("keep {}", self.delivery.subject), error))
        })
    }

    /// Gives the message back: the next worker gets it at once.
    ///
    /// # Errors
    /// As [`Task::done`]: it comes again later.
    pub fn give_back(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.confirmed("give back", AckKind::Nak(None)).await })
    }

    /// An answer that the broker has confirmed: one that is only sent is lost when the process ends with it.
    async fn confirmed(&self, what: &str, kind: AckKind) -> Result<(), Error> {
        let action = || format!("{what} {}", self.delivery.subject);
        let confirmed = tokio::time::timeout(REQUEST_TIMEOUT, self.acker.double_ack_with(kind)).await;
        confirmed.map_err(|_| Error::broker(action(), "no answer"))?.map_err(|error| Error::broker(action(), error))
    }
}
