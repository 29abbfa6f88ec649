//! Line charts as SVG, drawn here: a report needs six of them, and a chart library would cost the release build a minute.
//!
//! [`svg`] draws one for a page (colours by the page's CSS variables, a place for the crosshair), [`svg_file`] one that stands
//! alone. [`SCRIPT`] makes those of a page answer to pointer and keyboard; it reads the values from the page's own JSON.

mod scale;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use spark_bus_schema::Timestamp;

use scale::{Scale, label, time_ticks, value_ticks};

/// Crosshair, tooltip, arrow keys. Uses nothing from outside the page.
pub const SCRIPT: &str = include_str!("chart.js");
/// Colours for light and dark, and the charts' own rules.
pub const STYLE: &str = include_str!("chart.css");

/// Points of one line, at most; more are thinned by [`Line::thinned`].
pub const POINTS_MAX: usize = 720;
/// Lines of one chart, at most: more could not be told apart.
pub const LINES_MAX: usize = 8;
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 26.0;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Time, ms since the epoch, and value; none breaks the line.
    pub points: Vec<(i64, Option<f64>)>,
}

impl Line {
    /// At most [`POINTS_MAX`] points: of neighbours the largest stays, so that no peak is lost; a gap stays only where all of
    /// them are missing.
    #[must_use]
    pub fn thinned(self) -> Self {
        let each = self.points.len().div_ceil(POINTS_MAX).max(1);
        let largest = |chunk: &[(i64, Option<f64>)]| {
            let best = chunk
                .iter()
                .filter(|point| point.1.is_some())
                .max_by(|a, b| a.1.partial_cmp(&b.1).unwrap_or(std::cmp::Ordering::Equal));
            best.or(chunk.first()).copied()
        };
        Self { name: self.name, points: self.points.chunks(each).filter_map(largest).collect() }
    }
}

/// A level that is drawn across.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// `warning` or `critical`.
    pub name: String,
    /// Where.
    pub value: f64,
}

/// A chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// A name for files and HTML ids: letters, digits, `-`.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// Unit of the values.
    pub unit: String,
    /// Left end, ms since the epoch.
    pub from_ms: i64,
    /// Right end.
    pub to_ms: i64,
    /// Whether the value axis begins at zero.
    pub from_zero: bool,
    /// The lines.
    pub lines: Vec<Line>,
    /// Levels.
    pub thresholds: Vec<Threshold>,
}

impl Chart {
    fn scale(&self) -> Scale {
        let values = || self.lines.iter().flat_map(|line| line.points.iter().filter_map(|point| point.1));
        let (low, high) =
            values().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        // A threshold far above everything would press the lines flat: it is drawn where it is near.
        let near = self
            .thresholds
            .iter()
            .map(|level| level.value)
            .filter(|&level| !high.is_finite() || high <= 0.0 || level <= high * 3.0);
        let high = near.fold(high, f64::max);
        Scale::new(if self.from_zero { 0.0 } else { low }, high, (self.from_ms, self.to_ms))
    }
}

/// Text for HTML and SVG, in attributes too.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML knows no other control characters.
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// As part of a page.
#[must_use]
pub fn svg(chart: &Chart) -> String {
    draw(chart, "", "")
}

/// As a file of its own, with its colours.
#[must_use]
pub fn svg_file(chart: &Chart) -> String {
    let style = format!("<style>{STYLE}</style>");
    draw(chart, " xmlns=\"http://www.w3.org/2000/svg\"", &style)
}

fn draw(chart: &Chart, namespace: &str, style: &str) -> String {
    let scale = chart.scale();
    let mut out = String::new();
    let title = escape(&chart.title);
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<svg{namespace} class=\"chart\" id=\"chart-{}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" tabindex=\"0\" \
         aria-label=\"{title}, {}\" data-low=\"{}\" data-high=\"{}\">{style}<title>{title}</title>",
        escape(&chart.id),
        escape(&chart.unit),
        scale.low,
        scale.high
    );
    for value in value_ticks(&scale) {
        let y = scale.y(value);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            label(value)
        );
    }
    for (at, text) in time_ticks(chart.from_ms, chart.to_ms) {
        let x = scale.x(at);
        let _ = write!(out, "<text class=\"axis\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>", HEIGHT - 8.0);
    }
    for level in chart.thresholds.iter().filter(|level| scale.holds(level.value)) {
        let y = scale.y(level.value);
        let name = escape(&level.name);
        let _ = write!(
            out,
            "<line class=\"level {name}\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"level-name {name}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name} {}</text>",
            WIDTH - RIGHT,
            WIDTH - RIGHT - 4.0,
            y - 3.0,
            label(level.value)
        );
    }
    for (index, line) in chart.lines.iter().take(LINES_MAX).enumerate() {
        let _ = write!(out, "<path class=\"line c{index}\" d=\"{}\"/>", path(line, &scale));
    }
    if chart.lines.iter().all(|line| line.points.iter().all(|point| point.1.is_none())) {
        let _ = write!(
            out,
            "<text class=\"axis\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">nothing recorded</text>",
            WIDTH / 2.0,
            HEIGHT / 2.0
        );
    }
    out.push_str("<g class=\"cross\"></g></svg>");
    out
}

fn path(line: &Line, scale: &Scale) -> String {
    let mut out = String::new();
    let mut pen_down = false;
    for &(at, value) in &line.points {
        let Some(value) = value else {
            pen_down = false;
            continue;
        };
        let _ = write!(out, "{}{:.1} {:.1}", if pen_down { 'L' } else { 'M' }, scale.x(at), scale.y(value));
        if !pen_down {
            // A point without neighbours is a dot, not nothing.
            out.push_str("h0.1");
        }
        pen_down = true;
    }
    out
}

/// A chart's lines in one row, with their colours.
#[must_use]
pub fn legend(chart: &Chart) -> String {
    let mut out = String::from("<p class=\"legend\">");
    for (index, line) in chart.lines.iter().take(LINES_MAX).enumerate() {
        let _ = write!(out, "<span><i class=\"c{index}\"></i>{}</span> ", escape(&line.name));
    }
    if chart.lines.len() > LINES_MAX {
        let _ = write!(out, "<span>and {} more, not drawn</span>", chart.lines.len() - LINES_MAX);
    }
    out.push_str("</p>");
    out
}

/// `2026-11-21T09:30:00Z`, without fractions of a second.
#[must_use]
pub fn iso(at: Timestamp) -> String {
    Timestamp::from_millis(at.as_millis().div_euclid(1_000) * 1_000).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(i64, Option<f64>)>) -> Chart {
        Chart {
            id: "latency".to_owned(),
            title: "a <b> & \"c\"".to_owned(),
            unit: "ms".to_owned(),
            from_ms: 0,
            to_ms: 3_600_000,
            from_zero: true,
            lines: vec![Line { name: "binance".to_owned(), points }],
            thresholds: vec![Threshold { name: "warning".to_owned(), value: 1_500.0 }],
        }
    }

    #[test]
    fn a_gap_breaks_the_line_and_text_cannot_become_markup() {
        let drawn = svg(&chart(vec![(0, Some(1.0)), (1, Some(2.0)), (2, None), (3, Some(1_000.0))]));
        assert_eq!(drawn.matches('M').count(), 2, "{drawn}");
        assert!(drawn.contains("a &lt;b&gt; &amp; &quot;c&quot;"));
        assert!(drawn.contains("level warning"), "near enough to be drawn");
        assert!(!drawn.contains("http"));
    }

    #[test]
    fn a_chart_of_nothing_says_so() {
        assert!(svg(&chart(Vec::new())).contains("nothing recorded"));
    }

    #[test]
    fn thinning_keeps_every_peak() {
        let points = (0..10_000).map(|n| (n, Some(if n == 4_321 { 99.0 } else { 1.0 }))).collect();
        let thin = Line { name: String::new(), points }.thinned();
        assert!(thin.points.len() <= POINTS_MAX);
        assert!(thin.points.contains(&(4_321, Some(99.0))));
    }
}
