//! One entry into its tables.

use std::collections::HashMap;

use rusqlite::{Transaction, params};
use spark_bus_schema::Timestamp;
use spark_bus_schema::alerts::{Alert, AlertState};
use spark_bus_schema::orders::OrderEvent;
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::signals::{Calibration, Score};
use spark_bus_schema::telemetry::{ApiRequests, Call, FeedState, FeedStatus, Heartbeat, ProcessState, WindowValue, Windows};
use spark_nats::Delivery;

use super::entry::{Entry, json};
use super::{SERIES_MAX, series_key};

type Done = Result<(), rusqlite::Error>;

pub(super) const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// The beginning of the minute that a moment lies in.
fn minute(at_ms: i64) -> i64 {
    at_ms.div_euclid(MINUTE_MS) * MINUTE_MS
}

/// One transaction and what it keeps in memory.
pub(super) struct Writer<'a> {
    pub transaction: &'a Transaction<'a>,
    pub windows_at: &'a mut i64,
    pub series: &'a mut HashMap<String, i64>,
    pub series_refused: &'a mut u64,
}

impl Writer<'_> {
    pub fn entry(&mut self, delivery: &Delivery, entry: &Entry) -> Done {
        // When it happened; never later than when it was stored.
        let when = |own: Timestamp| own.min(delivery.stored_at).as_millis();
        match entry {
            Entry::Windows(windows) => self.windows(when(windows.at), windows),
            Entry::Call(call) => self.call(when(call.started_at), call),
            Entry::Heartbeat(beat) => self.heartbeat(when(beat.sent_at), when(beat.started_at), beat),
            Entry::Feed(status) => self.feed(when(status.since), status),
            Entry::Api(api) => self.api(when(api.at), api),
            Entry::Alert(alert) => self.alert(when(alert.at), delivery, alert),
            Entry::Balances(balances) => self.balances(when(balances.polled_at), balances),
            Entry::Verdict(verdict) => self.verdict(when(verdict.decided_at), verdict),
            Entry::Order(event) => self.order(&when, event),
            Entry::Score(score) => self.score(when(score.decided_at), score),
            Entry::Calibration(calibration) => self.calibration(when(calibration.at), calibration),
            Entry::Fact(kind, at, document) => self.fact(kind, when(*at), delivery, document),
        }
    }

    fn run(&self, sql: &str, values: impl rusqlite::Params) -> Done {
        self.transaction.prepare_cached(sql)?.execute(values).map(|_| ())
    }

    fn windows(&mut self, at: i64, windows: &Windows) -> Done {
        if at <= *self.windows_at {
            return Ok(());
        }
        *self.windows_at = at;
        windows.values.iter().try_for_each(|value| self.window(minute(at), value))
    }

    fn window(&mut self, minute: i64, window: &WindowValue) -> Done {
        let Some(series) = self.series(window)? else { return Ok(()) };
        let state = |wanted| i64::from(window.state == wanted);
        self.run(
            "INSERT INTO minute VALUES (?1, ?2, ?3, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (series, minute) DO UPDATE SET \
             last = coalesce(excluded.last, last), \
             low = min(coalesce(low, excluded.low), coalesce(excluded.low, low)), \
             high = max(coalesce(high, excluded.high), coalesce(excluded.high, high)), \
             total = total + excluded.total, boundaries = boundaries + excluded.boundaries, empty = empty + excluded.empty, \
             samples = max(samples, excluded.samples), warning = excluded.warning, critical = excluded.critical, \
             pending = pending + excluded.pending, firing = firing + excluded.firing",
            params![
                series,
                minute,
                window.value,
                window.value.unwrap_or(0.0),
                i64::from(window.value.is_some()),
                i64::from(window.value.is_none()),
                window.samples.cast_signed(),
                window.warning,
                window.critical,
                state(AlertState::Pending),
                state(AlertState::Firing),
            ],
        )
    }

    /// The series' number; none when there are too many.
    fn series(&mut self, window: &WindowValue) -> Result<Option<i64>, rusqlite::Error> {
        let scope = json(&window.scope);
        let key = series_key(&window.rule, &window.metric, &scope, &window.unit);
        if let Some(&id) = self.series.get(&key) {
            return Ok(Some(id));
        }
        if self.series.len() >= SERIES_MAX {
            *self.series_refused += 1;
            return Ok(None);
        }
        let sql = "INSERT INTO series (rule, metric, scope, unit) VALUES (?1, ?2, ?3, ?4)";
        self.run(sql, params![window.rule, window.metric, scope, window.unit])?;
        let id = self.transaction.last_insert_rowid();
        self.series.insert(key, id);
        Ok(Some(id))
    }

    fn call(&self, at: i64, call: &Call) -> Done {
        let latency = i64::try_from(call.latency_us).unwrap_or(i64::MAX);
        self.run(
            "INSERT INTO call VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![at, call.exchange.as_str(), call.service, call.operation, latency, call.ok, call.error_type],
        )
    }

    fn heartbeat(&self, at: i64, started_at: i64, beat: &Heartbeat) -> Done {
        let bit = 1_i64 << (at.rem_euclid(MINUTE_MS) / 1_000);
        let degraded = if beat.state == ProcessState::Degraded { bit } else { 0 };
        self.run(
            "INSERT INTO presence VALUES (?1, ?2, ?3, ?4) ON CONFLICT (service, minute) DO UPDATE SET \
             heard = heard | excluded.heard, degraded = degraded | excluded.degraded",
            params![beat.service, minute(at), bit, degraded],
        )?;
        self.run("INSERT OR IGNORE INTO run VALUES (?1, ?2, ?3, ?4)", params![beat.service, started_at, beat.pid, beat.version])
    }

    fn feed(&self, since: i64, status: &FeedStatus) -> Done {
        let state = match status.state {
            FeedState::Connecting => "connecting",
            FeedState::Live => "live",
            FeedState::Reconnecting => "reconnecting",
            FeedState::Filling => "filling",
        };
        let sql = "INSERT OR IGNORE INTO feed VALUES (?1, ?2, ?3, ?4)";
        self.run(sql, params![status.venue.as_str(), since, state, status.detail])
    }

    fn api(&self, at: i64, api: &ApiRequests) -> Done {
        let latencies: Vec<u8> = api.latencies_us.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.run("INSERT INTO api VALUES (?1, ?2, ?3, ?4)", params![at, api.service, json(&api.statuses), latencies])
    }

    fn alert(&self, at: i64, delivery: &Delivery, alert: &Alert) -> Done {
        self.run(
            "INSERT INTO alert VALUES (?1, ?2, ?3, ?4, ?5)",
            params![at, alert.rule, json(&alert.scope), delivery.sequence.cast_signed(), json(alert)],
        )
    }

    fn balances(&self, at: i64, balances: &Balances) -> Done {
        self.run(
            "INSERT INTO total VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8) ON CONFLICT (exchange, minute) DO UPDATE SET \
             at = CASE WHEN excluded.at >= at THEN excluded.at ELSE at END, \
             total_usd = CASE WHEN excluded.at >= at THEN excluded.total_usd ELSE total_usd END, \
             assets = CASE WHEN excluded.at >= at THEN excluded.assets ELSE assets END, \
             updated_at = CASE WHEN excluded.at >= at THEN excluded.updated_at ELSE updated_at END, \
             stale = CASE WHEN excluded.at >= at THEN excluded.stale ELSE stale END, \
             polls = polls + 1, failed = failed + excluded.failed",
            params![
                balances.exchange.as_str(),
                minute(at),
                at,
                balances.total_usd.to_string(),
                i64::try_from(balances.balances.len()).unwrap_or(i64::MAX),
                balances.updated_at.map(Timestamp::as_millis),
                balances.stale,
                balances.error.is_some(),
            ],
        )
    }

    fn verdict(&self, at: i64, verdict: &Verdict) -> Done {
        // A refusal without a guard does not occur; if it did it must not count as an approval.
        let guard = if verdict.approved { "" } else { verdict.guard.map_or("unknown", |guard| guard.as_str()) };
        let sql = "INSERT INTO verdict VALUES (?1, ?2, 1) ON CONFLICT (minute, guard) DO UPDATE SET count = count + 1";
        self.run(sql, params![minute(at), guard])
    }

    fn order(&self, when: &impl Fn(Timestamp) -> i64, event: &OrderEvent) -> Done {
        let sql = "INSERT INTO order_state VALUES (?1, ?2, ?3, 1) ON CONFLICT (minute, exchange, state) DO UPDATE SET count = count + 1";
        event
            .steps
            .iter()
            .try_for_each(|step| self.run(sql, params![minute(when(step.at)), event.exchange.as_str(), step.state.as_str()]))
    }

    fn score(&self, at: i64, score: &Score) -> Done {
        let (venue, timeframe) = (score.venue.as_str(), score.timeframe.as_str());
        let bucket = score.ml_bucket.as_deref().unwrap_or(if score.score.is_some() { "below" } else { "" });
        let sql = "INSERT INTO score VALUES (?1, ?2, ?3, ?4, ?5, 1) \
                   ON CONFLICT (minute, venue, symbol, timeframe, bucket) DO UPDATE SET count = count + 1";
        self.run(sql, params![minute(at), venue, score.symbol, timeframe, bucket])
    }

    /// The last one of an hour.
    fn calibration(&self, at: i64, calibration: &Calibration) -> Done {
        let (venue, timeframe) = (calibration.venue.as_str(), calibration.timeframe.as_str());
        let sql = "INSERT OR REPLACE INTO calibration VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let hour = at.div_euclid(HOUR_MS) * HOUR_MS;
        self.run(sql, params![hour, venue, calibration.symbol, timeframe, at, json(calibration)])
    }

    fn fact(&self, kind: &str, at: i64, delivery: &Delivery, document: &str) -> Done {
        self.run(
            "INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5)",
            params![at, kind, delivery.subject, delivery.sequence.cast_signed(), document],
        )
    }
}
