//! From a dashboard's JSON to its panels.

use serde_json::Value;

use super::{Dashboard, Error, PANELS_MAX, Panel};

/// Where Grafana serves the written runbooks, and where they are in this repository.
const SERVED: &str = "/public/runbooks/";
const KEPT: &str = "docs/runbooks/";

/// Reads a dashboard.
///
/// # Errors
/// It is not JSON, or not a dashboard. Panels without texts are no error, see [`Dashboard::mistakes`].
pub fn read(file: &str, json: &str) -> Result<Dashboard, Error> {
    let document: Value = serde_json::from_str(json).map_err(|source| Error::Json { file: file.to_owned(), source })?;
    let lacks = |what: &str| Error::NotADashboard { file: file.to_owned(), what: what.to_owned() };
    let panels = document.get("panels").and_then(Value::as_array).ok_or_else(|| lacks("there is no list `panels`"))?;
    let title = text(&document, "title").ok_or_else(|| lacks("there is no `title`"))?;
    let mut dashboard = Dashboard {
        file: file.to_owned(),
        uid: text(&document, "uid").unwrap_or_default(),
        title,
        panels: Vec::new(),
        mistakes: Vec::new(),
    };
    // A collapsed row holds its panels itself.
    let inner = |panel: &Value| panel.get("panels").and_then(Value::as_array).cloned().unwrap_or_default();
    let all = panels.iter().flat_map(|panel| std::iter::once(panel.clone()).chain(inner(panel)));
    for value in all.filter(|panel| text(panel, "type").as_deref() != Some("row")) {
        if dashboard.panels.len() == PANELS_MAX {
            return Err(lacks(&format!("more than {PANELS_MAX} panels")));
        }
        let panel = panel(&value);
        for (what, right) in missing(&panel) {
            let name = if panel.title.is_empty() { "a panel without a title" } else { &panel.title };
            dashboard.mistakes.push(format!("{file}: panel \"{name}\": no {what}; {right}"));
        }
        dashboard.panels.push(panel);
    }
    if dashboard.panels.is_empty() {
        return Err(lacks("it has no panel"));
    }
    Ok(dashboard)
}

fn text(value: &Value, member: &str) -> Option<String> {
    value.get(member).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty()).map(ToOwned::to_owned)
}

fn panel(value: &Value) -> Panel {
    let mut panel = Panel { title: text(value, "title").unwrap_or_default(), ..Panel::default() };
    let targets = value.get("targets").and_then(Value::as_array);
    panel.queries = targets.into_iter().flatten().filter_map(|target| text(target, "expr")).collect();
    let links = value.get("links").and_then(Value::as_array);
    let runbook = links.into_iter().flatten().find(|link| text(link, "title").as_deref() == Some("Runbook"));
    let runbook = runbook.and_then(|link| text(link, "url")).unwrap_or_default();
    panel.runbook = runbook.strip_prefix(SERVED).map(|name| format!("{KEPT}{name}")).unwrap_or(runbook);
    let description = text(value, "description").unwrap_or_default();
    for (index, paragraph) in description.split("\n\n").map(str::trim).enumerate() {
        let list = |rest: &str, mark: &str| -> Vec<String> {
            rest.split(mark).map(str::trim).filter(|item| !item.is_empty()).map(ToOwned::to_owned).collect()
        };
        let word = paragraph.strip_prefix("**").and_then(|rest| rest.split_once(":**"));
        match word.map(|(word, rest)| (word, rest.trim())) {
            Some(("SLO", rest)) => rest.clone_into(&mut panel.slo),
            Some(("Checks", rest)) => panel.checks = list(rest, "; "),
            Some(("Fast action", rest)) => rest.clone_into(&mut panel.fast_action),
            Some(("Permanent fix", rest)) => rest.clone_into(&mut panel.permanent_fix),
            Some(("Alerts", rest)) => panel.alerts = list(rest, ", "),
            None if index == 0 => paragraph.clone_into(&mut panel.about),
            _ => {}
        }
    }
    panel
}

/// What a panel lacks, and what would be right.
fn missing(panel: &Panel) -> Vec<(&'static str, &'static str)> {
    let parts = [
        (panel.title.is_empty(), "title", "give it one"),
        (panel.about.is_empty(), "description", "begin it with a paragraph that says what is shown"),
        (panel.queries.is_empty(), "query", "add a target with an `expr`"),
        (panel.slo.is_empty(), "SLO", "add a paragraph `**SLO:** …` to its description"),
        (panel.checks.is_empty(), "checks", "add a paragraph `**Checks:** …; …` to its description"),
        (panel.fast_action.is_empty(), "fast action", "add a paragraph `**Fast action:** …` to its description"),
        (panel.permanent_fix.is_empty(), "permanent fix", "add a paragraph `**Permanent fix:** …` to its description"),
        (panel.runbook.is_empty(), "runbook link", "add a link `Runbook` to /public/runbooks/<name>.md"),
    ];
    parts.into_iter().filter(|(lacks, _, _)| *lacks).map(|(_, what, right)| (what, right)).collect()
}
