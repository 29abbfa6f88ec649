//! Alertmanager's own tool against the gateway.

use serde_json::{Value, json};
use spark_tests::system::System;
use spark_tests::wait::until;

use crate::programs::{printed, run};
use crate::{Folder, LIMIT, demo, quick_rules};

/// The tool with its configuration: the gateway, and the operator's token.
struct Tool {
    address: String,
    http: String,
    _folder: Folder,
}

impl Tool {
    fn of(system: &System) -> Self {
        let folder = Folder::new("amtool");
        let token = system.data().join("keys/admin.token");
        let text = format!("authorization:\n  type: Bearer\n  credentials_file: {}\n", token.display());
        let http = folder.write("http.yml", &text).display().to_string();
        Self { address: system.address(), http, _folder: folder }
    }

    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let base = ["--alertmanager.url", &self.address, "--http.config.file", &self.http];
        let output = run("amtool", &base.into_iter().chain(arguments.iter().copied()).collect::<Vec<_>>(), "");
        if output.status.success() { Ok(String::from_utf8_lossy(&output.stdout).into_owned()) } else { Err(printed(&output)) }
    }

    fn json(&self, arguments: &[&str]) -> Result<Vec<Value>, String> {
        let text = self.run(&[&["--output", "json"], arguments].concat())?;
        serde_json::from_str(&text).map_err(|error| format!("{arguments:?}: {error}: {text}"))
    }
}

#[tokio::test]
async fn amtool_lists_alerts_and_makes_shows_and_ends_a_silence_at_the_gateway() {
    let system = demo(&quick_rules("amtool")).await;
    let tool = Tool::of(&system);
    system.fault(json!({"exchange": "btcturk", "kind": "freeze"})).await;
    until("the alert is listed", LIMIT, async || {
        let alerts = tool.run(&["alert", "query"])?;
        if alerts.contains("WSStaleness") { Ok(()) } else { Err(alerts) }
    })
    .await;
    let alerts = tool.json(&["alert", "query", "alertname=WSStaleness"]).unwrap();
    assert!(!alerts.is_empty() && alerts.iter().all(|alert| alert["labels"]["severity"] == "warning"), "{alerts:?}");
    let extended = tool.run(&["--output", "extended", "alert", "query"]).unwrap();
    assert!(extended.contains("first_action=") && extended.contains("permanent_fix="), "{extended}");
    assert_eq!(tool.json(&["alert", "query", "alertname=NoSuchAlert"]).unwrap(), Vec::<Value>::new());

    let add = ["silence", "add", "--author", "ayse", "--comment", "maintenance", "--duration", "1h", "alertname=WSStaleness"];
    let id = tool.run(&add).unwrap().trim().to_owned();
    let silences = tool.json(&["silence", "query", "alertname=WSStaleness"]).unwrap();
    let listed: Vec<&Value> = silences.iter().filter(|silence| silence["id"] == id.as_str()).collect();
    assert!(listed.len() == 1 && listed[0]["createdBy"] == "ayse" && listed[0]["comment"] == "maintenance", "{id}: {silences:?}");
    until("the alert counts as silenced", LIMIT, async || {
        let silenced = tool.json(&["alert", "query", "--silenced", "alertname=WSStaleness"])?;
        let left = tool.json(&["alert", "query", "alertname=WSStaleness"])?;
        if !silenced.is_empty() && left.is_empty() { Ok(()) } else { Err(format!("silenced: {silenced:?}; not: {left:?}")) }
    })
    .await;

    tool.run(&["silence", "expire", &id]).unwrap();
    until("the alert is listed again", LIMIT, async || {
        let silences = tool.json(&["silence", "query"])?;
        let alerts = tool.json(&["alert", "query", "alertname=WSStaleness"])?;
        if silences.is_empty() && !alerts.is_empty() { Ok(()) } else { Err(format!("{silences:?}; {alerts:?}")) }
    })
    .await;

    let nobody = run("amtool", &[&["--alertmanager.url", &tool.address], &add[..]].concat(), "");
    assert!(!nobody.status.success(), "a silence without the operator's token: {}", printed(&nobody));
}
