//! In from the LEDGER.

use spark_bus_schema::audit::{AuditDamage, AuditVerified};
use spark_bus_schema::control::{BreakerCommand, BreakerMode as Commanded, CancelCommand, HaltScope, KillSwitch, ResumeCommand};
use spark_bus_schema::orders::{InstrumentFilters, OrderEvent, Reconciliation};
use spark_bus_schema::risk::Verdict;
use spark_bus_schema::strategies::StrategyRegistered;
use spark_bus_schema::{DecodeError, subject};
use spark_exchanges::BreakerMode;
use spark_nats::{Delivery, park, text};

use super::{APPENDS_MAX, Engine, INBOX_AT_ONCE};
use crate::Error;
use crate::machine::Event;

impl Engine<'_> {
    /// A batch has been read. A kill switch in it shuts the gates at once, whatever still waits before it.
    pub(super) fn receive(&mut self, batch: Vec<Delivery>) {
        for delivery in &batch {
            if delivery.subject == subject::KILL_SWITCH && delivery.decode::<KillSwitch>().is_ok_and(|command| command.on) {
                self.kill_ahead = self.kill_ahead.max(delivery.sequence);
                self.stops.values().for_each(|stop| _ = stop.send_replace(true));
            }
        }
        self.inbox.extend(batch);
    }

    /// Takes in some of what waits.
    pub(super) async fn take_some(&mut self) -> Result<(), Error> {
        for _ in 0..INBOX_AT_ONCE {
            if self.core.appends_in_flight() >= APPENDS_MAX {
                break;
            }
            let Some(delivery) = self.inbox.pop_front() else { break };
            let taken = self.take_in(&delivery);
            let is_readable = taken.is_ok();
            if let Err(refusal) = taken {
                let (reason, detail) = refusal.words(&delivery);
                park(&self.bus, self.service.name, &delivery, reason, &detail).await?;
            }
            self.cursor = Some(delivery.cursor());
            self.changed = true;
            // What was stored before our epoch has been taken in by then.
            let is_word = matches!(delivery.subject.as_str(), subject::AUDIT_VERIFIED | subject::AUDIT_DAMAGE);
            if !self.started && is_word && is_readable && delivery.sequence > self.lease.epoch() {
                self.quiet_symbols().await?;
                self.begin();
            }
            if delivery.sequence == self.kill_ahead {
                self.set_stops();
            }
        }
        Ok(())
    }

    /// Takes in one message.
    fn take_in(&mut self, delivery: &Delivery) -> Result<(), Refusal> {
        let is = |pattern: &str| subject::matches(pattern, &delivery.subject);
        if is(subject::VERDICTS) {
            let verdict: Verdict = delivery.decode()?;
            belongs(delivery, &subject::verdict(&verdict.order))?;
            self.apply(Event::Verdict { sequence: delivery.sequence, verdict: Box::new(verdict) });
        } else if is(subject::ORDER_EVENTS) {
            let event: OrderEvent = delivery.decode()?;
            belongs(delivery, &subject::order_event(&event.order))?;
            let (sequence, stored_at) = (delivery.sequence, delivery.stored_at);
            self.apply(Event::ReadBack { sequence, stored_at, event: Box::new(event) });
        } else if is(subject::INSTRUMENTS) {
            let filters: InstrumentFilters = delivery.decode()?;
            belongs(delivery, &subject::instruments(filters.exchange))?;
            self.saved.filters.insert(filters.exchange, filters.symbols);
        } else if is(subject::RECONCILIATIONS) {
            let reconciliation: Reconciliation = delivery.decode()?;
            belongs(delivery, &subject::reconciliation(reconciliation.exchange))?;
            self.apply(Event::Reconciled(Box::new(reconciliation)));
            self.set_stops();
        } else if is(subject::AUDIT_VERIFIED) {
            delivery.decode::<AuditVerified>()?;
        } else if is(subject::AUDIT_DAMAGE) {
            self.damaged(delivery);
        } else {
            self.command(delivery)?;
        }
        Ok(())
    }

    /// A report that cannot be read is a report of damage all the same.
    fn damaged(&mut self, delivery: &Delivery) {
        let reason = match delivery.decode::<AuditDamage>() {
            Ok(damage) => format!(
                "the LEDGER is damaged from sequence {} on ({}): {}",
                damage.first_bad_sequence, damage.kind, damage.detail
            ),
            Err(error) => {
                format!("the LEDGER is damaged; the report at sequence {} cannot be read: {}", delivery.sequence, text(&error))
            }
        };
        self.apply(Event::Halt { scope: HaltScope::Ledger, reason });
        self.set_stops();
    }

    /// What people say.
    fn command(&mut self, delivery: &Delivery) -> Result<(), Refusal> {
        let is = |pattern: &str| subject::matches(pattern, &delivery.subject);
        if is(subject::KILL_SWITCH) {
            let command: KillSwitch = delivery.decode()?;
            tracing::warn!(
                on = command.on,
                cancel_open = command.cancel_open,
                actor = command.actor,
                reason = command.reason,
                "kill switch"
            );
            self.apply(Event::Kill { sequence: delivery.sequence, command: Box::new(command) });
            self.set_stops();
        } else if is(subject::CANCELS) {
            let command: CancelCommand = delivery.decode()?;
            belongs(delivery, &subject::cancel(&command.order))?;
            let words = format!("cancelled: {} ({})", command.reason, command.actor);
            self.apply(Event::Cancel { order: command.order, words });
        } else if is(subject::REGISTRY) {
            let strategy: StrategyRegistered = delivery.decode()?;
            belongs(delivery, &subject::registry(&strategy.name))?;
            self.apply(Event::Registered(Box::new(strategy)));
        } else if is(subject::RESUME) {
            let command: ResumeCommand = delivery.decode()?;
            self.resumed(&command);
            self.apply(Event::Resume(Box::new(command)));
            self.set_stops();
        } else if is(subject::BREAKER) {
            let command: BreakerCommand = delivery.decode()?;
            belongs(delivery, &subject::breaker(command.exchange))?;
            if let Some(live) = self.lives.get(&command.exchange) {
                live.trading.set_breaker(match command.mode {
                    Commanded::Open => BreakerMode::ForcedOpen,
                    Commanded::Closed => BreakerMode::ForcedClosed,
                    Commanded::Auto => BreakerMode::Auto,
                });
            }
        }
        Ok(())
    }
}

/// Why a message is parked.
enum Refusal {
    Undecodable(DecodeError),
    /// It belongs on this other subject.
    Misplaced(String),
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::Undecodable(error)
    }
}

impl Refusal {
    fn words(&self, delivery: &Delivery) -> (&'static str, String) {
        match self {
            Self::Undecodable(error) => (error.reason(), text(error)),
            Self::Misplaced(own) => ("wrong_subject", format!("a message of {own} on {}", delivery.subject)),
        }
    }
}

/// Who may write on a subject follows from its name: a message that speaks of something else is nobody's.
fn belongs(delivery: &Delivery, own: &str) -> Result<(), Refusal> {
    if delivery.subject == own { Ok(()) } else { Err(Refusal::Misplaced(own.to_owned())) }
}
