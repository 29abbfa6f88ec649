//! How fast the whole LEDGER is compared. By hand: `cargo test --release -p spark-auditor --test speed -- --ignored --nocapture`.

mod support;

use std::time::Instant;

use spark_auditor::Config;
use spark_nats::service::resident_bytes;
use spark_nats::testing::TestBroker;
use support::{Auditor, publish, until, verified};

const MESSAGES: u64 = 100_000;
const WRITERS: u64 = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test: it fills a synced stream first"]
async fn comparing_a_hundred_thousand_messages() {
    let broker = TestBroker::start().await;
    let bus = broker.bus("guardrail").await;
    let begun = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let bus = bus.clone();
            tokio::spawn(async move { publish(&bus, MESSAGES / WRITERS).await })
        })
        .collect();
    let mut last = 0;
    for writer in writers {
        last = last.max(writer.await.unwrap());
    }
    println!("stored {last} messages in {:?}", begun.elapsed());
    for what in ["taken in and compared", "compared"] {
        let begun = Instant::now();
        let auditor = Auditor::start(&broker, Config::default()).await;
        until(what, async || {
            let is_running = auditor.status.heartbeat("auditor", spark_nats::now()).state;
            if auditor.counter("spark_audit_head_sequence") >= last
                && is_running == spark_bus_schema::telemetry::ProcessState::Running
            {
                Ok(())
            } else {
                Err(auditor.detail())
            }
        })
        .await;
        let seconds = begun.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let rate = last as f64 / seconds;
        println!("{what}: {seconds:.3} s, {rate:.0}/s, resident {} MiB", resident_bytes() >> 20);
        verified(&broker, last).await;
        auditor.stop().await;
    }
    let begun = Instant::now();
    let found = support::verify(&broker).await;
    println!("spark audit verify: {:?}, {:?} compared", begun.elapsed(), found.compared);
}
