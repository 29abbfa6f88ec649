//! Tabs, sorting, and what is remembered of it.

use serde_json::{Value, json};
use spark_tests::browser::Look;

use crate::stage::{Stage, Visit};

/// One exchange each, and all of them again.
pub async fn tabs(stage: &Stage) {
    let visit = stage.visit(Look::DESK).await;
    let shown = "[...new Set([...document.querySelectorAll('table[data-table=portfolio] tbody [data-col=exchange]')].map((cell) => cell.innerText.trim()))].sort()";
    for (tab, want) in [("binance", json!(["Binance"])), ("btcturk", json!(["BtcTurk"])), ("all", json!(["Binance", "BtcTurk"]))]
    {
        visit.click(&format!("#portfolio-tabs button[data-value={tab}]")).await;
        let ready = format!("JSON.stringify({shown}) === JSON.stringify({want}) || {shown}");
        visit.until(&format!("tab {tab} shows {want}"), &ready).await;
        let chosen = visit.evaluate("[...document.querySelectorAll('#portfolio-tabs [role=tab][aria-selected=true]')].map((tab) => tab.dataset.value)").await;
        assert_eq!(chosen, json!([tab]));
    }
    visit.end().await;
}

/// The texts of a column, from top to bottom.
async fn column(visit: &Visit<'_>, table: &str, column: &str) -> Vec<String> {
    let cells = format!(
        "[...document.querySelectorAll('table[data-table={table}] tbody tr')].filter((row) => row.offsetParent).map((row) => row.querySelector('[data-col={column}]').innerText.trim())"
    );
    let found = visit.evaluate(&cells).await;
    found.as_array().unwrap().iter().map(|cell| cell.as_str().unwrap_or_default().to_owned()).collect()
}

/// The figure of a cell; what is not known has none.
fn figure(cell: &str) -> Option<f64> {
    let text: String = cell.chars().filter(|one| one.is_ascii_digit() || matches!(one, '.' | '-')).collect();
    text.parse().ok()
}

/// Whether a column is in order; cells without a value come last.
fn is_ordered(cells: &[String], is_figure: bool, is_ascending: bool) -> bool {
    let in_order =
        |order: Option<std::cmp::Ordering>| order.is_none_or(|order| if is_ascending { order.is_le() } else { order.is_ge() });
    cells.windows(2).all(|pair| match (figure(&pair[0]), figure(&pair[1])) {
        _ if !is_figure => in_order(Some(pair[0].to_lowercase().cmp(&pair[1].to_lowercase()))),
        (Some(one), Some(two)) => in_order(one.partial_cmp(&two)),
        (one, two) => one.is_some() || two.is_none(),
    })
}

/// A click sorts, another one turns the order; figures by their value, names by their letters.
pub async fn sort(stage: &Stage) {
    let visit = stage.visit(Look::DESK).await;
    let columns =
        [("portfolio", "value", true), ("portfolio", "asset", false), ("processes", "name", false), ("prices", "symbol", false)];
    for (table, name, is_figure) in columns {
        let mut seen = Vec::new();
        for _ in 0..2 {
            visit.click(&format!("table[data-table={table}] thead th[data-col={name}] button")).await;
            let state = visit
                .evaluate(&format!(
                    "document.querySelector('table[data-table={table}] thead th[data-col={name}]').getAttribute('aria-sort')"
                ))
                .await;
            let cells = column(&visit, table, name).await;
            assert!(cells.len() > 2, "{table} by {name}: so few rows have no order: {cells:?}");
            assert!(is_ordered(&cells, is_figure, state == "ascending"), "{table} by {name} says {state}, but is {cells:?}");
            seen.push(state);
        }
        seen.sort_by_key(Value::to_string);
        assert_eq!(seen, ["ascending", "descending"], "{table} by {name}: two clicks are both orders");
    }
    visit.end().await;
}

/// Tab, order, folded section and theme are the same after a reload, and another visitor's are his own.
pub async fn remembered(stage: &Stage) {
    let visit = stage.visit(Look::DESK).await;
    let state = "JSON.stringify({
        tab: document.querySelector('#portfolio-tabs [aria-selected=true]')?.dataset.value,
        sort: document.querySelector('table[data-table=portfolio] th[data-col=asset]')?.getAttribute('aria-sort'),
        range: document.querySelector('#range [aria-checked=true]')?.dataset.value,
        folded: document.querySelector('#f-feeds')?.getAttribute('aria-expanded'),
        hidden: !document.querySelector('#b-feeds')?.checkVisibility(),
        theme: document.documentElement.dataset.theme,
    })";
    let before = visit.evaluate(state).await;
    visit.click("#portfolio-tabs button[data-value=binance]").await;
    visit.click("table[data-table=portfolio] th[data-col=asset] button").await;
    visit.click("#range [data-value='1h']").await;
    visit.click("#f-feeds").await;
    visit.click("#settings").await;
    visit.click("#set-theme [data-value=light]").await;
    visit.press(spark_tests::browser::Key::Escape).await;
    let want =
        json!({ "tab": "binance", "sort": "ascending", "range": "1h", "folded": "false", "hidden": true, "theme": "light" });
    let is_wanted = format!("(() => {{ const got = {state}; return got === JSON.stringify({want}) || got; }})()");
    // The members of `want` in the order in which the page tells them.
    let is_wanted = is_wanted.replace(&format!("JSON.stringify({want})"), &format!("JSON.stringify((({{ tab, sort, range, folded, hidden, theme }}) => ({{ tab, sort, range, folded, hidden, theme }}))({want}))"));
    visit.until("what was chosen holds", &is_wanted).await;
    visit.reload().await;
    visit.settled().await;
    visit.until("what was chosen holds after a reload", &is_wanted).await;
    let other = stage.visit(Look::DESK).await;
    assert_eq!(other.evaluate(state).await, before, "another visitor's page is as it comes");
    other.end().await;
    visit.click("#settings").await;
    visit.click("#set-reset").await;
    visit.until("reset: all as it comes", &format!("(() => {{ const got = {state}; return got === {before} || got; }})()")).await;
    visit.end().await;
}
