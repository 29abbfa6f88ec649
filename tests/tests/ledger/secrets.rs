//! Nothing that Spark writes, stores, answers or prints contains a secret, whatever goes wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use spark_bus_schema::subject::{FEED, LEDGER, PARKED};
use spark_nats::{Bus, Follower, Start};
use spark_tests::orders::{limit, market};
use spark_tests::system::System;
use spark_tests::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::setting::{LIMIT, QUIET, desk, pin, turn};

/// Keys that the simulator does not know, and one that is none.
const WRONG_KEY: &str = "recognisable-wrong-trade-key-7f3a";
const WRONG_SECRET: &str = "cmVjb2duaXNhYmxlLXdyb25nLXRyYWRlLXNlY3JldC05YjFj";
const NO_SECRET: &str = "recognisable: this is not base64 at all";
/// What somebody typed in place of the token.
const WRONG_TOKEN: &str = "recognisable-mistyped-token-55d0";
/// How long the live stream is listened to.
const LISTEN: Duration = Duration::from_secs(3);

/// Every route that answers a GET, but the stream.
const ROUTES: [&str; 31] = [
    "/",
    "/health",
    "/metrics",
    "/api/healthz",
    "/api/portfolio",
    "/api/alerts",
    "/api/processes",
    "/api/prices",
    "/api/chart?exchange=binance&symbol=BTCUSDT",
    "/api/public/alert/last",
    "/api/public/metrics",
    "/api/public/metrics.prom",
    "/api/public/smoke-last",
    "/api/tools/metrics/timeseries",
    "/api/tools/get_metrics",
    "/api/exec/orders",
    "/api/exec/orders/nobody",
    "/api/exec/positions",
    "/api/exec/strategies",
    "/api/exec/kill-switch",
    "/api/exec/limits",
    "/api/exec/reconciliation",
    "/api/actions/log",
    "/api/notifications",
    "/api/v2/alerts",
    "/api/v2/alerts/groups",
    "/api/v2/silences",
    "/api/v2/status",
    "/api/v2/receivers",
    "/api/nothing",
    "/api/audit/list",
];

const COMMANDS: [&[&str]; 11] = [
    &["config", "--json"],
    &["config"],
    &["doctor"],
    &["doctor", "--json"],
    &["status", "--json"],
    &["orders", "--json"],
    &["positions", "--json"],
    &["parked", "ls", "--json"],
    &["audit", "list", "--json", "--limit", "1000"],
    &["audit", "verify", "--json"],
    &["setup"],
];

/// Everything secret, by name, in each of the forms in which it could be written.
struct Secrets(BTreeMap<String, Vec<String>>);

impl Secrets {
    fn of(system: &System, pids: &[u32]) -> Self {
        let mut plain: BTreeMap<String, String> = [WRONG_KEY, WRONG_SECRET, NO_SECRET, WRONG_TOKEN]
            .into_iter()
            .map(|text| (text.to_owned(), text.to_owned()))
            .collect();
        for entry in std::fs::read_dir(system.data().join("keys")).unwrap().map(Result::unwrap) {
            let text = std::fs::read_to_string(entry.path()).unwrap().trim().to_owned();
            // The lock of the list of tokens holds nothing.
            if !text.is_empty() {
                plain.insert(entry.path().display().to_string(), text);
            }
        }
        // The keys of the simulated accounts are as the processes have them.
        for pid in pids {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
            for pair in String::from_utf8_lossy(&environment).split('\0') {
                if let Some((name, value)) = pair.split_once('=').filter(|(name, _)| name.starts_with("SPARK_DEMO_")) {
                    plain.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        let forms = |text: String| {
            let bare = |encoded: String| encoded.trim_end_matches('=').to_owned();
            // Of an encoding that does not begin with it, the inner part would be the same in one of three cases.
            vec![bare(BASE64.encode(&text)), hex::encode(&text), text.replace('"', "\\\""), text]
        };
        Self(plain.into_iter().map(|(name, text)| (name, forms(text))).collect())
    }

    fn look(&self, place: &str, text: &str, found: &mut Vec<String>) {
        for (name, forms) in &self.0 {
            if let Some(at) = forms.iter().find_map(|form| text.find(form.as_str())) {
                let around: String = text[text.floor_char_boundary(at.saturating_sub(80))..].chars().take(80).collect();
                found.push(format!("{name} is in {place}, after {around:?}"));
            }
        }
    }

    /// Files of a folder and below, the keys' own folder left out.
    fn look_through(&self, folder: &Path, found: &mut Vec<String>) -> usize {
        let mut files = 0;
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                files += if path.ends_with("keys") { 0 } else { self.look_through(&path, found) };
            } else if let Ok(bytes) = std::fs::read(&path) {
                // A file may go at any moment; sockets cannot be read.
                self.look(&path.display().to_string(), &String::from_utf8_lossy(&bytes), found);
                files += 1;
            }
        }
        files
    }
}

async fn messages(bus: &Bus, stream: &'static str) -> Vec<String> {
    let mut follower = Follower::start(bus.clone(), "operator-secrets", stream, vec![">".to_owned()], Start::Beginning);
    let mut all = Vec::new();
    until(&format!("the end of {stream}"), LIMIT, async || {
        while let Ok(batch) = tokio::time::timeout(Duration::from_millis(100), follower.next()).await {
            for message in batch.unwrap() {
                all.push(format!("{} {:?} {}", message.subject, message.headers, String::from_utf8_lossy(&message.payload)));
            }
            // It never ends by itself: the FEED goes on.
            if follower.is_caught_up() {
                return Ok(());
            }
        }
        if follower.is_caught_up() { Ok(()) } else { Err(format!("{} so far", all.len())) }
    })
    .await;
    all
}

async fn stream_of(system: &System) -> String {
    let address = system.address().replace("http://", "");
    let mut socket = tokio::net::TcpStream::connect(&address).await.unwrap();
    let request = format!("GET /api/stream HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // What ends it is the time.
    let _ = tokio::time::timeout(LISTEN, socket.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn key_file(name: &str, content: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// Everything that can go wrong where a secret is in hand.
async fn trouble(system: &System, echo: &str) {
    let desk = desk(system);
    for (number, fault) in [
        json!({"exchange": "binance", "kind": "status", "code": 400, "path": "/api/v3/order",
            "body": format!("{{\"code\":-2014,\"msg\":\"{echo} is not valid\"}}")}),
        json!({"exchange": "binance", "kind": "status", "code": 500, "path": "/api/v3/order", "body": format!("<html>{echo}</html>")}),
        json!({"exchange": "binance", "kind": "status", "code": 401, "body": "{\"code\":-2015,\"msg\":\"no\"}"}),
        json!({"exchange": "binance", "kind": "garbage", "variant": "truncated"}),
        json!({"exchange": "binance", "kind": "clock_skew", "ms": 60_000}),
        json!({"exchange": "binance", "kind": "drop"}),
        json!({"exchange": "binance", "kind": "revoke_key"}),
    ]
    .into_iter()
    .enumerate()
    {
        system.fault(fault).await;
        for order in [market("binance", "BTCUSDT", "buy", "0.001"), limit("btcturk", "BTCTRY", "sell", "0.001", "2500000", "gtc")]
        {
            // Any answer will do.
            let _ = desk
                .order(&format!("trouble-{number}-{order}").replace(|c: char| !c.is_ascii_alphanumeric(), "")[..40], &order)
                .await;
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
        system.clear_faults().await;
    }
    let http = reqwest::Client::new();
    for path in ["/api/exec/order", "/api/exec/kill-switch"] {
        let request = http.post(system.address() + path).bearer_auth(WRONG_TOKEN).header("X-Idempotency-Key", "wrong");
        let answer = request.json(&market("binance", "BTCUSDT", "buy", "0.001")).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_any_log_message_answer_or_output() {
    let _turn = turn().await;
    let (key, secret, none) =
        (key_file("wrong.key", WRONG_KEY), key_file("wrong.secret", WRONG_SECRET), key_file("none.secret", NO_SECRET));
    let config = format!(
        "{QUIET}[executor.binance]\nmode = \"live\"\n[executor.btcturk]\nmode = \"live\"\ntrade_key_file = {key:?}\ntrade_secret_file = {secret:?}\n\
         [portfolio.btcturk]\napi_key_file = {key:?}\napi_secret_file = {none:?}\n[portfolio.binance]\npoll_interval_ms = 500\n"
    );
    let system = System::start(env!("CARGO_BIN_EXE_spark-under-test"), &config, &[]).await;
    let secrets = Secrets::of(&system, &[system.pid("executor").await, system.pid("portfolio").await]);
    assert!(secrets.0.len() > 4 + 8 + 6, "{:?}", secrets.0.keys());
    pin(&system, "binance", "BTCUSDT", "60000.00", "60010.00").await;
    let desk = desk(&system);
    until("orders flow", LIMIT, async || {
        let answer =
            desk.order(&format!("{:?}", std::time::Instant::now()), &market("binance", "BTCUSDT", "buy", "0.001")).await?;
        if answer.json()["approved"] == true { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    // An exchange that says the key back, and may be logged.
    let echo =
        secrets.0.iter().find(|(name, _)| name.as_str() == "SPARK_DEMO_BINANCE_TRADE_KEY").unwrap().1.last().unwrap().clone();
    trouble(&system, &echo).await;

    let mut found = Vec::new();
    let bus = system.bus("operator").await;
    for stream in [LEDGER, FEED, PARKED] {
        let all = messages(&bus, stream).await;
        assert!(stream == PARKED || all.len() > 20, "{stream}: {}", all.len());
        all.iter().for_each(|message| secrets.look(stream, message, &mut found));
    }
    for path in ROUTES {
        let text = system.get(path).await.unwrap_or_else(|refused| refused);
        secrets.look(path, &text, &mut found);
    }
    let live = stream_of(&system).await;
    assert!(live.contains("event:") || live.contains("data:"), "{live:.300}");
    secrets.look("/api/stream", &live, &mut found);
    let text = std::fs::read_to_string(system.data().join("prometheus/targets.json")).unwrap();
    let targets: serde_json::Value = serde_json::from_str(&text).unwrap();
    let http = reqwest::Client::new();
    for target in targets.as_array().unwrap() {
        let address = target["targets"][0].as_str().unwrap();
        let metrics = http.get(format!("http://{address}/metrics")).send().await.unwrap().text().await.unwrap();
        assert!(metrics.contains("spark_"), "{address}: {metrics:.200}");
        secrets.look(&format!("/metrics of {target}"), &metrics, &mut found);
    }
    for command in COMMANDS {
        let (_, printed) = system.spark(command);
        assert!(!printed.contains("error: unexpected") && !printed.contains("unrecognized"), "{command:?}: {printed}");
        secrets.look(&format!("{command:?}"), &printed, &mut found);
    }
    // Logs, stores, checkpoints: all that is on the disk, whether it was looked at above or not.
    let files = secrets.look_through(&system.data(), &mut found);
    assert!(files > 20, "{files}");
    secrets.look("up.log", &system.printed(), &mut found);
    assert_eq!(found, Vec::<String>::new());
}
