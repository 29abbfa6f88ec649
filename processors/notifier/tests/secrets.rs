//! No address with a token and no bearer token is in anything that the notifier writes: logs, messages, errors.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test names its failure by panicking")]
#![allow(dead_code, reason = "the support module serves another test file too")]

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use spark_bus_schema::subject::{LEDGER, PARKED};
use spark_notifier::config::{Hidden, Receiver};
use support::{Hook, World, webhook};

const TOKEN: &str = "T0KENxB00BxQ9zz81f";
const BEARER: &str = "bearerKQ77312secret";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Takes connections and cuts them.
fn cutting() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Read::read(&mut stream, &mut [0; 65_536]);
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_in_a_log_a_message_or_an_error() {
    let log = Log::default();
    let written = log.clone();
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || written.clone()).init();
    let (mut away, refuses) = (Hook::start().await, Hook::start().await);
    away.down().await;
    refuses.answers(403, Vec::new(), &format!("no webhook at /services/{TOKEN}"));
    let folder = tempfile::tempdir().unwrap();
    let bearer = folder.path().join("bearer");
    std::fs::write(&bearer, format!("{BEARER}\n")).unwrap();
    let with_bearer =
        Receiver { bearer_file: Some(bearer), ..webhook("refuses", refuses.url(&format!("/services/{TOKEN}?key={TOKEN}"))) };
    let cuts = cutting();
    let receivers = vec![
        webhook("away", away.url(&format!("/services/{TOKEN}"))),
        with_bearer,
        webhook("cuts", Hidden::new(format!("http://user:{TOKEN}@{cuts}/services/{TOKEN}"))),
    ];
    let mut world = World::start(receivers).await;
    world.fires("ExchangeDown", "btcturk").await;
    let outcomes = world.settled(1).await;
    assert_eq!(refuses.wait_for(1).await[0].header("authorization"), format!("Bearer {BEARER}"));
    let deadline = tokio::time::Instant::now() + support::LIMIT;
    for name in ["away", "cuts"] {
        while !world.settled(1).await.iter().any(|outcome| outcome.receiver == name) {
            assert!(tokio::time::Instant::now() < deadline, "{name} is tried");
        }
    }
    assert_eq!(
        outcomes.iter().find(|outcome| outcome.receiver == "refuses").unwrap().detail.as_deref(),
        Some("127.0.0.1 answers 403")
    );
    let mut messages = world.stored(LEDGER, "alerts.>").await;
    messages.extend(world.stored(PARKED, "parked.>").await);
    world.stop_notifier().await;
    let shown = format!("{:?} {}", world.config, serde_json::to_string(&world.config).unwrap());
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("does not take notifications"), "something was logged");
    assert!(messages.len() >= 5, "{}", messages.len());
    for secret in [TOKEN, BEARER] {
        assert!(!shown.contains(secret));
        let line = logged.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "logged: {line:?}");
        for message in &messages {
            assert!(!String::from_utf8_lossy(&message.payload).contains(secret), "{}", message.subject);
        }
    }
}
