//! Stream payloads, written by hand in the exchange's field order.

use std::fmt::Write as _;

use crate::candles::{Candle, Interval};
use crate::hub::Frame;
use crate::live::{Aggregate, Changes, Symbol, Top, TradeRow};
use crate::units::fixed;

/// `<s>@trade`.
pub(crate) fn trade(symbol: &Symbol, trade: &TradeRow, skew_ms: i64) -> Frame {
    let at = trade.time_ms() + skew_ms;
    let data = format!(
        r#"{{"e":"trade","E":{at},"s":"{}","t":{},"p":"{}","q":"{}","T":{at},"m":{},"M":true}}"#,
        symbol.name,
        trade.id,
        fixed(trade.price),
        fixed(trade.quantity),
        trade.buyer_is_maker()
    );
    Frame::combined(&symbol.topics.trade, &data)
}

/// `<s>@aggTrade`.
pub(crate) fn aggregate(symbol: &Symbol, aggregate: &Aggregate, now_ms: i64) -> Frame {
    let trade = &aggregate.trade;
    let data = format!(
        r#"{{"e":"aggTrade","E":{now_ms},"s":"{}","a":{},"p":"{}","q":"{}","f":{},"l":{},"T":{},"m":{},"M":true}}"#,
        symbol.name,
        aggregate.id,
        fixed(trade.price),
        fixed(trade.quantity),
        trade.id,
        aggregate.last,
        trade.time_ms(),
        trade.buyer_is_maker()
    );
    Frame::combined(&symbol.topics.aggregate, &data)
}

/// `<s>@bookTicker`: has no event type and no time.
pub(crate) fn top(symbol: &Symbol, top: &Top) -> Frame {
    let data = format!(
        r#"{{"u":{},"s":"{}","b":"{}","B":"{}","a":"{}","A":"{}"}}"#,
        top.update,
        symbol.name,
        fixed(top.bid.0),
        fixed(top.bid.1),
        fixed(top.ask.0),
        fixed(top.ask.1)
    );
    Frame::combined(&symbol.topics.top, &data)
}

/// `<s>@depth` and `<s>@depth@100ms`.
pub(crate) fn depth(symbol: &Symbol, topic: &std::sync::Arc<str>, changes: &Changes, now_ms: i64) -> Frame {
    let mut data =
        format!(r#"{{"e":"depthUpdate","E":{now_ms},"s":"{}","U":{},"u":{},"b":["#, symbol.name, changes.first, changes.last);
    levels(&mut data, changes.bids.iter().rev().map(|(price, quantity)| (*price, *quantity)));
    data.push_str(r#"],"a":["#);
    levels(&mut data, changes.asks.iter().map(|(price, quantity)| (*price, *quantity)));
    data.push_str("]}");
    Frame::combined(topic, &data)
}

/// `["price","quantity"]` rows.
pub(crate) fn levels(text: &mut String, levels: impl Iterator<Item = (i64, i64)>) {
    for (index, (price, quantity)) in levels.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing into a String cannot fail.
        let _ = write!(text, r#"{comma}["{}","{}"]"#, fixed(price), fixed(quantity));
    }
}

/// `<s>@kline_<interval>`.
pub(crate) fn kline(
    symbol: &Symbol,
    topic: &std::sync::Arc<str>,
    name: &str,
    interval: Interval,
    candle: &Candle,
    closed: bool,
    now_ms: i64,
) -> Frame {
    // Without a trade Binance says -1.
    let id = |id: u64| if candle.trades == 0 || id == 0 { "-1".to_owned() } else { id.to_string() };
    let data = format!(
        r#"{{"e":"kline","E":{now_ms},"s":"{s}","k":{{"t":{},"T":{},"s":"{s}","i":"{name}","f":{},"L":{},"o":"{}","c":"{}","h":"{}","l":"{}","v":"{}","n":{},"x":{closed},"q":"{}","V":"{}","Q":"{}","B":"0"}}}}"#,
        candle.open_ms,
        interval.next(candle.open_ms) - 1,
        id(candle.ids.0),
        id(candle.ids.1),
        fixed(candle.open),
        fixed(candle.close),
        fixed(candle.high),
        fixed(candle.low),
        fixed(candle.volume),
        candle.trades,
        fixed(candle.amount),
        fixed(candle.taker_volume),
        fixed(candle.taker_amount),
        s = symbol.name,
    );
    Frame::combined(topic, &data)
}
