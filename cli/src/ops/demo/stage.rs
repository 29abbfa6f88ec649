//! A whole system for a demonstration: `spark up` in a temporary folder on free ports, gone when it is dropped.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use spark_nats::{Bus, ConnectOptions, Credentials, server};

use crate::exit::Failure;
use crate::process::stop::SUPERVISED;
use crate::up::run_file::RunFile;

/// How long the system may take to be there; the broker may have to be fetched first.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long it may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked whether it is there, or gone.
const POLL: Duration = Duration::from_millis(50);
/// Lines of its own log that are shown when it fails.
const LOG_LINES: usize = 15;
/// Settings of the caller that a demonstration keeps; all others with these beginnings would make it another one.
const KEPT: [&str; 2] = ["SPARK_NATS_SERVER", "SPARK_TOOLS_DIR"];
const FOREIGN: [&str; 2] = ["SPARK_", "NATS_"];

/// A running system.
pub struct Stage {
    folder: PathBuf,
    up: Child,
}

impl Stage {
    /// Starts one with these files in its folder; `spark.toml` is its configuration.
    ///
    /// # Errors
    /// Exit 75: folder, port or process cannot be had.
    pub fn start(files: &[(&str, String)]) -> Result<Self, Failure> {
        let temporary = |what: &str, error: std::io::Error| Failure::temporary(format!("{what}: {error}"));
        let folder = std::env::temp_dir().join(format!("spark-demo-{}", std::process::id()));
        std::fs::create_dir(&folder).map_err(|error| temporary(&format!("make {}", folder.display()), error))?;
        let up = write(&folder, files).and_then(|log| launch(&folder, log));
        match up {
            Ok(up) => Ok(Self { folder, up }),
            Err(error) => {
                // Nothing runs in it yet.
                let _ = std::fs::remove_dir_all(&folder);
                Err(temporary("start a system of its own", error))
            }
        }
    }

    /// A file of its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A connection to its broker, as the operator.
    ///
    /// # Errors
    /// Exit 75: it does not come up.
    pub async fn bus(&mut self) -> Result<Bus, Failure> {
        let data = self.folder.join("data");
        let seed = data.join("keys").join("operator.nk");
        let began = Instant::now();
        loop {
            if let Ok(Some(status)) = self.up.try_wait() {
                return Err(Failure::temporary(format!("the system ended with {status}\n{}", self.last_lines())));
            }
            if let Some(run) = RunFile::read(&data).filter(|_| seed.is_file()) {
                let credentials = Credentials::NkeySeedFile(seed.clone());
                let bus = Bus::connect(ConnectOptions { url: run.nats_url, name: "operator".to_owned(), credentials }).await?;
                if tokio::time::timeout(START_LIMIT, bus.wait_connected()).await.is_ok() {
                    return Ok(bus);
                }
            }
            if began.elapsed() > START_LIMIT {
                return Err(Failure::temporary(format!("the system is not up within {START_LIMIT:?}\n{}", self.last_lines())));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// What it printed last.
    #[must_use]
    pub fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("up.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.up.id())
            && matches!(self.up.try_wait(), Ok(None))
        {
            // Gone in between is what is wanted.
            let _ = kill(Pid::from_raw(pid), Signal::SIGINT);
        }
        let began = Instant::now();
        while matches!(self.up.try_wait(), Ok(None)) && began.elapsed() < STOP_LIMIT {
            std::thread::sleep(POLL);
        }
        // Harmless when it has ended; its processes notice and end too.
        let _ = self.up.kill();
        let _ = self.up.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn write(folder: &Path, files: &[(&str, String)]) -> std::io::Result<File> {
    for (name, text) in files {
        std::fs::write(folder.join(name), text)?;
    }
    File::create(folder.join("up.log"))
}

fn launch(folder: &Path, log: File) -> std::io::Result<Child> {
    let port = server::free_port().map_err(|error| std::io::Error::other(error.to_string()))?;
    let mut command = Command::new(std::env::current_exe()?);
    for (name, _) in std::env::vars_os() {
        let is_foreign = name
            .to_str()
            .is_some_and(|name| FOREIGN.iter().any(|beginning| name.starts_with(beginning)) && !KEPT.contains(&name));
        if is_foreign {
            command.env_remove(name);
        }
    }
    command
        .arg("up")
        .args(["--port", &port.to_string()])
        .arg("--data")
        .arg(folder.join("data"))
        .arg("--config")
        .arg(folder.join("spark.toml"))
        // It notices when this process is gone: it holds the other end of its stdin.
        .env(SUPERVISED, "1")
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C is for us: we stop it, and clean up behind it.
        .process_group(0)
        .spawn()
}
