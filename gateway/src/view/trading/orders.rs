//! The newest orders: what was asked, what risk said, where each stands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{Evidence, OrderEvent, OrderId, OrderIntent, OrderState, OrderType, TimeInForce, TradingMode};
use spark_bus_schema::risk::{Guard, Verdict};
use spark_bus_schema::{Decimal, Timestamp, Venue};
use spark_ledger::money::div_rounded;

use crate::number::Number;

/// Orders held. Beyond it the oldest one that is over goes; when none is over, the oldest. All of them stay in the LEDGER.
pub const ORDERS_MAX: usize = 2_000;
/// Steps held of one order, the newest ones; `spark explain` tells all of them.
pub const STEPS_MAX: usize = 32;

/// Orders by id and by age. A copy for a checkpoint shares the orders with it.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Orders {
    orders: BTreeMap<OrderId, Arc<Order>>,
    /// Ledger sequence of the intent, or of the first thing that was read of the order.
    by_age: BTreeMap<u64, OrderId>,
    /// Those of them that are over: which one goes is not looked for among all that are open.
    over: BTreeMap<u64, OrderId>,
    #[serde(skip)]
    changed: BTreeSet<OrderId>,
}

/// One order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Ledger sequence of the intent.
    pub sequence: u64,
    /// When the intent was stored; when the verdict was, if the view has not read the intent.
    pub at: Timestamp,
    /// What was asked.
    pub intent: Arc<OrderIntent>,
    /// What risk said.
    pub verdict: Option<Arc<Verdict>>,
    /// Where it stands.
    pub progress: Option<Progress>,
    /// What happened, oldest first.
    pub steps: VecDeque<StepRow>,
}

/// What the newest event of an order says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// The state.
    pub state: OrderState,
    /// The event's revision.
    pub revision: u64,
    /// Ledger sequence of the event.
    pub sequence: u64,
    /// When it was stored.
    pub at: Timestamp,
    /// Whether money moves.
    pub mode: TradingMode,
    /// The exchange's own id.
    pub exchange_order_id: Option<String>,
    /// The last step's words.
    pub reason: Option<String>,
    /// Base currency.
    pub filled: Decimal,
    /// Quote currency.
    pub filled_quote: Decimal,
}

/// One transition, for people.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepRow {
    state: OrderState,
    evidence: Evidence,
    reason: Option<String>,
    at: String,
    /// Ledger sequence of its event.
    sequence: u64,
    fill: Option<FillRow>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct FillRow {
    trade_id: String,
    price: Number,
    quantity: Number,
    fee: Number,
    fee_asset: String,
    is_maker: bool,
}

/// Where an order stands, from the first word on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", untagged)]
pub enum Standing {
    /// Before the executor.
    Asked(Asked),
    /// In the executor's hands.
    Order(OrderState),
}

/// Before the executor claims an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "BeforeExecutor")]
pub enum Asked {
    /// Risk has not said anything.
    Waiting,
    /// Risk said yes; the executor has not claimed it.
    Approved,
    /// Risk said no.
    Refused,
}

impl Standing {
    /// Every word, for errors and filters.
    pub const WORDS: [&str; 12] = [
        "waiting",
        "approved",
        "refused",
        "pending",
        "submitted",
        "partially_filled",
        "filled",
        "settled",
        "cancelled",
        "rejected",
        "expired",
        "unknown",
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked(Asked::Waiting) => "waiting",
            Self::Asked(Asked::Approved) => "approved",
            Self::Asked(Asked::Refused) => "refused",
            Self::Order(state) => state.as_str(),
        }
    }

    /// Whether something may still happen.
    #[must_use]
    pub const fn is_open(self) -> bool {
        match self {
            Self::Asked(asked) => !matches!(asked, Asked::Refused),
            Self::Order(state) => !state.is_final(),
        }
    }
}

impl Order {
    /// An order of which only the intent is known.
    #[must_use]
    pub fn new(sequence: u64, at: Timestamp, intent: Arc<OrderIntent>) -> Self {
        Self { sequence, at, intent, verdict: None, progress: None, steps: VecDeque::new() }
    }

    /// An order of which only the verdict is known.
    #[must_use]
    pub fn decided(verdict: &Arc<Verdict>) -> Self {
        let order = Self::new(verdict.intent_sequence, verdict.decided_at, Arc::new(verdict.intent.clone()));
        Self { verdict: Some(Arc::clone(verdict)), ..order }
    }

    /// How it stands, for who waited for it.
    #[must_use]
    pub fn outcome(&self, reached: bool) -> Outcome<'_> {
        let (progress, state) = (self.progress.as_ref(), self.standing());
        Outcome {
            reached,
            state,
            open: state.is_open(),
            filled: Number(progress.map_or(Decimal::ZERO, |progress| progress.filled)),
            filled_quote: Number(progress.map_or(Decimal::ZERO, |progress| progress.filled_quote)),
            average_price: progress.and_then(|progress| average(progress.filled_quote, progress.filled)).map(Number),
            mode: progress.map(|progress| progress.mode),
            exchange_order_id: progress.and_then(|progress| progress.exchange_order_id.as_deref()),
            state_reason: progress.and_then(|progress| progress.reason.as_deref()),
            updated_at: progress.map(|progress| progress.at.to_string()),
        }
    }

    /// Takes in an event; an older one than the one held, or the same again, changes nothing.
    pub fn take(&mut self, sequence: u64, at: Timestamp, event: &OrderEvent) -> bool {
        if self.progress.as_ref().is_some_and(|held| held.revision >= event.revision) {
            return false;
        }
        for step in event.steps.iter().rev().take(STEPS_MAX).rev() {
            if self.steps.len() == STEPS_MAX {
                self.steps.pop_front();
            }
            self.steps.push_back(StepRow {
                state: step.state,
                evidence: step.evidence,
                reason: step.reason.clone(),
                at: step.at.to_string(),
                sequence,
                fill: step.fill.as_ref().map(|fill| FillRow {
                    trade_id: fill.trade_id.clone(),
                    price: Number(fill.price),
                    quantity: Number(fill.quantity),
                    fee: Number(fill.fee),
                    fee_asset: fill.fee_asset.clone(),
                    is_maker: fill.is_maker,
                }),
            });
        }
        self.progress = Some(Progress {
            state: event.state(),
            revision: event.revision,
            sequence,
            at,
            mode: event.mode,
            exchange_order_id: event.exchange_order_id.clone(),
            reason: event.steps.last().and_then(|step| step.reason.clone()),
            filled: event.filled,
            filled_quote: event.filled_quote,
        });
        true
    }

    /// Where it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (&self.progress, &self.verdict) {
            (Some(progress), _) => Standing::Order(progress.state),
            (None, Some(verdict)) if verdict.approved => Standing::Asked(Asked::Approved),
            (None, Some(_)) => Standing::Asked(Asked::Refused),
            (None, None) => Standing::Asked(Asked::Waiting),
        }
    }

    /// As a row.
    #[must_use]
    pub fn row(&self) -> OrderRow<'_> {
        let (intent, progress, standing) = (&*self.intent, self.progress.as_ref(), self.standing());
        let refusal = self.verdict.as_ref().filter(|verdict| !verdict.approved).map(|verdict| verdict.reason.as_str());
        OrderRow {
            order: &intent.order,
            client_order_id: intent.order.client_id(),
            sequence: self.sequence,
            at: self.at.to_string(),
            at_ms: self.at.as_millis(),
            strategy: &intent.strategy,
            actor: &intent.actor,
            exchange: intent.exchange,
            symbol: &intent.symbol,
            side: intent.side,
            order_type: intent.order_type,
            time_in_force: intent.time_in_force,
            quantity: Number(intent.quantity),
            price: intent.limit_price.map(Number),
            state: standing,
            open: standing.is_open(),
            approved: self.verdict.as_ref().map(|verdict| verdict.approved),
            guard: self.verdict.as_ref().and_then(|verdict| verdict.guard),
            reason: refusal.or_else(|| progress.and_then(|progress| progress.reason.as_deref())),
            filled: Number(progress.map_or(Decimal::ZERO, |progress| progress.filled)),
            filled_quote: Number(progress.map_or(Decimal::ZERO, |progress| progress.filled_quote)),
            average_price: progress.and_then(|progress| average(progress.filled_quote, progress.filled)).map(Number),
            mode: progress.map(|progress| progress.mode),
            exchange_order_id: progress.and_then(|progress| progress.exchange_order_id.as_deref()),
            updated_at: progress.map_or(self.at, |progress| progress.at).to_string(),
        }
    }
}

/// `quote / base`, rounded to 12 decimals; none without a base, or when it cannot be represented.
fn average(quote: Decimal, base: Decimal) -> Option<Decimal> {
    div_rounded(quote, base).ok()
}

impl Orders {
    /// Takes in an intent.
    pub fn intent(&mut self, sequence: u64, at: Timestamp, intent: &OrderIntent) {
        if self.orders.contains_key(&intent.order) {
            return;
        }
        self.insert(Order::new(sequence, at, Arc::new(intent.clone())));
    }

    /// Takes in a verdict.
    pub fn verdict(&mut self, at: Timestamp, verdict: &Verdict) {
        if !self.orders.contains_key(&verdict.order) {
            self.insert(Order::new(verdict.intent_sequence, at, Arc::new(verdict.intent.clone())));
        }
        let Some(order) = self.orders.get_mut(&verdict.order) else { return };
        // There is one verdict for ever; if the ledger were damaged, the first one stays.
        if order.verdict.is_none() {
            Arc::make_mut(order).verdict = Some(Arc::new(verdict.clone()));
            self.changed.insert(verdict.order.clone());
            self.note_end(&verdict.order);
        }
    }

    /// Takes in an event; false when the order is too old to be held.
    pub fn event(&mut self, sequence: u64, at: Timestamp, event: &OrderEvent) -> bool {
        let Some(order) = self.orders.get_mut(&event.order) else { return false };
        if Arc::make_mut(order).take(sequence, at, event) {
            self.changed.insert(event.order.clone());
            self.note_end(&event.order);
        }
        true
    }

    fn note_end(&mut self, id: &OrderId) {
        let Some(order) = self.orders.get(id) else { return };
        if order.standing().is_open() {
            self.over.remove(&order.sequence);
        } else {
            self.over.insert(order.sequence, id.clone());
        }
    }

    fn insert(&mut self, order: Order) {
        let id = order.intent.order.clone();
        if self.orders.len() >= ORDERS_MAX {
            self.forget_one();
        }
        self.by_age.insert(order.sequence, id.clone());
        self.orders.insert(id.clone(), Arc::new(order));
        self.changed.insert(id);
    }

    fn forget_one(&mut self) {
        let goes = self.over.first_key_value().or_else(|| self.by_age.first_key_value()).map(|(_, id)| id.clone());
        if let Some(order) = goes.and_then(|id| self.orders.remove(&id)) {
            self.by_age.remove(&order.sequence);
            self.over.remove(&order.sequence);
            self.changed.remove(&order.intent.order);
        }
    }

    /// One order.
    #[must_use]
    pub fn get(&self, id: &OrderId) -> Option<&Order> {
        self.orders.get(id).map(Arc::as_ref)
    }

    /// Newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Order> {
        self.by_age.values().rev().filter_map(|id| self.get(id))
    }

    /// How many are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.orders.values().filter(|order| order.standing().is_open()).count()
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.orders.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// Nobody has been told of any of them yet.
    pub(super) fn change_all(&mut self) {
        self.changed = self.orders.keys().cloned().collect();
    }

    /// The ids of those that are held.
    pub fn ids(&self) -> impl Iterator<Item = &OrderId> {
        self.orders.keys()
    }

    /// The ids of those that changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<OrderId> {
        std::mem::take(&mut self.changed)
    }
}

/// How an order stands, for who waited for it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome<'a> {
    /// Whether it is where the request wanted it.
    pub reached: bool,
    state: Standing,
    open: bool,
    filled: Number,
    filled_quote: Number,
    average_price: Option<Number>,
    mode: Option<TradingMode>,
    exchange_order_id: Option<&'a str>,
    state_reason: Option<&'a str>,
    updated_at: Option<String>,
}

/// One order in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderRow<'a> {
    order: &'a OrderId,
    client_order_id: String,
    sequence: u64,
    at: String,
    at_ms: i64,
    strategy: &'a str,
    actor: &'a str,
    exchange: Venue,
    symbol: &'a str,
    side: Side,
    #[serde(rename = "type")]
    order_type: OrderType,
    time_in_force: TimeInForce,
    quantity: Number,
    price: Option<Number>,
    state: Standing,
    open: bool,
    approved: Option<bool>,
    guard: Option<Guard>,
    reason: Option<&'a str>,
    filled: Number,
    filled_quote: Number,
    average_price: Option<Number>,
    mode: Option<TradingMode>,
    exchange_order_id: Option<&'a str>,
    updated_at: String,
}
