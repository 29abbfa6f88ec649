//! One symbol's best bids and asks on their way to the broker: in order, one publish in flight.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use spark_bus_schema::market::{Quote, QuoteBatch};
use spark_bus_schema::{Message as _, Venue, subject};
use spark_nats::{AppendError, Bus, SubjectWriter};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::batch::QuoteBatcher;
use crate::board::Board;
use crate::history::History;

/// Chunks of quotes between a socket and this task; then the socket is not read.
pub(crate) const CHUNKS_MAX: usize = 64;
/// Quotes that wait for publication; beyond it nothing is taken.
const WAITING_MAX: usize = 65_536;
/// A price that the venue says again after this long is published again: that it still holds is news.
pub(crate) const REPEAT_AFTER: Duration = Duration::from_secs(1);
/// Pause after the broker refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// How long what is waiting may take to reach the broker when the process stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// What the socket's task tells.
#[derive(Debug)]
pub(crate) enum QuoteInput {
    /// Quotes, in order of arrival.
    Quotes(Vec<Quote>),
    /// A connection was made: ask for the best bid/ask of this moment.
    Connected,
}

/// What the task needs.
pub(crate) struct Setup {
    pub bus: Bus,
    pub venue: Venue,
    pub symbol: String,
    pub history: History,
    pub board: Arc<Board>,
    pub shutdown: CancellationToken,
}

enum Done {
    /// At this sequence.
    Stored(u64),
    Conflict,
    Refused(String),
    /// The sequence of the subject's last message was read: is it the one written last?
    Reopened {
        unchanged: bool,
    },
}

/// Publishes one symbol's quotes until its input ends or `shutdown`.
pub(crate) async fn run(setup: Setup, input: mpsc::Receiver<QuoteInput>) {
    let shutdown = setup.shutdown.clone();
    let writer = tokio::select! {
        () = shutdown.cancelled() => return,
        writer = open(&setup) => writer,
    };
    let mut task = Task::new(setup, writer);
    task.work(input).await;
    if tokio::time::timeout(DRAIN_LIMIT, task.drain()).await.is_err() {
        tracing::warn!(symbol = task.setup.symbol, "stopped with quotes unpublished; the next start asks for the newest");
    }
}

async fn open(setup: &Setup) -> SubjectWriter {
    let target = subject::quotes(setup.venue, &setup.symbol);
    loop {
        match SubjectWriter::open(setup.bus.clone(), subject::FEED, target.clone()).await {
            Ok((writer, _)) => return writer,
            Err(error) => {
                tracing::error!(subject = target, %error, "open the subject");
                setup.board.note(&setup.symbol, "quotes", Some(format!("the broker refuses: {error}")));
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

struct Task {
    setup: Setup,
    waiting: VecDeque<Quote>,
    in_flight: Vec<Quote>,
    batcher: QuoteBatcher,
    /// Here while no request to the broker is under way.
    writer: Option<SubjectWriter>,
    publishing: Option<BoxFuture<'static, (SubjectWriter, Done)>>,
    fetching: Option<BoxFuture<'static, Option<Quote>>>,
    /// The newest one taken: repetitions and older ones are left out.
    newest: Option<Quote>,
    /// The newest one that the broker acknowledged, and where.
    stored: Option<(Quote, u64)>,
    verify: bool,
    input_open: bool,
}

impl Task {
    fn new(setup: Setup, writer: SubjectWriter) -> Self {
        setup.board.note(&setup.symbol, "quotes", None);
        Self {
            batcher: QuoteBatcher::new(setup.venue, &setup.symbol),
            setup,
            waiting: VecDeque::new(),
            in_flight: Vec::new(),
            writer: Some(writer),
            publishing: None,
            fetching: None,
            newest: None,
            stored: None,
            verify: false,
            input_open: true,
        }
    }

    async fn work(&mut self, mut input: mpsc::Receiver<QuoteInput>) {
        let shutdown = self.setup.shutdown.clone();
        let mut broker = self.setup.bus.connection();
        while self.input_open {
            self.publish();
            let may_read = self.waiting.len() < WAITING_MAX;
            tokio::select! {
                () = shutdown.cancelled() => return,
                chunk = input.recv(), if may_read => self.take(chunk),
                (writer, done) = poll(&mut self.publishing), if self.publishing.is_some() => self.published(writer, done),
                quote = poll(&mut self.fetching), if self.fetching.is_some() => {
                    self.fetching = None;
                    if let Some(quote) = quote {
                        self.push(quote);
                    }
                }
                Ok(()) = broker.changed() => self.verify |= *broker.borrow_and_update(),
            }
        }
    }

    async fn drain(&mut self) {
        loop {
            self.publish();
            if self.publishing.is_none() {
                return;
            }
            let (writer, done) = poll(&mut self.publishing).await;
            self.published(writer, done);
        }
    }

    fn take(&mut self, chunk: Option<QuoteInput>) {
        match chunk {
            None => self.input_open = false,
            Some(QuoteInput::Quotes(quotes)) => {
                // What a frame says is newer than any answer still to come.
                self.fetching = None;
                for quote in quotes {
                    self.push(quote);
                }
            }
            Some(QuoteInput::Connected) => {
                // Update ids of another connection, or of a venue that began anew, cannot be compared.
                if let Some(newest) = &mut self.newest {
                    newest.update_id = 0;
                }
                let (history, symbol, venue) = (self.setup.history.clone(), self.setup.symbol.clone(), self.setup.venue);
                self.fetching = Some(Box::pin(async move {
                    history
                        .quote(&symbol)
                        .await
                        .inspect_err(|error| tracing::info!(%venue, symbol, %error, "ask for the best bid and ask"))
                        .ok()
                }));
            }
        }
    }

    fn push(&mut self, quote: Quote) {
        if let Some(newest) = &self.newest {
            let older = quote.update_id != 0 && quote.update_id < newest.update_id;
            // A book that moved keeps its id or not; one that says the same again at once says nothing.
            let soon = quote.received_at.saturating_since(newest.received_at) < REPEAT_AFTER;
            let same = soon
                && (quote.bid_price, quote.bid_quantity, quote.ask_price, quote.ask_quantity)
                    == (newest.bid_price, newest.bid_quantity, newest.ask_price, newest.ask_quantity);
            if older || (same && quote.update_id <= newest.update_id) {
                return;
            }
        }
        self.newest = Some(quote);
        self.waiting.push_back(quote);
    }

    fn publish(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        if std::mem::take(&mut self.verify) {
            return self.reopen(writer, Duration::ZERO);
        }
        while let Some(quote) = self.waiting.front() {
            if !self.batcher.push(quote) {
                break;
            }
            self.in_flight.extend(self.waiting.pop_front());
        }
        let Some(encoded) = self.batcher.encode() else {
            self.writer = Some(writer);
            return;
        };
        self.publishing = Some(Box::pin(async move {
            let done = match writer.append(QuoteBatch::KIND, encoded.payload, &encoded.msg_id).await {
                Ok(sequence) => Done::Stored(sequence),
                Err(AppendError::Conflict) => Done::Conflict,
                Err(AppendError::Refused(error)) => Done::Refused(error.to_string()),
            };
            (writer, done)
        }));
    }

    fn reopen(&mut self, mut writer: SubjectWriter, pause: Duration) {
        let written = self.stored.map(|(_, sequence)| sequence);
        self.publishing = Some(Box::pin(async move {
            tokio::time::sleep(pause).await;
            let done = match writer.reopen().await {
                Ok(end) => Done::Reopened { unchanged: end.map(|end| end.sequence) == written },
                Err(error) => Done::Refused(error.to_string()),
            };
            (writer, done)
        }));
    }

    fn published(&mut self, writer: SubjectWriter, done: Done) {
        self.publishing = None;
        match done {
            Done::Stored(sequence) => {
                self.setup.board.quotes(u64::try_from(self.in_flight.len()).unwrap_or(u64::MAX));
                self.stored = self.in_flight.last().map(|quote| (*quote, sequence));
                self.in_flight.clear();
                self.writer = Some(writer);
            }
            Done::Conflict => self.reopen(writer, Duration::ZERO),
            Done::Refused(reason) => {
                tracing::error!(venue = %self.setup.venue, symbol = self.setup.symbol, reason, "the broker refuses");
                self.setup.board.note(&self.setup.symbol, "quotes", Some(format!("the broker refuses: {reason}")));
                self.reopen(writer, REFUSED_PAUSE);
            }
            Done::Reopened { unchanged } => {
                self.setup.board.note(&self.setup.symbol, "quotes", None);
                self.writer = Some(writer);
                self.put_back(unchanged);
            }
        }
    }

    /// What was in flight goes out again; when the broker lost its end, at least the newest one does.
    fn put_back(&mut self, unchanged: bool) {
        for quote in self.in_flight.drain(..).rev() {
            self.waiting.push_front(quote);
        }
        if let (true, false, Some((quote, _))) = (self.waiting.is_empty(), unchanged, self.stored) {
            self.waiting.push_back(quote);
        }
    }
}

async fn poll<T>(request: &mut Option<BoxFuture<'static, T>>) -> T {
    match request {
        Some(request) => request.await,
        None => std::future::pending().await,
    }
}
