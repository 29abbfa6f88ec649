//! Made-up orders for the page.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use spark_bus_schema::control::{KillSwitch, StrategyCommand};
use spark_bus_schema::market::Side;
use spark_bus_schema::marks::Mark;
use spark_bus_schema::orders::{
    Evidence, Fill, Invariant, OrderEvent, OrderIntent, OrderState, OrderType, Reconciliation, Step, TimeInForce, TradingMode,
};
use spark_bus_schema::risk::{Guard, Verdict};
use spark_bus_schema::{Decimal, Message, OrderId, Timestamp, Venue, encode};
use spark_gateway::event::Event;
use spark_gateway::record::{Entry, Record};

/// One order a step, each with another fate.
pub struct Preview {
    sequence: u64,
    count: u64,
    killed: bool,
}

const MARKETS: [(Venue, &str, &str, &str); 3] = [
    (Venue::Binance, "BTCUSDT", "0.012", "91240.12"),
    (Venue::Binance, "ETHUSDT", "0.25", "3012.44"),
    (Venue::Btcturk, "BTCTRY", "0.004", "3861442"),
];

impl Preview {
    pub fn new(killed: bool) -> Self {
        Self { sequence: 0, count: 0, killed }
    }

    fn ledger<T: Message + Clone>(&mut self, message: &T, record: impl Fn(T) -> Record) -> Event {
        self.sequence += 1;
        let (kind, payload) = (T::KIND.to_string(), Bytes::from(encode(message)));
        Event::Ledger(Box::new(Entry { sequence: self.sequence, kind, payload, record: record(message.clone()) }))
    }

    pub fn step(&mut self, at: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        if self.count == 0 {
            events.extend(self.begin(at));
        }
        self.count += 1;
        let count = self.count;
        let (exchange, symbol, quantity, price) = MARKETS[usize::try_from(count % 3).unwrap_or(0)];
        let number = |text: &str| text.parse::<Decimal>().unwrap_or_default();
        let strategy = if count.is_multiple_of(7) { "manual" } else { "sma-cross" };
        let key = format!("preview-{count}");
        let is_limit = count.is_multiple_of(2);
        let intent = OrderIntent {
            order: OrderId::derive(strategy, &key),
            key,
            strategy: strategy.into(),
            actor: strategy.into(),
            exchange,
            symbol: symbol.into(),
            side: if count.is_multiple_of(3) { Side::Sell } else { Side::Buy },
            order_type: if is_limit { OrderType::Limit } else { OrderType::Market },
            time_in_force: if is_limit { TimeInForce::Gtc } else { TimeInForce::Ioc },
            quantity: number(quantity),
            limit_price: is_limit.then(|| number(price)),
            requested_at: at,
            reason: None,
            decided_at: None,
        };
        events.push(self.ledger(&intent, Record::Intent));
        let guard = if self.killed && count > 36 {
            Some(Guard::KillSwitch)
        } else if count.is_multiple_of(5) {
            Some([Guard::Notional, Guard::Exposure, Guard::Rate][usize::try_from(count / 5 % 3).unwrap_or(0)])
        } else {
            None
        };
        let verdict = verdict(&intent, self.sequence, at, guard);
        events.push(self.ledger(&verdict, Record::Verdict));
        if guard.is_none() {
            let event = event(&intent, self.sequence, at, number(price), count);
            events.push(self.ledger(&event, Record::Order));
        }
        events.push(Event::Mark(Mark {
            venue: exchange,
            symbol: symbol.into(),
            bid: number(price),
            ask: number(price),
            price: number(price),
            quote_usd: if exchange == Venue::Btcturk { number("0.0236") } else { Decimal::ONE },
            received_at: at,
            feed_sequence: 1,
        }));
        events
    }

    fn begin(&mut self, at: Timestamp) -> Vec<Event> {
        let strategy = StrategyCommand {
            strategy: "sma-cross".into(),
            run: true,
            symbols: Vec::new(),
            actor: "operator".into(),
            reason: "the demo begins".into(),
            at,
        };
        let mut events = vec![self.ledger(&strategy, Record::Strategy)];
        for (exchange, halted) in [(Venue::Binance, None), (Venue::Btcturk, self.killed.then(|| "positions differ".to_owned()))] {
            let invariant = |name: &str| Invariant {
                name: name.into(),
                holds: halted.is_none() || name != "positions",
                detail: "ledger 0.012 BTC, exchange 0.010 BTC".into(),
            };
            let compared = Reconciliation {
                exchange,
                mode: TradingMode::Paper,
                at,
                occasion: "start".into(),
                invariants: ["positions", "open_orders", "average_price", "profit_and_loss"].map(invariant).into(),
                orphans: Vec::new(),
                baseline: BTreeMap::new(),
                halted: halted.clone(),
            };
            events.push(self.ledger(&compared, Record::Reconciliation));
        }
        if self.killed {
            let reason = "prices of two venues are 4 % apart".to_owned();
            let command = KillSwitch { on: true, cancel_open: true, actor: "operator".into(), reason, at };
            events.push(self.ledger(&command, Record::KillSwitch));
        }
        events
    }
}

fn verdict(intent: &OrderIntent, intent_sequence: u64, at: Timestamp, guard: Option<Guard>) -> Verdict {
    let reason = match guard {
        None => "within every limit",
        Some(Guard::Notional) => "14203.10 USD is more than the limit of 10000 USD for one order",
        Some(Guard::Exposure) => "51233.00 USD with 2 open orders is more than the limit of 50000 USD for the symbol",
        Some(Guard::KillSwitch) => "the kill switch is on: prices of two venues are 4 % apart",
        Some(_) => "121 orders within a minute are more than 120",
    };
    Verdict {
        order: intent.order.clone(),
        approved: guard.is_none(),
        guard,
        reason: reason.into(),
        intent: intent.clone(),
        intent_sequence,
        decided_on: intent_sequence,
        decided_at: at,
        expires_at: at + Duration::from_secs(10),
        checks: Vec::new(),
        mark: None,
        limits_sequence: 0,
        position: Decimal::ZERO,
        reserved_buy: Decimal::ZERO,
        reserved_sell: Decimal::ZERO,
    }
}

fn event(intent: &OrderIntent, verdict_sequence: u64, at: Timestamp, price: Decimal, count: u64) -> OrderEvent {
    let whole = count % 11 != 4;
    let quantity = if whole { intent.quantity } else { intent.quantity / Decimal::TWO };
    let working = count % 11 == 6;
    let fill = Fill {
        trade_id: count.to_string(),
        price,
        quantity,
        fee: Decimal::new(1, 1),
        fee_asset: "USDT".into(),
        is_maker: false,
        at,
    };
    let step = |state, fill| Step { state, evidence: Evidence::Paper, reason: None, at, fill };
    let mut steps = vec![step(OrderState::Pending, None), step(OrderState::Submitted, None)];
    if !working {
        steps.push(step(if whole { OrderState::Filled } else { OrderState::PartiallyFilled }, Some(fill)));
    }
    let filled = if working { Decimal::ZERO } else { quantity };
    OrderEvent {
        order: intent.order.clone(),
        revision: 1,
        verdict_sequence,
        mode: TradingMode::Paper,
        exchange: intent.exchange,
        symbol: intent.symbol.clone(),
        strategy: intent.strategy.clone(),
        side: intent.side,
        quantity: intent.quantity,
        client_order_id: intent.order.client_id(),
        exchange_order_id: Some(format!("paper-{count}")),
        steps,
        filled,
        filled_quote: filled * price,
    }
}
