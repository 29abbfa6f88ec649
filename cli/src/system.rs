//! Finding the running system: from flags and the environment, else from what `spark up` wrote into the data folder.

use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use spark_nats::{Bus, ConnectOptions, Credentials, Tls};

use crate::args::Global;
use crate::config::Config;
use crate::contexts;
use crate::exit::Failure;
use crate::up::run_file::RunFile;

/// How long an operator's command waits for the broker.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Where a broker is when nobody says otherwise.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";
/// File with a certificate that is trusted when the gateway shows it, or one that it signed.
pub const CA_FILE_VARIABLE: &str = "SPARK_CA_FILE";
/// How long an HTTP request to the gateway or the simulator may take.
const HTTP_LIMIT: Duration = Duration::from_secs(5);

/// Where the broker is, as whom, and who said so. `spark help connection` tells the order.
pub struct Endpoint {
    /// `nats://host:port`, or several separated by commas.
    pub url: String,
    /// Who to be.
    pub credentials: Credentials,
    /// How the connection is kept private.
    pub tls: Tls,
    /// Which of the possible places named the address, for a person.
    pub origin: String,
}

/// Finds the broker for a user of it.
///
/// # Errors
/// Exit 64: the context of the NATS command line that is named, or chosen and needed, cannot be used.
pub fn endpoint(user: &str, global: &Global, config: &Config) -> Result<Endpoint, Failure> {
    let named = global.context.as_deref().filter(|name| !name.is_empty()).map(contexts::named).transpose()?;
    let running = || RunFile::read(&global.data).map(|run| (run.nats_url, "spark up"));
    let configured = || config.nats.url.clone().map(|url| (url, "[nats] url"));
    let asked = global.url.clone().map(|url| (url, "--url or NATS_URL"));
    let found = asked.or_else(|| if named.is_some() { None } else { running().or_else(configured) });
    // Only when nobody else says where the broker is: what was chosen for another purpose must not matter otherwise.
    let context = match (&found, named) {
        (None, None) => contexts::selected()?,
        (_, named) => named,
    };
    let (url, origin) = match (found, &context) {
        (Some((url, origin)), _) => (url, origin.to_owned()),
        (None, Some(context)) => (context.url.clone(), format!("NATS context {}", context.name)),
        (None, None) => (DEFAULT_URL.to_owned(), "the usual port".to_owned()),
    };
    // A context that was asked for by name goes before what lies around; one that is only the chosen one does not.
    let explicit = global.context.as_deref().is_some_and(|name| !name.is_empty());
    let kept = || if explicit { None } else { kept_credentials(user, global, config) };
    let own = own_credentials().or_else(kept);
    let (theirs, tls) = context.map(|context| (context.credentials, context.tls)).unwrap_or_default();
    Ok(Endpoint { url, credentials: own.unwrap_or(theirs), tls, origin })
}

/// `SPARK_NKEY_SEED_FILE` or `NATS_CREDS`.
fn own_credentials() -> Option<Credentials> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let seed = named("SPARK_NKEY_SEED_FILE").map(Credentials::NkeySeedFile);
    seed.or_else(|| named("NATS_CREDS").map(Credentials::CredsFile))
}

/// What the configuration names, else the user's key in the data folder.
fn kept_credentials(user: &str, global: &Global, config: &Config) -> Option<Credentials> {
    let configured = || config.nats.creds_file.clone().map(Credentials::CredsFile);
    let kept = || Some(global.data.join("keys").join(format!("{user}.nk"))).filter(|path| path.is_file());
    let seed = config.nats.seed_file.clone().map(Credentials::NkeySeedFile);
    seed.or_else(configured).or_else(|| kept().map(Credentials::NkeySeedFile))
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
/// As [`operator`], and [`endpoint`].
pub async fn connect_as(user: &str, global: &Global, config: &Config) -> Result<Bus, Failure> {
    let Endpoint { url, credentials, tls, origin } = endpoint(user, global, config)?;
    let bus = Bus::connect_with(ConnectOptions { url: url.clone(), name: user.to_owned(), credentials }, &tls).await?;
    if tokio::time::timeout(CONNECT_LIMIT, bus.wait_connected()).await.is_err() {
        let url = shown(&url);
        return Err(Failure::unavailable(format!(
            "no broker answers at {url} ({origin}) within {CONNECT_LIMIT:?}; start one with `spark up`, or name it with --data DIR, \
             --url URL or --context NAME (`spark doctor` and `spark help connection` say more)"
        )));
    }
    Ok(bus)
}

/// An address without the password that it may hold.
#[must_use]
pub fn shown(url: &str) -> String {
    let one = |url: &str| match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or(rest)),
        None => url.to_owned(),
    };
    url.split(',').map(|url| one(url.trim())).collect::<Vec<_>>().join(",")
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
    let client = trusting(reqwest::Client::builder())?.timeout(HTTP_LIMIT).no_proxy().build();
    client.map_err(|error| Failure::internal(format!("make an HTTP client: {error}")))
}

/// As [`http`], for questions that are no secret: no certificate is looked at.
///
/// # Errors
/// As [`http`].
pub fn http_that_trusts_anybody() -> Result<reqwest::Client, Failure> {
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).timeout(HTTP_LIMIT).no_proxy().build();
    client.map_err(|error| Failure::internal(format!("make an HTTP client: {error}")))
}

/// A client that trusts the certificate in the file that [`CA_FILE_VARIABLE`] names, besides the usual authorities.
///
/// # Errors
/// Exit 64: there is no certificate in it.
pub fn trusting(builder: reqwest::ClientBuilder) -> Result<reqwest::ClientBuilder, Failure> {
    let Some(path) = std::env::var_os(CA_FILE_VARIABLE).filter(|path| !path.is_empty()) else { return Ok(builder) };
    let wrong = |what: String| {
        Failure::usage(format!(
            "{CA_FILE_VARIABLE}={}: {what}; a file with the gateway's certificate, or its authority's, as PEM would be right",
            path.display()
        ))
    };
    let pem = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong("no certificate in it".to_owned()));
    }
    Ok(certificates.into_iter().fold(builder, reqwest::ClientBuilder::add_root_certificate))
}

/// A runtime for one command.
///
/// # Errors
/// Exit 70: the system gives no threads.
pub fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(format!("start the runtime: {error}")))?;
    // Boxed: the runtime's machinery is compiled for each type of result, not again for each of the commands.
    let command: Pin<Box<dyn Future<Output = _>>> = Box::pin(command);
    let result = runtime.block_on(command);
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}
