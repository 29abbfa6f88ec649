//! From panels to Markdown.

use std::fmt::Write as _;

use super::{Dashboard, Panel};

/// The runbook of these dashboards.
#[must_use]
pub fn render(dashboards: &[Dashboard]) -> String {
    let mut text = String::from("# Runbook\n\nMade by `spark runbook` from the dashboards: change the panels, not this file.\n");
    // Writing into a String cannot fail, here and below.
    for dashboard in dashboards {
        let _ = write!(text, "\n## {} (`{}`)\n", plain(&dashboard.title), plain(&dashboard.uid));
        let rows = dashboard.panels.iter().map(|panel| (plain(&panel.title), plain(&panel.slo), plain(&panel.fast_action)));
        text.push_str("\n| panel | SLO | fast action |\n|---|---|---|\n");
        for (title, slo, action) in rows {
            let _ = writeln!(text, "| {} | {} | {} |", cell(&title), cell(&slo), cell(&action));
        }
        for panel in &dashboard.panels {
            self::panel(&mut text, panel);
        }
    }
    text
}

fn panel(text: &mut String, panel: &Panel) {
    let _ = write!(text, "\n### {}\n\n{}\n", plain(&panel.title), plain(&panel.about));
    for query in &panel.queries {
        let _ = write!(text, "\n```promql\n{}\n```\n", query.replace("```", "` ` `"));
    }
    let _ = write!(text, "\n- **SLO:** {}\n", or_dash(&panel.slo));
    let _ = writeln!(text, "- **Checks:**{}", if panel.checks.is_empty() { " –" } else { "" });
    for (index, check) in panel.checks.iter().enumerate() {
        let _ = writeln!(text, "  {}. {}", index + 1, plain(check));
    }
    let _ = writeln!(text, "- **Fast action:** {}", or_dash(&panel.fast_action));
    let _ = writeln!(text, "- **Permanent fix:** {}", or_dash(&panel.permanent_fix));
    if !panel.alerts.is_empty() {
        let _ = writeln!(text, "- **Alerts:** {}", plain(&panel.alerts.join(", ")));
    }
    let runbook = if panel.runbook.is_empty() { "–".to_owned() } else { format!("[{0}]({0})", plain(&panel.runbook)) };
    let _ = writeln!(text, "- **Runbook:** {runbook}");
}

/// One line.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "–".to_owned() } else { plain(text) }
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    or_dash(text).replace('|', "\\|")
}
