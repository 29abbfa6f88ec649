//! A gateway that lets nobody read without a token.

use serde_json::{Value, json};
use spark_tests::browser::Look;
use spark_tests::wait::until;

use crate::stage::{LIMIT, Stage};

/// The page asks for a token by itself, takes a viewer's, keeps it over a reload, and offers a viewer no command.
pub async fn viewer(stage: &Stage) {
    read_by_token(stage).await;
    let (code, printed) = stage.system.spark(&["token", "create", "page-viewer", "--role", "viewer", "--json"]);
    let made: Value = serde_json::from_str(&printed).unwrap_or(Value::Null);
    let token = made["token"].as_str().unwrap_or_else(|| panic!("spark token create: {code} {printed}"));

    let page = stage.browser.page(Look::DESK).await;
    page.go(&stage.address).await;
    page.until(
        "it asks for a token by itself",
        "document.querySelector('#sign-dialog').matches(':modal') || document.body.dataset.link",
    )
    .await;
    assert_eq!(page.evaluate("document.body.dataset.link").await, json!("denied"));
    for wrong in ["spark_0123456789abcdef0123456789abcdef01234567", "nothing like a token"] {
        page.evaluate("document.querySelector('#sign-error').textContent = ''").await;
        write(&page, "#sign-token", wrong).await;
        page.click("#sign-go").await;
        page.until("a wrong token is refused", "document.querySelector('#sign-error').innerText.trim().length > 5 || document.querySelector('#sign-dialog').outerHTML").await;
    }
    let complaints = page.complaints();
    assert!(complaints.iter().all(|complaint| complaint.contains("401")), "{complaints:#?}");
    page.forgive();
    write(&page, "#sign-token", token).await;
    page.click("#sign-go").await;
    for round in ["signed in", "after a reload"] {
        page.until(&format!("{round}: live"), "document.body.dataset.link === 'live' || document.body.dataset.link").await;
        page.until(
            &format!("{round}: data is there"),
            "document.querySelectorAll('table[data-table=portfolio] tbody tr').length > 2",
        )
        .await;
        page.until(
            &format!("{round}: it says who"),
            "/page-viewer/.test(document.querySelector('#account').innerText) || document.querySelector('#account').innerText",
        )
        .await;
        assert_eq!(page.evaluate("document.querySelector('#sign-dialog').open").await, json!(false), "{round}");
        let offered = page.evaluate("[...document.querySelectorAll('[data-role=operator], [data-role=admin]')].filter((one) => !one.disabled && one.getAttribute('aria-disabled') !== 'true').map((one) => one.outerHTML.slice(0, 120))").await;
        assert_eq!(offered, json!([]), "{round}: a viewer is offered commands");
        if round == "signed in" {
            page.reload().await;
        }
    }
    let wanted = format!("{}/", stage.address);
    let outside: Vec<_> = page.requests().into_iter().filter(|request| !request.url.starts_with(&wanted)).collect();
    assert!(outside.is_empty(), "asked others: {outside:#?}");
    let leaking: Vec<_> = page.requests().into_iter().filter(|request| request.url.contains(token)).collect();
    assert!(leaking.is_empty(), "a token in an address: {leaking:#?}");
    assert_eq!(page.complaints(), Vec::<String>::new(), "the console is not empty");
    page.close().await;
}

async fn write(page: &spark_tests::browser::Page, selector: &str, text: &str) {
    page.click(selector).await;
    page.evaluate(&format!("document.querySelector('{selector}').select()")).await;
    page.write(text).await;
}

/// The configuration says so now, and the gateway reads it when it starts.
async fn read_by_token(stage: &Stage) {
    let run = stage.system.run();
    let path = run["config"].as_str().unwrap();
    let config = std::fs::read_to_string(path).unwrap();
    std::fs::write(path, config.replace("[gateway]\n", "[gateway]\nreading = \"token\"\n")).unwrap();
    stage.system.kill("gateway").await;
    until("nobody reads without a token", LIMIT, async || match stage.system.get("/api/portfolio").await {
        Err(error) if error.contains("401") => Ok(()),
        other => Err(format!("{other:?}").chars().take(300).collect::<String>()),
    })
    .await;
}
