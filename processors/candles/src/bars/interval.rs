//! Where intervals begin and end.
//!
//! By default at multiples of their length since 1970-01-01 00:00 UTC. Borsa Istanbul's begin at its session: at 10:00 in
//! Istanbul and at multiples of their length before and after it; a day is a day in Istanbul, so its candle holds one
//! session with its auctions.

use std::time::Duration;

use spark_bus_schema::candles::TimeFrame;
use spark_bus_schema::session::{Calendar, Day, OFFSET};
use spark_bus_schema::{Timestamp, Venue};

/// Continuous trading begins at 10:00.
const SESSION_BEGINS: Duration = Duration::from_secs(10 * 3_600);

/// First moment of the interval that holds `at`, and first moment after it.
#[must_use]
pub fn containing(venue: Venue, frame: TimeFrame, at: Timestamp) -> (Timestamp, Timestamp) {
    let length = nanos(frame.duration());
    // Intervals begin at this, and at multiples of their length before and after it.
    let begin = match (venue, frame) {
        (Venue::Bist, TimeFrame::D1) => -nanos(OFFSET),
        (Venue::Bist, _) => nanos(SESSION_BEGINS) - nanos(OFFSET),
        _ => 0,
    };
    let since = at.as_nanos().saturating_sub(begin);
    let open = since.saturating_sub(since.rem_euclid(length)).saturating_add(begin);
    (Timestamp::from_nanos(open), Timestamp::from_nanos(open.saturating_add(length)))
}

/// Whether nothing traded in an interval is news. Out of Borsa Istanbul's sessions it is not; others never close.
#[must_use]
pub fn is_open(venue: Venue, open: Timestamp, close: Timestamp, calendar: &Calendar) -> bool {
    if venue != Venue::Bist {
        return true;
    }
    let days = [Day::of(open), Day::of(Timestamp::from_nanos(close.as_nanos().saturating_sub(1)))];
    let mut sessions = days.into_iter().filter_map(|day| calendar.session(day));
    sessions.any(|session| session.open < close && open < session.end)
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
