//! Keeps one operating-system process running: starts it, reads its output, starts it again when it dies, stops it.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::logs::{LINE_BYTES_MAX, RotatingLog, Severity, severity};
use super::policy::{Next, Policy, Restarts};

/// Events that may wait for the terminal; then the output of children has to wait.
pub const EVENTS_MAX: usize = 1024;
/// How long the end of an ended process's output is waited for.
const OUTPUT_LIMIT: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Clone, Debug)]
pub struct Program {
    /// Process name, e.g. `feed`.
    pub name: &'static str,
    /// The executable: this one.
    pub executable: PathBuf,
    /// Arguments.
    pub arguments: Vec<OsString>,
    /// Environment on top of the inherited one.
    pub environment: Vec<(String, OsString)>,
    /// Log file.
    pub log: PathBuf,
}

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Restarts.
    pub policy: Policy,
    /// How long it may take to stop.
    pub stop: Duration,
    /// Size of a log.
    pub log_bytes_max: u64,
    /// Old logs kept.
    pub logs_kept: u32,
}

/// What happened to a process.
#[derive(Debug)]
pub enum Event {
    /// It runs.
    Started {
        /// Which.
        name: &'static str,
        /// Its process id.
        pid: u32,
    },
    /// It said something worth showing.
    Said {
        /// Which.
        name: &'static str,
        /// How loud.
        severity: Severity,
        /// The line.
        line: String,
    },
    /// It ended, nobody asked.
    Died {
        /// Which.
        name: &'static str,
        /// `exit status 70`, `signal 9 (SIGKILL)`, or why it could not be started.
        how: String,
        /// The last error it wrote.
        last_error: Option<String>,
        /// What comes next.
        next: Next,
    },
    /// It ended because a restart was asked for; it is started again at once.
    Restarting {
        /// Which.
        name: &'static str,
        /// Whether it had to be killed.
        killed: bool,
    },
    /// It ended because it was told to.
    Stopped {
        /// Which.
        name: &'static str,
        /// Whether it had to be killed.
        killed: bool,
    },
}

/// Told to one process from outside.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// Stop in good order.
    pub stop: CancellationToken,
    /// Kill at once.
    pub kill: CancellationToken,
    /// Stop in good order and start again; a pause after a death is cut short.
    pub restart: Arc<Notify>,
}

/// How one run ended.
enum End {
    /// By itself: its status and the last error it wrote.
    Died(ExitStatus, Option<String>),
    /// A restart was asked for; whether it had to be killed.
    Restart { killed: bool },
    /// It was told to stop; that is told already.
    Stopped,
}

/// Keeps `program` running until told to stop. Returns when nothing of it is left.
pub async fn keep_running(program: Program, limits: Limits, orders: Orders, events: mpsc::Sender<Event>) {
    let mut restarts = Restarts::new(limits.policy);
    let name = program.name;
    while !orders.stop.is_cancelled() {
        let began = Instant::now();
        let (how, code, last_error) = match spawn(&program) {
            Ok(child) => match run_once(child, &program, &limits, &orders, &events).await {
                End::Died(status, last_error) => (describe(status), status.code(), last_error),
                End::Restart { killed } => {
                    restarts.asked(began.elapsed());
                    let _ = events.send(Event::Restarting { name, killed }).await;
                    continue;
                }
                End::Stopped => return,
            },
            Err(error) => (format!("cannot be started: {error}"), None, None),
        };
        let next = restarts.died(began.elapsed(), code);
        // The receiver lives as long as the supervisor; without it nobody is left to tell.
        let _ = events.send(Event::Died { name, how, last_error, next }).await;
        let Next::RestartAfter(pause) = next else { return };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = orders.restart.notified() => {}
            () = orders.stop.cancelled() => {}
        }
    }
    let _ = events.send(Event::Stopped { name, killed: false }).await;
}

fn spawn(program: &Program) -> std::io::Result<Child> {
    Command::new(&program.executable)
        .args(&program.arguments)
        .envs(program.environment.iter().map(|(key, value)| (key, value)))
        // Held open for as long as the supervisor lives: its end tells the child that it is alone.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own group: Ctrl-C on the terminal reaches the supervisor alone, which then stops in order.
        .process_group(0)
        .spawn()
}

/// Runs until the process ends or was stopped.
async fn run_once(mut child: Child, program: &Program, limits: &Limits, orders: &Orders, events: &mpsc::Sender<Event>) -> End {
    let name = program.name;
    let pid = child.id().unwrap_or_default();
    let _ = events.send(Event::Started { name, pid }).await;
    let output = Output::new(program, limits, events.clone());
    let stdin = child.stdin.take();
    let readers = [
        child.stdout.take().map(|pipe| output.read(pipe, Severity::Quiet)),
        child.stderr.take().map(|pipe| output.read(pipe, Severity::Error)),
    ];
    let ended = tokio::select! {
        status = child.wait() => Some(status),
        () = orders.stop.cancelled() => None,
        () = orders.restart.notified() => None,
    };
    let killed = if ended.is_none() { stop(&mut child, pid, limits.stop, orders).await } else { false };
    // What it may have started goes with it: nats-server survives a launcher that was killed.
    let _ = killpg(raw_pid(pid), Signal::SIGKILL);
    drop(stdin);
    for reader in readers.into_iter().flatten() {
        let abort = reader.abort_handle();
        if tokio::time::timeout(OUTPUT_LIMIT, reader).await.is_err() {
            abort.abort();
        }
    }
    match ended {
        Some(Ok(status)) => End::Died(status, output.last_error()),
        Some(Err(error)) => End::Died(ExitStatus::from_raw(0), Some(format!("cannot be waited for: {error}"))),
        None if !orders.stop.is_cancelled() => End::Restart { killed },
        None => {
            let _ = events.send(Event::Stopped { name, killed }).await;
            End::Stopped
        }
    }
}

/// SIGTERM, then SIGKILL after the bound or on the order to kill. True when it was killed.
async fn stop(child: &mut Child, pid: u32, limit: Duration, orders: &Orders) -> bool {
    let _ = kill(raw_pid(pid), Signal::SIGTERM);
    tokio::select! {
        _ = child.wait() => return false,
        () = tokio::time::sleep(limit) => {}
        () = orders.kill.cancelled() => {}
    }
    let _ = killpg(raw_pid(pid), Signal::SIGKILL);
    // SIGKILL cannot be refused; what is left is the system's own work.
    let _ = child.wait().await;
    true
}

fn raw_pid(pid: u32) -> Pid {
    // A pid of 0 would address our own group; no process has the largest number.
    Pid::from_raw(i32::try_from(pid).ok().filter(|pid| *pid > 0).unwrap_or(i32::MAX))
}

/// `exit status 70`, `signal 9 (SIGKILL)`.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(name) => format!("signal {signal} ({})", name.as_str()),
            Err(_) => format!("signal {signal}"),
        },
        (None, None) => "no status".to_owned(),
    }
}

/// Where a process's lines go.
#[derive(Clone)]
struct Output {
    name: &'static str,
    log: Arc<Mutex<Option<RotatingLog>>>,
    last_error: Arc<Mutex<Option<String>>>,
    events: mpsc::Sender<Event>,
}

impl Output {
    fn new(program: &Program, limits: &Limits, events: mpsc::Sender<Event>) -> Self {
        let log = RotatingLog::open(&program.log, limits.log_bytes_max, limits.logs_kept).ok();
        Self { name: program.name, log: Arc::new(Mutex::new(log)), last_error: Arc::default(), events }
    }

    fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads a pipe to its end. `unmarked` is what a line without a level counts as.
    fn read(&self, mut pipe: impl AsyncRead + Unpin + Send + 'static, unmarked: Severity) -> JoinHandle<()> {
        const CHUNK: usize = 8 * 1024;
        let output = self.clone();
        tokio::spawn(async move {
            let mut chunk = vec![0; CHUNK];
            let mut line = Vec::new();
            while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
                for &byte in &chunk[..count] {
                    if byte == b'\n' || line.len() >= LINE_BYTES_MAX {
                        output.line(&line, unmarked).await;
                        line.clear();
                    }
                    if byte != b'\n' {
                        line.push(byte);
                    }
                }
            }
            if !line.is_empty() {
                output.line(&line, unmarked).await;
            }
        })
    }

    async fn line(&self, bytes: &[u8], unmarked: Severity) {
        let line = String::from_utf8_lossy(bytes).into_owned();
        if let Some(log) = self.log.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            // A full disk must not stop the process; doctor looks at the space.
            let _ = log.line(&line);
        }
        let severity = severity(&line).min(unmarked);
        if severity == Severity::Quiet {
            return;
        }
        if severity == Severity::Error {
            *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.clone());
        }
        let _ = self.events.send(Event::Said { name: self.name, severity, line }).await;
    }
}
