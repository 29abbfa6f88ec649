//! Answers of the market-data calls.

use std::sync::Arc;

use serde_json::{Value, json};

use super::errors::ApiError;
use super::frames;
use super::params::Params;
use crate::candles::Interval;
use crate::config::Venue;
use crate::live::{Aggregate, Live, Symbol, TradeRow};
use crate::units::{self, fixed, quotient, scaled};
use crate::world::World;

/// Rows of one page of klines, trades and aggregates.
const PAGE: usize = 500;
const PAGE_MAX: usize = 1_000;
const DEPTH: usize = 100;
const DEPTH_MAX: usize = 5_000;

/// One call's context.
pub(crate) struct Call<'a> {
    pub world: &'a World,
    pub params: &'a Params,
    /// 1 or, when the client asked for microseconds, 1000.
    pub unit: i64,
}

/// Symbols that a call names: one, several, or all.
pub(crate) enum Named {
    One(Arc<Symbol>),
    Many(Vec<Arc<Symbol>>),
}

impl Call<'_> {
    fn time(&self, symbol: &Symbol, ms: i64) -> i64 {
        // Recorded times stay as they were recorded.
        let skew = if symbol.replayed { 0 } else { self.world.faults.skew_ms(Venue::Binance) };
        (ms + skew) * self.unit
    }

    fn checked(&self, name: &str, parameter: &str) -> Result<Arc<Symbol>, ApiError> {
        let legal = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if name.len() > 20 || !name.bytes().all(legal) {
            return Err(ApiError::illegal(parameter, "^[A-Z0-9-_.]{1,20}$"));
        }
        self.world.binance.symbol(name).cloned().ok_or_else(ApiError::symbol)
    }

    /// The mandatory `symbol`.
    pub(crate) fn symbol(&self) -> Result<Arc<Symbol>, ApiError> {
        let name = self.params.get("symbol").ok_or_else(|| ApiError::missing("symbol"))?;
        self.checked(name, "symbol")
    }

    /// `symbol`, `symbols`, or all.
    pub(crate) fn symbols(&self) -> Result<Named, ApiError> {
        match (self.params.get("symbol"), self.params.get("symbols")) {
            (Some(_), Some(_)) => Err(ApiError::bad(-1128, "Combination of optional parameters invalid.")),
            (Some(name), None) => self.checked(name, "symbol").map(Named::One),
            (None, Some(list)) => {
                let names: Vec<String> = serde_json::from_str(list)
                    .map_err(|_| ApiError::illegal("symbols", r#"^\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\]$"#))?;
                let mut seen = std::collections::BTreeSet::new();
                if names.is_empty() {
                    return Err(ApiError::bad(-1105, "Parameter 'symbols' was empty."));
                }
                if !names.iter().all(|name| seen.insert(name)) {
                    return Err(ApiError::bad(-1151, "Symbol is present multiple times in the list."));
                }
                names.iter().map(|name| self.checked(name, "symbols")).collect::<Result<_, _>>().map(Named::Many)
            }
            (None, None) => Ok(Named::Many(self.world.binance.symbols.clone())),
        }
    }

    fn each(&self, row: impl Fn(&Symbol, &Live) -> Value) -> Result<Value, ApiError> {
        self.params.get("symbolStatus");
        let one = |symbol: &Arc<Symbol>| row(symbol, &symbol.live());
        let named = self.symbols()?;
        self.params.finish()?;
        Ok(match named {
            Named::One(symbol) => one(&symbol),
            Named::Many(symbols) => symbols.iter().map(one).collect(),
        })
    }

    pub(crate) fn time_now(&self) -> i64 {
        self.world.now_ms(Venue::Binance) * self.unit
    }

    pub(crate) fn exchange_info(&self) -> Result<Value, ApiError> {
        let sets = self.params.get("showPermissionSets") != Some("false");
        self.params.get("permissions");
        let status = self.params.get("symbolStatus");
        if status.is_some_and(|status| !["TRADING", "HALT", "BREAK"].contains(&status)) {
            return Err(ApiError::bad(-1122, "Invalid symbolStatus."));
        }
        let symbols = match self.symbols()? {
            Named::One(symbol) => vec![symbol],
            Named::Many(_) if matches!(status, Some("HALT" | "BREAK")) => Vec::new(),
            Named::Many(symbols) => symbols,
        };
        self.params.finish()?;
        let limits = self.world.order_counts.limits();
        Ok(super::info::exchange_info(&symbols, self.time_now(), self.world.config.binance_weight_per_min, limits, sets))
    }

    /// Answer as text: books are long.
    pub(crate) fn depth(&self) -> Result<String, ApiError> {
        let symbol = self.symbol()?;
        let limit = self.params.limit(DEPTH, DEPTH_MAX)?;
        self.params.get("symbolStatus");
        self.params.finish()?;
        let live = symbol.live();
        let mut text = format!("{{\"lastUpdateId\":{},\"bids\":[", live.update);
        frames::levels(&mut text, live.book.levels(crate::market::Side::Bid).take(limit));
        text.push_str("],\"asks\":[");
        frames::levels(&mut text, live.book.levels(crate::market::Side::Ask).take(limit));
        text.push_str("]}");
        Ok(text)
    }

    fn trade_row(&self, symbol: &Symbol, trade: &TradeRow) -> Value {
        json!({
            "id": trade.id,
            "price": fixed(trade.price),
            "qty": fixed(trade.quantity),
            "quoteQty": fixed(trade.amount()),
            "time": self.time(symbol, trade.time_ms()),
            "isBuyerMaker": trade.buyer_is_maker(),
            "isBestMatch": true,
        })
    }

    /// `trades` and, with `fromId`, `historicalTrades`.
    pub(crate) fn trades(&self, historical: bool) -> Result<Value, ApiError> {
        let symbol = self.symbol()?;
        let limit = self.params.limit(PAGE, PAGE_MAX)?;
        let from = if historical { self.params.number("fromId")? } else { None };
        self.params.finish()?;
        let live = symbol.live();
        let rows = match from {
            Some(id) => live.trades_from(u64::try_from(id).unwrap_or(0), limit),
            None => live.trades_last(limit),
        };
        drop(live);
        Ok(rows.iter().map(|trade| self.trade_row(&symbol, trade)).collect())
    }

    pub(crate) fn aggregates(&self) -> Result<Value, ApiError> {
        let symbol = self.symbol()?;
        let limit = self.params.limit(PAGE, PAGE_MAX)?;
        let from = self.params.number("fromId")?;
        let (begin, end) = (self.params.time_ms("startTime")?, self.params.time_ms("endTime")?);
        self.params.finish()?;
        let live = symbol.live();
        let wanted = |each: &&Aggregate| {
            let at = each.trade.time_ms();
            from.is_none_or(|from| i64::try_from(each.id).is_ok_and(|id| id >= from))
                && begin.is_none_or(|begin| at >= begin)
                && end.is_none_or(|end| at <= end)
        };
        let row = |each: &Aggregate| {
            json!({
                "a": each.id, "p": fixed(each.trade.price), "q": fixed(each.trade.quantity), "f": each.trade.id, "l": each.last,
                "T": self.time(&symbol, each.trade.time_ms()), "m": each.trade.buyer_is_maker(), "M": true,
            })
        };
        if from.is_some() || begin.is_some() {
            return Ok(live.aggregates.iter().filter(wanted).take(limit).map(row).collect());
        }
        let mut newest: Vec<Value> = live.aggregates.iter().rev().filter(wanted).take(limit).map(row).collect();
        newest.reverse();
        Ok(newest.into())
    }

    pub(crate) fn klines(&self) -> Result<Value, ApiError> {
        let symbol = self.symbol()?;
        let name = self.params.get("interval").ok_or_else(|| ApiError::missing("interval"))?;
        let interval = Interval::binance(name).ok_or_else(|| ApiError::bad(-1120, "Invalid interval."))?;
        let limit = self.params.limit(PAGE, PAGE_MAX)?;
        let (begin, end) = (self.params.time_ms("startTime")?, self.params.time_ms("endTime")?);
        self.params.get("timeZone");
        self.params.finish()?;
        let live = symbol.live();
        let to = end.unwrap_or(i64::MAX);
        let mut rows = Symbol::candles(&live, interval, begin.unwrap_or(0), to);
        drop(live);
        if begin.is_some() {
            rows.truncate(limit);
        } else {
            rows.drain(..rows.len().saturating_sub(limit));
        }
        let row = |candle: &crate::candles::Candle| {
            json!([
                candle.open_ms * self.unit,
                fixed(candle.open),
                fixed(candle.high),
                fixed(candle.low),
                fixed(candle.close),
                fixed(candle.volume),
                interval.next(candle.open_ms) * self.unit - 1,
                fixed(candle.amount),
                candle.trades,
                fixed(candle.taker_volume),
                fixed(candle.taker_amount),
                "0"
            ])
        };
        Ok(rows.iter().map(row).collect())
    }

    pub(crate) fn ticker_price(&self) -> Result<Value, ApiError> {
        self.each(|symbol, live| json!({ "symbol": &*symbol.name, "price": fixed(live.last_price().unwrap_or(0)) }))
    }

    pub(crate) fn book_ticker(&self) -> Result<Value, ApiError> {
        self.each(|symbol, live| {
            let (bid, ask) = live.top.map_or(((0, 0), (0, 0)), |top| (top.bid, top.ask));
            json!({ "symbol": &*symbol.name, "bidPrice": fixed(bid.0), "bidQty": fixed(bid.1), "askPrice": fixed(ask.0), "askQty": fixed(ask.1) })
        })
    }

    pub(crate) fn average_price(&self) -> Result<Value, ApiError> {
        let symbol = self.symbol()?;
        self.params.finish()?;
        let live = symbol.live();
        let at = live.last.map_or_else(|| self.world.now_ms(Venue::Binance), |trade| trade.time_ms());
        Ok(json!({ "mins": 5, "price": fixed(live.candles.average_5m().unwrap_or(0)), "closeTime": self.time(&symbol, at) }))
    }

    pub(crate) fn day(&self) -> Result<Value, ApiError> {
        let mini = match self.params.get("type") {
            None | Some("FULL") => false,
            Some("MINI") => true,
            Some(_) => return Err(ApiError::invalid("type")),
        };
        self.each(|symbol, live| self.day_row(symbol, live, mini))
    }

    fn day_row(&self, symbol: &Symbol, live: &Live, mini: bool) -> Value {
        let day = live.candles.day().unwrap_or_else(|| crate::candles::Candle::flat(0, live.last_price().unwrap_or(0)));
        let close = live.last.map_or_else(|| self.world.now_ms(Venue::Binance), |trade| trade.time_ms());
        let mut row = json!({
            "symbol": &*symbol.name,
            "openPrice": fixed(day.open),
            "highPrice": fixed(day.high),
            "lowPrice": fixed(day.low),
            "lastPrice": fixed(day.close),
            "volume": fixed(day.volume),
            "quoteVolume": fixed(day.amount),
            "openTime": self.time(symbol, close - 86_400_000),
            "closeTime": self.time(symbol, close),
            "firstId": day.ids.0,
            "lastId": day.ids.1,
            "count": day.trades,
        });
        if !mini {
            let change = day.close - day.open;
            let (bid, ask) = live.top.map_or(((0, 0), (0, 0)), |top| (top.bid, top.ask));
            let more = [
                ("priceChange", fixed(change)),
                ("priceChangePercent", scaled(quotient(change, day.open).saturating_mul(100), 3)),
                ("weightedAvgPrice", fixed(quotient(day.amount, day.volume))),
                ("prevClosePrice", fixed(day.open)),
                ("lastQty", fixed(live.last.map_or(0, |trade| trade.quantity))),
                ("bidPrice", fixed(bid.0)),
                ("bidQty", fixed(bid.1)),
                ("askPrice", fixed(ask.0)),
                ("askQty", fixed(ask.1)),
            ];
            for (name, value) in more {
                row[name] = value.into();
            }
        }
        row
    }

    /// The account, for a key that may or may not trade.
    pub(crate) fn account(&self, can_trade: bool) -> Result<Value, ApiError> {
        let omit = match self.params.get("omitZeroBalances") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(ApiError::invalid("omitZeroBalances")),
        };
        self.params.finish()?;
        let text = |amount: rust_decimal::Decimal| {
            units::parse(&amount.normalize().to_string()).map_or_else(|| amount.to_string(), fixed)
        };
        let balances: Vec<Value> = (self.world.binance.account.balances().iter())
            .filter(|(_, holding)| !omit || !(holding.free + holding.locked).is_zero())
            .map(|(asset, holding)| json!({ "asset": asset, "free": text(holding.free), "locked": text(holding.locked) }))
            .collect();
        Ok(json!({
            "makerCommission": 10,
            "takerCommission": 10,
            "buyerCommission": 0,
            "sellerCommission": 0,
            "commissionRates": { "maker": "0.00100000", "taker": "0.00100000", "buyer": "0.00000000", "seller": "0.00000000" },
            "canTrade": can_trade,
            "canWithdraw": false,
            "canDeposit": true,
            "brokered": false,
            "requireSelfTradePrevention": false,
            "preventSor": false,
            "updateTime": self.time_now(),
            "accountType": "SPOT",
            "balances": balances,
            "permissions": ["SPOT"],
            "uid": 354_937_868,
        }))
    }

    /// What the key may do (`/sapi/v1/account/apiRestrictions`).
    pub(crate) fn restrictions(&self, can_trade: bool) -> Result<Value, ApiError> {
        self.params.finish()?;
        Ok(json!({
            "ipRestrict": false,
            "createTime": self.time_now(),
            "enableReading": true,
            "enableWithdrawals": false,
            "enableInternalTransfer": false,
            "enableMargin": false,
            "enableFutures": false,
            "permitsUniversalTransfer": false,
            "enableVanillaOptions": false,
            "enableFixApiTrade": false,
            "enableFixReadOnly": false,
            "enableSpotAndMarginTrading": can_trade,
            "enablePortfolioMarginTrading": false,
        }))
    }
}
