//! Circuit breakers set by hand, `control.breaker.<exchange>`, and the guardrail's counter-move against slow or failing polls,
//! `control.countermove.poll_interval`. The latest command decides, also after a restart.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use spark_bus_schema::control::{BreakerCommand, BreakerMode as Commanded};
use spark_bus_schema::rollout::{CounterMove, CounterMoveKind};
use spark_bus_schema::{Venue, subject};
use spark_exchanges::BreakerMode;
use spark_nats::{Delivery, Follower, Service, Start, park};

use crate::Error;
use crate::exchange::Exchange;

/// Applies commands in their order in the ledger, whoever read them.
pub(crate) struct Commands {
    exchanges: Vec<Arc<Exchange>>,
    /// Sequence of the newest command applied, by exchange.
    applied: Mutex<BTreeMap<Venue, u64>>,
    /// Sequence of the newest counter-move obeyed.
    countered: AtomicU64,
    /// Polls are half as often again.
    is_slowed: AtomicBool,
}

impl Commands {
    pub fn new(exchanges: Vec<Arc<Exchange>>) -> Self {
        Self { exchanges, applied: Mutex::default(), countered: AtomicU64::new(0), is_slowed: AtomicBool::new(false) }
    }

    /// Obeys one command, unless a newer one was obeyed before.
    pub fn apply(&self, delivery: &Delivery) -> Result<(), (&'static str, String)> {
        if delivery.subject == subject::counter_move(CounterMoveKind::PollInterval) {
            return self.counter(delivery);
        }
        let command = Self::read(delivery)?;
        let Some(exchange) = self.exchanges.iter().find(|exchange| exchange.venue() == command.exchange) else {
            tracing::debug!(exchange = %command.exchange, "a breaker command for an exchange that is not polled");
            return Ok(());
        };
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = applied.entry(command.exchange).or_default();
        if delivery.sequence <= *newest {
            return Ok(());
        }
        *newest = delivery.sequence;
        tracing::warn!(exchange = %command.exchange, mode = ?command.mode, actor = command.actor, reason = command.reason,
            "circuit breaker set by hand");
        exchange.set_breaker(match command.mode {
            Commanded::Open => BreakerMode::ForcedOpen,
            Commanded::Closed => BreakerMode::ForcedClosed,
            Commanded::Auto => BreakerMode::Auto,
        });
        Ok(())
    }

    /// Whether polls are to be half as far apart again.
    pub fn is_slowed(&self) -> bool {
        self.is_slowed.load(Ordering::Relaxed)
    }

    fn counter(&self, delivery: &Delivery) -> Result<(), (&'static str, String)> {
        let command: CounterMove = delivery.decode().map_err(|error| (error.reason(), spark_nats::text(&error)))?;
        if command.kind != CounterMoveKind::PollInterval {
            return Err(("wrong_subject", format!("{} on {}", command.kind.as_str(), delivery.subject)));
        }
        if self.countered.fetch_max(delivery.sequence, Ordering::Relaxed) < delivery.sequence {
            self.is_slowed.store(command.on, Ordering::Relaxed);
            tracing::warn!(on = command.on, actor = command.actor, reason = command.reason, "polls half as far apart again");
        }
        Ok(())
    }

    /// The command in a message, or why there is none.
    fn read(delivery: &Delivery) -> Result<BreakerCommand, (&'static str, String)> {
        let command: BreakerCommand = delivery.decode().map_err(|error| (error.reason(), spark_nats::text(&error)))?;
        if delivery.subject != subject::breaker(command.exchange) {
            return Err(("wrong_subject", format!("a command for {} on {}", command.exchange, delivery.subject)));
        }
        Ok(command)
    }
}

/// Follows commands until the service is told to stop.
pub(crate) async fn follow(service: Arc<Service>, commands: Arc<Commands>) -> Result<(), Error> {
    let subjects = vec![subject::BREAKER.to_owned(), subject::counter_move(CounterMoveKind::PollInterval)];
    let mut follower = Follower::start(service.bus.clone(), service.name, subject::LEDGER, subjects, Start::LastPerSubject);
    loop {
        let batch = tokio::select! {
            () = service.shutdown.cancelled() => return Ok(()),
            batch = follower.next() => batch,
        };
        let Some(batch) = batch else { return Ok(()) };
        for delivery in batch {
            if let Err((reason, detail)) = commands.apply(&delivery) {
                tokio::select! {
                    () = service.shutdown.cancelled() => return Ok(()),
                    parked = park(&service.bus, service.name, &delivery, reason, &detail) => parked.map_err(Error::Commands)?,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use spark_bus_schema::{Message, Timestamp, encode};

    use super::*;

    fn told(sequence: u64, on: bool) -> Delivery {
        let command = CounterMove {
            kind: CounterMoveKind::PollInterval,
            on,
            revision: 1,
            actor: "guardrail".into(),
            reason: "slow".into(),
            evidence: vec![],
            at: Timestamp::ZERO,
        };
        Delivery {
            stream: subject::LEDGER,
            sequence,
            stored_at: Timestamp::ZERO,
            subject: subject::counter_move(CounterMoveKind::PollInterval),
            kind: Some(CounterMove::KIND.to_string()),
            headers: vec![],
            payload: encode(&command).into(),
            pending: 0,
        }
    }

    #[test]
    fn of_counter_moves_the_latest_in_the_ledger_decides_whoever_reads_it_when() {
        let commands = Commands::new(vec![]);
        let check = |sequence, on, want| {
            commands.apply(&told(sequence, on)).unwrap();
            assert_eq!(commands.is_slowed(), want, "{sequence}");
        };
        check(4, true, true);
        check(3, false, true);
        check(5, false, false);
        check(5, false, false);
        check(4, true, false);
        let mut foreign = told(9, true);
        foreign.kind = Some("heartbeat.v1".into());
        assert_eq!(commands.apply(&foreign).unwrap_err().0, "wrong_kind");
        assert!(!commands.is_slowed());
    }
}
