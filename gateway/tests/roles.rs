//! Who may do what: every route of the table, with every kind of token, over real sockets.
#![allow(clippy::unwrap_used, reason = "tests may unwrap; clippy sees that only inside test functions")]

mod common;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use common::{Answer, Gateway, bounded, gateway, roomy};
use secrecy::{ExposeSecret, SecretString};
use spark_gateway::auth::{Role, tokens};
use spark_gateway::http::access::Access;
use spark_gateway::http::table;
use spark_gateway::{AdminToken, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

const ADMIN: &str = "0123456789abcdef0123456789abcdef";
const WRONG: &str = "spark_0000000000000000000000000000000000000000";

struct Setting {
    gateway: Gateway,
    file: PathBuf,
    viewer: String,
    operator: String,
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.file.parent().unwrap());
    }
}

async fn setting(name: &str, change: impl FnOnce(&mut Config)) -> Setting {
    let file = std::env::temp_dir().join(format!("spark-roles-{}-{name}", std::process::id())).join("tokens.json");
    let make =
        |name: &str, role| tokens::create(&file, name, role, None, spark_nats::now()).unwrap().1.expose_secret().to_owned();
    let (viewer, operator) = (make("vera", Role::Viewer), make("olga", Role::Operator));
    let mut config = Config { tokens_file: Some(file.clone()), ..roomy() };
    change(&mut config);
    let gateway = gateway(config, Some(AdminToken::new(&SecretString::from(ADMIN), "test").unwrap())).await;
    Setting { gateway, file, viewer, operator }
}

/// A request from an address of this machine that is its own: what others did from theirs does not count.
async fn ask(to: SocketAddr, from: u8, line: &str, token: Option<&str>, more: &str, body: &str) -> Answer {
    bounded(line, async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 1, from], 0))).unwrap();
        let mut socket = socket.connect(to).await.unwrap();
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let length = body.len();
        let text =
            format!("{line} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {length}\r\n{token}{more}\r\n{body}");
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let mut chunk = [0; 4_096];
        // A live stream does not end: its head is enough.
        loop {
            let read = socket.read(&mut chunk).await.unwrap();
            answer.extend_from_slice(&chunk[..read]);
            let text = String::from_utf8_lossy(&answer);
            if read == 0 || (text.contains("text/event-stream") && text.contains("\r\n\r\n")) {
                break;
            }
        }
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    })
    .await
}

fn slug(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    body["type"].as_str().unwrap_or_default().trim_start_matches("urn:spark:problem:").to_owned()
}

/// Whether the roles let a request in: what it then comes to is another matter.
fn let_in(answer: &Answer) -> bool {
    !(answer.status == 401 || (answer.status == 403 && ["role", "no-token", "unauthorized"].contains(&slug(answer).as_str())))
}

/// Every route × no token, a wrong one, and one of each role; with reading open and by token.
#[tokio::test]
async fn each_route_lets_in_whom_the_table_says_and_nobody_else() {
    for (name, reading) in [("open", spark_gateway::Reading::Open), ("token", spark_gateway::Reading::Token)] {
        let setting = setting(name, |config| config.reading = Some(reading)).await;
        let open = reading == spark_gateway::Reading::Open;
        let mut walked = 0;
        for (number, (method, path, access)) in table().into_iter().enumerate() {
            let to = setting.gateway.address;
            // What a person would send is not needed: roles come before everything else.
            let line = format!("{method} {}", path.replace("{id}", "x").replace("{service}", "feed").replace("{name}", "x"));
            let from = u8::try_from(number + 2).unwrap();
            let needed = access.role(open);
            let anybody = needed.is_none();
            let expected = [
                ("no token", None, anybody),
                // Where nobody looks at tokens, a wrong one does no harm.
                ("a wrong token", Some(WRONG), access == Access::Open),
                ("viewer", Some(setting.viewer.as_str()), needed <= Some(Role::Viewer)),
                ("operator", Some(setting.operator.as_str()), needed <= Some(Role::Operator)),
                ("admin", Some(ADMIN), true),
            ];
            for (who, token, want) in expected {
                // Alertmanager's clients take a text instead of a document.
                let answer = ask(to, from, &line, token, "", "{}").await;
                let is_in =
                    if path.starts_with("/api/v2/") { answer.status != 401 && answer.status != 403 } else { let_in(&answer) };
                assert_eq!(is_in, want, "{line} with {who}, reading {name}: {} {}", answer.status, answer.body);
                assert!(!answer.body.contains(ADMIN) && !answer.body.contains(WRONG), "{line}: a token is told back");
                walked += 1;
            }
        }
        assert_eq!(walked, 5 * table().len());
    }
}

/// Whatever a viewer sends that is not refused for its role, no command leaves the gateway.
#[tokio::test]
async fn a_viewer_can_change_nothing() {
    let mut setting = setting("viewer", |_| ()).await;
    setting.gateway.app.view_mut().set_connected(true);
    setting.gateway.app.view_mut().trading.set_complete();
    let (to, viewer) = (setting.gateway.address, setting.viewer.clone());
    for (method, path, access) in table().into_iter().filter(|(method, ..)| method != axum::http::Method::GET) {
        let line = format!("{method} {}", path.replace("{id}", "x").replace("{service}", "feed").replace("{name}", "x"));
        let answer = ask(to, 2, &line, Some(&viewer), "", "{}").await;
        match access {
            Access::Role(role) => {
                assert!(role > Role::Viewer && answer.status == 403, "{line}: {}", answer.status);
            }
            // Questions with a body.
            _ => assert!(["/api/actions", "/api/audit/list", "/api/ml/score"].contains(&path), "{line}"),
        }
    }
    let changes = [
        (r#"{"action":"/risk/kill_switch","params":{"on":true},"reason":"r"}"#, "operator"),
        (r#"{"action":"/guardrail/restart","params":{"service":"feed"},"reason":"r"}"#, "operator"),
        (r#"{"action":"/risk/set_limits","params":{"limits":{}},"reason":"r"}"#, "admin"),
        (r#"{"action":"/guardrail/set_thresholds","params":{"reset":true},"reason":"r","dryRun":true}"#, "admin"),
    ];
    for (body, role) in changes {
        let answer = ask(to, 2, "POST /api/actions", Some(&viewer), "", body).await;
        assert_eq!((answer.status, answer.json()["role"].as_str()), (403, Some(role)), "{body}: {}", answer.body);
        let nobody = ask(to, 2, "POST /api/actions", None, "", body).await;
        assert_eq!(nobody.status, 401, "{body}");
    }
    // An operator's own limits: what protects is an administrator's.
    for (line, body) in [
        ("POST /api/exec/limits", r#"{"limits":{},"reason":"r","confirm":true}"#),
        ("POST /api/exec/resume", r#"{"scope":"ledger","reason":"r","confirm":true}"#),
        ("POST /api/rollout", r#"{"verb":"promote","reason":"r","confirm":true}"#),
        ("POST /api/rollout", r#"{"verb":"start","reason":"r","confirm":true}"#),
        ("POST /api/rollout", r#"{"verb":"resume","reason":"r","confirm":true}"#),
        ("POST /api/actions", changes[2].0),
        ("POST /api/actions", changes[3].0),
    ] {
        let answer = ask(to, 2, line, Some(&setting.operator), "", body).await;
        assert_eq!((answer.status, answer.json()["role"].as_str()), (403, Some("admin")), "{line} {body}: {}", answer.body);
    }
    assert!(setting.gateway.commands.try_recv().is_err(), "a command has left the gateway");
}

#[tokio::test]
async fn a_revoked_or_ended_token_is_refused_at_the_next_request_and_a_new_one_is_known() {
    let setting = setting("revoked", |config| config.reading = Some(spark_gateway::Reading::Token)).await;
    let to = setting.gateway.address;
    let line = "GET /api/portfolio";
    assert_eq!(ask(to, 2, line, Some(&setting.viewer), "", "").await.status, 200);
    tokens::revoke(&setting.file, "vera").unwrap();
    assert_eq!(ask(to, 2, line, Some(&setting.viewer), "", "").await.status, 401);
    let (_, fresh) = tokens::create(&setting.file, "vera", Role::Viewer, None, spark_nats::now()).unwrap();
    assert_eq!(ask(to, 2, line, Some(fresh.expose_secret()), "", "").await.status, 200);
    let hour = Duration::from_secs(3_600);
    let (_, old) = tokens::create(&setting.file, "old", Role::Admin, Some(hour), spark_nats::now() - 2 * hour).unwrap();
    assert_eq!(ask(to, 2, line, Some(old.expose_secret()), "", "").await.status, 401);
    std::fs::write(&setting.file, "not a list").unwrap();
    assert_eq!(ask(to, 3, line, Some(&setting.operator), "", "").await.status, 401, "a damaged file lets nobody in");
    assert_eq!(ask(to, 3, line, Some(ADMIN), "", "").await.status, 200, "the first administrator's is kept elsewhere");
}

/// Many wrong ones at once: most are not even looked at, and others are served meanwhile, also from the same address once the
/// wrong ones were answered.
#[tokio::test]
async fn wrong_tokens_cost_time_and_only_whoever_sends_them() {
    let setting = setting("slow", |_| ()).await;
    let to = setting.gateway.address;
    let wrong = (0..40).map(|number| async move {
        let token = format!("spark_{number:040}");
        ask(to, 9, "GET /api/portfolio", Some(&token), "", "").await
    });
    let (answers, other) =
        tokio::join!(futures_util::future::join_all(wrong), ask(to, 10, "GET /api/portfolio", Some(&setting.viewer), "", ""));
    assert_eq!(other.status, 200);
    let of = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!(of(401) + of(429), 40);
    assert!(of(429) > 0 && answers.iter().all(|answer| answer.status != 429 || answer.header("retry-after").is_some()));
    assert!(answers.iter().filter(|answer| answer.status == 429).all(|answer| slug(answer) == "wrong-tokens"));
    assert_eq!(ask(to, 9, "GET /api/portfolio", Some(&setting.viewer), "", "").await.status, 200);
}

#[tokio::test]
async fn whoami_says_what_a_token_is_worth() {
    let setting = setting("whoami", |config| config.listen = ([0, 0, 0, 0], 0).into()).await;
    let to = setting.gateway.address;
    let me = async |token: Option<&str>| ask(to, 2, "GET /api/whoami", token, "", "").await.json();
    let nobody = me(None).await;
    assert_eq!((nobody["role"].as_str(), nobody["reading"].as_str()), (None, Some("token")), "not on loopback");
    let vera = me(Some(&setting.viewer)).await;
    assert_eq!((vera["name"].as_str(), vera["role"].as_str()), (Some("vera"), Some("viewer")));
    assert_eq!(me(Some(ADMIN)).await["role"], "admin");
    assert_eq!(ask(to, 2, "GET /api/whoami", Some(WRONG), "", "").await.status, 401);
}

/// The audit has the name that the token was made for; a header can add for whom, and cannot take it away.
#[tokio::test]
async fn a_command_carries_the_name_of_its_token() {
    let mut setting = setting("actor", |_| ()).await;
    setting.gateway.app.view_mut().set_connected(true);
    let to = setting.gateway.address;
    let operator = setting.operator.clone();
    let body = r#"{"on":true,"reason":"test"}"#;
    let from: IpAddr = [127, 0, 1, 2].into();
    assert!(from.is_loopback());
    for (token, header, want) in [
        (operator.as_str(), "", "olga"),
        (operator.as_str(), "X-Spark-Actor: desk\r\n", "olga/desk"),
        (operator.as_str(), "X-Spark-Actor: olga\r\n", "olga"),
        (ADMIN, "", "operator"),
        (ADMIN, "X-Spark-Actor: ayse\r\n", "ayse"),
    ] {
        let (answer, actor) = tokio::join!(ask(to, 2, "POST /api/exec/kill-switch", Some(token), header, body), async {
            let sent = setting.gateway.commands.recv().await.unwrap();
            let spark_gateway::app::Outgoing::KillSwitch(command) = &sent.command else { panic!("{:?}", sent.command) };
            let actor = command.actor.clone();
            sent.done.send(Ok(1)).unwrap();
            actor
        });
        assert_eq!((answer.status, actor.as_str()), (200, want), "{}", answer.body);
    }
}
