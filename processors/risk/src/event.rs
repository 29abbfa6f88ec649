//! Bytes to facts.

use spark_bus_schema::audit::{AuditDamage, AuditVerified};
use spark_bus_schema::control::{KillSwitch, LimitsCommand, ResumeCommand, StrategyCommand};
use spark_bus_schema::marks::Mark;
use spark_bus_schema::orders::{Epoch, InstrumentFilters, OrderEvent, OrderIntent, Reconciliation};
use spark_bus_schema::portfolio::Balances;
use spark_bus_schema::risk::{Timeout, Verdict};
use spark_bus_schema::{DecodeError, subject};
use spark_nats::Delivery;

/// One message of the LEDGER.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its sequence.
    pub sequence: u64,
    /// What it says.
    pub fact: Fact,
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum Fact {
    /// Somebody wants an order.
    Intent(Box<OrderIntent>),
    /// A decision was stored: our own, or that of an earlier holder of the lease.
    Verdict(Box<Verdict>),
    /// An intent has waited long enough.
    Timeout(Timeout),
    /// Something became of an order.
    Order(Box<OrderEvent>),
    /// The executor read what an exchange allows.
    Filters(InstrumentFilters),
    /// The executor compared the ledger with an exchange.
    Reconciliation(Box<Reconciliation>),
    /// A price.
    Mark(Box<Mark>),
    /// An account.
    Balances(Box<Balances>),
    /// Stop or go on.
    KillSwitch(KillSwitch),
    /// Other limits.
    Limits(Box<LimitsCommand>),
    /// A strategy starts or stops.
    Strategy(StrategyCommand),
    /// A halt is lifted.
    Resume(ResumeCommand),
    /// Another one decides from here on, and knows nothing of the state that the ledger is in.
    Epoch,
    /// The auditor has looked: the ledger is whole.
    Verified,
    /// The ledger is damaged; why.
    Damage(String),
    /// Of no consequence here.
    Nothing,
    /// A message on the subject of another one.
    Misplaced {
        /// Where it is.
        subject: String,
        /// Where it belongs.
        belongs: String,
    },
}

impl Event {
    /// Reads one message.
    ///
    /// # Errors
    /// It is not what its subject carries. A damage report that cannot be read is a damage report all the same.
    pub fn decode(delivery: &Delivery) -> Result<Self, DecodeError> {
        let (belongs, fact) = fact(delivery)?;
        let misplaced = belongs.filter(|belongs| *belongs != delivery.subject);
        let fact = match misplaced {
            Some(belongs) => Fact::Misplaced { subject: delivery.subject.clone(), belongs },
            None => fact,
        };
        Ok(Self { sequence: delivery.sequence, fact })
    }
}

/// The fact, and the subject it belongs on where that follows from it.
fn fact(delivery: &Delivery) -> Result<(Option<String>, Fact), DecodeError> {
    let on = |pattern: &str| subject::matches(pattern, &delivery.subject);
    Ok(if on(subject::INTENTS) {
        let intent: OrderIntent = delivery.decode()?;
        (Some(subject::intent(&intent.order)), Fact::Intent(Box::new(intent)))
    } else if on(subject::VERDICTS) {
        let verdict: Verdict = delivery.decode()?;
        (Some(subject::verdict(&verdict.order)), Fact::Verdict(Box::new(verdict)))
    } else if on(subject::ORDER_EVENTS) {
        let event: OrderEvent = delivery.decode()?;
        (Some(subject::order_event(&event.order)), Fact::Order(Box::new(event)))
    } else if on(subject::MARKS) {
        let mark: Mark = delivery.decode()?;
        (Some(subject::mark(mark.venue, &mark.symbol)), Fact::Mark(Box::new(mark)))
    } else if on(subject::RISK_TIMEOUTS) {
        let timeout: Timeout = delivery.decode()?;
        (Some(subject::risk_timeout(&timeout.order)), Fact::Timeout(timeout))
    } else if on(subject::INSTRUMENTS) {
        let filters: InstrumentFilters = delivery.decode()?;
        (Some(subject::instruments(filters.exchange)), Fact::Filters(filters))
    } else if on(subject::RECONCILIATIONS) {
        let reconciliation: Reconciliation = delivery.decode()?;
        (Some(subject::reconciliation(reconciliation.exchange)), Fact::Reconciliation(Box::new(reconciliation)))
    } else if on(subject::BALANCES) {
        let balances: Balances = delivery.decode()?;
        (Some(subject::balances(balances.exchange)), Fact::Balances(Box::new(balances)))
    } else if on(subject::STRATEGIES) {
        let command: StrategyCommand = delivery.decode()?;
        (Some(subject::strategy(&command.strategy)), Fact::Strategy(command))
    } else if on(subject::KILL_SWITCH) {
        (None, Fact::KillSwitch(delivery.decode()?))
    } else if on(subject::LIMITS) {
        (None, Fact::Limits(Box::new(delivery.decode()?)))
    } else if on(subject::RESUME) {
        (None, Fact::Resume(delivery.decode()?))
    } else if on(subject::AUDIT_DAMAGE) {
        let words = match delivery.decode::<AuditDamage>() {
            Ok(damage) => format!("{} at sequence {}: {}", damage.kind, damage.first_bad_sequence, damage.detail),
            Err(error) => format!("a damage report that cannot be read: {error}"),
        };
        (None, Fact::Damage(words))
    } else if on(subject::RISK_EPOCH) {
        delivery.decode::<Epoch>()?;
        (None, Fact::Epoch)
    } else if on(subject::AUDIT_VERIFIED) {
        delivery.decode::<AuditVerified>()?;
        (None, Fact::Verified)
    } else {
        (None, Fact::Nothing)
    })
}
