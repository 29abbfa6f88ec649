//! A mistake in the configuration stops `spark config --check`, `spark up` and a single process alike: exit 64, nothing
//! started, and a message that names file, line, key, value and what would be right.

use std::path::Path;
use std::process::{Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_spark-under-test");
const USAGE: i32 = 64;
/// Never in any message.
const SECRET: &str = "hunter2";

/// A folder of its own, gone at the end of the test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("spark-configuration-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temporary folder");
        Self(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.0.join(name), content).expect("a file in the folder");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the binary in the folder, without what the person running the tests has set.
fn spark(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("SPARK_") || text.starts_with("NATS_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
    command.envs(environment.iter().copied()).args(arguments).current_dir(folder).stdin(Stdio::null());
    command.output().expect("the binary starts")
}

/// Exit 64, every part on one line of stderr, no secret, and nothing left behind.
fn refusal(folder: &Path, arguments: &[&str], environment: &[(&str, &str)], parts: &[&str]) -> Result<(), String> {
    let output = spark(folder, arguments, environment);
    let said = String::from_utf8_lossy(&output.stderr);
    let named = said.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    let wrong = if output.status.code() != Some(USAGE) {
        format!("{} instead of exit {USAGE}", output.status)
    } else if !named {
        format!("no line has all of {parts:?}")
    } else if said.contains(SECRET) {
        "a secret is told".to_owned()
    } else if folder.join(".spark").exists() {
        "it began to work".to_owned()
    } else {
        return Ok(());
    };
    Err(format!("{arguments:?} with {environment:?}: {wrong}:\n{said}"))
}

/// All that is wrong at once.
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

/// One mistake, told by all three. `process` is the one that it concerns.
struct Mistake<'a> {
    process: &'a str,
    toml: &'a str,
    rules: Option<&'a str>,
    environment: &'a [(&'a str, &'a str)],
    parts: &'a [&'a str],
}

impl Mistake<'_> {
    /// What is not as it should be.
    fn check(&self, folder: &Folder) -> Vec<String> {
        folder.write("spark.toml", self.toml);
        if let Some(rules) = self.rules {
            folder.write("rules.toml", rules);
        }
        let commands = [&["config", "--check"][..], &["up", "--port", "0"], &[self.process]];
        let told = commands.map(|arguments| refusal(&folder.0, arguments, self.environment, self.parts));
        told.into_iter().filter_map(Result::err).collect()
    }
}

fn in_file<'a>(process: &'a str, toml: &'a str, parts: &'a [&'a str]) -> Mistake<'a> {
    Mistake { process, toml, rules: None, environment: &[], parts }
}

#[test]
fn mistakes_in_the_file_stop_everything() {
    let mut wrong = Vec::new();
    let folder = Folder::new("file");
    for (process, toml, parts) in [
        // Unknown keys, with the one that was meant.
        (
            "portfolio",
            "[portfolio.binance]\npoll_intervall_ms = 5\n",
            &["spark.toml:2", "portfolio.binance.poll_intervall_ms = 5", "`poll_interval_ms`"][..],
        ),
        ("portfolio", "[portfolio.retry]\nattempts_max = 1\n", &["spark.toml:1", "portfolio.retry"]),
        ("guardrail", "\n[guardrial]\n", &["spark.toml:2", "guardrial", "`guardrail`"]),
        // Wrong types and units.
        (
            "portfolio",
            "[portfolio.btcturk]\npoll_interval_ms = \"60s\"\n",
            &["spark.toml:2", "portfolio.btcturk.poll_interval_ms = \"60s\"", "text", "whole number"],
        ),
        (
            "feed",
            "[feed.binance]\nenabled = true\nreconnect_pause_ms_max = 1.5\n",
            &["spark.toml:3", "feed.binance.reconnect_pause_ms_max = 1.5", "whole number"],
        ),
        ("feed", "[feed.btcturk]\nenabled = \"no\"\n", &["spark.toml:2", "feed.btcturk.enabled = \"no\"", "text"]),
        ("gateway", "[gateway]\nlisten = \"4001\"\n", &["spark.toml:2", "gateway.listen = \"4001\"", "127.0.0.1:4001"]),
        ("portfolio", "[portfolio]\nprice_ttl_ms = -30\n", &["spark.toml:2", "portfolio.price_ttl_ms = -30"]),
        // Values that are impossible.
        (
            "portfolio",
            "[portfolio.binance]\npoll_interval_ms = 0\n",
            &["spark.toml:2", "portfolio.binance.poll_interval_ms = 0", "e.g. 60000"],
        ),
        ("portfolio", "[portfolio]\nprice_step_pct_max = 0\n", &["spark.toml:2", "portfolio.price_step_pct_max = 0", "e.g. 20"]),
        (
            "portfolio",
            "[portfolio.btcturk.breaker]\nopen_ms = 1\n",
            &["spark.toml:2", "portfolio.btcturk.breaker.open_ms = 1", "10 to 3600000"],
        ),
        (
            "portfolio",
            "[portfolio.binance.retry]\nbase_ms = 500\npause_ms_max = 100\n",
            &["spark.toml:3", "portfolio.binance.retry.pause_ms_max = 100", "500 to"],
        ),
        (
            "feed",
            "[feed.binance]\nreconnect_pause_ms_min = 5000\nreconnect_pause_ms_max = 100\n",
            &["spark.toml:3", "feed.binance.reconnect_pause_ms_max = 100", "5000 to"],
        ),
        (
            "gateway",
            "[supervisor]\nrestart_pause_ms = 500\nrestart_pause_max_ms = 100\n",
            &["spark.toml:3", "supervisor.restart_pause_max_ms = 100", "write the same or more"],
        ),
        ("exchange-sim", "[exchange-sim]\nactivity = -1.0\n", &["spark.toml:2", "exchange-sim.activity", "-1", "above 0"]),
        // Addresses.
        (
            "feed",
            "[feed.binance]\nws_url = \"http://127.0.0.1:1\"\n",
            &["spark.toml:2", "feed.binance.ws_url = \"http://127.0.0.1:1\"", "wss://"],
        ),
        (
            "feed",
            "[feed.btcturk]\nrest_url = \"api.btcturk.com\"\n",
            &["spark.toml:2", "feed.btcturk.rest_url = \"api.btcturk.com\"", "https://"],
        ),
        (
            "portfolio",
            "[portfolio.binance]\nbase_url = \"http://api.binance.com\"\n",
            &["spark.toml:2", "portfolio.binance.base_url = \"http://api.binance.com\"", "use https"],
        ),
        (
            "portfolio",
            "[portfolio.binance]\nbase_url = \"https://me:hunter2@api.binance.com\"\n",
            &["spark.toml:2", "portfolio.binance.base_url", "keys go into the environment"],
        ),
        (
            "guardrail",
            "[nats]\nurl = \"nats://127.0.0.1:4222,http://127.0.0.1:1\"\n",
            &["spark.toml:2", "nats.url = \"http://127.0.0.1:1\"", "nats://127.0.0.1:4222"],
        ),
        // Files.
        (
            "guardrail",
            "[guardrail]\nrules = \"no/such.toml\"\n",
            &["spark.toml:2", "guardrail.rules", "no/such.toml", "built-in"],
        ),
        ("guardrail", "[guardrail]\nrules = \".\"\n", &["spark.toml:2", "guardrail.rules", "\".\"", "readable TOML file"]),
        ("gateway", "[nats]\nseed_file = \"no.nk\"\n", &["spark.toml:2", "nats.seed_file = \"no.nk\"", "name an existing one"]),
        // Symbols.
        (
            "feed",
            "[feed.btcturk]\nsymbols = [\"BTCTRY\", \"NOSUCH\"]\n",
            &["spark.toml:2", "feed.btcturk.symbols", "\"NOSUCH\"", "[[instrument]]"],
        ),
        ("feed", "[feed.binance]\nsymbols = []\n", &["spark.toml:2", "feed.binance.symbols", "enabled = false"]),
        ("feed", "[[instrument]]\nsymbol = \"doge usdt\"\n", &["spark.toml:", "instrument"]),
        // Not TOML at all.
        ("gateway", "[gateway]\nrate_burst = \n", &["spark.toml:2"]),
        ("gateway", "[gateway]\nrate_burst = 5\n[gateway]\n", &["spark.toml:3", "duplicate"]),
    ] {
        wrong.extend(in_file(process, toml, parts).check(&folder));
    }
    assert_none(&wrong);
}

/// A good rule.
const RULE: &str = r#"[[rule]]
id = "slow"
alert = "HighLatency"
metric = "call_latency_ms"
scope = ["exchange"]
aggregation = "quantile"
quantile = 0.95
window = "5m"
warning = 1000
critical = { threshold = 2500, for = "30s" }
summary = "{exchange} is slow"
cause = "c"
first_action = "f"
"#;

#[test]
fn mistakes_in_the_rules_stop_everything() {
    let mut wrong = Vec::new();
    let folder = Folder::new("rules");
    let toml = "[guardrail]\nrules = \"rules.toml\"\n";
    folder.write("spark.toml", toml);
    folder.write("rules.toml", RULE);
    let good = spark(&folder.0, &["config", "--check"], &[]);
    assert_eq!(good.status.code(), Some(0), "{}", String::from_utf8_lossy(&good.stderr));

    let critical = "critical = { threshold = 2500, for = \"30s\" }";
    for (line, with, parts) in [
        (
            "window = \"5m\"",
            "window = \"5 minutes\"",
            &["rules.toml:8", "rule.slow.window = \"5 minutes\"", "unit of time", "\"5m\""][..],
        ),
        ("window = \"5m\"", "window = \"300\"", &["rules.toml:8", "rule.slow.window = \"300\"", "without a unit", "\"300s\""]),
        ("window = \"5m\"", "window = 300", &["rules.toml:8", "rule.slow.window = 300", "without a unit", "\"300s\""]),
        ("window = \"5m\"", "window = \"0s\"", &["rules.toml:8", "rule.slow.window = \"0s\"", "without length"]),
        ("window = \"5m\"", "windwo = \"5m\"", &["rules.toml:8", "rule.slow.windwo", "unknown key", "`window`"]),
        (critical, "critical = { threshold = 2500, for = 30 }", &["rules.toml:10", "rule.slow.critical.for = 30", "\"30s\""]),
        (
            critical,
            "critical = { threshold = 2500, fro = \"30s\" }",
            &["rules.toml:10", "rule.slow.critical.fro", "unknown key", "threshold, for"],
        ),
        (critical, "critical = 500", &["rules.toml:10", "rule.slow.critical = 500", "before the warning of 1000", "swap"]),
        (critical, "critical = 1e12", &["rules.toml:10", "rule.slow.critical = 1e12", "can never be crossed"]),
        ("warning = 1000", "warning = inf", &["rules.toml:9", "rule.slow.warning = inf", "finite"]),
        ("warning = 1000", "warning = nan", &["rules.toml:9", "rule.slow.warning = nan", "finite"]),
        ("warning = 1000", "warning = -1", &["rules.toml:9", "rule.slow.warning = -1", "impossible", "from 0"]),
        ("warning = 1000", "warning = \"1s\"", &["rules.toml:9", "rule.slow.warning = \"1s\"", "not a number"]),
        ("quantile = 0.95", "quantile = 95", &["rules.toml:7", "rule.slow.quantile = 95", "quantile = 0.95"]),
        (
            "metric = \"call_latency_ms\"",
            "metric = \"call_latency\"",
            &["rules.toml:4", "rule.slow.metric = \"call_latency\"", "unknown metric", "`call_latency_ms`"],
        ),
        (
            "scope = [\"exchange\"]",
            "scope = [\"venue\"]",
            &["rules.toml:5", "rule.slow.scope", "no label `venue`", "exchange, service, operation"],
        ),
        (
            "alert = \"HighLatency\"",
            "alert = \"High latency!\"",
            &["rules.toml:3", "rule.slow.alert", "\"High latency!\"", "A-Z"],
        ),
        (
            "summary = \"{exchange} is slow\"",
            "summary = \"{symbol}\"",
            &["rules.toml:11", "rule.slow.summary", "{symbol}", "exchange"],
        ),
    ] {
        assert!(RULE.contains(line), "{line}");
        let rules = RULE.replace(line, with);
        wrong.extend(Mistake { process: "guardrail", toml, rules: Some(&rules), environment: &[], parts }.check(&folder));
    }
    let twice = format!("{RULE}\n{RULE}");
    for (rules, parts) in [
        (twice.as_str(), &["rules.toml:15", "rule.slow.id = \"slow\"", "line 1 has this id already", "an id of its own"][..]),
        ("", &["rules.toml", "there is no rule", "[[rule]]"]),
        ("[[rules]]\nid = \"slow\"\n", &["rules.toml:1", "rules", "unknown key", "`rule`"]),
        ("[[rule]]\nid = = 5\n", &["rules.toml:2", "not TOML"]),
    ] {
        wrong.extend(Mistake { process: "guardrail", toml, rules: Some(rules), environment: &[], parts }.check(&folder));
    }
    assert_none(&wrong);
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    let mut wrong = Vec::new();
    let folder = Folder::new("environment");
    let toml = "[portfolio.binance]\npoll_interval_ms = 1000\n";
    for (process, environment, parts) in [
        (
            "portfolio",
            ("SPARK_PORTFOLIO__BINANCE__POLL_INTERVAL_MS", "soon"),
            &[
                "environment SPARK_PORTFOLIO__BINANCE__POLL_INTERVAL_MS",
                "portfolio.binance.poll_interval_ms = \"soon\"",
                "number",
            ][..],
        ),
        (
            "portfolio",
            ("SPARK_PORTFOLIO__BINANCE__POLL_INTERVAL_MS", "0"),
            &["environment SPARK_PORTFOLIO__BINANCE__POLL_INTERVAL_MS", "portfolio.binance.poll_interval_ms = 0", "e.g. 60000"],
        ),
        (
            "portfolio",
            ("SPARK_PORTFOLIO__BINANCE__POLL_INTERVAL", "5"),
            &["environment SPARK_PORTFOLIO__BINANCE__POLL_INTERVAL", "`poll_interval_ms`"],
        ),
        (
            "feed",
            ("SPARK_FEED__BINANCE__SYMBOLS", "[\"DOGEUSDT\"]"),
            &["environment SPARK_FEED__BINANCE__SYMBOLS", "feed.binance.symbols", "DOGEUSDT", "[[instrument]]"],
        ),
        (
            "feed",
            ("SPARK_FEED__BTCTURK__WS_URL", "https://x"),
            &["environment SPARK_FEED__BTCTURK__WS_URL", "feed.btcturk.ws_url = \"https://x\"", "wss://"],
        ),
        (
            "guardrail",
            ("SPARK_GUARDRAIL__RULES", "nowhere.toml"),
            &["environment SPARK_GUARDRAIL__RULES", "guardrail.rules", "nowhere.toml", "name a readable TOML file"],
        ),
        ("gateway", ("SPARK_CONFIG", "nowhere.toml"), &["nowhere.toml", "cannot be read", "SPARK_CONFIG"]),
    ] {
        wrong.extend(Mistake { process, toml, rules: None, environment: &[environment], parts }.check(&folder));
    }
    assert_none(&wrong);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let mut wrong = Vec::new();
    let folder = Folder::new("unreadable");
    folder.write("latin1.toml", b"# caf\xe9\n[gateway]\n");
    for (file, parts) in [
        ("missing.toml", &["missing.toml", "cannot be read", "--config"][..]),
        (".", &[".", "cannot be read", "--config"]),
        ("latin1.toml", &["latin1.toml", "cannot be read", "UTF-8"]),
    ] {
        for arguments in [&["config", "--check", "--config", file][..], &["up", "--config", file], &["feed", "--config", file]] {
            wrong.extend(refusal(&folder.0, arguments, &[], parts).err());
        }
    }
    assert_none(&wrong);
}

#[test]
fn mistakes_that_only_a_process_meets_are_named_too() {
    let mut wrong = Vec::new();
    let folder = Folder::new("process");
    folder.write("not-a-seed.nk", "hunter2\n");
    let mut check = |environment: (&str, &str), parts: &[&str]| {
        wrong.extend(refusal(&folder.0, &["feed"], &[environment], parts).err());
    };
    check(("NATS_URL", "http://127.0.0.1:4222"), &["http://127.0.0.1:4222", "nats://127.0.0.1:4222"]);
    check(("NATS_URL", "nats://127.0.0.1:99999"), &["nats://127.0.0.1:99999"]);
    check(("SPARK_NKEY_SEED_FILE", "missing.nk"), &["missing.nk", "SPARK_NKEY_SEED_FILE"]);
    check(("SPARK_NKEY_SEED_FILE", "not-a-seed.nk"), &["not-a-seed.nk", "seed"]);
    check(("NATS_CREDS", "missing.creds"), &["missing.creds", "NATS_CREDS"]);
    check(("SPARK_METRICS_ADDR", "9101"), &["9101", "--metrics"]);
    check(("SPARK_LOG", "info,spark_feed=loud"), &["SPARK_LOG", "loud"]);
    assert_none(&wrong);
}
