use super::*;
use crate::rule::{Problem, Rules};

const SHIPPED: &str = include_str!("../../rules.test.toml");

fn builtin(_: Option<&str>) -> Result<Rules, Vec<Problem>> {
    Ok(Rules::builtin())
}

#[test]
fn the_shipped_tests_pass_and_look_at_every_rule_with_thresholds() {
    let (suite, rules) = parse(SHIPPED, "rules.test.toml", builtin).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let failures: Vec<String> = suite
        .tests
        .iter()
        .flat_map(|test| run(test, &rules))
        .map(|failure| format!("rules.test.toml:{}: {failure}", failure.line))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    for rule in rules.iter().filter(|rule| rule.limits.decide()) {
        let fired = suite.tests.iter().flat_map(|test| &test.expects).any(|expect| {
            expect.alert == rule.alert && expect.scope.keys().eq(rule.scope.iter()) && expect.state == AlertState::Firing
        });
        assert!(fired, "no shipped test sees {} fire", rule.id);
    }
}

const TEST: &str = r#"[[test]]
name = "slow"
[[test.input]]
metric = "refresh_latency_ms"
labels = { exchange = "binance" }
values = "100x60 4000x30"
[[test.expect]]
at = "80s"
alert = "PortfolioRefreshLatencyHighP95"
scope = { exchange = "binance" }
state = "firing"
severity = "critical"
"#;

#[test]
fn a_failure_tells_expected_and_got_with_values() {
    let (suite, rules) = parse(TEST, "t.toml", builtin).unwrap();
    assert_eq!(run(&suite.tests[0], &rules), []);
    let (suite, rules) = parse(&TEST.replace("\"80s\"", "\"30s\""), "t.toml", builtin).unwrap();
    let failures = run(&suite.tests[0], &rules);
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].line, 7);
    assert_eq!(failures[0].expected, "PortfolioRefreshLatencyHighP95{exchange=\"binance\"} firing (critical) at 30s");
    assert!(
        failures[0].got.starts_with("inactive at 30s; value 100 ms, 31 samples, warning 1500, critical 3000"),
        "{:?}",
        failures[0]
    );
    let check = |replace: &str, with: &str, ok: bool| {
        let (suite, rules) = parse(&TEST.replace(replace, with), "t.toml", builtin).unwrap();
        assert_eq!(run(&suite.tests[0], &rules).is_empty(), ok, "{with}");
    };
    check("at = \"80s\"", "between = [\"60s\", \"70s\"]", true);
    check("at = \"80s\"", "between = [\"70s\", \"80s\"]", false);
    check("at = \"80s\"", "during = [\"70s\", \"80s\"]", true);
    check("at = \"80s\"", "during = [\"10s\", \"80s\"]", false);
    check("at = \"80s\"", "at = \"80s\"\nvalue = 4000", true);
    check("at = \"80s\"", "at = \"80s\"\nvalue = 3000", false);
}

#[test]
fn a_mistake_in_a_test_file_is_answered_like_one_in_a_rule_file() {
    let check = |replace: &str, with: &str, part: &str| {
        assert!(TEST.contains(replace), "{replace}");
        let problems = parse(&TEST.replace(replace, with), "t.toml", builtin).unwrap_err();
        let all = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(all.contains(part), "`{part}` is not in: {all}");
    };
    check(
        "metric = \"refresh_latency_ms\"",
        "metric = \"refresh_latency\"",
        "t.toml:4: test.1.input.1.metric = \"refresh_latency\": unknown metric; did you mean `refresh_latency_ms`?",
    );
    check("exchange = \"binance\" }\nvalues", "venue = \"binance\" }\nvalues", "has no label `venue`");
    check("100x60 4000x30", "100x60 4000y30", "t.toml:6: test.1.input.1.values = \"100x60 4000y30\": `4000y30`: not a sample");
    check("100x60 4000x30", "1/2", "not a sample of refresh_latency_ms");
    check(
        "alert = \"PortfolioRefresh",
        "alert = \"PortfolioRefesh",
        "no rule raises this alert; did you mean `PortfolioRefreshLatencyHighP95`?",
    );
    check("scope = { exchange", "scope = { venue", "has the scope labels [exchange]");
    check("at = \"80s\"", "at = 80", "write \"80s\"");
    check("at = \"80s\"", "", "no time");
    check("at = \"80s\"", "between = [\"80s\"]", "not two moments");
    check("at = \"80s\"", "between = [\"80s\", \"70s\"]", "ends before it begins");
    check("at = \"80s\"", "at = \"80s\"\nduring = [\"1s\", \"2s\"]", "more than one time");
    check("at = \"80s\"", "at = \"2000d\"", "too long a time");
    check("state = \"firing\"", "state = \"fire\"", "unknown");
    check("state = \"firing\"", "state = \"resolved\"", "has none");
    check("name = \"slow\"", "name = \"slow\"\nstep = \"1ms\"", "shorter than 100ms");
    let problems = parse("[[test]]\nname = \"x\"", "t.toml", builtin).unwrap_err();
    assert!(problems[0].to_string().contains("nothing is expected"), "{problems:?}");
}
