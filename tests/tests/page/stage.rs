//! The system and the browser that all steps share.

use std::fmt::Write as _;
use std::ops::Deref;
use std::path::Path;
use std::time::Duration;

use spark_bus_schema::market::TickBatch;
use spark_bus_schema::{Message, Venue, subject};
use spark_nats::{Bus, Meta, Start};
use spark_tests::browser::{Browser, Look, Page};
use spark_tests::rules;
use spark_tests::system::System;
use spark_tests::wait::until;

/// Whatever is waited for comes within this time, also on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);
const BINARY: &str = env!("CARGO_BIN_EXE_spark-under-test");
/// Bars of the backtest that the page shows.
const BARS: i64 = 600;

/// A whole Spark with something to show everywhere, and a browser.
pub struct Stage {
    pub system: System,
    pub browser: Browser,
    pub bus: Bus,
    /// Of the gateway: `http://127.0.0.1:<port>`.
    pub address: String,
    /// The operator's.
    pub token: String,
}

impl Stage {
    pub async fn start() -> Self {
        let config = config();
        let (system, browser) = tokio::join!(System::start(BINARY, &config, &[]), Browser::start());
        until("all is well", LIMIT, async || {
            let metrics = system.json("/api/public/metrics").await?;
            if metrics["status"] == "DEMO" { Ok(()) } else { Err(metrics.to_string()) }
        })
        .await;
        let bus = system.bus("operator").await;
        let path = system.data().join("keys").join("admin.token");
        let token = std::fs::read_to_string(path).unwrap().trim().to_owned();
        let stage = Self { address: system.address(), token, bus, system, browser };
        stage.furnish().await;
        stage
    }

    /// What a demo has not by itself: a strategy, a model in its preview, a backtest, a message that nobody can read.
    async fn furnish(&self) {
        let bars = bars(&self.system.data());
        // None of the words holds a blank.
        let done = |line: &str| {
            let (code, printed) = self.system.spark(&line.split_whitespace().collect::<Vec<_>>());
            assert_eq!(code, 0, "spark {line}: {printed}");
        };
        let cross = "--kind sma_cross --param fast=10 --param slow=30 --symbol BTCUSDT --timeframe 1m";
        done(&format!("strategy create cross-1 {cross} --cash 1000 --reason page"));
        done("rollout start --confirm --reason page");
        done(&format!("backtest run --queue --name cross-1 --strategy sma_cross --fast 10 --slow 30 --bars {bars}"));
        let feed = self.system.bus("feed").await;
        let target = subject::ticks(Venue::Binance, "BTCUSDT");
        feed.store_kind(&target, TickBatch::KIND, "no message".into(), Meta::default()).await.unwrap();
    }

    /// A page that is loaded and hears the live stream.
    pub async fn visit(&self, look: Look) -> Visit<'_> {
        let page = self.browser.page(look).await;
        page.go(&self.address).await;
        page.until("the live stream is heard", "document.body.dataset.link === 'live' || document.body.outerHTML.slice(0, 200)")
            .await;
        let visit = Visit { stage: self, page };
        visit.settled().await;
        visit
    }

    /// Adds a fault with the command that a person would use.
    pub fn fault(&self, arguments: &[&str]) {
        let (code, printed) = self.system.spark(&[&["sim", "fault", "add"], arguments].concat());
        assert_eq!(code, 0, "spark sim fault add {arguments:?}: {printed}");
    }

    /// Messages of a subject of the LEDGER, from now on.
    pub fn ledger(&self, name: &str, subject: &str) -> spark_nats::Follower {
        spark_nats::Follower::start(self.bus.clone(), name, subject::LEDGER, vec![subject.to_owned()], Start::New)
    }
}

/// A visit of the page; it ends with [`Visit::end`], which says whether the page behaved.
pub struct Visit<'a> {
    stage: &'a Stage,
    page: Page,
}

impl Deref for Visit<'_> {
    type Target = Page;

    fn deref(&self) -> &Page {
        &self.page
    }
}

impl Visit<'_> {
    /// Waits until every section has been drawn.
    pub async fn settled(&self) {
        self.until(
            "every section is drawn",
            "(() => { const open = [...document.querySelectorAll('section[data-section]')].filter((one) => one.dataset.state === 'loading');
               return document.querySelectorAll('section[data-section]').length > 0 && open.length === 0 || open.map((one) => one.id).join(' '); })()",
        )
        .await;
    }

    /// The visit ends: nothing in the console, nothing asked of others, nothing that the policy refused.
    pub async fn end(self) {
        self.behaved().await;
        self.page.close().await;
    }

    /// As at the end of the visit, in the middle of it.
    pub async fn behaved(&self) {
        assert_eq!(self.page.complaints(), Vec::<String>::new(), "the console is not empty");
        self.asked_only_the_gateway();
        let refused = self.page.evaluate("spark_test.refused").await;
        assert_eq!(refused, serde_json::json!([]), "the page tried what its own policy refuses");
    }

    /// No request went anywhere else.
    pub fn asked_only_the_gateway(&self) {
        let requests = self.page.requests();
        assert!(!requests.is_empty(), "no request was seen at all: then none to others would be seen either");
        let origin = format!("{}/", self.stage.address);
        let inside = |url: &str| url.starts_with(&origin) || url.starts_with("data:") || url.starts_with("blob:");
        let outside: Vec<_> = requests.iter().filter(|request| !inside(&request.url)).collect();
        assert!(outside.is_empty(), "asked others than {origin}: {outside:#?}");
    }
}

/// Polls once a second, within the exchanges' quotas; rules with windows of seconds, so that a fault is an alert, and over, soon.
fn config() -> String {
    let exchange = |name: &str| {
        format!(
            "[portfolio.{name}]\npoll_interval_ms = 1000\nauth_pause_ms_max = 1000\nper_minute = 5000\n\
             [portfolio.{name}.breaker]\nopen_ms = 500\n"
        )
    };
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{}.toml", std::process::id()));
    let changes = [("ws_staleness", "warning", "2"), ("ws_staleness_venue", "warning", "2")];
    let rules = rules::shipped_with(path, &changes);
    let feed = "[feed.binance]\nsymbols = [\"BTCUSDT\", \"ETHUSDT\", \"BNBUSDT\", \"SOLUSDT\", \"XRPUSDT\"]\n";
    let gateway = "[gateway]\nrate_per_second = 1000\nrate_burst = 1000\n";
    let guardrail = format!("[guardrail]\nrules = {:?}\n", rules.display().to_string());
    format!("{}{}{feed}{gateway}{guardrail}", exchange("binance"), exchange("btcturk"))
}

/// A file of bars that a crossing of averages trades a few times on.
fn bars(folder: &Path) -> String {
    let mut text = String::from("open_time,open,high,low,close,volume\n");
    for n in 0..BARS {
        let price = 1_000 + (n * 37 % 41) + (n / 50 % 7) * 20;
        writeln!(text, "{},{price},{},{},{price},1", 1_700_000_000_000 + n * 60_000, price + 1, price - 1).unwrap();
    }
    let path = folder.join("bars.csv");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}
