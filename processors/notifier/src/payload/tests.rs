use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// One alert that fires, one that is over.
fn notification() -> Notification {
    let alert = |symbol: &str, firing: bool| NotifiedAlert {
        labels: labels(&[
            ("alertname", "WSStaleness"),
            ("severity", "critical"),
            ("rule", "ws_staleness"),
            ("venue", "btcturk"),
            ("symbol", symbol),
        ]),
        annotations: labels(&[
            ("summary", &format!("no trade of {symbol} for 121 s <limit 120 s>")),
            ("first_action", "restart the feed"),
            ("runbook", "docs/runbooks/ws-staleness.md"),
        ]),
        firing,
        starts_at: at("2026-11-21T09:30:00Z"),
        ends_at: (!firing).then(|| at("2026-11-21T09:40:00.5Z")),
        fingerprint: format!("00000000000000{}", if firing { "01" } else { "02" }),
    };
    Notification {
        receiver: "pager".to_owned(),
        group_key: r#"{}/{severity="critical"}:{alertname="WSStaleness"}"#.to_owned(),
        group_labels: labels(&[("alertname", "WSStaleness"), ("venue", "btcturk")]),
        revision: 3,
        reason: NotifyReason::Changed,
        alerts: vec![alert("BTCTRY", true), alert("ETHTRY", false)],
        truncated: 2,
        at: at("2026-11-21T09:41:00Z"),
    }
}

#[test]
fn a_webhook_gets_what_alertmanager_would_send() {
    let want: Value = serde_json::from_str(
        r#"{
  "version": "4",
  "groupKey": "{}/{severity=\"critical\"}:{alertname=\"WSStaleness\"}",
  "truncatedAlerts": 2,
  "status": "firing",
  "receiver": "pager",
  "groupLabels": {"alertname": "WSStaleness", "venue": "btcturk"},
  "commonLabels": {"alertname": "WSStaleness", "rule": "ws_staleness", "severity": "critical", "venue": "btcturk"},
  "commonAnnotations": {"first_action": "restart the feed", "runbook": "docs/runbooks/ws-staleness.md"},
  "externalURL": "http://spark:4001",
  "alerts": [
    {
      "status": "firing",
      "labels": {"alertname": "WSStaleness", "rule": "ws_staleness", "severity": "critical", "symbol": "BTCTRY", "venue": "btcturk"},
      "annotations": {"first_action": "restart the feed", "runbook": "docs/runbooks/ws-staleness.md",
                      "summary": "no trade of BTCTRY for 121 s <limit 120 s>"},
      "startsAt": "2026-11-21T09:30:00Z", "endsAt": "0001-01-01T00:00:00Z",
      "generatorURL": "http://spark:4001/", "fingerprint": "0000000000000001"
    },
    {
      "status": "resolved",
      "labels": {"alertname": "WSStaleness", "rule": "ws_staleness", "severity": "critical", "symbol": "ETHTRY", "venue": "btcturk"},
      "annotations": {"first_action": "restart the feed", "runbook": "docs/runbooks/ws-staleness.md",
                      "summary": "no trade of ETHTRY for 121 s <limit 120 s>"},
      "startsAt": "2026-11-21T09:30:00Z", "endsAt": "2026-11-21T09:40:00.5Z",
      "generatorURL": "http://spark:4001/", "fingerprint": "0000000000000002"
    }
  ]
}"#,
    )
    .unwrap();
    assert_eq!(webhook(&notification(), "http://spark:4001"), want);
}

#[test]
fn a_slack_message_says_what_where_and_what_to_do_in_the_colour_of_the_severity() {
    let want: Value = serde_json::from_str(
        r##"{
  "text": "[FIRING:1] WSStaleness btcturk",
  "attachments": [
    {
      "color": "#d00000", "title": "critical: WSStaleness", "title_link": "http://spark:4001",
      "text": "no trade of BTCTRY for 121 s &lt;limit 120 s&gt;\nFirst: restart the feed",
      "fallback": "no trade of BTCTRY for 121 s &lt;limit 120 s&gt;",
      "fields": [
        {"title": "symbol", "value": "BTCTRY", "short": true},
        {"title": "venue", "value": "btcturk", "short": true},
        {"title": "Runbook", "value": "docs/runbooks/ws-staleness.md", "short": false}
      ],
      "footer": "Spark", "ts": 1795253400
    },
    {
      "color": "#2eb886", "title": "resolved: WSStaleness", "title_link": "http://spark:4001",
      "text": "no trade of ETHTRY for 121 s &lt;limit 120 s&gt;",
      "fallback": "no trade of ETHTRY for 121 s &lt;limit 120 s&gt;",
      "fields": [
        {"title": "symbol", "value": "ETHTRY", "short": true},
        {"title": "venue", "value": "btcturk", "short": true},
        {"title": "Runbook", "value": "docs/runbooks/ws-staleness.md", "short": false}
      ],
      "footer": "Spark", "ts": 1795254000
    },
    {"color": "#808080", "text": "and 2 more", "title_link": "http://spark:4001"}
  ]
}"##,
    )
    .unwrap();
    assert_eq!(slack(&notification(), "http://spark:4001"), want);
}

#[test]
fn alertmanager_is_told_how_long_to_believe_it_and_what_fires_no_more() {
    let mut before = notification();
    before.alerts[0].fingerprint = "0000000000000003".to_owned();
    before.alerts[0].labels.insert("symbol".to_owned(), "XRPTRY".to_owned());
    let now = at("2026-11-21T09:41:00Z");
    let told = alertmanager(&notification(), Some(&before), "http://spark:4001", now, Duration::from_secs(300));
    let ends: Vec<(&str, &str)> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|alert| (alert["labels"]["symbol"].as_str().unwrap(), alert["endsAt"].as_str().unwrap()))
        .collect();
    assert_eq!(
        ends,
        [("BTCTRY", "2026-11-21T09:46:00Z"), ("ETHTRY", "2026-11-21T09:40:00.5Z"), ("XRPTRY", "2026-11-21T09:41:00Z")]
    );
    let keys: Vec<&String> = told[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["annotations", "endsAt", "generatorURL", "labels", "startsAt"]);
}

#[test]
fn a_line_of_a_file_is_the_webhooks_payload_with_its_revision() {
    let line = line(&notification(), "http://spark:4001");
    let document: Value = serde_json::from_str(&line).unwrap();
    assert!(!line.contains('\n'));
    assert_eq!((&document["revision"], &document["reason"], &document["version"]), (&json!(3), &json!("changed"), &json!("4")));
    assert_eq!(document["at"], json!("2026-11-21T09:41:00Z"));
}
