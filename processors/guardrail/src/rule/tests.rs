use std::time::Duration;

use super::*;

const GOOD: &str = r#"[[rule]]
id = "latency"
alert = "HighLatency"
metric = "call_latency_ms"
scope = ["exchange"]
where = { operation = "account" }
aggregation = "quantile"
quantile = 0.95
window = "5m"
warning = 1000
critical = { threshold = 2500, for = "30s" }
keep_firing_for = "1m"
min_samples = 5
no_data = "keep"
unit = "ms"
expect = [{ exchange = "binance" }]
summary = "{exchange}: {value} {unit}"
cause = "slow"
first_action = "wait"
"#;

#[test]
fn the_built_in_rules_are_valid_and_name_every_alert_with_a_source() {
    let rules = Rules::builtin();
    for alert in [
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
        "ParkedMessages",
        "LedgerDamaged",
        "TradingHalted",
        "ApiLatencyHighP95",
        "ApiErrorRatioHigh",
        "ExchangeErrorBudgetBurn",
        "ApiErrorBudgetBurn",
    ] {
        assert!(rules.iter().any(|rule| rule.alert == alert && rule.limits.decide()), "{alert}");
    }
    let refresh = rules.iter().find(|rule| rule.id == "portfolio_refresh_p95").unwrap();
    let thresholds = (refresh.limits.warning.unwrap().threshold, refresh.limits.critical.unwrap().threshold);
    assert_eq!((thresholds, refresh.aggregation), ((1_500.0, 3_000.0), Aggregation::Quantile(0.95)));
    for rule in &rules {
        let text = &rule.text;
        let told = ![&text.summary, &text.cause, &text.first_action, &text.permanent_fix, &text.runbook]
            .iter()
            .any(|text| text.is_empty());
        assert!(told || !rule.limits.decide(), "{}", rule.id);
        let runbook = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(&text.runbook);
        assert!(runbook.is_file() || !rule.limits.decide(), "{}: {} does not exist", rule.id, text.runbook);
    }
}

#[test]
fn every_key_of_a_rule_is_read() {
    let rules = Rules::from_toml(GOOD, "my.toml").unwrap();
    let rule = rules.iter().next().unwrap();
    assert_eq!((rule.window, rule.min_samples, rule.unit), (Duration::from_secs(300), 5, "ms"));
    assert_eq!(rule.limits.critical.map(|limit| (limit.threshold, limit.hold)), Some((2_500.0, Duration::from_secs(30))));
    assert_eq!((rule.limits.keep_firing, rule.limits.no_data), (Duration::from_secs(60), crate::alert::NoData::Keep));
    assert_eq!((rule.filter["operation"].as_str(), rule.expect[0]["exchange"].as_str()), ("account", "binance"));
}

#[test]
fn the_fingerprint_follows_what_decides_and_not_the_texts() {
    let of = |text: &str| Rules::from_toml(text, "my.toml").unwrap().iter().next().unwrap().fingerprint();
    assert_eq!(of(GOOD), of(&GOOD.replace("cause = \"slow\"", "cause = \"other\"")));
    assert_ne!(of(GOOD), of(&GOOD.replace("warning = 1000", "warning = 1001")));
    assert_ne!(of(GOOD), of(&GOOD.replace("\"5m\"", "\"6m\"")));
}

/// Replaces one line of the good rule; the message must name file and line, and contain every part.
fn check(line: &str, with: &str, parts: &[&str]) {
    assert!(GOOD.contains(line), "{line}");
    let text = GOOD.replace(line, with);
    let problems = match Rules::from_toml(&text, "my.toml") {
        Ok(_) => panic!("accepted {with}"),
        Err(problems) => problems,
    };
    let all = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let number = GOOD.lines().position(|candidate| candidate == line).unwrap() + 1;
    let place = if with.is_empty() { "my.toml:1: rule.latency".to_owned() } else { format!("my.toml:{number}: rule.latency") };
    for part in parts.iter().copied().chain([place.as_str()]) {
        assert!(all.contains(part), "`{part}` is not in: {all}");
    }
    assert_eq!(problems.len(), 1, "{all}");
}

#[test]
fn a_mistake_is_answered_with_file_line_key_value_and_fix() {
    let critical = "critical = { threshold = 2500, for = \"30s\" }";
    check("window = \"5m\"", "window = 300", &["rule.latency.window = 300: a duration without a unit; write \"300s\""]);
    check("window = \"5m\"", "window = \"300\"", &["= \"300\": a duration without a unit"]);
    check("window = \"5m\"", "window = \"5 minutes\"", &["not a unit of time"]);
    check("window = \"5m\"", "window = \"0s\"", &["without length"]);
    check("window = \"5m\"", "windwo = \"5m\"\nwindow = \"5m\"", &["rule.latency.windwo: unknown key; did you mean `window`?"]);
    check("window = \"5m\"", "", &["rule.latency.window: missing"]);
    check(
        "metric = \"call_latency_ms\"",
        "metric = \"call_latency\"",
        &["unknown metric; did you mean `call_latency_ms`? known are", "heartbeats"],
    );
    check("metric = \"call_latency_ms\"", "", &["rule.latency.metric: missing"]);
    check(
        "scope = [\"exchange\"]",
        "scope = [\"venue\", \"exchange\"]",
        &["has no label `venue`", "exchange, service, operation"],
    );
    check("scope = [\"exchange\"]", "scope = \"exchange\"", &["not a list of texts"]);
    check("where = { operation = \"account\" }", "where = { op = \"account\" }", &["has no label `op`"]);
    check("quantile = 0.95", "quantile = 95", &["not between 0 and 1; for p95 write quantile = 0.95"]);
    check("quantile = 0.95", "quantile = nan", &["not a finite number"]);
    check("warning = 1000", "warning = -5", &["warning = -5: impossible"]);
    check("warning = 1000", "warning = \"1000ms\"", &["not a number"]);
    check(critical, "critical = 500", &["critical = 500: reached before the warning of 1000; swap them"]);
    check(critical, "critical = { threshold = 2500, for = 30 }", &["critical.for = 30: a duration without a unit"]);
    check(critical, "critical = { threshold = 2500, for = \"400d\" }", &["longer than a year"]);
    check(critical, "critical = { treshold = 2500, threshold = 2500 }", &["did you mean `threshold`"]);
    check(critical, "critical = { for = \"30s\" }", &["critical.threshold: missing"]);
    check(critical, "critical = 99999999", &["can never be crossed"]);
    check("aggregation = \"quantile\"", "aggregation = \"quantil\"", &["did you mean `quantile`?"]);
    check("no_data = \"keep\"", "no_data = \"ignore\"", &["known are ok, alert, keep"]);
    check("unit = \"ms\"", "unit = \"s\"", &["unit = \"s\": wrong unit", "write \"ms\""]);
    check("min_samples = 5", "min_samples = -1", &["not a whole number"]);
    check(
        "expect = [{ exchange = \"binance\" }]",
        "expect = [{ venue = \"binance\" }]",
        &["labels differ from scope", "{ exchange = \"…\" }"],
    );
    check(
        "summary = \"{exchange}: {value} {unit}\"",
        "summary = \"{valeu}\"",
        &["unknown placeholder {valeu}; did you mean `value`?"],
    );
    check("cause = \"slow\"", "cause = \"{value is slow\"", &["a placeholder that is not closed: {value; close it"]);
    check("cause = \"slow\"", "", &["rule.latency.cause: missing"]);
    let text = |restart: &str| format!("cause = \"slow\"\nrestart = \"{restart}\"");
    let restart = |value: &str, parts: &[&str]| {
        let problems = Rules::from_toml(&GOOD.replace("cause = \"slow\"", &text(value)), "my.toml").unwrap_err();
        for part in parts {
            assert!(problems.iter().any(|problem| problem.to_string().contains(part)), "{part}: {problems:?}");
        }
    };
    restart("fed", &["my.toml:19: rule.latency.restart = \"fed\": not a process", "did you mean `feed`?"]);
    restart("{service}", &["unknown placeholder {service}", "known are exchange"]);
    restart("x-{exchange}", &["a name and a placeholder"]);
    check("alert = \"HighLatency\"", "alert = \"High Latency\"", &["not an alert name"]);
}

#[test]
fn impossible_thresholds_of_other_aggregations_are_refused() {
    let rule = |metric: &str, rest: &str| {
        format!(
            "[[rule]]\nid = \"x\"\nalert = \"X\"\nmetric = \"{metric}\"\nsummary = \"s\"\ncause = \"c\"\nfirst_action = \"f\"\n{rest}"
        )
    };
    let check = |text: String, part: &str| {
        let problems = Rules::from_toml(&text, "my.toml").map(|_| ()).unwrap_err();
        let all = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(all.contains(part), "`{part}` is not in: {all}");
    };
    check(rule("calls", "aggregation = \"ratio\"\nwindow = \"5m\"\nwarning = 5"), "write 0.05 for 5 %");
    check(rule("calls", "aggregation = \"ratio\"\nwindow = \"5m\"\nwarning = 1.0"), "can never be crossed");
    check(rule("trades", "aggregation = \"count\"\nwindow = \"5m\"\ndirection = \"below\"\nwarning = 0"), "nothing is below 0");
    check(rule("heartbeats", "aggregation = \"staleness\"\nwindow = \"5m\"\nwarning = 5"), "staleness has no window");
    check(rule("heartbeats", "aggregation = \"ratio\"\nwindow = \"5m\"\nwarning = 0.5"), "no such aggregation");
    let below = "aggregation = \"count\"\nwindow = \"5m\"\ndirection = \"below\"\nwarning = 5\ncritical = 10";
    check(rule("trades", below), "set critical at or below 5");
}

#[test]
fn a_file_as_a_whole_can_be_wrong() {
    let check = |text: &str, part: &str| {
        let problems = Rules::from_toml(text, "my.toml").map(|_| ()).unwrap_err();
        let all = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(all.contains(part), "`{part}` is not in: {all}");
    };
    check("", "my.toml: rule: there is no rule; add at least one [[rule]]");
    check("[[rule]\n", "my.toml:1: file: not TOML");
    check("a = 1\nb = = 2", "my.toml:2: file: not TOML");
    check("[rule]\nid = \"x\"", "begin each rule with a line [[rule]]");
    check("[[rules]]\nid = \"x\"", "my.toml:1: rules: unknown key; did you mean `rule`?");
    check(&format!("{GOOD}\n{GOOD}"), "rule.latency.id = \"latency\": the rule in line 1 has this id already");
    check(
        &format!("{GOOD}\n{}", GOOD.replace("\"latency\"", "\"other\"")),
        "rule `latency` raises this alert for the same scope labels already",
    );
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = GOOD.replace("\"5m\"", "5").replace("quantile = 0.95", "quantile = 2").replace("\"ms\"", "\"s\"");
    let lines: Vec<_> = Rules::from_toml(&text, "my.toml").unwrap_err().iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(8), Some(9), Some(15)]);
}

#[test]
fn a_restart_is_a_process_or_the_scopes_own() {
    let rules = Rules::builtin();
    let find = |id: &str| rules.iter().find(|rule| rule.id == id).unwrap();
    let scope = |label: &str, value: &str| BTreeMap::from([(label.to_owned(), value.to_owned())]);
    assert_eq!(find("process_missing").restart_in(&scope("service", "risk")).as_deref(), Some("risk"));
    assert_eq!(find("process_missing").restart_in(&scope("service", "no process!")), None);
    assert_eq!(find("ws_staleness_venue").restart_in(&scope("venue", "binance")).as_deref(), Some("feed"));
    assert_eq!(find("portfolio_staleness").restart_in(&scope("exchange", "binance")).as_deref(), Some("portfolio"));
    let users: Vec<&str> = spark_nats::permissions::users().iter().map(|user| user.name.as_str()).collect();
    assert!(PROCESSES.iter().all(|process| users.contains(process)), "{users:?}");
    let others = rules.iter().filter(|rule| rule.restart.is_some()).count();
    assert_eq!(others, 3, "nothing else is restarted");
}

const BURN: &str = r#"[[rule]]
id = "budget"
alert = "Burn"
metric = "calls"
scope = ["exchange"]
aggregation = "burn_rate"
objective = 0.99
burn = [{ long = "1h", short = "5m", factor = 14.4, severity = "critical" }, { long = "6h", short = "30m", factor = 6, severity = "warning", for = "2m" }]
summary = "{value} {window}"
cause = "c"
first_action = "f"
"#;

#[test]
fn every_key_of_a_burn_rate_is_read() {
    let rules = Rules::from_toml(BURN, "my.toml").unwrap();
    let rule = rules.iter().next().unwrap();
    let threshold = |severity| rule.limits.of(severity).map(|limit| (limit.threshold, limit.hold));
    assert_eq!(threshold(Severity::Critical), Some((14.4, Duration::ZERO)));
    assert_eq!(threshold(Severity::Warning), Some((6.0, Duration::from_secs(120))));
    let windows = (rule.window_of(Severity::Critical), rule.window_of(Severity::Warning), rule.window);
    assert_eq!(windows, (Duration::from_secs(3_600), Duration::from_secs(21_600), Duration::from_secs(21_600)));
    assert_eq!(rule.unit, "x");
    let tables = BURN.replace(
        "burn = [{ long = \"1h\", short = \"5m\", factor = 14.4, severity = \"critical\" }, { long = \"6h\", short = \"30m\", factor = 6, severity = \"warning\", for = \"2m\" }]\n",
        "",
    ) + "[[rule.burn]]\nlong = \"1h\"\nshort = \"5m\"\nfactor = 14.4\nseverity = \"critical\"\n";
    assert!(Rules::from_toml(&tables, "my.toml").unwrap().iter().next().unwrap().limits.critical.is_some());
}

#[test]
fn a_mistake_in_a_burn_rate_is_named() {
    let check = |replace: &str, with: &str, part: &str| {
        assert!(BURN.contains(replace), "{replace}");
        let problems = Rules::from_toml(&BURN.replace(replace, with), "my.toml").map(|_| ()).unwrap_err();
        let all = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(all.contains(part), "`{part}` is not in: {all}");
    };
    check(
        "objective = 0.99",
        "objective = 99",
        "my.toml:7: rule.budget.objective = 99: not between 0 and 1; for 99 % write objective = 0.99",
    );
    check("objective = 0.99", "objective = 1.0", "an objective of 1 has no budget");
    check("objective = 0.99\n", "", "rule.budget.objective: missing");
    check("factor = 14.4", "factor = 100", "my.toml:8: rule.budget.burn.factor = 100: impossible: it can never be crossed");
    check("factor = 14.4", "factor = 5", "the critical factor is reached before the warning of 6");
    check("factor = 14.4", "factor = 0", "not above 0");
    check("short = \"5m\"", "short = \"1h\"", "rule.budget.burn.short = \"1h\": not shorter than the long window");
    check("short = \"5m\", ", "", "rule.budget.burn.short: missing");
    check("short = \"5m\"", "short = 5", "a duration without a unit");
    check("long = \"6h\"", "long = \"60d\"", "not between a second and 31 days");
    check("\"warning\"", "\"critical\"", "has this severity already");
    check("\"warning\"", "\"page\"", "known are warning, critical");
    check("short = \"30m\"", "shrt = \"30m\"", "did you mean `short`");
    check("cause = \"c\"", "cause = \"c\"\nwarning = 5", "a burn rate has its windows and factors in `burn`; remove it");
    check("metric = \"calls\"", "metric = \"call_errors\"", "metric call_errors has no such aggregation");
    check("aggregation = \"burn_rate\"", "aggregation = \"ratio\"\nwindow = \"5m\"", "only a burn rate has this");
    let none = BURN.find("burn = [").unwrap();
    let end = none + BURN[none..].find('\n').unwrap();
    check(&BURN[none..end], "burn = []", "no windows to judge; write for example burn = [{ long");
}
