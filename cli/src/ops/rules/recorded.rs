//! Reads several streams as one, in the order in which their messages were stored.

use std::collections::VecDeque;
use std::time::Duration;

use spark_bus_schema::Timestamp;
use spark_nats::{Bus, Delivery, Follower, Start};

use crate::exit::Failure;

/// The reading ends with an error when nothing came for this long.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked whether the end is reached while nothing arrives.
const PAUSE: Duration = Duration::from_millis(10);

/// One stream on its way to its end.
struct Source {
    stream: &'static str,
    follower: Follower,
    waiting: VecDeque<Delivery>,
    /// Sequence of the newest message when the reading began.
    through: u64,
    done: bool,
}

/// Everything that was recorded on some subjects.
pub struct Recorded {
    sources: Vec<Source>,
}

impl Recorded {
    /// Begins to read each stream's subjects from a moment on, up to what is newest now.
    ///
    /// # Errors
    /// Exit 69: the broker does not answer.
    pub async fn open(bus: &Bus, purpose: &str, inputs: &[(&'static str, Vec<String>)], start: Start) -> Result<Self, Failure> {
        let mut sources = Vec::new();
        for (stream, subjects) in inputs {
            let (_, through) = bus.bounds(stream).await?;
            let name = format!("operator-{purpose}-{}-{}", stream.to_ascii_lowercase(), std::process::id());
            let follower = Follower::start(bus.clone(), &name, stream, subjects.clone(), start);
            sources.push(Source { stream, follower, waiting: VecDeque::new(), through, done: through == 0 });
        }
        Ok(Self { sources })
    }

    /// The oldest message that was not handed over yet; none at the end.
    ///
    /// # Errors
    /// Exit 69: nothing comes any more, and the end is not reached.
    pub async fn next(&mut self) -> Result<Option<Delivery>, Failure> {
        for source in &mut self.sources {
            source.fill().await?;
        }
        // Of messages stored at the same instant, those of the stream that was named first.
        let key = |source: &Source| source.waiting.front().map(|delivery| delivery.stored_at);
        let oldest: Option<(Timestamp, usize)> =
            self.sources.iter().enumerate().filter_map(|(index, source)| Some((key(source)?, index))).min();
        Ok(oldest.and_then(|(_, index)| self.sources.get_mut(index)?.waiting.pop_front()))
    }
}

impl Source {
    /// Waits until there is a message, or the end is reached.
    async fn fill(&mut self) -> Result<(), Failure> {
        let began = tokio::time::Instant::now();
        while self.waiting.is_empty() && !self.done {
            tokio::select! {
                batch = self.follower.next() => match batch {
                    Some(batch) => {
                        self.done = batch.last().is_some_and(|last| last.sequence >= self.through);
                        self.waiting.extend(batch.into_iter().filter(|delivery| delivery.sequence <= self.through));
                    }
                    None => self.done = true,
                },
                () = tokio::time::sleep(PAUSE) => self.done = self.follower.is_caught_up(),
            }
            if began.elapsed() > SILENCE_LIMIT {
                let stream = self.stream;
                return Err(Failure::unavailable(format!(
                    "{stream} was not read to its end: nothing came for {SILENCE_LIMIT:?}"
                )));
            }
        }
        Ok(())
    }
}
