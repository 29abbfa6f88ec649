//! Pictures for the documents, of the system that the test runs on.

use std::path::Path;

use spark_tests::browser::Look;

use crate::stage::{Stage, Visit};

/// Writes them into a folder.
pub async fn take(stage: &Stage, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let visit = stage.visit(Look::DESK).await;
    // In a picture there is no scroll bar that room would have to be kept for.
    visit.evaluate("document.documentElement.style.scrollbarGutter = 'auto'").await;
    // Charts of a minute say little.
    visit.click("#range [data-value='15m']").await;
    for (name, look) in
        [("overview-dark.png", Look::DESK), ("overview-light.png", Look::DESK.light()), ("phone.png", Look::PHONE)]
    {
        visit.look(look).await;
        section_of(&visit, "portfolio").await;
        visit.evaluate("scrollTo({ top: 0, behavior: 'instant' })").await;
        drawn(&visit).await;
        visit.picture(&folder.join(name)).await;
    }
    visit.look(Look::DESK).await;
    for (name, section) in [("rollout.png", "rollout"), ("backtest.png", "backtests")] {
        section_of(&visit, section).await;
        visit.picture(&folder.join(name)).await;
    }
    stage.fault(&["freeze", "exchange=binance", "symbol=ETHUSDT"]);
    visit.until("the alert is there", "/WSStaleness/.test(document.querySelector('#alerts').innerText)").await;
    section_of(&visit, "alerts").await;
    visit.picture(&folder.join("alert.png")).await;
    stage.system.clear_faults().await;
    visit.end().await;
    let page = stage.browser.page(Look::DESK).await;
    page.go(&format!("{}/docs", stage.address)).await;
    let groups = "document.querySelectorAll('.opblock-tag').length > 3 || document.body.innerText.slice(0, 300)";
    page.until("groups of operations are listed", groups).await;
    page.evaluate("document.querySelector('.opblock-tag').click()").await;
    page.until("operations are listed", "document.querySelectorAll('.opblock-summary-path').length > 2").await;
    page.evaluate("document.querySelector('.opblock-tag').scrollIntoView({ block: 'start', behavior: 'instant' })").await;
    page.picture(&folder.join("docs.png")).await;
    page.close().await;
}

/// Scrolls a section to the top.
async fn section_of(visit: &Visit<'_>, name: &str) {
    let to = format!(
        "document.querySelector('section[data-section={name}]').scrollIntoView({{ block: 'start', behavior: 'instant' }})"
    );
    visit.evaluate(&to).await;
    drawn(visit).await;
}

/// Waits until what was asked for is on the screen.
async fn drawn(visit: &Visit<'_>) {
    visit.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 200)))").await;
}
