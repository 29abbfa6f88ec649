//! The tables. Times are nanoseconds since the epoch (UTC); money and prices are exact decimals as text.

/// Layout of the file; another number means another build's file.
pub const LAYOUT: i64 = 1;

/// Every table.
pub const TABLES: &str = "
-- One row a job. `document` is the job whole, `params` those that the figures are of, `metrics` the figures, all JSON.
CREATE TABLE IF NOT EXISTS job (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, submitted_at INTEGER NOT NULL, started_at INTEGER NOT NULL, finished_at INTEGER,
    attempts INTEGER NOT NULL, worker TEXT NOT NULL, document TEXT NOT NULL, params TEXT NOT NULL, metrics TEXT,
    trades_hash TEXT, data_hash TEXT, error TEXT,
    first_bar INTEGER, last_bar INTEGER, took_ns INTEGER, combinations INTEGER NOT NULL DEFAULT 1, walk_return_pct REAL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS job_submitted ON job (submitted_at, id);

-- The equity curve, thinned; `drawdown_pct` from the highest before.
CREATE TABLE IF NOT EXISTS equity (
    job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, at INTEGER NOT NULL, equity REAL NOT NULL, drawdown_pct REAL NOT NULL, close REAL NOT NULL,
    PRIMARY KEY (job, at)
) WITHOUT ROWID;
-- Fills, the newest; `number` counts all of them from 1. `profit` is of what the fill closed.
CREATE TABLE IF NOT EXISTS trade (
    job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, number INTEGER NOT NULL, at INTEGER NOT NULL, side TEXT NOT NULL,
    quantity TEXT NOT NULL, price TEXT NOT NULL, fee TEXT NOT NULL, fee_in_base INTEGER NOT NULL, profit TEXT,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
-- Combinations of a sweep, the best; `place` counts from 1.
CREATE TABLE IF NOT EXISTS combination (
    job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, place INTEGER NOT NULL, params TEXT NOT NULL, metrics TEXT, error TEXT,
    PRIMARY KEY (job, place)
) WITHOUT ROWID;
-- Windows of a walk-forward split, in order of time.
CREATE TABLE IF NOT EXISTS walk (
    job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, number INTEGER NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (job, number)
) WITHOUT ROWID;
";
