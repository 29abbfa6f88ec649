//! How far the exchange's clock is from ours.

use std::collections::VecDeque;

/// Samples kept; the median of an odd count is one of them.
const SAMPLES_MAX: usize = 7;

/// A sample whose round trip took longer says too little: its error is up to half of it.
const ROUND_TRIP_MS_MAX: i64 = 2_000;

/// An estimate of `exchange clock − our clock`: the median over the last samples. Pure; times are passed in, in ms.
#[derive(Clone, Debug, Default)]
pub struct Skew {
    offsets: VecDeque<i64>,
    rough: Option<i64>,
}

impl Skew {
    /// Nothing known: offset 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One reading: we asked at `sent_ms`, the answer `server_ms` came at `received_ms`, both by our clock. The server is
    /// taken to have read its clock half way. A slow reading is used only while there is no better one.
    pub fn observe(&mut self, sent_ms: i64, received_ms: i64, server_ms: i64) {
        let round_trip = received_ms.saturating_sub(sent_ms);
        let offset = server_ms.saturating_sub(sent_ms).saturating_sub(round_trip / 2);
        if !(0..=ROUND_TRIP_MS_MAX).contains(&round_trip) {
            self.rough = Some(offset);
            return;
        }
        if self.offsets.len() == SAMPLES_MAX {
            self.offsets.pop_front();
        }
        self.offsets.push_back(offset);
    }

    /// Forgets all samples: a refused timestamp shows that one of the clocks jumped.
    pub fn forget(&mut self) {
        self.offsets.clear();
        self.rough = None;
    }

    /// Whether there is a sample.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.offsets.is_empty() || self.rough.is_some()
    }

    /// Milliseconds to add to our clock; positive when the exchange is ahead. 0 while nothing is known.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        let mut sorted: Vec<i64> = self.offsets.iter().copied().collect();
        sorted.sort_unstable();
        match sorted.len() {
            0 => self.rough.unwrap_or(0),
            // Of an even count the lower middle one: a timestamp in the past is tolerated longer than one in the future.
            count => sorted[(count - 1) / 2],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_median_survives_outliers_and_the_half_round_trip_is_taken_off() {
        let mut skew = Skew::new();
        assert_eq!((skew.offset_ms(), skew.is_known()), (0, false));
        skew.observe(1_000, 1_100, 6_050);
        assert_eq!(skew.offset_ms(), 5_000);
        for (sent, received, server) in [(2_000, 2_020, 7_012), (3_000, 3_020, 99_999), (4_000, 4_010, 9_005)] {
            skew.observe(sent, received, server);
        }
        assert_eq!(skew.offset_ms(), 5_000, "of 5000, 5002, 96989, 5000");
    }

    #[test]
    fn a_slow_reading_counts_only_while_there_is_no_better_one() {
        let mut skew = Skew::new();
        skew.observe(0, 10_000, 12_000);
        assert_eq!((skew.offset_ms(), skew.is_known()), (7_000, true));
        skew.observe(20_000, 20_100, 25_050);
        skew.observe(30_000, 45_000, 60_000);
        assert_eq!(skew.offset_ms(), 5_000);
    }

    #[test]
    fn after_a_jump_the_old_samples_do_not_linger() {
        let mut skew = Skew::new();
        (0..7).for_each(|index| skew.observe(index, index, index + 10));
        skew.forget();
        skew.observe(0, 0, -60_000);
        assert_eq!(skew.offset_ms(), -60_000);
    }

    #[test]
    fn our_own_clock_stepping_back_during_a_reading_does_not_poison_it() {
        let mut skew = Skew::new();
        skew.observe(1_000, 1_010, 1_105);
        skew.observe(10_000, 5_000, 10_100);
        assert_eq!(skew.offset_ms(), 100);
    }

    proptest! {
        #[test]
        fn the_error_is_at_most_half_the_round_trip(true_offset in -100_000_i64..100_000, there in 0_i64..900, back in 0_i64..900) {
            let mut skew = Skew::new();
            let sent = 1_700_000_000_000;
            skew.observe(sent, sent + there + back, sent + there + true_offset);
            prop_assert!((skew.offset_ms() - true_offset).abs() <= (there + back) / 2 + 1);
        }
    }
}
