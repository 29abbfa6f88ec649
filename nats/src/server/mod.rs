//! The broker itself: finding or fetching the pinned version, its configuration, its command line.

mod obtain;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
        let text = include_str!("../../server.conf")
            .replace("{{server_name}}", "spark")
            .replace("{{listen}}", &format!("127.0.0.1:{}", self.port))
            .replace("{{monitor}}", &format!("127.0.0.1:{}", self.monitor_port))
            .replace("{{store_dir}}", &quoted(&store))
            .replace("{{cluster}}", "")
            .replace("{{authorization}}", &identities.map(Identities::authorization).unwrap_or_default());
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

/// A port that is free right now.
///
/// # Errors
/// The system has none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
