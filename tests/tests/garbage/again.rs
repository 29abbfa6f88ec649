//! A second look at the garbage, by processes that do not remember the first.

use std::collections::BTreeSet;

use spark_bus_schema::subject;
use spark_tests::system::System;
use spark_tests::wait::until;

use crate::bus::{LIMIT, ParkedKey, Vandal, assert_no_restarts_since, key_of, parked_ls, publish_between_neighbours, stream_of};
use crate::messages::{self, Garbage};

/// Processes that lose their folders in the end.
const FORGETFUL: [&str; 8] = ["guardrail", "notifier", "reporter", "gateway", "risk", "executor", "portfolio", "candles"];

/// Processes that have lost what they knew read the garbage a second time, on their way to it and in it: they come up, park
/// nothing twice, and park what comes then. What was replayed is parked once more: nobody remembers that it was handled, and
/// the original is still in FEED.
pub async fn check_who_reads_it_again(system: &mut System, replayed: ParkedKey) {
    let keys = |system: &System| -> BTreeSet<ParkedKey> { parked_ls(system).iter().filter_map(key_of).collect() };
    let (mut want, count) = (keys(system), parked_ls(system).len() + 1);
    want.insert(replayed);
    system.stop().await;
    let printed = system.printed().len();
    for process in FORGETFUL {
        std::fs::remove_dir_all(system.data().join(process)).unwrap_or_else(|error| panic!("{process}: {error}"));
    }
    system.restart().await;
    let mut vandal = Vandal::of(system).await;
    let once_each = messages::of_any_kind().into_iter().filter(|piece| piece.what.starts_with("random bytes"));
    // In PARKED it would change the list that is compared.
    let garbage: Vec<Garbage> = once_each.filter(|piece| stream_of(&piece.subject) != subject::PARKED).collect();
    let run = system.run();
    let runs = |process: &str| run["processes"].get(process).is_some();
    let (fresh, _) = publish_between_neighbours(&mut vandal, garbage, runs).await;
    let bus = system.bus("operator").await;
    let total = (count + fresh.len()) as u64;
    until("what comes after the restart is parked", LIMIT, async || match bus.message_count(subject::PARKED).await {
        Ok(parked) if parked >= total => Ok(()),
        other => Err(format!("{other:?} of {total}\n{}", system.printed())),
    })
    .await;
    want.extend(fresh);
    let got = keys(system);
    let difference: Vec<_> = want.symmetric_difference(&got).collect();
    assert!(difference.is_empty(), "missing or not expected: {difference:?}");
    assert_eq!(parked_ls(system).len() as u64, total, "parked more than once");
    assert_no_restarts_since(system, printed);
}
