//! The task of one exchange: poll, publish, wait. Nothing here is shared with the other exchange but prices to compare.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spark_bus_schema::portfolio::{Balances, PollError, PriceAnomaly};
use spark_bus_schema::telemetry::{Call, ProcessState, REFRESH};
use spark_bus_schema::{Message, Timestamp, Venue, subject};
use spark_exchanges::{Error as CallError, ErrorType};
use spark_nats::bus::Meta;
use spark_nats::{Delivery, Service, now};
use tokio::time::Instant;

use crate::account::{Account, Holding, Polled, Reading};
use crate::config::Config;
use crate::control::Commands;
use crate::exchange::Exchange;
use crate::keys::KeySource;
use crate::rates::Rates;
use crate::schedule::Schedule;
use crate::telemetry::CallQueue;
use crate::{EXCHANGES, Error};

/// Another exchange's prices count as a second source while they are not older than this: one poll and a half.
const SECOND_SOURCE_AGE_MAX: Duration = Duration::from_secs(90);
/// How often the broker is asked for what an earlier run left before the process goes on without it.
const RESTORE_TRIES: u32 = 20;
const RESTORE_PAUSE: Duration = Duration::from_millis(250);

/// What the pollers have in common.
pub(crate) struct Shared {
    service: Arc<Service>,
    calls: CallQueue,
    commands: Arc<Commands>,
    rates: Mutex<BTreeMap<Venue, Arc<Rates>>>,
    /// What is wrong with each polled exchange; none when nothing is.
    trouble: Mutex<BTreeMap<Venue, Option<String>>>,
}

impl Shared {
    pub fn new(service: Arc<Service>, calls: CallQueue, commands: Arc<Commands>) -> Self {
        Self { service, calls, commands, rates: Mutex::default(), trouble: Mutex::default() }
    }

    /// The newest prices of another exchange, if recent.
    fn second_source(&self, venue: Venue, at: Timestamp) -> Option<Arc<Rates>> {
        let rates = lock(&self.rates);
        let others = EXCHANGES.iter().filter(|other| **other != venue).filter_map(|other| rates.get(other));
        others.filter(|rates| rates.is_fresh(at, SECOND_SOURCE_AGE_MAX)).max_by_key(|rates| rates.read_at).cloned()
    }

    /// Tells the heartbeat how the exchanges are.
    fn report(&self, venue: Venue, trouble: Option<String>) {
        let mut all = lock(&self.trouble);
        all.insert(venue, trouble);
        let detail: Vec<String> =
            all.iter().filter_map(|(venue, trouble)| trouble.as_ref().map(|what| format!("{venue}: {what}"))).collect();
        let state = if detail.is_empty() { ProcessState::Running } else { ProcessState::Degraded };
        self.service.status.set(state, (!detail.is_empty()).then(|| detail.join("; ")));
    }
}

/// What is known of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// To be loaded and checked before anything is read with it.
    Unchecked,
    /// It may read and, as far as the exchange tells, nothing else.
    ReadOnly,
}

/// Polls one exchange.
pub(crate) struct Poller {
    exchange: Arc<Exchange>,
    venue: Venue,
    keys: KeySource,
    access: Access,
    account: Account,
    rates: Option<Arc<Rates>>,
    price_ttl: Duration,
    schedule: Schedule,
    /// Tries of calls so far, to tell a poll that asked something from one that was kept back.
    tries: Arc<AtomicU64>,
    last_error: Option<ErrorType>,
    shared: Arc<Shared>,
}

/// What one poll leaves.
struct Polling {
    balances: Balances,
    anomalies: Vec<PriceAnomaly>,
    outcome: Option<ErrorType>,
    took: Duration,
}

impl Poller {
    pub fn new(exchange: Arc<Exchange>, tries: Arc<AtomicU64>, config: &Config, shared: Arc<Shared>) -> Self {
        let venue = exchange.venue();
        let settings = config.exchange(venue);
        let schedule =
            Schedule::new(Duration::from_millis(settings.poll_interval_ms), Duration::from_millis(settings.auth_pause_ms_max));
        Self {
            venue,
            keys: settings.keys(venue),
            access: Access::Unchecked,
            account: Account::new(venue, config.price_step_max()),
            rates: None,
            price_ttl: config.price_ttl(),
            schedule,
            tries,
            last_error: None,
            exchange,
            shared,
        }
    }

    /// Polls until the service is told to stop.
    pub async fn run(mut self) -> Result<(), Error> {
        let shutdown = self.shared.service.shutdown.clone();
        let work = async {
            self.restore().await;
            loop {
                let began = Instant::now();
                let polling = self.poll().await;
                let wait = self.schedule.next(polling.outcome, polling.took, self.shared.commands.is_slowed());
                self.publish(polling).await?;
                tokio::time::sleep_until(began + wait).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            ended = work => ended,
        }
    }

    /// Before the first poll: a breaker that was set by hand stays so, and the snapshot that an earlier run published last
    /// is the last good one.
    async fn restore(&mut self) {
        // What cannot be obeyed counts as not said: the follower of commands meets it too, and parks it.
        let obey = |command: &Delivery| self.shared.commands.apply(command).ok();
        self.last(&subject::breaker(self.venue), obey).await;
        let snapshot =
            |published: &Delivery| published.decode::<Balances>().ok().filter(|balances| balances.exchange == self.venue);
        if let Some(published) = self.last(&subject::balances(self.venue), snapshot).await {
            self.account.restore(published);
        }
    }

    /// The newest usable message of a subject; a broker that is starting is asked again.
    async fn last<T>(&self, target: &str, read: impl Fn(&Delivery) -> Option<T>) -> Option<T> {
        let bus = &self.shared.service.bus;
        for _ in 0..RESTORE_TRIES {
            bus.wait_connected().await;
            let found = match bus.last(subject::LEDGER, target).await {
                Ok(end) => bus.newest_usable(end, &read).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(found) => return found,
                Err(error) => tracing::debug!(subject = target, %error, "read the last message again"),
            }
            tokio::time::sleep(RESTORE_PAUSE).await;
        }
        tracing::warn!(subject = target, "the last message could not be read; going on without it");
        None
    }

    async fn poll(&mut self) -> Polling {
        let tries_before = self.tries.load(Ordering::Relaxed);
        let (began, started_at) = (Instant::now(), now());
        let answer = self.ask().await;
        let took = began.elapsed();
        let polled = Polled { at: now(), took };
        let valued = answer.and_then(|(holdings, rates)| self.value(holdings, &rates, polled));
        let error = valued.as_ref().err().cloned();
        // A poll that the breaker or the limiter kept back took no time: it would make slow refreshes look quick.
        if self.tries.load(Ordering::Relaxed) > tries_before {
            self.shared.calls.put(self.refresh_call(started_at, took, error.as_ref()));
        }
        let (balances, anomalies) = valued.unwrap_or_else(|error| {
            let reason = PollError { error_type: error.error_type.as_str().to_owned(), message: error.to_string() };
            (self.account.fail(reason, polled), Vec::new())
        });
        self.measure(&balances, took);
        self.note(error.as_ref());
        Polling { balances, anomalies, outcome: error.map(|error| error.error_type), took }
    }

    /// Balances and prices, at the same time; prices only when the ones at hand are too old.
    async fn ask(&mut self) -> Result<(Vec<Holding>, Arc<Rates>), CallError> {
        self.check_access().await?;
        let known = self.rates.clone().filter(|rates| rates.is_fresh(now(), self.price_ttl));
        let exchange = &self.exchange;
        let prices = async {
            match known {
                Some(rates) => Ok(rates),
                None => exchange.rates().await.map(Arc::new),
            }
        };
        let (holdings, rates) = tokio::join!(exchange.holdings(), prices);
        if let Ok(rates) = &rates {
            self.rates = Some(Arc::clone(rates));
            lock(&self.shared.rates).insert(self.venue, Arc::clone(rates));
        }
        match &holdings {
            // Another key may be in the file by the next time, and its permissions have to be looked at.
            Err(error) if error.error_type == ErrorType::Auth => self.access = Access::Unchecked,
            _ => {}
        }
        Ok((holdings?, rates?))
    }

    async fn check_access(&mut self) -> Result<(), CallError> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        let key = self.keys.load().map_err(|what| CallError::new(self.venue, "load_key", ErrorType::Auth, what))?;
        self.exchange.set_key(key);
        self.exchange.check_key().await?;
        self.access = Access::ReadOnly;
        Ok(())
    }

    fn value(
        &mut self,
        holdings: Vec<Holding>,
        rates: &Rates,
        polled: Polled,
    ) -> Result<(Balances, Vec<PriceAnomaly>), CallError> {
        let second = self.shared.second_source(self.venue, polled.at);
        let reading = Reading { holdings, rates, second: second.as_deref() };
        self.account.read(reading, polled).map_err(|what| CallError::new(self.venue, "balances", ErrorType::Parse, what))
    }

    fn refresh_call(&self, started_at: Timestamp, took: Duration, error: Option<&CallError>) -> Call {
        Call {
            exchange: self.venue,
            service: self.shared.service.name.to_owned(),
            operation: REFRESH.to_owned(),
            started_at,
            latency_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            ok: error.is_none(),
            error_type: error.map(|error| error.error_type.as_str().to_owned()),
            http_status: error.and_then(|error| error.http_status),
            attempt: 1,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge of a few thousand assets")]
    fn measure(&self, balances: &Balances, took: Duration) {
        let exchange = self.venue.as_str();
        metrics::histogram!("spark_portfolio_refresh_latency_ms", "exchange" => exchange).record(took.as_secs_f64() * 1e3);
        let Some(updated_at) = balances.updated_at else { return };
        let total: f64 = balances.total_usd.try_into().unwrap_or(f64::NAN);
        metrics::gauge!("spark_portfolio_total_value_usd", "exchange" => exchange).set(total);
        metrics::gauge!("spark_portfolio_asset_count", "exchange" => exchange).set(balances.balances.len() as f64);
        metrics::gauge!("spark_portfolio_last_update_timestamp", "exchange" => exchange).set(updated_at.as_secs_f64());
        if !balances.stale {
            metrics::gauge!("spark_last_update_timestamp").set(updated_at.as_secs_f64());
        }
    }

    /// Logs changes, not repetitions.
    fn note(&mut self, error: Option<&CallError>) {
        let error_type = error.map(|error| error.error_type);
        match error {
            Some(error) if error_type != self.last_error => {
                tracing::warn!(exchange = %self.venue, error_type = error.error_type.as_str(), %error, "poll failed");
            }
            Some(error) => tracing::debug!(exchange = %self.venue, %error, "poll failed again"),
            None if self.last_error.is_some() => tracing::info!(exchange = %self.venue, "polls succeed again"),
            None => {}
        }
        self.last_error = error_type;
        self.shared.report(self.venue, error.map(|error| format!("{} ({error})", error.error_type)));
    }

    async fn publish(&self, polling: Polling) -> Result<(), Error> {
        let id = |index: usize| format!("portfolio:{}:{}:{index}", self.venue, polling.balances.polled_at.as_nanos());
        for (index, anomaly) in polling.anomalies.iter().enumerate() {
            tracing::warn!(exchange = %self.venue, asset = anomaly.asset, last_good = %anomaly.last_good, seen = %anomaly.seen,
                state = ?anomaly.state, "PortfolioValueDropAnomaly");
            self.store(subject::anomaly(self.venue), anomaly, id(index + 1)).await?;
        }
        self.store(subject::balances(self.venue), &polling.balances, id(0)).await
    }

    async fn store<T: Message>(&self, target: String, message: &T, id: String) -> Result<(), Error> {
        let meta = Meta { msg_id: Some(id), cause: None };
        match self.shared.service.bus.publish(&target, message, meta).await {
            Ok(_) => Ok(()),
            Err(source) => Err(Error::Publish { subject: target, source }),
        }
    }
}

/// No holder of these locks can panic half way through a change, so a poisoned one is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
