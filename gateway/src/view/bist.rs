//! Shares of Borsa Istanbul as the vendor tells them, and how old that is. Outside of its session nothing is old.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use spark_bus_schema::candles::MarketSnapshot;
use spark_bus_schema::session::Calendar;
use spark_bus_schema::{Decimal, Timestamp, Venue};

use crate::number::Number;

/// Shares held.
pub const SHARES_MAX: usize = 1_024;
/// Younger is good, s.
pub const GOOD_S: i64 = 30;
/// Younger is degraded, older is stale, s.
pub const DEGRADED_S: i64 = 120;

/// Shares by symbol.
#[derive(Default)]
pub struct Bist {
    shares: BTreeMap<String, (Timestamp, MarketSnapshot)>,
    updates: u64,
}

impl Bist {
    /// Takes in what the vendor says about one share, stored at `at`; false when there is no room for another one, or it is
    /// another venue's.
    pub fn apply(&mut self, at: Timestamp, share: MarketSnapshot, live: bool) -> bool {
        if share.venue != Venue::Bist || self.shares.len() >= SHARES_MAX && !self.shares.contains_key(&share.symbol) {
            return false;
        }
        self.updates += u64::from(live);
        if self.shares.get(&share.symbol).is_none_or(|(held, _)| *held <= at) {
            self.shares.insert(share.symbol.clone(), (at, share));
        }
        true
    }

    /// Symbols that were ever told.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        self.shares.keys().map(String::as_str)
    }

    /// Snapshots taken in since the gateway started.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Of the newest share that the prices are of, as the vendor says; none before the first.
    #[must_use]
    pub fn last_update(&self) -> Option<Timestamp> {
        self.shares.values().map(|(_, share)| share.occurred_at).max()
    }

    /// Whether prices are expected to change at `now`: by the calendar, and by the vendor's own word where it has one.
    #[must_use]
    pub fn is_open(&self, calendar: &Calendar, now: Timestamp) -> bool {
        let newest = self.shares.values().max_by_key(|(at, _)| *at);
        calendar.is_open(now) && newest.is_none_or(|(_, share)| share.status != "closed")
    }

    /// Age of the youngest share beyond the vendor's delay, s; none outside the session and before the first word.
    #[must_use]
    pub fn staleness_s(&self, calendar: &Calendar, now: Timestamp) -> Option<f64> {
        let open = calendar.session_of(now).filter(|_| self.is_open(calendar, now))?.open;
        let ages = self.shares.values().map(|(_, share)| age_ms(share, open, now));
        #[expect(clippy::cast_precision_loss, reason = "an age in ms is far below 2^53")]
        ages.min().map(|ms| ms as f64 / 1_000.0)
    }

    /// What [`answer`](Self::answer) says by the time alone, without ages.
    pub(super) fn hash_moment(&self, calendar: &Calendar, now: Timestamp, hasher: &mut impl Hasher) {
        let open = calendar.session_of(now).filter(|_| self.is_open(calendar, now)).map(|session| session.open);
        (calendar.phase_at(now).as_str(), open.map(Timestamp::as_nanos), calendar.next_open(now).map(Timestamp::as_nanos))
            .hash(hasher);
        for (_, share) in self.shares.values() {
            status(share, open, now).hash(hasher);
        }
    }

    /// `GET /bist/snapshot`, without what is about the gateway.
    #[must_use]
    pub fn answer(&self, calendar: &Calendar, now: Timestamp) -> BistAnswer<'_> {
        let open = calendar.session_of(now).filter(|_| self.is_open(calendar, now)).map(|session| session.open);
        BistAnswer {
            now_ms: now.as_millis(),
            phase: calendar.phase_at(now).as_str(),
            open: open.is_some(),
            next_open: calendar.next_open(now).map(|at| at.to_string()),
            last_update: self.last_update().map(|at| at.to_string()),
            staleness_s: self.staleness_s(calendar, now),
            symbols: self.shares.values().map(|(at, share)| ShareRow::new(*at, share, open, now)).collect(),
        }
    }
}

/// How long ago a share's price was what it is, ms, the vendor's delay and the time before the session left out.
fn age_ms(share: &MarketSnapshot, open: Timestamp, now: Timestamp) -> i64 {
    let due = (share.occurred_at + delay(share)).max(open + delay(share));
    now.since_ms(due).max(0)
}

/// `good`, `degraded`, `stale`; `closed` outside the session.
fn status(share: &MarketSnapshot, open: Option<Timestamp>, now: Timestamp) -> &'static str {
    match open.map(|open| age_ms(share, open, now) / 1_000) {
        None => "closed",
        Some(..GOOD_S) => "good",
        Some(..=DEGRADED_S) => "degraded",
        Some(_) => "stale",
    }
}

fn delay(share: &MarketSnapshot) -> Duration {
    Duration::from_secs(60 * u64::from(share.delay_minutes))
}

/// Every share.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BistAnswer<'a> {
    now_ms: i64,
    /// By the exchange's calendar: `closed`, `opening_auction`, `continuous`, `closing_auction`, `trades_at_close`.
    phase: &'static str,
    /// Whether prices are expected to change.
    open: bool,
    next_open: Option<String>,
    last_update: Option<String>,
    /// Null outside the session, and before the first word.
    staleness_s: Option<f64>,
    symbols: Vec<ShareRow<'a>>,
}

/// One share.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ShareRow<'a> {
    symbol: &'a str,
    last: Number,
    /// Against the session before; null when the vendor does not tell its close.
    change_pct: Option<Number>,
    bid: Option<Number>,
    ask: Option<Number>,
    open: Option<Number>,
    high: Option<Number>,
    low: Option<Number>,
    prev_close: Option<Number>,
    volume: Number,
    turnover: Option<Number>,
    /// The session phase in the vendor's word.
    phase: &'a str,
    /// `good`, `degraded`, `stale`; `closed` outside the session.
    status: &'static str,
    occurred_at: String,
    occurred_at_ms: i64,
    /// Since the price was what it is; with the vendor's delay.
    age_ms: i64,
    /// Since the vendor said so.
    heard_ms: i64,
    delay_minutes: u32,
    delayed: bool,
    provider: &'a str,
}

impl<'a> ShareRow<'a> {
    fn new(at: Timestamp, share: &'a MarketSnapshot, open: Option<Timestamp>, now: Timestamp) -> Self {
        Self {
            symbol: &share.symbol,
            last: Number(share.last),
            change_pct: share.prev_close.and_then(|close| change_pct(share.last, close)).map(Number),
            bid: share.bid.map(Number),
            ask: share.ask.map(Number),
            open: share.open.map(Number),
            high: share.high.map(Number),
            low: share.low.map(Number),
            prev_close: share.prev_close.map(Number),
            volume: Number(share.volume),
            turnover: share.turnover.map(Number),
            phase: &share.status,
            status: status(share, open, now),
            occurred_at: share.occurred_at.to_string(),
            occurred_at_ms: share.occurred_at.as_millis(),
            age_ms: now.since_ms(share.occurred_at).max(0),
            heard_ms: now.since_ms(at).max(0),
            delay_minutes: share.delay_minutes,
            delayed: share.delay_minutes > 0,
            provider: &share.provider,
        }
    }
}

/// To two decimals.
fn change_pct(last: Decimal, close: Decimal) -> Option<Decimal> {
    let ratio = last.checked_div(close)?.checked_sub(Decimal::ONE)?;
    Some(ratio.checked_mul(Decimal::ONE_HUNDRED)?.round_dp(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(occurred_at: Timestamp, delay_minutes: u32, status: &str) -> MarketSnapshot {
        MarketSnapshot {
            venue: Venue::Bist,
            symbol: "THYAO".into(),
            last: "308.75".parse().unwrap(),
            bid: None,
            ask: None,
            open: None,
            high: None,
            low: None,
            prev_close: Some("305".parse().unwrap()),
            volume: Decimal::ONE,
            turnover: None,
            status: status.into(),
            occurred_at,
            received_at: occurred_at,
            delay_minutes,
            provider: "sim".into(),
        }
    }

    #[test]
    fn a_share_is_old_only_in_the_session_and_beyond_what_its_vendor_is_behind_by_contract() {
        let calendar = Calendar::default();
        let at = |text: &str| Timestamp::parse(text).unwrap();
        // A Monday; Istanbul is three hours ahead.
        let check = |occurred_at: &str, delay: u32, status: &str, now: &str, want: Option<f64>, word: &str| {
            let mut bist = Bist::default();
            assert!(bist.apply(at(occurred_at), share(at(occurred_at), delay, status), true));
            assert_eq!(bist.staleness_s(&calendar, at(now)), want, "{occurred_at} {delay} {status} {now}");
            let answer = serde_json::to_value(bist.answer(&calendar, at(now))).unwrap();
            assert_eq!(answer["symbols"][0]["status"], word, "{answer}");
            assert_eq!(answer["symbols"][0]["changePct"].to_string(), "1.23");
        };
        check("2026-11-23T08:00:00Z", 0, "continuous", "2026-11-23T08:00:29Z", Some(29.0), "good");
        check("2026-11-23T08:00:00Z", 0, "continuous", "2026-11-23T08:00:31Z", Some(31.0), "degraded");
        check("2026-11-23T08:00:00Z", 0, "continuous", "2026-11-23T08:02:01Z", Some(121.0), "stale");
        check("2026-11-23T07:45:00Z", 15, "continuous", "2026-11-23T08:00:10Z", Some(10.0), "good");
        check("2026-11-23T08:00:00Z", 0, "closed", "2026-11-23T09:00:00Z", None, "closed");
        check("2026-11-20T15:00:00Z", 0, "continuous", "2026-11-23T07:00:10Z", Some(10.0), "good");
        check("2026-11-20T15:00:00Z", 0, "continuous", "2026-11-21T09:00:00Z", None, "closed");
        check("2026-11-23T14:59:00Z", 0, "continuous", "2026-11-23T20:00:00Z", None, "closed");
    }
}
