//! `spark rules test`.

use std::path::Path;

use serde_json::{Value, json};
use spark_guardrail::Rules;
use spark_guardrail::rule::Problem;
use spark_guardrail::suite::{self, Failure as Wrong, Suite};

use super::{document, read};
use crate::args::Global;
use crate::args::rules::TestArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, Style, paint};

/// One file and what became of its tests.
struct Done {
    file: String,
    outcome: Result<Vec<(String, Vec<Wrong>)>, Vec<Problem>>,
}

/// Runs every test of every file.
///
/// # Errors
/// Exit 64: a file is wrong; 1: an expectation does not hold.
pub fn run(arguments: &TestArgs, global: &Global) -> Result<(), Failure> {
    let done: Vec<Done> = arguments.files.iter().map(|path| file(path)).collect();
    if global.json {
        output::line(&json!({"files": done.iter().map(json_of).collect::<Vec<Value>>()}).to_string())?;
    } else {
        done.iter().try_for_each(tell)?;
    }
    let failed = |done: &Done| done.outcome.as_ref().is_ok_and(|tests| tests.iter().any(|(_, wrong)| !wrong.is_empty()));
    // Everything was printed already.
    if done.iter().any(|done| done.outcome.is_err()) {
        Err(Failure { exit: Exit::Usage, message: String::new() })
    } else if done.iter().any(failed) {
        Err(Failure::no(""))
    } else {
        Ok(())
    }
}

fn file(path: &Path) -> Done {
    let file = path.display().to_string();
    let outcome = open(path, &file)
        .map(|(suite, rules)| suite.tests.into_iter().map(|test| (test.name.clone(), suite::run(&test, &rules))).collect());
    Done { file, outcome }
}

fn open(path: &Path, name: &str) -> Result<(Suite, Rules), Vec<Problem>> {
    let text = read(path)?;
    suite::parse(&text, name, |rules| {
        let Some(rules) = rules else { return Ok(Rules::builtin()) };
        let rules = path.parent().unwrap_or(Path::new("")).join(rules);
        Rules::from_toml(&read(&rules)?, &rules.display().to_string())
    })
}

fn tell(done: &Done) -> Result<(), Failure> {
    let tests = match &done.outcome {
        Ok(tests) => tests,
        Err(problems) => {
            for problem in problems {
                output::line(&format!("{} {}", paint("mistake", Style::Red), output::visible(&problem.to_string())))?;
            }
            return output::line(&format!("{}: {} mistakes", output::visible(&done.file), problems.len()));
        }
    };
    for (name, wrong) in tests {
        if wrong.is_empty() {
            output::line(&format!("{}      {}", paint("ok", Style::Green), output::visible(name)))?;
        } else {
            output::line(&format!("{}  {}", paint("FAILED", Style::Red), output::visible(name)))?;
        }
        for wrong in wrong {
            let file = output::visible(&done.file);
            output::line(&format!("  {file}:{}", wrong.line))?;
            for (word, said) in [("expected", &wrong.expected), ("got     ", &wrong.got), ("changes ", &wrong.changes)] {
                output::line(&format!("    {word} {}", output::visible(said)))?;
            }
        }
    }
    let failed = tests.iter().filter(|(_, wrong)| !wrong.is_empty()).count();
    let style = if failed == 0 { Style::Green } else { Style::Red };
    let verdict = paint(&format!("{} passed, {failed} failed", tests.len() - failed), style);
    output::line(&format!("{}: {verdict}", output::visible(&done.file)))
}

fn json_of(done: &Done) -> Value {
    match &done.outcome {
        Err(problems) => json!({"file": done.file, "mistakes": problems.iter().map(document).collect::<Vec<Value>>()}),
        Ok(tests) => {
            let one = |wrong: &Wrong| json!({"line": wrong.line, "expected": wrong.expected, "got": wrong.got, "changes": wrong.changes});
            let tests = tests.iter().map(|(name, wrong)| {
                json!({"name": name, "passed": wrong.is_empty(), "failures": wrong.iter().map(one).collect::<Vec<Value>>()})
            });
            json!({"file": done.file, "mistakes": [], "tests": tests.collect::<Vec<Value>>()})
        }
    }
}
