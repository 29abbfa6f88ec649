//! `{state, cursors}` as one value in SQLite: restart is load, and go on after the cursors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::task::{JoinError, JoinHandle};

use crate::delivery::Cursor;
use crate::error::Error;

/// Layout of the table; another number means another program's file.
const SCHEMA_VERSION: i64 = 1;

/// A machine's saved state with the place in each stream up to which it is true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The machine's own bytes.
    pub state: Vec<u8>,
    /// Last message taken in, by stream.
    pub cursors: BTreeMap<String, Cursor>,
    /// The last boundary that fired, ns.
    pub boundary_ns: i64,
}

/// The file of one process.
pub struct Checkpoint {
    path: PathBuf,
    database: Connection,
}

impl Checkpoint {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// It cannot be opened, or was written by another version.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let wrap = |source| Error::Checkpoint { path: path.to_owned(), source };
        let database = Connection::open(path).map_err(wrap)?;
        // WAL with synchronous=NORMAL survives kill -9; after a power failure the last checkpoints may be missing,
        // which only means that a little more of the stream is read again.
        database.pragma_update(None, "journal_mode", "WAL").map_err(wrap)?;
        database.pragma_update(None, "synchronous", "NORMAL").map_err(wrap)?;
        let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(wrap)?;
        if version != 0 && version != SCHEMA_VERSION {
            return Err(Error::State {
                process: "checkpoint".to_owned(),
                path: path.to_owned(),
                reason: format!("layout {version}, this build reads {SCHEMA_VERSION}"),
            });
        }
        database
            .execute_batch(
                "CREATE TABLE IF NOT EXISTS checkpoint (
                     id INTEGER PRIMARY KEY CHECK (id = 1), state BLOB NOT NULL, cursors TEXT NOT NULL, boundary_ns INTEGER NOT NULL
                 )",
            )
            .map_err(wrap)?;
        database.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(wrap)?;
        Ok(Self { path: path.to_owned(), database })
    }

    /// What was saved last, if anything.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(&self) -> Result<Option<Saved>, Error> {
        let row: Option<(Vec<u8>, String, i64)> = self
            .database
            .query_row("SELECT state, cursors, boundary_ns FROM checkpoint WHERE id = 1", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()
            .map_err(|source| self.wrap(source))?;
        let Some((state, cursors, boundary_ns)) = row else {
            return Ok(None);
        };
        let cursors = serde_json::from_str(&cursors).map_err(|error| Error::State {
            process: "checkpoint".to_owned(),
            path: self.path.clone(),
            reason: error.to_string(),
        })?;
        Ok(Some(Saved { state, cursors, boundary_ns }))
    }

    /// Replaces what was saved, in one transaction.
    ///
    /// # Errors
    /// The disk is full or the file is gone.
    pub fn save(&self, saved: &Saved) -> Result<(), Error> {
        let cursors = serde_json::to_string(&saved.cursors).expect("stream names and two integers always serialise");
        self.database
            .prepare_cached("INSERT OR REPLACE INTO checkpoint (id, state, cursors, boundary_ns) VALUES (1, ?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![saved.state, cursors, saved.boundary_ns]))
            .map(|_| ())
            .map_err(|source| self.wrap(source))
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn wrap(&self, source: rusqlite::Error) -> Error {
        Error::Checkpoint { path: self.path.clone(), source }
    }
}

/// Writes a checkpoint on a thread for blocking work, one at a time: whoever decides about orders does not wait for the
/// disk. What is written is older than what is decided by then; that is all a crash can meet, and it is what a checkpoint is.
pub struct Saver {
    checkpoint: Arc<Mutex<Checkpoint>>,
    running: Option<JoinHandle<Result<(), Error>>>,
}

impl Saver {
    /// Takes over the file.
    #[must_use]
    pub fn new(checkpoint: Checkpoint) -> Self {
        Self { checkpoint: Arc::new(Mutex::new(checkpoint)), running: None }
    }

    /// Whether another one can be begun.
    ///
    /// # Errors
    /// The last one could not be written.
    pub fn is_idle(&mut self) -> Result<bool, Error> {
        let Some(running) = &mut self.running else {
            return Ok(true);
        };
        let Some(ended) = running.now_or_never() else {
            return Ok(false);
        };
        self.running = None;
        told(ended).map(|()| true)
    }

    /// Begins to write, after the one before.
    ///
    /// # Errors
    /// The one before could not be written.
    pub fn begin(&mut self, saved: Saved) -> Result<(), Error> {
        self.is_idle()?;
        let checkpoint = Arc::clone(&self.checkpoint);
        self.running = Some(tokio::task::spawn_blocking(move || write(&checkpoint, &saved)));
        Ok(())
    }

    /// As [`Saver::begin`]; what is written is made on the other thread as well.
    ///
    /// # Errors
    /// As [`Saver::begin`].
    pub fn begin_with(&mut self, make: impl FnOnce() -> Saved + Send + 'static) -> Result<(), Error> {
        self.is_idle()?;
        let checkpoint = Arc::clone(&self.checkpoint);
        self.running = Some(tokio::task::spawn_blocking(move || {
            let saved = make();
            write(&checkpoint, &saved)
        }));
        Ok(())
    }

    /// Writes and waits for it: the last one.
    ///
    /// # Errors
    /// This one or the one before could not be written.
    pub fn finish(mut self, saved: Saved) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            if let Some(running) = self.running.take() {
                told(running.await)?;
            }
            write(&self.checkpoint, &saved)
        })
    }
}

fn write(checkpoint: &Mutex<Checkpoint>, saved: &Saved) -> Result<(), Error> {
    checkpoint.lock().unwrap_or_else(PoisonError::into_inner).save(saved)
}

/// A write that was cut off by the end of the runtime is no trouble: the file holds the one before.
fn told(ended: Result<Result<(), Error>, JoinError>) -> Result<(), Error> {
    ended.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use spark_bus_schema::Timestamp;

    use super::*;

    #[test]
    fn what_was_saved_last_is_what_a_restart_finds() {
        let directory = std::env::temp_dir().join(format!("spark-checkpoint-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("state.sqlite");
        let saved = |byte: u8| Saved {
            state: vec![byte; 100_000],
            cursors: BTreeMap::from([(
                "FEED".to_owned(),
                Cursor { sequence: u64::from(byte), stored_at: Timestamp::from_nanos(7) },
            )]),
            boundary_ns: 42,
        };
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.load().unwrap(), None);
        checkpoint.save(&saved(1)).unwrap();
        checkpoint.save(&saved(2)).unwrap();
        drop(checkpoint);
        assert_eq!(Checkpoint::open(&path).unwrap().load().unwrap(), Some(saved(2)));
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[tokio::test]
    async fn what_is_written_beside_is_what_a_restart_finds_and_the_last_word_wins() {
        let directory = std::env::temp_dir().join(format!("spark-checkpoint-saver-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("state.sqlite");
        let saved = |byte: u8| Saved { state: vec![byte; 1_000_000], ..Saved::default() };
        let mut saver = Saver::new(Checkpoint::open(&path).unwrap());
        saver.begin(saved(1)).unwrap();
        saver.finish(saved(2)).await.unwrap();
        assert_eq!(Checkpoint::open(&path).unwrap().load().unwrap(), Some(saved(2)));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
