//! The simulated exchanges, held still, and an executor that is live on one of them.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use spark_bus_schema::Venue;
use spark_bus_schema::orders::{OrderId, TradingMode};
use spark_exchange_sim::{
    DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET, DEMO_BINANCE_TRADE_KEY, DEMO_BINANCE_TRADE_SECRET, DEMO_BTCTURK_TRADE_KEY,
    DEMO_BTCTURK_TRADE_SECRET, Sim,
};
use spark_executor::{Config, ExchangeConfig};

use super::{LIMIT, quick};

pub struct Exchange {
    pub sim: Sim,
    client: reqwest::Client,
}

impl Exchange {
    /// Both exchanges with BTCUSDT at 60000 / 60001 and BTCTRY at 2000000 / 2000100, one coin on each side.
    pub async fn start() -> Self {
        let config = spark_exchange_sim::Config {
            history_hours: 1,
            binance_weight_per_min: 10_000_000,
            ..spark_exchange_sim::Config::default()
        };
        let sim = spark_exchange_sim::start(config).await.unwrap();
        // Fails when another test of this process was first, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(LIMIT).no_proxy().build().unwrap();
        let exchange = Self { sim, client };
        exchange.hold("binance", "BTCUSDT", "60000", "60001", "1").await;
        exchange.hold("btcturk", "BTCTRY", "2000000", "2000100", "1").await;
        exchange
    }

    pub async fn admin(&self, path: &str, body: Value) -> Value {
        let request = self.client.post(format!("http://{}{path}", self.sim.admin_addr)).body(body.to_string());
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub async fn hold(&self, exchange: &str, symbol: &str, bid: &str, ask: &str, size: &str) {
        let body = json!({"exchange": exchange, "symbol": symbol, "bid": bid, "bid_size": size, "ask": ask, "ask_size": size});
        self.admin("/sim/market", body).await;
    }

    pub async fn fault(&self, body: Value) -> u64 {
        self.sim.set_fault(&body.to_string()).unwrap()
    }

    async fn log(&self, exchange: &str) -> Value {
        let url = format!("http://{}/sim/orders?exchange={exchange}", self.sim.admin_addr);
        let text = self.client.get(url).send().await.unwrap().text().await.unwrap();
        let log: Value = serde_json::from_str(&text).unwrap();
        if log.get(exchange).is_some() { log[exchange].clone() } else { log }
    }

    /// How often the exchange was sent this order, whatever it made of it.
    pub async fn submits(&self, exchange: &str, order: &OrderId) -> usize {
        let log = self.log(exchange).await;
        let submits = log["submits"].as_array().unwrap_or_else(|| panic!("{log}"));
        submits.iter().filter(|entry| entry["client_id"] == order.client_id()).count()
    }

    /// What it traded of this order, by its own log.
    pub async fn fills(&self, exchange: &str, order: &OrderId) -> usize {
        let log = self.log(exchange).await;
        log["fills"].as_array().unwrap().iter().filter(|entry| entry["client_id"] == order.client_id()).count()
    }

    /// An executor that is live on Binance; `can_trade`: with the key that may.
    pub fn binance(&self, dir: &Path, can_trade: bool) -> Config {
        let key =
            if can_trade { (DEMO_BINANCE_TRADE_KEY, DEMO_BINANCE_TRADE_SECRET) } else { (DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET) };
        let mut config = quick();
        let address = self.sim.binance_addr;
        live(&mut config.binance, dir, "binance", &format!("http://{address}"), key);
        config.binance.user_data.url = Some(format!("ws://{address}/ws-api/v3"));
        config.btcturk.base_url = Some(format!("http://{}", self.sim.btcturk_addr));
        config
    }

    pub fn btcturk(&self, dir: &Path) -> Config {
        let mut config = quick();
        let address = self.sim.btcturk_addr;
        let key = (DEMO_BTCTURK_TRADE_KEY, DEMO_BTCTURK_TRADE_SECRET);
        // BTCTurk counts every call: not so many of them.
        config.reconcile_ms = 2_000;
        config.second_look_ms = 300;
        live(&mut config.btcturk, dir, "btcturk", &format!("http://{address}"), key);
        config.btcturk.user_data.url = Some(format!("ws://{address}/"));
        config.binance.base_url = Some(format!("http://{}", self.sim.binance_addr));
        config
    }
}

fn live(section: &mut ExchangeConfig, dir: &Path, name: &str, base_url: &str, (key, secret): (&str, &str)) {
    let file = |what: &str, text: &str| {
        let path = dir.join(format!("{name}.{what}"));
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    section.mode = TradingMode::Live;
    section.base_url = Some(base_url.to_owned());
    section.trade_key_file = file("key", key);
    section.trade_secret_file = file("secret", secret);
    section.recv_window_ms = 500;
    // Looks come faster here than anybody would want.
    section.per_minute = Some(1_000_000);
    section.timeout_ms = 2_000;
    section.user_data.pause_ms = 100;
    section.user_data.pause_ms_max = 300;
}

pub const BINANCE: Venue = Venue::Binance;
pub const BTCTURK: Venue = Venue::Btcturk;
pub const SHORTLY: Duration = Duration::from_millis(300);
