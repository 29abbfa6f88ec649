//! What all tasks of the gateway share: the view, the live stream, the way out for commands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use axum::body::Bytes;
use axum::http::HeaderValue;
use serde_json::Value;
use spark_bus_schema::actions::{RestartCommand, ThresholdsCommand};
use spark_bus_schema::backtests::JobCancel;
use spark_bus_schema::control::{BreakerCommand, CancelCommand, KillSwitch, LimitsCommand, ResumeCommand, StrategyCommand};
use spark_bus_schema::notify::Silence;
use spark_bus_schema::orders::OrderId;
use spark_bus_schema::rollout::RolloutCommand;
use spark_bus_schema::{Timestamp, subject};
use spark_nats::{Bus, Meta, PublishError};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::auth::{AdminToken, Authority};
use crate::config::Config;
use crate::confirm::Confirmations;
use crate::event::{Event, Unreadable};
use crate::http::limit::{Limiter, Places, Refusals};
use crate::http::shown::weak;
use crate::latency::TickLatency;
use crate::record::Record;
use crate::render::AlertsAnswer;
use crate::requests::Requests;
use crate::stream::Hub;
use crate::view::revisions::Part;
use crate::view::saved::Saved;
use crate::view::{Change, View};
use crate::waiters::Waiters;
use crate::wire::Wire;

/// Commands that may wait for the broker; more are refused at once.
pub const COMMANDS_MAX: usize = 16;
/// Scores that may be asked for at once: they wait for `signal`, and nobody needs a token for them.
pub const SCORES_MAX: usize = 32;
/// A rendered portfolio is given out again for this long, ms, unless balances change: `status` and `age_ms` in it are
/// at most that old.
pub const PORTFOLIO_REUSE_MS: i64 = 100;

/// A command on its way to the bus.
pub struct Command {
    /// What to publish.
    pub command: Outgoing,
    /// Told the stream sequence, or why it is not stored.
    pub done: oneshot::Sender<Result<u64, String>>,
}

/// What the gateway may tell the system. The latest command of a kind decides.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    /// Circuit breaker of one exchange.
    Breaker(BreakerCommand),
    /// Everything new stops, or may go on.
    KillSwitch(KillSwitch),
    /// New limits.
    Limits(Box<LimitsCommand>),
    /// An order is to be taken back.
    Cancel(CancelCommand),
    /// A strategy starts or stops.
    Strategy(StrategyCommand),
    /// A halt is lifted.
    Resume(ResumeCommand),
    /// A process is to be restarted.
    Restart(Box<RestartCommand>),
    /// Other thresholds.
    Thresholds(Box<ThresholdsCommand>),
    /// Nobody is told about some alerts for a time.
    Silence(Box<Silence>),
    /// A model goes on, waits, or goes back.
    Rollout(Box<RolloutCommand>),
    /// A backtest is taken back.
    JobCancel(JobCancel),
}

impl Outgoing {
    /// Where it is published.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Breaker(command) => subject::breaker(command.exchange),
            Self::KillSwitch(_) => subject::KILL_SWITCH.to_owned(),
            Self::Limits(_) => subject::LIMITS.to_owned(),
            Self::Cancel(command) => subject::cancel(&command.order),
            Self::Strategy(command) => subject::strategy(&command.strategy),
            Self::Resume(_) => subject::RESUME.to_owned(),
            Self::Restart(command) => subject::restart(&command.service),
            Self::Thresholds(_) => subject::THRESHOLDS.to_owned(),
            Self::Silence(silence) => subject::silence(&silence.id),
            Self::Rollout(_) => subject::ROLLOUT.to_owned(),
            Self::JobCancel(command) => subject::job_cancel(&command.id),
        }
    }

    pub(crate) async fn publish(&self, bus: &Bus) -> Result<u64, PublishError> {
        let on = self.subject();
        match self {
            Self::Breaker(command) => bus.publish(&on, command, Meta::default()).await,
            Self::KillSwitch(command) => bus.publish(&on, command, Meta::default()).await,
            Self::Limits(command) => bus.publish(&on, command.as_ref(), Meta::default()).await,
            Self::Cancel(command) => bus.publish(&on, command, Meta::default()).await,
            Self::Strategy(command) => bus.publish(&on, command, Meta::default()).await,
            Self::Resume(command) => bus.publish(&on, command, Meta::default()).await,
            Self::Restart(command) => bus.publish(&on, command.as_ref(), Meta::default()).await,
            Self::Thresholds(command) => bus.publish(&on, command.as_ref(), Meta::default()).await,
            Self::Silence(silence) => bus.publish(&on, silence.as_ref(), Meta::default()).await,
            Self::Rollout(command) => bus.publish(&on, command.as_ref(), Meta::default()).await,
            Self::JobCancel(command) => bus.publish(&on, command, Meta::default()).await,
        }
    }
}

/// Looks up the hashes of the auditor's chain by LEDGER sequence. It may block, and leaves out what it does not find: the
/// record's keeper is another process, whose file may be elsewhere.
pub type ChainHashes = Arc<dyn Fn(&[u64]) -> BTreeMap<u64, String> + Send + Sync>;

/// The details of a backtest by its id, as JSON: `equity` and `trades`, each oldest first. It may block; none where its file
/// is elsewhere or has no such backtest.
pub type BacktestDetails = Arc<dyn Fn(&str) -> Option<Value> + Send + Sync>;
/// The report on a backtest by its id: one HTML file. As [`BacktestDetails`].
pub type BacktestReport = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Files of other processes, as far as they are on this machine. Each is only read.
#[derive(Clone, Default)]
pub struct Files {
    /// The auditor's chain.
    pub chain: Option<ChainHashes>,
    /// What backtests left.
    pub backtest: Option<BacktestDetails>,
    /// Reports on backtests.
    pub report: Option<BacktestReport>,
}

/// What a request waits for in the LEDGER.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Awaited {
    /// The score that was asked for under this id.
    Score(String),
    /// What became of the command about the rollout with this LEDGER sequence.
    Rollout(u64),
}

/// Shared by all tasks.
pub struct App {
    /// The configuration, validated.
    pub config: Config,
    /// The live stream.
    pub hub: Hub,
    /// Messages of the bus for WebSocket clients.
    pub wire: Wire,
    /// What was refused at the edge.
    pub refusals: Refusals,
    pub(crate) connections: Places,
    pub(crate) streams: Places,
    pub(crate) authority: Authority,
    pub(crate) limiter: Limiter,
    pub(crate) http: Requests,
    pub(crate) tick_latency: TickLatency,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) waiters: Waiters<OrderId>,
    pub(crate) answers: Waiters<Awaited>,
    pub(crate) scores: Semaphore,
    pub(crate) confirmations: Confirmations,
    bus: OnceLock<Bus>,
    files: OnceLock<Files>,
    view: RwLock<View>,
    portfolio: RwLock<Option<Rendered>>,
}

struct Rendered {
    at: Timestamp,
    body: Bytes,
    tag: HeaderValue,
}

impl App {
    /// An app with an empty view; commands come out of the receiver.
    #[must_use]
    pub fn new(config: Config, admin: Option<AdminToken>, now: Timestamp) -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let app = Self {
            hub: Hub::default(),
            wire: Wire::default(),
            refusals: Refusals::default(),
            connections: Places::new(config.connections_max as usize, config.connections_per_client_max as usize),
            streams: Places::new(config.streams_max as usize, config.streams_per_client_max as usize),
            authority: Authority::new(admin, config.tokens_file.clone()),
            limiter: Limiter::new(&config),
            http: Requests::default(),
            tick_latency: TickLatency::new(now),
            commands,
            waiters: Waiters::default(),
            answers: Waiters::default(),
            scores: Semaphore::new(SCORES_MAX),
            confirmations: Confirmations::default(),
            bus: OnceLock::new(),
            files: OnceLock::new(),
            view: RwLock::new(View::new(now, config.limits())),
            config,
            portfolio: RwLock::new(None),
        };
        (app, receiver)
    }

    /// Where files of other processes are found.
    pub fn read_with(&self, files: Files) {
        // The first one stays; there is one caller, at the start.
        let _ = self.files.set(files);
    }

    /// The chain's hashes of these messages, as far as they are there.
    pub(crate) async fn chain_hashes(&self, sequences: Vec<u64>) -> BTreeMap<u64, String> {
        let Some(chain) = self.files.get().and_then(|files| files.chain.clone()) else { return BTreeMap::new() };
        tokio::task::spawn_blocking(move || chain(&sequences)).await.unwrap_or_default()
    }

    /// What a backtest left, where its file is on this machine.
    pub(crate) async fn backtest_details(&self, id: &str) -> Option<Value> {
        let (read, id) = (self.files.get()?.backtest.clone()?, id.to_owned());
        tokio::task::spawn_blocking(move || read(&id)).await.ok().flatten()
    }

    /// The report on a backtest, where it is on this machine.
    pub(crate) async fn backtest_report(&self, id: &str) -> Option<String> {
        let (read, id) = (self.files.get()?.report.clone()?, id.to_owned());
        tokio::task::spawn_blocking(move || read(&id)).await.ok().flatten()
    }

    /// The body of `GET /api/portfolio`.
    #[must_use]
    pub fn portfolio_answer(&self, now: Timestamp) -> Bytes {
        self.portfolio_tagged(now).0
    }

    /// The body of `GET /api/portfolio` and its entity tag, which is the same as long as nothing but its age changes.
    #[must_use]
    pub fn portfolio_tagged(&self, now: Timestamp) -> (Bytes, HeaderValue) {
        let fresh = |rendered: &&Rendered| (0..PORTFOLIO_REUSE_MS).contains(&now.since_ms(rendered.at));
        let reused = self.portfolio.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(rendered) = reused.as_ref().filter(fresh) {
            return (rendered.body.clone(), rendered.tag.clone());
        }
        drop(reused);
        // Taken before the view is read: balances that arrive in between empty it again only after it is filled.
        let mut slot = self.portfolio.write().unwrap_or_else(PoisonError::into_inner);
        let view = self.view();
        let answer = view.portfolio.answer(now, view.status(now).status);
        let body = Bytes::from(serde_json::to_vec(&answer).expect("numbers and texts always serialize into memory"));
        let parts = &[Part::Portfolio];
        let tag = weak(view.started_at().as_nanos(), view.revision_of(parts), view.moment(parts, now));
        *slot = Some(Rendered { at: now, body: body.clone(), tag: tag.clone() });
        (body, tag)
    }

    /// Gives the app its way to the broker; without one, orders are answered with 503.
    pub(crate) fn connect(&self, bus: Bus) {
        // Called once, before the first request is served.
        let _ = self.bus.set(bus);
    }

    pub(crate) fn bus(&self) -> Option<&Bus> {
        self.bus.get()
    }

    /// The view, to read. Never held across an await.
    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The view, to change.
    pub fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on from what an earlier run saved; `newest` is when the last message was stored that it follows from. Whoever is
    /// there already learns of all of it as of news.
    pub fn restore(&self, saved: Saved, newest: Timestamp) {
        let orders: Vec<OrderId> = saved.orders().cloned().collect();
        let mut view = self.view_mut();
        view.restore(saved, newest);
        if self.hub.is_wanted() {
            self.hub.send("alerts", &AlertsAnswer::new(&view, spark_nats::now()));
        }
        drop(view);
        self.hub.flush();
        self.waiters.wake(&orders);
    }

    /// Takes in a batch under one lock; alerts go out to the live stream at once, everything else on its next beat.
    pub fn take_in(&self, batch: Vec<(Timestamp, Result<Event, Unreadable>)>) {
        let mut view = self.view_mut();
        let mut portfolio_changed = false;
        let mut ticks_received = Vec::new();
        let (mut orders, mut answered) = (BTreeSet::new(), Vec::new());
        let mut silences_changed = false;
        for (at, event) in batch {
            if let Ok(Event::Ticks(ticks)) = &event {
                ticks_received.extend(self.tick_latency.received(at, ticks));
            }
            if let Ok(Event::Answer(answer)) = &event {
                answered.push(Awaited::Score(answer.id.clone()));
            }
            let mut switched = false;
            if let Ok(Event::Ledger(entry)) = &event {
                match &entry.record {
                    Record::Verdict(verdict) => _ = orders.insert(verdict.order.clone()),
                    Record::Order(event) => _ = orders.insert(event.order.clone()),
                    Record::KillSwitch(_) => switched = true,
                    Record::Silence(_) => silences_changed = true,
                    Record::RolloutChanged(changed) => answered.extend(changed.command.map(Awaited::Rollout)),
                    _ => {}
                }
            }
            let change = match event {
                Ok(event) => view.apply(at, event),
                Err(error) => {
                    tracing::debug!(%error, "unreadable message");
                    view.count_unreadable(error.reason());
                    continue;
                }
            };
            match change {
                Change::Alert(key) => {
                    // Who reads a day of alerts at the start has no clients yet, and a row costs a look at all that fire.
                    let alert = view.alerts.get(&key).filter(|_| self.hub.is_wanted());
                    for row in view.alert_rows(alert, at) {
                        self.hub.send("alert", &row);
                    }
                }
                Change::Portfolio => portfolio_changed = true,
                Change::Windows => self.hub.mark_windows(),
                Change::Signals => self.hub.mark_signals(),
                Change::Price | Change::System | Change::Trading | Change::Nothing => {}
            }
            // Nobody shall wait for the next beat to learn that everything has stopped.
            if switched {
                self.hub.send("kill_switch", &view.trading.guard());
            }
        }
        if silences_changed && self.hub.is_wanted() {
            self.hub.send("alerts", &AlertsAnswer::new(&view, spark_nats::now()));
        }
        drop(view);
        self.hub.flush();
        self.waiters.wake(&orders);
        self.answers.wake(&answered);
        if !ticks_received.is_empty() {
            // From here on every reader sees them.
            self.tick_latency.observe(&ticks_received, spark_nats::now());
        }
        if portfolio_changed {
            // After the view is free: the one who renders holds this slot while waiting for the view.
            *self.portfolio.write().unwrap_or_else(PoisonError::into_inner) = None;
            self.hub.mark_portfolio();
        }
    }
}
