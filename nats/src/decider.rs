//! The loop of a process whose decisions are about money: the only decider, under a lease, and every decision once.
//!
//! It reads one stream, the LEDGER, and nothing else: no clock, no second order of arrival, so the decisions follow from
//! the LEDGER alone. At a start it reads up to its own epoch without publishing: whatever earlier holders decided lies
//! before the epoch (the broker refuses them anything after it), so at the epoch it knows exactly which decisions are
//! missing. What is recorded wins over what would be decided now. A decision is known by its subject and, where a subject
//! tells of changes, by its revision: its machine reads these subjects too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, TryStreamExt};
use spark_bus_schema::header;
use spark_bus_schema::subject::LEDGER;

use crate::bus::{PublishError, RETRY_PAUSE, headers, text};
use crate::checkpoint::{Checkpoint, Saved, Saver};
use crate::delivery::{Cursor, Delivery};
use crate::error::Error;
use crate::follower::{Follower, Start};
use crate::lease::{Lease, fence, meta};
use crate::machine::{Effect, Effects, Machine};
use crate::park::park;
use crate::service::Service;

/// The state is saved at most this often, and when the process stops.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);
/// After the state was put into bytes, no order waits for that again before this many times as long has passed: states
/// grow, and what waits longer than usual shall stay far below one order in a hundred.
const CHECKPOINT_SHARE: u32 = 200;
/// Decisions on their way to the broker at once.
const IN_FLIGHT_MAX: usize = 256;

/// Runs a machine as the only decider until the service is told to stop or the lease is lost. Ticks are not delivered.
///
/// # Errors
/// Another holder took over, the LEDGER lost its end, the checkpoint cannot be used, or the broker refuses for good.
pub async fn run_decider<M: Machine>(service: &Service, machine: M, lease: Lease) -> Result<(), Error> {
    let checkpoint = Checkpoint::open(&service.data_dir.join("checkpoint.sqlite"))?;
    let mut decider = Decider::load(service, machine, checkpoint, &lease).await?;
    let subjects: Vec<String> =
        M::INPUTS.iter().flat_map(|input| input.subjects.iter().map(|&subject| subject.to_owned())).collect();
    let start = decider.cursor.map_or(Start::Beginning, Start::After);
    let mut follower = Follower::start(service.bus.clone(), service.name, LEDGER, subjects, start);
    let mut outcome = tokio::select! {
        () = service.shutdown.cancelled() => Ok(()),
        () = lease.lost() => Err(Error::Fenced { process: service.name.to_owned() }),
        outcome = decider.run(&mut follower) => outcome,
    };
    if outcome.is_ok() && decider.is_between_batches {
        outcome = decider.finish().await;
    }
    if outcome.is_ok() {
        lease.release().await;
    }
    outcome
}

/// A decision's natural key: its subject and its revision there, 1 where there can be only one.
type Key = (String, u64);

struct Decider<'a, M: Machine> {
    service: &'a Service,
    lease: &'a Lease,
    machine: M,
    saver: Saver,
    cursor: Option<Cursor>,
    effects: Effects,
    /// Decided and not in the LEDGER yet, by subject and revision, with the cause.
    missing: BTreeMap<Key, (Effect, String)>,
    /// What was missing at our epoch, for as long as the machine holds it back.
    left: BTreeMap<Key, (Effect, String)>,
    is_between_batches: bool,
    saved_at: Instant,
    save_again_after: Duration,
}

impl<'a, M: Machine> Decider<'a, M> {
    async fn load(service: &'a Service, mut machine: M, checkpoint: Checkpoint, lease: &'a Lease) -> Result<Self, Error> {
        let saved = checkpoint.load()?.unwrap_or_default();
        let mut cursor = saved.cursors.get(LEDGER).copied();
        if let Some(known) = cursor
            && !is_there(service, known).await?
        {
            tracing::error!(
                sequence = known.sequence,
                "the LEDGER no longer holds what the saved state follows from; deciding anew from its beginning"
            );
            cursor = None;
        }
        if cursor.is_some() {
            machine.load(&saved.state).map_err(|reason| Error::State {
                process: service.name.to_owned(),
                path: checkpoint.path().to_owned(),
                reason,
            })?;
        }
        Ok(Self {
            service,
            lease,
            machine,
            saver: Saver::new(checkpoint),
            cursor,
            effects: Effects::default(),
            missing: BTreeMap::new(),
            left: BTreeMap::new(),
            is_between_batches: true,
            saved_at: Instant::now(),
            save_again_after: CHECKPOINT_EVERY,
        })
    }

    async fn run(&mut self, follower: &mut Follower) -> Result<(), Error> {
        loop {
            let Some(batch) = follower.next().await else {
                return Err(Error::broker("follow the LEDGER", "the reader ended"));
            };
            self.is_between_batches = false;
            for delivery in &batch {
                self.take_in(delivery).await?;
            }
            if self.cursor.is_some_and(|cursor| cursor.sequence >= self.lease.epoch()) {
                self.publish().await?;
                self.is_between_batches = true;
                if self.saved_at.elapsed() >= self.save_again_after {
                    self.save()?;
                }
            }
        }
    }

    async fn take_in(&mut self, delivery: &Delivery) -> Result<(), Error> {
        if let Some(cursor) = self.cursor
            && delivery.sequence <= cursor.sequence
        {
            return Err(Error::RolledBack { stream: LEDGER, sequence: delivery.sequence, known: cursor.sequence });
        }
        if let Some((decided, _)) = self.missing.remove(&key(delivery))
            && decided.payload != delivery.payload
        {
            metrics::counter!("spark_decisions_diverged_total").increment(1);
            tracing::error!(
                subject = delivery.subject,
                "the recorded decision is not the one that follows now; the record holds"
            );
        }
        let refused = match M::decode(delivery) {
            Err(error) => Some((error.reason(), text(&error))),
            Ok(event) => {
                let outcome = self.machine.apply(delivery.stored_at, event, &mut self.effects);
                outcome.err().map(|reject| (reject.reason, reject.detail))
            }
        };
        let cause = format!("{}:{}", delivery.stream, delivery.sequence);
        for effect in self.effects.drain() {
            self.missing.insert((effect.subject.clone(), effect.revision.unwrap_or(1)), (effect, cause.clone()));
        }
        if let Some((reason, detail)) = refused {
            park(&self.service.bus, self.service.name, delivery, reason, &detail).await?;
        }
        self.cursor = Some(delivery.cursor());
        if delivery.sequence == self.lease.epoch() {
            self.left = std::mem::take(&mut self.missing);
        }
        Ok(())
    }

    /// Stores what is decided, all subjects on their way at once and each subject in the order of its revisions, and waits
    /// for every acknowledgement.
    async fn publish(&mut self) -> Result<(), Error> {
        if !self.machine.holds_back() {
            self.missing.append(&mut self.left);
        }
        if self.missing.is_empty() {
            return Ok(());
        }
        let mut subjects: BTreeMap<String, Vec<(Effect, String)>> = BTreeMap::new();
        for ((subject, _), decided) in std::mem::take(&mut self.missing) {
            subjects.entry(subject).or_default().push(decided);
        }
        let (service, lease) = (self.service, self.lease);
        stream::iter(subjects.into_values().map(Ok::<_, Error>))
            .try_for_each_concurrent(IN_FLIGHT_MAX, async |revisions| {
                for (effect, cause) in revisions {
                    store(service, lease, effect, cause).await?;
                }
                Ok(())
            })
            .await
    }

    fn save(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        if self.saver.is_idle()?
            && let Some(saved) = self.saved()
        {
            self.saver.begin(saved)?;
        }
        self.saved_at = Instant::now();
        self.save_again_after = CHECKPOINT_EVERY.max(begun.elapsed() * CHECKPOINT_SHARE);
        Ok(())
    }

    async fn finish(self) -> Result<(), Error> {
        match self.saved() {
            Some(saved) => self.saver.finish(saved).await,
            None => Ok(()),
        }
    }

    fn saved(&self) -> Option<Saved> {
        let cursors = BTreeMap::from([(LEDGER.to_owned(), self.cursor?)]);
        Some(Saved { state: self.machine.save(), cursors, boundary_ns: 0 })
    }
}

/// The natural key of a stored message.
fn key(delivery: &Delivery) -> Key {
    (delivery.subject.clone(), delivery.header(header::REVISION).and_then(|text| text.parse().ok()).unwrap_or(1))
}

/// Stores one decision under the fence. An attempt whose answer got lost is looked for before it is made again.
async fn store(service: &Service, lease: &Lease, effect: Effect, cause: String) -> Result<(), Error> {
    let revision = effect.revision.unwrap_or(1);
    // The subject alone where it is the whole key.
    let name = if revision == 1 { effect.subject.clone() } else { format!("{}:{revision}", effect.subject) };
    let mut envelope = headers(effect.kind, &meta(service.name, &name, cause));
    if revision > 1 {
        envelope.insert(header::REVISION, revision.to_string());
    }
    fence(&mut envelope, lease.epoch_subject(), lease.epoch());
    let payload = Bytes::from(effect.payload);
    let mut pause = RETRY_PAUSE.0;
    loop {
        match service.bus.publish_once(&effect.subject, envelope.clone(), payload.clone()).await {
            Ok(_) => return Ok(()),
            Err(PublishError::WrongLastSequence) => return Err(Error::Fenced { process: service.name.to_owned() }),
            Err(error) if !error.is_transient() => {
                return Err(Error::Publish { subject: effect.subject, source: error });
            }
            Err(error) => tracing::debug!(subject = effect.subject, %error, "look for the decision, then store it again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE.1);
        service.bus.wait_connected().await;
        if let Ok(Some(last)) = service.bus.last(LEDGER, &effect.subject).await
            && key(&last).1 >= revision
        {
            return Ok(());
        }
    }
}

/// Whether the message that the state follows from is still the one there.
async fn is_there(service: &Service, cursor: Cursor) -> Result<bool, Error> {
    loop {
        service.bus.wait_connected().await;
        match service.bus.get(LEDGER, cursor.sequence).await {
            Ok(found) => return Ok(found.is_some_and(|found| found.stored_at == cursor.stored_at)),
            Err(error) if !service.bus.is_connected() => tracing::debug!(%error, "look at the LEDGER again"),
            Err(error) => return Err(error),
        }
    }
}
