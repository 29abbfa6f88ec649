//! Without a mouse.

use serde_json::{Value, json};
use spark_tests::browser::{Key, Look};

use crate::stage::{Stage, Visit};

/// More presses of Tab than any part of the page is away from its beginning.
const PRESSES_MAX: usize = 250;

/// What has the focus: a name, whether it can be seen, and whether one sees that it has the focus.
const FOCUSED: &str = "(() => {
    const one = document.activeElement;
    if (!one || one === document.body) return null;
    const style = getComputedStyle(one), box = one.getBoundingClientRect();
    const marked = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== 'none';
    return { name: `${one.localName}${one.id ? `#${one.id}` : ''}`, seen: one.checkVisibility() && box.width > 0 && box.height > 0, marked,
             html: one.outerHTML.slice(0, 160) }; })()";

/// Presses Tab until something is reached; all that was passed must have been visible, and marked as focused.
async fn tab_to(visit: &Visit<'_>, selector: &str) -> usize {
    let mut passed: Vec<String> = Vec::new();
    for count in 1..=PRESSES_MAX {
        visit.press(Key::Tab).await;
        let focused = visit.evaluate(FOCUSED).await;
        if !focused.is_null() {
            assert!(focused["seen"] == true, "Tab goes to what nobody sees: {focused}");
            assert!(focused["marked"] == true, "nobody sees that this has the focus: {focused}");
            passed.push(focused["name"].as_str().unwrap_or_default().to_owned());
        }
        if visit.evaluate(&format!("document.activeElement?.matches({})", Value::from(selector))).await == true {
            return count;
        }
    }
    panic!("Tab does not reach {selector} in {PRESSES_MAX} presses; it passed {passed:?}");
}

/// From the top of the page to the kill switch and its dialog; then past the bar to tabs and tables.
pub async fn alone(stage: &Stage) {
    let visit = stage.visit(Look::DESK).await;
    let presses = tab_to(&visit, "#kill").await;
    println!("  {presses} presses of Tab to the kill switch");
    for key in [Key::Enter, Key::Space] {
        visit.press(key).await;
        dialog(&visit, "#kill-dialog", "#kill").await;
    }
    visit.reload().await;
    visit.settled().await;
    skip_link(&visit).await;
    let presses = tab_to(&visit, "#portfolio-tabs [role=tab]").await;
    println!("  {presses} presses of Tab behind the skip link to the tabs");
    tabs(&visit).await;
    sorting(&visit).await;
    visit.end().await;
}

/// The first stop leads past the bar.
async fn skip_link(visit: &Visit<'_>) {
    visit.press(Key::Tab).await;
    visit
        .until(
            "the first stop is the skip link",
            "document.activeElement?.matches('a.skip') || document.activeElement?.outerHTML",
        )
        .await;
    visit.press(Key::Enter).await;
    visit.until("it leads to the content", "document.activeElement?.id === 'main' || document.activeElement?.outerHTML").await;
}

/// Arrows, Home and End choose; there is one stop for all of them.
async fn tabs(visit: &Visit<'_>) {
    let all =
        visit.evaluate("[...document.querySelectorAll('#portfolio-tabs [role=tab]')].map((tab) => tab.dataset.value)").await;
    let all: Vec<String> = all.as_array().unwrap().iter().map(|tab| tab.as_str().unwrap().to_owned()).collect();
    let (first, second, last) = (&all[0], &all[1], &all[all.len() - 1]);
    assert_eq!(visit.evaluate("document.querySelectorAll('#portfolio-tabs [role=tab][tabindex=\"0\"]').length").await, json!(1));
    for (key, want) in [
        (Key::Home, first),
        (Key::Right, second),
        (Key::Left, first),
        (Key::Left, last),
        (Key::Right, first),
        (Key::End, last),
        (Key::Home, first),
    ] {
        visit.press(key).await;
        let state = "[document.activeElement.dataset.value, document.querySelector('#portfolio-tabs [aria-selected=true]').dataset.value].join(' ')";
        visit.until(&format!("{key:?} chooses {want}"), &format!("{state} === '{want} {want}' || {state}")).await;
    }
}

/// A heading that sorts is pressed.
async fn sorting(visit: &Visit<'_>) {
    tab_to(visit, "table[data-table=portfolio] th[data-col=asset] button").await;
    let state = "document.querySelector('table[data-table=portfolio] th[data-col=asset]').getAttribute('aria-sort')";
    for (key, want) in [(Key::Enter, "ascending"), (Key::Space, "descending")] {
        visit.press(key).await;
        visit.until(&format!("{key:?} sorts"), &format!("{state} === '{want}' || {state}")).await;
    }
}

/// An open dialog keeps the focus, Escape closes it, and the button that opened it has the focus again.
async fn dialog(visit: &Visit<'_>, dialog: &str, opener: &str) {
    visit.until("the dialog is open", &format!("document.querySelector('{dialog}').matches(':modal')")).await;
    // Between its last and its first element the focus is the browser's own; on the page's other parts it never is.
    let inside = format!(
        "document.activeElement === document.body || document.querySelector('{dialog}').contains(document.activeElement) || document.activeElement.outerHTML.slice(0, 160)"
    );
    visit.until("the focus is inside", &format!("document.querySelector('{dialog}').contains(document.activeElement)")).await;
    for key in [Key::Tab; 12].into_iter().chain([Key::ShiftTab; 12]) {
        visit.press(key).await;
        let seen = visit.evaluate(&inside).await;
        assert_eq!(seen, json!(true), "{key:?} leaves the dialog");
    }
    visit.press(Key::Escape).await;
    visit.until("Escape closes it", &format!("!document.querySelector('{dialog}').open")).await;
    visit
        .until("the focus is back", &format!("document.activeElement?.matches('{opener}') || document.activeElement?.outerHTML"))
        .await;
}
