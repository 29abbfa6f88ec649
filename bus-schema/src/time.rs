//! Points in time: nanoseconds since the Unix epoch, UTC.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point in time: nanoseconds since 1970-01-01T00:00:00Z. On the wire a plain integer.
///
/// Exchange clocks run ahead of ours as often as behind, so differences are signed: see [`Timestamp::since_ms`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The epoch itself, used where "never" is meant.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds since the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the epoch; saturates at the ends of the range (years 1677 and 2262).
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded towards the past.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Seconds since the epoch as a float, for Prometheus.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "Prometheus timestamps are floats; microseconds survive")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Signed milliseconds from `earlier` to `self`; negative when `self` lies before it.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }

    /// Time from `earlier` to `self`, zero when `self` lies before it.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The next multiple of `step` strictly after `self`: the fixed boundaries that timers fire at.
    #[must_use]
    pub fn next_boundary(self, step: Duration) -> Self {
        let step = nanos(step).max(1);
        Self((self.0.div_euclid(step) + 1).saturating_mul(step))
    }

    /// RFC 3339 with a `Z`, e.g. `2026-11-21T09:30:00.5Z`.
    ///
    /// # Errors
    /// The text is not RFC 3339 or lies outside the years 1677 to 2262.
    pub fn parse(text: &str) -> Result<Self, String> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|error| format!("`{text}` is not RFC 3339: {error}"))?;
        i64::try_from(moment.unix_timestamp_nanos()).map(Self).map_err(|_| format!("`{text}` is out of range"))
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(nanos(rhs)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(rhs)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0));
        match moment.ok().and_then(|moment| moment.format(&Rfc3339).ok()) {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} ns", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_signed_because_exchange_clocks_run_ahead() {
        let ours = Timestamp::from_millis(1_000);
        let theirs = Timestamp::from_millis(2_250);
        assert_eq!(ours.since_ms(theirs), -1_250);
        assert_eq!(ours.saturating_since(theirs), Duration::ZERO);
    }

    #[test]
    fn boundaries_are_multiples_of_the_step_and_strictly_later() {
        let step = Duration::from_millis(100);
        assert_eq!(Timestamp::from_millis(100).next_boundary(step), Timestamp::from_millis(200));
        assert_eq!(Timestamp::from_millis(199).next_boundary(step), Timestamp::from_millis(200));
        assert_eq!(Timestamp::from_millis(-1).next_boundary(step), Timestamp::ZERO);
    }

    #[test]
    fn text_round_trips() {
        let moment = Timestamp::from_millis(1_723_161_255_342);
        assert_eq!(moment.to_string(), "2024-08-08T23:54:15.342Z");
        assert_eq!(Timestamp::parse(&moment.to_string()), Ok(moment));
        assert!(Timestamp::parse("yesterday").is_err());
    }
}
