//! Files of bars: what is read, and what is refused with which words.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Cursor;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use spark_backtest::data::{Bars, csv};
use spark_backtest::engine::Error;
use spark_bus_schema::Timestamp;
use spark_bus_schema::candles::TimeFrame;

fn shared(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(path)
}

fn read(text: &str, timeframe: Option<TimeFrame>) -> Result<Bars, Error> {
    csv::read_from(Cursor::new(text.as_bytes()), "bars.csv", timeframe)
}

#[test]
fn recorded_klines_and_daily_shares_are_read_as_they_are() {
    let bars = csv::read(&shared("binance/klines/gct_BTCUSDT_1h.csv"), None).unwrap();
    assert_eq!((bars.len(), bars.span_ns()), (1_468, 3_600_000_000_000));
    let first = bars.bar(0);
    assert_eq!(first.open_time, Timestamp::from_millis(1_588_280_400_000));
    let prices = [first.open, first.high, first.low, first.close].map(|price| price.to_decimal().normalize().to_string());
    assert_eq!(prices, ["8819.15", "8849.8", "8734.5", "8761.92"]);
    assert_eq!(first.volume.to_decimal().normalize().to_string(), "3089.560545");

    let bars = csv::read(&shared("bist/daily/THYAO.csv"), Some(TimeFrame::D1)).unwrap();
    assert!(bars.len() > 1_200, "{}", bars.len());
    assert_eq!(bars.span_ns(), 86_400_000_000_000);
    let thousand = csv::read(&shared("binance/klines/gct_BTCUSDT_1d.csv"), None).unwrap();
    assert_eq!((thousand.len(), thousand.span_ns()), (540, 86_400_000_000_000));
}

#[test]
fn every_usual_spelling_is_the_same_data() {
    let want =
        read("open_time,open,high,low,close,volume\n1723161300000,1,2,0.5,1.5,3\n1723161360000,1,2,0.5,1.5,0\n", None).unwrap();
    for text in [
        "1723161300000,1,2,0.5,1.5,3,1723161359999,0,5,0,0,0\n1723161360000,1,2,0.5,1.5,0,1723161419999,0,0,0,0,0\n",
        "1723161300,1,2,0.5,1.5,3\n1723161360,1,2,0.5,1.5,0",
        "1723161300000000,1,2,0.5,1.5,3\r\n\r\n1723161360000000,1,2,0.5,1.5,0\r\n",
        "\u{feff}Date;Close;Open;High;Low;Vol\n2024-08-08 23:55;1.5;1;2;0.5;3\n2024-08-08 23:56;1.50;1.0;2.000;0.5;0\n",
        "\"Open Time\",\"Open\",\"High\",\"Low\",\"Close\",\"Volume\",\"note\"\n\"2024-08-08T23:55:00Z\",\"1\",\"2\",\"0.5\",\"1.5\",\"3\",\"x\"\n2024-08-09T02:56:00+03:00,1,2,0.5,1.5,0,\n",
        "ts\to\th\tl\tc\tv\n2024-08-08T23:55:00.000Z\t1\t2\t0.5\t1.5\t3\n2024-08-08 23:56:00+0000\t1\t2\t0.5\t1.5\t0\n",
    ] {
        let got = read(text, None).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(got.len(), 2, "{text}");
        assert_eq!(got.hash(), want.hash(), "{text}");
    }
    assert_eq!(want.span_ns(), 60_000_000_000);
}

#[test]
fn what_cannot_be_believed_is_refused_with_line_column_and_what_would_be_right() {
    const HEAD: &str = "open_time,open,high,low,close,volume\n1723161300000,1,2,0.5,1.5,3\n";
    let check = |text: &str, timeframe: Option<TimeFrame>, words: &[&str]| {
        let error = read(text, timeframe).map(|bars| bars.len()).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "`{text}`: {error}: no `{word}`");
        }
    };
    let row = |row: &str| format!("{HEAD}{row}\n");
    check("", None, &["bars.csv", "no bar"]);
    check("\n\n", None, &["no bar"]);
    check("open_time,open,high,low,close,volume\n", None, &["no bar"]);
    check(HEAD, None, &["its only bar", "time frame"]);
    check("time,price\n1,2\n", None, &["line 1", "no column open", "time, price", "openprice"]);
    check("1723161300000,1,2\n", None, &["line 1", "3 columns", "open time, open"]);
    check(&row("1723161360000,1,2,0.5,1.5"), None, &["line 3", "5 columns", "6"]);
    check(&row("1723161360000,NaN,2,0.5,1.5,1"), None, &["line 3", "column 2 (open)", "`NaN`", "61837.63"]);
    check(&row("1723161360000,1,inf,0.5,1.5,1"), None, &["line 3", "column 3 (high)"]);
    check(&row("1723161360000,1,2,null,1.5,1"), None, &["line 3", "column 4 (low)", "`null`"]);
    check(&row("1723161360000,1,2,0.5,,1"), None, &["line 3", "column 5 (close)", "``"]);
    check(&row("1723161360000,1,2,0.5,1.5,1e5"), None, &["line 3", "column 6 (volume)"]);
    check(&row("1723161360000,1,2,0.5,-1.5,1"), None, &["line 3", "close", "above 0"]);
    check(&row("1723161360000,0,2,0.5,1.5,1"), None, &["line 3", "open", "above 0"]);
    check(&row("1723161360000,1,2,0.5,1.5,-1"), None, &["line 3", "volume", "below 0"]);
    check(&row("1723161360000,1,1.2,0.5,1.5,1"), None, &["line 3", "high 1.2", "does not hold"]);
    check(&row("1723161360000,1,9999999999999,0.5,1.5,1"), None, &["line 3", "high", "at most"]);
    check(&row("1723161360000,1,2.0000000000000000001,0.5,1.5,1"), None, &["line 3", "too many digits"]);
    check(&row("1723161360000,1,2000000000,0.5,0.000000000001,1"), None, &["line 3", "close 0.000000000001"]);
    check(&row("1723161300000,1,2,0.5,1.5,1"), None, &["line 3", "there twice"]);
    check(&row("1723161240000,1,2,0.5,1.5,1"), None, &["line 3", "2024-08-08T23:54:00Z comes after", "oldest first"]);
    check(&row("yesterday,1,2,0.5,1.5,1"), None, &["line 3", "column 1 (open_time)", "`yesterday`", "2024-08-08T23:55:00Z"]);
    check(&row("17,1,2,0.5,1.5,1"), None, &["line 3", "`17` is no time"]);
    check(&row("2024-13-40,1,2,0.5,1.5,1"), None, &["line 3", "no time"]);
    check(&row("2024-08-0é,1,2,0.5,1.5,1"), None, &["line 3", "no time"]);
    check(&row("1723161360000,1,2,0.5,1.5,1"), Some(TimeFrame::H1), &["line 3", "60 s after", "3600 s long"]);
    check(&format!("{HEAD}{}", "x".repeat(5_000)), None, &["line 3", "4096 bytes"]);
    let error = csv::read_from(Cursor::new(b"\xff\xfe1,2"), "bars.csv", None).unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("UTF-8"), "{error}");
    let error = csv::read(Path::new("/nowhere/bars.csv"), None).unwrap_err().to_string();
    assert!(error.contains("open") && error.contains("/nowhere/bars.csv"), "{error}");
}

#[test]
fn a_single_bar_with_a_time_frame_and_bars_without_volume_are_data() {
    let bars = read("1723161300000,1,2,0.5,1.5,0\n", Some(TimeFrame::H1)).unwrap();
    assert_eq!((bars.len(), bars.closed_at(0)), (1, Timestamp::from_millis(1_723_161_300_000 + 3_600_000)));
}

proptest! {
    #[test]
    fn whatever_is_in_a_file_nothing_panics(text in "[0-9a-zA-Z,;.:\\-+ T\n\"é]{0,400}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(read(&text, None));
        drop(read(&format!("open_time,open,high,low,close,volume\n{text}"), Some(TimeFrame::M1)));
        drop(csv::read_from(Cursor::new(&bytes), "x", None));
    }

    #[test]
    fn prices_of_any_scale_come_back_exactly(rows in proptest::collection::vec((1_i64..1_000_000_000, 0_u8..9), 2..40)) {
        let mut text = String::new();
        let mut want = Vec::new();
        for (index, (mantissa, scale)) in rows.iter().enumerate() {
            let price = rust_decimal::Decimal::new(*mantissa, u32::from(*scale)).normalize();
            let time = 1_700_000_000 + 60 * index;
            text.push_str(&format!("{time},{price},{price},{price},{price},{price}\n"));
            want.push(price);
        }
        let bars = read(&text, None).unwrap();
        let got: Vec<_> = (0..bars.len()).map(|row| bars.bar(row).close.to_decimal().normalize()).collect();
        prop_assert_eq!(got, want);
    }
}
