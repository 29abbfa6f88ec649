//! Borsa Istanbul through a whole system: its shares on the page, stale in the session and never outside of it, a delayed vendor marked.

#[allow(dead_code, reason = "other tests of the demo use the rest")]
mod demo;

use std::path::Path;

use demo::{LIMIT, config, start};
use serde_json::{Value, json};
use spark_bus_schema::alerts::{Alert, AlertState};
use spark_bus_schema::candles::MarketSnapshot;
use spark_bus_schema::session::Day;
use spark_bus_schema::subject::{self, FEED, LEDGER};
use spark_bus_schema::telemetry::{FeedStatus, Windows};
use spark_bus_schema::{Message, Venue};
use spark_nats::Bus;
use spark_tests::system::System;
use spark_tests::wait::until;

/// The shipped rule, quick enough for a test.
const RULES: &str = r#"
[[rule]]
id = "bist_staleness_venue"
alert = "BISTStaleness"
metric = "bist_data"
scope = ["venue"]
aggregation = "staleness"
warning = 5
critical = 120
unit = "s"
summary = "BIST prices are {value} s old (limit {threshold} s)"
cause = "the vendor does not answer"
first_action = "look at the vendor's status"
permanent_fix = "a second vendor"
runbook = "docs/runbooks/bist-degraded.md"
"#;
fn rules(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("spark-bist-rules-{name}-{}.toml", std::process::id()));
    std::fs::write(&path, RULES).expect("a temporary file");
    path
}

async fn last<T: Message>(bus: &Bus, stream: &'static str, target: &str) -> Result<T, String> {
    let found = bus.last(stream, target).await.map_err(|error| error.to_string())?;
    found.ok_or(format!("nothing on {target}"))?.decode::<T>().map_err(|error| error.to_string())
}

async fn status_until(bus: &Bus, what: &str, fits: impl Fn(&FeedStatus) -> bool) -> FeedStatus {
    until(what, LIMIT, async || {
        let status = last::<FeedStatus>(bus, FEED, &subject::feed_status(Venue::Bist)).await?;
        if fits(&status) { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await
}

/// The newest word about the alert; none when it was never raised.
async fn alert(bus: &Bus) -> Option<AlertState> {
    last::<Alert>(bus, LEDGER, "alerts.changed.BISTStaleness.bist").await.ok().map(|alert| alert.state)
}

async fn alert_until(bus: &Bus, wanted: AlertState) {
    until(&format!("BISTStaleness is {wanted:?}"), LIMIT, async || {
        let state = alert(bus).await;
        if state == Some(wanted) { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await;
}

async fn silent_vendor(system: &System) -> Value {
    system.fault(json!({ "exchange": "bist", "kind": "drop" })).await
}

fn with_rules(path: &Path, more: &str) -> String {
    format!("{}{more}", config(Some(path)))
}

#[tokio::test]
async fn a_silent_vendor_makes_shares_stale_in_the_session_and_they_are_good_again_when_it_answers() {
    let rules = rules("open");
    let system = start(&with_rules(&rules, "[feed.bist]\npause_ms_max = 1000\n")).await;
    let bus = system.bus("operator").await;
    let status = status_until(&bus, "shares are promised", |status| status.symbols.len() == 5).await;
    assert!(status.symbols.contains(&"THYAO".to_owned()), "{status:?}");
    until("the page has the shares", LIMIT, async || {
        let page = system.json("/bist/snapshot").await?;
        if page.to_string().contains("THYAO") { Ok(()) } else { Err(page.to_string()) }
    })
    .await;
    assert_eq!(alert(&bus).await, None);
    silent_vendor(&system).await;
    alert_until(&bus, AlertState::Firing).await;
    system.clear_faults().await;
    alert_until(&bus, AlertState::Resolved).await;
}

#[tokio::test]
async fn outside_the_session_nothing_is_stale_and_a_delayed_vendor_is_marked() {
    let rules = rules("closed");
    // Whatever day this runs on is a holiday.
    let today = Day::of(spark_nats::now());
    let days: Vec<String> = (-1..=1).map(|days| format!("{:?}", today.plus(days).to_string())).collect();
    let bist = format!(
        "[feed.bist]\ncalendar = \"exchange\"\nholidays = [{}]\ndelay_minutes = 15\nclosed_poll_interval_ms = 1000\npause_ms_max = 1000\n",
        days.join(", ")
    );
    let system = start(&with_rules(&rules, &bist)).await;
    let bus = system.bus("operator").await;
    let status =
        status_until(&bus, "the delay is told", |status| status.detail.as_deref().is_some_and(|it| it.contains("delayed by 15")))
            .await;
    assert_eq!(status.symbols, Vec::<String>::new(), "nothing is promised");
    let target = subject::snapshot(Venue::Bist, "THYAO");
    let snapshot = until("a snapshot", LIMIT, async || last::<MarketSnapshot>(&bus, FEED, &target).await).await;
    assert_eq!(snapshot.delay_minutes, 15);
    silent_vendor(&system).await;
    status_until(&bus, "the vendor is away", |status| status.detail.as_deref().is_some_and(|it| it.contains("broke"))).await;
    let away = spark_nats::now();
    // Of what is not expected there is no age at all.
    until("the guardrail's windows from then on", LIMIT, async || {
        let windows = last::<Windows>(&bus, FEED, subject::WINDOWS).await?;
        assert!(windows.values.iter().all(|window| window.rule != "bist_staleness_venue"), "{windows:?}");
        if windows.at > away { Ok(()) } else { Err(windows.at.to_string()) }
    })
    .await;
    assert_eq!(alert(&bus).await, None);
}
