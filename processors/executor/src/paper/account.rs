//! What a paper account holds, and what trades cost.

use std::collections::BTreeMap;

use rust_decimal::{Decimal, RoundingStrategy};
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::Fill;
use spark_bus_schema::{Instrument, Venue};
use spark_ledger::money;

/// Fees are taken in whole 10⁻⁸, rounded down, as Binance does it.
const FEE_DECIMALS: u32 = 8;

/// What a trade costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeTerms {
    /// Of an order that rested, as a fraction.
    pub maker: Decimal,
    /// Of an order that takes, as a fraction.
    pub taker: Decimal,
    /// Taken of what is received (Binance); otherwise always of the quote currency, on top of a buy (BTCTurk).
    pub of_received: bool,
}

impl FeeTerms {
    /// The fees of a venue.
    #[must_use]
    pub fn new(venue: Venue, maker: Decimal, taker: Decimal) -> Self {
        Self { maker, taker, of_received: venue == Venue::Binance }
    }

    /// Fee and its asset; none on overflow.
    #[must_use]
    pub fn fee(
        &self,
        instrument: &Instrument,
        side: Side,
        quantity: Decimal,
        amount: Decimal,
        is_maker: bool,
    ) -> Option<(Decimal, String)> {
        let rate = if is_maker { self.maker } else { self.taker };
        let (of, asset) = match (self.of_received, side) {
            (true, Side::Buy) => (quantity, &instrument.base),
            (true, Side::Sell) | (false, _) => (amount, &instrument.quote),
        };
        let fee = of.checked_mul(rate)?.round_dp_with_strategy(FEE_DECIMALS, RoundingStrategy::ToZero);
        Some((fee.normalize(), asset.clone()))
    }

    /// What an order can cost at most: asset and amount; none on overflow.
    #[must_use]
    pub fn cost(&self, instrument: &Instrument, side: Side, quantity: Decimal, price: Decimal) -> Option<(String, Decimal)> {
        if side == Side::Sell {
            return Some((instrument.base.clone(), quantity));
        }
        let amount = money::mul(price, quantity).ok()?;
        let fee = if self.of_received { Decimal::ZERO } else { amount.checked_mul(self.taker)? };
        Some((instrument.quote.clone(), amount.checked_add(fee)?))
    }
}

/// Balances of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    totals: BTreeMap<String, Decimal>,
    held: BTreeMap<String, Decimal>,
}

impl Account {
    /// An account that holds this.
    #[must_use]
    pub fn new(totals: BTreeMap<String, Decimal>) -> Self {
        Self { totals, held: BTreeMap::new() }
    }

    /// By asset, what orders hold back included.
    #[must_use]
    pub fn totals(&self) -> &BTreeMap<String, Decimal> {
        &self.totals
    }

    /// Free to use.
    #[must_use]
    pub fn free(&self, asset: &str) -> Decimal {
        let of = |map: &BTreeMap<String, Decimal>| map.get(asset).copied().unwrap_or_default();
        of(&self.totals).checked_sub(of(&self.held)).unwrap_or_default()
    }

    /// Whether an order can be paid at this price.
    ///
    /// # Errors
    /// What is missing.
    pub fn can_pay(
        &self,
        instrument: &Instrument,
        fees: FeeTerms,
        side: Side,
        quantity: Decimal,
        price: Decimal,
    ) -> Result<(), String> {
        let (asset, cost) = fees.cost(instrument, side, quantity, price).ok_or("price × quantity is too large to be exact")?;
        let free = self.free(&asset);
        if cost <= free { Ok(()) } else { Err(format!("{cost} {asset} are needed and {free} are free")) }
    }

    /// Keeps an amount from being spent twice.
    pub fn hold(&mut self, asset: &str, amount: Decimal) {
        let held = self.held.entry(asset.to_owned()).or_default();
        *held = held.checked_add(amount).unwrap_or(*held);
    }

    /// Frees it.
    pub fn release(&mut self, asset: &str, amount: Decimal) {
        if let Some(held) = self.held.get_mut(asset) {
            *held = held.checked_sub(amount).unwrap_or_default().max(Decimal::ZERO);
        }
    }

    /// Moves what a trade moves; none on overflow, and nothing has changed.
    #[must_use]
    pub fn fill(&mut self, instrument: &Instrument, side: Side, fill: &Fill) -> Option<()> {
        let before = [&instrument.base, &instrument.quote, &fill.fee_asset].map(|asset| (asset, self.totals.get(asset).copied()));
        if move_fill(&mut self.totals, instrument, side, fill).is_some() {
            return Some(());
        }
        for (asset, total) in before {
            match total {
                Some(total) => _ = self.totals.insert(asset.clone(), total),
                None => _ = self.totals.remove(asset),
            }
        }
        None
    }
}

/// Adds to `totals` what a trade moves: base and quote in opposite directions, the fee out.
#[must_use]
pub fn move_fill(totals: &mut BTreeMap<String, Decimal>, instrument: &Instrument, side: Side, fill: &Fill) -> Option<()> {
    let amount = money::mul(fill.price, fill.quantity).ok()?;
    let (base, quote) = match side {
        Side::Buy => (fill.quantity, -amount),
        Side::Sell => (-fill.quantity, amount),
    };
    for (asset, change) in [(&instrument.base, base), (&instrument.quote, quote), (&fill.fee_asset, -fill.fee)] {
        let total = money::add(totals.get(asset).copied().unwrap_or_default(), change).ok()?;
        match totals.get_mut(asset) {
            Some(held) => *held = total,
            None => _ = totals.insert(asset.clone(), total),
        }
    }
    Some(())
}
