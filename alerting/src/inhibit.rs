//! Inhibition: while one alert fires, another one is not told, because it only follows from the first.

use crate::labels::{Labels, RULE, SEVERITY};
use crate::matcher::{Error, Matchers};

/// While an alert that `source` matches fires, alerts that `target` matches are not told, if they agree in `equal`.
#[derive(Clone, Debug)]
pub struct InhibitRule {
    source: Matchers,
    target: Matchers,
    equal: Vec<Equal>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Equal {
    /// Every label but `severity` and `rule`.
    Everything,
    /// This label of the source is that label of the target.
    Label(String, String),
}

impl InhibitRule {
    /// `equal`: `venue`, `exchange=venue` (the source's label, the target's label), or `*`: every label but `severity` and `rule`.
    ///
    /// # Errors
    /// A matcher or a name cannot be used.
    pub fn new<T: AsRef<str>>(source: &[T], target: &[T], equal: &[T]) -> Result<Self, Error> {
        let equal = equal.iter().map(|text| equal_of(text.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { source: Matchers::parse_all(source)?, target: Matchers::parse_all(target)?, equal })
    }

    /// Whether these labels can hide others.
    #[must_use]
    pub fn is_source(&self, labels: &Labels) -> bool {
        self.source.matches(labels)
    }

    /// Whether these labels can be hidden.
    #[must_use]
    pub fn is_target(&self, labels: &Labels) -> bool {
        self.target.matches(labels)
    }

    /// Whether `source`, which fires, keeps `target` from being told. No alert inhibits one that matches both sides as it
    /// does itself: two of them would silence each other.
    #[must_use]
    pub fn inhibits(&self, source: &Labels, target: &Labels) -> bool {
        self.target.matches(target)
            && self.source.matches(source)
            && !(self.source.matches(target) && self.target.matches(source))
            && self.equal.iter().all(|equal| agree(equal, source, target))
    }
}

fn equal_of(text: &str) -> Result<Equal, Error> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let (source, target) = text.split_once('=').unwrap_or((text, text));
    let (source, target) = (source.trim(), target.trim());
    if text.trim() == "*" {
        Ok(Equal::Everything)
    } else if is_name(source) && is_name(target) {
        Ok(Equal::Label(source.to_owned(), target.to_owned()))
    } else {
        Err(Error::Syntax { text: text.to_owned(), what: "an entry of `equal` is a label, two labels (exchange=venue), or *" })
    }
}

fn agree(equal: &Equal, source: &Labels, target: &Labels) -> bool {
    let value = |labels: &Labels, name: &str| labels.get(name).cloned().unwrap_or_default();
    match equal {
        Equal::Label(one, other) => value(source, one) == value(target, other),
        Equal::Everything => {
            let rest = |labels: &Labels| -> Labels {
                let kept = labels.iter().filter(|(name, _)| ![SEVERITY, RULE].contains(&name.as_str()));
                kept.map(|(name, value)| (name.clone(), value.clone())).collect()
            };
            rest(source) == rest(target)
        }
    }
}

/// Alerts about data that does not come.
const STALENESS: &str = "alertname=~\"WSStaleness|BISTStaleness\"";

/// What always holds: a critical over the warning of the same alert and scope; a dead feed over the staleness of its
/// symbols, whether it shows as a venue without any data, as an exchange that is down, or as a feed process that is gone.
#[must_use]
pub fn builtin_inhibitions() -> Vec<InhibitRule> {
    let rule = |source: &[&str], target: &[&str], equal: &[&str]| {
        InhibitRule::new(source, target, equal).expect("built-in rules are part of the build and tested")
    };
    vec![
        rule(&["severity=critical"], &["severity=warning"], &["*"]),
        rule(&[STALENESS, "symbol=\"\"", "venue!=\"\""], &[STALENESS, "symbol!=\"\""], &["alertname", "venue"]),
        rule(&["alertname=ExchangeDown"], &[STALENESS, "symbol!=\"\""], &["exchange=venue"]),
        rule(&["alertname=SparkUpMissing", "service=feed"], &[STALENESS, "symbol!=\"\""], &[]),
    ]
}

/// Fingerprints of the firing alerts that keep `target` from being told. `firing` are fingerprints and labels of all that fire.
#[must_use]
pub fn inhibited_by<'a>(
    rules: &[InhibitRule],
    firing: impl IntoIterator<Item = (&'a str, &'a Labels)>,
    target: &Labels,
) -> Vec<&'a str> {
    let relevant: Vec<&InhibitRule> = rules.iter().filter(|rule| rule.target.matches(target)).collect();
    if relevant.is_empty() {
        return Vec::new();
    }
    let inhibiting = firing.into_iter().filter(|(_, source)| relevant.iter().any(|rule| rule.inhibits(source, target)));
    inhibiting.map(|(fingerprint, _)| fingerprint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.split(' ').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_critical_and_a_dead_feed_hide_what_follows_from_them_and_nothing_else() {
        let rules = builtin_inhibitions();
        let check = |source: &str, target: &str, want: bool| {
            let (source, target) = (labels(source), labels(target));
            assert_eq!(!inhibited_by(&rules, [("f", &source)], &target).is_empty(), want, "{source:?} over {target:?}");
        };
        let warning = "alertname=HighLatency severity=warning exchange=binance rule=b";
        check("alertname=HighLatency severity=critical exchange=binance rule=a", warning, true);
        check("alertname=HighLatency severity=critical exchange=btcturk rule=a", warning, false);
        check("alertname=HighErrorRate severity=critical exchange=binance rule=a", warning, false);
        check("alertname=HighLatency severity=warning exchange=binance rule=a", warning, false);
        let symbol = "alertname=WSStaleness severity=critical venue=btcturk symbol=BTCTRY";
        check("alertname=WSStaleness severity=warning venue=btcturk", symbol, true);
        check("alertname=WSStaleness severity=warning venue=binance", symbol, false);
        check("alertname=WSStaleness severity=critical venue=btcturk symbol=ETHTRY", symbol, false);
        check("alertname=ExchangeDown severity=critical exchange=btcturk", symbol, true);
        check("alertname=ExchangeDown severity=critical exchange=binance", symbol, false);
        check("alertname=SparkUpMissing severity=warning service=feed", symbol, true);
        check("alertname=SparkUpMissing severity=critical service=risk", symbol, false);
        check(symbol, "alertname=WSStaleness severity=warning venue=btcturk", false);
    }

    #[test]
    fn two_alerts_that_match_both_sides_do_not_silence_each_other() {
        let rule = InhibitRule::new(&["severity=critical"], &["alertname=A"], &["*"]).unwrap();
        let one = labels("alertname=A severity=critical rule=x");
        assert!(!rule.inhibits(&one, &one));
        assert!(InhibitRule::new(&["a=b"], &["c=d"], &["e f"]).unwrap_err().to_string().contains("exchange=venue"));
    }
}
