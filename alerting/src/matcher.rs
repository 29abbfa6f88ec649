//! Conditions on labels, in Alertmanager's syntax: `alertname="WSStaleness"`, `severity!=warning`, `venue=~"b.*"`.

use regex::{Regex, RegexBuilder};
use spark_bus_schema::notify::{MATCHERS_MAX, Matcher};

use crate::labels::{ALERTNAME, Labels};

/// A compiled regular expression may take this much memory.
const REGEX_BYTES_MAX: usize = 256 * 1024;
/// A text of matchers may be this long.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Why matchers cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not the syntax.
    #[error("`{text}` is no matcher: {what}; write it like alertname=\"WSStaleness\", severity!=\"warning\" or venue=~\"b.*\"")]
    Syntax {
        /// What was written.
        text: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Not a regular expression, or one that is too large.
    #[error("`{pattern}` is no regular expression: {what}; it must match the whole value, e.g. \"btcturk|binance\"")]
    Regex {
        /// What was written.
        pattern: String,
        /// What is wrong with it.
        what: String,
    },
    /// Too many.
    #[error("{0} matchers; at most {MATCHERS_MAX}")]
    TooMany(usize),
}

/// Conditions that must all hold. None hold for every alert.
#[derive(Clone, Debug, Default)]
pub struct Matchers {
    all: Vec<Compiled>,
}

#[derive(Clone, Debug)]
struct Compiled {
    matcher: Matcher,
    regex: Option<Regex>,
}

impl Matchers {
    /// From text: `a="b"`, `{a="b",c=~"d"}`; quotes may be left out, a bare word is the alert's name (as `amtool` has it).
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let matchers = parse(text)?;
        Self::new(&matchers)
    }

    /// From several texts, each with one or more matchers.
    ///
    /// # Errors
    /// [`Error`].
    pub fn parse_all<T: AsRef<str>>(texts: &[T]) -> Result<Self, Error> {
        let mut matchers = Vec::new();
        for text in texts {
            matchers.extend(parse(text.as_ref())?);
        }
        Self::new(&matchers)
    }

    /// From matchers as they are in messages.
    ///
    /// # Errors
    /// [`Error::Regex`], [`Error::TooMany`].
    pub fn new(matchers: &[Matcher]) -> Result<Self, Error> {
        if matchers.len() > MATCHERS_MAX {
            return Err(Error::TooMany(matchers.len()));
        }
        let all = matchers.iter().map(|matcher| {
            let regex = if matcher.is_regex { Some(compile(&matcher.value)?) } else { None };
            Ok(Compiled { matcher: matcher.clone(), regex })
        });
        Ok(Self { all: all.collect::<Result<_, Error>>()? })
    }

    /// Whether all hold. A label that is not there counts as empty.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.all.iter().all(|compiled| {
            let value = labels.get(&compiled.matcher.name).map_or("", String::as_str);
            let same = match &compiled.regex {
                Some(regex) => regex.is_match(value),
                None => value == compiled.matcher.value,
            };
            same == compiled.matcher.is_equal
        })
    }

    /// As they are in messages.
    pub fn iter(&self) -> impl Iterator<Item = &Matcher> {
        self.all.iter().map(|compiled| &compiled.matcher)
    }

    /// Whether there is none: every alert matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl std::fmt::Display for Matchers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<String> = self.iter().map(show).collect();
        write!(f, "{{{}}}", all.join(","))
    }
}

/// `name="value"` as it is read again.
#[must_use]
pub fn show(matcher: &Matcher) -> String {
    let value = matcher.value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{}{}\"{value}\"", matcher.name, operator(matcher))
}

const fn operator(matcher: &Matcher) -> &'static str {
    match (matcher.is_equal, matcher.is_regex) {
        (true, false) => "=",
        (false, false) => "!=",
        (true, true) => "=~",
        (false, true) => "!~",
    }
}

/// The whole value must match, as in Alertmanager.
fn compile(pattern: &str) -> Result<Regex, Error> {
    let build = |text: &str| RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
    // First as it is: `a)|(b` would become another one, and a right one, within the anchors.
    build(pattern).and_then(|_| build(&format!("^(?s:{pattern})$"))).map_err(|error| {
        let what = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Error::Regex { pattern: pattern.to_owned(), what }
    })
}

/// One or more matchers from text.
///
/// # Errors
/// [`Error::Syntax`], [`Error::TooMany`].
pub fn parse(text: &str) -> Result<Vec<Matcher>, Error> {
    let wrong = |what| Error::Syntax { text: text.chars().take(200).collect(), what };
    if text.len() > TEXT_BYTES_MAX {
        return Err(wrong("too long"));
    }
    let trimmed = text.trim();
    let inner = match (trimmed.strip_prefix('{'), trimmed.strip_suffix('}')) {
        (Some(_), Some(_)) if trimmed.len() >= 2 => &trimmed[1..trimmed.len() - 1],
        (Some(_), _) => return Err(wrong("the closing } is missing")),
        (None, Some(_)) if !trimmed.contains('"') && !trimmed.contains('{') => return Err(wrong("the opening { is missing")),
        _ => trimmed,
    };
    let mut matchers = Vec::new();
    for piece in split(inner).ok_or_else(|| wrong("a quote is not closed"))? {
        let piece = piece.trim();
        if piece.is_empty() {
            continue;
        }
        if matchers.len() == MATCHERS_MAX {
            return Err(Error::TooMany(matchers.len() + 1));
        }
        matchers.push(one(piece).map_err(|what| Error::Syntax { text: piece.to_owned(), what })?);
    }
    if matchers.is_empty() {
        return Err(wrong("it is empty"));
    }
    Ok(matchers)
}

/// Pieces between commas outside quotes; none when a quote is not closed.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut pieces, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                pieces.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    pieces.push(&text[start..]);
    (!quoted).then_some(pieces)
}

fn one(text: &str) -> Result<Matcher, &'static str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c: char| !is_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start();
    if name.is_empty() {
        return Err("the label's name is missing or has strange characters");
    }
    if rest.is_empty() {
        let (name, value) = (ALERTNAME.to_owned(), text.to_owned());
        return Ok(Matcher { name, value, is_regex: false, is_equal: true });
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("a label's name does not begin with a digit");
    }
    let operators = [("=~", true, true), ("!~", false, true), ("!=", false, false), ("=", true, false)];
    let found = operators.iter().find_map(|(word, equal, regex)| Some((rest.strip_prefix(word)?, *equal, *regex)));
    let Some((value, is_equal, is_regex)) = found else { return Err("after the label comes =, !=, =~ or !~") };
    Ok(Matcher { name: name.to_owned(), value: unquoted(value.trim())?, is_regex, is_equal })
}

fn unquoted(text: &str) -> Result<String, &'static str> {
    let Some(rest) = text.strip_prefix('"') else {
        return if text.contains('"') {
            Err("a quote within the value; put the whole value into quotes")
        } else {
            Ok(text.to_owned())
        };
    };
    let inner = rest.strip_suffix('"').ok_or("something follows the closing quote")?;
    let (mut value, mut chars) = (String::with_capacity(inner.len()), inner.chars());
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => value.push('\n'),
                Some(escaped @ ('"' | '\\')) => value.push(escaped),
                // A backslash of a regular expression: `\d` stays what it is.
                Some(other) => value.extend(['\\', other]),
                None => return Err("the value ends with a backslash"),
            },
            ('"', _) => return Err("something follows the closing quote"),
            _ => value.push(c),
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn matchers_are_read_as_amtool_writes_them() {
        let check = |text: &str, want: &str| assert_eq!(Matchers::parse(text).unwrap().to_string(), want, "{text}");
        check("WSStaleness", r#"{alertname="WSStaleness"}"#);
        check("alertname=WSStaleness", r#"{alertname="WSStaleness"}"#);
        check(r#"{ severity != "warning" , venue=~"b.*", }"#, r#"{severity!="warning",venue=~"b.*"}"#);
        check(r#"a!~"x,y""#, r#"{a!~"x,y"}"#);
        check(r#"a="say \"no\"\n""#, r#"{a="say \"no\"\n"}"#);
        check(r#"a=~"\\d+""#, r#"{a=~"\\d+"}"#);
        check(r#"symbol="""#, r#"{symbol=""}"#);
    }

    #[test]
    fn what_is_no_matcher_is_said_with_what_would_be_right() {
        for (text, part) in [
            ("", "empty"),
            ("{}", "empty"),
            ("{a=b", "closing }"),
            (r#"a="b"#, "quote is not closed"),
            ("=b", "name is missing"),
            ("a>b", "=, !=, =~ or !~"),
            ("1a=b", "begin with a digit"),
            (r#"a="b"c"#, "closing quote"),
            ("a=~[", "regular expression"),
            ("a=~a)|(b", "regular expression"),
            ("a=~(x{1000}){1000}", "regular expression"),
        ] {
            let said = Matchers::parse(text).unwrap_err().to_string();
            assert!(said.contains(part) && said.contains("e.g.") | said.contains("like"), "{text}: {said}");
        }
        assert_eq!(Matchers::parse(&"a=b,".repeat(33)).unwrap_err(), Error::TooMany(33));
    }

    #[test]
    fn all_must_hold_a_missing_label_is_empty_and_a_pattern_takes_the_whole_value() {
        let check = |text: &str, want: bool| {
            let got = Matchers::parse(text).unwrap().matches(&labels(&[("alertname", "WSStaleness"), ("venue", "btcturk")]));
            assert_eq!(got, want, "{text}");
        };
        check("alertname=WSStaleness,venue=btcturk", true);
        check("alertname=WSStaleness,venue=binance", false);
        check("venue=~btc", false);
        check("venue=~btc.*|binance", true);
        check("venue!~btc.*", false);
        check("venue!=binance", true);
        check("symbol=\"\"", true);
        check("symbol!=\"\"", false);
        check("symbol=~.*", true);
        check("symbol=~.+", false);
    }
}
