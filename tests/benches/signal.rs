//! What one candle costs an indicator, and how long it takes from a candle in FEED to its score in the LEDGER, by the broker's
//! own times of storage. Baseline, in the same run: one acknowledged publish into the LEDGER, which no score can beat.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its table and ends at the first failure")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use spark_bus_schema::candles::{Candle, CandleSource, TimeFrame};
use spark_bus_schema::catalogue::find;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::signals::{Score, ScoreAnswer};
use spark_bus_schema::subject::{self, FEED, LEDGER};
use spark_bus_schema::{Message, Timestamp, Venue};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Delivery, Follower, Meta, Start, now};
use spark_signal::fusion::Fusion;
use spark_signal::indicators::{Macd, Rsi, Trend};
use spark_signal::model::Model;
use spark_tests::bench::{Latencies, is_quick, machine};
use spark_tests::recording::data_dir;

const LIMIT: Duration = Duration::from_secs(60);
/// Symbols whose candles of all six time frames close at once.
const SYMBOLS: u32 = 10;
/// Candles until the indicators have values.
const WARM_UP: u32 = 40;

fn main() {
    println!("signal, {}", machine());
    indicators();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(latency());
}

fn candles() -> Vec<[f64; 5]> {
    let path = data_dir().join("binance/klines/gct_BTCUSDT_1h.csv");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let row = |line: &str| {
        let mut fields = line.split(',').skip(1).map(|field| field.parse().unwrap());
        std::array::from_fn(|_| fields.next().unwrap())
    };
    text.lines().skip(1).map(row).collect()
}

fn indicators() {
    let candles = candles();
    let rounds = if is_quick() { 50 } else { 5_000 };
    println!("  one update, recorded candles, one core");
    let (mut rsi, mut macd, mut trend) = (Rsi::new(14), Macd::new(12, 26, 9), Trend::new(20));
    let mut fusion = Fusion::new(&Model::built_in());
    timed("RSI 14", rounds, &candles, |bar| {
        let _ = black_box(rsi.update(bar[3]));
    });
    timed("MACD 12/26/9", rounds, &candles, |bar| {
        let _ = black_box(macd.update(bar[3]));
    });
    timed("trend 20", rounds, &candles, |bar| {
        let _ = black_box(trend.update(bar[3]));
    });
    timed("score (all three, checked and fused)", rounds, &candles, |[open, high, low, close, volume]| {
        black_box(fusion.on_bar(*open, *high, *low, *close, *volume));
    });
}

fn timed(name: &str, rounds: u32, candles: &[[f64; 5]], mut update: impl FnMut(&[f64; 5])) {
    let begun = Instant::now();
    (0..rounds).for_each(|_| candles.iter().for_each(&mut update));
    let each = begun.elapsed().as_secs_f64() * 1e9 / (f64::from(rounds) * candles.len() as f64);
    println!("    {name:<44} {each:>8.1} ns");
}

/// Candle `n` of a symbol, closed at this moment.
fn candle(symbol: &str, timeframe: TimeFrame, n: u32) -> Candle {
    let open_time = Timestamp::from_nanos(1_699_920_000_000_000_000) + timeframe.duration() * n;
    let [close, one] = [100 + n * 7 % 23, 1].map(|value| value.to_string().parse().unwrap());
    Candle {
        venue: Venue::Binance,
        symbol: symbol.to_owned(),
        timeframe,
        open_time,
        close_time: open_time + timeframe.duration(),
        open: close,
        high: close,
        low: close,
        close,
        volume: one,
        quote_volume: one,
        trades: 1,
        revision: 1,
        source: CandleSource::Ticks,
        gap: false,
        complete: true,
        closed_at: now(),
    }
}

async fn publish(candles: &Bus, candle: &Candle) {
    let target = subject::candle(candle.venue, &candle.symbol, candle.timeframe);
    candles.publish(&target, candle, Meta::default()).await.unwrap();
}

async fn latency() {
    let broker = TestBroker::start().await;
    let (feed, operator) = (broker.bus("candles").await, broker.bus("operator").await);
    let scores = vec![subject::SCORES.to_owned()];
    let mut scores = Follower::start(operator.clone(), "operator-scores", LEDGER, scores, Start::Beginning);
    let service = broker.service("signal").await;
    let shutdown = service.shutdown.clone();
    let running = tokio::spawn(spark_signal::run(service, spark_signal::Config::default()));
    println!("  stored in FEED -> score stored in the LEDGER (target p99 < 5 ms)");
    println!("    one publish into the LEDGER (baseline)    {}", baseline(&broker.bus("signal").await).await.row());

    let rounds = if is_quick() { 20 } else { 1_000 };
    let mut alone = Vec::new();
    for n in 0..WARM_UP + rounds {
        publish(&feed, &candle("BTCUSDT", TimeFrame::M1, n)).await;
        alone.extend(scores_of(&mut scores, 1).await);
    }
    let alone = alone.split_off(WARM_UP as usize);
    println!("    one candle at a time                      {}", since_feed(&operator, &alone, "BTCUSDT").await.row());

    let frames = &TimeFrame::ALL[1..];
    let rounds = if is_quick() { 3 } else { 60 };
    let mut together = Vec::new();
    for n in 0..WARM_UP + rounds {
        let symbols: Vec<String> = (0..SYMBOLS).map(|symbol| format!("S{symbol}USDT")).collect();
        let closing = symbols.iter().flat_map(|symbol| frames.iter().map(move |frame| candle(symbol, *frame, n)));
        let closing: Vec<Candle> = closing.collect();
        futures_util::future::join_all(closing.iter().map(|candle| publish(&feed, candle))).await;
        together.extend(scores_of(&mut scores, closing.len()).await);
    }
    let together = together.split_off(WARM_UP as usize * SYMBOLS as usize * frames.len());
    println!(
        "    {} candles that close together            {}",
        SYMBOLS as usize * frames.len(),
        since_feed(&operator, &together, "S").await.row()
    );
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

/// Acknowledged publishes, one after the other, of a message as long as a score.
async fn baseline(signal: &Bus) -> Latencies {
    let mut latencies = Latencies::default();
    let answer: ScoreAnswer = decode_payload(&(find(&ScoreAnswer::KIND.to_string()).unwrap().sample)()).unwrap();
    for n in 0..if is_quick() { 20 } else { 1_000 } {
        let begun = Instant::now();
        signal.publish(&subject::score_answer(&format!("bench-{n}")), &answer, Meta::default()).await.unwrap();
        latencies.push(begun.elapsed());
    }
    latencies
}

async fn scores_of(scores: &mut Follower, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        let batch = tokio::time::timeout(LIMIT, scores.next()).await;
        all.extend(batch.unwrap_or_else(|_| panic!("{} of {count} scores", all.len())).unwrap());
    }
    all
}

/// From each score's candle in FEED to the score, by the broker's clock.
async fn since_feed(operator: &Bus, scores: &[Delivery], symbols: &str) -> Latencies {
    let pattern = vec![subject::CANDLES.to_owned()];
    let mut follower = Follower::start(operator.clone(), "operator-candles", FEED, pattern, Start::Beginning);
    let mut stored = BTreeMap::new();
    let key = |symbol: &str, frame: TimeFrame, at: Timestamp| (symbol.to_owned(), frame, at);
    let wanted: Vec<(Score, Timestamp)> =
        scores.iter().map(|delivery| (delivery.decode().unwrap(), delivery.stored_at)).collect();
    while wanted.iter().any(|(score, _)| !stored.contains_key(&key(&score.symbol, score.timeframe, score.open_time))) {
        for delivery in tokio::time::timeout(LIMIT, follower.next()).await.expect("candles").unwrap() {
            let candle: Candle = delivery.decode().unwrap();
            stored.insert(key(&candle.symbol, candle.timeframe, candle.open_time), delivery.stored_at);
        }
    }
    let mut latencies = Latencies::default();
    for (score, at) in wanted {
        assert!(score.score.is_some() && score.symbol.starts_with(symbols), "{score:?}");
        latencies.push(at.saturating_since(stored[&key(&score.symbol, score.timeframe, score.open_time)]));
    }
    latencies
}
