//! Where intervals begin and end.

use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::{Timestamp, Venue};

/// Istanbul is three hours ahead of UTC all year since 2016.
const ISTANBUL_AHEAD_NS: i64 = 3 * 3_600 * 1_000_000_000;

/// First moment of the interval that holds `at`, and first moment after it.
#[must_use]
pub fn containing(venue: Venue, frame: TimeFrame, at: Timestamp) -> (Timestamp, Timestamp) {
    let length = nanos(frame);
    let ahead = if venue == Venue::Bist { ISTANBUL_AHEAD_NS } else { 0 };
    let local = at.as_nanos().saturating_add(ahead);
    let open = local.saturating_sub(local.rem_euclid(length)).saturating_sub(ahead);
    (Timestamp::from_nanos(open), Timestamp::from_nanos(open.saturating_add(length)))
}

/// Whether nothing traded in an interval is news. Out of a session it is not.
#[must_use]
pub fn is_open(_venue: Venue, _open: Timestamp, _close: Timestamp) -> bool {
    true
}

fn nanos(frame: TimeFrame) -> i64 {
    i64::try_from(frame.duration().as_nanos()).unwrap_or(i64::MAX)
}
