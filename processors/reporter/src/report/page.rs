//! What reports of every kind share: files, text, the frame of a page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Error, Format};
use crate::chart::{self, Chart, escape, legend, svg};

/// Stores one file under its final name, whole or not at all.
pub(crate) fn store(folder: &Path, name: &str, format: Format, text: &str) -> Result<PathBuf, Error> {
    let suffix = match format {
        Format::Markdown => "md",
        Format::Html => "html",
        Format::Json => "json",
    };
    let path = folder.join(format!("{name}.{suffix}"));
    let draft = folder.join(format!(".{name}.{suffix}.{}", std::process::id()));
    let write = || {
        std::fs::create_dir_all(folder)?;
        std::fs::write(&draft, text)?;
        std::fs::rename(&draft, &path)
    };
    match write() {
        Ok(()) => Ok(path),
        Err(source) => {
            // It may not be there.
            let _ = std::fs::remove_file(&draft);
            Err(Error::File { path, source })
        }
    }
}

/// `exchange=binance, symbol=BTCUSDT`, or `everywhere`.
pub(crate) fn scope(scope: &BTreeMap<String, String>) -> String {
    if scope.is_empty() {
        return "everywhere".to_owned();
    }
    scope.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

/// `2 h 05 min`, `3 min 20 s`, `12 s`.
pub(crate) fn length(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds of a window, not negative")]
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {:02} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

/// `99.512 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.3} %", share * 100.0)
}

/// A value with its unit, or a dash.
pub(crate) fn value(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{} {unit}", number(value)))
}

/// A number as a person reads it: what matters of it.
pub(crate) fn number(value: f64) -> String {
    let text = if value.abs() >= 100.0 { format!("{value:.1}") } else { format!("{value:.4}") };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A table: its headings and rows, in plain text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub headings: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

/// One section of a report, before it is Markdown or HTML.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Block {
    /// A heading.
    Heading(String),
    /// A paragraph.
    Text(String),
    /// A list.
    List(Vec<String>),
    /// A table; nothing when it has no rows.
    Table(Table),
}

/// As Markdown.
pub(crate) fn to_markdown(title: &str, blocks: &[Block]) -> String {
    // Whatever comes from outside must not become markup.
    let plain = |text: &str| {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '|' | '\\' | '`' | '[' | '*' => out.extend(['\\', c]),
                // Some readers do not know that a backslash takes it back.
                '<' => out.push_str("&lt;"),
                c if c.is_control() => out.push(' '),
                c => out.push(c),
            }
        }
        out
    };
    let mut out = format!("# {}\n", plain(title));
    for block in blocks {
        match block {
            Block::Heading(text) => out.push_str(&format!("\n## {}\n", plain(text))),
            Block::Text(text) => out.push_str(&format!("\n{}\n", plain(text))),
            Block::List(items) => {
                out.push('\n');
                items.iter().for_each(|item| out.push_str(&format!("- {}\n", plain(item))));
            }
            Block::Table(table) if !table.rows.is_empty() => {
                out.push_str(&format!("\n| {} |\n|{}\n", table.headings.join(" | "), "---|".repeat(table.headings.len())));
                for row in &table.rows {
                    let cells: Vec<String> = row.iter().map(|cell| plain(cell)).collect();
                    out.push_str(&format!("| {} |\n", cells.join(" | ")));
                }
            }
            Block::Table(_) => {}
        }
    }
    out
}

/// As a page that needs nothing from outside. `document` is the report as JSON; the charts' values are read from it.
pub(crate) fn to_html(title: &str, class: &str, blocks: &[Block], charts: &[Chart], document: &str) -> String {
    let mut body = String::new();
    for (index, block) in blocks.iter().enumerate() {
        // After the verdict and what to do: a look at the lines comes before the figures.
        if matches!(block, Block::Heading(_)) && headings(&blocks[..index]) == 1 {
            body.push_str(&figures(charts));
        }
        match block {
            Block::Heading(text) => body.push_str(&format!("<h2>{}</h2>\n", escape(text))),
            Block::Text(text) => body.push_str(&format!("<p>{}</p>\n", escape(text))),
            Block::List(items) => {
                let items: String = items.iter().map(|item| format!("<li>{}</li>", escape(item))).collect();
                body.push_str(&format!("<ul>{items}</ul>\n"));
            }
            Block::Table(table) => body.push_str(&html_table(table)),
        }
    }
    // Inside a script element only what begins with this character is not data.
    let document = document.replace('<', "\\u003c");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" content=\"width=device-width\"/>\
         <meta name=\"color-scheme\" content=\"light dark\"/><title>{title}</title><style>{}{FRAME}</style></head>\n\
         <body class=\"{class}\"><main><h1>{title}</h1>\n{body}</main><div id=\"tip\" role=\"status\" hidden=\"hidden\"></div>\n\
         <script type=\"application/json\" id=\"report\">{document}</script>\n<script>{}</script></body></html>\n",
        chart::STYLE,
        chart::SCRIPT,
        title = escape(title),
    )
}

fn headings(blocks: &[Block]) -> usize {
    blocks.iter().filter(|block| matches!(block, Block::Heading(_))).count()
}

fn figures(charts: &[Chart]) -> String {
    let mut out = String::from("<h2>Charts</h2>\n");
    for chart in charts {
        out.push_str(&format!("<figure><figcaption>{}, {}</figcaption>", escape(&chart.title), escape(&chart.unit)));
        out.push_str(&format!("{}{}</figure>\n", svg(chart), legend(chart)));
    }
    out
}

fn html_table(table: &Table) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| -> String {
        cells.map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect()
    };
    let head = cells("th", &mut table.headings.iter().copied());
    let row = |row: &Vec<String>| format!("<tr>{}</tr>", cells("td", &mut row.iter().map(String::as_str)));
    let rows: String = table.rows.iter().map(row).collect();
    format!("<div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>\n")
}

const FRAME: &str = "body{margin:0;background:var(--ground);color:var(--text);font:15px/1.5 system-ui,sans-serif}\
main{max-width:960px;margin:0 auto;padding:24px 16px 64px}h1{font-size:1.5rem;border-left:10px solid var(--soft);padding-left:12px}\
.GREEN h1{border-color:var(--c2)}.YELLOW h1{border-color:var(--warning)}.RED h1{border-color:var(--critical)}\
h2{font-size:1.1rem;margin:2rem 0 .5rem}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{text-align:left;padding:4px 10px 4px 0;border-bottom:1px solid var(--rule);vertical-align:top}th{color:var(--soft);font-weight:600}\
td:first-child{white-space:nowrap}.wide{overflow-x:auto}figure{margin:1rem 0}figcaption{font-weight:600}.legend{margin:.2rem 0 0;color:var(--soft)}\
.legend span{margin-right:14px;white-space:nowrap}.legend i{display:inline-block;width:14px;height:3px;margin-right:5px;vertical-align:middle}\
.legend .c0{background:var(--c0)}.legend .c1{background:var(--c1)}.legend .c2{background:var(--c2)}.legend .c3{background:var(--c3)}\
.legend .c4{background:var(--c4)}.legend .c5{background:var(--c5)}.legend .c6{background:var(--c6)}.legend .c7{background:var(--c7)}\
#tip{position:absolute;pointer-events:none;white-space:pre;background:var(--ground);color:var(--text);border:1px solid var(--soft);\
border-radius:4px;padding:6px 9px;font-size:12px;font-variant-numeric:tabular-nums}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_becomes_no_markup() {
        let nasty = "</script><script>alert(1)</script>|`x`";
        let blocks =
            [Block::Text(nasty.to_owned()), Block::Table(Table { headings: vec!["a"], rows: vec![vec![nasty.to_owned()]] })];
        let page = to_html("t", "GREEN", &blocks, &[], &serde_json::to_string(nasty).unwrap());
        assert_eq!(page.matches("<script").count(), 2, "{page}");
        assert_eq!(page.matches("</script>").count(), 2);
        let text = to_markdown("t", &blocks);
        assert!(!text.contains("<script>alert") && text.contains("\\|\\`x\\`"), "{text}");
    }

    #[test]
    fn lengths_are_read_at_a_glance() {
        let check = |seconds: f64, want: &str| assert_eq!(length(seconds), want);
        check(12.4, "12 s");
        check(200.0, "3 min 20 s");
        check(7_500.0, "2 h 05 min");
        check(93_600.0, "1 d 2 h");
    }
}
