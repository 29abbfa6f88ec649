//! What can happen, and how it is told from bytes.

use spark_bus_schema::actions::{RestartCommand, RestartDone, ThresholdsCommand};
use spark_bus_schema::candles::{Candle, MarketSnapshot};
use spark_bus_schema::control::StrategyCommand;
use spark_bus_schema::market::{QuoteBatch, TickBatch};
use spark_bus_schema::orders::OrderIntent;
use spark_bus_schema::parked::Parked;
use spark_bus_schema::portfolio::{Balances, PriceAnomaly};
use spark_bus_schema::rollout::{CounterMove, RolloutChanged};
use spark_bus_schema::signals::Score;
use spark_bus_schema::telemetry::{ApiRequests, Call, FeedStatus, Heartbeat};
use spark_bus_schema::{DecodeError, Kind, Message, decode, subject};

use crate::action::Told;

/// Everything that the guardrail listens to.
#[derive(Clone, Debug)]
pub enum Event {
    /// Trades.
    Ticks(TickBatch),
    /// Best bid and ask.
    Quotes(QuoteBatch),
    /// What a vendor says about a share.
    Snapshot(Box<MarketSnapshot>),
    /// A call to an exchange, or a whole refresh.
    Call(Call),
    /// A process is there.
    Heartbeat(Heartbeat),
    /// State of a market-data connection.
    Feed(FeedStatus),
    /// A poll of balances.
    Balances(Balances),
    /// A candle is over.
    Candle(Candle),
    /// The model says something about a candle.
    Score(Box<Score>),
    /// A price that moved too far.
    Anomaly(PriceAnomaly),
    /// What was answered over HTTP.
    Api(ApiRequests),
    /// Thresholds changed at run time, with the command's sequence in LEDGER.
    Thresholds(u64, ThresholdsCommand),
    /// A message that somebody could not handle.
    Parked(Parked),
    /// A command, an answer to one, or an order that a strategy wants.
    Told(Box<Told>),
}

impl Event {
    /// Decodes by subject; `sequence` is the message's place in its stream.
    ///
    /// # Errors
    /// The bytes are not what the subject carries, or speak of something else than the subject names.
    pub fn decode(subject: &str, sequence: u64, kind: Option<&str>, payload: &[u8]) -> Result<Self, DecodeError> {
        let is = |pattern| subject::matches(pattern, subject);
        if is(subject::TICKS) {
            let batch: TickBatch = decode(kind, payload)?;
            agree(TickBatch::KIND, subject, &subject::ticks(batch.venue, &batch.symbol))?;
            Ok(Self::Ticks(batch))
        } else if is(subject::QUOTES) {
            let batch: QuoteBatch = decode(kind, payload)?;
            agree(QuoteBatch::KIND, subject, &subject::quotes(batch.venue, &batch.symbol))?;
            Ok(Self::Quotes(batch))
        } else if is(subject::SNAPSHOTS) {
            let snapshot: MarketSnapshot = decode(kind, payload)?;
            agree(MarketSnapshot::KIND, subject, &subject::snapshot(snapshot.venue, &snapshot.symbol))?;
            Ok(Self::Snapshot(Box::new(snapshot)))
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
        } else if is(subject::CANDLES) {
            let candle: Candle = decode(kind, payload)?;
            agree(Candle::KIND, subject, &subject::candle(candle.venue, &candle.symbol, candle.timeframe))?;
            Ok(Self::Candle(candle))
        } else if is(subject::SCORES) {
            let score: Score = decode(kind, payload)?;
            agree(Score::KIND, subject, &subject::score(score.venue, &score.symbol, score.timeframe))?;
            Ok(Self::Score(Box::new(score)))
        } else if is(subject::API_REQUESTS) {
            let api: ApiRequests = decode(kind, payload)?;
            agree(ApiRequests::KIND, subject, &subject::api_requests(&api.service))?;
            Ok(Self::Api(api))
        } else if is(subject::THRESHOLDS) {
            Ok(Self::Thresholds(sequence, decode(kind, payload)?))
        } else if is(subject::PARKED_ALL) {
            Ok(Self::Parked(decode(kind, payload)?))
        } else {
            Ok(Self::Told(Box::new(told(subject, sequence, kind, payload)?)))
        }
    }

    /// Says which one it is of the commands that the guardrail itself gave on its subject, where that matters.
    #[must_use]
    pub fn revised(mut self, number: Option<u64>) -> Self {
        if let Self::Told(told) = &mut self
            && let Told::Restart { revision, .. } | Told::Rollback { revision, .. } = &mut **told
        {
            *revision = number;
        }
        self
    }
}

fn told(subject: &str, sequence: u64, kind: Option<&str>, payload: &[u8]) -> Result<Told, DecodeError> {
    let is = |pattern| subject::matches(pattern, subject);
    if is(subject::INTENTS) {
        let intent: OrderIntent = decode(kind, payload)?;
        agree(OrderIntent::KIND, subject, &subject::intent(&intent.order))?;
        Ok(Told::Intent { strategy: intent.strategy })
    } else if is(subject::RESTARTS) {
        let command: RestartCommand = decode(kind, payload)?;
        agree(RestartCommand::KIND, subject, &subject::restart(&command.service))?;
        Ok(Told::Restart { sequence, revision: None, command })
    } else if is(subject::RESTARTED) {
        let done: RestartDone = decode(kind, payload)?;
        agree(RestartDone::KIND, subject, &subject::restarted(&done.service))?;
        Ok(Told::Restarted(done))
    } else if is(subject::ROLLBACK) {
        Ok(Told::Rollback { revision: None, command: decode(kind, payload)? })
    } else if is(subject::LIMITS) {
        Ok(Told::Limits { sequence, command: decode(kind, payload)? })
    } else if is(subject::KILL_SWITCH) {
        Ok(Told::KillSwitch(decode(kind, payload)?))
    } else if is(subject::STRATEGIES) {
        let command: StrategyCommand = decode(kind, payload)?;
        agree(StrategyCommand::KIND, subject, &subject::strategy(&command.strategy))?;
        Ok(Told::Strategy(command))
    } else if is(subject::COUNTER_MOVES) {
        let command: CounterMove = decode(kind, payload)?;
        agree(CounterMove::KIND, subject, &subject::counter_move(command.kind))?;
        Ok(Told::CounterMove(command))
    } else if is(subject::ROLLOUT_CHANGED) {
        let changed: RolloutChanged = decode(kind, payload)?;
        agree(RolloutChanged::KIND, subject, &subject::rollout_changed(&changed.model.model_version))?;
        Ok(Told::Rollout(Box::new(changed)))
    } else {
        let what = format!("subject {subject} is none that the guardrail reads");
        Err(DecodeError::Invalid { kind: Parked::KIND, what })
    }
}

/// A message on another subject than its own would be counted for the wrong scope.
fn agree(kind: Kind, subject: &str, own: &str) -> Result<(), DecodeError> {
    if subject == own { Ok(()) } else { Err(DecodeError::Invalid { kind, what: format!("came on {subject}, belongs on {own}") }) }
}
