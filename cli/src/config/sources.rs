//! Where configuration comes from: one TOML file, then the environment. Remembers where each value was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};
use toml_edit::{ImDocument, Item, TableLike};

use super::problem::{Place, Problem};

/// The file that is read when none is named and it exists.
pub const DEFAULT_FILE: &str = "spark.toml";
const PREFIX: &str = "SPARK_";
const SEPARATOR: &str = "__";
/// A configuration beyond this is not one.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Everything that was given, merged, with its origins.
pub struct Sources {
    file: Option<(PathBuf, ImDocument<String>)>,
    environment: BTreeMap<String, Override>,
    values: Dict,
}

struct Override {
    name: String,
    raw: String,
}

impl Sources {
    /// Reads the file (`explicit`, else [`DEFAULT_FILE`] when it is there) and lays `environment` over it: a variable
    /// `SPARK_FEED__BINANCE__WS_URL` is the key `ws_url` in `[feed.binance]`, `SPARK_EXCHANGE_SIM__SEED` is `seed` in `[exchange-sim]`.
    ///
    /// # Errors
    /// The file is missing, cannot be read, or is not TOML.
    pub fn read(explicit: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, Problem> {
        let path = match explicit {
            Some(path) => Some(path.to_owned()),
            None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()),
        };
        let mut sources = Self::none();
        if let Some(path) = path {
            sources.add_file(path)?;
        }
        for (name, raw) in environment {
            if let Some(keys) = keys_of(&name) {
                let value = raw.parse::<Value>().unwrap_or_else(|never| match never {});
                insert(&mut sources.values, &keys, value);
                sources.environment.insert(keys.join("."), Override { name, raw });
            }
        }
        Ok(sources)
    }

    /// Nothing given at all.
    #[must_use]
    pub fn none() -> Self {
        Self { file: None, environment: BTreeMap::new(), values: Dict::new() }
    }

    fn add_file(&mut self, path: PathBuf) -> Result<(), Problem> {
        let problem = |place: Place, what: String| Problem { place, key: None, value: None, what };
        let here = Place::File(path.clone());
        let size = std::fs::metadata(&path).map(|meta| meta.len());
        if size.is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
            return Err(problem(here, format!("larger than {FILE_BYTES_MAX} bytes: not a configuration file")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let advice = "name an existing file with --config, or leave --config and SPARK_CONFIG away for the defaults";
            problem(here, format!("cannot be read ({error}); {advice}"))
        })?;
        let parsed = toml_edit::de::from_str::<Dict>(&text);
        let document = ImDocument::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            problem(Place::File(path.clone()), format!("not TOML: {}", error.message().replace('\n', ", "))).at(&path, at)
        })?;
        self.values = parsed.map_err(|error| problem(Place::File(path.clone()), error.message().to_owned()))?;
        self.file = Some((path, document));
        Ok(())
    }

    /// The file in use.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| path.as_path())
    }

    /// The merged values.
    #[must_use]
    pub fn values(&self) -> &Dict {
        &self.values
    }

    /// The text of an environment variable that set exactly this key.
    #[must_use]
    pub fn raw(&self, keys: &[String]) -> Option<&str> {
        self.environment.get(&keys.join(".")).map(|set| set.raw.as_str())
    }

    /// Where the value of a key was written; for a key that is not there, where its table was.
    #[must_use]
    pub fn place(&self, keys: &[String]) -> Place {
        let path = keys.join(".");
        let below = format!("{path}.");
        let set = self.environment.get(&path).or_else(|| {
            let inside = self.environment.iter().find(|(key, _)| key.starts_with(&below));
            inside.map(|(_, set)| set).filter(|_| self.offset(keys).is_none())
        });
        if let Some(set) = set {
            return Place::Environment(set.name.clone());
        }
        let Some((file, document)) = &self.file else { return Place::Default };
        let known = (1..=keys.len()).rev().find_map(|depth| self.offset(&keys[..depth]));
        match known {
            Some(offset) => Place::Line(file.clone(), line_of(document.raw(), offset)),
            None => Place::File(file.clone()),
        }
    }

    /// Byte offset of a key in the file.
    fn offset(&self, keys: &[String]) -> Option<usize> {
        let (_, document) = self.file.as_ref()?;
        find(document.as_table(), keys)
    }
}

impl Problem {
    /// The same problem at a byte offset of a file.
    fn at(mut self, path: &Path, offset: usize) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        self.place = Place::Line(path.to_owned(), line_of(&text, offset));
        self
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// `SPARK_EXCHANGE_SIM__MARKET__SEED` → `exchange-sim`, `market`, `seed`.
fn keys_of(name: &str) -> Option<Vec<String>> {
    let (section, rest) = name.strip_prefix(PREFIX)?.split_once(SEPARATOR)?;
    let section = section.to_ascii_lowercase().replace('_', "-");
    Some(std::iter::once(section).chain(rest.split(SEPARATOR).map(str::to_ascii_lowercase)).collect())
}

fn insert(dict: &mut Dict, keys: &[String], value: Value) {
    match keys {
        [] => {}
        [last] => {
            dict.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let slot = dict.entry(first.clone()).or_insert_with(|| Value::from(Dict::new()));
            if !matches!(slot, Value::Dict(..)) {
                *slot = Value::from(Dict::new());
            }
            if let Value::Dict(_, inner) = slot {
                insert(inner, rest, value);
            }
        }
    }
}

fn find(table: &dyn TableLike, keys: &[String]) -> Option<usize> {
    let (first, rest) = keys.split_first()?;
    let (key, item) = table.get_key_value(first)?;
    let own = key.span().or_else(|| item.span()).map(|span| span.start);
    if rest.is_empty() {
        return own;
    }
    if let Some(inner) = item.as_table_like() {
        return find(inner, rest);
    }
    in_array(item, rest).or(own)
}

fn in_array(item: &Item, keys: &[String]) -> Option<usize> {
    let (index, rest) = keys.split_first()?;
    let index: usize = index.parse().ok()?;
    if let Some(tables) = item.as_array_of_tables() {
        let table = tables.get(index)?;
        return if rest.is_empty() { table.span().map(|span| span.start) } else { find(table, rest) };
    }
    let value = item.as_array()?.get(index)?;
    match (rest.is_empty(), value.as_inline_table()) {
        (false, Some(inner)) => find(inner, rest),
        _ => value.span().map(|span| span.start),
    }
}
