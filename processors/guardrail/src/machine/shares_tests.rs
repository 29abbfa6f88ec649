//! Shares are stale in their session alone, by what their feed promises.

use spark_bus_schema::candles::MarketSnapshot;
use spark_bus_schema::telemetry::{FeedState, FeedStatus};
use spark_bus_schema::{Decimal, Timestamp, Venue};
use spark_nats::{Effects, Machine};

use super::Guardrail;
use super::event::Event;
use crate::rule::Rules;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + ms)
}

fn promise(state: FeedState, symbols: &[&str]) -> Event {
    Event::Feed(FeedStatus {
        venue: Venue::Bist,
        state,
        since: at(0),
        symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
        reconnects: 0,
        trades_missing: 0,
        trades_filled: 0,
        frames_rejected: 0,
        detail: None,
    })
}

fn snapshot(symbol: &str) -> Event {
    Event::Snapshot(Box::new(MarketSnapshot {
        venue: Venue::Bist,
        symbol: symbol.to_owned(),
        last: Decimal::TEN,
        bid: None,
        ask: None,
        open: None,
        high: None,
        low: None,
        prev_close: None,
        volume: Decimal::ZERO,
        turnover: None,
        status: "continuous".to_owned(),
        occurred_at: at(0),
        received_at: at(0),
        delay_minutes: 0,
        provider: "test".to_owned(),
    }))
}

/// What fires at the end of a timeline, by alert and severity, and how old each share is then, s.
fn end(timeline: Vec<(i64, Event)>, until: i64) -> (Vec<String>, Vec<(String, i64)>) {
    let mut guardrail = Guardrail::new(&Rules::builtin());
    let mut events = timeline.into_iter().peekable();
    let mut effects = Effects::default();
    for ms in (0..=until).step_by(100) {
        while let Some((when, event)) = events.next_if(|(when, _)| *when <= ms) {
            guardrail.apply(at(when), event, &mut effects).unwrap();
        }
        guardrail.tick(at(ms), &mut effects);
        // Something is always heard in a system that runs.
        if ms % 1_000 == 0 {
            guardrail.heard_at = at(ms);
        }
    }
    let firing = guardrail.firing();
    let fires = firing.iter().filter(|((name, _), count)| name.contains("Staleness") && **count > 0);
    let fires = fires.map(|((name, severity), count)| format!("{name} {severity:?} {count}")).collect();
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds of a test")]
    let ages = guardrail.staleness(at(until)).map(|(_, symbol, age)| (symbol.to_owned(), age as i64)).collect();
    (fires, ages)
}

#[test]
fn a_share_that_is_promised_and_not_confirmed_is_stale_alone() {
    let mut timeline = vec![(0, promise(FeedState::Live, &["THYAO", "AKBNK"]))];
    timeline.extend((0..40).map(|second| (second * 1_000, snapshot("THYAO"))));
    let (fires, ages) = end(timeline, 40_000);
    assert_eq!(fires, ["BISTStaleness Warning 1"]);
    assert_eq!(ages, [("AKBNK".to_owned(), 40), ("THYAO".to_owned(), 1)]);
}

#[test]
fn a_vendor_that_confirms_nothing_is_stale_as_a_whole_and_after_two_minutes_critical() {
    let timeline = vec![(0, promise(FeedState::Live, &["THYAO"])), (5_000, promise(FeedState::Reconnecting, &["THYAO"]))];
    assert_eq!(end(timeline.clone(), 31_000).0, ["BISTStaleness Warning 2"]);
    assert_eq!(end(timeline, 121_000).0, ["BISTStaleness Critical 2"]);
}

#[test]
fn outside_the_session_nothing_is_stale_whether_the_vendor_answers_or_not() {
    let nothing = (Vec::<String>::new(), Vec::new());
    for state in [FeedState::Live, FeedState::Reconnecting, FeedState::Connecting] {
        let over = vec![(0, promise(FeedState::Live, &["THYAO"])), (60_000, promise(state, &[]))];
        assert_eq!(end(over.clone(), 59_000).0, ["BISTStaleness Warning 2"]);
        assert_eq!(end(over, 300_000), nothing, "{state:?}");
    }
    // The closing price comes after the promise has ended, and begins no age.
    let late =
        vec![(0, promise(FeedState::Live, &["THYAO"])), (1_000, promise(FeedState::Live, &[])), (2_000, snapshot("THYAO"))];
    assert_eq!(end(late, 300_000), nothing);
}
