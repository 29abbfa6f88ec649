//! The broker itself: finding or fetching the pinned version, its configuration, its command line.

mod cluster;
mod obtain;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub use cluster::{Cluster, Node};
pub use obtain::{VERSION, obtain};

use crate::error::Error;
use crate::identities::Identities;

/// One server: what it runs, where it lives, where it listens.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The nats-server binary.
    pub binary: PathBuf,
    /// Folder for configuration, log and store.
    pub dir: PathBuf,
    /// Client port on loopback.
    pub port: u16,
    /// Monitoring port on loopback.
    pub monitor_port: u16,
}

impl Setup {
    /// Writes `nats-server.conf` and makes the store's folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, identities: Option<&Identities>) -> Result<PathBuf, Error> {
        let store = self.dir.join("store");
        std::fs::create_dir_all(&store).map_err(|source| Error::File { action: "create folder", path: store.clone(), source })?;
        let listen = format!("127.0.0.1:{}", self.port);
        let monitor = format!("127.0.0.1:{}", self.monitor_port);
        let text = configuration(&listen, &monitor, &store, identities);
        let path = self.conf_path();
        std::fs::write(&path, text).map_err(|source| Error::File { action: "write", path: path.clone(), source })?;
        Ok(path)
    }

    /// The command that runs it in the foreground; nothing is started yet. Its log goes to `nats-server.log`.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("--config")
            .arg(self.conf_path())
            .arg("--log")
            .arg(self.dir.join("nats-server.log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn conf_path(&self) -> PathBuf {
        self.dir.join("nats-server.conf")
    }
}

/// The text of `nats-server.conf`: addresses as `host:port`, the store's folder, and who may do what (none: everybody).
#[must_use]
pub fn configuration(listen: &str, monitor: &str, store: &Path, identities: Option<&Identities>) -> String {
    fill("spark", listen, monitor, store, "", identities)
}

/// `server.conf` with its gaps filled.
fn fill(name: &str, listen: &str, monitor: &str, store: &Path, cluster: &str, identities: Option<&Identities>) -> String {
    include_str!("../../server.conf")
        .replace("{{server_name}}", name)
        .replace("{{listen}}", listen)
        .replace("{{monitor}}", monitor)
        .replace("{{store_dir}}", &quoted(store))
        .replace("{{cluster}}", cluster)
        .replace("{{authorization}}", &identities.map(Identities::authorization).unwrap_or_default())
}

/// A path in the configuration's own quoting.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}

/// Waits until a server accepts connections.
///
/// # Errors
/// It did not within `limit`.
pub async fn wait_ready(port: u16, limit: Duration) -> Result<(), Error> {
    const POLL: Duration = Duration::from_millis(10);
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if start.elapsed() > limit {
            return Err(Error::Server(format!("does not accept connections on port {port} after {limit:?}; see its log")));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// A loopback port that is free right now, below the range from which the system takes ports for outgoing
/// connections: a server that is restarted on it does not find it taken by somebody's client.
///
/// # Errors
/// None of the range is free.
pub fn free_port() -> io::Result<u16> {
    use std::sync::atomic::{AtomicU32, Ordering};
    const FIRST: u32 = 15_000;
    const COUNT: u32 = 17_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes start at different places, so that two of them do not try the same ports at the same time.
    let start = std::process::id().wrapping_mul(7_919);
    for _ in 0..COUNT {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset).unwrap_or(u16::MAX);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port between 15000 and 32000"))
}
