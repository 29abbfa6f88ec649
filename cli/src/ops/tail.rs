//! `spark tail`: messages as they are stored.

use futures_util::future::select_all;
use serde_json::json;
use spark_nats::{Delivery, Follower, Start};

use super::{duration, filters, summary};
use crate::args::{Global, StreamName, TailArgs};
use crate::config::Config;
use crate::exit::Failure;
use crate::output::{self, Style, paint};
use crate::process::stop;
use crate::system;

impl StreamName {
    fn name(self) -> &'static str {
        use spark_bus_schema::subject;
        match self {
            Self::Feed => subject::FEED,
            Self::Ledger => subject::LEDGER,
            Self::Parked => subject::PARKED,
        }
    }
}

/// Shows messages until told to stop, the limit is reached, or the reader of stdout goes away.
///
/// # Errors
/// Exit 64 for a pattern or time that cannot be; 69 without a broker.
pub fn run(arguments: &TailArgs, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let start = match &arguments.since {
        None => Start::New,
        Some(text) => Start::Since(spark_nats::now() - duration(text).map_err(|what| Failure::usage(format!("--since {what}")))?),
    };
    let sources = filters(&arguments.subject, arguments.stream.map(StreamName::name));
    if sources.is_empty() {
        return Err(Failure::usage(format!(
            "no stream{} stores `{}`; subjects begin with market, telemetry (FEED), portfolio, alerts, control … (LEDGER) or parked (PARKED)",
            arguments.stream.map(|stream| format!(" {}", stream.name())).unwrap_or_default(),
            arguments.subject
        )));
    }
    let shown = system::block_on(async {
        let shutdown = stop::token();
        let bus = system::operator(global, &config).await?;
        let name = |stream: &str| format!("operator-tail-{}-{}", stream.to_ascii_lowercase(), std::process::id());
        let mut followers: Vec<Follower> = sources
            .into_iter()
            .map(|(stream, subjects)| Follower::start(bus.clone(), &name(stream), stream, subjects, start))
            .collect();
        let mut left = arguments.limit.unwrap_or(u64::MAX);
        while left > 0 {
            let next = select_all(followers.iter_mut().map(|follower| Box::pin(follower.next())));
            let batch = tokio::select! {
                (batch, _, _) = next => batch,
                () = shutdown.cancelled() => None,
            };
            let Some(batch) = batch else { break };
            for delivery in batch.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                show(delivery, global.json)?;
                left -= 1;
            }
        }
        Ok(())
    });
    // A reader that went away has seen enough.
    shown.or_else(|failure| if failure.message.is_empty() { Ok(()) } else { Err(failure) })
}

fn show(delivery: &Delivery, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return output::line(&document(delivery).to_string());
    }
    let (text, style) = summary::summary(delivery);
    let text = output::visible(&text);
    let text = style.map_or_else(|| text.clone(), |style| paint(&text, style));
    let time = delivery.stored_at.to_string();
    let subject = paint(&output::visible(&delivery.subject), Style::Bold);
    output::line(&format!("{} {subject} {text}", paint(time.get(11..23).unwrap_or(&time), Style::Dim)))
}

/// One JSON document for one message. `message` is null when it cannot be decoded; `error` then says why.
pub fn document(delivery: &Delivery) -> serde_json::Value {
    let (message, error) = match summary::json(delivery) {
        Ok(message) => (message, None),
        Err(error) => (serde_json::Value::Null, Some(error)),
    };
    let mut document = json!({
        "subject": delivery.subject,
        "stream": delivery.stream,
        "sequence": delivery.sequence,
        "stored_at": delivery.stored_at.to_string(),
        "kind": delivery.kind,
        "message": message,
    });
    if let Some(error) = error {
        document["error"] = error.into();
    }
    document
}
