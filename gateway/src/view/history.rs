//! Two rings of fixed slots for one series: an hour by the second and a day by ten seconds.

/// Slots of the fine ring: one hour of seconds.
pub const FINE_SLOTS: usize = 3_600;
/// Length of a fine slot, s.
pub const FINE_STEP_S: i64 = 1;
/// Slots of the coarse ring: 24 hours.
pub const COARSE_SLOTS: usize = 8_640;
/// Length of a coarse slot, s.
pub const COARSE_STEP_S: i64 = 10;
/// Points that one query returns at most.
pub const POINTS_MAX: i64 = 600;

/// Values of one series over time. Where several values fall into one slot or point, the largest is kept: a chart that
/// averages a peak away is of no use to the person who looks for it.
pub struct History {
    fine: Ring,
    coarse: Ring,
}

impl Default for History {
    fn default() -> Self {
        Self { fine: Ring::new(FINE_SLOTS, FINE_STEP_S), coarse: Ring::new(COARSE_SLOTS, COARSE_STEP_S) }
    }
}

/// How a window is cut into points: the length of a point and the first one's start, s since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Length of a point, s.
    pub step_s: i64,
    /// Start of the first point.
    pub first_s: i64,
    /// Number of points.
    pub points: i64,
}

impl Grid {
    /// The grid for the `window_s` before `now_s`, at most [`POINTS_MAX`] points; its boundaries do not move with `now_s`.
    #[must_use]
    pub fn new(now_s: i64, window_s: i64) -> Self {
        let base = if window_s <= FINE_SLOTS as i64 * FINE_STEP_S { FINE_STEP_S } else { COARSE_STEP_S };
        let step_s = (window_s.div_euclid(POINTS_MAX) + i64::from(window_s.rem_euclid(POINTS_MAX) != 0)).max(1);
        let step_s = (step_s + base - 1) / base * base;
        let last_s = now_s.div_euclid(step_s) * step_s;
        let points = (window_s / step_s).clamp(1, POINTS_MAX);
        Self { step_s, first_s: last_s - (points - 1) * step_s, points }
    }
}

impl History {
    /// Notes the value at a time, s since the epoch.
    pub fn record(&mut self, at_s: i64, value: f64) {
        self.fine.record(at_s, value);
        self.coarse.record(at_s, value);
    }

    /// The points of the grid, NaN where there is no value.
    #[must_use]
    pub fn query(&self, grid: Grid) -> Vec<f64> {
        let ring = if grid.step_s % COARSE_STEP_S == 0 && grid.step_s * grid.points > FINE_SLOTS as i64 {
            &self.coarse
        } else {
            &self.fine
        };
        (0..grid.points).map(|point| ring.max_between(grid.first_s + point * grid.step_s, grid.step_s)).collect()
    }
}

struct Ring {
    step_s: i64,
    slots: Box<[f64]>,
    /// Number of the newest slot; below 0 before the first value.
    newest: i64,
}

impl Ring {
    fn new(slots: usize, step_s: i64) -> Self {
        Self { step_s, slots: vec![f64::NAN; slots].into_boxed_slice(), newest: -1 }
    }

    fn index(&self, slot: i64) -> usize {
        usize::try_from(slot.rem_euclid(self.len())).unwrap_or(0)
    }

    fn len(&self) -> i64 {
        i64::try_from(self.slots.len()).unwrap_or(i64::MAX)
    }

    fn record(&mut self, at_s: i64, value: f64) {
        let slot = at_s.div_euclid(self.step_s);
        if slot < 0 || slot <= self.newest - self.len() {
            return;
        }
        if slot > self.newest {
            // What lies between has no value any more, or not yet.
            for empty in (self.newest + 1).max(slot - self.len() + 1)..=slot {
                let index = self.index(empty);
                self.slots[index] = f64::NAN;
            }
            self.newest = slot;
        }
        let index = self.index(slot);
        self.slots[index] = self.slots[index].max(value);
    }

    fn max_between(&self, from_s: i64, length_s: i64) -> f64 {
        let first = from_s.div_euclid(self.step_s).max(self.newest - self.len() + 1).max(0);
        let last = (from_s + length_s - 1).div_euclid(self.step_s).min(self.newest);
        (first..=last).map(|slot| self.slots[self.index(slot)]).fold(f64::NAN, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_cut_into_a_bounded_number_of_points_on_fixed_boundaries() {
        let check = |now_s: i64, window_s: i64, step_s: i64, points: i64| {
            let grid = Grid::new(now_s, window_s);
            assert_eq!((grid.step_s, grid.points), (step_s, points), "{window_s}");
            assert_eq!(grid.first_s % step_s, 0, "{window_s}");
            assert!(grid.first_s + points * step_s > now_s, "the newest point holds now");
        };
        check(1_000_003, 60, 1, 60);
        check(1_000_003, 900, 2, 450);
        check(1_000_003, 3_600, 6, 600);
        check(1_000_003, 7_200, 20, 360);
        check(1_000_003, 86_400, 150, 576);
    }

    #[test]
    fn the_largest_value_of_a_point_is_kept_and_gaps_stay_gaps() {
        let mut history = History::default();
        for (at, value) in [(100, 1.0), (101, 9.0), (102, 2.0), (103, 3.0), (108, 4.0)] {
            history.record(at, value);
        }
        let got = history.query(Grid { step_s: 2, first_s: 98, points: 6 });
        let show = |values: &[f64]| values.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(show(&got), "NaN 9 3 NaN NaN 4");
    }

    #[test]
    fn old_values_fall_out_of_the_hour_but_stay_in_the_day() {
        let mut history = History::default();
        history.record(10, 7.0);
        history.record(10 + 4_000, 1.0);
        assert!(history.query(Grid { step_s: 1, first_s: 10, points: 1 })[0].is_nan());
        let day = history.query(Grid { step_s: 10, first_s: 10, points: 401 });
        assert_eq!((day[0], day[400]), (7.0, 1.0));
        history.record(10 + 86_400 + 4_000, 1.0);
        history.record(10, 99.0);
        let now = history.query(Grid::new(10 + 86_400 + 4_000, 86_400));
        assert!(now.iter().all(|value| value.is_nan() || *value == 1.0), "nothing of yesterday is left");
    }
}
