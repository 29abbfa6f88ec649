//! State that follows from one stream, kept across restarts: for processes whose output is not a decision of a `Machine`
//! but which must know the whole story (positions, open orders) without reading it all at every start.

use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::bus::Bus;
use crate::checkpoint::{Checkpoint, Saved};
use crate::delivery::{Cursor, Delivery};
use crate::error::Error;
use crate::follower::Start;
use crate::service::Service;

/// The state is saved at most this often, and when the process stops.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// Pause before the stream is looked at again while the broker is away.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Where to go on, and the saved state, if there is one.
type Opened = (Resume, Option<Vec<u8>>);

/// Where a process goes on in its stream, and the file that remembers it.
pub struct Resume {
    checkpoint: Checkpoint,
    stream: &'static str,
    cursor: Option<Cursor>,
    changed: bool,
    saved_at: Instant,
}

impl Resume {
    /// Opens the file and returns the state saved in it; none at the first start, and when the stream no longer holds the
    /// message up to which the state is true (the stream was wiped or rolled back: it is read from its beginning again).
    /// Waits while the broker is away; none as a whole when told to stop meanwhile.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn open<'a>(service: &'a Service, stream: &'static str) -> BoxFuture<'a, Result<Option<Opened>, Error>> {
        Box::pin(async move {
            let checkpoint = Checkpoint::open(&service.data_dir.join("checkpoint.sqlite"))?;
            let saved = checkpoint.load()?.unwrap_or_default();
            let cursor = saved.cursors.get(stream).copied();
            let is_there = match cursor {
                None => false,
                Some(cursor) => tokio::select! {
                    is_there = is_there(&service.bus, stream, cursor) => is_there,
                    () = service.shutdown.cancelled() => return Ok(None),
                },
            };
            if cursor.is_some() && !is_there {
                tracing::error!(stream, "no longer holds what the saved state follows from; reading it from its beginning");
            }
            let state = is_there.then_some(saved.state);
            let cursor = cursor.filter(|_| is_there);
            Ok(Some((Self { checkpoint, stream, cursor, changed: false, saved_at: Instant::now() }, state)))
        })
    }

    /// Where a follower begins.
    #[must_use]
    pub fn start(&self) -> Start {
        self.cursor.map_or(Start::Beginning, Start::After)
    }

    /// The saved state is of no use: the stream is read from its beginning.
    pub fn forget(&mut self) {
        self.cursor = None;
    }

    /// The state holds this message now.
    pub fn taken(&mut self, delivery: &Delivery) {
        self.cursor = Some(delivery.cursor());
        self.changed = true;
    }

    /// Saves when it is time to.
    ///
    /// # Errors
    /// The disk is full or the file is gone.
    pub fn save_when_due(&mut self, state: impl FnOnce() -> Vec<u8>) -> Result<(), Error> {
        if self.saved_at.elapsed() >= SAVE_EVERY { self.save(state) } else { Ok(()) }
    }

    /// Saves, if anything has changed.
    ///
    /// # Errors
    /// As [`Resume::save_when_due`].
    pub fn save(&mut self, state: impl FnOnce() -> Vec<u8>) -> Result<(), Error> {
        let Some(cursor) = self.cursor.filter(|_| self.changed) else {
            return Ok(());
        };
        let cursors = BTreeMap::from([(self.stream.to_owned(), cursor)]);
        self.checkpoint.save(&Saved { state: state(), cursors, boundary_ns: 0 })?;
        self.changed = false;
        self.saved_at = Instant::now();
        Ok(())
    }
}

/// Whether the message at the cursor is still the one it was. Waits while the broker is away.
pub fn is_there<'a>(bus: &'a Bus, stream: &'static str, cursor: Cursor) -> BoxFuture<'a, bool> {
    Box::pin(async move {
        loop {
            bus.wait_connected().await;
            match bus.get(stream, cursor.sequence).await {
                Ok(found) => return found.is_some_and(|found| found.stored_at == cursor.stored_at),
                Err(error) => {
                    tracing::debug!(%error, "look for the saved place again");
                    tokio::time::sleep(LOOK_PAUSE).await;
                }
            }
        }
    })
}
