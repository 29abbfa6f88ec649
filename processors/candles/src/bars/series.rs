//! Trades of one symbol, sorted into its candles.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::candles::{Candle, CandleHistory, TimeFrame};
use spark_bus_schema::market::TickBatch;
use spark_bus_schema::session::Calendar;
use spark_bus_schema::{Timestamp, Venue};

use super::Counts;
use super::frame::{Context, Frame, Place};
use super::ids::{Ids, Numbering, Seen};
use super::piece::{Run, Scales};

/// A trade this far after its stored time is not believed: it would close every candle.
pub const AHEAD_MAX: Duration = Duration::from_secs(60);

/// One symbol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Series {
    scales: Scales,
    ids: Ids,
    /// Time of the newest trade, by the venue's clock.
    newest: Timestamp,
    /// When that one was stored.
    newest_at: Timestamp,
    is_cut: bool,
    lost: Option<(Timestamp, Timestamp)>,
    frames: Vec<Frame>,
    needs_review: bool,
}

/// Where a call's candles and counts go.
pub(super) struct Call<'a> {
    pub at: Timestamp,
    pub venue: Venue,
    pub symbol: &'a str,
    pub calendar: &'a Calendar,
    pub counts: &'a mut Counts,
    pub told: &'a mut Vec<Candle>,
}

/// Borrows what candles share, beside the frames.
macro_rules! context {
    ($series:expr, $call:expr) => {
        Context {
            venue: $call.venue,
            symbol: $call.symbol,
            scales: $series.scales,
            ids: &$series.ids,
            calendar: $call.calendar,
            is_cut: $series.is_cut,
            lost: $series.lost,
            newest: $series.newest,
            at: $call.at,
        }
    };
}

impl Series {
    pub fn new(venue: Venue, lengths: &[TimeFrame]) -> Self {
        Self {
            scales: Scales::default(),
            ids: Ids::new(Numbering::of(venue)),
            newest: Timestamp::ZERO,
            newest_at: Timestamp::ZERO,
            is_cut: false,
            lost: None,
            frames: lengths.iter().copied().map(Frame::new).collect(),
            needs_review: false,
        }
    }

    /// After a change of the configuration: other lengths begin with the next trade.
    pub fn set_lengths(&mut self, lengths: &[TimeFrame]) {
        self.frames.retain(|frame| lengths.contains(&frame.length));
        for length in lengths {
            if self.frames.iter().all(|frame| frame.length != *length) {
                self.frames.push(Frame::new(*length));
            }
        }
        self.frames.sort_by_key(|frame| frame.length);
    }

    /// The batch has passed its validation: columns of one length, scales in range.
    pub fn apply(&mut self, batch: &TickBatch, call: &mut Call<'_>) {
        let from = Scales { price: batch.price.scale, quantity: batch.quantity.scale };
        self.widen(from);
        let columns = batch.trade_id.iter().zip(&batch.occurred_at).zip(&batch.price.values).zip(&batch.quantity.values);
        let ahead = (call.at + AHEAD_MAX).as_nanos();
        let mut run = Run::EMPTY;
        let mut span = self.span(ahead);
        for (((&id, &time), &price), &quantity) in columns {
            let time_ns = time.as_nanos();
            if span.0 <= time_ns && time_ns < span.1 && self.ids.follows(id) {
                if !run.add((time_ns, id), price, quantity) {
                    self.extend(&run, from, call.at);
                    run = Run::EMPTY;
                    run.add((time_ns, id), price, quantity);
                }
                continue;
            }
            self.extend(&run, from, call.at);
            run = Run::EMPTY;
            run.add((time_ns, id), price, quantity);
            self.single(id, time, &run, from, call);
            run = Run::EMPTY;
            span = self.span(ahead);
        }
        self.extend(&run, from, call.at);
        self.finish(call);
    }

    /// Trades in order within it need no look: the part that all open intervals share, if the connection held. Half open, ns.
    fn span(&self, ahead: i64) -> (i64, i64) {
        const NOTHING: (i64, i64) = (i64::MAX, i64::MIN);
        if self.is_cut {
            return NOTHING;
        }
        let mut shared = (i64::MIN, ahead.saturating_add(1));
        for frame in &self.frames {
            let Some((open, close)) = frame.span() else { return NOTHING };
            shared = (shared.0.max(open), shared.1.min(close));
        }
        shared
    }

    fn extend(&mut self, run: &Run, from: Scales, at: Timestamp) {
        let Some(piece) = run.piece(from, self.scales) else { return };
        for frame in &mut self.frames {
            frame.extend(&piece, self.scales);
        }
        self.saw(Timestamp::from_nanos(run.newest_ns()), at);
    }

    fn saw(&mut self, time: Timestamp, at: Timestamp) {
        if time >= self.newest {
            (self.newest, self.newest_at) = (time, at);
        }
    }

    /// A trade that is not simply the next one.
    fn single(&mut self, id: u64, time: Timestamp, run: &Run, from: Scales, call: &mut Call<'_>) {
        if time > call.at + AHEAD_MAX {
            call.counts.ahead += 1;
            return;
        }
        let is_newest = time > self.newest;
        let mut lost = None;
        match self.ids.see(id, time, self.newest) {
            Seen::Before => {
                call.counts.duplicates += 1;
                return;
            }
            Seen::Anew => lost = Some((self.newest, time)),
            Seen::Jump(..) | Seen::Late => self.needs_review = true,
            Seen::New => {}
        }
        if is_newest && std::mem::take(&mut self.is_cut) {
            self.needs_review = true;
            if self.ids.numbering() == Numbering::Rising {
                lost = Some((self.newest, time));
            }
        }
        for lost in lost.into_iter().chain(self.ids.forgotten()) {
            self.lost = Some(lost);
            self.needs_review = true;
            self.frames.iter_mut().for_each(|frame| frame.lose(lost));
        }
        let Some(piece) = run.piece(from, self.scales) else { return };
        let context = context!(self, call);
        let (mut is_late, mut is_gone) = (false, false);
        for frame in &mut self.frames {
            let place = frame.add(time, &piece, &context, call.told);
            is_late |= place != Place::Current;
            is_gone |= place == Place::Gone;
        }
        call.counts.late += u64::from(is_late);
        call.counts.dropped += u64::from(is_gone);
        self.saw(time, call.at);
    }

    /// What is over by the venue's clock, as far as it can be told here: the newest trade's time, and what has passed since.
    pub fn tick(&mut self, grace: Duration, call: &mut Call<'_>) {
        if self.newest_at == Timestamp::ZERO {
            return;
        }
        let until = self.newest + call.at.saturating_since(self.newest_at) - grace;
        let context = context!(self, call);
        for frame in &mut self.frames {
            frame.close_until(until, &context, call.told);
        }
    }

    /// The connection to the venue broke: what happens from now on may be missing.
    pub fn cut(&mut self, call: &mut Call<'_>) {
        self.is_cut = true;
        self.needs_review = true;
        self.finish(call);
    }

    pub fn replace(&mut self, history: &CandleHistory, call: &mut Call<'_>) {
        let prices = [&history.open, &history.high, &history.low, &history.close];
        let price = prices.map(|column| column.scale).into_iter().max().unwrap_or(0);
        self.widen(Scales { price, quantity: history.volume.scale });
        if let Some(frame) = self.frames.iter_mut().find(|frame| frame.length == history.timeframe) {
            frame.replace(history, self.scales);
        }
        self.finish(call);
    }

    fn widen(&mut self, need: Scales) {
        let wide = Scales { price: self.scales.price.max(need.price), quantity: self.scales.quantity.max(need.quantity) };
        if wide != self.scales {
            for frame in &mut self.frames {
                frame.widen(self.scales, wide);
            }
            self.scales = wide;
        }
    }

    /// Tells corrections once a call.
    fn finish(&mut self, call: &mut Call<'_>) {
        let needs_review = std::mem::take(&mut self.needs_review);
        let context = context!(self, call);
        for frame in &mut self.frames {
            if needs_review || frame.is_doubtful() {
                frame.review(&context);
            }
            frame.tell(&context, call.told);
        }
    }
}
