//! Many clients of one gateway: a gateway process of its own, a feed that does not stop, and clients of the live stream and of
//! the WebSocket that check what they get and measure when.
//!
//! The feed's quotes of one symbol carry a number, and the moment at which each was about to be published is kept. A client
//! that sees number `n` after `m` has waited for `m + 1` to `n` since then: each of them counts, so that the time which a quote
//! waits for the next beat is in the figures.

mod client;
mod feed;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spark_nats::testing::TestBroker;

pub use client::{Crowd, Seen};
pub use feed::Feed;

use crate::wait::until;

const LIMIT: Duration = Duration::from_secs(30);
/// Milliseconds that a delay is told in; longer ones share the last place.
const DELAYS: usize = 10_000;

/// Delays in whole milliseconds.
pub struct Delays(Box<[AtomicU64]>);

impl Default for Delays {
    fn default() -> Self {
        Self((0..=DELAYS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Delays {
    /// One more.
    pub fn push(&self, delay: Duration) {
        let ms = usize::try_from(delay.as_millis()).unwrap_or(DELAYS).min(DELAYS);
        self.0[ms].fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Quantile by nearest rank, ms, rounded up to a whole one.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "figures for people"
    )]
    pub fn quantile_ms(&self, quantile: f64) -> u64 {
        let rank = (quantile * self.count() as f64).ceil() as u64;
        let mut seen = 0;
        for (ms, count) in self.0.iter().enumerate() {
            seen += count.load(Ordering::Relaxed);
            if seen >= rank.max(1) {
                return ms as u64 + 1;
            }
        }
        0
    }

    /// `p50 …  p99 …  max …`
    #[must_use]
    pub fn row(&self) -> String {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| self.quantile_ms(quantile));
        format!("p50 < {p50:>4} ms  p99 < {p99:>4} ms  max < {max:>5} ms  ({} delays)", self.count())
    }
}

/// A gateway in a process of its own, on a broker of the test.
pub struct Gateway {
    /// Where it listens.
    pub port: u16,
    process: Child,
    log: PathBuf,
}

impl Gateway {
    /// Starts one with these settings (`SPARK_GATEWAY__…`) and waits until it answers.
    ///
    /// # Panics
    /// It does not answer; the message has its log.
    pub async fn start(binary: &str, broker: &TestBroker, settings: &[(&str, &str)]) -> Self {
        let port = spark_nats::server::free_port().expect("a port");
        let folder = broker.dir().join("gateway");
        std::fs::create_dir_all(&folder).expect("a folder");
        let log = folder.join("gateway.log");
        let output = std::fs::File::create(&log).expect("a log");
        let process = Command::new(binary)
            .arg("gateway")
            .arg("--data")
            .arg(&folder)
            .env("NATS_URL", broker.url())
            .env("SPARK_NKEY_SEED_FILE", broker.seed_file("gateway"))
            .env("SPARK_SUPERVISED", "1")
            .env("SPARK_GATEWAY__LISTEN", format!("127.0.0.1:{port}"))
            .envs(settings.iter().map(|(key, value)| (format!("SPARK_GATEWAY__{key}"), *value)))
            .stdin(Stdio::piped())
            .stdout(output.try_clone().expect("a log"))
            .stderr(output)
            .spawn()
            .expect("the binary starts");
        let mut gateway = Self { port, process, log };
        until("the gateway answers", LIMIT, async || {
            if let Ok(Some(status)) = gateway.process.try_wait() {
                panic!("the gateway ended with {status}: {}", std::fs::read_to_string(&gateway.log).unwrap_or_default());
            }
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map(drop)
        })
        .await;
        gateway
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself; both calls are then harmless.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// As many open files as the system allows: each client is one.
pub fn raise_open_files() {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    let hard = line.split_whitespace().nth(4).unwrap_or("65536");
    // Where that is not possible, connecting fails and says so.
    let _ = Command::new("prlimit")
        .args(["--pid", &std::process::id().to_string(), &format!("--nofile={hard}:{hard}")])
        .stderr(Stdio::null())
        .status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let delays = Delays::default();
        (0..100).for_each(|ms| delays.push(Duration::from_millis(ms)));
        assert_eq!([0.5, 0.99, 1.0].map(|quantile| delays.quantile_ms(quantile)), [50, 99, 100]);
        assert_eq!(Delays::default().quantile_ms(0.5), 0, "of nothing");
    }
}
