//! The guardrail's shipped rules with other figures: a test need not wait for five minutes, and still sees what is shipped.

use std::path::{Path, PathBuf};

/// Writes the shipped rules to `path`, with `changes` as (rule's id, key, value as TOML writes it), and returns the path.
///
/// # Panics
/// There is no such rule, it has no such key, or the file cannot be written.
pub fn shipped_with(path: PathBuf, changes: &[(&str, &str, &str)]) -> PathBuf {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../processors/guardrail/guardrail.toml");
    let text = std::fs::read_to_string(&shipped).unwrap_or_else(|error| panic!("{}: {error}", shipped.display()));
    let mut rules: Vec<String> = text.split("[[rule]]\n").map(ToOwned::to_owned).collect();
    for (id, key, value) in changes {
        let found = rules.iter_mut().find(|rule| rule.starts_with(&format!("id = \"{id}\"\n")));
        let rule = found.unwrap_or_else(|| panic!("no rule {id} in {}", shipped.display()));
        let line = rule.lines().find(|line| line.starts_with(&format!("{key} = ")));
        let line = line.unwrap_or_else(|| panic!("rule {id} has no {key}")).to_owned();
        *rule = rule.replacen(&line, &format!("{key} = {value}"), 1);
    }
    std::fs::write(&path, rules.join("[[rule]]\n")).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}
