//! Rate limits: Binance's weight in clock minutes with bans, and fixed windows that begin with the first request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTE_MS: i64 = 60_000;
/// Requests that an address may make after its first 429 before it is banned.
const PATIENCE: u32 = 10;
/// First ban, and how long bans grow.
const BAN_FIRST_S: i64 = 120;
const BAN_MAX_S: i64 = 3 * 86_400;

/// What Binance says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weighed {
    /// Fine; used so far in this minute, this one included.
    Fine { used: u32 },
    /// 429: used so far, seconds until the next minute.
    Over { used: u32, retry_after_s: i64 },
    /// 418: used so far, the ban's end in ms since 1970, and seconds until then.
    Banned { used: u32, until_ms: i64, retry_after_s: i64 },
}

#[derive(Debug, Default)]
struct Address {
    minute: i64,
    used: u32,
    ignored: u32,
    banned_until_ms: i64,
    bans: u32,
}

/// Binance's weight per address.
#[derive(Debug)]
pub(crate) struct Bans {
    limit: u32,
    addresses: Mutex<HashMap<IpAddr, Address>>,
}

impl Bans {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, addresses: Mutex::new(HashMap::new()) }
    }

    /// Counts a request of this weight at `now_ms`.
    pub(crate) fn weigh(&self, ip: IpAddr, weight: u32, now_ms: i64) -> Weighed {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let address = addresses.entry(ip).or_default();
        let minute = now_ms.div_euclid(MINUTE_MS);
        if address.minute != minute {
            (address.minute, address.used, address.ignored) = (minute, 0, 0);
        }
        if address.banned_until_ms > now_ms {
            return Self::banned(address, now_ms);
        }
        address.used = address.used.saturating_add(weight);
        if address.used <= self.limit {
            return Weighed::Fine { used: address.used };
        }
        address.ignored += 1;
        if address.ignored > PATIENCE {
            let length = (BAN_FIRST_S << address.bans.min(12)).min(BAN_MAX_S);
            address.bans += 1;
            address.banned_until_ms = now_ms + length * 1_000;
            return Self::banned(address, now_ms);
        }
        Weighed::Over { used: address.used, retry_after_s: seconds_up((minute + 1) * MINUTE_MS - now_ms) }
    }

    /// Takes back the weight of a request that turned out to cost nothing. Returns what is used.
    pub(crate) fn refund(&self, ip: IpAddr, weight: u32) -> u32 {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let address = addresses.entry(ip).or_default();
        address.used = address.used.saturating_sub(weight);
        address.used
    }

    fn banned(address: &Address, now_ms: i64) -> Weighed {
        Weighed::Banned {
            used: address.used,
            until_ms: address.banned_until_ms,
            retry_after_s: seconds_up(address.banned_until_ms - now_ms),
        }
    }
}

fn seconds_up(ms: i64) -> i64 {
    ms.div_euclid(1_000) + i64::from(ms.rem_euclid(1_000) > 0)
}

/// Unfilled orders of an account in fixed windows.
#[derive(Debug)]
pub(crate) struct OrderCounts {
    /// Length in ms, limit.
    windows: [(i64, u32); 2],
    used: Mutex<[(i64, u32); 2]>,
}

impl OrderCounts {
    /// Limits of ten seconds and of a day.
    pub(crate) fn new(per_10_s: u32, per_day: u32) -> Self {
        Self { windows: [(10_000, per_10_s), (86_400_000, per_day)], used: Mutex::default() }
    }

    fn turn(&self, used: &mut [(i64, u32); 2], now_ms: i64) {
        for ((window, count), (length, _)) in used.iter_mut().zip(self.windows) {
            let current = now_ms.div_euclid(length);
            if *window != current {
                (*window, *count) = (current, 0);
            }
        }
    }

    /// What is used of both.
    pub(crate) fn used(&self, now_ms: i64) -> [u32; 2] {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn(&mut used, now_ms);
        used.map(|(_, count)| count)
    }

    /// The limits of both.
    pub(crate) fn limits(&self) -> [u32; 2] {
        self.windows.map(|(_, limit)| limit)
    }

    /// Counts an order. `Err`: which window is full (0 or 1), seconds until the next.
    pub(crate) fn count(&self, now_ms: i64) -> Result<[u32; 2], (usize, i64)> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn(&mut used, now_ms);
        for (index, ((window, count), (length, limit))) in used.iter().zip(self.windows).enumerate() {
            if *count >= limit {
                return Err((index, seconds_up((window + 1) * length - now_ms)));
            }
        }
        for (_, count) in used.iter_mut() {
            *count += 1;
        }
        Ok(used.map(|(_, count)| count))
    }

    /// Takes back after an order's first fill, and when an order was not accepted.
    pub(crate) fn take_back(&self, orders: u32) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, count) in used.iter_mut() {
            *count = count.saturating_sub(orders);
        }
    }
}

/// How often something may be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    /// So many.
    pub limit: u32,
    /// In this time.
    pub period: Duration,
    /// Blocked for so long after the first too many.
    pub block: Duration,
}

#[derive(Debug)]
struct Window {
    begin: Instant,
    used: u32,
    blocked_until: Option<Instant>,
}

/// Fixed windows per address and name.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    windows: Mutex<HashMap<(IpAddr, &'static str), Window>>,
}

impl Quotas {
    /// Counts one at `now`. `Err` is how long to wait.
    pub(crate) fn count(&self, ip: IpAddr, name: &'static str, quota: Quota, now: Instant) -> Result<(), Duration> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry((ip, name)).or_insert(Window { begin: now, used: 0, blocked_until: None });
        match window.blocked_until {
            Some(until) if until > now => return Err(until - now),
            Some(_) => *window = Window { begin: now, used: 0, blocked_until: None },
            None if now.duration_since(window.begin) >= quota.period => {
                *window = Window { begin: now, used: 0, blocked_until: None }
            }
            None => {}
        }
        window.used += 1;
        if window.used > quota.limit {
            window.blocked_until = Some(now + quota.block);
            return Err(quota.block);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn weight_counts_in_clock_minutes_and_ignoring_429_is_a_growing_ban() {
        let bans = Bans::new(100);
        assert_eq!(bans.weigh(IP, 60, 59_000), Weighed::Fine { used: 60 });
        assert_eq!(bans.weigh(IP, 60, 59_500), Weighed::Over { used: 120, retry_after_s: 1 });
        assert_eq!(bans.weigh(IP, 60, 60_000), Weighed::Fine { used: 60 });
        let mut now = 60_001;
        while let Weighed::Over { .. } = bans.weigh(IP, 60, now) {
            now += 1;
        }
        assert_eq!(now, 60_001 + i64::from(PATIENCE));
        let Weighed::Banned { until_ms, retry_after_s, .. } = bans.weigh(IP, 1, now) else { panic!("not banned") };
        assert_eq!((until_ms, retry_after_s), (now + 120_000, 120));
        assert!(matches!(bans.weigh(IP, 1, until_ms - 1), Weighed::Banned { .. }));
        assert_eq!(bans.weigh(IP, 1, until_ms), Weighed::Fine { used: 1 });
        while !matches!(bans.weigh(IP, 60, until_ms + 1), Weighed::Banned { .. }) {}
        assert!(matches!(bans.weigh(IP, 1, until_ms + 1), Weighed::Banned { retry_after_s: 240, .. }));
    }

    #[test]
    fn a_window_begins_with_its_first_request_and_a_breach_blocks() {
        let quotas = Quotas::default();
        let quota = Quota { limit: 2, period: Duration::from_secs(60), block: Duration::from_secs(30) };
        let begin = Instant::now();
        let at = |seconds: u64| quotas.count(IP, "x", quota, begin + Duration::from_secs(seconds));
        assert_eq!((at(0), at(10), at(20)), (Ok(()), Ok(()), Err(Duration::from_secs(30))));
        assert_eq!((at(40), at(50)), (Err(Duration::from_secs(10)), Ok(())));
        assert_eq!((at(60), at(110)), (Ok(()), Ok(())));
    }
}
