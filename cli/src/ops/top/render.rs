//! `spark top` as lines: a pure function of what is known, what is chosen and how much room there is.

use std::cmp::Reverse;

use super::state::{Alert, Link, Order, State, Window};
use crate::args::look::Section;
use crate::ops::age;
use crate::output::{Style, visible};

/// Sections in the order of their keys.
pub const SECTIONS: [(Section, &str); 5] = [
    (Section::Rates, "rates"),
    (Section::Windows, "windows"),
    (Section::Alerts, "alerts"),
    (Section::Processes, "processes"),
    (Section::Orders, "orders"),
];
/// Nothing was heard for so long: what is shown is old. Processes are told once a second.
const OLD_MS: i64 = 3_500;
/// A terminal smaller than this gets a word instead.
const SMALLEST: (usize, usize) = (30, 8);

/// What a person has chosen.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// Which part.
    pub section: Section,
    /// Lines of it that are above the screen.
    pub scroll: usize,
    /// Stand still.
    pub paused: bool,
}

/// A line in pieces, each with its look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(pub Vec<(String, Option<Style>)>);

impl Line {
    fn plain(text: impl Into<String>) -> Self {
        Self(vec![(text.into(), None)])
    }

    fn styled(text: impl Into<String>, style: Style) -> Self {
        Self(vec![(text.into(), Some(style))])
    }

    fn push(&mut self, text: impl Into<String>, style: Option<Style>) {
        self.0.push((text.into(), style));
    }

    /// Without looks.
    #[cfg(test)]
    pub fn text(&self) -> String {
        self.0.iter().map(|(text, _)| text.as_str()).collect()
    }

    /// At most so many columns.
    fn cut(mut self, width: usize) -> Self {
        let mut left = width;
        for (text, _) in &mut self.0 {
            let length = text.chars().count();
            if length > left {
                *text = text.chars().take(left).collect();
            }
            left = left.saturating_sub(length);
        }
        self.0.retain(|(text, _)| !text.is_empty());
        self
    }

    fn grey(mut self) -> Self {
        self.0.iter_mut().for_each(|(_, style)| *style = Some(Style::Dim));
        self
    }
}

/// Exactly `height` lines of at most `width` columns.
#[must_use]
pub fn screen(state: &State, view: View, now_ms: i64, width: usize, height: usize) -> Vec<Line> {
    if width < SMALLEST.0 || height < SMALLEST.1 {
        let mut lines = vec![Line::plain(format!("{width}×{height} is too small; q quits")).cut(width)];
        lines.resize(height, Line::default());
        return lines;
    }
    let old = is_old(state, now_ms);
    let mut lines = vec![title(state, view, now_ms), overview(state), tabs(view)];
    lines.extend(fault(state, now_ms));
    let room = height - lines.len() - 1;
    let body = body(state, view.section, now_ms);
    let scroll = view.scroll.min(body.len().saturating_sub(room));
    let below = body.len().saturating_sub(scroll + room);
    let grey = |line: Line| if old { line.grey() } else { line };
    lines.extend(body.into_iter().skip(scroll).take(room).map(grey));
    lines.resize(height - 1, Line::default());
    lines.push(keys(scroll, below));
    lines.into_iter().map(|line| line.cut(width)).collect()
}

/// How far a section can be scrolled with this much room.
#[must_use]
pub fn scroll_max(state: &State, view: View, now_ms: i64, height: usize) -> usize {
    let head = 4 + usize::from(fault(state, now_ms).is_some());
    body(state, view.section, now_ms).len().saturating_sub(height.saturating_sub(head))
}

/// Everything, one section below the other, for a file or a pipe.
#[must_use]
pub fn page(state: &State, now_ms: i64) -> Vec<Line> {
    let mut lines = vec![title(state, View::default(), now_ms), overview(state)];
    lines.extend(fault(state, now_ms));
    for (section, _) in SECTIONS {
        lines.push(Line::default());
        lines.extend(body(state, section, now_ms));
    }
    lines
}

fn is_old(state: &State, now_ms: i64) -> bool {
    state.link != Link::Live || state.heard_ms.is_none_or(|heard| now_ms - heard > OLD_MS)
}

fn title(state: &State, view: View, now_ms: i64) -> Line {
    let mut line = Line::styled("spark top", Style::Bold);
    line.push(format!("  {}  ", state.address), None);
    let status = &state.system.status;
    line.push(status.clone(), Some(if status == "LIVE" { Style::Green } else { Style::Yellow }));
    line.push(
        state.heard_ms.map_or_else(|| "  nothing yet".to_owned(), |heard| format!("  {} old", age((now_ms - heard).max(0)))),
        Some(Style::Dim),
    );
    if view.paused {
        line.push("  PAUSED", Some(Style::Yellow));
    }
    line
}

fn overview(state: &State) -> Line {
    let mut line = Line::default();
    let mut add = |label: &str, value: String, style: Style| {
        let gap = if line.0.is_empty() { "" } else { "  " };
        line.push(format!("{gap}{label} "), Some(Style::Dim));
        line.push(value, Some(style));
    };
    let expected: Vec<_> = state.system.processes.iter().filter(|process| process.expected || process.presence == "up").collect();
    let up = expected.iter().filter(|process| process.presence == "up").count();
    add("processes", format!("{up}/{}", expected.len()), if up == expected.len() { Style::Green } else { Style::Red });
    let live = state.system.feeds.iter().filter(|feed| feed.state == "live").count();
    add(
        "feeds",
        format!("{live}/{}", state.system.feeds.len()),
        if live == state.system.feeds.len() { Style::Green } else { Style::Red },
    );
    let firing = state.alerts.iter().filter(|alert| alert.state == "firing").count();
    add("firing", firing.to_string(), if firing == 0 { Style::Green } else { Style::Red });
    let parked = state.system.parked.count;
    let text = parked.map_or_else(|| "–".to_owned(), |parked| parked.to_string());
    add("parked", text, if parked == Some(0) { Style::Green } else { Style::Yellow });
    let (word, style) = match (state.guard.is_killed(), state.guard.halts.is_empty()) {
        (true, _) => ("KILLED", Style::Red),
        (false, false) => ("HALTED", Style::Red),
        (false, true) => ("on", Style::Green),
    };
    add("trading", word.to_owned(), style);
    add("open", state.open_orders.to_string(), Style::Green);
    line
}

fn tabs(view: View) -> Line {
    let mut line = Line::default();
    for (at, (section, name)) in SECTIONS.iter().enumerate() {
        let chosen = *section == view.section;
        let text = if chosen { format!("[{} {name}]", at + 1) } else { format!(" {} {name} ", at + 1) };
        line.push(text, Some(if chosen { Style::Bold } else { Style::Dim }));
        line.push(" ", None);
    }
    line
}

fn fault(state: &State, now_ms: i64) -> Option<Line> {
    if let Link::Lost(reason) = &state.link {
        return Some(Line::styled(format!("no connection, trying again: {}", visible(reason)), Style::Red));
    }
    let silent = state.heard_ms.filter(|heard| now_ms - heard > OLD_MS);
    if let Some(heard) = silent {
        return Some(Line::styled(format!("the gateway has said nothing for {}", age(now_ms - heard)), Style::Red));
    }
    if state.unreadable > 0 {
        let text = format!(
            "{} events could not be read: is the gateway of another version than {}?",
            state.unreadable,
            env!("CARGO_PKG_VERSION")
        );
        return Some(Line::styled(text, Style::Yellow));
    }
    (state.heard_ms.is_some() && !state.system.broker_connected)
        .then(|| Line::styled("the gateway has lost the broker: everything below is old", Style::Red))
}

fn keys(above: usize, below: usize) -> Line {
    let mut line = Line::styled("tab 1-5 section  ↑↓ scroll  p pause  q quit", Style::Dim);
    if above + below > 0 {
        line.push(format!("   {above} above, {below} below"), Some(Style::Dim));
    }
    line
}

fn body(state: &State, section: Section, now_ms: i64) -> Vec<Line> {
    match section {
        Section::Rates => rates(state),
        Section::Windows => windows(state),
        Section::Alerts => alerts(state, now_ms),
        Section::Processes => processes(state),
        Section::Orders => orders(state),
    }
}

/// A table: the first row is its head; a style for each further row.
fn table(head: &[&str], rows: Vec<(Vec<String>, Option<Style>)>) -> Vec<Line> {
    let styles: Vec<Option<Style>> = rows.iter().map(|(_, style)| *style).collect();
    let cells: Vec<Vec<String>> = std::iter::once(head.iter().map(ToString::to_string).collect())
        .chain(rows.into_iter().map(|(row, _)| row.iter().map(|cell| visible(cell)).collect()))
        .collect();
    let mut lines = crate::output::table(&cells).into_iter();
    let first = lines.next().map(|line| Line::styled(line, Style::Cyan));
    first.into_iter().chain(lines.zip(styles).map(|(line, style)| Line(vec![(line, style)]))).collect()
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes >= 10 * MIB { format!("{} MiB", bytes / MIB) } else { format!("{} KiB", bytes / 1024) }
}

fn raw(value: Option<&serde_json::value::RawValue>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.get().trim_matches('"').to_owned())
}

fn rate(rates: &std::collections::BTreeMap<String, f64>, key: &str) -> String {
    rates.get(key).map_or_else(|| "–".to_owned(), |rate| number(*rate))
}

fn rates(state: &State) -> Vec<Line> {
    let streams = state.streams.iter().map(|(name, stream)| {
        (
            vec![
                name.clone(),
                rate(&state.stream_rates, name),
                stream.messages.to_string(),
                size(stream.bytes),
                stream.last_sequence.to_string(),
            ],
            None,
        )
    });
    let mut lines = table(&["STREAM", "MESSAGES/S", "MESSAGES", "SIZE", "LAST"], streams.collect());
    lines.push(Line::default());
    let symbols = state.prices.iter().map(|((venue, symbol), price)| {
        let style = price.age_ms.filter(|age| *age > 30_000).map(|_| Style::Dim);
        let name = format!("{venue}.{symbol}");
        let told = |value: &Option<Box<serde_json::value::RawValue>>| raw(value.as_deref());
        (vec![name.clone(), rate(&state.trade_rates, &name), told(&price.last), told(&price.bid), told(&price.ask)], style)
    });
    lines.extend(table(&["SYMBOL", "TRADES/S", "LAST", "BID", "ASK"], symbols.collect()));
    lines.push(Line::default());
    let mut lag: Vec<(&String, &u64)> = state.lag.iter().collect();
    lag.sort_by_key(|(name, count)| (Reverse(**count), *name));
    let behind = lag.iter().map(|(name, count)| {
        let (stream, consumer) = name.split_once(' ').unwrap_or((name, ""));
        let style = if **count > 1_000 { Some(Style::Yellow) } else { None };
        (vec![consumer.to_owned(), stream.to_owned(), count.to_string()], style)
    });
    lines.extend(table(&["READER", "STREAM", "LAG"], behind.collect()));
    lines
}

/// How near a window is to its limit: 1 is there, whichever side the limit is on.
fn nearness(window: &Window) -> f64 {
    let (Some(value), Some(limit)) = (window.value, window.warning.or(window.critical)) else { return -1.0 };
    let below = window.warning.zip(window.critical).is_some_and(|(warning, critical)| critical < warning);
    let share = if below { limit / value.max(f64::MIN_POSITIVE) } else { value / limit.max(f64::MIN_POSITIVE) };
    if share.is_finite() { share } else { f64::MAX }
}

fn scope(scope: &std::collections::BTreeMap<String, String>) -> String {
    scope.values().cloned().collect::<Vec<_>>().join(" ")
}

fn rank(state: &str) -> u8 {
    match state {
        "firing" => 0,
        "pending" => 1,
        "inactive" | "resolved" => 2,
        _ => 3,
    }
}

fn windows(state: &State) -> Vec<Line> {
    let mut sorted: Vec<&Window> = state.windows.iter().collect();
    sorted.sort_by(|a, b| {
        let by_nearness = || nearness(b).total_cmp(&nearness(a));
        rank(&a.state).cmp(&rank(&b.state)).then_with(by_nearness).then_with(|| (&a.rule, &a.scope).cmp(&(&b.rule, &b.scope)))
    });
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
    let rows = sorted.into_iter().map(|window| {
        let style = match window.state.as_str() {
            "firing" => Some(Style::Red),
            "pending" => Some(Style::Yellow),
            "no_data" => Some(Style::Dim),
            _ => None,
        };
        let limits = format!("{} / {}", shown(window.warning), shown(window.critical));
        let value = format!("{} {}", shown(window.value), window.unit);
        (vec![window.rule.clone(), scope(&window.scope), value.trim().to_owned(), limits, window.state.clone()], style)
    });
    table(&["WINDOW", "OF", "VALUE", "WARNING / CRITICAL", "STATE"], rows.collect())
}

fn alerts(state: &State, now_ms: i64) -> Vec<Line> {
    if state.alerts.is_empty() {
        return vec![Line::styled("no alert is pending or firing", Style::Green)];
    }
    let mut lines = Vec::new();
    for alert in &state.alerts {
        lines.extend(alert_lines(alert, now_ms));
    }
    lines
}

fn alert_lines(alert: &Alert, now_ms: i64) -> [Line; 3] {
    let severity = alert.severity.clone().unwrap_or_default();
    let style = if alert.state == "firing" && severity == "critical" { Style::Red } else { Style::Yellow };
    let since = alert.since.map(|since| format!(" for {}", age((now_ms - since / 1_000_000).max(0)))).unwrap_or_default();
    let silenced = if alert.silenced_by.is_empty() { "" } else { ", silenced" };
    let scope =
        Some(scope(&alert.scope)).filter(|scope| !scope.is_empty()).map(|scope| format!(" [{scope}]")).unwrap_or_default();
    let head = format!("{severity:<9}{}{scope}: {}{since}{silenced}", alert.name, alert.state);
    [
        Line::styled(visible(&head), style),
        Line::plain(visible(&format!("         {}", alert.summary))),
        Line::styled(visible(&format!("         first: {}", alert.first_action)), Style::Dim),
    ]
}

fn processes(state: &State) -> Vec<Line> {
    let rows = state.system.processes.iter().map(|process| {
        let up = process.presence == "up";
        let style = if up && process.detail.is_none() { None } else { Some(if up { Style::Yellow } else { Style::Red }) };
        let text = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
        let row = vec![
            process.name.clone(),
            if up { process.state.clone().unwrap_or_default() } else { process.presence.clone() },
            text(process.age_ms.map(age)),
            text(process.pid.map(|pid| pid.to_string())),
            text(process.resident_bytes.map(size)),
            text(process.restarts.map(|restarts| restarts.to_string())),
            process.detail.clone().unwrap_or_default(),
        ];
        (row, style)
    });
    let mut lines = table(&["PROCESS", "STATE", "HEARD", "PID", "MEMORY", "RESTARTS", ""], rows.collect());
    lines.push(Line::default());
    let feeds = state.system.feeds.iter().map(|feed| {
        let missing = format!("{}/{}", feed.trades_filled, feed.trades_missing);
        let age = feed.age_ms.map_or_else(|| "–".to_owned(), age);
        let row = vec![
            feed.venue.clone(),
            feed.state.clone(),
            age,
            feed.symbols.len().to_string(),
            feed.reconnects.to_string(),
            missing,
            feed.frames_rejected.to_string(),
            feed.detail.clone().unwrap_or_default(),
        ];
        (row, if feed.state == "live" { None } else { Some(Style::Yellow) })
    });
    lines.extend(table(&["FEED", "STATE", "HEARD", "SYMBOLS", "RECONNECTS", "FILLED", "REJECTED", ""], feeds.collect()));
    lines
}

fn orders(state: &State) -> Vec<Line> {
    if state.orders.is_empty() {
        return vec![Line::plain("no orders yet; `spark order buy BTCUSDT 0.01` places one on paper")];
    }
    let row = |order: &Order| {
        let style = match order.state.as_str() {
            "refused" | "rejected" => Some(Style::Yellow),
            "unknown" => Some(Style::Red),
            _ if order.open => Some(Style::Cyan),
            _ => None,
        };
        let price = order.price.as_deref().map_or_else(|| "market".to_owned(), |price| raw(Some(price)));
        let time = order.at.get(11..19).unwrap_or(&order.at).to_owned();
        let cells = vec![
            time,
            order.state.clone(),
            order.strategy.clone(),
            format!("{}.{}", order.exchange, order.symbol),
            order.side.clone(),
            raw(order.quantity.as_deref()),
            price,
            raw(order.average_price.as_deref()),
            order.reason.clone().unwrap_or_default(),
        ];
        (cells, style)
    };
    table(&["TIME", "STATE", "STRATEGY", "WHAT", "SIDE", "QUANTITY", "PRICE", "PAID", ""], state.orders.iter().map(row).collect())
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
