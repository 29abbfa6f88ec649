//! Listening to a subject without a stream in between.

use std::time::Duration;

use spark_bus_schema::actions::RestartCommand;
use spark_bus_schema::subject;
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Listener, Meta, now};

const LIMIT: Duration = Duration::from_secs(20);

async fn tell(bus: &Bus, service: &str, attempt: u32) {
    let command = RestartCommand {
        service: service.to_owned(),
        episode: Some("e1".to_owned()),
        attempt,
        actor: "guardrail".to_owned(),
        reason: "test".to_owned(),
        evidence: Vec::new(),
        at: now(),
    };
    bus.publish(&subject::restart(service), &command, Meta::default()).await.expect("stored");
}

async fn heard(listener: &mut Listener) -> RestartCommand {
    let heard = tokio::time::timeout(LIMIT, listener.next()).await.expect("heard in time").expect("open");
    heard.decode().expect("a command")
}

#[tokio::test]
async fn a_process_hears_the_wish_that_it_be_restarted_no_other_ones_and_again_after_the_broker_was_away() {
    let mut broker = TestBroker::start().await;
    let (feed, guardrail) = (broker.bus("feed").await, broker.bus("guardrail").await);
    tell(&guardrail, "feed", 1).await;
    let mut listener = feed.listen(&subject::restart("feed")).await.expect("listens");
    let mut forbidden = feed.listen(&subject::restart("risk")).await.expect("asks");
    // The broker has both subscriptions once it has answered what was sent behind them.
    feed.bounds(subject::FEED).await.expect("an answer");
    tell(&guardrail, "risk", 1).await;
    tell(&guardrail, "feed", 2).await;
    // What was said before it listened is not heard.
    assert_eq!(heard(&mut listener).await.attempt, 2);

    broker.restart().await;
    let mut attempt = 2;
    let again = loop {
        attempt += 1;
        assert!(attempt < 100, "nothing is heard after the broker's restart");
        tell(&guardrail, "feed", attempt).await;
        if let Ok(heard) = tokio::time::timeout(Duration::from_millis(200), listener.next()).await {
            break heard.expect("open").decode::<RestartCommand>().expect("a command");
        }
    };
    assert!(again.attempt > 2);
    let other = tokio::time::timeout(Duration::from_millis(10), forbidden.next()).await;
    assert!(other.is_err(), "{other:?}");
}
