//! The report as one HTML file that asks for nothing.

use super::Report;
use super::markdown::{blocks, title};
use super::page::to_html;
use crate::record::json;

/// Self-contained: styles, script, charts and the report's own JSON (element `report`) are in it.
#[must_use]
pub fn html(report: &Report) -> String {
    to_html(&title(report), report.judgement.verdict.as_str(), &blocks(report), &report.charts, &json(report))
}
