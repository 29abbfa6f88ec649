//! What a venue's REST side tells about the market's past and its present best bid/ask.

use std::sync::Arc;

use spark_bus_schema::market::{Quote, Side, Trade};
use spark_bus_schema::telemetry::Call;
use spark_bus_schema::{Decimal, Fixed, Timestamp, Venue, subject};
use spark_exchanges::{ApiConfig, Binance, BtcTurk, ErrorType, Observer};
use spark_nats::{Bus, Meta, now};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Trades asked for at once; the most that Binance gives.
pub const PAGE_ROWS: u16 = 1_000;
/// Reports of calls that wait for the broker; beyond it they are dropped and counted.
const REPORTS_MAX: usize = 1_024;

/// Trades from some id on, ids rising.
#[derive(Debug)]
pub(crate) struct Page {
    pub trades: Vec<Trade>,
    /// The venue has no newer ones.
    pub complete: bool,
}

/// One venue's REST side. Cloning is cheap.
#[derive(Clone)]
pub(crate) enum History {
    Binance(Arc<Binance>),
    Btcturk(Arc<BtcTurk>),
}

impl History {
    /// A client that reports its calls to `observer`.
    pub fn new(venue: Venue, rest: &ApiConfig, observer: Observer) -> Result<Self, spark_exchanges::Error> {
        Ok(match venue {
            Venue::Btcturk => Self::Btcturk(Arc::new(BtcTurk::new(rest, None, observer)?)),
            Venue::Binance | Venue::Bist => Self::Binance(Arc::new(Binance::new(rest, None, observer)?)),
        })
    }

    /// Trades from id `from` on. BtcTurk gives its newest ones, whatever `from` says.
    pub async fn page(&self, symbol: &str, from: u64) -> Result<Page, spark_exchanges::Error> {
        let mut trades = match self {
            Self::Binance(client) => {
                let rows = client.historical_trades(symbol, Some(from), PAGE_ROWS).await?;
                rows.iter().map(binance_trade).collect::<Result<Vec<_>, _>>()?
            }
            Self::Btcturk(client) => {
                let rows = client.trades(symbol, PAGE_ROWS).await?;
                rows.iter().map(btcturk_trade).collect::<Result<Vec<_>, _>>()?
            }
        };
        let complete = trades.len() < usize::from(PAGE_ROWS) || matches!(self, Self::Btcturk(_));
        trades.sort_by_key(|trade| trade.trade_id);
        trades.dedup_by_key(|trade| trade.trade_id);
        Ok(Page { trades, complete })
    }

    /// The newest trade.
    pub async fn newest(&self, symbol: &str) -> Result<Option<Trade>, spark_exchanges::Error> {
        match self {
            Self::Binance(client) => client.trades(symbol, 1).await?.last().map(binance_trade).transpose(),
            Self::Btcturk(client) => {
                client.trades(symbol, 1).await?.iter().max_by_key(|trade| trade.tid).map(btcturk_trade).transpose()
            }
        }
    }

    /// The best bid and ask of this moment.
    pub async fn quote(&self, symbol: &str) -> Result<Quote, spark_exchanges::Error> {
        let (venue, bid, ask) = match self {
            Self::Binance(client) => {
                let book = client.book_ticker(symbol).await?;
                (Venue::Binance, Some((book.bid_price, book.bid_qty)), Some((book.ask_price, book.ask_qty)))
            }
            Self::Btcturk(client) => {
                let book = client.orderbook(symbol, 1).await?;
                (Venue::Btcturk, book.bids.first().copied(), book.asks.first().copied())
            }
        };
        let side = |level: Option<(Decimal, Decimal)>| -> Result<(Fixed, Fixed), spark_exchanges::Error> {
            let (price, quantity) = level.ok_or_else(|| unreadable(venue, "quote", "one side of the book is empty"))?;
            Ok((positive(venue, "quote", price)?, fixed(venue, "quote", quantity)?))
        };
        let ((bid_price, bid_quantity), (ask_price, ask_quantity)) = (side(bid)?, side(ask)?);
        Ok(Quote { update_id: 0, received_at: now(), bid_price, bid_quantity, ask_price, ask_quantity })
    }
}

fn binance_trade(row: &spark_exchanges::binance::Trade) -> Result<Trade, spark_exchanges::Error> {
    Ok(Trade {
        trade_id: row.id,
        occurred_at: Timestamp::from_millis(row.time),
        received_at: now(),
        price: positive(Venue::Binance, "trades", row.price)?,
        quantity: positive(Venue::Binance, "trades", row.qty)?,
        side: if row.is_buyer_maker { Side::Sell } else { Side::Buy },
    })
}

fn btcturk_trade(row: &spark_exchanges::btcturk::Trade) -> Result<Trade, spark_exchanges::Error> {
    let venue = Venue::Btcturk;
    Ok(Trade {
        trade_id: u64::try_from(row.tid).map_err(|_| unreadable(venue, "trades", "a negative trade id"))?,
        occurred_at: Timestamp::from_millis(row.date),
        received_at: now(),
        price: positive(venue, "trades", row.price)?,
        quantity: positive(venue, "trades", row.amount)?,
        side: match row.side.to_ascii_lowercase().as_str() {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            _ => return Err(unreadable(venue, "trades", "a side that is neither buy nor sell")),
        },
    })
}

fn unreadable(venue: Venue, operation: &'static str, what: &str) -> spark_exchanges::Error {
    spark_exchanges::Error::new(venue, operation, ErrorType::Parse, what)
}

fn fixed(venue: Venue, operation: &'static str, value: Decimal) -> Result<Fixed, spark_exchanges::Error> {
    Fixed::try_from(value).map_err(|error| unreadable(venue, operation, &format!("{value}: {error}")))
}

fn positive(venue: Venue, operation: &'static str, value: Decimal) -> Result<Fixed, spark_exchanges::Error> {
    let fixed = fixed(venue, operation, value)?;
    if fixed.mantissa > 0 { Ok(fixed) } else { Err(unreadable(venue, operation, &format!("{value} is not above zero"))) }
}

/// An observer that tells the bus about every call, from a task that ends with `shutdown`.
pub(crate) fn call_reports(bus: Bus, service: &'static str, shutdown: CancellationToken) -> Observer {
    let (sender, mut receiver) = mpsc::channel::<Call>(REPORTS_MAX);
    tokio::spawn(async move {
        loop {
            let call = tokio::select! {
                () = shutdown.cancelled() => return,
                call = receiver.recv() => call,
            };
            let Some(call) = call else { return };
            let target = subject::calls(call.exchange);
            let told = tokio::select! {
                () = shutdown.cancelled() => return,
                told = bus.publish(&target, &call, Meta::default()) => told,
            };
            if let Err(error) = told {
                tracing::error!(%error, "report a call");
            }
        }
    });
    Arc::new(move |report| {
        if sender.try_send(report.told_by(service)).is_err() {
            metrics::counter!("spark_feed_call_reports_dropped_total").increment(1);
        }
    })
}
