//! One face for both clients: what a portfolio asks of an exchange.

use spark_bus_schema::Venue;
use spark_exchanges::{ApiConfig, ApiKey, Binance, BreakerMode, BtcTurk, Error, ErrorType, Observer};
use spark_nats::now;

use crate::account::Holding;
use crate::rates::Rates;

/// A client of one exchange.
#[derive(Debug)]
pub enum Exchange {
    /// Binance spot.
    Binance(Binance),
    /// BTCTurk.
    BtcTurk(BtcTurk),
}

impl Exchange {
    /// A client without a key; nothing is sent yet.
    ///
    /// # Errors
    /// The HTTP client cannot be set up, or the venue has no portfolio.
    pub fn new(venue: Venue, config: &ApiConfig, observer: Observer) -> Result<Self, Error> {
        match venue {
            Venue::Binance => Binance::new(config, None, observer).map(Self::Binance),
            Venue::Btcturk => BtcTurk::new(config, None, observer).map(Self::BtcTurk),
            Venue::Bist => Err(Error::new(venue, "start", ErrorType::Server, "BIST has no portfolio")),
        }
    }

    /// Which one.
    #[must_use]
    pub fn venue(&self) -> Venue {
        match self {
            Self::Binance(_) => Venue::Binance,
            Self::BtcTurk(_) => Venue::Btcturk,
        }
    }

    /// Gives it a key.
    pub fn set_key(&self, key: ApiKey) {
        match self {
            Self::Binance(client) => client.set_key(Some(key)),
            Self::BtcTurk(client) => client.set_key(Some(key)),
        }
    }

    /// Sets the circuit breaker.
    pub fn set_breaker(&self, mode: BreakerMode) {
        match self {
            Self::Binance(client) => client.set_breaker(mode),
            Self::BtcTurk(client) => client.set_breaker(mode),
        }
    }

    /// Refuses a key that may do more than read.
    ///
    /// Binance tells a key's permissions; where it does not (test net, simulator) the account's `canTrade` is taken for
    /// them, and a yes refused. BTCTurk has no call that tells: finding out would take a trading request, which this
    /// process must never send.
    ///
    /// # Errors
    /// `auth` that names the permission, or why the exchange could not be asked.
    pub async fn check_key(&self) -> Result<(), Error> {
        let Self::Binance(client) = self else { return Ok(()) };
        let refuse = |what: String| Err(Error::new(Venue::Binance, "check_key", ErrorType::Auth, what));
        let advice = "give the portfolio a key of its own that may only read";
        match client.api_restrictions().await? {
            Some(restrictions) if !restrictions.enable_reading => {
                refuse("the key lacks the permission enableReading; switch it on at the exchange".to_owned())
            }
            Some(restrictions) => match restrictions.beyond_reading().as_slice() {
                [] => Ok(()),
                too_much => refuse(format!("the key has the permission {}; {advice}", too_much.join(", "))),
            },
            None if client.account().await?.can_trade => refuse(format!("the key has the permission canTrade; {advice}")),
            None => Ok(()),
        }
    }

    /// Everything held.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn holdings(&self) -> Result<Vec<Holding>, Error> {
        match self {
            Self::Binance(client) => {
                let account = client.account().await?;
                let row =
                    |row: spark_exchanges::binance::Balance| Holding { asset: row.asset, free: row.free, locked: row.locked };
                Ok(account.balances.into_iter().map(row).collect())
            }
            Self::BtcTurk(client) => {
                let row =
                    |row: spark_exchanges::btcturk::Balance| Holding { asset: row.asset, free: row.free, locked: row.locked };
                Ok(client.balances().await?.into_iter().map(row).collect())
            }
        }
    }

    /// All prices.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn rates(&self) -> Result<Rates, Error> {
        match self {
            Self::Binance(client) => {
                let prices = client.ticker_price(None).await?;
                Ok(Rates::new(now(), prices.into_iter().map(|row| (row.symbol, row.price))))
            }
            Self::BtcTurk(client) => {
                let tickers = client.ticker().await?;
                let pair = |ticker: spark_exchanges::btcturk::Ticker| {
                    let name = ticker.assets().map_or_else(|| ticker.pair.clone(), |(base, quote)| format!("{base}{quote}"));
                    (name, ticker.last)
                };
                Ok(Rates::new(now(), tickers.into_iter().map(pair)))
            }
        }
    }
}
