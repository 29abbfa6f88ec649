//! The whole gateway on a real broker, with the rights that it has in production.

use std::net::SocketAddr;

use spark_gateway::Config;
use spark_nats::testing::TestBroker;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Answer, bounded, get, roomy, until};

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub struct Running {
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub task: JoinHandle<Result<(), spark_gateway::Error>>,
}

/// A gateway that has just been started.
pub async fn begin(broker: &TestBroker, config: Config) -> Running {
    let service = broker.service("gateway").await;
    let stop = service.shutdown.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(spark_gateway::serve(listener, service, config));
    Running { address, stop, task }
}

/// A gateway that obeys whoever has [`TOKEN`] and has read the LEDGER to its end.
pub async fn ready(broker: &TestBroker, expected: Vec<String>) -> Running {
    let file = broker.dir().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let running = begin(broker, Config { admin_token_file: Some(file), expected, ..roomy() }).await;
    running.see("/api/exec/orders", |answer| answer.json()["complete"] == true).await;
    running
}

impl Running {
    pub async fn stop(self) {
        self.stop.cancel();
        bounded("the gateway stops", self.task).await.unwrap().unwrap();
    }

    /// Asks until the answer is as wanted.
    pub async fn see(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        until(path, async || {
            let answer = get(self.address, path).await;
            if wanted(&answer) { Ok(answer) } else { Err(answer.body) }
        })
        .await
    }
}
