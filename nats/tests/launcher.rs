//! The broker's binary on a clean clone, where everything that is started at once needs it.

use spark_nats::server;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_first_start_of_many_at_once_fetches_one_binary_for_all() {
    let tools = std::env::temp_dir().join(format!("spark-launcher-{}", std::process::id()));
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let tools = tools.clone();
            tokio::spawn(async move { server::obtain(&tools, &mut |_| {}).await })
        })
        .collect();
    let mut found = Vec::new();
    for start in starts {
        found.push(start.await.expect("no panic").expect("a nats-server"));
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
    // Nothing to write when SPARK_NATS_SERVER or PATH has it.
    if tools.exists() {
        std::fs::remove_dir_all(&tools).expect("removed");
    }
}
