//! The reference of the API, as people browse it.

use spark_tests::browser::Look;

use crate::stage::Stage;

/// It lists every operation of the OpenAPI document, without asking anybody else.
pub async fn reference(stage: &Stage) {
    let description = stage.system.json("/api/openapi.json").await.unwrap();
    let paths: Vec<&String> = description["paths"].as_object().unwrap().keys().collect();
    let page = stage.browser.page(Look::DESK).await;
    page.go(&format!("{}/docs", stage.address)).await;
    for path in paths {
        let shown = format!(
            "document.body.textContent.includes({}) || document.body.textContent.slice(0, 300)",
            serde_json::Value::from(path.as_str())
        );
        page.until(&format!("/docs has {path}"), &shown).await;
    }
    assert_eq!(page.complaints(), Vec::<String>::new(), "the console is not empty");
    let outside: Vec<_> = page.requests().into_iter().filter(|request| !request.url.starts_with(&stage.address)).collect();
    assert!(outside.is_empty(), "asked others: {outside:#?}");
    page.close().await;
}
