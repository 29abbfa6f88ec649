//! Two executors on one system.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use spark_bus_schema::OrderId;
use spark_bus_schema::orders::OrderState;
use spark_tests::system::signal;
use spark_tests::wait::until;

use crate::setting::LIMIT;
use crate::stage::{RELYING, Stage, VENUES, resting, selling, told};

/// A second executor beside the one of `spark up`: the same settings, a folder of its own. Ends with the test.
struct Second {
    process: Child,
    log: PathBuf,
}

impl Second {
    fn start(stage: &Stage, first: u32) -> Self {
        let folder = stage.folder("second");
        std::fs::create_dir_all(&folder).expect("a folder");
        let log = folder.join("executor.log");
        let output = File::create(&log).expect("a log");
        // As `spark up` told the first one: broker, seed, exchanges, configuration.
        let environment = std::fs::read(format!("/proc/{first}/environ")).expect("the first one runs");
        let pairs = environment.split(|byte| *byte == 0).filter_map(|pair| {
            let (name, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
            let own = ["SPARK_DATA", "SPARK_METRICS_ADDR"].contains(&name);
            (!own).then(|| (name.to_owned(), value.to_owned()))
        });
        let process = Command::new(env!("CARGO_BIN_EXE_spark-under-test"))
            .args(["executor", "--data"])
            .arg(&folder)
            .env_clear()
            .envs(pairs)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("a log"))
            .stderr(output)
            .spawn()
            .expect("the binary starts");
        Self { process, log }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn until_says(&self, what: &str) {
        until(&format!("the second executor says `{what}`"), LIMIT, async || {
            let said = self.said();
            if said.contains(what) { Ok(()) } else { Err(said) }
        })
        .await;
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The holder is paused in the middle of a submit; a standby takes over, asks about that order instead of sending it again,
/// and sends what was approved meanwhile. When the paused one wakes up it is refused: nothing is sent or written twice.
#[tokio::test]
async fn two_executors_one_sends() {
    let stage = Stage::start(RELYING).await;
    let first = stage.system.pid("executor").await;
    let second = Second::start(&stage, first);
    let mut orders = Vec::new();
    // One at each exchange that is on its way when the holder is paused.
    for venue in VENUES {
        let alone = stage.place(&format!("alone-{venue}"), &selling(venue, "0.001")).await;
        stage.until_filled(&alone).await;
        stage.delay_submit(venue).await;
        orders.push((venue, alone, OrderId::derive("manual", &format!("middle-{venue}"))));
    }
    for venue in VENUES.into_iter().rev() {
        stage.place(&format!("middle-{venue}"), &resting(venue, "0.002")).await;
    }
    for (_, _, middle) in &orders {
        stage.until_state(middle, OrderState::Pending).await;
    }
    signal(first, "STOP");
    let mut meanwhile = Vec::new();
    for (venue, _, middle) in &orders {
        assert_eq!(stage.story(middle).await.state(), Some(OrderState::Pending), "{venue}: it was paused too late");
        stage.until_arrived(*venue, middle).await;
        meanwhile.push((*venue, stage.place(&format!("meanwhile-{venue}"), &selling(*venue, "0.001")).await));
    }
    assert!(!second.said().contains("holds the lease"), "{}", second.said());
    second.until_says("holds the lease").await;
    for (venue, order) in &meanwhile {
        let story = stage.until_filled(order).await;
        assert_eq!(stage.submits(*venue, order).await, 1, "{}", told(&story));
    }
    for (_, _, middle) in &orders {
        stage.until_state(middle, OrderState::Submitted).await;
    }

    signal(first, "CONT");
    let log = stage.system.data().join("logs").join("executor.log");
    until("the paused one is refused", LIMIT, async || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if said.contains("another process holds the lease now") { Ok(()) } else { Err(said) }
    })
    .await;
    // It is started again, as a standby.
    until("it ends", LIMIT, async || {
        let now = stage.system.pid("executor").await;
        if now == first { Err(stage.system.printed()) } else { Ok(()) }
    })
    .await;
    for (venue, alone, middle) in &orders {
        let after = stage.place(&format!("after-{venue}"), &selling(*venue, "0.001")).await;
        stage.until_filled(&after).await;
        stage.fill(*venue, middle, "0.002").await;
        stage.until_filled(middle).await;
        for order in [alone, middle, &after] {
            assert_eq!(stage.submits(*venue, order).await, 1, "{venue}: {order}");
        }
    }
    // And back again: the second one dies, the first one goes on.
    drop(second);
    for venue in VENUES {
        let last = stage.place(&format!("last-{venue}"), &selling(venue, "0.001")).await;
        stage.until_filled(&last).await;
        assert_eq!(stage.submits(venue, &last).await, 1, "{venue}");
    }
    let stories = stage.prove().await;
    assert_eq!(stories.len(), 10);
}
