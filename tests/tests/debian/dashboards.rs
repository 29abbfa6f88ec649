//! The queries of the shipped dashboards, with every variable at its widest.

use serde_json::Value;

use crate::root;

/// (dashboard, panel, query) for each target.
pub fn queries() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for name in ["spark-portfolio", "spark-bus"] {
        let path = root().join(format!("dashboards/grafana/dashboards/{name}.json"));
        let dashboard: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = substituted(target["expr"].as_str().unwrap());
                found.push((name.to_owned(), panel["title"].as_str().unwrap().to_owned(), query));
            }
        }
    }
    assert!(found.len() > 20, "only {} queries", found.len());
    found
}

fn substituted(query: &str) -> String {
    let mut query = query.replace("${scope:raw}", "job=\"spark\"").replace("$__rate_interval", "30s");
    for name in ["$environment", "$env", "$exchange", "$service", "$stream"] {
        query = query.replace(name, ".+");
    }
    assert!(!query.contains('$'), "a variable that this test does not know: {query}");
    query
}
