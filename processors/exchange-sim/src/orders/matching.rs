//! What an order would take from a market, before anything is moved.

use rust_decimal::Decimal;

use super::{Amount, Level, Side, Terms};

/// Whether a price is as good as the limit or better; without a limit every price is.
fn within(side: Side, price: Decimal, limit: Option<Decimal>) -> bool {
    limit.is_none_or(|limit| match side {
        Side::Buy => price <= limit,
        Side::Sell => price >= limit,
    })
}

/// Fills that `levels` (of the other side, best first) give, price and quantity; whether nothing is left.
pub(super) fn take(
    terms: &Terms,
    side: Side,
    amount: Amount,
    limit: Option<Decimal>,
    levels: &[Level],
) -> (Vec<(Decimal, Decimal)>, bool) {
    let mut fills = Vec::new();
    let best = levels.iter().find(|level| level.quantity > Decimal::ZERO).map(|level| level.price);
    let farthest = match (limit, terms.walk_max, best) {
        (None, Some(share), Some(best)) => Some(match side {
            Side::Buy => best * (Decimal::ONE + share),
            Side::Sell => best * (Decimal::ONE - share),
        }),
        _ => limit,
    };
    let mut left = match amount {
        Amount::Base(left) | Amount::Quote(left) => left,
    };
    for level in levels.iter().filter(|level| level.quantity > Decimal::ZERO) {
        if left.is_zero() || !within(side, level.price, farthest) {
            break;
        }
        let wanted = match amount {
            Amount::Base(_) => left,
            Amount::Quote(_) => terms.whole_lots(left / level.price),
        };
        if wanted.is_zero() {
            // Less is left than one lot costs: done.
            return (fills, true);
        }
        let filled = wanted.min(level.quantity);
        left -= match amount {
            Amount::Base(_) => filled,
            Amount::Quote(_) => filled * level.price,
        };
        fills.push((level.price, filled));
    }
    let done = match amount {
        Amount::Base(_) => left.is_zero(),
        Amount::Quote(_) => fills.last().is_some_and(|(price, _)| terms.whole_lots(left / price).is_zero()),
    };
    (fills, done)
}

/// Whether an order with this limit would take something.
pub(super) fn crosses(side: Side, limit: Decimal, levels: &[Level]) -> bool {
    levels.iter().find(|level| level.quantity > Decimal::ZERO).is_some_and(|best| within(side, best.price, Some(limit)))
}
