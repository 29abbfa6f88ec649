//! Where the reader of the LEDGER goes on after a restart: what the view was, up to which message, and who that message is.
//!
//! It is there to be quick and for nothing else. Whatever is wrong with it, the LEDGER is read from its beginning, and the
//! gateway shows the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use spark_bus_schema::subject::LEDGER;
use spark_nats::checkpoint::{Checkpoint, Saved as Row, Saver};
use spark_nats::resume::is_there;
use spark_nats::{Bus, Cursor, Delivery, Error, Start};

use crate::app::App;
use crate::view::saved::Saved;

/// The file in the gateway's folder.
const FILE: &str = "checkpoint.sqlite";
/// So many messages are worth a save,
const SAVE_MESSAGES: u64 = 10_000;
/// but none is begun sooner than this after the one before.
const SAVE_PAUSE: Duration = Duration::from_secs(5);
/// Fewer messages wait no longer than this.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// Keeps the file.
pub(crate) struct Keeper {
    /// None: the file cannot be used, which has been said.
    saver: Option<Saver>,
    /// Of the newest message that the view holds.
    cursor: Option<Cursor>,
    unreadable: BTreeMap<&'static str, u64>,
    /// Messages since the last save was begun.
    unsaved: u64,
    begun_at: Instant,
    /// Saves have failed since the last one that did not.
    fails: bool,
    /// The LEDGER has lost messages that the view holds: nothing is saved any more.
    astray: bool,
}

impl Keeper {
    /// Opens the file; what was saved in it, if the LEDGER still holds the message up to which it is true. Waits for the
    /// broker when there is something to ask.
    pub(crate) async fn open(folder: &Path, bus: &Bus) -> (Self, Option<(Saved, Cursor)>) {
        let path = folder.join(FILE);
        let (saver, saved) = tokio::task::spawn_blocking(move || load(&path)).await.unwrap_or_default();
        let mut keeper = Self {
            saver,
            cursor: None,
            unreadable: BTreeMap::new(),
            unsaved: 0,
            begun_at: Instant::now(),
            fails: false,
            astray: false,
        };
        let Some((saved, cursor)) = saved else { return (keeper, None) };
        if !is_there(bus, LEDGER, cursor).await {
            let sequence = cursor.sequence;
            tracing::warn!(sequence, "the LEDGER does not hold what the checkpoint follows from; reading it from its beginning");
            return (keeper, None);
        }
        keeper.cursor = Some(cursor);
        keeper.unreadable.clone_from(saved.unreadable());
        (keeper, Some((saved, cursor)))
    }

    /// Where the reader begins.
    pub(crate) fn start(&self) -> Start {
        self.cursor.map_or(Start::Beginning, Start::After)
    }

    /// A message of the LEDGER could not be read.
    pub(crate) fn count_unreadable(&mut self, reason: &'static str) {
        *self.unreadable.entry(reason).or_default() += 1;
    }

    /// The view holds this batch now.
    pub(crate) fn taken(&mut self, batch: &[Delivery]) {
        let Some((first, last)) = batch.first().zip(batch.last()) else { return };
        if self.cursor.is_some_and(|cursor| cursor.sequence >= first.sequence) && !self.astray {
            self.astray = true;
            tracing::error!(
                sequence = first.sequence,
                "the LEDGER has lost its end; what is shown may be too much until the gateway is restarted, and is not saved"
            );
        }
        self.cursor = Some(last.cursor());
        self.unsaved += batch.len() as u64;
    }

    /// Begins to save when it is time to. Called by the one who brings the view its messages: nobody else changes what is
    /// saved, and the cursor is that of the last message in it.
    pub(crate) fn save_when_due(&mut self, app: &App) {
        let waited = self.begun_at.elapsed();
        if waited >= SAVE_EVERY || waited >= SAVE_PAUSE && self.unsaved >= SAVE_MESSAGES {
            self.save(app);
        }
    }

    /// Begins to save, if there is something new and the one before is done.
    pub(crate) fn save(&mut self, app: &App) {
        let idle = self.saver.as_mut().map(Saver::is_idle);
        match idle {
            None | Some(Ok(false)) => return,
            Some(idle) => self.note(idle.map(|_| ())),
        }
        let Some(cursor) = self.wanted() else { return };
        let saved = app.view().to_save(self.unreadable.clone());
        (self.unsaved, self.begun_at) = (0, Instant::now());
        let begun = self.saver.as_mut().map_or(Ok(()), |saver| saver.begin_with(move || row(&saved, cursor)));
        if begun.is_err() {
            self.note(begun);
        }
    }

    /// Saves for the last time, and waits for it.
    pub(crate) async fn finish(mut self, app: &App) {
        let Some(mut saver) = self.saver.take() else { return };
        let idle = saver.is_idle();
        let busy = matches!(idle, Ok(false));
        self.note(idle.map(|_| ()));
        let Some(cursor) = self.cursor.filter(|_| !self.astray && (busy || self.is_unsaved())) else { return };
        let row = row(&app.view().to_save(self.unreadable.clone()), cursor);
        let saved = saver.finish(row).await;
        self.note(saved);
    }

    fn wanted(&self) -> Option<Cursor> {
        self.cursor.filter(|_| !self.astray && self.is_unsaved())
    }

    fn is_unsaved(&self) -> bool {
        self.unsaved > 0 || self.fails
    }

    /// Says it once when saves begin to fail; a gateway without a checkpoint is as good, and starts more slowly.
    fn note(&mut self, saved: Result<(), Error>) {
        if let Err(error) = &saved
            && !self.fails
        {
            tracing::error!(error = %chain(error), "no checkpoint can be written: a restart will read more of the LEDGER");
        }
        self.fails = saved.is_err();
    }
}

/// The file, and what is in it. A file that cannot be used is thrown away: everything in it is in the LEDGER.
fn load(path: &Path) -> (Option<Saver>, Option<(Saved, Cursor)>) {
    let (checkpoint, row) = match open(path) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the checkpoint cannot be read; reading the LEDGER from its beginning");
            return (again(path), None);
        }
    };
    let saver = Some(Saver::new(checkpoint));
    let Some(row) = row else { return (saver, None) };
    let Some(cursor) = row.cursors.get(LEDGER).copied() else { return (saver, None) };
    match Saved::decode(&row.state) {
        Ok(saved) => (saver, Some((saved, cursor))),
        Err(error) => {
            tracing::warn!(%error, "the checkpoint cannot be used; reading the LEDGER from its beginning");
            (saver, None)
        }
    }
}

fn open(path: &Path) -> Result<(Checkpoint, Option<Row>), Error> {
    let checkpoint = Checkpoint::open(path)?;
    let row = checkpoint.load()?;
    Ok((checkpoint, row))
}

/// A new file in the place of one that cannot be used.
fn again(path: &Path) -> Option<Saver> {
    for end in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(end);
        // What cannot be removed, or is not there, shows when the file is opened.
        let _ = std::fs::remove_file(file);
    }
    let opened = Checkpoint::open(path);
    if let Err(error) = &opened {
        tracing::error!(error = %chain(error), "the gateway runs without a checkpoint: every start reads the whole LEDGER");
    }
    opened.ok().map(Saver::new)
}

fn row(saved: &Saved, cursor: Cursor) -> Row {
    Row { state: saved.encode(), cursors: BTreeMap::from([(LEDGER.to_owned(), cursor)]), boundary_ns: 0 }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
