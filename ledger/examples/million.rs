//! What a million finished orders cost: `cargo run --release -p spark-ledger --example million`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "an example prints, and stops at what is wrong")]

use std::time::Instant;

use spark_bus_schema::OrderId;
use spark_ledger::finished::{Ended, Finished};

const ORDERS: u32 = 1_000_000;

fn resident_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4_096 / 1_048_576
}

fn main() {
    let before = resident_mib();
    let mut finished = Finished::default();
    for number in 0..ORDERS {
        finished.insert(&OrderId::derive("s", &number.to_string()), Ended { tag: number, state: None });
    }
    println!("{ORDERS} orders: {} MiB resident", resident_mib() - before);
    let began = Instant::now();
    let bytes = rmp_serde::to_vec_named(&finished).unwrap();
    println!("saved in {:?}: {} bytes", began.elapsed(), bytes.len());
    let began = Instant::now();
    let loaded: Finished = rmp_serde::from_slice(&bytes).unwrap();
    println!("loaded in {:?}", began.elapsed());
    assert_eq!(loaded, finished);
}
