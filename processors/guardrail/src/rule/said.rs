//! What a rule says to people, and to the process whose restart may help.

use std::collections::BTreeSet;

use super::PROCESSES;
use super::problem::suggestion;
use super::reader::Reader;
use super::text::{PLACEHOLDERS, Text, placeholders};

pub fn text(read: &mut Reader<'_, '_, '_>, scope: Option<&[String]>) -> Text {
    let labels = scope.unwrap_or_default().iter().map(String::as_str);
    let known: BTreeSet<&str> = PLACEHOLDERS.iter().copied().chain(labels).collect();
    let known: Vec<&str> = known.into_iter().collect();
    let decides = ["warning", "critical", "burn"].iter().any(|key| read.has(key));
    let mut one = |key: &str, required: bool| {
        if required && decides && !read.has(key) {
            read.wrong(key, "missing", format!("say it in a sentence: {key} = \"…\""));
        }
        let text = read.text(key).unwrap_or_default();
        if let Some(open) = text.split('{').skip(1).find(|part| !part.contains('}')) {
            let name: String = open.split_whitespace().next().unwrap_or_default().chars().take(32).collect();
            read.wrong(key, format!("a placeholder that is not closed: {{{name}"), "close it with }, or write without braces");
        }
        if let Some(unknown) = placeholders(&text).find(|name| scope.is_some() && !known.contains(name)) {
            read.wrong(key, format!("unknown placeholder {{{unknown}}}"), suggestion(unknown, &known));
        }
        text
    };
    Text {
        summary: one("summary", true),
        cause: one("cause", true),
        first_action: one("first_action", true),
        permanent_fix: one("permanent_fix", false),
        runbook: one("runbook", false),
    }
}

/// `"feed"`, or `"{service}"` with a scope label of the rule.
pub fn restart(read: &mut Reader<'_, '_, '_>, scope: Option<&[String]>) -> Option<String> {
    if !read.has("restart") {
        return None;
    }
    let restart = read.text("restart")?;
    if restart.contains(['{', '}']) {
        let label = restart.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).filter(|label| !label.contains(['{', '}']));
        let Some(label) = label else {
            read.wrong(
                "restart",
                "a name and a placeholder",
                "write a process name such as \"feed\", or one label such as \"{service}\"",
            );
            return None;
        };
        if let Some(scope) = scope
            && !scope.iter().any(|known| known == label)
        {
            let known: Vec<&str> = scope.iter().map(String::as_str).collect();
            let fix = if known.is_empty() {
                "the rule has no scope labels; write a process name".to_owned()
            } else {
                suggestion(label, &known)
            };
            read.wrong("restart", format!("unknown placeholder {{{label}}}"), fix);
        }
    } else if !PROCESSES.contains(&restart.as_str()) {
        read.wrong("restart", "not a process that can be restarted", suggestion(&restart, PROCESSES));
    }
    if !read.has("critical") && !read.has("burn") {
        read.wrong("restart", "without a critical threshold nothing is ever restarted", "add critical, or remove restart");
    }
    Some(restart)
}
