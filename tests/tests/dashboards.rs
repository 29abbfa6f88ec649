//! Dashboards, rules and compose agree with the specification and with each other, as far as no program is needed to see it.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the workspace has failed, and its helpers with it")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

const PORTFOLIO_RULES: &str = "dashboards/prometheus/rules/spark-portfolio.rules.yml";
const RULES: [&str; 2] = [PORTFOLIO_RULES, "dashboards/prometheus/rules/spark-bus.rules.yml"];
/// What every panel's description says after its first paragraph, in this order.
const WORDS: [&str; 4] = ["**SLO:** ", "**Checks:** ", "**Fast action:** ", "**Permanent fix:** "];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn dashboard(uid: &str) -> Value {
    serde_json::from_str(&read(&format!("dashboards/grafana/dashboards/{uid}.json"))).unwrap()
}

/// The panels that show something.
fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
}

/// Values of a key at the beginning of a line, whatever its depth.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key)).map(str::trim).collect()
}

#[test]
fn every_panel_says_what_is_promised_what_to_look_at_and_what_to_do() {
    for uid in ["spark-portfolio", "spark-bus"] {
        let dashboard = dashboard(uid);
        assert_eq!(dashboard["uid"], uid);
        let alerts: BTreeSet<String> = RULES
            .iter()
            .flat_map(|path| values(&read(path), "alert:").iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
            .collect();
        for panel in panels(&dashboard) {
            let title = format!("{uid}: {}", panel["title"]);
            let description = panel["description"].as_str().unwrap();
            let paragraphs: Vec<&str> = description.split("\n\n").skip(1).collect();
            for (paragraph, word) in paragraphs.iter().zip(WORDS) {
                assert!(paragraph.starts_with(word) && paragraph.len() > word.len(), "{title}: {paragraph:?} is not {word:?}");
            }
            assert!((4..=5).contains(&paragraphs.len()), "{title}: {description}");
            for name in paragraphs.get(4).map_or("", |named| named.strip_prefix("**Alerts:** ").unwrap()).split_terminator(", ") {
                assert!(alerts.contains(name), "{title}: no rule raises {name}");
            }
        }
    }
}

#[test]
fn every_panel_filters_by_the_scope_and_links_to_its_runbook_and_its_query() {
    for uid in ["spark-portfolio", "spark-bus"] {
        let dashboard = dashboard(uid);
        let names = dashboard["templating"]["list"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap());
        let names: BTreeSet<&str> = names.collect();
        for panel in panels(&dashboard) {
            let title = format!("{uid}: {}", panel["title"]);
            for target in panel["targets"].as_array().unwrap() {
                let query = target["expr"].as_str().unwrap();
                assert!(query.contains("{${scope:raw},environment=~\"$env\""), "{title}: {query}");
                assert_eq!(
                    query.matches('{').count(),
                    2 * query.matches("${scope:raw}").count(),
                    "{title}: a selector without $scope: {query}"
                );
                assert_eq!(target["datasource"]["uid"], "spark-prometheus", "{title}");
                let used = query.split('$').skip(1).map(|rest| {
                    rest.trim_start_matches('{').split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap()
                });
                for name in used {
                    assert!(name == "__rate_interval" || names.contains(name), "{title}: no variable {name}");
                }
            }
            let link = |title: &str| {
                let links = panel["links"].as_array().unwrap();
                links.iter().find(|link| link["title"] == title).map(|link| link["url"].as_str().unwrap().to_owned())
            };
            let runbook = link("Runbook").unwrap_or_else(|| panic!("{title}: no runbook"));
            let file = runbook.strip_prefix("/public/runbooks/").unwrap();
            assert!(root().join("docs/runbooks").join(file).is_file(), "{title}: no docs/runbooks/{file}");
            assert!(link("PromQL").is_some_and(|url| url.starts_with("${prometheus}/graph?g0.expr=")), "{title}: no PromQL link");
        }
    }
}

#[test]
fn the_portfolio_dashboard_has_what_the_specification_names() {
    let dashboard = dashboard("spark-portfolio");
    let titles: Vec<&str> = panels(&dashboard).iter().map(|panel| panel["title"].as_str().unwrap()).collect();
    for title in ["Refresh latency", "API error rate", "Total value", "Staleness", "Asset count", "Alert history"] {
        assert!(titles.contains(&title), "{titles:?}");
    }
    for name in ["env", "exchange", "service", "scope"] {
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        assert!(variables.iter().any(|variable| variable["name"] == name), "no ${name}");
    }
    let annotations = dashboard["annotations"]["list"].as_array().unwrap();
    let named = |part: &str| annotations.iter().any(|one| one["name"].as_str().unwrap().to_lowercase().contains(part));
    assert!(named("alert") && named("rollout") && named("action"), "{annotations:?}");
    let compared = panels(&dashboard).iter().filter(|panel| panel["targets"].to_string().contains("offset 1d")).count();
    assert!(compared >= 5, "{compared} panels with the day before");
}

#[test]
fn eight_series_are_recorded_and_every_alert_of_the_specification_is_raised() {
    let text = read(PORTFOLIO_RULES);
    let recorded = values(&text, "record:");
    assert_eq!(recorded.len(), 8, "{recorded:?}");
    for name in [
        "job:spark_portfolio_latency_p95:5m",
        "job:spark_portfolio_staleness",
        "job:spark_exchange_api_error_rate:5m",
        "job:spark_portfolio_total_value:current",
    ] {
        assert!(recorded.contains(&name), "{name} is not recorded");
    }
    let raised = values(&text, "alert:");
    for name in [
        "PortfolioRefreshLatencyHighP95",
        "ExchangeApiErrorRateHigh",
        "PortfolioDataStale",
        "PortfolioValueDropAnomaly",
        "PortfolioNoAssets",
        "SparkUpMissing",
        "HighErrorRate",
        "WSStaleness",
        "HighLatency",
        "ExchangeDown",
        "BISTStaleness",
    ] {
        assert!(raised.contains(&name), "{name} is not raised");
    }
}

#[test]
fn every_rule_is_tested_and_every_alert_says_what_to_do() {
    let tests = ["alerts", "bus", "recording"].map(|name| read(&format!("dashboards/prometheus/tests/{name}.test.yml"))).concat();
    for path in RULES {
        let text = read(path);
        for name in values(&text, "record:") {
            assert!(tests.contains(&format!("expr: {name}\n")), "{name} has no test");
        }
        for name in values(&text, "alert:") {
            let outcomes: Vec<&str> = tests.split(&format!("ALERTS{{alertname=\"{name}\"")).skip(1).collect();
            let fires = |outcome: &&str| outcome.lines().nth(2).is_some_and(|line| line.trim() == "exp_samples:");
            assert!(outcomes.iter().any(fires), "no test sees {name} fire");
            assert!(!outcomes.iter().all(fires), "no test sees {name} not fire");
        }
        for alert in text.split("- alert: ").skip(1) {
            let name = alert.lines().next().unwrap();
            assert!(alert.contains("severity: warning") || alert.contains("severity: critical"), "{name}: no severity");
            if alert.contains("annotations: *") {
                continue;
            }
            for key in ["summary:", "cause:", "first_action:", "permanent_fix:", "runbook_url: docs/runbooks/"] {
                assert!(alert.contains(key), "{name}: no {key}");
            }
        }
        for runbook in values(&text, "runbook_url:") {
            assert!(root().join(runbook).is_file(), "{path}: no {runbook}");
        }
    }
}

#[test]
fn compose_gives_prometheus_every_process_that_it_runs() {
    let compose = read("compose.yaml");
    let targets: Vec<Value> = serde_json::from_str(&read("dashboards/prometheus/compose/targets.json")).unwrap();
    let addresses: BTreeSet<&str> = targets.iter().map(|target| target["targets"][0].as_str().unwrap()).collect();
    assert!(addresses.contains("gateway:4001"), "the whole system");
    let mut count = 0;
    // The processes are those whose command is their own name.
    let services = compose.split("\n  ").filter_map(|part| part.strip_suffix(':'));
    for service in services.filter(|service| compose.contains(&format!("\n    command: [\"{service}\"]"))) {
        assert!(addresses.contains(format!("{service}:9100").as_str()), "Prometheus is not told of {service}");
        count += 1;
    }
    assert_eq!(count + 1, targets.len(), "{addresses:?}");
}
