//! One order in the executor's hands: what is decided, what of it is stored, and what the exchange may know.

use std::sync::Arc;

use rust_decimal::Decimal;
use spark_bus_schema::Timestamp;
use spark_bus_schema::orders::{Evidence, Fill, OrderEvent, OrderState, STEPS_MAX, Step, TradingMode};
use spark_ledger::money;

use super::facts::{Facts, Illegal, Terms};
use super::report::{Report, Stand};

/// Characters of an exchange's words that are kept.
const REASON_CHARS_MAX: usize = 300;

/// What the exchange may know of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing: it never left this process, or is known not to have.
    No,
    /// A submit is on its way.
    InFlight,
    /// Perhaps: the answer was lost, or an earlier holder may have sent it.
    Maybe,
    /// It answered.
    Yes,
}

/// One order.
#[derive(Clone, Debug)]
pub struct Work {
    /// As decided, what is not stored yet included.
    pub facts: Facts,
    /// What the exchange may know.
    pub sent: Sent,
    /// When it was last sent; the receive window runs from here or from the claim.
    pub sent_at: Option<Timestamp>,
    /// Not to be sent (again) before this.
    pub not_before: Timestamp,
    /// On paper: given up when FEED has not been read past the order's moment by then.
    pub read_until: Option<Timestamp>,
    /// To be asked about at this time.
    pub ask_at: Option<Timestamp>,
    /// A query is on its way.
    pub asking: bool,
    /// Somebody wants it taken back, in these words.
    pub cancel: Option<String>,
    /// A cancel is on its way.
    pub cancelling: bool,
    /// Not to be cancelled again before this.
    pub cancel_at: Timestamp,
    /// Failed attempts in a row, for back-off.
    pub attempts: u32,
    /// Waits for its exchange or key.
    pub waiting: bool,
    /// The exchange knew it and says that it does not any more.
    pub lost: bool,
    /// An operator has accepted that it is gone if the exchange does not know it, in these words.
    pub given_up: Option<String>,
    /// Another writer's event ends at this sequence: everything decided here is void until it has been read.
    pub adopting: Option<u64>,
    /// Counted among the unresolved orders of its key.
    pub counted_unresolved: bool,
    /// Revision of the event that is being stored.
    pub in_flight: Option<u64>,
    queue: Vec<Step>,
    stored_filled: Decimal,
    stored_quote: Decimal,
}

impl Work {
    /// An order as the LEDGER knows it.
    #[must_use]
    pub fn new(facts: Facts, sent: Sent) -> Self {
        let (stored_filled, stored_quote) = (facts.filled, facts.filled_quote);
        Self {
            facts,
            sent,
            sent_at: None,
            not_before: Timestamp::ZERO,
            read_until: None,
            ask_at: None,
            asking: false,
            cancel: None,
            cancelling: false,
            cancel_at: Timestamp::ZERO,
            attempts: 0,
            waiting: false,
            lost: false,
            given_up: None,
            adopting: None,
            counted_unresolved: false,
            in_flight: None,
            queue: Vec::new(),
            stored_filled,
            stored_quote,
        }
    }

    /// What was approved.
    #[must_use]
    pub fn terms(&self) -> &Arc<Terms> {
        &self.facts.terms
    }

    /// Nothing is waiting to be stored.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.in_flight.is_none() && self.queue.is_empty()
    }

    /// Nobody knows whether the exchange has it: others of its key wait.
    #[must_use]
    pub fn is_unresolved(&self) -> bool {
        !self.facts.is_final()
            && self.facts.mode == Some(TradingMode::Live)
            && (self.sent == Sent::Maybe || self.facts.state == Some(OrderState::Unknown))
    }

    /// Decides one step.
    ///
    /// # Errors
    /// [`Illegal`]; nothing is decided.
    pub fn push(
        &mut self,
        state: OrderState,
        evidence: Evidence,
        reason: Option<String>,
        at: Timestamp,
        fill: Option<Fill>,
    ) -> Result<(), Illegal> {
        let reason = reason.map(|text| text.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect());
        let step = Step { state, evidence, reason, at, fill };
        self.facts.step(&step)?;
        self.queue.push(step);
        Ok(())
    }

    /// The next event to store, if one is due and none is on its way: the sequence it follows, and the event.
    pub fn next_event(&mut self) -> Option<(u64, OrderEvent)> {
        if self.in_flight.is_some() || self.queue.is_empty() {
            return None;
        }
        let rest = self.queue.split_off(self.queue.len().min(STEPS_MAX));
        let steps = std::mem::replace(&mut self.queue, rest);
        for fill in steps.iter().filter_map(|step| step.fill.as_ref()) {
            // Checked when the step was decided.
            self.stored_filled = money::add(self.stored_filled, fill.quantity).unwrap_or(self.stored_filled);
            let amount = money::mul(fill.price, fill.quantity).unwrap_or_default();
            self.stored_quote = money::add(self.stored_quote, amount).unwrap_or(self.stored_quote);
        }
        let terms = Arc::clone(&self.facts.terms);
        let revision = self.facts.revision + 1;
        self.facts.revision = revision;
        self.in_flight = Some(revision);
        let event = OrderEvent {
            order: terms.order.clone(),
            revision,
            verdict_sequence: terms.verdict_sequence,
            mode: self.facts.mode.unwrap_or(TradingMode::Paper),
            exchange: terms.exchange,
            symbol: terms.symbol.clone(),
            strategy: terms.strategy.clone(),
            side: terms.side,
            quantity: terms.quantity,
            client_order_id: terms.order.client_id(),
            exchange_order_id: self.facts.exchange_order_id.clone(),
            steps,
            filled: self.stored_filled.normalize(),
            filled_quote: self.stored_quote.normalize(),
        };
        Some((self.facts.sequence, event))
    }

    /// Its event is stored.
    pub fn stored(&mut self, revision: u64, sequence: u64, at: Timestamp) -> bool {
        if self.in_flight != Some(revision) {
            return false;
        }
        self.in_flight = None;
        self.facts.sequence = sequence;
        self.facts.claimed_at = self.facts.claimed_at.or(Some(at));
        true
    }

    /// Merges what an exchange says. What was known before changes nothing. True when something is still missing: trades
    /// that were counted by the exchange but not told, or an end without its number.
    ///
    /// # Errors
    /// The first thing that cannot be; what came before it in the report holds.
    pub fn merge(&mut self, report: &Report, evidence: Evidence, at: Timestamp) -> Result<bool, Illegal> {
        if let Some(id) = &report.exchange_order_id
            && self.facts.exchange_order_id.is_none()
        {
            self.facts.exchange_order_id = Some(id.clone());
        }
        let mut fresh: Vec<&Fill> = report.fills.iter().filter(|fill| !self.facts.trades.contains(&fill.trade_id)).collect();
        fresh.sort_by(|a, b| (a.at, &a.trade_id).cmp(&(b.at, &b.trade_id)));
        fresh.dedup_by(|a, b| a.trade_id == b.trade_id);
        if self.facts.is_final() {
            // Repetitions and stale states are of no interest; a trade that nobody counted is.
            return match fresh.first() {
                None => Ok(false),
                Some(fill) => Err(Illegal::Transition { from: self.facts.state, to: self.facts.state_after(fill.quantity) }),
            };
        }
        let refused_at_once = report.stand == Some(Stand::Rejected) && fresh.is_empty();
        let at_exchange = report.stand.is_some() || !fresh.is_empty();
        if matches!(self.facts.state, Some(OrderState::Pending | OrderState::Unknown)) && at_exchange && !refused_at_once {
            self.push(OrderState::Submitted, evidence, None, at, None)?;
        }
        for fill in fresh {
            let state = self.facts.state_after(fill.quantity);
            self.push(state, evidence, None, at, Some(fill.clone()))?;
        }
        if self.facts.is_final() {
            return Ok(false);
        }
        let known = self.facts.filled;
        if report.incomplete || report.executed.is_some_and(|executed| executed > known) {
            return Ok(true);
        }
        let (Some(stand), Some(executed)) = (report.stand, report.executed) else {
            // An end without a number may hide trades.
            return Ok(report.stand.is_some_and(|stand| stand != Stand::Open));
        };
        if executed < known {
            // An older report: its end, if it tells one, has to be asked for.
            return Ok(stand != Stand::Open);
        }
        let reason = report.reason.clone();
        match stand {
            Stand::Open => {}
            Stand::Cancelled => self.push(OrderState::Cancelled, evidence, reason, at, None)?,
            Stand::Rejected if known.is_zero() => self.push(OrderState::Rejected, evidence, reason, at, None)?,
            Stand::Filled | Stand::Expired | Stand::Rejected => {
                let reason = reason.or_else(|| (stand == Stand::Filled).then(|| "closed by the exchange".to_owned()));
                self.push(OrderState::Expired, evidence, reason, at, None)?;
            }
        }
        Ok(false)
    }
}
