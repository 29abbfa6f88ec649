//! One thing wrong with the configuration: where, what, and what would be right.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, counted from 1.
    Line(PathBuf, usize),
    /// Somewhere in a file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// Nowhere: a default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(path, line) => write!(f, "{}:{line}", path.display()),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Default => f.write_str("defaults"),
        }
    }
}

/// One thing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// `feed.symbols`, when a key is to blame.
    pub key: Option<String>,
    /// The value as given, without secrets.
    pub value: Option<String>,
    /// What is wrong and what would be right.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(f, "{key} = {value}: {}", self.what),
            (Some(key), None) => write!(f, "{key}: {}", self.what),
            (None, _) => f.write_str(&self.what),
        }
    }
}

/// The known word nearest to a mistyped one, if one is near enough to be meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = word.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&typed, &candidate.to_ascii_lowercase().replace('-', "_")), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `unknown key; did you mean `symbols`?`, or the list of what is known.
#[must_use]
pub fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(meant) => format!("unknown {what}; did you mean `{meant}`?"),
        None if known.is_empty() => format!("unknown {what}; remove it"),
        None => format!("unknown {what}; known are {}", known.join(", ")),
    }
}

/// Whether the value of this key must not be shown.
#[must_use]
pub fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key).to_ascii_lowercase();
    if last.ends_with("_env") || last.ends_with("_file") {
        // These say where a secret is, not what it is.
        return false;
    }
    ["secret", "password", "token", "api_key", "apikey", "private", "bearer"].iter().any(|word| last.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_word_is_corrected_and_a_strange_one_is_not() {
        let known = ["symbols", "reconnect_pause_ms", "binance"];
        let check = |word: &str, want: Option<&str>| assert_eq!(nearest(word, known), want, "{word}");
        check("symbosl", Some("symbols"));
        check("Symbols", Some("symbols"));
        check("reconnect-pause", Some("reconnect_pause_ms"));
        check("bianance", Some("binance"));
        check("wallpaper", None);
    }

    #[test]
    fn secrets_are_known_by_their_key() {
        for key in ["portfolio.binance.api_secret", "gateway.token", "portfolio.binance.api_key"] {
            assert!(is_secret(key), "{key}");
        }
        assert!(!is_secret("feed.symbols"));
    }
}
