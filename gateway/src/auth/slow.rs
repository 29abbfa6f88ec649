//! What wrong tokens cost: each answer to one comes later than the one before, and only a few may wait at once.
//!
//! A right token is answered at once, whatever others send from the same address, as long as not too many wrong ones wait.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong tokens that cost nothing but the first delay: people mistype.
const FREE: u32 = 3;
/// The first delay; it doubles with each further wrong token.
const FIRST: Duration = Duration::from_millis(100);
/// The longest one.
const LONGEST: Duration = Duration::from_secs(3);
/// Answers to one client that are held back at once; of more its tokens are not even looked at.
const WAITING_MAX: u32 = 8;
/// After so long without a wrong token, a client begins anew.
const FORGET: Duration = Duration::from_secs(300);
/// Clients remembered; of more, the one that was quiet longest is forgotten.
const CLIENTS_MAX: usize = 4_096;

/// Wrong tokens by client.
#[derive(Default)]
pub struct Slow {
    clients: Mutex<HashMap<IpAddr, Client>>,
}

#[derive(Clone, Copy)]
struct Client {
    wrong: u32,
    waiting: u32,
    last: Instant,
}

/// A place among the answers that are held back; given back when dropped.
pub struct Turn<'a> {
    slow: &'a Slow,
    client: IpAddr,
    /// How long to hold the answer back.
    pub delay: Duration,
}

impl Slow {
    /// Whether a client has so many answers waiting that its next token is not looked at.
    #[must_use]
    pub fn is_full(&self, client: Option<IpAddr>) -> bool {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.get(&key(client)).is_some_and(|held| held.waiting >= WAITING_MAX)
    }

    /// One more wrong token; none when too many answers wait already.
    pub fn wrong(&self, client: Option<IpAddr>) -> Option<Turn<'_>> {
        let (key, now) = (key(client), Instant::now());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if !clients.contains_key(&key) && clients.len() >= CLIENTS_MAX {
            clients.retain(|_, held| held.waiting > 0 || now.duration_since(held.last) < FORGET);
            let quiet = clients.iter().filter(|(_, held)| held.waiting == 0).min_by_key(|(_, held)| held.last);
            if let Some(quiet) = quiet.map(|(key, _)| *key).filter(|_| clients.len() >= CLIENTS_MAX) {
                clients.remove(&quiet);
            }
        }
        let held = clients.entry(key).or_insert(Client { wrong: 0, waiting: 0, last: now });
        if held.waiting == 0 && now.duration_since(held.last) >= FORGET {
            held.wrong = 0;
        }
        held.last = now;
        held.wrong = held.wrong.saturating_add(1);
        if held.waiting >= WAITING_MAX {
            return None;
        }
        held.waiting += 1;
        Some(Turn { slow: self, client: key, delay: delay(held.wrong) })
    }
}

fn delay(wrong: u32) -> Duration {
    // Doubled so often that it is the longest long before the number overflows.
    FIRST.saturating_mul(1 << wrong.saturating_sub(FREE).min(10)).min(LONGEST)
}

fn key(client: Option<IpAddr>) -> IpAddr {
    client.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), crate::http::limit::network)
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut clients = self.slow.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = clients.get_mut(&self.client) {
            held.waiting = held.waiting.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_token_costs_more_up_to_a_limit() {
        let all: Vec<u64> = (1..=10).map(|wrong| u64::try_from(delay(wrong).as_millis()).unwrap()).collect();
        assert_eq!(all, [100, 100, 100, 200, 400, 800, 1_600, 3_000, 3_000, 3_000]);
        assert_eq!(delay(u32::MAX), LONGEST);
    }

    #[test]
    fn of_too_many_at_once_the_rest_is_not_looked_at_and_others_are_not_touched() {
        let slow = Slow::default();
        let (one, other) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        let turns: Vec<_> = (0..WAITING_MAX).map(|_| slow.wrong(one).unwrap()).collect();
        assert!(slow.is_full(one) && slow.wrong(one).is_none());
        assert!(!slow.is_full(other) && slow.wrong(other).is_some());
        drop(turns);
        assert!(!slow.is_full(one), "what was answered waits no more");
    }

    #[test]
    fn clients_are_bounded() {
        let slow = Slow::default();
        for number in 0..u32::try_from(CLIENTS_MAX).unwrap() + 10 {
            drop(slow.wrong(Some(IpAddr::from(number.to_be_bytes()))));
        }
        assert_eq!(slow.clients.lock().unwrap().len(), CLIENTS_MAX);
    }
}
