//! What paper exchanges see of the market: quotes to desks, and how far FEED has been read.

use spark_bus_schema::market::QuoteBatch;
use spark_bus_schema::orders::Evidence;
use spark_bus_schema::{Timestamp, Venue};

use super::Action;
use super::core::Core;
use crate::paper::Desk;

impl Core {
    /// Gives a paper exchange its desk, before [`Event::Start`].
    pub fn set_desk(&mut self, venue: Venue, mut desk: Desk) {
        let Some(place) = self.places.get_mut(&venue) else { return };
        let mut market = std::mem::take(&mut place.early);
        for (symbol, side, at, quantity) in self.ledger.taken(venue) {
            market.taken_earlier(symbol, side, at, quantity);
        }
        desk.set_market(market);
        place.desk = Some(desk);
    }

    /// The desk of a paper exchange.
    #[must_use]
    pub fn desk(&self, venue: Venue) -> Option<&Desk> {
        self.places.get(&venue)?.desk.as_ref()
    }

    /// A message of quotes of a paper exchange, stored by FEED at `stored_at`.
    pub fn quotes(&mut self, batch: &QuoteBatch, stored_at: Timestamp, at: Timestamp, out: &mut Vec<Action>) {
        let Some(place) = self.places.get_mut(&batch.venue) else { return };
        let Some(desk) = &mut place.desk else { return place.early.batch(batch, stored_at) };
        for (order, report) in desk.quotes(batch, stored_at, at) {
            self.with(&order, at, out, |core, work, out| core.told(work, &report, Evidence::Paper, at, out));
        }
    }

    /// The newest message about a symbol, ahead of FEED.
    pub fn quotes_ahead(&mut self, batch: &QuoteBatch, stored_at: Timestamp, at: Timestamp, out: &mut Vec<Action>) {
        match self.places.get_mut(&batch.venue) {
            Some(place) if place.desk.is_none() => place.early.ahead(batch, stored_at),
            _ => self.quotes(batch, stored_at, at, out),
        }
    }

    /// Whether a quote of a symbol has been seen.
    #[must_use]
    pub fn has_quote(&self, venue: Venue, symbol: &str) -> bool {
        self.places.get(&venue).is_some_and(|place| {
            let market = place.desk.as_ref().map_or(&place.early, Desk::market);
            market.has_quote(symbol)
        })
    }

    /// FEED has been read up to and with what was stored then, whatever it was: orders that waited for that are filled.
    pub fn feed_read(&mut self, stored_at: Timestamp, at: Timestamp, out: &mut Vec<Action>) {
        let mut due = Vec::new();
        for place in self.places.values_mut() {
            let Some(desk) = &mut place.desk else {
                place.early.read_to(stored_at);
                continue;
            };
            desk.market_mut().read_to(stored_at);
            while let Some(first) = place.reading.first_entry().filter(|first| first.key().0 < stored_at) {
                due.push(first.remove());
            }
        }
        for order in due {
            self.with(&order, at, out, |_, _, _| {});
        }
    }
}
