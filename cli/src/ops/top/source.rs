//! Where `spark top` has it from: the gateway's live stream, and its metrics for streams and readers.

use std::time::Duration;

use tokio::sync::mpsc;

use super::sse::{Event, Reader};
use crate::exit::{Exit, Failure};
use crate::ops::gateway::Gateway;

/// The live stream, of it what is shown.
const STREAM: &str = "/api/stream";
/// How often streams and readers are asked about.
const METRICS_EVERY: Duration = Duration::from_secs(1);
/// First and longest pause before connecting again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// News that wait to be shown.
pub const NEWS_MAX: usize = 256;

/// Something new.
pub enum News {
    /// From the live stream.
    Event(Event),
    /// The gateway's `/metrics`.
    Metrics(String),
    /// The stream ended or could not be begun.
    Lost(Failure),
}

/// Follows the live stream for ever; ends when nobody listens.
pub async fn follow(gateway: &Gateway, news: &mpsc::Sender<News>) {
    let mut reader = Reader::default();
    let mut pause = PAUSE.0;
    loop {
        let before = reader.last_id().map(ToOwned::to_owned);
        let why = read(gateway, &mut reader, news).await;
        if reader.last_id() != before.as_deref() {
            pause = PAUSE.0;
        }
        if news.send(News::Lost(why)).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Reads until the stream ends, and says why it did.
async fn read(gateway: &Gateway, reader: &mut Reader, news: &mpsc::Sender<News>) -> Failure {
    let id = reader.last_id().map(ToOwned::to_owned);
    let mut answer = match gateway.stream(STREAM, id.as_deref()).await {
        Ok(answer) => answer,
        Err(failure) => return failure,
    };
    loop {
        match answer.chunk().await {
            Ok(Some(piece)) => match reader.push(&piece) {
                Ok(events) => {
                    for event in events {
                        if news.send(News::Event(event)).await.is_err() {
                            return Failure::unavailable("nobody listens");
                        }
                    }
                }
                Err(what) => return Failure::unavailable(what),
            },
            Ok(None) => return Failure::unavailable("the gateway has ended the stream"),
            Err(error) => return Failure::unavailable(error.without_url().to_string()),
        }
    }
}

/// Asks for metrics for ever; ends when nobody listens. A gateway that is away shows in the stream.
pub async fn metrics(gateway: &Gateway, news: &mpsc::Sender<News>) {
    let mut beats = tokio::time::interval(METRICS_EVERY);
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        if let Ok(answer) = gateway.get("/metrics", &[]).await
            && news.send(News::Metrics(answer.text)).await.is_err()
        {
            return;
        }
    }
}

/// Whether trying again cannot help: the token, or the address of something else.
#[must_use]
pub fn is_final(failure: &Failure) -> bool {
    failure.exit == Exit::Usage
}
