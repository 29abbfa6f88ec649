//! A real broker, the notifier on it, and receivers on real sockets.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use spark_bus_schema::alerts::{Alert, AlertState, Severity};
use spark_bus_schema::notify::{Delivery as Outcome, DeliveryOutcome, Notification};
use spark_bus_schema::subject::{self, LEDGER};
use spark_nats::testing::TestBroker;
use spark_nats::{Bus, Delivery, Follower, Meta, Start, now};
use spark_notifier::config::{Config, Hidden, Receiver};
use spark_notifier::{Error, run};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Everything is bounded by this.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Got {
    pub at: Instant,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// `alertname status` of the first alert.
    pub fn words(&self) -> String {
        let alert = &self.body["alerts"][0];
        format!("{} {}", alert["labels"]["alertname"].as_str().unwrap_or("?"), alert["status"].as_str().unwrap_or("?"))
    }
}

/// What a receiver answers next; then 200.
pub type Answers = VecDeque<(u16, Vec<(&'static str, String)>, String)>;

/// A receiver that can be taken down and put up again at the same address.
pub struct Hook {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<Mutex<Answers>>,
    server: Option<(JoinHandle<()>, CancellationToken)>,
}

impl Hook {
    pub async fn start() -> Self {
        let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut hook = Self { address, got: Arc::default(), answers: Arc::default(), server: None };
        hook.up().await;
        hook
    }

    pub async fn up(&mut self) {
        let deadline = Instant::now() + LIMIT;
        let listener = loop {
            match tokio::net::TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let (got, answers) = (Arc::clone(&self.got), Arc::clone(&self.answers));
        let app = Router::new().fallback(move |request: Request| {
            let (got, answers) = (Arc::clone(&got), Arc::clone(&answers));
            async move { answer(request, &got, &answers).await }
        });
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serve = async move { axum::serve(listener, app).with_graceful_shutdown(stopped).await.unwrap() };
        self.server = Some((tokio::spawn(serve), stop));
    }

    /// Refuses connections from now on.
    pub async fn down(&mut self) {
        if let Some((server, stop)) = self.server.take() {
            stop.cancel();
            server.abort();
            let _ = server.await;
        }
    }

    pub fn answers(&self, status: u16, headers: Vec<(&'static str, String)>, body: &str) {
        self.answers.lock().unwrap().push_back((status, headers, body.to_owned()));
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    pub fn url(&self, path: &str) -> Hidden {
        Hidden::new(format!("http://{}{path}", self.address))
    }

    pub async fn wait_for(&self, count: usize) -> Vec<Got> {
        eventually(&format!("{count} requests"), || {
            let got = self.got();
            if got.len() >= count { Ok(got) } else { Err(format!("{:?}", got.iter().map(Got::words).collect::<Vec<_>>())) }
        })
        .await
    }
}

async fn answer(request: Request, got: &Mutex<Vec<Got>>, answers: &Mutex<Answers>) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 10_000_000).await.unwrap_or_default();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    got.lock().unwrap().push(Got { at: Instant::now(), path: parts.uri.path().to_owned(), headers: parts.headers, body });
    let Some((status, headers, text)) = answers.lock().unwrap().pop_front() else { return StatusCode::OK.into_response() };
    let mut response = (StatusCode::from_u16(status).unwrap(), text).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// Waits until `look` has it, at most [`LIMIT`], and tells the last state otherwise.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        match look() {
            Ok(found) => return found,
            Err(state) => assert!(Instant::now() < deadline, "{what} within {LIMIT:?}; last seen: {state}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A broker, the notifier on it, and hands that publish.
pub struct World {
    pub broker: TestBroker,
    pub guardrail: Bus,
    pub operator: Bus,
    pub config: Config,
    running: Option<(JoinHandle<Result<(), Error>>, CancellationToken)>,
    revisions: BTreeMap<String, u64>,
}

impl World {
    pub async fn start(receivers: Vec<Receiver>) -> Self {
        let text = |value: &str| value.to_owned();
        let config = Config {
            receiver: receivers,
            group_wait: text("0s"),
            group_interval: text("100ms"),
            retry_pause: text("20ms"),
            retry_pause_max: text("100ms"),
            timeout: text("2s"),
            route: Some(Vec::new()),
            ..Config::default()
        };
        Self::with(config).await
    }

    pub async fn with(config: Config) -> Self {
        let broker = TestBroker::start().await;
        let (guardrail, operator) = (broker.bus("guardrail").await, broker.bus("operator").await);
        let mut world = Self { broker, guardrail, operator, config, running: None, revisions: BTreeMap::new() };
        world.start_notifier().await;
        world
    }

    pub async fn start_notifier(&mut self) {
        let service = self.broker.service("notifier").await;
        let shutdown = service.shutdown.clone();
        self.running = Some((tokio::spawn(run(service, self.config.clone())), shutdown));
    }

    /// In the middle of whatever it does, as kill -9.
    pub async fn kill_notifier(&mut self) {
        let (task, shutdown) = self.running.take().unwrap();
        task.abort();
        let _ = task.await;
        shutdown.cancel();
    }

    pub async fn stop_notifier(&mut self) {
        let (task, shutdown) = self.running.take().unwrap();
        shutdown.cancel();
        task.await.unwrap().unwrap();
    }

    pub fn forget_everything(&self) {
        std::fs::remove_dir_all(self.broker.dir().join("data").join("notifier")).unwrap();
    }

    pub async fn fires(&mut self, name: &str, exchange: &str) {
        self.says(name, exchange, AlertState::Firing, Some(Severity::Critical)).await;
    }

    pub async fn resolves(&mut self, name: &str, exchange: &str) {
        self.says(name, exchange, AlertState::Resolved, None).await;
    }

    async fn says(&mut self, name: &str, exchange: &str, state: AlertState, severity: Option<Severity>) {
        let revision = self.revisions.entry(format!("{name} {exchange}")).or_default();
        *revision += 1;
        let scope = BTreeMap::from([("exchange".to_owned(), exchange.to_owned())]);
        let on = subject::alert(name, &scope);
        let alert = Alert {
            name: name.to_owned(),
            rule: "a_rule".to_owned(),
            revision: *revision,
            scope,
            state,
            severity,
            value: Some(31.0),
            threshold: Some(30.0),
            direction: "above".to_owned(),
            unit: "s".to_owned(),
            window_ms: 0,
            samples: 0,
            at: now(),
            since: None,
            summary: format!("{name} at {exchange}"),
            cause: "a test".to_owned(),
            first_action: "look".to_owned(),
            permanent_fix: String::new(),
            runbook: String::new(),
        };
        self.guardrail.publish(&on, &alert, Meta::default()).await.unwrap();
    }

    /// Everything stored on some subjects of a stream.
    pub async fn stored(&self, stream: &'static str, pattern: &str) -> Vec<Delivery> {
        let name = format!("operator-test-{}", now().as_nanos());
        let mut follower = Follower::start(self.operator.clone(), &name, stream, vec![pattern.to_owned()], Start::Beginning);
        let deadline = Instant::now() + LIMIT;
        let mut all = Vec::new();
        while !follower.is_caught_up() {
            assert!(Instant::now() < deadline, "{stream} is read");
            tokio::select! {
                batch = follower.next() => all.extend(batch.unwrap()),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
        all
    }

    pub async fn notifications(&self) -> Vec<Notification> {
        self.stored(LEDGER, subject::NOTIFICATIONS).await.iter().map(|delivery| delivery.decode().unwrap()).collect()
    }

    /// Waits until so many notifications are settled; all words about deliveries.
    pub async fn settled(&self, count: usize) -> Vec<Outcome> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let stored = self.stored(LEDGER, subject::DELIVERIES).await;
            let all: Vec<Outcome> = stored.iter().map(|delivery| delivery.decode().unwrap()).collect();
            if all.iter().filter(|outcome| outcome.outcome != DeliveryOutcome::Retrying).count() >= count {
                return all;
            }
            assert!(Instant::now() < deadline, "{count} deliveries are settled; last seen: {all:#?}");
        }
    }
}

pub fn webhook(name: &str, url: Hidden) -> Receiver {
    Receiver { name: name.to_owned(), kind: "webhook".to_owned(), url: Some(url), ..Receiver::default() }
}
