//! Ticks per second through parse → publish → broker → guardrail, nothing lost.
//! Baseline, in the same run: the same ticks, one message each, acknowledged, 256 in flight.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use spark_bus_schema::market::{TickBatch, Trade};
use spark_bus_schema::subject::{self, FEED};
use spark_bus_schema::{Message, Timestamp, Venue, encode};
use spark_feed::batch::TickBatcher;
use spark_feed::binance::{Frame, Parser};
use spark_feed::frame::Update;
use spark_guardrail::Guardrail;
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Effects, Follower, Machine, Meta, Start, SubjectWriter, now};
use spark_tests::bench::{is_quick, machine};
use spark_tests::recording;
use tokio::sync::mpsc;

const BASELINE_IN_FLIGHT: usize = 256;
/// Trades between parser and publisher: what a batch may hold while the last one is in flight.
const QUEUE: usize = 32_768;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(run());
}

async fn run() {
    let frames: Vec<String> = recording::frames().into_iter().filter(|frame| frame.contains("@trade")).collect();
    let rounds = if is_quick() { 10 } else { 300 };
    let baseline_ticks = if is_quick() { 5_000 } else { 200_000 };
    println!("ticks, parse -> publish -> guardrail, {}", machine());

    let broker = TestBroker::start().await;
    let baseline = unbatched(&broker, &frames, baseline_ticks).await;
    println!("  unbatched, acknowledged, {BASELINE_IN_FLIGHT} in flight (baseline)  {baseline:>12.0} ticks/s");
    drop(broker);

    let broker = TestBroker::start().await;
    let ticks = frames.len() * rounds;
    let (rate, messages) = batched(&broker, frames, rounds).await;
    println!(
        "  batches of what has arrived                      {rate:>12.0} ticks/s, {:.0} ticks a message",
        ticks as f64 / messages as f64
    );
    println!("  ratio {:.1}x, {ticks} sent, {ticks} counted, 0 lost", rate / baseline);
}

fn parse(parser: &Parser, frame: &str, offset: u64, received_at: Timestamp) -> Trade {
    match parser.parse(frame.as_bytes(), received_at) {
        Ok(Frame::Update(_, Update::Trade(trade))) => Trade { trade_id: trade.trade_id + offset, ..trade },
        other => panic!("{frame}: {other:?}"),
    }
}

/// The whole path; returns ticks a second and messages published.
async fn batched(broker: &TestBroker, frames: Vec<String>, rounds: usize) -> (f64, u64) {
    let total = (frames.len() * rounds) as u64;
    let feed = broker.bus("feed").await;
    let target = subject::ticks(Venue::Binance, "BTCUSDT");
    let (mut writer, _) = SubjectWriter::open(feed, FEED, target.clone()).await.expect("writer");
    let reader = broker.bus("guardrail").await;
    let (sender, mut trades) = mpsc::channel::<Trade>(QUEUE);

    let start = Instant::now();
    let counting = tokio::spawn(count(reader, target, total, u64::MAX));
    let parsing = std::thread::spawn(move || {
        let parser = Parser::new(&["BTCUSDT"]);
        let span = frames.len() as u64;
        for round in 0..rounds as u64 {
            for frame in &frames {
                let trade = parse(&parser, frame, round * span, now());
                sender.blocking_send(trade).expect("the publisher reads until the end");
            }
        }
    });
    let mut batcher = TickBatcher::new(Venue::Binance, "BTCUSDT");
    let mut arrived = Vec::with_capacity(QUEUE);
    let mut messages = 0;
    while trades.recv_many(&mut arrived, spark_feed::batch::ROWS_MAX).await > 0 {
        for trade in arrived.drain(..) {
            assert!(batcher.push(&trade), "the recording's values fit one scale");
        }
        if let Some(encoded) = batcher.encode("") {
            writer.append(TickBatch::KIND, encoded.payload, &encoded.msg_id).await.expect("stored");
            messages += 1;
        }
    }
    let counted = counting.await.expect("counter");
    let elapsed = start.elapsed();
    parsing.join().expect("parser");
    assert_eq!(counted, total, "every tick sent is counted, once");
    (total as f64 / elapsed.as_secs_f64(), messages)
}

/// The guardrail's own machine on what the broker delivers, until `messages` or `total` trades are through.
async fn count(bus: Bus, target: String, total: u64, messages: u64) -> u64 {
    let mut machine = Guardrail::with_default_rules();
    let mut effects = Effects::default();
    let mut follower = Follower::start(bus, "guardrail", FEED, vec![target], Start::Beginning);
    let mut seen = 0;
    while machine.trades_counted() < total && seen < messages {
        let next = tokio::time::timeout(Duration::from_secs(60), follower.next()).await;
        let batch =
            next.unwrap_or_else(|_| panic!("stuck at {seen} messages, {} trades", machine.trades_counted())).expect("open");
        for delivery in batch {
            let event = Guardrail::decode(&delivery).expect("a tick batch");
            machine.apply(delivery.stored_at, event, &mut effects).expect("accepted");
            seen += 1;
        }
        effects.drain();
    }
    machine.trades_counted()
}

/// One message a tick, each acknowledged, a window of them in flight, to the same guardrail.
async fn unbatched(broker: &TestBroker, frames: &[String], ticks: usize) -> f64 {
    let feed = broker.bus("feed").await;
    let reader = broker.bus("guardrail").await;
    let target = subject::ticks(Venue::Binance, "BTCUSDT");
    let parser = Parser::new(&["BTCUSDT"]);
    let start = Instant::now();
    let counting = tokio::spawn(count(reader, target.clone(), ticks as u64, ticks as u64));
    let mut in_flight = FuturesUnordered::new();
    for index in 0..ticks {
        let offset = (index / frames.len() * frames.len()) as u64;
        let trade = parse(&parser, &frames[index % frames.len()], offset, now());
        let mut batch = TickBatch::new(Venue::Binance, "BTCUSDT");
        batch.push(&trade).expect("one trade fits");
        let payload = Bytes::from(encode(&batch));
        let (feed, target) = (feed.clone(), target.clone());
        in_flight.push(async move { feed.store_kind(&target, TickBatch::KIND, payload, Meta::default()).await });
        if in_flight.len() >= BASELINE_IN_FLIGHT
            && let Some(stored) = in_flight.next().await
        {
            stored.expect("stored");
        }
    }
    while let Some(stored) = in_flight.next().await {
        stored.expect("stored");
    }
    // With many publishes in flight ids may overtake each other, and the guardrail counts rising ids only: here every
    // message counts.
    counting.await.expect("counter");
    ticks as f64 / start.elapsed().as_secs_f64()
}
