//! Resident memory of every process of the demo, broker included, after it has run for a while.
//! Baseline: the target of 300 MiB in all, as the sum of resident sizes, which counts what processes share once each.

#![allow(clippy::print_stdout, reason = "a bench prints its table")]

use std::time::Duration;

use spark_tests::bench::{is_quick, machine};
use spark_tests::system::{System, process_name, proportional_bytes, resident_bytes};

const TARGET_MIB: f64 = 300.0;
const MIB: f64 = 1_048_576.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(run());
}

async fn run() {
    let after = Duration::from_secs(if is_quick() { 30 } else { 60 });
    println!("memory of the demo after {} s, {}", after.as_secs(), machine());
    let mut system = System::start(env!("CARGO_BIN_EXE_spark-under-test"), "", &[]).await;
    tokio::time::sleep(after).await;

    println!("  {:<24} {:>10} {:>14}", "process", "RSS MiB", "PSS MiB (share)");
    let (mut resident, mut proportional) = (0.0, 0.0);
    for (pid, command) in system.tree() {
        let (own, share) = (resident_bytes(pid) as f64 / MIB, proportional_bytes(pid) as f64 / MIB);
        println!("  {:<24} {own:>10.1} {share:>14.1}", process_name(&command));
        resident += own;
        proportional += share;
    }
    println!("  {:<24} {resident:>10.1} {proportional:>14.1}", "total");
    println!("  target (baseline) < {TARGET_MIB} MiB resident: {:.2} of it", resident / TARGET_MIB);
    system.stop().await;
}
