//! Reading the LEDGER from its beginning, and the decisions that follow from it.

use std::time::Duration;

use spark_bus_schema::OrderId;
use spark_bus_schema::codec::decode_payload;
use spark_bus_schema::risk::{Limits, Verdict};
use spark_bus_schema::subject::LEDGER;
use spark_nats::{Bus, Delivery, Effects, Follower, Machine, Start};
use spark_risk::Risk;

use crate::exit::Failure;

/// The reading ends with an error when nothing came for this long.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked whether the end is reached while nothing arrives.
const PAUSE: Duration = Duration::from_millis(10);

/// Hands over every message on `subjects` up to the sequence `through`, in order.
///
/// # Errors
/// Exit 69: the broker went away.
pub async fn read(
    bus: &Bus,
    purpose: &str,
    subjects: Vec<String>,
    through: u64,
    take: impl FnMut(Delivery),
) -> Result<(), Failure> {
    read_from(bus, purpose, subjects, Start::Beginning, through, take).await
}

/// As [`read`], from another place on.
///
/// # Errors
/// Exit 69: the broker went away.
pub async fn read_from(
    bus: &Bus,
    purpose: &str,
    subjects: Vec<String>,
    start: Start,
    through: u64,
    mut take: impl FnMut(Delivery),
) -> Result<(), Failure> {
    let name = format!("operator-{purpose}-{}", std::process::id());
    let mut follower = Follower::start(bus.clone(), &name, LEDGER, subjects, start);
    let mut last = tokio::time::Instant::now();
    loop {
        tokio::select! {
            batch = follower.next() => {
                last = tokio::time::Instant::now();
                for delivery in batch.unwrap_or_default() {
                    if delivery.sequence > through {
                        return Ok(());
                    }
                    let is_last = delivery.sequence == through;
                    take(delivery);
                    if is_last {
                        return Ok(());
                    }
                }
            }
            () = tokio::time::sleep(PAUSE) => {}
        }
        if follower.is_caught_up() {
            return Ok(());
        }
        if last.elapsed() > SILENCE_LIMIT {
            return Err(Failure::unavailable(format!("the LEDGER was not read to its end: nothing came for {SILENCE_LIMIT:?}")));
        }
    }
}

/// The subjects that decisions follow from.
#[must_use]
pub fn inputs() -> Vec<String> {
    Risk::INPUTS.iter().flat_map(|input| input.subjects.iter().map(|&subject| subject.to_owned())).collect()
}

/// Risk again, fed with what was recorded. It holds what risk itself holds, however long the record is.
pub struct Replay {
    risk: Risk,
    effects: Effects,
}

/// A decision as it would be published.
pub struct Decision {
    /// What it says.
    pub verdict: Verdict,
    /// Its bytes.
    pub payload: Vec<u8>,
}

impl Replay {
    /// With `limits` every order is judged under them, whatever the recorded limits were.
    #[must_use]
    pub fn new(limits: Option<Limits>) -> Self {
        Self { risk: limits.map_or_else(Risk::default, Risk::under), effects: Effects::default() }
    }

    /// Takes in one message; what is decided now. What risk would park is passed over.
    pub fn take(&mut self, delivery: &Delivery) -> Vec<Decision> {
        let Ok(event) = Risk::decode(delivery) else { return Vec::new() };
        if let Err(refused) = self.risk.apply(delivery.stored_at, event, &mut self.effects) {
            tracing::debug!(sequence = delivery.sequence, reason = refused.reason, "passed over");
        }
        let decided = self.effects.drain().filter_map(|effect| {
            let verdict = decode_payload::<Verdict>(&effect.payload).ok()?;
            Some(Decision { verdict, payload: effect.payload })
        });
        decided.collect()
    }

    /// Whether an order waits for a mark.
    #[must_use]
    pub fn is_waiting(&self, order: &OrderId) -> bool {
        self.risk.waiting().contains(order)
    }
}
