//! `[backtest]` of `spark.toml`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Venue;

/// Workers of one process.
const WORKERS_MAX: usize = 64;
/// Longest wait for a silent worker.
const ACK_WAIT_MAX_S: u64 = 3_600;
/// Workers that one job may have, at most.
const ATTEMPTS_MAX: u32 = 20;
/// Longest time that results are kept: ten years.
const KEEP_DAYS_MAX: u64 = 3_660;
/// Jobs that are kept, at most.
const KEEP_JOBS_MAX: usize = 1_000_000;

/// What the process is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Jobs that this process runs at once.
    pub workers: usize,
    /// A job whose worker has not been heard of for this long goes to another one, s.
    pub ack_wait_s: u64,
    /// Workers that a job may take with it before it is parked.
    pub attempts: u32,
    /// Results are kept this long, days.
    pub keep_days: u64,
    /// Results of this many jobs are kept, the newest.
    pub keep_jobs: usize,
    /// Where Binance's candles are asked for; none is the exchange itself.
    pub binance_url: Option<String>,
    /// Where BTCTurk's candles are asked for; none is the exchange itself.
    pub btcturk_url: Option<String>,
    /// Folders that CSV files of jobs may be in; empty: everywhere that the process may read.
    pub csv_folders: Vec<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 1,
            ack_wait_s: 30,
            attempts: 3,
            keep_days: 90,
            keep_jobs: 1_000,
            binance_url: None,
            btcturk_url: None,
            csv_folders: Vec::new(),
        }
    }
}

impl Config {
    /// Every mistake, as "key = value: what is wrong; what would be right".
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut within = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                wrong.push(format!("{key} = {value}: not useful; {least} to {most}"));
            }
        };
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        within("workers", wide(self.workers), 1, wide(WORKERS_MAX));
        within("ack_wait_s", self.ack_wait_s, 1, ACK_WAIT_MAX_S);
        within("attempts", u64::from(self.attempts), 1, u64::from(ATTEMPTS_MAX));
        within("keep_days", self.keep_days, 1, KEEP_DAYS_MAX);
        within("keep_jobs", wide(self.keep_jobs), 1, wide(KEEP_JOBS_MAX));
        for (key, url) in [("binance_url", &self.binance_url), ("btcturk_url", &self.btcturk_url)] {
            if url.as_ref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
                wrong.push(format!("{key}: not an address; e.g. \"https://api.binance.com\""));
            }
        }
        let relative = |folder: &&PathBuf| !folder.is_absolute();
        wrong.extend(self.csv_folders.iter().filter(relative).map(|folder| {
            format!("csv_folders = {:?}: not an absolute path; e.g. \"/srv/candles\"", folder.display().to_string())
        }));
        wrong
    }

    /// `ack_wait_s`.
    #[must_use]
    pub fn ack_wait(&self) -> Duration {
        Duration::from_secs(self.ack_wait_s)
    }

    /// `keep_days`.
    #[must_use]
    pub fn keep(&self) -> Duration {
        Duration::from_secs(self.keep_days * 86_400)
    }

    /// Where a venue's candles are asked for; none is the exchange itself.
    #[must_use]
    pub fn url_of(&self, venue: Venue) -> Option<&str> {
        match venue {
            Venue::Binance => self.binance_url.as_deref(),
            Venue::Btcturk => self.btcturk_url.as_deref(),
            Venue::Bist => None,
        }
    }

    /// Whether a file, its path free of links, is in one of the folders that are allowed.
    #[must_use]
    pub fn allows(&self, path: &Path) -> bool {
        self.csv_folders.is_empty() || self.csv_folders.iter().any(|folder| path.starts_with(folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_right_and_each_mistake_is_told_with_its_key() {
        assert_eq!(Config::default().validate(), Vec::<String>::new());
        let wrong = Config {
            workers: 0,
            ack_wait_s: 0,
            attempts: 0,
            keep_days: 0,
            keep_jobs: 0,
            binance_url: Some("here".into()),
            btcturk_url: None,
            csv_folders: vec!["here".into()],
        };
        let keys: Vec<String> =
            wrong.validate().iter().map(|text| text.split([' ', ':']).next().unwrap_or_default().to_owned()).collect();
        assert_eq!(keys, ["workers", "ack_wait_s", "attempts", "keep_days", "keep_jobs", "binance_url", "csv_folders"]);
    }

    #[test]
    fn files_outside_of_the_folders_are_not_read() {
        let config = Config { csv_folders: vec!["/srv/candles".into()], ..Config::default() };
        assert!(config.allows(Path::new("/srv/candles/a.csv")) && Config::default().allows(Path::new("/etc/x")));
        assert!(!config.allows(Path::new("/srv/candles-of-others/a.csv")) && !config.allows(Path::new("/etc/x")));
    }
}
