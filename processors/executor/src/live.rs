//! One exchange over its real protocols: what the core wants done becomes calls, what the exchange says becomes events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use spark_bus_schema::market::Side;
use spark_bus_schema::orders::{Fill, OrderId, OrderType};
use spark_bus_schema::{Timestamp, Venue};
use spark_exchanges::orders::{
    AccountFill, CancelOutcome, FillReport, FillsOf, Lookup, Moment, NewOrder, OrderKind, OrderRef, OrderReport, ReportState,
    SubmitOutcome, Trading, UserData, UserDataConfig, UserEvent,
};
use spark_exchanges::{Binance, BtcTurk, Error as CallError, ErrorType};
use spark_ledger::money;
use spark_nats::Lease;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::config::ExchangeConfig;
use crate::machine::Event;
use crate::machine::facts::{Facts, Terms};
use crate::machine::report::{self, Cancelled, Report, Stand, Submitted};
use crate::telemetry::CallQueue;

/// Trades are asked for from this long before the last comparison: clocks differ, and lists lag.
pub(crate) const OVERLAP: Duration = Duration::from_secs(60);
/// A request that is not answered within this much more than its window is taken for lost.
const WINDOW_MARGIN: Duration = Duration::from_secs(1);

/// Something that a task tells the engine.
#[derive(Debug)]
pub(crate) enum Heard {
    /// For the core.
    Core(Event),
    /// A trade of an order that is told by the exchange's id alone.
    ByExchangeId(Venue, String, Option<Report>),
    /// An order that is not Spark's.
    Foreign(Venue),
    /// What the exchange says, to be compared; or why it could not be asked.
    Snapshot(Venue, Box<Result<Snapshot, String>>),
    /// The rules of the exchange's symbols.
    Filters(Venue, BTreeMap<String, spark_exchanges::orders::Filters>),
}

/// What the exchange says about itself.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// When it was begun.
    pub begun_at: Timestamp,
    pub balances: BTreeMap<String, Decimal>,
    /// Client ids, or exchange ids of orders without one.
    pub open: BTreeSet<String>,
    pub trades: Vec<(String, Side, Fill)>,
}

/// Whether an order may leave, asked right before it does.
#[derive(Clone)]
pub(crate) struct Gate {
    pub lease: Arc<Lease>,
    pub stopped: watch::Receiver<bool>,
}

impl Gate {
    async fn stops(&self) {
        let mut stopped = self.stopped.clone();
        // The sender lives as long as the engine; without it nothing may leave either.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

/// One exchange.
pub(crate) struct Live {
    pub venue: Venue,
    pub trading: Arc<Trading>,
    permits: Arc<Semaphore>,
    gate: Option<Gate>,
    events: mpsc::Sender<Heard>,
    pub filters: BTreeMap<String, spark_exchanges::orders::Filters>,
}

impl Live {
    /// A client; nothing is sent yet, and nothing can be without a gate.
    pub fn new(
        venue: Venue,
        config: &ExchangeConfig,
        queue: &CallQueue,
        gate: Option<Gate>,
        events: mpsc::Sender<Heard>,
    ) -> Result<Self, CallError> {
        let api = config.api();
        let trading = match venue {
            Venue::Binance => Trading::Binance(Binance::new(&api, None, queue.observer())?),
            Venue::Btcturk => Trading::Btcturk(BtcTurk::new(&api, None, queue.observer())?),
            Venue::Bist => return Err(CallError::new(venue, "start", ErrorType::Server, "BIST takes no orders")),
        };
        let permits = Arc::new(Semaphore::new(config.calls_max));
        Ok(Self { venue, trading: Arc::new(trading), permits, gate, events, filters: BTreeMap::new() })
    }

    /// Where answers go.
    pub fn events(&self) -> mpsc::Sender<Heard> {
        self.events.clone()
    }

    /// How long after a send a request may still arrive.
    pub fn window(&self) -> Duration {
        self.trading.conclusive_after(None) + WINDOW_MARGIN
    }

    /// Sends an order. `ask` is the best ask, for what is bought by quote amount.
    pub fn send(&self, terms: Arc<Terms>, ask: Option<Decimal>) {
        let (trading, gate, permits) = (Arc::clone(&self.trading), self.gate.clone(), Arc::clone(&self.permits));
        let quote_step = self.filters.get(&terms.symbol).and_then(|filters| filters.quote_step);
        let order = new_order(self.venue, &terms, ask, quote_step);
        let (venue, events) = (self.venue, self.events.clone());
        tokio::spawn(async move {
            // Closed never: the engine holds it.
            let _permit = permits.acquire_owned().await;
            let outcome = match (order, gate) {
                (Ok(order), Some(gate)) => submit(venue, &trading, &gate, &order).await,
                (Ok(_), None) => Submitted::NotSent("the exchange is not live".to_owned(), None),
                (Err(outcome), _) => outcome,
            };
            let _ = events.send(Heard::Core(Event::Submitted(terms.order.clone(), outcome))).await;
        });
    }

    /// Takes an order back.
    pub fn cancel(&self, terms: Arc<Terms>, exchange_order_id: Option<String>) {
        let (trading, gate, permits) = (Arc::clone(&self.trading), self.gate.clone(), Arc::clone(&self.permits));
        let events = self.events.clone();
        tokio::spawn(async move {
            let _permit = permits.acquire_owned().await;
            let outcome = if gate.is_some_and(|gate| gate.lease.is_valid()) {
                cancelled(trading.cancel(&order_ref(&terms, exchange_order_id)).await)
            } else {
                Cancelled::NotSent("the lease is not valid".to_owned(), None)
            };
            let _ = events.send(Heard::Core(Event::Cancelled(terms.order.clone(), outcome))).await;
        });
    }

    /// Asks what became of an order.
    pub fn ask(&self, terms: Arc<Terms>, exchange_order_id: Option<String>) {
        let (trading, permits, events) = (Arc::clone(&self.trading), Arc::clone(&self.permits), self.events.clone());
        tokio::spawn(async move {
            let _permit = permits.acquire_owned().await;
            let outcome = match trading.lookup(&order_ref(&terms, exchange_order_id)).await {
                Lookup::Found(found) => report::Lookup::Found(report(*found, true)),
                Lookup::NotFound => report::Lookup::NotFound,
                Lookup::Unknown(error) => report::Lookup::Failed(error.to_string(), error.retry_after),
            };
            let _ = events.send(Heard::Core(Event::Looked(terms.order.clone(), outcome))).await;
        });
    }

    /// Reads what is to be compared with the ledger.
    pub fn look(&self, symbols: Vec<String>, since: Timestamp) {
        let (trading, venue, events) = (Arc::clone(&self.trading), self.venue, self.events.clone());
        tokio::spawn(async move {
            let snapshot = snapshot(&trading, &symbols, since).await.map_err(|error| error.to_string());
            let _ = events.send(Heard::Snapshot(venue, Box::new(snapshot))).await;
        });
    }

    /// Looks for the trades of filled orders in the exchange's own record.
    pub fn settle(&self, orders: Vec<Facts>) {
        let (trading, events) = (Arc::clone(&self.trading), self.events.clone());
        tokio::spawn(async move {
            for facts in orders {
                let Some(id) = facts.exchange_order_id.clone() else { continue };
                let found = trading.fills(&facts.terms.symbol, FillsOf::Order(&id)).await;
                match found {
                    Ok(fills) if is_record_of(&facts, &fills) => {
                        let _ = events.send(Heard::Core(Event::Settled(facts.terms.order.clone()))).await;
                    }
                    Ok(_) => tracing::debug!(order = %facts.terms.order, "its trades are not in the exchange's record yet"),
                    Err(error) => {
                        tracing::debug!(%error, "could not read the exchange's record");
                        return;
                    }
                }
            }
        });
    }

    /// Reads the rules of symbols. One that cannot be read is left out.
    pub fn read_filters(&self, symbols: Vec<String>) {
        let (trading, venue, events) = (Arc::clone(&self.trading), self.venue, self.events.clone());
        tokio::spawn(async move {
            let all: Vec<&str> = symbols.iter().map(String::as_str).collect();
            if let Ok(read) = trading.all_filters(&all).await {
                for symbol in all.iter().filter(|symbol| !read.contains_key(**symbol)) {
                    tracing::warn!(exchange = %venue, symbol, "the exchange does not know this symbol");
                }
                let _ = events.send(Heard::Filters(venue, read)).await;
                return;
            }
            // One of them may be unknown there: the others are read all the same.
            let mut read = BTreeMap::new();
            for symbol in symbols {
                match trading.filters(&symbol).await {
                    Ok(filters) => _ = read.insert(symbol, filters),
                    Err(error) => tracing::warn!(exchange = %venue, symbol, %error, "the filters could not be read"),
                }
            }
            let _ = events.send(Heard::Filters(venue, read)).await;
        });
    }

    /// Listens to the user data stream for as long as the engine lives.
    pub fn listen(&self, config: UserDataConfig) {
        let (trading, venue, events) = (Arc::clone(&self.trading), self.venue, self.events.clone());
        tokio::spawn(async move {
            let mut stream = UserData::start(trading, config);
            loop {
                let event = tokio::select! {
                    () = events.closed() => return,
                    event = stream.next() => event,
                };
                let Some(event) = event else { return };
                if let Some(heard) = heard(venue, event)
                    && events.send(heard).await.is_err()
                {
                    return;
                }
            }
        });
    }
}

fn heard(venue: Venue, event: UserEvent) -> Option<Heard> {
    Some(match event {
        UserEvent::Connected => Heard::Core(Event::UserData(venue, true)),
        UserEvent::Disconnected { reason } => {
            tracing::warn!(exchange = %venue, reason, "the user data stream is away; open orders are asked about");
            Heard::Core(Event::UserData(venue, false))
        }
        UserEvent::Order(told) => match OrderId::from_client_id(&told.client_order_id) {
            Some(order) => Heard::Core(Event::Told(order, report(told, false))),
            None => Heard::Foreign(venue),
        },
        UserEvent::Fill(told) => {
            let order = told.client_order_id.as_deref().and_then(OrderId::from_client_id);
            let exchange_order_id = told.exchange_order_id.clone();
            let report =
                Report { exchange_order_id: Some(exchange_order_id.clone()), fills: vec![fill(told.fill)], ..Report::default() };
            match order {
                Some(order) => Heard::Core(Event::Told(order, report)),
                None => Heard::ByExchangeId(venue, exchange_order_id, Some(report)),
            }
        }
        UserEvent::Changed { exchange_order_id, client_order_id } => {
            match (client_order_id.as_deref().and_then(OrderId::from_client_id), exchange_order_id) {
                (Some(order), _) => Heard::Core(Event::Doubt(order)),
                (None, Some(id)) => Heard::ByExchangeId(venue, id, None),
                (None, None) => return None,
            }
        }
        UserEvent::BalanceChanged { .. } => return None,
    })
}

async fn submit(venue: Venue, trading: &Trading, gate: &Gate, order: &NewOrder) -> Submitted {
    // Taken before the looks: whoever is paused between them and the send is refused by the window.
    let at = Moment::now();
    let lasts = gate.lease.remaining();
    if *gate.stopped.borrow() {
        return Submitted::NotSent("nothing may be sent".to_owned(), None);
    }
    if lasts.is_zero() {
        return Submitted::NotSent("the lease is not valid".to_owned(), None);
    }
    let began = Instant::now();
    let outcome = tokio::select! {
        biased;
        // What waits inside the client must not leave later; what has left already is asked about.
        () = gate.stops() => return Submitted::Unknown("stopped while it was being sent".to_owned()),
        outcome = trading.submit(order, at, lasts) => outcome,
    };
    metrics::histogram!("spark_order_submit_latency_ms", "exchange" => venue.as_str())
        .record(began.elapsed().as_secs_f64() * 1e3);
    match outcome {
        SubmitOutcome::Accepted(told) => Submitted::Told(report(told, true)),
        SubmitOutcome::Rejected { code, reason, sent: true } => Submitted::Told(Report::rejected(words(code, &reason))),
        SubmitOutcome::Rejected { code, reason, sent: false } => Submitted::Unsupported(words(code, &reason)),
        SubmitOutcome::Unknown { error } => Submitted::Unknown(error.to_string()),
        SubmitOutcome::NotSent { error, retry_after } => Submitted::NotSent(error.to_string(), retry_after),
    }
}

fn cancelled(outcome: CancelOutcome) -> Cancelled {
    match outcome {
        CancelOutcome::Done(told) => Cancelled::Told(report(*told, false)),
        CancelOutcome::Requested => Cancelled::Ask("requested".to_owned()),
        CancelOutcome::NotOpen => Cancelled::Ask("not open".to_owned()),
        CancelOutcome::Refused { code, reason } => Cancelled::Ask(words(code, &reason)),
        CancelOutcome::Unknown { error } => Cancelled::Ask(error.to_string()),
        CancelOutcome::NotSent { error, retry_after } => Cancelled::NotSent(error.to_string(), retry_after),
    }
}

fn words(code: Option<i64>, reason: &str) -> String {
    code.map_or_else(|| reason.to_owned(), |code| format!("{reason} (code {code})"))
}

async fn snapshot(trading: &Trading, symbols: &[String], since: Timestamp) -> Result<Snapshot, CallError> {
    let begun_at = spark_nats::now();
    let open = trading.open_orders(None).await?;
    let mut trades = Vec::new();
    for symbol in symbols {
        let fills = trading.fills(symbol, FillsOf::Since(since)).await?;
        trades.extend(fills.into_iter().map(|told| (told.symbol, told.side, fill(told.fill))));
    }
    let balances = trading.balances().await?;
    let total = |row: &spark_exchanges::orders::AssetBalance| money::add(row.free, row.locked).unwrap_or(row.free);
    Ok(Snapshot {
        begun_at,
        balances: balances.into_iter().map(|row| (row.asset.clone(), total(&row))).collect(),
        open: open.into_iter().map(open_id).collect(),
        trades,
    })
}

fn open_id(report: OrderReport) -> String {
    if report.client_order_id.is_empty() { report.exchange_order_id } else { report.client_order_id }
}

/// Whether the exchange's record of an order is what the ledger holds.
fn is_record_of(facts: &Facts, fills: &[AccountFill]) -> bool {
    let ids: BTreeSet<&String> = fills.iter().map(|told| &told.fill.trade_id).collect();
    let mut quote = Some(Decimal::ZERO);
    for told in fills {
        let amount = money::mul(told.fill.price, told.fill.quantity).ok();
        quote = quote.zip(amount).and_then(|(sum, amount)| money::add(sum, amount).ok());
    }
    ids == facts.trades.iter().collect() && quote == Some(facts.filled_quote)
}

/// As the core wants it. `whole`: a report that does not hold all trades has to be completed by a query.
fn report(told: OrderReport, whole: bool) -> Report {
    Report {
        exchange_order_id: Some(told.exchange_order_id).filter(|id| !id.is_empty()),
        stand: Some(match told.state {
            ReportState::Open | ReportState::PartiallyFilled => Stand::Open,
            ReportState::Filled => Stand::Filled,
            ReportState::Cancelled => Stand::Cancelled,
            ReportState::Rejected => Stand::Rejected,
            ReportState::Expired => Stand::Expired,
        }),
        executed: Some(told.executed),
        fills: told.fills.into_iter().map(fill).collect(),
        incomplete: whole && !told.fills_complete,
        reason: told.reason,
    }
}

fn fill(told: FillReport) -> Fill {
    Fill {
        trade_id: told.trade_id,
        price: told.price,
        quantity: told.quantity,
        fee: told.fee,
        fee_asset: told.fee_asset,
        is_maker: told.is_maker.unwrap_or(false),
        at: Timestamp::from_millis(told.at_ms),
    }
}

fn order_ref(terms: &Terms, exchange_order_id: Option<String>) -> OrderRef {
    OrderRef {
        symbol: terms.symbol.clone(),
        client_order_id: terms.order.client_id(),
        exchange_order_id,
        placed_at: terms.decided_at,
    }
}

/// The order as it is sent. BTCTurk's market buys are for an amount of the quote currency: what the quantity costs at the
/// best ask, rounded down; more or less of it may be bought when the price moves before it arrives.
fn new_order(venue: Venue, terms: &Terms, ask: Option<Decimal>, quote_step: Option<Decimal>) -> Result<NewOrder, Submitted> {
    let kind = match (terms.order_type, terms.limit_price) {
        (OrderType::Limit, Some(price)) => OrderKind::Limit { price, time_in_force: terms.time_in_force },
        (OrderType::Limit, None) => return Err(Submitted::Unsupported("a limit order without a price".to_owned())),
        (OrderType::Market, _) if venue == Venue::Btcturk && terms.side == Side::Buy => {
            let Some(ask) = ask else {
                return Err(Submitted::NotSent("no best ask is known to calculate the amount to spend".to_owned(), None));
            };
            let amount = money::mul(ask, terms.quantity).map_err(|error| Submitted::Unsupported(error.to_string()))?;
            let step = quote_step.filter(|step| *step > Decimal::ZERO).unwrap_or(Decimal::new(1, 2));
            let spare = amount.checked_rem(step).unwrap_or_default();
            OrderKind::Market { quote_budget: amount.checked_sub(spare) }
        }
        (OrderType::Market, _) => OrderKind::Market { quote_budget: None },
    };
    Ok(NewOrder {
        symbol: terms.symbol.clone(),
        side: terms.side,
        kind,
        quantity: terms.quantity,
        client_order_id: terms.order.client_id(),
    })
}
