//! What one client may take: requests a second, connections, streams. And what was refused.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::problem::Problem;
use crate::config::Config;

/// Clients remembered at once. Beyond that new ones share one allowance: an attacker with many addresses then only
/// crowds out other newcomers.
const CLIENTS_MAX: usize = 4_096;
/// Idle clients are forgotten once in so many requests.
const FORGET_EVERY: u32 = 1_024;
/// Requests a second, and at once, that one client may make beside the API: the page's files, `/metrics`, new streams. A browser fetches
/// every file of the page at once. Where more is allowed on the API, so much is allowed here, too.
pub const FILES_PER_SECOND: u32 = 200;
/// Refused requests in a row, as a multiple of `gateway.rate_burst`, after which a connection is closed.
pub const REFUSED_BURSTS_MAX: u32 = 5;

/// Allowances by client address.
pub struct Limiter {
    by_client: DefaultKeyedRateLimiter<IpAddr>,
    files: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    requests: AtomicU32,
}

impl Limiter {
    /// As configured; zero counts as one, which validation has refused before.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let at_least_one = |value: u32| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
        let quota = |per_second, burst| Quota::per_second(at_least_one(per_second)).allow_burst(at_least_one(burst));
        let files = FILES_PER_SECOND.max(config.rate_per_second);
        Self {
            by_client: RateLimiter::keyed(quota(config.rate_per_second, config.rate_burst)),
            files: RateLimiter::keyed(quota(files, files.max(config.rate_burst))),
            clock: DefaultClock::default(),
            requests: AtomicU32::new(0),
        }
    }

    /// Takes one request from the client's allowance, on the API or beside it; otherwise how long it must wait.
    pub fn check(&self, client: IpAddr, api: bool) -> Option<Duration> {
        if self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) {
            self.by_client.retain_recent();
            self.files.retain_recent();
        }
        let allowances = if api { &self.by_client } else { &self.files };
        let key = if allowances.len() < CLIENTS_MAX { network(client) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        allowances.check_key(&key).err().map(|refused| refused.wait_time_from(self.clock.now()))
    }
}

/// A bounded number of places, of which one client has a bounded part.
#[derive(Clone)]
pub struct Places(Arc<Inner>);

struct Inner {
    total: usize,
    per_client: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    Total(usize),
    /// This client has its part.
    Client(usize),
}

/// A place; given back when dropped.
pub struct Place {
    places: Arc<Inner>,
    client: IpAddr,
}

impl Places {
    /// So many, of which one client may have so many.
    #[must_use]
    pub fn new(total: usize, per_client: usize) -> Self {
        Self(Arc::new(Inner { total, per_client, taken: Mutex::default() }))
    }

    /// Takes one.
    ///
    /// # Errors
    /// [`Full`].
    pub fn take(&self, client: IpAddr) -> Result<Place, Full> {
        let client = network(client);
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.by_client.get(&client).is_some_and(|own| *own >= self.0.per_client) {
            return Err(Full::Client(self.0.per_client));
        }
        if taken.total >= self.0.total {
            return Err(Full::Total(self.0.total));
        }
        taken.total += 1;
        *taken.by_client.entry(client).or_default() += 1;
        Ok(Place { places: Arc::clone(&self.0), client })
    }

    /// Places that are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total -= 1;
        if let Some(own) = taken.by_client.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                taken.by_client.remove(&self.client);
            }
        }
    }
}

/// What somebody was refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too many requests a second.
    Rate,
    /// So many of them that the connection was closed.
    Flood,
    /// Too many connections in all.
    Connections,
    /// Too many connections of one client.
    ClientConnections,
    /// Too many live streams in all.
    Streams,
    /// Too many live streams of one client.
    ClientStreams,
    /// A head that is too large.
    HeadBytes,
    /// A head, or the next request, that took too long.
    HeadTime,
    /// A body that is too large.
    BodyBytes,
    /// A body that took too long.
    BodyTime,
    /// An answer that took too long.
    RequestTime,
    /// A socket that takes nothing.
    Stalled,
    /// A page of somebody else.
    Origin,
    /// No TLS, or not in time.
    Tls,
    /// A WebSocket client that was too slow.
    Slow,
}

impl Refusal {
    /// Every one, with its word in the metrics.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::Rate, "rate"),
        (Self::Flood, "flood"),
        (Self::Connections, "connections"),
        (Self::ClientConnections, "client_connections"),
        (Self::Streams, "streams"),
        (Self::ClientStreams, "client_streams"),
        (Self::HeadBytes, "head_bytes"),
        (Self::HeadTime, "head_time"),
        (Self::BodyBytes, "body_bytes"),
        (Self::BodyTime, "body_time"),
        (Self::RequestTime, "request_time"),
        (Self::Stalled, "stalled"),
        (Self::Origin, "origin"),
        (Self::Tls, "tls"),
        (Self::Slow, "slow"),
    ];
}

/// How often each refusal happened.
#[derive(Default)]
pub struct Refusals([AtomicU64; Refusal::ALL.len()]);

impl Refusals {
    /// One more.
    pub fn count(&self, refusal: Refusal) {
        self.0[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All of them by their words.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::ALL.iter().map(|(refusal, word)| (*word, self.0[*refusal as usize].load(Ordering::Relaxed)))
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
pub(crate) fn too_many(wait: Duration) -> Problem {
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limit", "Too many requests")
        .detail(format!("the next one is welcome in {} ms", wait.as_millis().max(1)))
        .fix("use /api/stream instead of polling; gateway.rate_per_second and gateway.rate_burst set the limit".to_owned())
        .retry_after(u16::try_from(seconds).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_for_each_client_and_come_back() {
        let places = Places::new(3, 2);
        let (one, other, third) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 3]));
        let first = places.take(one).unwrap_or_else(|_| panic!("free"));
        let _second = places.take(one).unwrap_or_else(|_| panic!("free"));
        assert_eq!(places.take(one).err(), Some(Full::Client(2)));
        let _third = places.take(other).unwrap_or_else(|_| panic!("another client's part is untouched"));
        assert_eq!(places.take(third).err(), Some(Full::Total(3)));
        drop(first);
        assert_eq!(places.taken(), 2);
        assert!(places.take(third).is_ok());
        assert_eq!(places.0.taken.lock().unwrap().by_client.len(), 2, "nobody is remembered without a place");
    }

    #[test]
    fn the_page_is_not_counted_against_the_api_but_bounded_too() {
        let limiter = Limiter::new(&Config { rate_per_second: 1, rate_burst: 1, ..Config::default() });
        let client = IpAddr::from([10, 0, 0, 1]);
        assert!(limiter.check(client, true).is_none() && limiter.check(client, true).is_some());
        let files = (0..FILES_PER_SECOND * 3).filter(|_| limiter.check(client, false).is_none()).count();
        assert!(files >= FILES_PER_SECOND as usize && files < 2 * FILES_PER_SECOND as usize, "{files}");
    }

    #[test]
    fn each_refusal_is_counted_under_its_own_word() {
        let refusals = Refusals::default();
        for (refusal, word) in Refusal::ALL {
            refusals.count(refusal);
            assert!(refusals.all().any(|told| told == (word, 1)), "{word}");
        }
        assert!(refusals.all().all(|(_, count)| count == 1));
    }
}
