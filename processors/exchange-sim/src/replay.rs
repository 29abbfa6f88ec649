//! Replays a recording as a market: its frames go to subscribers as they were recorded, REST answers from the state at the cursor.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::binance::frames;
use crate::config::{Speed, Venue};
use crate::error::Error;
use crate::hub::Frame;
use crate::live::{Aggregate, Live, Symbol};
use crate::market::{Event, Side};
use crate::recording::{self, Content, Record, Survey};
use crate::units;
use crate::world::World;

/// Lines that are read ahead.
const READ_AHEAD: usize = 512;
/// Without a join, subscribers are looked for again after this time.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How far a replay is.
#[derive(Debug)]
pub(crate) struct ReplayState {
    survey: Survey,
    speed: Speed,
    files: Vec<PathBuf>,
    frames: AtomicU64,
    trades: AtomicU64,
    started: AtomicBool,
    finished: AtomicBool,
}

impl ReplayState {
    /// Reads the recording once to know what is in it.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that is not one.
    pub(crate) fn open(files: Vec<PathBuf>, speed: Speed) -> Result<Self, Error> {
        let survey = recording::survey(&files)?;
        if survey.frames == 0 {
            return Err(Error::config(
                "replay.files",
                "the recording holds no frames; give files of `<receive time, ns> <combined frame>` lines",
            ));
        }
        let zero = || AtomicU64::new(0);
        let no = || AtomicBool::new(false);
        Ok(Self { survey, speed, files, frames: zero(), trades: zero(), started: no(), finished: no() })
    }

    /// Symbols in it.
    pub(crate) fn symbols(&self) -> &BTreeSet<String> {
        &self.survey.symbols
    }

    /// Body of `GET /sim/replay`.
    pub(crate) fn report(&self, world: &World) -> Value {
        let symbol = |name: &String| {
            let symbol = world.binance.symbol(name)?;
            let live = symbol.live();
            let side = |pick: fn(&crate::live::Top) -> (i64, i64)| live.top.as_ref().map(|top| units::fixed(pick(top).0));
            Some(json!({
                "symbol": name,
                "last_bid": side(|top| top.bid),
                "last_ask": side(|top| top.ask),
                "last_price": live.last.map(|trade| units::fixed(trade.price)),
                "last_trade_id": live.last.map(|trade| trade.id),
                "trades_kept": live.trades.len(),
            }))
        };
        let symbols: Vec<Value> = self.survey.symbols.iter().filter_map(symbol).collect();
        let first = |field: &str| symbols.first().map_or(Value::Null, |symbol| symbol[field].clone());
        json!({
            "total_frames": self.survey.frames,
            "sent_frames": self.frames.load(Ordering::Acquire),
            "trades_total": self.survey.trades,
            "trades_sent": self.trades.load(Ordering::Acquire),
            "started": self.started.load(Ordering::Acquire),
            "finished": self.finished.load(Ordering::Acquire),
            "speed": self.speed,
            "last_bid": first("last_bid"),
            "last_ask": first("last_ask"),
            "last_price": first("last_price"),
            "last_trade_id": first("last_trade_id"),
            "symbols": symbols,
            "files": self.files,
        })
    }

    /// Puts the first known book and touch in place, so that there are prices before the first subscriber.
    pub(crate) fn prime(&self, world: &World) {
        for name in &self.survey.symbols {
            let Some(symbol) = world.binance.symbol(name) else { continue };
            let mut live = symbol.live();
            live.top = self.survey.tops.get(name).copied();
            if let Some((last, bids, asks)) = self.survey.books.get(name) {
                replace_book(&mut live, *last, bids, asks);
            }
        }
    }
}

fn replace_book(live: &mut Live, last: u64, bids: &[(i64, i64)], asks: &[(i64, i64)]) {
    live.book.clear();
    for (side, levels) in [(Side::Bid, bids), (Side::Ask, asks)] {
        for (price, quantity) in levels {
            live.book.set(side, *price, *quantity);
        }
    }
    live.update = last;
}

/// Runs the replay to its end.
pub(crate) async fn run(world: Arc<World>) -> Result<(), Error> {
    let Some(state) = &world.replay else { return Ok(()) };
    let (lines, mut records) = mpsc::channel(READ_AHEAD);
    let files = state.files.clone();
    let reader = tokio::task::spawn_blocking(move || recording::read(&files, |record| lines.blocking_send(record).is_ok()));
    let mut snapshots = state.survey.snapshots.iter();
    // When, by our clock, which received time was reached; set anew after each pause.
    let mut pace: Option<(Instant, u64)> = None;
    while let Some(record) = records.recv().await {
        if wait_for_listener(&world, state, &record).await {
            pace = None;
        }
        state.started.store(true, Ordering::Release);
        if let Speed::Times(times) = state.speed {
            let (begin, from_ns) = *pace.get_or_insert_with(|| (Instant::now(), record.received_ns));
            let passed = Duration::from_nanos(record.received_ns.saturating_sub(from_ns)).div_f64(times);
            tokio::time::sleep_until(begin + passed).await;
        }
        let symbol = match &record.content {
            Content::Snapshot { .. } => snapshots.next().map(String::as_str).unwrap_or_default(),
            _ => &record.symbol,
        };
        if let Some(symbol) = world.binance.symbol(symbol).cloned() {
            pass(&world, state, &symbol, record).await;
        }
    }
    for name in &state.survey.symbols {
        if let Some(symbol) = world.binance.symbol(name) {
            let done = symbol.live().close_aggregate();
            send_aggregate(&world, symbol, done).await;
        }
    }
    state.finished.store(true, Ordering::Release);
    tracing::info!(frames = state.survey.frames, trades = state.survey.trades, "the recording is played to its end");
    match reader.await {
        Ok(result) => result,
        Err(_) => Err(Error::Ended("reading the recording")),
    }
}

/// Waits until somebody listens to a replayed stream. True when it had to wait.
async fn wait_for_listener(world: &World, state: &ReplayState, record: &Record) -> bool {
    let hub = &world.binance.hub;
    let mut waited = false;
    loop {
        let joined = hub.joined.notified();
        tokio::pin!(joined);
        joined.as_mut().enable();
        let replayed = |topic: &str| {
            topic.split_once('@').is_some_and(|(symbol, _)| state.survey.symbols.contains(&symbol.to_ascii_uppercase()))
        };
        if !hub.listeners(&record.stream).is_empty() || !hub.wanted(replayed).is_empty() {
            return waited;
        }
        waited = true;
        tokio::select! {
            () = joined => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

/// Moves the cursor past one record: the state first, so that REST already has what a client sees.
async fn pass(world: &World, state: &ReplayState, symbol: &Symbol, record: Record) {
    let mut done = None;
    {
        let mut live = symbol.live();
        match &record.content {
            Content::Trade(trade) => {
                live.trade(*trade);
                done = live.aggregate(trade);
            }
            Content::Top(top) => live.top = Some(*top),
            Content::Depth { last, bids, asks } if *last > live.update => {
                for (side, levels) in [(Side::Bid, bids), (Side::Ask, asks)] {
                    for (price, quantity) in levels {
                        live.book.set(side, *price, *quantity);
                    }
                }
                live.update = *last;
            }
            Content::Snapshot { last, bids, asks } if *last > live.update => replace_book(&mut live, *last, bids, asks),
            _ => {}
        }
        let event = match &record.content {
            Content::Trade(trade) => Some(Event::Trade {
                id: trade.id,
                price: trade.price,
                quantity: trade.quantity,
                buyer_is_maker: trade.buyer_is_maker(),
                last_of_order: true,
            }),
            Content::Top(top) => Some(Event::Top { bid: top.bid, ask: top.ask, update: top.update }),
            _ => None,
        };
        if let Some(event) = event {
            world.market_moved(symbol, &mut live, &event);
        }
    }
    if matches!(record.content, Content::Snapshot { .. }) {
        return;
    }
    let is_trade = matches!(record.content, Content::Trade(_));
    send_aggregate(world, symbol, done).await;
    let frame = Frame { topic: Arc::from(record.stream.as_str()), text: record.frame, raw: record.data, at: Instant::now() };
    send(world, frame).await;
    state.frames.fetch_add(1, Ordering::AcqRel);
    if is_trade {
        state.trades.fetch_add(1, Ordering::AcqRel);
    }
}

async fn send_aggregate(world: &World, symbol: &Symbol, done: Option<Aggregate>) {
    if let Some(done) = done
        && !world.binance.hub.listeners(&symbol.topics.aggregate).is_empty()
    {
        send(world, frames::aggregate(symbol, &done, world.now_ms(Venue::Binance))).await;
    }
}

async fn send(world: &World, frame: Frame) {
    for client in world.binance.hub.listeners(&frame.topic) {
        client.replayed(frame.clone()).await;
    }
}
