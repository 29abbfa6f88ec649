//! Values and times to places, and where the axes get their marks.

use spark_bus_schema::Timestamp;

use super::{BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH};

/// Marks of an axis, about.
const TICKS: f64 = 5.0;
/// Distances between marks of time, s.
const TIME_STEPS: [i64; 9] = [60, 300, 900, 3_600, 3 * 3_600, 6 * 3_600, 86_400, 2 * 86_400, 7 * 86_400];

pub(super) struct Scale {
    pub low: f64,
    pub high: f64,
    from_ms: i64,
    to_ms: i64,
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of years fit into 53 bits")]
impl Scale {
    pub fn new(low: f64, high: f64, (from_ms, to_ms): (i64, i64)) -> Self {
        let is_flat_zero = low == 0.0 && high == 0.0;
        let (low, high) = if low.is_finite() && high.is_finite() && !is_flat_zero { (low, high) } else { (0.0, 1.0) };
        // Room above, and a height even when all values are the same.
        let height = (high - low).max(high.abs() * 0.01).max(1e-9);
        let below = if low == 0.0 { 0.0 } else { height * 0.06 };
        Self { low: low - below, high: low + height * 1.08, from_ms, to_ms: to_ms.max(from_ms + 1) }
    }

    pub fn x(&self, at_ms: i64) -> f64 {
        LEFT + (at_ms - self.from_ms) as f64 / (self.to_ms - self.from_ms) as f64 * (WIDTH - LEFT - RIGHT)
    }

    pub fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)
    }

    pub fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// Round values across the axis: 1, 2 or 5 times a power of ten apart.
pub(super) fn value_ticks(scale: &Scale) -> Vec<f64> {
    let raw = (scale.high - scale.low) / TICKS;
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|step| *step >= raw).unwrap_or(10.0 * power);
    let first = (scale.low / step).ceil();
    let ticks = std::iter::successors(Some(first), |count| Some(count + 1.0)).map(|count| count * step);
    // Steps are at least a fifth of the height: the bound is only for heights that floats cannot divide.
    ticks.take_while(|value| *value <= scale.high).take(16).collect()
}

/// Round times across the axis, with their text.
pub(super) fn time_ticks(from_ms: i64, to_ms: i64) -> Vec<(i64, String)> {
    let length_s = (to_ms - from_ms) / 1_000;
    let step = TIME_STEPS.into_iter().find(|step| length_s / step <= 9).unwrap_or(30 * 86_400) * 1_000;
    let first = from_ms.div_euclid(step) * step + if from_ms.rem_euclid(step) == 0 { 0 } else { step };
    let text = |at: i64| {
        let iso = Timestamp::from_millis(at).to_string();
        let part = if step >= 86_400_000 { iso.get(5..10) } else { iso.get(11..16) };
        part.unwrap_or_default().to_owned()
    };
    let times = std::iter::successors(Some(first), |at| Some(at + step));
    times.take_while(|at| *at <= to_ms).take(16).map(|at| (at, text(at))).collect()
}

/// A value for an axis: at most four digits that matter.
pub(super) fn label(value: f64) -> String {
    let size = value.abs();
    let text = if size >= 1_000_000.0 {
        return format!("{:.2}M", value / 1_000_000.0);
    } else if size >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_inside() {
        let scale = Scale::new(0.0, 3_140.0, (0, 86_400_000));
        assert_eq!(value_ticks(&scale), [0.0, 1_000.0, 2_000.0, 3_000.0]);
        let times: Vec<String> = time_ticks(0, 86_400_000).into_iter().map(|(_, text)| text).collect();
        assert_eq!(times, ["00:00", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "00:00"]);
    }

    #[test]
    fn one_value_again_and_again_has_a_height() {
        let scale = Scale::new(5.0, 5.0, (0, 1));
        assert!(scale.y(5.0).is_finite() && scale.high > scale.low);
        assert!(value_ticks(&Scale::new(f64::INFINITY, f64::NEG_INFINITY, (0, 0))).len() < 17);
    }
}
