//! The process: the lease, limits from the configuration, time-outs of intents without a mark, metrics, and the decider's
//! loop of `spark-nats` around the decision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use spark_bus_schema::control::{LimitsCommand, LimitsSource};
use spark_bus_schema::risk::{Limits, Timeout, Verdict};
use spark_bus_schema::telemetry::ProcessState;
use spark_bus_schema::{DecodeError, Message, OrderId, Timestamp, encode, subject};
use spark_nats::{
    AppendError, Delivery, Effects, Follower, Input, Lease, Machine, Reject, Service, Start, Status, SubjectWriter, run_decider,
};

use crate::config::Config;
use crate::event::{Event, Fact};
use crate::machine::Risk;

/// An intent without a fresh mark is refused after this long.
pub const MARK_WAIT: Duration = Duration::from_secs(2);
/// An auditor that has said nothing for this long is missed.
const AUDITOR_WAIT: Duration = Duration::from_secs(1);
/// What is then shown.
const NO_AUDITOR: &str = "waiting for the auditor: no order is approved before it has compared the LEDGER with its chain";
/// How often it is looked for intents that wait too long.
const WAIT_POLL: Duration = Duration::from_millis(100);
/// How often it is looked whether all limits told so far have been read.
const READ_POLL: Duration = Duration::from_millis(20);
/// Attempts to tell the limits while somebody else changes them at the same moment.
const TELL_ATTEMPTS: usize = 10;

/// Why risk stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is not usable.
    #[error("[risk] {0}")]
    Config(String),
    /// The broker, the lease or the checkpoint failed.
    #[error("run risk")]
    Bus(#[source] spark_nats::Error),
    /// The limits of the configuration could not be told.
    #[error("publish the configured limits")]
    Limits(#[source] AppendError),
}

/// Runs risk until the service is told to stop. While another one holds the lease it is a standby.
///
/// When the connection to the broker was lost it takes over anew: a broker that was started again may have another LEDGER,
/// and a new epoch lets nothing be approved until the auditor has compared it.
///
/// # Errors
/// [`Error`]; a broker that is away is waited for and is none. After [`spark_nats::Error::Fenced`] another one decides.
pub fn run(service: Service, config: Config) -> spark_nats::BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move {
        if let Some(problem) = config.validate().into_iter().next() {
            return Err(Error::Config(problem));
        }
        loop {
            let mut connection = service.bus.connection();
            tokio::select! {
                biased;
                () = is_cut_off(&mut connection) => tracing::warn!("the broker went away; taking over anew when it is back"),
                outcome = hold(&service, &config) => return outcome,
            }
        }
    })
}

/// Ends when a connection that was there is lost.
async fn is_cut_off(connection: &mut tokio::sync::watch::Receiver<bool>) {
    // The sender lives as long as the process.
    let _ = connection.wait_for(|connected| *connected).await;
    let _ = connection.changed().await;
}

/// From one lease to its end. Safe to drop at any await.
async fn hold(service: &Service, config: &Config) -> Result<(), Error> {
    let lease = tokio::select! {
        lease = Lease::acquire(service, subject::RISK_EPOCH) => lease.map_err(Error::Bus)?,
        () = service.shutdown.cancelled() => return Ok(()),
    };
    let limits = config.limits();
    tokio::select! {
        told = tell_limits(service, &limits) => told?,
        () = service.shutdown.cancelled() => return Ok(()),
    }
    let shared = Arc::new(Shared::default());
    let _watch = Watch(tokio::spawn(watch(service.bus.clone(), service.status.clone(), Arc::clone(&shared))));
    let observed = Observed::new(lease.epoch(), &service.status, Arc::clone(&shared));
    run_decider(service, observed, lease).await.map_err(Error::Bus)
}

/// A task that ends with whoever started it.
struct Watch(tokio::task::JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Publishes the configured limits when they are not those that the configuration said the last time. A limit that was
/// set by command holds until the configuration changes.
async fn tell_limits(service: &Service, limits: &Limits) -> Result<(), Error> {
    for _ in 0..TELL_ATTEMPTS {
        let (mut writer, _) =
            SubjectWriter::open(service.bus.clone(), subject::LEDGER, subject::LIMITS.to_owned()).await.map_err(Error::Bus)?;
        let Some(last) = last_configured(service).await else { return Ok(()) };
        if last.as_ref() == Some(limits) {
            return Ok(());
        }
        let at = spark_nats::now();
        let command = LimitsCommand {
            limits: limits.clone(),
            source: LimitsSource::Config,
            actor: service.name.to_owned(),
            reason: if last.is_some() { "the configuration has changed" } else { "the configuration" }.to_owned(),
            at,
        };
        let msg_id = format!("{}:{}:{}", service.name, subject::LIMITS, at.as_nanos());
        match writer.append(LimitsCommand::KIND, Bytes::from(encode(&command)), &msg_id).await {
            Ok(sequence) => {
                tracing::info!(sequence, "told the configured limits");
                return Ok(());
            }
            Err(AppendError::Conflict) => {}
            Err(refused) => return Err(Error::Limits(refused)),
        }
    }
    Err(Error::Limits(AppendError::Conflict))
}

/// What the configuration said the last time; none as a whole when told to stop meanwhile.
async fn last_configured(service: &Service) -> Option<Option<Limits>> {
    let subjects = vec![subject::LIMITS.to_owned()];
    let mut follower = Follower::start(service.bus.clone(), service.name, subject::LEDGER, subjects, Start::Beginning);
    let mut last = None;
    loop {
        tokio::select! {
            batch = follower.next() => {
                for delivery in batch? {
                    match delivery.decode::<LimitsCommand>() {
                        Ok(command) if command.source == LimitsSource::Config => last = Some(command.limits),
                        Ok(_) => {}
                        Err(error) => tracing::warn!(sequence = delivery.sequence, %error, "stored limits are unreadable"),
                    }
                }
            }
            () = tokio::time::sleep(READ_POLL) => {
                if follower.is_caught_up() {
                    return Some(last);
                }
            }
        }
    }
}

/// What the loop shows to the task that watches the time.
#[derive(Default)]
struct Shared {
    /// Everything up to our epoch has been read.
    is_live: AtomicBool,
    /// The auditor has not answered our epoch.
    is_unaudited: AtomicBool,
    waiting: Mutex<BTreeSet<OrderId>>,
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeSet<OrderId>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the decision, as a message, that an intent has waited long enough, of each order once; and tells people when what
/// it waits for is the auditor.
async fn watch(bus: spark_nats::Bus, status: Status, shared: Arc<Shared>) {
    let mut since: BTreeMap<OrderId, Option<Instant>> = BTreeMap::new();
    let mut unaudited: Option<Instant> = None;
    let mut told = false;
    loop {
        tokio::time::sleep(WAIT_POLL).await;
        if !shared.is_live.load(Ordering::Acquire) {
            continue;
        }
        unaudited = shared.is_unaudited.load(Ordering::Acquire).then(|| unaudited.unwrap_or_else(Instant::now));
        let is_late = unaudited.is_some_and(|since| since.elapsed() >= AUDITOR_WAIT);
        if is_late != told {
            told = is_late;
            let (state, detail) =
                if is_late { (ProcessState::Degraded, Some(NO_AUDITOR.to_owned())) } else { (ProcessState::Running, None) };
            status.set(state, detail);
        }
        let waiting = shared.waiting().clone();
        since.retain(|order, _| waiting.contains(order));
        for order in waiting {
            since.entry(order).or_insert_with(|| Some(Instant::now()));
        }
        let due = |began: &&mut Option<Instant>| began.is_some_and(|began| began.elapsed() >= MARK_WAIT);
        for (order, began) in since.iter_mut().filter(|(_, began)| due(began)) {
            *began = None;
            let timeout = Timeout { order: order.clone(), at: spark_nats::now() };
            let subject = subject::risk_timeout(order);
            let msg_id = format!("risk:{subject}");
            let mut writer = SubjectWriter::at(bus.clone(), subject::LEDGER, subject, 0);
            match writer.append(Timeout::KIND, Bytes::from(encode(&timeout)), &msg_id).await {
                // A conflict: an earlier holder has said it already.
                Ok(_) | Err(AppendError::Conflict) => {}
                Err(error) => tracing::error!(%order, error = spark_nats::text(&error), "the time-out cannot be stored"),
            }
        }
    }
}

/// The decision with its metrics: what it does is shown, and nothing flows back.
struct Observed {
    inner: Risk,
    epoch: u64,
    shared: Arc<Shared>,
    decisions: Arc<AtomicU64>,
    refusals: Arc<AtomicU64>,
    diverged: Arc<AtomicU64>,
}

impl Observed {
    fn new(epoch: u64, status: &Status, shared: Arc<Shared>) -> Self {
        metrics::gauge!("spark_risk_killswitch_active").set(0.0);
        Self {
            inner: Risk::default(),
            epoch,
            shared,
            decisions: status.counter("spark_risk_decisions_total"),
            refusals: status.counter("spark_risk_block_total"),
            diverged: status.counter("spark_risk_divergence_total"),
        }
    }

    /// Counts a verdict when it is stored: after our epoch all of them are ours.
    fn count(&self, verdict: &Verdict) {
        let word = if verdict.approved { "approved" } else { "refused" };
        metrics::counter!("spark_risk_decisions_total", "verdict" => word).increment(1);
        self.decisions.fetch_add(1, Ordering::Relaxed);
        if let Some(guard) = verdict.guard {
            metrics::counter!("spark_risk_block_total", "reason" => guard.as_str()).increment(1);
            self.refusals.fetch_add(1, Ordering::Relaxed);
            tracing::info!(order = %verdict.order, guard = guard.as_str(), reason = verdict.reason, "refused");
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "Prometheus gauges are floats")]
    fn show(&self) {
        metrics::gauge!("spark_risk_killswitch_active").set(f64::from(u8::from(self.inner.is_killed())));
        metrics::gauge!("spark_risk_waiting").set(self.inner.waiting_count() as f64);
        metrics::gauge!("spark_risk_open_orders").set(self.inner.book().open_count() as f64);
        metrics::counter!("spark_risk_duplicate_intents_total").absolute(self.inner.duplicates());
        metrics::counter!("spark_risk_divergence_total").absolute(self.inner.diverged());
        self.diverged.store(self.inner.diverged(), Ordering::Relaxed);
        *self.shared.waiting() = self.inner.waiting();
    }
}

impl Machine for Observed {
    type Event = Event;
    const INPUTS: &'static [Input] = Risk::INPUTS;
    const STEP: Duration = Risk::STEP;

    fn decode(delivery: &Delivery) -> Result<Event, DecodeError> {
        Risk::decode(delivery)
    }

    fn apply(&mut self, at: Timestamp, event: Event, effects: &mut Effects) -> Result<(), Reject> {
        let is_live = event.sequence >= self.epoch;
        if let Fact::Verdict(verdict) = &event.fact
            && event.sequence > self.epoch
        {
            self.count(verdict);
        }
        let (before, waiting, killed) = (effects.items().len(), self.inner.waiting_count(), self.inner.is_killed());
        let diverged = self.inner.diverged();
        let began = Instant::now();
        let outcome = self.inner.apply(at, event, effects);
        let decided = effects.items().len() - before;
        if decided > 0 {
            metrics::histogram!("spark_risk_decision_seconds").record(began.elapsed().as_secs_f64());
        }
        self.shared.is_unaudited.store(self.inner.waits_for_auditor(), Ordering::Release);
        if is_live {
            self.shared.is_live.store(true, Ordering::Release);
        }
        let changed = waiting != self.inner.waiting_count() || killed != self.inner.is_killed();
        if decided > 0 || changed || diverged != self.inner.diverged() {
            self.show();
        }
        outcome
    }

    fn tick(&mut self, at: Timestamp, effects: &mut Effects) {
        self.inner.tick(at, effects);
    }

    fn holds_back(&self) -> bool {
        self.inner.holds_back()
    }

    fn save(&self) -> Vec<u8> {
        self.inner.save()
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.inner.load(bytes)?;
        self.show();
        Ok(())
    }
}
