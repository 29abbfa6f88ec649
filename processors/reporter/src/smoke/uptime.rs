//! The share of time in which every process was heard of.

use std::collections::BTreeMap;

use crate::history::{Presence, Window};

/// A process that was heard of this many seconds ago, at most, is there: the guardrail's own warning threshold.
pub const HEARD_SECONDS: i64 = 5;

/// The share of the window's seconds, 0 to 1, in which every process that was heard of at all within it was heard of within
/// the last [`HEARD_SECONDS`]. Time before the first sign of life of all is not counted: nothing was installed then, or the
/// history does not reach that far. None when nothing was ever heard.
#[must_use]
pub fn uptime(presence: &[Presence], window: Window) -> Option<f64> {
    let mut services: BTreeMap<&str, Vec<(i64, u64)>> = BTreeMap::new();
    for row in presence.iter().filter(|row| row.heard != 0) {
        services.entry(&row.service).or_default().push((row.minute.as_millis().div_euclid(1_000), row.heard));
    }
    let first = services.values().flatten().map(|(minute, heard)| minute + i64::from(heard.trailing_zeros())).min()?;
    let from = first.max(window.from.as_millis().div_euclid(1_000));
    let to = window.to.as_millis().div_euclid(1_000);
    let seconds = usize::try_from(to - from).ok().filter(|seconds| *seconds > 0)?;
    let mut all = vec![true; seconds];
    for minutes in services.values() {
        let mut heard = vec![false; seconds];
        for (minute, bits) in minutes {
            for second in (0..60).filter(|second| bits >> second & 1 == 1).map(|second| minute + second) {
                // Each sign of life covers its own second and those after it.
                let covered = (second - from).max(0)..(second - from + HEARD_SECONDS + 1).max(0);
                for index in covered {
                    if let Some(slot) = usize::try_from(index).ok().and_then(|index| heard.get_mut(index)) {
                        *slot = true;
                    }
                }
            }
        }
        all.iter_mut().zip(heard).for_each(|(all, heard)| *all &= heard);
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds of a window fit into 53 bits")]
    Some(all.iter().filter(|up| **up).count() as f64 / seconds as f64)
}

#[cfg(test)]
mod tests {
    use spark_bus_schema::Timestamp;

    use super::*;

    const ALL: u64 = (1 << 60) - 1;

    fn row(service: &str, minute: i64, heard: u64) -> Presence {
        Presence { service: service.into(), minute: Timestamp::from_millis(minute * 60_000), heard, degraded: 0 }
    }

    fn window(from_s: i64, to_s: i64) -> Window {
        Window { from: Timestamp::from_millis(from_s * 1_000), to: Timestamp::from_millis(to_s * 1_000) }
    }

    #[test]
    fn a_process_that_is_silent_for_longer_than_a_hiccup_costs_uptime_from_then_on() {
        let check = |rows: &[Presence], to_s: i64, want: f64| {
            let got = uptime(rows, window(0, to_s)).unwrap();
            assert!((got - want).abs() < 1e-9, "{got} {want}");
        };
        check(&[row("a", 0, ALL), row("b", 0, ALL)], 60, 1.0);
        // Every fourth second is enough.
        let seldom = (0..60).step_by(4).fold(0, |bits, second| bits | 1 << second);
        check(&[row("a", 0, ALL), row("b", 0, seldom)], 60, 1.0);
        // Silent from second 30 on: heard in 29 for the last time, good through 34.
        check(&[row("a", 0, ALL), row("b", 0, (1 << 30) - 1)], 60, 35.0 / 60.0);
        // Nothing is counted before the first sign of life, and everything after it.
        check(&[row("a", 1, ALL), row("b", 1, ALL)], 180, 65.0 / 120.0);
    }

    #[test]
    fn without_a_sign_of_life_it_is_not_known() {
        assert_eq!(uptime(&[], window(0, 60)), None);
        assert_eq!(uptime(&[row("a", 9, ALL)], window(0, 60)), None);
    }
}
