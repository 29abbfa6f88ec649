//! Answers of the REST calls. Number types are as mixed as the exchange's: tickers are numbers, books and trades texts.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{board, frames};
use crate::candles::{Candle, Interval};
use crate::config::Venue;
use crate::live::{Live, Symbol};
use crate::market::Side;
use crate::units::{float, quotient, scaled};
use crate::world::World;

const TRADES: usize = 50;
const TRADES_MAX: usize = 1_000;
const DAILY_MAX: usize = 1_000;
const DAY: Interval = Interval::Fixed(86_400_000);

/// What a call failed with: HTTP 400, message, code.
pub(crate) type Refusal = (String, i32);

pub(crate) fn invalid() -> Refusal {
    ("INVALID_REQUEST_ERROR".to_owned(), 1037)
}

/// One call's context.
pub(crate) struct Call<'a> {
    pub world: &'a World,
    pub query: &'a HashMap<String, String>,
}

pub(crate) fn normalized(symbol: &Symbol) -> String {
    format!("{}_{}", symbol.config.base, symbol.config.quote)
}

/// Decimals of a price: TRY pairs show at least two.
fn price_scale(symbol: &Symbol) -> usize {
    symbol.config.price_scale().max(if symbol.config.quote == "TRY" { 2 } else { 0 })
}

fn day_of(live: &Live) -> Candle {
    live.candles.day().unwrap_or_else(|| Candle::flat(0, live.last_price().unwrap_or(0)))
}

impl Call<'_> {
    pub(crate) fn now_ms(&self) -> i64 {
        self.world.now_ms(Venue::Btcturk)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn number(&self, name: &str, usual: usize, most: usize) -> Result<usize, Refusal> {
        self.get(name).map_or(Ok(usual), |text| text.parse::<usize>().map(|number| number.min(most)).map_err(|_| invalid()))
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Symbol>> {
        self.world.btcturk.symbol(&name.replace('_', ""))
    }

    pub(crate) fn pair(&self, parameter: &str) -> Result<&Arc<Symbol>, Refusal> {
        let name = self.get(parameter).ok_or_else(invalid)?;
        self.find(name).ok_or_else(|| (format!("Pair {name} does not exists."), 1037))
    }

    /// No envelope.
    pub(crate) fn time(&self) -> Value {
        let now = self.now_ms();
        json!({ "serverTime": now, "serverTime2": iso(now) })
    }

    pub(crate) fn tickers(&self) -> Value {
        let symbols = &self.world.btcturk.symbols;
        match self.get("pairSymbol") {
            // An unknown pair is an empty list and no error.
            Some(name) => self.find(name).map(|symbol| self.ticker(symbol)).into_iter().collect(),
            None => symbols.iter().map(|symbol| self.ticker(symbol)).collect(),
        }
    }

    pub(crate) fn tickers_of_currency(&self) -> Value {
        let wanted = self.get("symbol").unwrap_or_default();
        let fits = |symbol: &&Arc<Symbol>| {
            symbol.config.base.eq_ignore_ascii_case(wanted) || symbol.config.quote.eq_ignore_ascii_case(wanted)
        };
        self.world.btcturk.symbols.iter().filter(fits).map(|symbol| self.ticker(symbol)).collect()
    }

    fn ticker(&self, symbol: &Symbol) -> Value {
        let live = symbol.live();
        let day = day_of(&live);
        let (bid, ask) = live.top.map_or((0, 0), |top| (top.bid.0, top.ask.0));
        let change = day.close - day.open;
        let percent: f64 = scaled(quotient(change, day.open).saturating_mul(100), 2).parse().unwrap_or(0.0);
        json!({
            "pair": &*symbol.name,
            "pairNormalized": normalized(symbol),
            "timestamp": self.now_ms(),
            "last": float(day.close),
            "high": float(day.high),
            "low": float(day.low),
            "bid": float(bid),
            "ask": float(ask),
            "open": float(day.open),
            "volume": float(day.volume),
            "average": float(quotient(day.amount, day.volume)),
            "daily": float(change),
            "dailyPercent": percent,
            "denominatorSymbol": symbol.config.quote,
            "numeratorSymbol": symbol.config.base,
            "order": 1000 + frames::pair_id(&self.world.btcturk.symbols, symbol),
        })
    }

    pub(crate) fn orderbook(&self) -> Result<Value, Refusal> {
        let symbol = self.pair("pairSymbol")?;
        let limit = self.number("limit", board::LEVELS, board::LEVELS)?.max(1);
        let live = symbol.live();
        let scale = price_scale(symbol);
        let side = |side| {
            live.book
                .levels(side)
                .take(limit)
                .map(|(price, amount)| json!([scaled(price, scale), scaled(amount, 8)]))
                .collect::<Vec<_>>()
        };
        Ok(json!({ "timestamp": self.now_ms(), "bids": side(Side::Bid), "asks": side(Side::Ask) }))
    }

    pub(crate) fn trades(&self) -> Result<Value, Refusal> {
        let symbol = self.pair("pairSymbol")?;
        let last = self.number("last", TRADES, TRADES_MAX)?;
        let live = symbol.live();
        let skew = self.world.faults.skew_ms(Venue::Btcturk);
        let scale = price_scale(symbol);
        let row = |trade: &crate::live::TradeRow| {
            json!({
                "pair": &*symbol.name,
                "pairNormalized": normalized(symbol),
                "numerator": symbol.config.base,
                "denominator": symbol.config.quote,
                "date": trade.time_ms() + skew,
                "tid": trade.id.to_string(),
                "price": scaled(trade.price, scale),
                "amount": scaled(trade.quantity, 8),
                "side": if trade.buyer_is_maker() { "sell" } else { "buy" },
            })
        };
        Ok(live.trades.iter().rev().take(last).map(row).collect())
    }

    pub(crate) fn daily(&self) -> Result<Value, Refusal> {
        let symbol = self.pair("pairSymbol")?;
        let last = self.number("last", DAILY_MAX, DAILY_MAX)?;
        let live = symbol.live();
        let bars = live.candles.list(DAY, i64::MIN, i64::MAX);
        let row = |bar: &Candle| {
            let change = bar.close - bar.open;
            json!({
                "pairSymbol": &*symbol.name,
                "pairSymbolNormalized": normalized(symbol),
                "time": bar.open_ms,
                "open": float(bar.open).to_string(),
                "high": float(bar.high).to_string(),
                "low": float(bar.low).to_string(),
                "close": float(bar.close).to_string(),
                "volume": float(bar.volume).to_string(),
                "total": float(bar.amount).to_string(),
                "average": float(quotient(bar.amount, bar.volume)).to_string(),
                "dailyChangeAmount": float(change).to_string(),
                "dailyChangePercentage": scaled(quotient(change, bar.open).saturating_mul(100), 2),
            })
        };
        Ok(bars.iter().skip(bars.len().saturating_sub(last)).map(row).collect())
    }

    fn seconds(&self, name: &str) -> Result<Option<i64>, Refusal> {
        self.get(name).map(|text| text.parse::<i64>().map_err(|_| invalid())).transpose()
    }

    fn bars(&self, symbol: &Symbol, interval: Interval) -> Result<Vec<Candle>, Refusal> {
        let from = self.seconds("from")?.map_or(i64::MIN, |from| from.saturating_mul(1_000));
        let to = self.seconds("to")?.map_or(i64::MAX, |to| to.saturating_mul(1_000));
        Ok(symbol.live().candles.list(interval, from, to))
    }

    /// Columns, no envelope, times in seconds.
    pub(crate) fn chart(&self) -> Result<Value, Refusal> {
        let name = self.get("symbol").ok_or_else(invalid)?;
        let Some(symbol) = self.find(name) else { return Ok(json!({ "s": "error", "errmsg": "unknown_symbol" })) };
        let resolution = self.get("resolution").ok_or_else(invalid)?;
        let interval = Interval::btcturk(resolution).ok_or_else(invalid)?;
        let bars = self.bars(symbol, interval)?;
        let column = |pick: fn(&Candle) -> i64| bars.iter().map(|bar| float(pick(bar))).collect::<Vec<_>>();
        Ok(json!({
            "s": if bars.is_empty() { "no_data" } else { "ok" },
            "t": bars.iter().map(|bar| bar.open_ms / 1_000).collect::<Vec<_>>(),
            "h": column(|bar| bar.high),
            "o": column(|bar| bar.open),
            "l": column(|bar| bar.low),
            "c": column(|bar| bar.close),
            "v": column(|bar| bar.volume),
        }))
    }

    /// Daily bars, no envelope, times in seconds.
    pub(crate) fn chart_days(&self) -> Result<Value, Refusal> {
        let symbol = self.pair("pair")?;
        let row = |bar: &Candle| {
            json!({
                "pair": &*symbol.name,
                "time": bar.open_ms / 1_000,
                "open": float(bar.open),
                "high": float(bar.high),
                "low": float(bar.low),
                "close": float(bar.close),
                "volume": float(bar.volume),
                "total": float(bar.amount),
                "average": float(quotient(bar.amount, bar.volume)),
                "dailyChangeAmount": float(bar.close - bar.open),
                "dailyChangePercentage": float(quotient(bar.close - bar.open, bar.open)) * 100.0,
            })
        };
        Ok(self.bars(symbol, DAY)?.iter().map(row).collect())
    }

    pub(crate) fn exchange_info(&self) -> Value {
        let symbols = &self.world.btcturk.symbols;
        let mut names: Vec<&str> =
            symbols.iter().flat_map(|symbol| [symbol.config.base.as_str(), symbol.config.quote.as_str()]).collect();
        names.sort_unstable();
        names.dedup();
        let currency = |(index, name): (usize, &&str)| {
            let precision = if *name == "TRY" { 2 } else { 8 };
            let kind = if *name == "TRY" { "FIAT" } else { "CRYPTO" };
            json!({
                "id": index + 1, "symbol": name, "minWithdrawal": 0.001, "minDeposit": 0.001, "precision": precision,
                "address": { "minLen": null, "maxLen": null }, "currencyType": kind, "tag": { "enable": false, "name": null, "minLen": null, "maxLen": null },
                "color": "#0a2a66", "name": name, "isAddressRenewable": false, "getAutoAddressDisabled": false, "isPartialWithdrawalEnabled": false, "isNew": false,
            })
        };
        json!({
            "timeZone": "UTC",
            "serverTime": self.now_ms(),
            "symbols": symbols.iter().map(|symbol| symbol_info(symbols, symbol)).collect::<Vec<_>>(),
            "currencies": names.iter().enumerate().map(currency).collect::<Vec<_>>(),
            "currencyOperationBlocks": names.iter().map(|name| json!({ "currencySymbol": name, "withdrawalDisabled": false, "depositDisabled": false })).collect::<Vec<_>>(),
        })
    }

    pub(crate) fn balances(&self) -> Value {
        let row = |(asset, holding): (&String, &crate::config::Holding)| {
            let name = match asset.as_str() {
                "TRY" => "Türk Lirası",
                "BTC" => "Bitcoin",
                "ETH" => "Ethereum",
                "USDT" => "Tether",
                other => other,
            };
            json!({
                "asset": asset,
                "assetname": name,
                "balance": (holding.free + holding.locked).normalize().to_string(),
                "locked": holding.locked.normalize().to_string(),
                "free": holding.free.normalize().to_string(),
                "orderFund": holding.locked.normalize().to_string(),
                "requestFund": "0",
                "precision": if asset == "TRY" { 2 } else { 8 },
                "timestamp": self.now_ms(),
            })
        };
        self.world.btcturk.account.balances().iter().map(row).collect()
    }
}

fn symbol_info(symbols: &[Arc<Symbol>], symbol: &Symbol) -> Value {
    let last = symbol.live().last_price().map_or(0.0, float);
    let market = &symbol.config;
    let id = frames::pair_id(symbols, symbol);
    json!({
        "id": id,
        "name": market.symbol,
        "nameNormalized": normalized(symbol),
        "status": "TRADING",
        "numerator": market.base,
        "denominator": market.quote,
        "numeratorScale": market.lot.normalize().scale(),
        "denominatorScale": market.price_scale(),
        "hasFraction": market.price_scale() > 0,
        "filters": [{
            "filterType": "PRICE_FILTER",
            "minPrice": "0.0000000000001",
            "maxPrice": "10000000",
            "tickSize": market.tick.normalize().to_string(),
            "minExchangeValue": if market.quote == "TRY" { "99.91" } else { "5" },
            "minAmount": null,
            "maxAmount": null,
        }],
        "orderMethods": ["MARKET", "LIMIT"],
        "displayFormat": "#,###",
        "commissionFromNumerator": false,
        "order": 1000 + id,
        "priceRounding": false,
        "isNew": false,
        "marketPriceWarningThresholdPercentage": 0.25,
        "maximumOrderAmount": null,
        "maximumLimitOrderPrice": last * 10.0,
        "minimumLimitOrderPrice": last / 10.0,
    })
}

/// `2026-09-23T03:20:00.0268053+00:00`.
fn iso(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Civil-from-days over 400-year eras beginning on 1 March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (seconds, part) = (of_day / 1_000, of_day % 1_000);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{part:03}0000+00:00",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_are_written_as_the_exchange_writes_them() {
        assert_eq!(super::iso(1_790_133_600_026), "2026-09-23T03:20:00.0260000+00:00");
        assert_eq!(super::iso(951_782_400_000), "2000-02-29T00:00:00.0000000+00:00");
    }
}
