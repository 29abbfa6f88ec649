//! `spark topology`: the streams as declared against the streams as they are.

use serde_json::json;
use spark_nats::topology::{self, Settings};

use crate::args::{Global, TopologyArgs};
use crate::config::Config;
use crate::exit::Failure;
use crate::output;
use crate::system;

/// Prints a line a stream.
///
/// # Errors
/// Exit 1 when streams differ and `--apply` is not given; 69 without a broker or rights.
pub fn run(arguments: &TopologyArgs, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let configured = config.nats.topology();
    let settings = Settings { replicas: arguments.replicas.map_or(configured.replicas, usize::from), ..configured };
    system::block_on(async {
        let bus = system::connect_as("supervisor", global, &config).await?;
        if arguments.apply {
            let changes = topology::ensure(&bus, settings).await?;
            if global.json {
                let rows: Vec<String> = changes.iter().map(ToString::to_string).collect();
                return output::line(&json!({"changes": rows}).to_string());
            }
            return changes.iter().try_for_each(|change| output::line(&change.to_string()));
        }
        let drifts = topology::drift(&bus, settings).await?;
        if global.json {
            let rows: Vec<_> = drifts.iter().map(|drift| json!({"stream": drift.stream, "differs": drift.points})).collect();
            output::line(&json!({"asDeclared": rows.is_empty(), "differs": rows}).to_string())?;
            return if drifts.is_empty() { Ok(()) } else { Err(Failure::no("")) };
        }
        for drift in &drifts {
            output::line(&format!("stream {} differs: {}", drift.stream, drift.points.join(", ")))?;
        }
        if drifts.is_empty() {
            return output::line("every stream is as declared");
        }
        Err(Failure::no("the broker differs; `spark topology --apply` makes it equal"))
    })
}
