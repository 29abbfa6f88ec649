//! `spark config`: write it, check it, show what is in force, show what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use toml_edit::{DocumentMut, Item, TableLike};

use crate::args::setup::{ConfigCommand, ConfigInitArgs};
use crate::args::{ConfigArgs, Global};
use crate::config::{Config, Place, Sources, environment, report, template};
use crate::exit::Failure;
use crate::output::{self, Style, paint};

/// Runs one of its commands.
///
/// # Errors
/// Exit 64 with every problem; see each command.
pub fn run(arguments: &ConfigArgs, global: &Global) -> Result<(), Failure> {
    match &arguments.command {
        Some(ConfigCommand::Init(arguments)) => init(arguments, global),
        Some(ConfigCommand::Lint) => lint(global),
        Some(ConfigCommand::Diff { file }) => diff(file.as_deref(), global),
        Some(ConfigCommand::Echo) => echo(global),
        None if arguments.check => lint(global),
        None => plain(global),
    }
}

/// Writes the file of defaults.
fn init(arguments: &ConfigInitArgs, global: &Global) -> Result<(), Failure> {
    let text = template::text();
    let path = &arguments.out;
    if path == Path::new("-") {
        return output::line(text.trim_end());
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).truncate(true).create(arguments.force).create_new(!arguments.force);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::usage(format!(
            "{} is there already; name another file with --out, or replace it with --force",
            path.display()
        )),
        _ => Failure::temporary(format!("write {}: {error}", path.display())),
    })?;
    file.write_all(text.as_bytes()).map_err(|error| Failure::temporary(format!("write {}: {error}", path.display())))?;
    if global.json {
        return output::line(&json!({"file": path, "replaced": arguments.force}).to_string());
    }
    output::line(&path.display().to_string())?;
    let used = path == Path::new(crate::config::DEFAULT_FILE);
    let how = if used { String::new() } else { format!(" --config {}", path.display()) };
    output::note(&format!("everything in it is commented out; next: edit it, then `spark config lint{how}` and `spark up{how}`"));
    Ok(())
}

/// Says what is wrong.
fn lint(global: &Global) -> Result<(), Failure> {
    match Config::from_parts(global.config.as_deref(), environment()) {
        Ok(config) if global.json => output::line(&json!({"ok": true, "file": config.file, "problems": []}).to_string()),
        Ok(config) => {
            let place = config.file.as_ref().map_or_else(|| "defaults (no file)".to_owned(), |path| path.display().to_string());
            output::line(&format!("{place}: the configuration is right"))
        }
        Err(problems) if global.json => {
            let rows: Vec<Value> = problems
                .iter()
                .map(|problem| {
                    let line = if let Place::Line(_, line) = &problem.place { Some(line) } else { None };
                    json!({"place": problem.place.to_string(), "line": line, "key": problem.key, "value": problem.value, "what": problem.what})
                })
                .collect();
            output::line(&json!({"ok": false, "problems": rows}).to_string())?;
            // Everything is in the document.
            Err(Failure::usage(""))
        }
        Err(problems) => Err(report(&problems)),
    }
}

/// Shows what is in force and nothing else, as it has always been.
fn plain(global: &Global) -> Result<(), Failure> {
    let document = Config::load(global.config.as_deref())?.effective();
    if global.json {
        return output::line(&serde_json::to_string_pretty(&document).unwrap_or_default());
    }
    let text = toml_edit::ser::to_string_pretty(&document);
    output::line(text.map_err(|error| Failure::internal(format!("write the configuration as TOML: {error}")))?.trim_end())
}

/// Shows what is in force, and where it comes from.
fn echo(global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let document = config.effective();
    let origins = Origins::read(global.config.as_deref())?;
    if global.json {
        let mut leaves = BTreeMap::new();
        flatten("", &document, &mut leaves);
        let sources: BTreeMap<&String, String> = leaves.keys().filter_map(|key| Some((key, origins.of(&config, key)?))).collect();
        return output::line(&serde_json::to_string_pretty(&json!({"values": document, "sources": sources})).unwrap_or_default());
    }
    let text = toml_edit::ser::to_string_pretty(&document)
        .map_err(|error| Failure::internal(format!("write the configuration as TOML: {error}")))?;
    let mut toml: DocumentMut = text.parse().map_err(|error| Failure::internal(format!("read it again: {error}")))?;
    note_origins(toml.as_table_mut(), "", &|key| origins.of(&config, key));
    output::line(toml.to_string().trim_end())
}

/// A comment behind each value that somebody wrote.
fn note_origins(table: &mut dyn TableLike, path: &str, origin: &dyn Fn(&str) -> Option<String>) {
    for (key, item) in table.iter_mut() {
        let path = if path.is_empty() { key.get().to_owned() } else { format!("{path}.{}", key.get()) };
        match item {
            Item::Table(inner) => note_origins(inner, &path, origin),
            Item::Value(value) => {
                if let Some(origin) = origin(&path) {
                    value.decor_mut().set_suffix(format!("  # {origin}"));
                }
            }
            _ => {}
        }
    }
}

/// Where values were written.
struct Origins(Sources);

impl Origins {
    fn read(file: Option<&Path>) -> Result<Self, Failure> {
        Sources::read(file, environment()).map(Self).map_err(|problem| report(&[problem]))
    }

    /// The place of a value that somebody wrote; none for a default.
    fn of(&self, config: &Config, key: &str) -> Option<String> {
        let keys: Vec<&str> = key.split('.').collect();
        let owned: Vec<String> = keys.iter().map(ToString::to_string).collect();
        config.is_given(&keys).then(|| self.0.place(&owned).to_string())
    }
}

/// Shows what differs from the defaults or from another file.
fn diff(other: Option<&Path>, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let origins = Origins::read(global.config.as_deref())?;
    let against = match other {
        // Of the other file alone: the environment of this shell is not part of it.
        Some(_) => Config::from_parts(other, []).map_err(|problems| report(&problems))?,
        None => Config::defaults(),
    };
    let (mut here, mut there) = (BTreeMap::new(), BTreeMap::new());
    flatten("", &config.effective(), &mut here);
    flatten("", &against.effective(), &mut there);
    let keys: BTreeSet<&String> = here.keys().chain(there.keys()).filter(|key| here.get(*key) != there.get(*key)).collect();
    if global.json {
        let rows: Vec<Value> = keys
            .iter()
            .map(|key| json!({"key": key, "value": here.get(*key), "other": there.get(*key), "source": origins.of(&config, key)}))
            .collect();
        return output::line(&serde_json::to_string_pretty(&rows).unwrap_or_default());
    }
    let name = other.map_or_else(|| "the defaults".to_owned(), |path| path.display().to_string());
    if keys.is_empty() {
        return output::line(&format!("nothing differs from {name}"));
    }
    for key in keys {
        let origin = origins.of(&config, key).map(|origin| format!("  # {origin}")).unwrap_or_default();
        output::line(&paint(key, Style::Bold))?;
        if let Some(value) = there.get(key) {
            output::line(&paint(&format!("  - {value}"), Style::Red))?;
        }
        if let Some(value) = here.get(key) {
            output::line(&format!("{}{}", paint(&format!("  + {value}"), Style::Green), paint(&origin, Style::Dim)))?;
        }
    }
    output::note(&format!("- {name}, + in force"));
    Ok(())
}

/// Dotted keys; a list is one value.
fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() || path.is_empty() => {
            let below = |key: &String| if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            fields.iter().for_each(|(key, value)| flatten(&below(key), value, into));
        }
        other => {
            into.insert(path.to_owned(), other.clone());
        }
    }
}
