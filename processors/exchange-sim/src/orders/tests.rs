//! The desk against the rules of money: nothing appears, nothing is lost, nothing is locked for nothing.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::config::{MarketConfig, Venue};

const NOW: i64 = 1_723_161_255_342;

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn terms(venue: Venue) -> Terms {
    let (base, quote) = if venue == Venue::Binance { ("BTC", "USDT") } else { ("BTC", "TRY") };
    Terms::new(&MarketConfig {
        venue,
        symbol: format!("{base}{quote}"),
        base: base.into(),
        quote: quote.into(),
        tick: d("0.01"),
        lot: d("0.00001"),
        spread_bps: 1.0,
        orders_per_s: 1.0,
        order_quote: 1.0,
    })
}

fn desk(quote: &str) -> Desk {
    let held = |free: &str, locked: &str| Holding { free: d(free), locked: d(locked) };
    let balances = BTreeMap::from([("BTC".to_owned(), held("2", "0.5")), (quote.to_owned(), held("100000", "7.25"))]);
    Desk::new(balances, Opening { order: 1, trade: 1 })
}

fn levels(list: &[(&str, &str)]) -> Vec<Level> {
    list.iter().map(|(price, quantity)| Level { price: d(price), quantity: d(quantity) }).collect()
}

fn new(side: Side, kind: Kind, time_in_force: TimeInForce, amount: Amount, price: &str) -> New {
    New { client_id: "c".into(), side, kind, time_in_force, amount, price: d(price), origin: Origin::Api }
}

#[test]
fn what_is_taken_is_decided_level_by_level() {
    let asks = [("100", "1"), ("101", "2"), ("110", "5")];
    let check = |venue: Venue,
                 side: Side,
                 amount: Amount,
                 limit: Option<&str>,
                 book: &[(&str, &str)],
                 want: &[(&str, &str)],
                 done: bool| {
        let (fills, had_done) = matching::take(&terms(venue), side, amount, limit.map(d), &levels(book));
        let want: Vec<_> = want.iter().map(|(price, quantity)| (d(price), d(quantity))).collect();
        assert_eq!((fills, had_done), (want, done), "{side:?} {amount:?} {limit:?}");
    };
    let base = |text: &str| Amount::Base(d(text));
    let (binance, btcturk) = (Venue::Binance, Venue::Btcturk);
    check(binance, Side::Buy, base("2"), Some("101"), &asks, &[("100", "1"), ("101", "1")], true);
    check(binance, Side::Buy, base("4"), Some("101"), &asks, &[("100", "1"), ("101", "2")], false);
    check(binance, Side::Buy, base("1"), Some("99"), &asks, &[], false);
    check(binance, Side::Buy, base("9"), None, &asks, &[("100", "1"), ("101", "2"), ("110", "5")], false);
    // At most five percent from the best price.
    check(btcturk, Side::Buy, base("4"), None, &asks, &[("100", "1"), ("101", "2")], false);
    // 100 for the first, then 50.5 buys half a coin.
    check(binance, Side::Buy, Amount::Quote(d("150.5")), None, &asks, &[("100", "1"), ("101", "0.5")], true);
    // What is left buys less than a lot.
    check(binance, Side::Buy, Amount::Quote(d("100.0005")), None, &asks, &[("100", "1")], true);
    check(binance, Side::Buy, Amount::Quote(d("2000")), None, &asks, &[("100", "1"), ("101", "2"), ("110", "5")], false);
    check(binance, Side::Sell, base("1"), Some("98"), &[("99", "0"), ("98.5", "3")], &[("98.5", "1")], true);
    check(binance, Side::Buy, base("1"), None, &[], &[], false);
}

#[test]
fn commissions_are_taken_of_what_is_received_or_of_the_quote() {
    let check = |venue: Venue, side: Side, maker: bool, want: (&str, &str)| {
        let terms = terms(venue);
        let (fee, asset) = terms.commission(side, d("0.01"), d("600.0055"), maker);
        assert_eq!((fee, asset), (d(want.0), want.1), "{venue} {side:?}");
    };
    check(Venue::Binance, Side::Buy, false, ("0.00001", "BTC"));
    check(Venue::Binance, Side::Sell, true, ("0.60000550", "USDT"));
    check(Venue::Btcturk, Side::Buy, false, ("1.44001320", "TRY"));
    check(Venue::Btcturk, Side::Sell, true, ("0.72000660", "TRY"));
}

#[test]
fn a_client_id_is_free_again_when_its_order_is_final() {
    let (terms, mut desk) = (terms(Venue::Binance), desk("USDT"));
    let order = || new(Side::Buy, Kind::Limit, TimeInForce::Gtc, Amount::Base(d("0.1")), "90");
    let place = |desk: &mut Desk, asks: &[(&str, &str)]| desk.place(&terms, order(), &levels(asks), Fate::Market, None, NOW);
    place(&mut desk, &[]).unwrap();
    assert_eq!(place(&mut desk, &[]), Err(Reject::Duplicate));
    desk.cancel(&terms, 1, None, NOW).unwrap();
    place(&mut desk, &[("90", "5")]).unwrap();
    place(&mut desk, &[]).unwrap();
    let newest = desk.by_client("c").unwrap();
    assert_eq!((newest.id, newest.status), (3, Status::New), "asked by client id the newest is meant");
    let mut turk = super::Terms { unique_client_ids: false, ..terms.clone() };
    turk.fees = Fees::Quote;
    assert!(desk.place(&turk, order(), &[], Fate::Market, None, NOW).is_ok(), "where ids need not be unique");
}

#[test]
fn resting_orders_are_filled_by_price_then_time_out_of_what_was_traded() {
    let (terms, mut desk) = (terms(Venue::Binance), desk("USDT"));
    for (client, price) in [("far", "89"), ("first", "90"), ("second", "90"), ("best", "91")] {
        let order =
            New { client_id: client.into(), ..new(Side::Buy, Kind::Limit, TimeInForce::Gtc, Amount::Base(d("1")), price) };
        desk.place(&terms, order, &[], Fate::Market, None, NOW).unwrap();
    }
    let fills = |executions: &[Execution]| -> Vec<_> {
        executions
            .iter()
            .map(|step| (step.order.client_id.clone(), step.fill.as_ref().unwrap().price, step.fill.as_ref().unwrap().quantity))
            .collect()
    };
    let done = desk.traded(&terms, d("90"), d("2.5"), Side::Sell, NOW);
    assert_eq!(
        fills(&done),
        [("best".into(), d("91"), d("1")), ("first".into(), d("90"), d("1")), ("second".into(), d("90"), d("0.5"))]
    );
    assert!(desk.traded(&terms, d("80"), d("9"), Side::Buy, NOW).is_empty(), "buyers do not fill buyers");
    let (done, taken) = desk.moved(&terms, &mut [], &mut levels(&[("88", "0.3"), ("89.5", "9")]), NOW);
    assert_eq!(fills(&done), [("second".into(), d("90"), d("0.3")), ("second".into(), d("90"), d("0.2"))]);
    assert_eq!(taken, [(Side::Buy, d("88"), d("0.3")), (Side::Buy, d("89.5"), d("0.2"))]);
}

#[derive(Clone, Debug)]
enum Step {
    Place { buy: bool, kind: u8, tif: u8, by_quote: bool, quantity: i64, price: i64, fate: u8 },
    Move { bid: i64, spread: i64, size: i64 },
    Trade { price: i64, size: i64, buy: bool },
    Cancel(usize),
    Force(usize, i64),
    Transfer(i64),
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let place = (any::<bool>(), 0_u8..3, 0_u8..3, any::<bool>(), 1_i64..200_000, 9_000_i64..11_000, 0_u8..12).prop_map(
        |(buy, kind, tif, by_quote, quantity, price, fate)| Step::Place { buy, kind, tif, by_quote, quantity, price, fate },
    );
    prop_oneof![
        8 => place,
        4 => (9_000_i64..11_000, 1_i64..300, 0_i64..100_000).prop_map(|(bid, spread, size)| Step::Move { bid, spread, size }),
        4 => (9_000_i64..11_000, 1_i64..100_000, any::<bool>()).prop_map(|(price, size, buy)| Step::Trade { price, size, buy }),
        3 => any::<usize>().prop_map(Step::Cancel),
        1 => (any::<usize>(), 1_i64..50_000).prop_map(|(which, quantity)| Step::Force(which, quantity)),
        1 => (-1_000_000_i64..1_000_000).prop_map(Step::Transfer),
        1 => Just(Step::Forget),
    ]
}

/// Prices with two decimals, quantities in lots of 10⁻⁵.
fn price(value: i64) -> Decimal {
    Decimal::new(value, 2)
}

fn lots(value: i64) -> Decimal {
    Decimal::new(value, 5)
}

struct Model {
    terms: Terms,
    desk: Desk,
    /// Both sides of the book.
    bids: Vec<Level>,
    asks: Vec<Level>,
    /// What each asset must sum up to.
    totals: BTreeMap<String, Decimal>,
    base_locked: BTreeMap<String, Decimal>,
    clients: u64,
    trades: u64,
}

impl Model {
    fn new(venue: Venue) -> Self {
        let terms = terms(venue);
        let desk = desk(&terms.quote);
        let totals = desk.balances().iter().map(|(asset, held)| (asset.clone(), held.free + held.locked)).collect();
        let base_locked = desk.balances().iter().map(|(asset, held)| (asset.clone(), held.locked)).collect();
        Self {
            terms,
            desk,
            bids: levels(&[("99", "1")]),
            asks: levels(&[("101", "1")]),
            totals,
            base_locked,
            clients: 0,
            trades: 0,
        }
    }

    fn apply(&mut self, step: &Step) {
        let executions = match *step {
            Step::Place { buy, kind, tif, by_quote, quantity, price: at, fate } => {
                self.clients += 1;
                let side = if buy { Side::Buy } else { Side::Sell };
                let kind = [Kind::Limit, Kind::LimitMaker, Kind::Market][usize::from(kind)];
                let amount =
                    if kind == Kind::Market && by_quote { Amount::Quote(price(quantity)) } else { Amount::Base(lots(quantity)) };
                let order = New {
                    client_id: format!("c{}", self.clients),
                    side,
                    kind,
                    time_in_force: [TimeInForce::Gtc, TimeInForce::Ioc, TimeInForce::Fok][usize::from(tif)],
                    amount,
                    price: if kind == Kind::Market { Decimal::ZERO } else { price(at) },
                    origin: Origin::Api,
                };
                let fate = match fate {
                    0 => Fate::PartThenExpire(d("0.4")),
                    1 => Fate::RejectLate,
                    _ => Fate::Market,
                };
                let opposite = if buy { &self.asks } else { &self.bids };
                self.desk.place(&self.terms, order, opposite, fate, None, NOW).unwrap_or_default()
            }
            Step::Move { bid, spread, size } => {
                self.bids = vec![Level { price: price(bid), quantity: lots(size) }];
                self.asks = vec![Level { price: price(bid + spread), quantity: lots(size) }];
                let (mut bids, mut asks) = (self.bids.clone(), self.asks.clone());
                let (done, taken) = self.desk.moved(&self.terms, &mut bids, &mut asks, NOW);
                let sum: Decimal = taken.iter().map(|(_, _, quantity)| *quantity).sum();
                assert!(sum <= lots(size) * Decimal::TWO, "more was taken than was there");
                done
            }
            Step::Trade { price: at, size, buy } => {
                let side = if buy { Side::Buy } else { Side::Sell };
                self.desk.traded(&self.terms, price(at), lots(size), side, NOW)
            }
            Step::Cancel(which) => {
                self.open(which).and_then(|id| self.desk.cancel(&self.terms, id, None, NOW)).into_iter().collect()
            }
            Step::Force(which, quantity) => {
                let id = self.open(which);
                id.and_then(|id| self.desk.force(&self.terms, id, lots(quantity), NOW)).into_iter().collect()
            }
            Step::Transfer(amount) => {
                if self.desk.transfer("BTC", lots(amount)) {
                    *self.totals.get_mut("BTC").unwrap() += lots(amount);
                }
                Vec::new()
            }
            Step::Forget => {
                let terms = self.terms.clone();
                self.desk.forget_orders(|order| terms.locked_asset(order.side).to_owned());
                Vec::new()
            }
        };
        self.follow(&executions);
        self.check();
    }

    fn open(&self, which: usize) -> Option<u64> {
        let open = self.desk.open_orders(None);
        open.get(which.checked_rem(open.len())?).map(|order| order.id)
    }

    /// Fills move money and commissions take it; nothing else does.
    fn follow(&mut self, executions: &[Execution]) {
        for fill in executions.iter().filter_map(|step| step.fill.as_ref()) {
            assert!(fill.trade_id > self.trades && fill.quantity > Decimal::ZERO && fill.amount == fill.price * fill.quantity);
            self.trades = fill.trade_id;
            let sign = if fill.side == Side::Buy { Decimal::ONE } else { Decimal::NEGATIVE_ONE };
            *self.totals.get_mut(&self.terms.base).unwrap() += sign * fill.quantity;
            *self.totals.get_mut(&self.terms.quote).unwrap() -= sign * fill.amount;
            *self.totals.get_mut(&fill.commission_asset).unwrap() -= fill.commission;
        }
    }

    fn check(&self) {
        let mut locked = self.base_locked.clone();
        for order in self.desk.orders().values() {
            assert!(order.filled <= order.quantity && order.locked >= Decimal::ZERO);
            assert_eq!(order.status.is_open(), self.desk.open_orders(None).iter().any(|open| open.id == order.id));
            if order.status.is_open() {
                assert!(order.kind != Kind::Market && order.time_in_force == TimeInForce::Gtc || order.kind == Kind::LimitMaker);
            } else {
                assert_eq!(order.locked, Decimal::ZERO, "locked for nothing: {order:?}");
            }
            *locked.get_mut(self.terms.locked_asset(order.side)).unwrap() += order.locked;
        }
        for (asset, held) in self.desk.balances() {
            assert!(held.free >= Decimal::ZERO && held.locked >= Decimal::ZERO, "{asset} {held:?}");
            assert_eq!(held.free + held.locked, self.totals[asset], "{asset} is not conserved");
            assert_eq!(held.locked, locked[asset], "{asset} is locked for what?");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn money_is_conserved_whatever_happens(turk in any::<bool>(), steps in prop::collection::vec(step(), 1..60)) {
        let mut model = Model::new(if turk { Venue::Btcturk } else { Venue::Binance });
        for step in &steps {
            model.apply(step);
        }
    }
}
