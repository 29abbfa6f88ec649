//! Any quantile of the last N minutes in bounded memory.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;

use super::cells::{CELLS, VALUE_MAX, cell_of, middle_of};
use super::slice_index;

/// Slices a window is cut into. The window covers its length plus at most one slice (1/30 of it).
pub const SLICES: i64 = 30;

/// Counts of one slice of time, or of none yet.
struct Slice {
    index: i64,
    counts: Box<[u32]>,
    /// First and last cell that was touched; `first > last` when none was.
    first: usize,
    last: usize,
}

impl Slice {
    fn new(index: i64) -> Self {
        Self { index, counts: vec![0; CELLS].into_boxed_slice(), first: CELLS, last: 0 }
    }

    fn touched(&self) -> &[u32] {
        self.counts.get(self.first..=self.last).unwrap_or(&[])
    }

    fn empty_for(mut self, index: i64) -> Self {
        if self.first <= self.last {
            self.counts[self.first..=self.last].fill(0);
        }
        (self.index, self.first, self.last) = (index, CELLS, 0);
        self
    }
}

/// A sliding histogram: each sample is counted twice, in the slice of its time and in the running total; a slice that
/// expires is subtracted from the total. Memory is bounded: [`SLICES`] + 2 arrays of [`CELLS`] counters, however many
/// samples arrive. The answer is within 0.4 % of the exact quantile; samples outside `0..=VALUE_MAX` are clamped and counted.
pub struct QuantileWindow {
    slice_ns: i64,
    /// Slices with samples, oldest first. The last one takes what arrives.
    slices: VecDeque<Slice>,
    spare: Vec<Slice>,
    total: Box<[u64]>,
    samples: u64,
    newest: i64,
    clamped: u64,
    cached: Option<(u64, f64)>,
}

impl QuantileWindow {
    /// A window of this length.
    #[must_use]
    pub fn new(length: std::time::Duration) -> Self {
        Self {
            slice_ns: super::slice_ns(length, SLICES),
            slices: VecDeque::new(),
            spare: Vec::new(),
            total: vec![0; CELLS].into_boxed_slice(),
            samples: 0,
            newest: i64::MIN,
            clamped: 0,
            cached: None,
        }
    }

    /// Counts a sample at a moment. A moment before the newest one seen counts as the newest: time never goes back.
    pub fn record(&mut self, at: Timestamp, value: i64) {
        self.advance(at);
        let value = u64::try_from(value).unwrap_or_else(|_| {
            self.clamped += 1;
            0
        });
        if value > VALUE_MAX {
            self.clamped += 1;
        }
        let cell = cell_of(value);
        if self.slices.back().is_none_or(|slice| slice.index != self.newest) {
            let slice = self.spare.pop().map_or_else(|| Slice::new(self.newest), |spare| spare.empty_for(self.newest));
            self.slices.push_back(slice);
        }
        if let Some(slice) = self.slices.back_mut() {
            let count = &mut slice.counts[cell];
            // A full cell stops counting in both places, so that what is subtracted is what was added.
            if *count < u32::MAX {
                *count += 1;
                self.total[cell] += 1;
                self.samples += 1;
            }
            slice.first = slice.first.min(cell);
            slice.last = slice.last.max(cell);
        }
        self.cached = None;
    }

    /// Lets go of what lies before the window that ends at `at`.
    pub fn advance(&mut self, at: Timestamp) {
        let index = slice_index(at, self.slice_ns);
        if index <= self.newest {
            return;
        }
        self.newest = index;
        let oldest = index.saturating_sub(SLICES);
        while self.slices.front().is_some_and(|slice| slice.index < oldest) {
            let Some(expired) = self.slices.pop_front() else { break };
            for (offset, count) in expired.touched().iter().enumerate() {
                let total = &mut self.total[expired.first + offset];
                *total = total.saturating_sub(u64::from(*count));
                self.samples = self.samples.saturating_sub(u64::from(*count));
            }
            self.cached = None;
            if self.spare.is_empty() {
                self.spare.push(expired);
            }
        }
    }

    /// The value that a share `quantile` (0 to 1) of the samples does not exceed, by nearest rank; none without samples.
    pub fn quantile(&mut self, at: Timestamp, quantile: f64) -> Option<f64> {
        self.advance(at);
        if self.samples == 0 {
            return None;
        }
        if let Some((key, value)) = self.cached
            && key == quantile.to_bits()
        {
            return Some(value);
        }
        let value = middle_of(self.cell_at(rank(quantile, self.samples)));
        self.cached = Some((quantile.to_bits(), value));
        Some(value)
    }

    fn cell_at(&self, rank: u64) -> usize {
        const CHUNK: usize = 64;
        let mut passed = 0;
        for (number, chunk) in self.total.chunks(CHUNK).enumerate() {
            let in_chunk: u64 = chunk.iter().sum();
            if passed + in_chunk < rank {
                passed += in_chunk;
                continue;
            }
            for (offset, count) in chunk.iter().enumerate() {
                passed += count;
                if passed >= rank {
                    return number * CHUNK + offset;
                }
            }
        }
        CELLS - 1
    }

    /// Samples in the window.
    #[must_use]
    pub const fn samples(&self) -> u64 {
        self.samples
    }

    /// Samples since the beginning that lay outside `0..=VALUE_MAX`.
    #[must_use]
    pub const fn clamped(&self) -> u64 {
        self.clamped
    }

    /// What must survive a restart: only cells that are not zero.
    #[must_use]
    pub fn save(&self) -> Saved {
        let cells = |slice: &Slice| {
            let touched = slice.touched().iter().enumerate().filter(|(_, count)| **count > 0);
            touched.filter_map(|(offset, count)| Some((u16::try_from(slice.first + offset).ok()?, *count))).collect()
        };
        Saved {
            newest: self.newest,
            clamped: self.clamped,
            slices: self.slices.iter().map(|slice| (slice.index, cells(slice))).collect(),
        }
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// A sentence, when the state was not saved by a window of this shape.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), String> {
        *self = Self { slice_ns: self.slice_ns, ..Self::new(std::time::Duration::ZERO) };
        (self.newest, self.clamped) = (saved.newest, saved.clamped);
        for (index, cells) in &saved.slices {
            if *index > saved.newest || self.slices.back().is_some_and(|last| last.index >= *index) {
                return Err(format!("quantile window: slice {index} is out of order"));
            }
            let mut slice = Slice::new(*index);
            for (cell, count) in cells {
                let cell = usize::from(*cell);
                let place = slice.counts.get_mut(cell).ok_or_else(|| format!("quantile window: there is no cell {cell}"))?;
                *place = *count;
                self.total[cell] += u64::from(*count);
                self.samples += u64::from(*count);
                slice.first = slice.first.min(cell);
                slice.last = slice.last.max(cell);
            }
            self.slices.push_back(slice);
        }
        Ok(())
    }
}

/// Nearest rank, from 1.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "statistics; clamped")]
pub(super) fn rank(quantile: f64, samples: u64) -> u64 {
    ((quantile.clamp(0.0, 1.0) * samples as f64).ceil() as u64).clamp(1, samples)
}

/// The saved form of a [`QuantileWindow`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    newest: i64,
    clamped: u64,
    slices: Vec<(i64, Vec<(u16, u32)>)>,
}
