//! One symbol's trades on their way from frames to the broker: in order, each once, one publish in flight.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use spark_bus_schema::market::{TickBatch, Trade};
use spark_bus_schema::{Message as _, Venue, subject};
use spark_nats::{AppendError, Bus, Delivery, SubjectWriter};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::batch::{Encoded, TickBatcher};
use crate::board::Board;
use crate::history::{History, Page};
use crate::sequence::{LAG_IDS_MAX, Offer, Order, Sequencer};

/// Chunks of trades between a socket and this task; then the socket is not read.
pub(crate) const CHUNKS_MAX: usize = 64;
/// Shortest and longest pause between two attempts to fetch missing trades.
const FETCH_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));
/// Trades of a venue without consecutive ids wait at most this long for those that came while it was disconnected.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(3);
/// Pause after the broker refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// How long what is waiting may take to reach the broker when the process stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
/// The broker keeps trades far longer than this: what is missing earlier was lost, not dropped by age.
const RETENTION_SURE: Duration = Duration::from_secs(60 * 60);

/// What the socket's task tells.
#[derive(Debug)]
pub(crate) enum TickInput {
    /// Trades, in order of arrival.
    Trades(Vec<Trade>),
    /// A connection was made: trades may have happened without us.
    Connected,
}

/// What the task needs.
pub(crate) struct Setup {
    pub bus: Bus,
    pub venue: Venue,
    pub symbol: String,
    pub history: History,
    pub board: Arc<Board>,
    /// On the first start ever: from the oldest trade that the venue has, instead of from now on.
    pub from_oldest: bool,
    /// Holes wider than this are given up.
    pub fill_trades_max: u64,
    pub shutdown: CancellationToken,
}

/// How a request to the broker ended.
enum Done {
    Stored,
    Conflict,
    Refused(String),
    /// The newest batch that is stored, if any.
    Tail(Option<TickBatch>),
}

/// How a request to the venue ended.
enum Fetched {
    Page {
        from: u64,
        page: Page,
    },
    /// Whether the venue began to count anew.
    Doubt {
        restarted: bool,
    },
    /// The newest id that the venue has, to judge a hole that is too wide.
    Newest(Option<u64>),
    Failed(String),
}

/// Publishes one symbol's trades until its input ends or `shutdown`.
pub(crate) async fn run(setup: Setup, input: mpsc::Receiver<TickInput>) {
    let shutdown = setup.shutdown.clone();
    let opened = tokio::select! {
        () = shutdown.cancelled() => return,
        opened = open(&setup) => opened,
    };
    let mut task = Task::new(setup, opened);
    task.work(input).await;
    if tokio::time::timeout(DRAIN_LIMIT, task.drain()).await.is_err() {
        tracing::warn!(symbol = task.setup.symbol, "stopped with trades unpublished; the next start fetches them");
    }
}

/// Somebody else may write on the subject, and not a batch.
fn batch(delivery: &Delivery) -> Option<TickBatch> {
    delivery.decode().ok()
}

/// Waits for the broker for as long as it takes.
async fn open(setup: &Setup) -> (SubjectWriter, Option<TickBatch>) {
    let target = subject::ticks(setup.venue, &setup.symbol);
    loop {
        let refused = match SubjectWriter::open(setup.bus.clone(), subject::FEED, target.clone()).await {
            Ok((writer, end)) => match setup.bus.newest_usable(end, batch).await {
                Ok(newest) => return (writer, newest),
                Err(error) => error,
            },
            Err(error) => error,
        };
        tracing::error!(subject = target, error = %refused, "open the subject");
        setup.board.note(&setup.symbol, "broker", Some(format!("the broker refuses: {refused}")));
        tokio::time::sleep(REFUSED_PAUSE).await;
    }
}

struct Task {
    setup: Setup,
    sequencer: Sequencer,
    batcher: TickBatcher,
    /// Here while no request to the broker is under way.
    writer: Option<SubjectWriter>,
    publishing: Option<BoxFuture<'static, (SubjectWriter, Done)>>,
    fetching: Option<BoxFuture<'static, Fetched>>,
    backoff: Backoff,
    rows_in_flight: u64,
    /// First trade published by this run, and when.
    first_published: Option<(u64, Instant)>,
    /// Ask the venue for what is newer than the last released trade.
    catch_up: bool,
    /// Look at the end of the subject before the next publish.
    verify: bool,
    /// Start the count anew once everything of the old one is published.
    restart: bool,
    /// The end of the last hole that was counted as missing.
    counted_until: u64,
    /// Tells apart the message ids of a venue that began to count anew.
    run: String,
    input_open: bool,
}

impl Task {
    fn new(setup: Setup, (writer, stored): (SubjectWriter, Option<TickBatch>)) -> Self {
        let order = if setup.venue == Venue::Binance { Order::Contiguous } else { Order::Rising };
        let mut sequencer = Sequencer::new(order);
        setup.board.note(&setup.symbol, "broker", None);
        match stored.as_ref().and_then(|batch| batch.rows().last()) {
            Some(last) => sequencer.start_after(last),
            None if setup.from_oldest && order == Order::Contiguous => sequencer.start_at(1),
            None => {}
        }
        Self {
            batcher: TickBatcher::new(setup.venue, &setup.symbol),
            setup,
            sequencer,
            writer: Some(writer),
            publishing: None,
            fetching: None,
            backoff: Backoff::new(FETCH_PAUSE.0, FETCH_PAUSE.1),
            rows_in_flight: 0,
            first_published: None,
            catch_up: false,
            verify: false,
            restart: false,
            counted_until: 0,
            run: String::new(),
            input_open: true,
        }
    }

    async fn work(&mut self, mut input: mpsc::Receiver<TickInput>) {
        let shutdown = self.setup.shutdown.clone();
        let mut broker = self.setup.bus.connection();
        while self.input_open {
            self.advance();
            let may_read = !self.sequencer.is_full() && !self.must_catch_up_first();
            tokio::select! {
                () = shutdown.cancelled() => return,
                chunk = input.recv(), if may_read => self.take(chunk),
                (writer, done) = poll(&mut self.publishing), if self.publishing.is_some() => self.published(writer, done),
                fetched = poll(&mut self.fetching), if self.fetching.is_some() => self.fetched(fetched),
                Ok(()) = broker.changed() => self.verify |= *broker.borrow_and_update(),
            }
        }
    }

    /// Publishes what is ready; holes stay for the next start.
    async fn drain(&mut self) {
        self.fetching = None;
        loop {
            self.publish();
            if self.publishing.is_none() {
                return;
            }
            let (writer, done) = poll(&mut self.publishing).await;
            self.published(writer, done);
        }
    }

    /// Without consecutive ids, trades that came while disconnected cannot be put in front of newer ones later.
    fn must_catch_up_first(&self) -> bool {
        self.setup.venue != Venue::Binance && (self.catch_up || self.fetching.is_some())
    }

    fn take(&mut self, chunk: Option<TickInput>) {
        match chunk {
            None => self.input_open = false,
            Some(TickInput::Connected) => self.catch_up = self.sequencer.next_id().is_some(),
            Some(TickInput::Trades(trades)) => {
                let old = trades.into_iter().filter(|&trade| self.sequencer.offer(trade) == Offer::Old).count();
                if old > 0 {
                    metrics::counter!("spark_feed_duplicates_total", "exchange" => self.setup.venue.as_str())
                        .increment(u64::try_from(old).unwrap_or(u64::MAX));
                }
                self.look_at_hole();
            }
        }
    }

    /// Counts and shows what is missing.
    fn look_at_hole(&mut self) {
        let Some((from, width)) = self.sequencer.hole() else {
            self.setup.board.filling(&self.setup.symbol, 0);
            return;
        };
        if width > self.setup.fill_trades_max || self.sequencer.is_first_start() {
            return;
        }
        let until = from + width;
        let fresh = until - from.max(self.counted_until.min(until));
        if fresh > 0 {
            self.counted_until = until;
            self.setup.board.missing(fresh);
            tracing::warn!(venue = %self.setup.venue, symbol = self.setup.symbol, from, missing = width, "trades are missing");
        }
        self.setup.board.filling(&self.setup.symbol, width);
    }

    /// A hole wider than may be filled: real when the venue has ids up there, garbage otherwise.
    fn judge_wide_hole(&mut self, newest: Option<u64>) {
        let Some((from, width)) = self.sequencer.hole() else { return };
        let known = newest.unwrap_or(0).saturating_add(LAG_IDS_MAX);
        if from.saturating_add(width) > known {
            let count = self.sequencer.drop_beyond(known);
            tracing::error!(symbol = self.setup.symbol, count, "trades with impossible ids dropped");
        } else {
            let lost = self.sequencer.skip_hole();
            self.setup.board.missing(lost);
            self.lost(from, lost, "more than fill_trades_max");
        }
        self.look_at_hole();
    }

    fn lost(&self, from: u64, count: u64, why: &str) {
        let to = from + count.saturating_sub(1);
        tracing::error!(venue = %self.setup.venue, symbol = self.setup.symbol, from, to, why, "trades are lost for good");
        self.setup.board.note(&self.setup.symbol, "gap", Some(format!("trades {from}..={to} are lost for good ({why})")));
    }

    /// Starts what can be started.
    fn advance(&mut self) {
        self.publish();
        if self.fetching.is_some() || self.restart {
            return;
        }
        let too_wide = self.sequencer.hole().is_some_and(|(_, width)| width > self.setup.fill_trades_max);
        if self.sequencer.is_in_doubt() {
            self.ask_newest(Duration::ZERO);
        } else if too_wide && !self.sequencer.is_first_start() {
            self.ask_newest_id(Duration::ZERO);
        } else if self.catch_up || self.sequencer.hole().is_some() {
            self.catch_up = false;
            if let Some(from) = self.sequencer.next_id() {
                self.fetch(from, Duration::ZERO);
            }
        }
    }

    fn fetch(&mut self, from: u64, pause: Duration) {
        let (history, symbol) = (self.setup.history.clone(), self.setup.symbol.clone());
        let limit = if self.setup.venue == Venue::Binance { Duration::MAX } else { CATCH_UP_LIMIT };
        self.fetching = Some(Box::pin(async move {
            tokio::time::sleep(pause).await;
            match tokio::time::timeout(limit, history.page(&symbol, from)).await {
                Ok(Ok(page)) => Fetched::Page { from, page },
                Ok(Err(error)) => Fetched::Failed(error.to_string()),
                Err(_) => Fetched::Failed(format!("no answer within {} s", limit.as_secs())),
            }
        }));
    }

    fn ask_newest_id(&mut self, pause: Duration) {
        let (history, symbol) = (self.setup.history.clone(), self.setup.symbol.clone());
        self.fetching = Some(Box::pin(async move {
            tokio::time::sleep(pause).await;
            match history.newest(&symbol).await {
                Ok(newest) => Fetched::Newest(newest.map(|newest| newest.trade_id)),
                Err(error) => Fetched::Failed(error.to_string()),
            }
        }));
    }

    fn ask_newest(&mut self, pause: Duration) {
        let Some(last) = self.sequencer.last_released().copied() else { return self.sequencer.doubt_resolved() };
        let (history, symbol) = (self.setup.history.clone(), self.setup.symbol.clone());
        self.fetching = Some(Box::pin(async move {
            tokio::time::sleep(pause).await;
            match history.newest(&symbol).await {
                Ok(newest) => Fetched::Doubt {
                    restarted: newest
                        .is_some_and(|newest| newest.trade_id < last.trade_id && newest.occurred_at > last.occurred_at),
                },
                Err(error) => Fetched::Failed(error.to_string()),
            }
        }));
    }

    fn fetched(&mut self, fetched: Fetched) {
        self.fetching = None;
        match fetched {
            Fetched::Page { from, page } => self.page(from, &page),
            Fetched::Doubt { restarted: false } => self.sequencer.doubt_resolved(),
            Fetched::Doubt { restarted: true } => self.restart = true,
            Fetched::Newest(newest) => self.judge_wide_hole(newest),
            Fetched::Failed(reason) => {
                tracing::warn!(venue = %self.setup.venue, symbol = self.setup.symbol, reason, "fetch missing trades");
                self.setup.board.note(&self.setup.symbol, "rest", Some(format!("missing trades cannot be fetched: {reason}")));
                if self.setup.venue == Venue::Binance {
                    self.fetch_again();
                }
            }
        }
    }

    /// What failed, after a pause, or what has become more urgent since.
    fn fetch_again(&mut self) {
        let pause = self.backoff.pause();
        let too_wide = self.sequencer.hole().is_some_and(|(_, width)| width > self.setup.fill_trades_max);
        if self.sequencer.is_in_doubt() {
            self.ask_newest(pause);
        } else if too_wide && !self.sequencer.is_first_start() {
            self.ask_newest_id(pause);
        } else if let Some(from) = self.sequencer.next_id() {
            self.fetch(from, pause);
        }
    }

    fn page(&mut self, from: u64, page: &Page) {
        let board = Arc::clone(&self.setup.board);
        board.note(&self.setup.symbol, "rest", None);
        let before = self.sequencer.next_id();
        let first = self.sequencer.last_released().is_none();
        let oldest = page.trades.first().map(|trade| trade.trade_id);
        // What no frame had shown to be missing is counted now, so that missing and filled agree.
        let fresh = |trade: &&Trade| trade.trade_id >= self.counted_until && self.sequencer.is_missing(trade.trade_id);
        let uncounted = page.trades.iter().filter(fresh).count();
        let answer = self.sequencer.answer(from, &page.trades, page.complete);
        if answer.filled > 0 {
            board.filled(answer.filled);
            let last = page.trades.last().map_or(from, |trade| trade.trade_id);
            board.missing(u64::try_from(uncounted).unwrap_or(u64::MAX));
            self.counted_until = self.counted_until.max(last.saturating_add(1));
            tracing::info!(venue = %self.setup.venue, symbol = self.setup.symbol, from, filled = answer.filled, "trades fetched");
        }
        if answer.lost > 0 {
            self.lost(from, answer.lost, "the exchange does not have them");
        }
        if answer.garbage > 0 {
            tracing::error!(symbol = self.setup.symbol, count = answer.garbage, "trades with impossible ids dropped");
        }
        if self.setup.venue != Venue::Binance {
            if !first && oldest.is_some_and(|oldest| Some(oldest) > before) {
                let text = "more trades happened while disconnected than the exchange gives afterwards".to_owned();
                tracing::error!(venue = %self.setup.venue, symbol = self.setup.symbol, "{text}");
                board.note(&self.setup.symbol, "gap", Some(text));
            }
            return;
        }
        self.look_at_hole();
        let Some(next) = self.sequencer.next_id() else { return };
        if before.is_some_and(|before| next > before) {
            self.backoff.reset();
            if !page.complete || self.sequencer.hole().is_some() {
                self.fetch(next, Duration::ZERO);
            }
        } else if self.sequencer.hole().is_some() || (!page.complete && page.trades.is_empty()) || self.denied(next, page) {
            let pause = self.backoff.pause();
            self.fetch(next, pause);
        } else {
            self.backoff.reset();
        }
    }

    /// Whether the answer began behind what was asked for, and is to be confirmed.
    fn denied(&self, next: u64, page: &Page) -> bool {
        page.trades.first().is_some_and(|first| first.trade_id > next)
    }

    /// Starts the next request to the broker, if none is under way.
    fn publish(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        if std::mem::take(&mut self.verify) {
            return self.look_at_end(writer, Duration::ZERO);
        }
        if self.restart && self.sequencer.ready_len() == 0 {
            self.start_anew();
        }
        let batcher = &mut self.batcher;
        let mut first = None;
        self.sequencer.hand_over(|trade| {
            first = first.or(Some(trade.trade_id));
            batcher.push(trade)
        });
        let Some(Encoded { payload, msg_id, rows }) = self.batcher.encode(&self.run) else {
            self.writer = Some(writer);
            return;
        };
        if let (None, Some(first)) = (self.first_published, first) {
            self.first_published = Some((first, Instant::now()));
        }
        self.rows_in_flight = u64::try_from(rows).unwrap_or(u64::MAX);
        self.publishing = Some(Box::pin(async move {
            let done = match writer.append(TickBatch::KIND, payload, &msg_id).await {
                Ok(_) => Done::Stored,
                Err(AppendError::Conflict) => Done::Conflict,
                Err(AppendError::Refused(error)) => Done::Refused(error.to_string()),
            };
            (writer, done)
        }));
    }

    fn start_anew(&mut self) {
        self.restart = false;
        let given_up = self.sequencer.restart();
        self.run = format!(":r{}", spark_nats::now().as_millis());
        self.counted_until = 0;
        self.first_published = None;
        tracing::warn!(venue = %self.setup.venue, symbol = self.setup.symbol, given_up, "the exchange counts its trades anew");
        self.setup.board.note(&self.setup.symbol, "anew", Some("the exchange began to count its trades anew".to_owned()));
    }

    fn look_at_end(&mut self, mut writer: SubjectWriter, pause: Duration) {
        let bus = self.setup.bus.clone();
        self.publishing = Some(Box::pin(async move {
            tokio::time::sleep(pause).await;
            let tail = match writer.reopen().await {
                Ok(end) => bus.newest_usable(end, batch).await,
                Err(error) => Err(error),
            };
            let done = tail.map_or_else(|error| Done::Refused(error.to_string()), Done::Tail);
            (writer, done)
        }));
    }

    fn published(&mut self, writer: SubjectWriter, done: Done) {
        self.publishing = None;
        match done {
            Done::Stored => {
                self.setup.board.ticks(std::mem::take(&mut self.rows_in_flight));
                self.writer = Some(writer);
            }
            Done::Conflict => self.look_at_end(writer, Duration::ZERO),
            Done::Refused(reason) => {
                tracing::error!(venue = %self.setup.venue, symbol = self.setup.symbol, reason, "the broker refuses");
                self.setup.board.note(&self.setup.symbol, "broker", Some(format!("the broker refuses: {reason}")));
                // Whether or not the batch in flight was stored: the end of the subject tells.
                self.look_at_end(writer, REFUSED_PAUSE);
            }
            Done::Tail(batch) => {
                self.setup.board.note(&self.setup.symbol, "broker", None);
                self.writer = Some(writer);
                self.rows_in_flight = 0;
                self.go_on_behind(batch.and_then(|batch| batch.trade_id.last().copied()));
            }
        }
    }

    /// The broker's newest trade is `stored`, whatever was given to it.
    fn go_on_behind(&mut self, stored: Option<u64>) {
        let stored = stored.or_else(|| {
            // Nothing is stored at all. What this run published within the last hour was not dropped by age.
            let (first, at) = self.first_published?;
            let oldest = if at.elapsed() < RETENTION_SURE { first } else { self.sequencer.oldest_recent()? };
            Some(oldest.saturating_sub(1))
        });
        let Some(stored) = stored else { return };
        let before = self.sequencer.next_id();
        self.sequencer.rewind(stored);
        if self.sequencer.next_id() != before {
            tracing::warn!(venue = %self.setup.venue, symbol = self.setup.symbol, stored, "going on behind the broker's last trade");
            self.counted_until = self.counted_until.min(stored.saturating_add(1));
            self.catch_up = true;
            self.look_at_hole();
        }
    }
}

/// Waits for a request that is under way; for ever when there is none.
async fn poll<T>(request: &mut Option<BoxFuture<'static, T>>) -> T {
    match request {
        Some(request) => request.await,
        None => std::future::pending().await,
    }
}
