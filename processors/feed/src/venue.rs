//! One venue: connects, subscribes, hands frames to the symbols' tasks, and connects again, for ever.

use std::sync::Arc;
use std::time::Duration;

use spark_bus_schema::market::{Quote, Trade};
use spark_bus_schema::telemetry::FeedState;
use spark_bus_schema::{Timestamp, Venue};
use spark_nats::{Bus, now};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::board::Board;
use crate::config::VenueConfig;
use crate::connection::{CHUNK_FRAMES, End, Socket};
use crate::frame::{FrameError, SymbolIndex, Update};
use crate::history::History;
use crate::quotes::{self, QuoteInput};
use crate::ticks::{self, TickInput};

/// A connection that lived this long was a good one: the next attempt is quick again.
const GOOD_AFTER: Duration = Duration::from_secs(30);
/// A subscription without data is asked for again this often per connection.
const RESUBSCRIBE_MAX: u32 = 3;

/// What a frame asks for.
pub(crate) enum Reaction {
    /// Nothing.
    None,
    /// Commands to send.
    Send(Vec<String>),
    /// A new connection, at once.
    Reconnect,
}

/// The two subscriptions of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Trades,
    Quotes,
}

/// How a venue speaks.
pub(crate) trait Protocol: Send {
    /// Where to connect.
    fn url(&self) -> String;
    /// Commands of a fresh connection; forgets what belonged to the last one.
    fn subscribe(&mut self) -> Vec<String>;
    /// Commands that ask for one subscription again.
    fn resubscribe(&mut self, symbol: SymbolIndex, channel: Channel) -> Vec<String>;
    /// Least time between two commands.
    fn command_pause(&self) -> Duration;
    /// Reads one frame; updates go to `sink`.
    ///
    /// # Errors
    /// The frame, or a part of it, is refused; what came before that part is in `sink`.
    fn frame(&mut self, frame: &[u8], received_at: Timestamp, sink: &mut Sink) -> Result<Reaction, FrameError>;
}

/// Where parsed updates go: columns per symbol, and what was heard at all.
pub(crate) struct Sink {
    trades: Vec<Vec<Trade>>,
    quotes: Vec<Vec<Quote>>,
    heard: Vec<[bool; 2]>,
    silent: usize,
}

impl Sink {
    pub fn new(symbols: usize) -> Self {
        Self {
            trades: vec![Vec::new(); symbols],
            quotes: vec![Vec::new(); symbols],
            heard: vec![[false; 2]; symbols],
            silent: symbols * 2,
        }
    }

    /// Takes an update of a symbol.
    pub fn push(&mut self, symbol: SymbolIndex, update: Update) {
        match update {
            Update::Trade(trade) => {
                self.heard(symbol, Channel::Trades);
                self.trades[symbol].push(trade);
            }
            Update::Quote(quote) => {
                self.heard(symbol, Channel::Quotes);
                self.quotes[symbol].push(quote);
            }
        }
    }

    /// Something came on a subscription, even if it changed nothing.
    pub fn heard(&mut self, symbol: SymbolIndex, channel: Channel) {
        let heard = &mut self.heard[symbol][channel as usize];
        self.silent -= usize::from(!std::mem::replace(heard, true));
    }

    fn forget(&mut self) {
        self.heard.fill([false; 2]);
        self.silent = self.heard.len() * 2;
    }

    fn is_silent(&self, symbol: SymbolIndex, channel: Channel) -> bool {
        !self.heard[symbol][channel as usize]
    }

    /// For tests of protocols.
    #[cfg(test)]
    pub fn taken(&mut self, symbol: SymbolIndex) -> (Vec<Trade>, Vec<Quote>) {
        (std::mem::take(&mut self.trades[symbol]), std::mem::take(&mut self.quotes[symbol]))
    }
}

/// What a venue's task needs.
pub(crate) struct Setup {
    pub bus: Bus,
    pub venue: Venue,
    pub config: VenueConfig,
    pub symbols: Vec<String>,
    pub history: History,
    pub board: Arc<Board>,
    pub shutdown: CancellationToken,
}

struct Symbol {
    name: String,
    ticks: mpsc::Sender<TickInput>,
    quotes: mpsc::Sender<QuoteInput>,
}

/// Runs one venue until `shutdown`, or until one of its tasks died, which is a defect that a fresh start may cure.
pub(crate) async fn run(setup: Setup, mut protocol: impl Protocol) {
    let mut tasks = JoinSet::new();
    let symbols = setup.symbols.iter().map(|name| start(&setup, name, &mut tasks)).collect();
    let mut venue = VenueTask { sink: Sink::new(setup.symbols.len()), frames: Vec::with_capacity(CHUNK_FRAMES), symbols, setup };
    let board = Arc::clone(&venue.setup.board);
    let config = venue.setup.config.clone();
    let mut backoff = Backoff::new(config.reconnect_pause_min(), config.reconnect_pause_max());
    loop {
        let began = Instant::now();
        let end = tokio::select! {
            end = venue.connection(&mut protocol) => end,
            // They end with the shutdown alone, or by a panic.
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(venue = %venue.setup.venue, %error, "a symbol's task died");
                }
                break;
            }
        };
        let pause = match &end {
            End::Shutdown => break,
            End::ServerShutdown | End::Age => Duration::ZERO,
            _ => {
                if began.elapsed() >= GOOD_AFTER {
                    backoff.reset();
                }
                backoff.pause()
            }
        };
        tracing::warn!(venue = %venue.setup.venue, reason = %end, pause_ms = pause.as_millis(), "connect again");
        board.reconnecting(end.to_string());
        tokio::select! {
            () = venue.setup.shutdown.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    drop(venue);
    while tasks.join_next().await.is_some() {}
}

fn start(setup: &Setup, name: &str, tasks: &mut JoinSet<()>) -> Symbol {
    let (ticks, tick_input) = mpsc::channel(ticks::CHUNKS_MAX);
    let (quotes, quote_input) = mpsc::channel(quotes::CHUNKS_MAX);
    let tick_setup = ticks::Setup {
        bus: setup.bus.clone(),
        venue: setup.venue,
        symbol: name.to_owned(),
        history: setup.history.clone(),
        board: Arc::clone(&setup.board),
        from_oldest: setup.config.from_oldest,
        fill_trades_max: setup.config.fill_trades_max,
        shutdown: setup.shutdown.clone(),
    };
    let quote_setup = quotes::Setup {
        bus: setup.bus.clone(),
        venue: setup.venue,
        symbol: name.to_owned(),
        history: setup.history.clone(),
        board: Arc::clone(&setup.board),
        shutdown: setup.shutdown.clone(),
    };
    tasks.spawn(ticks::run(tick_setup, tick_input));
    tasks.spawn(quotes::run(quote_setup, quote_input));
    Symbol { name: name.to_owned(), ticks, quotes }
}

struct VenueTask {
    setup: Setup,
    symbols: Vec<Symbol>,
    sink: Sink,
    frames: Vec<Utf8Bytes>,
}

impl VenueTask {
    /// One connection from its beginning to its end.
    async fn connection(&mut self, protocol: &mut impl Protocol) -> End {
        let shutdown = self.setup.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => End::Shutdown,
            result = self.connected(protocol) => match result {
                Ok(never) => match never {},
                Err(end) => end,
            },
        }
    }

    async fn connected(&mut self, protocol: &mut impl Protocol) -> Result<std::convert::Infallible, End> {
        let config = &self.setup.config;
        let mut socket = Socket::connect(&protocol.url(), config.connect_timeout(), config.idle_timeout()).await?;
        self.setup.board.connection(FeedState::Connecting, Some("waiting for first data".to_owned()));
        self.sink.forget();
        self.frames.clear();
        for symbol in &self.symbols {
            // A closed channel shows in the task's end.
            let _ = symbol.ticks.send(TickInput::Connected).await;
            let _ = symbol.quotes.send(QuoteInput::Connected).await;
        }
        let commands = protocol.subscribe();
        send(&mut socket, commands, protocol.command_pause()).await?;
        socket.resume();
        let end = self.session(&mut socket, protocol).await;
        // What arrived before the end counts.
        self.deliver().await;
        if !matches!(end, Err(End::Failed(_) | End::Idle(_) | End::Closed(_))) {
            socket.close().await;
        }
        end
    }

    async fn session(&mut self, socket: &mut Socket, protocol: &mut impl Protocol) -> Result<std::convert::Infallible, End> {
        let first_data = self.setup.config.first_data_timeout();
        let too_old = Instant::now() + self.setup.config.connection_age_max();
        let mut deadline = Instant::now() + first_data;
        let mut asked_again = 0;
        let mut live = false;
        loop {
            let waiting = self.sink.silent > 0 && asked_again <= RESUBSCRIBE_MAX;
            let end = tokio::select! {
                read = socket.read(&mut self.frames) => read,
                () = tokio::time::sleep_until(deadline), if waiting => {
                    if !live {
                        return Err(End::NoData(first_data));
                    }
                    asked_again += 1;
                    deadline = Instant::now() + first_data;
                    let commands = self.ask_again(protocol, asked_again <= RESUBSCRIBE_MAX);
                    send(socket, commands, protocol.command_pause()).await
                }
                () = tokio::time::sleep_until(too_old) => Err(End::Age),
            };
            let commands = self.parse(protocol)?;
            if self.deliver().await {
                socket.resume();
            }
            if let Err(End::TooLarge(bytes)) = end {
                self.setup.board.rejected(&FrameError::TooLarge { bytes }, b"");
            }
            end?;
            send(socket, commands, protocol.command_pause()).await?;
            if !live && self.sink.silent < self.symbols.len() * 2 {
                live = true;
                self.setup.board.connection(FeedState::Live, None);
                tracing::info!(venue = %self.setup.venue, "data flows");
            }
        }
    }

    /// Parses the chunk that was read; returns commands that the frames ask for.
    fn parse(&mut self, protocol: &mut impl Protocol) -> Result<Vec<String>, End> {
        if self.frames.is_empty() {
            return Ok(Vec::new());
        }
        let received_at = now();
        let silent_before = self.sink.silent;
        let mut commands = Vec::new();
        let mut reconnect = false;
        for frame in self.frames.drain(..) {
            match protocol.frame(frame.as_bytes(), received_at, &mut self.sink) {
                Ok(Reaction::None) => {}
                Ok(Reaction::Send(more)) => commands.extend(more),
                Ok(Reaction::Reconnect) => reconnect = true,
                Err(error) => self.setup.board.rejected(&error, frame.as_bytes()),
            }
        }
        if self.sink.silent != silent_before {
            self.clear_notes();
        }
        if reconnect { Err(End::ServerShutdown) } else { Ok(commands) }
    }

    /// Hands the parsed updates over; true when that had to wait.
    async fn deliver(&mut self) -> bool {
        let mut waited = false;
        for (index, symbol) in self.symbols.iter().enumerate() {
            if !self.sink.trades[index].is_empty() {
                let trades = std::mem::take(&mut self.sink.trades[index]);
                waited |= hand_over(&symbol.ticks, TickInput::Trades(trades)).await;
            }
            if !self.sink.quotes[index].is_empty() {
                let quotes = std::mem::take(&mut self.sink.quotes[index]);
                waited |= hand_over(&symbol.quotes, QuoteInput::Quotes(quotes)).await;
            }
        }
        waited
    }

    /// Notes which subscriptions are silent and, if `again`, asks for them once more.
    fn ask_again(&mut self, protocol: &mut impl Protocol, again: bool) -> Vec<String> {
        let mut commands = Vec::new();
        let within = self.setup.config.first_data_timeout().as_secs();
        for (index, symbol) in self.symbols.iter().enumerate() {
            for channel in [Channel::Trades, Channel::Quotes] {
                if self.sink.is_silent(index, channel) {
                    let text = format!("no {} within {within} s of subscribing", what(channel));
                    self.setup.board.note(&symbol.name, what(channel), Some(text));
                    if again {
                        commands.extend(protocol.resubscribe(index, channel));
                    }
                }
            }
        }
        commands
    }

    fn clear_notes(&self) {
        for (index, symbol) in self.symbols.iter().enumerate() {
            for channel in [Channel::Trades, Channel::Quotes] {
                if !self.sink.is_silent(index, channel) {
                    self.setup.board.note(&symbol.name, what(channel), None);
                }
            }
        }
    }
}

fn what(channel: Channel) -> &'static str {
    match channel {
        Channel::Trades => "trade",
        Channel::Quotes => "best bid/ask",
    }
}

async fn hand_over<T>(channel: &mpsc::Sender<T>, input: T) -> bool {
    match channel.try_send(input) {
        Err(mpsc::error::TrySendError::Full(input)) => {
            // Back-pressure: the socket is not read until the broker has taken more. A closed channel shows in the task's end.
            let _ = channel.send(input).await;
            true
        }
        Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => false,
    }
}

async fn send(socket: &mut Socket, commands: Vec<String>, pause: Duration) -> Result<(), End> {
    for command in commands {
        socket.send(command).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}
