//! What can happen, and how it is told from bytes.

use spark_bus_schema::market::{QuoteBatch, TickBatch};
use spark_bus_schema::parked::Parked;
use spark_bus_schema::portfolio::{Balances, PriceAnomaly};
use spark_bus_schema::telemetry::{Call, FeedStatus, Heartbeat};
use spark_bus_schema::{DecodeError, Kind, Message, decode, subject};

/// Everything that the guardrail listens to.
#[derive(Clone, Debug)]
pub enum Event {
    /// Trades.
    Ticks(TickBatch),
    /// Best bid and ask.
    Quotes(QuoteBatch),
    /// A call to an exchange, or a whole refresh.
    Call(Call),
    /// A process is there.
    Heartbeat(Heartbeat),
    /// State of a market-data connection.
    Feed(FeedStatus),
    /// A poll of balances.
    Balances(Balances),
    /// A price that moved too far.
    Anomaly(PriceAnomaly),
    /// A message that somebody could not handle.
    Parked(Parked),
}

impl Event {
    /// Decodes by subject.
    ///
    /// # Errors
    /// The bytes are not what the subject carries, or speak of something else than the subject names.
    pub fn decode(subject: &str, kind: Option<&str>, payload: &[u8]) -> Result<Self, DecodeError> {
        let is = |pattern| subject::matches(pattern, subject);
        if is(subject::TICKS) {
            let batch: TickBatch = decode(kind, payload)?;
            agree(TickBatch::KIND, subject, &subject::ticks(batch.venue, &batch.symbol))?;
            Ok(Self::Ticks(batch))
        } else if is(subject::QUOTES) {
            let batch: QuoteBatch = decode(kind, payload)?;
            agree(QuoteBatch::KIND, subject, &subject::quotes(batch.venue, &batch.symbol))?;
            Ok(Self::Quotes(batch))
        } else if is(subject::CALLS) {
            let call: Call = decode(kind, payload)?;
            agree(Call::KIND, subject, &subject::calls(call.exchange))?;
            Ok(Self::Call(call))
        } else if is(subject::HEARTBEATS) {
            let beat: Heartbeat = decode(kind, payload)?;
            agree(Heartbeat::KIND, subject, &subject::heartbeat(&beat.service))?;
            Ok(Self::Heartbeat(beat))
        } else if is(subject::FEED_STATUS) {
            let status: FeedStatus = decode(kind, payload)?;
            agree(FeedStatus::KIND, subject, &subject::feed_status(status.venue))?;
            Ok(Self::Feed(status))
        } else if is(subject::BALANCES) {
            let balances: Balances = decode(kind, payload)?;
            agree(Balances::KIND, subject, &subject::balances(balances.exchange))?;
            Ok(Self::Balances(balances))
        } else if is(subject::ANOMALIES) {
            let anomaly: PriceAnomaly = decode(kind, payload)?;
            agree(PriceAnomaly::KIND, subject, &subject::anomaly(anomaly.exchange))?;
            Ok(Self::Anomaly(anomaly))
        } else if is(subject::PARKED_ALL) {
            Ok(Self::Parked(decode(kind, payload)?))
        } else {
            let what = format!("subject {subject} is none that the guardrail reads");
            Err(DecodeError::Invalid { kind: Parked::KIND, what })
        }
    }
}

/// A message on another subject than its own would be counted for the wrong scope.
fn agree(kind: Kind, subject: &str, own: &str) -> Result<(), DecodeError> {
    if subject == own { Ok(()) } else { Err(DecodeError::Invalid { kind, what: format!("came on {subject}, belongs on {own}") }) }
}
