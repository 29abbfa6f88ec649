//! Every message kind in one list: what tools, documents, permissions' tests and golden files walk over.

mod samples;

use schemars::Schema;
use serde_json::Value;

use crate::actions::{Action, RestartCommand, RestartDone, RollbackCommand, ThresholdsCommand};
use crate::alerts::Alert;
use crate::audit::{AuditAnchor, AuditDamage, AuditVerified};
use crate::backtests::{BacktestDone, BacktestJob, JobCancel, JobProgress};
use crate::candles::{Candle, CandleHistory, MarketSnapshot};
use crate::codec::{DecodeError, Kind, Message, decode_payload, encode};
use crate::control::{BreakerCommand, CancelCommand, KillSwitch, LimitsCommand, ResumeCommand, StrategyCommand};
use crate::market::{QuoteBatch, TickBatch};
use crate::marks::Mark;
use crate::notify::{Delivery, Notification, Silence};
use crate::orders::{Epoch, InstrumentFilters, OrderEvent, OrderIntent, Reconciliation};
use crate::parked::Parked;
use crate::portfolio::{Balances, PriceAnomaly};
use crate::risk::{Timeout, Verdict};
use crate::rollout::{CounterMove, RolloutChanged, RolloutCommand};
use crate::signals::{Calibration, ModelInForce, Outcome, Score, ScoreAnswer, ScoreRequest};
use crate::smoke::Smoke;
use crate::strategies::StrategyRegistered;
use crate::subject;
use crate::telemetry::{ApiRequests, Call, FeedStatus, Heartbeat, Windows};

/// A message kind, where it travels and who says it.
pub struct Entry {
    /// Name and version.
    pub kind: Kind,
    /// The stream that stores it.
    pub stream: &'static str,
    /// Subject pattern.
    pub subject: &'static str,
    /// Subject with named parameters, for documents.
    pub address: &'static str,
    /// The only processes that may publish it; `*` is every process, `operator` the command line.
    pub publishers: &'static [&'static str],
    /// One sentence.
    pub summary: &'static str,
    /// JSON Schema of the decoded value.
    pub schema: fn() -> Schema,
    /// Decodes to JSON, for people.
    pub to_json: fn(&[u8]) -> Result<Value, DecodeError>,
    /// A representative message, encoded. The golden file holds these bytes.
    pub sample: fn() -> Vec<u8>,
}

fn to_json<T: Message>(payload: &[u8]) -> Result<Value, DecodeError> {
    let message: T = decode_payload(payload)?;
    serde_json::to_value(&message).map_err(|error| DecodeError::Invalid { kind: T::KIND, what: error.to_string() })
}

fn schema<T: Message>() -> Schema {
    schemars::schema_for!(T)
}

macro_rules! entry {
    ($message:ty, $stream:expr, $subject:expr, $address:literal, $publishers:expr, $sample:ident, $summary:literal) => {
        Entry {
            kind: <$message as Message>::KIND,
            stream: $stream,
            subject: $subject,
            address: $address,
            publishers: $publishers,
            summary: $summary,
            schema: schema::<$message>,
            to_json: to_json::<$message>,
            sample: || encode::<$message>(&samples::$sample()),
        }
    };
}

/// Every kind, in the order of the pipeline.
#[must_use]
pub fn entries() -> Vec<Entry> {
    use subject::{
        ALERTS, ANOMALIES, BALANCES, BREAKER, CALLS, CANCELS, FEED, FEED_STATUS, HEARTBEATS, INSTRUMENTS, INTENTS, JOBS,
        KILL_SWITCH, LEDGER, LIMITS, MARKS, ORDER_EVENTS, ORDERS_EPOCH, PARKED, PARKED_ALL, QUOTES, RECONCILIATIONS, RESUME,
        RISK_EPOCH, RISK_TIMEOUTS, STRATEGIES, TICKS, VERDICTS, WINDOWS,
    };
    vec![
        entry!(
            TickBatch,
            FEED,
            TICKS,
            "market.ticks.{venue}.{symbol}",
            &["feed"],
            tick_batch,
            "Trades of one symbol, in columns."
        ),
        entry!(
            QuoteBatch,
            FEED,
            QUOTES,
            "market.quotes.{venue}.{symbol}",
            &["feed"],
            quote_batch,
            "Best bid and ask of one symbol, in columns."
        ),
        entry!(
            FeedStatus,
            FEED,
            FEED_STATUS,
            "telemetry.feed.{venue}",
            &["feed"],
            feed_status,
            "State of the connection to one venue."
        ),
        entry!(
            Call,
            FEED,
            CALLS,
            "telemetry.calls.{exchange}",
            &["feed", "portfolio", "executor", "candles"],
            call,
            "One call to an exchange, with latency and outcome."
        ),
        entry!(
            Heartbeat,
            FEED,
            HEARTBEATS,
            "telemetry.heartbeat.{service}",
            &["*"],
            heartbeat,
            "A process says that it is here, once a second."
        ),
        entry!(Windows, FEED, WINDOWS, "telemetry.windows", &["guardrail"], windows, "Every guardrail window, once a second."),
        entry!(
            Balances,
            LEDGER,
            BALANCES,
            "portfolio.balances.{exchange}",
            &["portfolio"],
            balances,
            "One poll of one exchange's balances, valued in USD."
        ),
        entry!(
            PriceAnomaly,
            LEDGER,
            ANOMALIES,
            "portfolio.anomaly.{exchange}",
            &["portfolio"],
            price_anomaly,
            "A price that was held back, and what became of it."
        ),
        entry!(
            Alert,
            LEDGER,
            ALERTS,
            "alerts.changed.{name}.{scope}",
            &["guardrail"],
            alert,
            "A rule changed its state in one scope."
        ),
        entry!(
            BreakerCommand,
            LEDGER,
            BREAKER,
            "control.breaker.{exchange}",
            &["operator", "gateway"],
            breaker_command,
            "Sets a circuit breaker by hand."
        ),
        entry!(
            Mark,
            LEDGER,
            MARKS,
            "marks.price.{venue}.{symbol}",
            &["candles"],
            mark,
            "The price that decisions about money use."
        ),
        entry!(
            OrderIntent,
            LEDGER,
            INTENTS,
            "orders.intent.{order}",
            &["gateway", "strategy", "signal"],
            order_intent,
            "Somebody wants an order."
        ),
        entry!(
            Verdict,
            LEDGER,
            VERDICTS,
            "risk.verdict.{order}",
            &["risk"],
            verdict,
            "Yes or no to an order, with every guard's measure."
        ),
        entry!(
            Timeout,
            LEDGER,
            RISK_TIMEOUTS,
            "risk.timeout.{order}",
            &["risk"],
            timeout,
            "An intent has waited long enough for a mark."
        ),
        entry!(OrderEvent, LEDGER, ORDER_EVENTS, "orders.event.{order}", &["executor"], order_event, "What became of an order."),
        entry!(
            InstrumentFilters,
            LEDGER,
            INSTRUMENTS,
            "orders.instruments.{exchange}",
            &["executor"],
            instrument_filters,
            "What a venue allows for its symbols."
        ),
        entry!(
            Reconciliation,
            LEDGER,
            RECONCILIATIONS,
            "orders.reconciliation.{exchange}",
            &["executor"],
            reconciliation,
            "The ledger compared with an exchange."
        ),
        entry!(Epoch, LEDGER, RISK_EPOCH, "risk.epoch", &["risk"], epoch, "A new holder decides."),
        entry!(Epoch, LEDGER, ORDERS_EPOCH, "orders.epoch", &["executor"], epoch, "A new holder sends."),
        entry!(
            KillSwitch,
            LEDGER,
            KILL_SWITCH,
            "control.kill_switch",
            &["operator", "gateway", "guardrail"],
            kill_switch,
            "Stops every new order, or lets them pass again."
        ),
        entry!(
            LimitsCommand,
            LEDGER,
            LIMITS,
            "control.limits",
            &["operator", "gateway", "risk", "guardrail"],
            limits_command,
            "Replaces the limits."
        ),
        entry!(
            CancelCommand,
            LEDGER,
            CANCELS,
            "control.cancel.{order}",
            &["operator", "gateway"],
            cancel_command,
            "Takes an order back."
        ),
        entry!(
            StrategyCommand,
            LEDGER,
            STRATEGIES,
            "control.strategy.{strategy}",
            &["operator", "gateway", "guardrail"],
            strategy_command,
            "Starts or stops a strategy."
        ),
        entry!(ResumeCommand, LEDGER, RESUME, "control.resume", &["operator", "gateway"], resume_command, "Lifts a halt."),
        entry!(
            Candle,
            FEED,
            subject::CANDLES,
            "market.candles.{venue}.{symbol}.{timeframe}",
            &["candles"],
            candle,
            "What was traded in one interval."
        ),
        entry!(
            CandleHistory,
            FEED,
            subject::HISTORY,
            "market.history.{venue}.{symbol}.{timeframe}",
            &["candles"],
            candle_history,
            "Candles from before Spark listened."
        ),
        entry!(
            MarketSnapshot,
            FEED,
            subject::SNAPSHOTS,
            "market.snapshots.{venue}.{symbol}",
            &["feed"],
            market_snapshot,
            "What a vendor says about a share."
        ),
        entry!(ModelInForce, LEDGER, subject::MODEL, "signals.model", &["signal"], model_in_force, "The model that scores."),
        entry!(
            Score,
            LEDGER,
            subject::SCORES,
            "signals.score.{venue}.{symbol}.{timeframe}",
            &["signal"],
            score,
            "What the model says about one candle."
        ),
        entry!(
            ScoreRequest,
            LEDGER,
            subject::SCORE_REQUESTS,
            "signals.request.{id}",
            &["gateway"],
            score_request,
            "Somebody asks for a score."
        ),
        entry!(
            ScoreAnswer,
            LEDGER,
            subject::SCORE_ANSWERS,
            "signals.answer.{id}",
            &["signal"],
            score_answer,
            "The score that was asked for."
        ),
        entry!(
            Outcome,
            LEDGER,
            subject::OUTCOMES,
            "signals.outcome.{venue}.{symbol}.{timeframe}",
            &["signal"],
            outcome,
            "What the price did after a score."
        ),
        entry!(
            Calibration,
            LEDGER,
            subject::CALIBRATIONS,
            "signals.calibration.{venue}.{symbol}.{timeframe}",
            &["signal"],
            calibration,
            "How far scores can be believed."
        ),
        entry!(
            RolloutCommand,
            LEDGER,
            subject::ROLLOUT,
            "control.rollout",
            &["operator", "gateway"],
            rollout_command,
            "A person's word about the rollout."
        ),
        entry!(
            RolloutChanged,
            LEDGER,
            subject::ROLLOUT_CHANGED,
            "rollout.changed.{model_version}",
            &["rollout"],
            rollout_changed,
            "Where a rollout stands."
        ),
        entry!(
            Epoch,
            LEDGER,
            subject::ROLLOUT_EPOCH,
            "rollout.epoch",
            &["rollout"],
            epoch,
            "A new holder decides about rollouts."
        ),
        entry!(
            Epoch,
            LEDGER,
            subject::ROLLOUT_CLOCK,
            "rollout.clock",
            &["rollout"],
            epoch,
            "The holder of the rollout's epoch is still there: time goes on while nothing else is told."
        ),
        entry!(
            CounterMove,
            LEDGER,
            subject::COUNTER_MOVES,
            "control.countermove.{kind}",
            &["operator", "guardrail"],
            counter_move,
            "What the guardrail does against a model that does badly."
        ),
        entry!(
            StrategyRegistered,
            LEDGER,
            subject::REGISTRY,
            "control.registry.{strategy}",
            &["operator", "gateway"],
            strategy_registered,
            "A strategy as it is now."
        ),
        entry!(
            BacktestJob,
            JOBS,
            subject::BACKTESTS,
            "jobs.backtest.{id}",
            &["operator", "gateway"],
            backtest_job,
            "A backtest to be done."
        ),
        entry!(JobProgress, FEED, subject::JOB_PROGRESS, "telemetry.jobs.{id}", &["backtest"], job_progress, "How far a job is."),
        entry!(
            JobCancel,
            LEDGER,
            subject::JOB_CANCELS,
            "control.job.{id}",
            &["operator", "gateway"],
            job_cancel,
            "Takes a job back."
        ),
        entry!(
            BacktestDone,
            LEDGER,
            subject::BACKTESTS_DONE,
            "audit.backtest.{id}",
            &["backtest"],
            backtest_done,
            "What a backtest came to."
        ),
        entry!(
            AuditAnchor,
            LEDGER,
            subject::AUDIT_ANCHOR,
            "audit.anchor",
            &["auditor"],
            audit_anchor,
            "A place of the LEDGER's hash chain."
        ),
        entry!(
            AuditVerified,
            LEDGER,
            subject::AUDIT_VERIFIED,
            "audit.verified",
            &["auditor"],
            audit_verified,
            "The whole LEDGER is what its hash chain says."
        ),
        entry!(
            AuditDamage,
            LEDGER,
            subject::AUDIT_DAMAGE,
            "audit.damage",
            &["auditor"],
            audit_damage,
            "The LEDGER is not what its hash chain says; trading stops."
        ),
        entry!(
            ApiRequests,
            FEED,
            subject::API_REQUESTS,
            "telemetry.api.{service}",
            &["gateway"],
            api_requests,
            "What the gateway answered in one second."
        ),
        entry!(
            Action,
            LEDGER,
            subject::ACTIONS,
            "alerts.action.{episode}",
            &["guardrail"],
            action,
            "What the guardrail did about criticals, step by step."
        ),
        entry!(
            Notification,
            LEDGER,
            subject::NOTIFICATIONS,
            "alerts.notification.{receiver}.{group}",
            &["notifier"],
            notification,
            "A decision to tell a receiver about a group of alerts."
        ),
        entry!(
            Delivery,
            LEDGER,
            subject::DELIVERIES,
            "alerts.delivery.{receiver}.{group}",
            &["notifier"],
            delivery,
            "What became of a notification."
        ),
        entry!(
            RestartCommand,
            LEDGER,
            subject::RESTARTS,
            "control.restart.{service}",
            &["operator", "gateway", "guardrail"],
            restart_command,
            "A process shall be stopped and started again."
        ),
        entry!(
            RestartDone,
            LEDGER,
            subject::RESTARTED,
            "control.restarted.{service}",
            &["supervisor"],
            restart_done,
            "What became of a restart."
        ),
        entry!(
            RollbackCommand,
            LEDGER,
            subject::ROLLBACK,
            "control.rollback",
            &["guardrail"],
            rollback_command,
            "Back to what was known to be good."
        ),
        entry!(
            ThresholdsCommand,
            LEDGER,
            subject::THRESHOLDS,
            "control.thresholds",
            &["operator", "gateway"],
            thresholds_command,
            "Changes thresholds of the guardrail."
        ),
        entry!(
            Silence,
            LEDGER,
            subject::SILENCES,
            "control.silence.{id}",
            &["operator", "gateway"],
            silence,
            "Nobody is told about alerts that match, for a time."
        ),
        entry!(Smoke, LEDGER, subject::SMOKE, "audit.smoke", &["operator", "reporter"], smoke, "Outcome of the smoke check."),
        entry!(
            Parked,
            PARKED,
            PARKED_ALL,
            "parked.{process}.{stream}.{sequence}",
            &["*"],
            parked,
            "A message that could not be handled."
        ),
    ]
}

/// The entry of a `Spark-Kind` header, e.g. `tick_batch.v1`.
#[must_use]
pub fn find(kind_header: &str) -> Option<Entry> {
    entries().into_iter().find(|entry| entry.kind.to_string() == kind_header)
}
