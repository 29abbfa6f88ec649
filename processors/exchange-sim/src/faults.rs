//! Faults in force: which of them strike a request, a socket or a frame, and how often they did.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::config::Venue;
use crate::fault::{Fault, Kind, Listed, Method, Place, Strike, Variant};
use crate::market::Rng;

/// Faults listed at once; the oldest that are over are forgotten first.
const LISTED_MAX: usize = 256;

/// Stream of everything that is told of an account, and its kinds.
pub(crate) const USER_DATA: &str = "userData";
const ACCOUNT_CHANNELS: [&str; 9] =
    [USER_DATA, "executionReport", "outboundAccountPosition", "balanceUpdate", "423", "441", "451", "452", "453"];

#[derive(Debug)]
struct Active {
    id: u64,
    fault: Fault,
    since: Instant,
    hits: AtomicU64,
    over: AtomicBool,
}

impl Active {
    fn in_force(&self) -> bool {
        !self.over.load(Ordering::Relaxed) && self.fault.for_ms.is_none_or(|ms| self.since.elapsed() < Duration::from_millis(ms))
    }

    /// Counts a strike; the n-th is the last.
    fn strike(&self) {
        let hits = self.hits.fetch_add(1, Ordering::Relaxed) + 1;
        if self.fault.n.is_some_and(|n| hits >= n) {
            self.over.store(true, Ordering::Relaxed);
        }
    }

    fn wants_symbol(&self, symbol: Option<&str>) -> bool {
        self.fault.symbol.as_deref().is_none_or(|wanted| symbol.is_some_and(|symbol| symbol.eq_ignore_ascii_case(wanted)))
    }

    fn wants_stream(&self, topic: &str) -> bool {
        self.fault.stream.as_deref().is_none_or(|wanted| {
            topic.eq_ignore_ascii_case(wanted)
                || channel(topic).eq_ignore_ascii_case(wanted)
                || (wanted.eq_ignore_ascii_case(USER_DATA) && ACCOUNT_CHANNELS.contains(&channel(topic)))
        })
    }
}

/// `trade` of `btcusdt@trade` and of `trade:BTCTRY`.
fn channel(topic: &str) -> &str {
    topic.split_once('@').map_or_else(|| topic.split_once(':').map_or(topic, |(channel, _)| channel), |(_, channel)| channel)
}

/// Symbol of a stream name.
fn symbol_of(topic: &str) -> Option<&str> {
    topic.split_once('@').map(|(symbol, _)| symbol).or_else(|| topic.split_once(':').map(|(_, symbol)| symbol))
}

/// Paths that place or cancel orders.
fn is_order_path(path: &str) -> bool {
    ["/api/v3/order", "/api/v3/openOrders", "/api/v1/order"].contains(&path) || path.starts_with("/ws-api/v3/order.")
}

/// What faults do to one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RequestFaults {
    /// Wait so long first.
    pub delay: Duration,
    /// Close without an answer.
    pub drop: bool,
    /// Answer this: code, body, Retry-After.
    pub status: Option<(u16, Option<serde_json::Value>, Option<u64>)>,
    /// Break the answer.
    pub garbage: Option<Variant>,
    /// Execute it, then lose the answer: close, or answer this status.
    pub lost_after: Option<Option<u16>>,
}

/// What faults do to one frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameFaults {
    /// Deliver it so much later than it was made.
    pub delay: Duration,
    /// Do not send it.
    pub skip: bool,
    /// Send it broken: in place or before it.
    pub garbage: Option<(Variant, Place)>,
    /// Send it twice.
    pub twice: bool,
}

/// All faults of one simulator.
#[derive(Debug)]
pub(crate) struct Faults {
    list: RwLock<Vec<Arc<Active>>>,
    /// How many may be in force: 0 is the quick way past.
    armed: AtomicUsize,
    next: AtomicU64,
    dice: Mutex<Rng>,
    changed: watch::Sender<u64>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            list: RwLock::new(Vec::new()),
            armed: AtomicUsize::new(0),
            next: AtomicU64::new(1),
            dice: Mutex::new(Rng::new(seed, "faults")),
            changed: watch::Sender::new(0),
        }
    }

    /// Sets a fault. Returns its id.
    pub(crate) fn add(&self, fault: Fault) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        tracing::info!(id, exchange = %fault.exchange, kind = ?fault.kind, "fault set");
        let active = Active { id, fault, since: Instant::now(), hits: AtomicU64::new(0), over: AtomicBool::new(false) };
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        list.push(Arc::new(active));
        while list.len() > LISTED_MAX {
            let oldest = list.iter().position(|each| !each.in_force()).unwrap_or(0);
            list.remove(oldest);
        }
        self.armed.store(list.len(), Ordering::Release);
        drop(list);
        self.tell();
        id
    }

    /// Removes one, or all. False when there is none with this id.
    pub(crate) fn remove(&self, id: Option<u64>) -> bool {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let before = list.len();
        list.retain(|each| id.is_some_and(|id| each.id != id));
        let removed = before > list.len();
        self.armed.store(list.len(), Ordering::Release);
        drop(list);
        self.tell();
        removed || id.is_none()
    }

    pub(crate) fn listed(&self) -> Vec<Listed> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        let listed = |each: &Arc<Active>| Listed {
            id: each.id,
            active: each.in_force(),
            hits: each.hits.load(Ordering::Relaxed),
            age_ms: u64::try_from(each.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            fault: each.fault.clone(),
        };
        list.iter().map(listed).collect()
    }

    /// Changes whenever a fault is set or removed.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|generation| *generation += 1);
    }

    fn of(&self, venue: Venue, kinds: &[Kind]) -> Vec<Arc<Active>> {
        if self.armed.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.iter()
            .filter(|each| each.fault.exchange == venue && kinds.contains(&each.fault.kind) && each.in_force())
            .cloned()
            .collect()
    }

    /// Rolls the dice and counts the strike.
    fn strikes(&self, active: &Active) -> bool {
        let strikes =
            active.fault.probability.is_none_or(|share| self.dice.lock().unwrap_or_else(PoisonError::into_inner).chance(share));
        if strikes {
            active.strike();
        }
        strikes
    }

    /// The fault that strikes an order of this symbol, if any.
    pub(crate) fn order(&self, venue: Venue, symbol: &str, strike: Strike) -> Option<Fault> {
        let candidates = self.of(venue, &[Kind::Reject, Kind::PartExpire, Kind::CancelRace]);
        let mut here = candidates.iter().filter(|active| active.fault.is_of(strike) && active.wants_symbol(Some(symbol)));
        here.find(|active| self.strikes(active)).map(|active| active.fault.clone())
    }

    pub(crate) fn request(&self, venue: Venue, method: Option<Method>, path: &str, symbol: Option<&str>) -> RequestFaults {
        let mut result = RequestFaults::default();
        for active in self.of(venue, &[Kind::Delay, Kind::Status, Kind::Drop, Kind::Garbage, Kind::LostBefore, Kind::LostAfter]) {
            let fault = &active.fault;
            let of_orders = matches!(fault.kind, Kind::LostBefore | Kind::LostAfter);
            let wanted_method = fault.method.or(of_orders.then_some(Method::Post));
            let here = fault.stream.is_none()
                && (!of_orders || is_order_path(path))
                && wanted_method.is_none_or(|wanted| method == Some(wanted))
                && fault.path.as_deref().is_none_or(|wanted| path.starts_with(wanted))
                && active.wants_symbol(symbol);
            if !here || !self.strikes(&active) {
                continue;
            }
            match fault.kind {
                Kind::Delay => result.delay += Duration::from_millis(u64::try_from(fault.ms.unwrap_or(0)).unwrap_or(0)),
                Kind::Drop => result.drop = true,
                Kind::LostBefore => match fault.code {
                    Some(code) => result.status = Some((code, None, None)),
                    None => result.drop = true,
                },
                Kind::LostAfter => result.lost_after = Some(fault.code),
                Kind::Status => result.status = Some((fault.code.unwrap_or(500), fault.body.clone(), fault.retry_after)),
                _ => result.garbage = fault.variant,
            }
        }
        result
    }

    pub(crate) fn frame(&self, venue: Venue, topic: &str) -> FrameFaults {
        let mut result = FrameFaults::default();
        if self.armed.load(Ordering::Acquire) == 0 {
            return result;
        }
        for active in self.of(venue, &[Kind::Delay, Kind::Skip, Kind::Garbage, Kind::Freeze, Kind::Duplicate]) {
            let fault = &active.fault;
            if fault.path.is_some()
                || !active.wants_stream(topic)
                || !active.wants_symbol(symbol_of(topic))
                || !self.strikes(&active)
            {
                continue;
            }
            match fault.kind {
                Kind::Delay => result.delay += Duration::from_millis(u64::try_from(fault.ms.unwrap_or(0)).unwrap_or(0)),
                Kind::Garbage => result.garbage = fault.variant.map(|variant| (variant, fault.place.unwrap_or_default())),
                Kind::Duplicate => result.twice = true,
                _ => result.skip = true,
            }
        }
        result
    }

    /// Whether whole sockets of this exchange are frozen.
    pub(crate) fn frozen(&self, venue: Venue) -> bool {
        self.of(venue, &[Kind::Freeze]).iter().any(|active| active.fault.stream.is_none() && active.fault.symbol.is_none())
    }

    /// Whether a socket with these subscriptions is to be cut now by a cut that lasts (`for_ms`, `n`).
    pub(crate) fn cuts(&self, venue: Venue, subscriptions: &[String]) -> bool {
        let lasting = self.of(venue, &[Kind::Cut]);
        let mut lasting = lasting.iter().filter(|active| active.fault.for_ms.is_some() || active.fault.n.is_some());
        lasting.any(|active| Self::cuts_here(active, subscriptions) && self.strikes(active))
    }

    /// Cuts the sockets of this moment: a cut without `for_ms` and `n` is over when this returns. `socket` gives a client's
    /// subscriptions and the way to cut it.
    pub(crate) fn cut_now<'a>(
        &self,
        id: u64,
        sockets: impl Iterator<Item = (Vec<String>, &'a tokio_util::sync::CancellationToken)>,
    ) {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        let once = |each: &&Arc<Active>| {
            each.id == id && each.fault.kind == Kind::Cut && each.fault.for_ms.is_none() && each.fault.n.is_none()
        };
        let Some(active) = list.iter().find(once).cloned() else { return };
        drop(list);
        for (subscriptions, hangup) in sockets {
            if Self::cuts_here(&active, &subscriptions) && self.strikes(&active) {
                hangup.cancel();
            }
        }
        active.over.store(true, Ordering::Relaxed);
    }

    fn cuts_here(active: &Active, subscriptions: &[String]) -> bool {
        let everything = active.fault.stream.is_none() && active.fault.symbol.is_none();
        everything || subscriptions.iter().any(|topic| active.wants_stream(topic) && active.wants_symbol(symbol_of(topic)))
    }

    /// How far the exchange's clock is ahead, ms.
    pub(crate) fn skew_ms(&self, venue: Venue) -> i64 {
        self.of(venue, &[Kind::ClockSkew]).iter().filter_map(|active| active.fault.ms).sum()
    }

    /// Whether a key is revoked. Counts.
    pub(crate) fn revoked(&self, venue: Venue, key: &str) -> bool {
        let revoking = self.of(venue, &[Kind::RevokeKey]);
        let hit = revoking.iter().find(|active| active.fault.key.as_deref().is_none_or(|wanted| wanted == key));
        hit.is_some_and(|active| self.strikes(active))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(body: &str) -> Faults {
        let faults = Faults::new(1);
        faults.add(Fault::parse(body.as_bytes()).unwrap());
        faults
    }

    #[test]
    fn scopes_keep_a_fault_where_it_belongs() {
        let delay = faults(r#"{"exchange":"binance","kind":"delay","ms":50,"path":"/api/v3/account"}"#);
        let late = |path: &str| delay.request(Venue::Binance, None, path, None).delay.as_millis();
        assert_eq!((late("/api/v3/account"), late("/api/v3/depth")), (50, 0));
        assert_eq!(delay.request(Venue::Btcturk, None, "/api/v3/account", None).delay.as_millis(), 0);
        assert_eq!(delay.frame(Venue::Binance, "btcusdt@trade"), FrameFaults::default());
        assert_eq!(delay.listed()[0].hits, 1);

        let skip = faults(r#"{"exchange":"binance","kind":"skip","stream":"trade","symbol":"BTCUSDT","n":2}"#);
        let skipped = |topic: &str| skip.frame(Venue::Binance, topic).skip;
        assert!(!skipped("ethusdt@trade") && !skipped("btcusdt@bookTicker"));
        assert!(skipped("btcusdt@trade") && skipped("btcusdt@trade") && !skipped("btcusdt@trade"));
        assert!(!skip.listed()[0].active);
    }

    #[test]
    fn a_frozen_stream_is_not_a_frozen_socket() {
        let one = faults(r#"{"exchange":"btcturk","kind":"freeze","symbol":"BTCTRY"}"#);
        assert!(
            !one.frozen(Venue::Btcturk)
                && one.frame(Venue::Btcturk, "trade:BTCTRY").skip
                && !one.frame(Venue::Btcturk, "trade:ETHTRY").skip
        );
        assert!(faults(r#"{"exchange":"btcturk","kind":"freeze"}"#).frozen(Venue::Btcturk));
    }

    #[test]
    fn removal_and_probability() {
        let half = faults(r#"{"exchange":"binance","kind":"drop","probability":0.5}"#);
        let struck = (0..1_000).filter(|_| half.request(Venue::Binance, None, "/", None).drop).count();
        assert!((400..600).contains(&struck), "{struck}");
        assert!(!half.remove(Some(99)) && half.remove(Some(1)) && half.listed().is_empty() && half.remove(None));
    }
}
