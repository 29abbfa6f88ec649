//! `DEMO`, `DEGRADED` or `LIVE`, with the reasons.

use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::telemetry::{FeedState, ProcessState};
use spark_bus_schema::{Timestamp, Venue};

use super::View;
use super::processes::Presence;

/// How far the picture can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(rename = "StatusWord")]
pub enum Word {
    /// All well, on simulated data.
    Demo,
    /// Something is missing or old; the reasons say what.
    Degraded,
    /// All well, on real data.
    Live,
}

impl Word {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Demo => "DEMO",
            Self::Degraded => "DEGRADED",
            Self::Live => "LIVE",
        }
    }
}

/// The word and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Status {
    /// The word.
    pub status: Word,
    /// A sentence per reason to be degraded.
    pub reasons: Vec<String>,
}

impl View {
    /// The state of everything at `now`.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        let mut reasons = Vec::new();
        if !self.is_connected() {
            // Everything else follows from this one: nothing can be heard of anybody.
            reasons.push("broker: not connected; the picture is the last one seen".to_owned());
        } else {
            self.judge_processes(now, &mut reasons);
            self.judge_feeds(now, &mut reasons);
            self.judge_portfolio(now, &mut reasons);
        }
        let status = match (reasons.is_empty(), self.limits().demo) {
            (false, _) => Word::Degraded,
            (true, true) => Word::Demo,
            (true, false) => Word::Live,
        };
        Status { status, reasons }
    }

    fn judge_processes(&self, now: Timestamp, reasons: &mut Vec<String>) {
        for row in self.processes.rows(now, true, &self.limits().expected).iter().filter(|row| row.expected) {
            let name = &row.name;
            match (row.presence, row.age_ms) {
                (Presence::Missing, _) => reasons.push(format!("{name}: no heartbeat yet")),
                (Presence::Down, _) if row.state == Some(ProcessState::Stopping) => reasons.push(format!("{name}: stopped")),
                (Presence::Down, Some(age)) => reasons.push(format!("{name}: no heartbeat for {} s", age / 1_000)),
                _ => {}
            }
            if row.presence != Presence::Down && row.state == Some(ProcessState::Degraded) {
                reasons.push(format!("{name}: {}", row.detail.as_deref().unwrap_or("works in part")));
            }
        }
    }

    fn judge_feeds(&self, now: Timestamp, reasons: &mut Vec<String>) {
        if self.feeds().is_empty() && self.limits().expected.iter().any(|name| name == "feed") {
            reasons.push("market data: no venue has reported yet".to_owned());
        }
        for feed in self.feeds().values() {
            let venue = feed.venue;
            let limit_ms = self.limits().market_age_ms_max;
            match (feed.state, self.prices.venue_age_ms(venue, now)) {
                (FeedState::Connecting, _) => reasons.push(format!("{venue}: market data is connecting")),
                (FeedState::Reconnecting, _) => reasons.push(format!("{venue}: market data is reconnecting")),
                // Outside its session Borsa Istanbul is silent, and that is not stale; the feed knows the session.
                (_, Some(age)) if age > limit_ms && venue != Venue::Bist => {
                    reasons.push(format!("{venue}: no market data for {} s", age / 1_000));
                }
                _ => {}
            }
        }
    }

    fn judge_portfolio(&self, now: Timestamp, reasons: &mut Vec<String>) {
        for account in self.portfolio.accounts() {
            let exchange = account.exchange;
            if let Some(error) = &account.error {
                reasons.push(format!("{exchange}: balances cannot be read ({})", error.error_type));
                continue;
            }
            match account.updated_at {
                Some(at) if now.since_ms(at) > self.limits().portfolio_age_ms_max => {
                    reasons.push(format!("{exchange}: balances are {} s old", now.since_ms(at) / 1_000));
                }
                Some(_) if account.stale => reasons.push(format!("{exchange}: balances are stale")),
                _ => {}
            }
        }
    }
}
