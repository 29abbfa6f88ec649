//! Commands from the page: asked about first, and then done.

use serde_json::{Value, json};
use spark_bus_schema::control::KillSwitch;
use spark_bus_schema::subject;
use spark_nats::Follower;
use spark_tests::browser::{Key, Look};
use spark_tests::wait::until;

use crate::stage::{LIMIT, Stage, Visit};

/// The kill switch wants a reason and a token, stops trading, says so everywhere, and is switched off again.
pub async fn kill_switch(stage: &Stage) {
    let visit = stage.visit(Look::DESK).await;
    let mut ledger = stage.ledger("operator-page-kill", subject::KILL_SWITCH);
    until("the ledger is followed", LIMIT, async || if ledger.is_caught_up() { Ok(()) } else { Err("not yet") }).await;
    visit.click("#kill").await;
    visit.until("it asks first", "document.querySelector('#kill-dialog').matches(':modal')").await;
    refused(&visit, stage, "without a reason", "", None).await;
    refused(&visit, stage, "without a token", "the page's test", None).await;
    refused(&visit, stage, "with a wrong token", "", Some("spark_0123456789abcdef0123456789abcdef01234567")).await;
    // Those were refused by the server, and browsers tell the console of it.
    let complaints = visit.complaints();
    assert!(complaints.iter().all(|complaint| complaint.contains("401")), "{complaints:#?}");
    visit.asked_only_the_gateway();
    visit.forgive();
    fill(&visit, "#kill-token", &stage.token).await;
    visit.click("#kill-go").await;
    visit
        .until(
            "the dialog closes",
            "!document.querySelector('#kill-dialog').open || document.querySelector('#kill-error').innerText",
        )
        .await;
    let told = switched(&mut ledger).await;
    assert!(told.on && told.cancel_open && told.reason == "the page's test", "{told:?}");
    assert_eq!(stage.system.json("/api/exec/kill-switch").await.unwrap()["on"], true);
    let stopped = "(document.body.classList.contains('killed') && /kill switch is on/i.test(document.querySelector('#stopped').innerText)) || document.querySelector('#stopped').outerHTML";
    visit.until("the page says that trading is stopped", stopped).await;
    visit.until("it is among the recent actions", "/the page's test/.test(document.querySelector('#actions').innerText) || document.querySelector('#actions').innerText").await;
    off(&visit, stage, &mut ledger).await;
    visit.end().await;
}

/// What was typed does not do; nothing happens to the switch.
async fn refused(visit: &Visit<'_>, stage: &Stage, what: &str, reason: &str, token: Option<&str>) {
    visit.evaluate("document.querySelector('#kill-error').textContent = ''").await;
    if !reason.is_empty() {
        fill(visit, "#kill-reason", reason).await;
    }
    if let Some(token) = token {
        fill(visit, "#kill-token", token).await;
    }
    visit.click("#kill-go").await;
    visit.until(&format!("{what}: it says what is missing"), "document.querySelector('#kill-error').innerText.trim().length > 5 || document.querySelector('#kill-dialog').outerHTML.slice(0, 400)").await;
    assert_eq!(visit.evaluate("document.querySelector('#kill-dialog').open").await, json!(true), "{what}");
    assert_eq!(stage.system.json("/api/exec/kill-switch").await.unwrap()["on"], false, "{what}");
}

/// Off again; the token is known by now.
async fn off(visit: &Visit<'_>, stage: &Stage, ledger: &mut Follower) {
    visit.click("#kill").await;
    visit.until("it asks again", "document.querySelector('#kill-dialog').matches(':modal')").await;
    assert_eq!(
        visit.evaluate("document.querySelector('#kill-token').checkVisibility()").await,
        json!(false),
        "the token is asked for once"
    );
    fill(visit, "#kill-reason", "all well again").await;
    visit.press(Key::Enter).await;
    let told = switched(ledger).await;
    assert!(!told.on && told.reason == "all well again", "{told:?}");
    visit.until("the page says that orders may pass", "(!document.body.classList.contains('killed') && /orders may pass/i.test(document.querySelector('#guard').innerText)) || document.querySelector('#guard').innerText").await;
    assert_eq!(stage.system.json("/api/exec/kill-switch").await.unwrap()["on"], false);
}

async fn switched(ledger: &mut Follower) -> KillSwitch {
    let next = tokio::time::timeout(LIMIT, ledger.next()).await;
    let batch = next.unwrap_or_else(|_| panic!("no word of the kill switch in the LEDGER within {LIMIT:?}"));
    batch.expect("a follower does not end by itself")[0].decode().unwrap()
}

/// Clicks into a field and replaces what is in it.
async fn fill(visit: &Visit<'_>, selector: &str, text: &str) {
    visit.click(selector).await;
    visit.evaluate(&format!("document.querySelector({}).select()", Value::from(selector))).await;
    visit.write(text).await;
}

/// An alert is silenced for a while, the page and the CLI say so, and the silence is ended.
pub async fn silence(stage: &Stage) {
    let visit = stage.visit(Look::DESK).await;
    stage.fault(&["freeze", "exchange=binance", "symbol=SOLUSDT"]);
    let alert = "[...document.querySelectorAll('#alerts .alert')].find((one) => /WSStaleness/.test(one.innerText) && one.innerText.includes('SOLUSDT'))";
    visit.until("the alert is there", &format!("Boolean({alert}) || document.querySelector('#alerts').innerText")).await;
    let key = visit.evaluate(&format!("{alert}.dataset.key")).await;
    visit.click(&format!("#alerts .alert[data-key={key}] button[data-silence]")).await;
    visit.until("it asks first", "document.querySelector('#silence-dialog').matches(':modal')").await;
    let matchers = visit.text("#silence-matchers").await;
    assert!(matchers.contains("WSStaleness") && matchers.contains("SOLUSDT"), "which alerts it is about: {matchers}");
    fill(&visit, "#silence-reason", "the page's test").await;
    fill(&visit, "#silence-by", "a tester").await;
    fill(&visit, "#silence-token", &stage.token).await;
    visit.click("#silence-go").await;
    visit
        .until(
            "the dialog closes",
            "!document.querySelector('#silence-dialog').open || document.querySelector('#silence-error').innerText",
        )
        .await;
    visit
        .until(
            "the silence is listed",
            "document.querySelectorAll('#silences li[data-id]').length === 1 || document.querySelector('#silences')?.outerHTML",
        )
        .await;
    visit.until("the alert says it", &format!("/silenced/i.test({alert}?.innerText) || {alert}?.innerText")).await;
    let (code, listed) = stage.system.spark(&["silence", "ls"]);
    assert!(code == 0 && listed.contains("the page's test") && listed.contains("SOLUSDT"), "spark silence ls: {listed}");
    visit.click("#silences button[data-expire]").await;
    visit.until("it asks first", "document.querySelector('#ask-dialog').matches(':modal')").await;
    visit.click("#ask-go").await;
    visit
        .until(
            "the silence is gone",
            "document.querySelectorAll('#silences li[data-id]').length === 0 || document.querySelector('#silences').outerHTML",
        )
        .await;
    stage.system.clear_faults().await;
    visit.end().await;
}
