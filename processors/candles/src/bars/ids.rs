//! Which trade ids were seen: each trade counts once, and what is missing is known.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use spark_bus_schema::{Timestamp, Venue};

/// Ranges of unseen ids that are remembered; an id in an older range counts as seen, and what the range hid stays missing.
pub(super) const RANGES_MAX: usize = 256;

/// How a venue numbers its trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Numbering {
    /// By one: a jump is a hole.
    Contiguous,
    /// Rising, with jumps that mean nothing.
    Rising,
}

impl Numbering {
    pub const fn of(venue: Venue) -> Self {
        match venue {
            Venue::Binance => Self::Contiguous,
            Venue::Btcturk | Venue::Bist => Self::Rising,
        }
    }
}

/// Ids `low..=high` between two trades that were seen, and when those happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Range {
    low: u64,
    high: u64,
    /// None before the first trade: what was before Spark listened is not missing.
    between: Option<(Timestamp, Timestamp)>,
}

/// What an id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// New, in order.
    New,
    /// New; ids before it are missing, between these times.
    Jump(Timestamp, Timestamp),
    /// New, and lower than one that was seen.
    Late,
    /// Was there before, or too long ago to know.
    Before,
    /// A lower id with a later time: the venue began to count anew.
    Anew,
}

/// The ids of one symbol. Bounded by [`RANGES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ids {
    numbering: Numbering,
    last: Option<u64>,
    unseen: VecDeque<Range>,
    /// A range was forgotten while it mattered: between these times trades are missing for good.
    forgotten: Option<(Timestamp, Timestamp)>,
}

impl Ids {
    pub fn new(numbering: Numbering) -> Self {
        Self { numbering, last: None, unseen: VecDeque::with_capacity(RANGES_MAX), forgotten: None }
    }

    pub fn numbering(&self) -> Numbering {
        self.numbering
    }

    /// The common case, without a jump that matters.
    #[inline]
    pub fn follows(&mut self, id: u64) -> bool {
        let Some(last) = self.last else { return false };
        let is_next = last.checked_add(1) == Some(id);
        if is_next {
            self.last = Some(id);
        } else if self.numbering == Numbering::Rising && id > last {
            self.remember(Range { low: last + 1, high: id - 1, between: None });
            self.last = Some(id);
        } else {
            return false;
        }
        true
    }

    /// Takes note of an id. `newest` is the time of the newest trade so far.
    pub fn see(&mut self, id: u64, at: Timestamp, newest: Timestamp) -> Seen {
        let Some(last) = self.last else {
            self.begin(id);
            return Seen::New;
        };
        if self.follows(id) {
            return Seen::New;
        }
        if id > last {
            self.remember(Range { low: last + 1, high: id - 1, between: Some((newest, at)) });
            self.last = Some(id);
            return Seen::Jump(newest, at);
        }
        if at > newest {
            self.unseen.clear();
            self.begin(id);
            return Seen::Anew;
        }
        let Some(index) = self.unseen.iter().rposition(|range| (range.low..=range.high).contains(&id)) else {
            return Seen::Before;
        };
        self.split(index, id);
        Seen::Late
    }

    fn begin(&mut self, id: u64) {
        self.last = Some(id);
        if id > 0 {
            self.remember(Range { low: 0, high: id - 1, between: None });
        }
    }

    fn split(&mut self, index: usize, id: u64) {
        let Some(range) = self.unseen.get(index).copied() else { return };
        let below = (range.low < id).then(|| Range { high: id - 1, ..range });
        let above = (id < range.high).then(|| Range { low: id + 1, ..range });
        match (below, above) {
            (None, None) => {
                self.unseen.remove(index);
            }
            (Some(one), None) | (None, Some(one)) => self.unseen[index] = one,
            (Some(below), Some(above)) => {
                if self.unseen.len() >= RANGES_MAX {
                    // The lower part counts as seen: rather a trade too few than one twice.
                    self.forgotten = self.forgotten.or(below.between);
                    self.unseen[index] = above;
                } else {
                    self.unseen[index] = below;
                    self.unseen.insert(index + 1, above);
                }
            }
        }
    }

    fn remember(&mut self, range: Range) {
        if self.unseen.len() >= RANGES_MAX
            && let Some(oldest) = self.unseen.pop_front()
        {
            self.forgotten = self.forgotten.or(oldest.between);
        }
        self.unseen.push_back(range);
    }

    /// Missing trades that will not be known any more, told once.
    pub fn forgotten(&mut self) -> Option<(Timestamp, Timestamp)> {
        self.forgotten.take()
    }

    /// Whether a trade is missing that may belong to the interval.
    pub fn misses(&self, open: Timestamp, close: Timestamp) -> bool {
        self.unseen.iter().filter_map(|range| range.between).any(|(from, to)| from < close && open <= to)
    }
}
