//! Counting cells with the layout of `HdrHistogram`: exact below 256, then 128 cells per doubling.
//!
//! Written here and not taken from the `hdrhistogram` crate (which the tests use as reference) because a sliding window
//! subtracts an expiring slice from its total: the crate wants equal counter widths for that and walks every cell, while
//! a slice here knows the range it touched, and a cell is two bytes of index in the saved state.

/// Values above this are clamped to it. In microseconds almost 18 minutes.
pub const VALUE_MAX: u64 = (1 << 30) - 1;
/// Cells needed for `0..=VALUE_MAX`.
pub const CELLS: usize = cell_of(VALUE_MAX) + 1;

/// log2 of the cells per doubling. A cell is at most 1/128 of its value wide and answers with its middle: error ≤ 0.4 %.
const PRECISION_BITS: u32 = 7;

/// The cell that counts `value`.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "bounded by CELLS for every value up to VALUE_MAX")]
pub const fn cell_of(value: u64) -> usize {
    let value = if value > VALUE_MAX { VALUE_MAX } else { value };
    let magnitude = 64 - (value | 1).leading_zeros();
    let shift = magnitude.saturating_sub(PRECISION_BITS + 1);
    ((shift as usize) << PRECISION_BITS) + (value >> shift) as usize
}

/// The middle of a cell, as a value.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "VALUE_MAX is far below 2^53")]
pub fn middle_of(cell: usize) -> f64 {
    let shift = (cell >> PRECISION_BITS).saturating_sub(1);
    let low = ((cell - (shift << PRECISION_BITS)) as u64) << shift;
    // A cell of width 1 holds one integer; a wider one holds `low ..= low + width - 1`.
    low as f64 + ((1_u64 << shift) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;

    use super::*;

    #[test]
    fn cells_follow_each_other_without_gap_and_their_middle_falls_back_into_them() {
        assert_eq!(cell_of(0), 0);
        for cell in 1..CELLS {
            #[expect(clippy::cast_sign_loss, reason = "middles are positive")]
            let middle = middle_of(cell) as u64;
            assert_eq!(cell_of(middle), cell, "middle {middle}");
            assert!(middle_of(cell) > middle_of(cell - 1));
        }
        assert_eq!(cell_of(u64::MAX), CELLS - 1);
    }

    #[test]
    fn cells_are_those_of_the_hdrhistogram_crate_at_two_digits() {
        let reference = Histogram::<u64>::new_with_bounds(1, VALUE_MAX, 2).unwrap();
        for value in (0..31).flat_map(|bit| [1_u64 << bit, (1 << bit) + (1 << bit) / 3, (1 << bit) - 1]) {
            let value = value.min(VALUE_MAX);
            let same = |other: u64| cell_of(other.min(VALUE_MAX)) == cell_of(value);
            assert!(same(reference.lowest_equivalent(value)) && same(reference.highest_equivalent(value)), "{value}");
            assert!(
                !same(reference.next_non_equivalent(value))
                    || value == VALUE_MAX
                    || reference.next_non_equivalent(value) > VALUE_MAX,
                "{value}"
            );
        }
    }
}
