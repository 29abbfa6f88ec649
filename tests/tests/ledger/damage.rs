//! The store of the LEDGER is damaged while the system is off: the next start finds it, and nothing is traded before a person
//! has accepted what is left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use spark_bus_schema::OrderId;
use spark_bus_schema::audit::AuditDamage;
use spark_bus_schema::orders::OrderState;
use spark_bus_schema::subject::{self, LEDGER};
use spark_tests::checker::stories;
use spark_tests::orders::{Answer, Desk, market, record};
use spark_tests::system::System;
use spark_tests::wait::until;

use crate::setting::{LIMIT, desk, pin, system, turn};

/// Orders before the damage.
const ORDERS: usize = 12;
/// Orders at once in the moment in which the gateway answers again.
const EAGER: usize = 20;

fn buy() -> Value {
    market("binance", "BTCUSDT", "buy", "0.001")
}

/// Asks with one key until there is a verdict.
async fn verdict(desk: &Desk, key: &str) -> Answer {
    until("there is a verdict", LIMIT, async || {
        let answer = desk.order(key, &buy()).await?;
        if answer.status == 200 { Ok(answer) } else { Err(format!("{answer:?}")) }
    })
    .await
}

async fn filled(system: &System, desk: &Desk, keys: impl Iterator<Item = String>) {
    let keys: Vec<String> = keys.collect();
    for key in &keys {
        let answer = verdict(desk, key).await;
        assert_eq!(answer.json()["approved"], true, "{answer:?}");
    }
    let bus = system.bus("operator").await;
    until("all of them are filled", LIMIT, async || {
        let stories = stories(&record(&bus).await);
        let open = keys.iter().find(|key| {
            let story = stories.get(&OrderId::derive("manual", key));
            story.is_none_or(|story| story.filled().is_zero())
        });
        open.map_or(Ok(()), |key| Err(key.clone()))
    })
    .await;
}

/// Until the chain holds everything that was decided: damage of what it never saw cannot be told from a crash.
async fn chained(system: &System) {
    let bus = system.bus("operator").await;
    let (_, last) = bus.bounds(LEDGER).await.unwrap();
    until("everything is chained", LIMIT, async || {
        let (code, printed) = system.spark(&["audit", "verify", "--json"]);
        assert_eq!(code, 0, "{printed}");
        let found: Value = serde_json::from_str(&printed).unwrap();
        if found["head_sequence"].as_u64() >= Some(last) { Ok(()) } else { Err(printed) }
    })
    .await;
}

/// An order that is still under way when its last event is lost would halt the executor at each further start, as it must.
async fn settled(system: &System) {
    until("every order is settled", LIMIT, async || {
        let listed = system.json("/api/exec/orders").await?;
        let states = listed["orders"].as_array().into_iter().flatten().map(|order| order["state"].clone());
        let open: Vec<Value> = states.filter(|state| state != "settled").collect();
        if open.is_empty() { Ok(()) } else { Err(format!("{open:?}")) }
    })
    .await;
}

fn stream(system: &System) -> PathBuf {
    let mut open = vec![system.data().join("nats-server")];
    while let Some(folder) = open.pop() {
        for path in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
            if path.ends_with("streams/LEDGER") {
                return path;
            }
            open.push(path);
        }
    }
    panic!("no LEDGER under {}", system.data().display())
}

fn last_block(stream: &Path) -> PathBuf {
    let blocks = std::fs::read_dir(stream.join("msgs")).unwrap().map(|entry| entry.unwrap().path());
    let number = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
    blocks.filter(|path| path.extension().is_some_and(|extension| extension == "blk")).max_by_key(number).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for path in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Starts again and orders from the first moment on. Nothing of it may reach a market, whatever the verdicts were.
async fn trades_nothing(system: &mut System, round: &str) {
    system.restart().await;
    let desk = desk(system);
    let eager: Vec<_> = (0..EAGER)
        .map(|number| {
            let (desk, key) = (desk.clone(), format!("eager-{round}-{number}"));
            tokio::spawn(async move { desk.order(&key, &buy()).await })
        })
        .collect();
    for order in eager {
        // Any answer, or none: what became of it is looked up.
        let _ = order.await.unwrap();
    }
    let later = verdict(&desk, &format!("later-{round}")).await;
    assert_eq!(later.json()["guard"], "halt", "{later:?}");
    let bus = system.bus("operator").await;
    for (order, story) in stories(&record(&bus).await) {
        let is_ours = story.intent.as_ref().is_some_and(|intent| intent.key.contains(&format!("-{round}")));
        let sent = story.events.iter().flat_map(|event| &event.steps);
        let sent: Vec<_> = sent
            .filter(|step| !matches!(step.state, OrderState::Pending | OrderState::Expired | OrderState::Cancelled))
            .collect();
        assert!(!is_ours || sent.is_empty(), "{order} went on its way on a damaged LEDGER: {sent:?}");
    }
}

/// Everything that a person looks at says that the LEDGER is damaged, from where on, and what to do.
async fn is_told(system: &System) {
    let bus = system.bus("operator").await;
    let told = bus.last(LEDGER, subject::AUDIT_DAMAGE).await.unwrap().expect("the damage is in the LEDGER");
    let damage: AuditDamage = told.decode().unwrap();
    assert!(damage.advice.contains("spark audit accept"), "{damage:?}");
    let (code, printed) = system.spark(&["audit", "verify"]);
    assert_eq!(code, 1, "{printed}");
    assert!(printed.contains(&format!("from message {} on", damage.first_bad_sequence)), "{damage:?}: {printed}");
    assert!(printed.contains("spark audit accept"), "{printed}");
    until("`spark status` says so", LIMIT, async || {
        let (_, printed) = system.spark(&["status"]);
        let says = printed.contains("the LEDGER is damaged from message") && printed.contains("LedgerDamaged");
        if says && printed.contains("TradingHalted") { Ok(()) } else { Err(printed) }
    })
    .await;
}

async fn check(name: &str, harm: impl AsyncFnOnce(&mut System)) {
    let _turn = turn().await;
    let mut system = system("").await;
    pin(&system, "binance", "BTCUSDT", "60000.00", "60010.00").await;
    filled(&system, &desk(&system), (0..ORDERS).map(|number| format!("before-{number}"))).await;
    chained(&system).await;
    harm(&mut system).await;
    trades_nothing(&mut system, "first").await;
    is_told(&system).await;
    // Another start changes nothing.
    system.stop().await;
    trades_nothing(&mut system, "second").await;
    is_told(&system).await;
    let (code, printed) = system.spark(&["audit", "accept", "--reason", &format!("{name} for the test")]);
    assert_eq!(code, 0, "{printed}");
    until("trading goes on", LIMIT, async || {
        let key = format!("after-{:?}", std::time::Instant::now());
        let answer = verdict(&desk(&system), &key).await;
        if answer.json()["approved"] == true { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    filled(&system, &desk(&system), (0..3).map(|number| format!("again-{number}"))).await;
    until("the new era is whole", LIMIT, async || {
        let (code, printed) = system.spark(&["audit", "verify"]);
        if code == 0 && printed.contains("for the test") { Ok(()) } else { Err(printed) }
    })
    .await;
    // And it still is after a start.
    system.stop().await;
    system.restart().await;
    filled(&system, &desk(&system), std::iter::once("at-last".to_owned())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_store_trades_nothing_until_it_is_accepted() {
    check("truncated", async |system| {
        system.stop().await;
        let block = last_block(&stream(system));
        let size = std::fs::metadata(&block).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&block).unwrap().set_len(size * 3 / 4).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_trades_nothing_until_it_is_accepted() {
    check("flipped", async |system| {
        settled(system).await;
        chained(system).await;
        system.stop().await;
        let block = last_block(&stream(system));
        let mut bytes = std::fs::read(&block).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        std::fs::write(&block, bytes).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_store_trades_nothing_until_it_is_accepted() {
    check("wiped", async |system| {
        system.stop().await;
        std::fs::remove_dir_all(stream(system)).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_of_the_store_trades_nothing_until_it_is_accepted() {
    check("rolled back", async |system| {
        system.stop().await;
        let (now, older) = (stream(system), system.data().join("older"));
        copy(&now, &older);
        system.restart().await;
        filled(system, &desk(system), (0..ORDERS).map(|number| format!("lost-{number}"))).await;
        chained(system).await;
        system.stop().await;
        std::fs::remove_dir_all(&now).unwrap();
        copy(&older, &now);
        std::fs::remove_dir_all(&older).unwrap();
    })
    .await;
}

/// The auditor never comes: nothing is approved, nothing is sent, and both say what they wait for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_auditor_nothing_is_traded_after_a_takeover() {
    let _turn = turn().await;
    let system = system("").await;
    filled(&system, &desk(&system), std::iter::once("before".to_owned())).await;
    let auditor = system.pid("auditor").await;
    spark_tests::system::signal(auditor, "STOP");
    let bus = system.bus("operator").await;
    let epoch = async || bus.last(LEDGER, subject::RISK_EPOCH).await.unwrap().map_or(0, |message| message.sequence);
    let before = epoch().await;
    system.kill("risk").await;
    // Asked while nobody decides, and answered when the auditor has spoken.
    let early = desk(&system).order("early", &buy()).await;
    until("risk takes over", LIMIT, async || if epoch().await > before { Ok(()) } else { Err("not yet") }).await;
    let answer = verdict(&desk(&system), "without").await;
    assert_eq!(answer.json()["guard"], "halt", "{answer:?}");
    assert!(answer.body.contains("auditor"), "{answer:?}");
    system.kill("executor").await;
    until("both say what they wait for", LIMIT, async || {
        let (_, printed) = system.spark(&["status"]);
        let waiting = printed.lines().filter(|line| line.contains("waiting for the") && line.contains("auditor")).count();
        if waiting == 2 { Ok(()) } else { Err(printed) }
    })
    .await;
    let stories = stories(&record(&bus).await);
    let early_story = &stories[&OrderId::derive("manual", "early")];
    assert!(early_story.events.is_empty(), "sent without the auditor's word: {early_story:?}; {early:?}");
    spark_tests::system::signal(auditor, "CONT");
    let begun = std::time::Instant::now();
    filled(&system, &desk(&system), ["early", "with"].into_iter().map(str::to_owned)).await;
    assert!(begun.elapsed() < Duration::from_secs(30));
}
