//! The running system: every process's task, what they report, and stopping them in order.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::child::{EVENTS_MAX, Event, Limits, Orders, Program, keep_running};
use super::logs::{Severity, Throttle, brief};
use super::plan::STOP_ORDER;
use super::policy::Next;
use super::restarts::{Answer, Ask, RESTARTS_MAX, Refused};
use super::run_file::RunFile;
use crate::exit::Failure;
use crate::output::{self, Style};

/// A process that was started again so recently is left alone: the command was given before anybody could see what became of it.
const JUST_RESTARTED: Duration = Duration::from_secs(5);

/// The processes of one `spark up`.
pub struct Supervisor {
    run: RunFile,
    data: PathBuf,
    limits: Limits,
    json: bool,
    stopping: bool,
    children: BTreeMap<&'static str, (Orders, JoinHandle<()>)>,
    throttles: BTreeMap<&'static str, Throttle>,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    asks_sender: mpsc::Sender<Ask>,
    asks: mpsc::Receiver<Ask>,
    /// Restarts under way that were asked for: who waits for the new run.
    awaited: BTreeMap<&'static str, oneshot::Sender<Answer>>,
    /// When a process was last started again, for whatever reason.
    started_again: BTreeMap<&'static str, Instant>,
}

impl Supervisor {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(run: RunFile, data: PathBuf, limits: Limits, json: bool) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let (asks_sender, asks) = mpsc::channel(RESTARTS_MAX);
        Self {
            run,
            data,
            limits,
            json,
            stopping: false,
            children: BTreeMap::new(),
            throttles: BTreeMap::new(),
            sender,
            events,
            asks_sender,
            asks,
            awaited: BTreeMap::new(),
            started_again: BTreeMap::new(),
        }
    }

    /// Where restarts can be asked for.
    #[must_use]
    pub fn asks(&self) -> mpsc::Sender<Ask> {
        self.asks_sender.clone()
    }

    /// Starts a process and keeps it running.
    pub fn start(&mut self, program: Program, metrics: Option<String>) {
        let orders = Orders::default();
        let name = program.name;
        self.run.processes.entry(name.to_owned()).or_default().metrics = metrics;
        let task = tokio::spawn(keep_running(program, self.limits, orders.clone(), self.sender.clone()));
        self.children.insert(name, (orders, task));
    }

    /// Takes in events while `work` is under way.
    ///
    /// # Errors
    /// The work's own, or a process that cannot run at all.
    pub async fn during<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return result,
                event = self.events.recv() => if let Some(event) = event { self.took(event)?; },
                ask = self.asks.recv() => if let Some(ask) = ask { self.asked(ask); },
            }
        }
    }

    /// Somebody wants a process restarted: begins with it, or says why not.
    fn asked(&mut self, ask: Ask) {
        let Ask { service, command, sequence, refused, answer } = ask;
        let who = output::visible(&command.actor);
        let attempt =
            command.episode.map(|episode| format!(", episode {} attempt {}", output::visible(&episode), command.attempt));
        let why = output::visible(&command.reason);
        let asked = format!("{who} asks for a restart: {why} (LEDGER:{sequence}{})", attempt.unwrap_or_default());
        let report = |refused: Option<&str>| {
            json!({"event": "restart_asked", "process": service, "by": command.actor, "reason": command.reason,
                "sequence": sequence, "refused": refused})
        };
        let admitted = refused.map_or_else(|| self.admitted(&service), |why| Err(Refused::not_possible(why)));
        match admitted {
            Ok(name) => {
                self.report(&report(None));
                self.say(name, Style::Yellow, &asked);
                self.awaited.insert(name, answer);
                if let Some((orders, _)) = self.children.get(name) {
                    orders.restart.notify_one();
                }
            }
            Err(refused) => {
                let why = &refused.why;
                self.report(&report(Some(why)));
                self.say(&output::visible(&service), Style::Yellow, &format!("{asked}; refused: {why}"));
                // Whoever asked may have given up waiting.
                let _ = answer.send(Answer::Refused(refused));
            }
        }
    }

    /// The process that may be restarted now, or why none may.
    fn admitted(&self, service: &str) -> Result<&'static str, Refused> {
        let Some(name) = STOP_ORDER.iter().find(|name| **name == service) else {
            return Err(Refused::not_possible(format!("there is no such process; there are {}", STOP_ORDER.join(", "))));
        };
        if self.stopping {
            return Err(Refused::not_possible("the system stops"));
        }
        if !self.children.contains_key(name) {
            return Err(Refused::not_possible("it does not run here"));
        }
        if self.awaited.get(name).is_some_and(|waiting| !waiting.is_closed()) {
            return Err(Refused::just_restarted("it is being restarted already"));
        }
        match self.started_again.get(name).map(Instant::elapsed) {
            Some(ago) if ago < JUST_RESTARTED => {
                Err(Refused::just_restarted(format!("it was started again {:.1} s ago", ago.as_secs_f64())))
            }
            _ => Ok(name),
        }
    }

    /// One event: shown, and kept in `run.json`.
    fn took(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Started { name, pid } => {
                self.report(&json!({"event": "started", "process": name, "pid": pid}));
                self.running(name).pid = Some(pid);
                let restarts = self.running(name).restarts;
                if restarts > 0 {
                    self.started_again.insert(name, Instant::now());
                    self.say(name, Style::Yellow, &format!("started again, pid {pid} (restart {restarts})"));
                }
                self.save();
                if let Some(answer) = self.awaited.remove(name) {
                    // Whoever asked may have given up waiting.
                    let _ = answer.send(Answer::Started { pid });
                }
            }
            Event::Restarting { name, killed } => {
                self.report(&json!({"event": "restarting", "process": name, "killed": killed}));
                self.running(name).pid = None;
                self.running(name).restarts += 1;
                self.save();
                if killed {
                    self.say(name, Style::Yellow, "killed: it did not stop in time");
                }
            }
            Event::Said { name, severity, line } => self.said(name, severity, &line),
            Event::Died { name, how, last_error, next } => return self.died(name, &how, last_error.as_deref(), next),
            Event::Stopped { name, killed } => {
                self.running(name).pid = None;
                self.report(&json!({"event": "stopped", "process": name, "killed": killed}));
                let how = if killed { "killed: it did not stop in time" } else { "stopped" };
                self.say(name, if killed { Style::Yellow } else { Style::Dim }, how);
            }
        }
        Ok(())
    }

    fn died(&mut self, name: &'static str, how: &str, last_error: Option<&str>, next: Next) -> Result<(), Failure> {
        self.report(&json!({"event": "died", "process": name, "how": how, "last_error": last_error}));
        self.running(name).pid = None;
        self.running(name).restarts += 1;
        self.save();
        let said = last_error.map(|line| format!("; last error: {}", brief(line))).unwrap_or_default();
        match next {
            Next::RestartAfter(pause) => {
                self.say(name, Style::Red, &format!("died: {how}; starts again in {pause:?}{said}"));
                Ok(())
            }
            Next::GiveUp => Err(Failure::usage(format!("{name} cannot run with this configuration: {how}{said}"))),
        }
    }

    fn said(&mut self, name: &'static str, severity: Severity, line: &str) {
        if self.stopping && severity != Severity::Error {
            // Processes see each other go; that is not worth a warning now.
            return;
        }
        let shown = self.throttles.entry(name).or_insert_with(Throttle::new).admit(Instant::now());
        if shown.hidden_before > 0 {
            let log = self.data.join("logs").join(format!("{name}.log"));
            self.say(name, Style::Yellow, &format!("{} more lines in {}", shown.hidden_before, log.display()));
        }
        if shown.line {
            let style = if severity == Severity::Error { Style::Red } else { Style::Yellow };
            self.say(name, style, &brief(line));
            self.report(&json!({"event": "said", "process": name, "line": line}));
        }
    }

    fn running(&mut self, name: &str) -> &mut super::run_file::Running {
        self.run.processes.entry(name.to_owned()).or_default()
    }

    /// A line about a process, for a person.
    fn say(&self, name: &str, style: Style, text: &str) {
        if !self.json {
            output::note(&format!("{} {text}", output::paint_err(&format!("{name:>13} |"), style)));
        }
    }

    /// A line for a program.
    pub fn report(&self, event: &serde_json::Value) {
        if self.json {
            // Nobody reading is no reason to stop the system.
            let _ = output::line(&event.to_string());
        }
    }

    /// Writes `run.json`.
    pub fn save(&self) {
        if let Err(error) = self.run.write(&self.data) {
            output::note(&format!("write {}: {error}", RunFile::path(&self.data).display()));
        }
    }

    /// Stops every process in order. `hurry` (a second Ctrl-C) kills what is left.
    pub async fn stop(mut self, hurry: impl Future<Output = ()>) {
        self.stopping = true;
        self.awaited.clear();
        let everyone: Vec<Orders> = self.children.values().map(|(orders, _)| orders.clone()).collect();
        let hurrying = async {
            hurry.await;
            everyone.iter().for_each(|orders| orders.kill.cancel());
            std::future::pending::<()>().await;
        };
        tokio::pin!(hurrying);
        for name in STOP_ORDER {
            let Some((orders, mut task)) = self.children.remove(name) else { continue };
            orders.stop.cancel();
            loop {
                tokio::select! {
                    _ = &mut task => break,
                    () = &mut hurrying => {}
                    event = self.events.recv() => if let Some(event) = event {
                        // A process that dies while everything stops needs no more than its line.
                        let _ = self.took(event);
                    },
                    ask = self.asks.recv() => if let Some(ask) = ask { self.asked(ask); },
                }
            }
        }
        // What was still in the queue when the last process ended.
        while let Ok(event) = self.events.try_recv() {
            let _ = self.took(event);
        }
        RunFile::remove(&self.data);
    }

    /// The table of what runs where.
    #[must_use]
    pub fn table(&self) -> Vec<String> {
        let row = |name: &String, running: &super::run_file::Running| {
            let pid = running.pid.map_or_else(|| "starting".to_owned(), |pid| format!("pid {pid}"));
            let place = match name.as_str() {
                super::plan::BROKER => self.run.nats_url.clone(),
                "gateway" => self.run.address.clone(),
                "exchange-sim" => self.run.simulator.clone().unwrap_or_default(),
                _ => running.metrics.as_ref().map(|address| format!("http://{address}/metrics")).unwrap_or_default(),
            };
            vec![format!("  {name}"), pid, place]
        };
        output::table(&self.run.processes.iter().map(|(name, running)| row(name, running)).collect::<Vec<_>>())
    }

    /// Takes in events for as long as the system runs.
    ///
    /// # Errors
    /// A process cannot run at all.
    pub async fn watch(&mut self) -> Result<(), Failure> {
        self.during(std::future::pending()).await
    }

    /// Waits until every started process has a pid or `limit` has passed.
    ///
    /// # Errors
    /// A process cannot run at all.
    pub async fn settle(&mut self, limit: Duration) -> Result<(), Failure> {
        let deadline = tokio::time::Instant::now() + limit;
        while self.run.processes.values().any(|running| running.pid.is_none()) {
            match tokio::time::timeout_at(deadline, self.events.recv()).await {
                Ok(Some(event)) => self.took(event)?,
                _ => break,
            }
        }
        Ok(())
    }
}
