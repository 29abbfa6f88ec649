use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use spark_bus_schema::market::{Quote, Side, Trade};
use spark_bus_schema::{Fixed, Timestamp};

use super::parser::{Frame, Parser};
use crate::frame::{FRAME_BYTES_MAX, Update};

const TRADE: &str = r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}"#;
const QUOTE: &str = r#"{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000","a":"61837.64000000","A":"0.00000000"}}"#;
const AT: Timestamp = Timestamp::from_millis(1_723_161_254_087);

fn parser() -> Parser {
    Parser::new(&["ETHUSDT", "BTCUSDT"])
}

fn fixed(text: &str) -> Fixed {
    Fixed::parse(text).unwrap()
}

/// Outcome in one word: the reason of a rejection, or what the frame is.
fn outcome(frame: &[u8]) -> String {
    match parser().parse(frame, AT) {
        Ok(Frame::Update(_, Update::Trade(_))) => "trade".to_owned(),
        Ok(Frame::Update(_, Update::Quote(_))) => "quote".to_owned(),
        Ok(Frame::Answer { ok }) => format!("answer {ok}"),
        Ok(Frame::ServerShutdown) => "shutdown".to_owned(),
        Ok(Frame::Other) => "other".to_owned(),
        Err(error) => error.reason().to_owned(),
    }
}

/// Recorded frames lie beside the project, not in it.
fn recordings() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    assert!(folder.join("binance/ws_raw").is_dir(), "no recordings in {}", folder.display());
    folder
}

#[test]
fn the_two_frames_give_exact_values() {
    let trade = Trade {
        trade_id: 3_735_683_259,
        occurred_at: Timestamp::from_millis(1_723_161_255_342),
        received_at: AT,
        price: fixed("61837.63"),
        quantity: fixed("0.02"),
        side: Side::Sell,
    };
    assert_eq!(parser().parse(TRADE.as_bytes(), AT).unwrap(), Frame::Update(1, Update::Trade(trade)));
    let quote = Quote {
        update_id: 50_093_239_212,
        received_at: AT,
        bid_price: fixed("61837.63"),
        bid_quantity: fixed("3.78826"),
        ask_price: fixed("61837.64"),
        ask_quantity: Fixed::ZERO,
    };
    assert_eq!(parser().parse(QUOTE.as_bytes(), AT).unwrap(), Frame::Update(1, Update::Quote(quote)));
}

#[test]
fn garbage_is_refused_with_its_reason_and_other_frames_are_let_through() {
    let check = |frame: &str, want: &str| assert_eq!(outcome(frame.as_bytes()), want, "{frame}");
    check(TRADE, "trade");
    check(QUOTE, "quote");
    for (from, to, want) in [
        ("\"61837.63000000\"", "\"NaN\"", "value"),
        ("\"61837.63000000\"", "NaN", "malformed"),
        ("\"61837.63000000\"", "61837.63", "malformed"),
        ("\"61837.63000000\"", "\"-61837.63\"", "value"),
        ("\"61837.63000000\"", "\"0.00000000\"", "value"),
        ("\"61837.63000000\"", "\"1e5\"", "value"),
        ("\"61837.63000000\"", "\"inf\"", "value"),
        ("\"61837.63000000\"", "\"\"", "value"),
        ("\"61837.63000000\"", "\"99999999999999999999\"", "value"),
        ("\"61837.63000000\"", "null", "malformed"),
        ("\"q\":\"0.02000000\"", "\"q\":\"0\"", "value"),
        ("\"q\":\"0.02000000\",", "", "malformed"),
        ("\"t\":3735683259", "\"t\":-1", "malformed"),
        ("\"t\":3735683259", "\"t\":0", "value"),
        ("\"t\":3735683259", "\"t\":1.5", "malformed"),
        ("\"t\":3735683259", "\"t\":99999999999999999999999", "malformed"),
        ("\"T\":1723161255342", "\"T\":1723161255", "value"),
        ("\"T\":1723161255342", "\"T\":1723161255342000", "value"),
        ("\"m\":true", "\"m\":1", "malformed"),
        ("\"s\":\"BTCUSDT\"", "\"s\":\"ETHUSDT\"", "wrong_symbol"),
        ("btcusdt@trade", "dogeusdt@trade", "wrong_symbol"),
        ("\"e\":\"trade\"", "\"e\":\"aggTrade\"", "value"),
        ("}}", "}", "malformed"),
        ("}}", "}}x", "malformed"),
    ] {
        let frame = TRADE.replace(from, to);
        assert_ne!(frame, TRADE, "{from}");
        check(&frame, want);
    }
    for (from, to, want) in [
        ("\"b\":\"61837.63000000\"", "\"b\":\"-1\"", "value"),
        ("\"a\":\"61837.64000000\"", "\"a\":\"0.00000000\"", "value"),
        ("\"B\":\"3.78826000\"", "\"B\":\"-3\"", "value"),
        ("\"u\":50093239212,", "", "malformed"),
    ] {
        check(&QUOTE.replace(from, to), want);
    }
    check("", "malformed");
    check("[1,2]", "malformed");
    check("{\"lastUpdateId\":1,\"bids\":[],\"asks\":[]}", "other");
    check("{\"stream\":\"btcusdt@depth@100ms\",\"data\":{\"e\":\"depthUpdate\"}}", "other");
    check("{\"result\":null,\"id\":1}", "answer true");
    check("{\"code\":2,\"msg\":\"Invalid request\",\"id\":1}", "answer false");
    check("{\"e\":\"serverShutdown\",\"E\":1}", "shutdown");
    check("{\"stream\":\"!serverShutdown\",\"data\":{\"e\":\"serverShutdown\",\"E\":1}}", "shutdown");
    assert_eq!(outcome(&vec![b' '; FRAME_BYTES_MAX + 1]), "too_large");
    assert_eq!(outcome(b"{\"stream\":\"\xff\xfe\"}"), "malformed");
}

#[test]
fn another_layout_of_the_same_json_means_the_same() {
    let spaced = TRADE.replace(':', " : ").replace(',', " ,\n");
    assert_eq!(parser().parse(spaced.as_bytes(), AT).unwrap(), parser().parse(TRADE.as_bytes(), AT).unwrap());
    let older = TRADE.replace("\"T\":", "\"b\":88,\"a\":50,\"T\":");
    assert_eq!(parser().parse(older.as_bytes(), AT).unwrap(), parser().parse(TRADE.as_bytes(), AT).unwrap());
}

#[test]
fn every_recorded_frame_parses_to_the_recorded_values_by_both_paths() {
    let folder = recordings();
    let parser = Parser::new(&["BTCUSDT", "ETHUSDT"]);
    let (mut trades, mut quotes) = (Vec::new(), 0);
    for file in ["btcusdt_20240808.gz", "btcusdt_20240809.gz"] {
        let file = std::fs::File::open(folder.join("binance/ws_raw").join(file)).unwrap();
        for line in BufReader::new(flate2::read::GzDecoder::new(file)).lines() {
            let line = line.unwrap();
            let (at, frame) = line.split_once(' ').unwrap();
            let at = Timestamp::from_nanos(at.parse().unwrap());
            let parsed = parser.parse(frame.as_bytes(), at).unwrap();
            assert_eq!(parsed, parser.parse_any(frame.as_bytes(), at).unwrap(), "{frame}");
            match parsed {
                Frame::Update(0, Update::Trade(trade)) => trades.push(trade),
                Frame::Update(0, Update::Quote(_)) => quotes += 1,
                Frame::Other => {}
                other => panic!("{other:?}: {frame}"),
            }
        }
    }
    assert_eq!((trades.len(), quotes), (19_904, 73_174));
    let csv = std::fs::read_to_string(folder.join("binance/trades/BTCUSDT_trades_2024-08-08_09.csv")).unwrap();
    let rows: Vec<Trade> = csv.lines().skip(1).map(recorded).collect();
    assert_eq!(trades, rows);
}

/// `trade_id,price,qty,trade_time_ms,event_time_ms,is_buyer_maker,local_recv_ns`
fn recorded(line: &str) -> Trade {
    let cells: Vec<&str> = line.split(',').collect();
    Trade {
        trade_id: cells[0].parse().unwrap(),
        occurred_at: Timestamp::from_millis(cells[3].parse().unwrap()),
        received_at: Timestamp::from_nanos(cells[6].parse().unwrap()),
        price: fixed(cells[1]),
        quantity: fixed(cells[2]),
        side: if cells[5] == "true" { Side::Sell } else { Side::Buy },
    }
}

/// `cargo test --release -p spark-feed parse_rate -- --ignored --nocapture`
#[test]
#[ignore = "a measurement: run in release"]
fn parse_rate() {
    let parser = Parser::new(&["BTCUSDT", "ETHUSDT"]);
    let frames = [TRADE.as_bytes(), QUOTE.as_bytes()];
    for (name, any) in [("scanner", false), ("serde", true)] {
        let (rounds, start) = (1_000_000_u32, std::time::Instant::now());
        for round in 0..rounds {
            let frame = std::hint::black_box(frames[(round % 2) as usize]);
            let parsed = if any { parser.parse_any(frame, AT) } else { parser.parse(frame, AT) };
            std::hint::black_box(parsed.unwrap());
        }
        println!("{name}: {:.2} M frames/s", f64::from(rounds) / start.elapsed().as_secs_f64() / 1e6);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parser().parse(&bytes, AT);
    }

    /// The scanner must never accept, or read, anything otherwise than serde does.
    #[test]
    fn a_damaged_frame_means_the_same_by_both_paths(
        quote in any::<bool>(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 0..4),
    ) {
        let mut frame = if quote { QUOTE.as_bytes().to_vec() } else { TRADE.as_bytes().to_vec() };
        let alphabet = b"0123456789\"\\{}[],:.-eE tmMsbBaAu";
        for (at, kind, byte) in damages {
            let at = at.index(frame.len());
            let byte = if byte < 200 { alphabet[usize::from(byte) % alphabet.len()] } else { byte };
            match kind {
                0 => frame[at] = byte,
                1 if frame.len() > 1 => { frame.remove(at); }
                1 => {}
                2 => frame.insert(at, byte),
                _ => frame.truncate(at.max(1)),
            }
        }
        let both = [parser().parse(&frame, AT), parser().parse_any(&frame, AT)];
        let [fast, slow] = both.map(|parsed| parsed.map_err(|error| error.reason()));
        prop_assert_eq!(fast, slow, "{}", String::from_utf8_lossy(&frame));
    }

    #[test]
    fn any_numbers_mean_the_same_by_both_paths(
        id in any::<u64>(), time in any::<i64>(), whole in any::<u32>(), fraction in "[0-9]{0,12}", maker in any::<bool>(),
    ) {
        let frame = format!(
            r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1,"s":"BTCUSDT","t":{id},"p":"{whole}.{fraction}","q":"{whole}","T":{time},"m":{maker},"M":true}}}}"#
        );
        let both = [parser().parse(frame.as_bytes(), AT), parser().parse_any(frame.as_bytes(), AT)];
        let [fast, slow] = both.map(|parsed| parsed.map_err(|error| error.to_string()));
        prop_assert_eq!(fast, slow, "{}", frame);
    }
}
