use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// A Friday, 14:00 in Istanbul.
const NOW: &str = "2026-11-20T11:00:00Z";

fn shares(delay_minutes: u32) -> Shares {
    let symbols = ["THYAO", "TRALT"].map(str::to_owned);
    Shares::new(InstrumentTable::builtin(), Calendar::default(), ("test", delay_minutes), &symbols, vec!["TRALT".to_owned()])
}

fn row(time: &str, change: impl Fn(&mut Quote)) -> Quote {
    let mut row = Quote {
        symbol: "THYAO.E".to_owned(),
        last: d("291.25"),
        bid: Some(d("291")),
        ask: Some(d("291.25")),
        bid_size: Some(d("1200")),
        ask_size: Some(d("800")),
        open: Some(d("288")),
        high: Some(d("292")),
        low: Some(d("287.5")),
        prev_close: Some(d("287.75")),
        volume: Some(d("1000")),
        turnover: Some(d("290000")),
        time: at(time),
        status: "continuous".to_owned(),
    };
    change(&mut row);
    row
}

#[test]
fn a_row_becomes_a_snapshot_when_it_changed_or_ten_seconds_later_and_volume_becomes_a_trade() {
    let mut shares = shares(0);
    let first = shares.take(&row("2026-11-20T10:59:59Z", |_| {}), at(NOW)).unwrap();
    let snapshot = first.snapshot.unwrap();
    assert_eq!((snapshot.symbol.as_str(), snapshot.last, snapshot.delay_minutes), ("THYAO", d("291.25"), 0));
    assert_eq!(first.trade, None, "what was traded before the first look is not known");
    assert_eq!(first.quote.unwrap().bid_quantity, Fixed::parse("1200").unwrap());
    shares.told("THYAO", at(NOW));
    let again = |seconds: u64| at(NOW) + Duration::from_secs(seconds);
    assert_eq!(shares.take(&row("2026-11-20T10:59:59Z", |_| {}), again(5)).unwrap().snapshot, None);
    assert!(shares.take(&row("2026-11-20T10:59:59Z", |_| {}), again(10)).unwrap().snapshot.is_some());
    let more = row("2026-11-20T11:00:11Z", |row| (row.volume, row.last) = (Some(d("1250")), d("291")));
    let trade = shares.take(&more, again(12)).unwrap().trade.unwrap();
    assert_eq!((trade.quantity.to_decimal(), trade.price.to_decimal(), trade.side), (d("250"), d("291"), Side::Sell));
    // 2026-11-20 is day 20 777; the same row gives the same id in every run.
    assert_eq!(trade.trade_id, 20_777_000_000_001_250);
    assert_eq!(shares.take(&more, again(17)).unwrap().trade, None);
    let fallen = row("2026-11-20T11:00:18Z", |row| row.volume = Some(d("1100")));
    assert_eq!(shares.take(&fallen, again(18)).unwrap().trade, None, "ids never fall");
}

#[test]
fn a_days_first_look_counts_from_zero_and_a_long_gap_is_no_trade() {
    let mut shares = shares(0);
    shares.take(&row("2026-11-19T15:00:00Z", |row| row.volume = Some(d("9000"))), at("2026-11-20T06:59:50Z")).unwrap();
    let opened = row("2026-11-20T07:00:03Z", |row| row.volume = Some(d("70")));
    let trade = shares.take(&opened, at("2026-11-20T07:00:04Z")).unwrap().trade.unwrap();
    assert_eq!((trade.quantity.to_decimal(), trade.trade_id), (d("70"), 20_777_000_000_000_070));
    let later = row("2026-11-20T07:10:00Z", |row| row.volume = Some(d("5000")));
    assert_eq!(shares.take(&later, at("2026-11-20T07:10:01Z")).unwrap().trade, None);
    let next = row("2026-11-20T07:10:05Z", |row| row.volume = Some(d("5001")));
    assert_eq!(shares.take(&next, at("2026-11-20T07:10:06Z")).unwrap().trade.unwrap().quantity.to_decimal(), Decimal::ONE);
}

#[test]
fn another_run_goes_on_where_the_last_one_ended() {
    let (mut first, mut second) = (shares(0), shares(0));
    let before = first.take(&row("2026-11-20T10:59:59Z", |_| {}), at(NOW)).unwrap().snapshot;
    second.remember("THYAO", before, Some((20_777_000_000_001_100, at(NOW))));
    let more = row("2026-11-20T11:00:11Z", |row| row.volume = Some(d("1250")));
    let trade = second.take(&more, at("2026-11-20T11:00:12Z")).unwrap().trade.unwrap();
    assert_eq!((trade.quantity.to_decimal(), trade.trade_id), (d("150"), 20_777_000_000_001_250));
    let (_, flaw) = second.take(&row("2026-11-20T10:59:00Z", |_| {}), at("2026-11-20T11:00:13Z")).unwrap_err();
    assert_eq!(flaw.reason(), "backwards");
}

#[test]
fn what_cannot_be_is_refused_with_its_reason_and_changes_nothing() {
    let check = |reason: &str, text: &str, change: &dyn Fn(&mut Quote)| {
        let mut shares = shares(0);
        shares.take(&row("2026-11-20T10:59:59Z", |_| {}), at(NOW)).unwrap();
        let (symbol, flaw) = shares.take(&row("2026-11-20T11:00:00Z", change), at(NOW)).unwrap_err();
        assert_eq!(flaw.reason(), reason);
        assert!(flaw.to_string().contains(text), "{flaw}");
        assert_eq!(symbol.is_none(), reason == "not_asked");
        assert_eq!(shares.newest(), at("2026-11-20T10:59:59Z"));
    };
    check("off_tick", "last 291.33 is not a multiple of the price step 0.25", &|row| row.last = d("291.33"));
    check("off_tick", "bid 290.9", &|row| row.bid = Some(d("290.9")));
    check("beyond_limit", "317 is outside of the day's limits 259 to 316.5", &|row| row.last = d("317"));
    check("beyond_limit", "low 258.75", &|row| row.low = Some(d("258.75")));
    check("zero", "last is 0", &|row| row.last = Decimal::ZERO);
    check("crossed", "bid 291.25 is not below ask 291.25", &|row| row.bid = row.ask);
    check("future", "6000 ms in the future", &|row| row.time = at("2026-11-20T11:00:06Z"));
    check("backwards", "went back by 9000 ms", &|row| row.time = at("2026-11-20T10:59:50Z"));
    check("not_asked", "AKBNK", &|row| row.symbol = "AKBNK".to_owned());
    check("not_asked", "NOSUCH", &|row| row.symbol = "NOSUCH".to_owned());
}

#[test]
fn old_codes_free_shares_and_missing_fields_are_understood() {
    let mut shares = shares(0);
    let renamed = row(NOW, |row| (row.symbol, row.last) = ("KOZAL".to_owned(), d("400")));
    assert_eq!(shares.take(&renamed, at(NOW)).unwrap().symbol, "TRALT", "and it has no limits here");
    let bare = row(NOW, |row| {
        (row.bid, row.ask, row.bid_size, row.open, row.high, row.low, row.prev_close) =
            (None, Some(Decimal::ZERO), None, None, None, None, None);
        (row.volume, row.turnover, row.status) = (None, None, String::new());
    });
    let outcome = shares.take(&bare, at(NOW)).unwrap();
    let snapshot = outcome.snapshot.unwrap();
    assert_eq!((snapshot.ask, snapshot.volume, snapshot.status.as_str()), (None, Decimal::ZERO, "continuous"));
    assert_eq!((outcome.quote, outcome.trade), (None, None));
    let sizeless = row(NOW, |row| row.bid_size = None);
    assert_eq!(shares.take(&sizeless, at(NOW)).unwrap().quote, None, "nobody fills against a size that is not known");
}

#[test]
fn a_delayed_vendor_is_marked_judged_by_its_delay_and_gives_neither_trades_nor_quotes() {
    let mut shares = shares(15);
    let old = row("2026-11-20T10:45:00Z", |_| {});
    let outcome = shares.take(&old, at(NOW)).unwrap();
    assert_eq!(outcome.snapshot.unwrap().delay_minutes, 15);
    assert_eq!(outcome.quote, None);
    let more = row("2026-11-20T10:45:05Z", |row| row.volume = Some(d("2000")));
    assert_eq!(shares.take(&more, at("2026-11-20T11:00:05Z")).unwrap().trade, None);
    assert_eq!(shares.behind(at("2026-11-20T11:00:25Z")), Duration::from_secs(20));
}

#[test]
fn a_vendor_that_stands_still_is_behind_in_the_session_only_and_counted_from_the_opening() {
    let mut shares = shares(0);
    shares.take(&row("2026-11-19T15:00:00Z", |_| {}), at("2026-11-20T06:00:00Z")).unwrap();
    let behind = |moment: &str| shares.behind(at(moment)).as_secs();
    assert_eq!(behind("2026-11-20T06:59:59Z"), 0);
    assert_eq!(behind("2026-11-20T07:00:40Z"), 40);
    assert_eq!(behind("2026-11-20T15:00:00Z"), 0, "the session is over");
    assert_eq!(behind("2026-11-21T11:00:00Z"), 0, "a Saturday");
}
