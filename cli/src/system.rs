//! Finding the running system: from flags and the environment, else from what `spark up` wrote into the data folder.

use std::path::PathBuf;
use std::time::Duration;

use spark_nats::{Bus, ConnectOptions, Credentials};

use crate::args::Global;
use crate::config::Config;
use crate::exit::Failure;
use crate::up::run_file::RunFile;

/// How long an operator's command waits for the broker.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Where a broker is when nobody says otherwise.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";
/// How long an HTTP request to the gateway or the simulator may take.
const HTTP_LIMIT: Duration = Duration::from_secs(5);

/// The broker: `--url` or `NATS_URL`, else `[nats] url`, else what `spark up` runs here, else the usual port.
#[must_use]
pub fn broker_url(global: &Global, config: &Config) -> String {
    let running = || RunFile::read(&global.data).map(|run| run.nats_url);
    global.url.clone().or_else(|| config.nats.url.clone()).or_else(running).unwrap_or_else(|| DEFAULT_URL.to_owned())
}

/// Who to be: `SPARK_NKEY_SEED_FILE` or `NATS_CREDS`, else the configuration, else the user's key in the data folder.
#[must_use]
pub fn credentials(user: &str, global: &Global, config: &Config) -> Credentials {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let kept = Some(global.data.join("keys").join(format!("{user}.nk"))).filter(|path| path.is_file());
    if let Some(path) = named("SPARK_NKEY_SEED_FILE") {
        return Credentials::NkeySeedFile(path);
    }
    if let Some(path) = named("NATS_CREDS") {
        return Credentials::CredsFile(path);
    }
    match (&config.nats.seed_file, &config.nats.creds_file, &kept) {
        (Some(path), _, _) | (None, None, Some(path)) => Credentials::NkeySeedFile(path.clone()),
        (None, Some(path), _) => Credentials::CredsFile(path.clone()),
        (None, None, None) => Credentials::None,
    }
}

/// A connection for the person at the keyboard.
///
/// # Errors
/// Exit 69: the broker does not answer within [`CONNECT_LIMIT`].
pub async fn operator(global: &Global, config: &Config) -> Result<Bus, Failure> {
    connect_as("operator", global, config).await
}

/// A connection as one of the broker's users.
///
/// # Errors
/// As [`operator`].
pub async fn connect_as(user: &str, global: &Global, config: &Config) -> Result<Bus, Failure> {
    let url = broker_url(global, config);
    let credentials = credentials(user, global, config);
    let bus = Bus::connect(ConnectOptions { url: url.clone(), name: user.to_owned(), credentials }).await?;
    if tokio::time::timeout(CONNECT_LIMIT, bus.wait_connected()).await.is_err() {
        return Err(Failure::unavailable(format!(
            "no broker answers at {url} within {CONNECT_LIMIT:?}; start one with `spark up`, or name it with --data DIR or --url URL \
             (`spark doctor` says more)"
        )));
    }
    Ok(bus)
}

/// What `spark up` runs on the data folder.
///
/// # Errors
/// Exit 69: nothing.
pub fn running(global: &Global) -> Result<RunFile, Failure> {
    RunFile::read(&global.data).ok_or_else(|| {
        Failure::unavailable(format!(
            "nothing runs on {}; start it with `spark up`, or name its folder with --data DIR",
            global.data.display()
        ))
    })
}

/// A client for the gateway and the simulator.
///
/// # Errors
/// Exit 70: TLS cannot be set up.
pub fn http() -> Result<reqwest::Client, Failure> {
    let client = reqwest::Client::builder().timeout(HTTP_LIMIT).no_proxy().build();
    client.map_err(|error| Failure::internal(format!("make an HTTP client: {error}")))
}

/// A runtime for one command.
///
/// # Errors
/// Exit 70: the system gives no threads.
pub fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(format!("start the runtime: {error}")))?;
    let result = runtime.block_on(command);
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}
