//! The process: quotes, candles and the LEDGER in, intents out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use spark_bus_schema::candles::{Candle, CandleHistory};
use spark_bus_schema::market::QuoteBatch;
use spark_bus_schema::orders::{OrderId, OrderIntent};
use spark_bus_schema::subject::{self, FEED, LEDGER};
use spark_bus_schema::telemetry::ProcessState;
use spark_bus_schema::{DecodeError, InstrumentTable, Message, Timestamp, encode};
use spark_nats::{AppendError, Bus, Delivery, Follower, PublishError, Resume, Service, Start, SubjectWriter, now};

use crate::config::Config;
use crate::kept::Event;
use crate::plan::Plan;
use crate::roster::Roster;

/// The reader of candles.
const CANDLES: &str = "strategy-candles";
/// An intent that is not stored after this is given up: the price it was decided on is gone.
const STORE_LIMIT: Duration = Duration::from_secs(2);
/// How often it is looked whether the LEDGER has been read to its end.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A boundary that was missed by more than this (a suspended machine) is not decided on.
const LATE_MAX: Duration = Duration::from_secs(1);

/// Why the process stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker or the checkpoint failed.
    #[error("run the strategies")]
    Bus(#[source] spark_nats::Error),
    /// An intent may not be stored.
    #[error("publish on {subject}")]
    Publish {
        /// Where to.
        subject: String,
        /// Why.
        #[source]
        source: PublishError,
    },
    /// The configuration cannot be used.
    #[error("configuration: {0}")]
    Config(String),
    /// A reader ended, which it never should.
    #[error("the reader of {0} ended")]
    ReaderEnded(&'static str),
}

/// Runs with the built-in instruments; see [`run_with`].
///
/// # Errors
/// [`Error`].
pub fn run(service: Service, config: Config) -> spark_nats::BoxFuture<'static, Result<(), Error>> {
    Box::pin(async move { run_with(service, config, &InstrumentTable::builtin()).await })
}

/// Runs until the service is told to stop. `instruments` says what a symbol's base and quote currencies are.
///
/// # Errors
/// [`Error`]; a broker that is away is waited for and is none.
pub fn run_with(service: Service, config: Config, instruments: &InstrumentTable) -> spark_nats::BoxFuture<'_, Result<(), Error>> {
    Box::pin(async move {
        if config.enabled == Some(false) {
            service.status.set(ProcessState::Running, Some("idle: [strategy] enabled = false".to_owned()));
            service.shutdown.cancelled().await;
            return Ok(());
        }
        let mut plans = Vec::new();
        for (index, spec) in config.run.iter().enumerate() {
            plans.push(Plan::of(spec).map_err(|problems| {
                let words = problems.into_iter().map(|(key, what)| format!("strategy.run.{index}.{key} = {what}"));
                Error::Config(words.collect::<Vec<_>>().join("; "))
            })?);
        }
        let Some((mut resume, state)) = Resume::open(&service, LEDGER).await.map_err(Error::Bus)? else { return Ok(()) };
        let mut roster = Roster::new(plans, instruments);
        if let Some(state) = state
            && !roster.load(&state)
        {
            tracing::info!("a strategy is new, or the saved state is another program's: reading the LEDGER from its beginning");
            resume.forget();
        }
        let storing = FuturesUnordered::new();
        let mut host = Host { service: &service, roster, boundaries: BTreeMap::new(), resume, is_caught_up: false, storing };
        tokio::select! {
            () = service.shutdown.cancelled() => {}
            outcome = host.follow() => return outcome,
        }
        host.resume.save(|| host.roster.save()).map_err(Error::Bus)
    })
}

/// An intent on its way has come to an end.
struct Stored {
    strategy: String,
    order: OrderId,
    /// Whether the LEDGER has it.
    outcome: Result<bool, Error>,
}

struct Host<'a> {
    service: &'a Service,
    roster: Roster<'a>,
    /// When each of those that look at quotes decides next.
    boundaries: BTreeMap<String, Timestamp>,
    resume: Resume,
    /// The LEDGER has been read to its end once: positions and open orders are known.
    is_caught_up: bool,
    /// Intents on their way: one a strategy at most.
    storing: FuturesUnordered<BoxFuture<'static, Stored>>,
}

/// The readers of FEED: quotes, and candles. Made anew when a strategy needs other subjects.
struct Feeds {
    subjects: (BTreeSet<String>, BTreeSet<String>),
    quotes: Option<Follower>,
    candles: Option<Follower>,
}

impl Feeds {
    fn new(service: &Service, subjects: (BTreeSet<String>, BTreeSet<String>)) -> Self {
        let follow = |name: &str, subjects: &BTreeSet<String>, start| {
            let wanted: Vec<String> = subjects.iter().cloned().collect();
            (!wanted.is_empty()).then(|| Follower::start(service.bus.clone(), name, FEED, wanted, start))
        };
        // All candles that FEED holds: what follows from them is the same whenever the process was started.
        let candles = follow(CANDLES, &subjects.1, Start::Beginning);
        Self { quotes: follow(service.name, &subjects.0, Start::LastPerSubject), candles, subjects }
    }
}

/// What a reader has; never anything where there is none.
async fn next(follower: &mut Option<Follower>) -> Result<Vec<Delivery>, Error> {
    match follower {
        Some(follower) => follower.next().await.ok_or(Error::ReaderEnded(FEED)),
        None => std::future::pending().await,
    }
}

impl Host<'_> {
    async fn follow(&mut self) -> Result<(), Error> {
        let (bus, name) = (&self.service.bus, self.service.name);
        let mut feeds = Feeds::new(self.service, self.roster.subjects());
        let subjects = Event::SUBJECTS.iter().map(|&subject| subject.to_owned()).collect();
        let mut ledger = Follower::start(bus.clone(), name, LEDGER, subjects, self.resume.start());
        self.service.status.set(ProcessState::Running, None);
        loop {
            let wait = self.next_boundary().saturating_since(now()).min(LOOK_EVERY);
            tokio::select! {
                biased;
                batch = ledger.next() => {
                    if self.story(batch.ok_or(Error::ReaderEnded(LEDGER))?) && feeds.subjects != self.roster.subjects() {
                        feeds = Feeds::new(self.service, self.roster.subjects());
                    }
                }
                batch = next(&mut feeds.candles) => self.candles(batch?),
                batch = next(&mut feeds.quotes) => self.quotes(batch?),
                Some(stored) = self.storing.next() => self.stored(stored)?,
                () = tokio::time::sleep(wait) => {}
            }
            self.is_caught_up |= ledger.is_caught_up();
            self.decide(now());
            let roster = &self.roster;
            self.resume.save_when_due(|| roster.save()).map_err(Error::Bus)?;
        }
    }

    /// True: other subjects of FEED may be needed now.
    fn story(&mut self, batch: Vec<Delivery>) -> bool {
        let mut has_changed = false;
        for delivery in batch {
            match Event::decode(&delivery) {
                Ok(event) => {
                    if event.strategy().is_some_and(|name| self.roster.traders().contains_key(name)) {
                        note(&event);
                    }
                    has_changed |= self.roster.apply(delivery.stored_at, &event);
                }
                Err(error) => unreadable(self.service, &delivery, &error),
            }
            self.resume.taken(&delivery);
        }
        has_changed
    }

    fn quotes(&mut self, batch: Vec<Delivery>) {
        for delivery in batch {
            match delivery.decode::<QuoteBatch>() {
                Ok(quotes) => self.roster.traders_mut().for_each(|trader| trader.quotes(&quotes)),
                Err(error) => unreadable(self.service, &delivery, &error),
            }
        }
    }

    fn candles(&mut self, batch: Vec<Delivery>) {
        for delivery in batch {
            let taken = if subject::matches(subject::HISTORY, &delivery.subject) {
                delivery
                    .decode::<CandleHistory>()
                    .map(|history| self.roster.traders_mut().for_each(|trader| trader.history(&history)))
            } else {
                delivery.decode::<Candle>().map(|candle| self.roster.traders_mut().for_each(|trader| trader.candle(&candle)))
            };
            if let Err(error) = taken {
                unreadable(self.service, &delivery, &error);
            }
        }
    }

    fn stored(&mut self, stored: Stored) -> Result<(), Error> {
        let is_there = stored.outcome?;
        if let Some(trader) = self.roster.trader_mut(&stored.strategy) {
            // Whoever decides on candles waits until the LEDGER shows the order: the next candle follows from it.
            if !is_there || trader.interval().is_some() {
                trader.settled(&stored.order);
            }
        }
        Ok(())
    }

    fn next_boundary(&self) -> Timestamp {
        self.boundaries.values().min().copied().unwrap_or(Timestamp::from_nanos(i64::MAX))
    }

    /// Lets every strategy decide: on quotes those whose boundary has passed, on candles all that have some.
    fn decide(&mut self, now: Timestamp) {
        if self.is_caught_up {
            for (strategy, reason) in self.roster.news() {
                tracing::info!(strategy, reason, "asks for no orders");
            }
        }
        let names: Vec<String> = self.roster.traders().keys().cloned().collect();
        self.boundaries.retain(|name, _| self.roster.traders().contains_key(name));
        for name in names {
            let Some(trader) = self.roster.traders().get(&name) else { continue };
            let place = self.roster.place(trader.plan().exchange, &trader.plan().symbol);
            let interval = trader.interval();
            let Some(trader) = self.roster.trader_mut(&name) else { continue };
            let intent = match interval {
                None if self.is_caught_up => trader.decide_candles(now, place),
                None => None,
                Some(interval) => {
                    let boundary = *self.boundaries.entry(name.clone()).or_insert_with(|| now.next_boundary(interval));
                    if boundary > now {
                        continue;
                    }
                    self.boundaries.insert(name.clone(), now.next_boundary(interval));
                    let is_late = now.saturating_since(boundary) > LATE_MAX;
                    if self.is_caught_up && !is_late { trader.decide(boundary, place) } else { None }
                }
            };
            if let Some(intent) = intent {
                self.storing.push(Box::pin(store(self.service.bus.clone(), name, intent)));
            }
        }
    }
}

fn note(event: &Event) {
    match event {
        Event::Verdict(verdict) if !verdict.approved => {
            tracing::debug!(order = %verdict.order, reason = verdict.reason, "refused");
            metrics::counter!("spark_strategy_refused_total", "strategy" => verdict.intent.strategy.clone()).increment(1);
        }
        Event::Command(command) => {
            tracing::info!(strategy = command.strategy, run = command.run, reason = command.reason, "told");
        }
        _ => {}
    }
}

/// The guardrail parks what nobody can read in FEED, and risk and executor what concerns them; here it is counted.
fn unreadable(service: &Service, delivery: &Delivery, error: &DecodeError) {
    service.status.counter("spark_strategy_unreadable_total").fetch_add(1, Ordering::Relaxed);
    metrics::counter!("spark_strategy_unreadable_total", "reason" => error.reason()).increment(1);
    tracing::warn!(
        stream = delivery.stream,
        sequence = delivery.sequence,
        subject = delivery.subject,
        reason = error.reason(),
        "skipped"
    );
}

/// Asks for one order. What is there already under this order's name was asked for at this moment in an earlier life.
async fn store(bus: Bus, strategy: String, intent: OrderIntent) -> Stored {
    let subject = subject::intent(&intent.order);
    let mut writer = SubjectWriter::at(bus, LEDGER, subject.clone(), 0);
    let payload = Bytes::from(encode(&intent));
    let stored = tokio::time::timeout(STORE_LIMIT, writer.append(OrderIntent::KIND, payload, &subject)).await;
    let outcome = match stored {
        Ok(Ok(_)) => {
            metrics::counter!("spark_strategy_intents_total", "strategy" => intent.strategy).increment(1);
            Ok(true)
        }
        Ok(Err(AppendError::Conflict)) => Ok(true),
        Ok(Err(AppendError::Refused(source))) => Err(Error::Publish { subject, source }),
        Err(_) => {
            tracing::warn!(subject, "the broker did not store an intent in time");
            Ok(false)
        }
    };
    Stored { strategy, order: intent.order, outcome }
}
