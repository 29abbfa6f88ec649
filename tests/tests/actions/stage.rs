//! What these tests have in common: a system whose guardrail acts within seconds, and its story read back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use spark_bus_schema::Message;
use spark_bus_schema::actions::{Action, ActionStage};
use spark_bus_schema::subject;
use spark_nats::{Bus, Delivery};
use spark_tests::orders::{is, ledger};
use spark_tests::rules;
use spark_tests::system::System;
use spark_tests::wait::until;

/// Nothing that is waited for takes longer.
pub const LIMIT: Duration = Duration::from_secs(90);

/// The shipped rules with these ids and changes, and no others: what else fires on a busy machine is not this test's business.
pub fn rules_file(name: &str, ids: &[&str], changes: &[(&str, &str, &str)]) -> PathBuf {
    let path = rules::shipped_with(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), changes);
    let text = std::fs::read_to_string(&path).expect("it was just written");
    let wanted = |rule: &&str| ids.iter().any(|id| rule.starts_with(&format!("id = \"{id}\"\n")));
    let kept: Vec<&str> = text.split("[[rule]]\n").filter(wanted).collect();
    assert_eq!(kept.len(), ids.len(), "not all of {ids:?} are shipped");
    let text: String = kept.iter().map(|rule| format!("[[rule]]\n{rule}")).collect();
    std::fs::write(&path, text).expect("it can be written again");
    path
}

/// A system without strategies of its own, polled often, with a guardrail that is configured so.
pub async fn system(guardrail: &str) -> System {
    let config = format!(
        "[strategy]\nenabled = false\n[supervisor]\nstop_limit_ms = 1000\n\
         [portfolio.binance]\npoll_interval_ms = 500\nauth_pause_ms_max = 1000\nper_minute = 5000\n\
         [portfolio.btcturk]\npoll_interval_ms = 500\nauth_pause_ms_max = 1000\nper_minute = 5000\n\
         [gateway]\nrate_per_second = 1000\nrate_burst = 1000\n{guardrail}"
    );
    let system = System::start(env!("CARGO_BIN_EXE_spark-under-test"), &config, &[]).await;
    until("all is well", LIMIT, async || {
        let metrics = system.json("/api/public/metrics").await?;
        let portfolio = system.json("/api/portfolio").await?;
        let served = portfolio["accounts"].as_array().is_some_and(|accounts| {
            accounts.len() == 2 && accounts.iter().all(|account| account["error"].is_null() && account["stale"] == false)
        });
        if metrics["status"] == "DEMO" && served { Ok(()) } else { Err(format!("{metrics} {portfolio:.500}")) }
    })
    .await;
    system
}

/// Every step that the guardrail has told of so far, in order.
pub async fn actions(bus: &Bus) -> Vec<Action> {
    let all = ledger(bus).await;
    all.iter().filter(|delivery| is(delivery, subject::ACTIONS)).map(read).collect()
}

/// Waits for a step that is as wanted.
pub async fn step(bus: &Bus, what: &str, wanted: impl Fn(&Action) -> bool) -> Action {
    until(what, LIMIT, async || {
        let told = actions(bus).await;
        let seen = || told.iter().map(|action| format!("{:?}: {}", action.stage, action.summary)).collect::<Vec<_>>().join("; ");
        told.iter().find(|action| wanted(action)).cloned().ok_or_else(seen)
    })
    .await
}

/// Waits for the first step of this stage.
pub async fn stage(bus: &Bus, stage: ActionStage) -> Action {
    step(bus, &format!("{stage:?} is told"), |action| action.stage == stage).await
}

/// A message as the kind that it must be.
pub fn read<T: Message>(delivery: &Delivery) -> T {
    delivery.decode().unwrap_or_else(|error| panic!("{}: {error}", delivery.subject))
}

/// The first message of a subject that is as wanted; it must be there.
pub fn first<'a, T: Message>(all: &'a [Delivery], on: &str, wanted: impl Fn(&T) -> bool) -> (&'a Delivery, T) {
    let mut found = all.iter().filter(|delivery| is(delivery, on)).map(|delivery| (delivery, read::<T>(delivery)));
    found.find(|(_, message)| wanted(message)).unwrap_or_else(|| panic!("nothing as wanted on {on}"))
}

/// How many messages there are on a subject.
pub fn count(all: &[Delivery], on: &str) -> usize {
    all.iter().filter(|delivery| is(delivery, on)).count()
}
