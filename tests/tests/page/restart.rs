//! The gateway goes away and comes back under an open page.

use spark_tests::browser::Look;
use spark_tests::system::signal;

use crate::stage::Stage;

/// The supervisor, held still so that nothing is started again; let go also when the test fails.
struct Held(u32);

impl Held {
    fn hold(pid: u32) -> Self {
        signal(pid, "STOP");
        Self(pid)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

/// Age of the picture in the words of the page, s.
const AGE: &str = "Number(/lost\\s+(\\d+) s ago/.exec(document.querySelector('#link').innerText)?.[1] ?? -1)";

/// Killed: the page says that it is away and how old the picture is, and greys it. Back: it goes on, without a reload.
pub async fn recovers(stage: &Stage) {
    let visit = stage.visit(Look::DESK).await;
    visit.evaluate("window.same_document = true").await;
    let shown = visit.text("table[data-table=portfolio] tbody").await;
    visit.behaved().await;
    let gateway = stage.system.pid("gateway").await;
    let supervisor = u32::try_from(stage.system.run()["pid"].as_u64().unwrap()).unwrap();
    let held = Held::hold(supervisor);
    signal(gateway, "KILL");
    visit
        .until("it says that the connection is lost", "document.body.dataset.link === 'lost' || document.body.dataset.link")
        .await;
    visit.until("the picture has an age", &format!("{AGE} >= 1 || document.querySelector('#link').innerText")).await;
    visit.until("the age grows", &format!("{AGE} >= 3 || document.querySelector('#link').innerText")).await;
    let stale = "[...document.querySelectorAll('section[data-section]')].filter((one) => !['stale', 'empty'].includes(one.dataset.state)).map((one) => `${one.id} is ${one.dataset.state}`)";
    visit.until("every section is marked as old", &format!("{stale}.length === 0 || {stale}.join(', ')")).await;
    let grey = "(() => { const one = document.querySelector('#b-prices'); const style = getComputedStyle(one);
        return Number(style.opacity) < 0.95 || style.filter !== 'none' || `opacity ${style.opacity}, filter ${style.filter}`; })()";
    visit.until("what is old is greyed", grey).await;
    let kept = visit.text("table[data-table=portfolio] tbody").await;
    assert_eq!(kept.lines().count(), shown.lines().count(), "the last picture stays");
    let complaints = visit.complaints();
    let foreign: Vec<_> = complaints.iter().filter(|complaint| !complaint.contains("net::ERR_")).collect();
    assert!(foreign.is_empty(), "beside the network's errors: {foreign:#?}");
    drop(held);
    visit
        .until_within(
            crate::stage::LIMIT,
            "it is live again",
            "document.body.dataset.link === 'live' || document.body.dataset.link",
        )
        .await;
    visit.asked_only_the_gateway();
    visit.forgive();
    visit.evaluate("window.before = document.querySelector('table[data-table=prices] tbody').innerText").await;
    visit
        .until("prices move again", "document.querySelector('table[data-table=prices] tbody').innerText !== before || before")
        .await;
    let fresh = "[...document.querySelectorAll('section[data-section]')].filter((one) => ['stale', 'loading'].includes(one.dataset.state)).map((one) => `${one.id} is ${one.dataset.state}`)";
    visit.until("no section is old any more", &format!("{fresh}.length === 0 || {fresh}.join(', ')")).await;
    assert_eq!(visit.evaluate("window.same_document").await, true, "the page was loaded again");
    let links = visit.evaluate("spark_test.links.map(({ link }) => link).join(' ')").await;
    println!("  the link was: {}", links.as_str().unwrap_or_default());
    visit.end().await;
}
