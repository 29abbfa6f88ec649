//! The loop: messages, answers and time go into the core, what it decides goes out. One task owns everything.

mod append;
mod audit;
mod inbox;
mod state;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rust_decimal::Decimal;
use spark_bus_schema::market::{Quote, QuoteBatch};
use spark_bus_schema::orders::{OrderId, TradingMode};
use spark_bus_schema::telemetry::ProcessState;
use spark_bus_schema::{InstrumentTable, Venue, subject};
use spark_nats::{Bus, Cursor, Delivery, Follower, Lease, Service, Start, now};
use tokio::sync::{mpsc, watch};

use self::append::Done;
use self::audit::Watch;
use self::state::{Saved, Store};
use crate::Error;
use crate::config::{Config, EXCHANGES};
use crate::live::{Gate, Heard, Live};
use crate::machine::{Action, Core, Event, VenueRules};
use crate::paper::market::RECORD_AGE_MAX;
use crate::paper::{Account, Desk};
use crate::telemetry::{self, CallQueue};

/// Events on their way to the LEDGER at once; then what was read of it waits.
const APPENDS_MAX: usize = 128;
/// Messages of the LEDGER that may wait; then nothing more is read.
const INBOX_MAX: usize = 2_048;
/// Messages taken in one after the other before the rest gets its turn.
const INBOX_AT_ONCE: usize = 64;
/// Answers that may wait for the loop.
const HEARD_MAX: usize = 4_096;
/// Answers taken in one after the other before the rest gets its turn.
const HEARD_AT_ONCE: usize = 64;
/// What is read of the LEDGER.
const SUBJECTS: &[&str] = &[
    subject::VERDICTS,
    subject::ORDER_EVENTS,
    subject::ORDERS_EPOCH,
    subject::RECONCILIATIONS,
    subject::INSTRUMENTS,
    subject::KILL_SWITCH,
    subject::CANCELS,
    subject::RESUME,
    subject::REGISTRY,
    subject::BREAKER,
    subject::AUDIT_VERIFIED,
    subject::AUDIT_DAMAGE,
];
/// The state is saved at most this often, and no more than one part in so many of the time goes into it: orders wait
/// meanwhile. The disk is written on a thread of its own.
const SAVE_EVERY: Duration = Duration::from_millis(500);
const SAVE_SHARE: u32 = 200;
/// An auditor that has said nothing for this long is missed.
const AUDITOR_WAIT: Duration = Duration::from_secs(1);
/// What is then shown.
const NO_AUDITOR: &str =
    "waiting for the LEDGER to be read and for the auditor to compare it with its chain: nothing is sent before that";
/// Gauges and looks that are due are seen to this often.
const HOUSEKEEPING: Duration = Duration::from_millis(20);
/// Paper orders wait this long for the quotes that are stored already, at most.
const QUOTES_WAIT_MAX: Duration = Duration::from_secs(2);

/// Everything the loop owns.
pub(crate) struct Engine<'a> {
    service: &'a Service,
    config: &'a Config,
    instruments: &'a InstrumentTable,
    bus: Bus,
    lease: Arc<Lease>,
    core: Core,
    lives: BTreeMap<Venue, Live>,
    stops: BTreeMap<Venue, watch::Sender<bool>>,
    watches: BTreeMap<Venue, Watch>,
    pending: FuturesUnordered<BoxFuture<'static, Done>>,
    heard: mpsc::Receiver<Heard>,
    saved: Saved,
    store: Store,
    cursor: Option<Cursor>,
    saved_at: Instant,
    saving_took: Duration,
    changed: bool,
    started: bool,
    began_at: Instant,
    /// Quotes stored so far have been read.
    quotes_read: bool,
    /// Read of the LEDGER and not taken in yet.
    inbox: VecDeque<Delivery>,
    /// LEDGER sequence of a kill switch that has been seen in the inbox: nothing leaves before it has been taken in.
    kill_ahead: u64,
    /// LEDGER sequence of our newest event.
    newest: u64,
    /// Newest quotes, by exchange and symbol.
    tops: HashMap<(Venue, String), Quote>,
    /// Filled paper orders to be settled.
    settling: VecDeque<OrderId>,
    fills: Arc<AtomicU64>,
    illegal: Arc<AtomicU64>,
    halted: Arc<AtomicU64>,
    actions: Vec<Action>,
}

/// Runs until the service is told to stop or another holder takes over.
pub(crate) async fn run(service: &Service, config: &Config, instruments: &InstrumentTable, lease: Lease) -> Result<(), Error> {
    let lease = Arc::new(lease);
    let outcome = {
        let mut engine = Engine::new(service, config, instruments, Arc::clone(&lease)).await?;
        let outcome = tokio::select! {
            () = service.shutdown.cancelled() => Ok(()),
            () = lease.lost() => Err(Error::Bus(spark_nats::Error::Fenced { process: service.name.to_owned() })),
            outcome = engine.run() => outcome,
        };
        match outcome {
            Ok(()) => engine.finish().await,
            failed => failed,
        }
    };
    // Tasks that still hold it only wait for answers; without a release a standby takes over when the lease has run out.
    if outcome.is_ok()
        && let Ok(lease) = Arc::try_unwrap(lease)
    {
        lease.release().await;
    }
    outcome
}

impl<'a> Engine<'a> {
    async fn new(
        service: &'a Service,
        config: &'a Config,
        instruments: &'a InstrumentTable,
        lease: Arc<Lease>,
    ) -> Result<Self, Error> {
        let (store, mut saved, cursor) = Store::open(service).await?;
        let (events, heard) = mpsc::channel(HEARD_MAX);
        let (queue, calls) = CallQueue::new(service);
        tokio::spawn(telemetry::publish(service.bus.clone(), calls));
        let (mut lives, mut stops, mut watches) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for venue in EXCHANGES.into_iter().filter(|venue| config.exchange(*venue).enabled) {
            let section = config.exchange(venue);
            let (stop, stopped) = watch::channel(true);
            let gate = (section.mode == TradingMode::Live).then(|| Gate { lease: Arc::clone(&lease), stopped });
            let live = Live::new(venue, section, &queue, gate, events.clone())
                .map_err(|source| Error::Client { exchange: venue, source })?;
            lives.insert(venue, live);
            stops.insert(venue, stop);
            watches.insert(venue, Watch::new(section.mode));
        }
        let window = lives.values().map(Live::window).max().unwrap_or_default();
        let rules = |venue: Venue| {
            let section = config.exchange(venue);
            (venue, VenueRules { mode: section.mode, latency: Duration::from_millis(section.latency_ms) })
        };
        let core = Core::new(
            config.pauses(window),
            lives.keys().map(|venue| rules(*venue)),
            std::mem::take(&mut saved.ledger),
            instruments,
        );
        Ok(Self {
            service,
            config,
            instruments,
            bus: service.bus.clone(),
            lease,
            core,
            lives,
            stops,
            watches,
            pending: FuturesUnordered::new(),
            heard,
            saved,
            store,
            cursor,
            saved_at: Instant::now(),
            saving_took: Duration::ZERO,
            changed: false,
            started: false,
            began_at: Instant::now(),
            quotes_read: false,
            inbox: VecDeque::new(),
            kill_ahead: 0,
            newest: 0,
            tops: HashMap::new(),
            settling: VecDeque::new(),
            fills: service.status.counter("spark_order_fill_total"),
            illegal: service.status.counter("spark_order_illegal_transition_total"),
            halted: service.status.counter("spark_trading_halted_exchanges"),
            actions: Vec::new(),
        })
    }

    async fn run(&mut self) -> Result<(), Error> {
        let start = self.cursor.map_or(Start::Beginning, Start::After);
        let subjects = SUBJECTS.iter().map(|&subject| subject.to_owned()).collect();
        let mut ledger = Follower::start(self.bus.clone(), self.service.name, subject::LEDGER, subjects, start);
        // Heartbeats say how far FEED has been read when nobody quotes.
        let quotes = vec![subject::QUOTES.to_owned(), subject::HEARTBEATS.to_owned()];
        let since = Start::Since(now() - RECORD_AGE_MAX);
        let mut feed = Follower::start(self.bus.clone(), self.service.name, subject::FEED, quotes, since);
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let may_take = !self.inbox.is_empty() && self.core.appends_in_flight() < APPENDS_MAX;
            let timer = self.until_timer();
            tokio::select! {
                biased;
                done = self.pending.next(), if !self.pending.is_empty() => {
                    if let Some(done) = done {
                        self.done(done)?;
                    }
                }
                heard = self.heard.recv() => self.hear(heard),
                () = tokio::time::sleep(timer) => self.apply(Event::Tick),
                _ = housekeeping.tick() => {
                    self.quotes_read |= feed.is_caught_up();
                    self.keep_house()?;
                }
                batch = ledger.next(), if self.inbox.len() < INBOX_MAX => {
                    self.receive(batch.ok_or(Error::Ended("the reader of the LEDGER"))?);
                }
                () = std::future::ready(()), if may_take => self.take_some().await?,
                batch = feed.next() => self.quotes(&batch.ok_or(Error::Ended("the reader of the FEED"))?),
            }
        }
    }

    /// Everything that was decided is stored and has been read back.
    fn is_quiet(&self) -> bool {
        self.core.appends_in_flight() == 0 && self.cursor.is_some_and(|cursor| cursor.sequence >= self.newest)
    }

    fn until_timer(&self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(60);
        self.core.next_timer().map_or(LONGEST, |at| at.saturating_since(now()).min(LONGEST))
    }

    /// Takes in one event and does what follows.
    fn apply(&mut self, event: Event) {
        self.core.apply(now(), event, &mut self.actions);
        self.act();
    }

    fn act(&mut self) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Append { last, event } => self.append(last, *event),
                Action::Send(terms) => {
                    let ask = self.fresh_ask(terms.exchange, &terms.symbol);
                    if let Some(live) = self.lives.get(&terms.exchange) {
                        live.send(terms, ask);
                    }
                }
                Action::Cancel(terms, id) => {
                    if let Some(live) = self.lives.get(&terms.exchange) {
                        live.cancel(terms, id);
                    }
                }
                Action::Ask(terms, id) => {
                    if let Some(live) = self.lives.get(&terms.exchange) {
                        live.ask(terms, id);
                    }
                }
                Action::Reconcile(venue, occasion) => {
                    if let Some(watch) = self.watches.get_mut(&venue) {
                        watch.ask(occasion);
                    }
                }
                Action::Illegal(order, what) => {
                    self.illegal.fetch_add(1, Ordering::Relaxed);
                    metrics::counter!("spark_order_illegal_transition_total").increment(1);
                    tracing::error!(order = %order, what, "refused: it cannot be");
                }
            }
        }
        self.actions = actions;
    }

    fn hear(&mut self, first: Option<Heard>) {
        let mut next = first;
        for _ in 0..HEARD_AT_ONCE {
            let Some(heard) = next else { return };
            self.hear_one(heard);
            next = self.heard.try_recv().ok();
        }
        if let Some(heard) = next {
            self.hear_one(heard);
        }
    }

    fn hear_one(&mut self, heard: Heard) {
        match heard {
            Heard::Core(Event::Told(order, report)) => self.told(order, report),
            Heard::Core(Event::Unusable(venue, reason)) => self.key_checked(venue, reason),
            Heard::Core(event) => self.apply(event),
            Heard::ByExchangeId(venue, id, report) => match (self.core.by_exchange_id(venue, &id), report) {
                (Some(order), Some(report)) => self.apply(Event::Told(order, report)),
                (Some(order), None) => self.apply(Event::Doubt(order)),
                // Its answer may still be on its way; a comparison finds out.
                (None, Some(_)) => self.ask_to_compare(venue, "user_data"),
                (None, None) => {}
            },
            Heard::Foreign(venue) => self.ask_to_compare(venue, "orphan"),
            Heard::Snapshot(venue, snapshot) => self.compare(venue, *snapshot),
            Heard::Filters(venue, filters) => self.filters(venue, filters),
        }
    }

    fn ask_to_compare(&mut self, venue: Venue, occasion: &'static str) {
        if let Some(watch) = self.watches.get_mut(&venue) {
            watch.ask(occasion);
        }
    }

    fn quotes(&mut self, batch: &[Delivery]) {
        for delivery in batch {
            if subject::matches(subject::QUOTES, &delivery.subject) {
                self.quote(delivery);
            }
            self.core.feed_read(delivery.stored_at, now(), &mut self.actions);
            self.act();
        }
    }

    fn quote(&mut self, delivery: &Delivery) {
        let Ok(quotes) = delivery.decode::<QuoteBatch>() else {
            // Whoever needs quotes to be whole parks it; here the next one comes in a moment.
            tracing::debug!(subject = delivery.subject, "a quote that cannot be read");
            return;
        };
        if !self.lives.contains_key(&quotes.venue) {
            return;
        }
        let Some(last) = quotes.last() else { return };
        self.core.quotes(&quotes, delivery.stored_at, now(), &mut self.actions);
        self.tops.insert((quotes.venue, quotes.symbol), last);
    }

    /// Reads the last quote of each symbol that nobody has quoted since the beginning of the record.
    async fn quiet_symbols(&mut self) -> Result<(), Error> {
        let paper = self.lives.keys().filter(|venue| self.config.exchange(**venue).mode == TradingMode::Paper);
        for row in paper.flat_map(|venue| self.instruments.at(*venue)) {
            if self.core.has_quote(row.venue, &row.symbol) {
                continue;
            }
            let last = self.bus.last(subject::FEED, &subject::quotes(row.venue, &row.symbol)).await?;
            let Some((delivery, quotes)) = last.and_then(|last| Some((last.stored_at, last.decode::<QuoteBatch>().ok()?))) else {
                continue;
            };
            self.core.quotes_ahead(&quotes, delivery, now(), &mut self.actions);
        }
        Ok(())
    }

    /// Paper orders can be filled: the quotes that are there have been read.
    fn are_quotes_read(&self) -> bool {
        self.quotes_read || self.began_at.elapsed() >= QUOTES_WAIT_MAX
    }

    fn fresh_ask(&self, venue: Venue, symbol: &str) -> Option<Decimal> {
        let quote = self.tops.get(&(venue, symbol.to_owned()))?;
        let age_max = Duration::from_millis(self.config.quote_age_ms_max);
        (now().saturating_since(quote.received_at) <= age_max).then(|| quote.ask_price.to_decimal())
    }

    /// Everything up to our epoch has been read, and the auditor has compared the LEDGER since: begin. If it is damaged we
    /// know that by now, and whatever was approved before is not sent.
    fn begin(&mut self) {
        self.started = true;
        self.began_at = Instant::now();
        let venues: Vec<Venue> = self.lives.keys().copied().collect();
        for venue in venues {
            match self.config.exchange(venue).mode {
                TradingMode::Paper => self.core.set_desk(venue, self.desk(venue)),
                TradingMode::Live => self.begin_live(venue),
            }
        }
        self.apply(Event::Start);
        self.set_stops();
        tracing::info!(orders = self.core.works().count(), epoch = self.lease.epoch(), "began");
    }

    /// A paper exchange as its account follows from the LEDGER.
    fn desk(&self, venue: Venue) -> Desk {
        let section = self.config.exchange(venue);
        let mut totals = section.balances.clone();
        let moved = self.core.ledger().account(venue, TradingMode::Paper);
        for (asset, change) in moved.into_iter().flat_map(|moved| &moved.changes) {
            let total = totals.entry(asset.clone()).or_default();
            *total = spark_ledger::money::add(*total, *change).unwrap_or(*total);
        }
        let positions = self.core.ledger().book.totals_in(venue, TradingMode::Paper);
        Desk::new(
            venue,
            section.fees(venue),
            Duration::from_millis(self.config.quote_age_ms_max),
            Account::new(totals),
            positions.map(|(symbol, position)| (symbol.to_owned(), position.clone())).collect(),
            self.instruments.at(venue).cloned(),
        )
    }

    fn begin_live(&mut self, venue: Venue) {
        let section = self.config.exchange(venue);
        let Some(live) = self.lives.get(&venue) else { return };
        match section.keys(venue).load() {
            Ok(key) => {
                live.trading.set_key(Some(key));
                live.listen(section.user_data.clone());
                let (trading, events) = (Arc::clone(&live.trading), live.events());
                tokio::spawn(audit::check_key(venue, trading, events));
            }
            Err(problem) => {
                let reason = format!("no trading key for {venue}: {problem}; {}", section.keys(venue));
                tracing::error!(exchange = %venue, reason, "the exchange is live and cannot be traded on");
                self.apply(Event::Unusable(venue, Some(reason)));
            }
        }
    }

    /// Shuts or opens the gates as the core says.
    fn set_stops(&mut self) {
        let is_kill_ahead = self.cursor.is_none_or(|cursor| cursor.sequence < self.kill_ahead);
        for (venue, stop) in &self.stops {
            let stopped = is_kill_ahead || !self.started || self.core.is_stopped(*venue);
            stop.send_if_modified(|was| std::mem::replace(was, stopped) != stopped);
        }
    }

    fn keep_house(&mut self) -> Result<(), Error> {
        if self.started {
            self.look_after();
            self.settle_some();
            self.measure();
        } else if self.began_at.elapsed() >= AUDITOR_WAIT {
            self.service.status.set(ProcessState::Degraded, Some(NO_AUDITOR.to_owned()));
        }
        let pause = SAVE_EVERY.max(self.saving_took * SAVE_SHARE);
        if self.changed && self.saved_at.elapsed() >= pause {
            self.save()?;
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges")]
    fn measure(&self) {
        let (mut open, mut unknown) = (0_u64, 0_u64);
        for work in self.core.works().filter(|work| !work.facts.is_final()) {
            open += 1;
            unknown += u64::from(work.is_unresolved());
        }
        metrics::gauge!("spark_orders_open").set(open as f64);
        metrics::gauge!("spark_orders_unknown").set(unknown as f64);
        let halted = self.lives.keys().filter(|venue| self.core.is_halted(**venue)).count();
        metrics::gauge!("spark_trading_halted_exchanges").set(halted as f64);
        self.halted.store(halted as u64, Ordering::Relaxed);
        let stopped: Vec<String> =
            self.lives.keys().filter_map(|venue| Some(format!("{venue}: {}", self.core.stopped(*venue)?))).collect();
        let state = if stopped.is_empty() { ProcessState::Running } else { ProcessState::Degraded };
        self.service.status.set(state, (!stopped.is_empty()).then(|| stopped.join("; ")));
    }

    fn save(&mut self) -> Result<(), Error> {
        let Some(cursor) = self.cursor else { return Ok(()) };
        let began = Instant::now();
        if !self.store.is_idle()? {
            return Ok(());
        }
        self.store.begin(self.core.ledger(), &self.saved, cursor)?;
        self.saving_took = began.elapsed();
        self.saved_at = Instant::now();
        self.changed = false;
        Ok(())
    }

    async fn finish(self) -> Result<(), Error> {
        let Some(cursor) = self.cursor else { return Ok(()) };
        self.store.finish(self.core.ledger(), &self.saved, cursor).await
    }
}
