//! Which subjects there are for WebSocket clients, who may see which, and what a pattern may look like. Pure.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use spark_bus_schema::catalogue;

use crate::auth::Role;

/// Bytes of a pattern.
pub const PATTERN_BYTES_MAX: usize = 256;

/// The one table of who may see what, by the first word of a subject. What is not in it, nobody sees.
pub const VISIBLE: [(&str, Role); 13] = [
    ("market", Role::Viewer),
    ("telemetry", Role::Viewer),
    ("portfolio", Role::Viewer),
    ("marks", Role::Viewer),
    ("orders", Role::Viewer),
    ("risk", Role::Viewer),
    ("signals", Role::Viewer),
    ("rollout", Role::Viewer),
    ("alerts", Role::Viewer),
    ("control", Role::Operator),
    ("jobs", Role::Operator),
    ("audit", Role::Operator),
    ("parked", Role::Admin),
];

/// Why a pattern is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// A stable word for programs.
    pub code: &'static str,
    /// What is wrong.
    pub detail: String,
    /// What would be right.
    pub fix: String,
}

/// The first words of the subjects that a role may see.
pub fn visible(role: Role) -> impl Iterator<Item = &'static str> {
    VISIBLE.iter().filter(move |(_, needed)| *needed <= role).map(|(word, _)| *word)
}

/// Whether a role may subscribe to a pattern: it must not match anything that the role may not see.
///
/// # Errors
/// What is wrong with it.
pub fn check(pattern: &str, role: Role) -> Result<(), Refused> {
    let bad = |detail: String| {
        let fix = "words with dots in between; `*` stands for one word, `>` at the end for one or more: market.ticks.> or \
                   market.*.binance.BTCUSDT";
        Err(Refused { code: "bad-pattern", detail, fix: fix.to_owned() })
    };
    if pattern.len() > PATTERN_BYTES_MAX {
        return bad(format!("the pattern has {} bytes; at most {PATTERN_BYTES_MAX} are taken", pattern.len()));
    }
    let words: Vec<&str> = pattern.split('.').collect();
    for (index, word) in words.iter().enumerate() {
        let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && !b"*>".contains(&byte));
        let last = index + 1 == words.len();
        if !(plain || *word == "*" || (*word == ">" && last)) {
            return bad(format!("`{word:.40}` is no word of a pattern"));
        }
    }
    let needed = match VISIBLE.iter().find(|(word, _)| *word == words[0]) {
        Some((_, needed)) => *needed,
        // A wildcard at the beginning matches everything there is.
        None if matches!(words[0], "*" | ">") => VISIBLE.iter().map(|(_, needed)| *needed).max().unwrap_or(Role::Admin),
        None => {
            let known: Vec<_> = visible(role).map(|word| format!("{word}.>")).collect();
            return Err(Refused {
                code: "unknown-subject",
                detail: format!("no subject begins with `{:.40}`", words[0]),
                fix: format!("there are {}", known.join(" ")),
            });
        }
    };
    if role >= needed {
        return Ok(());
    }
    let known: Vec<_> = visible(role).map(|word| format!("{word}.>")).collect();
    Err(Refused {
        code: "role",
        detail: format!("`{pattern}` takes the role `{needed}`, and the token has `{role}`"),
        fix: format!("use a token of that role, or subscribe to {}", known.join(" ")),
    })
}

/// Whether some subject matches both patterns.
#[must_use]
pub fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

/// A stream with the subjects of one kind of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family {
    /// The stream.
    pub stream: &'static str,
    /// The subjects, as a pattern.
    pub subjects: &'static str,
}

/// Every family of the catalogue, each once.
static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| {
    let all: BTreeMap<&'static str, &'static str> =
        catalogue::entries().iter().map(|entry| (entry.subject, entry.stream)).collect();
    all.into_iter().map(|(subjects, stream)| Family { stream, subjects }).collect()
});

/// The families that a pattern wants something of.
pub fn families(pattern: &str) -> impl Iterator<Item = Family> {
    FAMILIES.iter().copied().filter(move |family| overlap(pattern, family.subjects))
}

#[cfg(test)]
mod tests {
    use super::*;
    use spark_bus_schema::subject;

    #[test]
    fn the_table_names_every_subject_of_the_catalogue_and_no_other() {
        let mut words: Vec<&str> = catalogue::entries().iter().map(|entry| entry.subject.split('.').next().unwrap()).collect();
        words.sort_unstable();
        words.dedup();
        let mut table: Vec<&str> = VISIBLE.iter().map(|(word, _)| *word).collect();
        table.sort_unstable();
        assert_eq!(table, words);
    }

    #[test]
    fn each_role_subscribes_to_what_it_may_see_and_to_nothing_wider() {
        let check_all = |pattern: &str, want: [bool; 3]| {
            let got = Role::ALL.map(|role| check(pattern, role).is_ok());
            assert_eq!(got, want, "{pattern}");
        };
        check_all("market.ticks.>", [true, true, true]);
        check_all("market.>", [true, true, true]);
        check_all("market.*.binance.BTCUSDT", [true, true, true]);
        check_all("alerts.changed.>", [true, true, true]);
        check_all("control.kill_switch", [false, true, true]);
        check_all("jobs.backtest.>", [false, true, true]);
        check_all("audit.*", [false, true, true]);
        check_all("parked.>", [false, false, true]);
        check_all(">", [false, false, true]);
        check_all("*.ticks.>", [false, false, true]);
        let refused = check("parked.>", Role::Viewer).unwrap_err();
        assert!(refused.code == "role" && refused.fix.contains("market.>") && !refused.fix.contains("control"), "{refused:?}");
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_an_example() {
        let long = format!("market.{}", "x".repeat(PATTERN_BYTES_MAX));
        for wrong in ["", ".", "market.", "market..x", "market.>.x", "market.t*", "market. x", "market.\u{fc}", &long] {
            let refused = check(wrong, Role::Admin).unwrap_err();
            assert!(refused.code == "bad-pattern" && refused.fix.contains("market.ticks.>"), "{wrong}: {refused:?}");
        }
        for unknown in ["$JS.API.>", "_INBOX.>", "leases.x", "Market.>"] {
            assert_eq!(check(unknown, Role::Admin).unwrap_err().code, "unknown-subject", "{unknown}");
        }
    }

    #[test]
    fn patterns_overlap_exactly_when_some_subject_matches_both() {
        let check = |one: &str, other: &str, want: bool| {
            assert_eq!((overlap(one, other), overlap(other, one)), (want, want), "{one} {other}");
        };
        check("market.ticks.>", "market.>", true);
        check("market.ticks.>", "market.*.binance.*", true);
        check("market.ticks.>", "market.ticks", false);
        check("market.ticks.>", "market.quotes.>", false);
        check("control.kill_switch", "control.*", true);
        check("control.kill_switch", ">", true);
        check("control.restart.>", "control.restarted.feed", false);
        check("a.*", "a.b.c", false);
        let wanted: Vec<_> = families("market.*.binance").map(|family| family.subjects).collect();
        let all = [subject::CANDLES, subject::HISTORY, subject::QUOTES, subject::SNAPSHOTS, subject::TICKS];
        assert_eq!(wanted, all, "what a family may hold is not known to the last word");
        assert!(families("market.none.x").next().is_none());
        assert_eq!(families(">").count(), FAMILIES.len());
    }
}
