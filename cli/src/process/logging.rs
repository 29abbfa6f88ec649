//! Logs of a process: on stderr, text for people, JSON for machines.

use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

/// What is logged when neither `SPARK_LOG` nor `RUST_LOG` says.
const DEFAULT_FILTER: &str = "info,async_nats=warn,hyper=warn,reqwest=warn";

/// Starts logging. `SPARK_LOG` wins over `RUST_LOG`; `SPARK_LOG_FORMAT=json` or `json` gives one JSON document a line.
///
/// # Errors
/// Exit 64: the filter cannot be read.
pub fn start(json: bool) -> Result<(), Failure> {
    let named = ["SPARK_LOG", "RUST_LOG"].into_iter().find_map(|name| Some((name, std::env::var(name).ok()?)));
    let filter = match &named {
        Some((name, text)) => EnvFilter::try_new(text).map_err(|error| {
            Failure::usage(format!("environment {name} = \"{text}\": {error}; write it like \"info,spark_feed=debug\""))
        })?,
        None => EnvFilter::new(DEFAULT_FILTER),
    };
    let format = std::env::var("SPARK_LOG_FORMAT").unwrap_or_default();
    let json = match format.as_str() {
        "json" => true,
        "" | "text" => json,
        other => return Err(Failure::usage(format!("environment SPARK_LOG_FORMAT = \"{other}\": known are text and json"))),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        builder.json().init();
    } else {
        builder.with_ansi(crate::output::stderr_coloured()).init();
    }
    Ok(())
}
