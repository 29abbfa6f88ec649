//! What the broker holds, read back with the times at which it was stored.

use std::time::{Duration, Instant};

use spark_bus_schema::{Message, Timestamp};
use spark_nats::{Bus, Follower, Start};

/// A stream is read to its end within this time.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked whether the end is reached.
const PAUSE: Duration = Duration::from_millis(20);

/// Every message of these subjects that is stored by now, in the order of the stream, with its stored time.
///
/// # Panics
/// The stream cannot be read to its end in time, or holds a message of another kind there.
pub async fn all<T: Message>(bus: &Bus, stream: &'static str, subjects: &[&str]) -> Vec<(Timestamp, T)> {
    let subjects: Vec<String> = subjects.iter().map(|&subject| subject.to_owned()).collect();
    let what = subjects.join(", ");
    let mut follower = Follower::start(bus.clone(), "operator-stored", stream, subjects, Start::Beginning);
    let start = Instant::now();
    let mut stored = Vec::new();
    loop {
        assert!(start.elapsed() < READ_LIMIT, "{what}: not read to the end within {READ_LIMIT:?}, {} so far", stored.len());
        match tokio::time::timeout(PAUSE, follower.next()).await {
            Ok(batch) => {
                for delivery in batch.unwrap_or_else(|| panic!("{what}: the reader ended")) {
                    let message = delivery.decode().unwrap_or_else(|error| panic!("{}: {error}", delivery.subject));
                    stored.push((delivery.stored_at, message));
                }
            }
            Err(_) if follower.is_caught_up() => return stored,
            Err(_) => {}
        }
    }
}

/// The newest message of a subject.
///
/// # Errors
/// There is none, the broker does not answer, or it is of another kind; the text says which.
pub async fn last<T: Message>(bus: &Bus, stream: &'static str, subject: &str) -> Result<T, String> {
    let found = bus.last(stream, subject).await.map_err(|error| format!("{subject}: {error}"))?;
    let delivery = found.ok_or_else(|| format!("nothing on {subject}"))?;
    delivery.decode().map_err(|error| format!("{subject}: {error}"))
}
