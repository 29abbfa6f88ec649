//! Two charts as SVG, drawn here; the script reads the values from the page's own JSON.

use std::fmt::Write as _;

use serde_json::json;
use spark_bus_schema::Timestamp;
use spark_bus_schema::market::Side;

use super::text::{iso, number};
use crate::store::{Detail, EquityPoint};

pub(super) const WIDTH: f64 = 900.0;
pub(super) const HEIGHT: f64 = 260.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;
/// Marks of trades on the curve: more would cover it.
const MARKERS_MAX: usize = 400;
/// Marks of each axis, about.
const TICKS: f64 = 5.0;

struct Scale {
    low: f64,
    high: f64,
    from: i64,
    to: i64,
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of years fit into 53 bits")]
impl Scale {
    fn new(points: &[EquityPoint], value: impl Fn(&EquityPoint) -> f64) -> Self {
        let (low, high) = points
            .iter()
            .map(value)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low.is_finite() && high.is_finite() { (low, high) } else { (0.0, 1.0) };
        let room = ((high - low) * 0.06).max(high.abs() * 1e-4).max(1e-6);
        let at = |point: Option<&EquityPoint>| point.map_or(0, |point| point.at.as_millis());
        let from = at(points.first());
        Self { low: low - room, high: high + room, from, to: at(points.last()).max(from + 1) }
    }

    fn x(&self, at: Timestamp) -> f64 {
        let part = (at.as_millis() - self.from) as f64 / (self.to - self.from) as f64;
        LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)
    }

    /// Round values across: 1, 2 or 5 times a power of ten apart.
    fn marks(&self) -> Vec<f64> {
        let raw = (self.high - self.low) / TICKS;
        let power = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|step| *step >= raw).unwrap_or(10.0 * power);
        let first = (self.low / step).ceil();
        let marks = std::iter::successors(Some(first), |count| Some(count + 1.0)).map(|count| count * step);
        // The bound is for heights that floats cannot divide.
        marks.take_while(|value| *value <= self.high).take(16).collect()
    }
}

/// Equity with the trades on it, and what holding from the first bar on would have done.
pub(super) fn equity(detail: &Detail) -> String {
    let held = held(&detail.equity);
    let both: Vec<EquityPoint> = detail.equity.iter().chain(&held).copied().collect();
    let mut scale = Scale::new(&both, |point| point.equity);
    scale.to = detail.equity.last().map_or(scale.to, |point| point.at.as_millis().max(scale.from + 1));
    let mut out = open("equity", "Equity, quote currency", &scale);
    let _ = write!(out, "<path class=\"line\" d=\"{}\"/>", path(&detail.equity, &scale, |point| point.equity));
    let _ = write!(out, "<path class=\"line held\" d=\"{}\"/>", path(&held, &scale, |point| point.equity));
    let step = detail.trades.len().div_ceil(MARKERS_MAX).max(1);
    for trade in detail.trades.iter().step_by(step) {
        let (x, y) = (scale.x(trade.at), scale.y(equity_at(&detail.equity, trade.at)));
        let (class, d) = match trade.side {
            Side::Buy => ("buy", format!("M{:.1} {:.1}l5 9h-10z", x, y + 3.0)),
            Side::Sell => ("sell", format!("M{:.1} {:.1}l5 -9h-10z", x, y - 3.0)),
        };
        let _ = write!(out, "<path class=\"mark {class}\" d=\"{d}\"/>");
    }
    out.push_str("<g class=\"cross\"></g></svg><p class=\"legend\"><i class=\"line\"></i>equity <i class=\"held\"></i>holding instead <i class=\"buy\"></i>bought <i class=\"sell\"></i>sold</p>\n");
    out
}

/// The same cash in the symbol since the first point.
fn held(points: &[EquityPoint]) -> Vec<EquityPoint> {
    let Some(first) = points.first().filter(|first| first.close > 0.0) else { return Vec::new() };
    let hold = |point: &EquityPoint| EquityPoint { equity: first.equity * point.close / first.close, ..*point };
    points.iter().map(hold).collect()
}

/// How far equity was below its highest before.
pub(super) fn drawdown(detail: &Detail) -> String {
    let depth = |point: &EquityPoint| -point.drawdown_pct;
    let mut scale = Scale::new(&detail.equity, depth);
    scale.high = 0.0;
    let mut out = open("drawdown", "Drawdown, percent", &scale);
    let line = path(&detail.equity, &scale, depth);
    if let (Some(first), Some(last)) = (detail.equity.first(), detail.equity.last()) {
        let zero = scale.y(0.0);
        let _ = write!(
            out,
            "<path class=\"area\" d=\"{line}L{:.1} {zero:.1}L{:.1} {zero:.1}z\"/>",
            scale.x(last.at),
            scale.x(first.at)
        );
    }
    let _ = write!(out, "<path class=\"line deep\" d=\"{line}\"/><g class=\"cross\"></g></svg>");
    out
}

/// What the script shows under the pointer.
pub(super) fn values(detail: &Detail) -> String {
    let points: Vec<_> =
        detail.equity.iter().map(|point| json!([point.at.as_millis(), point.equity, point.drawdown_pct, point.close])).collect();
    let trades: Vec<_> = detail
        .trades
        .iter()
        .map(|trade| {
            let side = if trade.side == Side::Buy { "bought" } else { "sold" };
            json!([trade.at.as_millis(), format!("{side} {} at {}", trade.quantity.normalize(), trade.price.normalize())])
        })
        .collect();
    json!({ "points": points, "trades": trades, "frame": [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] }).to_string()
}

fn open(id: &str, label: &str, scale: &Scale) -> String {
    let mut out = format!(
        "<svg class=\"chart\" id=\"{id}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" tabindex=\"0\" aria-label=\"{label}\" \
         data-low=\"{}\" data-high=\"{}\"><title>{label}</title>",
        scale.low, scale.high
    );
    for value in scale.marks() {
        let y = scale.y(value);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            number(value)
        );
    }
    for part in 0..5_i64 {
        let at = Timestamp::from_millis(scale.from + (scale.to - scale.from) / 4 * part);
        let text = iso(at);
        // Minutes of a day, days of a year.
        let shown = if scale.to - scale.from <= 2 * 86_400_000 { text.get(11..16) } else { text.get(..10) };
        let anchor = ["start", "middle", "middle", "middle", "end"][usize::try_from(part).unwrap_or(0)];
        let _ = write!(
            out,
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            scale.x(at),
            HEIGHT - 8.0,
            shown.unwrap_or_default()
        );
    }
    out
}

fn path(points: &[EquityPoint], scale: &Scale, value: impl Fn(&EquityPoint) -> f64) -> String {
    let mut out = String::new();
    for (index, point) in points.iter().enumerate() {
        let _ = write!(out, "{}{:.1} {:.1}", if index == 0 { 'M' } else { 'L' }, scale.x(point.at), scale.y(value(point)));
    }
    out
}

fn equity_at(points: &[EquityPoint], at: Timestamp) -> f64 {
    let behind = points.partition_point(|point| point.at < at);
    points.get(behind).or(points.last()).map_or(0.0, |point| point.equity)
}
