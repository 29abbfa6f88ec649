//! Venues and the one table that maps a symbol's spellings to each other.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::shares;

/// Where a price or a balance comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Venue {
    /// Binance spot.
    Binance,
    /// BtcTurk | Kripto.
    Btcturk,
    /// Borsa Istanbul.
    Bist,
}

impl Venue {
    /// Every venue.
    pub const ALL: [Self; 3] = [Self::Binance, Self::Btcturk, Self::Bist];

    /// The spelling in subjects, labels, paths and configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Binance => "binance",
            Self::Btcturk => "btcturk",
            Self::Bist => "bist",
        }
    }
}

impl fmt::Display for Venue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Venue {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|venue| venue.as_str() == text)
            .ok_or_else(|| format!("unknown exchange `{text}`; known are binance, btcturk, bist"))
    }
}

/// What is traded: one symbol at one venue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Instrument {
    /// The venue.
    pub venue: Venue,
    /// Spark's spelling and the subject's token: upper-case letters and digits, e.g. `BTCUSDT`, `THYAO`.
    pub symbol: String,
    /// What is bought and sold.
    pub base: String,
    /// What it is priced in.
    pub quote: String,
}

const BUILTIN: &[(Venue, &str, &str)] = &[
    (Venue::Binance, "BTC", "USDT"),
    (Venue::Binance, "ETH", "USDT"),
    (Venue::Binance, "BNB", "USDT"),
    (Venue::Binance, "SOL", "USDT"),
    (Venue::Binance, "XRP", "USDT"),
    (Venue::Binance, "BTC", "TRY"),
    (Venue::Binance, "USDT", "TRY"),
    (Venue::Btcturk, "BTC", "TRY"),
    (Venue::Btcturk, "ETH", "TRY"),
    (Venue::Btcturk, "USDT", "TRY"),
    (Venue::Btcturk, "BTC", "USDT"),
];

/// The one table of symbols. Start from [`InstrumentTable::builtin`] and add what the configuration names.
#[derive(Clone, Debug)]
pub struct InstrumentTable {
    rows: Vec<Instrument>,
}

/// A symbol that the table does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown symbol `{symbol}` at {venue}; known are {known}; add others under [[instrument]] in spark.toml")]
pub struct UnknownSymbol {
    /// Where it was looked for.
    pub venue: Venue,
    /// As it was given.
    pub symbol: String,
    /// What is known there, comma-separated.
    pub known: String,
}

impl InstrumentTable {
    /// The instruments that need no configuration.
    #[must_use]
    pub fn builtin() -> Self {
        let shares = shares::BIST_30.iter().map(|code| (Venue::Bist, *code, "TRY"));
        let rows = BUILTIN
            .iter()
            .copied()
            .chain(shares)
            .map(|(venue, base, quote)| Instrument {
                venue,
                symbol: if venue == Venue::Bist { base.to_owned() } else { format!("{base}{quote}") },
                base: base.to_owned(),
                quote: quote.to_owned(),
            })
            .collect();
        Self { rows }
    }

    /// Adds or replaces a row.
    ///
    /// # Errors
    /// The symbol is not made of `A–Z` and `0–9`: it would not fit into a subject.
    pub fn insert(&mut self, instrument: Instrument) -> Result<(), String> {
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        for (key, value) in [("symbol", &instrument.symbol), ("base", &instrument.base), ("quote", &instrument.quote)] {
            if !plain(value) {
                return Err(format!("instrument.{key} = \"{value}\": only A-Z and 0-9 are allowed, e.g. \"BTCUSDT\""));
            }
        }
        self.rows.retain(|row| (row.venue, &row.symbol) != (instrument.venue, &instrument.symbol));
        self.rows.push(instrument);
        Ok(())
    }

    /// Finds an instrument by any usual spelling: `BTCUSDT`, `btcusdt`, `BTC_USDT`, `BTC/USDT`, `THYAO.E`, `BIST:THYAO`.
    /// A share's old code finds it under its code of today ([`shares::renamed`]), unless the table has a row of the old one.
    ///
    /// # Errors
    /// [`UnknownSymbol`], which lists what is known at the venue.
    pub fn resolve(&self, venue: Venue, spelling: &str) -> Result<&Instrument, UnknownSymbol> {
        let upper = spelling.to_ascii_uppercase();
        let bare = match venue {
            Venue::Bist => {
                let bare = upper.trim_start_matches("BIST:");
                bare.strip_suffix(".E").or_else(|| bare.strip_suffix(".IS")).unwrap_or(bare).to_owned()
            }
            Venue::Binance | Venue::Btcturk => upper.replace(['_', '/', '-'], ""),
        };
        let renamed = if venue == Venue::Bist { shares::renamed(&bare) } else { None };
        let named = |name: &str| self.at(venue).find(|row| row.symbol == name);
        named(&bare).or_else(|| renamed.and_then(named)).ok_or_else(|| UnknownSymbol {
            venue,
            symbol: spelling.to_owned(),
            known: self.at(venue).map(|row| row.symbol.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// The rows of one venue.
    pub fn at(&self, venue: Venue) -> impl Iterator<Item = &Instrument> {
        self.rows.iter().filter(move |row| row.venue == venue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_finds_the_same_row_and_an_unknown_one_says_what_is_known() {
        let table = InstrumentTable::builtin();
        for spelling in ["BTCUSDT", "btcusdt", "BTC_USDT", "btc/usdt", "BTC-USDT"] {
            let row = table.resolve(Venue::Binance, spelling).unwrap();
            assert_eq!((row.symbol.as_str(), row.base.as_str(), row.quote.as_str()), ("BTCUSDT", "BTC", "USDT"));
        }
        for spelling in ["THYAO", "THYAO.E", "THYAO.IS", "BIST:THYAO"] {
            assert_eq!(table.resolve(Venue::Bist, spelling).unwrap().symbol, "THYAO");
        }
        for spelling in ["TRALT", "KOZAL", "kozal.is", "BIST:KOZAL"] {
            assert_eq!(table.resolve(Venue::Bist, spelling).unwrap().symbol, "TRALT");
        }
        assert_eq!(table.at(Venue::Bist).count(), 30);
        let error = table.resolve(Venue::Bist, "THYAOO").unwrap_err().to_string();
        assert!(error.contains("`THYAOO` at bist") && error.contains("YKBNK") && error.contains("[[instrument]]"), "{error}");
        let error = table.resolve(Venue::Btcturk, "DOGETRY").unwrap_err().to_string();
        assert!(error.contains("DOGETRY") && error.contains("USDTTRY") && error.contains("[[instrument]]"), "{error}");
    }

    #[test]
    fn a_symbol_that_would_break_a_subject_is_refused() {
        let mut table = InstrumentTable::builtin();
        let row = |symbol: &str| Instrument { venue: Venue::Binance, symbol: symbol.into(), base: "A".into(), quote: "B".into() };
        assert!(table.insert(row("DOGE.USDT")).unwrap_err().contains("DOGE.USDT"));
        table.insert(row("DOGEUSDT")).unwrap();
        assert!(table.resolve(Venue::Binance, "doge/usdt").is_ok());
    }
}
