//! What a vendor's rows mean: which of them can be believed, and what follows from those. Pure: the time of arrival is passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use spark_bus_schema::candles::MarketSnapshot;
use spark_bus_schema::market::{Quote as BestPrices, Side, Trade};
use spark_bus_schema::session::{Calendar, Day};
use spark_bus_schema::shares::{is_on_tick, limits, tick_nearest, tick_size};
use spark_bus_schema::{Decimal, Fixed, InstrumentTable, Timestamp, Venue};
use spark_exchanges::bist::Quote;

/// A row may lie this far in the future of our clock.
const FUTURE_MAX: Duration = Duration::from_secs(5);
/// A snapshot that is confirmed is told again after this: who listens sees that it still holds.
pub const REPEAT_AFTER: Duration = Duration::from_secs(10);
/// A vendor whose newest price is older than this, beyond its delay, stands still: its answers confirm nothing.
pub const BEHIND_MAX: Duration = Duration::from_secs(30);
/// Shares traded in a longer gap between two looks are told as no trade: they would be one at a price of much later.
const UNSEEN_MAX: Duration = Duration::from_secs(300);
/// Trade ids are the day in Istanbul times this, plus the day's volume: they rise with every trade, and the same row gives the same id
/// in every run.
const ID_OF_DAY: u64 = 1_000_000_000_000;

/// Why a row is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Nobody asked for it.
    #[error("a row of {0:.32}, which was not asked for")]
    NotAsked(String),
    /// A field that cannot be read, or is missing.
    #[error("{0}")]
    Unreadable(String),
    /// Zero where a price must be.
    #[error("{field} is 0")]
    Zero {
        /// The field.
        field: &'static str,
    },
    /// Between two price steps.
    #[error("{field} {value} is not a multiple of the price step {step}")]
    OffTick {
        /// The field.
        field: &'static str,
        /// Its value.
        value: Decimal,
        /// The step of its band.
        step: Decimal,
    },
    /// More than ±10 % from the previous close.
    #[error("{field} {value} is outside of the day's limits {low} to {high}")]
    BeyondLimit {
        /// The field.
        field: &'static str,
        /// Its value.
        value: Decimal,
        /// Lowest price of the day.
        low: Decimal,
        /// Highest price of the day.
        high: Decimal,
    },
    /// A bid at or above the ask.
    #[error("bid {bid} is not below ask {ask}")]
    Crossed {
        /// The bid.
        bid: Decimal,
        /// The ask.
        ask: Decimal,
    },
    /// Later than our clock.
    #[error("its time is {ahead_ms} ms in the future")]
    Future {
        /// By how much.
        ahead_ms: i64,
    },
    /// Older than what was told before.
    #[error("its time went back by {by_ms} ms")]
    Backwards {
        /// By how much.
        by_ms: i64,
    },
}

impl Flaw {
    /// A short, stable word for metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotAsked(_) => "not_asked",
            Self::Unreadable(_) => "unreadable",
            Self::Zero { .. } => "zero",
            Self::OffTick { .. } => "off_tick",
            Self::BeyondLimit { .. } => "beyond_limit",
            Self::Crossed { .. } => "crossed",
            Self::Future { .. } => "future",
            Self::Backwards { .. } => "backwards",
        }
    }
}

/// What follows from a row that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Spark's spelling.
    pub symbol: String,
    /// To be told: it changed, or was not told for a while.
    pub snapshot: Option<MarketSnapshot>,
    /// What was traded since the last look.
    pub trade: Option<Trade>,
    /// Best bid and ask, with their sizes.
    pub quote: Option<BestPrices>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    snapshot: Option<MarketSnapshot>,
    told_at: Timestamp,
    /// Highest trade id that was told or passed over.
    trade_id: u64,
    seen_at: Timestamp,
}

/// What is known of the shares that are watched.
pub struct Shares {
    instruments: InstrumentTable,
    calendar: Calendar,
    delay_minutes: u32,
    provider: String,
    without_limits: Vec<String>,
    known: BTreeMap<String, Known>,
    newest: Timestamp,
}

impl Shares {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(
        instruments: InstrumentTable,
        calendar: Calendar,
        (provider, delay_minutes): (&str, u32),
        symbols: &[String],
        without_limits: Vec<String>,
    ) -> Self {
        let known = symbols.iter().map(|symbol| (symbol.clone(), Known::default())).collect();
        let provider = provider.to_owned();
        Self { instruments, calendar, delay_minutes, provider, without_limits, known, newest: Timestamp::ZERO }
    }

    /// What an earlier run told of a share: its newest snapshot and trade.
    pub fn remember(&mut self, symbol: &str, snapshot: Option<MarketSnapshot>, last_trade: Option<(u64, Timestamp)>) {
        let Some(known) = self.known.get_mut(symbol) else { return };
        let snapshot = snapshot.filter(|it| it.provider == self.provider && it.delay_minutes == self.delay_minutes);
        if let Some((id, seen_at)) = last_trade {
            (known.trade_id, known.seen_at) = (id, seen_at);
        }
        if let Some(snapshot) = snapshot {
            known.seen_at = known.seen_at.max(snapshot.received_at);
            known.told_at = snapshot.received_at;
            known.snapshot = Some(snapshot);
        }
    }

    /// Judges one row, given when it arrived.
    ///
    /// # Errors
    /// Why it is not believed, and whose it is where that is known. Nothing is changed then.
    pub fn take(&mut self, row: &Quote, received_at: Timestamp) -> Result<Outcome, (Option<String>, Flaw)> {
        let not_asked = || (None, Flaw::NotAsked(row.symbol.clone()));
        let symbol = self.instruments.resolve(Venue::Bist, &row.symbol).map_err(|_| not_asked())?.symbol.clone();
        let known = self.known.get(&symbol).ok_or_else(not_asked)?;
        self.check(&symbol, known, row, received_at).map_err(|flaw| (Some(symbol.clone()), flaw))?;
        let snapshot = self.snapshot(&symbol, row, received_at);
        let trade = self.trade(&symbol, row, received_at);
        let quote = (self.delay_minutes == 0).then(|| best(row, received_at)).flatten();
        self.newest = self.newest.max(row.time);
        let Some(known) = self.known.get_mut(&symbol) else { return Err(not_asked()) };
        known.trade_id = id_of(row).map_or(known.trade_id, |id| id.max(known.trade_id));
        known.seen_at = received_at;
        let is_new = known.snapshot.as_ref().is_none_or(|before| is_other(before, &snapshot));
        known.snapshot = Some(snapshot.clone());
        let is_old = received_at.saturating_since(known.told_at) >= REPEAT_AFTER;
        let tell = is_new || (is_old && self.calendar.is_open(received_at));
        Ok(Outcome { symbol, snapshot: tell.then_some(snapshot), trade, quote })
    }

    /// A snapshot reached the broker.
    pub fn told(&mut self, symbol: &str, received_at: Timestamp) {
        if let Some(known) = self.known.get_mut(symbol) {
            known.told_at = received_at;
        }
    }

    /// How far the vendor is behind what its delay allows; zero outside of continuous trading. Counted from the opening at most: the
    /// night brings no prices.
    #[must_use]
    pub fn behind(&self, at: Timestamp) -> Duration {
        let Some(session) = self.calendar.session_of(at).filter(|session| session.open <= at && at < session.close) else {
            return Duration::ZERO;
        };
        let allowed = Duration::from_secs(u64::from(self.delay_minutes) * 60);
        at.saturating_since(self.newest.max(session.open)).saturating_sub(allowed)
    }

    /// The time of the vendor's newest price.
    #[must_use]
    pub fn newest(&self) -> Timestamp {
        self.newest
    }

    fn check(&self, symbol: &str, known: &Known, row: &Quote, received_at: Timestamp) -> Result<(), Flaw> {
        let ahead_ms = row.time.since_ms(received_at);
        if row.time > received_at + FUTURE_MAX {
            return Err(Flaw::Future { ahead_ms });
        }
        if let Some(before) = known.snapshot.as_ref().filter(|before| before.occurred_at > row.time) {
            return Err(Flaw::Backwards { by_ms: before.occurred_at.since_ms(row.time) });
        }
        if row.last.is_zero() {
            return Err(Flaw::Zero { field: "last" });
        }
        let free = self.without_limits.iter().any(|free| free == symbol);
        let base = row.prev_close.filter(|base| !free && !base.is_zero());
        let day = base.and_then(|base| limits(tick_nearest(base)));
        for (field, value) in [
            ("last", Some(row.last)),
            ("bid", row.bid),
            ("ask", row.ask),
            ("open", row.open),
            ("high", row.high),
            ("low", row.low),
        ] {
            let Some(value) = value.filter(|value| !value.is_zero()) else { continue };
            if !is_on_tick(value) {
                return Err(Flaw::OffTick { field, value, step: tick_size(value) });
            }
            if let Some((low, high)) = day.filter(|(low, high)| value < *low || value > *high) {
                return Err(Flaw::BeyondLimit { field, value, low, high });
            }
        }
        // In an auction bids and asks cross: what is told then is what would be matched.
        match (price(row.bid), price(row.ask)) {
            (Some(bid), Some(ask)) if bid >= ask && self.calendar.is_open(received_at) => Err(Flaw::Crossed { bid, ask }),
            _ => Ok(()),
        }
    }

    fn snapshot(&self, symbol: &str, row: &Quote, received_at: Timestamp) -> MarketSnapshot {
        let status = if row.status.is_empty() {
            let occurred = received_at - Duration::from_secs(u64::from(self.delay_minutes) * 60);
            self.calendar.phase_at(occurred).as_str().to_owned()
        } else {
            row.status.chars().take(32).collect()
        };
        MarketSnapshot {
            venue: Venue::Bist,
            symbol: symbol.to_owned(),
            last: row.last,
            bid: price(row.bid),
            ask: price(row.ask),
            open: price(row.open),
            high: price(row.high),
            low: price(row.low),
            prev_close: price(row.prev_close),
            volume: row.volume.unwrap_or_default(),
            turnover: row.turnover,
            status,
            occurred_at: row.time,
            received_at,
            delay_minutes: self.delay_minutes,
            provider: self.provider.clone(),
        }
    }

    /// The volume since the last look, as one trade at the last price: what polling can know.
    fn trade(&self, symbol: &str, row: &Quote, received_at: Timestamp) -> Option<Trade> {
        let known = self.known.get(symbol)?;
        let id = id_of(row).filter(|id| self.delay_minutes == 0 && *id > known.trade_id)?;
        if known.seen_at == Timestamp::ZERO {
            return None;
        }
        let day = Day::of(row.time);
        let opened = self.calendar.session(day).map_or(known.seen_at, |session| session.open);
        if received_at.saturating_since(known.seen_at.max(opened)) > UNSEEN_MAX {
            return None;
        }
        let before = if known.trade_id / ID_OF_DAY == id / ID_OF_DAY { known.trade_id % ID_OF_DAY } else { 0 };
        let quantity = Fixed::try_from(Decimal::from((id % ID_OF_DAY).checked_sub(before)?)).ok()?;
        let last_before = known.snapshot.as_ref().map(|before| before.last);
        let side = match (price(row.bid), price(row.ask)) {
            (_, Some(ask)) if row.last >= ask => Side::Buy,
            (Some(bid), _) if row.last <= bid => Side::Sell,
            _ if last_before.is_some_and(|before| row.last < before) => Side::Sell,
            _ => Side::Buy,
        };
        let price = Fixed::try_from(row.last).ok()?;
        Some(Trade { trade_id: id, occurred_at: row.time, received_at, price, quantity, side })
    }
}

/// The day and its volume in one number; none where the volume is not told or cannot be.
fn id_of(row: &Quote) -> Option<u64> {
    let volume: u64 = row.volume?.trunc().try_into().ok().filter(|volume| (1..ID_OF_DAY).contains(volume))?;
    let since_1970 = Day::of(row.time).midnight().as_millis() + 12 * 3_600_000;
    let day = u64::try_from(since_1970.div_euclid(86_400_000)).ok()?;
    day.checked_mul(ID_OF_DAY)?.checked_add(volume)
}

/// Vendors write 0 where there is no price.
fn price(value: Option<Decimal>) -> Option<Decimal> {
    value.filter(|value| !value.is_zero())
}

fn best(row: &Quote, received_at: Timestamp) -> Option<BestPrices> {
    let fixed = |value: Option<Decimal>| price(value).and_then(|value| Fixed::try_from(value).ok());
    Some(BestPrices {
        update_id: 0,
        received_at,
        bid_price: fixed(row.bid)?,
        bid_quantity: fixed(row.bid_size)?,
        ask_price: fixed(row.ask)?,
        ask_quantity: fixed(row.ask_size)?,
    })
}

/// Whether anything but the time of arrival differs.
fn is_other(before: &MarketSnapshot, now: &MarketSnapshot) -> bool {
    let arrived = MarketSnapshot { received_at: before.received_at, ..now.clone() };
    arrived != *before
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
