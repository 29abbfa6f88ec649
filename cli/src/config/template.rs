//! `spark.toml` as `spark config init` writes it: every key with its default and what it means, commented out. The texts are
//! in `keys.txt`, the values are the program's own defaults, so that the two cannot differ.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Config, Sources};

const KEYS: &str = include_str!("keys.txt");
/// Comments are broken to fit this many columns.
const WIDTH: usize = 100;
/// Lists longer than this are broken, too.
const LIST_WIDTH: usize = 80;

const HEAD: &str = "\
# Spark's configuration. Everything is commented out: the values are the defaults of this version.
# Take the `#` away from a line to set it. Any key can also be set by a variable:
# SPARK_GATEWAY__RATE_BURST is rate_burst in [gateway].
#
#   spark config lint    names mistakes
#   spark config diff    shows what differs from the defaults
#   spark config echo    shows what is in force, and where it comes from
";

const INSTRUMENTS: &str = "
# ─── Symbols that are not built in ───────────────────────────────────────────────────────────────
#
#[[instrument]]
#venue = \"binance\"
#symbol = \"DOGEUSDT\"
#base = \"DOGE\"
#quote = \"USDT\"
";

/// One line of `keys.txt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Section { name: &'static str, about: &'static str },
    Heading(&'static str),
    Key { path: &'static str, value: Given, text: &'static str },
}

/// Where a key's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// The configuration's own default.
    Default,
    /// A default that the configuration does not show.
    Literal(&'static str),
    /// Not set; this would be possible.
    Example(&'static str),
}

fn lines() -> impl Iterator<Item = Line> {
    KEYS.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")).map(|line| {
        if let Some(heading) = line.strip_prefix("## ") {
            return Line::Heading(heading);
        }
        if let Some((name, about)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            return Line::Section { name, about };
        }
        let (head, text) = line.split_once(": ").unwrap_or((line, ""));
        let head = head.strip_suffix(':').unwrap_or(head);
        let (path, value) = match (head.split_once(" ~= "), head.split_once(" = ")) {
            (Some((path, example)), _) => (path, Given::Example(example)),
            (None, Some((path, literal))) => (path, Given::Literal(literal)),
            (None, None) => (head, Given::Default),
        };
        Line::Key { path, value, text }
    })
}

/// The whole file.
#[must_use]
pub fn text() -> String {
    let defaults = Config::defaults().sections();
    let mut file = HEAD.to_owned();
    let mut section = "";
    for line in lines() {
        match line {
            Line::Section { name, about } => {
                section = name;
                let rule = "─".repeat(WIDTH.saturating_sub(6 + name.chars().count()));
                let _ = writeln!(file, "\n# ─── {name} {rule}");
                comment(&mut file, about);
                let _ = writeln!(file, "[{name}]");
            }
            Line::Heading(heading) => {
                let _ = writeln!(file, "\n# ── {heading}");
            }
            Line::Key { path, value, text } => {
                let unset = matches!(value, Given::Example(_));
                if !text.is_empty() || unset {
                    let note = if unset { "Not set." } else { "" };
                    comment(&mut file, format!("{text} {note}").trim());
                }
                let shown = match value {
                    Given::Literal(text) | Given::Example(text) => text.to_owned(),
                    Given::Default => defaults.get(section).and_then(|all| look(all, path)).map(toml).unwrap_or_default(),
                };
                let _ = writeln!(file, "#{path} = {}", shown.replace('\n', "\n#"));
            }
        }
    }
    file + INSTRUMENTS
}

fn look<'a>(section: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(section, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// Words, broken into lines of at most [`WIDTH`] columns.
fn comment(file: &mut String, text: &str) {
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count() + 1;
        if column == 0 || column + length > WIDTH {
            file.push_str(if column == 0 { "#" } else { "\n#" });
            column = 1;
        }
        file.push(' ');
        file.push_str(word);
        column += length;
    }
    file.push('\n');
}

/// Items of a list, as many on a line as fit.
fn rows(items: &[String]) -> String {
    let mut rows: Vec<String> = Vec::new();
    for item in items {
        match rows.last_mut() {
            Some(row) if row.len() + item.len() + 2 <= LIST_WIDTH => {
                row.push_str(", ");
                row.push_str(item);
            }
            _ => rows.push(format!("    {item}")),
        }
    }
    rows.iter().map(|row| format!("{row},\n")).collect()
}

/// A value as TOML; long lists, and lists of tables, on several lines.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) if items.iter().any(Value::is_object) => {
            let rows: Vec<String> = items.iter().map(|item| format!("    {},\n", toml(item))).collect();
            format!("[\n{}]", rows.concat())
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect();
            let line = format!("[{}]", items.join(", "));
            if line.len() < LIST_WIDTH { line } else { format!("[\n{}]", rows(&items)) }
        }
        Value::Object(fields) => {
            let shown = fields.iter().filter(|(_, value)| !value.is_null());
            let pairs: Vec<String> =
                shown.map(|(key, value)| format!("{} = {}", toml_edit::Key::new(key), toml(value))).collect();
            if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
        }
        Value::String(text) => toml_edit::Value::from(text.as_str()).to_string(),
        other => other.to_string(),
    }
}

impl Config {
    /// What is in force when nobody says anything: no file, no environment.
    #[must_use]
    pub fn defaults() -> Self {
        // Each default is tried by its own crate's tests, so that there is nothing to report here.
        Self::checked(Sources::none()).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(path: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                fields.iter().for_each(|(key, value)| leaves(&format!("{path}.{key}"), value, found));
            }
            _ => found.push(path.to_owned()),
        }
    }

    fn keys() -> Vec<(String, Given)> {
        let mut section = "";
        let mut keys = Vec::new();
        for line in lines() {
            match line {
                Line::Section { name, .. } => section = name,
                Line::Heading(_) => {}
                Line::Key { path, value, .. } => keys.push((format!("{section}.{path}"), value)),
            }
        }
        keys
    }

    #[test]
    fn every_key_of_every_section_is_explained_and_nothing_else() {
        let defaults = Config::defaults().sections();
        let mut found = Vec::new();
        defaults.iter().for_each(|(section, value)| leaves(section, value, &mut found));
        let keys = keys();
        // Only BTCTurk has a host of its own for candles.
        found.retain(|leaf| leaf != "candles.binance.graph_url");
        let explained = |leaf: &str| keys.iter().any(|(key, _)| leaf == key || leaf.starts_with(&format!("{key}.")));
        let missing: Vec<&String> = found.iter().filter(|leaf| !leaf.starts_with("exchange-sim") && !explained(leaf)).collect();
        assert!(missing.is_empty(), "add to cli/src/config/keys.txt what these mean: {missing:?}");
        for (key, value) in &keys {
            let (section, path) = key.split_once('.').unwrap();
            let there = defaults.get(section).and_then(|all| look(all, path)).is_some();
            assert_eq!(there, *value == Given::Default, "{key}: {value:?}");
        }
        for section in super::super::sections() {
            assert!(keys.iter().any(|(key, _)| key.starts_with(&format!("{section}."))), "[{section}] is missing");
        }
    }

    fn read(text: &str) -> Result<Config, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spark.toml");
        std::fs::write(&path, text).unwrap();
        Config::from_parts(Some(&path), []).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_file_as_it_is_written_and_with_every_default_taken_in_is_the_defaults() {
        let text = text();
        let defaults = Config::defaults();
        assert_eq!(read(&text).map(|config| config.effective()), Ok(defaults.effective()));
        // Every `#key = default` becomes `key = default`, those that are not set stay as they are.
        let examples: Vec<String> = keys()
            .into_iter()
            .filter(|(_, value)| matches!(value, Given::Example(_)))
            .map(|(key, _)| format!("#{} = ", key.split_once('.').unwrap().1))
            .collect();
        let (sections, instruments) = text.split_once("# ─── Symbols").unwrap();
        let taken: Vec<&str> = sections
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.is_empty() && !rest.starts_with(' ') || rest_of_list(line) => {
                    if examples.iter().any(|example| line.starts_with(example)) { line } else { &line[1..] }
                }
                _ => line,
            })
            .collect();
        let given = read(&taken.join("\n")).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let (mut given, mut defaults) = (given.effective(), defaults.effective());
        // Only what is written is shown of the simulator.
        given.as_object_mut().unwrap().remove("exchange-sim");
        defaults.as_object_mut().unwrap().remove("exchange-sim");
        assert_eq!(given, defaults);
        let symbol = instruments.lines().skip(1).map(|line| line.trim_start_matches('#')).collect::<Vec<_>>().join("\n");
        assert!(read(&symbol).is_ok(), "{symbol}");
    }

    fn rest_of_list(line: &str) -> bool {
        line.starts_with("#    ") || line == "#]"
    }

    #[test]
    fn defaults_of_the_simulator_are_its_own() {
        let simulator: String = keys()
            .into_iter()
            .filter_map(|(key, value)| match value {
                Given::Literal(text) => Some(format!("{} = {text}\n", key.strip_prefix("exchange-sim.").unwrap())),
                _ => None,
            })
            .collect();
        let config = read(&format!("[exchange-sim]\n{simulator}")).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert_eq!(format!("{:?}", config.exchange_sim), format!("{:?}", spark_exchange_sim::Config::default()));
    }

    #[test]
    fn every_example_could_be_set_as_it_is() {
        for section in super::super::sections() {
            let examples = keys().into_iter().filter_map(|(key, value)| match (key.split_once('.').unwrap(), value) {
                ((of, path), Given::Example(example)) if of == section => Some(format!("{path} = {example}\n")),
                _ => None,
            });
            let problems = read(&format!("[{section}]\n{}", examples.collect::<String>())).err().unwrap_or_default();
            // Files of this name are not on this machine.
            let wrong: Vec<_> = problems.iter().filter(|problem| !problem.contains("o such file")).collect();
            assert!(wrong.is_empty(), "{wrong:?}");
        }
    }
}
