//! Prometheus with the shipped configuration: paths and intervals are the test's, everything else is not.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use spark_nats::server::free_port;
use spark_tests::system::System;
use spark_tests::wait::until;

use crate::programs::{Running, printed, run};
use crate::{Folder, LIMIT, dashboards, demo, root, yesterday};

/// Names that the specification fixes although promtool's style guide would choose others.
const FIXED_NAMES: [&str; 2] = [
    "spark_portfolio_asset_count non-histogram and non-summary metrics should not have \"_count\" suffix",
    "spark_portfolio_refresh_latency_ms metric names should not contain abbreviated units",
];

#[tokio::test]
async fn prometheus_scrapes_every_process_loads_every_rule_and_has_data_for_every_panel() {
    let system = demo("").await;
    let folder = Folder::new("prometheus");
    yesterday::write(&folder.0.join("store"), &recorded());
    let prometheus = start(&folder, &system);
    until("every target is up", LIMIT, async || targets(&prometheus, &system).await).await;
    until("every rule is evaluated and healthy", LIMIT, async || rules(&prometheus).await).await;
    for rule in recorded() {
        until(&format!("{rule} yields values"), LIMIT, async || values(&prometheus, &rule).await).await;
    }
    // An alert for the alerts' panels.
    system.fault(json!({"exchange": "binance", "kind": "revoke_key"})).await;
    for (dashboard, panel, query) in dashboards::queries() {
        until(&format!("{dashboard}: {panel}: data"), LIMIT, async || values(&prometheus, &query).await).await;
    }
    system.clear_faults().await;
    counted_once(&prometheus).await;
}

#[tokio::test]
async fn promtool_finds_nothing_to_complain_about_in_the_metrics_of_any_process() {
    let system = demo("").await;
    let mut problems = Vec::new();
    for (service, address) in addresses(&system) {
        let text = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
        assert!(text.contains("spark_up{"), "{service}: {text}");
        let output = run("promtool", &["check", "metrics"], &text);
        let said = printed(&output);
        problems.extend(said.lines().filter(|line| !FIXED_NAMES.contains(line)).map(|line| format!("{service}: {line}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The names of the recording rules that are shipped.
fn recorded() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("dashboards/prometheus/rules/spark-portfolio.rules.yml")).unwrap();
    let names: Vec<String> =
        text.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).map(ToOwned::to_owned).collect();
    assert_eq!(names.len(), 8, "{names:?}");
    names
}

fn start(folder: &Folder, system: &System) -> Running {
    let shipped = root().join("dashboards/prometheus");
    for rules in ["spark-portfolio.rules.yml", "spark-bus.rules.yml"] {
        let text = std::fs::read_to_string(shipped.join("rules").join(rules)).unwrap();
        folder.write(&format!("rules/{rules}"), &text);
    }
    let targets = system.data().join("prometheus/targets.json");
    let mut config = std::fs::read_to_string(shipped.join("prometheus.yml")).unwrap();
    for (from, to) in [
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("evaluation_interval: 15s", "evaluation_interval: 1s"),
        ("../../.spark/prometheus/targets.json", targets.to_str().unwrap()),
    ] {
        assert!(config.contains(from), "prometheus.yml has no {from:?}");
        config = config.replace(from, to);
    }
    let config = folder.write("prometheus.yml", &config);
    folder.write("alertmanagers.json", "[]");
    let port = free_port().unwrap();
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", folder.0.join("store").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    Running::start("prometheus", &folder.0, port, &arguments)
}

/// (service, address) of everything that `spark up` lists for Prometheus.
fn addresses(system: &System) -> Vec<(String, String)> {
    let text = std::fs::read(system.data().join("prometheus/targets.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(&row["labels"]["service"]), text(&row["targets"][0]))).collect()
}

async fn targets(prometheus: &Running, system: &System) -> Result<(), String> {
    let want: BTreeSet<String> = addresses(system).into_iter().map(|(_, address)| address).collect();
    let answer = prometheus.get("/api/v1/targets", &[]).await?;
    let rows = answer["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
    let up = rows.iter().filter(|row| row["health"] == "up").filter_map(|row| row["labels"]["instance"].as_str());
    let up: BTreeSet<String> = up.map(ToOwned::to_owned).collect();
    if up == want && rows.len() == want.len() {
        return Ok(());
    }
    let down: Vec<String> =
        rows.iter().filter(|row| row["health"] != "up").map(|row| format!("{} {}", row["scrapeUrl"], row["lastError"])).collect();
    Err(format!("{} of {} up; {down:?}", up.len(), want.len()))
}

async fn rules(prometheus: &Running) -> Result<(), String> {
    let answer = prometheus.get("/api/v1/rules", &[]).await?;
    let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten()).collect();
    let ill: Vec<String> = rules
        .iter()
        .filter(|rule| rule["health"] != "ok")
        .map(|rule| format!("{} {} {}", rule["name"], rule["health"], rule["lastError"]))
        .collect();
    let recording = rules.iter().filter(|rule| rule["type"] == "recording").count();
    if ill.is_empty() && recording == 8 && rules.len() > 30 {
        Ok(())
    } else {
        Err(format!("{} rules, {recording} of them recording; not well: {ill:?}", rules.len()))
    }
}

async fn values(prometheus: &Running, query: &str) -> Result<(), String> {
    let rows = prometheus.query(query).await?;
    if rows.is_empty() { Err(format!("no data: {query}")) } else { Ok(()) }
}

/// What the gateway tells and what the portfolio tells of itself are one value, not two.
async fn counted_once(prometheus: &Running) {
    let both = prometheus.query("spark_portfolio_total_value_usd{exchange=\"btcturk\"}").await.unwrap();
    let jobs: BTreeSet<&str> = both.iter().filter_map(|(labels, _)| labels["job"].as_str()).collect();
    assert_eq!(jobs, ["spark", "spark-process"].into(), "{both:?}");
    let one = prometheus.query("job:spark_portfolio_total_value:current{exchange=\"btcturk\"}").await.unwrap();
    assert_eq!(one.len(), 1, "{one:?}");
    let told = prometheus.query("spark_portfolio_total_value_usd{job=\"spark\",exchange=\"btcturk\"}").await.unwrap();
    // A poll may lie between the two queries: prices move by less than that.
    assert!((one[0].1 / told[0].1 - 1.0).abs() < 0.1, "{one:?} {told:?}");
}

#[test]
fn what_is_shipped_is_valid_for_the_tools_that_read_it() {
    let folder = root().join("dashboards");
    let rules = ["spark-portfolio", "spark-bus"].map(|name| folder.join(format!("prometheus/rules/{name}.rules.yml")));
    let tests = ["recording", "alerts", "bus"].map(|name| folder.join(format!("prometheus/tests/{name}.test.yml")));
    let config = folder.join("prometheus/prometheus.yml");
    let routes = folder.join("alertmanager/alertmanager.yml");
    let compose = root().join("compose.yaml");
    let check = |program: &str, words: &[&str], paths: &[&Path]| {
        let paths = paths.iter().map(|path| path.to_str().unwrap());
        let output = run(program, &words.iter().copied().chain(paths).collect::<Vec<_>>(), "");
        assert!(output.status.success(), "{program} {words:?}: {}", printed(&output));
    };
    check("promtool", &["check", "rules"], &rules.each_ref().map(AsRef::as_ref));
    check("promtool", &["test", "rules"], &tests.each_ref().map(AsRef::as_ref));
    check("promtool", &["check", "config"], &[&config]);
    check("amtool", &["check-config"], &[&routes]);
    let words = ["-f", compose.to_str().unwrap(), "config", "-q"];
    let output = run("docker-compose", &words, "");
    assert!(output.status.success(), "docker-compose {words:?}: {}", printed(&output));
}
