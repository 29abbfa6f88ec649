//! Settings of the simulator. Every field has a default: a demo with read-only keys on loopback.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use rust_decimal::Decimal;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bist::BistConfig;
use crate::demo;
use crate::error::Error;
use crate::units;

/// A simulated exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Venue {
    /// Binance Spot.
    Binance,
    /// BTCTurk.
    Btcturk,
    /// A vendor of Borsa Istanbul's prices.
    Bist,
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Binance => "binance",
            Self::Btcturk => "btcturk",
            Self::Bist => "bist",
        })
    }
}

/// An API key that the simulator accepts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The public part.
    pub key: String,
    /// The secret: as it is at Binance, base64 at BTCTurk.
    pub secret: SecretString,
    /// Whether the key may trade; false is a read-only key.
    #[serde(default)]
    pub can_trade: bool,
}

/// What an account holds of one asset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    /// Free to use.
    pub free: Decimal,
    /// In open orders or withdrawals.
    #[serde(default)]
    pub locked: Decimal,
}

/// One exchange's single account: all keys open the same one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountConfig {
    /// Keys that open it.
    pub keys: Vec<ApiKey>,
    /// What it holds at the start, by asset.
    pub balances: BTreeMap<String, Holding>,
}

/// What one asset is worth and how it moves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetConfig {
    /// `BTC`.
    pub asset: String,
    /// Price in USD at the start.
    pub usd: f64,
    /// How much of the common factor's move it makes.
    pub beta: f64,
    /// Deviation of its own moves over a year, as a fraction.
    pub volatility: f64,
}

/// One market.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarketConfig {
    /// Where it trades.
    pub venue: Venue,
    /// `BTCUSDT`.
    pub symbol: String,
    /// `BTC`, one of `assets`.
    pub base: String,
    /// `USDT`, one of `assets`.
    pub quote: String,
    /// Smallest price step.
    pub tick: Decimal,
    /// Smallest quantity step.
    pub lot: Decimal,
    /// Usual distance between bid and ask, hundredths of a percent of the price; never below one tick.
    pub spread_bps: f64,
    /// Incoming orders a second in calm times.
    pub orders_per_s: f64,
    /// Usual size of an incoming order, in the quote asset.
    pub order_quote: f64,
}

impl MarketConfig {
    pub(crate) fn tick_units(&self) -> Result<i64, Error> {
        step_units(self.tick, "tick", &self.symbol)
    }

    pub(crate) fn lot_units(&self) -> Result<i64, Error> {
        step_units(self.lot, "lot", &self.symbol)
    }

    /// Decimals that a price needs.
    pub(crate) fn price_scale(&self) -> usize {
        usize::try_from(self.tick.normalize().scale()).unwrap_or(0)
    }
}

fn step_units(step: Decimal, what: &str, symbol: &str) -> Result<i64, Error> {
    units::parse(&step.normalize().to_string())
        .filter(|step| *step > 0)
        .ok_or_else(|| Error::config("markets", format!("{symbol}: {what} {step} must be above 0 with at most 8 decimals")))
}

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as the slowest client takes it.
    Max,
    /// This many times as fast as it was recorded.
    Times(f64),
}

impl std::str::FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.trim_end_matches('x').parse::<f64>() {
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Self::Times(times)),
            _ => Err(format!("speed `{text}` is neither `max` nor a number above 0 such as `1` or `20`")),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Times(times) => write!(f, "{times}"),
        }
    }
}

impl Serialize for Speed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Speed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Number(f64),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::Number(number) => number.to_string(),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Recorded frames to replay instead of the seeded market of the symbols in them.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Replay {
    /// gzip files of `<receive time, ns> <combined frame>` lines, in order. None: nothing is replayed.
    pub files: Vec<PathBuf>,
    /// How fast.
    pub speed: Speed,
}

impl Default for Replay {
    fn default() -> Self {
        Self { files: Vec::new(), speed: Speed::Max }
    }
}

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the simulated Binance listens, REST and WebSocket. Port 0 takes a free one.
    pub binance: SocketAddr,
    /// Where the simulated BTCTurk listens: REST, charts and WebSocket.
    pub btcturk: SocketAddr,
    /// Where the simulated vendor of Borsa Istanbul's prices listens: `GET /quotes`.
    pub bist: SocketAddr,
    /// Where faults are set and the state is read. Has no password: keep it on loopback.
    pub admin: SocketAddr,
    /// The same seed gives the same market.
    pub seed: u64,
    /// Deviation of the common factor over a year, as a fraction.
    pub common_volatility: f64,
    /// Multiplies how often orders arrive in all markets.
    pub activity: f64,
    /// How strongly prices go on in the direction they have taken, for about 20 s: every second by this many of the
    /// deviations that a second has anyway. 0: every move is news.
    pub momentum: f64,
    /// What each asset is worth.
    pub assets: Vec<AssetConfig>,
    /// The markets.
    pub markets: Vec<MarketConfig>,
    /// Hours of one-minute candles that are there at the start, at most 720.
    pub history_hours: u32,
    /// Trades kept per symbol for REST.
    pub trades_kept: usize,
    /// The account at Binance.
    pub binance_account: AccountConfig,
    /// The account at BTCTurk.
    pub btcturk_account: AccountConfig,
    /// The vendor of share prices.
    pub bist_vendor: BistConfig,
    /// A recording to replay.
    pub replay: Replay,
    /// Request weight an address may use in a minute at Binance.
    pub binance_weight_per_min: u32,
    /// Unfilled orders that the account may place in ten seconds at Binance.
    pub binance_orders_per_10_s: u32,
    /// Unfilled orders that the account may place in a day at Binance.
    pub binance_orders_per_day: u32,
    /// Submits, and as many cancels, that an address may make in a second at BTCTurk.
    pub btcturk_orders_per_s: u32,
    /// Submits, and as many cancels, that an address may make in a minute at BTCTurk.
    pub btcturk_orders_per_min: u32,
    /// Multiplies every quota on calls at BTCTurk, for those who restart their callers more often than a day allows.
    pub btcturk_quota_factor: u32,
    /// Time from the acceptance of a cancel to its effect at BTCTurk, ms.
    pub btcturk_cancel_ms: u64,
    /// WebSocket connections an address may open in five minutes at Binance; 0 is no limit.
    pub binance_connects_per_5_min: u32,
    /// WebSocket connections an address may open in a minute at BTCTurk; 0 is no limit.
    pub btcturk_connects_per_min: u32,
    /// Divides the life of a Binance socket, which is 24 h at 1.
    pub time_scale: f64,
    /// Time between a server's pings at Binance, ms.
    pub binance_ping_ms: u64,
    /// A Binance socket that leaves a ping unanswered for this long is closed, ms.
    pub binance_pong_ms: u64,
    /// Time between a server's pings at BTCTurk, ms.
    pub btcturk_ping_ms: u64,
    /// A BTCTurk socket that leaves a ping unanswered for this long is closed, ms.
    pub btcturk_pong_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            binance: loopback,
            btcturk: loopback,
            bist: loopback,
            admin: loopback,
            seed: 1,
            common_volatility: 0.45,
            activity: 1.0,
            momentum: 0.0,
            assets: demo::assets(),
            markets: demo::markets(),
            history_hours: 48,
            trades_kept: 100_000,
            binance_account: demo::binance(),
            btcturk_account: demo::btcturk(),
            bist_vendor: BistConfig::default(),
            replay: Replay::default(),
            binance_weight_per_min: 6_000,
            binance_orders_per_10_s: 100,
            binance_orders_per_day: 200_000,
            btcturk_orders_per_s: 10,
            btcturk_orders_per_min: 300,
            btcturk_quota_factor: 1,
            btcturk_cancel_ms: 100,
            binance_connects_per_5_min: 300,
            btcturk_connects_per_min: 15,
            time_scale: 1.0,
            binance_ping_ms: 20_000,
            binance_pong_ms: 60_000,
            btcturk_ping_ms: 15_000,
            btcturk_pong_ms: 45_000,
        }
    }
}

impl Config {
    /// Refuses what cannot work, naming the key and what would be right.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn validate(&self) -> Result<(), Error> {
        let positive = |field: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(Error::config(field, format!("{value} must be a number above 0")))
            }
        };
        positive("time_scale", self.time_scale)?;
        positive("activity", self.activity)?;
        positive("common_volatility", self.common_volatility)?;
        if !(0.0..=10.0).contains(&self.momentum) {
            return Err(Error::config("momentum", format!("{} must be from 0 to 10", self.momentum)));
        }
        if !(1..=720).contains(&self.history_hours) {
            return Err(Error::config("history_hours", format!("{} must be from 1 to 720", self.history_hours)));
        }
        if self.trades_kept < 1_000 {
            return Err(Error::config(
                "trades_kept",
                format!("{} must be at least 1000, the longest list a client may ask for", self.trades_kept),
            ));
        }
        if self.binance_weight_per_min == 0 {
            return Err(Error::config("binance_weight_per_min", "0 would refuse every request; the exchange's is 6000"));
        }
        for (field, value) in [
            ("binance_ping_ms", self.binance_ping_ms),
            ("binance_pong_ms", self.binance_pong_ms),
            ("btcturk_ping_ms", self.btcturk_ping_ms),
            ("btcturk_pong_ms", self.btcturk_pong_ms),
        ] {
            if value == 0 {
                return Err(Error::config(field, "0 ms is no time; use the exchange's, or a few hundred in a test"));
            }
        }
        for asset in &self.assets {
            positive(&format!("assets.{}.usd", asset.asset), asset.usd)?;
            if !(0.0..=5.0).contains(&asset.volatility) || !(-5.0..=5.0).contains(&asset.beta) {
                return Err(Error::config(
                    "assets",
                    format!("{}: volatility must be from 0 to 5 and beta from -5 to 5", asset.asset),
                ));
            }
        }
        self.bist_vendor.validate()?;
        self.validate_markets()?;
        self.validate_keys()
    }

    fn validate_markets(&self) -> Result<(), Error> {
        let mut seen = std::collections::BTreeSet::new();
        for market in &self.markets {
            let fine = |value: f64| value.is_finite() && value > 0.0;
            if !fine(market.spread_bps) || !fine(market.orders_per_s) || !fine(market.order_quote) {
                return Err(Error::config(
                    "markets",
                    format!("{}: spread_bps, orders_per_s and order_quote must be above 0", market.symbol),
                ));
            }
            let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
            if market.symbol.is_empty() || market.symbol.len() > 20 || !market.symbol.bytes().all(plain) {
                return Err(Error::config(
                    "markets",
                    format!("symbol `{}` must be 1 to 20 letters A-Z and digits", market.symbol),
                ));
            }
            if market.venue == Venue::Bist {
                return Err(Error::config(
                    "markets",
                    format!("{}: shares are not listed here; they come by themselves", market.symbol),
                ));
            }
            if !seen.insert((market.venue, &market.symbol)) {
                return Err(Error::config("markets", format!("{} is listed twice at {}", market.symbol, market.venue)));
            }
            market.tick_units()?;
            market.lot_units()?;
        }
        Ok(())
    }

    fn validate_keys(&self) -> Result<(), Error> {
        for (field, account) in [("binance_account", &self.binance_account), ("btcturk_account", &self.btcturk_account)] {
            for (asset, holding) in &account.balances {
                if holding.free.is_sign_negative() || holding.locked.is_sign_negative() {
                    return Err(Error::config(&format!("{field}.balances"), format!("{asset} must not be negative")));
                }
            }
            if account.keys.iter().any(|key| key.key.is_empty()) {
                return Err(Error::config(&format!("{field}.keys"), "a key must not be empty"));
            }
        }
        for key in &self.btcturk_account.keys {
            crate::btcturk::decode_secret(&key.secret).ok_or_else(|| {
                Error::config(
                    "btcturk_account.keys",
                    format!("the secret of `{}` must be base64, as BTCTurk gives it out", key.key),
                )
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{DEMO_BINANCE_SECRET, DEMO_BTCTURK_SECRET};

    #[test]
    fn the_default_is_valid_and_shows_no_secret() {
        let config = Config::default();
        config.validate().unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains(DEMO_BINANCE_SECRET) && !shown.contains(DEMO_BTCTURK_SECRET));
    }

    #[test]
    fn mistakes_name_the_field_and_the_fix() {
        let check = |change: &dyn Fn(&mut Config), field: &str, fix: &str| {
            let mut config = Config::default();
            change(&mut config);
            let text = config.validate().unwrap_err().to_string();
            assert!(text.contains(field) && text.contains(fix), "{text}");
        };
        check(&|config| config.time_scale = 0.0, "time_scale", "above 0");
        check(&|config| config.momentum = f64::NAN, "momentum", "0 to 10");
        check(&|config| config.history_hours = 0, "history_hours", "1 to 720");
        check(&|config| config.trades_kept = 5, "trades_kept", "1000");
        check(&|config| config.markets[0].symbol = "btcusdt".into(), "markets", "A-Z");
        check(&|config| config.markets[1] = config.markets[0].clone(), "markets", "twice");
        check(&|config| config.markets[0].tick = Decimal::ZERO, "markets", "above 0");
        check(&|config| config.btcturk_account.keys[0].secret = "***".into(), "btcturk_account", "base64");
    }

    #[test]
    fn a_speed_is_max_or_a_positive_number() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("20".parse(), Ok(Speed::Times(20.0)));
        assert_eq!(serde_json::from_str::<Speed>("2.5").unwrap(), Speed::Times(2.5));
        for text in ["0", "-1", "fast", "NaN", "inf", ""] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
        assert!(serde_json::from_str::<Config>(r#"{"sed":1}"#).unwrap_err().to_string().contains("sed"));
    }
}
