//! `spark smoke`: the six checks, the text to pass on, and the outcome in the LEDGER.

use std::time::Duration;

use serde_json::json;
use spark_bus_schema::subject;
use spark_nats::{Bus, Meta};
use spark_reporter::smoke::{self, Smoke};
use spark_reporter::{History, Window};

use super::gateway::Gateway;
use super::orders::actor;
use crate::args::Global;
use crate::args::day::SmokeArgs;
use crate::config::Config;
use crate::exit::{Failure, chain};
use crate::output::{self, Style, paint, visible};
use crate::system;

/// Checks, prints, stores.
///
/// # Errors
/// Exit 1: fewer than five checks are good; 64: configuration; 69: no gateway.
pub fn run(arguments: &SmokeArgs, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let base = Gateway::find(global, &config)?.address().to_owned();
    let client = system::http()?;
    let now = spark_nats::now();
    system::block_on(async {
        let smoke = smoke::check(&client, &base, uptime(global), &actor(), now).await;
        let smoke = smoke.map_err(|error| {
            Failure::unavailable(format!(
                "{}; start it with `spark up`, or name it with --data DIR or SPARK_GATEWAY_URL",
                chain(&error)
            ))
        })?;
        // The outcome counts even when nobody can store it: a system without its broker is to be told of, not hidden.
        let stored = if arguments.no_store { Ok(None) } else { store(&smoke, global, &config).await.map(Some) };
        tell(&smoke, stored.as_ref().ok().copied().flatten(), global)?;
        if let Err(failure) = stored {
            output::note(&format!("the outcome is not stored: {failure}"));
        }
        // Everything was printed already.
        if smoke.pass { Ok(()) } else { Err(Failure::no("")) }
    })
}

async fn store(smoke: &Smoke, global: &Global, config: &Config) -> Result<u64, Failure> {
    let bus: Bus = system::operator(global, config).await?;
    let meta = Meta { msg_id: Some(format!("operator:{}:{}", subject::SMOKE, smoke.at.as_nanos())), cause: None };
    let sent = tokio::time::timeout(system::CONNECT_LIMIT, bus.publish(subject::SMOKE, smoke, meta)).await;
    let sent = sent.map_err(|_| Failure::unavailable("the broker went away"))?;
    sent.map_err(|error| Failure::unavailable(format!("publish {}: {}", subject::SMOKE, chain(&error))))
}

/// Uptime of the last 24 h from the reporter's history of this data folder; none without one.
fn uptime(global: &Global) -> Option<f64> {
    let history = History::open_read_only(&spark_reporter::history::path_in(&global.data)).ok()?;
    let window = Window::ending(spark_nats::now(), Duration::from_secs(24 * 3_600));
    smoke::uptime(&history.presence(window).ok()?, window)
}

fn tell(smoke: &Smoke, sequence: Option<u64>, global: &Global) -> Result<(), Failure> {
    if global.json {
        let mut document = serde_json::to_value(smoke).unwrap_or_default();
        document["sequence"] = json!(sequence);
        return output::line(&document.to_string());
    }
    let style = if smoke.pass { Style::Green } else { Style::Red };
    for (index, line) in smoke.text.lines().enumerate() {
        let line = visible(line);
        output::line(&if index == 0 { paint(&line, style) } else { line })?;
    }
    Ok(())
}
