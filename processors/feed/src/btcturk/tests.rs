use std::path::Path;

use proptest::prelude::*;
use spark_bus_schema::market::Side;
use spark_bus_schema::{Fixed, Timestamp};

use super::*;
use crate::venue::Sink;

/// 2026-09-23, after every id used here.
const AT: Timestamp = Timestamp::from_millis(1_790_133_600_000);
const ID: u64 = 639_257_304_000_000_000;

fn feed(source: QuoteSource) -> Feed {
    let mut feed = Feed::new("ws://127.0.0.1:1", &["BTCUSDT".to_owned(), "ETHUSDT".to_owned()], source);
    feed.subscribe();
    feed
}

fn row(id: u64, side: u8, price: &str) -> String {
    format!(r#"{{"D":"1790133000000","I":"{id}","A":"0.5","P":"{price}","S":{side},"PS":"BTCUSDT"}}"#)
}

fn single(id: u64, side: u8, price: &str) -> String {
    format!(
        r#"[422,{{"D":"1790133000000","I":"{id}","A":"0.5","P":"{price}","PS":"BTCUSDT","S":{side},"channel":"trade","event":"BTCUSDT","type":422}}]"#
    )
}

fn book(change_set: u64) -> String {
    format!(
        r#"[431,{{"CS":{change_set},"PS":"BTCUSDT","AO":[{{"A":"1","P":"101"}},{{"A":"2","P":"102"}}],"BO":[{{"A":"3","P":"99"}},{{"A":"4","P":"98"}}],"channel":"obdiff","event":"BTCUSDT","type":431}}]"#
    )
}

fn diff(change_set: u64, asks: &str, bids: &str) -> String {
    format!(
        r#"[432,{{"CS":{change_set},"PS":"BTCUSDT","AO":[{asks}],"BO":[{bids}],"channel":"obdiff","event":"BTCUSDT","type":432}}]"#
    )
}

fn best(sink: &mut Sink) -> Vec<(String, String)> {
    sink.taken(0).1.iter().map(|quote| (quote.bid_price.to_string(), quote.ask_price.to_string())).collect()
}

fn pair(bid: &str, ask: &str) -> (String, String) {
    (bid.to_owned(), ask.to_owned())
}

#[test]
fn every_recorded_frame_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/btcturk/ws/frames.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else { return eprintln!("no recording at {}", path.display()) };
    let parser = Parser::new(&["BTCUSDT", "ETHUSDT", "ADATRY", "BTCTRY"]);
    let mut kinds = Vec::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let frame = parser.parse(line["frame"].to_string().as_bytes(), AT).unwrap();
        kinds.push(match frame {
            Frame::Greeting => "greeting".to_owned(),
            Frame::Answer { ok, message } => format!("{ok} {message}"),
            Frame::Quotes(quotes) => format!("ticker {} {}", quotes[0].1.bid_price, quotes[0].1.ask_price),
            Frame::Book { change_set, bids, asks, .. } => format!("book {change_set} {} {}", bids[0].0, asks[0].0),
            Frame::Changes { change_set, .. } => format!("changes {change_set}"),
            Frame::Other(kind) => format!("other {kind}"),
            Frame::Trades(..) => "trades".to_owned(),
        });
    }
    let want = [
        "greeting",
        "other 151",
        "true join|obdiff:BTCUSDT",
        "book 3999242 86689 86699",
        "changes 4097621",
        "changes 4008255",
        "false join|obdiff:BTCUSDT",
        "ticker 86689 86699",
        "ticker 34.706 34.738",
        "book 461280 5168031 5171945",
    ];
    assert_eq!(kinds, want);
}

#[test]
fn the_list_on_joining_is_put_into_the_order_of_its_ids() {
    let mut sink = Sink::new(2);
    let rows = [row(ID + 2, 0, "100"), row(ID, 1, "101.5"), row(ID + 1, 0, "102"), row(ID, 1, "101.5")].join(",");
    let list = format!(r#"[421,{{"symbol":"BTCUSDT","items":[{rows}],"channel":"trade","event":"BTCUSDT","type":421}}]"#);
    feed(QuoteSource::Book).frame(list.as_bytes(), AT, &mut sink).unwrap();
    let (trades, _) = sink.taken(0);
    let got: Vec<(u64, Side, Fixed)> = trades.iter().map(|trade| (trade.trade_id - ID, trade.side, trade.price)).collect();
    let fixed = |text: &str| Fixed::parse(text).unwrap();
    assert_eq!(got, [(0, Side::Sell, fixed("101.5")), (1, Side::Buy, fixed("102")), (2, Side::Buy, fixed("100"))]);
}

#[test]
fn garbage_is_refused_and_unknown_types_are_ignored() {
    let check = |frame: &str, want: Option<&str>| {
        let mut sink = Sink::new(2);
        let got = feed(QuoteSource::Book).frame(frame.as_bytes(), AT, &mut sink).err();
        assert_eq!(got.as_ref().map(crate::frame::FrameError::reason), want, "{frame}");
    };
    check(&single(ID, 0, "100"), None);
    check(&single(ID, 2, "100"), Some("value"));
    check(&single(ID, 0, "NaN"), Some("value"));
    check(&single(ID, 0, "-1"), Some("value"));
    check(&single(ID, 0, "0"), Some("value"));
    check(&single(u64::MAX, 0, "100"), Some("value"));
    check(&single(ID + 864_000_000_000_000, 0, "100"), Some("value"));
    check(&single(ID, 0, "100").replace("1790133000000", "soon"), Some("value"));
    check(&single(ID, 0, "100").replace("\"PS\":\"BTCUSDT\"", "\"PS\":\"XRPTRY\""), Some("wrong_symbol"));
    check(&single(ID, 0, "100").replace("\"P\":\"100\",", ""), Some("malformed"));
    check("[9999,{\"type\":9999}]", None);
    check("[991,{\"type\":991,\"current\":\"6.0.0\",\"min\":\"2.3.0\"}]", None);
    check("[100,{\"type\":100,\"ok\":false,\"message\":\"join|trade:BTCUSDT\"}]", None);
    check("[]", Some("malformed"));
    check("{\"type\":151}", Some("malformed"));
    check("nonsense", Some("malformed"));
    check(&diff(2, r#"{"CP":7,"P":"1","A":"1"}"#, ""), Some("value"));
}

#[test]
fn identical_tickers_give_one_quote_and_other_pairs_none() {
    let ticker = |bid: &str| {
        format!(
            r#"[402,{{"B":"{bid}","A":"101","BA":"1","AA":"2","PS":"BTCUSDT","channel":"ticker","event":"BTCUSDT","type":402}}]"#
        )
    };
    let all = r#"[401,{"items":[{"B":"99","A":"101","BA":"1","AA":"2","PS":"BTCUSDT"},{"B":"1","A":"2","BA":"1","AA":"2","PS":"XRPTRY"}],"channel":"ticker","event":"all","type":401}]"#;
    let mut feed = feed(QuoteSource::Ticker);
    let mut sink = Sink::new(2);
    for frame in [ticker("100"), ticker("100"), ticker("100"), all.to_owned(), ticker("99"), ticker("100")] {
        feed.frame(frame.as_bytes(), AT, &mut sink).unwrap();
    }
    assert_eq!(best(&mut sink), [pair("100", "101"), pair("99", "101"), pair("100", "101")]);
    // A second later it is news that the price still holds.
    feed.frame(ticker("100").as_bytes(), AT + std::time::Duration::from_millis(999), &mut sink).unwrap();
    assert_eq!(best(&mut sink), []);
    feed.frame(ticker("100").as_bytes(), AT + std::time::Duration::from_secs(1), &mut sink).unwrap();
    assert_eq!(best(&mut sink), [pair("100", "101")]);
}

#[test]
fn the_best_of_the_book_follows_its_changes() {
    let mut feed = feed(QuoteSource::Book);
    let mut sink = Sink::new(2);
    let frames = [
        book(10),
        diff(11, r#"{"CP":1,"P":"100.5","A":"1"}"#, ""),
        diff(12, r#"{"CP":1,"P":"103","A":"1"}"#, ""),
        diff(13, r#"{"CP":3,"P":"100.50","A":"1"}"#, r#"{"CP":3,"P":"99","A":"3"}"#),
        diff(14, "", r#"{"CP":0,"P":"98","A":"0"}"#),
        diff(15, "", r#"{"CP":1,"P":"97","A":"2"}"#),
    ];
    for frame in &frames {
        assert!(matches!(feed.frame(frame.as_bytes(), AT, &mut sink), Ok(Reaction::None)), "{frame}");
    }
    assert_eq!(best(&mut sink), [pair("99", "101"), pair("99", "100.5"), pair("98", "101"), pair("97", "101")]);
}

#[test]
fn a_missing_change_makes_the_book_be_subscribed_again_and_nothing_is_quoted_until_it_came() {
    let mut feed = feed(QuoteSource::Book);
    let mut sink = Sink::new(2);
    feed.frame(book(10).as_bytes(), AT, &mut sink).unwrap();
    best(&mut sink);
    let Ok(Reaction::Send(commands)) = feed.frame(diff(12, "", r#"{"CP":1,"P":"100","A":"1"}"#).as_bytes(), AT, &mut sink) else {
        panic!("a gap asks for the book again");
    };
    assert!(commands[0].contains("\"join\":false") && commands[1].contains("\"join\":true"), "{commands:?}");
    assert!(commands.iter().all(|command| command.contains("\"obdiff\"") && command.contains("BTCUSDT")), "{commands:?}");
    // Changes of the old subscription are still under way.
    assert!(matches!(feed.frame(diff(13, "", "").as_bytes(), AT, &mut sink), Ok(Reaction::None)));
    assert_eq!(best(&mut sink), []);
    feed.frame(book(5).as_bytes(), AT, &mut sink).unwrap();
    assert_eq!(best(&mut sink), [], "the same as before the gap");
    feed.frame(diff(6, "", r#"{"CP":1,"P":"100","A":"1"}"#).as_bytes(), AT, &mut sink).unwrap();
    assert_eq!(best(&mut sink), [pair("100", "101")]);
    // No full book ever came: it is asked for again.
    feed.subscribe();
    assert!(matches!(feed.frame(diff(7, "", "").as_bytes(), AT, &mut sink), Ok(Reaction::None)));
    let later = AT + std::time::Duration::from_secs(6);
    assert!(matches!(feed.frame(diff(8, "", "").as_bytes(), later, &mut sink), Ok(Reaction::Send(_))));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 400_u32..440) {
        let parser = Parser::new(&["BTCUSDT"]);
        let _ = parser.parse(&bytes, AT);
        let body = String::from_utf8_lossy(&bytes).into_owned();
        let _ = parser.parse(format!("[{kind},{body}]").as_bytes(), AT);
    }

    #[test]
    fn a_damaged_frame_never_panics_the_book(cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut feed = feed(QuoteSource::Book);
        let mut sink = Sink::new(2);
        for frame in [book(1), diff(2, r#"{"CP":1,"P":"100","A":"1"}"#, ""), single(ID, 0, "100")] {
            let mut bytes = frame.into_bytes();
            let at = cut.index(bytes.len());
            bytes[at] = byte;
            let _ = feed.frame(&bytes, AT, &mut sink);
        }
    }
}
