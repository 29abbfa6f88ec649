//! One strategy: its rule, what the LEDGER says about it, and the order that it asks for next.

use std::collections::VecDeque;
use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::candles::{Candle, CandleHistory};
use spark_bus_schema::market::{QuoteBatch, Side};
use spark_bus_schema::orders::{OrderId, OrderIntent, OrderType, TimeInForce, TradingMode};
use spark_bus_schema::strategies::{StrategyRegistered, StrategyStatus};
use spark_bus_schema::{Instrument, Timestamp, subject};

use crate::kept::{Event, Kept};
use crate::mean_reversion::MeanReversion;
use crate::plan::{Amount, How, Plan};
use crate::rule::{self, Sizing};
use crate::series::{Decision, Series};

/// A quote older than this is no price to decide on.
pub const QUOTE_AGE_MAX: Duration = Duration::from_secs(5);
/// A candle that was over longer ago than this is not traded on: on paper, where the order is filled against the book of that
/// moment (the executor remembers it for twice as long), …
pub const PAPER_AGE_MAX: Duration = Duration::from_secs(30);
/// … and live, where the price has gone on.
pub const LIVE_AGE_MAX: Duration = Duration::from_secs(5);
/// Candles that wait for the order before them, at most; then the oldest is not traded on.
const WAITING_MAX: usize = 1_000;
/// What quantities are multiples of where the executor has not said it: 10⁻⁸, as most venues hold balances.
pub const STEP: Decimal = Decimal::from_parts(1, 0, 0, false, 8);
/// Longest pause after refusals.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Who asks, in the intents.
const ACTOR: &str = "strategy";

/// What has to be known about an exchange to trade on it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Paper or live; none: the executor has not said it yet.
    pub mode: Option<TradingMode>,
    /// Quantities are multiples of this.
    pub step: Decimal,
}

/// One strategy.
#[derive(Clone, Debug)]
pub struct Trader {
    plan: Plan,
    instrument: Instrument,
    /// None: it is in the configuration.
    registered: Option<StrategyRegistered>,
    state: State,
    kept: Kept,
    /// On its way to the broker, not seen in the LEDGER yet.
    asking: Option<OrderId>,
}

#[derive(Clone, Debug)]
enum State {
    MeanReversion { rule: MeanReversion, mid: Option<(Decimal, Timestamp)> },
    Candles { series: Box<Series>, waiting: VecDeque<Decision> },
}

impl State {
    fn of(plan: &Plan) -> Self {
        match &plan.how {
            How::MeanReversion { .. } => Self::MeanReversion { rule: MeanReversion::default(), mid: None },
            How::SmaCross { rule, timeframe, .. } => {
                Self::Candles { series: Box::new(Series::new(rule.clone(), plan.exchange, *timeframe)), waiting: VecDeque::new() }
            }
        }
    }
}

impl Trader {
    /// Knows nothing but what it is to do.
    #[must_use]
    pub fn new(plan: Plan, instrument: Instrument, registered: Option<StrategyRegistered>) -> Self {
        Self { state: State::of(&plan), plan, instrument, registered, kept: Kept::default(), asking: None }
    }

    /// As before, with what the LEDGER said in an earlier life.
    #[must_use]
    pub fn with(mut self, kept: Kept) -> Self {
        self.kept = kept;
        self
    }

    /// What it is to do.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What follows from the LEDGER.
    #[must_use]
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// As it is registered; none: it is in the configuration.
    #[must_use]
    pub fn registration(&self) -> Option<&StrategyRegistered> {
        self.registered.as_ref()
    }

    /// It was registered anew: other parameters are another strategy, which begins with no bars and its whole cash.
    pub fn register(&mut self, plan: Plan, instrument: Instrument, registered: StrategyRegistered) {
        let is_same = self.registered.as_ref().is_some_and(|before| is_same(before, &registered));
        if !is_same {
            self.kept.begin_anew(self.instrument == instrument);
            (self.state, self.plan, self.instrument) = (State::of(&plan), plan, instrument);
        }
        self.registered = Some(registered);
    }

    /// Why it asks for nothing, whatever the market does; none: it may trade. A strategy on paper never trades where money
    /// moves, and nobody knows whether it does before the executor has said so.
    #[must_use]
    pub fn idle_because(&self, mode: Option<TradingMode>) -> Option<String> {
        if self.kept.is_stopped() {
            return Some("somebody stopped it".to_owned());
        }
        let registered = self.registered.as_ref()?;
        let exchange = self.plan.exchange;
        match (registered.status, mode) {
            (StrategyStatus::Live, Some(_)) | (StrategyStatus::Paper, Some(TradingMode::Paper)) => None,
            (StrategyStatus::Paper, Some(TradingMode::Live)) => Some(format!(
                "its status is paper and {exchange} is live; spark strategy promote {} makes it live",
                self.plan.name
            )),
            (StrategyStatus::Paper | StrategyStatus::Live, None) => {
                Some(format!("the executor has not said yet whether {exchange} is traded on paper or live"))
            }
            (status, _) => Some(format!("its status is {status}; paper and live trade")),
        }
    }

    /// Subjects of FEED that it needs.
    #[must_use]
    pub fn subjects(&self) -> Subjects {
        let (venue, symbol) = (self.plan.exchange, &self.plan.symbol);
        match &self.plan.how {
            How::MeanReversion { .. } => Subjects::Quotes(subject::quotes(venue, symbol)),
            How::SmaCross { timeframe, .. } => {
                Subjects::Candles([subject::candle(venue, symbol, *timeframe), subject::history(venue, symbol, *timeframe)])
            }
        }
    }

    /// Takes in quotes; the newest of its symbol counts.
    pub fn quotes(&mut self, batch: &QuoteBatch) {
        let State::MeanReversion { mid, .. } = &mut self.state else { return };
        let Some(quote) = batch.last().filter(|_| batch.venue == self.plan.exchange && batch.symbol == self.plan.symbol) else {
            return;
        };
        let sum = quote.bid_price.to_decimal().checked_add(quote.ask_price.to_decimal());
        *mid = sum.and_then(|sum| sum.checked_mul(Decimal::new(5, 1))).map(|mid| (mid, quote.received_at));
    }

    /// Takes in a candle; one of its own may wait for a decision from now on.
    pub fn candle(&mut self, candle: &Candle) {
        let is_own = candle.venue == self.plan.exchange && candle.symbol == self.plan.symbol;
        let State::Candles { series, waiting } = &mut self.state else { return };
        if is_own
            && candle.timeframe == series.timeframe()
            && let Some(decision) = series.candle(candle)
        {
            waiting.push_back(decision);
            if waiting.len() > WAITING_MAX {
                waiting.pop_front();
            }
        }
    }

    /// Takes in history.
    pub fn history(&mut self, history: &CandleHistory) {
        let is_own = history.venue == self.plan.exchange && history.symbol == self.plan.symbol;
        if let State::Candles { series, .. } = &mut self.state
            && is_own
            && history.timeframe == series.timeframe()
        {
            series.history(history);
        }
    }

    /// Takes in what the LEDGER says about this strategy, stored at `at`.
    pub fn apply(&mut self, at: Timestamp, event: &Event) {
        if let Event::Intent(intent) = event {
            self.settled(&intent.order);
        }
        self.kept.apply(at, event, &self.instrument);
    }

    /// Time between two decisions on quotes; none: it decides on candles.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        match &self.plan.how {
            How::MeanReversion { interval, .. } => Some(*interval),
            How::SmaCross { .. } => None,
        }
    }

    fn is_busy(&self) -> bool {
        self.asking.is_some() || !self.kept.is_idle()
    }

    /// Decides on the newest quote, at a boundary. The order that it may return counts as asked for until the LEDGER shows it
    /// or [`settled`](Self::settled) is called.
    pub fn decide(&mut self, boundary: Timestamp, place: Place) -> Option<OrderIntent> {
        let (is_busy, is_idle, pause_ends) = (self.is_busy(), self.idle_because(place.mode).is_some(), self.pause_ends());
        let (State::MeanReversion { rule, mid }, How::MeanReversion { rules, .. }) = (&mut self.state, &self.plan.how) else {
            return None;
        };
        let (mid, received_at) = (*mid)?;
        if boundary.saturating_since(received_at) > QUOTE_AGE_MAX {
            return None;
        }
        let position = self.kept.holding(place.mode.unwrap_or(TradingMode::Paper)).position;
        let wish = rule.next(rules, mid, position)?;
        if is_idle || is_busy || boundary < pause_ends {
            return None;
        }
        let key = format!("{}/{}", self.plan.name, boundary.as_millis());
        let intent = self.intent(key, wish.side, rules.quantity, boundary, wish.reason, None);
        Some(self.ask(intent))
    }

    /// Decides on the candles that wait, in their order: none is decided on before the order of an earlier one has come to its
    /// end, so what is decided follows from the candles and the fills alone. A candle counts as decided on when the LEDGER
    /// shows the order, so a restart decides the same.
    pub fn decide_candles(&mut self, now: Timestamp, place: Place) -> Option<OrderIntent> {
        let age_max = if place.mode == Some(TradingMode::Live) { LIVE_AGE_MAX } else { PAPER_AGE_MAX };
        let (is_busy, is_idle) = (self.is_busy(), self.idle_because(place.mode).is_some());
        let (State::Candles { waiting, .. }, How::SmaCross { rule: _, timeframe, amount, commission }) =
            (&mut self.state, &self.plan.how)
        else {
            return None;
        };
        let holding = self.kept.holding(place.mode.unwrap_or(TradingMode::Paper));
        let sizing = match amount {
            Amount::Quantity(quantity) => Sizing::Quantity(*quantity),
            Amount::Cash(cash) => Sizing::Cash(cash.checked_add(holding.quote)?),
        };
        let (decision, side, quantity) = loop {
            let decision = waiting.front()?;
            let is_over = now.saturating_since(decision.closed_at) > age_max || self.kept.has_asked(decision.open_time);
            if is_over || is_idle {
                waiting.pop_front();
                continue;
            }
            if is_busy {
                return None;
            }
            let order = rule::order(decision.want, holding.held(), sizing, decision.close, *commission, place.step);
            if let Some((side, quantity)) = order {
                break (decision.clone(), side, quantity);
            }
            waiting.pop_front();
        };
        let key = format!("{}/{timeframe}/{}", self.plan.symbol, decision.open_time.as_millis());
        let word = if side == Side::Buy { "above" } else { "not above" };
        let reason =
            format!("the fast mean is {word} the slow one at {} ({timeframe} candle of {})", decision.close, decision.open_time);
        let intent = self.intent(key, side, quantity, decision.closed_at, reason, Some(decision.closed_at));
        Some(self.ask(intent))
    }

    fn intent(
        &self,
        key: String,
        side: Side,
        quantity: Decimal,
        requested_at: Timestamp,
        reason: String,
        decided_at: Option<Timestamp>,
    ) -> OrderIntent {
        OrderIntent {
            order: OrderId::derive(&self.plan.name, &key),
            key,
            strategy: self.plan.name.clone(),
            actor: ACTOR.to_owned(),
            exchange: self.plan.exchange,
            symbol: self.plan.symbol.clone(),
            side,
            order_type: OrderType::Market,
            time_in_force: TimeInForce::Ioc,
            quantity,
            limit_price: None,
            requested_at,
            reason: Some(reason),
            decided_at,
        }
    }

    fn ask(&mut self, intent: OrderIntent) -> OrderIntent {
        self.asking = Some(intent.order.clone());
        intent
    }

    /// An order is no longer on its way: the LEDGER has it, or will not have it.
    pub fn settled(&mut self, order: &OrderId) {
        self.asking.take_if(|asking| asking == order);
    }

    /// Refused again and again (the kill switch, a limit), it asks less and less often.
    fn pause_ends(&self) -> Timestamp {
        let interval = self.interval().unwrap_or_default();
        match self.kept.refusals() {
            (0, _) => Timestamp::ZERO,
            (refusals, at) => at + interval.saturating_mul(1 << refusals.min(16)).min(PAUSE_MAX.max(interval)),
        }
    }
}

/// Where a strategy looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subjects {
    /// Quotes, from the newest on.
    Quotes(String),
    /// Candles and history, from the oldest on.
    Candles([String; 2]),
}

/// Whether everything that decides is the same.
fn is_same(before: &StrategyRegistered, after: &StrategyRegistered) -> bool {
    let plain = |it: &StrategyRegistered| {
        (it.kind, it.params.clone(), it.exchange, it.symbol.clone(), it.timeframe, it.quantity, it.cash)
    };
    plain(before) == plain(after)
}

#[cfg(test)]
mod tests;
