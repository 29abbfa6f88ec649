//! From bytes on the bus to what the view understands.

use std::time::Duration;

use spark_bus_schema::alerts::Alert;
use spark_bus_schema::backtests::JobProgress;
use spark_bus_schema::candles::MarketSnapshot;
use spark_bus_schema::market::{QuoteBatch, TickBatch};
use spark_bus_schema::marks::Mark;
use spark_bus_schema::parked::Parked;
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::signals::{Calibration, ModelInForce, Score, ScoreAnswer};
use spark_bus_schema::telemetry::{Call, FeedStatus, Heartbeat, Windows};
use spark_bus_schema::{DecodeError, Message, Timestamp, decode, subject};

use crate::record::Entry;

/// A message that the view takes in.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Trades of one symbol.
    Ticks(TickBatch),
    /// Best bids and asks of one symbol.
    Quotes(QuoteBatch),
    /// One call to an exchange.
    Call(Call),
    /// A process says that it is there.
    Heartbeat(Heartbeat),
    /// A venue's connection.
    FeedStatus(FeedStatus),
    /// The guardrail's windows.
    Windows(Windows),
    /// A poll of one exchange.
    Balances(Balances),
    /// An alert changed.
    Alert(Box<Alert>),
    /// A process could not handle a message.
    Parked(Box<Parked>),
    /// The price that decisions about money use.
    Mark(Mark),
    /// What a vendor says about one share.
    Snapshot(Box<MarketSnapshot>),
    /// How far a job is.
    Progress(JobProgress),
    /// The model that scores.
    Model(Box<ModelInForce>),
    /// What the model says about one candle.
    Score(Box<Score>),
    /// How far its scores can be believed.
    Calibration(Box<Calibration>),
    /// A score that somebody asked for.
    Answer(Box<ScoreAnswer>),
    /// A message about orders, with its place in the LEDGER; see [`crate::record`].
    Ledger(Box<Entry>),
}

/// Why a message is not in the view. It is counted; the guardrail reads the same streams and parks it. The gateway has
/// no right to publish anything but commands.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The bytes are not the message that the subject carries.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The content belongs on another subject: somebody speaks for somebody else.
    #[error("content belongs on {belongs}")]
    Misplaced {
        /// Where it should have been.
        belongs: String,
    },
    /// It speaks of a time that had not come when it was stored: everything true would look old beside it.
    #[error("of {claimed}, but stored at {stored_at}")]
    Future {
        /// What it says.
        claimed: Timestamp,
        /// When the broker took it.
        stored_at: Timestamp,
    },
}

/// Windows and alerts carry the broker's own time. A clock that is set back makes it differ by less than this.
const FUTURE_MAX: Duration = Duration::from_secs(60);

impl Unreadable {
    /// A short, stable word for metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Decode(error) => error.reason(),
            Self::Misplaced { .. } => "misplaced",
            Self::Future { .. } => "future",
        }
    }
}

impl Event {
    /// Decodes what was stored on `subject`; none for subjects that the view does not show.
    ///
    /// # Errors
    /// [`Unreadable`]; no bytes whatsoever make it panic.
    pub fn decode(on: &str, kind: Option<&str>, payload: &[u8]) -> Result<Option<Self>, Unreadable> {
        let is = |pattern: &str| subject::matches(pattern, on);
        let (belongs, event) = if is(subject::QUOTES) {
            let batch: QuoteBatch = decode(kind, payload)?;
            (subject::quotes(batch.venue, &batch.symbol), Self::Quotes(batch))
        } else if is(subject::TICKS) {
            let batch: TickBatch = decode(kind, payload)?;
            (subject::ticks(batch.venue, &batch.symbol), Self::Ticks(batch))
        } else if is(subject::CALLS) {
            let call: Call = decode(kind, payload)?;
            (subject::calls(call.exchange), Self::Call(call))
        } else if is(subject::HEARTBEATS) {
            let beat: Heartbeat = decode(kind, payload)?;
            (subject::heartbeat(&beat.service), Self::Heartbeat(beat))
        } else if is(subject::FEED_STATUS) {
            let status: FeedStatus = decode(kind, payload)?;
            (subject::feed_status(status.venue), Self::FeedStatus(status))
        } else if is(subject::WINDOWS) {
            return Ok(Some(Self::Windows(decode_only(kind, payload)?)));
        } else if is(subject::BALANCES) {
            let balances: Balances = decode(kind, payload)?;
            (subject::balances(balances.exchange), Self::Balances(balances))
        } else if is(subject::ALERTS) {
            let alert: Alert = decode(kind, payload)?;
            (subject::alert(&alert.name, &alert.scope), Self::Alert(Box::new(alert)))
        } else if is(subject::MARKS) {
            let mark: Mark = decode(kind, payload)?;
            (subject::mark(mark.venue, &mark.symbol), Self::Mark(mark))
        } else if is(subject::PARKED_ALL) {
            let parked: Parked = decode(kind, payload)?;
            (subject::parked(&parked.process, &parked.stream, parked.sequence), Self::Parked(Box::new(parked)))
        } else {
            return Self::decode_signals(on, kind, payload);
        };
        if belongs == on { Ok(Some(event)) } else { Err(Unreadable::Misplaced { belongs }) }
    }

    /// As [`decode`](Self::decode): shares, jobs and what the model says.
    fn decode_signals(on: &str, kind: Option<&str>, payload: &[u8]) -> Result<Option<Self>, Unreadable> {
        let is = |pattern: &str| subject::matches(pattern, on);
        let (belongs, event) = if is(subject::SNAPSHOTS) {
            let share: MarketSnapshot = decode(kind, payload)?;
            (subject::snapshot(share.venue, &share.symbol), Self::Snapshot(Box::new(share)))
        } else if is(subject::JOB_PROGRESS) {
            let progress: JobProgress = decode(kind, payload)?;
            (subject::job_progress(&progress.id), Self::Progress(progress))
        } else if is(subject::MODEL) {
            (on.to_owned(), Self::Model(Box::new(decode_only(kind, payload)?)))
        } else if is(subject::SCORES) {
            let score: Score = decode(kind, payload)?;
            (subject::score(score.venue, &score.symbol, score.timeframe), Self::Score(Box::new(score)))
        } else if is(subject::CALIBRATIONS) {
            let told: Calibration = decode(kind, payload)?;
            (subject::calibration(told.venue, &told.symbol, told.timeframe), Self::Calibration(Box::new(told)))
        } else if is(subject::SCORE_ANSWERS) {
            let answer: ScoreAnswer = decode(kind, payload)?;
            (subject::score_answer(&answer.id), Self::Answer(Box::new(answer)))
        } else {
            return Ok(None);
        };
        if belongs == on { Ok(Some(event)) } else { Err(Unreadable::Misplaced { belongs }) }
    }

    /// Refuses what is newer than the moment it was stored: the view shows the newest, so it would be shown for ever.
    ///
    /// # Errors
    /// [`Unreadable::Future`].
    pub fn not_from_the_future(self, stored_at: Timestamp) -> Result<Self, Unreadable> {
        let claimed = match &self {
            Self::Windows(windows) => windows.at,
            Self::Alert(alert) => alert.at,
            Self::Score(score) => score.decided_at,
            Self::Snapshot(share) => share.occurred_at,
            _ => return Ok(self),
        };
        if claimed > stored_at + FUTURE_MAX { Err(Unreadable::Future { claimed, stored_at }) } else { Ok(self) }
    }
}

fn decode_only<T: Message>(kind: Option<&str>, payload: &[u8]) -> Result<T, Unreadable> {
    Ok(decode(kind, payload)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spark_bus_schema::catalogue;

    #[test]
    fn garbage_on_every_subject_is_an_error_with_a_word_for_it() {
        let subjects = [
            "market.ticks.binance.BTCUSDT",
            "market.quotes.binance.BTCUSDT",
            "telemetry.calls.binance",
            "telemetry.heartbeat.feed",
            "telemetry.feed.binance",
            "telemetry.windows",
            "portfolio.balances.binance",
            "alerts.changed.WSStaleness.binance",
            "parked.guardrail.FEED.7",
            "marks.price.binance.BTCUSDT",
            "market.snapshots.bist.THYAO",
            "telemetry.jobs.a",
            "signals.model",
            "signals.score.binance.BTCUSDT.1m",
            "signals.calibration.binance.BTCUSDT.1m",
            "signals.answer.a",
        ];
        for on in subjects {
            let check = |kind: Option<&str>, payload: &[u8], want: &str| {
                assert_eq!(Event::decode(on, kind, payload).unwrap_err().reason(), want, "{on} {kind:?}");
            };
            check(None, b"\xff\xff", "missing_kind");
            check(Some("candle.v1"), b"\x80", "wrong_kind");
            let kind = kind_on(on);
            check(Some(&kind), b"\xc1\x00\xff", "malformed");
            check(Some(&kind), &vec![0; 2 * 1024 * 1024], "too_large");
            check(Some(&kind.replace(".v1", ".v999")), b"\x80", "unknown_version");
        }
        assert!(Event::decode("portfolio.anomaly.binance", None, b"").unwrap().is_none(), "not shown, not an error");
    }

    #[test]
    fn a_message_on_somebody_elses_subject_is_refused() {
        for entry in catalogue::entries() {
            let sample = (entry.sample)();
            let kind = entry.kind.to_string();
            let elsewhere = entry.subject.replace('>', "x.y");
            match Event::decode(&elsewhere, Some(&kind), &sample) {
                Err(error) => assert_eq!(error.reason(), "misplaced", "{elsewhere}"),
                Ok(event) => {
                    assert!(event.is_none() || [subject::WINDOWS, subject::MODEL].contains(&entry.subject), "{elsewhere}")
                }
            }
        }
    }

    fn kind_on(on: &str) -> String {
        let entries = catalogue::entries();
        let entry = entries.iter().find(|entry| subject::matches(entry.subject, on)).unwrap();
        entry.kind.to_string()
    }
}
