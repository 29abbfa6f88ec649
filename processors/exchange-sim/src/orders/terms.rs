//! A market's terms: its assets, its smallest quantity, what a trade costs.

use std::sync::Arc;

use rust_decimal::{Decimal, RoundingStrategy};

use super::Side;
use crate::config::{MarketConfig, Venue};

/// Binance takes commissions in whole 10⁻⁸.
const COMMISSION_DECIMALS: u32 = 8;

/// Of what a commission is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fees {
    /// Of what is received: base when buying, quote when selling.
    Received,
    /// Of the quote asset: on top when buying, off the proceeds when selling.
    Quote,
}

/// What trading in one market means.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The market.
    pub symbol: Arc<str>,
    /// What is traded.
    pub base: String,
    /// What it is paid with.
    pub quote: String,
    /// Smallest quantity step.
    pub lot: Decimal,
    /// Commission of an order that rested, as a fraction.
    pub maker: Decimal,
    /// Commission of an order that takes.
    pub taker: Decimal,
    /// Of what the commission is taken.
    pub fees: Fees,
    /// A client id may belong to one open order only.
    pub unique_client_ids: bool,
    /// How far from the best price a market order may go, as a fraction.
    pub walk_max: Option<Decimal>,
}

impl Terms {
    /// The terms of a venue's market.
    #[must_use]
    pub fn new(market: &MarketConfig) -> Self {
        let (maker, taker, fees, walk_max) = match market.venue {
            Venue::Binance => (Decimal::new(1, 3), Decimal::new(1, 3), Fees::Received, None),
            Venue::Btcturk if market.quote == "TRY" => {
                (Decimal::new(12, 4), Decimal::new(24, 4), Fees::Quote, Some(Decimal::new(5, 2)))
            }
            // Shares are not traded here; what a share would cost is nobody's question.
            Venue::Btcturk | Venue::Bist => (Decimal::new(10, 4), Decimal::new(14, 4), Fees::Quote, Some(Decimal::new(5, 2))),
        };
        Self {
            symbol: market.symbol.as_str().into(),
            base: market.base.clone(),
            quote: market.quote.clone(),
            lot: market.lot.normalize(),
            maker,
            taker,
            fees,
            unique_client_ids: market.venue == Venue::Binance,
            walk_max,
        }
    }

    /// Commission of a fill and its asset.
    #[must_use]
    pub fn commission(&self, side: Side, quantity: Decimal, amount: Decimal, maker: bool) -> (Decimal, &str) {
        let rate = if maker { self.maker } else { self.taker };
        match (self.fees, side) {
            (Fees::Received, Side::Buy) => (cut(quantity * rate), &self.base),
            (Fees::Received, Side::Sell) => (cut(amount * rate), &self.quote),
            (Fees::Quote, _) => (amount * rate, &self.quote),
        }
    }

    /// What must be locked to be sure of a fill at this price: quote for a buy, base for a sell.
    #[must_use]
    pub fn reserve(&self, side: Side, quantity: Decimal, price: Decimal) -> Decimal {
        match (side, self.fees) {
            (Side::Sell, _) => quantity,
            (Side::Buy, Fees::Received) => price * quantity,
            (Side::Buy, Fees::Quote) => price * quantity * (Decimal::ONE + self.taker),
        }
    }

    /// The asset that an order locks.
    #[must_use]
    pub fn locked_asset(&self, side: Side) -> &str {
        match side {
            Side::Buy => &self.quote,
            Side::Sell => &self.base,
        }
    }

    /// Cut to whole lots.
    #[must_use]
    pub fn whole_lots(&self, quantity: Decimal) -> Decimal {
        quantity - quantity % self.lot
    }
}

fn cut(amount: Decimal) -> Decimal {
    amount.round_dp_with_strategy(COMMISSION_DECIMALS, RoundingStrategy::ToZero)
}
