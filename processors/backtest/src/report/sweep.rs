//! A sweep as a table; with two swept parameters as a field of colours too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::text::{escape, number, params_text, percent};
use crate::store::{Detail, SweepRow};

/// Combinations in the page's table; the database has more.
const ROWS_SHOWN: usize = 50;
/// Values of one parameter in the field: more would not be readable.
const FIELD_SIDE_MAX: usize = 60;

pub(super) fn section(detail: &Detail) -> String {
    if detail.sweep.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for (place, row) in (1..).zip(detail.sweep.iter().take(ROWS_SHOWN)) {
        let Some(metrics) = &row.metrics else {
            let (params, error) = (escape(&params_text(&row.params)), escape(row.error.as_deref().unwrap_or_default()));
            let _ = write!(rows, "<tr><td>{place}</td><td>{params}</td><td colspan=\"4\">{error}</td></tr>");
            continue;
        };
        // Writing to a string cannot fail.
        let _ = write!(
            rows,
            "<tr><td>{place}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{:.2} %</td><td class=\"n\">{}</td></tr>",
            escape(&params_text(&row.params)),
            percent(metrics.total_return_pct),
            metrics.sharpe.map_or_else(|| "–".to_owned(), number),
            metrics.max_drawdown_pct,
            metrics.trades
        );
    }
    let total = detail.summary.combinations;
    format!(
        "<h2>Sweep</h2>\n<p class=\"soft\">{total} combinations; the best {} below. The best of many is partly luck: see how it does on \
         bars that it was not chosen on (--walk-forward).</p>\n{}<div class=\"wide\"><table><thead><tr><th>#</th><th>Parameters</th>\
         <th class=\"n\">Return</th><th class=\"n\">Sharpe</th><th class=\"n\">Max drawdown</th><th class=\"n\">Trades</th></tr></thead>\
         <tbody>{rows}</tbody></table></div>\n",
        detail.sweep.len().min(ROWS_SHOWN),
        field(detail)
    )
}

/// Return by two parameters; nothing with another number of them.
fn field(detail: &Detail) -> String {
    let swept: Vec<&String> =
        detail.summary.job.sweep.iter().filter(|(_, values)| values.len() > 1).map(|(key, _)| key).collect();
    let [across, down] = swept.as_slice() else { return String::new() };
    let value = |row: &SweepRow, key: &str| row.params.get(key).cloned().unwrap_or_default();
    let place = |row: &SweepRow| Some(((value(row, across), value(row, down)), row.metrics.as_ref()?.total_return_pct));
    let returns: BTreeMap<(String, String), f64> = detail.sweep.iter().filter_map(place).collect();
    let sorted = |values: BTreeSet<String>| {
        let mut values: Vec<String> = values.into_iter().collect();
        let size = |text: &String| text.parse::<f64>().unwrap_or(f64::MAX);
        values.sort_by(|a, b| size(a).total_cmp(&size(b)));
        values
    };
    let columns = sorted(returns.keys().map(|key| key.0.clone()).collect());
    let lines = sorted(returns.keys().map(|key| key.1.clone()).collect());
    if columns.len() > FIELD_SIDE_MAX || lines.len() > FIELD_SIDE_MAX {
        return String::new();
    }
    let largest = returns.values().fold(0.0_f64, |largest, value| largest.max(value.abs())).max(1e-9);
    let mut out = format!(
        "<div class=\"wide\"><table class=\"field\"><caption>Return, percent: {} down, {} across</caption><tr><th></th>",
        escape(down),
        escape(across)
    );
    for column in &columns {
        let _ = write!(out, "<th>{}</th>", escape(column));
    }
    out.push_str("</tr>");
    for line in &lines {
        let _ = write!(out, "<tr><th>{}</th>", escape(line));
        for column in &columns {
            match returns.get(&(column.clone(), line.clone())) {
                Some(value) => {
                    let sign = if *value < 0.0 { "down" } else { "up" };
                    let strength = (value.abs() / largest * 70.0).round();
                    let title = format!("{across}={column} {down}={line}: {}", percent(*value));
                    let _ = write!(
                        out,
                        "<td class=\"heat {sign}\" style=\"--s:{strength}%\" title=\"{}\">{value:.1}</td>",
                        escape(&title)
                    );
                }
                None => out.push_str("<td></td>"),
            }
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div>\n");
    out
}
