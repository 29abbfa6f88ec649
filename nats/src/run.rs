//! The one loop: decode → decide → publish effects → await every acknowledgement → checkpoint.
//!
//! The checkpoint is the acknowledgement: after a crash the loop goes on from the last one, meets a few messages
//! again, decides the same again, and the natural keys of the effects keep them from being stored twice.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use spark_bus_schema::telemetry::ProcessState;
use spark_bus_schema::{DecodeError, Timestamp, header};

use crate::bus::{Bus, Meta, PublishError, headers};
use crate::checkpoint::{Checkpoint, Saved};
use crate::delivery::Delivery;
use crate::error::Error;
use crate::follower::{Follower, Start};
use crate::machine::{Effect, Effects, Machine, Reject};
use crate::park::park;
use crate::service::Service;
use crate::topology;
use crate::writer::{AppendError, SubjectWriter};

/// The state is saved at most this often, and when the process stops.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(500);
/// While nothing arrives, a boundary fires this long after it has passed, so that messages stored before it but still
/// on their way are taken in first.
const WALL_CLOCK_GRACE: Duration = Duration::from_millis(50);
/// Writers kept open, one a subject; beyond it the map starts again.
const WRITERS_MAX: usize = 10_000;

/// Runs a machine until the service is told to stop.
///
/// # Errors
/// The checkpoint cannot be read or written, or the broker refuses an effect for good.
pub async fn run_machine<M: Machine>(service: &Service, machine: M) -> Result<(), Error> {
    let checkpoint = Checkpoint::open(&service.data_dir.join("checkpoint.sqlite"))?;
    let mut runner = Runner::load(service, machine, checkpoint)?;
    let mut followers = runner.follow();
    service.status.set(ProcessState::Running, None);
    // Told to stop in the middle of a batch (say, while the broker is away): nothing is saved, because effects of what
    // was taken in may not be stored yet. The next run decides the same again.
    tokio::select! {
        () = service.shutdown.cancelled() => {}
        outcome = runner.run(&mut followers) => return outcome,
    }
    if runner.is_between_batches { runner.checkpoint() } else { Ok(()) }
}

struct Runner<'a, M: Machine> {
    service: &'a Service,
    machine: M,
    checkpoint: Checkpoint,
    saved: Saved,
    saved_at: Instant,
    changed: bool,
    is_between_batches: bool,
    publisher: Publisher,
    effects: Effects,
    boundary: Timestamp,
    now: Timestamp,
}

impl<'a, M: Machine> Runner<'a, M> {
    fn load(service: &'a Service, mut machine: M, checkpoint: Checkpoint) -> Result<Self, Error> {
        let saved = checkpoint.load()?.unwrap_or_default();
        if !saved.state.is_empty() {
            machine.load(&saved.state).map_err(|reason| Error::State {
                process: service.name.to_owned(),
                path: checkpoint.path().to_owned(),
                reason,
            })?;
        }
        let boundary = Timestamp::from_nanos(saved.boundary_ns);
        Ok(Self {
            service,
            machine,
            checkpoint,
            now: boundary,
            boundary,
            saved,
            saved_at: Instant::now(),
            changed: false,
            is_between_batches: true,
            publisher: Publisher { bus: service.bus.clone(), process: service.name, writers: HashMap::new() },
            effects: Effects::default(),
        })
    }

    fn follow(&self) -> Vec<Follower> {
        M::INPUTS
            .iter()
            .map(|input| {
                let fresh = M::HISTORY.map_or(Start::Beginning, |history| Start::Since(crate::now() - history));
                let start = self.saved.cursors.get(input.stream).map_or(fresh, |&cursor| Start::After(cursor));
                let subjects = input.subjects.iter().map(|&subject| subject.to_owned()).collect();
                Follower::start(self.service.bus.clone(), self.service.name, input.stream, subjects, start)
            })
            .collect()
    }

    async fn run(&mut self, followers: &mut [Follower]) -> Result<(), Error> {
        loop {
            let wait = self.until_wall_boundary();
            let batch = tokio::select! {
                batch = next_of(followers) => Some(batch),
                () = tokio::time::sleep(wait) => None,
            };
            self.is_between_batches = false;
            match batch {
                Some(Some(deliveries)) => self.take_in(deliveries).await?,
                Some(None) => return Err(Error::broker("follow the inputs", "a reader ended")),
                None => self.wall_clock(followers).await?,
            }
            self.is_between_batches = true;
            if self.changed && self.saved_at.elapsed() >= CHECKPOINT_EVERY {
                self.checkpoint()?;
            }
        }
    }

    async fn take_in(&mut self, deliveries: Vec<Delivery>) -> Result<(), Error> {
        for delivery in deliveries {
            self.advance(delivery.stored_at).await?;
            self.now = self.now.max(delivery.stored_at);
            let outcome = M::decode(&delivery)
                .map_err(Refusal::Undecodable)
                .and_then(|event| self.machine.apply(self.now, event, &mut self.effects).map_err(Refusal::Rejected));
            let cause = format!("{}:{}", delivery.stream, delivery.sequence);
            self.publisher.publish(&mut self.effects, &cause).await?;
            if let Err(refusal) = outcome {
                let (reason, detail) = refusal.words();
                park(&self.service.bus, self.service.name, &delivery, reason, &detail).await?;
            }
            match self.saved.cursors.get_mut(delivery.stream) {
                Some(cursor) => *cursor = delivery.cursor(),
                None => {
                    self.saved.cursors.insert(delivery.stream.to_owned(), delivery.cursor());
                }
            }
            self.changed = true;
        }
        Ok(())
    }

    /// Fires every boundary up to `at`. The first message ever sets where boundaries begin.
    async fn advance(&mut self, at: Timestamp) -> Result<(), Error> {
        if self.boundary == Timestamp::ZERO {
            self.boundary = at;
        }
        loop {
            let next = self.boundary.next_boundary(M::STEP);
            if next > at {
                return Ok(());
            }
            self.boundary = next;
            self.now = self.now.max(next);
            self.machine.tick(next, &mut self.effects);
            self.publisher.publish(&mut self.effects, &format!("tick:{}", next.as_nanos())).await?;
        }
    }

    /// Nothing arrived: time passes all the same, but only when everything stored has been taken in.
    async fn wall_clock(&mut self, followers: &[Follower]) -> Result<(), Error> {
        if !followers.iter().all(Follower::is_caught_up) {
            return Ok(());
        }
        self.changed = true;
        self.advance(crate::now() - WALL_CLOCK_GRACE).await
    }

    fn until_wall_boundary(&self) -> Duration {
        let next = self.boundary.next_boundary(M::STEP) + WALL_CLOCK_GRACE;
        next.saturating_since(crate::now()).clamp(Duration::from_millis(1), M::STEP)
    }

    fn checkpoint(&mut self) -> Result<(), Error> {
        self.saved.state = self.machine.save();
        self.saved.boundary_ns = self.boundary.as_nanos();
        self.checkpoint.save(&self.saved)?;
        self.saved_at = Instant::now();
        self.changed = false;
        Ok(())
    }
}

enum Refusal {
    Undecodable(DecodeError),
    Rejected(Reject),
}

impl Refusal {
    fn words(&self) -> (&'static str, String) {
        match self {
            Self::Undecodable(error) => (error.reason(), crate::bus::text(error)),
            Self::Rejected(reject) => (reject.reason, reject.detail.clone()),
        }
    }
}

/// Whatever any follower has; none when one of them ended.
async fn next_of(followers: &mut [Follower]) -> Option<Vec<Delivery>> {
    let mut waiting: FuturesUnordered<_> = followers.iter_mut().map(Follower::next).collect();
    waiting.next().await.flatten()
}

struct Publisher {
    bus: Bus,
    process: &'static str,
    writers: HashMap<String, (SubjectWriter, u64)>,
}

impl Publisher {
    /// Publishes everything and waits for every acknowledgement. Telemetry goes out together, decisions in order.
    async fn publish(&mut self, effects: &mut Effects, cause: &str) -> Result<(), Error> {
        if effects.items().is_empty() {
            return Ok(());
        }
        let mut telemetry = Vec::new();
        let mut decisions = Vec::new();
        for (index, effect) in effects.drain().enumerate() {
            // A decision is known by its natural key: decided anew from the same input (after a lost state, under changed
            // rules), it must not be taken for the one that came of that input before.
            let msg_id = match effect.revision {
                None => format!("{}:{cause}:{index}", self.process),
                Some(revision) => format!("{}:{}:{revision}", self.process, effect.subject),
            };
            let meta = Meta { msg_id: Some(msg_id), cause: Some(cause.to_owned()) };
            match effect.revision {
                None => telemetry.push((effect, meta)),
                Some(revision) => decisions.push((effect, meta, revision)),
            }
        }
        for (effect, meta, revision) in decisions {
            self.decide(effect, &meta, revision).await?;
        }
        let bus = &self.bus;
        try_join_all(telemetry.into_iter().map(|(effect, meta)| async move {
            let headers = headers(effect.kind, &meta);
            let stored = bus.store(&effect.subject, headers, Bytes::from(effect.payload)).await;
            stored.map_err(|source| Error::Publish { subject: effect.subject, source })
        }))
        .await
        .map(|_| ())
    }

    /// Stores one revision of a subject, unless it is there already.
    async fn decide(&mut self, effect: Effect, meta: &Meta, revision: u64) -> Result<(), Error> {
        if self.writers.len() >= WRITERS_MAX {
            self.writers.clear();
        }
        let mut entry = match self.writers.remove(&effect.subject) {
            Some(entry) => entry,
            None => {
                let stream = topology::stream_of(&effect.subject)
                    .ok_or_else(|| Error::Publish { subject: effect.subject.clone(), source: PublishError::NoStream })?;
                let (writer, end) = SubjectWriter::open(self.bus.clone(), stream, effect.subject.clone()).await?;
                (writer, stored_revision(end.as_ref()))
            }
        };
        let payload = Bytes::from(effect.payload);
        while entry.1 < revision {
            let extra = [(header::REVISION, revision.to_string())];
            match entry.0.append_with(effect.kind, payload.clone(), meta, &extra).await {
                Ok(_) => entry.1 = revision,
                Err(AppendError::Conflict) => entry.1 = stored_revision(entry.0.reopen().await?.as_ref()),
                Err(AppendError::Refused(source)) => return Err(Error::Publish { subject: effect.subject, source }),
            }
        }
        self.writers.insert(effect.subject, entry);
        Ok(())
    }
}

fn stored_revision(end: Option<&Delivery>) -> u64 {
    end.and_then(|delivery| delivery.header(header::REVISION)?.parse().ok()).unwrap_or(0)
}
