//! Reads keys of one TOML table and remembers every mistake with its line.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use toml_edit::{Item, TableLike, Value};

use super::duration;
use super::problem::{Problem, suggestion};

/// The text of a file and the mistakes found in it so far.
pub struct Source<'a> {
    pub text: &'a str,
    pub file: &'a str,
    pub problems: Vec<Problem>,
}

impl Source<'_> {
    pub fn line(&self, span: Option<Range<usize>>) -> Option<usize> {
        let before = self.text.get(..span?.start)?;
        Some(before.bytes().filter(|byte| *byte == b'\n').count() + 1)
    }

    pub fn problem(
        &mut self,
        span: Option<Range<usize>>,
        key: &str,
        value: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let line = self.line(span);
        let (key, value) = (key.to_owned(), value.to_owned());
        self.problems.push(Problem { file: self.file.to_owned(), line, key, value, what: what.into(), fix: fix.into() });
    }
}

/// Tables with their places in the file.
pub type Tables<'t> = Vec<(&'t dyn TableLike, Option<Range<usize>>)>;

/// One table, read key by key.
pub struct Reader<'s, 'a, 't> {
    pub source: &'s mut Source<'a>,
    table: &'t dyn TableLike,
    /// Key of the table itself, e.g. `rule.ws_staleness`.
    pub path: String,
    span: Option<Range<usize>>,
}

impl<'s, 'a, 't> Reader<'s, 'a, 't> {
    pub fn new(source: &'s mut Source<'a>, table: &'t dyn TableLike, path: String, span: Option<Range<usize>>) -> Self {
        Self { source, table, path, span }
    }

    pub fn reject_unknown(&mut self, known: &[&str]) {
        let unknown: Vec<(String, Option<Range<usize>>)> = self
            .table
            .iter()
            .filter(|(key, _)| !known.contains(key))
            .map(|(key, item)| {
                (key.to_owned(), self.table.get_key_value(key).and_then(|(key, _)| key.span()).or_else(|| item.span()))
            })
            .collect();
        for (key, span) in unknown {
            let path = self.key(&key);
            self.source.problem(span, &path, "", "unknown key", suggestion(&key, known));
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A mistake in a key's value; in the table as a whole when the key is missing.
    pub fn wrong(&mut self, key: &str, what: impl Into<String>, fix: impl Into<String>) {
        let item = self.table.get(key);
        let span = item.and_then(Item::span).or_else(|| self.span.clone());
        let value = item.map(|item| written(self.source.text, item)).unwrap_or_default();
        let path = self.key(key);
        self.source.problem(span, &path, &value, what, fix);
    }

    pub fn text(&mut self, key: &str) -> Option<String> {
        let item = self.table.get(key)?;
        if let Some(text) = item.as_str() {
            return Some(text.to_owned());
        }
        self.wrong(key, "not a text", format!("write it in quotes: {key} = \"…\""));
        None
    }

    pub fn required_text(&mut self, key: &str, example: &str) -> Option<String> {
        if !self.has(key) {
            self.wrong(key, "missing", format!("add {key} = {example}"));
        }
        match self.text(key) {
            Some(text) if text.is_empty() => {
                self.wrong(key, "empty", format!("write {key} = {example}"));
                None
            }
            other => other,
        }
    }

    /// One of the known words.
    pub fn word(&mut self, key: &str, known: &[&'static str]) -> Option<&'static str> {
        let text = self.text(key)?;
        let found = known.iter().find(|word| **word == text).copied();
        if found.is_none() {
            self.wrong(key, "unknown", suggestion(&text, known));
        }
        found
    }

    pub fn number(&mut self, key: &str) -> Option<f64> {
        let item = self.table.get(key)?;
        #[expect(clippy::cast_precision_loss, reason = "thresholds are statistics")]
        let number = item.as_float().or_else(|| item.as_integer().map(|integer| integer as f64));
        match number {
            Some(number) if number.is_finite() => return Some(number),
            Some(_) => self.wrong(key, "not a finite number", "write a plain number such as 1500 or 0.95"),
            None => self.wrong(key, "not a number", "write a plain number such as 1500 or 0.95, without quotes or unit"),
        }
        None
    }

    pub fn count(&mut self, key: &str) -> Option<u64> {
        let item = self.table.get(key)?;
        let count = item.as_integer().and_then(|integer| u64::try_from(integer).ok());
        if count.is_none() {
            self.wrong(key, "not a whole number from 0", format!("write for example {key} = 20"));
        }
        count
    }

    pub fn duration(&mut self, key: &str) -> Option<Duration> {
        let item = self.table.get(key)?;
        let parsed = match item.as_str() {
            Some(text) => duration::parse(text),
            None => duration::parse(written(self.source.text, item).trim()),
        };
        match parsed {
            Ok(duration) if item.is_str() => Some(duration),
            Ok(_) => None,
            Err((what, fix)) => {
                self.wrong(key, what, fix);
                None
            }
        }
    }

    /// A list of texts.
    pub fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let item = self.table.get(key)?;
        let texts = item.as_array().and_then(|array| array.iter().map(|value| value.as_str().map(str::to_owned)).collect());
        if texts.is_none() {
            self.wrong(key, "not a list of texts", format!("write for example {key} = [\"exchange\"]"));
        }
        texts
    }

    /// A table of texts.
    pub fn labels(&mut self, key: &str) -> Option<BTreeMap<String, String>> {
        let labels = self.table.get(key)?.as_table_like().and_then(table_of_texts);
        if labels.is_none() {
            self.wrong(key, "not a table of texts", format!("write for example {key} = {{ exchange = \"binance\" }}"));
        }
        labels
    }

    /// A list of tables of texts.
    pub fn label_list(&mut self, key: &str) -> Option<Vec<BTreeMap<String, String>>> {
        let array = self.table.get(key)?.as_array();
        let one = |value: &Value| value.as_inline_table().and_then(|table| table_of_texts(table));
        let list = array.and_then(|array| array.iter().map(one).collect());
        if list.is_none() {
            self.wrong(key, "not a list of tables of texts", format!("write for example {key} = [{{ service = \"feed\" }}]"));
        }
        list
    }

    /// A list of tables, written in one line or as `[[…]]`.
    pub fn tables(&mut self, key: &str) -> Option<Tables<'t>> {
        let item = self.table.get(key)?;
        let inline = |value: &'t Value| Some((value.as_inline_table()? as &'t dyn TableLike, value.span()));
        let tables = match (item.as_array(), item.as_array_of_tables()) {
            (Some(array), _) => array.iter().map(inline).collect(),
            (_, Some(tables)) => Some(tables.iter().map(|table| (table as &'t dyn TableLike, table.span())).collect()),
            _ => None,
        };
        if tables.is_none() {
            self.wrong(key, "not a list of tables", format!("write for example {key} = [{{ … }}, {{ … }}]"));
        }
        tables
    }

    /// Whether a key's value is this text.
    pub fn says(&self, key: &str, word: &str) -> bool {
        self.table.get(key).and_then(Item::as_str) == Some(word)
    }

    /// A table below this one.
    pub fn table(&self, key: &str) -> Option<(&'t dyn TableLike, Option<Range<usize>>)> {
        let item = self.table.get(key)?;
        item.as_table_like().map(|table| (table, item.span()))
    }

    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

fn table_of_texts(table: &dyn TableLike) -> Option<BTreeMap<String, String>> {
    table.iter().map(|(key, item)| Some((key.to_owned(), item.as_str()?.to_owned()))).collect()
}

/// The value as it stands in the file, cut to one short line.
fn written(text: &str, item: &Item) -> String {
    const SHOWN_MAX: usize = 80;
    let raw = item.span().and_then(|span| text.get(span)).unwrap_or_default();
    let line = raw.lines().next().unwrap_or_default();
    if line.chars().count() > SHOWN_MAX || line.len() < raw.len() {
        format!("{}…", line.chars().take(SHOWN_MAX).collect::<String>())
    } else {
        line.to_owned()
    }
}
