//! `[gateway]` of `spark.toml`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Venue;
use spark_bus_schema::session::{Calendar, Day};
use spark_bus_schema::telemetry::PROCESSES;

use crate::http::cors::is_origin;
use crate::http::host::is_name;
use crate::view::Limits;

/// Who may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reading {
    /// Everybody who reaches the address.
    Open,
    /// Whoever has a token.
    Token,
}

/// What the gateway is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// The `environment` label of every metric.
    pub environment: String,
    /// Whether the data is simulated: the status is then `DEMO` instead of `LIVE`.
    pub demo: bool,
    /// Processes that must be up; one that is not makes the status `DEGRADED`.
    pub expected: Vec<String>,
    /// Exchanges whose calls and errors are told in `/metrics` from the beginning, with zeros before the first call.
    pub exchanges: Vec<Venue>,
    /// Receivers of the notifier whose deliveries are told in `/metrics` from the beginning, with zeros.
    pub receivers: Vec<String>,
    /// File with the first administrator's token, one line, at least 16 characters; the environment variable
    /// `SPARK_ADMIN_TOKEN` wins.
    pub admin_token_file: Option<PathBuf>,
    /// File with the tokens that `spark token` makes; `keys/tokens.json` in the data folder when nothing is said.
    pub tokens_file: Option<PathBuf>,
    /// Whether reading needs a viewer's token; open on loopback and by token elsewhere when nothing is said.
    pub reading: Option<Reading>,
    /// Requests a second that one client may make on `/api`, in the long run.
    pub rate_per_second: u32,
    /// Requests that one client may make on `/api` at once.
    pub rate_burst: u32,
    /// Connections at once. More are answered with 503 and closed.
    pub connections_max: u32,
    /// Connections at once that one client may have.
    pub connections_per_client_max: u32,
    /// Live streams at once, server-sent events and WebSockets together. More are answered with 503.
    pub streams_max: u32,
    /// Live streams at once that one client may have. More are answered with 429.
    pub streams_per_client_max: u32,
    /// Origins of other people's pages that may use the API, e.g. `https://desk.example`; none when nothing is said.
    pub cors_origins: Vec<String>,
    /// Further names that it may be called by where reading is open on loopback, e.g. of a proxy in front of it that passes
    /// on its own; addresses and `localhost` always may.
    pub hosts: Vec<String>,
    /// Certificate chain (PEM) for TLS at the gateway's own port; `tls_key_file` belongs to it. Another file in its place is
    /// used within seconds.
    pub tls_cert_file: Option<PathBuf>,
    /// Private key (PEM) of the certificate.
    pub tls_key_file: Option<PathBuf>,
    /// How long one request may take, ms.
    pub request_timeout_ms: u64,
    /// Market data older than this makes the status `DEGRADED`, s.
    pub market_age_s_max: u32,
    /// Balances older than this make the status `DEGRADED`, s.
    pub portfolio_age_s_max: u32,
    /// Days on which Borsa Istanbul does not trade, besides those that every year has and the bayrams up to 2027.
    pub bist_holidays: Vec<Day>,
    /// Days on which it trades in the morning only, as above.
    pub bist_half_days: Vec<Day>,
    /// It trades around the clock, as the simulated one does; in the demo when nothing is said.
    pub bist_always_open: Option<bool>,
    /// Commit that was built, for `X-Build-SHA`. Without it what the build was told in `SPARK_BUILD_SHA`.
    pub build_sha: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4001)),
            environment: "demo".to_owned(),
            demo: true,
            // The gateway itself is there when anybody can ask it.
            expected: PROCESSES.iter().filter(|name| **name != "gateway").map(|name| (*name).to_owned()).collect(),
            exchanges: vec![Venue::Binance, Venue::Btcturk],
            receivers: vec!["file".to_owned()],
            admin_token_file: None,
            tokens_file: None,
            reading: None,
            rate_per_second: 10,
            rate_burst: 20,
            connections_max: 4_096,
            connections_per_client_max: 512,
            streams_max: 2_048,
            streams_per_client_max: 256,
            cors_origins: Vec::new(),
            hosts: Vec::new(),
            tls_cert_file: None,
            tls_key_file: None,
            request_timeout_ms: 10_000,
            market_age_s_max: 30,
            portfolio_age_s_max: 120,
            bist_holidays: Vec::new(),
            bist_half_days: Vec::new(),
            bist_always_open: None,
            build_sha: None,
        }
    }
}

impl Config {
    /// What cannot work, a sentence each: key, value, what is wrong, what would be right.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut range = |key: &str, value: u64, min: u64, max: u64| {
            if !(min..=max).contains(&value) {
                problems.push(format!("{key} = {value}: out of range; {min} to {max} would be right"));
            }
        };
        range("rate_per_second", self.rate_per_second.into(), 1, 100_000);
        range("rate_burst", self.rate_burst.into(), 1, 100_000);
        range("connections_max", self.connections_max.into(), 1, 65_536);
        range("connections_per_client_max", self.connections_per_client_max.into(), 1, 65_536);
        range("streams_max", self.streams_max.into(), 1, 65_536);
        range("streams_per_client_max", self.streams_per_client_max.into(), 1, 65_536);
        range("request_timeout_ms", self.request_timeout_ms, 100, 60_000);
        range("market_age_s_max", self.market_age_s_max.into(), 1, 86_400);
        range("portfolio_age_s_max", self.portfolio_age_s_max.into(), 1, 86_400);
        let name =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        for process in self.expected.iter().filter(|process| !name(process)) {
            problems.push(format!("expected = {process:?}: not a process name; \"feed\" or \"portfolio\" would be right"));
        }
        if !name(&self.environment) {
            problems.push(format!(
                "environment = {:?}: not a label value made of a-z, 0-9 and -; \"demo\" or \"production\" would be right",
                self.environment
            ));
        }
        for origin in self.cors_origins.iter().filter(|origin| !is_origin(origin)) {
            problems.push(format!("cors_origins = {origin:?}: not an origin; \"https://desk.example\" would be right"));
        }
        for host in self.hosts.iter().filter(|host| !is_name(host)) {
            problems.push(format!("hosts = {host:?}: not a name without a port; \"desk.example\" would be right"));
        }
        let alone = match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(_), None) => Some(("tls_cert_file", "tls_key_file")),
            (None, Some(_)) => Some(("tls_key_file", "tls_cert_file")),
            _ => None,
        };
        if let Some((given, missing)) = alone {
            problems.push(format!("{given} is set and {missing} is not: both, or neither, would be right"));
        }
        if let Some(sha) = &self.build_sha
            && !(sha.len() <= 64 && !sha.is_empty() && sha.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(&b)))
        {
            problems.push(format!("build_sha = {sha:?}: not a commit id; \"74cb439\" would be right"));
        }
        problems
    }

    /// Whether the gateway speaks TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.tls_cert_file.is_some() && self.tls_key_file.is_some()
    }

    /// Whether reading needs no token.
    #[must_use]
    pub fn reading_is_open(&self) -> bool {
        self.reading.map_or(self.listen.ip().is_loopback(), |reading| reading == Reading::Open)
    }

    /// When Borsa Istanbul is open.
    fn calendar(&self) -> Calendar {
        let always = self.bist_always_open.unwrap_or(self.demo);
        if always { Calendar::always_open() } else { Calendar::new(&self.bist_holidays, &self.bist_half_days) }
    }

    /// The commit that was built, `unknown` where nobody said.
    #[must_use]
    pub fn build_sha(&self) -> &str {
        self.build_sha.as_deref().or(option_env!("SPARK_BUILD_SHA")).unwrap_or("unknown")
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            expected: self.expected.clone(),
            demo: self.demo,
            market_age_ms_max: i64::from(self.market_age_s_max) * 1_000,
            portfolio_age_ms_max: i64::from(self.portfolio_age_s_max) * 1_000,
            calendar: self.calendar(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_each_impossible_value_is_named_with_what_would_be_right() {
        assert_eq!(Config::default().validate(), Vec::<String>::new());
        let check = |change: fn(&mut Config), want: &str| {
            let mut config = Config::default();
            change(&mut config);
            let problems = config.validate();
            assert!(problems.len() == 1 && problems[0].contains(want) && problems[0].contains("would be right"), "{problems:?}");
        };
        check(|config| config.rate_per_second = 0, "rate_per_second = 0");
        check(|config| config.rate_burst = 0, "rate_burst = 0");
        check(|config| config.connections_max = 0, "connections_max = 0");
        check(|config| config.connections_per_client_max = 0, "connections_per_client_max = 0");
        check(|config| config.streams_max = 100_000, "streams_max = 100000");
        check(|config| config.streams_per_client_max = 0, "streams_per_client_max = 0");
        check(|config| config.cors_origins = vec!["*".into()], "cors_origins = \"*\"");
        check(|config| config.hosts = vec!["desk.example:80".into()], "hosts = \"desk.example:80\"");
        check(|config| config.tls_cert_file = Some("a.pem".into()), "tls_key_file is not");
        check(|config| config.tls_key_file = Some("a.pem".into()), "tls_cert_file is not");
        check(|config| config.request_timeout_ms = 1, "request_timeout_ms = 1");
        check(|config| config.expected = vec!["Feed!".into()], "expected = \"Feed!\"");
        check(|config| config.environment = "a\"b".into(), "environment = ");
        check(|config| config.build_sha = Some("x\r\ny".into()), "build_sha = ");
    }
}
