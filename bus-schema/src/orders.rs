//! Orders: what somebody wants, what became of it, and whether the exchange agrees.

use std::collections::BTreeMap;
use std::fmt;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::codec::{Kind, Message};
use crate::instrument::Venue;
use crate::market::Side;
use crate::time::Timestamp;

/// The strategy of orders that people place.
pub const MANUAL: &str = "manual";
/// Characters of an order id: 130 bits of a hash.
pub const ORDER_ID_CHARS: usize = 26;
/// Every client order id that Spark gives to an exchange begins with this, so that a sweep knows its own.
pub const CLIENT_ID_PREFIX: &str = "spark-";
/// Longest idempotency key, strategy and actor.
pub const NAME_CHARS_MAX: usize = 128;
/// Prices and quantities lie between zero and this.
pub const AMOUNT_MAX: Decimal = Decimal::from_parts(3_567_587_328, 232, 0, false, 0);
/// Decimals of a price or quantity, at most.
pub const AMOUNT_SCALE_MAX: u32 = 18;
/// Steps in one event, at most: a market order that walks a deep book.
pub const STEPS_MAX: usize = 1_000;

/// Names one order for ever. It follows from the strategy and the idempotency key, so a repeated request names the same
/// order, on any machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct OrderId(String);

impl OrderId {
    /// The first 26 characters of the lower-case base32 (RFC 4648 alphabet) of
    /// SHA-256(`<bytes of strategy> ":" strategy "," <bytes of key> ":" key`), lengths in decimal.
    #[must_use]
    pub fn derive(strategy: &str, key: &str) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let hash = Sha256::digest(format!("{}:{strategy},{}:{key}", strategy.len(), key.len()));
        let bit = |at: usize| (hash[at / 8] >> (7 - at % 8)) & 1;
        let digit = |at: usize| (0..5).fold(0, |digit, offset| digit << 1 | bit(at * 5 + offset));
        Self((0..ORDER_ID_CHARS).map(|at| char::from(ALPHABET[usize::from(digit(at))])).collect())
    }

    /// Takes a text that is an order id.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fits =
            text.len() == ORDER_ID_CHARS && text.bytes().all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{text:.64}` is not an order id: 26 characters of a-z and 2-7"))
        }
    }

    /// The order of a client order id; none when it is not Spark's.
    #[must_use]
    pub fn from_client_id(client_id: &str) -> Option<Self> {
        Self::parse(client_id.strip_prefix(CLIENT_ID_PREFIX)?).ok()
    }

    /// What the exchange knows the order by: 32 characters, each of them allowed at every venue.
    #[must_use]
    pub fn client_id(&self) -> String {
        format!("{CLIENT_ID_PREFIX}{}", self.0)
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the price is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderType {
    /// At the limit price or better.
    Limit,
    /// At whatever the book offers.
    Market,
}

/// How long an order lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeInForce {
    /// Until filled or cancelled.
    Gtc,
    /// What can be filled at once; the rest expires. Market orders are always this.
    Ioc,
    /// All at once or nothing.
    Fok,
}

/// Somebody wants an order. Subject `orders.intent.<order>`, published with an expected last sequence of 0: the first one
/// is the order, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderIntent {
    /// [`OrderId::derive`] of strategy and key.
    pub order: OrderId,
    /// The idempotency key, 1 to 128 characters.
    pub key: String,
    /// Who decided: a strategy's name (letters, digits, `-`, `_`), or `manual`.
    pub strategy: String,
    /// Who asked: a person, a token's name, a process.
    pub actor: String,
    /// Where.
    pub exchange: Venue,
    /// Spark's spelling, e.g. `BTCUSDT`.
    pub symbol: String,
    /// Buy or sell.
    pub side: Side,
    /// Limit or market.
    pub order_type: OrderType,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// In base currency.
    #[schemars(with = "String")]
    pub quantity: Decimal,
    /// Quote per base; limit orders only.
    #[schemars(with = "Option<String>")]
    pub limit_price: Option<Decimal>,
    /// By the asker's clock.
    pub requested_at: Timestamp,
    /// Why, in the asker's words.
    pub reason: Option<String>,
    /// The moment in the market's record (FEED's stored time) that led to it, e.g. a candle's `closed_at`. A paper order
    /// with one is filled against the book of that moment, so that a backtest of the record gives the same trades.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
}

impl OrderIntent {
    /// Whether both ask for the same: everything but the time and who carried it.
    #[must_use]
    pub fn same_request(&self, other: &Self) -> bool {
        let plain = |intent: &Self| Self {
            requested_at: Timestamp::ZERO,
            decided_at: None,
            actor: String::new(),
            reason: None,
            ..intent.clone()
        };
        plain(self) == plain(other)
    }
}

impl Message for OrderIntent {
    const KIND: Kind = Kind { name: "order_intent", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        name("key", &self.key)?;
        name("actor", &self.actor)?;
        strategy_name(&self.strategy)?;
        symbol(&self.symbol)?;
        if self.order != OrderId::derive(&self.strategy, &self.key) {
            return Err(format!("order: {} does not follow from strategy and key; see OrderId::derive", self.order));
        }
        amount("quantity", self.quantity)?;
        match (self.order_type, self.limit_price, self.time_in_force) {
            (OrderType::Limit, Some(price), _) => amount("limit_price", price),
            (OrderType::Limit, None, _) => Err("limit_price: a limit order needs one".to_owned()),
            (OrderType::Market, Some(_), _) => Err("limit_price: a market order has none".to_owned()),
            (OrderType::Market, None, TimeInForce::Ioc) => Ok(()),
            (OrderType::Market, None, _) => Err("time_in_force: a market order is always ioc".to_owned()),
        }
    }
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Claimed by the executor; it may be on its way. Stored before anything is sent.
    Pending,
    /// The exchange has it.
    Submitted,
    /// Some of it traded.
    PartiallyFilled,
    /// All of it traded.
    Filled,
    /// Its fills were found in the exchange's own record.
    Settled,
    /// Taken back; may hold fills.
    Cancelled,
    /// The exchange refused it.
    Rejected,
    /// Its life ended (IOC, FOK, or too old to be sent); may hold fills.
    Expired,
    /// Sent, and the answer was lost: keeps its worst case reserved until the exchange says what became of it.
    Unknown,
}

impl OrderState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Submitted,
        Self::PartiallyFilled,
        Self::Filled,
        Self::Settled,
        Self::Cancelled,
        Self::Rejected,
        Self::Expired,
        Self::Unknown,
    ];

    /// No further fill is possible.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Filled | Self::Settled | Self::Cancelled | Self::Rejected | Self::Expired)
    }

    /// The table of transitions. `from` is none for the first step of an order.
    #[must_use]
    pub const fn may_follow(self, from: Option<Self>) -> bool {
        use OrderState::{Cancelled, Expired, Filled, PartiallyFilled, Pending, Rejected, Settled, Submitted, Unknown};
        match from {
            None => matches!(self, Pending),
            Some(Pending) => matches!(self, Submitted | Rejected | Expired | Cancelled | Unknown),
            Some(Submitted) => matches!(self, PartiallyFilled | Filled | Cancelled | Rejected | Expired | Unknown),
            Some(PartiallyFilled) => matches!(self, PartiallyFilled | Filled | Cancelled | Expired | Unknown),
            Some(Unknown) => matches!(self, Submitted | PartiallyFilled | Filled | Cancelled | Rejected | Expired),
            Some(Filled) => matches!(self, Settled),
            Some(Settled | Cancelled | Rejected | Expired) => false,
        }
    }

    /// As on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Submitted => "submitted",
            Self::PartiallyFilled => "partially_filled",
            Self::Filled => "filled",
            Self::Settled => "settled",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for OrderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether money moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TradingMode {
    /// Filled by Spark against the live top of book.
    Paper,
    /// Sent to the exchange (the real one or the simulated one).
    Live,
}

/// How the executor came to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The verdict; nothing has been sent yet.
    Approval,
    /// The exchange's answer to the submit or the cancel.
    Answer,
    /// The exchange's user data stream.
    UserData,
    /// The exchange was asked about the order.
    Query,
    /// The paper book.
    Paper,
    /// The answer was lost; this is the reason for `unknown`, never for a final state.
    AnswerLost,
    /// The ledger itself: nothing was ever sent (approval too old, kill switch, trading halted, cancelled before).
    NeverSent,
}

/// One trade of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fill {
    /// The exchange's id of the trade; counts once.
    pub trade_id: String,
    /// Quote per base.
    #[schemars(with = "String")]
    pub price: Decimal,
    /// In base currency.
    #[schemars(with = "String")]
    pub quantity: Decimal,
    /// Not negative.
    #[schemars(with = "String")]
    pub fee: Decimal,
    /// What the fee is paid in.
    pub fee_asset: String,
    /// Whether the order rested in the book.
    pub is_maker: bool,
    /// By the exchange's clock.
    pub at: Timestamp,
}

/// One transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// The state after it.
    pub state: OrderState,
    /// How it is known.
    pub evidence: Evidence,
    /// The exchange's or Spark's words, where there are any.
    pub reason: Option<String>,
    /// When the executor knew.
    pub at: Timestamp,
    /// Its trade; `partially_filled` and `filled` have one, and `cancelled` and `expired` may not.
    pub fill: Option<Fill>,
}

/// What became of an order, one message for whatever happened at once. Subject `orders.event.<order>`, compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderEvent {
    /// The order.
    pub order: OrderId,
    /// 1, 2, 3 … of this order.
    pub revision: u64,
    /// Ledger sequence of the verdict.
    pub verdict_sequence: u64,
    /// Whether money moves.
    pub mode: TradingMode,
    /// Where.
    pub exchange: Venue,
    /// Spark's spelling.
    pub symbol: String,
    /// Whose.
    pub strategy: String,
    /// Buy or sell.
    pub side: Side,
    /// Ordered, base currency.
    #[schemars(with = "String")]
    pub quantity: Decimal,
    /// What the exchange knows it by.
    pub client_order_id: String,
    /// The exchange's own id, once known.
    pub exchange_order_id: Option<String>,
    /// What happened, in order; at least one.
    pub steps: Vec<Step>,
    /// Filled in all after this, base currency.
    #[schemars(with = "String")]
    pub filled: Decimal,
    /// Price × quantity of every fill so far, quote currency.
    #[schemars(with = "String")]
    pub filled_quote: Decimal,
}

impl OrderEvent {
    /// The state after this event.
    #[must_use]
    pub fn state(&self) -> OrderState {
        self.steps.last().map_or(OrderState::Unknown, |step| step.state)
    }
}

impl Message for OrderEvent {
    const KIND: Kind = Kind { name: "order_event", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        symbol(&self.symbol)?;
        strategy_name(&self.strategy)?;
        amount("quantity", self.quantity)?;
        if self.steps.is_empty() || self.steps.len() > STEPS_MAX {
            return Err(format!("steps: {} of them, 1 to {STEPS_MAX} are allowed", self.steps.len()));
        }
        let mut from = if self.revision == 1 { None } else { Some(None) };
        for (index, step) in self.steps.iter().enumerate() {
            // The first step of a later event follows a state that only the reader of the subject knows.
            if !matches!(from, Some(None)) && !step.state.may_follow(from.flatten()) {
                return Err(format!(
                    "steps[{index}]: {} cannot follow {}",
                    step.state,
                    from.flatten().map_or("nothing", OrderState::as_str)
                ));
            }
            from = Some(Some(step.state));
            step.check(index)?;
        }
        if self.filled < Decimal::ZERO || self.filled_quote < Decimal::ZERO {
            return Err("filled: negative".to_owned());
        }
        Ok(())
    }
}

impl Step {
    fn check(&self, index: usize) -> Result<(), String> {
        let is_fill = matches!(self.state, OrderState::PartiallyFilled | OrderState::Filled);
        if is_fill != self.fill.is_some() {
            return Err(format!("steps[{index}]: {} {} a fill", self.state, if is_fill { "needs" } else { "has no place for" }));
        }
        if self.evidence == Evidence::AnswerLost && self.state != OrderState::Unknown {
            return Err(format!("steps[{index}]: a lost answer is no evidence for {}", self.state));
        }
        let Some(fill) = &self.fill else { return Ok(()) };
        amount("fill.price", fill.price)?;
        amount("fill.quantity", fill.quantity)?;
        if fill.fee < Decimal::ZERO || fill.trade_id.is_empty() {
            return Err(format!("steps[{index}].fill: negative fee, or no trade id"));
        }
        Ok(())
    }
}

/// What the venue allows for one symbol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    /// Prices are multiples of this.
    #[schemars(with = "String")]
    pub tick_size: Decimal,
    /// Quantities are multiples of this.
    #[schemars(with = "String")]
    pub step_size: Decimal,
    /// Smallest quantity.
    #[schemars(with = "String")]
    pub quantity_min: Decimal,
    /// Largest quantity.
    #[schemars(with = "String")]
    pub quantity_max: Decimal,
    /// Smallest price × quantity, quote currency.
    #[schemars(with = "String")]
    pub notional_min: Decimal,
    /// Whether market orders are taken.
    pub market_orders: bool,
}

/// The filters of an exchange's symbols, as the executor read them. Subject `orders.instruments.<exchange>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstrumentFilters {
    /// The exchange.
    pub exchange: Venue,
    /// When they were read.
    pub at: Timestamp,
    /// By symbol.
    pub symbols: BTreeMap<String, Filters>,
}

impl Message for InstrumentFilters {
    const KIND: Kind = Kind { name: "instrument_filters", version: 1 };
    crate::codec::bytes_here!();

    fn validate(&self) -> Result<(), String> {
        for (name, filters) in &self.symbols {
            symbol(name)?;
            let sizes = [filters.tick_size, filters.step_size, filters.quantity_min, filters.quantity_max, filters.notional_min];
            if sizes.iter().any(|size| *size < Decimal::ZERO) {
                return Err(format!("symbols.{name}: negative"));
            }
        }
        Ok(())
    }
}

/// One of the four things that must be true between ledger and exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invariant {
    /// `positions`, `open_orders`, `average_price` or `profit_and_loss`.
    pub name: String,
    /// Whether it holds.
    pub holds: bool,
    /// What the ledger says and what the exchange says, where they differ; otherwise what was compared.
    pub detail: String,
}

/// The ledger was compared with the exchange. Subject `orders.reconciliation.<exchange>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reconciliation {
    /// The exchange.
    pub exchange: Venue,
    /// Whether money moves.
    pub mode: TradingMode,
    /// When.
    pub at: Timestamp,
    /// `start`, `periodic`, `reconnect`, `command`.
    pub occasion: String,
    /// All four, in order.
    pub invariants: Vec<Invariant>,
    /// Orders at the exchange that the ledger does not know, by client or exchange id.
    pub orphans: Vec<String>,
    /// What the account held before the ledger's first order: asset → amount. Positions are compared on top of it.
    #[schemars(with = "BTreeMap<String, String>")]
    pub baseline: BTreeMap<String, Decimal>,
    /// Why trading on this exchange is halted; none when it is not. Lifted by `control.resume` only.
    pub halted: Option<String>,
}

impl Message for Reconciliation {
    const KIND: Kind = Kind { name: "reconciliation", version: 1 };
    crate::codec::bytes_here!();
}

/// A holder took over as the only writer. Subjects `risk.epoch` and `orders.epoch`; its ledger sequence is the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Epoch {
    /// The process.
    pub process: String,
    /// Which one of them.
    pub holder: String,
    /// By its clock.
    pub at: Timestamp,
}

impl Message for Epoch {
    const KIND: Kind = Kind { name: "epoch", version: 1 };
    crate::codec::bytes_here!();
}

/// A price or quantity that an order can have: above zero, at most [`AMOUNT_MAX`], at most [`AMOUNT_SCALE_MAX`] decimals.
///
/// # Errors
/// What is wrong, with the field.
pub fn amount(field: &str, value: Decimal) -> Result<(), String> {
    if value <= Decimal::ZERO || value > AMOUNT_MAX {
        return Err(format!("{field}: {value} is not above 0 and at most {AMOUNT_MAX}"));
    }
    if value.normalize().scale() > AMOUNT_SCALE_MAX {
        return Err(format!("{field}: {value} has more than {AMOUNT_SCALE_MAX} decimals"));
    }
    Ok(())
}

/// A strategy's name: 1 to 128 letters, digits, `-` or `_`.
///
/// # Errors
/// What is wrong.
pub fn strategy_name(text: &str) -> Result<(), String> {
    name("strategy", text)?;
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        return Ok(());
    }
    Err(format!("strategy: `{text}` may hold only letters, digits, `-` and `_`"))
}

pub(crate) fn name(field: &str, text: &str) -> Result<(), String> {
    let chars = text.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX {
        return Err(format!("{field}: {chars} characters, 1 to {NAME_CHARS_MAX} are allowed"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{field}: control characters are not allowed"));
    }
    Ok(())
}

pub(crate) fn symbol(text: &str) -> Result<(), String> {
    let plain =
        !text.is_empty() && text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if plain { Ok(()) } else { Err(format!("symbol: `{text:.64}` may hold only A-Z and 0-9, e.g. BTCUSDT")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_are_deterministic() {
        let id = OrderId::derive("manual", "key-1");
        assert_eq!(id, OrderId::derive("manual", "key-1"));
        assert_eq!(OrderId::parse(id.as_str()), Ok(id.clone()));
        assert_eq!(OrderId::from_client_id(&id.client_id()), Some(id.clone()));
        assert_eq!(id.client_id().len(), 32);
        // The lengths keep what is joined apart.
        assert_ne!(OrderId::derive("ab", "c"), OrderId::derive("a", "bc"));
        assert_eq!(OrderId::from_client_id("web_1234"), None);
        assert!(OrderId::parse("ABC").is_err());
    }

    #[test]
    fn amounts_are_exact_from_a_hundred_millionth_to_a_million_million() {
        let check = |text: &str, want: bool| assert_eq!(amount("x", text.parse().unwrap()).is_ok(), want, "{text}");
        check("0.00000001", true);
        check("1000000000000", true);
        check("1000000000000.00000001", false);
        check("0", false);
        check("-1", false);
        check("0.0000000000000000001", false);
        assert_eq!(AMOUNT_MAX.to_string(), "1000000000000");
    }

    #[test]
    fn final_states_lead_nowhere_but_filled_settles() {
        for from in OrderState::ALL {
            for to in OrderState::ALL {
                if from.is_final() {
                    assert_eq!(
                        to.may_follow(Some(from)),
                        from == OrderState::Filled && to == OrderState::Settled,
                        "{from} → {to}"
                    );
                }
                assert!(to != OrderState::Pending || !to.may_follow(Some(from)), "{from} → pending");
            }
        }
        assert!(OrderState::Pending.may_follow(None));
    }
}
