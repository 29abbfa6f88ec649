//! Questions to the history.

use rusqlite::{Params, Row, params};
use serde::de::DeserializeOwned;
use spark_bus_schema::Timestamp;
use spark_bus_schema::actions::Action;
use spark_bus_schema::alerts::Alert;
use spark_bus_schema::notify::Delivery;
use spark_bus_schema::signals::Calibration;
use spark_bus_schema::smoke::Smoke;

use super::rows::{
    ApiSummary, CallRow, Fact, FeedRow, Minute, OrderCount, ParkedRow, Presence, Run, ScoreCount, Series, Total, VerdictCount,
    Window,
};
use super::{Error, History};

/// Facts of one kind that one question returns, at most: the newest ones.
pub const FACTS_MAX: i64 = 50_000;

impl History {
    /// Every series, by rule and scope.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn series(&self) -> Result<Vec<Series>, Error> {
        let sql = "SELECT id, rule, metric, scope, unit FROM series ORDER BY rule, scope, id";
        let rows: Vec<(Series, String)> = self.rows(sql, [], |row| {
            let series =
                Series { id: row.get(0)?, rule: row.get(1)?, metric: row.get(2)?, scope: Default::default(), unit: row.get(4)? };
            Ok((series, row.get(3)?))
        })?;
        let read = |(series, scope): (Series, String)| {
            let scope = serde_json::from_str(&scope).map_err(|error| self.row("series", error))?;
            Ok(Series { scope, ..series })
        };
        rows.into_iter().map(read).collect()
    }

    /// The minutes of one series.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn minutes(&self, series: i64, window: Window) -> Result<Vec<Minute>, Error> {
        let sql = "SELECT minute, last, low, high, total, boundaries, empty, samples, warning, critical, pending, firing \
                   FROM minute WHERE series = ?1 AND minute >= ?2 AND minute < ?3 ORDER BY minute";
        self.rows(sql, params![series, window.from.as_millis(), window.to.as_millis()], |row| {
            Ok(Minute {
                at: time(row, 0)?,
                last: row.get(1)?,
                low: row.get(2)?,
                high: row.get(3)?,
                total: row.get(4)?,
                boundaries: count(row, 5)?,
                empty: count(row, 6)?,
                samples: count(row, 7)?,
                warning: row.get(8)?,
                critical: row.get(9)?,
                pending: count(row, 10)?,
                firing: count(row, 11)?,
            })
        })
    }

    /// Every call that began in the window, one after the other: there may be millions.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn each_call(&self, window: Window, mut each: impl FnMut(CallRow)) -> Result<(), Error> {
        let sql = "SELECT at, exchange, service, operation, latency_us, ok, error_type FROM call WHERE at >= ?1 AND at < ?2 ORDER BY at, rowid";
        let mut read = || {
            let mut statement = self.database.prepare_cached(sql)?;
            let mut rows = statement.query(params![window.from.as_millis(), window.to.as_millis()])?;
            while let Some(row) = rows.next()? {
                each(CallRow {
                    at: time(row, 0)?,
                    exchange: row.get(1)?,
                    service: row.get(2)?,
                    operation: row.get(3)?,
                    latency_us: count(row, 4)?,
                    ok: row.get(5)?,
                    error_type: row.get(6)?,
                });
            }
            Ok(())
        };
        read().map_err(|source| self.wrap("read the calls of", source))
    }

    /// Changes of alerts, the newest [`FACTS_MAX`] at most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn alerts(&self, window: Window) -> Result<Vec<Fact<Alert>>, Error> {
        let sql = "SELECT at, '', sequence, document FROM (SELECT at, sequence, document, rowid AS id FROM alert \
                   WHERE at >= ?1 AND at < ?2 ORDER BY at DESC, id DESC LIMIT ?3) ORDER BY at, id";
        self.facts("alert", sql, params![window.from.as_millis(), window.to.as_millis(), FACTS_MAX])
    }

    /// The last change of each alert before `at`: how each stood then.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn alerts_at(&self, at: Timestamp) -> Result<Vec<Fact<Alert>>, Error> {
        // `rowid` is the order of arrival; SQLite takes the other columns from the row that has the maximum.
        let sql =
            "SELECT at, '', sequence, document, max(rowid) FROM alert WHERE at < ?1 GROUP BY rule, scope ORDER BY rule, scope";
        self.facts("alert", sql, params![at.as_millis()])
    }

    /// Steps of the guardrail's episodes, the newest [`FACTS_MAX`] at most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn actions(&self, window: Window) -> Result<Vec<Fact<Action>>, Error> {
        self.events("action", window)
    }

    /// Smoke checks, the newest [`FACTS_MAX`] at most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn smokes(&self, window: Window) -> Result<Vec<Fact<Smoke>>, Error> {
        self.events("smoke", window)
    }

    /// What became of notifications, the newest [`FACTS_MAX`] at most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn deliveries(&self, window: Window) -> Result<Vec<Fact<Delivery>>, Error> {
        self.events("delivery", window)
    }

    /// Commands (`control.>`) as JSON, the newest [`FACTS_MAX`] at most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn controls(&self, window: Window) -> Result<Vec<Fact<serde_json::Value>>, Error> {
        self.events("control", window)
    }

    /// Parked messages, the newest [`FACTS_MAX`] at most.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn parked(&self, window: Window) -> Result<Vec<Fact<ParkedRow>>, Error> {
        self.events("parked", window)
    }

    /// Minutes in which processes were heard of, by process and time.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn presence(&self, window: Window) -> Result<Vec<Presence>, Error> {
        let sql =
            "SELECT service, minute, heard, degraded FROM presence WHERE minute > ?1 AND minute < ?2 ORDER BY service, minute";
        // The minute that `from` lies in began before it.
        self.rows(sql, params![window.from.as_millis() - 60_000, window.to.as_millis()], |row| {
            Ok(Presence { service: row.get(0)?, minute: time(row, 1)?, heard: count(row, 2)?, degraded: count(row, 3)? })
        })
    }

    /// Starts of processes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn runs(&self, window: Window) -> Result<Vec<Run>, Error> {
        let sql = "SELECT service, started_at, pid, version FROM run WHERE started_at >= ?1 AND started_at < ?2 ORDER BY started_at, service";
        self.within(sql, window, |row| {
            Ok(Run { service: row.get(0)?, started_at: time(row, 1)?, pid: row.get(2)?, version: row.get(3)? })
        })
    }

    /// Changes of the connections to venues.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn feeds(&self, window: Window) -> Result<Vec<FeedRow>, Error> {
        let sql = "SELECT venue, since, state, detail FROM feed WHERE since >= ?1 AND since < ?2 ORDER BY since, venue, state";
        self.within(sql, window, |row| {
            Ok(FeedRow { venue: row.get(0)?, since: time(row, 1)?, state: row.get(2)?, detail: row.get(3)? })
        })
    }

    /// Totals by exchange and minute.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn totals(&self, window: Window) -> Result<Vec<Total>, Error> {
        let sql = "SELECT exchange, minute, at, total_usd, assets, updated_at, stale, polls, failed FROM total \
                   WHERE minute >= ?1 AND minute < ?2 ORDER BY minute, exchange";
        let rows: Vec<(Total, String)> = self.within(sql, window, |row| {
            let updated_at: Option<i64> = row.get(5)?;
            let total = Total {
                exchange: row.get(0)?,
                minute: time(row, 1)?,
                at: time(row, 2)?,
                total_usd: Default::default(),
                assets: count(row, 4)?,
                updated_at: updated_at.map(Timestamp::from_millis),
                stale: row.get(6)?,
                polls: count(row, 7)?,
                failed: count(row, 8)?,
            };
            Ok((total, row.get(3)?))
        })?;
        let exact = |(total, usd): (Total, String)| {
            Ok(Total { total_usd: usd.parse().map_err(|error| self.row("total", error))?, ..total })
        };
        rows.into_iter().map(exact).collect()
    }

    /// Verdicts by minute and guard.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn verdicts(&self, window: Window) -> Result<Vec<VerdictCount>, Error> {
        let sql = "SELECT minute, guard, count FROM verdict WHERE minute >= ?1 AND minute < ?2 ORDER BY minute, guard";
        self.within(sql, window, |row| {
            let guard: String = row.get(1)?;
            Ok(VerdictCount {
                minute: time(row, 0)?,
                guard: Some(guard).filter(|guard| !guard.is_empty()),
                count: count(row, 2)?,
            })
        })
    }

    /// Scores of the window by symbol, time frame and bucket.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn scores(&self, window: Window) -> Result<Vec<ScoreCount>, Error> {
        let sql = "SELECT venue, symbol, timeframe, bucket, sum(count) FROM score WHERE minute >= ?1 AND minute < ?2 \
                   GROUP BY venue, symbol, timeframe, bucket ORDER BY venue, symbol, timeframe, bucket";
        self.within(sql, window, |row| {
            let bucket: String = row.get(3)?;
            Ok(ScoreCount {
                venue: row.get(0)?,
                symbol: row.get(1)?,
                timeframe: row.get(2)?,
                bucket: Some(bucket).filter(|bucket| !bucket.is_empty()),
                count: count(row, 4)?,
            })
        })
    }

    /// The last calibration of each symbol and time frame in the window.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn calibrations(&self, window: Window) -> Result<Vec<Calibration>, Error> {
        let sql = "SELECT document, max(hour) FROM calibration WHERE at >= ?1 AND at < ?2 \
                   GROUP BY venue, symbol, timeframe ORDER BY venue, symbol, timeframe";
        let rows: Vec<String> = self.within(sql, window, |row| row.get(0))?;
        rows.iter().map(|text| serde_json::from_str(text).map_err(|error| self.row("calibration", error))).collect()
    }

    /// Transitions of orders by minute, exchange and state.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn order_states(&self, window: Window) -> Result<Vec<OrderCount>, Error> {
        let sql = "SELECT minute, exchange, state, count FROM order_state WHERE minute >= ?1 AND minute < ?2 ORDER BY minute, exchange, state";
        self.within(sql, window, |row| {
            Ok(OrderCount { minute: time(row, 0)?, exchange: row.get(1)?, state: row.get(2)?, count: count(row, 3)? })
        })
    }

    /// What the gateway answered, summed up.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn api(&self, window: Window) -> Result<ApiSummary, Error> {
        let mut summary = ApiSummary::default();
        let sql = "SELECT statuses, latencies FROM api WHERE at >= ?1 AND at < ?2 ORDER BY at";
        let rows = self.within(sql, window, |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        for (statuses, latencies) in rows {
            let statuses: std::collections::BTreeMap<u16, u64> =
                serde_json::from_str(&statuses).map_err(|error| self.row("api", error))?;
            for (status, count) in statuses {
                *summary.statuses.entry(status).or_default() += count;
            }
            for bytes in latencies.chunks_exact(4) {
                let value = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                *summary.latencies_us.entry(value).or_default() += 1;
            }
        }
        Ok(summary)
    }

    /// The oldest and the newest thing that the history knows of (heartbeats, windows, calls, alerts); none while it is empty.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn bounds(&self) -> Result<Option<(Timestamp, Timestamp)>, Error> {
        let sql = "SELECT min(low), max(high) FROM (SELECT min(minute) AS low, max(minute) AS high FROM presence \
                   UNION ALL SELECT min(minute), max(minute) FROM minute UNION ALL SELECT min(at), max(at) FROM call \
                   UNION ALL SELECT min(at), max(at) FROM alert)";
        let found = self.rows(sql, [], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)))?;
        let ends = found.first().and_then(|(low, high)| Some((low.as_ref()?, high.as_ref()?)));
        Ok(ends.map(|(low, high)| (Timestamp::from_millis(*low), Timestamp::from_millis(*high))))
    }

    fn events<T: DeserializeOwned>(&self, kind: &'static str, window: Window) -> Result<Vec<Fact<T>>, Error> {
        let sql = "SELECT at, subject, sequence, document FROM (SELECT at, subject, sequence, document, rowid AS id FROM event \
                   WHERE kind = ?1 AND at >= ?2 AND at < ?3 ORDER BY at DESC, id DESC LIMIT ?4) ORDER BY at, id";
        self.facts("event", sql, params![kind, window.from.as_millis(), window.to.as_millis(), FACTS_MAX])
    }

    fn facts<T: DeserializeOwned>(&self, table: &'static str, sql: &str, values: impl Params) -> Result<Vec<Fact<T>>, Error> {
        let rows: Vec<(Fact<()>, String)> = self.rows(sql, values, |row| {
            let fact = Fact { at: time(row, 0)?, subject: row.get(1)?, sequence: count(row, 2)?, message: () };
            Ok((fact, row.get(3)?))
        })?;
        let read = |(fact, document): (Fact<()>, String)| {
            let message = serde_json::from_str(&document).map_err(|error| self.row(table, error))?;
            Ok(Fact { at: fact.at, subject: fact.subject, sequence: fact.sequence, message })
        };
        rows.into_iter().map(read).collect()
    }

    fn within<T>(
        &self,
        sql: &str,
        window: Window,
        read: impl FnMut(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<Vec<T>, Error> {
        self.rows(sql, params![window.from.as_millis(), window.to.as_millis()], read)
    }

    fn rows<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnMut(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<Vec<T>, Error> {
        let rows = self.database.prepare_cached(sql).and_then(|mut statement| statement.query_map(values, read)?.collect());
        rows.map_err(|source| self.wrap("read", source))
    }
}

fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, rusqlite::Error> {
    row.get(column).map(Timestamp::from_millis)
}

fn count(row: &Row<'_>, column: usize) -> Result<u64, rusqlite::Error> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}
