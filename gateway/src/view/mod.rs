//! The one picture of the system that every answer is made from. Pure: time comes in with each call, nothing is awaited.
//!
//! Everything is bounded by a named constant. What does not fit is left out and counted ([`View::overflow`]): a stream
//! of invented symbols cannot fill the memory.

pub mod alerts;
pub mod backtests;
pub mod bist;
pub mod bus;
pub mod calls;
pub mod day;
pub mod doings;
pub mod history;
mod moment;
pub mod muted;
pub mod people;
pub mod portfolio;
pub mod prices;
pub mod processes;
pub mod registry;
pub mod revisions;
pub mod rollouts;
pub mod saved;
pub mod signals;
pub mod status;
pub mod trading;
pub mod windows;
pub mod words;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use spark_alerting::InhibitRule;
use spark_bus_schema::parked::Parked;
use spark_bus_schema::session::Calendar;
use spark_bus_schema::telemetry::{FeedState, FeedStatus};
use spark_bus_schema::{Timestamp, Venue};

use crate::event::Event;
use crate::record::Record;
use alerts::Alerts;
use backtests::Backtests;
use bist::Bist;
use bus::BusView;
use calls::Calls;
use day::Day;
use doings::Doings;
use people::People;
use portfolio::Portfolio;
use prices::Prices;
use processes::Processes;
use registry::Registry;
use revisions::{Part, Revisions};
use rollouts::Rollouts;
use signals::Signals;
use trading::Trading;
use windows::WindowView;

/// Processes and streams whose newest parked message is shown.
const PARKED_SHOWN_MAX: usize = 32;

/// What the view looks like changed with an event: which live event tells clients about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A price; the view remembers which.
    Price,
    /// Balances.
    Portfolio,
    /// An alert; the key of [`Alerts`].
    Alert(alerts::Key),
    /// Windows.
    Windows,
    /// Processes, feeds, parked messages: told once a second anyway.
    System,
    /// Orders, positions, what may trade: the view remembers which.
    Trading,
    /// Scores, rollout, strategies, backtests, shares.
    Signals,
    /// Nothing that is shown live.
    Nothing,
}

/// What the view holds a process or a feed to.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Processes that must be up.
    pub expected: Vec<String>,
    /// Whether the data is simulated.
    pub demo: bool,
    /// Market data older than this is stale, ms.
    pub market_age_ms_max: i64,
    /// Balances older than this are stale, ms.
    pub portfolio_age_ms_max: i64,
    /// When Borsa Istanbul is open.
    pub calendar: Calendar,
}

/// The picture.
pub struct View {
    started_at: Timestamp,
    limits: Limits,
    connected: bool,
    revision: u64,
    revisions: Revisions,
    newest: Timestamp,
    /// Balances.
    pub portfolio: Portfolio,
    /// Last prices.
    pub prices: Prices,
    /// Alerts.
    pub alerts: Alerts,
    /// Guardrail windows with history.
    pub windows: WindowView,
    /// Heartbeats.
    pub processes: Processes,
    /// Totals over calls to exchanges.
    pub calls: Calls,
    /// Orders, positions, and what may trade.
    pub trading: Trading,
    /// Streams and their readers.
    pub bus: BusView,
    /// Silences, notifications, deliveries.
    pub people: People,
    /// What the guardrail did, restarts, thresholds, smoke checks.
    pub doings: Doings,
    /// What the last day was like.
    pub day: Day,
    /// What the model says.
    pub signals: Signals,
    /// Where models stand on their way to live trading.
    pub rollouts: Rollouts,
    /// Registered strategies.
    pub registry: Registry,
    /// Backtests.
    pub backtests: Backtests,
    /// Shares of Borsa Istanbul.
    pub bist: Bist,
    inhibitions: Vec<InhibitRule>,
    feeds: BTreeMap<Venue, FeedStatus>,
    parked_count: Option<u64>,
    parked_last: BTreeMap<(String, String), Parked>,
    unreadable: BTreeMap<&'static str, u64>,
    overflow: u64,
    /// Those of them that the reader of the LEDGER brought.
    ledger_overflow: u64,
}

impl View {
    /// An empty picture.
    #[must_use]
    pub fn new(started_at: Timestamp, limits: Limits) -> Self {
        Self {
            started_at,
            limits,
            connected: false,
            revision: 0,
            revisions: Revisions::default(),
            newest: Timestamp::ZERO,
            portfolio: Portfolio::default(),
            prices: Prices::default(),
            alerts: Alerts::default(),
            windows: WindowView::default(),
            processes: Processes::default(),
            calls: Calls::default(),
            trading: Trading::default(),
            bus: BusView::default(),
            people: People::default(),
            doings: Doings::default(),
            day: Day::default(),
            signals: Signals::default(),
            rollouts: Rollouts::default(),
            registry: Registry::default(),
            backtests: Backtests::default(),
            bist: Bist::default(),
            inhibitions: spark_alerting::builtin_inhibitions(),
            feeds: BTreeMap::new(),
            parked_count: None,
            parked_last: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            overflow: 0,
            ledger_overflow: 0,
        }
    }

    /// Takes in one message, stored by the broker at `at`.
    pub fn apply(&mut self, at: Timestamp, event: Event) -> Change {
        self.revision += 1;
        self.newest = self.newest.max(at);
        for part in parts(&event) {
            self.revisions.changed(*part);
        }
        if let Some(part) = self.news(&event) {
            self.revisions.changed(part);
        }
        let (fits, change) = match event {
            Event::Ticks(batch) => (self.prices.trades(at, &batch), Change::Price),
            Event::Quotes(batch) => (self.prices.quotes(at, &batch), Change::Price),
            Event::Balances(balances) => {
                self.portfolio.apply(balances);
                (true, Change::Portfolio)
            }
            Event::Alert(alert) => match self.alerts.apply(*alert) {
                Ok(Some(key)) => (true, Change::Alert(key)),
                Ok(None) => (true, Change::Nothing),
                Err(alerts::Full) => (false, Change::Nothing),
            },
            Event::Windows(windows) => (self.windows.apply(windows), Change::Windows),
            Event::Heartbeat(beat) => (self.processes.apply(at, self.started_at, beat), Change::System),
            Event::FeedStatus(status) => {
                self.feeds.insert(status.venue, status);
                (true, Change::System)
            }
            Event::Call(call) => {
                // Counters begin with this process, as every Prometheus counter does: counting the calls of the last hour
                // again after each restart would look like a burst to `rate()`.
                if at >= self.started_at {
                    self.calls.apply(&call);
                }
                (true, Change::Nothing)
            }
            Event::Parked(parked) => (self.park(*parked), Change::System),
            Event::Mark(mark) => (self.trading.mark(at, mark), Change::Trading),
            Event::Snapshot(share) => (self.bist.apply(at, *share, at >= self.started_at), Change::Signals),
            Event::Progress(told) => {
                self.backtests.progress(at, told);
                (true, Change::Signals)
            }
            Event::Model(model) => {
                self.signals.model_in_force(at, *model);
                (true, Change::Signals)
            }
            Event::Score(score) => {
                self.signals.score(*score, at >= self.started_at);
                (true, Change::Signals)
            }
            Event::Calibration(told) => (self.signals.calibration(*told), Change::Signals),
            Event::Answer(answer) => {
                // Whoever waited for an older one is gone.
                if at >= self.started_at {
                    self.signals.answer(*answer);
                }
                (true, Change::Nothing)
            }
            Event::Ledger(entry) => {
                let live = at >= self.started_at;
                let fits = self.people.apply(at, &entry, live) & self.doings.apply(at, &entry, live);
                self.day.apply(at, &entry.record);
                let fits = self.trading.apply(at, &entry, live) && fits;
                let fits =
                    self.rollouts.apply(at, &entry) & self.registry.apply(at, &entry) & self.backtests.apply(at, &entry) && fits;
                self.ledger_overflow += u64::from(!fits);
                (fits, if entry.record.is_of_models() { Change::Signals } else { Change::Trading })
            }
        };
        if !fits {
            self.overflow += 1;
        }
        change
    }

    /// The part that a message changes only if it says something else than the one before: these come again and again.
    fn news(&self, event: &Event) -> Option<Part> {
        match event {
            Event::Balances(balances) => self.portfolio.is_news(balances).then_some(Part::Portfolio),
            Event::Alert(alert) => self.alerts.is_news(alert).then_some(Part::Alerts),
            Event::Heartbeat(beat) => self.processes.is_news(beat).then_some(Part::Processes),
            Event::FeedStatus(status) => (self.feeds.get(&status.venue) != Some(status)).then_some(Part::Feeds),
            _ => None,
        }
    }

    fn park(&mut self, parked: Parked) -> bool {
        let key = (parked.process.clone(), parked.stream.clone());
        if self.parked_last.len() >= PARKED_SHOWN_MAX && !self.parked_last.contains_key(&key) {
            return false;
        }
        if self.parked_last.get(&key).is_none_or(|held| held.parked_at <= parked.parked_at) {
            self.parked_last.insert(key, parked);
        }
        true
    }

    /// Counts a message that could not be read.
    pub fn count_unreadable(&mut self, reason: &'static str) {
        *self.unreadable.entry(reason).or_default() += 1;
    }

    /// Whether the broker is there.
    pub fn set_connected(&mut self, connected: bool) {
        self.revision += 1;
        // Also what was the case before is told otherwise while the broker is away.
        self.revisions.all_changed();
        self.connected = connected;
    }

    /// Messages in PARKED now, by the broker's own count (it falls when an operator replays one).
    pub fn set_parked_count(&mut self, count: u64) {
        if self.parked_count != Some(count) {
            self.parked_count = Some(count);
            self.revisions.changed(Part::Parked);
        }
    }

    /// Whether the broker is there.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Says that the end of the ledger was reached once.
    pub fn set_complete(&mut self) {
        self.trading.set_complete();
        self.revisions.changed(Part::Complete);
    }

    /// Says that everything may be another one.
    pub(crate) fn changed_whole(&mut self) {
        self.revisions.all_changed();
    }

    /// Says that a part was changed from outside of the streams.
    pub fn changed(&mut self, part: Part) {
        self.revisions.changed(part);
    }

    /// Rises with every change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// When the newest message was stored; zero before the first.
    #[must_use]
    pub fn newest(&self) -> Timestamp {
        self.newest
    }

    /// When this picture was begun.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// What the picture is held to.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Messages in PARKED; none until the broker said so.
    #[must_use]
    pub fn parked_count(&self) -> Option<u64> {
        self.parked_count
    }

    /// Unreadable messages by reason.
    #[must_use]
    pub fn unreadable(&self) -> &BTreeMap<&'static str, u64> {
        &self.unreadable
    }

    /// Messages left out because a bound of the view was reached.
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// State of each venue's connection.
    #[must_use]
    pub fn feeds(&self) -> &BTreeMap<Venue, FeedStatus> {
        &self.feeds
    }

    /// Rows about the venues' connections.
    #[must_use]
    pub fn feed_rows(&self, now: Timestamp) -> Vec<FeedRow> {
        let row = |status: &FeedStatus| FeedRow {
            venue: status.venue,
            state: status.state,
            since: status.since.to_string(),
            symbols: status.symbols.clone(),
            age_ms: self.prices.venue_age_ms(status.venue, now),
            reconnects: status.reconnects,
            trades_missing: status.trades_missing,
            trades_filled: status.trades_filled,
            frames_rejected: status.frames_rejected,
            detail: status.detail.clone(),
        };
        self.feeds.values().map(row).collect()
    }

    /// Parked messages: how many, and the newest one of each process and stream.
    #[must_use]
    pub fn parked_rows(&self) -> ParkedRows {
        let row = |parked: &Parked| ParkedRow {
            process: parked.process.clone(),
            stream: parked.stream.clone(),
            sequence: parked.sequence,
            subject: parked.subject.clone(),
            reason: parked.reason.clone(),
            detail: parked.detail.clone(),
            parked_at: parked.parked_at.to_string(),
        };
        let count = self.parked_count;
        // An operator may have taken the newest one out again; with none left there is nothing to show.
        let last = if count == Some(0) { Vec::new() } else { self.parked_last.values().map(row).collect() };
        ParkedRows { count, last }
    }
}

/// What looks otherwise after an event.
fn parts(event: &Event) -> &'static [Part] {
    match event {
        Event::Ticks(_) | Event::Quotes(_) => &[Part::Prices],
        Event::Windows(_) => &[Part::Windows],
        // Some of them are no news, see [`View::news`].
        Event::Balances(_) | Event::Alert(_) | Event::Heartbeat(_) | Event::FeedStatus(_) => &[],
        Event::Call(_) | Event::Answer(_) => &[],
        Event::Parked(_) => &[Part::Parked],
        Event::Mark(_) => &[Part::Positions],
        Event::Snapshot(_) => &[Part::Bist],
        Event::Progress(_) => &[Part::Backtests],
        Event::Model(_) => &[Part::Model],
        Event::Score(_) => &[Part::Scores],
        Event::Calibration(_) => &[Part::Calibrations],
        Event::Ledger(entry) => match &entry.record {
            Record::Intent(_) => &[Part::Orders],
            Record::Verdict(_) | Record::Order(_) => &[Part::Orders, Part::Positions],
            Record::KillSwitch(_) => &[Part::KillSwitch],
            Record::Limits(_) => &[Part::Limits],
            Record::Strategy(_) => &[Part::Strategies],
            Record::Reconciliation(_) => &[Part::Reconciliation, Part::Positions],
            Record::Resume(_) | Record::Damage(_) => &[Part::Reconciliation],
            Record::Action(_) | Record::Restart(_) | Record::Restarted(_) | Record::Rollback(_) | Record::Thresholds(_) => {
                &[Part::Doings]
            }
            Record::Smoke(_) => &[Part::Smoke],
            Record::Notification(_) | Record::Delivery(_) => &[Part::Notifications],
            Record::Silence(_) => &[Part::Silences],
            Record::RolloutChanged(_) | Record::CounterMove(_) => &[Part::Rollouts],
            Record::Registered(_) => &[Part::Registry],
            Record::JobCancel(_) | Record::BacktestDone(_) => &[Part::Backtests],
            // Only the audit's list shows them, which is asked for by POST.
            Record::Cancel(_)
            | Record::Breaker(_)
            | Record::Epoch(_)
            | Record::Alert(_)
            | Record::Anchor(_)
            | Record::Verified(_)
            | Record::Rollout(_) => &[],
        },
    }
}

/// One venue's connection.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FeedRow {
    /// The venue.
    pub venue: Venue,
    /// What the feed says.
    pub state: FeedState,
    /// Since when, RFC 3339.
    pub since: String,
    /// Subscribed.
    pub symbols: Vec<String>,
    /// Age of the venue's newest price, ms.
    pub age_ms: Option<i64>,
    /// Reconnects since the feed started.
    pub reconnects: u64,
    /// Trade ids found missing.
    pub trades_missing: u64,
    /// Trade ids fetched over REST.
    pub trades_filled: u64,
    /// Frames that could not be read.
    pub frames_rejected: u64,
    /// Why it is not live.
    pub detail: Option<String>,
}

/// Parked messages.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ParkedRows {
    /// How many there are; null until the broker said so.
    pub count: Option<u64>,
    /// The newest one of each process and stream.
    pub last: Vec<ParkedRow>,
}

/// A parked message without its bytes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ParkedRow {
    /// Who could not handle it.
    pub process: String,
    /// Stream of the original.
    pub stream: String,
    /// Sequence of the original.
    pub sequence: u64,
    /// Subject of the original.
    pub subject: String,
    /// A word.
    pub reason: String,
    /// The whole error.
    pub detail: String,
    /// When, RFC 3339.
    pub parked_at: String,
}

#[cfg(test)]
mod tests;
