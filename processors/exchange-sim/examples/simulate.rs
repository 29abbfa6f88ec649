//! Runs a simulator by itself until Ctrl-C and prints its addresses: `cargo run -p spark-exchange-sim --example simulate [RECORDING…]`.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use spark_exchange_sim::{Config, Replay, Speed};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = std::env::args_os().skip(1).map(Into::into).collect();
    let sim = spark_exchange_sim::start(Config { replay: Replay { files, speed: Speed::Max }, ..Config::default() }).await?;
    println!("binance http://{0}  ws://{0}/ws", sim.binance_addr);
    println!("btcturk http://{0}  ws://{0}/", sim.btcturk_addr);
    println!("faults  http://{}/sim/faults", sim.admin_addr);
    tokio::signal::ctrl_c().await?;
    sim.stop().await;
    Ok(())
}
