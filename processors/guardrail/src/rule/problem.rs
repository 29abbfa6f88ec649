//! What is wrong with a rule file, where, and what would be right.

use std::fmt;

/// One mistake. A file is read to its end, so that all of them are reported at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1, where it is known.
    pub line: Option<usize>,
    /// The key, e.g. `rule.portfolio_refresh_p95.window`.
    pub key: String,
    /// The value as it was written; empty where a value is missing.
    pub value: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        f.write_str(&self.key)?;
        if !self.value.is_empty() {
            write!(f, " = {}", self.value)?;
        }
        write!(f, ": {}; {}", self.what, self.fix)
    }
}

/// The known word nearest to a misspelt one, when it is near enough to be meant.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(candidate.len().min(4) / 2))
        .map(|(_, candidate)| candidate)
}

/// `did you mean x? known are a, b, c`
#[must_use]
pub fn suggestion(word: &str, known: &[&str]) -> String {
    let list = known.join(", ");
    match nearest(word, known) {
        Some(candidate) => format!("did you mean `{candidate}`? known are {list}"),
        None => format!("known are {list}"),
    }
}

/// Levenshtein distance over bytes; keys are ASCII.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_word_that_was_meant() {
        let known = ["window", "warning", "critical"];
        assert_eq!(nearest("windwo", &known), Some("window"));
        assert_eq!(nearest("warn", &known), None);
        assert_eq!(nearest("warnin", &known), Some("warning"));
        assert_eq!(nearest("zebra", &known), None);
    }
}
