//! A whole Spark: `spark up` on its own data folder and free ports, with a real broker and real processes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use spark_nats::{Bus, ConnectOptions, Credentials};

use crate::wait::until;

/// The page answers this soon after the start, also on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Everything has stopped this soon after Ctrl-C.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A running system. Dropping it stops everything and, unless the test failed, removes its folder.
pub struct System {
    up: Child,
    dir: PathBuf,
    binary: PathBuf,
    arguments: Vec<String>,
    http: reqwest::Client,
}

impl System {
    /// Starts `binary up` with this configuration (TOML) and these further arguments.
    ///
    /// # Panics
    /// It does not come up; the message has what it printed.
    pub async fn start(binary: &str, config: &str, arguments: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("spark-system-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temporary folder");
        std::fs::write(dir.join("spark.toml"), config).expect("configuration");
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let up = launch(Path::new(binary), &dir, &arguments);
        // The client wants a provider even for plain HTTP; a second installation in one process is refused, harmlessly.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).pool_max_idle_per_host(0).build().expect("client");
        let mut system = Self { up, dir, binary: binary.into(), arguments, http };
        system.wait_for_gateway().await;
        system
    }

    /// Starts a system that was stopped again, on the same data folder.
    ///
    /// # Panics
    /// It does not come up; the message has what it printed.
    pub async fn restart(&mut self) {
        // What the run before has left would be taken for the new one's.
        let _ = std::fs::remove_file(self.data().join("run.json"));
        self.up = launch(&self.binary, &self.dir, &self.arguments);
        self.wait_for_gateway().await;
    }

    /// Runs another command of the binary on this system: exit code, and everything it printed.
    ///
    /// # Panics
    /// It cannot be run.
    #[must_use]
    pub fn spark(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(&self.binary)
            .args(arguments)
            .arg("--data")
            .arg(self.data())
            .arg("--config")
            .arg(self.dir.join("spark.toml"))
            .output()
            .expect("the binary runs");
        let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), printed.into_owned())
    }

    async fn wait_for_gateway(&mut self) {
        let start = std::time::Instant::now();
        loop {
            if let Ok(Some(status)) = self.up.try_wait() {
                panic!("spark up ended with {status}:\n{}", self.printed());
            }
            if self.run_file().is_some() && self.get("/health").await.is_ok() && self.is_simulator_there().await {
                return;
            }
            assert!(start.elapsed() < START_LIMIT, "not up within {START_LIMIT:?}:\n{}", self.printed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether the simulator answers, where there is one: it reads its recordings first.
    async fn is_simulator_there(&self) -> bool {
        match self.run()["simulator"].as_str() {
            Some(base) => self.http.get(format!("{base}/sim/faults")).send().await.is_ok(),
            None => true,
        }
    }

    /// What `spark up` has printed.
    #[must_use]
    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.dir.join("up.log")).unwrap_or_default()
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn run_file(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.data().join("run.json")).ok()?).ok()
    }

    /// `run.json`.
    ///
    /// # Panics
    /// It is not there.
    #[must_use]
    pub fn run(&self) -> Value {
        self.run_file().unwrap_or_else(|| panic!("no run.json:\n{}", self.printed()))
    }

    /// The gateway's address.
    #[must_use]
    pub fn address(&self) -> String {
        self.run()["address"].as_str().unwrap_or_default().to_owned()
    }

    /// GET as text.
    ///
    /// # Errors
    /// No answer, or another status than 200; the text says which.
    pub async fn get(&self, path: &str) -> Result<String, String> {
        let response = self.http.get(self.address() + path).send().await.map_err(|error| format!("{path}: {error:?}"))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| format!("{path}: {error:?}"))?;
        if status == 200 { Ok(text) } else { Err(format!("{path}: {status} {text}")) }
    }

    /// GET as JSON.
    ///
    /// # Errors
    /// As [`get`](Self::get), or the answer is not JSON.
    pub async fn json(&self, path: &str) -> Result<Value, String> {
        let text = self.get(path).await?;
        serde_json::from_str(&text).map_err(|error| format!("{path}: {error}: {text}"))
    }

    /// Calls the simulator's own API.
    ///
    /// # Panics
    /// It does not answer, or not with success.
    pub async fn simulator(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Value {
        let base = self.run()["simulator"].as_str().unwrap_or_default().to_owned();
        let mut request = self.http.request(method.clone(), base + path);
        if let Some(body) = &body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
        let status = response.status();
        let text = response.text().await.unwrap_or_default();
        assert!(status.is_success(), "{method} {path} {body:?}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Adds a fault and returns its id.
    ///
    /// # Panics
    /// The simulator refuses it.
    pub async fn fault(&self, fault: Value) -> Value {
        self.simulator(reqwest::Method::POST, "/sim/faults", Some(fault)).await
    }

    /// Removes all faults.
    ///
    /// # Panics
    /// The simulator does not answer.
    pub async fn clear_faults(&self) {
        self.simulator(reqwest::Method::DELETE, "/sim/faults", None).await;
    }

    /// A connection to the system's broker as one of its users.
    ///
    /// # Panics
    /// It cannot be made.
    pub async fn bus(&self, user: &str) -> Bus {
        let seed = self.find_seed(user);
        let url = self.run()["nats_url"].as_str().unwrap_or_default().to_owned();
        let bus = Bus::connect(ConnectOptions { url, name: user.to_owned(), credentials: Credentials::NkeySeedFile(seed) })
            .await
            .expect("options");
        tokio::time::timeout(START_LIMIT, bus.wait_connected()).await.expect("the broker is there");
        bus
    }

    fn find_seed(&self, user: &str) -> PathBuf {
        let name = format!("{user}.nk");
        let mut open = vec![self.data()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).expect("data folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.file_name().is_some_and(|file| file == name.as_str()) {
                    return path;
                }
            }
        }
        panic!("no seed of {user} under {}", self.data().display())
    }

    /// Process id of one process, once it runs.
    pub async fn pid(&self, process: &str) -> u32 {
        until(&format!("{process} runs"), START_LIMIT, async || {
            let run = self.run();
            run["processes"][process]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).ok_or_else(|| run.to_string())
        })
        .await
    }

    /// kill -9, then waits until the supervisor has started the process again.
    ///
    /// # Panics
    /// There is no such process, or it is not started again.
    pub async fn kill(&self, process: &str) {
        let pid = self.pid(process).await;
        // The broker runs under a launcher; what dies is the server itself.
        let victim = child_of(pid).filter(|_| process == "nats-server").unwrap_or(pid);
        signal(victim, "KILL");
        until(&format!("{process} is started again"), START_LIMIT, async || {
            let run = self.run();
            let now = run["processes"][process]["pid"].as_u64();
            if now.is_some_and(|now| now != u64::from(pid)) { Ok(()) } else { Err(run["processes"][process].to_string()) }
        })
        .await;
    }

    /// Every process of this system that is alive, with its command line.
    #[must_use]
    pub fn alive(&self) -> Vec<(u32, String)> {
        let marker = self.dir.display().to_string();
        let run = self.run_file().unwrap_or(Value::Null);
        let known: Vec<u64> = run["processes"]
            .as_object()
            .map(|all| all.values().filter_map(|one| one["pid"].as_u64()).collect())
            .unwrap_or_default();
        processes().into_iter().filter(|(pid, line)| line.contains(&marker) || known.contains(&u64::from(*pid))).collect()
    }

    /// `spark up` itself and everything below it, the broker's server included, with command lines.
    #[must_use]
    pub fn tree(&self) -> Vec<(u32, String)> {
        let output = Command::new("ps").args(["-e", "-o", "pid=,ppid=,args="]).output().expect("ps runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let rows: Vec<(u32, u32, &str)> = text
            .lines()
            .filter_map(|line| {
                let (pid, rest) = line.trim_start().split_once(' ')?;
                let (parent, command) = rest.trim_start().split_once(' ')?;
                Some((pid.parse().ok()?, parent.parse().ok()?, command.trim_start()))
            })
            .collect();
        let mut found = vec![self.up.id()];
        let mut next = 0;
        while let Some(&parent) = found.get(next) {
            found.extend(rows.iter().filter(|row| row.1 == parent).map(|row| row.0));
            next += 1;
        }
        let line = |pid: &u32| rows.iter().find(|row| row.0 == *pid).map(|row| (*pid, row.2.to_owned()));
        found.iter().filter_map(line).collect()
    }

    /// Ctrl-C, then waits for the end.
    ///
    /// # Panics
    /// It does not end in time.
    pub async fn stop(&mut self) {
        signal(self.up.id(), "INT");
        let start = std::time::Instant::now();
        while self.up.try_wait().ok().flatten().is_none() {
            assert!(start.elapsed() < STOP_LIMIT, "spark up does not stop:\n{}", self.printed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if self.up.try_wait().ok().flatten().is_none() {
            signal(self.up.id(), "INT");
            let start = std::time::Instant::now();
            while self.up.try_wait().ok().flatten().is_none() && start.elapsed() < STOP_LIMIT {
                std::thread::sleep(Duration::from_millis(20));
            }
            // Harmless when it has ended; its children notice and end too.
            let _ = self.up.kill();
            let _ = self.up.wait();
        }
        if std::thread::panicking() {
            eprintln!("the system's folder stays for a look: {}", self.dir.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

fn launch(binary: &Path, dir: &Path, arguments: &[String]) -> Child {
    let port = spark_nats::server::free_port().expect("a free port");
    let output = std::fs::File::options().create(true).append(true).open(dir.join("up.log")).expect("log file");
    Command::new(binary)
        .current_dir(dir)
        .arg("up")
        .args(["--port", &port.to_string()])
        .arg("--data")
        .arg(dir.join("data"))
        .arg("--config")
        .arg(dir.join("spark.toml"))
        .args(arguments)
        .env("SPARK_TOOLS_DIR", spark_nats::testing::tools_dir())
        // A test run that is killed takes its systems with it: they notice that their stdin is closed.
        .env("SPARK_SUPERVISED", "1")
        .stdin(Stdio::piped())
        .stdout(output.try_clone().expect("log file"))
        .stderr(output)
        .spawn()
        .expect("the binary starts")
}

/// Sends a signal by name.
pub fn signal(pid: u32, name: &str) {
    // A process that is gone already is what was wanted.
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

/// The first child of a process.
#[must_use]
pub fn child_of(pid: u32) -> Option<u32> {
    let output = Command::new("pgrep").args(["-P", &pid.to_string()]).output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next()?.trim().parse().ok()
}

/// Every process of the machine with its command line.
fn processes() -> Vec<(u32, String)> {
    let output = Command::new("ps").args(["-e", "-o", "pid=,args="]).output().expect("ps runs");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let (pid, rest) = line.trim_start().split_once(' ')?;
            Some((pid.parse().ok()?, rest.to_owned()))
        })
        .collect()
}

/// A process's share of memory, bytes: its own pages, and of each shared page the part that falls on it.
#[must_use]
pub fn proportional_bytes(pid: u32) -> u64 {
    let path = Path::new("/proc").join(pid.to_string()).join("smaps_rollup");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// Resident memory of a process, bytes.
#[must_use]
pub fn resident_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("statm")).unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}

/// Processor time that a process has used, to 10 ms.
#[must_use]
pub fn processor_time(pid: u32) -> Duration {
    /// Clock ticks a second; Linux has told programs the same number for ever.
    const TICKS: u64 = 100;
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    // The name in parentheses may hold anything; of what follows it, user and system time are the 12th and 13th.
    let rest = text.rsplit_once(')').map_or("", |pair| pair.1);
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1_000 / TICKS)
}

/// The program of a command line and, for Spark's own, the process it runs as.
#[must_use]
pub fn process_name(command: &str) -> String {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    match words.next() {
        Some(process) if program.starts_with("spark") => format!("spark {process}"),
        _ => program.to_owned(),
    }
}
