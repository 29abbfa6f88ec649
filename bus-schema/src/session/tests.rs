use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

/// Weekdays of a year without trading, and its half days.
fn closed_weekdays(year: i32) -> (Vec<String>, Vec<String>) {
    let calendar = Calendar::default();
    let first = Day::new(year, 1, 1).unwrap();
    let days = || (0..366).map(|n| first.plus(n)).filter(|day| day.year() == year && !day.is_weekend());
    let short = |day: Day| day.to_string().split_off(5);
    let closed = days().filter(|day| calendar.session(*day).is_none()).map(short).collect();
    (closed, days().filter(|day| calendar.session(*day).is_some_and(|session| session.half)).map(short).collect())
}

fn check_year(year: i32, closed: &str, half: &str) {
    let (was_closed, was_half) = closed_weekdays(year);
    assert_eq!(was_closed.join(" "), closed, "{year}");
    assert_eq!(was_half.join(" "), half, "{year}");
}

/// 2024, 2025 and 2026 until June: the weekdays without a row (or with a row of zero volume) in 30 shares' daily data.
#[test]
fn holidays_and_half_days_are_those_of_the_exchange() {
    check_year(2024, "01-01 04-10 04-11 04-12 04-23 05-01 06-17 06-18 06-19 07-15 08-30 10-29", "04-09 10-28");
    check_year(2025, "01-01 03-31 04-01 04-23 05-01 05-19 06-06 06-09 07-15 10-29", "06-05 10-28");
    check_year(2026, "01-01 03-20 04-23 05-01 05-19 05-27 05-28 05-29 07-15 10-29", "03-19 05-26 10-28");
    check_year(2027, "01-01 03-09 03-10 03-11 04-23 05-17 05-18 05-19 07-15 08-30 10-29", "03-08 10-28");
}

#[test]
fn phases_of_a_full_and_a_half_day() {
    let calendar = Calendar::default();
    let check = |moment: &str, phase: Phase| assert_eq!(calendar.phase_at(at(moment)), phase, "{moment}");
    // A Friday, in UTC: three hours behind Istanbul.
    check("2026-11-20T06:39:59.999999999Z", Phase::Closed);
    check("2026-11-20T06:40:00Z", Phase::OpeningAuction);
    check("2026-11-20T06:59:59Z", Phase::OpeningAuction);
    check("2026-11-20T07:00:00Z", Phase::Continuous);
    check("2026-11-20T10:30:00Z", Phase::Continuous);
    check("2026-11-20T14:59:59.999999999Z", Phase::Continuous);
    check("2026-11-20T15:00:00Z", Phase::ClosingAuction);
    check("2026-11-20T15:08:00Z", Phase::TradesAtClose);
    check("2026-11-20T15:10:00Z", Phase::Closed);
    check("2026-10-28T09:29:59Z", Phase::Continuous);
    check("2026-10-28T09:30:00Z", Phase::ClosingAuction);
    check("2026-10-28T09:38:00Z", Phase::TradesAtClose);
    check("2026-10-28T09:40:00Z", Phase::Closed);
    check("2026-11-21T08:00:00Z", Phase::Closed);
}

#[test]
fn a_day_begins_at_istanbuls_midnight_not_at_utcs() {
    assert_eq!(Day::of(at("2026-11-19T20:59:59.999999999Z")), day("2026-11-19"));
    assert_eq!(Day::of(at("2026-11-19T21:00:00Z")), day("2026-11-20"));
    assert_eq!(day("2026-11-20").midnight(), at("2026-11-19T21:00:00Z"));
    assert_eq!(Day::of(at("1969-12-31T20:00:00Z")), day("1969-12-31"));
    // No summer time: the same hour in July.
    assert_eq!(Calendar::default().session(day("2026-07-14")).unwrap().open, at("2026-07-14T07:00:00Z"));
}

#[test]
fn the_next_open_steps_over_weekends_and_bayrams() {
    let calendar = Calendar::default();
    let check = |from: &str, open: &str| assert_eq!(calendar.next_open(at(from)), Some(at(open)), "{from}");
    check("2026-11-20T06:59:59Z", "2026-11-20T07:00:00Z");
    check("2026-11-20T07:00:00Z", "2026-11-23T07:00:00Z");
    check("2026-11-21T12:00:00Z", "2026-11-23T07:00:00Z");
    check("2026-05-26T12:00:00Z", "2026-06-01T07:00:00Z");
}

#[test]
fn configured_days_win_and_make_their_year_known() {
    let calendar = Calendar::new(&[day("2028-02-28"), day("2026-11-20")], &[day("2026-11-19")]);
    assert_eq!(calendar.session(day("2026-11-20")), None);
    assert!(calendar.session(day("2026-11-19")).unwrap().half);
    assert_eq!(calendar.check(at("2028-06-01T00:00:00Z")), Ok(()));
    let error = calendar.check(at("2029-06-01T00:00:00Z")).unwrap_err();
    assert_eq!(error, UnknownYear { year: 2029 });
    assert!(error.to_string().contains("2024 to 2027") && error.to_string().contains("[feed.bist]"), "{error}");
    // A year that is not known still has its weekends and national holidays.
    assert_eq!(calendar.session(day("2029-10-29")), None);
    assert!(calendar.session(day("2029-10-30")).is_some());
    assert_eq!(calendar.next_session(at("2026-11-19T12:00:00Z")).unwrap().day, day("2026-11-23"));
}

#[test]
fn the_demos_calendar_is_open_around_the_clock() {
    let calendar = Calendar::always_open();
    for moment in ["2026-11-21T03:00:00Z", "2026-10-29T20:59:59Z", "2031-01-01T00:00:00Z"] {
        assert_eq!(calendar.phase_at(at(moment)), Phase::Continuous);
        assert_eq!(calendar.check(at(moment)), Ok(()));
    }
    let session = calendar.session_of(at("2026-11-21T22:00:00Z")).unwrap();
    assert_eq!((session.open, session.close), (at("2026-11-21T21:00:00Z"), at("2026-11-22T21:00:00Z")));
}

#[test]
fn a_day_that_cannot_be_read_is_told_with_an_example() {
    for text in ["2026-02-30", "2026-1-01", "28.10.2026", "", "2026-10-28-1", "2026-13-01"] {
        assert!(text.parse::<Day>().unwrap_err().contains("2026-10-28"), "{text}");
    }
    assert_eq!(day("2026-10-28").to_string(), "2026-10-28");
}

proptest::proptest! {
    #[test]
    fn phases_follow_each_other_and_a_session_lies_in_its_day(nanos in 1_704_067_200i64..1_830_297_600) {
        let moment = Timestamp::from_millis(nanos * 1_000);
        let calendar = Calendar::default();
        let phase = calendar.phase_at(moment);
        proptest::prop_assert_eq!(phase != Phase::Closed, calendar.session_of(moment).is_some_and(|it| it.auction <= moment && moment < it.end));
        let next = calendar.next_session(moment).unwrap();
        proptest::prop_assert!(next.open > moment && calendar.is_open(next.open) && Day::of(next.end) == next.day);
    }
}
