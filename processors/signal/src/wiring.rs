//! The process: candles and the LEDGER in, what the decision says out, and a checkpoint of both.
//!
//! Not the bus's common loop, for two reasons: no candle is decided on before everything that the LEDGER holds is known (a
//! rollback above all), and no order is stored that follows from a candle of long ago.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use spark_bus_schema::Timestamp;
use spark_bus_schema::orders::OrderIntent;
use spark_bus_schema::signals::{ModelInForce, Score};
use spark_bus_schema::subject::{self, FEED, LEDGER};
use spark_bus_schema::telemetry::ProcessState;
use spark_nats::checkpoint::{Checkpoint, Saved};
use spark_nats::resume::is_there;
use spark_nats::{Bus, Cursor, Delivery, Follower, Meta, PublishError, Service, Start, now, park};

use crate::config::Config;
use crate::event::{Event, FEED_SUBJECTS, LEDGER_SUBJECTS};
use crate::machine::{Act, Signal};
use crate::telemetry::Telemetry;
use crate::writers::Writers;

/// No order follows from a candle that closed longer ago than this: its price is gone.
pub const ORDER_AGE_MAX: Duration = Duration::from_secs(10);
/// A question is not answered after this: nobody waits any more.
pub const REQUEST_AGE_MAX: Duration = Duration::from_secs(30);
/// Questions that wait until the candles have been read; more are not answered.
const REQUESTS_MAX: usize = 1_000;
/// The state is saved at most this often, and when the process stops.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether a stream has been read to its end, while that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// And otherwise: the state is saved, a connection that was lost is noticed.
const IDLE_EVERY: Duration = Duration::from_secs(1);

/// Why the process stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration or the model is not usable.
    #[error("[signal] {0}")]
    Config(String),
    /// The broker or the checkpoint failed.
    #[error("run signal")]
    Bus(#[source] spark_nats::Error),
    /// A message may not be stored.
    #[error("publish on {subject}")]
    Publish {
        /// Where to.
        subject: String,
        /// Why.
        #[source]
        source: PublishError,
    },
    /// A saved state cannot be used by this build.
    #[error("saved state: {0}; move checkpoint.sqlite away to start from the streams again")]
    State(String),
    /// A reader ended, which it never should.
    #[error("the reader of {0} ended")]
    ReaderEnded(&'static str),
}

/// Runs until the service is told to stop.
///
/// # Errors
/// [`Error`]; a broker that is away is waited for and is none.
pub fn run(service: Service, config: Config) -> spark_nats::BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        let wrong = |mistakes: Vec<String>| Error::Config(mistakes.join("\n[signal] "));
        let model = config.load_model().map_err(wrong)?;
        let signal = Signal::new(config, model);
        if let Some(why) = signal.pinned() {
            tracing::error!(why, "another model than the configured one: it scores, and nobody trades on it");
        }
        let checkpoint = Checkpoint::open(&service.data_dir.join("checkpoint.sqlite")).map_err(Error::Bus)?;
        let begun = tokio::select! {
            begun = Host::begin(&service, signal, checkpoint) => begun,
            () = service.shutdown.cancelled() => return Ok(()),
        };
        let mut host = begun?;
        tokio::select! {
            () = service.shutdown.cancelled() => {}
            outcome = host.follow() => return outcome,
        }
        // Told to stop while something is being stored: nothing is saved, the next run decides the same again.
        if host.is_between_batches { host.save() } else { Ok(()) }
    })
}

struct Host<'a> {
    service: &'a Service,
    signal: Signal,
    writers: Writers,
    telemetry: Telemetry,
    checkpoint: Checkpoint,
    cursors: BTreeMap<String, Cursor>,
    /// Questions that came before the candles were read.
    waiting: Vec<(Timestamp, Event, String)>,
    saved_at: Instant,
    changed: bool,
    is_between_batches: bool,
}

impl<'a> Host<'a> {
    /// Goes on from the checkpoint, where there is one of this model and the streams still hold its place.
    async fn begin(service: &'a Service, mut signal: Signal, checkpoint: Checkpoint) -> Result<Self, Error> {
        let (mut cursors, mut is_other_model) = (BTreeMap::new(), false);
        if let Some(saved) = checkpoint.load().map_err(Error::Bus)? {
            let place = saved.cursors.get(LEDGER).copied();
            let is_ledger = match place {
                Some(cursor) => is_there(&service.bus, LEDGER, cursor).await,
                // Nothing that it reads was stored there yet.
                None => true,
            };
            if !is_ledger {
                tracing::error!("the LEDGER no longer holds what the saved state follows from; reading it from its beginning");
            } else if signal.load(&saved.state).map_err(Error::State)? {
                cursors = saved.cursors;
            } else {
                tracing::info!("another model than before: its indicators are made from the candles, old ones are not scored");
                signal = signal.silent_until(now());
                is_other_model = true;
            }
        }
        if let Some(cursor) = cursors.get(FEED).copied()
            && !is_there(&service.bus, FEED, cursor).await
        {
            // Candles are kept for hours: after a longer stop the rule about holes applies.
            cursors.remove(FEED);
        }
        let mut host = Self {
            service,
            signal,
            writers: Writers::new(service.bus.clone(), service.name),
            telemetry: Telemetry::new(service),
            checkpoint,
            cursors,
            waiting: Vec::new(),
            saved_at: Instant::now(),
            changed: false,
            is_between_batches: true,
        };
        if is_other_model {
            // From when on it scores is settled here, whatever crashes next.
            host.save()?;
        }
        Ok(host)
    }

    fn reader(&self, stream: &'static str, subjects: &[&str]) -> Follower {
        let start = self.cursors.get(stream).map_or(Start::Beginning, |cursor| Start::After(*cursor));
        let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
        Follower::start(self.service.bus.clone(), self.service.name, stream, subjects, start)
    }

    async fn follow(&mut self) -> Result<(), Error> {
        let mut ledger = self.reader(LEDGER, LEDGER_SUBJECTS);
        let mut feed = self.reader(FEED, FEED_SUBJECTS);
        self.service.status.set(ProcessState::Running, self.signal.pinned().map(ToOwned::to_owned));
        let mut told = None;
        loop {
            let knows_ledger = ledger.is_caught_up();
            let knows_feed = knows_ledger && feed.is_caught_up();
            if knows_ledger {
                self.tell_model(&mut told).await?;
            }
            if knows_feed && !self.waiting.is_empty() {
                self.answer().await?;
            }
            let pause = if knows_feed { IDLE_EVERY } else { LOOK_EVERY };
            let batch = tokio::select! {
                biased;
                batch = ledger.next() => batch.ok_or(Error::ReaderEnded(LEDGER))?,
                batch = feed.next(), if knows_ledger => batch.ok_or(Error::ReaderEnded(FEED))?,
                () = tokio::time::sleep(pause) => Vec::new(),
            };
            self.is_between_batches = false;
            self.take_in(batch).await?;
            self.is_between_batches = true;
            if self.changed && self.saved_at.elapsed() >= SAVE_EVERY {
                self.save()?;
            }
        }
    }

    async fn take_in(&mut self, batch: Vec<Delivery>) -> Result<(), Error> {
        let mut acts = Vec::new();
        for delivery in batch {
            let cause = format!("{}:{}", delivery.stream, delivery.sequence);
            match Event::decode(&delivery) {
                Ok(Some(event @ Event::Request(_))) => self.wait(delivery.stored_at, event, cause),
                Ok(Some(event)) => self.apply(delivery.stored_at, event, &cause, &mut acts),
                Ok(None) => {}
                Err(unreadable) => {
                    self.telemetry.unreadable(&delivery, &unreadable);
                    if unreadable.park {
                        let bus = &self.service.bus;
                        let parked = park(bus, self.service.name, &delivery, unreadable.reason, &unreadable.detail).await;
                        parked.map_err(Error::Bus)?;
                    }
                }
            }
            self.cursors.insert(delivery.stream.to_owned(), delivery.cursor());
            self.changed = true;
            // What became of an order is known before the next candle is decided on.
            if acts.iter().any(|(act, _)| matches!(act, Act::Intent(_))) {
                self.store(std::mem::take(&mut acts)).await?;
            }
        }
        self.store(acts).await
    }

    fn apply(&mut self, at: Timestamp, event: Event, cause: &str, acts: &mut Vec<(Act, String)>) {
        let mut own = Vec::new();
        self.signal.apply(at, event, &mut own);
        acts.extend(own.into_iter().map(|act| (act, cause.to_owned())));
    }

    fn wait(&mut self, at: Timestamp, event: Event, cause: String) {
        if now().saturating_since(at) <= REQUEST_AGE_MAX && self.waiting.len() < REQUESTS_MAX {
            self.waiting.push((at, event, cause));
        }
    }

    async fn answer(&mut self) -> Result<(), Error> {
        let mut acts = Vec::new();
        for (at, event, cause) in std::mem::take(&mut self.waiting) {
            self.apply(at, event, &cause, &mut acts);
        }
        self.store(acts).await
    }

    /// Scores and answers first: somebody waits for them. Then orders, each only once the score that allows it is stored.
    async fn store(&mut self, acts: Vec<(Act, String)>) -> Result<(), Error> {
        let (mut first, mut orders, mut then, mut told) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (act, cause) in acts {
            match act {
                Act::Intent(intent) => orders.extend(told.last().cloned().map(|score: Act| (score, *intent, cause))),
                Act::Score(_) | Act::Answer(_) => {
                    first.push((act.message(), cause));
                    told.push(act);
                }
                Act::Outcome(_) | Act::Calibration(..) => then.push((act.message(), cause)),
            }
        }
        let old = self.writers.store(first).await?;
        told.iter().for_each(|act| self.telemetry.stored(act));
        for (score, intent, cause) in orders {
            let stored = score.message();
            let is_new = !old.contains(&(stored.subject.clone(), stored.revision));
            if is_new || is_said(&self.service.bus, &score, &stored.subject).await? {
                self.order(intent, cause).await?;
            } else {
                self.signal.given_up(&intent.order);
            }
        }
        self.writers.store(then).await.map(|_| ())
    }

    async fn order(&mut self, intent: OrderIntent, cause: String) -> Result<(), Error> {
        if now().saturating_since(intent.requested_at) > ORDER_AGE_MAX {
            tracing::info!(order = %intent.order, "its candle closed too long ago: not asked for");
            self.signal.given_up(&intent.order);
            return Ok(());
        }
        let act = Act::Intent(Box::new(intent));
        self.writers.store(vec![(act.message(), cause)]).await?;
        self.telemetry.stored(&act);
        Ok(())
    }

    /// Says which model is in force, at the start and when its weights or its floor change.
    async fn tell_model(&mut self, told: &mut Option<ModelInForce>) -> Result<(), Error> {
        let at = now();
        let in_force = self.signal.in_force(at);
        let is_news =
            told.as_ref().is_none_or(|told| told.weights != in_force.weights || told.confid_floor != in_force.confid_floor);
        if !is_news {
            return Ok(());
        }
        let stored = self.service.bus.publish(subject::MODEL, &in_force, Meta::default()).await;
        stored.map_err(|source| Error::Publish { subject: subject::MODEL.to_owned(), source })?;
        let ModelInForce { model, weights, confid_floor, .. } = &in_force;
        tracing::info!(model = model.model_version, hash = model.hash, ?weights, confid_floor, "in force");
        *told = Some(in_force);
        Ok(())
    }

    fn save(&mut self) -> Result<(), Error> {
        let saved = Saved { state: self.signal.save(), cursors: self.cursors.clone(), boundary_ns: 0 };
        self.checkpoint.save(&saved).map_err(Error::Bus)?;
        self.saved_at = Instant::now();
        self.changed = false;
        Ok(())
    }
}

/// Decided anew, after a crash, a candle may be traded on that was told to be advisory before: what was told counts.
async fn is_said(bus: &Bus, score: &Act, subject: &str) -> Result<bool, Error> {
    let Act::Score(score) = score else { return Ok(false) };
    let newest = bus.last(LEDGER, subject).await.map_err(Error::Bus)?;
    let said = newest.and_then(|delivery| delivery.decode::<Score>().ok());
    Ok(said.is_some_and(|said| said.open_time == score.open_time && !said.advisory && said.side == score.side))
}
