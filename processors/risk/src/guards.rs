//! The questions that every order is asked, in their order. The first refusal ends it; what cannot be calculated is
//! refused.

use rust_decimal::Decimal;
use spark_bus_schema::orders::{Filters, OrderIntent};
use spark_bus_schema::risk::{Check, Guard, LimitSet, MarkUsed, Verdict};
use spark_bus_schema::{Timestamp, Venue};
use spark_ledger::money::div_rounded;
use spark_ledger::{Inexact, Reserved};

use crate::equity::{Curve, Marked, Unvalued, profit};
use crate::machine::{APPROVAL_VALIDITY, Cause, OPEN_MAX, STRATEGIES_MAX, State, Stop, Waiting};
use crate::measure::{self, Equity, Holding, Market, Measured, Misfit, Order, worst_price};

/// One order before its judges.
struct Case<'a> {
    state: &'a State,
    intent: &'a OrderIntent,
    recent: Option<u32>,
    cause: Cause,
    limits: LimitSet,
    mark: Option<&'a Marked>,
    /// Of all strategies, base currency.
    position: Decimal,
    reserved: Reserved,
    order: Order,
}

type Question = fn(&Case<'_>) -> Result<Check, Inexact>;

const QUESTIONS: [(Guard, Question); 11] = [
    (Guard::Halt, |case| case.halt()),
    (Guard::StalePrice, |case| case.stale_price()),
    (Guard::Filters, |case| case.filters()),
    (Guard::Notional, |case| case.notional()),
    (Guard::Exposure, |case| case.exposure()),
    (Guard::Drawdown, |case| case.drawdown()),
    (Guard::Drawdown, |case| case.account_drawdown()),
    (Guard::KillSwitch, |case| case.kill_switch()),
    (Guard::Collar, |case| case.collar()),
    (Guard::Rate, |case| case.rate()),
    (Guard::Strategy, |case| case.strategy()),
];

/// Asks every guard until one refuses.
pub(crate) fn judge(state: &State, waiting: &Waiting, cause: Cause) -> Verdict {
    let intent = &waiting.intent;
    let case = Case {
        state,
        intent,
        recent: waiting.recent,
        cause,
        limits: state.limits.of(&intent.strategy, intent.exchange, &intent.symbol),
        mark: state.prices.of(intent.exchange, &intent.symbol),
        position: state.book.total(intent.exchange, &intent.symbol).map(|total| total.quantity).unwrap_or_default(),
        reserved: state.book.reserved(intent.exchange, &intent.symbol),
        order: Order {
            side: intent.side,
            order_type: intent.order_type,
            quantity: intent.quantity,
            limit_price: intent.limit_price,
        },
    };
    let mut checks = Vec::with_capacity(QUESTIONS.len());
    for (guard, question) in QUESTIONS {
        let check = question(&case).unwrap_or_else(|inexact| arithmetic(format!("{guard}: {inexact}")));
        let passed = check.passed;
        checks.push(check);
        if !passed {
            break;
        }
    }
    case.verdict(waiting.sequence, checks)
}

/// Turns an approval into a refusal because its consequences cannot be calculated.
pub(crate) fn refuse_arithmetic(verdict: &mut Verdict, detail: String) {
    verdict.approved = false;
    verdict.guard = Some(Guard::Arithmetic);
    verdict.reason.clone_from(&detail);
    verdict.checks.push(arithmetic(detail));
}

/// Why trading there is halted, if it is.
pub(crate) fn halted(state: &State, venue: Venue) -> Option<&Stop> {
    state.ledger_halt.as_ref().or_else(|| state.exchange_halts.get(&venue))
}

/// Whether the order can be priced now.
pub(crate) fn has_fresh_mark(state: &State, intent: &OrderIntent, at: Timestamp) -> bool {
    let max = state.limits.of(&intent.strategy, intent.exchange, &intent.symbol).mark_age_ms_max;
    state.prices.of(intent.exchange, &intent.symbol).is_some_and(|mark| is_fresh(mark, at, max))
}

fn is_fresh(mark: &Marked, at: Timestamp, max_ms: u64) -> bool {
    u64::try_from(mark.age_ms(at)).is_ok_and(|age| age <= max_ms)
}

fn market(marked: &Marked) -> Market {
    let mark = &marked.mark;
    Market { bid: mark.bid, ask: mark.ask, price: mark.price, quote_usd: mark.quote_usd }
}

fn arithmetic(detail: String) -> Check {
    check(Guard::Arithmetic, false, None, None, "", detail)
}

fn check(guard: Guard, passed: bool, value: Option<Decimal>, limit: Option<Decimal>, unit: &str, detail: String) -> Check {
    let plain = |value: Option<Decimal>| value.map(|value| value.normalize());
    Check { guard, passed, value: plain(value), limit: plain(limit), unit: unit.to_owned(), detail }
}

/// Up to two decimals, for sentences.
fn shown(value: Decimal) -> Decimal {
    value.round_dp(2).normalize()
}

impl Case<'_> {
    fn verdict(&self, intent_sequence: u64, checks: Vec<Check>) -> Verdict {
        let refusal = checks.last().filter(|check| !check.passed);
        let at = self.cause.at;
        Verdict {
            order: self.intent.order.clone(),
            approved: refusal.is_none(),
            guard: refusal.map(|check| check.guard),
            reason: refusal.map_or_else(|| "within every limit".to_owned(), |check| check.detail.clone()),
            intent: self.intent.clone(),
            intent_sequence,
            decided_on: self.cause.sequence,
            decided_at: at,
            expires_at: at + APPROVAL_VALIDITY,
            checks,
            mark: self.mark.map(|marked| MarkUsed {
                sequence: marked.sequence,
                bid: marked.mark.bid,
                ask: marked.mark.ask,
                price: marked.mark.price,
                quote_usd: marked.mark.quote_usd,
                age_ms: marked.age_ms(at),
            }),
            limits_sequence: self.state.limits_sequence,
            position: self.position.normalize(),
            reserved_buy: self.reserved.buy.normalize(),
            reserved_sell: self.reserved.sell.normalize(),
        }
    }

    fn holding(&self) -> Holding {
        Holding { position: self.position, reserved: self.reserved }
    }

    fn reduces(&self) -> Result<bool, Inexact> {
        measure::reduces(&self.order, &self.holding())
    }

    fn no_mark(guard: Guard) -> Check {
        check(guard, false, None, None, "", "there is no mark".to_owned())
    }

    fn halt(&self) -> Result<Check, Inexact> {
        let venue = self.intent.exchange;
        let Some(stop) = halted(self.state, venue) else {
            if let Some(epoch) = self.state.unaudited {
                let detail = format!(
                    "trading everywhere is halted until the auditor has said that the LEDGER is whole: risk took over at ledger \
                     sequence {epoch}, and there was no answer yet; `spark status` shows how the auditor is"
                );
                return Ok(check(Guard::Halt, false, None, None, "", detail));
            }
            return Ok(check(Guard::Halt, true, None, None, "", format!("trading on {venue} is not halted")));
        };
        let scope = if self.state.ledger_halt.is_some() { "everywhere".to_owned() } else { format!("on {venue}") };
        let detail = format!(
            "trading {scope} is halted since ledger sequence {}: {}; only control.resume lifts it",
            stop.sequence, stop.reason
        );
        Ok(check(Guard::Halt, false, None, None, "", detail))
    }

    fn stale_price(&self) -> Result<Check, Inexact> {
        let (venue, symbol) = (self.intent.exchange, &self.intent.symbol);
        let limit = Some(Decimal::from(self.limits.mark_age_ms_max));
        let late = if self.cause.is_timeout { ", and none came in time" } else { "" };
        let Some(mark) = self.mark else {
            let detail = format!("there is no mark of {venue} {symbol}{late}");
            return Ok(check(Guard::StalePrice, false, None, limit, "ms", detail));
        };
        let age = mark.age_ms(self.cause.at);
        let passed = is_fresh(mark, self.cause.at, self.limits.mark_age_ms_max);
        let detail = if passed {
            format!("the mark is {age} ms old")
        } else {
            format!("the mark of {venue} {symbol} is {age} ms old, {} are allowed{late}", self.limits.mark_age_ms_max)
        };
        Ok(check(Guard::StalePrice, passed, Some(Decimal::from(age)), limit, "ms", detail))
    }

    fn filters(&self) -> Result<Check, Inexact> {
        let (venue, symbol) = (self.intent.exchange, &self.intent.symbol);
        let Some(mark) = self.mark else { return Ok(Self::no_mark(Guard::Filters)) };
        let Some(filters) = self.state.filters.get(&venue).and_then(|symbols| symbols.get(symbol)) else {
            let detail = format!("what {venue} allows for {symbol} is not known");
            return Ok(check(Guard::Filters, false, None, None, "", detail));
        };
        Ok(self.filtered(filters, mark)?.unwrap_or_else(|| {
            let detail = format!("fits tick, step and sizes of {venue} {symbol}");
            check(Guard::Filters, true, Some(self.intent.quantity), None, "", detail)
        }))
    }

    /// The first filter that does not let the order pass.
    fn filtered(&self, filters: &Filters, mark: &Marked) -> Result<Option<Check>, Inexact> {
        let quantity = self.intent.quantity;
        let refuse = |value: Decimal, limit: Decimal, unit: &str, detail: String| {
            check(Guard::Filters, false, Some(value), Some(limit), unit, detail)
        };
        Ok(measure::misfit(&self.order, filters, &market(mark))?.map(|misfit| match misfit {
            Misfit::Market => check(Guard::Filters, false, None, None, "", "market orders are not taken".to_owned()),
            Misfit::Step => {
                let detail = format!("quantity {quantity} is not a multiple of {}", filters.step_size);
                refuse(quantity, filters.step_size, "", detail)
            }
            Misfit::Small => {
                let detail = format!("quantity {quantity} is below the smallest, {}", filters.quantity_min);
                refuse(quantity, filters.quantity_min, "", detail)
            }
            Misfit::Large => {
                let detail = format!("quantity {quantity} is above the largest, {}", filters.quantity_max);
                refuse(quantity, filters.quantity_max, "", detail)
            }
            Misfit::Tick => {
                let price = self.intent.limit_price.unwrap_or_default();
                let detail = format!("price {price} is not a multiple of {}", filters.tick_size);
                refuse(price, filters.tick_size, "quote", detail)
            }
            Misfit::Notional(notional) => {
                let detail = format!("{} is below the smallest order, {}", shown(notional), filters.notional_min);
                refuse(notional, filters.notional_min, "quote", detail)
            }
        }))
    }

    fn notional(&self) -> Result<Check, Inexact> {
        let Some(mark) = self.mark else { return Ok(Self::no_mark(Guard::Notional)) };
        let Measured { value, passed } = measure::notional(&self.order, &market(mark), &self.limits)?;
        let limit = self.limits.notional_usd_max;
        let detail = format!("the order is worth {} USD, {limit} are allowed", shown(value));
        Ok(check(Guard::Notional, passed, Some(value), Some(limit), "usd", detail))
    }

    fn exposure(&self) -> Result<Check, Inexact> {
        let Some(mark) = self.mark else { return Ok(Self::no_mark(Guard::Exposure)) };
        let Measured { value, passed } = measure::exposure(&self.order, &self.holding(), &market(mark), &self.limits)?;
        let limit = self.limits.exposure_usd_max;
        let reduces = self.reduces()?;
        let note = if reduces { "; it only reduces the position" } else { "" };
        let detail = format!("{} USD in the worst case of all that is open, {limit} are allowed{note}", shown(value));
        Ok(check(Guard::Exposure, reduces || passed, Some(value), Some(limit), "usd", detail))
    }

    fn drawdown(&self) -> Result<Check, Inexact> {
        let strategy = self.state.strategies.get(&self.intent.strategy);
        let start = self.limits.capital_usd.or_else(|| strategy.and_then(|strategy| strategy.first));
        let profit = profit(self.state.book.positions_of(&self.intent.strategy), &self.state.prices, self.cause.at);
        let name = format!("strategy {}", self.intent.strategy);
        self.fall(&name, start, profit, strategy.map(|strategy| &strategy.curve), self.limits.drawdown_pct_max)
    }

    fn account_drawdown(&self) -> Result<Check, Inexact> {
        let default = &self.state.limits.default;
        let start = self.state.account_start().or(default.capital_usd).or(self.limits.capital_usd);
        let profit = profit(self.state.book.totals(), &self.state.prices, self.cause.at);
        self.fall("the account", start, profit, Some(&self.state.curve), default.drawdown_pct_max)
    }

    /// How far equity is below its highest of 24 hours, percent.
    fn fall(
        &self,
        whose: &str,
        start: Option<Decimal>,
        profit: Result<Decimal, Unvalued>,
        curve: Option<&Curve>,
        limit: Decimal,
    ) -> Result<Check, Inexact> {
        let reduces = self.reduces()?;
        let refuse = |detail: String| {
            let note = if reduces { "; the order only reduces the position" } else { "" };
            Ok(check(Guard::Drawdown, reduces, None, Some(limit), "pct", format!("{detail}{note}")))
        };
        let profit = match profit {
            Ok(profit) => profit,
            Err(unvalued) => return refuse(format!("the equity of {whose} is not known: {unvalued}")),
        };
        let Some(start) = start else {
            return refuse(format!("what {whose} began with is not known: no balances yet, and no capital_usd is set"));
        };
        let highest = curve.and_then(|curve| curve.highest(self.cause.at)).unwrap_or(profit).max(profit);
        let Some(fall) = measure::fall(&Equity { start, profit, highest }, limit)? else {
            return refuse(format!("{whose} has no equity: it began with {} USD", shown(start)));
        };
        let (equity, mark, within) = (fall.equity, fall.highest, fall.within);
        let value = div_rounded(fall.fallen, mark)?;
        let note = if reduces && !within { "; the order only reduces the position" } else { "" };
        let detail = format!(
            "{whose} is {} % below its highest of 24 h ({} of {} USD), {limit} % are allowed{note}",
            shown(value),
            shown(equity),
            shown(mark)
        );
        Ok(check(Guard::Drawdown, within || reduces, Some(value), Some(limit), "pct", detail))
    }

    fn kill_switch(&self) -> Result<Check, Inexact> {
        let detail = match &self.state.kill {
            None => "the kill switch is off".to_owned(),
            Some(stop) => format!("the kill switch is on since ledger sequence {} ({})", stop.sequence, stop.reason),
        };
        Ok(check(Guard::KillSwitch, self.state.kill.is_none(), None, None, "", detail))
    }

    fn collar(&self) -> Result<Check, Inexact> {
        let Some(mark) = self.mark else { return Ok(Self::no_mark(Guard::Collar)) };
        let market = market(mark);
        let (price, mark) = (self.intent.limit_price.unwrap_or_else(|| worst_price(&self.order, &market)), market.price);
        let Measured { value: far, passed } = measure::collar(&self.order, &market, &self.limits)?;
        let (limit, value) = (self.limits.collar_pct_max, div_rounded(far, mark)?);
        let detail = format!("price {price} is {} % worse than the mark {mark}, {limit} % are allowed", shown(value));
        Ok(check(Guard::Collar, passed, Some(value), Some(limit), "pct", detail))
    }

    fn rate(&self) -> Result<Check, Inexact> {
        let (limit, reduces) = (self.limits.orders_per_minute_max, self.reduces()?);
        let open = self.state.book.open_count();
        if open >= OPEN_MAX && !reduces {
            let (value, limit) = (Some(Decimal::from(open)), Some(Decimal::from(OPEN_MAX)));
            return Ok(check(Guard::Rate, false, value, limit, "orders", format!("{open} orders are open, no more are taken")));
        }
        let Some(recent) = self.recent else {
            let detail = format!("{STRATEGIES_MAX} other strategies trade already, no more are taken");
            return Ok(check(Guard::Rate, reduces, None, None, "", detail));
        };
        let note = if reduces && recent > limit { "; the order only reduces the position" } else { "" };
        let detail = format!("order {recent} of its strategy within 60 s, {limit} are allowed{note}");
        let passed = measure::rate(recent, &self.limits, reduces);
        let (value, limit) = (Decimal::from(recent), Decimal::from(limit));
        Ok(check(Guard::Rate, passed, Some(value), Some(limit), "orders", detail))
    }

    fn strategy(&self) -> Result<Check, Inexact> {
        let name = &self.intent.strategy;
        let detail = match self.state.stopped.get(name) {
            None => format!("strategy {name} may trade"),
            Some(stop) => format!("strategy {name} was stopped at ledger sequence {} ({})", stop.sequence, stop.reason),
        };
        let passed = !self.state.stopped.contains_key(name);
        Ok(check(Guard::Strategy, passed, None, None, "", detail))
    }
}
