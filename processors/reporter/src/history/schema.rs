//! The tables. Times are milliseconds since the epoch (UTC) unless a name says otherwise; a minute is the time of its beginning.

/// Layout of the file; another number means another build's file.
pub const LAYOUT: i64 = 1;

/// Every table. What is written often and kept long is one row a minute; what percentiles are made of is kept as it came.
pub const TABLES: &str = "
-- The last message of each stream that the other tables hold: written in the transaction that holds them.
CREATE TABLE IF NOT EXISTS cursor (stream TEXT PRIMARY KEY, sequence INTEGER NOT NULL, stored_at_ns INTEGER NOT NULL) WITHOUT ROWID;
-- `windows_at`: the last boundary of the guardrail that was taken in. A boundary that comes again counts once.
CREATE TABLE IF NOT EXISTS note (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

-- One rule in one scope. `scope` is a JSON object with its names in order.
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, rule TEXT NOT NULL, metric TEXT NOT NULL, scope TEXT NOT NULL, unit TEXT NOT NULL,
    UNIQUE (rule, scope, metric, unit)
);
-- What the guardrail's window said in one minute. `boundaries` had a value, `empty` had none; `firing`, `pending`: of both.
CREATE TABLE IF NOT EXISTS minute (
    series INTEGER NOT NULL, minute INTEGER NOT NULL,
    last REAL, low REAL, high REAL, total REAL NOT NULL, boundaries INTEGER NOT NULL, empty INTEGER NOT NULL,
    samples INTEGER NOT NULL, warning REAL, critical REAL, pending INTEGER NOT NULL, firing INTEGER NOT NULL,
    PRIMARY KEY (series, minute)
) WITHOUT ROWID;

-- Every call to an exchange; operation `refresh` is a whole poll. `at` is when it began.
CREATE TABLE IF NOT EXISTS call (
    at INTEGER NOT NULL, exchange TEXT NOT NULL, service TEXT NOT NULL, operation TEXT NOT NULL,
    latency_us INTEGER NOT NULL, ok INTEGER NOT NULL, error_type TEXT
);
CREATE INDEX IF NOT EXISTS call_at ON call (at);

-- What the gateway answered in one second: `statuses` a JSON object, `latencies` µs as little-endian u32.
CREATE TABLE IF NOT EXISTS api (at INTEGER NOT NULL, service TEXT NOT NULL, statuses TEXT NOT NULL, latencies BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS api_at ON api (at);

-- Seconds of a minute in which a process was heard of, bit n for second n.
CREATE TABLE IF NOT EXISTS presence (
    service TEXT NOT NULL, minute INTEGER NOT NULL, heard INTEGER NOT NULL, degraded INTEGER NOT NULL,
    PRIMARY KEY (service, minute)
) WITHOUT ROWID;
-- Each start of a process.
CREATE TABLE IF NOT EXISTS run (
    service TEXT NOT NULL, started_at INTEGER NOT NULL, pid INTEGER NOT NULL, version TEXT NOT NULL,
    PRIMARY KEY (service, started_at)
) WITHOUT ROWID;
-- Each state of the connection to a venue.
CREATE TABLE IF NOT EXISTS feed (
    venue TEXT NOT NULL, since INTEGER NOT NULL, state TEXT NOT NULL, detail TEXT,
    PRIMARY KEY (venue, since, state)
) WITHOUT ROWID;

-- The last poll of an exchange in a minute; `total_usd` is an exact decimal.
CREATE TABLE IF NOT EXISTS total (
    exchange TEXT NOT NULL, minute INTEGER NOT NULL, at INTEGER NOT NULL, total_usd TEXT NOT NULL, assets INTEGER NOT NULL,
    updated_at INTEGER, stale INTEGER NOT NULL, polls INTEGER NOT NULL, failed INTEGER NOT NULL,
    PRIMARY KEY (exchange, minute)
) WITHOUT ROWID;
-- Verdicts; `guard` is what refused, empty for an approval.
CREATE TABLE IF NOT EXISTS verdict (minute INTEGER NOT NULL, guard TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (minute, guard)) WITHOUT ROWID;
-- Transitions of orders by the state they lead to.
CREATE TABLE IF NOT EXISTS order_state (
    minute INTEGER NOT NULL, exchange TEXT NOT NULL, state TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (minute, exchange, state)
) WITHOUT ROWID;

-- Scores by the bucket of their confidence: empty where there is none, `below` where it is less than the lowest bucket.
CREATE TABLE IF NOT EXISTS score (
    minute INTEGER NOT NULL, venue TEXT NOT NULL, symbol TEXT NOT NULL, timeframe TEXT NOT NULL, bucket TEXT NOT NULL,
    count INTEGER NOT NULL, PRIMARY KEY (minute, venue, symbol, timeframe, bucket)
) WITHOUT ROWID;
-- The last calibration of an hour, whole, as JSON.
CREATE TABLE IF NOT EXISTS calibration (
    hour INTEGER NOT NULL, venue TEXT NOT NULL, symbol TEXT NOT NULL, timeframe TEXT NOT NULL, at INTEGER NOT NULL,
    document TEXT NOT NULL, PRIMARY KEY (hour, venue, symbol, timeframe)
) WITHOUT ROWID;

-- Every change of an alert, whole, as JSON.
CREATE TABLE IF NOT EXISTS alert (at INTEGER NOT NULL, rule TEXT NOT NULL, scope TEXT NOT NULL, sequence INTEGER NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS alert_at ON alert (at);
CREATE INDEX IF NOT EXISTS alert_instance ON alert (rule, scope, at);
-- Other facts, whole, as JSON: kind `action smoke delivery control parked rollout backtest`.
CREATE TABLE IF NOT EXISTS event (at INTEGER NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, sequence INTEGER NOT NULL, document TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_kind ON event (kind, at);
";
