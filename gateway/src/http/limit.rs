//! The request rate of one client on `/api`.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::problem::Problem;
use crate::config::Config;

/// Clients remembered at once. Beyond that new ones share one allowance: an attacker with many addresses then only
/// crowds out other newcomers.
const CLIENTS_MAX: usize = 4_096;
/// Idle clients are forgotten once in so many requests.
const FORGET_EVERY: u32 = 1_024;

/// Allowances by client address.
pub struct Limiter {
    by_client: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    requests: AtomicU32,
}

impl Limiter {
    /// As configured; zero counts as one, which validation has refused before.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let at_least_one = |value: u32| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(config.rate_per_second)).allow_burst(at_least_one(config.rate_burst));
        Self { by_client: RateLimiter::keyed(quota), clock: DefaultClock::default(), requests: AtomicU32::new(0) }
    }

    /// Takes one request from the client's allowance; otherwise how long it must wait.
    pub fn check(&self, client: IpAddr) -> Option<Duration> {
        if self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) {
            self.by_client.retain_recent();
        }
        let key = if self.by_client.len() < CLIENTS_MAX { network(client) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        self.by_client.check_key(&key).err().map(|refused| refused.wait_time_from(self.clock.now()))
    }
}

/// An IPv6 client usually owns a whole /64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

/// The answer to one request too many.
pub(crate) fn too_many(wait: Duration) -> Response {
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    let mut response = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limit", "Too many requests")
        .detail(format!("the next one is welcome in {} ms", wait.as_millis().max(1)))
        .fix("use /api/stream instead of polling; gateway.rate_per_second and gateway.rate_burst set the limit".to_owned())
        .into_response();
    if let Ok(seconds) = HeaderValue::from_str(&seconds.to_string()) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}
