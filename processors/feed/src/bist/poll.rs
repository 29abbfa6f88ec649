//! One vendor, asked again and again: often in the session, seldom outside of it, more seldom after failures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spark_bus_schema::candles::MarketSnapshot;
use spark_bus_schema::market::TickBatch;
use spark_bus_schema::session::{Calendar, Phase};
use spark_bus_schema::telemetry::FeedState;
use spark_bus_schema::{InstrumentTable, Message, Timestamp, Venue, subject};
use spark_exchanges::bist::Row;
use spark_exchanges::{Bist, ErrorType, Observer};
use spark_nats::{Bus, Meta, now};
use tokio_util::sync::CancellationToken;

use super::config::BistConfig;
use super::shares::{BEHIND_MAX, Flaw, Outcome, Shares};
use crate::backoff::Backoff;
use crate::batch::{Encoded, QuoteBatcher, TickBatcher};
use crate::board::Board;

/// Ages are shown this often, however seldom the vendor is asked.
const SHOWN_EVERY: Duration = Duration::from_secs(1);
/// Pause before a message that the broker did not take is sent again.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// What the task needs.
pub(crate) struct Setup {
    pub bus: Bus,
    pub config: BistConfig,
    pub instruments: InstrumentTable,
    pub observer: Observer,
    pub board: Arc<Board>,
    pub shutdown: CancellationToken,
}

/// When each share was last confirmed (zero: not in this run), shared with the task that shows it.
type Confirmed = Arc<Mutex<BTreeMap<String, Timestamp>>>;

/// Asks until `shutdown`.
pub(crate) async fn run(setup: Setup) {
    let shutdown = setup.shutdown.clone();
    let mut poller = match Poller::new(setup) {
        Ok(poller) => poller,
        Err(error) => return tracing::error!(%error, "set up the vendor's client"),
    };
    let shown = tokio::spawn(show(Arc::clone(&poller.confirmed), poller.calendar.clone(), shutdown.clone()));
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = poller.work() => {}
    }
    shown.abort();
}

struct Poller {
    setup: Setup,
    client: Bist,
    symbols: Vec<String>,
    calendar: Calendar,
    shares: Shares,
    backoff: Backoff,
    confirmed: Confirmed,
    keyless: Option<String>,
}

impl Poller {
    fn new(setup: Setup) -> Result<Self, spark_exchanges::Error> {
        let config = &setup.config;
        let (symbols, calendar) = (config.resolved(&setup.instruments), config.calendar());
        let client = Bist::new(&config.rest(), None, Arc::clone(&setup.observer))?;
        let shares = Shares::new(
            setup.instruments.clone(),
            calendar.clone(),
            (&config.provider, config.delay_minutes),
            &symbols,
            config.without_limits(&setup.instruments),
        );
        let confirmed = symbols.iter().map(|symbol| (symbol.clone(), Timestamp::ZERO)).collect();
        let backoff = Backoff::new(config.poll_interval(), config.pause_max());
        Ok(Self { client, symbols, calendar, shares, backoff, confirmed: Arc::new(Mutex::new(confirmed)), keyless: None, setup })
    }

    async fn work(&mut self) {
        self.remember().await;
        self.read_key();
        loop {
            self.promise();
            let pause = self.poll().await;
            // The session's own moments are not slept through.
            let until_open = self.calendar.next_open(now()).map_or(pause, |open| open.saturating_since(now()));
            tokio::time::sleep(pause.min(until_open.max(Duration::from_millis(10)))).await;
        }
    }

    /// In continuous trading every share is promised, outside of it none.
    fn promise(&self) {
        let at = now();
        let open = self.calendar.is_open(at);
        self.setup.board.promise(if open { &self.symbols } else { &[] });
        self.setup.board.note("calendar", "year", self.calendar.check(at).err().map(|unknown| unknown.to_string()));
    }

    async fn poll(&mut self) -> Duration {
        let answer = self.client.quotes(&self.symbols).await;
        let received_at = now();
        match answer {
            Ok(rows) => {
                self.backoff.reset();
                self.setup.board.connection(FeedState::Live, self.marks());
                self.take(rows, received_at).await;
                self.interval()
            }
            Err(error) => {
                let mut why = error.to_string();
                if error.error_type == ErrorType::Auth {
                    // A new key may lie in the file by now.
                    self.read_key();
                    why = self.keyless.as_ref().map_or(why.clone(), |keyless| format!("{why}; {keyless}"));
                }
                tracing::warn!(%error, "the vendor of BIST prices");
                self.setup.board.reconnecting(why);
                let pause = self.backoff.pause().max(error.retry_after.unwrap_or_default());
                pause.min(self.setup.config.pause_max().max(error.retry_after.unwrap_or_default()))
            }
        }
    }

    fn interval(&self) -> Duration {
        let config = &self.setup.config;
        if self.calendar.phase_at(now()) == Phase::Closed { config.closed_poll_interval() } else { config.poll_interval() }
    }

    fn read_key(&mut self) {
        match self.setup.config.key() {
            Ok(key) => {
                self.client.set_token(Some(key));
                self.keyless = None;
            }
            Err(what) => {
                tracing::error!(what, "the key of BIST's vendor");
                self.keyless = Some(what);
            }
        }
    }

    /// What is always said of this vendor.
    fn marks(&self) -> Option<String> {
        let delay = self.setup.config.delay_minutes;
        (delay > 0).then(|| format!("{} is delayed by {delay} minutes: snapshots alone", self.setup.config.provider))
    }

    async fn take(&mut self, rows: Vec<Row>, received_at: Timestamp) {
        let mut missing: Vec<String> = self.symbols.clone();
        let mut outcomes = Vec::new();
        for row in rows {
            let judged = match row {
                Ok(quote) => self.shares.take(&quote, received_at),
                Err((symbol, what)) => {
                    let symbol = symbol.and_then(|name| {
                        Some(self.setup.instruments.resolve(Venue::Bist, &name).ok()?.symbol.clone())
                            .filter(|it| missing.contains(it))
                    });
                    Err((symbol, Flaw::Unreadable(what)))
                }
            };
            match judged {
                Ok(outcome) => {
                    missing.retain(|symbol| *symbol != outcome.symbol);
                    self.setup.board.note(&outcome.symbol, "row", None);
                    outcomes.push(outcome);
                }
                Err((symbol, flaw)) => {
                    self.setup.board.rejected_row(symbol.as_deref(), &flaw);
                    missing.retain(|it| Some(it) != symbol.as_ref());
                }
            }
        }
        for symbol in missing {
            self.setup.board.note(&symbol, "row", Some("not in the vendor's answer: was its code changed?".to_owned()));
        }
        let behind = self.shares.behind(received_at);
        let stands = (behind > BEHIND_MAX).then(|| format!("its newest price is {} s behind", behind.as_secs()));
        self.setup.board.note("vendor", "behind", stands.clone());
        for outcome in outcomes {
            self.tell(outcome, received_at, stands.is_none()).await;
        }
        show_age(self.shares.newest(), self.setup.config.delay_minutes, received_at);
    }

    /// Trades, prices, snapshot, in this order: the next run goes on from the trades.
    async fn tell(&mut self, outcome: Outcome, received_at: Timestamp, confirmed: bool) {
        let symbol = outcome.symbol;
        if let Some(trade) = outcome.trade {
            let mut batch = TickBatcher::new(Venue::Bist, &symbol);
            batch.push(&trade);
            if let Some(encoded) = batch.encode("") {
                self.store(&subject::ticks(Venue::Bist, &symbol), TickBatch::KIND, encoded).await;
                self.setup.board.ticks(1);
            }
        }
        if let Some(quote) = outcome.quote.filter(|_| confirmed) {
            let mut batch = QuoteBatcher::new(Venue::Bist, &symbol);
            batch.push(&quote);
            if let Some(encoded) = batch.encode() {
                self.store(&subject::quotes(Venue::Bist, &symbol), spark_bus_schema::market::QuoteBatch::KIND, encoded).await;
                self.setup.board.quotes(1);
            }
        }
        if confirmed {
            self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).insert(symbol.clone(), received_at);
        }
        if let Some(snapshot) = outcome.snapshot.filter(|_| confirmed) {
            let payload = spark_bus_schema::encode(&snapshot);
            let msg_id = format!("feed:bist:{symbol}:s:{}", received_at.as_nanos());
            let target = subject::snapshot(Venue::Bist, &symbol);
            self.store(&target, MarketSnapshot::KIND, Encoded { payload: payload.into(), msg_id, rows: 1 }).await;
            self.shares.told(&symbol, received_at);
        }
    }

    /// Until the broker has it: the id makes a second attempt harmless.
    async fn store(&self, target: &str, kind: spark_bus_schema::codec::Kind, encoded: Encoded) {
        loop {
            let meta = Meta { msg_id: Some(encoded.msg_id.clone()), ..Meta::default() };
            match self.setup.bus.store_kind(target, kind, encoded.payload.clone(), meta).await {
                Ok(_) => return self.setup.board.note("broker", "store", None),
                Err(error) if error.is_transient() => {
                    self.setup.board.note("broker", "store", Some(format!("the broker does not answer: {error}")));
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
                Err(error) => {
                    tracing::error!(subject = target, %error, "store");
                    return self.setup.board.note("broker", "store", Some(format!("the broker refuses: {error}")));
                }
            }
        }
    }

    /// Where an earlier run ended.
    async fn remember(&mut self) {
        for symbol in self.symbols.clone() {
            let snapshot = self.last::<MarketSnapshot>(&subject::snapshot(Venue::Bist, &symbol)).await;
            let ticks = self.last::<TickBatch>(&subject::ticks(Venue::Bist, &symbol)).await;
            let trade = ticks.and_then(|batch| Some((*batch.trade_id.last()?, *batch.received_at.last()?)));
            self.shares.remember(&symbol, snapshot, trade);
        }
    }

    async fn last<T: Message>(&self, target: &str) -> Option<T> {
        loop {
            match self.setup.bus.last(subject::FEED, target).await {
                // One that cannot be read is as none.
                Ok(found) => return found.and_then(|delivery| delivery.decode::<T>().ok()),
                Err(error) => {
                    tracing::warn!(subject = target, %error, "read where the last run ended");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
            }
        }
    }
}

fn show_age(newest: Timestamp, delay_minutes: u32, at: Timestamp) {
    let age = at.saturating_since(newest).as_secs_f64();
    metrics::gauge!("spark_bist_data_age_seconds", "exchange" => "bist").set(age);
    metrics::gauge!("spark_bist_delay_seconds", "exchange" => "bist").set(f64::from(delay_minutes) * 60.0);
}

/// Shows, once a second, how long ago each share was confirmed; 0 outside of continuous trading, where nothing is stale.
async fn show(confirmed: Confirmed, calendar: Calendar, shutdown: CancellationToken) {
    let started_at = now();
    loop {
        let at = now();
        let known = confirmed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let open = calendar.session_of(at).filter(|session| session.open <= at && at < session.close);
        metrics::gauge!("spark_bist_session_open", "exchange" => "bist").set(if open.is_some() { 1.0 } else { 0.0 });
        for (symbol, seen_at) in &known {
            let age = open.map_or(0.0, |session| at.saturating_since((*seen_at).max(session.open).max(started_at)).as_secs_f64());
            let labels = [("exchange", "bist".to_owned()), ("symbol", symbol.clone())];
            metrics::gauge!("spark_bist_staleness_seconds", &labels).set(age);
            if *seen_at > Timestamp::ZERO {
                metrics::gauge!("spark_bist_last_update_ts", &labels).set(seen_at.as_secs_f64());
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(SHOWN_EVERY) => {}
        }
    }
}
