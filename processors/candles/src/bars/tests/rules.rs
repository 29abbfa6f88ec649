//! When candles are told, and what is done about late, repeated and missing trades.

use super::*;

const M: i64 = 60_000;

#[test]
fn a_candle_closes_with_the_first_trade_at_or_after_its_end() {
    let mut world = World::minutes();
    world.trades(&[trade(1, 0, "10", "1"), trade(2, 30_000, "12", "2"), trade(3, M - 1, "9", "1")]);
    assert_eq!(world.told(), [""; 0]);
    world.trades_at(at(M + 300), &[trade(4, M, "11", "1")]);
    let candle = world.told[0].clone();
    assert_eq!((candle.closed_at, candle.quote_volume.to_string().as_str()), (at(M + 300), "43"));
    assert_eq!(world.told(), ["0 10/12/9/9 4×3"]);
}

#[test]
fn without_a_trade_a_candle_closes_a_grace_after_its_end_by_the_venues_clock() {
    // The venue's clock is 5 s ahead of ours, or the trades are of another year: the time that passes is the same.
    for skew in [-5_000, 0, 40_000, 400 * 86_400_000] {
        let mut world = World::minutes();
        let stored = |ms: i64| at(ms + skew);
        world.trades_at(stored(50_000), &[trade(1, 50_000, "10", "1")]);
        world.bars.tick(stored(M + 999), &mut world.told);
        assert_eq!(world.told(), [""; 0], "{skew}");
        world.bars.tick(stored(M + 1_000), &mut world.told);
        assert_eq!(world.told(), ["0 10/10/10/10 1×1 partial"], "{skew}");
    }
}

#[test]
fn intervals_without_a_trade_are_flat_candles_and_there_is_none_before_the_first_trade() {
    let mut world = World::minutes();
    world.tick(0).tick(10 * M);
    world.trades(&[trade(1, 10 * M, "10", "1"), trade(2, 13 * M, "11", "1")]);
    assert_eq!(world.told(), ["10 10/10/10/10 1×1", "11 10/10/10/10 0×0 gap", "12 10/10/10/10 0×0 gap"]);
    world.tick(15 * M + 1_000);
    assert_eq!(world.told(), ["13 11/11/11/11 1×1", "14 11/11/11/11 0×0 gap"]);
}

#[test]
fn after_a_long_silence_nothing_is_told_until_the_next_trade_whichever_way_it_ends() {
    let limit = i64::from(FLATS_MAX);
    let silent = |ticks: bool| {
        let mut world = World::minutes();
        world.trades(&[trade(1, 0, "10", "1")]);
        if ticks {
            world.tick(30 * M).tick(500 * M).tick(501 * M);
        }
        world.trades(&[trade(2, 1_000 * M + 5, "11", "1")]).tick(1_001 * M + 1_000);
        world.told()
    };
    let told = silent(true);
    assert_eq!(told.len() as i64, limit + 2);
    assert_eq!(told[told.len() - 2], format!("{limit} 10/10/10/10 0×0 gap"));
    assert_eq!(told[told.len() - 1], "1000 11/11/11/11 1×1");
    assert_eq!(silent(false), told);
}

#[test]
fn a_late_trade_makes_a_higher_revision_and_moves_the_flat_candles_behind_it() {
    let mut world = World::minutes();
    world.trades(&[trade(1, 0, "10", "1"), trade(5, 3 * M, "20", "1")]);
    world.told();
    // Ids 2 to 4 were missing: two of minute 0, one that changes nothing but a sum in minute 1.
    world.trades_at(at(3 * M), &[trade(2, 1, "8", "1"), trade(3, 2, "9", "1")]);
    assert_eq!(world.told(), ["0 10/10/8/9 3×3 r2 partial", "1 9/9/9/9 0×0 r2 gap partial", "2 9/9/9/9 0×0 r2 gap partial"]);
    world.trades_at(at(3 * M), &[trade(4, M, "15", "1")]);
    assert_eq!(world.told(), ["0 10/10/8/9 3×3 r3", "1 15/15/15/15 1×1 r3", "2 15/15/15/15 0×0 r3 gap"]);
    assert_eq!((world.bars.counts().late, world.bars.counts().dropped), (3, 0));
    world.tick(4 * M + 1_000);
    assert_eq!(world.told(), ["3 20/20/20/20 1×1"]);
}

#[test]
fn a_trade_that_is_too_late_for_a_candle_is_counted_and_still_counts_in_a_longer_one() {
    let mut world = World::new(Venue::Binance, &[TimeFrame::M1, TimeFrame::H1]);
    world.trades(&[trade(1, 0, "10", "1"), trade(3, M, "10", "1"), trade(4, 2 * M, "10", "1")]);
    for minute in 3..=KEPT as i64 + 1 {
        world.trades(&[trade(minute as u64 + 2, minute * M, "10", "1")]);
    }
    world.told();
    world.trades_at(at(50 * M), &[trade(2, 5, "7", "1")]);
    let told = world.told();
    assert!(told.iter().all(|told| !told.starts_with("0 ")), "{told:?}");
    assert_eq!((world.bars.counts().late, world.bars.counts().dropped), (1, 1));
    world.tick(200 * M);
    let hour = world.told.iter().find(|candle| candle.timeframe == TimeFrame::H1).cloned().unwrap();
    assert_eq!((hour.low.to_string().as_str(), hour.trades, hour.complete), ("7", KEPT as u64 + 3, true));
}

#[test]
fn a_trade_that_comes_again_counts_once() {
    let mut world = World::minutes();
    let first = [trade(1, 0, "10", "1"), trade(2, 5, "11", "1"), trade(3, M, "12", "1")];
    world.trades(&first).trades(&first).trades(&[first[1]]).trades(&[first[2], trade(4, M + 1, "13", "1")]);
    world.tick(2 * M + 1_001);
    assert_eq!(world.told(), ["0 10/11/10/11 2×2", "1 12/13/12/13 2×2"]);
    assert_eq!(world.bars.counts(), Counts { duplicates: 5, ..Counts::default() });
}

#[test]
fn trades_of_one_moment_are_ordered_by_id_and_late_ones_open_and_close_where_they_belong() {
    let mut world = World::minutes();
    world.trades(&[trade(5, 10, "15", "1"), trade(6, 10, "16", "1")]);
    world.trades_at(at(10), &[trade(4, 10, "14", "1")]);
    world.trades_at(at(10), &[trade(3, 0, "13", "1")]);
    world.tick(M + 1_010);
    assert_eq!(world.told(), ["0 13/16/13/16 4×4 partial"]);
}

#[test]
fn a_trade_of_the_far_future_is_dropped_and_does_not_close_what_is_open() {
    let mut world = World::minutes();
    world.trades(&[trade(1, 0, "10", "1")]).trades_at(at(5), &[trade(2, 600 * M, "99", "1")]);
    world.trades(&[trade(3, 7, "11", "1")]).trades(&[trade(4, M, "1", "1")]);
    assert_eq!(world.told(), ["0 10/11/10/11 2×2 partial"], "its id is missing");
    assert_eq!(world.bars.counts().ahead, 1);
}

#[test]
fn a_venue_that_begins_to_count_anew_is_followed() {
    let mut world = World::minutes();
    world.trades(&[trade(1_000, 0, "10", "1"), trade(1_001, M, "11", "1")]);
    world.trades(&[trade(1, M + 5, "12", "1"), trade(2, 2 * M, "13", "1"), trade(3, 3 * M, "14", "1")]);
    let told = world.told();
    assert_eq!(told, ["0 10/10/10/10 1×1", "1 11/12/11/12 2×2 partial", "2 13/13/13/13 1×1"]);
}

#[test]
fn digits_are_exact_whatever_scale_each_batch_has() {
    let mut world = World::minutes();
    world.trades(&[trade(1, 0, "100000", "3")]);
    world.trades(&[trade(2, 1, "0.00000001", "0.000000000000000001")]);
    world.trades(&[trade(3, 2, "9000000000", "9000000000")]);
    world.trades(&[trade(4, 3, "61837.63", "0.5")]);
    world.tick(M + 1_003);
    let candle = world.told[0].clone();
    assert_eq!(candle.volume.to_string(), "9000000003.500000000000000001");
    // 300000 + 10^-26 + 81·10^18 + 30918.815, to 28 digits.
    assert_eq!(candle.quote_volume.normalize().to_string(), "81000000000000330918.815");
    assert_eq!((candle.low.to_string().as_str(), candle.high.to_string().as_str()), ("0.00000001", "9000000000"));
}

#[test]
fn borsa_istanbuls_intervals_begin_at_its_session() {
    // 10:00 in Istanbul is 07:00 UTC.
    let check = |length, hour: i64, want: (i64, i64)| {
        let interval = interval::containing(Venue::Bist, length, at(hour * 60 * M + 1));
        assert_eq!(interval, (at(want.0 * 60 * M), at(want.1 * 60 * M)), "{length} {hour}");
    };
    check(TimeFrame::D1, 12, (-3, 21));
    check(TimeFrame::D1, 21, (21, 45));
    check(TimeFrame::H4, 7, (7, 11));
    check(TimeFrame::H4, 14, (11, 15));
    check(TimeFrame::H1, 6, (6, 7));
    assert_eq!(interval::containing(Venue::Binance, TimeFrame::D1, at(-1)).0, at(-24 * 60 * M));
}

#[test]
fn out_of_borsa_istanbuls_sessions_no_flat_candle_is_told() {
    // Thursday 2024-08-08: a share trades at 17:59 in Istanbul, and again on Friday at 10:00 and on Monday.
    let hour = 60 * M;
    let mut world = World::new(Venue::Bist, &[TimeFrame::H1]);
    world.trades(&[trade(1, 14 * hour + 59 * M, "10", "1"), trade(2, (24 + 7) * hour, "11", "1")]);
    // The hour of the closing auction, then Friday's session.
    assert_eq!(world.told().len(), 2, "17:00 and 18:00, when the closing auction is");
    world.trades(&[trade(3, (4 * 24 + 8) * hour, "12", "1")]);
    let told = world.told();
    let opens: Vec<&str> = told.iter().filter_map(|told| told.split(' ').next()).collect();
    let friday = (7..16).map(|of_day| 24 + of_day);
    let want: Vec<String> = friday.chain([4 * 24 + 7]).map(|of_day| (of_day * 60).to_string()).collect();
    assert_eq!(opens, want);
    let mut always = World::new(Venue::Bist, &[TimeFrame::H1]);
    always.bars = always.bars.with_calendar(Calendar::always_open());
    always.trades(&[trade(1, 14 * hour, "10", "1"), trade(2, (24 + 7) * hour, "11", "1")]);
    assert_eq!(always.told().len(), 17);
}

#[test]
fn a_saved_state_goes_on_and_a_length_that_is_new_begins_with_the_next_trade() {
    let mut world = World::minutes();
    world.trades(&[trade(1, 0, "10", "1"), trade(2, 70_000, "11", "1")]);
    let mut bars = Bars::new(&config(&[TimeFrame::M5, TimeFrame::M1]));
    bars.load(&world.bars.save()).unwrap();
    assert!(bars.load(b"garbage").is_err());
    bars.load(&world.bars.save()).unwrap();
    world.bars = bars;
    world.told();
    world.trades(&[trade(3, 2 * M, "12", "1"), trade(4, 5 * M, "13", "1")]);
    let told = world.told();
    assert_eq!(told[0], "1 11/11/11/11 1×1");
    assert!(told.contains(&"0 12/12/12/12 1×1 partial".to_owned()), "{told:?}");
}
