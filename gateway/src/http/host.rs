//! By which names the gateway may be called where nothing but the machine's own loopback protects what it tells.
//!
//! A foreign page whose name is made to point at 127.0.0.1 (DNS rebinding) is, to the browser, a page of the gateway's own
//! origin, and could read whatever is open. What it cannot change is the name that the browser calls it by.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};

use super::problem::Problem;
use crate::config::Config;

/// The names that are taken.
pub(super) struct Hosts {
    /// Beside addresses and `localhost`; none: every name is taken.
    further: Option<Vec<String>>,
}

impl Hosts {
    pub fn new(config: &Config) -> Self {
        // Elsewhere a certificate or a token stands in between, or somebody said in so many words that the network may read.
        let guarded = config.reading_is_open() && config.listen.ip().is_loopback() && !config.is_secure();
        Self { further: guarded.then(|| config.hosts.clone()) }
    }

    /// What is wrong with the name that a request calls the gateway by. One without a name is no browser's.
    pub fn refuse(&self, uri: &Uri, headers: &HeaderMap) -> Option<Problem> {
        let further = self.further.as_deref()?;
        let given = match uri.authority() {
            Some(authority) => authority.as_str(),
            None => headers.get(header::HOST)?.to_str().unwrap_or("?"),
        };
        let host = given.parse::<Authority>().ok();
        let known = host.as_ref().is_some_and(|authority| is_local(authority.host()) || is_among(further, authority.host()));
        (!known).then(|| {
            Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", "The gateway is not known by this name")
                .place("Host")
                .detail(format!("{given:?}: reading is open to this machine, so other names are refused"))
                .fix(
                    "call it by address or as localhost, add the name to gateway.hosts, or set gateway.reading = \"token\""
                        .to_owned(),
                )
        })
    }
}

/// An address, or a name that every browser keeps on this machine.
fn is_local(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
    bare.parse::<IpAddr>().is_ok() || host == "localhost" || host.ends_with(".localhost")
}

fn is_among(names: &[String], host: &str) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(host.trim_end_matches('.')))
}

/// Whether a text is a name as it stands in `Host`, without a port.
pub(crate) fn is_name(text: &str) -> bool {
    text.parse::<Authority>().is_ok_and(|authority| authority.as_str() == authority.host()) && !text.ends_with('.')
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::Reading;

    fn refused(config: &Config, host: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        Hosts::new(config).refuse(&Uri::from_static("/api/portfolio"), &headers).is_some()
    }

    #[test]
    fn on_loopback_only_names_that_mean_this_machine_are_taken() {
        let config = Config { hosts: vec!["desk.example".to_owned()], ..Config::default() };
        for host in
            ["127.0.0.1:4001", "127.0.0.1", "[::1]:4001", "localhost:4001", "LOCALHOST.", "a.localhost", "Desk.example:80"]
        {
            assert!(!refused(&config, host), "{host}");
        }
        for host in [
            "evil.example:4001",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "a b",
            "user@evil.example",
            "desk.example.com",
        ] {
            assert!(refused(&config, host), "{host}");
        }
    }

    #[test]
    fn where_something_else_protects_what_is_told_every_name_is_taken() {
        let token = Config { reading: Some(Reading::Token), ..Config::default() };
        let network = Config { listen: (Ipv4Addr::UNSPECIFIED, 4001).into(), reading: Some(Reading::Open), ..Config::default() };
        let secure = Config { tls_cert_file: Some("a".into()), tls_key_file: Some("b".into()), ..Config::default() };
        for config in [token, network, secure] {
            assert!(!refused(&config, "evil.example"), "{config:?}");
        }
    }
}
