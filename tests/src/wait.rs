//! Waiting for a state, with a bound, reporting the last state seen.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How often a state is looked at.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks at a state until it is as wanted.
///
/// # Panics
/// It was not within `limit`: the message has the last state seen.
pub async fn until<T, E: Display>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(seen) if start.elapsed() > limit => panic!("{what}: not within {limit:?}; last seen: {seen}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
