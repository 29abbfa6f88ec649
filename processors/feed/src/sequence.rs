//! Puts trades into the venue's order, each once: finds holes, waits for their filling, drops what came before.
//!
//! Pure: no I/O, no clock. [`crate::ticks`] feeds it with frames and REST answers and publishes what it releases.

use std::collections::{BTreeMap, VecDeque};

use spark_bus_schema::market::Trade;

/// Trades that wait for publication or behind a hole; beyond it the socket is not read.
pub const WAITING_MAX: usize = 65_536;
/// Trades kept after publication, in case the broker loses its end.
pub const RECENT_MAX: usize = 16_384;
/// A venue must deny an id this often in a row before it counts as lost: its REST side may lag behind its sockets.
pub const DENIALS_MAX: u32 = 3;
/// An id this far above the newest one that the venue's REST side knows is not lag but garbage.
pub const LAG_IDS_MAX: u64 = 100_000;
/// Lower ids with later times, kept while it is unknown whether the venue began to count anew.
const DOUBTFUL_MAX: usize = 4_096;

/// How a venue numbers its trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By one: a jump is a hole.
    Contiguous,
    /// Rising, with jumps that mean nothing.
    Rising,
}

/// What became of an offered trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It, and perhaps others behind it, can be published.
    Released,
    /// It waits behind a hole.
    Held,
    /// Its id was there before.
    Old,
}

/// What an answer of the venue's REST side brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Trades that were missing and are there now.
    pub filled: u64,
    /// Ids that the venue does not have, for good.
    pub lost: u64,
    /// Held trades thrown away because the venue knows no ids near theirs.
    pub garbage: u64,
}

/// The order of one symbol's trades.
#[derive(Debug)]
pub struct Sequencer {
    order: Order,
    /// The smallest id that was not released; none until the first trade.
    next: Option<u64>,
    /// Released, waiting for publication.
    ready: VecDeque<Trade>,
    /// Given to the broker, newest at the back.
    recent: VecDeque<Trade>,
    /// Behind a hole.
    held: BTreeMap<u64, Trade>,
    doubtful: Vec<Trade>,
    last_released: Option<Trade>,
    denials: u32,
}

impl Sequencer {
    /// Nothing known yet.
    #[must_use]
    pub fn new(order: Order) -> Self {
        Self {
            order,
            next: None,
            ready: VecDeque::new(),
            recent: VecDeque::new(),
            held: BTreeMap::new(),
            doubtful: Vec::new(),
            last_released: None,
            denials: 0,
        }
    }

    /// Goes on after `last`, the newest trade that the broker holds.
    pub fn start_after(&mut self, last: Trade) {
        self.next = Some(last.trade_id.saturating_add(1));
        self.last_released = Some(last);
    }

    /// Nothing was ever published: asks for everything from `id` on.
    pub fn start_at(&mut self, id: u64) {
        self.next = Some(id);
    }

    /// The smallest id that was not released yet.
    #[must_use]
    pub fn next_id(&self) -> Option<u64> {
        self.next
    }

    /// The newest trade that was released, now or by an earlier run.
    #[must_use]
    pub fn last_released(&self) -> Option<&Trade> {
        self.last_released.as_ref()
    }

    /// A trade from a frame.
    pub fn offer(&mut self, trade: Trade) -> Offer {
        match self.next {
            Some(next) if trade.trade_id < next => self.doubt(trade),
            Some(next) if trade.trade_id > next && self.order == Order::Contiguous => {
                if self.held.insert(trade.trade_id, trade).is_some() { Offer::Old } else { Offer::Held }
            }
            _ => {
                self.release(trade);
                self.release_held();
                Offer::Released
            }
        }
    }

    fn doubt(&mut self, trade: Trade) -> Offer {
        let later = self.last_released.as_ref().is_some_and(|last| trade.occurred_at > last.occurred_at);
        if later && self.order == Order::Contiguous && self.doubtful.len() < DOUBTFUL_MAX {
            self.doubtful.push(trade);
        }
        Offer::Old
    }

    fn release(&mut self, trade: Trade) {
        self.next = Some(trade.trade_id.saturating_add(1));
        self.last_released = Some(trade);
        self.ready.push_back(trade);
        self.denials = 0;
    }

    fn release_held(&mut self) {
        while let Some(entry) = self.held.first_entry() {
            match self.next {
                Some(next) if *entry.key() > next => break,
                Some(next) if *entry.key() < next => {
                    entry.remove();
                }
                _ => {
                    let trade = entry.remove();
                    self.release(trade);
                }
            }
        }
    }

    /// The missing ids in front of what is held: first one, and how many.
    #[must_use]
    pub fn hole(&self) -> Option<(u64, u64)> {
        let next = self.next?;
        let (&first_held, _) = self.held.first_key_value()?;
        Some((next, first_held.saturating_sub(next)))
    }

    /// Whether the socket must wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.ready.len() + self.held.len() >= WAITING_MAX
    }

    /// The venue's answer to "trades from id `from` on": `page` in rising order; `complete` says that the venue has no
    /// newer trades than these.
    pub fn answer(&mut self, from: u64, page: &[Trade], complete: bool) -> Answer {
        let mut answer = Answer::default();
        let Some(next) = self.next else {
            // Nothing was known: the oldest trade that the venue has is the beginning.
            for &trade in page {
                answer.filled += u64::from(self.offer(trade) == Offer::Released);
            }
            return answer;
        };
        match page.iter().map(|trade| trade.trade_id).find(|&id| id >= next) {
            Some(first) if first > next && from <= next && self.order == Order::Contiguous => {
                // A first start has no earlier trade that this could be a hole behind.
                if self.last_released.is_some() {
                    self.denials += 1;
                    if self.denials < DENIALS_MAX {
                        return answer;
                    }
                    answer.lost = first - next;
                }
                self.next = Some(first);
            }
            Some(_) => {}
            None if complete => answer.garbage = self.deny(next, page),
            None => {}
        }
        let held_before = self.held.len();
        let mut offered = 0_u64;
        for &trade in page {
            let missing = self.is_missing(trade.trade_id);
            offered += u64::from(missing);
            if missing {
                self.offer(trade);
            }
        }
        self.release_held();
        debug_assert!(self.held.len() <= held_before + page.len());
        answer.filled = offered;
        answer
    }

    /// Whether a trade with this id would be new.
    #[must_use]
    pub fn is_missing(&self, id: u64) -> bool {
        self.next.is_some_and(|next| id >= next) && !self.held.contains_key(&id)
    }

    /// The venue knows nothing from `next` on, and yet something newer is held.
    fn deny(&mut self, next: u64, page: &[Trade]) -> u64 {
        if self.held.is_empty() {
            self.denials = 0;
            return 0;
        }
        self.denials += 1;
        if self.denials < DENIALS_MAX {
            return 0;
        }
        if self.last_released.is_none() {
            // A first start at a venue that tells nothing of its past begins with what came.
            self.skip_hole();
            return 0;
        }
        let newest = page.last().map_or(next, |trade| trade.trade_id.max(next));
        self.drop_beyond(newest.saturating_add(LAG_IDS_MAX))
    }

    /// Throws held trades with higher ids away. Returns how many.
    pub fn drop_beyond(&mut self, id: u64) -> u64 {
        let garbage = self.held.split_off(&id.saturating_add(1));
        u64::try_from(garbage.len()).unwrap_or(u64::MAX)
    }

    /// Whether nothing was ever released, now or by an earlier run.
    #[must_use]
    pub fn is_first_start(&self) -> bool {
        self.last_released.is_none()
    }

    /// Gives up the hole in front of what is held, because it is wider than may be filled. Returns its width.
    pub fn skip_hole(&mut self) -> u64 {
        let Some((_, width)) = self.hole() else { return 0 };
        self.next = self.held.first_key_value().map(|(&id, _)| id);
        self.release_held();
        width
    }

    /// Trades that can be published.
    #[must_use]
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Hands over the oldest released trade to `accept` until it refuses one or ids stop rising; they count as given to
    /// the broker from then on.
    pub fn hand_over(&mut self, mut accept: impl FnMut(&Trade) -> bool) {
        let mut previous = None;
        while let Some(trade) = self.ready.front() {
            if previous.is_some_and(|previous| trade.trade_id <= previous) || !accept(trade) {
                break;
            }
            previous = Some(trade.trade_id);
            self.recent.extend(self.ready.pop_front());
        }
        let surplus = self.recent.len().saturating_sub(RECENT_MAX);
        self.recent.drain(..surplus);
    }

    /// The broker's last stored trade is `stored` and not what was given to it last: goes back, or forward, to there.
    pub fn rewind(&mut self, stored: u64) {
        let kept = self.recent.partition_point(|trade| trade.trade_id <= stored);
        let mut waiting: VecDeque<Trade> = self.recent.split_off(kept);
        waiting.append(&mut self.ready);
        waiting.retain(|trade| trade.trade_id > stored);
        self.held.retain(|&id, _| id > stored);
        self.denials = 0;
        let after = stored.saturating_add(1);
        let continues = match waiting.front() {
            Some(first) => self.order == Order::Rising || first.trade_id == after,
            None => self.order == Order::Rising || self.next.is_none_or(|next| next <= after),
        };
        if continues {
            self.ready = waiting;
            self.next = Some(self.next.map_or(after, |next| next.max(after)));
            self.release_held();
        } else {
            self.held.extend(waiting.into_iter().map(|trade| (trade.trade_id, trade)));
            self.next = Some(after);
        }
    }

    /// The oldest trade that is still remembered as given to the broker.
    #[must_use]
    pub fn oldest_recent(&self) -> Option<u64> {
        self.recent.front().map(|trade| trade.trade_id)
    }

    /// Whether lower ids with later times have come: the venue may have begun to count anew.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        !self.doubtful.is_empty()
    }

    /// The venue goes on counting where it did: what was in doubt was old.
    pub fn doubt_resolved(&mut self) {
        self.doubtful.clear();
    }

    /// The venue began to count anew. To be called when nothing is ready. Returns how many held trades of the old
    /// count are given up.
    pub fn restart(&mut self) -> u64 {
        let given_up = u64::try_from(self.held.len()).unwrap_or(u64::MAX);
        self.held.clear();
        self.recent.clear();
        self.next = None;
        let mut doubtful = std::mem::take(&mut self.doubtful);
        doubtful.sort_by_key(|trade| trade.trade_id);
        for trade in doubtful {
            self.offer(trade);
        }
        given_up
    }
}

#[cfg(test)]
mod tests;
