//! Section `[reporter]` of `spark.toml`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest time that may be configured, days: ten years.
const DAYS_MAX: u64 = 3_660;
/// Calls must be kept for a weekly report and a day.
const KEEP_CALLS_MIN: Duration = Duration::from_secs(24 * 3_600);
/// Two weeks: a weekly report looks at the week before, too.
const KEEP_MIN: Duration = Duration::from_secs(14 * 24 * 3_600);
/// More often, a check would meet the one before.
const SMOKE_MIN: Duration = Duration::from_secs(10);

/// Section `[reporter]` of `spark.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long the history is kept, e.g. `35d`.
    pub keep: String,
    /// How long single calls and API latencies are kept: exact percentiles can be had no further back.
    pub keep_calls: String,
    /// How often the smoke check runs, e.g. `15m`.
    pub smoke_every: String,
    /// Reports of each kind that are kept in `<data>/reports`.
    pub reports_kept: usize,
    /// Address of the gateway that the smoke check asks.
    pub gateway_url: String,
    /// File with a viewer's token for it; needed where reading is not open.
    pub gateway_token_file: Option<PathBuf>,
    /// File with the certificate authority that signed its certificate, PEM; none: those that everybody trusts.
    pub gateway_ca_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keep: "35d".to_owned(),
            keep_calls: "8d".to_owned(),
            smoke_every: "15m".to_owned(),
            reports_kept: 60,
            gateway_url: "http://127.0.0.1:4001".to_owned(),
            gateway_token_file: None,
            gateway_ca_file: None,
        }
    }
}

impl Config {
    /// Every mistake, each as "key = value: what is wrong; what would be right".
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let times = [
            ("keep", &self.keep, KEEP_MIN, "14d"),
            ("keep_calls", &self.keep_calls, KEEP_CALLS_MIN, "1d"),
            ("smoke_every", &self.smoke_every, SMOKE_MIN, "10s"),
        ];
        for (key, text, least, shown) in times {
            match parse_time(text) {
                Err(error) => wrong.push(format!("{key} = \"{text}\": {error}")),
                Ok(time) if time < least => wrong.push(format!("{key} = \"{text}\": too short; at least \"{shown}\"")),
                Ok(_) => {}
            }
        }
        if let (Ok(keep), Ok(calls)) = (parse_time(&self.keep), parse_time(&self.keep_calls))
            && calls > keep
        {
            wrong.push(format!("keep_calls = \"{}\": longer than keep = \"{}\"; at most that", self.keep_calls, self.keep));
        }
        if self.reports_kept == 0 || self.reports_kept > 10_000 {
            wrong.push(format!("reports_kept = {}: not useful; 1 to 10000", self.reports_kept));
        }
        if !self.gateway_url.starts_with("http://") && !self.gateway_url.starts_with("https://") {
            wrong.push("gateway_url: not an address; e.g. \"http://127.0.0.1:4001\"".to_owned());
        }
        wrong
    }

    /// `keep`; the default where it cannot be read.
    #[must_use]
    pub fn keep(&self) -> Duration {
        parse_time(&self.keep).unwrap_or(Duration::from_secs(35 * 24 * 3_600))
    }

    /// `keep_calls`; the default where it cannot be read.
    #[must_use]
    pub fn keep_calls(&self) -> Duration {
        parse_time(&self.keep_calls).unwrap_or(Duration::from_secs(8 * 24 * 3_600))
    }

    /// `smoke_every`; the default where it cannot be read.
    #[must_use]
    pub fn smoke_every(&self) -> Duration {
        parse_time(&self.smoke_every).unwrap_or(Duration::from_secs(15 * 60))
    }
}

/// A length of time: a whole number and `s`, `m`, `h` or `d`, e.g. `24h`.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text:.32}` is not a time; a whole number and s, m, h or d, e.g. 24h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number = &text[..text.len() - 1];
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: u64 = number.parse().map_err(|_| wrong())?;
    let total = count.checked_mul(seconds).filter(|&total| total > 0 && total <= DAYS_MAX * 86_400);
    total.map(Duration::from_secs).ok_or_else(|| format!("`{text:.32}`: must be from 1s to {DAYS_MAX}d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_mistakes_name_what_would_be_right() {
        assert_eq!(parse_time("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_time("35d"), Ok(Duration::from_secs(35 * 86_400)));
        for wrong in ["", "h", "24", "24H", "-1h", "1.5h", "0s", "99999999999999999999d", "9999d", "٣h", "5µ"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_defaults_are_right_and_each_mistake_is_told_with_its_key() {
        assert_eq!(Config::default().validate(), Vec::<String>::new());
        let wrong = Config {
            keep: "1d".to_owned(),
            keep_calls: "2d".to_owned(),
            smoke_every: "often".to_owned(),
            reports_kept: 0,
            gateway_url: "here".to_owned(),
            ..Config::default()
        };
        let keys: Vec<String> =
            wrong.validate().iter().map(|text| text.split([' ', ':']).next().unwrap_or_default().to_owned()).collect();
        assert_eq!(keys, ["keep", "smoke_every", "keep_calls", "reports_kept", "gateway_url"]);
    }
}
