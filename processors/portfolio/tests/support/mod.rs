//! What the tests run against: a real broker, and the simulated exchanges on real sockets.

pub mod fake;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::{Decimal, Venue, subject};
use spark_exchange_sim::fault::Listed;
use spark_exchange_sim::{
    AccountConfig, ApiKey, DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET, DEMO_BTCTURK_KEY, DEMO_BTCTURK_SECRET, Holding, Sim,
};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Delivery, Follower, Start, server};
use spark_portfolio::{Config, ExchangeConfig};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);
/// A key of the simulated Binance that may trade.
pub const TRADING_KEY: (&str, &str) = (
    "testBinanceKeyThatMayTrade000000000000000000000000000000000000AA",
    "testBinanceSecretThatMayTrade0000000000000000000000000000000000A",
);
/// The one that may not.
pub const READING_KEY: (&str, &str) = (DEMO_BINANCE_KEY, DEMO_BINANCE_SECRET);

/// A portfolio process against two simulated exchanges and a broker of its own.
pub struct Stage {
    pub sim: Sim,
    /// What the simulator was started with; its ports stay when it is started again.
    pub market: spark_exchange_sim::Config,
    pub broker: TestBroker,
    pub config: Config,
    process: Option<(CancellationToken, JoinHandle<Result<(), spark_portfolio::Error>>)>,
}

impl Stage {
    /// Everything but the process. Nobody trades at the simulated exchanges, so prices stay what they are.
    pub async fn set() -> Self {
        let broker = TestBroker::start().await;
        let address = || SocketAddr::from((Ipv4Addr::LOCALHOST, server::free_port().unwrap()));
        let mut market = spark_exchange_sim::Config {
            binance: address(),
            btcturk: address(),
            admin: address(),
            history_hours: 1,
            activity: 1e-9,
            // Polls come faster here than any real key would be allowed.
            binance_weight_per_min: 10_000_000,
            ..spark_exchange_sim::Config::default()
        };
        market.binance_account = AccountConfig {
            keys: vec![api_key(READING_KEY, false), api_key(TRADING_KEY, true)],
            balances: [holding("BTC", "0.5", "0.25"), holding("USDT", "100", "0"), holding("ETH", "0", "0")].into(),
        };
        market.btcturk_account.balances = [holding("TRY", "4000.55", "0"), holding("BTC", "1", "0")].into();
        let sim = spark_exchange_sim::start(market.clone()).await.unwrap();
        let config = Config {
            price_ttl_ms: 1,
            binance: section(sim.binance_addr, broker.dir(), "binance", READING_KEY),
            btcturk: ExchangeConfig {
                // BTCTurk answers 120 questions for balances a minute.
                poll_interval_ms: 600,
                ..section(sim.btcturk_addr, broker.dir(), "btcturk", (DEMO_BTCTURK_KEY, DEMO_BTCTURK_SECRET))
            },
            ..Config::default()
        };
        Self { sim, market, broker, config, process: None }
    }

    /// Starts the process (again).
    pub async fn start(&mut self) {
        self.stop().await;
        assert_eq!(self.config.validate(), Vec::<String>::new());
        let service = self.broker.service("portfolio").await;
        let stop = service.shutdown.clone();
        self.process = Some((stop, tokio::spawn(spark_portfolio::run(service, self.config.clone()))));
    }

    /// Stops it and checks that it ended well.
    pub async fn stop(&mut self) {
        if let Some((stop, process)) = self.process.take() {
            stop.cancel();
            tokio::time::timeout(LIMIT, process).await.expect("the process stops").unwrap().unwrap();
        }
    }

    /// Another simulator on the ports of the one before, as `market` says now.
    pub async fn restart_exchanges(self) -> Self {
        self.sim.stop().await;
        Self { sim: spark_exchange_sim::start(self.market.clone()).await.unwrap(), ..self }
    }

    /// Sets a fault, written as for `spark sim`. Returns its id.
    pub fn fault(&self, body: &str) -> u64 {
        self.sim.set_fault(body).unwrap()
    }

    /// Counts the requests whose path begins so, at the price of a millisecond each; [`Stage::struck`] tells.
    pub fn count(&self, exchange: &str, path: &str) -> u64 {
        self.fault(&format!(r#"{{"exchange":"{exchange}","kind":"delay","ms":1,"path":"{path}"}}"#))
    }

    /// How often a fault struck.
    pub fn struck(&self, id: u64) -> u64 {
        let listed: Vec<Listed> = self.sim.faults();
        listed.iter().find(|fault| fault.id == id).unwrap().hits
    }

    /// Puts another key where the process reads Binance's.
    pub fn change_key(&self, key: (&str, &str)) {
        write_key(self.broker.dir(), "binance", key);
    }

    /// Reads a stream from its beginning, as the gateway does.
    pub async fn watch(&self, stream: &'static str, subject: &str) -> Watch {
        let bus = self.broker.bus("gateway").await;
        Watch::new(bus, stream, subject)
    }

    /// The balances published for one exchange.
    pub async fn balances(&self, venue: Venue) -> Watch {
        self.watch(subject::LEDGER, &subject::balances(venue)).await
    }
}

fn api_key((key, secret): (&str, &str), can_trade: bool) -> ApiKey {
    ApiKey { key: key.to_owned(), secret: secret.into(), can_trade }
}

fn holding(asset: &str, free: &str, locked: &str) -> (String, Holding) {
    let amount = |text: &str| text.parse::<Decimal>().unwrap();
    (asset.to_owned(), Holding { free: amount(free), locked: amount(locked) })
}

/// The two files of a key.
fn write_key(dir: &Path, name: &str, (key, secret): (&str, &str)) -> [Option<PathBuf>; 2] {
    [("key", key), ("secret", secret)].map(|(kind, content)| {
        let path = dir.join(format!("{name}.{kind}"));
        std::fs::write(&path, format!("{content}\n")).unwrap();
        Some(path)
    })
}

fn section(address: SocketAddr, dir: &Path, name: &str, key: (&str, &str)) -> ExchangeConfig {
    let [api_key_file, api_secret_file] = write_key(dir, name, key);
    let mut section = ExchangeConfig {
        base_url: Some(format!("http://{address}")),
        api_key_file,
        api_secret_file,
        poll_interval_ms: 100,
        auth_pause_ms_max: 200,
        timeout_ms: 5_000,
        per_minute: Some(100_000),
        ..ExchangeConfig::default()
    };
    section.retry.attempts_max = 1;
    // Outages are made on purpose here; the breaker has tests of its own.
    section.breaker.failures_to_open = 1_000;
    section
}

/// Messages of one subject, in order.
pub struct Watch {
    follower: Follower,
    waiting: std::collections::VecDeque<Delivery>,
}

impl Watch {
    fn new(bus: Bus, stream: &'static str, subject: &str) -> Self {
        let follower = Follower::start(bus, "gateway", stream, vec![subject.to_owned()], Start::Beginning);
        Self { follower, waiting: std::collections::VecDeque::new() }
    }

    /// The next message that `wanted` accepts; fails with the last one seen.
    pub async fn until<T: spark_bus_schema::Message + std::fmt::Debug>(&mut self, what: &str, wanted: impl Fn(&T) -> bool) -> T {
        let deadline = tokio::time::Instant::now() + LIMIT;
        let mut last = None;
        loop {
            while let Some(delivery) = self.waiting.pop_front() {
                let message: T = delivery.decode().unwrap();
                if wanted(&message) {
                    return message;
                }
                last = Some(message);
            }
            match tokio::time::timeout_at(deadline, self.follower.next()).await {
                Ok(Some(batch)) => self.waiting.extend(batch),
                _ => panic!("waited for {what}; the last message seen was {last:#?}"),
            }
        }
    }
}

/// Whether a poll failed with this class.
pub fn failed_with(balances: &Balances, error_type: &str) -> bool {
    balances.stale && balances.error.as_ref().is_some_and(|error| error.error_type == error_type)
}
