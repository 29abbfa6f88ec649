//! Where messages travel. Facts are `noun.past`-like, commands `noun.verb`; tokens never contain dots, blanks or wildcards.

use std::collections::BTreeMap;

use crate::candles::TimeFrame;
use crate::instrument::Venue;
use crate::orders::OrderId;
use crate::rollout::CounterMoveKind;

/// High rate, hours of retention.
pub const FEED: &str = "FEED";
/// Everything that decides about money, in one total order.
pub const LEDGER: &str = "LEDGER";
/// Work queue.
pub const JOBS: &str = "JOBS";
/// What could not be handled.
pub const PARKED: &str = "PARKED";

/// Every trade: `market.ticks.<venue>.<symbol>`.
pub const TICKS: &str = "market.ticks.>";
/// Every best bid/ask: `market.quotes.<venue>.<symbol>`.
pub const QUOTES: &str = "market.quotes.>";
/// Every closed candle: `market.candles.<venue>.<symbol>.<timeframe>`.
pub const CANDLES: &str = "market.candles.>";
/// Candles from before Spark listened: `market.history.<venue>.<symbol>.<timeframe>`.
pub const HISTORY: &str = "market.history.>";
/// What vendors say about shares: `market.snapshots.<venue>.<symbol>`.
pub const SNAPSHOTS: &str = "market.snapshots.>";
/// How far jobs are: `telemetry.jobs.<id>`.
pub const JOB_PROGRESS: &str = "telemetry.jobs.>";
/// Backtests to be done: `jobs.backtest.<id>`.
pub const BACKTESTS: &str = "jobs.backtest.>";
/// Backtests that came to an end: `audit.backtest.<id>`.
pub const BACKTESTS_DONE: &str = "audit.backtest.>";
/// Jobs taken back: `control.job.<id>`.
pub const JOB_CANCELS: &str = "control.job.>";
/// Registered strategies: `control.registry.<strategy>`.
pub const REGISTRY: &str = "control.registry.>";
/// The model in force.
pub const MODEL: &str = "signals.model";
/// Every score: `signals.score.<venue>.<symbol>.<timeframe>`.
pub const SCORES: &str = "signals.score.>";
/// Scores asked for: `signals.request.<id>`.
pub const SCORE_REQUESTS: &str = "signals.request.>";
/// The answers: `signals.answer.<id>`.
pub const SCORE_ANSWERS: &str = "signals.answer.>";
/// What the price did after scores: `signals.outcome.<venue>.<symbol>.<timeframe>`.
pub const OUTCOMES: &str = "signals.outcome.>";
/// How far scores can be believed: `signals.calibration.<venue>.<symbol>.<timeframe>`.
pub const CALIBRATIONS: &str = "signals.calibration.>";
/// A person's word about the rollout.
pub const ROLLOUT: &str = "control.rollout";
/// Where rollouts stand: `rollout.changed.<model version>`.
pub const ROLLOUT_CHANGED: &str = "rollout.changed.>";
/// A new rollout process took over.
pub const ROLLOUT_EPOCH: &str = "rollout.epoch";
/// Time goes on while nothing else is told: said by the rollout process that holds the lease.
pub const ROLLOUT_CLOCK: &str = "rollout.clock";
/// What the guardrail does against a model that does badly: `control.countermove.<kind>`.
pub const COUNTER_MOVES: &str = "control.countermove.>";
/// Every exchange call: `telemetry.calls.<exchange>`.
pub const CALLS: &str = "telemetry.calls.>";
/// Every heartbeat: `telemetry.heartbeat.<service>`.
pub const HEARTBEATS: &str = "telemetry.heartbeat.>";
/// Every connection state: `telemetry.feed.<venue>`.
pub const FEED_STATUS: &str = "telemetry.feed.>";
/// The guardrail's windows.
pub const WINDOWS: &str = "telemetry.windows";
/// Every balance: `portfolio.balances.<exchange>`.
pub const BALANCES: &str = "portfolio.balances.>";
/// Every held-back price: `portfolio.anomaly.<exchange>`.
pub const ANOMALIES: &str = "portfolio.anomaly.>";
/// Every alert: `alerts.changed.<name>.<scope>`.
pub const ALERTS: &str = "alerts.changed.>";
/// What the guardrail did about criticals: `alerts.action.<episode>`.
pub const ACTIONS: &str = "alerts.action.>";
/// Decisions to tell somebody: `alerts.notification.<receiver>.<group id>`.
pub const NOTIFICATIONS: &str = "alerts.notification.>";
/// What became of them: `alerts.delivery.<receiver>.<group id>`.
pub const DELIVERIES: &str = "alerts.delivery.>";
/// What the gateway answered: `telemetry.api.<service>`.
pub const API_REQUESTS: &str = "telemetry.api.>";
/// Processes to be restarted: `control.restart.<service>`.
pub const RESTARTS: &str = "control.restart.>";
/// What became of that: `control.restarted.<service>`.
pub const RESTARTED: &str = "control.restarted.>";
/// Back to what was known to be good.
pub const ROLLBACK: &str = "control.rollback";
/// Thresholds changed at run time.
pub const THRESHOLDS: &str = "control.thresholds";
/// Silences: `control.silence.<id>`.
pub const SILENCES: &str = "control.silence.>";
/// Outcomes of the smoke check.
pub const SMOKE: &str = "audit.smoke";
/// Breaker commands: `control.breaker.<exchange>`.
pub const BREAKER: &str = "control.breaker.>";
/// Every order that somebody wants: `orders.intent.<order>`.
pub const INTENTS: &str = "orders.intent.>";
/// Everything that became of an order: `orders.event.<order>`.
pub const ORDER_EVENTS: &str = "orders.event.>";
/// The executor's filters: `orders.instruments.<exchange>`.
pub const INSTRUMENTS: &str = "orders.instruments.>";
/// The executor's comparisons with the exchanges: `orders.reconciliation.<exchange>`.
pub const RECONCILIATIONS: &str = "orders.reconciliation.>";
/// A new executor took over.
pub const ORDERS_EPOCH: &str = "orders.epoch";
/// Every verdict: `risk.verdict.<order>`.
pub const VERDICTS: &str = "risk.verdict.>";
/// Intents that waited too long: `risk.timeout.<order>`.
pub const RISK_TIMEOUTS: &str = "risk.timeout.>";
/// A new risk process took over.
pub const RISK_EPOCH: &str = "risk.epoch";
/// Every mark: `marks.price.<venue>.<symbol>`.
pub const MARKS: &str = "marks.price.>";
/// The kill switch.
pub const KILL_SWITCH: &str = "control.kill_switch";
/// Limits.
pub const LIMITS: &str = "control.limits";
/// Halts lifted.
pub const RESUME: &str = "control.resume";
/// Cancels: `control.cancel.<order>`.
pub const CANCELS: &str = "control.cancel.>";
/// Strategies started and stopped: `control.strategy.<strategy>`.
pub const STRATEGIES: &str = "control.strategy.>";
/// Places of the LEDGER's hash chain.
pub const AUDIT_ANCHOR: &str = "audit.anchor";
/// The LEDGER is what its chain says.
pub const AUDIT_VERIFIED: &str = "audit.verified";
/// The LEDGER is damaged.
pub const AUDIT_DAMAGE: &str = "audit.damage";
/// Every parked message: `parked.<process>.<stream>.<sequence>`.
pub const PARKED_ALL: &str = "parked.>";

/// `market.ticks.<venue>.<symbol>`
#[must_use]
pub fn ticks(venue: Venue, symbol: &str) -> String {
    format!("market.ticks.{venue}.{symbol}")
}

/// `market.quotes.<venue>.<symbol>`
#[must_use]
pub fn quotes(venue: Venue, symbol: &str) -> String {
    format!("market.quotes.{venue}.{symbol}")
}

/// `market.candles.<venue>.<symbol>.<timeframe>`
#[must_use]
pub fn candle(venue: Venue, symbol: &str, timeframe: TimeFrame) -> String {
    format!("market.candles.{venue}.{symbol}.{timeframe}")
}

/// `market.history.<venue>.<symbol>.<timeframe>`
#[must_use]
pub fn history(venue: Venue, symbol: &str, timeframe: TimeFrame) -> String {
    format!("market.history.{venue}.{symbol}.{timeframe}")
}

/// `market.snapshots.<venue>.<symbol>`
#[must_use]
pub fn snapshot(venue: Venue, symbol: &str) -> String {
    format!("market.snapshots.{venue}.{symbol}")
}

/// `telemetry.jobs.<id>`
#[must_use]
pub fn job_progress(id: &str) -> String {
    format!("telemetry.jobs.{}", token(id))
}

/// `jobs.backtest.<id>`
#[must_use]
pub fn backtest(id: &str) -> String {
    format!("jobs.backtest.{}", token(id))
}

/// `audit.backtest.<id>`
#[must_use]
pub fn backtest_done(id: &str) -> String {
    format!("audit.backtest.{}", token(id))
}

/// `control.job.<id>`
#[must_use]
pub fn job_cancel(id: &str) -> String {
    format!("control.job.{}", token(id))
}

/// `control.registry.<strategy>`
#[must_use]
pub fn registry(strategy: &str) -> String {
    format!("control.registry.{}", token(strategy))
}

/// `signals.score.<venue>.<symbol>.<timeframe>`
#[must_use]
pub fn score(venue: Venue, symbol: &str, timeframe: TimeFrame) -> String {
    format!("signals.score.{venue}.{symbol}.{timeframe}")
}

/// `signals.request.<id>`
#[must_use]
pub fn score_request(id: &str) -> String {
    format!("signals.request.{}", token(id))
}

/// `signals.answer.<id>`
#[must_use]
pub fn score_answer(id: &str) -> String {
    format!("signals.answer.{}", token(id))
}

/// `signals.outcome.<venue>.<symbol>.<timeframe>`
#[must_use]
pub fn outcome(venue: Venue, symbol: &str, timeframe: TimeFrame) -> String {
    format!("signals.outcome.{venue}.{symbol}.{timeframe}")
}

/// `signals.calibration.<venue>.<symbol>.<timeframe>`
#[must_use]
pub fn calibration(venue: Venue, symbol: &str, timeframe: TimeFrame) -> String {
    format!("signals.calibration.{venue}.{symbol}.{timeframe}")
}

/// `rollout.changed.<model version>`
#[must_use]
pub fn rollout_changed(model_version: &str) -> String {
    format!("rollout.changed.{}", token(model_version))
}

/// `control.countermove.<kind>`
#[must_use]
pub fn counter_move(kind: CounterMoveKind) -> String {
    format!("control.countermove.{}", kind.as_str())
}

/// `telemetry.calls.<exchange>`
#[must_use]
pub fn calls(exchange: Venue) -> String {
    format!("telemetry.calls.{exchange}")
}

/// `telemetry.heartbeat.<service>`
#[must_use]
pub fn heartbeat(service: &str) -> String {
    format!("telemetry.heartbeat.{service}")
}

/// `telemetry.feed.<venue>`
#[must_use]
pub fn feed_status(venue: Venue) -> String {
    format!("telemetry.feed.{venue}")
}

/// `portfolio.balances.<exchange>`
#[must_use]
pub fn balances(exchange: Venue) -> String {
    format!("portfolio.balances.{exchange}")
}

/// `portfolio.anomaly.<exchange>`
#[must_use]
pub fn anomaly(exchange: Venue) -> String {
    format!("portfolio.anomaly.{exchange}")
}

/// `alerts.changed.<name>.<scope>`: the values of the scope in order of their keys, joined by `-`; `all` without a scope.
#[must_use]
pub fn alert(name: &str, scope: &BTreeMap<String, String>) -> String {
    let scope = scope.values().map(|value| token(value)).collect::<Vec<_>>().join("-");
    format!("alerts.changed.{}.{}", token(name), if scope.is_empty() { "all" } else { &scope })
}

/// `alerts.action.<episode>`
#[must_use]
pub fn action(episode: &str) -> String {
    format!("alerts.action.{}", token(episode))
}

/// `alerts.notification.<receiver>.<group id>`; the id is short text that follows from the group's key
#[must_use]
pub fn notification(receiver: &str, group_id: &str) -> String {
    format!("alerts.notification.{}.{}", token(receiver), token(group_id))
}

/// `alerts.delivery.<receiver>.<group id>`
#[must_use]
pub fn delivery(receiver: &str, group_id: &str) -> String {
    format!("alerts.delivery.{}.{}", token(receiver), token(group_id))
}

/// `telemetry.api.<service>`
#[must_use]
pub fn api_requests(service: &str) -> String {
    format!("telemetry.api.{}", token(service))
}

/// `control.restart.<service>`
#[must_use]
pub fn restart(service: &str) -> String {
    format!("control.restart.{}", token(service))
}

/// `control.restarted.<service>`
#[must_use]
pub fn restarted(service: &str) -> String {
    format!("control.restarted.{}", token(service))
}

/// `control.silence.<id>`
#[must_use]
pub fn silence(id: &str) -> String {
    format!("control.silence.{}", token(id))
}

/// `control.breaker.<exchange>`
#[must_use]
pub fn breaker(exchange: Venue) -> String {
    format!("control.breaker.{exchange}")
}

/// `orders.intent.<order>`
#[must_use]
pub fn intent(order: &OrderId) -> String {
    format!("orders.intent.{order}")
}

/// `orders.event.<order>`
#[must_use]
pub fn order_event(order: &OrderId) -> String {
    format!("orders.event.{order}")
}

/// `orders.instruments.<exchange>`
#[must_use]
pub fn instruments(exchange: Venue) -> String {
    format!("orders.instruments.{exchange}")
}

/// `orders.reconciliation.<exchange>`
#[must_use]
pub fn reconciliation(exchange: Venue) -> String {
    format!("orders.reconciliation.{exchange}")
}

/// `risk.verdict.<order>`
#[must_use]
pub fn verdict(order: &OrderId) -> String {
    format!("risk.verdict.{order}")
}

/// `risk.timeout.<order>`
#[must_use]
pub fn risk_timeout(order: &OrderId) -> String {
    format!("risk.timeout.{order}")
}

/// `marks.price.<venue>.<symbol>`
#[must_use]
pub fn mark(venue: Venue, symbol: &str) -> String {
    format!("marks.price.{venue}.{symbol}")
}

/// `control.cancel.<order>`
#[must_use]
pub fn cancel(order: &OrderId) -> String {
    format!("control.cancel.{order}")
}

/// `control.strategy.<strategy>`
#[must_use]
pub fn strategy(name: &str) -> String {
    format!("control.strategy.{}", token(name))
}

/// `parked.<process>.<stream>.<sequence>`: one subject a message, so that each is parked once
#[must_use]
pub fn parked(process: &str, stream: &str, sequence: u64) -> String {
    format!("parked.{}.{}.{sequence}", token(process), token(stream))
}

/// Turns any text into one subject token: what is not a letter, digit, `-` or `_` becomes `_`.
#[must_use]
pub fn token(text: &str) -> String {
    if text.is_empty() {
        return "_".to_owned();
    }
    text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' }).collect()
}

/// Whether `subject` matches `pattern` (`*` one token, `>` the rest).
#[must_use]
pub fn matches(pattern: &str, subject: &str) -> bool {
    let mut subject = subject.split('.');
    let mut pattern = pattern.split('.').peekable();
    while let Some(want) = pattern.next() {
        match (want, subject.next()) {
            (">", Some(_)) if pattern.peek().is_none() => return true,
            ("*", Some(_)) => {}
            (want, Some(got)) if want == got => {}
            _ => return false,
        }
    }
    subject.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_the_broker_matches_them() {
        let check = |pattern: &str, subject: &str, want: bool| assert_eq!(matches(pattern, subject), want, "{pattern} {subject}");
        check("market.ticks.>", "market.ticks.binance.BTCUSDT", true);
        check("market.ticks.>", "market.ticks", false);
        check("market.*.binance.*", "market.ticks.binance.BTCUSDT", true);
        check("market.*", "market.ticks.binance", false);
        check("telemetry.windows", "telemetry.windows", true);
        check("telemetry.windows", "telemetry.windows.x", false);
    }

    #[test]
    fn scope_values_cannot_break_out_of_their_token() {
        let scope = BTreeMap::from([("exchange".to_owned(), "bin.ance >".to_owned())]);
        assert_eq!(alert("WSStaleness", &scope), "alerts.changed.WSStaleness.bin_ance__");
        assert_eq!(alert("SparkUpMissing", &BTreeMap::new()), "alerts.changed.SparkUpMissing.all");
    }
}
