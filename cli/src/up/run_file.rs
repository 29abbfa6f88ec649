//! What runs where, for the other commands: `<data>/run.json`, and the lock that keeps a second `up` away.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;

use crate::exit::Failure;

/// The system that `spark up` runs on a data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFile {
    /// Process id of `spark up`.
    pub pid: u32,
    /// Version of the binary.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// Page and API, e.g. `http://127.0.0.1:4001`.
    pub address: String,
    /// The broker.
    pub nats_url: String,
    /// The broker's monitoring, e.g. `http://127.0.0.1:38222`.
    pub nats_monitor: String,
    /// The nats-server binary.
    pub nats_binary: PathBuf,
    /// Whether the exchanges are simulated.
    pub demo: bool,
    /// Base URL of the simulator's own API (faults).
    pub simulator: Option<String>,
    /// The configuration file in use.
    pub config: Option<PathBuf>,
    /// Every process.
    pub processes: BTreeMap<String, Running>,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its process id; none while it waits to be started again.
    pub pid: Option<u32>,
    /// Where it serves its own metrics, `host:port`.
    pub metrics: Option<String>,
    /// How often it was started again.
    pub restarts: u32,
}

impl RunFile {
    /// `<data>/run.json`.
    #[must_use]
    pub fn path(data: &Path) -> PathBuf {
        data.join("run.json")
    }

    /// The system running on a data folder; none when there is none.
    #[must_use]
    pub fn read(data: &Path) -> Option<Self> {
        let text = fs::read_to_string(Self::path(data)).ok()?;
        // The file outlives an `up` that was killed; the lock does not.
        holder(data)?;
        serde_json::from_str(&text).ok()
    }

    /// Replaces the file as a whole: a reader sees the old one or the new one.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, data: &Path) -> std::io::Result<()> {
        replace(&Self::path(data), &serde_json::to_vec_pretty(self).unwrap_or_default())
    }

    /// Removes the file of a system that has stopped.
    pub fn remove(data: &Path) {
        // A leftover is harmless: readers look at the lock too.
        let _ = fs::remove_file(Self::path(data));
    }
}

/// Writes beside the target and renames.
///
/// # Errors
/// The folder cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

/// Held while `spark up` runs. The system lets go of it whatever happens to the process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

fn lock_path(data: &Path) -> PathBuf {
    data.join("up.lock")
}

impl Lock {
    /// Takes the lock of a data folder, which is made when missing.
    ///
    /// # Errors
    /// Exit 75: another `up` holds it, or the folder cannot be written.
    pub fn take(data: &Path) -> Result<Self, Failure> {
        let unwritable = |error: std::io::Error| {
            let advice = "name a folder that can be written with --data";
            Failure::temporary(format!("data folder {}: {error}; {advice}", data.display()))
        };
        fs::create_dir_all(data).map_err(unwritable)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let mut file = options.open(lock_path(data)).map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Without a readable pid the message still names the folder.
                let _ = file.read_to_string(&mut pid);
                return Err(Failure::temporary(format!(
                    "`spark up` with pid {} already runs on {}; stop it (Ctrl-C, or kill {0}), or name another folder with --data",
                    pid.trim(),
                    data.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        }
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        written.map_err(unwritable)?;
        Ok(Self { _file: file })
    }
}

/// The pid of the `spark up` that runs on a data folder.
#[must_use]
pub fn holder(data: &Path) -> Option<u32> {
    let mut file = OpenOptions::new().read(true).write(true).open(lock_path(data)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).ok()?;
            pid.trim().parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_with_the_pid_of_the_first_and_a_stale_run_file_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFile {
            pid: 1,
            version: "0".into(),
            started_at: Timestamp::ZERO,
            address: "a".into(),
            nats_url: "n".into(),
            nats_monitor: "m".into(),
            nats_binary: "b".into(),
            demo: true,
            simulator: None,
            config: None,
            processes: BTreeMap::new(),
        };
        let lock = Lock::take(folder.path()).unwrap();
        run.write(folder.path()).unwrap();
        assert_eq!(RunFile::read(folder.path()), Some(run));
        let refused = Lock::take(folder.path()).unwrap_err();
        assert!(refused.message.contains(&format!("pid {}", std::process::id())), "{refused}");
        assert_eq!(holder(folder.path()), Some(std::process::id()));
        drop(lock);
        assert_eq!(holder(folder.path()), None);
        assert_eq!(RunFile::read(folder.path()), None);
        assert!(Lock::take(folder.path()).is_ok());
    }
}
