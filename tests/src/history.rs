//! A reporter's history that a test makes up: minutes of one rule.

use std::path::Path;

use spark_reporter::History;

/// One exchange's minutes of `portfolio_refresh_p95`: the largest value of minute n, ms; the last one of each is 100.
pub type Exchange<'a> = (&'a str, fn(i64) -> f64);

/// Writes `minutes` minutes, the last of them ten minutes ago, into the history of the data folder `data`.
///
/// # Panics
/// The file cannot be written.
pub fn record(data: &Path, exchanges: &[Exchange<'_>], minutes: i64) {
    let path = spark_reporter::history::path_in(data);
    std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("folder");
    drop(History::open(&path).expect("history"));
    let database = rusqlite::Connection::open(&path).expect("history");
    database.execute_batch("BEGIN").expect("history");
    let begin = spark_nats::now().as_millis() / 60_000 * 60_000 - (minutes + 10) * 60_000;
    for (id, (exchange, highest)) in (1_i64..).zip(exchanges) {
        let scope = format!("{{\"exchange\":\"{exchange}\"}}");
        let sql = "INSERT INTO series (id, rule, metric, scope, unit) VALUES (?1, 'portfolio_refresh_p95', 'refresh_latency_ms', ?2, 'ms')";
        database.execute(sql, rusqlite::params![id, scope]).expect("history");
        for minute in 0..minutes {
            let sql = "INSERT INTO minute VALUES (?1, ?2, 100, 50, ?3, 0, 60, 0, 10, 1500, 3000, 0, 0)";
            let at = begin + minute * 60_000;
            database.execute(sql, rusqlite::params![id, at, highest(minute)]).expect("history");
        }
    }
    database.execute_batch("COMMIT").expect("history");
}
