//! The real binary, in a folder of its own, waited for with bounds.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "these are tests, outside of test functions")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// `spark`, without what the person running the tests has set.
pub fn spark(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spark"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("SPARK_") || text.starts_with("NATS_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
    command.current_dir(folder).stdin(Stdio::null());
    command.env("SPARK_TOOLS_DIR", spark_nats::testing::tools_dir());
    command
}

/// Runs to the end.
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    spark(folder).args(arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asks again until there is an answer; a failure shows what was seen last.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(found) => return found,
            Err(last) if start.elapsed() > LIMIT => panic!("{what}: not within {LIMIT:?}; last seen: {last}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Whether a process is there; one that only waits to be reaped is not.
pub fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok() && state(Path::new(&format!("/proc/{pid}/stat"))) != "Z"
}

pub fn signal(pid: i32, which: Signal) {
    kill(Pid::from_raw(pid), which).unwrap();
}

/// Stops a process as a hang would. Returns when each of its threads stands still: a signal that comes before may be taken in first.
pub fn freeze(pid: i32) {
    signal(pid, Signal::SIGSTOP);
    wait_for(&format!("{pid} stands still"), || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| error.to_string())?;
        let states: Vec<String> = threads.flatten().map(|thread| state(&thread.path().join("stat"))).collect();
        if states.iter().all(|state| state == "T") { Ok(()) } else { Err(states.join(" ")) }
    });
}

/// The letter of a process or thread in its `stat`: R, S, T, Z …; empty when it is gone.
fn state(stat: &Path) -> String {
    let stat = std::fs::read_to_string(stat).unwrap_or_default();
    stat.rsplit_once(") ").map(|(_, rest)| rest.chars().take(1).collect()).unwrap_or_default()
}

/// A running `spark up`. Whatever it started is killed when a test fails.
pub struct Up {
    pub child: Child,
    pub data: PathBuf,
    pub port: u16,
    pub said: Arc<Mutex<String>>,
    seen: Vec<i32>,
}

impl Up {
    /// Starts it and waits until the page answers.
    pub fn start(folder: &Path, arguments: &[&str]) -> Self {
        // A blank in the path, on purpose.
        let data = folder.join("da ta");
        let port = free_port();
        let mut command = spark(folder);
        command.arg("up").args(["--port", &port.to_string()]).arg("--data").arg(&data).args(arguments);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&said);
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut said = into.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        let mut up = Self { child, data, port, said, seen: Vec::new() };
        wait_for("the page answers", || {
            if let Some(status) = up.child.try_wait().unwrap() {
                panic!("spark up ended: {status}\n{}", up.said());
            }
            get(port, "/health").map(|_| ()).map_err(|error| format!("{error}\n{}", up.said()))
        });
        up.remember();
        up
    }

    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub fn wait_said(&self, what: &str) {
        wait_for(what, || if self.said().contains(what) { Ok(()) } else { Err(self.said()) });
    }

    pub fn run_file(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.data.join("run.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Process id of one process, once it has one that is not `other_than`.
    pub fn pid_of(&self, name: &str, other_than: Option<i32>) -> i32 {
        wait_for(&format!("{name} runs"), || {
            let run = self.run_file();
            let pid = run["processes"][name]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
            pid.filter(|pid| Some(*pid) != other_than && is_alive(*pid)).ok_or_else(|| run.to_string())
        })
    }

    /// nats-server itself, behind its launcher.
    pub fn nats_pid(&self, other_than: Option<i32>) -> i32 {
        wait_for("nats-server runs", || {
            let text = std::fs::read_to_string(self.data.join("nats-server").join("nats-server.pid")).unwrap_or_default();
            let pid = text.trim().parse().ok();
            pid.filter(|pid| Some(*pid) != other_than && is_alive(*pid)).ok_or(text)
        })
    }

    /// Keeps the ids of everything that runs now.
    pub fn remember(&mut self) -> Vec<i32> {
        let run = self.run_file();
        let pids = run["processes"].as_object().into_iter().flatten().filter_map(|(_, process)| process["pid"].as_i64());
        self.seen.extend(pids.filter_map(|pid| i32::try_from(pid).ok()));
        self.seen.push(self.nats_pid(None));
        self.seen.clone()
    }

    pub fn assert_nothing_left(&self) {
        wait_for("every process is gone", || {
            let left: Vec<i32> = self.seen.iter().copied().filter(|pid| is_alive(*pid)).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}\n{}", self.said())) }
        });
    }

    /// Waits for the end of `spark up` itself.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let said = Arc::clone(&self.said);
        let child = &mut self.child;
        wait_for("spark up ends", || child.try_wait().unwrap().ok_or_else(|| said.lock().unwrap().clone()))
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Every process notices by itself that the supervisor is gone; a failed test does not wait for that.
        for pid in self.seen.iter().filter(|pid| is_alive(**pid)) {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
}

/// Body of an HTTP answer with status 200.
pub fn get(port: u16, path: &str) -> Result<String, String> {
    let told = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(told)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(told)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").map_err(told)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(told)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(answer),
    }
}
