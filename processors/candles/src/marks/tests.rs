use std::collections::BTreeSet;

use spark_bus_schema::Fixed;
use spark_bus_schema::market::{Quote, Side};
use spark_bus_schema::orders::{OrderId, OrderIntent, OrderType, TimeInForce};

use super::*;
use crate::interest::Event;

const BTCUSDT: (Venue, &str) = (Venue::Binance, "BTCUSDT");
const BTCTRY: (Venue, &str) = (Venue::Btcturk, "BTCTRY");
const USDTTRY: (Venue, &str) = (Venue::Btcturk, "USDTTRY");

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + ms)
}

fn symbol(of: (Venue, &str)) -> Symbol {
    (of.0, of.1.to_owned())
}

fn always(symbols: &[(Venue, &str)]) -> Interest {
    Interest::new(symbols.iter().map(|of| symbol(*of)).collect::<BTreeSet<_>>())
}

fn intent(key: &str, of: (Venue, &str)) -> OrderIntent {
    OrderIntent {
        order: OrderId::derive("manual", key),
        key: key.to_owned(),
        strategy: "manual".to_owned(),
        actor: "test".to_owned(),
        exchange: of.0,
        symbol: of.1.to_owned(),
        side: Side::Buy,
        order_type: OrderType::Market,
        time_in_force: TimeInForce::Ioc,
        quantity: Decimal::ONE,
        limit_price: None,
        requested_at: at(0),
        reason: None,
        decided_at: None,
    }
}

struct World {
    marks: Marks,
    sequence: u64,
}

impl World {
    fn new() -> Self {
        Self { marks: Marks::new(&Config::default(), &InstrumentTable::builtin()), sequence: 0 }
    }

    fn quote(&mut self, of: (Venue, &str), received_ms: i64, bid: &str, ask: &str) {
        let mut batch = QuoteBatch::new(of.0, of.1);
        let fixed = |text| Fixed::parse(text).unwrap();
        let quote = Quote {
            update_id: 0,
            received_at: at(received_ms),
            bid_price: fixed(bid),
            bid_quantity: fixed("1"),
            ask_price: fixed(ask),
            ask_quantity: fixed("1"),
        };
        batch.push(&quote).unwrap();
        self.sequence += 1;
        self.marks.quotes(&batch, self.sequence);
    }

    /// Marks due, as `symbol price quote_usd` or `symbol: why not`.
    fn due(&mut self, ms: i64, interest: &Interest) -> Vec<String> {
        let shown = |mark: Result<Mark, (Symbol, Withheld)>| match mark {
            Ok(mark) => format!("{} {} {}", mark.symbol, mark.price, mark.quote_usd),
            Err((symbol, why)) => format!("{}: {}", symbol.1, why.as_str()),
        };
        self.marks.due(at(ms), interest).into_iter().map(shown).collect()
    }
}

#[test]
fn a_mark_is_half_of_bid_and_ask_exactly_and_says_what_the_quote_currency_is_worth() {
    let check = |quotes: &[((Venue, &str), i64, &str, &str)], want: &[&str]| {
        let mut world = World::new();
        for (of, received_ms, bid, ask) in quotes {
            world.quote(*of, *received_ms, bid, ask);
        }
        assert_eq!(world.due(1_000, &always(&[BTCUSDT, BTCTRY])), want, "{quotes:?}");
    };
    check(&[(BTCUSDT, 0, "61700.01", "61700.02")], &["BTCUSDT 61700.015 1"]);
    check(&[(BTCUSDT, 0, "0.00000001", "0.00000002")], &["BTCUSDT 0.000000015 1"]);
    check(&[(BTCUSDT, 0, "1000000000000", "1000000000000")], &["BTCUSDT 1000000000000 1"]);
    check(&[(BTCTRY, 0, "2000000", "2000002"), (USDTTRY, 0, "33", "33")], &["BTCTRY 2000001 0.030303030303"]);
    // The same venue's rate wins; without one any venue's serves.
    let binance = (Venue::Binance, "USDTTRY");
    check(&[(BTCTRY, 0, "20", "20"), (binance, 0, "40", "40"), (USDTTRY, 0, "50", "50")], &["BTCTRY 20 0.02"]);
    check(&[(BTCTRY, 0, "20", "20"), (binance, 0, "40", "40")], &["BTCTRY 20 0.025"]);
    check(&[(BTCTRY, 0, "20", "20"), (binance, 0, "40", "40"), (USDTTRY, -9_000, "50", "50")], &["BTCTRY 20 0.025"]);
    // Fail closed.
    check(&[(BTCTRY, 0, "20", "20")], &["BTCTRY: no_rate"]);
    check(&[(BTCTRY, 0, "20", "20"), (USDTTRY, -9_000, "50", "50")], &["BTCTRY: no_rate"]);
    check(&[(BTCTRY, 0, "20", "20"), (USDTTRY, 0, "51", "50")], &["BTCTRY: no_rate"]);
    check(&[(BTCUSDT, -4_000, "1", "2")], &["BTCUSDT 1.5 1"]);
    check(&[(BTCUSDT, -4_001, "1", "2")], &["BTCUSDT: stale"]);
    check(&[(BTCUSDT, 2_001, "1", "2")], &["BTCUSDT: stale"]);
    check(&[(BTCUSDT, 0, "3", "2")], &["BTCUSDT: impossible"]);
    check(&[(BTCUSDT, 0, "1000000000000", "1000000000001")], &["BTCUSDT: impossible"]);
}

#[test]
fn of_a_symbol_there_is_one_mark_a_second_and_only_with_news() {
    let mut world = World::new();
    let interest = always(&[BTCUSDT]);
    world.quote(BTCUSDT, 0, "1", "1");
    assert_eq!(world.due(0, &interest), ["BTCUSDT 1 1"]);
    world.quote(BTCUSDT, 500, "2", "2");
    assert_eq!(world.due(999, &interest), [""; 0]);
    assert_eq!(world.due(1_000, &interest), ["BTCUSDT 2 1"]);
    assert_eq!(world.due(3_000, &interest), [""; 0], "the same quote tells nothing new");
    world.quote(BTCUSDT, 3_100, "3", "3");
    assert_eq!(world.due(3_100, &interest), ["BTCUSDT 3 1"]);
    // The clock was set back: better a mark too many.
    world.quote(BTCUSDT, -9_900, "4", "4");
    assert_eq!(world.due(-9_900, &interest), ["BTCUSDT 4 1"]);
}

#[test]
fn nobody_interested_no_mark() {
    let mut world = World::new();
    world.quote(BTCUSDT, 0, "1", "1");
    world.quote(USDTTRY, 0, "33", "33");
    assert_eq!(world.due(0, &always(&[])), [""; 0]);
    assert_eq!(world.due(0, &always(&[BTCTRY])), [""; 0], "no quote, no mark");
}

#[test]
fn an_intent_has_its_mark_at_once_unless_there_is_one_younger_than_a_second() {
    let mut world = World::new();
    let mut interest = always(&[]);
    world.quote(BTCUSDT, 0, "1", "1");
    let asked = interest.apply(at(100), Event::Intent(intent("a", BTCUSDT)), at(100)).unwrap();
    assert!(world.marks.due_of(&asked, at(100), &interest).unwrap().is_ok());
    let again = interest.apply(at(600), Event::Intent(intent("b", BTCUSDT)), at(600)).unwrap();
    assert!(world.marks.due_of(&again, at(600), &interest).is_none(), "the mark of 0.5 s ago serves");
    // Somebody still waits: the same quote is told again, it may be what risk needs to answer.
    assert_eq!(world.due(1_100, &interest), ["BTCUSDT 1 1"]);
    // Nobody answered for long.
    interest.expire(at(5_600));
    world.quote(BTCUSDT, 5_600, "2", "2");
    assert_eq!(world.due(5_600, &interest), [""; 0]);
}

#[test]
fn an_intent_before_the_first_quote_has_its_mark_with_it() {
    let mut world = World::new();
    let mut interest = always(&[]);
    let asked = interest.apply(at(0), Event::Intent(intent("a", BTCUSDT)), at(0)).unwrap();
    assert!(world.marks.due_of(&asked, at(0), &interest).is_none());
    world.quote(BTCUSDT, 50, "1", "1");
    assert!(world.marks.due_of(&asked, at(50), &interest).unwrap().is_ok());
}
