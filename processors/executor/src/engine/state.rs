//! What a restart begins with: the state that follows from the LEDGER, and the place in it up to which it is true.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Venue;
use spark_bus_schema::orders::Filters;
use spark_bus_schema::subject::LEDGER;
use spark_nats::checkpoint::{Checkpoint, Saved as Row, Saver};
use spark_nats::{Cursor, Service};

use crate::Error;
use crate::machine::ledger::Ledger;
use crate::reconcile::Tape;

/// Layout of the state; another number is another program's, and the LEDGER is read from its beginning.
const LAYOUT: u32 = 2;

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Saved {
    layout: u32,
    pub ledger: Ledger,
    /// The exchanges' own lists of trades.
    pub tapes: BTreeMap<Venue, Tape>,
    /// The filters published last.
    pub filters: BTreeMap<Venue, BTreeMap<String, Filters>>,
}

/// As [`Saved`], without a copy of it: there may be a million finished orders in it.
#[derive(Serialize)]
struct Shown<'a> {
    layout: u32,
    ledger: &'a Ledger,
    tapes: &'a BTreeMap<Venue, Tape>,
    filters: &'a BTreeMap<Venue, BTreeMap<String, Filters>>,
}

impl Default for Saved {
    fn default() -> Self {
        Self { layout: LAYOUT, ledger: Ledger::default(), tapes: BTreeMap::new(), filters: BTreeMap::new() }
    }
}

pub(super) struct Store {
    saver: Saver,
}

impl Store {
    /// Opens the file and reads what was saved, unless the LEDGER no longer holds what it follows from.
    pub async fn open(service: &Service) -> Result<(Self, Saved, Option<Cursor>), Error> {
        let checkpoint = Checkpoint::open(&service.data_dir.join("checkpoint.sqlite"))?;
        let row = checkpoint.load()?.unwrap_or_default();
        let store = Self { saver: Saver::new(checkpoint) };
        let Some(cursor) = row.cursors.get(LEDGER).copied() else { return Ok((store, Saved::default(), None)) };
        let saved: Saved = match spark_bus_schema::codec::from_saved(&row.state) {
            Ok(saved) => saved,
            Err(error) => {
                tracing::warn!(%error, "the saved state is of another layout; reading the LEDGER from its beginning");
                return Ok((store, Saved::default(), None));
            }
        };
        service.bus.wait_connected().await;
        let found = service.bus.get(LEDGER, cursor.sequence).await?;
        if saved.layout != LAYOUT || found.is_none_or(|found| found.stored_at != cursor.stored_at) {
            tracing::error!(
                sequence = cursor.sequence,
                "the LEDGER no longer holds what the saved state follows from; reading it anew"
            );
            return Ok((store, Saved::default(), None));
        }
        Ok((store, saved, Some(cursor)))
    }

    /// Whether another save can be begun.
    pub fn is_idle(&mut self) -> Result<bool, Error> {
        Ok(self.saver.is_idle()?)
    }

    /// Begins to replace what was saved; `ledger` is the present one.
    pub fn begin(&mut self, ledger: &Ledger, saved: &Saved, cursor: Cursor) -> Result<(), Error> {
        Ok(self.saver.begin(row(ledger, saved, cursor)?)?)
    }

    /// Replaces what was saved, for the last time.
    pub async fn finish(self, ledger: &Ledger, saved: &Saved, cursor: Cursor) -> Result<(), Error> {
        Ok(self.saver.finish(row(ledger, saved, cursor)?).await?)
    }
}

fn row(ledger: &Ledger, saved: &Saved, cursor: Cursor) -> Result<Row, Error> {
    let shown = Shown { layout: LAYOUT, ledger, tapes: &saved.tapes, filters: &saved.filters };
    let state = rmp_serde::to_vec_named(&shown).map_err(|error| Error::State(error.to_string()))?;
    Ok(Row { state, cursors: BTreeMap::from([(LEDGER.to_owned(), cursor)]), boundary_ns: 0 })
}
