//! Whatever way the trades come, the candles are those of the naive model.

use proptest::prelude::*;

use super::model;
use super::*;

const LENGTHS: [TimeFrame; 4] = [TimeFrame::S1, TimeFrame::M1, TimeFrame::M5, TimeFrame::H1];

/// Trades in the venue's order with steps in ms, prices and quantities of up to 6 decimals.
fn some_trades(max: usize) -> impl Strategy<Value = Vec<Trade>> {
    prop::collection::vec((0_i64..40_000, 1_i64..2_000_000, 0_u8..6, 1_i64..5_000_000, 0_u8..6), 1..max).prop_map(|rows| {
        let mut ms = 0;
        let trade = |(index, (step, price, price_scale, quantity, scale)): (usize, (i64, i64, u8, i64, u8))| {
            ms += step;
            let mut trade = trade(index as u64 + 7, ms, "1", "1");
            trade.price = Fixed::try_from(Fixed { mantissa: price, scale: price_scale }.to_decimal()).unwrap();
            trade.quantity = Fixed::try_from(Fixed { mantissa: quantity, scale }.to_decimal()).unwrap();
            trade
        };
        rows.into_iter().enumerate().map(trade).collect()
    })
}

/// Takes the parts in order, each stored at one time, and closes everything.
fn run(venue: Venue, parts: &[Vec<Trade>], restart: impl Fn(usize) -> bool) -> Vec<Candle> {
    let stored = at(90 * 60_000);
    let mut world = World::new(venue, &LENGTHS);
    for (index, part) in parts.iter().enumerate() {
        world.trades_at(stored, part);
        if restart(index) {
            let state = world.bars.save();
            world.bars = Bars::new(&config(&LENGTHS));
            world.bars.load(&state).unwrap();
        }
    }
    world.bars.tick(stored + Duration::from_secs(48 * 3_600), &mut world.told);
    world.told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_any_repetition_and_any_restart_give_the_same_candles_as_the_whole_at_once(
        trades in some_trades(150),
        cuts in prop::collection::vec((1_usize..40, 0_usize..20, any::<bool>()), 1..20),
        rising in any::<bool>(),
    ) {
        let venue = if rising { Venue::Btcturk } else { Venue::Binance };
        let (mut parts, mut from, mut turn) = (Vec::new(), 0, 0);
        while from < trades.len() {
            let (length, again, _) = cuts[turn % cuts.len()];
            let to = (from + length).min(trades.len());
            // Some of what came before comes again, as after a crash.
            parts.push(trades[from.saturating_sub(again)..to].to_vec());
            (from, turn) = (to, turn + 1);
        }
        let whole = run(venue, std::slice::from_ref(&trades), |_| false);
        let split = run(venue, &parts, |index| cuts[index % cuts.len()].2);
        prop_assert_eq!(&split, &whole);
        prop_assert_eq!(model::last_told(&whole), model::candles(&trades, &LENGTHS));
        for length in LENGTHS {
            let volume: rust_decimal::Decimal =
                whole.iter().filter(|candle| candle.timeframe == length).map(|candle| candle.volume).sum();
            prop_assert_eq!(volume, trades.iter().map(|trade| trade.quantity.to_decimal()).sum::<rust_decimal::Decimal>());
        }
    }

    #[test]
    fn trades_in_any_order_end_in_the_same_candles(
        trades in some_trades(60).prop_map(|trades| {
            // Within what is kept of each length.
            trades.into_iter().enumerate().map(|(index, mut trade)| {
                trade.occurred_at = at((index as i64 * 97) % 14_000);
                trade
            }).collect::<Vec<_>>()
        }),
        order in prop::collection::vec(any::<prop::sample::Index>(), 60),
    ) {
        // Ids of Binance rise with time.
        let mut trades = trades;
        trades.sort_by_key(|trade| trade.occurred_at);
        trades.iter_mut().enumerate().for_each(|(index, trade)| trade.trade_id = index as u64 + 1);
        // The first one stays: intervals before the first trade that was seen are not made.
        let mut shuffled = trades.clone();
        for (index, other) in order.iter().enumerate().take(shuffled.len()).skip(1) {
            let other = 1 + other.index(shuffled.len() - 1);
            shuffled.swap(index, other);
        }
        let parts: Vec<Vec<Trade>> = shuffled.into_iter().map(|trade| vec![trade]).collect();
        let told = run(Venue::Binance, &parts, |_| false);
        prop_assert_eq!(model::last_told(&told), model::candles(&trades, &LENGTHS));
    }
}
