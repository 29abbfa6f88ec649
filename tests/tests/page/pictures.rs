//! Pictures for the documents, of the system that the test runs on.

use std::path::Path;

use spark_tests::browser::Look;

use crate::stage::Stage;

/// Writes them into a folder.
pub async fn take(stage: &Stage, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let visit = stage.visit(Look::DESK).await;
    visit.picture(&folder.join("overview-dark.png")).await;
    visit.look(Look::DESK.light()).await;
    visit.picture(&folder.join("overview-light.png")).await;
    visit.look(Look::PHONE).await;
    visit.picture(&folder.join("phone.png")).await;
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
    page.picture(&folder.join("docs.png")).await;
    page.close().await;
}

/// Scrolls a section to the top.
async fn section_of(visit: &crate::stage::Visit<'_>, name: &str) {
    visit
        .evaluate(&format!(
            "document.querySelector('section[data-section={name}]').scrollIntoView({{ block: 'start', behavior: 'instant' }})"
        ))
        .await;
    visit.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))").await;
}
