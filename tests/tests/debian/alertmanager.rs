//! A real Alertmanager between Spark's notifier and a webhook.

use serde_json::{Value, json};
use spark_nats::server::free_port;
use spark_tests::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::programs::Running;
use crate::{Folder, LIMIT, demo, prepare, quick_rules, root};

const ALERT: &str = "WSStaleness";

#[tokio::test]
async fn alertmanager_receives_groups_and_resolves_what_the_notifier_tells_it() {
    prepare();
    let (listener, port) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), free_port().unwrap());
    let folder = Folder::new("alertmanager");
    let alertmanager = start(&folder, port, &format!("http://{}/", listener.local_addr().unwrap()));
    let mut told = webhook(listener);
    let notifier = format!(
        "[notifier]\ngroup_wait = \"1s\"\ngroup_interval = \"1s\"\n\
         [[notifier.receiver]]\nname = \"am\"\ntype = \"alertmanager\"\nurl = \"http://127.0.0.1:{port}\"\n"
    );
    let system = demo(&format!("{}{notifier}", quick_rules("alertmanager"))).await;

    system.fault(json!({"exchange": "btcturk", "kind": "freeze"})).await;
    until("Alertmanager has the alert in its group", LIMIT, async || {
        let groups = alertmanager.get("/api/v2/alerts/groups", &[]).await?;
        let groups = groups.as_array().cloned().unwrap_or_default();
        let group = groups.iter().find(|group| group["labels"]["alertname"] == ALERT && group["receiver"]["name"] == "operators");
        let group = group.ok_or_else(|| format!("no group of {ALERT}: {groups:?}"))?;
        let alerts = group["alerts"].as_array().cloned().unwrap_or_default();
        // By a person's eyes: what it is, how bad, and what to do.
        let whole = alerts.iter().all(|alert| {
            let text = |key: &str| alert["annotations"][key].as_str().is_some_and(|text| !text.is_empty());
            alert["labels"]["severity"] == "warning" && text("summary") && text("first_action") && text("permanent_fix")
        });
        if !alerts.is_empty() && whole { Ok(()) } else { Err(group.to_string()) }
    })
    .await;
    let firing = next(&mut told, "firing").await;
    assert_eq!(firing["groupLabels"]["alertname"], ALERT, "{firing}");

    system.clear_faults().await;
    let resolved = next(&mut told, "resolved").await;
    assert_eq!(resolved["groupKey"], firing["groupKey"], "{resolved}");
    until("nothing of it is left", LIMIT, async || {
        let alerts = alertmanager.get("/api/v2/alerts", &[("filter", "alertname=WSStaleness")]).await?;
        if alerts == json!([]) { Ok(()) } else { Err(alerts.to_string()) }
    })
    .await;
}

/// With the shipped routes, quicker, and with somebody to tell.
fn start(folder: &Folder, port: u16, webhook: &str) -> Running {
    let mut config = std::fs::read_to_string(root().join("dashboards/alertmanager/alertmanager.yml")).unwrap();
    for (from, to) in [
        ("group_wait: 5s", "group_wait: 1s".to_owned()),
        ("group_interval: 1m", "group_interval: 1s".to_owned()),
        ("- name: operators", format!("- name: operators\n    webhook_configs: [{{ url: {webhook:?}, send_resolved: true }}]")),
    ] {
        assert!(config.contains(from), "alertmanager.yml has no {from:?}");
        config = config.replacen(from, &to, 1);
    }
    let config = folder.write("alertmanager.yml", &config);
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.path={}", folder.0.join("store").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        // No cluster.
        "--cluster.listen-address=".to_owned(),
    ];
    Running::start("prometheus-alertmanager", &folder.0, port, &arguments)
}

/// Takes every POST and hands its body over.
fn webhook(listener: TcpListener) -> mpsc::UnboundedReceiver<Value> {
    let (sender, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            let body = loop {
                let mut part = [0; 4096];
                let read = socket.read(&mut part).await.unwrap_or(0);
                bytes.extend_from_slice(&part[..read]);
                let text = String::from_utf8_lossy(&bytes);
                let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
                if body.is_some() || read == 0 {
                    break body;
                }
            };
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            if let Some(body) = body {
                // The test may have heard enough.
                let _ = sender.send(body);
            }
        }
    });
    told
}

async fn next(told: &mut mpsc::UnboundedReceiver<Value>, status: &str) -> Value {
    let mut last = Value::Null;
    loop {
        let body = timeout(LIMIT, told.recv()).await;
        let body = body.unwrap_or_else(|_| panic!("nothing {status} within {LIMIT:?}; last told: {last}")).unwrap();
        if body["status"] == status && body["groupLabels"]["alertname"] == ALERT {
            return body;
        }
        last = body;
    }
}
