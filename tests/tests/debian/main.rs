//! Real Prometheus, promtool, Alertmanager and amtool beside a running system. They come as Debian packages
//! (`apt-get install prometheus prometheus-alertmanager`), so all of this is behind the feature `debian`, which .ci/run switches on.

#![allow(clippy::unwrap_used, reason = "a test that cannot prepare has failed, and its helpers with it")]

mod alertmanager;
mod amtool;
mod dashboards;
mod programs;
mod prometheus;
mod tuned;
mod yesterday;

use std::path::{Path, PathBuf};
use std::time::Duration;

use spark_tests::system::System;
use spark_tests::wait::until;

/// Whatever is waited for comes within this time, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);
const BINARY: &str = env!("CARGO_BIN_EXE_spark-under-test");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The HTTP client wants a provider even for plain HTTP; a second installation is refused, harmlessly.
fn prepare() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A folder of its own, gone at the end of a test that held.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("spark-debian-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the folder stays for a look: {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// The demo, polled twice a second, with these further sections, all well.
async fn demo(sections: &str) -> System {
    let exchange = |name: &str| {
        format!(
            "[portfolio.{name}]\npoll_interval_ms = 500\nauth_pause_ms_max = 1000\nper_minute = 5000\n\
             [portfolio.{name}.breaker]\nopen_ms = 500\n"
        )
    };
    let gateway = "[gateway]\nrate_per_second = 1000\nrate_burst = 1000\n";
    let config = format!("{}{}{gateway}{sections}", exchange("binance"), exchange("btcturk"));
    let system = System::start(BINARY, &config, &[]).await;
    until("all is well", LIMIT, async || {
        let metrics = system.json("/api/public/metrics").await?;
        if metrics["status"] == "DEMO" { Ok(()) } else { Err(metrics.to_string()) }
    })
    .await;
    system
}

/// Shipped rules of the guardrail that find silent markets after three seconds.
fn quick_rules(name: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.toml", std::process::id()));
    let changes = [("ws_staleness", "warning", "3"), ("ws_staleness_venue", "warning", "3")];
    let path = spark_tests::rules::shipped_with(path, &changes);
    format!("[guardrail]\nrules = {:?}\n", path.display().to_string())
}
