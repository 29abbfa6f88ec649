//! Delivery: follows the decisions, keeps one ordered queue a receiver on disk, and runs a worker for each.
//!
//! Each notification is delivered by itself, in order, also when a newer one of the same group waits behind it: nothing is
//! superseded. [`leaf`] speaks to a receiver, [`worker`] decides about the next try, [`store`] remembers.

mod health;
mod leaf;
pub mod store;
mod worker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spark_bus_schema::notify::{Delivery as Outcome, DeliveryOutcome, Notification};
use spark_bus_schema::subject;
use spark_nats::{Delivery, Follower, Service, Start};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::plan::Plan;
use health::Health;
pub use leaf::{IDEMPOTENCY_KEY, Leaf, Refused};
use store::{Store, StoreError};
use worker::Worker;

/// The delivery's consumer of LEDGER.
const CONSUMER: &str = "notifier-delivery";
/// Told to stop, a try that has begun may end within this.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Why the delivery stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A queue.
    #[error(transparent)]
    Worker(#[from] worker::Error),
    /// The queues' file.
    #[error("keep the queues of notifications")]
    Store(#[from] StoreError),
    /// The reader ended.
    #[error("follow the notifications: the reader ended")]
    Ended,
}

/// Delivers until the service is told to stop.
///
/// # Errors
/// [`Error`]; receivers and a broker that are away are none.
pub async fn run(service: &Service, plan: &Plan, leaves: BTreeMap<String, Leaf>) -> Result<(), Error> {
    let (mut store, _) = Store::open(&service.data_dir.join("delivery.sqlite"))?;
    if store.position()?.is_none() {
        tokio::select! {
            begun = begin(service, &mut store) => begun?,
            () = service.shutdown.cancelled() => return Ok(()),
        }
    }
    let mut crew = Crew::new(service, plan, store);
    for (name, leaf) in leaves {
        crew.hire(name, Some(leaf));
    }
    // What waits for a receiver that is no longer configured is told and parked, not forgotten.
    for name in crew.store(|store| store.receivers())? {
        crew.hire(name, None);
    }
    let outcome = tokio::select! {
        () = service.shutdown.cancelled() => Ok(()),
        outcome = crew.follow() => outcome,
    };
    crew.stop().await;
    outcome
}

struct Crew<'a> {
    service: &'a Service,
    plan: &'a Plan,
    store: Arc<Mutex<Store>>,
    health: Arc<Health>,
    wakes: BTreeMap<String, Arc<Notify>>,
    workers: JoinSet<Result<(), worker::Error>>,
}

impl<'a> Crew<'a> {
    fn new(service: &'a Service, plan: &'a Plan, store: Store) -> Self {
        Self {
            service,
            plan,
            store: Arc::new(Mutex::new(store)),
            health: Arc::new(Health::new(service.status.clone())),
            wakes: BTreeMap::new(),
            workers: JoinSet::new(),
        }
    }

    fn hire(&mut self, receiver: String, leaf: Option<Leaf>) {
        if self.wakes.contains_key(&receiver) {
            return;
        }
        let wake = Arc::new(Notify::new());
        self.wakes.insert(receiver.clone(), Arc::clone(&wake));
        let worker = Worker {
            receiver,
            leaf,
            store: Arc::clone(&self.store),
            bus: self.service.bus.clone(),
            process: self.service.name,
            wake,
            shutdown: self.service.shutdown.clone(),
            retry_for: self.plan.retry_for,
            retry_pause: self.plan.retry_pause,
            health: Arc::clone(&self.health),
            delivered: self.service.status.counter("notifications_delivered"),
            parked: self.service.status.counter("notifications_parked"),
        };
        self.workers.spawn(worker.run());
    }

    async fn follow(&mut self) -> Result<(), Error> {
        let start = self.store(|store| store.position())?.map_or(Start::Beginning, Start::After);
        let subjects = vec![subject::NOTIFICATIONS.to_owned()];
        let mut follower = Follower::start(self.service.bus.clone(), CONSUMER, subject::LEDGER, subjects, start);
        loop {
            tokio::select! {
                batch = follower.next() => {
                    let batch = batch.ok_or(Error::Ended)?;
                    for receiver in self.store(|store| store.put(&batch))? {
                        self.hire(receiver.clone(), None);
                        if let Some(wake) = self.wakes.get(&receiver) {
                            wake.notify_one();
                        }
                        let depth = self.store(|store| store.depth(&receiver))?;
                        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
                        metrics::gauge!("spark_notifier_waiting", "receiver" => receiver).set(depth as f64);
                    }
                }
                Some(ended) = self.workers.join_next() => match ended {
                    Ok(outcome) => outcome?,
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Err(_) => {}
                },
            }
        }
    }

    async fn stop(&mut self) {
        let all = async { while self.workers.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, all).await.is_err() {
            tracing::info!("a try was cut off; it is made again at the next start");
        }
        self.workers.shutdown().await;
    }

    fn store<T>(&self, act: impl FnOnce(&mut Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        act(&mut self.store.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Without a file (a first start, a lost disk): what the newest notification of each group says is delivered, unless the
/// LEDGER knows already what became of it.
async fn begin(service: &Service, store: &mut Store) -> Result<(), Error> {
    let subjects = vec![subject::NOTIFICATIONS.to_owned(), subject::DELIVERIES.to_owned()];
    let newest = newest(service, CONSUMER, subjects).await.ok_or(Error::Ended)?;
    let mut settled: BTreeMap<u64, ()> = BTreeMap::new();
    for delivery in newest.iter().filter(|delivery| subject::matches(subject::DELIVERIES, &delivery.subject)) {
        if let Ok(outcome) = delivery.decode::<Outcome>()
            && outcome.outcome != DeliveryOutcome::Retrying
        {
            settled.insert(outcome.notification, ());
        }
    }
    let is_waiting = |delivery: &&Delivery| {
        subject::matches(subject::NOTIFICATIONS, &delivery.subject)
            && !settled.contains_key(&delivery.sequence)
            && delivery.decode::<Notification>().is_ok()
    };
    let waiting: Vec<Delivery> = newest.iter().filter(is_waiting).cloned().collect();
    store.put(&waiting)?;
    if let Some(last) = newest.last() {
        store.skip_to(last.cursor())?;
    }
    Ok(())
}

/// The newest message on each of the subjects, in order; none when the reader ended.
pub(crate) async fn newest(service: &Service, consumer: &str, subjects: Vec<String>) -> Option<Vec<Delivery>> {
    /// How often it is looked whether the end is reached while nothing arrives.
    const LOOK: Duration = Duration::from_millis(10);
    let mut follower = Follower::start(service.bus.clone(), consumer, subject::LEDGER, subjects, Start::LastPerSubject);
    let mut newest: BTreeMap<String, Delivery> = BTreeMap::new();
    loop {
        if follower.is_caught_up() {
            let mut all: Vec<Delivery> = newest.into_values().collect();
            all.sort_by_key(|delivery| delivery.sequence);
            return Some(all);
        }
        tokio::select! {
            batch = follower.next() => {
                for delivery in batch? {
                    newest.insert(delivery.subject.clone(), delivery);
                }
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
