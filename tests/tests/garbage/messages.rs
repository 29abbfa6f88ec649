//! Messages that nobody should have sent, and what must become of each.

use std::collections::BTreeMap;

use spark_bus_schema::actions::{Action, RestartCommand, RestartDone, RollbackCommand, ThresholdChange, ThresholdsCommand};
use spark_bus_schema::alerts::Alert;
use spark_bus_schema::catalogue::{self, Entry};
use spark_bus_schema::codec::{PAYLOAD_BYTES_MAX, decode_payload};
use spark_bus_schema::market::{QuoteBatch, TickBatch};
use spark_bus_schema::notify::{Notification, Silence};
use spark_bus_schema::parked::Parked;
use spark_bus_schema::portfolio::{Balances, PriceAnomaly};
use spark_bus_schema::smoke::Smoke;
use spark_bus_schema::telemetry::{API_LATENCIES_MAX, ApiRequests, Call, FeedStatus, Heartbeat, Windows};
use spark_bus_schema::{Decimal, Message, Timestamp, encode, subject};

/// Room for subject and headers in a message that is as large as the broker takes.
const HEADERS_ROOM: usize = 512;
/// Close to the 64 kB that the broker allows for all headers together.
const LONG_NAME_BYTES: usize = 65_000;
/// Nesting that no decoder may follow to its end.
const NESTING: usize = 900_000;

/// The one receiver of notifications.
pub const RECEIVER: &str = "desk";

/// Whose rights the garbage needs. The operator may publish everything that is not listed in [`Garbage::publisher`].
pub const PUBLISHERS: &[&str] = &[
    "operator",
    "portfolio",
    "candles",
    "risk",
    "auditor",
    "strategy",
    "executor",
    "guardrail",
    "gateway",
    "notifier",
    "reporter",
    "signal",
    "rollout",
    "backtest",
    "supervisor",
];

/// One piece of garbage.
pub struct Garbage {
    /// What is wrong with it.
    pub what: String,
    /// Where it is published.
    pub subject: String,
    /// `Spark-Kind`.
    pub kind: Option<String>,
    pub payload: Vec<u8>,
    /// Who parks it, with what reason; empty where nobody that parks reads it, or it is readable to them.
    pub parked: Vec<(&'static str, &'static str)>,
    /// The reason that the gateway counts; none where it does not read it, or can.
    pub gateway: Option<&'static str>,
}

impl Garbage {
    /// One of [`PUBLISHERS`] that may publish there.
    pub fn publisher(&self) -> &'static str {
        let mut words = self.subject.split('.');
        match (words.next(), words.next()) {
            (Some("parked"), _) => "portfolio",
            (Some("marks"), _) => "candles",
            (Some("risk"), _) => "risk",
            (Some("signals"), Some("request")) => "gateway",
            (Some("signals"), _) => "signal",
            (Some("rollout"), _) => "rollout",
            (Some("audit"), Some("backtest")) => "backtest",
            (Some("audit"), Some("smoke")) => "reporter",
            (Some("audit"), _) => "auditor",
            (Some("orders"), Some("intent")) => "strategy",
            (Some("orders"), _) => "executor",
            (Some("telemetry"), Some("api")) => "gateway",
            (Some("alerts"), Some("action")) | (Some("control"), Some("rollback")) => "guardrail",
            (Some("alerts"), Some("notification" | "delivery")) => "notifier",
            (Some("control"), Some("restarted")) => "supervisor",
            _ => "operator",
        }
    }
}

/// Who parks what cannot be read on a subject: everybody who decides on it, and the reporter, which keeps a history of it.
/// What only the gateway reads (the executor's epoch, the chain's anchors) is counted there; risk and the executor take a
/// damage report that they cannot read for one. What is parked is not parked again by those who only look at it.
fn parkers(entry: &Entry) -> &'static [&'static str] {
    match entry.subject {
        subject::TICKS | subject::QUOTES | subject::SNAPSHOTS | subject::ANOMALIES | subject::PARKED_ALL => &["guardrail"],
        subject::CANDLES => &["guardrail", "signal"],
        subject::HISTORY | subject::SCORE_REQUESTS => &["signal"],
        subject::MODEL | subject::OUTCOMES | subject::ROLLOUT_EPOCH | subject::ROLLOUT_CLOCK => &["rollout"],
        subject::SCORES => &["guardrail", "rollout", "reporter"],
        subject::CALIBRATIONS | subject::BACKTESTS_DONE | subject::JOB_CANCELS => &["reporter"],
        subject::ROLLOUT => &["rollout", "reporter"],
        subject::ROLLOUT_CHANGED => &["guardrail", "rollout", "signal", "reporter"],
        subject::COUNTER_MOVES => &["portfolio", "signal", "reporter"],
        subject::REGISTRY => &["executor", "reporter"],
        subject::BACKTESTS => &["backtest"],
        // Whoever waits for it reads it.
        subject::SCORE_ANSWERS | subject::JOB_PROGRESS => &[],
        subject::ROLLBACK => &["guardrail", "rollout", "reporter"],
        subject::CALLS | subject::HEARTBEATS | subject::FEED_STATUS | subject::API_REQUESTS | subject::THRESHOLDS => {
            &["guardrail", "reporter"]
        }
        subject::RESTARTS | subject::RESTARTED => &["guardrail", "notifier", "reporter"],
        subject::ALERTS => &["notifier", "rollout", "reporter"],
        subject::ACTIONS | subject::SILENCES => &["notifier", "reporter"],
        subject::NOTIFICATIONS => &["notifier"],
        subject::WINDOWS | subject::DELIVERIES | subject::SMOKE => &["reporter"],
        subject::BREAKER => &["portfolio", "executor", "reporter"],
        subject::BALANCES => &["guardrail", "risk", "reporter"],
        subject::INSTRUMENTS | subject::RECONCILIATIONS | subject::AUDIT_VERIFIED => &["risk", "executor"],
        subject::VERDICTS | subject::ORDER_EVENTS | subject::RESUME => &["risk", "executor", "reporter"],
        subject::KILL_SWITCH => &["guardrail", "risk", "executor", "reporter"],
        subject::LIMITS | subject::STRATEGIES => &["guardrail", "risk", "reporter"],
        subject::INTENTS => &["guardrail", "risk"],
        subject::RISK_TIMEOUTS | subject::RISK_EPOCH | subject::MARKS => &["risk"],
        subject::CANCELS => &["executor", "reporter"],
        subject::ORDERS_EPOCH | subject::AUDIT_ANCHOR | subject::AUDIT_DAMAGE => &[],
        other => panic!("{other} is a new subject: say here who parks what cannot be read on it"),
    }
}

fn parked(entry: &Entry, reason: &'static str) -> Vec<(&'static str, &'static str)> {
    parkers(entry).iter().map(|&process| (process, reason)).collect()
}

fn is_shown(entry: &Entry) -> bool {
    !matches!(
        entry.subject,
        subject::ANOMALIES
            | subject::INSTRUMENTS
            | subject::RISK_TIMEOUTS
            | subject::API_REQUESTS
            | subject::CANDLES
            | subject::HISTORY
            | subject::OUTCOMES
            | subject::SCORE_REQUESTS
            | subject::BACKTESTS
            | subject::ROLLOUT_CLOCK
    )
}

/// Where the sample of a kind belongs: where real processes publish too, so that they meet the garbage as well.
fn home(entry: &Entry) -> String {
    match entry.subject {
        subject::TICKS => "market.ticks.binance.BTCUSDT".to_owned(),
        subject::QUOTES => "market.quotes.btcturk.BTCTRY".to_owned(),
        subject::CANDLES => "market.candles.binance.BTCUSDT.1m".to_owned(),
        subject::HISTORY => "market.history.binance.BTCUSDT.1m".to_owned(),
        subject::SNAPSHOTS => "market.snapshots.bist.THYAO".to_owned(),
        subject::SCORES | subject::OUTCOMES | subject::CALIBRATIONS => entry.subject.replace('>', "binance.BTCUSDT.1m"),
        subject::ROLLOUT_CHANGED => "rollout.changed.ml-fusion-1_2".to_owned(),
        subject::COUNTER_MOVES => "control.countermove.poll_interval".to_owned(),
        subject::SCORE_REQUESTS
        | subject::SCORE_ANSWERS
        | subject::REGISTRY
        | subject::BACKTESTS
        | subject::BACKTESTS_DONE
        | subject::JOB_CANCELS
        | subject::JOB_PROGRESS => entry.subject.replace('>', "vandal"),
        subject::CALLS => "telemetry.calls.binance".to_owned(),
        subject::HEARTBEATS => "telemetry.heartbeat.guardrail".to_owned(),
        subject::FEED_STATUS => "telemetry.feed.binance".to_owned(),
        subject::WINDOWS => subject::WINDOWS.to_owned(),
        subject::BALANCES => "portfolio.balances.binance".to_owned(),
        subject::ANOMALIES => "portfolio.anomaly.binance".to_owned(),
        // The subject of the alert that the valid neighbours raise: its writer has to get past the garbage.
        subject::ALERTS => "alerts.changed.PortfolioRefreshLatencyHighP95.bist".to_owned(),
        subject::BREAKER => "control.breaker.btcturk".to_owned(),
        subject::MARKS => "marks.price.binance.BTCUSDT".to_owned(),
        subject::STRATEGIES => "control.strategy.example".to_owned(),
        subject::INSTRUMENTS | subject::RECONCILIATIONS => entry.subject.replace('>', "binance"),
        subject::INTENTS | subject::VERDICTS | subject::ORDER_EVENTS | subject::RISK_TIMEOUTS | subject::CANCELS => {
            entry.subject.replace('>', "vandalvandalvandalvandalva")
        }
        subject::API_REQUESTS => "telemetry.api.gateway".to_owned(),
        // No process has this name: none is restarted, whatever is said about it.
        subject::RESTARTS | subject::RESTARTED | subject::ACTIONS | subject::SILENCES => entry.subject.replace('>', "vandal"),
        // The receiver of the valid neighbours: what it is told has to get past the garbage in its queue.
        subject::NOTIFICATIONS | subject::DELIVERIES => entry.subject.replace('>', &format!("{RECEIVER}.vandal")),
        subject::RISK_EPOCH
        | subject::ORDERS_EPOCH
        | subject::MODEL
        | subject::ROLLOUT
        | subject::ROLLOUT_EPOCH
        | subject::ROLLOUT_CLOCK
        | subject::ROLLBACK
        | subject::THRESHOLDS
        | subject::SMOKE
        | subject::KILL_SWITCH
        | subject::LIMITS
        | subject::RESUME
        | subject::AUDIT_ANCHOR
        | subject::AUDIT_VERIFIED
        | subject::AUDIT_DAMAGE => entry.subject.to_owned(),
        subject::PARKED_ALL => "parked.portfolio.FEED.4711".to_owned(),
        other => panic!("{other} is a new subject: say here where its garbage goes"),
    }
}

/// Everything that is wrong in a way that any kind can be wrong, for every kind of the catalogue.
pub fn of_any_kind() -> Vec<Garbage> {
    catalogue::entries().iter().flat_map(of_entry).collect()
}

fn of_entry(entry: &Entry) -> Vec<Garbage> {
    let kind = entry.kind.to_string();
    let sample = (entry.sample)();
    let half = sample[..sample.len() / 2].to_vec();
    let trailing = [sample.clone(), vec![0xc0]].concat();
    let nested = [b"\x81\xa3zzz".to_vec(), vec![0x91; NESTING]].concat();
    let long_name = "\u{1}".repeat(LONG_NAME_BYTES);
    // Never a message: 0xc1 is the one byte that MessagePack does not use.
    let noise = |length| [vec![0xc1], noise(length)].concat();
    let rows: Vec<(&str, Option<&str>, Vec<u8>, &'static str)> = vec![
        ("random bytes", Some(&kind), noise(200), "malformed"),
        ("nothing at all", Some(&kind), Vec::new(), "malformed"),
        ("cut in the middle", Some(&kind), half, "malformed"),
        ("cut before the last byte", Some(&kind), sample[..sample.len() - 1].to_vec(), "malformed"),
        ("JSON", Some(&kind), br#"{"venue":"binance"}"#.to_vec(), "malformed"),
        ("a map that claims 4 billion entries", Some(&kind), b"\xdf\xff\xff\xff\xff".to_vec(), "malformed"),
        ("a text that claims 4 billion bytes", Some(&kind), b"\x81\xdb\xff\xff\xff\xff".to_vec(), "malformed"),
        ("nested for ever in an unknown field", Some(&kind), nested, "malformed"),
        ("as large as the broker takes", Some(&kind), noise(PAYLOAD_BYTES_MAX - HEADERS_ROOM), "malformed"),
        ("bytes after the end", Some(&kind), trailing, "trailing_bytes"),
        ("no header", None, sample.clone(), "missing_kind"),
        ("another kind", Some("position.v1"), sample.clone(), "wrong_kind"),
        ("a kind as long as the broker takes", Some(&long_name), sample.clone(), "wrong_kind"),
        ("a kind that is not one", Some("\u{1f4a5} v1"), sample.clone(), "wrong_kind"),
    ];
    let unknown = [".v2", ".v65536", ".v", ".vx"].map(|version| format!("{}{version}", entry.kind.name));
    let versions = unknown.iter().map(|kind| ("an unknown version", Some(kind.as_str()), sample.clone(), "unknown_version"));
    rows.into_iter()
        .chain(versions)
        .map(|(what, kind, payload, reason)| Garbage {
            what: format!("{what} on {}", entry.subject),
            subject: home(entry),
            kind: kind.map(ToOwned::to_owned),
            payload,
            parked: parked(entry, reason),
            gateway: is_shown(entry).then_some(reason),
        })
        .collect()
}

/// The same noise in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn entry_of<T: Message>() -> Entry {
    catalogue::find(&T::KIND.to_string()).expect("every kind is in the catalogue")
}

fn sample<T: Message>() -> T {
    decode_payload(&(entry_of::<T>().sample)()).expect("samples are right")
}

/// The sample with one thing changed.
pub fn changed<T: Message>(change: impl FnOnce(&mut T)) -> Vec<u8> {
    let mut message = sample::<T>();
    change(&mut message);
    encode(&message)
}

/// Impossible for everybody who reads it.
fn invalid<T: Message>(what: &str, change: impl FnOnce(&mut T)) -> Garbage {
    let entry = entry_of::<T>();
    Garbage {
        what: what.to_owned(),
        subject: home(&entry),
        kind: Some(entry.kind.to_string()),
        payload: changed(change),
        parked: parked(&entry, "invalid"),
        gateway: is_shown(&entry).then_some("invalid"),
    }
}

/// Readable, and refused by the guardrail.
fn rejected<T: Message>(what: &str, change: impl FnOnce(&mut T)) -> Garbage {
    Garbage { parked: vec![("guardrail", "rejected")], gateway: None, ..invalid(what, change) }
}

/// Readable, but of a time that has not come.
fn future<T: Message>(what: &str, change: impl FnOnce(&mut T)) -> Garbage {
    Garbage { parked: Vec::new(), gateway: Some("future"), ..invalid(what, change) }
}

/// Well-formed messages that cannot be true, and ones that speak for somebody else.
pub fn impossible() -> Vec<Garbage> {
    let mut all = impossible_market();
    all.extend(impossible_telemetry());
    all.extend(impossible_money());
    all.extend(impossible_actions());
    all.extend(impossible_words());
    all.extend(misplaced());
    all
}

fn impossible_market() -> Vec<Garbage> {
    vec![
        invalid::<TickBatch>("a negative price", |batch| batch.price.values[1] = -1),
        invalid::<TickBatch>("the most negative price", |batch| batch.price.values[0] = i64::MIN),
        invalid::<TickBatch>("a price of zero", |batch| batch.price.values[0] = 0),
        invalid::<TickBatch>("a negative quantity", |batch| batch.quantity.values[0] = -1),
        invalid::<TickBatch>("more decimals than there are", |batch| batch.price.scale = 255),
        invalid::<TickBatch>("a column too short", |batch| batch.received_at.truncate(1)),
        invalid::<TickBatch>("a column too long", |batch| batch.quantity.values.push(1)),
        invalid::<TickBatch>("sides too few", |batch| batch.side.truncate(1)),
        invalid::<TickBatch>("a side that is none", |batch| batch.side = "BX".to_owned()),
        invalid::<TickBatch>("ids that fall", |batch| batch.trade_id.reverse()),
        invalid::<TickBatch>("no rows", TickBatch::clear),
        invalid::<TickBatch>("a symbol in lower case", |batch| batch.symbol = "btcusdt".to_owned()),
        invalid::<QuoteBatch>("a negative bid", |batch| batch.bid_price.values[0] = -1),
        invalid::<QuoteBatch>("an ask of zero", |batch| batch.ask_price.values[0] = 0),
        invalid::<QuoteBatch>("a negative quantity in the book", |batch| batch.ask_quantity.values[0] = -1),
        invalid::<QuoteBatch>("columns of different lengths", |batch| batch.bid_quantity.values.push(1)),
    ]
}

fn impossible_telemetry() -> Vec<Garbage> {
    vec![
        invalid::<Call>("an error without a name", |call| call.error_type = None),
        invalid::<Call>("a success with an error", |call| call.ok = true),
        rejected::<Call>("a service with a name of a kilobyte", |call| call.service = "s".repeat(1_000)),
        rejected::<Call>("an operation with control characters", |call| call.operation = "a\u{1f}b".to_owned()),
        invalid::<Heartbeat>("a service without a name", |beat| beat.service.clear()),
        invalid::<Heartbeat>("a service of two words", |beat| beat.service = "guard rail".to_owned()),
        rejected::<FeedStatus>("symbols in lower case", |status| status.symbols = vec!["btcusdt".to_owned()]),
        rejected::<FeedStatus>("100 000 symbols", |status| status.symbols = vec!["X".to_owned(); 100_000]),
        invalid::<Windows>("a value that is no number", |windows| windows.values[0].value = Some(f64::NAN)),
        invalid::<Windows>("an infinite threshold", |windows| windows.values[0].critical = Some(f64::INFINITY)),
        future::<Windows>("windows of the last moment there is", |windows| windows.at = Timestamp::from_nanos(i64::MAX)),
        future::<Alert>("an alert of the last moment there is", |alert| {
            (alert.scope, alert.at) = (BTreeMap::from([("exchange".into(), "bist".into())]), Timestamp::from_nanos(i64::MAX));
        }),
        invalid::<Alert>("a value that is no number", |alert| alert.value = Some(f64::NAN)),
        invalid::<Alert>("a threshold that is no number", |alert| alert.threshold = Some(f64::NAN)),
        invalid::<Alert>("revision 0", |alert| alert.revision = 0),
        Garbage {
            // The gateway shows it; the guardrail will not make a scope of that name.
            gateway: Some("misplaced"),
            ..rejected::<Parked>("parked by a process with a name of a kilobyte", |parked| parked.process = "p".repeat(1_000))
        },
    ]
}

fn impossible_money() -> Vec<Garbage> {
    vec![
        invalid::<Balances>("free and locked overflow", |balances| {
            let row = &mut balances.balances[0];
            (row.free, row.locked, row.total) = (Decimal::MAX, Decimal::MAX, Decimal::MAX);
        }),
        invalid::<Balances>("a total that is not the sum", |balances| balances.balances[0].total += Decimal::ONE),
        invalid::<Balances>("a negative amount", |balances| {
            let row = &mut balances.balances[0];
            (row.free, row.total) = (-Decimal::ONE, row.locked - Decimal::ONE);
        }),
        invalid::<Balances>("a negative price", |balances| balances.balances[0].usd_price = Some(-Decimal::ONE)),
        invalid::<Balances>("values whose sum overflows", |balances| {
            balances.balances[0].usd_value = Some(Decimal::MAX);
            let twin = balances.balances[0].clone();
            balances.balances.push(twin);
            balances.total_usd = Decimal::MAX;
        }),
        invalid::<PriceAnomaly>("a negative price seen", |anomaly| anomaly.seen = -Decimal::ONE),
        invalid::<PriceAnomaly>("an asset without a name", |anomaly| anomaly.asset.clear()),
        rejected::<PriceAnomaly>("an asset with a name of a kilobyte", |anomaly| anomaly.asset = "A".repeat(1_000)),
    ]
}

fn impossible_actions() -> Vec<Garbage> {
    let changes = |command: &mut ThresholdsCommand, rule: &str, warning, critical| {
        command.changes = vec![ThresholdChange { rule: rule.to_owned(), scope: BTreeMap::new(), warning, critical }];
    };
    vec![
        invalid::<ApiRequests>("more latencies than there is room for", |api| api.latencies_us = vec![1; API_LATENCIES_MAX + 1]),
        invalid::<Action>("step 0 of an episode", |action| action.revision = 0),
        invalid::<Action>("an episode without a name", |action| action.episode.clear()),
        invalid::<RestartCommand>("a restart of nobody", |command| command.service.clear()),
        invalid::<RestartCommand>("a restart of several", |command| command.service = "*".to_owned()),
        invalid::<RestartCommand>("a restart without a reason", |command| command.reason.clear()),
        invalid::<RestartCommand>("a restart that nobody asked for", |command| command.actor.clear()),
        invalid::<RestartDone>("a restart of a process without a name", |done| done.service.clear()),
        invalid::<RollbackCommand>("a rollback of no episode", |command| command.episode.clear()),
        invalid::<RollbackCommand>("a rollback without a reason", |command| command.reason = " ".to_owned()),
        invalid::<ThresholdsCommand>("no threshold", |command| command.changes.clear()),
        invalid::<ThresholdsCommand>("a threshold set to no number", |command| command.changes[0].warning = Some(f64::NAN)),
        invalid::<ThresholdsCommand>("an infinite threshold set", |command| command.changes[0].critical = Some(f64::INFINITY)),
        invalid::<ThresholdsCommand>("a threshold below zero", |command| command.changes[0].warning = Some(-1.0)),
        invalid::<ThresholdsCommand>("thresholds without a reason", |command| command.reason.clear()),
        rejected::<ThresholdsCommand>("a threshold of no rule", |command| changes(command, "no_such_rule", Some(1.0), None)),
        rejected::<ThresholdsCommand>("a critical threshold below the warning", |command| {
            changes(command, "portfolio_refresh_p95", Some(2_000.0), Some(1_000.0));
        }),
    ]
}

fn impossible_words() -> Vec<Garbage> {
    vec![
        invalid::<Notification>("notification 0", |told| told.revision = 0),
        invalid::<Notification>("a notification to nobody", |told| told.receiver.clear()),
        invalid::<Notification>("a notification about no group", |told| told.group_key.clear()),
        invalid::<Silence>("a silence of nothing", |silence| silence.matchers.clear()),
        invalid::<Silence>("a silence of everything", |silence| silence.matchers[0].value.clear()),
        invalid::<Silence>("a silence that ends before it starts", |silence| {
            silence.ends_at = Timestamp::from_nanos(silence.starts_at.as_nanos() - 1);
        }),
        invalid::<Silence>("a silence with a path for an id", |silence| silence.id = "../../etc".to_owned()),
        invalid::<Silence>("a silence without a reason", |silence| silence.comment.clear()),
        invalid::<Smoke>("more good checks than there are", |smoke| smoke.passed = 5),
        invalid::<Smoke>("a pass with one good check", |smoke| smoke.pass = true),
        invalid::<Smoke>("a smoke check that nobody asked for", |smoke| smoke.actor.clear()),
        Garbage {
            // Every reader takes it, but there is no such expression: it hides nothing, and the notifier says so.
            subject: "control.silence.0191f3a2-7c5e-7b1a-9f3e-2d4c6b8a0e11".to_owned(),
            parked: vec![("notifier", "bad_matcher")],
            gateway: None,
            ..invalid::<Silence>("a silence by an expression that is none", |silence| silence.matchers[0].value = "(".to_owned())
        },
        Garbage {
            subject: "alerts.notification.nobody.vandal".to_owned(),
            parked: vec![("notifier", "no_such_receiver")],
            gateway: None,
            ..invalid::<Notification>("a notification to a receiver that is not there", |told| {
                told.receiver = "nobody".to_owned()
            })
        },
    ]
}

/// Right in itself, on the subject of another scope. The reporter keeps by content, so that it is in the right place there.
fn misplaced() -> Vec<Garbage> {
    let reason = |process| match process {
        "reporter" => None,
        "guardrail" | "notifier" => Some((process, "invalid")),
        _ => Some((process, "wrong_subject")),
    };
    let elsewhere = |name: &str, target: &str| {
        let entry = catalogue::find(name).expect("every kind is in the catalogue");
        Garbage {
            what: format!("{name} on {target}"),
            subject: target.to_owned(),
            kind: Some(name.to_owned()),
            payload: (entry.sample)(),
            parked: parkers(&entry).iter().filter_map(|&process| reason(process)).collect(),
            gateway: is_shown(&entry).then_some("misplaced"),
        }
    };
    vec![
        elsewhere("tick_batch.v1", "market.ticks.binance.ETHUSDT"),
        elsewhere("quote_batch.v1", "market.quotes.binance.BTCTRY"),
        elsewhere("call.v1", "telemetry.calls.bist"),
        elsewhere("heartbeat.v1", "telemetry.heartbeat.feed"),
        elsewhere("feed_status.v1", "telemetry.feed.bist"),
        elsewhere("balances.v1", "portfolio.balances.bist"),
        elsewhere("price_anomaly.v1", "portfolio.anomaly.btcturk"),
        elsewhere("alert.v1", "alerts.changed.SomethingElse.all"),
        elsewhere("breaker_command.v1", "control.breaker.binance"),
        elsewhere("cancel_command.v1", "control.cancel.vandalvandalvandalvandalva"),
        elsewhere("verdict.v1", "risk.verdict.vandalvandalvandalvandalva"),
        elsewhere("order_event.v1", "orders.event.vandalvandalvandalvandalva"),
        elsewhere("order_intent.v1", "orders.intent.vandalvandalvandalvandalva"),
        elsewhere("strategy_command.v1", "control.strategy.example"),
        elsewhere("api_requests.v1", "telemetry.api.portfolio"),
        elsewhere("action.v1", "alerts.action.vandal"),
        elsewhere("notification.v1", "alerts.notification.nobody.vandal"),
        elsewhere("delivery.v1", "alerts.delivery.nobody.vandal"),
        elsewhere("restart_command.v1", "control.restart.vandal"),
        elsewhere("restart_done.v1", "control.restarted.vandal"),
        elsewhere("silence.v1", "control.silence.vandal"),
    ]
}
