//! Each process's credentials are refused every subject that the process does not own.

use std::collections::BTreeSet;
use std::time::Duration;

use spark_bus_schema::{catalogue, subject};
use spark_nats::permissions::{User, users};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, ConnectOptions, Credentials};
use spark_tests::wait::until;

const LIMIT: Duration = Duration::from_secs(20);

/// One concrete subject of every kind, of every stream without a kind yet, and of the broker's own management.
fn subjects() -> BTreeSet<String> {
    let mut subjects: BTreeSet<String> =
        catalogue::entries().iter().map(|entry| entry.subject.replace('>', "binance.X")).collect();
    for user in users() {
        subjects.insert(subject::heartbeat(&user.name));
        subjects.insert(subject::parked(&user.name, "FEED", 1));
    }
    for future in [
        "orders.intent.x",
        "orders.event.x",
        "risk.verdict.x",
        "signals.score.x",
        "rollout.changed",
        "audit.anchor",
        "marks.x",
        "jobs.x",
    ] {
        subjects.insert(future.to_owned());
    }
    for stream in ["FEED", "LEDGER", "JOBS", "PARKED"] {
        for call in ["STREAM.DELETE", "STREAM.PURGE", "STREAM.UPDATE", "STREAM.CREATE", "STREAM.MSG.DELETE"] {
            subjects.insert(format!("$JS.API.{call}.{stream}"));
        }
        subjects.insert(format!("$JS.API.CONSUMER.LIST.{stream}"));
        for call in ["CONSUMER.CREATE", "CONSUMER.DELETE", "CONSUMER.MSG.NEXT"] {
            subjects.insert(format!("$JS.API.{call}.{stream}.somebody"));
        }
    }
    subjects.extend(["$SYS.REQ.SERVER.PING", "_INBOX_gateway.x", "anything.else"].map(ToOwned::to_owned));
    subjects
}

fn owns(user: &User, subject_name: &str) -> bool {
    let declared = user.publish_allow();
    declared.iter().any(|pattern| subject::matches(pattern, subject_name))
}

/// Whether the broker refuses this connection's publish, by its own answer. A second, certainly forbidden publish follows:
/// once its refusal has been handed on, so has that of the first, if there was one.
async fn is_refused(bus: &Bus, subject_name: &str) -> bool {
    let marker = format!("forbidden.{}", subject::token(subject_name));
    for name in [subject_name, &marker] {
        bus.raw_client().publish(name.to_owned(), "x".into()).await.expect("the connection is open");
    }
    until(
        "the marker's refusal",
        LIMIT,
        async || {
            if bus.denied_subjects().contains(&marker) { Ok(()) } else { Err("not refused yet") }
        },
    )
    .await;
    bus.denied_subjects().contains(subject_name)
}

#[tokio::test]
async fn each_process_may_publish_what_it_owns_and_nothing_else() {
    let broker = TestBroker::start().await;
    let mut refused = 0;
    let mut allowed = 0;
    for user in users() {
        let bus = broker.bus(&user.name).await;
        for subject_name in subjects() {
            let got = is_refused(&bus, &subject_name).await;
            assert_eq!(got, !owns(user, &subject_name), "{} on {subject_name}", user.name);
            if got { refused += 1 } else { allowed += 1 }
        }
    }
    assert!(refused > 200 && allowed > 20, "{refused} refused, {allowed} allowed");
}

#[tokio::test]
async fn no_process_deletes_or_purges_the_ledger() {
    let broker = TestBroker::start().await;
    for user in users() {
        for call in ["STREAM.DELETE", "STREAM.PURGE"] {
            assert!(!owns(user, &format!("$JS.API.{call}.LEDGER")), "{} may {call}", user.name);
        }
    }
    let operator = broker.bus("operator").await;
    let refused = operator.delete("LEDGER", 1).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn no_process_hears_another_ones_replies() {
    let broker = TestBroker::start().await;
    for user in users() {
        for pattern in user.subscribe_allow() {
            for other in users().iter().filter(|other| other.name != user.name) {
                assert!(!subject::matches(&pattern, &format!("_INBOX_{}.x", other.name)), "{} hears {}", user.name, other.name);
            }
        }
    }
    let feed = broker.bus("feed").await;
    let gateway = broker.bus("gateway").await;
    let mut overheard = feed.raw_client().subscribe(">").await.unwrap();
    assert!(gateway.message_count("FEED").await.is_ok());
    let heard = tokio::time::timeout(Duration::from_secs(1), futures_util::StreamExt::next(&mut overheard)).await;
    assert!(heard.is_err() || heard.is_ok_and(|message| message.is_none()), "feed overheard the gateway");
}

#[tokio::test]
async fn a_stranger_is_not_let_in() {
    let broker = TestBroker::start().await;
    let options = ConnectOptions { url: broker.url(), name: "stranger".into(), credentials: Credentials::None };
    let bus = Bus::connect(options).await.unwrap();
    let connected = tokio::time::timeout(Duration::from_secs(2), bus.wait_connected()).await;
    assert!(connected.is_err(), "a connection without a key was accepted");
}
