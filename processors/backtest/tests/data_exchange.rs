//! The exchange's candles through the cache of files: the simulated exchanges on real sockets.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use spark_backtest::data::Bars;
use spark_backtest::data::exchange::{Wanted, read};
use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::{Timestamp, Venue};
use spark_exchange_sim::Sim;
use spark_exchanges::{ApiConfig, Binance};
use spark_nats::now;

const HOUR: Duration = Duration::from_secs(3_600);

struct Stage {
    sim: Sim,
    cache: PathBuf,
}

impl Stage {
    async fn set(name: &str) -> Self {
        let config = spark_exchange_sim::Config { history_hours: 40, ..spark_exchange_sim::Config::default() };
        let cache = std::env::temp_dir().join(format!("spark-backtest-{name}-{}", std::process::id()));
        Self { sim: spark_exchange_sim::start(config).await.unwrap(), cache }
    }

    fn api(&self, venue: Venue) -> ApiConfig {
        let address = if venue == Venue::Btcturk { self.sim.btcturk_addr } else { self.sim.binance_addr };
        ApiConfig::at(format!("http://{address}"))
    }

    async fn read(&self, wanted: &Wanted) -> Bars {
        read(&self.api(wanted.venue), &self.cache, wanted).await.unwrap()
    }

    /// Counts calls of a path from here on; [`Stage::calls`] says how many.
    fn count(&self, path: &str) -> u64 {
        self.sim.set_fault(&format!(r#"{{"exchange":"binance","kind":"delay","ms":1,"path":"{path}"}}"#)).unwrap()
    }

    fn calls(&self, id: u64) -> u64 {
        self.sim.faults().iter().find(|fault| fault.id == id).unwrap().hits
    }

    async fn end(self) {
        self.sim.stop().await;
        drop(std::fs::remove_dir_all(&self.cache));
    }
}

fn wanted(venue: Venue, symbol: &str, from: Timestamp, to: Timestamp) -> Wanted {
    Wanted { venue, symbol: symbol.to_owned(), timeframe: TimeFrame::M1, from, to }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn candles_are_asked_for_once_only_closed_ones_and_a_damaged_file_again() {
    let stage = Stage::set("pages").await;
    let (klines, time) = (stage.count("/api/v3/klines"), stage.count("/api/v3/time"));
    let asked = wanted(Venue::Binance, "BTCUSDT", now() - HOUR * 30, now() + HOUR);
    let bars = stage.read(&asked).await;
    let last = bars.closed_at(bars.len() - 1);
    assert!(bars.len() > 29 * 60 && last <= now(), "{} bars, the last one closed at {last}", bars.len());
    let first_calls = (stage.calls(klines), stage.calls(time));
    assert!((2..=4).contains(&first_calls.0), "{first_calls:?}: 1 800 minutes are two to three pages");

    // What was read is there: the same range up to what is known needs no call.
    let known = Wanted { to: last, ..asked.clone() };
    let again = stage.read(&known).await;
    assert_eq!((stage.calls(klines), stage.calls(time)), first_calls, "asked again");
    assert_eq!(again.hash(), bars.hash());

    let folder = stage.cache.join("binance/BTCUSDT/1m");
    let all = files(&folder);
    for (number, damage) in ["spark-candles 1 9 0\n1,1,1,1,1,1\n", "", "garbage"].iter().enumerate() {
        std::fs::write(&all[0], damage).unwrap();
        assert_eq!(stage.read(&known).await.hash(), bars.hash(), "{damage:?}");
        assert_eq!(stage.calls(klines), first_calls.0 + 1 + number as u64, "{damage:?}");
    }
    let text = std::fs::read_to_string(&all[0]).unwrap();
    std::fs::write(&all[0], text.replacen(",6", ",7", 1)).unwrap();
    assert_eq!(stage.read(&known).await.hash(), bars.hash(), "one digit");
    assert_eq!(files(&folder), all, "nothing is left beside the pages");

    let exchange = Binance::new(&stage.api(Venue::Binance), None, Arc::new(|_| {})).unwrap();
    let own = exchange.klines("BTCUSDT", "1m", Some(bars.open_times()[5] / 1_000_000), None, 1).await.unwrap();
    let bar = bars.bar(5);
    assert_eq!(
        [bar.open, bar.high, bar.low, bar.close, bar.volume].map(|value| value.to_decimal().normalize()),
        [own[0].open, own[0].high, own[0].low, own[0].close, own[0].volume,].map(|value| value.normalize())
    );
    stage.end().await;
}

#[tokio::test]
async fn btcturks_candles_are_read_the_same_way_and_what_cannot_be_had_is_said() {
    let stage = Stage::set("btcturk").await;
    let asked = wanted(Venue::Btcturk, "BTCTRY", now() - HOUR * 20, now());
    let bars = stage.read(&asked).await;
    assert!(bars.len() > 19 * 60, "{}", bars.len());
    assert_eq!(stage.read(&Wanted { to: bars.closed_at(bars.len() - 1), ..asked.clone() }).await.hash(), bars.hash());

    let refused = async |wanted: Wanted, words: &str| {
        let error = read(&stage.api(wanted.venue), &stage.cache, &wanted).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}: no `{words}`");
    };
    refused(Wanted { to: asked.from, ..asked.clone() }, "not before to").await;
    refused(Wanted { timeframe: TimeFrame::S1, ..asked.clone() }, "1m, 5m").await;
    refused(wanted(Venue::Bist, "THYAO", asked.from, asked.to), "CSV").await;
    refused(Wanted { from: Timestamp::ZERO, timeframe: TimeFrame::S1, venue: Venue::Binance, ..asked.clone() }, "shorter range")
        .await;
    refused(Wanted { from: now(), to: now() + HOUR, ..asked.clone() }, "no closed 1m candle").await;
    stage.end().await;
}
