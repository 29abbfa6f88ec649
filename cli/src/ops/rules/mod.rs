//! `spark rules`: rule files are checked, tested and tried on what was recorded.

use std::fs;
use std::path::Path;

use spark_guardrail::rule::Problem;

use crate::args::Global;
use crate::args::rules::RulesCommand;
use crate::exit::Failure;

mod lint;
mod recorded;
mod replay;
mod test;

/// Largest file of rules or tests that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Checks, tests or replays.
///
/// # Errors
/// Exit 64: a file or a time that is wrong; 1: a test that fails; 69: no broker.
pub fn run(command: &RulesCommand, global: &Global) -> Result<(), Failure> {
    match command {
        RulesCommand::Lint(arguments) => lint::run(arguments, global),
        RulesCommand::Test(arguments) => test::run(arguments, global),
        RulesCommand::Replay(arguments) => replay::run(arguments, global),
    }
}

/// A file's text; else what is wrong, as a problem of the file as a whole.
fn read(path: &Path) -> Result<String, Vec<Problem>> {
    let wrong = |what: String, fix: &str| {
        let file = path.display().to_string();
        vec![Problem { file, line: None, key: "file".to_owned(), value: String::new(), what, fix: fix.to_owned() }]
    };
    let size = fs::metadata(path).map_err(|error| wrong(error.to_string(), "name a readable TOML file"))?.len();
    if size > FILE_BYTES_MAX {
        return Err(wrong(format!("{size} bytes, above the limit of {FILE_BYTES_MAX}"), "split it"));
    }
    fs::read_to_string(path).map_err(|error| wrong(error.to_string(), "name a readable TOML file"))
}

/// A mistake for programs.
fn document(problem: &Problem) -> serde_json::Value {
    serde_json::json!({"file": problem.file, "line": problem.line, "key": problem.key, "value": problem.value,
        "what": problem.what, "fix": problem.fix})
}

/// Every mistake as an exit with 64.
fn usage(problems: &[Problem]) -> Failure {
    Failure::usage(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}
