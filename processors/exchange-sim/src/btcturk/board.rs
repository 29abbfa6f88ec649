//! What was last told about books and tickers: every 0.76 s, not on every change.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};

use super::frames::{self, Change};
use crate::hub::Client;
use crate::live::Symbol;
use crate::market::Side;
use crate::world::Exchange;

/// Levels of a side that are shown.
pub(crate) const LEVELS: usize = 100;

/// One symbol's book as its subscribers know it.
#[derive(Debug, Default)]
pub(crate) struct Board {
    asks: Vec<(i64, i64)>,
    bids: Vec<(i64, i64)>,
    version: u64,
    /// Sequence of each subscription, by client.
    sequences: HashMap<u64, u64>,
}

impl Board {
    /// Takes the book as it is now. Returns the changes, or `None` when there are none.
    fn update(&mut self, symbol: &Symbol) -> Option<(Vec<Change>, Vec<Change>)> {
        let live = symbol.live();
        let asks: Vec<_> = live.book.levels(Side::Ask).take(LEVELS).collect();
        let bids: Vec<_> = live.book.levels(Side::Bid).take(LEVELS).collect();
        drop(live);
        if asks == self.asks && bids == self.bids {
            return None;
        }
        let changes = (changes(&self.asks, &asks, false), changes(&self.bids, &bids, true));
        (self.asks, self.bids) = (asks, bids);
        self.version += 1;
        Some(changes)
    }
}

fn changes(old: &[(i64, i64)], new: &[(i64, i64)], descending: bool) -> Vec<Change> {
    let before: BTreeMap<i64, i64> = old.iter().copied().collect();
    let after: BTreeMap<i64, i64> = new.iter().copied().collect();
    let mut changes: Vec<Change> = Vec::new();
    for (price, amount) in &after {
        match before.get(price) {
            None => changes.push(Change { kind: 1, price: *price, amount: *amount }),
            Some(was) if was != amount => changes.push(Change { kind: 0, price: *price, amount: *amount }),
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|(price, _)| !after.contains_key(price));
    changes.extend(gone.map(|(price, amount)| Change { kind: 3, price: *price, amount: *amount }));
    changes.sort_unstable_by_key(|change| if descending { -change.price } else { change.price });
    changes
}

/// Joins the full book.
pub(crate) fn join_book(exchange: &Exchange, symbol: &Symbol, client: &Arc<Client>) {
    let mut board = symbol.board.lock().unwrap_or_else(PoisonError::into_inner);
    if board.version == 0 {
        board.update(symbol);
    }
    client.offer(frames::book(symbol, &symbol.topics.depth_slow, "orderbook", board.version, &board.asks, &board.bids));
    exchange.hub.join(client, &symbol.topics.depth_slow);
}

/// Joins the differences: a snapshot now, then each change, with a sequence of this subscription's own.
pub(crate) fn join_differences(exchange: &Exchange, symbol: &Symbol, client: &Arc<Client>) {
    let mut board = symbol.board.lock().unwrap_or_else(PoisonError::into_inner);
    if board.version == 0 {
        board.update(symbol);
    }
    // Any number: clients must not compare subscriptions.
    let sequence = 1_000 * client.id + 41;
    board.sequences.insert(client.id, sequence);
    client.offer(frames::book(symbol, &symbol.topics.depth_fast, "obdiff", sequence, &board.asks, &board.bids));
    exchange.hub.join(client, &symbol.topics.depth_fast);
}

/// Tells books and tickers to who listens.
pub(crate) fn tell(exchange: &Exchange) {
    let all: Arc<str> = Arc::from("ticker:all");
    let everything = !exchange.hub.listeners(&all).is_empty();
    let mut items = Vec::new();
    for symbol in &exchange.symbols {
        tell_book(exchange, symbol);
        if everything || !exchange.hub.listeners(&symbol.topics.top).is_empty() {
            let fields = frames::ticker_fields(symbol, &symbol.live(), frames::pair_id(&exchange.symbols, symbol));
            exchange.hub.publish(&symbol.topics.top, || frames::ticker(symbol, &fields));
            items.push(fields);
        }
    }
    if everything {
        exchange.hub.publish(&all, || frames::tickers(&all, &items));
    }
}

fn tell_book(exchange: &Exchange, symbol: &Symbol) {
    let mut board = symbol.board.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((asks, bids)) = board.update(symbol) else { return };
    exchange.hub.publish(&symbol.topics.depth_slow, || {
        frames::book(symbol, &symbol.topics.depth_slow, "orderbook", board.version, &board.asks, &board.bids)
    });
    let listeners = exchange.hub.listeners(&symbol.topics.depth_fast);
    board.sequences.retain(|id, _| listeners.iter().any(|client| client.id == *id));
    if listeners.is_empty() {
        return;
    }
    let tail = frames::difference_tail(symbol, &asks, &bids);
    for client in listeners {
        if let Some(sequence) = board.sequences.get_mut(&client.id) {
            *sequence += 1;
            client.offer(frames::difference(symbol, *sequence, &tail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_say_new_set_and_gone_in_book_order() {
        let list = changes(&[(10, 1), (11, 2), (12, 3)], &[(9, 5), (11, 4), (12, 3)], false);
        let rows: Vec<_> = list.iter().map(|change| (change.kind, change.price, change.amount)).collect();
        assert_eq!(rows, [(1, 9, 5), (3, 10, 1), (0, 11, 4)]);
        assert_eq!(
            changes(&[(10, 1)], &[(9, 1), (8, 1)], true).iter().map(|change| change.price).collect::<Vec<_>>(),
            [10, 9, 8]
        );
    }
}
