//! Rules of Borsa Istanbul's equity market that a price can be checked against: codes that changed, price steps, daily limits.
//!
//! Steps are those announced on 2023-08-28 for shares and rights; funds have finer ones. Limits are ±10 % of the base price,
//! rounded inward; shares in their first days, on special markets, or on the day of a capital change may be outside of them.

use rust_decimal::Decimal;

use crate::session::Day;

/// The BIST 30 as of 2025 Q4 (later changes unknown), by code.
pub const BIST_30: [&str; 30] = [
    "AEFES", "AKBNK", "ASELS", "ASTOR", "BIMAS", "DSTKF", "EKGYO", "ENKAI", "EREGL", "FROTO", "GARAN", "GUBRF", "ISCTR", "KCHOL",
    "KRDMD", "MGROS", "PETKM", "PGSUS", "SAHOL", "SASA", "SISE", "TAVHL", "TCELL", "THYAO", "TOASO", "TRALT", "TTKOM", "TUPRS",
    "ULKER", "YKBNK",
];

/// Codes that changed: old, new, first day of the new one.
const RENAMED: [(&str, &str, (i32, u8, u8)); 3] =
    [("KOZAL", "TRALT", (2025, 11, 24)), ("KOZAA", "TRMET", (2025, 11, 24)), ("IPEKE", "TRENJ", (2025, 11, 24))];

/// The code of today of a share that had another one.
#[must_use]
pub fn renamed(code: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(old, _, _)| *old == code).map(|(_, new, _)| *new)
}

/// The code under which a share traded on a day, whichever of its codes is given: for old files and slow vendors.
#[must_use]
pub fn code_on(code: &str, day: Day) -> &str {
    let Some((old, new, (year, month, from))) = RENAMED.iter().find(|(old, new, _)| *old == code || *new == code) else {
        return code;
    };
    if Day::new(*year, *month, *from).is_some_and(|from| day >= from) { new } else { old }
}

/// First price of each band, and its step, in hundredths of a lira; highest first.
const STEPS: [(i64, i64); 8] =
    [(250_000, 250), (100_000, 100), (50_000, 50), (25_000, 25), (10_000, 10), (5_000, 5), (2_000, 2), (0, 1)];

/// Smallest price step at a price, lira.
#[must_use]
pub fn tick_size(price: Decimal) -> Decimal {
    let step = STEPS.iter().find(|(from, _)| price >= Decimal::new(*from, 2)).map_or(1, |(_, step)| *step);
    Decimal::new(step, 2)
}

/// Whether a price is above zero and on the grid of its band.
#[must_use]
pub fn is_on_tick(price: Decimal) -> bool {
    price > Decimal::ZERO && price.checked_rem(tick_size(price)).is_some_and(|rest| rest.is_zero())
}

/// The highest price on the grid that is not above `price`. Bands begin on their own grid, so that this never leaves one.
#[must_use]
pub fn tick_down(price: Decimal) -> Decimal {
    let step = tick_size(price);
    (price - price.checked_rem(step).unwrap_or_default()).normalize()
}

/// The lowest price on the grid that is not below `price`.
#[must_use]
pub fn tick_up(price: Decimal) -> Decimal {
    let down = tick_down(price);
    // What comes after the last price of a band is the first one of the next, which lies on both grids.
    if down == price.normalize() { down } else { (down + tick_size(price)).normalize() }
}

/// Lowest and highest price of a day whose base price this is: ±10 %, rounded inward to the grid; none for a base price that
/// is not above zero.
#[must_use]
pub fn limits(base: Decimal) -> Option<(Decimal, Decimal)> {
    if base <= Decimal::ZERO {
        return None;
    }
    let tenth = base.checked_div(Decimal::TEN)?;
    Some((tick_up(base.checked_sub(tenth)?), tick_down(base.checked_add(tenth)?)))
}

/// The nearest price on the grid; what lies in the middle goes up. A previous close that is not on it (an adjusted one)
/// becomes a base price by this.
#[must_use]
pub fn tick_nearest(price: Decimal) -> Decimal {
    let (down, up) = (tick_down(price), tick_up(price));
    if price - down < up - price { down } else { up }
}

#[cfg(test)]
#[path = "shares/tests.rs"]
mod tests;
