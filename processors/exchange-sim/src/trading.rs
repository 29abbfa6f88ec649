//! Joins markets, accounts and listeners: an order meets the book of its moment, the market meets resting orders, and each step is
//! told in the venue's words. Locks are taken in one order: symbol, desk, hub.

use rust_decimal::Decimal;

use crate::binance;
use crate::btcturk;
use crate::config::Venue;
use crate::fault::Strike;
use crate::live::{Live, Symbol, Top};
use crate::market::{self, Event};
use crate::orders::{Amount, Execution, Fate, Kind, Level, New, Order, Origin, Outcome, Reject, Side, SubmitEntry};
use crate::units;
use crate::world::{World, clock_ms};

/// The first fill of an order that rested takes so many off the count of unfilled orders at Binance.
const MAKER_TAKES_BACK: u32 = 5;

/// What rests on a book's side, best first. A recording's book runs behind its touch, so that its touch comes first.
fn ladder(live: &Live, replayed: bool, side: market::Side) -> Vec<Level> {
    let level = |(price, quantity): (i64, i64)| Level { price: decimal(price), quantity: decimal(quantity) };
    if !replayed {
        return live.book.levels(side).map(level).collect();
    }
    let touch = live.top.map(|top| if side == market::Side::Bid { top.bid } else { top.ask });
    let worse = |price: i64| touch.is_none_or(|(best, _)| if side == market::Side::Bid { price < best } else { price > best });
    touch.into_iter().chain(live.book.levels(side).filter(|(price, _)| worse(*price))).map(level).collect()
}

/// An exact decimal of a whole number of 10⁻⁸ units.
pub(crate) fn decimal(value: i64) -> Decimal {
    Decimal::new(value, 8)
}

/// Units of a decimal, cut to 10⁻⁸.
pub(crate) fn in_units(value: Decimal) -> i64 {
    units::parse(&value.trunc_with_scale(8).normalize().to_string()).unwrap_or(0)
}

fn submit_entry(symbol: &Symbol, new: &New) -> SubmitEntry {
    let (Amount::Base(quantity) | Amount::Quote(quantity)) = new.amount;
    SubmitEntry {
        seq: 0,
        at_ms: clock_ms(),
        client_id: new.client_id.clone(),
        symbol: symbol.name.to_string(),
        side: Some(new.side),
        kind: match new.kind {
            Kind::Limit => "limit",
            Kind::LimitMaker => "limit_maker",
            Kind::Market => "market",
        }
        .to_owned(),
        quantity: quantity.normalize().to_string(),
        price: new.price.normalize().to_string(),
        outcome: Outcome::Accepted,
        order_id: None,
        code: None,
        message: None,
        origin: new.origin,
    }
}

fn book_side(of_order: Side) -> market::Side {
    match of_order {
        Side::Buy => market::Side::Ask,
        Side::Sell => market::Side::Bid,
    }
}

impl World {
    /// Places an order against the book of this moment and tells what happens to it.
    pub(crate) fn place(&self, symbol: &Symbol, new: New) -> Result<Vec<Execution>, Reject> {
        let venue = symbol.config.venue;
        // Faults are for clients; who acts from outside gets what was asked for.
        let fault = match new.origin {
            Origin::Api => self.faults.order(venue, &symbol.name, Strike::Fate),
            Origin::Outside => None,
        };
        let fate = fault.map_or(Fate::Market, |fault| fault.fate());
        let at_ms = self.now_ms(venue);
        let mut live = symbol.live();
        let mut desk = self.exchange(venue).account.desk();
        let side = book_side(new.side);
        let (entry, levels) = (submit_entry(symbol, &new), ladder(&live, symbol.replayed, side));
        let executions = desk.place(&symbol.terms, new, &levels, fate, Some(entry), at_ms)?;
        if fate == Fate::Market {
            let fills = executions.iter().filter_map(|step| step.fill.as_ref());
            let taken: Vec<_> = fills.map(|fill| (side, fill.price, fill.quantity)).collect();
            self.taken(symbol, &mut live, &taken);
        }
        self.tell(venue, &executions);
        Ok(executions)
    }

    /// Takes what was filled out of the public book.
    fn taken(&self, symbol: &Symbol, live: &mut Live, taken: &[(market::Side, Decimal, Decimal)]) {
        if taken.is_empty() {
            return;
        }
        for (side, price, quantity) in taken {
            let (price, quantity) = (in_units(*price), in_units(*quantity));
            if symbol.replayed {
                live.take_replayed(*side, price, quantity);
            } else {
                let left = (live.book.at(*side, price) - quantity).max(0);
                live.change(*side, price, left);
            }
        }
        if !symbol.replayed {
            self.show_top(symbol, live);
        }
    }

    /// Makes the touch what the book says, and tells it.
    pub(crate) fn show_top(&self, symbol: &Symbol, live: &mut Live) {
        let (Some(bid), Some(ask)) = (live.book.best(market::Side::Bid), live.book.best(market::Side::Ask)) else { return };
        let top = Top { bid, ask, update: live.update };
        live.top = Some(top);
        if symbol.config.venue == Venue::Binance {
            self.binance.hub.publish(&symbol.topics.top, || binance::frames::top(symbol, &top));
        }
    }

    /// After a change of the market: fills what rests in its way.
    pub(crate) fn market_moved(&self, symbol: &Symbol, live: &mut Live, event: &Event) {
        let venue = symbol.config.venue;
        let mut desk = self.exchange(venue).account.desk();
        if !desk.has_open(&symbol.name) {
            return;
        }
        let at_ms = self.now_ms(venue);
        match event {
            Event::Trade { price, quantity, buyer_is_maker, .. } => {
                let aggressor = if *buyer_is_maker { Side::Sell } else { Side::Buy };
                let done = desk.traded(&symbol.terms, decimal(*price), decimal(*quantity), aggressor, at_ms);
                self.tell(venue, &done);
            }
            _ => {
                let mut bids = ladder(live, symbol.replayed, market::Side::Bid);
                let mut asks = ladder(live, symbol.replayed, market::Side::Ask);
                let (done, taken) = desk.moved(&symbol.terms, &mut bids, &mut asks, at_ms);
                let taken: Vec<_> = taken.into_iter().map(|(side, price, quantity)| (book_side(side), price, quantity)).collect();
                self.taken(symbol, live, &taken);
                self.tell(venue, &done);
            }
        }
    }

    /// Takes an order back. `None`: it is final, perhaps because a fault let it be filled first.
    pub(crate) fn cancel(&self, symbol: &Symbol, id: u64, cancel_id: Option<String>) -> Option<Execution> {
        let venue = symbol.config.venue;
        let mut desk = self.exchange(venue).account.desk();
        let at_ms = self.now_ms(venue);
        let left = desk.order(id).filter(|order| order.status.is_open()).map(Order::left)?;
        if let Some(fault) = self.faults.order(venue, &symbol.name, Strike::Cancel) {
            let share = symbol.terms.whole_lots(left * fault.share_or(Decimal::ONE));
            let raced = desk.force(&symbol.terms, id, share, at_ms);
            self.tell(venue, raced.as_slice());
        }
        let done = desk.cancel(&symbol.terms, id, cancel_id, at_ms);
        self.tell(venue, done.as_slice());
        done
    }

    /// Tells listeners of the account what happened, in order. The desk must still be locked, so that steps stay in order.
    pub(crate) fn tell(&self, venue: Venue, executions: &[Execution]) {
        for execution in executions {
            let first = execution.fill.as_ref().is_some_and(|fill| fill.maker && fill.quantity == execution.order.filled);
            match venue {
                Venue::Binance => {
                    if first {
                        self.order_counts.take_back(MAKER_TAKES_BACK);
                    }
                    binance::tell_execution(self, execution);
                }
                Venue::Btcturk => btcturk::tell_execution(self, execution),
                // A vendor of prices takes no orders.
                Venue::Bist => {}
            }
        }
    }
}
