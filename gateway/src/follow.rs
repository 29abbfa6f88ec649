//! The streams into the view, and commands out of the gateway.
//!
//! A message that cannot be read is counted and its neighbours are taken in. Parking is the guardrail's part: it reads
//! the same messages, and the gateway has no right to publish anything but intents and commands.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use spark_bus_schema::telemetry::ProcessState;
use spark_bus_schema::{Timestamp, subject};
use spark_nats::{Bus, Delivery, Follower, Start, Status};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Command};
use crate::checkpoint::Keeper;
use crate::event::{Event, Unreadable};
use crate::record::{self, Entry, Record};

/// Windows of this long are read back at start, so that charts have their past at once.
const WINDOWS_BACK: Duration = Duration::from_secs(3_600);
/// Alert transitions and scores of this long are read back at start.
const HISTORY_BACK: Duration = Duration::from_secs(24 * 3_600);
/// Until the end of the ledger was reached once, it is looked for this often.
const END_INTERVAL: Duration = Duration::from_millis(100);
/// It is looked this often whether a checkpoint is due.
const SAVE_LOOK: Duration = Duration::from_secs(1);
/// The broker is asked this often how many messages are parked.
const PARKED_INTERVAL: Duration = Duration::from_secs(2);
/// Above so many parked messages they are not counted by process: each has a subject of its own.
const PARKED_COUNTED_MAX: u64 = 5_000;
/// The broker is asked this often about streams and their readers.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// Follows everything until told to stop. Needs no broker to begin with. What follows from the LEDGER is kept in `folder`.
pub(crate) async fn follow(app: Arc<App>, bus: Bus, folder: &Path, status: Status, shutdown: CancellationToken) {
    let now = spark_nats::now();
    let start = |name: &str, stream: &'static str, subjects: &[&str], start: Start| {
        let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
        Follower::start(bus.clone(), name, stream, subjects, start)
    };
    let latest = [
        subject::QUOTES,
        subject::TICKS,
        subject::CALLS,
        subject::HEARTBEATS,
        subject::FEED_STATUS,
        subject::SNAPSHOTS,
        subject::JOB_PROGRESS,
    ];
    let mut feed = start("gateway", subject::FEED, &latest, Start::LastPerSubject);
    let mut windows = start("gateway-history", subject::FEED, &[subject::WINDOWS], Start::Since(now - WINDOWS_BACK));
    let state = [subject::BALANCES, subject::ALERTS, subject::MARKS, subject::MODEL, subject::SCORES, subject::CALIBRATIONS];
    let mut ledger = start("gateway", subject::LEDGER, &state, Start::LastPerSubject);
    let past = [subject::ALERTS, subject::SCORES, subject::SCORE_ANSWERS];
    let mut history = start("gateway-history", subject::LEDGER, &past, Start::Since(now - HISTORY_BACK));
    let mut parked = start("gateway", subject::PARKED, &[subject::PARKED_ALL], Start::LastPerSubject);
    status.set(ProcessState::Running, None);
    let (mut keeper, saved) = tokio::select! {
        () = shutdown.cancelled() => return,
        opened = Keeper::open(folder, &bus) => opened,
    };
    if let Some((saved, cursor)) = saved {
        app.restore(saved, cursor.stored_at);
    }
    // Positions are the sum of everything that ever happened, so this one begins at the beginning, or after the message up to
    // which the sum was saved.
    let mut orders = start("gateway-orders", subject::LEDGER, &record::SUBJECTS, keeper.start());
    let mut end = tokio::time::interval(END_INTERVAL);
    let mut reading = true;
    let mut save = tokio::time::interval(SAVE_LOOK);
    save.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let (batch, again) = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(batch) = feed.next() => (batch, false),
            Some(batch) = windows.next() => (batch, false),
            Some(batch) = ledger.next() => (batch, false),
            Some(batch) = history.next() => (batch, true),
            Some(batch) = parked.next() => (batch, false),
            Some(batch) = orders.next() => {
                // The alerts among them are for the list of actions; their own readers count what is unreadable.
                let read = batch.iter().filter_map(|delivery| Some((delivery, entry(delivery)?)));
                let read = read.filter(|(delivery, event)| event.is_ok() || !subject::matches(subject::ALERTS, &delivery.subject));
                let read: Vec<_> = read.map(|(delivery, event)| (delivery.stored_at, event)).collect();
                read.iter().filter_map(|(_, event)| event.as_ref().err()).for_each(|error| keeper.count_unreadable(error.reason()));
                app.take_in(read);
                keeper.taken(&batch);
                continue;
            }
            _ = end.tick(), if reading => {
                if orders.is_caught_up() {
                    app.view_mut().set_complete();
                    reading = false;
                    // What was read now need not be read again, whatever happens next.
                    keeper.save(&app);
                }
                continue;
            }
            _ = save.tick() => {
                keeper.save_when_due(&app);
                continue;
            }
        };
        // The ledger's own reader sees new alerts and scores too: what is unreadable is counted there, once.
        let counted = |delivery: &Delivery| !again || subject::matches(subject::SCORE_ANSWERS, &delivery.subject);
        let read = batch.iter().filter_map(|delivery| Some((delivery, read(delivery)?)));
        app.take_in(read.filter(|(delivery, (_, event))| event.is_ok() || counted(delivery)).map(|(_, event)| event).collect());
    }
    keeper.finish(&app).await;
}

fn read(delivery: &Delivery) -> Option<(Timestamp, Result<Event, Unreadable>)> {
    let event = Event::decode(&delivery.subject, delivery.kind.as_deref(), &delivery.payload).transpose()?;
    let stored_at = delivery.stored_at;
    Some((stored_at, event.and_then(|event| event.not_from_the_future(stored_at))))
}

fn entry(delivery: &Delivery) -> Option<Result<Event, Unreadable>> {
    let record = Record::decode(&delivery.subject, delivery.kind.as_deref(), &delivery.payload).transpose()?;
    Some(record.map(|record| {
        let kind = delivery.kind.clone().unwrap_or_default();
        Event::Ledger(Box::new(Entry { sequence: delivery.sequence, kind, payload: delivery.payload.clone(), record }))
    }))
}

/// Keeps the view's knowledge of the connection.
pub(crate) async fn connection(app: Arc<App>, bus: Bus, shutdown: CancellationToken) {
    let mut connected = bus.connection();
    loop {
        let now = *connected.borrow_and_update();
        app.view_mut().set_connected(now);
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = connected.changed() => if changed.is_err() { return },
        }
    }
}

/// Asks how many messages are parked. Counting arrivals would not do: an operator takes messages out again.
pub(crate) async fn parked_count(app: Arc<App>, bus: Bus, shutdown: CancellationToken) {
    let mut counted = None;
    let mut ticks = tokio::time::interval(PARKED_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if !bus.is_connected() {
            continue;
        }
        let figures = match bus.stream_figures(subject::PARKED).await {
            Ok(figures) => figures,
            Err(error) => {
                tracing::debug!(%error, "count parked messages");
                continue;
            }
        };
        app.view_mut().set_parked_count(figures.messages);
        if counted.as_ref() == Some(&figures) || figures.messages > PARKED_COUNTED_MAX {
            continue;
        }
        match bus.subject_counts(subject::PARKED, subject::PARKED_ALL).await {
            Ok(counts) => {
                app.view_mut().bus.set_parked(&counts);
                counted = Some(figures);
            }
            Err(error) => tracing::debug!(%error, "count parked messages by process"),
        }
    }
}

/// Asks how full the streams are and how far their readers have come: a few requests each time, whatever the load.
pub(crate) async fn watch(app: Arc<App>, bus: Bus, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(WATCH_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if !bus.is_connected() {
            continue;
        }
        for stream in [subject::FEED, subject::LEDGER, subject::PARKED] {
            match tokio::join!(bus.stream_figures(stream), bus.consumers(stream)) {
                (Ok(figures), Ok(consumers)) => app.view_mut().bus.set(stream, figures, consumers),
                (Err(error), _) | (_, Err(error)) => tracing::debug!(%error, "look at a stream"),
            }
        }
    }
}

/// Publishes commands one after the other.
pub(crate) async fn commands(mut commands: mpsc::Receiver<Command>, bus: Bus, shutdown: CancellationToken) {
    loop {
        let Command { command, mut done } = tokio::select! {
            () = shutdown.cancelled() => return,
            command = commands.recv() => match command {
                Some(command) => command,
                None => return,
            },
        };
        let stored = tokio::select! {
            () = shutdown.cancelled() => return,
            // Nobody waits any more: a command that would arrive minutes later, after an outage, is not what was asked.
            () = done.closed() => continue,
            stored = command.publish(&bus) => stored,
        };
        let answer = stored.map_err(|error| {
            tracing::error!(subject = command.subject(), %error, "publish a command");
            error.to_string()
        });
        // The request may have ended in the meantime.
        let _ = done.send(answer);
    }
}
