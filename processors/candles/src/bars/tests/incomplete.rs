//! What is not complete, how it becomes so, and the exchange's own candles.

use spark_bus_schema::decimal::DecimalColumn;

use super::*;

const M: i64 = 60_000;

fn history(rows: &[(i64, [&str; 5])]) -> CandleHistory {
    let column = |index: usize| {
        let mut column = DecimalColumn::default();
        rows.iter().for_each(|row| column.push(Fixed::parse(row.1[index]).unwrap()).unwrap());
        column
    };
    CandleHistory {
        venue: Venue::Binance,
        symbol: "BTCUSDT".to_owned(),
        timeframe: TimeFrame::M1,
        open_time: rows.iter().map(|row| at(row.0 * M)).collect(),
        open: column(0),
        high: column(1),
        low: column(2),
        close: column(3),
        volume: column(4),
        fetched_at: at(0),
    }
}

#[test]
fn a_missing_id_makes_every_candle_incomplete_that_it_may_belong_to_until_it_comes() {
    let mut world = World::minutes();
    world.trades(&[trade(1, 0, "10", "1"), trade(2, M + 5, "10", "1"), trade(4, 3 * M, "10", "1")]);
    let told = world.told();
    assert_eq!(told, ["0 10/10/10/10 1×1", "1 10/10/10/10 1×1 partial", "2 10/10/10/10 0×0 gap partial"]);
    world.trades_at(at(3 * M), &[trade(3, M + 9, "10", "1")]);
    assert_eq!(world.told(), ["1 10/10/10/10 2×2 r2", "2 10/10/10/10 0×0 r2 gap"]);
}

#[test]
fn a_hole_that_shows_only_after_the_timer_closed_a_candle_is_told() {
    let mut world = World::minutes();
    world.trades(&[trade(1, 0, "10", "1")]).tick(M + 1_000);
    assert_eq!(world.told(), ["0 10/10/10/10 1×1"]);
    world.trades(&[trade(3, M + 2_000, "10", "1")]);
    assert_eq!(world.told(), ["0 10/10/10/10 1×1 r2 partial"]);
}

#[test]
fn while_a_venue_is_cut_off_candles_are_incomplete_and_ids_that_go_on_without_a_jump_complete_them() {
    let mut world = World::minutes();
    world.trades(&[trade(1, 0, "10", "1")]);
    world.bars.cut(at(10), Venue::Binance, &mut world.told);
    world.tick(M + 1_000);
    assert_eq!(world.told(), ["0 10/10/10/10 1×1 partial"]);
    world.trades(&[trade(2, M + 2_000, "10", "1")]);
    assert_eq!(world.told(), ["0 10/10/10/10 1×1 r2"]);
}

#[test]
fn a_venue_whose_ids_jump_cannot_prove_that_nothing_was_lost() {
    let mut world = World::new(Venue::Btcturk, &[TimeFrame::M1]);
    world.trades(&[trade(100, 0, "10", "1"), trade(900, M, "10", "1"), trade(2_000, 2 * M, "10", "1")]);
    assert_eq!(world.told(), ["0 10/10/10/10 1×1", "1 10/10/10/10 1×1"], "jumps mean nothing");
    world.bars.cut(at(2 * M), Venue::Btcturk, &mut world.told);
    world.trades(&[trade(5_000, 4 * M + 9, "10", "1"), trade(5_001, 5 * M, "10", "1"), trade(5_002, 6 * M, "10", "1")]);
    let told = world.told();
    assert_eq!(
        told,
        ["2 10/10/10/10 1×1 partial", "3 10/10/10/10 0×0 gap partial", "4 10/10/10/10 1×1 partial", "5 10/10/10/10 1×1"]
    );
    // A late one between them is new once.
    world.trades_at(at(6 * M), &[trade(3_000, 3 * M, "11", "1")]).trades_at(at(6 * M), &[trade(3_000, 3 * M, "11", "1")]);
    assert_eq!(world.told(), ["3 11/11/11/11 1×1 r2 partial"]);
}

#[test]
fn the_exchanges_own_candles_replace_incomplete_ones_alone_and_for_good() {
    let mut world = World::minutes();
    world.trades(&[trade(1, 30_000, "10", "1"), trade(2, M, "10", "1"), trade(5, 3 * M, "10", "1"), trade(6, 4 * M, "10", "1")]);
    world.told();
    let rows = [
        (-1, ["1", "1", "1", "1", "1"]),
        (0, ["8", "12.5", "7", "11", "5"]),
        (1, ["10", "10", "10", "10", "1"]),
        (2, ["10", "10", "10", "10", "0"]),
        (3, ["99", "99", "99", "99", "9"]),
    ];
    world.bars.history(at(4 * M), &history(&rows), &mut world.told);
    let amount = world.told[0].quote_volume.to_string();
    let told = world.told();
    assert_eq!(
        told,
        [
            "0 8/12.5/7/11 5×1 r2 exchange",
            "1 10/10/10/10 1×1 r2 exchange",
            "2 10/10/10/10 0×0 r2 gap exchange",
            "3 99/99/99/99 9×1 r2 exchange"
        ]
    );
    assert_eq!(amount, "54", "one unit at 10 is known, four count at the close");
    world.bars.history(at(4 * M), &history(&rows), &mut world.told);
    world.trades_at(at(4 * M), &[trade(3, M + 1, "5", "1")]);
    assert_eq!(world.told(), [""; 0], "already in it");
    assert_eq!(world.bars.counts().dropped, 1);
}

#[test]
fn history_of_an_unknown_symbol_or_length_is_of_no_use() {
    let mut world = World::new(Venue::Binance, &[TimeFrame::H1]);
    world.bars.history(at(0), &history(&[(0, ["1"; 5])]), &mut world.told);
    world.trades(&[trade(1, 0, "10", "1")]);
    world.bars.history(at(0), &history(&[(0, ["1"; 5])]), &mut world.told);
    assert_eq!(world.told(), [""; 0]);
}
