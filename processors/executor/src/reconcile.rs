//! The ledger against the exchange: four things that must be true between them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{Fill, Invariant, OrderId};
use spark_bus_schema::{InstrumentTable, Timestamp, Venue};
use spark_ledger::position::{is_base, quote_of};
use spark_ledger::{Position, money};

/// Two average prices may differ by this part: 0.01 %.
const AVERAGE_TOLERANCE: Decimal = Decimal::from_parts(1, 0, 0, false, 4);
/// What one fill's fee may be rounded by, in any asset.
const FEE_ROUNDING: Decimal = Decimal::from_parts(1, 0, 0, false, 8);
/// Differences that are spelled out; the rest is counted.
const SHOWN_MAX: usize = 5;

/// What the ledger says about one exchange.
#[derive(Clone, Debug, Default)]
pub struct Ours {
    /// What order events moved, by asset.
    pub changes: BTreeMap<String, Decimal>,
    /// Fills so far: each fee may be rounded.
    pub fills: u64,
    /// What the account held before; none: to be taken from the exchange now.
    pub baseline: Option<BTreeMap<String, Decimal>>,
    /// Orders in the exchange's book, by client id.
    pub open: BTreeSet<String>,
    /// Orders of which nobody can say right now whether they are in it.
    pub uncertain: BTreeSet<String>,
    /// Of [`Ours::open`], how many the exchange is being asked about right now: they may have traded without our knowing.
    pub asked: usize,
    /// Orders that the exchange acknowledged and no longer knows.
    pub lost: BTreeSet<String>,
    /// Positions, by symbol.
    pub positions: BTreeMap<String, Position>,
}

/// What the exchange says.
#[derive(Clone, Debug, Default)]
pub struct Theirs {
    /// Free and locked together, by asset.
    pub balances: BTreeMap<String, Decimal>,
    /// Open orders: client id, or the exchange's id where there is none.
    pub open: BTreeSet<String>,
    /// Positions that follow from the exchange's own list of trades, by symbol; none when the list could not begin yet.
    pub positions: Option<BTreeMap<String, Position>>,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// All four, in order.
    pub invariants: Vec<Invariant>,
    /// Orders at the exchange that the ledger does not know as sent.
    pub orphans: Vec<String>,
    /// Orders of ours that one side has and the other has not: to be asked about.
    pub doubtful: Vec<OrderId>,
    /// The baseline that was used.
    pub baseline: BTreeMap<String, Decimal>,
}

impl Findings {
    /// What does not hold, in one line; none when everything holds.
    #[must_use]
    pub fn violation(&self) -> Option<String> {
        let broken: Vec<String> = self
            .invariants
            .iter()
            .filter(|invariant| !invariant.holds)
            .map(|invariant| format!("{}: {}", invariant.name, invariant.detail))
            .collect();
        (!broken.is_empty()).then(|| broken.join("; "))
    }
}

/// Compares.
#[must_use]
pub fn compare(ours: &Ours, theirs: &Theirs) -> Findings {
    let baseline = ours.baseline.clone().unwrap_or_else(|| baseline(ours, theirs));
    let bases: BTreeSet<&str> = ours.changes.keys().map(String::as_str).filter(|asset| is_base_of_any(ours, asset)).collect();
    let positions = balances("positions", ours, theirs, &baseline, |asset| bases.contains(asset));
    let cash = balances("profit_and_loss", ours, theirs, &baseline, |asset| !bases.contains(asset));
    let (open, orphans, doubtful) = open_orders(ours, theirs);
    Findings { invariants: vec![positions, open, average_prices(ours, theirs), cash], orphans, doubtful, baseline }
}

/// What the account held before anything that the ledger knows of.
fn baseline(ours: &Ours, theirs: &Theirs) -> BTreeMap<String, Decimal> {
    let assets: BTreeSet<&String> = theirs.balances.keys().chain(ours.changes.keys()).collect();
    let of = |map: &BTreeMap<String, Decimal>, asset: &str| map.get(asset).copied().unwrap_or_default();
    assets
        .into_iter()
        .map(|asset| {
            let held = of(&theirs.balances, asset);
            (asset.clone(), money::sub(held, of(&ours.changes, asset)).unwrap_or(held))
        })
        .collect()
}

fn is_base_of_any(ours: &Ours, asset: &str) -> bool {
    ours.positions.keys().any(|symbol| is_base(symbol, asset))
}

/// Balance = baseline + what order events moved, for some assets.
fn balances(
    name: &str,
    ours: &Ours,
    theirs: &Theirs,
    baseline: &BTreeMap<String, Decimal>,
    belongs: impl Fn(&str) -> bool,
) -> Invariant {
    let tolerance = FEE_ROUNDING.checked_mul(Decimal::from(ours.fills.saturating_add(1))).unwrap_or(FEE_ROUNDING);
    let mut differences = Vec::new();
    let mut compared = Vec::new();
    for (asset, change) in ours.changes.iter().filter(|(asset, _)| belongs(asset)) {
        let held = theirs.balances.get(asset).copied().unwrap_or_default();
        let expected = money::add(baseline.get(asset).copied().unwrap_or_default(), *change);
        match expected.and_then(|expected| money::sub(held, expected).map(|off| (expected, off))) {
            Ok((_, off)) if off.abs() <= tolerance => compared.push(format!("{asset} {held}")),
            Ok((expected, off)) => differences.push(format!(
                "{asset}: the ledger says {}, the exchange {} ({}{})",
                expected.normalize(),
                held.normalize(),
                if off > Decimal::ZERO { "+" } else { "" },
                off.normalize()
            )),
            Err(inexact) => differences.push(format!("{asset}: {inexact}")),
        }
    }
    invariant(name, differences, if compared.is_empty() { "nothing traded yet".to_owned() } else { compared.join(", ") })
}

fn open_orders(ours: &Ours, theirs: &Theirs) -> (Invariant, Vec<String>, Vec<OrderId>) {
    let known = |id: &&String| ours.open.contains(*id) || ours.uncertain.contains(*id);
    let orphans: Vec<String> = theirs.open.iter().filter(|id| !known(id)).cloned().collect();
    let missing: Vec<&String> = ours.open.iter().filter(|id| !theirs.open.contains(*id)).collect();
    let mut differences: Vec<String> = orphans.iter().map(|id| format!("{id} is open at the exchange and not ours")).collect();
    differences.extend(missing.iter().map(|id| format!("{id} is not open at the exchange")));
    differences.extend(ours.lost.iter().map(|id| format!("{id}: the exchange no longer knows it")));
    let doubtful = missing.into_iter().filter_map(|id| OrderId::from_client_id(id)).collect();
    (invariant("open_orders", differences, format!("{} on both sides", ours.open.len())), orphans, doubtful)
}

fn average_prices(ours: &Ours, theirs: &Theirs) -> Invariant {
    let Some(positions) = &theirs.positions else {
        return invariant("average_price", Vec::new(), "no trade of the exchange's list to compare yet".to_owned());
    };
    let mut differences = Vec::new();
    let mut compared = Vec::new();
    for (symbol, position) in &ours.positions {
        let listed = positions.get(symbol);
        let theirs = listed.and_then(Position::average_price);
        match (position.average_price(), theirs) {
            (None, _) => {}
            (Some(ours), Some(theirs)) if is_near(ours, theirs) || listed.is_some_and(|listed| is_same(position, listed)) => {
                compared.push(format!("{symbol} {} {}", ours.normalize(), quote_of(symbol)));
            }
            (Some(ours), theirs) => differences.push(format!(
                "{symbol}: the ledger says {}, the exchange's trades {}",
                ours.normalize(),
                theirs.map_or("nothing".to_owned(), |theirs| theirs.normalize().to_string())
            )),
        }
    }
    invariant("average_price", differences, if compared.is_empty() { "no open position".to_owned() } else { compared.join(", ") })
}

/// Whether the same was bought and sold for the same money. An average depends on the order of trades, and after an outage
/// the ledger learns of them in another order than they happened: that is no difference.
fn is_same(ours: &Position, theirs: &Position) -> bool {
    let totals = |position: &Position| [position.bought, position.sold, position.bought_quote, position.sold_quote];
    totals(ours) == totals(theirs)
}

fn is_near(ours: Decimal, theirs: Decimal) -> bool {
    let off = ours.checked_sub(theirs).map(|off| off.abs());
    off.zip(ours.abs().checked_mul(AVERAGE_TOLERANCE)).is_some_and(|(off, most)| off <= most)
}

fn invariant(name: &str, mut differences: Vec<String>, compared: String) -> Invariant {
    let holds = differences.is_empty();
    if differences.len() > SHOWN_MAX {
        let more = differences.len() - SHOWN_MAX;
        differences.truncate(SHOWN_MAX);
        differences.push(format!("{more} more"));
    }
    Invariant { name: name.to_owned(), holds, detail: if holds { compared } else { differences.join(", ") } }
}

/// The exchange's own list of trades, followed from a moment at which everything was equal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tape {
    positions: BTreeMap<String, Position>,
    /// Trades at or after this have to be asked for.
    since: Timestamp,
    /// Trades counted, with their time, as far back as they may be told again.
    seen: BTreeMap<(String, String), Timestamp>,
}

impl Tape {
    /// Begins: these positions are true, and these trades are in them.
    #[must_use]
    pub fn begin(positions: BTreeMap<String, Position>, since: Timestamp, trades: &[(String, Side, Fill)]) -> Self {
        let seen = trades.iter().map(|(symbol, _, fill)| ((symbol.clone(), fill.trade_id.clone()), fill.at)).collect();
        Self { positions, since, seen }
    }

    /// From where trades have to be asked for.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Takes in what the exchange tells of its trades since [`Tape::since`].
    pub fn extend(&mut self, trades: &[(String, Side, Fill)], until: Timestamp) {
        for (symbol, side, fill) in trades {
            let key = (symbol.clone(), fill.trade_id.clone());
            if self.seen.contains_key(&key) {
                continue;
            }
            let mut next = self.positions.get(symbol).cloned().unwrap_or_default();
            if next.fill(symbol, *side, fill).is_ok() {
                self.positions.insert(symbol.clone(), next);
                self.seen.insert(key, fill.at);
            }
        }
        self.since = self.since.max(until);
        let since = self.since;
        self.seen.retain(|_, at| *at >= since);
    }

    /// What follows from the trades.
    #[must_use]
    pub fn positions(&self) -> &BTreeMap<String, Position> {
        &self.positions
    }
}

/// Symbols of an exchange whose trades are asked for: those with a position or a change, by the table.
#[must_use]
pub fn traded_symbols(ours: &Ours, instruments: &InstrumentTable, venue: Venue) -> Vec<String> {
    instruments.at(venue).map(|row| row.symbol.clone()).filter(|symbol| ours.positions.contains_key(symbol)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, Decimal> {
        pairs.iter().map(|(asset, amount)| ((*asset).to_owned(), d(amount))).collect()
    }

    fn ids(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn fill() -> Fill {
        Fill {
            trade_id: "1".into(),
            price: d("100"),
            quantity: d("2"),
            fee: d("0"),
            fee_asset: "USDT".into(),
            is_maker: false,
            at: Timestamp::ZERO,
        }
    }

    fn bought() -> BTreeMap<String, Position> {
        let mut position = Position::default();
        position.fill("BTCUSDT", Side::Buy, &fill()).unwrap();
        BTreeMap::from([("BTCUSDT".to_owned(), position)])
    }

    #[test]
    fn the_four_invariants_each_find_their_own_difference() {
        let order = OrderId::derive("test", "a").client_id();
        let ours = || Ours {
            changes: map(&[("BTC", "2"), ("USDT", "-200")]),
            fills: 1,
            baseline: Some(map(&[("BTC", "1"), ("USDT", "1000")])),
            open: ids(&[&order]),
            positions: bought(),
            ..Ours::default()
        };
        let theirs = || Theirs {
            balances: map(&[("BTC", "3"), ("USDT", "800"), ("DOGE", "5")]),
            open: ids(&[&order]),
            positions: Some(bought()),
        };
        let check = |ours: Ours, theirs: Theirs, want: [bool; 4], part: &str| {
            let findings = compare(&ours, &theirs);
            let holds: Vec<bool> = findings.invariants.iter().map(|invariant| invariant.holds).collect();
            assert_eq!(holds, want, "{findings:?}");
            assert!(findings.violation().unwrap_or_default().contains(part), "{findings:?}");
        };
        check(ours(), theirs(), [true; 4], "");
        let balances = map(&[("BTC", "2.5"), ("USDT", "800")]);
        check(
            ours(),
            Theirs { balances, ..theirs() },
            [false, true, true, true],
            "BTC: the ledger says 3, the exchange 2.5 (-0.5)",
        );
        let balances = map(&[("BTC", "3"), ("USDT", "790")]);
        check(ours(), Theirs { balances, ..theirs() }, [true, true, true, false], "USDT: the ledger says 800");
        check(ours(), Theirs { open: ids(&[]), ..theirs() }, [true, false, true, true], "is not open at the exchange");
        check(ours(), Theirs { open: ids(&[&order, "web_1"]), ..theirs() }, [true, false, true, true], "web_1 is open");
        check(Ours { lost: ids(&["x"]), ..ours() }, theirs(), [true, false, true, true], "no longer knows");
        let mut positions = bought();
        let wrong = positions.get_mut("BTCUSDT").unwrap();
        (wrong.cost, wrong.bought_quote) = (d("200.03"), d("200.03"));
        check(ours(), Theirs { positions: Some(positions), ..theirs() }, [true, true, false, true], "100.015");
        // The same trades in another order make another average.
        let trades = [(Side::Buy, "100", "2"), (Side::Sell, "110", "1"), (Side::Buy, "120", "1")];
        let made = |order: [usize; 3]| {
            let mut position = Position::default();
            for (side, price, quantity) in order.map(|at| trades[at]) {
                let fill = Fill { price: d(price), quantity: d(quantity), ..fill() };
                position.fill("BTCUSDT", side, &fill).unwrap();
            }
            BTreeMap::from([("BTCUSDT".to_owned(), position)])
        };
        let (one, other) = (made([0, 1, 2]), made([0, 2, 1]));
        assert_ne!(one["BTCUSDT"].average_price(), other["BTCUSDT"].average_price());
        check(Ours { positions: one, ..ours() }, Theirs { positions: Some(other), ..theirs() }, [true; 4], "");
        // Nobody knows: no difference either way.
        let uncertain = Ours { open: ids(&[]), uncertain: ids(&[&order]), ..ours() };
        check(uncertain, theirs(), [true; 4], "");
        // The first comparison takes what is there.
        let first = compare(&Ours { baseline: None, ..ours() }, &theirs());
        assert_eq!((first.violation(), first.baseline), (None, map(&[("BTC", "1"), ("DOGE", "5"), ("USDT", "1000")])));
    }
}
