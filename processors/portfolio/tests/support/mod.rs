//! What the tests run against: a real broker, and exchanges on real sockets that answer a portfolio's calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::{Venue, subject};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Delivery, Follower, Start};
use spark_portfolio::{Config, ExchangeConfig};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);
const KEY: &str = "portfolio-test-key";
/// Base64, so that both exchanges take it.
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What an exchange does at the moment.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// `BTCUSDT` at Binance, `BTCTRY` and `USDTTRY` at BTCTurk.
    pub prices: BTreeMap<&'static str, String>,
    pub revoked: bool,
    pub trading_key: bool,
    pub down: bool,
    pub delay: Duration,
    pub balances: &'static str,
}

/// An exchange on a loopback port.
pub struct FakeExchange {
    pub url: String,
    behaviour: Arc<Mutex<Behaviour>>,
    requests: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Drop for FakeExchange {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeExchange {
    pub async fn start(venue: Venue) -> Self {
        let behaviour = Arc::new(Mutex::new(Behaviour {
            prices: BTreeMap::from([
                ("BTCUSDT", "60000".to_owned()),
                ("BTCTRY", "2400000".to_owned()),
                ("USDTTRY", "40".to_owned()),
            ]),
            revoked: false,
            trading_key: false,
            down: false,
            delay: Duration::ZERO,
            balances: match venue {
                Venue::Binance => {
                    r#"[{"asset":"BTC","free":"0.50000000","locked":"0.25000000"},{"asset":"USDT","free":"100","locked":"0"}]"#
                }
                _ => r#"[{"asset":"TRY","free":"4000,00","locked":"0"},{"asset":"BTC","free":"1","locked":"0"}]"#,
            },
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (state, log) = (Arc::clone(&behaviour), Arc::clone(&requests));
        let app = Router::new().fallback(move |request: Request| {
            let now = state.lock().unwrap().clone();
            log.lock().unwrap().push(request.uri().path().to_owned());
            async move {
                tokio::time::sleep(now.delay).await;
                let (status, body) = if now.down { (503, String::new()) } else { answer(venue, &now, &request) };
                Response::builder().status(status).body(Body::from(body)).unwrap()
            }
        });
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, behaviour, requests, server }
    }

    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(venue: Venue, now: &Behaviour, request: &Request) -> (u16, String) {
    let refused = |code: i64| {
        (
            401,
            format!(
                r#"{{"code":{code},"msg":"Invalid API-key, IP, or permissions for action.","success":false,"message":"Unauthorized"}}"#
            ),
        )
    };
    let time_ms = spark_nats::now().as_millis();
    match request.uri().path() {
        "/api/v3/time" | "/api/v2/server/time" => (200, format!(r#"{{"serverTime":{time_ms}}}"#)),
        "/api/v3/ticker/price" => {
            let rows: Vec<String> =
                now.prices.iter().map(|(pair, price)| format!(r#"{{"symbol":"{pair}","price":"{price}"}}"#)).collect();
            (200, format!("[{}]", rows.join(",")))
        }
        "/api/v2/ticker" => {
            let rows: Vec<String> = now
                .prices
                .iter()
                .filter(|(pair, _)| pair.ends_with("TRY"))
                .map(|(pair, price)| format!(r#"{{"pair":"{pair}","timestamp":{time_ms}.0,"last":{price}}}"#))
                .collect();
            (200, format!(r#"{{"data":[{}],"success":true,"message":null,"code":0}}"#, rows.join(",")))
        }
        _ if now.revoked || !is_signed(venue, request) => refused(-2015),
        "/sapi/v1/account/apiRestrictions" => (
            200,
            format!(r#"{{"enableReading":true,"enableSpotAndMarginTrading":{},"enableWithdrawals":false}}"#, now.trading_key),
        ),
        "/api/v3/account" => (200, format!(r#"{{"canTrade":true,"balances":{}}}"#, now.balances)),
        "/api/v1/users/balances" => (200, format!(r#"{{"data":{},"success":true,"message":null,"code":0}}"#, now.balances)),
        _ => (404, String::new()),
    }
}

fn is_signed(venue: Venue, request: &Request) -> bool {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if venue != Venue::Binance {
        return header("X-PCK") == KEY && !header("X-Signature").is_empty();
    }
    let Some((payload, signature)) = request.uri().query().and_then(|query| query.rsplit_once("&signature=")) else {
        return false;
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(payload.as_bytes());
    header("X-MBX-APIKEY") == KEY && hex::encode(mac.finalize().into_bytes()) == signature
}

/// A portfolio process against two exchanges and a broker of its own.
pub struct Stage {
    pub binance: FakeExchange,
    pub btcturk: FakeExchange,
    pub broker: TestBroker,
    pub config: Config,
    process: Option<(CancellationToken, JoinHandle<Result<(), spark_portfolio::Error>>)>,
}

impl Stage {
    /// Everything but the process.
    pub async fn set() -> Self {
        let broker = TestBroker::start().await;
        let binance = FakeExchange::start(Venue::Binance).await;
        let btcturk = FakeExchange::start(Venue::Btcturk).await;
        let config = Config {
            price_ttl_ms: 1,
            binance: section(&binance.url, broker.dir()),
            btcturk: section(&btcturk.url, broker.dir()),
            ..Config::default()
        };
        Self { binance, btcturk, broker, config, process: None }
    }

    /// Starts the process (again).
    pub async fn start(&mut self) {
        self.stop().await;
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

fn section(url: &str, dir: &Path) -> ExchangeConfig {
    let file = |name: &str, content: &str| -> Option<PathBuf> {
        let path = dir.join(name);
        std::fs::write(&path, format!("{content}\n")).unwrap();
        Some(path)
    };
    let mut section = ExchangeConfig {
        base_url: Some(url.to_owned()),
        api_key_file: file("key", KEY),
        api_secret_file: file("secret", SECRET),
        poll_interval_ms: 100,
        auth_pause_ms_max: 200,
        timeout_ms: 2_000,
        ..ExchangeConfig::default()
    };
    section.retry.attempts_max = 1;
    // Outages are made on purpose here; the breaker has tests of its own.
    section.breaker.failures_to_open = 1_000;
    section.per_minute = Some(100_000);
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
