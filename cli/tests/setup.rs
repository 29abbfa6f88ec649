//! `spark setup` and `spark topology` against a real broker that was set up with nothing else.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use spark_nats::server;

fn spark(dir: &Path, port: u16, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spark"))
        .args(arguments)
        .env("NATS_URL", format!("nats://127.0.0.1:{port}"))
        .env("SPARK_NKEY_SEED_FILE", dir.join("keys/supervisor.nk"))
        .current_dir(dir)
        .output()
        .expect("the binary runs")
}

/// Stops the broker when the test ends, however it ends.
struct Broker(std::process::Child);

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_broker_is_set_up_from_the_files_and_its_drift_is_named_and_mended() {
    let dir = std::env::temp_dir().join(format!("spark-setup-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (port, monitor) = (server::free_port().unwrap(), server::free_port().unwrap());
    let store = dir.join("store");
    let listen = [format!("127.0.0.1:{port}"), format!("127.0.0.1:{monitor}")];
    let setup = ["setup", "--dir", ".", "--listen", &listen[0], "--monitor", &listen[1], "--store", store.to_str().unwrap()];
    assert!(spark(&dir, port, &setup).status.success());
    let seed = std::fs::read(dir.join("keys/feed.nk")).unwrap();
    assert!(spark(&dir, port, &setup).status.success());
    assert_eq!(std::fs::read(dir.join("keys/feed.nk")).unwrap(), seed, "keys that are there stay");

    let binary = server::obtain(&spark_nats::testing::tools_dir(), &mut |line| eprintln!("{line}")).await.unwrap();
    let broker = Command::new(binary)
        .args(["-c", "nats-server.conf", "-l", "nats.log"])
        .current_dir(&dir)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let broker = Broker(broker);
    server::wait_ready(port, Duration::from_secs(20)).await.unwrap();

    let missing = spark(&dir, port, &["topology"]);
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(String::from_utf8_lossy(&missing.stdout).contains("stream LEDGER differs: missing"), "{missing:?}");
    let applied = spark(&dir, port, &["topology", "--apply"]);
    assert!(String::from_utf8_lossy(&applied.stdout).contains("stream LEDGER created"), "{applied:?}");
    let same = spark(&dir, port, &["topology"]);
    assert!(same.status.success() && String::from_utf8_lossy(&same.stdout).contains("as declared"), "{same:?}");
    drop(broker);
    std::fs::remove_dir_all(&dir).unwrap();
}
