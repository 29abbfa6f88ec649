//! The process: quotes and the LEDGER in, marks out; beside it trades in, candles out, with a reader and a checkpoint of their
//! own, because a mark must not wait for candles.

mod backfill;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use spark_bus_schema::candles::Candle;
use spark_bus_schema::market::QuoteBatch;
use spark_bus_schema::marks::Mark;
use spark_bus_schema::subject::{self, FEED, LEDGER};
use spark_bus_schema::telemetry::ProcessState;
use spark_bus_schema::{DecodeError, InstrumentTable};
use spark_nats::{Bus, Delivery, Follower, Meta, PublishError, Resume, Service, Start, now};
use tokio::task::JoinSet;

use self::backfill::Backfill;
use crate::Symbol;
use crate::config::Config;
use crate::interest::{Event, Interest};
use crate::machine::CandleMaker;
use crate::marks::{Marks, Withheld};

/// How often it is looked for marks that have become due.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A mark that is not stored after this is given up for a newer one.
const STORE_LIMIT: Duration = Duration::from_secs(1);
/// How often withheld marks are complained about.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Why the process stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker or the checkpoint failed.
    #[error("make marks")]
    Bus(#[source] spark_nats::Error),
    /// The broker or the checkpoint failed.
    #[error("make candles")]
    Candles(#[source] spark_nats::Error),
    /// The task that makes candles died.
    #[error("the task that makes candles died")]
    CandlesEnded(#[source] tokio::task::JoinError),
    /// The clients of the exchanges cannot be set up.
    #[error("set up the exchanges' clients")]
    Exchange(#[source] spark_exchanges::Error),
    /// A mark may not be stored.
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

/// Runs until the service is told to stop. `instruments` says which quote currency a symbol has.
///
/// # Errors
/// [`Error`]; a broker that is away is waited for and is none.
pub fn run(service: Service, config: Config, instruments: &InstrumentTable) -> spark_nats::BoxFuture<'_, Result<(), Error>> {
    Box::pin(async move {
        let maker = CandleMaker::new(&config.bars(), config.calendar(), &service.status);
        // Ends with this function, however that ends.
        let mut candles = JoinSet::new();
        candles.spawn(make_candles(bars_service(&service)?, maker));
        tokio::select! {
            outcome = make_marks(&service, &config, instruments) => outcome?,
            Some(outcome) = candles.join_next() => return outcome.map_err(Error::CandlesEnded)?,
        }
        candles.join_next().await.map_or(Ok(()), |outcome| outcome.map_err(Error::CandlesEnded)?)
    })
}

/// The service under the name of the second reader, with a folder of its own for the checkpoint.
fn bars_service(service: &Service) -> Result<Service, Error> {
    let data_dir = service.data_dir.join("bars");
    std::fs::create_dir_all(&data_dir)
        .map_err(|source| spark_nats::Error::File { action: "create folder", path: data_dir.clone(), source })
        .map_err(Error::Candles)?;
    let (bus, shutdown, status) = (service.bus.clone(), service.shutdown.clone(), service.status.clone());
    Ok(Service { name: "candles-bars", bus, data_dir, shutdown, status })
}

async fn make_candles(service: Service, maker: CandleMaker) -> Result<(), Error> {
    spark_nats::run_machine(&service, maker).await.map_err(Error::Candles)
}

async fn make_marks(service: &Service, config: &Config, instruments: &InstrumentTable) -> Result<(), Error> {
    let backfill = Backfill::start(service, config).map_err(Error::Exchange)?;
    let Some((resume, state)) = Resume::open(service, LEDGER).await.map_err(Error::Bus)? else { return Ok(()) };
    let mut interest = Interest::new(config.always());
    if let Some(state) = state {
        interest.load(&state).map_err(Error::State)?;
    }
    let mut process = Process {
        marks: Marks::new(config, instruments),
        interest,
        resume,
        is_caught_up: false,
        storing: FuturesUnordered::new(),
        published: service.status.counter("spark_marks_total"),
        missing: HashMap::new(),
        backfill,
        service,
    };
    let outcome = tokio::select! {
        () = service.shutdown.cancelled() => Ok(()),
        outcome = process.follow() => outcome,
    };
    outcome?;
    process.save(true)
}

struct Process<'a> {
    service: &'a Service,
    marks: Marks,
    interest: Interest,
    resume: Resume,
    /// The LEDGER has been read to its end once: before that, positions and orders of the past are not all known.
    is_caught_up: bool,
    /// Marks on their way: of each symbol one at most, because none lives longer than the time between two.
    storing: FuturesUnordered<BoxFuture<'static, Result<bool, Error>>>,
    published: Arc<AtomicU64>,
    /// Wanted symbols that no mark can be made of, why, and when that was said.
    missing: HashMap<Symbol, (Withheld, Instant)>,
    backfill: Backfill,
}

impl Process<'_> {
    async fn follow(&mut self) -> Result<(), Error> {
        let (bus, name) = (&self.service.bus, self.service.name);
        let subjects = vec![subject::QUOTES.to_owned(), subject::CANDLES.to_owned()];
        let mut feed = Follower::start(bus.clone(), name, FEED, subjects, Start::LastPerSubject);
        let subjects = Event::SUBJECTS.iter().map(|&subject| subject.to_owned()).collect();
        let mut ledger = Follower::start(bus.clone(), name, LEDGER, subjects, self.resume.start());
        self.service.status.set(ProcessState::Running, None);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                batch = ledger.next() => self.decisions(batch.ok_or(Error::ReaderEnded(LEDGER))?),
                batch = feed.next() => self.market(batch.ok_or(Error::ReaderEnded(FEED))?),
                Some(stored) = self.storing.next() => {
                    if stored? {
                        self.published.fetch_add(1, Ordering::Relaxed);
                        metrics::counter!("spark_marks_total").increment(1);
                    }
                }
                _ = look.tick() => {
                    self.is_caught_up |= ledger.is_caught_up();
                    self.look();
                    self.save(false)?;
                }
            }
        }
    }

    /// Messages of the LEDGER; an intent gets its mark at once.
    fn decisions(&mut self, batch: Vec<Delivery>) {
        for delivery in batch {
            match Event::decode(&delivery) {
                Ok(event) => {
                    if let Some(symbol) = self.interest.apply(delivery.stored_at, event, now()) {
                        self.mark(&symbol);
                    }
                }
                Err(error) => unreadable(self.service, &delivery, &error),
            }
            self.resume.taken(&delivery);
        }
    }

    fn market(&mut self, batch: Vec<Delivery>) {
        for delivery in batch {
            if subject::matches(subject::CANDLES, &delivery.subject) {
                match delivery.decode::<Candle>() {
                    Ok(candle) => self.backfill.candle(&candle),
                    Err(error) => unreadable(self.service, &delivery, &error),
                }
                continue;
            }
            match delivery.decode::<QuoteBatch>() {
                Ok(quotes) => {
                    self.marks.quotes(&quotes, delivery.sequence);
                    self.backfill.symbol(quotes.venue, &quotes.symbol);
                    // Somebody waits for the first quote of this symbol; everything else has time until the next look.
                    let symbol = (quotes.venue, quotes.symbol);
                    if self.interest.is_asked(&symbol) {
                        self.mark(&symbol);
                    }
                }
                Err(error) => unreadable(self.service, &delivery, &error),
            }
        }
    }

    fn look(&mut self) {
        let now = now();
        self.interest.expire(now);
        if self.is_caught_up {
            for mark in self.marks.due(now, &self.interest) {
                self.store(mark);
            }
        }
    }

    fn mark(&mut self, symbol: &Symbol) {
        if let Some(mark) = self.marks.due_of(symbol, now(), &self.interest) {
            self.store(mark);
        }
    }

    fn store(&mut self, mark: Result<Mark, (Symbol, Withheld)>) {
        match mark {
            Ok(mark) => {
                self.missing.remove(&(mark.venue, mark.symbol.clone()));
                self.storing.push(Box::pin(store(self.service.bus.clone(), mark)));
            }
            Err((symbol, why)) => self.withheld(symbol, why),
        }
    }

    /// Says once, and again while it lasts, that somebody needs a mark that cannot be made.
    fn withheld(&mut self, symbol: Symbol, why: Withheld) {
        let told = self.missing.get(&symbol).is_some_and(|(said, at)| *said == why && at.elapsed() < COMPLAIN_EVERY);
        if told {
            return;
        }
        metrics::counter!("spark_marks_withheld_total", "reason" => why.as_str()).increment(1);
        tracing::warn!(venue = %symbol.0, symbol = symbol.1, reason = why.as_str(), "a mark is wanted and cannot be made");
        self.missing.insert(symbol, (why, Instant::now()));
    }

    fn save(&mut self, at_once: bool) -> Result<(), Error> {
        let state = || self.interest.save();
        let saved = if at_once { self.resume.save(state) } else { self.resume.save_when_due(state) };
        saved.map_err(Error::Bus)
    }
}

/// The guardrail parks what nobody can read in FEED, and risk and executor what concerns them; here it is counted.
fn unreadable(service: &Service, delivery: &Delivery, error: &DecodeError) {
    service.status.counter("spark_candles_unreadable_total").fetch_add(1, Ordering::Relaxed);
    metrics::counter!("spark_candles_unreadable_total", "reason" => error.reason()).increment(1);
    tracing::warn!(
        stream = delivery.stream,
        sequence = delivery.sequence,
        subject = delivery.subject,
        reason = error.reason(),
        "skipped"
    );
}

/// Stores one mark; false when it was not stored in time.
async fn store(bus: Bus, mark: Mark) -> Result<bool, Error> {
    let subject = subject::mark(mark.venue, &mark.symbol);
    let cause = Some(format!("{FEED}:{}", mark.feed_sequence));
    let stored = tokio::time::timeout(STORE_LIMIT, bus.publish(&subject, &mark, Meta { msg_id: None, cause })).await;
    match stored {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(source)) => Err(Error::Publish { subject, source }),
        Err(_) => {
            metrics::counter!("spark_marks_withheld_total", "reason" => "not_stored").increment(1);
            Ok(false)
        }
    }
}
