//! Readable lines for candles, scores, rollouts, strategies and backtests.

use spark_bus_schema::backtests::{BacktestDone, BacktestJob, JobCancel, JobProgress, JobState};
use spark_bus_schema::candles::{Candle, CandleHistory, MarketSnapshot};
use spark_bus_schema::rollout::{CounterMove, GateState, Phase, RolloutChanged, RolloutCommand};
use spark_bus_schema::signals::{Calibration, ModelInForce, Outcome, Score, ScoreAnswer, ScoreRequest};
use spark_bus_schema::strategies::StrategyRegistered;
use spark_bus_schema::{DecodeError, Kind, Message};
use spark_nats::Delivery;

use super::Told;
use crate::output::Style;

/// The line of a message of these kinds; none when it is of another.
pub fn known(delivery: &Delivery, kind: Kind) -> Option<Result<Told, DecodeError>> {
    Some(match kind {
        Candle::KIND => delivery.decode().map(|it| (candle(&it), None)),
        CandleHistory::KIND => delivery.decode().map(|it| (history(&it), Some(Style::Dim))),
        MarketSnapshot::KIND => delivery.decode().map(|it| (snapshot(&it), None)),
        ModelInForce::KIND => delivery.decode().map(|it| (model(&it), Some(Style::Cyan))),
        Score::KIND => delivery.decode().map(|it: Score| (score(&it), it.advisory.then_some(Style::Dim))),
        ScoreRequest::KIND => delivery.decode().map(|it| (request(&it), None)),
        ScoreAnswer::KIND => delivery.decode().map(|it: ScoreAnswer| (format!("{}: {}", it.id, score(&it.score)), None)),
        Outcome::KIND => delivery.decode().map(|it| (outcome(&it), Some(Style::Dim))),
        Calibration::KIND => delivery.decode().map(|it| (calibration(&it), Some(Style::Dim))),
        RolloutCommand::KIND => delivery.decode().map(|it| (command(&it), Some(Style::Cyan))),
        RolloutChanged::KIND => delivery.decode().map(|it| (rollout(&it), Some(rollout_style(&it)))),
        CounterMove::KIND => delivery.decode().map(|it| (counter_move(&it), Some(Style::Yellow))),
        StrategyRegistered::KIND => delivery.decode().map(|it| (strategy(&it), Some(Style::Cyan))),
        BacktestJob::KIND => delivery.decode().map(|it| (job(&it), None)),
        JobProgress::KIND => delivery.decode().map(|it| (progress(&it), Some(Style::Dim))),
        JobCancel::KIND => {
            delivery.decode().map(|it: JobCancel| (format!("{} taken back by {}: {}", it.id, it.actor, it.reason), None))
        }
        BacktestDone::KIND => delivery.decode().map(|it| (done(&it), Some(done_style(&it)))),
        _ => return None,
    })
}

fn candle(it: &Candle) -> String {
    let again = if it.revision > 1 { format!(", revision {}", it.revision) } else { String::new() };
    let gap = if it.gap { ", nothing traded" } else { "" };
    let part = if it.complete { "" } else { ", incomplete" };
    format!(
        "{} {} {}: {} {} {} {}, volume {}, {} trades{gap}{part}{again}",
        it.symbol, it.timeframe, it.open_time, it.open, it.high, it.low, it.close, it.volume, it.trades
    )
}

fn history(it: &CandleHistory) -> String {
    let first = it.open_time.first().map(ToString::to_string).unwrap_or_default();
    format!("{} {}: {} candles from {first}", it.symbol, it.timeframe, it.open_time.len())
}

fn snapshot(it: &MarketSnapshot) -> String {
    let delay = if it.delay_minutes > 0 { format!(", {} min delayed", it.delay_minutes) } else { String::new() };
    format!("{} {} at {} ({}{delay})", it.symbol, it.last, it.occurred_at, it.status)
}

fn model(it: &ModelInForce) -> String {
    format!("{} scores ({}…), floor {}", it.model.model_version, &it.model.hash[..8.min(it.model.hash.len())], it.confid_floor)
}

fn score(it: &Score) -> String {
    let said = match (it.score, it.confid) {
        (Some(score), Some(confid)) => format!("{score:+.3}, confidence {confid:.3}"),
        _ => "no score".to_owned(),
    };
    let why = it.reason.as_deref().map(|reason| format!("; advisory: {reason}")).unwrap_or_default();
    format!("{} {} {}: {said}{why}", it.symbol, it.timeframe, it.open_time)
}

fn request(it: &ScoreRequest) -> String {
    format!("{}: {} asks for a score of {} {}", it.id, it.actor, it.symbol, it.timeframe)
}

fn outcome(it: &Outcome) -> String {
    let hit = if it.hit { "as scored" } else { "not as scored" };
    format!("{} {} {}: moved {:+.2} bps after {:+.3}, {hit}", it.symbol, it.timeframe, it.open_time, it.move_bps, it.score)
}

fn calibration(it: &Calibration) -> String {
    let brier = it.brier.map_or("none yet".to_owned(), |brier| format!("{brier:.4}"));
    format!("{} {}: {} outcomes, Brier {brier}", it.symbol, it.timeframe, it.samples)
}

fn command(it: &RolloutCommand) -> String {
    format!("{} wants the rollout to {:?}: {}", it.actor, it.verb, it.reason)
}

fn rollout(it: &RolloutChanged) -> String {
    let refusal = it.refusal.as_deref().map(|why| format!("; refused: {why}")).unwrap_or_default();
    format!("{} at {} ({:?}): {}{refusal}", it.model.model_version, it.stage, it.phase, it.summary)
}

fn rollout_style(it: &RolloutChanged) -> Style {
    match it.phase {
        Phase::RolledBack => Style::Red,
        Phase::Promoted => Style::Green,
        _ if it.gates.iter().any(|gate| gate.state == GateState::Failed) => Style::Red,
        _ => Style::Cyan,
    }
}

fn counter_move(it: &CounterMove) -> String {
    format!("{} {}: {}", it.kind.as_str(), if it.on { "on" } else { "taken back" }, it.reason)
}

fn strategy(it: &StrategyRegistered) -> String {
    format!("{} ({}) on {} {} is {}: {}", it.name, it.kind, it.exchange, it.symbol, it.status, it.reason)
}

fn job(it: &BacktestJob) -> String {
    format!("{}: {} on {}, asked for by {}", it.id, it.kind, it.symbol, it.actor)
}

fn progress(it: &JobProgress) -> String {
    format!("{} {:?}: {} of {} bars by {}, attempt {}", it.id, it.state, it.done, it.total, it.worker, it.attempt)
}

fn done(it: &BacktestDone) -> String {
    match (&it.metrics, &it.error) {
        (Some(metrics), _) => format!("{}: {:+.2} % in {} trades", it.id, metrics.total_return_pct, metrics.trades),
        (None, Some(error)) => format!("{} {:?}: {error}", it.id, it.state),
        (None, None) => format!("{} {:?}", it.id, it.state),
    }
}

fn done_style(it: &BacktestDone) -> Style {
    match it.state {
        JobState::Done => Style::Green,
        JobState::Failed => Style::Red,
        _ => Style::Yellow,
    }
}
