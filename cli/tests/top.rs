//! `spark top` in a real terminal (a pty) on a real running system, and what it prints without one.

#![allow(clippy::unwrap_used, reason = "these are tests, outside of test functions")]

mod common;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use common::{Up, freeze, run, signal, spark, text, wait_for};
use nix::sys::signal::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

/// Where each picture begins.
const PICTURE: &str = "\u{1b}[H";

/// `spark` on a terminal of its own.
struct Screen {
    child: Child,
    keyboard: File,
    terminal: File,
    shown: Arc<Mutex<String>>,
}

impl Screen {
    fn start(folder: &Path, arguments: &[&str], size: (u16, u16)) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        resize(&master, size);
        let terminal = File::options().read(true).write(true).open(OsStr::from_bytes(name.to_bytes())).unwrap();
        let child = spark(folder)
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::from(terminal.try_clone().unwrap()))
            .stdout(Stdio::from(terminal.try_clone().unwrap()))
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let keyboard = File::from(master);
        let mut output = keyboard.try_clone().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 64 * 1024];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { child, keyboard, terminal, shown }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// The newest whole picture, once it is as wanted.
    fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        wait_for(what, || {
            let all = self.shown.lock().unwrap().clone();
            let newest = all.rsplit(PICTURE).nth(1).unwrap_or_default().to_owned();
            if wanted(&newest) { Ok(newest) } else { Err(newest) }
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(terminal: &OwnedFd, (columns, lines): (u16, u16)) {
    tcsetwinsize(terminal, Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

#[test]
fn a_person_watches_a_system_in_a_terminal_and_a_program_gets_one_picture() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), &[]);
    let data = up.data.display().to_string();
    let mut screen = Screen::start(folder.path(), &["top", "--data", &data], (80, 24));
    let before = tcgetattr(&screen.terminal).unwrap().local_modes;
    let picture = screen.wait("rates", |picture| {
        picture.contains("MESSAGES/S") && picture.contains("binance.BTCUSDT") && picture.contains("DEMO")
    });
    assert_eq!(picture.matches("\r\n").count(), 23, "{picture}");
    assert!(picture.contains("trading on") && !picture.contains("could not be read"), "{picture}");
    assert!(screen.shown.lock().unwrap().starts_with("\u{1b}[?1049h"), "a screen of its own");
    assert_ne!(tcgetattr(&screen.terminal).unwrap().local_modes, before, "keys come at once");

    screen.press("2");
    screen.wait("windows", |picture| picture.contains("WARNING / CRITICAL") && picture.contains("0 above"));
    screen.press("\u{1b}[B");
    screen.wait("scrolled", |picture| picture.contains("1 above"));
    screen.press("\t\t");
    screen.wait("processes", |picture| picture.contains("RESTARTS") && picture.contains("feed "));
    screen.press("p");
    screen.wait("paused", |picture| picture.contains("PAUSED"));
    screen.press("p");
    resize(&OwnedFd::from(screen.keyboard.try_clone().unwrap()), (120, 40));
    signal(i32::try_from(screen.child.id()).unwrap(), Signal::SIGWINCH);
    screen.wait("more room", |picture| picture.matches("\r\n").count() == 39 && !picture.contains("PAUSED"));

    // Stopped, not dead: nothing ends the connection, only the silence tells.
    let gateway = up.pid_of("gateway", None);
    freeze(gateway);
    screen.wait("it says that it hears nothing", |picture| {
        picture.contains("said nothing for") || picture.contains("no connection")
    });
    signal(gateway, Signal::SIGCONT);
    screen.wait("it goes on by itself", |picture| !picture.contains("said nothing") && !picture.contains("no connection"));
    screen.press("q");
    assert!(wait_for("it ends", || screen.child.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())).success());
    wait_for("the terminal is as it was", || {
        let all = screen.shown.lock().unwrap().clone();
        let ended = all.ends_with("\u{1b}[?1049l") && tcgetattr(&screen.terminal).unwrap().local_modes == before;
        if ended { Ok(()) } else { Err(all.chars().rev().take(40).collect::<String>()) }
    });

    let once = text(&run(folder.path(), &["top", "--data", &data]).stdout);
    for part in ["MESSAGES/S", "WARNING / CRITICAL", "PROCESS", "READER", "guardrail"] {
        assert!(once.contains(part), "{part} is not in\n{once}");
    }
    assert!(!once.contains('\u{1b}'), "{once}");
    let document = run(folder.path(), &["top", "--json", "--data", &data]);
    let document: serde_json::Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!(document["link"]["state"], "live");
    assert!(document["stream_rates"]["FEED"].as_f64().is_some_and(|rate| rate > 0.0), "{}", document["stream_rates"]);
    assert!(document["lag"]["LEDGER risk"].is_u64(), "{}", document["lag"]);
}

#[test]
fn without_a_gateway_it_says_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = spark(folder.path());
    command.args(["top", "--wait", "1s"]).env("SPARK_GATEWAY_URL", format!("http://127.0.0.1:{}", common::free_port()));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains("spark up"), "{}", text(&output.stderr));
}
