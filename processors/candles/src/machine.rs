//! [`Bars`] as a decision on FEED: trades, connection states and the exchanges' own candles in, candles out, each revision
//! once.
//!
//! The natural key of a candle on its subject is the stored time (ns) of what made it, plus one for each candle of the same
//! subject before it in the same moment. It follows from FEED alone: made anew from the log after a lost checkpoint, a
//! candle has the key that it had, and is not stored again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::candles::{Candle, CandleHistory};
use spark_bus_schema::market::TickBatch;
use spark_bus_schema::session::Calendar;
use spark_bus_schema::subject::{self, FEED, FEED_STATUS, HISTORY, TICKS};
use spark_bus_schema::telemetry::{FeedState, FeedStatus};
use spark_bus_schema::{DecodeError, Message, Timestamp, Venue};
use spark_nats::{Delivery, Effects, Input, Machine, Reject, Status};

use crate::bars::{Bars, BarsConfig, Counts, STEP};

/// What can happen.
#[derive(Debug)]
pub enum Event {
    /// Trades.
    Ticks(Box<TickBatch>),
    /// The exchange's own candles.
    History(Box<CandleHistory>),
    /// Whether the connection to a venue stands.
    Connection(Venue, bool),
    /// Cannot be read, and why. The guardrail parks it, as everything that nobody can read in FEED; here it is counted.
    Unreadable(&'static str),
}

/// What is saved.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved {
    bars: Vec<u8>,
    keys: BTreeMap<String, u64>,
    live: BTreeMap<Venue, bool>,
}

/// See the module.
#[derive(Debug)]
pub struct CandleMaker {
    bars: Bars,
    /// Newest key of each subject.
    keys: BTreeMap<String, u64>,
    /// Whether the connection of a venue stood when it was last told.
    live: BTreeMap<Venue, bool>,
    told: Vec<Candle>,
    shown: Counts,
    closed: Arc<AtomicU64>,
    unreadable: Arc<AtomicU64>,
}

impl CandleMaker {
    /// Knows no trade yet. `status` takes the totals.
    #[must_use]
    pub fn new(config: &BarsConfig, calendar: Calendar, status: &Status) -> Self {
        Self {
            bars: Bars::new(config).with_calendar(calendar),
            keys: BTreeMap::new(),
            live: BTreeMap::new(),
            told: Vec::new(),
            shown: Counts::default(),
            closed: status.counter("spark_candles_closed_total"),
            unreadable: status.counter("spark_candles_unreadable_total"),
        }
    }

    fn connection(&mut self, at: Timestamp, venue: Venue, is_live: bool) {
        let was_live = self.live.insert(venue, is_live).unwrap_or(true);
        if was_live && !is_live {
            self.bars.cut(at, venue, &mut self.told);
        }
    }

    fn publish(&mut self, at: Timestamp, effects: &mut Effects) {
        for candle in self.told.drain(..) {
            if let Err(problem) = candle.validate() {
                // Prices beyond what amounts may be: nobody could read it.
                tracing::error!(problem, venue = %candle.venue, symbol = candle.symbol, "a candle cannot be told");
                metrics::counter!("spark_candles_impossible_total").increment(1);
                continue;
            }
            if candle.revision == 1 {
                self.closed.fetch_add(1, Ordering::Relaxed);
                metrics::counter!("spark_candles_closed_total", "timeframe" => candle.timeframe.as_str()).increment(1);
            } else {
                metrics::counter!("spark_candles_corrected_total", "timeframe" => candle.timeframe.as_str()).increment(1);
            }
            let subject = subject::candle(candle.venue, &candle.symbol, candle.timeframe);
            let key = self.keys.entry(subject.clone()).or_default();
            *key = u64::try_from(at.as_nanos()).unwrap_or(0).max(*key + 1);
            effects.publish_revision(subject, &candle, *key);
        }
    }

    fn show(&mut self) {
        let counts = self.bars.counts();
        if counts != self.shown {
            self.shown = counts;
            metrics::counter!("spark_candles_duplicates_total").absolute(counts.duplicates);
            for (outcome, total) in [("corrected", counts.late - counts.dropped), ("dropped", counts.dropped)] {
                metrics::counter!("spark_candles_late_trades_total", "outcome" => outcome).absolute(total);
            }
            metrics::counter!("spark_candles_refused_trades_total", "reason" => "future").absolute(counts.ahead);
            metrics::counter!("spark_candles_refused_trades_total", "reason" => "symbols").absolute(counts.beyond);
        }
    }
}

impl Machine for CandleMaker {
    type Event = Event;
    const INPUTS: &'static [Input] = &[Input { stream: FEED, subjects: &[TICKS, HISTORY, FEED_STATUS] }];
    const STEP: Duration = STEP;

    fn decode(delivery: &Delivery) -> Result<Event, DecodeError> {
        let event = if subject::matches(TICKS, &delivery.subject) {
            delivery.decode().map(|batch| Event::Ticks(Box::new(batch)))
        } else if subject::matches(HISTORY, &delivery.subject) {
            delivery.decode().map(|history| Event::History(Box::new(history)))
        } else {
            delivery.decode().map(|status: FeedStatus| Event::Connection(status.venue, status.state == FeedState::Live))
        };
        Ok(event.unwrap_or_else(|error| Event::Unreadable(error.reason())))
    }

    fn apply(&mut self, at: Timestamp, event: Event, effects: &mut Effects) -> Result<(), Reject> {
        match event {
            Event::Ticks(batch) => self.bars.apply(at, &batch, &mut self.told),
            Event::History(history) => self.bars.history(at, &history, &mut self.told),
            Event::Connection(venue, is_live) => self.connection(at, venue, is_live),
            Event::Unreadable(reason) => {
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                metrics::counter!("spark_candles_unreadable_total", "reason" => reason).increment(1);
            }
        }
        self.publish(at, effects);
        Ok(())
    }

    fn tick(&mut self, at: Timestamp, effects: &mut Effects) {
        self.bars.tick(at, &mut self.told);
        self.publish(at, effects);
        self.show();
    }

    fn save(&self) -> Vec<u8> {
        let saved = Saved { bars: self.bars.save(), keys: self.keys.clone(), live: self.live.clone() };
        rmp_serde::to_vec(&saved).expect("plain values can always be written")
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        let saved: Saved = spark_bus_schema::codec::from_saved(bytes).map_err(|error| error.to_string())?;
        self.bars.load(&saved.bars)?;
        (self.keys, self.live) = (saved.keys, saved.live);
        Ok(())
    }
}
