//! `spark <process>`: what is the same for every process. Logging, configuration, metrics, broker, heartbeat, stop.

pub mod backtests;
mod help;
pub mod logging;
mod metrics;
mod restart;
pub mod stop;

use std::time::Duration;

use spark_bus_schema::telemetry::ProcessState;
use spark_nats::{Bus, ConnectOptions, Service};
use tokio_util::sync::CancellationToken;

use crate::args::{Global, ProcessArgs};
use crate::config::Config;
use crate::exit::{Exit, Failure, chain};
use crate::system;

/// The name of a process: folder, subcommand, durable consumer, NATS user, `service` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    /// Market data in.
    Feed,
    /// Balances in.
    Portfolio,
    /// Windows and alerts.
    Guardrail,
    /// The LEDGER's hash chain.
    Auditor,
    /// Verdicts.
    Risk,
    /// Orders to the exchanges.
    Executor,
    /// Marks.
    Candles,
    /// Built-in strategies.
    Strategy,
    /// Alerts out.
    Notifier,
    /// History, checks, reports.
    Reporter,
    /// Scores of candles.
    Signal,
    /// Stages of a model.
    Rollout,
    /// Backtests.
    Backtest,
    /// HTTP out.
    Gateway,
    /// Simulated exchanges.
    ExchangeSim,
}

/// How long a process may take to finish what it is doing; the supervisor's own bound is longer.
const STOP_LIMIT: Duration = Duration::from_secs(8);
/// Worker threads of a process: processes are many, cores are few.
const WORKERS: usize = 2;
/// How often a broker that is not there is complained about.
const BROKER_COMPLAINT: Duration = Duration::from_secs(10);
impl Process {
    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Feed => "feed",
            Self::Portfolio => "portfolio",
            Self::Guardrail => "guardrail",
            Self::Auditor => "auditor",
            Self::Risk => "risk",
            Self::Executor => "executor",
            Self::Candles => "candles",
            Self::Strategy => "strategy",
            Self::Notifier => "notifier",
            Self::Reporter => "reporter",
            Self::Signal => "signal",
            Self::Rollout => "rollout",
            Self::Backtest => "backtest",
            Self::Gateway => "gateway",
            Self::ExchangeSim => "exchange-sim",
        }
    }
}

/// Runs one process until it is told to stop.
///
/// # Errors
/// Exit 64, 69, 70 or 75, with the reason.
pub fn run(process: Process, arguments: &ProcessArgs, global: &Global) -> Result<(), Failure> {
    logging::start(global.json)?;
    end_on_panic();
    let config = Config::load(global.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(format!("start the runtime: {error}")))?;
    let result = runtime.block_on(supervised(process, arguments, global, config));
    // Blocking work that is still under way must not hold the process: what matters is acknowledged or checkpointed.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

/// A panic anywhere ends the process at once, with its message: a process that lost a task must not look alive.
fn end_on_panic() {
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic: {}", panic.payload_as_str().unwrap_or("no message"));
        shown(panic);
        std::process::exit(Exit::Internal as i32);
    }));
}

async fn supervised(process: Process, arguments: &ProcessArgs, global: &Global, config: Config) -> Result<(), Failure> {
    let shutdown = stop::token();
    if let Some(address) = arguments.metrics {
        metrics::serve(process.name(), address).await?;
    }
    let name = process.name();
    tracing::info!(process = name, pid = std::process::id(), version = env!("CARGO_PKG_VERSION"), "starting");
    let bus = connect(process, global, &config).await?;
    let data_dir = global.data.join(name);
    let service = Service::start(name, bus.clone(), data_dir.clone(), shutdown.clone())?;
    let goodbye = Service { name, bus: bus.clone(), data_dir, shutdown: shutdown.clone(), status: service.status.clone() };
    tokio::spawn(complain_without_broker(bus.clone(), shutdown.clone()));
    let restart = restart::Wish::default();
    if !stop::is_supervised() {
        tokio::spawn(restart.clone().heed(name, bus, shutdown.clone()));
    }
    let result = tokio::select! {
        result = start(process, service, config) => result,
        () = overdue(&shutdown) => Err(Failure::internal(format!("did not stop within {STOP_LIMIT:?}"))),
    };
    goodbye.stopped().await;
    match result {
        Ok(()) if restart.is_wanted() => {
            let code = Exit::Restart as i32;
            tracing::info!(process = name, code, "stopped to be started again by whoever supervises this process");
            Err(Failure { exit: Exit::Restart, message: String::new() })
        }
        Ok(()) if shutdown.is_cancelled() => {
            tracing::info!(process = name, "stopped");
            Ok(())
        }
        Ok(()) => Err(Failure::internal("ended although nobody asked it to")),
        Err(failure) => Err(failure),
    }
}

async fn overdue(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(STOP_LIMIT).await;
}

/// Hands over to the process's own crate.
async fn start(process: Process, service: Service, config: Config) -> Result<(), Failure> {
    let instruments = config.instruments.clone();
    match process {
        Process::Feed => as_task(async move { spark_feed::run_with(service, config.feed, &instruments).await }).await,
        Process::Portfolio => as_task(spark_portfolio::run(service, config.portfolio)).await,
        Process::Guardrail => as_task(spark_guardrail::run(service, config.guardrail)).await,
        Process::Risk => as_task(spark_risk::run(service, config.risk)).await,
        Process::Executor => as_task(async move { spark_executor::run_with(service, config.executor, &instruments).await }).await,
        Process::Candles => as_task(async move { spark_candles::run(service, config.candles, &instruments).await }).await,
        Process::Notifier => as_task(spark_notifier::run(service, config.notifier)).await,
        Process::Reporter => as_task(spark_reporter::run(service, config.reporter)).await,
        Process::Signal => as_task(spark_signal::run(service, config.signal)).await,
        Process::Rollout => as_task(spark_rollout::run(service, config.rollout)).await,
        Process::Backtest => {
            let live = backtests::live(&config)?;
            as_task(spark_backtest::run(service, config.backtest, live)).await
        }
        Process::Strategy => as_task(async move { spark_strategy::run_with(service, config.strategy, &instruments).await }).await,
        // Its database stays on the thread that opened it, and nobody waits for the auditor.
        Process::Auditor => spark_auditor::run(service, config.auditor).await.map_err(|error| failed(&error)),
        Process::Gateway => {
            let files = spark_gateway::Files {
                chain: Some(audit_chain(&service)),
                backtest: Some(backtests::details(&service)),
                report: Some(backtests::report(&service)),
            };
            let mut gateway = config.gateway;
            let keys = service.data_dir.with_file_name("keys");
            gateway.tokens_file.get_or_insert_with(|| keys.join(spark_gateway::auth::tokens::FILE));
            raise_open_files();
            as_task(spark_gateway::run(service, gateway, files)).await
        }
        Process::ExchangeSim => {
            // It knows no broker; its heartbeat is the runtime's.
            service.status.set(ProcessState::Running, None);
            as_task(spark_exchange_sim::run(config.exchange_sim, service.shutdown)).await
        }
    }
}

/// As many open files as the system allows: each client is one. Where it allows few, fewer clients get in.
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::debug!(%error, "raise the limit of open files");
    }
}

/// Runs a process on the workers of the runtime, where its messages are read: outside of them each message would wake
/// another thread, which costs a tenth of an order's processor time.
async fn as_task<E>(process: impl Future<Output = Result<(), E>> + Send + 'static) -> Result<(), Failure>
where
    E: std::error::Error + Send + 'static,
{
    match tokio::spawn(process).await {
        Ok(result) => result.map_err(|error| failed(&error)),
        // A panic has ended the process already.
        Err(error) => Err(Failure::internal(format!("run the process: {error}"))),
    }
}

/// The auditor's chain, as far as its file is on this machine: beside the gateway's own folder.
fn audit_chain(service: &Service) -> spark_gateway::ChainHashes {
    let path = service.data_dir.with_file_name("auditor").join(spark_auditor::DATABASE);
    std::sync::Arc::new(move |sequences| {
        spark_auditor::hashes(&path, sequences).unwrap_or_else(|error| {
            tracing::debug!(error = spark_nats::text(&error), "the audit chain cannot be read");
            std::collections::BTreeMap::new()
        })
    })
}

/// Turns a process's own error into an exit: trouble outside is worth another try, everything else is a fault.
fn failed(error: &(dyn std::error::Error + 'static)) -> Failure {
    let message = chain(error);
    let mut cause = Some(error);
    while let Some(current) = cause {
        if current.downcast_ref::<std::io::Error>().is_some() {
            return Failure::temporary(message);
        }
        cause = current.source();
    }
    Failure::internal(message)
}

async fn connect(process: Process, global: &Global, config: &Config) -> Result<Bus, Failure> {
    let name = process.name().to_owned();
    let system::Endpoint { url, credentials, tls, .. } = system::endpoint(process.name(), global, config)?;
    Ok(Bus::connect_with(ConnectOptions { url, name, credentials }, &tls).await?)
}

async fn complain_without_broker(bus: Bus, shutdown: CancellationToken) {
    let mut connection = bus.connection();
    loop {
        let connected = async { connection.wait_for(|connected| *connected).await.is_ok() };
        tokio::select! {
            () = shutdown.cancelled() => return,
            result = tokio::time::timeout(BROKER_COMPLAINT, connected) => match result {
                Err(_) => {
                    tracing::warn!("still no connection to the broker; is `spark up` running, is NATS_URL right, are the credentials its own?");
                    continue;
                }
                Ok(false) => return,
                Ok(true) => {}
            },
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            lost = connection.wait_for(|connected| !*connected) => if lost.is_err() { return },
        }
    }
}
