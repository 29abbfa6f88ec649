//! The process: quotes and the LEDGER in, intents out.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use spark_bus_schema::market::QuoteBatch;
use spark_bus_schema::orders::{OrderId, OrderIntent};
use spark_bus_schema::subject::{self, FEED, LEDGER};
use spark_bus_schema::telemetry::ProcessState;
use spark_bus_schema::{DecodeError, Message, Timestamp, encode};
use spark_nats::{AppendError, Bus, Delivery, Follower, PublishError, Resume, Service, Start, SubjectWriter, now};

use crate::config::{Config, Spec};
use crate::trader::{Event, Trader, load, save};

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
    /// A saved state cannot be used by this build.
    #[error("saved state: {0}; move checkpoint.sqlite away to start from the LEDGER again")]
    State(String),
    /// A reader ended, which it never should.
    #[error("the reader of {0} ended")]
    ReaderEnded(&'static str),
}

/// Runs until the service is told to stop.
///
/// # Errors
/// [`Error`]; a broker that is away is waited for and is none.
pub async fn run(service: Service, config: Config) -> Result<(), Error> {
    if config.enabled == Some(false) || config.run.is_empty() {
        let why = if config.run.is_empty() { "no strategies under [[strategy.run]]" } else { "[strategy] enabled = false" };
        service.status.set(ProcessState::Running, Some(format!("idle: {why}")));
        service.shutdown.cancelled().await;
        return Ok(());
    }
    let Some((mut resume, state)) = Resume::open(&service, LEDGER).await.map_err(Error::Bus)? else { return Ok(()) };
    let mut traders: Vec<Trader> = config.run.into_iter().map(Trader::new).collect();
    if let Some(state) = state
        && !load(&mut traders, &state).map_err(Error::State)?
    {
        tracing::info!("a strategy is new: reading the LEDGER from its beginning");
        resume.forget();
    }
    let boundaries = traders.iter().map(|trader| next_boundary(trader.spec(), now())).collect();
    let mut host = Host { service: &service, traders, boundaries, resume, is_caught_up: false, storing: FuturesUnordered::new() };
    tokio::select! {
        () = service.shutdown.cancelled() => {}
        outcome = host.follow() => return outcome,
    }
    host.resume.save(|| save(&host.traders)).map_err(Error::Bus)
}

/// An intent on its way has come to an end.
struct Stored {
    trader: usize,
    order: OrderId,
    outcome: Result<(), Error>,
}

struct Host<'a> {
    service: &'a Service,
    traders: Vec<Trader>,
    /// When each of them decides next.
    boundaries: Vec<Timestamp>,
    resume: Resume,
    /// The LEDGER has been read to its end once: positions and open orders are known.
    is_caught_up: bool,
    /// Intents on their way: one a strategy at most.
    storing: FuturesUnordered<BoxFuture<'static, Stored>>,
}

impl Host<'_> {
    async fn follow(&mut self) -> Result<(), Error> {
        let (bus, name) = (&self.service.bus, self.service.name);
        let symbols = self.traders.iter().map(Trader::spec).map(|spec| subject::quotes(spec.exchange, &spec.symbol));
        let symbols: BTreeSet<String> = symbols.collect();
        let mut feed = Follower::start(bus.clone(), name, FEED, symbols.into_iter().collect(), Start::LastPerSubject);
        let subjects = Event::SUBJECTS.iter().map(|&subject| subject.to_owned()).collect();
        let mut ledger = Follower::start(bus.clone(), name, LEDGER, subjects, self.resume.start());
        self.service.status.set(ProcessState::Running, None);
        loop {
            let next = self.boundaries.iter().min().copied().unwrap_or(Timestamp::ZERO);
            let wait = next.saturating_since(now()).min(LOOK_EVERY);
            tokio::select! {
                biased;
                batch = ledger.next() => self.story(batch.ok_or(Error::ReaderEnded(LEDGER))?),
                batch = feed.next() => self.quotes(batch.ok_or(Error::ReaderEnded(FEED))?),
                Some(stored) = self.storing.next() => {
                    self.traders[stored.trader].settled(&stored.order);
                    stored.outcome?;
                }
                () = tokio::time::sleep(wait) => {}
            }
            self.is_caught_up |= ledger.is_caught_up();
            self.decide(now());
            let traders = &self.traders;
            self.resume.save_when_due(|| save(traders)).map_err(Error::Bus)?;
        }
    }

    fn story(&mut self, batch: Vec<Delivery>) {
        for delivery in batch {
            match Event::decode(&delivery) {
                Ok(event) => {
                    if let Some(trader) = self.traders.iter_mut().find(|trader| trader.spec().name == event.strategy()) {
                        note(&event);
                        trader.apply(delivery.stored_at, event);
                    }
                }
                Err(error) => unreadable(self.service, &delivery, &error),
            }
            self.resume.taken(&delivery);
        }
    }

    fn quotes(&mut self, batch: Vec<Delivery>) {
        for delivery in batch {
            match delivery.decode::<QuoteBatch>() {
                Ok(quotes) => self.traders.iter_mut().for_each(|trader| trader.quotes(&quotes)),
                Err(error) => unreadable(self.service, &delivery, &error),
            }
        }
    }

    /// Lets every strategy decide whose boundary has passed.
    fn decide(&mut self, now: Timestamp) {
        for (index, trader) in self.traders.iter_mut().enumerate() {
            let boundary = self.boundaries[index];
            if boundary > now {
                continue;
            }
            self.boundaries[index] = next_boundary(trader.spec(), now);
            if !self.is_caught_up || now.saturating_since(boundary) > LATE_MAX {
                continue;
            }
            if let Some(intent) = trader.decide(boundary) {
                self.storing.push(Box::pin(store(self.service.bus.clone(), index, intent)));
            }
        }
    }
}

fn next_boundary(spec: &Spec, now: Timestamp) -> Timestamp {
    now.next_boundary(Duration::from_millis(spec.interval_ms))
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

/// Asks for one order. What is there already under this order's name was asked at this boundary in an earlier life.
async fn store(bus: Bus, trader: usize, intent: OrderIntent) -> Stored {
    let subject = subject::intent(&intent.order);
    let mut writer = SubjectWriter::at(bus, LEDGER, subject.clone(), 0);
    let payload = Bytes::from(encode(&intent));
    let stored = tokio::time::timeout(STORE_LIMIT, writer.append(OrderIntent::KIND, payload, &subject)).await;
    let outcome = match stored {
        Ok(Ok(_)) => {
            metrics::counter!("spark_strategy_intents_total", "strategy" => intent.strategy).increment(1);
            Ok(())
        }
        Ok(Err(AppendError::Conflict)) => Ok(()),
        Ok(Err(AppendError::Refused(source))) => Err(Error::Publish { subject, source }),
        Err(_) => {
            tracing::warn!(subject, "the broker did not store an intent in time; it is given up");
            Ok(())
        }
    };
    Stored { trader, order: intent.order, outcome }
}
