//! One receiver's queue: the oldest notification first, again and again until it has arrived or is given up.
//!
//! At least once: between the receiver's "yes" and its record in the queue's file lies a moment in which a crash makes it be
//! sent again. Every try of a notification carries the same `Idempotency-Key`, by which a receiver can tell.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spark_bus_schema::notify::{Delivery as Outcome, DeliveryOutcome, Notification};
use spark_bus_schema::subject;
use spark_nats::{Bus, Meta, PublishError, now, park};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::health::Health;
use super::leaf::{Leaf, Refused};
use super::store::{Store, StoreError, Waiting};
use crate::machine::own;
use crate::payload::is_firing;

/// What fires is sent again this many times before its receiver would take it for resolved.
const REPEATS_WITHIN_TIMEOUT: u32 = 3;

/// Why a queue stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue's file.
    #[error("keep the queues of notifications")]
    Store(#[from] StoreError),
    /// The broker refuses what became of a notification.
    #[error("publish what became of a notification")]
    Publish(#[from] PublishError),
    /// The broker refuses to park.
    #[error("park a notification")]
    Park(#[source] spark_nats::Error),
}

/// One receiver's queue.
pub struct Worker {
    pub receiver: String,
    /// None: there is no such receiver (any more).
    pub leaf: Option<Leaf>,
    pub store: Arc<Mutex<Store>>,
    pub bus: Bus,
    pub process: &'static str,
    pub wake: Arc<Notify>,
    pub shutdown: CancellationToken,
    pub retry_for: Duration,
    pub retry_pause: (Duration, Duration),
    pub health: Arc<Health>,
    pub delivered: Arc<AtomicU64>,
    pub parked: Arc<AtomicU64>,
}

/// What follows from one try.
enum Next {
    Done,
    Again(Duration),
}

impl Worker {
    /// Until told to stop.
    ///
    /// # Errors
    /// [`Error`]; a receiver that is away is none.
    pub async fn run(self) -> Result<(), Error> {
        let every =
            self.leaf.as_ref().filter(|leaf| leaf.needs_repeating()).map(|leaf| leaf.resolve_timeout / REPEATS_WITHIN_TIMEOUT);
        let mut repeat = tokio::time::interval(every.unwrap_or(Duration::from_secs(3_600)).max(Duration::from_millis(100)));
        repeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        repeat.reset();
        while !self.shutdown.is_cancelled() {
            let Some(waiting) = self.store(|store| store.oldest(&self.receiver))? else {
                self.health.set(&self.receiver, None);
                tokio::select! {
                    () = self.shutdown.cancelled() => {}
                    () = self.wake.notified() => {}
                    _ = repeat.tick(), if every.is_some() => self.keep_alive().await?,
                }
                continue;
            };
            if let Next::Again(pause) = self.attempt(waiting).await? {
                tokio::select! {
                    () = self.shutdown.cancelled() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
        Ok(())
    }

    async fn attempt(&self, mut waiting: Waiting) -> Result<Next, Error> {
        let group = waiting.delivery.subject.rsplit('.').next().unwrap_or_default();
        let belongs = |notification: &Notification| subject::notification(&notification.receiver, group);
        let notification = match own(&waiting.delivery, belongs) {
            Ok(notification) => notification,
            Err(error) => {
                park(&self.bus, self.process, &waiting.delivery, error.reason(), &spark_nats::text(&error))
                    .await
                    .map_err(Error::Park)?;
                self.store(|store| store.remove(waiting.delivery.sequence))?;
                return Ok(Next::Done);
            }
        };
        if let Some(status) = waiting.arrived {
            return self.arrived(&waiting, &notification, status).await;
        }
        let Some(leaf) = &self.leaf else {
            let refused = Refused { status: None, detail: format!("no receiver is called {}", self.receiver), retry: None };
            return self.give_up(&waiting, &notification, "no_such_receiver", &refused).await;
        };
        let before = if leaf.needs_repeating() {
            self.store(|store| store.live(&self.receiver, Some(&notification.group_key)))?.pop()
        } else {
            None
        };
        let sent = leaf.send(&notification, before.as_ref(), &key_of(&waiting)).await;
        waiting.attempts += 1;
        let sequence = waiting.delivery.sequence;
        match sent {
            Ok(status) => {
                self.store(|store| store.tried(sequence, waiting.attempts, Some(status)))?;
                self.arrived(&waiting, &notification, status).await
            }
            Err(refused) => {
                self.store(|store| store.tried(sequence, waiting.attempts, None))?;
                let Some(after) = refused.retry else {
                    return self.give_up(&waiting, &notification, "refused_by_receiver", &refused).await;
                };
                if now().saturating_since(waiting.delivery.stored_at) >= self.retry_for {
                    return self.give_up(&waiting, &notification, "not_delivered_in_time", &refused).await;
                }
                self.health.set(&self.receiver, Some(refused.detail.clone()));
                metrics::counter!("spark_notifier_retries_total", "receiver" => self.receiver.clone()).increment(1);
                if waiting.attempts == 1 {
                    self.tell(&waiting, &notification, DeliveryOutcome::Retrying, refused.status, Some(refused.detail)).await?;
                }
                Ok(Next::Again(self.pause(waiting.attempts).max(after)))
            }
        }
    }

    /// It doubles from try to try.
    fn pause(&self, attempts: u32) -> Duration {
        let factor = 1_u32.checked_shl(attempts.saturating_sub(1).min(16)).unwrap_or(u32::MAX);
        self.retry_pause.0.saturating_mul(factor).min(self.retry_pause.1)
    }

    async fn arrived(&self, waiting: &Waiting, notification: &Notification, status: u16) -> Result<Next, Error> {
        if self.leaf.as_ref().is_some_and(Leaf::needs_repeating) {
            self.store(|store| store.set_live(notification, is_firing(notification)))?;
        }
        let status = Some(status).filter(|status| *status != 0);
        self.tell(waiting, notification, DeliveryOutcome::Delivered, status, None).await?;
        self.store(|store| store.remove(waiting.delivery.sequence))?;
        self.delivered.fetch_add(1, Ordering::Relaxed);
        self.health.set(&self.receiver, None);
        Ok(Next::Done)
    }

    async fn give_up(
        &self,
        waiting: &Waiting,
        notification: &Notification,
        reason: &str,
        refused: &Refused,
    ) -> Result<Next, Error> {
        let detail = format!("receiver {}: {} ({} tries)", self.receiver, refused.detail, waiting.attempts);
        park(&self.bus, self.process, &waiting.delivery, reason, &detail).await.map_err(Error::Park)?;
        self.tell(waiting, notification, DeliveryOutcome::Parked, refused.status, Some(refused.detail.clone())).await?;
        self.store(|store| store.remove(waiting.delivery.sequence))?;
        self.parked.fetch_add(1, Ordering::Relaxed);
        Ok(Next::Done)
    }

    async fn tell(
        &self,
        waiting: &Waiting,
        notification: &Notification,
        outcome: DeliveryOutcome,
        http_status: Option<u16>,
        detail: Option<String>,
    ) -> Result<(), Error> {
        let at = now();
        let sequence = waiting.delivery.sequence;
        let word = match outcome {
            DeliveryOutcome::Delivered => "delivered",
            DeliveryOutcome::Retrying => "retrying",
            DeliveryOutcome::Parked => "parked",
        };
        metrics::counter!("spark_notifier_deliveries_total", "receiver" => self.receiver.clone(), "outcome" => word).increment(1);
        let told = Outcome {
            receiver: notification.receiver.clone(),
            group_key: notification.group_key.clone(),
            revision: notification.revision,
            notification: sequence,
            outcome,
            attempts: waiting.attempts,
            http_status,
            detail,
            took_ms: at.saturating_since(notification.at).as_millis().try_into().unwrap_or(u64::MAX),
            at,
        };
        let group = waiting.delivery.subject.rsplit('.').next().unwrap_or_default();
        let meta = Meta {
            msg_id: Some(format!("{}:delivery:{sequence}:{word}", self.process)),
            cause: Some(format!("LEDGER:{sequence}")),
        };
        self.bus.publish(&subject::delivery(&self.receiver, group), &told, meta).await?;
        Ok(())
    }

    /// What fires is sent again, so that its receiver does not take it for resolved. When it is away, the next time will do.
    async fn keep_alive(&self) -> Result<(), Error> {
        let Some(leaf) = &self.leaf else { return Ok(()) };
        for notification in self.store(|store| store.live(&self.receiver, None))? {
            let firing = Notification {
                alerts: notification.alerts.iter().filter(|alert| alert.firing).cloned().collect(),
                ..notification
            };
            if let Err(refused) = leaf.send(&firing, None, &format!("keep-alive-{}", now().as_nanos())).await {
                tracing::warn!(receiver = self.receiver, detail = refused.detail, "what fires was not sent again");
                return Ok(());
            }
        }
        Ok(())
    }

    fn store<T>(&self, act: impl FnOnce(&mut Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        act(&mut self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The same for every try: `<receiver>.<group id>.<LEDGER sequence>`.
fn key_of(waiting: &Waiting) -> String {
    let tail = waiting.delivery.subject.strip_prefix("alerts.notification.").unwrap_or(&waiting.delivery.subject);
    format!("{tail}.{}", waiting.delivery.sequence)
}
