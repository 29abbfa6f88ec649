//! The reference of the API, as people browse it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use spark_tests::browser::Look;

use crate::stage::Stage;

/// It lists every operation of the OpenAPI document and opens one, without asking anybody else.
pub async fn reference(stage: &Stage) {
    let description = stage.system.json("/api/openapi.json").await.unwrap();
    let paths: BTreeSet<&str> = description["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let page = stage.browser.page(Look::DESK).await;
    page.go(&format!("{}/docs", stage.address)).await;
    let groups = "document.querySelectorAll('.opblock-tag').length > 3 || document.body.innerText.slice(0, 300)";
    page.until("groups of operations are listed", groups).await;
    // Those that are shut hold operations that are not drawn yet.
    page.evaluate("document.querySelectorAll('.opblock-tag[data-is-open=false]').forEach((group) => group.click())").await;
    let shown = "[...new Set([...document.querySelectorAll('.opblock-summary-path')].map((one) => one.dataset.path))].sort()";
    let wanted = Value::from(paths.into_iter().collect::<Vec<_>>()).to_string();
    page.until("every path is listed", &format!("JSON.stringify({shown}) === JSON.stringify({wanted}.sort()) || {shown}")).await;
    page.click(".opblock-summary-path[data-path='/api/portfolio']").await;
    page.until("an operation opens", "/200/.test(document.querySelector('.opblock.is-open .responses-table')?.innerText) || document.querySelector('.opblock.is-open')?.innerText").await;
    assert_eq!(page.complaints(), Vec::<String>::new(), "the console is not empty");
    assert_eq!(page.evaluate("spark_test.refused").await, json!([]), "it tried what its policy refuses");
    let origin = format!("{}/", stage.address);
    let inside = |url: &str| url.starts_with(&origin) || url.starts_with("data:") || url.starts_with("blob:");
    let outside: Vec<_> = page.requests().into_iter().filter(|request| !inside(&request.url)).collect();
    assert!(outside.is_empty(), "asked others than {origin}: {outside:#?}");
    page.close().await;
}
