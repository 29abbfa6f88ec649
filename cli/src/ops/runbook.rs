//! `spark runbook`: what the dashboards say about what to do, as one text.

use std::fs;
use std::path::Path;

use serde_json::json;
use spark_reporter::runbook::{self, Dashboard};

use super::dashboards::DASHBOARDS;
use crate::args::Global;
use crate::args::day::RunbookArgs;
use crate::exit::{Failure, chain};
use crate::output::{self, visible};

/// More than any dashboard has.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Prints or writes it.
///
/// # Errors
/// Exit 1: --check, and a panel lacks a text; 64: a file that cannot be read or is no dashboard; 75: --out cannot be written.
pub fn run(arguments: &RunbookArgs, global: &Global) -> Result<(), Failure> {
    let wrong = |error: runbook::Error| Failure::usage(chain(&error));
    let dashboards: Vec<Dashboard> = if arguments.dashboard.is_empty() {
        DASHBOARDS.iter().map(|(name, text)| runbook::read(name, text).map_err(wrong)).collect::<Result<_, _>>()?
    } else {
        let read = |path: &std::path::PathBuf| runbook::read(&path.display().to_string(), &text(path)?).map_err(wrong);
        arguments.dashboard.iter().map(read).collect::<Result<_, _>>()?
    };
    let rendered = runbook::render(&dashboards);
    if let Some(out) = &arguments.out {
        fs::write(out, &rendered).map_err(|error| Failure::temporary(format!("write {}: {error}", out.display())))?;
    }
    if global.json {
        output::line(&json!({"dashboards": dashboards, "markdown": rendered}).to_string())?;
    } else if arguments.out.is_none() {
        output::line(rendered.trim_end())?;
    }
    let mistakes: Vec<&String> = dashboards.iter().flat_map(|dashboard| &dashboard.mistakes).collect();
    for mistake in &mistakes {
        output::note(&visible(mistake));
    }
    if arguments.check && !mistakes.is_empty() { Err(Failure::no("")) } else { Ok(()) }
}

fn text(path: &Path) -> Result<String, Failure> {
    let wrong = |what: String| Failure::usage(format!("{}: {what}", path.display()));
    let size = fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(wrong(format!("{size} bytes: no dashboard is that large")));
    }
    fs::read_to_string(path).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_panel_of_the_built_in_dashboards_has_all_its_texts_and_a_runbook_that_exists() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (name, text) in DASHBOARDS {
            let dashboard = runbook::read(name, text).unwrap();
            assert_eq!(dashboard.mistakes, Vec::<String>::new());
            for panel in &dashboard.panels {
                assert!(root.join(&panel.runbook).is_file(), "{name}: {}: no file {}", panel.title, panel.runbook);
            }
            let rendered = runbook::render(std::slice::from_ref(&dashboard));
            for panel in dashboard.panels {
                assert!(rendered.contains(&format!("### {}\n", panel.title)), "{}", panel.title);
                assert!(panel.queries.iter().all(|query| rendered.contains(query)), "{}", panel.title);
            }
        }
    }
}
