use spark_bus_schema::{Message, Timestamp};

use super::{Seen, Smoke, judge};

const PORTFOLIO: &str = r#"{"accounts":[{"exchange":"binance","updatedAt":"2026-11-21T00:00:00Z"}],"totals":{"totalUsd":12.5}}"#;
const METRICS: &str = "# TYPE spark_portfolio_refresh_latency_ms histogram\nspark_portfolio_refresh_latency_ms_count{a=\"b\"} 3\n\
    spark_portfolio_total_value_usd{a=\"b\"} 12.5\nspark_portfolio_asset_count 2\nspark_portfolio_last_update_timestamp{a=\"b\"} 1\n";
const FIGURES: &str = r#"{"p95_ms":1499.9,"staleness_s":59.9,"error_rate":0.0}"#;

fn outcome(portfolio: (u16, &str), metrics: (u16, &str), figures: (u16, &str)) -> Smoke {
    let own = |(status, body): (u16, &str)| Ok((status, body.to_owned()));
    let seen = Seen { portfolio: own(portfolio), metrics: own(metrics), figures: own(figures) };
    let smoke = judge(&seen, "http://127.0.0.1:4001", Some(0.9991), "operator", Timestamp::ZERO);
    smoke.validate().unwrap();
    smoke
}

fn failed(smoke: &Smoke) -> Vec<&str> {
    smoke.checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect()
}

#[test]
fn six_good_answers_pass_and_the_text_says_so() {
    let smoke = outcome((200, PORTFOLIO), (200, METRICS), (200, FIGURES));
    assert_eq!((failed(&smoke), smoke.passed, smoke.pass), (vec![], 6, true));
    assert!(smoke.text.starts_with("Spark smoke: PASS 6/6 at 1970-01-01T00:00:00Z, http://127.0.0.1:4001\n"), "{}", smoke.text);
    assert!(smoke.text.ends_with("uptime of the last 24 h: 99.910 %"), "{}", smoke.text);
    assert_eq!(smoke.text.lines().count(), 8);
}

#[test]
fn five_pass_and_four_do_not() {
    let five = outcome((200, PORTFOLIO), (200, METRICS), (200, r#"{"p95_ms":1500,"staleness_s":1,"error_rate":0}"#));
    assert_eq!((failed(&five), five.pass), (vec!["p95"], true), "the limit itself is not good");
    let four = outcome((200, PORTFOLIO), (200, METRICS), (200, r#"{"p95_ms":1500,"staleness_s":60,"error_rate":0}"#));
    assert_eq!((failed(&four), four.pass), (vec!["p95", "staleness"], false));
}

#[test]
fn what_is_not_known_is_not_good() {
    let check = |portfolio, metrics, figures, want: &[&str]| {
        let smoke = outcome(portfolio, metrics, figures);
        assert_eq!(failed(&smoke), want, "{}", smoke.text);
    };
    check((200, PORTFOLIO), (200, METRICS), (200, "{}"), &["p95", "staleness", "error_rate"]);
    check((200, PORTFOLIO), (200, METRICS), (503, "{}"), &["p95", "staleness", "error_rate"]);
    check((200, "<html>"), (200, METRICS), (200, FIGURES), &["accounts"]);
    check((500, PORTFOLIO), (200, METRICS), (200, FIGURES), &["portfolio_answers", "accounts"]);
    check((200, r#"{"accounts":[],"totals":{"totalUsd":1}}"#), (200, METRICS), (200, FIGURES), &["accounts"]);
    let never_read = r#"{"accounts":[{"exchange":"binance","updatedAt":null}],"totals":{"totalUsd":null}}"#;
    check((200, never_read), (200, METRICS), (200, FIGURES), &["accounts"]);
    let empty = r#"{"accounts":[{"exchange":"binance","updatedAt":"2026-11-21T00:00:00Z"}],"totals":{"totalUsd":0}}"#;
    check((200, empty), (200, METRICS), (200, FIGURES), &["accounts"]);
}

#[test]
fn a_metric_is_there_when_it_has_a_sample_of_its_own() {
    let without = METRICS
        .replace("spark_portfolio_asset_count 2\n", "# HELP spark_portfolio_asset_count x\nspark_portfolio_asset_counter 2\n");
    let smoke = outcome((200, PORTFOLIO), (200, &without), (200, FIGURES));
    assert_eq!(failed(&smoke), ["metrics"]);
    assert!(smoke.text.contains("missing in /metrics: spark_portfolio_asset_count\n"), "{}", smoke.text);
}

#[tokio::test]
async fn nothing_that_listens_is_an_error_and_not_an_outcome() {
    // The client wants a provider even for plain HTTP; a second installation in one process is refused, harmlessly.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let error = super::check(&client, &format!("http://127.0.0.1:{port}/"), None, "operator", Timestamp::ZERO).await.unwrap_err();
    assert_eq!(error.to_string(), format!("no gateway answers at http://127.0.0.1:{port}"));
}
