//! A history of the LEDGER that follows from a number: orders in every state, every other kind that the gateway reads, and
//! what cannot be read.

use bytes::Bytes;
use spark_bus_schema::catalogue;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{Evidence, Fill, OrderEvent, OrderIntent, OrderState, OrderType, Step, TimeInForce, TradingMode};
use spark_bus_schema::risk::{Guard, Verdict};
use spark_bus_schema::subject::{self, LEDGER};
use spark_bus_schema::{Decimal, Kind, Message, OrderId, Timestamp, Venue, encode};
use spark_gateway::event::{Event, Unreadable};
use spark_gateway::record::{Entry, Record, SUBJECTS};

/// A message of the LEDGER before it is stored.
pub struct Told {
    pub subject: String,
    pub kind: Kind,
    pub payload: Bytes,
}

impl Told {
    /// Who may publish it.
    pub fn user(&self) -> &'static str {
        let is = |beginning: &str| self.subject.starts_with(beginning);
        match () {
            () if is("orders.intent.") => "strategy",
            () if is("orders.") => "executor",
            () if is("risk.") => "risk",
            () if is("audit.backtest.") => "backtest",
            () if is("audit.") && !is("audit.smoke") => "auditor",
            () if is("rollout.") => "rollout",
            () => "operator",
        }
    }

    /// As the reader of the LEDGER hands it to the view.
    pub fn event(&self, sequence: u64) -> Result<Event, Unreadable> {
        let kind = self.kind.to_string();
        let record = Record::decode(&self.subject, Some(&kind), &self.payload)?.expect("a subject that is read");
        Ok(Event::Ledger(Box::new(Entry { sequence, kind, payload: self.payload.clone(), record })))
    }
}

/// Tells one message after the other.
pub struct History {
    random: u64,
    sequence: u64,
    waiting: Vec<(OrderIntent, u64)>,
    approved: Vec<(OrderIntent, u64, u64)>,
    others: Vec<(String, Kind, Bytes)>,
}

impl History {
    pub fn new(seed: u64) -> Self {
        Self { random: seed, sequence: 0, waiting: Vec::new(), approved: Vec::new(), others: others() }
    }

    /// Below `end`; SplitMix64.
    pub fn below(&mut self, end: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }

    /// How many have been told: the place of the newest one, if nobody else writes.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Orders of which the end has not been told.
    pub fn orders(&self) -> impl Iterator<Item = OrderId> {
        self.approved
            .iter()
            .map(|(intent, ..)| intent.order.clone())
            .chain(self.waiting.iter().map(|(intent, _)| intent.order.clone()))
    }

    pub fn next(&mut self) -> Told {
        self.sequence += 1;
        match self.below(40) {
            0 => {
                // Nobody can read it.
                told(subject::intent(&OrderId::derive("s", "garbage")), OrderIntent::KIND, b"\xc1".to_vec())
            }
            1..4 => {
                let place = self.below(self.others.len());
                let (subject, kind, payload) = self.others[place].clone();
                Told { subject, kind, payload }
            }
            4..18 if !self.waiting.is_empty() => self.verdict(),
            18..30 if !self.approved.is_empty() => self.event(),
            _ => self.intent(),
        }
    }

    fn intent(&mut self) -> Told {
        let (strategy, key) = (format!("s{}", self.below(4)), format!("k{}", self.sequence));
        let intent = OrderIntent {
            order: OrderId::derive(&strategy, &key),
            key,
            strategy,
            actor: "history".into(),
            exchange: Venue::Binance,
            symbol: ["BTCUSDT", "ETHUSDT"][self.below(2)].into(),
            side: if self.below(2) == 0 { Side::Buy } else { Side::Sell },
            order_type: OrderType::Limit,
            time_in_force: TimeInForce::Gtc,
            quantity: Decimal::new(1 + i64::try_from(self.below(900)).unwrap(), 3),
            limit_price: Some(Decimal::new(6_001_025, 2)),
            requested_at: moment(self.sequence),
            reason: None,
            decided_at: None,
        };
        self.waiting.push((intent.clone(), self.sequence));
        told(subject::intent(&intent.order), OrderIntent::KIND, encode(&intent))
    }

    fn verdict(&mut self) -> Told {
        let place = self.below(self.waiting.len());
        let (intent, intent_sequence) = self.waiting.swap_remove(place);
        let approved = self.below(5) > 0;
        if approved {
            self.approved.push((intent.clone(), self.sequence, 0));
        }
        let mut verdict = approval(intent, intent_sequence);
        if !approved {
            verdict.approved = false;
            verdict.guard = Some([Guard::Notional, Guard::Exposure][self.below(2)]);
            verdict.reason = "too much".into();
        }
        told(subject::verdict(&verdict.order), Verdict::KIND, encode(&verdict))
    }

    /// First it is sent; then it fills, or not. Some are told twice, which the book refuses.
    fn event(&mut self) -> Told {
        let place = self.below(self.approved.len());
        let (intent, verdict_sequence, revision) = self.approved[place].clone();
        let (revision, states, filled) = match revision {
            0 => (1, vec![OrderState::Pending, OrderState::Submitted], false),
            1 if self.below(10) == 0 => (1, vec![OrderState::Pending, OrderState::Submitted], false),
            _ if self.below(4) == 0 => (2, vec![OrderState::Cancelled], false),
            _ => (2, vec![OrderState::Filled], true),
        };
        if revision == 2 {
            self.approved.swap_remove(place);
        } else {
            self.approved[place].2 = revision;
        }
        let (price, at) = (Decimal::new(6_001_025, 2), moment(self.sequence));
        let fill = Fill {
            trade_id: format!("t{}", self.sequence),
            price,
            quantity: intent.quantity,
            fee: Decimal::new(5, 2),
            fee_asset: "USDT".into(),
            is_maker: true,
            at,
        };
        let step = |state: &OrderState| Step {
            state: *state,
            evidence: Evidence::Answer,
            reason: (*state == OrderState::Cancelled).then(|| "asked for".to_owned()),
            at,
            fill: filled.then(|| fill.clone()),
        };
        let event = OrderEvent {
            order: intent.order.clone(),
            revision,
            verdict_sequence,
            mode: TradingMode::Paper,
            exchange: intent.exchange,
            symbol: intent.symbol.clone(),
            strategy: intent.strategy.clone(),
            side: intent.side,
            quantity: intent.quantity,
            client_order_id: intent.order.client_id(),
            exchange_order_id: Some(format!("x{verdict_sequence}")),
            steps: states.iter().map(step).collect(),
            filled: if filled { intent.quantity } else { Decimal::ZERO },
            filled_quote: if filled { price * intent.quantity } else { Decimal::ZERO },
        };
        told(subject::order_event(&event.order), OrderEvent::KIND, encode(&event))
    }
}

fn approval(intent: OrderIntent, intent_sequence: u64) -> Verdict {
    Verdict {
        order: intent.order.clone(),
        approved: true,
        guard: None,
        reason: "within every limit".into(),
        intent_sequence,
        decided_on: intent_sequence,
        decided_at: moment(intent_sequence),
        expires_at: moment(intent_sequence + 10_000),
        checks: Vec::new(),
        mark: None,
        limits_sequence: 0,
        position: Decimal::ZERO,
        reserved_buy: Decimal::ZERO,
        reserved_sell: Decimal::ZERO,
        intent,
    }
}

fn told(subject: String, kind: Kind, payload: Vec<u8>) -> Told {
    Told { subject, kind, payload: payload.into() }
}

fn moment(number: u64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + i64::try_from(number).unwrap())
}

/// One message of every kind that the gateway reads, those of orders left out.
fn others() -> Vec<(String, Kind, Bytes)> {
    let orders = [subject::INTENTS, subject::VERDICTS, subject::ORDER_EVENTS];
    let read = catalogue::entries().into_iter().filter(|entry| entry.stream == LEDGER && SUBJECTS.contains(&entry.subject));
    let other = read.filter(|entry| !orders.contains(&entry.subject)).map(|entry| {
        let sample = (entry.sample)();
        // In the wrong place it says where it belongs.
        let elsewhere = entry.subject.replace('>', "x.y");
        let subject = match Record::decode(&elsewhere, Some(&entry.kind.to_string()), &sample) {
            Err(Unreadable::Misplaced { belongs }) => belongs,
            Ok(Some(_)) => elsewhere,
            other => panic!("{elsewhere}: {other:?}"),
        };
        (subject, entry.kind, sample.into())
    });
    let others: Vec<_> = other.collect();
    assert!(others.len() >= SUBJECTS.len() - orders.len() - 1, "{} kinds", others.len());
    others
}

/// An order by hand, and risk's word on it, as `POST /api/exec/order` asks for it again.
pub fn by_hand(key: &str, sequence: u64) -> [Told; 2] {
    let intent = OrderIntent {
        order: OrderId::derive("manual", key),
        key: key.into(),
        strategy: "manual".into(),
        actor: "operator".into(),
        exchange: Venue::Binance,
        symbol: "BTCUSDT".into(),
        side: Side::Buy,
        order_type: OrderType::Limit,
        time_in_force: TimeInForce::Gtc,
        quantity: Decimal::new(10, 3),
        limit_price: Some(Decimal::new(6_183_762, 2)),
        requested_at: moment(sequence),
        reason: None,
        decided_at: None,
    };
    let verdict = approval(intent.clone(), sequence);
    [
        told(subject::intent(&intent.order), OrderIntent::KIND, encode(&intent)),
        told(subject::verdict(&verdict.order), Verdict::KIND, encode(&verdict)),
    ]
}
