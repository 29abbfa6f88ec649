//! The share of time in which every process was heard of.

use crate::history::{Presence, Window};
use crate::report::uptime;

/// The share of the window's seconds, 0 to 1, in which every process that was heard of at all within it was there, as the
/// report counts it. None when nothing was ever heard.
#[must_use]
pub fn uptime(presence: &[Presence], window: Window) -> Option<f64> {
    uptime::of(presence, &[], window).overall
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
