//! The connectors against the simulated exchanges: what a working exchange accepts, refuses and sends. What no simulator
//! gives (broken bodies, closed ports) is in `calls.rs`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rust_decimal::Decimal;
use secrecy::SecretString;
use spark_exchange_sim::{
    DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET, DEMO_BTCTURK_KEY, DEMO_BTCTURK_SECRET, Holding, Sim, fault::Listed,
};
use spark_exchanges::{ApiConfig, ApiKey, Binance, BtcTurk, ErrorType, Observer, RetryConfig};

/// An offset of the exchange's clock that no timestamp window forgives, ms.
const SKEW_MS: i64 = 90_000;

async fn simulator(change: impl FnOnce(&mut spark_exchange_sim::Config)) -> Sim {
    let mut config = spark_exchange_sim::Config { history_hours: 2, activity: 3.0, ..spark_exchange_sim::Config::default() };
    change(&mut config);
    spark_exchange_sim::start(config).await.unwrap()
}

fn key(key: &str, secret: &str) -> Option<ApiKey> {
    Some(ApiKey::new(&SecretString::from(key), &SecretString::from(secret)).unwrap())
}

fn quick(address: std::net::SocketAddr) -> ApiConfig {
    ApiConfig {
        per_minute: Some(1_000_000),
        retry: RetryConfig { attempts_max: 3, base_ms: 1, pause_ms_max: 5, total_ms: 10_000 },
        ..ApiConfig::at(format!("http://{address}"))
    }
}

fn unheard() -> Observer {
    Arc::new(|_| {})
}

fn binance(sim: &Sim) -> Binance {
    Binance::new(&quick(sim.binance_addr), key(DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET), unheard()).unwrap()
}

fn btcturk(sim: &Sim) -> BtcTurk {
    BtcTurk::new(&quick(sim.btcturk_addr), key(DEMO_BTCTURK_KEY, DEMO_BTCTURK_SECRET), unheard()).unwrap()
}

fn listed(sim: &Sim, id: u64) -> Listed {
    sim.faults().into_iter().find(|fault| fault.id == id).unwrap()
}

/// Counts the requests to an exchange, at the price of a millisecond each. Returns the id to read [`listed`] with.
fn counted(sim: &Sim, exchange: &str) -> u64 {
    sim.set_fault(&format!(r#"{{"exchange":"{exchange}","kind":"delay","ms":1}}"#)).unwrap()
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn near(offset_ms: i64, want_ms: i64) {
    assert!((offset_ms - want_ms).abs() < 3_000, "offset {offset_ms} ms instead of about {want_ms}");
}

#[tokio::test]
async fn signatures_are_accepted_and_wrong_ones_are_auth() {
    let sim = simulator(|_| {}).await;
    binance(&sim).account().await.unwrap();
    let restrictions = binance(&sim).api_restrictions().await.unwrap().expect("the simulator has the call");
    assert!(restrictions.enable_reading && restrictions.beyond_reading().is_empty(), "{restrictions:?}");
    btcturk(&sim).balances().await.unwrap();

    let check = |error: spark_exchanges::Error, status: u16, code: i64| {
        assert_eq!(
            (error.error_type, error.http_status, error.venue_code),
            (ErrorType::Auth, Some(status), Some(code)),
            "{error}"
        );
        for secret in [DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET, DEMO_BTCTURK_KEY, DEMO_BTCTURK_SECRET] {
            assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
        }
    };
    let client = binance(&sim);
    client.set_key(key(DEMO_BINANCE_KEY, "of-somebody-else"));
    check(client.account().await.unwrap_err(), 400, -1022);
    client.set_key(key(&DEMO_BINANCE_KEY.replace("demo", "none"), DEMO_BINANCE_SECRET));
    check(client.account().await.unwrap_err(), 401, -2015);
    client.set_key(key("no-key-at-all", DEMO_BINANCE_SECRET));
    check(client.account().await.unwrap_err(), 401, -2014);
    let client = btcturk(&sim);
    client.set_key(key(DEMO_BTCTURK_KEY, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="));
    check(client.balances().await.unwrap_err(), 401, 401);
    client.set_key(key("unknown", DEMO_BTCTURK_SECRET));
    check(client.balances().await.unwrap_err(), 401, 401);
    sim.stop().await;
}

#[tokio::test]
async fn a_revoked_key_is_auth_at_its_exchange_alone_and_works_again_when_it_is_back() {
    let sim = simulator(|_| {}).await;
    let (binance, btcturk) = (binance(&sim), btcturk(&sim));
    binance.account().await.unwrap();
    btcturk.balances().await.unwrap();

    sim.set_fault(r#"{"exchange":"binance","kind":"revoke_key"}"#).unwrap();
    let refused = binance.account().await.unwrap_err();
    assert_eq!((refused.error_type, refused.venue_code), (ErrorType::Auth, Some(-2015)), "{refused}");
    binance.ticker_price(None).await.unwrap();
    btcturk.balances().await.unwrap();
    sim.clear_faults();
    binance.account().await.unwrap();

    sim.set_fault(r#"{"exchange":"btcturk","kind":"revoke_key"}"#).unwrap();
    let refused = btcturk.balances().await.unwrap_err();
    assert_eq!((refused.error_type, refused.http_status), (ErrorType::Auth, Some(401)), "{refused}");
    near(btcturk.clock_offset_ms(), 0);
    binance.account().await.unwrap();
    sim.clear_faults();
    btcturk.balances().await.unwrap();
    sim.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_corrected_at_the_start_and_when_it_jumps() {
    let sim = simulator(|_| {}).await;
    let skew = |exchange: &str, ms: i64| {
        sim.clear_faults();
        sim.set_fault(&format!(r#"{{"exchange":"{exchange}","kind":"clock_skew","ms":{ms}}}"#)).unwrap();
    };
    skew("binance", -SKEW_MS);
    let client = binance(&sim);
    client.account().await.unwrap();
    near(client.clock_offset_ms(), -SKEW_MS);
    near(client.time().await.unwrap() - now_ms(), -SKEW_MS);
    // The reading is not old enough to be repeated, so the next call is refused first.
    skew("binance", SKEW_MS);
    client.account().await.unwrap();
    near(client.clock_offset_ms(), SKEW_MS);
    sim.clear_faults();
    client.account().await.unwrap();
    near(client.clock_offset_ms(), 0);

    let client = btcturk(&sim);
    client.balances().await.unwrap();
    skew("btcturk", SKEW_MS);
    client.balances().await.unwrap();
    near(client.clock_offset_ms(), SKEW_MS);
    skew("btcturk", -SKEW_MS);
    client.balances().await.unwrap();
    near(client.clock_offset_ms(), -SKEW_MS);
    sim.stop().await;
}

#[tokio::test]
async fn a_429_is_waited_for_and_a_long_one_keeps_later_calls_at_home() {
    let sim = simulator(|_| {}).await;
    let (binance, btcturk) = (binance(&sim), btcturk(&sim));
    for exchange in ["binance", "btcturk"] {
        let busy = format!(r#"{{"exchange":"{exchange}","kind":"status","code":429,"retry_after":1,"n":1}}"#);
        let busy = sim.set_fault(&busy).unwrap();
        let begun = Instant::now();
        match exchange {
            "binance" => drop(binance.ticker_price(None).await.unwrap()),
            _ => drop(btcturk.ticker().await.unwrap()),
        }
        // At least: this is the pause that was asked for, and no bound on how fast anything is.
        assert!(begun.elapsed() >= Duration::from_secs(1), "{exchange} was asked again after {:?}", begun.elapsed());
        assert_eq!(listed(&sim, busy).hits, 1);
    }

    let requests = counted(&sim, "binance");
    sim.set_fault(r#"{"exchange":"binance","kind":"status","code":418,"retry_after":3600}"#).unwrap();
    let banned = binance.ticker_price(None).await.unwrap_err();
    assert_eq!((banned.error_type, banned.http_status), (ErrorType::RateLimit, Some(418)), "{banned}");
    assert_eq!(banned.retry_after, Some(Duration::from_secs(3_600)));
    let asked = listed(&sim, requests).hits;
    let kept_back = binance.book_ticker("BTCUSDT").await.unwrap_err();
    assert_eq!((kept_back.error_type, kept_back.http_status), (ErrorType::RateLimit, None), "{kept_back}");
    assert_eq!(listed(&sim, requests).hits, asked, "nothing goes out during a ban");
    sim.stop().await;
}

#[tokio::test]
async fn the_exchanges_own_quotas_are_met_as_rate_limits() {
    /// BTCTurk's for balances, a minute.
    const QUOTA: u32 = 120;
    let sim = simulator(|_| {}).await;
    let client = btcturk(&sim);
    for call in 0..QUOTA {
        client.balances().await.unwrap_or_else(|error| panic!("call {call}: {error}"));
    }
    let refused = client.balances().await.unwrap_err();
    assert_eq!((refused.error_type, refused.http_status), (ErrorType::RateLimit, Some(429)), "{refused}");
    assert_eq!(refused.retry_after, Some(Duration::from_secs(60)));

    sim.stop().await;
}

#[tokio::test]
async fn weight_that_another_client_of_the_address_used_is_left_alone() {
    let sim = simulator(|_| {}).await;
    let (greedy, config) = (binance(&sim), ApiConfig { per_minute: None, ..quick(sim.binance_addr) });
    // Once more when the exchange's minute ended in between and it forgot what was used.
    for attempt in 1..=3 {
        for _ in 0..100 {
            greedy.account().await.unwrap();
        }
        let careful = Binance::new(&config, key(DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET), unheard()).unwrap();
        careful.time().await.unwrap();
        match careful.account().await {
            Err(kept_back) => {
                assert_eq!((kept_back.error_type, kept_back.http_status), (ErrorType::RateLimit, None), "{kept_back}");
                break;
            }
            Ok(_) => assert!(attempt < 3, "2 000 of the 1 200 a minute were used, and the client goes on"),
        }
    }
    sim.stop().await;
}

/// Amounts that a float would bend.
const AMOUNTS: [(&str, &str, &str); 6] = [
    ("BTC", "0.00000001", "0"),
    ("ETH", "0.1", "0.2"),
    ("BNB", "12345678.12345678", "0.00000001"),
    ("USDT", "90071992.54740993", "9007199254.74099301"),
    ("SOL", "1", "1000"),
    ("TRY", "0", "33.33333333"),
];

#[tokio::test]
async fn balances_decode_exactly_at_both_exchanges() {
    let amount = |text: &str| text.parse::<Decimal>().unwrap();
    let holdings: BTreeMap<String, Holding> = AMOUNTS
        .iter()
        .map(|(asset, free, locked)| ((*asset).to_owned(), Holding { free: amount(free), locked: amount(locked) }))
        .collect();
    let mut long = holdings.clone();
    // BTCTurk gives more digits than eight.
    long.insert("SHIB".to_owned(), Holding { free: amount("1234567890.0000000000000001"), locked: amount("0.1502240011") });
    let mut dust = holdings.clone();
    dust.insert("DUST".to_owned(), Holding::default());
    let sim = simulator(|config| (config.binance_account.balances, config.btcturk_account.balances) = (dust, long.clone())).await;

    let account = binance(&sim).account().await.unwrap();
    let got: BTreeMap<String, Holding> =
        account.balances.iter().map(|row| (row.asset.clone(), Holding { free: row.free, locked: row.locked })).collect();
    assert_eq!(got, holdings, "and nothing of which there is nothing");
    let rows = btcturk(&sim).balances().await.unwrap();
    let got: BTreeMap<String, Holding> =
        rows.iter().map(|row| (row.asset.clone(), Holding { free: row.free, locked: row.locked })).collect();
    assert_eq!(got, long);
    assert_eq!((rows.len(), account.balances.len()), (long.len(), holdings.len()), "each asset once");
    sim.stop().await;
}

#[tokio::test]
async fn binances_market_reads_whole() {
    let sim = simulator(|_| {}).await;
    let client = binance(&sim);
    let info = client.exchange_info(&["BTCUSDT", "XRPUSDT"]).await.unwrap();
    let ticks: Vec<String> = (info.symbols.iter())
        .map(|symbol| symbol.filters.iter().find_map(|filter| filter.tick_size).unwrap().normalize().to_string())
        .collect();
    assert_eq!(ticks, ["0.01", "0.0001"]);
    let prices = client.ticker_price(Some(&["BTCUSDT", "USDTTRY"])).await.unwrap();
    assert_eq!(prices.len(), 2);
    assert!(client.ticker_price(None).await.unwrap().len() > prices.len());
    let top = client.book_ticker("BTCUSDT").await.unwrap();
    assert!(top.bid_price < top.ask_price && top.bid_qty > Decimal::ZERO, "{top:?}");

    let trades = client.trades("BTCUSDT", 20).await.unwrap();
    let again = client.historical_trades("BTCUSDT", Some(trades[0].id), 20).await.unwrap();
    assert_eq!(trades, again);
    let ids: Vec<u64> = trades.iter().map(|trade| trade.id).collect();
    assert_eq!(ids, (ids[0]..ids[0] + 20).collect::<Vec<_>>());
    let candles = client.klines("BTCUSDT", "1m", None, None, 30).await.unwrap();
    assert_eq!(candles.len(), 30);
    assert!(candles.windows(2).all(|pair| pair[1].open_time - pair[0].open_time == 60_000), "{candles:?}");
    assert!(
        candles.iter().all(|candle| candle.low <= candle.open.min(candle.close) && candle.high >= candle.open.max(candle.close))
    );
    let unknown = client.book_ticker("NOPE").await.unwrap_err();
    assert_eq!((unknown.error_type, unknown.venue_code), (ErrorType::Server, Some(-1121)), "{unknown}");
    sim.stop().await;
}

#[tokio::test]
async fn btcturks_market_reads_whole() {
    let sim = simulator(|_| {}).await;
    let client = btcturk(&sim);
    let tickers = client.ticker().await.unwrap();
    let lira = tickers.iter().find(|ticker| ticker.pair == "BTCTRY").unwrap();
    assert_eq!(lira.assets(), Some(("BTC", "TRY")));
    assert!(lira.bid < lira.ask && lira.last > Decimal::ZERO, "{lira:?}");
    let book = client.orderbook("BTC_TRY", 10).await.unwrap();
    assert!(book.bids[0].0 < book.asks[0].0, "{book:?}");
    assert!(book.bids.windows(2).all(|pair| pair[0].0 > pair[1].0) && book.asks.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let trades = client.trades("BTCTRY", 20).await.unwrap();
    assert_eq!(trades.len(), 20);
    assert!(trades.windows(2).all(|pair| pair[0].tid > pair[1].tid), "newest first: {trades:?}");
    let now_s = now_ms() / 1_000;
    let candles = client.klines("BTCTRY", "1", now_s - 3_600, now_s).await.unwrap();
    assert!(candles.len() >= 30 && candles.windows(2).all(|pair| pair[1].time > pair[0].time), "{candles:?}");
    assert!(!client.ohlcs("BTCTRY", now_s - 3 * 86_400, now_s).await.unwrap().is_empty());
    let unknown = client.trades("NOPE", 1).await.unwrap_err();
    assert_eq!(unknown.error_type, ErrorType::Server, "{unknown}");
    sim.stop().await;
}
