//! What the bus recorded: trades become candles by the code of the process `candles`, at the same boundaries of time, and
//! each candle gets the quote that an order after it meets.
//!
//! A candle is decided on when it is told first (revision 1), as live. The quote is the last row of the last message that
//! FEED stored at or before `closed_at + latency`: the paper desk's rule. One pass, in the order of FEED; memory is bounded
//! by the candles.

use std::collections::VecDeque;
use std::time::Duration;

use spark_bus_schema::candles::{Candle, TimeFrame};
use spark_bus_schema::market::{Quote, QuoteBatch, TickBatch};
use spark_bus_schema::session::Calendar;
use spark_bus_schema::subject::{self, FEED};
use spark_bus_schema::telemetry::{FeedState, FeedStatus};
use spark_bus_schema::{Decimal, Fixed, Timestamp, Venue};
use spark_candles::bars::{self, BarsConfig};
use spark_nats::{Bus, Delivery, From, now};
use spark_strategy::rule::Bar;

use super::bars::{Bars, Offered, RecordedBar};
use crate::engine::Error;

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Whose.
    pub venue: Venue,
    /// Spark's spelling.
    pub symbol: String,
    /// Length of the candles.
    pub timeframe: TimeFrame,
    /// Messages stored from here on; none: from the oldest.
    pub from: Option<Timestamp>,
    /// Messages stored before this; none: up to now.
    pub to: Option<Timestamp>,
    /// From a candle's end to the order's arrival, the executor's `latency_ms`.
    pub latency: Duration,
    /// `[candles]`' grace.
    pub grace: Duration,
    /// When Borsa Istanbul is open.
    pub calendar: Calendar,
}

impl Recorded {
    /// Everything that is recorded of a symbol, with the defaults of the processes.
    #[must_use]
    pub fn new(venue: Venue, symbol: &str, timeframe: TimeFrame) -> Self {
        let grace = BarsConfig::default().grace;
        let (symbol, latency, calendar) = (symbol.to_owned(), Duration::ZERO, Calendar::default());
        Self { venue, symbol, timeframe, from: None, to: None, latency, grace, calendar }
    }
}

/// Reads FEED.
///
/// # Errors
/// [`Error::Bus`]; [`Error::Data`] when nothing is recorded, or no candle of it is closed.
pub async fn read(bus: &Bus, wanted: &Recorded) -> Result<Bars, Error> {
    let until = wanted.to.map_or_else(now, |to| to.min(now()));
    let from = wanted.from.map_or(From::Sequence(1), From::Time);
    let mut market = Pages::new(bus, format!("market.*.{}.{}", wanted.venue, wanted.symbol), from);
    let mut connection = Pages::new(bus, subject::feed_status(wanted.venue), from);
    let mut tape = Tape::new(wanted);
    // Trades, quotes and breaks of the connection in the order in which they were stored.
    while let Some(sequence) = market.next_sequence().await? {
        let is_break_first = connection.next_sequence().await?.is_some_and(|other| other < sequence);
        let next = if is_break_first { connection.waiting.pop_front() } else { market.waiting.pop_front() };
        let Some(delivery) = next.filter(|delivery| delivery.stored_at < until) else { break };
        tape.take(&delivery)?;
    }
    tape.end(until)
}

/// The messages on one subject of FEED, read ahead page by page.
struct Pages<'a> {
    bus: &'a Bus,
    subject: String,
    from: From,
    is_over: bool,
    waiting: VecDeque<Delivery>,
}

impl<'a> Pages<'a> {
    fn new(bus: &'a Bus, subject: String, from: From) -> Self {
        Self { bus, subject, from, is_over: false, waiting: VecDeque::new() }
    }

    /// Of the message that comes next; none at the end.
    async fn next_sequence(&mut self) -> Result<Option<u64>, Error> {
        if self.waiting.is_empty() && !self.is_over {
            self.waiting = self.bus.page(FEED, &self.subject, self.from).await.map_err(Error::Bus)?.into();
            match self.waiting.back() {
                Some(last) => self.from = From::Sequence(last.sequence + 1),
                None => self.is_over = true,
            }
        }
        Ok(self.waiting.front().map(|next| next.sequence))
    }
}

/// Takes in FEED message by message.
#[derive(Debug)]
pub struct Tape {
    wanted: Recorded,
    candles: bars::Bars,
    bars: Bars,
    /// The last boundary that was fired; zero before the first message.
    boundary: Timestamp,
    told: Vec<Candle>,
    /// Closed, and the moment of their orders has not come yet.
    waiting: VecDeque<Candle>,
    offered: Option<Offered>,
    messages: u64,
    /// Whether the connection to the venue stood when it was last told.
    was_live: bool,
}

impl Tape {
    /// Nothing was read yet.
    #[must_use]
    pub fn new(wanted: &Recorded) -> Self {
        let config = BarsConfig { timeframes: vec![wanted.timeframe], grace: wanted.grace };
        Self {
            candles: bars::Bars::new(&config).with_calendar(wanted.calendar.clone()),
            bars: Bars::recorded(wanted.timeframe, wanted.latency),
            wanted: wanted.clone(),
            boundary: Timestamp::ZERO,
            told: Vec::new(),
            waiting: VecDeque::new(),
            offered: None,
            messages: 0,
            was_live: true,
        }
    }

    /// The next message; what cannot be decoded is left out, as the processes park it.
    fn take(&mut self, delivery: &Delivery) -> Result<(), Error> {
        let (venue, symbol) = (self.wanted.venue, self.wanted.symbol.as_str());
        if delivery.subject == subject::ticks(venue, symbol) {
            match delivery.decode::<TickBatch>() {
                Ok(batch) => return self.trades(delivery.stored_at, &batch),
                Err(error) => tracing::warn!(sequence = delivery.sequence, %error, "a recorded message cannot be read"),
            }
        } else if delivery.subject == subject::quotes(venue, symbol) {
            match delivery.decode::<QuoteBatch>() {
                Ok(batch) => return self.quotes(delivery.stored_at, &batch),
                Err(error) => tracing::warn!(sequence = delivery.sequence, %error, "a recorded message cannot be read"),
            }
        } else if delivery.subject == subject::feed_status(venue) {
            match delivery.decode::<FeedStatus>() {
                Ok(status) => return self.connection(delivery.stored_at, status.state == FeedState::Live),
                Err(error) => tracing::warn!(sequence = delivery.sequence, %error, "a recorded message cannot be read"),
            }
        }
        Ok(())
    }

    /// Whether the connection to the venue stands, stored at `at`; times never fall. What is traded while it does not is
    /// missing in the candles, as live.
    ///
    /// # Errors
    /// [`Error::Data`].
    pub fn connection(&mut self, at: Timestamp, is_live: bool) -> Result<(), Error> {
        self.advance(at)?;
        if std::mem::replace(&mut self.was_live, is_live) && !is_live {
            self.candles.cut(at, self.wanted.venue, &mut self.told);
            self.collect();
        }
        Ok(())
    }

    /// Trades stored at `at`; times never fall.
    ///
    /// # Errors
    /// [`Error::Data`].
    pub fn trades(&mut self, at: Timestamp, batch: &TickBatch) -> Result<(), Error> {
        self.advance(at)?;
        self.messages += 1;
        self.candles.apply(at, batch, &mut self.told);
        self.collect();
        Ok(())
    }

    /// Quotes stored at `at`; times never fall.
    ///
    /// # Errors
    /// [`Error::Data`].
    pub fn quotes(&mut self, at: Timestamp, batch: &QuoteBatch) -> Result<(), Error> {
        self.advance(at)?;
        self.messages += 1;
        for row in 0..batch.len() {
            if let Some(quote) = row_of(batch, row) {
                self.offered = Some(Offered::after(self.offered.as_ref(), quote));
            }
        }
        Ok(())
    }

    /// Fires every boundary up to a time, as `spark_nats` does for the process, and settles what was decided before it.
    fn advance(&mut self, at: Timestamp) -> Result<(), Error> {
        if self.boundary == Timestamp::ZERO {
            self.boundary = at;
        }
        loop {
            let next = self.boundary.next_boundary(bars::STEP);
            if next > at {
                break;
            }
            self.boundary = next;
            self.candles.tick(next, &mut self.told);
            self.collect();
        }
        self.settle(at)
    }

    fn collect(&mut self) {
        let timeframe = self.wanted.timeframe;
        self.waiting.extend(self.told.drain(..).filter(|candle| candle.revision == 1 && candle.timeframe == timeframe));
    }

    /// Candles whose orders arrive before `at` meet the quote of now.
    fn settle(&mut self, at: Timestamp) -> Result<(), Error> {
        while self.waiting.front().is_some_and(|candle| candle.closed_at + self.wanted.latency < at) {
            let Some(candle) = self.waiting.pop_front() else { break };
            let wrong = |wrong: String| Error::Data(format!("FEED, candle of {}: {wrong}", candle.open_time));
            let bar = bar(&candle).map_err(wrong)?;
            let (closed_at, offered, in_doubt) = (candle.closed_at, self.offered, !candle.complete);
            self.bars.push_recorded(&RecordedBar { bar, closed_at, offered, in_doubt }).map_err(wrong)?;
        }
        Ok(())
    }

    /// Time passes up to `until`, and that was all.
    ///
    /// # Errors
    /// [`Error::Data`] when no candle is closed.
    pub fn end(mut self, until: Timestamp) -> Result<Bars, Error> {
        if self.messages > 0 {
            self.advance(until)?;
        }
        self.settle(Timestamp::from_nanos(i64::MAX))?;
        if self.bars.is_empty() {
            let Recorded { venue, symbol, timeframe, .. } = &self.wanted;
            return Err(Error::Data(format!(
                "FEED holds {} messages of {venue} {symbol} in that time and no closed {timeframe} candle; give another range, or a \
                 shorter time frame",
                self.messages
            )));
        }
        Ok(self.bars)
    }
}

fn bar(candle: &Candle) -> Result<Bar, String> {
    let fixed = |value: Decimal| Fixed::try_from(value).map_err(|error| format!("{value}: {error}"));
    Ok(Bar {
        open_time: candle.open_time,
        open: fixed(candle.open)?,
        high: fixed(candle.high)?,
        low: fixed(candle.low)?,
        close: fixed(candle.close)?,
        volume: fixed(candle.volume)?,
    })
}

fn row_of(batch: &QuoteBatch, row: usize) -> Option<Quote> {
    Some(Quote {
        update_id: *batch.update_id.get(row)?,
        received_at: *batch.received_at.get(row)?,
        bid_price: batch.bid_price.get(row)?,
        bid_quantity: batch.bid_quantity.get(row)?,
        ask_price: batch.ask_price.get(row)?,
        ask_quantity: batch.ask_quantity.get(row)?,
    })
}
