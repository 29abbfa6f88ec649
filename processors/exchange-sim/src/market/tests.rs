use proptest::prelude::*;

use super::*;
use crate::config::Config;

fn universe(seed: u64) -> Universe {
    let config = Config::default();
    let mut universe = Universe::new(seed, &config.assets, config.common_volatility, &config.markets, 5.0).unwrap();
    universe.past(3);
    universe
}

fn events(seed: u64, steps: usize) -> Vec<(usize, Event)> {
    let mut universe = universe(seed);
    let mut events = Vec::new();
    for _ in 0..steps {
        universe.step(|market, event| events.push((market, event)));
    }
    events
}

#[test]
fn the_same_seed_gives_the_same_market_and_another_seed_another() {
    assert_eq!(events(7, 400), events(7, 400));
    assert_ne!(events(7, 400), events(8, 400));
}

#[test]
fn one_more_market_does_not_change_the_others() {
    let mut config = Config::default();
    let all = events(7, 200);
    config.markets.truncate(3);
    let mut fewer = Universe::new(7, &config.assets, config.common_volatility, &config.markets, 5.0).unwrap();
    fewer.past(3);
    let mut few = Vec::new();
    for _ in 0..200 {
        fewer.step(|market, event| few.push((market, event)));
    }
    assert_eq!(few, all.into_iter().filter(|(market, _)| *market < 3).collect::<Vec<_>>());
}

#[test]
fn trades_come_in_bursts() {
    let mut universe = universe(3);
    let mut per_step = vec![0_f64; 20_000];
    for count in &mut per_step {
        universe.step(|market, event| {
            if market == 0 && matches!(event, Event::Trade { last_of_order: true, .. }) {
                *count += 1.0;
            }
        });
    }
    let windows: Vec<f64> = per_step.chunks(50).map(|chunk| chunk.iter().sum()).collect();
    let mean = windows.iter().sum::<f64>() / windows.len() as f64;
    let variance = windows.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / windows.len() as f64;
    assert!(mean > 1.0, "{mean} orders a second");
    assert!(variance / mean > 2.0, "a Poisson market has 1, this one {}", variance / mean);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn books_never_cross_stay_on_tick_and_trades_fit_them(seed in any::<u64>()) {
        let config = Config::default();
        let mut universe = universe(seed);
        let mut books = vec![Book::default(); config.markets.len()];
        let mut last_trade = vec![None::<u64>; config.markets.len()];
        let mut last_update = vec![0_u64; config.markets.len()];
        // By how much the last change of a level lowered it.
        let mut lowered = std::collections::HashMap::new();
        let mut wrong = Vec::new();
        for _ in 0..300 {
            universe.step(|index, event| {
                let market = &config.markets[index];
                let (tick, lot) = (market.tick_units().unwrap(), market.lot_units().unwrap());
                let on_grid = |price: i64, quantity: i64| price > 0 && quantity >= 0 && price % tick == 0 && quantity % lot == 0;
                let fine = match event {
                    Event::Level { side, price, quantity, update } => {
                        lowered.insert((index, price), books[index].at(side, price) - quantity);
                        books[index].set(side, price, quantity);
                        let rises = last_update[index] == 0 || update == last_update[index] + 1;
                        last_update[index] = update;
                        rises && on_grid(price, quantity)
                    }
                    Event::Top { bid, ask, update } => {
                        bid.0 < ask.0
                            && bid.1 > 0
                            && ask.1 > 0
                            && update == last_update[index]
                            && books[index].best(Side::Bid) == Some(bid)
                            && books[index].best(Side::Ask) == Some(ask)
                    }
                    Event::Trade { id, price, quantity, buyer_is_maker, .. } => {
                        let follows = last_trade[index].is_none_or(|last| id == last + 1);
                        last_trade[index] = Some(id);
                        // What was just taken lies at or inside what rests now.
                        let inside = if buyer_is_maker {
                            books[index].best(Side::Bid).is_some_and(|(best, _)| price >= best)
                        } else {
                            books[index].best(Side::Ask).is_some_and(|(best, _)| price <= best)
                        };
                        follows && inside && quantity > 0 && lowered.get(&(index, price)) == Some(&quantity) && on_grid(price, quantity)
                    }
                };
                if !fine {
                    wrong.push((index, event));
                }
            });
        }
        prop_assert!(wrong.is_empty(), "{:?}", &wrong[..1]);
        for (index, book) in books.iter().enumerate() {
            prop_assert!(book.depth(Side::Bid) >= 100 && book.depth(Side::Ask) >= 100, "{} is thin", config.markets[index].symbol);
        }
        // BTCTRY against BTCUSDT × USDTTRY: the same within spreads and strays.
        let middle = |symbol: &str| {
            let index = config.markets.iter().position(|market| market.symbol == symbol && market.venue == crate::config::Venue::Btcturk).unwrap();
            let (bid, ask) = (books[index].best(Side::Bid).unwrap().0, books[index].best(Side::Ask).unwrap().0);
            crate::units::float(bid + ask) / 2.0
        };
        let ratio = middle("BTCTRY") / (middle("BTCUSDT") * middle("USDTTRY"));
        prop_assert!((0.99..1.01).contains(&ratio), "{ratio}");
    }
}

/// Share of moves of three seconds that go on in the direction of the ten seconds before.
fn goes_on(momentum: f64) -> f64 {
    let config = Config::default();
    let mut prices = Prices::new(5, &config.assets, config.common_volatility).with_momentum(momentum);
    let mut path = Vec::new();
    for _ in 0..4_000 {
        (0..50).for_each(|_| prices.advance(0.02));
        path.push(prices.cross("BTC", "USDT").unwrap());
    }
    let pairs: Vec<bool> = path.windows(14).step_by(13).map(|path| (path[13] > path[10]) == (path[10] > path[0])).collect();
    #[allow(clippy::cast_precision_loss)]
    let share = pairs.iter().filter(|same| **same).count() as f64 / pairs.len() as f64;
    share
}

#[test]
fn with_momentum_prices_go_on_and_without_it_every_move_is_news() {
    let (without, with) = (goes_on(0.0), goes_on(5.0));
    assert!((0.4..0.6).contains(&without) && with > 0.75, "{without} without, {with} with momentum");
}

#[test]
fn no_momentum_is_the_market_without_the_setting_and_the_same_seed_the_same_market_with_it() {
    let config = Config::default();
    let moved = |momentum: Option<f64>| {
        let universe = Universe::new(7, &config.assets, config.common_volatility, &config.markets, 5.0).unwrap();
        let mut universe = momentum.map_or(universe.clone(), |momentum| universe.with_momentum(momentum));
        universe.past(3);
        let mut events = Vec::new();
        (0..200).for_each(|_| universe.step(|market, event| events.push((market, event))));
        events
    };
    assert_eq!(moved(None), moved(Some(0.0)));
    assert_eq!(moved(Some(2.0)), moved(Some(2.0)));
    assert_ne!(moved(None), moved(Some(2.0)));
}
