//! `spark rules lint`.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use spark_guardrail::Rules;
use spark_guardrail::rule::{BUILTIN, BUILTIN_NAME, Problem, Rule};

use super::{document, read};
use crate::args::Global;
use crate::args::rules::LintArgs;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::output::{self, Style, paint};

/// What was found in one file.
struct Found {
    file: String,
    rules: usize,
    mistakes: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// Names every mistake and warning.
///
/// # Errors
/// Exit 64: there is a mistake.
pub fn run(arguments: &LintArgs, global: &Global) -> Result<(), Failure> {
    let mut files = arguments.files.clone();
    if files.is_empty() {
        files.extend(Config::load(global.config.as_deref())?.guardrail.rules);
    }
    let found: Vec<Found> =
        if files.is_empty() { vec![judge(BUILTIN_NAME, BUILTIN, None)] } else { files.iter().map(|path| file(path)).collect() };
    if global.json {
        output::line(&json!({"files": found.iter().map(json_of).collect::<Vec<Value>>()}).to_string())?;
    } else {
        tell(&found)?;
    }
    // Everything was printed already.
    if found.iter().all(|found| found.mistakes.is_empty()) {
        Ok(())
    } else {
        Err(Failure { exit: Exit::Usage, message: String::new() })
    }
}

fn file(path: &Path) -> Found {
    let name = path.display().to_string();
    match read(path) {
        Ok(text) => judge(&name, &text, Some(path)),
        Err(mistakes) => Found { file: name, rules: 0, mistakes, warnings: Vec::new() },
    }
}

fn judge(name: &str, text: &str, path: Option<&Path>) -> Found {
    let (rules, mistakes) = match Rules::from_toml(text, name) {
        Ok(rules) => (Some(rules), Vec::new()),
        Err(mistakes) => (None, mistakes),
    };
    let missing = rules.iter().flatten().filter_map(|rule| runbook(rule, name, text, path?));
    let warnings = missing.collect();
    Found { file: name.to_owned(), rules: rules.map_or(0, |rules| rules.len()), mistakes, warnings }
}

/// A runbook that does not exist, where the file's folder or one above it has the folder of runbooks.
fn runbook(rule: &Rule, name: &str, text: &str, path: &Path) -> Option<Problem> {
    let runbook = rule.text.runbook.as_str();
    if runbook.is_empty() || runbook.contains("://") || runbook.contains('{') {
        return None;
    }
    let from = path.canonicalize().ok()?;
    let folder = Path::new(runbook).parent()?;
    let root: PathBuf = from.ancestors().skip(1).find(|root| root.join(folder).is_dir())?.to_owned();
    // A link may lead to a place within the file.
    let target = runbook.split('#').next().unwrap_or(runbook);
    if root.join(target).is_file() {
        return None;
    }
    let rule_at = text.lines().position(|line| line.trim_start().starts_with("id") && line.contains(&format!("\"{}\"", rule.id)));
    let named = |(_, line): &(usize, &str)| line.trim_start().starts_with("runbook") && line.contains(runbook);
    let line = text.lines().enumerate().skip(rule_at.unwrap_or(0)).find(named).map(|(number, _)| number + 1);
    Some(Problem {
        file: name.to_owned(),
        line,
        key: format!("rule.{}.runbook", rule.id),
        value: format!("\"{runbook}\""),
        what: format!("there is no such file in {}", root.display()),
        fix: "write it, or name another".to_owned(),
    })
}

fn tell(found: &[Found]) -> Result<(), Failure> {
    for found in found {
        for mistake in &found.mistakes {
            output::line(&format!("{} {}", paint("mistake", Style::Red), output::visible(&mistake.to_string())))?;
        }
        for warning in &found.warnings {
            output::line(&format!("{} {}", paint("warning", Style::Yellow), output::visible(&warning.to_string())))?;
        }
        let verdict = match (found.mistakes.len(), found.warnings.len()) {
            (0, 0) => paint(&format!("{} rules, no mistake", found.rules), Style::Green),
            (0, warnings) => paint(&format!("{} rules, no mistake, {warnings} warnings", found.rules), Style::Yellow),
            (mistakes, _) => paint(&format!("{mistakes} mistakes"), Style::Red),
        };
        output::line(&format!("{}: {verdict}", output::visible(&found.file)))?;
    }
    Ok(())
}

fn json_of(found: &Found) -> Value {
    let list = |problems: &[Problem]| problems.iter().map(document).collect::<Vec<Value>>();
    json!({"file": found.file, "rules": found.rules, "mistakes": list(&found.mistakes), "warnings": list(&found.warnings)})
}
