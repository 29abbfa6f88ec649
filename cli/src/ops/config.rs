//! `spark config`: what is in effect, and whether it is right.

use crate::args::{ConfigArgs, Global};
use crate::config::Config;
use crate::exit::Failure;
use crate::output;

/// Prints or checks the configuration.
///
/// # Errors
/// Exit 64 with every problem.
pub fn run(arguments: &ConfigArgs, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    if arguments.check {
        let place = config.file.as_ref().map_or_else(|| "defaults (no file)".to_owned(), |path| path.display().to_string());
        return output::line(&format!("{place}: the configuration is right"));
    }
    let document = config.effective();
    if global.json {
        return output::line(&serde_json::to_string_pretty(&document).unwrap_or_default());
    }
    let text = toml_edit::ser::to_string_pretty(&document)
        .map_err(|error| Failure::internal(format!("write the configuration as TOML: {error}")))?;
    output::line(text.trim_end())
}
