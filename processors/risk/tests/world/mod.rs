//! A LEDGER in memory with risk behind it, and words to write into it.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use rust_decimal::Decimal;
use spark_bus_schema::audit::AuditVerified;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::control::{HaltScope, KillSwitch, LimitsCommand, LimitsSource, ResumeCommand, StrategyCommand};
use spark_bus_schema::market::Side;
use spark_bus_schema::marks::Mark;
use spark_bus_schema::orders::{
    Evidence, Fill, Filters, InstrumentFilters, OrderEvent, OrderIntent, OrderState, OrderType, Reconciliation, Step,
    TimeInForce, TradingMode,
};
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::risk::{LimitSet, Limits, Timeout, Verdict};
use spark_bus_schema::{Message, OrderId, Timestamp, Venue, encode, subject};
use spark_nats::{Delivery, Effects, Machine, Reject};
use spark_risk::Risk;

/// The auditor's word that the LEDGER is whole.
pub fn verified(through: u64) -> AuditVerified {
    let (head, checked_at) = ("0".repeat(64), Timestamp::from_millis(1));
    AuditVerified { era: 1, through, head, count: through, checked_at, full: true, adopted: false, anchors_unknown: 0 }
}

pub fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub struct World {
    pub risk: Risk,
    pub log: Vec<Delivery>,
    pub now: Timestamp,
    /// Decided and not stored.
    pub pending: Vec<Verdict>,
    /// Stored at once.
    pub stores: bool,
    pub verdicts: BTreeMap<OrderId, Verdict>,
    keys: u64,
}

impl World {
    /// Nothing has happened yet.
    pub fn empty() -> Self {
        Self {
            risk: Risk::default(),
            log: Vec::new(),
            now: Timestamp::from_millis(1_700_000_000_000),
            pending: Vec::new(),
            stores: true,
            verdicts: BTreeMap::new(),
            keys: 0,
        }
    }

    /// BTCUSDT at 100 with filters, capital 10 000 USD, default limits.
    pub fn new() -> Self {
        let mut world = Self::empty();
        world.limits(|_| {});
        world.filters();
        world.mark("100");
        world
    }

    pub fn after(&mut self, duration: Duration) -> &mut Self {
        self.now = self.now + duration;
        self
    }

    /// Stores a message; then, if so wished, what was decided.
    pub fn say<T: Message>(&mut self, subject: String, message: &T) -> Result<(), Reject> {
        let delivery = Delivery {
            stream: subject::LEDGER,
            sequence: self.log.len() as u64 + 1,
            stored_at: self.now,
            subject,
            kind: Some(T::KIND.to_string()),
            headers: vec![],
            payload: encode(message).into(),
            pending: 0,
        };
        self.log.push(delivery.clone());
        let mut effects = Effects::default();
        let outcome = self.risk.apply(self.now, Risk::decode(&delivery).unwrap(), &mut effects);
        for effect in effects.drain() {
            assert_eq!(effect.revision, Some(1));
            let verdict: Verdict = decode_payload(&effect.payload).unwrap();
            assert_eq!(effect.subject, subject::verdict(&verdict.order));
            assert!(self.verdicts.insert(verdict.order.clone(), verdict.clone()).is_none(), "decided twice");
            self.pending.push(verdict);
        }
        if self.stores {
            self.store();
        }
        outcome
    }

    /// Stores what was decided.
    pub fn store(&mut self) {
        while !self.pending.is_empty() {
            let verdict = self.pending.remove(0);
            self.say(subject::verdict(&verdict.order), &verdict).unwrap();
        }
    }

    pub fn limits(&mut self, change: impl FnOnce(&mut Limits)) -> &mut Self {
        let default = LimitSet { capital_usd: Some(d("10000")), ..LimitSet::default() };
        let mut limits = Limits { default, ..Limits::default() };
        change(&mut limits);
        let command =
            LimitsCommand { limits, source: LimitsSource::Command, actor: "test".into(), reason: "test".into(), at: self.now };
        self.say(subject::LIMITS.to_owned(), &command).unwrap();
        self
    }

    pub fn filters(&mut self) -> &mut Self {
        let filters = Filters {
            tick_size: d("0.01"),
            step_size: d("0.001"),
            quantity_min: d("0.001"),
            quantity_max: d("9000"),
            notional_min: d("5"),
            market_orders: true,
        };
        let symbols = ["BTCUSDT", "ETHUSDT", "BTCTRY"].map(|symbol| (symbol.to_owned(), filters.clone())).into();
        let message = InstrumentFilters { exchange: Venue::Binance, at: self.now, symbols };
        self.say(subject::instruments(Venue::Binance), &message).unwrap();
        self
    }

    pub fn mark(&mut self, price: &str) -> &mut Self {
        self.mark_of("BTCUSDT", d(price), d("1"))
    }

    pub fn mark_of(&mut self, symbol: &str, price: Decimal, quote_usd: Decimal) -> &mut Self {
        let half = price / Decimal::from(10_000);
        let mark = Mark {
            venue: Venue::Binance,
            symbol: symbol.to_owned(),
            bid: price - half,
            ask: price + half,
            price,
            quote_usd,
            received_at: self.now,
            feed_sequence: 1,
        };
        self.say(subject::mark(Venue::Binance, symbol), &mark).unwrap();
        self
    }

    pub fn kill(&mut self, on: bool) -> &mut Self {
        let command = KillSwitch { on, cancel_open: false, actor: "test".into(), reason: "test".into(), at: self.now };
        self.say(subject::KILL_SWITCH.to_owned(), &command).unwrap();
        self
    }

    pub fn strategy(&mut self, strategy: &str, run: bool) -> &mut Self {
        let command = StrategyCommand {
            strategy: strategy.into(),
            run,
            symbols: vec![],
            actor: "test".into(),
            reason: "test".into(),
            at: self.now,
        };
        self.say(subject::strategy(strategy), &command).unwrap();
        self
    }

    pub fn reconciled(&mut self, halted: Option<&str>) -> &mut Self {
        let message = Reconciliation {
            exchange: Venue::Binance,
            mode: TradingMode::Paper,
            at: self.now,
            occasion: "start".into(),
            invariants: vec![],
            orphans: vec![],
            baseline: BTreeMap::new(),
            halted: halted.map(str::to_owned),
        };
        self.say(subject::reconciliation(Venue::Binance), &message).unwrap();
        self
    }

    pub fn resume(&mut self, scope: HaltScope) -> &mut Self {
        let command = ResumeCommand { scope, actor: "test".into(), reason: "test".into(), at: self.now };
        self.say(subject::RESUME.to_owned(), &command).unwrap();
        self
    }

    pub fn balances(&mut self, total_usd: &str) -> &mut Self {
        let message = Balances {
            exchange: Venue::Binance,
            currency: "USD".into(),
            polled_at: self.now,
            updated_at: Some(self.now),
            stale: false,
            error: None,
            balances: vec![],
            total_usd: d(total_usd),
            unpriced: vec![],
            refresh_us: 1,
        };
        self.say(subject::balances(Venue::Binance), &message).unwrap();
        self
    }

    /// `buy 1 @ 100` (limit) or `sell 0.5` (market) of BTCUSDT.
    pub fn wish(&mut self, strategy: &str, words: &str) -> OrderIntent {
        self.keys += 1;
        let key = self.keys.to_string();
        let words: Vec<&str> = words.split(' ').collect();
        let limit_price = words.get(3).map(|price| d(price));
        OrderIntent {
            order: OrderId::derive(strategy, &key),
            key,
            strategy: strategy.to_owned(),
            actor: "test".to_owned(),
            exchange: Venue::Binance,
            symbol: words.get(4).unwrap_or(&"BTCUSDT").to_string(),
            side: if words[0] == "buy" { Side::Buy } else { Side::Sell },
            order_type: if limit_price.is_some() { OrderType::Limit } else { OrderType::Market },
            time_in_force: if limit_price.is_some() { TimeInForce::Gtc } else { TimeInForce::Ioc },
            quantity: d(words[1]),
            limit_price,
            requested_at: self.now,
            reason: None,
            decided_at: None,
        }
    }

    pub fn intend(&mut self, intent: &OrderIntent) -> Result<(), Reject> {
        self.say(subject::intent(&intent.order), intent)
    }

    /// Asks and returns the verdict; none while it waits.
    pub fn ask(&mut self, strategy: &str, words: &str) -> Option<Verdict> {
        let intent = self.wish(strategy, words);
        self.intend(&intent).unwrap();
        self.verdicts.get(&intent.order).cloned()
    }

    pub fn time_out(&mut self, order: &OrderId) -> &mut Self {
        let timeout = Timeout { order: order.clone(), at: self.now };
        self.say(subject::risk_timeout(order), &timeout).unwrap();
        self
    }

    /// Something becomes of an order; `fill` is quantity and price.
    pub fn event(&mut self, order: &OrderId, states: &[OrderState], fill: Option<(Decimal, Decimal)>) -> &mut Self {
        let known = self.risk.book().order(order).expect("open").clone();
        let mut steps: Vec<Step> = states
            .iter()
            .map(|&state| Step { state, evidence: Evidence::Paper, reason: None, at: self.now, fill: None })
            .collect();
        let (mut filled, mut filled_quote) = (known.filled, known.filled_quote);
        if let Some((quantity, price)) = fill {
            filled += quantity;
            filled_quote += quantity * price;
            let trade_id = format!("{}-{}", order, known.revision);
            let step = steps.iter_mut().find(|s| matches!(s.state, OrderState::PartiallyFilled | OrderState::Filled)).unwrap();
            let fee_asset = "USDT".to_owned();
            step.fill = Some(Fill { trade_id, price, quantity, fee: Decimal::ZERO, fee_asset, is_maker: false, at: self.now });
        }
        let event = OrderEvent {
            order: order.clone(),
            revision: known.revision + 1,
            verdict_sequence: known.verdict_sequence,
            mode: TradingMode::Paper,
            exchange: known.intent.exchange,
            symbol: known.intent.symbol.clone(),
            strategy: known.intent.strategy.clone(),
            side: known.intent.side,
            quantity: known.intent.quantity,
            client_order_id: order.client_id(),
            exchange_order_id: None,
            steps,
            filled,
            filled_quote,
        };
        self.say(subject::order_event(order), &event).unwrap();
        self
    }

    /// Asks and fills it whole at a price.
    pub fn trade(&mut self, strategy: &str, words: &str, price: &str) -> &mut Self {
        use OrderState::{Filled, Pending, Submitted};
        let verdict = self.ask(strategy, words).expect("decided");
        assert!(verdict.approved, "{verdict:?}");
        self.event(&verdict.order, &[Pending, Submitted, Filled], Some((verdict.intent.quantity, d(price))))
    }
}
