//! The auditor on a real broker: what it says while all is well.

mod support;

use std::time::Duration;

use spark_auditor::{Config, ListFrom, Query};
use spark_bus_schema::audit::{AuditAnchor, AuditDamage, AuditVerified};
use spark_bus_schema::subject;
use spark_nats::testing::TestBroker;
use support::{Auditor, chained, database, publish, stored, until, verified, verify};

fn config() -> Config {
    Config { anchor_messages: 100, anchor_interval_s: 1, commit_interval_ms: 10 }
}

#[tokio::test]
async fn a_clean_ledger_is_adopted_once_verified_at_every_start_and_extended() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("guardrail").await;
    let last = publish(&bus, 50).await;
    let auditor = Auditor::start(&broker, config()).await;
    let first = verified(&broker, last).await;
    assert!(first.adopted && first.full && first.count == last, "{first:?}");
    let last = publish(&bus, 250).await;
    chained(&auditor, last).await;
    until("an anchor of the last alert", async || {
        let anchors: Vec<AuditAnchor> = stored(&broker, subject::AUDIT_ANCHOR).await;
        if anchors.last().is_some_and(|anchor| anchor.sequence >= last) { Ok(()) } else { Err(format!("{anchors:?}")) }
    })
    .await;
    auditor.stop().await;

    let found = verify(&broker).await;
    assert!(found.broken.is_none() && found.anchors_good >= 2 && found.anchors_unknown == 0, "{found:?}");
    let last = publish(&bus, 10).await;
    assert!(verify(&broker).await.beyond >= 10);
    let auditor = Auditor::start(&broker, config()).await;
    let second = verified(&broker, last).await;
    assert!(!second.adopted && second.era == 1, "{second:?}");
    auditor.stop().await;
    assert_eq!(stored::<AuditVerified>(&broker, subject::AUDIT_VERIFIED).await.len(), 2);
    assert_eq!(stored::<AuditDamage>(&broker, subject::AUDIT_DAMAGE).await.len(), 0);
}

#[tokio::test]
async fn anchors_do_not_call_for_anchors() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("guardrail").await;
    let auditor = Auditor::start(&broker, config()).await;
    verified(&broker, 0).await;
    publish(&bus, 5).await;
    let anchors = async || stored::<AuditAnchor>(&broker, subject::AUDIT_ANCHOR).await.len();
    until("the anchor of five alerts", async || if anchors().await == 1 { Ok(()) } else { Err("none".to_owned()) }).await;
    // Three more intervals with nothing but the auditor's own messages: a wait, because what must not happen has no end.
    tokio::time::sleep(Duration::from_millis(3_300)).await;
    assert_eq!(anchors().await, 1);
    auditor.stop().await;
}

#[tokio::test]
async fn the_first_start_on_an_empty_ledger_adopts_nothing() {
    let broker = TestBroker::start().await;
    let auditor = Auditor::start(&broker, config()).await;
    let first = verified(&broker, 0).await;
    assert!(!first.adopted && first.through == 0 && first.count == 0, "{first:?}");
    auditor.stop().await;
}

#[tokio::test]
async fn deaths_at_any_moment_extend_the_chain_exactly_once() {
    let mut broker = TestBroker::start().await;
    let bus = broker.bus("guardrail").await;
    let mut last = 0;
    for round in 0..12_u64 {
        let auditor =
            Auditor::start(&broker, Config { anchor_messages: 20, commit_interval_ms: round % 3 * 7, ..config() }).await;
        last = publish(&bus, 40 + round).await;
        if round % 4 == 3 {
            broker.kill();
            broker.restart().await;
        }
        if round % 2 == 0 {
            auditor.kill().await;
        } else {
            verified(&broker, 1).await;
            auditor.kill().await;
        }
    }
    let auditor = Auditor::start(&broker, config()).await;
    chained(&auditor, last).await;
    auditor.stop().await;
    let found = verify(&broker).await;
    assert!(found.broken.is_none() && found.entries == found.head_sequence, "{found:?}");
    assert_eq!(found.compared, Some(found.entries));
    assert_eq!(stored::<AuditDamage>(&broker, subject::AUDIT_DAMAGE).await, []);
}

#[tokio::test]
async fn a_lost_database_is_adopted_and_held_against_the_anchors() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("guardrail").await;
    let rare = Config { anchor_interval_s: 1_000, ..config() };
    let auditor = Auditor::start(&broker, rare.clone()).await;
    verified(&broker, 0).await;
    let last = publish(&bus, 220).await;
    chained(&auditor, last).await;
    auditor.stop().await;
    std::fs::remove_dir_all(broker.dir().join("data/auditor")).unwrap();
    let auditor = Auditor::start(&broker, rare.clone()).await;
    let again = verified(&broker, last).await;
    assert!(again.adopted && again.anchors_unknown == 0, "{again:?}");
    auditor.stop().await;

    // An anchor that says otherwise: the history before it is not the one that was there.
    let own = broker.bus("auditor").await;
    let lie = AuditAnchor { era: 1, sequence: last, hash: "0".repeat(64), count: last };
    own.publish(subject::AUDIT_ANCHOR, &lie, spark_nats::Meta::default()).await.unwrap();
    std::fs::remove_dir_all(broker.dir().join("data/auditor")).unwrap();
    let auditor = Auditor::start(&broker, rare).await;
    let damage = support::damage(&broker, &auditor, |_| true).await;
    assert!(damage.first_bad_sequence > 100 && damage.first_bad_sequence <= last, "{damage:?}");
    assert!(damage.detail.contains("anchor"), "{damage:?}");
    auditor.stop().await;
}

#[tokio::test]
async fn the_record_is_listed_for_people() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("guardrail").await;
    let auditor = Auditor::start(&broker, config()).await;
    verified(&broker, 0).await;
    let last = publish(&bus, 130).await;
    chained(&auditor, last).await;
    let list = |json: &str| {
        let query: Query = serde_json::from_str(json).unwrap();
        spark_auditor::list(&database(&broker), &query).unwrap()
    };
    let newest = list(r#"{"limit": 3, "action": "alert"}"#);
    assert_eq!(newest.iter().map(|item| item.sequence).collect::<Vec<_>>(), {
        let mut alerts: Vec<u64> = list(r#"{"limit": 1000, "action": "alert"}"#).iter().map(|item| item.sequence).collect();
        alerts.truncate(3);
        alerts
    });
    assert_eq!(newest[0].sequence, last);
    assert_eq!((newest[0].actor.as_str(), newest[0].action.as_str()), ("guardrail", "alert"));
    assert_eq!(newest[0].payload["name"], "PortfolioRefreshLatencyHighP95");
    assert_eq!(newest[0].hash.len(), 64);
    let audit = list(r#"{"action": "audit", "limit": 5}"#);
    assert!(!audit.is_empty() && audit.iter().all(|item| item.action.starts_with("audit.") && item.actor == "auditor"));
    let from = list(r#"{"from": 17, "limit": 2}"#);
    assert_eq!(from.iter().map(|item| item.sequence).collect::<Vec<_>>(), [17, 18]);
    let at: ListFrom = from[1].timestamp.parse().unwrap();
    let since = spark_auditor::list(&database(&broker), &Query { limit: 1, from: Some(at), action: None }).unwrap();
    assert_eq!(since[0].sequence, 18);
    assert!(list(r#"{"from": 999999}"#).is_empty() && list(r#"{"action": "ale"}"#).is_empty());
    assert_eq!(list("{}").len(), 100);
    assert!(serde_json::from_str::<Query>(r#"{"from": "yesterday"}"#).unwrap_err().to_string().contains("2026-11-21T09:30:00Z"));
    let missing = spark_auditor::list(&broker.dir().join("nowhere.sqlite"), &Query::default()).unwrap_err();
    assert!(missing.to_string().contains("spark up"), "{missing}");
    auditor.stop().await;
}
