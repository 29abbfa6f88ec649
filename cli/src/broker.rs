//! `spark broker`: runs nats-server as a child and takes it along whatever happens: on SIGTERM, and when the
//! supervisor is gone (its end of our stdin closes, even after kill -9).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use spark_nats::server::Setup;

use crate::args::BrokerArgs;
use crate::exit::Failure;
use crate::process::stop;

/// How long nats-server may take to write what it holds and stop.
const STOP_LIMIT: Duration = Duration::from_secs(8);
/// How long a leftover of an earlier run is waited for before it is killed.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(5);

/// Runs until told to stop.
///
/// # Errors
/// nats-server cannot be started, or ended by itself.
pub fn run(arguments: BrokerArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(format!("start the runtime: {error}")))?;
    runtime.block_on(supervise(arguments))
}

async fn supervise(arguments: BrokerArgs) -> Result<(), Failure> {
    let BrokerArgs { binary, dir, port, monitor_port } = arguments;
    let pid_file = dir.join("nats-server.pid");
    end_leftover(&pid_file, &dir).await;
    let setup = Setup { binary, dir: dir.clone(), port, monitor_port };
    let mut child = tokio::process::Command::from(setup.command())
        .spawn()
        .map_err(|error| Failure::temporary(format!("start {}: {error}", setup.binary.display())))?;
    let pid = child.id().unwrap_or_default();
    // Without the file a leftover of this run would not be found by the next; the run itself is not harmed.
    let _ = std::fs::write(&pid_file, pid.to_string());
    let shutdown = stop::token();
    let result = tokio::select! {
        status = child.wait() => {
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(Failure::temporary(format!("nats-server ended by itself ({how}){}", last_words(&dir))))
        }
        () = shutdown.cancelled() => {
            signal(pid, Signal::SIGTERM);
            if tokio::time::timeout(STOP_LIMIT, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
            Ok(())
        }
    };
    let _ = std::fs::remove_file(&pid_file);
    result
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0) {
        // The only failure is that it is gone already.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Ends a nats-server that still holds the store although both its launcher and its supervisor were killed.
async fn end_leftover(pid_file: &Path, dir: &Path) {
    const POLL: Duration = Duration::from_millis(20);
    let Some(pid) = std::fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse::<u32>().ok()) else { return };
    let started = Instant::now();
    signal_if_ours(pid, dir, Signal::SIGTERM);
    while is_ours(pid, dir) {
        if started.elapsed() > LEFTOVER_LIMIT {
            signal_if_ours(pid, dir, Signal::SIGKILL);
        }
        tokio::time::sleep(POLL).await;
    }
}

fn signal_if_ours(pid: u32, dir: &Path, which: Signal) {
    if is_ours(pid, dir) {
        signal(pid, which);
    }
}

/// Whether the process with this id runs nats-server on this folder; a number may have been given to another since.
fn is_ours(pid: u32, dir: &Path) -> bool {
    let wanted = dir.join("nats-server.conf").display().to_string();
    let command = match std::fs::read(PathBuf::from(format!("/proc/{pid}/cmdline"))) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).replace('\0', " "),
        Err(_) if cfg!(target_os = "linux") => return false,
        Err(_) => {
            let output = std::process::Command::new("ps").args(["-o", "args=", "-p", &pid.to_string()]).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
        }
    };
    command.contains(&wanted)
}

/// The last error in nats-server's log, for the supervisor to show.
fn last_words(dir: &Path) -> String {
    const TAIL_BYTES: usize = 16 * 1024;
    let log = dir.join("nats-server.log");
    let bytes = std::fs::read(&log).unwrap_or_default();
    let tail = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]).into_owned();
    let error = tail.lines().rev().find(|line| line.contains("[FTL]") || line.contains("[ERR]"));
    error.map_or_else(|| format!("; log: {}", log.display()), |line| format!(": {line}"))
}
