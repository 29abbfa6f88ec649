//! The process: the lease, a clock for times in which nothing else is told, metrics, and the decider's loop of `spark-nats`
//! around the decision.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use spark_bus_schema::orders::Epoch;
use spark_bus_schema::rollout::{GateState, Phase, RolloutChanged, Stage};
use spark_bus_schema::telemetry::ProcessState;
use spark_bus_schema::{DecodeError, Timestamp, subject};
use spark_nats::{Bus, Delivery, Effects, Input, Lease, Machine, Meta, Reject, Service, Status, run_decider};

use crate::config::Config;
use crate::event::{Event, Fact};
use crate::machine::Rollout;

/// Why the process stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is not usable.
    #[error("[rollout] {0}")]
    Config(String),
    /// The broker, the lease or the checkpoint failed.
    #[error("run rollout")]
    Bus(#[source] spark_nats::Error),
}

/// Runs until the service is told to stop. While another one holds the lease it is a standby.
///
/// # Errors
/// [`Error`]; a broker that is away is waited for and is none. After [`spark_nats::Error::Fenced`] another one decides.
pub fn run(service: Service, config: Config) -> spark_nats::BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        if let Some(problem) = config.validate().into_iter().next() {
            return Err(Error::Config(problem));
        }
        let lease = tokio::select! {
            lease = Lease::acquire(&service, subject::ROLLOUT_EPOCH) => lease.map_err(Error::Bus)?,
            () = service.shutdown.cancelled() => return Ok(()),
        };
        service.status.set(ProcessState::Running, None);
        let shared = Arc::new(Shared { step: config.step(), ..Shared::default() });
        let _clock = Clock(tokio::spawn(clock(service.bus.clone(), service.name, Arc::clone(&shared))));
        let observed = Observed::new(Rollout::new(config), lease.epoch(), &service.status, shared);
        run_decider(&service, observed, lease).await.map_err(Error::Bus)
    })
}

/// A task that ends with whoever started it.
struct Clock(tokio::task::JoinHandle<()>);

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the loop shows to the clock.
#[derive(Default)]
struct Shared {
    step: Duration,
    /// When the last message was taken in; none while nothing is watched or the LEDGER is still being read.
    since: Mutex<Option<Instant>>,
}

impl Shared {
    fn since(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the time, as a message, when nothing else has told it for a step: a model that went silent is noticed all the same.
async fn clock(bus: Bus, process: &'static str, shared: Arc<Shared>) {
    loop {
        let due = *shared.since();
        let wait = due.map_or(shared.step, |since| shared.step.saturating_sub(since.elapsed()));
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
            continue;
        }
        let at = spark_nats::now();
        let said = Epoch { process: process.to_owned(), holder: process.to_owned(), at };
        let meta = Meta { msg_id: Some(format!("{process}:{}:{}", subject::ROLLOUT_CLOCK, at.as_nanos())), cause: None };
        if let Err(error) = bus.publish(subject::ROLLOUT_CLOCK, &said, meta).await {
            tracing::warn!(error = spark_nats::text(&error), "the time cannot be told");
        }
        // Its own message comes back and moves this; until then once a step is enough.
        let mut since = shared.since();
        if since.is_some() {
            *since = Some(Instant::now());
        }
    }
}

/// The decision with its metrics: what it does is shown, and nothing flows back.
struct Observed {
    inner: Rollout,
    epoch: u64,
    shared: Arc<Shared>,
    last: Option<(Stage, Phase)>,
    transitions: Arc<AtomicU64>,
    refusals: Arc<AtomicU64>,
}

impl Observed {
    fn new(inner: Rollout, epoch: u64, status: &Status, shared: Arc<Shared>) -> Self {
        Self {
            inner,
            epoch,
            shared,
            last: None,
            transitions: status.counter("spark_rollout_transitions_total"),
            refusals: status.counter("spark_rollout_refusals_total"),
        }
    }

    /// Counts what was told when it is stored: after our epoch all of it is ours.
    fn count(&mut self, told: &RolloutChanged) {
        let before = self.last.replace((told.stage, told.phase));
        if let Some(refusal) = &told.refusal {
            metrics::counter!("spark_rollout_refusals_total").increment(1);
            self.refusals.fetch_add(1, Ordering::Relaxed);
            tracing::info!(refusal, "refused");
        } else if before != self.last {
            let from = before.map_or(Stage::Off, |before| before.0).as_str();
            let (to, phase) = (told.stage.as_str(), phase(told.phase));
            metrics::counter!("spark_rollout_transitions_total", "from" => from, "to" => to, "phase" => phase).increment(1);
            self.transitions.fetch_add(1, Ordering::Relaxed);
            tracing::info!(from, to, phase, model = told.model.model_version, told.summary, "the rollout has changed");
        }
    }

    fn show(&self) {
        let status = self.inner.status();
        let stage = if status.is_watched() { Stage::ALL.iter().position(|stage| *stage == status.stage) } else { None };
        let number = u8::try_from(stage.unwrap_or(0)).unwrap_or(0);
        metrics::gauge!("spark_rollout_stage").set(f64::from(number));
        for gate in &status.gates {
            let state = match gate.state {
                GateState::Passed => 0.0,
                GateState::Inconclusive => 1.0,
                GateState::Failed => 2.0,
            };
            metrics::gauge!("spark_rollout_gate", "gate" => gate.name.clone()).set(state);
        }
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "idle",
        Phase::Running => "running",
        Phase::Paused => "paused",
        Phase::Promoted => "promoted",
        Phase::RolledBack => "rolled_back",
    }
}

impl Machine for Observed {
    type Event = Event;
    const INPUTS: &'static [Input] = Rollout::INPUTS;
    const STEP: Duration = Rollout::STEP;

    fn decode(delivery: &Delivery) -> Result<Event, DecodeError> {
        Rollout::decode(delivery)
    }

    fn apply(&mut self, at: Timestamp, event: Event, effects: &mut Effects) -> Result<(), Reject> {
        let is_live = event.sequence >= self.epoch;
        if let Fact::Told(told) = &event.fact {
            if is_live {
                self.count(told);
            } else {
                self.last = Some((told.stage, told.phase));
            }
        }
        let outcome = self.inner.apply(at, event, effects);
        if is_live {
            *self.shared.since() = self.inner.status().is_watched().then(Instant::now);
            self.show();
        }
        outcome
    }

    fn tick(&mut self, at: Timestamp, effects: &mut Effects) {
        self.inner.tick(at, effects);
    }

    fn save(&self) -> Vec<u8> {
        self.inner.save()
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.inner.load(bytes)?;
        let status = self.inner.status();
        self.last = Some((status.stage, status.phase));
        Ok(())
    }
}
