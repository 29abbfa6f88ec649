//! Frames of the feed: `[type,{…,"type":type}]`. All prices and amounts are texts.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::hub::Frame;
use crate::live::{Live, Symbol, TradeRow};
use crate::units::{self, quotient, scaled, trimmed};

/// Trades that a join begins with.
const TRADES_ON_JOIN: usize = 50;

/// Id of a pair: its place in the list.
pub(crate) fn pair_id(symbols: &[Arc<Symbol>], symbol: &Symbol) -> usize {
    symbols.iter().position(|each| each.name == symbol.name).unwrap_or(0) + 1
}

/// `"A":"…","B":"…",…` of tickers 401 and 402.
pub(crate) fn ticker_fields(symbol: &Symbol, live: &Live, id: usize) -> String {
    let (bid, ask) = live.top.map_or(((0, 0), (0, 0)), |top| (top.bid, top.ask));
    let day = live.candles.day().unwrap_or_else(|| crate::candles::Candle::flat(0, live.last_price().unwrap_or(0)));
    let change = day.close - day.open;
    format!(
        r#""B":"{}","A":"{}","BA":"{}","AA":"{}","PS":"{}","H":"{}","L":"{}","LA":"{}","O":"{}","V":"{}","AV":"{}0000","D":"{}","DP":"{}","DS":"{}","NS":"{}","PId":{id}"#,
        trimmed(bid.0),
        trimmed(ask.0),
        trimmed(bid.1),
        trimmed(ask.1),
        symbol.name,
        trimmed(day.high),
        trimmed(day.low),
        trimmed(day.close),
        trimmed(day.open),
        trimmed(day.volume),
        units::fixed(quotient(day.amount, day.volume)),
        trimmed(change),
        scaled(quotient(change, day.open).saturating_mul(100), 2),
        symbol.config.quote,
        symbol.config.base,
    )
}

/// 402.
pub(crate) fn ticker(symbol: &Symbol, fields: &str) -> Frame {
    let text = format!(r#"[402,{{{fields},"channel":"ticker","event":"{}","type":402}}]"#, symbol.name);
    Frame::whole(&symbol.topics.top, text)
}

/// 401.
pub(crate) fn tickers(topic: &Arc<str>, items: &[String]) -> Frame {
    let items: Vec<String> = items.iter().map(|fields| format!("{{{fields}}}")).collect();
    Frame::whole(topic, format!(r#"[401,{{"items":[{}],"channel":"ticker","event":"all","type":401}}]"#, items.join(",")))
}

fn trade_fields(trade: &TradeRow, skew_ms: i64) -> String {
    let at = trade.time_ms() + skew_ms;
    let side = u8::from(trade.buyer_is_maker());
    format!(r#""D":"{at}","I":"{}","A":"{}","P":"{}","S":{side}"#, trade.id, trimmed(trade.quantity), trimmed(trade.price))
}

/// 422.
pub(crate) fn trade(symbol: &Symbol, trade: &TradeRow, skew_ms: i64) -> Frame {
    let text = format!(
        r#"[422,{{{},"PS":"{name}","channel":"trade","event":"{name}","type":422}}]"#,
        trade_fields(trade, skew_ms),
        name = symbol.name
    );
    Frame::whole(&symbol.topics.trade, text)
}

/// 421: the last trades, newest first.
pub(crate) fn trades(symbol: &Symbol, live: &Live, skew_ms: i64) -> Frame {
    let items: Vec<String> =
        live.trades.iter().rev().take(TRADES_ON_JOIN).map(|trade| format!("{{{}}}", trade_fields(trade, skew_ms))).collect();
    let text = format!(
        r#"[421,{{"symbol":"{name}","items":[{}],"channel":"trade","event":"{name}","type":421}}]"#,
        items.join(","),
        name = symbol.name
    );
    Frame::whole(&symbol.topics.trade, text)
}

fn rows(levels: &[(i64, i64)]) -> String {
    let mut text = String::with_capacity(levels.len() * 32);
    for (index, (price, amount)) in levels.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing into a String cannot fail.
        let _ = write!(text, r#"{comma}{{"A":"{}","P":"{}"}}"#, trimmed(*amount), trimmed(*price));
    }
    text
}

/// 431.
pub(crate) fn book(
    symbol: &Symbol,
    topic: &Arc<str>,
    channel: &str,
    sequence: u64,
    asks: &[(i64, i64)],
    bids: &[(i64, i64)],
) -> Frame {
    let text = format!(
        r#"[431,{{"CS":{sequence},"PS":"{name}","AO":[{}],"BO":[{}],"channel":"{channel}","event":"{name}","type":431}}]"#,
        rows(asks),
        rows(bids),
        name = symbol.name
    );
    Frame::whole(topic, text)
}

/// What became of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// 0 amount set, 1 new, 3 gone.
    pub kind: u8,
    /// Price.
    pub price: i64,
    /// Amount; the last one for a level that is gone.
    pub amount: i64,
}

fn change_rows(changes: &[Change]) -> String {
    let row =
        |change: &Change| format!(r#"{{"CP":{},"P":"{}","A":"{}"}}"#, change.kind, trimmed(change.price), trimmed(change.amount));
    changes.iter().map(row).collect::<Vec<_>>().join(",")
}

/// The part of a 432 that is the same for all subscriptions.
pub(crate) fn difference_tail(symbol: &Symbol, asks: &[Change], bids: &[Change]) -> String {
    format!(
        r#""PS":"{name}","AO":[{}],"BO":[{}],"channel":"obdiff","event":"{name}","type":432}}]"#,
        change_rows(asks),
        change_rows(bids),
        name = symbol.name
    )
}

/// 432.
pub(crate) fn difference(symbol: &Symbol, sequence: u64, tail: &str) -> Frame {
    Frame::whole(&symbol.topics.depth_fast, format!(r#"[432,{{"CS":{sequence},{tail}"#))
}
