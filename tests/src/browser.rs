//! A real headless Chromium, spoken to over the DevTools protocol: what a person sees, presses and waits for, and what the
//! console, the network and the layout did meanwhile. It is spoken to over its own pipe: no driver, no port, and it ends with
//! the test that started it.

mod keys;
mod page;

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};

pub use keys::Key;
pub use page::{Look, Page, Request, Scheme};

/// One answer of the browser comes within this time, also on a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Events kept for one page; beyond them a test has gone wrong.
const EVENTS_MAX: usize = 100_000;
/// It ends this soon once its pipe is closed.
const END_LIMIT: Duration = Duration::from_secs(10);
/// What is kept of all the events: what the console said, what was asked of the network.
const KEPT: [&str; 5] = [
    "Runtime.consoleAPICalled",
    "Runtime.exceptionThrown",
    "Log.entryAdded",
    "Network.requestWillBeSent",
    "Network.webSocketCreated",
];
/// As root it has no sandbox; nothing of its own may ask the network, and no name but this machine's is found.
const ARGUMENTS: [&str; 14] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-component-update",
    "--disable-renderer-backgrounding",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
];

/// A running browser. Dropping it ends it and removes its folder.
pub struct Browser {
    child: Child,
    folder: PathBuf,
    link: Arc<Link>,
}

/// Commands to the browser, and what came back.
struct Link {
    /// Taken when the browser is to end: it ends when its pipe is closed.
    outgoing: Mutex<Option<mpsc::UnboundedSender<Vec<u8>>>>,
    next: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<u64, oneshot::Sender<Value>>,
    /// By session, so by page.
    events: HashMap<String, Vec<Value>>,
    ended: bool,
}

impl Browser {
    /// Starts it.
    ///
    /// # Panics
    /// There is no `chromium`, or it does not answer; its log is in the message.
    pub async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("spark-browser-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("temporary folder");
        let log = std::fs::File::create(folder.join("chromium.log")).expect("log file");
        // It reads commands from descriptor 3 and answers on 4; the shell lays stdin and stdout there.
        let mut child = Command::new("sh")
            .args(["-c", "exec 3<&0 4>&1 </dev/null 1>&2; exec chromium \"$@\"", "chromium"])
            .args(ARGUMENTS)
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("sh starts");
        let (sender, receiver) = mpsc::unbounded_channel();
        let link = Arc::new(Link { outgoing: Mutex::new(Some(sender)), next: AtomicU64::new(1), state: Mutex::default() });
        tokio::spawn(write(child.stdin.take().expect("piped"), receiver));
        tokio::spawn(read(child.stdout.take().expect("piped"), Arc::clone(&link)));
        let browser = Self { child, folder, link };
        if let Err(error) = browser.link.command(None, "Browser.getVersion", json!({})).await {
            let log = std::fs::read_to_string(browser.folder.join("chromium.log")).unwrap_or_default();
            panic!("chromium does not start (apt-get install chromium): {error}\n{log}");
        }
        browser
    }

    /// A new page with storage of its own, as a new visitor would have, not loaded yet.
    ///
    /// # Panics
    /// The browser refuses or has ended.
    pub async fn page(&self, look: Look) -> Page {
        Page::open(Arc::clone(&self.link), look).await
    }

    /// Closes every page that is still open, as a step that failed leaves them: they would take the others' time.
    pub async fn close_all(&self) {
        let contexts = self.link.command(None, "Target.getBrowserContexts", json!({})).await.unwrap_or_default();
        for context in contexts["browserContextIds"].as_array().into_iter().flatten() {
            // Gone by itself: as wanted.
            let _ = self.link.command(None, "Target.disposeBrowserContext", json!({ "browserContextId": context })).await;
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(locked(&self.link.outgoing).take());
        let start = std::time::Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < END_LIMIT {
            std::thread::sleep(Duration::from_millis(20));
            // On a runtime of one thread the writer cannot let go of the pipe while this waits.
            let _ = self.child.start_kill();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Link {
    /// One command and its answer.
    async fn command(&self, session: Option<&str>, method: &str, parameters: Value) -> Result<Value, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = session {
            message["sessionId"] = Value::from(session);
        }
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = locked(&self.state);
            if state.ended {
                return Err(format!("{method}: the browser has ended"));
            }
            state.waiting.insert(id, sender);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let outgoing = locked(&self.outgoing).clone();
        let sent = outgoing.is_some_and(|outgoing| outgoing.send(bytes).is_ok());
        if !sent {
            return Err(format!("{method}: the browser has ended"));
        }
        let answer = tokio::time::timeout(ANSWER_LIMIT, receiver).await;
        let mut answer = answer
            .map_err(|_| format!("{method}: no answer within {ANSWER_LIMIT:?}"))?
            .map_err(|_| format!("{method}: the browser has ended"))?;
        if answer["error"].is_null() { Ok(answer["result"].take()) } else { Err(format!("{method}: {}", answer["error"])) }
    }

    fn take(&self, mut message: Value) {
        let mut state = locked(&self.state);
        if let Some(waiting) = message["id"].as_u64().and_then(|id| state.waiting.remove(&id)) {
            // Nobody waits any more when the test has given up; then the answer is of no use either.
            let _ = waiting.send(message);
            return;
        }
        if !message["method"].as_str().is_some_and(|method| KEPT.contains(&method)) {
            return;
        }
        let session = message["sessionId"].as_str().unwrap_or_default().to_owned();
        let events = state.events.entry(session).or_default();
        if events.len() < EVENTS_MAX {
            message["sessionId"] = Value::Null;
            events.push(message);
        }
    }
}

async fn write(mut pipe: ChildStdin, mut commands: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(command) = commands.recv().await {
        if pipe.write_all(&command).await.is_err() {
            return;
        }
    }
}

async fn read(pipe: ChildStdout, link: Arc<Link>) {
    let mut pipe = BufReader::new(pipe);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match pipe.read_until(0, &mut bytes).await {
            Ok(count) if count > 0 => {
                bytes.pop();
                if let Ok(message) = serde_json::from_slice(&bytes) {
                    link.take(message);
                }
            }
            _ => break,
        }
    }
    let mut state = locked(&link.state);
    state.ended = true;
    // Whoever still waits is told by the closed channel.
    state.waiting.clear();
}
