//! `spark up`: the broker and every process, each its own operating-system process, with one Ctrl-C for all.

mod child;
mod logs;
mod plan;
mod policy;
mod replay;
mod restarts;
pub mod run_file;
mod supervisor;
mod tokens;
mod wiring;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use spark_nats::identities::Identities;
use spark_nats::server::{self, Setup};
use spark_nats::topology::{self, Change};
use spark_nats::{Bus, ConnectOptions, Credentials};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use child::Limits;
use plan::{Plan, Ports};
use policy::Policy;
use run_file::{Lock, RunFile};
use supervisor::Supervisor;

pub use plan::{BROKER, tools_dir};

use crate::args::{Global, UpArgs};
use crate::config::{self, Config};
use crate::exit::Failure;
use crate::output::{self, Style};
use crate::process::{Process, stop};
use crate::system;

/// How long the broker may take to accept connections; a large store is read first.
const BROKER_LIMIT: Duration = Duration::from_secs(60);
/// How long the gateway may take to answer.
const GATEWAY_LIMIT: Duration = Duration::from_secs(30);
/// How often it is asked.
const GATEWAY_POLL: Duration = Duration::from_millis(50);
/// How long the simulated exchanges may take to listen; a recording is opened first.
const SIMULATOR_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked whether they do.
const SIMULATOR_POLL: Duration = Duration::from_millis(20);
/// How long the processes may take to be there.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// Starts everything and keeps it running until told to stop.
///
/// # Errors
/// Exit 64 (command line, configuration, taken port), 75 (another `up`, no nats-server), 70.
pub fn run(arguments: &UpArgs, global: &Global) -> Result<(), Failure> {
    let config = Config::load(global.config.as_deref())?;
    let replay = replay::check(&arguments.replay, &arguments.speed)?;
    let data = plan::absolute(&global.data).map_err(|error| Failure::temporary(format!("working folder: {error}")))?;
    let lock = Lock::take(&data)?;
    let listen = SocketAddr::new(config.gateway.listen.ip(), arguments.port.unwrap_or_else(|| config.gateway.listen.port()));
    check_port(listen)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(format!("start the runtime: {error}")))?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let plan = tokio::select! {
            plan = prepare(arguments, global, &config, listen, data, replay) => plan?,
            () = signals.next() => return Ok(()),
        };
        live(&plan, &config, global, signals).await
    });
    drop(lock);
    result
}

fn check_port(listen: SocketAddr) -> Result<(), Failure> {
    match TcpListener::bind(listen) {
        Ok(_) if listen.port() > 0 => Ok(()),
        Ok(_) => Err(Failure::usage("--port 0: not a port to find the page at; name one, e.g. --port 4001")),
        Err(error) => Err(Failure::usage(format!(
            "port {} on {} cannot be used ({error}); name a free one with --port, e.g. --port {}",
            listen.port(),
            listen.ip(),
            free_port_near(listen)
        ))),
    }
}

fn free_port_near(listen: SocketAddr) -> u16 {
    const TRIES: u16 = 50;
    const HIGHER: u16 = 8_080;
    (1..=TRIES)
        .filter_map(|step| listen.port().checked_add(step))
        .find(|port| TcpListener::bind((listen.ip(), *port)).is_ok())
        .unwrap_or(HIGHER)
}

async fn prepare(
    arguments: &UpArgs,
    global: &Global,
    config: &Config,
    listen: SocketAddr,
    data: PathBuf,
    replay: Vec<PathBuf>,
) -> Result<Plan, Failure> {
    let tools = plan::absolute(&tools_dir()).map_err(|error| Failure::temporary(format!("working folder: {error}")))?;
    let nats_binary = server::obtain(&tools, &mut |line| output::note(line)).await?;
    let executable = std::env::current_exe().map_err(|error| Failure::internal(format!("find this binary: {error}")))?;
    let ports = Ports::choose(listen).map_err(|error| Failure::temporary(format!("choose ports: {error}")))?;
    let tokens = tokens::prepare(&data, config)?;
    // Where money is real, somebody has to want them.
    let strategy = config.strategy.enabled.unwrap_or(!arguments.live);
    let tls = config.gateway.tls_cert_file.clone().filter(|_| config.gateway.is_secure());
    let reading_open = config.gateway.reading_is_open();
    let config = config.file.as_deref().map(plan::absolute).transpose();
    let config = config.map_err(|error| Failure::temporary(format!("working folder: {error}")))?;
    let json_logs = global.json || std::env::var("SPARK_LOG_FORMAT").is_ok_and(|format| format == "json");
    let (live, speed) = (arguments.live, arguments.speed.clone());
    Ok(Plan { executable, data, config, nats_binary, ports, live, strategy, replay, speed, tokens, tls, reading_open, json_logs })
}

/// From the first process to the last.
async fn live(plan: &Plan, config: &Config, global: &Global, mut signals: Signals) -> Result<(), Failure> {
    let run = run_file(plan);
    let mut supervisor = Supervisor::new(run, plan.data.clone(), limits(&config.supervisor), global.json);
    let result = tokio::select! {
        result = start_and_watch(&mut supervisor, plan, config, global.json) => result,
        () = signals.next() => Ok(()),
    };
    if let Err(failure) = &result {
        output::note(&format!("{} {failure}", output::paint_err("stopping:", Style::Red)));
    } else if !global.json {
        output::note("stopping (Ctrl-C again kills)");
    }
    supervisor.stop(signals.next()).await;
    result
}

async fn start_and_watch(supervisor: &mut Supervisor, plan: &Plan, config: &Config, json: bool) -> Result<(), Failure> {
    let began = Instant::now();
    let identities = Identities::open_or_create(&plan.data)?;
    let setup = Setup {
        binary: plan.nats_binary.clone(),
        dir: plan.nats_dir(),
        port: plan.ports.nats,
        monitor_port: plan.ports.nats_monitor,
    };
    setup.write(Some(&identities))?;
    supervisor.start(plan.broker(), None);
    let changes =
        supervisor.during(told("waiting for nats-server to read its store", broker_ready(plan, config, &identities))).await?;
    if !json {
        let made = changes.iter().filter(|change| !matches!(change, Change::Unchanged(_)));
        made.for_each(|change| output::note(&format!("{:>13} | {change}", BROKER)));
    }
    let bus = bus(plan, &identities).await?;
    let stop_limit = Duration::from_millis(config.supervisor.stop_limit_ms);
    tokio::spawn(restarts::follow(bus, supervisor.asks(), stop_limit));
    write_targets(plan)?;
    let mut exchanges_wait = wiring::simulator(plan).is_some();
    for process in plan.processes() {
        if exchanges_wait && matches!(process, Process::Portfolio | Process::Feed) {
            exchanges_wait = false;
            supervisor.during(told("waiting for the simulated exchanges to listen", simulator_listens(plan))).await?;
        }
        let metrics = plan.ports.metrics.get(process.name()).map(|port| format!("127.0.0.1:{port}"));
        supervisor.start(plan.process(process, &identities, config), metrics);
    }
    supervisor.settle(SETTLE_LIMIT).await?;
    supervisor.save();
    if !json {
        announce(supervisor, plan);
    }
    if plan.processes().any(|process| process.name() == "gateway") {
        let answered = supervisor.during(told("waiting for the gateway to answer", gateway_answers(&plan.address()))).await?;
        let took = began.elapsed().as_secs_f64();
        supervisor.report(&json!({"event": "ready", "address": plan.address(), "seconds": took, "answers": answered}));
        if answered && !json {
            let address = output::paint_err(&plan.address(), Style::Bold);
            output::note(&format!("{address} answers after {took:.1} s; {}; Ctrl-C stops everything", plan.reach()));
        } else if !answered {
            output::note(&format!(
                "{} does not answer after {took:.0} s; its log is in {}",
                plan.address(),
                plan.data.join("logs").display()
            ));
        }
    }
    supervisor.watch().await
}

/// Says what is being waited for when it takes longer than a person expects.
async fn told<T>(what: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let began = Instant::now();
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => return result,
            () = tokio::time::sleep(PATIENCE) => output::note(&format!("{what} ({} s)", began.elapsed().as_secs())),
        }
    }
}

/// The supervisor's own connection.
async fn bus(plan: &Plan, identities: &Identities) -> Result<Bus, Failure> {
    let credentials = identities.seed_file("supervisor").map_or(Credentials::None, Credentials::NkeySeedFile);
    Ok(Bus::connect(ConnectOptions { url: plan.nats_url(), name: "supervisor".to_owned(), credentials }).await?)
}

async fn broker_ready(plan: &Plan, config: &Config, identities: &Identities) -> Result<Vec<Change>, Failure> {
    server::wait_ready(plan.ports.nats, BROKER_LIMIT).await?;
    let bus = bus(plan, identities).await?;
    tokio::time::timeout(BROKER_LIMIT, bus.wait_connected()).await.map_err(|_| {
        Failure::temporary(format!(
            "nats-server does not let us in after {BROKER_LIMIT:?}; see its log in {}",
            plan.nats_dir().display()
        ))
    })?;
    let changes = topology::ensure(&bus, config.nats.topology()).await?;
    bus.close().await;
    Ok(changes)
}

/// Nobody calls the simulated exchanges before they listen: a start is no outage, to be counted and alerted. When they do
/// not come, the rest starts all the same and says what is wrong with them.
async fn simulator_listens(plan: &Plan) -> Result<(), Failure> {
    let listening = async {
        for port in &plan.ports.simulator {
            while tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await.is_err() {
                tokio::time::sleep(SIMULATOR_POLL).await;
            }
        }
    };
    let _late = tokio::time::timeout(SIMULATOR_LIMIT, listening).await;
    Ok(())
}

async fn gateway_answers(address: &str) -> Result<bool, Failure> {
    // Only whether it answers, and nothing secret is sent: its certificate may be for another name than this address.
    let client = system::http_that_trusts_anybody()?;
    let url = format!("{address}/health");
    let asked = async {
        while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            tokio::time::sleep(GATEWAY_POLL).await;
        }
    };
    Ok(tokio::time::timeout(GATEWAY_LIMIT, asked).await.is_ok())
}

fn announce(supervisor: &Supervisor, plan: &Plan) {
    let what = match (plan.live, plan.replay.len()) {
        (true, _) => "LIVE: real exchanges".to_owned(),
        (false, 0) => "DEMO: simulated exchanges".to_owned(),
        (false, files) => format!("DEMO: replay of {files} file(s) at speed {}", plan.speed),
    };
    output::note(&format!(
        "{} {} · {what} · data in {}",
        output::paint_err("spark", Style::Bold),
        env!("CARGO_PKG_VERSION"),
        plan.data.display()
    ));
    supervisor.table().iter().for_each(|line| output::note(line));
}

fn write_targets(plan: &Plan) -> Result<(), Failure> {
    let path = plan.data.join("prometheus").join("targets.json");
    let text = serde_json::to_vec_pretty(&plan.prometheus_targets()).unwrap_or_default();
    run_file::replace(&path, &text).map_err(|error| Failure::temporary(format!("write {}: {error}", path.display())))
}

fn run_file(plan: &Plan) -> RunFile {
    RunFile {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: spark_nats::now(),
        address: plan.address(),
        nats_url: plan.nats_url(),
        nats_monitor: format!("http://127.0.0.1:{}", plan.ports.nats_monitor),
        nats_binary: plan.nats_binary.clone(),
        demo: !plan.live,
        simulator: wiring::simulator(plan),
        config: plan.config.clone(),
        processes: BTreeMap::new(),
    }
}

fn limits(settings: &config::Supervisor) -> Limits {
    Limits {
        policy: Policy {
            pause: Duration::from_millis(settings.restart_pause_ms),
            pause_max: Duration::from_millis(settings.restart_pause_max_ms),
            stable_after: Duration::from_millis(settings.stable_after_ms),
        },
        stop: Duration::from_millis(settings.stop_limit_ms),
        log_bytes_max: settings.log_bytes_max,
        logs_kept: settings.logs_kept,
    }
}

/// Ctrl-C, SIGTERM, a terminal that goes away, and, where this process is itself supervised, a supervisor that is gone.
struct Signals {
    signals: [Signal; 3],
    orphaned: Arc<Notify>,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(|error| Failure::internal(format!("catch signals: {error}")));
        let signals = [catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?, catch(SignalKind::hangup())?];
        let orphaned = Arc::new(Notify::new());
        let gone = Arc::clone(&orphaned);
        stop::when_supervisor_is_gone(move || gone.notify_one());
        Ok(Self { signals, orphaned })
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            () = self.orphaned.notified() => {}
        }
    }
}

/// What `spark up` can run, and a person can ask to be restarted.
pub const RESTARTABLE: &[&str] = plan::STOP_ORDER;

/// The folder of the broker that `spark up` runs on a data folder.
#[must_use]
pub fn nats_dir(data: &Path) -> PathBuf {
    data.join(BROKER)
}
