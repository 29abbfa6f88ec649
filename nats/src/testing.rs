//! A real broker for tests: own port, own store, killed and cleaned on drop.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, ConnectOptions, Credentials};
use crate::identities::Identities;
use crate::server::{self, Setup, free_port};
use crate::service::Service;
use crate::topology::{self, Settings};

const READY_LIMIT: Duration = Duration::from_secs(20);
/// Short on purpose: nothing may depend on the broker's duplicate window.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(1);

/// A nats-server with Spark's configuration and topology. Every failure panics: it is for tests.
pub struct TestBroker {
    setup: Setup,
    identities: Identities,
    child: Option<Child>,
    dir: PathBuf,
}

impl TestBroker {
    /// Starts one on free ports and makes the streams.
    ///
    /// # Panics
    /// It cannot be started.
    pub async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("spark-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temporary folder");
        let binary = server::obtain(&tools_dir(), &mut |line| eprintln!("{line}")).await.expect("nats-server");
        let identities = Identities::open_or_create(&dir).expect("identities");
        let port = free_port().expect("a free port");
        let monitor_port = free_port().expect("a free port");
        let setup = Setup { binary, dir: dir.join("nats"), port, monitor_port };
        let mut broker = Self { setup, identities, child: None, dir };
        broker.restart().await;
        let bus = broker.bus("supervisor").await;
        let settings = Settings { duplicate_window: DUPLICATE_WINDOW, ..Settings::default() };
        topology::ensure(&bus, settings).await.expect("topology");
        broker
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        self.setup.url()
    }

    /// Its folder, removed on drop.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// File with a user's nkey seed.
    ///
    /// # Panics
    /// There is no such user.
    #[must_use]
    pub fn seed_file(&self, user: &str) -> PathBuf {
        self.identities.seed_file(user).unwrap_or_else(|| panic!("{user} is not in permissions.toml"))
    }

    /// A connection as one of the users of `permissions.toml`.
    ///
    /// # Panics
    /// It cannot be made.
    pub async fn bus(&self, user: &str) -> Bus {
        let options = ConnectOptions {
            url: self.url(),
            name: user.to_owned(),
            credentials: Credentials::NkeySeedFile(self.seed_file(user)),
        };
        let bus = Bus::connect(options).await.expect("options");
        tokio::time::timeout(READY_LIMIT, bus.wait_connected()).await.expect("connected");
        bus
    }

    /// A service as one of the users, with its own folder.
    ///
    /// # Panics
    /// It cannot be made.
    pub async fn service(&self, name: &'static str) -> Service {
        self.service_in(name, name).await
    }

    /// As [`TestBroker::service`], in a folder of another name: a second instance of the process.
    ///
    /// # Panics
    /// It cannot be made.
    pub async fn service_in(&self, name: &'static str, folder: &str) -> Service {
        let bus = self.bus(name).await;
        Service::start(name, bus, self.dir.join("data").join(folder), CancellationToken::new()).expect("service")
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have died by itself; both calls are then harmless.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port and store.
    ///
    /// # Panics
    /// It does not start.
    pub async fn restart(&mut self) {
        self.start_with(|configuration| configuration).await;
    }

    /// As [`TestBroker::restart`], but nothing is synced to disk until the next restart: for filling streams quickly.
    ///
    /// # Panics
    /// It does not start.
    pub async fn restart_unsynced(&mut self) {
        let unsynced = |configuration: String| {
            let changed = configuration.replace("sync_interval: always", "sync_interval: 10s");
            assert_ne!(changed, configuration, "server.conf no longer says when it syncs");
            changed
        };
        self.start_with(unsynced).await;
    }

    async fn start_with(&mut self, change: impl FnOnce(String) -> String) {
        self.kill();
        std::fs::create_dir_all(&self.setup.dir).expect("folder");
        let path = self.setup.write(Some(&self.identities)).expect("configuration");
        let text = std::fs::read_to_string(&path).expect("it was just written");
        std::fs::write(&path, change(text)).expect("configuration");
        self.child = Some(self.setup.command().spawn().expect("nats-server starts"));
        server::wait_ready(self.setup.port, READY_LIMIT).await.expect("nats-server is ready");
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking() {
            // A failed test keeps its folder for a look.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// `.tools/` of the workspace, where `spark up` keeps its broker too.
#[must_use]
pub fn tools_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools")
}
