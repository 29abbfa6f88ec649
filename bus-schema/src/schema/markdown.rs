//! The reference of subjects and messages for people: one Markdown document, written from the catalogue.

mod fields;

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::catalogue::{Entry, entries};
use crate::header;

use fields::{Shared, cell, example, one_line};

/// How the document is written again; it is its second line, and what a test says when the file is an old one.
pub const COMMAND: &str = "spark schema --markdown > docs/subjects.md";

/// A stream as the document shows it. Where it is declared is not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDoc {
    /// Its name, e.g. `FEED`.
    pub name: String,
    /// Patterns of subjects that it stores.
    pub subjects: Vec<String>,
    /// What it is for.
    pub description: String,
    /// What is kept, and for how long.
    pub kept: String,
}

/// Every stream, subject, kind and field, with an example of each kind.
#[must_use]
pub fn document(streams: &[StreamDoc]) -> String {
    let entries = entries();
    let kinds = by_kind(&entries);
    let shared = Shared::of(&entries);
    let mut text = format!(
        "# Subjects and messages\n\n<!-- Written by `{COMMAND}`: change the comments in bus-schema, not this file. -->\n\n{INTRODUCTION}\n"
    );
    streams_table(streams, &mut text);
    encoding(&mut text);
    subjects_table(&entries, &mut text);
    text.push_str("## Messages\n\n");
    for entries in kinds {
        kind(&entries, &shared, &mut text);
    }
    shared.write(&mut text);
    text
}

const INTRODUCTION: &str = "Everything that happens is a message on NATS JetStream. This page has every subject, every message kind and every field, \
with an example of each.\nThe same for programs: `spark schema --asyncapi` and `spark schema --json-schema`. Live: `spark tail SUBJECT`.\n";

/// Kinds in the catalogue's order, each with all the subjects it travels on.
fn by_kind(entries: &[Entry]) -> Vec<Vec<&Entry>> {
    let mut kinds: Vec<Vec<&Entry>> = Vec::new();
    for entry in entries {
        match kinds.iter_mut().find(|kind| kind.first().is_some_and(|first| first.kind == entry.kind)) {
            Some(kind) => kind.push(entry),
            None => kinds.push(vec![entry]),
        }
    }
    kinds
}

fn streams_table(streams: &[StreamDoc], text: &mut String) {
    text.push_str("## Streams\n\n| stream | subjects | holds | kept |\n|---|---|---|---|\n");
    for stream in streams {
        let subjects: Vec<String> = stream.subjects.iter().map(|subject| format!("`{subject}`")).collect();
        let row = [format!("`{}`", stream.name), subjects.join(" "), cell(&stream.description), cell(&stream.kept)];
        line(text, &format!("| {} |", row.join(" | ")));
    }
    text.push_str(
        "\nEvery stream is a file store. Where the broker differs from this, `spark topology` says so and `spark topology --apply` mends it.\n\n",
    );
}

fn encoding(text: &mut String) {
    text.push_str(
        "## How a message is written\n\n\
The payload is a MessagePack map with the field names shown here; a field that is not known is ignored, an optional one may be missing or nil.\n\n\
- **Time** is a signed integer: nanoseconds since 1970-01-01T00:00:00Z.\n\
- **Money, prices and quantities** are exact: text with a plain decimal (`\"61837.63\"`), or in columns an integer and a scale.\n\
- **Floats** appear in statistics and indicators only.\n\
- **Length of time** is an integer whose field ends with its unit: `_ms`, `_us`, `_s`.\n\
- **Percent** is a figure from 0 to 100 and its field says `pct`.\n\n\
| header | holds |\n|---|---|\n",
    );
    for (name, holds) in HEADERS {
        line(text, &format!("| `{name}` | {holds} |"));
    }
    text.push_str(
        "\nA kind's version rises when an old reader would misread the new bytes; a new optional field does not raise it. Whoever reads a \
message of a kind or version that it does not know parks it (`parked.>`) and goes on.\n\n\
Subjects of facts are said once by the process named, commands by people, the gateway and the guardrail. Who may publish what is enforced by the \
broker: [nats/permissions.toml](../nats/permissions.toml).\n\n",
    );
}

const HEADERS: [(&str, &str); 8] = [
    (header::KIND, "what the payload is: `tick_batch.v1`. Always there"),
    (header::MSG_ID, "the broker's duplicate detection; nothing depends on it"),
    (header::CAUSE, "what this message follows from: `LEDGER:4711` (stream and sequence), or a command's id"),
    (header::REVISION, "natural key of a decision: of each subject, each revision is stored once"),
    (
        header::EXPECTED_LAST_SUBJECT_SEQUENCE,
        "compare-and-set: the message is stored only when the subject's last one is this (0: none)",
    ),
    (header::EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT, "the other subject that the compare-and-set speaks of: a fence"),
    (header::TRACE_PARENT, "W3C trace context"),
    (header::REPLAY_OF, "set on a parked message that a person published again: where it was"),
];

fn subjects_table(entries: &[Entry], text: &mut String) {
    text.push_str("## Subjects\n\n| subject | kind | stream | said by | what |\n|---|---|---|---|---|\n");
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by_key(|entry| entry.address);
    for entry in sorted {
        let kind = entry.kind.to_string();
        let row = [
            format!("`{}`", entry.address),
            format!("[`{kind}`](#{})", anchor(&kind)),
            entry.stream.to_owned(),
            publishers(entry),
            cell(entry.summary),
        ];
        line(text, &format!("| {} |", row.join(" | ")));
    }
    text.push_str(
        "\n`{venue}` and `{exchange}` are `binance`, `btcturk` or `bist`. In a pattern `*` is one token and `>` the rest: \
`market.ticks.binance.*`, `orders.>`.\n\n",
    );
}

fn publishers(entry: &Entry) -> String {
    let names = entry.publishers.iter().map(|name| match *name {
        "*" => "every process".to_owned(),
        "operator" => "`spark` (a person)".to_owned(),
        name => format!("`{name}`"),
    });
    names.collect::<Vec<String>>().join(", ")
}

fn kind(entries: &[&Entry], shared: &Shared, text: &mut String) {
    let Some(first) = entries.first() else { return };
    let name = first.kind.to_string();
    let schema = (first.schema)().to_value();
    line(text, &format!("### `{name}`\n"));
    for entry in entries {
        line(text, &format!("- `{}` in {}, by {}: {}", entry.address, entry.stream, publishers(entry), one_line(entry.summary)));
    }
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    line(text, &format!("\n{}\n", one_line(description)));
    shared.fields(first.kind.name, &schema, text);
    let sample = (first.to_json)(&(first.sample)()).unwrap_or(Value::Null);
    line(text, &format!("\n```json\n{}\n```\n", example(&schema, &sample)));
}

/// What a heading is called in a link, as GitHub does it.
#[must_use]
pub fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn line(text: &mut String, line: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{line}");
}

/// Definitions by name, or by name and kind where one name means two things, each with a kind that has it.
type Definitions = BTreeMap<String, (String, Value)>;

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> String {
        document(&[StreamDoc {
            name: "FEED".into(),
            subjects: vec!["market.>".into()],
            description: "a | b".into(),
            kept: "24 h".into(),
        }])
    }

    #[test]
    fn every_kind_has_its_subjects_its_fields_and_an_example() {
        let text = written();
        for entry in entries() {
            assert!(text.contains(&format!("\n### `{}`\n", entry.kind)), "{}", entry.kind);
            assert!(text.contains(&format!("| `{}` |", entry.address)), "{}", entry.address);
            let schema = (entry.schema)().to_value();
            for field in schema["properties"].as_object().unwrap().keys() {
                assert!(text.contains(&format!("| `{field}` |")), "{}.{field}", entry.kind);
            }
        }
        assert_eq!(text.matches("```json").count(), by_kind(&entries()).len());
        assert!(text.contains("a \\| b"), "a bar in a cell ends the cell");
    }

    #[test]
    fn every_link_leads_to_a_heading() {
        let text = written();
        let headings: Vec<String> =
            text.lines().filter_map(|line| Some(anchor(line.trim_start_matches('#').strip_prefix(' ')?))).collect();
        let links: Vec<&str> = text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        assert!(links.len() > 200, "{}", links.len());
        for link in links {
            assert_eq!(headings.iter().filter(|heading| *heading == link).count(), 1, "#{link}");
        }
    }

    #[test]
    fn no_word_of_rust_is_left() {
        let text = written();
        for word in ["[`", "::"] {
            let at = text.lines().find(|line| line.contains(word) && !line.contains("](#"));
            assert_eq!(at, None, "{word}");
        }
    }
}
