//! Three brokers from the files that `spark setup --cluster` writes: what is acknowledged is on all of them, and one may go.

#![allow(clippy::unwrap_used, reason = "a test that cannot prepare has failed, and its helpers with it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use spark_bus_schema::control::KillSwitch;
use spark_bus_schema::{Timestamp, subject};
use spark_nats::{Bus, ConnectOptions, Credentials, Follower, Meta, Start, server};

/// Whatever is waited for comes within this time, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const NAMES: [&str; 3] = ["nats-1", "nats-2", "nats-3"];

struct Node {
    port: u16,
    monitor: u16,
    child: Option<Child>,
}

/// Stops all of it when the test ends, however it ends.
struct Cluster {
    dir: PathBuf,
    binary: PathBuf,
    nodes: Vec<Node>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for index in 0..self.nodes.len() {
            self.kill(index);
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

impl Cluster {
    /// Sets up files as for three machines, then gives each node the addresses of this one.
    async fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("spark-cluster-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let routes: Vec<u16> = NAMES.iter().map(|_| server::free_port().unwrap()).collect();
        let nodes: Vec<String> = NAMES.iter().zip(&routes).map(|(name, port)| format!("{name}=127.0.0.1:{port}")).collect();
        let setup = ["setup", "--dir", ".", "--cluster", &nodes.join(",")];
        let said = spark(&dir, "", &setup);
        assert!(said.status.success(), "{said:?}");
        let binary = server::obtain(&spark_nats::testing::tools_dir(), &mut |line| eprintln!("{line}")).await.unwrap();
        let mut cluster = Self { dir, binary, nodes: Vec::new() };
        for (index, (name, route)) in NAMES.iter().zip(&routes).enumerate() {
            let node = Node { port: server::free_port().unwrap(), monitor: server::free_port().unwrap(), child: None };
            let path = cluster.dir.join(format!("{name}.conf"));
            let mut text = std::fs::read_to_string(&path).unwrap();
            for (from, to) in [
                ("listen: 0.0.0.0:4222", format!("listen: 127.0.0.1:{}", node.port)),
                ("127.0.0.1:8222", format!("127.0.0.1:{}", node.monitor)),
                ("listen: 0.0.0.0:6222", format!("listen: 127.0.0.1:{route}")),
                ("\"/data/nats\"", format!("{:?}", cluster.dir.join(name).display().to_string())),
            ] {
                assert!(text.contains(from), "{name}.conf has no {from:?}:\n{text}");
                text = text.replace(from, &to);
            }
            std::fs::write(&path, text).unwrap();
            cluster.nodes.push(node);
            cluster.launch(index);
        }
        cluster
    }

    fn launch(&mut self, index: usize) {
        let name = NAMES[index];
        let mut command = Command::new(&self.binary);
        command.args(["-c", &format!("{name}.conf"), "-l", &format!("{name}.log")]).current_dir(&self.dir);
        self.nodes[index].child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    }

    /// kill -9.
    fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.nodes[index].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn url(&self) -> String {
        self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",")
    }

    /// What a node's monitoring says of JetStream.
    async fn jetstream(&self, index: usize) -> Result<Value, String> {
        let url = format!("http://127.0.0.1:{}/jsz?streams=true", self.nodes[index].monitor);
        let answer = reqwest::get(url).await.map_err(|error| error.to_string())?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// The part of a stream that a node has: cluster and state.
    async fn stream(&self, index: usize, name: &str) -> Result<Value, String> {
        let said = self.jetstream(index).await?;
        let streams = said["account_details"][0]["stream_detail"].as_array().cloned().unwrap_or_default();
        streams.into_iter().find(|stream| stream["name"] == name).ok_or_else(|| format!("{} has no {name}: {said}", NAMES[index]))
    }

    async fn bus(&self, user: &str) -> Bus {
        let credentials = Credentials::NkeySeedFile(self.dir.join(format!("keys/{user}.nk")));
        let bus = Bus::connect(ConnectOptions { url: self.url(), name: user.to_owned(), credentials }).await.unwrap();
        tokio::time::timeout(LIMIT, bus.wait_connected()).await.expect("a node answers");
        bus
    }
}

fn spark(dir: &Path, url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spark"));
    command.args(arguments).current_dir(dir).env("SPARK_NKEY_SEED_FILE", dir.join("keys/supervisor.nk"));
    if !url.is_empty() {
        command.env("NATS_URL", url);
    }
    command.output().expect("the binary runs")
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(seen) => assert!(start.elapsed() < LIMIT, "{what}: not within {LIMIT:?}; last seen: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn command(number: u32) -> KillSwitch {
    KillSwitch { on: false, cancel_open: false, actor: "test".into(), reason: format!("number {number}"), at: Timestamp::ZERO }
}

async fn publish(bus: &Bus, number: u32) {
    let command = command(number);
    let stored = bus.publish(subject::KILL_SWITCH, &command, Meta::default());
    tokio::time::timeout(LIMIT, stored).await.unwrap_or_else(|_| panic!("{number} is not stored within {LIMIT:?}")).unwrap();
}

/// Reads until it has that many, or fails with what it has.
async fn collect(follower: &mut Follower, read: &mut Vec<String>, count: usize) {
    while read.len() < count {
        let batch = tokio::time::timeout(LIMIT, follower.next()).await;
        let batch = batch.unwrap_or_else(|_| panic!("{} of {count} are read within {LIMIT:?}", read.len())).unwrap();
        read.extend(batch.iter().map(|delivery| delivery.decode::<KillSwitch>().unwrap().reason));
    }
}

#[tokio::test]
async fn three_nodes_go_on_without_the_one_that_led_and_lose_nothing() {
    // The client wants a provider even for plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut cluster = Cluster::start().await;
    // A leader, and both others known to it: streams with three copies find their places.
    until("the nodes have a leader", async || {
        let said = cluster.jetstream(0).await?;
        let leader = NAMES.iter().position(|name| said["meta_cluster"]["leader"] == *name).ok_or_else(|| said.to_string())?;
        let said = cluster.jetstream(leader).await?;
        let known = said["meta_cluster"]["replicas"]
            .as_array()
            .is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["current"] == true && one["offline"] != true));
        if known { Ok(()) } else { Err(said.to_string()) }
    })
    .await;
    let applied = spark(&cluster.dir, &cluster.url(), &["topology", "--apply", "--replicas", "3"]);
    assert!(applied.status.success(), "{applied:?}");
    let one = spark(&cluster.dir, &cluster.url(), &["topology"]);
    assert!(String::from_utf8_lossy(&one.stdout).contains("replicas: broker has 3, declared is 1"), "{one:?}");

    let bus = cluster.bus("operator").await;
    for number in 0..50 {
        publish(&bus, number).await;
    }
    let leader = cluster.stream(0, subject::LEDGER).await.unwrap()["cluster"]["leader"].clone();
    let leader = NAMES.iter().position(|name| leader == *name).unwrap();
    // A reader is there already and has read the half of it.
    let reader = cluster.bus("gateway").await;
    let subjects = vec![subject::KILL_SWITCH.to_owned()];
    let mut follower = Follower::start(reader, "gateway", subject::LEDGER, subjects, Start::Beginning);
    let mut read = Vec::new();
    collect(&mut follower, &mut read, 50).await;
    cluster.kill(leader);
    for number in 50..100 {
        publish(&bus, number).await;
    }
    collect(&mut follower, &mut read, 100).await;
    let want: Vec<String> = (0..100).map(|number| format!("number {number}")).collect();
    assert_eq!(read, want, "what was acknowledged is there once and in order");

    cluster.launch(leader);
    until("the node that was gone has all of it again", async || {
        let stream = cluster.stream(leader, subject::LEDGER).await?;
        if stream["state"]["messages"].as_u64() >= Some(100) { Ok(()) } else { Err(stream.to_string()) }
    })
    .await;
    let same = spark(&cluster.dir, &cluster.url(), &["topology", "--replicas", "3"]);
    assert!(same.status.success(), "{same:?}");
}
