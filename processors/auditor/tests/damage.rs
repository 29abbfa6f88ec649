//! A damaged store is found at the next start, whatever happened to it, and nothing goes on by itself.

#![allow(clippy::unwrap_used, reason = "a test's helper that cannot do its work has failed the test")]

mod support;

use std::path::Path;

use spark_auditor::verify::Part;
use spark_auditor::{Config, Error, accept};
use spark_bus_schema::audit::{AuditDamage, AuditVerified, DamageKind};
use spark_bus_schema::subject;
use spark_nats::testing::TestBroker;
use spark_nats::topology;
use support::{Auditor, blocks, chained, copy, damage, database, publish, store, stored, until, verified, verify};

fn config() -> Config {
    Config { anchor_messages: 50, anchor_interval_s: 1_000, commit_interval_ms: 10 }
}

/// A LEDGER of `count` alerts that the auditor has chained and then left.
async fn chained_ledger(count: u64) -> (TestBroker, u64) {
    let broker = TestBroker::start().await;
    let bus = broker.bus("guardrail").await;
    let auditor = Auditor::start(&broker, config()).await;
    verified(&broker, 0).await;
    let last = publish(&bus, count).await;
    chained(&auditor, last).await;
    auditor.stop().await;
    // What the auditor itself stored last is chained by a look; the head is `last` or a little behind it.
    (broker, last)
}

/// The auditor starts on what is there, tells the damage once, and keeps saying it.
async fn found(broker: &TestBroker, fits: impl Fn(&AuditDamage) -> bool) -> AuditDamage {
    let auditor = Auditor::start(broker, config()).await;
    let told = damage(broker, &auditor, fits).await;
    until("the process says so", async || {
        let detail = auditor.detail();
        if detail.contains(&format!("message {}", told.first_bad_sequence)) && detail.contains("spark audit accept") {
            Ok(())
        } else {
            Err(detail)
        }
    })
    .await;
    assert_eq!(auditor.counter("spark_audit_damage"), 1);
    auditor.stop().await;
    told
}

#[tokio::test]
async fn a_truncated_block_is_found_and_told_once() {
    let (mut broker, last) = chained_ledger(200).await;
    broker.kill();
    let block = blocks(&broker).pop().unwrap();
    let size = std::fs::metadata(&block).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&block).unwrap().set_len(size * 3 / 4).unwrap();
    broker.restart().await;
    let told = found(&broker, |_| true).await;
    println!("{told:?}");
    assert!(matches!(told.kind, DamageKind::Truncated | DamageKind::Missing), "{told:?}");
    assert!(told.first_bad_sequence > last / 2 && told.first_bad_sequence < last, "{told:?}");
    let again = found(&broker, |_| true).await;
    assert_eq!(again, told);
    assert_eq!(stored::<AuditDamage>(&broker, subject::AUDIT_DAMAGE).await.len(), 1);
    let verification = verify(&broker).await;
    let broken = verification.broken.unwrap();
    assert_eq!((broken.part, broken.first_bad_sequence), (Part::Stream, told.first_bad_sequence));
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_a_block_is_found() {
    let (mut broker, last) = chained_ledger(120).await;
    broker.kill();
    let sound = broker.dir().join("sound");
    copy(&store(&broker), &sound);
    let record = database(&broker);
    let kept = broker.dir().join("kept");
    copy(record.parent().unwrap(), &kept);
    for eighths in [1, 4, 7] {
        let block = blocks(&broker).pop().unwrap();
        let mut bytes = std::fs::read(&block).unwrap();
        let at = bytes.len() * eighths / 8;
        bytes[at] ^= 0x10;
        std::fs::write(&block, bytes).unwrap();
        broker.restart().await;
        let told = found(&broker, |_| true).await;
        println!("{eighths}/8: {told:?}");
        assert!(told.first_bad_sequence <= last, "{told:?}");
        broker.kill();
        std::fs::remove_dir_all(store(&broker)).unwrap();
        copy(&sound, &store(&broker));
        std::fs::remove_dir_all(record.parent().unwrap()).unwrap();
        copy(&kept, record.parent().unwrap());
    }
}

/// Several blocks of the store, by large messages.
async fn large(broker: &TestBroker, count: usize) -> u64 {
    let bus = broker.bus("guardrail").await;
    let mut last = 0;
    for number in 0..count {
        let payload = vec![u8::try_from(number % 251).unwrap(); 900_000];
        let kind = spark_bus_schema::Kind { name: "alert", version: 1 };
        let stored = bus.store_kind("alerts.changed.Large.x", kind, payload.into(), spark_nats::Meta::default()).await;
        last = stored.unwrap();
    }
    last
}

#[tokio::test]
async fn damage_of_an_earlier_block_is_found_although_the_end_is_well() {
    let mut broker = TestBroker::start().await;
    let auditor = Auditor::start(&broker, config()).await;
    verified(&broker, 0).await;
    let last = large(&broker, 40).await;
    chained(&auditor, last).await;
    auditor.stop().await;
    broker.kill();
    let sound = broker.dir().join("sound");
    copy(&store(&broker), &sound);
    let record = database(&broker);
    let kept = broker.dir().join("kept");
    copy(record.parent().unwrap(), &kept);
    let all = blocks(&broker);
    assert!(all.len() >= 3, "{all:?}");
    type Harm = fn(&Path);
    let harm: [(&str, Harm); 3] = [
        ("bit", |block| {
            let mut bytes = std::fs::read(block).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            std::fs::write(block, bytes).unwrap();
        }),
        ("cut", |block| {
            let size = std::fs::metadata(block).unwrap().len();
            std::fs::OpenOptions::new().write(true).open(block).unwrap().set_len(size / 2).unwrap();
        }),
        ("gone", |block| std::fs::remove_file(block).unwrap()),
    ];
    for index in [0, 1] {
        for (what, harm) in harm {
            harm(&all[index]);
            broker.restart().await;
            let told = found(&broker, |_| true).await;
            println!("block {index} {what}: {} {} {}", told.first_bad_sequence, told.kind, told.detail);
            assert!(told.first_bad_sequence < last - 10, "{told:?}");
            broker.kill();
            std::fs::remove_dir_all(store(&broker)).unwrap();
            copy(&sound, &store(&broker));
            std::fs::remove_dir_all(record.parent().unwrap()).unwrap();
            copy(&kept, record.parent().unwrap());
        }
    }
    broker.restart().await;
    assert!(verify(&broker).await.broken.is_none(), "the copies themselves are sound");
}

#[tokio::test]
async fn a_wiped_store_is_found_whether_empty_or_in_use_again() {
    let (mut broker, last) = chained_ledger(60).await;
    broker.kill();
    std::fs::remove_dir_all(store(&broker)).unwrap();
    broker.restart().await;
    let supervisor = broker.bus("supervisor").await;
    topology::ensure(&supervisor, topology::Settings::default()).await.unwrap();
    let told = found(&broker, |_| true).await;
    assert_eq!((told.kind, told.first_bad_sequence), (DamageKind::Wiped, 1), "{told:?}");
    publish(&broker.bus("guardrail").await, last + 20).await;
    let again = found(&broker, |_| true).await;
    assert_eq!(again, told);
    let broken = verify(&broker).await.broken.unwrap();
    assert_eq!((broken.kind, broken.first_bad_sequence), (DamageKind::Wiped, 1), "{broken:?}");
}

#[tokio::test]
async fn an_older_copy_of_the_store_is_found_with_and_without_new_messages() {
    let (mut broker, early) = chained_ledger(60).await;
    broker.kill();
    let old = broker.dir().join("old");
    copy(&store(&broker), &old);
    broker.restart().await;
    let auditor = Auditor::start(&broker, config()).await;
    verified(&broker, early).await;
    let last = publish(&broker.bus("guardrail").await, 80).await;
    chained(&auditor, last).await;
    auditor.stop().await;
    let record = database(&broker);
    let kept = broker.dir().join("kept");
    copy(record.parent().unwrap(), &kept);
    for published in [0, 30, 200] {
        broker.kill();
        std::fs::remove_dir_all(store(&broker)).unwrap();
        copy(&old, &store(&broker));
        std::fs::remove_dir_all(record.parent().unwrap()).unwrap();
        copy(&kept, record.parent().unwrap());
        broker.restart().await;
        publish(&broker.bus("guardrail").await, published).await;
        let told = found(&broker, |_| true).await;
        let want = if published == 0 { DamageKind::Truncated } else { DamageKind::RolledBack };
        assert_eq!(told.kind, want, "{told:?}");
        assert!(told.first_bad_sequence > early && told.first_bad_sequence <= early + 5, "{early} {told:?}");
    }
}

#[tokio::test]
async fn a_store_that_is_damaged_while_the_auditor_runs_is_found_after_the_reconnect_and_a_repair_is_seen() {
    let (mut broker, last) = chained_ledger(90).await;
    let auditor = Auditor::start(&broker, config()).await;
    verified(&broker, last).await;
    broker.kill();
    let sound = broker.dir().join("sound");
    copy(&store(&broker), &sound);
    let block = blocks(&broker).pop().unwrap();
    let size = std::fs::metadata(&block).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&block).unwrap().set_len(size / 2).unwrap();
    broker.restart().await;
    let told = damage(&broker, &auditor, |_| true).await;
    assert!(told.first_bad_sequence < last, "{told:?}");
    let head = auditor.counter("spark_audit_head_sequence");
    publish(&broker.bus("guardrail").await, 20).await;
    broker.kill();
    assert_eq!(auditor.counter("spark_audit_head_sequence"), head, "the chain is not extended over damage");
    std::fs::remove_dir_all(store(&broker)).unwrap();
    copy(&sound, &store(&broker));
    broker.restart().await;
    until("all is well again", async || if auditor.counter("spark_audit_damage") == 0 { Ok(()) } else { Err(auditor.detail()) })
        .await;
    auditor.stop().await;
    assert!(matches!(accept(&database(&broker), "late", "operator"), Err(Error::NothingToAccept { .. })));
    assert!(verify(&broker).await.broken.is_none());
}

#[tokio::test]
async fn acceptance_begins_a_new_era_while_the_auditor_runs_and_the_old_entries_stay() {
    let (mut broker, last) = chained_ledger(100).await;
    assert!(matches!(accept(&database(&broker), "nothing is wrong", "operator"), Err(Error::NothingToAccept { .. })));
    broker.kill();
    let block = blocks(&broker).pop().unwrap();
    let size = std::fs::metadata(&block).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&block).unwrap().set_len(size / 2).unwrap();
    broker.restart().await;
    let auditor = Auditor::start(&broker, config()).await;
    let told = damage(&broker, &auditor, |_| true).await;
    publish(&broker.bus("guardrail").await, 5).await;
    assert!(matches!(accept(&database(&broker), " ", "operator"), Err(Error::Empty("reason"))));
    let accepted = accept(&database(&broker), "disk replaced, positions compared by hand", "ayse").unwrap();
    assert_eq!((accepted.era, accepted.first_sequence), (2, told.first_bad_sequence));
    until("the new era is verified", async || {
        let all: Vec<AuditVerified> = stored(&broker, subject::AUDIT_VERIFIED).await;
        if all.iter().any(|one| one.era == 2 && one.adopted) { Ok(()) } else { Err(format!("{all:?} {}", auditor.detail())) }
    })
    .await;
    let end = publish(&broker.bus("guardrail").await, 120).await;
    chained(&auditor, end).await;
    assert_eq!(auditor.counter("spark_audit_damage"), 0);
    auditor.stop().await;
    let found = verify(&broker).await;
    assert!(found.broken.is_none() && found.era == 2 && found.anchors_good >= 1, "{found:?}");
    assert!(found.entries > found.head_sequence, "the lost messages are still there: {found:?}");
    assert_eq!((found.accepted[0].actor.as_str(), found.accepted[0].first_sequence), ("ayse", told.first_bad_sequence));
    let auditor = Auditor::start(&broker, config()).await;
    let again = verified(&broker, end).await;
    assert!(again.era == 2 && !again.adopted, "{again:?}");
    auditor.stop().await;
    assert!(last > 0);
}

#[tokio::test]
async fn any_change_of_the_audit_database_is_found_by_verify() {
    let (broker, _) = chained_ledger(40).await;
    let path = database(&broker);
    let kept = broker.dir().join("kept.sqlite");
    std::fs::copy(&path, &kept).unwrap();
    assert!(!path.with_extension("sqlite-wal").exists(), "closed cleanly");
    let check = |sql: &str, first_bad: Option<u64>| {
        std::fs::copy(&kept, &path).unwrap();
        let database = rusqlite::Connection::open(&path).unwrap();
        database.execute_batch(sql).unwrap();
        drop(database);
        let broken = spark_auditor::verify_offline(&path).unwrap().broken.unwrap_or_else(|| panic!("not found: {sql}"));
        assert_eq!(broken.part, Part::Database);
        if let Some(first_bad) = first_bad {
            assert_eq!(broken.first_bad_sequence, first_bad, "{sql}: {broken:?}");
        }
    };
    check("UPDATE entry SET payload = CAST(payload || x'00' AS BLOB) WHERE position = 7", Some(7));
    check("UPDATE entry SET payload = 'text' WHERE position = 7", Some(7));
    check("UPDATE entry SET headers = x'00000000' WHERE position = 7", Some(7));
    check("UPDATE entry SET subject = 'alerts.changed.Other.x' WHERE position = 7", Some(7));
    check("UPDATE entry SET stored_at = stored_at + 1 WHERE position = 7", Some(7));
    check("UPDATE entry SET sequence = 1007 WHERE position = 7", Some(7));
    check("UPDATE entry SET hash = zeroblob(32) WHERE position = 7", Some(7));
    check("UPDATE entry SET hash = 'x' WHERE position = 7", None);
    check("UPDATE entry SET actor = 'somebody' WHERE position = 7", Some(7));
    check("UPDATE entry SET action = 'order.intent' WHERE position = 7", Some(7));
    check("UPDATE entry SET era = 2 WHERE position = 7", Some(7));
    check("DELETE FROM entry WHERE position = 7", Some(7));
    check("DELETE FROM entry WHERE position = 1", Some(1));
    check("DELETE FROM entry WHERE position > 30", Some(31));
    check("DELETE FROM entry", Some(1));
    check(
        "INSERT INTO entry SELECT 10000, era, 10000, stored_at, hash, action, actor, subject, headers, payload FROM entry LIMIT 1",
        None,
    );
    check(
        "INSERT INTO entry SELECT -1, era, 10000, stored_at, hash, action, actor, subject, headers, payload FROM entry LIMIT 1",
        None,
    );
    check("DELETE FROM entry WHERE position > 30; UPDATE head SET position = 30", None);
    check("UPDATE head SET hash = zeroblob(32)", None);
    check("UPDATE era SET link = randomblob(32)", Some(1));
    check("INSERT INTO era SELECT 2, 9, 8, link, begun_at, 'me', 'because', '', 9 FROM era", None);
    std::fs::copy(&kept, &path).unwrap();
    assert_eq!(spark_auditor::verify_offline(&path).unwrap().broken, None);
    // The same with the bytes of the file: every page that is in use, one after the other.
    let sound = std::fs::read(&path).unwrap();
    for page in 1..sound.len() / 4_096 {
        let mut bytes = sound.clone();
        bytes[page * 4_096..][..64].fill(0xff);
        std::fs::write(&path, bytes).unwrap();
        match spark_auditor::verify_offline(&path) {
            Ok(found) => assert!(found.broken.is_some_and(|broken| broken.part == Part::Database), "page {page}"),
            Err(error) => assert!(matches!(error, Error::Database { .. } | Error::Inconsistent { .. }), "page {page}: {error:?}"),
        }
    }
    std::fs::write(&path, "not a database at all, but long enough to be looked at as one").unwrap();
    assert!(matches!(spark_auditor::verify_offline(&path), Err(Error::Database { .. })));
    assert!(matches!(spark_auditor::verify_offline(&path.with_extension("none")), Err(Error::NotThere { .. })));
}
